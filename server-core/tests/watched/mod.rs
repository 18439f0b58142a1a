//! A line protocol that tells an observer what happens, its redactor, and a log that a test can read.
//!
//! `LOGIN user password`, `LOGOUT`, `QUIT`; any other line is answered by itself. `DATA n` is answered by `n` octets.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

#[path = "../interest/mod.rs"]
mod interest;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use pillarbox_proto_core::conversation::{Control, Layer, Next, Upgraded};
use pillarbox_proto_core::observe::{CommandOutcome, LoginFailure};
use pillarbox_proto_core::transcript::{Direction, Keep, Redact};
use pillarbox_proto_core::{Connection, Conversation, Output};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

pub struct Clerk {
    connection: Connection,
    input: BytesMut,
    output: Output,
    end: Option<Next>,
}

pub fn clerk(connection: Connection) -> Box<dyn Conversation> {
    if let Some(observer) = &connection.observer {
        observer.state("waiting");
    }
    Box::new(Clerk { connection, input: BytesMut::new(), output: Output::new(), end: None })
}

impl Clerk {
    fn line(&mut self, line: &str) {
        let observer = self.connection.observer.clone();
        let observer = observer.as_deref();
        let words: Vec<_> = line.split(' ').collect();
        let (name, outcome) = match words[..] {
            ["LOGIN", user, "sesame"] => {
                observer.inspect(|observer| {
                    observer.logged_in(user, "LOGIN");
                    observer.state("inside");
                });
                self.output.put(format!("welcome {user}\r\n").as_bytes());
                ("LOGIN", CommandOutcome::Ok)
            }
            ["LOGIN", ..] => {
                observer.inspect(|observer| observer.login_failed("LOGIN", LoginFailure::Credentials));
                self.output.put(b"no\r\n");
                ("LOGIN", CommandOutcome::No)
            }
            ["LOGOUT"] => {
                observer.inspect(|observer| observer.logged_out());
                self.output.put(b"out\r\n");
                ("LOGOUT", CommandOutcome::Ok)
            }
            ["STARTTLS"] => {
                self.output.put(b"go\r\n");
                self.input.clear();
                self.end = Some(Next::Upgrade(Layer::Tls));
                ("STARTTLS", CommandOutcome::Ok)
            }
            ["DATA", size] => {
                self.output.put_bytes(vec![b'x'; size.parse().unwrap()].into());
                self.output.put(b"\r\n");
                ("DATA", CommandOutcome::Ok)
            }
            ["QUIT"] => {
                self.output.put(b"bye\r\n");
                self.end = Some(Next::Close);
                ("QUIT", CommandOutcome::Ok)
            }
            _ => {
                self.output.put(format!("{line}\r\n").as_bytes());
                ("UNKNOWN", CommandOutcome::Bad)
            }
        };
        observer.inspect(|observer| observer.command(name, outcome, Duration::from_millis(3)));
    }
}

impl Conversation for Clerk {
    fn read_buf(&mut self) -> Option<&mut BytesMut> {
        (self.end.is_none() && self.output.len() < 64 * 1024).then_some(&mut self.input)
    }
    fn handle_read(&mut self, _: Instant) {}
    fn handle_eof(&mut self, _: Instant) {
        self.end = Some(Next::Close);
    }
    fn handle_gone(&mut self) {
        self.end = Some(Next::Close);
    }
    fn handle_control(&mut self, control: Control, _: Instant) {
        if let Control::Shutdown { text } | Control::Kick { text } = control {
            self.output.put(format!("{text}\r\n").as_bytes());
            self.end = Some(Next::Close);
        }
    }
    fn poll_next(&mut self, _: &mut Context<'_>, _: Instant) -> Poll<Next> {
        while self.end.is_none()
            && let Some(end) = self.input.iter().position(|byte| *byte == b'\n')
        {
            let line = String::from_utf8_lossy(&self.input[..end]).trim_end().to_owned();
            self.input.advance(end + 1);
            self.line(&line);
        }
        match self.end {
            Some(next) => Poll::Ready(next),
            None => Poll::Pending,
        }
    }
    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
    fn deadline(&self) -> Option<Instant> {
        None
    }
    fn handle_deadline(&mut self, _: Instant) {}
    fn upgraded(&mut self, _: Upgraded, _: Instant) {
        self.end = None;
    }
}

/// Shows lines when they are whole, without passwords, and without runs of `x`.
#[derive(Debug)]
pub struct ClerkRedactor {
    keep: Keep,
    begun: [String; 2],
}

pub fn redactor(keep: Keep) -> Box<dyn Redact> {
    Box::new(ClerkRedactor { keep, begun: Default::default() })
}

impl Redact for ClerkRedactor {
    fn redact(&mut self, direction: Direction, bytes: &[u8], out: &mut Vec<u8>) {
        let begun = &mut self.begun[usize::from(direction == Direction::Server)];
        begun.push_str(&String::from_utf8_lossy(bytes));
        while let Some(end) = begun.find('\n') {
            let line: String = begun.drain(..=end).collect();
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["LOGIN", user, _] if !self.keep.secrets => out.extend(format!("LOGIN {user} ***\r\n").bytes()),
                _ if !self.keep.data && line.starts_with('x') => out.extend(b"(data...)\r\n"),
                _ => out.extend(line.bytes()),
            }
        }
    }
    fn secured(&mut self) {
        self.begun = Default::default();
    }
}

/// Lines of a log: the spans' fields, the target, the message with its fields.
#[derive(Clone, Default)]
pub struct Log(Arc<Inner>);

#[derive(Default)]
struct Inner {
    lines: Mutex<Vec<String>>,
    spans: Mutex<HashMap<u64, (String, &'static Metadata<'static>)>>,
    next: AtomicU64,
}

thread_local! {
    static WITHIN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Log {
    pub fn lines(&self) -> Vec<String> {
        self.0.lines.lock().unwrap().clone()
    }

    /// Lines of this target, without it.
    pub fn of(&self, target: &str) -> Vec<String> {
        let mark = format!("[{target}] ");
        self.lines().iter().filter_map(|line| line.split_once(&mark).map(|(_, rest)| rest.to_owned())).collect()
    }
}

/// Has this thread log there, as long as the guard is kept.
pub fn log_to(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    interest::never_remembered();
    tracing::subscriber::set_default(subscriber)
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => write!(self.0, "{value:?} ").unwrap(),
            name => write!(self.0, "{name}={value:?} ").unwrap(),
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut text = format!("{}:", span.metadata().name());
        span.record(&mut Text(&mut text));
        self.0.spans.lock().unwrap().insert(id, (text, span.metadata()));
        Id::from_u64(id)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = String::new();
        if let Some(span) = WITHIN.with_borrow(|within| within.last().copied()) {
            line.push_str(&self.0.spans.lock().unwrap()[&span].0);
        }
        write!(line, "{} [{}] ", event.metadata().level(), event.metadata().target()).unwrap();
        event.record(&mut Text(&mut line));
        self.0.lines.lock().unwrap().push(line.trim_end().to_owned());
    }
    fn current_span(&self) -> Current {
        match WITHIN.with_borrow(|within| within.last().copied()) {
            Some(span) => Current::new(Id::from_u64(span), self.0.spans.lock().unwrap()[&span].1),
            None => Current::none(),
        }
    }
    fn enter(&self, span: &Id) {
        WITHIN.with_borrow_mut(|within| within.push(span.into_u64()));
    }
    fn exit(&self, _: &Id) {
        WITHIN.with_borrow_mut(|within| {
            within.pop();
        });
    }
}
