//! Deciding who may connect.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;

/// Decides about a new connection before a byte is exchanged.
///
/// It runs in the connection's own task, so a slow decision holds up nobody else, after the limits on open connections
/// and before TLS. A refused client gets no byte. A gate may add to what is known about the connection, such as
/// [`Connection::externally_secured`].
#[async_trait]
pub trait Gate: Send + Sync {
    /// Lets the connection pass, or says why not.
    ///
    /// # Errors
    ///
    /// The reason, for the log: the client is not told.
    async fn admit(&self, connection: &mut Connection) -> Result<(), Refusal>;
}

#[async_trait]
impl<G: Gate + ?Sized> Gate for Arc<G> {
    async fn admit(&self, connection: &mut Connection) -> Result<(), Refusal> {
        (**self).admit(connection).await
    }
}

/// Why a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Cow<'static, str>);

impl Refusal {
    /// With this reason.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
