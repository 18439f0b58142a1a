//! A table of a fixed size for what is known of addresses.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::network::Network;

/// Places that share a lock, and in which a network may stand.
const WAYS: usize = 16;

/// What shares a lock.
type Set<V> = Vec<(Network, V)>;

/// Remembers something of networks, of as many as it has places.
///
/// In which places a network may stand follows from a hash with a key of its own, so nobody outside knows which networks
/// share places. Where they are all taken, a new one takes the place of what weighs least.
#[derive(Debug)]
pub(super) struct Table<V> {
    sets: Box<[Mutex<Set<V>>]>,
    seed: RandomState,
}

impl<V: Default> Table<V> {
    /// With room for so many, rounded up to sixteens. Memory is taken when they come.
    pub(super) fn new(entries: usize) -> Self {
        let sets = entries.div_ceil(WAYS).max(1);
        Self { sets: (0..sets).map(|_| Mutex::default()).collect(), seed: RandomState::new() }
    }

    fn set(&self, network: Network) -> MutexGuard<'_, Set<V>> {
        // The remainder is taken of a random number much larger than the number of sets.
        let at = self.seed.hash_one(network) % self.sets.len() as u64;
        let set = usize::try_from(at).ok().and_then(|at| self.sets.get(at)).unwrap_or(&self.sets[0]);
        set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is known of a network, if anything is.
    pub(super) fn look<R>(&self, network: Network, look: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.set(network).iter_mut().find(|(of, _)| *of == network).map(|(_, value)| look(value))
    }

    /// Changes what is known of a network; of one that is new, that is the default. A change that fails on a new one
    /// leaves it unknown.
    ///
    /// `weight` tells how bad it is to forget something: nothing is lost with 0, and `None` is not to be forgotten. Only
    /// where all sixteen are not to be forgotten is there one more; their number is bounded by what holds them.
    pub(super) fn change<R, E>(
        &self,
        network: Network,
        weight: impl Fn(&V) -> Option<u64>,
        change: impl FnOnce(&mut V) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut set = self.set(network);
        if let Some((_, value)) = set.iter_mut().find(|(of, _)| *of == network) {
            return change(value);
        }
        let mut value = V::default();
        let result = change(&mut value)?;
        if set.len() >= WAYS {
            set.retain(|(_, value)| weight(value) != Some(0));
        }
        let lightest = if set.len() < WAYS {
            None
        } else {
            let weights = set.iter().enumerate().filter_map(|(at, (_, value))| Some((weight(value)?, at)));
            weights.min().map(|(_, at)| at)
        };
        match lightest.and_then(|at| set.get_mut(at)) {
            Some(place) => *place = (network, value),
            None => {
                if set.len() < WAYS {
                    // By halves: a table that is nearly empty takes little.
                    let more = if set.len() < 4 { 4 } else { WAYS };
                    let more = more.saturating_sub(set.len());
                    set.reserve_exact(more);
                }
                set.push((network, value));
            }
        }
        Ok(result)
    }

    /// Changes what is known of a network, and forgets it when that says so.
    pub(super) fn release(&self, network: Network, release: impl FnOnce(&mut V) -> bool) {
        let mut set = self.set(network);
        if let Some(at) = set.iter().position(|(of, _)| *of == network)
            && let Some((_, value)) = set.get_mut(at)
            && release(value)
        {
            set.swap_remove(at);
            if set.is_empty() || set.len() == WAYS {
                set.shrink_to_fit();
            }
        }
    }

    /// Something of each that is known and is wanted.
    pub(super) fn list<R>(&self, pick: impl Fn(Network, &V) -> Option<R>) -> Vec<R> {
        let mut all = Vec::new();
        for set in &self.sets {
            let set = set.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(set.iter().filter_map(|(network, value)| pick(*network, value)));
        }
        all
    }

    /// Bytes that the table takes now.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let sets = self.sets.iter().map(|set| set.lock().unwrap().capacity() * size_of::<(Network, V)>());
        sets.sum::<usize>() + self.sets.len() * size_of::<Mutex<Set<V>>>()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn host(number: u32) -> Network {
        Network::host(IpAddr::from(Ipv4Addr::from(number)))
    }

    fn add(table: &Table<u64>, number: u32, amount: u64) -> u64 {
        let change = |value: &mut u64| {
            *value += amount;
            Ok::<_, Infallible>(*value)
        };
        let Ok(value) = table.change(host(number), |weight| (*weight < 1000).then_some(*weight), change);
        value
    }

    #[test]
    fn what_weighs_least_is_forgotten_first() {
        let table = Table::<u64>::new(1);
        for number in 1..=16 {
            add(&table, number, u64::from(number) + 1);
        }
        // Number 17 takes the place of number 1; and all that come after it that of the one before.
        for number in 17..1000 {
            add(&table, number, 1);
        }
        assert_eq!(table.look(host(1), |value| *value), None);
        for number in 2..=16 {
            assert_eq!(table.look(host(number), |value| *value), Some(u64::from(number) + 1));
        }
        assert_eq!(table.look(host(999), |value| *value), Some(1));
    }

    #[test]
    fn what_must_stay_stays() {
        let table = Table::<u64>::new(1);
        for number in 0..100 {
            add(&table, number, 1000);
        }
        assert_eq!(table.list(|_, value| Some(*value)).len(), 100);
        for number in 0..100 {
            table.release(host(number), |_| true);
        }
        assert!(table.list(|_, value| Some(*value)).is_empty());
        assert!(table.size() < 100, "{}", table.size());
    }

    #[test]
    fn a_change_that_fails_leaves_nothing() {
        let table = Table::<u64>::new(16);
        assert_eq!(table.change(host(1), |_| Some(1), |_| Err::<(), _>("no")), Err("no"));
        assert_eq!(table.look(host(1), |_| ()), None);
    }

    #[test]
    fn many_addresses_take_no_more_than_the_places() {
        let table = Table::<u64>::new(4096);
        let mut most = 0;
        for number in 0..100_000 {
            add(&table, number, 1 + u64::from(number % 7));
            if number % 10_000 == 9_999 {
                most = most.max(table.size());
            }
        }
        assert!(table.list(|_, _| Some(())).len() <= 4096);
        assert!(most <= 4096 * size_of::<(Network, u64)>() + 256 * 40, "{most}");
    }
}
