//! From a listening socket to a conversation.
//!
//! In this order, each step only for who passed the one before:
//!
//! 1. accept, with a pause when the system has no room;
//! 2. the limits on open connections, of the server and of the listener: in the accept loop, so that a refused
//!    connection costs a descriptor for a moment and nothing else;
//! 3. in a task of its own from here on: the listener's gates;
//! 4. TLS, in the mode that has it from the first byte;
//! 5. the conversation.
//!
//! Whoever is refused in 2 or 3 gets no byte, and its slot is free at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::Connection;
use pillarbox_proto_core::connection::SessionId;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info_span, trace, warn};

use crate::control::ControlInbox;
use crate::listener::Listener;
use crate::serve::{ServeError, ServeOptions, serve_layered};
use crate::sessions::{Registration, Sessions};
use crate::slots::{Slot, Slots};
use crate::stream::{Layered, without_delay};

/// The first pause after an accept for which the system had no room; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the accept loops of one server share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) tracker: TaskTracker,
}

/// What the accept loops of one listener share.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    pub(crate) listener: Arc<Listener>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) shared: Shared,
}

impl Entrance {
    /// Accepts until told to stop.
    pub(crate) async fn run(self, socket: TcpListener, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        while let Some(accepted) = stop.run_until_cancelled(socket.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    self.admit(stream, peer);
                }
                Err(error) if is_about_one_connection(&error) => {
                    debug!(listener = %self.listener.name, %error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    warn!(listener = %self.listener.name, %error, ?pause, "cannot accept");
                    if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        break;
                    }
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    /// Step 2: room for it, or the end.
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let peer = canonical(peer);
        let Some(slots) = self.slots.take().zip(self.shared.slots.take()) else {
            debug!(listener = %self.listener.name, %peer, "too many connections: refused");
            return;
        };
        self.shared.sessions.start(|id, inbox, registration| {
            let span = info_span!("session", %id, listener = %self.listener.name, %peer);
            let visitor = Visitor { stream, peer, listener: self.listener.clone() };
            let badge = Badge { _slots: slots, _registration: registration };
            self.shared.tracker.spawn(visitor.receive(id, inbox, badge).instrument(span))
        });
    }
}

/// What a session gives back when it ends, in whatever way.
struct Badge {
    _slots: (Slot, Slot),
    _registration: Registration,
}

struct Visitor {
    stream: TcpStream,
    peer: SocketAddr,
    listener: Arc<Listener>,
}

impl Visitor {
    /// Steps 3 to 5.
    async fn receive(self, id: SessionId, inbox: ControlInbox, badge: Badge) {
        let listener = self.listener;
        // Boxed: a handshake is large and short, a session small and long.
        let Some((stream, connection)) = Box::pin(prepare(self.stream, self.peer, id, &listener)).await else { return };
        trace!("connected");
        let conversation = (listener.make)(connection);
        let mut options = ServeOptions::new();
        options.controls = Some(inbox);
        options.finish_grace = listener.finish_grace;
        options.write_grace = listener.write_grace;
        #[cfg(feature = "tls")]
        if listener.tls_mode.upgrades() {
            options.tls.clone_from(&listener.tls);
        }
        // What the conversation does not need is not kept for as long as it takes.
        drop(listener);
        match serve_layered(stream, conversation, options).await {
            Ok(outcome) => {
                let error = outcome.error.map(tracing::field::display);
                debug!(end = ?outcome.end, received = outcome.received, sent = outcome.sent, error, "ended");
            }
            // Not the client's fault: the conversation was made for other layers than its listener has.
            Err(error @ ServeError::Layer(_)) => warn!(%error, "dropped"),
            #[cfg(feature = "tls")]
            Err(error) => debug!(%error, "dropped"),
        }
        drop(badge);
    }
}

/// Steps 3 and 4.
async fn prepare(
    stream: TcpStream,
    peer: SocketAddr,
    id: SessionId,
    listener: &Listener,
) -> Option<(Layered<TcpStream>, Connection)> {
    without_delay(&stream);
    let mut connection = Connection::new(id);
    connection.service = listener.name.clone();
    connection.peer = Some(peer);
    connection.local = stream.local_addr().ok().map(canonical);
    for gate in &listener.gates {
        if let Err(refusal) = gate.admit(&mut connection).await {
            debug!(%refusal, "refused");
            return None;
        }
    }
    secure(stream, connection, listener).await
}

/// Step 4.
#[cfg(feature = "tls")]
async fn secure(
    stream: TcpStream,
    mut connection: Connection,
    listener: &Listener,
) -> Option<(Layered<TcpStream>, Connection)> {
    use pillarbox_proto_core::connection::TlsMode;

    let (TlsMode::Connection, Some(acceptor)) = (listener.tls_mode, &listener.tls) else {
        return Some((Layered::Plain(stream), connection));
    };
    match acceptor.accept(stream).await {
        Ok((stream, info)) => {
            connection.tls = Some(Arc::new(info));
            Some((Layered::Tls(Box::new(stream)), connection))
        }
        Err(error) => {
            debug!(%error, "TLS handshake failed");
            None
        }
    }
}

/// Without TLS there is no step 4, and [`bind`](crate::Server::bind) refused every listener that wants it.
#[cfg(not(feature = "tls"))]
async fn secure(stream: TcpStream, connection: Connection, _: &Listener) -> Option<(Layered<TcpStream>, Connection)> {
    Some((Layered::Plain(stream), connection))
}

/// An IPv4 client of an IPv6 socket has its IPv4 address.
fn canonical(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(address.ip().to_canonical());
    address
}

/// Whether the next accept can go well at once: the error is that of a connection that ended while it waited.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replies_are_not_delayed() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = socket.accept().await.unwrap();
        assert!(!stream.nodelay().unwrap());
        let listener = Listener::new("test", |_| unreachable!("not made here"));
        let (stream, _) = prepare(stream, peer, SessionId::new(1), &listener).await.unwrap();
        let Layered::Plain(stream) = stream else { panic!("no TLS here") };
        assert!(stream.nodelay().unwrap());
    }

    #[test]
    fn mapped_addresses_are_unmapped() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:143".parse().unwrap();
        assert_eq!(canonical(mapped).to_string(), "192.0.2.1:143");
        let real: SocketAddr = "[2001:db8::1]:143".parse().unwrap();
        assert_eq!(canonical(real), real);
    }
}
