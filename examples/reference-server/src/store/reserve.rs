//! Room kept back for removals: on a full disk, whoever wants to delete must be able to.
//!
//! Removing a message writes to the index, which needs room of its own. A small file of no use beside the index keeps
//! that room; it is given up when a removal finds none, and made again when there is room.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cap_std::fs::Dir;
use pillarbox_proto_core::backend::{Error, Result};

use super::MaildirStore;
use super::commit::{Durability, Txn};
use super::fault::Done;
use super::folder::new_file;
use super::index::Index;

const FILE: &str = "pillarbox/reserve";
const DRAFT: &str = "pillarbox/reserve.draft";
/// Octets that are kept back, where there is that much; the least helps to remove a few messages at a time.
const SIZES: [usize; 4] = [256 * 1024, 128 * 1024, 64 * 1024, 32 * 1024];

/// Keeps the room, if there is any. Best effort.
pub(super) fn keep(store: &MaildirStore) {
    if store.root().exists(FILE) {
        return;
    }
    for size in SIZES {
        let kept = (|| {
            let mut file = store.root().open_with(DRAFT, &new_file())?;
            // Zeros might take no room.
            let octets: Vec<u8> = (0..size).map(|at| (at % 251) as u8 + 1).collect();
            file.write_all(&octets)?;
            file.sync_data()?;
            store.root().rename(DRAFT, store.root(), FILE)
        })();
        if kept.is_ok() {
            return;
        }
        let _ = store.root().remove_file(DRAFT);
    }
}

/// Gives the room up; false if there was none.
pub(super) fn give_up(root: &Dir) -> bool {
    root.remove_file(FILE).is_ok()
}

/// Makes a change that gives room, a second time with the reserve if the disk is full.
pub(super) async fn change_with_reserve<T, F>(store: &Arc<MaildirStore>, index: &Arc<Index>, work: F) -> Result<T>
where
    T: Send + 'static,
    F: Fn(&mut Txn<'_>) -> Done<T> + Clone + Send + 'static,
{
    let first = work.clone();
    match store.change_in(index, Durability::Lasting, first).await {
        Err(Error::OverQuota) => {
            let holder = Arc::clone(store);
            super::blocking(move || {
                holder.lacks_reserve.store(true, Ordering::Release);
                Ok(give_up(holder.root()))
            })
            .await?;
            store.change_in(index, Durability::Lasting, work).await
        }
        other => other,
    }
}
