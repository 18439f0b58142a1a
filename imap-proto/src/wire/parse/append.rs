//! APPEND up to its message (RFC 9051, section 6.3.12; several messages: RFC 3502; literal8: RFC 3516).

use pillarbox_proto_core::mail::DateTime;

use super::date;
use super::flags::FlagList;
use crate::wire::cursor::{Cursor, Result};
use crate::wire::error::{ParseError, ParseErrorKind};
use crate::wire::limits::ParseLimits;
use crate::wire::string::MailboxArg;

/// An APPEND command up to the announcement of its first message. The message itself is never gathered: the framer
/// hands it on in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append<'a> {
    /// Where to.
    pub mailbox: MailboxArg<'a>,
    /// The first message.
    pub message: AppendMessage<'a>,
}

/// What is said of one message before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendMessage<'a> {
    /// Its flags, if a list was given.
    pub flags: Option<FlagList<'a>>,
    /// Its INTERNALDATE, if one was given.
    pub date: Option<DateTime>,
    /// Its announcement.
    pub literal: Literal,
}

/// A literal as the client announced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// How many octets it will have.
    pub size: u64,
    /// Whether the client waits for a continuation request before it sends it.
    pub synchronizing: bool,
    /// Whether it is a literal8, which may hold NUL (RFC 3516, section 4.4).
    pub literal8: bool,
}

/// Where the last announcement in an APPEND so far stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendPrefix {
    /// It is the mailbox's name.
    Mailbox,
    /// It is a message.
    Message(Literal),
}

/// Parses what follows `APPEND `.
pub(crate) fn parse<'a>(cursor: &mut Cursor<'a>) -> Result<Append<'a>> {
    let mailbox = super::mailbox::argument(cursor)?;
    cursor.space()?;
    Ok(Append { mailbox, message: message(cursor)? })
}

/// Parses what stands between two messages of one APPEND, up to the next one's announcement: a space, then as for the
/// first.
///
/// # Errors
///
/// When it is anything else.
pub fn parse_next(piece: &[u8], limits: ParseLimits) -> std::result::Result<AppendMessage<'_>, ParseError> {
    let mut cursor = Cursor::new(piece, limits);
    let parsed = cursor.space().and_then(|()| message(&mut cursor));
    parsed.map_err(|_| cursor.into_error())
}

fn message<'a>(cursor: &mut Cursor<'a>) -> Result<AppendMessage<'a>> {
    let mut flags = None;
    if cursor.peek() == Some(b'(') {
        flags = Some(FlagList::parse(cursor)?);
        cursor.space()?;
    }
    let mut date = None;
    if cursor.peek() == Some(b'"') {
        date = Some(date::date_time(cursor)?);
        cursor.space()?;
    }
    let literal8 = cursor.eat(b'~');
    if cursor.peek() != Some(b'{') {
        return cursor.fail(ParseErrorKind::Expected("flags, a date-time or the message as a literal"));
    }
    let (size, non_synchronizing) = cursor.announcement()?;
    if !cursor.at_end() {
        return cursor.fail(ParseErrorKind::Expected("nothing after the announcement of the message"));
    }
    Ok(AppendMessage { flags, date, literal: Literal { size, synchronizing: !non_synchronizing, literal8 } })
}

/// Judges an APPEND command so far, which ends with an announcement. `None` if it is another command.
pub(crate) fn prefix(so_far: &[u8], limits: ParseLimits) -> Option<std::result::Result<AppendPrefix, ParseError>> {
    let mut cursor = Cursor::new(so_far, limits);
    super::tag(&mut cursor).ok()?;
    cursor.space().ok()?;
    if !cursor.eat_word(b"APPEND") {
        return None;
    }
    cursor.space().ok()?;
    if cursor.peek() == Some(b'{') {
        let mut ahead = cursor;
        if ahead.announcement().is_ok() && ahead.at_end() {
            return Some(Ok(AppendPrefix::Mailbox));
        }
    }
    let parsed = parse(&mut cursor).map(|append| AppendPrefix::Message(append.message.literal));
    Some(parsed.map_err(|_| cursor.into_error()))
}
