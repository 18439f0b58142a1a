//! Messages as rows, pulled in batches.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Result;
use crate::mail::{DateTime, Flags, ModSeq, Uid, UidSet};

/// Which messages a fetch wants, in what order, and what of each.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FetchRequest {
    /// The messages. Ones that are not there (any more) are left out, without an error.
    pub uids: UidSet,
    /// What to tell of each.
    pub data: FetchData,
    /// From the largest UID down, instead of from the smallest up.
    pub descending: bool,
}

impl FetchRequest {
    /// These messages in ascending order.
    #[must_use]
    pub fn new(uids: UidSet, data: FetchData) -> Self {
        Self { uids, data, descending: false }
    }
}

/// What a [`Row`] has to tell. What is not asked for may be left at its default, so a fetch of flags opens no message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchData {
    /// [`Row::flags`] and [`Row::modseq`].
    pub flags: bool,
    /// [`Row::internal_date`].
    pub internal_date: bool,
    /// [`Row::size`].
    pub size: bool,
    /// [`Row::unique_id`].
    pub unique_id: bool,
    /// [`Row::summary`], where the backend has one.
    pub summary: bool,
    /// Messages of at most so many bytes may come whole in [`Row::content`]; 0 for none. It saves a small message its
    /// own [`open`](super::Mailbox::message).
    pub inline: usize,
}

impl FetchData {
    /// Only flags.
    pub const FLAGS: Self =
        Self { flags: true, internal_date: false, size: false, unique_id: false, summary: false, inline: 0 };

    /// Everything that both ask for.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            flags: self.flags | other.flags,
            internal_date: self.internal_date | other.internal_date,
            size: self.size | other.size,
            unique_id: self.unique_id | other.unique_id,
            summary: self.summary | other.summary,
            inline: self.inline.max(other.inline),
        }
    }
}

/// One message, as far as was asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Row {
    /// The message.
    pub uid: Uid,
    /// The mod-sequence of its last change.
    pub modseq: ModSeq,
    /// Its flags.
    pub flags: Flags,
    /// When it was received.
    pub internal_date: Option<DateTime>,
    /// Its size in octets, line ends counted as CRLF (RFC822.SIZE).
    pub size: Option<u64>,
    /// The store's own lasting name of the message, for POP3's UIDL: 1 to 70 characters from `!` to `~`
    /// (RFC 1939, section 7). It stays when the UID must change.
    pub unique_id: Option<Arc<str>>,
    /// What the library offered through [`remember`](super::Mailbox::remember), as it was.
    pub summary: Option<Bytes>,
    /// The whole message, where that was allowed and is cheap.
    pub content: Option<Bytes>,
}

impl Row {
    /// A row about this message with nothing told yet.
    #[must_use]
    #[inline]
    pub fn new(uid: Uid) -> Self {
        Self {
            uid,
            modseq: ModSeq::ZERO,
            flags: Flags::NONE,
            internal_date: None,
            size: None,
            unique_id: None,
            summary: None,
            content: None,
        }
    }
}

/// Room for rows, bounded in number and in bytes of content. Reused from call to call.
#[derive(Debug)]
pub struct Batch {
    rows: Vec<Row>,
    bytes: usize,
    max_rows: usize,
    max_bytes: usize,
}

impl Batch {
    /// Room for this many rows and this many bytes of content; at least one row always fits.
    #[must_use]
    pub fn new(max_rows: usize, max_bytes: usize) -> Self {
        Self { rows: Vec::new(), bytes: 0, max_rows: max_rows.max(1), max_bytes }
    }

    /// Adds a row.
    #[inline]
    pub fn push(&mut self, row: Row) {
        self.bytes += row.content.as_ref().map_or(0, Bytes::len) + row.summary.as_ref().map_or(0, Bytes::len);
        self.rows.push(row);
    }

    /// Whether no more rows should be added now.
    #[must_use]
    #[inline]
    pub fn is_full(&self) -> bool {
        self.rows.len() >= self.max_rows || (self.bytes >= self.max_bytes && !self.rows.is_empty())
    }

    /// How many more rows fit.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.is_full() { 0 } else { self.max_rows - self.rows.len() }
    }

    /// How many more bytes of content fit.
    #[must_use]
    pub fn byte_room(&self) -> usize {
        self.max_bytes.saturating_sub(self.bytes)
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows, to change.
    pub fn rows_mut(&mut self) -> &mut [Row] {
        &mut self.rows
    }

    /// Takes the rows out one by one; the room stays allocated.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = Row> + '_ {
        self.bytes = 0;
        self.rows.drain(..)
    }

    /// Sets how much it takes from now on, as [`new`](Self::new) does; what is in it stays.
    pub fn resize(&mut self, max_rows: usize, max_bytes: usize) {
        self.max_rows = max_rows.max(1);
        self.max_bytes = max_bytes;
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

/// Rows being read.
#[async_trait]
pub trait Rows: Send {
    /// Adds rows to the batch until it is full or there are no more. Returns whether more may follow.
    ///
    /// # Errors
    ///
    /// When the store fails; rows already in the batch are good.
    async fn next(&mut self, batch: &mut Batch) -> Result<bool>;
}

/// Rows out of any iterator: the whole [`Rows`] of a backend that has its messages at hand.
///
/// ```
/// use pillarbox_proto_core::backend::{Batch, IterRows, Row, Rows};
/// use pillarbox_proto_core::mail::Uid;
///
/// let mut rows = IterRows::new((1..=3).filter_map(Uid::new).map(Row::new));
/// let mut batch = Batch::new(2, 1024);
/// assert!(futures::executor::block_on(rows.next(&mut batch)).unwrap());
/// assert_eq!(batch.len(), 2);
/// ```
#[derive(Debug)]
pub struct IterRows<I>(std::iter::Fuse<I>);

impl<I: Iterator<Item = Row>> IterRows<I> {
    /// Rows as this iterator gives them.
    pub fn new(rows: impl IntoIterator<IntoIter = I>) -> Self {
        Self(rows.into_iter().fuse())
    }
}

#[async_trait]
impl<I: Iterator<Item = Row> + Send> Rows for IterRows<I> {
    async fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        while !batch.is_full() {
            match self.0.next() {
                Some(row) => batch.push(row),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// One message, open for reading. It stays readable when it is renamed or unlinked meanwhile.
#[async_trait]
pub trait Message: Send {
    /// Its size in octets, exactly what reading gives: line ends are CRLF. A protocol announces this number before it
    /// reads, so it is told by the open message and never by a cache.
    fn len(&self) -> u64;

    /// Whether it has no octet at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets from this offset on: at least one and at most `max`, as is convenient; none only at or after the end.
    ///
    /// # Errors
    ///
    /// When the store fails or the message is shorter than it said.
    async fn read(&mut self, at: u64, max: usize) -> Result<Bytes>;

    /// Whether reading gives out memory that the store holds anyway, and copies nothing. Then more of it is sent at
    /// once, as it costs no more. By default it is not so.
    fn is_in_memory(&self) -> bool {
        false
    }
}

#[async_trait]
impl Message for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    fn is_in_memory(&self) -> bool {
        true
    }

    async fn read(&mut self, at: u64, max: usize) -> Result<Bytes> {
        let len = Bytes::len(self);
        let start = usize::try_from(at).unwrap_or(len).min(len);
        let end = start.saturating_add(max).min(len);
        Ok(self.slice(start..end))
    }
}
