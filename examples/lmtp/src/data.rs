//! The message behind DATA: octets up to a line with a single dot (RFC 5321, section 4.5.2).

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

/// Takes the dots away that the client has put before lines, and finds the end.
///
/// Only CRLF ends a line here: what other programs make of a bare CR or LF can't end a message early.
#[derive(Debug)]
pub(crate) struct Unstuffer {
    line_start: bool,
}

impl Unstuffer {
    pub(crate) const fn new() -> Self {
        Self { line_start: true }
    }

    /// Moves octets of the message from `input` to `out`, and says whether it has ended. What is left in `input` then
    /// belongs to the next command; otherwise it is the beginning of a line end or of the end, three octets at most.
    pub(crate) fn take(&mut self, input: &mut BytesMut, out: &mut Vec<Bytes>) -> bool {
        loop {
            if self.line_start {
                if input.starts_with(b".\r\n") {
                    input.advance(3);
                    return true;
                }
                if b".\r\n".starts_with(input) {
                    return false;
                }
                if input.starts_with(b".") {
                    input.advance(1);
                }
                self.line_start = false;
            }
            if let Some(at) = memmem::find(input, b"\r\n.") {
                out.push(input.split_to(at + 2).freeze());
                self.line_start = true;
                continue;
            }
            let keep = usize::from(input.ends_with(b"\r"));
            self.line_start = input.ends_with(b"\r\n");
            let ready = input.len() - keep;
            if ready > 0 {
                out.push(input.split_to(ready).freeze());
            }
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds it in pieces of these sizes, over and over.
    fn run(wire: &[u8], sizes: &[usize]) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut unstuffer, mut input, mut message) = (Unstuffer::new(), BytesMut::new(), Vec::new());
        let (mut at, mut sizes) = (0, sizes.iter().copied().cycle());
        while at < wire.len() {
            let next = (at + sizes.next().unwrap_or(1)).min(wire.len());
            input.extend_from_slice(&wire[at..next]);
            at = next;
            let mut out = Vec::new();
            let end = unstuffer.take(&mut input, &mut out);
            message.extend(out.concat());
            if end {
                input.extend_from_slice(&wire[at..]);
                return (message, Some(input.to_vec()));
            }
            assert!(input.len() <= 3);
        }
        (message, None)
    }

    #[test]
    fn dots_and_the_end() {
        assert_eq!(run(b".\r\nQUIT\r\n", &[99]), (vec![], Some(b"QUIT\r\n".to_vec())));
        assert_eq!(run(b"..\r\n.a\r\n.\r\n", &[99]), (b".\r\na\r\n".to_vec(), Some(vec![])));
        assert_eq!(run(b"a\n.\nb\r.\rc\n.\r\nd\r\n.\n\r\n.\r\n", &[99]).0, b"a\n.\nb\r.\rc\n.\r\nd\r\n\n\r\n");
        assert_eq!(run(b"a\r\n.", &[99]), (b"a\r\n".to_vec(), None));
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(
            wire in "[a\r\n.]{0,40}",
            sizes in prop::collection::vec(1_usize..5, 1..5),
        ) {
            let wire = [wire.as_bytes(), b"\r\n.\r\nrest"].concat();
            prop_assert_eq!(run(&wire, &sizes), run(&wire, &[wire.len()]));
        }

        #[test]
        fn what_is_stuffed_comes_back(message in "([a.\r\n]{0,8}\r\n){0,5}") {
            let mut wire = Vec::new();
            let mut start = true;
            for (at, byte) in message.bytes().enumerate() {
                if start && byte == b'.' {
                    wire.push(b'.');
                }
                wire.push(byte);
                start = message.as_bytes()[..=at].ends_with(b"\r\n");
            }
            wire.extend_from_slice(b".\r\n");
            prop_assert_eq!(run(&wire, &[3]), (message.into_bytes(), Some(vec![])));
        }
    }
}
