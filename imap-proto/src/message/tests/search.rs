//! BODY and TEXT.

use super::*;

fn found(message: &[u8], scope: TextScope, text: &str) -> bool {
    let needle = Needle::new(text);
    let keys = [TextKey { needle: &needle, scope }];
    let structure = Structure::parse(message);
    let whole = TextSearch::run(&structure, &keys, message);
    for size in [1, 7] {
        let mut search = TextSearch::new(&structure, &keys);
        for piece in message.chunks(size) {
            search.push(piece);
        }
        assert_eq!(search.finish(), whole);
    }
    // Only what is wanted.
    let mut search = TextSearch::new(&structure, &keys);
    while let Some(range) = search.wanted() {
        search.seek(range.start);
        search.push(&message[range.start as usize..range.end as usize]);
    }
    assert_eq!(search.finish(), whole);
    whole[0]
}

fn body_has(message: &str, text: &str) -> bool {
    found(&crlf(message), TextScope::Body, text)
}

fn text_has(message: &str, text: &str) -> bool {
    found(&crlf(message), TextScope::Text, text)
}

const MESSAGE: &str = "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=
X-Folded: one
 two
Content-Type: multipart/mixed; boundary=x

preamble words
--x
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9 a l=
ong line
--x
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64
Content-Description: description words

PGI+0L7RgtC/0YPRgdC6PC9iPg==
--x
Content-Type: application/octet-stream

binary words
--x
Content-Type: message/rfc822

Subject: nested subject
Content-Type: multipart/alternative; boundary=y

--y
X-Inner: inner header

nested words
--y--
--x
Content-Type: message/delivery-status

Status: 5.0.0
--x--
epilogue words
";

#[test]
fn body_looks_at_decoded_texts() {
    for text in ["CAFÉ", "a long LINE", "ОТПУСК", "<b>", "nested words", "status: 5", ""] {
        assert!(body_has(MESSAGE, text), "{text}");
    }
    for text in [
        "cafe",
        "along",
        "grüße",
        "preamble words",
        "description words",
        "binary words",
        "nested subject",
        "inner header",
        "epilogue words",
        "PGI+",
    ] {
        assert!(!body_has(MESSAGE, text), "{text}");
    }
}

#[test]
fn text_looks_at_all_headers_too() {
    for text in [
        "GRÜSSE",
        "subject: grüße",
        "one two",
        "description words",
        "nested subject",
        "inner header",
        "nested words",
        "café",
        "content-type: multipart/mixed",
    ] {
        assert!(text_has(MESSAGE, text), "{text}");
    }
    for text in ["preamble words", "binary words", "epilogue words", "=?utf-8", "one\r\n"] {
        assert!(!text_has(MESSAGE, text), "{text}");
    }
}

#[test]
fn the_empty_text_is_everywhere() {
    for message in ["", "Subject: x", "Content-Type: image/png\n\n"] {
        assert!(body_has(message, "") && text_has(message, ""));
    }
}

#[test]
fn a_multipart_without_parts_is_searched() {
    assert!(body_has("Content-Type: multipart/mixed; boundary=x\n\nhidden words\n", "hidden"));
    assert!(!body_has("Content-Type: multipart/mixed; boundary=x\n\nhidden words\n--x\n\nshown\n", "hidden"));
}

#[test]
fn unknown_charsets_and_encodings_are_taken_as_they_are() {
    assert!(body_has("Content-Type: text/plain; charset=nonesuch\n\nwörter\n", "WÖRTER"));
    assert!(body_has("Content-Transfer-Encoding: nonesuch\n\nwords\n", "words"));
    assert!(found(b"\r\nw\xf6rter\r\n", TextScope::Body, "wörter"));
}

#[test]
fn finds_across_the_edges_of_what_is_decoded_at_a_time() {
    let mut message = b"\r\n".to_vec();
    for number in 0..40_000 {
        message.extend(format!("{number:05} ").into_bytes());
        if number % 10 == 9 {
            message.extend(b"\r\n");
        }
    }
    let structure = Structure::parse(&message);
    for number in (1..39_999).step_by(1009) {
        let number = if number % 10 == 9 { number - 1 } else { number };
        let needle = Needle::new(&format!("{number:05} {:05}", number + 1));
        assert_eq!(
            TextSearch::run(&structure, &[TextKey { needle: &needle, scope: TextScope::Body }], &message),
            [true]
        );
    }
    let marks = format!("\r\n{}", "e\u{301}".repeat(100_000));
    let structure = Structure::parse(marks.as_bytes());
    for (text, expected) in [("e", false), ("é", true), ("éé", true), ("\u{301}e", false)] {
        let needle = Needle::new(text);
        let keys = [TextKey { needle: &needle, scope: TextScope::Body }];
        assert_eq!(TextSearch::run(&structure, &keys, marks.as_bytes()), [expected], "{text}");
    }
}

#[test]
fn stops_when_everything_is_found() {
    let message = crlf(MESSAGE);
    let needle = Needle::new("café");
    let mut search =
        TextSearch::new(&Structure::parse(&message), &[TextKey { needle: &needle, scope: TextScope::Body }]);
    assert!(!search.is_done());
    let range = search.wanted().unwrap();
    search.seek(range.start);
    search.push(&message[range.start as usize..range.end as usize]);
    assert!(search.is_done());
    assert_eq!(search.finish(), [true]);
}

#[test]
fn html_is_searched_as_it_reads_and_as_it_was_sent() {
    let message = r#"Content-Type: text/HTML; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<html><head><style>p { color: puce }</style></head><p>Un caf&eacute; cr&#232;me, s&=
#x27;il&nbsp;vous <b>pl</b>a&icirc;t<br>merci</p>
<a href=3D"https://example.org/unsubscribe">no
more</a></html>"#;
    for text in [
        "café",
        "CRÈME, s'il vous plaît",
        "plaît merci",
        "caf&eacute;",
        "example.org/unsubscribe",
        "puce",
        "no more",
        "<b>pl",
    ] {
        assert!(body_has(message, text), "{text}");
    }
    for text in ["plaîtmerci", "cafe;", "crèmes"] {
        assert!(!body_has(message, text), "{text}");
    }
    let plain = "Content-Type: text/plain\n\ncaf&eacute; <b>pl</b>ait\n";
    assert!(!body_has(plain, "café") && !body_has(plain, "plait"));
}
