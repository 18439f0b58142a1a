//! Where connections come from: addresses of all kinds, socket options, connections that are handed in.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]
#![cfg(unix)]

mod common;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::World;
use common::clients::{alive, dial, refused, start, until};
use pillarbox_server_core::{
    Address, End, Incoming, Listener, NotServed, Refused, Server, ServerHandle, SocketOptions,
};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn listener(name: &str, world: &Arc<World>) -> Listener {
    Listener::new(name, world.make())
}

fn unix(world: &Arc<World>, path: &Path) -> Server {
    Server::new().listener(listener("toy", world).address(Address::unix(path)))
}

#[tokio::test]
async fn a_unix_socket_is_served_and_its_file_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy");
    let world = World::new();
    let address = Address::unix(&path).with_mode(0o620);
    let server = start(Server::new().listener(listener("toy", &world).address(address.clone()).address(ANY)));
    assert_eq!(server.addresses()[0].1.to_string(), format!("unix://{}", path.display()));
    assert_eq!(server.local_addrs().len(), 1, "of TCP");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o620);

    let mut client = UnixStream::connect(&path).await.unwrap();
    assert!(alive(&mut client).await);
    let connection = world.connections.lock().unwrap()[0].clone();
    assert_eq!((connection.peer, connection.local), (None, None));
    assert!(connection.externally_secured, "nothing leaves the machine");
    // While its input is not wanted, its hang-up is noticed as that of a TCP socket.
    client.write_all(b"WAIT\n").await.unwrap();
    until(|| world.lines.load(std::sync::atomic::Ordering::Relaxed) == 2).await;
    drop(client);
    world.heard("eof").await;
    world.release();
    until(|| server.connections() == 0).await;

    server.shutdown("bye", Duration::ZERO).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_in_use_is_not_taken_and_one_left_behind_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy");
    let world = World::new();
    let first = start(unix(&world, &path));
    let error = unix(&world, &path).bind().unwrap_err().to_string();
    let shown = path.display();
    assert_eq!(error, format!("listener toy: cannot listen on unix://{shown}: Address already in use (os error 98)"));
    assert!(alive(&mut UnixStream::connect(&path).await.unwrap()).await, "the first goes on");
    first.shutdown("bye", Duration::ZERO).await;

    // As a server that was killed leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _second = start(unix(&world, &path));
    assert!(alive(&mut UnixStream::connect(&path).await.unwrap()).await);

    let file = folder.path().join("file");
    std::fs::write(&file, "mail").unwrap();
    let error = unix(&world, &file).bind().unwrap_err().to_string();
    let shown = file.display();
    assert_eq!(error, format!("listener toy: cannot listen on unix://{shown}: there is a file that is no socket"));
    assert_eq!(std::fs::read(&file).unwrap(), b"mail");
}

#[tokio::test]
async fn when_one_address_fails_no_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy");
    let holder = std::net::TcpListener::bind(ANY).unwrap();
    let taken = holder.local_addr().unwrap();
    let world = World::new();
    let server = unix(&world, &path).listener(listener("other", &world).address(taken));
    let error = server.bind().unwrap_err().to_string();
    assert_eq!(error, format!("listener other: cannot listen on {taken}: Address already in use (os error 98)"));
    assert!(!path.exists());
    drop(holder);
}

#[tokio::test]
async fn a_host_name_is_looked_up() {
    let world = World::new();
    let name = Address::parse("localhost:0", 143).unwrap();
    let server = start(Server::new().listener(listener("toy", &world).address(name)));
    assert!(!server.local_addrs().is_empty());
    for (_, address) in server.local_addrs() {
        assert!(address.ip().is_loopback());
        assert!(alive(&mut TcpStream::connect(address).await.unwrap()).await);
    }

    let nowhere = Address::parse("nowhere.invalid", 143).unwrap();
    let error = Server::new().listener(listener("toy", &world).address(nowhere)).bind().unwrap_err().to_string();
    assert!(error.starts_with("listener toy: cannot look up nowhere.invalid:143: "), "{error}");
    assert!(!error.contains('\n'));

    let holder = std::net::TcpListener::bind(ANY).unwrap();
    let port = holder.local_addr().unwrap().port();
    let taken = Address::parse(&format!("localhost:{port}"), 143).unwrap();
    let error = Server::new().listener(listener("toy", &world).address(taken)).bind().unwrap_err().to_string();
    let says = format!("cannot listen on localhost:{port}: 127.0.0.1:{port}: Address already in use");
    assert!(error.contains(&says), "{error}");
}

#[tokio::test]
async fn both_families_can_be_asked_for_by_name() {
    let world = World::new();
    let mut tries = 0;
    let (port, server) = loop {
        let Ok(probe) = std::net::TcpListener::bind("[::]:0") else {
            // A machine without IPv6.
            return;
        };
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let (four, six) = (SocketAddr::from(([0, 0, 0, 0], port)), SocketAddr::from(([0_u16; 8], port)));
        match Server::new().listener(listener("toy", &world).address(six).address(four)).bind() {
            Ok(bound) => break (port, bound.start().unwrap()),
            // Somebody else may have come in between, but not each time.
            Err(error) => assert!(tries < 5 && error.to_string().contains("Address already in use"), "{error}"),
        }
        tries += 1;
    };
    for host in ["127.0.0.1", "::1"] {
        assert!(alive(&mut TcpStream::connect((host, port)).await.unwrap()).await, "{host}");
    }
    assert_eq!(server.local_addrs().len(), 2);
}

/// The server's end of the client's connection, and the socket that it came in by.
fn sockets_of(client: &TcpStream) -> (BorrowedFd<'static>, BorrowedFd<'static>) {
    let (peer, local) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let mut found = (None, None);
    for number in 0..2000 {
        // SAFETY: looked at only while the server and the client of this test are there.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if number == client.as_raw_fd() || rustix::io::fcntl_getfd(fd).is_err() {
            continue;
        }
        let socket = SockRef::from(&fd);
        if socket.peer_addr().ok().and_then(|address| address.as_socket()) == Some(peer) {
            found.0 = Some(fd);
        } else if socket.is_listener().unwrap_or(false)
            && socket.local_addr().ok().and_then(|address| address.as_socket()) == Some(local)
        {
            found.1 = Some(fd);
        }
    }
    (found.0.unwrap(), found.1.unwrap())
}

/// What the system has as the length of the queue of a listening socket; `None` where the program that tells is missing.
fn queue(server: &ServerHandle, name: &str) -> Option<u32> {
    let port = server.local_addr(name).unwrap().port();
    let output = match std::process::Command::new("ss").args(["-ltnH", &format!("sport = :{port}")]).output() {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "ss: {error}");
            // Straight to the file: the test harness would keep it from being seen.
            let _ = writeln!(std::io::stderr().lock(), "SKIPPED: ss is not installed");
            return None;
        }
    };
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.split_ascii_whitespace().nth(2).unwrap().parse().unwrap())
}

#[tokio::test]
async fn options_reach_the_kernel() {
    let world = World::new();
    let mut all = SocketOptions::default();
    all.reuse_port = Some(true);
    all.backlog = Some(77);
    all.send_buffer = Some(40_000);
    all.receive_buffer = Some(50_000);
    all.ttl = Some(42);
    all.tos = Some(0x10);
    all.linger = Some(Duration::from_millis(2500));
    all.keepalive_time = Some(Duration::from_secs(100));
    all.keepalive_interval = Some(Duration::from_secs(10));
    all.keepalive_retries = Some(3);
    let mut one = SocketOptions::default();
    one.backlog = Some(7);
    one.nodelay = Some(false);
    one.ttl = Some(43);
    one.reuse_port = Some(false);
    let plain = start(Server::new().listener(listener("plain", &world).address(ANY)));
    let server = start(
        Server::new()
            .listener(listener("all", &world).address(ANY))
            .listener(listener("one", &world).address(ANY).socket_options(one))
            .socket_options(all),
    );

    let mut client = dial(&server, "all").await;
    assert!(alive(&mut client).await);
    let (connection, listening) = sockets_of(&client);
    let (connection, listening) = (SockRef::from(&connection), SockRef::from(&listening));
    assert!(listening.reuse_address().unwrap() && listening.reuse_port().unwrap());
    assert_eq!(connection.send_buffer_size().unwrap(), 80_000);
    assert_eq!(connection.recv_buffer_size().unwrap(), 100_000);
    assert_eq!((listening.tos_v4().unwrap(), connection.tos_v4().unwrap()), (0x10, 0x10));
    assert_eq!(connection.ttl_v4().unwrap(), 42);
    assert_eq!(connection.linger().unwrap(), Some(Duration::from_secs(3)), "rounded up");
    assert!(connection.tcp_nodelay().unwrap());
    assert!(connection.keepalive().unwrap());
    assert_eq!(connection.tcp_keepalive_time().unwrap().as_secs(), 100);
    assert_eq!(connection.tcp_keepalive_interval().unwrap().as_secs(), 10);
    assert_eq!(connection.tcp_keepalive_retries().unwrap(), 3);

    let mut client = dial(&server, "one").await;
    assert!(alive(&mut client).await);
    let (connection, listening) = sockets_of(&client);
    assert!(!SockRef::from(&listening).reuse_port().unwrap());
    let connection = SockRef::from(&connection);
    assert!(!connection.tcp_nodelay().unwrap());
    assert_eq!(connection.ttl_v4().unwrap(), 43, "its own");
    assert_eq!(connection.tcp_keepalive_retries().unwrap(), 3, "the server's");

    let mut client = dial(&plain, "plain").await;
    assert!(alive(&mut client).await);
    let (connection, listening) = sockets_of(&client);
    let connection = SockRef::from(&connection);
    assert!(connection.tcp_nodelay().unwrap() && !connection.keepalive().unwrap());
    assert_eq!(connection.linger().unwrap(), None);
    let listening = SockRef::from(&listening);
    assert!(listening.reuse_address().unwrap() && !listening.reuse_port().unwrap());

    for (server, name, wanted) in [(&server, "all", 77), (&server, "one", 7), (&plain, "plain", 1024)] {
        assert!(queue(server, name).is_none_or(|length| length == wanted), "{name}");
    }
}

#[tokio::test]
async fn a_port_is_shared_only_by_those_who_say_so() {
    let world = World::new();
    let mut shared = SocketOptions::default();
    shared.reuse_port = Some(true);
    let first = start(Server::new().listener(listener("toy", &world).address(ANY)).socket_options(shared.clone()));
    let address = first.local_addr("toy").unwrap();
    let second = Server::new().listener(listener("toy", &world).address(address));
    assert!(second.bind().unwrap_err().to_string().contains("Address already in use"));
    let third = Server::new().listener(listener("toy", &world).address(address)).socket_options(shared);
    third.bind().unwrap();
}

#[tokio::test]
async fn an_ipv6_connection_has_its_hop_limit_and_class() {
    let world = World::new();
    let mut options = SocketOptions::default();
    options.ttl = Some(42);
    options.tos = Some(0x20);
    let address: SocketAddr = "[::]:0".parse().unwrap();
    let listener = listener("toy", &world).address(address).socket_options(options);
    let Ok(bound) = Server::new().listener(listener).bind() else { return };
    let server = bound.start().unwrap();
    let port = server.local_addr("toy").unwrap().port();
    let mut six = TcpStream::connect(("::1", port)).await.unwrap();
    assert!(alive(&mut six).await);
    let mine = six.local_addr().unwrap();
    let connection = (3..2000).map(|number| {
        // SAFETY: looked at only while the server and the client of this test are there.
        unsafe { BorrowedFd::borrow_raw(number) }
    });
    let connection = connection
        .filter(|fd| rustix::io::fcntl_getfd(fd).is_ok())
        .find(|fd| SockRef::from(fd).peer_addr().ok().and_then(|peer| peer.as_socket()) == Some(mine))
        .unwrap();
    let connection = SockRef::from(&connection);
    assert_eq!(connection.unicast_hops_v6().unwrap(), 42);
    assert_eq!(connection.tclass_v6().unwrap(), 0x20);
    let mut four = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    assert!(alive(&mut four).await);
}

#[test]
fn the_limit_on_open_files_is_raised() {
    let raised = pillarbox_server_core::raise_open_files().unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!(limit.current, limit.maximum);
    assert_eq!(limit.maximum, raised);
}

fn without_address(world: &Arc<World>) -> Listener {
    listener("toy", world).without_address()
}

#[tokio::test]
async fn a_connection_can_be_handed_in() {
    let world = World::new();
    let server = start(Server::new().listener(without_address(&world).max_connections(1)));
    assert!(server.addresses().is_empty());
    let (mut client, ours) = tokio::io::duplex(1024);
    let incoming = Incoming::new(ours).know(|connection| connection.proxy_id = Some("tunnel".into()));
    let session = server.serve("toy", incoming).unwrap();
    assert!(alive(&mut client).await);
    {
        let connections = world.connections.lock().unwrap();
        assert_eq!(&*connections[0].service, "toy");
        assert_eq!(connections[0].proxy_id.as_deref(), Some("tunnel"));
        assert_ne!(connections[0].id, pillarbox_proto_core::connection::SessionId::default());
    }

    // It takes a place as any other.
    let (second, ours) = tokio::io::duplex(1024);
    assert_eq!(server.serve("toy", Incoming::new(ours)).unwrap_err(), Refused::ListenerFull);
    assert!(refused(second).await);
    // Unless it is not to be looked at.
    let (mut third, ours) = UnixStream::pair().unwrap();
    let unchecked = server.serve("toy", Incoming::from(ours).unchecked()).unwrap();
    assert!(alive(&mut third).await);
    assert_eq!(server.connections(), 2);

    client.write_all(b"QUIT\n").await.unwrap();
    let mut last = String::new();
    client.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "bye\n");
    drop(client);
    let outcome = session.await.unwrap();
    assert_eq!((outcome.end, outcome.received, outcome.sent), (End::Closed, 10, 9));
    let (_fourth, ours) = tokio::io::duplex(1024);
    assert_eq!(server.serve("other", Incoming::new(ours)).unwrap_err(), Refused::NoListener);

    server.shutdown("bye", Duration::ZERO).await;
    assert!(matches!(unchecked.await, Err(NotServed::Dropped)));
    let (_fifth, ours) = tokio::io::duplex(1024);
    assert_eq!(server.serve("toy", Incoming::new(ours)).unwrap_err(), Refused::Closing);
}

#[tokio::test]
async fn a_socket_that_is_handed_in_brings_its_addresses() {
    let world = World::new();
    let server = start(Server::new().listener(without_address(&world)));
    let door = tokio::net::TcpListener::bind(ANY).await.unwrap();
    let mut client = TcpStream::connect(door.local_addr().unwrap()).await.unwrap();
    let (ours, peer) = door.accept().await.unwrap();
    let _session = server.serve("toy", ours).unwrap();
    assert!(alive(&mut client).await);
    let connection = world.connections.lock().unwrap()[0].clone();
    assert_eq!((connection.peer, connection.local), (Some(peer), Some(door.local_addr().unwrap())));
    assert!(!connection.externally_secured);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn what_is_handed_in_has_the_tls_mode_of_its_listener() {
    use common::pki;
    use pillarbox_proto_core::connection::TlsMode;
    use pillarbox_server_core::tls::TlsConfig;
    use tokio_rustls::TlsConnector;

    let (identity, certificate) = pki::identity("mail.example.org");
    let acceptor = TlsConfig::new().identity(identity).build().unwrap();
    let connector = TlsConnector::from(Arc::new(pki::client(&[&certificate])));
    for mode in [TlsMode::No, TlsMode::OnDemand, TlsMode::Required, TlsMode::Connection] {
        let world = World::new();
        let server = start(Server::new().listener(without_address(&world).tls(mode, acceptor.clone())));
        let (mut client, ours) = UnixStream::pair().unwrap();
        let session = server.serve("toy", Incoming::from(ours).unchecked()).unwrap();
        if mode == TlsMode::Connection {
            let mut client = connector.connect(pki::name("mail.example.org"), client).await.unwrap();
            assert!(alive(&mut client).await);
            assert!(world.connections.lock().unwrap()[0].tls.is_some());

            let (mut plain, ours) = UnixStream::pair().unwrap();
            let refused = server.serve("toy", Incoming::from(ours).unchecked()).unwrap();
            plain.write_all(b"ping\nping\nping\n").await.unwrap();
            assert!(matches!(refused.await, Err(NotServed::Refused(Refused::Handshake))));
            continue;
        }
        assert!(alive(&mut client).await);
        client.write_all(b"STARTTLS\n").await.unwrap();
        if mode == TlsMode::No {
            assert!(matches!(session.await, Err(NotServed::Serve(_))));
        } else {
            let mut reply = [0; 3];
            client.read_exact(&mut reply).await.unwrap();
            let mut client = connector.connect(pki::name("mail.example.org"), client).await.unwrap();
            assert!(alive(&mut client).await);
        }
    }
}
