//! A user's notebooks, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_proto_core::backend::{
    Account, Append, AppendRequest, Bulletins, Copied, CopyRequest, CreateRequest, Error, Expiry, ListEntry,
    ListRequest, LoginDelay, MailboxId, OpenRequest, Opened, RenameRequest, Result, Status, StatusRequest,
    copy_by_append, expunge_moved,
};
use pillarbox_proto_core::mail::{MailboxName, SystemFlags, UidValidity};

use super::append::{Adding, MAX_NOTE};
use super::mailbox::OpenNotebook;
use super::notebook::{Notebook, seen};
use super::pop3::EXPIRY;

const DELIMITER: char = '/';

/// All that a user has.
pub(super) struct Desk {
    notebooks: Mutex<BTreeMap<MailboxName, Arc<Notebook>>>,
    subscriptions: Mutex<BTreeSet<MailboxName>>,
    /// The time of the last POP3 login, and how many bulletins the user has had.
    pub(super) last_login: Mutex<Option<i64>>,
    pub(super) bulletins_had: Mutex<usize>,
    /// Numbers that are given once: notebooks' ids, UIDVALIDITY values, notes' unique-ids.
    given: AtomicU32,
}

impl Desk {
    pub(super) fn new() -> Self {
        let desk = Self {
            notebooks: Mutex::new(BTreeMap::new()),
            subscriptions: Mutex::new(BTreeSet::new()),
            last_login: Mutex::new(None),
            bulletins_had: Mutex::new(0),
            given: AtomicU32::new(1),
        };
        let inbox = desk.notebook(MailboxName::inbox());
        desk.names().extend(inbox.map(|inbox| (MailboxName::inbox(), inbox)));
        desk
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<MailboxName, Arc<Notebook>>> {
        self.notebooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u32 {
        self.given.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for a note that no other note has or had.
    pub(super) fn unique_id(&self) -> Arc<str> {
        format!("note-{}", self.number()).into()
    }

    /// A new, empty notebook: another id and another UIDVALIDITY than any before.
    fn notebook(&self, name: MailboxName) -> Result<Arc<Notebook>> {
        let number = self.number();
        let uid_validity = UidValidity::new(number).ok_or(Error::Limit("too many notebooks".into()))?;
        Ok(Notebook::new(name, MailboxId::new(number.to_string()), uid_validity))
    }

    pub(super) fn find(&self, name: &MailboxName) -> Result<Arc<Notebook>> {
        self.names().get(name).cloned().ok_or(Error::NoSuchMailbox)
    }
}

/// A session's way to the desk.
pub(super) struct Session {
    pub(super) desk: Arc<Desk>,
    pub(super) bulletins: Arc<[Bytes]>,
}

/// Holds a maildrop for one POP3 session.
struct Lease(Arc<Notebook>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.look().leased = false;
    }
}

#[async_trait]
impl Account for Session {
    async fn list(&self, _: &ListRequest) -> Result<Vec<ListEntry>> {
        let mut entries = BTreeMap::new();
        for name in self.desk.names().keys() {
            // A parent that is no mailbox is listed as one that can't be selected.
            let mut above = name.parent(DELIMITER);
            while let Some(parent) = above {
                above = parent.parent(DELIMITER);
                entries.entry(parent.clone()).or_insert_with(|| ListEntry::absent(parent));
            }
            entries.insert(name.clone(), ListEntry::new(name.clone()));
        }
        for name in self.desk.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            entries.entry(name.clone()).or_insert_with(|| ListEntry::absent(name.clone())).subscribed = true;
        }
        Ok(entries.into_values().collect())
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened> {
        let notebook = self.desk.find(&request.name)?;
        let mut state = notebook.read().map_err(|_| Error::NoSuchMailbox)?;
        if request.exclusive && state.leased {
            return Err(Error::InUse);
        }
        let open = OpenNotebook { notebook: Arc::clone(&notebook), access: request.access };
        let mut opened = Opened::new(Arc::new(open), state.snapshot(&notebook.id), request.access);
        if request.exclusive {
            state.leased = true;
            opened.lease = Some(Box::new(Lease(Arc::clone(&notebook))));
        }
        Ok(opened)
    }

    fn login_delay(&self) -> Option<&dyn LoginDelay> {
        Some(self)
    }

    fn expiry(&self) -> Option<Expiry> {
        Some(EXPIRY)
    }

    fn bulletins(&self) -> Option<&dyn Bulletins> {
        Some(self)
    }

    fn append_limit(&self) -> Option<u64> {
        Some(MAX_NOTE)
    }

    async fn status(&self, request: StatusRequest) -> Result<Status> {
        let notebook = self.desk.find(&request.mailbox)?;
        let state = notebook.read().map_err(|_| Error::NoSuchMailbox)?;
        let snapshot = state.snapshot(&notebook.id);
        let mut status = Status::new(snapshot.uid_validity, snapshot.uid_next, snapshot.modseq);
        status.messages = snapshot.uids.count();
        for note in state.notes.values() {
            status.unseen += u32::from(!seen(note));
            status.deleted += u32::from(note.flags.system.contains(SystemFlags::DELETED));
            status.size += note.content.len() as u64;
        }
        Ok(status)
    }

    async fn create(&self, request: CreateRequest) -> Result<MailboxId> {
        valid(&request.name)?;
        let mut names = self.desk.names();
        if names.contains_key(&request.name) {
            return Err(Error::AlreadyExists);
        }
        let notebook = self.desk.notebook(request.name.clone())?;
        let id = notebook.id.clone();
        names.insert(request.name, notebook);
        Ok(id)
    }

    async fn delete(&self, mailbox: &MailboxName) -> Result<()> {
        if mailbox.is_inbox() {
            return Err(Error::Cannot("INBOX can't be deleted".into()));
        }
        let mut names = self.desk.names();
        let notebook = names.remove(mailbox).ok_or(Error::NoSuchMailbox)?;
        notebook.change(|state| {
            state.delete();
            Ok(())
        })
    }

    async fn rename(&self, request: RenameRequest) -> Result<()> {
        let RenameRequest { from, to, .. } = request;
        valid(&to)?;
        if to.is_inferior_to(&from, DELIMITER) {
            return Err(Error::Cannot("a notebook can't be moved below itself".into()));
        }
        let mut names = self.desk.names();
        if names.contains_key(&to) {
            return Err(Error::AlreadyExists);
        }
        if from.is_inbox() {
            // INBOX stays, and its messages go to a new mailbox.
            let inbox = names.get(&from).cloned().ok_or(Error::NoSuchMailbox)?;
            let target = self.desk.notebook(to.clone())?;
            Notebook::change_both(&inbox, &target, |inbox, target| {
                let uids = inbox.uids();
                target.add(uids.iter().filter_map(|uid| inbox.remove(uid)).collect())
            })?;
            names.insert(to, target);
            return Ok(());
        }
        let too_long = |_| Error::Cannot("a name below it would be too long".into());
        let mut moves = Vec::new();
        for name in names.keys() {
            let new = name.replace_prefix(&from, &to, DELIMITER).map_err(too_long)?;
            moves.extend(new.map(|new| (name.clone(), new)));
        }
        if moves.is_empty() {
            return Err(Error::NoSuchMailbox);
        }
        if moves.iter().any(|(_, new)| names.contains_key(new) && !moves.iter().any(|(old, _)| old == new)) {
            return Err(Error::AlreadyExists);
        }
        let taken: Vec<_> = moves.into_iter().filter_map(|(old, new)| Some((new, names.remove(&old)?))).collect();
        for (new, notebook) in taken {
            notebook.change(|state| {
                state.rename(new.clone());
                Ok(())
            })?;
            names.insert(new, notebook);
        }
        Ok(())
    }

    async fn subscribe(&self, mailbox: &MailboxName, subscribed: bool) -> Result<()> {
        let mut subscriptions = self.desk.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        if subscribed {
            subscriptions.insert(mailbox.clone());
        } else {
            subscriptions.remove(mailbox);
        }
        Ok(())
    }

    async fn append(&self, request: AppendRequest) -> Result<Box<dyn Append>> {
        let notebook = self.desk.find(&request.mailbox)?;
        Ok(Box::new(Adding::new(Arc::clone(&self.desk), notebook)))
    }

    async fn move_to(&self, request: CopyRequest) -> Result<Copied> {
        let to = self.desk.find(&request.to)?;
        let from = self.desk.names().values().find(|notebook| notebook.id == request.from_id).cloned();
        let Some(from) = from.filter(|from| from.id != to.id) else {
            // Into itself, or out of somebody else's store: what the default does.
            let from = Arc::clone(&request.from);
            let append = self.append(AppendRequest::new(request.to.clone())).await?;
            let copied = copy_by_append(append, request).await?;
            expunge_moved(&*from, &copied).await?;
            return Ok(copied);
        };
        Notebook::change_both(&from, &to, |from, to| {
            let old: Vec<_> = request.uids.intersection(&from.uids()).iter().collect();
            if old.is_empty() {
                return Err(Error::Expunged);
            }
            let notes = old.iter().filter_map(|uid| from.notes.get(uid).cloned()).collect();
            let new = to.add(notes)?;
            for uid in &old {
                from.remove(*uid);
            }
            Ok(Copied::new(to.uid_validity, old.into_iter().zip(new).collect()))
        })
    }
}

/// Names that a client could not show as a tree.
fn valid(name: &MailboxName) -> Result<()> {
    if name.has_wildcard() || name.has_empty_level(DELIMITER) {
        return Err(Error::Cannot("this can't be a notebook's name".into()));
    }
    Ok(())
}
