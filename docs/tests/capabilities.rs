//! The README's tables of capabilities are what sessions answer: no word too many, none too few.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests, and their helpers")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use async_trait::async_trait;
use pillarbox_imap_proto::{ImapService, LiteralMode};
use pillarbox_pop3_proto::Pop3Service;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{Account, Authenticator, Backend, Policies, Questions, Result};
use pillarbox_proto_core::connection::{ChannelBinding, SessionId, TlsInfo, TlsMode};
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::memory::MemoryBackend;
use pillarbox_proto_core::{Connection, Conversation};
use support::{quoted, read, table};

/// A memory backend that answers the questions that it is told to.
struct Asked {
    store: MemoryBackend,
    questions: Questions,
}

#[async_trait]
impl Authenticator for Asked {
    fn questions(&self) -> Questions {
        self.questions
    }

    async fn check_password(&self, connection: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        self.store.check_password(connection, user, password).await
    }
}

#[async_trait]
impl Backend for Asked {
    async fn open(&self, connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        self.store.open(connection, who).await
    }

    async fn policies(&self, connection: &Connection) -> Policies {
        self.store.policies(connection).await
    }
}

fn backend(everything: bool) -> Arc<Asked> {
    let mut questions = Questions::default();
    questions.scram_sha256 = everything;
    questions.scram_sha1 = everything;
    questions.token = everything;
    questions.certificate = everything;
    questions.shared_secret = everything;
    questions.cram_md5 = everything;
    questions.anonymous = everything;
    let store = MemoryBackend::builder().user("ada", "secret").login_delay(60).build().unwrap();
    Arc::new(Asked { store, questions })
}

fn tls() -> Arc<TlsInfo> {
    let mut info = TlsInfo::default();
    info.exporter = Some(ChannelBinding::new(b"binding"));
    info.client_certificates = vec![vec![1].into()];
    Arc::new(info)
}

/// What a conversation answers to these lines; it is under TLS when they come, if that is asked.
fn ask(mut client: impl Conversation, lines: &str) -> String {
    let now = Instant::now();
    let mut cx = Context::from_waker(Waker::noop());
    let _ = client.poll_next(&mut cx, now);
    client.output().take();
    client.read_buf().unwrap().extend_from_slice(lines.as_bytes());
    client.handle_read(now);
    let _ = client.poll_next(&mut cx, now);
    String::from_utf8(client.output().take().to_vec()).unwrap()
}

const MODES: [TlsMode; 4] = [TlsMode::No, TlsMode::OnDemand, TlsMode::Required, TlsMode::Connection];

/// All words that are shown before and after login, over all connections and configurations.
#[derive(Debug, Default)]
struct Shown {
    before: BTreeSet<String>,
    after: BTreeSet<String>,
}

fn connections() -> impl Iterator<Item = Connection> {
    let mut secured = Connection::new(SessionId::new(1));
    secured.externally_secured = true;
    let mut encrypted = Connection::new(SessionId::new(1));
    encrypted.tls = Some(tls());
    [Connection::new(SessionId::new(1)), secured, encrypted].into_iter()
}

fn imap() -> Shown {
    let mut shown = Shown::default();
    for connection in connections() {
        for mode in MODES {
            for bits in 0..16_u8 {
                let mut config = pillarbox_imap_proto::Config::default();
                config.tls_mode = mode;
                config.allow_plaintext = bits & 1 > 0;
                config.literal_mode = if bits & 2 > 0 { LiteralMode::Plus } else { LiteralMode::Minus };
                config.login_disabled = bits & 4 > 0;
                let service = ImapService::new(backend(bits & 8 > 0), config, Arc::new(SystemEnv));
                let client = service.connect(connection.clone(), Instant::now());
                shown.before.extend(words(&ask(client, "a CAPABILITY\r\n")));
                // Where TLS is required first, nobody is known beforehand.
                if mode == TlsMode::Required && !connection.is_secure() {
                    continue;
                }
                let client = service.connect_as(Identity::new("ada"), connection.clone(), Instant::now());
                shown.after.extend(words(&ask(client, "a CAPABILITY\r\n")));
            }
        }
    }
    shown
}

/// The words of a CAPABILITY response; a value that varies is left out.
fn words(said: &str) -> Vec<String> {
    let line = said.lines().find_map(|line| line.strip_prefix("* CAPABILITY ")).expect("a response");
    let word = |word: &str| match word.strip_prefix("APPENDLIMIT=") {
        Some(_) => "APPENDLIMIT=".to_owned(),
        None => word.to_owned(),
    };
    line.split(' ').map(word).collect()
}

fn pop3() -> Shown {
    let mut shown = Shown::default();
    for connection in connections() {
        for mode in MODES {
            for bits in 0..4_u8 {
                let mut config = pillarbox_pop3_proto::Config::default();
                config.tls_mode = mode;
                config.allow_plaintext = bits & 1 > 0;
                let service = Pop3Service::new(backend(bits & 2 > 0), config, Arc::new(SystemEnv));
                let client = service.connect(connection.clone(), Instant::now());
                shown.before.extend(tags(&ask(client, "CAPA\r\n")));
                let client = service.connect(connection.clone(), Instant::now());
                let said = ask(client, "USER ada\r\nPASS secret\r\nCAPA\r\n");
                let replies: Vec<&str> = said.splitn(3, "\r\n").collect();
                if replies[1].starts_with("+OK") {
                    shown.after.extend(tags(replies[2]));
                }
            }
        }
    }
    shown
}

fn tags(said: &str) -> Vec<String> {
    let list = said.lines().skip(1).take_while(|line| *line != ".");
    list.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// What the table says.
fn told(heading: &str) -> Shown {
    let mut shown = Shown::default();
    for row in table(&read("README.md"), heading) {
        let words = quoted(&row[0]);
        assert!(!words.is_empty(), "{row:?}");
        let (before, after) = match row[2].split([',', ';']).next().unwrap() {
            "always" => (true, true),
            "before login" => (true, false),
            "after login" => (false, true),
            other => panic!("when is {other:?}?"),
        };
        for word in words {
            if before {
                assert!(shown.before.insert(word.clone()), "{word} stands twice");
            }
            if after {
                assert!(shown.after.insert(word.clone()), "{word} stands twice");
            }
        }
    }
    shown
}

fn compare(heading: &str, shown: &Shown) {
    let told = told(heading);
    assert_eq!(told.before, shown.before, "before login");
    assert_eq!(told.after, shown.after, "after login");
}

#[test]
fn imap_shows_what_the_table_says() {
    compare("### IMAP", &imap());
}

#[test]
fn pop3_shows_what_the_table_says() {
    compare("### POP3", &pop3());
}

#[test]
fn what_is_not_supported_is_not_shown() {
    let readme = read("README.md");
    let list = readme.split_once("\n### Not supported yet\n").unwrap().1.split("\n## ").next().unwrap();
    let missing: BTreeSet<String> = quoted(list).into_iter().collect();
    assert!(missing.len() > 40, "{missing:?}");
    for shown in [imap(), pop3()] {
        for word in shown.before.union(&shown.after) {
            assert!(!missing.contains(word), "{word} is shown, and the README says that it is not supported");
        }
    }
}
