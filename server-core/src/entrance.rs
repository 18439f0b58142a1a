//! The way in: accepting, and making room.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error_span, field, warn};

use crate::accept::{Badge, Visitor};
use crate::gate::Gate;
use crate::incoming::{Incoming, NotServed};
use crate::limits::{AddressLimits, MemoryCeiling, MemoryShare, Penalties};
use crate::listener::Listener;
use crate::metrics::Meters;
use crate::record::Record;
use crate::refused::Refused;
use crate::scribe::Desk;
use crate::serve::Outcome;
use crate::sessions::Sessions;
use crate::slots::{Slot, Slots};
use crate::socket::{Door, is_about_one_connection};

/// The first pause after an accept for which the system had no room; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often the log is told, beyond its details, that there is no room.
const FULL_AGAIN: Duration = Duration::from_secs(60);

/// What all listeners of one server share.
pub(crate) struct Shared {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) slots: Arc<Slots>,
    /// The tasks of all sessions.
    pub(crate) tracker: TaskTracker,
    /// Cancelled, nothing more is accepted.
    pub(crate) stop: CancellationToken,
    /// Cancelled, good-byes are said at once.
    pub(crate) hurry: CancellationToken,
    /// How many connections may still be accepted, where that is limited.
    pub(crate) uses: Option<Mutex<u64>>,
    pub(crate) gates: Vec<Arc<dyn Gate>>,
    pub(crate) address_limits: Option<AddressLimits>,
    pub(crate) penalties: Option<Penalties>,
    pub(crate) memory: Option<MemoryCeiling>,
    /// Who writes transcripts and telemetry, where there are any.
    pub(crate) desk: Desk,
}

/// The way to one listener.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) listener: Arc<Listener>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) slots: Arc<Slots>,
    /// For a listener that serves one after another.
    turn: Option<Arc<Semaphore>>,
    shared: Arc<Shared>,
}

/// Room for one connection.
struct Room {
    slots: (Slot, Slot),
    memory: Option<MemoryShare>,
}

impl Entrance {
    pub(crate) fn new(listener: Listener, shared: Arc<Shared>) -> Self {
        let slots = Slots::new(listener.max_connections);
        let turn = listener.one_at_a_time.then(|| Arc::new(Semaphore::new(1)));
        let meters = Arc::new(Meters::new(listener.name.clone()));
        Self { listener: Arc::new(listener), meters, slots, turn, shared }
    }

    /// Accepts until told to stop.
    pub(crate) async fn run(self, doors: Vec<Door>) {
        let stop = &self.shared.stop;
        let mut pause = FIRST_PAUSE;
        let mut next = 0;
        let mut told_full = None;
        while !stop.is_cancelled() {
            let Some(turn) = stop.run_until_cancelled(self.wait_for_turn()).await else { break };
            let arrival = poll_fn(|cx| self.poll_arrival(cx, &doors, &mut next));
            match stop.run_until_cancelled(arrival).await {
                Some(Ok((incoming, room))) => {
                    pause = FIRST_PAUSE;
                    match room {
                        Ok(room) => self.start(incoming, room, turn, None),
                        Err(refused) => {
                            self.meters.refused(refused);
                            refused.note(&self.listener.name, incoming.connection.peer, &refused);
                            let now = crate::now();
                            if told_full.is_none_or(|before| now >= before + FULL_AGAIN) {
                                told_full = Some(now);
                                warn!(listener = %self.listener.name, cause = %refused, "full: connections are refused");
                            }
                        }
                    }
                }
                Some(Err(error)) if is_about_one_connection(&error) => {
                    debug!(listener = %self.listener.name, %error, "a connection was gone before it was accepted");
                }
                Some(Err(error)) => {
                    warn!(listener = %self.listener.name, %error, ?pause, "cannot accept");
                    let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
                None => break,
            }
        }
    }

    /// The permit to accept the next one, where they are served one after another.
    async fn wait_for_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turn.clone()?.acquire_owned().await.ok()
    }

    /// The next connection, and room for it or why there is none.
    fn poll_arrival(
        &self,
        cx: &mut Context<'_>,
        doors: &[Door],
        next: &mut usize,
    ) -> Poll<io::Result<(Incoming, Result<Room, Refused>)>> {
        // Held while it is accepted, so that with several listeners there is never one too many.
        let mut left = self.shared.uses.as_ref().map(|left| left.lock().unwrap_or_else(PoisonError::into_inner));
        if left.as_ref().is_some_and(|left| **left == 0) {
            return Poll::Pending;
        }
        for _ in doors {
            // A door after the one where the last came in: none is left waiting behind a busy one.
            *next = (*next + 1) % doors.len();
            let Some(door) = doors.get(*next) else { continue };
            let Poll::Ready(accepted) = door.poll_accept(cx) else { continue };
            let (transport, peer) = accepted?;
            let room = self.room();
            if let (Ok(_), Some(left)) = (&room, &mut left) {
                **left -= 1;
                if **left == 0 {
                    debug!("as many connections as wanted: no more is accepted");
                    self.shared.stop.cancel();
                }
            }
            return Poll::Ready(Ok((Incoming::accepted(transport, peer), room)));
        }
        Poll::Pending
    }

    fn room(&self) -> Result<Room, Refused> {
        let own = self.slots.take().ok_or(Refused::ListenerFull)?;
        let total = self.shared.slots.take().ok_or(Refused::ServerFull)?;
        let memory = self.shared.memory.as_ref().map(MemoryCeiling::admit).transpose()?;
        Ok(Room { slots: (own, total), memory })
    }

    /// Takes a connection that did not come through a door.
    pub(crate) fn hand_in(
        &self,
        incoming: Incoming,
        report: oneshot::Sender<Result<Outcome, NotServed>>,
    ) -> Result<(), Refused> {
        if self.shared.stop.is_cancelled() {
            return Err(Refused::Closing);
        }
        let room = match self.room() {
            Err(_) if !incoming.checked => {
                Room { slots: (self.slots.take_beyond(), self.shared.slots.take_beyond()), memory: None }
            }
            room => room?,
        };
        self.start(incoming, room, None, Some(report));
        Ok(())
    }

    /// Gives it a task of its own.
    fn start(
        &self,
        incoming: Incoming,
        room: Room,
        turn: Option<OwnedSemaphorePermit>,
        report: Option<oneshot::Sender<Result<Outcome, NotServed>>>,
    ) {
        let listener = self.listener.clone();
        let peer = incoming.connection.peer;
        let record = |id| Record::new(id, peer, self.meters.clone());
        self.shared.sessions.start(record, |record, inbox, registration| {
            let id = record.id();
            let peer = peer.map(field::display);
            // Of a level that every log has: what is logged within it, at whatever level, has to tell its session.
            let span = error_span!("session", %id, listener = %listener.name, peer, client = field::Empty);
            // In a box that goes when the conversation begins: the task keeps what it keeps for as long as it lasts.
            let (shared, memory) = (self.shared.clone(), room.memory);
            let visitor = Box::new(Visitor { record, inbox, incoming, listener, shared, memory });
            let badge = Badge { slots: room.slots, registration, turn, address: None };
            self.shared.tracker.spawn(visitor.receive(badge, report).instrument(span))
        });
    }
}
