use Direction::{Client as C, Server as S};
use proptest::prelude::*;

use super::*;

type Side = Direction;

/// What is shown of these bytes, each side's in a text of its own and both in one with marks.
fn shown(keep: Keep, script: &[(Side, &[u8])]) -> String {
    let mut redactor = Redactor::new(keep);
    let mut all = String::new();
    for (side, bytes) in script {
        let mut out = Vec::new();
        redactor.redact(*side, bytes, &mut out);
        let mark = if *side == C { "C: " } else { "S: " };
        for line in String::from_utf8_lossy(&out).split_inclusive("\r\n") {
            all += mark;
            all += line;
        }
    }
    all
}

/// A transcript whose lines begin with `C: ` and `S: `; what is expected has the same lines.
fn session(script: &str) -> String {
    let lines: Vec<(Side, Vec<u8>)> = script
        .lines()
        .map(|line| {
            let side = if line.starts_with("C: ") { C } else { S };
            (side, format!("{}\r\n", &line[3..]).into_bytes())
        })
        .collect();
    let lines: Vec<_> = lines.iter().map(|(side, line)| (*side, line.as_slice())).collect();
    shown(Keep::default(), &lines).replace("\r\n", "\n")
}

#[track_caller]
fn assert_session(script: &str, expected: &str) {
    assert_eq!(session(script).trim_end(), expected.trim_end());
}

#[test]
fn passwords_of_login_are_masked_in_every_form() {
    for (said, expected) in [
        ("a LOGIN bob hunter2", "a LOGIN bob \"***\""),
        ("a login \"bob\" \"hunter2\"", "a login \"bob\" \"***\""),
        ("a LOGIN bob \"hun\\\"ter2\"", "a LOGIN bob \"***\""),
        ("a LOGIN bob hunter2 and more", "a LOGIN bob \"***\""),
        ("a LOGIN bob \"hunter2", "a LOGIN bob \"***\""),
        ("a LOGIN \"bob hunter2\"", "a LOGIN ***"),
        ("a LOGIN \"bob hunter2", "a LOGIN ***"),
        ("a LOGIN \"bob\"hunter2", "a LOGIN ***"),
        ("a LOGIN \"b\\\\ob\" hunter2", "a LOGIN ***"),
        ("a LOGIN hunter2", "a LOGIN ***"),
        ("a LOGIN hunter2 ", "a LOGIN ***"),
        ("a LOGIN  hunter2", "a LOGIN ***"),
        ("a LOGIN", "a LOGIN"),
        ("a LOGIN ", "a LOGIN ***"),
        ("a  LOGIN bob hunter2", "***"),
        ("LOGIN bob hunter2", "***"),
        ("a LOGINN bob hunter2", "***"),
        ("a LOGIN\tbob\thunter2", "***"),
        ("a XLOGIN bob hunter2", "***"),
        ("hunter2", "***"),
        ("hunter2 NOOPE", "***"),
        ("", ""),
    ] {
        assert_session(&format!("C: {said}"), &format!("C: {expected}"));
    }
}

#[test]
fn literals_of_login_are_masked() {
    // Synchronizing, one after the other.
    assert_session(
        "C: a LOGIN {3}\nS: + Ready\nC: bob {7}\nS: + Ready\nC: hunter2\nS: a OK [CAPABILITY] in\nC: b NOOP",
        "C: a LOGIN {3}\nS: + Ready\nC: bob \"***\"\nS: + Ready\nS: a OK [CAPABILITY] in\nC: b NOOP",
    );
    assert_session("C: a LOGIN {3+}\nC: bob {7+}\nC: hunter2\nC: b NOOP", "C: a LOGIN {3+}\nC: bob \"***\"\nC: b NOOP");
    assert_session("C: a LOGIN bob {7+}\nC: hunter2\nC: b NOOP", "C: a LOGIN bob \"***\"\nC: b NOOP");
    // Counted wrongly: too short, too long, and with more arguments.
    assert_session("C: a LOGIN {2+}\nC: bob {7+}\nC: hunter2\nC: b NOOP", "C: a LOGIN {2+}\nC: ***\nC: b NOOP");
    assert_session("C: a LOGIN {8+}\nC: bob hunter2\nC: b NOOP", "C: a LOGIN {8+}\nC: ***\nC: b NOOP");
    assert_session("C: a LOGIN bob {3+}\nC: hunter2\nC: b NOOP", "C: a LOGIN bob \"***\"\nC: b NOOP");
    assert_session("C: a LOGIN bob {3+}\nC: hun {4+}\nC: ter2\nC: b NOOP", "C: a LOGIN bob \"***\"\nC: b NOOP");
    assert_session("C: a LOGIN {400+}\nC: hunter2", "C: a LOGIN ***");
}

#[test]
fn a_literal_that_the_server_does_not_want_does_not_come() {
    assert_session(
        "C: a LOGIN bob {99999}\nS: a BAD [LIMIT] literal too large\nC: b NOOP\nS: b OK",
        "C: a LOGIN bob \"***\"\nS: a BAD [LIMIT] literal too large\nC: b NOOP\nS: b OK",
    );
    // The client did not wait: what it meant as its password is no command.
    assert_session(
        "C: a LOGIN bob {99999}\nS: a BAD [LIMIT] literal too large\nC: hunter2\nS: hunter2 BAD what?",
        "C: a LOGIN bob \"***\"\nS: a BAD [LIMIT] literal too large\nC: ***\nS: *** BAD what?",
    );
}

#[test]
fn sasl_is_masked_on_both_sides_until_it_is_answered() {
    assert_session(
        "C: a AUTHENTICATE PLAIN AGh1bnRlcjI=\nS: a NO no\nC: b authenticate plain\nS: +\nC: AGh1bnRlcjI=\nS: b NO no\nC: c LOGIN bob x",
        "C: a AUTHENTICATE PLAIN ***\nS: a NO no\nC: b authenticate plain\nS: +\nC: ***\nS: b NO no\nC: c LOGIN bob \"***\"",
    );
    assert_session(
        "C: a AUTHENTICATE SCRAM-SHA-1\nS: + \nC: aHVudGVyMg==\nS: + c2FsdA==\nC: eA==\nS: a OK in\nC: b SELECT x\nS: b OK",
        "C: a AUTHENTICATE SCRAM-SHA-1\nS: + \nC: ***\nS: + ***\nC: ***\nS: a OK in\nC: b SELECT x\nS: b OK",
    );
    // No mechanism, or the response in its place.
    assert_session("C: a AUTHENTICATE AGh1bnRlcjI=", "C: a AUTHENTICATE ***");
    assert_session("C: a AUTHENTICATE PLAINX AGh1bnRlcjI=", "C: a AUTHENTICATE ***");
    // Refused at once; the client says it all the same, and the server repeats what it takes for a tag.
    assert_session(
        "C: a AUTHENTICATE PLAIN\nS: a NO not here\nC: AGh1bnRlcjI\nS: AGh1bnRlcjI BAD what?\nC: b LOGOUT\nS: b OK",
        "C: a AUTHENTICATE PLAIN\nS: a NO not here\nC: ***\nS: *** BAD what?\nC: b LOGOUT\nS: b OK",
    );
    // Sent ahead.
    assert_session(
        "C: a AUTHENTICATE PLAIN AGh1bnRlcjI=\nC: b SELECT x\nS: a OK\nS: b OK\nC: c NOOP\nS: c OK",
        "C: a AUTHENTICATE PLAIN ***\nC: ***\nS: a OK\nS: *** OK\nC: c NOOP\nS: c OK",
    );
}

#[test]
fn commands_are_shown_where_they_belong() {
    assert_session("C: a CAPABILITY\nC: my list of things\nC: a NOOP x", "C: a CAPABILITY\nC: ***\nC: a NOOP ***");
    assert_session(
        "C: a LOGIN bob x\nC: b SELECT x\nS: a NO\nC: c SELECT x\nS: * PREAUTH hello\nC: d SELECT x\nC: e IDLE\nC: done\nC: done",
        "C: a LOGIN bob \"***\"\nC: b SELECT x\nS: a NO\nC: ***\nS: * PREAUTH hello\nC: d SELECT x\nC: e IDLE\nC: done\nC: ***",
    );
    assert_session(
        "S: * PREAUTH\nC: a LOGIN bob hunter2\nC: b UNAUTHENTICATE\nS: b OK\nC: c SELECT x",
        "S: * PREAUTH\nC: a LOGIN bob \"***\"\nC: b UNAUTHENTICATE\nS: b OK\nC: ***",
    );
}

#[test]
fn a_tag_that_is_used_again_does_not_confuse() {
    assert_session(
        "C: . NOOP\nC: . AUTHENTICATE PLAIN\nS: . OK\nC: my list of\nS: . NO\nC: . NOOP\nC: . LOGIN bob {10}\nS: . OK\nC: my list of\nS: . OK",
        "C: . NOOP\nC: . AUTHENTICATE PLAIN\nS: . OK\nC: ***\nS: . NO\nC: . NOOP\nC: . LOGIN bob \"***\"\nS: . OK\nS: . OK",
    );
}

#[test]
fn what_came_before_tls_is_forgotten() {
    let mut redactor = Redactor::new(Keep::default());
    let mut out = Vec::new();
    redactor.redact(C, b"a STARTTLS\r\nb LOGIN bob {500}\r\n", &mut out);
    redactor.redact(S, b"a OK go\r\n", &mut out);
    redactor.secured();
    redactor.redact(C, b"c LOGIN bob hunter2\r\n", &mut out);
    let expected = "a STARTTLS\r\nb LOGIN bob \"***\"\r\na OK go\r\nc LOGIN bob \"***\"\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn message_data_is_taken_out_and_can_be_kept() {
    let script: [(Side, &[u8]); 5] = [
        (S, b"* PREAUTH hi\r\n"),
        (C, b"a APPEND x {5}\r\n"),
        (S, b"+ Ready\r\n"),
        (C, b"a\r\nb\r {2+}\r\nzz\r\n"),
        (S, b"* 1 FETCH (BODY[] {5}\r\nx {9} BODY[1] ~{3}\r\n\r\n\0)\r\n* OK look {9}\r\na OK\r\n"),
    ];
    let without = "S: * PREAUTH hi\r\nC: a APPEND x {5}\r\nS: + Ready\r\nC: (data...) {2+}\r\nC: (data...)\r\n\
        S: * 1 FETCH (BODY[] {5}\r\nS: (data...) BODY[1] ~{3}\r\nS: (data...))\r\nS: * OK look {9}\r\nS: a OK\r\n";
    assert_eq!(shown(Keep::default(), &script), without);
    let mut redactor = Redactor::new(Keep { data: true, ..Keep::default() });
    for (side, bytes) in script {
        let mut out = Vec::new();
        redactor.redact(side, bytes, &mut out);
        assert_eq!(out, bytes);
    }
}

#[test]
fn secrets_can_be_kept() {
    let said = b"a LOGIN {3+}\r\nbob {6+}\r\nsesame\r\nb AUTHENTICATE PLAIN\r\nAGJvYg==\r\nc SELECT {3+}\r\nabc\r\n";
    let expected = String::from_utf8_lossy(said).replace("abc", "(data...)");
    let mut out = Vec::new();
    Redactor::new(Keep { secrets: true, ..Keep::default() }).redact(C, said, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn memory_is_bounded() {
    let mut redactor = Redactor::new(Keep::default());
    for text in
        [&b"x"[..], b"a LOGIN ", b"a LOGIN \"", b"a AUTHENTICATE ", b"a LOGIN {300+}\r\n", b"a LOGIN {301+}\r\n"]
    {
        redactor.secured();
        let mut out = Vec::new();
        redactor.redact(C, text, &mut out);
        redactor.redact(C, &vec![b'x'; 1 << 20], &mut out);
        redactor.redact(S, &vec![b'y'; 1 << 20], &mut out);
        assert!(redactor.held.capacity() <= 1024 && out.len() < 100, "{}", redactor.held.capacity());
    }
    let mut redactor = Redactor::new(Keep::default());
    for number in 0..10_000 {
        redactor.redact(C, format!("a{number} NOOP\r\n").as_bytes(), &mut Vec::new());
    }
    assert_eq!(redactor.tags.len(), TAGS);
}

/// A word that appears nowhere else, so that a part of it that is shown is noticed.
fn secret() -> impl Strategy<Value = String> {
    "[QZ][QZJXV0-9]{5,20}"
}

/// Things that clients do with a password.
fn attempt(secret: &str) -> Vec<Vec<u8>> {
    let length = secret.len();
    let base64 = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("\0bob\0{secret}"))
    };
    [
        format!("a LOGIN bob {secret}\r\n"),
        format!("a LOGIN \"bob\" \"{secret}\"\r\n"),
        format!("a LOGIN bob {secret} {secret}\r\n"),
        format!("a LOGIN bob \"x {secret}\r\n"),
        format!("a LOGIN \"bob {secret}\"\r\n"),
        format!("a LOGIN \"bob\\\" {secret}\"\r\n"),
        format!("a LOGIN bob {{{length}}}\r\n{secret}\r\n"),
        format!("a LOGIN bob {{{length}+}}\r\n{secret}\r\n"),
        format!("a LOGIN {{3}}\r\nbob {{{length}}}\r\n{secret}\r\n"),
        format!("a LOGIN {{{}+}}\r\nbob {{{length}+}}\r\n{secret}\r\n", length),
        format!("a LOGIN {{3+}}\r\nb\u{f6}b {{{length}+}}\r\n{secret}\r\n"),
        format!("a LOGIN {{{}+}}\r\nbob {secret}\r\n", length + 4),
        format!("a LOGIN {{{}+}}\r\nbob {secret}\r\n", length),
        format!("a LOGIN bob {{0}}\r\n{secret}\r\n"),
        format!("a LOGIN bob {{1}}\r\n{secret}\r\n"),
        format!("a LOGIN bob {{99999999999999999999999999}}\r\n{secret}\r\n"),
        format!("a LOGIN bob{{1}}\r\n{secret}\r\n"),
        format!("LOGIN bob {secret}\r\n"),
        format!("a LOGGIN bob {secret}\r\n"),
        format!("{secret}\r\n"),
        format!("{secret} {secret}\r\n"),
        format!("{secret} LOGIN\r\n").replace("LOGIN", "LOGON"),
        format!("a AUTHENTICATE PLAIN {base64}\r\n"),
        format!("a AUTHENTICATE PLAIN\r\n{base64}\r\n"),
        format!("a AUTHENTICATE {base64}\r\n"),
        format!("a AUTHENTICATE LOGIN\r\nYm9i\r\n{base64}\r\n"),
        format!("a AUTHENTICATE PLAIN {{{}}}\r\n{base64}\r\n", base64.len()),
        format!("a AUTHENTICATE\r\n{base64}\r\n"),
        format!("{base64}\r\n"),
        format!("a PASS {secret}\r\nUSER bob\r\nPASS {secret}\r\n"),
        format!("a STARTTLS {secret}\r\n"),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect()
}

fn between() -> impl Strategy<Value = Vec<(Side, Vec<u8>)>> {
    const PIECES: [(Side, &str); 13] = [
        (S, "+ Ready"),
        (S, "+ "),
        (S, "a OK done"),
        (S, "a NO no"),
        (S, "a BAD bad {3}"),
        (S, "b OK done"),
        (S, "* OK hello"),
        (S, "* BYE hello"),
        (C, "b NOOP"),
        (C, ""),
        (C, "*"),
        (C, "c IDLE\r\nDONE"),
        (C, "a STARTTLS"),
    ];
    let piece = prop::sample::select(&PIECES[..]);
    proptest::collection::vec(piece.prop_map(|(side, line)| (side, format!("{line}\r\n").into_bytes())), 0..4)
}

fn parts(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().windows(4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_part_of_a_secret_shows(
        secret in secret(),
        picks in proptest::collection::vec((any::<prop::sample::Index>(), between(), any::<prop::sample::Index>(), between()), 1..4),
        echo in any::<bool>(),
    ) {
        use base64::Engine as _;
        let mut redactor = Redactor::new(Keep { data: true, ..Keep::default() });
        let mut out = Vec::new();
        for (pick, before, cut, middle) in picks {
            for (side, bytes) in before {
                redactor.redact(side, &bytes, &mut out);
            }
            let all = attempt(&secret);
            let said = pick.get(&all);
            // The other side speaks at any place, as reads are cut at any place.
            let (first, rest) = said.split_at(cut.index(said.len() + 1));
            redactor.redact(C, first, &mut out);
            for (side, bytes) in middle.into_iter().filter(|(side, _)| *side == S) {
                redactor.redact(side, &bytes, &mut out);
            }
            redactor.redact(C, rest, &mut out);
            if echo {
                redactor.redact(S, format!("{secret} BAD what?\r\n").as_bytes(), &mut out);
            }
        }
        let shown = String::from_utf8_lossy(&out).into_owned();
        let base64 = base64::engine::general_purpose::STANDARD.encode(format!("\0bob\0{secret}"));
        for part in parts(&secret).chain(parts(&base64)) {
            prop_assert!(!shown.as_bytes().windows(4).any(|window| window == part), "{shown}");
        }
    }

    #[test]
    fn cuts_do_not_matter(
        script in proptest::collection::vec((any::<bool>(), prop_oneof![
            "[ab] (LOGIN|AUTHENTICATE|APPEND|NOOP|UID FETCH) [a-c\"\\\\{}0-3+ ~]{0,12}\r\n".prop_map(String::into_bytes),
            "(\\*|\\+|a|b) (OK|NO|PREAUTH|[1-9]) [a-c{}0-4 ]{0,9}(\\{[0-9]\\})?\r?\n".prop_map(String::into_bytes),
            proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'{'), any::<u8>()], 0..200),
        ]), 0..12),
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
