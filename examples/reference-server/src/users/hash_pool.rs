//! The threads that check passwords, and who waits for them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pillarbox_proto_core::auth::Secret;
use pillarbox_proto_core::backend::{Error, Result};
use pillarbox_server_core::Network;
use tokio::sync::oneshot;

use super::PasswordHash;

/// After a check that failed its address has a pause, so many times as long as the check took.
const PAUSE: u32 = 4;
/// See [`PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long who finds no room waits for the answer: one client could be refused, and tell the log, without end.
const REFUSAL: Duration = Duration::from_secs(1);
/// Checks of one address that may wait or run.
const QUEUE_OF_ADDRESS: usize = 16;

/// Checks passwords away from the threads that serve connections, a few at a time. Each check takes 19 MiB.
///
/// Addresses (of IPv6, networks of 64 bits) take turns, and none of them has more than half of the threads, nor those for
/// more than a fifth of the time if its passwords are wrong: somebody who tries passwords from one address, however many
/// in a second, waits for himself, and hardly slows down those who come from others.
#[derive(Debug)]
pub struct HashPool {
    turns: Arc<Turns>,
    nobody: PasswordHash,
    checked: AtomicU64,
}

impl HashPool {
    /// Room for so many checks at a time, and for so many that wait or run. Of one address there are 16 of them at most.
    #[must_use]
    pub fn new(at_a_time: usize, queue: usize) -> Self {
        let at_a_time = at_a_time.max(1);
        let turns = Turns {
            at_a_time,
            of_one: (at_a_time / 2).max(1),
            queue: queue.max(1),
            queue_of_one: QUEUE_OF_ADDRESS,
            state: Mutex::default(),
        };
        Self { turns: Arc::new(turns), nobody: PasswordHash::of_nobody(), checked: AtomicU64::new(0) }
    }

    /// Whether this is the password of that user; `None` for a user who does not exist, which takes the same time.
    /// Clients without an address are taken for one, which has no limit of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when too many checks wait already.
    pub async fn verify(&self, address: Option<IpAddr>, hash: Option<PasswordHash>, password: Secret) -> Result<bool> {
        let turn = match self.turns.wait(address.map(lane)).await {
            Ok(turn) => turn,
            Err(error) => {
                tokio::time::sleep(REFUSAL).await;
                return Err(error);
            }
        };
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        self.checked.fetch_add(1, Ordering::Relaxed);
        let runtime = tokio::runtime::Handle::current();
        let check = tokio::task::spawn_blocking(move || {
            let start = Instant::now();
            let good = hash.verify(&password) && known;
            // Held to the end, also when the client has gone: the memory is in use until then.
            let rest = turn.end();
            if !good && address.is_some() {
                let pause = LONGEST_PAUSE.min(start.elapsed() * PAUSE);
                runtime.spawn(async move {
                    tokio::time::sleep(pause).await;
                    drop(rest);
                });
            }
            good
        });
        check.await.map_err(|_| Error::unavailable("the check of a password failed"))
    }

    /// How many checks have begun since the server started.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }
}

fn lane(address: IpAddr) -> Network {
    let address = address.to_canonical();
    let network = if address.is_ipv6() { Network::new(address, 64) } else { None };
    network.unwrap_or_else(|| Network::host(address))
}

/// Who may run, and who is next.
struct Turns {
    at_a_time: usize,
    of_one: usize,
    queue: usize,
    queue_of_one: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: usize,
    /// Names those who wait.
    count: u64,
    lanes: HashMap<Option<Network>, Lane>,
    /// Lanes in which somebody waits who may run when there is room, each once.
    next: VecDeque<Option<Network>>,
}

/// Those who come from one address.
#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<(u64, oneshot::Sender<Turn>)>,
    is_next: bool,
}

/// The right to run; dropped, it is somebody else's.
struct Turn(Option<(Arc<Turns>, Option<Network>)>);

/// A place in a lane; dropped, it is given up.
struct Place<'a> {
    turns: &'a Turns,
    lane: Option<Network>,
    name: u64,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who has no address has no limit of its own.
    fn most(&self, lane: Option<Network>) -> (usize, usize) {
        if lane.is_some() { (self.of_one, self.queue_of_one) } else { (self.at_a_time, self.queue) }
    }

    async fn wait(self: &Arc<Self>, lane: Option<Network>) -> Result<Turn> {
        let (name, receiver) = {
            let mut state = self.lock();
            let known = state.lanes.get(&lane).map_or(0, |lane| lane.running + lane.waiting.len());
            if known >= self.most(lane).1 || state.running + state.waiting >= self.queue {
                return Err(Error::unavailable("too many logins wait"));
            }
            let (sender, receiver) = oneshot::channel();
            let name = state.count;
            state.count += 1;
            state.waiting += 1;
            state.lanes.entry(lane).or_default().waiting.push_back((name, sender));
            self.line_up(&mut state, lane);
            self.dispatch(&mut state);
            (name, receiver)
        };
        let _place = Place { turns: self, lane, name };
        receiver.await.map_err(|_| Error::unavailable("the server stops"))
    }

    /// Puts a lane among the next ones, if somebody in it may run.
    fn line_up(&self, state: &mut State, lane: Option<Network>) {
        let most = self.most(lane).0;
        if let Some(known) = state.lanes.get_mut(&lane)
            && !known.is_next
            && !known.waiting.is_empty()
            && known.running < most
        {
            known.is_next = true;
            state.next.push_back(lane);
        }
    }

    /// Lets run who is next, while there is room: one of each lane, and then its lane stands behind all others.
    fn dispatch(self: &Arc<Self>, state: &mut State) {
        while state.running < self.at_a_time
            && let Some(lane) = state.next.pop_front()
        {
            let Some(known) = state.lanes.get_mut(&lane) else { continue };
            known.is_next = false;
            if let Some((_, sender)) = known.waiting.pop_front() {
                state.waiting -= 1;
                // One who has left is passed over; the lock is held, so the turn must not give itself back.
                match sender.send(Turn(Some((Arc::clone(self), lane)))) {
                    Ok(()) => {
                        known.running += 1;
                        state.running += 1;
                    }
                    Err(mut turn) => drop(turn.0.take()),
                }
            }
            self.line_up(state, lane);
            Self::forget(state, lane);
        }
    }

    fn forget(state: &mut State, lane: Option<Network>) {
        if state.lanes.get(&lane).is_some_and(|lane| lane.running == 0 && lane.waiting.is_empty() && !lane.is_next) {
            state.lanes.remove(&lane);
        }
    }
}

impl Turn {
    /// Others may run, but for those of the same lane, before what is returned is dropped.
    fn end(mut self) -> Option<Rest> {
        Self::end_of(self.0.take())
    }

    fn end_of(held: Option<(Arc<Turns>, Option<Network>)>) -> Option<Rest> {
        let (turns, lane) = held?;
        {
            let mut state = turns.lock();
            state.running -= 1;
            turns.dispatch(&mut state);
        }
        Some(Rest { turns, lane })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(Self::end_of(self.0.take()));
    }
}

/// What a lane has taken of its own share.
struct Rest {
    turns: Arc<Turns>,
    lane: Option<Network>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        if let Some(known) = state.lanes.get_mut(&self.lane) {
            known.running -= 1;
        }
        self.turns.line_up(&mut state, self.lane);
        self.turns.dispatch(&mut state);
        Turns::forget(&mut state, self.lane);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        let Some(known) = state.lanes.get_mut(&self.lane) else { return };
        if let Some(at) = known.waiting.iter().position(|(name, _)| *name == self.name) {
            known.waiting.remove(at);
            state.waiting -= 1;
            // A lane that is next and empty is passed over, and forgotten then.
            Turns::forget(&mut state, self.lane);
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Turns")
            .field("running", &state.running)
            .field("waiting", &state.waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn turns(at_a_time: usize, queue: usize) -> Arc<Turns> {
        HashPool::new(at_a_time, queue).turns
    }

    fn busy(turns: &Turns) -> usize {
        let state = turns.lock();
        state.running + state.waiting
    }

    type Waiting = Pin<Box<dyn Future<Output = Result<Turn>>>>;

    fn begin(turns: &Arc<Turns>, address: &str) -> Waiting {
        let (turns, lane) = (Arc::clone(turns), Some(lane(address.parse().unwrap())));
        let mut waiting: Waiting = Box::pin(async move { turns.wait(lane).await });
        // It takes its place at once.
        let mut cx = Context::from_waker(Waker::noop());
        match waiting.as_mut().poll(&mut cx) {
            Poll::Ready(turn) => Box::pin(std::future::ready(turn)),
            Poll::Pending => waiting,
        }
    }

    fn turn(waiting: &mut Waiting) -> Option<Turn> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn addresses_take_turns() {
        let turns = turns(1, 100);
        let mut first = begin(&turns, "192.0.2.1");
        let mut many: Vec<_> = (0..10).map(|_| begin(&turns, "192.0.2.1")).collect();
        let mut other = begin(&turns, "192.0.2.2");
        let mut third = begin(&turns, "2001:db8::1");
        let mut running = turn(&mut first).unwrap();
        for next in ["other", "third", "many", "many", "many"] {
            assert!(many.iter_mut().chain([&mut other, &mut third]).all(|waiting| turn(waiting).is_none()));
            drop(running);
            running = match next {
                "other" => turn(&mut other),
                "third" => turn(&mut third),
                _ => turn(&mut many.remove(0)),
            }
            .unwrap();
            // Whoever had a turn is not asked again.
            let done: Waiting = Box::pin(std::future::pending());
            match next {
                "other" => other = done,
                "third" => third = done,
                _ => {}
            }
        }
        drop((running, many));
        assert_eq!(busy(&turns), 0);
        assert!(turns.lock().lanes.is_empty());
    }

    #[test]
    fn one_address_has_half_of_the_threads() {
        let turns = turns(4, 100);
        let mut mine: Vec<_> = (0..4).map(|_| begin(&turns, "2001:db8::1")).collect();
        let running: Vec<_> = mine.iter_mut().filter_map(turn).collect();
        assert_eq!(running.len(), 2);
        // Also by another address of the same network.
        assert!(turn(&mut begin(&turns, "2001:db8::ffff")).is_none());
        let mut other = begin(&turns, "2001:db8:0:1::1");
        assert!(turn(&mut other).is_some(), "at once, whoever waits");
        drop(running);
        assert_eq!(mine.split_off(2).iter_mut().filter_map(turn).count(), 2);
    }

    #[test]
    fn a_lane_that_rests_leaves_its_thread_to_others() {
        let turns = turns(1, 100);
        let (mut one, mut again, mut other) =
            (begin(&turns, "192.0.2.1"), begin(&turns, "192.0.2.1"), begin(&turns, "192.0.2.2"));
        let rest = turn(&mut one).unwrap().end();
        let running = turn(&mut other).unwrap();
        drop(running);
        assert!(turn(&mut again).is_none(), "there is room, and it has to rest");
        drop(rest);
        drop(turn(&mut again).unwrap());
        assert_eq!(busy(&turns), 0);
        assert!(turns.lock().lanes.is_empty());
    }

    /// The clock stands still while anybody works.
    #[tokio::test(start_paused = true)]
    async fn only_wrong_passwords_make_a_pause() {
        let pool = HashPool::new(1, 10);
        let hash = PasswordHash::new(&Secret::new(*b"right")).unwrap();
        let address: Option<IpAddr> = Some("192.0.2.1".parse().unwrap());
        assert!(pool.verify(address, Some(hash.clone()), Secret::new(*b"right")).await.unwrap());
        assert!(pool.turns.lock().lanes.is_empty());
        for hash in [Some(hash), None] {
            assert!(!pool.verify(address, hash, Secret::new(*b"wrong")).await.unwrap());
            assert_eq!(busy(&pool.turns), 0, "the thread is free");
            assert_eq!(pool.turns.lock().lanes.len(), 1, "and the address rests");
        }
        while !pool.turns.lock().lanes.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn queues_are_bounded_for_each_address_and_for_all() {
        let turns = turns(1, 20);
        let waiting: Vec<_> = (0..16).map(|_| begin(&turns, "192.0.2.1")).collect();
        let refused = |mut waiting: Waiting| {
            let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            matches!(polled, Poll::Ready(Err(Error::Unavailable(_))))
        };
        assert!(refused(begin(&turns, "192.0.2.1")));
        let others: Vec<_> = (0..4).map(|host| begin(&turns, &format!("192.0.2.{}", 2 + host))).collect();
        assert!(refused(begin(&turns, "192.0.2.9")), "20 in all");
        drop(waiting);
        assert!(!refused(begin(&turns, "192.0.2.1")));
        drop(others);
        let state = turns.lock();
        assert_eq!((state.running, state.waiting), (0, 0));
        assert!(state.lanes.is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn who_leaves_gives_up_the_place() {
        let turns = turns(1, 100);
        let mut first = begin(&turns, "192.0.2.1");
        let running = turn(&mut first).unwrap();
        let left: Vec<_> = (0..5).map(|_| begin(&turns, "192.0.2.2")).collect();
        let mut stays = begin(&turns, "192.0.2.2");
        drop(left);
        assert_eq!(turns.lock().waiting, 1);
        drop(running);
        let granted = turn(&mut stays).unwrap();
        // A turn that was granted and never taken goes on to the next.
        let untaken = begin(&turns, "192.0.2.3");
        let mut last = begin(&turns, "192.0.2.4");
        drop(granted);
        drop(untaken);
        assert!(turn(&mut last).is_some());
        assert!(turns.lock().lanes.is_empty());
    }

    #[tokio::test]
    async fn the_pool_is_bounded_and_refuses_what_does_not_fit() {
        let pool = HashPool::new(1, 2);
        let hash = PasswordHash::new(&Secret::new(*b"right")).unwrap();
        let verify =
            |hash: Option<&PasswordHash>, password: &str| pool.verify(None, hash.cloned(), Secret::new(password));
        let (one, two, three) =
            tokio::join!(verify(Some(&hash), "right"), verify(Some(&hash), "wrong"), verify(Some(&hash), "right"));
        assert!(one.unwrap());
        assert!(!two.unwrap());
        assert!(matches!(three, Err(Error::Unavailable(_))));
        assert_eq!(pool.checked(), 2);
        assert!(!verify(None, "right").await.unwrap());
        assert_eq!(pool.checked(), 3, "an unknown user is as much work");
        assert!(verify(Some(&hash), "right").await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_at_once_from_many_addresses() {
        let turns = turns(3, 10_000);
        let tasks: Vec<_> = (0..500_u32)
            .map(|number| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move {
                    let lane = lane(std::net::Ipv4Addr::from(number % 50).into());
                    let turn = turns.wait(Some(lane)).await?;
                    if number % 7 > 0 {
                        tokio::task::yield_now().await;
                    }
                    drop(turn);
                    Ok::<_, Error>(())
                })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            if number % 11 == 0 {
                task.abort();
            } else {
                task.await.unwrap().unwrap();
            }
        }
        tokio::task::yield_now().await;
        while busy(&turns) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(turns.lock().lanes.is_empty());
    }
}
