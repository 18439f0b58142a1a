//! Strings in the form that fits their content, and what is made of strings.

use bytes::BytesMut;
use pillarbox_proto_core::mail::{DateTime, MailboxName, utf7};

use super::number::number;
use crate::wire::chars;

/// The longest string that is sent in quotes; longer ones make a literal, which clients read without unescaping.
const LONGEST_QUOTED: usize = 4096;

/// `string`: quoted if it is short text, a literal otherwise. NUL, which no string can carry, is left out.
pub fn string(out: &mut BytesMut, text: &[u8], utf8: bool) {
    let plain = |byte: &u8| chars::is(*byte, chars::QUOTED) && byte.is_ascii();
    if text.len() <= LONGEST_QUOTED {
        if text.iter().all(plain) {
            out.reserve(text.len() + 2);
            out.extend_from_slice(b"\"");
            out.extend_from_slice(text);
            out.extend_from_slice(b"\"");
            return;
        }
        let quotable = !text.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'));
        if quotable && (text.is_ascii() || (utf8 && std::str::from_utf8(text).is_ok())) {
            return escaped(out, text);
        }
    }
    let nuls = text.iter().filter(|byte| **byte == 0).count();
    // A usize always fits.
    literal(out, (text.len() - nuls) as u64);
    for piece in text.split(|byte| *byte == 0) {
        out.extend_from_slice(piece);
    }
}

fn escaped(out: &mut BytesMut, text: &[u8]) {
    out.reserve(text.len() + 8);
    out.extend_from_slice(b"\"");
    for piece in text.split_inclusive(|byte| matches!(byte, b'"' | b'\\')) {
        match piece.split_last() {
            Some((special @ (b'"' | b'\\'), plain)) => {
                out.extend_from_slice(plain);
                out.extend_from_slice(&[b'\\', *special]);
            }
            _ => out.extend_from_slice(piece),
        }
    }
    out.extend_from_slice(b"\"");
}

/// A quoted string, for text that is known to be short. CR, LF and NUL, which cannot stand in one, become spaces, and
/// without `utf8` other characters than ASCII become question marks.
pub fn quoted(out: &mut BytesMut, text: &str, utf8: bool) {
    let mut clean = String::new();
    let fits = |character: char| !matches!(character, '\0' | '\r' | '\n') && (utf8 || character.is_ascii());
    if text.chars().all(fits) {
        return escaped(out, text.as_bytes());
    }
    clean.extend(text.chars().map(|character| match character {
        '\0' | '\r' | '\n' => ' ',
        character if fits(character) => character,
        _ => '?',
    }));
    escaped(out, clean.as_bytes());
}

/// `nstring`: a [`string()`], or `NIL` for `None`.
pub fn nstring(out: &mut BytesMut, text: Option<&[u8]>, utf8: bool) {
    match text {
        Some(text) => string(out, text, utf8),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// `astring`: bare if its characters allow, otherwise a [`string()`].
pub fn astring(out: &mut BytesMut, text: &[u8], utf8: bool) {
    // A client that reads nstrings with the same code would take a bare NIL for nothing.
    let bare =
        !text.is_empty() && text.iter().all(|byte| chars::is(*byte, chars::ATOM)) && !text.eq_ignore_ascii_case(b"NIL");
    if bare {
        out.extend_from_slice(text);
    } else {
        string(out, text, utf8);
    }
}

/// `mailbox`: a mailbox's name, or the prefix of a namespace, in the encoding that the client takes.
pub fn mailbox(out: &mut BytesMut, name: &MailboxName, utf8: bool) {
    mailbox_text(out, name.as_str(), utf8);
}

pub(super) fn mailbox_text(out: &mut BytesMut, name: &str, utf8: bool) {
    if utf8 {
        astring(out, name.as_bytes(), true);
    } else {
        astring(out, utf7::encode(name).as_bytes(), false);
    }
}

/// The announcement of a literal of this many octets, which the caller must then write.
pub fn literal(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"{");
    number(out, length);
    out.extend_from_slice(b"}\r\n");
}

/// The announcement of a literal8 (RFC 3516), which may hold NUL.
pub fn literal8(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"~");
    literal(out, length);
}

/// `date-time`, with its quotes.
pub fn date_time(out: &mut BytesMut, date: DateTime) {
    use std::fmt::Write as _;
    // Writing to memory cannot fail.
    let _ = write!(out, "\"{date}\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(&mut out);
        out.to_vec()
    }

    #[test]
    fn strings_take_the_form_that_fits() {
        let string = |text: &[u8], utf8| written(|out| string(out, text, utf8));
        assert_eq!(string(b"", false), b"\"\"");
        assert_eq!(string(b"a b", false), b"\"a b\"");
        assert_eq!(string(b"a\"\\b\"", false), b"\"a\\\"\\\\b\\\"\"");
        assert_eq!(string(b"a\r\nb", true), b"{4}\r\na\r\nb");
        assert_eq!(string("\u{fc}".as_bytes(), false), "{2}\r\n\u{fc}".as_bytes());
        assert_eq!(string("\u{fc}\"".as_bytes(), true), "\"\u{fc}\\\"\"".as_bytes());
        assert_eq!(string(b"\xff", true), b"{1}\r\n\xff");
        assert_eq!(string(b"a\0b", false), b"{2}\r\nab");
        assert_eq!(string(&[b'x'; 5000], false)[..8], *b"{5000}\r\n");
    }

    #[test]
    fn astrings_and_mailbox_names() {
        let astring = |text: &[u8]| written(|out| astring(out, text, false));
        assert_eq!(astring(b"INBOX"), b"INBOX");
        assert_eq!(astring(b""), b"\"\"");
        assert_eq!(astring(b"nil"), b"\"nil\"");
        assert_eq!(astring(b"a]"), b"\"a]\"");
        let name = MailboxName::new("Entw\u{fc}rfe & mehr").unwrap();
        assert_eq!(written(|out| mailbox(out, &name, false)), b"\"Entw&APw-rfe &- mehr\"");
        assert_eq!(written(|out| mailbox(out, &name, true)), "\"Entw\u{fc}rfe & mehr\"".as_bytes());
    }

    #[test]
    fn quoted_text_is_cleaned() {
        assert_eq!(written(|out| quoted(out, "a\r\nb\u{fc}\"", false)), b"\"a  b?\\\"\"");
        assert_eq!(written(|out| quoted(out, "\u{fc}", true)), "\"\u{fc}\"".as_bytes());
    }

    #[test]
    fn dates_have_26_octets_and_quotes() {
        let date = DateTime::parse(b" 7-Feb-1994 22:43:04 -0800").unwrap();
        assert_eq!(written(|out| date_time(out, date)), b"\" 7-Feb-1994 22:43:04 -0800\"");
    }
}
