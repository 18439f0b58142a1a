//! One decimal number for each user, in a SQLite file that several processes share: the time of the last POP3 login,
//! the bulletins that a user has had.
//!
//! ```sql
//! CREATE TABLE number (user TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
//! ```
//!
//! Users are keyed by their full login name. A value that is no decimal number is damage, which is for the caller to
//! judge. The file is made with mode 0600 when it is first needed.
//!
//! A file that others may change is not used: it must be a plain file (no symbolic link) that users other than owner and
//! group can't write, in a folder that nobody but its owner can write. This is looked at each time, and what is wrong is
//! logged once until it changes.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(2);
/// Once somebody has waited in vain for another process, nobody waits again for so long: one process that hangs must not
/// hold up all logins, one after the other.
const IMPATIENCE: Duration = Duration::from_secs(30);
/// The longest value that is looked at.
const LONGEST: usize = 63;

/// Why a file of numbers can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// SQLite refused.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Others may change it.
    #[error("safety check failed: {0}")]
    Unsafe(&'static str),
    /// It is closed, as the program ends.
    #[error("the server is shutting down")]
    Closed,
}

impl NumberError {
    /// Whether another process holds the file.
    fn is_busy(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
    }
}

/// A value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The user has none.
    None,
    /// This number.
    Number(i64),
    /// Something that is no number.
    Damaged,
}

impl Value {
    fn parse(text: Option<&str>) -> Self {
        match text {
            None => Self::None,
            Some(text)
                if text.len() > LONGEST || text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                Self::Damaged
            }
            Some(text) => text.parse().map_or(Self::Damaged, Self::Number),
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub const fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// A file of numbers. Clones share it.
#[derive(Clone, Debug)]
pub struct NumberFile {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// What it is called in the log.
    what: &'static str,
    open: Mutex<Option<Open>>,
    /// What was wrong the last time.
    fault: Mutex<Option<String>>,
    /// When somebody has last waited in vain for another process.
    waited: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// Device and inode, by which it is noticed that the file was replaced.
    identity: (u64, u64),
}

impl NumberFile {
    /// The file at this path, which need not exist. `what` is what the log calls it.
    #[must_use]
    pub fn new(path: PathBuf, what: &'static str) -> Self {
        let shared = Shared { path, what, open: Mutex::default(), fault: Mutex::default(), waited: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// A user's value.
    ///
    /// # Errors
    ///
    /// When the file can't be used.
    pub async fn get(&self, user: &str) -> Result<Value, NumberError> {
        let user = user.to_owned();
        self.with(move |connection| value(connection, &user)).await
    }

    /// Puts a number, or nothing, in place of what is there, if that is as the caller believes; damage counts as
    /// nothing. Returns whether it was.
    ///
    /// # Errors
    ///
    /// When the file can't be used.
    pub async fn replace(&self, user: &str, old: Option<i64>, new: Option<i64>) -> Result<bool, NumberError> {
        let user = user.to_owned();
        self.with(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let same = value(&transaction, &user)?.number() == old;
            if same {
                put(&transaction, &user, new)?;
            }
            transaction.commit()?;
            Ok(same)
        })
        .await
    }

    /// Whether the file can be read and written now.
    ///
    /// # Errors
    ///
    /// When it can't, for this reason.
    pub async fn check(&self) -> Result<(), NumberError> {
        self.with(|connection| {
            // Taking the lock for writing writes nothing, and needs all that writing needs.
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?.rollback()
        })
        .await
    }

    async fn with<T, F>(&self, work: F) -> Result<T, NumberError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            let done = shared.with(work);
            shared.tell(done.as_ref().err());
            done
        });
        done.await.unwrap_or(Err(NumberError::Closed))
    }
}

fn value(connection: &Connection, user: &str) -> rusqlite::Result<Value> {
    let mut statement = connection.prepare_cached("SELECT CAST(value AS TEXT) FROM number WHERE user = ?1")?;
    let text = statement.query_row([user], |row| {
        Ok(row.get_ref(0)?.as_bytes_or_null().ok().flatten().map(|text| String::from_utf8_lossy(text).into_owned()))
    });
    Ok(match text.optional()? {
        None => Value::None,
        Some(text) => Value::parse(Some(text.as_deref().unwrap_or_default())),
    })
}

fn put(connection: &Connection, user: &str, number: Option<i64>) -> rusqlite::Result<()> {
    match number {
        Some(number) => connection
            .prepare_cached("INSERT OR REPLACE INTO number (user, value) VALUES (?1, ?2)")?
            .execute(params![user, number.to_string()])?,
        None => connection.prepare_cached("DELETE FROM number WHERE user = ?1")?.execute([user])?,
    };
    Ok(())
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, NumberError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        let hasty = waited.is_some_and(|waited| waited.elapsed() < IMPATIENCE);
        let done = self.attempt(&mut open, if hasty { Duration::ZERO } else { PATIENCE }, work);
        match &done {
            Ok(_) => *waited = None,
            Err(error) if error.is_busy() => {
                if !hasty {
                    *waited = Some(Instant::now());
                }
            }
            Err(_) => *open = None,
        }
        done
    }

    fn attempt<T>(
        &self,
        open: &mut Option<Open>,
        patience: Duration,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, NumberError> {
        let found = examine(&self.path)?;
        if found.is_none_or(|found| open.as_ref().is_none_or(|open| open.identity != found)) {
            // Closed before another is opened at the same path.
            *open = None;
            *open = Some(connect(&self.path, found.is_none(), patience)?);
        }
        let connection = &mut open.as_mut().ok_or(NumberError::Closed)?.connection;
        connection.busy_timeout(patience)?;
        Ok(work(connection)?)
    }

    /// Logs what is wrong, once.
    fn tell(&self, error: Option<&NumberError>) {
        let mut known = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let now = error.map(ToString::to_string);
        if *known == now {
            return;
        }
        let path = self.path.display();
        match &now {
            Some(reason) => tracing::warn!("unable to open {}: {path}: {reason}", self.what),
            None => tracing::info!("{} can be used again: {path}", self.what),
        }
        *known = now;
    }
}

/// Device and inode of the file, if it is there; an error if others may change it.
fn examine(path: &Path) -> Result<Option<(u64, u64)>, NumberError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if fs::metadata(folder)?.mode() & 0o022 != 0 {
        return Err(NumberError::Unsafe("the folder can be written by others"));
    }
    match fs::symlink_metadata(path) {
        Ok(data) if !data.is_file() => Err(NumberError::Unsafe("it is not a plain file")),
        Ok(data) if data.mode() & 0o002 != 0 => Err(NumberError::Unsafe("it can be written by others")),
        Ok(data) => Ok(Some((data.dev(), data.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn connect(path: &Path, make: bool, patience: Duration) -> Result<Open, NumberError> {
    if make {
        // SQLite would let others read it.
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
    }
    let identity = examine(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    connection.execute_batch(
        "PRAGMA temp_store = MEMORY;
         CREATE TABLE IF NOT EXISTS number (user TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",
    )?;
    Ok(Open { connection, identity })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[tokio::test]
    async fn numbers_are_kept_for_each_user_and_shared() {
        let folder = folder();
        let path = folder.path().join("n");
        let (one, other) = (NumberFile::new(path.clone(), "x"), NumberFile::new(path.clone(), "x"));
        assert_eq!(one.get("a").await.unwrap(), Value::None);
        assert!(one.replace("a", None, Some(7)).await.unwrap());
        assert_eq!(other.get("a").await.unwrap(), Value::Number(7));
        assert_eq!(other.get("b").await.unwrap(), Value::None);
        assert!(!other.replace("a", None, Some(9)).await.unwrap());
        assert!(other.replace("a", Some(7), Some(9)).await.unwrap());
        assert!(one.replace("a", Some(9), None).await.unwrap());
        assert_eq!(other.get("a").await.unwrap(), Value::None);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn what_is_no_number_is_damage_and_can_be_replaced() {
        let folder = folder();
        let path = folder.path().join("n");
        let file = NumberFile::new(path.clone(), "x");
        file.check().await.unwrap();
        let writer = Connection::open(&path).unwrap();
        for text in ["", "x", "1 ", "-1", "1x", &"9".repeat(64), "99999999999999999999"] {
            writer.execute("INSERT OR REPLACE INTO number VALUES ('a', ?1)", [text]).unwrap();
            assert_eq!(file.get("a").await.unwrap(), Value::Damaged, "{text}");
        }
        assert!(file.replace("a", None, Some(3)).await.unwrap());
        // A number that somebody stored as one.
        writer.execute("INSERT OR REPLACE INTO number VALUES ('a', 12)", []).unwrap();
        assert_eq!(file.get("a").await.unwrap(), Value::Number(12));
        writer.execute("INSERT OR REPLACE INTO number VALUES ('a', x'ff')", []).unwrap();
        assert_eq!(file.get("a").await.unwrap(), Value::Damaged);
    }

    #[tokio::test]
    async fn what_others_may_change_is_not_used() {
        let folder = folder();
        let path = folder.path().join("n");
        let file = NumberFile::new(path.clone(), "x");
        file.check().await.unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&path, 0o666);
        assert!(matches!(file.check().await, Err(NumberError::Unsafe(_))));
        mode(&path, 0o660);
        file.check().await.unwrap();
        for bad in [0o777, 0o775, 0o1777] {
            mode(folder.path(), bad);
            assert!(matches!(file.check().await, Err(NumberError::Unsafe(_))), "{bad:o}");
        }
        mode(folder.path(), 0o755);
        file.check().await.unwrap();
        let link = folder.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(NumberFile::new(link, "x").check().await, Err(NumberError::Unsafe(_))));
        assert!(NumberFile::new(folder.path().join("gone/n"), "x").check().await.is_err());
        let broken = folder.path().join("broken");
        fs::write(&broken, "no database, but long enough to be read as if it were one, or so").unwrap();
        assert!(NumberFile::new(broken, "x").check().await.is_err());
    }

    #[tokio::test]
    async fn a_process_that_holds_the_file_costs_one_wait() {
        let folder = folder();
        let path = folder.path().join("n");
        let file = NumberFile::new(path.clone(), "x");
        file.check().await.unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert!(file.get("a").await.is_err());
        let waited = *file.shared.waited.lock().unwrap();
        assert!(waited.is_some());
        for _ in 0..5 {
            assert!(file.replace("a", None, Some(1)).await.is_err());
            assert_eq!(*file.shared.waited.lock().unwrap(), waited, "nobody waits again");
        }
        // Nor does who opens it anew.
        *file.shared.open.lock().unwrap() = None;
        assert!(file.get("a").await.is_err());
        assert_eq!(*file.shared.waited.lock().unwrap(), waited);
        other.execute_batch("COMMIT").unwrap();
        assert!(file.replace("a", None, Some(1)).await.unwrap());
        assert!(file.shared.waited.lock().unwrap().is_none());
    }

    #[tokio::test]
    async fn a_file_that_is_taken_away_is_made_again() {
        let folder = folder();
        let path = folder.path().join("n");
        let file = NumberFile::new(path.clone(), "x");
        assert!(file.replace("a", None, Some(7)).await.unwrap());
        fs::remove_file(&path).unwrap();
        assert_eq!(file.get("a").await.unwrap(), Value::None);
        assert!(file.replace("a", None, Some(8)).await.unwrap());
        assert!(path.exists());
    }
}
