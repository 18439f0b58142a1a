//! BODYSTRUCTURE with its extension data, and the limits of the parser.

use super::*;

#[test]
fn extension_data() {
    let message = crlf(
        "Content-Type: multipart/mixed; boundary=x; a=b
Content-Disposition: inline
Content-Language: en, de
Content-Location: http://example.org/

--x
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Disposition: attachment; filename*0*=utf-8''%e2%82; filename*1*=%ac; size=3
Content-Language: fr
Content-Location: part

abc
--x--
",
    );
    assert_eq!(
        body_structure(&message, Dialect::Rev1),
        r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0 "Q2hlY2sgSW50ZWdyaXR5IQ==" ("attachment" ("filename*" "utf-8''%e2%82%ac" "size" "3")) "fr" "part") "mixed" ("boundary" "x" "a" "b") ("inline" NIL) ("en" "de") "http://example.org/")"#
    );
    assert!(body_structure(&message, Dialect::Rev2).contains(r#"("attachment" ("filename*" "€" "size" "3"))"#));
    check(&message);
}

#[test]
fn plain_extension_data_is_nil() {
    assert_eq!(
        body_structure(b"\r\nhi", Dialect::Rev1),
        r#"("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 2 0 NIL NIL NIL NIL)"#
    );
}

#[test]
fn octets_outside_ascii_stay() {
    let message = b"Content-Type: image/png; name=\"\xe9\"\r\nContent-Description: \xc3\xa9\r\n\r\n";
    let mut out = Vec::new();
    Structure::parse(message).write_body(Dialect::Rev1, &mut out);
    assert_eq!(out, b"(\"image\" \"png\" (\"name\" {1}\r\n\xe9) NIL {2}\r\n\xc3\xa9 \"7BIT\" 0)");
    out.clear();
    Structure::parse(message).write_body(Dialect::Rev2, &mut out);
    assert_eq!(out, b"(\"image\" \"png\" (\"name\" {1}\r\n\xe9) NIL \"\xc3\xa9\" \"7BIT\" 0)");
}

#[test]
fn global_messages_show_their_envelope_in_rev2_only() {
    let message = crlf("Content-Type: message/global\n\nSubject: é\n\nx");
    assert_eq!(body(&message), r#"("message" "global" NIL NIL NIL "7BIT" 16)"#);
    assert_eq!(
        body_structure(&message, Dialect::Rev2),
        r#"("message" "global" NIL NIL NIL "7BIT" 16 (NIL "é" NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)"#
    );
    assert_eq!(section(&message, &[1], SectionKind::Header).as_deref(), Some("Subject: é\r\n\r\n"));
    assert_eq!(whole(&message, &[1, 1]).as_deref(), Some("x"));
}

#[test]
fn the_first_field_of_a_kind_counts() {
    let message = b"Content-Type: a/b\r\nContent-Type: c/d\r\nDate: x\r\nDate: 1 Jan 2000 00:00 Z\r\n\r\n";
    assert!(body(message).starts_with(r#"("a" "b""#));
    assert_eq!(Structure::parse(message).sent_date(), None);
}

#[test]
fn depth_is_limited() {
    for (kind, each) in [("message", 1), ("multipart", 1)] {
        let mut message = String::new();
        for level in 0..1000 {
            match kind {
                "message" => message.push_str("Content-Type: message/rfc822\n\n"),
                _ => message.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n")),
            }
        }
        let message = crlf(&message);
        check(&message);
        let parts = Structure::parse(&message).parts().len();
        assert!(parts <= MAX_DEPTH * each + 2 && parts >= MAX_DEPTH, "{parts}");
    }
    let deep = crlf(&"Content-Type: message/rfc822\n\n".repeat(1000));
    assert!(body(&deep).contains(r#""APPLICATION" "OCTET-STREAM""#));
}

#[test]
fn the_number_of_parts_is_limited() {
    let mut message = crlf("Content-Type: multipart/mixed; boundary=x\n\n");
    message.extend(b"--x\r\n\r\na\r\n".repeat(MAX_PARTS + 100));
    let structure = Structure::parse(&message);
    assert_eq!(structure.parts().len(), MAX_PARTS);
    // The last one has what follows.
    assert_eq!(structure.parts().last().unwrap().body.end, message.len() as u64);
    assert_eq!(Summary::decode(&Summary::compute(&message).encode()).unwrap().structure(), &structure);

    let mut message = crlf("Content-Type: multipart/digest; boundary=x\n\n");
    message.extend(b"--x\r\n\r\nContent-Type: multipart/mixed\r\n\r\na\r\n".repeat(MAX_PARTS));
    check(&message);
}

#[test]
fn header_fields_are_limited() {
    let mut message = b"Subject: ".to_vec();
    message.extend(b"x".repeat(MAX_FIELD + 5));
    message.extend(b"\r\nContent-Type: text/html\r\n\r\n");
    let structure = Structure::parse(&message);
    let subject = MAX_FIELD - b"Subject: ".len();
    let rest = b"(NIL \"\" NIL NIL NIL NIL NIL NIL NIL NIL)".len();
    assert_eq!(structure.root().envelope.as_ref().unwrap().get(Dialect::Rev1).len(), subject + rest);
    assert!(structure.root().is(b"text", b"html"));

    let mut message = b"Subject: ".to_vec();
    message.extend(b"x\r\n ".repeat(MAX_FIELD));
    message.extend(b"\r\n\r\n");
    check(&message);
}

#[test]
fn many_header_fields_are_linear() {
    let mut message = Vec::new();
    for number in 0..100_000 {
        message.extend(format!("Content-X{number}: y\r\nTo: z\r\n").into_bytes());
    }
    let structure = Structure::parse(&message);
    assert_eq!(structure.root().header.end, message.len() as u64);
}
