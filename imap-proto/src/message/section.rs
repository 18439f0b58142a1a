//! Where a body section lies in the message (RFC 9051, section 6.4.5.1), and what of it a partial fetch returns.

use std::ops::Range;

use super::binary::TransferEncoding;
use super::structure::{Part, PartKind, Structure};

/// What of a body part or message is meant.
///
/// `HEADER.FIELDS` and `HEADER.FIELDS.NOT` are the `Header`, of which a [`FieldSelector`](super::FieldSelector) keeps what
/// was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// The whole message, or the body of a part.
    Whole,
    /// The header of the message, or of the message that the part is.
    Header,
    /// The body of the message, or of the message that the part is.
    Text,
    /// The header of the part.
    Mime,
}

/// A body part has a transfer encoding that is not known, so BINARY of it gets NO with UNKNOWN-CTE (RFC 3516, section
/// 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Content-Transfer-Encoding of this part is not known")]
pub struct Undecodable;

impl Structure {
    /// The octets of a section, or `None` if the section does not exist: NIL.
    ///
    /// `path` is the part number from the outside in, empty for the message itself.
    pub fn section(&self, path: impl IntoIterator<Item = u32>, kind: SectionKind) -> Option<Range<u64>> {
        let Some(part) = self.locate(path)? else {
            return match kind {
                SectionKind::Whole => Some(0..self.size),
                SectionKind::Header => Some(self.root().header.clone()),
                SectionKind::Text => Some(self.root().body.clone()),
                SectionKind::Mime => None,
            };
        };
        let message = || self.get(*part.children.first()?).filter(|_| part.kind == PartKind::Message);
        match kind {
            SectionKind::Whole => Some(part.body.clone()),
            SectionKind::Mime => Some(part.header.clone()),
            SectionKind::Header => Some(message()?.header.clone()),
            SectionKind::Text => Some(message()?.body.clone()),
        }
    }

    /// The octets of a section for BINARY and BINARY.SIZE, and how they are encoded (RFC 9051, section 6.4.5). `None`, to
    /// be answered with NIL, if there is no such part, or it is a multipart or a message, which are not encoded as such.
    /// The message itself (an empty path) is given as it is.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] if the part's transfer encoding is not known.
    pub fn binary(
        &self,
        path: impl IntoIterator<Item = u32>,
    ) -> Result<Option<(Range<u64>, TransferEncoding)>, Undecodable> {
        match self.locate(path) {
            None => Ok(None),
            Some(None) => Ok(Some((0..self.size, TransferEncoding::Identity))),
            Some(Some(part)) if part.kind != PartKind::Leaf => Ok(None),
            Some(Some(part)) => match part.transfer_encoding() {
                TransferEncoding::Unknown => Err(Undecodable),
                encoding => Ok(Some((part.body.clone(), encoding))),
            },
        }
    }

    /// The part with this number, if there is one. `None` for an empty path: that is the message, not a part.
    pub fn part(&self, path: impl IntoIterator<Item = u32>) -> Option<&Part> {
        self.locate(path).flatten()
    }

    /// `Some(None)` for the message itself.
    fn locate(&self, path: impl IntoIterator<Item = u32>) -> Option<Option<&Part>> {
        let mut found: Option<&Part> = None;
        for number in path {
            let index = number.checked_sub(1)? as usize;
            let message = match found {
                None => self.root(),
                Some(part) => match part.kind {
                    PartKind::Leaf => return None,
                    PartKind::Multipart => part,
                    PartKind::Message => self.get(*part.children.first()?)?,
                },
            };
            // The only part of a message that is no multipart is its body (RFC 9051: "every message has at least one part
            // number").
            found = if message.kind == PartKind::Multipart {
                Some(self.get(*message.children.get(index)?)?)
            } else if index == 0 {
                Some(message)
            } else {
                return None;
            };
        }
        Some(found)
    }
}

/// What of some octets a partial fetch `<origin.length>` returns (RFC 9051, section 6.4.5): a part of them, or nothing if
/// it begins after their end.
#[must_use]
pub fn partial(ranges: &[Range<u64>], origin: u64, length: u64) -> Vec<Range<u64>> {
    let (mut skip, mut left) = (origin, length);
    let mut result = Vec::new();
    for range in ranges {
        let size = range.end.saturating_sub(range.start);
        if skip >= size {
            skip -= size;
            continue;
        }
        let start = range.start + skip;
        let taken = left.min(range.end - start);
        if taken == 0 {
            break;
        }
        result.push(start..start + taken);
        left -= taken;
        skip = 0;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_partials() {
        let ranges = [10..20, 30..30, 40..45];
        assert_eq!(partial(&ranges, 0, 100), [10..20, 40..45]);
        assert_eq!(partial(&ranges, 5, 7), [15..20, 40..42]);
        assert_eq!(partial(&ranges, 10, 1), std::slice::from_ref(&(40..41)));
        assert_eq!(partial(&ranges, 15, 1), []);
        assert_eq!(partial(&ranges, u64::MAX, u64::MAX), []);
        assert_eq!(partial(&ranges, 0, 0), []);
    }
}
