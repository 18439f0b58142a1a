//! New certificates under a running server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]
#![cfg(feature = "tls")]

mod common;
mod tls_support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::World;
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_server_core::tls::{TlsAcceptor, TlsConfig, TlsError, TlsVersion};
use pillarbox_server_core::{Listener, Server, ServerHandle};
use rustls_pki_types::ServerName;
use tls_support::{Authority, BOTH, HOST, TLS12, shake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

#[tokio::test]
async fn every_handle_sees_the_new_configuration() {
    let authority = Authority::new("Authority");
    let (old, new) = (authority.server(&[HOST]), authority.server(&[HOST]));
    let acceptor = TlsConfig::new().identity(old.identity()).build().unwrap();
    let (clone, imap) = (acceptor.clone(), acceptor.with_alpn(["imap"]));
    let pop3 = imap.with_alpn(["pop3"]);
    let mut client = authority.client(BOTH);
    client.alpn_protocols = vec![b"imap".to_vec()];
    let shown = async |acceptor: &TlsAcceptor| {
        let done = shake(acceptor, &client, HOST).await?;
        Ok::<_, String>((done.shown, done.alpn))
    };
    for wanted in [&old, &new] {
        if wanted.der == new.der {
            acceptor.reload(TlsConfig::new().identity(new.identity())).unwrap();
        }
        for _ in 0..2 {
            assert!(shown(&acceptor).await.unwrap() == (wanted.der.clone(), None));
            assert!(shown(&clone).await.unwrap() == (wanted.der.clone(), None));
            assert!(shown(&imap).await.unwrap() == (wanted.der.clone(), Some(b"imap".to_vec())));
            assert!(shown(&pop3).await.is_err(), "its protocols stay its own");
        }
    }
    // All of it changes, not only the certificate.
    pop3.reload(TlsConfig::new().identity(old.identity()).oldest_version(TlsVersion::Tls13).alpn(["imap"])).unwrap();
    assert!(shown(&acceptor).await.unwrap() == (old.der.clone(), Some(b"imap".to_vec())));
    assert_eq!(shake(&imap, &authority.client(TLS12), HOST).await.err().unwrap(), "no TLS version in common");

    let other = TlsConfig::new().identity(new.identity()).build().unwrap();
    acceptor.replace(&other);
    assert!(shown(&clone).await.unwrap() == (new.der.clone(), None));
    other.reload(TlsConfig::new().identity(old.identity())).unwrap();
    assert!(shown(&clone).await.unwrap() == (new.der.clone(), None), "the other one goes its own way");
}

#[tokio::test]
async fn what_can_not_be_built_changes_nothing() {
    let authority = Authority::new("Authority");
    let (one, two) = (authority.server(&[HOST]), authority.server(&[HOST]));
    let acceptor = TlsConfig::new().identity(one.identity()).build().unwrap();
    let mixed = pillarbox_server_core::tls::TlsIdentity::new(vec![one.der.clone()], two.key());
    let wrong = [TlsConfig::new(), TlsConfig::new().identity(two.identity()).identity(mixed)];
    for config in wrong {
        let error = acceptor.reload(config).unwrap_err();
        assert!(matches!(error, TlsError::NoIdentity | TlsError::Config(_)), "{error}");
        let done = shake(&acceptor, &authority.client(BOTH), HOST).await.unwrap();
        assert!(done.shown == one.der);
    }
}

#[tokio::test]
async fn a_handshake_under_way_ends_as_it_began() {
    let authority = Authority::new("Authority");
    let (old, new) = (authority.server(&[HOST]), authority.server(&[HOST]));
    let acceptor = TlsConfig::new().identity(old.identity()).build().unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let handle = acceptor.clone();
    let begun = tokio::spawn(async move { handle.accept(ours).await });
    tokio::task::yield_now().await;
    acceptor.reload(TlsConfig::new().identity(new.identity())).unwrap();
    let connector = TlsConnector::from(Arc::new(authority.client(BOTH)));
    let connected = connector.connect(ServerName::try_from(HOST).unwrap(), theirs).await.unwrap();
    assert!(connected.get_ref().1.peer_certificates().unwrap()[0] == old.der);
    begun.await.unwrap().unwrap();
}

struct Served {
    server: ServerHandle,
    client: TlsConnector,
}

impl Served {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.server.local_addr("toy").unwrap()).await.unwrap();
        self.client.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap()
    }

    /// The certificate that a new connection is shown, and that serves it.
    async fn shown(&self) -> Vec<u8> {
        let mut stream = self.connect().await;
        echo(&mut stream, "during\n").await;
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

async fn echo(stream: &mut TlsStream<TcpStream>, line: &str) {
    stream.write_all(line.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut reply = vec![0; line.len()];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply, line.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_connection_fails_while_certificates_change() {
    const CLIENTS: usize = 200;
    const TIMES: usize = 2;
    let authority = Authority::new("Authority");
    let certificates = [authority.server(&[HOST]), authority.server(&[HOST, "www.example.org"])];
    // All clients come at once.
    let slow = || TlsConfig::new().handshake_timeout(Duration::from_secs(600));
    let acceptor = slow().identity(certificates[0].identity()).build().unwrap();
    let listener = Listener::new("toy", World::new().make())
        .address(([127, 0, 0, 1], 0))
        .tls(TlsMode::Connection, acceptor.with_alpn(["imap"]));
    let server = Server::new().listener(listener).bind().unwrap().start().unwrap();
    let mut config: ClientConfig = authority.client(BOTH);
    config.alpn_protocols = vec![b"imap".to_vec()];
    let served = Arc::new(Served { server, client: TlsConnector::from(Arc::new(config)) });

    // Made before, and never let go.
    let mut before = Vec::new();
    for _ in 0..20 {
        let mut stream = served.connect().await;
        echo(&mut stream, "before\n").await;
        before.push(stream);
    }
    let (done, times) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let reloading = tokio::spawn({
        let (acceptor, done, times) = (acceptor.clone(), done.clone(), times.clone());
        let identities: Vec<_> = certificates.iter().map(tls_support::Made::identity).collect();
        async move {
            while !done.load(Ordering::Relaxed) {
                let time = times.fetch_add(1, Ordering::Relaxed) + 1;
                acceptor.reload(slow().identity(identities[time % 2].clone())).unwrap();
                assert!(acceptor.reload(TlsConfig::new()).is_err());
                tokio::task::yield_now().await;
            }
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let served = served.clone();
            tokio::spawn(async move {
                let mut shown = Vec::new();
                for _ in 0..TIMES {
                    shown.push(served.shown().await);
                }
                shown
            })
        })
        .collect();
    let mut shown = HashSet::new();
    for client in clients {
        shown.extend(client.await.unwrap());
    }
    // However the tasks took their turns.
    while shown.len() < 2 || times.load(Ordering::Relaxed) <= 10 {
        shown.insert(served.shown().await);
    }
    done.store(true, Ordering::Relaxed);
    reloading.await.unwrap();
    let known: HashSet<_> = certificates.iter().map(|made| made.der.to_vec()).collect();
    assert_eq!(shown, known, "both were seen, and no third");
    for stream in &mut before {
        echo(stream, "after\n").await;
    }
}
