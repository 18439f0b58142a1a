//! Does a [`Backend`] keep the rules? Named checks that a backend's author runs in a test, in process, from outside.
//!
//! The kit knows a backend only through its traits. It opens accounts, fills mailboxes, lets several sessions act at
//! once, drops changing calls at every point where they wait, and looks whether what is then there is what the traits'
//! documentation promises. What a backend does not offer (a read-only one stores nothing) is skipped, and said so.
//!
//! It needs no runtime and blocks none: [`check_all`] is a plain future, to be awaited under whatever executor the
//! backend needs. It never judges speed, but a check that does not end fails after a while ([`Options::patience`]).
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use std::sync::Arc;
//! use pillarbox_proto_core::conformance::{Subject, check_all};
//! use pillarbox_proto_core::memory::MemoryBackend;
//! use pillarbox_proto_core::{Connection, auth::Identity};
//!
//! // Each check gets a backend of its own.
//! let fresh = || async {
//!     let backend = MemoryBackend::builder().user("alice", "secret").build().unwrap();
//!     Subject::new(Arc::new(backend), Connection::default(), Identity::new("alice"))
//! };
//! let report = futures::executor::block_on(check_all(&fresh));
//! println!("{report}");
//! report.into_result().unwrap();
//! # }
//! ```
//!
//! A store on disk makes a temporary folder in its closure and lets the subject [keep](Subject::keep) it.

mod appending;
mod dropping;
mod filing;
mod flags;
mod model;
mod names;
mod patience;
mod policies;
mod reading;
mod report;
mod sessions;
mod world;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

pub use report::{Failures, Report, Verdict};

use crate::Connection;
use crate::auth::Identity;
use crate::backend::Backend;
use patience::within;
use world::{Stop, World};

/// A backend under test, with one user's account in it.
#[must_use]
pub struct Subject {
    backend: Arc<dyn Backend>,
    connection: Connection,
    identity: Identity,
    read_only: bool,
    bulletins: usize,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Subject {
    /// A backend with an empty account of this user. Only INBOX has to be there.
    pub fn new(backend: Arc<dyn Backend>, connection: Connection, identity: Identity) -> Self {
        Self { backend, connection, identity, read_only: false, bulletins: 0, kept: Vec::new() }
    }

    /// It never changes anything. Then there should be some messages, as the kit can't store any.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// So many bulletins, all different, are there for the user, who has had none of them. Without any, the checks of
    /// their delivery are skipped.
    pub fn bulletins(mut self, pending: usize) -> Self {
        self.bulletins = pending;
        self
    }

    /// Keeps something until the check is over, such as a temporary folder.
    pub fn keep(mut self, guard: impl Any + Send + Sync) -> Self {
        self.kept.push(Box::new(guard));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("identity", &self.identity)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// Makes subjects, a fresh one for each check. Any async closure without arguments is one.
pub trait Factory: Sync {
    /// A fresh backend, with nothing in common with those before it.
    fn fresh(&self) -> Pin<Box<dyn Future<Output = Subject> + Send + '_>>;
}

impl<F, R> Factory for F
where
    F: Fn() -> R + Sync,
    R: Future<Output = Subject> + Send + 'static,
{
    fn fresh(&self) -> Pin<Box<dyn Future<Output = Subject> + Send + '_>> {
        Box::pin(self())
    }
}

/// How the kit is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Where random choices start from. The same seed makes the same choices.
    pub seed: u64,
    /// Rounds of the checks that act at random.
    pub rounds: usize,
    /// Only checks whose names hold this text.
    pub only: Option<String>,
    /// How long a check may take before it fails: it is for calls that never end, not for slow ones. Default: two
    /// minutes.
    pub patience: Duration,
    /// How long a backend may take to do in the background what a call has begun that was dropped, before what is seen of
    /// it counts: long, as a disk may be slow; it is waited for only as long as a check does not pass. Default: half a
    /// minute.
    pub settle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0x5eed,
            rounds: 60,
            only: None,
            patience: Duration::from_secs(120),
            settle: Duration::from_secs(30),
        }
    }
}

/// Runs all checks.
pub async fn check_all(factory: &dyn Factory) -> Report {
    check_with(factory, &Options::default()).await
}

/// Runs the checks that the options choose.
pub async fn check_with(factory: &dyn Factory, options: &Options) -> Report {
    let mut report = Report::default();
    for check in CHECKS {
        if options.only.as_ref().is_some_and(|only| !check.name.contains(only.as_str())) {
            continue;
        }
        let run = AssertUnwindSafe(within(options.patience, run(check, factory, options))).catch_unwind();
        let verdict = match run.await {
            Ok(Some(Ok(()))) => Verdict::Passed,
            Ok(Some(Err(Stop::Skip(why)))) => Verdict::Skipped(why),
            Ok(Some(Err(Stop::Fail(what)))) => Verdict::Failed(what),
            Ok(None) => Verdict::Failed(format!("did not end within {:?}", options.patience)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
                Verdict::Failed(format!("panicked: {text}"))
            }
        };
        report.add(check.name, check.about, verdict);
    }
    report
}

async fn run(check: &Check, factory: &dyn Factory, options: &Options) -> Result<(), Stop> {
    let subject = factory.fresh().await;
    if check.writes && subject.read_only {
        return Err(Stop::Skip("the backend is read-only".to_owned()));
    }
    let world = World::new(subject, options).await?;
    (check.run)(&world).await
}

type Run = for<'a> fn(&'a World) -> Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>>;

struct Check {
    name: &'static str,
    about: &'static str,
    /// Whether it stores anything.
    writes: bool,
    run: Run,
}

macro_rules! checks {
    ($($name:literal $mode:ident $run:path: $about:literal;)*) => {
        &[$(Check { name: $name, about: $about, writes: checks!($mode), run: |world| Box::pin($run(world)) },)*]
    };
    (reads) => { false };
    (writes) => { true };
}

const CHECKS: &[Check] = checks! {
    "list" reads names::list: "LIST shows INBOX, each name once, and only mailboxes can be opened";
    "missing-mailbox" reads names::missing: "what is not there is told as NoSuchMailbox";
    "snapshot" reads reading::snapshot: "an opened mailbox's state agrees with its rows, and is the same when opened again";
    "status" reads reading::status: "STATUS agrees with the rows";
    "rows-order" reads reading::order: "rows come in the order asked, each once, whatever the batch";
    "rows-data" reads reading::data: "rows tell what was asked";
    "search" reads reading::search: "what the backend finds itself is what the rows say";
    "message-reads" reads reading::reads: "reading in pieces gives the message, and as much as its length says";
    "append" writes appending::stores: "APPEND stores octets, flags and date, and gives ascending UIDs";
    "append-several" writes appending::several: "several messages are added in order, at once";
    "append-dropped" writes appending::dropped: "messages not committed are not stored";
    "append-replace" writes appending::replace: "REPLACE removes the old message in the same step";
    "append-limit" writes appending::limit: "a message over the append limit is refused before its octets";
    "uids-ascend" writes appending::uids: "no UID is given twice, not even that of the last message after its removal";
    "store" writes flags::store: "STORE adds, removes and replaces flags, and tells what it did";
    "store-unchanged-since" writes flags::unchanged_since: "STORE leaves messages alone that changed meanwhile";
    "keywords" writes flags::keywords: "keywords are kept and found in the mailbox's list";
    "expunge" writes flags::expunge: "EXPUNGE removes what it should, and nothing else";
    "copy" writes filing::copy: "COPY keeps octets, flags and dates, or does nothing";
    "move" writes filing::moved: "MOVE leaves each message in one place";
    "create-delete" writes names::create_delete: "mailboxes are made and deleted by their names' rules";
    "rename" writes names::rename: "RENAME takes along messages and children";
    "rename-inbox" writes names::rename_inbox: "RENAME of INBOX moves its messages";
    "subscriptions" writes names::subscriptions: "subscriptions outlive their mailboxes";
    "special-use" writes names::special_use: "a mailbox has the special use that it was made for";
    "recent" writes sessions::recent: "each message is recent in one session only";
    "maildrop" writes sessions::maildrop: "a maildrop is held once, and IMAP sessions don't care";
    "finish" writes sessions::finish: "the end of a POP3 session removes what was marked";
    "finish-marks" writes policies::marks: "the end of a POP3 session marks what was read, and removes what still has \\Deleted";
    "finish-expiry" writes policies::expiry: "messages expire by their first retrieval, to the second";
    "policies" reads policies::announced: "what everybody is told of the policies is true of the user";
    "login-delay" writes policies::login_delay: "the time of the last login is one for all sessions, and of several that replace it one succeeds";
    "bulletins" writes policies::bulletins: "each bulletin comes once, with two logins at once";
    "remember" writes sessions::remember: "what is remembered comes back as it was, or not at all";
    "fate-deleted" writes sessions::deleted: "a handle on a deleted mailbox says so";
    "fate-renamed" writes sessions::renamed: "a handle follows its mailbox to another name";
    "open-message" writes sessions::open_message: "an open message stays readable when it is removed";
    "changed" writes sessions::changed: "everyone who waits is woken by a change, and who comes late too";
    "changes-pages" writes model::pages: "changes are complete in pages of any size";
    "changes-model" writes model::sessions: "sessions that act at random all see what is there";
    "drop-append" writes dropping::append: "an APPEND that is dropped stores all or nothing";
    "drop-replace" writes dropping::replace: "a REPLACE that is dropped leaves the old message or the new one";
    "drop-copy" writes dropping::copy: "a COPY that is dropped copies all or nothing";
    "drop-move" writes dropping::moved: "a MOVE that is dropped leaves each message in one place";
    "drop-store" writes dropping::store: "a STORE that is dropped changes each message wholly or not at all";
    "drop-expunge" writes dropping::expunge: "an EXPUNGE that is dropped leaves the rest whole";
    "drop-finish" writes dropping::finish: "the end of a POP3 session that is dropped removes each message or leaves it";
    "drop-login-delay" writes policies::drop_login_delay: "a login whose record is dropped is recorded or not";
    "drop-bulletins" writes policies::drop_bulletins: "each bulletin comes once when deliveries are dropped";
    "drop-subscribe" writes dropping::subscribe: "a SUBSCRIBE that is dropped happens or not";
    "drop-create-delete" writes dropping::create_delete: "a CREATE or DELETE that is dropped happens or not";
    "drop-rename" writes dropping::rename: "a RENAME that is dropped moves the whole tree or nothing";
};

/// The names of all checks, with what each is about.
pub fn checks() -> impl Iterator<Item = (&'static str, &'static str)> {
    CHECKS.iter().map(|check| (check.name, check.about))
}
