//! Clients of a proxy, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::World;
use common::clients::{alive, dial, refused, start, until};
use pillarbox_proto_core::Connection;
use pillarbox_server_core::{Gate, Incoming, Listener, NotServed, Refusal, Refused, Server, ServerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 1111 143\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 for 192.0.2.7:1111, with these fields.
fn binary(command: u8, fields: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x04, 0x57, 0, 143];
    let length = u16::try_from(addresses.len() + fields.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, 0x11], &length, &addresses, fields].concat()
}

fn listener(world: &Arc<World>) -> Listener {
    Listener::new("toy", world.make()).address(ANY).proxy_networks(["127.0.0.1".parse().unwrap()])
}

fn serve(world: &Arc<World>) -> ServerHandle {
    start(Server::new().listener(listener(world)))
}

/// A client behind a proxy that sends this header.
async fn behind(server: &ServerHandle, header: &[u8]) -> TcpStream {
    let mut client = dial(server, "toy").await;
    client.write_all(header).await.unwrap();
    client
}

fn last(world: &World) -> Connection {
    world.connections.lock().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn the_proxy_says_who_its_client_is() {
    let world = World::new();
    let server = serve(&world);
    let real: SocketAddr = ([192, 0, 2, 7], 1111).into();
    for header in [LINE.to_vec(), binary(0x21, b"\x05\0\x03x-7")] {
        // With the first command in the same packet.
        let mut client = behind(&server, &[&header[..], b"first\n"].concat()).await;
        let mut reply = [0; 6];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"first\n");
        assert!(alive(&mut client).await);
        let connection = last(&world);
        assert_eq!(connection.client(), Some(real));
        assert_eq!(connection.server(), Some(([198, 51, 100, 1], 143).into()));
        assert_eq!(connection.peer, Some(client.local_addr().unwrap()), "the proxy itself");
        assert!(!connection.is_secure());
    }
    assert_eq!(last(&world).proxy_id.as_deref(), Some("x-7"));

    // A header that comes in pieces.
    let mut slow = dial(&server, "toy").await;
    for byte in LINE {
        slow.write_all(&[*byte]).await.unwrap();
        slow.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(alive(&mut slow).await);
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_or_does_not_know_is_the_client() {
    let world = World::new();
    let server = serve(&world);
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20, b""), [SIGNATURE, b"\x21\0\0\0"].concat()] {
        let mut client = behind(&server, &header).await;
        assert!(alive(&mut client).await);
        assert_eq!(last(&world).client(), Some(client.local_addr().unwrap()));
    }
}

#[tokio::test]
async fn tls_at_the_proxy_counts() {
    let world = World::new();
    let server = serve(&world);
    let verified = b"\x20\0\x0b\x03\0\0\0\0\x22\0\x03ada";
    let mut client = behind(&server, &binary(0x21, verified)).await;
    assert!(alive(&mut client).await);
    assert!(last(&world).externally_secured);
    assert_eq!(last(&world).certificate_name.as_deref(), Some("ada"));
    let refuted = b"\x20\0\x0b\x03\0\0\0\x01\x22\0\x03ada";
    let mut client = behind(&server, &binary(0x21, refuted)).await;
    assert!(alive(&mut client).await);
    assert_eq!(last(&world).certificate_name, None);
}

#[tokio::test]
async fn a_wrong_or_missing_header_drops_the_connection() {
    let world = World::new();
    let server = serve(&world);
    for header in [
        &b"ping\n"[..],
        b"PROXY TCP4 192.0.2.7\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0",
        &binary(0x11, b""),
        &binary(0x21, b"\x03\0\x041234"),
    ] {
        let client = behind(&server, &[header, b"ping\n"].concat()).await;
        assert!(refused(client).await, "{header:?}");
    }
    until(|| server.connections() == 0).await;
    assert!(world.connections.lock().unwrap().is_empty());

    let (mut client, ours) = tokio::io::duplex(1024);
    let incoming = Incoming::new(ours).know(|connection| connection.peer = Some(([127, 0, 0, 1], 1).into()));
    let session = server.serve("toy", incoming).unwrap();
    client.write_all(b"HELLO").await.unwrap();
    assert!(matches!(session.await, Err(NotServed::Refused(Refused::ProxyHeader))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_proxy_is_not_waited_for_forever_and_gives_back_its_place() {
    let world = World::new();
    let listener = Listener::new("toy", world.make()).without_address().max_connections(1);
    let listener = listener.proxy_networks(["127.0.0.1".parse().unwrap()]).proxy_timeout(Duration::from_secs(7));
    let server = start(Server::new().listener(listener));
    // Without sockets: a clock that stands still does not wait for those.
    let behind = async |header: &[u8]| {
        let (mut client, ours) = tokio::io::duplex(1024);
        let incoming = Incoming::new(ours).know(|connection| connection.peer = Some(([127, 0, 0, 1], 1).into()));
        let session = server.serve("toy", incoming).unwrap();
        client.write_all(header).await.unwrap();
        (client, session)
    };
    let begin = tokio::time::Instant::now();
    let (client, session) = behind(b"PROXY TCP4 192.0").await;
    assert!(refused(client).await);
    assert_eq!(begin.elapsed().as_secs(), 7);
    assert!(matches!(session.await, Err(NotServed::Refused(Refused::ProxyHeader))));
    until(|| server.connections() == 0).await;
    let (mut client, _session) = behind(LINE).await;
    assert!(alive(&mut client).await);
}

#[tokio::test]
async fn from_elsewhere_a_header_is_mere_input() {
    let world = World::new();
    let server = serve(&world);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut client = socket.connect(server.local_addr("toy").unwrap()).await.unwrap();
    client.write_all(LINE).await.unwrap();
    let mut echo = vec![0; LINE.len()];
    client.read_exact(&mut echo).await.unwrap();
    assert_eq!(echo, LINE);
    assert_eq!(last(&world).client(), Some(client.local_addr().unwrap()));
}

#[tokio::test]
async fn gates_and_limits_see_the_client() {
    struct NotFrom(Ipv4Addr);
    #[async_trait::async_trait]
    impl Gate for NotFrom {
        async fn admit(&self, connection: &mut Connection) -> Result<(), Refusal> {
            match connection.client() {
                Some(client) if client.ip() == self.0 => Err(Refusal::new("not from there")),
                _ => Ok(()),
            }
        }
    }
    let world = World::new();
    let mut settings = pillarbox_server_core::limits::AddressSettings::default();
    settings.connections = Some(1);
    let limits = pillarbox_server_core::limits::AddressLimits::new(settings);
    let server = start(
        Server::new().listener(listener(&world).gate(NotFrom([192, 0, 2, 7].into()))).address_limits(limits.clone()),
    );
    assert!(refused(behind(&server, LINE).await).await);
    let other = b"PROXY TCP4 192.0.2.8 198.51.100.1 1111 143\r\n";
    let mut client = behind(&server, other).await;
    assert!(alive(&mut client).await);
    assert!(refused(behind(&server, other).await).await, "the second of this client");
    let mut third = behind(&server, b"PROXY TCP4 192.0.2.9 198.51.100.1 1111 143\r\n").await;
    assert!(alive(&mut third).await, "another client of the same proxy");
    assert_eq!(limits.open([127, 0, 0, 1].into()), 0);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn the_header_comes_before_tls() {
    use common::pki;
    use pillarbox_proto_core::connection::TlsMode;
    use pillarbox_server_core::tls::TlsConfig;

    let (identity, certificate) = pki::identity("mail.example.org");
    let acceptor = TlsConfig::new().identity(identity).build().unwrap();
    let world = World::new();
    let server = start(Server::new().listener(listener(&world).tls(TlsMode::Connection, acceptor)));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(pki::client(&[&certificate])));
    let client = behind(&server, LINE).await;
    let mut client = connector.connect(pki::name("mail.example.org"), client).await.unwrap();
    assert!(alive(&mut client).await);
    assert_eq!(last(&world).client(), Some(([192, 0, 2, 7], 1111).into()));
    assert!(last(&world).tls.is_some());
}
