//! What wakes a thread that waits for its conversation: one queue for all that can happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::task::{Wake, Waker};

/// What can happen to a connection.
pub(crate) enum Event {
    /// The backend has an answer, or news.
    Rung,
    /// The client sent this.
    Input(Vec<u8>),
    /// The client will send no more.
    End,
    /// The client can't be reached.
    Lost,
}

/// A waker that puts an event into the queue. However often it is rung, one waits at most.
pub(crate) struct Bell {
    rung: AtomicBool,
    events: Sender<Event>,
}

impl Bell {
    pub(crate) fn new(events: Sender<Event>) -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self { rung: AtomicBool::new(false), events });
        (bell.clone(), bell.into())
    }

    /// The event has been taken out: the next ring puts in another.
    pub(crate) fn answered(&self) {
        self.rung.store(false, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The connection may have ended meanwhile; then nobody needs to be woken.
            let _ = self.events.send(Event::Rung);
        }
    }
}
