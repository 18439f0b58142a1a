//! One LMTP client (RFC 2033), from its greeting to its end.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pillarbox_proto_core::backend::{Account, Error};
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::conversation::{Control, Layer, Next, Upgraded};
use pillarbox_proto_core::mail::DateTime;
use pillarbox_proto_core::observe::CommandOutcome;
use pillarbox_proto_core::{Connection, Conversation, Output};

use crate::command::{self, Command, MAX_LINE};
use crate::data::Unstuffer;
use crate::delivery::{self, Delivery, Recipient, Trace};
use crate::reply::{Reply, too_big};
use crate::service::LmtpService;

/// Octets of output above which the client has to read before it is read.
const HIGH_WATER: usize = 16 * 1024;
/// Octets of input that wait at most.
const INPUT: usize = 64 * 1024;
/// Steps in one poll; then others have their turn.
const STEPS: usize = 64;

const SEQUENCE: Reply = Reply::new(503, "5.5.1", "Not now");

/// A conversation with an LMTP client. Made by [`LmtpService::connect`].
pub struct LmtpConversation {
    service: LmtpService,
    connection: Connection,
    input: BytesMut,
    /// Octets of `input` in which no line end was found.
    scanned: usize,
    /// The line that comes in is too long: its rest is thrown away.
    skipping: bool,
    output: Output,
    /// What the client called itself.
    hello: Option<String>,
    envelope: Option<Envelope>,
    data: Option<Data>,
    work: Option<Work>,
    next: Option<Next>,
    /// End after the command that runs, with this text.
    farewell: Option<Arc<str>>,
    bad: u32,
    end_of_input: bool,
    deadline: Option<Instant>,
}

struct Envelope {
    from: String,
    size: Option<u64>,
    utf8: bool,
    recipients: Vec<Recipient>,
}

/// A message that comes in.
struct Data {
    unstuffer: Unstuffer,
    deliveries: Vec<Delivery>,
    size: u64,
}

/// Something that the backend does.
struct Work {
    name: &'static str,
    since: Instant,
    /// It changes the store: it is waited for when the client is gone.
    changes: bool,
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
}

enum Done {
    Found(String, Result<Arc<dyn Account>, Error>),
    Begun(Vec<Delivery>),
    Written(Vec<Delivery>),
    Committed(Vec<Reply>),
}

impl LmtpConversation {
    pub(crate) fn new(service: LmtpService, connection: Connection, now: Instant) -> Self {
        let mut this = Self {
            service,
            connection,
            input: BytesMut::new(),
            scanned: 0,
            skipping: false,
            output: Output::new(),
            hello: None,
            envelope: None,
            data: None,
            work: None,
            next: None,
            farewell: None,
            bad: 0,
            end_of_input: false,
            deadline: None,
        };
        this.heard(now);
        if let Some(text) = this.connection.closed.take() {
            this.end(&text);
        } else {
            let greeting = format!("{} LMTP", this.service.config.host_name);
            Reply::with(220, None, &greeting).put(&mut this.output);
        }
        this
    }

    fn heard(&mut self, now: Instant) {
        self.deadline = self.service.config.idle.and_then(|idle| now.checked_add(idle));
    }

    /// Ends, telling the client that it may come again.
    fn end(&mut self, text: &str) {
        Reply::with(421, Some("4.3.2"), text).put(&mut self.output);
        self.next = Some(Next::Close);
    }

    fn start(
        &mut self,
        name: &'static str,
        changes: bool,
        now: Instant,
        future: impl Future<Output = Done> + Send + 'static,
    ) {
        self.work = Some(Work { name, since: now, changes, future: Box::pin(future) });
    }

    fn told(&self, name: &'static str, reply: &Reply, since: Instant, now: Instant) {
        let Some(observer) = &self.connection.observer else { return };
        let outcome = match reply.code {
            ..400 => CommandOutcome::Ok,
            500..=504 | 555 => CommandOutcome::Bad,
            _ => CommandOutcome::No,
        };
        observer.command(name, outcome, now.saturating_duration_since(since));
    }

    /// Takes a line off the input, without its end; `None` when there is no whole one.
    fn line(&mut self) -> Option<Result<Bytes, Reply>> {
        let Some(at) = self.input.get(self.scanned..).and_then(|rest| memchr::memchr(b'\n', rest)) else {
            if self.skipping || self.input.len() > MAX_LINE {
                self.skipping = true;
                self.input.clear();
            }
            self.scanned = self.input.len();
            return None;
        };
        let line = self.input.split_to(self.scanned + at + 1).freeze();
        self.scanned = 0;
        if std::mem::take(&mut self.skipping) || line.len() > MAX_LINE {
            return Some(Err(Reply::new(500, "5.5.2", "The line is too long")));
        }
        let end = line.strip_suffix(b"\r\n").unwrap_or(line.get(..line.len() - 1).unwrap_or(&line)).len();
        Some(Ok(line.slice(..end)))
    }

    /// Executes a line.
    fn execute(&mut self, line: Result<Bytes, Reply>, now: Instant) {
        let (name, done) = match line.and_then(|line| command::parse(&line)) {
            Ok(command) => (command.name(), self.command(command, now)),
            Err(reply) => ("UNKNOWN", Err(reply)),
        };
        let reply = match done {
            Ok(None) => return self.bad = 0,
            Ok(Some(reply)) => {
                self.bad = 0;
                reply
            }
            Err(reply) => {
                self.bad += 1;
                reply
            }
        };
        self.told(name, &reply, now, now);
        reply.put(&mut self.output);
        if self.bad >= self.service.config.bad_commands {
            self.end("Too many bad commands");
        }
    }

    /// The reply, or none when it comes later.
    fn command(&mut self, command: Command, now: Instant) -> Result<Option<Reply>, Reply> {
        let config = Arc::clone(&self.service.config);
        if config.tls_mode == TlsMode::Required && self.connection.tls.is_none() {
            match command {
                Command::Lhlo(_) | Command::StartTls | Command::Noop | Command::Quit => {}
                _ => return Err(Reply::new(530, "5.7.0", "Say STARTTLS first")),
            }
        }
        let reply = match command {
            Command::Lhlo(name) => {
                self.envelope = None;
                self.hello = Some(name);
                self.extensions();
                return Ok(None);
            }
            Command::Mail { .. } if self.hello.is_none() || self.envelope.is_some() => return Err(SEQUENCE),
            Command::Mail { size: Some(size), .. } if size > config.max_message_size => return Err(too_big()),
            Command::Mail { from, size, utf8 } => {
                self.envelope = Some(Envelope { from, size, utf8, recipients: Vec::new() });
                Reply::new(250, "2.1.0", "Sender taken")
            }
            Command::Rcpt(address) => {
                let Some(envelope) = &self.envelope else { return Err(SEQUENCE) };
                command::ascii(&address.written, envelope.utf8)?;
                if envelope.recipients.len() >= config.max_recipients {
                    return Ok(Some(Reply::new(452, "4.5.3", "Too many recipients")));
                }
                let (recipients, connection) = (Arc::clone(&self.service.recipients), self.connection.clone());
                self.start("RCPT", false, now, async move {
                    let found = recipients.account(&connection, &address.plain).await;
                    Done::Found(address.written, found)
                });
                return Ok(None);
            }
            Command::Data => {
                // RFC 2033, section 4.2: without a recipient, DATA fails at once.
                let envelope = self.envelope.take_if(|envelope| !envelope.recipients.is_empty());
                let Some(envelope) = envelope else { return Err(SEQUENCE) };
                let (size, time) = (envelope.size.unwrap_or(0), DateTime::from(self.service.env.wall_time()));
                let trace = Trace { received: self.received(&envelope, time), from: envelope.from };
                let recipients = envelope.recipients;
                self.start("DATA", false, now, async move {
                    Done::Begun(delivery::begin(recipients, trace, size, time).await)
                });
                return Ok(None);
            }
            Command::Rset => {
                self.envelope = None;
                Reply::new(250, "2.0.0", "Reset")
            }
            Command::Noop => Reply::new(250, "2.0.0", "Fine"),
            Command::Vrfy => Reply::new(252, "2.5.0", "Say RCPT to find out"),
            Command::Quit => {
                self.next = Some(Next::Close);
                Reply::new(221, "2.0.0", "Bye")
            }
            Command::StartTls if !config.tls_mode.upgrades() => return Err(Reply::new(502, "5.5.1", "No TLS here")),
            Command::StartTls if self.connection.tls.is_some() => return Err(SEQUENCE),
            Command::StartTls => {
                self.next = Some(Next::Upgrade(Layer::Tls));
                // What stands behind the command was not protected (RFC 3207, section 4.2).
                self.forget_input();
                Reply::new(220, "2.0.0", "Begin TLS")
            }
        };
        Ok(Some(reply))
    }

    /// The answer to LHLO.
    fn extensions(&mut self) {
        let config = &self.service.config;
        let starttls = config.tls_mode.upgrades() && self.connection.tls.is_none();
        let mut text = format!("250-{}\r\n", config.host_name);
        for line in ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"] {
            text.push_str(&format!("250-{line}\r\n"));
        }
        if starttls {
            text.push_str("250-STARTTLS\r\n");
        }
        text.push_str(&format!("250 SIZE {}\r\n", config.max_message_size));
        self.output.put(text.as_bytes());
    }

    /// The `Received` line; its protocol names are those of RFC 3848 and RFC 6531.
    fn received(&self, envelope: &Envelope, time: DateTime) -> String {
        // What a unix socket protects is not TLS; what a proxy says of its client's connection is.
        let connection = &self.connection;
        let tls = connection.tls.is_some() || (connection.externally_secured && connection.proxied.is_some());
        let with = match (envelope.utf8, tls) {
            (false, false) => "LMTP",
            (false, true) => "LMTPS",
            (true, false) => "UTF8LMTP",
            (true, true) => "UTF8LMTPS",
        };
        let hello = self.hello.as_deref().unwrap_or("");
        let peer = self.connection.client().map(|peer| format!(" ([{}])", literal(peer))).unwrap_or_default();
        let (host, id) = (&self.service.config.host_name, self.connection.id);
        format!("Received: from {hello}{peer}\r\n\tby {host} with {with} id {id};\r\n\t{}\r\n", time.message_date())
    }

    /// Goes on with the message that comes in; false when there is nothing to do now.
    fn take_data(&mut self, now: Instant) -> bool {
        let Some(mut data) = self.data.take() else { return false };
        let mut chunks = Vec::new();
        let ended = data.unstuffer.take(&mut self.input, &mut chunks);
        if chunks.is_empty() && !ended {
            if self.end_of_input {
                // A message without its end was never sent.
                self.next = Some(Next::Close);
                return true;
            }
            self.data = Some(data);
            return false;
        }
        data.size += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        if data.size > self.service.config.max_message_size {
            delivery::refuse(&mut data.deliveries);
        }
        let deliveries = std::mem::take(&mut data.deliveries);
        if ended {
            self.start("DATA", true, now, async move {
                Done::Committed(delivery::commit(delivery::write(deliveries, chunks).await).await)
            });
        } else {
            self.data = Some(data);
            self.start("DATA", false, now, async move { Done::Written(delivery::write(deliveries, chunks).await) });
        }
        true
    }

    /// The backend has done something.
    fn done(&mut self, done: Done, name: &'static str, since: Instant, now: Instant) {
        let replies = match done {
            Done::Found(address, Ok(account)) => {
                if let Some(envelope) = &mut self.envelope {
                    envelope.recipients.push(Recipient { address, account });
                }
                vec![Reply::new(250, "2.1.5", "Recipient taken")]
            }
            Done::Found(_, Err(error)) => vec![Reply::refusal(&error)],
            Done::Begun(deliveries) => {
                self.data = Some(Data { unstuffer: Unstuffer::new(), deliveries, size: 0 });
                Reply::bare(354, "Send the message, then a line with a dot").put(&mut self.output);
                return;
            }
            Done::Written(deliveries) => {
                if let Some(data) = &mut self.data {
                    data.deliveries = deliveries;
                }
                return;
            }
            Done::Committed(replies) => replies,
        };
        // One line of statistics for one command: it went well if it did for any recipient.
        if let Some(best) = replies.iter().find(|reply| reply.is_success()).or(replies.first()) {
            self.told(name, best, since, now);
        }
        for reply in replies {
            reply.put(&mut self.output);
        }
    }

    fn forget_input(&mut self) {
        self.input = BytesMut::new();
        self.scanned = 0;
        self.skipping = false;
    }

    /// Does one thing; false when there is nothing to do.
    fn step(&mut self, now: Instant) -> bool {
        if self.output.len() >= HIGH_WATER {
            return false;
        }
        if self.data.is_some() {
            return self.take_data(now);
        }
        if let Some(text) = self.farewell.take() {
            self.end(&text);
            return true;
        }
        match self.line() {
            Some(line) => {
                self.execute(line, now);
                true
            }
            None if self.end_of_input => {
                self.next = Some(Next::Close);
                true
            }
            None => false,
        }
    }
}

impl Conversation for LmtpConversation {
    fn read_buf(&mut self) -> Option<&mut BytesMut> {
        let busy = self.work.is_some() || self.next.is_some();
        let full = self.output.len() >= HIGH_WATER || self.input.len() >= INPUT;
        (!busy && !full).then_some(&mut self.input)
    }

    fn handle_read(&mut self, now: Instant) {
        self.heard(now);
    }

    fn handle_eof(&mut self, _: Instant) {
        self.end_of_input = true;
    }

    fn handle_gone(&mut self) {
        self.output = Output::new();
        self.forget_input();
        self.data = None;
        self.end_of_input = true;
        // A message that came in whole is delivered, though nobody will hear of it.
        self.work.take_if(|work| !work.changes);
        if self.work.is_none() {
            self.next = Some(Next::Close);
        }
    }

    fn handle_control(&mut self, control: Control, _: Instant) {
        match control {
            Control::Shutdown { text } | Control::Unavailable { text } => self.farewell = Some(text),
            Control::Kick { text } => {
                self.data = None;
                self.work.take_if(|work| !work.changes);
                if self.next.is_none() {
                    self.farewell = Some(text);
                }
            }
            _ => {}
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Next> {
        for _ in 0..STEPS {
            if let Some(work) = &mut self.work {
                let Poll::Ready(done) = work.future.as_mut().poll(cx) else { return Poll::Pending };
                if let Some(work) = self.work.take() {
                    self.done(done, work.name, work.since, now);
                }
            } else if let Some(next) = self.next {
                return Poll::Ready(next);
            } else if !self.step(now) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn deadline(&self) -> Option<Instant> {
        // While the backend works, it is not the client who is late.
        self.deadline.filter(|_| self.work.is_none() && self.next.is_none())
    }

    fn handle_deadline(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.data = None;
            self.end("You have said nothing for too long");
        }
    }

    fn upgraded(&mut self, how: Upgraded, now: Instant) {
        if let Upgraded::Tls(info) = how {
            self.connection.tls = Some(info);
        }
        self.forget_input();
        self.next = None;
        // What was said without protection counts for nothing (RFC 3207, section 4.2).
        self.hello = None;
        self.envelope = None;
        self.heard(now);
    }
}

impl fmt::Debug for LmtpConversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LmtpConversation").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// An address literal (RFC 5321, section 4.1.3), without its brackets.
fn literal(peer: SocketAddr) -> String {
    match peer {
        SocketAddr::V4(peer) => peer.ip().to_string(),
        SocketAddr::V6(peer) => format!("IPv6:{}", peer.ip()),
    }
}
