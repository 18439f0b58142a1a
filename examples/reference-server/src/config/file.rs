//! The file's form, and how effective settings follow from it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, Source, nearest};
use super::value::{Span, Texts};
use super::{
    Certificate, Config, DEFAULT_MAX_CONNECTIONS, DEFAULT_TLS_TIMEOUT, Fsync, Listener, Pem, Protocol, SELF_SIGNED,
    TlsMode,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    data: Option<PathBuf>,
    fsync: Option<Spanned<String>>,
    max_message_size: Option<Spanned<u64>>,
    server: Server,
    certificate: BTreeMap<String, CertificateTable>,
    imap: ImapTable,
    pop3: super::pop3::Table,
    log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Server {
    max_connections: Option<Spanned<u64>>,
    tls_mode: Option<Spanned<String>>,
    shutdown_grace: Option<Span>,
    tls: TlsTable,
    listener: BTreeMap<Spanned<String>, ListenerTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct ListenerTable {
    bind: Option<Spanned<Texts>>,
    protocol: Option<Spanned<String>>,
    tls_mode: Option<Spanned<String>>,
    max_connections: Option<Spanned<u64>>,
    tls: TlsTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct TlsTable {
    implicit: Option<Spanned<bool>>,
    certificate: Option<Spanned<String>>,
    timeout: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CertificateTable {
    cert: String,
    private_key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct ImapTable {
    literal_plus: Option<Spanned<String>>,
    auth: Auth,
    timeout: Timeout,
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Log {
    level: Option<String>,
}

impl Config {
    /// Reads a configuration's text. `path` is where it came from: errors name it, and relative paths start there.
    ///
    /// # Errors
    ///
    /// The first fault, with its line and key.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let source = Source { text, file: path };
        let file: File = toml::from_str(text).map_err(|error| source.toml(&error))?;
        let base = path.parent().unwrap_or(Path::new(""));
        let defaults = Self::built_in();
        let mut config = Self { source: Some(path.to_owned()), listeners: Vec::new(), ..defaults };

        config.data = file.data.map(|data| base.join(data));
        if let Some(fsync) = file.fsync {
            config.fsync = source.choice(&fsync, &[("optimized", Fsync::Optimized), ("always", Fsync::Always)])?;
        }
        if let Some(size) = file.max_message_size {
            config.max_message_size = source.at_least_one(&size)?;
        }
        if let Some(grace) = file.server.shutdown_grace {
            config.shutdown_grace = grace.0;
        }
        if let Some(level) = file.log.level {
            config.log = level;
        }
        if let Some(literal) = file.imap.literal_plus {
            config.imap.literal_minus = source.choice(&literal, &[("literal+", false), ("literal-", true)])?;
        }
        let imap = &mut config.imap;
        source.auth(&file.imap.auth, &mut imap.max_failures)?;
        timeouts(&file.imap.timeout, &mut imap.timeout_anonymous, &mut imap.timeout_authenticated);
        config.pop3 = file.pop3.resolve(&source, base)?;

        for (id, table) in file.certificate {
            if id == SELF_SIGNED {
                return Err(source.whole(format_args!(
                    "certificate.{SELF_SIGNED}: this name is that of the certificate in the data folder"
                )));
            }
            let certificate = Certificate { cert: pem(table.cert, base), private_key: pem(table.private_key, base) };
            config.certificates.insert(id, certificate);
        }
        config.imap.allow_plain_text = file.imap.auth.allow_plain_text;
        let plain_text = (config.imap.allow_plain_text, config.pop3.allow_plain_text);
        let server = ServerDefaults {
            tls_mode: file.server.tls_mode,
            tls: file.server.tls,
            max_connections: file.server.max_connections,
            plain_text,
        };
        for (id, table) in file.server.listener {
            let listener = source.listener(&id, table, &server, &config.certificates)?;
            config.listeners.push(listener);
        }
        if config.listeners.is_empty() {
            return Err(source.whole("server.listener: no listener; add a table such as [server.listener.imap]"));
        }
        Ok(config)
    }
}

/// What a listener falls back to.
struct ServerDefaults {
    tls_mode: Option<Spanned<String>>,
    tls: TlsTable,
    max_connections: Option<Spanned<u64>>,
    plain_text: (Option<bool>, Option<bool>),
}

pub(super) fn timeouts(from: &Timeout, anonymous: &mut std::time::Duration, authenticated: &mut std::time::Duration) {
    if let Some(span) = from.anonymous {
        *anonymous = span.0;
    }
    if let Some(span) = from.authenticated {
        *authenticated = span.0;
    }
}

fn pem(value: String, base: &Path) -> Pem {
    match value.strip_prefix("file://") {
        Some(path) => Pem::File(base.join(path)),
        None if value.contains("-----BEGIN") => Pem::Inline(value),
        None => Pem::File(base.join(value)),
    }
}

impl Source<'_> {
    /// One of some names.
    pub(super) fn choice<T: Copy>(&self, value: &Spanned<String>, known: &[(&str, T)]) -> Result<T, ConfigError> {
        let wrong = value.get_ref();
        if let Some((_, found)) = known.iter().find(|(name, _)| name == wrong) {
            return Ok(*found);
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Err(self.error(&value.span(), Wrong { wrong, names: &names }))
    }

    fn at_least_one(&self, value: &Spanned<u64>) -> Result<u64, ConfigError> {
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

    fn listener(
        &self,
        id: &Spanned<String>,
        table: ListenerTable,
        server: &ServerDefaults,
        certificates: &BTreeMap<String, Certificate>,
    ) -> Result<Listener, ConfigError> {
        let missing = |key: &str| self.error(&id.span(), format_args!("no '{key}' is given"));
        let protocol = table.protocol.as_ref().ok_or_else(|| missing("protocol"))?;
        let protocol = self.protocol(protocol)?;
        let certificate = table.tls.certificate.as_ref().or(server.tls.certificate.as_ref());
        if let Some(name) = certificate
            && name.get_ref() != SELF_SIGNED
            && !certificates.contains_key(name.get_ref())
        {
            let mut known: Vec<&str> = certificates.keys().map(String::as_str).collect();
            known.push(SELF_SIGNED);
            return Err(self.error(&name.span(), Wrong { wrong: name.get_ref(), names: &known }));
        }
        let tls_mode = self.tls_mode(&table, server, certificate.is_some())?;
        if tls_mode != TlsMode::No && certificate.is_none() {
            let text =
                "no certificate set: give tls.certificate, here or in server.tls (\"self-signed\" is always there)";
            return Err(self.error(&id.span(), text));
        }
        let bind = table.bind.as_ref().ok_or_else(|| missing("bind"))?;
        let bind = self.addresses(bind, protocol.default_port(tls_mode))?;
        let max_connections = match table.max_connections.as_ref().or(server.max_connections.as_ref()) {
            Some(value) => usize::try_from(self.at_least_one(value)?).unwrap_or(usize::MAX),
            None => DEFAULT_MAX_CONNECTIONS,
        };
        let allow = match protocol {
            Protocol::Imap => server.plain_text.0,
            Protocol::Pop3 => server.plain_text.1,
        };
        // What never leaves the machine needs no protection; anything else does, unless told otherwise.
        let allow_plain_text = allow.unwrap_or_else(|| bind.iter().all(|address| address.ip().is_loopback()));
        Ok(Listener {
            id: id.get_ref().clone(),
            bind,
            protocol,
            tls_mode,
            certificate: if tls_mode == TlsMode::No { None } else { certificate.map(|name| name.get_ref().clone()) },
            tls_timeout: table.tls.timeout.or(server.tls.timeout).map_or(DEFAULT_TLS_TIMEOUT, |span| span.0),
            max_connections,
            allow_plain_text,
        })
    }

    fn protocol(&self, value: &Spanned<String>) -> Result<Protocol, ConfigError> {
        match value.get_ref().to_ascii_lowercase().as_str() {
            "imap" => Ok(Protocol::Imap),
            "pop3" => Ok(Protocol::Pop3),
            known @ ("smtp" | "lmtp" | "jmap" | "managesieve" | "http") => {
                Err(self.error(&value.span(), format_args!("{known} is not served here; \"imap\" and \"pop3\" are")))
            }
            wrong => Err(self.error(&value.span(), Wrong { wrong, names: &["imap", "pop3"] })),
        }
    }

    fn tls_mode(
        &self,
        table: &ListenerTable,
        server: &ServerDefaults,
        certificate: bool,
    ) -> Result<TlsMode, ConfigError> {
        const NAMES: [(&str, TlsMode); 12] = [
            ("no", TlsMode::No),
            ("ondemand", TlsMode::OnDemand),
            ("required", TlsMode::Required),
            ("connection", TlsMode::Connection),
            ("false", TlsMode::No),
            ("off", TlsMode::No),
            ("0", TlsMode::No),
            ("stls", TlsMode::OnDemand),
            ("yes", TlsMode::Connection),
            ("true", TlsMode::Connection),
            ("on", TlsMode::Connection),
            ("1", TlsMode::Connection),
        ];
        // What is nearer to the listener holds.
        for (mode, implicit) in [(&table.tls_mode, &table.tls.implicit), (&server.tls_mode, &server.tls.implicit)] {
            match (mode, implicit.as_ref()) {
                (Some(_), Some(implicit)) => {
                    return Err(self.error(&implicit.span(), "tls.implicit and tls-mode exclude each other"));
                }
                (Some(mode), None) => {
                    return match NAMES.iter().find(|(name, _)| name == mode.get_ref()) {
                        Some((_, mode)) => Ok(*mode),
                        None => {
                            let names = ["no", "ondemand", "required", "connection"];
                            Err(self.error(&mode.span(), Wrong { wrong: mode.get_ref(), names: &names }))
                        }
                    };
                }
                (None, Some(implicit)) if *implicit.get_ref() => return Ok(TlsMode::Connection),
                (None, Some(_)) => break,
                (None, None) => {}
            }
        }
        Ok(if certificate { TlsMode::OnDemand } else { TlsMode::No })
    }

    fn addresses(&self, bind: &Spanned<Texts>, default_port: u16) -> Result<Vec<SocketAddr>, ConfigError> {
        let mut addresses = Vec::new();
        for text in &bind.get_ref().0 {
            let address = text.parse().or_else(|_| {
                let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
                bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, default_port))
            });
            let address = address.map_err(|_| {
                self.error(
                    &bind.span(),
                    format_args!("{text:?} is no address, such as \"127.0.0.1:143\" or \"[::]:143\""),
                )
            })?;
            if address.port() != 0 && addresses.contains(&address) {
                return Err(self.error(&bind.span(), format_args!("{text:?} stands there twice")));
            }
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(self.error(&bind.span(), "the list is empty"));
        }
        Ok(addresses)
    }
}

/// A value that is none of the known ones.
struct Wrong<'a> {
    wrong: &'a str,
    names: &'a [&'a str],
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
