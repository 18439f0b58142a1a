//! Adding messages to a mailbox in memory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::body::BodyBuilder;
use super::hook::Call;
use super::shelf::{Parcel, Shelf};
use super::store::Store;
use crate::backend::{Access, Append, AppendMessage, Appended, CommitOptions, Error, Result};

/// Messages on their way into a mailbox.
pub(super) struct MemoryAppend {
    store: Arc<Store>,
    shelf: Arc<Shelf>,
    complete: Vec<Parcel>,
    current: Option<(AppendMessage, BodyBuilder)>,
    /// Octets of the complete messages.
    octets: u64,
    /// A message was refused half way, so nothing may be stored any more.
    failed: bool,
}

impl MemoryAppend {
    pub(super) fn new(store: Arc<Store>, shelf: Arc<Shelf>) -> Self {
        Self { store, shelf, complete: Vec::new(), current: None, octets: 0, failed: false }
    }

    fn complete_current(&mut self) {
        if let Some((message, body)) = self.current.take() {
            self.octets += body.len();
            let body = body.finish();
            self.complete.push(self.store.parcel(message.flags, message.internal_date, body));
        }
    }

    fn check_room(&self, octets: u64) -> Result<()> {
        if self.store.append_limit.is_some_and(|limit| octets > limit) {
            return Err(Error::TooBig);
        }
        if !self.shelf.owner.has_room(self.octets.saturating_add(octets)) {
            return Err(Error::OverQuota);
        }
        Ok(())
    }
}

#[async_trait]
impl Append for MemoryAppend {
    async fn begin(&mut self, message: AppendMessage) -> Result<()> {
        let leave = self.store.hooks.enter(Call::Begin).await?;
        self.complete_current();
        self.check_room(message.size)?;
        self.current = Some((message, BodyBuilder::default()));
        leave.leave().await;
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let leave = self.store.hooks.enter(Call::Write).await.inspect_err(|_| self.failed = true)?;
        let Some((_, body)) = &mut self.current else {
            self.failed = true;
            return Err(Error::Cannot("octets came before their message was begun".into()));
        };
        body.push(&chunk);
        let octets = body.len();
        // The size that was claimed binds no one.
        self.check_room(octets).inspect_err(|_| self.failed = true)?;
        leave.leave().await;
        Ok(())
    }

    async fn commit(mut self: Box<Self>, options: CommitOptions) -> Result<Appended> {
        let leave = self.store.hooks.enter(Call::Commit).await?;
        if self.failed {
            return Err(Error::Unavailable(None));
        }
        self.complete_current();
        let parcels = std::mem::take(&mut self.complete);
        let appended = self.shelf.change(|state| {
            if state.standing().is_err() {
                return Err(Error::NoSuchMailbox);
            }
            if state.access == Access::ReadOnly {
                return Err(Error::NoPermission);
            }
            if options.replace.is_some_and(|uid| !state.entries.contains(uid)) {
                return Err(Error::Expunged);
            }
            let uids = state.add(parcels)?;
            if let Some(replaced) = options.replace {
                state.remove(replaced);
            }
            Ok(Appended::new(state.uid_validity, uids, state.modseq))
        });
        leave.leave().await;
        appended
    }
}
