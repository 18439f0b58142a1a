//! What makes a process a daemon: leaving the terminal, and its number in a file.
//!
//! [`Background::start`] forks, so it comes before the first thread. The process that was started waits until the daemon
//! serves, or says why it doesn't, and ends with the same status: a script that starts it knows how that went.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fork::Fork;

use crate::exit::{Failure, Result, Status};

/// The daemon's end of the way to the process that was started.
#[derive(Debug)]
pub struct Background(File);

/// Which process this is after the fork.
#[derive(Debug)]
pub enum Started {
    /// The daemon.
    Daemon(Background),
    /// The one that was started; the daemon serves, or has ended, and this is how to end.
    Starter(ExitCode),
}

impl Background {
    /// Forks twice, so that the daemon can never get a terminal again, and leads a session of its own. Its folder is `/`.
    ///
    /// # Errors
    ///
    /// [`Status::OsError`].
    pub fn start() -> Result<Started> {
        let failed = |error: &io::Error| Failure::io(Status::OsError, "leaving the terminal", error);
        let (reader, writer) = io::pipe().map_err(|error| failed(&error))?;
        match fork::fork().map_err(|error| failed(&error))? {
            Fork::Parent(_) => {
                drop(writer);
                return Ok(Started::Starter(wait(reader)));
            }
            Fork::Child => drop(reader),
        }
        fork::setsid().map_err(|error| failed(&error))?;
        if let Fork::Parent(_) = fork::fork().map_err(|error| failed(&error))? {
            std::process::exit(0);
        }
        std::env::set_current_dir("/").map_err(|error| failed(&error))?;
        let writer: std::os::fd::OwnedFd = writer.into();
        Ok(Started::Daemon(Self(writer.into())))
    }

    /// Lets the process that was started end well, and lets go of standard input, output and error.
    ///
    /// # Errors
    ///
    /// [`Status::OsError`].
    pub fn ready(mut self) -> Result<()> {
        fork::redirect_stdio().map_err(|error| Failure::io(Status::OsError, "/dev/null", &error))?;
        // The one that waits may have been killed.
        let _ = self.0.write_all(&[0]);
        Ok(())
    }

    /// Says that the daemon ends, and why.
    pub fn failed(mut self, failure: &Failure) {
        let _ = self.0.write_all(&[failure.status.code()]);
    }
}

/// Waits for the daemon's word: 0, or the status that it ends with. It has said why on the same standard error.
fn wait(mut reader: io::PipeReader) -> ExitCode {
    let mut status = [Status::Software.code()];
    let _ = reader.read_exact(&mut status);
    ExitCode::from(status[0])
}

/// A file with the number of this process; it is removed when this is dropped.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, in place of an old one.
    ///
    /// # Errors
    ///
    /// [`Status::CantCreate`].
    pub fn write(path: &Path) -> Result<Self> {
        let failed =
            |error: &io::Error| Failure::io(Status::CantCreate, format_args!("pidfile {}", path.display()), error);
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
            _ => {}
        }
        let mut file =
            File::options().write(true).create_new(true).mode(0o644).open(path).map_err(|error| failed(&error))?;
        write!(file, "{}", std::process::id()).map_err(|error| failed(&error))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another process may have written its own in the meantime.
        let ours = fs::read_to_string(&self.0).is_ok_and(|text| text == std::process::id().to_string());
        if ours && let Err(error) = fs::remove_file(&self.0) {
            // The user that the process became may have no right to the folder.
            tracing::debug!(%error, file = %self.0.display(), "the pidfile stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pidfile_is_written_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        fs::write(&path, "1").unwrap();
        let pidfile = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(pidfile);
        assert!(!path.exists());

        let pidfile = PidFile::write(&path).unwrap();
        fs::write(&path, "1").unwrap();
        drop(pidfile);
        assert!(path.exists(), "it is another's now");
        let failure = PidFile::write(&folder.path().join("gone/pid")).unwrap_err();
        assert_eq!(failure.status, Status::CantCreate);
    }
}
