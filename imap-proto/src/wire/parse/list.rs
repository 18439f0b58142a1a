//! LIST with its extended forms (RFC 9051, section 6.3.9; RFC 5258) and LSUB (RFC 3501, section 6.3.9).

use std::borrow::Cow;
use std::fmt;

use super::mailbox::StatusItems;
use crate::wire::chars::{self, key};
use crate::wire::cursor::{Cursor, Result, members};
use crate::wire::error::ParseErrorKind;
use crate::wire::string::{self, AString, InvalidMailboxArg, MailboxArg};

/// A LIST command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a> {
    /// What the patterns are relative to; often empty.
    pub reference: MailboxArg<'a>,
    /// The patterns, at least one.
    pub patterns: PatternList<'a>,
    /// Which mailboxes are meant.
    pub selection: ListSelection,
    /// What the client wants to know of each.
    pub returns: ListReturn,
    /// Whether any extended syntax was used (selection options, patterns in parentheses, RETURN), be it with nothing
    /// in it. Without, an empty pattern asks for the hierarchy separator (RFC 9051, section 6.3.9).
    pub extended: bool,
}

/// An LSUB command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lsub<'a> {
    /// What the pattern is relative to.
    pub reference: MailboxArg<'a>,
    /// The pattern.
    pub pattern: ListPattern<'a>,
}

/// Selection options of LIST (RFC 9051, section 6.3.9.1; SPECIAL-USE: RFC 6154, section 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListSelection {
    /// `SUBSCRIBED`: subscribed names, be there such a mailbox or not.
    pub subscribed: bool,
    /// `REMOTE`: remote mailboxes as well.
    pub remote: bool,
    /// `RECURSIVEMATCH`: parents of what matches as well, with CHILDINFO.
    pub recursive_match: bool,
    /// `SPECIAL-USE`: only mailboxes with a special use.
    pub special_use: bool,
}

/// Return options of LIST (RFC 9051, section 6.3.9.2; STATUS: RFC 5819; SPECIAL-USE: RFC 6154).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListReturn {
    /// `SUBSCRIBED`: whether each is subscribed.
    pub subscribed: bool,
    /// `CHILDREN`: whether each has children.
    pub children: bool,
    /// `SPECIAL-USE`: what each is for.
    pub special_use: bool,
    /// `STATUS (...)`: a STATUS response for each that can be selected; empty if the option was not given.
    pub status: StatusItems,
}

/// A pattern of mailbox names with the wildcards `*` and `%`, encoded as mailbox names are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ListPattern<'a>(AString<'a>);

impl<'a> ListPattern<'a> {
    /// The string itself.
    #[must_use]
    pub const fn as_astring(&self) -> AString<'a> {
        self.0
    }

    /// The pattern's text; `utf8` as for [`MailboxArg::text`].
    ///
    /// # Errors
    ///
    /// When it is not valid in the encoding of mailbox names.
    pub fn text(&self, utf8: bool) -> std::result::Result<Cow<'a, str>, InvalidMailboxArg> {
        string::decode(self.0, utf8)
    }
}

impl fmt::Debug for ListPattern<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The patterns of a LIST, checked but still on the wire. At least one.
#[derive(Clone, Copy)]
pub struct PatternList<'a> {
    raw: &'a [u8],
}

impl<'a> PatternList<'a> {
    /// How many there are, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Never true: there is at least one pattern.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The patterns, in the client's order.
    pub fn iter(&self) -> impl Iterator<Item = ListPattern<'a>> + use<'a> {
        members(self.raw, b' ', pattern)
    }
}

impl PartialEq for PatternList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for PatternList<'_> {}

impl fmt::Debug for PatternList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn pattern<'a>(cursor: &mut Cursor<'a>) -> Result<ListPattern<'a>> {
    cursor.string_or(chars::LIST, "a mailbox name or pattern").map(ListPattern)
}

const SUBSCRIBED: u128 = key(b"SUBSCRIBED");
const REMOTE: u128 = key(b"REMOTE");
const RECURSIVEMATCH: u128 = key(b"RECURSIVEMATCH");
const SPECIAL_USE: u128 = key(b"SPECIAL-USE");
const CHILDREN: u128 = key(b"CHILDREN");
const STATUS: u128 = key(b"STATUS");

/// Parses what follows `LIST `.
pub(crate) fn parse_list<'a>(cursor: &mut Cursor<'a>) -> Result<List<'a>> {
    let mut extended = false;
    let mut selection = ListSelection::default();
    if cursor.peek() == Some(b'(') {
        extended = true;
        selection = select_options(cursor)?;
        cursor.space()?;
    }
    let reference = super::mailbox::argument(cursor)?;
    cursor.space()?;
    let patterns = if cursor.peek() == Some(b'(') {
        extended = true;
        let raw = cursor.list(|cursor| pattern(cursor).map(drop), "patterns")?;
        PatternList { raw }
    } else {
        let start = cursor.position();
        pattern(cursor)?;
        PatternList { raw: cursor.since(start) }
    };
    let mut returns = ListReturn::default();
    if cursor.eat(b' ') {
        extended = true;
        if !cursor.eat_word(b"RETURN") {
            return cursor.fail(ParseErrorKind::Expected("RETURN or the end of the line"));
        }
        cursor.space()?;
        cursor.list_or_empty(|cursor| return_option(cursor, &mut returns), "return options")?;
    }
    Ok(List { reference, patterns, selection, returns, extended })
}

/// Parses what follows `LSUB `.
pub(crate) fn parse_lsub<'a>(cursor: &mut Cursor<'a>) -> Result<Lsub<'a>> {
    let reference = super::mailbox::argument(cursor)?;
    cursor.space()?;
    Ok(Lsub { reference, pattern: pattern(cursor)? })
}

fn select_options(cursor: &mut Cursor<'_>) -> Result<ListSelection> {
    let start = cursor.position();
    let mut selection = ListSelection::default();
    let option = |cursor: &mut Cursor<'_>| {
        let start = cursor.position();
        match cursor.word() {
            SUBSCRIBED => selection.subscribed = true,
            REMOTE => selection.remote = true,
            RECURSIVEMATCH => selection.recursive_match = true,
            SPECIAL_USE => selection.special_use = true,
            _ if cursor.position() == start => return cursor.fail(ParseErrorKind::Expected("a selection option")),
            _ => return cursor.fail_at(start, ParseErrorKind::Unknown("selection option")),
        }
        Ok(())
    };
    cursor.list_or_empty(option, "selection options")?;
    // It says how to match what another option selects (RFC 9051, section 6.3.9.1), and SUBSCRIBED is the only one
    // of that kind.
    if selection.recursive_match && !selection.subscribed {
        return cursor.fail_at(start, ParseErrorKind::Invalid("RECURSIVEMATCH without SUBSCRIBED"));
    }
    Ok(selection)
}

fn return_option(cursor: &mut Cursor<'_>, returns: &mut ListReturn) -> Result<()> {
    let start = cursor.position();
    match cursor.word() {
        SUBSCRIBED => returns.subscribed = true,
        CHILDREN => returns.children = true,
        SPECIAL_USE => returns.special_use = true,
        STATUS => {
            cursor.space()?;
            returns.status |= StatusItems::parse(cursor)?;
        }
        _ if cursor.position() == start => return cursor.fail(ParseErrorKind::Expected("a return option")),
        _ => return cursor.fail_at(start, ParseErrorKind::Unknown("return option")),
    }
    Ok(())
}
