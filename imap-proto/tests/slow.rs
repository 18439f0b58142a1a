//! When a client owes the rest of something: who serves it may lose patience then, and only then.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::sync::Arc;

use pillarbox_imap_proto::Config;
use pillarbox_proto_core::Signal;
use pillarbox_proto_core::conversation::Conversation as _;
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use support::client::{Client, env};

fn client() -> (Client, MemoryBackend) {
    let backend = MemoryBackend::builder().env(env()).user("alice", "secret").build().unwrap();
    (Client::new(Arc::new(backend.clone()), Config::default()), backend)
}

/// Says it in this order, and whether the client owes more after each.
fn owes(client: &mut Client, script: &[(&str, bool)]) {
    for (octets, expected) in script {
        client.send(octets.as_bytes());
        assert_eq!(client.conversation.awaits_rest(), *expected, "after {octets:?}");
        assert!(!client.closed(), "after {octets:?}");
    }
}

#[test]
fn lines_and_literals() {
    let (mut client, _) = client();
    client.drive();
    owes(
        &mut client,
        &[
            ("", false),
            ("a", true),
            (" NOOP\r", true),
            ("\n", false),
            ("b LOGIN alice {6}\r\n", true),
            ("sec", true),
            ("ret", true),
            ("\r\n", false),
            ("c AUTHENTICATE PLAIN\r\n", false),
            ("AGF", true),
            ("saWNlAHNlY3JldA==\r\n", false),
            ("d APPEND INBOX {40}\r\n", true),
            ("Subject: slow\r\n\r\n", true),
            ("0123456789012345678901234567890", true),
            ("\r\n", false),
            ("e IDLE\r\n", false),
            ("DO", true),
            ("NE\r\n", false),
            // A literal that is refused, and counted off.
            ("f APPEND Nowhere {10+}\r\n", true),
            ("01234567", true),
            ("89\r\n", false),
            ("g NOOP\r\nh NO", true),
            ("OP\r\n", false),
        ],
    );
}

#[test]
fn it_owes_nothing_while_the_backend_is_at_work() {
    let (mut client, backend) = client();
    client.send(b"a LOGIN alice secret\r\n");
    let signal = Arc::new(Signal::new(0));
    let gate = Arc::clone(&signal);
    backend.hook(move |call| match call {
        Call::List => Outcome::proceed().wait_beyond(Arc::clone(&gate), 0),
        _ => Outcome::proceed(),
    });
    owes(&mut client, &[("b LIST \"\" *\r\n", false), ("c NO", false)]);
    signal.raise();
    owes(&mut client, &[("", true), ("OP\r\n", false)]);
}
