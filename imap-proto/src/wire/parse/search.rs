//! SEARCH (RFC 9051, section 6.4.4; WITHIN: RFC 5032).

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use super::date::Date;
use super::flags::KeywordArg;
use super::sequence::SequenceSet;
use crate::wire::chars::key;
use crate::wire::cursor::{Cursor, Result};
use crate::wire::error::ParseErrorKind;
use crate::wire::string::AString;

/// A SEARCH or UID SEARCH command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search<'a> {
    /// Whether the results are to be UIDs.
    pub uid: bool,
    /// `RETURN (...)`: what the client wants back; `None` for the old SEARCH response of IMAP4rev1.
    pub returns: Option<SearchReturn>,
    /// The charset of the strings, if one was named.
    pub charset: Option<AString<'a>>,
    /// What to look for.
    pub program: SearchProgram<'a>,
}

/// Result options of SEARCH, as a set (RFC 9051, section 6.4.4). An empty one stands for ALL.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchReturn(u8);

impl SearchReturn {
    /// `RETURN ()`, which means the same as [`SearchReturn::ALL`].
    pub const NONE: Self = Self(0);
    /// `MIN`: the lowest number that matches.
    pub const MIN: Self = Self(1);
    /// `MAX`: the highest.
    pub const MAX: Self = Self(2);
    /// `ALL`: all of them.
    pub const ALL: Self = Self(4);
    /// `COUNT`: how many match.
    pub const COUNT: Self = Self(8);
    /// `SAVE`: keep the result for `$`.
    pub const SAVE: Self = Self(16);

    const NAMES: [(Self, &'static str); 5] =
        [(Self::MIN, "MIN"), (Self::MAX, "MAX"), (Self::ALL, "ALL"), (Self::COUNT, "COUNT"), (Self::SAVE, "SAVE")];

    /// Whether every option of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is no option.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The options' names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(option, _)| self.contains(*option)).map(|(_, name)| name)
    }

    fn parse(cursor: &mut Cursor<'_>) -> Result<Self> {
        let mut returns = Self::NONE;
        let option = |cursor: &mut Cursor<'_>| {
            let start = cursor.position();
            returns |= match cursor.word() {
                MIN => Self::MIN,
                MAX => Self::MAX,
                ALL => Self::ALL,
                COUNT => Self::COUNT,
                SAVE => Self::SAVE,
                _ if cursor.position() == start => return cursor.fail(ParseErrorKind::Expected("a result option")),
                _ => return cursor.fail_at(start, ParseErrorKind::Unknown("result option")),
            };
            Ok(())
        };
        cursor.list_or_empty(option, "result options")?;
        Ok(returns)
    }
}

impl BitOr for SearchReturn {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for SearchReturn {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for SearchReturn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// One `search-key` without those nested in it.
///
/// RFC 3501's NEW and OLD are kept as they are: they mean `RECENT UNSEEN` and `NOT RECENT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchKey<'a> {
    /// All of the nested keys: a list in parentheses, or the whole program.
    And,
    /// `OR`: either of the two nested keys.
    Or,
    /// `NOT`: not the nested key.
    Not,
    /// `ALL`
    All,
    /// `ANSWERED`
    Answered,
    /// `BCC`: in the Bcc field.
    Bcc(AString<'a>),
    /// `BEFORE`: INTERNALDATE before this day.
    Before(Date),
    /// `BODY`: in the body.
    Body(AString<'a>),
    /// `CC`: in the Cc field.
    Cc(AString<'a>),
    /// `DELETED`
    Deleted,
    /// `DRAFT`
    Draft,
    /// `FLAGGED`
    Flagged,
    /// `FROM`: in the From field.
    From(AString<'a>),
    /// `HEADER`: a field of this name that holds this string; an empty string fits any such field.
    Header(AString<'a>, AString<'a>),
    /// `KEYWORD`
    Keyword(KeywordArg<'a>),
    /// `LARGER`: more octets than this.
    Larger(u64),
    /// `NEW` (RFC 3501)
    New,
    /// `OLD` (RFC 3501)
    Old,
    /// `OLDER`: INTERNALDATE at least this many seconds ago (RFC 5032). At least 1.
    Older(u32),
    /// `ON`: INTERNALDATE on this day.
    On(Date),
    /// `RECENT` (RFC 3501)
    Recent,
    /// `SEEN`
    Seen,
    /// `SENTBEFORE`: the Date field before this day.
    SentBefore(Date),
    /// `SENTON`: the Date field on this day.
    SentOn(Date),
    /// `SENTSINCE`: the Date field on this day or later.
    SentSince(Date),
    /// A sequence set: these message sequence numbers, or the saved result.
    Sequence(SequenceSet<'a>),
    /// `SINCE`: INTERNALDATE on this day or later.
    Since(Date),
    /// `SMALLER`: fewer octets than this.
    Smaller(u64),
    /// `SUBJECT`: in the Subject field.
    Subject(AString<'a>),
    /// `TEXT`: in header or body.
    Text(AString<'a>),
    /// `TO`: in the To field.
    To(AString<'a>),
    /// `UID`: these UIDs, or the saved result.
    Uid(SequenceSet<'a>),
    /// `UNANSWERED`
    Unanswered,
    /// `UNDELETED`
    Undeleted,
    /// `UNDRAFT`
    Undraft,
    /// `UNFLAGGED`
    Unflagged,
    /// `UNKEYWORD`
    Unkeyword(KeywordArg<'a>),
    /// `UNSEEN`
    Unseen,
    /// `YOUNGER`: INTERNALDATE less than or just this many seconds ago (RFC 5032). At least 1.
    Younger(u32),
}

/// The keys of a SEARCH, as one flat vector: each key is followed by those nested in it.
#[derive(Clone, PartialEq, Eq)]
pub struct SearchProgram<'a> {
    nodes: Vec<Node<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Node<'a> {
    key: SearchKey<'a>,
    /// How many nodes are nested in this one, at all levels.
    nested: u32,
}

impl<'a> SearchProgram<'a> {
    /// The keys of the top level, at least one; a message must match them all.
    pub fn keys(&self) -> impl Iterator<Item = SearchTerm<'_, 'a>> + Clone {
        Children { nodes: &self.nodes }
    }

    /// How many keys there are on all levels together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never true: there is at least one key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

impl fmt::Debug for SearchProgram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

/// A key of a [`SearchProgram`] with what is nested in it. The nesting is never deeper than
/// [`ParseLimits::search_depth`](crate::wire::limits::ParseLimits::search_depth), so it may be walked by recursion.
#[derive(Clone, Copy)]
pub struct SearchTerm<'p, 'a> {
    node: &'p Node<'a>,
    nested: &'p [Node<'a>],
}

impl<'p, 'a> SearchTerm<'p, 'a> {
    /// The key itself.
    #[must_use]
    pub const fn key(&self) -> SearchKey<'a> {
        self.node.key
    }

    /// The keys nested in it: one for NOT, two for OR, one or more for AND, none for any other.
    pub fn nested(&self) -> impl Iterator<Item = SearchTerm<'p, 'a>> + Clone + use<'p, 'a> {
        Children { nodes: self.nested }
    }
}

impl fmt::Debug for SearchTerm<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nested.is_empty() {
            return self.node.key.fmt(f);
        }
        write!(f, "{:?} ", self.node.key)?;
        f.debug_list().entries(self.nested()).finish()
    }
}

#[derive(Clone)]
struct Children<'p, 'a> {
    nodes: &'p [Node<'a>],
}

impl<'p, 'a> Iterator for Children<'p, 'a> {
    type Item = SearchTerm<'p, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (node, rest) = self.nodes.split_first()?;
        let (nested, rest) = rest.split_at_checked(node.nested as usize)?;
        self.nodes = rest;
        Some(SearchTerm { node, nested })
    }
}

const ALL: u128 = key(b"ALL");
const MIN: u128 = key(b"MIN");
const MAX: u128 = key(b"MAX");
const COUNT: u128 = key(b"COUNT");
const SAVE: u128 = key(b"SAVE");
const ANSWERED: u128 = key(b"ANSWERED");
const BCC: u128 = key(b"BCC");
const BEFORE: u128 = key(b"BEFORE");
const BODY: u128 = key(b"BODY");
const CC: u128 = key(b"CC");
const DELETED: u128 = key(b"DELETED");
const DRAFT: u128 = key(b"DRAFT");
const FLAGGED: u128 = key(b"FLAGGED");
const FROM: u128 = key(b"FROM");
const HEADER: u128 = key(b"HEADER");
const KEYWORD: u128 = key(b"KEYWORD");
const LARGER: u128 = key(b"LARGER");
const NEW: u128 = key(b"NEW");
const NOT: u128 = key(b"NOT");
const OLD: u128 = key(b"OLD");
const OLDER: u128 = key(b"OLDER");
const ON: u128 = key(b"ON");
const OR: u128 = key(b"OR");
const RECENT: u128 = key(b"RECENT");
const SEEN: u128 = key(b"SEEN");
const SENTBEFORE: u128 = key(b"SENTBEFORE");
const SENTON: u128 = key(b"SENTON");
const SENTSINCE: u128 = key(b"SENTSINCE");
const SINCE: u128 = key(b"SINCE");
const SMALLER: u128 = key(b"SMALLER");
const SUBJECT: u128 = key(b"SUBJECT");
const TEXT: u128 = key(b"TEXT");
const TO: u128 = key(b"TO");
const UID: u128 = key(b"UID");
const UNANSWERED: u128 = key(b"UNANSWERED");
const UNDELETED: u128 = key(b"UNDELETED");
const UNDRAFT: u128 = key(b"UNDRAFT");
const UNFLAGGED: u128 = key(b"UNFLAGGED");
const UNKEYWORD: u128 = key(b"UNKEYWORD");
const UNSEEN: u128 = key(b"UNSEEN");
const YOUNGER: u128 = key(b"YOUNGER");

/// Parses what follows `SEARCH `.
pub(crate) fn parse<'a>(cursor: &mut Cursor<'a>, uid: bool) -> Result<Search<'a>> {
    let mut returns = None;
    if cursor.eat_word(b"RETURN") {
        cursor.space()?;
        returns = Some(SearchReturn::parse(cursor)?);
        cursor.space()?;
    }
    let mut charset = None;
    if cursor.eat_word(b"CHARSET") {
        cursor.space()?;
        charset = Some(cursor.astring("a charset")?);
        cursor.space()?;
    }
    // Room for what most searches have, so that they allocate once.
    let mut nodes = Vec::with_capacity(8);
    loop {
        search_key(cursor, &mut nodes, 0)?;
        if !cursor.eat(b' ') {
            return Ok(Search { uid, returns, charset, program: SearchProgram { nodes } });
        }
    }
}

fn search_key<'a>(cursor: &mut Cursor<'a>, nodes: &mut Vec<Node<'a>>, depth: u32) -> Result<()> {
    if nodes.len() >= cursor.limits.search_keys as usize {
        return cursor.fail(ParseErrorKind::Limit("search keys"));
    }
    let start = cursor.position();
    let key = match cursor.peek() {
        Some(b'(') => SearchKey::And,
        Some(b'0'..=b'9' | b'*' | b'$') => SearchKey::Sequence(SequenceSet::parse(cursor)?),
        _ => match cursor.word() {
            NOT => SearchKey::Not,
            OR => SearchKey::Or,
            word => simple_key(cursor, word, start)?,
        },
    };
    let index = nodes.len();
    nodes.push(Node { key, nested: 0 });
    let inner = match key {
        SearchKey::And | SearchKey::Not | SearchKey::Or if depth == cursor.limits.search_depth => {
            return cursor.fail_at(start, ParseErrorKind::Limit("levels of search keys"));
        }
        SearchKey::And => {
            cursor.open()?;
            loop {
                search_key(cursor, nodes, depth + 1)?;
                if !cursor.eat(b' ') {
                    break;
                }
            }
            cursor.expect(b')', "a space or \")\"")
        }
        SearchKey::Not => {
            cursor.space()?;
            search_key(cursor, nodes, depth + 1)
        }
        SearchKey::Or => {
            cursor.space()?;
            search_key(cursor, nodes, depth + 1)?;
            cursor.space()?;
            search_key(cursor, nodes, depth + 1)
        }
        _ => return Ok(()),
    };
    inner?;
    // The limit keeps it within 32 bits.
    let nested = (nodes.len() - index - 1) as u32;
    if let Some(node) = nodes.get_mut(index) {
        node.nested = nested;
    }
    Ok(())
}

fn simple_key<'a>(cursor: &mut Cursor<'a>, word: u128, start: usize) -> Result<SearchKey<'a>> {
    Ok(match word {
        ALL => SearchKey::All,
        ANSWERED => SearchKey::Answered,
        BCC => SearchKey::Bcc(text(cursor)?),
        BEFORE => SearchKey::Before(date(cursor)?),
        BODY => SearchKey::Body(text(cursor)?),
        CC => SearchKey::Cc(text(cursor)?),
        DELETED => SearchKey::Deleted,
        DRAFT => SearchKey::Draft,
        FLAGGED => SearchKey::Flagged,
        FROM => SearchKey::From(text(cursor)?),
        HEADER => {
            cursor.space()?;
            let name = cursor.astring("a header field's name")?;
            SearchKey::Header(name, text(cursor)?)
        }
        KEYWORD => SearchKey::Keyword(keyword(cursor)?),
        LARGER => SearchKey::Larger(octets(cursor)?),
        NEW => SearchKey::New,
        OLD => SearchKey::Old,
        OLDER => SearchKey::Older(seconds(cursor)?),
        ON => SearchKey::On(date(cursor)?),
        RECENT => SearchKey::Recent,
        SEEN => SearchKey::Seen,
        SENTBEFORE => SearchKey::SentBefore(date(cursor)?),
        SENTON => SearchKey::SentOn(date(cursor)?),
        SENTSINCE => SearchKey::SentSince(date(cursor)?),
        SINCE => SearchKey::Since(date(cursor)?),
        SMALLER => SearchKey::Smaller(octets(cursor)?),
        SUBJECT => SearchKey::Subject(text(cursor)?),
        TEXT => SearchKey::Text(text(cursor)?),
        TO => SearchKey::To(text(cursor)?),
        UID => {
            cursor.space()?;
            SearchKey::Uid(SequenceSet::parse(cursor)?)
        }
        UNANSWERED => SearchKey::Unanswered,
        UNDELETED => SearchKey::Undeleted,
        UNDRAFT => SearchKey::Undraft,
        UNFLAGGED => SearchKey::Unflagged,
        UNKEYWORD => SearchKey::Unkeyword(keyword(cursor)?),
        UNSEEN => SearchKey::Unseen,
        YOUNGER => SearchKey::Younger(seconds(cursor)?),
        _ if cursor.position() == start => return cursor.fail(ParseErrorKind::Expected("a search key")),
        _ => return cursor.fail_at(start, ParseErrorKind::Unknown("search key")),
    })
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<AString<'a>> {
    cursor.space()?;
    cursor.astring("a string to look for")
}

fn date(cursor: &mut Cursor<'_>) -> Result<Date> {
    cursor.space()?;
    Date::parse(cursor)
}

fn keyword<'a>(cursor: &mut Cursor<'a>) -> Result<KeywordArg<'a>> {
    cursor.space()?;
    KeywordArg::parse(cursor)
}

fn octets(cursor: &mut Cursor<'_>) -> Result<u64> {
    cursor.space()?;
    cursor.number64("a number of octets")
}

fn seconds(cursor: &mut Cursor<'_>) -> Result<u32> {
    cursor.space()?;
    cursor.nz_number("a number of seconds from 1")
}
