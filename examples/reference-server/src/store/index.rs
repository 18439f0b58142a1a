//! The index: one SQLite file beside the mail, which knows what a Maildir can't say.
//!
//! UIDs, mod-sequences, the history of removals, keywords without a letter, sizes and summaries live here. Messages do
//! not: whatever happens to the index, the mail is in its files, and an index that is missing or damaged is built anew
//! from them, with another UIDVALIDITY.
//!
//! The file is in WAL mode, so that several processes share an account. A process that finds it replaced by another
//! (its inode changed) opens the new one; setting a damaged index aside happens under a lock.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
#[cfg(unix)]
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cap_std::fs::{Dir, MetadataExt, OpenOptions};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::commit::Job;
use super::fault::{Done, Fault, is_missing};
use super::{lock, schema};

/// The folder of the index within the Maildir; other programs pass over folders without a dot.
pub(super) const FOLDER: &str = "pillarbox";
const FILE: &str = "pillarbox/index.sqlite";
const BESIDES: [&str; 2] = ["pillarbox/index.sqlite-wal", "pillarbox/index.sqlite-shm"];
/// Written to after each commit, so that other processes hear of it.
pub(super) const COMMITS: &str = "pillarbox/commits";
const LOCK: &str = "pillarbox/index.lock";
/// Connections for reading that are kept open while nobody uses them.
const IDLE_READERS: usize = 3;
/// How long another process may hold the write lock.
const PATIENCE: Duration = Duration::from_secs(30);

/// An open index.
pub(super) struct Index {
    root: Arc<Dir>,
    path: PathBuf,
    inode: u64,
    commits: File,
    /// A name that no other index ever had; part of every mailbox's lasting name.
    pub(super) token: Box<str>,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    queue: Mutex<Queue>,
    lost: AtomicBool,
    /// Declarations of changes that this process is still going to make.
    pub(super) intents: Mutex<HashSet<i64>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    running: bool,
}

impl Index {
    /// Opens the index of a Maildir, or builds a new one where there is none that can be read.
    pub(super) fn open(root: Arc<Dir>, root_path: &Path) -> Done<Self> {
        super::folder::make_private_dir(&root, FOLDER)?;
        let gate = root.open_with(LOCK, OpenOptions::new().write(true).create(true).truncate(false))?.into_std();
        gate.lock()?;
        let path = root_path.join(FILE);
        let mut is_new = !root.exists(FILE);
        let writer = match open_writer(&root, &path) {
            Ok(writer) => writer,
            Err(fault) if fault.is_damage() => {
                tracing::warn!(path = %path.display(), error = %fault, "the index is damaged: building a new one");
                set_aside(&root)?;
                is_new = true;
                open_writer(&root, &path)?
            }
            Err(fault) => return Err(fault),
        };
        let token: String = writer.query_row("SELECT value FROM meta WHERE key = 'token'", [], |row| row.get(0))?;
        let inode = root.metadata(FILE)?.ino();
        let commits = root.open_with(COMMITS, OpenOptions::new().write(true).create(true).truncate(false))?.into_std();
        if is_new {
            super::folder::sync_dir(&root, FOLDER)?;
            super::folder::sync_dir(&root, "")?;
        }
        drop(gate);
        Ok(Self {
            root,
            path,
            inode,
            commits,
            token: token.into(),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            queue: Mutex::default(),
            lost: AtomicBool::new(false),
            intents: Mutex::default(),
        })
    }

    /// Puts a damaged index out of the way, unless somebody else has done so.
    pub(super) fn discard(&self) -> Done<()> {
        self.lost.store(true, Ordering::Release);
        let gate = self.root.open_with(LOCK, OpenOptions::new().write(true).create(true).truncate(false))?.into_std();
        gate.lock()?;
        if self.is_in_place() { set_aside(&self.root) } else { Ok(()) }
    }

    /// Whether this index was given up.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether the file that is open here is still the account's index.
    pub(super) fn is_in_place(&self) -> bool {
        self.root.metadata(FILE).is_ok_and(|metadata| metadata.ino() == self.inode)
    }

    /// Reads, on a connection of its own; what it sees is one state as long as `work` uses one statement or makes a
    /// transaction.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Done<T>) -> Done<T> {
        if self.is_lost() {
            return Err(Fault::Replaced);
        }
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_reader(&self.path)?,
        };
        let result = work(&connection);
        let mut readers = lock(&self.readers);
        if result.is_ok() && readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        result
    }

    /// Closes connections that nobody uses.
    pub(super) fn close_idle(&self) {
        lock(&self.readers).clear();
    }

    /// Has other processes hear that there was a commit. They would notice by themselves, later.
    pub(super) fn tell(&self) {
        if let Err(error) = self.commits.write_at(b".", 0) {
            tracing::debug!(%error, "other processes can't be told of a commit");
        }
    }

    /// Has the journal's octets written to the disk.
    pub(super) fn sync_journal(&self) -> Done<()> {
        match self.root.open(BESIDES[0]) {
            Ok(journal) => Ok(journal.sync_all()?),
            // Played into the index, which was synced then.
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a change is at work or waiting.
    pub(super) fn is_busy(&self) -> bool {
        lock(&self.queue).running
    }

    /// Whether another process has changed the index since this was asked last.
    pub(super) fn changed_elsewhere(&self, seen: &mut i64) -> Done<bool> {
        // A writer at work looks for itself.
        let Ok(writer) = self.writer.try_lock() else { return Ok(false) };
        changed_elsewhere(&writer, seen)
    }

    /// The connection for writing; held by the one who drives the queue.
    pub(super) fn writer(&self) -> MutexGuard<'_, Connection> {
        lock(&self.writer)
    }

    /// Adds a change; returns whether the caller must see to it that the queue is driven.
    pub(super) fn enqueue(&self, job: Box<dyn Job>) -> bool {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        !std::mem::replace(&mut queue.running, true)
    }

    /// Takes the changes that go into the next transaction; none ends the drive.
    pub(super) fn dequeue(&self, most: usize) -> Vec<Box<dyn Job>> {
        let mut queue = lock(&self.queue);
        let count = queue.jobs.len().min(most);
        queue.running = count > 0;
        queue.jobs.drain(..count).collect()
    }
}

/// Compares SQLite's data version, which other connections' commits move.
pub(super) fn changed_elsewhere(connection: &Connection, seen: &mut i64) -> Done<bool> {
    let version: i64 = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
    Ok(std::mem::replace(seen, version) != version)
}

fn open_writer(root: &Dir, path: &Path) -> Done<Connection> {
    if let Err(error) = root.symlink_metadata(FILE) {
        if !is_missing(&error) {
            return Err(error.into());
        }
        // A journal without its file belongs to an index that is gone; SQLite would play it into the new one.
        for file in BESIDES {
            remove_if_there(root, file)?;
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Fault::Other(format!("the index can't use a write-ahead log here, but only {mode}")));
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    schema::ensure(&connection)?;
    schema::leap_after_boot(&connection)?;
    Ok(connection)
}

fn open_reader(path: &Path) -> Done<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> Done<()> {
    connection.busy_timeout(PATIENCE)?;
    // Pages that are read once need no cache of ours: the kernel has one. -512 is 512 KiB.
    connection.execute_batch("PRAGMA cache_size = -512; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF")?;
    connection.set_prepared_statement_cache_capacity(48);
    // Else a statement would be planned again for each other pair of UIDs.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn set_aside(root: &Dir) -> Done<()> {
    match root.rename(FILE, root, "pillarbox/index.damaged") {
        Ok(()) => {}
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error.into()),
    }
    for file in BESIDES {
        remove_if_there(root, file)?;
    }
    Ok(())
}

fn remove_if_there(root: &Dir, file: &str) -> Done<()> {
    match root.remove_file(file) {
        Err(error) if !is_missing(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
