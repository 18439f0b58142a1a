//! Languages as data, and how a client finds one (RFC 6856, section 3; RFC 4647).

use std::fmt;
use std::sync::{Arc, LazyLock};

use super::Text;

/// The longest text, in octets: with all around it, it fits into a response line of 512 (RFC 2449, section 4).
const MAX_TEXT: usize = 400;
/// The longest tag and the longest name.
const MAX_NAME: usize = 80;

/// All texts of responses in one language.
///
/// English and German are here. An embedding program adds others as data: lines of `key: text` as
/// [`Language::english`] prints them, in any order, with `tag` and `name` among them. In a text, `{messages}` and the
/// like stand for values; their order is free. Lines that begin with `#` are remarks.
///
/// ```
/// use pillarbox_pop3_proto::{Config, Language};
///
/// let data = Language::english().to_string();
/// let data = data.replace("tag: en", "tag: en-x-pirate").replace("bye: Bye", "bye: Fair winds");
/// let mut config = Config::default();
/// config.languages.push(Language::parse(&data)?);
/// # Ok::<(), pillarbox_pop3_proto::LanguageError>(())
/// ```
#[derive(Clone)]
pub struct Language(Arc<Texts>);

struct Texts {
    tag: String,
    name: String,
    /// By number.
    texts: Vec<String>,
}

/// Why data is no language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LanguageError {
    /// This line, counted from 1, is no `key: text`.
    #[error("line {0}: not of the form \"key: text\"")]
    Malformed(usize),
    /// There is no text of this key.
    #[error("line {0}: there is no text {1:?}")]
    Unknown(usize, String),
    /// The key stood in an earlier line.
    #[error("line {0}: {1:?} for the second time")]
    Repeated(usize, String),
    /// The text is too long (400 octets), begins like a response code, or has control characters.
    #[error("line {0}: the text of {1:?} can't be sent")]
    Unfit(usize, String),
    /// The text has not just the values that it is given, each once.
    #[error("line {0}: the text of {1:?} wants the values {2}")]
    Values(usize, String, String),
    /// The tag is none (RFC 5646, section 2.1).
    #[error("line {0}: not a language tag")]
    Tag(usize),
    /// There is no text for this key.
    #[error("the text of {0:?} is missing")]
    Missing(&'static str),
}

impl Language {
    /// English, as all sessions begin.
    #[must_use]
    pub fn english() -> Self {
        static ENGLISH: LazyLock<Language> = LazyLock::new(|| {
            let texts = Text::ALL.iter().map(|text| text.english().to_owned()).collect();
            Language(Arc::new(Texts { tag: "en".into(), name: "English".into(), texts }))
        });
        ENGLISH.clone()
    }

    /// German.
    #[must_use]
    pub fn german() -> Self {
        // That it can be read is tested.
        static PARSED: LazyLock<Language> =
            LazyLock::new(|| Language::parse(GERMAN).unwrap_or_else(|_| Language::english()));
        PARSED.clone()
    }

    /// Reads a language from data.
    ///
    /// # Errors
    ///
    /// [`LanguageError`], with the line, when a line can't be used or a text is missing.
    pub fn parse(data: &str) -> Result<Self, LanguageError> {
        let (mut tag, mut name) = (None, None);
        let mut texts: Vec<Option<String>> = vec![None; Text::ALL.len()];
        for (number, line) in (1..).zip(data.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, text) = line.split_once(": ").ok_or(LanguageError::Malformed(number))?;
            let (key, text) = (key.trim(), text.trim());
            let long = if matches!(key, "tag" | "name") { MAX_NAME } else { MAX_TEXT };
            if text.is_empty() || text.len() > long || text.starts_with('[') || text.chars().any(char::is_control) {
                return Err(LanguageError::Unfit(number, key.into()));
            }
            let place = match key {
                "tag" if Range::parse(text.as_bytes()).is_none_or(|range| range.is_any()) => {
                    return Err(LanguageError::Tag(number));
                }
                "tag" => &mut tag,
                "name" => &mut name,
                _ => {
                    let known = Text::ALL.iter().find(|text| text.key() == key);
                    let known = *known.ok_or_else(|| LanguageError::Unknown(number, key.into()))?;
                    if !has_values(text, known.values()) {
                        let values: Vec<String> = known.values().iter().map(|value| format!("{{{value}}}")).collect();
                        return Err(LanguageError::Values(number, key.into(), values.join(" ")));
                    }
                    texts.get_mut(known as usize).ok_or(LanguageError::Malformed(number))?
                }
            };
            if place.replace(text.into()).is_some() {
                return Err(LanguageError::Repeated(number, key.into()));
            }
        }
        let missing = |text: &Text| LanguageError::Missing(text.key());
        let texts: Result<_, _> =
            Text::ALL.iter().zip(texts).map(|(key, text)| text.ok_or_else(|| missing(key))).collect();
        Ok(Self(Arc::new(Texts {
            tag: tag.ok_or(LanguageError::Missing("tag"))?,
            name: name.ok_or(LanguageError::Missing("name"))?,
            texts: texts?,
        })))
    }

    /// The tag, as `de` or `pt-BR` (RFC 5646).
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.0.tag
    }

    /// What the language calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn text(&self, text: Text) -> &str {
        self.0.texts.get(text as usize).map_or(text.english(), |text| text)
    }
}

/// A text has each of its values once, but for those that may be left out, and no others.
fn has_values(text: &str, values: &[&str]) -> bool {
    let mut found: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { return false };
        if before.contains('}') || found.contains(&name) || !values.contains(&name) {
            return false;
        }
        found.push(name);
        rest = after;
    }
    !rest.contains('}') && values.iter().all(|value| value.ends_with('?') || found.contains(value))
}

const GERMAN: &str = include_str!("de.txt");

impl fmt::Display for Language {
    /// The data of which [`Language::parse`] makes this language.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tag: {}\nname: {}\n", self.tag(), self.name())?;
        Text::ALL.iter().try_for_each(|text| writeln!(f, "{}: {}", text.key(), self.text(*text)))
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Language").field(&self.tag()).finish()
    }
}

/// A basic language range (RFC 4647, section 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range(String);

impl Range {
    /// Understands a range; `None` for what is none.
    pub(crate) fn parse(range: &[u8]) -> Option<Self> {
        let range = std::str::from_utf8(range).ok().filter(|range| range.len() <= MAX_NAME)?;
        let is_subtag = |(at, subtag): (usize, &str)| {
            let fits = if at == 0 {
                |char: char| char.is_ascii_alphabetic()
            } else {
                |char: char| char.is_ascii_alphanumeric()
            };
            (1..=8).contains(&subtag.len()) && subtag.chars().all(fits)
        };
        (range == "*" || range.split('-').enumerate().all(is_subtag)).then(|| Self(range.to_owned()))
    }

    /// `*`
    pub(crate) fn is_any(&self) -> bool {
        self.0 == "*"
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The language for this range, by its number: the range is shortened from its end until one matches (RFC 4647,
    /// section 3.4). `*` is the first, which the administrator prefers.
    pub(crate) fn lookup(&self, languages: &[Language]) -> Option<usize> {
        if self.is_any() {
            return (!languages.is_empty()).then_some(0);
        }
        let mut range = self.as_str();
        loop {
            let found = languages.iter().position(|language| language.tag().eq_ignore_ascii_case(range));
            if found.is_some() {
                return found;
            }
            range = range.rsplit_once('-')?.0;
            // A single letter or digit means nothing without what followed it.
            if let Some((before, last)) = range.rsplit_once('-').filter(|(_, last)| last.len() == 1) {
                debug_assert_eq!(last.len(), 1);
                range = before;
            }
        }
    }
}

/// The lines of a language listing.
pub(crate) struct Listed<'a>(pub(crate) &'a Language);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.tag(), self.0.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn german_is_complete() {
        let german = Language::parse(GERMAN).unwrap();
        assert_eq!((german.tag(), german.name()), ("de", "Deutsch"));
        for text in Text::ALL {
            let same = german.text(*text) == text.english();
            assert!(!same || matches!(text, Text::Plain), "{text:?} is not translated");
        }
        assert_eq!(Language::german().to_string(), german.to_string());
    }

    #[test]
    fn a_language_is_read_back() {
        for language in [Language::english(), Language::german()] {
            assert_eq!(Language::parse(&language.to_string()).unwrap().to_string(), language.to_string());
        }
    }

    #[test]
    fn data_that_is_no_language() {
        let english = Language::english().to_string();
        let with = |from: &str, to: &str| {
            assert!(english.contains(from), "{from}");
            Language::parse(&english.replacen(from, to, 1)).unwrap_err()
        };
        assert_eq!(with("tag: en\n", ""), LanguageError::Missing("tag"));
        assert_eq!(with("bye: Bye\n", ""), LanguageError::Missing("bye"));
        assert_eq!(with("tag: en\n", "tag: e_n\n"), LanguageError::Tag(1));
        assert_eq!(with("tag: en\n", "tag: *\n"), LanguageError::Tag(1));
        assert_eq!(with("tag: en\n", "tag\n"), LanguageError::Malformed(1));
        assert_eq!(with("tag: en\n", "goodbye: x\n"), LanguageError::Unknown(1, "goodbye".into()));
        assert_eq!(with("tag: en\n", "name: x\n"), LanguageError::Repeated(2, "name".into()));
        let unfit = |text: &str| with("tag: en\n", &format!("bye: {text}\n"));
        assert_eq!(unfit("[AUTH] Bye"), LanguageError::Unfit(1, "bye".into()));
        assert_eq!(unfit("a\tb"), LanguageError::Unfit(1, "bye".into()));
        assert_eq!(unfit(&"x".repeat(MAX_TEXT + 1)), LanguageError::Unfit(1, "bye".into()));
        for text in ["{number}", "}", "{"] {
            assert_eq!(unfit(text), LanguageError::Values(1, "bye".into(), String::new()));
        }
        for text in ["none", "{number} {number}", "{number} {octets}", "{{number}}"] {
            let error = with("tag: en\n", &format!("marked: {text}\n"));
            assert_eq!(error, LanguageError::Values(1, "marked".into(), "{number}".into()));
        }

        assert!(Language::parse(&english.replace("failed: {why?}", "failed")).is_ok(), "this value may be left out");
    }

    #[test]
    fn lookup() {
        let other = |tag: &str| {
            Language::parse(&Language::english().to_string().replace("tag: en", &format!("tag: {tag}"))).unwrap()
        };
        let languages = [other("zh-Hant-CN"), Language::english(), other("de-AT"), Language::german()];
        let find = |range: &str| {
            Range::parse(range.as_bytes()).unwrap().lookup(&languages).map(|number| languages[number].tag())
        };
        assert_eq!(find("de"), Some("de"));
        assert_eq!(find("DE-at-1996"), Some("de-AT"));
        assert_eq!(find("de-CH"), Some("de"));
        assert_eq!(find("en-x-pirate-a-b"), Some("en"));
        assert_eq!(find("zh-Hant-CN-x-private1-private2"), Some("zh-Hant-CN"));
        assert_eq!(find("zh-Hant"), None, "a range is no prefix");
        assert_eq!(find("*"), Some("zh-Hant-CN"));
        assert_eq!(find("mul"), None);
        for none in ["", "-", "de-", "d\u{e9}", "1", "abcdefghi", "de_AT", "*-CH", "en--x"] {
            assert_eq!(Range::parse(none.as_bytes()), None, "{none}");
        }
        assert_eq!(Range::parse(b"*").unwrap().lookup(&[]), None);
    }
}
