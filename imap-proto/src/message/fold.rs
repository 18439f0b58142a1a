//! Comparison without case for searches: i;unicode-casemap (RFC 5051), and a little more.
//!
//! Texts are compared by their folded form: compatibility decomposition (RFC 5051, section 2), then full case mapping, so
//! that `ß` finds `SS`, which the RFC's simple mapping does not. White space and diacritics count: a letter with marks is
//! another one than without, wherever it stands in what is searched for, and however its marks are written.

use memchr::memmem::Finder;
use unicode_normalization::char::{canonical_combining_class, decompose_compatible};

/// A text to search for, folded once.
///
/// ```
/// use pillarbox_imap_proto::message::Needle;
///
/// assert!(Needle::new("STRASSE").is_in_text("Hauptstra\u{df}e 1"));
/// assert!(!Needle::new("resume").is_in_text("r\u{e9}sum\u{e9}"));
/// assert!(Needle::new("").is_in_text(""));
/// ```
#[derive(Clone, Debug)]
pub struct Needle {
    finder: Finder<'static>,
}

impl Needle {
    /// Folds the text to search for.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { finder: Finder::new(&fold(text)).into_owned() }
    }

    /// Whether the text to search for is empty: it is in every text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.finder.needle().is_empty()
    }

    /// Whether it is in a text that [`fold`] has folded.
    #[must_use]
    pub fn is_in(&self, folded: &[u8]) -> bool {
        self.finder.find(folded).is_some()
    }

    /// Whether it is in a text.
    #[must_use]
    pub fn is_in_text(&self, text: &str) -> bool {
        self.is_in(&fold(text))
    }

    /// The length of the folded text.
    pub(super) fn len(&self) -> usize {
        self.finder.needle().len()
    }
}

/// Folds a text, for [`Needle::is_in`]. The octets are good for nothing else: letters with marks have an encoding of
/// their own.
#[must_use]
pub fn fold(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    Folder::default().push(text, &mut out);
    out
}

/// Folds a text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The last letter written, and where it starts in the output: the next character may be a mark on it.
    base: Option<(usize, char)>,
}

/// Begins the encoding of a letter with marks. UTF-8 has no such octet, and letters without marks do not match in what
/// follows, as that is continuation octets only.
const MARKED: u8 = 0xF8;

impl Folder {
    /// Appends the folded piece to `out`, whose end may be changed.
    pub(super) fn push(&mut self, text: &str, out: &mut Vec<u8>) {
        let mut rest = text;
        while !rest.is_empty() {
            let ascii = rest.bytes().position(|octet| !octet.is_ascii()).unwrap_or(rest.len());
            let (run, after) = rest.split_at_checked(ascii).unwrap_or((rest, ""));
            if let Some(last) = run.bytes().last() {
                out.extend(run.bytes().map(|octet| octet.to_ascii_uppercase()));
                self.base = Some((out.len() - 1, char::from(last.to_ascii_uppercase())));
            }
            let mut characters = after.chars();
            if let Some(character) = characters.next() {
                self.character(character, out);
            }
            rest = characters.as_str();
        }
    }

    /// From where on the output may still change.
    pub(super) fn stable(&self, len: usize) -> usize {
        self.base.map_or(len, |(start, _)| start.min(len))
    }

    /// Says that octets were removed from the front of the output.
    pub(super) fn removed(&mut self, octets: usize) {
        if let Some((start, _)) = &mut self.base {
            *start = start.saturating_sub(octets);
        }
    }

    fn character(&mut self, character: char, out: &mut Vec<u8>) {
        // UnicodeData.txt has no decompositions for Hangul syllables.
        if matches!(character, '\u{AC00}'..='\u{D7A3}') {
            return self.letter(character, out);
        }
        decompose_compatible(character, |part| {
            if canonical_combining_class(part) != 0 {
                // Lowercase and uppercase of a mark may be letters (U+0345).
                self.mark(part, out);
            } else {
                // By way of lowercase, as some letters are the uppercase of nothing.
                for upper in part.to_lowercase().flat_map(char::to_uppercase) {
                    if canonical_combining_class(upper) == 0 { self.letter(upper, out) } else { self.mark(upper, out) }
                }
            }
        });
    }

    fn letter(&mut self, letter: char, out: &mut Vec<u8>) {
        self.base = Some((out.len(), letter));
        put(letter, out);
    }

    fn mark(&mut self, mark: char, out: &mut Vec<u8>) {
        if let Some((start, letter)) = self.base.take() {
            out.truncate(start);
            let code = u32::from(letter);
            let six = |shift: u32| 0x80 | (code >> shift & 0x3F) as u8;
            out.extend_from_slice(&[MARKED, six(18), six(12), six(6), six(0)]);
        }
        put(mark, out);
    }
}

fn put(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_does_not_count() {
        for (needle, text) in [
            ("HELLO", "say hello"),
            ("отпуск", "ОТПУСК"),
            ("ÉTÉ", "été"),
            ("strasse", "STRAßE"),
            ("STRAẞE", "strasse"),
            ("σοφος", "ΣΟΦΟΣ"),
            ("ΣΟΦΟΣ", "σοφος"),
            ("ǆ", "Ǆ"),
            ("ǅ", "ǆ"),
            ("office", "oﬃce"),
            ("k", "\u{212A}"),
            ("ა", "Ა"),
        ] {
            assert!(Needle::new(needle).is_in_text(text), "{needle} in {text}");
        }
    }

    #[test]
    fn marks_and_spaces_count() {
        for (needle, text) in [
            ("ete", "été"),
            ("cafe", "café"),
            ("cafe", "cafe\u{301}"),
            ("caf", "café f"),
            ("esume", "\u{e9}sume"),
            ("ab", "a b"),
            ("한", "하"),
            ("하", "한"),
        ] {
            assert_eq!(Needle::new(needle).is_in_text(text), needle == "caf", "{needle} in {text}");
        }
        assert!(Needle::new("cafe\u{301}").is_in_text("un café noir"));
        assert!(Needle::new("café").is_in_text("un cafe\u{301} noir"));
        assert!(Needle::new("a b").is_in_text("a\u{a0}b"));
    }

    proptest! {
        #[test]
        fn a_text_is_in_itself(text in any::<String>(), upper in any::<bool>()) {
            let other = if upper { text.to_uppercase() } else { text.clone() };
            prop_assert!(Needle::new(&text).is_in_text(&other) || upper);
            if text.is_ascii() {
                prop_assert!(Needle::new(&text).is_in_text(&text.to_lowercase()));
            }
        }

        #[test]
        fn pieces_do_not_matter(text in "[aé\u{301}ß한 ]{0,20}") {
            let mut out = Vec::new();
            let mut folder = Folder::default();
            for character in text.chars() {
                folder.push(character.encode_utf8(&mut [0; 4]), &mut out);
            }
            prop_assert_eq!(out, fold(&text));
        }
    }
}
