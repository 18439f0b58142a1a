//! How often decoding allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use bytes::BytesMut;
use pillarbox_imap_proto::wire::command::{CommandBody, parse_command};
use pillarbox_imap_proto::wire::encode::uid_and_flags;
use pillarbox_imap_proto::wire::framer::{Frame, Framer};
use pillarbox_imap_proto::wire::limits::{FrameLimits, ParseLimits};
use pillarbox_proto_core::mail::{SystemFlags, Uid};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

fn decoding(command: &str) -> usize {
    allocations(|| {
        let parsed = black_box(parse_command(black_box(command.as_bytes()), ParseLimits::default()));
        assert!(parsed.is_ok(), "{command}");
    })
}

const FETCH: &str = "A4 UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (DATE FROM TO CC SUBJECT)])\r\n";

#[test]
fn daily_commands_decode_without_allocating() {
    for command in [
        "A1 NOOP\r\n",
        "A2 SELECT INBOX\r\n",
        "A3 SELECT \"Archive/2024\"\r\n",
        FETCH,
        "A5 UID STORE 1:5,7 +FLAGS.SILENT (\\Seen $Forwarded)\r\n",
        "A6 LOGIN {4}\r\nfred {6+}\r\nsecret\r\n",
        "A7 LIST (SUBSCRIBED) \"\" (% a/*) RETURN (CHILDREN STATUS (MESSAGES UNSEEN))\r\n",
        "A8 STATUS INBOX (MESSAGES UIDNEXT)\r\n",
        "A9 UID COPY 1:*,7 Trash\r\n",
        "B1 APPEND INBOX (\\Seen) \" 7-Feb-1994 21:52:25 -0800\" {310}\r\n",
        "B2 ID (\"name\" \"x\" \"version\" NIL)\r\n",
        "B3 AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q=\r\n",
        "B4 ENABLE IMAP4rev2 CONDSTORE\r\n",
    ] {
        assert_eq!(decoding(command), 0, "{command}");
    }
}

#[test]
fn a_search_allocates_once() {
    assert_eq!(decoding("A1 UID SEARCH UNSEEN FROM \"fred\" SINCE 1-Feb-1994 NOT DELETED\r\n"), 1);
}

#[test]
fn a_refused_command_allocates_nothing() {
    for command in ["A1 FOO\r\n", "A2 FETCH 1  (UID)\r\n", "A3 SELECT \"x\r\n"] {
        assert_eq!(allocations(|| drop(black_box(parse_command(command.as_bytes(), ParseLimits::default())))), 0);
    }
}

#[test]
fn reading_lists_allocates_nothing() {
    let parsed = parse_command(FETCH.as_bytes(), ParseLimits::default()).expect("a fetch");
    let CommandBody::Fetch(fetch) = parsed.body else { panic!("another command") };
    let count = allocations(|| {
        assert_eq!(fetch.items.iter().count(), 2);
        assert_eq!(fetch.set.ranges().count(), 1);
    });
    assert_eq!(count, 0);
}

#[test]
fn a_framed_command_is_one_copy() {
    let mut framer = Framer::new(FrameLimits::after_login());
    let mut input = BytesMut::with_capacity(4096);
    let commands = 20;
    for _ in 0..commands {
        input.extend_from_slice(FETCH.as_bytes());
    }
    let count = allocations(|| {
        for _ in 0..commands {
            let Frame::Command(command) = framer.next(&mut input) else { panic!("no command") };
            black_box(command.parse(ParseLimits::default()).expect("a fetch"));
        }
    });
    assert_eq!(count, commands);
}

#[test]
fn a_large_announcement_allocates_nothing() {
    let mut framer = Framer::new(FrameLimits::after_login());
    let mut input = BytesMut::from("a NOOP\r\n");
    assert!(matches!(framer.next(&mut input), Frame::Command(_)));
    input.extend_from_slice(b"a APPEND x {4294967296}\r\n");
    let count = allocations(|| assert!(matches!(framer.next(&mut input), Frame::Append(..))));
    // Neither for the head of the command, which is short, nor for the message.
    assert_eq!(count, 0);
}

#[test]
fn rows_are_encoded_in_place() {
    let mut out = BytesMut::with_capacity(100_000);
    let flags = SystemFlags::SEEN.into();
    let count = allocations(|| {
        for number in 1..1000 {
            uid_and_flags(&mut out, number, Uid::new(number).expect("not 0"), &flags, false);
        }
    });
    assert_eq!(count, 0);
}
