//! Who else may read or change the files that TLS depends on.
//!
//! A private key that others can read is no secret, and a list of authorities that others can write lets them in. Each
//! kind of file has a set of checks, made before the file is read:
//!
//! | check | the file is refused when |
//! |---|---|
//! | `gwrfil` | its group can write it |
//! | `awrfil` | everyone can write it |
//! | `grdfil` | its group can read it |
//! | `ardfil` | everyone can read it |
//! | `linkwrdir` | it is a symbolic link in a folder that its group or everyone can write |
//! | `gwrdir` | it lies in a folder that its group can write |
//! | `awrdir` | it lies in a folder that everyone can write |
//!
//! Permissions of a link are those of the file that it leads to; its folder is the link's and the file's, and that of every
//! link between them. What a check never does: look at owners, at access lists beyond the mode, or at folders further up.
//! On systems without file modes every check passes.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// Which checks are made of which file.
///
/// By default all are made of keys, and `gwrfil` and `linkwrdir` of certificates and of authorities.
///
/// ```
/// use pillarbox_server_core::tls::{FileChecks, FileKind};
///
/// // As in a configuration file: a key may be read by its group.
/// let checks = FileChecks::default().with(FileKind::Key, ["all", "-grdfil"])?;
/// let error = checks.with(FileKind::Key, ["+worldly"]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "+worldly is not a file check (known: none, all, gwrfil, awrfil, grdfil, ardfil, linkwrdir, gwrdir, awrdir)"
/// );
/// # Ok::<(), pillarbox_server_core::tls::UnknownFileCheck>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileChecks {
    key: Checks,
    certificate: Checks,
    authorities: Checks,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A private key, alone or together with its certificate.
    Key,
    /// A certificate.
    Certificate,
    /// Certificates of authorities, or lists of what they have revoked.
    Authorities,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Key => "key file",
            Self::Certificate => "certificate file",
            Self::Authorities => "CA file",
        })
    }
}

/// A set of checks, one bit each.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Checks(u8);

#[derive(Clone, Copy)]
struct Check {
    bit: u8,
    name: &'static str,
    /// What a file that fails is.
    fails: &'static str,
}

const GROUP_WRITABLE: Check = Check { bit: 1, name: "gwrfil", fails: "its group can write it" };
const ALL_WRITABLE: Check = Check { bit: 2, name: "awrfil", fails: "everyone can write it" };
const GROUP_READABLE: Check = Check { bit: 4, name: "grdfil", fails: "its group can read it" };
const ALL_READABLE: Check = Check { bit: 8, name: "ardfil", fails: "everyone can read it" };
const LINK: Check =
    Check { bit: 16, name: "linkwrdir", fails: "it is a symbolic link in a folder that others can write" };
const GROUP_FOLDER: Check = Check { bit: 32, name: "gwrdir", fails: "it lies in a folder that its group can write" };
const ALL_FOLDER: Check = Check { bit: 64, name: "awrdir", fails: "it lies in a folder that everyone can write" };
/// In the order in which failures are told: the worst first.
const EVERY: [Check; 7] = [ALL_WRITABLE, ALL_READABLE, GROUP_WRITABLE, GROUP_READABLE, LINK, ALL_FOLDER, GROUP_FOLDER];

impl Checks {
    const NONE: Self = Self(0);
    const ALL: Self = Self(127);

    fn has(self, check: Check) -> bool {
        self.0 & check.bit != 0
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        EVERY.into_iter().filter(move |check| self.has(*check)).map(|check| check.name)
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Default for FileChecks {
    fn default() -> Self {
        let changed = Checks(GROUP_WRITABLE.bit | LINK.bit);
        Self { key: Checks::ALL, certificate: changed, authorities: changed }
    }
}

impl FileChecks {
    /// No checks at all.
    #[must_use]
    pub fn none() -> Self {
        Self { key: Checks::NONE, certificate: Checks::NONE, authorities: Checks::NONE }
    }

    /// Changes the checks of one kind of file by names, one after the other: a name adds its check, with or without `+`,
    /// and takes it away with `-`; `all` adds all, `none` takes all away, and with `-` it is the other way round.
    ///
    /// # Errors
    ///
    /// A name is not known.
    pub fn with<N: AsRef<str>>(
        mut self,
        kind: FileKind,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, UnknownFileCheck> {
        let checks = match kind {
            FileKind::Key => &mut self.key,
            FileKind::Certificate => &mut self.certificate,
            FileKind::Authorities => &mut self.authorities,
        };
        for given in names {
            let given = given.as_ref();
            let (name, add) = match given.strip_prefix('-') {
                Some(name) => (name, false),
                None => (given.strip_prefix('+').unwrap_or(given), true),
            };
            *checks = match (name, add) {
                ("all", true) | ("none", false) => Checks::ALL,
                ("all", false) | ("none", true) => Checks::NONE,
                _ => {
                    let check = EVERY.into_iter().find(|check| check.name == name);
                    let check = check.ok_or_else(|| UnknownFileCheck { name: given.escape_debug().to_string() })?;
                    Checks(if add { checks.0 | check.bit } else { checks.0 & !check.bit })
                }
            };
        }
        Ok(self)
    }

    /// The names of the checks that are made of this kind of file.
    pub fn names(&self, kind: FileKind) -> impl Iterator<Item = &'static str> {
        self.of(kind).names()
    }

    fn of(&self, kind: FileKind) -> Checks {
        match kind {
            FileKind::Key => self.key,
            FileKind::Certificate => self.certificate,
            FileKind::Authorities => self.authorities,
        }
    }

    /// Checks a file.
    ///
    /// # Errors
    ///
    /// It fails a check, or can't be looked at.
    pub fn check(&self, path: impl AsRef<Path>, kind: FileKind) -> Result<(), FileCheckError> {
        let (path, checks) = (path.as_ref(), self.of(kind));
        if checks == Checks::NONE {
            return Ok(());
        }
        let unseen = |source| FileCheckError::Unseen { path: path.into(), source };
        let file = mode(&fs::metadata(path).map_err(unseen)?);
        let Folders { links, all: folders } = Folders::of(path).map_err(unseen)?;
        let failed = EVERY.into_iter().filter(|check| checks.has(*check)).find(|check| match check.bit {
            bit if bit == ALL_WRITABLE.bit => file & 0o002 != 0,
            bit if bit == ALL_READABLE.bit => file & 0o004 != 0,
            bit if bit == GROUP_WRITABLE.bit => file & 0o020 != 0,
            bit if bit == GROUP_READABLE.bit => file & 0o040 != 0,
            bit if bit == LINK.bit => links & 0o022 != 0,
            bit if bit == ALL_FOLDER.bit => folders & 0o002 != 0,
            _ => folders & 0o020 != 0,
        });
        match failed {
            None => Ok(()),
            Some(check) => Err(FileCheckError::Unsafe {
                path: path.into(),
                kind,
                check: check.name,
                reason: check.fails,
                mode: file & 0o7777,
            }),
        }
    }
}

/// The most links that are followed, as the system does.
const MOST_LINKS: usize = 40;

/// The permissions of folders, put together: what one of them allows.
#[derive(Default)]
struct Folders {
    /// Of those that hold a link on the way to the file.
    links: u32,
    /// Of these, and of the file's own.
    all: u32,
}

impl Folders {
    fn of(path: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        let mut at = path.to_owned();
        for _ in 0..=MOST_LINKS {
            let folder = mode(&fs::metadata(parent(&at))?);
            found.all |= folder;
            if !fs::symlink_metadata(&at)?.is_symlink() {
                return Ok(found);
            }
            found.links |= folder;
            at = parent(&at).join(fs::read_link(&at)?);
        }
        Err(io::Error::other("too many symbolic links"))
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(metadata)
}

#[cfg(not(unix))]
fn mode(_metadata: &Metadata) -> u32 {
    0
}

/// Why a file is not to be used. One line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileCheckError {
    /// It can't be looked at.
    #[error("{}: {source}", path.display())]
    Unseen {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It fails a check.
    #[error("{}: unsafe {kind}: {reason} (mode {mode:04o}, check {check})", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What it is for.
        kind: FileKind,
        /// The name of the check.
        check: &'static str,
        /// What is wrong.
        reason: &'static str,
        /// The permissions of the file, after links.
        mode: u32,
    },
}

/// A name that is no check's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is not a file check (known: none, all, gwrfil, awrfil, grdfil, ardfil, linkwrdir, gwrdir, awrdir)")]
pub struct UnknownFileCheck {
    name: String,
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn permit(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn names(checks: &FileChecks, kind: FileKind) -> Vec<&'static str> {
        checks.names(kind).collect()
    }

    #[test]
    fn names_add_and_take_away_one_after_the_other() {
        let standard = FileChecks::default();
        assert_eq!(names(&standard, FileKind::Key).len(), 7);
        assert_eq!(names(&standard, FileKind::Certificate), ["gwrfil", "linkwrdir"]);
        assert_eq!(names(&standard, FileKind::Authorities), ["gwrfil", "linkwrdir"]);
        let key = |list: &[&str]| names(&standard.with(FileKind::Key, list).unwrap(), FileKind::Key);
        assert_eq!(key(&["none"]), [""; 0]);
        assert_eq!(key(&["-all"]), [""; 0]);
        assert_eq!(key(&["none", "ardfil", "+awrfil"]), ["awrfil", "ardfil"]);
        assert_eq!(key(&["-none", "-gwrdir", "-awrdir"]).len(), 5);
        assert_eq!(key(&["none", "+all"]).len(), 7);
        let one = standard.with(FileKind::Authorities, ["+awrfil"]).unwrap();
        assert_eq!(names(&one, FileKind::Authorities), ["awrfil", "gwrfil", "linkwrdir"]);
        assert_eq!(names(&one, FileKind::Certificate), ["gwrfil", "linkwrdir"], "its own list");
        for wrong in ["", "+", "--all", "ALL", "rwx"] {
            let error = standard.with(FileKind::Key, [wrong]).unwrap_err().to_string();
            let known = "none, all, gwrfil, awrfil, grdfil, ardfil, linkwrdir, gwrdir, awrdir";
            assert_eq!(error, format!("{wrong} is not a file check (known: {known})"));
        }
    }

    #[test]
    fn each_check_finds_its_fault() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let (file, link) = (folder.path().join("server.key"), inner.join("link.key"));
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        permit(folder.path(), 0o700);
        permit(&inner, 0o700);
        permit(&file, 0o600);
        let all = FileChecks::default();
        all.check(&file, FileKind::Key).unwrap();
        all.check(&link, FileKind::Key).unwrap();

        let refused = |path: &Path, reason: &str, mode: &str, check: &str| {
            let error = all.check(path, FileKind::Key).unwrap_err().to_string();
            assert_eq!(error, format!("{}: unsafe key file: {reason} (mode {mode}, check {check})", path.display()));
            let only = FileChecks::none().with(FileKind::Key, [check]).unwrap();
            assert!(only.check(path, FileKind::Key).is_err(), "{check} alone");
            let without = all.with(FileKind::Key, ["all", &format!("-{check}")]).unwrap();
            without.check(path, FileKind::Key)
        };
        for (mode, reason, check) in [
            (0o620, "its group can write it", "gwrfil"),
            (0o602, "everyone can write it", "awrfil"),
            (0o640, "its group can read it", "grdfil"),
            (0o604, "everyone can read it", "ardfil"),
        ] {
            permit(&file, mode);
            refused(&file, reason, &format!("{mode:04o}"), check).unwrap();
            // A link is as open as the file that it leads to.
            refused(&link, reason, &format!("{mode:04o}"), check).unwrap();
        }
        permit(&file, 0o644);
        let worst = all.check(&file, FileKind::Key).unwrap_err().to_string();
        assert!(worst.ends_with("everyone can read it (mode 0644, check ardfil)"), "{worst}");
        all.check(&file, FileKind::Certificate).unwrap();
        FileChecks::none().check(&file, FileKind::Key).unwrap();

        permit(&file, 0o600);
        permit(folder.path(), 0o770);
        refused(&file, "it lies in a folder that its group can write", "0600", "gwrdir").unwrap();
        assert!(refused(&link, "it lies in a folder that its group can write", "0600", "gwrdir").is_ok());
        permit(folder.path(), 0o707);
        refused(&file, "it lies in a folder that everyone can write", "0600", "awrdir").unwrap();
        permit(folder.path(), 0o700);
        permit(&inner, 0o720);
        // The folder fails as well.
        let rest = refused(&link, "it is a symbolic link in a folder that others can write", "0600", "linkwrdir");
        assert!(rest.unwrap_err().to_string().ends_with("check gwrdir)"));
        permit(&inner, 0o700);
    }

    #[test]
    fn every_link_on_the_way_counts() {
        let folder = tempfile::tempdir().unwrap();
        let [first, open, last] = ["first", "open", "last"].map(|name| folder.path().join(name));
        for folder in [&first, &open, &last] {
            fs::create_dir(folder).unwrap();
            permit(folder, 0o700);
        }
        fs::write(last.join("server.key"), "").unwrap();
        permit(&last.join("server.key"), 0o600);
        symlink("../last/server.key", open.join("key")).unwrap();
        symlink(open.join("key"), first.join("key")).unwrap();
        let path = first.join("key");
        let all = FileChecks::default();
        all.check(&path, FileKind::Key).unwrap();
        // Whoever writes there says what the key is, though neither the first link nor the file lies there.
        permit(&open, 0o770);
        let error = all.check(&path, FileKind::Key).unwrap_err().to_string();
        assert!(
            error.ends_with("it is a symbolic link in a folder that others can write (mode 0600, check linkwrdir)")
        );
        for check in ["linkwrdir", "gwrdir"] {
            assert!(FileChecks::none().with(FileKind::Key, [check]).unwrap().check(&path, FileKind::Key).is_err());
        }
        symlink("loop", folder.path().join("loop")).unwrap();
        assert!(all.check(folder.path().join("loop"), FileKind::Key).is_err());
    }

    #[test]
    fn a_file_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing.key");
        let error = FileChecks::default().check(&path, FileKind::Key).unwrap_err().to_string();
        assert_eq!(error, format!("{}: No such file or directory (os error 2)", path.display()));
        fs::write(folder.path().join("missing.key"), "").unwrap();
        assert_eq!(parent(Path::new("server.key")), Path::new("."));
    }
}
