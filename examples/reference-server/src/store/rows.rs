//! Rows of messages, a page at a time.
//!
//! A page is one hand-over to a blocking thread: it reads the index, and small messages' files when their content may
//! come inline, many files at once. Rows that only tell what the index knows open no file.

use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cap_std::fs::Dir;
use pillarbox_proto_core::backend::{Batch, Error, FetchData, FetchRequest, Result, Row, Rows};
use pillarbox_proto_core::mail::{DateTime, Flags, Uid, UidSet};
use rusqlite::{Connection, params};
use tokio::task::JoinHandle;

use super::MaildirStore;
use super::fault::{Done, is_missing};
use super::file_name::unique_id;
use super::folder::{self, Place};
use super::message::{measure, read_whole};
use super::state::MailboxState;
use super::table::{self, Format, MessageRow, to_modseq, to_uid};

/// Rows of a page that opens files.
const FILES: usize = 64;
/// Rows of a page that reads the index only.
const PAGE: usize = 1024;
/// A buffer for contents is not made larger than this at first.
const BUFFER: usize = 1024 * 1024;

/// The rows of a fetch.
pub(super) struct FileRows {
    store: Arc<MaildirStore>,
    state: Arc<MailboxState>,
    left: UidSet,
    data: FetchData,
    descending: bool,
    /// The next page with contents, read while the last one is sent, and the room that it was read for.
    ahead: Option<(usize, usize, JoinHandle<Done<PageRead>>)>,
}

/// A message as the index has it, with the summary that is kept of it.
type Known = (MessageRow, Option<Bytes>);

/// Rows, and the last message that is done with; none when all are.
type PageRead = (Vec<Row>, Option<Uid>);

impl FileRows {
    pub(super) fn new(store: Arc<MaildirStore>, state: Arc<MailboxState>, request: FetchRequest) -> Self {
        let FetchRequest { uids, data, descending, .. } = request;
        Self { store, state, left: uids, data, descending, ahead: None }
    }

    fn start(&self, rows: usize, bytes: usize) -> JoinHandle<Done<PageRead>> {
        let page = Page {
            store: Arc::clone(&self.store),
            state: Arc::clone(&self.state),
            uids: self.left.clone(),
            data: self.data,
            descending: self.descending,
            rows,
            bytes,
        };
        tokio::task::spawn_blocking(move || page.read())
    }
}

#[async_trait]
impl Rows for FileRows {
    async fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        while !batch.is_full() && !self.left.is_empty() {
            let (rows, bytes) = (batch.room(), batch.byte_room());
            // A page that does not fit would overfill the batch.
            if self.ahead.as_ref().is_some_and(|(for_rows, for_bytes, _)| *for_rows > rows || *for_bytes > bytes) {
                if !batch.is_empty() {
                    return Ok(true);
                }
                self.ahead = None;
            }
            if self.ahead.is_none() {
                self.ahead = Some((rows, bytes, self.start(rows, bytes)));
            }
            let Some((_, _, page)) = &mut self.ahead else { continue };
            let page = page.await;
            self.ahead = None;
            let (found, last) = page.map_err(|_| Error::unavailable("the store is shutting down"))??;
            match last {
                Some(last) if self.descending => self.left.remove_range(last, Uid::MAX),
                Some(last) => self.left.remove_range(Uid::MIN, last),
                None => self.left = UidSet::new(),
            }
            // Rows without contents are cheap, and may be flags that should be as new as can be.
            let contents = found.iter().any(|row| row.content.is_some());
            for row in found {
                batch.push(row);
            }
            if contents && !self.left.is_empty() {
                self.ahead = Some((rows, bytes, self.start(rows, bytes)));
            }
        }
        Ok(!self.left.is_empty())
    }
}

struct Page {
    store: Arc<MaildirStore>,
    state: Arc<MailboxState>,
    uids: UidSet,
    data: FetchData,
    descending: bool,
    rows: usize,
    bytes: usize,
}

impl Page {
    fn read(self) -> Done<PageRead> {
        let opens = self.data.inline > 0 || self.data.size;
        let limit = self.rows.min(if opens { FILES } else { PAGE });
        let (found, mut more) = self.store.read(&self.state.index, |db| self.find(db, limit))?;
        let mut reader = Reader::new(&self);
        let mut rows = Vec::with_capacity(found.len());
        let mut last = None;
        let mut bytes = 0;
        for (message, summary) in found {
            if bytes >= self.bytes && !rows.is_empty() {
                more = true;
                break;
            }
            last = Uid::new(message.uid);
            let Some(row) = self.row(&mut reader, &message, summary)? else { continue };
            bytes += row.content.as_ref().map_or(0, Bytes::len) + row.summary.as_ref().map_or(0, Bytes::len);
            rows.push(row);
        }
        Ok((rows, last.filter(|_| more)))
    }

    /// What the index says of the page's messages, no more of them than fit, and whether there are more.
    fn find(&self, db: &Connection, limit: usize) -> Done<(Vec<Known>, bool)> {
        let order = if self.descending { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT {} FROM message WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid {order} LIMIT ?4",
            MessageRow::COLUMNS
        );
        let mut statement = db.prepare_cached(&sql)?;
        let mut summary = db.prepare_cached("SELECT data FROM summary WHERE mailbox = ?1 AND uid = ?2")?;
        let mut found = Vec::new();
        let mut contents = 0;
        let mut ranges = self.uids.ranges();
        while found.len() < limit {
            let range = if self.descending { ranges.next_back() } else { ranges.next() };
            let Some((first, last)) = range else { break };
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
                let size = message.size.unwrap_or(message.bytes);
                if size <= self.data.inline as u64 {
                    contents += size;
                }
                found.push((message, known));
                if contents >= self.bytes as u64 && contents > 0 {
                    return Ok((found, true));
                }
            }
        }
        let more = found.len() == limit;
        Ok((found, more))
    }

    /// Makes a row; none for a message that turns out to be gone.
    fn row(&self, reader: &mut Reader<'_>, message: &MessageRow, summary: Option<Bytes>) -> Done<Option<Row>> {
        let mut row = Row::new(to_uid(message.uid)?);
        row.summary = summary;
        if self.data.flags {
            row.modseq = to_modseq(message.modseq);
            row.flags = self.flags(message);
        }
        if self.data.internal_date {
            row.internal_date = Some(internal_date(message));
        }
        if self.data.unique_id {
            row.unique_id = Some(unique_id(&message.base).into());
        }
        if self.data.inline > 0 && message.size.unwrap_or(message.bytes) <= self.data.inline as u64 {
            match reader.content(message)? {
                Some(content) => {
                    row.size = Some(content.len() as u64);
                    row.content = Some(content);
                }
                // It is told by `message` whether it is gone.
                None => return Ok(self.data.flags.then_some(row)),
            }
        }
        if self.data.size && row.size.is_none() {
            row.size = match message.size {
                Some(size) => Some(size),
                None => reader.size(message)?,
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
}

/// The internal date of a message.
pub(super) fn internal_date(message: &MessageRow) -> DateTime {
    DateTime::from_unix_at(message.date, message.zone).unwrap_or_else(|_| DateTime::from_unix(message.date))
}

/// Opens the message files of one page.
struct Reader<'a> {
    store: &'a Arc<MaildirStore>,
    state: &'a MailboxState,
    dirs: Option<(Dir, Dir)>,
    scratch: Vec<u8>,
    buffer: BytesMut,
}

impl<'a> Reader<'a> {
    fn new(page: &'a Page) -> Self {
        Self {
            store: &page.store,
            state: &page.state,
            dirs: None,
            scratch: Vec::new(),
            buffer: BytesMut::with_capacity(if page.data.inline > 0 { page.bytes.min(BUFFER) } else { 0 }),
        }
    }

    /// The whole message; none if it is gone.
    fn content(&mut self, message: &MessageRow) -> Done<Option<Bytes>> {
        let Some(file) = self.open(message)? else { return Ok(None) };
        let (size, learned) = read_whole(&file, message, &mut self.scratch, &mut self.buffer)?;
        self.learn(message, learned);
        Ok(Some(self.buffer.split_to(size).freeze()))
    }

    /// The message's size, counted; none if it is gone.
    fn size(&mut self, message: &MessageRow) -> Done<Option<u64>> {
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

    fn open(&mut self, message: &MessageRow) -> Done<Option<File>> {
        if self.dirs.is_none() {
            let folder = self.state.folder()?;
            let open = |place| self.store.root().open_dir(folder::path(&folder, place));
            match (open(Place::Cur), open(Place::New)) {
                (Ok(cur), Ok(new)) => self.dirs = Some((cur, new)),
                (Err(error), _) | (_, Err(error)) if !is_missing(&error) => return Err(error.into()),
                // Renamed this moment; the slow way finds it.
                _ => return open_message(self.store, self.state, message.uid).map(|found| found.map(|(file, _)| file)),
            }
        }
        let Some((cur, new)) = &self.dirs else { return Ok(None) };
        match if message.fresh { new } else { cur }.open(message.file()) {
            Ok(file) => {
                self.store.count_opened();
                Ok(Some(file.into_std()))
            }
            Err(error) if is_missing(&error) => {
                Ok(open_message(self.store, self.state, message.uid)?.map(|(file, _)| file))
            }
            Err(error) => Err(error.into()),
        }
    }
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
