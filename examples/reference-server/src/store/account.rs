//! The account as the protocols use it.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use cap_std::fs::OpenOptions;
use pillarbox_proto_core::backend::{
    Access, Account, Append, AppendRequest, Batch, Copied, CopyRequest, CreateRequest, Error, FetchData, FetchRequest,
    ListEntry, ListRequest, MailboxId, OpenRequest, Opened, RenameRequest, Result, Snapshot, Status, StatusRequest,
    copy_by_append,
};
use pillarbox_proto_core::mail::{Flags, MailboxName, SystemFlags, Uid, UidSet};

use super::commit::Durability;
use super::fault::{Done, Fault};
use super::folder::{self, Place};
use super::index::{FOLDER, Index};
use super::intent::{Intent, Plan};
use super::mailbox::{MaildirMailbox, claim_recent, is_followed};
use super::name_codec::DELIMITER;
use super::state::MailboxState;
use super::table::{self, MailboxRow, Subset};
use super::{MaildirStore, append, blocking, folders, reserve, scan, subscriptions, transfer};

/// One session's access to an account.
pub(super) struct MaildirAccount {
    store: Arc<MaildirStore>,
}

impl MaildirAccount {
    pub(super) fn new(store: Arc<MaildirStore>) -> Self {
        Self { store }
    }

    async fn copy_from_elsewhere(&self, request: CopyRequest) -> Result<Copied> {
        copy_by_append(self.append(AppendRequest::new(request.to.clone())).await?, request).await
    }

    /// The mailbox of a name, with its index, after a look at its directories.
    async fn up_to_date(&self, name: MailboxName) -> Result<(Arc<Index>, MailboxRow, Arc<MailboxState>)> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            for _ in 0..2 {
                let index = store.index();
                let row = folders::resolve(&store, &name)?;
                // Watched before it is looked at, so that no change falls between.
                let state = store.state(&index, &row)?;
                bring_up_to_date(&store, &index, &state, &row)?;
                let row = store.read(&index, |db| table::mailbox(db, state.id))?;
                match row {
                    Some(row) if row.name == name => return Ok((index, row, state)),
                    // Renamed or deleted this moment.
                    _ => {}
                }
            }
            Err(Error::NoSuchMailbox.into())
        })
        .await
    }

    /// The id in this account of a mailbox that belongs to it.
    fn own(&self, id: &MailboxId) -> Option<(Arc<Index>, i64)> {
        let index = self.store.index();
        let (token, number) = id.as_str().split_once('.')?;
        let number = number.parse().ok()?;
        (*token == *index.token).then_some((index, number))
    }
}

/// Looks at the directories of a mailbox, unless nothing can have changed. On a thread that may block.
fn bring_up_to_date(store: &Arc<MaildirStore>, index: &Arc<Index>, state: &MailboxState, row: &MailboxRow) -> Done<()> {
    let times = folder::times(store.root(), &row.folder)?;
    let same = times == (row.new_time, row.cur_time);
    // Within the granularity of the directories' times only the kernel's word counts.
    if same && (row.settled || (is_followed(state) && state.was_scanned())) {
        return Ok(());
    }
    let (id, whole) = (state.id, same || !state.was_scanned());
    let looked = store.change_blocking_in(index, Durability::Lasting, move |txn| {
        let row = txn.mailbox(id)?;
        if whole && !row.settled {
            scan::everything(txn, row)?;
        }
        Ok(())
    });
    match looked {
        Ok(()) => state.set_scanned(),
        // A full disk keeps nobody from reading, or from removing something.
        Err(fault) if fault.is_full() => tracing::warn!(%fault, "a mailbox is shown as it was last known"),
        Err(fault) => return Err(fault),
    }
    Ok(())
}

#[async_trait]
impl Account for MaildirAccount {
    async fn list(&self, request: &ListRequest) -> Result<Vec<ListEntry>> {
        let store = Arc::clone(&self.store);
        let subscriptions = request.subscriptions;
        blocking(move || {
            let index = store.index();
            let mut rows = store.read(&index, table::mailboxes)?;
            if folders::differ(&store, &rows)? {
                store.change_blocking(Durability::Lasting, folders::reconcile)?;
                rows = store.read(&store.index(), table::mailboxes)?;
            }
            let mut subscribed = if subscriptions { subscriptions::read(store.root())? } else { Default::default() };
            let mut entries: Vec<_> = rows
                .into_iter()
                .map(|row| {
                    let mut entry = ListEntry::new(row.name);
                    entry.subscribed = subscribed.remove(&entry.name);
                    entry.special_use = folders::special_uses(&row.special_use);
                    entry
                })
                .collect();
            entries.extend(subscribed.into_iter().map(|name| {
                let mut entry = ListEntry::absent(name);
                entry.subscribed = true;
                entry
            }));
            Ok(entries)
        })
        .await
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened> {
        let (index, row, state) = self.up_to_date(request.name.clone()).await?;
        let lease = if request.exclusive { Some(self.lease(row.id).await?) } else { None };
        let id = row.id;
        let claims = request.claim_recent && request.access == Access::ReadWrite;
        let mut recent = if claims && has_unclaimed(&self.store, &index, id).await? {
            match self.store.change_in(&index, Durability::Relaxed, move |txn| claim_recent(txn, id, None)).await {
                Err(Error::OverQuota) => UidSet::new(),
                claimed => claimed?,
            }
        } else {
            UidSet::new()
        };
        let (store, reader) = (Arc::clone(&self.store), Arc::clone(&state));
        let (snapshot, unclaimed) = blocking(move || {
            store.read(&reader.index, |db| {
                reader.refresh(db)?;
                let first_unseen = table::first_uid(db, id, Subset::Unseen)?;
                let unclaimed = if claims { UidSet::new() } else { table::uids(db, id, Subset::Recent)? };
                Ok((snapshot(&reader, first_unseen)?, unclaimed))
            })
        })
        .await?;
        // EXAMINE is told of them too, without having them for itself.
        recent.union_with(&unclaimed);
        let mailbox = MaildirMailbox::new(Arc::clone(&self.store), state, request.access, row.name);
        let mut opened = Opened::new(Arc::new(mailbox), snapshot, request.access);
        opened.recent = recent;
        opened.recent.intersect_with(&opened.snapshot.uids);
        opened.lease = lease;
        Ok(opened)
    }

    fn delimiter(&self) -> Option<char> {
        Some(DELIMITER)
    }

    fn append_limit(&self) -> Option<u64> {
        self.store.options.append_limit
    }

    fn creates_special_use(&self) -> bool {
        true
    }

    async fn status(&self, request: StatusRequest) -> Result<Status> {
        let (index, row, state) = self.up_to_date(request.mailbox).await?;
        let store = Arc::clone(&self.store);
        let items = request.items;
        let mut status = blocking(move || {
            store.read(&index, |db| {
                let row = table::mailbox(db, row.id)?.ok_or(Error::NoSuchMailbox)?;
                let mut status = Status::new(row.uid_validity, row.uid_next(), row.modseq());
                state.refresh(db)?;
                status.messages = state.view().uids.count();
                let count = |wanted: bool, condition| if wanted { table::count(db, row.id, condition) } else { Ok(0) };
                status.recent = count(items.recent, Subset::Recent)?;
                status.unseen = count(items.unseen, Subset::Unseen)?;
                status.deleted = count(items.deleted, Subset::Deleted)?;
                if items.size {
                    let (size, unknown): (i64, bool) = db
                        .prepare_cached(
                            "SELECT coalesce(sum(size), 0), count(size) < count(*) FROM message WHERE mailbox = ?1",
                        )?
                        .query_row([row.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
                    status.size = if unknown { u64::MAX } else { size.cast_unsigned() };
                }
                Ok((status, state.view().name.clone()))
            })
        })
        .await?;
        // Sizes that nobody has asked for yet are worked out once.
        if status.0.size == u64::MAX {
            status.0.size = self.sum_of_sizes(status.1).await?;
        }
        Ok(status.0)
    }

    async fn create(&self, request: CreateRequest) -> Result<MailboxId> {
        let index = self.store.index();
        let id = self
            .store
            .change_in(&index, Durability::Lasting, move |txn| {
                folders::create(txn, &request.name, &request.special_use)
            })
            .await?;
        Ok(MailboxId::new(format!("{}.{id}", index.token)))
    }

    async fn delete(&self, mailbox: &MailboxName) -> Result<()> {
        let name = mailbox.clone();
        let index = self.store.index();
        reserve::change_with_reserve(&self.store, &index, move |txn| folders::delete(txn, &name)).await
    }

    async fn rename(&self, request: RenameRequest) -> Result<()> {
        let RenameRequest { from, to, .. } = request;
        if from.is_inbox() {
            return self.store.change(Durability::Lasting, move |txn| folders::rename_inbox(txn, &to)).await;
        }
        let store = Arc::clone(&self.store);
        // Once it is written down it is finished, whoever waits for it.
        let rename = tokio::spawn(async move {
            store.change(Durability::Lasting, move |txn| folders::plan_rename(txn, &from, &to)).await?;
            store.change(Durability::Lasting, folders::finish_renames).await
        });
        rename.await.map_err(|_| Error::unavailable("the store is shutting down"))?
    }

    async fn subscribe(&self, mailbox: &MailboxName, subscribed: bool) -> Result<()> {
        let name = mailbox.clone();
        self.store
            .change(Durability::Relaxed, move |txn| subscriptions::change(txn.store.root(), &name, subscribed))
            .await
    }

    async fn append(&self, request: AppendRequest) -> Result<Box<dyn Append>> {
        append::begin(Arc::clone(&self.store), request.mailbox).await
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied> {
        let Some((index, from)) = self.own(&request.from_id) else { return self.copy_from_elsewhere(request).await };
        let to = self.target(request.to.clone()).await?;
        let (store, reader, uids) = (Arc::clone(&self.store), Arc::clone(&index), request.uids);
        let copies = blocking(move || {
            sync_files(&store, &reader, from, &uids)?;
            store.read(&reader, |db| transfer::plan_copies(store.host(), db, from, &uids))
        })
        .await?;
        let copies = Arc::new(copies);
        loop {
            // One copy is one link; several are declared, so that they come together or not at all.
            let intent = match copies.len() {
                0 => return Err(Error::Expunged),
                1 => None,
                _ => {
                    let adds = copies.iter().map(|(_, base)| base.clone()).collect();
                    Some(Intent::declare(&self.store, &index, to, Plan { adds, takes: Vec::new() }).await?)
                }
            };
            let job = Arc::clone(&copies);
            let done = self.store.change_in(&index, Durability::Lasting, move |txn| {
                if let Some(intent) = intent
                    && !intent.fulfil(txn.db)?
                {
                    return Ok(None);
                }
                transfer::copy_messages(txn, from, to, &job).map(Some)
            });
            match done.await? {
                Some((_, pairs)) if pairs.is_empty() => return Err(Error::Expunged),
                Some((uid_validity, pairs)) => return Ok(Copied::new(uid_validity, pairs)),
                None => {}
            }
        }
    }

    async fn move_to(&self, request: CopyRequest) -> Result<Copied> {
        let Some((index, from)) = self.own(&request.from_id) else {
            let source = Arc::clone(&request.from);
            let copied = self.copy_from_elsewhere(request).await?;
            let uids = copied.pairs.iter().map(|(old, _)| *old).collect();
            let expunge = pillarbox_proto_core::backend::ExpungeRequest { uids, only_deleted: false };
            source.expunge(expunge).await?;
            return Ok(copied);
        };
        let to = self.target(request.to.clone()).await?;
        let uids = request.uids;
        let (uid_validity, pairs) = self
            .store
            .change_in(&index, Durability::Lasting, move |txn| transfer::move_messages(txn, from, to, &uids))
            .await?;
        if pairs.is_empty() { Err(Error::Expunged) } else { Ok(Copied::new(uid_validity, pairs)) }
    }
}

impl MaildirAccount {
    async fn target(&self, name: MailboxName) -> Result<i64> {
        let store = Arc::clone(&self.store);
        blocking(move || Ok(folders::resolve(&store, &name)?.id)).await
    }

    /// The lock of an exclusive maildrop: freed when it is dropped, and when the process dies.
    async fn lease(&self, id: i64) -> Result<Box<dyn Any + Send + Sync>> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            let file = store.root().open_with(format!("{FOLDER}/maildrop-{id}.lock"), &options)?.into_std();
            match file.try_lock() {
                Ok(()) => Ok(Box::new(file) as Box<dyn Any + Send + Sync>),
                Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse.into()),
                Err(std::fs::TryLockError::Error(error)) => Err(Fault::from(error)),
            }
        })
        .await
    }

    async fn sum_of_sizes(&self, name: MailboxName) -> Result<u64> {
        let opened = self.open(OpenRequest::examine(name)).await?;
        let mut data = FetchData::default();
        data.size = true;
        let mut rows = opened.mailbox.fetch(FetchRequest::new(opened.snapshot.uids, data)).await?;
        let mut batch = Batch::new(256, usize::MAX);
        let mut sum = 0u64;
        loop {
            let more = rows.next(&mut batch).await?;
            sum = batch.drain().filter_map(|row| row.size).fold(sum, u64::saturating_add);
            if !more {
                return Ok(sum);
            }
        }
    }
}

/// Whether any message is recent or still in `new/`.
async fn has_unclaimed(store: &Arc<MaildirStore>, index: &Arc<Index>, id: i64) -> Result<bool> {
    let (store, index) = (Arc::clone(store), Arc::clone(index));
    blocking(move || {
        store.read(&index, |db| {
            Ok(table::count(db, id, Subset::Recent)? > 0 || table::count(db, id, Subset::Fresh)? > 0)
        })
    })
    .await
}

/// Has the octets of messages that are to be linked written to the disk: who delivered them may not have.
fn sync_files(store: &Arc<MaildirStore>, index: &Index, id: i64, uids: &UidSet) -> Done<()> {
    let found = store.read(index, |db| {
        let mailbox = table::mailbox(db, id)?.ok_or(Error::MailboxGone)?;
        Ok((mailbox.folder, table::messages(db, id, uids)?))
    })?;
    for message in found.1 {
        let path = folder::path(&found.0, Place::of(message.fresh));
        // One that was renamed just now is found when it is linked.
        if let Ok(file) = store.root().open(format!("{path}/{}", message.file())) {
            file.sync_all()?;
        }
    }
    Ok(())
}

fn snapshot(state: &MailboxState, first_unseen: Option<Uid>) -> Done<Snapshot> {
    state.folder()?;
    let view = state.view();
    let mut snapshot = Snapshot::new(state.mailbox_id.clone(), view.uid_validity, view.uids.clone());
    snapshot.uid_next = view.uid_next;
    snapshot.modseq = view.modseq();
    snapshot.modseqs = true;
    snapshot.keywords = view.keywords.all();
    snapshot.permanent_flags = Flags { system: SystemFlags::ALL, keywords: snapshot.keywords.clone() };
    snapshot.new_keywords = view.keywords.has_room();
    snapshot.first_unseen = first_unseen;
    Ok(snapshot)
}
