//! From search keys to a query: numbers become UIDs, strings become text, relative times points in time.

use std::sync::Arc;

use pillarbox_proto_core::backend::{AddressField, Query};
use pillarbox_proto_core::mail::{SystemFlags, UidSet};

use crate::message::Charset;
use crate::session::view::View;
use crate::wire::command::{AString, Search, SearchKey, SearchTerm, SequenceSet};

/// What search keys refer to.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) view: &'a View,
    /// The result saved by an earlier search: `$`.
    pub(crate) saved: &'a UidSet,
    /// The time of day, in seconds since 1970.
    pub(crate) now: i64,
}

/// Why search keys make no query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsearchable {
    #[error("There is no message of this sequence number")]
    NoSuchMessage,
    #[error("This charset is not supported")]
    BadCharset,
    #[error("A search string is not valid in its charset")]
    BadString,
}

/// Turns a SEARCH into a query.
pub(crate) fn compile(search: &Search<'_>, scope: &Scope<'_>) -> Result<Query, Unsearchable> {
    // An unknown charset is refused even when no string of the search needs it, so that a client learns it early.
    let charset = match search.charset {
        None => None,
        Some(label) => Some(Charset::for_label(&label.value()).ok_or(Unsearchable::BadCharset)?),
    };
    Compiler { scope, charset }.all(search.program.keys())
}

struct Compiler<'a> {
    scope: &'a Scope<'a>,
    charset: Option<Charset>,
}

impl Compiler<'_> {
    fn all<'p, 'c: 'p>(&self, terms: impl Iterator<Item = SearchTerm<'p, 'c>>) -> Result<Query, Unsearchable> {
        let mut queries = terms.map(|term| self.term(&term)).collect::<Result<Vec<_>, _>>()?;
        Ok(if queries.len() == 1 { queries.swap_remove(0) } else { Query::And(queries) })
    }

    /// The depth is bounded by the parser, so recursion is safe.
    fn term(&self, term: &SearchTerm<'_, '_>) -> Result<Query, Unsearchable> {
        let flag = |flag| Ok(Query::Flags(flag));
        let unflag = |flag| Ok(not(Query::Flags(flag)));
        match term.key() {
            SearchKey::And => self.all(term.nested()),
            SearchKey::Or => Ok(Query::Or(term.nested().map(|nested| self.term(&nested)).collect::<Result<_, _>>()?)),
            SearchKey::Not => self.all(term.nested()).map(not),
            SearchKey::All => Ok(Query::All),
            SearchKey::Answered => flag(SystemFlags::ANSWERED),
            SearchKey::Deleted => flag(SystemFlags::DELETED),
            SearchKey::Draft => flag(SystemFlags::DRAFT),
            SearchKey::Flagged => flag(SystemFlags::FLAGGED),
            SearchKey::Seen => flag(SystemFlags::SEEN),
            SearchKey::Unanswered => unflag(SystemFlags::ANSWERED),
            SearchKey::Undeleted => unflag(SystemFlags::DELETED),
            SearchKey::Undraft => unflag(SystemFlags::DRAFT),
            SearchKey::Unflagged => unflag(SystemFlags::FLAGGED),
            SearchKey::Unseen => unflag(SystemFlags::SEEN),
            SearchKey::Keyword(keyword) => Ok(keyword.to_keyword().map_or(none(), Query::Keyword)),
            SearchKey::Unkeyword(keyword) => {
                Ok(keyword.to_keyword().map_or(Query::All, |keyword| not(Query::Keyword(keyword))))
            }
            SearchKey::Recent => Ok(self.recent()),
            SearchKey::Old => Ok(not(self.recent())),
            SearchKey::New => Ok(Query::And(vec![self.recent(), not(Query::Flags(SystemFlags::SEEN))])),
            SearchKey::Larger(size) => Ok(Query::Larger(size)),
            SearchKey::Smaller(size) => Ok(Query::Smaller(size)),
            SearchKey::Before(date) => Ok(Query::Before(date.days())),
            SearchKey::On(date) => Ok(Query::On(date.days())),
            SearchKey::Since(date) => Ok(Query::Since(date.days())),
            SearchKey::SentBefore(date) => Ok(Query::SentBefore(date.days())),
            SearchKey::SentOn(date) => Ok(Query::SentOn(date.days())),
            SearchKey::SentSince(date) => Ok(Query::SentSince(date.days())),
            SearchKey::Older(seconds) => Ok(Query::ReceivedUntil(self.scope.now - i64::from(seconds))),
            SearchKey::Younger(seconds) => Ok(Query::ReceivedFrom(self.scope.now - i64::from(seconds))),
            SearchKey::Bcc(text) => self.address(AddressField::Bcc, text),
            SearchKey::Cc(text) => self.address(AddressField::Cc, text),
            SearchKey::From(text) => self.address(AddressField::From, text),
            SearchKey::To(text) => self.address(AddressField::To, text),
            SearchKey::Subject(text) => self.text(text).map(Query::Subject),
            SearchKey::Body(text) => self.text(text).map(Query::Body),
            SearchKey::Text(text) => self.text(text).map(Query::Text),
            SearchKey::Header(name, text) => Ok(Query::Header(self.text(name)?, self.text(text)?)),
            SearchKey::Sequence(set) if set.is_saved_result() => Ok(Query::Uids(self.scope.saved.clone())),
            SearchKey::Uid(set) if set.is_saved_result() => Ok(Query::Uids(self.scope.saved.clone())),
            SearchKey::Sequence(set) => self.numbers(set),
            SearchKey::Uid(set) => Ok(Query::Uids(self.scope.view.resolve_uids(set))),
        }
    }

    fn recent(&self) -> Query {
        Query::Uids(self.scope.view.recent().clone())
    }

    fn numbers(&self, set: SequenceSet<'_>) -> Result<Query, Unsearchable> {
        self.scope.view.resolve_numbers(set).map(Query::Uids).map_err(|_| Unsearchable::NoSuchMessage)
    }

    fn address(&self, field: AddressField, text: AString<'_>) -> Result<Query, Unsearchable> {
        self.text(text).map(|text| Query::Address(field, text))
    }

    /// Without a charset, strings are US-ASCII (RFC 3501, section 6.4.4) or UTF-8 (RFC 9051); UTF-8 is both.
    fn text(&self, text: AString<'_>) -> Result<Arc<str>, Unsearchable> {
        let value = text.value();
        match &self.charset {
            None => std::str::from_utf8(&value).map(Arc::from).map_err(|_| Unsearchable::BadString),
            Some(charset) => charset.decode_strict(&value).map(Arc::from).ok_or(Unsearchable::BadString),
        }
    }
}

fn not(query: Query) -> Query {
    Query::Not(Box::new(query))
}

fn none() -> Query {
    Query::Uids(UidSet::new())
}
