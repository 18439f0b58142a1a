//! What the operator is told, and the client is not: why a store failed.
//!
//! With the feature `tracing` these become events, which stand in the span of the session if whoever drives the
//! conversation has entered one; without it nothing happens.

use pillarbox_proto_core::backend::Error;

/// Logs an error that is the store's fault, with its source. What the client did wrong is of no interest here.
pub(super) fn report(doing: &'static str, error: &Error) {
    if error.is_fault() {
        warn(doing, error);
    }
}

/// Logs that a policy could not be kept, whatever the reason: the client is not told.
pub(super) fn warn(doing: &'static str, error: &Error) {
    #[cfg(feature = "tracing")]
    {
        tracing::warn!(source = std::error::Error::source(error), "{doing}: {error}");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (doing, error);
}

/// Logs that a login is recorded for a time that is still to come, by so many seconds.
pub(super) fn clock_set_back(seconds: i64) {
    #[cfg(feature = "tracing")]
    tracing::warn!(seconds, "the last login lies in the future and is disregarded: the clock was set back");
    #[cfg(not(feature = "tracing"))]
    let _ = seconds;
}

/// Logs that a user has got bulletins.
pub(super) fn delivered(user: &str, count: u64) {
    #[cfg(feature = "tracing")]
    if count > 0 {
        tracing::info!(user, count, "bulletins delivered");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (user, count);
}
