//! A message that the store can't read keeps nobody from the others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pillarbox_imap_proto::Config;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::conversation::Next;
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};

use support::client::{Client, env};
use support::many::Many;
use support::plain::Plain;

/// A session over messages of one line each; the n-th call of this kind fails if `fails` says so.
fn session(messages: u32, call: Call, fails: impl Fn(u32) -> bool + Send + Sync + 'static) -> Client {
    let builder = MemoryBackend::builder().env(env()).user("alice", "secret");
    let builder = (1..=messages).fold(builder, |builder, number| {
        builder.deliver("alice", "INBOX", format!("Subject: {number}\r\n\r\ntext\r\n").into_bytes().into())
    });
    let backend = builder.build().unwrap();
    // The memory backend gives small messages with their rows; here each is opened.
    let mut client = Client::new(Arc::new(Plain(backend.clone())), Config::default());
    client.send(b"a LOGIN alice secret\r\nb SELECT INBOX\r\n");
    let count = AtomicU32::new(0);
    backend.hook(move |made| {
        if made == call && fails(count.fetch_add(1, Ordering::Relaxed) + 1) {
            return Outcome::fail(Error::Corrupt(None));
        }
        Outcome::proceed()
    });
    client
}

fn say(client: &mut Client, command: &str) -> String {
    String::from_utf8(client.send(command.as_bytes())).unwrap()
}

#[test]
fn the_others_are_told() {
    let mut client = session(5, Call::Message, |call| call == 2 || call == 4);
    assert_eq!(
        say(&mut client, "c FETCH 1:5 BODY.PEEK[HEADER]\r\n"),
        "* 1 FETCH (BODY[HEADER] {14}\r\nSubject: 1\r\n\r\n)\r\n\
         * 3 FETCH (BODY[HEADER] {14}\r\nSubject: 3\r\n\r\n)\r\n\
         * 5 FETCH (BODY[HEADER] {14}\r\nSubject: 5\r\n\r\n)\r\n\
         c NO [CORRUPTION] Could not read the message with UID 2 and 1 more: The stored data is damaged\r\n"
    );
    assert!(say(&mut client, "d UID FETCH 1:5 BODY.PEEK[TEXT]\r\n").ends_with("d OK FETCH completed\r\n"));
}

#[test]
fn flags_set_on_the_way_are_told() {
    let mut client = session(2, Call::Message, |call| call == 1);
    assert_eq!(
        say(&mut client, "c UID FETCH 1:* BODY[TEXT]\r\n"),
        "* 2 FETCH (UID 2 FLAGS (\\Seen \\Recent) BODY[TEXT] {6}\r\ntext\r\n)\r\n\
         * 1 FETCH (FLAGS (\\Seen \\Recent))\r\n\
         c NO [CORRUPTION] Could not read the message with UID 1: The stored data is damaged\r\n"
    );
}

#[test]
fn a_literal_that_breaks_off_ends_the_connection() {
    let mut client = session(3, Call::Read, |call| call == 2);
    let said = say(&mut client, "c FETCH 1:3 BODY.PEEK[]\r\n");
    assert_eq!(client.next, Some(Next::Abort));
    assert!(!said.contains("* 3 FETCH") && !said.contains("c NO"), "{said}");
}

#[test]
fn a_store_that_reads_nothing_is_given_up() {
    let mut client = session(500, Call::Message, |call| call > 3);
    let said = say(&mut client, "c FETCH 1:* BODY.PEEK[HEADER]\r\n");
    assert!(said.contains("* 3 FETCH") && said.ends_with("c NO [CORRUPTION] The stored data is damaged\r\n"), "{said}");
}

#[test]
fn rows_before_a_failure_are_told() {
    let backend = Many::new();
    let mut client = Client::new(Arc::new(backend.clone()), Config::default());
    client.send(b"a LOGIN alice secret\r\nb SELECT INBOX\r\n");
    backend.break_rows();
    assert_eq!(
        say(&mut client, "c FETCH 1:2 FLAGS\r\n"),
        "* 1 FETCH (FLAGS ())\r\n* 2 FETCH (FLAGS (odd))\r\nc NO [CORRUPTION] The stored data is damaged\r\n"
    );
}

#[test]
fn content_that_can_not_come_along_is_read_by_itself() {
    let mut client = session(5, Call::Rows, |call| call == 3);
    let said = say(&mut client, "c FETCH 1:5 BODY.PEEK[]\r\n");
    let told: Vec<&str> = said.lines().filter(|line| line.starts_with(['*', 'c'])).collect();
    let each = |number: u32| format!("* {number} FETCH (BODY[] {{20}}");
    assert_eq!(told, [&*each(1), &*each(2), &*each(3), &*each(4), &*each(5), "c OK FETCH completed"]);
    // Nothing but the rows is asked for.
    let mut client = session(5, Call::Rows, |call| call == 3);
    assert!(
        say(&mut client, "c FETCH 1:5 FLAGS\r\n").ends_with("\r\nc NO [CORRUPTION] The stored data is damaged\r\n")
    );
}
