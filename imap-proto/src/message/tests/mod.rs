//! Whole messages through all views of them.

mod corpus;
mod faults;
mod properties;
mod samples;
mod search;
mod sections;
mod structures;
mod summaries;

use super::*;

/// The message with LF written as CRLF.
fn crlf(text: &str) -> Vec<u8> {
    text.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn body(message: &[u8]) -> String {
    let mut out = Vec::new();
    Structure::parse(message).write_body(Dialect::Rev1, &mut out);
    text(&out)
}

fn body_structure(message: &[u8], dialect: Dialect) -> String {
    let mut out = Vec::new();
    Structure::parse(message).write_body_structure(dialect, &mut out);
    text(&out)
}

/// The section's octets, or `None` for NIL.
fn section(message: &[u8], path: &[u32], kind: SectionKind) -> Option<String> {
    let range = Structure::parse(message).section(path.iter().copied(), kind)?;
    Some(text(&message[range.start as usize..range.end as usize]))
}

fn whole(message: &[u8], path: &[u32]) -> Option<String> {
    section(message, path, SectionKind::Whole)
}

/// All that must hold for any message.
fn check(message: &[u8]) {
    let structure = Structure::parse(message);
    check_tree(&structure, message);
    check_paths(&structure, message);

    for dialect in [Dialect::Rev1, Dialect::Rev2] {
        let mut out = Vec::new();
        structure.write_body_structure(dialect, &mut out);
        check_list(&out);
        out.clear();
        structure.write_body(dialect, &mut out);
        check_list(&out);
        out.clear();
        out.extend_from_slice(structure.root().envelope.as_ref().unwrap().get(dialect));
        check_list(&out);
    }

    let summary = Summary::compute(message);
    let kept = summary.encode();
    assert_eq!(Summary::decode(&kept).as_ref(), Some(&summary));
    assert_eq!(summary.structure(), &structure);
    let header = &message[..structure.root().header.end as usize];
    assert_eq!(
        summary.header().map(|header| header.to_vec()),
        (header.len() <= MAX_CACHED_HEADER).then(|| header.to_vec())
    );

    let fields = HeaderText::new(header);
    let needle = Needle::new("e");
    for name in ["from", "to", "subject", "content-type"] {
        let found = fields.field(name.as_bytes(), &needle);
        assert!(!found || fields.field(name.as_bytes(), &Needle::new("")));
        let _ = fields.address(name.as_bytes(), &needle);
    }
}

fn check_tree(structure: &Structure, message: &[u8]) {
    let size = message.len() as u64;
    assert_eq!(structure.size(), size);
    assert_eq!((structure.root().header.start, structure.root().body.end), (0, size));
    for (index, part) in structure.parts().iter().enumerate() {
        assert!(part.header.start <= part.header.end && part.header.end == part.body.start);
        assert!(part.body.start <= part.body.end && part.body.end <= size);
        let octets = &message[part.body.start as usize..part.body.end as usize];
        assert_eq!(part.lines, octets.iter().filter(|&&octet| octet == b'\n').count() as u64);
        match part.kind {
            PartKind::Leaf => assert!(part.children.is_empty()),
            PartKind::Message => assert_eq!(part.children.len(), 1),
            PartKind::Multipart => assert!(!part.children.is_empty()),
        }
        let mut at = part.body.start;
        for &child in &part.children {
            assert!(child as usize > index);
            let child = &structure.parts()[child as usize];
            assert_eq!(child.parent, Some(index as u32));
            assert!(child.header.start >= at && child.body.end <= part.body.end, "{at} {part:?} {child:?}");
            at = child.body.end;
            assert_eq!(child.envelope.is_some(), part.kind == PartKind::Message);
        }
    }
}

/// The numbers of the parts of the message whose root this is, as RFC 9051, section 6.4.5.1, has them.
fn numbered(structure: &Structure, root: u32, prefix: &[u32], out: &mut Vec<(Vec<u32>, u32)>) {
    let part = |index: u32| &structure.parts()[index as usize];
    let children = if part(root).kind == PartKind::Multipart { part(root).children.clone() } else { vec![root] };
    for (number, &child) in (1..).zip(&children) {
        let path = [prefix, &[number]].concat();
        out.push((path.clone(), child));
        match part(child).kind {
            PartKind::Leaf => {}
            PartKind::Multipart => numbered(structure, child, &path, out),
            PartKind::Message => numbered(structure, part(child).children[0], &path, out),
        }
    }
    let beyond = [prefix, &[children.len() as u32 + 1]].concat();
    assert_eq!(structure.section(beyond, SectionKind::Whole), None);
}

/// Every part that BODYSTRUCTURE shows can be fetched, and nothing else of it.
fn check_paths(structure: &Structure, message: &[u8]) {
    let mut paths = Vec::new();
    numbered(structure, 0, &[], &mut paths);
    for (path, index) in paths {
        let part = &structure.parts()[index as usize];
        let section = |kind| structure.section(path.iter().copied(), kind);
        assert_eq!(section(SectionKind::Whole), Some(part.body.clone()));
        assert_eq!(section(SectionKind::Mime), Some(part.header.clone()));
        let nested = (part.kind == PartKind::Message).then(|| &structure.parts()[part.children[0] as usize]);
        assert_eq!(section(SectionKind::Header), nested.map(|nested| nested.header.clone()));
        assert_eq!(section(SectionKind::Text), nested.map(|nested| nested.body.clone()));
        match structure.binary(path.iter().copied()) {
            Ok(None) => assert_ne!(part.kind, PartKind::Leaf),
            Ok(Some((range, encoding))) => {
                let octets = &message[range.start as usize..range.end as usize];
                assert!(BinaryDecoder::decode_all(encoding, octets).len() <= octets.len());
            }
            Err(Undecodable) => assert_eq!(part.transfer_encoding(), TransferEncoding::Unknown),
        }
    }
}

/// Whether the octets are one parenthesised list of the IMAP grammar: strings, numbers, NIL, lists, single spaces.
fn check_list(octets: &[u8]) {
    let mut rest = octets;
    let mut depth = 0_usize;
    let mut before = b' ';
    while let Some(&octet) = rest.first() {
        match octet {
            b'(' => {
                depth += 1;
                rest = &rest[1..];
            }
            b')' => {
                assert!(before != b' ' && before != b'(', "{}", text(octets));
                depth -= 1;
                rest = &rest[1..];
                assert!(depth > 0 || rest.is_empty());
            }
            b' ' => {
                assert!(before != b' ' && before != b'(', "{}", text(octets));
                rest = &rest[1..];
            }
            b'"' => {
                let mut at = 1;
                while rest[at] != b'"' {
                    assert!(!matches!(rest[at], b'\r' | b'\n' | 0));
                    at += if rest[at] == b'\\' { 2 } else { 1 };
                }
                rest = &rest[at + 1..];
            }
            b'{' => {
                let end = rest.iter().position(|&octet| octet == b'}').unwrap();
                let length: usize = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
                assert_eq!(&rest[end..end + 3], b"}\r\n");
                assert!(!rest[end + 3..end + 3 + length].contains(&0));
                rest = &rest[end + 3 + length..];
            }
            b'0'..=b'9' => rest = &rest[1..],
            _ => rest = rest.strip_prefix(b"NIL").unwrap_or_else(|| panic!("{}", text(octets))),
        }
        before = octet;
    }
    assert_eq!(depth, 0);
}
