//! The configuration of `pillarboxd`: a TOML file, or none.
//!
//! [`Config::load`] reads a file, [`Config::built_in`] is what holds without one. Both give effective settings: every
//! default is filled in and every name resolved, so that whoever uses them decides nothing. Nothing here opens a socket
//! or reads a certificate.
//!
//! An error names file, line and key; an unknown key comes with the nearest known one.

mod error;
mod file;
mod pop3;
mod show;
mod value;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use pillarbox_proto_core::connection::TlsMode;

pub use pop3::{BulletinDb, Pop3};

pub(crate) use error::quoted;

use crate::exit::{Failure, Result, Status};

/// The certificate that the server makes for itself, in the data folder.
pub const SELF_SIGNED: &str = "self-signed";

/// Effective settings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The file that they were read from.
    pub source: Option<PathBuf>,
    /// The data folder, where the file names one.
    pub data: Option<PathBuf>,
    /// When changes are forced to the disk.
    pub fsync: Fsync,
    /// The largest message that is taken, in octets.
    pub max_message_size: u64,
    /// How long running commands may take to finish when the server stops.
    pub shutdown_grace: Duration,
    /// What is logged, in the syntax of `tracing`'s filters.
    pub log: String,
    /// The listeners, ordered by name.
    pub listeners: Vec<Listener>,
    /// The certificates, by name. [`SELF_SIGNED`] is not among them.
    pub certificates: BTreeMap<String, Certificate>,
    /// IMAP.
    pub imap: Imap,
    /// POP3.
    pub pop3: Pop3,
}

/// When changes are forced to the disk before they are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    /// Messages, copies and removals are; changes of flags are left to the kernel.
    #[default]
    Optimized,
    /// Everything is.
    Always,
}

/// One listener.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listener {
    /// Its name.
    pub id: String,
    /// Where it listens; at least one address.
    pub bind: Vec<SocketAddr>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether and when TLS is used.
    pub tls_mode: TlsMode,
    /// The certificate; there is one unless `tls_mode` is [`TlsMode::No`].
    pub certificate: Option<String>,
    /// How long a TLS handshake may take.
    pub tls_timeout: Duration,
    /// Connections at a time, all its addresses together.
    pub max_connections: usize,
    /// Whether passwords may come over connections without TLS.
    pub allow_plain_text: bool,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// IMAP4rev1 and IMAP4rev2.
    Imap,
    /// POP3.
    Pop3,
}

impl Protocol {
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
        }
    }

    /// The port for an address that gives none.
    const fn default_port(self, tls_mode: TlsMode) -> u16 {
        match (self, tls_mode) {
            (Self::Imap, TlsMode::Connection) => 993,
            (Self::Imap, _) => 143,
            (Self::Pop3, TlsMode::Connection) => 995,
            (Self::Pop3, _) => 110,
        }
    }
}

/// The name of a TLS mode in the configuration.
#[must_use]
pub const fn tls_mode_name(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::OnDemand => "ondemand",
        TlsMode::Required => "required",
        TlsMode::Connection => "connection",
        _ => "no",
    }
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, the server's own certificate first.
    pub cert: Pem,
    /// The private key.
    pub private_key: Pem,
}

/// PEM text, or the file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// This file.
    File(PathBuf),
    /// This text.
    Inline(String),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline(***)"),
        }
    }
}

/// Settings of IMAP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Imap {
    /// `LITERAL-` in place of `LITERAL+`.
    pub literal_minus: bool,
    /// Whether passwords may come over connections without TLS, where it is set; see [`Listener::allow_plain_text`].
    pub allow_plain_text: Option<bool>,
    /// Failed logins that end a connection.
    pub max_failures: u32,
    /// From the greeting to a login.
    pub timeout_anonymous: Duration,
    /// Without input after login.
    pub timeout_authenticated: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const DEFAULT_MAX_CONNECTIONS: usize = 8192;
const DEFAULT_TLS_TIMEOUT: Duration = Duration::from_secs(10);

impl Config {
    /// What holds without a configuration file: IMAP and POP3 on this machine only, each with and without immediate
    /// TLS, on ports that need no privilege.
    #[must_use]
    pub fn built_in() -> Self {
        let listener = |id: &str, port, protocol, tls_mode| Listener {
            id: id.to_owned(),
            bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
            protocol,
            tls_mode,
            certificate: Some(SELF_SIGNED.to_owned()),
            tls_timeout: DEFAULT_TLS_TIMEOUT,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            allow_plain_text: true,
        };
        Self {
            source: None,
            data: None,
            fsync: Fsync::default(),
            max_message_size: 64 << 20,
            shutdown_grace: Duration::from_secs(10),
            log: "info".to_owned(),
            listeners: vec![
                listener("imap", 1143, Protocol::Imap, TlsMode::OnDemand),
                listener("imaps", 1993, Protocol::Imap, TlsMode::Connection),
                listener("pop3", 1110, Protocol::Pop3, TlsMode::OnDemand),
                listener("pop3s", 1995, Protocol::Pop3, TlsMode::Connection),
            ],
            certificates: BTreeMap::new(),
            imap: Imap {
                literal_minus: false,
                allow_plain_text: None,
                max_failures: 3,
                timeout_anonymous: MINUTE,
                timeout_authenticated: 30 * MINUTE,
            },
            pop3: Pop3::default(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`Status::NoInput`] or [`Status::NoPermission`] when it can't be read, [`Status::Config`] when something in it is
    /// wrong.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io(Status::NoInput, format_args!("configuration {}", path.display()), &error))?;
        Self::parse(&text, path).map_err(|error| Failure::new(Status::Config, error))
    }
}

#[cfg(test)]
mod tests;
