//! The form of the users' file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pillarbox_proto_core::backend::ScramHash;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Expire, PasswordHash, Pop3Settings, Table, User, is_home, scram};
use crate::exit::{Failure, Result, Status};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    user: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    home: Spanned<String>,
    secret: Spanned<String>,
    scram_sha_256: Option<Spanned<String>>,
    scram_sha_1: Option<Spanned<String>>,
    #[serde(default)]
    pop3: Pop3Entry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Pop3Entry {
    enabled: bool,
    login_delay: Option<u32>,
    expire: Option<Spanned<ExpireEntry>>,
    delete_expired: Option<bool>,
}

impl Default for Pop3Entry {
    fn default() -> Self {
        Self { enabled: Pop3Settings::default().enabled, login_delay: None, expire: None, delete_expired: None }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(untagged, expecting = "a number of days, or \"never\"")]
enum ExpireEntry {
    Days(u32),
    Word(String),
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Table> {
    let fault = |at: Option<usize>, what: &str| {
        let before = text.as_bytes().get(..at.unwrap_or(0)).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Failure::new(Status::Config, format_args!("{}:{line}: {what}", path.display()))
    };
    // The parser's message may quote a value, and some of these are secret: serde's names a value only when its type is
    // wrong, and all secrets are texts in a place for texts.
    let file: File =
        toml::from_str(text).map_err(|error| fault(error.span().map(|span| span.start), error.message()))?;
    let mut table = Table::new();
    for (name, entry) in file.user {
        let wrong = |value: &Spanned<String>, what: &str| {
            fault(Some(value.span().start), &format!("user.{}: {what}", crate::config::quoted(&name)))
        };
        if !is_home(entry.home.get_ref()) {
            return Err(wrong(&entry.home, "home is not the name of a folder"));
        }
        let secret = PasswordHash::parse(entry.secret.get_ref())
            .ok_or_else(|| wrong(&entry.secret, "secret is no hash of a password (an argon2id PHC string)"))?;
        let keys = |value: &Option<Spanned<String>>, hash| match value {
            None => Ok(None),
            Some(value) => match scram::parse(value.get_ref(), hash) {
                Some(keys) => Ok(Some(keys)),
                None => Err(wrong(value, "SCRAM keys are not as RFC 5803 writes them")),
            },
        };
        let expire = match entry.pop3.expire.as_ref() {
            None => None,
            Some(value) => match value.get_ref() {
                ExpireEntry::Days(days) => Some(Expire::Days(*days)),
                ExpireEntry::Word(word) if word == "never" => Some(Expire::Never),
                ExpireEntry::Word(_) => {
                    let before = text.as_bytes().get(..value.span().start).unwrap_or_default();
                    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                    let name = crate::config::quoted(&name);
                    let what = format_args!(
                        "{}:{line}: user.{name}.pop3.expire is neither a number of days nor \"never\"",
                        path.display()
                    );
                    return Err(Failure::new(Status::Config, what));
                }
            },
        };
        let user = User {
            home: entry.home.into_inner(),
            secret,
            scram_sha256: keys(&entry.scram_sha_256, ScramHash::Sha256)?,
            scram_sha1: keys(&entry.scram_sha_1, ScramHash::Sha1)?,
            pop3: Pop3Settings {
                enabled: entry.pop3.enabled,
                login_delay: entry.pop3.login_delay,
                expire,
                delete_expired: entry.pop3.delete_expired,
            },
        };
        table.insert(name, Arc::new(user));
    }
    Ok(table)
}

#[derive(Serialize)]
struct OutFile<'a> {
    user: BTreeMap<&'a str, OutEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct OutEntry<'a> {
    home: &'a str,
    secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scram_sha_256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scram_sha_1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pop3: Option<OutPop3>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct OutPop3 {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_delay: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire: Option<ExpireEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_expired: Option<bool>,
}

pub(super) fn write(table: &Table) -> Result<String> {
    let entry = |user: &'_ User| {
        let pop3 = (user.pop3 != Pop3Settings::default()).then(|| OutPop3 {
            enabled: user.pop3.enabled,
            login_delay: user.pop3.login_delay,
            expire: user.pop3.expire.map(|expire| match expire {
                Expire::Never => ExpireEntry::Word("never".to_owned()),
                Expire::Days(days) => ExpireEntry::Days(days),
            }),
            delete_expired: user.pop3.delete_expired,
        });
        (
            user.scram_sha256.as_ref().map(|keys| scram::write(keys, ScramHash::Sha256)),
            user.scram_sha1.as_ref().map(|keys| scram::write(keys, ScramHash::Sha1)),
            pop3,
        )
    };
    let mut file = OutFile { user: BTreeMap::new() };
    for (name, user) in table {
        let (scram_sha_256, scram_sha_1, pop3) = entry(user);
        let out = OutEntry { home: &user.home, secret: user.secret.expose(), scram_sha_256, scram_sha_1, pop3 };
        file.user.insert(name, out);
    }
    let text = toml::to_string(&file).map_err(|error| Failure::new(Status::Software, error))?;
    Ok(format!(
        "# Who may log in. \"pillarboxd user\" changes this file; a running server reads it again by itself.\n\n{text}"
    ))
}
