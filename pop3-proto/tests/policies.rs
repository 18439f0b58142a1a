//! What the dialogues can't show of the policies of maildrops: sessions that act at once, and what the log says.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use pillarbox_pop3_proto::Config;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::conversation::Conversation;
use pillarbox_proto_core::env::VirtualEnv;
use pillarbox_proto_core::memory::{Builder, MemoryBackend, Outcome};
use support::Client;

const LOGIN: &str = "USER tim\r\nPASS tanstaaf\r\n";
const TOO_SOON: &str = "-ERR [LOGIN-DELAY] Attempt to log in within the minimum login delay interval\r\n";

fn memory(clock: &Arc<VirtualEnv>, describe: impl FnOnce(Builder) -> Builder) -> MemoryBackend {
    describe(MemoryBackend::builder().env(Arc::clone(clock) as Arc<_>).user("tim", "tanstaaf")).build().unwrap()
}

fn connect(store: &MemoryBackend, clock: &Arc<VirtualEnv>) -> Client {
    let mut config = Config::default();
    config.allow_plaintext = true;
    let connection = Connection::new(SessionId::new(1));
    let mut client = Client::connect_at(Arc::new(store.clone()), config, connection, Arc::clone(clock) as Arc<_>);
    client.settle();
    client.received.clear();
    client
}

/// Lets clients go on step by step in turns, one so many steps ahead, until nothing moves; returns their last lines.
fn race(clients: &mut [Client], ahead: usize) -> Vec<String> {
    for client in clients.iter_mut() {
        client.conversation.read_buf().unwrap().extend_from_slice(LOGIN.as_bytes());
        client.conversation.handle_read(client.now);
    }
    for _ in 0..ahead {
        clients[0].poll();
    }
    loop {
        let moved: Vec<bool> = clients.iter_mut().map(Client::poll).collect();
        if !moved.contains(&true) {
            break;
        }
    }
    let last = |client: &mut Client| {
        client.settle();
        client.heard().split_inclusive("\r\n").last().unwrap_or_default().to_owned()
    };
    clients.iter_mut().map(last).collect()
}

#[test]
fn of_logins_at_once_one_is_admitted() {
    for ahead in 0..30 {
        let clock = support::clock();
        let store = memory(&clock, |builder| builder.login_delay(60));
        store.hook(|_| Outcome::proceed().pending(2));
        let mut clients: Vec<_> = (0..3).map(|_| connect(&store, &clock)).collect();
        let mut said = race(&mut clients, ahead);
        said.sort();
        assert_eq!(said, ["+OK Maildrop has 0 messages (0 octets)\r\n", TOO_SOON, TOO_SOON], "{ahead} steps ahead");
        assert_eq!(store.last_login("tim").unwrap(), Some(support::THEN.as_secs() as i64));
    }
}

#[test]
fn of_logins_at_once_one_gets_the_maildrop_and_each_bulletin_comes_once() {
    for ahead in 0..40 {
        let clock = support::clock();
        let bulletin = |number: usize| format!("Subject: bulletin {number}\r\n\r\nHear, hear.\r\n");
        let store =
            memory(&clock, |builder| (1..=3).fold(builder, |builder, number| builder.bulletin(bulletin(number))));
        store.hook(|_| Outcome::proceed().pending(2));
        let mut clients: Vec<_> = (0..2).map(|_| connect(&store, &clock)).collect();
        let said = race(&mut clients, ahead);
        assert_eq!(said.iter().filter(|said| said.starts_with("+OK Maildrop has 3")).count(), 1, "{said:?}");
        assert_eq!(said.iter().filter(|said| said.starts_with("-ERR [IN-USE]")).count(), 1, "{said:?}");
        let messages = store.messages("tim", "INBOX").unwrap();
        let contents: Vec<_> = messages.iter().map(|message| message.content.clone()).collect();
        assert_eq!(contents, [bulletin(1), bulletin(2), bulletin(3)], "{ahead} steps ahead");
        assert_eq!(store.bulletins_had("tim").unwrap(), 3);
    }
}

#[test]
fn a_client_that_is_lost_in_its_login_gets_each_bulletin_once() {
    for polls in 0..60 {
        let clock = support::clock();
        let store = memory(&clock, |builder| builder.bulletin("Subject: a\r\n\r\n").bulletin("Subject: b\r\n\r\n"));
        store.hook(|_| Outcome::proceed().pending(2));
        let mut client = connect(&store, &clock);
        client.conversation.read_buf().unwrap().extend_from_slice(LOGIN.as_bytes());
        client.conversation.handle_read(client.now);
        for _ in 0..polls {
            client.poll();
        }
        drop(client);
        let heard = connect(&store, &clock).say(LOGIN);
        assert!(heard.ends_with("+OK Maildrop has 2 messages (28 octets)\r\n"), "lost after {polls} polls: {heard}");
    }
}

#[test]
fn a_login_that_is_lost_holds_up_no_longer_than_the_delay() {
    for polls in 0..60 {
        let clock = support::clock();
        let store = memory(&clock, |builder| builder.login_delay(60));
        store.hook(|_| Outcome::proceed().pending(2));
        let mut client = connect(&store, &clock);
        client.conversation.read_buf().unwrap().extend_from_slice(LOGIN.as_bytes());
        client.conversation.handle_read(client.now);
        for _ in 0..polls {
            client.poll();
        }
        drop(client);
        clock.advance(Duration::from_secs(60));
        let heard = connect(&store, &clock).say(LOGIN);
        assert!(heard.contains("+OK Maildrop"), "lost after {polls} polls: {heard}");
    }
}

#[test]
fn what_a_quit_has_begun_is_carried_out_when_the_client_is_gone() {
    let clock = support::clock();
    let store =
        memory(&clock, |builder| builder.login_delay(60).expiry(pillarbox_proto_core::backend::Expiry::after(5)));
    store.deliver("tim", "INBOX", "Subject: one\r\n\r\n").unwrap();
    let mut client = connect(&store, &clock);
    client.say(LOGIN);
    client.say("RETR 1\r\n");
    clock.advance(Duration::from_secs(7));
    store.hook(|_| Outcome::proceed().pending(5));
    client.conversation.read_buf().unwrap().extend_from_slice(b"QUIT\r\n");
    client.conversation.handle_read(client.now);
    client.poll();
    client.conversation.handle_gone();
    while client.poll() {}
    let then = support::THEN.as_secs() as i64 + 7;
    assert_eq!(store.messages("tim", "INBOX").unwrap()[0].expire_stamp.as_deref(), Some(then.to_string().as_str()));
    assert_eq!(store.last_login("tim").unwrap(), Some(then));
}
