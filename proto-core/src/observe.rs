//! What a program may see of its sessions while they run: logins, commands, states.
//!
//! A conversation tells it to the [`Observer`] that came with its [`Connection`](crate::Connection). Nothing secret
//! passes here: no password, no token, no message.

use std::fmt;
use std::time::Duration;

use crate::backend::Error;

/// Is told what happens in one session. The methods are called from the session's own task, between two of its steps:
/// they must not block.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use pillarbox_proto_core::observe::{CommandOutcome, Observer};
///
/// #[derive(Debug, Default)]
/// struct Count(AtomicU64);
///
/// impl Observer for Count {
///     fn command(&self, _name: &'static str, _outcome: CommandOutcome, _elapsed: std::time::Duration) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
/// ```
pub trait Observer: fmt::Debug + Send + Sync {
    /// The client has proven who it is, or was known beforehand, and its account is open. `mechanism` is the name of a
    /// SASL mechanism that this program knows, or `LOGIN`, `PASS`, `APOP`, `PREAUTH`.
    fn logged_in(&self, _user: &str, _mechanism: &'static str) {}

    /// A login came to nothing. `mechanism` is as in [`logged_in`](Self::logged_in), or `OTHER` for a SASL mechanism that
    /// is not offered.
    fn login_failed(&self, _mechanism: &'static str, _cause: LoginFailure) {}

    /// The client has said which program it is (IMAP ID, RFC 2971): names of fields and their values, if any. None of it
    /// is proven. There are at most 30 fields, with names of at most 30 octets and values of at most 1,024; more is cut
    /// off. Control characters are escaped, and octets that are no UTF-8 replaced, so that each fits on a line of a log.
    /// It is told once before the login and once after it, however often the client says it (RFC 2971, section 7).
    fn identified(&self, _fields: &[(&str, Option<&str>)]) {}

    /// The client is no one again (IMAP UNAUTHENTICATE).
    fn logged_out(&self) {}

    /// A command was answered. `name` is upper-case and from a fixed set (`UID FETCH`, `RETR`); what is unknown is
    /// `UNKNOWN`. `elapsed` counts from the time when it was read until its last response was made.
    fn command(&self, _name: &'static str, _outcome: CommandOutcome, _elapsed: Duration) {}

    /// The state that the session is in now, in the words of its protocol's standard (`authenticated`, `selected`,
    /// `TRANSACTION`, `idle`).
    fn state(&self, _state: &'static str) {}
}

/// Why a login came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginFailure {
    /// Unknown user or wrong secret. What guesses passwords has this result.
    Credentials,
    /// The user is known, and may not come in (now): a login delay, a lock, a policy.
    Refused,
    /// The store or the authentication service failed.
    Unavailable,
    /// The client gave up, or did not keep to the protocol.
    Aborted,
}

impl LoginFailure {
    /// Its name, for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Aborted => "aborted",
        }
    }
}

impl From<&Error> for LoginFailure {
    /// What an authenticator or a store said to a login.
    fn from(error: &Error) -> Self {
        match error {
            Error::AuthenticationFailed | Error::AuthorizationFailed | Error::Expired | Error::TokenRefused(_) => {
                Self::Credentials
            }
            error if error.is_fault() => Self::Unavailable,
            _ => Self::Refused,
        }
    }
}

/// How a command was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommandOutcome {
    /// IMAP `OK`, POP3 `+OK`.
    Ok,
    /// IMAP `NO`, POP3 `-ERR` to a command that was well-formed.
    No,
    /// IMAP `BAD`, POP3 `-ERR` to what is no command, or not now.
    Bad,
}

impl CommandOutcome {
    /// Its name, for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::No => "no",
            Self::Bad => "bad",
        }
    }
}
