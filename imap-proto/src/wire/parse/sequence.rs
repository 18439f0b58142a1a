//! `sequence-set`: message sequence numbers or UIDs as a client names them.

use std::fmt;

use crate::wire::cursor::{Cursor, Result, members};
use crate::wire::error::ParseErrorKind;

/// A `sequence-set` (RFC 9051, section 9), checked but still on the wire: ranges are read when they are asked for, in
/// the client's order, overlaps and all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SequenceSet<'a> {
    raw: &'a [u8],
}

/// A number of a sequence set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqNumber {
    /// A message sequence number or a UID, at least 1.
    Number(u32),
    /// `*`: the largest in use.
    Largest,
}

impl SeqNumber {
    /// The number, with `largest` for `*`.
    #[must_use]
    pub const fn resolve(self, largest: u32) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::Largest => largest,
        }
    }
}

/// One member of a sequence set, ends included. A single number is a range from itself to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    /// The end that stood first; not always the smaller one.
    pub start: SeqNumber,
    /// The other end.
    pub end: SeqNumber,
}

impl SeqRange {
    /// Both ends, the smaller first, with `largest` for `*`: 5 and `largest` 3 make `5:*` the range 3 to 5.
    #[must_use]
    pub const fn resolve(self, largest: u32) -> (u32, u32) {
        let (start, end) = (self.start.resolve(largest), self.end.resolve(largest));
        if start <= end { (start, end) } else { (end, start) }
    }
}

impl<'a> SequenceSet<'a> {
    /// Whether it is `$`, the result saved by the last SEARCH (RFC 9051, section 6.4.4.1). Then it has no ranges.
    #[must_use]
    pub const fn is_saved_result(&self) -> bool {
        matches!(self.raw, [b'$'])
    }

    /// How many ranges it has; 0 for `$`.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.is_saved_result() { 0 } else { memchr::memchr_iter(b',', self.raw).count() + 1 }
    }

    /// Whether it has no range, which is so for `$` alone.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.is_saved_result()
    }

    /// The ranges, in the client's order.
    pub fn ranges(&self) -> impl Iterator<Item = SeqRange> + use<'a> {
        members(if self.is_saved_result() { &[] } else { self.raw }, b',', range)
    }

    /// The set as it stood on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether `*` stands anywhere in it.
    #[must_use]
    pub fn mentions_largest(&self) -> bool {
        memchr::memchr(b'*', self.raw).is_some()
    }

    #[inline(always)]
    pub(crate) fn parse(cursor: &mut Cursor<'a>) -> Result<Self> {
        let start = cursor.position();
        if cursor.eat(b'$') {
            return Ok(Self { raw: cursor.since(start) });
        }
        let mut ranges = 0;
        loop {
            if ranges == cursor.limits.set_ranges {
                return cursor.fail(ParseErrorKind::Limit("ranges in one sequence set"));
            }
            range(cursor)?;
            ranges += 1;
            if !cursor.eat(b',') {
                return Ok(Self { raw: cursor.since(start) });
            }
        }
    }
}

impl fmt::Debug for SequenceSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.raw))
    }
}

#[inline]
fn range(cursor: &mut Cursor<'_>) -> Result<SeqRange> {
    let start = number(cursor)?;
    let end = if cursor.eat(b':') { number(cursor)? } else { start };
    Ok(SeqRange { start, end })
}

#[inline]
fn number(cursor: &mut Cursor<'_>) -> Result<SeqNumber> {
    if cursor.eat(b'*') {
        return Ok(SeqNumber::Largest);
    }
    cursor.nz_number("a number from 1 or \"*\"").map(SeqNumber::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::limits::ParseLimits;

    fn parse(text: &str) -> Option<Vec<(u32, u32)>> {
        let mut cursor = Cursor::new(text.as_bytes(), ParseLimits { set_ranges: 5, ..ParseLimits::default() });
        let set = SequenceSet::parse(&mut cursor).ok()?;
        assert_eq!(set.len(), set.ranges().count());
        cursor.at_end().then(|| set.ranges().map(|range| range.resolve(15)).collect())
    }

    #[test]
    fn sets_of_the_rfc() {
        assert_eq!(parse("2,4:7,9,12:*"), Some(vec![(2, 2), (4, 7), (9, 9), (12, 15)]));
        assert_eq!(parse("*:4,5:7"), Some(vec![(4, 15), (5, 7)]));
        assert_eq!(parse("3291:*"), Some(vec![(15, 3291)]));
        assert_eq!(parse("*"), Some(vec![(15, 15)]));
        assert_eq!(parse("4294967295"), Some(vec![(u32::MAX, u32::MAX)]));
        assert_eq!(parse("$"), Some(vec![]));
    }

    #[test]
    fn what_is_no_set() {
        for text in
            ["", "0", "01", "1:", ":1", "1,", ",1", "1:2:3", "4294967296", "1;2", "$,1", "1,$", "-1", "1,2,3,4,5,6"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
