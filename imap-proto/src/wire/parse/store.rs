//! STORE (RFC 9051, section 6.4.6), COPY and MOVE (sections 6.4.7 and 6.4.8).

use super::flags::FlagList;
use super::params::Params;
use super::sequence::SequenceSet;
use crate::wire::chars;
use crate::wire::cursor::{Cursor, Result};
use crate::wire::error::ParseErrorKind;
use crate::wire::string::MailboxArg;

/// A STORE or UID STORE command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store<'a> {
    /// Whether the set names UIDs.
    pub uid: bool,
    /// The messages.
    pub set: SequenceSet<'a>,
    /// Modifiers in parentheses before the operation (RFC 4466, section 2.5); most often none.
    pub modifiers: Params<'a>,
    /// What to do with the flags.
    pub operation: StoreOperation,
    /// `.SILENT`: the client does not want to be told the new flags.
    pub silent: bool,
    /// The flags; none only if the client wrote `()`.
    pub flags: FlagList<'a>,
}

/// What a STORE does with its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOperation {
    /// `FLAGS`: these and no others from now on.
    Replace,
    /// `+FLAGS`: these in addition.
    Add,
    /// `-FLAGS`: without these.
    Remove,
}

/// A COPY, UID COPY, MOVE or UID MOVE command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer<'a> {
    /// Whether the set names UIDs.
    pub uid: bool,
    /// The messages.
    pub set: SequenceSet<'a>,
    /// Where to.
    pub mailbox: MailboxArg<'a>,
}

/// Parses what follows `STORE `.
#[inline(always)]
pub(crate) fn parse_store<'a>(cursor: &mut Cursor<'a>, uid: bool) -> Result<Store<'a>> {
    let set = SequenceSet::parse(cursor)?;
    cursor.space()?;
    let mut modifiers = Params::NONE;
    if cursor.peek() == Some(b'(') {
        modifiers = Params::parse(cursor)?;
        cursor.space()?;
    }
    let operation = if cursor.eat(b'+') {
        StoreOperation::Add
    } else if cursor.eat(b'-') {
        StoreOperation::Remove
    } else {
        StoreOperation::Replace
    };
    const FLAGS: u128 = chars::key(b"FLAGS");
    const FLAGS_SILENT: u128 = chars::key(b"FLAGS.SILENT");
    let start = cursor.position();
    let silent = match cursor.word() {
        FLAGS => false,
        FLAGS_SILENT => true,
        _ => return cursor.fail_at(start, ParseErrorKind::Expected("FLAGS or FLAGS.SILENT")),
    };
    cursor.space()?;
    let flags = FlagList::parse_bare(cursor)?;
    Ok(Store { uid, set, modifiers, operation, silent, flags })
}

/// Parses what follows `COPY ` and `MOVE `.
pub(crate) fn parse_transfer<'a>(cursor: &mut Cursor<'a>, uid: bool) -> Result<Transfer<'a>> {
    let set = SequenceSet::parse(cursor)?;
    cursor.space()?;
    Ok(Transfer { uid, set, mailbox: super::mailbox::argument(cursor)? })
}
