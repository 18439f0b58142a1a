//! What the session's observer is told of commands and states.

use std::time::Instant;

use pillarbox_proto_core::observe::CommandOutcome;

use super::Session;

/// The command that waits for its answer.
#[derive(Debug)]
pub(super) struct Watch {
    /// What [`Conversation::poll_next`](pillarbox_proto_core::Conversation::poll_next) was told last.
    now: Instant,
    began: Instant,
    name: Option<&'static str>,
    outcome: CommandOutcome,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { now, began: now, name: None, outcome: CommandOutcome::Ok }
    }
}

impl Session {
    /// Time passes.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.watch.now = now;
    }

    /// A command has been read.
    pub(super) fn command_began(&mut self, name: &'static str) {
        let now = self.watch.now;
        self.watch = Watch { now, began: now, name: Some(name), outcome: CommandOutcome::Ok };
    }

    /// What is being answered is no `+OK`.
    pub(super) fn command_refused(&mut self, outcome: CommandOutcome) {
        self.watch.outcome = outcome;
    }

    /// The last of a command's answer has been written.
    pub(super) fn command_ended(&mut self) {
        if let Some(name) = self.watch.name.take()
            && let Some(observer) = &self.connection.observer
        {
            observer.command(name, self.watch.outcome, self.watch.now.saturating_duration_since(self.watch.began));
        }
    }

    /// The state is another one now (RFC 1939, section 3).
    pub(super) fn tell_state(&self, state: &'static str) {
        if let Some(observer) = &self.connection.observer {
            observer.state(state);
        }
    }
}
