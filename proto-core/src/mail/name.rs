//! Names of mailboxes.
//!
//! Inside, a name is UTF-8, whatever form it has on the wire: IMAP4rev1's modified UTF-7 ([`super::utf7`]) ends at the
//! protocol's edge. A name knows nothing of its hierarchy delimiter, which belongs to a namespace; methods take it as an
//! argument.

use std::fmt;
use std::sync::{Arc, LazyLock};

const INBOX: &str = "INBOX";

/// Why a text is not a mailbox name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMailboxName {
    /// The name is empty.
    #[error("a mailbox name must not be empty")]
    Empty,
    /// The name has more than [`MailboxName::MAX_LEN`] octets of UTF-8.
    #[error("a mailbox name must not be longer than {} octets", MailboxName::MAX_LEN)]
    TooLong,
    /// The name has a control character, or a line or paragraph separator, at this octet.
    #[error("octet {0} of the mailbox name begins a control character or line separator")]
    Control(usize),
}

/// The name of a mailbox, in UTF-8, with its whole hierarchy: `Archive/2024`. Cheap to clone.
///
/// `INBOX` is the same in any case, but only as a whole name, and is kept in capitals (RFC 9051, section 5.1). All other
/// names are compared octet by octet; `inbox/todo` is not `INBOX/todo`.
///
/// ```
/// use pillarbox_proto_core::mail::MailboxName;
///
/// let name = MailboxName::new("Archive/2024/May")?;
/// assert_eq!(name.parent('/').unwrap().as_str(), "Archive/2024");
/// assert!(MailboxName::matches("Archive/%/May", name.as_str(), Some('/')));
/// assert!(!MailboxName::matches("Archive/%", name.as_str(), Some('/')));
/// assert_eq!(MailboxName::new("inbox")?, MailboxName::inbox());
/// # Ok::<(), pillarbox_proto_core::mail::InvalidMailboxName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Arc<str>);

impl MailboxName {
    /// The most octets of UTF-8 that a name may have.
    pub const MAX_LEN: usize = 1000;

    /// The name that this text is.
    ///
    /// Wildcards, empty levels of hierarchy and a delimiter at the end are let through, as some stores have them:
    /// CREATE looks at [`MailboxName::has_wildcard`] and [`MailboxName::has_empty_level`].
    ///
    /// # Errors
    ///
    /// [`InvalidMailboxName`] if the text is empty, too long, or has control characters (RFC 9051, section 5.1.1).
    pub fn new(name: &str) -> Result<Self, InvalidMailboxName> {
        if name.is_empty() {
            return Err(InvalidMailboxName::Empty);
        }
        if name.len() > Self::MAX_LEN {
            return Err(InvalidMailboxName::TooLong);
        }
        if let Some((at, _)) = name.char_indices().find(|(_, c)| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        {
            return Err(InvalidMailboxName::Control(at));
        }
        if name.eq_ignore_ascii_case(INBOX) {
            return Ok(Self::inbox());
        }
        Ok(Self(Arc::from(name)))
    }

    /// `INBOX`, the mailbox where new mail of the account arrives.
    #[must_use]
    pub fn inbox() -> Self {
        static SHARED: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(INBOX));
        Self(Arc::clone(&SHARED))
    }

    /// Whether this is `INBOX`.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        &*self.0 == INBOX
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels of hierarchy, from the top.
    pub fn components(&self, delimiter: char) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split(delimiter)
    }

    /// The last level of hierarchy.
    #[must_use]
    pub fn leaf(&self, delimiter: char) -> &str {
        self.0.rsplit_once(delimiter).map_or(&*self.0, |(_, leaf)| leaf)
    }

    /// The name one level up, or `None` at the top.
    #[must_use]
    pub fn parent(&self, delimiter: char) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once(delimiter)?;
        // Only an empty one can be refused: a part of a valid name has no other fault.
        Self::new(parent).ok()
    }

    /// Whether this name is exactly one level below `other`.
    #[must_use]
    pub fn is_child_of(&self, other: &Self, delimiter: char) -> bool {
        self.below(other, delimiter).is_some_and(|rest| !rest.contains(delimiter))
    }

    /// Whether this name is below `other`, at any level (an "inferior hierarchical name" of it).
    #[must_use]
    pub fn is_inferior_to(&self, other: &Self, delimiter: char) -> bool {
        self.below(other, delimiter).is_some()
    }

    /// What RENAME of `from` to `to` makes of this name: `None` if it is neither `from` nor below it.
    ///
    /// # Errors
    ///
    /// [`InvalidMailboxName::TooLong`] if the new name would have too many octets.
    pub fn replace_prefix(&self, from: &Self, to: &Self, delimiter: char) -> Result<Option<Self>, InvalidMailboxName> {
        if self == from {
            return Ok(Some(to.clone()));
        }
        self.below(from, delimiter).map(|rest| Self::new(&format!("{to}{delimiter}{rest}"))).transpose()
    }

    /// Whether the name has a character that LIST takes as a wildcard, `*` or `%`. Such a name cannot be listed by
    /// itself, so CREATE and RENAME refuse it.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.0.contains(['*', '%'])
    }

    /// Whether some level of hierarchy is empty: a delimiter at the start or end, or two in a row.
    #[must_use]
    pub fn has_empty_level(&self, delimiter: char) -> bool {
        self.components(delimiter).any(str::is_empty)
    }

    /// Whether a LIST pattern covers a name: `*` stands for any characters, `%` for any but the hierarchy delimiter
    /// (RFC 9051, section 6.3.9). The whole name `INBOX` is matched in any case. Without a delimiter `%` is `*`.
    ///
    /// The work is at most proportional to the pattern's length plus the square of the name's.
    #[must_use]
    pub fn matches(pattern: &str, name: &str, delimiter: Option<char>) -> bool {
        let any_case = name.eq_ignore_ascii_case(INBOX);
        let Some(pattern) = compile(pattern, name.len(), delimiter.is_none()) else { return false };
        // reached[i]: the first i tokens cover what was read of the name so far.
        let mut reached = vec![false; pattern.len() + 1];
        reached[0] = true;
        skip_wildcards(&pattern, &mut reached);
        for c in name.chars() {
            // From the last token down, so that each looks at what was reached before this character.
            for (i, token) in pattern.iter().enumerate().rev() {
                let before = reached[i];
                match token {
                    Token::Any => {}
                    Token::Level => {
                        if Some(c) == delimiter {
                            reached[i + 1] = false;
                        }
                    }
                    Token::Char(expected) => {
                        let same = *expected == c || (any_case && expected.eq_ignore_ascii_case(&c));
                        reached[i + 1] = before && same;
                    }
                }
            }
            reached[0] = false;
            skip_wildcards(&pattern, &mut reached);
        }
        reached[pattern.len()]
    }

    fn below(&self, other: &Self, delimiter: char) -> Option<&str> {
        self.0.strip_prefix(other.as_str())?.strip_prefix(delimiter)
    }
}

/// A piece of a LIST pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    Level,
    Char(char),
}

/// Reads a pattern, wildcards in a row as one; `None` if it has more characters than a name of `name_len` octets.
fn compile(pattern: &str, name_len: usize, flat: bool) -> Option<Vec<Token>> {
    let mut tokens = Vec::with_capacity(pattern.len().min(2 * name_len + 1));
    let mut characters = 0;
    for c in pattern.chars() {
        let token = match c {
            '*' => Token::Any,
            '%' if flat => Token::Any,
            '%' => Token::Level,
            c => {
                characters += 1;
                if characters > name_len {
                    return None;
                }
                Token::Char(c)
            }
        };
        match (tokens.last_mut(), token) {
            (Some(Token::Any), Token::Any | Token::Level) | (Some(Token::Level), Token::Level) => {}
            (Some(last @ Token::Level), Token::Any) => *last = Token::Any,
            _ => tokens.push(token),
        }
    }
    Some(tokens)
}

/// A wildcard may stand for nothing: what is reached before it is reached after it.
fn skip_wildcards(pattern: &[Token], reached: &mut [bool]) {
    for (i, token) in pattern.iter().enumerate() {
        if reached[i] && !matches!(token, Token::Char(_)) {
            reached[i + 1] = true;
        }
    }
}

impl AsRef<str> for MailboxName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for MailboxName {
    type Err = InvalidMailboxName;

    fn from_str(name: &str) -> Result<Self, InvalidMailboxName> {
        Self::new(name)
    }
}

impl TryFrom<&str> for MailboxName {
    type Error = InvalidMailboxName;

    fn try_from(name: &str) -> Result<Self, InvalidMailboxName> {
        Self::new(name)
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text).unwrap()
    }

    #[test]
    fn texts_that_are_no_names() {
        use InvalidMailboxName::{Control, Empty, TooLong};
        for (text, why) in [
            ("", Empty),
            ("a\0", Control(1)),
            ("\r\n", Control(0)),
            ("ab\u{7f}", Control(2)),
            ("\u{e4}\u{85}", Control(2)),
            ("a\u{2028}", Control(1)),
            ("a\u{2029}b", Control(1)),
        ] {
            assert_eq!(MailboxName::new(text), Err(why), "{text:?}");
        }
        assert!(MailboxName::new(&"x".repeat(1000)).is_ok());
        assert_eq!(MailboxName::new(&"x".repeat(1001)), Err(TooLong));
    }

    #[test]
    fn inbox_in_any_case_but_only_whole() {
        for text in ["INBOX", "inbox", "InBoX"] {
            assert_eq!(name(text).as_str(), "INBOX");
            assert!(name(text).is_inbox());
        }
        for text in ["inbox/a", "inboxes", "a/inbox", "INBOX "] {
            assert_eq!(name(text).as_str(), text);
            assert!(!name(text).is_inbox());
        }
        assert_eq!(name("a/inbox").leaf('/'), "inbox");
    }

    #[test]
    fn hierarchy() {
        let deep = name("a/b/c");
        assert_eq!(deep.components('/').collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(deep.components('.').collect::<Vec<_>>(), ["a/b/c"]);
        assert_eq!(deep.leaf('/'), "c");
        assert_eq!(deep.parent('/'), Some(name("a/b")));
        assert_eq!(name("a").parent('/'), None);
        assert_eq!(name("/a").parent('/'), None);
        assert_eq!(name("inbox/a").parent('/'), Some(MailboxName::inbox()));
        assert!(deep.is_child_of(&name("a/b"), '/') && !deep.is_child_of(&name("a"), '/'));
        assert!(deep.is_inferior_to(&name("a"), '/') && !deep.is_inferior_to(&deep, '/'));
        assert!(!name("ab/c").is_inferior_to(&name("a"), '/'));
        assert!(
            name("a//b").has_empty_level('/') && name("a/").has_empty_level('/') && name("/a").has_empty_level('/')
        );
        assert!(!deep.has_empty_level('/'));
        assert!(name("a*").has_wildcard() && name("%").has_wildcard() && !deep.has_wildcard());
    }

    #[test]
    fn rename_of_trees() {
        let rename = |what: &str, from: &str, to: &str| {
            name(what).replace_prefix(&name(from), &name(to), '/').map(|new| new.map(|new| new.to_string()))
        };
        assert_eq!(rename("a/b", "a/b", "c"), Ok(Some("c".to_owned())));
        assert_eq!(rename("a/b/x/y", "a/b", "c/d"), Ok(Some("c/d/x/y".to_owned())));
        assert_eq!(rename("a/bb", "a/b", "c"), Ok(None));
        assert_eq!(rename("a", "a/b", "c"), Ok(None));
        let long = "y".repeat(990);
        assert_eq!(rename(&format!("a/{long}"), "a", "0123456789"), Err(InvalidMailboxName::TooLong));
    }

    #[test]
    fn list_patterns() {
        let matches = |pattern, name| MailboxName::matches(pattern, name, Some('/'));
        for (pattern, name, expected) in [
            ("*", "a/b/c", true),
            ("%", "a/b/c", false),
            ("%", "abc", true),
            ("%/%", "a/b", true),
            ("%/%", "a/b/c", false),
            ("a/*", "a", false),
            ("a/*", "a/", true),
            ("a*", "a", true),
            ("a%", "a", true),
            ("a%", "a/b", false),
            ("*%", "a/b", true),
            ("%*", "a/b", true),
            ("%%", "a/b", false),
            ("*/b", "a/a/b", true),
            ("%/b", "a/a/b", false),
            ("*/%/c", "x/y/b/c", true),
            ("a*b%c", "a/b/b_c", true),
            ("a*b%c", "a/b/b/c", false),
            ("", "a", false),
            ("", "", true),
            ("*", "", true),
            ("inbox", "INBOX", true),
            ("InB%", "INBOX", true),
            ("inbox/%", "INBOX/a", false),
            ("INBOX/%", "INBOX/a", true),
            ("A", "a", false),
            ("\u{e4}%", "\u{e4}\u{f6}", true),
            ("%\u{f6}", "\u{e4}/\u{f6}", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(MailboxName::matches("%", "a/b", None));
        assert!(MailboxName::matches("%", "a/b", Some('.')));
    }

    #[test]
    fn hostile_patterns_end() {
        let name = "a".repeat(1000);
        assert!(MailboxName::matches(&"*%".repeat(500_000), &name, Some('/')));
        assert!(!MailboxName::matches(&"%".repeat(1_000_000), "a/b", Some('/')));
        assert!(!MailboxName::matches(&"%a".repeat(1000), &"a".repeat(999), Some('/')));
        assert!(MailboxName::matches(&"*a".repeat(1000), &name, Some('/')));
        assert!(!MailboxName::matches(&format!("{}b", "*a".repeat(999)), &name, Some('/')));
        assert!(!MailboxName::matches(&"a".repeat(10_000_000), &name, Some('/')));
    }

    /// The definition, step by step; exponential.
    fn plain(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => plain(rest, name) || (!name.is_empty() && plain(pattern, &name[1..])),
            (['%', rest @ ..], _) => {
                plain(rest, name) || (name.first().is_some_and(|c| *c != '/') && plain(pattern, &name[1..]))
            }
            ([a, pattern @ ..], [b, name @ ..]) => a == b && plain(pattern, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_defined(pattern in "[ab/*%]{0,10}", name in "[ab/]{0,10}") {
            let (p, n): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(MailboxName::matches(&pattern, &name, Some('/')), plain(&p, &n));
        }

        #[test]
        fn children_and_parents_agree(a in "[a-c]{1,2}(/[a-c]{1,2}){0,3}", b in "[a-c]{1,2}(/[a-c]{1,2}){0,3}") {
            let (a, b) = (name(&a), name(&b));
            prop_assert_eq!(a.is_child_of(&b, '/'), a.parent('/').as_ref() == Some(&b));
            let mut above = std::iter::successors(a.parent('/'), |name| name.parent('/'));
            prop_assert_eq!(a.is_inferior_to(&b, '/'), above.any(|name| name == b));
        }
    }
}
