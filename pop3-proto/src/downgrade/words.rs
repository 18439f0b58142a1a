//! Encoded words (RFC 2047), and lines of headers that are folded again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where a line with an encoded word ends at the latest (RFC 2047, section 2).
const LINE: usize = 76;
/// The longest encoded word.
const WORD: usize = 75;
/// Text of more octets than this is encoded as a whole, and in whatever takes less room.
pub(super) const LONG: usize = 1024;
/// With room for less, an encoded word begins on the next line.
const SHORT_WORD: usize = 36;

/// A header field that is being written. It is folded only in front of blanks that are there anyway, so that unfolding
/// gives the text back.
#[derive(Debug)]
pub(super) struct Folded {
    out: Vec<u8>,
    column: usize,
}

impl Folded {
    /// Begins with the name and the colon.
    pub(super) fn new(name: &[u8]) -> Self {
        let mut folded = Self { out: Vec::with_capacity(128), column: 0 };
        folded.raw(name);
        folded.raw(b":");
        folded
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Octets as they are.
    pub(super) fn raw(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
        self.column = match octets.iter().rposition(|octet| *octet == b'\n') {
            Some(end) => octets.len() - end - 1,
            None => self.column + octets.len(),
        };
    }

    /// Blanks, at least one, and a word of ASCII; on a line of its own if it does not fit here.
    pub(super) fn word(&mut self, blanks: &[u8], word: &[u8]) {
        if self.column + blanks.len() + word.len() > LINE && !word.is_empty() && !self.is_empty_line() {
            self.raw(b"\r\n");
        }
        self.raw(blanks);
        self.raw(word);
    }

    /// A blank, and any text as encoded words.
    pub(super) fn encoded(&mut self, text: &[u8]) {
        let room = self.room(1);
        encode(text, room, &mut |word| self.word(b" ", word));
    }

    /// Text with its blanks: words of ASCII stay, and so do encoded words that are there; all others are encoded.
    pub(super) fn text(&mut self, text: &[u8]) {
        // In a long text each change to and fro would cost more than what it keeps readable.
        let joins = |word: &[u8]| !word.is_ascii() || text.len() > LONG;
        let mut words = Words(text).peekable();
        let mut after_encoded = false;
        while let Some(Word { blanks, word }) = words.next() {
            if word.is_ascii() {
                self.word(&one_at_least(blanks), word);
                after_encoded = is_encoded(word);
                continue;
            }
            // Blanks between encoded words are not shown (RFC 2047, section 6.2): those that matter go into one.
            let mut run = if after_encoded { one_at_least(blanks) } else { Vec::new() };
            let before = if after_encoded { b" ".to_vec() } else { one_at_least(blanks) };
            run.extend_from_slice(word);
            while let Some(next) = words.next_if(|next| joins(next.word)) {
                run.extend(one_at_least(next.blanks));
                run.extend_from_slice(next.word);
            }
            if let Some(next) = words.peek().filter(|next| is_encoded(next.word)) {
                run.extend(one_at_least(next.blanks));
            }
            let room = self.room(before.len());
            let mut blanks = Some(before);
            encode(&run, room, &mut |word| self.word(blanks.take().as_deref().unwrap_or(b" "), word));
            after_encoded = true;
        }
    }

    /// How long an encoded word may be here, or on the next line if here is little room.
    fn room(&self, blanks: usize) -> usize {
        let room = LINE.saturating_sub(self.column + blanks).min(WORD);
        if room < SHORT_WORD { WORD } else { room }
    }

    /// The field with this line end. Blanks at its end go: with a fold before them they would be a line of nothing else,
    /// which ends the header for some.
    pub(super) fn finish(mut self, line_end: &[u8]) -> Vec<u8> {
        self.out.truncate(self.out.trim_ascii_end().len());
        self.out.extend_from_slice(line_end);
        // It may wait in the output for a while.
        self.out.shrink_to_fit();
        self.out
    }

    /// Nothing but blanks stands in the line: a fold here would leave an empty one.
    fn is_empty_line(&self) -> bool {
        let line = self.out.get(self.out.len().saturating_sub(self.column)..).unwrap_or_default();
        line.iter().all(u8::is_ascii_whitespace)
    }
}

/// Words and the blanks before them. Line ends are none of them.
struct Words<'a>(&'a [u8]);

struct Word<'a> {
    blanks: &'a [u8],
    word: &'a [u8],
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let start = self.0.iter().position(|octet| !is_blank(*octet))?;
        let (blanks, rest) = self.0.split_at_checked(start)?;
        let end = rest.iter().position(|octet| is_blank(*octet)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end)?;
        self.0 = rest;
        Some(Word { blanks, word })
    }
}

/// Blanks without line ends.
fn one_at_least(blanks: &[u8]) -> Vec<u8> {
    let mut kept: Vec<u8> = blanks.iter().copied().filter(|octet| matches!(octet, b' ' | b'\t')).collect();
    if kept.is_empty() {
        kept.push(b' ');
    }
    kept
}

pub(super) const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether a word is, or is meant to be, an encoded word.
pub(super) fn is_encoded(word: &[u8]) -> bool {
    word.len() > 6 && word.starts_with(b"=?") && word.ends_with(b"?=") && word.is_ascii()
}

/// Gives text as encoded words of at most 75 octets, in Q, which many can read as it is, unless B takes
/// less than half the room, or the text is long and B takes less room. Octets that are no UTF-8 are
/// marked so (RFC 1428, section 3): the reader gets what the writer sent, and no guess. The first word has at most so
/// many octets.
fn encode(text: &[u8], first: usize, each: &mut dyn FnMut(&[u8])) {
    let is_utf8 = std::str::from_utf8(text).is_ok();
    let charset: &[u8] = if is_utf8 { b"utf-8" } else { b"unknown-8bit" };
    let in_q: usize = text.iter().map(|octet| q_length(*octet)).sum();
    let in_b = text.len().div_ceil(3) * 4;
    let b = 2 * in_b < in_q || (text.len() > LONG && in_b < in_q);
    let frame = b"=??Q??=".len() + charset.len();
    let mut room = first.saturating_sub(frame);
    let mut rest = text;
    while !rest.is_empty() {
        let (mut taken, mut cost) = (0, 0);
        while let Some(unit) = rest.get(taken..).filter(|rest| !rest.is_empty()).map(|rest| unit(rest, is_utf8)) {
            cost += unit.iter().map(|octet| q_length(*octet)).sum::<usize>();
            let fits = if b { (taken + unit.len()).div_ceil(3) * 4 <= room } else { cost <= room };
            if !fits {
                break;
            }
            taken += unit.len();
        }
        // One character always fits.
        let Some((now, later)) = rest.split_at_checked(taken.max(1)) else { return };
        rest = later;
        let mut word = [&b"=?"[..], charset, if b { b"?B?" } else { b"?Q?" }].concat();
        if b {
            word.extend_from_slice(STANDARD.encode(now).as_bytes());
        } else {
            now.iter().for_each(|octet| q(*octet, &mut word));
        }
        word.extend_from_slice(b"?=");
        each(&word);
        room = WORD - frame;
    }
}

/// The first character, or octet.
fn unit(rest: &[u8], is_utf8: bool) -> &[u8] {
    let more = rest.iter().skip(1).take_while(|octet| is_utf8 && **octet & 0xc0 == 0x80).count();
    rest.get(..=more).unwrap_or_default()
}

/// What may stand for itself even in a phrase (RFC 2047, section 5, rule 3).
const fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'!' | b'*' | b'+' | b'-' | b'/')
}

const fn q_length(octet: u8) -> usize {
    if is_plain(octet) || octet == b' ' { 1 } else { 3 }
}

fn q(octet: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    match octet {
        b' ' => out.push(b'_'),
        _ if is_plain(octet) => out.push(octet),
        _ => {
            out.push(b'=');
            out.extend([octet >> 4, octet & 15].into_iter().filter_map(|digit| DIGITS.get(usize::from(digit))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> String {
        let mut folded = Folded::new(b"Subject");
        folded.text(text.as_bytes());
        String::from_utf8(folded.finish(b"")).unwrap()
    }

    #[test]
    fn only_what_needs_it_is_encoded() {
        assert_eq!(subject(" Re: caf\u{e9} tomorrow"), "Subject: Re: =?utf-8?Q?caf=C3=A9?= tomorrow");
        assert_eq!(subject(" Z\u{fc}rich B\u{f6}blingen"), "Subject: =?utf-8?Q?Z=C3=BCrich_B=C3=B6blingen?=");
        assert_eq!(subject("\u{e9}"), "Subject: =?utf-8?Q?=C3=A9?=");
        assert_eq!(subject(" \u{30e1}\u{30fc}\u{30eb}"), "Subject: =?utf-8?B?44Oh44O844Or?=");
        assert_eq!(subject(" a  b\r\n\t\u{e9}"), "Subject: a  b\t=?utf-8?Q?=C3=A9?=");
    }

    #[test]
    fn blanks_beside_encoded_words_are_kept() {
        assert_eq!(subject(" =?utf-8?Q?a?= \u{e9}"), "Subject: =?utf-8?Q?a?= =?utf-8?Q?_=C3=A9?=");
        assert_eq!(subject(" \u{e9} =?utf-8?Q?a?="), "Subject: =?utf-8?Q?=C3=A9_?= =?utf-8?Q?a?=");
    }

    #[test]
    fn other_octets_are_marked_as_unknown() {
        let mut folded = Folded::new(b"Subject");
        folded.text(b" caf\xe9");
        assert_eq!(folded.finish(b"\n"), b"Subject: =?unknown-8bit?Q?caf=E9?=\n");
    }

    #[test]
    fn lines_and_words_stay_short() {
        for char in ["\u{e9}", "\u{20ac}", "\u{1f600}", "a\u{e9}"] {
            let text = format!(" {}", char.repeat(200));
            let shown = subject(&text);
            assert!(shown.split("\r\n").all(|line| line.len() <= LINE), "{shown}");
            for word in shown.split([' ', '\r', '\n']).filter(|word| word.starts_with("=?")) {
                assert!(word.len() <= WORD && word.ends_with("?="), "{word}");
            }
            assert!(!shown.contains("\r\n\r\n"), "{shown}");
        }
    }
}
