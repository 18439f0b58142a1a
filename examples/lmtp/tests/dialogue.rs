//! Dialogues over a store in memory, without a socket.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test that can not go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use pillarbox_example_lmtp::{Config, LmtpConversation, LmtpService, Users};
use pillarbox_proto_core::Conversation;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::connection::{Connection, SessionId, TlsInfo, TlsMode};
use pillarbox_proto_core::conversation::{Control, Layer, Next, Upgraded};
use pillarbox_proto_core::env::VirtualEnv;
use pillarbox_proto_core::memory::{Call, MemoryBackend, Outcome};
use proptest::prelude::*;

struct Client {
    conversation: LmtpConversation,
    now: Instant,
    ended: Option<Next>,
}

impl Client {
    fn new(backend: &MemoryBackend, config: Config) -> Self {
        Self::with(backend, config, Connection::new(SessionId::new(1)))
    }

    fn with(backend: &MemoryBackend, config: Config, connection: Connection) -> Self {
        let env = VirtualEnv::new(SystemTime::UNIX_EPOCH, 0);
        let users = Users::new(Arc::new(backend.clone()));
        let service = LmtpService::new(Arc::new(users), config, Arc::new(env));
        let now = Instant::now();
        Self { conversation: service.connect(connection, now), now, ended: None }
    }

    /// What is answered until there is nothing more to do.
    fn hear(&mut self) -> String {
        let mut text = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..1000 {
            let polled = self.conversation.poll_next(&mut cx, self.now);
            let output = self.conversation.output().take();
            text.extend_from_slice(&output);
            if let Poll::Ready(next) = polled {
                self.ended = Some(next);
                break;
            }
            // Pending with input wanted: nothing more comes of what there is.
            if output.is_empty() && self.conversation.read_buf().is_some() {
                break;
            }
        }
        String::from_utf8(text).unwrap()
    }

    fn give(&mut self, bytes: &[u8]) -> bool {
        let Some(buffer) = self.conversation.read_buf() else { return false };
        buffer.extend_from_slice(bytes);
        self.conversation.handle_read(self.now);
        true
    }

    fn say(&mut self, text: &str) -> String {
        assert!(self.give(text.as_bytes()));
        self.hear()
    }
}

fn two_users() -> MemoryBackend {
    MemoryBackend::builder()
        .user("ada", "a")
        .mailbox("ada", "INBOX")
        .user("bob", "b")
        .mailbox("bob", "INBOX")
        .build()
        .unwrap()
}

fn messages(backend: &MemoryBackend, user: &str) -> Vec<String> {
    let all = backend.messages(user, "INBOX").unwrap();
    all.iter().map(|message| String::from_utf8(message.content.to_vec()).unwrap()).collect()
}

const MESSAGE: &str = "Subject: tea\r\n\r\n..and milk\r\n.\r\n";

#[test]
fn each_recipient_has_an_answer() {
    let backend = two_users();
    let mut client = Client::new(&backend, Config::default());
    assert_eq!(client.hear(), "220 localhost LMTP\r\n");
    let hello = client.say("LHLO mx.example.org\r\n");
    assert!(hello.starts_with("250-localhost\r\n250-PIPELINING\r\n"), "{hello}");
    assert!(hello.ends_with("250 SIZE 67108864\r\n") && !hello.contains("STARTTLS"), "{hello}");
    let answers = client.say(
        "MAIL FROM:<eve@example.org>\r\nRCPT TO:<ada@example.org>\r\nRCPT TO:<nobody@example.org>\r\n\
         RCPT TO:<bob+list@example.org>\r\nDATA\r\n",
    );
    let codes: Vec<_> = answers.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "550", "250", "354"], "{answers}");
    assert_eq!(client.say(MESSAGE), "250 2.1.5 Delivered\r\n250 2.1.5 Delivered\r\n");
    assert_eq!(client.say("QUIT\r\n"), "221 2.0.0 Bye\r\n");
    assert_eq!(client.ended, Some(Next::Close));
    let expected = "Return-Path: <eve@example.org>\r\nDelivered-To: ada@example.org\r\n\
        Received: from mx.example.org\r\n\tby localhost with LMTP id 00000001;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n\
        Subject: tea\r\n\r\n.and milk\r\n";
    assert_eq!(messages(&backend, "ada"), [expected]);
    assert_eq!(messages(&backend, "bob").len(), 1);
}

#[test]
fn quotes_of_a_local_part_are_kept_in_the_header_and_no_part_of_a_name() {
    for (from, to, return_path) in [
        (r#""a b"@example.org"#, r#""ada"@example.org"#, r#""a b"@example.org"#),
        (r#""a\"b\\ > <c"@example.org"#, r#""ad\a"@example.org"#, r#""a\"b\\ > <c"@example.org"#),
        (r#"@relay.example:"a@b"@example.org"#, r#"@x.example:"ada"@example.org"#, r#""a@b"@example.org"#),
        ("eve@example.org", "ada@example.org", "eve@example.org"),
    ] {
        let backend = two_users();
        let mut client = Client::new(&backend, Config::default());
        client.hear();
        let answers = client.say(&format!("LHLO x\r\nMAIL FROM:<{from}>\r\nRCPT TO:<{to}>\r\nDATA\r\n"));
        assert!(answers.contains("\r\n354 "), "{from}: {answers}");
        assert_eq!(client.say(MESSAGE), "250 2.1.5 Delivered\r\n");
        let to = to.strip_prefix("@x.example:").unwrap_or(to);
        let wanted = format!("Return-Path: <{return_path}>\r\nDelivered-To: {to}\r\nReceived: from x\r\n");
        let kept = messages(&backend, "ada");
        assert!(kept[0].starts_with(&wanted), "{}", kept[0]);
    }
}

#[test]
fn what_one_cannot_take_is_no_obstacle_to_others() {
    let backend = two_users();
    let commits = AtomicUsize::new(0);
    backend.hook(move |call| match call {
        Call::Commit if commits.fetch_add(1, Ordering::Relaxed) == 0 => Outcome::fail(Error::OverQuota),
        _ => Outcome::proceed(),
    });
    let mut client = Client::new(&backend, Config::default());
    client.hear();
    client.say("LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ada>\r\nRCPT TO:<bob>\r\nDATA\r\n");
    assert_eq!(client.say(MESSAGE), "452 4.2.2 The mailbox is full\r\n250 2.1.5 Delivered\r\n");
    backend.unhook();
    assert!(messages(&backend, "ada").is_empty());
    assert!(messages(&backend, "bob")[0].starts_with("Return-Path: <>\r\nDelivered-To: bob\r\n"));
}

#[test]
fn order_is_kept() {
    let backend = two_users();
    let mut client = Client::new(&backend, Config::default());
    client.hear();
    for (line, code) in [
        ("MAIL FROM:<a@example.org>", "503"),
        ("DATA", "503"),
        ("RCPT TO:<ada>", "503"),
        ("STARTTLS", "502"),
        ("LHLO x", "250"),
        ("DATA", "503"),
        ("MAIL FROM:<a@example.org>", "250"),
        ("MAIL FROM:<a@example.org>", "503"),
        ("DATA", "503"),
        ("RSET", "250"),
        ("RCPT TO:<ada>", "503"),
        ("MAIL FROM:<a@example.org> SIZE=99999999999", "552"),
        ("VRFY ada", "252"),
    ] {
        let answer = client.say(&format!("{line}\r\n"));
        assert!(answer.starts_with(code), "{line}: {answer}");
    }
    assert!(client.ended.is_none());
}

#[test]
fn too_large_a_message_is_refused_and_read_to_its_end() {
    let backend = two_users();
    let mut config = Config::default();
    config.max_message_size = 100;
    let mut client = Client::new(&backend, config);
    client.hear();
    client.say("LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ada>\r\nDATA\r\n");
    for _ in 0..100 {
        assert_eq!(client.say("0123456789\r\n"), "");
    }
    assert_eq!(client.say(".\r\nNOOP\r\n"), "552 5.3.4 The message is too large\r\n250 2.0.0 Fine\r\n");
    assert!(messages(&backend, "ada").is_empty());
}

#[test]
fn a_message_without_its_end_is_not_delivered() {
    let backend = two_users();
    let mut client = Client::new(&backend, Config::default());
    client.hear();
    client.say("LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ada>\r\nDATA\r\n");
    client.say("Subject: x\r\n\r\nhalf");
    client.conversation.handle_eof(client.now);
    assert_eq!(client.hear(), "");
    assert_eq!(client.ended, Some(Next::Close));
    assert!(messages(&backend, "ada").is_empty());
}

#[test]
fn the_server_ends_it() {
    let backend = two_users();
    let mut client = Client::new(&backend, Config::default());
    client.hear();
    client.conversation.handle_control(Control::Shutdown { text: "down\r\nfor work".into() }, client.now);
    assert_eq!(client.hear(), "421 4.3.2 down  for work\r\n");
    assert_eq!(client.ended, Some(Next::Close));

    let mut connection = Connection::new(SessionId::new(2));
    connection.closed = Some("come later".into());
    let mut client = Client::with(&backend, Config::default(), connection);
    assert_eq!(client.hear(), "421 4.3.2 come later\r\n");
    assert_eq!(client.ended, Some(Next::Close));

    let mut client = Client::new(&backend, Config::default());
    client.hear();
    client.now += Duration::from_secs(301);
    assert_eq!(client.conversation.deadline(), Some(client.now - Duration::from_secs(1)));
    client.conversation.handle_deadline(client.now);
    assert!(client.hear().starts_with("421 "));

    let mut client = Client::new(&backend, Config::default());
    client.hear();
    let answers = client.say(&"WHAT\r\n".repeat(20));
    assert_eq!(answers.lines().count(), 11, "{answers}");
    assert_eq!(client.ended, Some(Next::Close));
}

#[test]
fn a_shutdown_waits_for_the_message() {
    let backend = two_users();
    let mut client = Client::new(&backend, Config::default());
    client.hear();
    client.say("LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ada>\r\nDATA\r\nSubject: x\r\n");
    client.conversation.handle_control(Control::Shutdown { text: "bye".into() }, client.now);
    assert_eq!(client.hear(), "");
    assert_eq!(client.say("\r\n.\r\n"), "250 2.1.5 Delivered\r\n421 4.3.2 bye\r\n");
}

#[test]
fn nothing_said_before_tls_counts() {
    let mut config = Config::default();
    config.tls_mode = TlsMode::Required;
    let mut client = Client::new(&two_users(), config);
    client.hear();
    assert!(client.say("LHLO x\r\n").contains("250-STARTTLS\r\n"));
    assert!(client.say("MAIL FROM:<>\r\n").starts_with("530 5.7.0 "));
    assert_eq!(client.say("STARTTLS\r\nMAIL FROM:<>\r\n"), "220 2.0.0 Begin TLS\r\n");
    assert_eq!(client.ended.take(), Some(Next::Upgrade(Layer::Tls)));
    assert!(client.conversation.read_buf().is_none());
    client.conversation.upgraded(Upgraded::Tls(Arc::new(TlsInfo::default())), client.now);
    assert_eq!(client.hear(), "");
    assert!(client.say("MAIL FROM:<>\r\n").starts_with("503 "));
    assert!(!client.say("LHLO x\r\n").contains("STARTTLS"));
    assert!(client.say("MAIL FROM:<>\r\n").starts_with("250 "));
    assert!(client.say("STARTTLS\r\n").starts_with("503 "));
}

/// Everything that is answered when the input comes in pieces of these sizes.
fn replay(wire: &[u8], sizes: &[usize]) -> (String, Vec<String>) {
    let backend = two_users();
    let mut client = Client::new(&backend, Config::default());
    let mut text = client.hear();
    let (mut at, mut sizes) = (0, sizes.iter().copied().cycle());
    while at < wire.len() && client.ended.is_none() {
        let next = (at + sizes.next().unwrap_or(1)).min(wire.len());
        if client.give(&wire[at..next]) {
            at = next;
        }
        text.push_str(&client.hear());
    }
    if client.ended.is_none() {
        client.conversation.handle_eof(client.now);
        text.push_str(&client.hear());
    }
    assert!(client.ended.is_some());
    (text, messages(&backend, "ada"))
}

const LINES: [&str; 12] = [
    "LHLO x\r\n",
    "MAIL FROM:<a@example.org> BODY=8BITMIME\r\n",
    "RCPT TO:<ada>\r\n",
    "RCPT TO:<\"ada\">\r\n",
    "DATA\r\n",
    "..\r\n",
    ".\r\n",
    "text\r\n",
    "NOOP\n",
    "RSET\r\n",
    "\u{fc}\r\n",
    "QUIT\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn cuts_make_no_difference(
        picks in prop::collection::vec(0_usize..LINES.len(), 1..30),
        sizes in prop::collection::vec(1_usize..20, 1..6),
    ) {
        let usual = "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ada>\r\nDATA\r\nhello\r\n.\r\n".to_owned();
        let wire = picks.iter().map(|&pick| LINES[pick]).fold(usual, |text, line| text + line);
        prop_assert_eq!(replay(wire.as_bytes(), &sizes), replay(wire.as_bytes(), &[wire.len()]));
    }

    #[test]
    fn no_input_breaks_it(wire in prop::collection::vec(any::<u8>(), 0..5000)) {
        replay(&wire, &[1024]);
    }
}

#[test]
fn too_long_a_line_is_one_bad_command() {
    let wire = format!("{}\r\nNOOP\r\n", "x".repeat(100_000));
    for sizes in [[1000], [200_000], [60_000]] {
        let (text, _) = replay(wire.as_bytes(), &sizes);
        assert_eq!(text, "220 localhost LMTP\r\n500 5.5.2 The line is too long\r\n250 2.0.0 Fine\r\n");
    }
}
