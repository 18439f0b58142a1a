//! What all sessions of this process share about one open mailbox: the UIDs, the mod-sequence, the keywords.
//!
//! Flags, dates and sizes are not here: they are read from the index page by page, so an open mailbox costs the blocks
//! of its UID set and little more. The state follows the index by mod-sequence, after each commit of this process and
//! whenever another process changed the index.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use pillarbox_proto_core::Signal;
use pillarbox_proto_core::backend::{Error, Fate, MailboxId, Result};
use pillarbox_proto_core::mail::{MailboxName, ModSeq, Uid, UidSet, UidValidity};
use rusqlite::{Connection, params};

use super::cache::{self, Cache};
use super::fault::Done;
use super::index::Index;
use super::keywords::KeywordTable;
use super::lock;
use super::table::{self, MailboxRow, Subset, to_modseq, to_uid};

/// Names that are announced and not heard of yet, at most.
const ANNOUNCED: usize = 100_000;

/// The live state of a mailbox.
pub(super) struct MailboxState {
    pub(super) id: i64,
    pub(super) mailbox_id: MailboxId,
    pub(super) index: Arc<Index>,
    pub(super) signal: Arc<Signal>,
    /// Whether the kernel tells this process of changes in the directories.
    pub(super) watched: AtomicBool,
    /// Whether both directories were read since the kernel began to tell of changes.
    scanned: AtomicBool,
    /// When a session used it last, in nanoseconds since 1970.
    pub(super) used: AtomicI64,
    view: Mutex<View>,
    /// Names of files that this process makes or takes away, as digests: the kernel will tell of each once.
    announced: Mutex<HashSet<u64>>,
    digest: RandomState,
    cache: Arc<Cache>,
    /// What the cache has this mailbox's messages under.
    space: AtomicU64,
}

/// A consistent view of a mailbox.
#[derive(Clone)]
pub(super) struct View {
    pub(super) name: MailboxName,
    pub(super) folder: Arc<str>,
    pub(super) uid_validity: UidValidity,
    pub(super) uid_next: Option<Uid>,
    pub(super) uids: UidSet,
    pub(super) keywords: KeywordTable,
    pub(super) settled: bool,
    modseq: i64,
    gone: Option<Fate>,
}

impl View {
    /// The mod-sequence of this view; a mailbox that is gone has one more than it ever had, so that waiters wake.
    pub(super) fn modseq(&self) -> ModSeq {
        if self.gone.is_some() { to_modseq(self.modseq).next() } else { to_modseq(self.modseq) }
    }

    /// What became of the mailbox, for a session that opened it under this name.
    pub(super) fn fate(&self, opened_as: &MailboxName) -> Fate {
        match &self.gone {
            Some(fate) => fate.clone(),
            None if self.name != *opened_as => Fate::Renamed(self.name.clone()),
            None => Fate::Stands,
        }
    }
}

impl MailboxState {
    /// The state of a mailbox, still empty: [`refresh`](Self::refresh) fills it.
    pub(super) fn new(row: &MailboxRow, index: Arc<Index>, cache: Arc<Cache>) -> Self {
        Self {
            id: row.id,
            mailbox_id: MailboxId::new(format!("{}.{}", index.token, row.id)),
            index,
            signal: Arc::new(Signal::new(0)),
            watched: AtomicBool::new(false),
            scanned: AtomicBool::new(false),
            used: AtomicI64::new(super::scan::now()),
            view: Mutex::new(View {
                name: row.name.clone(),
                folder: row.folder.as_str().into(),
                uid_validity: row.uid_validity,
                uid_next: None,
                uids: UidSet::new(),
                keywords: KeywordTable::default(),
                settled: false,
                modseq: -1,
                gone: None,
            }),
            announced: Mutex::default(),
            digest: RandomState::new(),
            space: AtomicU64::new(cache.space()),
            cache,
        }
    }

    /// Notes that this process itself is about to make a name or take it away.
    pub(super) fn announce(&self, file: &str) {
        let mut announced = lock(&self.announced);
        // What is dropped is looked at as if another program had done it.
        if announced.len() >= ANNOUNCED {
            announced.clear();
        }
        announced.insert(self.digest.hash_one(file));
    }

    /// Whether a name was announced; the next news of it is somebody else's.
    pub(super) fn is_announced(&self, file: &str) -> bool {
        let mut announced = lock(&self.announced);
        let known = announced.remove(&self.digest.hash_one(file));
        if announced.is_empty() && announced.capacity() > 1024 {
            *announced = HashSet::new();
        }
        known
    }

    /// The state, locked. Nothing that blocks is done while it is held, but for the refresh itself.
    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    /// The folder of a mailbox that still stands.
    pub(super) fn folder(&self) -> Result<Arc<str>> {
        let view = self.view();
        if view.gone.is_some() { Err(Error::MailboxGone) } else { Ok(Arc::clone(&view.folder)) }
    }

    /// Whether nothing can be hidden from this process but by an event that it has not heard of yet.
    pub(super) fn was_scanned(&self) -> bool {
        self.scanned.load(Ordering::Acquire)
    }

    /// Notes that the index was in line with the directories at some time since they are watched.
    pub(super) fn set_scanned(&self) {
        self.scanned.store(true, Ordering::Release);
    }

    /// Notes that a session uses it.
    pub(super) fn touch(&self) {
        self.used.store(super::scan::now(), Ordering::Relaxed);
    }

    /// The mailbox's index was given up: its UIDs mean nothing any more.
    pub(super) fn end(&self, fate: Fate) {
        let mut view = self.view();
        view.gone.get_or_insert(fate);
        let to = view.modseq();
        drop(view);
        self.signal.advance(to.get());
    }

    /// A message of this mailbox, for the cache.
    pub(super) fn key(&self, uid: u32) -> cache::Key {
        (self.space.load(Ordering::Relaxed), uid)
    }

    /// Follows the index.
    pub(super) fn refresh(&self, db: &Connection) -> Done<()> {
        let mut view = self.view();
        if view.gone.is_some() {
            return Ok(());
        }
        // One state of the index for all of the statements.
        db.execute_batch("BEGIN")?;
        let result = self.follow(&mut view, db);
        db.execute_batch("COMMIT")?;
        result?;
        let to = view.modseq();
        drop(view);
        self.signal.advance(to.get());
        Ok(())
    }

    fn follow(&self, view: &mut View, db: &Connection) -> Done<()> {
        let Some(row) = table::mailbox(db, self.id)? else {
            view.gone = Some(Fate::Deleted);
            return Ok(());
        };
        if row.uid_validity != view.uid_validity {
            view.gone = Some(Fate::Recreated);
            return Ok(());
        }
        view.settled = row.settled;
        if row.modseq == view.modseq {
            return Ok(());
        }
        if view.modseq < row.forgotten || view.modseq < 0 || row.modseq < view.modseq {
            view.uids = table::uids(db, self.id, Subset::All)?;
            self.space.store(self.cache.space(), Ordering::Relaxed);
        } else {
            follow_uids(&mut view.uids, db, self.id, view.modseq, |uid| self.cache.forget(self.key(uid.get())))?;
        }
        let keywords = KeywordTable::load(db, self.id)?;
        if !keywords.same_as(&view.keywords) {
            view.keywords = keywords;
        }
        view.uid_next = row.uid_next();
        if *view.folder != *row.folder {
            view.folder = row.folder.as_str().into();
        }
        view.modseq = row.modseq;
        view.name = row.name;
        Ok(())
    }
}

fn follow_uids(uids: &mut UidSet, db: &Connection, mailbox: i64, since: i64, mut removed: impl FnMut(Uid)) -> Done<()> {
    let sql = "SELECT uid FROM message WHERE mailbox = ?1 AND added > ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![mailbox, since])?;
    while let Some(row) = rows.next()? {
        uids.insert(to_uid(row.get(0)?)?);
    }
    let mut statement = db.prepare_cached("SELECT uid FROM expunged WHERE mailbox = ?1 AND modseq > ?2")?;
    let mut rows = statement.query(params![mailbox, since])?;
    while let Some(row) = rows.next()? {
        let uid = to_uid(row.get(0)?)?;
        uids.remove(uid);
        removed(uid);
    }
    Ok(())
}
