//! Clients that mean no good, stores with faults, and configurations that nobody tried.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pillarbox_pop3_proto::{Config, Internationalized};
use pillarbox_proto_core::auth::{Secret, apop_digest};
use pillarbox_proto_core::conversation::{Control, Conversation, Next};
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use support::Client;
use support::generated::{Calls, Generated};

const LOGIN: &str = "USER tim\r\nPASS tanstaaf\r\n";

fn config() -> Config {
    let mut config = Config::default();
    config.allow_plaintext = true;
    config
}

fn memory() -> MemoryBackend {
    MemoryBackend::builder().user("tim", "tanstaaf").build().unwrap()
}

fn generated(messages: u32, size: u64, change: impl FnOnce(&mut Generated)) -> (Client, Arc<Calls>) {
    let mut backend = Generated::new(messages, size);
    change(&mut backend);
    let calls = Arc::clone(&backend.calls);
    (Client::connect(Arc::new(backend), config()), calls)
}

fn kick() -> Control {
    Control::Kick { text: "Out".into() }
}

#[test]
fn octets_that_are_no_command_do_not_hold_a_maildrop() {
    let store = memory();
    let mut client = Client::connect(Arc::new(store.clone()), config());
    client.say(LOGIN);
    for _ in 0..20 {
        client.send(b"x");
        client.pass(59);
    }
    assert_eq!(client.heard(), "-ERR Session timed out\r\n");
    let mut next = Client::connect(Arc::new(store), config());
    assert!(next.say(LOGIN).contains("+OK Maildrop"));
    // A line without end is refused once, and is no command either.
    let flood = vec![b'x'; 1000];
    for _ in 0..20 {
        next.send(&flood);
        next.pass(59);
    }
    assert_eq!(next.heard(), "-ERR Argument too long\r\n-ERR Session timed out\r\n");
}

#[test]
fn a_large_maildrop_is_opened_with_turns_for_others() {
    let (mut client, calls) = generated(100_000, 100, |_| ());
    client.settle();
    client.conversation.read_buf().unwrap().extend_from_slice(LOGIN.as_bytes());
    client.conversation.handle_read(client.now);
    let mut polls = 0;
    while client.poll() {
        polls += 1;
        assert!(calls.rows.swap(0, Ordering::SeqCst) <= 4096, "rows in one poll");
    }
    assert!(polls >= 100_000 / 4096);
    assert!(client.conversation.output().take().ends_with(b"+OK Maildrop has 100000 messages (10000000 octets)\r\n"));
}

#[test]
fn a_long_run_of_deleted_messages_is_listed_with_turns_for_others() {
    let (mut client, _) = generated(300_000, 1, |_| ());
    client.say(LOGIN);
    for first in (1..300_000).step_by(1000) {
        let lines: String = (first..first + 1000).map(|number| format!("DELE {number}\r\n")).collect();
        assert_eq!(client.say(&lines).matches("+OK").count(), 1000);
    }
    client.conversation.read_buf().unwrap().extend_from_slice(b"LIST\r\n");
    client.conversation.handle_read(client.now);
    assert!(client.poll(), "it wakes itself before the end of the list");
    assert_eq!(client.conversation.output().take(), "+OK 0 messages (0 octets)\r\n");
    client.settle();
    assert_eq!(client.heard(), ".\r\n");
}

#[test]
fn a_long_run_of_fields_that_are_not_shown_leaves_turns_for_others() {
    let fields = "X: \u{e9}\r\n".repeat(600_000);
    let part = "--b\r\nSubject: x\r\n\r\ntext\r\n".repeat(140_000);
    for (how, message) in [
        (Internationalized::Downgrade, format!("{fields}\r\nbody\r\n")),
        (Internationalized::Refuse, format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{part}")),
    ] {
        let store = memory();
        store.deliver("tim", "INBOX", message.clone()).unwrap();
        let mut config = config();
        config.internationalized = how;
        let mut client = Client::connect(Arc::new(store), config);
        client.say(LOGIN);
        client.conversation.read_buf().unwrap().extend_from_slice(b"RETR 1\r\n");
        client.conversation.handle_read(client.now);
        let mut turns = 0;
        while client.poll() && client.conversation.output().is_empty() {
            turns += 1;
        }
        // 32 KiB are read at a time, eight times.
        assert_eq!(turns, message.len() / (256 << 10), "{how:?}");
        client.settle();
        assert!(client.heard().ends_with(".\r\n"));
    }
}

#[test]
fn no_order_of_commands_makes_the_backend_read_much_more_than_is_shown() {
    let (mut client, calls) = generated(200, 8 << 10, |_| ());
    client.say(LOGIN);
    calls.rows.store(0, Ordering::SeqCst);
    let pipeline: String = (2..=200).map(|number| format!("RETR 1\r\nRETR {number}\r\n")).collect();
    client.send(pipeline.as_bytes());
    assert_eq!(client.heard().matches("+OK 8192 octets in the message that follows\r\n").count(), 398);
    assert!(calls.rows.load(Ordering::SeqCst) <= 400, "{:?} rows", calls.rows);
}

#[test]
fn a_damaged_message_does_not_keep_others_in_the_pipeline_from_being_shown() {
    let (mut client, _) = generated(5, 20, |backend| (backend.damaged, backend.broken_at) = (Some(3), Some(0)));
    client.say(LOGIN);
    let heard = client.say("RETR 1\r\nRETR 2\r\nRETR 3\r\nRETR 4\r\n");
    let replies: Vec<&str> = heard.lines().filter(|line| line.starts_with("+OK") || line.starts_with("-ERR")).collect();
    assert_eq!(
        replies,
        [
            "+OK 20 octets in the message that follows",
            "+OK 20 octets in the message that follows",
            "-ERR [SYS/PERM] The stored data is damaged",
            "+OK 20 octets in the message that follows"
        ]
    );
}

#[test]
fn limits_that_do_not_fit_together_lock_nobody_up() {
    let mut config = config();
    config.limits.line = 40_000;
    config.limits.sasl_line = 10;
    config.limits.input_high_water = 0;
    config.limits.output_high_water = 0;
    config.limits.read_ahead = 0;
    config.limits.read_ahead_bytes = 0;
    config.limits.inline = 0;
    let mut client = Client::connect(Arc::new(Generated::new(2, 100)), config);
    let long = format!("USER tim\r\nPASS {}\r\nRETR 1\r\nLIST\r\nNOOP\r\n", "x".repeat(30_000));
    let heard = client.say(&long);
    assert!(heard.contains("+OK Maildrop has 2"), "{heard}");
    assert!(heard.ends_with("\r\n1 100\r\n2 100\r\n.\r\n+OK\r\n"), "{heard}");
}

#[test]
fn the_time_stamp_is_what_clients_find_in_the_greeting() {
    for (host, greeting) in [
        ("pop.example.org", "Hello <friend>"),
        ("b\u{fc}cher.example", "Gr\u{fc}\u{df}e > alle"),
        ("a b> +OK\r\n", &"long ".repeat(200)),
        (&"host".repeat(300), ""),
    ] {
        let mut config = config();
        (config.host_name, config.greeting) = (host.into(), greeting.into());
        let mut client = Client::connect(Arc::new(memory()), config);
        let greeting = client.say("");
        assert!(greeting.len() <= 512 && greeting.ends_with(">\r\n"), "{greeting}");
        let timestamp = &greeting[greeting.find('<').unwrap()..greeting.len() - 2];
        assert_eq!(greeting.matches(['<', '>', '\n']).count(), 3, "{greeting}");
        let digest = apop_digest(timestamp, &Secret::new("tanstaaf"));
        let heard = client.say(&format!("APOP tim {digest}\r\n"));
        assert!(heard.starts_with("+OK Maildrop"), "{greeting}{heard}");
    }
}

#[test]
fn a_kick_does_not_wait_for_reads() {
    // In the middle of a message no text can be said.
    let (mut client, _) = generated(1, 1 << 20, |_| ());
    client.say(LOGIN);
    client.conversation.read_buf().unwrap().extend_from_slice(b"RETR 1\r\n");
    client.conversation.handle_read(client.now);
    client.poll();
    client.conversation.handle_control(kick(), client.now);
    client.poll();
    assert_eq!(client.asked, Some(Next::Abort));

    // A store that never answers.
    let store = memory();
    let gate = Arc::new(pillarbox_proto_core::Signal::new(0));
    store.hook(move |call| match call {
        Call::Open => Outcome::proceed().wait_beyond(Arc::clone(&gate), 0),
        _ => Outcome::proceed(),
    });
    let mut client = Client::connect(Arc::new(store), config());
    client.say(LOGIN);
    client.conversation.handle_control(kick(), client.now);
    client.settle();
    assert_eq!(client.heard(), "-ERR [SYS/TEMP] Out\r\n");
    assert_eq!(client.asked, Some(Next::Close));
}

#[test]
fn a_kick_waits_for_a_change() {
    let (mut client, calls) = generated(3, 100, |_| ());
    client.say(LOGIN);
    client.say("DELE 2\r\n");
    client.conversation.read_buf().unwrap().extend_from_slice(b"QUIT\r\n");
    client.conversation.handle_read(client.now);
    client.poll();
    client.conversation.handle_control(kick(), client.now);
    while calls.finished.load(Ordering::SeqCst) == 0 {
        assert_eq!(client.asked, None);
        client.poll();
    }
    client.settle();
    assert_eq!(client.heard(), "+OK Bye\r\n", "the answer to the command stands");
    assert_eq!(client.asked, Some(Next::Close));
}

#[test]
fn who_has_said_good_bye_does_not_time_out() {
    let mut client = Client::connect(Arc::new(memory()), config());
    client.send(b"QUIT\r\n");
    assert_eq!(client.asked, Some(Next::Close));
    assert_eq!(client.conversation.deadline(), None, "what is left to be written is the socket owner's affair");
}
