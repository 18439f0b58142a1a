//! What a search looks for.

use std::sync::Arc;

use crate::mail::{Keyword, ModSeq, SystemFlags, UidSet};

/// A search for the backend to answer from an index, if it has one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SearchRequest {
    /// What to look for.
    pub query: Query,
    /// Only among these messages.
    pub within: UidSet,
}

impl SearchRequest {
    /// A search among these messages.
    #[must_use]
    pub fn new(query: Query, within: UidSet) -> Self {
        Self { query, within }
    }
}

/// A search condition (RFC 9051, section 6.4.4). Sequence numbers, `$` and `\Recent` have become UIDs, relative times
/// have become points in time. Days count from 1970-01-01; texts are Unicode and compared without case.
///
/// Its depth is bounded by the session's limits, so recursion over it is safe.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Query {
    /// All messages.
    All,
    /// These messages.
    Uids(UidSet),
    /// Messages with all these system flags.
    Flags(SystemFlags),
    /// Messages with this keyword.
    Keyword(Keyword),
    /// Messages that the condition does not match.
    Not(Box<Query>),
    /// Messages that all conditions match.
    And(Vec<Query>),
    /// Messages that any of the conditions matches.
    Or(Vec<Query>),
    /// Larger than this many octets.
    Larger(u64),
    /// Smaller than this many octets.
    Smaller(u64),
    /// Received on a day before this one, in the time zone of the message's internal date.
    Before(i64),
    /// Received on this day.
    On(i64),
    /// Received on this day or later.
    Since(i64),
    /// Sent (`Date:` header) on a day before this one, in the header's own time zone.
    SentBefore(i64),
    /// Sent on this day.
    SentOn(i64),
    /// Sent on this day or later.
    SentSince(i64),
    /// Received at or before this time, in seconds since 1970 (OLDER, RFC 5032).
    ReceivedUntil(i64),
    /// Received at or after this time, in seconds since 1970 (YOUNGER, RFC 5032).
    ReceivedFrom(i64),
    /// An address header holds this text.
    Address(AddressField, Arc<str>),
    /// The subject holds this text.
    Subject(Arc<str>),
    /// The header field of this name holds this text; an empty text matches whenever the field is there.
    Header(Arc<str>, Arc<str>),
    /// The text of the message's body holds this text.
    Body(Arc<str>),
    /// Header or body holds this text.
    Text(Arc<str>),
    /// The mod-sequence is this or larger (RFC 7162, section 3.1.5).
    ModSeq(ModSeq),
}

/// The header fields that search keys for addresses name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressField {
    /// `From:`
    From,
    /// `To:`
    To,
    /// `Cc:`
    Cc,
    /// `Bcc:`
    Bcc,
}
