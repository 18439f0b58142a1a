//! Finding the parts of a message, in one pass over its bytes.
//!
//! The message is read line by line. In a header, the fields that the structure needs are kept; in a body only lines that
//! begin with two dashes matter, and the search for those is all that large bodies cost.
//!
//! The rules, where messages are broken or the RFCs leave room:
//!
//! * A boundary line matches only whole, but for white space at its end (RFC 2046, section 5.1.1).
//! * The boundaries of outer multiparts win over those of inner ones, so that a part never reaches beyond what holds it. A
//!   multipart with its parent's boundary therefore has no parts of its own.
//! * The line end before a boundary belongs to the boundary.
//! * A header that never ends with an empty line ends with the part.
//! * Without a Content-Type that can be understood, a part is plain text (RFC 2045, section 5.2); without any, and in a
//!   multipart/digest, it is a message (RFC 2046, section 5.1.5).

use bytes::Bytes;
use memchr::{memchr, memmem, memrchr};

use super::date::parse_sent_date;
use super::envelope::{EncodedEnvelope, Envelope, is_envelope_field};
use super::field::{Field, split_name};
use super::params;
use super::structure::{Disposition, Part, PartKind, Structure};

/// The most parts that are told apart; what follows belongs to the last one. (Multiparts without a body part get their
/// empty one on top of this.)
pub const MAX_PARTS: usize = 10_000;

/// How many multiparts and messages may lie in one another. Deeper ones are not looked into: a message there counts as
/// application/octet-stream, a multipart has no parts.
pub const MAX_DEPTH: usize = 100;

/// The most octets of one header field that are looked at.
pub const MAX_FIELD: usize = 128 * 1024;

/// The most octets of header fields that are looked at in one message; further fields count as absent.
pub const MAX_FIELDS_TOTAL: usize = 1024 * 1024;

/// The fields that describe a body.
const CONTENT_FIELDS: [&[u8]; 8] = [
    b"content-type",
    b"content-transfer-encoding",
    b"content-id",
    b"content-description",
    b"content-disposition",
    b"content-language",
    b"content-location",
    b"content-md5",
];

/// The longest line that can be a boundary. RFC 2046 ends boundaries at 70 octets.
const MAX_BOUNDARY_LINE: usize = 1024;

/// Works out the [`Structure`] of a message that comes in pieces.
///
/// ```
/// use pillarbox_imap_proto::message::{Structure, StructureParser};
///
/// let message = b"Subject: x\r\n\r\nHello\r\n";
/// let mut parser = StructureParser::new();
/// for piece in message.chunks(5) {
///     parser.push(piece);
/// }
/// assert_eq!(parser.finish(), Structure::parse(message));
/// ```
#[derive(Debug)]
pub struct StructureParser {
    parts: Vec<Part>,
    /// The parts that the current line lies in, the message first.
    open: Vec<Open>,
    in_header: bool,
    header: Header,
    /// Where the current line starts.
    line_start: u64,
    /// What came of the current line in earlier pieces, up to a limit.
    line: Vec<u8>,
    line_length: u64,
    last_octet: u8,
    /// Line ends so far.
    line_ends: u64,
    /// The length of the last line's end.
    last_end: u64,
    sent: Option<pillarbox_proto_core::mail::DateTime>,
    finder: memmem::Finder<'static>,
}

#[derive(Debug)]
struct Open {
    part: usize,
    boundary: Option<Box<[u8]>>,
    /// Line ends before the body.
    line_ends: u64,
    /// Until the header has ended, whether the part lies in a digest; after that, whether it is one.
    digest: bool,
    /// Whether the header is that of a message.
    message: bool,
}

/// The fields kept of the header that is being read.
#[derive(Debug, Default)]
struct Header {
    /// Field names and values.
    kept: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the last kept field goes on.
    keeping: bool,
    /// Octets kept in this message.
    total: usize,
}

impl Default for StructureParser {
    fn default() -> Self {
        Self::new()
    }
}

impl StructureParser {
    /// A parser at the start of a message.
    #[must_use]
    pub fn new() -> Self {
        Self {
            parts: vec![Part::new(0, None)],
            open: vec![Open { part: 0, boundary: None, line_ends: 0, digest: false, message: true }],
            in_header: true,
            header: Header::default(),
            line_start: 0,
            line: Vec::new(),
            line_length: 0,
            last_octet: 0,
            line_ends: 0,
            last_end: 0,
            sent: None,
            finder: memmem::Finder::new(b"\n--"),
        }
    }

    /// Takes the next piece of the message.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            if !self.in_header && self.line_length == 0 && rest.first() != Some(&b'-') {
                let skipped = self.skip_body(rest);
                if skipped > 0 {
                    rest = rest.get(skipped..).unwrap_or_default();
                    continue;
                }
            }
            rest = self.take_line(rest);
        }
    }

    /// Passes over body lines that cannot be boundaries. Returns the octets passed over, which end with a line end.
    fn skip_body(&mut self, rest: &[u8]) -> usize {
        let last = match self.finder.find(rest) {
            Some(at) => at,
            // What follows the last line end may be the start of a boundary.
            None => match memrchr(b'\n', rest) {
                Some(at) => at,
                None => return 0,
            },
        };
        let lines = rest.get(..=last).unwrap_or_default();
        self.line_ends += memchr::memchr_iter(b'\n', lines).count() as u64;
        self.last_end = if last > 0 && rest.get(last - 1) == Some(&b'\r') { 2 } else { 1 };
        self.line_start += lines.len() as u64;
        lines.len()
    }

    fn take_line<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let limit = if self.in_header { MAX_FIELD } else { MAX_BOUNDARY_LINE };
        let Some(end) = memchr(b'\n', rest) else {
            let room = limit.saturating_sub(self.line.len());
            self.line.extend_from_slice(rest.get(..room).unwrap_or(rest));
            self.line_length += rest.len() as u64;
            self.last_octet = rest.last().copied().unwrap_or(0);
            return &[];
        };
        let (now, after) = rest.split_at_checked(end + 1).unwrap_or((rest, &[]));
        let before_end = match end.checked_sub(1) {
            Some(at) => now.get(at).copied(),
            None => (self.line_length > 0).then_some(self.last_octet),
        };
        let line_end = if before_end == Some(b'\r') { 2 } else { 1 };
        let length = self.line_length + now.len() as u64;
        if self.line.is_empty() {
            self.end_line(now.get(..limit).unwrap_or(now), length, line_end);
        } else {
            let mut line = std::mem::take(&mut self.line);
            let room = limit.saturating_sub(line.len());
            line.extend_from_slice(now.get(..room).unwrap_or(now));
            self.end_line(&line, length, line_end);
            line.clear();
            // Long lines are rare: their buffer is not kept.
            if line.capacity() <= 4096 {
                self.line = line;
            }
        }
        after
    }

    /// Handles a line: its first octets, its whole length, the length of its line end (0 at the end of the message).
    fn end_line(&mut self, line: &[u8], length: u64, line_end: u64) {
        let cut = (line.len() as u64) < length;
        let text = if cut { line } else { line.get(..line.len() - line_end as usize).unwrap_or_default() };
        let next = self.line_start + length;
        let boundary = if cut || length > MAX_BOUNDARY_LINE as u64 { None } else { self.boundary(text) };
        match boundary {
            Some(Boundary::Opens(level)) => {
                self.close_above(level);
                let (parent, digest) = self.open.get(level).map_or((0, false), |open| (open.part, open.digest));
                self.open_part(next, parent, digest, false);
            }
            Some(Boundary::Closes(level)) => {
                self.close_above(level);
                if let Some(open) = self.open.get_mut(level) {
                    open.boundary = None;
                }
                self.in_header = false;
            }
            None if self.in_header => self.header_line(text, line_end, length, next),
            None => {}
        }
        if line_end > 0 {
            self.line_ends += 1;
        }
        self.last_end = line_end;
        self.line_start = next;
        self.line_length = 0;
        self.last_octet = 0;
    }

    fn boundary(&self, text: &[u8]) -> Option<Boundary> {
        let text = text.strip_prefix(b"--")?;
        let text = trim_end(text);
        for (level, open) in self.open.iter().enumerate() {
            let Some(boundary) = open.boundary.as_deref() else { continue };
            match text.strip_prefix(boundary) {
                Some(b"") if self.parts.len() < MAX_PARTS => return Some(Boundary::Opens(level)),
                Some(b"--") => return Some(Boundary::Closes(level)),
                _ => {}
            }
        }
        None
    }

    fn header_line(&mut self, text: &[u8], line_end: u64, length: u64, next: u64) {
        if text.is_empty() && line_end == length {
            self.end_header(next, self.line_ends + 1, true);
            return;
        }
        if matches!(text.first(), Some(b' ' | b'\t')) {
            self.header.extend(text);
            return;
        }
        self.header.keeping = false;
        let Some((name, value)) = split_name(text) else { return };
        let is_message = self.open.last().is_some_and(|open| open.message);
        if CONTENT_FIELDS.iter().any(|known| name.eq_ignore_ascii_case(known))
            || (is_message && is_envelope_field(name))
        {
            self.header.start(name, value);
        }
    }

    /// Whether the header of the message itself has not ended yet.
    pub(super) fn in_first_header(&self) -> bool {
        self.in_header && self.open.len() == 1 && self.parts.len() == 1
    }

    fn top(&mut self) -> Option<&mut Part> {
        let index = self.open.last()?.part;
        self.parts.get_mut(index)
    }

    /// Opens a part whose header starts here.
    fn open_part(&mut self, start: u64, parent: usize, digest: bool, message: bool) {
        let index = self.parts.len();
        self.parts.push(Part::new(start, Some(parent as u32)));
        if let Some(parent) = self.parts.get_mut(parent) {
            parent.children.push(index as u32);
        }
        self.open.push(Open { part: index, boundary: None, line_ends: 0, digest, message });
        self.in_header = true;
    }

    /// Ends the header of the innermost part; its body starts here. `goes_on` unless the part ends here too.
    fn end_header(&mut self, body: u64, line_ends: u64, goes_on: bool) {
        let kept = std::mem::take(&mut self.header.kept);
        self.header.keeping = false;
        self.in_header = false;
        let depth = self.open.len();
        let room = depth < MAX_DEPTH && self.parts.len() < MAX_PARTS;
        let Some(open) = self.open.last_mut() else { return };
        open.line_ends = line_ends;
        let index = open.part;
        let in_digest = std::mem::replace(&mut open.digest, false);
        let Some(part) = self.parts.get_mut(index) else { return };
        part.header.end = body;
        part.body = body..body;
        let fields = || kept.iter().map(|(name, value)| Field { name, value });
        if index == 0 {
            let date = fields().find(|field| field.is(b"date"));
            self.sent = date.and_then(|date| parse_sent_date(date.value));
        }
        if open.message {
            part.envelope = Some(EncodedEnvelope::new(&Envelope::from_fields(fields())));
        }
        describe(part, fields(), in_digest);
        if part.is_type(b"multipart") {
            part.kind = PartKind::Multipart;
            open.digest = part.subtype.eq_ignore_ascii_case(b"digest");
            let boundary = params::find(&part.params, b"boundary");
            let boundary = boundary.as_deref().map(trim_end).unwrap_or_default();
            if room && goes_on && !boundary.is_empty() && boundary.len() < MAX_BOUNDARY_LINE {
                open.boundary = Some(boundary.into());
            }
        } else if part.is(b"message", b"rfc822") || part.is(b"message", b"global") {
            if room {
                part.kind = PartKind::Message;
                self.open_part(body, index, false, true);
            } else {
                part.media_type = Bytes::from_static(b"APPLICATION");
                part.subtype = Bytes::from_static(b"OCTET-STREAM");
                part.params = Vec::new();
            }
        }
    }

    /// Closes all parts above this level at the boundary that the current line is.
    fn close_above(&mut self, level: usize) {
        let end = self.line_start - self.last_end.min(self.line_start);
        self.close(level + 1, end, self.line_start, u64::from(self.last_end > 0));
    }

    /// Closes the parts from this level on. They end at `end`, but a body that has begun after it, because the line end
    /// before the boundary is also the empty line after the header, is empty and begins at most at `limit`.
    fn close(&mut self, level: usize, end: u64, limit: u64, clipped_line_ends: u64) {
        while self.in_header {
            let Some(start) = self.top().map(|part| part.header.start) else { break };
            self.end_header(end.max(start), self.line_ends, false);
        }
        let line_ends = self.line_ends.saturating_sub(clipped_line_ends);
        let mut limit = limit;
        for (depth, open) in self.open.drain(level.min(self.open.len())..).enumerate() {
            let Some(part) = self.parts.get_mut(open.part) else { continue };
            let start = part.body.start.min(limit);
            part.header.start = part.header.start.min(start);
            part.header.end = start;
            part.body = start..end.clamp(start, limit.max(start));
            part.lines = if part.body.is_empty() { 0 } else { line_ends.saturating_sub(open.line_ends) };
            if depth == 0 {
                limit = part.body.end;
            }
            limit = limit.min(part.body.end);
            if part.kind == PartKind::Multipart && part.children.is_empty() {
                let place = part.body.end;
                let index = self.parts.len() as u32;
                if let Some(part) = self.parts.get_mut(open.part) {
                    part.children.push(index);
                }
                self.parts.push(Part::new(place, Some(open.part as u32)));
            }
        }
    }

    /// The structure of the message that has been pushed.
    #[must_use]
    pub fn finish(mut self) -> Structure {
        if self.line_length > 0 {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line, self.line_length, 0);
        }
        let size = self.line_start;
        self.close(0, size, size, 0);
        Structure { parts: self.parts, size, sent: self.sent }
    }
}

enum Boundary {
    Opens(usize),
    Closes(usize),
}

impl Header {
    fn start(&mut self, name: &[u8], value: &[u8]) {
        if self.kept.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return;
        }
        if self.total + name.len() + value.len() > MAX_FIELDS_TOTAL {
            return;
        }
        self.total += name.len();
        self.kept.push((name.to_vec(), Vec::new()));
        self.keeping = true;
        self.append(value);
    }

    fn extend(&mut self, line: &[u8]) {
        if self.keeping {
            self.append(line);
        }
    }

    fn append(&mut self, text: &[u8]) {
        let Some((_, value)) = self.kept.last_mut() else { return };
        let room = MAX_FIELD.saturating_sub(value.len()).min(MAX_FIELDS_TOTAL.saturating_sub(self.total));
        let text = text.get(..room).unwrap_or(text);
        value.extend_from_slice(text);
        self.total += text.len();
    }
}

/// Reads the `Content-` fields. Of fields of a kind, the first counts.
fn describe<'a>(part: &mut Part, fields: impl Iterator<Item = Field<'a>>, in_digest: bool) {
    let mut typed = false;
    for field in fields {
        let text = || Some(field.value.trim_ascii()).filter(|text| !text.is_empty()).map(Bytes::copy_from_slice);
        let name = field.name.to_ascii_lowercase();
        match name.as_slice() {
            b"content-type" => {
                typed = true;
                if let Some((media_type, subtype, params)) = params::content_type(field.value) {
                    (part.media_type, part.subtype, part.params) = (media_type, subtype, params);
                }
            }
            b"content-transfer-encoding" => part.encoding = params::token(field.value),
            b"content-id" => part.id = text(),
            b"content-description" => part.description = text(),
            b"content-md5" => part.md5 = text(),
            b"content-location" => part.location = text(),
            b"content-language" => part.languages = params::languages(field.value),
            b"content-disposition" => {
                part.disposition = params::disposition(field.value).map(|(kind, params)| Disposition { kind, params });
            }
            _ => {}
        }
    }
    if in_digest && !typed {
        part.media_type = Bytes::from_static(b"MESSAGE");
        part.subtype = Bytes::from_static(b"RFC822");
    }
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|octet| !matches!(octet, b' ' | b'\t')).map_or(0, |at| at + 1);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_does_not_grow_with_the_message() {
        let piece = [b'x'; 8192];
        for start in [&b"Subject: "[..], b"X: ", b"\r\n", b"\r\n--"] {
            let mut parser = StructureParser::new();
            parser.push(start);
            for _ in 0..1000 {
                parser.push(&piece);
                parser.push(b"x\r\n");
            }
            for _ in 0..1000 {
                parser.push(&piece);
            }
            let kept: usize = parser.header.kept.iter().map(|(name, value)| name.capacity() + value.capacity()).sum();
            let held = parser.line.capacity() + kept;
            assert!(held <= 4 * MAX_FIELD, "{held}");
        }
    }
}
