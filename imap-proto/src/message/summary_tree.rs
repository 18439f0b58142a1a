//! The tree of parts as octets, for [`Summary`](super::Summary).
//!
//! Numbers are written in groups of seven bits, the lowest first; strings with their length before them. The reader
//! accepts nothing that breaks an invariant of [`Structure`], so that what it returns is as safe as what the parser
//! returns. Strings are slices of the input.

use bytes::Bytes;

use super::envelope::EncodedEnvelope;
use super::params::Param;
use super::parser::{MAX_DEPTH, MAX_PARTS};
use super::structure::{Disposition, Part, PartKind, Structure};

const ID: u64 = 1 << 2;
const DESCRIPTION: u64 = 1 << 3;
const ENCODING: u64 = 1 << 4;
const MD5: u64 = 1 << 5;
const DISPOSITION: u64 = 1 << 6;
const LOCATION: u64 = 1 << 7;
const ENVELOPE: u64 = 1 << 8;
const ENVELOPE_REV2: u64 = 1 << 9;
const ALL_FLAGS: u64 = (1 << 10) - 1;

#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn octet(&mut self, octet: u8) {
        self.0.push(octet);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.octet(number as u8 | 0x80);
            number >>= 7;
        }
        self.octet(number as u8);
    }

    pub(super) fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63) as u64);
    }

    pub(super) fn string(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text);
    }

    pub(super) fn into_inner(self) -> Vec<u8> {
        self.0
    }

    fn params(&mut self, params: &[Param]) {
        self.number(params.len() as u64);
        for param in params {
            self.string(&param.name);
            self.string(&param.value);
        }
    }
}

pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) const fn new(octets: Bytes) -> Self {
        Self(octets)
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        let octet = *self.0.first()?;
        drop(self.0.split_to(1));
        Some(octet)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let (mut number, mut length) = (0_u64, 0);
        for &octet in self.0.get(..self.0.len().min(10))? {
            let bits = u64::from(octet & 0x7F);
            if length == 9 && bits > 1 {
                return None;
            }
            number |= bits << (7 * length);
            length += 1;
            if octet & 0x80 == 0 {
                drop(self.0.split_to(length));
                return Some(number);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn string(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.number()?).ok()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn optional(&mut self, present: bool) -> Option<Option<Bytes>> {
        if present { self.string().map(Some) } else { Some(None) }
    }

    /// Reads as many things as the number before them says. Each takes an octet at least, so that the number is bounded.
    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        if count > self.0.len() {
            return None;
        }
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(one(self)?);
        }
        Some(list)
    }

    fn params(&mut self) -> Option<Vec<Param>> {
        self.list(|reader| Some(Param { name: reader.string()?, value: reader.string()? }))
    }
}

pub(super) fn write_parts(structure: &Structure, writer: &mut Writer) {
    writer.number(structure.parts.len() as u64);
    for part in &structure.parts {
        if let Some(parent) = part.parent {
            writer.number(parent.into());
        }
        // The envelope of the message itself stands elsewhere.
        let envelope = part.envelope.as_ref().filter(|_| part.parent.is_some());
        let flag = |bit, set| if set { bit } else { 0 };
        let kind = match part.kind {
            PartKind::Leaf => 0,
            PartKind::Multipart => 1,
            PartKind::Message => 2,
        };
        writer.number(
            kind | flag(ID, part.id.is_some())
                | flag(DESCRIPTION, part.description.is_some())
                | flag(ENCODING, part.encoding.is_some())
                | flag(MD5, part.md5.is_some())
                | flag(DISPOSITION, part.disposition.is_some())
                | flag(LOCATION, part.location.is_some())
                | flag(ENVELOPE, envelope.is_some())
                | flag(ENVELOPE_REV2, envelope.is_some_and(|envelope| envelope.rev2.is_some())),
        );
        writer.number(part.header.start);
        writer.number(part.body.start - part.header.start);
        writer.number(part.body.end - part.body.start);
        writer.number(part.lines);
        writer.string(&part.media_type);
        writer.string(&part.subtype);
        writer.params(&part.params);
        for text in [&part.id, &part.description, &part.encoding, &part.md5].into_iter().flatten() {
            writer.string(text);
        }
        if let Some(disposition) = &part.disposition {
            writer.string(&disposition.kind);
            writer.params(&disposition.params);
        }
        writer.number(part.languages.len() as u64);
        for tag in &part.languages {
            writer.string(tag);
        }
        if let Some(location) = &part.location {
            writer.string(location);
        }
        if let Some(envelope) = envelope {
            writer.string(&envelope.rev1);
            if let Some(rev2) = &envelope.rev2 {
                writer.string(rev2);
            }
        }
    }
}

/// Reads the parts of a message of this size. `None` if they are not a tree as [`Structure`] promises it.
pub(super) fn read_parts(reader: &mut Reader, size: u64, envelope: &EncodedEnvelope) -> Option<Vec<Part>> {
    let count = usize::try_from(reader.number()?).ok()?;
    if count == 0 || count > 2 * MAX_PARTS + MAX_DEPTH {
        return None;
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut depths: Vec<usize> = Vec::new();
    for index in 0..count {
        let parent = if index == 0 { None } else { Some(u32::try_from(reader.number()?).ok()?) };
        let mut part = read_part(reader, parent)?;
        match parent {
            None => {
                part.envelope = Some(envelope.clone());
                if part.header.start != 0 || part.body.end != size {
                    return None;
                }
                depths.push(0);
            }
            Some(parent) => {
                let depth = depths.get(parent as usize)? + 1;
                let before = parts.get(parent as usize)?.children.last().and_then(|&child| parts.get(child as usize));
                let after_sibling = before.is_none_or(|before| before.body.end <= part.header.start);
                let parent = parts.get_mut(parent as usize)?;
                let inside = part.header.start >= parent.body.start && part.body.end <= parent.body.end;
                let is_message = parent.kind == PartKind::Message;
                let allowed = match parent.kind {
                    PartKind::Leaf => false,
                    PartKind::Multipart => true,
                    PartKind::Message => parent.children.is_empty(),
                };
                if !inside || !after_sibling || !allowed || depth > MAX_DEPTH + 1 {
                    return None;
                }
                if part.envelope.is_some() != is_message {
                    return None;
                }
                parent.children.push(u32::try_from(index).ok()?);
                depths.push(depth);
            }
        }
        parts.push(part);
    }
    let complete = parts.iter().all(|part| part.kind == PartKind::Leaf || !part.children.is_empty());
    (complete && reader.0.is_empty()).then_some(parts)
}

fn read_part(reader: &mut Reader, parent: Option<u32>) -> Option<Part> {
    let flags = reader.number()?;
    if flags & !ALL_FLAGS != 0 {
        return None;
    }
    let start = reader.number()?;
    let mut part = Part::new(start, parent);
    part.kind = match flags & 3 {
        0 => PartKind::Leaf,
        1 => PartKind::Multipart,
        2 => PartKind::Message,
        _ => return None,
    };
    let body = start.checked_add(reader.number()?)?;
    part.header = start..body;
    part.body = body..body.checked_add(reader.number()?)?;
    part.lines = reader.number()?;
    part.media_type = reader.string()?;
    part.subtype = reader.string()?;
    part.params = reader.params()?;
    part.id = reader.optional(flags & ID != 0)?;
    part.description = reader.optional(flags & DESCRIPTION != 0)?;
    part.encoding = reader.optional(flags & ENCODING != 0)?;
    part.md5 = reader.optional(flags & MD5 != 0)?;
    if flags & DISPOSITION != 0 {
        part.disposition = Some(Disposition { kind: reader.string()?, params: reader.params()? });
    }
    part.languages = reader.list(Reader::string)?;
    part.location = reader.optional(flags & LOCATION != 0)?;
    if flags & ENVELOPE != 0 {
        part.envelope =
            Some(EncodedEnvelope { rev1: reader.string()?, rev2: reader.optional(flags & ENVELOPE_REV2 != 0)? });
    } else if flags & ENVELOPE_REV2 != 0 {
        return None;
    }
    Some(part)
}
