//! The kit finds what is wrong: the memory backend behind a wrapper that breaks one rule fails the check of that rule.
#![allow(clippy::unwrap_used, reason = "a test")]
#![cfg(all(feature = "conformance", feature = "memory"))]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use futures::future::join_all;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::*;
use pillarbox_proto_core::conformance::{Options, Subject, Verdict, check_with};
use pillarbox_proto_core::mail::{MailboxName, ModSeq, Uid, UidSet};
use pillarbox_proto_core::memory::MemoryBackend;

/// The rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    RowsBackwards,
    LengthTooLarge,
    AppendsOneByOne,
    LosesCarriageReturns,
    IgnoresUnchangedSince,
    ForgetsFlagsOfCopies,
    ExpungesAll,
    MovesByCopy,
    CopiesOneByOne,
    StoresInTwoSteps,
    LeavesOutRemovals,
    ForgetsArrivalsBetweenPages,
    WakesAlways,
    SharesMaildrops,
    ClaimsNothing,
    DeletesInbox,
    RenamesByCopy,
    Panics,
    RecordsWithoutLooking,
    RecordsInTwoSteps,
    HidesPolicies,
    TellsShortDelay,
    ExpiresEarly,
    ExpiresWhatIsNotKnown,
    RemovesWhatWasMarked,
    ForgetsWhatWasRead,
    RepeatsBulletins,
    NotesBulletinsLate,
}

const FAULTS: &[(Fault, &str)] = &[
    (Fault::RowsBackwards, "rows-order"),
    (Fault::LengthTooLarge, "message-reads"),
    (Fault::AppendsOneByOne, "drop-append"),
    (Fault::LosesCarriageReturns, "append"),
    (Fault::IgnoresUnchangedSince, "store-unchanged-since"),
    (Fault::ForgetsFlagsOfCopies, "copy"),
    (Fault::ExpungesAll, "expunge"),
    (Fault::MovesByCopy, "drop-move"),
    (Fault::CopiesOneByOne, "drop-copy"),
    (Fault::StoresInTwoSteps, "drop-store"),
    (Fault::LeavesOutRemovals, "changes-pages"),
    (Fault::LeavesOutRemovals, "changes-model"),
    (Fault::ForgetsArrivalsBetweenPages, "changes-pages"),
    (Fault::WakesAlways, "changed"),
    (Fault::SharesMaildrops, "maildrop"),
    (Fault::ClaimsNothing, "recent"),
    (Fault::DeletesInbox, "create-delete"),
    (Fault::RenamesByCopy, "drop-rename"),
    (Fault::Panics, "subscriptions"),
    (Fault::RecordsWithoutLooking, "login-delay"),
    (Fault::RecordsInTwoSteps, "drop-login-delay"),
    (Fault::HidesPolicies, "policies"),
    (Fault::TellsShortDelay, "policies"),
    (Fault::ExpiresEarly, "finish-expiry"),
    (Fault::ExpiresWhatIsNotKnown, "finish-expiry"),
    (Fault::RemovesWhatWasMarked, "finish-marks"),
    (Fault::ForgetsWhatWasRead, "finish-marks"),
    (Fault::RepeatsBulletins, "bulletins"),
    (Fault::NotesBulletinsLate, "drop-bulletins"),
];

#[test]
fn every_fault_is_found() {
    // All at once, as some wait a while for the backend to come right.
    block_on(join_all(FAULTS.iter().map(|(fault, check)| is_found(*fault, check))));
}

async fn is_found(fault: Fault, check: &str) {
    let fresh = move || async move {
        let builder = MemoryBackend::builder().user("alice", "secret").login_delay(60).expiry(Expiry::after(7));
        let inner = builder.bulletin("Subject: a\r\n\r\n").bulletin("Subject: b\r\n\r\n").build().unwrap();
        Subject::new(Arc::new(Faulty { inner, fault }), Connection::default(), Identity::new("alice")).bulletins(2)
    };
    let mut options = Options::default();
    options.only = Some(check.to_owned());
    // Nothing here goes on in the background.
    options.settle = Duration::from_secs(1);
    let report = check_with(&fresh, &options).await;
    let verdict = report.verdict(check).unwrap();
    assert!(matches!(verdict, Verdict::Failed(_)), "{fault:?} was not found by {check}: {verdict:?}");
    assert!(report.clone().into_result().unwrap_err().to_string().contains(check));
}

struct Faulty {
    inner: MemoryBackend,
    fault: Fault,
}

#[async_trait]
impl Authenticator for Faulty {
    async fn check_password(&self, connection: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        self.inner.check_password(connection, user, password).await
    }
}

#[async_trait]
impl Backend for Faulty {
    async fn open(&self, connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        let inner = Backend::open(&self.inner, connection, who).await?;
        Ok(Arc::new(FaultyAccount { inner, fault: self.fault, store: self.inner.clone() }))
    }

    async fn policies(&self, connection: &Connection) -> Policies {
        let mut policies = self.inner.policies(connection).await;
        match self.fault {
            Fault::HidesPolicies => return Policies::default(),
            Fault::TellsShortDelay => policies.login_delay = Some(59),
            _ => {}
        }
        policies
    }
}

struct FaultyAccount {
    inner: Arc<dyn Account>,
    fault: Fault,
    store: MemoryBackend,
}

/// Waits once.
async fn wait() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[async_trait]
impl Account for FaultyAccount {
    async fn list(&self, request: &ListRequest) -> Result<Vec<ListEntry>> {
        self.inner.list(request).await
    }

    async fn open(&self, mut request: OpenRequest) -> Result<Opened> {
        if self.fault == Fault::SharesMaildrops {
            request.exclusive = false;
        }
        if self.fault == Fault::ClaimsNothing {
            request.claim_recent = false;
        }
        let mut opened = self.inner.open(request).await?;
        opened.mailbox = Arc::new(FaultyMailbox { inner: opened.mailbox, fault: self.fault });
        Ok(opened)
    }

    async fn create(&self, request: CreateRequest) -> Result<MailboxId> {
        self.inner.create(request).await
    }

    async fn delete(&self, mailbox: &MailboxName) -> Result<()> {
        if self.fault == Fault::DeletesInbox && mailbox.is_inbox() {
            return Ok(());
        }
        self.inner.delete(mailbox).await
    }

    async fn rename(&self, request: RenameRequest) -> Result<()> {
        if self.fault != Fault::RenamesByCopy {
            return self.inner.rename(request).await;
        }
        let opened = self.inner.open(OpenRequest::select(request.from.clone())).await?;
        self.inner.create(CreateRequest::new(request.to.clone())).await?;
        wait().await;
        let copy = CopyRequest::new(opened.mailbox, opened.snapshot.id, UidSet::full(), request.to);
        self.inner.move_to(copy).await?;
        self.inner.delete(&request.from).await
    }

    async fn subscribe(&self, mailbox: &MailboxName, subscribed: bool) -> Result<()> {
        assert!(self.fault != Fault::Panics, "a panic on purpose");
        self.inner.subscribe(mailbox, subscribed).await
    }

    async fn append(&self, request: AppendRequest) -> Result<Box<dyn Append>> {
        if self.fault == Fault::AppendsOneByOne {
            let append = OneByOne { account: Arc::clone(&self.inner), request, messages: Vec::new() };
            return Ok(Box::new(append));
        }
        let inner = self.inner.append(request).await?;
        Ok(Box::new(FaultyAppend { inner, fault: self.fault }))
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied> {
        match self.fault {
            Fault::ForgetsFlagsOfCopies => {
                let target = request.to.clone();
                let copied = self.inner.copy(request).await?;
                let opened = self.inner.open(OpenRequest::select(target)).await?;
                let new: UidSet = copied.pairs.iter().map(|(_, new)| *new).collect();
                opened.mailbox.store(StoreRequest::new(new, StoreOp::Replace, Default::default())).await?;
                Ok(copied)
            }
            Fault::CopiesOneByOne => {
                let mut all: Option<Copied> = None;
                let opened = request.from.fetch(FetchRequest::new(request.uids.clone(), FetchData::FLAGS)).await?;
                for uid in uids(opened).await? {
                    let one = CopyRequest::new(
                        Arc::clone(&request.from),
                        request.from_id.clone(),
                        uid.into(),
                        request.to.clone(),
                    );
                    let copied = self.inner.copy(one).await?;
                    wait().await;
                    match &mut all {
                        Some(all) => all.pairs.extend(copied.pairs),
                        None => all = Some(copied),
                    }
                }
                all.ok_or(Error::Expunged)
            }
            _ => self.inner.copy(request).await,
        }
    }

    async fn move_to(&self, request: CopyRequest) -> Result<Copied> {
        if self.fault != Fault::MovesByCopy {
            return self.inner.move_to(request).await;
        }
        let from = Arc::clone(&request.from);
        let copied = self.inner.copy(request).await?;
        wait().await;
        expunge_moved(&*from, &copied).await?;
        Ok(copied)
    }

    fn login_delay(&self) -> Option<&dyn LoginDelay> {
        Some(self)
    }

    fn expiry(&self) -> Option<Expiry> {
        self.inner.expiry()
    }

    fn bulletins(&self) -> Option<&dyn Bulletins> {
        Some(self)
    }
}

#[async_trait]
impl LoginDelay for FaultyAccount {
    fn seconds(&self) -> u32 {
        60
    }

    async fn last(&self) -> Result<Option<i64>> {
        self.store.last_login("alice")
    }

    async fn replace(&self, last: Option<i64>, with: Option<i64>) -> Result<bool> {
        let inner = self.inner.login_delay().unwrap();
        match self.fault {
            Fault::RecordsWithoutLooking => self.store.set_last_login("alice", with).map(|()| true),
            Fault::RecordsInTwoSteps => {
                let replaced = inner.replace(last, None).await?;
                wait().await;
                Ok(replaced && inner.replace(None, with).await?)
            }
            _ => inner.replace(last, with).await,
        }
    }
}

#[async_trait]
impl Bulletins for FaultyAccount {
    async fn deliver(&self) -> Result<u64> {
        let had = self.store.bulletins_had("alice")?;
        let delivered = self.inner.bulletins().unwrap().deliver().await?;
        match self.fault {
            // As if two sessions had looked before one of them wrote.
            Fault::RepeatsBulletins => {
                self.store.set_bulletins_had("alice", 0)?;
                return self.inner.bulletins().unwrap().deliver().await;
            }
            Fault::NotesBulletinsLate => {
                let now = self.store.bulletins_had("alice")?;
                self.store.set_bulletins_had("alice", had)?;
                wait().await;
                self.store.set_bulletins_had("alice", now)?;
            }
            _ => {}
        }
        Ok(delivered)
    }
}

async fn uids(mut rows: Box<dyn Rows>) -> Result<Vec<Uid>> {
    let mut batch = Batch::new(1000, 1000);
    while rows.next(&mut batch).await? {}
    Ok(batch.drain().map(|row| row.uid).collect())
}

/// Adds each message by itself.
struct OneByOne {
    account: Arc<dyn Account>,
    request: AppendRequest,
    messages: Vec<(AppendMessage, Vec<Bytes>)>,
}

#[async_trait]
impl Append for OneByOne {
    async fn begin(&mut self, message: AppendMessage) -> Result<()> {
        self.messages.push((message, Vec::new()));
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.messages.last_mut().unwrap().1.push(chunk);
        Ok(())
    }

    async fn commit(self: Box<Self>, _: CommitOptions) -> Result<Appended> {
        let mut uids = Vec::new();
        let mut last = None;
        for (message, chunks) in self.messages {
            let mut append = self.account.append(self.request.clone()).await?;
            append.begin(message).await?;
            for chunk in chunks {
                append.write(chunk).await?;
            }
            let appended = append.commit(CommitOptions::default()).await?;
            uids.extend(&appended.uids);
            last = Some(appended);
            wait().await;
        }
        let mut last = last.unwrap();
        last.uids = uids;
        Ok(last)
    }
}

struct FaultyAppend {
    inner: Box<dyn Append>,
    fault: Fault,
}

#[async_trait]
impl Append for FaultyAppend {
    async fn begin(&mut self, message: AppendMessage) -> Result<()> {
        self.inner.begin(message).await
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        if self.fault == Fault::LosesCarriageReturns {
            let lossy: Vec<u8> = chunk.iter().copied().filter(|octet| *octet != b'\r').collect();
            return self.inner.write(lossy.into()).await;
        }
        self.inner.write(chunk).await
    }

    async fn commit(self: Box<Self>, options: CommitOptions) -> Result<Appended> {
        self.inner.commit(options).await
    }
}

struct FaultyMailbox {
    inner: Arc<dyn Mailbox>,
    fault: Fault,
}

#[async_trait]
impl Mailbox for FaultyMailbox {
    async fn fetch(&self, mut request: FetchRequest) -> Result<Box<dyn Rows>> {
        if self.fault == Fault::RowsBackwards {
            request.descending = false;
        }
        self.inner.fetch(request).await
    }

    async fn message(&self, uid: Uid) -> Result<Box<dyn Message>> {
        let inner = self.inner.message(uid).await?;
        Ok(if self.fault == Fault::LengthTooLarge { Box::new(TooLong(inner)) } else { inner })
    }

    async fn changes(&self, request: ChangesRequest) -> Result<Changes> {
        let mut changes = self.inner.changes(request).await?;
        if self.fault == Fault::LeavesOutRemovals {
            changes.expunged.pop();
        }
        if self.fault == Fault::ForgetsArrivalsBetweenPages && changes.more {
            changes.arrived = UidSet::new();
        }
        Ok(changes)
    }

    async fn changed(&self, since: ModSeq) {
        if self.fault != Fault::WakesAlways {
            self.inner.changed(since).await;
        }
    }

    async fn store(&self, mut request: StoreRequest) -> Result<Stored> {
        match self.fault {
            Fault::IgnoresUnchangedSince => request.unchanged_since = None,
            Fault::StoresInTwoSteps if request.op == StoreOp::Replace => {
                // Takes all flags away, waits, and puts the new ones in their place.
                let none = StoreRequest::new(request.uids.clone(), StoreOp::Replace, Default::default());
                self.inner.store(none).await?;
                wait().await;
            }
            _ => {}
        }
        self.inner.store(request).await
    }

    async fn expunge(&self, mut request: ExpungeRequest) -> Result<Expunged> {
        if self.fault == Fault::ExpungesAll {
            request.only_deleted = false;
        }
        self.inner.expunge(request).await
    }

    async fn finish(&self, mut request: FinishRequest) -> Result<Finished> {
        match self.fault {
            Fault::ExpiresEarly if request.retrieved.is_empty() => request.now += 1,
            Fault::ExpiresWhatIsNotKnown => request.known = UidSet::full(),
            Fault::RemovesWhatWasMarked => request.delete.union_with(&request.marked),
            Fault::ForgetsWhatWasRead => request.read = UidSet::new(),
            _ => {}
        }
        self.inner.finish(request).await
    }
}

struct TooLong(Box<dyn Message>);

#[async_trait]
impl Message for TooLong {
    fn len(&self) -> u64 {
        self.0.len() + 1
    }

    async fn read(&mut self, at: u64, max: usize) -> Result<Bytes> {
        self.0.read(at, max).await
    }
}
