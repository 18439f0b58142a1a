//! Changes as Linux tells of them.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};

use super::super::{MaildirStore, lock};
use super::{Target, Watcher};

/// Room for events of one read.
const ROOM: usize = 16 * 1024;

/// The kernel's side of a watcher.
pub(in super::super) struct Kernel {
    watches: Mutex<Watches>,
    targets: Mutex<HashMap<WatchDescriptor, Target>>,
    inotify: Mutex<Option<Inotify>>,
}

impl Kernel {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init()?;
        Ok(Self {
            watches: Mutex::new(inotify.watches()),
            targets: Mutex::default(),
            inotify: Mutex::new(Some(inotify)),
        })
    }

    /// Starts the thread that listens.
    pub(super) fn listen(&self, watcher: &Arc<Watcher>) -> io::Result<()> {
        let Some(inotify) = lock(&self.inotify).take() else { return Ok(()) };
        let watcher = Arc::downgrade(watcher);
        std::thread::Builder::new().name("maildir-inotify".to_owned()).spawn(move || listen(inotify, &watcher))?;
        Ok(())
    }

    /// Has the listening thread look whether it is still needed.
    pub(super) fn wake(&self) {
        let mut watches = lock(&self.watches);
        // The end of a watch is an event.
        if let Ok(watch) = watches.add("/", WatchMask::DELETE_SELF) {
            let _ = watches.remove(watch);
        }
    }

    /// Watches directories for a target; false if not all of them can be watched.
    pub(super) fn watch(&self, paths: &[PathBuf], target: &Target) -> bool {
        // A mailbox's names come and go; beside the index a file is written to after each commit.
        let mask = if target.mailbox == 0 {
            WatchMask::MODIFY
        } else {
            WatchMask::CREATE
                | WatchMask::CLOSE_WRITE
                | WatchMask::MOVED_FROM
                | WatchMask::MOVED_TO
                | WatchMask::DELETE
                | WatchMask::DELETE_SELF
                | WatchMask::MOVE_SELF
        };
        let mask = mask | WatchMask::DONT_FOLLOW | WatchMask::EXCL_UNLINK;
        let mut targets = lock(&self.targets);
        let mut watches = lock(&self.watches);
        for path in paths {
            match watches.add(path, mask) {
                Ok(watch) => drop(targets.insert(watch, target.clone())),
                Err(error) => {
                    tracing::warn!(%error, "a directory can't be watched and is polled instead");
                    return false;
                }
            }
        }
        true
    }

    /// Ends the watches of a mailbox.
    pub(super) fn forget(&self, store: &MaildirStore, mailbox: i64) {
        let mut targets = lock(&self.targets);
        let ours = |target: &Target| target.mailbox == mailbox && std::ptr::eq(target.store.as_ptr(), store);
        let gone: Vec<_> = targets.extract_if(|_, target| ours(target)).map(|(watch, _)| watch).collect();
        let mut watches = lock(&self.watches);
        for watch in gone {
            // It may have ended with its directory.
            let _ = watches.remove(watch);
        }
    }
}

fn listen(mut inotify: Inotify, watcher: &Weak<Watcher>) {
    let mut room = vec![0; ROOM];
    loop {
        let events = match inotify.read_events_blocking(&mut room) {
            Ok(events) => events,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                tracing::error!(%error, "the kernel tells of no more changes");
                return;
            }
        };
        let Some(watcher) = watcher.upgrade() else { return };
        if watcher.is_stopped() {
            return;
        }
        let Some(kernel) = &watcher.kernel else { return };
        for event in events {
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                let all: Vec<_> = lock(&kernel.targets).values().cloned().collect();
                for target in all {
                    watcher.hear(&target, None);
                }
                continue;
            }
            let target = lock(&kernel.targets).get(&event.wd).cloned();
            let Some(target) = target else { continue };
            if event.mask.contains(EventMask::IGNORED) {
                lock(&kernel.targets).remove(&event.wd);
                target.unwatch();
            }
            let name = event.name.and_then(|name| name.to_str());
            if target.mailbox == 0 {
                watcher.hear(&target, Some(String::new()));
            } else if !name.is_some_and(|name| target.expects(name)) {
                watcher.hear(&target, name.map(str::to_owned));
            }
        }
    }
}
