use Direction::{Client as C, Server as S};
use base64::Engine as _;
use proptest::prelude::*;

use super::*;

/// A transcript whose lines begin with `C: ` and `S: `; what is shown of it has the same form. The greeting has been.
fn session(keep: Keep, script: &str) -> String {
    let mut redactor = Redactor::new(keep);
    redactor.redact(S, b"+OK hello\r\n", &mut Vec::new());
    let mut all = String::new();
    for line in script.lines() {
        let side = if line.starts_with("C: ") { C } else { S };
        let mut out = Vec::new();
        redactor.redact(side, format!("{}\r\n", &line[3..]).as_bytes(), &mut out);
        for shown in String::from_utf8_lossy(&out).split_inclusive("\r\n") {
            all += &line[..3];
            all += shown.trim_end_matches("\r\n");
            all += "\n";
        }
    }
    all
}

#[track_caller]
fn assert_session(script: &str, expected: &str) {
    assert_eq!(session(Keep::default(), script).trim_end(), expected.trim_end());
}

#[test]
fn secrets_are_masked() {
    for (said, expected) in [
        ("PASS hunter2", "PASS ***"),
        ("pass hunter2 and more", "pass ***"),
        ("  PASS\thunter2", "PASS ***"),
        ("PASS", "PASS"),
        ("PASSW hunter2", "***"),
        ("PASS=hunter2", "***"),
        ("hunter2", "***"),
        ("USER bob", "USER bob"),
        ("USER bob hunter2", "USER ***"),
        ("USER bob\"hunter2", "USER ***"),
        ("APOP bob 0123456789abcdef0123456789abcdef", "APOP bob ***"),
        ("APOP 0123456789abcdef0123456789abcdef", "APOP ***"),
        ("APOP bob", "APOP ***"),
        ("AUTH PLAIN", "AUTH PLAIN"),
        ("AUTH PLAIN AGh1bnRlcjI=", "AUTH PLAIN ***"),
        ("AUTH AGh1bnRlcjI=", "AUTH ***"),
        ("AUTH", "AUTH"),
        ("STAT hunter2", "STAT ***"),
        ("RETR 1", "RETR 1"),
        ("RETR hunter2", "RETR ***"),
        ("LIST of my things", "LIST ***"),
        ("TOP 1 20", "TOP 1 20"),
        ("LANG de-AT", "LANG de-AT"),
        ("LANG hunter 2", "LANG ***"),
        ("", ""),
    ] {
        assert_session(&format!("C: {said}"), &format!("C: {expected}"));
    }
    assert_session(&format!("C: PASS {}", "hunter2".repeat(1000)), "C: PASS ***");
    assert_session(&format!("C: {}", "hunter2".repeat(1000)), "C: ***");
}

#[test]
fn exchanges_are_masked_on_both_sides() {
    assert_session(
        "C: AUTH LOGIN\nS: + VXNlcg==\nC: Ym9i\nS: + UGFzcw==\nC: aHVudGVyMg==\nS: +OK in\nC: STAT\nS: +OK 1 2",
        "C: AUTH LOGIN\nS: + ***\nC: ***\nS: + ***\nC: ***\nS: +OK in\nC: STAT\nS: +OK 1 2",
    );
    // Refused at once; the client says it all the same.
    assert_session(
        "C: AUTH PLAIN\nS: -ERR no\nC: AGh1bnRlcjI=\nS: -ERR what?\nC: QUIT",
        "C: AUTH PLAIN\nS: -ERR no\nC: ***\nS: -ERR what?\nC: QUIT",
    );
    // Sent ahead, with a message after it.
    assert_session(
        "C: AUTH PLAIN\nC: AGh1bnRlcjI=\nC: STAT\nC: RETR 1\nS: + \nS: +OK in\nS: +OK 1 2\nS: +OK\nS: secret\nS: .\nC: QUIT\nS: +OK",
        "C: AUTH PLAIN\nC: ***\nC: ***\nC: ***\nS: + \nS: +OK in\nS: +OK 1 2\nS: +OK\nS: (data...)\nC: QUIT\nS: +OK",
    );
}

#[test]
fn messages_are_taken_out_and_can_be_kept() {
    let script = "C: RETR 1\nC: RETR 2\nC: LIST\nC: TOP 3 0\nS: +OK 9 octets in the message that follows\nS: Subject: x\nS: ..\nS: +OK\nS: .\nS: -ERR gone\n\
        S: +OK\nS: 1 200\nS: .\nS: +OK\nS: .\nC: STAT\nS: +OK 0 0";
    let expected = "C: RETR 1\nC: RETR 2\nC: LIST\nC: TOP 3 0\nS: +OK 9 octets in the message that follows\nS: (data...)\nS: -ERR gone\n\
        S: +OK\nS: 1 200\nS: .\nS: +OK\nS: (data...)\nC: STAT\nS: +OK 0 0";
    assert_session(script, expected);
    assert_eq!(session(Keep { data: true, ..Keep::default() }, script).trim_end(), script);
    let secret = "C: PASS hunter2\nC: AUTH PLAIN\nS: -ERR\nS: + \nC: x\nS: + abc\nC: hello there";
    assert_eq!(session(Keep { secrets: true, ..Keep::default() }, secret).trim_end(), secret);
}

#[test]
fn a_line_that_is_answered_before_its_end_is_counted_once() {
    let mut redactor = Redactor::new(Keep::default());
    let mut out = Vec::new();
    for (side, said) in [
        (S, "+OK hello\r\n".to_owned()),
        (C, "x".repeat(5000)),
        (S, "-ERR too long\r\n".to_owned()),
        (C, "xx\r\nRETR 1\r\n".to_owned()),
        (S, "+OK\r\nSubject: secret\r\n.\r\n".to_owned()),
    ] {
        redactor.redact(side, said.as_bytes(), &mut out);
    }
    let shown = String::from_utf8(out).unwrap();
    assert_eq!(shown, "+OK hello\r\n***\r\n-ERR too long\r\nRETR 1\r\n+OK\r\n(data...)\r\n");
}

#[test]
fn memory_is_bounded() {
    let mut redactor = Redactor::new(Keep::default());
    let mut out = Vec::new();
    redactor.redact(C, &vec![b'x'; 1 << 20], &mut out);
    redactor.redact(S, b"+++", &mut out);
    assert!(redactor.held.capacity() < 2048);
    redactor.redact(C, "\nNOOP\r\n".repeat(100_000).as_bytes(), &mut Vec::new());
    assert!(redactor.commands.len() <= COMMANDS);
    out.clear();
    redactor.redact(S, b"OK\r\nSubject: secret\r\n", &mut out);
    assert_eq!(out, DATA, "who can't tell messages from answers shows neither");
}

fn secret() -> impl Strategy<Value = String> {
    "[QZ][QZJXV0-9]{5,20}"
}

fn attempts(secret: &str) -> Vec<String> {
    let base64 = base64::engine::general_purpose::STANDARD.encode(format!("\0bob\0{secret}"));
    vec![
        format!("USER bob\r\nPASS {secret}\r\n"),
        format!("USER bob\r\n{secret}\r\n"),
        format!("USER bob\r\npass  {secret} {secret}\r\n"),
        format!("USER bob {secret}\r\n"),
        format!("PAS {secret}\r\n"),
        format!("APOP bob {secret}\r\n"),
        format!("APOP bob x {secret}\r\n"),
        format!("AUTH PLAIN {base64}\r\n"),
        format!("AUTH PLAIN\r\n{base64}\r\n"),
        format!("AUTH {base64}\r\n"),
        format!("AUTH LOGIN\r\nYm9i\r\n{base64}\r\n"),
        format!("{base64}\r\n"),
        format!("a LOGIN bob {secret}\r\n"),
        format!("QUIT {secret}\r\n"),
        format!("RETR {secret}\r\n"),
        format!("LANG x {secret}\r\n"),
        format!("PASS {}{secret}\r\n", "x".repeat(700)),
        format!("USER {}{secret}\r\n", "x".repeat(700)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_part_of_a_secret_shows(
        secret in secret(),
        picks in proptest::collection::vec((
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
            prop::sample::select(&["", "+ \r\n", "+ abc\r\n", "+OK\r\n", "-ERR no\r\n", "+OK\r\n+OK\r\n"][..]),
            prop::sample::select(&["", "+OK\r\n", "-ERR no\r\n", "+OK\r\nx\r\n.\r\n"][..]),
        ), 1..5),
    ) {
        let mut redactor = Redactor::new(Keep { data: true, ..Keep::default() });
        let mut out = Vec::new();
        for (pick, cut, middle, after) in picks {
            let all = attempts(&secret);
            let said = pick.get(&all).as_bytes();
            let (first, rest) = said.split_at(cut.index(said.len() + 1));
            redactor.redact(C, first, &mut out);
            redactor.redact(S, middle.as_bytes(), &mut out);
            redactor.redact(C, rest, &mut out);
            redactor.redact(S, after.as_bytes(), &mut out);
        }
        let base64 = base64::engine::general_purpose::STANDARD.encode(format!("\0bob\0{secret}"));
        for part in secret.as_bytes().windows(4).chain(base64.as_bytes().windows(4)) {
            prop_assert!(!out.windows(4).any(|window| window == part), "{}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn cuts_do_not_matter(
        script in proptest::collection::vec((any::<bool>(), prop_oneof![
            "(AUTH|PASS|RETR|TOP|LIST|STLS|x)( [a-c1-2]{0,3}){0,2}\r?\n".prop_map(String::into_bytes),
            "(\\+OK|-ERR|\\+|\\.|1|\\.\\.)( [a-c]{0,3}){0,2}\r?\n".prop_map(String::into_bytes),
            proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'.'), any::<u8>()], 0..700),
        ]), 0..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        keep in (any::<bool>(), any::<bool>()),
    ) {
        let keep = Keep { secrets: keep.0, data: keep.1 };
        let (mut whole, mut pieces) = (Redactor::new(keep), Redactor::new(keep));
        let mut outs = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        for (client, bytes) in &script {
            let side = if *client { C } else { S };
            let at = usize::from(*client);
            whole.redact(side, bytes, &mut outs[at]);
            let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            let mut from = 0;
            for place in places.into_iter().chain([bytes.len()]) {
                pieces.redact(side, &bytes[from..place], &mut outs[2 + at]);
                from = place;
            }
        }
        prop_assert_eq!(&outs[0], &outs[2]);
        prop_assert_eq!(&outs[1], &outs[3]);
    }
}
