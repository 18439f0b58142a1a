//! Modified UTF-7, the form that mailbox names have on the wire in IMAP4rev1 (RFC 3501, section 5.1.3).
//!
//! Printable US-ASCII stands for itself, `&` is `&-`, and everything else is UTF-16 in a variant of base64 between `&`
//! and `-`. Decoding is strict, so that every name has exactly one encoded form: what [`decode`] accepts, [`encode`]
//! gives back to the letter. This module does not judge whether a text is fit for a mailbox name.

use std::borrow::Cow;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// What is wrong with a text in modified UTF-7. The numbers are octets from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUtf7 {
    /// An octet that may not stand for itself: a control character or one outside US-ASCII.
    #[error("octet {0} is not printable US-ASCII")]
    Octet(usize),
    /// A shifted section has a character that is not of the modified base64 alphabet, or no `-` at its end.
    #[error("the shifted section at octet {0} is not modified base64, or does not end")]
    Base64(usize),
    /// A shifted section does not hold whole UTF-16 units, or has a surrogate without its other half.
    #[error("the shifted section at octet {0} is not UTF-16")]
    Utf16(usize),
    /// A shift where none is needed: for printable US-ASCII, or right after another shifted section.
    #[error("the shift at octet {0} is superfluous")]
    Superfluous(usize),
}

/// Encodes a text. Borrows it if it is printable US-ASCII without `&`.
///
/// ```
/// use pillarbox_proto_core::mail::utf7;
///
/// assert_eq!(utf7::encode("Entw\u{fc}rfe & mehr"), "Entw&APw-rfe &- mehr");
/// ```
#[must_use]
pub fn encode(text: &str) -> Cow<'_, str> {
    let Some(first) = text.bytes().position(|byte| !is_direct(byte)) else { return Cow::Borrowed(text) };
    let (plain, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + text.len() / 2 + 4);
    out.push_str(plain);
    let mut shift: Option<Bits> = None;
    for c in rest.chars() {
        if matches!(c, ' '..='~') {
            if let Some(bits) = shift.take() {
                bits.finish(&mut out);
            }
            out.push(c);
            if c == '&' {
                out.push('-');
            }
            continue;
        }
        let bits = shift.get_or_insert_with(|| {
            out.push('&');
            Bits::default()
        });
        for unit in c.encode_utf16(&mut [0; 2]) {
            bits.push(*unit, &mut out);
        }
    }
    if let Some(bits) = shift {
        bits.finish(&mut out);
    }
    Cow::Owned(out)
}

/// Decodes a text. Borrows it if it has no `&`.
///
/// ```
/// use pillarbox_proto_core::mail::utf7;
///
/// assert_eq!(utf7::decode(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-").unwrap(), "~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}");
/// assert!(utf7::decode(b"&U,BTFw-&ZeVnLIqe-").is_err()); // two sections where one would do
/// ```
///
/// # Errors
///
/// [`InvalidUtf7`] if the text is not what [`encode`] would have written.
pub fn decode(text: &[u8]) -> Result<Cow<'_, str>, InvalidUtf7> {
    if let Some(at) = text.iter().position(|byte| !matches!(byte, b' '..=b'~')) {
        return Err(InvalidUtf7::Octet(at));
    }
    // Printable US-ASCII was just checked, so the first error cannot happen.
    let text = std::str::from_utf8(text).map_err(|error| InvalidUtf7::Octet(error.valid_up_to()))?;
    let Some((plain, _)) = text.split_once('&') else { return Ok(Cow::Borrowed(text)) };
    let mut out = String::with_capacity(text.len());
    out.push_str(plain);
    let mut at = plain.len();
    let mut rest = text.get(at..).unwrap_or_default();
    let mut units = Vec::new();
    let mut after_section = false;
    while let Some(shifted) = rest.strip_prefix('&') {
        let section = shifted.bytes().position(|byte| byte == b'-').ok_or(InvalidUtf7::Base64(at))?;
        let (section, tail) = shifted.split_at(section);
        if section.is_empty() {
            out.push('&');
        } else if after_section {
            return Err(InvalidUtf7::Superfluous(at));
        } else {
            decode_section(section.as_bytes(), &mut units, &mut out, at)?;
        }
        let tail = tail.strip_prefix('-').unwrap_or(tail);
        let direct = tail.find('&').unwrap_or(tail.len());
        let (plain, next) = tail.split_at(direct);
        out.push_str(plain);
        after_section = !section.is_empty() && plain.is_empty();
        at += 2 + section.len() + plain.len();
        rest = next;
    }
    Ok(Cow::Owned(out))
}

fn decode_section(section: &[u8], units: &mut Vec<u16>, out: &mut String, at: usize) -> Result<(), InvalidUtf7> {
    units.clear();
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in section {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b',' => 63,
            _ => return Err(InvalidUtf7::Base64(at)),
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push((bits >> held) as u16);
            bits &= (1 << held) - 1;
        }
    }
    if held >= 6 || bits != 0 {
        return Err(InvalidUtf7::Utf16(at));
    }
    for c in char::decode_utf16(units.iter().copied()) {
        match c {
            Ok(' '..='~') => return Err(InvalidUtf7::Superfluous(at)),
            Ok(c) => out.push(c),
            Err(_) => return Err(InvalidUtf7::Utf16(at)),
        }
    }
    Ok(())
}

const fn is_direct(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'&'
}

/// Bits of a shifted section that do not fill a letter yet.
#[derive(Default)]
struct Bits {
    bits: u32,
    held: u32,
}

impl Bits {
    fn push(&mut self, unit: u16, out: &mut String) {
        self.bits = (self.bits << 16) | u32::from(unit);
        self.held += 16;
        while self.held >= 6 {
            self.held -= 6;
            letter(self.bits >> self.held, out);
        }
        self.bits &= (1 << self.held) - 1;
    }

    fn finish(self, out: &mut String) {
        if self.held > 0 {
            letter(self.bits << (6 - self.held), out);
        }
        out.push('-');
    }
}

fn letter(value: u32, out: &mut String) {
    out.push(char::from(ALPHABET[(value & 63) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_ways() {
        for (text, encoded) in [
            ("", ""),
            ("INBOX", "INBOX"),
            ("a&b", "a&-b"),
            ("&&", "&-&-"),
            ("\u{e9}&", "&AOk-&-"),
            ("&\u{e9}", "&-&AOk-"),
            ("~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("\u{1f4ec}", "&2D3c7A-"),
            ("x\u{1f4ec}\u{e9}y", "x&2D3c7ADp-y"),
            ("\u{ffff}", "&,,8-"),
            ("\u{ff}\u{ff}\u{ff}", "&AP8A,wD,-"),
            ("\u{7f}\t", "&AH8ACQ-"),
            ("+,-", "+,-"),
        ] {
            assert_eq!(encode(text), encoded);
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Ok(text));
        }
        assert!(matches!(encode("plain"), Cow::Borrowed(_)));
        assert!(matches!(decode(b"plain"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn texts_that_are_refused() {
        use InvalidUtf7::{Base64, Octet, Superfluous, Utf16};
        for (text, why) in [
            (&b"a\xc3\xa9"[..], Octet(1)),
            (b"\x7f", Octet(0)),
            (b"tab\t", Octet(3)),
            (b"&", Base64(0)),
            (b"ab&AOk", Base64(2)),
            (b"&AO k-", Base64(0)),
            (b"&AOk=-", Base64(0)),
            (b"&AO/k-", Base64(0)),
            (b"&&-", Base64(0)),
            // Half a unit; stray bits; a letter too many.
            (b"&AA-", Utf16(0)),
            (b"&AOl-", Utf16(0)),
            (b"&AOkA-", Utf16(0)),
            // Surrogates alone or the wrong way round.
            (b"&2D0-", Utf16(0)),
            (b"&3Ow-", Utf16(0)),
            (b"&3OzYPQ-", Utf16(0)),
            // Printable characters, the ampersand among them, and sections that should be one.
            (b"&AGE-", Superfluous(0)),
            (b"x&ACY-", Superfluous(1)),
            (b"&U,BTFw-&ZeVnLIqe-", Superfluous(8)),
        ] {
            assert_eq!(decode(text), Err(why), "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in any::<String>()) {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(decode(encoded.as_bytes()).unwrap(), text.as_str());
        }

        #[test]
        fn what_is_decoded_has_one_form(text in "[A-Da,&\\-]{0,12}|(&[A-Z0-9a-z+,]{0,8}-?[a-c]{0,2}){0,3}") {
            if let Ok(decoded) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&decoded), text.as_str());
            }
        }

        #[test]
        fn no_input_panics(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&text);
        }
    }
}
