//! An open mailbox in memory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::body::MemoryMessage;
use super::hook::{Call, Hooks};
use super::shelf::{Entry, Shelf, State};
use super::tree::remove_all;
use crate::backend::{
    Access, Batch, Changes, ChangesRequest, Error, ExpungeRequest, Expunged, FetchData, FetchRequest, Mailbox, Message,
    Result, Rows, StoreRequest, Stored,
};
use crate::mail::{ModSeq, Uid, UidSet};

/// A row that is at most so many messages away is walked to; beyond, it is looked up.
const NEAR: usize = 8;

/// A handle on a mailbox.
pub(super) struct MemoryMailbox {
    pub(super) shelf: Arc<Shelf>,
    pub(super) access: Access,
    pub(super) hooks: Arc<Hooks>,
}

impl MemoryMailbox {
    fn writable(&self) -> Result<()> {
        if self.access == Access::ReadOnly || self.shelf.look().access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        Ok(())
    }
}

#[async_trait]
impl Mailbox for MemoryMailbox {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        let leave = self.hooks.enter(Call::Fetch).await?;
        let uids = {
            let state = self.shelf.look();
            state.standing()?;
            request.uids.intersection(&state.uids)
        };
        leave.leave().await;
        Ok(Box::new(MemoryRows {
            shelf: Arc::clone(&self.shelf),
            hooks: Arc::clone(&self.hooks),
            uids,
            data: request.data,
            descending: request.descending,
        }))
    }

    async fn message(&self, uid: Uid) -> Result<Box<dyn Message>> {
        let leave = self.hooks.enter(Call::Message).await?;
        let body = {
            let state = self.shelf.look();
            state.standing()?;
            state.entries.get(&uid).ok_or(Error::Expunged)?.body.clone()
        };
        leave.leave().await;
        Ok(Box::new(MemoryMessage { body, hooks: Arc::clone(&self.hooks) }))
    }

    async fn changes(&self, request: ChangesRequest) -> Result<Changes> {
        let leave = self.hooks.enter(Call::Changes).await?;
        let changes = self.shelf.look().changes(&request);
        leave.leave().await;
        Ok(changes)
    }

    async fn changed(&self, since: ModSeq) {
        self.shelf.signal.wait_beyond(since.get()).await;
    }

    async fn store(&self, request: StoreRequest) -> Result<Stored> {
        let leave = self.hooks.enter(Call::Store).await?;
        self.writable()?;
        let stored = self.shelf.change(|state| state.store(&request));
        leave.leave().await;
        stored
    }

    async fn expunge(&self, request: ExpungeRequest) -> Result<Expunged> {
        let leave = self.hooks.enter(Call::Expunge).await?;
        self.writable()?;
        let expunged = remove_all(&self.shelf, &request.uids, request.only_deleted);
        leave.leave().await;
        expunged
    }

    async fn remember(&self, uid: Uid, summary: Bytes) {
        let Ok(leave) = self.hooks.enter(Call::Remember).await else { return };
        self.shelf.look().remember(uid, summary);
        leave.leave().await;
    }
}

/// Rows of a mailbox, read under its lock a batch at a time.
struct MemoryRows {
    shelf: Arc<Shelf>,
    hooks: Arc<Hooks>,
    /// What is still to be told.
    uids: UidSet,
    data: FetchData,
    descending: bool,
}

impl MemoryRows {
    /// Adds rows until the batch is full; returns whether there are more.
    fn fill(&mut self, state: &State, batch: &mut Batch) -> bool {
        let (entries, data) = (&state.entries, self.data);
        let (told, more) = if self.descending {
            let seek = |_: Uid, high: Uid| entries.range(..=high).rev();
            walk(self.uids.ranges().rev(), seek, |uid, low, high| (uid > high, uid < low), data, batch)
        } else {
            let seek = |low: Uid, _: Uid| entries.range(low..);
            walk(self.uids.ranges(), seek, |uid, low, high| (uid < low, uid > high), data, batch)
        };
        match told {
            _ if !more => self.uids = UidSet::new(),
            Some(told) if self.descending => self.uids.remove_range(told, Uid::MAX),
            Some(told) => self.uids.remove_range(Uid::MIN, told),
            None => {}
        }
        more
    }
}

/// Adds the rows of these runs. `place` says whether a UID stands before a run, or behind it. Returns the last message
/// that was added, and whether there are more.
fn walk<'a, I: Iterator<Item = (&'a Uid, &'a Entry)>>(
    mut runs: impl Iterator<Item = (Uid, Uid)>,
    seek: impl Fn(Uid, Uid) -> I,
    place: impl Fn(Uid, Uid, Uid) -> (bool, bool),
    data: FetchData,
    batch: &mut Batch,
) -> (Option<Uid>, bool) {
    let mut told = None;
    let Some((mut low, mut high)) = runs.next() else { return (told, false) };
    let mut entries = seek(low, high);
    let mut next = entries.next();
    let mut steps = 0;
    while let Some((uid, entry)) = next {
        let (before, behind) = place(*uid, low, high);
        if behind {
            let Some(run) = runs.next() else { return (told, false) };
            ((low, high), steps) = (run, 0);
            continue;
        }
        if before {
            steps += 1;
            if steps == NEAR {
                entries = seek(low, high);
            }
            next = entries.next();
            continue;
        }
        if batch.is_full() {
            return (told, true);
        }
        let row = entry.row(*uid, data);
        let content = row.content.as_ref().map_or(0, Bytes::len);
        if content > batch.byte_room() && !batch.is_empty() {
            return (told, true);
        }
        batch.push(row);
        told = Some(*uid);
        next = entries.next();
    }
    (told, false)
}

#[async_trait]
impl Rows for MemoryRows {
    async fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        let leave = self.hooks.enter(Call::Rows).await?;
        let more = {
            let shelf = Arc::clone(&self.shelf);
            let state = shelf.look();
            state.standing()?;
            self.fill(&state, batch)
        };
        leave.leave().await;
        Ok(more)
    }
}
