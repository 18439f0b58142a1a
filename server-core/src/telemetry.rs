//! Telemetry: what one user's sessions say, octet by octet, in files.
//!
//! An operator who has to find out what a user's client does makes a folder of the user's name in the telemetry folder,
//! and removes it when that is known. Nobody else's sessions are written down, and nothing has to be restarted.
//!
//! * It begins when the user logs in, with the first login of a connection. The folder has to be there and writable
//!   then; nothing is ever made but files in it. Where it is missing, nothing happens.
//! * The file is named after the process, `<pid>`, where that serves one connection at a time
//!   ([`Telemetry::alone`]), else `<pid>-<session id>`. It is appended to, and readable for its owner alone. There are never two
//!   sessions in one file at once.
//! * It begins with a header, `---------- user Thu Jul 27 10:11:12 2023` (local time) and an empty line. Then come the
//!   octets as they were read and written: each read with `<seconds<` before it, each write with `>seconds>`, in seconds
//!   since 1970. TLS is taken off.
//! * Messages are there as they are. Secrets are not, should a client send some once more: they are `***`, and so is what
//!   may be one. What a redactor holds back until it knows what it is stands with the next read or write.
//! * The files are written by a thread of its own. When it can't keep up, octets are left out, and a line says how many.
//!
//! Where the telemetry folder itself is missing when a client connects, its session has none.
//!
//! Symbolic links below the telemetry folder are not followed, and names of users that are no names of folders have no
//! telemetry.
//!
//! ```
//! # use pillarbox_proto_core::{Connection, Conversation};
//! # use pillarbox_proto_core::transcript::{Keep, Redact};
//! # fn greet(connection: Connection) -> Box<dyn Conversation> { unimplemented!() }
//! # fn redactor(_: Keep) -> Box<dyn Redact> { unimplemented!() }
//! use pillarbox_server_core::{Listener, Telemetry};
//!
//! // For IMAP, `redactor` is `pillarbox_imap_proto::Redactor::boxed`.
//! let listener = Listener::new("imap", greet).telemetry(Telemetry::new("/var/log/mail/telemetry"), redactor);
//! # drop(listener);
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::transcript::{Direction, Keep, Redact};
use tracing::{Span, debug, info, warn};

use crate::record::Record;
use crate::scribe::{Note, Scribe, unwritten};
use crate::transcript::MakeRedactor;

/// The longest name of a folder.
const NAME: usize = 255;

/// Where telemetry is written; see [the module](self).
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Plan>);

#[derive(Debug)]
struct Plan {
    folder: PathBuf,
    alone: bool,
    /// Who has the file named after the process, by user.
    pages: Mutex<HashMap<Arc<str>, Weak<Page>>>,
}

impl Telemetry {
    /// Looks for the folders of users in this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Plan { folder: folder.into(), alone: false, pages: Mutex::default() }))
    }

    /// Whether anybody can have telemetry. Asked for each connection, as a folder may be made at any time; most servers
    /// have none, and then it costs them this look alone.
    pub(crate) fn has_folder(&self) -> bool {
        self.0.folder.is_dir()
    }

    /// Names files after the process alone, as it serves one connection at a time. Should it have a second session of the
    /// same user all the same, that has the other name.
    #[must_use]
    pub fn alone(self, alone: bool) -> Self {
        Self(Arc::new(Plan { folder: self.0.folder.clone(), alone, pages: Mutex::default() }))
    }
}

/// One session's octets, on their way to a file.
#[derive(Debug)]
pub(crate) struct Feed {
    telemetry: Telemetry,
    redactor: Box<dyn Redact>,
    /// See [`Record::logins`].
    logins: u32,
    user: Option<Arc<str>>,
    page: Option<Arc<Page>>,
    /// Octets for which there was no room.
    dropped: u64,
}

impl Feed {
    pub(crate) fn new(telemetry: Telemetry, redactor: MakeRedactor) -> Self {
        let redactor = redactor(Keep { secrets: false, data: true });
        Self { telemetry, redactor, logins: 0, user: None, page: None, dropped: 0 }
    }

    /// Takes what has passed, and says whether it wants more.
    pub(crate) fn passed(&mut self, direction: Direction, bytes: &[u8], record: &Record, scribe: &Scribe) -> bool {
        let logins = record.logins();
        if logins != self.logins {
            let user = record.user();
            if user != self.user {
                self.page = None;
                self.user.clone_from(&user);
            }
            if let (Some(user), None) = (user, &self.page) {
                let page = Arc::new(Page::default());
                let telemetry = self.telemetry.clone();
                let opening = Opening { page: page.clone(), telemetry, user, id: record.id(), span: Span::current() };
                if !scribe.note(Note::Open(opening)) {
                    unwritten(1);
                    warn!("no telemetry: too much is being written");
                    return false;
                }
                self.page = Some(page);
            }
            self.logins = logins;
        }
        // Also what nobody keeps is looked at: what comes later has to be understood.
        let mut shown = Vec::new();
        self.redactor.redact(direction, bytes, &mut shown);
        let Some(page) = &self.page else { return true };
        if page.closed.load(Ordering::Relaxed) {
            return false;
        }
        if !shown.is_empty() {
            let size = shown.len() as u64;
            let bytes = Bytes { page: page.clone(), direction, at: epoch(), dropped: self.dropped, bytes: shown };
            if scribe.note(Note::Bytes(bytes)) {
                self.dropped = 0;
            } else {
                self.dropped += size;
                unwritten(1);
            }
        }
        true
    }

    #[cfg(feature = "tls")]
    pub(crate) fn secured(&mut self) {
        self.redactor.secured();
    }
}

fn epoch() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// One session's file, which is closed when the session and all that it has said are gone.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// There is no file, or no more.
    closed: AtomicBool,
    file: Mutex<Option<File>>,
}

impl Page {
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn write(&self, text: &[u8]) {
        let written = match &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write_all(text),
            None => return,
        };
        if let Err(error) = written {
            warn!(%error, "telemetry ends");
            self.close();
        }
    }
}

/// A user has logged in.
pub(crate) struct Opening {
    page: Arc<Page>,
    telemetry: Telemetry,
    user: Arc<str>,
    id: SessionId,
    span: Span,
}

impl Opening {
    pub(crate) fn write(self) {
        let _within = self.span.enter();
        let Plan { folder, alone, pages } = &*self.telemetry.0;
        if !is_name(&self.user) {
            debug!("no telemetry: the user's name is no name of a folder");
            return self.page.close();
        }
        let mut name = std::process::id().to_string();
        let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|_, page| page.strong_count() > 0);
        if *alone && !pages.contains_key(&self.user) {
            pages.insert(self.user.clone(), Arc::downgrade(&self.page));
        } else {
            name = format!("{name}-{}", self.id);
        }
        match open(folder, &self.user, &name) {
            Ok(file) => {
                info!(file = name, "telemetry begins");
                *self.page.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
                self.page.write(format!("---------- {} {}\n\n", self.user, local_time()).as_bytes());
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    info!(%error, "no telemetry");
                }
                self.page.close();
            }
        }
    }
}

/// Octets of one read or write, redacted.
pub(crate) struct Bytes {
    page: Arc<Page>,
    direction: Direction,
    at: u64,
    dropped: u64,
    bytes: Vec<u8>,
}

impl Bytes {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn write(self) {
        let mut text = Vec::with_capacity(self.bytes.len() + 32);
        if self.dropped > 0 {
            text.extend_from_slice(format!("\n---------- {} octets left out\n\n", self.dropped).as_bytes());
        }
        let mark = match self.direction {
            Direction::Client => '<',
            Direction::Server => '>',
        };
        text.extend_from_slice(format!("{mark}{}{mark}", self.at).as_bytes());
        text.extend_from_slice(&self.bytes);
        self.page.write(&text);
    }
}

/// Whether this names a folder, and nothing but a folder of just that name.
fn is_name(user: &str) -> bool {
    let is_plain = |char: char| !char.is_control() && !matches!(char, '/' | '\\');
    !matches!(user, "" | "." | "..") && user.len() <= NAME && user.chars().all(is_plain)
}

/// As `ctime` has it, without its line end.
fn local_time() -> String {
    jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// Opens a file in a user's folder, where that is.
#[cfg(unix)]
fn open(folder: &Path, user: &str, name: &str) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, openat};

    let folder_flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, folder_flags, Mode::empty())?;
    // One component each, and no links: nothing outside can be meant.
    let folder = openat(&folder, user, folder_flags | OFlags::NOFOLLOW, Mode::empty())?;
    // Not to wait for a reader of what is no file.
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a file")) }
}

/// Opens a file in a user's folder, where that is.
#[cfg(not(unix))]
fn open(folder: &Path, user: &str, name: &str) -> io::Result<File> {
    let folder = folder.join(user);
    if !folder.symlink_metadata()?.is_dir() {
        return Err(io::Error::other("not a folder"));
    }
    let path = folder.join(name);
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("not a file"));
    }
    File::options().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in ["bob", "bob@example.org", "...", "b\u{f6}b", " "] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "../eve", "a/b", "/etc", "a\\b", "a\0b", "a\nb", &"a".repeat(256)] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn the_time_is_that_of_ctime() {
        let time = local_time();
        assert_eq!(time.len(), 24, "{time}");
        let parts: Vec<_> = time.split_ascii_whitespace().collect();
        assert!(parts.len() == 5 && parts[0].len() == 3 && parts[1].len() == 3 && parts[3].len() == 8, "{time}");
    }

    #[cfg(unix)]
    #[test]
    fn files_are_appended_to_and_links_are_not_followed() {
        use std::os::unix::fs::{MetadataExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(open(path, "bob", "1").unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::create_dir(path.join("bob")).unwrap();
        for _ in 0..2 {
            open(path, "bob", "1").unwrap().write_all(b"x").unwrap();
        }
        assert_eq!(std::fs::read(path.join("bob/1")).unwrap(), b"xx");
        assert_eq!(std::fs::metadata(path.join("bob/1")).unwrap().mode() & 0o777, 0o600);
        symlink(path.join("bob"), path.join("eve")).unwrap();
        assert!(open(path, "eve", "2").is_err());
        symlink(path.join("outside"), path.join("bob/3")).unwrap();
        assert!(open(path, "bob", "3").is_err());
        std::fs::create_dir(path.join("bob/4")).unwrap();
        assert!(open(path, "bob", "4").is_err());
        std::fs::write(path.join("file"), "").unwrap();
        assert!(open(path, "file", "1").is_err());
        assert!(!path.join("outside").exists());
    }
}
