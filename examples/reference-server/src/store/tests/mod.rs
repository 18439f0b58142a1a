//! Tests of the store through the backend's traits, on real directories.

mod basics;
mod cached;
mod conformance;
mod damage;
mod interop;
mod processes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pillarbox_proto_core::backend::*;
use pillarbox_proto_core::mail::*;
use tempfile::TempDir;

use super::{MaildirOptions, MaildirStore, MaildirStores};

/// What would be waited for is there long before; a test that hangs should end all the same.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// A user's Maildir, and a server process that has it open.
pub(super) struct Home {
    pub(super) dir: TempDir,
    pub(super) stores: MaildirStores,
    pub(super) store: Arc<MaildirStore>,
    pub(super) account: Arc<dyn Account>,
}

impl Home {
    pub(super) async fn new() -> Self {
        Self::with(MaildirOptions::default()).await
    }

    pub(super) async fn with(options: MaildirOptions) -> Self {
        Self::at(tempfile::tempdir().unwrap(), options).await
    }

    pub(super) async fn at(dir: TempDir, options: MaildirOptions) -> Self {
        let stores = MaildirStores::new(options).unwrap();
        let store = stores.open(dir.path().join("Maildir")).await.unwrap();
        let account = store.account();
        Self { dir, stores, store, account }
    }

    /// The process ends and another one begins.
    pub(super) async fn restart(self) -> Self {
        Self::at(self.close().await, MaildirOptions::default()).await
    }

    /// The process ends; no file is open any more.
    pub(super) async fn close(self) -> TempDir {
        let Self { dir, stores, store, account } = self;
        let open = Arc::downgrade(&store);
        drop((account, store, stores));
        // With its last connection the index's journal goes away.
        let journal = dir.path().join("Maildir/pillarbox/index.sqlite-wal");
        until("the store ends", || open.strong_count() == 0 && !journal.exists()).await;
        dir
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("Maildir").join(below)
    }

    pub(super) async fn select(&self, mailbox: &str) -> Opened {
        self.account.open(OpenRequest::select(name(mailbox))).await.unwrap()
    }

    pub(super) async fn append(&self, mailbox: &str, text: &str) -> Appended {
        append(&self.account, mailbox, text, Flags::NONE, None).await.unwrap()
    }
}

pub(super) fn name(text: &str) -> MailboxName {
    MailboxName::new(text).unwrap()
}

pub(super) fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

pub(super) fn uids(numbers: &[u32]) -> UidSet {
    numbers.iter().map(|number| uid(*number)).collect()
}

pub(super) fn keywords(names: &[&str]) -> Keywords {
    names.iter().map(|name| Keyword::new(name).unwrap()).collect()
}

pub(super) async fn append(
    account: &Arc<dyn Account>,
    mailbox: &str,
    text: &str,
    flags: Flags,
    date: Option<DateTime>,
) -> Result<Appended> {
    let mut append = account.append(AppendRequest::new(name(mailbox))).await?;
    append.begin(AppendMessage::new(text.len() as u64, flags, date)).await?;
    for chunk in text.as_bytes().chunks(1000) {
        append.write(Bytes::copy_from_slice(chunk)).await?;
    }
    append.commit(CommitOptions::default()).await
}

/// All rows, whatever is known of them.
pub(super) async fn rows(mailbox: &Arc<dyn Mailbox>, inline: usize) -> Vec<Row> {
    let mut data = FetchData::FLAGS;
    (data.internal_date, data.size, data.unique_id, data.summary, data.inline) = (true, true, true, true, inline);
    fetch(mailbox, FetchRequest::new(UidSet::full(), data)).await
}

pub(super) async fn fetch(mailbox: &Arc<dyn Mailbox>, request: FetchRequest) -> Vec<Row> {
    let mut rows = mailbox.fetch(request).await.unwrap();
    let mut batch = Batch::new(10, 64 * 1024);
    let mut all = Vec::new();
    loop {
        let more = rows.next(&mut batch).await.unwrap();
        all.extend(batch.drain());
        if !more {
            return all;
        }
    }
}

/// A message read in pieces of an odd size.
pub(super) async fn read(mailbox: &Arc<dyn Mailbox>, number: u32) -> Vec<u8> {
    let mut message = mailbox.message(uid(number)).await.unwrap();
    let mut text = Vec::new();
    while (text.len() as u64) < message.len() {
        let piece = message.read(text.len() as u64, 999).await.unwrap();
        assert!(!piece.is_empty() && piece.len() <= 999);
        text.extend_from_slice(&piece);
    }
    text
}

/// The names in a directory, sorted.
pub(super) fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until something is so.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "it does not come to that: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until a directory is empty: threads may have something to remove still.
pub(super) async fn emptied(path: &Path) {
    until(&format!("{} is empty", path.display()), || names(path).is_empty()).await;
}

/// Waits until a session is told of something, and asks what.
pub(super) async fn next_changes(mailbox: &Arc<dyn Mailbox>, since: ModSeq) -> Changes {
    tokio::time::timeout(PATIENCE, mailbox.changed(since)).await.expect("nothing was told");
    mailbox.changes(ChangesRequest::new(since, 1000)).await.unwrap()
}

/// Asks for changes until a condition holds; returns the last answer.
pub(super) async fn changes_until(
    mailbox: &Arc<dyn Mailbox>,
    since: ModSeq,
    condition: impl Fn(&Changes) -> bool,
) -> Changes {
    let end = Instant::now() + PATIENCE;
    loop {
        let changes = mailbox.changes(ChangesRequest::new(since, 1000)).await.unwrap();
        if condition(&changes) {
            return changes;
        }
        assert!(Instant::now() < end, "it did not come to that: {changes:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
