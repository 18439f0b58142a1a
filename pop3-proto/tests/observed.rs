//! What an observer of a session is told, and what a redactor shows of a real one.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pillarbox_pop3_proto::{Config, Redactor};
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use pillarbox_proto_core::observe::{CommandOutcome, LoginFailure, Observer};
use pillarbox_proto_core::transcript::{Direction, Keep, Redact};
use support::Client;

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
    let builder = MemoryBackend::builder().user("tim", "tanstaaf");
    builder
        .message("tim", "INBOX", pillarbox_proto_core::mail::Flags::default(), "Subject: 1\r\n\r\none\r\n")
        .build()
        .unwrap()
}

fn connect(store: &MemoryBackend) -> (Client, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let mut config = Config::default();
    config.allow_plaintext = true;
    let mut connection = Connection::new(SessionId::new(1));
    connection.observer = Some(Arc::clone(&notes) as Arc<_>);
    let client = Client::connect_as(Arc::new(store.clone()), config, connection);
    (client, notes)
}

#[test]
fn commands_states_and_logins_are_told_in_their_order() {
    let (mut client, notes) = connect(&store());
    client.say("CAPA\r\nSTAT\r\nUSER tim\r\nPASS tanstaaf\r\n");
    assert_eq!(
        notes.take(),
        ["AUTHORIZATION", "CAPA ok 0", "STAT bad 0", "USER ok 0", "in tim PASS", "TRANSACTION", "PASS ok 0"]
    );
    client.say("RETR 1\r\nRETR 2\r\nLIST\r\nUIDL 1\r\nTOP 1 0\r\nRETR\r\nhunter2\r\nQUIT\r\n");
    assert_eq!(
        notes.take(),
        [
            "RETR ok 0",
            "RETR no 0",
            "LIST ok 0",
            "UIDL ok 0",
            "TOP ok 0",
            "RETR bad 0",
            "UNKNOWN bad 0",
            "UPDATE",
            "QUIT ok 0"
        ]
    );
}

#[test]
fn failed_logins_have_their_mechanism_and_cause() {
    let store = store();
    let (mut client, notes) = connect(&store);
    client.say("USER tim\r\nPASS wrong\r\n");
    assert_eq!(notes.take()[2..], ["failed PASS credentials", "PASS no 0"]);
    client.say("AUTH PLAIN\r\n*\r\nAUTH NONE\r\n");
    assert_eq!(notes.take(), ["failed PLAIN aborted", "AUTH no 0", "failed OTHER aborted", "AUTH no 0"]);
    store.hook(|made| match made {
        Call::Open => Outcome::fail(Error::unavailable("no disk")),
        _ => Outcome::proceed(),
    });
    client.say("USER tim\r\nPASS tanstaaf\r\n");
    assert_eq!(notes.take(), ["USER ok 0", "failed PASS unavailable", "PASS no 0"]);
}

#[test]
fn the_time_that_a_command_took_is_told() {
    let (mut client, notes) = connect(&store());
    // That the client took its time to answer a challenge counts for the command.
    client.say("AUTH PLAIN\r\n");
    client.pass(3);
    client.say("AHRpbQB0YW5zdGFhZg==\r\n");
    assert_eq!(notes.take(), ["AUTHORIZATION", "in tim PLAIN", "TRANSACTION", "AUTH ok 3"]);
}

/// What is shown of a session with the server itself, with each of these pieces read at once.
fn transcript(keep: Keep, pieces: &[&str]) -> String {
    let (mut client, _) = connect(&store());
    let mut redactor = Redactor::new(keep);
    let mut shown = Vec::new();
    redactor.redact(Direction::Server, client.heard().as_bytes(), &mut shown);
    for piece in pieces {
        redactor.redact(Direction::Client, piece.as_bytes(), &mut shown);
        redactor.redact(Direction::Server, client.say(piece).as_bytes(), &mut shown);
    }
    String::from_utf8(shown).unwrap()
}

#[test]
fn a_redactor_follows_the_server() {
    let pieces = [
        "USER tim\r\nPASS wrong tanstaaf\r\n",
        "AUTH PLAIN\r\n",
        "AHRpbQB0YW5zdGFhZg==\r\n",
        "LIST\r\nRETR 1\r\nTOP 1 0\r\ntanstaaf\r\nRETR 9\r\nUIDL 1\r\nCAPA\r\nRETR 1\r\n",
        "PASS tanstaaf\r\nQUIT\r\n",
    ];
    let shown = transcript(Keep::default(), &pieces);
    for secret in ["tanstaaf", "wrong", "AHRpb", "Subject", "one\r\n"] {
        assert!(!shown.contains(secret), "{secret}\n{shown}");
    }
    assert_eq!(shown.matches("(data...)\r\n").count(), 3, "{shown}");
    for line in [
        "USER tim\r\nPASS ***\r\n",
        "AUTH PLAIN\r\n+ \r\n***\r\n+OK",
        "LIST\r\nRETR 1\r\nTOP 1 0\r\n***\r\nRETR 9\r\n",
        "\r\n1 19\r\n.\r\n+OK",
        "PASS ***\r\nQUIT\r\n",
    ] {
        assert!(shown.contains(line), "{line:?}\n{shown}");
    }
    assert!(transcript(Keep { data: true, ..Keep::default() }, &pieces).contains("Subject: 1\r\n\r\none\r\n.\r\n"));
}
