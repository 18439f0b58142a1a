//! The octets of one message, opened no sooner than they are needed.

use std::ops::Range;

use bytes::Bytes;
use pillarbox_proto_core::backend::{Error, Mailbox, Message, Result, Row};
use pillarbox_proto_core::mail::Uid;

use crate::message::{Structure, Summary, SummaryBuilder};

/// Octets that are read at a time.
pub(crate) const CHUNK: usize = 64 * 1024;

/// The same for one who sends each piece before the next is read.
pub(crate) const LARGE_CHUNK: usize = 160 * 1024;

/// One message: what its row brought along, and the message itself once it is open.
pub(crate) struct Source<'a> {
    mailbox: &'a dyn Mailbox,
    uid: Uid,
    message: Option<Box<dyn Message>>,
    summary: Option<Summary>,
    /// The summary was worked out here, and is to be offered to the backend.
    fresh: bool,
}

impl<'a> Source<'a> {
    pub(crate) fn new(mailbox: &'a dyn Mailbox, row: &mut Row) -> Self {
        let message = row.content.take().map(|content| Box::new(content) as Box<dyn Message>);
        let summary = row.summary.take().and_then(|summary| Summary::decode(&summary));
        Self { mailbox, uid: row.uid, message, summary, fresh: false }
    }

    /// Opens the message. A summary that does not fit it, as the store has changed it, is dropped.
    pub(crate) async fn open(&mut self) -> Result<&mut dyn Message> {
        if self.message.is_none() {
            let message = self.mailbox.message(self.uid).await?;
            if self.summary.as_ref().is_some_and(|summary| summary.size() != message.len()) {
                self.summary = None;
            }
            self.message = Some(message);
        }
        match &mut self.message {
            Some(message) => Ok(message.as_mut()),
            None => Err(Error::Expunged),
        }
    }

    /// What is known of the message as a whole; the message is read through once where the backend knows nothing.
    pub(crate) async fn summary(&mut self) -> Result<&Summary> {
        if self.summary.is_none() {
            self.open().await?;
        }
        // Opening may have dropped it.
        if self.summary.is_none() {
            let message = self.open().await?;
            let mut builder = SummaryBuilder::new();
            let (mut at, size) = (0, message.len());
            while at < size {
                let chunk = read(message, at, size, CHUNK).await?;
                builder.push(&chunk);
                at += chunk.len() as u64;
            }
            self.summary = Some(builder.finish());
            self.fresh = true;
        }
        self.summary.as_ref().ok_or(Error::Expunged)
    }

    /// Whether reading through the open message takes so long that others should have their turn afterwards.
    pub(crate) fn is_long(&self) -> bool {
        self.message.as_ref().is_some_and(|message| message.len() > 16 * CHUNK as u64)
    }

    /// The tree of the message's parts.
    pub(crate) async fn structure(&mut self) -> Result<&Structure> {
        self.summary().await.map(Summary::structure)
    }

    /// The header of the message, where the summary has it.
    pub(crate) fn cached_header(&self) -> Option<Bytes> {
        self.summary.as_ref().and_then(Summary::header).cloned()
    }

    /// Octets of the message from `at` on, not beyond `end`.
    pub(crate) async fn read(&mut self, at: u64, end: u64) -> Result<Bytes> {
        read(self.open().await?, at, end, CHUNK).await
    }

    /// The same, and at most so many.
    pub(crate) async fn read_most(&mut self, at: u64, end: u64, most: usize) -> Result<Bytes> {
        read(self.open().await?, at, end, most).await
    }

    /// Whether its octets lie in memory anyway, however many of them are read.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.message.as_ref().is_some_and(|message| message.is_in_memory())
    }

    /// Offers the backend what was worked out.
    pub(crate) async fn remember(&mut self) {
        if let Some(summary) = self.summary.as_ref().filter(|_| self.fresh) {
            self.mailbox.remember(self.uid, summary.encode()).await;
        }
    }
}

async fn read(message: &mut dyn Message, at: u64, end: u64, most: usize) -> Result<Bytes> {
    let length = usize::try_from(end - at).unwrap_or(most).min(most);
    let chunk = message.read(at, length).await?;
    if chunk.is_empty() || chunk.len() > length {
        return Err(Error::corrupt("a message gave other octets than it announced"));
    }
    Ok(chunk)
}

/// The octets that some ranges have together.
pub(crate) fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum()
}
