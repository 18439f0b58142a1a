//! A session's bytes without its passwords and its mail.
//!
//! Shown of the client are commands that POP3 has, with arguments that they can have; anything else is `***`, as a
//! client that has lost its place, or a person at a keyboard, sends a password as a command. Of the server all is shown
//! but challenges and messages: which of its answers is followed by a message is known by counting commands and answers,
//! as a client may send many commands ahead.

use std::collections::VecDeque;
use std::fmt;

use memchr::memchr;
use pillarbox_proto_core::transcript::{Direction, Keep, Redact, is_mechanism, is_plain_name};

#[cfg(test)]
mod tests;

/// Octets of a line that are looked at. What is longer is a command only by its first word.
const LINE: usize = 600;
/// Octets of a line of the server that say what it is.
const HEAD: usize = 5;
/// Commands that are remembered until they are answered; more than any session reads ahead.
const COMMANDS: usize = 64 * 1024;

/// What stands for a secret.
const MASK: &[u8] = b"***";
/// What stands for a message.
const DATA: &[u8] = b"(data...)\r\n";

/// Takes secrets and messages out of a POP3 session (RFC 1939), in both directions.
///
/// ```
/// use pillarbox_pop3_proto::Redactor;
/// use pillarbox_proto_core::transcript::{Direction, Keep, Redact};
///
/// let mut redactor = Redactor::new(Keep::default());
/// let mut shown = Vec::new();
/// redactor.redact(Direction::Client, b"USER bob\r\nPASS open sesame\r\n", &mut shown);
/// assert_eq!(shown, b"USER bob\r\nPASS ***\r\n");
/// ```
pub struct Redactor {
    keep: Keep,
    client: Client,
    /// The client's line, as far as it is looked at.
    held: Vec<u8>,
    /// Commands that wait for their answers.
    commands: VecDeque<Kind>,
    /// How many of them are AUTH.
    auths: usize,
    /// The last of them is the line that is coming in.
    open: bool,
    /// Challenges that the client has not answered yet.
    challenges: usize,
    server: Server,
    /// The line of the server, as far as it is looked at.
    answer: Vec<u8>,
    greeted: bool,
    /// Commands and answers are no longer told apart: nothing of the server is shown.
    lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// Between two lines.
    Start,
    /// In a line. `secret`: it belongs to a SASL exchange.
    Line { secret: bool },
    /// In a line that was too long to be looked at to its end; shown as it is or not at all.
    Rest { shown: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// In the part of a line that says what it is.
    Head,
    /// In a line that is shown. `message`: after it comes a message.
    Line { message: bool },
    /// In a line for which `***` stands.
    Masked,
    /// In a message. Here a line begins; so many octets of its end, `.` CRLF, have come.
    Message { begins: bool, dot: Dot },
    /// Nothing more is shown.
    Lost,
}

/// How much of a line is that of a single dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dot {
    None,
    Seen,
    Cr,
}

/// What a command's answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// RETR, TOP: after `+OK` comes a message.
    Message,
    /// AUTH: challenges may come before it.
    Auth,
    /// STLS: after `+OK` all that was sent ahead is dropped.
    Stls,
    Other,
}

/// What arguments a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arguments {
    None,
    Numbers,
    Name,
    Language,
    /// A name, and a secret after it.
    Apop,
    /// A mechanism, and a secret after it.
    Auth,
    /// A secret.
    Pass,
}

const COMMAND_WORDS: [(&str, Kind, Arguments); 18] = [
    ("APOP", Kind::Other, Arguments::Apop),
    ("AUTH", Kind::Auth, Arguments::Auth),
    ("CAPA", Kind::Other, Arguments::None),
    ("DELE", Kind::Other, Arguments::Numbers),
    ("LANG", Kind::Other, Arguments::Language),
    ("LAST", Kind::Other, Arguments::None),
    ("LIST", Kind::Other, Arguments::Numbers),
    ("NOOP", Kind::Other, Arguments::None),
    ("PASS", Kind::Other, Arguments::Pass),
    ("QUIT", Kind::Other, Arguments::None),
    ("RETR", Kind::Message, Arguments::Numbers),
    ("RSET", Kind::Other, Arguments::None),
    ("STAT", Kind::Other, Arguments::None),
    ("STLS", Kind::Stls, Arguments::None),
    ("TOP", Kind::Message, Arguments::Numbers),
    ("UIDL", Kind::Other, Arguments::Numbers),
    ("USER", Kind::Other, Arguments::Name),
    ("UTF8", Kind::Other, Arguments::None),
];

impl Redactor {
    /// For a session that begins.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            client: Client::Start,
            held: Vec::new(),
            commands: VecDeque::new(),
            auths: 0,
            open: false,
            challenges: 0,
            server: Server::Head,
            answer: Vec::new(),
            greeted: false,
            lost: false,
        }
    }

    /// [`new`](Self::new), as servers want it that know no protocol.
    #[must_use]
    pub fn boxed(keep: Keep) -> Box<dyn Redact> {
        Box::new(Self::new(keep))
    }

    /// Takes the beginning of the client's bytes, and says how many they were.
    fn client(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        match self.client {
            Client::Start => {
                self.begin_line();
                0
            }
            Client::Line { secret } => {
                let room = LINE.saturating_sub(self.held.len());
                let (line, ends) = to_line_end(bytes.get(..room).unwrap_or(bytes));
                self.held.extend_from_slice(line);
                if ends || self.held.len() >= LINE {
                    self.decide(secret, ends, out);
                }
                line.len()
            }
            Client::Rest { shown } => {
                let (line, ends) = to_line_end(bytes);
                if shown {
                    out.extend_from_slice(line);
                }
                if ends {
                    self.client = Client::Start;
                }
                line.len()
            }
        }
    }

    /// A line begins. It takes its place among the commands before it is known what it is: a line that is too long is
    /// answered before its end.
    fn begin_line(&mut self) {
        self.client = Client::Line { secret: self.challenges > 0 || self.auths > 0 };
        if self.challenges > 0 {
            self.challenges -= 1;
        } else if self.commands.len() < COMMANDS {
            self.commands.push_back(Kind::Other);
            self.open = true;
        } else {
            self.lost = true;
        }
    }

    /// As much of the line has come as is looked at.
    fn decide(&mut self, secret: bool, ends: bool, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let line = held.trim_ascii();
        let (word, rest) = match line.iter().position(|byte| matches!(byte, b' ' | b'\t')) {
            Some(at) => line.split_at_checked(at).unwrap_or((line, b"")),
            None => (line, &b""[..]),
        };
        let known = COMMAND_WORDS.iter().find(|(name, ..)| word.eq_ignore_ascii_case(name.as_bytes()));
        if std::mem::take(&mut self.open)
            && let (Some((_, kind, _)), Some(last)) = (known, self.commands.back_mut())
        {
            *last = *kind;
            self.auths += usize::from(*kind == Kind::Auth);
        }
        self.client = if ends { Client::Start } else { Client::Rest { shown: self.keep.secrets } };
        if self.keep.secrets {
            return out.extend_from_slice(&held);
        }
        let arguments = known.map(|(.., arguments)| *arguments).filter(|_| !secret);
        match arguments {
            _ if line.is_empty() && ends && !secret => {}
            None => out.extend_from_slice(MASK),
            Some(arguments) => {
                out.extend_from_slice(word);
                let rest = rest.trim_ascii_start();
                if !rest.is_empty() {
                    out.push(b' ');
                    show(arguments, rest, ends, out);
                }
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Takes the beginning of the server's bytes, and says how many they were.
    fn server(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        if self.lost && self.server != Server::Lost {
            self.server = Server::Lost;
            out.extend_from_slice(DATA);
        }
        match self.server {
            Server::Head => {
                let room = HEAD.saturating_sub(self.answer.len());
                let (head, ends) = to_line_end(bytes.get(..room).unwrap_or(bytes));
                self.answer.extend_from_slice(head);
                if ends || self.answer.len() >= HEAD {
                    self.answered(ends, out);
                }
                head.len()
            }
            Server::Line { message } => {
                let (line, ends) = to_line_end(bytes);
                out.extend_from_slice(line);
                if ends {
                    self.end_answer(message, out);
                }
                line.len()
            }
            Server::Masked => {
                let (line, ends) = to_line_end(bytes);
                if ends {
                    out.extend_from_slice(MASK);
                    out.extend_from_slice(b"\r\n");
                    self.server = Server::Head;
                }
                line.len()
            }
            Server::Message { begins, dot } => {
                let (line, ends) = to_line_end(bytes);
                if self.keep.data {
                    out.extend_from_slice(line);
                }
                self.server = match (dot, line) {
                    (Dot::None, b".\r\n" | b".\n") if begins => Server::Head,
                    (Dot::Seen, b"\r\n" | b"\n") | (Dot::Cr, b"\n") => Server::Head,
                    (Dot::None, b".") if begins => Server::Message { begins: false, dot: Dot::Seen },
                    (Dot::None, b".\r") if begins => Server::Message { begins: false, dot: Dot::Cr },
                    (Dot::Seen, b"\r") => Server::Message { begins: false, dot: Dot::Cr },
                    _ => Server::Message { begins: ends, dot: Dot::None },
                };
                line.len()
            }
            Server::Lost => bytes.len(),
        }
    }

    /// The beginning of a line of the server says what it is.
    fn answered(&mut self, ends: bool, out: &mut Vec<u8>) {
        let answer = std::mem::take(&mut self.answer);
        let ok = answer.starts_with(b"+OK");
        let mut message = false;
        if ok || answer.starts_with(b"-ERR") {
            if std::mem::replace(&mut self.greeted, true) {
                let kind = self.end_command();
                message = kind == Some(Kind::Message) && ok;
                if kind == Some(Kind::Stls) && ok {
                    self.secured();
                }
            }
        } else if answer.starts_with(b"+") && self.commands.front() == Some(&Kind::Auth) {
            // A challenge takes the next line of the client, whether that has come or not.
            match self.commands.remove(1) {
                Some(kind) => {
                    self.auths -= usize::from(kind == Kind::Auth).min(self.auths);
                    // Only the last can be the one that is coming in.
                    self.open &= self.commands.len() > 1;
                }
                None => self.challenges += 1,
            }
            if !self.keep.secrets && !answer.trim_ascii_end().eq(b"+") {
                out.extend_from_slice(b"+ ");
                self.server = Server::Masked;
                if ends {
                    out.extend_from_slice(MASK);
                    out.extend_from_slice(b"\r\n");
                    self.server = Server::Head;
                }
                return;
            }
        }
        out.extend_from_slice(&answer);
        self.server = Server::Line { message };
        if ends {
            self.end_answer(message, out);
        }
    }

    /// The oldest command has its answer.
    fn end_command(&mut self) -> Option<Kind> {
        let kind = self.commands.pop_front()?;
        self.open &= !self.commands.is_empty();
        if kind == Kind::Auth {
            self.auths = self.auths.saturating_sub(1);
            self.challenges = 0;
        }
        Some(kind)
    }

    fn end_answer(&mut self, message: bool, out: &mut Vec<u8>) {
        self.server = Server::Head;
        if message {
            self.server = Server::Message { begins: true, dot: Dot::None };
            if !self.keep.data {
                out.extend_from_slice(DATA);
            }
        }
    }
}

/// Shows the arguments that are as they have to be.
fn show(arguments: Arguments, rest: &[u8], ends: bool, out: &mut Vec<u8>) {
    let mut words = rest.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let (first, second) = (words.next().unwrap_or_default(), words.next());
    let is_whole = match arguments {
        Arguments::None | Arguments::Pass => false,
        Arguments::Numbers => rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b' '),
        Arguments::Name => second.is_none() && is_plain_name(first),
        Arguments::Language => rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*')),
        Arguments::Apop => false,
        Arguments::Auth => second.is_none() && is_mechanism(first),
    };
    if is_whole && ends {
        return out.extend_from_slice(rest);
    }
    let is_known = match arguments {
        Arguments::Apop => is_plain_name(first),
        Arguments::Auth => is_mechanism(first),
        _ => false,
    };
    if is_known && second.is_some() {
        out.extend_from_slice(first);
        out.push(b' ');
    }
    out.extend_from_slice(MASK);
}

impl Redact for Redactor {
    fn redact(&mut self, direction: Direction, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        // Only the beginning of a line takes no byte, and then the line does.
        while !rest.is_empty() {
            let taken = match direction {
                Direction::Client => self.client(rest, out),
                Direction::Server => self.server(rest, out),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn secured(&mut self) {
        self.client = Client::Start;
        self.held = Vec::new();
        self.commands = VecDeque::new();
        self.auths = 0;
        self.open = false;
        self.challenges = 0;
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is held back may be a secret.
        f.debug_struct("Redactor").field("keep", &self.keep).finish_non_exhaustive()
    }
}

/// The bytes up to the end of a line, and whether it is there.
fn to_line_end(bytes: &[u8]) -> (&[u8], bool) {
    match memchr(b'\n', bytes) {
        Some(at) => (bytes.get(..=at).unwrap_or(bytes), true),
        None => (bytes, false),
    }
}
