//! FETCH: which data of which messages (RFC 9051, section 6.4.5).

use std::fmt;

use super::params::Params;
use super::section::{Partial, Section, SectionPart};
use super::sequence::SequenceSet;
use crate::wire::chars::key;
use crate::wire::cursor::{Cursor, Result, members};
use crate::wire::error::ParseErrorKind;

/// A FETCH or UID FETCH command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch<'a> {
    /// Whether the set names UIDs.
    pub uid: bool,
    /// The messages.
    pub set: SequenceSet<'a>,
    /// What is wanted of each.
    pub items: FetchItems<'a>,
    /// Modifiers in parentheses after the items (RFC 4466, section 2.4); most often none.
    pub modifiers: Params<'a>,
}

/// One `fetch-att` (RFC 9051, section 9; the RFC822 items: RFC 3501).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchItem<'a> {
    /// `ENVELOPE`
    Envelope,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822`: the whole message; sets `\Seen`.
    Rfc822,
    /// `RFC822.HEADER`: the header; does not set `\Seen`.
    Rfc822Header,
    /// `RFC822.SIZE`
    Rfc822Size,
    /// `RFC822.TEXT`: the body; sets `\Seen`.
    Rfc822Text,
    /// `BODY`: the structure without extension data.
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `UID`
    Uid,
    /// `BODY[...]` or `BODY.PEEK[...]`
    BodySection {
        /// Which part of the message.
        section: Section<'a>,
        /// Whether it was `BODY.PEEK`, which does not set `\Seen`.
        peek: bool,
        /// The octets wanted, if not all.
        partial: Option<Partial>,
    },
    /// `BINARY[...]` or `BINARY.PEEK[...]`
    Binary {
        /// Which body part.
        part: SectionPart<'a>,
        /// Whether it was `BINARY.PEEK`, which does not set `\Seen`.
        peek: bool,
        /// The octets wanted, if not all.
        partial: Option<Partial>,
    },
    /// `BINARY.SIZE[...]`
    BinarySize {
        /// Which body part.
        part: SectionPart<'a>,
    },
}

impl FetchItem<'_> {
    /// Whether fetching it sets `\Seen` (RFC 9051, section 6.4.5).
    #[must_use]
    pub const fn sets_seen(&self) -> bool {
        matches!(
            self,
            Self::Rfc822 | Self::Rfc822Text | Self::BodySection { peek: false, .. } | Self::Binary { peek: false, .. }
        )
    }
}

/// A short name for several items (RFC 9051, section 6.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchMacro {
    /// `FLAGS INTERNALDATE RFC822.SIZE ENVELOPE`
    All,
    /// `FLAGS INTERNALDATE RFC822.SIZE`
    Fast,
    /// `FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY`
    Full,
}

impl FetchMacro {
    /// The items that it stands for.
    #[must_use]
    pub const fn items(self) -> &'static [FetchItem<'static>] {
        const FULL: &[FetchItem<'static>] =
            &[FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size, FetchItem::Envelope, FetchItem::Body];
        match self {
            Self::All => FULL.split_at(4).0,
            Self::Fast => FULL.split_at(3).0,
            Self::Full => FULL,
        }
    }
}

/// The items of a FETCH, checked but still on the wire; a macro reads as the items that it stands for.
#[derive(Clone, Copy)]
pub struct FetchItems<'a> {
    /// A macro, one item, or a list with its parentheses.
    raw: &'a [u8],
}

impl<'a> FetchItems<'a> {
    /// How many items there are, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Never true: a FETCH has at least one item.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The macro, if the client wrote one.
    #[must_use]
    pub fn shorthand(&self) -> Option<FetchMacro> {
        shorthand(key(self.raw))
    }

    /// The items, in the client's order, repetitions included.
    pub fn iter(&self) -> impl Iterator<Item = FetchItem<'a>> + use<'a> {
        let (fixed, listed): (&'static [FetchItem<'static>], &'a [u8]) = match (self.shorthand(), self.raw) {
            (Some(shorthand), _) => (shorthand.items(), &[]),
            (None, [b'(', list @ .., b')']) => (&[], list),
            (None, single) => (&[], single),
        };
        fixed.iter().copied().chain(members(listed, b' ', item))
    }

    #[inline(always)]
    fn parse(cursor: &mut Cursor<'a>) -> Result<Self> {
        let start = cursor.position();
        if cursor.peek() == Some(b'(') {
            cursor.list(|cursor| item(cursor).map(drop), "fetch items")?;
        } else {
            let mut ahead = *cursor;
            if shorthand(ahead.word()).is_some() {
                *cursor = ahead;
            } else {
                item(cursor)?;
            }
        }
        Ok(Self { raw: cursor.since(start) })
    }
}

impl PartialEq for FetchItems<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for FetchItems<'_> {}

impl fmt::Debug for FetchItems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

const ALL: u128 = key(b"ALL");
const FAST: u128 = key(b"FAST");
const FULL: u128 = key(b"FULL");
const ENVELOPE: u128 = key(b"ENVELOPE");
const FLAGS: u128 = key(b"FLAGS");
const INTERNALDATE: u128 = key(b"INTERNALDATE");
const RFC822: u128 = key(b"RFC822");
const RFC822_HEADER: u128 = key(b"RFC822.HEADER");
const RFC822_SIZE: u128 = key(b"RFC822.SIZE");
const RFC822_TEXT: u128 = key(b"RFC822.TEXT");
const BODY: u128 = key(b"BODY");
const BODY_PEEK: u128 = key(b"BODY.PEEK");
const BODYSTRUCTURE: u128 = key(b"BODYSTRUCTURE");
const UID: u128 = key(b"UID");
const BINARY: u128 = key(b"BINARY");
const BINARY_PEEK: u128 = key(b"BINARY.PEEK");
const BINARY_SIZE: u128 = key(b"BINARY.SIZE");

/// Parses what follows `FETCH `.
#[inline(always)]
pub(crate) fn parse<'a>(cursor: &mut Cursor<'a>, uid: bool) -> Result<Fetch<'a>> {
    let set = SequenceSet::parse(cursor)?;
    cursor.space()?;
    let items = FetchItems::parse(cursor)?;
    let modifiers = if cursor.eat(b' ') { Params::parse(cursor)? } else { Params::NONE };
    Ok(Fetch { uid, set, items, modifiers })
}

fn shorthand(word: u128) -> Option<FetchMacro> {
    match word {
        ALL => Some(FetchMacro::All),
        FAST => Some(FetchMacro::Fast),
        FULL => Some(FetchMacro::Full),
        _ => None,
    }
}

fn item<'a>(cursor: &mut Cursor<'a>) -> Result<FetchItem<'a>> {
    let start = cursor.position();
    Ok(match cursor.word() {
        ENVELOPE => FetchItem::Envelope,
        FLAGS => FetchItem::Flags,
        INTERNALDATE => FetchItem::InternalDate,
        RFC822 => FetchItem::Rfc822,
        RFC822_HEADER => FetchItem::Rfc822Header,
        RFC822_SIZE => FetchItem::Rfc822Size,
        RFC822_TEXT => FetchItem::Rfc822Text,
        BODY if cursor.peek() == Some(b'[') => body(cursor, false)?,
        BODY => FetchItem::Body,
        BODY_PEEK => body(cursor, true)?,
        BODYSTRUCTURE => FetchItem::BodyStructure,
        UID => FetchItem::Uid,
        BINARY => binary(cursor, false)?,
        BINARY_PEEK => binary(cursor, true)?,
        BINARY_SIZE => FetchItem::BinarySize { part: SectionPart::parse_bracketed(cursor)? },
        _ if cursor.position() == start => return cursor.fail(ParseErrorKind::Expected("a fetch item")),
        _ => return cursor.fail_at(start, ParseErrorKind::Unknown("fetch item")),
    })
}

fn body<'a>(cursor: &mut Cursor<'a>, peek: bool) -> Result<FetchItem<'a>> {
    let section = Section::parse(cursor)?;
    Ok(FetchItem::BodySection { section, peek, partial: Partial::parse(cursor)? })
}

fn binary<'a>(cursor: &mut Cursor<'a>, peek: bool) -> Result<FetchItem<'a>> {
    let part = SectionPart::parse_bracketed(cursor)?;
    Ok(FetchItem::Binary { part, peek, partial: Partial::parse(cursor)? })
}
