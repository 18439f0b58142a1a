//! Live updates for backends that have no mod-sequences.
//!
//! The protocols learn what happens in a mailbox from [`Mailbox::changes`], which asks for everything since a
//! mod-sequence. A backend that keeps none wraps its accounts in [`ModSeqs`]: it remembers, for each mailbox that is
//! open somewhere, what flags each message had when last looked at (about 12 octets a message, shared by all sessions),
//! and tells the differences. The sessions of such a mailbox see each other's changes, and those of other programs, but
//! clients are told that mod-sequences don't last (`NOMODSEQ`, RFC 7162, section 3.1.2.2).
//!
//! It looks at a mailbox when it is opened; after each change that goes through it, at what was changed; whenever a
//! session that has been told everything asks again, as at NOOP; and when the program [pokes](ModSeqs::poke) it. It
//! starts no task and has no clock: a backend that wants waiting clients to hear of what other programs do pokes it from
//! a timer or a watcher of its own.
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use pillarbox_proto_core::auth::{Identity, Secret};
//! use pillarbox_proto_core::backend::{Account, Authenticator, Backend, Result};
//! use pillarbox_proto_core::{Connection, ModSeqs};
//! # async fn my_account(_: &Identity) -> Arc<dyn Account> { unimplemented!() }
//!
//! struct MyBackend {
//!     mod_seqs: ModSeqs,
//! }
//!
//! #[async_trait]
//! impl Backend for MyBackend {
//!     async fn open(&self, _: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
//!         Ok(self.mod_seqs.wrap(who.user(), my_account(who).await))
//!     }
//! }
//! # #[async_trait]
//! # impl Authenticator for MyBackend {
//! #     async fn check_password(&self, _: &Connection, user: &str, _: &Secret) -> Result<Identity> { Ok(Identity::new(user)) }
//! # }
//! ```

mod adapter;
mod record;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::Signal;
use crate::backend::{
    Account, Batch, ChangesRequest, Error, Fate, FetchData, FetchRequest, Mailbox, MailboxId, Result,
};
use crate::mail::{MailboxName, ModSeq, Uid, UidSet};
use record::Record;

/// Rows that are read at a time.
const ROWS: usize = 256;

/// Gives accounts live updates; see the [module's documentation](self). A handle: clones share what is known.
#[derive(Clone, Default)]
pub struct ModSeqs {
    trackers: Arc<Mutex<HashMap<Key, Weak<Tracker>>>>,
}

/// A user, and the lasting name of a mailbox, which is unique in their account.
type Key = (Arc<str>, MailboxId);

impl ModSeqs {
    /// Knows of no mailbox yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The account of this user with live updates. Mailboxes whose [`Snapshot`](crate::backend::Snapshot) has
    /// mod-sequences of its own are passed through as they are.
    pub fn wrap(&self, user: &str, account: Arc<dyn Account>) -> Arc<dyn Account> {
        Arc::new(adapter::WatchedAccount { mod_seqs: self.clone(), user: user.into(), inner: account })
    }

    /// Says that something may have happened in the mailboxes of a user: sessions that wait will look.
    pub fn poke(&self, user: &str) {
        self.of(user).iter().for_each(|tracker| tracker.suspect());
    }

    /// Says that something may have happened in this mailbox of a user.
    pub fn poke_mailbox(&self, user: &str, mailbox: &MailboxId) {
        if let Some(tracker) = self.find(user, mailbox) {
            tracker.suspect();
        }
    }

    /// Says that something may have happened anywhere.
    pub fn poke_all(&self) {
        let trackers: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        trackers.iter().for_each(|tracker| tracker.suspect());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Tracker>>> {
        self.trackers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, user: &str, mailbox: &MailboxId) -> Option<Arc<Tracker>> {
        self.lock().get(&(Arc::from(user), mailbox.clone()))?.upgrade()
    }

    /// The open mailboxes of a user.
    fn of(&self, user: &str) -> Vec<Arc<Tracker>> {
        self.lock()
            .iter()
            .filter(|((owner, _), _)| **owner == *user)
            .filter_map(|(_, tracker)| tracker.upgrade())
            .collect()
    }

    /// What is known of a mailbox that was just opened.
    fn tracker(&self, user: &Arc<str>, id: &MailboxId, name: &MailboxName, handle: &Arc<dyn Mailbox>) -> Arc<Tracker> {
        let mut trackers = self.lock();
        if trackers.len() == trackers.capacity() {
            trackers.retain(|_, tracker| tracker.strong_count() > 0);
        }
        let held = trackers.entry((Arc::clone(user), id.clone())).or_default();
        if let Some(tracker) = held.upgrade() {
            let mut place = tracker.place.lock().unwrap_or_else(PoisonError::into_inner);
            *place = (name.clone(), Arc::clone(handle));
            drop(place);
            return tracker;
        }
        let record = Record::new();
        let tracker = Arc::new(Tracker {
            signal: Signal::new(record.now()),
            record: Mutex::new(record),
            looking: futures::lock::Mutex::new(()),
            looks: Mutex::new(0),
            place: Mutex::new((name.clone(), Arc::clone(handle))),
        });
        *held = Arc::downgrade(&tracker);
        tracker
    }
}

impl fmt::Debug for ModSeqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModSeqs").field("mailboxes", &self.lock().len()).finish()
    }
}

/// One mailbox that is open somewhere.
struct Tracker {
    signal: Signal,
    record: Mutex<Record>,
    /// Held while someone looks, so that no older sight replaces a newer one.
    looking: futures::lock::Mutex<()>,
    /// How many looks at the whole mailbox have begun.
    looks: Mutex<u64>,
    /// Its name as far as is known, and the handle that was opened last.
    place: Mutex<(MailboxName, Arc<dyn Mailbox>)>,
}

impl Tracker {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> (MailboxName, Arc<dyn Mailbox>) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn rename(&self, name: MailboxName) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).0 = name;
    }

    /// Changes the record, and tells those who wait, outside its lock.
    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let mut record = self.record();
        let result = change(&mut record);
        let now = record.now();
        drop(record);
        self.signal.advance(now);
        result
    }

    fn suspect(&self) {
        self.change(Record::suspect);
    }

    /// Looks at the whole mailbox, unless someone else begins to while we wait for our turn.
    async fn look(&self, mailbox: &dyn Mailbox) -> Result<()> {
        let looks = || self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = *looks();
        let _turn = self.looking.lock().await;
        if *looks() > asked {
            return Ok(());
        }
        *looks() += 1;
        self.record().allay();
        let doubt = Doubt { tracker: Some(self), wakes: false };
        self.see(mailbox, UidSet::full()).await?;
        let told = mailbox.changes(ChangesRequest::new(ModSeq::ZERO, 1)).await?;
        self.change(|record| record.hear(&told.fate, told.access));
        doubt.none();
        Ok(())
    }

    /// Looks at some messages, and at all that are new.
    async fn look_at(&self, mailbox: &dyn Mailbox, uids: &UidSet) -> Result<()> {
        let _turn = self.looking.lock().await;
        let mut scope = uids.clone();
        let last = self.record().members().last();
        if let Some(new) = last.map_or(Some(Uid::MIN), Uid::next) {
            scope.insert_range(new, Uid::MAX);
        }
        self.see(mailbox, scope).await
    }

    async fn see(&self, mailbox: &dyn Mailbox, scope: UidSet) -> Result<()> {
        let mut seen = Vec::new();
        let read = async {
            let mut rows = mailbox.fetch(FetchRequest::new(scope.clone(), FetchData::FLAGS)).await?;
            let mut batch = Batch::new(ROWS, usize::MAX);
            loop {
                let more = rows.next(&mut batch).await?;
                seen.extend(batch.drain().map(|row| (row.uid, row.flags)));
                if !more {
                    return Ok(());
                }
            }
        };
        match read.await {
            Ok(()) => self.change(|record| record.see(&scope, &seen)),
            Err(Error::MailboxGone) => {
                let told = mailbox.changes(ChangesRequest::new(ModSeq::ZERO, 1)).await;
                let fate = told.map_or(Fate::Deleted, |told| told.fate);
                let gone = matches!(fate, Fate::Deleted | Fate::Recreated);
                self.change(|record| record.hear(if gone { &fate } else { &Fate::Deleted }, None));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// While a change or a look is under way, nobody knows what has happened already. If it is dropped or fails, the next who
/// asks looks.
struct Doubt<'a> {
    tracker: Option<&'a Tracker>,
    /// Whether those who wait are told to ask. Not of a look: who was told before is still waiting for an answer, and
    /// a store that fails for good must not keep waking them.
    wakes: bool,
}

impl<'a> Doubt<'a> {
    fn about(tracker: &'a Tracker) -> Self {
        Self { tracker: Some(tracker), wakes: true }
    }

    /// It came to its end, and was looked at.
    fn none(mut self) {
        self.tracker = None;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        match self.tracker {
            Some(tracker) if self.wakes => tracker.suspect(),
            Some(tracker) => tracker.record().remain_suspect(),
            None => {}
        }
    }
}
