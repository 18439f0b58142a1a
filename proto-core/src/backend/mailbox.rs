//! One open mailbox.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::changes::{Changes, ChangesRequest};
use super::defaults;
use super::error::{Error, Result};
use super::policy::Expiry;
use super::query::SearchRequest;
use super::rows::{FetchRequest, Message, Row, Rows};
use crate::mail::{Flags, ModSeq, Uid, UidSet};

/// An open mailbox. The handle is bound to the mailbox itself, not to its name: it goes on working when the mailbox is
/// renamed, and answers [`Error::MailboxGone`] when it was deleted or recreated.
#[async_trait]
pub trait Mailbox: Send + Sync {
    /// Reads rows about messages.
    ///
    /// # Errors
    ///
    /// When the store fails.
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>>;

    /// Opens one message for reading.
    ///
    /// # Errors
    ///
    /// [`Error::Expunged`] when it is not there any more.
    async fn message(&self, uid: Uid) -> Result<Box<dyn Message>>;

    /// What has changed since a mod-sequence, a page at a time. Default: nothing ever does.
    ///
    /// # Errors
    ///
    /// When the store fails. A mailbox that is gone is no error here, but [`Changes::fate`].
    async fn changes(&self, request: ChangesRequest) -> Result<Changes> {
        Ok(Changes::none(request.since))
    }

    /// Resolves when there is something newer than this mod-sequence: at once if there is already. Level-triggered and
    /// cancellable; many may wait. [`Signal`](crate::Signal) implements it. Default: never.
    async fn changed(&self, since: ModSeq) {
        let _ = since;
        std::future::pending().await
    }

    /// Changes flags, each message at once or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] by default, or when the store fails.
    async fn store(&self, request: StoreRequest) -> Result<Stored> {
        let _ = request;
        Err(Error::ReadOnly)
    }

    /// Removes messages for good, each at once or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] by default, or when the store fails.
    async fn expunge(&self, request: ExpungeRequest) -> Result<Expunged> {
        let _ = request;
        Err(Error::ReadOnly)
    }

    /// Answers a search from an index, or `None` (the default): then the library searches through
    /// [`fetch`](Self::fetch) and [`message`](Self::message).
    ///
    /// # Errors
    ///
    /// When the store fails.
    async fn search(&self, request: &SearchRequest) -> Result<Option<UidSet>> {
        let _ = request;
        Ok(None)
    }

    /// Offers the backend what the library has worked out about a message, to be given back as [`Row::summary`].
    /// Best effort; by default it is dropped.
    async fn remember(&self, uid: Uid, summary: Bytes) {
        let _ = (uid, summary);
    }

    /// Ends a POP3 session, in one transaction. Called at QUIT only, on a mailbox that was opened as an exclusive
    /// maildrop:
    ///
    /// 1. [`delete`](FinishRequest::delete) is removed, and of [`marked`](FinishRequest::marked) what still has
    ///    `\Deleted`.
    /// 2. With an [`expiry`](FinishRequest::expiry), each of [`retrieved`](FinishRequest::retrieved) that is left and has
    ///    no stamp gets [`now`](FinishRequest::now) as its stamp. One that has a stamp keeps it, whatever it says; one that
    ///    is no number never expires, which the store tells in its log.
    /// 3. Of [`known`](FinishRequest::known), what has a stamp not later than [`cutoff`](FinishRequest::cutoff) is removed.
    /// 4. Of [`read`](FinishRequest::read), what is left gets `\Seen`.
    ///
    /// A store that keeps the stamp within the message gives it a new UID, as a message of a UID never changes: the old
    /// one is expunged, and one with the same flags, internal date and unique-id arrives.
    ///
    /// Default: [`expunge`](Self::expunge) for the first step, then [`store`](Self::store) for the last one, whose failure
    /// is no failure of this call. There are no stamps.
    ///
    /// # Errors
    ///
    /// When some messages could not be removed.
    async fn finish(&self, request: FinishRequest) -> Result<Finished> {
        defaults::finish(self, request).await
    }
}

/// The lasting name of a mailbox, which renaming does not change. Opaque; it never reaches a client.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxId(Arc<str>);

impl MailboxId {
    /// Takes a name that is unique within the account and never used again.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailboxId({})", self.0)
    }
}

/// What a session may do with an open mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Look, change nothing.
    ReadOnly,
    /// Everything.
    ReadWrite,
}

/// How a store changes flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// Adds the flags.
    Add,
    /// Takes the flags away.
    Remove,
    /// Puts these flags in place of all others.
    Replace,
}

/// Which flags change, on which messages.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreRequest {
    /// The messages. Ones that are gone are told in [`Stored::gone`].
    pub uids: UidSet,
    /// How.
    pub op: StoreOp,
    /// The flags.
    pub flags: Flags,
    /// Leave messages alone whose mod-sequence is larger than this, and tell them in [`Stored::modified`]
    /// (RFC 7162, section 3.1.3).
    pub unchanged_since: Option<ModSeq>,
}

impl StoreRequest {
    /// An unconditional store.
    #[must_use]
    pub fn new(uids: UidSet, op: StoreOp, flags: Flags) -> Self {
        Self { uids, op, flags, unchanged_since: None }
    }
}

/// What a store did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stored {
    /// The messages that the store applied to, with the flags and mod-sequence that they have now, ascending.
    /// A message whose flags were so already is among them, its mod-sequence unchanged.
    pub rows: Vec<Row>,
    /// Messages left alone because of [`StoreRequest::unchanged_since`].
    pub modified: UidSet,
    /// Messages that are not there any more.
    pub gone: UidSet,
}

/// Which messages are to be removed.
#[derive(Clone, Debug)]
pub struct ExpungeRequest {
    /// Only these.
    pub uids: UidSet,
    /// Of these, only those that have `\Deleted` at that moment.
    pub only_deleted: bool,
}

/// What an expunge removed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Expunged {
    /// The messages that are gone by this call.
    pub uids: UidSet,
    /// The largest mod-sequence of these removals.
    pub modseq: ModSeq,
}

/// How a POP3 session ends.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FinishRequest {
    /// Messages that RETR or TOP has shown.
    pub retrieved: UidSet,
    /// Messages that RETR has shown: they get `\Seen`.
    pub read: UidSet,
    /// Messages to be removed: those that DELE has marked and, where messages are not to stay at all, the retrieved ones.
    pub delete: UidSet,
    /// Messages that had `\Deleted` when the session began, and so were not shown to it: removed if they have it still.
    /// Who takes the flag away meanwhile has kept the message.
    pub marked: UidSet,
    /// The messages that the session has shown to its client, as far as they can expire: nothing else may.
    pub known: UidSet,
    /// The account's [`expiry`](super::Account::expiry).
    pub expiry: Option<Expiry>,
    /// The time of day, in seconds since 1970.
    pub now: i64,
}

impl FinishRequest {
    /// The end of a session at this time of day (seconds since 1970), without an expiry.
    #[must_use]
    pub fn new(retrieved: UidSet, delete: UidSet, now: i64) -> Self {
        Self { retrieved, delete, now, ..Self::default() }
    }

    /// The latest stamp that expires now, if any does ([`Expiry::cutoff`]).
    #[must_use]
    pub fn cutoff(&self) -> Option<i64> {
        self.expiry.and_then(|expiry| expiry.cutoff(self.now))
    }
}

/// What [`Mailbox::finish`] did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Finished {
    /// The messages that were removed, expired ones among them; not those that only got another UID. Where it lacks some
    /// of [`FinishRequest::delete`], they were gone before.
    pub removed: UidSet,
}
