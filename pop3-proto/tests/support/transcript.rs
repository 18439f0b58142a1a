//! Dialogues in files.
//!
//! | line | meaning |
//! |---|---|
//! | `# text` | a remark |
//! | `! word ...` | the world: before the first other line how it is, later what happens to it; see [`Action`] |
//! | `M: text` | a line of the message that the last `! message` began |
//! | `C: text` | the client sends this line and CRLF; `\xHH` stands for an octet |
//! | `S: text` | the server sends this line and CRLF; `\xHH` stands for an octet |
//! | `X: word` | what the server asks of the socket's owner then: `close`, `abort`, `upgrade`, or `open` for nothing |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pillarbox_pop3_proto::Config;
use pillarbox_proto_core::auth::TokenRefusal;
use pillarbox_proto_core::backend::{Backend, Error};
use pillarbox_proto_core::connection::{ChannelBinding, Connection, SessionId, TlsInfo, TlsMode};
use pillarbox_proto_core::conversation::{Control, Conversation, Layer, Next};
use pillarbox_proto_core::mail::SystemFlags;
use pillarbox_proto_core::memory::{Builder, Call, MemoryBackend, Outcome};

use super::Client;

pub struct Transcript {
    pub path: PathBuf,
    world: Vec<Vec<String>>,
    messages: Vec<String>,
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
                    "message" => transcript.messages.push(String::new()),
                    _ if transcript.steps.is_empty() => transcript.world.push(words),
                    _ => transcript.steps.push(Step::Act(words)),
                }
            }
            "M:" => {
                let message = transcript.messages.last_mut().unwrap_or_else(|| panic!("{place}: no message begins"));
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
    client: Client,
    others: Vec<Client>,
}

impl Stage {
    fn new(transcript: &Transcript) -> Self {
        let mut builder: Builder = MemoryBackend::builder()
            .env(super::env())
            .user("tim", "tanstaaf")
            .user("mrose", "tanstaaf")
            .certificate("fred", *b"a certificate")
            .may_act_as("tim", "mrose");
        for message in &transcript.messages {
            builder = builder.message("tim", "INBOX", SystemFlags::default(), message.clone());
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
                ["token", user, token] => builder = builder.token(user, token),
                ["scope", scope] => builder = builder.token_refusal(TokenRefusal::new().scope(scope)),
                ["secret", user, secret] => builder = builder.shared_secret(user, secret),
                ["anonymous", user] => builder = builder.anonymous(user),
                ["plaintext", "no"] => config.allow_plaintext = false,
                ["read-only"] => builder = builder.read_only("tim", "INBOX"),
                _ => hidden.push(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()),
            }
        }
        let backend = builder.build().unwrap();
        let shared: Arc<dyn Backend> = Arc::new(backend.clone());
        let client = Client::connect_as(shared, config.clone(), connection);
        let mut stage = Self { backend, config, client, others: Vec::new() };
        hidden.iter().for_each(|words| stage.act(words));
        stage
    }

    /// What happens to the world.
    fn act(&mut self, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            // The client is done with sending.
            ["eof"] => self.client.conversation.handle_eof(self.client.now),
            ["handshake"] => self.client.secure(),
            ["wait", seconds] => self.client.pass(seconds.parse().unwrap()),
            ["shutdown", ..] => {
                let text = words[1..].join(" ").into();
                self.client.conversation.handle_control(Control::Shutdown { text }, self.client.now);
            }
            ["kick", ..] => {
                let text = words[1..].join(" ").into();
                self.client.conversation.handle_control(Control::Kick { text }, self.client.now);
            }
            // Another program removes a message from Tim's mailbox.
            ["removed", uid] => {
                let uid = pillarbox_proto_core::mail::Uid::new(uid.parse().unwrap()).unwrap();
                self.backend.expunge("tim", "INBOX", uid).unwrap();
            }
            ["delivered"] => {
                self.backend.deliver("tim", "INBOX", "Subject: new\r\n\r\nnew\r\n").unwrap();
            }
            // Another session of this user has the maildrop.
            ["held", user] => {
                let mut other = Client::connect(Arc::new(self.backend.clone()), self.config.clone());
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
