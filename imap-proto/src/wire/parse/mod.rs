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

const APPEND: u128 = key(b"APPEND");
const AUTHENTICATE: u128 = key(b"AUTHENTICATE");
const CAPABILITY: u128 = key(b"CAPABILITY");
const CHECK: u128 = key(b"CHECK");
const CLOSE: u128 = key(b"CLOSE");
const COPY: u128 = key(b"COPY");
const CREATE: u128 = key(b"CREATE");
const DELETE: u128 = key(b"DELETE");
const ENABLE: u128 = key(b"ENABLE");
const EXAMINE: u128 = key(b"EXAMINE");
const EXPUNGE: u128 = key(b"EXPUNGE");
const FETCH: u128 = key(b"FETCH");
const ID: u128 = key(b"ID");
const IDLE: u128 = key(b"IDLE");
const LIST: u128 = key(b"LIST");
const LOGIN: u128 = key(b"LOGIN");
const LOGOUT: u128 = key(b"LOGOUT");
const LSUB: u128 = key(b"LSUB");
const MOVE: u128 = key(b"MOVE");
const NAMESPACE: u128 = key(b"NAMESPACE");
const NOOP: u128 = key(b"NOOP");
const RENAME: u128 = key(b"RENAME");
const SEARCH: u128 = key(b"SEARCH");
const SELECT: u128 = key(b"SELECT");
const STARTTLS: u128 = key(b"STARTTLS");
const STATUS: u128 = key(b"STATUS");
const STORE: u128 = key(b"STORE");
const SUBSCRIBE: u128 = key(b"SUBSCRIBE");
const UID: u128 = key(b"UID");
const UNSELECT: u128 = key(b"UNSELECT");
const UNSUBSCRIBE: u128 = key(b"UNSUBSCRIBE");

/// Parses one finished command: its line or lines with the literals between them, the last line end included. An
/// APPEND ends with the announcement of its message.
///
/// # Errors
///
/// When it is no command that this crate knows, or breaks a limit. [`tag_of`] may still find its tag.
pub fn parse_command(command: &[u8], limits: ParseLimits) -> std::result::Result<Command<'_>, ParseError> {
    let mut cursor = Cursor::new(command, limits);
    let tag = tag(&mut cursor)?;
    cursor.space()?;
    let start = cursor.position();
    let word = cursor.word();
    match body(&mut cursor, word, start) {
        Ok(body) => Ok(Command { tag, body }),
        Err(error) if word == LOGIN || word == AUTHENTICATE => Err(error.hidden()),
        Err(error) => Err(error),
    }
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
    // Commands without arguments.
    let body = match word {
        NOOP => CommandBody::Noop,
        IDLE => CommandBody::Idle,
        CAPABILITY => CommandBody::Capability,
        CHECK => CommandBody::Check,
        CLOSE => CommandBody::Close,
        EXPUNGE => CommandBody::Expunge,
        LOGOUT => CommandBody::Logout,
        NAMESPACE => CommandBody::Namespace,
        STARTTLS => CommandBody::StartTls,
        UNSELECT => CommandBody::Unselect,
        _ => return with_arguments(cursor, word, start),
    };
    cursor.end()?;
    Ok(body)
}

#[inline(always)]
fn with_arguments<'a>(cursor: &mut Cursor<'a>, word: u128, start: usize) -> Result<CommandBody<'a>> {
    let body = match word {
        UID => {
            cursor.space()?;
            let start = cursor.position();
            match cursor.word() {
                FETCH => CommandBody::Fetch(arguments(cursor, |cursor| fetch::parse(cursor, true))?),
                STORE => CommandBody::Store(arguments(cursor, |cursor| store::parse_store(cursor, true))?),
                SEARCH => CommandBody::Search(arguments(cursor, |cursor| search::parse(cursor, true))?),
                COPY => CommandBody::Copy(arguments(cursor, |cursor| store::parse_transfer(cursor, true))?),
                MOVE => CommandBody::Move(arguments(cursor, |cursor| store::parse_transfer(cursor, true))?),
                EXPUNGE => CommandBody::UidExpunge(arguments(cursor, sequence::SequenceSet::parse)?),
                _ => return Err(cursor.error_at(start, ParseErrorKind::Unknown("command after UID"))),
            }
        }
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
        APPEND => {
            cursor.space()?;
            return append::parse(cursor).map(CommandBody::Append);
        }
        CREATE => CommandBody::Create(arguments(cursor, mailbox::parse_create)?),
        DELETE => CommandBody::Delete(arguments(cursor, mailbox::argument)?),
        RENAME => CommandBody::Rename(arguments(cursor, mailbox::parse_rename)?),
        SUBSCRIBE => CommandBody::Subscribe(arguments(cursor, mailbox::argument)?),
        UNSUBSCRIBE => CommandBody::Unsubscribe(arguments(cursor, mailbox::argument)?),
        LOGIN => CommandBody::Login(arguments(cursor, auth::parse_login)?),
        AUTHENTICATE => CommandBody::Authenticate(arguments(cursor, auth::parse_authenticate)?),
        ENABLE => CommandBody::Enable(arguments(cursor, auth::parse_enable)?),
        ID => CommandBody::Id(arguments(cursor, auth::parse_id)?),
        _ if cursor.position() == start => return cursor.fail(ParseErrorKind::Expected("a command")),
        _ => return Err(cursor.error_at(start, ParseErrorKind::Unknown("command"))),
    };
    cursor.end()?;
    Ok(body)
}

#[inline(always)]
fn arguments<'a, T>(cursor: &mut Cursor<'a>, parse: impl FnOnce(&mut Cursor<'a>) -> Result<T>) -> Result<T> {
    cursor.space()?;
    parse(cursor)
}

#[cfg(test)]
mod tests;
