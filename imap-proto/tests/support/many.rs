//! A backend of a million messages whose UIDs are scattered, as far from any range as can be; none has content.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::*;
use pillarbox_proto_core::connection::Connection;
use pillarbox_proto_core::mail::{Flags, Keyword, MailboxName, ModSeq, Uid, UidSet, UidValidity};

pub const MESSAGES: u32 = 1_000_000;

/// User `alice`, password `secret`, one INBOX with every second UID. Every second message has the keyword `odd`.
/// Clones share it.
#[derive(Clone)]
pub struct Many(Arc<Inner>);

struct Inner {
    uids: UidSet,
    odd: Flags,
    gone: AtomicBool,
    breaks: AtomicBool,
}

impl Many {
    pub fn new() -> Self {
        let uids = (1..=MESSAGES).filter_map(|number| Uid::new(number * 2)).collect();
        let mut odd = Flags::NONE;
        odd.keywords = [Keyword::new("odd").unwrap()].into_iter().collect();
        Self(Arc::new(Inner { uids, odd, gone: AtomicBool::new(false), breaks: AtomicBool::new(false) }))
    }

    pub fn uids(&self) -> &UidSet {
        &self.0.uids
    }

    pub fn expunge_all(&self) {
        self.0.gone.store(true, Ordering::Relaxed);
    }

    /// From now on reading rows fails, each time after the first of them.
    pub fn break_rows(&self) {
        self.0.breaks.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Authenticator for Many {
    async fn check_password(&self, _: &Connection, user: &str, _: &Secret) -> Result<Identity> {
        Ok(Identity::new(user))
    }
}

#[async_trait]
impl Backend for Many {
    async fn open(&self, _: &Connection, _: &Identity) -> Result<Arc<dyn Account>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Account for Many {
    async fn list(&self, _: &ListRequest) -> Result<Vec<ListEntry>> {
        Ok(Vec::from([ListEntry::new(MailboxName::inbox())]))
    }

    async fn open(&self, _: OpenRequest) -> Result<Opened> {
        let snapshot = Snapshot::new(MailboxId::new("inbox"), UidValidity::new(1).unwrap(), self.0.uids.clone());
        Ok(Opened::new(Arc::new(self.clone()), snapshot, Access::ReadWrite))
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied> {
        let mut pairs = Vec::with_capacity(MESSAGES as usize);
        pairs.extend(request.uids.iter().filter_map(|uid| Some((uid, Uid::new(uid.get() + 1_000_000)?))));
        Ok(Copied::new(UidValidity::new(2).unwrap(), pairs))
    }
}

/// Rows made up as they are read.
struct Made {
    rest: UidSet,
    odd: Flags,
    breaks: bool,
}

#[async_trait]
impl Rows for Made {
    async fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        let mut last = None;
        for uid in self.rest.iter() {
            if batch.is_full() {
                break;
            }
            let mut row = Row::new(uid);
            if uid.get() % 4 == 0 {
                row.flags = self.odd.clone();
            }
            batch.push(row);
            last = Some(uid);
        }
        let Some(last) = last else { return Ok(false) };
        self.rest = self.rest.after(last);
        if self.breaks {
            return Err(Error::Corrupt(None));
        }
        Ok(!self.rest.is_empty())
    }
}

#[async_trait]
impl Mailbox for Many {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        let breaks = self.0.breaks.load(Ordering::Relaxed);
        Ok(Box::new(Made { rest: request.uids, odd: self.0.odd.clone(), breaks }))
    }

    async fn message(&self, _: Uid) -> Result<Box<dyn Message>> {
        Err(Error::Expunged)
    }

    async fn changes(&self, request: ChangesRequest) -> Result<Changes> {
        let mut changes = Changes::none(request.since);
        if self.0.gone.load(Ordering::Relaxed) {
            changes.present = Some(UidSet::new());
            changes.modseq = ModSeq::new(2);
        }
        Ok(changes)
    }
}
