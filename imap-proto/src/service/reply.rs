//! What a running command tells its session.

use std::sync::Arc;

use bytes::Bytes;
use pillarbox_proto_core::Output;
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::{Account, Batch, Changes, Row};
use pillarbox_proto_core::mail::UidSet;

use super::completion::OwnedCode;
use super::select::Opening;

/// A reply on its way to the session, which alone knows sequence numbers, and writes it.
pub(crate) enum Reply {
    /// A challenge of a SASL exchange.
    Challenge(Vec<u8>),
    /// A continuation request with a text.
    Continue(&'static str),
    /// The literal that was announced is welcome.
    Accept,
    /// Whole untagged lines, already encoded.
    Lines(Bytes),
    /// `* OK [code] text`.
    Ok(OwnedCode, &'static str),
    /// Messages of which only items of their rows are told.
    Rows { batch: Batch, items: Arc<[RowItem]> },
    /// Messages of which the whole content is told, which their rows have: items of the rows, then the attribute of this
    /// label, with a space before it.
    Bodies { batch: Batch, items: Arc<[RowItem]>, label: Bytes },
    /// One message: items of its row, then attributes already encoded, each with a space before it. Unless it is
    /// `complete`, [`Reply::More`] follows.
    Message { row: Box<Row>, items: Arc<[RowItem]>, attributes: Output, complete: bool },
    /// More of the message that was begun.
    More { attributes: Output, complete: bool },
    /// Rows that a store changed, with or without telling the client.
    Stored { rows: Vec<Row>, uid: bool, silent: bool },
    /// What a search found.
    Found(Box<Found>),
    /// What happened in the mailbox.
    Changes(Box<Changes>),
    /// The client has proven who it is, and its account is open. `preauth`: before it said anything.
    LoggedIn { account: Arc<dyn Account>, identity: Identity, preauth: bool },
    /// A mailbox is open.
    Opened(Box<Opening>),
    /// No mailbox is selected any more. `told` says that the client knows, as it asked for it.
    Closed { told: bool },
    /// What was promised to the client can't be kept.
    Abort,
}

/// An item of a FETCH response that a row answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowItem {
    Uid,
    Flags,
    InternalDate,
    Size,
}

/// What a search found, in UIDs.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) uids: UidSet,
    /// Tell UIDs rather than numbers.
    pub(crate) uid: bool,
    /// Answer with ESEARCH; else with SEARCH.
    pub(crate) returns: Option<SearchReturn>,
}

/// What a search was asked to return (RFC 9051, section 6.4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SearchReturn {
    pub(crate) min: bool,
    pub(crate) max: bool,
    pub(crate) all: bool,
    pub(crate) count: bool,
    pub(crate) save: bool,
}
