//! The rows of the table, one module each.

mod announce;
mod append;
mod decode;
mod fetch;
mod idle;
mod load;
mod noop;
mod retrieve;
mod rows_out;
mod session_decode;
mod view;

use crate::Options;
use crate::report::Row;

/// A row's name and what makes it.
type Entry = (&'static str, fn(&Options) -> Vec<Row>);

/// All of them, in the order of the table.
pub(crate) const ALL: &[Entry] = &[
    ("decode", decode::run),
    ("session", session_decode::run),
    ("rows", rows_out::run),
    ("append", append::run),
    ("noop", noop::run),
    ("fetch-small-memory", fetch::small_memory),
    ("fetch-small-maildir", fetch::small_maildir),
    ("fetch-large-memory", fetch::large_memory),
    ("fetch-large-maildir", fetch::large_maildir),
    ("retr-small-memory", retrieve::small_memory),
    ("retr-small-maildir", retrieve::small_maildir),
    ("retr-large-memory", retrieve::large_memory),
    ("retr-large-maildir", retrieve::large_maildir),
    ("pop3-logins", retrieve::logins),
    ("idle", idle::run),
    ("announce", announce::run),
    ("load-idle", load::idle),
    ("load-failed-logins", load::failed_logins),
    ("load-slow-clients", load::slow_clients),
    ("view", view::run),
];

/// Commands that mail clients send all day.
pub(crate) const COMMANDS: [(&str, &[u8]); 5] = [
    ("NOOP", b"a1 NOOP\r\n"),
    ("SELECT", b"a2 SELECT INBOX\r\n"),
    (
        "UID FETCH with five header fields",
        b"a3 UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (DATE FROM TO SUBJECT MESSAGE-ID)])\r\n",
    ),
    ("UID STORE", b"a4 UID STORE 4827313:4828442 +FLAGS.SILENT (\\Deleted \\Seen)\r\n"),
    ("UID SEARCH with four keys", b"a5 UID SEARCH UNSEEN SINCE 1-Feb-2024 FROM \"smith\" LARGER 10000\r\n"),
];
