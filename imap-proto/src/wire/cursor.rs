//! A place in a finished command, and the tokens of the grammar.

use super::chars;
use super::error::{ParseError, ParseErrorKind};
use super::limits::ParseLimits;
use super::string::AString;

/// What parsers return. The error itself is kept by the cursor, so that results are small enough for registers.
pub(crate) type Result<T> = std::result::Result<T, Failed>;

/// A parser has failed; [`Cursor::into_error`] tells why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

/// Reads tokens from a finished command. Every method either takes a whole token or fails.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
    pub(crate) limits: ParseLimits,
    error: Option<(ParseErrorKind, usize)>,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(input: &'a [u8], limits: ParseLimits) -> Self {
        Self { input, at: 0, limits, error: None }
    }

    /// For reading again what a parser has checked.
    pub(crate) const fn checked(input: &'a [u8]) -> Self {
        Self::new(input, ParseLimits::CHECKED)
    }

    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.input.get(start..self.at).unwrap_or_default()
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.input.len()
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn peek_second(&self) -> Option<u8> {
        self.input.get(self.at + 1).copied()
    }

    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes this many bytes.
    pub(crate) fn skip(&mut self, length: usize) -> Result<()> {
        if self.rest().len() < length {
            return self.fail(ParseErrorKind::Expected("more"));
        }
        self.at += length;
        Ok(())
    }

    /// Fails here.
    #[cold]
    pub(crate) fn fail<T>(&mut self, kind: ParseErrorKind) -> Result<T> {
        self.fail_at(self.at, kind)
    }

    /// Fails at another place.
    #[cold]
    pub(crate) fn fail_at<T>(&mut self, offset: usize, kind: ParseErrorKind) -> Result<T> {
        self.error = Some((kind, offset));
        Err(Failed)
    }

    /// Why a parser has failed.
    #[cold]
    pub(crate) fn into_error(self) -> ParseError {
        let (kind, offset) = self.error.unwrap_or((ParseErrorKind::Expected("something else"), self.at));
        ParseError::new(kind, offset, self.input)
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, what: &'static str) -> Result<()> {
        if self.eat(byte) { Ok(()) } else { self.fail(ParseErrorKind::Expected(what)) }
    }

    #[inline]
    pub(crate) fn space(&mut self) -> Result<()> {
        self.expect(b' ', "a space")
    }

    #[inline]
    pub(crate) fn open(&mut self) -> Result<()> {
        self.expect(b'(', "\"(\"")
    }

    #[inline]
    pub(crate) fn close(&mut self) -> Result<()> {
        self.expect(b')', "\")\"")
    }

    /// The line's end and with it the command's.
    #[inline(always)]
    pub(crate) fn end(&mut self) -> Result<()> {
        match self.rest() {
            [b'\r', b'\n'] | [b'\n'] => {
                self.at = self.input.len();
                Ok(())
            }
            [] | [b'\r', b'\n', ..] | [b'\n', ..] => self.fail(ParseErrorKind::Expected("the end of the command")),
            _ => self.fail(ParseErrorKind::Expected("the end of the line")),
        }
    }

    #[inline(always)]
    pub(crate) fn take_while(&mut self, class: u8) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !chars::is(*byte, class)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    #[inline(always)]
    pub(crate) fn take_some(&mut self, class: u8, what: &'static str) -> Result<&'a [u8]> {
        let taken = self.take_while(class);
        if taken.is_empty() { self.fail(ParseErrorKind::Expected(what)) } else { Ok(taken) }
    }

    /// A word of the grammar as its [`chars::key`].
    #[inline]
    pub(crate) fn word(&mut self) -> u128 {
        // This runs for every word of every command: four letters at a time, which do not wait for one another, and two
        // halves, because shifting 64 bits is one instruction.
        let (mut first, mut second) = (0_u64, 0_u64);
        let mut rest = self.rest();
        let whole = rest.len();
        while let [a, b, c, d, after @ ..] = rest {
            let letters = [*a, *b, *c, *d].map(chars::in_word);
            if letters.contains(&0) {
                break;
            }
            second = second << 32 | first >> 32;
            first = first << 32 | u64::from(u32::from_be_bytes(letters));
            rest = after;
        }
        while let [byte, after @ ..] = rest {
            let letter = chars::in_word(*byte);
            if letter == 0 {
                break;
            }
            second = second << 8 | first >> 56;
            first = first << 8 | u64::from(letter);
            rest = after;
        }
        let length = whole - rest.len();
        self.at += length;
        if length > 16 { 0 } else { u128::from(second) << 64 | u128::from(first) }
    }

    /// Takes `word`, in any case, if the whole next word is that.
    pub(crate) fn eat_word(&mut self, word: &[u8]) -> bool {
        let mut ahead = *self;
        let found = ahead.take_while(chars::WORD).eq_ignore_ascii_case(word);
        if found {
            *self = ahead;
        }
        found
    }

    pub(crate) fn atom(&mut self, what: &'static str) -> Result<&'a [u8]> {
        self.take_some(chars::ATOM, what)
    }

    /// Digits as a number of at most `max`; `what` names it in errors. Any number of leading zeros is fine.
    #[inline]
    fn digits(&mut self, max: u64, what: &'static str) -> Result<u64> {
        let start = self.at;
        let mut number = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = match number.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0'))) {
                Some(number) if number <= max => number,
                _ => return self.fail_at(start, ParseErrorKind::Invalid("number too large")),
            };
            self.at += 1;
        }
        if self.at == start { self.fail(ParseErrorKind::Expected(what)) } else { Ok(number) }
    }

    /// `nz-number`: 1 to 4294967295, without leading zeros.
    #[inline]
    pub(crate) fn nz_number(&mut self, what: &'static str) -> Result<u32> {
        if self.peek() == Some(b'0') {
            return self.fail(ParseErrorKind::Expected(what));
        }
        // The limit keeps it within 32 bits.
        self.digits(u64::from(u32::MAX), what).map(|number| number as u32)
    }

    /// `number64`: 0 to 2^63 - 1.
    pub(crate) fn number64(&mut self, what: &'static str) -> Result<u64> {
        self.digits(i64::MAX as u64, what)
    }

    /// `nz-number64`: 1 to 2^63 - 1, without leading zeros.
    pub(crate) fn nz_number64(&mut self, what: &'static str) -> Result<u64> {
        if self.peek() == Some(b'0') {
            return self.fail(ParseErrorKind::Expected(what));
        }
        self.number64(what)
    }

    /// `astring`.
    #[inline(always)]
    pub(crate) fn astring(&mut self, what: &'static str) -> Result<AString<'a>> {
        self.string_or(chars::ASTRING, what)
    }

    /// A string, or one or more characters of this class.
    #[inline(always)]
    pub(crate) fn string_or(&mut self, class: u8, what: &'static str) -> Result<AString<'a>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            _ => self.take_some(class, what).map(AString::new),
        }
    }

    /// `string`: quoted or a literal.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<AString<'a>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            _ => self.fail(ParseErrorKind::Expected(what)),
        }
    }

    fn quoted(&mut self) -> Result<AString<'a>> {
        let start = self.at;
        self.at += 1;
        loop {
            self.take_while(chars::QUOTED);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') if matches!(self.peek_second(), Some(b'"' | b'\\')) => self.at += 2,
                Some(b'\\') => {
                    self.at += 1;
                    return self.fail(ParseErrorKind::Expected("a quote or a backslash after a backslash"));
                }
                _ => return self.fail(ParseErrorKind::Expected("a quote that ends the string")),
            }
        }
        self.at += 1;
        let string = self.since(start);
        // Most strings are ASCII, for which this is one fast pass.
        if !string.is_ascii() && std::str::from_utf8(string).is_err() {
            return self.fail_at(start, ParseErrorKind::Invalid("quoted string that is not UTF-8"));
        }
        Ok(AString::new(string))
    }

    /// A literal's announcement up to and with the line's end: the size, whether it is non-synchronizing.
    pub(crate) fn announcement(&mut self) -> Result<(u64, bool)> {
        self.expect(b'{', "a literal")?;
        let size = self.number64("the literal's size")?;
        let non_synchronizing = self.eat(b'+');
        self.expect(b'}', "\"}\"")?;
        self.eat(b'\r');
        self.expect(b'\n', "the end of the line after \"}\"")?;
        Ok((size, non_synchronizing))
    }

    fn literal(&mut self) -> Result<AString<'a>> {
        let announced = self.at;
        let (size, _) = self.announcement()?;
        let text = usize::try_from(size).ok().and_then(|size| self.rest().get(..size));
        let Some(text) = text else {
            return self.fail_at(announced, ParseErrorKind::Invalid("literal longer than what follows it"));
        };
        if let Some(nul) = memchr::memchr(0, text) {
            return self.fail_at(self.at + nul, ParseErrorKind::Invalid("NUL in a literal"));
        }
        self.at += text.len();
        Ok(AString::new(self.since(announced)))
    }

    /// A list in parentheses of one or more members with single spaces between; answers the slice between the
    /// parentheses.
    pub(crate) fn list(
        &mut self,
        mut member: impl FnMut(&mut Self) -> Result<()>,
        what: &'static str,
    ) -> Result<&'a [u8]> {
        self.open()?;
        let start = self.at;
        let mut count = 0;
        loop {
            if count == self.limits.list_items {
                return self.fail(ParseErrorKind::Limit(what));
            }
            member(self)?;
            count += 1;
            if !self.eat(b' ') {
                break;
            }
        }
        let members = self.since(start);
        self.expect(b')', "a space or \")\"")?;
        Ok(members)
    }

    /// Like [`Cursor::list`], but `()` is fine.
    pub(crate) fn list_or_empty(
        &mut self,
        member: impl FnMut(&mut Self) -> Result<()>,
        what: &'static str,
    ) -> Result<&'a [u8]> {
        if self.peek() == Some(b'(') && self.peek_second() == Some(b')') {
            self.at += 2;
            return Ok(&[]);
        }
        self.list(member, what)
    }
}

/// The members of a list that a parser has checked, with these single bytes between.
pub(crate) fn members<'a, T>(
    raw: &'a [u8],
    separator: u8,
    member: impl Fn(&mut Cursor<'a>) -> Result<T>,
) -> impl Iterator<Item = T> {
    let mut cursor = Cursor::checked(raw);
    std::iter::from_fn(move || {
        if cursor.at_end() {
            return None;
        }
        let member = member(&mut cursor).ok();
        cursor.eat(separator);
        member
    })
}
