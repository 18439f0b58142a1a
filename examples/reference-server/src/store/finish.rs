//! The end of a POP3 session: deletions, stamps of first retrievals, expiry, and `\Seen`.
//!
//! A stamp is kept in the message, in a field of its header ([`ExpireStamp::Header`]), or in the index
//! ([`ExpireStamp::Index`]). In a message it makes a new file, which takes the place of the old one as a REPLACE does:
//! it is written and synced in `tmp/`, and comes and goes with one commit. It keeps the unique-id, the flags, and the
//! date; as a message of a UID never changes, it gets another UID.
//!
//! What the headers say is remembered in the index, so that each message is looked at once.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use pillarbox_proto_core::backend::{Error, Expiry, FinishRequest, Finished, Result, StoreOp, StoreRequest};
use pillarbox_proto_core::mail::{SystemFlags, Uid, UidSet};
use rusqlite::params;

use super::commit::{Durability, Spot, Txn};
use super::fault::{Done, is_missing};
use super::flagging::current;
use super::folder::{self, Place};
use super::index::Index;
use super::intent::{Intent, Plan, taken_name};
use super::message::measure;
use super::rows::{internal_date, open_message};
use super::state::MailboxState;
use super::table::{self, Format, MailboxRow, MessageRow, to_uid};
use super::{ExpireStamp, MaildirStore, blocking, file_name, flagging, lock, removal, reserve, stamp};

/// Messages whose headers are looked at before what they say is written down.
const PAGE: usize = 1024;
/// Messages that are written at a time.
const WRITERS: usize = 8;

/// Ends a session; see [`Mailbox::finish`](pillarbox_proto_core::backend::Mailbox::finish).
pub(super) async fn finish(
    store: &Arc<MaildirStore>,
    state: &Arc<MailboxState>,
    request: FinishRequest,
) -> Result<Finished> {
    let plan = match store.options.expire_stamp {
        ExpireStamp::Header if request.expiry.is_some() => {
            let (store, state, request) = (Arc::clone(store), Arc::clone(state), request.clone());
            blocking(move || Ok(prepare(&store, &state, &request))).await?
        }
        _ => Prepared::default(),
    };
    let expired = plan.expired.clone();
    let mut ending = Ending { mailbox: state.id, request: request.clone(), plan, intent: None };
    let done = loop {
        if !ending.plan.stamped.is_empty() {
            let plan = Plan {
                adds: ending.plan.stamped.iter().map(|stamped| stamped.base.clone()).collect(),
                takes: ending.plan.stamped.iter().map(|stamped| stamped.taken.clone()).collect(),
            };
            match Intent::declare(store, &state.index, state.id, plan).await {
                Ok(intent) => ending.intent = Some(intent),
                Err(Error::OverQuota) => ending.plan.stamped.clear(),
                Err(error) => break Err(error),
            }
        }
        match store.change_in(&state.index, Durability::Lasting, move |txn| ending.run(txn)).await {
            Ok(Outcome::Finished(finished)) => break Ok(finished),
            Ok(Outcome::Again(again)) => ending = *again,
            Err(error) => break Err(error),
        }
    };
    match done {
        // On a full disk whoever wants to delete must be able to; stamps and flags have to wait.
        Err(Error::OverQuota) => {
            tracing::warn!("no room left: a session ends without stamps of what it retrieved");
            let id = state.id;
            reserve::change_with_reserve(store, &state.index, move |txn| remove(txn, id, &request, &expired)).await
        }
        done => done,
    }
}

/// What can be worked out before the transaction.
#[derive(Default)]
struct Prepared {
    /// Messages with a stamp that expires now.
    expired: UidSet,
    /// Messages with the stamp that they are to get.
    stamped: Vec<Stamped>,
}

/// A message with its stamp, in `tmp/`. Unless it is kept it is removed when this is dropped.
struct Stamped {
    store: Arc<MaildirStore>,
    path: String,
    name: String,
    uid: u32,
    /// The base of the message that it takes the place of, and what its file is called while it is taken away.
    old: String,
    taken: String,
    /// Its own base.
    base: String,
    bytes: u64,
    size: u64,
    format: Format,
    kept: bool,
}

impl Drop for Stamped {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.store.root().remove_file(&self.path)
            && !is_missing(&error)
        {
            tracing::warn!(%error, "a message that got no stamp is left in tmp/");
        }
    }
}

/// Looks at what the messages say, and writes those that get a stamp. What can't be done is left out: no stamp keeps a
/// user from deleting.
fn prepare(store: &Arc<MaildirStore>, state: &MailboxState, request: &FinishRequest) -> Prepared {
    let mut plan = Prepared::default();
    let cutoff = request.cutoff();
    let retrieved = request.retrieved.difference(&request.delete);
    let mut wanted = retrieved.clone();
    if cutoff.is_some() {
        wanted.union_with(&request.known);
    }
    let looked = look(store, state, &wanted).and_then(|()| store.read(&state.index, |db| fields(db, state.id)));
    let fields = match looked {
        Ok(fields) => fields,
        Err(fault) => {
            tracing::warn!(%fault, "stamps can't be read: nothing expires now");
            return plan;
        }
    };
    let mut unstamped = retrieved;
    for (uid, value) in fields {
        unstamped.remove(uid);
        if cutoff.is_none() || !request.known.contains(uid) {
            continue;
        }
        match Expiry::parse_stamp(value.as_bytes()) {
            Some(time) if cutoff.is_some_and(|cutoff| time <= cutoff) => {
                plan.expired.insert(uid);
            }
            Some(_) => {}
            None => tracing::warn!(uid = uid.get(), value, "a stamp is not a number: the message does not expire"),
        }
    }
    if cutoff.is_some_and(|cutoff| request.now <= cutoff) {
        // What would expire at once needs no stamp.
        plan.expired.union_with(&unstamped.intersection(&request.known));
        unstamped.difference_with(&request.known);
    }
    plan.stamped = write_all(store, state, &unstamped, request.now);
    plan
}

/// Writes messages with stamps: several at a time, as waiting for the disk is most of the work.
fn write_all(store: &Arc<MaildirStore>, state: &MailboxState, uids: &UidSet, now: i64) -> Vec<Stamped> {
    let left = Mutex::new(uids.iter());
    let full = AtomicBool::new(false);
    let written = Mutex::new(Vec::new());
    let work = || {
        while let Some(uid) = lock(&left).next().filter(|_| !full.load(Ordering::Relaxed)) {
            match write_stamped(store, state, uid.get(), now) {
                Ok(stamped) => lock(&written).extend(stamped),
                Err(fault) => {
                    tracing::warn!(uid = uid.get(), %fault, "a message gets no stamp of its retrieval");
                    full.fetch_or(fault.is_full(), Ordering::Relaxed);
                }
            }
        }
    };
    let helpers = WRITERS.min(usize::try_from(uids.count()).unwrap_or(WRITERS)).saturating_sub(1);
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            // Where the system gives no thread, fewer do the work.
            let _ = std::thread::Builder::new().name("stamps".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    let mut written = written.into_inner().unwrap_or_else(PoisonError::into_inner);
    written.sort_by_key(|stamped| stamped.uid);
    written
}

/// What the fields of messages say that have one, as far as they were looked at.
fn fields(db: &rusqlite::Connection, mailbox: i64) -> Done<Vec<(Uid, String)>> {
    let mut statement = db.prepare_cached(
        "SELECT uid, value FROM stamp_field INDEXED BY stamp_field_set WHERE mailbox = ?1 AND value IS NOT NULL",
    )?;
    let mut rows = statement.query([mailbox])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push((to_uid(row.get(0)?)?, row.get(1)?));
    }
    Ok(all)
}

/// Looks at the headers of messages that nobody has looked at.
fn look(store: &Arc<MaildirStore>, state: &MailboxState, uids: &UidSet) -> Done<()> {
    for (first, last) in uids.ranges() {
        let mut next = Some(first);
        while let Some(from) = next.filter(|from| *from <= last) {
            let page: Vec<u32> = store.read(&state.index, |db| {
                let mut statement = db.prepare_cached(
                    "SELECT uid FROM message WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 AND NOT EXISTS \
                     (SELECT 1 FROM stamp_field AS seen WHERE seen.mailbox = message.mailbox AND seen.uid = message.uid) \
                     ORDER BY uid LIMIT ?4",
                )?;
                let rows = statement.query_map(
                    params![state.id, from.get(), last.get(), i64::try_from(PAGE).unwrap_or(i64::MAX)],
                    |row| row.get(0),
                )?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })?;
            next = if page.len() < PAGE { None } else { page.last().and_then(|uid| Uid::new(*uid)?.next()) };
            let mut found = Vec::with_capacity(page.len());
            for uid in page {
                if let Some((mut file, _)) = open_message(store, state, uid)? {
                    found.push((uid, stamp::read(&mut file)?));
                }
            }
            if !found.is_empty() {
                remember(store, &state.index, state.id, found)?;
            }
        }
    }
    Ok(())
}

fn remember(
    store: &Arc<MaildirStore>,
    index: &Arc<Index>,
    mailbox: i64,
    found: Vec<(u32, Option<String>)>,
) -> Done<()> {
    store.change_blocking_in(index, Durability::Relaxed, move |txn| {
        for (uid, value) in &found {
            put_field(txn, mailbox, *uid, value.as_deref())?;
        }
        Ok(())
    })
}

/// Notes what the field of a message says, if the message is still there.
fn put_field(txn: &Txn<'_>, mailbox: i64, uid: u32, value: Option<&str>) -> Done<()> {
    txn.db
        .prepare_cached(
            "INSERT OR REPLACE INTO stamp_field (mailbox, uid, value) \
             SELECT mailbox, uid, ?3 FROM message WHERE mailbox = ?1 AND uid = ?2",
        )?
        .execute(params![mailbox, uid, value])?;
    Ok(())
}

/// Writes a message with a stamp; none if the message is gone.
fn write_stamped(store: &Arc<MaildirStore>, state: &MailboxState, uid: u32, now: i64) -> Done<Option<Stamped>> {
    let Some((mut source, message)) = open_message(store, state, uid)? else { return Ok(None) };
    let name = file_name::new_base(store.host(), None);
    let path = format!("{}/{name}", folder::path(&state.folder()?, Place::Tmp));
    let mut options = folder::new_file();
    let mut file = store.root().open_with(&path, options.read(true))?.into_std();
    let mut stamped = Stamped {
        store: Arc::clone(store),
        path,
        name,
        uid,
        taken: taken_name(&message.file()),
        old: message.base.clone(),
        base: String::new(),
        bytes: 0,
        size: 0,
        format: Format::Unknown,
        kept: false,
    };
    stamp::copy_with(&mut source, now, &mut file)?;
    (stamped.bytes, stamped.size, stamped.format) = measured(&file, &message)?;
    stamped.base = file_name::base_in_place_of(&message.base, store.host(), (stamped.bytes, stamped.size));
    // Where the index is lost, the file's time is all that tells the date.
    file.set_modified(SystemTime::from(internal_date(&message)))?;
    file.sync_all()?;
    Ok(Some(stamped))
}

fn measured(file: &File, message: &MessageRow) -> Done<(u64, u64, Format)> {
    match message.format {
        // The field's line end is that of the others.
        Format::Verbatim => {
            let bytes = file.metadata()?.len();
            Ok((bytes, bytes, Format::Verbatim))
        }
        _ => measure(file),
    }
}

/// All that the transaction does.
struct Ending {
    mailbox: i64,
    request: FinishRequest,
    plan: Prepared,
    intent: Option<Intent>,
}

enum Outcome {
    Finished(Finished),
    /// Another process took the declaration for abandoned.
    Again(Box<Ending>),
}

impl Ending {
    fn run(mut self, txn: &mut Txn<'_>) -> Done<Outcome> {
        if let Some(intent) = self.intent.take()
            && !intent.fulfil(txn.db)?
        {
            return Ok(Outcome::Again(Box::new(self)));
        }
        let Self { mailbox: id, request, plan, .. } = self;
        let mut finished = remove(txn, id, &request, &plan.expired)?;
        let mut read = request.read.difference(&finished.removed);
        if !plan.stamped.is_empty() {
            let mut mailbox = txn.mailbox(id)?;
            for stamped in plan.stamped {
                let uid = to_uid(stamped.uid)?;
                if finished.removed.contains(uid) {
                    continue;
                }
                let also = if read.contains(uid) { SystemFlags::SEEN } else { SystemFlags::NONE };
                if put_in_place(txn, &mut mailbox, stamped, request.now, also)? {
                    read.remove(uid);
                }
            }
            txn.sync(&mailbox.folder, Place::Cur);
            mailbox.save(txn.db)?;
        }
        if request.expiry.is_some() && txn.store.options.expire_stamp == ExpireStamp::Index {
            note_retrieved(txn, id, &request.retrieved.difference(&finished.removed), request.now)?;
            if let Some(cutoff) = request.cutoff() {
                let mut expired = noted_until(txn.db, id, cutoff)?;
                expired.intersect_with(&request.known);
                finished.removed.union_with(&removal::expunge(txn, id, &expired, false)?.uids);
            }
        }
        read.difference_with(&finished.removed);
        if !read.is_empty() {
            let seen = StoreRequest::new(read, StoreOp::Add, SystemFlags::SEEN.into());
            flagging::store(txn, id, &seen, Durability::Lasting)?;
        }
        Ok(Outcome::Finished(finished))
    }
}

/// The removals of a session.
fn remove(txn: &mut Txn<'_>, id: i64, request: &FinishRequest, expired: &UidSet) -> Done<Finished> {
    let mut finished = Finished::default();
    for (uids, only_deleted) in [(&request.delete, false), (&request.marked, true), (expired, false)] {
        if !uids.is_empty() {
            finished.removed.union_with(&removal::expunge(txn, id, uids, only_deleted)?.uids);
        }
    }
    Ok(finished)
}

/// Puts a message with a stamp in the place of the one without; false if that is gone, or another by now.
fn put_in_place(
    txn: &mut Txn<'_>,
    mailbox: &mut MailboxRow,
    mut stamped: Stamped,
    now: i64,
    also: SystemFlags,
) -> Done<bool> {
    let Some(message) = table::message(txn.db, mailbox.id, stamped.uid)? else { return Ok(false) };
    let Some(message) = current(txn, mailbox, message)?.filter(|message| message.base == stamped.old) else {
        return Ok(false);
    };
    let open = txn.folder(&mailbox.folder)?;
    let flags = message.flags | also;
    let modseq = mailbox.step();
    let row = MessageRow {
        uid: mailbox.take_uid()?,
        added: modseq,
        modseq,
        flags,
        fresh: false,
        bytes: stamped.bytes,
        size: Some(stamped.size),
        format: stamped.format,
        base: stamped.base.clone(),
        info: file_name::info_for(&message.info, flags, message.keywords),
        ..message.clone()
    };
    let spot = |place, file| Spot { mailbox: mailbox.id, folder: &open, place, file };
    // Undone from the last step to the first: put back into `tmp/`, then removed.
    let (undo, name) = (Arc::clone(&open), stamped.name.clone());
    txn.on_failure(move || drop(undo.dir(Place::Tmp).remove_file(&name)));
    txn.rename(spot(Place::Tmp, &stamped.name), spot(Place::Cur, &row.file()))?;
    stamped.kept = true;
    table::insert_message(txn.db, mailbox.id, &row)?;
    put_field(txn, mailbox.id, row.uid, Some(&now.to_string()))?;
    removal::remove_as(txn, mailbox, &message, &stamped.taken)?;
    Ok(true)
}

/// Notes in the index when messages were first retrieved.
fn note_retrieved(txn: &Txn<'_>, mailbox: i64, uids: &UidSet, now: i64) -> Done<()> {
    for (first, last) in uids.ranges() {
        txn.db
            .prepare_cached(
                "INSERT OR IGNORE INTO stamp (mailbox, uid, time) \
                 SELECT mailbox, uid, ?4 FROM message WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3",
            )?
            .execute(params![mailbox, first.get(), last.get(), now])?;
    }
    Ok(())
}

fn noted_until(db: &rusqlite::Connection, mailbox: i64, cutoff: i64) -> Done<UidSet> {
    let mut statement = db.prepare_cached("SELECT uid FROM stamp WHERE mailbox = ?1 AND time <= ?2 ORDER BY uid")?;
    let mut rows = statement.query(params![mailbox, cutoff])?;
    let mut uids = UidSet::new();
    while let Some(row) = rows.next()? {
        uids.insert(to_uid(row.get(0)?)?);
    }
    Ok(uids)
}

/// A message whose time is over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Expired {
    /// Its unique-id in POP3.
    pub unique_id: String,
    /// When it was first retrieved, in seconds since 1970.
    pub stamp: i64,
}

/// Finds the messages of INBOX whose stamp is not later than `cutoff`, and removes them unless that is only asked.
pub(super) async fn expire(store: &Arc<MaildirStore>, cutoff: i64, only_ask: bool) -> Result<Vec<Expired>> {
    let store = Arc::clone(store);
    blocking(move || {
        let inbox = super::folders::resolve(&store, &pillarbox_proto_core::mail::MailboxName::inbox())?;
        let index = store.index();
        let id = inbox.id;
        store.change_blocking_in(&index, Durability::Lasting, move |txn| txn.mailbox(id).map(drop))?;
        let state = store.state(&index, &inbox)?;
        let stamps = stamps(&store, &state)?;
        let mut expired = Vec::new();
        let mut uids = UidSet::new();
        for (uid, stamp) in stamps.into_iter().filter(|(_, stamp)| *stamp <= cutoff) {
            if let Some(message) = store.read(&index, |db| table::message(db, id, uid.get()))? {
                uids.insert(uid);
                expired.push(Expired { unique_id: file_name::unique_id(&message.base), stamp });
            }
        }
        if !only_ask && !uids.is_empty() {
            store
                .change_blocking_in(&index, Durability::Lasting, move |txn| removal::expunge(txn, id, &uids, false))?;
        }
        Ok(expired)
    })
    .await
}

/// All stamps of a mailbox that are numbers.
fn stamps(store: &Arc<MaildirStore>, state: &MailboxState) -> Done<Vec<(Uid, i64)>> {
    if store.options.expire_stamp == ExpireStamp::Index {
        return store.read(&state.index, |db| {
            let mut statement = db.prepare_cached("SELECT uid, time FROM stamp WHERE mailbox = ?1 ORDER BY uid")?;
            let mut rows = statement.query([state.id])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push((to_uid(row.get(0)?)?, row.get(1)?));
            }
            Ok(all)
        });
    }
    look(store, state, &UidSet::full())?;
    let fields = store.read(&state.index, |db| fields(db, state.id))?;
    let mut all = Vec::new();
    for (uid, value) in fields {
        match Expiry::parse_stamp(value.as_bytes()) {
            Some(time) => all.push((uid, time)),
            None => tracing::warn!(uid = uid.get(), value, "a stamp is not a number: the message does not expire"),
        }
    }
    Ok(all)
}
