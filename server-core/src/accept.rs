//! From an open connection to a conversation.
//!
//! In this order, each step only for who passed the one before:
//!
//! 1. accept, with a pause when the system has no room;
//! 2. the limits on open connections, of the listener and of the server, and the ceiling for memory: in the accept loop
//!    (`entrance`), so that a refused connection costs a descriptor for a moment and nothing else;
//! 3. in a task of its own from here on: the PROXY header, if the peer is a trusted proxy. "Address" is from here on the
//!    one that it names;
//! 4. the block list;
//! 5. the listener's gates;
//! 6. the server's gates;
//! 7. the limits of the address: open connections, new connections in a time;
//! 8. TLS, in the mode that has it from the first byte;
//! 9. the preauth hook;
//! 10. the conversation.
//!
//! Whoever is refused before 8 gets no byte; in all steps its slot is free at once.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use pillarbox_proto_core::Connection;
use pillarbox_proto_core::connection::SessionId;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{Span, debug, field, trace, warn};

use crate::control::ControlInbox;
use crate::entrance::Shared;
use crate::gate::Gate;
use crate::incoming::{Incoming, NotServed};
use crate::limits::{AddressGuard, LimitReached, MemoryShare};
use crate::listener::Listener;
use crate::proxy_protocol;
use crate::refused::Refused;
use crate::serve::{Outcome, ServeError, ServeOptions, serve_layered};
use crate::sessions::Registration;
use crate::slots::Slot;
use crate::stream::Layered;
use crate::transport::Transport;

/// What a session gives back when it ends, in whatever way.
pub(crate) struct Badge {
    #[expect(dead_code, reason = "given back when dropped")]
    pub(crate) slots: (Slot, Slot),
    #[expect(dead_code, reason = "given back when dropped")]
    pub(crate) registration: Registration,
    #[expect(dead_code, reason = "given back when dropped")]
    pub(crate) turn: Option<OwnedSemaphorePermit>,
    pub(crate) address: Option<AddressGuard>,
}

/// Who came in, on the way to a conversation.
pub(crate) struct Visitor {
    pub(crate) id: SessionId,
    pub(crate) incoming: Incoming,
    pub(crate) listener: Arc<Listener>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) memory: Option<MemoryShare>,
}

/// A cause, and in words what exactly it was.
struct Turned(Refused, String);

fn turned(cause: Refused, reason: impl fmt::Display) -> Turned {
    Turned(cause, reason.to_string())
}

impl From<LimitReached> for Turned {
    fn from(limit: LimitReached) -> Self {
        turned(limit.into(), limit)
    }
}

impl Visitor {
    /// Steps 3 to 10.
    pub(crate) async fn receive(
        mut self: Box<Self>,
        inbox: ControlInbox,
        mut badge: Badge,
        report: Option<oneshot::Sender<Result<Outcome, NotServed>>>,
    ) {
        let (listener, memory) = (self.listener.clone(), self.memory.take());
        // Boxed: a handshake is large and short, a session small and long.
        let (stream, connection) = match Box::pin(self.prepare()).await {
            Ok((stream, connection, guard)) => {
                badge.address = guard;
                (stream, connection)
            }
            Err((Turned(cause, reason), peer)) => {
                cause.note(&listener.name, peer, &reason);
                drop((memory, badge));
                if let Some(report) = report {
                    let _ = report.send(Err(NotServed::Refused(cause)));
                }
                return;
            }
        };
        trace!("connected");
        let conversation = (listener.make)(connection);
        let mut options = ServeOptions::new();
        options.controls = Some(inbox);
        options.finish_grace = listener.finish_grace;
        options.write_grace = listener.write_grace;
        options.write_stall = listener.write_stall;
        options.min_rate = listener.min_rate;
        options.memory = memory;
        #[cfg(feature = "tls")]
        if listener.tls_mode.upgrades() {
            options.tls.clone_from(&listener.tls);
        }
        // What the conversation does not need is not kept for as long as it takes.
        drop(listener);
        let outcome = serve_layered(stream, conversation, options).await;
        match &outcome {
            Ok(outcome) => {
                let error = outcome.error.as_ref().map(field::display);
                debug!(end = ?outcome.end, received = outcome.received, sent = outcome.sent, error, "ended");
            }
            // Not the client's fault: the conversation was made for other layers than its listener has.
            Err(error @ ServeError::Layer(_)) => warn!(%error, "dropped"),
            #[cfg(feature = "tls")]
            Err(error) => debug!(%error, "dropped"),
        }
        drop(badge);
        if let Some(report) = report {
            let _ = report.send(outcome.map_err(NotServed::from));
        }
    }

    /// Steps 3 to 9.
    async fn prepare(
        self: Box<Self>,
    ) -> Result<(Layered<Transport>, Connection, Option<AddressGuard>), (Turned, Option<std::net::SocketAddr>)> {
        let Self { id, incoming, listener, shared, .. } = *self;
        let Incoming { mut transport, mut connection, checked } = incoming;
        connection.id = id;
        connection.service = listener.name.clone();
        if let Some(tcp) = transport.tcp() {
            let is_ipv6 = connection.local.is_some_and(|local| local.is_ipv6());
            listener.socket_options.apply(socket2::SockRef::from(tcp), is_ipv6);
        }
        let passed = async {
            let guard = if checked {
                hear_proxy(&mut transport, &mut connection, &listener).await?;
                let client = connection.client().map(|client| client.ip());
                check_block_list(client, &shared)?;
                pass(&listener.gates, &mut connection, Refused::ListenerGate).await?;
                pass(&shared.gates, &mut connection, Refused::ServerGate).await?;
                count_address(client, &shared)?
            } else {
                None
            };
            let stream = secure(transport, &mut connection, &listener).await?;
            identify(&mut connection, &listener).await?;
            Ok((stream, guard))
        };
        match passed.await {
            Ok((stream, guard)) => Ok((stream, connection, guard)),
            Err(turned) => Err((turned, connection.client())),
        }
    }
}

/// Step 3.
async fn hear_proxy(transport: &mut Transport, connection: &mut Connection, listener: &Listener) -> Result<(), Turned> {
    let Some(peer) = connection.peer.map(|peer| peer.ip()) else { return Ok(()) };
    if !listener.proxy_networks.iter().any(|network| network.contains(peer)) {
        return Ok(());
    }
    let header = tokio::time::timeout(listener.proxy_timeout, proxy_protocol::read(transport))
        .await
        .map_err(|_| turned(Refused::ProxyHeader, "the PROXY header took too long"))?
        .map_err(|error| turned(Refused::ProxyHeader, error))?;
    header.apply(connection);
    if let Some((client, _)) = connection.proxied {
        Span::current().record("client", field::display(client));
    }
    debug!(
        client = connection.proxied.map(|(client, _)| field::display(client)),
        proxy_id = connection.proxy_id.as_deref(),
        "proxied"
    );
    Ok(())
}

/// Step 4.
fn check_block_list(client: Option<IpAddr>, shared: &Shared) -> Result<(), Turned> {
    match (client, &shared.penalties) {
        (Some(client), Some(penalties)) => Ok(penalties.admit(client)?),
        _ => Ok(()),
    }
}

/// Steps 5 and 6.
async fn pass(gates: &[Arc<dyn Gate>], connection: &mut Connection, cause: Refused) -> Result<(), Turned> {
    for gate in gates {
        gate.admit(connection).await.map_err(|refusal| turned(cause, refusal))?;
    }
    Ok(())
}

/// Step 7.
fn count_address(client: Option<IpAddr>, shared: &Shared) -> Result<Option<AddressGuard>, Turned> {
    match (client, &shared.address_limits) {
        (Some(client), Some(limits)) => Ok(Some(limits.admit(client)?)),
        _ => Ok(None),
    }
}

/// Step 8.
#[cfg(feature = "tls")]
async fn secure(
    transport: Transport,
    connection: &mut Connection,
    listener: &Listener,
) -> Result<Layered<Transport>, Turned> {
    use pillarbox_proto_core::connection::TlsMode;

    let (TlsMode::Connection, Some(acceptor)) = (listener.tls_mode, &listener.tls) else {
        return Ok(Layered::Plain(transport));
    };
    let (stream, info) = acceptor.accept(transport).await.map_err(|error| turned(Refused::Handshake, error))?;
    connection.tls = Some(Arc::new(info));
    Ok(Layered::Tls(Box::new(stream)))
}

/// Without TLS there is no step 8, and [`bind`](crate::Server::bind) refused every listener that wants it.
#[cfg(not(feature = "tls"))]
async fn secure(transport: Transport, _: &mut Connection, _: &Listener) -> Result<Layered<Transport>, Turned> {
    Ok(Layered::Plain(transport))
}

/// Step 9.
async fn identify(connection: &mut Connection, listener: &Listener) -> Result<(), Turned> {
    // Whose account can't be opened has no other way in either, which the conversation finds out.
    connection.preauth_only |= listener.preauth_only;
    // Who handed it in may have known.
    if let (None, Some(hook)) = (&connection.preauth, &listener.preauth) {
        match hook.identify(connection).await {
            Ok(identity) => connection.preauth = Some(identity),
            Err(reason) if listener.preauth_only => return Err(turned(Refused::Unidentified, reason)),
            Err(reason) => debug!(%reason, "the client is not identified"),
        }
    }
    if connection.preauth.is_none() && listener.preauth_only {
        return Err(turned(Refused::Unidentified, "there is nothing to identify it by"));
    }
    Ok(())
}
