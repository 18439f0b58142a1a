//! Dialogues in files.
//!
//! | line | meaning |
//! |---|---|
//! | `# text` | a remark |
//! | `! word ...` | the world: before the first other line how it is, later what happens to it; see [`Action`] |
//! | `! message word ...` | a message in Tim's mailbox: `deleted`, or `stamp=text` of its first retrieval |
//! | `M: text` | a line of the message that the last `! message` began |
//! | `C: text` | the client sends this line and CRLF; `\xHH` stands for an octet |
//! | `S: text` | the server sends this line and CRLF; `\xHH` stands for an octet |
//! | `X: word` | what the server asks of the socket's owner then: `close`, `abort`, `upgrade`, or `open` for nothing |

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pillarbox_pop3_proto::{Config, Internationalized};
use pillarbox_proto_core::Env;
use pillarbox_proto_core::auth::{Identity, TokenRefusal};
use pillarbox_proto_core::backend::{Backend, Error, Expiry, StoreOp};
use pillarbox_proto_core::connection::{ChannelBinding, Connection, SessionId, TlsInfo, TlsMode};
use pillarbox_proto_core::conversation::{Control, Conversation, Layer, Next};
use pillarbox_proto_core::env::VirtualEnv;
use pillarbox_proto_core::mail::{SystemFlags, Uid};
use pillarbox_proto_core::memory::{Builder, Call, MemoryBackend, NewMessage, Outcome};

use super::Client;

pub struct Transcript {
    pub path: PathBuf,
    world: Vec<Vec<String>>,
    messages: Vec<(Vec<String>, String)>,
    steps: Vec<Step>,
}

enum Step {
    Send(Vec<u8>),
    Expect(String),
    Ask(String),
    Act(Vec<String>),
}

/// All transcripts of a folder, in the order of their names.
pub fn load(folder: &Path) -> Vec<Transcript> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths.into_iter().map(parse).collect()
}

fn parse(path: PathBuf) -> Transcript {
    let text = std::fs::read_to_string(&path).unwrap();
    let mut transcript = Transcript { path, world: Vec::new(), messages: Vec::new(), steps: Vec::new() };
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", transcript.path.display(), number + 1);
        let (kind, rest) = line.split_at(line.len().min(2));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match kind {
            "" | "# " | "#" => {}
            "! " => {
                let words: Vec<String> = rest.split(' ').map(str::to_owned).collect();
                match words[0].as_str() {
                    "message" => transcript.messages.push((words[1..].to_vec(), String::new())),
                    _ if transcript.steps.is_empty() => transcript.world.push(words),
                    _ => transcript.steps.push(Step::Act(words)),
                }
            }
            "M:" => {
                let (_, message) =
                    transcript.messages.last_mut().unwrap_or_else(|| panic!("{place}: no message begins"));
                message.push_str(rest);
                message.push_str("\r\n");
            }
            "C:" => transcript.steps.push(Step::Send([unescape(rest), b"\r\n".to_vec()].concat())),
            "S:" => {
                let line = String::from_utf8(unescape(rest)).unwrap();
                transcript.steps.push(Step::Expect(format!("{line}\r\n")));
            }
            "X:" => transcript.steps.push(Step::Ask(rest.to_owned())),
            _ => panic!("{place}: {line:?} is no line of a transcript"),
        }
    }
    transcript
}

fn unescape(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    bytes
}

/// What the operator says; `\xHH` stands for an octet.
fn said(words: &[&str]) -> Arc<str> {
    String::from_utf8(unescape(&words.join(" "))).unwrap().into()
}

/// How the client's octets are cut into reads.
pub enum Cut<'a> {
    /// Each line is sent when it is its turn.
    Lines,
    /// Everything up to the next action goes out at once, in pieces of the sizes that this gives.
    Pieces(&'a mut dyn FnMut() -> usize),
}

/// Plays the transcript, and says where the server did something else.
pub fn play(transcript: &Transcript, mut cut: Cut<'_>) -> Result<(), String> {
    let mut stage = Stage::new(transcript);
    stage.client.settle();
    let mut sent: Vec<u8> = Vec::new();
    let mut expected = String::new();
    let steps = transcript.steps.iter().map(Some).chain([None]);
    for step in steps {
        let boundary = match step {
            Some(Step::Send(_)) => matches!(cut, Cut::Lines) && !expected.is_empty(),
            Some(Step::Expect(_)) => false,
            Some(Step::Ask(_) | Step::Act(_)) | None => true,
        };
        if boundary {
            match &mut cut {
                Cut::Lines => {
                    stage.client.send(&sent);
                }
                Cut::Pieces(size) => {
                    let mut rest = &sent[..];
                    while !rest.is_empty() {
                        let (piece, after) = rest.split_at(size().clamp(1, rest.len()));
                        stage.client.send(piece);
                        rest = after;
                    }
                }
            }
            sent.clear();
            let heard = stage.client.heard();
            if heard != expected {
                return Err(format!("{}:\nexpected {expected:?}\nreceived {heard:?}", transcript.path.display()));
            }
            expected.clear();
        }
        match step {
            Some(Step::Send(bytes)) => sent.extend_from_slice(bytes),
            Some(Step::Expect(line)) => expected.push_str(line),
            Some(Step::Ask(ask)) => {
                let asked = match stage.client.asked {
                    None => "open",
                    Some(Next::Close) => "close",
                    Some(Next::Abort) => "abort",
                    Some(Next::Upgrade(Layer::Tls)) => "upgrade",
                    Some(other) => panic!("{other:?}"),
                };
                if asked != ask {
                    return Err(format!("{}: expected {ask}, not {asked}", transcript.path.display()));
                }
            }
            Some(Step::Act(words)) => stage.act(words),
            None => {}
        }
    }
    Ok(())
}

/// The transcript again, with what the server really says in place of the `S:` and `X:` lines.
pub fn record(transcript: &Transcript) -> String {
    let mut stage = Stage::new(transcript);
    let text = std::fs::read_to_string(&transcript.path).unwrap();
    let mut steps = transcript.steps.iter().filter(|step| matches!(step, Step::Send(_) | Step::Act(_)));
    let mut recorded = String::new();
    let mut started = false;
    let flush = |stage: &mut Stage, recorded: &mut String| {
        stage.client.settle();
        for line in stage.client.heard().split_terminator("\r\n") {
            // A blank at the end would be lost in an editor.
            match line.strip_suffix(' ') {
                Some(line) => recorded.push_str(&format!("S: {line}\\x20\n")),
                None => recorded.push_str(&format!("{}\n", format!("S: {line}").trim_end())),
            }
        }
    };
    for line in text.lines() {
        let plays = line.starts_with("C:") || (started && line.starts_with("! ") && !line.starts_with("! message"));
        if line.starts_with("S:") && !started {
            started = true;
            flush(&mut stage, &mut recorded);
        }
        if line.starts_with("S:") || line.starts_with("X:") {
            continue;
        }
        recorded.push_str(line);
        recorded.push('\n');
        if plays {
            match steps.next() {
                Some(Step::Send(bytes)) => {
                    stage.client.send(bytes);
                }
                Some(Step::Act(words)) => stage.act(words),
                _ => {}
            }
            flush(&mut stage, &mut recorded);
            match stage.client.asked {
                Some(Next::Close) => recorded.push_str("X: close\n"),
                Some(Next::Abort) => recorded.push_str("X: abort\n"),
                Some(Next::Upgrade(_)) => recorded.push_str("X: upgrade\n"),
                _ => {}
            }
        }
    }
    recorded
}

struct Stage {
    backend: MemoryBackend,
    config: Config,
    connection: Connection,
    clock: Arc<VirtualEnv>,
    client: Client,
    others: Vec<Client>,
}

impl Stage {
    fn new(transcript: &Transcript) -> Self {
        let clock = super::clock();
        let mut builder: Builder = MemoryBackend::builder()
            .env(Arc::clone(&clock) as Arc<_>)
            .user("tim", "tanstaaf")
            .user("mrose", "tanstaaf")
            .certificate("fred", *b"a certificate")
            .may_act_as("tim", "mrose");
        for (words, text) in &transcript.messages {
            let mut message = NewMessage::new(text.clone());
            for word in words {
                message = match word.strip_prefix("stamp=") {
                    Some(stamp) => message.expire_stamp(stamp),
                    None if word == "deleted" => message.flags(SystemFlags::DELETED),
                    None => panic!("a message can't be {word}"),
                };
            }
            builder = builder.deliver("tim", "INBOX", message);
        }
        let mut config = Config::default();
        config.host_name = "pop.example.org".into();
        config.implementation = Some("Pillarbox test".into());
        config.allow_plaintext = true;
        let mut connection = Connection::new(SessionId::new(1));
        let mut hidden = Vec::new();
        for words in &transcript.world {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words[..] {
                ["tls", "no"] => config.tls_mode = TlsMode::No,
                ["tls", "ondemand"] => config.tls_mode = TlsMode::OnDemand,
                ["tls", "required"] => config.tls_mode = TlsMode::Required,
                ["tls", "connection"] => {
                    config.tls_mode = TlsMode::Connection;
                    connection.tls = Some(Arc::new(TlsInfo::default()));
                }
                ["binding", name] => {
                    let mut tls = TlsInfo::default();
                    tls.exporter = Some(ChannelBinding::new(name.as_bytes()));
                    connection.tls = Some(Arc::new(tls));
                }
                ["certificate"] => {
                    let mut tls = TlsInfo::default();
                    tls.client_certificates = vec![b"a certificate".to_vec().into()];
                    connection.tls = Some(Arc::new(tls));
                }
                // Something else protects the connection.
                ["secured"] => connection.externally_secured = true,
                ["preauth", user] => connection.preauth = Some(Identity::new(user)),
                ["notice", ..] => connection.notice = Some(words[1..].join(" ").into()),
                // The service is closed to this client.
                ["closed", ..] => connection.closed = Some(said(&words[1..])),
                // So many seconds to log in, and without a command; `none` for no limit.
                ["timeouts", login, idle] => {
                    let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
                    (config.timeouts.login, config.timeouts.idle) = (seconds(login), seconds(idle));
                }
                ["user", user, password] => builder = builder.user(user, password),
                ["refuse-utf8"] => config.internationalized = Internationalized::Refuse,
                ["small-inline"] => config.limits.inline = 1,
                // The languages that are offered, the first of which is preferred.
                ["languages", ..] => {
                    config.languages.retain(|language| words.contains(&language.tag()));
                    config.languages.sort_by_key(|language| words.iter().position(|tag| *tag == language.tag()));
                }
                ["token", user, token] => builder = builder.token(user, token),
                ["scope", scope] => builder = builder.token_refusal(TokenRefusal::new().scope(scope)),
                ["secret", user, secret] => builder = builder.shared_secret(user, secret),
                ["anonymous", user] => builder = builder.anonymous(user),
                ["plaintext", "no"] => config.allow_plaintext = false,
                ["login-delay", seconds] => builder = builder.login_delay(seconds.parse().unwrap()),
                ["login-delay-of", user, seconds] => {
                    builder = builder.login_delay_of(user, seconds.parse().unwrap());
                }
                ["expire", days] => builder = builder.expiry(Expiry::after(days.parse().unwrap())),
                ["expire-delete", days] => builder = builder.expiry(Expiry::after(days.parse().unwrap()).deleting()),
                ["expire-of", user, days] => {
                    builder = builder.expiry_of(user, days.parse().ok().map(Expiry::after));
                }
                ["undelete"] => config.undelete = true,
                ["read-only"] => builder = builder.read_only("tim", "INBOX"),
                _ => hidden.push(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()),
            }
        }
        let backend = builder.build().unwrap();
        let shared: Arc<dyn Backend> = Arc::new(backend.clone());
        let client = Client::connect_at(shared, config.clone(), connection.clone(), Arc::clone(&clock) as Arc<_>);
        let mut stage = Self { backend, config, connection, clock, client, others: Vec::new() };
        hidden.iter().for_each(|words| stage.act(words));
        stage
    }

    fn connect(&self) -> Client {
        let backend = Arc::new(self.backend.clone());
        Client::connect_at(backend, self.config.clone(), self.connection.clone(), Arc::clone(&self.clock) as Arc<_>)
    }

    /// What happens to the world.
    fn act(&mut self, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            // The client is done with sending.
            ["eof"] => self.client.conversation.handle_eof(self.client.now),
            ["handshake"] => self.client.secure(),
            // The connection is lost, if it has not ended, and the client connects again.
            ["again"] => self.client = self.connect(),
            // The clock on the wall goes on, or is set back.
            ["clock", by] => {
                let (sign, seconds) = by.split_at(1);
                let by = Duration::from_secs(seconds.parse().unwrap());
                let now = self.clock.wall_time();
                self.clock.set(if sign == "-" { now - by } else { now + by });
            }
            // The time of the last login as it is recorded for this user.
            ["last-login", user, expected] => {
                let last = self.backend.last_login(user).unwrap();
                assert_eq!(last.map_or("none".to_owned(), |last| last.to_string()), expected, "the last login");
            }
            ["bulletin", number] => {
                let text = format!("Subject: bulletin {number}\r\n\r\nHear, hear.\r\n");
                self.backend.post_bulletin(text);
            }
            // So many bulletins Tim has had, or is made to have had.
            ["had", expected] => assert_eq!(self.backend.bulletins_had("tim").unwrap().to_string(), expected),
            ["has-had", count] => self.backend.set_bulletins_had("tim", count.parse().unwrap()).unwrap(),
            // An IMAP client sets a message's \Deleted, or takes it away.
            ["mark" | "unmark", uid] => {
                let op = if words[0] == "mark" { StoreOp::Add } else { StoreOp::Remove };
                let uid = Uid::new(uid.parse().unwrap()).unwrap();
                self.backend.store_flags("tim", "INBOX", uid, op, SystemFlags::DELETED).unwrap();
            }
            // The stamps of Tim's messages.
            ["stamps", ..] => {
                let stored = self.backend.messages("tim", "INBOX").unwrap();
                let stamps: Vec<String> =
                    stored.iter().map(|message| message.expire_stamp.as_deref().unwrap_or("none").to_owned()).collect();
                assert_eq!(stamps, words[1..], "the stamps");
            }
            // Which of Tim's messages have a flag.
            ["seen" | "deleted", ..] => {
                let flag = if words[0] == "seen" { SystemFlags::SEEN } else { SystemFlags::DELETED };
                let mut stored = self.backend.messages("tim", "INBOX").unwrap();
                stored.retain(|message| message.flags.system.contains(flag));
                let uids: Vec<String> = stored.iter().map(|message| message.uid.to_string()).collect();
                assert_eq!(uids, words[1..], "the messages that have the flag");
            }
            ["wait", seconds] => self.client.pass(seconds.parse().unwrap()),
            ["unavailable", ..] => {
                let text = said(&words[1..]);
                self.client.conversation.handle_control(Control::Unavailable { text }, self.client.now);
            }
            ["shutdown", ..] => {
                let text = said(&words[1..]);
                self.client.conversation.handle_control(Control::Shutdown { text }, self.client.now);
            }
            ["kick", ..] => {
                let text = words[1..].join(" ").into();
                self.client.conversation.handle_control(Control::Kick { text }, self.client.now);
            }
            // Another program removes a message from Tim's mailbox.
            ["removed", uid] => {
                let uid = Uid::new(uid.parse().unwrap()).unwrap();
                self.backend.expunge("tim", "INBOX", uid).unwrap();
            }
            ["delivered"] => {
                self.backend.deliver("tim", "INBOX", "Subject: new\r\n\r\nnew\r\n").unwrap();
            }
            // Another session of this user has the maildrop.
            ["held", user] => {
                let mut other = self.connect();
                other.say(&format!("USER {user}\r\nPASS tanstaaf\r\n"));
                self.others.push(other);
            }
            ["released"] => self.others.clear(),
            ["fails", call, how] => {
                let call = match call {
                    "authenticate" => Call::Authenticate,
                    "account" => Call::OpenAccount,
                    "open" => Call::Open,
                    "fetch" => Call::Fetch,
                    "finish" => Call::Finish,
                    "last-login" => Call::LastLogin,
                    "replace-last-login" => Call::ReplaceLastLogin,
                    "bulletin" => Call::Bulletin,
                    "store" => Call::Store,
                    other => panic!("no call {other}"),
                };
                let unavailable = how == "unavailable";
                self.backend.hook(move |made| match made {
                    made if made != call => Outcome::proceed(),
                    _ if unavailable => Outcome::fail(Error::Unavailable(None)),
                    _ => Outcome::fail(Error::Corrupt(None)),
                });
            }
            // Bulletins fail from this one on.
            ["bulletins-fail-from", number] => {
                let left = AtomicUsize::new(number.parse().unwrap());
                self.backend.hook(move |made| match made {
                    Call::Bulletin if left.fetch_sub(1, Ordering::SeqCst) <= 1 => Outcome::fail(Error::OverQuota),
                    _ => Outcome::proceed(),
                });
            }
            ["mended"] => self.backend.unhook(),
            // Nothing in the backend is ready at once.
            ["slow"] => self.backend.hook(|_| Outcome::proceed().pending(3)),
            // What lies in Tim's mailbox now.
            ["left", ..] => {
                let left = self.backend.messages("tim", "INBOX").unwrap();
                let left: Vec<String> = left.iter().map(|message| message.uid.to_string()).collect();
                assert_eq!(left, words[1..], "the messages that are left");
            }
            _ => panic!("no action {words:?}"),
        }
        self.client.settle();
    }
}
