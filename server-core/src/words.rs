//! Texts with variables, and command lines made of them.
//!
//! A command line is split into words first and its variables are replaced afterwards, each within its word, so that
//! what a client brings along can never become a word of its own. No shell sees any of it.

use std::borrow::Cow;

/// A text with `${name}` in it, ready to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// The place of its name in the list of names.
    Variable(usize),
}

/// What is wrong with a text or a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordsError {
    #[error("unknown variable '{}'", .0.escape_debug())]
    Unknown(Box<str>),
    #[error("'${{' without '}}'")]
    Unclosed,
    #[error("a variable is written '${{{0}}}', not '${0}'")]
    Bare(Box<str>),
    #[error("a quote without its end")]
    Quote,
    #[error("missing program")]
    NoProgram,
    #[error("a variable in the name of the program")]
    VariableProgram,
    #[error("a NUL character")]
    Nul,
}

impl Text {
    /// Reads a text whose variables have the given names. `$$` stands for one `$`.
    pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Self, WordsError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                literal.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let (name, after) = after.split_once('}').ok_or(WordsError::Unclosed)?;
                let place = names.iter().position(|known| *known == name);
                let place = place.ok_or_else(|| WordsError::Unknown(name.into()))?;
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                }
                parts.push(Part::Variable(place));
                rest = after;
            } else if let Some(name) = names.iter().find(|name| rest.starts_with(**name)) {
                // It looks like a variable to whoever knows the shell, and would go unnoticed.
                return Err(WordsError::Bare((*name).into()));
            } else {
                literal.push('$');
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self { parts })
    }

    /// The text with the variables' values, which are in the order of their names.
    pub(crate) fn fill(&self, values: &[Cow<'_, str>]) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => filled.push_str(text),
                Part::Variable(place) => filled.push_str(values.get(*place).map_or("", AsRef::as_ref)),
            }
        }
        filled
    }

    fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_)))
    }
}

/// A program and its arguments, with variables in these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandLine {
    words: Vec<Text>,
}

impl CommandLine {
    /// Splits at blanks; `'…'`, `"…"` and `\` keep what they quote in one word.
    pub(crate) fn parse(line: &str, names: &[&str]) -> Result<Self, WordsError> {
        if line.contains('\0') {
            return Err(WordsError::Nul);
        }
        let words = split(line)?;
        let words = words.iter().map(|word| Text::parse(word, names)).collect::<Result<Vec<_>, _>>()?;
        match words.first() {
            None => Err(WordsError::NoProgram),
            Some(program) if program.parts.is_empty() => Err(WordsError::NoProgram),
            Some(program) if !program.is_fixed() => Err(WordsError::VariableProgram),
            Some(_) => Ok(Self { words }),
        }
    }

    /// The words with the variables' values: as many words as before.
    pub(crate) fn fill(&self, values: &[Cow<'_, str>]) -> Vec<String> {
        self.words.iter().map(|word| word.fill(values)).collect()
    }

    /// The program's name or path.
    pub(crate) fn program(&self) -> String {
        self.words.first().map(|word| word.fill(&[])).unwrap_or_default()
    }
}

fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some('"') | None, '\\') => {
                word.get_or_insert_default().push(characters.next().ok_or(WordsError::Quote)?);
            }
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (None, _) if character.is_ascii_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(WordsError::Quote);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: &[&str] = &["address", "port"];

    fn fill(text: &str) -> String {
        Text::parse(text, NAMES).unwrap().fill(&["192.0.2.1".into(), "143".into()])
    }

    #[test]
    fn variables_are_filled_in() {
        assert_eq!(fill("hit ${address}:${port}!"), "hit 192.0.2.1:143!");
        assert_eq!(fill("${port}${port}"), "143143");
        assert_eq!(fill("$$5 and $5 and $"), "$5 and $5 and $");
        assert_eq!(fill("$${port}"), "${port}");
        assert_eq!(fill(""), "");
    }

    #[test]
    fn faults_in_texts() {
        for (text, error) in [
            ("${user}", "unknown variable 'user'"),
            ("${}", "unknown variable ''"),
            ("${a\nb}", "unknown variable 'a\\nb'"),
            ("${port", "'${' without '}'"),
            ("$port", "a variable is written '${port}', not '$port'"),
        ] {
            assert_eq!(Text::parse(text, NAMES).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn words_are_split_before_they_are_filled() {
        let line = CommandLine::parse(r#"/bin/x  a\ b "c 'd' \" e"'f "g' ${address}- '' "#, NAMES).unwrap();
        assert_eq!(
            line.fill(&["1 2 '".into(), "".into()]),
            ["/bin/x", "a b", "c 'd' \" ef \"g", "1 2 '-", ""].map(String::from)
        );
        assert_eq!(line.program(), "/bin/x");
    }

    #[test]
    fn faults_in_command_lines() {
        for (line, error) in [
            ("", "missing program"),
            ("  ", "missing program"),
            ("'' a", "missing program"),
            ("/bin/x 'a", "a quote without its end"),
            ("/bin/x \"a", "a quote without its end"),
            ("/bin/x \\", "a quote without its end"),
            ("/bin/${port}", "a variable in the name of the program"),
            ("/bin/x ${client}", "unknown variable 'client'"),
            ("/bin/x a\0b", "a NUL character"),
        ] {
            assert_eq!(CommandLine::parse(line, NAMES).unwrap_err().to_string(), error);
        }
    }

    proptest! {
        #[test]
        fn a_value_never_makes_another_word(line in "[a-z$ {}'\"\\\\]{0,30}", value in "\\PC{0,12}") {
            let line = format!("{line} ${{address}}");
            if let Ok(parsed) = CommandLine::parse(&line, NAMES) {
                let with = parsed.fill(&[value.as_str().into(), "".into()]);
                let without = parsed.fill(&["".into(), "".into()]);
                prop_assert_eq!(with.len(), without.len());
            }
        }

        #[test]
        fn any_text_is_read_or_refused(line in "\\PC*") {
            let _ = CommandLine::parse(&line, NAMES);
            if let Ok(text) = Text::parse(&line, NAMES) {
                text.fill(&[]);
            }
        }
    }
}
