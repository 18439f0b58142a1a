//! Room for a few at once, of which no client gets all.
//!
//! What clients make us do before they have shown who they are (running a program, asking for a name) takes as long as
//! somebody likes who may be on their side. With a plain limit one address with enough connections would keep everybody
//! else waiting; here it waits for itself.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for some at once, and for fewer of one address: the same IPv4 address, or 64 bits of an IPv6 address, which is what
/// one client has. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    room: Arc<Semaphore>,
    share: usize,
    /// Of those only who have a turn or wait for one.
    shares: Arc<Mutex<HashMap<IpAddr, Arc<Semaphore>>>>,
}

impl Turns {
    /// For so many at once, at least one, and so many of one address.
    pub(crate) fn new(at_once: usize, share: usize) -> Self {
        let within = |number: usize| number.clamp(1, Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(within(at_once))), share: within(share), shares: Arc::default() }
    }

    /// For so many at once, of which one address gets a quarter.
    pub(crate) fn of(at_once: usize) -> Self {
        Self::new(at_once, at_once / 4)
    }

    /// Waits for a turn; it ends when what comes back is dropped. Whose address is not known waits for the room alone.
    pub(crate) async fn take(&self, address: Option<IpAddr>) -> Option<Turn> {
        let share = match address.map(|address| self.place(address)) {
            Some(place) => Some((place.share.clone().acquire_owned().await.ok()?, place)),
            None => None,
        };
        Some(Turn { room: self.room.clone().acquire_owned().await.ok()?, share })
    }

    fn place(&self, address: IpAddr) -> Place {
        let key = match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
            v4 @ IpAddr::V4(_) => v4,
        };
        let share = lock(&self.shares).entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.share))).clone();
        Place { shares: self.shares.clone(), key, share }
    }

    #[cfg(test)]
    fn addresses(&self) -> usize {
        lock(&self.shares).len()
    }
}

/// One of those who are at it. Its fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct Turn {
    #[expect(dead_code, reason = "given back when dropped")]
    room: OwnedSemaphorePermit,
    #[expect(dead_code, reason = "given back when dropped")]
    share: Option<(OwnedSemaphorePermit, Place)>,
}

/// Keeps an address in the table.
#[derive(Debug)]
struct Place {
    shares: Arc<Mutex<HashMap<IpAddr, Arc<Semaphore>>>>,
    key: IpAddr,
    share: Arc<Semaphore>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shares = lock(&self.shares);
        // The table's and ours: nobody else has one or waits for one, as that takes the table.
        if Arc::strong_count(&self.share) <= 2 {
            shares.remove(&self.key);
        }
    }
}

fn lock(shares: &Mutex<HashMap<IpAddr, Arc<Semaphore>>>) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// A turn, if it can be had at once.
    async fn now(turns: &Turns, address: Option<IpAddr>) -> Option<Turn> {
        let mut turn = pin!(turns.take(address));
        let turn = poll_fn(|cx| Poll::Ready(turn.as_mut().poll(cx)));
        match turn.await {
            Poll::Ready(turn) => turn,
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn one_address_gets_its_share() {
        let turns = Turns::of(8);
        let greedy = [now(&turns, ip("192.0.2.1")).await, now(&turns, ip("::ffff:192.0.2.1")).await];
        assert!(greedy.iter().all(Option::is_some));
        assert!(now(&turns, ip("192.0.2.1")).await.is_none());
        let other = now(&turns, ip("192.0.2.2")).await;
        assert!(other.is_some());
        let wide = [now(&turns, ip("2001:db8::1")).await, now(&turns, ip("2001:db8::2:0:0:1")).await];
        assert!(wide.iter().all(Option::is_some));
        assert!(now(&turns, ip("2001:db8::3:0:0:1")).await.is_none(), "the same network");
        assert!(now(&turns, ip("2001:db8:0:1::1")).await.is_some());
        drop(greedy);
        assert!(now(&turns, ip("192.0.2.1")).await.is_some());
    }

    #[tokio::test]
    async fn all_together_get_the_room() {
        let turns = Turns::of(1);
        let first = now(&turns, ip("192.0.2.1")).await;
        assert!(first.is_some());
        assert!(now(&turns, ip("192.0.2.2")).await.is_none() && now(&turns, None).await.is_none());
        drop(first);
        assert!(now(&turns, None).await.is_some());
    }

    #[tokio::test]
    async fn who_is_gone_is_forgotten() {
        let turns = Turns::new(2, 1);
        let first = now(&turns, ip("192.0.2.1")).await;
        // One waits, another gives up.
        let mut waiting = Box::pin(turns.take(ip("192.0.2.1")));
        assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
        assert!(now(&turns, ip("192.0.2.1")).await.is_none());
        assert_eq!(turns.addresses(), 1);
        drop(first);
        assert_eq!(turns.addresses(), 1, "somebody waits");
        let second = waiting.await;
        assert!(second.is_some() && now(&turns, ip("192.0.2.1")).await.is_none());
        drop(second);
        assert_eq!(turns.addresses(), 0);
        drop(now(&turns, None).await);
        assert_eq!(turns.addresses(), 0);
    }
}
