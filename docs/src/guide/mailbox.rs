//! An open notebook.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_proto_core::backend::{
    Access, Changes, ChangesRequest, Error, ExpungeRequest, Expunged, FetchData, FetchRequest, FinishRequest, Finished,
    IterRows, Mailbox, Message, Query, Result, Row, Rows, SearchRequest, StoreOp, StoreRequest, Stored,
};
use pillarbox_proto_core::mail::{ModSeq, SystemFlags, Uid, UidSet};

use super::notebook::{Note, Notebook, State, flags_of};

const DELETED: SystemFlags = SystemFlags::DELETED;

/// A session's handle: it holds the notebook itself, not its name.
pub(super) struct OpenNotebook {
    pub(super) notebook: Arc<Notebook>,
    pub(super) access: Access,
}

impl OpenNotebook {
    fn writable(&self) -> Result<()> {
        if self.access == Access::ReadWrite { Ok(()) } else { Err(Error::ReadOnly) }
    }
}

#[async_trait]
impl Mailbox for OpenNotebook {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        let state = self.notebook.read()?;
        let uids = request.uids.intersection(&state.uids());
        let row = |uid: Uid| state.notes.get(&uid).map(|note| row(uid, note, request.data));
        let mut rows: Vec<Row> = uids.iter().filter_map(row).collect();
        if request.descending {
            rows.reverse();
        }
        Ok(Box::new(IterRows::new(rows)))
    }

    async fn message(&self, uid: Uid) -> Result<Box<dyn Message>> {
        let state = self.notebook.read()?;
        let note = state.notes.get(&uid).ok_or(Error::Expunged)?;
        Ok(Box::new(note.content.clone()))
    }

    async fn changes(&self, request: ChangesRequest) -> Result<Changes> {
        Ok(self.notebook.look().changes(&request))
    }

    async fn changed(&self, since: ModSeq) {
        self.notebook.news.wait_beyond(since.get()).await;
    }

    async fn store(&self, request: StoreRequest) -> Result<Stored> {
        self.writable()?;
        self.notebook.change(|state| Ok(state.store(&request)))
    }

    async fn expunge(&self, request: ExpungeRequest) -> Result<Expunged> {
        self.writable()?;
        self.notebook.change(|state| {
            let mut expunged = Expunged::default();
            for uid in &request.uids.intersection(&state.uids()) {
                let marked = |note: &Note| note.flags.system.contains(SystemFlags::DELETED);
                if request.only_deleted && !state.notes.get(&uid).is_some_and(marked) {
                    continue;
                }
                state.remove(uid);
                expunged.uids.insert(uid);
                expunged.modseq = state.modseq;
            }
            Ok(expunged)
        })
    }

    async fn finish(&self, request: FinishRequest) -> Result<Finished> {
        self.writable()?;
        self.notebook.change(|state| {
            let marked = |uid: &Uid| state.notes.get(uid).is_some_and(|note| note.flags.system.contains(DELETED));
            let mut removed = request.delete.intersection(&state.uids());
            removed.union_with(&request.marked.iter().filter(marked).collect());
            for uid in &request.retrieved.difference(&removed) {
                // The first retrieval counts.
                if let Some(note) = state.notes.get_mut(&uid).filter(|_| request.expiry.is_some()) {
                    note.retrieved.get_or_insert(request.now);
                }
            }
            if let Some(cutoff) = request.cutoff() {
                let expired = |note: &Note| note.retrieved.is_some_and(|retrieved| retrieved <= cutoff);
                removed.extend(request.known.iter().filter(|uid| state.notes.get(uid).is_some_and(expired)));
            }
            for uid in &removed {
                state.remove(uid);
            }
            state.store(&StoreRequest::new(request.read.clone(), StoreOp::Add, SystemFlags::SEEN.into()));
            let mut finished = Finished::default();
            finished.removed = removed;
            Ok(finished)
        })
    }

    async fn search(&self, request: &SearchRequest) -> Result<Option<UidSet>> {
        let state = self.notebook.read()?;
        let within = request.within.intersection(&state.uids());
        Ok(look_up(&state, &request.query, &within))
    }

    async fn remember(&self, uid: Uid, summary: Bytes) {
        if let Some(note) = self.notebook.look().notes.get_mut(&uid) {
            note.summary = Some(summary);
        }
    }
}

/// What a fetch asks for, and no more: each field that is not asked for is work not done.
fn row(uid: Uid, note: &Note, data: FetchData) -> Row {
    let mut row = if data.flags { flags_of(uid, note) } else { Row::new(uid) };
    if data.internal_date {
        row.internal_date = Some(note.date);
    }
    if data.size {
        row.size = Some(note.content.len() as u64);
    }
    if data.unique_id {
        row.unique_id = Some(Arc::clone(&note.unique_id));
    }
    if data.summary {
        row.summary = note.summary.clone();
    }
    if note.content.len() <= data.inline {
        row.content = Some(note.content.clone());
    }
    row
}

/// Answers what it knows an answer to; the query's depth is bounded before it comes here.
fn look_up(state: &State, query: &Query, within: &UidSet) -> Option<UidSet> {
    match query {
        Query::All => Some(within.clone()),
        Query::Uids(uids) => Some(within.intersection(uids)),
        Query::Flags(flags) => {
            let has = |uid: &Uid| state.notes.get(uid).is_some_and(|note| note.flags.system.contains(*flags));
            Some(within.iter().filter(has).collect())
        }
        Query::Not(query) => Some(within.difference(&look_up(state, query, within)?)),
        Query::And(queries) => {
            let mut found = within.clone();
            for query in queries {
                found = look_up(state, query, &found)?;
            }
            Some(found)
        }
        // Texts, dates, whatever comes later: the library searches message by message.
        _ => None,
    }
}
