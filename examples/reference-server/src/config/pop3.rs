//! Settings of POP3, and the policies of its maildrops.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pillarbox_pop3_proto::Internationalized;
use serde::Deserialize;
use toml::Spanned;

use super::MINUTE;
use super::error::{ConfigError, Source};
use super::file::{Auth, Timeout, timeouts};
use super::show::{allow, text};
use super::value::{Seconds, Span};
use crate::store::ExpireStamp;

/// The languages that POP3 speaks.
const LANGUAGES: [&str; 2] = ["en", "de"];

/// Settings of POP3.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pop3 {
    /// Whether passwords may come over connections without TLS, where it is set; see
    /// [`Listener::allow_plain_text`](super::Listener::allow_plain_text).
    pub allow_plain_text: Option<bool>,
    /// Failed logins that end a connection.
    pub max_failures: u32,
    /// From the greeting to a login.
    pub timeout_anonymous: Duration,
    /// Without input after login.
    pub timeout_authenticated: Duration,
    /// Messages that were marked as deleted elsewhere are shown, and lose the mark.
    pub undelete: bool,
    /// What clients get of messages with UTF-8 in their headers that have not asked for UTF-8.
    pub internationalized: Internationalized,
    /// The language that `LANG *` selects: a tag of one that POP3 speaks.
    pub language: &'static str,
    /// The least time between two logins of a user, in seconds; 0 for none.
    pub login_delay: u32,
    /// The file of last logins; `None` for the one in the data folder.
    pub stat_file: Option<PathBuf>,
    /// How many days messages stay after their retrieval; `None` for ever.
    pub expire: Option<u32>,
    /// Whether expired messages are removed at QUIT. Those that are to stay 0 days always are.
    pub delete_expired: bool,
    /// Where it is kept when a message was first retrieved.
    pub expire_stamp: ExpireStamp,
    /// The Maildir that bulletins come from.
    pub bulletin_source: Option<PathBuf>,
    /// Where the number of each user's last bulletin is kept, if not in a file `.popbull` of the user's home.
    pub bulletin_db: Option<BulletinDb>,
}

/// The file of bulletins' numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulletinDb {
    /// The one in the data folder.
    InDataFolder,
    /// This one.
    At(PathBuf),
}

impl Default for Pop3 {
    fn default() -> Self {
        Self {
            allow_plain_text: None,
            max_failures: 3,
            timeout_anonymous: MINUTE,
            timeout_authenticated: 10 * MINUTE,
            undelete: false,
            internationalized: Internationalized::default(),
            language: LANGUAGES[0],
            login_delay: 0,
            stat_file: None,
            expire: None,
            delete_expired: false,
            expire_stamp: ExpireStamp::default(),
            bulletin_source: None,
            bulletin_db: None,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct Table {
    pub(super) auth: Auth,
    timeout: Timeout,
    undelete: bool,
    internationalized: Option<Spanned<String>>,
    language: Option<Spanned<String>>,
    login_delay: Option<Spanned<Seconds>>,
    stat_file: Option<Spanned<String>>,
    expire: Option<Spanned<u64>>,
    delete_expired: bool,
    expire_stamp: Option<Spanned<String>>,
    bulletin_source: Option<Spanned<String>>,
    bulletin_db: Option<Spanned<Place>>,
}

/// A file, or `true` for the one in the data folder.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "the path of a file, or true for the one in the data folder")]
enum Place {
    Default(bool),
    Path(String),
}

impl Table {
    /// The settings; relative paths start at `base`.
    pub(super) fn resolve(self, source: &Source<'_>, base: &Path) -> Result<Pop3, ConfigError> {
        let mut pop3 = Pop3 { allow_plain_text: self.auth.allow_plain_text, ..Pop3::default() };
        source.auth(&self.auth, &mut pop3.max_failures)?;
        timeouts(&self.timeout, &mut pop3.timeout_anonymous, &mut pop3.timeout_authenticated);
        pop3.undelete = self.undelete;
        if let Some(value) = &self.internationalized {
            let known = [("downgrade", Internationalized::Downgrade), ("refuse", Internationalized::Refuse)];
            pop3.internationalized = source.choice(value, &known)?;
        }
        if let Some(language) = &self.language {
            pop3.language = source.choice(language, &LANGUAGES.map(|tag| (tag, tag)))?;
        }
        if let Some(delay) = self.login_delay {
            pop3.login_delay = delay.get_ref().0;
        }
        if let Some(days) = self.expire {
            let number = u32::try_from(*days.get_ref()).map_err(|_| source.error(&days.span(), "is too large"))?;
            pop3.expire = Some(number);
        }
        pop3.delete_expired = self.delete_expired;
        if let Some(stamp) = self.expire_stamp {
            let known = [("header", ExpireStamp::Header), ("index", ExpireStamp::Index)];
            pop3.expire_stamp = source.choice(&stamp, &known)?;
        }
        let file = |value: &Spanned<String>| match value.get_ref().as_str() {
            "" => Err(source.error(&value.span(), "is empty")),
            path => Ok(base.join(path)),
        };
        pop3.stat_file = self.stat_file.as_ref().map(file).transpose()?;
        if let Some(value) = &self.bulletin_source {
            let path = maildir(value.get_ref()).map_err(|fault| source.error(&value.span(), fault))?;
            pop3.bulletin_source = Some(base.join(path));
        }
        if let Some(value) = &self.bulletin_db {
            pop3.bulletin_db = match value.get_ref() {
                Place::Default(true) => Some(BulletinDb::InDataFolder),
                Place::Default(false) => None,
                Place::Path(path) if path.is_empty() => return Err(source.error(&value.span(), "is empty")),
                Place::Path(path) => Some(BulletinDb::At(base.join(path))),
            };
        }
        Ok(pop3)
    }
}

/// The path of a Maildir, given as such or as a URL.
fn maildir(value: &str) -> Result<&str, String> {
    let (scheme, rest) = match value.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
        _ => ("maildir", value),
    };
    match scheme {
        "maildir" => match rest.strip_prefix("//").unwrap_or(rest) {
            "" => Err("names no folder".to_owned()),
            path => Ok(path),
        },
        "mbox" | "mh" => Err(format!("{scheme}: mailboxes are not supported yet as a source; a Maildir is")),
        _ => Err(format!("unknown kind of mailbox {scheme:?}; known: maildir")),
    }
}

/// The table as a configuration file has it.
impl fmt::Display for Pop3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Path| text(&path.display().to_string());
        writeln!(f, "auth.max-failures = {}", self.max_failures)?;
        allow(f, self.allow_plain_text)?;
        writeln!(f, "timeout.anonymous = \"{}\"", Span(self.timeout_anonymous))?;
        writeln!(f, "timeout.authenticated = \"{}\"", Span(self.timeout_authenticated))?;
        let internationalized = match self.internationalized {
            Internationalized::Refuse => "refuse",
            _ => "downgrade",
        };
        writeln!(f, "undelete = {}\ninternationalized = \"{internationalized}\"", self.undelete)?;
        writeln!(f, "language = \"{}\"\nlogin-delay = {}", self.language, self.login_delay)?;
        if let Some(file) = &self.stat_file {
            writeln!(f, "stat-file = {}", path(file))?;
        }
        if let Some(days) = self.expire {
            writeln!(f, "expire = {days}")?;
        }
        let stamp = match self.expire_stamp {
            ExpireStamp::Header => "header",
            ExpireStamp::Index => "index",
        };
        writeln!(f, "delete-expired = {}\nexpire-stamp = \"{stamp}\"", self.delete_expired)?;
        if let Some(source) = &self.bulletin_source {
            writeln!(f, "bulletin-source = {}", text(&format!("maildir:{}", source.display())))?;
        }
        match &self.bulletin_db {
            None => Ok(()),
            Some(BulletinDb::InDataFolder) => writeln!(f, "bulletin-db = true"),
            Some(BulletinDb::At(file)) => writeln!(f, "bulletin-db = {}", path(file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_paths_or_urls() {
        for (value, path) in [
            ("/srv/news", "/srv/news"),
            ("news", "news"),
            ("maildir:/srv/news", "/srv/news"),
            ("maildir:///srv/news", "/srv/news"),
            ("./a:b", "./a:b"),
        ] {
            assert_eq!(maildir(value), Ok(path), "{value}");
        }
        for value in ["", "maildir:", "maildir://", "mbox:/x", "mh:/x", "imap://x"] {
            assert!(maildir(value).is_err(), "{value}");
        }
    }
}
