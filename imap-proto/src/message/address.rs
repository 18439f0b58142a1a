//! Address lists as ENVELOPE shows them (RFC 9051, section 7.5.2; RFC 5322, sections 3.4 and 4.4).
//!
//! Encoded words stay encoded; quoting is removed. What is missing gets a name: a client would take NIL for group syntax.

use bytes::BufMut;

use super::nstring::{Dialect, write_nstring};
use super::params::{comment_length, unquote};

/// The host of an address that has none.
const MISSING_DOMAIN: &[u8] = b"MISSING_DOMAIN";
/// The mailbox of an address that has none.
const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";

/// One `address` of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A mailbox.
    Mailbox {
        /// The display name, or, if there is none, a comment, without quoting.
        name: Option<Vec<u8>>,
        /// The source route (RFC 5322, section 4.4: `obs-route`), without its colon.
        route: Option<Vec<u8>>,
        /// The local part, without quoting; `None` if it is missing.
        mailbox: Option<Vec<u8>>,
        /// The domain; `None` if it is missing.
        host: Option<Vec<u8>>,
    },
    /// The start of a group, with its name.
    GroupStart(Vec<u8>),
    /// The end of a group.
    GroupEnd,
}

impl Address {
    /// Writes the address in the form of an envelope.
    pub fn write(&self, dialect: Dialect, out: &mut impl BufMut) {
        let [name, route, mailbox, host] = match self {
            Self::Mailbox { name, route, mailbox, host } => [
                name.as_deref(),
                route.as_deref(),
                Some(mailbox.as_deref().unwrap_or(MISSING_MAILBOX)),
                Some(host.as_deref().unwrap_or(MISSING_DOMAIN)),
            ],
            Self::GroupStart(name) => [None, None, Some(name.as_slice()), None],
            Self::GroupEnd => [None; 4],
        };
        out.put_u8(b'(');
        for (index, field) in [name, route, mailbox, host].into_iter().enumerate() {
            if index > 0 {
                out.put_u8(b' ');
            }
            write_nstring(field, dialect, out);
        }
        out.put_u8(b')');
    }
}

/// Reads an address list, as well as can be told: what is no address becomes one without a domain, and an open group
/// is closed at the end.
///
/// The value may be folded; only its line ends and the white space around tokens are dropped.
#[must_use]
pub fn parse_addresses(value: &[u8]) -> Vec<Address> {
    let mut reader = Reader { rest: value, list: Vec::new(), in_group: false, item: Item::default() };
    reader.run();
    reader.list
}

/// What has been read since the last comma.
#[derive(Default)]
struct Item {
    /// The words with single spaces between them.
    phrase: Vec<u8>,
    /// The words without the space between them, as an address without angle brackets is read.
    spec: Vec<u8>,
    /// Where the last `@` outside quotes stands in `spec`.
    at: Option<usize>,
    /// The last comment.
    comment: Option<Vec<u8>>,
    /// What stood in angle brackets.
    angle: Option<Angle>,
    space: bool,
    any: bool,
}

#[derive(Default)]
struct Angle {
    route: Option<Vec<u8>>,
    mailbox: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
}

struct Reader<'a> {
    rest: &'a [u8],
    list: Vec<Address>,
    in_group: bool,
    item: Item,
}

impl Reader<'_> {
    fn skip(&mut self, octets: usize) {
        self.rest = self.rest.get(octets..).unwrap_or_default();
    }

    fn run(&mut self) {
        while let Some(&octet) = self.rest.first() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.item.space = true;
                    self.skip(1);
                }
                b'(' => self.comment(),
                b'"' => {
                    let (text, length) = unquote(self.rest);
                    self.skip(length);
                    self.word(&text);
                }
                b',' => {
                    self.skip(1);
                    self.end_item();
                }
                b';' => {
                    self.skip(1);
                    self.end_item();
                    self.end_group();
                }
                b':' if !self.in_group && self.item.at.is_none() && self.item.angle.is_none() => {
                    self.skip(1);
                    let name = std::mem::take(&mut self.item).phrase;
                    self.list.push(Address::GroupStart(name));
                    self.in_group = true;
                }
                b'<' => {
                    self.skip(1);
                    let angle = self.angle();
                    self.item.any = true;
                    self.item.angle.get_or_insert(angle);
                }
                b'@' => {
                    self.skip(1);
                    self.item.at = Some(self.item.spec.len());
                    self.word(b"@");
                }
                b'\\' => {
                    let text = self.rest.get(1..2).unwrap_or_default().to_vec();
                    self.skip(2);
                    self.word(&text);
                }
                _ => {
                    let length = self.rest.iter().skip(1).take_while(|&&octet| !is_special(octet)).count() + 1;
                    let word = self.rest.get(..length).unwrap_or_default();
                    let word = word.to_vec();
                    self.skip(length);
                    self.word(&word);
                }
            }
        }
        self.end_item();
        self.end_group();
    }

    fn word(&mut self, text: &[u8]) {
        let item = &mut self.item;
        item.any = true;
        if item.angle.is_some() {
            return;
        }
        if item.space && !item.phrase.is_empty() {
            item.phrase.push(b' ');
        }
        item.space = false;
        item.phrase.extend_from_slice(text);
        item.spec.extend_from_slice(text);
    }

    fn comment(&mut self) {
        let length = comment_length(self.rest);
        let comment = self.rest.get(..length).unwrap_or_default();
        let inner = comment.get(1..).unwrap_or_default();
        let inner = inner.strip_suffix(b")").unwrap_or(inner);
        let mut text = Vec::with_capacity(inner.len());
        let mut escaped = false;
        for &octet in inner {
            match octet {
                b'\\' if !escaped => escaped = true,
                b'\r' | b'\n' => {}
                _ => {
                    text.push(octet);
                    escaped = false;
                }
            }
        }
        let text = text.trim_ascii();
        if !text.is_empty() {
            self.item.comment = Some(text.to_vec());
        }
        self.item.space = true;
        self.skip(length);
    }

    /// Reads what stands in angle brackets, from after the opening one.
    fn angle(&mut self) -> Angle {
        let mut angle = Angle::default();
        let (mut text, mut at, mut quoted) = (Vec::new(), None, false);
        while let Some(&octet) = self.rest.first() {
            match octet {
                b'>' => {
                    self.skip(1);
                    break;
                }
                // The closing bracket is missing, but for the commas of a source route.
                b',' | b';' if !text.starts_with(b"@") => break,
                b':' if text.starts_with(b"@") && angle.route.is_none() && !quoted => {
                    self.skip(1);
                    angle.route = Some(std::mem::take(&mut text));
                    at = None;
                }
                b' ' | b'\t' | b'\r' | b'\n' => self.skip(1),
                b'(' => self.skip(comment_length(self.rest)),
                b'"' => {
                    let (inner, length) = unquote(self.rest);
                    self.skip(length);
                    text.extend_from_slice(&inner);
                    quoted = true;
                }
                b'@' => {
                    self.skip(1);
                    at = Some(text.len());
                    text.push(octet);
                }
                _ => {
                    let length = self
                        .rest
                        .iter()
                        .skip(1)
                        .take_while(|&&octet| !matches!(octet, b'>' | b':') && !is_special(octet))
                        .count()
                        + 1;
                    text.extend_from_slice(self.rest.get(..length).unwrap_or_default());
                    self.skip(length);
                }
            }
        }
        (angle.mailbox, angle.host) = split_spec(&text, at);
        angle
    }

    fn end_item(&mut self) {
        let item = std::mem::take(&mut self.item);
        if !item.any {
            return;
        }
        let present = |text: Vec<u8>| (!text.is_empty()).then_some(text);
        self.list.push(match item.angle {
            Some(Angle { route, mailbox, host }) => {
                Address::Mailbox { name: present(item.phrase).or(item.comment), route, mailbox, host }
            }
            None => {
                let (mailbox, host) =
                    if item.at.is_some() { split_spec(&item.spec, item.at) } else { (present(item.phrase), None) };
                Address::Mailbox { name: item.comment, route: None, mailbox, host }
            }
        });
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.list.push(Address::GroupEnd);
        }
    }
}

fn split_spec(spec: &[u8], at: Option<usize>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let present = |text: &[u8]| (!text.is_empty()).then(|| text.to_vec());
    match at.and_then(|at| spec.split_at_checked(at)) {
        Some((mailbox, host)) => (present(mailbox), present(host.get(1..).unwrap_or_default())),
        None => (present(spec), None),
    }
}

const fn is_special(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b'"' | b',' | b';' | b':' | b'<' | b'@' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &str) -> String {
        let mut out = Vec::new();
        for address in parse_addresses(value.as_bytes()) {
            address.write(Dialect::Rev2, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reads_addresses() {
        for (value, expected) in [
            ("", ""),
            (" , ,", ""),
            (" a@example.org", r#"(NIL NIL "a" "example.org")"#),
            ("<a@example.org>", r#"(NIL NIL "a" "example.org")"#),
            ("A B <a@example.org>", r#"("A B" NIL "a" "example.org")"#),
            ("A.  B. C\r\n <a@example.org>", r#"("A. B. C" NIL "a" "example.org")"#),
            (r#""B, A \"x\"" <a@example.org>, b@c"#, r#"("B, A \"x\"" NIL "a" "example.org")(NIL NIL "b" "c")"#),
            ("a@example.org (A B)", r#"("A B" NIL "a" "example.org")"#),
            ("=?utf-8?q?=C3=A9?= <a@b>", r#"("=?utf-8?q?=C3=A9?=" NIL "a" "b")"#),
            ("é <a@b>", r#"("é" NIL "a" "b")"#),
            (r#""a b"@c"#, r#"(NIL NIL "a b" "c")"#),
            (r#"<"a@b"@c>"#, r#"(NIL NIL "a@b" "c")"#),
            ("a . b @ c . d", r#"(NIL NIL "a.b" "c.d")"#),
            ("a@[127.0.0.1]", r#"(NIL NIL "a" "[127.0.0.1]")"#),
            ("a@b <a@b>", r#"("a@b" NIL "a" "b")"#),
            ("<@x,@y:a@b>", r#"(NIL "@x,@y" "a" "b")"#),
            ("root", r#"(NIL NIL "root" "MISSING_DOMAIN")"#),
            ("John Smith", r#"(NIL NIL "John Smith" "MISSING_DOMAIN")"#),
            ("A <>", r#"("A" NIL "MISSING_MAILBOX" "MISSING_DOMAIN")"#),
            ("A <@b>", r#"("A" NIL "MISSING_MAILBOX" "b")"#),
            ("@b", r#"(NIL NIL "MISSING_MAILBOX" "b")"#),
            ("<a@>", r#"(NIL NIL "a" "MISSING_DOMAIN")"#),
            ("<a@b, c@d", r#"(NIL NIL "a" "b")(NIL NIL "c" "d")"#),
            (
                "G: a@b, C <c@d>;, e@f",
                r#"(NIL NIL "G" NIL)(NIL NIL "a" "b")("C" NIL "c" "d")(NIL NIL NIL NIL)(NIL NIL "e" "f")"#,
            ),
            ("undisclosed recipients: ;", r#"(NIL NIL "undisclosed recipients" NIL)(NIL NIL NIL NIL)"#),
            ("G: a@b", r#"(NIL NIL "G" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)"#),
            ("a@b; c@d", r#"(NIL NIL "a" "b")(NIL NIL "c" "d")"#),
            ("(only a comment)", ""),
            ("\"\" <a@b>", r#"(NIL NIL "a" "b")"#),
        ] {
            assert_eq!(show(value), expected, "{value}");
        }
    }

    #[test]
    fn deep_and_long_lists_are_linear() {
        assert!(parse_addresses(&b"(".repeat(200_000)).is_empty());
        assert_eq!(parse_addresses(&b"<".repeat(200_000)).len(), 1);
        assert_eq!(parse_addresses(&b"a,".repeat(100_000)).len(), 100_000);
        assert!(parse_addresses(&b"(\\\"<@:;".repeat(100_000)).is_empty());
    }
}
