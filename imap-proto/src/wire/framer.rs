//! Where a command ends.
//!
//! A [`Framer`] looks at the input of one connection, line by line and literal by literal, never twice at a byte, and
//! hands out what is complete. It holds no input of its own: what is not complete stays in the caller's buffer, whose
//! growth its limits bound, and nothing is allocated from an announced size. Messages of an APPEND are not gathered:
//! they are handed out in pieces as they come.
//!
//! The frames are the same however the input was cut into reads, but for where a message is cut into chunks.
//!
//! The caller's part:
//!
//! * Call [`Framer::next`] until it says [`Frame::Incomplete`], or until a command must be finished first: the framer
//!   never looks beyond the frame that it hands out, so a change of protocol after a command finds its bytes untouched.
//! * After [`Frame::Continue`], write a continuation request, or call [`Framer::refuse_literal`], before the next call.
//! * After [`Frame::Append`] and [`Frame::AppendNext`], decide about the message: to take it, write a continuation
//!   request if it is synchronizing and go on; otherwise call [`Framer::refuse_literal`].
//! * While an AUTHENTICATE or IDLE goes on, call [`Framer::next_line`] instead.
//!
//! A line may end with LF alone.
//!
//! ```
//! use bytes::BytesMut;
//! use pillarbox_imap_proto::wire::framer::{Frame, Framer};
//! use pillarbox_imap_proto::wire::limits::FrameLimits;
//!
//! let mut framer = Framer::new(FrameLimits::after_login());
//! let mut input = BytesMut::from("a1 NOOP\r\na2 SELECT {5+}\r\nINBOX\r\na3 NO");
//! let Frame::Command(command) = framer.next(&mut input) else { panic!("no command") };
//! assert_eq!(command.as_bytes(), b"a1 NOOP\r\n");
//! let Frame::Command(command) = framer.next(&mut input) else { panic!("no command") };
//! assert_eq!(command.as_bytes(), b"a2 SELECT {5+}\r\nINBOX\r\n");
//! assert!(matches!(framer.next(&mut input), Frame::Incomplete));
//! ```

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::classify::{self, Foreign};
use super::command::{CommandBuf, Literal};
use super::error::ParseError;
use super::limits::{FrameLimits, ParseLimits};
use super::parse::append::{self, AppendPrefix};

/// How much of a refused command is kept to find its tag.
const HEAD: usize = 256;

/// What the input holds next. Printing it shows how long things are, not what is in them: a line may be a secret.
#[non_exhaustive]
pub enum Frame {
    /// Nothing whole: more input is needed.
    Incomplete,
    /// A finished command, other than an APPEND with a message.
    Command(CommandBuf),
    /// A synchronizing literal inside a command was announced and is within the limits: the client waits.
    Continue(Literal),
    /// An APPEND up to the announcement of its first message, syntax checked. What follows are its chunks.
    Append(CommandBuf, Literal),
    /// A piece of the announced message.
    Chunk(Chunk),
    /// Another message in the same APPEND: what is said of it, for [`CommandBuf::parse_next_message`].
    AppendNext(CommandBuf, Literal),
    /// The end of an APPEND.
    AppendEnd,
    /// A line, its end included, from [`Framer::next_line`].
    Line(Bytes),
    /// A command is refused. What is left of it will be dropped, and then [`Frame::Skipped`] comes.
    Rejected(Rejected),
    /// The end of a command that was refused, by the framer or by the caller. Only now has the client surely stopped
    /// sending it.
    Skipped,
    /// The first line is not of an IMAP client: say goodbye. Every later call answers the same.
    Foreign(Foreign),
    /// The end of a refused command is too far away to wait for it: say goodbye. Every later call answers the same.
    Fatal(FrameError),
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("Incomplete"),
            Self::Command(command) => f.debug_tuple("Command").field(command).finish(),
            Self::Continue(literal) => f.debug_tuple("Continue").field(literal).finish(),
            Self::Append(head, literal) => f.debug_tuple("Append").field(head).field(literal).finish(),
            Self::Chunk(chunk) => chunk.fmt(f),
            Self::AppendNext(piece, literal) => f.debug_tuple("AppendNext").field(piece).field(literal).finish(),
            Self::AppendEnd => f.write_str("AppendEnd"),
            Self::Line(line) => write!(f, "Line({} octets)", line.len()),
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Skipped => f.write_str("Skipped"),
            Self::Foreign(foreign) => f.debug_tuple("Foreign").field(foreign).finish(),
            Self::Fatal(error) => f.debug_tuple("Fatal").field(error).finish(),
        }
    }
}

/// A piece of a message.
pub struct Chunk {
    /// Its octets; none only for a message of size 0.
    pub data: Bytes,
    /// Whether it is the last one of this message.
    pub last: bool,
    /// Whether it holds a NUL though the message is no literal8: the message must not be stored (RFC 9051, section 9:
    /// `literal`).
    pub nul: bool,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} octets, last: {}, nul: {})", self.data.len(), self.last, self.nul)
    }
}

/// A command that the framer does not take.
#[derive(Debug)]
pub struct Rejected {
    /// Why.
    pub error: FrameError,
    /// How the command began, to find its tag. Empty for a later message of an APPEND, and for a line.
    pub head: CommandBuf,
}

/// Why a command is not taken. The texts are fit for a tagged BAD or NO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Its lines are longer than [`FrameLimits::line`].
    #[error("command line too long")]
    LineTooLong,
    /// A literal is larger than [`FrameLimits::literal`], or than any number may be.
    #[error("literal too large")]
    LiteralTooLarge,
    /// Its literals are more than [`FrameLimits::literal_count`], or together larger than [`FrameLimits::literals`].
    #[error("too many literals in one command")]
    TooManyLiterals,
    /// A non-synchronizing literal is larger than [`FrameLimits::non_synchronizing`].
    #[error("non-synchronizing literal too large: announce it as a synchronizing one")]
    NonSynchronizingTooLarge,
    /// An APPEND is wrong before its message.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// What would have to be dropped is more than [`FrameLimits::discard`].
    #[error("too much input to drop")]
    TooMuchToDrop,
}

/// Finds commands in the input of one connection.
#[derive(Clone, Debug)]
pub struct Framer {
    limits: FrameLimits,
    parse_limits: ParseLimits,
    state: State,
    /// Where the line that is looked at begins in the input.
    line_start: usize,
    /// Up to where it has been searched for its end.
    searched: usize,
    /// Octets of this command's finished lines.
    lines: usize,
    /// Octets of this command's literals, and how many they are.
    literals: u64,
    literal_count: u32,
    /// How much of the present command was dropped.
    dropped: u64,
    /// An APPEND has had its first message.
    appending: bool,
    /// No line has come yet.
    first: bool,
}

#[derive(Clone, Debug)]
enum State {
    Line,
    /// A literal that is gathered, up to this place in the input.
    Literal {
        literal: Literal,
        end: usize,
    },
    /// A message that is handed on.
    Message {
        literal: Literal,
        left: u64,
    },
    /// The gathered part of a refused command, of which no more will come, must leave the input.
    Drop {
        length: usize,
    },
    SkipLiteral {
        left: u64,
    },
    SkipLine {
        tail: Tail,
        raw: bool,
    },
    Skipped,
    Foreign(Foreign),
    Fatal,
}

/// An announcement at the end of a line. `size` is `None` if it is no number of 63 bits.
pub(crate) struct Announced {
    pub(crate) size: Option<u64>,
    pub(crate) synchronizing: bool,
    literal8: bool,
}

impl Framer {
    /// For a new connection: its first line is checked to be IMAP's.
    #[must_use]
    pub fn new(limits: FrameLimits) -> Self {
        Self {
            limits,
            parse_limits: ParseLimits::default(),
            state: State::Line,
            line_start: 0,
            searched: 0,
            lines: 0,
            literals: 0,
            literal_count: 0,
            dropped: 0,
            appending: false,
            first: true,
        }
    }

    /// Other limits from the next command on; to be called between commands, such as after a login.
    pub fn set_limits(&mut self, limits: FrameLimits, parse_limits: ParseLimits) {
        self.limits = limits;
        self.parse_limits = parse_limits;
    }

    /// Whether a command has begun of which nothing is in the caller's buffer: a message comes in, or a refused command is
    /// being dropped.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.appending || !matches!(self.state, State::Line | State::Skipped | State::Foreign(_) | State::Fatal)
    }

    /// Forgets everything about the input, which the caller has emptied: after STARTTLS.
    pub fn reset(&mut self) {
        self.start_command();
    }

    /// The announced message's octets that have not been handed out yet; 0 outside of messages.
    #[must_use]
    pub const fn message_left(&self) -> u64 {
        match self.state {
            State::Message { left, .. } => left,
            _ => 0,
        }
    }

    /// Whether no command has begun, given that the input is empty: the client owes nothing.
    #[must_use]
    pub const fn is_between_commands(&self) -> bool {
        matches!(self.state, State::Line) && !self.appending && self.line_start == 0
    }

    /// Does not take the literal that was announced in the last frame, nor the rest of its command. A synchronizing
    /// literal will not come, as the client was not asked for it; another is dropped as it comes. In both cases
    /// [`Frame::Skipped`] comes at the end.
    pub fn refuse_literal(&mut self) {
        self.state = match self.state {
            State::Literal { literal, .. } if literal.synchronizing => State::Drop { length: self.searched },
            State::Message { literal, .. } if literal.synchronizing => State::Skipped,
            State::Message { left, .. } => self.skip_literal(left),
            _ => return,
        };
    }

    /// Does not want the rest of the command: what is left of the message, which the client has been asked for, and
    /// what follows it are dropped as they come, and then [`Frame::Skipped`] comes. For APPEND only.
    pub fn discard_command(&mut self) {
        self.state = match self.state {
            State::Message { left, .. } => State::SkipLiteral { left },
            State::Line if self.appending => State::SkipLine { tail: Tail::default(), raw: false },
            _ => return,
        };
    }

    /// Takes the next frame off the input.
    #[inline]
    pub fn next(&mut self, input: &mut BytesMut) -> Frame {
        match self.short_command(input) {
            Some(command) => Frame::Command(command),
            None => self.any(input),
        }
    }

    /// A command of one line that is there as a whole: nearly all of them. What is not is left to [`Self::any`].
    #[inline]
    fn short_command(&mut self, input: &mut BytesMut) -> Option<CommandBuf> {
        if !matches!(self.state, State::Line) || self.searched > 0 || self.first || self.appending {
            return None;
        }
        let Some(end) = memchr(b'\n', input).map(|at| at + 1) else {
            self.searched = input.len();
            return None;
        };
        let line = input.get(..end)?;
        // It may announce a literal.
        if line.ends_with(b"}\r\n") || line.ends_with(b"}\n") || end > self.limits.line {
            return None;
        }
        Some(take(input, end))
    }

    fn any(&mut self, input: &mut BytesMut) -> Frame {
        loop {
            let frame = match self.state {
                State::Line => self.line(input, false),
                State::Literal { end, .. } => {
                    if input.len() < end {
                        return Frame::Incomplete;
                    }
                    self.line_start = end;
                    self.searched = end;
                    self.state = State::Line;
                    None
                }
                State::Message { literal, left } => return self.message(input, literal, left),
                _ => self.skip(input),
            };
            if let Some(frame) = frame {
                return frame;
            }
        }
    }

    /// Takes the next line off the input as it is: literals mean nothing in it. For AUTHENTICATE and IDLE. Answers only
    /// [`Frame::Line`], [`Frame::Incomplete`], [`Frame::Rejected`], [`Frame::Skipped`] and [`Frame::Fatal`].
    pub fn next_line(&mut self, input: &mut BytesMut) -> Frame {
        loop {
            let frame = match self.state {
                State::Line | State::Literal { .. } | State::Message { .. } => self.line(input, true),
                _ => self.skip(input),
            };
            if let Some(frame) = frame {
                return frame;
            }
        }
    }

    fn start_command(&mut self) {
        self.state = State::Line;
        self.line_start = 0;
        self.searched = 0;
        self.lines = 0;
        self.literals = 0;
        self.literal_count = 0;
        self.dropped = 0;
        self.appending = false;
    }

    fn line(&mut self, input: &mut BytesMut, raw: bool) -> Option<Frame> {
        if self.first
            && let Some(foreign) = input.first().and_then(|byte| classify::first_byte(*byte))
        {
            self.state = State::Foreign(foreign);
            return None;
        }
        let room = self.limits.line.saturating_sub(self.lines);
        let found = input.get(self.searched..).and_then(|rest| memchr(b'\n', rest));
        let Some(end) = found.map(|at| self.searched + at + 1) else {
            self.searched = input.len();
            if self.searched.saturating_sub(self.line_start) <= room {
                return Some(Frame::Incomplete);
            }
            return Some(self.reject_long_line(input, raw));
        };
        if end.saturating_sub(self.line_start) > room {
            return Some(self.reject_long_line(input, raw));
        }
        let line = input.get(self.line_start..end).unwrap_or_default();
        if std::mem::take(&mut self.first)
            && let Some(foreign) = classify::first_line(line)
        {
            self.state = State::Foreign(foreign);
            return None;
        }
        if raw {
            let line = Bytes::copy_from_slice(line);
            input.advance(end);
            self.start_command();
            return Some(Frame::Line(line));
        }
        self.lines += line.len();
        match announced(line) {
            Some(announced) => self.announcement(input, end, &announced),
            None if self.appending => Some(self.end_append(input, end)),
            None => {
                let command = take(input, end);
                self.start_command();
                Some(Frame::Command(command))
            }
        }
    }

    /// A line of an APPEND after a message that announces nothing: it must be empty.
    fn end_append(&mut self, input: &mut BytesMut, end: usize) -> Frame {
        let line = take(input, end);
        if matches!(line.as_bytes(), b"\r\n" | b"\n") {
            self.start_command();
            return Frame::AppendEnd;
        }
        self.state = State::Skipped;
        // It cannot parse, as a message without an announcement does not.
        let error =
            line.parse_next_message(self.parse_limits).map_or_else(FrameError::from, |_| FrameError::LineTooLong);
        Frame::Rejected(Rejected { error, head: no_head() })
    }

    fn announcement(&mut self, input: &mut BytesMut, end: usize, announced: &Announced) -> Option<Frame> {
        let synchronizing = announced.synchronizing;
        let Some(size) = announced.size else {
            return Some(self.reject(input, end, announced, FrameError::LiteralTooLarge));
        };
        let literal = Literal { size, synchronizing, literal8: announced.literal8 };
        let so_far = input.get(..end).unwrap_or_default();
        let message = if self.appending {
            Some(append::parse_next(so_far, self.parse_limits).map(|_| ()))
        } else {
            match append::prefix(so_far, self.parse_limits) {
                None | Some(Ok(AppendPrefix::Mailbox)) => None,
                Some(Ok(AppendPrefix::Message(_))) => Some(Ok(())),
                Some(Err(error)) => Some(Err(error)),
            }
        };
        if let Some(Err(error)) = message {
            return Some(self.reject(input, end, announced, error.into()));
        }
        if !synchronizing && size > self.limits.non_synchronizing {
            return Some(self.reject(input, end, announced, FrameError::NonSynchronizingTooLarge));
        }
        if message.is_some() {
            let head = take(input, end);
            self.state = State::Message { literal, left: size };
            self.line_start = 0;
            self.searched = 0;
            // The lines between messages are limited each for itself, as there may be any number of messages.
            self.lines = 0;
            let later = std::mem::replace(&mut self.appending, true);
            return Some(if later { Frame::AppendNext(head, literal) } else { Frame::Append(head, literal) });
        }
        self.literal_count = self.literal_count.saturating_add(1);
        self.literals = self.literals.saturating_add(size);
        let literal_end = usize::try_from(size).ok().and_then(|size| size.checked_add(end));
        let (Some(literal_end), true) = (literal_end, size <= self.limits.literal) else {
            return Some(self.reject(input, end, announced, FrameError::LiteralTooLarge));
        };
        if self.literal_count > self.limits.literal_count || self.literals > self.limits.literals {
            return Some(self.reject(input, end, announced, FrameError::TooManyLiterals));
        }
        self.searched = end;
        self.state = State::Literal { literal, end: literal_end };
        synchronizing.then_some(Frame::Continue(literal))
    }

    fn message(&mut self, input: &mut BytesMut, literal: Literal, left: u64) -> Frame {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if length == 0 && left > 0 {
            return Frame::Incomplete;
        }
        let data = input.split_to(length).freeze();
        // A usize always fits.
        let left = left - length as u64;
        self.state = if left == 0 { State::Line } else { State::Message { literal, left } };
        let nul = !literal.literal8 && memchr(0, &data).is_some();
        Frame::Chunk(Chunk { data, last: left == 0, nul })
    }

    /// Refuses a command at the end of a line that announces a literal.
    fn reject(&mut self, input: &mut BytesMut, end: usize, announced: &Announced, error: FrameError) -> Frame {
        let head = self.head(input, end);
        input.advance(end.min(input.len()));
        self.state = match announced {
            Announced { synchronizing: true, .. } => State::Skipped,
            Announced { size: Some(size), .. } => self.skip_literal(*size),
            Announced { size: None, .. } => State::Fatal,
        };
        Frame::Rejected(Rejected { error, head })
    }

    /// Refuses a command whose line has become too long, its end seen or not.
    fn reject_long_line(&mut self, input: &mut BytesMut, raw: bool) -> Frame {
        let head = if raw { no_head() } else { self.head(input, input.len()) };
        if std::mem::take(&mut self.first)
            && let Some(foreign) = classify::first_line(head.as_bytes())
        {
            self.state = State::Foreign(foreign);
            return Frame::Foreign(foreign);
        }
        input.advance(self.line_start.min(input.len()));
        self.state = State::SkipLine { tail: Tail::default(), raw };
        Frame::Rejected(Rejected { error: FrameError::LineTooLong, head })
    }

    /// The beginning of the command whose part up to `end` is in the input.
    fn head(&self, input: &BytesMut, end: usize) -> CommandBuf {
        if self.appending {
            return no_head();
        }
        // Never more than the limit of a line, so that it is the same however the input was cut.
        let length = end.min(HEAD).min(self.limits.line);
        CommandBuf::copy_from_slice(input.get(..length).unwrap_or_default())
    }

    /// The state in which a non-synchronizing literal that nobody wants is counted off.
    fn skip_literal(&mut self, size: u64) -> State {
        self.dropped = self.dropped.saturating_add(size);
        if self.dropped > self.limits.discard { State::Fatal } else { State::SkipLiteral { left: size } }
    }

    /// Drops input until the end of a refused command.
    fn skip(&mut self, input: &mut BytesMut) -> Option<Frame> {
        match &mut self.state {
            State::Drop { length } => {
                input.advance((*length).min(input.len()));
                self.state = State::Skipped;
                None
            }
            State::SkipLiteral { left } => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                input.advance(length);
                *left -= length as u64;
                if *left > 0 {
                    return Some(Frame::Incomplete);
                }
                self.state = State::SkipLine { tail: Tail::default(), raw: false };
                None
            }
            State::SkipLine { tail, raw } => {
                let end = memchr(b'\n', input).map(|at| at + 1);
                let length = end.unwrap_or(input.len());
                tail.push(input.get(..length).unwrap_or_default());
                input.advance(length);
                self.dropped = self.dropped.saturating_add(length as u64);
                let next = match (end, *raw) {
                    (Some(_), false) => announced(tail.as_bytes()).filter(|announced| !announced.synchronizing),
                    _ => None,
                };
                self.state = match (end, next) {
                    _ if self.dropped > self.limits.discard => State::Fatal,
                    (None, _) => return Some(Frame::Incomplete),
                    (Some(_), None) => State::Skipped,
                    (Some(_), Some(Announced { size: Some(size), .. })) => self.skip_literal(size),
                    (Some(_), Some(_)) => State::Fatal,
                };
                None
            }
            State::Skipped => {
                self.start_command();
                Some(Frame::Skipped)
            }
            State::Foreign(foreign) => Some(Frame::Foreign(*foreign)),
            State::Fatal => Some(Frame::Fatal(FrameError::TooMuchToDrop)),
            // Not states of skipping.
            State::Line | State::Literal { .. } | State::Message { .. } => Some(Frame::Incomplete),
        }
    }
}

/// A copy of the first `length` octets of the input, which lose them. Copied, so that a command that is kept does not
/// keep the read buffer.
#[inline]
fn take(input: &mut BytesMut, length: usize) -> CommandBuf {
    let command = CommandBuf::copy_from_slice(input.get(..length).unwrap_or_default());
    input.advance(length.min(input.len()));
    command
}

fn no_head() -> CommandBuf {
    CommandBuf::copy_from_slice(b"")
}

/// The announcement with which a line ends: `{n}` or `{n+}`, maybe after `~`.
pub(crate) fn announced(line: &[u8]) -> Option<Announced> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.strip_suffix(b"}")?;
    let (line, synchronizing) = match line.strip_suffix(b"+") {
        Some(line) => (line, false),
        None => (line, true),
    };
    let open = line.len() - line.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = line.get(open..).filter(|digits| !digits.is_empty())?;
    let before = line.get(..open)?.strip_suffix(b"{")?;
    let size = digits.iter().try_fold(0_i64, |number, digit| {
        number.checked_mul(10).and_then(|tens| tens.checked_add(i64::from(digit - b'0')))
    });
    Some(Announced { size: size.map(i64::unsigned_abs), synchronizing, literal8: before.ends_with(b"~") })
}

/// The end of a line of which the rest has been dropped: as much as an announcement can have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    bytes: [u8; 32],
    length: u8,
}

impl Tail {
    pub(crate) fn push(&mut self, new: &[u8]) {
        let room = self.bytes.len();
        let new = new.get(new.len().saturating_sub(room)..).unwrap_or_default();
        let keep = usize::from(self.length).min(room - new.len());
        let start = usize::from(self.length) - keep;
        self.bytes.copy_within(start..start + keep, 0);
        if let Some(place) = self.bytes.get_mut(keep..keep + new.len()) {
            place.copy_from_slice(new);
        }
        // At most 32.
        self.length = (keep + new.len()) as u8;
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
