//! The names of mailboxes, as a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::DELIMITER;
use super::shelf::{Bounds, Owner, Parcel, Shelf};
use crate::backend::{CreateRequest, Error, Expunged, Fate, ListEntry, Result};
use crate::mail::{MailboxName, SpecialUse, UidSet, UidValidity};

/// Mailboxes that one tree may have.
pub(super) const MAX_MAILBOXES: usize = 100_000;

/// A tree of mailboxes: a user's own, or the shared one.
pub(super) struct Tree {
    nodes: Mutex<BTreeMap<MailboxName, Node>>,
    pub(super) owner: Arc<Owner>,
    bounds: Bounds,
}

struct Node {
    shelf: Arc<Shelf>,
    special_use: Vec<SpecialUse>,
}

impl Tree {
    pub(super) fn new(owner: Owner, bounds: Bounds) -> Self {
        Self { nodes: Mutex::new(BTreeMap::new()), owner: Arc::new(owner), bounds }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MailboxName, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, name: &MailboxName) -> Result<Arc<Shelf>> {
        self.lock().get(name).map(|node| Arc::clone(&node.shelf)).ok_or(Error::NoSuchMailbox)
    }

    /// Every mailbox, and every parent that is none, ascending by name.
    pub(super) fn list(&self, subscribed: &BTreeSet<MailboxName>) -> Vec<ListEntry> {
        let nodes: Vec<_> = {
            let nodes = self.lock();
            nodes.iter().map(|(name, node)| (name.clone(), Arc::clone(&node.shelf), node.special_use.clone())).collect()
        };
        let mut entries = BTreeMap::new();
        for (name, shelf, special_use) in nodes {
            let mut above = name.parent(DELIMITER);
            while let Some(parent) = above {
                above = parent.parent(DELIMITER);
                entries.entry(parent.clone()).or_insert_with(|| ListEntry::absent(parent));
            }
            let mut entry = ListEntry::new(name.clone());
            entry.marked = Some(shelf.look().has_unclaimed());
            entry.special_use = special_use;
            entries.insert(name, entry);
        }
        for (name, entry) in &mut entries {
            entry.subscribed = subscribed.contains(name);
        }
        entries.into_values().collect()
    }

    pub(super) fn create(&self, request: CreateRequest, uid_validity: UidValidity) -> Result<Arc<Shelf>> {
        check_name(&request.name)?;
        // These two would show messages of other mailboxes.
        if request.special_use.iter().any(|usage| matches!(usage, SpecialUse::All | SpecialUse::Flagged)) {
            return Err(Error::SpecialUse);
        }
        let mut nodes = self.lock();
        if nodes.contains_key(&request.name) {
            return Err(Error::AlreadyExists);
        }
        if nodes.len() >= MAX_MAILBOXES {
            return Err(Error::Limit("too many mailboxes".into()));
        }
        let shelf = Shelf::new(request.name.clone(), uid_validity, Arc::clone(&self.owner), self.bounds);
        let node = Node { shelf: Arc::clone(&shelf), special_use: request.special_use };
        nodes.insert(request.name, node);
        Ok(shelf)
    }

    pub(super) fn delete(&self, name: &MailboxName) -> Result<()> {
        if name.is_inbox() {
            return Err(Error::Cannot("INBOX can't be deleted".into()));
        }
        let mut nodes = self.lock();
        let Some(node) = nodes.remove(name) else {
            let parent = nodes.keys().any(|other| other.is_inferior_to(name, DELIMITER));
            return Err(if parent { Error::HasChildren } else { Error::NoSuchMailbox });
        };
        // The state changes before the name is free again, so that no one finds both.
        node.shelf.change(|state| state.end(Fate::Deleted));
        Ok(())
    }

    pub(super) fn rename(&self, from: &MailboxName, to: &MailboxName, uid_validity: UidValidity) -> Result<()> {
        check_name(to)?;
        if from.is_inbox() {
            return self.rename_inbox(to, uid_validity);
        }
        if to.is_inferior_to(from, DELIMITER) {
            return Err(Error::Cannot("a mailbox can't be moved below itself".into()));
        }
        let mut nodes = self.lock();
        if nodes.contains_key(to) {
            return Err(Error::AlreadyExists);
        }
        let mut moves = Vec::new();
        for name in nodes.keys() {
            let renamed = name.replace_prefix(from, to, DELIMITER);
            let renamed = renamed.map_err(|_| Error::Cannot("a name below it would be too long".into()))?;
            moves.extend(renamed.map(|renamed| (name.clone(), renamed)));
        }
        if moves.is_empty() {
            return Err(Error::NoSuchMailbox);
        }
        let moving = |name: &MailboxName| name == from || name.is_inferior_to(from, DELIMITER);
        if moves.iter().any(|(_, new)| nodes.contains_key(new) && !moving(new)) {
            return Err(Error::AlreadyExists);
        }
        // All are taken out before any is put back: a new name may be the old one of another.
        let taken: Vec<_> = moves.into_iter().filter_map(|(old, new)| Some((new, nodes.remove(&old)?))).collect();
        for (new, node) in taken {
            node.shelf.change(|state| state.rename(new.clone()));
            nodes.insert(new, node);
        }
        Ok(())
    }

    /// The messages of INBOX move to a new mailbox; INBOX stays, with its children (RFC 9051, section 6.3.6).
    fn rename_inbox(&self, to: &MailboxName, uid_validity: UidValidity) -> Result<()> {
        let inbox = self.find(&MailboxName::inbox())?;
        let target = self.create(CreateRequest::new(to.clone()), uid_validity)?;
        Shelf::change_both(&inbox, &target, |inbox, target| {
            let uids = inbox.uids.clone();
            target.add(uids.iter().filter_map(|uid| inbox.remove(uid)).map(Parcel::of_removed).collect())
        })
        .map(|_| ())
    }

    /// Gives a mailbox a new UIDVALIDITY and its messages new UIDs, as a store does whose index was lost.
    pub(super) fn recreate(&self, name: &MailboxName, uid_validity: UidValidity) -> Result<()> {
        let mut nodes = self.lock();
        let node = nodes.get_mut(name).ok_or(Error::NoSuchMailbox)?;
        let shelf = Shelf::new(name.clone(), uid_validity, Arc::clone(&self.owner), self.bounds);
        let old = std::mem::replace(&mut node.shelf, Arc::clone(&shelf));
        let parcels = old.change(|state| state.end(Fate::Recreated));
        shelf.change(|state| state.add(parcels)).map(|_: Vec<_>| ())
    }

    pub(super) fn names(&self) -> Vec<MailboxName> {
        self.lock().keys().cloned().collect()
    }
}

/// What CREATE and RENAME don't make: names that LIST could not show by themselves.
fn check_name(name: &MailboxName) -> Result<()> {
    if name.has_wildcard() {
        return Err(Error::Cannot("a mailbox name can't have wildcards".into()));
    }
    if name.has_empty_level(DELIMITER) {
        return Err(Error::Cannot("a level of the mailbox name is empty".into()));
    }
    Ok(())
}

/// Removes these messages.
pub(super) fn remove_all(shelf: &Shelf, uids: &UidSet, only_deleted: bool) -> Result<Expunged> {
    shelf.change(|state| {
        state.standing()?;
        let mut expunged = Expunged::default();
        let uids = state.removable(uids, only_deleted);
        for uid in &uids {
            state.remove(uid);
        }
        expunged.modseq = state.modseq;
        expunged.uids = uids;
        Ok(expunged)
    })
}
