//! Who a client is, before it says a word.
//!
//! A [`Preauth`] hook of a [listener](crate::Listener::preauth) is asked for every connection that passed the gates, after
//! TLS where that is immediate. IMAP greets a client that it knows with `PREAUTH` (RFC 9051, section 7.1.4); a client that
//! it does not know gets the usual greeting and logs in, or is disconnected without a byte where the listener takes
//! [known clients only](crate::Listener::preauth_only).
//!
//! * [`Program`]: another program says who it is.
//! * [`Ident`]: the client's own machine says who it is (RFC 1413), encrypted if wanted.
//! * [`Stdio`]: the user that this process runs as, for a client on standard input.
//! * [`Scheme`]: one of these, by how it is written in a configuration.
//!
//! What a hook says is believed: no password is asked for. The machine of an [`Ident`] client is trusted entirely, and
//! so is the network between; it is for machines under one administration.

#[cfg(unix)]
mod ident;
#[cfg(unix)]
mod program;
#[cfg(unix)]
mod reply;
#[cfg(unix)]
mod scheme;
#[cfg(unix)]
mod stdio;
#[cfg(unix)]
mod token;
#[cfg(unix)]
mod users;

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;

#[cfg(unix)]
pub use ident::Ident;
#[cfg(unix)]
pub use program::Program;
#[cfg(unix)]
pub use scheme::{Scheme, SchemeError};
#[cfg(unix)]
pub use stdio::Stdio;
#[cfg(unix)]
pub use token::{IdentKeys, KeyFileError};
#[cfg(unix)]
pub use users::system_user;

/// Identifies a client before the conversation starts.
///
/// It runs in the connection's own task, so a slow answer holds up nobody else; an implementation bounds the time that it
/// takes. What it says is believed: no password is asked for.
///
/// ```
/// use async_trait::async_trait;
/// use pillarbox_proto_core::Connection;
/// use pillarbox_proto_core::auth::Identity;
/// use pillarbox_server_core::preauth::{Preauth, Unidentified};
///
/// /// Whoever sits at this machine is its owner.
/// #[derive(Debug)]
/// struct Local(String);
///
/// #[async_trait]
/// impl Preauth for Local {
///     async fn identify(&self, connection: &Connection) -> Result<Identity, Unidentified> {
///         match connection.client() {
///             Some(client) if client.ip().is_loopback() => Ok(Identity::new(&self.0)),
///             _ => Err(Unidentified::new("not of this machine")),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Preauth: fmt::Debug + Send + Sync {
    /// The user that this client is.
    ///
    /// # Errors
    ///
    /// The reason why that is not known, for the log: the client is not told.
    async fn identify(&self, connection: &Connection) -> Result<Identity, Unidentified>;
}

#[async_trait]
impl<P: Preauth + ?Sized> Preauth for std::sync::Arc<P> {
    async fn identify(&self, connection: &Connection) -> Result<Identity, Unidentified> {
        (**self).identify(connection).await
    }
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

/// The longest user name that is taken from elsewhere, in bytes.
#[cfg(unix)]
const LONGEST_USER: usize = 255;

/// The user of this name, if it can be one.
#[cfg(unix)]
fn user(name: &[u8]) -> Result<Identity, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "the user name is not UTF-8")?;
    match name {
        _ if name.trim().is_empty() => Err("no user name"),
        _ if name.len() > LONGEST_USER => Err("the user name is too long"),
        _ if name.chars().any(char::is_control) => Err("the user name has control characters"),
        _ => Ok(Identity::new(name)),
    }
}
