//! What a header field with octets beyond ASCII becomes (RFC 6858, section 2).
//!
//! | field | becomes |
//! |---|---|
//! | addresses (section 2.1) | each internationalized address becomes one that nobody has, whose display name holds it |
//! | Content-Type, Content-Disposition (2.2) | the same without the parameters that can't be shown |
//! | Subject (2.3) | encoded words (RFC 2047) |
//! | all others (2.4) | left out |

use super::{address, parameters};
use crate::downgrade::words::Folded;

/// The name and the value of a field, if it is one. The value has the line end.
pub(super) fn split(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', field)?;
    let (name, value) = field.split_at_checked(colon)?;
    let name = name.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some((name, value.get(1..).unwrap_or_default()))
}

/// Octets beyond ASCII as question marks.
pub(super) fn masked(octets: &[u8]) -> Vec<u8> {
    octets.iter().map(|octet| if octet.is_ascii() { *octet } else { b'?' }).collect()
}

enum Kind {
    Addresses,
    Path,
    Parameters,
    Text,
    Other,
}

/// The fields that RFC 6858 has rules for.
const KINDS: [(&str, Kind); 15] = [
    ("Bcc", Kind::Addresses),
    ("Cc", Kind::Addresses),
    ("From", Kind::Addresses),
    ("Reply-To", Kind::Addresses),
    ("Resent-Bcc", Kind::Addresses),
    ("Resent-Cc", Kind::Addresses),
    ("Resent-From", Kind::Addresses),
    ("Resent-Sender", Kind::Addresses),
    ("Resent-To", Kind::Addresses),
    ("Return-Path", Kind::Path),
    ("Sender", Kind::Addresses),
    ("To", Kind::Addresses),
    ("Content-Type", Kind::Parameters),
    ("Content-Disposition", Kind::Parameters),
    ("Subject", Kind::Text),
];

/// What a field with octets beyond ASCII becomes; empty if it is left out.
pub(super) fn surrogate(field: &[u8]) -> Vec<u8> {
    let Some((name, value)) = split(field) else { return masked(field) };
    let (value, line_end) = without_line_end(value);
    let known = KINDS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
    match known.map_or(&Kind::Other, |(_, kind)| kind) {
        Kind::Addresses => address::list(name, value).finish(line_end),
        Kind::Path => address::path(name, value).finish(line_end),
        Kind::Parameters => match parameters::presentable(value) {
            Some(value) => [name, b":", &value, line_end].concat(),
            None => Vec::new(),
        },
        Kind::Text => {
            let mut folded = Folded::new(name);
            folded.text(value);
            folded.finish(line_end)
        }
        Kind::Other => Vec::new(),
    }
}

fn without_line_end(value: &[u8]) -> (&[u8], &[u8]) {
    let length = if value.ends_with(b"\r\n") { 2 } else { usize::from(value.ends_with(b"\n")) };
    value.split_at_checked(value.len() - length).unwrap_or((value, b""))
}
