//! Structured MIME header values: types with parameters, tokens, languages (RFC 2045, 2183, 2231, 3282).
//!
//! What stands in the message is kept as it is, but for quoting, comments and the joining of parameter continuations
//! (RFC 2231, section 3), which IMAP asks for (RFC 9051, section 7.5.2).

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use super::charset::Charset;

/// One parameter of a Content-Type or Content-Disposition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// The name as sent. It ends with `*` if the value carries a charset of its own (RFC 2231, section 4).
    pub name: Bytes,
    /// The value without quoting, continuations joined; percent-encoded with its charset if the name ends with `*`.
    pub value: Bytes,
}

impl Param {
    /// Whether this is the parameter of that name, in a charset of its own or not.
    #[must_use]
    pub fn is(&self, name: &[u8]) -> bool {
        self.name.strip_suffix(b"*").unwrap_or(&self.name).eq_ignore_ascii_case(name)
    }

    /// The value; in UTF-8, if it came in a charset of its own that is known (RFC 2231, section 4).
    #[must_use]
    pub fn decoded(&self) -> Cow<'_, [u8]> {
        if self.name.ends_with(b"*")
            && let Some(text) = decode_extended(&self.value)
        {
            return Cow::Owned(text.into_bytes());
        }
        Cow::Borrowed(&self.value)
    }
}

/// The value of the first parameter with this name.
pub(super) fn find<'a>(params: &'a [Param], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    params.iter().find(|param| param.is(name)).map(Param::decoded)
}

fn decode_extended(value: &[u8]) -> Option<String> {
    let mut pieces = value.splitn(3, |&octet| octet == b'\'');
    let (charset, _language, text) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let charset = Charset::for_label(charset)?;
    Some(charset.decode(&percent_decoded(text)).into_owned())
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet == b'%'
            && let [high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(octet);
        }
    }
    out
}

/// The value of a hexadecimal digit.
pub(super) const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Reads `type "/" subtype *(";" parameter)`. `None` if type and subtype are not there.
pub(super) fn content_type(value: &[u8]) -> Option<(Bytes, Bytes, Vec<Param>)> {
    let mut lexer = Lexer { rest: value };
    lexer.skip_space();
    let kind = lexer.token()?;
    lexer.skip_space();
    lexer.rest = lexer.rest.strip_prefix(b"/")?;
    lexer.skip_space();
    let subtype = lexer.token()?;
    Some((Bytes::copy_from_slice(kind), Bytes::copy_from_slice(subtype), lexer.params()))
}

/// Reads `type *(";" parameter)`, as of Content-Disposition (RFC 2183, section 2).
pub(super) fn disposition(value: &[u8]) -> Option<(Bytes, Vec<Param>)> {
    let mut lexer = Lexer { rest: value };
    let kind = lexer.token_or_quoted()?;
    lexer.skip_space();
    if lexer.rest.starts_with(b"=") {
        return None;
    }
    Some((kind, lexer.params()))
}

/// Reads one token, as of Content-Transfer-Encoding (RFC 2045, section 6.1). What follows it is ignored.
pub(super) fn token(value: &[u8]) -> Option<Bytes> {
    Lexer { rest: value }.token_or_quoted()
}

/// Reads a list of language tags (RFC 3282, section 2).
pub(super) fn languages(value: &[u8]) -> Vec<Bytes> {
    let mut lexer = Lexer { rest: value };
    let mut tags = Vec::new();
    loop {
        tags.extend(lexer.token_or_quoted());
        match memchr::memchr(b',', lexer.rest) {
            Some(at) => drop(lexer.advance(at + 1)),
            None => return tags,
        }
    }
}

struct Lexer<'a> {
    rest: &'a [u8],
}

impl<'a> Lexer<'a> {
    fn advance(&mut self, octets: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(octets).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// Skips white space, line ends and comments.
    fn skip_space(&mut self) {
        loop {
            match self.rest.first() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.advance(1),
                Some(b'(') => self.advance(comment_length(self.rest)),
                _ => return,
            };
        }
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        let length = self.rest.iter().take_while(|&&octet| is_token(octet)).count();
        (length > 0).then(|| self.advance(length))
    }

    fn token_or_quoted(&mut self) -> Option<Bytes> {
        self.skip_space();
        if self.rest.starts_with(b"\"") {
            let text = self.quoted();
            return (!text.is_empty()).then(|| text.into());
        }
        self.token().map(Bytes::copy_from_slice)
    }

    /// Reads a quoted string, from its first quote to its last or the end of the value.
    fn quoted(&mut self) -> Vec<u8> {
        let (text, length) = unquote(self.rest);
        self.advance(length);
        text
    }

    fn params(&mut self) -> Vec<Param> {
        let mut sent = Vec::new();
        loop {
            self.skip_space();
            match self.rest.first() {
                None => return join(sent),
                Some(b';') => {
                    self.advance(1);
                    self.skip_space();
                    sent.extend(self.param());
                }
                Some(b'"') => drop(self.quoted()),
                Some(_) => drop(self.advance(1)),
            }
        }
    }

    fn param(&mut self) -> Option<(&'a [u8], Vec<u8>)> {
        let name = self.token()?;
        self.skip_space();
        self.rest = self.rest.strip_prefix(b"=")?;
        self.skip_space();
        if self.rest.starts_with(b"\"") {
            return Some((name, self.quoted()));
        }
        // Values that should have been quoted are frequent, so one ends only at a semicolon or a comment.
        let mut end = 0;
        let mut after_space = false;
        for &octet in self.rest {
            match octet {
                b';' => break,
                b'(' if after_space => break,
                _ => after_space = matches!(octet, b' ' | b'\t' | b'\r' | b'\n'),
            }
            end += 1;
        }
        Some((name, self.advance(end).trim_ascii_end().to_vec()))
    }
}

const fn is_token(octet: u8) -> bool {
    matches!(octet, 33..=126)
        && !matches!(
            octet,
            b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'\\' | b'"' | b'/' | b'[' | b']' | b'?' | b'='
        )
}

/// The text of a quoted string at the start of the input, and its length with the quotes. Without a closing quote it
/// goes to the end.
pub(super) fn unquote(input: &[u8]) -> (Vec<u8>, usize) {
    let mut text = Vec::new();
    let mut escaped = false;
    for (at, &octet) in input.iter().enumerate().skip(1) {
        match octet {
            _ if escaped => {
                text.push(octet);
                escaped = false;
            }
            b'\\' => escaped = true,
            b'"' => return (text, at + 1),
            b'\r' | b'\n' => {}
            _ => text.push(octet),
        }
    }
    (text, input.len())
}

/// The length of the comment at the start of the input, comments in it included.
pub(super) fn comment_length(input: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, &octet) in input.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    input.len()
}

/// One continuation of a parameter: its number, whether it is percent-encoded, its value.
type Segment = (u32, bool, Vec<u8>);

/// Joins continuations (RFC 2231, sections 3 and 4.1), each at the place of its first.
fn join(sent: Vec<(&[u8], Vec<u8>)>) -> Vec<Param> {
    enum Slot<'a> {
        Whole(&'a [u8], Vec<u8>),
        Segments(&'a [u8], Vec<Segment>),
    }
    let mut slots: Vec<Slot<'_>> = Vec::new();
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    for (name, value) in sent {
        let Some((base, number, extended)) = continuation(name) else {
            slots.push(Slot::Whole(name, value));
            continue;
        };
        let at = *known.entry(base.to_ascii_lowercase()).or_insert(slots.len());
        match slots.get_mut(at) {
            Some(Slot::Segments(_, segments)) => segments.push((number, extended, value)),
            _ => slots.push(Slot::Segments(base, vec![(number, extended, value)])),
        }
    }
    slots
        .into_iter()
        .map(|slot| match slot {
            Slot::Whole(name, value) => Param { name: Bytes::copy_from_slice(name), value: value.into() },
            Slot::Segments(base, segments) => joined(base, segments),
        })
        .collect()
}

/// Splits `name*3*` into name, number and whether the value is percent-encoded.
fn continuation(name: &[u8]) -> Option<(&[u8], u32, bool)> {
    let (name, extended) = name.strip_suffix(b"*").map_or((name, false), |name| (name, true));
    let star = memchr::memrchr(b'*', name)?;
    let (base, digits) = (name.get(..star)?, name.get(star + 1..)?);
    if base.is_empty() || digits.is_empty() || digits.len() > 4 {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        number = number * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some((base, number, extended))
}

fn joined(base: &[u8], mut segments: Vec<Segment>) -> Param {
    segments.sort_by_key(|segment| segment.0);
    let in_charset = segments.iter().any(|segment| segment.1);
    let has_charset = segments.first().is_some_and(|segment| segment.1);
    let mut name = base.to_vec();
    let mut value = Vec::new();
    if in_charset {
        name.push(b'*');
        if !has_charset {
            value.extend_from_slice(b"''");
        }
    }
    for (_, extended, segment) in segments {
        if in_charset && !extended {
            for octet in segment {
                if octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_') {
                    value.push(octet);
                } else {
                    value.extend_from_slice(format!("%{octet:02X}").as_bytes());
                }
            }
        } else {
            value.extend_from_slice(&segment);
        }
    }
    Param { name: name.into(), value: value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> (String, Vec<(String, String)>) {
        let (kind, subtype, params) = content_type(value.as_bytes()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let params = params.iter().map(|p| (text(&p.name), text(&p.value))).collect();
        (format!("{}/{}", text(&kind), text(&subtype)), params)
    }

    fn params(value: &str) -> Vec<(String, String)> {
        read(&format!("a/b; {value}")).1
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn reads_types() {
        assert_eq!(read(" text/plain").0, "text/plain");
        assert_eq!(read("(a (b)) Text (c) / (d) HTML (e); charset=x").0, "Text/HTML");
        assert_eq!(read("text/plain charset=utf-8; format=flowed").1, pairs(&[("format", "flowed")]));
        for bad in ["", "text", "text/", "/plain", "text plain", "\"text/plain\"", ";charset=x", "t\u{e9}xt/plain"] {
            assert!(content_type(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn reads_params() {
        assert_eq!(params("charset=us-ascii (plain)"), pairs(&[("charset", "us-ascii")]));
        assert_eq!(params(r#"name="a\"b;c" ; x = y"#), pairs(&[("name", "a\"b;c"), ("x", "y")]));
        assert_eq!(params("name=my file(1).pdf; x=1;"), pairs(&[("name", "my file(1).pdf"), ("x", "1")]));
        assert_eq!(params("name=\"open; x=1"), pairs(&[("name", "open; x=1")]));
        assert_eq!(params("a; ;; =b; c=d"), pairs(&[("c", "d")]));
        assert_eq!(params("a=\"\""), pairs(&[("a", "")]));
    }

    #[test]
    fn joins_continuations() {
        assert_eq!(params("x*1=b; y=z; x*0=a; x*2=c"), pairs(&[("x", "abc"), ("y", "z")]));
        assert_eq!(
            params("title*0*=us-ascii'en'This%20is; title*1*=%20fun; title*2=\" isn't it!\""),
            pairs(&[("title*", "us-ascii'en'This%20is%20fun%20isn%27t%20it%21")])
        );
        assert_eq!(params("f*=utf-8''%e2%82%ac"), pairs(&[("f*", "utf-8''%e2%82%ac")]));
    }

    #[test]
    fn decodes_charsets() {
        let param = |name: &'static str, value: &'static str| Param { name: name.into(), value: value.into() };
        assert_eq!(&*param("f*", "utf-8''%e2%82%ac").decoded(), "€".as_bytes());
        assert_eq!(&*param("f*", "iso-8859-1'fr'%E9t%E9").decoded(), "été".as_bytes());
        assert_eq!(&*param("f*", "nonesuch''%E9").decoded(), b"nonesuch''%E9");
        assert_eq!(&*param("f", "utf-8''%e2").decoded(), b"utf-8''%e2");
    }

    #[test]
    fn reads_dispositions_and_tokens() {
        let (kind, params) = disposition(b" attachment; filename=x").unwrap();
        assert_eq!((&*kind, params.len()), (&b"attachment"[..], 1));
        assert!(disposition(b"filename=x").is_none());
        assert!(disposition(b" ").is_none());
        assert_eq!(token(b" Base64 (x)").as_deref(), Some(&b"Base64"[..]));
        assert_eq!(token(b"\"7bit\"").as_deref(), Some(&b"7bit"[..]));
        assert_eq!(languages(b" en (x), de-CH ,, i-klingon"), ["en", "de-CH", "i-klingon"]);
    }
}
