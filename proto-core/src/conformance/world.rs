//! What the checks have in common: an account to act on, and ways to look at it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::{Options, Subject};
use crate::backend::{
    Account, AppendMessage, AppendRequest, Appended, Batch, CommitOptions, CopyRequest, CreateRequest, Error,
    FetchData, FetchRequest, Mailbox, OpenRequest, Opened, Row,
};
use crate::mail::{DateTime, Flags, MailboxName, Uid, UidSet};

/// Why a check ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Skip(String),
    Fail(String),
}

/// Fails the check unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(super::world::Stop::Fail(format!($($text)*)));
        }
    };
}
pub(super) use ensure;

/// Fails the check unless two things are equal.
macro_rules! same {
    ($found:expr, $expected:expr, $($text:tt)*) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if *found != *expected {
                    let text = format!($($text)*);
                    return Err(super::world::Stop::Fail(format!("{text}: found {found:?}, expected {expected:?}")));
                }
            }
        }
    };
}
pub(super) use same;

/// Fails the check unless a result is one error.
macro_rules! refused {
    ($result:expr, $error:pat, $($text:tt)*) => {
        match $result {
            Err($error) => {}
            Err(error) => {
                let text = format!($($text)*);
                return Err(super::world::Stop::Fail(format!("{text}: expected {}, found {error:?}", stringify!($error))));
            }
            Ok(_) => {
                let text = format!($($text)*);
                return Err(super::world::Stop::Fail(format!("{text}: expected {}, but it succeeded", stringify!($error))));
            }
        }
    };
}
pub(super) use refused;

/// Says what was being done when a call failed.
pub(super) trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, Stop>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, what: &str) -> Result<T, Stop> {
        self.map_err(|error| Stop::Fail(format!("{what}: {error:?}")))
    }
}

/// A message to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) content: Vec<u8>,
    pub(super) flags: Flags,
    pub(super) date: Option<DateTime>,
}

impl Sample {
    pub(super) fn new(number: usize) -> Self {
        let content = format!(
            "From: kit@example.org\r\nTo: you@example.org\r\nSubject: message {number}\r\n\
             Message-ID: <{number}@kit.example.org>\r\n\r\nThis is message {number}.\r\n"
        );
        Self { content: content.into_bytes(), flags: Flags::NONE, date: None }
    }

    pub(super) fn several(count: usize) -> Vec<Self> {
        (1..=count).map(Self::new).collect()
    }

    pub(super) fn with(mut self, flags: impl Into<Flags>) -> Self {
        self.flags = flags.into();
        self
    }
}

/// An account under test.
pub(super) struct World {
    pub(super) account: Arc<dyn Account>,
    pub(super) options: Options,
    prefix: String,
    names: AtomicU32,
    pub(super) subject: Subject,
}

impl World {
    pub(super) async fn new(subject: Subject, options: &Options) -> Result<Self, Stop> {
        let account =
            subject.backend.open(&subject.connection, &subject.identity).await.doing("opening the account")?;
        let prefix = account.namespaces().personal.first().map_or(String::new(), |space| space.prefix.clone());
        Ok(Self { account, options: options.clone(), prefix, names: AtomicU32::new(1), subject })
    }

    /// Another session of the same user.
    pub(super) async fn another_session(&self) -> Result<Arc<dyn Account>, Stop> {
        let subject = &self.subject;
        subject.backend.open(&subject.connection, &subject.identity).await.doing("opening the account again")
    }

    /// A name that no mailbox has.
    pub(super) fn free_name(&self) -> Result<MailboxName, Stop> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        name(&format!("{}Kit{number}", self.prefix))
    }

    /// The name below another one, if names have levels.
    pub(super) fn below(&self, parent: &MailboxName, leaf: &str) -> Result<MailboxName, Stop> {
        let Some(delimiter) = self.account.delimiter() else {
            return Err(Stop::Skip("names have no levels".to_owned()));
        };
        name(&format!("{parent}{delimiter}{leaf}"))
    }

    pub(super) async fn create(&self, name: &MailboxName) -> Result<(), Stop> {
        match self.account.create(CreateRequest::new(name.clone())).await {
            Ok(_) => Ok(()),
            Err(Error::NoPermission | Error::Cannot(_)) => {
                Err(Stop::Skip("the backend does not let mailboxes be made".to_owned()))
            }
            Err(error) => Err(Stop::Fail(format!("creating {name}: {error:?}"))),
        }
    }

    /// A new mailbox.
    pub(super) async fn mailbox(&self) -> Result<MailboxName, Stop> {
        let name = self.free_name()?;
        self.create(&name).await?;
        Ok(name)
    }

    /// A new mailbox with this many messages, open.
    pub(super) async fn filled(&self, count: usize) -> Result<(MailboxName, Opened), Stop> {
        let name = self.mailbox().await?;
        self.append(&name, &Sample::several(count)).await?;
        let opened = self.select(&name).await?;
        same!(opened.snapshot.uids.count() as usize, count, "messages in {name} after appending");
        Ok((name, opened))
    }

    /// A mailbox to look at: with messages of ours, or that which a read-only backend has.
    pub(super) async fn some_mailbox(&self) -> Result<Opened, Stop> {
        if !self.subject.read_only {
            let name = self.mailbox().await?;
            let samples: Vec<_> = Sample::several(30);
            self.append(&name, &samples).await?;
            let opened = self.select(&name).await?;
            // Gaps in the UIDs make it interesting.
            let uids: UidSet = opened.snapshot.uids.iter().skip(3).step_by(4).collect();
            expunge(&opened, uids).await?;
            return self.select(&name).await;
        }
        for entry in self.list().await? {
            if entry.selectable {
                let opened = self.examine(&entry.name).await?;
                if !opened.snapshot.uids.is_empty() {
                    return Ok(opened);
                }
            }
        }
        Err(Stop::Skip("no mailbox has messages".to_owned()))
    }

    pub(super) async fn list(&self) -> Result<Vec<crate::backend::ListEntry>, Stop> {
        self.account.list(&crate::backend::ListRequest::all()).await.doing("LIST")
    }

    pub(super) async fn entry(&self, name: &MailboxName) -> Result<Option<crate::backend::ListEntry>, Stop> {
        Ok(self.list().await?.into_iter().find(|entry| entry.name == *name))
    }

    pub(super) async fn select(&self, name: &MailboxName) -> Result<Opened, Stop> {
        self.account.open(OpenRequest::select(name.clone())).await.doing(&format!("opening {name}"))
    }

    pub(super) async fn examine(&self, name: &MailboxName) -> Result<Opened, Stop> {
        self.account.open(OpenRequest::examine(name.clone())).await.doing(&format!("opening {name} to read"))
    }

    pub(super) async fn append(&self, name: &MailboxName, samples: &[Sample]) -> Result<Vec<Uid>, Stop> {
        match try_append(&*self.account, name, samples, None).await {
            Ok(appended) => Ok(appended.uids),
            Err(Error::NoPermission | Error::Cannot(_)) => {
                Err(Stop::Skip("the backend does not let messages be added".to_owned()))
            }
            Err(error) => Err(Stop::Fail(format!("appending to {name}: {error:?}"))),
        }
    }

    /// The contents of a mailbox, by a session of its own.
    pub(super) async fn contents(&self, name: &MailboxName) -> Result<Vec<Vec<u8>>, Stop> {
        let opened = self.examine(name).await?;
        let mut contents = Vec::new();
        for uid in &opened.snapshot.uids {
            contents.push(content(&*opened.mailbox, uid).await?);
        }
        Ok(contents)
    }

    /// The messages of a mailbox with their flags, by a session of its own.
    pub(super) async fn truth(&self, name: &MailboxName) -> Result<BTreeMap<Uid, Flags>, Stop> {
        let opened = self.examine(name).await?;
        let rows = rows(&*opened.mailbox, &opened.snapshot.uids, FetchData::FLAGS).await?;
        Ok(rows.into_iter().map(|row| (row.uid, row.flags)).collect())
    }
}

pub(super) async fn try_append(
    account: &dyn Account,
    name: &MailboxName,
    samples: &[Sample],
    replace: Option<Uid>,
) -> Result<Appended, Error> {
    let mut append = account.append(AppendRequest::new(name.clone())).await?;
    for sample in samples {
        let size = sample.content.len() as u64;
        append.begin(AppendMessage::new(size, sample.flags.clone(), sample.date)).await?;
        // Two pieces, cut at an odd place.
        let (first, second) = sample.content.split_at(sample.content.len() / 3);
        append.write(Bytes::copy_from_slice(first)).await?;
        append.write(Bytes::copy_from_slice(second)).await?;
    }
    append.commit(CommitOptions { replace }).await
}

pub(super) async fn rows(mailbox: &dyn Mailbox, uids: &UidSet, data: FetchData) -> Result<Vec<Row>, Stop> {
    ordered_rows(mailbox, FetchRequest::new(uids.clone(), data), 100).await
}

pub(super) async fn ordered_rows(
    mailbox: &dyn Mailbox,
    request: FetchRequest,
    at_a_time: usize,
) -> Result<Vec<Row>, Stop> {
    let wanted = request.uids.clone();
    let mut rows = mailbox.fetch(request).await.doing("FETCH")?;
    let mut batch = Batch::new(at_a_time, 1 << 20);
    let mut all = Vec::new();
    // A mailbox that goes on for ever would be caught in the end, but slowly.
    for empty in 0..1000 {
        let more = rows.next(&mut batch).await.doing("reading rows")?;
        ensure!(batch.len() <= at_a_time, "a batch for {at_a_time} rows has {}", batch.len());
        ensure!(!more || !batch.is_empty() || empty < 100, "hundred batches in a row are empty, and more is to come");
        for row in batch.drain() {
            ensure!(wanted.contains(row.uid), "a row of message {} was not asked for", row.uid);
            all.push(row);
        }
        if !more {
            break;
        }
    }
    Ok(all)
}

pub(super) async fn content(mailbox: &dyn Mailbox, uid: Uid) -> Result<Vec<u8>, Stop> {
    let mut message = mailbox.message(uid).await.doing(&format!("opening message {uid}"))?;
    let mut content = Vec::new();
    while (content.len() as u64) < message.len() {
        let piece = message.read(content.len() as u64, 8192).await.doing(&format!("reading message {uid}"))?;
        ensure!(!piece.is_empty(), "message {uid} ends after {} of {} octets", content.len(), message.len());
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

pub(super) async fn expunge(opened: &Opened, uids: impl Into<UidSet>) -> Result<(), Stop> {
    let request = crate::backend::ExpungeRequest { uids: uids.into(), only_deleted: false };
    opened.mailbox.expunge(request).await.doing("EXPUNGE").map(|_| ())
}

pub(super) fn copy_request(opened: &Opened, uids: impl Into<UidSet>, to: &MailboxName) -> CopyRequest {
    CopyRequest::new(Arc::clone(&opened.mailbox), opened.snapshot.id.clone(), uids.into(), to.clone())
}

pub(super) fn name(text: &str) -> Result<MailboxName, Stop> {
    MailboxName::new(text).map_err(|error| Stop::Fail(format!("the name {text:?}: {error}")))
}

/// Numbers that look random, the same ones for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up, smaller than `bound`; 0 if that is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or(0)
    }

    /// Some of these, perhaps none.
    pub(super) fn some(&mut self, uids: impl IntoIterator<Item = Uid>) -> UidSet {
        let one_of = 1 + self.below(4);
        uids.into_iter().filter(|_| self.below(one_of) == 0).collect()
    }
}
