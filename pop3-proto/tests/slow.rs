//! When a client owes the rest of something: who serves it may lose patience then, and only then.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::sync::Arc;

use pillarbox_pop3_proto::Config;
use pillarbox_proto_core::Signal;
use pillarbox_proto_core::conversation::Conversation as _;
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use support::Client;

#[test]
fn lines_answers_and_the_backends_time() {
    let backend = MemoryBackend::builder().user("alice", "secret").build().unwrap();
    let mut config = Config::default();
    config.allow_plaintext = true;
    let mut client = Client::connect(Arc::new(backend.clone()), config);
    let signal = Arc::new(Signal::new(0));
    let gate = Arc::clone(&signal);
    backend.hook(move |call| match call {
        Call::Authenticate => Outcome::proceed().wait_beyond(Arc::clone(&gate), 0),
        _ => Outcome::proceed(),
    });
    let mut owes = |octets: &str, expected: bool| {
        client.say(octets);
        assert_eq!(client.conversation.awaits_rest(), expected, "after {octets:?}");
    };
    owes("", false);
    owes("CA", true);
    owes("PA\r", true);
    owes("\n", false);
    owes("AUTH PLAIN\r\n", false);
    owes("AGF", true);
    owes("saWNlAHNlY3JldA==\r\n", false);
    // The backend is at work, and what comes meanwhile waits for it.
    owes("NO", false);
    signal.raise();
    owes("", true);
    owes("OP\r\n", false);
    // A line that is too long, and dropped up to its end.
    owes(&"x".repeat(10_000), true);
    owes("\r\n", false);
}
