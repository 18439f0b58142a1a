//! Typed commands.
//!
//! A [`Command`] borrows from the octets that it was parsed from. Whoever needs it for longer, such as an `async fn`
//! that must be `'static`, owns a [`CommandBuf`] and parses inside: that costs a fraction of a microsecond, no
//! allocation for most commands, and spares a second, owned set of all these types.

use std::fmt;

use bytes::Bytes;

use super::error::ParseError;
use super::limits::ParseLimits;
pub use super::parse::append::{Append, AppendMessage, Literal};
pub use super::parse::auth::{
    Authenticate, CapabilityList, IdFields, InvalidBase64, Login, Mechanism, SaslLine, SaslResponse,
};
pub use super::parse::date::Date;
pub use super::parse::fetch::{Fetch, FetchItem, FetchItems, FetchMacro};
pub use super::parse::flags::{Flag, FlagList, KeywordArg};
pub use super::parse::list::{List, ListPattern, ListReturn, ListSelection, Lsub, PatternList};
pub use super::parse::mailbox::{Create, Rename, Select, Status, StatusItems, UseList};
pub use super::parse::params::{Param, ParamName, ParamValue, Params};
pub use super::parse::search::{Search, SearchKey, SearchProgram, SearchReturn, SearchTerm};
pub use super::parse::section::{HeaderList, Partial, Section, SectionPart, SectionText};
pub use super::parse::sequence::{SeqNumber, SeqRange, SequenceSet};
pub use super::parse::store::{Store, StoreOperation, Transfer};
pub use super::parse::{append, parse_command, tag_of};
pub use super::string::{AString, Form, InvalidMailboxArg, MailboxArg, SecretString};

/// A command (RFC 9051, section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Its tag.
    pub tag: Tag<'a>,
    /// What it asks for.
    pub body: CommandBody<'a>,
}

/// A command's tag: one or more ASCII characters, with no space among them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag<'a>(pub(crate) &'a [u8]);

impl<'a> Tag<'a> {
    /// The tag's octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        // Made of ASCII characters alone, so this cannot fail.
        std::str::from_utf8(self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a command asks for, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandBody<'a> {
    /// `APPEND`, up to the announcement of its first message.
    Append(Append<'a>),
    /// `AUTHENTICATE`
    Authenticate(Authenticate<'a>),
    /// `CAPABILITY`
    Capability,
    /// `CHECK` (RFC 3501)
    Check,
    /// `CLOSE`
    Close,
    /// `COPY` and `UID COPY`
    Copy(Transfer<'a>),
    /// `CREATE`
    Create(Create<'a>),
    /// `DELETE`
    Delete(MailboxArg<'a>),
    /// `ENABLE`
    Enable(CapabilityList<'a>),
    /// `EXPUNGE`
    Expunge,
    /// `FETCH` and `UID FETCH`
    Fetch(Fetch<'a>),
    /// `ID` (RFC 2971)
    Id(IdFields<'a>),
    /// `IDLE`, without the `DONE` that ends it.
    Idle,
    /// `LIST`
    List(List<'a>),
    /// `LOGIN`
    Login(Login<'a>),
    /// `LOGOUT`
    Logout,
    /// `LSUB` (RFC 3501)
    Lsub(Lsub<'a>),
    /// `MOVE` and `UID MOVE`
    Move(Transfer<'a>),
    /// `NAMESPACE`
    Namespace,
    /// `NOOP`
    Noop,
    /// `RENAME`
    Rename(Rename<'a>),
    /// `SEARCH` and `UID SEARCH`
    Search(Search<'a>),
    /// `SELECT` and `EXAMINE`
    Select(Select<'a>),
    /// `STARTTLS`
    StartTls,
    /// `STATUS`
    Status(Status<'a>),
    /// `STORE` and `UID STORE`
    Store(Store<'a>),
    /// `SUBSCRIBE`
    Subscribe(MailboxArg<'a>),
    /// `UID EXPUNGE`
    UidExpunge(SequenceSet<'a>),
    /// `UNSELECT`
    Unselect,
    /// `UNSUBSCRIBE`
    Unsubscribe(MailboxArg<'a>),
}

impl CommandBody<'_> {
    /// The command's name, such as `UID FETCH`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Append(_) => "APPEND",
            Self::Authenticate(_) => "AUTHENTICATE",
            Self::Capability => "CAPABILITY",
            Self::Check => "CHECK",
            Self::Close => "CLOSE",
            Self::Copy(Transfer { uid: true, .. }) => "UID COPY",
            Self::Copy(_) => "COPY",
            Self::Create(_) => "CREATE",
            Self::Delete(_) => "DELETE",
            Self::Enable(_) => "ENABLE",
            Self::Expunge => "EXPUNGE",
            Self::Fetch(Fetch { uid: true, .. }) => "UID FETCH",
            Self::Fetch(_) => "FETCH",
            Self::Id(_) => "ID",
            Self::Idle => "IDLE",
            Self::List(_) => "LIST",
            Self::Login(_) => "LOGIN",
            Self::Logout => "LOGOUT",
            Self::Lsub(_) => "LSUB",
            Self::Move(Transfer { uid: true, .. }) => "UID MOVE",
            Self::Move(_) => "MOVE",
            Self::Namespace => "NAMESPACE",
            Self::Noop => "NOOP",
            Self::Rename(_) => "RENAME",
            Self::Search(Search { uid: true, .. }) => "UID SEARCH",
            Self::Search(_) => "SEARCH",
            Self::Select(Select { examine: true, .. }) => "EXAMINE",
            Self::Select(_) => "SELECT",
            Self::StartTls => "STARTTLS",
            Self::Status(_) => "STATUS",
            Self::Store(Store { uid: true, .. }) => "UID STORE",
            Self::Store(_) => "STORE",
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::UidExpunge(_) => "UID EXPUNGE",
            Self::Unselect => "UNSELECT",
            Self::Unsubscribe(_) => "UNSUBSCRIBE",
        }
    }
}

/// The octets of one finished command, owned: its line or lines with the literals between them.
///
/// It shares nothing with the buffer that the command was read into, so keeping it (for an IDLE of half an hour, say)
/// keeps nothing else. It may hold a password; printing it shows only its length.
#[derive(Clone)]
pub struct CommandBuf(Octets);

/// The octets themselves for a command as short as most that clients send all day, which needs no allocation then.
#[derive(Clone)]
enum Octets {
    Short { length: u8, octets: [u8; SHORT] },
    Long(Bytes),
}

/// With its length and the variant, 48 octets.
const SHORT: usize = 46;

impl CommandBuf {
    /// A copy of these octets.
    #[must_use]
    #[inline]
    pub fn copy_from_slice(command: &[u8]) -> Self {
        let mut octets = [0; SHORT];
        match (octets.get_mut(..command.len()), u8::try_from(command.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(command);
                Self(Octets::Short { length, octets })
            }
            _ => Self(Octets::Long(Bytes::copy_from_slice(command))),
        }
    }

    /// Parses it. What comes back borrows from this buffer.
    ///
    /// # Errors
    ///
    /// As [`parse_command`].
    pub fn parse(&self, limits: ParseLimits) -> Result<Command<'_>, ParseError> {
        parse_command(self.as_bytes(), limits)
    }

    /// Parses what stands between two messages of one APPEND, as the framer hands it out.
    ///
    /// # Errors
    ///
    /// As [`append::parse_next`].
    pub fn parse_next_message(&self, limits: ParseLimits) -> Result<AppendMessage<'_>, ParseError> {
        append::parse_next(self.as_bytes(), limits)
    }

    /// Its tag, even if the rest of the command is broken.
    #[must_use]
    pub fn tag(&self) -> Option<Tag<'_>> {
        tag_of(self.as_bytes())
    }

    /// The octets. They may hold a password.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Octets::Short { length, octets } => octets.get(..usize::from(*length)).unwrap_or_default(),
            Octets::Long(octets) => octets,
        }
    }
}

impl PartialEq for CommandBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for CommandBuf {}

impl fmt::Debug for CommandBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandBuf({} octets)", self.as_bytes().len())
    }
}
