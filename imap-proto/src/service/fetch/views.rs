//! The items of a FETCH that need a message's content.

use std::ops::Range;

use bytes::Bytes;
use pillarbox_proto_core::backend::Error;

use super::plan::{Fields, View};
use super::writer::Writer;
use crate::message::{BinaryDecoder, Dialect, SectionKind, TransferEncoding, partial};
use crate::service::source::{Source, total};
use crate::wire::command::Partial;
use crate::wire::encode;

/// Why an item could not be told.
pub(super) enum Failure {
    /// The part's transfer encoding is unknown; the item is left out (RFC 3516, section 4.3).
    Undecodable,
    Store(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Writes one item.
pub(super) async fn write(
    writer: &mut Writer<'_>,
    source: &mut Source<'_>,
    view: &View,
    rev2: bool,
) -> Result<(), Failure> {
    let dialect = if rev2 { Dialect::Rev2 } else { Dialect::Rev1 };
    match view {
        View::Envelope => {
            let summary = source.summary().await?;
            writer.text(|out| {
                out.extend_from_slice(b" ENVELOPE ");
                out.extend_from_slice(summary.envelope(dialect));
            });
        }
        View::Structure { extended: true } => {
            let structure = source.structure().await?;
            writer.text(|out| {
                out.extend_from_slice(b" BODYSTRUCTURE ");
                structure.write_body_structure(dialect, out);
            });
        }
        View::Structure { extended: false } => {
            let structure = source.structure().await?;
            writer.text(|out| {
                out.extend_from_slice(b" BODY ");
                structure.write_body(dialect, out);
            });
        }
        View::Section { label, part, kind, fields, partial } => {
            let found = section(source, part, *kind, fields).await?;
            section_value(writer, source, label, found, *partial).await?;
        }
        View::Binary { label, part, partial } => {
            let Some((range, encoding)) = binary(source, part).await? else {
                nil(writer, label);
                return Ok(());
            };
            decoded(writer, source, label, range, encoding, *partial).await?;
        }
        View::BinarySize { label, part } => {
            // There is no NIL for a size; a part that is not there has none (RFC 9051, section 7.5.2).
            let size = match binary(source, part).await? {
                Some((range, encoding)) => decoded_size(source, range, encoding).await?,
                None => 0,
            };
            writer.text(|out| {
                out.extend_from_slice(label);
                encode::number(out, size);
            });
        }
    }
    Ok(())
}

fn nil(writer: &mut Writer<'_>, label: &[u8]) {
    writer.text(|out| {
        out.extend_from_slice(label);
        out.extend_from_slice(b"NIL");
    });
}

/// Where the octets of a section are.
enum Found {
    Nowhere,
    /// In the message.
    InMessage(Vec<Range<u64>>),
    /// In the header that the summary has: the message need not be opened.
    InHeader(Bytes, Vec<Range<u64>>),
}

async fn section(source: &mut Source<'_>, part: &[u32], kind: SectionKind, fields: &Fields) -> Result<Found, Error> {
    if part.is_empty() && kind == SectionKind::Whole {
        let size = source.open().await?.len();
        return Ok(Found::InMessage(std::iter::once(0..size).collect()));
    }
    let Some(range) = source.structure().await?.section(part.iter().copied(), kind) else {
        return Ok(Found::Nowhere);
    };
    if part.is_empty()
        && kind == SectionKind::Header
        && let Some(header) = source.cached_header()
    {
        let mut selector = match fields.selector() {
            Some(selector) => selector,
            None => {
                let all = 0..header.len() as u64;
                return Ok(Found::InHeader(header, vec![all]));
            }
        };
        selector.push(&header);
        return Ok(Found::InHeader(header, selector.finish()));
    }
    // The summary may be dropped when the message turns out to be another by now.
    source.open().await?;
    let Some(range) = source.structure().await?.section(part.iter().copied(), kind).or(Some(range)) else {
        return Ok(Found::Nowhere);
    };
    let Some(mut selector) = fields.selector() else { return Ok(Found::InMessage(vec![range])) };
    let mut at = range.start;
    while at < range.end {
        let chunk = source.read(at, range.end).await?;
        selector.push(&chunk);
        at += chunk.len() as u64;
    }
    let chosen = selector.finish().into_iter().map(|field| range.start + field.start..range.start + field.end);
    Ok(Found::InMessage(chosen.collect()))
}

async fn section_value(
    writer: &mut Writer<'_>,
    source: &mut Source<'_>,
    label: &[u8],
    found: Found,
    wanted: Option<Partial>,
) -> Result<(), Failure> {
    let (header, ranges) = match found {
        Found::Nowhere => {
            nil(writer, label);
            return Ok(());
        }
        Found::InMessage(ranges) => (None, ranges),
        Found::InHeader(header, ranges) => (Some(header), ranges),
    };
    let ranges = match wanted {
        Some(wanted) => partial(&ranges, wanted.start, wanted.length),
        None => ranges,
    };
    writer.text(|out| out.extend_from_slice(label));
    writer.literal(total(&ranges));
    for range in ranges {
        match &header {
            Some(header) => {
                let bound = |at| usize::try_from(at).unwrap_or(usize::MAX).min(header.len());
                writer.octets(header.slice(bound(range.start)..bound(range.end))).await;
            }
            None => {
                let mut at = range.start;
                while at < range.end {
                    let most = writer.room().await;
                    let chunk = source.read_most(at, range.end, most).await?;
                    at += chunk.len() as u64;
                    if source.is_in_memory() {
                        writer.octets_in_memory(chunk).await;
                    } else {
                        writer.octets(chunk).await;
                    }
                }
            }
        }
    }
    Ok(())
}

async fn binary(source: &mut Source<'_>, part: &[u32]) -> Result<Option<(Range<u64>, TransferEncoding)>, Failure> {
    source.open().await?;
    let structure = source.structure().await?;
    structure.binary(part.iter().copied()).map_err(|_| Failure::Undecodable)
}

/// Decodes a part and hands the pieces to `take`.
struct Decoding {
    decoder: Option<BinaryDecoder>,
    at: u64,
    end: u64,
    piece: Vec<u8>,
}

impl Decoding {
    fn new(range: Range<u64>, encoding: TransferEncoding) -> Self {
        Self { decoder: Some(BinaryDecoder::new(encoding)), at: range.start, end: range.end, piece: Vec::new() }
    }

    /// The next decoded piece; none at the end.
    async fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Bytes>, Error> {
        loop {
            if self.at >= self.end {
                let Some(decoder) = self.decoder.take() else { return Ok(None) };
                decoder.finish(&mut self.piece);
            } else {
                let chunk = source.read(self.at, self.end).await?;
                self.at += chunk.len() as u64;
                if let Some(decoder) = &mut self.decoder {
                    decoder.decode(&chunk, &mut self.piece);
                }
            }
            if !self.piece.is_empty() {
                return Ok(Some(std::mem::take(&mut self.piece).into()));
            }
        }
    }
}

async fn decoded_size(source: &mut Source<'_>, range: Range<u64>, encoding: TransferEncoding) -> Result<u64, Error> {
    let mut decoding = Decoding::new(range, encoding);
    let mut size = 0;
    while let Some(piece) = decoding.next(source).await? {
        size += piece.len() as u64;
    }
    Ok(size)
}

/// A decoded part as a literal8. Its size has to be told first, so it is decoded twice rather than kept.
async fn decoded(
    writer: &mut Writer<'_>,
    source: &mut Source<'_>,
    label: &[u8],
    range: Range<u64>,
    encoding: TransferEncoding,
    wanted: Option<Partial>,
) -> Result<(), Failure> {
    let size = decoded_size(source, range.clone(), encoding).await?;
    let (start, length) = wanted.map_or((0, size), |wanted| (wanted.start.min(size), wanted.length));
    let end = start.saturating_add(length).min(size);
    writer.text(|out| out.extend_from_slice(label));
    writer.literal8(end - start);
    let mut decoding = Decoding::new(range, encoding);
    let mut at = 0;
    while at < end {
        let Some(piece) = decoding.next(source).await? else {
            return Err(Error::corrupt("a part changed while it was read").into());
        };
        let next = at + piece.len() as u64;
        // All three are within the piece.
        let cut = |place: u64| usize::try_from(place.clamp(at, next) - at).unwrap_or(0);
        writer.octets(piece.slice(cut(start)..cut(end))).await;
        at = next;
    }
    Ok(())
}
