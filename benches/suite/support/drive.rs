//! A conversation without a socket.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use pillarbox_imap_proto::{Config, ImapConversation};
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::{Connection, Conversation};

/// A session that is logged in, its output thrown away as it comes.
pub(crate) struct Client {
    conversation: ImapConversation,
    now: Instant,
    /// The end of what came out last.
    last: Vec<u8>,
    /// Octets that came out.
    pub(crate) received: u64,
}

impl Client {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        let now = Instant::now();
        let config = Arc::new(Config::default());
        let connection = Connection::new(SessionId::new(1));
        let identity = Identity::new("alice");
        let conversation = ImapConversation::preauth(config, Arc::new(SystemEnv), backend, connection, identity, now);
        let mut this = Self { conversation, now, last: Vec::new(), received: 0 };
        this.work(b"ready");
        this
    }

    /// Sends a command and takes in all that comes, up to its OK.
    pub(crate) fn command(&mut self, command: &str, tag: &str) {
        self.feed(command.as_bytes());
        self.work(format!("{tag} OK").as_bytes());
    }

    /// Gives input. There is always room for it when a command has been answered.
    pub(crate) fn feed(&mut self, input: &[u8]) {
        self.conversation.read_buf().expect("the session reads").extend_from_slice(input);
        self.conversation.handle_read(self.now);
    }

    /// Works until this has come out in the last line.
    pub(crate) fn work(&mut self, until: &[u8]) {
        for _ in 0..10_000_000 {
            self.step();
            if self.last.windows(until.len()).any(|window| window == until) {
                self.last.clear();
                return;
            }
        }
        panic!("{} instead of {}", String::from_utf8_lossy(&self.last), String::from_utf8_lossy(until));
    }

    /// One round of the loop.
    pub(crate) fn step(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.conversation.poll_next(&mut cx, self.now);
        let output = self.conversation.output();
        self.received += output.len() as u64;
        while !output.is_empty() {
            let first = output.first();
            let length = first.len();
            self.last.clear();
            self.last.extend_from_slice(&first[length.saturating_sub(200)..]);
            output.advance(length);
        }
    }
}
