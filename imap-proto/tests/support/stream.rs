//! A backend that holds nothing: its one message is made up as it is read, and what is appended is counted and dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::*;
use pillarbox_proto_core::connection::Connection;
use pillarbox_proto_core::mail::{MailboxName, ModSeq, Uid, UidSet, UidValidity};

const HEAD: &[u8] = b"Subject: made up\r\nContent-Transfer-Encoding: base64\r\n\r\n";
const LINE: &[u8; 78] = b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n";

/// User `alice`, password `secret`, one INBOX with one message of this size. Clones share it.
#[derive(Clone)]
pub struct Stream(Arc<Inner>);

struct Inner {
    size: u64,
    /// More lines than one read takes.
    lines: Vec<u8>,
    /// Reading fails from this octet on.
    broken_at: Option<u64>,
    appended: AtomicU64,
}

impl Stream {
    pub fn new(size: u64) -> Self {
        Self::of(size, None)
    }

    pub fn broken(size: u64, broken_at: u64) -> Self {
        Self::of(size, Some(broken_at))
    }

    fn of(size: u64, broken_at: Option<u64>) -> Self {
        Self(Arc::new(Inner { size, lines: LINE.repeat(1000), broken_at, appended: AtomicU64::new(0) }))
    }

    /// Octets of the appended messages.
    pub fn appended(&self) -> u64 {
        self.0.appended.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Authenticator for Stream {
    async fn check_password(&self, _: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        if user == "alice" && password.expose() == b"secret" {
            return Ok(Identity::new(user));
        }
        Err(Error::AuthenticationFailed)
    }
}

#[async_trait]
impl Backend for Stream {
    async fn open(&self, _: &Connection, _: &Identity) -> Result<Arc<dyn Account>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Account for Stream {
    async fn list(&self, _: &ListRequest) -> Result<Vec<ListEntry>> {
        Ok(Vec::from([ListEntry::new(MailboxName::inbox())]))
    }

    async fn open(&self, _: OpenRequest) -> Result<Opened> {
        let uids = UidSet::from_iter([Uid::MIN]);
        let snapshot = Snapshot::new(MailboxId::new("inbox"), UidValidity::new(1).unwrap(), uids);
        Ok(Opened::new(Arc::new(self.clone()), snapshot, Access::ReadOnly))
    }

    async fn append(&self, _: AppendRequest) -> Result<Box<dyn Append>> {
        Ok(Box::new(Discard { to: self.clone(), octets: 0 }))
    }
}

struct Discard {
    to: Stream,
    octets: u64,
}

#[async_trait]
impl Append for Discard {
    async fn begin(&mut self, _: AppendMessage) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.octets += chunk.len() as u64;
        Ok(())
    }

    async fn commit(self: Box<Self>, _: CommitOptions) -> Result<Appended> {
        self.to.0.appended.fetch_add(self.octets, Ordering::Relaxed);
        Ok(Appended::new(UidValidity::new(1).unwrap(), Vec::from([Uid::MIN]), ModSeq::ZERO))
    }
}

#[async_trait]
impl Mailbox for Stream {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        let size = self.0.size;
        let rows = request.uids.intersection(&UidSet::from_iter([Uid::MIN]));
        let rows: Vec<_> = rows.iter().collect();
        Ok(Box::new(IterRows::new(rows.into_iter().map(move |uid| {
            let mut row = Row::new(uid);
            row.size = Some(size);
            row
        }))))
    }

    async fn message(&self, _: Uid) -> Result<Box<dyn Message>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Message for Stream {
    fn len(&self) -> u64 {
        self.0.size
    }

    async fn read(&mut self, at: u64, max: usize) -> Result<Bytes> {
        if self.0.broken_at.is_some_and(|broken| at >= broken) {
            return Err(Error::Corrupt(None));
        }
        let end = (at + max as u64).min(self.0.size);
        let text = match HEAD.get(usize::try_from(at).unwrap()..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => &self.0.lines[(at as usize - HEAD.len()) % LINE.len()..],
        };
        let length = text.len().min((end - at) as usize);
        Ok(Bytes::copy_from_slice(&text[..length]))
    }
}
