//! What transcripts can't show: layers, hang-ups, time, and how often the backend is asked.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pillarbox_pop3_proto::Config;
use pillarbox_proto_core::Signal;
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::conversation::{Control, Conversation, Layer, Next};
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use support::Client;
use support::generated::{Calls, Generated};

fn config() -> Config {
    let mut config = Config::default();
    config.allow_plaintext = true;
    config
}

const LOGIN: &str = "USER tim\r\nPASS tanstaaf\r\n";

fn memory(messages: usize) -> MemoryBackend {
    let store = MemoryBackend::builder().user("tim", "tanstaaf").build().unwrap();
    for number in 1..=messages {
        store.deliver("tim", "INBOX", format!("Subject: {number}\r\n\r\n.{number}\r\n")).unwrap();
    }
    store
}

fn generated(messages: u32, size: u64, change: impl FnOnce(&mut Generated)) -> (Client, Arc<Calls>) {
    let mut backend = Generated::new(messages, size);
    change(&mut backend);
    let calls = Arc::clone(&backend.calls);
    let mut client = Client::connect(Arc::new(backend), config());
    client.say(LOGIN);
    calls.fetches.store(0, Ordering::SeqCst);
    (client, calls)
}

#[test]
fn what_is_sent_before_tls_is_dropped() {
    let mut config = config();
    config.tls_mode = TlsMode::OnDemand;
    let mut client = Client::connect(Arc::new(memory(1)), config);
    // In one packet with the command, and half a line of it.
    let heard = client.say("USER tim\r\nPASS wrong\r\nSTLS\r\nUSER tim\r\nPASS tanstaaf\r\nDELE 1\r\nQU");
    assert!(heard.ends_with("-ERR [AUTH] Bad login\r\n+OK Begin TLS negotiation\r\n"), "{heard}");
    assert_eq!(client.asked, Some(Next::Upgrade(Layer::Tls)));
    assert!(client.conversation.read_buf().is_none(), "no input until the layer stands");
    // Asked again, the conversation says the same, and does nothing else.
    client.settle();
    assert_eq!(client.asked, Some(Next::Upgrade(Layer::Tls)));
    client.secure();
    assert_eq!(client.heard(), "");
    let heard = client.say("IT\r\nSTAT\r\n");
    assert_eq!(heard, "-ERR Invalid command\r\n-ERR Incorrect state: log in first\r\n");
}

#[test]
fn the_number_of_failed_logins_outlives_tls() {
    let mut config = config();
    config.tls_mode = TlsMode::OnDemand;
    let mut client = Client::connect(Arc::new(memory(0)), config);
    client.say("USER tim\r\nPASS a\r\nUSER tim\r\nPASS b\r\nSTLS\r\n");
    client.secure();
    client.say("USER tim\r\nPASS c\r\n");
    assert_eq!(client.asked, Some(Next::Close));
}

#[test]
fn deletions_that_have_begun_are_finished_when_the_client_is_gone() {
    let (mut client, calls) = generated(3, 100, |_| ());
    client.say("DELE 1\r\nDELE 3\r\n");
    client.send(b"QUIT\r\n");
    assert_eq!(calls.finished.load(Ordering::SeqCst), 0, "the store is at work");
    client.conversation.handle_gone();
    for _ in 0..10 {
        client.poll();
    }
    assert_eq!(calls.finished.load(Ordering::SeqCst), 2);
    assert_eq!(client.asked, Some(Next::Abort));
}

#[test]
fn a_client_that_is_gone_before_quit_deletes_nothing() {
    let store = memory(2);
    let mut client = Client::connect(Arc::new(store.clone()), config());
    client.say(LOGIN);
    client.say("DELE 1\r\nRETR 2\r\n");
    client.conversation.handle_gone();
    client.settle();
    assert_eq!(client.asked, Some(Next::Abort));
    assert_eq!(store.messages("tim", "INBOX").unwrap().len(), 2);
    // The maildrop is free again, though the conversation has not been dropped.
    let mut next = Client::connect(Arc::new(store), config());
    assert!(next.say(LOGIN).ends_with("+OK Maildrop has 2 messages (36 octets)\r\n"));
}

#[test]
fn the_maildrop_is_free_when_quit_is_answered() {
    let store = memory(1);
    let mut client = Client::connect(Arc::new(store.clone()), config());
    assert!(client.say(&format!("{LOGIN}QUIT\r\n")).ends_with("+OK Bye\r\n"));
    let mut next = Client::connect(Arc::new(store), config());
    assert!(next.say(LOGIN).contains("+OK Maildrop has 1"));
}

#[test]
fn dropped_at_any_point_of_quit_all_or_nothing_is_deleted() {
    for polls in 0..12 {
        let store = memory(3);
        let mut client = Client::connect(Arc::new(store.clone()), config());
        client.say(LOGIN);
        client.say("DELE 1\r\nDELE 2\r\n");
        store.hook(|call| match call {
            Call::Expunge => Outcome::proceed().pending(4),
            _ => Outcome::proceed(),
        });
        client.conversation.read_buf().unwrap().extend_from_slice(b"QUIT\r\n");
        client.conversation.handle_read(client.now);
        for _ in 0..polls {
            client.poll();
        }
        let told = client.conversation.output().take();
        drop(client);
        let left = store.messages("tim", "INBOX").unwrap().len();
        assert!(left == 1 || left == 3, "{left} are left after {polls} polls");
        assert!(told.is_empty() || left == 1, "told only what is so");
    }
}

#[test]
fn a_read_error_after_the_message_has_begun_aborts() {
    let (mut client, _) = generated(1, 200_000, |backend| backend.broken_at = Some(100_000));
    client.send(b"RETR 1\r\nNOOP\r\n");
    assert_eq!(client.asked, Some(Next::Abort));
    assert!(!client.heard().contains("\r\n.\r\n"), "no end is pretended");
    let (mut client, _) = generated(1, 200_000, |backend| backend.broken_at = Some(0));
    assert_eq!(client.say("RETR 1\r\nNOOP\r\n"), "-ERR [SYS/PERM] The stored data is damaged\r\n+OK\r\n");
}

#[test]
fn the_backend_is_asked_once_for_a_small_message_and_once_for_many_that_are_pipelined() {
    let (mut client, calls) = generated(100, 8 << 10, |_| ());
    client.send(b"RETR 1\r\n");
    client.send(b"RETR 2\r\n");
    assert_eq!(calls.fetches.swap(0, Ordering::SeqCst), 2);
    let pipeline: String = (3..=34).map(|number| format!("RETR {number}\r\nDELE {number}\r\n")).collect();
    client.received.clear();
    client.send(pipeline.as_bytes());
    assert_eq!(calls.fetches.swap(0, Ordering::SeqCst), 2, "two times sixteen");
    assert_eq!(calls.opened.load(Ordering::SeqCst), 0);
    let heard = client.heard();
    assert_eq!(heard.matches("+OK 8192 octets in the message that follows\r\n..generated").count(), 32);
    assert_eq!(heard.matches("\r\n.\r\n+OK Message").count(), 32);
    // TOP in any order, and the same message again.
    client.say("TOP 60 1\r\nTOP 50 1\r\nTOP 50 2\r\nRETR 40\r\n");
    assert_eq!(calls.fetches.swap(0, Ordering::SeqCst), 2);
}

#[test]
fn a_backend_that_never_inlines_is_not_asked_again() {
    let (mut client, calls) = generated(3, 500, |backend| backend.inline = false);
    client.say("RETR 1\r\n");
    client.say("RETR 2\r\n");
    client.say("RETR 3\r\n");
    assert_eq!(calls.opened.load(Ordering::SeqCst), 3);
    assert_eq!(calls.fetches.load(Ordering::SeqCst), 1);
}

#[test]
fn a_client_that_takes_nothing_times_out_and_one_that_is_slow_does_not() {
    let (mut client, _) = generated(1, 50 << 20, |_| ());
    let take = |client: &mut Client, octets: usize| {
        client.poll();
        client.conversation.output().advance(octets);
        client.poll();
    };
    client.conversation.read_buf().unwrap().extend_from_slice(b"RETR 1\r\n");
    client.conversation.handle_read(client.now);
    for _ in 0..10 {
        take(&mut client, 1000);
        client.now += Duration::from_secs(500);
        client.conversation.handle_deadline(client.now);
    }
    take(&mut client, 1);
    assert_eq!(client.asked, None);
    client.now += Duration::from_secs(601);
    assert!(client.conversation.deadline().unwrap() <= client.now);
    client.conversation.handle_deadline(client.now);
    client.poll();
    assert_eq!(client.asked, Some(Next::Abort), "half a message can't be followed by a farewell");
    assert!(client.conversation.output().is_empty());
}

#[test]
fn a_slow_store_is_not_the_clients_fault() {
    let store = memory(1);
    let signal = Arc::new(Signal::new(0));
    let gate = Arc::clone(&signal);
    store.hook(move |call| match call {
        Call::Open => Outcome::proceed().wait_beyond(Arc::clone(&gate), 0),
        _ => Outcome::proceed(),
    });
    let mut client = Client::connect(Arc::new(store), config());
    client.say(LOGIN);
    client.pass(3600);
    assert_eq!(client.asked, None);
    signal.advance(1);
    client.settle();
    assert_eq!(client.heard(), "+OK Maildrop has 1 messages (18 octets)\r\n");
}

#[test]
fn being_woken_early_changes_nothing() {
    let (mut client, _) = generated(1, 10, |_| ());
    let deadline = client.conversation.deadline().unwrap();
    client.conversation.handle_deadline(deadline - Duration::from_millis(1));
    assert_eq!(client.say("NOOP\r\n"), "+OK\r\n");
}

#[test]
fn a_shutdown_waits_for_the_message_that_is_on_its_way() {
    let (mut client, _) = generated(1, 200_000, |_| ());
    client.conversation.read_buf().unwrap().extend_from_slice(b"RETR 1\r\nRETR 1\r\n");
    client.conversation.handle_read(client.now);
    client.poll();
    client.conversation.handle_control(Control::Shutdown { text: "Later".into() }, client.now);
    client.settle();
    let heard = client.heard();
    assert!(heard.ends_with("\r\n.\r\n-ERR [SYS/TEMP] Later\r\n"), "{}", &heard[heard.len() - 100..]);
    assert_eq!(heard.matches("+OK 200000").count(), 1);
    assert_eq!(client.asked, Some(Next::Close));
    assert!(client.conversation.read_buf().is_none());
}

#[test]
fn one_poll_does_a_bounded_amount_of_work() {
    let mut config = config();
    config.limits.input_high_water = 1 << 20;
    config.limits.output_high_water = 1 << 30;
    let mut client = Client::connect(Arc::new(Generated::new(1, 1)), config);
    client.say(LOGIN);
    client.conversation.read_buf().unwrap().extend_from_slice("NOOP\r\n".repeat(10_000).as_bytes());
    client.conversation.handle_read(client.now);
    assert!(client.poll(), "it wakes itself");
    let done = client.conversation.output().take().len() / "+OK\r\n".len();
    assert!((1..=128).contains(&done), "{done} commands at once");
    client.settle();
    assert_eq!(client.heard().len() / "+OK\r\n".len() + done, 10_000);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let mut client = Client::connect(Arc::new(memory(0)), config());
    client.say("USER tim\r\n");
    client.conversation.read_buf().unwrap().extend_from_slice(b"PASS tanstaaf\r\n");
    assert!(!format!("{:?}", client.conversation).contains("tanstaaf"));
}

#[test]
fn a_service_that_is_closed_hears_no_more_commands() {
    let store = memory(2);
    let mut client = Client::connect(Arc::new(store.clone()), config());
    client.say(LOGIN);
    let gate = Arc::new(Signal::new(0));
    let waits = Arc::clone(&gate);
    store.hook(move |_| Outcome::proceed().wait_beyond(Arc::clone(&waits), 0));
    client.send(b"DELE 1\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n");
    client.conversation.handle_control(Control::Unavailable { text: "Down".into() }, client.now);
    client.settle();
    assert_eq!(client.heard(), "+OK Message 1 marked\r\n", "the command that runs is waited for");
    gate.raise();
    client.settle();
    let said = "+OK 18 octets in the message that follows\r\nSubject: 2\r\n\r\n..2\r\n.\r\n-ERR [SYS/TEMP] Down\r\n";
    assert_eq!(client.heard(), said);
    assert_eq!(client.asked, Some(Next::Close));
    assert_eq!(store.messages("tim", "INBOX").unwrap().len(), 2);
}

#[test]
fn deletions_that_have_begun_are_finished_when_the_service_is_closed() {
    let store = memory(1);
    let mut client = Client::connect(Arc::new(store.clone()), config());
    client.say(LOGIN);
    let gate = Arc::new(Signal::new(0));
    let waits = Arc::clone(&gate);
    store.hook(move |_| Outcome::proceed().wait_beyond(Arc::clone(&waits), 0));
    client.send(b"DELE 1\r\nQUIT\r\n");
    client.conversation.handle_control(Control::Unavailable { text: "Down".into() }, client.now);
    gate.raise();
    client.settle();
    assert_eq!(client.heard(), "+OK Message 1 marked\r\n+OK Bye\r\n");
    assert_eq!(client.asked, Some(Next::Close));
    assert_eq!(store.messages("tim", "INBOX").unwrap().len(), 0);
}
