//! Character sets by their registered names.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mail_parser::decoders::charsets::{DecoderFnc, map::charset_decoder};

/// A character set that texts can be decoded from.
///
/// The names are those of the IANA registry with their aliases, as far as the decoding libraries know them, in any case.
#[derive(Clone, Copy)]
pub struct Charset(Decoder);

#[derive(Clone, Copy)]
enum Decoder {
    Ascii,
    Encoding(&'static Encoding),
    /// Charsets of mail that the WHATWG list leaves out, such as UTF-7 and code page 850.
    Other(DecoderFnc),
}

impl Charset {
    /// UTF-8.
    pub const UTF_8: Self = Self(Decoder::Encoding(UTF_8));

    /// The charset with this name, if it is known. If not, a search in it gets NO with BADCHARSET (RFC 9051, section
    /// 6.4.4).
    #[must_use]
    pub fn for_label(label: &[u8]) -> Option<Self> {
        let label = label.trim_ascii();
        if label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii") {
            return Some(Self(Decoder::Ascii));
        }
        if label.is_empty() || label.len() > 45 {
            return None;
        }
        if let Some(encoding) = encoding(label) {
            return Some(Self(Decoder::Encoding(encoding)));
        }
        if is_replaced(label) {
            return None;
        }
        charset_decoder(label).map(|decoder| Self(Decoder::Other(decoder)))
    }

    /// The text, with U+FFFD for what is not valid in this charset.
    #[must_use]
    pub fn decode(self, text: &[u8]) -> Cow<'_, str> {
        match self.0 {
            // Mail that says US-ASCII and has 8-bit octets nearly always means something else.
            Decoder::Ascii => decode_unlabelled(text),
            Decoder::Encoding(encoding) => encoding.decode_without_bom_handling(text).0,
            Decoder::Other(decode) => Cow::Owned(decode(text)),
        }
    }

    /// The text, if all of it is valid in this charset. For the strings of a search.
    #[must_use]
    pub fn decode_strict(self, text: &[u8]) -> Option<Cow<'_, str>> {
        match self.0 {
            Decoder::Ascii => text.is_ascii().then(|| String::from_utf8_lossy(text)),
            Decoder::Encoding(encoding) => encoding.decode_without_bom_handling_and_without_replacement(text),
            Decoder::Other(decode) => {
                let text = decode(text);
                (!text.contains(char::REPLACEMENT_CHARACTER)).then_some(Cow::Owned(text))
            }
        }
    }

    /// A decoder for a text that comes in pieces.
    pub(super) fn stream(self) -> TextDecoder {
        match self.0 {
            Decoder::Ascii => TextDecoder::Unlabelled(Unlabelled::default()),
            Decoder::Encoding(encoding) => TextDecoder::Encoding(Box::new(encoding.new_decoder_with_bom_removal())),
            Decoder::Other(decode) => TextDecoder::Lines { decode, held: Vec::new() },
        }
    }
}

impl std::fmt::Debug for Charset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Decoder::Ascii => "US-ASCII",
            Decoder::Encoding(encoding) => encoding.name(),
            Decoder::Other(_) => "Charset",
        })
    }
}

/// Names in use for charsets that have another name in the WHATWG list.
const ALIASES: [(&[u8], &[u8]); 10] = [
    (b"cp932", b"shift_jis"),
    (b"cp936", b"gbk"),
    (b"ms936", b"gbk"),
    (b"windows-936", b"gbk"),
    (b"cp949", b"euc-kr"),
    (b"cp950", b"big5"),
    (b"cp874", b"windows-874"),
    (b"cp1361", b"euc-kr"),
    (b"x-windows-949", b"euc-kr"),
    (b"utf8mb4", b"utf-8"),
];

fn encoding(label: &[u8]) -> Option<&'static Encoding> {
    let label: &[u8] = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(label)).map_or(label, |pair| pair.1);
    Encoding::for_label_no_replacement(label).or_else(|| {
        let dashes: Vec<u8> = label.iter().map(|&octet| if octet == b'_' { b'-' } else { octet }).collect();
        Encoding::for_label_no_replacement(&dashes)
    })
}

/// Whether the label names one of the charsets that decode to nothing but a replacement character.
fn is_replaced(label: &[u8]) -> bool {
    let dashes: Vec<u8> = label.iter().map(|&octet| if octet == b'_' { b'-' } else { octet }).collect();
    Encoding::for_label(&dashes).is_some()
}

/// Decodes text that says nothing of its charset, or says US-ASCII and is not: UTF-8 if valid, else windows-1252.
pub(super) fn decode_unlabelled(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(text).0,
    }
}

/// How much text is decoded at a time when its charset cannot be decoded piece by piece otherwise.
const MAX_HELD: usize = 16 * 1024;

/// Decodes a text that comes in pieces.
pub(super) enum TextDecoder {
    Encoding(Box<encoding_rs::Decoder>),
    Unlabelled(Unlabelled),
    Lines { decode: DecoderFnc, held: Vec<u8> },
}

impl TextDecoder {
    /// For a text whose charset is unknown.
    pub(super) fn unlabelled() -> Self {
        Self::Unlabelled(Unlabelled::default())
    }

    /// Decodes the next piece and hands the text on; `last` at the end of the text.
    pub(super) fn decode(&mut self, mut piece: &[u8], last: bool, mut text: impl FnMut(&str)) {
        match self {
            Self::Encoding(decoder) => {
                let mut buffer = String::with_capacity(4096);
                loop {
                    let (result, read, _) = decoder.decode_to_string(piece, &mut buffer, last);
                    text(&buffer);
                    buffer.clear();
                    piece = piece.get(read..).unwrap_or_default();
                    if result == encoding_rs::CoderResult::InputEmpty {
                        return;
                    }
                }
            }
            Self::Unlabelled(state) => state.decode(piece, last, text),
            Self::Lines { decode, held } => {
                for line in piece.split_inclusive(|&octet| octet == b'\n') {
                    for part in line.chunks(MAX_HELD) {
                        held.extend_from_slice(part);
                        if held.ends_with(b"\n") || held.len() >= MAX_HELD {
                            text(&decode(held));
                            held.clear();
                        }
                    }
                }
                if last && !held.is_empty() {
                    text(&decode(held));
                    held.clear();
                }
            }
        }
    }
}

/// UTF-8 as long as it is valid; from the first invalid octet on, windows-1252.
#[derive(Default)]
pub(super) struct Unlabelled {
    held: Vec<u8>,
    latin: bool,
}

impl Unlabelled {
    fn decode(&mut self, piece: &[u8], last: bool, mut text: impl FnMut(&str)) {
        let joined;
        let mut rest = piece;
        if !self.held.is_empty() {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(piece);
            joined = held;
            rest = &joined;
        }
        if !self.latin {
            match std::str::from_utf8(rest) {
                Ok(valid) => return text(valid),
                Err(error) => {
                    let (valid, invalid) = rest.split_at(error.valid_up_to());
                    text(std::str::from_utf8(valid).unwrap_or_default());
                    rest = invalid;
                    if error.error_len().is_none() && !last {
                        self.held = rest.to_vec();
                        return;
                    }
                    self.latin = true;
                }
            }
        }
        for run in rest.chunks(4096) {
            text(&WINDOWS_1252.decode_without_bom_handling(run).0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_names() {
        for name in [
            "UTF-8",
            "utf8",
            "US-ASCII",
            "ISO-8859-1",
            "iso_8859-1:1987",
            "ISO-8859-15",
            "KOI8-R",
            "windows-1251",
            "Shift_JIS",
            "ISO-2022-JP",
            "GB2312",
            "gb18030",
            "big5",
            "EUC-KR",
            "utf-7",
            "cp850",
            "cp932",
            "iso_8859_1",
            "UTF-16BE",
            "macintosh",
        ] {
            assert!(Charset::for_label(name.as_bytes()).is_some(), "{name}");
        }
        for name in ["", "nonesuch", "iso-2022-kr", "replacement", "x-unknown", "\u{e9}"] {
            assert!(Charset::for_label(name.as_bytes()).is_none(), "{name}");
        }
        assert!(Charset::for_label(&[b'x'; 1000]).is_none());
    }

    #[test]
    fn decodes() {
        let decode = |label: &str, text: &[u8]| Charset::for_label(label.as_bytes()).unwrap().decode(text).into_owned();
        assert_eq!(decode("iso-8859-1", b"\xe9t\xe9"), "été");
        assert_eq!(decode("koi8-r", b"\xd4\xc5\xd3\xd4"), "тест");
        assert_eq!(decode("iso-2022-jp", b"\x1b$B%O%m!<\x1b(B"), "ハロー");
        assert_eq!(decode("utf-7", b"Hi +ALs-"), "Hi »");
        assert_eq!(decode("us-ascii", "é".as_bytes()), "é");
        assert_eq!(decode("utf-8", b"a\xffb"), "a\u{fffd}b");
        for label in ["shift_jis", "gb18030", "big5", "euc-kr", "cp949", "utf-7", "cp850"] {
            for octet in 0..=255 {
                let _ = decode(label, &[octet]);
            }
        }
    }

    #[test]
    fn is_strict_for_searches() {
        let strict = |label: &str, text: &[u8]| {
            Charset::for_label(label.as_bytes()).unwrap().decode_strict(text).map(Cow::into_owned)
        };
        assert_eq!(strict("us-ascii", b"abc").as_deref(), Some("abc"));
        assert_eq!(strict("us-ascii", b"\xe9"), None);
        assert_eq!(strict("utf-8", b"\xe9"), None);
        assert_eq!(strict("iso-8859-1", b"\xe9").as_deref(), Some("é"));
    }

    #[test]
    fn streams() {
        for (mut decoder, text, expected) in [
            (TextDecoder::unlabelled(), "aé€b".as_bytes().to_vec(), "aé€b".to_owned()),
            (TextDecoder::unlabelled(), b"a\xe9\xe8b\xc3".to_vec(), "aéèbÃ".to_owned()),
            (Charset::UTF_8.stream(), "é€".as_bytes().to_vec(), "é€".to_owned()),
            (Charset::for_label(b"utf-7").unwrap().stream(), b"+ALs-\r\n+ALs-".to_vec(), "»\r\n»".to_owned()),
        ] {
            let mut out = String::new();
            for octet in &text {
                decoder.decode(&[*octet], false, |text| out.push_str(text));
            }
            decoder.decode(b"", true, |text| out.push_str(text));
            assert_eq!(out, expected);
        }
    }
}
