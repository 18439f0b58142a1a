//! One message's FETCH response, written as it becomes known.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pillarbox_proto_core::Output;
use pillarbox_proto_core::backend::Row;

use crate::service::port::Port;
use crate::service::reply::{Reply, RowItem};
use crate::service::source::{CHUNK, LARGE_CHUNK};
use crate::wire::encode;

/// What is gathered before it is handed to the session.
const HAND_ON: usize = 32 * 1024;

/// The same where it lies in memory anyway.
const HAND_ON_SHARED: usize = 1024 * 1024;

/// Gathers attributes and hands them on in pieces, so that a large message never stands in memory.
pub(super) struct Writer<'a> {
    port: &'a Port,
    /// The row and its items, until the response has begun.
    head: Option<(Box<Row>, Arc<[RowItem]>)>,
    attributes: Output,
    /// Octets of an announced literal that have not been written yet.
    owed: u64,
    /// Octets that were read for the client since it had taken everything.
    held: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(port: &'a Port, items: Arc<[RowItem]>, row: Row) -> Self {
        Self { port, head: Some((Box::new(row), items)), attributes: Output::new(), owed: 0, held: 0 }
    }

    /// Whether some of the response is on its way already.
    pub(super) fn has_begun(&self) -> bool {
        self.head.is_none()
    }

    /// Whether an announced literal is not complete.
    pub(super) fn in_literal(&self) -> bool {
        self.owed > 0
    }

    /// Adds encoded text: an attribute begins with a space.
    pub(super) fn text(&mut self, write: impl FnOnce(&mut BytesMut)) {
        write(self.attributes.tail_mut());
    }

    /// Announces a literal of this many octets; they follow by [`octets`](Self::octets).
    pub(super) fn literal(&mut self, length: u64) {
        encode::literal(self.attributes.tail_mut(), length);
        self.owed = length;
    }

    /// Announces a literal8.
    pub(super) fn literal8(&mut self, length: u64) {
        encode::literal8(self.attributes.tail_mut(), length);
        self.owed = length;
    }

    /// Octets of the announced literal.
    pub(super) async fn octets(&mut self, octets: Bytes) {
        self.held += octets.len();
        self.add(octets, HAND_ON).await;
    }

    /// The same, for octets that the store holds in memory as well.
    pub(super) async fn octets_in_memory(&mut self, octets: Bytes) {
        self.add(octets, HAND_ON_SHARED).await;
    }

    /// How many octets to read next for a literal. A large one goes out in large pieces, as each write costs, and the
    /// client may go to sleep after each; so the next piece is read when the last is out, and there is one at a time.
    pub(super) async fn room(&mut self) -> usize {
        if self.held >= CHUNK {
            if !self.attributes.is_empty() {
                self.hand_on(false).await;
            }
            self.port.drained().await;
            self.held = 0;
        }
        LARGE_CHUNK - self.held
    }

    async fn add(&mut self, octets: Bytes, hand_on: usize) {
        self.owed = self.owed.saturating_sub(octets.len() as u64);
        self.attributes.put_bytes(octets);
        if self.attributes.len() >= hand_on {
            self.hand_on(false).await;
        }
    }

    /// Hands on what has come together, between two attributes.
    pub(super) async fn relieve(&mut self) {
        if self.attributes.len() >= HAND_ON {
            self.hand_on(false).await;
        }
    }

    /// Ends the response.
    pub(super) async fn finish(mut self) {
        // A response has one item at least.
        let empty = self.attributes.is_empty() && self.head.as_ref().is_some_and(|(_, items)| items.is_empty());
        if !empty {
            self.hand_on(true).await;
        }
    }

    async fn hand_on(&mut self, complete: bool) {
        let attributes = std::mem::take(&mut self.attributes);
        let reply = match self.head.take() {
            Some((row, items)) => Reply::Message { row, items, attributes, complete },
            None => Reply::More { attributes, complete },
        };
        self.port.emit(reply).await;
    }
}
