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

use pillarbox_proto_core::{Connection, Conversation};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{Span, debug, field, trace, warn};

use crate::control::ControlInbox;
use crate::entrance::Shared;
use crate::gate::Gate;
use crate::incoming::{Incoming, NotServed};
use crate::limits::{AddressGuard, LimitReached, MemoryShare};
use crate::listener::Listener;
use crate::proxy_protocol;
use crate::record::Record;
use crate::refused::Refused;
use crate::serve::{Outcome, ServeError, ServeOptions, serve_layered};
use crate::sessions::Registration;
use crate::slots::Slot;
use crate::stream::Layered;
use crate::tap::Tap;
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
    pub(crate) record: Arc<Record>,
    pub(crate) inbox: ControlInbox,
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
    ///
    /// What is a local here lies in the task's memory for as long as the session takes, used or not; so all that is
    /// needed before the conversation begins is a local of something that is boxed, or that is no future.
    pub(crate) async fn receive(
        self: Box<Self>,
        mut badge: Badge,
        report: Option<oneshot::Sender<Result<Outcome, NotServed>>>,
    ) {
        let record = self.record.clone();
        let outcome = match Box::pin(self.prepare()).await {
            Ok(mut ready) => {
                badge.address = ready.guard.take();
                ready.serve().await.inspect_err(note_error).map_err(NotServed::from)
            }
            Err(cause) => {
                record.meters.refused(cause);
                Err(NotServed::Refused(cause))
            }
        };
        if let Ok(outcome) = &outcome {
            record.ended(&outcome.end, outcome.error.as_ref().map(|error| error as &dyn fmt::Display));
        }
        drop(badge);
        if let Some(report) = report {
            let _ = report.send(outcome);
        }
    }

    /// Steps 3 to 9, and the beginning of 10.
    async fn prepare(self: Box<Self>) -> Result<Box<Ready>, Refused> {
        let Self { record, inbox, incoming, listener, shared, memory } = *self;
        let Incoming { mut transport, mut connection, checked } = incoming;
        connection.id = record.id();
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
            let stream = secure(transport, &mut connection, &listener, &record).await?;
            identify(&mut connection, &listener).await?;
            Ok((stream, guard))
        };
        match passed.await {
            Ok((stream, guard)) => {
                trace!("connected");
                record.observe(&mut connection);
                let tap = Tap::new(&listener, &record, &shared.desk);
                let conversation = (listener.make)(connection);
                let mut options = ServeOptions::new();
                options.controls = Some(inbox);
                options.finish_grace = listener.finish_grace;
                options.write_grace = listener.write_grace;
                options.write_stall = listener.write_stall;
                options.min_rate = listener.min_rate;
                options.memory = memory;
                options.tap = tap;
                options.record = Some(record);
                #[cfg(feature = "tls")]
                if listener.tls_mode.upgrades() {
                    options.tls.clone_from(&listener.tls);
                }
                Ok(Box::new(Ready { stream, conversation, options, guard }))
            }
            Err(Turned(cause, reason)) => {
                cause.note(&listener.name, connection.client(), &reason);
                Err(cause)
            }
        }
    }
}

/// All that a session begins with.
struct Ready {
    stream: Layered<Transport>,
    conversation: Box<dyn Conversation>,
    options: ServeOptions,
    guard: Option<AddressGuard>,
}

impl Ready {
    /// Step 10.
    fn serve(self: Box<Self>) -> impl Future<Output = Result<Outcome, ServeError>> {
        let Self { stream, conversation, options, .. } = *self;
        serve_layered(stream, conversation, options)
    }
}

fn note_error(error: &ServeError) {
    match error {
        // Not the client's fault: the conversation was made for other layers than its listener has.
        ServeError::Layer(_) => warn!(%error, "dropped"),
        #[cfg(feature = "tls")]
        ServeError::Handshake(_) => debug!(%error, "dropped"),
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
    record: &Record,
) -> Result<Layered<Transport>, Turned> {
    use pillarbox_proto_core::connection::TlsMode;

    let (TlsMode::Connection, Some(acceptor)) = (listener.tls_mode, &listener.tls) else {
        return Ok(Layered::Plain(transport));
    };
    let accepted = acceptor.accept(transport).await;
    record.meters.handshake(accepted.is_ok());
    let (stream, info) = accepted.map_err(|error| turned(Refused::Handshake, error))?;
    connection.tls = Some(Arc::new(info));
    Ok(Layered::Tls(Box::new(stream)))
}

/// Without TLS there is no step 8, and [`bind`](crate::Server::bind) refused every listener that wants it.
#[cfg(not(feature = "tls"))]
async fn secure(
    transport: Transport,
    _: &mut Connection,
    _: &Listener,
    _: &Record,
) -> Result<Layered<Transport>, Turned> {
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
