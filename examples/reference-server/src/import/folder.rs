//! Messages that are a file each: a Maildir with its folders, or a folder of `.eml` files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pillarbox_proto_core::mail::{DateTime, Flags, Keyword, Keywords, SystemFlags, utf7};

use super::{Body, Found, to_wire};

/// Files that are messages, in the order in which they are to be imported.
pub(super) struct Files {
    files: std::vec::IntoIter<Entry>,
    total: u64,
}

struct Entry {
    path: PathBuf,
    folder: Vec<String>,
    flags: Flags,
}

impl Files {
    /// The messages of a folder.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        if is_maildir(path) {
            maildir(path, &[], &mut files)?;
            for (name, folder) in folders(path)? {
                maildir(&path.join(name), &folder, &mut files)?;
            }
        } else {
            let mut names = names(path)?;
            names.retain(|name| Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("eml")));
            names.sort();
            files.extend(names.into_iter().map(|name| Entry {
                path: path.join(name),
                folder: Vec::new(),
                flags: Flags::NONE,
            }));
            return Ok(Self::new(files));
        }
        Ok(Self { total: files.len().max(1) as u64, ..Self::new(files) })
    }

    /// One file.
    pub(super) fn single(path: &Path) -> Self {
        Self::new(vec![Entry { path: path.to_owned(), folder: Vec::new(), flags: Flags::NONE }])
    }

    fn new(files: Vec<Entry>) -> Self {
        Self { total: files.len() as u64, files: files.into_iter() }
    }

    /// Whether this is no Maildir, and no message is in it.
    pub(super) fn is_empty_folder(&self) -> bool {
        self.total == 0
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn done(&self) -> u64 {
        self.total.saturating_sub(self.files.len() as u64)
    }

    pub(super) fn next(&mut self, limit: u64) -> Result<Option<Found>, (PathBuf, io::Error)> {
        for Entry { path, folder, flags } in self.files.by_ref() {
            let (octets, date) = match read(&path, limit) {
                Ok(read) => read,
                // Another program may have moved or removed it since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.total > 1 => continue,
                Err(error) => return Err((path, error)),
            };
            let whole = octets.len() as u64 <= limit;
            let wire = to_wire(octets);
            let body = if whole && wire.len() as u64 <= limit { Body::Octets(wire) } else { Body::TooLarge };
            return Ok(Some(Found { folder, flags, date, body }));
        }
        Ok(None)
    }
}

/// Reads a file up to just beyond the limit, and when it was last changed: in a Maildir, when the message arrived.
fn read(path: &Path, limit: u64) -> io::Result<(Vec<u8>, Option<DateTime>)> {
    let file = File::open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file"));
    }
    let mut octets = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut octets)?;
    Ok((octets, data.modified().ok().map(DateTime::from)))
}

fn is_maildir(path: &Path) -> bool {
    path.join("cur").is_dir() && path.join("new").is_dir()
}

fn names(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// The Maildir++ folders of a Maildir: the name on the disk, and the levels of the mailbox's name.
fn folders(path: &Path) -> io::Result<Vec<(String, Vec<String>)>> {
    let mut found = Vec::new();
    for name in names(path)? {
        let Some(name) = name.to_str() else { continue };
        if let Some(levels) = name.strip_prefix('.')
            && !levels.is_empty()
            && is_maildir(&path.join(name))
        {
            let level = |level: &str| utf7::decode(level.as_bytes()).map_or(level.to_owned(), |text| text.into_owned());
            found.push((name.to_owned(), levels.split('.').map(level).collect()));
        }
    }
    found.sort();
    Ok(found)
}

/// Adds the messages of one Maildir, oldest first, as far as the names tell.
fn maildir(path: &Path, folder: &[String], files: &mut Vec<Entry>) -> io::Result<()> {
    let keywords = keywords(path);
    let mut found = Vec::new();
    for place in ["cur", "new"] {
        let place = path.join(place);
        for name in names(&place)? {
            let bytes = name.as_encoded_bytes();
            if bytes.starts_with(b".") {
                continue;
            }
            let seconds = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let seconds =
                str::from_utf8(bytes.get(..seconds).unwrap_or_default()).ok().and_then(|text| text.parse().ok());
            let flags = flags(bytes, &keywords);
            let entry = Entry { path: place.join(&name), folder: folder.to_owned(), flags };
            found.push((seconds.unwrap_or(u64::MAX), name, entry));
        }
    }
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    files.extend(found.into_iter().map(|(_, _, entry)| entry));
    Ok(())
}

/// The flags of a file name, after `:2,`. A capital letter is a system flag, a small one a keyword by its number.
fn flags(name: &[u8], keywords: &[Option<Keyword>]) -> Flags {
    let Some(colon) = memchr::memmem::rfind(name, b":2,") else { return Flags::NONE };
    let mut system = SystemFlags::NONE;
    let mut set = Vec::new();
    for letter in name.get(colon + 3..).unwrap_or_default() {
        match letter {
            b'D' => system |= SystemFlags::DRAFT,
            b'F' => system |= SystemFlags::FLAGGED,
            b'R' => system |= SystemFlags::ANSWERED,
            b'S' => system |= SystemFlags::SEEN,
            b'T' => system |= SystemFlags::DELETED,
            b'P' => set.extend(Keyword::new("$Forwarded").ok()),
            b'a'..=b'z' => set.extend(keywords.get(usize::from(letter - b'a')).cloned().flatten()),
            _ => {}
        }
    }
    Flags { system, keywords: set.into_iter().collect::<Keywords>() }
}

/// What the small letters in file names stand for: lines of a number and a keyword, in a file that is common beside
/// Maildirs. Where there is none, the letters mean nothing.
fn keywords(path: &Path) -> Vec<Option<Keyword>> {
    let mut keywords = vec![None; 26];
    let Ok(text) = fs::read(path.join("dovecot-keywords")) else { return keywords };
    for line in String::from_utf8_lossy(&text).lines() {
        if let Some((number, name)) = line.split_once(' ')
            && let Ok(number) = number.parse::<usize>()
            && let Some(place) = keywords.get_mut(number)
        {
            *place = Keyword::new(name.trim()).ok();
        }
    }
    keywords
}
