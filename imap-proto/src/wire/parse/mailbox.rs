//! Commands on one mailbox as a whole: SELECT, CREATE, RENAME and their like, and STATUS (RFC 9051, section 6.3).

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use pillarbox_proto_core::mail::SpecialUse;

use super::params::Params;
use crate::wire::chars::key;
use crate::wire::cursor::{Cursor, Result, members};
use crate::wire::error::ParseErrorKind;
use crate::wire::string::MailboxArg;

/// A SELECT or EXAMINE command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Select<'a> {
    /// Whether it was EXAMINE: the mailbox is opened read-only.
    pub examine: bool,
    /// The mailbox.
    pub mailbox: MailboxArg<'a>,
    /// Parameters in parentheses (RFC 4466, section 2.1); most often none.
    pub params: Params<'a>,
}

/// A CREATE command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Create<'a> {
    /// The new mailbox; a hierarchy separator at the end says that names below it will follow.
    pub mailbox: MailboxArg<'a>,
    /// `USE (...)`: what it is for (RFC 6154, section 3). `None` without that parameter.
    pub uses: Option<UseList<'a>>,
}

/// A RENAME command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rename<'a> {
    /// The name until now.
    pub from: MailboxArg<'a>,
    /// The new name.
    pub to: MailboxArg<'a>,
}

/// A STATUS command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// The mailbox.
    pub mailbox: MailboxArg<'a>,
    /// What the client wants to know of it, at least one item.
    pub items: StatusItems,
}

/// The attributes of `USE (...)`, checked but still on the wire; maybe none.
#[derive(Clone, Copy)]
pub struct UseList<'a> {
    raw: &'a [u8],
}

impl<'a> UseList<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The attributes. `Err` holds one that this server does not know, with its backslash: a reason for NO with
    /// USEATTR (RFC 6154, section 3).
    pub fn iter(&self) -> impl Iterator<Item = std::result::Result<SpecialUse, &'a [u8]>> + use<'a> {
        members(self.raw, b' ', use_attribute)
    }
}

impl PartialEq for UseList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UseList<'_> {}

impl fmt::Debug for UseList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn use_attribute<'a>(cursor: &mut Cursor<'a>) -> Result<std::result::Result<SpecialUse, &'a [u8]>> {
    let start = cursor.position();
    cursor.expect(b'\\', "an attribute such as \\Sent")?;
    cursor.atom("an attribute's name after the backslash")?;
    let attribute = cursor.since(start);
    Ok(SpecialUse::parse(attribute).ok_or(attribute))
}

/// Which `status-att` a STATUS asks for, as a set (RFC 9051, section 6.3.11).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusItems(u16);

impl StatusItems {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `MESSAGES`: how many messages there are.
    pub const MESSAGES: Self = Self(1);
    /// `RECENT`: how many of them are recent (RFC 3501, section 6.3.10).
    pub const RECENT: Self = Self(2);
    /// `UIDNEXT`: the next UID.
    pub const UIDNEXT: Self = Self(4);
    /// `UIDVALIDITY`
    pub const UIDVALIDITY: Self = Self(8);
    /// `UNSEEN`: how many messages have no `\Seen`.
    pub const UNSEEN: Self = Self(16);
    /// `DELETED`: how many have `\Deleted`.
    pub const DELETED: Self = Self(32);
    /// `SIZE`: the octets of all together.
    pub const SIZE: Self = Self(64);
    /// `HIGHESTMODSEQ` (RFC 7162, section 3.1.7)
    pub const HIGHESTMODSEQ: Self = Self(128);
    /// `APPENDLIMIT` (RFC 7889, section 3)
    pub const APPENDLIMIT: Self = Self(256);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::MESSAGES, "MESSAGES"),
        (Self::RECENT, "RECENT"),
        (Self::UIDNEXT, "UIDNEXT"),
        (Self::UIDVALIDITY, "UIDVALIDITY"),
        (Self::UNSEEN, "UNSEEN"),
        (Self::DELETED, "DELETED"),
        (Self::SIZE, "SIZE"),
        (Self::HIGHESTMODSEQ, "HIGHESTMODSEQ"),
        (Self::APPENDLIMIT, "APPENDLIMIT"),
    ];

    /// Whether every item of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is no item.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The items' names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(item, _)| self.contains(*item)).map(|(_, name)| name)
    }

    /// `"(" status-att *(SP status-att) ")"`
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self> {
        let mut items = Self::NONE;
        let item = |cursor: &mut Cursor<'_>| {
            items |= status_item(cursor)?;
            Ok(())
        };
        cursor.list(item, "status items")?;
        Ok(items)
    }
}

impl BitOr for StatusItems {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for StatusItems {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for StatusItems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

fn status_item(cursor: &mut Cursor<'_>) -> Result<StatusItems> {
    const MESSAGES: u128 = key(b"MESSAGES");
    const RECENT: u128 = key(b"RECENT");
    const UIDNEXT: u128 = key(b"UIDNEXT");
    const UIDVALIDITY: u128 = key(b"UIDVALIDITY");
    const UNSEEN: u128 = key(b"UNSEEN");
    const DELETED: u128 = key(b"DELETED");
    const SIZE: u128 = key(b"SIZE");
    const HIGHESTMODSEQ: u128 = key(b"HIGHESTMODSEQ");
    const APPENDLIMIT: u128 = key(b"APPENDLIMIT");
    let start = cursor.position();
    Ok(match cursor.word() {
        MESSAGES => StatusItems::MESSAGES,
        RECENT => StatusItems::RECENT,
        UIDNEXT => StatusItems::UIDNEXT,
        UIDVALIDITY => StatusItems::UIDVALIDITY,
        UNSEEN => StatusItems::UNSEEN,
        DELETED => StatusItems::DELETED,
        SIZE => StatusItems::SIZE,
        HIGHESTMODSEQ => StatusItems::HIGHESTMODSEQ,
        APPENDLIMIT => StatusItems::APPENDLIMIT,
        _ if cursor.position() == start => return cursor.fail(ParseErrorKind::Expected("a status item")),
        _ => return cursor.fail_at(start, ParseErrorKind::Unknown("status item")),
    })
}

/// `mailbox`
#[inline(always)]
pub(crate) fn argument<'a>(cursor: &mut Cursor<'a>) -> Result<MailboxArg<'a>> {
    cursor.astring("a mailbox name").map(MailboxArg)
}

/// Parses what follows `SELECT ` and `EXAMINE `.
#[inline(always)]
pub(crate) fn parse_select<'a>(cursor: &mut Cursor<'a>, examine: bool) -> Result<Select<'a>> {
    let mailbox = argument(cursor)?;
    let params = if cursor.eat(b' ') { Params::parse(cursor)? } else { Params::NONE };
    Ok(Select { examine, mailbox, params })
}

/// Parses what follows `CREATE `.
pub(crate) fn parse_create<'a>(cursor: &mut Cursor<'a>) -> Result<Create<'a>> {
    let mailbox = argument(cursor)?;
    let mut uses = None;
    if cursor.eat(b' ') {
        // USE is the only parameter that any extension defines (RFC 6154).
        cursor.open()?;
        let start = cursor.position();
        if !cursor.eat_word(b"USE") {
            return cursor.fail_at(start, ParseErrorKind::Unknown("parameter of CREATE"));
        }
        cursor.space()?;
        let attribute = |cursor: &mut Cursor<'a>| use_attribute(cursor).map(drop);
        let raw = cursor.list_or_empty(attribute, "attributes")?;
        uses = Some(UseList { raw });
        cursor.close()?;
    }
    Ok(Create { mailbox, uses })
}

/// Parses what follows `RENAME `.
pub(crate) fn parse_rename<'a>(cursor: &mut Cursor<'a>) -> Result<Rename<'a>> {
    let from = argument(cursor)?;
    cursor.space()?;
    Ok(Rename { from, to: argument(cursor)? })
}

/// Parses what follows `STATUS `.
pub(crate) fn parse_status<'a>(cursor: &mut Cursor<'a>) -> Result<Status<'a>> {
    let mailbox = argument(cursor)?;
    cursor.space()?;
    Ok(Status { mailbox, items: StatusItems::parse(cursor)? })
}
