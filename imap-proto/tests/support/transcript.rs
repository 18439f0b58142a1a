//! Dialogues as files.
//!
//! ```text
//! # A comment. Blank lines are passed over.
//! @user alice secret                    @token alice abc   @act-as alice bob   @quota 100   @shared Shared
//! @scope mail   @secret alice tanstaaf   @anonymous guest     see the memory backend's builder
//! @mailbox alice Work
//! @subscribe alice Work
//! @special alice Sent \Sent
//! @readonly alice Work
//! @message alice INBOX \Seen $Label "17-Jul-1996 02:44:25 -0700"
//! |Subject: hello
//! |
//! |Hi!
//! @plaintext               the connection is not protected
//! @tls                     TLS stands from the first byte
//! @preauth alice           the client is known from elsewhere
//! @preauth-only            nobody else is wanted
//! @notice text   @closed text      what the connection has for everybody
//! @id name value           a field of the server's ID, in place of those that it has by itself
//! @set literal-minus       other settings: see `setting`
//! C: a LOGIN alice secret
//! S: a OK [CAPABILITY ...] LOGIN completed
//! C2: a NOOP               a second session over the same backend
//! S2: a OK NOOP completed
//! C~ half a line           sent without CRLF
//! C* 5000 x                sent so many times, without CRLF
//! ! deliver alice INBOX Subject: x\r\n\r\nbody      something happens elsewhere
//! ! expunge alice INBOX 1:2
//! ! flags alice INBOX 1 \Seen
//! ! delete alice Work  ! rename alice Work Play  ! recreate alice Work  ! create alice Work
//! ! readonly alice Work  ! readwrite alice Work  ! forget alice INBOX
//! ! fail Commit OverQuota  the store fails this call from now on; `! heal` ends it
//! ! shutdown text  ! kick text  ! alert text  ! unavailable text      the server has something to say to all sessions
//! T 30m                    time passes
//! TLS                      session 1 has asked for TLS, and now it stands (TLS2: session 2)
//! eof                      session 1 will send no more (eof2: session 2)
//! close                    the server has closed session 1 (close2: session 2); closes after it are not repeated
//! ```
//!
//! In an `S:` line `...` stands for any text. Everything that a session says after a client's line must be named.
//! The first lines of a session are its greeting; a transcript that does not name it has it skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pillarbox_imap_proto::{Config, ImapService, LiteralMode, ServerId};
use pillarbox_proto_core::auth::{Identity, TokenRefusal};
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::connection::{ChannelBinding, Connection, SessionId, TlsInfo, TlsMode};
use pillarbox_proto_core::conversation::{Conversation, Layer, Next};
use pillarbox_proto_core::mail::SpecialUse;
use pillarbox_proto_core::memory::MemoryBackend;

use super::client::{Client, env, secure_connection};
use super::plain::Plain;
use super::world::{elsewhere, message, unescape};

pub struct Transcript {
    pub name: String,
    setup: Vec<Vec<String>>,
    steps: Vec<(usize, Step)>,
    protected: bool,
    encrypted: bool,
    preauth: Option<String>,
    preauth_only: bool,
    notice: Option<String>,
    closed: Option<String>,
    id: Vec<(String, String)>,
    settings: Vec<String>,
    /// The file, for [`record`](Self::record).
    path: PathBuf,
    lines: Vec<String>,
}

enum Step {
    Send { session: usize, octets: Vec<u8> },
    Expect { session: usize, line: String },
    Elsewhere(Vec<String>),
    Wait(Duration),
    Closed { session: usize },
    Secured { session: usize },
    Ended { session: usize },
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
        let mut this = Self {
            name,
            setup: Vec::new(),
            steps: Vec::new(),
            protected: true,
            encrypted: false,
            preauth: None,
            preauth_only: false,
            notice: None,
            closed: None,
            id: Vec::new(),
            settings: Vec::new(),
            path: path.to_owned(),
            lines: text.lines().map(String::from).collect(),
        };
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
        paths
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "txt"))
            .map(|path| Self::read(path))
            .collect()
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
                "tls" => (self.protected, self.encrypted) = (false, true),
                "preauth" => self.preauth = Some(words[1].clone()),
                "preauth-only" => self.preauth_only = true,
                "notice" => self.notice = Some(text_of(directive)),
                "closed" => self.closed = Some(text_of(directive)),
                "id" => self.id.push((words[1].clone(), words[2..].join(" "))),
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
        } else if let Some(session) = line.strip_prefix("TLS") {
            Step::Secured { session: session.parse().unwrap_or(1) }
        } else if let Some(session) = line.strip_prefix("eof") {
            Step::Ended { session: session.parse().unwrap_or(1) }
        } else if let Some(rest) = line.strip_prefix("C* ") {
            let (times, text) = rest.split_once(' ').unwrap_or_else(|| panic!("{place}: how many of what?"));
            Step::Send { session: 1, octets: unescape(text).repeat(times.parse().unwrap()) }
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
        if !self.id.is_empty() {
            config.id_fields = ServerId::new(self.id.iter().cloned()).unwrap();
        }
        for setting in &self.settings {
            match setting.as_str() {
                "literal-minus" => config.literal_mode = LiteralMode::Minus,
                "login-disabled" => config.login_disabled = true,
                "allow-plaintext" => config.allow_plaintext = true,
                "no-tls" => config.tls_mode = TlsMode::No,
                "tls-required" => config.tls_mode = TlsMode::Required,
                "tls-connection" => config.tls_mode = TlsMode::Connection,
                "no-timeouts" => {
                    (config.timeouts.login, config.timeouts.idle, config.timeouts.heartbeat) = (None, None, None);
                }
                "zero-timeouts" => {
                    let zero = Some(Duration::ZERO);
                    (config.timeouts.login, config.timeouts.idle, config.timeouts.heartbeat) = (zero, zero, zero);
                }
                "short-timeouts" => {
                    config.timeouts.login = Some(Duration::from_secs(5));
                    config.timeouts.idle = Some(Duration::from_secs(60));
                    config.timeouts.heartbeat = Some(Duration::from_secs(20));
                }
                "append-limit-100" => config.append_limit = Some(100),
                "append-limit-none" => config.append_limit = None,
                "client-certificate" | "channel-binding" => {}
                "no-id" => config.id_fields = ServerId::default(),
                "discard-1000" => config.limits.frame_after_login.discard = 1000,
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
                ["token", user, token] => builder.token(*user, *token),
                ["scope", scope] => builder.token_refusal(TokenRefusal::new().scope(*scope)),
                ["secret", user, secret] => builder.shared_secret(*user, *secret),
                ["anonymous", user] => builder.anonymous(*user),
                ["certificate", user, certificate] => builder.certificate(*user, *certificate),
                ["act-as", user, other] => builder.may_act_as(*user, *other),
                ["quota", octets] => builder.quota(octets.parse().unwrap()),
                ["append-limit", octets] => builder.append_limit(octets.parse().unwrap()),
                ["keywords", count] => builder.max_keywords(count.parse().unwrap()),
                ["shared", name] => builder.shared(*name),
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
        self.run(cut, false, None)
    }

    /// As [`play`](Self::play), over a backend that offers nothing but what it must for reading.
    pub fn play_plain(&self) -> BTreeMap<usize, Vec<u8>> {
        self.run(&Cut::Whole, true, None)
    }

    /// Writes the file again with what the sessions say in place of lines that do not fit. What it writes is to be read
    /// against the standard.
    pub fn record(&self) {
        let mut record = Vec::new();
        self.run(&Cut::Whole, false, Some(&mut record));
        std::fs::write(&self.path, record.join("\n") + "\n").unwrap();
    }

    fn run(&self, cut: &Cut, plain: bool, mut record: Option<&mut Vec<String>>) -> BTreeMap<usize, Vec<u8>> {
        let backend = self.backend();
        let mut sessions: BTreeMap<usize, Player> = BTreeMap::new();
        let mut random = match cut {
            Cut::Seed(seed) => *seed,
            _ => 1,
        };
        let mut copied = 0;
        for (index, (number, step)) in self.steps.iter().enumerate() {
            let place = format!("{}.txt:{number}", self.name);
            if let Some(record) = &mut record {
                for line in &self.lines[copied..*number - 1] {
                    record.push(line.clone());
                }
                copied = *number;
                if !matches!(step, Step::Expect { .. }) {
                    record.push(self.lines[*number - 1].clone());
                }
            }
            let session = match step {
                Step::Send { session, .. }
                | Step::Expect { session, .. }
                | Step::Closed { session }
                | Step::Secured { session }
                | Step::Ended { session } => Some(*session),
                Step::Elsewhere(_) | Step::Wait(_) => None,
            };
            if let Some(session) = session {
                let greets = matches!(step, Step::Expect { .. });
                sessions.entry(session).or_insert_with(|| {
                    let mut player = self.player(&backend, plain);
                    let greeting = player.client.drive();
                    if greets {
                        player.hears(greeting);
                    }
                    player
                });
            }
            let named = |session: Option<usize>| session.and_then(|session| sessions.get(&session));
            if let (Step::Send { .. } | Step::Closed { .. } | Step::Secured { .. }, Some(player)) =
                (step, named(session))
            {
                let waiting = player.waiting.escape_ascii().to_string();
                assert!(waiting.is_empty(), "{place}: the server has said {waiting:?}");
            }
            match step {
                Step::Send { octets, .. } => {
                    let player = sessions.get_mut(&session.unwrap()).unwrap();
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
                        let said = player.client.send(piece);
                        player.hears(said);
                    }
                }
                Step::Elsewhere(words) => elsewhere(&backend, &mut sessions, words, &place),
                Step::Wait(time) => {
                    for player in sessions.values_mut() {
                        let said = player.client.wait(*time);
                        player.hears(said);
                    }
                }
                Step::Secured { .. } => {
                    let player = sessions.get_mut(&session.unwrap()).unwrap();
                    assert_eq!(player.client.next, Some(Next::Upgrade(Layer::Tls)), "{place}: TLS was not asked for");
                    assert!(player.client.conversation.read_buf().is_none(), "{place}: input is taken before TLS");
                    let said = player.client.upgrade(self.tls());
                    player.hears(said);
                }
                Step::Ended { .. } => {
                    let player = sessions.get_mut(&session.unwrap()).unwrap();
                    let said = player.client.finish();
                    player.hears(said);
                }
                Step::Expect { line, .. } if record.is_none() => {
                    let player = sessions.get_mut(&session.unwrap()).unwrap();
                    let Some(found) = player.line() else {
                        let waiting = player.waiting.escape_ascii().to_string();
                        panic!("{place}: expected {line:?}, and there is {waiting:?}")
                    };
                    let then = player.waiting.escape_ascii();
                    assert!(
                        fits(line, &found),
                        "{place}:\n expected {line}\n but got  {}\n and then {then}",
                        found.escape_ascii(),
                    );
                }
                Step::Closed { .. } => {
                    let player = &sessions[&session.unwrap()];
                    assert!(player.client.closed(), "{place}: not closed");
                }
                Step::Expect { .. } => {}
            }
            // What happened is seen by the others, too.
            for player in sessions.values_mut() {
                let said = player.client.drive();
                player.hears(said);
            }
            if let Some(record) = &mut record {
                let mut expected: Vec<(usize, &str)> = Vec::new();
                for (_, step) in &self.steps[index + 1..] {
                    let Step::Expect { session, line } = step else { break };
                    expected.push((*session, line));
                }
                for (session, player) in &mut sessions {
                    while let Some(line) = player.line() {
                        let known =
                            expected.iter().position(|(whose, expected)| whose == session && fits(expected, &line));
                        let text = match known {
                            Some(known) => expected.remove(known).1.to_owned(),
                            None => escape(&line),
                        };
                        let who = if *session == 1 { String::new() } else { session.to_string() };
                        record.push(format!("S{who}: {text}"));
                    }
                }
            }
        }
        if let Some(record) = &mut record {
            record.extend(self.lines[copied..].iter().cloned());
        }
        for (session, player) in &sessions {
            let waiting = player.waiting.escape_ascii().to_string();
            assert!(waiting.is_empty(), "{}: session {session} has more: {waiting}", self.name);
        }
        sessions.into_iter().map(|(session, player)| (session, player.said)).collect()
    }

    /// What the handshake tells.
    fn tls(&self) -> TlsInfo {
        let mut tls = TlsInfo::default();
        tls.version = "TLSv1.3".into();
        if self.settings.iter().any(|setting| setting == "client-certificate") {
            tls.client_certificates.push(b"certificate-of-alice".to_vec().into());
        }
        if self.settings.iter().any(|setting| setting == "channel-binding") {
            tls.exporter = Some(ChannelBinding::new(b"exported keying material"));
        }
        tls
    }

    fn player(&self, backend: &MemoryBackend, plain: bool) -> Player {
        let mut connection = if self.protected { secure_connection() } else { Connection::new(SessionId::new(1)) };
        connection.tls = self.encrypted.then(|| Arc::new(self.tls()));
        connection.preauth = self.preauth.clone().map(Identity::new);
        connection.preauth_only = self.preauth_only;
        connection.notice = self.notice.clone().map(Arc::from);
        connection.closed = self.closed.clone().map(Arc::from);
        let backend: Arc<dyn Backend> =
            if plain { Arc::new(Plain(backend.clone())) } else { Arc::new(backend.clone()) };
        let now = Instant::now();
        let service = ImapService::new(backend, self.config(), env());
        let client = Client::of(service.connect(connection, now), now);
        Player { client, waiting: Vec::new(), said: Vec::new() }
    }
}

/// One client of a dialogue.
pub struct Player {
    pub client: Client,
    /// What the server has said and no line has named.
    waiting: Vec<u8>,
    /// All that the server has said, without a greeting that was skipped.
    said: Vec<u8>,
}

impl Player {
    fn hears(&mut self, said: Vec<u8>) {
        self.waiting.extend_from_slice(&said);
        self.said.extend(said);
    }

    /// The next line, without its end.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.waiting.windows(2).position(|pair| pair == b"\r\n")?;
        let mut line: Vec<u8> = self.waiting.drain(..end + 2).collect();
        line.truncate(end);
        Some(line)
    }
}

/// The reverse of [`unescape`].
fn escape(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(text) if !text.contains(|octet: char| octet.is_control()) => text.to_owned(),
        _ => line
            .iter()
            .map(|octet| match octet {
                b' '..=b'~' => char::from(*octet).to_string(),
                b'\r' => "\\\\r".to_owned(),
                b'\n' => "\\\\n".to_owned(),
                b'\0' => "\\\\0".to_owned(),
                octet => format!("\\\\x{octet:02x}"),
            })
            .collect(),
    }
}

/// What a directive has after its name, with octets escaped as in the lines of clients.
fn text_of(directive: &str) -> String {
    let text = directive.split_once(' ').map_or("", |(_, text)| text);
    String::from_utf8(unescape(text)).unwrap()
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
