use proptest::prelude::*;

use super::*;

/// What a message becomes when it comes in pieces of these sizes.
fn cut(message: &[u8], mut size: impl FnMut() -> usize) -> Vec<u8> {
    let mut downgrade = Downgrade::new();
    let mut rest = Bytes::copy_from_slice(message);
    let mut out = Vec::new();
    while !rest.is_empty() {
        let mut piece = rest.split_to(size().clamp(1, rest.len()));
        while let Some(done) = downgrade.next(&mut piece) {
            assert!(!done.is_empty());
            out.extend_from_slice(&done);
        }
        assert!(piece.is_empty() && downgrade.held.len() <= MAX_FIELD);
    }
    out.extend_from_slice(&downgrade.end());
    out
}

fn downgraded(message: &str) -> String {
    let whole = cut(message.as_bytes(), || usize::MAX);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(cut(message.as_bytes(), || size), whole, "in pieces of {size}");
    }
    assert_eq!(is_internationalized(&Bytes::copy_from_slice(message.as_bytes())), message.as_bytes() != &*whole);
    String::from_utf8(whole).unwrap()
}

/// A field's surrogate, without its line end.
fn field(field: &str) -> String {
    let message = format!("{field}\r\nDate: now\r\n\r\n");
    downgraded(&message).trim_end_matches("Date: now\r\n\r\n").trim_end().to_owned()
}

#[test]
fn addresses() {
    let nobody = "<invalid@internationalized-address.invalid>";
    assert_eq!(
        field("From: Fred F\u{f6}\u{f6} <fred@example.com>"),
        "From: =?utf-8?Q?Fred_F=C3=B6=C3=B6?= <fred@example.com>"
    );
    assert_eq!(field("To: jos\u{e9}@example.com"), format!("To: =?utf-8?Q?jos=C3=A9=40example=2Ecom?=\r\n {nobody}"));
    assert_eq!(
        field("Cc: Fred Foo <fred@\u{c9}XAMPLE.com>"),
        format!("Cc: =?utf-8?Q?Fred_Foo_=28fred=40=C3=89XAMPLE=2Ecom=29?=\r\n {nobody}")
    );
    assert_eq!(
        field("to: a@example.org , \"Z\u{e4}hler, K.\" <k@example.org>,\r\n\tb@example.org"),
        "to: a@example.org , =?utf-8?Q?Z=C3=A4hler=2C_K=2E?= <k@example.org>,\r\n\tb@example.org"
    );
    assert_eq!(field("Sender: k@example.org (Z\u{e4}hler)"), "Sender: =?utf-8?Q?Z=C3=A4hler?= <k@example.org>");
    assert_eq!(
        field("Reply-To: =?utf-8?Q?=C3=89va?= P\u{e1}l <e@example.org>"),
        "Reply-To: =?utf-8?Q?=C3=89va?= =?utf-8?Q?_P=C3=A1l?= <e@example.org>"
    );
    assert_eq!(
        field("Cc: Fr\u{e9}re: a@example.org, \u{e9}@example.org; , b@[IPv6:::1]"),
        format!(
            "Cc: =?utf-8?Q?Fr=C3=A9re?=: a@example.org,\r\n =?utf-8?Q?=C3=A9=40example=2Eorg?=\r\n {nobody};, b@[IPv6:::1]"
        )
    );
    assert_eq!(field("Return-Path: <\u{e9}@example.org>"), format!("Return-Path: {nobody}"));
    assert_eq!(field("Return-Path: <a@example.org> (\u{e9})"), "Return-Path: <a@example.org>");
    assert_eq!(field("Return-Path: <> (\u{e9})"), "Return-Path: <>");
    assert_eq!(field("Return-Path: \"\u{e9}"), format!("Return-Path: {nobody}"));
    // A fold is not left without what came after it.
    assert!(downgraded("To: \u{e9} <a@b>, c@d\r\n ,\r\n\r\n").ends_with("<a@b>, c@d\r\n\r\n"));
    // What can't be understood is nobody's either.
    for broken in ["\"\u{e9}", "<\u{e9}", "\u{e9} (a", "a b \u{e9}@c", "<a><\u{e9}>", "\u{e9} <>", "\u{e9}", "\u{e9}:"]
    {
        let shown = field(&format!("From: {broken}"));
        assert!(shown.ends_with(nobody) || shown.ends_with(":;"), "{broken}: {shown}");
    }
}

#[test]
fn a_list_of_many_addresses_stays_bounded() {
    let list = "\u{e9},".repeat(5000);
    let shown = field(&format!("To: {list}a@example.org"));
    assert!(shown.len() < address::MAX_LIST + 200, "{}", shown.len());
    assert!(shown.ends_with(",a@example.org"), "what is ASCII stays");
}

#[test]
fn other_fields() {
    assert_eq!(field("SUBJECT: caf\u{e9}"), "SUBJECT: =?utf-8?Q?caf=C3=A9?=");
    for left_out in
        ["X-Note: \u{e9}", "Message-ID: <\u{e9}@x>", "Received: from x\r\n for <\u{e9}@x>", "Comments: \u{e9}"]
    {
        assert_eq!(field(left_out), "");
    }
    assert_eq!(field("Content-Disposition: attachment; filename=\u{e9}"), "Content-Disposition: attachment");
    assert_eq!(field("no field, \u{e9}"), "no field, ??");
    assert_eq!(field("S\u{fc}bject: a"), "S??bject: a");
    // Longer than is held, in one line and in many.
    let long = format!("Subject: \u{e9} {} \u{e9}y", "x".repeat(MAX_FIELD));
    for long in [long.replace("xx", "x\r\n "), long] {
        assert!(field(&long) == long.replace('\u{e9}', "??"));
    }
}

const LETTER: &str = "Return-Path: <\u{6765}\u{4fe1}@\u{4f8b}\u{5b50}.example>\r\n\
    Received: from mx.example.org by pop.example.org\r\n\tfor <jos\u{e9}@example.org>; Sat, 21 Nov 2026 12:00:00 +0000\r\n\
    Received: from other.example.org by mx.example.org; Sat, 21 Nov 2026 11:59:00 +0000\r\n\
    From: \u{6765}\u{4fe1} <\u{6765}\u{4fe1}@\u{4f8b}\u{5b50}.example>\r\n\
    To: Jos\u{e9} <jose@example.org>, ann@example.org\r\n\
    Subject: Gr\u{fc}\u{df}e aus Z\u{fc}rich\r\n\
    Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=outer\r\n\r\n\
    preamble: \u{e9}\r\n--outer\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    Subject: \u{e9} in a body\r\n--outerly\r\n\
    --outer\r\nContent-Type: application/pdf; name=\"r\u{e9}sum\u{e9}.pdf\"\r\n\
    Content-Disposition: attachment;\r\n filename=\"r\u{e9}sum\u{e9}.pdf\"; size=3\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n\
    --outer\r\nContent-Type: message/global\r\n\r\n\
    From: \u{e9}@example.org\r\nSubject: inner \u{e9}\r\nContent-Type: multipart/digest; boundary=\"inner\"\r\n\r\n\
    --inner\r\n\r\nSubject: digested \u{e9}\r\n\r\n\u{e9}\r\n--inner--\r\nSubject: epilogue \u{e9}\r\n\
    --outer\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nSubject: \u{e9}\r\n\r\n\
    --outer--\r\nSubject: after \u{e9}\r\n";

#[test]
fn a_letter_with_parts() {
    let shown = downgraded(LETTER);
    assert_eq!(
        shown,
        "Return-Path: <invalid@internationalized-address.invalid>\r\n\
        Received: from other.example.org by mx.example.org; Sat, 21 Nov 2026 11:59:00 +0000\r\n\
        From: =?utf-8?Q?=E6=9D=A5=E4=BF=A1_=28=E6=9D=A5=E4=BF=A1=40=E4=BE=8B?=\r\n =?utf-8?Q?=E5=AD=90=2Eexample=29?=\r\n <invalid@internationalized-address.invalid>\r\n\
        To: =?utf-8?Q?Jos=C3=A9?= <jose@example.org>, ann@example.org\r\n\
        Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= aus =?utf-8?Q?Z=C3=BCrich?=\r\n\
        Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=outer\r\n\r\n\
        preamble: \u{e9}\r\n--outer\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        Subject: \u{e9} in a body\r\n--outerly\r\n\
        --outer\r\nContent-Type: application/pdf\r\n\
        Content-Disposition: attachment; size=3\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n\
        --outer\r\nContent-Type: message/global\r\n\r\n\
        From: =?utf-8?Q?=C3=A9=40example=2Eorg?=\r\n <invalid@internationalized-address.invalid>\r\n\
        Subject: inner =?utf-8?Q?=C3=A9?=\r\nContent-Type: multipart/digest; boundary=\"inner\"\r\n\r\n\
        --inner\r\n\r\nSubject: digested =?utf-8?Q?=C3=A9?=\r\n\r\n\u{e9}\r\n--inner--\r\nSubject: epilogue \u{e9}\r\n\
        --outer\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nSubject: \u{e9}\r\n\r\n\
        --outer--\r\nSubject: after \u{e9}\r\n"
    );
    assert_eq!(downgraded(&shown), shown, "the surrogate needs no surrogate");
}

#[test]
fn odd_structures() {
    // The outer multipart goes on right after the header of a part, and of a message in it.
    let message = "Content-Type: multipart/mixed; boundary=a\n\n--a\nX: 1\n--a\nContent-Type: message/rfc822\n\nY: \u{e9}\n--a  \nSubject: \u{e9}\n\nb\n--a--";
    assert_eq!(downgraded(message), message.replace("Y: \u{e9}\n", "").replace('\u{e9}', "=?utf-8?Q?=C3=A9?="));
    // A nested multipart with its parent's boundary ends with the parent.
    let message = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=a\n\n--a\nX: \u{e9}\n--a--\nX: \u{e9}\n";
    assert_eq!(downgraded(message), message.replacen("X: \u{e9}\n", "", 1));
    // No boundary, no parts.
    let message = "Content-Type: multipart/mixed\n\n--\nX: \u{e9}\n";
    assert_eq!(downgraded(message), message);
    // Deeper than it is followed.
    let mut deep: String = (0..MAX_DEPTH + 8)
        .map(|depth| format!("Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n"))
        .collect();
    deep.push_str("X: \u{e9}\n");
    assert_eq!(downgraded(&deep), deep);
    // Messages in messages cost nothing.
    let nested = "Content-Type: message/rfc822\n\n".repeat(1000);
    assert_eq!(downgraded(&format!("{nested}X: \u{e9}\n")), nested);
    for message in ["", "\n", "\u{e9}", "a", "a\r", ": \u{e9}\n", " \u{e9}\n\n"] {
        assert!(downgraded(message).is_ascii(), "{message:?}");
    }
    let broken = b"Subject: \xff\xfe\r\nTo: \xff <a@example.org>\r\n\r\n\xff";
    assert_eq!(
        cut(broken, || usize::MAX),
        b"Subject: =?unknown-8bit?Q?=FF=FE?=\r\nTo: =?unknown-8bit?Q?=FF?= <a@example.org>\r\n\r\n\xff"
    );
}

#[test]
fn what_stays_is_not_copied() {
    let message = Bytes::from(format!("Subject: a\r\nTo: b\r\n\r\n{}", "body \u{e9}\r\n".repeat(1000)));
    let mut downgrade = Downgrade::new();
    let mut rest = message.clone();
    let header = downgrade.next(&mut rest).unwrap();
    let body = downgrade.next(&mut rest).unwrap();
    assert_eq!((header.as_ptr(), header.len() + body.len()), (message.as_ptr(), message.len()));
    assert_eq!(body.as_ptr(), message[header.len()..].as_ptr());
    assert!(downgrade.is_settled() && !downgrade.found());
}

/// Lines of which messages are made.
fn line() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => "(From|To|Cc|Subject|Return-Path|X-Any|Content-Type|Content-Disposition): [ a\u{e9}\u{4f8b}\"\\\\()<>@,;:=?*0-9]{0,40}",
        2 => Just("Content-Type: multipart/mixed; boundary=a".to_owned()),
        1 => Just("Content-Type: multipart/digest; boundary=\"b\" (\u{e9})".to_owned()),
        1 => Just("Content-Type: message/rfc822".to_owned()),
        3 => Just(String::new()),
        2 => "--(a|b|ab)(--)?[ \t]{0,2}",
        2 => "[ \t][a\u{e9} \"(),;]{0,20}",
        2 => "[a\u{e9}:\\- ]{0,12}",
    ];
    (line, prop_oneof![4 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")]).prop_map(|(line, end)| line + end)
}

/// The header of a message, by the simplest of rules.
fn header(message: &[u8]) -> &[u8] {
    let mut end = 0;
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        end += line.len();
        if is_blank_line(line) {
            break;
        }
    }
    &message[..end]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn headers_become_ascii(
        lines in proptest::collection::vec(line(), 0..24),
        wild in any::<bool>(),
        sizes in proptest::collection::vec(1_usize..50, 1..8),
    ) {
        let mut message = lines.concat().into_bytes();
        if wild {
            // No UTF-8 any more.
            message.retain(|octet| *octet != 0xc3);
        }
        let whole = cut(&message, || usize::MAX);
        let mut sizes = sizes.into_iter().cycle();
        prop_assert_eq!(&cut(&message, || sizes.next().unwrap()), &whole, "the cut does not matter");
        prop_assert!(header(&whole).is_ascii());
        let found = is_internationalized(&message.clone().into());
        prop_assert_eq!(found, whole != message, "what has none stays, to the octet");
        prop_assert!(!is_internationalized(&whole.clone().into()));
        if message.is_ascii() {
            prop_assert_eq!(&whole, &message);
        }
        // No line was begun that is neither a field nor its continuation nor was there before.
        for line in header(&whole).split_inclusive(|octet| *octet == b'\n') {
            let known = matches!(line.first(), Some(b' ' | b'\t' | b'\r' | b'\n')) || field::split(line).is_some();
            let blank = |line: &[u8]| !is_blank_line(line) && line.trim_ascii().is_empty();
            prop_assert!(!blank(line) || message.split_inclusive(|octet| *octet == b'\n').any(blank), "a line of blanks");
            prop_assert!(known || message.split_inclusive(|octet| *octet == b'\n').any(|old| field::masked(old) == line));
        }
    }

    #[test]
    fn anything_goes(message in proptest::collection::vec(any::<u8>(), 0..400), size in 1_usize..20) {
        let whole = cut(&message, || usize::MAX);
        prop_assert_eq!(cut(&message, || size), whole.clone());
        prop_assert!(header(&whole).is_ascii());
    }
}
