//! From a finished command to a typed one: one file per family, parser and types side by side.
//!
//! The parsers are strict where leniency would hide a client's fault: one space between arguments, nothing after the
//! last, every list complete. They take what both revisions of IMAP and the extensions that they fold in define, and
//! leave to the session which of it is allowed now. They allocate nothing, but for the keys of a SEARCH.

pub mod append;
pub mod auth;
pub mod date;
pub mod fetch;
pub mod flags;
pub mod list;
pub mod mailbox;
pub mod params;
pub mod search;
pub mod section;
pub mod sequence;
pub mod store;

use super::chars::{self, key};
use super::command::{Command, CommandBody, Tag};
use super::cursor::{Cursor, Result};
use super::error::{ParseError, ParseErrorKind};
use super::limits::ParseLimits;

const APPEND: u64 = short(b"APPEND");
const CHECK: u64 = short(b"CHECK");
const CLOSE: u64 = short(b"CLOSE");
const COPY: u64 = short(b"COPY");
const CREATE: u64 = short(b"CREATE");
const DELETE: u64 = short(b"DELETE");
const ENABLE: u64 = short(b"ENABLE");
const EXAMINE: u64 = short(b"EXAMINE");
const EXPUNGE: u64 = short(b"EXPUNGE");
const FETCH: u64 = short(b"FETCH");
const ID: u64 = short(b"ID");
const IDLE: u64 = short(b"IDLE");
const LIST: u64 = short(b"LIST");
const LOGIN: u64 = short(b"LOGIN");
const LOGOUT: u64 = short(b"LOGOUT");
const LSUB: u64 = short(b"LSUB");
const MOVE: u64 = short(b"MOVE");
const NOOP: u64 = short(b"NOOP");
const RENAME: u64 = short(b"RENAME");
const SEARCH: u64 = short(b"SEARCH");
const SELECT: u64 = short(b"SELECT");
const STARTTLS: u64 = short(b"STARTTLS");
const STATUS: u64 = short(b"STATUS");
const STORE: u64 = short(b"STORE");
const UID: u64 = short(b"UID");
const UNSELECT: u64 = short(b"UNSELECT");
const AUTHENTICATE: u128 = key(b"AUTHENTICATE");
const CAPABILITY: u128 = key(b"CAPABILITY");
const NAMESPACE: u128 = key(b"NAMESPACE");
const SUBSCRIBE: u128 = key(b"SUBSCRIBE");
const UNSUBSCRIBE: u128 = key(b"UNSUBSCRIBE");

/// The key of a word of at most eight letters. Most words are so short, and 64 bits are cheaper to compare.
const fn short(word: &[u8]) -> u64 {
    assert!(word.len() <= 8);
    key(word) as u64
}

/// Parses one finished command: its line or lines with the literals between them, the last line end included. An
/// APPEND ends with the announcement of its message.
///
/// # Errors
///
/// When it is no command that this crate knows, or breaks a limit. [`tag_of`] may still find its tag.
pub fn parse_command(command: &[u8], limits: ParseLimits) -> std::result::Result<Command<'_>, ParseError> {
    let mut cursor = Cursor::new(command, limits);
    let mut word = 0;
    match tag_and_body(&mut cursor, &mut word) {
        Ok(command) => Ok(command),
        Err(_) if word == u128::from(LOGIN) || word == AUTHENTICATE => Err(cursor.into_error().hidden()),
        Err(_) => Err(cursor.into_error()),
    }
}

#[inline(always)]
fn tag_and_body<'a>(cursor: &mut Cursor<'a>, word: &mut u128) -> Result<Command<'a>> {
    let tag = tag(cursor)?;
    cursor.space()?;
    // What clients send while nothing happens takes one comparison. Without bit 5 letters are capitals.
    if let [a, b, c, d, b'\r', b'\n'] = *cursor.rest() {
        match u64::from(u32::from_be_bytes([a, b, c, d]) & 0xdfdf_dfdf) {
            NOOP => return Ok(Command { tag, body: CommandBody::Noop }),
            IDLE => return Ok(Command { tag, body: CommandBody::Idle }),
            _ => {}
        }
    }
    let start = cursor.position();
    *word = cursor.word();
    Ok(Command { tag, body: body(cursor, *word, start)? })
}

/// The tag of a command that may be broken after it: what stands before the first space, if a tag may look so.
#[must_use]
pub fn tag_of(command: &[u8]) -> Option<Tag<'_>> {
    let mut cursor = Cursor::new(command, ParseLimits::CHECKED);
    let tag = tag(&mut cursor).ok()?;
    matches!(cursor.peek(), Some(b' ' | b'\r' | b'\n')).then_some(tag)
}

#[inline(always)]
pub(crate) fn tag<'a>(cursor: &mut Cursor<'a>) -> Result<Tag<'a>> {
    cursor.take_some(chars::TAG, "a tag").map(Tag)
}

#[inline(always)]
fn body<'a>(cursor: &mut Cursor<'a>, word: u128, start: usize) -> Result<CommandBody<'a>> {
    let Ok(word) = u64::try_from(word) else {
        return with_long_name(cursor, word, start);
    };
    // Commands without arguments.
    let body = match word {
        // With a bare LF at their end.
        NOOP => CommandBody::Noop,
        IDLE => CommandBody::Idle,
        CHECK => CommandBody::Check,
        CLOSE => CommandBody::Close,
        EXPUNGE => CommandBody::Expunge,
        LOGOUT => CommandBody::Logout,
        STARTTLS => CommandBody::StartTls,
        UNSELECT => CommandBody::Unselect,
        _ => return with_arguments(cursor, word, start),
    };
    cursor.end()?;
    Ok(body)
}

fn with_long_name<'a>(cursor: &mut Cursor<'a>, word: u128, start: usize) -> Result<CommandBody<'a>> {
    let body = match word {
        CAPABILITY => CommandBody::Capability,
        NAMESPACE => CommandBody::Namespace,
        SUBSCRIBE => CommandBody::Subscribe(arguments(cursor, mailbox::argument)?),
        UNSUBSCRIBE => CommandBody::Unsubscribe(arguments(cursor, mailbox::argument)?),
        AUTHENTICATE => CommandBody::Authenticate(arguments(cursor, auth::parse_authenticate)?),
        _ => return unknown(cursor, start),
    };
    cursor.end()?;
    Ok(body)
}

#[cold]
fn unknown<'a>(cursor: &mut Cursor<'_>, start: usize) -> Result<CommandBody<'a>> {
    if cursor.position() == start {
        return cursor.fail(ParseErrorKind::Expected("a command"));
    }
    cursor.fail_at(start, ParseErrorKind::Unknown("command"))
}

#[inline(always)]
fn with_arguments<'a>(cursor: &mut Cursor<'a>, word: u64, start: usize) -> Result<CommandBody<'a>> {
    let body = match word {
        UID => after_uid(cursor)?,
        FETCH => CommandBody::Fetch(arguments(cursor, |cursor| fetch::parse(cursor, false))?),
        SELECT => CommandBody::Select(arguments(cursor, |cursor| mailbox::parse_select(cursor, false))?),
        EXAMINE => CommandBody::Select(arguments(cursor, |cursor| mailbox::parse_select(cursor, true))?),
        STORE => CommandBody::Store(arguments(cursor, |cursor| store::parse_store(cursor, false))?),
        SEARCH => CommandBody::Search(arguments(cursor, |cursor| search::parse(cursor, false))?),
        STATUS => CommandBody::Status(arguments(cursor, mailbox::parse_status)?),
        LIST => CommandBody::List(arguments(cursor, list::parse_list)?),
        LSUB => CommandBody::Lsub(arguments(cursor, list::parse_lsub)?),
        COPY => CommandBody::Copy(arguments(cursor, |cursor| store::parse_transfer(cursor, false))?),
        MOVE => CommandBody::Move(arguments(cursor, |cursor| store::parse_transfer(cursor, false))?),
        // It ends with the announcement of the message, not with a line end of its own.
        APPEND => return arguments(cursor, append::parse).map(CommandBody::Append),
        CREATE => CommandBody::Create(arguments(cursor, mailbox::parse_create)?),
        DELETE => CommandBody::Delete(arguments(cursor, mailbox::argument)?),
        RENAME => CommandBody::Rename(arguments(cursor, mailbox::parse_rename)?),
        LOGIN => CommandBody::Login(arguments(cursor, auth::parse_login)?),
        ENABLE => CommandBody::Enable(arguments(cursor, auth::parse_enable)?),
        ID => CommandBody::Id(arguments(cursor, auth::parse_id)?),
        _ => return unknown(cursor, start),
    };
    cursor.end()?;
    Ok(body)
}

#[inline(always)]
fn after_uid<'a>(cursor: &mut Cursor<'a>) -> Result<CommandBody<'a>> {
    cursor.space()?;
    let start = cursor.position();
    Ok(match u64::try_from(cursor.word()) {
        Ok(FETCH) => CommandBody::Fetch(arguments(cursor, |cursor| fetch::parse(cursor, true))?),
        Ok(STORE) => CommandBody::Store(arguments(cursor, |cursor| store::parse_store(cursor, true))?),
        Ok(SEARCH) => CommandBody::Search(arguments(cursor, |cursor| search::parse(cursor, true))?),
        Ok(COPY) => CommandBody::Copy(arguments(cursor, |cursor| store::parse_transfer(cursor, true))?),
        Ok(MOVE) => CommandBody::Move(arguments(cursor, |cursor| store::parse_transfer(cursor, true))?),
        Ok(EXPUNGE) => CommandBody::UidExpunge(arguments(cursor, sequence::SequenceSet::parse)?),
        _ => return cursor.fail_at(start, ParseErrorKind::Unknown("command after UID")),
    })
}

#[inline(always)]
fn arguments<'a, T>(cursor: &mut Cursor<'a>, parse: impl FnOnce(&mut Cursor<'a>) -> Result<T>) -> Result<T> {
    cursor.space()?;
    parse(cursor)
}

#[cfg(test)]
mod tests;
