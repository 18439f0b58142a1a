//! The envelope of a message (RFC 9051, section 7.5.2).

use bytes::{BufMut, Bytes};

use super::address::{Address, parse_addresses};
use super::field::{Field, fields};
use super::nstring::{Dialect, write_nstring};

/// The fields of a header that make an envelope. Of fields of a kind, the first counts.
///
/// Texts are as they stand in the message, encoded words not decoded, without the line ends of folds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `Date:`
    pub date: Option<Vec<u8>>,
    /// `Subject:`, with its white space at folds and at the end.
    pub subject: Option<Vec<u8>>,
    /// `From:`
    pub from: Vec<Address>,
    /// `Sender:`; empty if it is missing: then `from` counts.
    pub sender: Vec<Address>,
    /// `Reply-To:`; empty if it is missing: then `from` counts.
    pub reply_to: Vec<Address>,
    /// `To:`
    pub to: Vec<Address>,
    /// `Cc:`
    pub cc: Vec<Address>,
    /// `Bcc:`
    pub bcc: Vec<Address>,
    /// `In-Reply-To:`
    pub in_reply_to: Option<Vec<u8>>,
    /// `Message-ID:`
    pub message_id: Option<Vec<u8>>,
}

/// The names of the fields that an envelope is made of, in its order.
const NAMES: [&[u8]; 10] =
    [b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"in-reply-to", b"message-id"];

/// Whether a field of this name belongs to the envelope.
pub(super) fn is_envelope_field(name: &[u8]) -> bool {
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

impl Envelope {
    /// Reads the envelope from a header.
    #[must_use]
    pub fn parse(header: &[u8]) -> Self {
        Self::from_fields(fields(header))
    }

    pub(super) fn from_fields<'a>(fields: impl Iterator<Item = Field<'a>>) -> Self {
        let mut envelope = Self::default();
        let mut seen = [false; NAMES.len()];
        for field in fields {
            let Some(index) = NAMES.iter().position(|name| field.is(name)) else { continue };
            if seen.get_mut(index).is_none_or(|seen| std::mem::replace(seen, true)) {
                continue;
            }
            let text = || Some(field.unfolded().trim_ascii().to_vec());
            let list = || parse_addresses(field.value);
            match index {
                0 => envelope.date = text(),
                1 => envelope.subject = Some(field.unfolded().trim_ascii_start().to_vec()),
                2 => envelope.from = list(),
                3 => envelope.sender = list(),
                4 => envelope.reply_to = list(),
                5 => envelope.to = list(),
                6 => envelope.cc = list(),
                7 => envelope.bcc = list(),
                8 => envelope.in_reply_to = text(),
                _ => envelope.message_id = text(),
            }
        }
        envelope
    }

    /// Writes the envelope, parentheses included.
    pub fn write(&self, dialect: Dialect, out: &mut impl BufMut) {
        let or_from = |list| if <[Address]>::is_empty(list) { &self.from } else { list };
        out.put_u8(b'(');
        write_nstring(self.date.as_deref(), dialect, out);
        out.put_u8(b' ');
        write_nstring(self.subject.as_deref(), dialect, out);
        let lists = [&self.from, or_from(&self.sender), or_from(&self.reply_to), &self.to, &self.cc, &self.bcc];
        for list in lists {
            out.put_u8(b' ');
            if list.is_empty() {
                out.put_slice(b"NIL");
                continue;
            }
            out.put_u8(b'(');
            for address in list {
                address.write(dialect, out);
            }
            out.put_u8(b')');
        }
        for text in [&self.in_reply_to, &self.message_id] {
            out.put_u8(b' ');
            write_nstring(text.as_deref(), dialect, out);
        }
        out.put_u8(b')');
    }
}

/// An envelope ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEnvelope {
    pub(super) rev1: Bytes,
    /// Only where it differs.
    pub(super) rev2: Option<Bytes>,
}

impl EncodedEnvelope {
    /// Encodes an envelope.
    #[must_use]
    pub fn new(envelope: &Envelope) -> Self {
        let encode = |dialect| {
            let mut out = Vec::new();
            envelope.write(dialect, &mut out);
            out
        };
        let rev1 = encode(Dialect::Rev1);
        // Only 8-bit octets are written differently.
        let rev2 = (!rev1.is_ascii()).then(|| encode(Dialect::Rev2)).filter(|rev2| *rev2 != rev1);
        Self { rev1: rev1.into(), rev2: rev2.map(Bytes::from) }
    }

    /// The envelope as it goes out after `ENVELOPE `.
    #[must_use]
    pub const fn get(&self, dialect: Dialect) -> &Bytes {
        match (dialect, &self.rev2) {
            (Dialect::Rev2, Some(rev2)) => rev2,
            _ => &self.rev1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(header: &str) -> String {
        let mut out = Vec::new();
        Envelope::parse(header.as_bytes()).write(Dialect::Rev1, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_the_envelope_of_the_rfc() {
        let header = "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n\
            From: Terry Gray <gray@example.org>\r\n\
            Subject: IMAP4rev2 WG mtg summary and minutes\r\n\
            To: imap@example.org\r\n\
            cc: minutes@example.com, \"John Klensin\" <KLENSIN@example.com>\r\n\
            Message-Id: <B27397-0100000@example.org>\r\n\r\n";
        assert_eq!(
            show(header),
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" \
             ((\"Terry Gray\" NIL \"gray\" \"example.org\")) ((\"Terry Gray\" NIL \"gray\" \"example.org\")) \
             ((\"Terry Gray\" NIL \"gray\" \"example.org\")) ((NIL NIL \"imap\" \"example.org\")) \
             ((NIL NIL \"minutes\" \"example.com\")(\"John Klensin\" NIL \"KLENSIN\" \"example.com\")) NIL NIL \
             \"<B27397-0100000@example.org>\")"
        );
    }

    #[test]
    fn absent_is_nil_and_empty_is_empty() {
        assert_eq!(show("\r\n"), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        assert_eq!(
            show(
                "Date:\r\nSubject: \r\nFrom:\r\nSender:\r\nReply-To: ,\r\nTo: \r\nIn-Reply-To:\r\nMessage-ID: \r\n\r\n"
            ),
            "(\"\" \"\" NIL NIL NIL NIL NIL NIL \"\" \"\")"
        );
    }

    #[test]
    fn only_line_ends_of_folds_go() {
        assert!(show("Subject:  a\r\n  b\r\n\tc \r\n\r\n").contains("\"a  b\tc \""));
        assert!(show("Subject:\r\n a\n\r\n").contains("\"a\""));
    }

    #[test]
    fn the_first_of_a_kind_counts() {
        let text = show("Subject: one\r\nSubject: two\r\nFrom: \r\nFrom: a@b\r\n\r\n");
        assert!(text.contains("one") && !text.contains("two") && !text.contains("\"a\""));
    }

    #[test]
    fn dialects_differ_in_8_bit_octets() {
        let encoded = EncodedEnvelope::new(&Envelope::parse("Subject: é\r\n\r\n".as_bytes()));
        assert!(encoded.get(Dialect::Rev1).starts_with("(NIL {2}\r\né ".as_bytes()));
        assert!(encoded.get(Dialect::Rev2).starts_with("(NIL \"é\" ".as_bytes()));
        let encoded = EncodedEnvelope::new(&Envelope::parse(b"Subject: \xe9\r\n\r\n"));
        assert!(encoded.get(Dialect::Rev2).starts_with(b"(NIL {1}\r\n\xe9 "));
        assert!(encoded.rev2.is_none());
    }
}
