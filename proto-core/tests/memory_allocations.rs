//! A listing of flags allocates nothing for a row, and opening a mailbox copies nothing of it.
#![allow(clippy::unwrap_used, reason = "a test")]
#![cfg(feature = "memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use futures::executor::block_on;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::{Backend, Batch, FetchData, FetchRequest, OpenRequest};
use pillarbox_proto_core::mail::{Flags, Keyword, Keywords, MailboxName, SystemFlags, UidSet};
use pillarbox_proto_core::memory::{MemoryBackend, NewMessage};

struct Counting;

thread_local! {
    // Of each thread by itself, as the test harness has one too.
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static OCTETS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: both methods do what the system's allocator does, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // While a thread ends, nothing is counted any more.
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        let _ = OCTETS.try_with(|octets| octets.set(octets.get() + layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and octets of a call.
fn counted<T>(call: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = (CALLS.get(), OCTETS.get());
    let result = call();
    (result, CALLS.get() - before.0, OCTETS.get() - before.1)
}

#[test]
fn rows_are_shared_and_not_copied() {
    const MESSAGES: usize = 20_000;
    let store = MemoryBackend::builder().user("alice", "secret").build().unwrap();
    for n in 0..MESSAGES {
        let keywords: Keywords = if n % 3 == 0 { Keyword::new("$Work").into_iter().collect() } else { Keywords::NONE };
        let flags = Flags { system: SystemFlags::from_bits((n % 32) as u8), keywords };
        store.deliver("alice", "INBOX", NewMessage::new("Subject: x\r\n\r\n").flags(flags)).unwrap();
    }
    // With gaps, so that the UIDs are not just one range.
    let all = store.snapshot("alice", "INBOX").unwrap().uids;
    store.expunge("alice", "INBOX", all.iter().step_by(2).collect::<UidSet>()).unwrap();
    let account = block_on(Backend::open(&store, &Connection::default(), &Identity::new("alice"))).unwrap();
    let (opened, _, octets) = counted(|| block_on(account.open(OpenRequest::select(MailboxName::inbox()))).unwrap());
    assert!(octets < 4096, "opening took {octets} octets");
    let mut batch = Batch::new(256, 1 << 16);
    let mut list = || {
        let mut count = 0;
        let mut rows = block_on(opened.mailbox.fetch(FetchRequest::new(UidSet::full(), FetchData::FLAGS))).unwrap();
        loop {
            let more = block_on(rows.next(&mut batch)).unwrap();
            count += batch.drain().len();
            if !more {
                return count;
            }
        }
    };
    assert_eq!(list(), MESSAGES / 2);
    let (count, calls, _) = counted(list);
    assert!(calls <= count / 50, "{calls} allocations for {count} rows");
}
