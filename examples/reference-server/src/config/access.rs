//! Who may connect, and who clients are before they say a word.

use std::path::{Path, PathBuf};

use pillarbox_server_core::preauth::Scheme;
use pillarbox_server_core::{Network, access};
use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::value::Texts;

/// An access control list: entries in their order, each as its words or as one line of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(pub Vec<Vec<String>>);

impl Acl {
    /// The gate that it is. Host names are looked up here.
    ///
    /// # Errors
    ///
    /// The first entry that is wrong.
    pub fn build(&self) -> Result<access::Acl, access::EntryError> {
        self.0.iter().try_fold(access::Acl::new(), |acl, words| acl.entry(words))
    }
}

/// The entries of an `acl`: each a text (`"deny from 10.0.0.0/8"`) or a list of words
/// (`["log", "any", "hit ${address}"]`).
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct AclTable(Vec<Spanned<Entry>>);

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "an entry such as \"deny from 10.0.0.0/8\", or a list of its words")]
enum Entry {
    Line(String),
    Words(Vec<String>),
}

/// The tables of tcp-wrappers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpWrappers {
    /// The name by which the tables know this program; `None` for that of the protocol's own (`imap4d`, `pop3d`).
    pub daemon: Option<String>,
    /// Who is allowed.
    pub allow_table: PathBuf,
    /// Who is refused.
    pub deny_table: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct TcpWrappersTable {
    enable: Option<bool>,
    daemon: Option<String>,
    allow_table: Option<PathBuf>,
    deny_table: Option<PathBuf>,
}

impl TcpWrappersTable {
    /// They are asked where they are mentioned.
    pub(super) fn resolve(&self, base: &Path) -> Option<TcpWrappers> {
        let mentioned = self.daemon.is_some() || self.allow_table.is_some() || self.deny_table.is_some();
        if !self.enable.unwrap_or(mentioned) {
            return None;
        }
        let path = |given: &Option<PathBuf>, default: &str| {
            given.as_ref().map_or_else(|| PathBuf::from(default), |path| base.join(path))
        };
        Some(TcpWrappers {
            daemon: self.daemon.clone(),
            allow_table: path(&self.allow_table, "/etc/hosts.allow"),
            deny_table: path(&self.deny_table, "/etc/hosts.deny"),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct ProxyTable {
    trusted_networks: Option<Spanned<Texts>>,
}

/// Who clients are before they say a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preauth {
    /// How that is found out: see [`Scheme`](pillarbox_server_core::preauth::Scheme).
    pub scheme: Option<String>,
    /// Whether clients that are not known are disconnected.
    pub only: bool,
    /// The keys for encrypted ident replies.
    pub ident_keyfile: Option<PathBuf>,
    /// Whether ident replies that are not encrypted count for nothing.
    pub ident_encrypt_only: bool,
}

/// The keys of a table that are about preauth.
#[derive(Clone, Copy)]
pub(super) struct PreauthKeys<'t> {
    pub(super) preauth: &'t Option<Spanned<String>>,
    pub(super) only: &'t Option<bool>,
    pub(super) keyfile: &'t Option<PathBuf>,
    pub(super) encrypt_only: &'t Option<bool>,
}

impl Source<'_> {
    pub(super) fn acl(&self, table: &AclTable) -> Result<Acl, ConfigError> {
        let mut acl = Acl::default();
        let mut built = access::Acl::new();
        for entry in &table.0 {
            let words = match entry.get_ref() {
                Entry::Line(line) => vec![line.clone()],
                Entry::Words(words) => words.clone(),
            };
            built = built.entry(&words).map_err(|error| self.error(&entry.span(), error))?;
            acl.0.push(words);
        }
        Ok(acl)
    }

    pub(super) fn networks(&self, own: &ProxyTable, server: &ProxyTable) -> Result<Vec<Network>, ConfigError> {
        let Some(value) = own.trusted_networks.as_ref().or(server.trusted_networks.as_ref()) else {
            return Ok(Vec::new());
        };
        let mut networks = Vec::new();
        for text in &value.get_ref().0 {
            let network: Network = text.parse().map_err(|error| self.error(&value.span(), error))?;
            if network.prefix() < 8 {
                return Err(self.error(&value.span(), format_args!("{text:?}: more than a /8 is not to be trusted")));
            }
            networks.push(network);
        }
        Ok(networks)
    }

    pub(super) fn preauth(
        &self,
        own: PreauthKeys<'_>,
        server: PreauthKeys<'_>,
        base: &Path,
    ) -> Result<Preauth, ConfigError> {
        let scheme = own.preauth.as_ref().or(server.preauth.as_ref());
        if let Some(value) = scheme {
            Scheme::parse(value.get_ref()).map_err(|error| self.error(&value.span(), error))?;
        }
        let keyfile = own.keyfile.as_ref().or(server.keyfile.as_ref());
        Ok(Preauth {
            scheme: scheme.map(|value| value.get_ref().clone()),
            only: own.only.or(*server.only).unwrap_or(false),
            ident_keyfile: keyfile.map(|path| base.join(path)),
            ident_encrypt_only: own.encrypt_only.or(*server.encrypt_only).unwrap_or(false),
        })
    }
}
