//! What a FETCH asks for, in a form that its command owns.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pillarbox_proto_core::backend::FetchData;
use pillarbox_proto_core::mail::UidSet;

use super::needs_content;
use crate::message::{FieldSelector, SectionKind};
use crate::service::reply::RowItem;
use crate::wire::command::{Fetch, FetchItem, HeaderList, Partial, Section, SectionPart, SectionText};
use crate::wire::encode::FetchRow;

/// Messages of at most this size may come along with their row.
const INLINE: usize = 64 * 1024;

/// A FETCH whose messages have been resolved.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) uids: UidSet,
    /// The client named UIDs.
    pub(super) uid: bool,
    /// Some of the messages are known to be gone.
    pub(super) gone: bool,
    /// Reading sets `\Seen`.
    pub(super) sets_seen: bool,
    pub(super) items: Arc<[RowItem]>,
    pub(super) views: Vec<View>,
    pub(super) data: FetchData,
}

/// An item that needs more of a message than its row.
#[derive(Debug)]
pub(crate) enum View {
    Envelope,
    /// BODYSTRUCTURE, or BODY if not `extended`.
    Structure {
        extended: bool,
    },
    /// BODY[...], RFC822, RFC822.HEADER and RFC822.TEXT.
    Section {
        label: Bytes,
        part: Vec<u32>,
        kind: SectionKind,
        fields: Fields,
        partial: Option<Partial>,
    },
    Binary {
        label: Bytes,
        part: Vec<u32>,
        partial: Option<Partial>,
    },
    BinarySize {
        label: Bytes,
        part: Vec<u32>,
    },
}

/// Which fields of a header are wanted.
#[derive(Debug)]
pub(crate) enum Fields {
    All,
    Only(Vec<Vec<u8>>),
    Except(Vec<Vec<u8>>),
}

impl Fields {
    /// What picks them; nothing needs picking where all are wanted.
    pub(super) fn selector(&self) -> Option<FieldSelector> {
        match self {
            Self::All => None,
            Self::Only(names) => Some(FieldSelector::only(names)),
            Self::Except(names) => Some(FieldSelector::except(names)),
        }
    }
}

impl Plan {
    pub(crate) fn new(fetch: &Fetch<'_>, uids: UidSet, gone: bool) -> Self {
        let mut items = Vec::new();
        let mut views = Vec::new();
        // UID FETCH always tells the UID (RFC 9051, section 6.4.9).
        if fetch.uid {
            items.push(RowItem::Uid);
        }
        let mut data = FetchData::default();
        let mut sets_seen = false;
        for item in fetch.items.iter() {
            sets_seen |= item.sets_seen();
            let row_item = match item {
                FetchItem::Uid => RowItem::Uid,
                FetchItem::Flags => RowItem::Flags,
                FetchItem::InternalDate => RowItem::InternalDate,
                FetchItem::Rfc822Size => RowItem::Size,
                item => {
                    views.extend(view(&item));
                    continue;
                }
            };
            if !items.contains(&row_item) {
                items.push(row_item);
            }
        }
        data.flags = items.contains(&RowItem::Flags) || sets_seen;
        data.internal_date = items.contains(&RowItem::InternalDate);
        data.size = items.contains(&RowItem::Size);
        if needs_content(&views) {
            data.summary = views.iter().any(View::needs_summary);
            data.inline = if views.iter().all(View::is_answered_by_summary) { 0 } else { INLINE };
        }
        Self { uids, uid: fetch.uid, gone, sets_seen, items: items.into(), views, data }
    }

    /// The label under which the whole message is asked for, if that is all that is asked of the content.
    pub(super) fn whole(&self) -> Option<&Bytes> {
        match self.views.as_slice() {
            [View::Section { label, part, kind: SectionKind::Whole, partial: None, .. }] if part.is_empty() => {
                Some(label)
            }
            _ => None,
        }
    }
}

impl View {
    /// Whether something about the message's structure has to be known first.
    pub(super) fn needs_summary(&self) -> bool {
        !matches!(self, Self::Section { part, kind: SectionKind::Whole, .. } if part.is_empty())
    }

    /// Whether a summary has all of it, in general.
    fn is_answered_by_summary(&self) -> bool {
        match self {
            Self::Envelope | Self::Structure { .. } => true,
            Self::Section { part, kind: SectionKind::Header, .. } => part.is_empty(),
            _ => false,
        }
    }
}

fn view(item: &FetchItem<'_>) -> Option<View> {
    let section = |label: &'static str, kind| View::Section {
        label: Bytes::from_static(label.as_bytes()),
        part: Vec::new(),
        kind,
        fields: Fields::All,
        partial: None,
    };
    Some(match item {
        FetchItem::Envelope => View::Envelope,
        FetchItem::Body => View::Structure { extended: false },
        FetchItem::BodyStructure => View::Structure { extended: true },
        FetchItem::Rfc822 => section(" RFC822 ", SectionKind::Whole),
        FetchItem::Rfc822Header => section(" RFC822.HEADER ", SectionKind::Header),
        FetchItem::Rfc822Text => section(" RFC822.TEXT ", SectionKind::Text),
        FetchItem::BodySection { section, partial, .. } => View::Section {
            label: label(|row, out| row.body_section(out, section, partial.map(|partial| partial.start))),
            part: section.part.numbers().collect(),
            kind: kind(section),
            fields: fields(section),
            partial: *partial,
        },
        FetchItem::Binary { part, partial, .. } => View::Binary {
            label: label(|row, out| row.binary(out, *part, partial.map(|partial| partial.start))),
            part: part.numbers().collect(),
            partial: *partial,
        },
        FetchItem::BinarySize { part } => View::BinarySize { label: size_label(*part), part: part.numbers().collect() },
        _ => return None,
    })
}

/// The name of an item as the response has it, with a space on either side.
fn label(write: impl FnOnce(&mut FetchRow, &mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut FetchRow::resumed(), &mut out);
    out.freeze()
}

fn size_label(part: SectionPart<'_>) -> Bytes {
    let mut out = BytesMut::from(&b" BINARY.SIZE["[..]);
    out.extend_from_slice(part.as_bytes());
    out.extend_from_slice(b"] ");
    out.freeze()
}

fn kind(section: &Section<'_>) -> SectionKind {
    match section.text {
        SectionText::Whole => SectionKind::Whole,
        SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_) => SectionKind::Header,
        SectionText::Text => SectionKind::Text,
        SectionText::Mime => SectionKind::Mime,
    }
}

fn fields(section: &Section<'_>) -> Fields {
    let names = |list: &HeaderList<'_>| list.iter().map(|name| name.value().into_owned()).collect();
    match &section.text {
        SectionText::HeaderFields(list) => Fields::Only(names(list)),
        SectionText::HeaderFieldsNot(list) => Fields::Except(names(list)),
        _ => Fields::All,
    }
}
