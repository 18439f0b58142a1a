//! What a server listens on.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::{Connection, Conversation};
use socket2::{Domain, Protocol, Socket, Type};

use crate::gate::Gate;
#[cfg(feature = "tls")]
use crate::tls::TlsAcceptor;

/// Makes the conversation for a new connection.
pub type MakeConversation = Arc<dyn Fn(Connection) -> Box<dyn Conversation> + Send + Sync>;

/// Where and how one service is offered.
///
/// ```
/// # use pillarbox_proto_core::{Connection, Conversation};
/// # fn greet(connection: Connection) -> Box<dyn Conversation> { unimplemented!() }
/// use std::net::Ipv4Addr;
/// use pillarbox_server_core::Listener;
///
/// let listener = Listener::new("imap", greet)
///     .address((Ipv4Addr::LOCALHOST, 0))
///     .max_connections(500);
/// assert_eq!(listener.name(), "imap");
/// ```
#[derive(Clone)]
pub struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) make: MakeConversation,
    pub(crate) tls_mode: TlsMode,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) gates: Vec<Arc<dyn Gate>>,
    pub(crate) max_connections: usize,
    pub(crate) backlog: u16,
    pub(crate) finish_grace: Duration,
    pub(crate) write_grace: Duration,
}

impl Listener {
    /// A service of this name (it stands in logs, and is [`Connection::service`]) that holds these conversations.
    ///
    /// It has no address yet, no TLS, no limit of its own, a backlog of 1,024.
    pub fn new(
        name: impl Into<Arc<str>>,
        make: impl Fn(Connection) -> Box<dyn Conversation> + Send + Sync + 'static,
    ) -> Self {
        let defaults = crate::ServeOptions::new();
        Self {
            name: name.into(),
            addresses: Vec::new(),
            make: Arc::new(make),
            tls_mode: TlsMode::No,
            #[cfg(feature = "tls")]
            tls: None,
            gates: Vec::new(),
            max_connections: usize::MAX,
            backlog: 1024,
            finish_grace: defaults.finish_grace,
            write_grace: defaults.write_grace,
        }
    }

    /// Adds an address. Port 0 lets the system choose; [`BoundServer::local_addrs`](crate::BoundServer::local_addrs)
    /// tells what it chose. `[::]` takes IPv4 clients too where the system does so, and then `0.0.0.0` with the same
    /// port is in use already.
    #[must_use]
    pub fn address(mut self, address: impl Into<Address>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Sets the TLS mode and what does the handshakes.
    ///
    /// The mode is carried out here only as far as [`TlsMode::Connection`] goes; in the other modes the conversation
    /// offers the upgrade, so it has to be made for the same mode.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, mode: TlsMode, acceptor: TlsAcceptor) -> Self {
        self.tls_mode = mode;
        self.tls = Some(acceptor);
        self
    }

    /// Sets the TLS mode alone. A mode that needs a certificate is an error at [`bind`](crate::Server::bind) without
    /// one.
    #[must_use]
    pub fn tls_mode(mut self, mode: TlsMode) -> Self {
        self.tls_mode = mode;
        self
    }

    /// Adds a gate that every new connection has to pass, after those added before.
    #[must_use]
    pub fn gate(mut self, gate: impl Gate + 'static) -> Self {
        self.gates.push(Arc::new(gate));
        self
    }

    /// Serves at most this many connections at a time, over all addresses of this listener; more are closed at once.
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// How many connections the system keeps waiting to be accepted, per address.
    #[must_use]
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.backlog = backlog;
        self
    }

    /// See [`ServeOptions::finish_grace`](crate::ServeOptions::finish_grace).
    #[must_use]
    pub fn finish_grace(mut self, grace: Duration) -> Self {
        self.finish_grace = grace;
        self
    }

    /// See [`ServeOptions::write_grace`](crate::ServeOptions::write_grace).
    #[must_use]
    pub fn write_grace(mut self, grace: Duration) -> Self {
        self.write_grace = grace;
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a mode that needs a certificate has none.
    pub(crate) fn lacks_certificate(&self) -> bool {
        #[cfg(feature = "tls")]
        let has = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let has = false;
        self.tls_mode.needs_certificate() && !has
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("name", &self.name)
            .field("addresses", &self.addresses)
            .field("tls_mode", &self.tls_mode)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A TCP socket.
    Tcp(SocketAddr),
}

impl<T: Into<SocketAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        Self::Tcp(address.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl Address {
    /// Binds and listens; the socket does not block.
    pub(crate) fn listen(self, backlog: u16) -> io::Result<TcpListener> {
        let Self::Tcp(address) = self;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted server must not wait for the connections of its predecessor to be forgotten. On Windows the
        // option means that a port can be taken from under a running server.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog.into())?;
        Ok(socket.into())
    }
}
