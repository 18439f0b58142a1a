//! MIME fields with parameters (RFC 2045, section 5.1; RFC 2231).

use memchr::memchr2;

use super::MAX_BOUNDARY;

/// What a Content-Type says of where headers may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Multipart { boundary: Vec<u8>, digest: bool },
    Message,
    Leaf,
}

/// What a Content-Transfer-Encoding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The content stands as it is.
    Identity,
    Encoded,
}

/// Understands a Content-Type.
pub(super) fn content_type(value: &[u8]) -> Type {
    let mut segments = Segments(Some(value));
    let kind = without_comments(segments.next().unwrap_or_default(), |_| true).to_ascii_lowercase();
    let kind: Vec<u8> = kind.into_iter().filter(|octet| !octet.is_ascii_whitespace()).collect();
    match &*kind {
        b"message/rfc822" | b"message/global" => Type::Message,
        kind if kind.starts_with(b"multipart/") => match boundary(segments) {
            Some(boundary) => Type::Multipart { boundary, digest: kind == b"multipart/digest" },
            None => Type::Leaf,
        },
        _ => Type::Leaf,
    }
}

/// Understands a Content-Transfer-Encoding.
pub(super) fn encoding(value: &[u8]) -> Encoding {
    let word = without_comments(value, |_| true);
    let word = word.trim_ascii();
    let encoded = [&b"base64"[..], b"quoted-printable"].iter().any(|name| word.eq_ignore_ascii_case(name));
    if encoded { Encoding::Encoded } else { Encoding::Identity }
}

/// The boundary, also where it comes in sections (RFC 2231, section 3).
fn boundary(segments: Segments<'_>) -> Option<Vec<u8>> {
    let mut boundary = None;
    let mut sections: Vec<(u32, Vec<u8>)> = Vec::new();
    for segment in segments {
        let segment = without_comments(segment, |_| true);
        let Some((name, value)) = pair(&segment) else { continue };
        let (base, section) = section(name);
        if !base.eq_ignore_ascii_case(b"boundary") {
            continue;
        }
        match section {
            None => boundary = boundary.or_else(|| Some(unquoted(value))),
            Some(number) if sections.len() < 16 => sections.push((number, unquoted(value))),
            Some(_) => {}
        }
    }
    let mut boundary = boundary.unwrap_or_else(|| {
        sections.sort_by_key(|(number, _)| *number);
        sections.into_iter().flat_map(|(_, value)| value).collect()
    });
    boundary.truncate(boundary.trim_ascii_end().len());
    ((1..=MAX_BOUNDARY).contains(&boundary.len())).then_some(boundary)
}

/// A value without the parameters that can't be presented as they are; `None` if even then it can't be.
pub(super) fn presentable(value: &[u8]) -> Option<Vec<u8>> {
    // A comment is no part of what it stands in.
    let kept: Vec<Vec<u8>> = Segments(Some(value))
        .map(|segment| {
            let mut kept = without_comments(segment, |text| !text.is_ascii());
            if kept.len() < segment.len() {
                // A line of nothing but blanks, where a comment stood, would end the header for some.
                kept.retain(|octet| !matches!(octet, b'\r' | b'\n'));
            }
            kept
        })
        .collect();
    // With a section, the rest of the parameter has no meaning.
    let broken: Vec<&[u8]> = kept
        .iter()
        .skip(1)
        .filter(|segment| !segment.is_ascii())
        .filter_map(|segment| {
            let (base, number) = section(pair(segment).map_or(segment.as_slice(), |(name, _)| name));
            number.map(|_| base)
        })
        .take(8)
        .collect();
    let is_whole = |segment: &[u8]| {
        let (base, number) = section(pair(segment).map_or(segment, |(name, _)| name));
        number.is_none() || !broken.iter().any(|broken| broken.eq_ignore_ascii_case(base))
    };
    let (first, rest) = kept.split_first()?;
    if !first.is_ascii() || first.trim_ascii().is_empty() {
        return None;
    }
    let mut shown = first.clone();
    for segment in rest.iter().filter(|segment| segment.is_ascii() && is_whole(segment)) {
        shown.push(b';');
        shown.extend_from_slice(segment);
    }
    shown.truncate(shown.trim_ascii_end().len());
    Some(shown)
}

/// The pieces of a value between semicolons that are not quoted.
struct Segments<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let end = Marks::new(rest).find(|(_, octet, place)| *octet == b';' && *place == Place::Open);
        match end.and_then(|(at, ..)| rest.split_at_checked(at)) {
            Some((segment, more)) => {
                self.0 = more.get(1..);
                Some(segment)
            }
            None => self.0.take(),
        }
    }
}

/// Octets with their place: in the open, in quotes, or in a comment. The delimiters of quotes and comments belong to
/// them.
pub(super) struct Marks<'a> {
    octets: &'a [u8],
    at: usize,
    quoted: bool,
    comments: usize,
    escaped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Open,
    Quoted,
    Comment,
}

impl<'a> Marks<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0, quoted: false, comments: 0, escaped: false }
    }

    /// Whether what has been read ends in quotes or a comment.
    pub(super) fn is_open(&self) -> bool {
        self.quoted || self.comments > 0
    }
}

impl Iterator for Marks<'_> {
    type Item = (usize, u8, Place);

    fn next(&mut self) -> Option<Self::Item> {
        let octet = *self.octets.get(self.at)?;
        let at = self.at;
        self.at += 1;
        let before = (self.quoted, self.comments);
        if std::mem::take(&mut self.escaped) {
            // Whatever it is, it stands for itself.
        } else if octet == b'\\' && self.is_open() {
            self.escaped = true;
        } else if self.quoted {
            self.quoted = octet != b'"';
        } else {
            match octet {
                b'(' => self.comments += 1,
                b')' => self.comments = self.comments.saturating_sub(1),
                b'"' if self.comments == 0 => self.quoted = true,
                _ => {}
            }
        }
        let place = match before {
            (true, _) => Place::Quoted,
            (_, 1..) => Place::Comment,
            _ if self.quoted => Place::Quoted,
            _ if self.comments > 0 => Place::Comment,
            _ => Place::Open,
        };
        Some((at, octet, place))
    }
}

/// The text without comments, or without those that this picks.
fn without_comments(text: &[u8], mut drop: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    if memchr2(b'(', b')', text).is_none() {
        return text.to_vec();
    }
    let mut kept = Vec::with_capacity(text.len());
    let mut comment: Vec<u8> = Vec::new();
    let mut marks = Marks::new(text);
    while let Some((_, octet, place)) = marks.next() {
        if place != Place::Comment {
            kept.push(octet);
            continue;
        }
        comment.push(octet);
        if !marks.is_open() {
            let comment = std::mem::take(&mut comment);
            if !drop(&comment) {
                kept.extend_from_slice(&comment);
            }
        }
    }
    kept
}

/// Name and value of a parameter.
fn pair(segment: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = segment.split_at_checked(memchr::memchr(b'=', segment)?)?;
    Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
}

/// A parameter's name and, if it is one of several sections, the number of this one.
fn section(name: &[u8]) -> (&[u8], Option<u32>) {
    let mut words = name.trim_ascii().split(|octet| *octet == b'*');
    let base = words.next().unwrap_or_default();
    let number = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    (base, number)
}

fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        return value.iter().copied().take_while(|octet| !octet.is_ascii_whitespace()).collect();
    };
    let mut text = Vec::new();
    let mut escaped = false;
    for octet in inner {
        match octet {
            b'\\' if !escaped => escaped = true,
            b'"' if !escaped => break,
            b'\r' | b'\n' => {}
            _ => {
                text.push(*octet);
                escaped = false;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multipart(text: &str, digest: bool) -> Type {
        Type::Multipart { boundary: text.into(), digest }
    }

    #[test]
    fn types() {
        assert_eq!(content_type(b" multipart/mixed; boundary=\"a b\\\"c\"\r\n"), multipart("a b\"c", false));
        assert_eq!(content_type(b"Multipart/Digest (x;y) ; charset=x;\r\n BOUNDARY = abc "), multipart("abc", true));
        assert_eq!(content_type(b"multipart/mixed; boundary*1=b; boundary*0=\"a\""), multipart("ab", false));
        assert_eq!(content_type(b"multipart/mixed; x=\"; boundary=no\"; boundary=yes"), multipart("yes", false));
        assert_eq!(content_type(b"multipart/mixed"), Type::Leaf);
        assert_eq!(content_type(b"message/rfc822"), Type::Message);
        assert_eq!(content_type(b" (c) MESSAGE/Global; x=y"), Type::Message);
        assert_eq!(content_type(b"text/plain; boundary=a"), Type::Leaf);
        assert_eq!(content_type(b""), Type::Leaf);
        assert_eq!(encoding(b" Base64 (x)\r\n"), Encoding::Encoded);
        assert_eq!(encoding(b"8bit\r\n"), Encoding::Identity);
    }

    fn shown(value: &str) -> Option<String> {
        presentable(value.as_bytes()).map(|shown| String::from_utf8(shown).unwrap())
    }

    #[test]
    fn parameters_are_excised() {
        assert_eq!(shown(" attachment; filename=\u{e9}").as_deref(), Some(" attachment"));
        assert_eq!(shown(" attachment; filename=\"a;\u{e9}.txt\"; size=3").as_deref(), Some(" attachment; size=3"));
        assert_eq!(
            shown(" attachment;\r\n filename=\"\u{e9}\";\r\n filename*=UTF-8''%C3%A9").as_deref(),
            Some(" attachment;\r\n filename*=UTF-8''%C3%A9")
        );
        assert_eq!(shown(" a; n*0=\"x\"; N*1=\"\u{e9}\"; n*2=z; m*0=y").as_deref(), Some(" a; m*0=y"));
        assert_eq!(shown(" text/plain; charset=utf-8 (\u{e9})").as_deref(), Some(" text/plain; charset=utf-8"));
        assert_eq!(shown(" text/plain (ok); charset=\u{e9} (ok)").as_deref(), Some(" text/plain (ok)"));
        assert_eq!(shown(" text/\u{e9}; charset=utf-8"), None);
        assert_eq!(shown(" (\u{e9}"), None);
    }
}
