//! Searching a message's text: BODY and TEXT (RFC 9051, section 6.4.4), in one pass over the message.
//!
//! BODY looks at text parts, decoded, also in messages within the message, but at no header; parts of type message that
//! are no messages (delivery reports) count as text. TEXT looks at those and at all headers, those of parts included.
//! Other parts, and what stands before, between and after the parts of a multipart, are not looked at; the body of a
//! multipart without parts is. A part of type text/html is looked at twice: as it was sent, which has the addresses of its
//! links, and as it reads, where neither tags nor character references hide words.

use std::ops::Range;

use super::binary::{BinaryDecoder, TransferEncoding};
use super::charset::{Charset, TextDecoder};
use super::decode::decode_header;
use super::fold::{Folder, Needle};
use super::html::HtmlText;
use super::parser::MAX_FIELD;
use super::structure::{Part, PartKind, Structure};

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextScope {
    /// In the texts: search key BODY.
    Body,
    /// In the texts and headers: search key TEXT.
    Text,
}

/// What to look for, and where.
#[derive(Clone, Copy, Debug)]
pub struct TextKey<'n> {
    /// What to look for. An empty needle is found in every message.
    pub needle: &'n Needle,
    /// Where.
    pub scope: TextScope,
}

/// Looks for any number of texts in one message that comes in pieces. Each piece is decoded and folded once.
///
/// ```
/// use pillarbox_imap_proto::message::{Needle, Structure, TextKey, TextScope, TextSearch};
///
/// let message = b"Subject: greeting\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8sIHdvcmxk\r\n";
/// let (hello, greeting) = (Needle::new("hello"), Needle::new("greeting"));
/// let keys = [
///     TextKey { needle: &hello, scope: TextScope::Body },
///     TextKey { needle: &greeting, scope: TextScope::Body },
///     TextKey { needle: &greeting, scope: TextScope::Text },
/// ];
/// assert_eq!(TextSearch::run(&Structure::parse(message), &keys, message), [true, false, true]);
/// ```
#[derive(Debug)]
pub struct TextSearch<'n> {
    keys: Vec<(TextKey<'n>, bool)>,
    /// What to look at, ascending.
    segments: Vec<Segment>,
    current: usize,
    offset: u64,
    /// What of the current segment has been read, if anything has.
    reader: Option<Reader>,
    matcher: Matcher,
    /// For the words of HTML.
    words: Matcher,
}

#[derive(Debug)]
struct Segment {
    range: Range<u64>,
    kind: SegmentKind,
}

#[derive(Clone, Copy, Debug)]
enum SegmentKind {
    Header,
    Text { encoding: TransferEncoding, charset: Option<Charset>, html: bool },
}

enum Reader {
    Header { field: Vec<u8>, at_line_start: bool },
    Text { binary: BinaryDecoder, text: TextDecoder, html: Option<HtmlText> },
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header { .. } => "Header",
            Self::Text { .. } => "Text",
        })
    }
}

/// How much is decoded at a time.
const PIECE: usize = 16 * 1024;

impl<'n> TextSearch<'n> {
    /// A search at the start of the message with this structure.
    #[must_use]
    pub fn new(structure: &Structure, keys: &[TextKey<'n>]) -> Self {
        let keys: Vec<_> = keys.iter().map(|key| (*key, key.needle.is_empty())).collect();
        let longest = keys.iter().map(|(key, _)| key.needle.len()).max().unwrap_or(0);
        let headers = keys.iter().any(|(key, found)| !found && key.scope == TextScope::Text);
        let mut segments = Vec::new();
        if keys.iter().any(|(_, found)| !found) {
            for part in structure.parts() {
                if headers {
                    segments.push(Segment { range: part.header.clone(), kind: SegmentKind::Header });
                }
                segments.extend(text_of(structure, part));
            }
        }
        segments.retain(|segment| !segment.range.is_empty());
        segments.sort_by_key(|segment| segment.range.start);
        let matcher = || Matcher { window: Vec::new(), folder: Folder::default(), longest };
        Self { keys, segments, current: 0, offset: 0, reader: None, matcher: matcher(), words: matcher() }
    }

    /// Searches a message that is in memory. The answers are in the order of the keys.
    #[must_use]
    pub fn run(structure: &Structure, keys: &[TextKey<'n>], message: &[u8]) -> Vec<bool> {
        let mut search = Self::new(structure, keys);
        search.push(message);
        search.finish()
    }

    /// Whether nothing more needs to be pushed: everything was found, or there is nothing more to look at.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.segments.get(self.current).is_none() || self.keys.iter().all(|(_, found)| *found)
    }

    /// The octets of the message that are looked at next, or `None` when the search [`Self::is_done`]. What lies before
    /// them may be skipped by [`Self::seek`].
    #[must_use]
    pub fn wanted(&self) -> Option<Range<u64>> {
        if self.is_done() {
            return None;
        }
        let segment = self.segments.get(self.current)?;
        Some(self.offset.max(segment.range.start)..segment.range.end)
    }

    /// Says that the next piece starts at this offset of the message. It must not skip anything [`Self::wanted`].
    pub fn seek(&mut self, offset: u64) {
        self.offset = self.offset.max(offset);
    }

    /// Takes the next piece of the message.
    pub fn push(&mut self, piece: &[u8]) {
        let start = self.offset;
        let end = start + piece.len() as u64;
        while !self.is_done() {
            let Some(segment) = self.segments.get(self.current) else { break };
            let (range, kind) = (segment.range.clone(), segment.kind);
            if range.start >= end {
                break;
            }
            let from = range.start.max(self.offset);
            let to = range.end.min(end).max(from);
            let octets = piece.get((from - start) as usize..(to - start) as usize).unwrap_or_default();
            let mut reader = self.reader.take().unwrap_or_else(|| kind.reader());
            for octets in octets.chunks(PIECE) {
                self.read(&mut reader, octets, false);
            }
            self.offset = to;
            if to >= range.end {
                self.read(&mut reader, b"", true);
                self.current += 1;
            } else {
                self.reader = Some(reader);
                break;
            }
        }
        self.offset = end;
    }

    /// Which keys were found, in their order. A message that ends early counts as far as it went.
    #[must_use]
    pub fn finish(mut self) -> Vec<bool> {
        if let Some(mut reader) = self.reader.take() {
            self.read(&mut reader, b"", true);
        }
        self.keys.into_iter().map(|(_, found)| found).collect()
    }

    fn read(&mut self, reader: &mut Reader, octets: &[u8], last: bool) {
        match reader {
            Reader::Header { field, at_line_start } => {
                for line in octets.split_inclusive(|&octet| octet == b'\n') {
                    if *at_line_start && !matches!(line.first(), Some(b' ' | b'\t')) {
                        self.field(field);
                    }
                    let room = MAX_FIELD.saturating_sub(field.len());
                    field.extend_from_slice(line.get(..room).unwrap_or(line));
                    *at_line_start = line.ends_with(b"\n");
                }
                if last {
                    self.field(field);
                }
            }
            Reader::Text { binary, text, html } => {
                let mut decoded = Vec::new();
                if last {
                    std::mem::replace(binary, BinaryDecoder::new(TransferEncoding::Identity)).finish(&mut decoded);
                } else {
                    binary.decode(octets, &mut decoded);
                }
                let (matcher, words, keys) = (&mut self.matcher, &mut self.words, &mut self.keys);
                let mut read = String::new();
                text.decode(&decoded, last, |text| {
                    matcher.push(text, keys, TextScope::Body);
                    if let Some(html) = html {
                        html.push(text, &mut read);
                        words.push(&read, keys, TextScope::Body);
                        read.clear();
                    }
                });
                if last {
                    matcher.end(keys, TextScope::Body);
                    if let Some(html) = html {
                        html.finish(&mut read);
                        words.push(&read, keys, TextScope::Body);
                        words.end(keys, TextScope::Body);
                    }
                }
            }
        }
    }

    fn field(&mut self, field: &mut Vec<u8>) {
        if !field.is_empty() {
            self.matcher.push(&decode_header(field), &mut self.keys, TextScope::Text);
            self.matcher.end(&mut self.keys, TextScope::Text);
            field.clear();
        }
    }
}

impl SegmentKind {
    fn reader(self) -> Reader {
        match self {
            Self::Header => Reader::Header { field: Vec::new(), at_line_start: true },
            Self::Text { encoding, charset, html } => Reader::Text {
                binary: BinaryDecoder::new(encoding),
                text: charset.map_or_else(TextDecoder::unlabelled, Charset::stream),
                html: html.then(HtmlText::default),
            },
        }
    }
}

fn text_of(structure: &Structure, part: &Part) -> Option<Segment> {
    let kind = match part.kind {
        PartKind::Leaf if part.is_type(b"text") || part.is_type(b"message") => SegmentKind::Text {
            encoding: part.transfer_encoding(),
            charset: part.param(b"charset").and_then(|label| Charset::for_label(&label)),
            html: part.is(b"text", b"html"),
        },
        PartKind::Multipart => {
            // The one empty part that stands for none lies at the end of the body.
            let only = structure.get(*part.children.first()?)?;
            if only.header.start < part.body.end || part.children.len() > 1 {
                return None;
            }
            SegmentKind::Text { encoding: TransferEncoding::Identity, charset: None, html: false }
        }
        _ => return None,
    };
    Some(Segment { range: part.body.clone(), kind })
}

/// Looks for needles in a text that comes in pieces.
#[derive(Debug)]
struct Matcher {
    window: Vec<u8>,
    folder: Folder,
    /// The length of the longest needle.
    longest: usize,
}

impl Matcher {
    fn push(&mut self, text: &str, keys: &mut [(TextKey<'_>, bool)], scope: TextScope) {
        self.folder.push(text, &mut self.window);
        if self.window.len() > 2 * PIECE + 2 * self.longest {
            self.look(keys, scope, self.folder.stable(self.window.len()));
            // A match may begin in the last octets that were looked at.
            let stable = self.folder.stable(self.window.len());
            let keep = stable.saturating_sub(self.longest);
            self.window.drain(..keep);
            self.folder.removed(keep);
        }
    }

    fn end(&mut self, keys: &mut [(TextKey<'_>, bool)], scope: TextScope) {
        self.look(keys, scope, self.window.len());
        self.window.clear();
        self.window.shrink_to(4 * PIECE);
        self.folder = Folder::default();
    }

    fn look(&self, keys: &mut [(TextKey<'_>, bool)], scope: TextScope, end: usize) {
        let window = self.window.get(..end).unwrap_or_default();
        for (key, found) in keys {
            let applies = scope == TextScope::Body || key.scope == TextScope::Text;
            if !*found && applies && key.needle.is_in(window) {
                *found = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_does_not_grow_with_the_message() {
        for header in [
            "",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "Content-Type: text/plain; charset=utf-7\r\n",
            "Content-Type: text/html\r\n",
        ] {
            let mut message = format!("{header}\r\n").into_bytes();
            message.resize(4_000_000, b'x');
            let structure = Structure::parse(&message);
            let needle = Needle::new("none");
            let mut search = TextSearch::new(&structure, &[TextKey { needle: &needle, scope: TextScope::Text }]);
            for piece in message.chunks(100_000) {
                search.push(piece);
                let kept = search.matcher.window.capacity().max(search.words.window.capacity());
                assert!(kept <= 16 * PIECE, "{kept}");
            }
            assert_eq!(search.finish(), [false]);
        }
    }
}
