//! Who a client is, before it says a word.
//!
//! A [`Preauth`] hook of a listener is asked for every connection that passed the gates, after TLS where that is
//! immediate. IMAP greets a client that it knows with `PREAUTH` (RFC 9051, section 7.1.4); a client that it does not know
//! gets the usual greeting and logs in, or is disconnected without a byte where the listener takes known clients only.

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;

/// Identifies a client before the conversation starts.
///
/// It runs in the connection's own task, so a slow answer holds up nobody else; an implementation bounds the time that it
/// takes. What it says is believed: no password is asked for.
#[async_trait]
pub trait Preauth: fmt::Debug + Send + Sync {
    /// The user that this client is.
    ///
    /// # Errors
    ///
    /// The reason why that is not known, for the log: the client is not told.
    async fn identify(&self, connection: &Connection) -> Result<Identity, Unidentified>;
}

/// Why a client was not identified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unidentified(Cow<'static, str>);

impl Unidentified {
    /// With this reason: one line, for the log.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unidentified {}
