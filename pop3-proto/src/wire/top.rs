//! Where TOP ends (RFC 1939, section 7): after the header, the blank line, and so many lines of the body.

/// Follows a message that comes in pieces, and says where to stop.
#[derive(Debug)]
pub(crate) struct Top {
    /// Lines of the body that are still wanted.
    lines: u64,
    in_body: bool,
    line: Line,
}

/// What the line that is being read holds so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    /// One CR: the line is blank if LF follows.
    Cr,
    Text,
}

impl Top {
    /// The header, and this many lines of the body.
    pub(crate) fn new(lines: u64) -> Self {
        Self { lines, in_body: false, line: Line::Empty }
    }

    /// Looks at the next piece. `Some(n)`: only its first `n` octets are wanted, and nothing after them.
    pub(crate) fn cut(&mut self, piece: &[u8]) -> Option<usize> {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            let line = self.line.with(piece.get(start..end).unwrap_or_default());
            self.line = Line::Empty;
            start = end + 1;
            if self.in_body {
                self.lines = self.lines.saturating_sub(1);
            } else {
                self.in_body = line != Line::Text;
            }
            if self.in_body && self.lines == 0 {
                return Some(start);
            }
        }
        self.line = self.line.with(piece.get(start..).unwrap_or_default());
        None
    }
}

impl Line {
    fn with(self, more: &[u8]) -> Self {
        match (self, more) {
            (line, []) => line,
            (Self::Empty, b"\r") => Self::Cr,
            _ => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What TOP shows of the message, given in pieces of this size.
    fn top(message: &str, lines: u64, size: usize) -> String {
        let mut top = Top::new(lines);
        let mut shown = Vec::new();
        for piece in message.as_bytes().chunks(size) {
            match top.cut(piece) {
                Some(wanted) => {
                    shown.extend_from_slice(&piece[..wanted]);
                    break;
                }
                None => shown.extend_from_slice(piece),
            }
        }
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn header_blank_line_and_body_lines() {
        let message = "A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\nrest";
        for size in 1..message.len() {
            assert_eq!(top(message, 0, size), "A: 1\r\nB: 2\r\n\r\n", "{size}");
            assert_eq!(top(message, 1, size), "A: 1\r\nB: 2\r\n\r\none\r\n");
            assert_eq!(top(message, 2, size), "A: 1\r\nB: 2\r\n\r\none\r\n\r\n");
            assert_eq!(top(message, 4, size), message);
            assert_eq!(top(message, u64::MAX, size), message);
            assert_eq!(top("\r\nbody\r\n", 0, size), "\r\n");
            assert_eq!(top("\r\nbody\r\nmore\r\n", 1, size), "\r\nbody\r\n");
            assert_eq!(top("Only: header\r\n", 3, size), "Only: header\r\n");
            assert_eq!(top("A: 1\r\n\r \r\n\r\nx", 0, size), "A: 1\r\n\r \r\n\r\n");
        }
    }
}
