//! The form of the users' file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pillarbox_proto_core::backend::ScramHash;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{PasswordHash, Pop3Settings, Table, User, is_home, scram};
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
#[serde(deny_unknown_fields, default)]
struct Pop3Entry {
    enabled: bool,
}

impl Default for Pop3Entry {
    fn default() -> Self {
        Self { enabled: Pop3Settings::default().enabled }
    }
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
        let user = User {
            home: entry.home.into_inner(),
            secret,
            scram_sha256: keys(&entry.scram_sha_256, ScramHash::Sha256)?,
            scram_sha1: keys(&entry.scram_sha_1, ScramHash::Sha1)?,
            pop3: Pop3Settings { enabled: entry.pop3.enabled },
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
struct OutPop3 {
    enabled: bool,
}

pub(super) fn write(table: &Table) -> Result<String> {
    let entry = |user: &'_ User| {
        let pop3 = (user.pop3 != Pop3Settings::default()).then_some(OutPop3 { enabled: user.pop3.enabled });
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
