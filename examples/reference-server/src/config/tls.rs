//! How listeners use TLS, by Stalwart's keys and by those of Mailutils.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pillarbox_proto_core::connection::TlsMode;
use pillarbox_server_core::tls::{CipherSuite, FileChecks, FileKind, Priorities, TlsVersion};
use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::file::Wrong;
use super::listener::{Options, Protocol};
use super::value::{Seconds, Span, Texts};
use super::{Certificate, DEFAULT_TLS_TIMEOUT, Pem, SELF_SIGNED};

/// How a listener uses TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// The certificate that clients get.
    pub certificate: Option<String>,
    /// Certificates for clients that ask for a host by its name.
    pub sni: Vec<Sni>,
    /// How long a handshake may take.
    pub timeout: Duration,
    /// The versions that are spoken.
    pub versions: TlsVersions,
    /// The cipher suites, the preferred one first; `None` for all that there are.
    pub ciphers: Option<Vec<CipherSuite>>,
    /// Priorities in GnuTLS's syntax, as they were given.
    pub priorities: Option<String>,
    /// Whether our order of cipher suites wins over the client's.
    pub ignore_client_order: bool,
    /// The authorities that sign clients' certificates.
    pub ca_file: Option<PathBuf>,
    /// Whether a client must have a certificate; without `ca_file` it is not asked for one.
    pub client_certificate_required: bool,
    /// How the files have to be protected.
    pub file_checks: FileChecks,
}

/// A certificate for clients that ask for a host by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sni {
    /// The host's name.
    pub subject: String,
    /// The certificate's name in the configuration.
    pub certificate: String,
}

/// Which versions of TLS are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

impl Tls {
    pub(super) fn self_signed() -> Self {
        Self { certificate: Some(SELF_SIGNED.to_owned()), ..Self::default() }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: None,
            sni: Vec::new(),
            timeout: DEFAULT_TLS_TIMEOUT,
            versions: TlsVersions::Both,
            ciphers: None,
            priorities: None,
            ignore_client_order: true,
            ca_file: None,
            client_certificate_required: false,
            file_checks: FileChecks::default(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct TlsTable {
    enable: Option<Spanned<bool>>,
    implicit: Option<Spanned<bool>>,
    certificate: Option<Spanned<String>>,
    sni: Option<Vec<SniTable>>,
    timeout: Option<Spanned<Span>>,
    protocols: Option<Spanned<Texts>>,
    ciphers: Option<Spanned<Texts>>,
    ignore_client_order: Option<bool>,
    client_certificate: Option<Spanned<String>>,
    ssl_certificate_file: Option<Spanned<PathBuf>>,
    ssl_key_file: Option<Spanned<PathBuf>>,
    ssl_ca_file: Option<Spanned<PathBuf>>,
    ssl_priorities: Option<Spanned<String>>,
    handshake_timeout: Option<Spanned<Seconds>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SniTable {
    subject: Spanned<String>,
    certificate: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct FileChecksTable {
    key_file: Option<Spanned<Texts>>,
    cert_file: Option<Spanned<Texts>>,
    ca_file: Option<Spanned<Texts>>,
}

/// When TLS is used. What is nearer to the listener holds.
pub(super) fn mode(
    source: &Source<'_>,
    own: Options<'_>,
    server: Options<'_>,
    certificate: bool,
    protocol: Protocol,
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
    let mut mode = None;
    for level in [own, server] {
        for (key, twice) in [("tls.implicit", &level.tls.implicit), ("tls.enable", &level.tls.enable)] {
            if let (Some(_), Some(twice)) = (level.tls_mode, twice) {
                return Err(source.error(&twice.span(), format_args!("{key} and tls-mode exclude each other")));
            }
        }
        let Some(value) = level.tls_mode else { continue };
        let Some((_, named)) = NAMES.iter().find(|(name, _)| name == value.get_ref()) else {
            let names = ["no", "ondemand", "required", "connection"];
            return Err(source.error(&value.span(), Wrong { wrong: value.get_ref(), names: &names }));
        };
        if protocol == Protocol::Http && std::ptr::eq(level.tls_mode, own.tls_mode) && named.upgrades() {
            return Err(source.error(&value.span(), "HTTP has \"no\" and \"connection\" only"));
        }
        mode = mode.or(Some(*named));
    }
    let (enable, implicit) = (&own.tls.enable, &own.tls.implicit);
    let said_by_keys = own.tls_mode.is_none() && (enable.is_some() || implicit.is_some() || server.tls_mode.is_none());
    let mode = match mode {
        Some(mode) if !said_by_keys => mode,
        _ => {
            let is = |own: &Option<Spanned<bool>>, server: &Option<Spanned<bool>>| {
                own.as_ref().or(server.as_ref()).map(|value| *value.get_ref())
            };
            let implicit = is(implicit, &server.tls.implicit).unwrap_or(false);
            match is(enable, &server.tls.enable).unwrap_or(certificate || implicit) {
                false => TlsMode::No,
                true if implicit => TlsMode::Connection,
                true => TlsMode::OnDemand,
            }
        }
    };
    Ok(match mode {
        // There is no upgrade in HTTP. What was said for all listeners holds for it as far as it can.
        TlsMode::OnDemand if protocol == Protocol::Http => TlsMode::No,
        TlsMode::Required if protocol == Protocol::Http => TlsMode::Connection,
        mode => mode,
    })
}

/// Everything about TLS but when it is used.
pub(super) fn resolve(
    source: &Source<'_>,
    own: Options<'_>,
    server: Options<'_>,
    base: &Path,
    certificates: &mut BTreeMap<String, Certificate>,
) -> Result<Tls, ConfigError> {
    let mut tls = Tls::default();
    for level in [own.tls, server.tls] {
        if tls.certificate.is_none() {
            tls.certificate = certificate(source, level, base, certificates)?;
        }
    }
    let (a, b) = (own.tls, server.tls);
    for sni in a.sni.as_ref().or(b.sni.as_ref()).into_iter().flatten() {
        known(source, &sni.certificate, certificates)?;
        if sni.subject.get_ref().is_empty() {
            return Err(source.error(&sni.subject.span(), "subject is empty"));
        }
        tls.sni.push(Sni { subject: sni.subject.get_ref().clone(), certificate: sni.certificate.get_ref().clone() });
    }
    let mut timeout = None;
    for level in [a, b] {
        if let (Some(_), Some(twice)) = (&level.timeout, &level.handshake_timeout) {
            return Err(source.error(&twice.span(), "handshake-timeout and timeout exclude each other"));
        }
        if let Some(value) = &level.handshake_timeout
            && value.get_ref().0 == 0
        {
            return Err(source.error(&value.span(), "must be at least 1"));
        }
        timeout = timeout
            .or(level.timeout.as_ref().map(|span| span.get_ref().0))
            .or(level.handshake_timeout.as_ref().map(|seconds| Duration::from_secs(seconds.get_ref().0.into())));
    }
    tls.timeout = timeout.unwrap_or(DEFAULT_TLS_TIMEOUT);
    if let Some(value) = a.protocols.as_ref().or(b.protocols.as_ref()) {
        tls.versions = versions(source, value)?;
    }
    let priorities = a.ssl_priorities.as_ref().or(b.ssl_priorities.as_ref());
    if let Some(value) = a.ciphers.as_ref().or(b.ciphers.as_ref()) {
        if value.get_ref().0.is_empty() {
            return Err(source.error(&value.span(), "the list is empty"));
        }
        if let Some(twice) = priorities {
            return Err(source.error(&twice.span(), "ssl-priorities and ciphers exclude each other"));
        }
        let mut suites = Vec::new();
        for name in &value.get_ref().0 {
            suites.push(name.parse().map_err(|error| source.error(&value.span(), error))?);
        }
        tls.ciphers = Some(suites);
    }
    if let Some(value) = priorities {
        Priorities::parse(value.get_ref()).map_err(|error| source.error(&value.span(), error))?;
        tls.priorities = Some(value.get_ref().clone());
    }
    tls.ignore_client_order = a.ignore_client_order.or(b.ignore_client_order).unwrap_or(true);
    let ca_file = a.ssl_ca_file.as_ref().or(b.ssl_ca_file.as_ref());
    tls.ca_file = ca_file.map(|path| base.join(path.get_ref()));
    if let Some(value) = a.client_certificate.as_ref().or(b.client_certificate.as_ref()) {
        tls.client_certificate_required = source.choice(value, &[("optional", false), ("required", true)])?;
        if tls.ca_file.is_none() {
            return Err(source.error(&value.span(), "is of no use without ssl-ca-file, the authorities that sign them"));
        }
    }
    let (a, b) = (own.tls_file_checks, server.tls_file_checks);
    for (kind, own, server) in [
        (FileKind::Key, &a.key_file, &b.key_file),
        (FileKind::Certificate, &a.cert_file, &b.cert_file),
        (FileKind::Authorities, &a.ca_file, &b.ca_file),
    ] {
        if let Some(value) = own.as_ref().or(server.as_ref()) {
            let changed = tls.file_checks.with(kind, &value.get_ref().0);
            tls.file_checks = changed.map_err(|error| source.error(&value.span(), error))?;
        }
    }
    Ok(tls)
}

/// The certificate that this table names, by its name or by its files.
fn certificate(
    source: &Source<'_>,
    table: &TlsTable,
    base: &Path,
    certificates: &mut BTreeMap<String, Certificate>,
) -> Result<Option<String>, ConfigError> {
    match (&table.certificate, &table.ssl_certificate_file, &table.ssl_key_file) {
        (Some(_), Some(twice), _) | (Some(_), _, Some(twice)) => {
            Err(source.error(&twice.span(), "tls.certificate and files of its own exclude each other"))
        }
        (Some(name), None, None) => {
            known(source, name, certificates)?;
            Ok(Some(name.get_ref().clone()))
        }
        (None, None, Some(key)) => Err(source.error(&key.span(), "a key without ssl-certificate-file")),
        (None, Some(cert), key) => {
            let cert = base.join(cert.get_ref());
            let key = key.as_ref().map_or_else(|| cert.clone(), |key| base.join(key.get_ref()));
            let found = Certificate { cert: Pem::File(cert.clone()), private_key: Pem::File(key.clone()) };
            let mut name = cert.display().to_string();
            if certificates.get(&name).is_some_and(|other| *other != found) {
                name = format!("{name} {}", key.display());
            }
            certificates.insert(name.clone(), found);
            Ok(Some(name))
        }
        (None, None, None) => Ok(None),
    }
}

fn known(
    source: &Source<'_>,
    name: &Spanned<String>,
    certificates: &BTreeMap<String, Certificate>,
) -> Result<(), ConfigError> {
    if name.get_ref() == SELF_SIGNED || certificates.contains_key(name.get_ref()) {
        return Ok(());
    }
    let mut known: Vec<&str> = certificates.keys().map(String::as_str).collect();
    known.push(SELF_SIGNED);
    Err(source.error(&name.span(), Wrong { wrong: name.get_ref(), names: &known }))
}

fn versions(source: &Source<'_>, value: &Spanned<Texts>) -> Result<TlsVersions, ConfigError> {
    let mut named = Vec::new();
    for name in &value.get_ref().0 {
        named.push(name.parse::<TlsVersion>().map_err(|error| source.error(&value.span(), error))?);
    }
    match (named.contains(&TlsVersion::Tls12), named.contains(&TlsVersion::Tls13)) {
        (true, true) => Ok(TlsVersions::Both),
        (true, false) => Ok(TlsVersions::Only12),
        (false, true) => Ok(TlsVersions::Only13),
        (false, false) => Err(source.error(&value.span(), "the list is empty")),
    }
}
