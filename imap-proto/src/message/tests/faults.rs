//! What other servers are known to do wrong with broken messages.

use super::*;

#[test]
fn damaged_encodings_are_decoded_as_far_as_they_go() {
    for (encoding, encoded, expected) in [
        ("base64", "SGVs*bG8=\n???", &b"Hello"[..]),
        ("base64", "SGVsbG8", b"Hello"),
        ("quoted-printable", "a=ZZb=", b"a=ZZb"),
    ] {
        let message = crlf(&format!("Content-Transfer-Encoding: {encoding}\n\n{encoded}"));
        let structure = Structure::parse(&message);
        let (range, encoding) = structure.binary([1]).unwrap().unwrap();
        assert_eq!(BinaryDecoder::decode_all(encoding, &message[range.start as usize..range.end as usize]), expected);
    }
}

#[test]
fn an_unparsable_content_type_is_plain_text() {
    for value in ["", "text", "; charset=x", "/", "text/; x", "???", "\u{e9}/x"] {
        let message = crlf(&format!("Content-Type: {value}\n\nx"));
        assert_eq!(body(&message), r#"("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 1 0)"#, "{value}");
    }
}

#[test]
fn only_the_line_ends_of_a_folded_subject_go() {
    let message = b"Subject: one  two\r\n   three\r\n\tfour\r\n\r\n";
    let envelope = Summary::compute(message).envelope(Dialect::Rev1).clone();
    assert!(envelope.starts_with(b"(NIL \"one  two   three\tfour\" "), "{}", text(&envelope));
}

#[test]
fn a_missing_or_unreadable_date_is_none() {
    for message in [&b"\r\n"[..], b"Date:\r\n\r\n", b"Date: soon\r\n\r\n", b"Date: 32 Jan 2020 00:00:00 +0000\r\n\r\n"]
    {
        assert_eq!(Summary::compute(message).sent_date(), None);
    }
    let sent = |date: &str| Summary::compute(format!("Date: {date}\r\n\r\n").as_bytes()).sent_date().unwrap().days();
    assert_eq!(sent("Thu, 1 Jan 1970 00:30:00 +0100"), 0);
    assert_eq!(sent("Wed, 31 Dec 1969 23:59:00 -0800"), -1);
    assert!(sent("1 Jan 1960 00:00:00 Z") < sent("1 Jan 1961 00:00:00 Z"));
}

#[test]
fn a_message_part_without_blank_line_leaves_the_boundary_its_line_end() {
    let message = crlf(
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n\nSubject: a\n--x\n\nb\n--x--\n",
    );
    assert_eq!(whole(&message, &[1]).as_deref(), Some("Subject: a"));
    assert_eq!(section(&message, &[1], SectionKind::Header).as_deref(), Some("Subject: a"));
    assert_eq!(section(&message, &[1], SectionKind::Text).as_deref(), Some(""));
    assert_eq!(whole(&message, &[2]).as_deref(), Some("b"));
    assert!(body(&message).contains(r#""7BIT" 10 (NIL "a" "#));
    check(&message);
    // With a blank line, that line end is the boundary's.
    let message =
        crlf("Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n\nSubject: a\n\n--x--\n");
    assert_eq!(whole(&message, &[1]).as_deref(), Some("Subject: a\r\n"));
    check(&message);
}

#[test]
fn header_octets_outside_ascii_are_served_as_they_are() {
    let message = b"Subject: \xe9\xff\r\n\r\n";
    let range = Structure::parse(message).section([], SectionKind::Header).unwrap();
    assert_eq!(&message[range.start as usize..range.end as usize], message);
    assert!(Summary::compute(message).envelope(Dialect::Rev1).starts_with(b"(NIL {2}\r\n\xe9\xff NIL"));
}

#[test]
fn no_blank_line_is_added_to_a_header_without_one() {
    let message = b"From: a\r\nTo: b";
    let range = Structure::parse(message).section([], SectionKind::Header).unwrap();
    let mut selector = FieldSelector::except(["From"]);
    selector.push(&message[range.start as usize..range.end as usize]);
    assert_eq!(selector.finish(), std::slice::from_ref(&(9..14)));
    let mut selector = FieldSelector::only(["Subject"]);
    selector.push(message);
    assert!(selector.finish().is_empty());
}

#[test]
fn a_multipart_without_parts_has_a_text_and_one_empty_part() {
    for kind in ["multipart/mixed; boundary=x", "multipart/mixed", "multipart/mixed; boundary=\"\""] {
        let message = crlf(&format!("Content-Type: {kind}\n\njust text\n"));
        assert_eq!(section(&message, &[], SectionKind::Text).as_deref(), Some("just text\r\n"));
        assert_eq!(body(&message), r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0) "mixed")"#);
        assert_eq!(whole(&message, &[1]).as_deref(), Some(""));
        assert_eq!(whole(&message, &[2]), None);
        check(&message);
    }
    let message = crlf("Content-Type: multipart/mixed; boundary=x\n\ntext\n--x--\n");
    assert_eq!(whole(&message, &[1]).as_deref(), Some(""));
}

#[test]
fn a_boundary_matches_only_whole() {
    let message = crlf(
        "Content-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--ab\n--a b\n--a-\n --a\n--A\n--a--b\ntwo\n--a--\n",
    );
    assert_eq!(whole(&message, &[1]).as_deref(), Some("one\r\n--ab\r\n--a b\r\n--a-\r\n --a\r\n--A\r\n--a--b\r\ntwo"));
    assert_eq!(whole(&message, &[2]), None);
    let message = crlf(
        "Content-Type: multipart/mixed; boundary=ab\n\n--ab\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a\n\ntwo\n--ab\n\nthree\n--ab--\n",
    );
    assert_eq!(whole(&message, &[1, 2]).as_deref(), Some("two"));
    assert_eq!(whole(&message, &[2]).as_deref(), Some("three"));
    check(&message);
}

#[test]
fn a_nested_multipart_with_its_parents_boundary_ends_with_the_parents() {
    let message = crlf(
        "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=a\n\n--a\n\none\n--a\n\ntwo\n--a--\nrest\n",
    );
    assert_eq!(
        body(&message),
        r#"((("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0) "alternative")("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0)("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0) "mixed")"#
    );
    assert_eq!(whole(&message, &[2]).as_deref(), Some("one"));
    check(&message);
}

#[test]
fn addresses_never_look_like_groups() {
    let envelope = Summary::compute(b"From: root\r\nTo: A <>\r\nCc: x: ;\r\n\r\n").envelope(Dialect::Rev1).clone();
    let envelope = text(&envelope);
    assert!(envelope.contains(r#"((NIL NIL "root" "MISSING_DOMAIN"))"#));
    assert!(envelope.contains(r#"(("A" NIL "MISSING_MAILBOX" "MISSING_DOMAIN"))"#));
    assert!(envelope.contains(r#"((NIL NIL "x" NIL)(NIL NIL NIL NIL))"#));
}

#[test]
fn a_missing_charset_is_us_ascii_and_a_missing_encoding_7bit() {
    assert!(body(b"Content-Type: text/plain\r\n\r\n").contains(r#"("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0"#));
    assert!(!body(b"Content-Type: image/png\r\n\r\n").contains("us-ascii"));
}
