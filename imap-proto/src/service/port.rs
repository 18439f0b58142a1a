//! The way between a running command and its session.
//!
//! A command is a future of its own. All it may await besides the backend is this port: one slot for a reply on its way
//! to the session, one for input on its way to the command. Both ends live in one task, so the port has no wakers: the
//! conversation empties the slots after each poll and polls again.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use pillarbox_proto_core::backend::{AppendMessage, Batch};

use super::reply::Reply;

/// One end of the slots; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Port(Arc<Mutex<Slots>>);

#[derive(Default)]
struct Slots {
    reply: Option<Reply>,
    input: Option<Input>,
    /// Room for rows that has been used before.
    batch: Option<Batch>,
    /// The command waits for input.
    hungry: bool,
    /// The client has ended its IDLE.
    done: bool,
    /// In an IDLE, the time for a sign of life has come.
    beat: bool,
    /// Nothing waited to be sent when the command was let go on.
    flows: bool,
}

/// What a client sends while its command runs. Not to be shown in any form: it may be a password.
pub(crate) enum Input {
    /// A part of the literal that was accepted.
    Chunk(Bytes),
    /// The literal is complete and another message follows (MULTIAPPEND).
    Message(AppendMessage),
    /// The literal is complete and so is the command.
    End,
    /// A line of a SASL exchange, decoded.
    Response(Vec<u8>),
    /// What the client sent makes no sense here; the session answers it.
    Bad,
}

impl Port {
    /// Hands a reply to the session; resolves when the session has room for the next.
    pub(crate) async fn emit(&self, reply: Reply) {
        self.ready().await;
        self.slots().reply = Some(reply);
    }

    /// Resolves when the reply before has been taken. The session does not take it while its output is full.
    async fn ready(&self) {
        poll_fn(|_| if self.slots().reply.is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Waits until everything emitted so far has been taken by the session.
    pub(crate) async fn settle(&self) {
        self.ready().await;
    }

    /// Resolves when all output is with the socket, or whoever takes it. Then nothing of what was emitted is held.
    pub(crate) async fn drained(&self) {
        poll_fn(|_| {
            let slots = self.slots();
            if slots.reply.is_none() && slots.flows { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Lets the other tasks have their turn.
    pub(crate) async fn cooperate(&self) {
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// The next input for this command.
    pub(crate) async fn input(&self) -> Input {
        poll_fn(|_| {
            let mut slots = self.slots();
            match slots.input.take() {
                Some(input) => {
                    slots.hungry = false;
                    Poll::Ready(input)
                }
                None => {
                    slots.hungry = true;
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Whether the client has ended its IDLE.
    pub(crate) fn is_done(&self) -> bool {
        self.slots().done
    }

    /// Whether the time for a sign of life has come since this was asked last.
    pub(crate) fn take_beat(&self) -> bool {
        std::mem::take(&mut self.slots().beat)
    }

    /// Room for rows, used before if possible.
    pub(crate) fn batch(&self, rows: usize, bytes: usize) -> Batch {
        match self.slots().batch.take() {
            Some(mut batch) => {
                batch.resize(rows, bytes);
                batch
            }
            None => Batch::new(rows, bytes),
        }
    }

    /// Whether the client had been sent everything when the command went on last.
    pub(crate) fn flows(&self) -> bool {
        self.slots().flows
    }

    // The session's end.

    pub(crate) fn take_reply(&self) -> Option<Reply> {
        self.slots().reply.take()
    }

    pub(crate) fn set_flows(&self, flows: bool) {
        self.slots().flows = flows;
    }

    pub(crate) fn is_hungry(&self) -> bool {
        let slots = self.slots();
        slots.hungry && slots.input.is_none()
    }

    pub(crate) fn feed(&self, input: Input) {
        self.slots().input = Some(input);
    }

    pub(crate) fn end_idle(&self) {
        self.slots().done = true;
    }

    pub(crate) fn beat(&self) {
        self.slots().beat = true;
    }

    pub(crate) fn recycle(&self, mut batch: Batch) {
        batch.clear();
        self.slots().batch = Some(batch);
    }

    /// Forgets everything: the command is over.
    pub(crate) fn reset(&self) {
        *self.slots() = Slots::default();
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Nothing panics while it holds the lock, and the slots would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Port")
    }
}
