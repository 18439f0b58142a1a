//! Command lines (RFC 2033; RFC 5321, section 4.1).

use crate::reply::Reply;

/// The longest command line, with its end: that of RFC 5321 (section 4.5.3.1.4), and room for what the extensions add.
pub(crate) const MAX_LINE: usize = 2048;
/// The longest address: local part, `@`, domain (RFC 5321, section 4.5.3.1).
const MAX_PATH: usize = 64 + 1 + 255;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// The name that the client calls itself.
    Lhlo(String),
    Mail {
        /// As it was written, with its quotes; empty for the null path of a bounce.
        from: String,
        size: Option<u64>,
        utf8: bool,
    },
    Rcpt(Mailbox),
    Data,
    Rset,
    Noop,
    Quit,
    Vrfy,
    StartTls,
}

/// An address in its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mailbox {
    /// As it was written, with its quotes: only so it stands in a header (RFC 5321, section 4.4).
    pub(crate) written: String,
    /// Without them: they are no part of the name (RFC 5321, section 4.1.2).
    pub(crate) plain: String,
}

impl Command {
    /// Its name, for metrics.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Lhlo(_) => "LHLO",
            Self::Mail { .. } => "MAIL",
            Self::Rcpt(_) => "RCPT",
            Self::Data => "DATA",
            Self::Rset => "RSET",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
            Self::Vrfy => "VRFY",
            Self::StartTls => "STARTTLS",
        }
    }
}

const UNKNOWN: Reply = Reply::new(500, "5.5.1", "Unknown command");
const ARGUMENTS: Reply = Reply::new(501, "5.5.4", "Invalid arguments");
const PARAMETER: Reply = Reply::new(555, "5.5.4", "Unknown parameter");

/// Reads a line without its end.
pub(crate) fn parse(line: &[u8]) -> Result<Command, Reply> {
    let line = std::str::from_utf8(line).map_err(|_| Reply::new(500, "5.5.2", "The line is not UTF-8"))?;
    if line.contains(|c: char| c.is_control()) {
        return Err(Reply::new(500, "5.5.2", "The line has control characters"));
    }
    let line = line.trim_end_matches(' ');
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let none = |command| if rest.is_empty() { Ok(command) } else { Err(ARGUMENTS) };
    match word.to_ascii_uppercase().as_str() {
        "LHLO" if !rest.is_empty() => Ok(Command::Lhlo(rest.to_owned())),
        "LHLO" => Err(ARGUMENTS),
        "HELO" | "EHLO" => Err(Reply::new(500, "5.5.1", "This is LMTP: say LHLO")),
        "MAIL" => mail(rest),
        "RCPT" => rcpt(rest),
        "DATA" => none(Command::Data),
        "RSET" => none(Command::Rset),
        "NOOP" => Ok(Command::Noop),
        "QUIT" => none(Command::Quit),
        "VRFY" => Ok(Command::Vrfy),
        "STARTTLS" => none(Command::StartTls),
        _ => Err(UNKNOWN),
    }
}

fn mail(rest: &str) -> Result<Command, Reply> {
    let rest = after("FROM:", rest)?;
    let (from, parameters) = path(rest)?;
    let (mut size, mut utf8) = (None, false);
    for parameter in parameters.split_ascii_whitespace() {
        let (name, value) = parameter.split_once('=').map_or((parameter, None), |(name, value)| (name, Some(value)));
        match (name.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(value)) => size = Some(number(value)?),
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") || value.eq_ignore_ascii_case("8BITMIME") => {}
            ("SMTPUTF8", None) => utf8 = true,
            _ => return Err(PARAMETER),
        }
    }
    ascii(&from.written, utf8)?;
    Ok(Command::Mail { from: from.written, size, utf8 })
}

fn rcpt(rest: &str) -> Result<Command, Reply> {
    let (to, parameters) = path(after("TO:", rest)?)?;
    if !parameters.trim().is_empty() {
        return Err(PARAMETER);
    }
    // A bare user name is fine: what is local needs no domain.
    if to.plain.is_empty() {
        return Err(ARGUMENTS);
    }
    Ok(Command::Rcpt(to))
}

/// Addresses beyond ASCII only by SMTPUTF8 (RFC 6531, section 3.4).
pub(crate) fn ascii(address: &str, utf8: bool) -> Result<(), Reply> {
    if utf8 || address.is_ascii() { Ok(()) } else { Err(Reply::new(553, "5.6.7", "This address needs SMTPUTF8")) }
}

fn after<'l>(word: &str, rest: &'l str) -> Result<&'l str, Reply> {
    match rest.get(..word.len()) {
        Some(start) if start.eq_ignore_ascii_case(word) => Ok(rest.get(word.len()..).unwrap_or("").trim_start()),
        _ => Err(ARGUMENTS),
    }
}

fn number(digits: &str) -> Result<u64, Reply> {
    if digits.is_empty() || digits.len() > 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ARGUMENTS);
    }
    // More than can be counted is more than any limit.
    Ok(digits.parse().unwrap_or(u64::MAX))
}

/// An address in brackets, and what follows. Quotes keep their meaning: a `>` in them is part of the address.
fn path(text: &str) -> Result<(Mailbox, &str), Reply> {
    let inner = text.strip_prefix('<').ok_or(ARGUMENTS)?;
    let (mut quoted, mut escaped) = (false, false);
    let end = inner.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(at),
            _ => {}
        }
        None
    });
    let end = end.ok_or(ARGUMENTS)?;
    let (address, rest) = (inner.get(..end).unwrap_or(""), inner.get(end + 1..).unwrap_or(""));
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(ARGUMENTS);
    }
    // A source route is to be ignored (RFC 5321, section 4.1.1.3).
    let address = match address.strip_prefix('@') {
        Some(route) => route.split_once(':').ok_or(ARGUMENTS)?.1,
        None => address,
    };
    if address.len() > MAX_PATH {
        return Err(Reply::new(501, "5.1.7", "The address is too long"));
    }
    let (local, at) = address.rsplit_once('@').map_or((address, ""), |(local, domain)| (local, domain));
    if address.contains('@') && (local.is_empty() || at.is_empty()) {
        return Err(ARGUMENTS);
    }
    let local = unquoted(local).ok_or(ARGUMENTS)?;
    let plain = if address.contains('@') { format!("{local}@{at}") } else { local };
    Ok((Mailbox { written: address.to_owned(), plain }, rest))
}

/// A local part without its quotes (RFC 5321, section 4.1.2); without quotes there is no blank and no bracket in it.
fn unquoted(local: &str) -> Option<String> {
    let Some(inner) = local.strip_prefix('"') else {
        return (!local.contains([' ', '<', '>', '"', '\\'])).then(|| local.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.push(characters.next()?),
            '"' => return None,
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> u16 {
        parse(line.as_bytes()).unwrap_err().code
    }

    #[test]
    fn the_commands() {
        assert_eq!(parse(b"lhlo mx.example.org"), Ok(Command::Lhlo("mx.example.org".into())));
        assert_eq!(parse(b"DATA"), Ok(Command::Data));
        assert_eq!(parse(b"NOOP whatever"), Ok(Command::Noop));
        assert_eq!(
            parse(b"MAIL FROM:<ada@example.org> SIZE=1000 BODY=8BITMIME"),
            Ok(Command::Mail { from: "ada@example.org".into(), size: Some(1000), utf8: false })
        );
        assert_eq!(parse(b"MAIL FROM:<>"), Ok(Command::Mail { from: String::new(), size: None, utf8: false }));
        let rcpt =
            |written: &str, plain: &str| Ok(Command::Rcpt(Mailbox { written: written.into(), plain: plain.into() }));
        assert_eq!(
            parse(b"RCPT TO:<@a.example,@b.example:ada@example.org>"),
            rcpt("ada@example.org", "ada@example.org")
        );
        assert_eq!(parse(b"RCPT TO: <postmaster>"), rcpt("postmaster", "postmaster"));
        assert_eq!(
            parse(b"RCPT TO:<\"a \\\" > b\"@example.org>"),
            rcpt("\"a \\\" > b\"@example.org", "a \" > b@example.org")
        );
        assert_eq!(
            parse(b"MAIL FROM:<@a.example:\"a \\\\ > b\"@example.org>"),
            Ok(Command::Mail { from: "\"a \\\\ > b\"@example.org".into(), size: None, utf8: false })
        );
    }

    #[test]
    fn what_is_no_command() {
        assert_eq!(code("EHLO x"), 500);
        assert_eq!(code("HALLO"), 500);
        assert_eq!(code("LHLO"), 501);
        assert_eq!(code("DATA now"), 501);
        assert_eq!(code("MAIL ada@example.org"), 501);
        assert_eq!(code("MAIL FROM:<ada@example.org"), 501);
        assert_eq!(code("MAIL FROM:<@>"), 501);
        assert_eq!(code("MAIL FROM:<a b@example.org>"), 501);
        assert_eq!(code("MAIL FROM:<ada@example.org> SIZE=x"), 501);
        assert_eq!(code("MAIL FROM:<ada@example.org> BODY=BINARYMIME"), 555);
        assert_eq!(code("MAIL FROM:<ädä@example.org>"), 553);
        assert_eq!(code("RCPT TO:<ada@example.org> NOTIFY=NEVER"), 555);
        assert_eq!(code("RCPT TO:<>"), 501);
        assert_eq!(code("NOOP \u{7}"), 500);
        assert_eq!(parse(b"NOOP \xff").unwrap_err().code, 500);
        assert_eq!(code(&format!("RCPT TO:<{}@example.org>", "a".repeat(400))), 501);
    }
}
