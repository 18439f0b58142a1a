//! Header fields: where each begins and ends, and which of them a client asked for.
//!
//! A header runs to its first empty line. A line that begins with white space continues the field before it; a line
//! without a proper field name belongs to no field, but is part of the header all the same.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

/// Field names longer than this are never matched by [`FieldSelector`]; RFC 5322 (section 2.1.1) ends lines at 998.
const MAX_NAME: usize = 998;

/// One header field, as it stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field name, without the colon and the white space that may stand before it.
    pub name: &'a [u8],
    /// All after the colon: folds, line ends and the octets as they are.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Whether the name is this one, in any case.
    #[must_use]
    pub const fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value with the line ends of its folds removed, and nothing else (RFC 5322, section 2.2.3).
    #[must_use]
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        unfold(self.value)
    }
}

/// The fields of a header, in order, up to its empty line. Lines that are no field are left out.
pub fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        loop {
            let (field, after) = split_field(rest)?;
            rest = after;
            if let Some((name, value)) = split_name(field) {
                return Some(Field { name, value });
            }
        }
    })
}

/// The first field or stray line with its continuation lines, and what follows. `None` at the end of the header.
fn split_field(header: &[u8]) -> Option<(&[u8], &[u8])> {
    if header.is_empty() || is_empty_line(header) {
        return None;
    }
    let mut end = 0;
    loop {
        let rest = header.get(end..).unwrap_or_default();
        match memchr(b'\n', rest) {
            Some(at) => end += at + 1,
            None => end = header.len(),
        }
        match header.get(end) {
            Some(b' ' | b'\t') => {}
            _ => return header.split_at_checked(end),
        }
    }
}

fn is_empty_line(line: &[u8]) -> bool {
    line.starts_with(b"\r\n") || line.starts_with(b"\n")
}

/// Cuts a line at its colon. `None` if what stands before is no field name (RFC 5322, section 3.6.8), but for white
/// space before the colon (section 4.5).
pub(super) fn split_name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', line)?;
    let (name, value) = line.split_at_checked(colon)?;
    let name = name.trim_ascii_end();
    let valid = !name.is_empty() && name.iter().all(|octet| matches!(octet, 33..=126));
    valid.then(|| (name, value.get(1..).unwrap_or_default()))
}

/// Removes line ends: each CRLF and each bare LF.
pub(super) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    for line in value.split_inclusive(|&octet| octet == b'\n') {
        let text = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(text);
    }
    Cow::Owned(out)
}

/// Picks the fields that `HEADER.FIELDS` or `HEADER.FIELDS.NOT` ask for out of a header that comes in pieces
/// (RFC 9051, section 6.4.5.1).
///
/// The result is a list of ranges of the header, so nothing is copied. The empty line at the header's end belongs to
/// the result if, and only if, the header has it. Stray lines that are no field belong to `HEADER.FIELDS.NOT`.
///
/// ```
/// use pillarbox_imap_proto::message::FieldSelector;
///
/// let header = b"From: a\r\nTo: b\r\nSubject: c\r\n\r\n";
/// let mut only = FieldSelector::only(["SUBJECT", "from"]);
/// only.push(header);
/// assert_eq!(only.finish(), [0..9, 16..30]);
/// ```
#[derive(Debug)]
pub struct FieldSelector {
    names: Vec<Box<[u8]>>,
    wanted_if_named: bool,
    offset: u64,
    state: State,
    ranges: Vec<Range<u64>>,
    field_start: u64,
}

#[derive(Debug)]
enum State {
    /// At the start of a line; whether the field before it is wanted.
    LineStart { wanted: bool },
    /// After a CR at the start of a line: maybe the empty line.
    AfterCr { wanted: bool },
    /// In the name, kept here as far as it can still be one of the names asked for.
    Name(Vec<u8>),
    /// In the rest of a line.
    Value { wanted: bool },
    /// After the empty line.
    End,
}

impl FieldSelector {
    /// Keeps only the fields with these names (`HEADER.FIELDS`).
    pub fn only<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::new(names, true)
    }

    /// Keeps all but the fields with these names (`HEADER.FIELDS.NOT`).
    pub fn except<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::new(names, false)
    }

    fn new<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>, wanted_if_named: bool) -> Self {
        let mut names: Vec<Box<[u8]>> =
            names.into_iter().map(|name| name.as_ref().to_ascii_lowercase().into_boxed_slice()).collect();
        names.sort_unstable();
        names.dedup();
        Self {
            names,
            wanted_if_named,
            offset: 0,
            state: State::LineStart { wanted: false },
            ranges: Vec::new(),
            field_start: 0,
        }
    }

    /// Takes the next piece of the header. What follows the empty line is ignored.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(&octet) = rest.first() {
            match &mut self.state {
                State::End => return,
                State::LineStart { wanted } => {
                    let wanted = *wanted;
                    match octet {
                        b' ' | b'\t' if self.offset > 0 => {
                            self.state = State::Value { wanted };
                            continue;
                        }
                        b'\r' => self.state = State::AfterCr { wanted },
                        b'\n' => {
                            self.close_field(wanted, self.offset);
                            self.keep(self.offset..self.offset + 1);
                            self.state = State::End;
                        }
                        _ => {
                            self.close_field(wanted, self.offset);
                            self.field_start = self.offset;
                            self.state = State::Name(Vec::new());
                            continue;
                        }
                    }
                    rest = self.step(rest, 1);
                }
                State::AfterCr { wanted } => {
                    let wanted = *wanted;
                    self.close_field(wanted, self.offset - 1);
                    if octet == b'\n' {
                        self.keep(self.offset - 1..self.offset + 1);
                        self.state = State::End;
                        rest = self.step(rest, 1);
                    } else {
                        // A line that begins with a bare CR is no field.
                        self.field_start = self.offset - 1;
                        self.state = State::Value { wanted: !self.wanted_if_named };
                    }
                }
                State::Name(name) => match octet {
                    b':' => {
                        let name = std::mem::take(name);
                        let wanted = self.wants(name.trim_ascii_end());
                        self.state = State::Value { wanted };
                    }
                    b'\n' => self.state = State::Value { wanted: !self.wanted_if_named },
                    _ if name.len() < MAX_NAME => {
                        name.push(octet.to_ascii_lowercase());
                        rest = self.step(rest, 1);
                    }
                    _ => {
                        self.state = State::Value { wanted: !self.wanted_if_named };
                    }
                },
                State::Value { wanted } => {
                    let wanted = *wanted;
                    match memchr(b'\n', rest) {
                        Some(at) => {
                            self.state = State::LineStart { wanted };
                            rest = self.step(rest, at + 1);
                        }
                        None => rest = self.step(rest, rest.len()),
                    }
                }
            }
        }
    }

    /// The ranges of the header that belong to the result, ascending, relative to the start of the header.
    #[must_use]
    pub fn finish(mut self) -> Vec<Range<u64>> {
        let wanted = match self.state {
            State::End => return self.ranges,
            State::LineStart { wanted } | State::Value { wanted } => wanted,
            State::AfterCr { wanted } => {
                self.close_field(wanted, self.offset - 1);
                self.field_start = self.offset - 1;
                !self.wanted_if_named
            }
            State::Name(_) => !self.wanted_if_named,
        };
        self.close_field(wanted, self.offset);
        self.ranges
    }

    fn step<'a>(&mut self, rest: &'a [u8], octets: usize) -> &'a [u8] {
        self.offset += octets as u64;
        rest.get(octets..).unwrap_or_default()
    }

    fn wants(&self, name: &[u8]) -> bool {
        let named = self.names.binary_search_by(|known| known.as_ref().cmp(name)).is_ok();
        named == self.wanted_if_named
    }

    fn close_field(&mut self, wanted: bool, end: u64) {
        if wanted {
            self.keep(self.field_start..end);
        }
        self.field_start = end;
    }

    fn keep(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pick(selector: FieldSelector, header: &[u8]) -> Vec<u8> {
        let mut selector = selector;
        selector.push(header);
        selector.finish().into_iter().flat_map(|r| header[r.start as usize..r.end as usize].to_vec()).collect()
    }

    #[test]
    fn selects_fields_with_their_folds() {
        let header = b"From: a\r\nsubject : one\r\n two\r\nTo: b\r\nSUBJECT:three\r\n\r\n";
        assert_eq!(pick(FieldSelector::only(["Subject"]), header), b"subject : one\r\n two\r\nSUBJECT:three\r\n\r\n");
        assert_eq!(pick(FieldSelector::except(["Subject"]), header), b"From: a\r\nTo: b\r\n\r\n");
        assert_eq!(pick(FieldSelector::only(["X"]), header), b"\r\n");
    }

    #[test]
    fn adds_no_blank_line() {
        let header = b"From: a\r\nTo: b\r\n";
        assert_eq!(pick(FieldSelector::except(["To"]), header), b"From: a\r\n");
        assert_eq!(pick(FieldSelector::only(["X"]), header), b"");
        assert_eq!(pick(FieldSelector::only(["to"]), b"From: a\r\nTo: b"), b"To: b");
    }

    #[test]
    fn stray_lines_belong_to_the_rest() {
        let header = b"From someone at noon\r\nFrom: a\r\njunk\r\n more\r\n\rx\r\nTo: b\n\n";
        assert_eq!(
            pick(FieldSelector::except(["From"]), header),
            b"From someone at noon\r\njunk\r\n more\r\n\rx\r\nTo: b\n\n"
        );
        assert_eq!(pick(FieldSelector::only(["from"]), header), b"From: a\r\n\n");
    }

    #[test]
    fn iterates_fields() {
        let names: Vec<_> = fields(b"A: 1\r\n x\r\njunk\r\n b: 2\r\nC : 3\n\nD: 4\r\n")
            .map(|f| (f.name.to_vec(), f.unfolded().into_owned()))
            .collect();
        assert_eq!(names, [(b"A".to_vec(), b" 1 x".to_vec()), (b"C".to_vec(), b" 3".to_vec())]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(header in "([AB]: x\r?\n|[AB]\r?\n| y\r?\n|\r?\n|\r){0,8}", cut in 1usize..5, not in any::<bool>()) {
            let make = || if not { FieldSelector::except(["a"]) } else { FieldSelector::only(["a"]) };
            let mut whole = make();
            whole.push(header.as_bytes());
            let mut pieces = make();
            for piece in header.as_bytes().chunks(cut) {
                pieces.push(piece);
            }
            prop_assert_eq!(whole.finish(), pieces.finish());
        }

        #[test]
        fn only_and_except_make_the_whole(lines in "([AB]: x\r?\n|[AB]\r?\n| y\r?\n|\rz\n){0,8}") {
            let header = format!("{lines}\r\n");
            let (mut only, mut except) = (FieldSelector::only(["a"]), FieldSelector::except(["a"]));
            only.push(header.as_bytes());
            except.push(header.as_bytes());
            // Each octet is in one of them, the empty line in both.
            let mut times = vec![0; header.len()];
            for range in only.finish().into_iter().chain(except.finish()) {
                times[range.start as usize..range.end as usize].iter_mut().for_each(|count| *count += 1);
            }
            prop_assert!(times[..lines.len()].iter().all(|&count| count == 1), "{:?}", times);
            prop_assert_eq!(&times[lines.len()..], [2, 2]);
        }
    }
}
