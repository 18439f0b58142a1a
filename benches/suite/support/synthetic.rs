//! Stores that hold nothing: any number of messages, and appended messages that go nowhere.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{
    Access, Account, Append, AppendMessage, AppendRequest, Appended, Authenticator, Backend, CommitOptions, Error,
    FetchRequest, IterRows, ListEntry, ListRequest, Mailbox, MailboxId, Message, OpenRequest, Opened, Result, Row,
    Rows, Snapshot,
};
use pillarbox_proto_core::mail::{MailboxName, ModSeq, Uid, UidSet, UidValidity};

/// A store with these messages in INBOX, none of which has any content.
#[derive(Clone)]
pub(crate) struct Synthetic {
    uids: UidSet,
}

impl Synthetic {
    pub(crate) fn new(uids: UidSet) -> Arc<Self> {
        Arc::new(Self { uids })
    }
}

#[async_trait]
impl Authenticator for Synthetic {
    async fn check_password(&self, _: &Connection, user: &str, _: &Secret) -> Result<Identity> {
        Ok(Identity::new(user))
    }
}

#[async_trait]
impl Backend for Synthetic {
    async fn open(&self, _: &Connection, _: &Identity) -> Result<Arc<dyn Account>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Account for Synthetic {
    async fn list(&self, _: &ListRequest) -> Result<Vec<ListEntry>> {
        Ok(vec![ListEntry::new(MailboxName::inbox())])
    }

    async fn open(&self, _: OpenRequest) -> Result<Opened> {
        let snapshot = Snapshot::new(MailboxId::new("inbox"), UidValidity::new(1).unwrap(), self.uids.clone());
        Ok(Opened::new(Arc::new(self.clone()), snapshot, Access::ReadOnly))
    }

    async fn append(&self, _: AppendRequest) -> Result<Box<dyn Append>> {
        Ok(Box::new(Discard))
    }
}

#[async_trait]
impl Mailbox for Synthetic {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        let uids = request.uids.intersection(&self.uids);
        Ok(Box::new(IterRows::new(uids.iter().collect::<Vec<_>>().into_iter().map(Row::new))))
    }

    async fn message(&self, _: Uid) -> Result<Box<dyn Message>> {
        Err(Error::Expunged)
    }
}

/// An append that forgets what it is given.
struct Discard;

#[async_trait]
impl Append for Discard {
    async fn begin(&mut self, _: AppendMessage) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        drop(std::hint::black_box(chunk));
        Ok(())
    }

    async fn commit(self: Box<Self>, _: CommitOptions) -> Result<Appended> {
        Ok(Appended::new(UidValidity::new(1).unwrap(), vec![Uid::MIN], ModSeq::ZERO))
    }
}
