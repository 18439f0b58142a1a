//! What a server listens on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::{Connection, Conversation};

use crate::address::Address;
use crate::gate::Gate;
use crate::limits::MinRate;
use crate::network::Network;
use crate::options::SocketOptions;
use crate::preauth::Preauth;
use crate::telemetry::Telemetry;
#[cfg(feature = "tls")]
use crate::tls::TlsAcceptor;
use crate::transcript::{MakeRedactor, TranscriptOptions, TranscriptPlan};

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
    pub(crate) one_at_a_time: bool,
    pub(crate) socket_options: SocketOptions,
    pub(crate) proxy_networks: Vec<Network>,
    pub(crate) proxy_timeout: Duration,
    pub(crate) preauth: Option<Arc<dyn Preauth>>,
    pub(crate) preauth_only: bool,
    pub(crate) without_address: bool,
    pub(crate) finish_grace: Duration,
    pub(crate) write_grace: Duration,
    pub(crate) write_stall: Duration,
    pub(crate) min_rate: Option<MinRate>,
    pub(crate) transcript: Option<TranscriptPlan>,
    pub(crate) telemetry: Option<(Telemetry, MakeRedactor)>,
}

impl Listener {
    /// A service of this name (it stands in logs, and is [`Connection::service`]) that holds these conversations.
    ///
    /// It has no address yet, no TLS, no limit of its own.
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
            one_at_a_time: false,
            socket_options: SocketOptions::default(),
            proxy_networks: Vec::new(),
            proxy_timeout: Duration::from_secs(10),
            preauth: None,
            preauth_only: false,
            without_address: false,
            finish_grace: defaults.finish_grace,
            write_grace: defaults.write_grace,
            write_stall: defaults.write_stall,
            min_rate: defaults.min_rate,
            transcript: None,
            telemetry: None,
        }
    }

    /// Adds an address. Port 0 lets the system choose; [`BoundServer::local_addrs`](crate::BoundServer::local_addrs)
    /// tells what it chose. `[::]` takes IPv4 clients too where the system can, unless some listener of the server has
    /// `0.0.0.0` with the same port.
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

    /// Serves one connection at a time, over all addresses: the next one is accepted only when the one before has
    /// ended, and waits in the system's queue until then. Connections that are
    /// [handed in](crate::ServerHandle::serve) do not wait.
    #[must_use]
    pub fn one_at_a_time(mut self, yes: bool) -> Self {
        self.one_at_a_time = yes;
        self
    }

    /// Sets options of its sockets; what they leave open, the [server's](crate::Server::socket_options) say.
    #[must_use]
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        self.socket_options = options;
        self
    }

    /// Sets [`SocketOptions::backlog`].
    #[must_use]
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.socket_options.backlog = Some(backlog);
        self
    }

    /// Trusts proxies in these networks to say who their clients are, by the [PROXY
    /// protocol](crate::proxy_protocol). Whoever connects from there and does not begin with its header is dropped;
    /// whoever connects from elsewhere, or over a unix socket, is a client, and its header is mere input.
    ///
    /// Where the header tells that the client speaks TLS with the proxy, the connection is
    /// [secured](Connection::externally_secured).
    #[must_use]
    pub fn proxy_networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.proxy_networks = networks.into_iter().collect();
        self
    }

    /// How long a proxy may take to send its header. Default: 10 s, as for a TLS handshake.
    #[must_use]
    pub fn proxy_timeout(mut self, timeout: Duration) -> Self {
        self.proxy_timeout = timeout;
        self
    }

    /// Asks this hook who each client is, after TLS where that is immediate. Whom it knows needs no login where the
    /// protocol has a greeting that says so (IMAP's `PREAUTH`).
    #[must_use]
    pub fn preauth(mut self, hook: impl Preauth + 'static) -> Self {
        self.preauth = Some(Arc::new(hook));
        self
    }

    /// Serves only clients that the [hook](Self::preauth) knows; others are disconnected without a byte.
    #[must_use]
    pub fn preauth_only(mut self, yes: bool) -> Self {
        self.preauth_only = yes;
        self
    }

    /// Makes it a listener that has no address, for connections that are [handed in](crate::ServerHandle::serve).
    /// Without this, a listener without an address is an error, as it is likely to be a mistake.
    #[must_use]
    pub fn without_address(mut self) -> Self {
        self.without_address = true;
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

    /// See [`ServeOptions::write_stall`](crate::ServeOptions::write_stall).
    #[must_use]
    pub fn write_stall(mut self, time: Duration) -> Self {
        self.write_stall = time;
        self
    }

    /// See [`ServeOptions::min_rate`](crate::ServeOptions::min_rate).
    #[must_use]
    pub fn min_rate(mut self, rate: MinRate) -> Self {
        self.min_rate = Some(rate);
        self
    }

    /// Writes what clients and server say to the log; see [`transcript`](crate::transcript). The protocol brings the
    /// redactor (`pillarbox_imap_proto::Redactor::boxed`), which is what keeps passwords out of it.
    #[must_use]
    pub fn transcript(mut self, options: TranscriptOptions, redactor: MakeRedactor) -> Self {
        self.transcript = Some(TranscriptPlan { options, redactor });
        self
    }

    /// Writes what the sessions of some users say into files; see [`telemetry`](crate::telemetry). The protocol brings
    /// the redactor.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry, redactor: MakeRedactor) -> Self {
        self.telemetry = Some((telemetry, redactor));
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
