//! A maildrop whose messages are made up while they are read, so that a test measures nothing but the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{
    Access, Account, Authenticator, Backend, Error, FetchRequest, FinishRequest, Finished, IterRows, ListEntry,
    ListRequest, Mailbox, MailboxId, Message, OpenRequest, Opened, Result, Row, Rows, Snapshot,
};
use pillarbox_proto_core::mail::{Uid, UidSet, UidValidity};

/// So many messages of this size for everybody.
pub struct Generated {
    pub messages: u32,
    pub size: u64,
    /// Small messages come with their rows.
    pub inline: bool,
    /// A blank line stands at this line, and no line begins with a dot.
    pub blank: Option<u64>,
    /// Reading fails at this offset.
    pub broken_at: Option<u64>,
    /// This message can't be fetched with its row, nor can any after it in the same fetch.
    pub damaged: Option<u32>,
    /// What was asked of the mailbox.
    pub calls: Arc<Calls>,
}

#[derive(Default)]
pub struct Calls {
    pub fetches: AtomicUsize,
    pub rows: AtomicUsize,
    pub opened: AtomicUsize,
    pub finished: AtomicUsize,
}

impl Generated {
    pub fn new(messages: u32, size: u64) -> Self {
        Self { messages, size, inline: true, blank: None, broken_at: None, damaged: None, calls: Arc::default() }
    }
}

const LINE: &[u8; 64] = b".generated text, one line of sixty-four octets with its CRLF..\r\n";

/// The octets of any message.
pub fn octets(at: u64, count: usize) -> Bytes {
    let start = (at % 64) as usize;
    LINE.iter().copied().cycle().skip(start).take(count).collect()
}

/// With a blank line at the beginning of this line, and no line that begins with a dot.
fn with_blank(octets: Bytes, at: u64, line: Option<u64>) -> Bytes {
    let Some(line) = line else { return octets };
    let mut octets = Vec::from(octets);
    for (place, octet) in (at..).zip(&mut octets) {
        match place.checked_sub(line * 64) {
            Some(0) => *octet = b'\r',
            Some(1) => *octet = b'\n',
            _ if place % 64 == 0 => *octet = b'x',
            _ => {}
        }
    }
    octets.into()
}

#[async_trait]
impl Authenticator for Generated {
    async fn check_password(&self, _: &Connection, user: &str, _: &Secret) -> Result<Identity> {
        Ok(Identity::new(user))
    }
}

#[async_trait]
impl Backend for Generated {
    async fn open(&self, _: &Connection, _: &Identity) -> Result<Arc<dyn Account>> {
        let Self { messages, size, inline, blank, broken_at, damaged, .. } = *self;
        Ok(Arc::new(Maildrop { messages, size, inline, blank, broken_at, damaged, calls: Arc::clone(&self.calls) }))
    }
}

#[derive(Clone)]
struct Maildrop {
    messages: u32,
    size: u64,
    inline: bool,
    blank: Option<u64>,
    broken_at: Option<u64>,
    damaged: Option<u32>,
    calls: Arc<Calls>,
}

#[async_trait]
impl Account for Maildrop {
    async fn list(&self, _: &ListRequest) -> Result<Vec<ListEntry>> {
        Ok(Vec::new())
    }

    async fn open(&self, _: OpenRequest) -> Result<Opened> {
        let uids = match Uid::new(self.messages) {
            Some(last) => UidSet::from_range(Uid::MIN, last),
            None => UidSet::new(),
        };
        let snapshot = Snapshot::new(MailboxId::new("generated"), UidValidity::new(1).unwrap(), uids);
        Ok(Opened::new(Arc::new(self.clone()), snapshot, Access::ReadWrite))
    }
}

#[async_trait]
impl Mailbox for Maildrop {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        self.calls.fetches.fetch_add(1, Ordering::SeqCst);
        let Self { size, inline, blank, .. } = *self;
        let data = request.data;
        let calls = Arc::clone(&self.calls);
        if data.inline > 0 && request.uids.iter().any(|uid| Some(uid.get()) == self.damaged) {
            return Err(Error::corrupt("the disk has a hole"));
        }
        let mut uids = request.uids.iter().collect::<Vec<_>>().into_iter();
        Ok(Box::new(IterRows::new(std::iter::from_fn(move || {
            let mut row = Row::new(uids.next()?);
            calls.rows.fetch_add(1, Ordering::SeqCst);
            row.size = Some(size);
            row.unique_id = data.unique_id.then(|| format!("message-{}", row.uid).into());
            if inline && size <= data.inline as u64 {
                row.content = Some(with_blank(octets(0, size as usize), 0, blank));
            }
            Some(row)
        }))))
    }

    async fn message(&self, _: Uid) -> Result<Box<dyn Message>> {
        self.calls.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Text { size: self.size, blank: self.blank, broken_at: self.broken_at }))
    }

    async fn finish(&self, request: FinishRequest) -> Result<Finished> {
        // As a store does that waits for a disk.
        for _ in 0..5 {
            futures::pending!();
        }
        self.calls.finished.fetch_add(request.delete.len() as usize, Ordering::SeqCst);
        Ok(Finished::default())
    }
}

struct Text {
    size: u64,
    blank: Option<u64>,
    broken_at: Option<u64>,
}

#[async_trait]
impl Message for Text {
    fn len(&self) -> u64 {
        self.size
    }

    async fn read(&mut self, at: u64, max: usize) -> Result<Bytes> {
        if self.broken_at.is_some_and(|broken| at >= broken) {
            return Err(Error::corrupt("the disk has a hole"));
        }
        Ok(with_blank(octets(at, max.min((self.size - at) as usize)), at, self.blank))
    }
}
