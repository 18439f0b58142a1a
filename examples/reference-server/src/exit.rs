//! How the program ends when it can't go on: one line for people, and an exit status for scripts.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Exit statuses, with the numbers of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The command line is wrong.
    Usage,
    /// What was to be read as data is not of the expected form.
    DataError,
    /// A file or folder that is needed is not there or can't be read.
    NoInput,
    /// No such user.
    NoUser,
    /// An address can't be listened on, or another service is missing.
    Unavailable,
    /// A fault of this program.
    Software,
    /// The operating system refused a resource.
    OsError,
    /// A file or folder can't be created.
    CantCreate,
    /// Reading or writing failed.
    IoError,
    /// No permission.
    NoPermission,
    /// The configuration, or a file that it names, is wrong.
    Config,
}

impl Status {
    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::DataError => 65,
            Self::NoInput => 66,
            Self::NoUser => 67,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::OsError => 71,
            Self::CantCreate => 73,
            Self::IoError => 74,
            Self::NoPermission => 77,
            Self::Config => 78,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

/// Why the program ends: a line that names what is wrong, and the exit status.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub status: Status,
    pub(crate) text: String,
}

impl Failure {
    /// Ends with this status and line. Line ends in the text become spaces, as it is to be one line.
    pub fn new(status: Status, text: impl fmt::Display) -> Self {
        let text = text.to_string();
        let text = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        Self { status, text }
    }

    /// A file operation failed: the status follows from the cause, missing permission before what `otherwise` says.
    pub fn io(otherwise: Status, what: impl fmt::Display, error: &io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::PermissionDenied => Status::NoPermission,
            _ => otherwise,
        };
        Self::new(status, format_args!("{what}: {}", reason(error)))
    }
}

/// The cause of an I/O error, without the number that std adds.
fn reason(error: &io::Error) -> String {
    without_number(&error.to_string()).to_owned()
}

/// A text that ends with such a cause, without the number.
pub(crate) fn without_number(text: &str) -> &str {
    match text.rsplit_once(" (os error ") {
        Some((text, number)) if number.ends_with(')') => text,
        _ => text,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// A result of something that ends the program when it fails.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::new(Status::Config, "a\n  b\n\nc\n");
        assert_eq!(failure.to_string(), "a b c");
    }

    #[test]
    fn a_missing_permission_has_its_own_status() {
        let denied = io::Error::from_raw_os_error(13);
        let failure = Failure::io(Status::CantCreate, "folder x", &denied);
        assert_eq!((failure.status.code(), failure.to_string().as_str()), (77, "folder x: Permission denied"));
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(Failure::io(Status::NoInput, "x", &missing).status.code(), 66);
    }
}
