//! Following what other programs and other processes do.
//!
//! Where the kernel tells of changes (inotify), a mailbox that is open is watched: names of files that came, went or
//! were renamed lead to a look at these files alone. Besides, every second each account is looked after: what the
//! kernel could not watch is compared by the times of its directories, another process's commits are noticed, what was
//! learned is written, and what nobody has used for a while is let go.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pillarbox_proto_core::backend::Error;

use super::commit::Durability;
use super::fault::{Done, Fault};
use super::folder::{self, Place};
use super::state::MailboxState;
use super::table;
use super::{MaildirStore, folders, lock, reserve, scan};

#[cfg(target_os = "linux")]
#[path = "watcher/inotify.rs"]
mod kernel;
#[cfg(not(target_os = "linux"))]
#[path = "watcher/polling.rs"]
mod kernel;

/// How often accounts are looked after.
const TICK: Duration = Duration::from_secs(1);
/// Changes that come within this are looked at together.
const GATHER: Duration = Duration::from_millis(5);
/// A mailbox or account that nobody uses is kept for so long, in nanoseconds.
const LINGER: i64 = 5_000_000_000;
/// More names at once than this, and both directories are read instead.
const MANY: usize = 20_000;

/// What was heard of a mailbox.
#[derive(Default)]
pub(super) struct Heard {
    names: BTreeSet<String>,
    /// Names do not tell all: events were lost, or the directory itself changed.
    all: bool,
}

/// Whom an event is for: an account, and a mailbox of it, or 0 for its index.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) store: Weak<MaildirStore>,
    pub(super) mailbox: i64,
}

impl Target {
    /// Whether this process itself did what the kernel tells of a file.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only a kernel that tells can repeat"))]
    pub(super) fn expects(&self, file: &str) -> bool {
        let Some(store) = self.store.upgrade() else { return false };
        let state = lock(&store.live).get(&self.mailbox).cloned();
        state.is_some_and(|state| state.is_announced(file))
    }

    /// The kernel tells no more of it: a directory was removed. From now on it is polled.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only a kernel that told can cease to tell"))]
    pub(super) fn unwatch(&self) {
        if let Some(store) = self.store.upgrade()
            && let Some(state) = lock(&store.live).get(&self.mailbox)
        {
            state.watched.store(false, Ordering::Release);
        }
    }
}

#[derive(Default)]
struct News {
    heard: HashMap<(usize, i64), (Target, Heard)>,
    stopped: bool,
}

type Accounts = Arc<Mutex<HashMap<PathBuf, Arc<MaildirStore>>>>;

/// Follows all accounts of a process.
pub(super) struct Watcher {
    kernel: Option<kernel::Kernel>,
    news: Mutex<News>,
    wake: Condvar,
    runtime: Option<tokio::runtime::Handle>,
    stopped: AtomicBool,
}

impl Watcher {
    /// Starts the threads.
    pub(super) fn start(accounts: Accounts) -> std::io::Result<Arc<Self>> {
        let kernel = kernel::Kernel::new()
            .inspect_err(|error| tracing::warn!(%error, "the kernel can't tell of changes: directories are polled"))
            .ok();
        let watcher = Arc::new(Self {
            kernel,
            news: Mutex::default(),
            wake: Condvar::new(),
            runtime: tokio::runtime::Handle::try_current().ok(),
            stopped: AtomicBool::new(false),
        });
        if let Some(kernel) = &watcher.kernel {
            kernel.listen(&watcher)?;
        }
        let worker = Arc::clone(&watcher);
        std::thread::Builder::new().name("maildir-watch".to_owned()).spawn(move || worker.work(&accounts))?;
        Ok(watcher)
    }

    /// Ends the threads.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        lock(&self.news).stopped = true;
        self.wake.notify_all();
        if let Some(kernel) = &self.kernel {
            kernel.wake();
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Has an account's index watched for commits of other processes.
    pub(super) fn watch_index(&self, store: &Arc<MaildirStore>) {
        if let Some(kernel) = &self.kernel {
            let target = Target { store: Arc::downgrade(store), mailbox: 0 };
            kernel.watch(&[store.path.join(super::index::COMMITS)], &target);
        }
    }

    /// Has a mailbox watched. Where that is not possible it is polled.
    pub(super) fn watch_mailbox(&self, store: &Arc<MaildirStore>, state: &MailboxState) {
        let Some(kernel) = &self.kernel else { return };
        let folder = Arc::clone(&state.view().folder);
        let places = [Place::New, Place::Cur].map(|place| store.path.join(folder::path(&folder, place)));
        let target = Target { store: Arc::downgrade(store), mailbox: state.id };
        if kernel.watch(&places, &target) {
            state.watched.store(true, Ordering::Release);
        }
    }

    /// Ends watching a mailbox.
    pub(super) fn forget(&self, store: &MaildirStore, mailbox: i64) {
        if let Some(kernel) = &self.kernel {
            kernel.forget(store, mailbox);
        }
    }

    /// A mailbox's folder has another name now; its directories are still watched.
    pub(super) fn follow(&self, store: &Arc<MaildirStore>, mailbox: i64) {
        self.hear(&Target { store: Arc::downgrade(store), mailbox }, None);
    }

    /// Takes news: of a file of this name, or of anything.
    pub(super) fn hear(&self, target: &Target, name: Option<String>) {
        let mut news = lock(&self.news);
        let key = (target.store.as_ptr() as usize, target.mailbox);
        let (_, heard) = news.heard.entry(key).or_insert_with(|| (target.clone(), Heard::default()));
        match name {
            Some(name) if heard.names.len() < MANY => drop(heard.names.insert(name)),
            _ => heard.all = true,
        }
        drop(news);
        self.wake.notify_one();
    }

    fn work(self: &Arc<Self>, accounts: &Accounts) {
        let mut tick = Instant::now() + TICK;
        loop {
            let mut news = lock(&self.news);
            while news.heard.is_empty() && !news.stopped {
                let Some(left) = tick.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                    break;
                };
                news = self.wake.wait_timeout(news, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if news.stopped {
                return;
            }
            if !news.heard.is_empty() {
                drop(news);
                // What is being done in one go is heard of in pieces.
                std::thread::sleep(GATHER);
                news = lock(&self.news);
            }
            let heard = std::mem::take(&mut news.heard);
            drop(news);
            for (target, heard) in heard.into_values() {
                self.dispatch(target, heard);
            }
            if Instant::now() >= tick {
                tick = Instant::now() + TICK;
                look_after(accounts);
            }
        }
    }

    fn dispatch(&self, target: Target, heard: Heard) {
        let work = move || {
            let Some(store) = target.store.upgrade() else { return };
            let result =
                if target.mailbox == 0 { notice_commits(&store) } else { attend(&store, target.mailbox, heard) };
            if let Err(fault) = result {
                tracing::debug!(%fault, "a mailbox could not be looked at");
            }
        };
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn_blocking(work)),
            None => work(),
        }
    }
}

/// Another process may have committed: the live states follow.
fn notice_commits(store: &Arc<MaildirStore>) -> Done<()> {
    let index = store.index();
    let elsewhere = {
        let mut seen = lock(&store.data_version);
        index.changed_elsewhere(&mut seen)?
    };
    if elsewhere {
        store.read(&index, |db| {
            store.refresh_live(db, None);
            Ok(())
        })
    } else {
        Ok(())
    }
}

/// Looks at what was heard of a mailbox.
fn attend(store: &Arc<MaildirStore>, mailbox: i64, heard: Heard) -> Done<()> {
    let Some(state) = lock(&store.live).get(&mailbox).cloned() else { return Ok(()) };
    let mut names: Vec<String> = heard.names.into_iter().collect();
    if !heard.all {
        names.retain(|name| is_news(store, &state, name).unwrap_or(true));
        if names.is_empty() {
            return Ok(());
        }
    }
    let result = store.change_blocking(Durability::Lasting, move |txn| {
        let mut row = txn.mailbox_as_is(mailbox)?;
        if heard.all || !scan::named_files(txn, &mut row, &names)? {
            scan::everything(txn, row)?;
        }
        Ok(())
    });
    match result {
        Err(Fault::Answer(Error::MailboxGone)) => store.change_blocking(Durability::Lasting, folders::reconcile),
        Err(fault) if fault.is_missing() => store.change_blocking(Durability::Lasting, folders::reconcile),
        other => other,
    }
}

/// Whether a file name tells anything that the index does not know; this server's own changes do not.
fn is_news(store: &Arc<MaildirStore>, state: &MailboxState, name: &str) -> Done<bool> {
    let base = super::file_name::split(name).0;
    let known = store.read(&state.index, |db| table::message_of_base(db, state.id, base))?;
    let folder = state.folder()?;
    let size = |place, file: &str| {
        let metadata = store.root().symlink_metadata(format!("{}/{file}", folder::path(&folder, place)));
        metadata.ok().filter(cap_std::fs::Metadata::is_file).map(|metadata| metadata.len())
    };
    let there = |file: &str| [Place::Cur, Place::New].into_iter().find(|place| size(*place, file).is_some());
    Ok(match known {
        None => there(name).is_some(),
        Some(known) => {
            let place = Place::of(known.fresh);
            let file = known.file();
            // In its place, as it was; whatever else was heard is older.
            size(place, &file) != Some(known.bytes) || (file != name && there(name).is_some())
        }
    })
}

/// Once a second.
fn look_after(accounts: &Accounts) {
    let stores: Vec<_> = lock(accounts).values().cloned().collect();
    for store in stores {
        if let Err(fault) = tend(&store) {
            tracing::debug!(%fault, "an account could not be looked after");
        }
    }
    lock(accounts).retain(|_, store| {
        let used = Arc::strong_count(store) > 1 || !lock(&store.live).is_empty() || !store.pending.is_empty();
        used || store.index().is_busy()
    });
}

fn tend(store: &Arc<MaildirStore>) -> Done<()> {
    if store.pending.is_empty() {
        store.pending.retire();
    } else {
        store.write_pending();
    }
    if store.lacks_reserve.swap(false, Ordering::AcqRel) {
        reserve::keep(store);
    }
    notice_commits(store)?;
    let now = scan::now();
    let states: Vec<_> = lock(&store.live).values().cloned().collect();
    if states.is_empty() {
        store.index().close_idle();
    }
    for state in states {
        // One reference is the map's, one this list's.
        if Arc::strong_count(&state) <= 2 && state.used.load(Ordering::Relaxed) < now - LINGER {
            let mut live = lock(&store.live);
            if Arc::strong_count(&state) <= 2 {
                live.remove(&state.id);
                store.watcher.forget(store, state.id);
            }
            continue;
        }
        poll(store, &state, now)?;
    }
    Ok(())
}

/// Compares a mailbox's directories with the index by their times.
fn poll(store: &Arc<MaildirStore>, state: &Arc<MailboxState>, now: i64) -> Done<()> {
    let (Ok(folder), settled) = (state.folder(), state.view().settled) else { return Ok(()) };
    let watched = state.watched.load(Ordering::Acquire);
    if watched && settled {
        return Ok(());
    }
    let Ok(times) = folder::times(store.root(), &folder) else {
        return store.change_blocking(Durability::Lasting, folders::reconcile);
    };
    let Some(row) = store.read(&state.index, |db| table::mailbox(db, state.id))? else { return Ok(()) };
    let id = state.id;
    let same = times == (row.new_time, row.cur_time);
    if same && (row.settled || !scan::is_settled(times, now)) {
        return Ok(());
    }
    if same && watched && state.was_scanned() {
        // The kernel told of everything since the last look, and the clock has moved on: nothing can be hidden.
        return store.change_blocking(Durability::Relaxed, move |txn| {
            if let Some(mut row) = table::mailbox(txn.db, id)?
                && times == (row.new_time, row.cur_time)
            {
                row.settled = true;
                row.save(txn.db)?;
                txn.touch(id);
            }
            Ok(())
        });
    }
    let done = store.change_blocking(Durability::Lasting, move |txn| {
        let row = txn.mailbox(id)?;
        if !row.settled && same {
            scan::everything(txn, row)?;
        }
        Ok(())
    });
    match done {
        Err(Fault::Answer(Error::MailboxGone)) => store.change_blocking(Durability::Lasting, folders::reconcile),
        other => other,
    }
}
