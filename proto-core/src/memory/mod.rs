//! A whole mail store in memory, for test suites and examples.
//!
//! It does everything that the traits of [`backend`](crate::backend) offer: several users, several sessions on one
//! mailbox with live updates, mod-sequences, keywords, subscriptions, special uses, shared mailboxes, limits, and the
//! policies of POP3 maildrops (login delay, expiry, bulletins). Besides
//! what clients do to it, a test acts on it directly, as another program or another client would
//! ([`MemoryBackend::deliver`] and its neighbours), and makes it slow or failing ([`MemoryBackend::hook`]).
//!
//! A [`MemoryBackend`] is a handle: clones share the store. Nothing in it waits but where a hook says so, and nothing
//! is kept on disk.
//!
//! ```
//! use pillarbox_proto_core::backend::{Backend, FetchData, FetchRequest, OpenRequest};
//! use pillarbox_proto_core::mail::{MailboxName, SystemFlags, UidSet};
//! use pillarbox_proto_core::memory::MemoryBackend;
//! use pillarbox_proto_core::{Connection, auth::Identity};
//!
//! # futures::executor::block_on(async {
//! let store = MemoryBackend::builder()
//!     .user("alice", "secret")
//!     .message("alice", "INBOX", SystemFlags::SEEN, "Subject: lunch?\r\n\r\nAt noon.\r\n")
//!     .mailbox("alice", "Archive/2024")
//!     .build()?;
//!
//! // What a server does:
//! let account = Backend::open(&store, &Connection::default(), &Identity::new("alice")).await?;
//! let inbox = account.open(OpenRequest::select(MailboxName::inbox())).await?;
//! assert_eq!(inbox.snapshot.uids.count(), 1);
//!
//! // Another program delivers a message, and the session hears of it:
//! store.deliver("alice", "INBOX", "Subject: dinner?\r\n\r\n")?;
//! inbox.mailbox.changed(inbox.snapshot.modseq).await;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod account;
mod append;
mod body;
mod builder;
mod direct;
mod hook;
mod login;
mod mailbox;
mod policies;
mod search;
mod shelf;
mod store;
mod table;
mod tree;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use builder::{BuildError, Builder};
pub use direct::StoredMessage;
pub use hook::{Call, Outcome};

use crate::mail::{DateTime, Flags};
use store::Store;

/// Between the levels of all mailbox names.
const DELIMITER: char = '/';

/// A mail store in memory; see the [module's documentation](self).
#[derive(Clone)]
pub struct MemoryBackend {
    store: Arc<Store>,
}

impl MemoryBackend {
    /// Starts to describe a store.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend").field("users", &self.store.users.keys()).finish_non_exhaustive()
    }
}

/// A message for [`MemoryBackend::deliver`].
#[derive(Clone, Debug)]
#[must_use]
pub struct NewMessage {
    content: Bytes,
    flags: Flags,
    internal_date: Option<DateTime>,
    expire_stamp: Option<Arc<str>>,
}

impl NewMessage {
    /// A message of these octets, without flags, received now. The octets are served as they are, so lines end with
    /// CRLF; [`crlf`] helps.
    pub fn new(content: impl Into<Bytes>) -> Self {
        Self { content: content.into(), flags: Flags::NONE, internal_date: None, expire_stamp: None }
    }

    /// With these flags.
    pub fn flags(mut self, flags: impl Into<Flags>) -> Self {
        self.flags = flags.into();
        self
    }

    /// Received at this time.
    pub fn received(mut self, date: DateTime) -> Self {
        self.internal_date = Some(date);
        self
    }
}

impl From<&'static str> for NewMessage {
    fn from(content: &'static str) -> Self {
        Self::new(content)
    }
}

impl From<String> for NewMessage {
    fn from(content: String) -> Self {
        Self::new(content)
    }
}

impl From<&'static [u8]> for NewMessage {
    fn from(content: &'static [u8]) -> Self {
        Self::new(content)
    }
}

impl<const N: usize> From<&'static [u8; N]> for NewMessage {
    fn from(content: &'static [u8; N]) -> Self {
        Self::new(content.as_slice())
    }
}

impl From<Vec<u8>> for NewMessage {
    fn from(content: Vec<u8>) -> Self {
        Self::new(content)
    }
}

impl From<Bytes> for NewMessage {
    fn from(content: Bytes) -> Self {
        Self::new(content)
    }
}

/// A text with CRLF at the end of each line, whatever stood there, for messages written in a test's source.
///
/// ```
/// assert_eq!(pillarbox_proto_core::memory::crlf("To: me\n\nHi\r\n"), "To: me\r\n\r\nHi\r\n");
/// ```
#[must_use]
pub fn crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
