//! The tree of a message's body parts, with the place of each in the message.

use std::ops::Range;

use bytes::Bytes;
use pillarbox_proto_core::mail::DateTime;

use super::binary::TransferEncoding;
use super::envelope::EncodedEnvelope;
use super::params::{Param, find};

/// The body structure of one message.
///
/// A part is an entity of RFC 2045: a header and a body. The first part is the message itself. The children of a
/// multipart are its body parts; the one child of a message/rfc822 part is the message in it, whose header and body lie in
/// the part's body. A multipart in which no body part was found has one child all the same, empty and plain text, as the
/// grammar of BODYSTRUCTURE demands one.
///
/// Invariants: parents come before their children, the ranges of a child lie in its parent's body, children follow one
/// another in the message, and the tree is never deeper than [`MAX_DEPTH`](super::MAX_DEPTH) allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    pub(super) parts: Vec<Part>,
    pub(super) size: u64,
    pub(super) sent: Option<DateTime>,
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// What kind of thing the body is.
    pub kind: PartKind,
    /// The octets of the header, with its empty line, if it has one.
    pub header: Range<u64>,
    /// The octets of the body.
    pub body: Range<u64>,
    /// The line ends in the body.
    pub lines: u64,
    /// The media type, as sent.
    pub media_type: Bytes,
    /// The media subtype, as sent.
    pub subtype: Bytes,
    /// The parameters of the type, as sent: no charset is added here.
    pub params: Vec<Param>,
    /// `Content-ID:`
    pub id: Option<Bytes>,
    /// `Content-Description:`
    pub description: Option<Bytes>,
    /// `Content-Transfer-Encoding:`; `None` if there is none, which means 7BIT.
    pub encoding: Option<Bytes>,
    /// `Content-MD5:`
    pub md5: Option<Bytes>,
    /// `Content-Disposition:`
    pub disposition: Option<Disposition>,
    /// `Content-Language:`
    pub languages: Vec<Bytes>,
    /// `Content-Location:`
    pub location: Option<Bytes>,
    /// The envelope, if the part is a message: the first part, or the child of a message/rfc822 part.
    pub envelope: Option<EncodedEnvelope>,
    /// The parts in the body, as indices into [`Structure::parts`].
    pub children: Vec<u32>,
    /// The part that this one lies in.
    pub parent: Option<u32>,
}

/// What kind of thing a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Something without parts.
    Leaf,
    /// A multipart: at least one child.
    Multipart,
    /// A message/rfc822 or message/global: exactly one child.
    Message,
}

/// A `Content-Disposition:` (RFC 2183).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// The disposition type, as sent.
    pub kind: Bytes,
    /// Its parameters.
    pub params: Vec<Param>,
}

impl Structure {
    /// The structure of a message that is in memory.
    #[must_use]
    pub fn parse(message: &[u8]) -> Self {
        let mut parser = super::StructureParser::new();
        parser.push(message);
        parser.finish()
    }

    /// All parts, the message itself first; parents before their children.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The message itself, as a part.
    #[must_use]
    pub fn root(&self) -> &Part {
        // There is a first part in every structure; a default keeps input from reaching a panic.
        self.parts.first().unwrap_or(&EMPTY)
    }

    /// The part with this index.
    pub(super) fn get(&self, index: u32) -> Option<&Part> {
        self.parts.get(index as usize)
    }

    /// The size of the message in octets: RFC822.SIZE (RFC 9051, section 2.3.4).
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What the `Date:` field says, if it can be understood.
    #[must_use]
    pub const fn sent_date(&self) -> Option<DateTime> {
        self.sent
    }
}

static EMPTY: Part = Part::new(0, None);

impl Part {
    /// A part at this place of which nothing is known yet: RFC 2045, section 5.2.
    pub(super) const fn new(start: u64, parent: Option<u32>) -> Self {
        Self {
            kind: PartKind::Leaf,
            header: start..start,
            body: start..start,
            lines: 0,
            media_type: Bytes::from_static(b"TEXT"),
            subtype: Bytes::from_static(b"PLAIN"),
            params: Vec::new(),
            id: None,
            description: None,
            encoding: None,
            md5: None,
            disposition: None,
            languages: Vec::new(),
            location: None,
            envelope: None,
            children: Vec::new(),
            parent,
        }
    }

    /// Whether the media type is this one, in any case.
    #[must_use]
    pub fn is_type(&self, media_type: &[u8]) -> bool {
        self.media_type.eq_ignore_ascii_case(media_type)
    }

    /// Whether the media type and subtype are these, in any case.
    #[must_use]
    pub fn is(&self, media_type: &[u8], subtype: &[u8]) -> bool {
        self.is_type(media_type) && self.subtype.eq_ignore_ascii_case(subtype)
    }

    /// How the body is encoded.
    #[must_use]
    pub fn transfer_encoding(&self) -> TransferEncoding {
        TransferEncoding::of(self.encoding.as_deref())
    }

    /// The value of a parameter of the media type, decoded.
    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
        find(&self.params, name)
    }
}
