//! How a server ends: after so many connections, after so long without, and by staggered good-byes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use common::World;
use common::clients::{alive, dial, refused, start, until};
use pillarbox_server_core::{Incoming, Listener, Server, ServerHandle};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::Instant;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn listener(world: &Arc<World>) -> Listener {
    Listener::new("toy", world.make()).address(ANY)
}

#[tokio::test]
async fn after_so_many_connections_it_stops() {
    let world = World::new();
    let other = Listener::new("other", world.make()).address(ANY);
    let server = start(Server::new().listener(listener(&world).max_connections(1)).listener(other).max_uses(3));
    let addresses: Vec<_> = server.local_addrs().iter().map(|(_, address)| *address).collect();
    let mut first = dial(&server, "toy").await;
    assert!(alive(&mut first).await);
    assert!(refused(dial(&server, "toy").await).await, "no room, which does not count");
    let mut second = dial(&server, "other").await;
    assert!(alive(&mut second).await);
    drop(second);
    until(|| server.connections() == 1).await;
    let mut third = dial(&server, "other").await;
    assert!(alive(&mut third).await);
    // Nothing is accepted any more, and who is in is served.
    for address in addresses {
        let socket_is_closed = || std::net::TcpStream::connect(address).is_err();
        until(socket_is_closed).await;
    }
    assert!(alive(&mut first).await && alive(&mut third).await);
    let stopped = tokio::spawn({
        let server = server.clone();
        async move { server.stopped().await }
    });
    drop(first);
    until(|| server.connections() == 1).await;
    tokio::task::yield_now().await;
    assert!(!stopped.is_finished());
    drop(third);
    stopped.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_never_one_too_many() {
    let world = World::new();
    let mut server = Server::new().max_uses(10);
    for name in ["a", "b", "c", "d"] {
        server = server.listener(Listener::new(name, world.make()).address(ANY));
    }
    let server = start(server);
    let clients: Vec<_> = (0..40)
        .filter_map(|number| {
            let (_, address) = server.local_addrs()[number % 4];
            std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()
        })
        .collect();
    until(|| world.connections.lock().unwrap().len() >= 10).await;
    drop(clients);
    server.stopped().await;
    assert_eq!(world.connections.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn after_so_long_without_a_connection_it_stops() {
    let world = World::new();
    let server = start(Server::new().listener(listener(&world)).idle_exit(Duration::from_millis(50)));
    let stopped = tokio::spawn({
        let server = server.clone();
        async move { server.stopped().await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!stopped.is_finished(), "nobody has been here");
    let mut client = dial(&server, "toy").await;
    assert!(alive(&mut client).await);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(alive(&mut client).await, "somebody is here");
    drop(client);
    stopped.await.unwrap();
    assert!(TcpStream::connect(server.local_addr("toy").unwrap()).await.is_err());
}

#[tokio::test]
async fn stopping_to_accept_leaves_sessions_alone() {
    let world = World::new();
    let server = start(Server::new().listener(listener(&world)));
    let mut client = dial(&server, "toy").await;
    assert!(alive(&mut client).await);
    server.stop_accepting();
    let address = server.local_addr("toy").unwrap();
    until(|| std::net::TcpStream::connect(address).is_err()).await;
    assert!(alive(&mut client).await);
    drop(client);
    server.stopped().await;
}

/// A server without sockets, in a time that stands still while something can be done, with this many clients.
async fn crowd(stagger: Duration, count: usize) -> (ServerHandle, Vec<DuplexStream>) {
    let world = World::new();
    let listener = Listener::new("toy", world.make()).without_address();
    let server = start(Server::new().listener(listener).stagger(stagger));
    let mut clients = Vec::new();
    for _ in 0..count {
        let (mut client, ours) = tokio::io::duplex(1024);
        drop(server.serve("toy", Incoming::new(ours)).unwrap());
        assert!(alive(&mut client).await);
        clients.push(client);
    }
    (server, clients)
}

/// When each client heard the good-bye, in milliseconds.
async fn good_byes(clients: Vec<DuplexStream>) -> Vec<u128> {
    let begin = Instant::now();
    let waiting: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut last = String::new();
                client.read_to_string(&mut last).await.unwrap();
                assert_eq!(last, "bye\n");
                begin.elapsed().as_millis()
            })
        })
        .collect();
    let mut times = Vec::new();
    for one in waiting {
        times.push(one.await.unwrap());
    }
    times.sort_unstable();
    times
}

#[tokio::test(start_paused = true)]
async fn good_byes_are_spread() {
    let (server, clients) = crowd(Duration::from_secs(10), 100).await;
    let leaving = tokio::spawn(async move { server.shutdown("bye", Duration::from_secs(60)).await });
    let times = good_byes(clients).await;
    assert_eq!(leaving.await.unwrap().finished, 100);
    for (number, time) in times.iter().enumerate() {
        let due = 100 * number as u128;
        assert!((due..=due + 20).contains(time), "client {number} at {time}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_one_has_half_of_the_grace_period() {
    let (server, clients) = crowd(Duration::from_secs(600), 200).await;
    let leaving = tokio::spawn(async move { server.shutdown("bye", Duration::from_secs(20)).await });
    let times = good_byes(clients).await;
    assert_eq!(leaving.await.unwrap().dropped, 0);
    assert!((8_000..=10_020).contains(times.last().unwrap()), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_few_need_not_be_spread_far() {
    let (server, clients) = crowd(Duration::from_secs(600), 3).await;
    let leaving = tokio::spawn(async move { server.shutdown("bye", Duration::from_secs(60)).await });
    let times = good_byes(clients).await;
    leaving.await.unwrap();
    assert!((200..=220).contains(times.last().unwrap()), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_stagger_all_hear_it_at_once() {
    let (server, clients) = crowd(Duration::ZERO, 100).await;
    let leaving = tokio::spawn(async move { server.shutdown("bye", Duration::from_secs(60)).await });
    assert_eq!(good_byes(clients).await, [0; 100]);
    leaving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_tells_the_rest_at_once() {
    let (server, clients) = crowd(Duration::from_secs(10), 100).await;
    let first = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown("bye", Duration::from_secs(60)).await }
    });
    let second = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        server.shutdown("bye", Duration::from_secs(60)).await
    });
    let times = good_byes(clients).await;
    assert_eq!(times.iter().filter(|time| **time >= 2_980).count(), 70);
    assert!(*times.last().unwrap() <= 3_020);
    first.await.unwrap();
    second.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_all_have_left_by_themselves_nobody_waits() {
    let (server, clients) = crowd(Duration::from_secs(10), 100).await;
    let begin = Instant::now();
    let leaving = tokio::spawn(async move { server.shutdown("bye", Duration::from_secs(60)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(clients);
    leaving.await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2));
}
