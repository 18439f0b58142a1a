//! Transcripts: what clients and server say to each other, in the log.
//!
//! Every line becomes an event of level debug and of the target `pillarbox::transcript`, `C: ` and what the client has
//! sent, or `S: ` and what it was sent, within the span of its session. Passwords are `***` and messages are `(data...)`, unless asked for
//! otherwise: what a protocol's redactor does not know to be harmless is not shown.
//!
//! The lines are written by a thread of their own. When it can't keep up, lines are left out, and a line says how many.
//! While nobody listens to that target when a session begins, none of it costs anything.
//!
//! ```
//! # use pillarbox_proto_core::{Connection, Conversation};
//! # use pillarbox_proto_core::transcript::{Direction, Keep, Redact};
//! # fn greet(connection: Connection) -> Box<dyn Conversation> { unimplemented!() }
//! # fn redactor(_: Keep) -> Box<dyn Redact> { unimplemented!() }
//! use pillarbox_server_core::{Listener, TranscriptOptions};
//!
//! // For IMAP, `redactor` is `pillarbox_imap_proto::Redactor::boxed`.
//! let listener = Listener::new("imap", greet).transcript(TranscriptOptions::default(), redactor);
//! # drop(listener);
//! ```

use std::fmt::Write as _;

use pillarbox_proto_core::transcript::{Direction, Keep, Redact};
use tracing::{Level, Span, debug};

use crate::scribe::{Note, Scribe, unwritten};

/// Where the lines go.
const TARGET: &str = "pillarbox::transcript";
/// A longer line is written in pieces.
const LINE: usize = 2048;

/// Makes what takes secrets and messages out of one session's bytes, such as `pillarbox_imap_proto::Redactor::boxed`.
pub type MakeRedactor = fn(Keep) -> Box<dyn Redact>;

/// What of a session a [transcript](crate::Listener::transcript) shows besides what is harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranscriptOptions {
    /// Passwords and tokens, as they are. Whoever can read the log can then log in.
    pub secrets: bool,
    /// Messages, as they are.
    pub data: bool,
}

/// One session's transcript, on its way to the log.
#[derive(Debug)]
pub(crate) struct Transcript {
    redactor: Box<dyn Redact>,
    span: Span,
    /// Lines that are not whole: the client's and the server's.
    begun: [Vec<u8>; 2],
    /// Lines for which there was no room.
    dropped: u64,
}

impl Transcript {
    /// For a session in the present span; none if nobody would read it.
    pub(crate) fn new(options: TranscriptOptions, redactor: MakeRedactor) -> Option<Self> {
        if !tracing::enabled!(target: TARGET, Level::DEBUG) {
            return None;
        }
        let keep = Keep { secrets: options.secrets, data: options.data };
        Some(Self { redactor: redactor(keep), span: Span::current(), begun: Default::default(), dropped: 0 })
    }

    pub(crate) fn passed(&mut self, direction: Direction, bytes: &[u8], scribe: &Scribe) {
        let mut shown = Vec::new();
        self.redactor.redact(direction, bytes, &mut shown);
        let [client, server] = &mut self.begun;
        let begun = match direction {
            Direction::Client => client,
            Direction::Server => server,
        };
        let mut text = String::new();
        let mut count = 0;
        for piece in shown.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(LINE)) {
            begun.extend_from_slice(piece);
            if begun.ends_with(b"\n") || begun.len() >= LINE {
                let rest = put_line(&mut text, begun);
                begun.drain(..rest);
                count += 1;
            }
        }
        if begun.is_empty() {
            *begun = Vec::new();
        }
        self.note(direction, text, count, scribe);
    }

    #[cfg(feature = "tls")]
    pub(crate) fn secured(&mut self) {
        self.redactor.secured();
    }

    /// The session is over.
    pub(crate) fn end(&mut self, scribe: &Scribe) {
        for direction in [Direction::Client, Direction::Server] {
            let begun = std::mem::take(match (direction, &mut self.begun) {
                (Direction::Client, [client, _]) => client,
                (Direction::Server, [_, server]) => server,
            });
            let mut text = String::new();
            if !begun.is_empty() {
                put_line(&mut text, &begun);
            }
            let count = u64::from(!begun.is_empty());
            self.note(direction, text, count, scribe);
        }
        if self.dropped > 0 {
            // Whatever waits will be written; that something was left out has to be known, even now.
            let lines = Lines {
                span: self.span.clone(),
                direction: Direction::Client,
                text: String::new(),
                dropped: self.dropped,
            };
            if !scribe.note(Note::Lines(lines)) {
                self.span.in_scope(|| debug!(target: TARGET, "({} lines left out)", self.dropped));
            }
        }
    }

    fn note(&mut self, direction: Direction, text: String, count: u64, scribe: &Scribe) {
        if count == 0 {
            return;
        }
        let lines = Lines { span: self.span.clone(), direction, text, dropped: self.dropped };
        if scribe.note(Note::Lines(lines)) {
            self.dropped = 0;
        } else {
            self.dropped += count;
            unwritten(count);
        }
    }
}

/// Appends a line, or as much as is there of it, with its end made one LF; control characters can't be told from those of
/// the log, so they are written out. Returns how much of it was taken: not the beginning of a character.
fn put_line(text: &mut String, line: &[u8]) -> usize {
    let whole = line.ends_with(b"\n");
    let taken = match std::str::from_utf8(line) {
        Err(error) if !whole && error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => line.len(),
    };
    let line = line.get(..taken).unwrap_or(line);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    for char in String::from_utf8_lossy(line).chars() {
        if char.is_control() && char != '\t' {
            let _ = write!(text, "{}", char.escape_default());
        } else {
            text.push(char);
        }
    }
    text.push('\n');
    taken
}

/// Lines of one session and direction, redacted, each with LF at its end.
pub(crate) struct Lines {
    span: Span,
    direction: Direction,
    text: String,
    dropped: u64,
}

impl Lines {
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn write(self) {
        self.span.in_scope(|| {
            if self.dropped > 0 {
                debug!(target: TARGET, "({} lines left out)", self.dropped);
            }
            for line in self.text.lines() {
                match self.direction {
                    Direction::Client => debug!(target: TARGET, "C: {line}"),
                    Direction::Server => debug!(target: TARGET, "S: {line}"),
                }
            }
        });
    }

    #[cfg(test)]
    pub(crate) fn test(text: String) -> Self {
        Self { span: Span::none(), direction: Direction::Client, text, dropped: 0 }
    }
}

/// What a listener has been told of transcripts.
#[derive(Clone, Copy)]
pub(crate) struct TranscriptPlan {
    pub(crate) options: TranscriptOptions,
    pub(crate) redactor: MakeRedactor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_fit_for_a_log() {
        let line = |line: &[u8]| {
            let mut text = String::new();
            (put_line(&mut text, line), text)
        };
        assert_eq!(line(b"a NOOP\r\n"), (8, "a NOOP\n".into()));
        assert_eq!(line(b"a\tb\x1b[31m\0\r\n").1, "a\tb\\u{1b}[31m\\u{0}\n");
        assert_eq!(line("gr\u{fc}n\n".as_bytes()).1, "gr\u{fc}n\n");
        assert_eq!(line(b"\xff\n").1, "\u{fffd}\n");
        // The rest of a character comes with the next piece.
        assert_eq!(line(b"abc\xc3"), (3, "abc\n".into()));
    }
}
