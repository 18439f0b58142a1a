//! How slow a client may be while it is waited for.

use std::time::{Duration, Instant};

/// The least that a client has to move while the server waits for it in the middle of something: while it does not take
/// output that is there for it, or sends the rest of a command or of a message only by and by. A client that is between
/// two commands, or in IDLE, may be silent for as long as its protocol lets it.
///
/// It is looked at over whole windows: who moves less in one than the rate asks for is cut off at its end. Bytes count
/// when the kernel takes them, or has them, without what TLS adds; and the kernel takes more only when a good part of its
/// send buffer is free again. So the window should be longer than a client at this rate needs for such a buffer: with a
/// buffer of 64 KiB and 250 bytes per second, four minutes.
///
/// ```
/// use std::time::Duration;
/// use pillarbox_server_core::ServeOptions;
/// use pillarbox_server_core::limits::MinRate;
///
/// let options = ServeOptions::new().min_rate(MinRate::new(250, Duration::from_secs(240)));
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    bytes: u32,
    /// In milliseconds: every connection has one of these.
    window: u32,
}

impl MinRate {
    /// So many bytes per second, over windows of this length; 49 days are the most.
    #[must_use]
    pub fn new(bytes_per_second: u32, window: Duration) -> Self {
        Self { bytes: bytes_per_second, window: u32::try_from(window.as_millis()).unwrap_or(u32::MAX) }
    }

    /// Bytes per second.
    #[must_use]
    pub const fn bytes_per_second(self) -> u32 {
        self.bytes
    }

    /// The length of a window.
    #[must_use]
    pub const fn window(self) -> Duration {
        Duration::from_millis(self.window as u64)
    }

    fn asks(self) -> u64 {
        u64::from(self.bytes) * u64::from(self.window) / 1000
    }
}

/// What the server waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Debt {
    /// Output is to be taken.
    Output,
    /// The rest of something is to be sent.
    Input,
}

/// Measures one client.
#[derive(Debug, Default)]
pub(crate) struct Pace(Option<Window>);

#[derive(Debug)]
struct Window {
    debt: Debt,
    began: Instant,
    /// Bytes moved before.
    before: u64,
}

impl Pace {
    /// The client owes nothing.
    pub(crate) fn even(&mut self) {
        self.0 = None;
    }

    /// The client is waited for; says whether it is too slow. `moved` counts what it has moved since ever, of the kind
    /// that it owes.
    pub(crate) fn owes(&mut self, debt: Debt, moved: u64, rate: MinRate, now: Instant) -> bool {
        match &self.0 {
            Some(window) if window.debt == debt => {
                if now.saturating_duration_since(window.began) < rate.window() {
                    return false;
                }
                let slow = moved.saturating_sub(window.before) < rate.asks();
                self.0 = Some(Window { debt, began: now, before: moved });
                slow
            }
            _ => {
                self.0 = Some(Window { debt, began: now, before: moved });
                false
            }
        }
    }

    /// When it has to be looked at again.
    pub(crate) fn due(&self, rate: MinRate) -> Option<Instant> {
        self.0.as_ref().and_then(|window| window.began.checked_add(rate.window()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: MinRate = MinRate { bytes: 10, window: 60_000 };

    #[test]
    fn whole_windows_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert_eq!(pace.due(RATE), None);
        assert!(!pace.owes(Debt::Input, 5, RATE, at(0)));
        assert_eq!(pace.due(RATE), Some(at(60)));
        assert!(!pace.owes(Debt::Input, 5, RATE, at(59)), "not before its end");
        assert!(!pace.owes(Debt::Input, 605, RATE, at(60)), "600 bytes are just enough");
        assert!(pace.owes(Debt::Input, 1204, RATE, at(120)), "599 are not");
    }

    #[test]
    fn who_has_paid_begins_anew() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert!(!pace.owes(Debt::Output, 0, RATE, at(0)));
        pace.even();
        assert_eq!(pace.due(RATE), None);
        assert!(!pace.owes(Debt::Output, 0, RATE, at(1000)));
        assert!(!pace.owes(Debt::Input, 0, RATE, at(1060)), "another debt");
        assert!(pace.owes(Debt::Input, 0, RATE, at(1120)));
        assert!(!Pace::default().owes(Debt::Input, 0, MinRate::new(u32::MAX, Duration::MAX), at(0)));
    }
}
