//! Users of many domains: for each domain a file of passwd(5) in one folder, named as the domain.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pillarbox_proto_core::backend::{Error, Result};

use super::passwd::Passwd;
use super::{Found, Home, UserSource};
use crate::users::PasswordHash;
use crate::watched::Watched;

/// Domains whose files are kept in memory at most.
const KNOWN: usize = 1024;

/// `user@domain` is the user of that name in the file of the domain. The home is the one of that line, the mail in a
/// folder in it. No system account has to be there: all of it belongs to the server.
#[derive(Debug)]
pub struct VirtualDomains {
    folder: PathBuf,
    mail: PathBuf,
    default_domain: Option<String>,
    known: Mutex<HashMap<String, Arc<Watched<Passwd>>>>,
}

impl VirtualDomains {
    /// The files of this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, mail: PathBuf::from("Maildir"), default_domain: None, known: Mutex::default() }
    }

    /// The folder of the mail in a user's home. Default: `Maildir`. It is made where it is missing, but no folder between
    /// it and the home is.
    #[must_use]
    pub fn mail(mut self, name: impl Into<PathBuf>) -> Self {
        self.mail = name.into();
        self
    }

    /// The domain of users who log in without one. Default: they are not found.
    #[must_use]
    pub fn default_domain(mut self, domain: impl Into<String>) -> Self {
        self.default_domain = Some(domain.into());
        self
    }

    /// The file of a domain as it is now; `None` when there is none.
    fn passwd(&self, domain: &str) -> io::Result<Option<Arc<Passwd>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(domain).cloned();
        if let Some(watched) = known {
            if !watched.path().try_exists()? {
                self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(domain);
                return Ok(None);
            }
            return Ok(Some(watched.get(|path| {
                Passwd::read(path).map_err(|error| {
                    tracing::error!("{}: left as it was known: {error}", path.display());
                    None
                })
            })));
        }
        let watched = match Watched::open(self.folder.join(domain), Passwd::read) {
            Ok(watched) => Arc::new(watched),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let passwd = watched.get(|_| Err(None));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(domain.to_owned(), watched);
        Ok(Some(passwd))
    }

    /// The domain's file and the user's name in it.
    fn split<'l>(&'l self, login: &'l str) -> Option<(&'l str, String)> {
        // The first separator counts: `@`, and the two that other servers take.
        let (user, domain) = match login.find(['@', '!', ':']) {
            Some(at) => (login.get(..at)?, login.get(at + 1..)?),
            None => (login, self.default_domain.as_deref()?),
        };
        let domain = domain.to_ascii_lowercase();
        (!user.is_empty() && is_domain(&domain)).then_some((user, domain))
    }
}

/// Whether a domain can be the name of its file: letters, digits, hyphens and dots, no empty label. What could be a path
/// is none.
fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii())
    };
    domain.len() <= 253 && domain.split('.').all(label)
}

fn unavailable(folder: &Path, error: io::Error) -> Error {
    tracing::error!("virtual domains in {}: {error}", folder.display());
    Error::unavailable(error)
}

#[async_trait]
impl UserSource for VirtualDomains {
    fn name(&self) -> &'static str {
        "virtdomain"
    }

    async fn find(&self, login: &str) -> Result<Option<Found>> {
        let Some((user, domain)) = self.split(login) else { return Ok(None) };
        let passwd = self.passwd(&domain).map_err(|error| unavailable(&self.folder, error))?;
        let Some(passwd) = passwd else { return Ok(None) };
        Ok(passwd.entries.get(user).map(|(entry, hash)| {
            let mut found = Found::new(entry.home.join(&self.mail), hash.clone());
            found.home = Some(Home { path: entry.home.clone(), owner: None });
            found
        }))
    }

    async fn decoy(&self, login: &str) -> Option<PasswordHash> {
        let (_, domain) = self.split(login)?;
        self.passwd(&domain).ok()??.any_hash()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HASH: &str = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";

    async fn mail(domains: &VirtualDomains, login: &str) -> Option<String> {
        domains.find(login).await.unwrap().map(|found| found.mail.display().to_string())
    }

    #[tokio::test]
    async fn users_of_domains() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, home: &str| {
            fs::write(folder.path().join(name), format!("ada:{HASH}:1:1::{home}:\n")).unwrap();
        };
        file("example.org", "/srv/org/ada");
        file("example.com", "/srv/com/ada");
        let domains = VirtualDomains::new(folder.path().to_owned());
        assert_eq!(mail(&domains, "ada@example.org").await.as_deref(), Some("/srv/org/ada/Maildir"));
        assert_eq!(mail(&domains, "ada@EXAMPLE.com").await.as_deref(), Some("/srv/com/ada/Maildir"));
        assert_eq!(mail(&domains, "ada!example.com").await.as_deref(), Some("/srv/com/ada/Maildir"));
        for login in ["ada", "bob@example.org", "ada@example.net", "@example.org", "ada@", "ada@."] {
            assert_eq!(mail(&domains, login).await, None, "{login}");
        }
        assert!(domains.decoy("bob@example.org").await.is_some());
        assert!(domains.decoy("bob@example.net").await.is_none());
        // A change is seen, and a file that goes.
        file("example.org", "/srv/new/home/ada");
        assert_eq!(mail(&domains, "ada@example.org").await.as_deref(), Some("/srv/new/home/ada/Maildir"));
        fs::remove_file(folder.path().join("example.org")).unwrap();
        assert_eq!(mail(&domains, "ada@example.org").await, None);
        let domains = VirtualDomains::new(folder.path().to_owned()).default_domain("example.com").mail("mail");
        assert_eq!(mail(&domains, "ada").await.as_deref(), Some("/srv/com/ada/mail"));
    }

    #[tokio::test]
    async fn no_domain_is_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("domains");
        fs::create_dir(&inner).unwrap();
        fs::write(folder.path().join("secret"), format!("ada:{HASH}:1:1::/x:\n")).unwrap();
        let domains = VirtualDomains::new(inner);
        for login in ["ada@../secret", "ada@..", "ada@.", "ada@/etc/passwd", "ada@a/../../secret", "ada@a..b", "ada@\0"]
        {
            assert_eq!(mail(&domains, login).await, None, "{login}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_read_is_no_unknown_user() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in place of a file: reading it fails for everybody.
        fs::create_dir(folder.path().join("example.org")).unwrap();
        let domains = VirtualDomains::new(folder.path().to_owned());
        assert!(matches!(domains.find("ada@example.org").await, Err(Error::Unavailable(_))));
    }
}
