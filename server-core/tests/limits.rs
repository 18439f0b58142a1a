//! Limits on clients that come from many addresses, over sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]

mod common;
mod login;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::World;
use login::{Users, doors};
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::conversation::Control;
use pillarbox_server_core::limits::{
    AddressLimits, AddressSettings, LimitReached, MemoryCeiling, MinRate, Penalties, PenaltySettings, Rate, Throttled,
    UserLimits,
};
use pillarbox_server_core::{Listener, Server, ServerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const MOMENT: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_secs(3600);

fn start(server: Server, listener: Listener) -> ServerHandle {
    server.listener(listener.address((Ipv4Addr::LOCALHOST, 0))).bind().unwrap().start().unwrap()
}

fn addresses(change: impl FnOnce(&mut AddressSettings)) -> AddressLimits {
    let mut settings = AddressSettings::default();
    change(&mut settings);
    AddressLimits::new(settings)
}

/// Quick ones: a test has no minutes.
fn penalties(change: impl FnOnce(&mut PenaltySettings)) -> Penalties {
    let mut settings = PenaltySettings::default();
    settings.first_delay = Duration::from_millis(20);
    settings.longest_delay = Duration::from_millis(50);
    change(&mut settings);
    Penalties::new(settings)
}

/// Connects from this address.
async fn dial(server: &ServerHandle, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(server.local_addrs()[0].1).await.unwrap()
}

async fn ask(client: &mut TcpStream, line: &str) -> Option<String> {
    client.write_all(format!("{line}\n").as_bytes()).await.ok()?;
    hear(client).await
}

/// A line; `None` at the end.
async fn hear(client: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    loop {
        match client.read_u8().await {
            Ok(b'\n') => return Some(String::from_utf8(line).unwrap()),
            Ok(byte) => line.push(byte),
            Err(_) => {
                assert!(line.is_empty(), "{line:?}");
                return None;
            }
        }
    }
}

/// Whether a client from this address is turned away, without a byte.
async fn refused(server: &ServerHandle, from: [u8; 4]) -> bool {
    let mut client = dial(server, from).await;
    ask(&mut client, "ping").await.is_none()
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(MOMENT).await;
    }
}

/// Lets the clock go on by so much at once, for us and the server; however slow the machine is, nothing else takes an hour.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn connections_of_addresses_and_networks_and_their_slots_come_back() {
    let limits = addresses(|settings| {
        settings.connections = Some(2);
        settings.network_connections = Some(3);
    });
    let world = World::new();
    let server = start(Server::new().address_limits(limits.clone()), Listener::new("toy", world.make()));
    let (mut one, mut two) = (dial(&server, [127, 1, 0, 1]).await, dial(&server, [127, 1, 0, 1]).await);
    assert_eq!(ask(&mut one, "ping").await.as_deref(), Some("ping"));
    assert_eq!(ask(&mut two, "ping").await.as_deref(), Some("ping"));
    assert!(refused(&server, [127, 1, 0, 1]).await, "the address is full");
    let mut three = dial(&server, [127, 1, 0, 2]).await;
    assert_eq!(ask(&mut three, "ping").await.as_deref(), Some("ping"));
    assert!(refused(&server, [127, 1, 0, 3]).await, "the network is full");
    assert!(!refused(&server, [127, 1, 1, 1]).await);
    // By a client that leaves, by the server that ends it, and by a task that is dropped.
    drop(one);
    until(|| limits.open([127, 1, 0, 1].into()) == 1).await;
    let mut one = dial(&server, [127, 1, 0, 1]).await;
    assert_eq!(ask(&mut one, "ping").await.as_deref(), Some("ping"));
    server.broadcast(&Control::Kick { text: "bye".into() });
    drop((one, two, three));
    until(|| limits.open([127, 1, 0, 1].into()) + limits.open([127, 1, 0, 2].into()) == 0).await;
    let world = World::stubborn();
    let server = start(Server::new().address_limits(limits.clone()), Listener::new("toy", world.make()));
    let mut one = dial(&server, [127, 1, 0, 1]).await;
    assert_eq!(ask(&mut one, "ping").await.as_deref(), Some("ping"));
    assert_eq!(server.shutdown("bye", Duration::ZERO).await.dropped, 1);
    assert_eq!(limits.open([127, 1, 0, 1].into()), 0);
}

#[tokio::test]
async fn new_connections_in_a_time() {
    let limits = addresses(|settings| settings.rate = Some(Rate::new(1, HOUR).burst(3)));
    let world = World::new();
    let server = start(Server::new().address_limits(limits), Listener::new("toy", world.make()));
    for _ in 0..3 {
        assert!(!refused(&server, [127, 2, 0, 1]).await);
    }
    for _ in 0..3 {
        assert!(refused(&server, [127, 2, 0, 1]).await);
    }
    assert!(!refused(&server, [127, 2, 0, 2]).await);
}

#[tokio::test]
async fn above_the_ceiling_new_connections_are_refused_and_idle_ones_stay() {
    let ceiling = MemoryCeiling::new(60_000);
    let world = World::new();
    let server = start(Server::new().memory_ceiling(ceiling.clone()), Listener::new("toy", world.make()));
    let mut idle = dial(&server, [127, 3, 0, 1]).await;
    assert_eq!(ask(&mut idle, "ping").await.as_deref(), Some("ping"));
    // Megabytes, more than the kernel takes.
    let mut greedy = dial(&server, [127, 3, 0, 2]).await;
    greedy.write_all(b"BIG 50000000\n").await.unwrap();
    until(|| ceiling.used() > 60_000).await;
    assert!(refused(&server, [127, 3, 0, 3]).await);
    assert_eq!(ask(&mut idle, "ping").await.as_deref(), Some("ping"));
    drop(greedy);
    until(|| ceiling.used() < 60_000).await;
    assert!(!refused(&server, [127, 3, 0, 3]).await);
    drop(idle);
    until(|| ceiling.used() == 0).await;
}

#[tokio::test]
async fn who_guesses_is_held_up_and_then_blocked_and_others_are_not() {
    let penalties = penalties(|settings| {
        settings.block_after = Some(5);
        (settings.block_for, settings.window) = (HOUR, HOUR);
    });
    let users = Arc::new(Users::default());
    let backend: Arc<dyn Backend> = Arc::new(Throttled::new(users.clone()).penalties(penalties.clone()));
    let server = start(Server::new().penalties(penalties.clone()), Listener::new("door", doors(backend)));
    let mut good = dial(&server, [127, 4, 0, 2]).await;
    assert_eq!(ask(&mut good, "bob secret").await.as_deref(), Some("welcome"));

    // Of users that exist and of such that don't: alike, in what is asked and in what is answered.
    let mut attacker = dial(&server, [127, 4, 0, 1]).await;
    let mut waiting = dial(&server, [127, 4, 0, 1]).await;
    assert_eq!(ask(&mut waiting, "down secret").await.as_deref(), Some("down"), "no failed login");
    let before = users.asked.load(Ordering::Relaxed);
    let start = tokio::time::Instant::now();
    for (number, line) in ["ada wrong", "nobody secret", "bob wrong", "mallory x", "nobody x"].iter().enumerate() {
        assert_eq!(ask(&mut attacker, line).await.as_deref(), Some("no"));
        assert_eq!(users.asked.load(Ordering::Relaxed), before + 1 + number as u64);
    }
    assert!(start.elapsed() >= Duration::from_millis(20 + 40 + 50 + 50));

    // Blocked: no byte for new connections, and no login on old ones, whatever the password.
    assert_eq!(penalties.blocked().len(), 1);
    assert!(refused(&server, [127, 4, 0, 1]).await);
    let asked = users.asked.load(Ordering::Relaxed);
    assert_eq!(ask(&mut waiting, "ada secret").await.as_deref(), Some("no"));
    assert_eq!(users.asked.load(Ordering::Relaxed), asked, "nobody was asked");
    assert_eq!(ask(&mut good, "still here").await.as_deref(), Some("still here"));
    assert!(!refused(&server, [127, 4, 0, 3]).await);

    pass(HOUR).await;
    assert!(penalties.blocked().is_empty());
    let mut back = dial(&server, [127, 4, 0, 1]).await;
    assert_eq!(ask(&mut back, "ada secret").await.as_deref(), Some("welcome"));
}

#[tokio::test]
async fn the_operator_blocks_and_unblocks() {
    let penalties = penalties(|_| {});
    let world = World::new();
    let server = start(Server::new().penalties(penalties.clone()), Listener::new("toy", world.make()));
    penalties.block([127, 5, 0, 1].into(), Duration::MAX);
    assert!(refused(&server, [127, 5, 0, 1]).await);
    assert!(world.events().is_empty(), "not even a conversation was made");
    assert!(penalties.unblock([127, 5, 0, 1].into()));
    assert!(!refused(&server, [127, 5, 0, 1]).await);
}

#[tokio::test]
async fn only_so_many_answers_wait_for_an_address() {
    let penalties = penalties(|settings| {
        settings.free = 0;
        (settings.first_delay, settings.longest_delay) = (HOUR, HOUR);
        settings.waiting = 3;
        settings.block_after = None;
    });
    let users = Arc::new(Users::default());
    let backend: Arc<dyn Backend> = Arc::new(Throttled::new(users.clone()).penalties(penalties));
    let server = start(Server::new(), Listener::new("door", doors(backend)));
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = dial(&server, [127, 6, 0, 1]).await;
        client.write_all(b"ada wrong\n").await.unwrap();
        waiting.push(client);
    }
    until(|| users.asked.load(Ordering::Relaxed) == 3).await;
    tokio::time::sleep(MOMENT).await;
    let mut fourth = dial(&server, [127, 6, 0, 1]).await;
    assert_eq!(ask(&mut fourth, "ada wrong").await, None, "dropped without an answer");
    let mut good = dial(&server, [127, 6, 0, 1]).await;
    assert_eq!(ask(&mut good, "ada secret").await.as_deref(), Some("welcome"));
    // One who is gone makes room for another to wait. (Who has only closed its side may still read.)
    let gone = waiting.pop().unwrap();
    gone.set_zero_linger().unwrap();
    drop(gone);
    until(|| server.connections() == 3).await;
    let mut fifth = dial(&server, [127, 6, 0, 1]).await;
    fifth.write_all(b"ada wrong\n").await.unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(100), hear(&mut fifth)).await;
    assert!(answer.is_err(), "it waits: {answer:?}");
}

#[tokio::test]
async fn sessions_of_a_user() {
    let limits = UserLimits::new(2);
    let users = Arc::new(Users::default());
    let backend: Arc<dyn Backend> = Arc::new(Throttled::new(users).users(limits.clone()));
    let server = start(Server::new(), Listener::new("door", doors(backend)));
    let mut clients = Vec::new();
    for number in 0..2 {
        let mut client = dial(&server, [127, 7, 0, number]).await;
        assert_eq!(ask(&mut client, "ada secret").await.as_deref(), Some("welcome"));
        clients.push(client);
    }
    let mut third = dial(&server, [127, 7, 0, 3]).await;
    assert_eq!(ask(&mut third, "ada secret").await.as_deref(), Some("full"));
    assert_eq!(ask(&mut third, "ada wrong").await.as_deref(), Some("no"), "only who has the password hears of it");
    assert_eq!(limits.live("ada"), 2);
    drop(clients.pop());
    until(|| limits.live("ada") == 1).await;
    assert_eq!(ask(&mut third, "ada secret").await.as_deref(), Some("welcome"), "and it is not in its own way");
    let mut other = dial(&server, [127, 7, 0, 4]).await;
    assert_eq!(ask(&mut other, "bob secret").await.as_deref(), Some("welcome"));
    // A task that is dropped gives back what it had.
    server.shutdown("bye", Duration::ZERO).await;
    assert_eq!((limits.live("ada"), limits.live("bob")), (0, 0));
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_others_served() {
    let world = World::new();
    let listener = Listener::new("toy", world.make()).min_rate(MinRate::new(100, HOUR)).write_stall(HOUR);
    let server = start(Server::new(), listener);
    let mut good = dial(&server, [127, 8, 1, 1]).await;
    let mut slow = Vec::new();
    for number in 0..100 {
        let mut client = dial(&server, [127, 8, 0, number]).await;
        client.write_all(b"x").await.unwrap();
        slow.push(client);
    }
    // And one that reads nothing.
    let mut greedy = dial(&server, [127, 8, 2, 1]).await;
    greedy.write_all(b"BIG 50000000\n").await.unwrap();
    until(|| server.connections() == 102).await;
    while server.connections() > 1 {
        assert_eq!(ask(&mut good, "ping").await.as_deref(), Some("ping"));
        for client in &mut slow {
            let _ = client.write_all(b"x").await;
        }
        tokio::time::sleep(MOMENT).await;
        pass(HOUR / 3).await;
    }
    assert_eq!(ask(&mut good, "ping").await.as_deref(), Some("ping"));
    for client in &mut slow {
        assert_eq!(hear(client).await, None);
    }
}

#[test]
fn causes_have_names_for_logs() {
    let all = [
        LimitReached::Address,
        LimitReached::Network,
        LimitReached::Rate,
        LimitReached::Blocked,
        LimitReached::Memory,
        LimitReached::User,
    ];
    let mut names: Vec<_> = all.iter().map(|cause| cause.name()).collect();
    names.dedup();
    assert_eq!(names.len(), all.len());
    assert_eq!(LimitReached::Blocked.to_string(), "this address is blocked");
}

/// A method that the traits gain has to be handed on: a default in its place would lie.
#[test]
fn the_decorator_hands_on_every_method() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let methods = |text: &str, head: &str| -> Vec<String> {
        let body = text.split_once(head).unwrap_or_else(|| panic!("{head} is not there")).1;
        let body = body.split_once("\n}").unwrap().0;
        let names = body.lines().filter_map(|line| {
            let line = line.strip_prefix("    ")?;
            let rest = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
            Some(rest.split(['(', '<']).next()?.to_owned())
        });
        names.collect()
    };
    let own = read("src/limits/throttled.rs");
    for (file, head, mine, least) in [
        ("authenticator.rs", "pub trait Authenticator: Send + Sync {", "Authenticator for Throttled<B> {", 12),
        ("mod.rs", "pub trait Backend: Authenticator {", "Backend for Throttled<B> {", 2),
    ] {
        let wanted = methods(&read(&format!("../proto-core/src/backend/{file}")), head);
        assert!(wanted.len() >= least, "{wanted:?}");
        let handed_on = methods(&own, mine);
        for method in wanted {
            assert!(handed_on.contains(&method), "{method} of {file} is not handed on");
            assert!(own.contains(&format!("self.backend.{method}(")), "{method} is not asked of the backend");
        }
    }
}
