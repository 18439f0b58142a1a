//! An account and a mailbox behind which someone watches.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Doubt, ModSeqs, Tracker};
use crate::backend::{
    Account, Append, AppendMessage, AppendRequest, Appended, Bulletins, Changes, ChangesRequest, CommitOptions, Copied,
    CopyRequest, CreateRequest, Expiry, ExpungeRequest, Expunged, FetchRequest, FinishRequest, Finished, ListEntry,
    ListRequest, LoginDelay, Mailbox, MailboxId, Message, Namespaces, OpenRequest, Opened, RenameRequest, Result, Rows,
    SearchRequest, Status, StatusRequest, StoreRequest, Stored,
};
use crate::mail::{MailboxName, ModSeq, Uid, UidSet};

/// An account whose open mailboxes are watched.
pub(super) struct WatchedAccount {
    pub(super) mod_seqs: ModSeqs,
    pub(super) user: Arc<str>,
    pub(super) inner: Arc<dyn Account>,
}

impl WatchedAccount {
    /// The open mailboxes of this name.
    fn named(&self, name: &MailboxName) -> Vec<Arc<Tracker>> {
        let mut trackers = self.mod_seqs.of(&self.user);
        trackers.retain(|tracker| tracker.place().0 == *name);
        trackers
    }

    /// Whether a name is this one or below it.
    fn within(&self, name: &MailboxName, tree: &MailboxName) -> bool {
        name == tree || self.inner.delimiter().is_some_and(|delimiter| name.is_inferior_to(tree, delimiter))
    }

    async fn transfer(&self, request: CopyRequest, moves: bool) -> Result<Copied> {
        let targets = self.named(&request.to);
        let source = if moves { self.mod_seqs.find(&self.user, &request.from_id) } else { None };
        let uids = request.uids.clone();
        let source_doubt = source.as_deref().map(Doubt::about);
        let target_doubts: Vec<_> = targets.iter().map(|tracker| Doubt::about(tracker)).collect();
        let copied = if moves { self.inner.move_to(request).await? } else { self.inner.copy(request).await? };
        if let (Some(source), Some(doubt)) = (&source, source_doubt) {
            look(source, &uids, doubt).await;
        }
        let new: UidSet = copied.pairs.iter().map(|(_, new)| *new).collect();
        for (target, doubt) in targets.iter().zip(target_doubts) {
            look(target, &new, doubt).await;
        }
        Ok(copied)
    }
}

/// Looks at what a change has done. If that fails, the doubt stays, and the next who asks will look.
async fn look(tracker: &Tracker, uids: &UidSet, doubt: Doubt<'_>) {
    let (_, handle) = tracker.place();
    if tracker.look_at(&*handle, uids).await.is_ok() {
        doubt.none();
    }
}

#[async_trait]
impl Account for WatchedAccount {
    async fn list(&self, request: &ListRequest) -> Result<Vec<ListEntry>> {
        self.inner.list(request).await
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened> {
        let name = request.name.clone();
        let mut opened = self.inner.open(request).await?;
        if opened.snapshot.modseqs {
            return Ok(opened);
        }
        let inner = opened.mailbox;
        let tracker = self.mod_seqs.tracker(&self.user, &opened.snapshot.id, &name, &inner);
        tracker.look(&*inner).await?;
        {
            // What has changed since the snapshot was taken is known to the record already and will not be told again,
            // so the session starts from the record.
            let record = tracker.record();
            let snapshot = &mut opened.snapshot;
            let next = record.members().last().and_then(Uid::next);
            snapshot.uid_next = snapshot.uid_next.map(|uid| next.map_or(uid, |next| uid.max(next)));
            snapshot.uids = record.members().clone();
            snapshot.modseq = ModSeq::new(record.now());
            snapshot.keywords = snapshot.keywords.union(record.keywords());
            snapshot.first_unseen = record.first_unseen();
            opened.recent.intersect_with(&snapshot.uids);
        }
        opened.mailbox = Arc::new(WatchedMailbox { tracker, inner });
        Ok(opened)
    }

    fn delimiter(&self) -> Option<char> {
        self.inner.delimiter()
    }

    fn namespaces(&self) -> Namespaces {
        self.inner.namespaces()
    }

    fn append_limit(&self) -> Option<u64> {
        self.inner.append_limit()
    }

    fn creates_special_use(&self) -> bool {
        self.inner.creates_special_use()
    }

    async fn status(&self, request: StatusRequest) -> Result<Status> {
        self.inner.status(request).await
    }

    async fn create(&self, request: CreateRequest) -> Result<MailboxId> {
        self.inner.create(request).await
    }

    async fn delete(&self, mailbox: &MailboxName) -> Result<()> {
        let affected = self.named(mailbox);
        let _doubts: Vec<_> = affected.iter().map(|tracker| Doubt::about(tracker)).collect();
        self.inner.delete(mailbox).await
    }

    async fn rename(&self, request: RenameRequest) -> Result<()> {
        let mut affected = self.mod_seqs.of(&self.user);
        affected.retain(|tracker| {
            let name = tracker.place().0;
            self.within(&name, &request.from) || self.within(&name, &request.to)
        });
        // Whatever comes of it, they look.
        let _doubts: Vec<_> = affected.iter().map(|tracker| Doubt::about(tracker)).collect();
        self.inner.rename(request.clone()).await?;
        if request.from.is_inbox() {
            return Ok(());
        }
        for tracker in &affected {
            let name = tracker.place().0;
            let renamed = match self.inner.delimiter() {
                Some(delimiter) => name.replace_prefix(&request.from, &request.to, delimiter).ok().flatten(),
                None => (name == request.from).then(|| request.to.clone()),
            };
            if let Some(renamed) = renamed {
                tracker.rename(renamed);
            }
        }
        Ok(())
    }

    async fn subscribe(&self, mailbox: &MailboxName, subscribed: bool) -> Result<()> {
        self.inner.subscribe(mailbox, subscribed).await
    }

    async fn append(&self, request: AppendRequest) -> Result<Box<dyn Append>> {
        let (mod_seqs, user, mailbox) = (self.mod_seqs.clone(), Arc::clone(&self.user), request.mailbox.clone());
        let inner = self.inner.append(request).await?;
        Ok(Box::new(WatchedAppend { mod_seqs, user, mailbox, inner }))
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied> {
        self.transfer(request, false).await
    }

    async fn move_to(&self, request: CopyRequest) -> Result<Copied> {
        self.transfer(request, true).await
    }

    fn login_delay(&self) -> Option<&dyn LoginDelay> {
        self.inner.login_delay()
    }

    fn expiry(&self) -> Option<Expiry> {
        self.inner.expiry()
    }

    fn bulletins(&self) -> Option<&dyn Bulletins> {
        self.inner.bulletins().map(|_| self as &dyn Bulletins)
    }
}

#[async_trait]
impl Bulletins for WatchedAccount {
    async fn deliver(&self) -> Result<u64> {
        let inboxes = self.named(&MailboxName::inbox());
        // Whatever comes of it, they look.
        let _doubts: Vec<_> = inboxes.iter().map(|tracker| Doubt::about(tracker)).collect();
        match self.inner.bulletins() {
            Some(bulletins) => bulletins.deliver().await,
            None => Ok(0),
        }
    }
}

/// Messages on their way into a mailbox that may be watched.
struct WatchedAppend {
    mod_seqs: ModSeqs,
    user: Arc<str>,
    mailbox: MailboxName,
    inner: Box<dyn Append>,
}

#[async_trait]
impl Append for WatchedAppend {
    async fn begin(&mut self, message: AppendMessage) -> Result<()> {
        self.inner.begin(message).await
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.inner.write(chunk).await
    }

    async fn commit(self: Box<Self>, options: CommitOptions) -> Result<Appended> {
        let mut trackers = self.mod_seqs.of(&self.user);
        trackers.retain(|tracker| tracker.place().0 == self.mailbox);
        let doubts: Vec<_> = trackers.iter().map(|tracker| Doubt::about(tracker)).collect();
        let replaced = options.replace;
        let appended = self.inner.commit(options).await?;
        let uids: UidSet = appended.uids.iter().copied().chain(replaced).collect();
        for (tracker, doubt) in trackers.iter().zip(doubts) {
            look(tracker, &uids, doubt).await;
        }
        Ok(appended)
    }
}

/// An open mailbox that is watched.
struct WatchedMailbox {
    tracker: Arc<Tracker>,
    inner: Arc<dyn Mailbox>,
}

impl WatchedMailbox {
    /// Does something, and looks at what came of it, whether it succeeded or not.
    async fn watching<T>(&self, uids: UidSet, change: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let doubt = Doubt::about(&self.tracker);
        let result = change.await;
        if self.tracker.look_at(&*self.inner, &uids).await.is_ok() {
            doubt.none();
        }
        result
    }
}

#[async_trait]
impl Mailbox for WatchedMailbox {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        self.inner.fetch(request).await
    }

    async fn message(&self, uid: Uid) -> Result<Box<dyn Message>> {
        self.inner.message(uid).await
    }

    async fn changes(&self, request: ChangesRequest) -> Result<Changes> {
        let must_look = self.tracker.record().must_look(request.since);
        if must_look {
            self.tracker.look(&*self.inner).await?;
        }
        Ok(self.tracker.record().changes(&request))
    }

    async fn changed(&self, since: ModSeq) {
        self.tracker.signal.wait_beyond(since.get()).await;
    }

    async fn store(&self, request: StoreRequest) -> Result<Stored> {
        self.watching(request.uids.clone(), self.inner.store(request)).await
    }

    async fn expunge(&self, request: ExpungeRequest) -> Result<Expunged> {
        self.watching(request.uids.clone(), self.inner.expunge(request)).await
    }

    async fn search(&self, request: &SearchRequest) -> Result<Option<UidSet>> {
        self.inner.search(request).await
    }

    async fn remember(&self, uid: Uid, summary: Bytes) {
        self.inner.remember(uid, summary).await;
    }

    async fn finish(&self, request: FinishRequest) -> Result<Finished> {
        if request.expiry.is_some() {
            // Messages expire that were not named, and others get a new UID.
            let _doubt = Doubt::about(&self.tracker);
            return self.inner.finish(request).await;
        }
        let uids =
            [&request.retrieved, &request.marked].into_iter().fold(request.delete.clone(), |all, some| all.union(some));
        self.watching(uids, self.inner.finish(request)).await
    }
}
