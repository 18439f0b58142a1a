//! What can go wrong inside the store, and what the client is told of it.
//!
//! Inside, an error keeps its cause: the kernel's, SQLite's, or an answer that is ready for the client. At the edge it
//! becomes the backend's [`Error`]; its text never holds a path.

use std::io;

use pillarbox_proto_core::backend::Error;
use rusqlite::{ErrorCode, ffi};

/// A result inside the store.
pub(super) type Done<T> = Result<T, Fault>;

/// Why something in the store did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The file system refused.
    #[error("file system: {0}")]
    Io(#[from] io::Error),
    /// The index refused.
    #[error("index: {0}")]
    Index(#[from] rusqlite::Error),
    /// Another process put a new index in the place of the one that is open here.
    #[error("the index has been replaced")]
    Replaced,
    /// What the client is to be told, as it is.
    #[error(transparent)]
    Answer(#[from] Error),
    /// Another change of the same transaction failed in this way, or the store broke a rule of its own.
    #[error("{0}")]
    Other(String),
    /// There was no room, found by another change of the same transaction.
    #[error("no room left")]
    Full,
}

impl Fault {
    /// Whether the index cannot be trusted any more, and has to be built again.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Replaced => true,
            Self::Index(error) => {
                matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
            _ => false,
        }
    }

    /// Whether there is no room, on the disk or in the user's share of it.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Io(error) => is_full(error),
            Self::Index(error) => {
                // The memory that connections share is a file, whose size SQLite could not set.
                let no_room_to_share = |error: &ffi::Error| {
                    matches!(error.extended_code, ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP)
                };
                error.sqlite_error_code() == Some(ErrorCode::DiskFull)
                    || error.sqlite_error().is_some_and(no_room_to_share)
            }
            _ => false,
        }
    }

    /// Whether a file or folder was not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if is_missing(error))
    }

    /// The same fault for another change that failed with this one.
    pub(super) fn repeat(&self) -> Self {
        match self {
            Self::Replaced => Self::Replaced,
            fault if fault.is_full() => Self::Full,
            fault => Self::Other(fault.to_string()),
        }
    }
}

/// Whether the kernel said that a name does not exist.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        if fault.is_full() {
            return Self::OverQuota;
        }
        match fault {
            Fault::Answer(error) => error,
            Fault::Io(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                Self::NoPermission
            }
            fault => Self::unavailable(fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_over_quota() {
        let error = Fault::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(Error::from(error.repeat()), Error::OverQuota));
        assert!(matches!(Error::from(error), Error::OverQuota));
        let error = Fault::from(io::Error::from(io::ErrorKind::QuotaExceeded));
        assert!(matches!(Error::from(error), Error::OverQuota));
    }

    #[test]
    fn a_path_is_never_told() {
        let error = Error::from(Fault::Other("/srv/mail/alice: broken".to_owned()));
        assert!(!error.to_string().contains("/srv"));
    }
}
