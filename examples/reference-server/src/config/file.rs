//! The file's form, and how effective settings follow from it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::auth::{self, UserSource};
use super::error::{ConfigError, Override, Set, Source, nearest};
use super::listener::{Defaults, Protocol, Server, ServerTable};
use super::logging::{self, Logging};
use super::value::{Given, Size, Span, Texts, Word};
use super::{Certificate, Config, Fsync, Pem, SELF_SIGNED};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    data: Option<PathBuf>,
    configdirectory: Option<PathBuf>,
    fsync: Option<Spanned<String>>,
    max_message_size: Option<Spanned<Size>>,
    create_home_dir: bool,
    home_dir_mode: Option<Spanned<Word>>,
    debug_command: Option<Spanned<Texts>>,
    auth: Vec<auth::Table>,
    server: ServerTable,
    certificate: BTreeMap<Spanned<String>, CertificateTable>,
    store: StoreTable,
    limits: super::limits::Table,
    imap: super::imap::Table,
    pop3: super::pop3::Table,
    logging: logging::Table,
    debug: logging::DebugTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct StoreTable {
    message_cache: Option<Size>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CertificateTable {
    cert: Spanned<Given>,
    private_key: Spanned<Given>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct Auth {
    pub(super) allow_plain_text: Option<bool>,
    max_failures: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct Timeout {
    anonymous: Option<Span>,
    authenticated: Option<Span>,
}

impl Config {
    /// Reads a configuration's text. `path` is where it came from: errors name it, and relative paths start there. What
    /// the command line `sets` wins. `env` finds variables of the environment.
    ///
    /// # Errors
    ///
    /// The first fault, with its line and key.
    pub(super) fn parse(
        text: &str,
        path: &Path,
        sets: &[Set],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let overrides = Override::all(sets, text.len());
        let source = Source::read(text, path, &overrides, env)?;
        let file: File = source.deserialize()?;
        let base = path.parent().unwrap_or(Path::new(""));
        let mut config = Self { source: Some(path.to_owned()), listeners: Vec::new(), ..Self::built_in() };

        config.data = file.data.map(|data| base.join(data));
        config.configdirectory = file.configdirectory.map(|folder| base.join(folder));
        if let Some(fsync) = &file.fsync {
            config.fsync = source.choice(fsync, &[("optimized", Fsync::Optimized), ("always", Fsync::Always)])?;
        }
        if let Some(size) = &file.max_message_size {
            config.max_message_size = size.get_ref().0;
            if config.max_message_size == 0 {
                return Err(source.error(&size.span(), "must be at least 1"));
            }
        }
        if let Some(size) = file.store.message_cache {
            config.message_cache = usize::try_from(size.0).unwrap_or(usize::MAX);
        }
        config.create_home_dir = file.create_home_dir;
        if let Some(mode) = &file.home_dir_mode {
            config.home_dir_mode = source.file_mode(mode)?;
        }
        if let Some(command) = &file.debug_command {
            let words = &command.get_ref().0;
            config.debug_command = match words.as_slice() {
                [line] => line.split_ascii_whitespace().map(str::to_owned).collect(),
                words => words.to_vec(),
            };
            if !config.debug_command.first().is_some_and(|program| program.starts_with('/')) {
                return Err(source.error(&command.span(), "must begin with the absolute path of a program"));
            }
        }
        config.logging = Logging::resolve(&source, &file.logging, &file.debug)?;
        config.limits = file.limits.resolve(&source)?;
        config.users = UserSource::resolve(&source, &file.auth, base)?;

        for (id, table) in file.certificate {
            if id.get_ref() == SELF_SIGNED {
                return Err(source.error(&id.span(), "this name is that of the certificate in the data folder"));
            }
            let certificate =
                Certificate { cert: source.pem(table.cert, base)?, private_key: source.pem(table.private_key, base)? };
            config.certificates.insert(id.into_inner(), certificate);
        }
        let secret: Vec<String> = config.certificates.values().flat_map(Certificate::variables).collect();
        config.imap = file.imap.resolve(&source, &secret)?;
        config.pop3 = file.pop3.resolve(&source, base)?;

        config.server = Server::resolve(&source, &file.server, base)?;
        let defaults = Defaults {
            server: file.server.options(),
            port: source.port(&file.server.port)?,
            base,
            plain_text: (config.imap.allow_plain_text, config.pop3.allow_plain_text),
            login_disabled: config.imap.login_disabled,
        };
        config.inetd.clear();
        for protocol in [Protocol::Imap, Protocol::Pop3, Protocol::Lmtp] {
            config.inetd.push(source.inetd(protocol, &defaults, &mut config.certificates)?);
        }
        for (id, table) in &file.server.listener {
            let listener = source.listener(id, table, &defaults, &mut config.certificates)?;
            config.listeners.push(listener);
        }
        Ok(config)
    }
}

pub(super) fn timeouts(from: &Timeout, anonymous: &mut std::time::Duration, authenticated: &mut std::time::Duration) {
    if let Some(span) = from.anonymous {
        *anonymous = span.0;
    }
    if let Some(span) = from.authenticated {
        *authenticated = span.0;
    }
}

impl Source<'_> {
    /// PEM text, the file that it is in, or the variable.
    fn pem(&self, value: Spanned<Given>, base: &Path) -> Result<Pem, ConfigError> {
        let span = value.span();
        Ok(match value.into_inner() {
            Given::Env(name) => match (self.env)(&name) {
                Some(text) => Pem::Env(name, text),
                None => {
                    let text = format_args!("the environment has no variable {name}");
                    return Err(self.error(&span, text));
                }
            },
            Given::Here(value) => match value.strip_prefix("file://") {
                Some(path) => Pem::File(base.join(path)),
                None if value.contains("-----BEGIN") => Pem::Inline(value),
                None => Pem::File(base.join(value)),
            },
        })
    }

    /// The mode of a folder or a socket, in octal.
    pub(super) fn file_mode(&self, value: &Spanned<Word>) -> Result<u32, ConfigError> {
        // TOML has numbers in octal too; read, they are numbers as any other.
        let raw = self.written(&value.span()).filter(|raw| raw.starts_with("0o"));
        let text = raw.unwrap_or(&value.get_ref().0);
        match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
            Ok(mode @ 0o100..=0o777) => Ok(mode),
            _ => Err(self.error(&value.span(), format_args!("{text:?} is no mode in octal, such as 700 or 750"))),
        }
    }

    /// One of some names.
    pub(super) fn choice<T: Copy>(&self, value: &Spanned<String>, known: &[(&str, T)]) -> Result<T, ConfigError> {
        let wrong = value.get_ref();
        if let Some((_, found)) = known.iter().find(|(name, _)| name == wrong) {
            return Ok(*found);
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Err(self.error(&value.span(), Wrong { wrong, names: &names }))
    }

    pub(super) fn at_least_one(&self, value: &Spanned<u64>) -> Result<u64, ConfigError> {
        match *value.get_ref() {
            0 => Err(self.error(&value.span(), "must be at least 1")),
            number => Ok(number),
        }
    }

    pub(super) fn auth(&self, from: &Auth, max_failures: &mut u32) -> Result<(), ConfigError> {
        if let Some(value) = &from.max_failures {
            *max_failures =
                u32::try_from(self.at_least_one(value)?).map_err(|_| self.error(&value.span(), "is too large"))?;
        }
        Ok(())
    }
}

/// A value that is none of the known ones.
pub(super) struct Wrong<'a> {
    pub(super) wrong: &'a str,
    pub(super) names: &'a [&'a str],
}

impl fmt::Display for Wrong<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown value {:?}", self.wrong)?;
        match nearest(self.wrong, self.names) {
            Some(nearest) => write!(f, "; did you mean {nearest:?}?"),
            None => write!(f, "; known: {}", self.names.join(", ")),
        }
    }
}
