//! Cutting the input into lines.

use std::fmt;

use bytes::{Buf, BytesMut};

/// The input of one connection, which comes in any pieces and goes out as lines. A line may hold a password: each is
/// wiped where it stood, and `Debug` shows none.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) buffer: BytesMut,
    /// So many octets of the buffer are known to hold no line end.
    scanned: usize,
    /// The rest of a line that was too long is being dropped.
    discarding: bool,
}

/// What the input holds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Not even one line.
    Nothing,
    /// A line: so many octets, without its line end. [`Lines::consume`] removes it.
    Line(usize),
    /// A line that is longer than the limit. It has been, or will be, dropped up to its end.
    TooLong,
}

impl Lines {
    /// Looks for the next line. Its end is CRLF or a bare LF; `limit` is asked for the octets allowed in a line that
    /// begins like the buffer.
    pub(crate) fn next(&mut self, limit: impl Fn(&[u8]) -> usize) -> Next {
        if self.discarding {
            let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
                self.take(self.buffer.len());
                return Next::Nothing;
            };
            self.take(end + 1);
            self.discarding = false;
        }
        let limit = limit(&self.buffer);
        let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
        match memchr::memchr(b'\n', fresh) {
            Some(at) => {
                let end = self.scanned + at;
                self.scanned = 0;
                let length = without_cr(self.buffer.get(..end).unwrap_or_default()).len();
                if length > limit {
                    self.take(end + 1);
                    return Next::TooLong;
                }
                Next::Line(length)
            }
            // With the line end still to come, this is too long whether that is CRLF or LF.
            None if self.buffer.len() >= limit.saturating_add(2) => {
                self.take(self.buffer.len());
                self.discarding = true;
                Next::TooLong
            }
            None => {
                self.scanned = self.buffer.len();
                Next::Nothing
            }
        }
    }

    /// Whether there is a line of which the end has not come. Said after [`Lines::next`] had nothing.
    pub(crate) fn has_begun(&self) -> bool {
        self.discarding || !self.buffer.is_empty()
    }

    /// The line that [`Lines::next`] found.
    pub(crate) fn line(&self, length: usize) -> &[u8] {
        self.buffer.get(..length).unwrap_or_default()
    }

    /// Removes that line with its line end.
    pub(crate) fn consume(&mut self, length: usize) {
        let whole = match self.buffer.get(length) {
            Some(b'\r') => length + 2,
            _ => length + 1,
        };
        self.take(whole);
    }

    /// Wipes and removes the first octets.
    fn take(&mut self, count: usize) {
        let count = count.min(self.buffer.len());
        if let Some(line) = self.buffer.get_mut(..count) {
            line.fill(0);
        }
        self.buffer.advance(count);
        self.scanned = 0;
    }

    /// The complete lines that wait, without taking them.
    pub(crate) fn peek(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = if self.discarding { &[] } else { &self.buffer[..] };
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest)?;
            let (line, after) = rest.split_at_checked(end)?;
            rest = after.get(1..)?;
            Some(without_cr(line))
        })
    }

    /// Drops everything that has come in.
    pub(crate) fn clear(&mut self) {
        self.take(self.buffer.len());
        *self = Self::default();
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("waiting", &self.buffer.len()).finish_non_exhaustive()
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the pieces and returns the lines, `None` for one that was too long.
    fn lines(pieces: &[&[u8]], limit: usize) -> Vec<Option<Vec<u8>>> {
        let mut input = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            input.buffer.extend_from_slice(piece);
            loop {
                match input.next(|_| limit) {
                    Next::Nothing => break,
                    Next::TooLong => found.push(None),
                    Next::Line(length) => {
                        found.push(Some(input.line(length).to_vec()));
                        input.consume(length);
                    }
                }
            }
            assert!(input.buffer.len() < limit + 2, "no more is kept than a line may have");
        }
        found
    }

    #[test]
    fn line_ends_and_limits() {
        assert_eq!(
            lines(&[b"a\r\nb\n\n\r\nc\r\r\n"], 10),
            [Some(b"a".to_vec()), Some(b"b".to_vec()), Some(vec![]), Some(vec![]), Some(b"c\r".to_vec()),]
        );
        assert_eq!(lines(&[b"1234\r\n12345\r\n1\n"], 4), [Some(b"1234".to_vec()), None, Some(b"1".to_vec())]);
        assert_eq!(lines(&[b"1234", b"5678", b"9\r", b"\n1\r\n"], 4), [None, Some(b"1".to_vec())]);
        assert_eq!(lines(&[b"1234\r", b"\n"], 4), [Some(b"1234".to_vec())]);
        assert_eq!(lines(&[b"1234\r", b"x\n"], 4), [None]);
    }

    #[test]
    fn what_waits_does_not_show() {
        let mut input = Lines::default();
        input.buffer.extend_from_slice(b"PASS tanstaaf\r\n");
        assert_eq!(format!("{input:?}"), "Lines { waiting: 15, .. }");
    }

    #[test]
    fn waiting_lines_can_be_seen() {
        let mut input = Lines::default();
        input.buffer.extend_from_slice(b"RETR 1\r\nRETR 2\nRET");
        assert_eq!(input.peek().collect::<Vec<_>>(), [&b"RETR 1"[..], b"RETR 2"]);
    }

    proptest! {
        #[test]
        fn the_cut_does_not_matter(
            bytes in proptest::collection::vec(proptest::sample::select(b"ab\r\n".to_vec()), 0..60),
            cuts in proptest::collection::vec(0_usize..60, 0..8),
            limit in 1_usize..6,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(lines(&pieces, limit), lines(&[&bytes], limit));
        }
    }
}
