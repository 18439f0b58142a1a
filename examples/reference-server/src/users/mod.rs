//! The users' file: who may log in, and where their mail is.
//!
//! A TOML file that only its owner can read, with a table for each user, by the full name that they log in with:
//!
//! ```toml
//! [user.demo]
//! home = "demo"                  # the folder of the user's mail, below `mail` in the data folder
//! secret = "$argon2id$v=19$..."  # a hash of the password (PHC string)
//! scram-sha-256 = "SCRAM-SHA-256$15000:salt$stored:server"  # RFC 5803
//! scram-sha-1 = "SCRAM-SHA-1$15000:salt$stored:server"
//!
//! [user.demo.pop3]               # optional
//! enabled = true
//! login-delay = 60               # seconds; in place of what the configuration says, as are all that follow
//! expire = 5                     # days, or "never"
//! delete-expired = true
//! ```
//!
//! It holds no password, but what it holds lets one guess passwords at leisure. It is replaced in one step, and a running
//! server notices a change by itself.

mod crypt;
mod file;
mod hash_pool;
mod password;
mod scram;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pillarbox_proto_core::auth::{Secret, prepare_user};
use pillarbox_proto_core::backend::{ScramHash, ScramKeys};

pub use hash_pool::HashPool;
pub use password::{PasswordHash, generate_password};

use crate::exit::{Failure, Result, Status};
use crate::files::{self, FileLock};
use crate::watched::Watched;

/// One user.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct User {
    /// The folder of the user's mail: one path component.
    pub home: String,
    /// The hash of the password.
    pub secret: PasswordHash,
    /// Keys for SCRAM-SHA-256.
    pub scram_sha256: Option<ScramKeys>,
    /// Keys for SCRAM-SHA-1.
    pub scram_sha1: Option<ScramKeys>,
    /// How the user is served over POP3.
    pub pop3: Pop3Settings,
}

/// How a user is served over POP3. What is `None` is as the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pop3Settings {
    /// Whether the user is served over POP3 at all.
    pub enabled: bool,
    /// The least time between two logins, in seconds; 0 for none.
    pub login_delay: Option<u32>,
    /// How long messages stay after their retrieval.
    pub expire: Option<Expire>,
    /// Whether expired messages are removed at QUIT.
    pub delete_expired: Option<bool>,
}

/// How long a user's messages stay after their retrieval over POP3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expire {
    /// For ever.
    Never,
    /// So many days.
    Days(u32),
}

impl Default for Pop3Settings {
    fn default() -> Self {
        Self { enabled: true, login_delay: None, expire: None, delete_expired: None }
    }
}

impl User {
    /// A user with this home and password. It takes a while: the password is hashed.
    ///
    /// # Errors
    ///
    /// When the system has no random octets.
    pub fn new(home: String, password: &Secret) -> Result<Self> {
        let mut user = Self {
            home,
            secret: PasswordHash::new(password)?,
            scram_sha256: None,
            scram_sha1: None,
            pop3: Pop3Settings::default(),
        };
        user.derive_scram_keys(password)?;
        Ok(user)
    }

    /// Gives the user another password. It takes a while.
    ///
    /// # Errors
    ///
    /// When the system has no random octets.
    pub fn set_password(&mut self, password: &Secret) -> Result<()> {
        self.secret = PasswordHash::new(password)?;
        self.derive_scram_keys(password)
    }

    fn derive_scram_keys(&mut self, password: &Secret) -> Result<()> {
        self.scram_sha256 = Some(scram::derive(password, ScramHash::Sha256)?);
        self.scram_sha1 = Some(scram::derive(password, ScramHash::Sha1)?);
        Ok(())
    }

    /// The keys for SCRAM with this hash function.
    #[must_use]
    pub fn scram_keys(&self, hash: ScramHash) -> Option<&ScramKeys> {
        match hash {
            ScramHash::Sha256 => self.scram_sha256.as_ref(),
            ScramHash::Sha1 => self.scram_sha1.as_ref(),
            _ => None,
        }
    }
}

/// All users, by name.
pub type Table = BTreeMap<String, Arc<User>>;

/// The users' file of a data folder.
#[derive(Debug)]
pub struct Users(Watched<Table>);

impl Users {
    /// Reads the file. One that is missing is an empty one.
    ///
    /// # Errors
    ///
    /// When it can't be read, or is wrong; then file and line are named.
    pub fn open(path: PathBuf) -> Result<Self> {
        Watched::open(path, read).map(Self)
    }

    /// The users, read again if the file has changed. If it can't be read now, the users known so far stand, and the log
    /// says why.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.0.get(|path| {
            read(path)
                .inspect(|table| tracing::info!(users = table.len(), "the users' file has been read again"))
                .map_err(|error| {
                    tracing::error!("the users' file is left as it was known: {error}");
                    None
                })
        })
    }

    /// Finds a user.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<User>> {
        self.table().get(name).cloned()
    }

    /// Changes the file: what the function does to the users is written when it returns `Ok`. Other processes wait.
    ///
    /// # Errors
    ///
    /// What the function returns, or when the file can't be read or written.
    pub fn change<T>(&self, change: impl FnOnce(&mut Table) -> Result<T>) -> Result<T> {
        let path = self.0.path();
        let failed = |error: &io::Error| Failure::io(Status::CantCreate, path.display(), error);
        let _lock = FileLock::wait(&path.with_extension("lock")).map_err(|error| failed(&error))?;
        let mut table = read(path)?;
        let result = change(&mut table)?;
        let text = file::write(&table)?;
        files::replace(path, text.as_bytes(), 0o600).map_err(|error| failed(&error))?;
        self.0.set(table).map_err(|error| failed(&error))?;
        Ok(result)
    }
}

/// A login name in the form in which names are compared, and the folder name that it gives.
///
/// # Errors
///
/// [`Status::Usage`] for a name that nobody could log in with.
pub fn names(name: &str) -> Result<(String, String)> {
    match prepare_user(name.as_bytes()) {
        Some(prepared) if prepared.len() <= 120 => Ok((prepared.to_string(), home_for(&prepared))),
        _ => Err(Failure::new(
            Status::Usage,
            format_args!("{name:?} can't be a user's name: it is empty, too long, or has characters that are not text"),
        )),
    }
}

/// A folder name for a user: what could be mistaken for a path is written as `%XX`.
fn home_for(name: &str) -> String {
    use std::fmt::Write;
    let mut home = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b"@_-+=".contains(&byte) || (byte == b'.' && at > 0) {
            home.push(char::from(byte));
        } else {
            let _ = write!(home, "%{byte:02X}");
        }
    }
    home
}

/// Whether this is one plain path component.
pub(crate) fn is_home(home: &str) -> bool {
    !home.is_empty() && home.len() <= 255 && !home.starts_with('.') && !home.contains(['/', '\0'])
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::io(Status::NoInput, format_args!("users' file {}", path.display()), error)
}

fn read(path: &Path) -> Result<Table> {
    match fs::read_to_string(path) {
        Ok(text) => file::parse(&text, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Table::new()),
        Err(error) => Err(unreadable(path, &error)),
    }
}

#[cfg(test)]
mod tests;
