//! Listeners, limits, gates, leaving.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::World;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::conversation::Control;
use pillarbox_server_core::{BindError, Gate, Listener, Refusal, Server, ServerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn listener(name: &str, world: &Arc<World>) -> Listener {
    Listener::new(name, world.make()).address(ANY)
}

fn start(server: Server) -> ServerHandle {
    server.bind().unwrap().start().unwrap()
}

async fn dial(server: &ServerHandle, name: &str) -> TcpStream {
    TcpStream::connect(server.local_addr(name).unwrap()).await.unwrap()
}

/// Sends a line and waits for it to come back.
async fn alive(client: &mut TcpStream) -> bool {
    let mut reply = [0; 5];
    client.write_all(b"ping\n").await.is_ok() && client.read_exact(&mut reply).await.is_ok() && &reply == b"ping\n"
}

/// Whether the client is turned away, without a byte.
async fn refused(mut client: TcpStream) -> bool {
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    answer.is_empty()
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn several_listeners_with_several_addresses() {
    let (one, two) = (World::new(), World::new());
    let server = Server::new().listener(listener("one", &one).address(ANY)).listener(listener("two", &two));
    let server = server.bind().unwrap();
    let names: Vec<_> = server.local_addrs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["one", "one", "two"]);
    // Clients that come before the start are served after it.
    let early = TcpStream::connect(server.local_addrs()[1].1).await.unwrap();
    let server = server.start().unwrap();
    let (mut early, mut late) = (early, dial(&server, "two").await);
    assert!(alive(&mut early).await && alive(&mut late).await);
    assert_eq!(server.connections(), 2);

    let connection = one.connections.lock().unwrap()[0].clone();
    assert_eq!(&*connection.service, "one");
    assert_eq!(connection.peer, Some(early.local_addr().unwrap()));
    assert_eq!(connection.local, Some(early.peer_addr().unwrap()));
    assert!(!connection.is_secure());
    let other = two.connections.lock().unwrap()[0].id;
    assert_ne!(connection.id, other);

    drop(early);
    until(|| server.connections() == 1).await;
    assert!(server.send(other, Control::Kick { text: "out".into() }));
    let mut last = String::new();
    late.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "out\n");
    drop(late);
    until(|| server.connections() == 0).await;
    assert!(!server.send(other, Control::Kick { text: "out".into() }));
}

#[tokio::test]
async fn a_port_in_use_is_named_and_nothing_is_half_started() {
    let taken = std::net::TcpListener::bind(ANY).unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    // At an address of this test, so that no other takes it meanwhile.
    let free = {
        let probe = std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 77, 1), 0)).unwrap();
        probe.local_addr().unwrap()
    };
    let world = World::new();
    let server = Server::new()
        .listener(Listener::new("first", world.make()).address(free))
        .listener(Listener::new("second", world.make()).address(taken.1));
    let error = server.bind().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("listener second: cannot listen on {}: Address already in use", taken.1)));
    assert!(matches!(error, BindError::Bind { .. }));
    assert!(std::net::TcpStream::connect(free).is_err(), "the first listener does not stay");
}

#[test]
fn a_server_without_anything_to_listen_on_is_an_error() {
    assert_eq!(Server::new().bind().unwrap_err().to_string(), "no listener");
    let empty = Listener::new("imap", World::new().make());
    assert_eq!(Server::new().listener(empty).bind().unwrap_err().to_string(), "listener imap: no address");
}

#[tokio::test]
async fn the_limits_of_server_and_listener_hold_and_slots_come_back() {
    let world = World::new();
    let server =
        Server::new().listener(listener("small", &world).max_connections(2)).listener(listener("large", &world));
    let server = start(server.max_connections(3));
    let (mut one, mut two) = (dial(&server, "small").await, dial(&server, "small").await);
    assert!(alive(&mut one).await && alive(&mut two).await);
    assert!(refused(dial(&server, "small").await).await, "the listener is full");
    let mut three = dial(&server, "large").await;
    assert!(alive(&mut three).await, "a refusal takes no slot of the server");
    assert!(refused(dial(&server, "large").await).await, "the server is full");

    drop(three);
    until(|| server.connections() == 2).await;
    assert!(refused(dial(&server, "small").await).await, "room in the server is none in the listener");
    drop(one);
    until(|| server.connections() == 1).await;
    for _ in 0..2 {
        let mut next = dial(&server, "small").await;
        assert!(alive(&mut next).await && alive(&mut two).await);
        drop(next);
        until(|| server.connections() == 1).await;
    }
    assert_eq!(world.connections.lock().unwrap().len(), 5, "nobody refused had a conversation");

    server.set_max_connections(1);
    assert!(refused(dial(&server, "large").await).await && alive(&mut two).await, "who is in stays");
    server.set_max_connections(4);
    assert!(server.set_max_connections_of("small", 1) && !server.set_max_connections_of("none", 1));
    assert!(refused(dial(&server, "small").await).await);
    assert!(alive(&mut dial(&server, "large").await).await);
}

struct Loopback(bool);

#[async_trait::async_trait]
impl Gate for Loopback {
    async fn admit(&self, connection: &mut Connection) -> Result<(), Refusal> {
        tokio::task::yield_now().await;
        if connection.client().is_some_and(|client| client.ip().is_loopback() == self.0) {
            connection.externally_secured = true;
            Ok(())
        } else {
            Err(Refusal::new("from the wrong side"))
        }
    }
}

#[tokio::test]
async fn gates_decide_before_a_byte_is_exchanged() {
    let world = World::new();
    let server = start(
        Server::new()
            .listener(listener("open", &world).gate(Loopback(true)))
            .listener(listener("shut", &world).gate(Loopback(true)).gate(Loopback(false)).max_connections(1)),
    );
    assert!(alive(&mut dial(&server, "open").await).await);
    assert!(world.connections.lock().unwrap()[0].externally_secured);
    for _ in 0..3 {
        assert!(refused(dial(&server, "shut").await).await);
        until(|| server.connections() == 0).await;
    }
    assert_eq!(world.connections.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_shutdown_lets_the_running_command_finish() {
    let world = World::new();
    let server = start(Server::new().listener(listener("toy", &world)));
    let (mut idle, mut busy) = (dial(&server, "toy").await, dial(&server, "toy").await);
    assert!(alive(&mut idle).await && alive(&mut busy).await);
    busy.write_all(b"CHANGE\n").await.unwrap();
    until(|| world.lines.load(std::sync::atomic::Ordering::Relaxed) == 3).await;

    let leaving = server.clone();
    let drained = tokio::spawn(async move { leaving.shutdown("closing time", Duration::from_secs(60)).await });
    let mut last = String::new();
    idle.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "closing time\n");
    drop(idle);
    assert!(TcpStream::connect(server.local_addr("toy").unwrap()).await.is_err(), "nobody new");
    until(|| server.connections() == 1).await;
    assert!(!drained.is_finished());
    world.release();
    let mut last = String::new();
    busy.read_to_string(&mut last).await.unwrap();
    assert!(last.contains("changed\n") && last.contains("closing time\n"), "{last}");
    drop(busy);
    let drained = drained.await.unwrap();
    assert_eq!((drained.finished, drained.dropped), (2, 0));
    server.stopped().await;
}

#[tokio::test]
async fn who_does_not_leave_is_dropped_after_the_grace() {
    let world = World::stubborn();
    let server = start(Server::new().listener(listener("toy", &world)));
    let mut client = dial(&server, "toy").await;
    assert!(alive(&mut client).await);
    let drained = server.shutdown("please", Duration::from_millis(20)).await;
    assert_eq!((drained.finished, drained.dropped), (0, 1));
    assert_eq!(world.events(), ["made", "ignored please", "dropped"]);
    assert!(refused(client).await);
    assert_eq!(server.connections(), 0);
    let again = server.shutdown("please", Duration::ZERO).await;
    assert_eq!((again.finished, again.dropped), (0, 0));
}

#[tokio::test]
async fn a_second_shutdown_without_grace_ends_the_first() {
    let world = World::stubborn();
    let server = start(Server::new().listener(listener("toy", &world)));
    let mut client = dial(&server, "toy").await;
    assert!(alive(&mut client).await);
    let first = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown("please", Duration::from_secs(3600)).await }
    });
    world.heard("ignored please").await;
    assert_eq!(server.shutdown("now", Duration::ZERO).await.dropped, 1);
    first.await.unwrap();
}

#[tokio::test]
async fn a_conversation_that_panics_takes_only_itself() {
    let world = World::new();
    let make = world.make();
    let first = std::sync::atomic::AtomicBool::new(true);
    let make = move |connection: Connection| {
        assert!(!first.swap(false, std::sync::atomic::Ordering::Relaxed), "a bug");
        make(connection)
    };
    let listener = Listener::new("toy", make).address(ANY).max_connections(1);
    let server = start(Server::new().listener(listener));
    assert!(refused(dial(&server, "toy").await).await);
    until(|| server.connections() == 0).await;
    assert!(alive(&mut dial(&server, "toy").await).await, "its slot is free again");
}

#[tokio::test]
async fn everybody_hears_a_broadcast() {
    let world = World::new();
    let server = start(Server::new().listener(listener("toy", &world)));
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = dial(&server, "toy").await;
        assert!(alive(&mut client).await);
        clients.push(client);
    }
    assert_eq!(server.broadcast(&Control::Alert("tea".into())), 100);
    for mut client in clients {
        let mut reply = [0; 10];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"alert tea\n");
    }
}

#[tokio::test]
async fn ipv6_and_ipv4_at_one_address() {
    let world = World::new();
    let address: SocketAddr = "[::]:0".parse().unwrap();
    let listener = Listener::new("toy", world.make()).address(address);
    let Ok(bound) = Server::new().listener(listener).bind() else {
        // A machine without IPv6.
        return;
    };
    let server = bound.start().unwrap();
    let port = server.local_addr("toy").unwrap().port();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    assert!(alive(&mut client).await);
    let peer = world.connections.lock().unwrap()[0].peer.unwrap();
    assert_eq!(peer, client.local_addr().unwrap(), "not ::ffff:127.0.0.1");
}
