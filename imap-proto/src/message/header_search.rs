//! Searching a message's header: HEADER, FROM, TO, CC, BCC and SUBJECT (RFC 9051, section 6.4.4).

use std::sync::OnceLock;

use super::address::{Address, parse_addresses};
use super::decode::decode_header;
use super::field::{Field, fields};
use super::fold::{Needle, fold};

/// The fields of a header, each decoded and folded at most once, when the first search looks at it.
///
/// Of several fields of a kind, all are searched.
///
/// ```
/// use pillarbox_imap_proto::message::{HeaderText, Needle};
///
/// let header = HeaderText::new(b"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nX-Tag:\r\n\r\n");
/// assert!(header.address(b"from", &Needle::new("J\u{d6}RG")));
/// assert!(header.field(b"X-TAG", &Needle::new("")));
/// assert!(!header.field(b"X-Other", &Needle::new("")));
/// ```
#[derive(Debug)]
pub struct HeaderText<'h> {
    fields: Vec<FieldText<'h>>,
}

#[derive(Debug)]
struct FieldText<'h> {
    field: Field<'h>,
    text: OnceLock<Vec<u8>>,
    addresses: OnceLock<Vec<u8>>,
}

impl<'h> HeaderText<'h> {
    /// Takes a header apart. Nothing is decoded yet.
    #[must_use]
    pub fn new(header: &'h [u8]) -> Self {
        let fields = fields(header)
            .map(|field| FieldText { field, text: OnceLock::new(), addresses: OnceLock::new() })
            .collect();
        Self { fields }
    }

    /// Whether there is a field with this name whose text contains the needle; an empty needle asks for the field alone
    /// (search key HEADER; SUBJECT is this with `subject`).
    #[must_use]
    pub fn field(&self, name: &[u8], needle: &Needle) -> bool {
        self.named(name).any(|field| needle.is_empty() || needle.is_in(field.text()))
    }

    /// Whether a field of addresses contains the needle: as text, or in `name <mailbox@host>` of one of its addresses
    /// with quoting removed (search keys FROM, TO, CC, BCC).
    #[must_use]
    pub fn address(&self, name: &[u8], needle: &Needle) -> bool {
        self.named(name).any(|field| needle.is_empty() || needle.is_in(field.text()) || needle.is_in(field.addresses()))
    }

    fn named(&self, name: &[u8]) -> impl Iterator<Item = &FieldText<'h>> {
        self.fields.iter().filter(move |text| text.field.is(name))
    }
}

impl FieldText<'_> {
    fn text(&self) -> &[u8] {
        self.text.get_or_init(|| {
            let text = decode_header(self.field.value);
            // The white space around a value is not part of it.
            fold(text.trim_matches([' ', '\t']))
        })
    }

    fn addresses(&self) -> &[u8] {
        self.addresses.get_or_init(|| {
            let mut text = String::new();
            for address in parse_addresses(self.field.value) {
                match address {
                    Address::Mailbox { name, mailbox, host, .. } => {
                        text.push_str(&decode_header(&name.unwrap_or_default()));
                        text.push_str(" <");
                        text.push_str(&decode_header(&mailbox.unwrap_or_default()));
                        if let Some(host) = host {
                            text.push('@');
                            text.push_str(&decode_header(&host));
                        }
                        text.push_str(">, ");
                    }
                    Address::GroupStart(name) => {
                        text.push_str(&decode_header(&name));
                        text.push_str(": ");
                    }
                    Address::GroupEnd => text.push_str("; "),
                }
            }
            fold(&text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"From: \"Doe, \\\"Jo\\\" J.\" <jo@example.org>\r\n\
        To: G: a@example.com, =?iso-8859-1?q?Andr=E9?= (x) < b @ example.com >;\r\n\
        Subject: =?utf-8?q?one?=\r\n =?utf-8?q?_two?= three\r\n\
        subject: second  line\r\n folded\r\n\
        Message-ID: <x@y>\r\n\r\nFrom: body@example.net\r\n";

    fn header(name: &str, needle: &str) -> bool {
        HeaderText::new(HEADER).field(name.as_bytes(), &Needle::new(needle))
    }

    fn address(name: &str, needle: &str) -> bool {
        HeaderText::new(HEADER).address(name.as_bytes(), &Needle::new(needle))
    }

    #[test]
    fn searches_fields() {
        assert!(header("subject", "ONE TWO three"));
        assert!(header("Subject", "second  line folded"));
        assert!(!header("subject", "second line"));
        assert!(header("message-id", "<X@Y>"));
        assert!(header("message-id", ""));
        assert!(!header("cc", ""));
        assert!(!header("x", "y"));
    }

    #[test]
    fn searches_addresses() {
        assert!(address("from", "jo@EXAMPLE"));
        assert!(address("from", "Doe, \"Jo\" J. <jo@example.org>"));
        assert!(address("to", "andré"));
        assert!(address("to", "b@example.com"));
        assert!(address("to", "a@example.com"));
        assert!(!address("from", "a@example.com"));
        assert!(!address("from", "example.net"));
        assert!(!address("from", "MISSING"));
        assert!(!address("bcc", ""));
    }
}
