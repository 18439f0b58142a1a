//! An observer costs no allocation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panics")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pillarbox_imap_proto::Config;
use pillarbox_proto_core::memory::MemoryBackend;
use pillarbox_proto_core::observe::{CommandOutcome, Observer};
use support::client::{Client, secure_connection};

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

/// Allocations of a session's commands, with or without an observer.
fn allocations(observer: Option<Arc<dyn Observer>>) -> u64 {
    let store = MemoryBackend::builder().user("bob", "sesame").build().unwrap();
    let mut connection = secure_connection();
    connection.observer = observer;
    let mut client = Client::over(Arc::new(store), Config::default(), connection);
    client.send(b"a LOGIN bob sesame\r\n");
    let before = COUNT.with(Cell::get);
    for _ in 0..100 {
        client.send(b"a SELECT INBOX\r\nb NOOP\r\nc CLOSE\r\nd WHAT\r\n");
    }
    COUNT.with(Cell::get) - before
}

#[test]
fn an_observer_costs_no_allocation() {
    let count = Arc::new(Count::default());
    let without = allocations(None);
    assert_eq!(allocations(None), without, "the same each time");
    assert_eq!(allocations(Some(Arc::clone(&count) as Arc<_>)), without);
    assert!(count.0.load(Ordering::Relaxed) > COMMANDS);
}
