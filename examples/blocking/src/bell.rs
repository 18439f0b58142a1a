//! What wakes a thread that waits for its conversation.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

/// A bell that other threads ring through its waker. However often it is rung, it is answered once.
///
/// Not a parked thread: a backend that waits for a lock or a channel in our thread may park it too, and take our token.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    /// A bell, and the waker that rings it.
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self::default());
        (bell.clone(), bell.into())
    }

    /// Whether somebody besides the thread that called [`Bell::new`] has a waker, and so may still ring.
    ///
    /// To be asked before [`Bell::answer`]: who lets go of a waker has rung before. Only a poll gives out wakers, so
    /// between two polls a bell that nobody has stays with nobody.
    pub(crate) fn is_held(self: &Arc<Self>) -> bool {
        const OURS: usize = 2;
        Arc::strong_count(self) > OURS
    }

    /// Whether it was rung since the last answer.
    pub(crate) fn answer(&self) -> bool {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until it is rung, or for this long. It does not answer.
    pub(crate) fn wait(&self, most: Option<Duration>) {
        let rung = self.lock();
        // A wake-up for nothing does no harm: whoever waits looks again.
        match most {
            Some(most) => drop(self.heard.wait_timeout_while(rung, most, |rung| !*rung)),
            None => drop(self.heard.wait_while(rung, |rung| !*rung)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.lock() = true;
        self.heard.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn no_ring_is_lost() {
        let (bell, waker) = Bell::new();
        let (sender, wakers) = channel::<Waker>();
        let ringer = thread::spawn(move || wakers.iter().for_each(Waker::wake));
        for _ in 0..20_000 {
            sender.send(waker.clone()).unwrap();
            // As the loop does it: while there is a waker somewhere, or it was rung, there is something to wait for.
            loop {
                let held = bell.is_held();
                if bell.answer() {
                    break;
                }
                assert!(held, "let go of, and not rung");
                bell.wait(None);
            }
        }
        drop(sender);
        ringer.join().unwrap();
        assert!(!bell.is_held() && !bell.answer());
    }

    #[test]
    fn rings_before_the_answer_are_one() {
        let (bell, waker) = Bell::new();
        waker.wake_by_ref();
        waker.wake();
        bell.wait(None);
        assert!(bell.answer());
        assert!(!bell.answer());
        bell.wait(Some(Duration::from_millis(1)));
    }
}
