//! What must hold for any bytes at all.

use proptest::prelude::*;

use super::*;

/// Lines that make multiparts, messages and their faults.
fn line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\r\n",
        "\n",
        "text\r\n",
        "text",
        " folded\r\n",
        "--a\r\n",
        "--a \r\n",
        "--a--\r\n",
        "--a\n",
        "--b\r\n",
        "--b--\r\n",
        "--ab\r\n",
        "-",
        "\r",
        "\0",
        "\u{e9}",
        "Content-Type: multipart/mixed; boundary=a\r\n",
        "Content-Type: multipart/digest; boundary=b\r\n",
        "Content-Type: multipart/mixed; boundary=\"a\"\r\n\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "Content-Type: garbage\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Disposition: attachment; filename*0=a; filename*1*=%20\r\n",
        "Subject: =?utf-8?q?x?=\r\n",
        "From: g: a <b@c>;, \"d\r\n",
        "To: <@x:y\r\n",
        "Date: 1 Jan 2000\r\n",
    ])
}

fn pieces_agree(message: &[u8], size: usize) {
    let mut parser = StructureParser::new();
    let mut builder = SummaryBuilder::new();
    for piece in message.chunks(size) {
        parser.push(piece);
        builder.push(piece);
    }
    assert_eq!(parser.finish(), Structure::parse(message));
    assert_eq!(builder.finish(), Summary::compute(message));
}

fn search_agrees(message: &[u8], size: usize) {
    let structure = Structure::parse(message);
    let (text, x) = (Needle::new("text"), Needle::new("x"));
    let keys = [
        TextKey { needle: &text, scope: TextScope::Body },
        TextKey { needle: &x, scope: TextScope::Body },
        TextKey { needle: &text, scope: TextScope::Text },
        TextKey { needle: &x, scope: TextScope::Text },
    ];
    let whole = TextSearch::run(&structure, &keys, message);
    let mut search = TextSearch::new(&structure, &keys);
    message.chunks(size).for_each(|piece| search.push(piece));
    assert_eq!(search.finish(), whole);
    assert!((!whole[0] || whole[2]) && (!whole[1] || whole[3]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn lines_of_mail(lines in prop::collection::vec(line(), 0..30), size in 1_usize..9) {
        let message = lines.concat().into_bytes();
        check(&message);
        pieces_agree(&message, size);
        search_agrees(&message, size);
    }

    #[test]
    fn any_bytes(message in prop::collection::vec(any::<u8>(), 0..300), size in 1_usize..9) {
        check(&message);
        pieces_agree(&message, size);
        search_agrees(&message, size);
    }

    #[test]
    fn any_header_value(value in prop::collection::vec(any::<u8>(), 0..80)) {
        for name in ["Content-Type", "Content-Disposition", "Content-Language", "From", "Date", "Subject"] {
            let mut message = format!("{name}: ").into_bytes();
            message.extend(value.iter().filter(|&&octet| octet != b'\n'));
            message.extend(b"\r\n\r\n");
            check(&message);
        }
    }

    #[test]
    fn any_bytes_are_no_summary(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Summary::decode(&octets.into()), None);
    }
}
