//! Accepting goes on after the process ran out of descriptors. Alone in its process: the limit is everybody's.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]
#![cfg(target_os = "linux")]

mod common;

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::World;
use pillarbox_server_core::{Listener, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn answered(client: &mut TcpStream) {
    client.write_all(b"x\n").await.unwrap();
    let mut reply = [0; 2];
    client.read_exact(&mut reply).await.unwrap();
}

#[tokio::test]
async fn accepting_recovers() {
    let world = World::new();
    let listener = Listener::new("toy", world.make()).address((Ipv4Addr::LOCALHOST, 0));
    let server = Server::new().listener(listener).bind().unwrap().start().unwrap();
    let address = server.local_addr("toy").unwrap();
    let mut first = TcpStream::connect(address).await.unwrap();
    answered(&mut first).await;

    // From here on no new descriptor. The client's own sockets are made before.
    let before = getrlimit(Resource::Nofile);
    let waiting: Vec<_> = (0..3).map(|_| tokio::net::TcpSocket::new_v4().unwrap()).collect();
    let lowest_free = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(lowest_free), maximum: before.maximum }).unwrap();
    let mut clients = Vec::new();
    for socket in waiting {
        // The system accepts for us; our process can't take the connection over.
        clients.push(socket.connect(address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.connections.lock().unwrap().len(), 1);
    answered(&mut first).await;
    assert_eq!(world.lines.load(Ordering::Relaxed), 2, "who is in is served on");

    setrlimit(Resource::Nofile, before).unwrap();
    for client in &mut clients {
        answered(client).await;
    }
    assert_eq!(server.connections(), 4);
}
