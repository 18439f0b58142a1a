//! The field `X-Expire-Timestamp`: a stamp of a message's first retrieval over POP3, within the message itself.
//!
//! It is read from, and written to, the header only. A message that gets one is a new file: the field comes first, the
//! rest is copied as it is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

/// The field's name.
const FIELD: &[u8] = b"X-Expire-Timestamp";
/// Octets of a header that are looked through.
const HEADER: u64 = 1024 * 1024;
/// The longest value that is remembered; a number is shorter.
const VALUE: usize = 64;

/// What the field says, of the first one if there are several; none if there is none.
pub(super) fn read(file: &mut File) -> io::Result<Option<String>> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(4096, file).take(HEADER);
    let mut line = Vec::new();
    let mut value: Option<Vec<u8>> = None;
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        let text = line.trim_ascii_end();
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        match &mut value {
            // A number that goes on in another line is none.
            Some(value) if continues && !text.is_empty() => value.extend_from_slice(text),
            Some(value) => {
                value.truncate(VALUE);
                return Ok(Some(String::from_utf8_lossy(value).into_owned()));
            }
            None if length == 0 || line == b"\n" || line == b"\r\n" => return Ok(None),
            None => value = value_of(text).map(<[u8]>::to_vec),
        }
    }
}

fn value_of(line: &[u8]) -> Option<&[u8]> {
    let (name, rest) = line.split_at_checked(FIELD.len())?;
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    name.eq_ignore_ascii_case(FIELD).then_some(value.trim_ascii_start())
}

/// Copies a message with the field in it.
pub(super) fn copy_with(file: &mut File, time: i64, to: &mut File) -> io::Result<()> {
    let (at, line_end) = place(file)?;
    file.seek(SeekFrom::Start(0))?;
    let copied = io::copy(&mut Read::by_ref(file).take(at), to)?;
    if copied != at {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    write!(to, "X-Expire-Timestamp: {time}{line_end}")?;
    io::copy(file, to)?;
    Ok(())
}

/// Where the field goes: before everything but what is no field of its own, the line of an mbox and lines that go on
/// from one before. And how lines end.
fn place(file: &mut File) -> io::Result<(u64, &'static str)> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(4096, file).take(HEADER);
    let (mut at, mut line_end) = (0, "\r\n");
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.ends_with(b"\n") {
            line_end = if line.ends_with(b"\r\n") { "\r\n" } else { "\n" };
        }
        let is_blank = line.trim_ascii().is_empty();
        let is_mbox = at == 0 && (line.starts_with(b"From ") || line.starts_with(b">From "));
        let continues = matches!(line.first(), Some(b' ' | b'\t')) && !is_blank;
        if !(is_mbox || continues) || !line.ends_with(b"\n") {
            return Ok((at, line_end));
        }
        at += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn the_field_is_found_in_the_header_only() {
        for (text, value) in [
            ("X-Expire-Timestamp: 12\r\n\r\nx", Some("12")),
            ("Subject: a\nx-expire-timestamp:12  \n\n", Some("12")),
            ("X-EXPIRE-TIMESTAMP \t: 12", Some("12")),
            ("X-Expire-Timestamp:\r\n\r\n", Some("")),
            ("X-Expire-Timestamp: 1\r\n 2\r\n\r\n", Some("1 2")),
            ("X-Expire-Timestamp: 1\nX-Expire-Timestamp: 2\n", Some("1")),
            ("X-Expire-Timestamp: soon\n\n", Some("soon")),
            ("X-Expire-Timestamps: 1\n\n", None),
            ("Subject: a\n\nX-Expire-Timestamp: 12\n", None),
            ("\r\nX-Expire-Timestamp: 12\r\n", None),
            ("", None),
        ] {
            assert_eq!(read(&mut file(text)).unwrap().as_deref(), value, "{text:?}");
        }
        let long = format!("X-Expire-Timestamp: {}\n\n", "9".repeat(2 << 20));
        assert_eq!(read(&mut file(&long)).unwrap().unwrap().len(), VALUE);
    }

    #[test]
    fn the_field_comes_first_and_nothing_else_changes() {
        for (text, at, line_end) in [
            ("Subject: a\r\n\r\nbody", 0, "\r\n"),
            ("Subject: a\n\nbody", 0, "\n"),
            ("\r\nbody", 0, "\r\n"),
            ("", 0, "\r\n"),
            ("From a@example.org now\nSubject: a\n\n", 23, "\n"),
            (" goes on\r\nSubject: a\r\n\r\n", 10, "\r\n"),
            (" \r\nbody", 0, "\r\n"),
            (" goes on", 0, "\r\n"),
        ] {
            let mut copy = tempfile::tempfile().unwrap();
            copy_with(&mut file(text), 7, &mut copy).unwrap();
            copy.seek(SeekFrom::Start(0)).unwrap();
            let mut copied = String::new();
            copy.read_to_string(&mut copied).unwrap();
            assert_eq!(copied, format!("{}X-Expire-Timestamp: 7{line_end}{}", &text[..at], &text[at..]), "{text:?}");
        }
    }
}
