//! The way between running work and its session.
//!
//! Work is a future of its own. All that it awaits besides the backend is this port: one slot for a word on its way to
//! the session, one for a line of the client. Both ends live in one task, so the port has no wakers: the conversation
//! empties and fills the slots after each poll, and polls again. While the output is full the slot is not emptied, and
//! the work waits.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::session::SaslLine;
use crate::session::job::Reply;

/// One end of the slots; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Port(Arc<Mutex<Slots>>);

#[derive(Debug, Default)]
struct Slots {
    reply: Option<Reply>,
    line: Option<SaslLine>,
    /// A line is awaited.
    hungry: bool,
    /// The work lets others go first.
    yielded: bool,
    /// Nothing waited to be sent when the work was let go on.
    flows: bool,
}

impl Port {
    /// Hands a word to the session; resolves when there was room for it.
    pub(super) async fn emit(&self, reply: Reply) {
        self.settled().await;
        self.slots().reply = Some(reply);
    }

    /// Resolves when the session has taken everything.
    pub(super) async fn settled(&self) {
        poll_fn(|_| if self.slots().reply.is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Resolves when all output is with the socket, or whoever takes it. Then nothing of what was emitted is held.
    pub(super) async fn drained(&self) {
        poll_fn(|_| {
            let slots = self.slots();
            if slots.reply.is_none() && slots.flows { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The client's next line in a SASL exchange.
    pub(super) async fn line(&self) -> SaslLine {
        poll_fn(|_| {
            let mut slots = self.slots();
            match slots.line.take() {
                Some(line) => {
                    slots.hungry = false;
                    Poll::Ready(line)
                }
                None => {
                    slots.hungry = true;
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Lets others go first: to be called once in a while by work that could go on for long.
    pub(super) async fn cooperate(&self) {
        let mut done = false;
        poll_fn(|_| {
            if done {
                return Poll::Ready(());
            }
            done = true;
            self.slots().yielded = true;
            Poll::Pending
        })
        .await;
    }

    // The session's end.

    pub(super) fn take_reply(&self) -> Option<Reply> {
        self.slots().reply.take()
    }

    pub(super) fn set_flows(&self, flows: bool) {
        self.slots().flows = flows;
    }

    pub(super) fn take_yield(&self) -> bool {
        std::mem::take(&mut self.slots().yielded)
    }

    /// Whether a line is awaited. Everything said before has to be taken first, so that challenges go out in order.
    pub(super) fn is_hungry(&self) -> bool {
        let slots = self.slots();
        slots.hungry && slots.line.is_none() && slots.reply.is_none()
    }

    pub(super) fn feed(&self, line: SaslLine) {
        self.slots().line = Some(line);
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Nothing panics while it holds the lock, and the slots would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
