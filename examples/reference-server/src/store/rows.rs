//! Rows of messages, read ahead of who asks.
//!
//! Rows that only tell what the index knows open no file: a page of the index is one hand-over to a blocking thread.
//! Where files must be opened, for small messages' content or for a size that nobody knows yet, the files of a page are
//! shared out among a few threads, and read while what came before is sent.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::Dir;
use pillarbox_proto_core::backend::{Batch, Error, FetchData, FetchRequest, Result, Row, Rows};
use pillarbox_proto_core::mail::{DateTime, Flags, Uid, UidSet};
use rusqlite::{Connection, params};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::MaildirStore;
use super::fault::{Done, is_missing};
use super::file_name::unique_id;
use super::folder::{self, Place};
use super::message::{measure, read_whole};
use super::state::MailboxState;
use super::table::{self, Format, MessageRow, to_modseq, to_uid};

/// Rows of a page of the index.
const PAGE: usize = 1024;
/// The same where each row's file is opened, so that flags are not much older than the content they are told with.
const PAGE_WITH_FILES: usize = 256;
/// Files that one thread opens at a time.
const FILES: usize = 32;
/// Messages that are looked up and read in one go, as when a user opens one.
const FEW: u64 = 4;
/// Octets of content that one thread reads at a time; a message of more is read alone.
const OCTETS: usize = 128 * 1024;
/// Threads that read files for one fetch.
const READERS: usize = 3;

/// The rows of a fetch.
pub(super) struct FileRows {
    reader: Arc<Reader>,
    /// Not looked up in the index yet.
    left: UidSet,
    /// Looked up; their files are to be read.
    found: VecDeque<Known>,
    /// Being read, in order.
    reading: VecDeque<Share>,
    /// Read.
    ready: VecDeque<Row>,
}

/// Rows that are made together.
enum Share {
    /// By a thread that opens their files.
    Reading(JoinHandle<Done<Vec<Row>>>),
    /// At once, as no file has to be opened.
    Read(Done<Vec<Row>>),
}

impl Share {
    fn is_finished(&self) -> bool {
        match self {
            Self::Reading(reading) => reading.is_finished(),
            Self::Read(_) => true,
        }
    }
}

/// A message as the index has it, with the summary that is kept of it.
type Known = (MessageRow, Option<Bytes>);

/// A page of the index, and the last message that is done with; none when all are.
type PageRead = (Vec<Known>, Option<Uid>);

impl FileRows {
    pub(super) fn new(store: Arc<MaildirStore>, state: Arc<MailboxState>, request: FetchRequest) -> Self {
        let FetchRequest { uids, data, descending, .. } = request;
        let reader = Arc::new(Reader { store, state, data, descending, dirs: OnceLock::new() });
        let (found, reading, ready) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { reader, left: uids, found, reading, ready }
    }

    /// Looks the next messages up in the index.
    async fn look_up(&mut self, limit: usize) -> Result<()> {
        let (reader, uids) = (Arc::clone(&self.reader), self.left.clone());
        let page = spawn_blocking(move || reader.store.read(&reader.state.index, |db| reader.find(db, &uids, limit)));
        let (found, last) = page.await.map_err(shutting_down)??;
        match last {
            Some(last) if self.reader.descending => self.left.remove_range(last, Uid::MAX),
            Some(last) => self.left.remove_range(Uid::MIN, last),
            None => self.left = UidSet::new(),
        }
        self.found = found.into();
        Ok(())
    }

    /// Has readers begin with what has been looked up.
    fn start(&mut self) {
        while self.reading.len() < READERS && !self.found.is_empty() {
            let mut octets = 0;
            let mut share = Vec::new();
            while share.len() < FILES
                && let Some((message, _)) = self.found.front()
            {
                let more = self.reader.inline(message).unwrap_or(0);
                if octets + more > OCTETS && !share.is_empty() {
                    break;
                }
                octets += more;
                share.extend(self.found.pop_front());
            }
            let cached = self.reader.cached(&share);
            let (reader, all) = (Arc::clone(&self.reader), cached.iter().flatten().count() == share.len());
            self.reading.push_back(if all {
                Share::Read(reader.rows(share, cached))
            } else {
                Share::Reading(spawn_blocking(move || reader.rows(share, cached)))
            });
        }
    }

    /// Looks the last few messages up and reads them, with one hand-over instead of two.
    fn start_few(&mut self) {
        let (reader, uids) = (Arc::clone(&self.reader), std::mem::take(&mut self.left));
        self.reading.push_back(Share::Reading(spawn_blocking(move || {
            let (found, _) = reader.store.read(&reader.state.index, |db| reader.find(db, &uids, usize::MAX))?;
            let cached = reader.cached(&found);
            reader.rows(found, cached)
        })));
    }

    fn has_more(&self) -> bool {
        !(self.ready.is_empty() && self.reading.is_empty() && self.found.is_empty() && self.left.is_empty())
    }
}

fn shutting_down(_: JoinError) -> Error {
    Error::unavailable("the store is shutting down")
}

#[async_trait]
impl Rows for FileRows {
    async fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        while !batch.is_full() && self.has_more() {
            if let Some(row) = self.ready.pop_front() {
                batch.push(row);
                continue;
            }
            let opens = self.reader.data.inline > 0 || self.reader.data.size;
            if self.found.is_empty() && self.reading.is_empty() && opens && (1..=FEW).contains(&self.left.len()) {
                self.start_few();
            } else if self.found.is_empty() && self.reading.len() < READERS && !self.left.is_empty() {
                let page = if self.reader.data.inline > 0 { PAGE_WITH_FILES } else { batch.room().min(PAGE) };
                self.look_up(page).await?;
            }
            if self.reading.is_empty() && !self.found.iter().any(|(message, _)| self.reader.opens(message)) {
                let found: Vec<Known> = self.found.drain(..).collect();
                self.ready = self.reader.rows(found, Vec::new())?.into();
                continue;
            }
            self.start();
            let Some(reading) = self.reading.front_mut() else { continue };
            // What is there is sent while the rest is read.
            if !batch.is_empty() && !reading.is_finished() {
                break;
            }
            let rows = match reading {
                Share::Reading(reading) => reading.await.map_err(shutting_down)?,
                Share::Read(rows) => std::mem::replace(rows, Ok(Vec::new())),
            };
            self.reading.pop_front();
            self.ready = rows?.into();
            self.start();
        }
        Ok(self.has_more())
    }
}

/// What reads rows, on any thread.
struct Reader {
    store: Arc<MaildirStore>,
    state: Arc<MailboxState>,
    data: FetchData,
    descending: bool,
    /// `cur/` and `new/`, open once a file is read.
    dirs: OnceLock<(Dir, Dir)>,
}

impl Reader {
    /// Whether a message's file must be opened: for its content, or for a size that nobody knows yet.
    fn opens(&self, message: &MessageRow) -> bool {
        self.inline(message).is_some() || (self.data.size && message.size.is_none())
    }

    /// How many octets of content a message's row brings along; none if it brings none.
    fn inline(&self, message: &MessageRow) -> Option<usize> {
        let size = usize::try_from(message.size.unwrap_or(message.bytes)).ok()?;
        (self.data.inline > 0 && size <= self.data.inline).then_some(size)
    }

    /// What the index says of the next messages, and the last one if there may be more.
    fn find(&self, db: &Connection, uids: &UidSet, limit: usize) -> Done<PageRead> {
        let order = if self.descending { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT {} FROM message WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid {order} LIMIT ?4",
            MessageRow::COLUMNS
        );
        let mut statement = db.prepare_cached(&sql)?;
        let mut summary = db.prepare_cached("SELECT data FROM summary WHERE mailbox = ?1 AND uid = ?2")?;
        let mut found = Vec::new();
        let mut ranges = uids.ranges();
        while found.len() < limit {
            let range = if self.descending { ranges.next_back() } else { ranges.next() };
            let Some((first, last)) = range else { return Ok((found, None)) };
            let room = i64::try_from(limit - found.len()).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![self.state.id, first.get(), last.get(), room])?;
            while let Some(row) = rows.next()? {
                let message = MessageRow::from_row(row)?;
                let mut known = None;
                if self.data.summary {
                    known = self.store.pending.summary(self.state.id, message.uid);
                    if known.is_none() {
                        let mut rows = summary.query(params![self.state.id, message.uid])?;
                        if let Some(row) = rows.next()? {
                            known = Some(Bytes::from(row.get::<_, Vec<u8>>(0)?));
                        }
                    }
                }
                found.push((message, known));
            }
        }
        let last = found.last().and_then(|(message, _)| Uid::new(message.uid));
        Ok((found, last))
    }

    /// What the cache has of the contents that these messages' rows bring along, in their order.
    fn cached(&self, found: &[Known]) -> Vec<Option<Bytes>> {
        if self.data.inline == 0 {
            return Vec::new();
        }
        self.store.cache.find(found.iter().map(|(message, _)| (self.state.key(message.uid), &*message.base)))
    }

    /// Makes rows, with the contents that the cache had.
    fn rows(&self, found: Vec<Known>, mut cached: Vec<Option<Bytes>>) -> Done<Vec<Row>> {
        cached.resize(found.len(), None);
        let from_files = found.iter().zip(&cached).filter(|(_, cached)| cached.is_none());
        let octets = from_files.filter_map(|((message, _), _)| self.inline(message)).sum();
        let mut rows = Vec::with_capacity(found.len());
        // One buffer for all contents.
        let mut contents = Contents { octets: Vec::with_capacity(octets), ends: Vec::new(), scratch: Vec::new() };
        for ((message, summary), cached) in found.into_iter().zip(cached) {
            rows.extend(self.row(&mut contents, rows.len(), message, summary, cached)?);
        }
        let octets = Bytes::from(contents.octets);
        let mut start = 0;
        for (at, end, _) in &contents.ends {
            if let Some(row) = rows.get_mut(*at) {
                row.size = Some((end - start) as u64);
                row.content = Some(octets.slice(start..*end));
            }
            start = *end;
        }
        self.store.cache.note(contents.ends.iter().filter_map(|(at, _, base)| {
            let row = rows.get(*at)?;
            Some((self.state.key(row.uid.get()), &**base, row.content.clone()?))
        }));
        Ok(rows)
    }

    /// Makes a row; none for a message that turns out to be gone.
    fn row(
        &self,
        contents: &mut Contents,
        at: usize,
        message: MessageRow,
        summary: Option<Bytes>,
        cached: Option<Bytes>,
    ) -> Done<Option<Row>> {
        let mut row = Row::new(to_uid(message.uid)?);
        row.summary = summary;
        if self.data.flags {
            row.modseq = to_modseq(message.modseq);
            row.flags = self.flags(&message);
        }
        if self.data.internal_date {
            row.internal_date = Some(internal_date(&message));
        }
        if self.data.unique_id {
            row.unique_id = Some(unique_id(&message.base).into());
        }
        let inline = self.inline(&message).is_some();
        if let Some(content) = cached.filter(|_| inline) {
            row.size = Some(content.len() as u64);
            row.content = Some(content);
            return Ok(Some(row));
        }
        if inline {
            // It is told by `message` whether it is gone.
            let Some(file) = self.open(&message)? else { return Ok(self.data.flags.then_some(row)) };
            let learned = read_whole(&file, &message, &mut contents.scratch, &mut contents.octets)?;
            self.learn(&message, learned);
            contents.ends.push((at, contents.octets.len(), message.base));
            return Ok(Some(row));
        }
        if self.data.size {
            row.size = match message.size {
                Some(size) => Some(size),
                None => self.size(&message)?,
            };
        }
        Ok(Some(row))
    }

    fn flags(&self, message: &MessageRow) -> Flags {
        let keywords = match message.keywords {
            0 => pillarbox_proto_core::mail::Keywords::NONE,
            bits => self.state.view().keywords.set_of(bits),
        };
        Flags { system: message.flags, keywords }
    }

    /// The message's size, counted; none if it is gone.
    fn size(&self, message: &MessageRow) -> Done<Option<u64>> {
        if let Some((_, size, _)) = self.store.pending.sizes(self.state.id, message.uid) {
            return Ok(Some(size));
        }
        let Some(file) = self.open(message)? else { return Ok(None) };
        let sizes = measure(&file)?;
        self.learn(message, Some(sizes));
        Ok(Some(sizes.1))
    }

    fn learn(&self, message: &MessageRow, learned: Option<(u64, u64, Format)>) {
        if let Some(sizes) = learned
            && self.store.pending.learn(self.state.id, message.uid, sizes)
        {
            self.store.write_pending();
        }
    }

    fn open(&self, message: &MessageRow) -> Done<Option<File>> {
        let (cur, new) = match self.dirs.get() {
            Some(dirs) => dirs,
            None => {
                let folder = self.state.folder()?;
                let open = |place| self.store.root().open_dir(folder::path(&folder, place));
                match (open(Place::Cur), open(Place::New)) {
                    (Ok(cur), Ok(new)) => self.dirs.get_or_init(|| (cur, new)),
                    (Err(error), _) | (_, Err(error)) if !is_missing(&error) => return Err(error.into()),
                    // Renamed this moment; the slow way finds it.
                    _ => return self.search(message),
                }
            }
        };
        match if message.fresh { new } else { cur }.open(message.file()) {
            Ok(file) => {
                self.store.count_opened();
                Ok(Some(file.into_std()))
            }
            Err(error) if is_missing(&error) => self.search(message),
            Err(error) => Err(error.into()),
        }
    }

    fn search(&self, message: &MessageRow) -> Done<Option<File>> {
        Ok(open_message(&self.store, &self.state, message.uid)?.map(|(file, _)| file))
    }
}

/// The contents of some messages, one behind the other.
struct Contents {
    octets: Vec<u8>,
    /// The row that a content belongs to, where it ends, and the name of its file.
    ends: Vec<(usize, usize, String)>,
    scratch: Vec<u8>,
}

/// The internal date of a message.
pub(super) fn internal_date(message: &MessageRow) -> DateTime {
    DateTime::from_unix_at(message.date, message.zone).unwrap_or_else(|_| DateTime::from_unix(message.date))
}

/// Opens a message's file wherever it is now; none if it is gone. On a thread that may block.
pub(super) fn open_message(
    store: &Arc<MaildirStore>,
    state: &MailboxState,
    uid: u32,
) -> Done<Option<(File, MessageRow)>> {
    for attempt in 0..4 {
        let found = store.read(&state.index, |db| {
            let Some(mailbox) = table::mailbox(db, state.id)? else { return Err(Error::MailboxGone.into()) };
            Ok(table::message(db, state.id, uid)?.map(|message| (mailbox.folder, message)))
        })?;
        let Some((folder, message)) = found else { return Ok(None) };
        let path = folder::path(&folder, Place::of(message.fresh));
        match store.root().open(format!("{path}/{}", message.file())) {
            Ok(file) => {
                store.count_opened();
                return Ok(Some((file.into_std(), message)));
            }
            // Another program renamed or removed it, and the index does not know yet. The first time it may be a
            // change of this server that is being committed.
            Err(error) if is_missing(&error) => {
                let id = state.id;
                let whole = attempt > 0;
                store.change_blocking(super::Durability::Lasting, move |txn| {
                    let row = txn.mailbox(id)?;
                    if whole {
                        super::scan::everything(txn, row)?;
                    }
                    Ok(())
                })?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
