//! The end of a multi-line response, and the dots in it (RFC 1939, section 3).

use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem::Finder;
use pillarbox_proto_core::Output;

/// Between lines that begin with a dot, runs of this length and more are queued as they are, and shorter ones copied.
const SHORT: usize = 2 << 10;
/// How much of a piece is copied before the output is to be looked at.
const COPY: usize = 30 << 10;

/// Writes a multi-line response that comes in pieces: a line that begins with a dot gets another, and a line with
/// just a dot ends it.
///
/// A line begins after any LF, even a bare one. Those may not stand in a message, but where a store serves one
/// nevertheless, clients that read lines up to LF must not see the end too early: what followed would be taken for
/// responses of the server.
#[derive(Debug)]
pub(crate) struct Stuffer {
    /// The last two octets, to begin with a line end.
    last: [u8; 2],
}

impl Stuffer {
    /// At the beginning of the first line.
    pub(crate) fn new() -> Self {
        Self { last: *b"\r\n" }
    }

    /// Writes a piece, and leaves of it what would be one copy too many: with many dots it takes several calls. Long runs
    /// without a dot at a line's beginning are not copied.
    pub(crate) fn write(&mut self, piece: &mut Bytes, output: &mut Output) {
        static DOT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n."));
        let finder = &*DOT;
        // Short runs are gathered here.
        let mut copy = BytesMut::new();
        while !piece.is_empty() && copy.len() < COPY {
            let [.., last] = self.last;
            if last == b'\n' && piece.first() == Some(&b'.') {
                copy.put_u8(b'.');
            }
            let run = match finder.find(piece) {
                Some(at) => piece.split_to(at + 1),
                None => std::mem::take(piece),
            };
            self.last = match *run {
                [.., one, two] => [one, two],
                [one] => [last, one],
                [] => self.last,
            };
            if run.len() < SHORT {
                copy.extend_from_slice(&run);
            } else {
                output.put_bytes(std::mem::take(&mut copy).freeze());
                output.put_bytes(run);
            }
        }
        output.put_bytes(copy.freeze());
    }

    /// Ends the response. A last line without CRLF gets one.
    pub(crate) fn end(self, output: &mut Output) {
        if self.last != *b"\r\n" {
            output.put(b"\r\n");
        }
        output.put(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use memchr::memmem;
    use proptest::prelude::*;

    use super::*;

    fn stuffed(pieces: &[&[u8]]) -> Vec<u8> {
        let mut output = Output::new();
        let mut stuffer = Stuffer::new();
        for piece in pieces {
            let mut piece = Bytes::copy_from_slice(piece);
            while !piece.is_empty() {
                stuffer.write(&mut piece, &mut output);
            }
        }
        stuffer.end(&mut output);
        output.take().to_vec()
    }

    /// As a client undoes it.
    fn unstuffed(mut response: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        loop {
            let end = memmem::find(response, b"\r\n").unwrap() + 2;
            let (line, rest) = response.split_at(end);
            if line == b".\r\n" {
                assert_eq!(rest, b"", "nothing follows the end");
                return message;
            }
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            response = rest;
        }
    }

    #[test]
    fn dots() {
        assert_eq!(stuffed(&[]), b".\r\n");
        assert_eq!(stuffed(&[b".\r\n"]), b"..\r\n.\r\n");
        assert_eq!(stuffed(&[b"a.\r\n.b\r\n..\r\n"]), b"a.\r\n..b\r\n...\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\r", b"\n", b".", b"\r\n", b".", b".\r\n"]), b"a\r\n..\r\n...\r\n.\r\n");
        assert_eq!(stuffed(&[b"no line end"]), b"no line end\r\n.\r\n");
        assert_eq!(stuffed(&[b"half\r"]), b"half\r\r\n.\r\n");
        assert_eq!(stuffed(&[b"bare\n.\r\n"]), b"bare\n..\r\n.\r\n");
        assert_eq!(stuffed(&[b"bare\n"]), b"bare\n\r\n.\r\n");
    }

    #[test]
    fn many_dots_and_few_come_out_alike() {
        let few = format!("{}\r\n.\r\n{}\r\n.", "x".repeat(9000), "y".repeat(9000));
        assert_eq!(
            stuffed(&[few.as_bytes()]),
            few.replace("\n.", "\n..").into_bytes().iter().copied().chain(*b"\r\n.\r\n").collect::<Vec<_>>()
        );
        let many = ".x\r\n".repeat(3000);
        assert_eq!(stuffed(&[many.as_bytes()]), "..x\r\n".repeat(3000).bytes().chain(*b".\r\n").collect::<Vec<_>>());
    }

    #[test]
    fn a_piece_with_many_dots_is_not_copied_at_once() {
        let text = ".x\r\n".repeat(100_000);
        let (mut piece, mut stuffer, mut all) = (Bytes::from(text.clone()), Stuffer::new(), Vec::new());
        while !piece.is_empty() {
            let mut output = Output::new();
            stuffer.write(&mut piece, &mut output);
            assert!(output.len() <= COPY + SHORT + 1 && !output.is_empty(), "{} octets", output.len());
            all.extend(output.take());
        }
        assert!(all == text.replace(".x", "..x").into_bytes());
    }

    #[test]
    fn runs_without_dots_are_not_copied() {
        let piece = Bytes::from(vec![b'x'; 10_000]);
        let mut output = Output::new();
        Stuffer::new().write(&mut piece.clone(), &mut output);
        assert_eq!(output.first().as_ptr(), piece.as_ptr());
    }

    proptest! {
        #[test]
        fn a_client_gets_the_message_back(
            lines in proptest::collection::vec("[.a]{0,4}", 0..12),
            cuts in proptest::collection::vec(0_usize..60, 0..8),
        ) {
            let message: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(message.len())).collect();
            cuts.extend([0, message.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &message[pair[0]..pair[1]]).collect();
            let response = stuffed(&pieces);
            prop_assert_eq!(&response, &stuffed(&[&message]));
            prop_assert_eq!(unstuffed(&response), message);
        }
    }
}
