//! Flags and keywords of messages.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};
use std::sync::Arc;

/// The five system flags that stay with a message, as a set (RFC 9051, section 2.3.2).
///
/// `\Recent` is not among them: it belongs to a session, not to a message.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SystemFlags(u8);

impl SystemFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `\Answered`: the message has been answered.
    pub const ANSWERED: Self = Self(1);
    /// `\Flagged`: marked for urgent or special attention.
    pub const FLAGGED: Self = Self(2);
    /// `\Deleted`: marked for removal by a later EXPUNGE.
    pub const DELETED: Self = Self(4);
    /// `\Seen`: the message has been read.
    pub const SEEN: Self = Self(8);
    /// `\Draft`: composition is not complete.
    pub const DRAFT: Self = Self(16);
    /// All five.
    pub const ALL: Self = Self(31);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// The set with these bits; unknown bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The bits: 1 `\Answered`, 2 `\Flagged`, 4 `\Deleted`, 8 `\Seen`, 16 `\Draft`. Stable, fit for storing.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every flag of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is no flag.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Reads one flag's name, in any case, with its backslash.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(flag, _)| *flag)
    }

    /// The names of the flags in this set, with their backslash.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }
}

impl BitOr for SystemFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for SystemFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for SystemFlags {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for SystemFlags {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0 & Self::ALL.0)
    }
}

impl fmt::Debug for SystemFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names().map(|name| &name[1..])).finish()
    }
}

/// A keyword: a flag named by users or programs, such as `$Forwarded` (RFC 9051, section 2.3.2).
///
/// It is an IMAP atom of at most [`Keyword::MAX_LEN`] bytes. Two keywords are equal when they differ in case only; the
/// case of the first use is kept. Cloning shares the text.
#[derive(Clone)]
pub struct Keyword(Arc<str>);

/// A text that cannot be a [`Keyword`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keyword of {length} bytes is empty, too long, or holds a character that an atom may not")]
pub struct InvalidKeyword {
    length: usize,
}

impl Keyword {
    /// The longest keyword, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks and takes a keyword.
    ///
    /// # Errors
    ///
    /// When it is empty, longer than [`Keyword::MAX_LEN`], starts with a backslash or is no atom (RFC 9051, section 9:
    /// `flag-keyword`).
    pub fn new(text: &str) -> Result<Self, InvalidKeyword> {
        let atom = |byte: u8| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte);
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(atom) {
            return Err(InvalidKeyword { length: text.len() });
        }
        Ok(Self(text.into()))
    }

    /// The keyword's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn folded(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keyword {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl Hash for Keyword {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
        state.write_u8(0xff);
    }
}

impl fmt::Debug for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sorted set of keywords. Cloning shares it, so a store that keeps one copy of each combination in use hands out
/// rows without allocating.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Keywords(Option<Arc<[Keyword]>>);

impl Keywords {
    /// No keyword.
    pub const NONE: Self = Self(None);

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The keywords, sorted, each once.
    #[must_use]
    pub fn as_slice(&self) -> &[Keyword] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The keywords, sorted, each once.
    pub fn iter(&self) -> std::slice::Iter<'_, Keyword> {
        self.as_slice().iter()
    }

    /// Whether this keyword is in the set.
    #[must_use]
    pub fn contains(&self, keyword: &Keyword) -> bool {
        self.as_slice().binary_search(keyword).is_ok()
    }

    /// The keywords of both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.iter().all(|keyword| self.contains(keyword)) {
            return self.clone();
        }
        self.iter().chain(other).cloned().collect()
    }

    /// The keywords of this set that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        if !other.iter().any(|keyword| self.contains(keyword)) {
            return self.clone();
        }
        self.iter().filter(|keyword| !other.contains(keyword)).cloned().collect()
    }
}

impl FromIterator<Keyword> for Keywords {
    fn from_iter<I: IntoIterator<Item = Keyword>>(keywords: I) -> Self {
        let mut keywords: Vec<_> = keywords.into_iter().collect();
        keywords.sort();
        keywords.dedup();
        Self(if keywords.is_empty() { None } else { Some(keywords.into()) })
    }
}

impl<'a> IntoIterator for &'a Keywords {
    type Item = &'a Keyword;
    type IntoIter = std::slice::Iter<'a, Keyword>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Keywords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The flags of one message: system flags and keywords, without `\Recent`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// The system flags.
    pub system: SystemFlags,
    /// The keywords.
    pub keywords: Keywords,
}

impl Flags {
    /// No flag.
    pub const NONE: Self = Self { system: SystemFlags::NONE, keywords: Keywords::NONE };

    /// Whether there is no flag at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.system.is_empty() && self.keywords.is_empty()
    }

    /// The flags of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self { system: self.system | other.system, keywords: self.keywords.union(&other.keywords) }
    }

    /// The flags of this set that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self { system: self.system & !other.system, keywords: self.keywords.difference(&other.keywords) }
    }
}

impl From<SystemFlags> for Flags {
    fn from(system: SystemFlags) -> Self {
        Self { system, keywords: Keywords::NONE }
    }
}
