//! What is logged, and where to.

use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::file::Wrong;
use super::value::Word;

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logging {
    /// To syslog; otherwise to standard error.
    pub syslog: bool,
    /// The socket of syslog.
    pub socket: std::path::PathBuf,
    /// Lines of this severity and of graver ones.
    pub severity: Severity,
    /// The facility for syslog: its number.
    pub facility: u8,
    /// What lines begin with; `None` for the name of the program.
    pub tag: Option<String>,
    /// Whether the lines of a connection begin with its name of eight letters and digits.
    pub session_id: bool,
    /// Whether lines say their severity.
    pub print_severity: bool,
    /// Whether lines say from which line of the source they come.
    pub line_info: bool,
    /// More lines, or fewer, from parts of the program: the syntax of `tracing`'s filters.
    pub debug: Option<String>,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            syslog: false,
            socket: "/dev/log".into(),
            severity: Severity::Info,
            facility: 2,
            tag: None,
            session_id: true,
            print_severity: true,
            line_info: false,
            debug: None,
        }
    }
}

impl Logging {
    /// What is logged, in the syntax of `tracing`'s filters.
    #[must_use]
    pub fn directives(&self) -> String {
        match &self.debug {
            Some(debug) => format!("{},{debug}", self.severity.filter()),
            None => self.severity.filter().to_owned(),
        }
    }
}

/// How grave a line is, as syslog has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names of syslog (RFC 5424, section 6.2.1)")]
pub enum Severity {
    Emerg,
    Alert,
    Crit,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

const SEVERITIES: [(&str, Severity); 8] = [
    ("debug", Severity::Debug),
    ("info", Severity::Info),
    ("notice", Severity::Notice),
    ("warning", Severity::Warning),
    ("error", Severity::Error),
    ("crit", Severity::Crit),
    ("alert", Severity::Alert),
    ("emerg", Severity::Emerg),
];

impl Severity {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        SEVERITIES.iter().find(|(_, severity)| *severity == self).map_or("", |(name, _)| name)
    }

    /// The filter that lets lines of this severity and graver ones pass. `tracing` knows fewer.
    #[must_use]
    pub const fn filter(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice | Self::Warning => "warn",
            Self::Error | Self::Crit | Self::Alert | Self::Emerg => "error",
        }
    }
}

/// The facilities of RFC 5424, section 6.2.1, that a server has a use for.
const FACILITIES: [(&str, u8); 14] = [
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("cron", 9),
    ("authpriv", 10),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The name of a facility, or its number.
pub(super) fn facility_name(number: u8) -> String {
    match FACILITIES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => (*name).to_owned(),
        None => number.to_string(),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct Table {
    syslog: Option<bool>,
    socket: Option<std::path::PathBuf>,
    severity: Option<Spanned<String>>,
    facility: Option<Spanned<Word>>,
    tag: Option<String>,
    session_id: Option<bool>,
    print_severity: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct DebugTable {
    level: Option<Spanned<String>>,
    line_info: Option<bool>,
}

impl Logging {
    pub(super) fn resolve(source: &Source<'_>, table: &Table, debug: &DebugTable) -> Result<Self, ConfigError> {
        let mut logging = Self::default();
        logging.syslog = table.syslog.unwrap_or(logging.syslog);
        if let Some(path) = &table.socket {
            logging.socket.clone_from(path);
        }
        if let Some(value) = &table.severity {
            logging.severity = source.choice(value, &SEVERITIES)?;
        }
        if let Some(value) = &table.facility {
            logging.facility = facility(source, value)?;
        }
        logging.tag.clone_from(&table.tag);
        logging.session_id = table.session_id.unwrap_or(logging.session_id);
        logging.print_severity = table.print_severity.unwrap_or(logging.print_severity);
        logging.line_info = debug.line_info.unwrap_or(false);
        if let Some(value) = &debug.level {
            if let Err(error) = tracing_subscriber::EnvFilter::try_new(value.get_ref()) {
                let text = format_args!("{:?} is no filter for logs: {error}", value.get_ref());
                return Err(source.error(&value.span(), text));
            }
            logging.debug = Some(value.get_ref().clone());
        }
        Ok(logging)
    }
}

fn facility(source: &Source<'_>, value: &Spanned<Word>) -> Result<u8, ConfigError> {
    let wrong = value.get_ref().0.as_str();
    if let Some((_, number)) = FACILITIES.iter().find(|(name, _)| *name == wrong) {
        return Ok(*number);
    }
    match wrong.parse() {
        Ok(number @ 0..=23) => Ok(number),
        _ => Err(source.error(&value.span(), Wrong { wrong, names: &FACILITIES.map(|(name, _)| name) })),
    }
}
