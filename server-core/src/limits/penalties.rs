//! What failed logins bring upon an address.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::table::Table;
use super::{LimitReached, is_exempt, network};
use crate::network::Network;

/// A block for ever.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How [`Penalties`] are dealt out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PenaltySettings {
    /// The time in which failures count together. Default: 10 minutes.
    pub window: Duration,
    /// Failures that are answered at once. Default: 1.
    pub free: u32,
    /// How long the answer to the next one waits; for each one after that it doubles. Default: 1 s.
    pub first_delay: Duration,
    /// The longest that an answer waits. Default: 16 s.
    pub longest_delay: Duration,
    /// The most answers to one address that wait at a time; a client beyond is dropped without an answer. Default: 4.
    pub waiting: u32,
    /// So many failures in the [`window`](Self::window) block the address. Default: 20. `None`: never.
    pub block_after: Option<u32>,
    /// For how long it is blocked. A failure while it is begins the time anew. Default: 10 minutes.
    pub block_for: Duration,
    /// The bits of an IPv6 address that make it another one. Default: 64.
    pub ipv6_address: u8,
    /// Networks whose failed logins are answered at once, and that are never blocked: a webmail and whatever else logs
    /// in for many users. Default: none.
    pub exempt: Vec<Network>,
}

impl Default for PenaltySettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(600),
            free: 1,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(16),
            waiting: 4,
            block_after: Some(20),
            block_for: Duration::from_secs(600),
            ipv6_address: 64,
            exempt: Vec::new(),
        }
    }
}

impl PenaltySettings {
    /// How long the answer waits to the failure with this number, counted from 1.
    fn delay(&self, number: u32) -> Duration {
        let Some(doublings) = number.checked_sub(self.free.saturating_add(1)) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first_delay.saturating_mul(factor).min(self.longest_delay)
    }
}

/// Counts the failed logins of addresses: each makes the answer to the next wait longer, and too many block the address.
///
/// Clones are handles of the same counts. Two places use them: the accept path, which refuses connections of a blocked
/// address without a byte ([`admit`](Self::admit)), and the backend, by [`Throttled`](super::Throttled), which counts
/// failures, holds up the answers, and refuses logins on connections that a blocked address still has.
///
/// * Failures are counted in a sliding window: those in the window before count by the part of it that the sliding one
///   still covers. So they are forgotten by and by, all of them after two windows.
/// * It makes no difference whether a user exists, nor by which mechanism the login was tried.
/// * A user who succeeds after some failures with this name alone has mistyped: these are forgiven. Failures with other
///   names stay, so having an account does not help to guess the passwords of others.
/// * One who is blocked already is not asked for a password any more; the right one would be refused too.
///
/// ```
/// use std::time::Duration;
/// use pillarbox_server_core::limits::{LimitReached, Penalties, Penalty, PenaltySettings};
///
/// let mut settings = PenaltySettings::default();
/// settings.block_after = Some(3);
/// let penalties = Penalties::new(settings);
///
/// let client = "192.0.2.1".parse()?;
/// for seconds in [0, 1, 2] {
///     let Penalty::Delay(delay) = penalties.failed(client, Some("ada")) else { unreachable!() };
///     assert_eq!(delay.time(), Duration::from_secs(seconds));
/// }
/// assert_eq!(penalties.admit(client), Err(LimitReached::Blocked));
/// assert!(penalties.admit("192.0.2.2".parse()?).is_ok());
///
/// assert!(penalties.unblock(client));
/// assert!(penalties.admit(client).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Penalties(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Mutex<Arc<PenaltySettings>>,
    table: Table<Record>,
    names: RandomState,
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Record {
    /// When the window began in which `current` is counted.
    began: Option<Instant>,
    current: u32,
    previous: u32,
    blocked: Option<Instant>,
    /// Answers that wait.
    waiting: u32,
    /// A hash of the name with which the last failures were made, and how many of them.
    name: Option<u64>,
    with_name: u32,
}

impl Record {
    /// Slides the window.
    fn slide(&mut self, now: Instant, window: Duration) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        if passed < window {
            return;
        }
        let windows = passed.as_nanos().checked_div(window.as_nanos()).unwrap_or(2);
        if windows == 1 {
            self.previous = self.current;
            self.began = began.checked_add(window);
        } else {
            self.previous = 0;
            self.began = Some(now);
            self.name = None;
        }
        self.current = 0;
        self.with_name = 0;
    }

    /// Failures in the sliding window.
    fn failures(&self, now: Instant, window: Duration) -> u32 {
        let passed = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        let left = window.saturating_sub(passed).as_nanos();
        let before = (u128::from(self.previous) * left).checked_div(window.as_nanos()).unwrap_or(0);
        self.current.saturating_add(u32::try_from(before).unwrap_or(u32::MAX))
    }

    fn is_blocked(&self, now: Instant) -> bool {
        self.blocked.is_some_and(|end| end > now)
    }

    /// How bad it is to forget this. A block weighs more than any number of failures, and the more the longer it lasts.
    fn weight(&self, now: Instant, window: Duration) -> Option<u64> {
        if self.waiting > 0 {
            return None;
        }
        let blocked = self.blocked.map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        if blocked > Duration::ZERO {
            return Some((1 << 32) + u64::try_from(blocked.as_millis()).unwrap_or(1 << 40).min(1 << 40));
        }
        let passed = self.began.map_or(Duration::MAX, |began| now.saturating_duration_since(began));
        // What lies two windows back counts for nothing; the record itself is changed only when it is used.
        Some(if passed >= window.saturating_mul(2) { 0 } else { u64::from(self.current.max(self.previous)) })
    }
}

/// `None` is before all times, so what is too far away for the clock is as far as a century.
fn later(now: Instant, time: Duration) -> Option<Instant> {
    now.checked_add(time.min(CENTURY))
}

/// What follows from a failed login.
#[derive(Debug)]
#[non_exhaustive]
pub enum Penalty {
    /// The answer waits.
    Delay(Delay),
    /// So many answers wait already for this address that the client is to be dropped without one.
    Drop,
}

/// An answer that waits. Keep it for as long as it does: dropped, it no longer counts as waiting.
#[derive(Debug)]
#[must_use = "what is dropped does not count"]
pub struct Delay {
    time: Duration,
    waits: Option<(Arc<Shared>, Network)>,
}

impl Delay {
    const NONE: Self = Self { time: Duration::ZERO, waits: None };

    /// For how long.
    #[must_use]
    pub const fn time(&self) -> Duration {
        self.time
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        if let Some((shared, address)) = self.waits.take() {
            shared.table.look(address, |record| record.waiting = record.waiting.saturating_sub(1));
        }
    }
}

impl Penalties {
    /// With these settings, and room for 65,536 addresses.
    #[must_use]
    pub fn new(settings: PenaltySettings) -> Self {
        Self::with_room(settings, 65_536)
    }

    /// With these settings, and room for so many addresses; about 100 bytes each when they are taken.
    #[must_use]
    pub fn with_room(settings: PenaltySettings, entries: usize) -> Self {
        Self(Arc::new(Shared {
            settings: Mutex::new(Arc::new(settings)),
            table: Table::new(entries),
            names: RandomState::new(),
        }))
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> Arc<PenaltySettings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the settings. Blocks that have begun last as long as they were meant to.
    pub fn set(&self, settings: PenaltySettings) {
        *self.0.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Lets a connection of this address in, unless it is blocked.
    ///
    /// # Errors
    ///
    /// [`LimitReached::Blocked`].
    pub fn admit(&self, address: IpAddr) -> Result<(), LimitReached> {
        if self.is_blocked(address) { Err(LimitReached::Blocked) } else { Ok(()) }
    }

    /// Whether this address is blocked.
    #[must_use]
    pub fn is_blocked(&self, address: IpAddr) -> bool {
        let settings = self.settings();
        let known = network(address, 32, settings.ipv6_address);
        let blocked = self.0.table.look(known, |record| record.blocked.is_some() && record.is_blocked(crate::now()));
        blocked == Some(true) && !is_exempt(&settings.exempt, address)
    }

    /// Counts a failed login. `user` is the name that it was tried with, where that is known; it may exist or not.
    pub fn failed(&self, address: IpAddr, user: Option<&str>) -> Penalty {
        let settings = self.settings();
        if is_exempt(&settings.exempt, address) {
            return Penalty::Delay(Delay::NONE);
        }
        let (now, window) = (crate::now(), settings.window);
        let name = self.0.names.hash_one(user);
        let known = network(address, 32, settings.ipv6_address);
        let Ok((time, waits)) = self.0.table.change(
            known,
            |record| record.weight(now, window),
            |record| {
                record.slide(now, window);
                record.current = record.current.saturating_add(1);
                if record.name != Some(name) {
                    record.name = Some(name);
                    record.with_name = 0;
                }
                record.with_name = record.with_name.saturating_add(1);
                let failures = record.failures(now, window);
                if record.is_blocked(now) || settings.block_after.is_some_and(|most| failures >= most) {
                    record.blocked = later(now, settings.block_for).max(record.blocked);
                }
                let time = settings.delay(failures);
                let waits = time > Duration::ZERO && record.waiting < settings.waiting;
                record.waiting += u32::from(waits);
                Ok::<_, Infallible>((time, waits))
            },
        );
        match (time, waits) {
            (_, true) => Penalty::Delay(Delay { time, waits: Some((self.0.clone(), known)) }),
            (Duration::ZERO, _) => Penalty::Delay(Delay::NONE),
            _ => Penalty::Drop,
        }
    }

    /// A user has logged in: failures with this name that no other name came after are forgiven.
    pub fn succeeded(&self, address: IpAddr, user: &str) {
        let settings = self.settings();
        let name = self.0.names.hash_one(Some(user));
        self.0.table.look(network(address, 32, settings.ipv6_address), |record| {
            record.slide(crate::now(), settings.window);
            if record.name == Some(name) {
                record.current = record.current.saturating_sub(record.with_name);
                record.with_name = 0;
            }
        });
    }

    /// Blocks an address by hand, for so long at least.
    pub fn block(&self, address: IpAddr, time: Duration) {
        let settings = self.settings();
        let (now, window) = (crate::now(), settings.window);
        let known = network(address, 32, settings.ipv6_address);
        let Ok(()) = self.0.table.change(
            known,
            |record| record.weight(now, window),
            |record| {
                record.blocked = later(now, time).max(record.blocked);
                Ok::<_, Infallible>(())
            },
        );
    }

    /// Ends the block of an address, and forgets its failures. Returns whether it was blocked.
    pub fn unblock(&self, address: IpAddr) -> bool {
        let known = network(address, 32, self.settings().ipv6_address);
        let was = self.0.table.look(known, |record| {
            let blocked = record.is_blocked(crate::now());
            *record = Record { waiting: record.waiting, ..Record::default() };
            blocked
        });
        was == Some(true)
    }

    /// Who is blocked, and for how much longer. It looks at the whole table.
    #[must_use]
    pub fn blocked(&self) -> Vec<(Network, Duration)> {
        let now = crate::now();
        self.0.table.list(|address, record| {
            let left = record.blocked?.checked_duration_since(now)?;
            (left > Duration::ZERO).then_some((address, left))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Seconds; `None` when dropped.
    fn fail(penalties: &Penalties, address: &str, user: &str) -> Option<u64> {
        match penalties.failed(ip(address), Some(user)) {
            Penalty::Delay(delay) => Some(delay.time().as_secs()),
            Penalty::Drop => None,
        }
    }

    async fn wait(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_and_then_the_address_is_blocked_for_a_while() {
        let settings = PenaltySettings { block_after: Some(8), ..PenaltySettings::default() };
        let penalties = Penalties::new(settings);
        let delays: Vec<_> = (0..7).map(|_| fail(&penalties, "192.0.2.1", "ada").unwrap()).collect();
        assert_eq!(delays, [0, 1, 2, 4, 8, 16, 16]);
        assert!(penalties.admit(ip("192.0.2.1")).is_ok());
        assert_eq!(fail(&penalties, "192.0.2.1", "ada"), Some(16));
        assert_eq!(penalties.admit(ip("::ffff:192.0.2.1")), Err(LimitReached::Blocked));
        assert!(penalties.admit(ip("192.0.2.2")).is_ok());
        assert_eq!(penalties.blocked(), [("192.0.2.1".parse().unwrap(), Duration::from_secs(600))]);
        wait(599).await;
        assert!(penalties.is_blocked(ip("192.0.2.1")));
        wait(1).await;
        assert!(!penalties.is_blocked(ip("192.0.2.1")));
        assert!(penalties.blocked().is_empty());
        // The window has just passed: its failures count for as much as they are near.
        assert_eq!(fail(&penalties, "192.0.2.1", "ada"), Some(16));
        wait(1200).await;
        assert_eq!(fail(&penalties, "192.0.2.1", "ada"), Some(0), "all is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_while_blocked_prolongs_the_block() {
        let settings = PenaltySettings { block_after: Some(1), ..PenaltySettings::default() };
        let penalties = Penalties::new(settings);
        fail(&penalties, "192.0.2.1", "ada");
        wait(500).await;
        fail(&penalties, "192.0.2.1", "ada");
        wait(500).await;
        assert!(penalties.is_blocked(ip("192.0.2.1")));
        wait(100).await;
        assert!(!penalties.is_blocked(ip("192.0.2.1")));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_slide_out_of_the_window() {
        let penalties = Penalties::new(PenaltySettings::default());
        for _ in 0..8 {
            fail(&penalties, "192.0.2.1", "ada");
        }
        // In the middle of the next window half of the eight are left: this is the fifth.
        wait(900).await;
        assert_eq!(fail(&penalties, "192.0.2.1", "ada"), Some(8));
        // One of this window and none of the eight.
        wait(299).await;
        assert_eq!(fail(&penalties, "192.0.2.1", "ada"), Some(1));
        // Slowly for ever: never blocked.
        for _ in 0..1000 {
            wait(60).await;
            fail(&penalties, "192.0.2.1", "ada");
        }
        assert!(!penalties.is_blocked(ip("192.0.2.1")));
    }

    #[test]
    fn a_success_forgives_what_was_mistyped_and_nothing_else() {
        let penalties = Penalties::new(PenaltySettings::default());
        for _ in 0..4 {
            fail(&penalties, "192.0.2.1", "ada");
        }
        penalties.succeeded(ip("192.0.2.1"), "ada");
        assert_eq!(fail(&penalties, "192.0.2.1", "ada"), Some(0));
        // Guessing others, with a login of one's own in between.
        for delay in [1, 2, 4, 8] {
            assert_eq!(fail(&penalties, "192.0.2.1", "bob"), Some(delay));
            penalties.succeeded(ip("192.0.2.1"), "ada");
        }
        penalties.succeeded(ip("192.0.2.1"), "bob");
        assert_eq!(fail(&penalties, "192.0.2.1", "eve"), Some(1), "ada's one failure before is left");
    }

    #[test]
    fn only_so_many_answers_wait() {
        let settings = PenaltySettings { free: 0, waiting: 2, ..PenaltySettings::default() };
        let penalties = Penalties::new(settings);
        let waits = [penalties.failed(ip("2001:db8::1"), None), penalties.failed(ip("2001:db8::2"), None)];
        assert!(matches!(penalties.failed(ip("2001:db8::3"), None), Penalty::Drop));
        assert!(matches!(penalties.failed(ip("2001:db8:0:1::3"), None), Penalty::Delay(_)));
        drop(waits);
        assert!(matches!(penalties.failed(ip("2001:db8::3"), None), Penalty::Delay(_)));
    }

    #[test]
    fn exempt_networks() {
        let settings = PenaltySettings { exempt: vec!["127.0.0.0/8".parse().unwrap()], ..PenaltySettings::default() };
        let penalties = Penalties::new(settings);
        for _ in 0..100 {
            assert_eq!(fail(&penalties, "127.0.0.1", "ada"), Some(0));
        }
        penalties.block(ip("127.0.0.1"), Duration::from_secs(60));
        assert!(penalties.admit(ip("127.0.0.1")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn blocks_by_hand() {
        let penalties = Penalties::new(PenaltySettings::default());
        penalties.block(ip("192.0.2.1"), Duration::from_secs(60));
        assert!(penalties.is_blocked(ip("192.0.2.1")));
        assert!(!penalties.unblock(ip("192.0.2.2")));
        assert!(penalties.unblock(ip("192.0.2.1")));
        assert!(!penalties.unblock(ip("192.0.2.1")));
    }

    #[test]
    fn extreme_settings() {
        let settings = PenaltySettings {
            window: Duration::ZERO,
            block_for: Duration::MAX,
            first_delay: Duration::MAX,
            free: u32::MAX,
            ipv6_address: 255,
            block_after: Some(0),
            ..PenaltySettings::default()
        };
        let penalties = Penalties::new(settings);
        for _ in 0..100 {
            fail(&penalties, "192.0.2.1", "ada");
            fail(&penalties, "2001:db8::1", "ada");
        }
        assert!(penalties.is_blocked(ip("192.0.2.1")));
        let settings = PenaltySettings {
            first_delay: Duration::MAX,
            longest_delay: Duration::MAX,
            window: Duration::MAX,
            ..PenaltySettings::default()
        };
        let penalties = Penalties::new(settings);
        for _ in 0..100 {
            let _ = fail(&penalties, "192.0.2.1", "ada");
        }
        assert_eq!(PenaltySettings::default().delay(u32::MAX), Duration::from_secs(16));
    }

    #[test]
    fn a_million_addresses_free_nobody() {
        let penalties = Penalties::with_room(PenaltySettings::default(), 4096);
        for _ in 0..20 {
            fail(&penalties, "2001:db8::1", "ada");
        }
        for number in 0..1_000_000_u32 {
            let address = IpAddr::from(std::net::Ipv4Addr::from(number));
            drop(penalties.failed(address, None));
        }
        assert!(penalties.is_blocked(ip("2001:db8::1")));
        let size = penalties.0.table.size();
        assert!(size <= 4096 * size_of::<(Network, Record)>() + 256 * 40, "{size}");
        assert!(size_of::<(Network, Record)>() <= 112);
    }
}
