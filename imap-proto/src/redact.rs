//! A session's bytes without its passwords and its mail.
//!
//! The redactor reads both directions, as it has to know whether a login goes on, whether a literal was wanted, and which
//! tags are tags. It never relies on the client being right:
//!
//! * Shown are commands that IMAP has, behind a tag, in a state in which a client gives them. Anything else is `***`: a
//!   password on a line of its own, after an AUTHENTICATE that was refused, is a "command" too.
//! * Of LOGIN the user's name is shown, if it is one without doubt; whatever comes after it is `"***"`, in whatever form
//!   and however many words, up to the end of the command with all its literals.
//! * Of AUTHENTICATE the name of a known mechanism is shown, and no line of either side until the command is answered.
//! * A server repeats the tag of what it refuses, which then may be a password: only tags of commands that were shown are
//!   shown.
//!
//! A client that sends ahead is shown less than one that waits: behind AUTHENTICATE its next commands are `***`, too.

use std::collections::VecDeque;
use std::fmt;

use memchr::memchr;
use pillarbox_proto_core::transcript::{Direction, Keep, Redact, is_mechanism, is_plain_name};

use crate::wire::chars;
use crate::wire::framer::{Tail, announced};

mod server;
#[cfg(test)]
mod tests;

/// Octets of a line within which its tag and its command stand.
const HEAD: usize = 128;
/// The longest tag that is told from a password.
const TAG: usize = 64;
/// Tags that are remembered until their command is answered.
const TAGS: usize = 256;
/// The longest first argument of LOGIN that is looked at.
const NAME: usize = 300;

/// Takes secrets and messages out of an IMAP session (RFC 9051), in both directions.
///
/// ```
/// use pillarbox_imap_proto::Redactor;
/// use pillarbox_proto_core::transcript::{Direction, Keep, Redact};
///
/// let mut redactor = Redactor::new(Keep::default());
/// let mut shown = Vec::new();
/// redactor.redact(Direction::Client, b"a LOGIN bob {6+}\r\nsesame\r\n", &mut shown);
/// assert_eq!(shown, b"a LOGIN bob \"***\"\r\n");
/// ```
pub struct Redactor {
    keep: Keep,
    client: Client,
    /// What of the client's line is not decided yet.
    held: Vec<u8>,
    /// The end of the client's line.
    tail: Tail,
    /// The first word of the client's command, be it a tag or not.
    tag: Vec<u8>,
    /// Tags of commands that were shown and are not answered yet.
    tags: VecDeque<Box<[u8]>>,
    server: server::Server,
    /// The tag of the AUTHENTICATE that goes on.
    authenticating: Option<Box<[u8]>>,
    /// The tag of a LOGIN that had a name and a password.
    logging_in: Option<Box<[u8]>>,
    /// The tag of an UNAUTHENTICATE.
    leaving: Option<Box<[u8]>>,
    authenticated: bool,
    idling: bool,
}

/// Where in its input the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// In the part of a line that says what it is.
    Head,
    /// In a line that is shown, of a command whose literals are shown or not.
    Line { shows_literals: bool },
    /// In a literal of such a command. `waits`: nothing of it has come, and the server may say that it does not want it.
    /// `told`: what stands for it has been written, or it is shown itself.
    Literal { left: u64, waits: bool, shown: bool, told: bool },
    /// In a line that is not shown, for which this stands.
    Masked { text: &'static [u8], literals: bool },
    /// In a literal of a command that is not shown.
    MaskedLiteral { left: u64, waits: bool },
    /// In a line that is a part of such a command: nothing stands for it.
    Silent,
    /// In the first argument of LOGIN.
    Name,
    /// In the literal that is the first argument of LOGIN.
    NameLiteral { left: u64, waits: bool },
    /// Right behind that argument, where a blank has to be.
    NameEnd,
    /// Behind that blank, where the password begins.
    Named,
    /// In the mechanism of AUTHENTICATE.
    Mechanism,
}

/// What stands for a line or a part of it.
const MASK: &[u8] = b"***";
/// What stands for the password of LOGIN.
const PASSWORD: &[u8] = b"\"***\"";
/// What stands for a literal.
const DATA: &[u8] = b"(data...)";

/// When a command is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Login,
    Authenticate,
    /// It has no arguments.
    Bare,
    /// It can be given before the login.
    Early,
    /// It can be given after the login.
    Late,
}

impl Known {
    fn find(word: &[u8]) -> Option<Self> {
        const BARE: [&str; 5] = ["CAPABILITY", "LOGOUT", "NOOP", "STARTTLS", "UNAUTHENTICATE"];
        const EARLY: [&str; 2] = ["ENABLE", "ID"];
        const LATE: [&str; 47] = [
            "APPEND",
            "CANCELUPDATE",
            "CHECK",
            "CLOSE",
            "COMPRESS",
            "CONVERSIONS",
            "CONVERT",
            "COPY",
            "CREATE",
            "DELETE",
            "DELETEACL",
            "ESEARCH",
            "EXAMINE",
            "EXPUNGE",
            "FETCH",
            "GETACL",
            "GETJMAPACCESS",
            "GETMETADATA",
            "GETQUOTA",
            "GETQUOTAROOT",
            "IDLE",
            "LANGUAGE",
            "LIST",
            "LISTRIGHTS",
            "LSUB",
            "MOVE",
            "MYRIGHTS",
            "NAMESPACE",
            "NOTIFY",
            "RENAME",
            "REPLACE",
            "SEARCH",
            "SELECT",
            "SETACL",
            "SETMETADATA",
            "SETQUOTA",
            "SORT",
            "STATUS",
            "STORE",
            "SUBSCRIBE",
            "THREAD",
            "UID",
            "UIDBATCHES",
            "UNSELECT",
            "UNSUBSCRIBE",
            "COMPARATOR",
            "XLIST",
        ];
        let is = |known: &&str| word.eq_ignore_ascii_case(known.as_bytes());
        if word.eq_ignore_ascii_case(b"LOGIN") {
            Some(Self::Login)
        } else if word.eq_ignore_ascii_case(b"AUTHENTICATE") {
            Some(Self::Authenticate)
        } else if BARE.iter().any(is) {
            Some(Self::Bare)
        } else if EARLY.iter().any(is) {
            Some(Self::Early)
        } else {
            LATE.iter().any(is).then_some(Self::Late)
        }
    }
}

impl Redactor {
    /// For a session that begins.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            client: Client::Head,
            held: Vec::new(),
            tail: Tail::default(),
            tag: Vec::new(),
            tags: VecDeque::new(),
            server: server::Server::default(),
            authenticating: None,
            logging_in: None,
            leaving: None,
            authenticated: false,
            idling: false,
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
            Client::Head => self.head(bytes, out),
            Client::Line { shows_literals } => {
                let (line, ends) = to_line_end(bytes);
                out.extend_from_slice(line);
                self.tail.push(line);
                if ends {
                    self.client = match std::mem::take(&mut self.tail).announced() {
                        Some((left, waits)) => {
                            Client::Literal { left, waits, shown: shows_literals, told: shows_literals }
                        }
                        None => Client::Head,
                    };
                }
                line.len()
            }
            Client::Literal { left, shown, told, .. } => {
                let data = up_to(bytes, left);
                if shown {
                    out.extend_from_slice(data);
                } else if !told && !data.is_empty() {
                    out.extend_from_slice(DATA);
                }
                let left = left - data.len() as u64;
                self.client = match left {
                    0 => Client::Line { shows_literals: shown },
                    _ => Client::Literal { left, shown, waits: false, told: true },
                };
                data.len()
            }
            Client::Masked { text, literals } => {
                let (line, ends) = to_line_end(bytes);
                self.tail.push(line);
                if ends {
                    out.extend_from_slice(text);
                    out.extend_from_slice(b"\r\n");
                    self.end_masked(literals);
                }
                line.len()
            }
            Client::MaskedLiteral { left, .. } => {
                let data = up_to(bytes, left);
                let left = left - data.len() as u64;
                self.client = if left == 0 { Client::Silent } else { Client::MaskedLiteral { left, waits: false } };
                data.len()
            }
            Client::Silent => {
                let (line, ends) = to_line_end(bytes);
                self.tail.push(line);
                if ends {
                    self.end_masked(true);
                }
                line.len()
            }
            Client::Name => self.name(bytes, out),
            Client::NameLiteral { left, .. } => {
                let data = up_to(bytes, left);
                self.held.extend_from_slice(data);
                let left = left - data.len() as u64;
                self.client = if left == 0 { Client::NameEnd } else { Client::NameLiteral { left, waits: false } };
                data.len()
            }
            Client::NameEnd if bytes.first() == Some(&b' ') => {
                self.client = Client::Named;
                1
            }
            Client::NameEnd => {
                self.held.clear();
                self.mask(MASK)
            }
            Client::Named => {
                let held = std::mem::take(&mut self.held);
                let name = held.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(&held);
                let follows = bytes.first().is_some_and(|byte| !matches!(byte, b' ' | b'\r' | b'\n'));
                if follows && is_plain_name(name) {
                    out.extend_from_slice(&held);
                    out.push(b' ');
                    self.logging_in = Some(self.tag.as_slice().into());
                    self.mask(PASSWORD)
                } else {
                    self.mask(MASK)
                }
            }
            Client::Mechanism => self.mechanism(bytes, out),
        }
    }

    /// The rest of the line is not shown. Takes nothing itself.
    fn mask(&mut self, text: &'static [u8]) -> usize {
        self.tail = Tail::default();
        self.tail.push(&self.held);
        self.held.clear();
        self.client = Client::Masked { text, literals: true };
        0
    }

    fn end_masked(&mut self, literals: bool) {
        self.client = match std::mem::take(&mut self.tail).announced() {
            Some((left, waits)) if literals => Client::MaskedLiteral { left, waits },
            _ => Client::Head,
        };
    }

    fn head(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        if self.held.is_empty() && self.authenticating.is_some() && !self.keep.secrets {
            // A response, in which literals mean nothing.
            self.tag.clear();
            self.client = Client::Masked { text: MASK, literals: false };
            return 0;
        }
        for (taken, byte) in (1..).zip(bytes) {
            self.held.push(*byte);
            let spaces = self.held.iter().filter(|byte| **byte == b' ').count();
            if *byte == b'\n' || (*byte == b' ' && spaces == 2) || self.held.len() == HEAD {
                self.decide(out);
                return taken;
            }
        }
        bytes.len()
    }

    /// The held beginning of a line says what it is, or never will.
    fn decide(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let ends = held.ends_with(b"\n");
        let line = held.trim_ascii_end();
        let mut words = line.split(|byte| *byte == b' ');
        let (tag, word) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        self.tag.clear();
        self.tag.extend_from_slice(tag.get(..TAG).unwrap_or(tag));
        if self.keep.secrets {
            let shows_literals = self.keep.data || word.eq_ignore_ascii_case(b"LOGIN");
            return self.show(&held, shows_literals, out);
        }
        if line.is_empty() && ends || (self.idling && line.eq_ignore_ascii_case(b"DONE")) {
            self.idling = false;
            out.extend_from_slice(&held);
            return;
        }
        let is_tag = (1..=TAG).contains(&tag.len()) && tag.iter().all(|byte| chars::is(*byte, chars::TAG));
        let known = Known::find(word).filter(|_| is_tag && (ends || held.ends_with(b" ")));
        match known {
            Some(Known::Login | Known::Authenticate) if ends => {
                self.note_tag();
                out.extend_from_slice(&held);
            }
            Some(Known::Login) => {
                self.note_tag();
                out.extend_from_slice(&held);
                self.client = Client::Name;
            }
            Some(Known::Authenticate) => {
                self.note_tag();
                self.authenticating = Some(tag.into());
                out.extend_from_slice(&held);
                self.client = Client::Mechanism;
            }
            Some(Known::Bare) => {
                self.note_tag();
                if word.eq_ignore_ascii_case(b"UNAUTHENTICATE") {
                    self.leaving = Some(tag.into());
                }
                out.extend_from_slice(&held);
                if !ends {
                    self.mask(MASK);
                }
            }
            Some(Known::Late) if !self.authenticated && self.logging_in.is_none() => self.hide(held, ends, out),
            Some(Known::Early | Known::Late) => {
                self.note_tag();
                self.idling = word.eq_ignore_ascii_case(b"IDLE");
                self.show(&held, self.keep.data, out);
            }
            None => self.hide(held, ends, out),
        }
    }

    /// Shows the beginning of a line, and what will come of it.
    fn show(&mut self, held: &[u8], shows_literals: bool, out: &mut Vec<u8>) {
        self.tail = Tail::default();
        self.client = Client::Line { shows_literals };
        // As that state would have done it.
        self.client(held, out);
    }

    /// Hides the beginning of a line, and what will come of it.
    fn hide(&mut self, held: Vec<u8>, ends: bool, out: &mut Vec<u8>) {
        self.held = held;
        self.mask(MASK);
        if ends {
            out.extend_from_slice(MASK);
            out.extend_from_slice(b"\r\n");
            self.end_masked(true);
        }
    }

    fn note_tag(&mut self) {
        if self.tags.len() == TAGS {
            self.tags.pop_front();
        }
        self.tags.push_back(self.tag.as_slice().into());
    }

    /// The first argument of LOGIN.
    fn name(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        for (taken, byte) in (1..).zip(bytes) {
            let quoted = self.held.first() == Some(&b'"');
            match byte {
                b'\n' => {
                    self.held.push(b'\n');
                    let held = std::mem::take(&mut self.held);
                    self.tail = Tail::default();
                    self.tail.push(&held);
                    let literal = std::mem::take(&mut self.tail).announced();
                    match literal {
                        Some((left, waits)) if held.starts_with(b"{") && left <= NAME as u64 => {
                            out.extend_from_slice(&held);
                            self.client = Client::NameLiteral { left, waits };
                        }
                        _ => {
                            out.extend_from_slice(MASK);
                            out.extend_from_slice(b"\r\n");
                            self.client = match literal {
                                Some((left, waits)) => Client::MaskedLiteral { left, waits },
                                None => Client::Head,
                            };
                        }
                    }
                    return taken;
                }
                b' ' if !quoted => {
                    self.client = Client::Named;
                    return taken;
                }
                b'"' if quoted => {
                    self.held.push(b'"');
                    self.client = Client::NameEnd;
                    return taken;
                }
                _ if *byte == b'\\' || self.held.len() == NAME => {
                    self.held.push(*byte);
                    self.mask(MASK);
                    return taken;
                }
                _ => self.held.push(*byte),
            }
        }
        bytes.len()
    }

    /// The mechanism of AUTHENTICATE.
    fn mechanism(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        for (taken, byte) in (1..).zip(bytes) {
            self.held.push(*byte);
            if !matches!(byte, b' ' | b'\n') && self.held.len() < NAME {
                continue;
            }
            if is_mechanism(self.held.trim_ascii_end()) {
                out.extend_from_slice(&self.held);
                self.held.clear();
                match byte {
                    b'\n' => self.client = Client::Head,
                    _ => {
                        self.mask(MASK);
                    }
                }
            } else if *byte == b'\n' {
                let held = std::mem::take(&mut self.held);
                self.client = Client::Head;
                self.hide(held, true, out);
            } else {
                self.mask(MASK);
            }
            return taken;
        }
        bytes.len()
    }

    /// The server does not want a literal that it has not been sent yet: the client will not send it.
    fn refuse_literal(&mut self, tag: &[u8]) {
        use Client::{Literal, MaskedLiteral, NameLiteral};
        let waits = match self.client {
            Literal { waits, .. } | MaskedLiteral { waits, .. } | NameLiteral { waits, .. } => waits,
            _ => false,
        };
        if waits && self.tag == tag.get(..TAG).unwrap_or(tag) {
            self.begin_line();
        }
    }

    fn begin_line(&mut self) {
        self.client = Client::Head;
        self.held.clear();
        self.tail = Tail::default();
    }
}

impl Redact for Redactor {
    fn redact(&mut self, direction: Direction, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        // A state may end without a byte being taken, and then another one takes one: no more than two in a row do so.
        while !rest.is_empty() {
            let taken = match direction {
                Direction::Client => self.client(rest, out),
                Direction::Server => self.server(rest, out),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        if direction == Direction::Client && rest.is_empty() && self.client == Client::Head && self.held.is_empty() {
            // An idle session keeps no buffer for a line that may never come.
            self.held = Vec::new();
        }
    }

    fn secured(&mut self) {
        self.begin_line();
        self.tags.clear();
        self.authenticating = None;
        self.logging_in = None;
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is held back may be a secret.
        f.debug_struct("Redactor").field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl Tail {
    /// The literal that the line announces: its size, and whether the client waits to be asked for it.
    fn announced(&self) -> Option<(u64, bool)> {
        let announced = announced(self.as_bytes())?;
        Some((announced.size.unwrap_or(u64::MAX), announced.synchronizing))
    }
}

/// The bytes up to the end of a line, and whether it is there.
fn to_line_end(bytes: &[u8]) -> (&[u8], bool) {
    match memchr(b'\n', bytes) {
        Some(at) => (bytes.get(..=at).unwrap_or(bytes), true),
        None => (bytes, false),
    }
}

/// At most so many of the bytes.
fn up_to(bytes: &[u8], most: u64) -> &[u8] {
    usize::try_from(most).ok().and_then(|most| bytes.get(..most)).unwrap_or(bytes)
}
