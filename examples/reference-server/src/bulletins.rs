//! Bulletins: messages of a Maildir that each user gets once, at a POP3 login.
//!
//! A bulletin's number is its place in the source, from 1, in the order of the file names (the time that they begin
//! with, then the rest). Of each user the number of the last one is kept: in a SQLite file, or in a file `.popbull` of
//! the user's own folder. Who has fewer than there are gets the others, in order.
//!
//! The source is only ever read. A source that shrank, or a number that is no number, delivers nothing and stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::backend::{Bulletins, Error, Result};

use crate::backend::Home;
use crate::files;
use crate::numbers::{NumberFile, Value};

/// The file in a user's folder.
const FILE: &str = ".popbull";
/// Octets of it that are looked at.
const LONGEST: usize = 4096;

/// A Maildir with bulletins, and the numbers that users have had. Clones share them.
#[derive(Clone, Debug)]
pub struct BulletinBoard {
    source: PathBuf,
    numbers: Option<NumberFile>,
}

impl BulletinBoard {
    /// Bulletins from this Maildir; numbers are kept in this file, or in each user's `.popbull`.
    #[must_use]
    pub fn new(source: PathBuf, numbers: Option<NumberFile>) -> Self {
        Self { source, numbers }
    }

    /// Those for one user, whose folder is `path`.
    #[must_use]
    pub fn for_user(&self, user: &str, path: PathBuf, home: Arc<dyn Home>) -> UserBulletins {
        let user = user.to_owned();
        UserBulletins { shared: Arc::new(Shared { board: self.clone(), user, path, home }) }
    }
}

/// One user's bulletins.
pub struct UserBulletins {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for UserBulletins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserBulletins").field("board", &self.shared.board).finish_non_exhaustive()
    }
}

struct Shared {
    board: BulletinBoard,
    user: String,
    path: PathBuf,
    home: Arc<dyn Home>,
}

#[async_trait]
impl Bulletins for UserBulletins {
    async fn deliver(&self) -> Result<u64> {
        let shared = Arc::clone(&self.shared);
        // To its end, whoever waits for it: the number follows the delivery.
        let delivery = tokio::spawn(async move { shared.deliver().await });
        delivery.await.map_err(|_| Error::unavailable("the server is shutting down"))?
    }
}

impl Shared {
    async fn deliver(&self) -> Result<u64> {
        let source = self.board.source.clone();
        let messages = blocking(move || list(&source)).await?.map_err(|error| {
            tracing::warn!("bulletin-source {}: {error}", self.board.source.display());
            Error::unavailable(error)
        })?;
        let total = messages.len() as u64;
        // Before anything is locked: mostly there is nothing to do.
        if self.number().await? >= total {
            return Ok(0);
        }
        let _lock = self.home.lock_bulletins().await?;
        let last = self.number().await?;
        // Notes of what is counted already are of no use, and would be in the way if the number was set back since.
        self.home.forget_bulletins(last).await?;
        let first = usize::try_from(last).unwrap_or(usize::MAX);
        let pending: Vec<(u64, PathBuf)> = (last.saturating_add(1)..).zip(messages.into_iter().skip(first)).collect();
        if pending.is_empty() {
            return Ok(0);
        }
        tracing::info!("user {}: delivering {} pending bulletin(s)", self.user, pending.len());
        let delivered = self.home.deliver_bulletins(&pending).await;
        if let Some(number) = delivered.last {
            self.set_number(last, number).await?;
            self.home.forget_bulletins(number).await?;
        }
        match delivered.failed {
            Some(error) => Err(error),
            None => Ok(delivered.count),
        }
    }

    /// The number of the last bulletin that the user has had.
    async fn number(&self) -> Result<u64> {
        let damaged = |place: &str| {
            tracing::warn!("user {}: the number of the last bulletin in {place} is no number", self.user);
            Error::corrupt("the number of a user's last bulletin is no number")
        };
        match &self.board.numbers {
            Some(numbers) => match numbers.get(&self.user).await.map_err(Error::unavailable)? {
                Value::None => Ok(0),
                Value::Number(number) => u64::try_from(number).map_err(|_| damaged("bulletin-db")),
                Value::Damaged => Err(damaged("bulletin-db")),
            },
            None => {
                let path = self.path.join(FILE);
                let text = match blocking(move || read(&path)).await? {
                    Ok(text) => text,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                    Err(error) => return Err(Error::unavailable(error)),
                };
                parse(&text).ok_or_else(|| damaged(FILE))
            }
        }
    }

    async fn set_number(&self, old: u64, new: u64) -> Result<()> {
        match &self.board.numbers {
            Some(numbers) => {
                let number = |number| i64::try_from(number).ok();
                // Nothing counts as 0; of two ways to say so one is there.
                for old in [number(old), None] {
                    if numbers.replace(&self.user, old, number(new)).await.map_err(Error::unavailable)? {
                        return Ok(());
                    }
                    if old != Some(0) {
                        break;
                    }
                }
                Err(Error::unavailable("the number of a user's last bulletin was changed meanwhile"))
            }
            None => {
                let path = self.path.join(FILE);
                let written = blocking(move || files::replace(&path, format!("{new}\n").as_bytes(), 0o600)).await?;
                written.map_err(Error::unavailable)
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::unavailable("the server is shutting down"))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut text = Vec::new();
    fs::File::open(path)?.take(LONGEST as u64).read_to_end(&mut text)?;
    Ok(text)
}

/// The number that a text begins with; a text without anything is 0.
fn parse(text: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_start();
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = line.split_at(digits);
    if digits == 0 {
        return text.trim_ascii().is_empty().then_some(0);
    }
    if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// The messages of a Maildir, in order.
fn list(source: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for place in ["new", "cur"] {
        for entry in fs::read_dir(source.join(place))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !fs::metadata(entry.path()).is_ok_and(|data| data.is_file()) {
                continue;
            }
            let base = name.split(':').next().unwrap_or_default().to_owned();
            let digits = base.bytes().take_while(u8::is_ascii_digit).count();
            let time: u128 = base.get(..digits).and_then(|time| time.parse().ok()).unwrap_or(u128::MAX);
            found.push((time, base, entry.path()));
        }
    }
    found.sort();
    // The same message in both, as it moves from one to the other.
    found.dedup_by(|one, other| one.1 == other.1);
    Ok(found.into_iter().map(|(.., path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_leads_the_first_line() {
        for (text, number) in [
            ("1\n", Some(1)),
            ("3", Some(3)),
            (" 12 had\nx", Some(12)),
            ("7\r\n", Some(7)),
            ("", Some(0)),
            ("\n", Some(0)),
            ("1x\n", None),
            ("-1\n", None),
            ("x\n", None),
            ("\nx", None),
            ("99999999999999999999\n", None),
        ] {
            assert_eq!(parse(text.as_bytes()), number, "{text:?}");
        }
    }

    #[test]
    fn messages_stand_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for place in ["new", "cur", "tmp"] {
            fs::create_dir(folder.path().join(place)).unwrap();
        }
        for name in ["new/10.b", "cur/9.z:2,S", "cur/10.a:2,", "new/.hidden", "tmp/1.x", "cur/late:2,", "new/9.z"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::create_dir(folder.path().join("new/1.folder")).unwrap();
        let names: Vec<_> = list(folder.path())
            .unwrap()
            .into_iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().split(':').next().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["9.z", "10.a", "10.b", "late"]);
        assert!(list(&folder.path().join("gone")).is_err());
    }
}
