//! Clients that do not take what they are sent: they are waited for as long as they take some of it, they are ended
//! without a word in the middle of a response, and they hold neither the session nor its memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pillarbox_imap_proto::Config;
use pillarbox_proto_core::conversation::{Control, Conversation, Next};
use pillarbox_proto_core::memory::MemoryBackend;

use support::client::{Client, env};

const MINUTE: Duration = Duration::from_secs(60);

fn selected(message: Vec<u8>) -> Client {
    let backend = MemoryBackend::builder().env(env()).user("alice", "secret").deliver("alice", "INBOX", message.into());
    let mut client = Client::new(Arc::new(backend.build().unwrap()), Config::default());
    let said = client.send(b"a LOGIN alice secret\r\nb SELECT INBOX\r\n");
    assert!(said.ends_with(b"b OK [READ-WRITE] SELECT completed\r\n"));
    client
}

/// Says something and does not read.
fn say(client: &mut Client, octets: &[u8]) {
    client.conversation.read_buf().unwrap().extend_from_slice(octets);
    client.conversation.handle_read(client.now);
}

fn poll(client: &mut Client) -> Poll<Next> {
    client.conversation.poll_next(&mut Context::from_waker(Waker::noop()), client.now)
}

fn large() -> Vec<u8> {
    [b"Subject: large\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(100_000)].concat()
}

#[test]
fn a_download_may_take_hours() {
    let mut client = selected(large());
    say(&mut client, b"c FETCH 1 BODY.PEEK[]\r\n");
    let mut taken = 0;
    for _ in 0..600 {
        assert!(poll(&mut client).is_pending());
        let piece = client.conversation.output().first().len().min(4000);
        client.conversation.output().advance(piece);
        taken += piece;
        assert!(poll(&mut client).is_pending());
        client.now += 20 * MINUTE;
        assert!(client.conversation.deadline().is_none_or(|deadline| deadline > client.now));
        // The rest is in the output, and the client's turn has come.
        if taken > 1_100_000 {
            return;
        }
    }
    panic!("{taken} octets");
}

#[test]
fn a_response_that_nobody_takes_ends_without_bye() {
    let mut client = selected(large());
    say(&mut client, b"c FETCH 1 BODY.PEEK[]\r\n");
    assert!(poll(&mut client).is_pending());
    let waits = client.conversation.output().len();
    assert!(waits >= 64 << 10);
    client.now += 29 * MINUTE;
    client.conversation.handle_deadline(client.now);
    assert!(poll(&mut client).is_pending());
    client.now += MINUTE;
    assert!(client.conversation.deadline().unwrap() <= client.now);
    client.conversation.handle_deadline(client.now);
    assert_eq!(poll(&mut client), Poll::Ready(Next::Abort));
    // BYE in the place of the message's octets would be taken for them.
    assert_eq!(client.conversation.output().len(), waits);
}

#[test]
fn a_full_output_does_not_keep_the_session() {
    let full = || {
        let backend = MemoryBackend::builder().env(env()).user("alice", "secret").build().unwrap();
        let mut client = Client::new(Arc::new(backend), Config::default());
        client.send(b"a LOGIN alice secret\r\n");
        say(&mut client, &b"c CAPABILITY\r\n".repeat(2000));
        while client.conversation.output().len() < 64 << 10 {
            assert!(poll(&mut client).is_pending());
        }
        assert!(poll(&mut client).is_pending());
        client
    };
    // The server wants it to end.
    let mut client = full();
    client.conversation.handle_control(Control::Kick { text: "moved".into() }, client.now);
    assert_eq!(poll(&mut client), Poll::Ready(Next::Close));
    assert!(client.conversation.output().take().ends_with(b"\r\n* BYE moved\r\n"));
    // Time is up.
    let mut client = full();
    client.now += 30 * MINUTE;
    client.conversation.handle_deadline(client.now);
    assert_eq!(poll(&mut client), Poll::Ready(Next::Close));
    assert!(client.conversation.output().take().ends_with(b"\r\n* BYE Session timed out\r\n"));
}

#[test]
fn a_change_is_finished_for_a_client_that_takes_nothing() {
    let backend = MemoryBackend::builder().env(env()).user("alice", "secret");
    let backend = (0..5000).fold(backend, |backend, _| backend.deliver("alice", "INBOX", "Subject: x\r\n\r\n".into()));
    let mut client = Client::new(Arc::new(backend.build().unwrap()), Config::default());
    client.send(b"a LOGIN alice secret\r\nb SELECT INBOX\r\n");
    say(&mut client, b"c STORE 1:* +FLAGS (\\Flagged \\Answered)\r\n");
    for _ in 0..1000 {
        assert!(poll(&mut client).is_pending());
    }
    assert!(client.conversation.output().len() >= 64 << 10);
    client.now += 30 * MINUTE;
    client.conversation.handle_deadline(client.now);
    let mut polls = 0;
    while poll(&mut client).is_pending() {
        polls += 1;
        assert!(polls < 1000, "the session stays");
    }
    assert!(client.conversation.output().is_empty());
}

#[test]
fn items_named_a_thousand_times_are_sent_as_the_client_takes_them() {
    let mut client = selected([b"Subject: ".as_slice(), &b"x".repeat(20_000), b"\r\n\r\n"].concat());
    say(&mut client, format!("c FETCH 1 ({})\r\n", ["ENVELOPE"; 900].join(" ")).as_bytes());
    let (mut most, mut taken) = (0, 0);
    for _ in 0..100_000 {
        let _ = poll(&mut client);
        let output = client.conversation.output().take();
        most = most.max(output.len());
        taken += output.len();
        if output.ends_with(b")\r\nc OK FETCH completed\r\n") {
            assert!(most <= 256 << 10, "{most} octets waited");
            assert!(taken > 900 * 20_000, "{taken} octets");
            return;
        }
    }
    panic!("no end after {taken} octets");
}
