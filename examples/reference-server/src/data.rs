//! The data folder: everything that the server keeps.
//!
//! ```text
//! users.toml        who may log in (mode 0600)
//! apop.toml         secrets for APOP and CRAM-MD5, where users have them (0600)
//! pop3-login.sqlite the time of each user's last POP3 login, where there is a login delay (0600)
//! bulletins.sqlite  how many bulletins each user has had, where that is not in the user's own folder (0600)
//! salt.key          what the salts of unknown users are made from (0600)
//! tls/cert.pem      the certificate that the server made for itself
//! tls/key.pem       its key (0600)
//! mail/HOME/        one Maildir++ for each user
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pillarbox_proto_core::auth::Secret;

use crate::exit::{Failure, Result, Status};
use crate::files;

/// An existing data folder.
#[derive(Clone, Debug)]
pub struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Opens a data folder that was named: it must be there, as an empty one in its place (an unmounted disk, a
    /// mistyped name) would look as if all mail were lost.
    ///
    /// # Errors
    ///
    /// [`Status::NoInput`] when it is missing.
    pub fn open(root: &Path) -> Result<Self> {
        let root = files::shown(root);
        match fs::metadata(&root) {
            Ok(data) if data.is_dir() => Ok(Self { root }),
            Ok(_) => Err(Failure::new(Status::NoInput, format_args!("data folder {} is not a folder", root.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = root.display();
                Err(Failure::new(
                    Status::NoInput,
                    format_args!("data folder {path} does not exist; to start with an empty one: mkdir -m 700 {path}"),
                ))
            }
            Err(error) => Err(Failure::io(Status::NoInput, format_args!("data folder {}", root.display()), &error)),
        }
    }

    /// Opens the data folder that is used when none is named, and makes it on the first start.
    ///
    /// # Errors
    ///
    /// [`Status::CantCreate`] when it can't be made.
    pub fn open_default() -> Result<Self> {
        let root = default_root().ok_or_else(|| {
            Failure::new(Status::Usage, "neither XDG_DATA_HOME nor HOME is set: name a data folder with --data")
        })?;
        files::private_folder(&root)
            .map_err(|error| Failure::io(Status::CantCreate, format_args!("data folder {}", root.display()), &error))?;
        Self::open(&root)
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The users' file.
    #[must_use]
    pub fn users(&self) -> PathBuf {
        self.root.join("users.toml")
    }

    /// The file of secrets for APOP and CRAM-MD5.
    #[must_use]
    pub fn apop(&self) -> PathBuf {
        self.root.join("apop.toml")
    }

    /// The file of last POP3 logins, unless the configuration names another.
    #[must_use]
    pub fn logins(&self) -> PathBuf {
        self.root.join("pop3-login.sqlite")
    }

    /// The file of bulletins' numbers, unless the configuration names another.
    #[must_use]
    pub fn bulletins(&self) -> PathBuf {
        self.root.join("bulletins.sqlite")
    }

    /// The folder of the certificate that the server made for itself.
    #[must_use]
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// The folder of all users' mail.
    #[must_use]
    pub fn mail(&self) -> PathBuf {
        self.root.join("mail")
    }

    /// The folder of one user's mail, by the home that the users' file gives.
    #[must_use]
    pub fn home(&self, home: &str) -> PathBuf {
        self.mail().join(home)
    }

    /// The key from which the salts of unknown users are made; it is made when there is none.
    ///
    /// # Errors
    ///
    /// When it can't be read or made.
    pub fn salt_key(&self) -> Result<Secret> {
        const LENGTH: usize = 32;
        let path = self.root.join("salt.key");
        let failed = |error: &io::Error| Failure::io(Status::CantCreate, path.display(), error);
        match fs::read(&path) {
            Ok(key) if key.len() == LENGTH => return Ok(Secret::new(key)),
            Ok(_) => {
                let text =
                    format_args!("{}: has not {LENGTH} octets; remove it to have a new one made", path.display());
                return Err(Failure::new(Status::DataError, text));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&error)),
        }
        let key = random::<LENGTH>()?;
        files::replace(&path, &key, 0o600).map_err(|error| failed(&error))?;
        Ok(Secret::new(key))
    }
}

/// Random octets.
///
/// # Errors
///
/// [`Status::OsError`] when the system has none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets)
        .map_err(|error| Failure::new(Status::OsError, format_args!("random octets: {error}")))?;
    Ok(octets)
}

/// `$XDG_DATA_HOME/pillarbox`, else `~/.local/share/pillarbox`.
fn default_root() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")))?;
    Some(base.join("pillarbox"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_named_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone");
        let failure = DataFolder::open(&path).unwrap_err();
        assert_eq!(failure.status, Status::NoInput);
        assert!(failure.to_string().contains(path.to_str().unwrap()));
        assert!(!path.exists());
    }

    #[test]
    fn the_salt_key_stays() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let key = data.salt_key().unwrap();
        assert!(key == data.salt_key().unwrap());
        assert_eq!(key.expose().len(), 32);
        fs::write(folder.path().join("salt.key"), "short").unwrap();
        assert_eq!(data.salt_key().unwrap_err().status, Status::DataError);
    }
}
