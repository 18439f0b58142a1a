//! An open mailbox in memory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::body::MemoryMessage;
use super::hook::{Call, Hooks};
use super::search::search;
use super::shelf::{Shelf, State};
use super::table::{Entry, Table};
use super::tree::remove_all;
use crate::backend::{
    Access, Batch, Changes, ChangesRequest, Error, ExpungeRequest, Expunged, FetchData, FetchRequest, FinishRequest,
    Finished, Mailbox, Message, Result, Rows, SearchRequest, StoreRequest, Stored,
};
use crate::mail::{ModSeq, Uid, UidSet};

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
            state.entries.get(uid).ok_or(Error::Expunged)?.rest.body.clone()
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

    async fn search(&self, request: &SearchRequest) -> Result<Option<UidSet>> {
        let leave = self.hooks.enter(Call::Search).await?;
        let found = {
            let state = self.shelf.look();
            state.standing()?;
            search(&state.entries, &state.uids, request)
        };
        leave.leave().await;
        Ok(found)
    }

    async fn finish(&self, request: FinishRequest) -> Result<Finished> {
        let leave = self.hooks.enter(Call::Finish).await?;
        self.writable()?;
        let finished = self.shelf.change(|state| state.finish(&request));
        leave.leave().await;
        finished
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
        let (told, more) =
            if self.descending { self.fill_down(&state.entries, batch) } else { self.fill_up(&state.entries, batch) };
        match told {
            _ if !more => self.uids = UidSet::new(),
            Some(told) if self.descending => self.uids.remove_range(told, Uid::MAX),
            Some(told) => self.uids.remove_range(Uid::MIN, told),
            None => {}
        }
        more
    }

    /// Returns the last message that was added, and whether there are more.
    fn fill_up(&self, table: &Table, batch: &mut Batch) -> (Option<Uid>, bool) {
        let (mut told, mut near) = (None, 0);
        for (low, high) in self.uids.ranges() {
            let places = table.places(low, high, near);
            near = places.end;
            for entry in table.walk(places) {
                if !take(entry, self.data, batch) {
                    return (told, true);
                }
                told = Some(entry.uid);
            }
        }
        (told, false)
    }

    fn fill_down(&self, table: &Table, batch: &mut Batch) -> (Option<Uid>, bool) {
        let (mut told, mut near) = (None, usize::MAX);
        for (low, high) in self.uids.ranges().rev() {
            let places = table.places(low, high, near);
            near = places.start;
            for entry in table.walk(places).rev() {
                if !take(entry, self.data, batch) {
                    return (told, true);
                }
                told = Some(entry.uid);
            }
        }
        (told, false)
    }
}

/// Adds a row to a batch, if there is room.
#[inline]
fn take(entry: Entry<'_>, data: FetchData, batch: &mut Batch) -> bool {
    if batch.is_full() {
        return false;
    }
    let row = entry.row(data);
    if row.content.as_ref().is_some_and(|content| content.len() > batch.byte_room()) && !batch.is_empty() {
        return false;
    }
    batch.push(row);
    true
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
