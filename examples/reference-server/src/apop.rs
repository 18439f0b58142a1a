//! Secrets that user and server share, for APOP (RFC 1939, section 7) and CRAM-MD5.
//!
//! These mechanisms need the secret itself, not a hash of it. So it is another one than the user's password, and is kept
//! in a file of its own, which nobody but its owner may read: a TOML table from login names to secrets. A user without
//! one can't log in by these mechanisms; where nobody has one they are not offered.
//!
//! A running server notices a change by itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pillarbox_proto_core::auth::Secret;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use zeroize::Zeroizing;

use crate::exit::{Failure, Result, Status};
use crate::files::{self, FileLock};
use crate::watched::Watched;

type Table = BTreeMap<String, Secret>;

/// The file of shared secrets of a data folder.
#[derive(Debug)]
pub struct SharedSecrets(Watched<Table>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    secret: BTreeMap<String, Spanned<String>>,
}

#[derive(Serialize)]
struct OutFile<'a> {
    secret: BTreeMap<&'a str, &'a str>,
}

impl SharedSecrets {
    /// Reads the file. One that is missing holds no secret.
    ///
    /// # Errors
    ///
    /// [`Status::Config`] when it is wrong, or when others may read or write it.
    pub fn open(path: PathBuf) -> Result<Self> {
        Watched::open(path, read).map(Self)
    }

    /// Whether there is any.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.table().is_empty()
    }

    /// A user's.
    #[must_use]
    pub fn get(&self, user: &str) -> Option<Secret> {
        self.table().get(user).cloned()
    }

    fn table(&self) -> Arc<Table> {
        self.0.get(|path| {
            // What others may have changed or seen is not to be trusted; nor is what stood there before.
            read(path).map_err(|error| {
                tracing::error!("shared secrets are not used: {error}");
                Some(Table::default())
            })
        })
    }

    /// Gives a user a secret, or takes it away. Other processes wait. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`Status::DataError`] for a secret that is not text; when the file can't be read or written.
    pub fn set(&self, user: &str, secret: Option<&Secret>) -> Result<bool> {
        let path = self.0.path();
        let failed = |error: &io::Error| Failure::io(Status::CantCreate, path.display(), error);
        let _lock = FileLock::wait(&path.with_extension("lock")).map_err(|error| failed(&error))?;
        let mut table = read(path)?;
        let had = match secret {
            Some(secret) if secret.expose_str().is_none() => {
                return Err(Failure::new(Status::DataError, "the secret is not UTF-8 text"));
            }
            Some(secret) => table.insert(user.to_owned(), secret.clone()).is_some(),
            None => table.remove(user).is_some(),
        };
        if secret.is_none() && !had {
            return Ok(false);
        }
        let out = OutFile {
            secret: table.iter().map(|(user, secret)| (&**user, secret.expose_str().unwrap_or_default())).collect(),
        };
        let text = toml::to_string(&out).map_err(|_| Failure::new(Status::Software, "writing shared secrets"))?;
        let text = Zeroizing::new(format!(
            "# Secrets for APOP and CRAM-MD5. \"pillarboxd user passwd --apop\" changes this file.\n\n{text}"
        ));
        files::replace(path, text.as_bytes(), 0o600).map_err(|error| failed(&error))?;
        Ok(had)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::io(Status::NoInput, format_args!("shared secrets {}", path.display()), error)
}

fn read(path: &Path) -> Result<Table> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Table::new()),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let mode = fs::metadata(path).map_err(|error| unreadable(path, &error))?.mode();
    if mode & 0o077 != 0 {
        let text = format_args!("{}: others may read or write it; its mode must be 0600", path.display());
        return Err(Failure::new(Status::Config, text));
    }
    let fault = |at: usize, what: &str| {
        let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        Failure::new(Status::Config, format_args!("{}:{line}: {what}", path.display()))
    };
    // The parser's own message could quote a secret.
    let file: File = toml::from_str(&text)
        .map_err(|error| fault(error.span().map_or(0, |span| span.start), "not a table [secret] of names and texts"))?;
    let mut table = Table::new();
    for (user, secret) in file.secret {
        let at = secret.span().start;
        if secret.get_ref().is_empty() {
            return Err(fault(at, "an empty secret"));
        }
        table.insert(user, Secret::new(secret.into_inner()));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_kept_and_noticed_and_can_be_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("apop.toml");
        let (writer, reader) = (SharedSecrets::open(path.clone()).unwrap(), SharedSecrets::open(path.clone()).unwrap());
        assert!(!reader.any());
        assert!(!writer.set("a", None).unwrap() && !path.exists());
        let secret = Secret::new("tan\"staaf\u{fc}");
        assert!(!writer.set("a@example.org", Some(&secret)).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(reader.any() && reader.get("a@example.org") == Some(secret) && reader.get("b").is_none());
        assert!(writer.set("b", Some(&Secret::new(*b"\xff"))).is_err());
        assert!(writer.set("a@example.org", None).unwrap());
        assert!(!reader.any());
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("apop.toml");
        let secrets = SharedSecrets::open(path.clone()).unwrap();
        secrets.set("a", Some(&Secret::new("hidden"))).unwrap();
        assert!(secrets.any());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(!secrets.any());
        let failure = SharedSecrets::open(path.clone()).unwrap_err();
        assert_eq!(failure.status, Status::Config);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(secrets.any());
        for text in ["[secret]\na = 1\n", "[secret]\na = \"\"\n", "secrets = \"hidden\"\n", "hidden"] {
            fs::write(&path, text).unwrap();
            let failure = SharedSecrets::open(path.clone()).unwrap_err();
            assert_eq!(failure.status, Status::Config);
            assert!(!failure.to_string().contains("hidden"), "{failure}");
        }
    }
}
