//! Responses about mailboxes and the server (RFC 9051, sections 7.2 to 7.4).

use bytes::BytesMut;
use pillarbox_proto_core::backend::{Namespace, Namespaces};
use pillarbox_proto_core::mail::{Keywords, MailboxName, SystemFlags};

use super::fetch::{flag_names, spaced};
use super::number::number;
use super::string::{mailbox, mailbox_text, nstring, quoted, string};
use crate::wire::chars;

/// Extended data of a LIST response (RFC 9051, section 6.3.9.6).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ListExtras<'a> {
    /// `CHILDINFO`: a mailbox below is subscribed.
    pub subscribed_children: bool,
    /// `OLDNAME`: what it was called before.
    pub old_name: Option<&'a MailboxName>,
}

/// A LIST response. `attributes` come with their backslash.
pub fn list<'t>(
    out: &mut BytesMut,
    attributes: impl IntoIterator<Item = &'t str>,
    delimiter: Option<char>,
    name: &MailboxName,
    extras: ListExtras<'_>,
    utf8: bool,
) {
    list_like(out, b"* LIST (", attributes, delimiter, name.as_str(), utf8);
    if extras.subscribed_children || extras.old_name.is_some() {
        out.extend_from_slice(b" (");
        if extras.subscribed_children {
            out.extend_from_slice(b"\"CHILDINFO\" (\"SUBSCRIBED\")");
        }
        if let Some(old_name) = extras.old_name {
            out.extend_from_slice(if extras.subscribed_children { b" " } else { b"" });
            out.extend_from_slice(b"\"OLDNAME\" (");
            mailbox(out, old_name, utf8);
            out.extend_from_slice(b")");
        }
        out.extend_from_slice(b")");
    }
    out.extend_from_slice(b"\r\n");
}

/// The answer to `LIST "" ""`: the hierarchy delimiter and the root of the reference, most often empty.
pub fn list_root(out: &mut BytesMut, delimiter: Option<char>, root: &str, utf8: bool) {
    list_like(out, b"* LIST (", ["\\Noselect"], delimiter, root, utf8);
    out.extend_from_slice(b"\r\n");
}

/// An LSUB response (RFC 3501, section 7.2.3).
pub fn lsub<'t>(
    out: &mut BytesMut,
    attributes: impl IntoIterator<Item = &'t str>,
    delimiter: Option<char>,
    name: &MailboxName,
    utf8: bool,
) {
    list_like(out, b"* LSUB (", attributes, delimiter, name.as_str(), utf8);
    out.extend_from_slice(b"\r\n");
}

fn list_like<'t>(
    out: &mut BytesMut,
    start: &[u8],
    attributes: impl IntoIterator<Item = &'t str>,
    delimiter: Option<char>,
    name: &str,
    utf8: bool,
) {
    out.extend_from_slice(start);
    spaced(out, attributes);
    out.extend_from_slice(b") ");
    hierarchy(out, delimiter);
    out.extend_from_slice(b" ");
    mailbox_text(out, name, utf8);
}

/// A hierarchy delimiter in quotes, or `NIL`.
fn hierarchy(out: &mut BytesMut, delimiter: Option<char>) {
    match delimiter {
        Some(delimiter) => quoted(out, delimiter.encode_utf8(&mut [0; 4]), false),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// A STATUS response: names of items with their values; `None` stands for NIL.
pub fn status<'t>(
    out: &mut BytesMut,
    name: &MailboxName,
    values: impl IntoIterator<Item = (&'t str, Option<u64>)>,
    utf8: bool,
) {
    out.extend_from_slice(b"* STATUS ");
    mailbox(out, name, utf8);
    out.extend_from_slice(b" (");
    for (index, (item, value)) in values.into_iter().enumerate() {
        out.extend_from_slice(if index > 0 { b" " } else { b"" });
        out.extend_from_slice(item.as_bytes());
        out.extend_from_slice(b" ");
        match value {
            Some(value) => number(out, value),
            None => out.extend_from_slice(b"NIL"),
        }
    }
    out.extend_from_slice(b")\r\n");
}

/// The NAMESPACE response (RFC 9051, section 7.3.5; RFC 2342).
pub fn namespace(out: &mut BytesMut, namespaces: &Namespaces, utf8: bool) {
    out.extend_from_slice(b"* NAMESPACE");
    for class in [&namespaces.personal, &namespaces.other, &namespaces.shared] {
        out.extend_from_slice(b" ");
        if class.is_empty() {
            out.extend_from_slice(b"NIL");
            continue;
        }
        out.extend_from_slice(b"(");
        for Namespace { prefix, delimiter, .. } in class {
            out.extend_from_slice(b"(");
            // A string, never an atom.
            if utf8 {
                string(out, prefix.as_bytes(), true);
            } else {
                string(out, pillarbox_proto_core::mail::utf7::encode(prefix).as_bytes(), false);
            }
            out.extend_from_slice(b" ");
            hierarchy(out, *delimiter);
            out.extend_from_slice(b")");
        }
        out.extend_from_slice(b")");
    }
    out.extend_from_slice(b"\r\n");
}

/// The ID response: names and values, or NIL for none (RFC 2971, section 3.2).
pub fn id<'t>(out: &mut BytesMut, fields: impl IntoIterator<Item = (&'t str, Option<&'t str>)>) {
    out.extend_from_slice(b"* ID ");
    let mut any = false;
    for (name, value) in fields {
        out.extend_from_slice(if any { b" " } else { b"(" });
        any = true;
        string(out, name.as_bytes(), false);
        out.extend_from_slice(b" ");
        nstring(out, value.map(str::as_bytes), false);
    }
    out.extend_from_slice(if any { b")\r\n" } else { b"NIL\r\n" });
}

/// The ENABLED response: what this ENABLE has newly enabled, maybe nothing.
pub fn enabled<'t>(out: &mut BytesMut, capabilities: impl IntoIterator<Item = &'t str>) {
    out.extend_from_slice(b"* ENABLED");
    for capability in capabilities {
        out.extend_from_slice(b" ");
        out.extend(capability.bytes().filter(|byte| chars::is(*byte, chars::ATOM)));
    }
    out.extend_from_slice(b"\r\n");
}

/// The FLAGS response: the flags that apply to the mailbox (RFC 9051, section 7.3.5).
pub fn flags_line(out: &mut BytesMut, system: SystemFlags, keywords: &Keywords) {
    out.extend_from_slice(b"* FLAGS (");
    spaced(out, flag_names(system, keywords));
    out.extend_from_slice(b")\r\n");
}

/// The EXISTS response: how many messages the mailbox has.
pub fn exists(out: &mut BytesMut, messages: u32) {
    counted(out, messages, b" EXISTS\r\n");
}

/// The RECENT response: how many of them are recent (RFC 3501, section 7.3.2).
pub fn recent(out: &mut BytesMut, messages: u32) {
    counted(out, messages, b" RECENT\r\n");
}

/// The EXPUNGE response: the message of this number is gone, and those after it move up.
pub fn expunge(out: &mut BytesMut, sequence: u32) {
    counted(out, sequence, b" EXPUNGE\r\n");
}

fn counted(out: &mut BytesMut, value: u32, what: &[u8]) {
    out.extend_from_slice(b"* ");
    number(out, value);
    out.extend_from_slice(what);
}

#[cfg(test)]
mod tests {
    use pillarbox_proto_core::mail::Keyword;

    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn lists() {
        let name = MailboxName::new("foo/b\u{e4}r").unwrap();
        let old = MailboxName::new("old name").unwrap();
        let plain = |utf8| {
            written(|out| list(out, ["\\Noselect", "\\HasChildren"], Some('/'), &name, ListExtras::default(), utf8))
        };
        assert_eq!(plain(false), "* LIST (\\Noselect \\HasChildren) \"/\" foo/b&AOQ-r\r\n");
        assert_eq!(plain(true), "* LIST (\\Noselect \\HasChildren) \"/\" \"foo/b\u{e4}r\"\r\n");
        let extras = ListExtras { subscribed_children: true, old_name: Some(&old) };
        assert_eq!(
            written(|out| list(out, [], Some('\\'), &MailboxName::inbox(), extras, false)),
            "* LIST () \"\\\\\" INBOX (\"CHILDINFO\" (\"SUBSCRIBED\") \"OLDNAME\" (\"old name\"))\r\n"
        );
        let extras = ListExtras { old_name: Some(&old), ..ListExtras::default() };
        assert_eq!(
            written(|out| list(out, [], None, &MailboxName::inbox(), extras, false)),
            "* LIST () NIL INBOX (\"OLDNAME\" (\"old name\"))\r\n"
        );
        assert_eq!(written(|out| list_root(out, Some('/'), "", false)), "* LIST (\\Noselect) \"/\" \"\"\r\n");
        assert_eq!(
            written(|out| lsub(out, ["\\Noselect"], Some('.'), &MailboxName::inbox(), false)),
            "* LSUB (\\Noselect) \".\" INBOX\r\n"
        );
    }

    #[test]
    fn status_lines() {
        let name = MailboxName::new("blurdybloop").unwrap();
        let values = [("MESSAGES", Some(231)), ("APPENDLIMIT", None)];
        assert_eq!(
            written(|out| status(out, &name, values, false)),
            "* STATUS blurdybloop (MESSAGES 231 APPENDLIMIT NIL)\r\n"
        );
    }

    #[test]
    fn namespaces() {
        let mut namespaces = Namespaces::personal(Some('/'));
        assert_eq!(written(|out| namespace(out, &namespaces, false)), "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
        namespaces.shared = Namespaces::personal(None).personal;
        assert_eq!(
            written(|out| namespace(out, &namespaces, false)),
            "* NAMESPACE ((\"\" \"/\")) NIL ((\"\" NIL))\r\n"
        );
    }

    #[test]
    fn id_and_enabled() {
        assert_eq!(written(|out| id(out, [])), "* ID NIL\r\n");
        assert_eq!(
            written(|out| id(out, [("name", Some("x \"y\"")), ("os", None)])),
            "* ID (\"name\" \"x \\\"y\\\"\" \"os\" NIL)\r\n"
        );
        assert_eq!(written(|out| enabled(out, ["IMAP4rev2"])), "* ENABLED IMAP4rev2\r\n");
        assert_eq!(written(|out| enabled(out, [])), "* ENABLED\r\n");
    }

    #[test]
    fn counts_and_flags() {
        let keywords: Keywords = [Keyword::new("$Junk").unwrap()].into_iter().collect();
        assert_eq!(
            written(|out| flags_line(out, SystemFlags::SEEN | SystemFlags::DRAFT, &keywords)),
            "* FLAGS (\\Seen \\Draft $Junk)\r\n"
        );
        assert_eq!(
            written(|out| {
                exists(out, 23);
                recent(out, 0);
                expunge(out, 44);
            }),
            "* 23 EXISTS\r\n* 0 RECENT\r\n* 44 EXPUNGE\r\n"
        );
    }
}
