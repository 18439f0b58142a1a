//! Messages of the project's own with something in them that is easily done wrong.

use super::*;

/// The message of RFC 9051, section 6.4.5.1, with all its parts.
pub(super) const NESTED: &str = "From: a@example.org
Subject: outer
Content-Type: multipart/mixed; boundary=b0

preamble
--b0
Content-Type: text/plain

one
--b0
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

AAEC
--b0
Content-Type: message/rfc822

From: b@example.org
Subject: inner three
Content-Type: multipart/mixed; boundary=b3

--b3
Content-Type: text/plain

three one
--b3
Content-Type: application/octet-stream

three two
--b3--
--b0
Content-Type: multipart/mixed; boundary=\"b4\"

--b4
Content-Type: image/gif
Content-ID: <gif@example.org>

GIF
--b4
Content-Type: message/rfc822

Subject: inner four
Content-Type: multipart/mixed; boundary=\"b 42\"

--b 42
Content-Type: text/plain

four two one
--b 42
Content-Type: multipart/alternative; boundary=b422

--b422
Content-Type: text/plain

plain
--b422
Content-Type: text/richtext

rich
--b422--
--b 42--
--b4--
--b0--
epilogue
";

/// A name, a message (LF for CRLF) and its body structure without extension data.
pub(super) const STRUCTURES: &[(&str, &str, &str)] = &[
    ("empty", "", r#"("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0)"#),
    ("empty line", "\n", r#"("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0)"#),
    ("no header", "\nHello\n", r#"("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 7 1)"#),
    ("header only", "Subject: x", r#"("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0)"#),
    ("last line without end", "A: b\n\none\ntwo", r#"("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 8 1)"#),
    (
        "params",
        "Content-Type: text/html; format=flowed; Charset=\"UTF-8\"\nContent-Transfer-Encoding: quoted-printable (x)\n\n",
        r#"("text" "html" ("format" "flowed" "Charset" "UTF-8") NIL NIL "quoted-printable" 0 0)"#,
    ),
    (
        "missing charset among params",
        "Content-Type: text/plain; format=flowed\n\n",
        r#"("text" "plain" ("format" "flowed" "CHARSET" "us-ascii") NIL NIL "7BIT" 0 0)"#,
    ),
    (
        "binary body",
        "Content-Type: image/png\nContent-ID: <1@example.org>\nContent-Description: a\n picture\n\nPNG",
        r#"("image" "png" NIL "<1@example.org>" "a picture" "7BIT" 3)"#,
    ),
    (
        "multipart",
        "Content-Type: multipart/alternative; boundary=x\n\n--x\n\none\n--x\nContent-Type: text/html\n\n<p>\n\n--x--\n",
        r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0)("text" "html" ("CHARSET" "us-ascii") NIL NIL "7BIT" 5 1) "alternative")"#,
    ),
    (
        "digest",
        "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: a\n\nhi\n--x\nContent-Type: text/plain\n\nb\n--x--\n",
        r#"(("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 16 (NIL "a" NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 2 0) 2)("text" "plain" ("CHARSET" "us-ascii") NIL NIL "7BIT" 1 0) "digest")"#,
    ),
    (
        "multipart without end",
        "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x\n\ntwo\n",
        r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0)("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 5 1) "mixed")"#,
    ),
    (
        "boundary is the last line",
        "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x",
        r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0)("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0) "mixed")"#,
    ),
    (
        "parts without header or body",
        "Content-Type: multipart/mixed; boundary=x\n\n--x\n--x\n\n--x\nContent-Type: a/b\n--x\nContent-Type: c/d\n\n--x--\n",
        r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0)("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0)("a" "b" NIL NIL NIL "7BIT" 0)("c" "d" NIL NIL NIL "7BIT" 0) "mixed")"#,
    ),
    (
        "boundary with spaces after it",
        "Content-Type: multipart/mixed; boundary=\"x \"\n\n--x \t\n\none\n--x-- \n\n--x\n\nepilogue\n",
        r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0) "mixed")"#,
    ),
    (
        "boundary that looks like an end",
        "Content-Type: multipart/mixed; boundary=\"x--\"\n\n--x--\n\none\n--x----\n",
        r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0) "mixed")"#,
    ),
    (
        "inner multipart ends with the outer one",
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=y\n\n--y\n\none\n--x\n\ntwo\n--y\nrest\n--x--\n",
        r#"((("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0) "mixed")("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 14 2) "mixed")"#,
    ),
    (
        "message in a message",
        "Content-Type: message/rfc822\n\nFrom: a@b\nContent-Type: message/rfc822\n\nSubject: c\n\nd\n",
        r#"("message" "rfc822" NIL NIL NIL "7BIT" 60 (NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL) ("message" "rfc822" NIL NIL NIL "7BIT" 17 (NIL "c" NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 1) 3) 6)"#,
    ),
];

#[test]
fn samples_hold() {
    check(&crlf(NESTED));
    check(NESTED.as_bytes());
    for (name, message, expected) in STRUCTURES {
        let message = crlf(message);
        assert_eq!(body(&message), *expected, "{name}");
        check(&message);
    }
}
