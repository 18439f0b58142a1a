//! Internationalized messages (RFC 6532) for clients that have not asked for UTF-8: the surrogate message of RFC 6858.
//!
//! A message comes in pieces and goes out in pieces; the result is the same however it is cut. Of a message no more is
//! held than one header field of [`MAX_FIELD`] octets. Where a header is ASCII it goes out as the slices that came in,
//! after one look at each octet; bodies always do. Bodies of multiparts are looked through for boundaries, as the
//! headers of parts, and of messages in messages, may hold UTF-8 as well.
//!
//! What becomes of a field is told in [`field`]. What is no field (a line without a colon, say), and a field that is
//! longer than what is held, can't be understood: octets beyond ASCII become question marks there.
//!
//! Ordinary 8-bit bodies are no concern of this module: they are MIME's (RFC 6152), and any client may get them.

mod address;
mod field;
mod parameters;
mod words;

use bytes::{Buf as _, Bytes};
use memchr::{memchr, memmem};

use self::parameters::{Encoding, Type};

/// The longest header field that is understood, in octets. By RFC 5322 a line has at most 1,000; this is room for
/// several hundred addresses.
const MAX_FIELD: usize = 16 << 10;
/// Multiparts in one another that are followed.
const MAX_DEPTH: usize = 32;
/// The longest boundary that is recognised. RFC 2046, section 5.1.1, allows 70.
const MAX_BOUNDARY: usize = 256;
/// The longest line that can be a delimiter, with some room for blanks at its end.
const MAX_DELIMITER: usize = MAX_BOUNDARY + 64;

/// Octets of a field that is too long that are looked at in one go, as they may have to be copied.
const OVERLONG_PIECE: usize = 32 << 10;

/// Makes the surrogate of one message.
#[derive(Debug)]
pub(crate) struct Downgrade {
    state: State,
    /// In a header: the beginning of a field whose end has not come yet. In a body: the beginning of a line that may
    /// become a delimiter.
    held: Vec<u8>,
    /// The first line of the held field is complete.
    continued: bool,
    /// What is to go out before anything else.
    pending: Bytes,
    part: Part,
    /// The multiparts that we are in, from the outside in.
    boundaries: Vec<Boundary>,
    found: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    /// The rest of a field that is too long. `start`: at the beginning of a line.
    Overlong {
        start: bool,
    },
    Body(Line),
    /// Nothing can come any more that would have to be changed.
    Rest,
}

/// Where in a line of a body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Start,
    /// It is held, and may become a delimiter.
    Held,
    /// It is no delimiter.
    Other,
}

#[derive(Debug)]
struct Boundary {
    text: Vec<u8>,
    digest: bool,
}

/// What the header of the entity that is being read has said so far.
#[derive(Debug, Default)]
struct Part {
    in_digest: bool,
    content_type: Option<Type>,
    encoding: Option<Encoding>,
}

/// What a header holds next.
enum Next {
    /// The blank line, with its line end of so many octets.
    Blank(usize),
    /// A delimiter where there should have been a blank line.
    Delimiter(usize, Delimiter),
    /// A field with all its lines.
    Field(usize),
    /// That can't be told yet.
    Unknown,
}

/// A delimiter of this multipart.
#[derive(Clone, Copy)]
struct Delimiter {
    depth: usize,
    closing: bool,
}

impl Downgrade {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Header,
            held: Vec::new(),
            continued: false,
            pending: Bytes::new(),
            part: Part::default(),
            boundaries: Vec::new(),
            found: false,
        }
    }

    /// Whether there have been octets beyond ASCII in a header.
    pub(crate) fn found(&self) -> bool {
        self.found
    }

    /// Whether the rest of the message goes out as it is, whatever it is.
    pub(crate) fn is_settled(&self) -> bool {
        self.state == State::Rest && self.pending.is_empty()
    }

    /// Whether what comes next goes out as it is, unless there are boundaries in it.
    pub(crate) fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Rest) && self.pending.is_empty()
    }

    /// Takes octets from the front of a piece and gives what they become; `None` once the piece is used up. One call
    /// gives at most what one field becomes, or what comes out unchanged.
    pub(crate) fn next(&mut self, piece: &mut Bytes) -> Option<Bytes> {
        loop {
            if !self.pending.is_empty() {
                return Some(std::mem::take(&mut self.pending));
            }
            if piece.is_empty() {
                return None;
            }
            let out = match self.state {
                State::Header if self.held.is_empty() => self.header(piece),
                State::Header => self.field_goes_on(piece),
                State::Overlong { start } => self.overlong_goes_on(piece, start),
                State::Body(_) => self.body(piece),
                State::Rest => std::mem::take(piece),
            };
            if !out.is_empty() {
                return Some(out);
            }
        }
    }

    /// Whether there have been octets beyond ASCII in a header, if the message, or what is wanted of it, is over.
    pub(crate) fn ends_internationalized(&self) -> bool {
        self.found || (self.state == State::Header && !self.held.is_ascii())
    }

    /// The message is over: gives what is left.
    pub(crate) fn end(mut self) -> Bytes {
        if self.state == State::Header && !self.held.is_empty() { self.field_ends() } else { self.pending }
    }

    /// At the beginning of a field. Fields that stay as they are go out together.
    fn header(&mut self, piece: &mut Bytes) -> Bytes {
        let mut start = 0;
        loop {
            let rest = piece.get(start..).unwrap_or_default();
            match self.look(rest) {
                Next::Blank(length) => {
                    self.header_ends();
                    return piece.split_to(start + length);
                }
                Next::Delimiter(length, delimiter) => {
                    self.delimited(delimiter);
                    return piece.split_to(start + length);
                }
                Next::Field(length) => match self.field(rest.get(..length).unwrap_or_default()) {
                    None => start += length,
                    Some(changed) => {
                        let before = piece.split_to(start);
                        piece.advance(length);
                        self.pending = changed;
                        return before;
                    }
                },
                Next::Unknown => {
                    self.continued = memchr(b'\n', rest).is_some();
                    self.held.extend_from_slice(rest);
                    piece.truncate(start);
                    self.check_length();
                    return std::mem::take(piece);
                }
            }
        }
    }

    fn look(&self, rest: &[u8]) -> Next {
        let Some(end) = memchr(b'\n', rest) else { return Next::Unknown };
        let line = rest.get(..=end).unwrap_or_default();
        if is_blank_line(line) {
            return Next::Blank(line.len());
        }
        if let Some(delimiter) = self.delimiter(line) {
            return Next::Delimiter(line.len(), delimiter);
        }
        let mut end = end + 1;
        loop {
            match rest.get(end) {
                None => return Next::Unknown,
                Some(b' ' | b'\t') => match memchr(b'\n', rest.get(end..).unwrap_or_default()) {
                    Some(more) => end += more + 1,
                    None => return Next::Unknown,
                },
                Some(_) => return Next::Field(end),
            }
        }
    }

    /// In a field whose beginning is held.
    fn field_goes_on(&mut self, piece: &mut Bytes) -> Bytes {
        let at_start = self.held.ends_with(b"\n");
        if at_start && !matches!(piece.first(), Some(b' ' | b'\t')) {
            return self.field_ends();
        }
        let end = memchr(b'\n', piece).map_or(piece.len(), |end| end + 1);
        self.held.extend_from_slice(&piece.split_to(end));
        if !self.continued && self.held.ends_with(b"\n") {
            self.continued = true;
            let line = std::mem::take(&mut self.held);
            if is_blank_line(&line) {
                self.header_ends();
                return line.into();
            }
            if let Some(delimiter) = self.delimiter(&line) {
                self.delimited(delimiter);
                return line.into();
            }
            self.held = line;
        }
        self.check_length();
        Bytes::new()
    }

    fn field_ends(&mut self) -> Bytes {
        let field = std::mem::take(&mut self.held);
        self.field(&field).unwrap_or_else(|| field.into())
    }

    /// A field with its line end. `None`: it stays as it is.
    fn field(&mut self, field: &[u8]) -> Option<Bytes> {
        if field.is_ascii() {
            self.part.note(field);
            return None;
        }
        self.found = true;
        let too_long = field.len() > MAX_FIELD;
        let surrogate = if too_long { field::masked(field) } else { field::surrogate(field) };
        // The parts are those that the client sees.
        self.part.note(&surrogate);
        Some(surrogate.into())
    }

    /// Gives up on the held field if it is too long.
    fn check_length(&mut self) {
        if self.held.len() <= MAX_FIELD {
            return;
        }
        let field = std::mem::take(&mut self.held);
        self.state = State::Overlong { start: field.ends_with(b"\n") };
        self.pending = self.masked(field.into());
        self.part.note(&self.pending);
    }

    fn overlong_goes_on(&mut self, piece: &mut Bytes, mut start: bool) -> Bytes {
        let mut end = 0;
        let most = piece.len().min(OVERLONG_PIECE);
        while let Some(first) = piece.get(..most).and_then(|piece| piece.get(end)) {
            if start && !matches!(first, b' ' | b'\t') {
                self.state = State::Header;
                let rest = piece.split_to(end);
                return self.masked(rest);
            }
            match memchr(b'\n', piece.get(end..most).unwrap_or_default()) {
                Some(more) => (end, start) = (end + more + 1, true),
                None => (end, start) = (most, false),
            }
        }
        self.state = State::Overlong { start };
        let masked = piece.split_to(most);
        self.masked(masked)
    }

    fn masked(&mut self, octets: Bytes) -> Bytes {
        if octets.is_ascii() {
            return octets;
        }
        self.found = true;
        field::masked(&octets).into()
    }

    fn header_ends(&mut self) {
        let part = std::mem::take(&mut self.part);
        let encoded = part.encoding == Some(Encoding::Encoded);
        let default = if part.in_digest { Type::Message } else { Type::Leaf };
        match part.content_type.unwrap_or(default) {
            Type::Multipart { boundary, digest } if self.boundaries.len() < MAX_DEPTH => {
                self.boundaries.push(Boundary { text: boundary, digest });
                self.body_begins();
            }
            // A message under a transfer encoding can't be looked into without being held (message/global may have one:
            // RFC 6532, section 3.5). As it is ASCII then, it may stay as it is.
            Type::Message if !encoded => self.state = State::Header,
            _ => self.body_begins(),
        }
    }

    fn body_begins(&mut self) {
        self.state = if self.boundaries.is_empty() { State::Rest } else { State::Body(Line::Start) };
    }

    /// In a body, of which everything stays as it is.
    fn body(&mut self, piece: &mut Bytes) -> Bytes {
        let mut at = 0;
        while let (State::Body(line), Some(rest)) = (self.state, piece.get(at..).filter(|rest| !rest.is_empty())) {
            match line {
                Line::Start if rest.starts_with(b"-") => self.state = State::Body(Line::Held),
                Line::Start => self.state = State::Body(Line::Other),
                Line::Held => {
                    let end = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                    let more = rest.get(..end).unwrap_or_default();
                    at += end;
                    let whole = more.ends_with(b"\n");
                    if self.held.len() + more.len() > MAX_DELIMITER {
                        self.held.clear();
                        self.state = State::Body(if whole { Line::Start } else { Line::Other });
                        continue;
                    }
                    self.held.extend_from_slice(more);
                    if whole {
                        self.state = State::Body(Line::Start);
                        let line = std::mem::take(&mut self.held);
                        if let Some(delimiter) = self.delimiter(&line) {
                            self.delimited(delimiter);
                        }
                    }
                }
                Line::Other => match memmem::find(rest, b"\n-") {
                    Some(end) => {
                        at += end + 1;
                        self.state = State::Body(Line::Start);
                    }
                    None => {
                        at = piece.len();
                        if rest.ends_with(b"\n") {
                            self.state = State::Body(Line::Start);
                        }
                    }
                },
            }
        }
        piece.split_to(at)
    }

    /// Whether a line is a delimiter. It has to match whole; one that several multiparts have belongs to the outermost.
    fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        if line.len() > MAX_DELIMITER {
            return None;
        }
        let text = line.strip_prefix(b"--")?.trim_ascii_end();
        let closed = text.strip_suffix(b"--");
        self.boundaries.iter().enumerate().find_map(|(depth, boundary)| {
            let closing = closed == Some(&*boundary.text);
            (closing || text == boundary.text).then_some(Delimiter { depth, closing })
        })
    }

    fn delimited(&mut self, Delimiter { depth, closing }: Delimiter) {
        self.boundaries.truncate(depth + 1);
        if closing {
            self.boundaries.pop();
            return self.body_begins();
        }
        let in_digest = self.boundaries.last().is_some_and(|boundary| boundary.digest);
        self.part = Part { in_digest, ..Part::default() };
        self.state = State::Header;
    }
}

impl Part {
    /// Learns from a field. Of several of a name the first counts.
    fn note(&mut self, field: &[u8]) {
        let field = field.get(..MAX_FIELD).unwrap_or(field);
        if !matches!(field.first(), Some(b'c' | b'C')) {
            return;
        }
        let Some((name, value)) = field::split(field) else { return };
        if self.content_type.is_none() && name.eq_ignore_ascii_case(b"content-type") {
            self.content_type = Some(parameters::content_type(value));
        } else if self.encoding.is_none() && name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            self.encoding = Some(parameters::encoding(value));
        }
    }
}

/// Whether a message, or as much of it as is given, has octets beyond ASCII in a header.
pub(crate) fn is_internationalized(message: &Bytes) -> bool {
    // Most mail is ASCII all through, and this is by far the quickest way to see it.
    if message.is_ascii() {
        return false;
    }
    let mut scan = Downgrade::new();
    let mut rest = message.clone();
    while !scan.found() && !scan.is_settled() && scan.next(&mut rest).is_some() {}
    scan.ends_internationalized()
}

fn is_blank_line(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

#[cfg(test)]
mod tests;
