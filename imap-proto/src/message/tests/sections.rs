//! Sections of the message that RFC 9051 describes in section 6.4.5.1.

use super::samples::NESTED;
use super::*;

fn nested(path: &[u32], kind: SectionKind) -> Option<String> {
    section(&crlf(NESTED), path, kind)
}

#[test]
fn the_message_itself() {
    assert_eq!(nested(&[], SectionKind::Whole), Some(NESTED.replace('\n', "\r\n")));
    let header = nested(&[], SectionKind::Header).unwrap();
    assert!(header.starts_with("From: a@") && header.ends_with("boundary=b0\r\n\r\n"));
    let body = nested(&[], SectionKind::Text).unwrap();
    assert!(body.starts_with("preamble\r\n") && body.ends_with("epilogue\r\n"));
    assert_eq!(nested(&[], SectionKind::Mime), None);
}

#[test]
fn parts() {
    let whole = |path: &[u32]| nested(path, SectionKind::Whole);
    assert_eq!(whole(&[1]).as_deref(), Some("one"));
    assert_eq!(whole(&[2]).as_deref(), Some("AAEC"));
    assert!(whole(&[3]).unwrap().starts_with("From: b@example.org\r\n"));
    assert!(whole(&[3]).unwrap().ends_with("--b3--"));
    assert_eq!(whole(&[3, 1]).as_deref(), Some("three one"));
    assert_eq!(whole(&[3, 2]).as_deref(), Some("three two"));
    assert_eq!(whole(&[4, 1]).as_deref(), Some("GIF"));
    assert_eq!(whole(&[4, 2, 1]).as_deref(), Some("four two one"));
    assert_eq!(whole(&[4, 2, 2, 1]).as_deref(), Some("plain"));
    assert_eq!(whole(&[4, 2, 2, 2]).as_deref(), Some("rich"));
    for path in [&[0][..], &[5], &[1, 1], &[3, 3], &[3, 0], &[4, 3], &[4, 2, 2, 3], &[4, 2, 2, 2, 1], &[u32::MAX]] {
        assert_eq!(whole(path), None, "{path:?}");
        assert_eq!(nested(path, SectionKind::Mime), None, "{path:?}");
    }
}

#[test]
fn headers_of_parts_and_messages() {
    assert_eq!(
        nested(&[4, 1], SectionKind::Mime).as_deref(),
        Some("Content-Type: image/gif\r\nContent-ID: <gif@example.org>\r\n\r\n")
    );
    assert_eq!(nested(&[3], SectionKind::Mime).as_deref(), Some("Content-Type: message/rfc822\r\n\r\n"));
    assert!(nested(&[3], SectionKind::Header).unwrap().contains("inner three"));
    assert!(nested(&[3], SectionKind::Text).unwrap().starts_with("--b3\r\n"));
    assert!(nested(&[4, 2], SectionKind::Header).unwrap().contains("inner four"));
    assert!(nested(&[4, 2, 2], SectionKind::Mime).unwrap().contains("b422"));
    // Only messages have a header and a text.
    for path in [&[1][..], &[4], &[4, 1], &[4, 2, 2], &[3, 1]] {
        assert_eq!(nested(path, SectionKind::Header), None, "{path:?}");
        assert_eq!(nested(path, SectionKind::Text), None, "{path:?}");
    }
}

#[test]
fn the_only_part_is_the_body() {
    let message = b"Subject: x\r\n\r\nHello\r\n";
    assert_eq!(whole(message, &[1]).as_deref(), Some("Hello\r\n"));
    assert_eq!(section(message, &[1], SectionKind::Mime).as_deref(), Some("Subject: x\r\n\r\n"));
    assert_eq!(whole(message, &[1, 1]), None);
    assert_eq!(whole(message, &[2]), None);
    let message = crlf("Content-Type: message/rfc822\n\nSubject: y\n\nHello");
    assert_eq!(whole(&message, &[1]).as_deref(), Some("Subject: y\r\n\r\nHello"));
    assert_eq!(section(&message, &[1], SectionKind::Header).as_deref(), Some("Subject: y\r\n\r\n"));
    assert_eq!(section(&message, &[1], SectionKind::Text).as_deref(), Some("Hello"));
    assert_eq!(whole(&message, &[1, 1]).as_deref(), Some("Hello"));
    assert_eq!(whole(&message, &[1, 1, 1]), None);
}

#[test]
fn binary_sections() {
    let message = crlf(NESTED);
    let structure = Structure::parse(&message);
    let binary = |path: &[u32]| {
        let (range, encoding) = structure.binary(path.iter().copied()).unwrap()?;
        Some(BinaryDecoder::decode_all(encoding, &message[range.start as usize..range.end as usize]))
    };
    assert_eq!(binary(&[2]), Some(vec![0, 1, 2]));
    assert_eq!(binary(&[1]), Some(b"one".to_vec()));
    assert_eq!(binary(&[]), Some(message.clone()));
    for path in [&[3][..], &[4], &[4, 2], &[5], &[1, 1]] {
        assert_eq!(binary(path), None, "{path:?}");
    }
    let unknown = Structure::parse(b"Content-Transfer-Encoding: x-uuencode\r\n\r\nabc");
    assert_eq!(unknown.binary([1]), Err(Undecodable));
    assert_eq!(unknown.binary([2]), Ok(None));
    assert_eq!(unknown.section([1], SectionKind::Whole).map(|range| range.end - range.start), Some(3));
}
