//! Removing transfer encodings (RFC 2045, section 6; RFC 3516).
//!
//! Damaged base64 and quoted-printable never fail: what can be decoded is, the rest is left out (base64) or kept as it is
//! (quoted-printable).

use super::params::hex;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferEncoding {
    /// 7bit, 8bit or binary: not at all.
    Identity,
    /// base64.
    Base64,
    /// quoted-printable.
    QuotedPrintable,
    /// Something else: the body cannot be decoded.
    Unknown,
}

impl TransferEncoding {
    /// What the value of a Content-Transfer-Encoding means; without one it is 7bit.
    #[must_use]
    pub fn of(value: Option<&[u8]>) -> Self {
        let Some(value) = value else { return Self::Identity };
        const NAMES: [(&[u8], TransferEncoding); 5] = [
            (b"7bit", TransferEncoding::Identity),
            (b"8bit", TransferEncoding::Identity),
            (b"binary", TransferEncoding::Identity),
            (b"base64", TransferEncoding::Base64),
            (b"quoted-printable", TransferEncoding::QuotedPrintable),
        ];
        NAMES.iter().find(|(name, _)| value.eq_ignore_ascii_case(name)).map_or(Self::Unknown, |pair| pair.1)
    }
}

/// Decodes a body that comes in pieces. The result does not depend on how it is cut.
///
/// ```
/// use pillarbox_imap_proto::message::{BinaryDecoder, TransferEncoding};
///
/// let mut decoder = BinaryDecoder::new(TransferEncoding::Base64);
/// let mut out = Vec::new();
/// decoder.decode(b"SGVs\r\nbG8", &mut out);
/// decoder.decode(b"=", &mut out);
/// decoder.finish(&mut out);
/// assert_eq!(out, b"Hello");
/// ```
#[derive(Clone, Debug)]
pub struct BinaryDecoder(State);

#[derive(Clone, Debug)]
enum State {
    Identity,
    Base64 { bits: u32, digits: u8 },
    QuotedPrintable(Quoted),
}

/// White space at the end of a line is dropped (RFC 2045, section 6.7, rule 3), but no more of it is held than this.
const MAX_SPACE: usize = 1024;

#[derive(Clone, Debug, Default)]
struct Quoted {
    /// What cannot be decided yet: white space, or what follows an equals sign.
    held: Vec<u8>,
}

impl BinaryDecoder {
    /// A decoder at the start of a body. An unknown encoding is passed through as it is.
    #[must_use]
    pub fn new(encoding: TransferEncoding) -> Self {
        Self(match encoding {
            TransferEncoding::Identity | TransferEncoding::Unknown => State::Identity,
            TransferEncoding::Base64 => State::Base64 { bits: 0, digits: 0 },
            TransferEncoding::QuotedPrintable => State::QuotedPrintable(Quoted::default()),
        })
    }

    /// Decodes the next piece, appending to `out`: at most as many octets as came in, and 1,024 more.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            State::Identity => out.extend_from_slice(input),
            State::Base64 { bits, digits } => base64(input, bits, digits, out),
            State::QuotedPrintable(quoted) => quoted.decode(input, out),
        }
    }

    /// Ends the body.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.0 {
            State::Identity => {}
            State::Base64 { bits, digits } => base64_rest(bits, digits, out),
            State::QuotedPrintable(quoted) => quoted.finish(out),
        }
    }

    /// Decodes a body that is in memory.
    #[must_use]
    pub fn decode_all(encoding: TransferEncoding, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut decoder = Self::new(encoding);
        decoder.decode(body, &mut out);
        decoder.finish(&mut out);
        out
    }
}

const PAD: u8 = 64;
const SKIP: u8 = 255;
const BASE64: [u8; 256] = {
    let mut table = [SKIP; 256];
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < 64 {
        table[digits[value] as usize] = value as u8;
        value += 1;
    }
    table[b'=' as usize] = PAD;
    table
};

fn base64(input: &[u8], bits: &mut u32, digits: &mut u8, out: &mut Vec<u8>) {
    out.reserve(input.len() / 4 * 3 + 3);
    for &octet in input {
        // The table has an entry for every octet.
        match BASE64.get(octet as usize).copied().unwrap_or(SKIP) {
            SKIP => {}
            // Padding ends a run; another may follow where encoded texts were put together.
            PAD => {
                base64_rest(*bits, *digits, out);
                (*bits, *digits) = (0, 0);
            }
            value => {
                *bits = *bits << 6 | u32::from(value);
                *digits += 1;
                if *digits == 4 {
                    let [_, a, b, c] = bits.to_be_bytes();
                    out.extend_from_slice(&[a, b, c]);
                    (*bits, *digits) = (0, 0);
                }
            }
        }
    }
}

fn base64_rest(bits: u32, digits: u8, out: &mut Vec<u8>) {
    match digits {
        2 => out.push((bits >> 4) as u8),
        3 => out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]),
        _ => {}
    }
}

impl Quoted {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        for &octet in input {
            self.octet(octet, out);
        }
    }

    fn octet(&mut self, octet: u8, out: &mut Vec<u8>) {
        match self.held.first() {
            None => match octet {
                b'=' | b' ' | b'\t' | b'\r' => self.held.push(octet),
                _ => out.push(octet),
            },
            Some(b'=') => self.escape(octet, out),
            Some(_) => self.space(octet, out),
        }
    }

    /// After an equals sign.
    fn escape(&mut self, octet: u8, out: &mut Vec<u8>) {
        match (self.held.as_slice(), octet) {
            // A soft line break, maybe with white space before its end.
            (_, b'\n') if self.held.iter().skip(1).all(|held| matches!(held, b' ' | b'\t' | b'\r')) => {
                self.held.clear()
            }
            ([b'='], digit) if hex(digit).is_some() => self.held.push(digit),
            (&[b'=', high], low) if let (Some(high), Some(low)) = (hex(high), hex(low)) => {
                out.push(high << 4 | low);
                self.held.clear();
            }
            ([.., last], b' ' | b'\t' | b'\r')
                if matches!(last, b'=' | b' ' | b'\t') && self.held.len() < MAX_SPACE =>
            {
                self.held.push(octet);
            }
            // Not an escape: the equals sign stands for itself, and what follows it is looked at again.
            _ => {
                let mut held = std::mem::take(&mut self.held);
                out.push(b'=');
                held.push(octet);
                for octet in held.into_iter().skip(1) {
                    self.octet(octet, out);
                }
            }
        }
    }

    /// After white space or a CR.
    fn space(&mut self, octet: u8, out: &mut Vec<u8>) {
        let after_cr = self.held.last() == Some(&b'\r');
        match octet {
            b'\n' => {
                out.extend_from_slice(if after_cr { b"\r\n" } else { b"\n" });
                self.held.clear();
            }
            b' ' | b'\t' | b'\r' if !after_cr && self.held.len() < MAX_SPACE => self.held.push(octet),
            _ => {
                out.append(&mut self.held);
                self.octet(octet, out);
            }
        }
    }

    fn finish(self, out: &mut Vec<u8>) {
        match self.held.first() {
            // A soft line break at the end of the body.
            Some(b'=') if self.held.iter().skip(1).all(|held| matches!(held, b' ' | b'\t' | b'\r')) => {}
            Some(b' ' | b'\t') => {}
            _ => out.extend_from_slice(&self.held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn base64(text: &str) -> Vec<u8> {
        BinaryDecoder::decode_all(TransferEncoding::Base64, text.as_bytes())
    }

    fn quoted(text: &str) -> String {
        String::from_utf8(BinaryDecoder::decode_all(TransferEncoding::QuotedPrintable, text.as_bytes())).unwrap()
    }

    #[test]
    fn decodes_base64() {
        assert_eq!(base64("SGVsbG8sIHdvcmxkIQ=="), b"Hello, world!");
        assert_eq!(base64("SGVs\r\nbG8="), b"Hello");
        assert_eq!(base64("SGVsbG8"), b"Hello");
        assert_eq!(base64("SGVsbG8=SGVsbG8="), b"HelloHello");
        assert_eq!(base64(""), b"");
    }

    #[test]
    fn decodes_what_it_can_of_damaged_base64() {
        assert_eq!(base64("SG!V*s\u{e9}bG8="), b"Hello");
        assert_eq!(base64("SGVsb"), b"Hel");
        assert_eq!(base64("===="), b"");
        assert_eq!(base64("-- \r\n"), b"");
    }

    #[test]
    fn decodes_quoted_printable() {
        assert_eq!(quoted("a=3Db=\r\nc"), "a=bc");
        assert_eq!(quoted("caf=c3=A9"), "café");
        assert_eq!(quoted("end  \t\r\nnext"), "end\r\nnext");
        assert_eq!(quoted("soft= \t\r\nnext"), "softnext");
        assert_eq!(quoted("a=20\r\nb"), "a \r\nb");
        assert_eq!(quoted("bare\nline=\nend"), "bare\nlineend");
        assert_eq!(quoted("end="), "end");
        assert_eq!(quoted("end=\r\n"), "end");
    }

    #[test]
    fn keeps_what_is_not_quoted_printable() {
        assert_eq!(quoted("a=b"), "a=b");
        assert_eq!(quoted("a=XY=3D"), "a=XY=");
        assert_eq!(quoted("a=4"), "a=4");
        assert_eq!(quoted("a==3D"), "a==");
        assert_eq!(quoted("a=4=3D"), "a=4=");
        assert_eq!(quoted("a= b"), "a= b");
        assert_eq!(quoted("a\rb \r\rc"), "a\rb \r\rc");
    }

    #[test]
    fn holds_little() {
        let mut decoder = BinaryDecoder::new(TransferEncoding::QuotedPrintable);
        let mut out = Vec::new();
        for start in ["", "="] {
            decoder.decode(start.as_bytes(), &mut out);
            decoder.decode(&b" ".repeat(1_000_000), &mut out);
            let State::QuotedPrintable(quoted) = &decoder.0 else { panic!() };
            assert!(quoted.held.len() <= MAX_SPACE);
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[=3Dd \t\r\nx!]{0,60}", cut in 1usize..7) {
            for encoding in [TransferEncoding::Base64, TransferEncoding::QuotedPrintable, TransferEncoding::Identity] {
                let mut out = Vec::new();
                let mut decoder = BinaryDecoder::new(encoding);
                for piece in text.as_bytes().chunks(cut) {
                    decoder.decode(piece, &mut out);
                }
                decoder.finish(&mut out);
                prop_assert_eq!(out, BinaryDecoder::decode_all(encoding, text.as_bytes()));
            }
        }

        #[test]
        fn never_grows(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            for encoding in [TransferEncoding::Base64, TransferEncoding::QuotedPrintable] {
                prop_assert!(BinaryDecoder::decode_all(encoding, &text).len() <= text.len());
            }
        }
    }
}
