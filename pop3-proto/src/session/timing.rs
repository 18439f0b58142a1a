//! When a session ends by itself.

use std::time::{Duration, Instant};

use pillarbox_proto_core::Output;
use pillarbox_proto_core::conversation::Next as Ask;

use super::{Session, State};
use crate::config::Timeouts;
use crate::texts::Text;
use crate::wire::reply::Refusal;

#[derive(Debug)]
pub(super) struct Timing {
    timeouts: Timeouts,
    started: Instant,
    /// When the client last did something: gave a command, or took output.
    active: Instant,
    logged_in: bool,
    /// How much output waited when that was last looked at.
    waiting: usize,
    /// The backend is at work, and the client waits for it.
    busy: bool,
}

impl Timing {
    pub(super) fn new(timeouts: Timeouts, now: Instant) -> Self {
        Self { timeouts, started: now, active: now, logged_in: false, waiting: 0, busy: false }
    }

    pub(super) fn active(&mut self, now: Instant) {
        self.active = now;
    }

    pub(super) fn logged_in(&mut self, now: Instant) {
        self.logged_in = true;
        self.active = now;
    }

    fn deadline(&self) -> Option<Instant> {
        let idle = self.timeouts.idle.and_then(|idle| later(self.active, idle));
        let login = self.timeouts.login.filter(|_| !self.logged_in).and_then(|login| later(self.started, login));
        idle.into_iter().chain(login).min()
    }
}

/// No time at all is no limit: it would end every session at once.
fn later(from: Instant, after: Duration) -> Option<Instant> {
    from.checked_add(after).filter(|_| !after.is_zero())
}

impl Session {
    /// Notes whether the client has taken output since [`observe`](Self::observe).
    pub(crate) fn progress(&mut self, now: Instant) {
        if self.output.len() < self.timing.waiting {
            self.timing.active(now);
        }
        self.timing.waiting = self.output.len();
    }

    /// Notes how much output waits, whether the client waits for the backend, and whether it has given commands. Octets
    /// that are none don't count: with one now and then a client would hold its maildrop for good.
    pub(crate) fn observe(&mut self, busy: bool, now: Instant) {
        if std::mem::take(&mut self.commanded) {
            self.timing.active(now);
        }
        self.timing.waiting = self.output.len();
        self.timing.busy = busy;
    }

    /// When the session times out, if nothing happens before. Never while the client waits for the backend, nor once
    /// the session has ended.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let waiting_for_us = self.timing.busy && self.output.is_empty();
        if waiting_for_us || matches!(self.ask, Some(Ask::Close | Ask::Abort)) { None } else { self.timing.deadline() }
    }

    /// Ends the session if its time is over. Its deletions are forgotten (RFC 1939, section 3).
    pub(crate) fn check_deadline(&mut self, now: Instant) {
        self.progress(now);
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.state = State::Update;
        self.listing = None;
        if self.output.is_empty() && self.ask.is_none() {
            self.refuse(&Refusal::new(Text::TimedOut));
            self.close();
        } else {
            // The client does not take what it asked for; it would not take this either.
            self.output = Output::new();
            self.ask = Some(Ask::Abort);
        }
    }
}
