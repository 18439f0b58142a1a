//! What goes to the log: a program of its own, as an event that first comes up on a thread without a subscriber may be
//! left out of the others, too.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]
#![cfg(feature = "tracing")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use pillarbox_pop3_proto::Config;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::conversation::Next;
use pillarbox_proto_core::env::VirtualEnv;
use pillarbox_proto_core::memory::{Builder, Call, MemoryBackend, Outcome};
use support::Client;
use support::generated::Generated;

const LOGIN: &str = "USER tim\r\nPASS tanstaaf\r\n";

fn config() -> Config {
    let mut config = Config::default();
    config.allow_plaintext = true;
    config
}

fn memory(clock: &Arc<VirtualEnv>, describe: impl FnOnce(Builder) -> Builder) -> MemoryBackend {
    describe(MemoryBackend::builder().env(Arc::clone(clock) as Arc<_>).user("tim", "tanstaaf")).build().unwrap()
}

fn connect(store: &MemoryBackend, clock: &Arc<VirtualEnv>) -> Client {
    let connection = Connection::new(SessionId::new(1));
    let mut client = Client::connect_at(Arc::new(store.clone()), config(), connection, Arc::clone(clock) as Arc<_>);
    client.settle();
    client.received.clear();
    client
}

#[test]
fn the_cause_of_a_failure_is_for_the_log_and_not_for_the_client() {
    let log = support::log::Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    for (call, doing) in
        [(Call::Authenticate, "checking credentials"), (Call::Open, "opening a maildrop"), (Call::Fetch, "opening")]
    {
        let store = memory(&support::clock(), |builder| builder);
        let mut client = Client::connect(Arc::new(store.clone()), config());
        client.say("USER tim\r\nPASS wrong\r\n");
        assert_eq!(*log.0.lock().unwrap(), "", "a wrong password is no failure of the store");
        store.hook(move |made| match made {
            made if made == call => Outcome::fail(Error::unavailable("/var/mail: no such disk")),
            _ => Outcome::proceed(),
        });
        let heard = client.say(LOGIN);
        assert!(heard.ends_with("-ERR [SYS/TEMP] The mail store is not available now\r\n"), "{heard}");
        let said = std::mem::take(&mut *log.0.lock().unwrap());
        assert!(said.starts_with("WARN: ") && said.contains(doing), "{said}");
        assert!(said.contains("/var/mail: no such disk") && said.lines().count() == 1, "{said}");
        assert!(!said.contains("tanstaaf"));
    }
    // Where the client can't be told anything, the log is all there is.
    let mut broken = Generated::new(1, 200_000);
    broken.broken_at = Some(100_000);
    let mut client = Client::connect(Arc::new(broken), config());
    client.say(LOGIN);
    client.send(b"RETR 1\r\n");
    assert_eq!(client.asked, Some(Next::Abort));
    let said = log.0.lock().unwrap().clone();
    assert!(said.contains("reading a message") && said.contains("the disk has a hole"), "{said}");
}

#[test]
fn why_a_policy_can_not_be_kept_is_for_the_log() {
    let log = support::log::Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    for (call, commands, doing) in [
        (Call::LastLogin, "", "the login delay can't be kept"),
        (Call::ReplaceLastLogin, "", "the login delay can't be kept"),
        (Call::LastLogin, "CAPA\r\n", "the login delay is not announced"),
        (Call::ReplaceLastLogin, "QUIT\r\n", "the end of a session is not noted"),
        (Call::Bulletin, "", "bulletins are not delivered, or not all"),
    ] {
        let clock = support::clock();
        let store = memory(&clock, |builder| builder.login_delay(60));
        let mut client = connect(&store, &clock);
        clock.advance(Duration::from_secs(5));
        let failing = store.clone();
        let fail = move || {
            failing.hook(move |made| match made {
                made if made == call => Outcome::fail(Error::unavailable("/var/lib: no such disk")),
                _ => Outcome::proceed(),
            });
        };
        let heard = if commands.is_empty() {
            fail();
            client.say(LOGIN)
        } else {
            client.say(LOGIN);
            clock.advance(Duration::from_secs(5));
            fail();
            client.say(commands)
        };
        assert!(heard.contains("+OK") && !heard.contains("-ERR") && !heard.contains("disk"), "{heard}");
        let said = std::mem::take(&mut *log.0.lock().unwrap());
        assert!(said.starts_with("WARN: ") && said.contains(doing), "{said}");
        assert!(said.contains("/var/lib: no such disk") && said.lines().count() == 1, "{said}");
    }
    // A clock that was set back.
    let clock = support::clock();
    let store = memory(&clock, |builder| builder.login_delay(60));
    store.set_last_login("tim", Some(support::THEN.as_secs() as i64 + 500)).unwrap();
    assert!(connect(&store, &clock).say(LOGIN).contains("+OK Maildrop"));
    let said = std::mem::take(&mut *log.0.lock().unwrap());
    assert!(said.starts_with("WARN: ") && said.contains("in the future") && said.contains("seconds=500"), "{said}");
    // What was done is told, too.
    let clock = support::clock();
    let store = memory(&clock, |builder| builder.bulletin("Subject: a\r\n\r\n"));
    connect(&store, &clock).say(LOGIN);
    let said = std::mem::take(&mut *log.0.lock().unwrap());
    assert!(said.contains("bulletins delivered") && said.contains("user=\"tim\" count=1"), "{said}");
}
