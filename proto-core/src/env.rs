//! What a conversation may know of the world around it: wall time and random bytes.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Wall time and entropy for a conversation. Injected, so that a test replays a dialogue to the byte.
pub trait Env: Debug + Send + Sync {
    /// The time of day, for internal dates, WITHIN searches and greetings.
    fn wall_time(&self) -> SystemTime;

    /// Fills the buffer with bytes that an attacker can't foresee, for SASL nonces and APOP time stamps.
    fn random(&self, buffer: &mut [u8]);
}

/// The system's clock and random source.
#[cfg(feature = "system-env")]
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnv;

#[cfg(feature = "system-env")]
impl Env for SystemEnv {
    fn wall_time(&self) -> SystemTime {
        SystemTime::now()
    }

    fn random(&self, buffer: &mut [u8]) {
        // A system without entropy must not serve logins with foreseeable nonces.
        #[allow(clippy::expect_used, reason = "the operating system has no random source: there is no safe way on")]
        getrandom::fill(buffer).expect("the operating system has no random source");
    }
}

/// A clock that a test moves and foreseeable "random" bytes. Never for a server.
#[derive(Debug)]
pub struct VirtualEnv {
    now: Mutex<SystemTime>,
    byte: u8,
}

impl VirtualEnv {
    /// It is this time, until it is told otherwise; every "random" byte is this one.
    #[must_use]
    pub fn new(now: SystemTime, byte: u8) -> Self {
        Self { now: Mutex::new(now), byte }
    }

    /// Sets the clock, forwards or back.
    pub fn set(&self, now: SystemTime) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Env for VirtualEnv {
    fn wall_time(&self) -> SystemTime {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(self.byte);
    }
}

/// A clock that stands still and foreseeable "random" bytes, for tests and transcripts. Never for a server.
#[derive(Clone, Copy, Debug)]
pub struct FixedEnv {
    /// The time of day that it tells.
    pub now: SystemTime,
    /// Every "random" byte.
    pub byte: u8,
}

impl Env for FixedEnv {
    fn wall_time(&self) -> SystemTime {
        self.now
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(self.byte);
    }
}
