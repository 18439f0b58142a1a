//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// A fault in a configuration file.
#[derive(Debug)]
pub(super) struct ConfigError {
    file: PathBuf,
    line: usize,
    text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.text)
    }
}

/// A configuration file's text, for telling where a fault is.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) file: &'a Path,
}

impl Source<'_> {
    /// A fault of the thing at this place: the line and the key are named.
    pub(super) fn error(&self, at: &Range<usize>, text: impl fmt::Display) -> ConfigError {
        let text = match self.key_at(at.start) {
            Some(key) => format!("{key}: {text}"),
            None => text.to_string(),
        };
        self.plain(at.start, text)
    }

    /// A fault of the whole file.
    pub(super) fn whole(&self, text: impl fmt::Display) -> ConfigError {
        self.plain(0, text.to_string())
    }

    /// A fault that the TOML parser or serde found.
    pub(super) fn toml(&self, error: &toml::de::Error) -> ConfigError {
        let message = error.message();
        let Some(at) = error.span() else { return self.plain(0, message.to_owned()) };
        match unknown(message, "unknown field ") {
            Some((unknown, known)) => {
                let key = self.key_at(at.start).unwrap_or_else(|| unknown.to_owned());
                let hint = match nearest(unknown, &known) {
                    Some(nearest) => format!("did you mean \"{nearest}\"?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                self.plain(at.start, format!("unknown key {key}; {hint}"))
            }
            None => self.error(&at, message),
        }
    }

    fn plain(&self, at: usize, text: String) -> ConfigError {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError { file: self.file.to_owned(), line, text }
    }

    /// The dotted key whose name or value is at this place.
    fn key_at(&self, at: usize) -> Option<String> {
        let document = DeTable::parse(self.text).ok()?;
        let mut path = String::new();
        let mut table = document.get_ref();
        loop {
            let found = table.iter().find(|(key, value)| {
                key.span().contains(&at) || value.span().contains(&at) || holds(value.get_ref(), at)
            });
            let Some((key, value)) = found else { break };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&quoted(key.get_ref()));
            if key.span().contains(&at) && !matches!(value.get_ref(), DeValue::Table(inner) if inner_holds(inner, at)) {
                break;
            }
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        (!path.is_empty()).then_some(path)
    }
}

/// Whether something inside this value is at this place. The span of a table is that of its header only. Depth is
/// bounded by the TOML parser's own limit.
fn holds(value: &DeValue<'_>, at: usize) -> bool {
    matches!(value, DeValue::Table(inner) if inner_holds(inner, at))
}

fn inner_holds(table: &DeTable<'_>, at: usize) -> bool {
    table
        .iter()
        .any(|(key, value)| key.span().contains(&at) || value.span().contains(&at) || holds(value.get_ref(), at))
}

/// A key as TOML writes it.
pub(crate) fn quoted(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { format!("{key:?}") }
}

/// Takes serde's message about an unknown name apart: the name, and the ones that are known.
fn unknown<'m>(message: &'m str, start: &str) -> Option<(&'m str, Vec<&'m str>)> {
    let mut names = message.strip_prefix(start)?.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    Some((unknown, names.collect()))
}

/// The known name that a wrong one was most likely meant to be.
pub(super) fn nearest<'k>(wrong: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|known| (distance(wrong, known), *known)).min()?;
    let close = wrong.chars().count().max(best.1.chars().count()).div_ceil(2);
    (best.0 <= close).then_some(best.1)
}

/// Insertions, removals and replacements that make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (pair, to) in row.windows(2).zip(&b) {
            if let [diagonal, above] = pair {
                left = (diagonal + usize::from(from != *to)).min(above + 1).min(left + 1);
                next.push(left);
            }
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("protocol", "protocol", 0),
            ("prot", "protocol", 4),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_name() {
        assert_eq!(nearest("protocl", &["bind", "protocol"]), Some("protocol"));
        assert_eq!(nearest("banana", &["x", "protocol"]), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
