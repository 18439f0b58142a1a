//! Where users come from, beside the users' file: one trait, and a file for each kind of source.
//!
//! Sources are asked in the order of the configuration; the first that knows a login name says everything about that
//! user. A source that fails ends the login as "not available now": a user must not be taken for another source's, nor
//! a store that is down for a wrong password.

mod file;
mod passwd;
mod system;
mod virtual_domains;

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::backend::{Result, ScramHash, ScramKeys};

pub use file::UsersFile;
pub use system::{Accounts, SystemUsers};
pub use virtual_domains::VirtualDomains;

use crate::users::{PasswordHash, Pop3Settings, User};

/// Somewhere users come from.
#[async_trait]
pub trait UserSource: Send + Sync + fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Finds the user of a login name, which was prepared for comparison. It decides about nothing but who that is: a
    /// user who can't log in has no password.
    ///
    /// # Errors
    ///
    /// When the source can't be asked now.
    async fn find(&self, login: &str) -> Result<Option<Found>>;

    /// A hash of somebody's password, to be checked when the user is not known, so that this takes as long. `None`: one
    /// of the users' file does.
    async fn decoy(&self, _login: &str) -> Option<PasswordHash> {
        None
    }

    /// Whether its users can have the keys of SCRAM. If one source's can't, SCRAM is not offered: a client would try
    /// it first and be refused.
    fn has_scram(&self) -> bool {
        false
    }
}

/// A user as a source knows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The folder of the user's mail.
    pub mail: PathBuf,
    /// The hash of the password; without one nobody logs in by a password.
    pub secret: Option<PasswordHash>,
    /// The user's home, where there is one beside the mail.
    pub home: Option<Home>,
    /// How the user is served over POP3.
    pub pop3: Pop3Settings,
    /// The entry of the users' file.
    user: Option<Arc<User>>,
}

/// A user's home folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is: user and group id.
    pub owner: Option<(u32, u32)>,
}

impl Found {
    /// A user with mail in this folder.
    #[must_use]
    pub fn new(mail: PathBuf, secret: Option<PasswordHash>) -> Self {
        Self { mail, secret, home: None, pop3: Pop3Settings::default(), user: None }
    }

    /// Whether the mail lies in the user's home, and not in a folder of the server's own.
    #[must_use]
    pub fn mail_is_in_home(&self) -> bool {
        self.home.as_ref().is_some_and(|home| self.mail.starts_with(&home.path))
    }

    /// The keys for SCRAM with this hash function.
    #[must_use]
    pub fn scram_keys(&self, hash: ScramHash) -> Option<&ScramKeys> {
        self.user.as_ref()?.scram_keys(hash)
    }
}

/// Sources in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Sources(Vec<Arc<dyn UserSource>>);

impl Sources {
    /// These, in this order.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn UserSource>>) -> Self {
        Self(sources)
    }

    /// Finds a user.
    ///
    /// # Errors
    ///
    /// Those of the source that failed; the ones after it are not asked.
    pub async fn find(&self, login: &str) -> Result<Option<Found>> {
        for source in &self.0 {
            if let Some(found) = source.find(login).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// See [`UserSource::decoy`].
    pub async fn decoy(&self, login: &str) -> Option<PasswordHash> {
        for source in &self.0 {
            if let Some(decoy) = source.decoy(login).await {
                return Some(decoy);
            }
        }
        None
    }

    /// Whether all users can have the keys of SCRAM.
    #[must_use]
    pub fn have_scram(&self) -> bool {
        self.0.iter().all(|source| source.has_scram())
    }
}

/// Makes a home that is missing: by one mkdir (its parent must be there), with exactly this mode, owned by the user.
/// One that is there is left as it is.
///
/// # Errors
///
/// What the system says.
pub fn create_home(home: &Home, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode & 0o700).create(&home.path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    let finish = || {
        if let Some((user, group)) = home.owner {
            chown(&home.path, Some(user), Some(group))?;
        }
        // Apart from the umask, and after the owner was changed, which may take bits away.
        fs::set_permissions(&home.path, Permissions::from_mode(mode))
    };
    finish().inspect_err(|_| {
        // Half made it would be taken for finished at the next login.
        let _ = fs::remove_dir(&home.path);
    })
}

/// Whether a home is there, or a link to one.
///
/// # Errors
///
/// When it is missing or no folder, and what else the system says.
pub fn check_home(home: &Home) -> io::Result<()> {
    match fs::metadata(&home.path) {
        Ok(data) if data.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, "is no folder")),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_home_is_made_once_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let me = fs::metadata(folder.path()).unwrap();
        let home = Home { path: folder.path().join("ada"), owner: Some((me.uid(), me.gid())) };
        create_home(&home, 0o750).unwrap();
        assert_eq!(fs::metadata(&home.path).unwrap().mode() & 0o7777, 0o750);
        create_home(&home, 0o700).unwrap();
        assert_eq!(fs::metadata(&home.path).unwrap().mode() & 0o7777, 0o750, "it is left as it is");
        let deep = Home { path: folder.path().join("no/where"), owner: None };
        assert_eq!(create_home(&deep, 0o700).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!folder.path().join("no").exists());
    }

    #[test]
    fn a_home_is_a_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home { path: folder.path().join("ada"), owner: None };
        assert_eq!(check_home(&home).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::os::unix::fs::symlink("elsewhere", &home.path).unwrap();
        assert_eq!(check_home(&home).unwrap_err().kind(), io::ErrorKind::NotFound, "a link to nowhere");
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        assert_eq!(check_home(&home).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        fs::remove_file(&elsewhere).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        check_home(&home).unwrap();
    }

    #[test]
    fn mail_is_in_the_home_or_it_is_not() {
        let mut found = Found::new("/home/ada/Maildir".into(), None);
        assert!(!found.mail_is_in_home());
        for (path, inside) in [("/home/ada", true), ("/home/ada/", true), ("/home/ad", false), ("/home/bob", false)] {
            found.home = Some(Home { path: path.into(), owner: None });
            assert_eq!(found.mail_is_in_home(), inside, "{path}");
        }
    }
}
