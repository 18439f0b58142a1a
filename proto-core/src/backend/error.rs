//! What a backend answers when it can't do what was asked.

use std::borrow::Cow;

/// A backend's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a backend did not do what was asked.
///
/// Each kind maps to a response code (IMAP: RFC 5530, RFC 9051 section 7.1; POP3: RFC 2449, RFC 3206). The display text
/// is what the client is told, so it never holds a path, an address or a secret; what operators should know goes to the
/// log of the backend, or into [`Error::Unavailable`] and [`Error::Corrupt`] as their source, which is never shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Unknown user or wrong credentials: never say which (`AUTHENTICATIONFAILED`, POP3 `[AUTH]`).
    #[error("Authentication failed")]
    AuthenticationFailed,
    /// The credentials are right, but may not act as the user asked for (`AUTHORIZATIONFAILED`).
    #[error("Not authorised to act as this user")]
    AuthorizationFailed,
    /// The credentials were right once (`EXPIRED`).
    #[error("The credentials have expired")]
    Expired,
    /// Only under TLS (`PRIVACYREQUIRED`).
    #[error("This needs an encrypted connection")]
    PrivacyRequired,
    /// The user is known and may not log in (`CONTACTADMIN`, POP3 `[SYS/PERM]`).
    #[error("Contact the administrator: {0}")]
    ContactAdmin(Cow<'static, str>),
    /// The store can't be reached now (`UNAVAILABLE`, POP3 `[SYS/TEMP]`).
    #[error("The mail store is not available now")]
    Unavailable(#[source] Option<BoxError>),
    /// No permission (`NOPERM`).
    #[error("Permission denied")]
    NoPermission,
    /// Someone else holds it (`INUSE`, POP3 `[IN-USE]`).
    #[error("The mailbox is in use by another session")]
    InUse,
    /// No mailbox of this name (`NONEXISTENT`, or `TRYCREATE` where creating it would help).
    #[error("No such mailbox")]
    NoSuchMailbox,
    /// A mailbox of this name stands already (`ALREADYEXISTS`).
    #[error("The mailbox exists already")]
    AlreadyExists,
    /// It has children, and so can't be deleted (`HASCHILDREN`).
    #[error("The mailbox has children")]
    HasChildren,
    /// The message was expunged (`EXPUNGEISSUED`).
    #[error("The message has been expunged")]
    Expunged,
    /// The user's quota would be exceeded (`OVERQUOTA`).
    #[error("Quota exceeded")]
    OverQuota,
    /// The message is too large for this store (`TOOBIG`).
    #[error("The message is too large")]
    TooBig,
    /// A limit of the server (`LIMIT`).
    #[error("Limit reached: {0}")]
    Limit(Cow<'static, str>),
    /// The mailbox is open for reading only.
    #[error("The mailbox is read-only")]
    ReadOnly,
    /// This store can never do that, whoever asks (`CANNOT`).
    #[error("Not possible here: {0}")]
    Cannot(Cow<'static, str>),
    /// The special use can't be given (`USEATTR`, RFC 6154).
    #[error("This special use is not supported here")]
    SpecialUse,
    /// Stored data is damaged (`CORRUPTION`, POP3 `[SYS/PERM]`).
    #[error("The stored data is damaged")]
    Corrupt(#[source] Option<BoxError>),
    /// The mailbox that this handle names is gone: deleted, or recreated with another UIDVALIDITY.
    #[error("The mailbox has been deleted")]
    MailboxGone,
    /// A token was refused; the text is the mechanism's error object, to be sent to the client as a challenge
    /// (RFC 7628, section 3.2.2).
    #[error("Authentication failed")]
    TokenRefused(String),
}

/// An error of the backend's own, kept for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// The store can't be reached now, for this reason.
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::Unavailable(Some(source.into()))
    }

    /// Stored data is damaged in this way.
    pub fn corrupt(source: impl Into<BoxError>) -> Self {
        Self::Corrupt(Some(source.into()))
    }

    /// Whether the store is at fault, and not who asked: what an operator should hear of, with the
    /// [`source`](std::error::Error::source), which no client is told.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Corrupt(_))
    }
}
