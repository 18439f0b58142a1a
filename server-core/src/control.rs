//! A way to reach a conversation while it is being served.
//!
//! [`channel`] gives two ends: [`Controls`] for whoever has something to say, and [`ControlInbox`] for
//! [`ServeOptions::controls`](crate::ServeOptions::controls). Both share one small allocation: a server keeps one per
//! connection, so a general-purpose queue with its blocks of slots would be the largest thing an idle connection has.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use pillarbox_proto_core::conversation::Control;

/// Words that wait at most; a conversation that takes none (a handshake, a stuck client) is not buried in alerts.
const MOST: usize = 16;

/// Two ends of a way to one conversation.
#[must_use]
pub fn channel() -> (Controls, ControlInbox) {
    let shared = Arc::new(Mutex::new(Shared { queue: VecDeque::new(), waker: None, closed: false }));
    (Controls(shared.clone()), ControlInbox(shared))
}

/// The end that sends. Clones reach the same conversation.
#[derive(Clone)]
pub struct Controls(Arc<Mutex<Shared>>);

/// The end that the loop reads. Dropping it closes the way.
pub struct ControlInbox(Arc<Mutex<Shared>>);

struct Shared {
    queue: VecDeque<Control>,
    waker: Option<Waker>,
    closed: bool,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Controls {
    /// Sends a word, and says whether it will be heard.
    ///
    /// It is not when the connection has ended. When sixteen words wait already, the oldest alert is dropped for the new
    /// word: what ends a session must not be lost among alerts, whether it came before them or after.
    pub fn send(&self, control: Control) -> bool {
        let waker = {
            let mut shared = lock(&self.0);
            if shared.closed {
                return false;
            }
            if shared.queue.len() == MOST {
                let alert = shared.queue.iter().position(|waiting| matches!(waiting, Control::Alert(_)));
                shared.queue.remove(alert.unwrap_or(0));
            }
            shared.queue.push_back(control);
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

impl ControlInbox {
    /// The next word, else the task of `cx` is woken when there is one.
    pub(crate) fn take(&mut self, cx: &Context<'_>) -> Option<Control> {
        let mut shared = lock(&self.0);
        let control = shared.queue.pop_front();
        if control.is_none() {
            if shared.queue.capacity() > 0 {
                shared.queue = VecDeque::new();
            }
            if !shared.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                shared.waker = Some(cx.waker().clone());
            }
        }
        control
    }
}

impl Drop for ControlInbox {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.closed = true;
        shared.queue = VecDeque::new();
        shared.waker = None;
    }
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls").field("waiting", &lock(&self.0).queue.len()).finish()
    }
}

impl fmt::Debug for ControlInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlInbox").field("waiting", &lock(&self.0).queue.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn alert(text: &str) -> Control {
        Control::Alert(text.into())
    }

    #[test]
    fn words_arrive_in_order_and_wake_the_reader() {
        let (controls, mut inbox) = channel();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        assert_eq!(inbox.take(&cx), None);
        assert!(controls.send(alert("1")));
        assert!(controls.clone().send(alert("2")));
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "one wake for both");
        assert_eq!(inbox.take(&cx), Some(alert("1")));
        assert_eq!(inbox.take(&cx), Some(alert("2")));
        assert_eq!(inbox.take(&cx), None);
        drop(inbox);
        assert!(!controls.send(alert("3")));
    }

    #[test]
    fn a_full_queue_keeps_the_newest() {
        let (controls, mut inbox) = channel();
        for number in 0..100 {
            assert!(controls.send(alert(&number.to_string())));
        }
        let end = Control::Kick { text: "bye".into() };
        assert!(controls.send(end.clone()));
        let cx = Context::from_waker(Waker::noop());
        let all: Vec<_> = std::iter::from_fn(|| inbox.take(&cx)).collect();
        assert_eq!(all.len(), MOST);
        assert_eq!(all.last(), Some(&end));
    }

    #[test]
    fn the_word_that_ends_a_session_is_not_pushed_out() {
        let (controls, mut inbox) = channel();
        let end = Control::Shutdown { text: "bye".into() };
        assert!(controls.send(end.clone()));
        for number in 0..100 {
            assert!(controls.send(alert(&number.to_string())));
        }
        let cx = Context::from_waker(Waker::noop());
        let all: Vec<_> = std::iter::from_fn(|| inbox.take(&cx)).collect();
        assert_eq!((all.len(), &all[0], &all[MOST - 1]), (MOST, &end, &alert("99")));
    }
}
