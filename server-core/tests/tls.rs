//! TLS: the upgrade in the middle, from the first byte, and what goes wrong.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]
#![cfg(feature = "tls")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::World;
use common::pki::{client, identity, name, self_signed, trusting};
use pillarbox_proto_core::connection::{TlsInfo, TlsMode};
use pillarbox_server_core::tls::{ClientCertificates, HandshakeError, TlsAcceptor, TlsConfig, TlsError};
use pillarbox_server_core::{
    BindError, End, Listener, Outcome, ServeError, ServeOptions, Server, ServerHandle, serve_connection,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, ProtocolVersion, version};

fn acceptor() -> (TlsAcceptor, CertificateDer<'static>) {
    let (identity, certificate) = identity("mail.example.org");
    let config = TlsConfig::new().identity(identity).handshake_timeout(Duration::from_secs(600));
    (config.build().unwrap(), certificate)
}

fn upgrading(world: &Arc<World>, acceptor: TlsAcceptor) -> (DuplexStream, JoinHandle<Result<Outcome, ServeError>>) {
    let (ours, theirs) = duplex(1 << 16);
    let options = ServeOptions::new().tls(acceptor);
    (theirs, tokio::spawn(serve_connection(ours, world.toy(), options)))
}

async fn line(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = String::new();
    while !all.ends_with('\n') {
        let byte = stream.read_u8().await.unwrap();
        all.push(char::from(byte));
    }
    all
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: ClientConfig,
    host: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<S>> {
    TlsConnector::from(Arc::new(config)).connect(name(host), stream).await
}

#[tokio::test]
async fn bytes_injected_behind_starttls_are_dropped() {
    let world = World::new();
    let (acceptor, certificate) = acceptor();
    let (mut plain, served) = upgrading(&world, acceptor);
    // One packet: what stands behind STARTTLS could come from anyone on the way.
    say(&mut plain, "one\nSTARTTLS\ninjected\n").await;
    assert_eq!(line(&mut plain).await, "one\n");
    assert_eq!(line(&mut plain).await, "go\n");
    let mut secure = connect(plain, client(&[&certificate]), "mail.example.org").await.unwrap();
    say(&mut secure, "two\nQUIT\n").await;
    let mut rest = String::new();
    secure.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "two\nbye\n", "the end comes with TLS's own good-bye");
    drop(secure);
    assert_eq!(served.await.unwrap().unwrap().end, End::Closed);
    assert_eq!(world.events(), ["tls TLSv1.3 mail.example.org", "dropped"]);
}

#[tokio::test]
async fn bytes_injected_in_a_packet_of_their_own_never_become_input() {
    let world = World::new();
    let (acceptor, _) = acceptor();
    let (mut plain, served) = upgrading(&world, acceptor);
    say(&mut plain, "STARTTLS\n").await;
    assert_eq!(line(&mut plain).await, "go\n");
    say(&mut plain, "injected\n").await;
    let error = served.await.unwrap().unwrap_err();
    assert!(matches!(error, ServeError::Handshake(HandshakeError::Failed(_))), "{error}");
    assert_eq!(error.to_string(), "TLS handshake: what the client sent is not TLS");
    assert_eq!(world.lines.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn large_output_and_back_pressure_under_tls() {
    let world = World::new();
    let (acceptor, certificate) = acceptor();
    let (mut plain, served) = upgrading(&world, acceptor);
    say(&mut plain, "STARTTLS\n").await;
    line(&mut plain).await;
    let mut secure = connect(plain, client(&[&certificate]), "mail.example.org").await.unwrap();
    say(&mut secure, "BIG 3000000\nWAIT\n").await;
    let mut big = vec![0; 3_000_000];
    secure.read_exact(&mut big).await.unwrap();
    assert!(big.iter().all(|byte| *byte == b'x'));
    // While the conversation waits for its backend, the end of the input is seen through TLS.
    say(&mut secure, "last\n").await;
    secure.shutdown().await.unwrap();
    world.release();
    let mut rest = String::new();
    secure.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "waited\nlast\n");
    assert_eq!(served.await.unwrap().unwrap().received, 31, "counted without TLS");
}

#[tokio::test(start_paused = true)]
async fn a_silent_handshake_ends() {
    let (identity, _) = identity("mail.example.org");
    let config = TlsConfig::new().identity(identity);
    for (config, seconds) in [(config.clone(), 10), (config.handshake_timeout(Duration::from_secs(3)), 3)] {
        let world = World::new();
        let (mut plain, served) = upgrading(&world, config.build().unwrap());
        say(&mut plain, "STARTTLS\n").await;
        line(&mut plain).await;
        // Half a record header.
        plain.write_all(&[22, 3]).await.unwrap();
        let start = tokio::time::Instant::now();
        let error = served.await.unwrap().unwrap_err();
        assert_eq!(start.elapsed().as_secs(), seconds);
        assert_eq!(error.to_string(), format!("TLS handshake: not done within {seconds}s"));
    }
}

#[tokio::test]
async fn a_hang_up_in_the_handshake_is_told() {
    let world = World::new();
    let (acceptor, _) = acceptor();
    let (mut plain, served) = upgrading(&world, acceptor);
    say(&mut plain, "STARTTLS\n").await;
    line(&mut plain).await;
    drop(plain);
    let error = served.await.unwrap().unwrap_err();
    assert!(matches!(error, ServeError::Handshake(HandshakeError::Closed)), "{error}");
}

async fn handshake(acceptor: &TlsAcceptor, config: ClientConfig, host: &str) -> (TlsInfo, Facts) {
    let (ours, theirs) = duplex(1 << 16);
    let (served, connected) = tokio::join!(acceptor.accept(ours), connect(theirs, config, host));
    let (mut stream, info) = served.unwrap();
    let mut connected = connected.unwrap();
    // The ticket for the next time comes before the first byte.
    say(&mut stream, "\n").await;
    line(&mut connected).await;
    let session = connected.get_ref().1;
    let facts = Facts {
        shown: session.peer_certificates().unwrap()[0].clone().into_owned(),
        exporter: session.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap(),
        alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        version: session.protocol_version().unwrap(),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    };
    drop(stream);
    (info, facts)
}

/// What the client knows.
struct Facts {
    shown: CertificateDer<'static>,
    exporter: [u8; 32],
    alpn: Option<Vec<u8>>,
    version: ProtocolVersion,
    resumed: bool,
}

#[tokio::test]
async fn the_handshake_tells_what_protocols_need() {
    let (acceptor, certificate) = acceptor();
    let acceptor = acceptor.with_alpn(["imap"]);
    let mut config = client(&[&certificate]);
    config.alpn_protocols = vec![b"pop3".to_vec(), b"imap".to_vec()];
    let (info, facts) = handshake(&acceptor, config.clone(), "mail.example.org").await;
    assert_eq!(info.version, "TLSv1.3");
    assert!(info.cipher.starts_with("TLS13_"), "{}", info.cipher);
    assert_eq!(info.server_name.as_deref(), Some("mail.example.org"));
    assert_eq!((info.alpn.as_deref(), facts.alpn.as_deref()), (Some(&b"imap"[..]), Some(&b"imap"[..])));
    assert_eq!(info.exporter.unwrap().as_bytes(), facts.exporter, "both ends compute the same");
    let hash = ::ring::digest::digest(&::ring::digest::SHA256, &certificate);
    assert_eq!(info.server_end_point.unwrap().as_bytes(), hash.as_ref());
    assert!(info.client_certificates.is_empty());

    // Who wants another protocol is at the wrong door.
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (ours, theirs) = duplex(1 << 16);
    let (served, connected) = tokio::join!(acceptor.accept(ours), connect(theirs, config, "mail.example.org"));
    assert!(matches!(served.unwrap_err(), HandshakeError::Failed(_)));
    assert!(connected.is_err());
}

fn tls12(certificate: &CertificateDer<'static>) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(trusting(&[certificate]))
        .with_no_client_auth()
}

#[tokio::test]
async fn tls_1_2_has_an_exporter_binding_only_with_the_extended_master_secret() {
    let (identity, certificate) = identity("mail.example.org");
    let config = TlsConfig::new().identity(identity);
    let (info, facts) = handshake(&config.clone().build().unwrap(), tls12(&certificate), "mail.example.org").await;
    assert_eq!(facts.version, ProtocolVersion::TLSv1_2);
    assert_eq!(info.version, "TLSv1.2");
    assert!(info.exporter.is_none());
    assert!(info.server_end_point.is_some());

    let strict = config.clone().require_extended_master_secret(true).build().unwrap();
    let (info, facts) = handshake(&strict, tls12(&certificate), "mail.example.org").await;
    assert_eq!(info.exporter.unwrap().as_bytes(), facts.exporter);

    let newest = config.oldest_version(pillarbox_server_core::tls::TlsVersion::Tls13).build().unwrap();
    let (ours, theirs) = duplex(1 << 16);
    let (served, _) = tokio::join!(newest.accept(ours), connect(theirs, tls12(&certificate), "mail.example.org"));
    assert!(matches!(served.unwrap_err(), HandshakeError::Failed(_)));
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_and_bound_to() {
    let (first, one) = identity("mail.example.org");
    let (second, two) = identity("pop.example.com");
    let acceptor = TlsConfig::new().identity(first).identity(second).build().unwrap();
    for (host, wanted) in [("mail.example.org", &one), ("pop.example.com", &two)] {
        // Twice: the second time the session is resumed, and bound to the same certificate.
        let config = client(&[&one, &two]);
        for resumed in [false, true] {
            let (info, facts) = handshake(&acceptor, config.clone(), host).await;
            assert_eq!(facts.resumed, resumed);
            assert_eq!(&facts.shown, wanted);
            let hash = ::ring::digest::digest(&::ring::digest::SHA256, wanted);
            assert_eq!(info.server_end_point.unwrap().as_bytes(), hash.as_ref());
        }
    }
    // A name that is nobody's gets the first, and it is the client's to refuse it.
    let (ours, theirs) = duplex(1 << 16);
    let config = client(&[&one, &two]);
    let (served, connected) = tokio::join!(acceptor.accept(ours), connect(theirs, config, "other.example.net"));
    assert!(connected.unwrap_err().to_string().contains("certificate"), "the client knows both names");
    assert!(served.is_err());
}

#[tokio::test]
async fn client_certificates_are_asked_for_checked_and_shown() {
    let (server, certificate) = identity("mail.example.org");
    let (own, key) = self_signed("client.example.org");
    let roots = Arc::new(trusting(&[&own]));
    let with = |own: &CertificateDer<'static>, key: &PrivateKeyDer<'static>| {
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_root_certificates(trusting(&[&certificate]))
            .with_client_auth_cert(vec![own.clone()], key.clone_key())
            .unwrap()
    };
    let config = TlsConfig::new().identity(server);
    let optional = config.clone().client_certificates(ClientCertificates::Optional(roots.clone())).build().unwrap();
    let (info, _) = handshake(&optional, with(&own, &key), "mail.example.org").await;
    assert_eq!(info.client_certificates, [own]);
    let (info, _) = handshake(&optional, client(&[&certificate]), "mail.example.org").await;
    assert!(info.client_certificates.is_empty());

    let required = config.client_certificates(ClientCertificates::Required(roots)).build().unwrap();
    let (stranger, strange_key) = self_signed("client.example.org");
    for config in [client(&[&certificate]), with(&stranger, &strange_key)] {
        let (ours, theirs) = duplex(1 << 16);
        let (served, _) = tokio::join!(required.accept(ours), connect(theirs, config, "mail.example.org"));
        assert!(matches!(served.unwrap_err(), HandshakeError::Failed(_)));
    }
}

#[test]
fn tls_without_a_certificate_is_refused() {
    let error = TlsConfig::new().build().unwrap_err();
    assert!(matches!(error, TlsError::NoIdentity));
    assert_eq!(error.to_string(), "TLS without a certificate");
}

fn server(world: &Arc<World>, mode: TlsMode, acceptor: &TlsAcceptor) -> ServerHandle {
    let listener = Listener::new("toy", world.make()).address(([127, 0, 0, 1], 0)).tls(mode, acceptor.clone());
    Server::new().listener(listener).bind().unwrap().start().unwrap()
}

async fn dial(server: &ServerHandle) -> TcpStream {
    TcpStream::connect(server.local_addr("toy").unwrap()).await.unwrap()
}

#[tokio::test]
async fn tls_from_the_first_byte() {
    let world = World::new();
    let (acceptor, certificate) = acceptor();
    let server = server(&world, TlsMode::Connection, &acceptor);
    let mut secure = connect(dial(&server).await, client(&[&certificate]), "mail.example.org").await.unwrap();
    say(&mut secure, "hello\n").await;
    assert_eq!(line(&mut secure).await, "hello\n");
    say(&mut secure, "STARTTLS\n").await;
    // A second layer is not to be had: the conversation should not have asked.
    assert!(secure.read_u8().await.is_err());
    let connections = world.connections.lock().unwrap();
    let info = connections[0].tls.as_ref().unwrap();
    assert_eq!(info.server_name.as_deref(), Some("mail.example.org"));
    assert!(connections[0].is_secure());
}

#[tokio::test]
async fn bytes_that_are_not_tls_never_reach_a_conversation() {
    let world = World::new();
    let (acceptor, certificate) = acceptor();
    let server = server(&world, TlsMode::Connection, &acceptor);
    let mut wrong = dial(&server).await;
    wrong.write_all(b"a1 LOGIN somebody secret\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = wrong.read_to_end(&mut answer).await;
    assert!(answer.len() <= 7, "at most a TLS alert: {answer:?}");
    // And a client that says nothing holds up nobody.
    let _silent = dial(&server).await;
    let mut secure = connect(dial(&server).await, client(&[&certificate]), "mail.example.org").await.unwrap();
    say(&mut secure, "hello\n").await;
    assert_eq!(line(&mut secure).await, "hello\n");
    assert_eq!(world.connections.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn on_demand_over_a_socket() {
    let world = World::new();
    let (acceptor, certificate) = acceptor();
    let server = server(&world, TlsMode::OnDemand, &acceptor);
    let mut plain = dial(&server).await;
    say(&mut plain, "one\nSTARTTLS\n").await;
    assert_eq!(line(&mut plain).await + &line(&mut plain).await, "one\ngo\n");
    let mut secure = connect(plain, client(&[&certificate]), "mail.example.org").await.unwrap();
    say(&mut secure, "two\n").await;
    assert_eq!(line(&mut secure).await, "two\n");
}

#[test]
fn a_tls_mode_without_a_certificate_does_not_start() {
    for mode in [TlsMode::OnDemand, TlsMode::Required, TlsMode::Connection] {
        let listener = Listener::new("toy", World::new().make()).address(([127, 0, 0, 1], 0)).tls_mode(mode);
        let error = Server::new().listener(listener).bind().unwrap_err();
        assert!(matches!(error, BindError::NoCertificate { .. }));
        assert_eq!(error.to_string(), format!("listener toy: TLS mode {mode:?} without a certificate"));
    }
}
