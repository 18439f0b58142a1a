//! What the framer makes of streams of input.

use super::*;

/// Feeds input piece by piece and writes down the frames, chunks of one message joined.
struct Client {
    framer: Framer,
    input: BytesMut,
    log: Vec<String>,
    message: Vec<u8>,
    refuse: bool,
    lines: bool,
}

impl Client {
    fn new(limits: FrameLimits) -> Self {
        Self {
            framer: Framer::new(limits),
            input: BytesMut::new(),
            log: Vec::new(),
            message: Vec::new(),
            refuse: false,
            lines: false,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let frame =
                if self.lines { self.framer.next_line(&mut self.input) } else { self.framer.next(&mut self.input) };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
            let entry = match frame {
                Frame::Incomplete => return,
                Frame::Command(command) => {
                    self.lines |= command.as_bytes().ends_with(b" IDLE\r\n");
                    format!("command {}", text(command.as_bytes()))
                }
                Frame::Continue(literal) => {
                    if self.refuse {
                        self.framer.refuse_literal();
                    }
                    format!("continue {}", literal.size)
                }
                Frame::Append(head, literal) | Frame::AppendNext(head, literal) => {
                    if self.refuse {
                        self.framer.refuse_literal();
                    }
                    format!("append {} {}", text(head.as_bytes()), literal.synchronizing)
                }
                Frame::Chunk(chunk) => {
                    self.message.extend_from_slice(&chunk.data);
                    if !chunk.last {
                        continue;
                    }
                    format!("message {}", text(&std::mem::take(&mut self.message)))
                }
                Frame::AppendEnd => "end".into(),
                Frame::Line(line) => {
                    self.lines = false;
                    format!("line {}", text(&line))
                }
                Frame::Rejected(rejected) => {
                    let tag = rejected.head.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
                    format!("rejected {tag}: {}", rejected.error)
                }
                Frame::Skipped => "skipped".into(),
                Frame::Foreign(foreign) => {
                    self.log.push(format!("foreign {foreign:?}"));
                    return;
                }
                Frame::Fatal(error) => {
                    self.log.push(format!("fatal {error}"));
                    return;
                }
            };
            self.log.push(entry);
        }
    }
}

/// The log, which must be the same for the input in one piece and byte by byte.
fn run(input: &[u8], limits: FrameLimits, refuse: bool) -> Vec<String> {
    let mut whole = Client { refuse, ..Client::new(limits) };
    whole.feed(input);
    let mut bytes = Client { refuse, ..Client::new(limits) };
    for byte in input {
        bytes.feed(&[*byte]);
        if bytes.log.last().is_some_and(|entry| entry.starts_with("foreign") || entry.starts_with("fatal")) {
            break;
        }
    }
    assert_eq!(whole.log, bytes.log);
    whole.log
}

const SMALL: FrameLimits =
    FrameLimits { line: 40, literal: 10, literals: 15, literal_count: 3, non_synchronizing: 100, discard: 200 };

#[test]
fn commands_and_literals() {
    let log = run(b"a NOOP\r\nb NOOP\nc LOGIN {1}\r\nx {2+}\r\n\r\n\r\nd NOOP\r\n", SMALL, false);
    assert_eq!(
        log,
        [
            "command a NOOP\\r\\n",
            "command b NOOP\\n",
            "continue 1",
            "command c LOGIN {1}\\r\\nx {2+}\\r\\n\\r\\n\\r\\n",
            "command d NOOP\\r\\n"
        ]
    );
}

#[test]
fn no_announcement_in_other_places() {
    for line in [
        "a X {}\r\n",
        "a X {1\r\n",
        "a X 1}\r\n",
        "a X {1-}\r\n",
        "a X {+}\r\n",
        "a X {1}}\r\n",
        "a X {1} \r\n",
        "a X \"{1}\"\r\n",
    ] {
        assert_eq!(run(line.as_bytes(), SMALL, false).len(), 1, "{line}");
    }
}

#[test]
fn idle_and_the_next_command_in_one_packet() {
    let log = run(b"a IDLE\r\nDONE\r\nb NOOP\r\n", SMALL, false);
    assert_eq!(log, ["command a IDLE\\r\\n", "line DONE\\r\\n", "command b NOOP\\r\\n"]);
}

#[test]
fn messages_are_handed_on() {
    let log = run(b"a APPEND x {3}\r\nabc\r\nb NOOP\r\n", SMALL, false);
    assert_eq!(log, ["append a APPEND x {3}\\r\\n true", "message abc", "end", "command b NOOP\\r\\n"]);
    let log =
        run(b"a APPEND {1}\r\nx (\\Seen) {3+}\r\nabc {0+}\r\n () {12+}\r\n123456789\r\n\0\nb NOOP\r\n", SMALL, false);
    assert_eq!(
        log,
        [
            "continue 1",
            "append a APPEND {1}\\r\\nx (\\\\Seen) {3+}\\r\\n false",
            "message abc",
            "append  {0+}\\r\\n false",
            "message ",
            "append  () {12+}\\r\\n false",
            "message 123456789\\r\\n\\0",
            "end",
            "command b NOOP\\r\\n"
        ]
    );
}

#[test]
fn a_nul_in_a_message_is_told() {
    for (literal, nul) in [("{3+}", true), ("~{3+}", false)] {
        let mut framer = Framer::new(SMALL);
        let mut input = BytesMut::from(format!("a APPEND x {literal}\r\na\0b\r\n").as_str());
        assert!(matches!(framer.next(&mut input), Frame::Append(..)));
        assert_eq!(framer.message_left(), 3);
        let Frame::Chunk(chunk) = framer.next(&mut input) else { panic!("no chunk") };
        assert_eq!((chunk.nul, chunk.last), (nul, true));
    }
}

#[test]
fn an_append_that_is_wrong_is_refused_before_its_message() {
    let log = run(b"a APPEND x (\\Seen {3+}\r\nabc\r\nb NOOP\r\n", SMALL, false);
    assert_eq!(log, ["rejected a: expected a keyword at octet 19, found '{'", "skipped", "command b NOOP\\r\\n"]);
    let log = run(b"a APPEND x foo {3}\r\nb NOOP\r\n", SMALL, false);
    assert_eq!(log.len(), 3);
    assert!(log[0].starts_with("rejected a: expected flags"));
    let log = run(b"a APPEND x {3+}\r\nabc foo\r\nb NOOP\r\n", SMALL, false);
    assert_eq!(log[2], "rejected : expected flags, a date-time or the message as a literal at octet 2, found 'f'");
    assert_eq!(log[3..], ["skipped", "command b NOOP\\r\\n"]);
    let log = run(b"a APPEND x {3+}\r\nabcfoo {2+}\r\nxx\r\nb NOOP\r\n", SMALL, false);
    assert!(log[2].starts_with("rejected : expected a space"));
    assert_eq!(log[3..], ["skipped", "command b NOOP\\r\\n"]);
}

#[test]
fn what_is_refused_is_counted_off() {
    // Synchronizing: it does not come.
    assert_eq!(run(b"a LOGIN {1}\r\nb NOOP\r\n", SMALL, true), ["continue 1", "skipped", "command b NOOP\\r\\n"]);
    assert_eq!(
        run(b"a APPEND x {9999999}\r\nb NOOP\r\n", SMALL, true),
        ["append a APPEND x {9999999}\\r\\n true", "skipped", "command b NOOP\\r\\n"]
    );
    // Non-synchronizing: it is dropped, and so is what follows.
    assert_eq!(
        run(b"a APPEND x {9+}\r\nz NOOP\r\n! {8+}\r\ny NOOP\r\n\r\nb NOOP\r\n", SMALL, true),
        ["append a APPEND x {9+}\\r\\n false", "skipped", "command b NOOP\\r\\n"]
    );
    // Too large to wait for.
    assert_eq!(
        run(b"a LOGIN {101+}\r\n", SMALL, false),
        ["rejected a: non-synchronizing literal too large: announce it as a synchronizing one",]
    );
    assert_eq!(run(b"a LOGIN {201+}\r\n", SMALL, false)[1..], ["fatal too much input to drop"]);
    assert_eq!(
        run(b"a LOGIN {99999999999999999999+}\r\n", SMALL, false),
        ["rejected a: literal too large", "fatal too much input to drop"]
    );
    assert_eq!(
        run(b"a LOGIN {99999999999999999999}\r\nb NOOP\r\n", SMALL, false),
        ["rejected a: literal too large", "skipped", "command b NOOP\\r\\n"]
    );
    assert_eq!(
        run(b"a LOGIN {4294967296}\r\nb NOOP\r\n", SMALL, false),
        ["rejected a: literal too large", "skipped", "command b NOOP\\r\\n"]
    );
}

#[test]
fn an_append_may_be_discarded_in_the_middle() {
    let mut framer = Framer::new(SMALL);
    let mut input = BytesMut::from("a APPEND x {500}\r\nabc");
    assert!(matches!(framer.next(&mut input), Frame::Append(..)));
    assert!(matches!(framer.next(&mut input), Frame::Chunk(_)));
    framer.discard_command();
    // The client was asked for it, so it does not count as input to drop.
    for _ in 0..497 {
        input.extend_from_slice(b"x");
        assert!(matches!(framer.next(&mut input), Frame::Incomplete));
        assert!(input.is_empty());
    }
    input.extend_from_slice(b" {3+}\r\nxyz\r\nb NOOP\r\n");
    assert!(matches!(framer.next(&mut input), Frame::Skipped));
    assert!(matches!(framer.next(&mut input), Frame::Command(_)));

    let mut input = BytesMut::from("a APPEND x {1}\r\na {1}\r\nb NOOP\r\n");
    assert!(matches!(framer.next(&mut input), Frame::Append(..)));
    assert!(matches!(framer.next(&mut input), Frame::Chunk(_)));
    framer.discard_command();
    assert!(matches!(framer.next(&mut input), Frame::Skipped));
    assert!(matches!(framer.next(&mut input), Frame::Command(_)));
    assert!(framer.is_between_commands());
}

#[test]
fn limits_on_lines_and_literals() {
    let long = "x".repeat(40);
    let log = run(format!("a NOOP {long}\r\nb NOOP\r\n").as_bytes(), SMALL, false);
    assert_eq!(log, ["rejected a: command line too long", "skipped", "command b NOOP\\r\\n"]);
    // A literal at the end of the long line is counted off, too.
    let log = run(format!("a NOOP {long} {{6+}}\r\nc NOOP {{3+}}\r\nabc\r\nb NOOP\r\n").as_bytes(), SMALL, false);
    assert_eq!(log, ["rejected a: command line too long", "skipped", "command b NOOP\\r\\n"]);
    // All lines of a command count together.
    let log = run(b"a LOGIN {1+}\r\nx {1+}\r\nx 345678901234567890\r\nb NOOP\r\n", SMALL, false);
    assert_eq!(log, ["rejected a: command line too long", "skipped", "command b NOOP\\r\\n"]);
    let log = run(b"a X {1+}\r\nx {1+}\r\nx {1+}\r\nx {1+}\r\nx\r\nb NOOP\r\n", SMALL, false);
    assert_eq!(log, ["rejected a: too many literals in one command", "skipped", "command b NOOP\\r\\n"]);
    let log = run(b"a X {10+}\r\n0123456789 {6+}\r\n012345\r\nb NOOP\r\n", SMALL, false);
    assert_eq!(log, ["rejected a: too many literals in one command", "skipped", "command b NOOP\\r\\n"]);
    let log = run(b"a X {11+}\r\n0123456789x\r\nb NOOP\r\n", SMALL, false);
    assert_eq!(log, ["rejected a: literal too large", "skipped", "command b NOOP\\r\\n"]);
    // A line without an end.
    let log = run("a NOOP".repeat(60).as_bytes(), SMALL, false);
    assert_eq!(log, ["rejected a: command line too long", "fatal too much input to drop"]);
}

#[test]
fn whoever_does_not_speak_imap_is_told_from_who_does() {
    assert_eq!(run(b"GET / HTTP/1.1\r\nHost: x\r\n", SMALL, false), ["foreign CommandWord"]);
    assert_eq!(run(b"\x16\x03\x01", SMALL, false), ["foreign Binary"]);
    assert_eq!(run(b"a FOO\r\n", SMALL, false), ["command a FOO\\r\\n"]);
    // Later lines are no longer judged.
    assert_eq!(run(b"a FOO\r\n\r\nGET / HTTP/1.1\r\n", SMALL, false).len(), 3);
    let long = format!("POST /{} HTTP/1.1\r\n", "x".repeat(300));
    assert_eq!(run(long.as_bytes(), SMALL, false), ["foreign CommandWord"]);
}

#[test]
fn long_lines_do_not_grow_the_buffer() {
    let mut framer = Framer::new(FrameLimits { discard: u64::MAX, ..SMALL });
    let mut input = BytesMut::new();
    let mut rejected = 0;
    for _ in 0..10_000 {
        input.extend_from_slice(b"a NOOP xxxxxxxxxx");
        while let frame = framer.next(&mut input)
            && !matches!(frame, Frame::Incomplete)
        {
            rejected += u32::from(matches!(frame, Frame::Rejected(_)));
        }
        assert!(input.len() <= SMALL.line + 17);
    }
    assert_eq!(rejected, 1);
}

#[test]
fn commands_share_nothing_with_the_input() {
    let mut framer = Framer::new(SMALL);
    let mut input = BytesMut::with_capacity(8192);
    input.extend_from_slice(b"a IDLE\r\n");
    let Frame::Command(command) = framer.next(&mut input) else { panic!("no command") };
    // Were the command a slice of the input, its room could not be used again.
    input.reserve(8192);
    assert_eq!(input.capacity(), 8192);
    assert_eq!(command.as_bytes(), b"a IDLE\r\n");
}

#[test]
fn frames_do_not_print_what_is_in_them() {
    let mut framer = Framer::new(SMALL);
    let mut input = BytesMut::from("a LOGIN fred opensesame\r\na APPEND x {10}\r\nopensesame\r\nb3BlbnNlc2FtZQ==\r\n");
    let mut printed: Vec<String> = (0..4).map(|_| format!("{:?}", framer.next(&mut input))).collect();
    printed.push(format!("{:?}", framer.next_line(&mut input)));
    assert_eq!(printed[0], "Command(CommandBuf(25 octets))");
    assert_eq!(printed[2], "Chunk(10 octets, last: true, nul: false)");
    assert_eq!(printed[4], "Line(18 octets)");
    assert!(!printed.concat().contains("sesame") && !printed.concat().contains("b3Bl"));
}
