//! The first word of a session where the account of a known client takes its time, and what an observer is told of the
//! client's own words.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use pillarbox_imap_proto::{Config, ImapConversation};
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::conversation::{Control, Conversation, Next};
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use pillarbox_proto_core::observe::Observer;
use pillarbox_proto_core::{Connection, Signal};

use support::client::{Client, env, secure_connection};

fn backend() -> MemoryBackend {
    MemoryBackend::builder().env(env()).user("alice", "secret").build().unwrap()
}

fn known(backend: &MemoryBackend, prepare: impl FnOnce(&mut Connection)) -> Client {
    let mut connection = secure_connection();
    connection.preauth = Some(Identity::new("alice"));
    prepare(&mut connection);
    Client::over(Arc::new(backend.clone()), Config::default(), connection)
}

/// Makes opening an account wait for the signal.
fn gate(backend: &MemoryBackend) -> Arc<Signal> {
    let signal = Arc::new(Signal::new(0));
    let gate = Arc::clone(&signal);
    backend.hook(move |made| match made {
        Call::OpenAccount => Outcome::proceed().wait_beyond(Arc::clone(&gate), 0),
        _ => Outcome::proceed(),
    });
    signal
}

fn unavailable(client: &mut Client) {
    client.conversation.handle_control(Control::Unavailable { text: "Down".into() }, client.now);
}

#[test]
fn nothing_is_said_and_nothing_is_heard_before_the_account_is_open() {
    let backend = backend();
    let signal = gate(&backend);
    let mut client = known(&backend, |_| {});
    assert_eq!(client.send(b"a NOOP\r\n"), b"");
    client.conversation.handle_control(Control::Alert("Tea".into()), client.now);
    assert_eq!(client.drive(), b"");
    signal.raise();
    let said = String::from_utf8(client.drive()).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("* PREAUTH [CAPABILITY "), "{said}");
    assert_eq!(lines[1..], ["* OK [ALERT] Tea", "a OK NOOP completed"]);
}

#[test]
fn an_account_that_is_being_opened_is_not_waited_for_when_the_service_closes() {
    let backend = backend();
    let _closed = gate(&backend);
    let mut client = known(&backend, |_| {});
    assert_eq!(client.drive(), b"");
    client.conversation.handle_control(Control::Alert("Tea".into()), client.now);
    unavailable(&mut client);
    assert_eq!(client.drive(), b"* BYE [ALERT] Down\r\n", "it takes the place of the greeting");
    assert_eq!(client.next, Some(Next::Close));
}

#[test]
fn the_time_to_log_in_holds_for_it_too() {
    let backend = backend();
    let _closed = gate(&backend);
    let mut client = known(&backend, |_| {});
    assert_eq!(client.drive(), b"");
    assert_eq!(client.wait(Duration::from_secs(60)), b"* BYE Session timed out\r\n");
    assert!(client.closed());
}

#[test]
fn a_store_that_is_down_is_no_reason_to_ask_for_a_password() {
    for (error, said) in [
        (Error::unavailable("/secret/path"), "* BYE [UNAVAILABLE] The mail store is not available now\r\n"),
        (Error::corrupt("index"), "* BYE [CORRUPTION] The stored data is damaged\r\n"),
        (Error::Limit("too many sessions".into()), "* BYE [LIMIT] Limit reached: too many sessions\r\n"),
    ] {
        let backend = backend();
        fail(&backend, error);
        let mut client = known(&backend, |_| {});
        assert_eq!(String::from_utf8(client.drive()).unwrap(), said);
        assert!(client.closed());
        assert!(client.conversation.read_buf().is_none());
    }
}

#[test]
fn a_user_who_may_not_come_in_may_log_in_as_another() {
    for error in
        [Error::AuthenticationFailed, Error::NoPermission, Error::ContactAdmin("locked".into()), Error::Expired]
    {
        let backend = backend();
        fail(&backend, error);
        let mut client = known(&backend, |_| {});
        let said = client.drive();
        assert!(said.starts_with(b"* OK [CAPABILITY "), "{}", said.escape_ascii());
        assert!(said.ends_with(b"] Pillarbox ready\r\n"), "nothing more is said");
        backend.unhook();
        assert!(client.send(b"a LOGIN alice secret\r\n").starts_with(b"a OK"));
    }
}

#[test]
fn where_only_known_clients_are_wanted_whatever_fails_is_silent() {
    for error in [Error::AuthenticationFailed, Error::unavailable("x")] {
        let backend = backend();
        fail(&backend, error);
        let mut client = known(&backend, |connection| connection.preauth_only = true);
        assert_eq!(client.drive(), b"");
        assert_eq!(client.next, Some(Next::Close));
    }
    let mut client = known(&backend(), |connection| (connection.preauth, connection.preauth_only) = (None, true));
    assert_eq!(client.drive(), b"");
    assert_eq!(client.next, Some(Next::Close));
    // Unless the service is closed, which everybody is told.
    let mut client = known(&backend(), |connection| {
        (connection.preauth_only, connection.closed) = (true, Some("Down".into()));
    });
    assert_eq!(client.drive(), b"* BYE [ALERT] Down\r\n");
}

/// Opening an account fails once.
fn fail(backend: &MemoryBackend, error: Error) {
    let error = Mutex::new(Some(error));
    backend.hook(move |made| match made {
        Call::OpenAccount => error.lock().unwrap().take().map_or_else(Outcome::proceed, Outcome::fail),
        _ => Outcome::proceed(),
    });
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn identified(&self, fields: &[(&str, Option<&str>)]) {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", value.unwrap_or("NIL"))).collect();
        self.0.lock().unwrap().push(fields.join(" "));
    }
}

fn observed() -> (Client, Arc<Told>) {
    let told = Arc::new(Told::default());
    let mut connection = secure_connection();
    connection.observer = Some(Arc::clone(&told) as Arc<_>);
    let mut client = Client::over(Arc::new(backend()), Config::default(), connection);
    client.drive();
    (client, told)
}

#[test]
fn what_a_client_says_of_itself_is_told_once_in_each_state() {
    let (mut client, told) = observed();
    client.send(b"a ID NIL\r\nb ID ()\r\nc ID (\"name\" \"sodr\" \"version\" NIL)\r\nd ID (\"name\" \"other\")\r\n");
    client.send(b"e LOGIN alice secret\r\nf ID (\"os\" {3+}\r\na\r\n)\r\ng ID (\"name\" \"again\")\r\n");
    assert_eq!(*told.0.lock().unwrap(), ["name=sodr version=NIL", "os=a\\u{d}\\u{a}"]);
}

#[test]
fn what_a_client_says_of_itself_is_bounded() {
    let (mut client, told) = observed();
    let mut command = b"a ID (".to_vec();
    for number in 0..40 {
        command.extend_from_slice(format!("{}\"{number:0>40}\" \"v\"", if number == 0 { "" } else { " " }).as_bytes());
    }
    command.extend_from_slice(b")\r\n");
    assert!(client.send(&command).ends_with(b"a OK ID completed\r\n"), "it changes nothing for the client");
    let long = format!("b LOGIN alice secret\r\nc ID (\"name\" \"{}\" \"version\" \"\x07\")\r\n", "x".repeat(3000));
    client.send(long.as_bytes());
    let told = told.0.lock().unwrap();
    assert_eq!(told[0].split(' ').count(), 30);
    assert!(told[0].split(' ').all(|field| field.len() == 32), "{told:?}");
    assert_eq!(told[1], format!("name={} version=\\u{{7}}", "x".repeat(1024)));
}

#[test]
fn both_ways_to_say_who_is_known_are_one() {
    let now = Instant::now();
    let said = |mut conversation: ImapConversation| {
        let polled = conversation.poll_next(&mut Context::from_waker(Waker::noop()), now);
        (polled, conversation.output().take())
    };
    let (config, backend) = (Arc::new(Config::default()), Arc::new(backend()));
    let identity = Identity::new("alice");
    let preauth = ImapConversation::preauth(
        Arc::clone(&config),
        env(),
        Arc::clone(&backend) as Arc<_>,
        secure_connection(),
        identity.clone(),
        now,
    );
    let mut connection = secure_connection();
    connection.preauth = Some(identity);
    assert_eq!(said(preauth), said(ImapConversation::new(config, env(), backend, connection, now)));
}
