//! The configuration of `pillarboxd`: a TOML file, or none.
//!
//! [`Config::load`] reads a file, [`Config::built_in`] is what holds without one. Both give effective settings: every
//! default is filled in and every name resolved, so that whoever uses them decides nothing. Nothing here opens a socket
//! or reads a certificate.
//!
//! An error names file, line and key; an unknown key comes with the nearest known one.

mod access;
mod auth;
mod error;
mod file;
mod imap;
mod limits;
mod listener;
mod logging;
mod pop3;
mod show;
mod socket;
mod tls;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use pillarbox_proto_core::connection::TlsMode;

pub use access::{Acl, Preauth, TcpWrappers};
pub use auth::UserSource;
pub use error::Set;
pub use imap::{IdField, Imap};
pub use limits::Limits;
pub(crate) use listener::is_local;
pub use listener::{Listener, Protocol, Server, tls_mode_name};
pub use logging::{Logging, Severity};
pub use pop3::{BulletinDb, Pop3};
pub use socket::Socket;
pub use tls::{Sni, Tls, TlsVersions};

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
    /// The folder with `msg/motd`, `msg/shutdown` and `log/USER/`, if not the data folder.
    pub configdirectory: Option<PathBuf>,
    /// When changes are forced to the disk.
    pub fsync: Fsync,
    /// The largest message that is taken, in octets.
    pub max_message_size: u64,
    /// How much of small messages that are read again and again is kept in memory, in octets.
    pub message_cache: usize,
    /// Whether homes of users that are missing are made at their login.
    pub create_home_dir: bool,
    /// The mode of homes that are made.
    pub home_dir_mode: u32,
    /// What is run at the start when a debugger is asked for: a program and its arguments.
    pub debug_command: Vec<String>,
    /// What is logged, and where to.
    pub logging: Logging,
    /// How much clients may take.
    pub limits: Limits,
    /// Where users come from: asked in this order, at least one.
    pub users: Vec<UserSource>,
    /// What holds for the whole server.
    pub server: Server,
    /// The listeners, ordered by name.
    pub listeners: Vec<Listener>,
    /// How one connection on standard input is served, for each protocol that can be.
    pub inetd: Vec<Listener>,
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

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, the server's own certificate first.
    pub cert: Pem,
    /// The private key.
    pub private_key: Pem,
}

impl Certificate {
    /// The environment variables that it is read from.
    pub(crate) fn variables(&self) -> Vec<String> {
        let variable = |pem: &Pem| match pem {
            Pem::Env(name, _) => Some(name.clone()),
            _ => None,
        };
        [&self.cert, &self.private_key].into_iter().filter_map(variable).collect()
    }
}

/// PEM text, or the file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// This file.
    File(PathBuf),
    /// This text.
    Inline(String),
    /// This variable of the environment, with its text.
    Env(String, String),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline(***)"),
            Self::Env(name, _) => f.debug_tuple("Env").field(name).field(&"***").finish(),
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const DEFAULT_MAX_CONNECTIONS: usize = 8192;
const DEFAULT_TLS_TIMEOUT: Duration = Duration::from_secs(10);

impl Config {
    /// What holds without a configuration file: IMAP and POP3 on this machine only, each with and without immediate
    /// TLS, on ports that need no privilege.
    #[must_use]
    pub fn built_in() -> Self {
        let listener = Listener::built_in;
        Self {
            source: None,
            data: None,
            configdirectory: None,
            fsync: Fsync::default(),
            max_message_size: 64 << 20,
            message_cache: 32 << 20,
            create_home_dir: false,
            home_dir_mode: 0o700,
            debug_command: Vec::new(),
            logging: Logging::default(),
            limits: Limits::default(),
            users: vec![UserSource::File],
            server: Server::built_in(),
            listeners: vec![
                listener("imap", 1143, Protocol::Imap, TlsMode::OnDemand),
                listener("imaps", 1993, Protocol::Imap, TlsMode::Connection),
                listener("pop3", 1110, Protocol::Pop3, TlsMode::OnDemand),
                listener("pop3s", 1995, Protocol::Pop3, TlsMode::Connection),
            ],
            inetd: [Protocol::Imap, Protocol::Pop3, Protocol::Lmtp].map(Listener::on_stdin).into(),
            certificates: BTreeMap::new(),
            imap: Imap::default(),
            pop3: Pop3::default(),
        }
    }

    /// Reads a file; what the command line `sets` wins over it. Without a file that is put over what is built in.
    ///
    /// # Errors
    ///
    /// [`Status::NoInput`] or [`Status::NoPermission`] when it can't be read, [`Status::Config`] when something in it is
    /// wrong.
    pub fn load(path: Option<&Path>, sets: &[Set]) -> Result<Self> {
        let env = |name: &str| std::env::var(name).ok();
        let wrong = |error| Failure::new(Status::Config, error);
        let Some(path) = path else {
            if sets.is_empty() {
                return Ok(Self::built_in());
            }
            let text = Self::built_in().to_string();
            let config = Self::parse(&text, Path::new("built-in"), sets, &env).map_err(wrong)?;
            return Ok(Self { source: None, ..config });
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io(Status::NoInput, format_args!("configuration {}", path.display()), &error))?;
        Self::parse(&text, path, sets, &env).map_err(wrong)
    }

    /// What is logged, in the syntax of `tracing`'s filters.
    #[must_use]
    pub fn log_directives(&self) -> String {
        let directives = self.logging.directives();
        match self.listeners.iter().chain(&self.inetd).any(|listener| listener.transcript) {
            true => format!("{directives},pillarbox::transcript=debug"),
            false => directives,
        }
    }

    /// Says what keeps these settings from being served, though each of them is right.
    ///
    /// # Errors
    ///
    /// [`Status::Config`]: there is no listener, or a TLS mode without a certificate.
    pub fn servable(&self) -> Result<()> {
        let fault = |text: std::fmt::Arguments<'_>| {
            let file = self.source.as_ref().map(|path| format!("{}: ", path.display())).unwrap_or_default();
            Err(Failure::new(Status::Config, format_args!("{file}{text}")))
        };
        if self.listeners.is_empty() {
            return fault(format_args!("server.listener: no listener; add a table such as [server.listener.imap]"));
        }
        for listener in &self.listeners {
            if listener.tls_mode != TlsMode::No && listener.tls.certificate.is_none() {
                return fault(format_args!(
                    "server.listener.{}: no certificate set: give tls.certificate, here or in server.tls (\"self-signed\" \
                     is always there)",
                    quoted(&listener.id)
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
