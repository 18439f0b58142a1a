//! Adding notes, as a transaction.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pillarbox_proto_core::backend::{Append, AppendMessage, Appended, CommitOptions, Error, Result};
use pillarbox_proto_core::mail::DateTime;

use super::account::Desk;
use super::notebook::{Note, Notebook};

/// The largest note, in octets.
pub(super) const MAX_NOTE: u64 = 25 << 20;

/// Notes on their way. Dropped, it leaves nothing behind.
pub(super) struct Adding {
    desk: Arc<Desk>,
    notebook: Arc<Notebook>,
    complete: Vec<Note>,
    current: Option<(AppendMessage, BytesMut)>,
}

impl Adding {
    pub(super) fn new(desk: Arc<Desk>, notebook: Arc<Notebook>) -> Self {
        Self { desk, notebook, complete: Vec::new(), current: None }
    }

    fn complete(&mut self) {
        if let Some((message, content)) = self.current.take() {
            let date = message.internal_date.unwrap_or_else(|| DateTime::from(SystemTime::now()));
            self.complete.push(Note::new(content.freeze(), message.flags, date, self.desk.unique_id()));
        }
    }
}

#[async_trait]
impl Append for Adding {
    async fn begin(&mut self, message: AppendMessage) -> Result<()> {
        self.complete();
        if message.size > MAX_NOTE {
            return Err(Error::TooBig);
        }
        // Nothing is reserved: the size is only what the client says.
        self.current = Some((message, BytesMut::new()));
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        if let Some((_, content)) = &mut self.current {
            content.extend_from_slice(&chunk);
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>, options: CommitOptions) -> Result<Appended> {
        self.complete();
        let notes = std::mem::take(&mut self.complete);
        let added = self.notebook.change(|state| {
            if options.replace.is_some_and(|old| !state.notes.contains_key(&old)) {
                return Err(Error::Expunged);
            }
            let uids = state.add(notes)?;
            if let Some(old) = options.replace {
                state.remove(old);
            }
            Ok(Appended::new(state.uid_validity, uids, state.modseq))
        });
        // Deleted since the command began: to this client, the name names nothing.
        added.map_err(|error| if let Error::MailboxGone = error { Error::NoSuchMailbox } else { error })
    }
}
