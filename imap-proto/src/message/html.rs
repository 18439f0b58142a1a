//! The words of an HTML text, for searching: tags, comments, scripts and styles left out, character references decoded,
//! white space as one space.
//!
//! It reads HTML the way browsers do as far as words go; it builds no tree, resolves nothing and never fails. It takes
//! a text piece by piece and keeps no more than a name of [`MAX_NAME`] octets.

/// Longest name of an element or character reference that is looked at: more than any has.
const MAX_NAME: usize = 40;

/// Elements that stand within a line: they don't part words.
const INLINE: [&str; 31] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "mark", "nobr", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "wbr",
];

/// Elements whose content is not text.
const HIDDEN: [&str; 3] = ["script", "style", "template"];

/// Takes HTML and gives its words.
#[derive(Debug, Default)]
pub(super) struct HtmlText {
    state: State,
    /// The name at work: of an element, of a character reference, or of the hidden element that has to end.
    name: String,
    /// The element whose content is left out.
    hidden: Option<&'static str>,
    /// White space is due before the next word.
    space: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Text,
    /// After `&`.
    Reference,
    /// After `<`.
    Open,
    /// In the name of an element.
    Name,
    /// After it: nothing, an equals sign, or one and a quote.
    Attributes { equals: bool, quote: Option<char> },
    /// After `<!`: how many dashes followed.
    Declaration { dashes: u8 },
    /// In a comment: how many dashes came last.
    Comment { dashes: u8 },
}

impl HtmlText {
    /// Takes the next piece and appends its words.
    pub(super) fn push(&mut self, piece: &str, out: &mut String) {
        for character in piece.chars() {
            self.take(character, out);
        }
    }

    /// The text ends.
    pub(super) fn finish(&mut self, out: &mut String) {
        match self.state {
            State::Reference => self.reference(None, out),
            State::Open => self.word('<', out),
            _ => {}
        }
        *self = Self::default();
    }

    fn take(&mut self, character: char, out: &mut String) {
        self.state = match self.state {
            State::Text => self.text(character, out),
            State::Reference if character.is_ascii_alphanumeric() || (character == '#' && self.name.is_empty()) => {
                if self.name.len() == MAX_NAME {
                    self.reference(None, out);
                    self.text(character, out)
                } else {
                    self.name.push(character);
                    State::Reference
                }
            }
            State::Reference => {
                self.reference(Some(character), out);
                if character == ';' { State::Text } else { self.text(character, out) }
            }
            State::Open => match character {
                // A script may compare: nothing but its end is looked for.
                'a'..='z' | 'A'..='Z' | '/' if self.hidden.is_none() || character == '/' => {
                    self.name.clear();
                    self.name.push(character.to_ascii_lowercase());
                    State::Name
                }
                '!' | '?' if self.hidden.is_none() => State::Declaration { dashes: 0 },
                _ => {
                    self.word('<', out);
                    self.text(character, out)
                }
            },
            State::Name => match character {
                '>' => self.element(),
                ' ' | '\t' | '\r' | '\n' | '\x0c' => State::Attributes { equals: false, quote: None },
                '/' => State::Attributes { equals: false, quote: None },
                _ => {
                    if self.name.len() < MAX_NAME {
                        self.name.push(character.to_ascii_lowercase());
                    }
                    State::Name
                }
            },
            State::Attributes { quote: Some(quote), .. } => {
                let quote = Some(quote).filter(|quote| *quote != character);
                State::Attributes { equals: false, quote }
            }
            State::Attributes { equals, .. } => match character {
                '>' => self.element(),
                '=' => State::Attributes { equals: true, quote: None },
                '"' | '\'' if equals => State::Attributes { equals: false, quote: Some(character) },
                _ => State::Attributes { equals: equals && character.is_ascii_whitespace(), quote: None },
            },
            State::Declaration { dashes } => match character {
                '>' => State::Text,
                '-' if dashes == 0 => State::Declaration { dashes: 1 },
                '-' if dashes == 1 => State::Comment { dashes: 2 },
                _ => State::Declaration { dashes: 2 },
            },
            State::Comment { dashes } => match character {
                '>' if dashes >= 2 => State::Text,
                '-' => State::Comment { dashes: (dashes + 1).min(2) },
                _ => State::Comment { dashes: 0 },
            },
        };
    }

    fn text(&mut self, character: char, out: &mut String) -> State {
        match character {
            '<' => return State::Open,
            '&' if self.hidden.is_none() => {
                self.name.clear();
                return State::Reference;
            }
            _ => self.word(character, out),
        }
        State::Text
    }

    fn word(&mut self, character: char, out: &mut String) {
        if self.hidden.is_some() {
            return;
        }
        match character {
            // The no-break space looks like any other.
            ' ' | '\t' | '\r' | '\n' | '\x0c' | '\u{a0}' => self.space = true,
            // Where a word might be parted, which is none of its letters.
            '\u{ad}' | '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}' => {}
            _ => {
                if std::mem::take(&mut self.space) {
                    out.push(' ');
                }
                out.push(character);
            }
        }
    }

    /// What stands for a character. What names none stays as it is.
    fn reference(&mut self, end: Option<char>, out: &mut String) {
        let name = std::mem::take(&mut self.name);
        let mut decoded = String::new();
        // Old texts leave out the semicolon.
        mail_parser::decoders::html::add_html_token(&mut decoded, format!("&{name};").as_bytes(), false);
        let mut characters = decoded.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) => self.word(character, out),
            _ => {
                self.word('&', out);
                name.chars().for_each(|character| self.word(character, out));
                if end == Some(';') {
                    self.word(';', out);
                }
            }
        }
        self.name = name;
        self.name.clear();
    }

    /// A tag has ended.
    fn element(&mut self) -> State {
        let (end, name) = match self.name.strip_prefix('/') {
            Some(name) => (true, name),
            None => (false, self.name.as_str()),
        };
        match self.hidden {
            Some(hidden) if end && name == hidden => self.hidden = None,
            Some(_) => {}
            None => {
                self.hidden = HIDDEN.into_iter().find(|hidden| !end && *hidden == name);
                self.space |= !INLINE.contains(&name);
            }
        }
        State::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(html: &str, words: &str) {
        for size in [1, 3, usize::MAX] {
            let (mut text, mut out) = (HtmlText::default(), String::new());
            let mut piece = String::new();
            for character in html.chars() {
                piece.push(character);
                if piece.len() >= size {
                    text.push(&piece, &mut out);
                    piece.clear();
                }
            }
            text.push(&piece, &mut out);
            text.finish(&mut out);
            assert_eq!(out, words, "{html} by {size}");
        }
    }

    #[test]
    fn references_are_decoded() {
        check("caf&eacute; &#233; &#xE9;&amp;&AMP; &#128512;", "café é é&& 😀");
        check("a&nbsp;b co&shy;operate &lt;b&gt;", "a b cooperate <b>");
        check(
            "&eacute &nosuch; &; & && &#; &#x; &#xD800; AT&T a&b=c",
            "é &nosuch; &; & && &#; &#x; \u{fffd} AT&T a&b=c",
        );
        check("&", "&");
        check("&eacute", "é");
        let long = format!("&{}", "a".repeat(200));
        check(&long, &long);
    }

    #[test]
    fn tags_are_left_out() {
        check("<b>Hel</b>lo <i class=\"a>b\">world</i>", "Hello world");
        check("<p>one</p><p>two<br/>three<td>four", " one two three four");
        check("1 < 2 <3 a<", "1 < 2 <3 a<");
        check("<a href=x'y>z</a> <a href = \"'>\" >q</a>", "z q");
        check("a<!-- <b> -- > - -->b<!DOCTYPE html>c<?xml?>d<!-->e<!--->f", "abcdef");
        check("<style>p { x > y }</style>a<SCRIPT>if (a<b=\"</b>'</script>b", " a b");
        check("line\r\n  and\tline", "line and line");
        check("<unfinished attr", "");
    }

    #[test]
    fn names_are_looked_up_without_fail() {
        let mut text = HtmlText::default();
        let mut out = String::new();
        for length in 0..=MAX_NAME + 1 {
            for character in ['#', '0', '9', 'A', 'Z', 'a', 'z'] {
                text.push(
                    &format!("&{};&#{1}&#x{1};", character.to_string().repeat(length), "9".repeat(length)),
                    &mut out,
                );
            }
        }
        text.finish(&mut out);
        assert!(!out.is_empty());
    }
}
