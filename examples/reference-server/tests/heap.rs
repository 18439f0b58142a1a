//! What a session on a Maildir may cost, whatever the size of its messages and their number: counted by the allocator,
//! on all threads.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pillarbox_imap_proto::ImapConversation;
use pillarbox_pop3_proto::Pop3Service;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{Account, Authenticator, Backend, Result};
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::{Connection, Conversation};
use pillarbox_reference_server::store::{MaildirOptions, MaildirStore, MaildirStores};

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

fn count(size: isize) {
    let now = HELD.fetch_add(size, Ordering::Relaxed) + size;
    MOST.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KIB: isize = 1024;
const BOUND: isize = 256 * KIB;
const MESSAGE: usize = 50 << 20;
/// What one read of a socket gives at most.
const READ: usize = 16 * 1024;

/// What would be waited for is there long before.
const PATIENCE: Duration = Duration::from_secs(600);

/// Octets that are kept of what a client hears: more than a line has.
const TAIL: usize = 2048;

/// How far the heap has grown at most since then.
struct Growth(isize);

impl Growth {
    fn since_now() -> Self {
        let held = HELD.load(Ordering::Relaxed);
        MOST.store(held, Ordering::Relaxed);
        Self(held)
    }

    #[track_caller]
    fn assert_at_most(&self, bound: isize, what: &str) {
        let growth = MOST.load(Ordering::Relaxed) - self.0;
        assert!(growth <= bound, "{what}: the heap has grown by {} KiB", growth / KIB);
    }
}

/// One Maildir, with any password.
#[derive(Clone)]
struct Maildir(Arc<MaildirStore>);

impl Maildir {
    async fn open(root: &Path) -> Self {
        let stores = MaildirStores::new(MaildirOptions::default()).unwrap();
        Self(stores.open(root.to_owned()).await.unwrap())
    }
}

#[async_trait]
impl Authenticator for Maildir {
    async fn check_password(&self, _: &Connection, user: &str, _: &Secret) -> Result<Identity> {
        Ok(Identity::new(user))
    }
}

#[async_trait]
impl Backend for Maildir {
    async fn open(&self, _: &Connection, _: &Identity) -> Result<Arc<dyn Account>> {
        Ok(self.0.account())
    }
}

/// A client that keeps only the end of what it hears.
struct Client<C> {
    conversation: C,
    received: usize,
    end: Vec<u8>,
}

impl Client<ImapConversation> {
    async fn imap(backend: &Maildir) -> Self {
        let mut config = pillarbox_imap_proto::Config::default();
        config.allow_plaintext = true;
        let connection = Connection::new(SessionId::new(1));
        let (backend, now) = (Arc::new(backend.clone()), Instant::now());
        let conversation = ImapConversation::new(Arc::new(config), Arc::new(SystemEnv), backend, connection, now);
        let mut this = Self { conversation, received: 0, end: Vec::with_capacity(2 * TAIL) };
        this.ask("a LOGIN alice secret\r\n", "a OK").await;
        this.ask("b SELECT INBOX\r\n", "b OK").await;
        this
    }
}

impl<C: Conversation> Client<C> {
    /// Says something and waits for a line that begins so.
    async fn ask(&mut self, line: &str, answer: &str) {
        self.say(line.as_bytes()).await;
        self.hear(answer).await;
    }

    /// Says something, as fast as it is read.
    async fn say(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            poll_fn(|cx| {
                loop {
                    if let Some(buffer) = self.conversation.read_buf() {
                        let (now, later) = octets.split_at(octets.len().min(READ));
                        buffer.extend_from_slice(now);
                        octets = later;
                        self.conversation.handle_read(Instant::now());
                        return Poll::Ready(());
                    }
                    let _ = self.conversation.poll_next(cx, Instant::now());
                    if !self.take() && self.conversation.read_buf().is_none() {
                        return Poll::Pending;
                    }
                }
            })
            .await;
            // What came in is looked at before more comes.
            poll_fn(|cx| {
                let _ = self.conversation.poll_next(cx, Instant::now());
                self.take();
                Poll::Ready(())
            })
            .await;
        }
    }

    async fn hear(&mut self, answer: &str) {
        let answer = format!("\n{answer}");
        poll_fn(|cx| {
            loop {
                let _ = self.conversation.poll_next(cx, Instant::now());
                let took = self.take();
                let end = String::from_utf8_lossy(&self.end);
                if end.ends_with("\r\n") && (end.contains(&answer) || end.starts_with(&answer[1..])) {
                    self.end.clear();
                    return Poll::Ready(());
                }
                if !took {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    /// Takes all output; says whether there was any.
    fn take(&mut self) -> bool {
        let output = self.conversation.output();
        let any = !output.is_empty();
        while !output.is_empty() {
            let piece = output.first();
            let length = piece.len();
            let tail = &piece[length.saturating_sub(TAIL)..];
            let keep = self.end.len().min(TAIL - tail.len());
            self.end.drain(..self.end.len() - keep);
            self.end.extend_from_slice(tail);
            self.received += length;
            output.advance(length);
        }
        any
    }
}

fn maildir(home: &Path) -> PathBuf {
    for place in ["cur", "new", "tmp"] {
        fs::create_dir_all(home.join(place)).unwrap();
    }
    home.join("cur")
}

/// A message of 50 MiB.
fn large(line_end: &str) -> Vec<u8> {
    let mut text = format!("From: alice@example.org{line_end}Subject: large{line_end}{line_end}").into_bytes();
    let line = format!("The quick brown fox jumps over the lazy dog, and once more over it.{line_end}");
    while text.len() + line.len() <= MESSAGE {
        text.extend_from_slice(line.as_bytes());
    }
    text
}

/// One test, as everything is counted in one place.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_heap_stays_small() {
    let home = tempfile::tempdir().unwrap();
    let cur = maildir(home.path());
    fs::write(cur.join("1767323045.M1.localhost:2,S"), large("\r\n")).unwrap();
    fs::write(cur.join("1767323046.M2.localhost:2,S"), large("\n")).unwrap();
    let backend = Maildir::open(home.path()).await;
    // What is made once, and kept.
    let mut client = Client::imap(&backend).await;
    client.ask("w APPEND INBOX {14+}\r\nSubject: x\r\n\r\n\r\n", "w OK").await;
    client.ask("w FETCH 1:3 (FLAGS RFC822.SIZE BODY.PEEK[]<0.10>)\r\n", "w OK").await;

    append_of_a_large_message(&mut client).await;
    for number in [1, 2, 4] {
        fetch_of_a_large_message(&mut client, number).await;
    }
    pipelined_fetches_that_nobody_reads(&backend).await;
    drop(client);
    retrieval_of_a_large_message(&backend).await;
    drop(backend);
    selecting_many_messages().await;
}

async fn append_of_a_large_message(client: &mut Client<ImapConversation>) {
    let line = b"0123456789012345678901234567890123456789012345678901234567890123456789012345\r\n";
    let chunk = line.repeat(READ / line.len());
    let octets = MESSAGE / chunk.len() * chunk.len();
    let growth = Growth::since_now();
    client.say(format!("c APPEND INBOX {{{octets}+}}\r\n").as_bytes()).await;
    for _ in 0..octets / chunk.len() {
        client.say(&chunk).await;
    }
    client.ask("\r\n", "c OK [APPENDUID").await;
    growth.assert_at_most(BOUND, "APPEND");
}

async fn fetch_of_a_large_message(client: &mut Client<ImapConversation>, number: u32) {
    let before = client.received;
    let growth = Growth::since_now();
    client.ask(&format!("d FETCH {number} BODY.PEEK[]\r\n"), "d OK").await;
    growth.assert_at_most(BOUND, "FETCH");
    assert!(client.received - before > MESSAGE - 20_000, "{} octets", client.received - before);
}

async fn pipelined_fetches_that_nobody_reads(backend: &Maildir) {
    let pipeline: Vec<u8> = (0..20_000).flat_map(|n| format!("e{n} FETCH 1:2 BODY.PEEK[]\r\n").into_bytes()).collect();
    let mut client = Client::imap(backend).await;
    let growth = Growth::since_now();
    let mut sent = 0;
    let give_up = Instant::now() + PATIENCE;
    let mut full = 0;
    while full < 200 {
        assert!(Instant::now() < give_up, "there is room after {sent} octets");
        poll_fn(|cx| {
            if let Some(buffer) = client.conversation.read_buf().filter(|_| sent < pipeline.len()) {
                let length = READ.min(pipeline.len() - sent);
                buffer.extend_from_slice(&pipeline[sent..sent + length]);
                sent += length;
                client.conversation.handle_read(Instant::now());
            }
            let _ = client.conversation.poll_next(cx, Instant::now());
            Poll::Ready(())
        })
        .await;
        // Threads that read ahead come to rest.
        tokio::time::sleep(Duration::from_millis(1)).await;
        full += u32::from(client.conversation.read_buf().is_none() && !client.conversation.output().is_empty());
    }
    assert!(sent < pipeline.len());
    growth.assert_at_most(BOUND, "20,000 pipelined FETCHes");
}

async fn retrieval_of_a_large_message(backend: &Maildir) {
    let mut config = pillarbox_pop3_proto::Config::default();
    config.allow_plaintext = true;
    let service = Pop3Service::new(Arc::new(backend.clone()), config, Arc::new(SystemEnv));
    let conversation = service.connect(Connection::new(SessionId::new(2)), Instant::now());
    let mut client = Client { conversation, received: 0, end: Vec::with_capacity(2 * TAIL) };
    client.ask("USER alice\r\n", "+OK Send").await;
    client.ask("PASS secret\r\n", "+OK Maildrop").await;
    for number in [1, 2] {
        let before = client.received;
        let growth = Growth::since_now();
        client.ask(&format!("RETR {number}\r\n"), ".\r\n").await;
        growth.assert_at_most(BOUND, "RETR");
        assert!(client.received - before > MESSAGE - 20_000, "{} octets", client.received - before);
    }
}

/// With a warm index a SELECT opens no message, and neither the mailbox nor a session on it costs much.
async fn selecting_many_messages() {
    const MANY: usize = 200_000;
    let home = tempfile::tempdir().unwrap();
    let cur = maildir(home.path());
    // Files of their own would take a slow disk minutes; a file may have 65,000 names on some file systems.
    let mut first = cur.clone();
    for number in 0..MANY {
        let name = cur.join(format!("{}.M{number}.localhost:2,S", 1_700_000_000 + number));
        if number % 50_000 == 0 {
            fs::write(&name, "Subject: x\r\n\r\nx\r\n").unwrap();
            first = name;
        } else {
            fs::hard_link(&first, name).unwrap();
        }
    }
    let client = Client::imap(&Maildir::open(home.path()).await).await;
    drop(client);
    // As after a restart.
    let backend = Maildir::open(home.path()).await;
    let growth = Growth::since_now();
    let mut first = Client::imap(&backend).await;
    growth.assert_at_most(BOUND, "the first SELECT of 200,000 messages");
    let growth = Growth::since_now();
    let second = Client::imap(&backend).await;
    growth.assert_at_most(32 * KIB, "another SELECT of 200,000 messages");
    assert_eq!(backend.0.files_opened(), 0);
    let before = first.received;
    first.ask("f FETCH 1:* (UID FLAGS)\r\n", "f OK").await;
    assert!(first.received - before > MANY * 30);
    assert_eq!(backend.0.files_opened(), 0);
    drop(second);
}
