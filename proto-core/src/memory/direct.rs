//! What other programs do to the store, and what a test sees of it without a session.

use std::sync::Arc;

use bytes::Bytes;

use super::body::Body;
use super::hook::{Call, Outcome};
use super::shelf::Shelf;
use super::store::User;
use super::table::Entry;
use super::tree::remove_all;
use super::{MemoryBackend, NewMessage};
use crate::backend::{Access, CreateRequest, Error, Result, Snapshot, StoreOp, StoreRequest};
use crate::mail::{DateTime, Flags, MailboxName, ModSeq, Uid, UidSet};

/// A message as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredMessage {
    /// Its UID.
    pub uid: Uid,
    /// The mod-sequence of its last change.
    pub modseq: ModSeq,
    /// Its flags.
    pub flags: Flags,
    /// When it was received.
    pub internal_date: DateTime,
    /// Its lasting name, for UIDL.
    pub unique_id: Arc<str>,
    /// When it was first retrieved over POP3, as the store keeps it for its [`Expiry`](crate::backend::Expiry).
    pub expire_stamp: Option<Arc<str>>,
    /// Its octets.
    pub content: Bytes,
}

/// Direct access. Mailboxes are named as text; all methods fail with [`Error::NoSuchMailbox`] if the name is none, and
/// with [`Error::Unavailable`] if there is no such user. They act at once, whatever the [hook](Self::hook) says, and
/// sessions hear of it as of any change.
impl MemoryBackend {
    /// Makes calls slow or failing: the hook is asked about each call of a session before it does its work. It replaces
    /// the hook before it.
    ///
    /// ```
    /// use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
    /// use pillarbox_proto_core::backend::Error;
    ///
    /// let store = MemoryBackend::builder().user("alice", "secret").build().unwrap();
    /// store.hook(|call| match call {
    ///     Call::Commit => Outcome::fail(Error::OverQuota),
    ///     _ => Outcome::proceed().pending(1),
    /// });
    /// ```
    pub fn hook(&self, hook: impl Fn(Call) -> Outcome + Send + Sync + 'static) {
        self.store.hooks.set(Some(Arc::new(hook)));
    }

    /// Ends what [`hook`](Self::hook) began.
    pub fn unhook(&self) {
        self.store.hooks.set(None);
    }

    /// Delivers a message.
    ///
    /// # Errors
    ///
    /// When the mailbox is not there, or a limit is reached.
    pub fn deliver(&self, user: &str, mailbox: &str, message: impl Into<NewMessage>) -> Result<Uid> {
        let message = message.into();
        let mut parcel = self.store.parcel(message.flags, message.internal_date, Body::Whole(message.content));
        parcel.expire_stamp = message.expire_stamp;
        let uids = self.find(user, mailbox)?.change(|state| state.add(vec![parcel]))?;
        uids.first().copied().ok_or(Error::Unavailable(None))
    }

    /// Changes flags.
    ///
    /// # Errors
    ///
    /// When the mailbox is not there, or has too many keywords.
    pub fn store_flags(
        &self,
        user: &str,
        mailbox: &str,
        uids: impl Into<UidSet>,
        op: StoreOp,
        flags: impl Into<Flags>,
    ) -> Result<()> {
        let request = StoreRequest::new(uids.into(), op, flags.into());
        self.find(user, mailbox)?.change(|state| state.store(&request)).map(|_| ())
    }

    /// Removes messages for good, with `\Deleted` or without; returns those that were there.
    ///
    /// # Errors
    ///
    /// When the mailbox is not there.
    pub fn expunge(&self, user: &str, mailbox: &str, uids: impl Into<UidSet>) -> Result<UidSet> {
        remove_all(&*self.find(user, mailbox)?, &uids.into(), false).map(|expunged| expunged.uids)
    }

    /// Lets a mailbox forget what was removed from it, as a store does after a long time.
    ///
    /// # Errors
    ///
    /// When the mailbox is not there.
    pub fn forget_removals(&self, user: &str, mailbox: &str) -> Result<()> {
        self.find(user, mailbox)?.look().forget_removals();
        Ok(())
    }

    /// Makes a mailbox.
    ///
    /// # Errors
    ///
    /// When it is there already, or the name can't be one.
    pub fn create(&self, user: &str, mailbox: &str) -> Result<()> {
        self.store.create(self.user_of(user)?, CreateRequest::new(name(mailbox)?)).map(|_| ())
    }

    /// Deletes a mailbox.
    ///
    /// # Errors
    ///
    /// When it is not there, or INBOX.
    pub fn delete(&self, user: &str, mailbox: &str) -> Result<()> {
        let mailbox = name(mailbox)?;
        self.store.tree(self.user_of(user)?, &mailbox).delete(&mailbox)
    }

    /// Renames a mailbox and those below it.
    ///
    /// # Errors
    ///
    /// When it is not there, or the new name is taken.
    pub fn rename(&self, user: &str, from: &str, to: &str) -> Result<()> {
        self.store.rename(self.user_of(user)?, &name(from)?, &name(to)?)
    }

    /// Gives a mailbox a new UIDVALIDITY and its messages new UIDs, as a store does whose index was lost.
    ///
    /// # Errors
    ///
    /// When the mailbox is not there.
    pub fn recreate(&self, user: &str, mailbox: &str) -> Result<()> {
        self.store.recreate(self.user_of(user)?, &name(mailbox)?)
    }

    /// Changes what sessions may do with a mailbox.
    ///
    /// # Errors
    ///
    /// When the mailbox is not there.
    pub fn set_access(&self, user: &str, mailbox: &str, access: Access) -> Result<()> {
        self.find(user, mailbox)?.change(|state| state.set_access(access));
        Ok(())
    }

    /// The names of the mailboxes that a user has, without the shared ones, ascending.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn mailboxes(&self, user: &str) -> Result<Vec<MailboxName>> {
        Ok(self.user_of(user)?.tree.names())
    }

    /// The state of a mailbox.
    ///
    /// # Errors
    ///
    /// When the mailbox is not there.
    pub fn snapshot(&self, user: &str, mailbox: &str) -> Result<Snapshot> {
        let shelf = self.find(user, mailbox)?;
        let snapshot = shelf.look().snapshot(&shelf.id);
        Ok(snapshot)
    }

    /// All messages of a mailbox, ascending by UID.
    ///
    /// # Errors
    ///
    /// When the mailbox is not there.
    pub fn messages(&self, user: &str, mailbox: &str) -> Result<Vec<StoredMessage>> {
        let shelf = self.find(user, mailbox)?;
        let state = shelf.look();
        let message = |entry: Entry<'_>| StoredMessage {
            uid: entry.uid,
            modseq: entry.modseq,
            flags: entry.flags(),
            internal_date: entry.rest.internal_date,
            unique_id: Arc::clone(&entry.rest.unique_id),
            expire_stamp: entry.rest.expire_stamp.clone(),
            content: entry.rest.body.to_bytes(),
        };
        Ok(state.entries.iter().map(message).collect())
    }

    pub(super) fn user_of(&self, user: &str) -> Result<&User> {
        self.store.user(user).map(|user| &**user)
    }

    fn find(&self, user: &str, mailbox: &str) -> Result<Arc<Shelf>> {
        self.store.find(self.user_of(user)?, &name(mailbox)?)
    }
}

fn name(mailbox: &str) -> Result<MailboxName> {
    MailboxName::new(mailbox).map_err(|_| Error::NoSuchMailbox)
}
