//! Words of the operator to everybody: the files `msg/motd` and `msg/shutdown`, looked at for every connection.
//!
//! The first line of `msg/motd` is shown to clients as they connect. While `msg/shutdown` is there, even empty, the service
//! is closed: its first line is the reason that new clients get in place of a greeting, and running ones before they
//! leave. Leading `[` are taken off, as clients would take them for a response code.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::conversation::Control;
use pillarbox_server_core::ServerHandle;
use rustix::fs::{Mode, OFlags};

/// A line is cut there.
const LONGEST_LINE: u64 = 4096;
/// How often the file that closes the service is looked for.
const INTERVAL: Duration = Duration::from_millis(500);

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Notices {
    motd: PathBuf,
    shutdown: PathBuf,
}

impl Notices {
    /// Those below this folder.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        let folder = folder.join("msg");
        Self { motd: folder.join("motd"), shutdown: folder.join("shutdown") }
    }

    /// What clients are shown; nothing where the line is empty.
    #[must_use]
    pub fn motd(&self) -> Option<Arc<str>> {
        first_line(&self.motd).filter(|line| !line.is_empty()).map(Arc::from)
    }

    /// Why the service is closed, if it is. A file that can't be read, as one that only root may read, closes it without
    /// a reason.
    #[must_use]
    pub fn closed(&self) -> Option<Arc<str>> {
        let is_there = || fs::metadata(&self.shutdown).is_ok_and(|found| found.is_file());
        first_line(&self.shutdown).or_else(|| is_there().then(String::new)).map(Arc::from)
    }

    /// Tells the sessions of a server when the service closes.
    pub async fn watch(self, server: ServerHandle) {
        let mut told = false;
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            match self.closed() {
                None => told = false,
                Some(_) if told => {}
                Some(text) => {
                    told = true;
                    let sessions = server.broadcast(&Control::Unavailable { text: text.clone() });
                    tracing::warn!(sessions, "the service is closed: {text}");
                }
            }
        }
    }
}

/// The first line of a file, if it can be read. What is no file is not waited for: every client would wait with it.
fn first_line(path: &Path) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut octets = Vec::new();
    file.take(LONGEST_LINE).read_to_end(&mut octets).ok()?;
    let end = octets.iter().position(|octet| matches!(octet, b'\r' | b'\n' | 0)).unwrap_or(octets.len());
    octets.truncate(end);
    let line = String::from_utf8_lossy(&octets);
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    Some(line.trim_start_matches('[').to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines() {
        let folder = tempfile::tempdir().unwrap();
        let notices = Notices::below(folder.path());
        assert_eq!((notices.motd(), notices.closed()), (None, None));
        fs::create_dir(folder.path().join("msg")).unwrap();
        let (motd, shutdown) = (folder.path().join("msg/motd"), folder.path().join("msg/shutdown"));
        fs::write(&motd, "[[hello\nx\n").unwrap();
        fs::write(&shutdown, "down [for] work\r\n").unwrap();
        assert_eq!(notices.motd().as_deref(), Some("hello"));
        assert_eq!(notices.closed().as_deref(), Some("down [for] work"));
        fs::write(&motd, "").unwrap();
        fs::write(&shutdown, "").unwrap();
        assert_eq!((notices.motd(), notices.closed().as_deref()), (None, Some("")));
        fs::write(&motd, "ä".repeat(5000)).unwrap();
        assert_eq!(notices.motd().unwrap().chars().count(), 2048);
        fs::remove_file(&motd).unwrap();
        fs::create_dir(&motd).unwrap();
        assert_eq!(notices.motd(), None);
        fs::remove_dir(&motd).unwrap();
        fs::write(&motd, "\x01[ALERT] x\n").unwrap();
        assert_eq!(notices.motd().as_deref(), Some("ALERT] x"), "nothing that goes hides a bracket");
    }

    #[test]
    fn what_is_no_file_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let notices = Notices::below(folder.path());
        fs::create_dir(folder.path().join("msg")).unwrap();
        for name in ["motd", "shutdown"] {
            let path = folder.path().join("msg").join(name);
            let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
            assert!(made.success());
        }
        // Nobody ever writes to them.
        assert_eq!((notices.motd(), notices.closed()), (None, None));
        fs::remove_file(folder.path().join("msg/motd")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("msg/motd")).unwrap();
        assert_eq!(notices.motd(), None);
    }
}
