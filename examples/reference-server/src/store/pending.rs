//! What was learned about messages and is not in the index yet: summaries, sizes.
//!
//! It is written in batches, without a sync: losing it costs work, never truth. Until it is written it is answered from
//! here. Bounded; what does not fit is dropped.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use rusqlite::params;

use super::commit::Txn;
use super::fault::Done;
use super::lock;
use super::table::{self, Format};

/// Messages that are worth a write.
const ENOUGH: usize = 256;
/// Octets of summaries that are worth a write.
const ENOUGH_BYTES: usize = 512 * 1024;
/// The most that is held.
const MOST_BYTES: usize = 4 * ENOUGH_BYTES;

/// Size of the file, size of the message, format.
pub(super) type Sizes = (u64, u64, Format);

#[derive(Clone, Default)]
struct Learned {
    summary: Option<Bytes>,
    sizes: Option<Sizes>,
}

/// What waits for being written.
#[derive(Default)]
pub(super) struct Pending(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    learned: HashMap<(i64, u32), Learned>,
    /// What was written last: a reader may look at the index as it was before.
    written: HashMap<(i64, u32), Learned>,
    bytes: usize,
    /// Whether a write is on its way.
    queued: bool,
}

impl Inner {
    /// Whether it is time to write, told once.
    fn is_due(&mut self) -> bool {
        let due = self.learned.len() >= ENOUGH || self.bytes >= ENOUGH_BYTES;
        due && !std::mem::replace(&mut self.queued, true)
    }

    fn find<T>(&self, message: (i64, u32), what: impl Fn(&Learned) -> Option<T>) -> Option<T> {
        self.learned.get(&message).and_then(&what).or_else(|| self.written.get(&message).and_then(&what))
    }
}

impl Pending {
    /// Takes a summary; returns whether it is time to write.
    pub(super) fn remember(&self, mailbox: i64, uid: u32, summary: Bytes) -> bool {
        let mut inner = lock(&self.0);
        if inner.bytes + summary.len() > MOST_BYTES {
            return inner.is_due();
        }
        inner.bytes += summary.len();
        let old = inner.learned.entry((mailbox, uid)).or_default().summary.replace(summary);
        inner.bytes -= old.map_or(0, |old| old.len());
        inner.is_due()
    }

    /// Takes the sizes of a message; returns whether it is time to write.
    pub(super) fn learn(&self, mailbox: i64, uid: u32, sizes: Sizes) -> bool {
        let mut inner = lock(&self.0);
        if inner.learned.len() < 4 * ENOUGH || inner.learned.contains_key(&(mailbox, uid)) {
            inner.learned.entry((mailbox, uid)).or_default().sizes = Some(sizes);
        }
        inner.is_due()
    }

    /// The summary of a message.
    pub(super) fn summary(&self, mailbox: i64, uid: u32) -> Option<Bytes> {
        lock(&self.0).find((mailbox, uid), |learned| learned.summary.clone())
    }

    /// The sizes of a message.
    pub(super) fn sizes(&self, mailbox: i64, uid: u32) -> Option<Sizes> {
        lock(&self.0).find((mailbox, uid), |learned| learned.sizes)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).learned.is_empty()
    }

    /// Forgets what was written some time ago.
    pub(super) fn retire(&self) {
        let mut inner = lock(&self.0);
        inner.written = HashMap::new();
        inner.learned.shrink_to(ENOUGH);
    }

    /// Writes all of it. It leaves when the change is committed.
    pub(super) fn write(&self, txn: &mut Txn<'_>) -> Done<()> {
        let all: Vec<_> = {
            let mut inner = lock(&self.0);
            inner.queued = false;
            inner.learned.iter().map(|(message, learned)| (*message, learned.clone())).collect()
        };
        let mut put = txn.db.prepare_cached(
            "INSERT OR REPLACE INTO summary (mailbox, uid, data) \
             SELECT mailbox, uid, ?3 FROM message WHERE mailbox = ?1 AND uid = ?2",
        )?;
        for ((mailbox, uid), learned) in &all {
            if let Some(summary) = &learned.summary {
                put.execute(params![mailbox, uid, summary.as_ref()])?;
            }
            if let Some((bytes, size, format)) = learned.sizes {
                table::update_size(txn.db, *mailbox, *uid, bytes, Some(size), format)?;
            }
        }
        drop(put);
        let store = std::sync::Arc::clone(txn.store);
        txn.afterwards(move || {
            let mut inner = lock(&store.pending.0);
            inner.written.clear();
            for (message, written) in all {
                let same = |learned: &Learned| learned.summary == written.summary && learned.sizes == written.sizes;
                if inner.learned.get(&message).is_some_and(same) {
                    inner.learned.remove(&message);
                    inner.bytes -= written.summary.as_ref().map_or(0, Bytes::len);
                    inner.written.insert(message, written);
                }
            }
        });
        Ok(())
    }

    /// Forgets everything, with an index that was given up.
    pub(super) fn clear(&self) {
        *lock(&self.0) = Inner::default();
    }
}
