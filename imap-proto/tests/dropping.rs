//! Sessions that end in the middle of a change.
//!
//! Each changing command is run over a store whose every call takes several polls, and cut off at each of them: by
//! dropping the conversation, as a server that is out of patience does, and by telling it that the client is gone. A
//! change that was dropped has happened wholly or not at all; one whose client is gone is brought to its end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pillarbox_imap_proto::{Config, ImapConversation};
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::{Backend, ListRequest};
use pillarbox_proto_core::connection::Connection;
use pillarbox_proto_core::conversation::{Conversation, Next};
use pillarbox_proto_core::mail::SystemFlags;
use pillarbox_proto_core::memory::{MemoryBackend, NewMessage, Outcome};
use support::client::{Client, env};

const MESSAGES: usize = 5;

fn backend() -> MemoryBackend {
    let mut builder = MemoryBackend::builder().env(env()).user("alice", "secret");
    for number in 0..MESSAGES {
        let message = NewMessage::new(format!("Subject: {number}\r\n\r\ntext {number}\r\n"));
        let message = if number % 2 == 0 { message.flags(SystemFlags::DELETED) } else { message };
        builder = builder.deliver("alice", "INBOX", message);
    }
    builder.mailbox("alice", "Work").mailbox("alice", "Work/Sub").subscribe("alice", "Old").build().unwrap()
}

/// All that clients can see: for each mailbox what is in it, by text, with flags; and the subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct World {
    mailboxes: BTreeMap<String, Vec<(String, String)>>,
    subscriptions: Vec<String>,
}

fn world(backend: &MemoryBackend) -> World {
    let mut mailboxes = BTreeMap::new();
    for name in backend.mailboxes("alice").unwrap() {
        let messages = backend.messages("alice", name.as_str()).unwrap();
        let seen = messages
            .iter()
            .map(|message| (String::from_utf8_lossy(&message.content).into_owned(), format!("{:?}", message.flags)));
        mailboxes.insert(name.as_str().to_owned(), seen.collect());
    }
    let account =
        at_once(async { Backend::open(backend, &Connection::default(), &Identity::new("alice")).await.unwrap() });
    let entries = at_once(async move { account.list(&ListRequest::all()).await.unwrap() });
    let subscribed = entries.into_iter().filter(|entry| entry.subscribed);
    World { mailboxes, subscriptions: subscribed.map(|entry| entry.name.as_str().to_owned()).collect() }
}

/// Runs a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// A session with INBOX selected, over a store that is slow from now on.
fn session(backend: &MemoryBackend) -> ImapConversation {
    let mut client = Client::new(Arc::new(backend.clone()), Config::default());
    let said = client.send(b"a LOGIN alice secret\r\nb SELECT INBOX\r\n");
    assert!(said.ends_with(b"SELECT completed\r\n"));
    backend.hook(|_| Outcome::proceed().pending(2));
    client.conversation
}

fn poll(conversation: &mut ImapConversation, now: Instant) -> Poll<Next> {
    let polled = conversation.poll_next(&mut Context::from_waker(Waker::noop()), now);
    let _ = conversation.output().take();
    polled
}

/// How the result of a command may look when it is cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grain {
    /// As before or as after.
    Call,
    /// So for each message.
    Message,
}

/// Commands, and how they may be cut.
const COMMANDS: &[(&str, Grain)] = &[
    ("c APPEND INBOX (\\Flagged) {9+}\r\nSubject: \r\n", Grain::Call),
    ("c APPEND Work {3+}\r\nabc {3+}\r\ndef (\\Seen) {3+}\r\nghi\r\n", Grain::Call),
    ("c COPY 1:5 Work\r\n", Grain::Call),
    ("c UID COPY 2:4 INBOX\r\n", Grain::Call),
    ("c MOVE 1:5 Work\r\n", Grain::Message),
    ("c UID MOVE 2:3 Work/Sub\r\n", Grain::Message),
    ("c STORE 1:5 +FLAGS.SILENT (\\Flagged $Work)\r\n", Grain::Message),
    ("c UID STORE 1:3 FLAGS (\\Answered)\r\n", Grain::Message),
    ("c FETCH 1:5 BODY[]\r\n", Grain::Message),
    ("c EXPUNGE\r\n", Grain::Message),
    ("c UID EXPUNGE 1:3\r\n", Grain::Message),
    ("c CLOSE\r\n", Grain::Message),
    ("c CREATE New/Deep\r\n", Grain::Call),
    ("c DELETE Work\r\n", Grain::Call),
    ("c RENAME Work Play\r\n", Grain::Call),
    ("c RENAME INBOX Archive\r\n", Grain::Call),
    ("c SUBSCRIBE Work\r\n", Grain::Call),
    ("c UNSUBSCRIBE Old\r\n", Grain::Call),
];

fn outcome(command: &str) -> World {
    let backend = backend();
    let mut conversation = session(&backend);
    let now = Instant::now();
    conversation.read_buf().unwrap().extend_from_slice(command.as_bytes());
    conversation.handle_read(now);
    for _ in 0..1000 {
        let _ = poll(&mut conversation, now);
    }
    backend.unhook();
    world(&backend)
}

/// Where each message is, and how: its text names it.
fn by_message(world: &World) -> BTreeMap<&str, Vec<(&str, &str)>> {
    let mut messages: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (mailbox, content) in &world.mailboxes {
        for (text, flags) in content {
            messages.entry(text).or_default().push((mailbox, flags));
        }
    }
    messages
}

#[track_caller]
fn assert_whole(found: &World, before: &World, after: &World, grain: Grain, place: &str) {
    if grain == Grain::Call {
        assert!(found == before || found == after, "{place}: half done: {found:#?}");
        return;
    }
    assert_eq!(found.subscriptions, before.subscriptions);
    let (found, before, after) = (by_message(found), by_message(before), by_message(after));
    let texts: std::collections::BTreeSet<_> = found.keys().chain(before.keys()).chain(after.keys()).collect();
    for text in texts {
        let message = found.get(*text);
        assert!(
            message == before.get(*text) || message == after.get(*text),
            "{place}: half done: {text:?} is {message:?}"
        );
    }
}

#[test]
fn a_dropped_change_has_happened_wholly_or_not_at_all() {
    for (command, grain) in COMMANDS {
        let before = world(&backend());
        let after = outcome(command);
        assert_ne!(before, after, "{command} changes nothing");
        let (mut cut, mut never) = (0, 0);
        for polls in 0.. {
            let backend = backend();
            let mut conversation = session(&backend);
            let now = Instant::now();
            conversation.read_buf().unwrap().extend_from_slice(command.as_bytes());
            conversation.handle_read(now);
            for _ in 0..polls {
                let _ = poll(&mut conversation, now);
            }
            drop(conversation);
            backend.unhook();
            let found = world(&backend);
            assert_whole(&found, &before, &after, *grain, &format!("{command:?} dropped at poll {polls}"));
            if found == after {
                never += 1;
                // It is over, and a good many polls more make no difference.
                if never > 20 {
                    break;
                }
            } else {
                (cut, never) = (cut + 1, 0);
            }
            assert!(polls < 2000, "{command} never ends");
        }
        assert!(cut >= 2, "{command} was not cut off before its change");
    }
}

#[test]
fn a_change_whose_client_is_gone_is_brought_to_its_end() {
    for (command, grain) in COMMANDS {
        // Reading a message is no change for its own sake.
        if command.contains("FETCH") {
            continue;
        }
        let before = world(&backend());
        let after = outcome(command);
        for polls in 0..60 {
            let backend = backend();
            let mut conversation = session(&backend);
            let now = Instant::now();
            // What stands behind it is not begun any more.
            conversation.read_buf().unwrap().extend_from_slice(format!("{command}d CREATE Never\r\n").as_bytes());
            conversation.handle_read(now);
            for _ in 0..polls {
                let _ = poll(&mut conversation, now);
                if backend.mailboxes("alice").unwrap().iter().any(|name| name.as_str() == "Never") {
                    break;
                }
            }
            let begun_next = backend.mailboxes("alice").unwrap().iter().any(|name| name.as_str() == "Never");
            conversation.handle_gone();
            assert!(conversation.read_buf().is_none());
            let mut ended = false;
            for _ in 0..2000 {
                if poll(&mut conversation, now) == Poll::Ready(Next::Close) {
                    ended = true;
                    break;
                }
            }
            let place = format!("{command:?}, gone at poll {polls}");
            assert!(ended, "{place}: it never ends");
            backend.unhook();
            if begun_next || backend.mailboxes("alice").unwrap().iter().any(|name| name.as_str() == "Never") {
                break;
            }
            let found = world(&backend);
            // At poll 0 the command has not begun.
            let expected = if polls == 0 { &before } else { &after };
            assert_eq!(&found, expected, "{place}");
            assert_whole(&found, &before, &after, *grain, &place);
        }
    }
}

#[test]
fn a_read_is_dropped_when_its_client_is_gone() {
    let backend = backend();
    let mut conversation = session(&backend);
    let now = Instant::now();
    conversation.read_buf().unwrap().extend_from_slice(b"c UID SEARCH TEXT nothing\r\nd CREATE Never\r\n");
    conversation.handle_read(now);
    assert!(poll(&mut conversation, now).is_pending());
    conversation.handle_gone();
    assert_eq!(poll(&mut conversation, now), Poll::Ready(Next::Close));
    assert!(conversation.output().is_empty());
    assert!(backend.create("alice", "Never").is_ok());
}

#[test]
fn half_an_append_is_given_up_when_its_client_is_gone() {
    for (announced, sent) in
        [("{9}", ""), ("{9+}", ""), ("{9+}", "Subj"), ("{9+}", "Subject: "), ("{9+}", "Subject: \r\n")]
    {
        for end in [false, true] {
            let backend = backend();
            let before = world(&backend);
            let mut conversation = session(&backend);
            let now = Instant::now();
            let command = format!("c APPEND Work {announced}\r\n{sent}");
            conversation.read_buf().unwrap().extend_from_slice(command.as_bytes());
            conversation.handle_read(now);
            for _ in 0..40 {
                let _ = poll(&mut conversation, now);
            }
            if end {
                conversation.handle_eof(now);
            } else {
                conversation.handle_gone();
            }
            let ended = (0..100).any(|_| poll(&mut conversation, now) == Poll::Ready(Next::Close));
            assert!(ended, "{command:?} never ends");
            drop(conversation);
            backend.unhook();
            let complete = sent.ends_with("\r\n");
            assert_eq!(world(&backend) != before, complete, "{command:?}");
        }
    }
}
