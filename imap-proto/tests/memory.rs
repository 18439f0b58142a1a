//! What one session may cost, whatever its client sends: counted by the allocator.
//!
//! Nothing is allocated from an announced size, messages stream in both directions, and a client that never reads is
//! not read from either.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pillarbox_imap_proto::{Config, ImapConversation};
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::conversation::{Conversation, Next};
use support::client::{env, secure_connection};
use support::many::{MESSAGES, Many};
use support::stream::Stream;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts what this thread holds; each test has a thread of its own.
struct Counting;

impl Counting {
    fn note(change: isize) {
        // A thread that is ending has no counters any more.
        let _ = HELD.try_with(|held| {
            held.set(held.get() + change);
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
        });
    }
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::note(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old block stands until the new one does.
        Self::note(size as isize);
        let pointer = unsafe { System.realloc(pointer, layout, size) };
        Self::note(-(layout.size() as isize));
        pointer
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KIB: usize = 1024;
const BOUND: usize = 256 * KIB;
const MESSAGE: u64 = 50 << 20;
/// What one read of a socket gives at most, and what one write takes.
const READ: usize = 16 * KIB;

/// A client whose octets are not kept.
struct Probe {
    conversation: ImapConversation,
    now: Instant,
    base: isize,
    /// Whether the client reads what it is sent.
    reads: bool,
    /// Octets that it has been sent.
    received: u64,
    /// The line that it was sent last, as far as it is kept.
    last: Vec<u8>,
    /// That line is complete.
    ended: bool,
    /// Tagged responses that it has seen.
    tagged: u64,
    next: Option<Next>,
}

impl Probe {
    fn new(backend: impl Backend + 'static) -> Self {
        Self::with(backend, Config::default())
    }

    fn with(backend: impl Backend + 'static, config: Config) -> Self {
        let now = Instant::now();
        let base = HELD.get();
        PEAK.set(base);
        let conversation = ImapConversation::new(Arc::new(config), env(), Arc::new(backend), secure_connection(), now);
        let (last, next) = (Vec::with_capacity(2 * KIB), None);
        let mut this = Self { conversation, now, base, reads: true, received: 0, last, ended: false, tagged: 0, next };
        this.work();
        this
    }

    fn logged_in(backend: impl Backend + 'static) -> Self {
        let mut this = Self::new(backend);
        this.say(b"a LOGIN alice secret\r\nb SELECT INBOX\r\n");
        assert!(this.last.starts_with(b"b OK"), "{}", this.last.escape_ascii());
        this
    }

    /// Works until the conversation waits for more input, for room or for ever.
    fn work(&mut self) {
        loop {
            let polled = self.conversation.poll_next(&mut Context::from_waker(Waker::noop()), self.now);
            if let Poll::Ready(next) = polled {
                self.next = Some(next);
            }
            if !self.reads || self.conversation.output().is_empty() {
                return;
            }
            while !self.conversation.output().is_empty() {
                let output = self.conversation.output();
                let piece = output.first();
                let piece = &piece[..piece.len().min(READ)];
                let length = piece.len();
                self.received += length as u64;
                let mut rest = piece;
                while !rest.is_empty() {
                    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                    let (line, later) = rest.split_at(end);
                    rest = later;
                    if self.ended {
                        self.last.clear();
                    }
                    self.ended = line.ends_with(b"\n");
                    let room = (2 * KIB).saturating_sub(self.last.len());
                    self.last.extend_from_slice(&line[..line.len().min(room)]);
                    if self.last.ends_with(b" OK FETCH completed\r\n") || self.last.ends_with(b" OK NOOP completed\r\n")
                    {
                        self.tagged += 1;
                    }
                }
                output.advance(length);
            }
            if self.next.is_some() {
                return;
            }
        }
    }

    /// Sends as much as is taken; returns how much that was.
    fn say(&mut self, octets: &[u8]) -> usize {
        let mut sent = 0;
        // Fairness ends a poll now and then: what stands still twice has come to rest.
        let mut rests = 0;
        while sent < octets.len() && rests < 3 {
            if let Some(buffer) = self.conversation.read_buf() {
                let length = READ.min(octets.len() - sent);
                buffer.extend_from_slice(&octets[sent..sent + length]);
                self.conversation.handle_read(self.now);
                sent += length;
                rests = 0;
            } else {
                rests += 1;
            }
            self.work();
        }
        for _ in 0..10_000 {
            let before = (self.received, self.conversation.output().len());
            self.work();
            if (self.received, self.conversation.output().len()) == before {
                break;
            }
        }
        sent
    }

    fn growth(&self) -> usize {
        (PEAK.get() - self.base).try_into().unwrap()
    }

    #[track_caller]
    fn assert_small(&self) {
        assert!(self.growth() <= BOUND, "the heap has grown by {} KiB", self.growth() / KIB);
    }
}

#[test]
fn a_large_message_streams_in() {
    for announced in ["{52428800+}", "{52428800}", "~{52428800+}"] {
        let store = Stream::new(MESSAGE);
        let mut probe = Probe::logged_in(store.clone());
        probe.say(format!("c APPEND INBOX {announced}\r\n").as_bytes());
        let piece = [b'x'; READ];
        for _ in 0..MESSAGE / READ as u64 {
            assert_eq!(probe.say(&piece), READ);
        }
        probe.say(b"\r\n");
        assert!(probe.last.starts_with(b"c OK [APPENDUID"), "{}", probe.last.escape_ascii());
        assert_eq!(store.appended(), MESSAGE);
        probe.assert_small();
    }
}

#[test]
fn a_large_message_streams_out() {
    let decoded = "BINARY.PEEK[1]<0.50000000>";
    for item in ["BODY[]", "BODY.PEEK[TEXT]", "RFC822", decoded, "BODY.PEEK[]<1000.40000000>"] {
        let mut probe = Probe::logged_in(Stream::new(MESSAGE));
        let before = probe.received;
        probe.say(format!("c FETCH 1 {item}\r\n").as_bytes());
        assert!(probe.last.starts_with(b"c OK"), "{item}: {}", probe.last.escape_ascii());
        let least = if item.contains('<') { 35_000_000 } else { MESSAGE - 100 };
        assert!(probe.received - before >= least, "{item}");
        probe.assert_small();
    }
}

#[test]
fn a_client_that_never_reads_is_not_read_from() {
    let mut pipeline = Vec::new();
    for number in 0..20_000 {
        pipeline.extend_from_slice(format!("c{number} FETCH 1 BODY[]\r\n").as_bytes());
    }
    let mut probe = Probe::logged_in(Stream::new(MESSAGE));
    let held = HELD.get();
    PEAK.set(held);
    probe.reads = false;
    let sent = probe.say(&pipeline);
    assert!(sent < pipeline.len(), "all of it was taken");
    assert!(probe.conversation.read_buf().is_none());
    let growth = PEAK.get() - held;
    assert!(growth <= BOUND as isize, "the heap has grown by {} KiB", growth / KIB as isize);
    // Gone, it leaves nothing behind.
    probe.conversation.handle_gone();
    probe.work();
    assert_eq!(probe.next, Some(Next::Close));
    drop(probe);
    assert!(HELD.get() <= held);
}

#[test]
fn pipelined_fetches_of_a_large_message_are_all_answered() {
    // Small parts of it, so that the test ends.
    let mut probe = Probe::logged_in(Stream::new(MESSAGE));
    let held = HELD.get();
    let mut pipeline = Vec::new();
    for number in 0..20_000 {
        pipeline.extend_from_slice(format!("c{number} FETCH 1 BODY.PEEK[]<{}.100>\r\n", number * 7).as_bytes());
    }
    let own = HELD.get() - held;
    PEAK.set(HELD.get());
    assert_eq!(probe.say(&pipeline), pipeline.len());
    assert_eq!(probe.tagged, 20_000);
    let growth = PEAK.get() - held - own;
    assert!(growth <= BOUND as isize, "the heap has grown by {} KiB", growth / KIB as isize);
}

#[test]
fn ten_thousand_pipelined_commands_wait_outside() {
    for logged_in in [false, true] {
        for reads in [true, false] {
            // Who does not read gets so far before it has to wait.
            let pipeline = b"n NOOP\r\n".repeat(if reads { 10_000 } else { 100_000 });
            let backend = Stream::new(100);
            let mut probe = if logged_in { Probe::logged_in(backend) } else { Probe::new(backend) };
            probe.reads = reads;
            let sent = probe.say(&pipeline);
            if reads {
                assert_eq!((sent, probe.tagged), (pipeline.len(), 10_000), "logged in: {logged_in}");
            } else {
                assert!(sent < pipeline.len());
            }
            probe.assert_small();
        }
    }
}

#[test]
fn four_gibibytes_are_only_announced() {
    let commands: [&[u8]; 8] = [
        b"c LOGIN {4294967296}\r\n",
        b"c LOGIN {4294967296+}\r\n",
        b"c SELECT {4294967295}\r\n",
        b"c SELECT {4294967295+}\r\n",
        b"c APPEND INBOX {4294967296}\r\n",
        b"c APPEND INBOX {4294967296+}\r\n",
        b"c SEARCH SUBJECT {4294967296+}\r\n",
        b"c APPEND INBOX ~{9223372036854775807+}\r\n",
    ];
    let piece = [b'x'; READ];
    for command in commands {
        for logged_in in [false, true] {
            for limited in [true, false] {
                let mut config = Config::default();
                if !limited {
                    config.append_limit = None;
                }
                let mut probe = Probe::with(Stream::new(100), config);
                if logged_in {
                    probe.say(b"a LOGIN alice secret\r\nb SELECT INBOX\r\n");
                }
                probe.say(command);
                for _ in 0..200 {
                    probe.say(&piece);
                }
                probe.assert_small();
            }
        }
    }
}

#[test]
fn a_search_nested_ten_thousand_deep_is_refused() {
    let searches = [
        format!("c SEARCH {}ALL{}\r\n", "(".repeat(10_000), ")".repeat(10_000)),
        format!("c SEARCH {}ALL\r\n", "NOT ".repeat(10_000)),
        format!("c SEARCH {}ALL\r\n", "OR ALL ".repeat(9_000)),
        format!("c UID SEARCH {}ALL\r\n", "(NOT ".repeat(10_000)),
    ];
    for search in &searches {
        for logged_in in [false, true] {
            let backend = Stream::new(100);
            let mut probe = if logged_in { Probe::logged_in(backend) } else { Probe::new(backend) };
            probe.say(search.as_bytes());
            assert!(probe.last.starts_with(b"c BAD"), "{}", probe.last.escape_ascii());
            probe.say(b"d NOOP\r\n");
            assert_eq!(probe.last, b"d OK NOOP completed\r\n");
            probe.assert_small();
        }
    }
}

#[test]
fn endless_lines_are_not_kept() {
    let piece = [b'x'; READ];
    for logged_in in [false, true] {
        for start in [&b"c LOGIN "[..], b"c SEARCH ", b"c AUTHENTICATE PLAIN\r\n", b"c IDLE\r\n", b""] {
            let backend = Stream::new(100);
            let mut probe = if logged_in { Probe::logged_in(backend) } else { Probe::new(backend) };
            probe.say(start);
            for _ in 0..1000 {
                probe.say(&piece);
            }
            probe.assert_small();
        }
    }
}

#[test]
fn a_message_that_breaks_off_ends_the_connection() {
    let mut probe = Probe::logged_in(Stream::broken(MESSAGE, 1 << 20));
    probe.say(b"c FETCH 1 BODY.PEEK[]\r\n");
    // The announced literal can't be kept, and no other octets may stand in for it.
    assert_eq!(probe.next, Some(Next::Abort));
    assert!(!probe.last.starts_with(b"c "));
    // Before anything was announced, it is an answer like any other.
    let mut probe = Probe::logged_in(Stream::broken(MESSAGE, 0));
    probe.say(b"c FETCH 1 ENVELOPE\r\n");
    assert!(probe.last.starts_with(b"c NO [CORRUPTION]"), "{}", probe.last.escape_ascii());
}

#[test]
fn an_idle_session_is_small() {
    let mut probe = Probe::logged_in(Stream::new(100));
    probe.say(b"c IDLE\r\n");
    // What the loop gives back while nothing happens.
    probe.conversation.output().release();
    *probe.conversation.read_buf().unwrap() = bytes::BytesMut::new();
    probe.last = Vec::new();
    let held = HELD.get() - probe.base;
    assert!(held <= 4 * KIB as isize, "{held} octets");
}

/// What a command on a mailbox of a million scattered messages adds to the heap, and how much it says.
fn cost(backend: &Many, command: &str) -> (usize, u64) {
    let mut probe = Probe::logged_in(backend.clone());
    let (held, before) = (HELD.get(), probe.received);
    PEAK.set(held);
    probe.say(format!("c {command}\r\n").as_bytes());
    // It lets others have their turn.
    for _ in 0..MESSAGES {
        if probe.last.starts_with(b"c ") && probe.ended {
            break;
        }
        probe.work();
    }
    assert!(probe.last.starts_with(b"c OK"), "{}", probe.last.escape_ascii());
    ((PEAK.get() - held).try_into().unwrap(), probe.received - before)
}

#[test]
fn a_million_hits_are_told_in_pieces() {
    let backend = Many::new();
    // The result as a set, of which some parts may stand twice while it is made.
    let sets = 3 * backend.uids().heap_size();
    for (command, least) in [
        ("SEARCH ALL", 6_000_000),
        ("UID SEARCH RETURN (ALL SAVE COUNT) ALL", 7_000_000),
        ("SEARCH RETURN (ALL) KEYWORD odd", 3_000_000),
    ] {
        let (growth, said) = cost(&backend, command);
        assert!(said >= least, "{command}: {said} octets");
        assert!(growth <= BOUND + sets, "{command}: the heap has grown by {} KiB", growth / KIB);
    }
}

#[test]
fn a_million_copies_are_told_in_pieces() {
    let backend = Many::new();
    let pairs = MESSAGES as usize * 8;
    let (growth, said) = cost(&backend, "UID COPY 1:* Work");
    assert!(said >= 14_000_000, "{said} octets");
    assert!(growth <= BOUND + pairs, "the heap has grown by {} KiB", growth / KIB);
}

#[test]
fn a_million_removals_are_told_in_pieces() {
    let backend = Many::new();
    let sets = 2 * backend.uids().heap_size();
    let mut probe = Probe::logged_in(backend.clone());
    let (held, before) = (HELD.get(), probe.received);
    PEAK.set(held);
    backend.expunge_all();
    probe.say(b"c NOOP\r\n");
    assert_eq!(probe.last, b"c OK NOOP completed\r\n");
    assert!(probe.received - before >= 17_000_000, "{} octets", probe.received - before);
    let growth = PEAK.get() - held;
    assert!(growth <= (BOUND + sets) as isize, "the heap has grown by {} KiB", growth / KIB as isize);
}
