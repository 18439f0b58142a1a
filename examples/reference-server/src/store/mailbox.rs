//! One session's handle of an open mailbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_proto_core::backend::{
    Access, Changes, ChangesRequest, Error, ExpungeRequest, Expunged, Fate, FetchRequest, FinishRequest, Finished,
    Mailbox, Message, Result, Row, Rows, StoreRequest, Stored,
};
use pillarbox_proto_core::mail::{Flags, MailboxName, ModSeq, SystemFlags, Uid, UidSet};
use rusqlite::{Connection, params};

use super::commit::{Durability, Txn};
use super::fault::Done;
use super::message::FileMessage;
use super::rows::{FileRows, open_message};
use super::state::MailboxState;
use super::table::{self, Subset, to_modseq, to_uid};
use super::{MaildirStore, blocking, finish, flagging, removal, reserve};

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
            let claim = self
                .store
                .change_in(&self.state.index, Durability::Relaxed, move |txn| claim_recent(txn, id, Some(&uids)));
            changes.recent = match claim.await {
                // A full disk keeps nobody from being told.
                Err(Error::OverQuota) => UidSet::new(),
                claimed => claimed?,
            };
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
        reserve::change_with_reserve(&self.store, &self.state.index, move |txn| {
            removal::expunge(txn, id, &request.uids, request.only_deleted)
        })
        .await
    }

    async fn finish(&self, request: FinishRequest) -> Result<Finished> {
        self.check_writable()?;
        finish::finish(&self.store, &self.state, request).await
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
    let mut claimed = table::uids(txn.db, id, Subset::Recent)?;
    if let Some(only) = only {
        claimed.intersect_with(only);
    }
    for (first, last) in claimed.ranges() {
        txn.db
            .prepare_cached("UPDATE message SET recent = 0 WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3")?
            .execute(params![id, first.get(), last.get()])?;
    }
    let mut fresh = table::uids(txn.db, id, Subset::Fresh)?;
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
        changes.present = Some(table::uids(db, state.id, Subset::All)?);
    }
    let room = request.room.clamp(1, MOST);
    // One more than is told shows whether there are more.
    let limit = i64::try_from(room + 1).unwrap_or(i64::MAX);
    // Three lists in the order of mod-sequences, of which no two events have the same. The arrival of a message that
    // changed since stands where it happened: a page that ends between the two must have told it.
    let mut arrivals = db.prepare_cached(
        "SELECT added, uid, recent FROM message WHERE mailbox = ?1 AND added > ?2 ORDER BY added LIMIT ?3",
    )?;
    let mut arrivals = arrivals.query(params![state.id, since, limit])?;
    let mut updates = db.prepare_cached(
        "SELECT modseq, uid, flags, keywords FROM message WHERE mailbox = ?1 AND modseq > ?2 ORDER BY modseq LIMIT ?3",
    )?;
    let mut updates = updates.query(params![state.id, since, limit])?;
    let mut removals = db.prepare_cached(
        "SELECT modseq, uid FROM expunged WHERE mailbox = ?1 AND modseq > ?2 ORDER BY modseq LIMIT ?3",
    )?;
    let mut removals = removals.query(params![state.id, since, limit])?;
    let (mut arrival, mut update, mut removal) = (arrivals.next()?, updates.next()?, removals.next()?);
    let mut last = since;
    for _ in 0..room {
        let at = |row: Option<&rusqlite::Row<'_>>| row.map(|row| row.get::<_, i64>(0)).transpose();
        let (arrived_at, updated_at, removed_at) = (at(arrival)?, at(update)?, at(removal)?);
        let Some(now) = [arrived_at, updated_at, removed_at].into_iter().flatten().min() else { break };
        if let Some(row) = arrival.filter(|_| arrived_at == Some(now)) {
            let uid = to_uid(row.get(1)?)?;
            changes.arrived.insert(uid);
            if row.get::<_, bool>(2)? {
                changes.recent.insert(uid);
            }
            arrival = arrivals.next()?;
        }
        if let Some(row) = update.filter(|_| updated_at == Some(now)) {
            let mut told = Row::new(to_uid(row.get(1)?)?);
            told.modseq = to_modseq(now);
            let bits = row.get::<_, i64>(3)?.cast_unsigned();
            told.flags = Flags { system: SystemFlags::from_bits(row.get(2)?), keywords: keywords.set_of(bits) };
            changes.changed.push(told);
            update = updates.next()?;
        }
        if let Some(row) = removal.filter(|_| removed_at == Some(now)) {
            changes.expunged.push((to_uid(row.get(1)?)?, to_modseq(now)));
            removal = removals.next()?;
        }
        last = now;
    }
    changes.more = arrival.is_some() || update.is_some() || removal.is_some();
    changes.modseq = to_modseq(if changes.more { last } else { mailbox.modseq.max(since) });
    Ok(changes)
}

/// Whether the kernel tells of changes in a mailbox's directories, so that they need not be looked at.
pub(super) fn is_followed(state: &MailboxState) -> bool {
    state.watched.load(Ordering::Acquire)
}
