//! A file that is read again when it has changed.
//!
//! Nothing runs in between: whoever asks for the value has the file's state looked at first, which is one system call.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What tells one state of a file from another; `None` is a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// It changes with mode and owner, which decide whether a file is to be trusted.
    changed: (i64, i64),
}

fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    match fs::metadata(path) {
        Ok(data) => Ok(Some(Stamp {
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a file says, as it was when it was last looked at.
pub(crate) struct Watched<T> {
    path: PathBuf,
    known: Mutex<Known<T>>,
}

struct Known<T> {
    /// The state that was read, or could not be.
    stamp: Option<Stamp>,
    value: Arc<T>,
    /// When it could not be: the time to try again, as the reason may have passed without a change of the file.
    again: Option<Instant>,
}

/// How long what could not be read is left alone.
const PAUSE: Duration = Duration::from_secs(10);

impl<T> Watched<T> {
    /// Reads the file for the first time.
    ///
    /// # Errors
    ///
    /// Those of `read`; an unreadable file is for it to tell of.
    pub(crate) fn open<E>(path: PathBuf, read: impl FnOnce(&Path) -> Result<T, E>) -> Result<Self, E> {
        let stamp = stamp(&path).unwrap_or_default();
        let value = Arc::new(read(&path)?);
        Ok(Self { path, known: Mutex::new(Known { stamp, value, again: None }) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The value, read again if the file has changed. What can't be read is an error, of which `read` has told, with what
    /// is to stand meanwhile: `None` for the value known so far. It is tried again when the file changes, and after ten
    /// seconds.
    pub(crate) fn get(&self, read: impl FnOnce(&Path) -> Result<T, Option<T>>) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(stamp) = stamp(&self.path) else { return Arc::clone(&known.value) };
        if stamp != known.stamp || known.again.is_some_and(|again| again <= Instant::now()) {
            let read = read(&self.path);
            known.again = read.is_err().then(|| Instant::now() + PAUSE);
            if let Some(value) = read.map_or_else(|meanwhile| meanwhile, Some) {
                known.value = Arc::new(value);
            }
            known.stamp = stamp;
        }
        Arc::clone(&known.value)
    }

    /// Says what the file holds now, as its writer knows without reading it.
    ///
    /// # Errors
    ///
    /// When its state can't be seen.
    pub(crate) fn set(&self, value: T) -> io::Result<()> {
        let stamp = stamp(&self.path)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Known { stamp, value: Arc::new(value), again: None };
        Ok(())
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let text = |path: &Path| fs::read_to_string(path).map_err(|_| None);
        let watched = Watched::open(path.clone(), text).unwrap();
        assert_eq!(*watched.get(|_| panic!("nothing has changed")), "one");
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(*watched.get(text), "two");
        fs::remove_file(&path).unwrap();
        assert_eq!(*watched.get(|_| Err(None)), "two", "what is wrong changes nothing");
        assert_eq!(*watched.get(|_| panic!("told already")), "two");
        // The reason may pass though the file stays as it is.
        watched.known.lock().unwrap().again = Some(Instant::now());
        assert_eq!(*watched.get(|_| Err(Some("meanwhile".to_owned()))), "meanwhile");
        watched.known.lock().unwrap().again = Some(Instant::now());
        assert_eq!(*watched.get(|_| Ok("again".to_owned())), "again");
        assert_eq!(*watched.get(|_| panic!("it is read")), "again");
        fs::write(&path, "three").unwrap();
        watched.set("known".to_owned()).unwrap();
        assert_eq!(*watched.get(|_| panic!("its writer knows")), "known");
    }
}
