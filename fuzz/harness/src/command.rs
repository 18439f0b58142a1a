//! The parser: from a command's octets to a typed command and back.

use bytes::BytesMut;
use pillarbox_imap_proto::wire::command::{CommandBody, parse_command, tag_of};
use pillarbox_imap_proto::wire::encode::encode_command;
use pillarbox_imap_proto::wire::limits::ParseLimits;

use crate::control;
use crate::heap;

/// Parses, writes out what was understood, parses that, and compares.
pub fn command(data: &[u8]) {
    let (text, mut control) = control::split(data);
    let mut limits = ParseLimits::default();
    if control.byte() & 1 != 0 {
        (limits.set_ranges, limits.search_depth, limits.search_keys, limits.list_items) = (4, 3, 8, 4);
    }
    let (parsed, grown) = heap::growth(|| parse_command(text, limits));
    assert!(grown <= 64 * text.len() + 1024, "{grown} octets of heap for {} octets", text.len());
    let command = match parsed {
        Ok(command) => command,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.contains(['\r', '\n', '\0']), "the text would end its line: {said:?}");
            assert!(said.len() < 200 && error.offset() <= text.len());
            let _ = tag_of(text);
            return;
        }
    };
    assert_eq!(tag_of(text).map(|tag| tag.as_bytes()), Some(command.tag.as_bytes()));
    // Reading all lists again must not fail either; a password stays hidden.
    let shown = format!("{command:?}");
    if let CommandBody::Login(login) = &command.body {
        assert!(shown.contains("***"), "{}", login.password.expose().len());
    }

    let mut canonical = BytesMut::new();
    encode_command(&mut canonical, &command);
    let unlimited = ParseLimits::default();
    let again = match parse_command(&canonical, unlimited) {
        Ok(again) => again,
        Err(error) => panic!("the canonical form does not parse: {error}: {:?}", canonical),
    };
    assert_eq!(again.tag.as_bytes(), command.tag.as_bytes());
    assert_eq!(again.body.name(), command.body.name());
    let mut twice = BytesMut::new();
    encode_command(&mut twice, &again);
    assert_eq!(canonical, twice, "the canonical form is not canonical");
}
