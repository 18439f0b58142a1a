//! Listeners together: binding, serving, leaving.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::connection::{SessionId, TlsMode};
use pillarbox_proto_core::conversation::Control;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::accept::{Entrance, Shared};
use crate::listener::{Address, Listener};
use crate::sessions::Sessions;
use crate::slots::Slots;

/// A server that is being put together.
///
/// See the [crate's documentation](crate) for an example.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    max_connections: usize,
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
        Self { listeners: Vec::new(), max_connections: 65_536 }
    }

    /// Adds a listener.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Serves at most this many connections at a time, over all listeners; more are closed at once.
    ///
    /// Each takes a file descriptor: set it below the process's limit, or new connections wait until one is free.
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// Binds every address. Nothing is served yet, and when one fails nothing stays bound.
    ///
    /// Needs no runtime: a daemon can bind, change to its own user, and only then [start](BoundServer::start).
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with the listener's name and the address.
    pub fn bind(self) -> Result<BoundServer, BindError> {
        if self.listeners.is_empty() {
            return Err(BindError::NoListener);
        }
        let slots = Slots::new(self.max_connections);
        let shared = Shared { sessions: Sessions::new(), slots, tracker: TaskTracker::new() };
        let mut bound = Vec::new();
        for listener in self.listeners {
            if listener.addresses.is_empty() {
                return Err(BindError::NoAddress { listener: listener.name });
            }
            if listener.lacks_certificate() {
                return Err(BindError::NoCertificate { listener: listener.name, mode: listener.tls_mode });
            }
            let slots = Slots::new(listener.max_connections);
            let entrance = Entrance { listener: Arc::new(listener), slots, shared: shared.clone() };
            for address in &entrance.listener.addresses {
                let listen = || {
                    let socket = address.listen(entrance.listener.backlog)?;
                    let local = socket.local_addr()?;
                    Ok((socket, local))
                };
                let (socket, local) = listen().map_err(|source| BindError::Bind {
                    listener: entrance.listener.name.clone(),
                    address: *address,
                    source,
                })?;
                bound.push(Bound { socket, local, entrance: entrance.clone() });
            }
        }
        Ok(BoundServer { bound, shared })
    }
}

/// A server whose sockets listen. Clients can connect already; they wait for [`start`](Self::start).
#[derive(Debug)]
pub struct BoundServer {
    bound: Vec<Bound>,
    shared: Shared,
}

#[derive(Debug)]
struct Bound {
    socket: std::net::TcpListener,
    local: SocketAddr,
    entrance: Entrance,
}

impl BoundServer {
    /// The name of each listener with each of its addresses, in the order in which they were added, with the port that
    /// the system chose where 0 was given.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.bound.iter().map(|bound| (bound.entrance.listener.name.clone(), bound.local)).collect()
    }

    /// Serves, in tasks of the current tokio runtime, which needs I/O and time enabled.
    ///
    /// # Errors
    ///
    /// The runtime can't take a socket.
    ///
    /// # Panics
    ///
    /// Outside a runtime, as everything of tokio that needs one.
    pub fn start(self) -> io::Result<ServerHandle> {
        let local_addrs = self.local_addrs().into();
        let sockets = self
            .bound
            .into_iter()
            .map(|bound| Ok((tokio::net::TcpListener::from_std(bound.socket)?, bound.local, bound.entrance)))
            .collect::<io::Result<Vec<_>>>()?;
        let (stop, entrances) = (CancellationToken::new(), TaskTracker::new());
        for (socket, local, entrance) in sockets {
            debug!(listener = %entrance.listener.name, %local, "listening");
            entrances.spawn(entrance.run(socket, stop.clone()));
        }
        entrances.close();
        Ok(ServerHandle { local_addrs, stop, entrances, shared: self.shared })
    }
}

/// A server that runs. Clones are handles of the same one; dropping them all leaves it running.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    local_addrs: Arc<[(Arc<str>, SocketAddr)]>,
    stop: CancellationToken,
    entrances: TaskTracker,
    shared: Shared,
}

impl ServerHandle {
    /// See [`BoundServer::local_addrs`].
    #[must_use]
    pub fn local_addrs(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.local_addrs
    }

    /// The first address of the listener with this name.
    #[must_use]
    pub fn local_addr(&self, listener: &str) -> Option<SocketAddr> {
        self.local_addrs.iter().find(|(name, _)| **name == *listener).map(|(_, address)| *address)
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.sessions.count()
    }

    /// Says something to every conversation, and returns to how many.
    pub fn broadcast(&self, control: &Control) -> usize {
        self.shared.sessions.tell(control)
    }

    /// Says something to one conversation, and returns whether it is still there.
    pub fn send(&self, session: SessionId, control: Control) -> bool {
        self.shared.sessions.tell_one(session, control)
    }

    /// Leaves well: stops accepting, tells every conversation to end after the command that runs now, with this text,
    /// and drops those that are still there after `grace`.
    ///
    /// The listening sockets are closed when the first await returns. Calling it again, from another handle too, is
    /// fine: with a `grace` of zero, as after a second signal, it ends the wait of the first call.
    pub async fn shutdown(&self, text: &str, grace: Duration) -> Drained {
        self.stop.cancel();
        self.entrances.wait().await;
        let told = self.shared.sessions.close(text.into());
        info!(connections = told, ?grace, "shutting down");
        self.shared.tracker.close();
        let dropped = match tokio::time::timeout(grace, self.shared.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => {
                let dropped = self.shared.sessions.drop_all();
                self.shared.tracker.wait().await;
                dropped
            }
        };
        info!(dropped, "shut down");
        Drained { finished: told.saturating_sub(dropped), dropped }
    }

    /// Waits until the server was shut down and its last connection has ended.
    pub async fn stopped(&self) {
        self.entrances.wait().await;
        self.shared.tracker.wait().await;
    }
}

/// What a shutdown left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that ended in time.
    pub finished: usize,
    /// Connections that were dropped.
    pub dropped: usize,
}

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
        /// The address.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
}
