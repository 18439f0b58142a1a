//! What connections cost in heap, counted by an allocator: on the server's own thread, so that clients don't count.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc;

use common::World;
use pillarbox_proto_core::conversation::Control;
use pillarbox_server_core::{Listener, Server, ServerHandle};

struct Counting;

static HEAP: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count(size: isize) {
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        let now = HEAP.fetch_add(size, Ordering::Relaxed) + size;
        MOST.fetch_max(now, Ordering::Relaxed);
    }
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server alone on a counted thread; returns its handle when it runs.
fn serve(listener: Listener) -> ServerHandle {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        COUNTED.with(|counted| counted.set(true));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::new().listener(listener).bind().unwrap().start().unwrap();
            sender.send(server.clone()).unwrap();
            server.stopped().await;
        });
    });
    receiver.recv().unwrap()
}

fn settled(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("{what}: still not");
}

fn ask(client: &mut (impl Read + Write), line: &str) {
    client.write_all(line.as_bytes()).unwrap();
    let mut reply = vec![0; line.len()];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply, line.as_bytes());
}

/// The heap when the server has done what it still does after its last reply.
fn at_rest() -> isize {
    let mut last = HEAP.load(Ordering::Relaxed);
    loop {
        std::thread::sleep(std::time::Duration::from_millis(100));
        match HEAP.load(Ordering::Relaxed) {
            now if now == last => return now,
            now => last = now,
        }
    }
}

/// Heap per connection of `number` idle ones, after each has been busy.
fn per_connection<C: Read + Write>(number: usize, mut connect: impl FnMut() -> C) -> (isize, Vec<C>) {
    let mut busy = || {
        let mut client = connect();
        // Ten thousand bytes at once make buffers grow; an idle connection has to have given them back.
        ask(&mut client, &"some_line\n".repeat(1000));
        ask(&mut client, "and a short one\n");
        client
    };
    let warm: Vec<_> = (0..number / 10).map(|_| busy()).collect();
    let before = at_rest();
    let clients: Vec<_> = (0..number).map(|_| busy()).collect();
    let heap = (at_rest() - before) / number as isize;
    drop(warm);
    (heap, clients)
}

/// What a test's world would keep of each connection is not the server's doing.
fn listener(world: &Arc<World>) -> Listener {
    let world = world.clone();
    Listener::new("toy", move |_| Box::new(world.toy())).address((Ipv4Addr::LOCALHOST, 0))
}

fn quiet_world() -> Arc<World> {
    // With a deadline, as every real conversation has one.
    World::forgetful(std::time::Duration::from_secs(3600))
}

/// One test, as all of it is counted in one place.
#[test]
fn memory() {
    idle_plain_connections_are_small();
    #[cfg(feature = "tls")]
    idle_tls_connections_are_small();
    a_client_that_never_reads_is_bounded();
}

fn idle_plain_connections_are_small() {
    let world = quiet_world();
    let server = serve(listener(&world));
    let address = server.local_addr("toy").unwrap();
    let (heap, mut clients) = per_connection(1000, || TcpStream::connect(address).unwrap());
    println!("plain: {heap} bytes per idle connection");
    // What is known of a connection is in it, as every conversation keeps that.
    assert!(heap <= 2048, "{heap}");

    // A word to all of them, and then they are as small as before.
    let before = at_rest();
    assert!(server.broadcast(&Control::Alert("tea".into())) >= clients.len());
    for client in &mut clients {
        let mut reply = [0; 10];
        client.read_exact(&mut reply).unwrap();
    }
    settled("small again", || HEAP.load(Ordering::Relaxed) - before < 100 * clients.len() as isize);

    drop(clients);
    settled("all gone", || server.connections() == 0);
}

#[cfg(feature = "tls")]
fn idle_tls_connections_are_small() {
    use pillarbox_proto_core::connection::TlsMode;
    use pillarbox_server_core::tls::TlsConfig;
    use tokio_rustls::rustls::{ClientConnection, StreamOwned};

    let world = quiet_world();
    let (identity, certificate) = common::pki::identity("mail.example.org");
    let acceptor = TlsConfig::new().identity(identity).build().unwrap();
    let server = serve(listener(&world).tls(TlsMode::Connection, acceptor));
    let address = server.local_addr("toy").unwrap();
    let config = Arc::new(common::pki::client(&[&certificate]));
    let (heap, clients) = per_connection(200, || {
        let session = ClientConnection::new(config.clone(), common::pki::name("mail.example.org")).unwrap();
        StreamOwned::new(session, TcpStream::connect(address).unwrap())
    });
    println!("TLS: {heap} bytes per idle connection");
    assert!(heap <= 12 * 1024, "{heap}");
    drop(clients);
    settled("all gone", || server.connections() == 0);
}

fn a_client_that_never_reads_is_bounded() {
    let world = World::new();
    let server = serve(listener(&world));
    let address: SocketAddr = server.local_addr("toy").unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    ask(&mut client, "hello\n");
    let before = at_rest();
    MOST.store(before, Ordering::Relaxed);
    // A gigabyte asked for, over and over, and never read; the sockets' own buffers fill up in both directions.
    client.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let demands = "BIG 1000000000\n".repeat(1000);
    let mut sent = 0;
    while let Ok(count) = client.write(demands.as_bytes()) {
        sent += count;
        assert!(sent < 64 << 20, "nobody stops us");
    }
    let grown = MOST.load(Ordering::Relaxed) - before;
    println!("never reading: {grown} bytes at most");
    assert!(grown <= 256 * 1024, "{grown}");
    drop(client);
    settled("gone", || server.connections() == 0);
}
