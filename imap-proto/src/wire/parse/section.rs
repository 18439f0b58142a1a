//! `section`: which part of a message (RFC 9051, section 6.4.5.1).

use std::fmt;

use crate::wire::chars::key;
use crate::wire::cursor::{Cursor, Result, members};
use crate::wire::error::ParseErrorKind;
use crate::wire::string::AString;

/// What stands between the brackets of `BODY[...]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// The body part; empty for the message itself.
    pub part: SectionPart<'a>,
    /// What of it.
    pub text: SectionText<'a>,
}

/// What of a body part or message is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionText<'a> {
    /// All of it: the message with its header, or the part's body.
    Whole,
    /// `HEADER`: the header of the message, or of the message that the part is.
    Header,
    /// `HEADER.FIELDS`: these fields of it only.
    HeaderFields(HeaderList<'a>),
    /// `HEADER.FIELDS.NOT`: all of its fields but these.
    HeaderFieldsNot(HeaderList<'a>),
    /// `TEXT`: the body of the message, or of the message that the part is.
    Text,
    /// `MIME`: the part's own header. Never without a part.
    Mime,
}

/// A `section-part` such as `4.2.1`, checked but still on the wire; empty for the message itself.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SectionPart<'a> {
    raw: &'a [u8],
}

impl<'a> SectionPart<'a> {
    /// Whether it is the message itself.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The numbers, each at least 1, from the outside in.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<'a> {
        members(self.raw, b'.', |cursor| cursor.nz_number(""))
    }

    /// The part as it stood on the wire, such as `4.2.1`.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// `section-binary`: brackets and in them maybe a part.
    pub(crate) fn parse_bracketed(cursor: &mut Cursor<'a>) -> Result<Self> {
        cursor.expect(b'[', "\"[\"")?;
        let start = cursor.position();
        if cursor.eat(b']') {
            return Ok(Self::default());
        }
        loop {
            cursor.nz_number("a part number from 1")?;
            if !cursor.eat(b'.') {
                break;
            }
        }
        let raw = cursor.since(start);
        cursor.expect(b']', "\"]\"")?;
        Ok(Self { raw })
    }
}

impl fmt::Debug for SectionPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.raw))
    }
}

/// A `header-list`, checked but still on the wire. At least one name.
#[derive(Clone, Copy)]
pub struct HeaderList<'a> {
    raw: &'a [u8],
}

impl<'a> HeaderList<'a> {
    /// How many names there are, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Never true: there is at least one name.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The field names, in the client's order.
    pub fn iter(&self) -> impl Iterator<Item = AString<'a>> + use<'a> {
        members(self.raw, b' ', |cursor| cursor.astring(""))
    }

    fn parse(cursor: &mut Cursor<'a>) -> Result<Self> {
        cursor.space()?;
        let name = |cursor: &mut Cursor<'a>| cursor.astring("a header field's name").map(drop);
        let raw = cursor.list(name, "header fields")?;
        Ok(Self { raw })
    }
}

impl PartialEq for HeaderList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for HeaderList<'_> {}

impl fmt::Debug for HeaderList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// `partial`: a range of octets (RFC 9051, section 6.4.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The first octet, counted from 0.
    pub start: u64,
    /// How many octets at most; at least 1.
    pub length: u64,
}

impl Partial {
    /// Parses one if a `<` follows.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<Self>> {
        if !cursor.eat(b'<') {
            return Ok(None);
        }
        let start = cursor.number64("the first octet's number")?;
        cursor.expect(b'.', "\".\" and the number of octets")?;
        let length = cursor.nz_number64("a number of octets from 1")?;
        cursor.expect(b'>', "\">\"")?;
        Ok(Some(Self { start, length }))
    }
}

const HEADER: u128 = key(b"HEADER");
const HEADER_FIELDS: u128 = key(b"HEADER.FIELDS");
const TEXT: u128 = key(b"TEXT");
const MIME: u128 = key(b"MIME");

impl<'a> Section<'a> {
    /// `section`, brackets included.
    pub(crate) fn parse(cursor: &mut Cursor<'a>) -> Result<Self> {
        cursor.expect(b'[', "\"[\" and a section")?;
        let start = cursor.position();
        let mut part = SectionPart::default();
        let mut text_follows = !matches!(cursor.peek(), Some(b']'));
        while let Some(b'0'..=b'9') = cursor.peek() {
            cursor.nz_number("a part number from 1")?;
            part = SectionPart { raw: cursor.since(start) };
            text_follows = cursor.eat(b'.');
            if !text_follows {
                break;
            }
        }
        let text = if text_follows { section_text(cursor, !part.is_empty())? } else { SectionText::Whole };
        cursor.expect(b']', "\"]\"")?;
        Ok(Self { part, text })
    }
}

fn section_text<'a>(cursor: &mut Cursor<'a>, in_part: bool) -> Result<SectionText<'a>> {
    let start = cursor.position();
    let word = cursor.take_while(crate::wire::chars::WORD);
    Ok(match key(word) {
        HEADER => SectionText::Header,
        HEADER_FIELDS => SectionText::HeaderFields(HeaderList::parse(cursor)?),
        TEXT => SectionText::Text,
        MIME if in_part => SectionText::Mime,
        MIME => return cursor.fail_at(start, ParseErrorKind::Expected("a part number before MIME")),
        _ if word.eq_ignore_ascii_case(b"HEADER.FIELDS.NOT") => {
            SectionText::HeaderFieldsNot(HeaderList::parse(cursor)?)
        }
        _ if word.is_empty() => return cursor.fail(ParseErrorKind::Expected("a section")),
        _ => return cursor.fail_at(start, ParseErrorKind::Unknown("section")),
    })
}
