//! What the session's observer is told of commands, logins and states.

use std::time::Instant;

use pillarbox_proto_core::observe::{CommandOutcome, LoginFailure};

use super::Session;
use crate::service::completion::{Completion, Condition, OwnedCode};
use crate::wire::encode::Code;

/// The command that waits for its answer.
#[derive(Debug)]
pub(crate) struct Watch {
    /// What [`Conversation::poll_next`](pillarbox_proto_core::Conversation::poll_next) was told last.
    now: Instant,
    began: Instant,
    name: Option<&'static str>,
    /// How the client tries to log in.
    mechanism: Option<&'static str>,
    /// What was told last.
    state: &'static str,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { now, began: now, name: None, mechanism: None, state: "" }
    }
}

impl Session {
    /// Time passes.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.watch.now = now;
    }

    /// A command has been read.
    pub(crate) fn command_began(&mut self, name: &'static str) {
        self.watch.began = self.watch.now;
        self.watch.name = Some(name);
    }

    /// Its tagged response has been made.
    pub(super) fn command_ended(&mut self, condition: Condition) {
        let Some(name) = self.watch.name.take() else { return };
        let Some(observer) = &self.connection.observer else { return };
        let outcome = match condition {
            Condition::Ok => CommandOutcome::Ok,
            Condition::Bad => CommandOutcome::Bad,
            _ => CommandOutcome::No,
        };
        observer.command(name, outcome, self.watch.now.saturating_duration_since(self.watch.began));
        self.tell_state(false);
    }

    /// The client has begun to log in.
    pub(crate) fn login_began(&mut self, mechanism: &'static str) {
        self.watch.mechanism = Some(mechanism);
    }

    /// That login has ended so.
    pub(crate) fn login_ended(&mut self, completion: &Completion) {
        let Some(mechanism) = self.watch.mechanism.take() else { return };
        let Some(observer) = &self.connection.observer else { return };
        match &self.identity {
            Some(identity) if self.account.is_some() => observer.logged_in(identity.user(), mechanism),
            _ => observer.login_failed(mechanism, cause(completion)),
        }
    }

    /// The client has asked for a mechanism that is not offered.
    pub(super) fn login_impossible(&self) {
        if let Some(observer) = &self.connection.observer {
            observer.login_failed("OTHER", LoginFailure::Aborted);
        }
    }

    /// Tells the state, where it is another one now (RFC 9051, section 3).
    pub(crate) fn tell_state(&mut self, idling: bool) {
        let Some(observer) = &self.connection.observer else { return };
        let state = match () {
            () if self.ending == Some(pillarbox_proto_core::conversation::Next::Close) => "logout",
            () if idling => "idle",
            () if self.selected.is_some() => "selected",
            () if self.account.is_some() => "authenticated",
            () => "not authenticated",
        };
        if self.watch.state != state {
            self.watch.state = state;
            observer.state(state);
        }
    }
}

/// Why a login came to nothing that was answered so.
fn cause(completion: &Completion) -> LoginFailure {
    match completion.code {
        _ if completion.is_failed_login() => LoginFailure::Credentials,
        Some(OwnedCode::Plain(Code::Unavailable | Code::Corruption)) => LoginFailure::Unavailable,
        _ if completion.condition == Condition::Bad => LoginFailure::Aborted,
        _ => LoginFailure::Refused,
    }
}
