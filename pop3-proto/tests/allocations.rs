//! How often a session asks for memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panics")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pillarbox_pop3_proto::Config;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::memory::MemoryBackend;
use pillarbox_proto_core::observe::{CommandOutcome, Observer};
use support::Client;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; only a number is kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Observer for Count {
    fn command(&self, _: &'static str, _: CommandOutcome, _: Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn state(&self, _: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// More than this are given.
const COMMANDS: u64 = 300;

fn logged_in(store: MemoryBackend, observer: Option<Arc<dyn Observer>>) -> Client {
    let mut config = Config::default();
    config.allow_plaintext = true;
    let mut connection = Connection::new(SessionId::new(1));
    connection.observer = observer;
    let mut client = Client::connect_as(Arc::new(store), config, connection);
    client.say("USER tim\r\nPASS tanstaaf\r\n");
    client
}

/// Allocations of a session's commands, with or without an observer.
fn allocations(observer: Option<Arc<dyn Observer>>) -> u64 {
    let store = MemoryBackend::builder().user("tim", "tanstaaf").build().unwrap();
    let mut client = logged_in(store, observer);
    let before = COUNT.get();
    for _ in 0..100 {
        client.say("STAT\r\nNOOP\r\nRETR 1\r\nLIST\r\n");
    }
    COUNT.get() - before
}

#[test]
fn an_observer_costs_no_allocation() {
    let count = Arc::new(Count::default());
    let without = allocations(None);
    assert_eq!(allocations(None), without, "the same each time");
    assert_eq!(allocations(Some(Arc::clone(&count) as Arc<_>)), without);
    assert!(count.0.load(Ordering::Relaxed) > COMMANDS);
}

#[test]
fn messages_that_are_asked_for_together_cost_less_than_one_each() {
    const MESSAGES: u64 = 256;
    let store = MemoryBackend::builder().user("tim", "tanstaaf").build().unwrap();
    for number in 0..MESSAGES {
        let message = format!("Subject: {number}\r\n\r\n{}\r\n", "x".repeat(8 << 10));
        store.deliver("tim", "INBOX", message.into_bytes()).unwrap();
    }
    let mut client = logged_in(store, None);
    let pipeline: String = (1..=MESSAGES).map(|number| format!("RETR {number}\r\n")).collect();
    let mut retrieve = || {
        let before = COUNT.get();
        assert!(client.say(&pipeline).len() as u64 > MESSAGES << 13);
        COUNT.get() - before
    };
    // In the first round the session has to find out that the client keeps up.
    retrieve();
    let count = retrieve();
    assert!(count < MESSAGES, "{count} allocations");
}
