//! POP3 over real sockets: several sessions, clients that vanish or never read, and STLS.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test that can not go on fails")]

use std::sync::Arc;
use std::time::Duration;

use pillarbox_pop3_proto::{Config, Pop3Service};
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::mail::Flags;
use pillarbox_proto_core::memory::MemoryBackend;
use pillarbox_server_core::tls::{TlsConfig, TlsIdentity};
use pillarbox_server_core::{Listener, Server, ServerHandle};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

struct Place {
    server: ServerHandle,
    store: MemoryBackend,
    certificate: CertificateDer<'static>,
}

const BIG: usize = 4 << 20;

/// A server with the listeners `pop3`, where STLS is possible, and `pop3s`.
fn start() -> Place {
    let store = MemoryBackend::builder()
        .user("ada", "secret")
        .user("bob", "secret")
        .message("ada", "INBOX", Flags::NONE, "Subject: small\r\n\r\nHello\r\n")
        .message("ada", "INBOX", Flags::NONE, format!("Subject: big\r\n\r\n{}\r\n", "x".repeat(BIG)))
        .build()
        .unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = TlsConfig::new().identity(TlsIdentity::new(vec![certificate.clone()], key)).build().unwrap();
    let mut server = Server::new();
    for (name, mode) in [("pop3", TlsMode::OnDemand), ("pop3s", TlsMode::Connection)] {
        let mut config = Config::default();
        config.tls_mode = mode;
        config.allow_plaintext = true;
        let service = Pop3Service::new(Arc::new(store.clone()), config, Arc::new(SystemEnv));
        let listener = Listener::new(name, move |connection| {
            Box::new(service.connect(connection, pillarbox_server_core::now())) as Box<_>
        });
        server = server.listener(listener.address(([127, 0, 0, 1], 0)).tls(mode, tls.clone()));
    }
    Place { server: server.bind().unwrap().start().unwrap(), store, certificate }
}

struct Client<S>(BufReader<S>);

impl Place {
    async fn dial(&self, listener: &str) -> TcpStream {
        TcpStream::connect(self.server.local_addr(listener).unwrap()).await.unwrap()
    }

    async fn connect(&self) -> Client<TcpStream> {
        let mut client = Client(BufReader::new(self.dial("pop3").await));
        assert!(client.line().await.starts_with("+OK"));
        client
    }

    async fn secure(&self, stream: TcpStream) -> Client<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Client(BufReader::new(connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()))
    }

    /// Logs in as soon as the maildrop is free.
    async fn soon(&self, user: &str) -> Client<TcpStream> {
        loop {
            let mut client = self.connect().await;
            match client.login(user).await {
                answer if answer.starts_with("+OK") => return client,
                answer => assert_eq!(answer, "-ERR [IN-USE] Mailbox in use\r\n"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line
    }

    async fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
        self.0.get_mut().flush().await.unwrap();
    }

    async fn ask(&mut self, command: &str) -> String {
        self.say(&format!("{command}\r\n")).await;
        self.line().await
    }

    async fn login(&mut self, user: &str) -> String {
        assert!(self.ask(&format!("USER {user}")).await.starts_with("+OK"));
        self.ask("PASS secret").await
    }
}

#[tokio::test]
async fn one_session_at_a_time_has_the_maildrop() {
    let place = start();
    let mut first = place.soon("ada").await;
    let mut second = place.connect().await;
    assert_eq!(second.login("ada").await, "-ERR [IN-USE] Mailbox in use\r\n");
    assert!(place.connect().await.login("bob").await.starts_with("+OK"), "another's is free");
    assert_eq!(first.ask("DELE 1").await, "+OK Message 1 marked\r\n");
    assert_eq!(first.ask("QUIT").await, "+OK Bye\r\n");
    // The client that was refused may try again, at once, on the same connection.
    assert!(second.login("ada").await.starts_with("+OK Maildrop has 1 messages"));
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_its_maildrop_and_its_mail() {
    let place = start();
    // While idle, in the middle of a message, and with an unread answer: closed, and reset.
    for (command, reset) in [("NOOP", false), ("RETR 2", false), ("RETR 2", true), ("UIDL", true)] {
        let mut client = place.soon("ada").await;
        assert_eq!(client.ask("DELE 1").await, "+OK Message 1 marked\r\n");
        client.ask(command).await;
        if reset {
            socket2::SockRef::from(client.0.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        let mut next = place.soon("ada").await;
        assert!(next.ask("STAT").await.starts_with("+OK 2 "), "nothing is deleted without QUIT");
        assert_eq!(next.ask("QUIT").await, "+OK Bye\r\n");
    }
    // With QUIT, it is, though nobody waits for the answer.
    let mut client = place.soon("ada").await;
    client.say("DELE 1\r\nQUIT\r\n").await;
    drop(client);
    while place.store.messages("ada", "INBOX").unwrap().len() == 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_not_read_and_holds_up_nobody() {
    let place = start();
    let mut greedy = place.soon("ada").await;
    let pipeline = "RETR 2\r\n".repeat(1000);
    let write = async { while greedy.0.get_mut().write_all(pipeline.as_bytes()).await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_millis(300), write).await.is_err(), "input stops");
    let mut other = place.soon("bob").await;
    for _ in 0..100 {
        assert_eq!(other.ask("NOOP").await, "+OK\r\n");
    }
    assert_eq!(place.server.connections(), 2, "and nobody is thrown out for it");
    drop(greedy);
    place.soon("ada").await;
}

#[tokio::test]
async fn what_was_sent_before_the_end_is_answered() {
    let place = start();
    let mut client = place.soon("ada").await;
    client.say("RETR 2\r\nDELE 1\r\nQUIT\r\nNOOP\r\nhalf a li").await;
    client.0.get_mut().shutdown().await.unwrap();
    let mut all = Vec::new();
    client.0.read_to_end(&mut all).await.unwrap();
    assert!(all.len() > BIG);
    assert!(all.ends_with(b"\r\n.\r\n+OK Message 1 marked\r\n+OK Bye\r\n"));
}

#[tokio::test]
async fn stls_forgets_what_came_before_it() {
    let place = start();
    let mut plain = place.connect().await;
    // In one packet with the command: whoever is in the middle may have put it there.
    plain.say("STLS\r\nUSER ada\r\nPASS secret\r\nDELE 1\r\nQUIT\r\n").await;
    assert_eq!(plain.line().await, "+OK Begin TLS negotiation\r\n");
    let mut client = place.secure(plain.0.into_inner()).await;
    assert_eq!(client.ask("STAT").await, "-ERR Incorrect state: log in first\r\n");
    client.say("CAPA\r\n").await;
    let mut capabilities = String::new();
    while !capabilities.ends_with("\r\n.\r\n") {
        capabilities += &client.line().await;
    }
    assert!(!capabilities.contains("STLS") && capabilities.contains("SCRAM-SHA-256-PLUS"), "{capabilities}");
    assert!(client.login("ada").await.starts_with("+OK Maildrop has 2"));
    assert!(client.ask("RETR 2").await.starts_with("+OK"));
    // Without TLS's own good-bye.
    drop(client);
    place.soon("ada").await;

    // In a packet of its own it is no handshake.
    let mut plain = place.connect().await;
    assert_eq!(plain.ask("STLS").await, "+OK Begin TLS negotiation\r\n");
    plain.say("USER ada\r\nPASS secret\r\n").await;
    let mut rest = Vec::new();
    plain.0.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"+") && !rest.starts_with(b"-"), "an alert at most: {rest:?}");
}

#[tokio::test]
async fn under_tls_the_end_comes_with_a_good_bye() {
    let place = start();
    let mut client = place.secure(place.dial("pop3s").await).await;
    assert!(client.line().await.starts_with("+OK"));
    assert!(client.login("ada").await.starts_with("+OK"));
    client.say("RETR 2\r\nQUIT\r\n").await;
    let mut all = Vec::new();
    // An end without close_notify would be an error here.
    client.0.read_to_end(&mut all).await.unwrap();
    assert!(all.len() > BIG && all.ends_with(b"\r\n.\r\n+OK Bye\r\n"));
}

#[test]
fn what_keeps_the_program_from_starting_is_named_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (argument, said) in [(address.as_str(), &*address), ("nowhere", "nowhere is no address with a port")] {
        let program = env!("CARGO_BIN_EXE_pillarbox-example-pop3-only");
        let output = std::process::Command::new(program).arg(argument).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(said) && text.lines().count() == 1, "{text}");
    }
}
