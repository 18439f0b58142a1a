//! One mailbox in memory: its state, and what can be done to it at once.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::body::Body;
use super::table::{Rest, Table};
use crate::Signal;
use crate::backend::{
    Access, Changes, ChangesRequest, Error, Fate, FetchData, MailboxId, Result, Snapshot, Status, StoreOp,
    StoreRequest, Stored,
};
use crate::mail::{DateTime, Flags, Keyword, Keywords, MailboxName, ModSeq, SystemFlags, Uid, UidSet, UidValidity};

/// A larger summary is not remembered: it would cost more than working it out.
const MAX_SUMMARY: usize = 256 * 1024;

/// Numbers mailboxes for the whole process, so that a handle of another backend is never taken for one of ours.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// Whom a mailbox's octets are counted for.
#[derive(Debug)]
pub(super) struct Owner {
    quota: Option<u64>,
    used: AtomicU64,
}

impl Owner {
    pub(super) fn new(quota: Option<u64>) -> Self {
        Self { quota, used: AtomicU64::new(0) }
    }

    pub(super) fn has_room(&self, octets: u64) -> bool {
        self.quota.is_none_or(|quota| self.used.load(Ordering::Relaxed).saturating_add(octets) <= quota)
    }

    fn reserve(&self, octets: u64) -> Result<()> {
        let quota = self.quota.unwrap_or(u64::MAX);
        let reserve = |used: u64| used.checked_add(octets).filter(|used| *used <= quota);
        let reserved = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve);
        reserved.map(|_| ()).map_err(|_| Error::OverQuota)
    }

    /// Adds messages that are about to be removed elsewhere: what both mailboxes count is not counted twice.
    pub(super) fn on_loan<T>(&self, octets: u64, add: impl FnOnce() -> T) -> T {
        self.release(octets);
        let added = add();
        self.used.fetch_add(octets, Ordering::Relaxed);
        added
    }

    fn release(&self, octets: u64) {
        self.used.fetch_sub(octets, Ordering::Relaxed);
    }
}

/// Limits of a mailbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Removals that are remembered.
    pub(super) history: usize,
    /// Keywords in use.
    pub(super) keywords: usize,
}

/// A message that is to be added.
pub(super) struct Parcel {
    pub(super) flags: Flags,
    pub(super) internal_date: DateTime,
    pub(super) body: Body,
    pub(super) unique_id: Arc<str>,
    pub(super) summary: Option<Bytes>,
    /// When it was first retrieved over POP3, in seconds since 1970.
    pub(super) expire_stamp: Option<Arc<str>>,
}

impl Parcel {
    /// A message that was taken out of another mailbox.
    pub(super) fn of_removed((flags, rest): (Flags, Box<Rest>)) -> Self {
        let Rest { internal_date, body, unique_id, summary, expire_stamp, .. } = *rest;
        Self { flags, internal_date, body, unique_id, summary, expire_stamp }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Arrived(Uid),
    Changed(Uid),
    Expunged(Uid),
}

/// A mailbox, shared by all who have it open.
pub(super) struct Shelf {
    /// Orders the locks of several mailboxes.
    number: u64,
    pub(super) id: MailboxId,
    pub(super) owner: Arc<Owner>,
    /// Stands at the mailbox's mod-sequence.
    pub(super) signal: Signal,
    state: Mutex<State>,
}

impl Shelf {
    pub(super) fn new(name: MailboxName, uid_validity: UidValidity, owner: Arc<Owner>, bounds: Bounds) -> Arc<Self> {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let state = State::new(name, uid_validity, Arc::clone(&owner), bounds);
        let signal = Signal::new(state.modseq.get());
        Arc::new(Self {
            number,
            id: MailboxId::new(format!("memory-{number}")),
            owner,
            signal,
            state: Mutex::new(state),
        })
    }

    /// The state, to look at.
    pub(super) fn look(&self) -> MutexGuard<'_, State> {
        // Changes are made whole before anything in them can panic, so a poisoned lock guards a usable state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and tells those who wait. Wakers run foreign code, so they are woken outside the lock.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.look();
        let result = change(&mut state);
        let modseq = state.modseq;
        drop(state);
        self.signal.advance(modseq.get());
        result
    }

    /// Changes two mailboxes in one step.
    pub(super) fn change_both<T>(from: &Self, to: &Self, change: impl FnOnce(&mut State, &mut State) -> T) -> T {
        // Always in the same order, whichever is the source.
        let (mut source, mut target) = if from.number < to.number {
            let source = from.look();
            (source, to.look())
        } else {
            let target = to.look();
            (from.look(), target)
        };
        let result = change(&mut source, &mut target);
        let (source_modseq, target_modseq) = (source.modseq, target.modseq);
        drop((source, target));
        from.signal.advance(source_modseq.get());
        to.signal.advance(target_modseq.get());
        result
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let size = self.look().size;
        self.owner.release(size);
    }
}

/// The state of a mailbox.
pub(super) struct State {
    pub(super) name: MailboxName,
    renamed: ModSeq,
    pub(super) fate: Fate,
    pub(super) access: Access,
    access_changed: ModSeq,
    pub(super) uid_validity: UidValidity,
    uid_next: Option<Uid>,
    pub(super) modseq: ModSeq,
    pub(super) entries: Table,
    pub(super) uids: UidSet,
    unseen: UidSet,
    deleted: UidSet,
    /// Messages that no session was told of.
    unclaimed: UidSet,
    size: u64,
    /// What happened, by mod-sequence: of each message its arrival and its last change, or its removal.
    log: BTreeMap<ModSeq, Event>,
    /// The removals in the log, oldest first.
    removals: VecDeque<ModSeq>,
    /// The last removal that is not in the log any more.
    forgotten: ModSeq,
    keywords: Keywords,
    keywords_changed: ModSeq,
    /// Held by a POP3 session.
    pub(super) leased: bool,
    owner: Arc<Owner>,
    bounds: Bounds,
}

impl State {
    fn new(name: MailboxName, uid_validity: UidValidity, owner: Arc<Owner>, bounds: Bounds) -> Self {
        Self {
            name,
            renamed: ModSeq::ZERO,
            fate: Fate::Stands,
            access: Access::ReadWrite,
            access_changed: ModSeq::ZERO,
            uid_validity,
            uid_next: Some(Uid::MIN),
            modseq: ModSeq::new(1),
            entries: Table::new(),
            uids: UidSet::new(),
            unseen: UidSet::new(),
            deleted: UidSet::new(),
            unclaimed: UidSet::new(),
            size: 0,
            log: BTreeMap::new(),
            removals: VecDeque::new(),
            forgotten: ModSeq::ZERO,
            keywords: Keywords::NONE,
            keywords_changed: ModSeq::ZERO,
            leased: false,
            owner,
            bounds,
        }
    }

    /// Fails when the mailbox is gone.
    pub(super) fn standing(&self) -> Result<()> {
        match self.fate {
            Fate::Deleted | Fate::Recreated => Err(Error::MailboxGone),
            _ => Ok(()),
        }
    }

    fn tick(&mut self) -> ModSeq {
        self.modseq = self.modseq.next();
        self.modseq
    }

    pub(super) fn snapshot(&self, id: &MailboxId) -> Snapshot {
        let mut snapshot = Snapshot::new(id.clone(), self.uid_validity, self.uids.clone());
        snapshot.uid_next = self.uid_next;
        snapshot.modseq = self.modseq;
        snapshot.modseqs = true;
        snapshot.keywords = self.keywords.clone();
        snapshot.permanent_flags = Flags { system: SystemFlags::ALL, keywords: self.keywords.clone() };
        snapshot.new_keywords = self.keywords.as_slice().len() < self.bounds.keywords;
        snapshot.first_unseen = self.unseen.first();
        snapshot
    }

    pub(super) fn status(&self) -> Status {
        let mut status = Status::new(self.uid_validity, self.uid_next, self.modseq);
        status.messages = self.uids.count();
        status.recent = self.unclaimed.count();
        status.unseen = self.unseen.count();
        status.deleted = self.deleted.count();
        status.size = self.size;
        status
    }

    pub(super) fn has_unclaimed(&self) -> bool {
        !self.unclaimed.is_empty()
    }

    /// The messages that no session was told of; with `claim`, none are after that.
    pub(super) fn recent(&mut self, claim: bool) -> UidSet {
        if claim { std::mem::take(&mut self.unclaimed) } else { self.unclaimed.clone() }
    }

    /// Adds messages, all or none.
    pub(super) fn add(&mut self, parcels: Vec<Parcel>) -> Result<Vec<Uid>> {
        self.standing()?;
        let Some(first) = self.uid_next else { return Err(Error::Limit("all UIDs are used up".into())) };
        let count = u32::try_from(parcels.len()).ok().filter(|count| *count <= Uid::MAX.get() - first.get());
        if count.is_none() {
            return Err(Error::Limit("too few UIDs are left".into()));
        }
        self.admit(parcels.iter().map(|parcel| &parcel.flags.keywords))?;
        let size = parcels.iter().fold(0_u64, |size, parcel| size.saturating_add(parcel.body.len()));
        self.owner.reserve(size)?;
        self.size += size;
        let mut uids = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let Some(uid) = self.uid_next else { break };
            self.uid_next = uid.next();
            let modseq = self.tick();
            let flags = self.spelled(&parcel.flags);
            self.log.insert(modseq, Event::Arrived(uid));
            self.uids.insert(uid);
            self.unclaimed.insert(uid);
            self.index(uid, flags.system);
            let rest = Rest {
                arrived: modseq,
                internal_date: parcel.internal_date,
                body: parcel.body,
                unique_id: parcel.unique_id,
                summary: parcel.summary,
                expire_stamp: parcel.expire_stamp,
            };
            self.entries.push(uid, modseq, &flags, rest);
            uids.push(uid);
        }
        Ok(uids)
    }

    /// Changes flags.
    pub(super) fn store(&mut self, request: &StoreRequest) -> Result<Stored> {
        self.standing()?;
        if request.op != StoreOp::Remove {
            self.admit([&request.flags.keywords])?;
        }
        let wanted = self.spelled(&request.flags);
        let mut stored = Stored { gone: request.uids.difference(&self.uids), ..Stored::default() };
        for uid in &request.uids.intersection(&self.uids) {
            let Some(entry) = self.entries.get(uid) else { continue };
            if request.unchanged_since.is_some_and(|bound| entry.modseq > bound) {
                stored.modified.insert(uid);
                continue;
            }
            let before = entry.flags();
            let flags = match request.op {
                StoreOp::Add => before.union(&wanted),
                StoreOp::Remove => before.difference(&wanted),
                StoreOp::Replace => wanted.clone(),
            };
            if flags != before {
                self.set(uid, &flags);
            }
            stored.rows.extend(self.entries.get(uid).map(|entry| entry.row(FetchData::FLAGS)));
        }
        Ok(stored)
    }

    fn set(&mut self, uid: Uid, flags: &Flags) {
        let modseq = self.tick();
        let Some(entry) = self.entries.get(uid) else { return };
        if entry.modseq != entry.rest.arrived {
            self.log.remove(&entry.modseq);
        }
        self.entries.set(uid, modseq, flags);
        self.log.insert(modseq, Event::Changed(uid));
        self.index(uid, flags.system);
    }

    fn index(&mut self, uid: Uid, system: SystemFlags) {
        for (set, member) in [
            (&mut self.unseen, !system.contains(SystemFlags::SEEN)),
            (&mut self.deleted, system.contains(SystemFlags::DELETED)),
        ] {
            if member {
                set.insert(uid);
            } else {
                set.remove(uid);
            }
        }
    }

    /// Removes a message.
    pub(super) fn remove(&mut self, uid: Uid) -> Option<(Flags, Box<Rest>)> {
        let (modseq, flags, rest) = self.entries.remove(uid)?;
        self.log.remove(&rest.arrived);
        self.log.remove(&modseq);
        for set in [&mut self.uids, &mut self.unseen, &mut self.deleted, &mut self.unclaimed] {
            set.remove(uid);
        }
        self.size -= rest.body.len();
        self.owner.release(rest.body.len());
        let modseq = self.tick();
        self.log.insert(modseq, Event::Expunged(uid));
        self.removals.push_back(modseq);
        while self.removals.len() > self.bounds.history
            && let Some(oldest) = self.removals.pop_front()
        {
            self.log.remove(&oldest);
            self.forgotten = oldest;
        }
        Some((flags, rest))
    }

    /// Which of these are there, and have `\Deleted` if that is asked.
    pub(super) fn removable(&self, uids: &UidSet, only_deleted: bool) -> UidSet {
        uids.intersection(if only_deleted { &self.deleted } else { &self.uids })
    }

    /// Takes everything out, leaving a mailbox that is no more.
    pub(super) fn end(&mut self, fate: Fate) -> Vec<Parcel> {
        let parcels = self.uids.clone().iter().filter_map(|uid| self.remove(uid)).map(Parcel::of_removed).collect();
        self.fate = fate;
        self.tick();
        (self.log, self.removals) = (BTreeMap::new(), VecDeque::new());
        parcels
    }

    pub(super) fn rename(&mut self, name: MailboxName) {
        self.name = name;
        self.renamed = self.tick();
    }

    pub(super) fn set_access(&mut self, access: Access) {
        if self.access != access {
            self.access = access;
            self.access_changed = self.tick();
        }
    }

    /// Lets the removals so far be forgotten.
    pub(super) fn forget_removals(&mut self) {
        for modseq in self.removals.drain(..) {
            self.log.remove(&modseq);
        }
        self.forgotten = self.modseq;
    }

    pub(super) fn remember(&mut self, uid: Uid, summary: Bytes) {
        if summary.len() <= MAX_SUMMARY
            && let Some(rest) = self.entries.rest_mut(uid)
        {
            rest.summary = Some(summary);
        }
    }

    pub(super) fn changes(&mut self, request: &ChangesRequest) -> Changes {
        let mut changes = Changes::none(request.since);
        if self.standing().is_err() {
            changes.modseq = self.modseq.max(request.since);
            changes.fate = self.fate.clone();
            return changes;
        }
        let since = request.since;
        if since >= self.modseq {
            return changes;
        }
        if since < self.forgotten {
            changes.present = Some(self.uids.clone());
        }
        if since < self.renamed {
            changes.fate = Fate::Renamed(self.name.clone());
        }
        if since < self.access_changed {
            changes.access = Some(self.access);
        }
        if since < self.keywords_changed {
            changes.keywords = Some(self.keywords.clone());
        }
        changes.uid_next = self.uid_next;
        let mut events = self.log.range(since.next()..);
        let mut reached = since;
        for (modseq, event) in events.by_ref().take(request.room.max(1)) {
            reached = *modseq;
            match *event {
                Event::Arrived(uid) => {
                    changes.arrived.insert(uid);
                }
                Event::Changed(uid) => {
                    changes.changed.extend(self.entries.get(uid).map(|entry| entry.row(FetchData::FLAGS)));
                }
                Event::Expunged(uid) => changes.expunged.push((uid, *modseq)),
            }
        }
        changes.more = events.next().is_some();
        changes.modseq = if changes.more { reached } else { self.modseq };
        if request.claim_recent && self.unclaimed.intersects(&changes.arrived) {
            changes.recent = self.unclaimed.intersection(&changes.arrived);
            self.unclaimed.difference_with(&changes.recent);
        }
        changes
    }

    /// Takes note of keywords that are to be used. Fails, changing nothing, when there would be too many.
    fn admit<'a>(&mut self, sets: impl IntoIterator<Item = &'a Keywords>) -> Result<()> {
        let mut new: Vec<Keyword> = Vec::new();
        for keyword in sets.into_iter().flatten() {
            if !self.keywords.contains(keyword) {
                new.push(keyword.clone());
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        // Of two spellings the first one stays: the sort in `collect` is stable.
        let mut all: Keywords = self.keywords.iter().chain(&new).cloned().collect();
        if all.as_slice().len() > self.bounds.keywords {
            let used = self.entries.iter().flat_map(|entry| entry.keywords);
            all = used.chain(&new).cloned().collect::<HashSet<_>>().into_iter().collect();
            if all.as_slice().len() > self.bounds.keywords {
                return Err(Error::Limit("too many keywords".into()));
            }
        }
        self.keywords = all;
        self.keywords_changed = self.tick();
        Ok(())
    }

    /// These flags, with the keywords in the spelling of their first use.
    fn spelled(&self, flags: &Flags) -> Flags {
        if flags.keywords.is_empty() {
            return flags.clone();
        }
        let known = self.keywords.as_slice();
        let spelled = |keyword: &Keyword| {
            let known = known.binary_search(keyword).ok().and_then(|at| known.get(at));
            known.unwrap_or(keyword).clone()
        };
        Flags { system: flags.system, keywords: flags.keywords.iter().map(spelled).collect() }
    }
}
