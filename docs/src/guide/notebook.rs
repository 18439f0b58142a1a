//! One notebook: what all sessions that have it open share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pillarbox_proto_core::Signal;
use pillarbox_proto_core::backend::{
    Changes, ChangesRequest, Error, Fate, MailboxId, Result, Row, Snapshot, StoreOp, StoreRequest, Stored,
};
use pillarbox_proto_core::mail::{
    DateTime, Flags, Keywords, MailboxName, ModSeq, SystemFlags, Uid, UidSet, UidValidity,
};

/// A note, as a message.
#[derive(Clone)]
pub(super) struct Note {
    pub(super) content: Bytes,
    pub(super) flags: Flags,
    pub(super) date: DateTime,
    pub(super) unique_id: Arc<str>,
    pub(super) summary: Option<Bytes>,
    /// When it was first retrieved over POP3.
    pub(super) retrieved: Option<i64>,
    arrived: ModSeq,
    pub(super) changed: ModSeq,
}

impl Note {
    pub(super) fn new(content: Bytes, flags: Flags, date: DateTime, unique_id: Arc<str>) -> Self {
        Self {
            content,
            flags,
            date,
            unique_id,
            summary: None,
            retrieved: None,
            arrived: ModSeq::ZERO,
            changed: ModSeq::ZERO,
        }
    }
}

/// A notebook and who waits for news of it.
pub(super) struct Notebook {
    pub(super) id: MailboxId,
    pub(super) news: Signal,
    state: Mutex<State>,
}

/// Its state: in a database, a row for the notebook and one for each note.
pub(super) struct State {
    pub(super) uid_validity: UidValidity,
    pub(super) modseq: ModSeq,
    pub(super) notes: BTreeMap<Uid, Note>,
    pub(super) leased: bool,
    uid_next: Option<Uid>,
    /// Each removal, by its mod-sequence.
    removed: BTreeMap<ModSeq, Uid>,
    keywords: Keywords,
    name: MailboxName,
    renamed: ModSeq,
    deleted: bool,
}

impl Notebook {
    pub(super) fn new(name: MailboxName, id: MailboxId, uid_validity: UidValidity) -> Arc<Self> {
        let state = State {
            uid_validity,
            modseq: ModSeq::new(1),
            notes: BTreeMap::new(),
            leased: false,
            uid_next: Some(Uid::MIN),
            removed: BTreeMap::new(),
            keywords: Keywords::NONE,
            name,
            renamed: ModSeq::ZERO,
            deleted: false,
        };
        Arc::new(Self { id, news: Signal::new(1), state: Mutex::new(state) })
    }

    /// Looks at the state, whatever it is.
    pub(super) fn look(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state of a notebook that stands.
    pub(super) fn read(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.look();
        if state.deleted { Err(Error::MailboxGone) } else { Ok(state) }
    }

    /// A transaction: a change, and then word of it to everyone who waits.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.read()?;
        let result = change(&mut state);
        self.news.advance(state.modseq.get());
        result
    }

    /// A transaction over two notebooks. The locks are taken in the order of the ids, so that two moves in opposite
    /// directions can't wait for each other.
    pub(super) fn change_both<T>(
        from: &Self,
        to: &Self,
        change: impl FnOnce(&mut State, &mut State) -> Result<T>,
    ) -> Result<T> {
        let in_order = from.id < to.id;
        let (first, second) = if in_order { (from, to) } else { (to, from) };
        let (mut first, mut second) = (first.read()?, second.read()?);
        let (source, target) = if in_order { (&mut *first, &mut *second) } else { (&mut *second, &mut *first) };
        let result = change(source, target);
        from.news.advance(source.modseq.get());
        to.news.advance(target.modseq.get());
        result
    }
}

impl State {
    /// Every change has a mod-sequence of its own, larger than all before.
    fn tick(&mut self) -> ModSeq {
        self.modseq = self.modseq.next();
        self.modseq
    }

    pub(super) fn uids(&self) -> UidSet {
        self.notes.keys().copied().collect()
    }

    pub(super) fn snapshot(&self, id: &MailboxId) -> Snapshot {
        let mut snapshot = Snapshot::new(id.clone(), self.uid_validity, self.uids());
        snapshot.uid_next = self.uid_next;
        snapshot.modseq = self.modseq;
        snapshot.modseqs = true;
        snapshot.keywords = self.keywords.clone();
        snapshot.permanent_flags = Flags { system: SystemFlags::ALL, keywords: self.keywords.clone() };
        snapshot.new_keywords = true;
        snapshot.first_unseen = self.notes.iter().find(|(_, note)| !seen(note)).map(|(uid, _)| *uid);
        snapshot
    }

    /// Adds notes, all or none.
    pub(super) fn add(&mut self, notes: Vec<Note>) -> Result<Vec<Uid>> {
        let first = self.uid_next.ok_or(Error::Limit("all UIDs are used up".into()))?;
        if notes.len() as u64 >= u64::from(Uid::MAX.get() - first.get()) {
            return Err(Error::Limit("too few UIDs are left".into()));
        }
        let mut uids = Vec::with_capacity(notes.len());
        for note in notes {
            let Some(uid) = self.uid_next else { break };
            self.uid_next = uid.next();
            let modseq = self.tick();
            self.keywords = self.keywords.union(&note.flags.keywords);
            self.notes.insert(uid, Note { arrived: modseq, changed: modseq, ..note });
            uids.push(uid);
        }
        Ok(uids)
    }

    pub(super) fn store(&mut self, request: &StoreRequest) -> Stored {
        let mut stored = Stored::default();
        stored.gone = request.uids.difference(&self.uids());
        for uid in &request.uids.difference(&stored.gone) {
            let Some(before) = self.notes.get(&uid) else { continue };
            if request.unchanged_since.is_some_and(|since| before.changed > since) {
                stored.modified.insert(uid);
                continue;
            }
            let flags = match request.op {
                StoreOp::Add => before.flags.union(&request.flags),
                StoreOp::Remove => before.flags.difference(&request.flags),
                StoreOp::Replace => request.flags.clone(),
            };
            if flags != before.flags {
                let modseq = self.tick();
                self.keywords = self.keywords.union(&flags.keywords);
                if let Some(note) = self.notes.get_mut(&uid) {
                    (note.flags, note.changed) = (flags, modseq);
                }
            }
            stored.rows.extend(self.notes.get(&uid).map(|note| flags_of(uid, note)));
        }
        stored
    }

    pub(super) fn remove(&mut self, uid: Uid) -> Option<Note> {
        let note = self.notes.remove(&uid)?;
        let modseq = self.tick();
        self.removed.insert(modseq, uid);
        Some(note)
    }

    pub(super) fn rename(&mut self, name: MailboxName) {
        self.name = name;
        self.renamed = self.tick();
    }

    pub(super) fn delete(&mut self) {
        self.deleted = true;
        self.tick();
    }

    /// What happened since a mod-sequence, oldest first, a page at a time.
    pub(super) fn changes(&self, request: &ChangesRequest) -> Changes {
        let mut changes = Changes::none(request.since);
        if self.deleted {
            changes.modseq = self.modseq;
            changes.fate = Fate::Deleted;
            return changes;
        }
        // A database has an index for this; each note is here once for its arrival and once for its last change.
        let mut events = BTreeMap::new();
        for (uid, note) in &self.notes {
            events.insert(note.changed, Event::Changed(*uid));
            events.insert(note.arrived, Event::Arrived(*uid));
        }
        events.extend(self.removed.iter().map(|(modseq, uid)| (*modseq, Event::Removed(*uid))));
        let mut events = events.range(request.since.next()..).peekable();
        for (modseq, event) in events.by_ref().take(request.room.max(1)) {
            changes.modseq = *modseq;
            match event {
                Event::Arrived(uid) => drop(changes.arrived.insert(*uid)),
                Event::Changed(uid) => changes.changed.extend(self.notes.get(uid).map(|note| flags_of(*uid, note))),
                Event::Removed(uid) => changes.expunged.push((*uid, *modseq)),
            }
        }
        changes.more = events.peek().is_some();
        if !changes.more {
            changes.modseq = self.modseq.max(request.since);
        }
        changes.uid_next = self.uid_next;
        changes.keywords = Some(self.keywords.clone());
        if request.since < self.renamed {
            changes.fate = Fate::Renamed(self.name.clone());
        }
        changes
    }
}

#[derive(Clone, Copy)]
enum Event {
    Arrived(Uid),
    Changed(Uid),
    Removed(Uid),
}

pub(super) fn seen(note: &Note) -> bool {
    note.flags.system.contains(SystemFlags::SEEN)
}

/// A row that tells a note's flags.
pub(super) fn flags_of(uid: Uid, note: &Note) -> Row {
    let mut row = Row::new(uid);
    row.modseq = note.changed;
    row.flags = note.flags.clone();
    row
}
