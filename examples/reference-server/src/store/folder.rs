//! The three directories of a mailbox, reached from the account's root and never outside of it.

use std::io;
use std::sync::Arc;

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};

use super::fault::{Done, is_missing};

/// Where a message file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `new/`: delivered, and seen by no session.
    New,
    /// `cur/`: with its flags.
    Cur,
    /// `tmp/`: not yet, or no longer, a message.
    Tmp,
}

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::Cur, Self::New, Self::Tmp];

    /// The directory's name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Cur => "cur",
            Self::Tmp => "tmp",
        }
    }

    /// `new/` for a fresh message, `cur/` for all others.
    pub(super) const fn of(fresh: bool) -> Self {
        if fresh { Self::New } else { Self::Cur }
    }
}

/// A mailbox's directories, open.
#[derive(Debug)]
pub(super) struct Folder {
    cur: Dir,
    new: Dir,
    tmp: Dir,
}

impl Folder {
    /// Opens the directories. None is made: another program may be about to remove the mailbox.
    pub(super) fn open(root: &Dir, folder: &str) -> Done<Arc<Self>> {
        let open = |place: Place| root.open_dir(path(folder, place));
        Ok(Arc::new(Self { cur: open(Place::Cur)?, new: open(Place::New)?, tmp: open(Place::Tmp)? }))
    }

    /// One of the directories.
    pub(super) fn dir(&self, place: Place) -> &Dir {
        match place {
            Place::New => &self.new,
            Place::Cur => &self.cur,
            Place::Tmp => &self.tmp,
        }
    }
}

/// The path of a directory of a folder, from the root.
pub(super) fn path(folder: &str, place: Place) -> String {
    if folder.is_empty() { place.as_str().to_owned() } else { format!("{folder}/{}", place.as_str()) }
}

/// Whether all three directories of a folder are there.
pub(super) fn is_whole(root: &Dir, folder: &str) -> bool {
    Place::ALL.into_iter().all(|place| root.is_dir(path(folder, place)))
}

/// Makes the three directories in a folder that is there.
pub(super) fn make_places(root: &Dir, folder: &str) -> io::Result<()> {
    Place::ALL.into_iter().try_for_each(|place| make_private_dir(root, &path(folder, place)))
}

/// Makes a directory for its owner only, unless it is there.
pub(super) fn make_private_dir(root: &Dir, path: &str) -> io::Result<()> {
    match root.create_dir_with(path, DirBuilder::new().mode(0o700)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Options for a file that must be new, for its owner only.
pub(super) fn new_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
}

/// When `new/` and `cur/` changed last, in nanoseconds since 1970.
pub(super) fn times(root: &Dir, folder: &str) -> io::Result<(i64, i64)> {
    let time = |place| root.metadata(path(folder, place)).map(|metadata| changed_at(&metadata));
    Ok((time(Place::New)?, time(Place::Cur)?))
}

/// A file's or directory's time of last change of content, in nanoseconds since 1970.
pub(super) fn changed_at(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// Has the kernel write a directory's names to the disk.
pub(super) fn sync_dir(root: &Dir, path: &str) -> io::Result<()> {
    root.open(if path.is_empty() { "." } else { path })?.sync_all()
}

/// Writes a small file so that it has the old content or the new one at any instant, and lasts.
pub(super) fn replace_file(root: &Dir, folder: &str, file: &str, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;

    let join = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let (target, draft) = (join(file), join(&format!("{file}.{:016x}", super::random_number())));
    let written = (|| {
        let mut draft = root.open_with(&draft, &new_file())?;
        draft.write_all(content)?;
        draft.sync_all()
    })()
    .and_then(|()| root.rename(&draft, root, &target))
    .and_then(|()| sync_dir(root, folder));
    if written.is_err() {
        let _ = root.remove_file(&draft);
    }
    written
}

/// Reads a small file of the store's own; `None` if it is not there. No more than `most` octets are taken.
pub(super) fn read_small_file(root: &Dir, path: &str, most: u64) -> io::Result<Option<String>> {
    use std::io::Read as _;

    match root.open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(most).read_to_end(&mut bytes)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
