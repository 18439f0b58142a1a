//! Commands that are long work for a store that answers at once still end a poll now and then, for the others of the
//! task.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::sync::Arc;
use std::task::{Context, Waker};

use pillarbox_imap_proto::Config;
use pillarbox_proto_core::conversation::Conversation;
use pillarbox_proto_core::memory::MemoryBackend;

use support::client::{Client, env};

/// How many polls a command takes over these messages.
fn polls(messages: &[Vec<u8>], setup: &str, command: &str) -> usize {
    let builder = MemoryBackend::builder().env(env()).user("alice", "secret");
    let builder =
        messages.iter().fold(builder, |builder, message| builder.deliver("alice", "INBOX", message.clone().into()));
    let mut client = Client::new(Arc::new(builder.build().unwrap()), Config::default());
    client.send(format!("a LOGIN alice secret\r\nb SELECT INBOX\r\n{setup}").as_bytes());
    client.conversation.read_buf().unwrap().extend_from_slice(format!("z {command}\r\n").as_bytes());
    client.conversation.handle_read(client.now);
    for poll in 1..100_000 {
        assert!(client.conversation.poll_next(&mut Context::from_waker(Waker::noop()), client.now).is_pending());
        let said = client.conversation.output().take();
        if said.starts_with(b"z OK") || said.windows(6).any(|octets| octets == b"\r\nz OK") {
            return poll;
        }
    }
    panic!("{command} does not end");
}

#[test]
fn a_large_expunge_pauses() {
    let messages = vec![b"Subject: x\r\n\r\n".to_vec(); 10_000];
    let polls = polls(&messages, "c STORE 1:* +FLAGS.SILENT (\\Deleted)\r\n", "EXPUNGE");
    assert!(polls >= 10, "{polls} polls");
}

#[test]
fn a_message_that_is_read_again_and_again_pauses() {
    let message = [b"Subject: x\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(200_000)].concat();
    let items = vec!["BINARY.SIZE[1]"; 20].join(" ");
    let polls = polls(&[message], "", &format!("FETCH 1 ({items})"));
    assert!(polls >= 20, "{polls} polls");
}
