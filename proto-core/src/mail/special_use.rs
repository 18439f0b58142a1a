//! What a mailbox is for.

use std::fmt;

/// A special use of a mailbox (RFC 6154, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SpecialUse {
    /// `\All`: all messages of the account.
    All,
    /// `\Archive`: messages put away.
    Archive,
    /// `\Drafts`: messages being written.
    Drafts,
    /// `\Flagged`: all messages marked as important.
    Flagged,
    /// `\Junk`: unsolicited messages.
    Junk,
    /// `\Sent`: copies of messages sent.
    Sent,
    /// `\Trash`: messages deleted or about to be.
    Trash,
}

impl SpecialUse {
    /// Every special use, in the order of the alphabet.
    pub const ALL: [Self; 7] =
        [Self::All, Self::Archive, Self::Drafts, Self::Flagged, Self::Junk, Self::Sent, Self::Trash];

    /// The attribute as LIST shows it, with its backslash.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    /// Reads an attribute, in any case, with its backslash.
    #[must_use]
    pub fn parse(attribute: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|usage| usage.as_str().as_bytes().eq_ignore_ascii_case(attribute))
    }
}

impl fmt::Display for SpecialUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
