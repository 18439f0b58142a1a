//! What an observer of a session is told, and what a redactor shows of a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panics")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pillarbox_imap_proto::{Config, Redactor};
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::mail::Flags;
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use pillarbox_proto_core::observe::{CommandOutcome, LoginFailure, Observer};
use pillarbox_proto_core::transcript::{Direction, Keep, Redact};
use support::client::{Client, secure_connection};

#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
    fn note(&self, note: String) {
        self.0.lock().unwrap().push(note);
    }
}

impl Observer for Notes {
    fn logged_in(&self, user: &str, mechanism: &'static str) {
        self.note(format!("in {user} {mechanism}"));
    }
    fn login_failed(&self, mechanism: &'static str, cause: LoginFailure) {
        self.note(format!("failed {mechanism} {}", cause.name()));
    }
    fn command(&self, name: &'static str, outcome: CommandOutcome, elapsed: Duration) {
        self.note(format!("{name} {} {}", outcome.name(), elapsed.as_secs()));
    }
    fn state(&self, state: &'static str) {
        self.note(state.to_owned());
    }
}

fn store() -> MemoryBackend {
    let message = "Subject: secret plans\r\n\r\nthe ducks fly at midnight\r\n";
    MemoryBackend::builder().user("bob", "sesame").message("bob", "INBOX", Flags::default(), message).build().unwrap()
}

fn connect(store: &MemoryBackend) -> (Client, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let mut connection = secure_connection();
    connection.observer = Some(Arc::clone(&notes) as Arc<_>);
    (Client::over(Arc::new(store.clone()), Config::default(), connection), notes)
}

#[test]
fn commands_states_and_logins_are_told_in_their_order() {
    let (mut client, notes) = connect(&store());
    client.send(b"a CAPABILITY\r\nb SELECT INBOX\r\nc LOGIN bob sesame\r\n");
    assert_eq!(
        notes.take(),
        ["not authenticated", "CAPABILITY ok 0", "SELECT bad 0", "in bob LOGIN", "LOGIN ok 0", "authenticated"]
    );
    client.send(b"a SELECT INBOX\r\nb UID FETCH 1 FLAGS\r\nc FETCH 9 FLAGS\r\nhunter2 x\r\nd NOSUCH\r\ne IDLE\r\n");
    assert_eq!(
        notes.take(),
        ["SELECT ok 0", "selected", "UID FETCH ok 0", "FETCH bad 0", "UNKNOWN bad 0", "UNKNOWN bad 0", "idle"]
    );
    client.wait(Duration::from_secs(5));
    client.send(b"DONE\r\na COPY 1 nowhere\r\nb CLOSE\r\nc APPEND INBOX {1+}\r\nx\r\nd APPEND nowhere {1+}\r\nx\r\ne LOGOUT\r\n");
    assert_eq!(
        notes.take(),
        [
            "IDLE ok 5",
            "selected",
            "COPY no 0",
            "CLOSE ok 0",
            "authenticated",
            "APPEND ok 0",
            "APPEND no 0",
            "logout",
            "LOGOUT ok 0"
        ]
    );
}

#[test]
fn failed_logins_have_their_mechanism_and_cause() {
    let store = store();
    let (mut client, notes) = connect(&store);
    client.send(b"a LOGIN bob wrong\r\nb AUTHENTICATE PLAIN\r\n*\r\nc AUTHENTICATE NONE\r\n");
    assert_eq!(
        notes.take(),
        [
            "not authenticated",
            "failed LOGIN credentials",
            "LOGIN no 0",
            "failed PLAIN aborted",
            "AUTHENTICATE bad 0",
            "failed OTHER aborted",
            "AUTHENTICATE no 0"
        ]
    );
    store.hook(|made| match made {
        Call::Authenticate => Outcome::fail(Error::unavailable("no disk")),
        _ => Outcome::proceed(),
    });
    client.send(b"a LOGIN bob sesame\r\n");
    assert_eq!(notes.take(), ["failed LOGIN unavailable", "LOGIN no 0"]);
}

#[test]
fn a_client_that_is_known_has_logged_in() {
    let notes = Arc::new(Notes::default());
    let mut connection = secure_connection();
    connection.observer = Some(Arc::clone(&notes) as Arc<_>);
    connection.preauth = Some(Identity::new("bob"));
    let mut client = Client::over(Arc::new(store()), Config::default(), connection);
    client.drive();
    assert_eq!(notes.take(), ["in bob PREAUTH", "authenticated"]);
}

/// What is shown of a session with the server itself, with each of these pieces read at once.
fn transcript(keep: Keep, pieces: &[&str]) -> String {
    let (mut client, _) = connect(&store());
    let mut redactor = Redactor::new(keep);
    let mut shown = Vec::new();
    redactor.redact(Direction::Server, &client.drive(), &mut shown);
    for piece in pieces {
        redactor.redact(Direction::Client, piece.as_bytes(), &mut shown);
        redactor.redact(Direction::Server, &client.send(piece.as_bytes()), &mut shown);
    }
    String::from_utf8(shown).unwrap()
}

#[test]
fn a_redactor_follows_the_server() {
    let pieces = [
        "a LOGIN bob {6}\r\n",
        "sesame\r\n",
        "b LOGIN bob sesame\r\nc SELECT INBOX\r\n",
        "d FETCH 1 (BODY[])\r\ne APPEND INBOX {9}\r\n",
        "the ducks\r\n",
        "f FETCH 1 BODY[TEXT]\r\n",
        "sesame\r\n",
        "g LOGOUT\r\n",
    ];
    let shown = transcript(Keep::default(), &pieces);
    assert!(!shown.contains("sesame") && !shown.contains("ducks"), "{shown}");
    for line in [
        "a LOGIN bob \"***\"\r\n+ ",
        "\r\na OK ",
        "b LOGIN bob \"***\"\r\nc SELECT INBOX\r\n",
        "\r\nb BAD ",
        "BODY[] {52}\r\n(data...))\r\nd OK",
        "e APPEND INBOX {9}\r\n",
        "\r\n(data...)\r\n",
        "***\r\n*** BAD ",
        "g LOGOUT\r\n* BYE ",
    ] {
        assert!(shown.contains(line), "{line:?}\n{shown}");
    }
    assert!(transcript(Keep { data: true, ..Keep::default() }, &pieces).contains("ducks"));
    assert!(transcript(Keep { secrets: true, ..Keep::default() }, &pieces).contains("sesame"));
}

#[test]
fn no_answer_of_the_server_repeats_a_password() {
    for pieces in [
        &["a LOGIN bob {99999999}\r\n", "hunter2\r\n"][..],
        &["a LOGIN bob {7\r\n", "hunter2\r\n"],
        &["a AUTHENTICATE NONE\r\n", "hunter2\r\n"],
        &["a AUTHENTICATE CRAM-MD5 hunter2\r\n"],
        &["a AUTHENTICATE PLAIN hunter2\r\n"],
        &["a AUTHENTICATE PLAIN\r\n", "hunter2\r\n", "hunter2\r\n"],
        &["a LOGIN bob hunter2 hunter2\r\n", "a LOGIN \"bob\r\n", "hunter2\r\n"],
        &["hunter2 hunter2\r\n", "a hunter2\r\n", "a ID hunter2\r\n"],
        &["a LOGIN bob sesame\r\n", "hunter2\r\n", "b LOGIN bob hunter2\r\n", "c XLOGIN hunter2\r\n"],
    ] {
        let shown = transcript(Keep::default(), pieces);
        // What a client says of itself is no secret, wrong as it may be.
        assert!(!shown.replace("a ID hunter2", "").contains("hunter"), "{shown}");
    }
}
