//! Driving a conversation without a socket.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod generated;
#[cfg(feature = "tracing")]
pub mod log;
pub mod transcript;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

use pillarbox_pop3_proto::{Config, Pop3Conversation, Pop3Service};
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::connection::{SessionId, TlsInfo};
use pillarbox_proto_core::conversation::{Conversation, Next, Upgraded};
use pillarbox_proto_core::env::{FixedEnv, VirtualEnv};
use pillarbox_proto_core::{Connection, Env};

/// One of the RFC's dates.
pub const THEN: Duration = Duration::from_secs(697_170_952);

/// A clock that stands at that date, and bytes that are always the same.
pub fn env() -> Arc<dyn Env> {
    Arc::new(FixedEnv { now: SystemTime::UNIX_EPOCH + THEN, byte: 0x2a })
}

/// The same with a clock that can be moved.
pub fn clock() -> Arc<VirtualEnv> {
    Arc::new(VirtualEnv::new(SystemTime::UNIX_EPOCH + THEN, 0x2a))
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The other end of a conversation, in virtual time.
pub struct Client {
    pub conversation: Pop3Conversation,
    pub now: Instant,
    /// All that has been received and not been taken.
    pub received: Vec<u8>,
    /// What the conversation asked for last.
    pub asked: Option<Next>,
    flag: Arc<Flag>,
}

impl Client {
    pub fn connect(backend: Arc<dyn Backend>, config: Config) -> Self {
        Self::connect_as(backend, config, Connection::new(SessionId::new(1)))
    }

    pub fn connect_as(backend: Arc<dyn Backend>, config: Config, connection: Connection) -> Self {
        Self::connect_at(backend, config, connection, env())
    }

    pub fn connect_at(backend: Arc<dyn Backend>, config: Config, connection: Connection, env: Arc<dyn Env>) -> Self {
        let now = Instant::now();
        let conversation = Pop3Service::new(backend, config, env).connect(connection, now);
        Self { conversation, now, received: Vec::new(), asked: None, flag: Arc::default() }
    }

    /// Polls once. True if it may be worth while to poll again.
    pub fn poll(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.flag));
        let polled = self.conversation.poll_next(&mut Context::from_waker(&waker), self.now);
        self.asked = match polled {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        };
        self.flag.0.swap(false, Ordering::SeqCst) && self.asked.is_none()
    }

    /// Takes output until there is no more, and nothing moves.
    pub fn settle(&mut self) {
        loop {
            let again = self.poll();
            let output = self.conversation.output();
            let moved = !output.is_empty();
            while !output.is_empty() {
                self.received.extend_from_slice(output.first());
                let count = output.first().len();
                output.advance(count);
            }
            if !again && !moved {
                return;
            }
        }
    }

    /// Sends, as far as the conversation takes it, and settles. Returns how much was sent.
    pub fn send(&mut self, mut bytes: &[u8]) -> usize {
        let mut sent = 0;
        self.settle();
        // No faster than a socket's reads.
        while let (Some(buffer), false) = (self.conversation.read_buf(), bytes.is_empty()) {
            let (piece, rest) = bytes.split_at(bytes.len().min(8192));
            buffer.extend_from_slice(piece);
            bytes = rest;
            sent += piece.len();
            self.conversation.handle_read(self.now);
            self.settle();
        }
        sent
    }

    /// Sends all of it, and returns what came back.
    pub fn say(&mut self, text: &str) -> String {
        assert_eq!(self.send(text.as_bytes()), text.len(), "the conversation does not take {text:?}");
        self.heard()
    }

    pub fn heard(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.received)).unwrap()
    }

    pub fn secure(&mut self) {
        self.conversation.upgraded(Upgraded::Tls(Arc::new(TlsInfo::default())), self.now);
        self.settle();
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        if self.conversation.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.conversation.handle_deadline(self.now);
        }
        self.settle();
    }
}
