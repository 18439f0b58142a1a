//! Properties of the wire layer: nothing panics, parsing what was encoded yields the same command, and the framer's
//! frames do not depend on how the input was cut.

use bytes::BytesMut;
use pillarbox_imap_proto::wire::command::{Command, parse_command, tag_of};
use pillarbox_imap_proto::wire::encode::encode_command;
use pillarbox_imap_proto::wire::framer::{Frame, Framer};
use pillarbox_imap_proto::wire::limits::{FrameLimits, ParseLimits};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn one_of(words: &'static [&'static str]) -> BoxedStrategy<String> {
    select(words).prop_map(str::to_owned).boxed()
}

/// A list with single spaces between.
fn spaced(item: impl Strategy<Value = String> + 'static, size: std::ops::Range<usize>) -> BoxedStrategy<String> {
    vec(item, size).prop_map(|items| items.join(" ")).boxed()
}

fn join(parts: Vec<BoxedStrategy<String>>) -> BoxedStrategy<String> {
    parts.prop_map(|parts| parts.join(" ")).boxed()
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn string() -> BoxedStrategy<String> {
    prop_oneof![
        "[^\\x00\\r\\n]{0,8}".prop_map(|text| quote(&text)),
        "[^\\x00]{0,8}".prop_map(|text| format!("{{{}}}\r\n{text}", text.len())),
        "[^\\x00]{0,8}".prop_map(|text| format!("{{{}+}}\r\n{text}", text.len())),
    ]
    .boxed()
}

fn astring() -> BoxedStrategy<String> {
    prop_oneof!["[A-Za-z0-9.&/\\]+-]{1,8}", string()].boxed()
}

fn set() -> BoxedStrategy<String> {
    let number = prop_oneof![Just("*".to_owned()), (1..=u32::MAX).prop_map(|number| number.to_string())];
    let range = prop_oneof![number.clone(), (number.clone(), number).prop_map(|(a, b)| format!("{a}:{b}"))];
    prop_oneof![4 => vec(range, 1..5).prop_map(|ranges| ranges.join(",")), 1 => Just("$".to_owned())].boxed()
}

fn flags() -> BoxedStrategy<String> {
    let flag = one_of(&["\\Seen", "\\answered", "\\Deleted", "\\Recent", "\\Foo", "$Junk", "work"]);
    spaced(flag, 0..4).prop_map(|list| format!("({list})")).boxed()
}

fn date() -> BoxedStrategy<String> {
    (1..29_u8, one_of(&["Jan", "feb", "DEC"]), 0..10_000_u16, any::<bool>())
        .prop_map(|(day, month, year, quoted)| {
            let date = format!("{day}-{month}-{year:04}");
            if quoted { format!("\"{date}\"") } else { date }
        })
        .boxed()
}

fn fetch_item() -> BoxedStrategy<String> {
    let simple = one_of(&[
        "ENVELOPE",
        "flags",
        "INTERNALDATE",
        "RFC822",
        "RFC822.HEADER",
        "RFC822.SIZE",
        "RFC822.TEXT",
        "BODY",
        "BODYSTRUCTURE",
        "UID",
        "BINARY[]",
        "BINARY.PEEK[1.2]<3.4>",
        "BINARY.SIZE[1]",
    ]);
    let fields = spaced(astring(), 1..4);
    let text = prop_oneof![
        one_of(&["", "HEADER", "TEXT", "1.MIME", "2.3", "1.HEADER"]),
        (one_of(&["HEADER.FIELDS", "1.header.fields.not"]), fields).prop_map(|(word, list)| format!("{word} ({list})")),
    ];
    let section = (one_of(&["BODY", "BODY.PEEK"]), text, one_of(&["", "<0.1>", "<9.99>"]))
        .prop_map(|(word, text, partial)| format!("{word}[{text}]{partial}"));
    prop_oneof![simple, section].boxed()
}

fn search_key() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        one_of(&["ALL", "answered", "NEW", "OLD", "RECENT", "UNSEEN", "KEYWORD x", "UNKEYWORD $y", "OLDER 1"]),
        set(),
        set().prop_map(|set| format!("UID {set}")),
        (one_of(&["BCC", "BODY", "CC", "FROM", "SUBJECT", "TEXT", "TO"]), astring())
            .prop_map(|(k, v)| format!("{k} {v}")),
        (astring(), astring()).prop_map(|(name, text)| format!("HEADER {name} {text}")),
        (one_of(&["BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE"]), date())
            .prop_map(|(key, date)| format!("{key} {date}")),
        (one_of(&["LARGER", "SMALLER"]), 0..=i64::MAX).prop_map(|(key, octets)| format!("{key} {octets}")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|key| format!("NOT {key}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("OR {a} {b}")),
            vec(inner, 1..4).prop_map(|keys| format!("({})", keys.join(" "))),
        ]
    })
    .boxed()
}

/// Commands of every kind, all of them right.
fn command() -> BoxedStrategy<String> {
    let word = |word: &'static str| Just(word.to_owned()).boxed();
    let bodies = prop_oneof![
        one_of(&["NOOP", "capability", "IDLE", "Logout", "CHECK", "ENABLE IMAP4rev2 x", "ID NIL", "ID (\"a\" NIL)"]),
        join(vec![one_of(&["SELECT", "examine", "DELETE", "SUBSCRIBE", "UNSUBSCRIBE", "CREATE"]), astring()]),
        join(vec![one_of(&["SELECT", "EXAMINE"]), astring(), word("(CONDSTORE X (a (b \"c\" 1:*)) Y 5)")]),
        join(vec![word("CREATE"), astring(), word("(USE (\\Sent \\Odd))")]),
        join(vec![one_of(&["RENAME", "LOGIN", "LSUB"]), astring(), astring()]),
        join(vec![word("ID"), (string(), string()).prop_map(|(k, v)| format!("({k} {v})")).boxed()]),
        join(vec![word("AUTHENTICATE"), one_of(&["PLAIN", "scram-sha-256 YWJj", "EXTERNAL ="])]),
        join(vec![
            word("LIST"),
            one_of(&["()", "(SUBSCRIBED RECURSIVEMATCH)", "(SPECIAL-USE REMOTE)"]),
            astring(),
            spaced(astring(), 1..4).prop_map(|list| format!("({list})")).boxed(),
            one_of(&["RETURN ()", "RETURN (CHILDREN STATUS (SIZE UNSEEN))"]),
        ]),
        join(vec![word("LIST"), astring(), prop_oneof![astring(), word("a/%*")].boxed()]),
        join(vec![word("STATUS"), astring(), word("(MESSAGES SIZE)")]),
        join(vec![one_of(&["FETCH", "UID FETCH"]), set(), one_of(&["ALL", "fast", "FULL", "FLAGS", "BODY[]<0.9>"])]),
        join(vec![
            one_of(&["FETCH", "uid fetch"]),
            set(),
            spaced(fetch_item(), 1..5).prop_map(|list| format!("({list})")).boxed(),
        ]),
        join(vec![
            one_of(&["STORE", "UID STORE"]),
            set(),
            one_of(&["FLAGS", "+FLAGS", "-FLAGS.SILENT", "(UNCHANGEDSINCE 12) FLAGS"]),
            prop_oneof![flags(), word("\\Seen x")].boxed(),
        ]),
        join(vec![one_of(&["COPY", "UID COPY", "MOVE", "UID MOVE"]), set(), astring()]),
        join(vec![word("UID EXPUNGE"), set()]),
        join(vec![
            one_of(&["SEARCH", "UID SEARCH", "SEARCH RETURN ()", "SEARCH RETURN (MIN SAVE) CHARSET UTF-8"]),
            spaced(search_key(), 1..4),
        ]),
    ];
    ("[A-Za-z0-9]{0,3}[0-9]", bodies).prop_map(|(tag, body)| format!("{tag} {body}\r\n")).boxed()
}

fn append() -> BoxedStrategy<Vec<u8>> {
    let message =
        (flags(), vec(any::<u8>(), 0..40), any::<bool>(), any::<bool>()).prop_map(|(flags, data, plus, eight)| {
            let (tilde, plus) = (if eight { "~" } else { "" }, if plus { "+" } else { "" });
            let mut message = format!(" {flags} {tilde}{{{}{plus}}}\r\n", data.len()).into_bytes();
            message.extend(data);
            message
        });
    (astring(), vec(message, 1..3))
        .prop_map(|(mailbox, messages)| {
            let mut command = format!("x APPEND {mailbox}").into_bytes();
            command.extend(messages.concat());
            command.extend(b"\r\n");
            command
        })
        .boxed()
}

fn round_trip(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(command) = parse_command(bytes, ParseLimits::default()) else {
        // What has no tag has none in either way of looking for it.
        let _ = tag_of(bytes);
        return Ok(false);
    };
    let canonical = encode(&command);
    let again = parse_command(&canonical, ParseLimits::default());
    prop_assert_eq!(again.as_ref(), Ok(&command), "{}", canonical.escape_ascii());
    let _ = format!("{command:?}");
    Ok(true)
}

fn encode(command: &Command<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_command(&mut out, command);
    out.to_vec()
}

/// What the framer says to input in these pieces: chunks of a message are joined. `refuse` refuses every other literal.
fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: FrameLimits, refuse: bool) -> Vec<String> {
    let mut framer = Framer::new(limits);
    let mut input = BytesMut::new();
    let mut log = Vec::new();
    let mut message = Vec::new();
    let mut nul = false;
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let frame = framer.next(&mut input);
            let refused = refuse && log.len() % 2 == 1;
            match frame {
                Frame::Incomplete => break,
                Frame::Command(command) => log.push(format!("command {}", command.as_bytes().escape_ascii())),
                Frame::Continue(_) | Frame::Append(..) | Frame::AppendNext(..) => {
                    log.push(format!("{frame:?}"));
                    if refused {
                        framer.refuse_literal();
                    }
                }
                Frame::Chunk(chunk) => {
                    message.extend_from_slice(&chunk.data);
                    nul |= chunk.nul;
                    if chunk.last {
                        log.push(format!("message {nul} {}", message.escape_ascii()));
                        message.clear();
                        nul = false;
                    }
                }
                Frame::Foreign(_) | Frame::Fatal(_) => {
                    log.push(format!("{frame:?}"));
                    return log;
                }
                Frame::Rejected(rejected) => {
                    log.push(format!("{} {}", rejected.error, rejected.head.as_bytes().escape_ascii()));
                }
                other => log.push(format!("{other:?}")),
            }
        }
        assert!(input.len() as u64 <= limits.line as u64 + limits.literals + 4096, "{}", input.len());
    }
    log
}

fn small() -> FrameLimits {
    let mut limits = FrameLimits::before_login();
    limits.line = 60;
    limits.literal = 20;
    limits.literals = 30;
    limits.literal_count = 3;
    limits.non_synchronizing = 35;
    limits.discard = 300;
    limits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn right_commands_parse_and_come_back(command in command()) {
        prop_assert!(round_trip(command.as_bytes())?, "{command}");
    }

    #[test]
    fn damaged_commands_do_no_harm(command in command(), at in any::<Index>(), byte in any::<u8>(), cut in any::<Index>()) {
        let mut bytes = command.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        round_trip(&bytes)?;
        round_trip(&bytes[..cut.index(bytes.len())])?;
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        round_trip(&bytes)?;
        frames([&bytes[..]], small(), false);
    }

    #[test]
    fn one_framed_command_is_what_went_in(command in command()) {
        let input = command.into_bytes();
        let log = frames([&input[..]], FrameLimits::after_login(), false);
        let commands: Vec<&String> = log.iter().filter(|entry| !entry.starts_with("Continue")).collect();
        prop_assert_eq!(commands, [&format!("command {}", input.escape_ascii())]);
    }

    #[test]
    fn frames_do_not_depend_on_cuts(
        commands in vec(prop_oneof![
            command().prop_map(String::into_bytes),
            append(),
            vec(select(b"a {}+10~\r\n\"".as_slice()), 0..30),
            "x{40,90} \\{[0-9]{1,3}\\+?\\}\r\n".prop_map(String::into_bytes),
        ], 1..6),
        cuts in vec(any::<Index>(), 0..12),
        tight in any::<bool>(),
        refuse in any::<bool>(),
    ) {
        // A first line that passes for IMAP's, so that the rest is looked at.
        let mut input = b"a NOOP\r\n".to_vec();
        input.extend(commands.concat());
        let limits = if tight { small() } else { FrameLimits::after_login() };
        let whole = frames([&input[..]], limits, refuse);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len())).collect();
        places.sort_unstable();
        let mut pieces = Vec::new();
        let mut start = 0;
        for place in places.into_iter().chain([input.len()]) {
            pieces.push(&input[start..place]);
            start = place;
        }
        prop_assert_eq!(&frames(pieces, limits, refuse), &whole);
        prop_assert_eq!(&frames(input.chunks(1), limits, refuse), &whole);
    }
}
