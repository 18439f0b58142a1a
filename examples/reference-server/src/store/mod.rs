//! Mail in Maildir++, with a SQLite index beside it.
//!
//! The Maildir is the truth: messages, their flags, folders, subscriptions and special uses are files that other
//! programs read and write too. The index (`index`) adds what a Maildir can't say (UIDs, mod-sequences, removals) and
//! what would take long to find out (sizes, summaries). It may be lost at any time: it is built anew, with another
//! UIDVALIDITY, and no mail is touched.
//!
//! * [`MaildirStores`] holds the accounts that are open in this process; [`MaildirStore`] is one of them.
//! * Nothing here opens a path outside of an account's root: files are reached through directory handles, and symbolic
//!   links that lead out are refused.
//! * A change is answered when it is durable, and runs to its end once it is begun, whoever waits for it.
//! * Work that blocks runs on the runtime's threads for blocking work; one thread per [`MaildirStores`] follows what
//!   other programs do.

mod account;
mod append;
mod cache;
mod commit;
mod fault;
mod file_name;
mod finish;
mod flagging;
mod folder;
mod folders;
mod index;
mod intent;
mod keywords;
mod lines;
mod mailbox;
mod message;
mod name_codec;
mod numbered;
mod pending;
mod removal;
mod reserve;
mod rows;
mod scan;
mod schema;
mod stamp;
mod state;
mod subscriptions;
mod table;
#[cfg(test)]
mod tests;
mod transfer;
mod uid_validity;
mod watcher;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use cap_std::fs::Dir;
use pillarbox_proto_core::backend::{Account, Error, Fate, Result};
use rusqlite::Connection;

use self::account::MaildirAccount;
use self::cache::Cache;
use self::commit::{Durability, Txn, drive, task};
use self::fault::{Done, Fault};
use self::index::Index;
use self::pending::Pending;
use self::state::MailboxState;
use self::table::MailboxRow;
use self::watcher::Watcher;

pub use self::finish::Expired;
pub use self::numbered::Delivered;

/// When changes of flags are synced to the disk. Messages, copies and removals always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before the answer.
    Always,
    /// When the kernel gets to it: they outlast a kill of the server, not a loss of power.
    #[default]
    Optimized,
}

/// Where it is kept when a message was first retrieved over POP3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpireStamp {
    /// In the message, in a field `X-Expire-Timestamp` of its header, where other programs find it. The message becomes
    /// a new one for IMAP.
    #[default]
    Header,
    /// In the index: the message stays as it is. The stamps are lost with the index.
    Index,
}

/// How an account's mail is kept.
#[derive(Clone, Debug)]
pub struct MaildirOptions {
    /// When changes of flags are synced.
    pub fsync: Fsync,
    /// The largest message that can be appended, in octets; `None` for no limit.
    pub append_limit: Option<u64>,
    /// The host's name for the names of message files; `None` for the system's.
    pub host: Option<String>,
    /// Where stamps of first retrievals are kept.
    pub expire_stamp: ExpireStamp,
    /// How many octets of small messages that are read again and again are kept in memory, for all accounts together; 0
    /// for none. By default 32 MiB.
    pub message_cache: usize,
}

impl Default for MaildirOptions {
    fn default() -> Self {
        Self {
            fsync: Fsync::default(),
            append_limit: None,
            host: None,
            expire_stamp: ExpireStamp::default(),
            message_cache: 32 << 20,
        }
    }
}

/// The accounts that are open in this process, each once, however many sessions use it.
pub struct MaildirStores {
    options: Arc<MaildirOptions>,
    open: Arc<Mutex<HashMap<PathBuf, Arc<MaildirStore>>>>,
    watcher: Arc<Watcher>,
    cache: Arc<Cache>,
}

impl MaildirStores {
    /// Starts with no account open. Makes the thread that follows changes by other programs; it ends when this is
    /// dropped.
    ///
    /// # Errors
    ///
    /// When the thread can't be made.
    pub fn new(options: MaildirOptions) -> std::io::Result<Self> {
        let open = Arc::default();
        let watcher = Watcher::start(Arc::clone(&open))?;
        let host = options.host.clone().unwrap_or_else(system_host);
        let options = Arc::new(MaildirOptions { host: Some(file_name::clean_host(&host)), ..options });
        let cache = Arc::new(Cache::new(options.message_cache));
        Ok(Self { options, open, watcher, cache })
    }

    /// Opens the account whose Maildir has this root (the INBOX itself), or joins it if it is open. A root that is
    /// missing is made; the folder that it lies in has to be there, as an empty one in its place (a disk that is not
    /// mounted, a home that was moved) would look as if all mail were lost.
    ///
    /// # Errors
    ///
    /// When root or index can't be opened. A damaged index is no error: it is built anew.
    pub async fn open(&self, root: PathBuf) -> Result<Arc<MaildirStore>> {
        if let Some(store) = lock(&self.open).get(&root) {
            return Ok(Arc::clone(store));
        }
        let (options, watcher, open) = (Arc::clone(&self.options), Arc::clone(&self.watcher), Arc::clone(&self.open));
        let cache = Arc::clone(&self.cache);
        blocking(move || {
            let store = MaildirStore::open(&root, options, watcher, cache)?;
            let mut open = lock(&open);
            // Another session may have been faster; one index of each account is enough for a process.
            let known = open.values().find(|known| known.path == store.path).cloned();
            let store = known.unwrap_or(store);
            open.insert(root, Arc::clone(&store));
            Ok(store)
        })
        .await
    }
}

impl Drop for MaildirStores {
    fn drop(&mut self) {
        self.watcher.stop();
        lock(&self.open).clear();
    }
}

impl fmt::Debug for MaildirStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaildirStores").field("options", &self.options).finish_non_exhaustive()
    }
}

/// One account's mail.
pub struct MaildirStore {
    root: Arc<Dir>,
    path: PathBuf,
    options: Arc<MaildirOptions>,
    watcher: Arc<Watcher>,
    cache: Arc<Cache>,
    index: RwLock<Arc<Index>>,
    live: Mutex<HashMap<i64, Arc<MailboxState>>>,
    pending: Pending,
    /// SQLite's data version as the writer saw it last.
    data_version: Mutex<i64>,
    files_opened: AtomicU64,
    directories_read: AtomicU64,
    /// The room for removals was given up, and is to be kept again.
    lacks_reserve: AtomicBool,
}

impl MaildirStore {
    fn open(path: &Path, options: Arc<MaildirOptions>, watcher: Arc<Watcher>, cache: Arc<Cache>) -> Done<Arc<Self>> {
        make_root(path)?;
        let path = path.canonicalize()?;
        let root = Arc::new(Dir::open_ambient_dir(&path, cap_std::ambient_authority())?);
        folder::make_places(&root, "")?;
        let index = match Index::open(Arc::clone(&root), &path) {
            // Even reading the index needs a little room.
            Err(fault) if fault.is_full() && reserve::give_up(&root) => Index::open(Arc::clone(&root), &path)?,
            opened => opened?,
        };
        let index = Arc::new(index);
        let store = Arc::new(Self {
            root,
            path,
            options,
            watcher,
            cache,
            index: RwLock::new(index),
            live: Mutex::default(),
            pending: Pending::default(),
            data_version: Mutex::new(0),
            files_opened: AtomicU64::new(0),
            directories_read: AtomicU64::new(0),
            lacks_reserve: AtomicBool::new(false),
        });
        store.watcher.watch_index(&store);
        store.change_blocking(Durability::Lasting, |txn| {
            folders::finish_renames(txn)?;
            folders::reconcile(txn)
        })?;
        folders::sweep(&store);
        reserve::keep(&store);
        Ok(store)
    }

    /// The account, as the protocols use it.
    #[must_use]
    pub fn account(self: &Arc<Self>) -> Arc<dyn Account> {
        Arc::new(MaildirAccount::new(Arc::clone(self)))
    }

    /// Waits until nobody else delivers bulletins to this account, in whatever process, and keeps others from it until
    /// the lock is dropped. It ends with the process.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when another goes on delivering for longer than seems right.
    pub async fn lock_bulletins(self: &Arc<Self>) -> Result<std::fs::File> {
        numbered::lock(self).await
    }

    /// Adds messages to INBOX, in order, from files, with CRLF line ends. Each is noted by its number in the same step;
    /// one that is noted already is passed over. It ends at the first that can't be read or added.
    pub async fn deliver_bulletins(self: &Arc<Self>, messages: &[(u64, PathBuf)]) -> Delivered {
        numbered::deliver(self, messages).await
    }

    /// Forgets the notes of bulletins up to this number.
    ///
    /// # Errors
    ///
    /// When the index can't be written.
    pub async fn forget_bulletins(self: &Arc<Self>, counted: u64) -> Result<()> {
        numbered::forget(self, counted).await
    }

    /// Finds the messages of INBOX whose stamp of their first retrieval over POP3 is not later than `cutoff` (seconds
    /// since 1970), and removes them unless that is `only_ask`ed.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn expire(self: &Arc<Self>, cutoff: i64, only_ask: bool) -> Result<Vec<Expired>> {
        finish::expire(self, cutoff, only_ask).await
    }

    /// How many message files were opened for reading so far.
    #[must_use]
    pub fn files_opened(&self) -> u64 {
        self.files_opened.load(Ordering::Relaxed)
    }

    /// How many directories of mailboxes were read so far; one whose time has not changed is not.
    #[must_use]
    pub fn directories_read(&self) -> u64 {
        self.directories_read.load(Ordering::Relaxed)
    }

    fn root(&self) -> &Dir {
        &self.root
    }

    fn host(&self) -> &str {
        self.options.host.as_deref().unwrap_or("localhost")
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn count_opened(&self) {
        self.files_opened.fetch_add(1, Ordering::Relaxed);
    }

    fn count_directory(&self) {
        self.directories_read.fetch_add(1, Ordering::Relaxed);
    }

    /// How lasting changes of flags are.
    fn flag_durability(&self) -> Durability {
        match self.options.fsync {
            Fsync::Always => Durability::Lasting,
            Fsync::Optimized => Durability::Relaxed,
        }
    }

    /// Makes a change of the index that is open now.
    async fn change<T, F>(self: &Arc<Self>, durability: Durability, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Done<T> + Send + 'static,
    {
        self.change_in(&self.index(), durability, work).await
    }

    /// Makes a change of an index that the caller's mailbox is bound to.
    async fn change_in<T, F>(self: &Arc<Self>, index: &Arc<Index>, durability: Durability, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Done<T> + Send + 'static,
    {
        let (job, answer) = task(durability, work);
        if index.enqueue(job) {
            let (store, index) = (Arc::clone(self), Arc::clone(index));
            tokio::task::spawn_blocking(move || drive(&store, &index));
        }
        match answer.await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Error::unavailable("the store is shutting down")),
        }
    }

    /// Makes a change, on a thread that may block.
    fn change_blocking<T, F>(self: &Arc<Self>, durability: Durability, work: F) -> Done<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Done<T> + Send + 'static,
    {
        self.change_blocking_in(&self.index(), durability, work)
    }

    /// Makes a change of an index that the caller's mailbox is bound to, on a thread that may block.
    fn change_blocking_in<T, F>(self: &Arc<Self>, index: &Arc<Index>, durability: Durability, work: F) -> Done<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Done<T> + Send + 'static,
    {
        let (job, answer) = task(durability, work);
        if index.enqueue(job) {
            drive(self, index);
        }
        answer.blocking_recv().map_err(|_| Fault::Other("the store is shutting down".to_owned()))?
    }

    /// Reads from an index, on a thread that may block. Damage has the index given up.
    fn read<T>(self: &Arc<Self>, index: &Index, work: impl FnOnce(&Connection) -> Done<T>) -> Done<T> {
        let result = index.read(work);
        if let Err(fault) = &result
            && fault.is_damage()
        {
            self.give_up(index, fault);
        }
        result
    }

    /// Replaces a damaged index by a new one. Sessions that have mailboxes of the old one open lose them.
    fn give_up(self: &Arc<Self>, index: &Index, fault: &Fault) {
        let mut current = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(&**current, index) {
            return;
        }
        tracing::warn!(account = %self.path.display(), error = %fault, "the index is given up and built anew");
        if let Err(error) = index.discard() {
            tracing::error!(%error, "the damaged index can't be put aside");
        }
        match Index::open(Arc::clone(&self.root), &self.path) {
            Ok(fresh) => {
                *current = Arc::new(fresh);
                self.watcher.watch_index(self);
                *lock(&self.data_version) = 0;
                self.pending.clear();
                for state in lock(&self.live).drain().map(|(_, state)| state) {
                    self.watcher.forget(self, state.id);
                    state.end(Fate::Recreated);
                }
            }
            Err(error) => tracing::error!(%error, "no new index can be made"),
        }
    }

    /// The live state of a mailbox, made if nobody has it open. On a thread that may block.
    fn state(self: &Arc<Self>, index: &Arc<Index>, row: &MailboxRow) -> Done<Arc<MailboxState>> {
        let state = {
            let mut live = lock(&self.live);
            let known = live.get(&row.id).filter(|state| Arc::ptr_eq(&state.index, index));
            match known {
                Some(state) => Arc::clone(state),
                None => {
                    let state = Arc::new(MailboxState::new(row, Arc::clone(index), Arc::clone(&self.cache)));
                    live.insert(row.id, Arc::clone(&state));
                    state
                }
            }
        };
        state.touch();
        if !state.watched.load(Ordering::Acquire) {
            self.watcher.watch_mailbox(self, &state);
        }
        self.read(index, |db| state.refresh(db))?;
        Ok(state)
    }

    /// Has the live states follow the index: those of these mailboxes, or all.
    fn refresh_live(&self, db: &Connection, only: Option<&BTreeSet<i64>>) {
        let states: Vec<_> = {
            let live = lock(&self.live);
            match only {
                Some(ids) => ids.iter().filter_map(|id| live.get(id).cloned()).collect(),
                None => live.values().cloned().collect(),
            }
        };
        for state in states {
            if let Err(error) = state.refresh(db) {
                tracing::warn!(%error, "a mailbox's state could not follow the index");
            }
        }
    }

    /// Writes what was learned, some time.
    fn write_pending(self: &Arc<Self>) {
        let (job, _) = task(Durability::Relaxed, |txn| {
            let store = Arc::clone(txn.store);
            store.pending.write(txn)
        });
        let index = self.index();
        if index.enqueue(job) {
            let store = Arc::clone(self);
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || drive(&store, &index))),
                Err(_) => drive(&store, &index),
            }
        }
    }
}

impl fmt::Debug for MaildirStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaildirStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Runs work that blocks on a thread for it, to its end.
async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Done<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Error::unavailable("the store is shutting down, or its work panicked")),
    }
}

/// Locks; a thread that panicked while it held the lock leaves data that is whole all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that nobody can guess and hardly any two calls share.
fn random_number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Makes the root alone.
fn make_root(path: &Path) -> Done<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        // What is no folder fails when it is opened.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => Ok(made?),
    }
}

fn system_host() -> String {
    let host =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    host.map_or_else(|_| "localhost".to_owned(), |host| host.trim().to_owned())
}
