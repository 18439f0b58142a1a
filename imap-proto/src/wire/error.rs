//! What is wrong with a command.

use std::fmt;

/// Why a command could not be parsed, and where.
///
/// Its text is meant for the tagged BAD: it helps whoever debugs a client, holds no CR or LF, and never repeats an
/// argument of the command (at most the one byte that did not fit, and not even that for LOGIN and AUTHENTICATE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    kind: ParseErrorKind,
    offset: usize,
    found: Found,
}

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Something else was due at this place.
    Expected(&'static str),
    /// A word that the grammar does not have at this place: what it would have to be.
    Unknown(&'static str),
    /// The syntax fits, the value cannot be: what is wrong with it.
    Invalid(&'static str),
    /// More, or deeper, than this server takes: what there is too much of.
    Limit(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Byte(u8),
    End,
    Hidden,
}

impl ParseError {
    #[cold]
    pub(crate) fn new(kind: ParseErrorKind, offset: usize, input: &[u8]) -> Self {
        let found = input.get(offset).map_or(Found::End, |byte| Found::Byte(*byte));
        Self { kind, offset, found }
    }

    /// The same without the byte that did not fit, for commands that carry a secret.
    pub(crate) fn hidden(mut self) -> Self {
        self.found = Found::Hidden;
        self
    }

    /// What kind of fault it is.
    #[must_use]
    pub const fn kind(&self) -> ParseErrorKind {
        self.kind
    }

    /// Where it is: octets from the start of the command, literals included.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Whether the command was refused for its size alone: the answer may carry the response code LIMIT (RFC 5530).
    #[must_use]
    pub const fn is_limit(&self) -> bool {
        matches!(self.kind, ParseErrorKind::Limit(_))
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // People count columns from 1.
        let place = self.offset.saturating_add(1);
        match self.kind {
            ParseErrorKind::Expected(what) => {
                write!(f, "expected {what} at octet {place}")?;
                match self.found {
                    Found::Byte(b'\r' | b'\n') => f.write_str(", found the end of the line"),
                    Found::Byte(b' ') => f.write_str(", found a space"),
                    Found::Byte(0) => f.write_str(", found NUL"),
                    Found::Byte(byte @ 0x21..=0x7e) => write!(f, ", found '{}'", char::from(byte)),
                    Found::Byte(byte) => write!(f, ", found octet 0x{byte:02x}"),
                    Found::End => f.write_str(", found the end"),
                    Found::Hidden => Ok(()),
                }
            }
            ParseErrorKind::Unknown(what) => write!(f, "unknown {what} at octet {place}"),
            ParseErrorKind::Invalid(what) => write!(f, "{what} at octet {place}"),
            ParseErrorKind::Limit(what) => write!(f, "too many {what} at octet {place}"),
        }
    }
}
