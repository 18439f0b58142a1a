//! A failed login is answered when the backend has had its time, for every way to log in.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pillarbox_pop3_proto::Config;
use pillarbox_proto_core::Signal;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::conversation::Next;
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use support::Client;

fn backend() -> MemoryBackend {
    let builder = MemoryBackend::builder().user("alice", "secret").shared_secret("alice", "secret");
    builder.token("alice", "token").build().unwrap()
}

fn connect(backend: &MemoryBackend) -> Client {
    let mut config = Config::default();
    config.allow_plaintext = true;
    let mut client = Client::connect(Arc::new(backend.clone()), config);
    client.settle();
    client.heard();
    client
}

/// Each a failed login, line by line.
const WAYS: [&[&str]; 8] = [
    &["USER alice", "PASS wrong"],
    &["USER nobody", "PASS secret"],
    &["APOP alice 00000000000000000000000000000000"],
    &["AUTH PLAIN AGFsaWNlAHdyb25n"],
    &["AUTH PLAIN", "AG5vYm9keQBzZWNyZXQ="],
    &["AUTH LOGIN", "YWxpY2U=", "d3Jvbmc="],
    &["AUTH CRAM-MD5", "YWxpY2UgMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="],
    &["AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPW5vbmNl", "Yz1iaXdzLHI9bm9uY2Vub25jZSxwPUFBQUE="],
];

/// Makes refusals wait for the signal, and counts them.
fn gate(backend: &MemoryBackend) -> (Arc<Signal>, Arc<AtomicU32>) {
    let (signal, asked) = (Arc::new(Signal::new(0)), Arc::new(AtomicU32::new(0)));
    let (gate, count) = (Arc::clone(&signal), Arc::clone(&asked));
    backend.hook(move |call| match call {
        Call::LoginRefused => {
            count.fetch_add(1, Ordering::Relaxed);
            Outcome::proceed().wait_beyond(Arc::clone(&gate), 0)
        }
        _ => Outcome::proceed(),
    });
    (signal, asked)
}

#[test]
fn the_answer_waits_for_the_backend() {
    for way in WAYS {
        let backend = backend();
        let (signal, asked) = gate(&backend);
        let mut client = connect(&backend);
        for line in way {
            let said = client.say(&format!("{line}\r\n"));
            assert!(!said.contains("-ERR"), "{way:?}: {said}");
        }
        client.pass(16);
        // What is sent meanwhile waits behind it.
        assert_eq!(client.say("NOOP\r\nCAPA\r\n"), "");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{way:?}");
        signal.raise();
        client.settle();
        let said = client.heard();
        assert!(said.starts_with("-ERR [AUTH] "), "{way:?}: {said}");
        assert!(said.ends_with(".\r\n"), "{said}");
        let said = client.say("USER alice\r\nPASS secret\r\n");
        assert!(said.ends_with("octets\r\n") || said.lines().last().unwrap().starts_with("+OK"), "{said}");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "not for one that succeeds");
    }
}

#[test]
fn a_refused_token_is_told_after_that() {
    let backend = backend();
    let (signal, asked) = gate(&backend);
    let mut client = connect(&backend);
    // auth=Bearer wrong
    assert_eq!(client.say("AUTH OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHdyb25nAQE=\r\n"), "");
    signal.raise();
    client.settle();
    assert!(client.heard().starts_with("+ "));
    assert!(client.say("AQ==\r\n").starts_with("-ERR [AUTH] "));
    assert_eq!(asked.load(Ordering::Relaxed), 1, "once for each login");
}

#[test]
fn a_client_is_dropped_without_an_answer() {
    let token: &[&str] = &["AUTH OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHdyb25nAQE="];
    for way in WAYS.into_iter().chain([token]) {
        let backend = backend();
        backend.hook(|call| match call {
            Call::LoginRefused => Outcome::fail(Error::AuthenticationFailed),
            _ => Outcome::proceed(),
        });
        let mut client = connect(&backend);
        for line in way {
            client.say(&format!("{line}\r\n"));
        }
        assert_eq!(client.asked, Some(Next::Abort), "{way:?}");
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
    let mut client = connect(&backend);
    assert!(client.say("USER alice\r\nPASS secret\r\n").contains("-ERR [SYS/TEMP] "));
    assert!(client.say("AUTH PLAIN\r\n").starts_with("+ "));
    assert!(client.say("*\r\n").starts_with("-ERR "));
}
