//! What the operator is told, and the client is not: why a store failed.

use pillarbox_proto_core::backend::Error;

/// Logs an error that is the store's fault, with its sources. What the client did wrong is of no interest here.
///
/// With the feature `tracing` it becomes an event, which stands in the span of the session if whoever drives the
/// conversation has entered one; without it nothing happens.
pub(super) fn report(error: &Error) {
    #[cfg(feature = "tracing")]
    if error.is_fault() {
        tracing::warn!(source = std::error::Error::source(error), "a command failed: {error}");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}
