//! Telling IMAP clients from everything else that may connect to an IMAP port, by the first line.
//!
//! A browser that is made to post a form here, or a client of another protocol, must not be kept talking until some
//! line of it happens to be a command. Whoever starts with what no IMAP client sends is shown the door.

use memchr::memchr;

use super::chars;

/// Why a first line is not IMAP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// It starts with a byte that no line of text starts with, such as that of a TLS handshake.
    Binary,
    /// It does not have a tag and a command word after it.
    NoCommand,
    /// Its command word has characters other than letters, digits and `-`.
    CommandWord,
    /// Its tag is a verb of HTTP, SMTP or POP3.
    Verb,
}

/// Verbs with which other protocols start lines.
const VERBS: [&[u8]; 22] = [
    b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"PRI", b"HELO", b"EHLO",
    b"LHLO", b"MAIL", b"RCPT", b"DATA", b"VRFY", b"EXPN", b"USER", b"PASS", b"APOP", b"QUIT",
];

/// Judges the first byte of a connection alone, so that a TLS handshake, which may have no line end, is recognized.
#[must_use]
pub fn first_byte(byte: u8) -> Option<Foreign> {
    // Line ends are judged with their line.
    let text = byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    (!text).then_some(Foreign::Binary)
}

/// Judges the first line of a connection, with or without its end. `None` is for a line that an IMAP client might send,
/// be it a command that does not exist.
#[must_use]
pub fn first_line(line: &[u8]) -> Option<Foreign> {
    if let Some(foreign) = line.first().and_then(|byte| first_byte(*byte)) {
        return Some(foreign);
    }
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some((tag, rest)) = memchr(b' ', line).and_then(|space| Some((line.get(..space)?, line.get(space + 1..)?)))
    else {
        return Some(Foreign::NoCommand);
    };
    let word = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    if tag.is_empty() || word.is_empty() || !tag.iter().all(|byte| chars::is(*byte, chars::TAG)) {
        return Some(Foreign::NoCommand);
    }
    if !word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
        return Some(Foreign::CommandWord);
    }
    VERBS.iter().any(|verb| verb.eq_ignore_ascii_case(tag)).then_some(Foreign::Verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_imap_clients() {
        for line in
            ["a FOO\r\n", "A1 LOGIN x y\r\n", "1 capability\n", ". NOOP\r\n", "a X-FOO bar\r\n", "a LOGIN {3}\r\n"]
        {
            assert_eq!(first_line(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn lines_of_others() {
        for (line, why) in [
            ("\r\n", Foreign::NoCommand),
            ("NOOP\r\n", Foreign::NoCommand),
            ("a \r\n", Foreign::NoCommand),
            (" NOOP\r\n", Foreign::NoCommand),
            ("* OK hello\r\n", Foreign::NoCommand),
            ("SSH-2.0-OpenSSH_9.9\r\n", Foreign::NoCommand),
            ("QUIT\r\n", Foreign::NoCommand),
            ("GET / HTTP/1.1\r\n", Foreign::CommandWord),
            ("Host: example.org\r\n", Foreign::CommandWord),
            ("POST index\r\n", Foreign::Verb),
            ("ehlo localhost\r\n", Foreign::Verb),
            ("USER demo\r\n", Foreign::Verb),
            ("\x16\x03\x01\x02\n", Foreign::Binary),
        ] {
            assert_eq!(first_line(line.as_bytes()), Some(why), "{line}");
        }
        assert_eq!(first_byte(0x16), Some(Foreign::Binary));
        assert_eq!(first_byte(0x80), Some(Foreign::Binary));
        assert_eq!(first_byte(b'a'), None);
    }
}
