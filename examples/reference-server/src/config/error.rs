//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A fault in a configuration.
#[derive(Debug)]
pub(super) struct ConfigError {
    place: Place,
    text: String,
}

#[derive(Debug)]
enum Place {
    /// In the file.
    Line(PathBuf, usize),
    /// Said by `--set`, with this key.
    CommandLine(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line(file, line) => write!(f, "{}:{line}: {}", file.display(), self.text),
            Place::CommandLine(key) => write!(f, "--set {key}: {}", self.text),
        }
    }
}

/// A setting of the command line, which wins over the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    key: String,
    value: String,
}

impl std::str::FromStr for Set {
    type Err = &'static str;

    /// Takes `KEY=VALUE` apart. The value is TOML, or else a text without quotes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
            }
            _ => Err("no KEY=VALUE"),
        }
    }
}

/// A configuration's text, for telling where a fault is.
pub(super) struct Source<'a> {
    text: &'a str,
    file: &'a Path,
    /// What `--set` said. Its places are counted on from the end of the file.
    sets: Vec<(usize, &'a Override<'a>)>,
    document: Spanned<DeTable<'a>>,
    /// Finds variables of the environment.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Source<'a> {
    /// Reads the file's text, and puts the settings of the command line over it.
    pub(super) fn read(
        text: &'a str,
        file: &'a Path,
        overrides: &'a [Override<'a>],
        env: &'a dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let document = Spanned::new(0..0, DeTable::new());
        let mut source = Self { text, file, sets: Vec::new(), document, env };
        source.document = DeTable::parse(text).map_err(|error| source.toml(&error))?;
        for set in overrides {
            source.sets.push((set.at, set));
            let over = DeTable::parse(&set.text).map_err(|error| ConfigError {
                place: Place::CommandLine(set.key.to_owned()),
                text: error.message().to_owned(),
            })?;
            merge(source.document.get_mut(), over.into_inner());
        }
        Ok(source)
    }

    /// The whole in its form.
    pub(super) fn deserialize<T: serde::de::DeserializeOwned>(&self) -> Result<T, ConfigError> {
        T::deserialize(toml::de::Deserializer::from(self.document.clone())).map_err(|error| self.toml(&error))
    }

    /// A fault of the thing at this place: the line and the key are named.
    pub(super) fn error(&self, at: &Range<usize>, text: impl fmt::Display) -> ConfigError {
        let text = match self.key_at(at.start) {
            Some(key) => format!("{key}: {text}"),
            None => text.to_string(),
        };
        self.plain(at.start, text)
    }

    /// A fault that the TOML parser or serde found.
    fn toml(&self, error: &toml::de::Error) -> ConfigError {
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
            // There is no document to find the key in.
            None if message == "duplicate key" => {
                let start = self.text.get(..at.start).and_then(|text| text.rfind('\n')).map_or(0, |at| at + 1);
                let line = self.text.get(start..).and_then(|text| text.lines().next()).unwrap_or_default();
                // The value may be a secret.
                let key = line.split('=').next().unwrap_or_default();
                self.plain(at.start, format!("{message}: {}", key.trim()))
            }
            None => self.error(&at, message),
        }
    }

    fn plain(&self, at: usize, text: String) -> ConfigError {
        if let Some((_, set)) = self.sets.iter().rev().find(|(start, _)| at >= *start) {
            return ConfigError { place: Place::CommandLine(set.key.to_owned()), text };
        }
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError { place: Place::Line(self.file.to_owned(), line), text }
    }

    /// What stands at this place, as it was written.
    pub(super) fn written(&self, at: &Range<usize>) -> Option<&str> {
        let set = self.sets.iter().rev().find(|(start, _)| at.start >= *start);
        set.map_or(self.text, |(_, set)| &set.text).get(at.clone())
    }

    /// The dotted key whose name or value is at this place.
    fn key_at(&self, at: usize) -> Option<String> {
        let mut path = String::new();
        let mut table = self.document.get_ref();
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

/// A setting of the command line as a document whose places are counted on from the end of the file.
pub(super) struct Override<'a> {
    at: usize,
    key: &'a str,
    text: String,
}

impl<'a> Override<'a> {
    /// Those for a file of this length.
    pub(super) fn all(sets: &'a [Set], length: usize) -> Vec<Self> {
        let mut at = length + 1;
        let mut all = Vec::with_capacity(sets.len());
        for set in sets {
            let padded = |value: &str| format!("{}{} = {value}", " ".repeat(at), set.key);
            let mut text = padded(&set.value);
            // What is no TOML value stands for itself.
            if DeTable::parse(&text).is_err() {
                text = padded(&super::show::text(&set.value));
            }
            let end = text.len() + 1;
            all.push(Self { at, key: &set.key, text });
            at = end;
        }
        all
    }
}

/// Puts a table over another one: what is a table in both is merged, anything else replaced. Depth is bounded by the
/// TOML parser's own limit.
fn merge<'a>(into: &mut DeTable<'a>, over: DeTable<'a>) {
    for (key, value) in over {
        let both = into.get_mut(&key).map(Spanned::get_mut);
        match (both, value) {
            (Some(DeValue::Table(old)), value) if matches!(value.get_ref(), DeValue::Table(_)) => {
                if let DeValue::Table(new) = value.into_inner() {
                    merge(old, new);
                }
            }
            (_, value) => {
                into.remove(&key);
                into.insert(key, value);
            }
        }
    }
}

/// Whether something inside this value is at this place. The span of a table is that of its header only. Depth is
/// bounded by the TOML parser's own limit.
fn holds(value: &DeValue<'_>, at: usize) -> bool {
    match value {
        DeValue::Table(inner) => inner_holds(inner, at),
        DeValue::Array(items) => items.iter().any(|item| holds(item.get_ref(), at)),
        _ => false,
    }
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
