//! The log: lines on standard error or to syslog.
//!
//! A line is `TAG: SEVERITY: SESSION MESSAGE FIELDS`, each part where there is one and where it is wanted; on standard
//! error the time comes first, unless the system's journal is there, which has its own. A line is one line whatever a
//! client has put into it: control characters are written as escapes.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Record};
use tracing::{Event, Id, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::Config;
use crate::exit::{Failure, Result, Status};

/// The variable whose filter wins over the configuration.
const VARIABLE: &str = "PILLARBOX_LOG";
/// A line longer than this is cut: syslog takes no more in one packet everywhere.
const LONGEST_LINE: usize = 8 * 1024;

/// The log as it was set up; what is logged can be changed.
#[derive(Debug)]
pub struct Logger(reload::Handle<EnvFilter, Registry>);

impl Logger {
    /// Sets the log up, for the whole process. `tag` is what lines begin with where the configuration does not say.
    ///
    /// # Errors
    ///
    /// [`Status::Config`] when the filter of the environment is none.
    pub fn start(config: &Config, tag: &str) -> Result<Self> {
        let (filter, handle) = reload::Layer::new(filter(config)?);
        let config = &config.logging;
        let tag = config.tag.clone().unwrap_or_else(|| tag.to_owned());
        let journal = std::env::var_os("JOURNAL_STREAM").is_some();
        let lines = Lines {
            tag: (!config.syslog).then(|| tag.clone()),
            time: !config.syslog && !journal,
            severity: config.print_severity,
            session: config.session_id,
            line_info: config.line_info,
        };
        let layer = tracing_subscriber::fmt::layer().event_format(lines);
        let registry = tracing_subscriber::registry().with(filter).with(Sessions);
        let started = if config.syslog {
            let syslog = Syslog::new(config.socket.clone(), config.facility, tag);
            registry.with(layer.with_ansi(false).with_writer(syslog)).try_init()
        } else {
            let ansi = io::stderr().is_terminal();
            registry.with(layer.with_ansi(ansi).with_writer(io::stderr)).try_init()
        };
        started.map_err(|error| Failure::new(Status::Software, format_args!("the log: {error}")))?;
        Ok(Self(handle))
    }

    /// Logs what this configuration says from now on. Where to, and in what form, stays.
    ///
    /// # Errors
    ///
    /// [`Status::Config`], as for [`start`](Self::start).
    pub fn set_filter(&self, config: &Config) -> Result<()> {
        self.0.reload(filter(config)?).map_err(|error| Failure::new(Status::Software, format_args!("the log: {error}")))
    }
}

/// What is logged: what the environment says, else the configuration.
///
/// # Errors
///
/// [`Status::Config`] when that is no filter.
pub fn filter(config: &Config) -> Result<EnvFilter> {
    let (source, text) = match std::env::var(VARIABLE) {
        Ok(text) => (VARIABLE, text),
        Err(_) => ("debug.level", config.log_directives()),
    };
    EnvFilter::try_new(&text).map_err(|error| {
        Failure::new(Status::Config, format_args!("{source}: {text:?} is no filter for logs: {error}"))
    })
}

/// The names of sessions, kept with their spans.
struct Sessions;

#[derive(Debug, Default)]
struct Session {
    id: String,
    rest: String,
}

impl Visit for Session {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "id" {
            self.id = format!("{value:?}");
        } else {
            let _ = write!(self.rest, " {}={value:?}", field.name());
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Sessions {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "session" {
            return;
        }
        let mut session = Session::default();
        attributes.record(&mut session);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(session);
        }
    }

    // The client that a proxy names is known after the session has its span.
    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(session) = span.extensions_mut().get_mut::<Session>()
        {
            values.record(session);
        }
    }
}

/// The form of a line.
struct Lines {
    tag: Option<String>,
    time: bool,
    severity: bool,
    session: bool,
    line_info: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        if self.time {
            SystemTime.format_time(&mut writer)?;
            writer.write_char(' ')?;
        }
        if let Some(tag) = &self.tag {
            write!(writer, "{tag}: ")?;
        }
        if self.severity {
            let (name, colour) = severity(*metadata.level());
            match writer.has_ansi_escapes() {
                true => write!(writer, "\x1b[{colour}m{name}\x1b[0m: ")?,
                false => write!(writer, "{name}: ")?,
            }
        }
        let mut line = String::new();
        let session = |line: &mut String, show: &dyn Fn(&Session, &mut String)| {
            for span in context.event_scope().into_iter().flatten() {
                if let Some(session) = span.extensions().get::<Session>() {
                    show(session, line);
                }
            }
        };
        if self.session {
            session(&mut line, &|session, line| {
                let _ = write!(line, "{} ", session.id);
            });
        }
        context.format_fields(Writer::new(&mut line), event)?;
        session(&mut line, &|session, line| line.push_str(&session.rest));
        if self.line_info
            && let (Some(file), Some(number)) = (metadata.file(), metadata.line())
        {
            let _ = write!(line, " ({file}:{number})");
        }
        cut(&mut line);
        for c in line.chars() {
            match c {
                '\t' => writer.write_char(' ')?,
                c if c.is_control() => write!(writer, "{}", c.escape_default())?,
                c => writer.write_char(c)?,
            }
        }
        writer.write_char('\n')
    }
}

fn cut(line: &mut String) {
    if line.len() > LONGEST_LINE {
        let end = (0..=LONGEST_LINE).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
}

/// The name of a severity, and its colour.
fn severity(level: Level) -> (&'static str, u8) {
    match level {
        Level::ERROR => ("error", 31),
        Level::WARN => ("warning", 33),
        Level::INFO => ("info", 32),
        _ => ("debug", 34),
    }
}

/// Lines as packets to syslog, in the form that its local socket takes (RFC 3164, section 5.4). One that can't be sent is
/// lost: nobody waits for a log.
#[derive(Clone, Debug)]
struct Syslog(Arc<Sink>);

#[derive(Debug)]
struct Sink {
    path: PathBuf,
    facility: u8,
    tag: String,
    socket: Mutex<Option<UnixDatagram>>,
}

impl Syslog {
    fn new(path: PathBuf, facility: u8, tag: String) -> Self {
        Self(Arc::new(Sink { path, facility, tag, socket: Mutex::new(None) }))
    }
}

impl Sink {
    fn send(&self, severity: u8, line: &[u8]) {
        let mut packet =
            format!("<{}>{}[{}]: ", self.facility * 8 + severity, self.tag, std::process::id()).into_bytes();
        packet.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        // Syslog may have been started again: once more with a new socket.
        for _ in 0..2 {
            if socket.is_none() {
                *socket = self.connect().ok();
            }
            match socket.as_ref().map(|socket| socket.send(&packet)) {
                Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => *socket = None,
                _ => return,
            }
        }
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.path)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Gathers one line, which is sent when it is dropped.
#[derive(Debug)]
struct Line {
    sink: Arc<Sink>,
    severity: u8,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.sink.send(self.severity, &self.text);
        }
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { sink: self.0.clone(), severity: 6, text: Vec::new() }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        let severity = match *metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        Line { sink: self.0.clone(), severity, text: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a subscriber with this form writes.
    fn written(lines: Lines, log: impl FnOnce()) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let syslog = Syslog::new(path, 2, "x".into());
        let layer = tracing_subscriber::fmt::layer().event_format(lines).with_ansi(false).with_writer(syslog);
        let subscriber = tracing_subscriber::registry().with(Sessions).with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let mut all = String::new();
        let mut packet = [0; 65_536];
        while let Ok(length) = socket.recv(&mut packet) {
            all.push_str(std::str::from_utf8(&packet[..length]).unwrap());
            all.push('|');
        }
        all.replace(&format!("[{}]", std::process::id()), "[PID]")
    }

    fn lines() -> Lines {
        Lines { tag: None, time: false, severity: true, session: true, line_info: false }
    }

    #[test]
    fn a_line_has_the_severity_the_session_and_what_happened() {
        let log = || {
            tracing::warn!("alone");
            let span = tracing::info_span!("session", id = %"AbCd1234", listener = "imap", peer = %"192.0.2.1:7");
            span.in_scope(|| tracing::info!(user = "ada", "in"));
            span.in_scope(|| tracing::debug_span!("other").in_scope(|| tracing::error!("out")));
        };
        assert_eq!(
            written(lines(), log),
            "<20>x[PID]: warning: alone|<22>x[PID]: info: AbCd1234 in user=\"ada\" listener=\"imap\" peer=192.0.2.1:7|\
             <19>x[PID]: error: AbCd1234 out listener=\"imap\" peer=192.0.2.1:7|"
        );
        let bare = Lines { severity: false, session: false, ..lines() };
        assert_eq!(written(bare, || tracing::info!("alone")), "<22>x[PID]: alone|");
    }

    #[test]
    fn nobody_writes_a_second_line_nor_an_endless_one() {
        let text = "a\r\nerror: forged\x1b[2J\u{85}\tb";
        assert_eq!(
            written(lines(), || tracing::info!("{text}")),
            "<22>x[PID]: info: a\\r\\nerror: forged\\x1b[2J\\u{85} b|"
        );
        let long = "ä".repeat(LONGEST_LINE);
        let line = written(lines(), || tracing::info!("{long}"));
        assert!(line.len() < LONGEST_LINE + 64 && line.ends_with("…|"), "{}", line.len());
    }

    #[test]
    fn syslog_may_be_away_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sink = Sink { path: path.clone(), facility: 3, tag: "x".into(), socket: Mutex::new(None) };
        sink.send(6, b"lost\n");
        let first = UnixDatagram::bind(&path).unwrap();
        sink.send(6, b"one\n");
        let mut packet = [0; 64];
        let length = first.recv(&mut packet).unwrap();
        assert!(packet[..length].ends_with(b": one"));
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        sink.send(6, b"two\n");
        let length = second.recv(&mut packet).unwrap();
        assert!(packet[..length].ends_with(b": two"));
    }
}
