//! Telling many waiters that a number has grown.
//!
//! A backend keeps one [`Signal`] per mailbox (and one per account), advances it to the mod-sequence of each change, and
//! answers `changed(since)` with [`Signal::wait_beyond`]. It is level-triggered: who comes late sees the number at once,
//! so no wake-up can be lost, and several changes in a row may be seen as one. It needs no runtime and starts no task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A number that only grows, and that any number of tasks can wait on.
///
/// ```
/// use pillarbox_proto_core::Signal;
/// use std::sync::Arc;
///
/// let signal = Arc::new(Signal::new(4));
/// let waiter = Arc::clone(&signal).wait_beyond_owned(4); // 'static: may move to any task
/// let writer = std::thread::spawn(move || signal.advance(7));
/// assert_eq!(futures::executor::block_on(waiter), 7);
/// # writer.join().unwrap();
/// ```
#[derive(Default)]
pub struct Signal {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: u64,
    /// Counts the times that all wakers were taken: a registration of an earlier round is gone.
    round: u64,
    slots: Vec<Slot>,
    /// The first vacant slot; each names the next. `slots.len()` ends the list.
    vacant: usize,
    waiting: usize,
}

enum Slot {
    Waiting(Waker),
    Vacant(usize),
}

impl Signal {
    /// A signal that starts at this number.
    #[must_use]
    pub fn new(initial: u64) -> Self {
        Self { state: Mutex::new(State { current: initial, ..State::default() }) }
    }

    /// The number as it is now.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.lock().current
    }

    /// Raises the number to `to` and wakes all waiters. Does nothing if the number is as large already, so that
    /// writers that overtake each other do no harm.
    pub fn advance(&self, to: u64) {
        self.raise_with(|current| current.max(to));
    }

    /// Adds one, wakes all waiters, and returns the new number.
    pub fn raise(&self) -> u64 {
        self.raise_with(|current| current.saturating_add(1))
    }

    /// Waits until the number is larger than `since`, then returns it. May be dropped at any time.
    pub fn wait_beyond(&self, since: u64) -> WaitBeyond<'_> {
        WaitBeyond { signal: self, since, ticket: None }
    }

    /// Like [`Signal::wait_beyond`], for a waiter that outlives its borrow.
    pub fn wait_beyond_owned(self: Arc<Self>, since: u64) -> WaitBeyondOwned {
        WaitBeyondOwned { signal: self, since, ticket: None }
    }

    fn raise_with(&self, raised: impl FnOnce(u64) -> u64) -> u64 {
        let mut state = self.lock();
        let to = raised(state.current);
        if to == state.current {
            return to;
        }
        state.current = to;
        state.round = state.round.wrapping_add(1);
        let woken = std::mem::take(&mut state.slots);
        (state.vacant, state.waiting) = (0, 0);
        // A waker may run anything, so the lock is released first.
        drop(state);
        for slot in woken {
            if let Slot::Waiting(waker) = slot {
                waker.wake();
            }
        }
        to
    }

    fn poll_beyond(&self, since: u64, ticket: &mut Option<Ticket>, cx: &Context<'_>) -> Poll<u64> {
        let mut state = self.lock();
        // A waker that is given up is dropped after the lock is released, as its drop may run anything too.
        let replaced;
        let poll = if state.current > since {
            replaced = ticket.take().and_then(|ticket| state.leave(ticket));
            Poll::Ready(state.current)
        } else {
            replaced = state.enter(ticket, cx.waker());
            Poll::Pending
        };
        drop(state);
        drop(replaced);
        poll
    }

    fn leave(&self, ticket: &mut Option<Ticket>) {
        if let Some(ticket) = ticket.take() {
            let waker = self.lock().leave(ticket);
            drop(waker);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way, so a poisoned lock still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Signal").field("current", &state.current).field("waiting", &state.waiting).finish()
    }
}

/// Where a future's waker is kept.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    round: u64,
    slot: usize,
}

impl State {
    /// Registers a waker, or renews it; returns one that is to be dropped outside the lock.
    fn enter(&mut self, ticket: &mut Option<Ticket>, waker: &Waker) -> Option<Waker> {
        if let Some(held) = ticket.filter(|held| held.round == self.round)
            && let Some(Slot::Waiting(kept)) = self.slots.get_mut(held.slot)
        {
            if kept.will_wake(waker) {
                return None;
            }
            return Some(std::mem::replace(kept, waker.clone()));
        }
        let slot = self.vacant;
        match self.slots.get_mut(slot) {
            Some(vacant) => {
                if let Slot::Vacant(next) = *vacant {
                    self.vacant = next;
                }
                *vacant = Slot::Waiting(waker.clone());
            }
            None => {
                self.slots.push(Slot::Waiting(waker.clone()));
                self.vacant = self.slots.len();
            }
        }
        self.waiting += 1;
        *ticket = Some(Ticket { round: self.round, slot });
        None
    }

    /// Gives up a registration; returns its waker, to be dropped outside the lock.
    fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        if ticket.round != self.round {
            return None;
        }
        let slot = self.slots.get_mut(ticket.slot)?;
        let Slot::Waiting(waker) = std::mem::replace(slot, Slot::Vacant(self.vacant)) else { return None };
        self.vacant = ticket.slot;
        self.waiting -= 1;
        if self.waiting == 0 {
            // The last one turns out the light: ten thousand waiters that came once leave no memory behind.
            (self.slots, self.vacant) = (Vec::new(), 0);
        }
        Some(waker)
    }
}

/// The future of [`Signal::wait_beyond`]. Its output is the number that was found.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct WaitBeyond<'a> {
    signal: &'a Signal,
    since: u64,
    ticket: Option<Ticket>,
}

impl Future for WaitBeyond<'_> {
    type Output = u64;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let this = self.get_mut();
        this.signal.poll_beyond(this.since, &mut this.ticket, cx)
    }
}

impl Drop for WaitBeyond<'_> {
    fn drop(&mut self) {
        self.signal.leave(&mut self.ticket);
    }
}

/// The future of [`Signal::wait_beyond_owned`]. Its output is the number that was found.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct WaitBeyondOwned {
    signal: Arc<Signal>,
    since: u64,
    ticket: Option<Ticket>,
}

impl Future for WaitBeyondOwned {
    type Output = u64;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let this = self.get_mut();
        this.signal.poll_beyond(this.since, &mut this.ticket, cx)
    }
}

impl Drop for WaitBeyondOwned {
    fn drop(&mut self) {
        self.signal.leave(&mut self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counter() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn poll<F: Future<Output = u64> + Unpin>(future: &mut F, waker: &Waker) -> Poll<u64> {
        Pin::new(future).poll(&mut Context::from_waker(waker))
    }

    fn slots(signal: &Signal) -> (usize, usize) {
        let state = signal.lock();
        (state.waiting, state.slots.len())
    }

    #[test]
    fn late_comers_see_the_number_at_once() {
        let signal = Signal::new(5);
        let (_, waker) = counter();
        assert_eq!(poll(&mut signal.wait_beyond(4), &waker), Poll::Ready(5));
        assert_eq!(poll(&mut signal.wait_beyond(5), &waker), Poll::Pending);
        assert_eq!((signal.raise(), signal.current()), (6, 6));
        signal.advance(3);
        assert_eq!(signal.current(), 6);
        assert_eq!(poll(&mut signal.wait_beyond(5), &waker), Poll::Ready(6));
    }

    #[test]
    fn a_wake_up_for_each_waiter_and_each_change() {
        let signal = Arc::new(Signal::default());
        let (count, waker) = counter();
        let mut near: Vec<_> = (0..10_000).map(|_| signal.wait_beyond(0)).collect();
        let mut far = Arc::clone(&signal).wait_beyond_owned(1);
        assert!(near.iter_mut().all(|wait| poll(wait, &waker).is_pending()));
        assert!(poll(&mut far, &waker).is_pending());
        assert_eq!(slots(&signal), (10_001, 10_001));
        signal.advance(0);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        signal.advance(1);
        assert_eq!(count.0.load(Ordering::SeqCst), 10_001);
        assert!(poll(&mut far, &waker).is_pending());
        assert_eq!(slots(&signal), (1, 1));
        assert!(near.iter_mut().all(|wait| poll(wait, &waker) == Poll::Ready(1)));
        signal.advance(2);
        assert_eq!(count.0.load(Ordering::SeqCst), 10_002);
        assert_eq!(poll(&mut far, &waker), Poll::Ready(2));
        assert_eq!(slots(&signal), (0, 0));
    }

    #[test]
    fn a_dropped_waiter_leaves_nothing() {
        let signal = Signal::new(0);
        let (count, waker) = counter();
        let mut kept = signal.wait_beyond(0);
        assert!(poll(&mut kept, &waker).is_pending());
        for _ in 0..1000 {
            let mut wait = signal.wait_beyond(0);
            assert!(poll(&mut wait, &waker).is_pending());
            // The same task again takes no second place.
            assert!(poll(&mut wait, &waker).is_pending());
        }
        assert_eq!(slots(&signal), (1, 2));
        let held = Arc::strong_count(&count);
        drop(kept);
        assert_eq!((slots(&signal), Arc::strong_count(&count)), ((0, 0), held - 1));
        signal.raise();
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_waiter_of_an_earlier_round_takes_no_foreign_place() {
        let signal = Signal::new(0);
        let (count, waker) = counter();
        let mut old = signal.wait_beyond(9);
        assert!(poll(&mut old, &waker).is_pending());
        signal.raise();
        let mut new = signal.wait_beyond(1);
        assert!(poll(&mut new, &waker).is_pending());
        drop(old);
        assert_eq!(slots(&signal).0, 1);
        signal.raise();
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_future_that_moves_to_another_task_wakes_that() {
        let signal = Signal::new(0);
        let ((first, one), (second, two)) = (counter(), counter());
        let mut wait = signal.wait_beyond(0);
        assert!(poll(&mut wait, &one).is_pending());
        assert!(poll(&mut wait, &two).is_pending());
        signal.raise();
        assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
    }

    #[test]
    fn a_place_is_as_small_as_a_waker() {
        assert_eq!(size_of::<Slot>(), size_of::<Waker>());
        fn is_send<T: Send + 'static>(_: T) {}
        is_send(Arc::new(Signal::new(0)).wait_beyond_owned(0));
    }

    #[test]
    fn threads_that_wait_and_raise() {
        let signal = Arc::new(Signal::new(0));
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let signal = Arc::clone(&signal);
                std::thread::spawn(move || {
                    let mut seen = 0;
                    while seen < 1000 {
                        let now = futures::executor::block_on(signal.wait_beyond(seen));
                        assert!(now > seen);
                        seen = now;
                    }
                })
            })
            .collect();
        for _ in 0..1000 {
            signal.raise();
        }
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(slots(&signal).0, 0);
    }
}
