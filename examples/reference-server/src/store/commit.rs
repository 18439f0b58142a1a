//! Changes, one after the other, several to a transaction.
//!
//! A change is a closure that works on files and on the index. Whoever adds one to an idle queue drives it: on a
//! thread for blocking work, batch after batch, until nothing is waiting. All changes that wait go into one
//! transaction, so they share the sync of folders and index (group commit), and a change that was added runs to its
//! end whether or not anybody still waits for it.
//!
//! The order within a batch is: work on files, sync of the folders, commit of the index, then the answers. A change
//! that fails is undone alone; when the commit fails, all of the batch are.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pillarbox_proto_core::backend::Error;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::fault::{Done, Fault};
use super::folder::{self, Folder, Place};
use super::index::{Index, changed_elsewhere};
use super::table::{self, MailboxRow};
use super::{MaildirStore, intent, lock, scan};

/// Changes that share a transaction.
const BATCH: usize = 64;

/// Whether a change has to outlast a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// It is on the disk before the answer.
    Lasting,
    /// The kernel has it: it outlasts this process only.
    Relaxed,
}

/// A change in the queue.
pub(super) trait Job: Send {
    fn durability(&self) -> Durability;
    /// Does the work; false if it failed and is to be undone.
    fn run(&mut self, txn: &mut Txn<'_>) -> bool;
    /// Tells the one who waits.
    fn finish(self: Box<Self>, commit: Result<(), &Fault>);
}

/// A file of a mailbox.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) mailbox: i64,
    pub(super) folder: &'a Arc<Folder>,
    pub(super) place: Place,
    pub(super) file: &'a str,
}

/// The transaction that a change works in.
pub(super) struct Txn<'a> {
    pub(super) store: &'a Arc<MaildirStore>,
    pub(super) db: &'a Connection,
    folders: BTreeMap<String, Arc<Folder>>,
    undo: Vec<Box<dyn FnOnce()>>,
    after: Vec<Box<dyn FnOnce()>>,
    /// Directories whose names must be on the disk before the commit.
    unsynced: BTreeSet<String>,
    /// Mailboxes that the batch may have changed.
    touched: BTreeSet<i64>,
    /// Something was numbered or removed that the batch's changes did not announce: it must outlast a loss of power.
    lasting: bool,
}

impl<'a> Txn<'a> {
    /// A mailbox that is to be changed, brought up to date with its directories first.
    pub(super) fn mailbox(&mut self, id: i64) -> Done<MailboxRow> {
        self.touched.insert(id);
        let row = table::mailbox(self.db, id)?.ok_or(Error::MailboxGone)?;
        let times = match folder::times(self.store.root(), &row.folder) {
            Ok(times) => times,
            // Another program removed the folder, or a part of it.
            Err(error) if super::fault::is_missing(&error) => return Err(Error::MailboxGone.into()),
            Err(error) => return Err(error.into()),
        };
        if times == (row.new_time, row.cur_time) {
            return Ok(row);
        }
        scan::changed_places(self, row, times)
    }

    /// A mailbox as the index has it, for one who follows its directories by himself. Its live state follows after the
    /// commit.
    pub(super) fn mailbox_as_is(&mut self, id: i64) -> Done<MailboxRow> {
        self.touched.insert(id);
        Ok(table::mailbox(self.db, id)?.ok_or(Error::MailboxGone)?)
    }

    /// Has the live state of a mailbox follow after the commit.
    pub(super) fn touch(&mut self, id: i64) {
        self.touched.insert(id);
    }

    /// The directories of a folder.
    pub(super) fn folder(&mut self, folder: &str) -> Done<Arc<Folder>> {
        if let Some(open) = self.folders.get(folder) {
            return Ok(Arc::clone(open));
        }
        let open = Folder::open(self.store.root(), folder)?;
        self.folders.insert(folder.to_owned(), Arc::clone(&open));
        Ok(open)
    }

    /// Folders may have other places now.
    pub(super) fn forget_folders(&mut self) {
        self.folders.clear();
    }

    /// Renames a file from one mailbox's directory into another's; undone when the change fails.
    pub(super) fn rename(&mut self, from: Spot<'_>, to: Spot<'_>) -> std::io::Result<()> {
        self.announce(from.mailbox, from.place, from.file);
        self.announce(to.mailbox, to.place, to.file);
        let renamed = from.folder.dir(from.place).rename(from.file, to.folder.dir(to.place), to.file);
        if renamed.is_err() {
            self.withdraw(from.mailbox, from.file);
            self.withdraw(to.mailbox, to.file);
            return renamed;
        }
        let (here, there) = ((Arc::clone(from.folder), from.place), (Arc::clone(to.folder), to.place));
        let (old, new) = (from.file.to_owned(), to.file.to_owned());
        self.undo.push(Box::new(move || {
            if let Err(error) = there.0.dir(there.1).rename(&new, here.0.dir(here.1), &old) {
                tracing::error!(%error, "a file could not be put back after a failed change");
            }
        }));
        Ok(())
    }

    /// Whatever the changes ask for, this commit is synced: UIDs were given or ended in it.
    pub(super) fn make_lasting(&mut self) {
        self.lasting = true;
    }

    /// Says before it is done that this server itself makes or takes a name, so that the kernel's word of it is no news.
    pub(super) fn announce(&self, mailbox: i64, place: Place, file: &str) {
        if place != Place::Tmp
            && let Some(state) = lock(&self.store.live).get(&mailbox)
        {
            state.announce(file);
        }
    }

    /// It was not done.
    pub(super) fn withdraw(&self, mailbox: i64, file: &str) {
        if let Some(state) = lock(&self.store.live).get(&mailbox) {
            state.is_announced(file);
        }
    }

    /// What takes back a step when the change fails.
    pub(super) fn on_failure(&mut self, undo: impl FnOnce() + 'static) {
        self.undo.push(Box::new(undo));
    }

    /// Work that may be done when everything is committed and answered.
    pub(super) fn afterwards(&mut self, work: impl FnOnce() + 'static) {
        self.after.push(Box::new(work));
    }

    /// Has a directory synced before the commit.
    pub(super) fn sync(&mut self, folder: &str, place: Place) {
        self.unsynced.insert(folder::path(folder, place));
    }

    /// Has a directory of this path from the root synced before the commit; the empty one is the root.
    pub(super) fn sync_path(&mut self, path: &str) {
        self.unsynced.insert(path.to_owned());
    }

    fn undo_to(&mut self, mark: usize) {
        for undo in self.undo.drain(mark..).rev() {
            undo();
        }
    }

    /// The times that the directories have after the batch's own changes: what other programs did within the
    /// granularity of the clock is found by a later look, as they are not settled.
    fn record_times(&self) -> Done<()> {
        for id in &self.touched {
            let Some(mut row) = table::mailbox(self.db, *id)? else { continue };
            // A mailbox that was not looked at to the end must be looked at again.
            if row.new_time < 0 || row.cur_time < 0 {
                continue;
            }
            let Ok(times) = folder::times(self.store.root(), &row.folder) else { continue };
            if times != (row.new_time, row.cur_time) {
                (row.new_time, row.cur_time) = times;
                row.settled = false;
                row.save(self.db)?;
            }
        }
        Ok(())
    }
}

struct Task<T, F> {
    durability: Durability,
    work: Option<F>,
    result: Option<Done<T>>,
    answer: oneshot::Sender<Done<T>>,
}

/// Makes a change ready for the queue.
pub(super) fn task<T, F>(durability: Durability, work: F) -> (Box<dyn Job>, oneshot::Receiver<Done<T>>)
where
    T: Send + 'static,
    F: FnOnce(&mut Txn<'_>) -> Done<T> + Send + 'static,
{
    let (answer, receiver) = oneshot::channel();
    (Box::new(Task { durability, work: Some(work), result: None, answer }), receiver)
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&mut Txn<'_>) -> Done<T> + Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, txn: &mut Txn<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        // A panic here must not take the queue with it.
        let result = catch_unwind(AssertUnwindSafe(|| work(txn)))
            .unwrap_or_else(|_| Err(Fault::Other("a change of the store panicked".to_owned())));
        let good = result.is_ok();
        self.result = Some(result);
        good
    }

    fn finish(self: Box<Self>, commit: Result<(), &Fault>) {
        let result = match (self.result, commit) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(fault)) => Err(fault.repeat()),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(Fault::Other("a change was not run".to_owned())),
        };
        // Nobody may be waiting any more.
        let _ = self.answer.send(result);
    }
}

/// Works off the queue of an index, on a thread that may block.
pub(super) fn drive(store: &Arc<MaildirStore>, index: &Index) {
    let writer = index.writer();
    loop {
        let mut jobs = index.dequeue(BATCH);
        if jobs.is_empty() {
            return;
        }
        let mut txn = Txn {
            store,
            db: &writer,
            folders: BTreeMap::new(),
            undo: Vec::new(),
            after: Vec::new(),
            unsynced: BTreeSet::new(),
            touched: BTreeSet::new(),
            lasting: false,
        };
        let outcome = batch(&mut txn, index, &mut jobs);
        if outcome.is_err() {
            if !writer.is_autocommit() {
                let _ = writer.execute_batch("ROLLBACK");
            }
            txn.undo_to(0);
        }
        let touched = std::mem::take(&mut txn.touched);
        if outcome.is_ok() && !touched.is_empty() {
            index.tell();
        }
        match &outcome {
            Ok(true) => store.refresh_live(&writer, None),
            _ => store.refresh_live(&writer, Some(&touched)),
        }
        if let Err(fault) = &outcome
            && fault.is_damage()
        {
            store.give_up(index, fault);
        }
        for job in jobs {
            job.finish(outcome.as_ref().map(|_| ()));
        }
        if outcome.is_ok() {
            for work in txn.after.drain(..) {
                work();
            }
        }
    }
}

/// One transaction. Returns whether other processes changed the index since the one before.
fn batch(txn: &mut Txn<'_>, index: &Index, jobs: &mut [Box<dyn Job>]) -> Done<bool> {
    if index.is_lost() || !index.is_in_place() {
        return Err(Fault::Replaced);
    }
    let lasting = jobs.iter().any(|job| job.durability() == Durability::Lasting);
    txn.db.execute_batch(if lasting { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
    txn.db.execute_batch("BEGIN IMMEDIATE")?;
    let elsewhere = changed_elsewhere(txn.db, &mut lock(&txn.store.data_version))?;
    if let Err(fault) = intent::undo_abandoned(txn, index) {
        tracing::error!(%fault, "what a process that died had begun can't be taken back");
    }
    for job in jobs {
        let (undo, after) = (txn.undo.len(), txn.after.len());
        txn.db.execute_batch("SAVEPOINT job")?;
        if !job.run(txn) {
            txn.db.execute_batch("ROLLBACK TO job")?;
            txn.undo_to(undo);
            txn.after.truncate(after);
        }
        txn.db.execute_batch("RELEASE job")?;
    }
    txn.record_times()?;
    for path in std::mem::take(&mut txn.unsynced) {
        folder::sync_dir(txn.store.root(), &path)?;
    }
    txn.db.execute_batch("COMMIT")?;
    if txn.lasting && !lasting {
        // SQLite was told not to; the journal is all that it would have synced.
        index.sync_journal()?;
    }
    Ok(elsewhere)
}
