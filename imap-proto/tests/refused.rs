//! A failed login is answered when the backend has had its time, for every way to log in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pillarbox_imap_proto::Config;
use pillarbox_proto_core::Signal;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::conversation::Next;
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use support::client::{Client, env};

fn backend() -> MemoryBackend {
    let builder = MemoryBackend::builder().env(env()).user("alice", "secret").shared_secret("alice", "secret");
    builder.token("alice", "token").build().unwrap()
}

/// Each a failed login; the last line is the one that decides.
const WAYS: [&[&str]; 9] = [
    &["a LOGIN alice wrong"],
    &["a LOGIN nobody secret"],
    &["a AUTHENTICATE PLAIN AGFsaWNlAHdyb25n"],
    &["a AUTHENTICATE PLAIN", "AG5vYm9keQBzZWNyZXQ="],
    &["a AUTHENTICATE LOGIN", "YWxpY2U=", "d3Jvbmc="],
    &["a AUTHENTICATE CRAM-MD5", "YWxpY2UgMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="],
    &["a AUTHENTICATE SCRAM-SHA-256 biwsbj1hbGljZSxyPW5vbmNl", "Yz1iaXdzLHI9bm9uY2Vub25jZSxwPUFBQUE="],
    &["a AUTHENTICATE PLAIN AGFsaWNl"],
    &["a LOGIN alice {5+}\r\nwrong"],
];

fn lines(client: &mut Client, lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| client.send(format!("{line}\r\n").as_bytes())).collect()
}

#[test]
fn the_answer_waits_for_the_backend() {
    for way in WAYS {
        let backend = backend();
        let (signal, asked) = (Arc::new(Signal::new(0)), Arc::new(AtomicU32::new(0)));
        let (gate, count) = (Arc::clone(&signal), Arc::clone(&asked));
        backend.hook(move |call| match call {
            Call::LoginRefused => {
                count.fetch_add(1, Ordering::Relaxed);
                Outcome::proceed().wait_beyond(Arc::clone(&gate), 0)
            }
            _ => Outcome::proceed(),
        });
        let mut client = Client::new(Arc::new(backend.clone()), Config::default());
        let said = lines(&mut client, way);
        assert!(!said.windows(3).any(|octets| octets == b"a N"), "{way:?}");
        assert!(client.wait(Duration::from_secs(16)).is_empty());
        // What is sent meanwhile waits behind it.
        assert!(client.send(b"b NOOP\r\n").is_empty());
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{way:?}");
        signal.raise();
        let said = String::from_utf8(client.drive()).unwrap();
        assert!(said.starts_with("a NO [AUTHENTICATIONFAILED] "), "{way:?}: {said}");
        assert!(said.ends_with("b OK NOOP completed\r\n"), "{said}");
        assert!(client.send(b"c LOGIN alice secret\r\n").starts_with(b"c OK "));
        assert_eq!(asked.load(Ordering::Relaxed), 1, "not for one that succeeds");
    }
}

#[test]
fn a_refused_token_is_told_after_that() {
    let backend = backend();
    let (signal, asked) = (Arc::new(Signal::new(0)), Arc::new(AtomicU32::new(0)));
    let (gate, count) = (Arc::clone(&signal), Arc::clone(&asked));
    backend.hook(move |call| match call {
        Call::LoginRefused => {
            count.fetch_add(1, Ordering::Relaxed);
            Outcome::proceed().wait_beyond(Arc::clone(&gate), 0)
        }
        _ => Outcome::proceed(),
    });
    let mut client = Client::new(Arc::new(backend.clone()), Config::default());
    client.drive();
    // auth=Bearer wrong
    assert!(client.send(b"a AUTHENTICATE OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHdyb25nAQE=\r\n").is_empty());
    signal.raise();
    assert!(client.drive().starts_with(b"+ "));
    assert!(client.send(b"AQ==\r\n").starts_with(b"a NO [AUTHENTICATIONFAILED] "));
    assert_eq!(asked.load(Ordering::Relaxed), 1, "once for each login");
}

#[test]
fn a_client_is_dropped_without_an_answer() {
    for way in WAYS {
        let backend = backend();
        backend.hook(|call| match call {
            Call::LoginRefused => Outcome::fail(Error::AuthenticationFailed),
            _ => Outcome::proceed(),
        });
        let mut client = Client::new(Arc::new(backend.clone()), Config::default());
        let said = lines(&mut client, way);
        assert_eq!(client.next, Some(Next::Abort));
        assert!(!said.windows(3).any(|octets| octets == b"a N"), "{way:?}");
    }
}

#[test]
fn a_store_that_is_down_is_no_failed_login() {
    let backend = backend();
    backend.hook(|call| match call {
        Call::LoginRefused => panic!("nobody was refused"),
        Call::Authenticate => Outcome::fail(Error::unavailable("down")),
        _ => Outcome::proceed(),
    });
    let mut client = Client::new(Arc::new(backend.clone()), Config::default());
    client.drive();
    assert!(client.send(b"a LOGIN alice secret\r\n").starts_with(b"a NO [UNAVAILABLE] "));
    assert!(client.send(b"b AUTHENTICATE PLAIN\r\n").starts_with(b"+ "));
    assert!(client.send(b"*\r\n").starts_with(b"b BAD "));
}

#[test]
fn whoever_is_kept_waiting_can_be_ended() {
    use pillarbox_proto_core::conversation::{Control, Conversation as _};

    let backend = backend();
    let signal = Arc::new(Signal::new(0));
    let gate = Arc::clone(&signal);
    backend.hook(move |call| match call {
        Call::LoginRefused => Outcome::proceed().wait_beyond(Arc::clone(&gate), 0),
        _ => Outcome::proceed(),
    });
    let mut client = Client::new(Arc::new(backend.clone()), Config::default());
    lines(&mut client, &["a LOGIN alice wrong"]);
    client.conversation.handle_control(Control::Kick { text: "moved".into() }, client.now);
    assert_eq!(client.drive(), b"* BYE moved\r\n");
    assert!(client.closed());
}
