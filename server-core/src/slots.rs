//! Counting open connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Room for a number of connections.
#[derive(Debug)]
pub(crate) struct Slots {
    taken: AtomicUsize,
    most: AtomicUsize,
    /// Told when the last one is given back.
    emptied: Notify,
}

/// Room for one, given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Slots>);

impl Slots {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), most: AtomicUsize::new(most), emptied: Notify::new() })
    }

    pub(crate) fn take(self: &Arc<Self>) -> Option<Slot> {
        let most = self.most.load(Ordering::Relaxed);
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < most).then_some(taken + 1))
            .ok()
            .map(|_| Slot(self.clone()))
    }

    /// Changes how many there are; what is taken stays taken.
    pub(crate) fn set(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Whether there is room or not.
    pub(crate) fn take_beyond(self: &Arc<Self>) -> Slot {
        self.taken.fetch_add(1, Ordering::AcqRel);
        Slot(self.clone())
    }

    /// Waits until, after at least one was taken, none has been for so long.
    pub(crate) async fn unused_for(&self, time: Duration) {
        loop {
            self.emptied.notified().await;
            // Emptied again, somebody has been there, and the time begins anew.
            while tokio::time::timeout(time, self.emptied.notified()).await.is_ok() {}
            if self.taken.load(Ordering::Acquire) == 0 {
                return;
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.0.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_given_back() {
        let slots = Slots::new(2);
        let (first, second) = (slots.take(), slots.take());
        assert!(first.is_some() && second.is_some());
        assert!(slots.take().is_none());
        assert!(slots.take().is_none(), "a refusal takes nothing");
        drop(first);
        assert!(slots.take().is_some(), "and it was given back at once");
        assert!(Slots::new(0).take().is_none());
        assert!(second.is_some());
        let beyond = slots.take_beyond();
        assert!(slots.take().is_none());
        drop(beyond);
        slots.set(4);
        assert!(slots.take().is_some());
        slots.set(0);
        assert!(slots.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn unused_means_used_before_and_not_for_a_while() {
        let slots = Slots::new(2);
        let begin = tokio::time::Instant::now();
        let waiting = tokio::spawn({
            let slots = slots.clone();
            async move { slots.unused_for(Duration::from_secs(10)).await }
        });
        let pause = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        pause(100).await;
        assert!(!waiting.is_finished(), "nobody was there yet");
        let (one, two) = (slots.take(), slots.take());
        drop(one);
        pause(100).await;
        assert!(!waiting.is_finished(), "somebody is there");
        drop(two);
        pause(5).await;
        drop(slots.take());
        pause(9).await;
        assert!(!waiting.is_finished(), "one came and went");
        waiting.await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), 100 + 100 + 5 + 10);
    }
}
