//! Listeners together: what they share, and binding them.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pillarbox_proto_core::connection::TlsMode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::address::Address;
use crate::entrance::{Entrance, Shared};
use crate::gate::Gate;
use crate::handle::{BoundServer, Way};
use crate::inherited::Inherited;
use crate::limits::{AddressLimits, MemoryCeiling, Penalties};
use crate::listener::Listener;
use crate::options::SocketOptions;
use crate::scribe::Desk;
use crate::sessions::Sessions;
use crate::slots::Slots;
use crate::socket::{Listening, is_unspecified_v6};

/// A server that is being put together.
///
/// See the [crate's documentation](crate) for an example.
pub struct Server {
    listeners: Vec<Listener>,
    max_connections: usize,
    socket_options: SocketOptions,
    gates: Vec<Arc<dyn Gate>>,
    address_limits: Option<AddressLimits>,
    penalties: Option<Penalties>,
    memory: Option<MemoryCeiling>,
    inherited: Inherited,
    max_uses: Option<u64>,
    idle_exit: Option<Duration>,
    stagger: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// No listener yet, at most 65,536 connections.
    #[must_use]
    pub fn new() -> Self {
        Self {
            listeners: Vec::new(),
            max_connections: 65_536,
            socket_options: SocketOptions::default(),
            gates: Vec::new(),
            address_limits: None,
            penalties: None,
            memory: None,
            inherited: Inherited::default(),
            max_uses: None,
            idle_exit: None,
            stagger: Duration::ZERO,
        }
    }

    /// Adds a listener.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Serves at most this many connections at a time, over all listeners; more are closed at once.
    ///
    /// Each takes a file descriptor: set it below the process's limit, or new connections wait until one is free
    /// ([`raise_open_files`](crate::raise_open_files) raises that limit).
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// Sets options of the sockets of all listeners, for what these leave open.
    #[must_use]
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        self.socket_options = options;
        self
    }

    /// Adds a gate that every new connection has to pass, after those of its listener and after those added before.
    #[must_use]
    pub fn gate(mut self, gate: impl Gate + 'static) -> Self {
        self.gates.push(Arc::new(gate));
        self
    }

    /// Limits the connections of each address and network, over all listeners.
    #[must_use]
    pub fn address_limits(mut self, limits: AddressLimits) -> Self {
        self.address_limits = Some(limits);
        self
    }

    /// Refuses connections of addresses that these penalties block. The backend has to deal them out; see
    /// [`limits`](crate::limits).
    #[must_use]
    pub fn penalties(mut self, penalties: Penalties) -> Self {
        self.penalties = Some(penalties);
        self
    }

    /// Refuses new connections while all sessions together take more memory than this.
    #[must_use]
    pub fn memory_ceiling(mut self, ceiling: MemoryCeiling) -> Self {
        self.memory = Some(ceiling);
        self
    }

    /// Listens on these sockets too, which the process got from whom it was started by; see
    /// [`inherited`](crate::inherited).
    #[must_use]
    pub fn inherited(mut self, sockets: Inherited) -> Self {
        self.inherited = sockets;
        self
    }

    /// Stops accepting after so many connections (at least one), over all listeners. Those are served to their end,
    /// and then the server has [stopped](crate::ServerHandle::stopped). A connection for which there is no room does
    /// not count; one that is turned away later does.
    #[must_use]
    pub fn max_uses(mut self, connections: u64) -> Self {
        self.max_uses = Some(connections.max(1));
        self
    }

    /// Stops accepting when for so long no connection was open, and at least one had been. A server that nobody has
    /// used yet goes on waiting. Then it has [stopped](crate::ServerHandle::stopped).
    #[must_use]
    pub fn idle_exit(mut self, time: Duration) -> Self {
        self.idle_exit = Some(time);
        self
    }

    /// Spreads the good-byes of a [shutdown](crate::ServerHandle::shutdown) over this time, so that not all clients
    /// come back at once; never over more than half of its grace period, nor over more than a tenth of a second for each
    /// client. Default: zero, which tells everybody at once.
    #[must_use]
    pub fn stagger(mut self, time: Duration) -> Self {
        self.stagger = time;
        self
    }

    /// Binds every address. Nothing is served yet, and when one fails nothing stays bound.
    ///
    /// Needs no runtime: a daemon can bind, [become another user](crate::run_as), and only then
    /// [start](BoundServer::start). Host names are looked up here.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with the listener's name and the address.
    pub fn bind(mut self) -> Result<BoundServer, BindError> {
        if self.listeners.is_empty() {
            return Err(BindError::NoListener);
        }
        let shared = Arc::new(Shared {
            sessions: Sessions::new(),
            slots: Slots::new(self.max_connections),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            hurry: CancellationToken::new(),
            uses: self.max_uses.map(Mutex::new),
            gates: self.gates,
            address_limits: self.address_limits,
            penalties: self.penalties,
            memory: self.memory,
            desk: Desk::default(),
        });
        // `[::]` means them too, but not where somebody has asked for them by name.
        let v4_ports: HashSet<u16> = self
            .listeners
            .iter()
            .flat_map(|listener| &listener.addresses)
            .filter_map(|address| match address {
                Address::Tcp(address) if address.ip() == Ipv4Addr::UNSPECIFIED => Some(address.port()),
                _ => None,
            })
            .collect();
        let mut ways = Vec::new();
        for mut listener in self.listeners {
            if listener.lacks_certificate() {
                return Err(BindError::NoCertificate { listener: listener.name, mode: listener.tls_mode });
            }
            listener.socket_options = listener.socket_options.or(&self.socket_options);
            let mut sockets = self.inherited.take_named(&listener.name);
            if sockets.is_empty() {
                for address in &listener.addresses {
                    match self.inherited.take_at(address) {
                        Some(socket) => sockets.push(socket),
                        None => listen(&listener, address, &v4_ports, &mut sockets)?,
                    }
                }
            }
            if sockets.is_empty() && !listener.without_address {
                return Err(BindError::NoAddress { listener: listener.name });
            }
            let mut way = Way { entrance: Entrance::new(listener, shared.clone()), sockets: Vec::new() };
            for socket in sockets {
                let local = socket.local().map_err(|source| BindError::Bind {
                    listener: way.entrance.listener.name.clone(),
                    address: Address::unix("(inherited)"),
                    source,
                })?;
                way.sockets.push((socket, local));
            }
            ways.push(way);
        }
        if let Some(left) = self.inherited.names().next() {
            return Err(BindError::Inherited { name: left.into() });
        }
        Ok(BoundServer::new(ways, shared, self.idle_exit, self.stagger))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listeners", &self.listeners)
            .field("max_connections", &self.max_connections)
            .field("socket_options", &self.socket_options)
            .finish_non_exhaustive()
    }
}

/// Binds one address of a listener: all that it means.
fn listen(
    listener: &Listener,
    address: &Address,
    v4_ports: &HashSet<u16>,
    sockets: &mut Vec<Listening>,
) -> Result<(), BindError> {
    let error = |source| BindError::Bind { listener: listener.name.clone(), address: address.clone(), source };
    let options = &listener.socket_options;
    if let Address::Unix { path, mode } = address {
        #[cfg(unix)]
        sockets.push(Listening::unix(path, *mode, options).map_err(error)?);
        #[cfg(not(unix))]
        let _: (_, _, ()) = (path, mode, Err(io::ErrorKind::Unsupported.into()).map_err(error)?);
        return Ok(());
    }
    let resolved = address.resolve().map_err(|source| BindError::Resolve {
        listener: listener.name.clone(),
        address: address.clone(),
        source,
    })?;
    if resolved.len() > 1 {
        info!(listener = %listener.name, %address, addresses = ?resolved, "listening on all addresses of the name");
    }
    let mut failed = None;
    let before = sockets.len();
    for one in &resolved {
        let only_v6 = is_unspecified_v6(one) && one.port() != 0 && v4_ports.contains(&one.port());
        match Listening::tcp(*one, options, only_v6) {
            Ok(socket) => sockets.push(socket),
            // A name may have addresses of a family that this machine does not speak now.
            Err(source) if resolved.len() > 1 && is_not_here(&source) => {
                warn!(listener = %listener.name, %address, left_out = %one, error = %source, "cannot listen");
                failed = Some((one, source));
            }
            Err(source) if matches!(address, Address::Tcp(_)) => return Err(error(source)),
            Err(source) => return Err(error(about(one, source))),
        }
    }
    match failed {
        Some((one, source)) if sockets.len() == before => Err(error(about(one, source))),
        _ => Ok(()),
    }
}

fn about(address: &SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}

fn is_not_here(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || (cfg!(target_os = "linux") && error.raw_os_error() == Some(EAFNOSUPPORT))
}

/// Linux's number for a family of addresses that it was built or started without.
const EAFNOSUPPORT: i32 = 97;

/// Why a server could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The server has nothing to listen on.
    #[error("no listener")]
    NoListener,
    /// A listener has no address.
    #[error("listener {listener}: no address")]
    NoAddress {
        /// Its name.
        listener: Arc<str>,
    },
    /// A listener has a TLS mode that needs a certificate, and none.
    #[error("listener {listener}: TLS mode {mode:?} without a certificate")]
    NoCertificate {
        /// Its name.
        listener: Arc<str>,
        /// The mode.
        mode: TlsMode,
    },
    /// An address can't be listened on.
    #[error("listener {listener}: cannot listen on {address}: {source}")]
    Bind {
        /// Its name.
        listener: Arc<str>,
        /// The address. Where it is a host's name, the error begins with the one of its addresses that it is about.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// A host name has no address.
    #[error("listener {listener}: cannot look up {address}: {source}")]
    Resolve {
        /// The listener's name.
        listener: Arc<str>,
        /// The address with the name.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// A socket was inherited that no listener is for, by its name or its address.
    #[error("no listener for the inherited socket {name}")]
    Inherited {
        /// Its name.
        name: Box<str>,
    },
}
