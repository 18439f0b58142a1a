//! Keeps what this thread logs, at info and above.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

#[path = "../interest/mod.rs"]
mod interest;

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// The lines, each as `LEVEL message field=value`, as long as it is kept.
pub struct Log {
    lines: Arc<Mutex<String>>,
    _guard: DefaultGuard,
}

impl Log {
    pub fn keep() -> Self {
        interest::never_remembered();
        let lines = Arc::<Mutex<String>>::default();
        let guard = tracing::subscriber::set_default(Keeper(lines.clone()));
        Self { lines, _guard: guard }
    }

    pub fn has(&self, text: &str) -> bool {
        self.lines.lock().unwrap().contains(text)
    }

    pub fn count(&self, text: &str) -> usize {
        self.lines.lock().unwrap().matches(text).count()
    }

    pub fn text(&self) -> String {
        self.lines.lock().unwrap().clone()
    }
}

struct Keeper(Arc<Mutex<String>>);

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut lines = self.0.lock().unwrap();
        writeln!(lines, "{} {}{}", event.metadata().level(), line.message, line.fields).unwrap();
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            write!(self.message, "{value:?}").unwrap();
        } else {
            write!(self.fields, " {field}={value:?}").unwrap();
        }
    }
}
