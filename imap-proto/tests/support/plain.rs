//! The memory backend with all that is optional for reading taken away: no index for searches, no content that comes
//! along with rows, no summaries that are kept, octets in small pieces. What sessions say must be the same.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_proto_core::auth::{Identity, Secret, TokenRefusal};
use pillarbox_proto_core::backend::*;
use pillarbox_proto_core::connection::Connection;
use pillarbox_proto_core::mail::{MailboxName, ModSeq, Uid};
use pillarbox_proto_core::memory::MemoryBackend;

pub struct Plain(pub MemoryBackend);

#[async_trait]
impl Authenticator for Plain {
    fn questions(&self) -> Questions {
        self.0.questions()
    }

    async fn check_password(&self, connection: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        self.0.check_password(connection, user, password).await
    }

    async fn authorize(&self, connection: &Connection, who: &Identity, act_as: &str) -> Result<Identity> {
        self.0.authorize(connection, who, act_as).await
    }

    async fn scram_keys(&self, connection: &Connection, user: &str, hash: ScramHash) -> Result<Option<ScramKeys>> {
        self.0.scram_keys(connection, user, hash).await
    }

    fn dummy_salt_key(&self) -> Option<Secret> {
        self.0.dummy_salt_key()
    }

    fn scram_iterations(&self) -> Option<u32> {
        self.0.scram_iterations()
    }

    async fn check_certificate(&self, connection: &Connection) -> Result<Identity> {
        self.0.check_certificate(connection).await
    }

    async fn check_token(&self, connection: &Connection, user: Option<&str>, token: &Secret) -> Result<Identity> {
        self.0.check_token(connection, user, token).await
    }

    fn token_refusal(&self, connection: &Connection) -> TokenRefusal {
        self.0.token_refusal(connection)
    }

    async fn anonymous(&self, connection: &Connection, trace: Option<&str>) -> Result<Identity> {
        self.0.anonymous(connection, trace).await
    }

    async fn shared_secret(&self, connection: &Connection, user: &str) -> Result<Option<Secret>> {
        self.0.shared_secret(connection, user).await
    }
}

#[async_trait]
impl Backend for Plain {
    async fn open(&self, connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        Ok(Arc::new(PlainAccount(self.0.open(connection, who).await?)))
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
        opened.mailbox = Arc::new(PlainMailbox(opened.mailbox));
        Ok(opened)
    }

    fn delimiter(&self) -> Option<char> {
        self.0.delimiter()
    }

    fn namespaces(&self) -> Namespaces {
        self.0.namespaces()
    }

    fn append_limit(&self) -> Option<u64> {
        self.0.append_limit()
    }

    fn creates_special_use(&self) -> bool {
        self.0.creates_special_use()
    }

    async fn status(&self, request: StatusRequest) -> Result<Status> {
        self.0.status(request).await
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
}

struct PlainMailbox(Arc<dyn Mailbox>);

#[async_trait]
impl Mailbox for PlainMailbox {
    async fn fetch(&self, mut request: FetchRequest) -> Result<Box<dyn Rows>> {
        request.data.inline = 0;
        request.data.summary = false;
        Ok(Box::new(OneByOne(self.0.fetch(request).await?)))
    }

    async fn message(&self, uid: Uid) -> Result<Box<dyn Message>> {
        Ok(Box::new(Crumbs(self.0.message(uid).await?)))
    }

    async fn changes(&self, request: ChangesRequest) -> Result<Changes> {
        self.0.changes(request).await
    }

    async fn changed(&self, since: ModSeq) {
        self.0.changed(since).await;
    }

    async fn store(&self, request: StoreRequest) -> Result<Stored> {
        self.0.store(request).await
    }

    async fn expunge(&self, request: ExpungeRequest) -> Result<Expunged> {
        self.0.expunge(request).await
    }

    // The index is asked only whether it fails, which is the matter of some transcripts.
    async fn search(&self, request: &SearchRequest) -> Result<Option<pillarbox_proto_core::mail::UidSet>> {
        self.0.search(request).await.map(|_| None)
    }
}

struct OneByOne(Box<dyn Rows>);

#[async_trait]
impl Rows for OneByOne {
    async fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        let mut one = Batch::new(1, usize::MAX);
        let more = self.0.next(&mut one).await?;
        for row in one.drain() {
            batch.push(row);
        }
        Ok(more)
    }
}

struct Crumbs(Box<dyn Message>);

#[async_trait]
impl Message for Crumbs {
    fn len(&self) -> u64 {
        self.0.len()
    }

    async fn read(&mut self, at: u64, max: usize) -> Result<Bytes> {
        self.0.read(at, max.min(7)).await
    }
}
