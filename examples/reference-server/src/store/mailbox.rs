//! One session's handle of an open mailbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_proto_core::backend::{
    Access, Changes, ChangesRequest, Error, ExpungeRequest, Expunged, Fate, FetchRequest, Mailbox, Message, Result,
    Row, Rows, StoreRequest, Stored,
};
use pillarbox_proto_core::mail::{Flags, Keywords, MailboxName, ModSeq, SystemFlags, Uid, UidSet};
use rusqlite::{Connection, params};

use super::commit::{Durability, Txn};
use super::fault::Done;
use super::message::FileMessage;
use super::rows::{FileRows, open_message};
use super::state::MailboxState;
use super::table::{self, to_modseq, to_uid};
use super::{MaildirStore, blocking, flagging, removal};

/// The most messages that one answer about changes names.
const MOST: usize = 10_000;

/// An open mailbox.
pub(super) struct MaildirMailbox {
    store: Arc<MaildirStore>,
    state: Arc<MailboxState>,
    access: Access,
    opened_as: MailboxName,
}

impl MaildirMailbox {
    pub(super) fn new(
        store: Arc<MaildirStore>,
        state: Arc<MailboxState>,
        access: Access,
        opened_as: MailboxName,
    ) -> Self {
        Self { store, state, access, opened_as }
    }

    fn check_writable(&self) -> Result<()> {
        self.state.folder()?;
        if self.access == Access::ReadWrite { Ok(()) } else { Err(Error::ReadOnly) }
    }
}

impl Drop for MaildirMailbox {
    fn drop(&mut self) {
        self.state.touch();
    }
}

#[async_trait]
impl Mailbox for MaildirMailbox {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        self.state.folder()?;
        Ok(Box::new(FileRows::new(Arc::clone(&self.store), Arc::clone(&self.state), request)))
    }

    async fn message(&self, uid: Uid) -> Result<Box<dyn Message>> {
        self.state.folder()?;
        let (store, state) = (Arc::clone(&self.store), Arc::clone(&self.state));
        let message = blocking(move || {
            let (file, mut row) = open_message(&store, &state, uid.get())?.ok_or(Error::Expunged)?;
            if let Some((bytes, size, format)) = store.pending.sizes(state.id, row.uid) {
                (row.bytes, row.size, row.format) = (bytes, Some(size), format);
            }
            let (message, learned) = FileMessage::open(file, &row)?;
            if let Some(sizes) = learned
                && store.pending.learn(state.id, row.uid, sizes)
            {
                store.write_pending();
            }
            Ok(message)
        })
        .await?;
        Ok(Box::new(message))
    }

    async fn changes(&self, request: ChangesRequest) -> Result<Changes> {
        let view = {
            let view = self.state.view();
            let mut changes = Changes::none(request.since.max(view.modseq()));
            changes.fate = view.fate(&self.opened_as);
            if matches!(changes.fate, Fate::Deleted | Fate::Recreated)
                || (view.modseq() <= request.since && !request.claim_recent)
            {
                return Ok(changes);
            }
            view.clone()
        };
        if view.modseq() <= request.since {
            let mut changes = Changes::none(request.since);
            changes.fate = view.fate(&self.opened_as);
            return Ok(changes);
        }
        let (store, state) = (Arc::clone(&self.store), Arc::clone(&self.state));
        let mut changes = blocking(move || {
            store.read(&state.index, |db| {
                db.execute_batch("BEGIN")?;
                let changes = read_changes(db, &state, request);
                db.execute_batch("COMMIT")?;
                changes
            })
        })
        .await?;
        if request.claim_recent && !changes.recent.is_empty() {
            let (id, uids) = (self.state.id, std::mem::take(&mut changes.recent));
            changes.recent = self
                .store
                .change_in(&self.state.index, Durability::Relaxed, move |txn| claim_recent(txn, id, Some(&uids)))
                .await?;
        }
        changes.fate = view.fate(&self.opened_as);
        Ok(changes)
    }

    async fn changed(&self, since: ModSeq) {
        self.state.signal.wait_beyond(since.get()).await;
    }

    async fn store(&self, request: StoreRequest) -> Result<Stored> {
        self.check_writable()?;
        let id = self.state.id;
        let durability = self.store.flag_durability();
        self.store
            .change_in(&self.state.index, durability, move |txn| flagging::store(txn, id, &request, durability))
            .await
    }

    async fn expunge(&self, request: ExpungeRequest) -> Result<Expunged> {
        self.check_writable()?;
        let id = self.state.id;
        self.store
            .change_in(&self.state.index, Durability::Lasting, move |txn| {
                removal::expunge(txn, id, &request.uids, request.only_deleted)
            })
            .await
    }

    async fn remember(&self, uid: Uid, summary: Bytes) {
        if self.state.folder().is_ok() && self.store.pending.remember(self.state.id, uid.get(), summary) {
            self.store.write_pending();
        }
    }
}

/// Makes messages recent in one session: those of these UIDs, or all, that no session was told of. Those that are in
/// `new/` move to `cur/`.
pub(super) fn claim_recent(txn: &mut Txn<'_>, id: i64, only: Option<&UidSet>) -> Done<UidSet> {
    let row = txn.mailbox(id)?;
    let mut claimed = table::uids(txn.db, id, "recent = 1")?;
    if let Some(only) = only {
        claimed.intersect_with(only);
    }
    for (first, last) in claimed.ranges() {
        txn.db
            .prepare_cached("UPDATE message SET recent = 0 WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3")?
            .execute(params![id, first.get(), last.get()])?;
    }
    let mut fresh = table::uids(txn.db, id, "fresh = 1")?;
    if let Some(only) = only {
        fresh.intersect_with(only);
    }
    for mut message in table::messages(txn.db, id, &fresh)? {
        flagging::settle_in_cur(txn, &row, &mut message)?;
    }
    Ok(claimed)
}

fn read_changes(db: &Connection, state: &MailboxState, request: ChangesRequest) -> Done<Changes> {
    let since = i64::try_from(request.since.get()).unwrap_or(i64::MAX);
    let Some(mailbox) = table::mailbox(db, state.id)? else {
        let mut changes = Changes::none(request.since);
        changes.fate = Fate::Deleted;
        return Ok(changes);
    };
    let mut changes = Changes::none(request.since);
    changes.uid_next = mailbox.uid_next();
    let mut keywords = super::keywords::KeywordTable::load(db, state.id)?;
    changes.keywords = Some(keywords.all());
    if since < mailbox.forgotten {
        // Removals that far back are not remembered: the session compares, and takes all flags anew.
        changes.present = Some(table::uids(db, state.id, "1")?);
    }
    let room = request.room.clamp(1, MOST);
    let limit = i64::try_from(room).unwrap_or(i64::MAX);
    let mut last = since;
    let mut told = 0;
    // Both lists are read in the order of mod-sequences, of which no two are the same.
    let mut rows = db.prepare_cached(
        "SELECT uid, added, modseq, flags, keywords, recent FROM message \
         WHERE mailbox = ?1 AND modseq > ?2 ORDER BY modseq LIMIT ?3",
    )?;
    let mut rows = rows.query(params![state.id, since, limit])?;
    let mut removed = db.prepare_cached(
        "SELECT modseq, uid FROM expunged WHERE mailbox = ?1 AND modseq > ?2 ORDER BY modseq LIMIT ?3",
    )?;
    let mut removed = removed.query(params![state.id, since, limit])?;
    let mut row = rows.next()?;
    let mut gone = removed.next()?;
    while told < room {
        let row_at = row.map(|row| row.get::<_, i64>(2)).transpose()?;
        let gone_at = gone.map(|gone| gone.get::<_, i64>(0)).transpose()?;
        if let (Some(found), true) = (row, row_at.is_some() && gone_at.is_none_or(|gone| row_at < Some(gone))) {
            let uid = to_uid(found.get(0)?)?;
            let (added, modseq): (i64, i64) = (found.get(1)?, found.get(2)?);
            if added > since {
                changes.arrived.insert(uid);
                if found.get::<_, bool>(5)? {
                    changes.recent.insert(uid);
                }
            }
            let mut told = Row::new(uid);
            told.modseq = to_modseq(modseq);
            let bits = found.get::<_, i64>(4)?.cast_unsigned();
            let keywords = if bits == 0 { Keywords::NONE } else { keywords.set_of(bits) };
            told.flags = Flags { system: SystemFlags::from_bits(found.get(3)?), keywords };
            changes.changed.push(told);
            last = modseq;
            row = rows.next()?;
        } else if let Some(found) = gone {
            let (modseq, uid): (i64, u32) = (found.get(0)?, found.get(1)?);
            changes.expunged.push((to_uid(uid)?, to_modseq(modseq)));
            last = modseq;
            gone = removed.next()?;
        } else {
            break;
        }
        told += 1;
    }
    changes.more = row.is_some() || gone.is_some();
    changes.modseq = to_modseq(if changes.more { last } else { mailbox.modseq.max(since) });
    Ok(changes)
}

/// Whether the kernel tells of changes in a mailbox's directories, so that they need not be looked at.
pub(super) fn is_followed(state: &MailboxState) -> bool {
    state.watched.load(Ordering::Acquire)
}
