//! Header texts for search and sort: unfolded, encoded words decoded (RFC 2047).

use std::borrow::Cow;

use memchr::memmem;

use super::binary::{BinaryDecoder, TransferEncoding};
use super::charset::{Charset, decode_unlabelled};
use super::field::unfold;
use super::params::hex;

/// The text of a header field: line ends removed, encoded words decoded, white space between adjacent ones dropped
/// (RFC 2047, section 6.2). Words that are not valid stay as they are; octets outside ASCII count as UTF-8, if they are.
///
/// ```
/// use pillarbox_imap_proto::message::decode_header;
///
/// assert_eq!(decode_header(b"=?iso-8859-1?q?caf=E9?=\r\n =?utf-8?b?4oKs?= !"), "caf\u{e9}\u{20ac} !");
/// ```
#[must_use]
pub fn decode_header(value: &[u8]) -> Cow<'_, str> {
    match unfold(value) {
        Cow::Borrowed(value) => decode_words(value),
        Cow::Owned(value) => Cow::Owned(decode_words(&value).into_owned()),
    }
}

struct Word<'a> {
    charset: &'a [u8],
    encoding: u8,
    text: &'a [u8],
    end: usize,
}

fn decode_words(value: &[u8]) -> Cow<'_, str> {
    if memmem::find(value, b"=?").is_none() {
        return decode_unlabelled(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut words = Words { value, end: None };
    // Octets of adjacent words in one charset are decoded together: some senders cut characters in two.
    let mut pending: Option<(&[u8], Vec<u8>)> = None;
    let (mut plain_start, mut at) = (0, 0);
    while let Some(found) = value.get(at..).and_then(|rest| memmem::find(rest, b"=?")) {
        let start = at + found;
        let Some(word) = words.at(start) else {
            at = start + 2;
            continue;
        };
        let plain = value.get(plain_start..start).unwrap_or_default();
        let joins = pending.is_some() && plain.trim_ascii().is_empty();
        if !joins || pending.as_ref().is_some_and(|(charset, _)| !charset.eq_ignore_ascii_case(word.charset)) {
            flush(&mut pending, &mut out);
        }
        if !joins {
            out.push_str(&decode_unlabelled(plain));
        }
        let (_, octets) = pending.get_or_insert_with(|| (word.charset, Vec::new()));
        word_octets(&word, octets);
        (plain_start, at) = (word.end, word.end);
    }
    flush(&mut pending, &mut out);
    out.push_str(&decode_unlabelled(value.get(plain_start..).unwrap_or_default()));
    Cow::Owned(out)
}

fn flush(pending: &mut Option<(&[u8], Vec<u8>)>, out: &mut String) {
    if let Some((charset, octets)) = pending.take() {
        match Charset::for_label(charset) {
            Some(charset) => out.push_str(&charset.decode(&octets)),
            None => out.push_str(&decode_unlabelled(&octets)),
        }
    }
}

fn word_octets(word: &Word<'_>, out: &mut Vec<u8>) {
    if word.encoding.eq_ignore_ascii_case(&b'b') {
        let mut decoder = BinaryDecoder::new(TransferEncoding::Base64);
        decoder.decode(word.text, out);
        decoder.finish(out);
        return;
    }
    let mut rest = word.text;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match (octet, rest) {
            (b'_', _) => out.push(b' '),
            (b'=', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                out.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = after;
            }
            _ => out.push(octet),
        }
    }
}

/// Finds encoded words. Where the next `?=` stands is remembered, so that many openings without an end take linear time.
struct Words<'a> {
    value: &'a [u8],
    end: Option<usize>,
}

impl<'a> Words<'a> {
    fn at(&mut self, start: usize) -> Option<Word<'a>> {
        const MAX_CHARSET: usize = 75;
        let charset_start = start + 2;
        let window = self.value.get(charset_start..)?;
        let window = window.get(..MAX_CHARSET).unwrap_or(window);
        let charset_length = memchr::memchr(b'?', window)?;
        let charset = window.get(..charset_length)?;
        if charset.is_empty() || !charset.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let language = memchr::memchr(b'*', charset).unwrap_or(charset.len());
        let after = charset_start + charset_length + 1;
        let [encoding @ (b'q' | b'Q' | b'b' | b'B'), b'?', ..] = *self.value.get(after..)? else {
            return None;
        };
        let text_start = after + 2;
        let end = match self.end {
            Some(end) if end >= text_start => end,
            _ => {
                let rest = self.value.get(text_start..)?;
                let end = memmem::find(rest, b"?=").map_or(self.value.len(), |found| text_start + found);
                self.end = Some(end);
                end
            }
        };
        if end == self.value.len() {
            return None;
        }
        let text = self.value.get(text_start..end)?;
        // Another word begins before this one ends: this one is cut off.
        if memmem::find(text, b"=?").is_some() {
            return None;
        }
        Some(Word { charset: charset.get(..language)?, encoding, text, end: end + 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_words() {
        for (value, expected) in [
            (&b"plain"[..], "plain"),
            (b"=?US-ASCII?Q?Keith_Moore?= <moore>", "Keith Moore <moore>"),
            (b"=?ISO-8859-1?Q?a?= b", "a b"),
            (b"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
            (b"=?ISO-8859-1?Q?a?=\r\n  =?ISO-8859-1?Q?b?=", "ab"),
            (b"=?ISO-8859-1?Q?a_?= =?ISO-8859-2?Q?_b?=", "a  b"),
            (b"=?utf-8*en?B?w6k=?=", "é"),
            (b"=?utf-8?B?w6k?=", "é"),
            (b"=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=", "é"),
            (b"=?iso-8859-1?q?=41?=", "A"),
            (b"=?nonesuch?q?x=41?=", "xA"),
            (b"=?utf-8?q?open", "=?utf-8?q?open"),
            (b"=?utf-8?q?open =?utf-8?q?x?=", "=?utf-8?q?open x"),
            (b"=?utf-8?x?x?=", "=?utf-8?x?x?="),
            (b"=??q?x?=", "=??q?x?="),
            (b"a\xe9b", "aéb"),
            (b"=?utf-8?q?two words?=", "two words"),
            (b"=?utf-8?q??=", ""),
        ] {
            assert_eq!(decode_header(value), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn openings_without_end_are_linear() {
        // A quadratic search would take very long here.
        let value = b"=?a?q?".repeat(200_000);
        assert_eq!(decode_header(&value).len(), value.len());
    }
}
