//! `flag` and lists of them, as STORE and APPEND carry them.

use std::fmt;

use pillarbox_proto_core::mail::{Flags, Keyword, SystemFlags};

use crate::wire::chars;
use crate::wire::cursor::{Cursor, Result, members};
use crate::wire::error::ParseErrorKind;

/// One `flag` (RFC 9051, section 9).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flag<'a> {
    /// One of the five system flags.
    System(SystemFlags),
    /// A keyword: an atom of at most [`Keyword::MAX_LEN`] bytes.
    Keyword(KeywordArg<'a>),
    /// `\Recent`, which no client can change.
    Recent,
    /// Any other name with a backslash, without it: reserved for extensions of the protocol, none of which this
    /// server stores.
    Extension(&'a [u8]),
}

impl fmt::Debug for Flag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(flag) => flag.fmt(f),
            Self::Keyword(keyword) => keyword.fmt(f),
            Self::Recent => f.write_str("\\Recent"),
            Self::Extension(name) => write!(f, "\\{}", String::from_utf8_lossy(name)),
        }
    }
}

/// A keyword as the client wrote it. Two are equal when they differ in case only.
#[derive(Clone, Copy, Eq)]
pub struct KeywordArg<'a>(&'a [u8]);

impl<'a> KeywordArg<'a> {
    /// Its text, which is ASCII.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        // Made of atom characters alone, so this cannot fail.
        std::str::from_utf8(self.0).unwrap_or_default()
    }

    /// The keyword of its own; `None` never happens for one that a parser made.
    #[must_use]
    pub fn to_keyword(&self) -> Option<Keyword> {
        Keyword::new(self.as_str()).ok()
    }

    pub(crate) fn parse(cursor: &mut Cursor<'a>) -> Result<Self> {
        let start = cursor.position();
        let text = cursor.take_some(chars::ATOM, "a keyword")?;
        if text.len() > Keyword::MAX_LEN {
            return cursor.fail_at(start, ParseErrorKind::Invalid("keyword of more than 255 octets"));
        }
        Ok(Self(text))
    }
}

impl PartialEq for KeywordArg<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl fmt::Debug for KeywordArg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Flags as the client listed them, checked but still on the wire.
#[derive(Clone, Copy)]
pub struct FlagList<'a> {
    raw: &'a [u8],
}

impl<'a> FlagList<'a> {
    /// How many flags were listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether none was.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The flags, in the client's order.
    pub fn iter(&self) -> impl Iterator<Item = Flag<'a>> + use<'a> {
        members(self.raw, b' ', flag)
    }

    /// The flags that a message can have: `\Recent` and unknown names with a backslash are left out, as a client can
    /// set neither (RFC 9051, section 2.3.2). Allocates only for keywords.
    #[must_use]
    pub fn to_flags(&self) -> Flags {
        let mut system = SystemFlags::NONE;
        let mut keywords = Vec::new();
        for flag in self.iter() {
            match flag {
                Flag::System(flag) => system |= flag,
                Flag::Keyword(keyword) => keywords.extend(keyword.to_keyword()),
                Flag::Recent | Flag::Extension(_) => {}
            }
        }
        Flags { system, keywords: keywords.into_iter().collect() }
    }

    /// `flag-list`: in parentheses, maybe empty.
    pub(crate) fn parse(cursor: &mut Cursor<'a>) -> Result<Self> {
        let raw = cursor.list_or_empty(|cursor| flag(cursor).map(drop), "flags")?;
        Ok(Self { raw })
    }

    /// What STORE takes: `flag-list / (flag *(SP flag))`.
    pub(crate) fn parse_bare(cursor: &mut Cursor<'a>) -> Result<Self> {
        if cursor.peek() == Some(b'(') {
            return Self::parse(cursor);
        }
        let start = cursor.position();
        let mut count = 0;
        loop {
            if count == cursor.limits.list_items {
                return cursor.fail(ParseErrorKind::Limit("flags"));
            }
            flag(cursor)?;
            count += 1;
            if !cursor.eat(b' ') {
                return Ok(Self { raw: cursor.since(start) });
            }
        }
    }
}

impl PartialEq for FlagList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for FlagList<'_> {}

impl fmt::Debug for FlagList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn flag<'a>(cursor: &mut Cursor<'a>) -> Result<Flag<'a>> {
    if cursor.peek() != Some(b'\\') {
        return KeywordArg::parse(cursor).map(Flag::Keyword);
    }
    let start = cursor.position();
    cursor.eat(b'\\');
    let name = cursor.atom("a flag's name after the backslash")?;
    let known = SystemFlags::parse(cursor.since(start));
    Ok(match known {
        Some(flag) => Flag::System(flag),
        None if name.eq_ignore_ascii_case(b"Recent") => Flag::Recent,
        None => Flag::Extension(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::limits::ParseLimits;

    fn bare(text: &str) -> Option<(usize, Flags)> {
        let mut cursor = Cursor::new(text.as_bytes(), ParseLimits { list_items: 4, ..ParseLimits::default() });
        let list = FlagList::parse_bare(&mut cursor).ok()?;
        assert_eq!(list.len(), list.iter().count());
        cursor.at_end().then(|| (list.len(), list.to_flags()))
    }

    #[test]
    fn lists_with_and_without_parentheses() {
        let (count, flags) = bare("(\\seen \\DELETED $Forwarded)").unwrap();
        assert_eq!(count, 3);
        assert_eq!(flags.system, SystemFlags::SEEN | SystemFlags::DELETED);
        assert!(flags.keywords.contains(&Keyword::new("$forwarded").unwrap()));
        assert_eq!(bare("\\Deleted").unwrap().1.system, SystemFlags::DELETED);
        assert_eq!(bare("\\Flagged x").unwrap().0, 2);
        assert_eq!(bare("()").unwrap(), (0, Flags::NONE));
    }

    #[test]
    fn what_nobody_can_set_is_left_out() {
        let (count, flags) = bare("(\\Recent \\Foo)").unwrap();
        assert_eq!((count, flags), (2, Flags::NONE));
    }

    #[test]
    fn what_is_no_list_of_flags() {
        let long = "k".repeat(256);
        for text in [
            "",
            "(",
            "(\\Seen",
            "(\\Seen )",
            "( \\Seen)",
            "\\",
            "\\*",
            "(a  b)",
            "a ",
            "(a) ",
            "a b c d e",
            "\"a\"",
            &long,
        ] {
            assert_eq!(bare(text), None, "{text}");
        }
    }
}
