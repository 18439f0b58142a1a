//! The views of one message.

use std::ops::Range;

use bytes::Bytes;
use pillarbox_imap_proto::message::{
    BinaryDecoder, Charset, Dialect, Envelope, FieldSelector, HeaderText, MAX_DEPTH, Needle, Structure,
    StructureParser, Summary, SummaryBuilder, TextKey, TextScope, TextSearch, TransferEncoding, decode_header, fields,
    parse_addresses, parse_sent_date, partial,
};

use crate::control::{self, Control};
use crate::heap;
use crate::responses;

/// Takes a message apart whole and in pieces, and compares; checks that what clients are told has the form of a
/// response, and that all places lie where they can.
pub fn message(data: &[u8]) {
    let (text, control) = control::split(data);
    let (structure, grown) = heap::growth(|| Structure::parse(text));
    assert!(grown <= 256 * text.len() + (64 << 10), "{grown} octets of heap for {} octets", text.len());
    check_places(&structure, text);
    let mut parser = StructureParser::new();
    pieces(text, &control, |piece| parser.push(piece));
    assert_eq!(structure, parser.finish(), "in pieces");

    let summary = check_summary(text, &control);
    assert_eq!(*summary.structure(), structure);
    for dialect in [Dialect::Rev1, Dialect::Rev2] {
        let mut line = b"* 1 FETCH (ENVELOPE ".to_vec();
        summary.write_envelope(dialect, &mut line);
        line.extend_from_slice(b" BODYSTRUCTURE ");
        structure.write_body_structure(dialect, &mut line);
        line.extend_from_slice(b" BODY ");
        structure.write_body(dialect, &mut line);
        line.extend_from_slice(b")\r\n");
        responses::check(&line, true);
    }

    let header = structure.section([], pillarbox_imap_proto::message::SectionKind::Header).unwrap();
    check_header(&text[place(&header)], &control);
    check_bodies(&structure, text, &control);
    check_search(&structure, text, &control);
}

fn place(range: &Range<u64>) -> Range<usize> {
    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
}

fn pieces<'t>(text: &'t [u8], control: &Control<'_>, mut take: impl FnMut(&'t [u8])) {
    let mut control = control.clone();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(control.piece().min(rest.len()));
        take(piece);
        rest = later;
    }
}

fn check_places(structure: &Structure, text: &[u8]) {
    assert_eq!(structure.size(), text.len() as u64);
    let parts = structure.parts();
    for (index, part) in parts.iter().enumerate() {
        assert!(part.header.start <= part.header.end && part.header.end <= part.body.start, "{part:?}");
        assert!(part.body.start <= part.body.end && part.body.end <= structure.size(), "{part:?}");
        let lines = text[place(&part.body)].iter().filter(|octet| **octet == b'\n').count() as u64;
        assert!(part.lines <= lines + 1, "{} lines of {lines}", part.lines);
        let mut after = part.body.start;
        for child in &part.children {
            let child = *child as usize;
            assert!(child > index && parts[child].parent == u32::try_from(index).ok());
            assert!(parts[child].header.start >= after && parts[child].body.end <= part.body.end, "{part:?}");
            after = parts[child].body.end;
        }
        let mut depth = 0;
        let mut above = part.parent;
        while let Some(parent) = above {
            depth += 1;
            above = parts[parent as usize].parent;
        }
        assert!(depth <= 2 * MAX_DEPTH + 2, "{depth} deep");
    }
}

fn check_summary(text: &[u8], control: &Control<'_>) -> Summary {
    let summary = Summary::compute(text);
    let mut builder = SummaryBuilder::new();
    pieces(text, control, |piece| builder.push(piece));
    assert_eq!(summary, builder.finish(), "in pieces");
    let kept = summary.encode();
    assert_eq!(Summary::decode(&kept).as_ref(), Some(&summary), "what is kept comes back");
    let mut control = control.clone();
    let mut damaged = kept.to_vec();
    let at = control.below(damaged.len());
    damaged[at] ^= control.byte() | 1;
    assert_eq!(Summary::decode(&Bytes::from(damaged)), None, "damage at octet {at} goes unseen");
    // The text itself is no summary, but may be taken for one.
    let _ = Summary::decode(&Bytes::copy_from_slice(text));
    summary
}

fn check_header(header: &[u8], control: &Control<'_>) {
    let envelope = Envelope::parse(header);
    let mut line = b"* 1 FETCH (ENVELOPE ".to_vec();
    envelope.write(Dialect::Rev2, &mut line);
    line.extend_from_slice(b")\r\n");
    responses::check(&line, true);
    for field in fields(header) {
        let value = field.unfolded();
        let _ = decode_header(&value);
        let _ = parse_sent_date(&value);
        for address in parse_addresses(&value) {
            let mut line = b"* 1 FETCH (X ".to_vec();
            address.write(Dialect::Rev1, &mut line);
            line.extend_from_slice(b")\r\n");
            responses::check(&line, true);
        }
    }
    let names = [b"subject".as_slice(), b"From", b"x-long", b"content-type"];
    let only = select(|| FieldSelector::only(names), header, control);
    let except = select(|| FieldSelector::except(names), header, control);
    let mut all: Vec<_> = only.iter().chain(&except).cloned().collect();
    all.sort_by_key(|range| (range.start, range.end));
    for pair in all.windows(2) {
        // Both end with the empty line of the header.
        assert!(pair[0].end <= pair[1].start || pair[0].end == header.len() as u64, "{all:?}");
    }
    let text = HeaderText::new(header);
    let needle = Needle::new("a");
    let _ = (text.field(b"subject", &needle), text.address(b"from", &needle));
}

fn select(new: impl Fn() -> FieldSelector, header: &[u8], control: &Control<'_>) -> Vec<Range<u64>> {
    let (mut selector, mut cut) = (new(), new());
    selector.push(header);
    let whole = selector.finish();
    pieces(header, control, |piece| cut.push(piece));
    assert_eq!(whole, cut.finish(), "in pieces");
    for range in &whole {
        assert!(range.start <= range.end && range.end <= header.len() as u64);
    }
    let octets: u64 = whole.iter().map(|range| range.end - range.start).sum();
    let part: u64 = partial(&whole, 3, 17).iter().map(|range| range.end - range.start).sum();
    assert_eq!(part, octets.saturating_sub(3).min(17));
    whole
}

fn check_bodies(structure: &Structure, text: &[u8], control: &Control<'_>) {
    for part in structure.parts().iter().take(64) {
        let body = &text[place(&part.body)];
        for encoding in [part.transfer_encoding(), TransferEncoding::Base64, TransferEncoding::QuotedPrintable] {
            let whole = BinaryDecoder::decode_all(encoding, body);
            assert!(whole.len() <= body.len(), "it grew");
            let (mut decoder, mut cut) = (BinaryDecoder::new(encoding), Vec::new());
            pieces(body, control, |piece| decoder.decode(piece, &mut cut));
            decoder.finish(&mut cut);
            assert_eq!(whole, cut, "in pieces");
        }
        if let Some(charset) = part.param(b"charset").and_then(|label| Charset::for_label(&label)) {
            let decoded = charset.decode(body);
            assert!(decoded.len() <= 8 * body.len() + 8);
        }
    }
}

fn check_search(structure: &Structure, text: &[u8], control: &Control<'_>) {
    let mut choices = control.clone();
    // Something that may be there, and something that hardly is.
    let at = choices.below(text.len());
    let some = String::from_utf8_lossy(&text[at..(at + 4).min(text.len())]).into_owned();
    let needles = [Needle::new(&some), Needle::new("zq\u{e9}7"), Needle::new("")];
    let keys: Vec<_> = needles
        .iter()
        .flat_map(|needle| [TextScope::Body, TextScope::Text].map(|scope| TextKey { needle, scope }))
        .collect();
    let whole = TextSearch::run(structure, &keys, text);
    assert!(whole[4] && whole[5], "an empty text is everywhere");
    for pair in whole.chunks(2) {
        assert!(!pair[0] || pair[1], "TEXT finds what BODY finds");
    }
    let mut search = TextSearch::new(structure, &keys);
    pieces(text, control, |piece| search.push(piece));
    assert_eq!(whole, search.finish(), "in pieces");
    let mut search = TextSearch::new(structure, &keys);
    let mut choices = control.clone();
    while let Some(wanted) = search.wanted() {
        let wanted = place(&wanted);
        let end = wanted.end.min(wanted.start + choices.piece());
        assert!(end > wanted.start, "it wants nothing");
        search.seek(wanted.start as u64);
        search.push(&text[wanted.start..end]);
    }
    assert_eq!(whole, search.finish(), "with seeking");
}
