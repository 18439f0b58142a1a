//! A backend that keeps no mod-sequences and tells no changes gets both from the adapter.
#![allow(clippy::unwrap_used, reason = "a test")]
#![cfg(all(feature = "conformance", feature = "memory"))]

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::executor::block_on;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::*;
use pillarbox_proto_core::conformance::{Subject, check_all};
use pillarbox_proto_core::mail::{MailboxName, ModSeq, SystemFlags, Uid, UidSet};
use pillarbox_proto_core::memory::{MemoryBackend, Outcome};
use pillarbox_proto_core::{Connection, ModSeqs};

/// The memory backend without its mod-sequences, and what gives new ones.
struct Plain {
    store: MemoryBackend,
    mod_seqs: ModSeqs,
}

#[async_trait]
impl Authenticator for Plain {
    async fn check_password(&self, connection: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        self.store.check_password(connection, user, password).await
    }
}

#[async_trait]
impl Backend for Plain {
    async fn open(&self, connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        let account = Backend::open(&self.store, connection, who).await?;
        Ok(self.mod_seqs.wrap(who.user(), Arc::new(PlainAccount(account))))
    }

    async fn policies(&self, connection: &Connection) -> Policies {
        self.store.policies(connection).await
    }
}

struct PlainAccount(Arc<dyn Account>);

#[async_trait]
impl Account for PlainAccount {
    async fn list(&self, request: &ListRequest) -> Result<Vec<ListEntry>> {
        self.0.list(request).await
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened> {
        let mut opened = self.0.open(request).await?;
        (opened.snapshot.modseq, opened.snapshot.modseqs) = (ModSeq::ZERO, false);
        opened.mailbox = Arc::new(PlainMailbox(opened.mailbox));
        Ok(opened)
    }

    async fn create(&self, request: CreateRequest) -> Result<MailboxId> {
        self.0.create(request).await
    }

    async fn delete(&self, mailbox: &MailboxName) -> Result<()> {
        self.0.delete(mailbox).await
    }

    async fn rename(&self, request: RenameRequest) -> Result<()> {
        self.0.rename(request).await
    }

    async fn subscribe(&self, mailbox: &MailboxName, subscribed: bool) -> Result<()> {
        self.0.subscribe(mailbox, subscribed).await
    }

    async fn append(&self, request: AppendRequest) -> Result<Box<dyn Append>> {
        self.0.append(request).await
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied> {
        self.0.copy(request).await
    }

    async fn move_to(&self, request: CopyRequest) -> Result<Copied> {
        self.0.move_to(request).await
    }

    fn login_delay(&self) -> Option<&dyn LoginDelay> {
        self.0.login_delay()
    }

    fn expiry(&self) -> Option<Expiry> {
        self.0.expiry()
    }

    fn bulletins(&self) -> Option<&dyn Bulletins> {
        self.0.bulletins()
    }
}

struct PlainMailbox(Arc<dyn Mailbox>);

#[async_trait]
impl Mailbox for PlainMailbox {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        Ok(Box::new(PlainRows(self.0.fetch(request).await?)))
    }

    async fn message(&self, uid: Uid) -> Result<Box<dyn Message>> {
        self.0.message(uid).await
    }

    async fn store(&self, request: StoreRequest) -> Result<Stored> {
        self.0.store(request).await
    }

    async fn expunge(&self, request: ExpungeRequest) -> Result<Expunged> {
        self.0.expunge(request).await
    }

    async fn finish(&self, request: FinishRequest) -> Result<Finished> {
        self.0.finish(request).await
    }
}

struct PlainRows(Box<dyn Rows>);

#[async_trait]
impl Rows for PlainRows {
    async fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        let more = self.0.next(batch).await?;
        batch.rows_mut().iter_mut().for_each(|row| row.modseq = ModSeq::ZERO);
        Ok(more)
    }
}

fn plain() -> Plain {
    let builder = MemoryBackend::builder().user("alice", "secret").login_delay(60).expiry(Expiry::after(7));
    let store = builder.bulletin("Subject: a\r\n\r\n").bulletin("Subject: b\r\n\r\n").build().unwrap();
    Plain { store, mod_seqs: ModSeqs::new() }
}

fn open(backend: &Plain) -> Opened {
    let account = block_on(Backend::open(backend, &Connection::default(), &Identity::new("alice"))).unwrap();
    block_on(account.open(OpenRequest::select(MailboxName::inbox()))).unwrap()
}

fn changes(opened: &Opened, since: ModSeq) -> Changes {
    block_on(opened.mailbox.changes(ChangesRequest::new(since, 100))).unwrap()
}

#[test]
fn the_adapted_backend_keeps_the_rules() {
    let fresh =
        || async { Subject::new(Arc::new(plain()), Connection::default(), Identity::new("alice")).bulletins(2) };
    let report = block_on(check_all(&fresh));
    let skipped: Vec<_> = report.skipped().map(|(name, _)| name).collect();
    assert_eq!(skipped, ["search", "append-limit", "store-unchanged-since", "special-use"]);
    report.into_result().unwrap();
}

#[test]
fn it_keeps_them_when_callers_have_to_wait() {
    let fresh = || async {
        let plain = plain();
        plain.store.hook(|_| Outcome::proceed().pending(1));
        Subject::new(Arc::new(plain), Connection::default(), Identity::new("alice")).bulletins(2)
    };
    block_on(check_all(&fresh)).into_result().unwrap();
}

#[test]
fn what_other_programs_do_is_told_to_who_asks_and_to_who_waits_once_poked() {
    let backend = plain();
    backend.store.deliver("alice", "INBOX", "one").unwrap();
    let (asking, waiting) = (open(&backend), open(&backend));
    let since = waiting.snapshot.modseq;
    assert!(!asking.snapshot.modseqs);
    backend.store.deliver("alice", "INBOX", "two").unwrap();
    backend.store.store_flags("alice", "INBOX", UidSet::from(Uid::MIN), StoreOp::Add, SystemFlags::SEEN).unwrap();
    assert!(waiting.mailbox.changed(since).now_or_never().is_none());
    let told = changes(&asking, asking.snapshot.modseq);
    assert_eq!((told.arrived.to_string(), told.changed.len()), ("2".to_owned(), 2));
    // The other one hears of it, as someone has looked.
    assert!(waiting.mailbox.changed(since).now_or_never().is_some());
    let told = changes(&waiting, since);
    assert_eq!((told.arrived.to_string(), told.changed.len(), told.more), ("2".to_owned(), 2, false));

    let since = told.modseq;
    backend.store.expunge("alice", "INBOX", Uid::MIN).unwrap();
    for poke in [
        (|backend, _| backend.mod_seqs.poke("alice")) as fn(&Plain, &Opened),
        |backend, _| backend.mod_seqs.poke_all(),
        |backend, opened| backend.mod_seqs.poke_mailbox("alice", &opened.snapshot.id),
    ] {
        poke(&backend, &waiting);
        assert!(waiting.mailbox.changed(since).now_or_never().is_some());
        assert_eq!(changes(&waiting, since).expunged.len(), 1);
    }
    let told = changes(&waiting, since);
    assert!(waiting.mailbox.changed(told.modseq).now_or_never().is_none());
    // A poke for nothing leads to nothing, and to rest.
    backend.mod_seqs.poke("alice");
    let told = changes(&waiting, told.modseq);
    assert!(told.expunged.is_empty() && told.changed.is_empty() && told.arrived.is_empty());
    assert!(waiting.mailbox.changed(told.modseq).now_or_never().is_none());
}

#[test]
fn a_store_that_fails_keeps_no_one_awake() {
    let backend = plain();
    let opened = open(&backend);
    backend.store.hook(|_| Outcome::fail(Error::Unavailable(None)));
    for _ in 0..3 {
        assert!(block_on(opened.mailbox.changes(ChangesRequest::new(opened.snapshot.modseq, 1))).is_err());
        assert!(opened.mailbox.changed(opened.snapshot.modseq).now_or_never().is_none());
    }
    backend.store.unhook();
    backend.store.deliver("alice", "INBOX", "one").unwrap();
    assert_eq!(changes(&opened, opened.snapshot.modseq).arrived.count(), 1);
}

#[test]
fn what_is_known_is_forgotten_with_the_last_session() {
    let backend = plain();
    let opened = open(&backend);
    backend.mod_seqs.poke_mailbox("alice", &opened.snapshot.id);
    let later = changes(&opened, opened.snapshot.modseq).modseq;
    drop(opened);
    let again = open(&backend);
    assert!(again.snapshot.modseq < later);
}

#[test]
fn what_the_end_of_a_pop3_session_and_bulletins_do_is_told() {
    let backend = plain();
    backend.store.deliver("alice", "INBOX", "one").unwrap();
    let account = || block_on(Backend::open(&backend, &Connection::default(), &Identity::new("alice"))).unwrap();
    let watching = open(&backend);
    assert_eq!(block_on(account().bulletins().unwrap().deliver()).unwrap(), 2);
    assert_eq!(changes(&watching, watching.snapshot.modseq).arrived.count(), 2);
    let watching = open(&backend);
    let held = block_on(account().open(OpenRequest::maildrop(MailboxName::inbox()))).unwrap();
    let mut request = FinishRequest::new(UidSet::from(Uid::MIN), UidSet::new(), 1_000_000_000);
    request.expiry = Some(Expiry::after(0));
    request.known = watching.snapshot.uids.clone();
    block_on(held.mailbox.finish(request)).unwrap();
    let told = changes(&watching, watching.snapshot.modseq);
    assert_eq!(told.expunged.iter().map(|(uid, _)| *uid).collect::<Vec<_>>(), [Uid::MIN]);
}
