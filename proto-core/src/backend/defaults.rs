//! What the traits' default methods do, by means of the required ones.

use bytes::Bytes;

use super::account::{Copied, CopyRequest, Opened, Status, StatusItems};
use super::append::{Append, AppendMessage, CommitOptions};
use super::error::{Error, Result};
use super::mailbox::{ExpungeRequest, FinishRequest, Finished, Mailbox, StoreOp, StoreRequest};
use super::rows::{Batch, FetchData, FetchRequest};
use crate::mail::{SystemFlags, UidSet};

/// Rows that are read at a time.
const ROWS: usize = 256;
/// Octets that are read at a time.
const CHUNK: usize = 64 * 1024;

pub(super) async fn status(opened: Opened, items: StatusItems) -> Result<Status> {
    let snapshot = opened.snapshot;
    let mut status = Status::new(snapshot.uid_validity, snapshot.uid_next, snapshot.modseq);
    status.messages = u32::try_from(snapshot.uids.len()).unwrap_or(u32::MAX);
    status.recent = u32::try_from(opened.recent.len()).unwrap_or(u32::MAX);
    if !(items.unseen || items.deleted || items.size) {
        return Ok(status);
    }
    let data = FetchData { flags: items.unseen || items.deleted, size: items.size, ..FetchData::default() };
    let mut rows = opened.mailbox.fetch(FetchRequest::new(snapshot.uids, data)).await?;
    let mut batch = Batch::new(ROWS, CHUNK);
    loop {
        let more = rows.next(&mut batch).await?;
        for row in batch.drain() {
            status.unseen += u32::from(!row.flags.system.contains(SystemFlags::SEEN));
            status.deleted += u32::from(row.flags.system.contains(SystemFlags::DELETED));
            status.size = status.size.saturating_add(row.size.unwrap_or(0));
        }
        if !more {
            return Ok(status);
        }
    }
}

pub(super) async fn finish<M: Mailbox + ?Sized>(mailbox: &M, request: FinishRequest) -> Result<Finished> {
    let mut finished = Finished::default();
    for (uids, only_deleted) in [(request.delete, false), (request.marked, true)] {
        if !uids.is_empty() {
            let expunged = mailbox.expunge(ExpungeRequest { uids, only_deleted }).await?;
            finished.removed.union_with(&expunged.uids);
        }
    }
    let mut read = request.read;
    read.difference_with(&finished.removed);
    if !read.is_empty() {
        // A store without flags is no reason to say that messages could not be removed.
        let _ = mailbox.store(StoreRequest::new(read, StoreOp::Add, SystemFlags::SEEN.into())).await;
    }
    Ok(finished)
}

/// Copies messages by reading them from their mailbox and writing them to an [`Append`]: the default of
/// [`Account::copy`](super::Account::copy), for backends that override it for mailboxes of their own.
///
/// # Errors
///
/// [`Error::Expunged`] when none of the messages is left; else as the store that failed said.
pub async fn copy_by_append(mut append: Box<dyn Append>, request: CopyRequest) -> Result<Copied> {
    let data = FetchData { flags: true, internal_date: true, ..FetchData::default() };
    let mut rows = request.from.fetch(FetchRequest::new(request.uids, data)).await?;
    let mut batch = Batch::new(ROWS, CHUNK);
    let mut sources = Vec::new();
    loop {
        let more = rows.next(&mut batch).await?;
        for row in batch.drain() {
            let mut message = match request.from.message(row.uid).await {
                Ok(message) => message,
                Err(Error::Expunged) => continue,
                Err(error) => return Err(error),
            };
            let size = message.len();
            append
                .begin(AppendMessage { binary: true, ..AppendMessage::new(size, row.flags, row.internal_date) })
                .await?;
            let mut at = 0;
            while at < size {
                let chunk: Bytes = message.read(at, CHUNK).await?;
                if chunk.is_empty() {
                    return Err(Error::corrupt("a message is shorter than its length"));
                }
                at += chunk.len() as u64;
                append.write(chunk).await?;
            }
            sources.push(row.uid);
        }
        if !more {
            break;
        }
    }
    if sources.is_empty() {
        return Err(Error::Expunged);
    }
    let appended = append.commit(CommitOptions::default()).await?;
    Ok(Copied::new(appended.uid_validity, sources.into_iter().zip(appended.uids).collect()))
}

/// Removes what was copied from where it was: the second half of the default of
/// [`Account::move_to`](super::Account::move_to).
///
/// # Errors
///
/// As [`Mailbox::expunge`].
pub async fn expunge_moved(from: &dyn Mailbox, copied: &Copied) -> Result<()> {
    let uids: UidSet = copied.pairs.iter().map(|(old, _)| *old).collect();
    from.expunge(ExpungeRequest { uids, only_deleted: false }).await.map(|_| ())
}
