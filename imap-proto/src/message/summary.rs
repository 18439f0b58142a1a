//! What is worked out once about a message, and kept by the backend: [`Summary`].

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use pillarbox_proto_core::mail::DateTime;

use super::envelope::{EncodedEnvelope, Envelope};
use super::nstring::Dialect;
use super::parser::StructureParser;
use super::structure::Structure;
use super::summary_tree::{Reader, Writer, read_parts, write_parts};

/// The largest header that a summary carries, in octets.
pub const MAX_CACHED_HEADER: usize = 16 * 1024;

/// The form of the octets. Another one means that the summary is computed again.
const VERSION: u8 = 1;

const HAS_DATE: u8 = 1;
const HAS_REV2: u8 = 2;
const HAS_HEADER: u8 = 4;
const ALL_FLAGS: u8 = HAS_DATE | HAS_REV2 | HAS_HEADER;

/// The envelope, the structure with all offsets, the sent date and, if it is not large, the header of a message: enough to
/// answer ENVELOPE, BODY, BODYSTRUCTURE, RFC822.SIZE, sections of the header and searches in it without the message.
///
/// To a backend it is opaque octets, with a version and a check of their own: what is damaged or from another version
/// is not accepted, and then computed again. The strings of a summary that was read are slices of those octets.
///
/// ```
/// use pillarbox_imap_proto::message::{Dialect, Summary};
///
/// let summary = Summary::compute(b"Subject: hello\r\n\r\nHi!\r\n");
/// let kept = summary.encode();
/// let summary = Summary::decode(&kept).unwrap();
/// assert_eq!(summary.size(), 23);
/// assert_eq!(&summary.envelope(Dialect::Rev1)[..], br#"(NIL "hello" NIL NIL NIL NIL NIL NIL NIL NIL)"#);
/// assert_eq!(summary.header().unwrap(), "Subject: hello\r\n\r\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    structure: Arc<Structure>,
    envelope: EncodedEnvelope,
    header: Option<Bytes>,
}

impl Summary {
    /// Works out the summary of a message that is in memory.
    #[must_use]
    pub fn compute(message: &[u8]) -> Self {
        let mut builder = SummaryBuilder::new();
        builder.push(message);
        builder.finish()
    }

    /// The summary as octets for the backend to keep.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let structure = &*self.structure;
        let mut writer = Writer::default();
        writer.octet(VERSION);
        let flag = |bit, set| if set { bit } else { 0 };
        writer.octet(
            flag(HAS_DATE, structure.sent.is_some())
                | flag(HAS_REV2, self.envelope.rev2.is_some())
                | flag(HAS_HEADER, self.header.is_some()),
        );
        writer.number(structure.size);
        if let Some(sent) = structure.sent {
            writer.signed(sent.unix());
            writer.signed(sent.offset_minutes().into());
        }
        writer.string(&self.envelope.rev1);
        for text in [&self.envelope.rev2, &self.header].into_iter().flatten() {
            writer.string(text);
        }
        write_parts(structure, &mut writer);
        let mut octets = writer.into_inner();
        let sum = checksum(&octets);
        octets.extend_from_slice(&sum.to_le_bytes());
        octets.into()
    }

    /// The summary that a backend has kept; `None` if the octets are damaged or from another version.
    #[must_use]
    pub fn decode(octets: &Bytes) -> Option<Self> {
        let content = octets.len().checked_sub(8)?;
        let (checked, sum) = octets.split_at_checked(content)?;
        if checksum(checked) != u64::from_le_bytes(sum.try_into().ok()?) {
            return None;
        }
        Self::read(Reader::new(octets.slice(..content)))
    }

    fn read(mut reader: Reader) -> Option<Self> {
        if reader.octet()? != VERSION {
            return None;
        }
        let flags = reader.octet()?;
        if flags & !ALL_FLAGS != 0 {
            return None;
        }
        let size = reader.number()?;
        let sent = if flags & HAS_DATE == 0 {
            None
        } else {
            let (unix, offset) = (reader.signed()?, reader.signed()?);
            Some(DateTime::from_unix_at(unix, i16::try_from(offset).ok()?).ok()?)
        };
        let rev1 = reader.string()?;
        let rev2 = if flags & HAS_REV2 == 0 { None } else { Some(reader.string()?) };
        let header = if flags & HAS_HEADER == 0 { None } else { Some(reader.string()?) };
        let envelope = EncodedEnvelope { rev1, rev2 };
        let parts = read_parts(&mut reader, size, &envelope)?;
        let structure = Arc::new(Structure { parts, size, sent });
        if header.as_ref().is_some_and(|header| header.len() as u64 != structure.root().header.end) {
            return None;
        }
        Some(Self { structure, envelope, header })
    }

    /// The size of the message in octets: RFC822.SIZE.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.structure.size
    }

    /// What the `Date:` field says, if it can be understood.
    #[must_use]
    pub fn sent_date(&self) -> Option<DateTime> {
        self.structure.sent
    }

    /// The envelope as it goes out after `ENVELOPE `.
    #[must_use]
    pub const fn envelope(&self, dialect: Dialect) -> &Bytes {
        self.envelope.get(dialect)
    }

    /// Writes the envelope: what follows `ENVELOPE ` in a FETCH response.
    pub fn write_envelope(&self, dialect: Dialect, out: &mut impl BufMut) {
        out.put_slice(self.envelope(dialect));
    }

    /// The header of the message with its empty line, unless it is larger than [`MAX_CACHED_HEADER`].
    #[must_use]
    pub const fn header(&self) -> Option<&Bytes> {
        self.header.as_ref()
    }

    /// The size of the header with its empty line in octets; the body begins there.
    #[must_use]
    pub fn header_size(&self) -> u64 {
        self.structure.root().header.end
    }

    /// The tree of parts.
    #[must_use]
    pub fn structure(&self) -> &Structure {
        &self.structure
    }
}

/// Works out the [`Summary`] of a message that comes in pieces.
#[derive(Debug, Default)]
pub struct SummaryBuilder {
    parser: StructureParser,
    /// The first octets of the message, as far as a header may go.
    start: Vec<u8>,
}

impl SummaryBuilder {
    /// At the start of a message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of the message.
    pub fn push(&mut self, piece: &[u8]) {
        let room = MAX_CACHED_HEADER - self.start.len().min(MAX_CACHED_HEADER);
        if self.parser.in_first_header() {
            self.start.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        self.parser.push(piece);
    }

    /// The summary of the message that has been pushed.
    #[must_use]
    pub fn finish(self) -> Summary {
        let structure = Arc::new(self.parser.finish());
        let root = structure.root();
        let header = usize::try_from(root.header.end).ok().and_then(|end| self.start.get(..end));
        let header = header.map(Bytes::copy_from_slice);
        // The message itself always has an envelope.
        let envelope = root.envelope.clone().unwrap_or_else(|| EncodedEnvelope::new(&Envelope::default()));
        Summary { envelope, header, structure }
    }
}

/// Finds damage; nothing here withstands malice, nor needs to: a wrong tree is as harmless as a broken message.
pub(super) fn checksum(octets: &[u8]) -> u64 {
    let mut sum = 0x9E37_79B9_7F4A_7C15 ^ octets.len() as u64;
    let mut mix = |word: u64| sum = (sum ^ word).wrapping_mul(0xBF58_476D_1CE4_E5B9).rotate_left(29);
    let (words, rest) = octets.as_chunks::<8>();
    for word in words {
        mix(u64::from_le_bytes(*word));
    }
    for &octet in rest {
        mix(octet.into());
    }
    mix(0);
    sum
}
