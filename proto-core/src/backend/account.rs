//! One user's mailboxes.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::append::{Append, AppendRequest};
use super::defaults;
use super::error::{Error, Result};
use super::mailbox::{Access, Mailbox, MailboxId};
use super::policy::{Bulletins, Expiry, LoginDelay};
use crate::mail::{Flags, Keywords, MailboxName, ModSeq, SpecialUse, SystemFlags, Uid, UidSet, UidValidity};

/// The mailboxes of one user.
#[async_trait]
pub trait Account: Send + Sync {
    /// All mailboxes and all subscriptions of the account: names that exist, and subscribed names that do not.
    /// The library matches patterns and works out which have children.
    ///
    /// # Errors
    ///
    /// When the store fails.
    async fn list(&self, request: &ListRequest) -> Result<Vec<ListEntry>>;

    /// Opens a mailbox.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMailbox`]; [`Error::InUse`] when an exclusive maildrop is held by another session.
    async fn open(&self, request: OpenRequest) -> Result<Opened>;

    /// The character between the levels of mailbox names; `None` where names are flat. Default: `/`.
    fn delimiter(&self) -> Option<char> {
        Some('/')
    }

    /// The namespaces (RFC 2342). Default: one personal namespace without prefix.
    fn namespaces(&self) -> Namespaces {
        Namespaces::personal(self.delimiter())
    }

    /// The largest message that can be appended, in octets (RFC 7889). Default: none known.
    fn append_limit(&self) -> Option<u64> {
        None
    }

    /// Whether [`create`](Self::create) honours [`CreateRequest::special_use`] (CREATE-SPECIAL-USE, RFC 6154). Default: no.
    fn creates_special_use(&self) -> bool {
        false
    }

    /// Numbers about a mailbox. Default: worked out by opening it for reading.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMailbox`], or when the store fails.
    async fn status(&self, request: StatusRequest) -> Result<Status> {
        defaults::status(self.open(OpenRequest::examine(request.mailbox)).await?, request.items).await
    }

    /// Makes a mailbox. Missing parents appear as names that can't be selected.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`]; [`Error::NoPermission`] by default.
    async fn create(&self, request: CreateRequest) -> Result<MailboxId> {
        let _ = request;
        Err(Error::NoPermission)
    }

    /// Deletes a mailbox and its messages. Its children stay, and so does its name as a parent of them.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMailbox`]; [`Error::NoPermission`] by default.
    async fn delete(&self, mailbox: &MailboxName) -> Result<()> {
        let _ = mailbox;
        Err(Error::NoPermission)
    }

    /// Renames a mailbox and everything below it. Of INBOX, the messages move to a new mailbox of that name, and INBOX
    /// stays, empty, with its children (RFC 9051, section 6.3.6).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMailbox`], [`Error::AlreadyExists`]; [`Error::NoPermission`] by default.
    async fn rename(&self, request: RenameRequest) -> Result<()> {
        let _ = request;
        Err(Error::NoPermission)
    }

    /// Subscribes to a name, or ends that. Names need not exist; deleting or renaming a mailbox changes no subscription.
    ///
    /// # Errors
    ///
    /// [`Error::NoPermission`] by default.
    async fn subscribe(&self, mailbox: &MailboxName, subscribed: bool) -> Result<()> {
        let _ = (mailbox, subscribed);
        Err(Error::NoPermission)
    }

    /// Starts adding messages to a mailbox.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMailbox`]; [`Error::NoPermission`] by default.
    async fn append(&self, request: AppendRequest) -> Result<Box<dyn Append>> {
        let _ = request;
        Err(Error::NoPermission)
    }

    /// Copies messages, all or none, with flags and internal dates. Default: through [`append`](Self::append).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMailbox`] when the target is missing; [`Error::Expunged`] when none of the messages is left.
    async fn copy(&self, request: CopyRequest) -> Result<Copied> {
        let append = self.append(AppendRequest::new(request.to.clone())).await?;
        defaults::copy_by_append(append, request).await
    }

    /// Moves messages, each at once or not at all. Default: copy, then expunge of what was copied.
    ///
    /// # Errors
    ///
    /// As [`copy`](Self::copy).
    async fn move_to(&self, request: CopyRequest) -> Result<Copied> {
        let from = Arc::clone(&request.from);
        let copied = self.copy(request).await?;
        defaults::expunge_moved(&*from, &copied).await?;
        Ok(copied)
    }

    /// The least time between this user's POP3 logins (LOGIN-DELAY, RFC 2449, section 6.5). Default: none.
    fn login_delay(&self) -> Option<&dyn LoginDelay> {
        None
    }

    /// How long this user's messages stay after their retrieval over POP3 (EXPIRE, RFC 2449, section 6.7). An account
    /// that says so here has mailboxes whose [`finish`](Mailbox::finish) keeps to it. Default: for ever.
    fn expiry(&self) -> Option<Expiry> {
        None
    }

    /// The bulletins for this user. Default: none.
    fn bulletins(&self) -> Option<&dyn Bulletins> {
        None
    }
}

/// What LIST wants to know. Everything is told in any case; a backend may save itself work that was not asked for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListRequest {
    /// Only names that start with this matter; a hint.
    pub prefix: String,
    /// Subscriptions matter.
    pub subscriptions: bool,
}

impl ListRequest {
    /// All names, with subscriptions.
    #[must_use]
    pub fn all() -> Self {
        Self { prefix: String::new(), subscriptions: true }
    }
}

/// One name of [`Account::list`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListEntry {
    /// The name.
    pub name: MailboxName,
    /// Whether there is such a mailbox. A subscription outlives its mailbox; a parent may never have been one.
    pub exists: bool,
    /// Whether it can be selected. False for a name that only holds children.
    pub selectable: bool,
    /// Whether mailboxes can be made below it.
    pub inferiors: bool,
    /// Whether messages arrived since it was last selected, where that is known.
    pub marked: Option<bool>,
    /// Whether the user is subscribed to it.
    pub subscribed: bool,
    /// What it is for.
    pub special_use: Vec<SpecialUse>,
}

impl ListEntry {
    /// An ordinary mailbox of this name.
    #[must_use]
    pub fn new(name: MailboxName) -> Self {
        Self {
            name,
            exists: true,
            selectable: true,
            inferiors: true,
            marked: None,
            subscribed: false,
            special_use: Vec::new(),
        }
    }

    /// A name that is no mailbox: a subscription, or a parent that was never made.
    #[must_use]
    pub fn absent(name: MailboxName) -> Self {
        Self { exists: false, selectable: false, ..Self::new(name) }
    }
}

/// One namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// What its names start with, such as `Shared/`.
    pub prefix: String,
    /// The delimiter of its levels.
    pub delimiter: Option<char>,
}

/// The namespaces of an account (RFC 2342).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// The user's own mailboxes.
    pub personal: Vec<Namespace>,
    /// Those of other users.
    pub other: Vec<Namespace>,
    /// Shared ones.
    pub shared: Vec<Namespace>,
}

impl Namespaces {
    /// One personal namespace without prefix.
    #[must_use]
    pub fn personal(delimiter: Option<char>) -> Self {
        Self { personal: vec![Namespace { prefix: String::new(), delimiter }], ..Self::default() }
    }
}

/// Which mailbox to open, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenRequest {
    /// Its name.
    pub name: MailboxName,
    /// What the session wants to do; it may be given less.
    pub access: Access,
    /// Open it as a maildrop that no other POP3 session may hold at the same time, in whatever process; see
    /// [`Opened::lease`]. IMAP sessions neither block it nor are blocked.
    pub exclusive: bool,
    /// Claim `\Recent`: messages that no session was told of before become [`Opened::recent`], at once and for one
    /// session only.
    pub claim_recent: bool,
}

impl OpenRequest {
    /// SELECT: read and write, claiming `\Recent`.
    #[must_use]
    pub fn select(name: MailboxName) -> Self {
        Self { name, access: Access::ReadWrite, exclusive: false, claim_recent: true }
    }

    /// EXAMINE: read only, changing nothing.
    #[must_use]
    pub fn examine(name: MailboxName) -> Self {
        Self { name, access: Access::ReadOnly, exclusive: false, claim_recent: false }
    }

    /// A POP3 maildrop.
    #[must_use]
    pub fn maildrop(name: MailboxName) -> Self {
        Self { name, access: Access::ReadWrite, exclusive: true, claim_recent: false }
    }
}

/// An open mailbox with its state at that moment.
#[non_exhaustive]
pub struct Opened {
    /// The handle.
    pub mailbox: Arc<dyn Mailbox>,
    /// The state.
    pub snapshot: Snapshot,
    /// What the session may do.
    pub access: Access,
    /// Messages that are `\Recent` in this session.
    pub recent: UidSet,
    /// Whatever must be held while the mailbox is open, such as the lock of an exclusive maildrop; dropped with the
    /// session. The maildrop is free when the drop returns.
    ///
    /// A store that several processes share needs a lock that they share, and one that outlives no holder for long: a
    /// lock of the operating system, which ends with the process, or a record with an expiry that the lease renews
    /// while it is held. A holder that was stopped for longer than such a record lives must not act as if it still
    /// held the maildrop: [`Mailbox::finish`] then answers [`Error::InUse`] and changes nothing.
    pub lease: Option<Box<dyn Any + Send + Sync>>,
}

impl Opened {
    /// A mailbox opened with this access, without recent messages.
    #[must_use]
    pub fn new(mailbox: Arc<dyn Mailbox>, snapshot: Snapshot, access: Access) -> Self {
        Self { mailbox, snapshot, access, recent: UidSet::new(), lease: None }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("snapshot", &self.snapshot)
            .field("access", &self.access)
            .field("recent", &self.recent)
            .finish_non_exhaustive()
    }
}

/// The state of a mailbox at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The mailbox's lasting name.
    pub id: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The UID after the largest ever given; `None` when all are used up.
    pub uid_next: Option<Uid>,
    /// All messages.
    pub uids: UidSet,
    /// The mod-sequence of this state: changes are asked from here.
    pub modseq: ModSeq,
    /// Whether messages have mod-sequences that last from session to session.
    pub modseqs: bool,
    /// Keywords in use.
    pub keywords: Keywords,
    /// Flags that can be changed for good.
    pub permanent_flags: Flags,
    /// Whether new keywords can be made (`\*`).
    pub new_keywords: bool,
    /// The first message without `\Seen`, where that is known.
    pub first_unseen: Option<Uid>,
}

impl Snapshot {
    /// A mailbox with these messages; `uid_next` follows from the largest of them, all system flags can be stored.
    #[must_use]
    pub fn new(id: MailboxId, uid_validity: UidValidity, uids: UidSet) -> Self {
        let uid_next = uids.last().map_or(Some(Uid::MIN), Uid::next);
        Self {
            id,
            uid_validity,
            uid_next,
            uids,
            modseq: ModSeq::ZERO,
            modseqs: false,
            keywords: Keywords::NONE,
            permanent_flags: Flags::from(SystemFlags::ALL),
            new_keywords: false,
            first_unseen: None,
        }
    }
}

/// Which numbers about a mailbox are wanted (RFC 9051, section 6.3.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusItems {
    /// [`Status::messages`].
    pub messages: bool,
    /// [`Status::recent`].
    pub recent: bool,
    /// [`Status::unseen`].
    pub unseen: bool,
    /// [`Status::deleted`].
    pub deleted: bool,
    /// [`Status::size`].
    pub size: bool,
}

/// Asks for numbers about a mailbox.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StatusRequest {
    /// The mailbox.
    pub mailbox: MailboxName,
    /// The numbers that cost work; UIDNEXT, UIDVALIDITY and the mod-sequence are always told.
    pub items: StatusItems,
}

impl StatusRequest {
    /// These numbers about this mailbox.
    #[must_use]
    pub fn new(mailbox: MailboxName, items: StatusItems) -> Self {
        Self { mailbox, items }
    }
}

/// Numbers about a mailbox. Those not asked for may be 0.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Messages.
    pub messages: u32,
    /// Messages that no session was told of.
    pub recent: u32,
    /// The next UID.
    pub uid_next: Option<Uid>,
    /// The UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// The messages' sizes together, in octets.
    pub size: u64,
    /// The mailbox's mod-sequence.
    pub modseq: ModSeq,
}

impl Status {
    /// A mailbox with these fixed properties and no messages.
    #[must_use]
    pub fn new(uid_validity: UidValidity, uid_next: Option<Uid>, modseq: ModSeq) -> Self {
        Self { messages: 0, recent: 0, uid_next, uid_validity, unseen: 0, deleted: 0, size: 0, modseq }
    }
}

/// A mailbox to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CreateRequest {
    /// Its name.
    pub name: MailboxName,
    /// What it is for (RFC 6154, section 3).
    pub special_use: Vec<SpecialUse>,
    /// Only a place for children is needed: the client's name ended with the delimiter.
    pub only_parent: bool,
}

impl CreateRequest {
    /// An ordinary mailbox of this name.
    #[must_use]
    pub fn new(name: MailboxName) -> Self {
        Self { name, special_use: Vec::new(), only_parent: false }
    }
}

/// A mailbox to be renamed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RenameRequest {
    /// From this name.
    pub from: MailboxName,
    /// To this one, which must be free.
    pub to: MailboxName,
}

impl RenameRequest {
    /// From one name to another.
    #[must_use]
    pub fn new(from: MailboxName, to: MailboxName) -> Self {
        Self { from, to }
    }
}

/// Messages to be copied or moved.
#[derive(Clone)]
#[non_exhaustive]
pub struct CopyRequest {
    /// The open mailbox that they are in; of this account or of another that the same backend opened.
    pub from: Arc<dyn Mailbox>,
    /// Its lasting name, by which a backend finds its own mailboxes.
    pub from_id: MailboxId,
    /// The messages. Ones that are gone are left out.
    pub uids: UidSet,
    /// The mailbox that they go to.
    pub to: MailboxName,
}

impl CopyRequest {
    /// From an open mailbox to one of this name.
    #[must_use]
    pub fn new(from: Arc<dyn Mailbox>, from_id: MailboxId, uids: UidSet, to: MailboxName) -> Self {
        Self { from, from_id, uids, to }
    }
}

impl fmt::Debug for CopyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyRequest")
            .field("from", &self.from_id)
            .field("uids", &self.uids)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// What was copied or moved.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Copied {
    /// The target's UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// Old and new UID of each message, ascending by the old one.
    pub pairs: Vec<(Uid, Uid)>,
}

impl Copied {
    /// These messages were copied.
    #[must_use]
    pub fn new(uid_validity: UidValidity, pairs: Vec<(Uid, Uid)>) -> Self {
        Self { uid_validity, pairs }
    }
}
