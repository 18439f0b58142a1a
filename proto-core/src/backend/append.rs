//! Adding messages, as a transaction.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Result;
use crate::mail::{DateTime, Flags, MailboxName, ModSeq, Uid, UidValidity};

/// Where messages are to be added.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppendRequest {
    /// The mailbox. It is not created when it is missing.
    pub mailbox: MailboxName,
}

impl AppendRequest {
    /// To this mailbox.
    #[must_use]
    pub fn new(mailbox: MailboxName) -> Self {
        Self { mailbox }
    }
}

/// What is told about a message before its octets come.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AppendMessage {
    /// How many octets the client said will come; for quota and size limits. Nothing is to be allocated from it.
    pub size: u64,
    /// Flags to set.
    pub flags: Flags,
    /// When it was received; `None` for now.
    pub internal_date: Option<DateTime>,
    /// The octets may hold NUL (literal8, RFC 3516).
    pub binary: bool,
}

impl AppendMessage {
    /// A message of this many octets.
    #[must_use]
    pub fn new(size: u64, flags: Flags, internal_date: Option<DateTime>) -> Self {
        Self { size, flags, internal_date, binary: false }
    }
}

/// Messages on their way into a mailbox. Each is begun and written in chunks; one commit adds them all. Dropped before
/// that, nothing is stored.
///
/// The same object serves APPEND, MULTIAPPEND, COPY between stores and POP3 deliveries.
#[async_trait]
pub trait Append: Send {
    /// Begins the next message; the one before is complete.
    ///
    /// # Errors
    ///
    /// Refusals that can be told before the octets are sent: [`OverQuota`](super::Error::OverQuota),
    /// [`TooBig`](super::Error::TooBig).
    async fn begin(&mut self, message: AppendMessage) -> Result<()>;

    /// Adds octets to the message that was begun.
    ///
    /// # Errors
    ///
    /// When the store fails; then nothing is stored.
    async fn write(&mut self, chunk: Bytes) -> Result<()>;

    /// Adds all messages to the mailbox, in order, and returns when they are durable.
    ///
    /// # Errors
    ///
    /// When the store fails; then nothing is stored.
    async fn commit(self: Box<Self>, options: CommitOptions) -> Result<Appended>;
}

/// How messages are added.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CommitOptions {
    /// Remove this message of the same mailbox in the same step (REPLACE, RFC 8508).
    pub replace: Option<Uid>,
}

/// What was added.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Appended {
    /// The mailbox's UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The messages' UIDs, ascending, in the order in which they were begun.
    pub uids: Vec<Uid>,
    /// The mailbox's mod-sequence after it.
    pub modseq: ModSeq,
}

impl Appended {
    /// These UIDs were given.
    #[must_use]
    pub fn new(uid_validity: UidValidity, uids: Vec<Uid>, modseq: ModSeq) -> Self {
        Self { uid_validity, uids, modseq }
    }
}
