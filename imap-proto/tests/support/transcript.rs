//! Dialogues as files.
//!
//! ```text
//! # A comment. Blank lines are passed over.
//! @user alice secret
//! @mailbox alice Work
//! @subscribe alice Work
//! @special alice Sent \Sent
//! @message alice INBOX \Seen $Label "17-Jul-1996 02:44:25 -0700"
//! |Subject: hello
//! |
//! |Hi!
//! @plaintext               the connection is not protected
//! @set literal-minus       other settings: see `setting`
//! C: a LOGIN alice secret
//! S: a OK [CAPABILITY ...] LOGIN completed
//! C2: a NOOP               a second session over the same backend
//! S2: a OK NOOP completed
//! C~ half a line           sent without CRLF
//! ! deliver alice INBOX Subject: x\r\n\r\nbody      something happens elsewhere
//! ! expunge alice INBOX 1:2
//! ! flags alice INBOX 1 \Seen
//! ! delete alice Work  ! rename alice Work Play  ! recreate alice Work ! readonly alice Work
//! T 30m                    time passes
//! close                    the server has closed session 1 (close2: session 2)
//! ```
//!
//! In an `S:` line `...` stands for any text. Everything that a session says after a client's line must be named.
//! The first lines of a session are its greeting; a transcript that does not name it has it skipped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pillarbox_imap_proto::{Config, LiteralMode};
use pillarbox_proto_core::backend::{Access, StoreOp};
use pillarbox_proto_core::connection::{Connection, SessionId, TlsMode};
use pillarbox_proto_core::mail::{DateTime, Flags, Keyword, SpecialUse, SystemFlags, Uid, UidSet};
use pillarbox_proto_core::memory::{MemoryBackend, NewMessage};

use super::client::{Client, env, secure_connection};

pub struct Transcript {
    pub name: String,
    setup: Vec<Vec<String>>,
    steps: Vec<(usize, Step)>,
    protected: bool,
    settings: Vec<String>,
}

enum Step {
    Send { session: usize, octets: Vec<u8> },
    Expect { session: usize, line: String },
    Elsewhere(Vec<String>),
    Wait(Duration),
    Closed { session: usize },
}

/// How input is cut into reads.
pub enum Cut {
    Whole,
    Octets,
    /// By a seed, into pieces of 1 to 40 octets.
    Seed(u64),
}

impl Transcript {
    pub fn read(path: &Path) -> Self {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let mut this =
            Self { name, setup: Vec::new(), steps: Vec::new(), protected: true, settings: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            this.line(number + 1, line);
        }
        this
    }

    /// All transcripts of this crate, by name.
    pub fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().filter(|path| path.extension().is_some_and(|end| end == "txt")).map(|path| Self::read(path)).collect()
    }

    /// The octets that clients send, for other tests to look at.
    pub fn sent(&self) -> Vec<u8> {
        self.steps
            .iter()
            .filter_map(|(_, step)| match step {
                Step::Send { octets, .. } => Some(octets.as_slice()),
                _ => None,
            })
            .collect::<Vec<_>>()
            .concat()
    }

    /// The lines that are expected.
    pub fn expected(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|(_, step)| match step {
            Step::Expect { line, .. } => Some(line.as_str()),
            _ => None,
        })
    }

    fn line(&mut self, number: usize, line: &str) {
        let place = format!("{}:{number}", self.name);
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        if let Some(content) = line.strip_prefix('|') {
            self.setup.last_mut().unwrap_or_else(|| panic!("{place}: no @message")).push(content.to_owned());
            return;
        }
        if let Some(directive) = line.strip_prefix('@') {
            let words: Vec<_> = directive.split(' ').filter(|word| !word.is_empty()).map(String::from).collect();
            match words[0].as_str() {
                "plaintext" => self.protected = false,
                "set" => self.settings.push(words[1].clone()),
                _ => self.setup.push(vec![directive.to_owned()]),
            }
            return;
        }
        let step = if let Some(rest) = line.strip_prefix("! ") {
            Step::Elsewhere(rest.splitn(4, ' ').map(String::from).collect())
        } else if let Some(time) = line.strip_prefix("T ") {
            let (number, unit) = time.split_at(time.len() - 1);
            let seconds: u64 = number.parse().unwrap();
            Step::Wait(Duration::from_secs(if unit == "m" { seconds * 60 } else { seconds }))
        } else if let Some(session) = line.strip_prefix("close") {
            Step::Closed { session: session.parse().unwrap_or(1) }
        } else {
            let (who, rest) = line.split_once([':', '~']).unwrap_or_else(|| panic!("{place}: what is this?"));
            let session = who[1..].parse().unwrap_or(1);
            let whole = line.as_bytes()[who.len()] == b':';
            let text = rest.strip_prefix(' ').unwrap_or(rest);
            match &who[..1] {
                "C" => {
                    let mut octets = unescape(text);
                    if whole {
                        octets.extend_from_slice(b"\r\n");
                    }
                    Step::Send { session, octets }
                }
                "S" => Step::Expect { session, line: text.to_owned() },
                _ => panic!("{place}: what is this?"),
            }
        };
        self.steps.push((number, step));
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.tls_mode = TlsMode::OnDemand;
        for setting in &self.settings {
            match setting.as_str() {
                "literal-minus" => config.literal_mode = LiteralMode::Minus,
                "login-disabled" => config.login_disabled = true,
                "allow-plaintext" => config.allow_plaintext = true,
                "no-tls" => config.tls_mode = TlsMode::No,
                "tls-required" => config.tls_mode = TlsMode::Required,
                "append-limit-100" => config.append_limit = Some(100),
                other => panic!("{}: unknown setting {other}", self.name),
            }
        }
        config
    }

    fn backend(&self) -> MemoryBackend {
        let mut builder = MemoryBackend::builder().env(env());
        for lines in &self.setup {
            let (words, rest) = (lines[0].split(' ').collect::<Vec<_>>(), &lines[1..]);
            builder = match words.as_slice() {
                ["user", user, password] => builder.user(*user, *password),
                ["mailbox", user, mailbox @ ..] => builder.mailbox(*user, mailbox.join(" ")),
                ["subscribe", user, mailbox @ ..] => builder.subscribe(*user, mailbox.join(" ")),
                ["special", user, mailbox, usage] => {
                    builder.special_use(*user, *mailbox, SpecialUse::parse(usage.as_bytes()).unwrap())
                }
                ["readonly", user, mailbox] => builder.read_only(*user, *mailbox),
                ["message", user, mailbox, ..] => {
                    let about = lines[0].splitn(4, ' ').nth(3).unwrap_or("");
                    let content = rest.iter().flat_map(|line| [unescape(line), b"\r\n".to_vec()]).flatten();
                    let content: Vec<u8> = content.collect();
                    builder.deliver(*user, *mailbox, message(about, content))
                }
                _ => panic!("{}: unknown directive @{}", self.name, lines[0]),
            };
        }
        builder.build().unwrap()
    }

    /// Plays the dialogue, and panics with the place of the first difference. Returns all that the sessions said.
    pub fn play(&self, cut: &Cut) -> BTreeMap<usize, Vec<u8>> {
        let backend = self.backend();
        let mut sessions: BTreeMap<usize, (Client, Vec<u8>)> = BTreeMap::new();
        let mut said: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let mut random = match cut {
            Cut::Seed(seed) => *seed,
            _ => 1,
        };
        for (number, step) in &self.steps {
            let place = format!("{}.txt:{number}", self.name);
            let session = match step {
                Step::Send { session, .. } | Step::Expect { session, .. } | Step::Closed { session } => *session,
                Step::Elsewhere(words) => {
                    elsewhere(&backend, words, &place);
                    for (session, (client, waiting)) in &mut sessions {
                        let more = client.drive();
                        said.entry(*session).or_default().extend_from_slice(&more);
                        waiting.extend(more);
                    }
                    continue;
                }
                Step::Wait(time) => {
                    for (session, (client, waiting)) in &mut sessions {
                        let more = client.wait(*time);
                        said.entry(*session).or_default().extend_from_slice(&more);
                        waiting.extend(more);
                    }
                    continue;
                }
            };
            let greets = matches!(step, Step::Expect { line, .. } if line.starts_with("* OK [CAPABILITY") || line.starts_with("* PREAUTH"));
            let (client, waiting) = sessions.entry(session).or_insert_with(|| {
                let connection =
                    if self.protected { secure_connection() } else { Connection::new(SessionId::new(1)) };
                let mut client = Client::over(Arc::new(backend.clone()), self.config(), connection);
                let greeting = client.drive();
                (client, if greets { greeting } else { Vec::new() })
            });
            match step {
                Step::Send { octets, .. } => {
                    assert!(waiting.is_empty(), "{place}: the server has said {:?}", waiting.escape_ascii().to_string());
                    let mut rest = octets.as_slice();
                    while !rest.is_empty() {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let length = match cut {
                            Cut::Whole => rest.len(),
                            Cut::Octets => 1,
                            Cut::Seed(_) => (1 + (random >> 33) as usize % 40).min(rest.len()),
                        };
                        let (piece, later) = rest.split_at(length);
                        rest = later;
                        let more = client.send(piece);
                        said.entry(session).or_default().extend_from_slice(&more);
                        waiting.extend(more);
                    }
                    // What happened is seen by the others, too.
                    for (other, (client, waiting)) in &mut sessions {
                        let more = client.drive();
                        said.entry(*other).or_default().extend_from_slice(&more);
                        waiting.extend(more);
                    }
                }
                Step::Expect { line, .. } => {
                    let end = waiting.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2);
                    let Some(end) = end else {
                        panic!("{place}: expected {line:?}, and there is {:?}", waiting.escape_ascii().to_string())
                    };
                    let found: Vec<u8> = waiting.drain(..end).collect();
                    let found = &found[..end - 2];
                    assert!(
                        fits(line, found),
                        "{place}:\n expected {line}\n but got  {}\n and then {}",
                        found.escape_ascii(),
                        waiting.escape_ascii()
                    );
                }
                Step::Closed { .. } => {
                    assert!(waiting.is_empty(), "{place}: not closed, but {:?}", waiting.escape_ascii().to_string());
                    assert!(client.closed(), "{place}: not closed");
                }
                Step::Elsewhere(_) | Step::Wait(_) => {}
            }
        }
        for (session, (_, waiting)) in &sessions {
            let waiting = waiting.escape_ascii().to_string();
            assert!(waiting.is_empty(), "{}: session {session} has more: {waiting}", self.name);
        }
        said
    }
}

/// `\r`, `\n`, `\0` and `\xNN` stand for octets when a doubled backslash is before them: `\\r`.
fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, later @ ..] = rest {
        rest = later;
        if *first == b'\\' && rest.first() == Some(&b'\\') {
            match rest {
                [_, b'r', later @ ..] => (octets.push(b'\r'), rest = later).1,
                [_, b'n', later @ ..] => (octets.push(b'\n'), rest = later).1,
                [_, b'0', later @ ..] => (octets.push(0), rest = later).1,
                [_, b'x', high, low, later @ ..] => {
                    let hex = [*high, *low];
                    octets.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
                    rest = later;
                }
                _ => octets.push(b'\\'),
            }
            continue;
        }
        octets.push(*first);
    }
    octets
}

fn flags(text: &str) -> Flags {
    let mut flags = Flags::NONE;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match SystemFlags::parse(word.as_bytes()) {
            Some(flag) => flags.system |= flag,
            None => flags.keywords = flags.keywords.union(&[Keyword::new(word).unwrap()].into_iter().collect()),
        }
    }
    flags
}

fn message(about: &str, content: Vec<u8>) -> NewMessage {
    let (words, date) = about.split_once('"').unwrap_or((about, ""));
    let message = NewMessage::new(content).flags(flags(words));
    match date.strip_suffix('"') {
        Some(date) => message.received(DateTime::parse(date.as_bytes()).unwrap()),
        None => message,
    }
}

fn uids(text: &str) -> UidSet {
    let mut set = UidSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        set.insert_range(Uid::new(first.parse().unwrap()).unwrap(), Uid::new(last.parse().unwrap()).unwrap());
    }
    set
}

fn elsewhere(backend: &MemoryBackend, words: &[String], place: &str) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["deliver", user, mailbox, content] => {
            let content = content.replace("\\r", "\r").replace("\\n", "\n");
            backend.deliver(user, mailbox, content).map(|_| ()).unwrap();
        }
        ["expunge", user, mailbox, set] => backend.expunge(user, mailbox, uids(set)).map(|_| ()).unwrap(),
        ["flags", user, mailbox, rest] => {
            let (set, names) = rest.split_once(' ').unwrap_or((rest, ""));
            backend.store_flags(user, mailbox, uids(set), StoreOp::Replace, flags(names)).map(|_| ()).unwrap();
        }
        ["create", user, mailbox] => backend.create(user, mailbox).unwrap(),
        ["delete", user, mailbox] => backend.delete(user, mailbox).unwrap(),
        ["recreate", user, mailbox] => backend.recreate(user, mailbox).unwrap(),
        ["rename", user, from, to] => backend.rename(user, from, to).unwrap(),
        ["readonly", user, mailbox] => backend.set_access(user, mailbox, Access::ReadOnly).unwrap(),
        ["forget", user, mailbox] => backend.forget_removals(user, mailbox).unwrap(),
        _ => panic!("{place}: unknown happening"),
    }
}

/// Whether a line is as expected; `...` stands for any text.
fn fits(expected: &str, found: &[u8]) -> bool {
    let expected = unescape(expected);
    let expected = expected.as_slice();
    let pieces: Vec<&[u8]> = split(expected, b"...");
    let [first, middle @ .., last] = pieces.as_slice() else { return expected == found };
    let Some(mut rest) = found.strip_prefix(*first) else { return false };
    for piece in middle {
        match rest.windows(piece.len().max(1)).position(|window| window == *piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None if piece.is_empty() => {}
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

fn split<'a>(text: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(by.len()).position(|window| window == by) {
        pieces.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    pieces.push(rest);
    pieces
}
