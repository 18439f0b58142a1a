//! Who is turned away, why, and in which order it is looked at.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]

mod common;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::World;
use common::clients::{alive, dial, refused, silent, start, until};
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;
use pillarbox_server_core::limits::{AddressLimits, AddressSettings, MemoryCeiling, Penalties, PenaltySettings, Rate};
use pillarbox_server_core::preauth::{Preauth, Unidentified};
use pillarbox_server_core::{Gate, HandedIn, Incoming, Listener, NotServed, Refusal, Refused, Server, ServerHandle};
use tokio::net::TcpStream;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn listener(world: &Arc<World>) -> Listener {
    Listener::new("toy", world.make()).address(ANY)
}

/// Notes that it was asked, and says what it is to say.
#[derive(Clone, Debug, Default)]
struct Asked {
    name: &'static str,
    pass: bool,
    order: Arc<Mutex<Vec<&'static str>>>,
}

#[async_trait::async_trait]
impl Gate for Asked {
    async fn admit(&self, _: &mut Connection) -> Result<(), Refusal> {
        self.order.lock().unwrap().push(self.name);
        if self.pass { Ok(()) } else { Err(Refusal::new("shut")) }
    }
}

#[async_trait::async_trait]
impl Preauth for Asked {
    async fn identify(&self, _: &Connection) -> Result<Identity, Unidentified> {
        self.order.lock().unwrap().push(self.name);
        if self.pass { Ok(Identity::new("ada")) } else { Err(Unidentified::new("unheard of")) }
    }
}

/// Hands a client from this address in, and says why it is refused.
async fn cause(server: &ServerHandle, from: [u8; 4]) -> Refused {
    match hand_in(server, from) {
        Err(refused) => refused,
        Ok((client, session)) => {
            let NotServed::Refused(cause) = session.await.unwrap_err() else { panic!("served") };
            assert!(refused(client).await);
            cause
        }
    }
}

fn hand_in(server: &ServerHandle, from: [u8; 4]) -> Result<(tokio::io::DuplexStream, HandedIn), Refused> {
    let (client, ours) = tokio::io::duplex(1024);
    let incoming = Incoming::new(ours).know(|connection| connection.peer = Some((from, 1234).into()));
    server.serve("toy", incoming).map(|session| (client, session))
}

#[tokio::test]
async fn gates_of_the_listener_come_before_those_of_the_server() {
    let world = World::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    let gate = |name, pass| Asked { name, pass, order: order.clone() };
    let asked = || std::mem::take(&mut *order.lock().unwrap());
    let server = start(
        Server::new()
            .gate(gate("server", true))
            .listener(listener(&world).gate(gate("one", true)).gate(gate("two", true)).preauth(gate("hook", true))),
    );
    assert!(alive(&mut dial(&server, "toy").await).await);
    assert_eq!(asked(), ["one", "two", "server", "hook"]);
    assert_eq!(world.connections.lock().unwrap()[0].preauth.as_ref().unwrap().user(), "ada");

    let server = start(Server::new().gate(gate("server", false)).listener(listener(&world).gate(gate("one", true))));
    assert!(refused(dial(&server, "toy").await).await, "both must allow");
    assert_eq!(asked(), ["one", "server"]);
    assert_eq!(cause(&server, [192, 0, 2, 1]).await, Refused::ServerGate);
    let server = start(Server::new().gate(gate("server", true)).listener(listener(&world).gate(gate("one", false))));
    assert_eq!(cause(&server, [192, 0, 2, 1]).await, Refused::ListenerGate);
    until(|| server.connections() == 0).await;
}

#[tokio::test]
async fn a_listener_for_known_clients_only() {
    let world = World::new();
    let hook = |pass| Asked { pass, ..Asked::default() };
    let open = start(Server::new().listener(listener(&world).preauth(hook(false))));
    assert!(alive(&mut dial(&open, "toy").await).await);
    assert_eq!(world.connections.lock().unwrap()[0].preauth, None);
    for closed in [listener(&world).preauth(hook(false)), listener(&world)] {
        let server = start(Server::new().listener(closed.preauth_only(true)));
        assert!(refused(dial(&server, "toy").await).await);
        assert_eq!(cause(&server, [192, 0, 2, 1]).await, Refused::Unidentified);
        // Who hands a connection in may know.
        let (mut client, ours) = tokio::io::duplex(1024);
        let incoming = Incoming::new(ours).know(|connection| connection.preauth = Some(Identity::new("eve")));
        let _session = server.serve("toy", incoming).unwrap();
        assert!(alive(&mut client).await);
    }
}

#[tokio::test]
async fn limits_of_addresses_are_shared_by_listeners() {
    let world = World::new();
    let mut settings = AddressSettings::default();
    settings.connections = Some(2);
    settings.network_connections = Some(3);
    let limits = AddressLimits::new(settings);
    let other = Listener::new("other", world.make()).address(ANY);
    let server = start(Server::new().listener(listener(&world)).listener(other).address_limits(limits.clone()));
    let (mut one, mut two) = (dial(&server, "toy").await, dial(&server, "other").await);
    assert!(alive(&mut one).await && alive(&mut two).await);
    assert!(refused(dial(&server, "toy").await).await);
    assert_eq!(cause(&server, [127, 0, 0, 1]).await, Refused::Address);
    let (mut third, _session) = hand_in(&server, [127, 0, 0, 2]).unwrap();
    assert!(alive(&mut third).await);
    assert_eq!(cause(&server, [127, 0, 0, 3]).await, Refused::Network);
    drop(one);
    until(|| limits.open([127, 0, 0, 1].into()) == 1).await;
    assert!(alive(&mut dial(&server, "toy").await).await);

    let mut settings = AddressSettings::default();
    settings.rate = Some(Rate::new(1, Duration::from_secs(3600)).burst(2));
    limits.set(settings);
    drop((hand_in(&server, [192, 0, 2, 1]).unwrap(), hand_in(&server, [192, 0, 2, 1]).unwrap()));
    assert_eq!(cause(&server, [192, 0, 2, 1]).await, Refused::Rate);
}

#[tokio::test]
async fn a_blocked_address_does_not_reach_the_gates() {
    let world = World::new();
    let mut settings = PenaltySettings::default();
    settings.block_after = Some(1);
    let penalties = Penalties::new(settings);
    let gate = Asked { name: "gate", pass: true, ..Asked::default() };
    let server = start(Server::new().listener(listener(&world).gate(gate.clone())).penalties(penalties.clone()));
    drop(penalties.failed([127, 0, 0, 1].into(), Some("ada")));
    assert!(refused(dial(&server, "toy").await).await);
    assert_eq!(cause(&server, [127, 0, 0, 1]).await, Refused::Blocked);
    assert!(gate.order.lock().unwrap().is_empty());
    penalties.unblock([127, 0, 0, 1].into());
    assert!(alive(&mut dial(&server, "toy").await).await);
}

#[tokio::test]
async fn at_the_ceiling_for_memory_who_is_in_stays() {
    let world = World::new();
    let ceiling = MemoryCeiling::new(1);
    let server = start(Server::new().listener(listener(&world)).memory_ceiling(ceiling.clone()));
    let mut first = dial(&server, "toy").await;
    assert!(alive(&mut first).await);
    assert!(refused(dial(&server, "toy").await).await);
    assert_eq!(cause(&server, [192, 0, 2, 1]).await, Refused::Memory);
    assert!(alive(&mut first).await);
    drop(first);
    until(|| ceiling.used() == 0).await;
    assert!(alive(&mut dial(&server, "toy").await).await);
}

#[tokio::test]
async fn a_slow_decision_holds_up_nobody_else() {
    #[derive(Debug)]
    struct Slow;
    #[async_trait::async_trait]
    impl Gate for Slow {
        async fn admit(&self, _: &mut Connection) -> Result<(), Refusal> {
            std::future::pending().await
        }
    }
    let world = World::new();
    let slow = Listener::new("slow", world.make()).address(ANY).gate(Slow);
    let server = start(Server::new().listener(slow).listener(listener(&world)));
    let mut waiting = dial(&server, "slow").await;
    assert!(alive(&mut dial(&server, "toy").await).await);
    assert!(silent(&mut waiting).await);
    // Neither does it hold up the end.
    until(|| server.connections() == 1).await;
    assert_eq!(server.shutdown("bye", Duration::ZERO).await.dropped, 1);
    assert!(refused(waiting).await);
}

#[tokio::test]
async fn one_after_another() {
    let world = World::new();
    let server = start(
        Server::new()
            .listener(listener(&world).address(ANY).one_at_a_time(true))
            .listener(Listener::new("other", world.make()).address(ANY)),
    );
    let addresses: Vec<_> = server.local_addrs().iter().take(2).map(|(_, address)| *address).collect();
    let mut first = TcpStream::connect(addresses[0]).await.unwrap();
    assert!(alive(&mut first).await);
    let mut waiting = Vec::new();
    for address in [addresses[0], addresses[1], addresses[1]] {
        waiting.push(TcpStream::connect(address).await.unwrap());
    }
    for client in &mut waiting {
        assert!(silent(client).await);
    }
    assert_eq!(server.connections(), 1, "the others are not accepted yet");
    assert!(alive(&mut dial(&server, "other").await).await, "another listener does not wait");
    assert!(alive(&mut first).await);
    drop(first);
    // Whichever comes next, one at a time.
    while !waiting.is_empty() {
        until(|| world.connections.lock().unwrap().len() == 6 - waiting.len()).await;
        let ports = world.connections.lock().unwrap().last().unwrap().peer.unwrap();
        let next = waiting.iter().position(|client| client.local_addr().unwrap() == ports).unwrap();
        let mut client = waiting.remove(next);
        assert!(alive(&mut client).await);
        for other in &mut waiting {
            assert!(silent(other).await);
        }
        drop(client);
    }
    // A shutdown does not wait for a turn.
    let mut last = dial(&server, "toy").await;
    assert!(alive(&mut last).await);
    let next = dial(&server, "toy").await;
    assert_eq!(server.shutdown("bye", Duration::from_secs(60)).await.dropped, 0);
    assert!(refused(next).await);
}
