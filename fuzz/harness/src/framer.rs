//! The framer: where commands end.

use bytes::{Buf, BytesMut};
use pillarbox_imap_proto::wire::framer::{Frame, Framer};
use pillarbox_imap_proto::wire::limits::{FrameLimits, ParseLimits};

use crate::control;
use crate::heap;

/// How much may wait in the input of a framer: all that a command may have, and one read.
const ROOM: usize = 16 * 1024;

/// Feeds a framer once with everything and once in pieces, and compares what it finds.
pub fn framer(data: &[u8]) {
    let (text, mut control) = control::split(data);
    let choices = control.byte();
    let limits = limits(choices);
    let whole = run(text, limits, choices, |_| usize::MAX);
    let pieces = run(text, limits, choices, |_| control.piece());
    assert_eq!(whole, pieces, "in pieces");
    if text.len() < 2048 {
        assert_eq!(whole, run(text, limits, choices, |_| 1), "octet by octet");
    }
}

fn limits(choices: u8) -> FrameLimits {
    let mut limits = if choices & 1 == 0 { FrameLimits::before_login() } else { FrameLimits::after_login() };
    if choices & 2 != 0 {
        // Small enough for short inputs to reach.
        (limits.line, limits.literal, limits.literals) = (64, 32, 48);
        (limits.literal_count, limits.discard) = (3, 256);
    }
    if choices & 4 != 0 {
        limits.non_synchronizing = 16;
    }
    limits
}

/// What is seen of the frames, chunks of one message put together.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Command(Vec<u8>),
    Continue(u64),
    Append(Vec<u8>, u64),
    AppendNext(Vec<u8>, u64),
    Message { data: Vec<u8>, ended: bool, nul: bool },
    AppendEnd,
    Line(Vec<u8>),
    Rejected(String, Vec<u8>),
    Skipped,
    Foreign(String),
    Fatal(String),
}

/// The decisions here depend on the frames alone, never on how the input is cut.
fn run(text: &[u8], limits: FrameLimits, choices: u8, mut piece: impl FnMut(usize) -> usize) -> Vec<Seen> {
    let mut framer = Framer::new(limits);
    framer.set_limits(limits, ParseLimits::default());
    let mut input = BytesMut::new();
    let mut seen = Vec::new();
    let mut fed = 0;
    let mut lines = false;
    let room = limits.line + usize::try_from(limits.literals).unwrap() + ROOM;
    loop {
        let before = input.len();
        let (frame, grown) =
            heap::growth(|| if lines { framer.next_line(&mut input) } else { framer.next(&mut input) });
        assert!(input.len() <= before, "the framer only takes");
        assert!(grown <= 4 * before + 4096, "{grown} octets of heap for {before} octets of input");
        match frame {
            Frame::Incomplete => {
                if fed == text.len() {
                    break;
                }
                assert!(input.len() <= room, "{} octets are held", input.len());
                let next = text.len().min(fed.saturating_add(piece(fed).clamp(1, ROOM)));
                input.extend_from_slice(&text[fed..next]);
                fed = next;
            }
            Frame::Chunk(chunk) => {
                if let Some(Seen::Message { data, ended: ended @ false, nul }) = seen.last_mut() {
                    data.extend_from_slice(&chunk.data);
                    *ended = chunk.last;
                    *nul |= chunk.nul;
                } else {
                    seen.push(Seen::Message { data: chunk.data.to_vec(), ended: chunk.last, nul: chunk.nul });
                }
            }
            Frame::Command(command) => {
                // As after AUTHENTICATE or IDLE.
                lines = choices & 8 != 0 && !lines;
                if let Some(tag) = command.tag() {
                    assert!(command.as_bytes().starts_with(tag.as_bytes()));
                }
                seen.push(Seen::Command(command.as_bytes().to_vec()));
            }
            Frame::Line(line) => {
                lines = false;
                seen.push(Seen::Line(line.to_vec()));
            }
            Frame::Continue(literal) => {
                assert!(literal.synchronizing && literal.size <= limits.literal);
                if choices & 16 != 0 {
                    framer.refuse_literal();
                }
                seen.push(Seen::Continue(literal.size));
            }
            Frame::Append(head, literal) => {
                if choices & 32 != 0 {
                    framer.refuse_literal();
                } else if choices & 64 != 0 {
                    framer.discard_command();
                }
                seen.push(Seen::Append(head.as_bytes().to_vec(), literal.size));
            }
            Frame::AppendNext(head, literal) => {
                if choices & 128 != 0 {
                    framer.refuse_literal();
                }
                seen.push(Seen::AppendNext(head.as_bytes().to_vec(), literal.size));
            }
            Frame::AppendEnd => seen.push(Seen::AppendEnd),
            Frame::Rejected(rejected) => {
                let text = rejected.error.to_string();
                assert!(!text.contains(['\r', '\n']), "the text would end its line: {text:?}");
                seen.push(Seen::Rejected(text, rejected.head.as_bytes().to_vec()));
            }
            Frame::Skipped => {
                lines = false;
                seen.push(Seen::Skipped);
            }
            Frame::Foreign(foreign) => {
                seen.push(Seen::Foreign(format!("{foreign:?}")));
                break;
            }
            Frame::Fatal(error) => {
                seen.push(Seen::Fatal(error.to_string()));
                break;
            }
            other => panic!("a frame that the harness does not know: {other:?}"),
        }
    }
    let held = input.remaining();
    assert!(held <= room, "{held} octets are held");
    drop_partial(&mut seen);
    seen
}

/// How much of an unfinished message was handed out may depend on the cuts only at its end, where no more input comes;
/// all of it must have been.
fn drop_partial(seen: &mut [Seen]) {
    for pair in seen.windows(2) {
        if let [Seen::Message { ended: false, .. }, next] = pair {
            assert!(!matches!(next, Seen::Message { .. }), "a message inside a message");
        }
    }
}
