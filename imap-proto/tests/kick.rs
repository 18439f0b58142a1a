//! A session that is to end now: what reads is dropped, what changes is finished, and the text never stands where the
//! client would take it for something else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pillarbox_imap_proto::Config;
use pillarbox_proto_core::Signal;
use pillarbox_proto_core::conversation::{Control, Conversation, Layer, Next};
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};

use support::client::{Client, env};

fn backend(messages: usize, message: &[u8]) -> MemoryBackend {
    let builder = MemoryBackend::builder().env(env()).user("alice", "secret").mailbox("alice", "Work");
    let builder = (0..messages).fold(builder, |builder, _| builder.deliver("alice", "INBOX", message.to_vec().into()));
    builder.build().unwrap()
}

fn selected(backend: &MemoryBackend) -> Client {
    let mut client = Client::new(Arc::new(backend.clone()), Config::default());
    let said = client.send(b"a LOGIN alice secret\r\nb SELECT INBOX\r\n");
    assert!(said.ends_with(b"b OK [READ-WRITE] SELECT completed\r\n"));
    client
}

/// Says something and does not read.
fn say(client: &mut Client, octets: &[u8]) {
    client.conversation.read_buf().unwrap().extend_from_slice(octets);
    client.conversation.handle_read(client.now);
    for _ in 0..100 {
        assert!(poll(client).is_pending());
    }
}

fn poll(client: &mut Client) -> Poll<Next> {
    client.conversation.poll_next(&mut Context::from_waker(Waker::noop()), client.now)
}

fn kick(client: &mut Client) {
    client.conversation.handle_control(Control::Kick { text: "moved".into() }, client.now);
}

fn shutdown(client: &mut Client) {
    client.conversation.handle_control(Control::Shutdown { text: "stopping".into() }, client.now);
}

/// Makes a call wait for the signal.
fn gate(backend: &MemoryBackend, call: Call) -> Arc<Signal> {
    let signal = Arc::new(Signal::new(0));
    let gate = Arc::clone(&signal);
    backend.hook(
        move |made| {
            if made == call { Outcome::proceed().wait_beyond(Arc::clone(&gate), 0) } else { Outcome::proceed() }
        },
    );
    signal
}

#[test]
fn a_command_that_reads_is_not_waited_for() {
    for (call, command) in [
        (Call::Search, "SEARCH ALL"),
        (Call::Fetch, "FETCH 1:* FLAGS"),
        (Call::Rows, "FETCH 1:* BODY.PEEK[]"),
        (Call::Message, "FETCH 1 BODY.PEEK[]<0.10>"),
        (Call::Status, "STATUS Work (MESSAGES)"),
        (Call::Open, "SELECT Work"),
        (Call::List, "LIST \"\" *"),
        (Call::Changes, "NOOP"),
    ] {
        let backend = backend(3, &[b"Subject: x\r\n\r\n".as_slice(), &[b'x'; 100_000]].concat());
        let mut client = selected(&backend);
        gate(&backend, call);
        say(&mut client, format!("c {command}\r\nd NOOP\r\n").as_bytes());
        kick(&mut client);
        assert_eq!(poll(&mut client), Poll::Ready(Next::Close), "{command}");
        let said = client.conversation.output().take();
        assert_eq!(said, "* BYE moved\r\n", "{command}");
    }
}

#[test]
fn a_login_is_not_waited_for() {
    let backend = backend(0, b"");
    gate(&backend, Call::Authenticate);
    let mut client = Client::new(Arc::new(backend), Config::default());
    client.drive();
    say(&mut client, b"a LOGIN alice secret\r\n");
    kick(&mut client);
    assert_eq!(poll(&mut client), Poll::Ready(Next::Close));
    assert_eq!(client.conversation.output().take(), "* BYE moved\r\n");
}

#[test]
fn a_change_is_finished_and_answered() {
    for (call, command) in
        [(Call::Store, "STORE 1 +FLAGS.SILENT (\\Flagged)"), (Call::Copy, "COPY 1 Work"), (Call::Create, "CREATE New")]
    {
        let backend = backend(3, b"Subject: x\r\n\r\n");
        let mut client = selected(&backend);
        let signal = gate(&backend, call);
        say(&mut client, format!("c {command}\r\nd CREATE Never\r\n").as_bytes());
        kick(&mut client);
        assert!(poll(&mut client).is_pending(), "{command}");
        assert!(client.conversation.output().is_empty(), "{command}");
        signal.raise();
        let said = client.drive();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(client.next, Some(Next::Close), "{command}");
        assert!(said.starts_with("c OK ") && said.ends_with("completed\r\n* BYE moved\r\n"), "{command}: {said}");
        assert!(!backend.mailboxes("alice").unwrap().iter().any(|name| name.as_str() == "Never"));
    }
}

#[test]
fn whole_responses_are_followed_by_bye() {
    let mut client = selected(&backend(5000, b"Subject: x\r\n\r\n"));
    say(&mut client, b"c FETCH 1:* (UID FLAGS INTERNALDATE)\r\n");
    assert!(client.conversation.output().len() >= 64 << 10);
    kick(&mut client);
    assert_eq!(poll(&mut client), Poll::Ready(Next::Close));
    let said = client.conversation.output().take();
    assert!(said.ends_with(b")\r\n* BYE moved\r\n"));
    assert!(!said.windows(4).any(|octets| octets == b"c OK"));
}

#[test]
fn a_response_in_the_middle_ends_without_bye() {
    let large = [b"Subject: x\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(100_000)].concat();
    for (messages, message, command) in [
        (1, large.as_slice(), "FETCH 1 BODY.PEEK[]"),
        (20_000, b"Subject: x\r\n\r\n", "SEARCH ALL"),
        // Many ranges.
        (40_000, b"Subject: x\r\n\r\n", "UID SEARCH RETURN (ALL) KEYWORD odd"),
    ] {
        let backend = backend(messages, message);
        let mut client = selected(&backend);
        if command.ends_with("odd") {
            let odd: Vec<String> =
                (0..messages).filter(|number| number % 2 == 1).map(|number| number.to_string()).collect();
            for odd in odd.chunks(1000) {
                client.send(format!("s STORE {} +FLAGS.SILENT (odd)\r\n", odd.join(",")).as_bytes());
            }
        }
        say(&mut client, format!("c {command}\r\n").as_bytes());
        let waits = client.conversation.output().len();
        assert!(waits >= 64 << 10, "{command}: {waits}");
        kick(&mut client);
        assert_eq!(poll(&mut client), Poll::Ready(Next::Abort), "{command}");
        assert_eq!(client.conversation.output().len(), waits);
    }
}

#[test]
fn a_handshake_is_not_waited_for() {
    let mut config = Config::default();
    config.tls_mode = pillarbox_proto_core::connection::TlsMode::OnDemand;
    let mut client = Client::new(Arc::new(backend(0, b"")), config);
    client.send(b"a STARTTLS\r\n");
    assert_eq!(client.next, Some(Next::Upgrade(Layer::Tls)));
    shutdown(&mut client);
    assert_eq!(poll(&mut client), Poll::Ready(Next::Upgrade(Layer::Tls)));
    kick(&mut client);
    assert_eq!(poll(&mut client), Poll::Ready(Next::Abort));
    assert!(client.conversation.output().is_empty());
}

#[test]
fn a_shutdown_waits_for_the_command() {
    let large = [b"Subject: x\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(100_000)].concat();
    let mut client = selected(&backend(1, &large));
    say(&mut client, b"c FETCH 1 BODY.PEEK[]\r\nd NOOP\r\n");
    shutdown(&mut client);
    let said = client.drive();
    assert_eq!(client.next, Some(Next::Close));
    assert!(said.ends_with(b")\r\nc OK FETCH completed\r\n* BYE stopping\r\n"));
    // A kick hurries it up, and is not slowed down by a shutdown.
    let mut client = selected(&backend(1, &large));
    say(&mut client, b"c FETCH 1 BODY.PEEK[]\r\n");
    shutdown(&mut client);
    assert!(poll(&mut client).is_pending());
    kick(&mut client);
    shutdown(&mut client);
    assert_eq!(poll(&mut client), Poll::Ready(Next::Abort));
}

#[test]
fn a_service_that_is_closed_ends_a_session_after_the_command_that_runs_now() {
    let large = [b"Subject: x\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(100_000)].concat();
    let backend = backend(1, &large);
    let mut client = selected(&backend);
    say(&mut client, b"c FETCH 1 BODY.PEEK[]\r\nd CREATE Never\r\n");
    client.conversation.handle_control(Control::Unavailable { text: "down for work".into() }, client.now);
    let said = client.drive();
    assert_eq!(client.next, Some(Next::Close));
    assert!(said.ends_with(b")\r\nc OK FETCH completed\r\n* BYE [ALERT] down for work\r\n"));
    assert!(!backend.mailboxes("alice").unwrap().iter().any(|name| name.as_str() == "Never"));
}
