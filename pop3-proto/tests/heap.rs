//! What a session costs, in octets of heap, by an allocator that counts.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pillarbox_pop3_proto::{Config, Internationalized};
use pillarbox_proto_core::conversation::{Conversation, Next};
use pillarbox_proto_core::memory::MemoryBackend;
use support::Client;
use support::generated::{Generated, octets};

struct Counting;

thread_local! {
    /// Each test counts its own thread, whatever the others do meanwhile.
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(size: isize) {
    // While a thread ends, nothing is counted any more.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + size);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: everything is left to the system's allocator; only numbers are kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How far the heap grows at most while this runs.
fn growth(run: impl FnOnce()) -> isize {
    let before = NOW.get();
    PEAK.set(before);
    run();
    PEAK.get() - before
}

const BOUND: isize = 256 << 10;
const LARGE: u64 = 50 << 20;

fn config() -> Config {
    let mut config = Config::default();
    config.allow_plaintext = true;
    config
}

fn logged_in(messages: u32, size: u64) -> Client {
    let mut client = Client::connect(Arc::new(Generated::new(messages, size)), config());
    let greeted = client.say("USER tim\r\nPASS x\r\n");
    assert!(greeted.contains("+OK Maildrop has"), "{greeted}");
    client.received = Vec::new();
    client
}

/// Takes output in the pieces of a socket, and counts it. Compares it with what it should be, if that is given.
fn drain(client: &mut Client, mut check: impl FnMut(&[u8])) -> u64 {
    let mut count = 0;
    loop {
        let again = client.poll();
        let output = client.conversation.output();
        let piece = output.first();
        let length = piece.len().min(16 << 10);
        check(&piece[..length]);
        output.advance(length);
        count += length as u64;
        if length == 0 && !again {
            return count;
        }
    }
}

fn feed(client: &mut Client, bytes: &[u8]) {
    client.conversation.read_buf().unwrap().extend_from_slice(bytes);
    client.conversation.handle_read(client.now);
}

#[test]
fn a_large_message_streams() {
    let mut client = logged_in(1, LARGE);
    let mut octets_out = 0;
    let grown = growth(|| {
        feed(&mut client, b"RETR 1\r\n");
        octets_out = drain(&mut client, |_| ());
    });
    // Every line of it begins with a dot, and gets another.
    assert_eq!(octets_out, "+OK 52428800 octets in the message that follows\r\n".len() as u64 + LARGE / 64 * 65 + 3);
    assert!(grown <= BOUND, "the heap grew by {grown}");
}

#[test]
fn a_large_message_comes_out_whole() {
    let size = (5 << 20) + 17;
    let mut client = logged_in(1, size);
    feed(&mut client, b"RETR 1\r\n");
    let mut expected = format!("+OK {size} octets in the message that follows\r\n").into_bytes();
    for line in octets(0, size as usize).split_inclusive(|byte| *byte == b'\n') {
        expected.push(b'.');
        expected.extend_from_slice(line);
    }
    expected.extend_from_slice(b"\r\n.\r\n");
    let mut at = 0;
    drain(&mut client, |piece| {
        assert_eq!(piece, &expected[at..at + piece.len()], "at {at}");
        at += piece.len();
    });
    assert_eq!(at, expected.len());
}

/// A maildrop with this one message, which the store holds itself: only what the session adds is counted.
fn holding(message: Vec<u8>, internationalized: Internationalized) -> Client {
    let store = MemoryBackend::builder().user("tim", "x").build().unwrap();
    store.deliver("tim", "INBOX", message).unwrap();
    let mut config = config();
    config.internationalized = internationalized;
    let mut client = Client::connect(Arc::new(store), config);
    let greeted = client.say("USER tim\r\nPASS x\r\n");
    assert!(greeted.contains("+OK Maildrop has 1 "), "{greeted}");
    client.received = Vec::new();
    client
}

#[test]
fn surrogates_stream() {
    let body = "body \u{e9}, one line of a large message that goes by\r\n".repeat(20_000);
    let part = "--b\r\nContent-Disposition: attachment; filename=\u{e9}\r\n\r\nx\r\n".repeat(5_000);
    let many = format!("To: {}a@example.org\r\n", "\u{e9},".repeat(5_000)).repeat(100);
    let long = format!("Subject: {}\r\n", "\u{e9} ".repeat(1 << 20));
    let words = format!("Subject: {}\r\n", "\u{e9} ".repeat(5_000)).repeat(100);
    let to_and_fro = format!("Subject: {}\r\n", "\u{e9} a ".repeat(3_000)).repeat(100);
    let encoded = format!("Subject: {}\r\n", "=?aaa?= \u{e9} ".repeat(1_400)).repeat(100);
    let names = format!("From: {} <a@example.org>\r\n", "=?aaa?= \u{e9} ".repeat(1_400)).repeat(100);
    for (what, message) in [
        ("a large body", format!("Subject: \u{e9}\r\n\r\n{body}")),
        ("many parts", format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{part}--b--\r\n{body}")),
        ("many addresses", format!("{many}\r\n{body}")),
        ("a long field", format!("{long}\r\n{body}")),
        ("many words", format!("{words}\r\n{body}")),
        ("words to and fro", format!("{to_and_fro}\r\n{body}")),
        ("words that are encoded", format!("{encoded}\r\n{body}")),
        ("names that are encoded", format!("{names}\r\n{body}")),
        // Small enough to come with its row.
        ("a small message", format!("To: {}a@example.org\r\n\r\n", "\u{e9},".repeat(5_000))),
    ] {
        // No UTF-8 any more, but octets of a character set that is not told.
        let mut unknown = message.clone().into_bytes();
        unknown.retain(|octet| *octet != 0xc3);
        let [downgrade, refuse] = [Internationalized::Downgrade, Internationalized::Refuse];
        for (how, message) in [(downgrade, unknown), (downgrade, message.clone().into()), (refuse, message.into())] {
            let mut client = holding(message, how);
            let mut count = 0;
            let grown = growth(|| {
                feed(&mut client, b"RETR 1\r\n");
                count = drain(&mut client, |_| ());
            });
            assert_eq!(how == Internationalized::Refuse, count < 100, "{what}: {count} octets");
            assert!(grown <= BOUND, "{what}, {how:?}: the heap grew by {grown}");
        }
    }
}

#[test]
fn messages_that_are_ascii_pass_without_a_copy() {
    let line = "One line of an ordinary message, of which there are many.\r\n";
    let message =
        format!("From: a@example.org\r\nSubject: x\r\nContent-Type: text/plain\r\n\r\n{}", line.repeat(20_000));
    let mut costs = Vec::new();
    for greeting in ["", "UTF8\r\n"] {
        let store = MemoryBackend::builder().user("tim", "x").build().unwrap();
        store.deliver("tim", "INBOX", message.clone()).unwrap();
        let mut client = Client::connect(Arc::new(store), config());
        client.say(&format!("{greeting}USER tim\r\nPASS x\r\n"));
        let expected = format!("+OK {} octets in the message that follows\r\n{message}.\r\n", message.len());
        let (mut at, mut same) = (0, true);
        costs.push(growth(|| {
            feed(&mut client, b"RETR 1\r\n");
            drain(&mut client, |piece| {
                same &= expected.as_bytes().get(at..at + piece.len()) == Some(piece);
                at += piece.len();
            });
        }));
        assert!(same && at == expected.len());
    }
    let [without, with] = costs[..] else { unreachable!() };
    // A copy of one piece would be 32 KiB; what runs the tests allocates a little itself now and then.
    assert!(without <= with + 16 * 1024, "{without} octets without UTF8, {with} with it");
}

#[test]
fn a_client_that_never_reads_costs_little() {
    let same = |command: &str| command.repeat(20_000);
    let each: String = (1..=20_000).map(|number| format!("RETR {number}\r\n")).collect();
    for (size, pipeline) in [
        (LARGE, same("RETR 1\r\n")),
        (8 << 10, same("RETR 1\r\n")),
        (8 << 10, each),
        (8 << 10, same("TOP 1 9\r\n")),
        (LARGE, same("LIST\r\n")),
    ] {
        let mut client = logged_in(20_000, size);
        let mut sent = 0;
        let grown = growth(|| {
            loop {
                while client.poll() {}
                let Some(buffer) = client.conversation.read_buf() else { break };
                if sent == pipeline.len() {
                    break;
                }
                let piece = &pipeline.as_bytes()[sent..pipeline.len().min(sent + 8192)];
                buffer.extend_from_slice(piece);
                sent += piece.len();
                client.conversation.handle_read(client.now);
            }
        });
        assert!(grown <= BOUND, "{:?} of {size}: the heap grew by {grown}", &pipeline[..20]);
        assert!(client.asked.is_none(), "a full pipeline is no reason to disconnect");
        assert!(sent < pipeline.len(), "input has stopped");
    }
}

#[test]
fn a_client_that_keeps_up_and_then_stops_costs_a_bounded_amount() {
    for (command, size, inline) in [
        ("RETR", 300, true),
        ("RETR", 8 << 10, true),
        ("RETR", 9 << 10, true),
        ("RETR", 32 << 10, true),
        // Little of each message is sent, and does not hold its rest.
        ("TOP", 32 << 10, true),
        ("TOP", 32 << 10, false),
        ("TOP", LARGE, true),
    ] {
        let lines = if command == "TOP" { " 0" } else { "" };
        let pipeline: String = (1..=20_000).map(|number| format!("{command} {number}{lines}\r\n")).collect();
        let mut backend = Generated::new(20_000, size);
        // A header that is long enough to be sent without a copy.
        (backend.inline, backend.blank) = (inline, (size > 4096).then_some(40));
        let mut client = Client::connect(Arc::new(backend), config());
        client.say("USER tim\r\nPASS x\r\n");
        client.received = Vec::new();
        let mut pieces = pipeline.as_bytes().chunks(1024);
        for piece in pieces.by_ref().take(6) {
            feed(&mut client, piece);
            assert!(drain(&mut client, |_| ()) > 0);
        }
        let grown = growth(|| {
            while client.conversation.read_buf().is_some() {
                feed(&mut client, pieces.next().unwrap());
                while client.poll() {}
            }
        });
        assert!(grown <= 2 << 20, "{command} of {size}, {inline}: the heap grew by {grown}");
    }
}

#[test]
fn ten_thousand_pipelined_commands() {
    let mut client = logged_in(3, 100);
    let pipeline = "NOOP\r\nSTAT\r\nDELE 1\r\nRSET\r\nLIST 2\r\n".repeat(2000);
    let answers =
        "+OK\r\n+OK 3 300\r\n+OK Message 1 marked\r\n+OK Maildrop has 3 messages (300 octets)\r\n+OK 2 100\r\n";
    let expected = answers.repeat(2000);
    let (mut sent, mut at) = (0, 0);
    let grown = growth(|| {
        while at < expected.len() {
            if let Some(buffer) = client.conversation.read_buf() {
                let piece = &pipeline.as_bytes()[sent..pipeline.len().min(sent + 8192)];
                buffer.extend_from_slice(piece);
                sent += piece.len();
                client.conversation.handle_read(client.now);
            }
            let got = drain(&mut client, |piece| {
                assert_eq!(piece, &expected.as_bytes()[at..at + piece.len()]);
                at += piece.len();
            });
            assert!(got > 0, "it goes on");
        }
    });
    assert!(grown <= BOUND, "the heap grew by {grown}");
    // The same before login, where none of it is allowed and the session ends.
    let mut client = Client::connect(Arc::new(Generated::new(1, 1)), config());
    let grown = growth(|| {
        client.settle();
        feed(&mut client, pipeline.as_bytes());
        drain(&mut client, |_| ());
    });
    assert_eq!(client.asked, Some(Next::Close));
    assert!(grown <= BOUND, "the heap grew by {grown}");
}

#[test]
fn lists_of_a_large_maildrop_stream() {
    let backend = Generated::new(100_000, 1234);
    let calls = Arc::clone(&backend.calls);
    let mut client = Client::connect(Arc::new(backend), config());
    assert!(client.say("USER tim\r\nPASS x\r\n").ends_with("+OK Maildrop has 100000 messages (123400000 octets)\r\n"));
    let counted = || [&calls.fetches, &calls.rows, &calls.opened].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counted(), [1, 100_000, 0], "the login reads a row for each message, and no message");
    for (command, line) in [
        ("STAT\r\n", "+OK 100000 123400000\r\n"),
        ("LIST 77777\r\n", "+OK 77777 1234\r\n"),
        ("UIDL 77777\r\n", "+OK 77777 message-77777\r\n"),
    ] {
        let mut answer = Vec::new();
        let grown = growth(|| {
            feed(&mut client, command.as_bytes());
            drain(&mut client, |piece| answer.extend_from_slice(piece));
        });
        assert_eq!(String::from_utf8_lossy(&answer), line);
        assert!(grown <= 4 << 10, "{command}: the heap grew by {grown}");
    }
    for (command, line) in [("LIST\r\n", "100000 1234\r\n"), ("UIDL\r\n", "100000 message-100000\r\n")] {
        let mut tail = Vec::new();
        let grown = growth(|| {
            feed(&mut client, command.as_bytes());
            drain(&mut client, |piece| {
                tail.extend_from_slice(piece);
                tail.drain(..tail.len().saturating_sub(100));
            });
        });
        assert!(tail.ends_with(format!("\r\n{line}.\r\n").as_bytes()));
        assert!(grown <= BOUND, "the heap grew by {grown}");
    }
    assert_eq!(counted(), [1, 100_000, 0], "the backend is not asked again");
}

#[test]
fn a_maildrop_and_an_idle_session_are_small() {
    let backend: Arc<Generated> = Arc::new(Generated::new(100_000, 1234));
    let before = NOW.get();
    let mut client = Client::connect(backend, config());
    client.say("USER tim\r\nPASS x\r\n");
    client.received = Vec::new();
    client.conversation.output().release();
    *client.conversation.read_buf().unwrap() = bytes::BytesMut::new();
    let held = NOW.get() - before;
    assert!(held <= 100_000 * 40, "100,000 messages take {held}");
    let before = NOW.get();
    let mut client = Client::connect(Arc::new(Generated::new(3, 1234)), config());
    client.say("USER tim\r\nPASS x\r\nRETR 1\r\nRETR 2\r\nNOOP\r\n");
    client.received = Vec::new();
    client.conversation.output().release();
    *client.conversation.read_buf().unwrap() = bytes::BytesMut::new();
    let held = NOW.get() - before;
    assert!(held <= 2 << 10, "an idle session takes {held}");
}

#[test]
fn a_line_without_end_is_not_kept() {
    for login in [false, true] {
        let mut client =
            if login { logged_in(1, 1) } else { Client::connect(Arc::new(Generated::new(1, 1)), config()) };
        client.settle();
        let piece = vec![b'x'; 8192];
        let grown = growth(|| {
            for _ in 0..5_000 {
                feed(&mut client, &piece);
                drain(&mut client, |_| ());
            }
        });
        assert!(grown <= BOUND, "the heap grew by {grown}");
    }
}
