//! One session without a socket: bytes in, bytes out, a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

use pillarbox_imap_proto::{Config, ImapConversation};
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::connection::{Connection, SessionId, TlsInfo};
use pillarbox_proto_core::conversation::{Conversation, Next, Upgraded};
use pillarbox_proto_core::env::FixedEnv;

/// The time of day in tests: 2026-01-02 03:04:05 UTC.
pub const WALL: u64 = 1_767_323_045;

pub struct Client {
    pub conversation: ImapConversation,
    pub now: Instant,
    /// What the conversation asked for last.
    pub next: Option<Next>,
}

/// Whether the conversation wants to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub fn env() -> Arc<FixedEnv> {
    Arc::new(FixedEnv { now: SystemTime::UNIX_EPOCH + Duration::from_secs(WALL), byte: 7 })
}

/// A connection over which a password may pass in plain text.
pub fn secure_connection() -> Connection {
    let mut connection = Connection::new(SessionId::new(1));
    connection.externally_secured = true;
    connection
}

impl Client {
    pub fn new(backend: Arc<dyn Backend>, config: Config) -> Self {
        Self::over(backend, config, secure_connection())
    }

    pub fn over(backend: Arc<dyn Backend>, config: Config, connection: Connection) -> Self {
        let now = Instant::now();
        Self::of(ImapConversation::new(Arc::new(config), env(), backend, connection, now), now)
    }

    pub fn of(conversation: ImapConversation, now: Instant) -> Self {
        Self { conversation, now, next: None }
    }

    /// Sends octets and returns all that comes back, with as many reads as the conversation wants.
    pub fn send(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = self.drive();
        let mut rest = octets;
        while !rest.is_empty() {
            let Some(buffer) = self.conversation.read_buf() else { break };
            let (piece, later) = rest.split_at(rest.len().min(4096));
            buffer.extend_from_slice(piece);
            rest = later;
            self.conversation.handle_read(self.now);
            out.extend(self.drive());
        }
        out
    }

    /// The TLS that was asked for stands.
    pub fn upgrade(&mut self, tls: TlsInfo) -> Vec<u8> {
        self.next = None;
        self.conversation.upgraded(Upgraded::Tls(Arc::new(tls)), self.now);
        self.drive()
    }

    /// Ends the client's side.
    pub fn finish(&mut self) -> Vec<u8> {
        self.conversation.handle_eof(self.now);
        self.drive()
    }

    /// Works until the conversation waits, and returns what it said.
    pub fn drive(&mut self) -> Vec<u8> {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut out = Vec::new();
        // A conversation that never comes to rest is a fault of its own.
        for _ in 0..1_000_000 {
            woken.0.store(false, Ordering::Relaxed);
            let polled = self.conversation.poll_next(&mut Context::from_waker(&waker), self.now);
            let written = self.conversation.output().take();
            out.extend_from_slice(&written);
            match polled {
                Poll::Ready(next) => {
                    self.next = Some(next);
                    return out;
                }
                // Room for output is a reason to go on, as is a wake.
                Poll::Pending if written.is_empty() && !woken.0.load(Ordering::Relaxed) => return out,
                Poll::Pending => {}
            }
        }
        panic!("the conversation never rests");
    }

    pub fn closed(&self) -> bool {
        matches!(self.next, Some(Next::Close | Next::Abort))
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) -> Vec<u8> {
        self.now += time;
        if self.conversation.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.conversation.handle_deadline(self.now);
        }
        self.drive()
    }
}
