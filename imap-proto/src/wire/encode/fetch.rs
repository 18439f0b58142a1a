//! FETCH responses (RFC 9051, section 7.5.2).

use bytes::BytesMut;
use pillarbox_proto_core::mail::{DateTime, Flags, Keyword, Keywords, ModSeq, SystemFlags, Uid};

use super::number::{decimal32, number};
use super::string::{astring, date_time};
use super::system_flags::SYSTEM_FLAGS;
use crate::wire::command::{HeaderList, Section, SectionPart, SectionText};

/// Writes one FETCH response, item by item, so that a row with a large body can be sent in parts.
///
/// ```
/// use bytes::BytesMut;
/// use pillarbox_imap_proto::wire::encode::{FetchRow, literal};
///
/// let mut out = BytesMut::new();
/// let mut row = FetchRow::begin(&mut out, 7);
/// row.size(&mut out, 44_827);
/// row.name(&mut out, "RFC822.HEADER");
/// literal(&mut out, 2);
/// out.extend_from_slice(b"\r\n");
/// row.end(&mut out);
/// assert_eq!(out, "* 7 FETCH (RFC822.SIZE 44827 RFC822.HEADER {2}\r\n\r\n)\r\n");
/// ```
#[derive(Debug)]
pub struct FetchRow {
    any: bool,
}

impl FetchRow {
    /// Begins the response for the message of this sequence number.
    #[inline]
    pub fn begin(out: &mut BytesMut, sequence: u32) -> Self {
        out.extend_from_slice(b"* ");
        number(out, sequence);
        out.extend_from_slice(b" FETCH (");
        Self { any: false }
    }

    /// A response that has been begun elsewhere: the next item gets a space before it.
    #[must_use]
    pub const fn resumed() -> Self {
        Self { any: true }
    }

    /// Whether an item has been written. A response must have one at least.
    #[must_use]
    pub const fn has_items(&self) -> bool {
        self.any
    }

    /// The name of an item and a space. The caller writes its value next.
    #[inline]
    pub fn name(&mut self, out: &mut BytesMut, name: &str) {
        self.separate(out);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b" ");
    }

    #[inline]
    fn separate(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.any, true) {
            out.extend_from_slice(b" ");
        }
    }

    /// `UID`
    #[inline]
    pub fn uid(&mut self, out: &mut BytesMut, uid: Uid) {
        self.name(out, "UID");
        number(out, uid.get());
    }

    /// `FLAGS`
    #[inline]
    pub fn flags(&mut self, out: &mut BytesMut, value: &Flags, recent: bool) {
        self.name(out, "FLAGS");
        flags(out, value, recent);
    }

    /// `INTERNALDATE`
    pub fn internal_date(&mut self, out: &mut BytesMut, date: DateTime) {
        self.name(out, "INTERNALDATE");
        date_time(out, date);
    }

    /// `RFC822.SIZE`
    pub fn size(&mut self, out: &mut BytesMut, octets: u64) {
        self.name(out, "RFC822.SIZE");
        number(out, octets);
    }

    /// `MODSEQ` (RFC 7162, section 3.1.4.2)
    pub fn modseq(&mut self, out: &mut BytesMut, modseq: ModSeq) {
        self.name(out, "MODSEQ");
        out.extend_from_slice(b"(");
        number(out, modseq.get());
        out.extend_from_slice(b")");
    }

    /// `BODY[...]` with the section that the client asked for and the first octet of its partial, if it asked for one.
    /// The caller writes an `nstring` next.
    pub fn body_section(&mut self, out: &mut BytesMut, section: &Section<'_>, origin: Option<u64>) {
        self.separate(out);
        out.extend_from_slice(b"BODY");
        write_section(out, section, false);
        write_origin(out, origin);
    }

    /// `BINARY[...]`, likewise. The caller writes an `nstring` or a literal8 next.
    pub fn binary(&mut self, out: &mut BytesMut, part: SectionPart<'_>, origin: Option<u64>) {
        self.separate(out);
        out.extend_from_slice(b"BINARY[");
        out.extend_from_slice(part.as_bytes());
        out.extend_from_slice(b"]");
        write_origin(out, origin);
    }

    /// `BINARY.SIZE[...]`
    pub fn binary_size(&mut self, out: &mut BytesMut, part: SectionPart<'_>, octets: u64) {
        self.separate(out);
        out.extend_from_slice(b"BINARY.SIZE[");
        out.extend_from_slice(part.as_bytes());
        out.extend_from_slice(b"] ");
        number(out, octets);
    }

    /// Ends the response.
    #[inline]
    pub fn end(self, out: &mut BytesMut) {
        out.extend_from_slice(b")\r\n");
    }
}

fn write_origin(out: &mut BytesMut, origin: Option<u64>) {
    if let Some(origin) = origin {
        out.extend_from_slice(b"<");
        number(out, origin);
        out.extend_from_slice(b">");
    }
    out.extend_from_slice(b" ");
}

/// A section with its brackets. `utf8` is for the field names, which are ASCII in all reason.
pub(super) fn write_section(out: &mut BytesMut, section: &Section<'_>, utf8: bool) {
    out.extend_from_slice(b"[");
    out.extend_from_slice(section.part.as_bytes());
    if !section.part.is_empty() && section.text != SectionText::Whole {
        out.extend_from_slice(b".");
    }
    match section.text {
        SectionText::Whole => {}
        SectionText::Header => out.extend_from_slice(b"HEADER"),
        SectionText::HeaderFields(names) => header_list(out, b"HEADER.FIELDS (", names, utf8),
        SectionText::HeaderFieldsNot(names) => header_list(out, b"HEADER.FIELDS.NOT (", names, utf8),
        SectionText::Text => out.extend_from_slice(b"TEXT"),
        SectionText::Mime => out.extend_from_slice(b"MIME"),
    }
    out.extend_from_slice(b"]");
}

fn header_list(out: &mut BytesMut, start: &[u8], names: HeaderList<'_>, utf8: bool) {
    out.extend_from_slice(start);
    for (index, name) in names.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b" " } else { b"" });
        astring(out, &name.value(), utf8);
    }
    out.extend_from_slice(b")");
}

/// `"(" [flag *(SP flag)] ")"`, with `\Recent` if `recent`.
#[inline]
pub fn flags(out: &mut BytesMut, flags: &Flags, recent: bool) {
    let system = SYSTEM_FLAGS[system_index(flags.system, recent)];
    out.extend_from_slice(b"(");
    out.extend_from_slice(system.as_bytes());
    keywords(out, &flags.keywords, system.is_empty());
    out.extend_from_slice(b")");
}

#[inline]
fn system_index(system: SystemFlags, recent: bool) -> usize {
    usize::from(system.bits() & 31 | u8::from(recent) << 5)
}

/// Keywords after system flags; `first` says that there were none of those.
fn keywords(out: &mut BytesMut, keywords: &Keywords, mut first: bool) {
    for keyword in keywords {
        if !std::mem::take(&mut first) {
            out.extend_from_slice(b" ");
        }
        out.extend_from_slice(keyword.as_str().as_bytes());
    }
}

/// The whole response of `FETCH ... (UID FLAGS)`, which clients ask of every message of a mailbox: written in one go.
#[inline]
pub fn uid_and_flags(out: &mut BytesMut, sequence: u32, uid: Uid, value: &Flags, recent: bool) {
    let mut row = Row { octets: [0; 128], length: 0 };
    row.put(b"* ", 2);
    let (digits, length) = decimal32(sequence);
    row.put(&digits, length);
    row.put(b" FETCH (UID ", 12);
    let (digits, length) = decimal32(uid.get());
    row.put(&digits, length);
    row.put(b" FLAGS (", 8);
    let (names, length) = &ENDS[system_index(value.system, recent)];
    if value.keywords.is_empty() {
        row.put(names, usize::from(*length));
        out.extend_from_slice(row.as_bytes());
    } else {
        // Without the parentheses and the line's end that are there already.
        let names = usize::from(*length) - END.len();
        row.put(&ENDS[system_index(value.system, recent)].0, names);
        out.extend_from_slice(row.as_bytes());
        keywords(out, &value.keywords, names == 0);
        out.extend_from_slice(END);
    }
}

/// A row in the making. Parts have a fixed size, so that they are moved and not looped over; only the length that
/// counts differs, and the next part overwrites the rest.
struct Row {
    octets: [u8; 128],
    length: usize,
}

impl Row {
    #[inline(always)]
    fn put<const N: usize>(&mut self, part: &[u8; N], length: usize) {
        // The longest row has 2 + 10 + 12 + 10 + 8 octets before the last part, which has 64: it always fits.
        if let Some(place) = self.octets.get_mut(self.length..).and_then(<[u8]>::first_chunk_mut) {
            *place = *part;
            self.length += length;
        }
    }

    #[inline(always)]
    fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

/// The end of a row after its flags.
const END: &[u8] = b"))\r\n";

/// [`SYSTEM_FLAGS`] with the row's end behind them, and the length of both.
static ENDS: [([u8; 64], u8); 64] = {
    let mut ends = [([0; 64], 0); 64];
    let mut index = 0;
    while index < 64 {
        let names = SYSTEM_FLAGS[index].as_bytes();
        let length = names.len() + END.len();
        let mut at = 0;
        while at < length {
            ends[index].0[at] = if at < names.len() { names[at] } else { END[at - names.len()] };
            at += 1;
        }
        ends[index].1 = length as u8;
        index += 1;
    }
    ends
};

/// The names of system flags and keywords.
pub(super) fn flag_names(system: SystemFlags, keywords: &Keywords) -> impl Iterator<Item = &str> {
    fn shorten<'t>(name: &'static str) -> &'t str {
        name
    }
    system.names().map(shorten).chain(keywords.iter().map(Keyword::as_str))
}

/// Words with single spaces between.
pub(super) fn spaced<'t>(out: &mut BytesMut, words: impl IntoIterator<Item = &'t str>) {
    for (index, word) in words.into_iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b" ");
        }
        out.extend_from_slice(word.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_system_flags_is_written_out() {
        for bits in 0..64_u8 {
            let expected: Vec<&str> =
                SystemFlags::from_bits(bits).names().chain((bits >= 32).then_some("\\Recent")).collect();
            assert_eq!(SYSTEM_FLAGS[usize::from(bits)], expected.join(" "));
        }
    }

    #[test]
    fn rows_of_uid_and_flags() {
        let uid = Uid::MAX;
        for bits in 0..64_u8 {
            for keywords in [vec![], vec!["$Junk", "work"]] {
                let flags = Flags {
                    system: SystemFlags::from_bits(bits),
                    keywords: keywords.into_iter().map(|keyword| Keyword::new(keyword).unwrap()).collect(),
                };
                let (mut fast, mut slow) = (BytesMut::new(), BytesMut::new());
                uid_and_flags(&mut fast, u32::MAX, uid, &flags, bits >= 32);
                let mut row = FetchRow::begin(&mut slow, u32::MAX);
                row.uid(&mut slow, uid);
                row.flags(&mut slow, &flags, bits >= 32);
                row.end(&mut slow);
                assert_eq!(fast, slow);
            }
        }
    }

    #[test]
    fn one_row_as_text() {
        let keywords = [Keyword::new("$Forwarded").unwrap()].into_iter().collect();
        let mut out = BytesMut::new();
        uid_and_flags(&mut out, 1, Uid::MIN, &Flags { system: SystemFlags::NONE, keywords }, false);
        uid_and_flags(&mut out, 23, Uid::MIN, &SystemFlags::SEEN.into(), true);
        assert_eq!(out, "* 1 FETCH (UID 1 FLAGS ($Forwarded))\r\n* 23 FETCH (UID 1 FLAGS (\\Seen \\Recent))\r\n");
    }

    #[test]
    fn other_items() {
        let mut out = BytesMut::new();
        let mut row = FetchRow::begin(&mut out, 5);
        row.internal_date(&mut out, DateTime::from_unix(0));
        row.modseq(&mut out, ModSeq::new(12));
        let whole = Section { part: SectionPart::default(), text: SectionText::Whole };
        row.body_section(&mut out, &whole, Some(1024));
        super::super::literal(&mut out, 0);
        row.binary_size(&mut out, SectionPart::default(), 3);
        row.binary(&mut out, SectionPart::default(), None);
        super::super::literal8(&mut out, 0);
        row.end(&mut out);
        assert_eq!(
            out,
            "* 5 FETCH (INTERNALDATE \" 1-Jan-1970 00:00:00 +0000\" MODSEQ (12) BODY[]<1024> {0}\r\n \
             BINARY.SIZE[] 3 BINARY[] ~{0}\r\n)\r\n"
        );
    }
}
