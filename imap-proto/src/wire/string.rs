//! Strings as commands carry them.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use pillarbox_proto_core::mail::utf7::{self, InvalidUtf7};
use pillarbox_proto_core::mail::{InvalidMailboxName, MailboxName};

/// How a string stood on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Plain characters without quotes.
    Atom,
    /// In quotes, with no backslash in it.
    Quoted,
    /// In quotes, with at least one backslash that must be removed.
    Escaped,
    /// A literal.
    Literal,
}

/// An `astring` (RFC 9051, section 9): an atom, a quoted string or a literal, still on the wire.
///
/// Two are equal when their values are, whatever their form. The value has no NUL; a quoted one is UTF-8, a literal may
/// hold any other byte.
#[derive(Clone, Copy)]
pub struct AString<'a> {
    /// With its quotes or its announcement, which tell what it is.
    raw: &'a [u8],
}

impl<'a> AString<'a> {
    #[inline]
    pub(crate) const fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// How it stood on the wire.
    #[must_use]
    pub fn form(&self) -> Form {
        match self.raw {
            [b'"', ..] if memchr(b'\\', self.raw).is_some() => Form::Escaped,
            [b'"', ..] => Form::Quoted,
            [b'{', ..] => Form::Literal,
            _ => Form::Atom,
        }
    }

    /// Without quotes or announcement, but with backslashes.
    fn content(&self) -> &'a [u8] {
        match self.raw {
            [b'"', content @ .., b'"'] => content,
            [b'{', ..] => memchr(b'\n', self.raw).and_then(|end| self.raw.get(end + 1..)).unwrap_or_default(),
            raw => raw,
        }
    }

    /// The value. Copied only when it stood in quotes and holds a backslash.
    #[must_use]
    pub fn value(&self) -> Cow<'a, [u8]> {
        match self.form() {
            Form::Escaped => Cow::Owned(self.octets().collect()),
            _ => Cow::Borrowed(self.content()),
        }
    }

    /// The value's octets, one by one, without ever copying it.
    pub fn octets(&self) -> impl Iterator<Item = u8> + use<'a> {
        let escaped = self.form() == Form::Escaped;
        let mut content = self.content().iter().copied();
        std::iter::from_fn(move || match content.next() {
            Some(b'\\') if escaped => content.next(),
            octet => octet,
        })
    }

    /// Whether the value has no octet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.content().is_empty()
    }

    /// Whether the value is this ASCII text, in any case.
    #[must_use]
    pub fn eq_ignore_ascii_case(&self, text: &[u8]) -> bool {
        let lower = |octet: u8| octet.to_ascii_lowercase();
        self.octets().map(lower).eq(text.iter().copied().map(lower))
    }
}

impl PartialEq for AString<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.octets().eq(other.octets())
    }
}

impl Eq for AString<'_> {}

impl fmt::Debug for AString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.value()), f)
    }
}

/// A mailbox's name as the client wrote it: modified UTF-7, or UTF-8 once the client has enabled IMAP4rev2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MailboxArg<'a>(pub(crate) AString<'a>);

impl<'a> MailboxArg<'a> {
    /// The string itself.
    #[must_use]
    pub const fn as_astring(&self) -> AString<'a> {
        self.0
    }

    /// Whether it is INBOX, in any case.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.0.eq_ignore_ascii_case(b"INBOX")
    }

    /// The text, which may be empty. `utf8` says that the client has enabled IMAP4rev2 (RFC 9051, section 5.1) and so
    /// writes UTF-8; otherwise it is modified UTF-7 (RFC 3501, section 5.1.3).
    ///
    /// # Errors
    ///
    /// When it is not valid in that encoding.
    pub fn text(&self, utf8: bool) -> Result<Cow<'a, str>, InvalidMailboxArg> {
        decode(self.0, utf8)
    }

    /// The mailbox's name; `utf8` as for [`MailboxArg::text`].
    ///
    /// # Errors
    ///
    /// When it is not valid in that encoding, or no name that a mailbox can have.
    pub fn name(&self, utf8: bool) -> Result<MailboxName, InvalidMailboxArg> {
        Ok(MailboxName::new(&self.text(utf8)?)?)
    }
}

/// Why a mailbox's name from a client cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMailboxArg {
    /// It is not modified UTF-7.
    #[error("mailbox name is not modified UTF-7: {0}")]
    Utf7(#[from] InvalidUtf7),
    /// It is not UTF-8.
    #[error("mailbox name is not UTF-8")]
    Utf8,
    /// No mailbox can have that name.
    #[error(transparent)]
    Name(#[from] InvalidMailboxName),
}

/// A mailbox's name, or a pattern of such, out of its encoding on the wire.
pub(crate) fn decode(string: AString<'_>, utf8: bool) -> Result<Cow<'_, str>, InvalidMailboxArg> {
    Ok(match string.value() {
        Cow::Borrowed(value) if utf8 => Cow::Borrowed(std::str::from_utf8(value).map_err(|_| InvalidMailboxArg::Utf8)?),
        Cow::Borrowed(value) => utf7::decode(value)?,
        Cow::Owned(value) if utf8 => Cow::Owned(String::from_utf8(value).map_err(|_| InvalidMailboxArg::Utf8)?),
        Cow::Owned(value) => Cow::Owned(utf7::decode(&value)?.into_owned()),
    })
}

impl fmt::Debug for MailboxArg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A string that is a secret, such as a password. It prints as `***`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretString<'a>(pub(crate) AString<'a>);

impl<'a> SecretString<'a> {
    /// The secret's octets. They are still in the command's buffer; whoever keeps them must take care of them.
    #[must_use]
    pub fn expose(&self) -> Cow<'a, [u8]> {
        self.0.value()
    }

    pub(crate) const fn as_astring(&self) -> AString<'a> {
        self.0
    }
}

impl fmt::Debug for SecretString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
