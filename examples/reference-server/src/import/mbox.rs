//! Messages of an mbox file (RFC 4155).
//!
//! A message begins with a line `From sender date` at the start of the file or after an empty line, and a body line that
//! would look like one has a `>` before it, which is taken away. The headers `Status`, `X-Status` and `X-Keywords`, in
//! which mail programs keep flags, are understood, and stay in the message.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use pillarbox_proto_core::mail::{DateTime, Flags, Keyword, Keywords, SystemFlags};

use super::{Body, Found, to_wire};

/// An open mbox file.
pub(super) struct Mbox {
    path: PathBuf,
    file: BufReader<File>,
    total: u64,
    done: u64,
    /// The `From ` line of the next message; `None` at the end.
    separator: Option<Vec<u8>>,
}

impl Mbox {
    /// Opens a file; `None` if it is not in this form. An empty file is an mbox without messages.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let total = file.metadata()?.len();
        let mut mbox = Self { path: path.to_owned(), file: BufReader::new(file), total, done: 0, separator: None };
        let mut line = Vec::new();
        while mbox.line(&mut line)? {
            if line.starts_with(b"From ") {
                mbox.separator = Some(line);
                return Ok(Some(mbox));
            }
            if !is_empty(&line) {
                return Ok(None);
            }
        }
        Ok(Some(mbox))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Reads a piece of at most 64 KiB that ends with its line, or is a part of a very long one; false at the end.
    fn line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let read = self.file.by_ref().take(64 << 10).read_until(b'\n', line)?;
        self.done += read as u64;
        Ok(read > 0)
    }

    pub(super) fn next(&mut self, limit: u64) -> io::Result<Option<Found>> {
        loop {
            let Some(separator) = self.separator.take() else { return Ok(None) };
            let (octets, whole) = self.body(limit)?;
            if is_internal(&octets) {
                continue;
            }
            let flags = flags(&octets);
            let date = separator_date(&separator);
            let wire = to_wire(octets);
            let fits = whole && wire.len() as u64 <= limit;
            let body = if fits { Body::Octets(wire) } else { Body::TooLarge };
            return Ok(Some(Found { folder: Vec::new(), flags, date, body }));
        }
    }

    /// Reads up to the next message; false if only the beginning was kept, as there is more than the limit.
    fn body(&mut self, limit: u64) -> io::Result<(Vec<u8>, bool)> {
        let (mut octets, mut line) = (Vec::new(), Vec::new());
        let (mut whole, mut starts_line, mut after_empty) = (true, true, false);
        while self.line(&mut line)? {
            if starts_line {
                if after_empty && line.starts_with(b"From ") && separator_date(&line).is_some() {
                    self.separator = Some(line);
                    break;
                }
                let quotes = line.iter().take_while(|byte| **byte == b'>').count();
                if quotes > 0 && line.get(quotes..).is_some_and(|rest| rest.starts_with(b"From ")) {
                    line.remove(0);
                }
                after_empty = is_empty(&line);
            }
            starts_line = line.ends_with(b"\n");
            if octets.len() as u64 > limit {
                whole = false;
            } else {
                octets.extend_from_slice(&line);
            }
        }
        // The empty line before the next message, and at the end of the file, belongs to the format.
        for end in [&b"\n\r\n"[..], b"\n\n"] {
            if octets.ends_with(end) {
                octets.truncate(octets.len() - end.len() + 1);
                break;
            }
        }
        Ok((octets, whole))
    }
}

fn is_empty(line: &[u8]) -> bool {
    line == b"\n" || line == b"\r\n"
}

/// The lines of a message's header: name and value, folded lines without what they were folded at.
fn header(octets: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    octets.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty()).filter_map(
        |line| {
            let colon = memchr::memchr(b':', line)?;
            Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
        },
    )
}

/// Some mail programs keep notes of their own in a first message.
fn is_internal(octets: &[u8]) -> bool {
    let mut subject = header(octets).filter(|(name, _)| name.eq_ignore_ascii_case(b"subject"));
    let named = subject.next().is_some_and(|(_, value)| value.starts_with(b"DON'T DELETE THIS MESSAGE"));
    named && header(octets).any(|(name, _)| name.eq_ignore_ascii_case(b"x-imap"))
}

fn flags(octets: &[u8]) -> Flags {
    let mut system = SystemFlags::NONE;
    let mut keywords = Vec::new();
    for (name, value) in header(octets) {
        if name.eq_ignore_ascii_case(b"status") || name.eq_ignore_ascii_case(b"x-status") {
            for letter in value {
                system |= match letter {
                    b'R' => SystemFlags::SEEN,
                    b'A' => SystemFlags::ANSWERED,
                    b'F' => SystemFlags::FLAGGED,
                    b'D' => SystemFlags::DELETED,
                    b'T' => SystemFlags::DRAFT,
                    _ => SystemFlags::NONE,
                };
            }
        } else if name.eq_ignore_ascii_case(b"x-keywords") {
            let words = value.split(|byte| *byte == b' ' || *byte == b',').filter_map(|word| str::from_utf8(word).ok());
            keywords.extend(words.filter_map(|word| Keyword::new(word).ok()));
        }
    }
    Flags { system, keywords: keywords.into_iter().collect::<Keywords>() }
}

/// The date of a `From ` line, such as `From a@example.org Thu Jan  1 00:00:01 1970`, with or without a zone; UTC where it
/// has none. `None` if there is no date, and the line is a sentence.
fn separator_date(line: &[u8]) -> Option<DateTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let month_of = |word: &str| MONTHS.iter().position(|month| *month == word);
    // The sender may look like anything, so the date is looked for from the end.
    let at = words.iter().rposition(|word| month_of(word).is_some())?;
    let month = u8::try_from(month_of(words.get(at)?)? + 1).ok()?;
    let day = words.get(at + 1)?.parse().ok()?;
    let mut clock = words.get(at + 2)?.split(':').map(|part| part.parse::<u8>().ok());
    let (hour, minute) = (clock.next()??, clock.next()??);
    let second = clock.next().unwrap_or(Some(0))?;
    let mut offset = 0;
    let mut year = None;
    for word in words.get(at + 3..)? {
        let digits = word.trim_start_matches(['+', '-']);
        if digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let number: i16 = digits.parse().ok()?;
            match word.as_bytes().first() {
                Some(b'+') => offset = number / 100 * 60 + number % 100,
                Some(b'-') => offset = -(number / 100 * 60 + number % 100),
                _ => year = year.or(Some(i32::from(number))),
            }
        }
    }
    DateTime::from_parts((year?, month, day), (hour, minute, second), offset).ok()
}
