//! Deliveries by number: bulletins, each of which comes once.
//!
//! The number of the last one that a user had is kept elsewhere, in a file or another database, and can't be written in
//! one step with a delivery. So each delivery leaves a note in the index, in the commit that makes it; a run that finds
//! a note of a number that nobody has counted yet passes that bulletin over. Notes go when they are counted.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cap_std::fs::OpenOptions;
use pillarbox_proto_core::backend::{AppendMessage, Error, Result};
use pillarbox_proto_core::mail::{Flags, MailboxName};
use rusqlite::params;

use super::append::{self, Draft};
use super::commit::Durability;
use super::fault::{Done, Fault};
use super::index::{FOLDER, Index};
use super::intent::{Intent, Plan};
use super::lines::convert;
use super::{MaildirStore, blocking, folders};

/// Messages that come in one commit.
const BATCH: usize = 16;
/// Octets that are read at a time.
const PIECE: usize = 48 * 1024;
/// How long another session may deliver before this one goes on without.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of a delivery.
#[derive(Debug)]
pub struct Delivered {
    /// The last number that the user has had now; none if nothing was done.
    pub last: Option<u64>,
    /// How many messages came by this call.
    pub count: u64,
    /// Why it ended before the last message, if it did.
    pub failed: Option<Error>,
}

/// Waits until nobody else delivers to this account, in whatever process. The lock ends when it is dropped, and with
/// the process.
pub(super) async fn lock(store: &Arc<MaildirStore>) -> Result<File> {
    let opener = Arc::clone(store);
    let file = blocking(move || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        Ok(opener.root().open_with(format!("{FOLDER}/bulletins.lock"), &options)?.into_std())
    })
    .await?;
    let give_up = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => return Err(Error::InUse),
            Err(std::fs::TryLockError::Error(error)) => return Err(Fault::from(error).into()),
        }
    }
}

/// Adds messages to INBOX, in order, each with the note that it came. Those that are noted already are passed over.
pub(super) async fn deliver(store: &Arc<MaildirStore>, messages: &[(u64, PathBuf)]) -> Delivered {
    let mut delivered = Delivered { last: None, count: 0, failed: None };
    for batch in messages.chunks(BATCH) {
        let (stop, drafted) = match draft(store, batch.to_vec()).await {
            Ok(drafted) => drafted,
            Err(error) => {
                delivered.failed = Some(error);
                break;
            }
        };
        let (last, count) = (drafted.last, drafted.drafts.len() as u64);
        if count > 0
            && let Err(error) = drafted.commit(store).await
        {
            delivered.failed = Some(error);
            break;
        }
        delivered.last = last.or(delivered.last);
        delivered.count += count;
        if stop.is_some() {
            delivered.failed = stop;
            break;
        }
    }
    delivered
}

/// Forgets notes up to this number, which is counted now.
pub(super) async fn forget(store: &Arc<MaildirStore>, counted: u64) -> Result<()> {
    let counted = i64::try_from(counted).unwrap_or(i64::MAX);
    let index = store.index();
    let reader = Arc::clone(store);
    let looked = Arc::clone(&index);
    let noted: bool = blocking(move || {
        reader.read(&looked, |db| {
            let sql = "SELECT EXISTS (SELECT 1 FROM bulletin WHERE number <= ?1)";
            Ok(db.prepare_cached(sql)?.query_row([counted], |row| row.get(0))?)
        })
    })
    .await?;
    if !noted {
        return Ok(());
    }
    let delete = "DELETE FROM bulletin WHERE number <= ?1";
    store
        .change_in(&index, Durability::Relaxed, move |txn| {
            txn.db.prepare_cached(delete)?.execute([counted])?;
            Ok(())
        })
        .await
}

/// Messages in `tmp/` of INBOX.
struct Drafted {
    index: Arc<Index>,
    mailbox: i64,
    drafts: Vec<(u64, Draft)>,
    /// The last number that is drafted or was noted before.
    last: Option<u64>,
}

/// Writes messages up to the first that can't be read, and tells why that one can't.
async fn draft(store: &Arc<MaildirStore>, messages: Vec<(u64, PathBuf)>) -> Result<(Option<Error>, Drafted)> {
    let store = Arc::clone(store);
    blocking(move || {
        let index = store.index();
        let inbox = folders::resolve(&store, &MailboxName::inbox())?;
        let mut drafted = Drafted { index: Arc::clone(&index), mailbox: inbox.id, drafts: Vec::new(), last: None };
        for (number, path) in messages {
            let noted: bool = store.read(&index, |db| {
                let sql = "SELECT EXISTS (SELECT 1 FROM bulletin WHERE number = ?1)";
                Ok(db.prepare_cached(sql)?.query_row([i64::try_from(number).unwrap_or(i64::MAX)], |row| row.get(0))?)
            })?;
            if !noted {
                match write(&store, &inbox.folder, &path) {
                    Ok(draft) => drafted.drafts.push((number, draft)),
                    Err(fault) => return Ok((Some(fault.into()), drafted)),
                }
            }
            drafted.last = Some(number);
        }
        Ok((None, drafted))
    })
    .await
}

/// Copies a message, with the line ends that messages have.
fn write(store: &Arc<MaildirStore>, folder: &str, path: &std::path::Path) -> Done<Draft> {
    let mut source = File::open(path)?;
    let mut draft = Draft::new(Arc::clone(store), folder, AppendMessage::new(0, Flags::NONE, None));
    let mut piece = vec![0; PIECE];
    let mut last = 0;
    loop {
        let length = match source.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let mut out = Vec::with_capacity(length + length / 32);
        convert(piece.get(..length).unwrap_or_default(), &mut last, &mut out);
        draft.write(&[Bytes::from(out)])?;
    }
    draft.finish()?;
    Ok(draft)
}

impl Drafted {
    /// Adds the messages with their notes, all or none.
    async fn commit(self, store: &Arc<MaildirStore>) -> Result<()> {
        let Self { index, mailbox, mut drafts, .. } = self;
        loop {
            // Declared, so that no message is ever there whose note is not.
            let adds = drafts.iter().map(|(_, draft)| draft.base.clone()).collect();
            let intent = Intent::declare(store, &index, mailbox, Plan { adds, takes: Vec::new() }).await?;
            let done = store.change_in(&index, Durability::Lasting, move |txn| {
                if !intent.fulfil(txn.db)? {
                    return Ok(Some(drafts));
                }
                let mut note = txn.db.prepare_cached("INSERT INTO bulletin (number) VALUES (?1)")?;
                for (number, _) in &drafts {
                    note.execute(params![i64::try_from(*number).unwrap_or(i64::MAX)])?;
                }
                drop(note);
                append::add(txn, mailbox, drafts.into_iter().map(|(_, draft)| draft).collect(), None)?;
                Ok(None)
            });
            match done.await? {
                None => return Ok(()),
                // Another process took the declaration for abandoned.
                Some(again) => drafts = again,
            }
        }
    }
}
