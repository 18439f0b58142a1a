//! When a session ends, or speaks, by itself.

use std::time::{Duration, Instant};

use super::Session;
use crate::wire::encode::{self, Condition};

/// The times that matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    started: Instant,
    /// The last input.
    heard: Instant,
    /// The last output in an IDLE.
    spoke: Instant,
    idling: bool,
    /// A command is at work: the client waits for us, not we for it.
    working: bool,
    /// The output is full: how much waits, and since when the client has taken none of it.
    stalled: Option<(usize, Instant)>,
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Self {
        Self { started: now, heard: now, spoke: now, idling: false, working: false, stalled: None }
    }
}

impl Session {
    pub(crate) fn heard(&mut self, now: Instant) {
        self.timers.heard = now;
    }

    pub(crate) fn spoke(&mut self, now: Instant) {
        self.timers.spoke = now;
    }

    /// Notes what the client waits for: a command at work, or news in an IDLE.
    pub(crate) fn set_working(&mut self, working: bool, idling: bool, now: Instant) {
        if idling && !self.timers.idling {
            self.timers.spoke = now;
        }
        if self.timers.working && !working {
            // The client could not have spoken sooner.
            self.timers.heard = now;
        }
        self.timers.working = working;
        self.timers.idling = idling;
    }

    /// Notes how much output waits where it is too much to go on.
    pub(crate) fn set_stalled(&mut self, waits: Option<usize>, now: Instant) {
        match (waits, self.timers.stalled) {
            (Some(waits), Some((before, _))) if waits == before => {}
            (Some(waits), _) => self.timers.stalled = Some((waits, now)),
            (None, Some(_)) => {
                self.timers.stalled = None;
                // The client has taken something, which shows it as well as a word would.
                self.timers.heard = now;
            }
            (None, None) => {}
        }
    }

    /// Whether the client has to take output before anything goes on.
    pub(crate) fn is_stalled(&self) -> bool {
        self.timers.stalled.is_some()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let heartbeat = self.heartbeat();
        [self.logout_at(), heartbeat].into_iter().flatten().min()
    }

    fn heartbeat(&self) -> Option<Instant> {
        self.config.timeouts.heartbeat.filter(|_| self.timers.idling).and_then(|after| later(self.timers.spoke, after))
    }

    fn logout_at(&self) -> Option<Instant> {
        if !self.is_authenticated() {
            return self.config.timeouts.login.and_then(|after| later(self.timers.started, after));
        }
        if let Some((_, since)) = self.timers.stalled {
            return self.config.timeouts.idle.and_then(|after| later(since, after));
        }
        if self.timers.working && !self.timers.idling {
            return None;
        }
        self.config.timeouts.idle.and_then(|after| later(self.timers.heard, after))
    }

    /// Returns whether the session is to end.
    pub(crate) fn deadline_came(&mut self, now: Instant) -> bool {
        if self.logout_at().is_some_and(|at| now >= at) {
            return true;
        }
        if self.heartbeat().is_some_and(|at| now >= at) {
            self.timers.spoke = now;
            self.port.beat();
            encode::untagged(self.output.tail_mut(), Condition::Ok, None, "Still here");
        }
        false
    }
}

/// No time at all is no limit: it would end every session, or make it speak without end.
fn later(from: Instant, after: Duration) -> Option<Instant> {
    from.checked_add(after).filter(|_| !after.is_zero())
}
