//! Clients that are slow in the middle of something, and the memory that sessions tell of, on a clock that waits for them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{HIGH_WATER, World};
use pillarbox_proto_core::conversation::Control;
use pillarbox_server_core::control::channel;
use pillarbox_server_core::limits::{MemoryCeiling, MinRate};
use pillarbox_server_core::{End, Outcome, ServeError, ServeOptions, serve_connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

type Served = JoinHandle<Result<Outcome, ServeError>>;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Ten bytes a second, over minutes.
fn slowest() -> ServeOptions {
    ServeOptions::new().min_rate(MinRate::new(10, MINUTE))
}

fn serve(world: &Arc<World>, options: ServeOptions) -> (DuplexStream, Served) {
    let (ours, theirs) = duplex(1024);
    (theirs, tokio::spawn(serve_connection(ours, world.toy(), options)))
}

async fn ended(served: Served) -> Outcome {
    served.await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn output_that_is_never_taken_is_not_kept_for_ever() {
    let world = World::new();
    let (mut client, served) = serve(&world, ServeOptions::new());
    client.write_all(b"BIG 1000000\n").await.unwrap();
    let start = Instant::now();
    let outcome = ended(served).await;
    assert_eq!(outcome.end, End::Stalled);
    assert_eq!(start.elapsed().as_secs(), 300);
    assert_eq!(outcome.error.unwrap().kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(outcome.sent, 1024);
    assert!(world.events().contains(&"gone".into()));
}

#[tokio::test(start_paused = true)]
async fn a_byte_in_time_is_enough_where_no_rate_is_asked_for() {
    let world = World::new();
    let (mut client, served) = serve(&world, ServeOptions::new().write_stall(10 * SECOND));
    client.write_all(b"BIG 5000\n").await.unwrap();
    for _ in 0..5000 {
        client.read_u8().await.unwrap();
        sleep(9 * SECOND).await;
    }
    assert!(!served.is_finished());
    drop(client);
    assert_eq!(ended(served).await.end, End::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_finished_though_its_client_is_cut_off() {
    let world = World::new();
    let (controls, inbox) = channel();
    let (mut client, served) = serve(&world, ServeOptions::new().controls(inbox));
    client.write_all(b"CHANGE\n").await.unwrap();
    sleep(SECOND).await;
    controls.send(Control::Alert("x".repeat(10_000).into()));
    sleep(300 * SECOND).await;
    sleep(SECOND).await;
    assert!(world.events().contains(&"gone".into()) && !served.is_finished());
    world.release();
    assert_eq!(ended(served).await.end, End::Stalled);
    assert!(world.events().contains(&"changed".into()));
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn taking_too_little_is_too_slow() {
    // 8.3 bytes a second, and 11.1.
    for (pause, cut) in [(120, true), (90, false)] {
        let world = World::new();
        let (mut client, served) = serve(&world, slowest());
        client.write_all(b"BIG 1000000\n").await.unwrap();
        let start = Instant::now();
        while start.elapsed() < 10 * MINUTE && !served.is_finished() {
            sleep(Duration::from_millis(pause)).await;
            client.read_u8().await.unwrap();
        }
        assert_eq!(served.is_finished(), cut, "{pause} ms a byte");
        if cut {
            // The first window began with a full pipe.
            assert!(start.elapsed() <= 2 * MINUTE + SECOND, "{:?}", start.elapsed());
            assert_eq!(ended(served).await.end, End::TooSlow);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_never_ends_is_too_slow() {
    let world = World::new();
    let (mut client, served) = serve(&world, slowest());
    let start = Instant::now();
    // One byte a second.
    while client.write_all(b"x").await.is_ok() {
        sleep(SECOND).await;
    }
    assert_eq!(ended(served).await.end, End::TooSlow);
    assert!((60..63).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(world.lines.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn silence_between_commands_is_not_slow() {
    let world = World::new();
    let (mut client, served) = serve(&world, slowest());
    for _ in 0..10 {
        sleep(60 * MINUTE).await;
        client.write_all(b"he").await.unwrap();
        sleep(50 * SECOND).await;
        client.write_all(b"re\n").await.unwrap();
        let mut line = [0; 5];
        client.read_exact(&mut line).await.unwrap();
    }
    // Nor is a backend that takes its time, whatever has come in meanwhile.
    client.write_all(b"WAIT\nan").await.unwrap();
    sleep(60 * MINUTE).await;
    assert!(!served.is_finished());
    world.release();
    let mut line = [0; 7];
    client.read_exact(&mut line).await.unwrap();
    // The half line is slow from now on.
    let start = Instant::now();
    assert_eq!(client.read(&mut line).await.unwrap(), 0);
    assert_eq!(start.elapsed(), MINUTE);
    assert_eq!(ended(served).await.end, End::TooSlow);
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_a_session_is_told() {
    let ceiling = MemoryCeiling::new(1 << 20);
    let world = World::new();
    let (mut client, served) = serve(&world, ServeOptions::new().memory(ceiling.admit().unwrap()));
    sleep(SECOND).await;
    let idle = ceiling.used();
    assert!((4096..8192).contains(&idle), "{idle}");
    client.write_all(b"BIG 200000\n").await.unwrap();
    sleep(SECOND).await;
    let busy = ceiling.used();
    assert!((HIGH_WATER as u64..2 * HIGH_WATER as u64).contains(&busy), "{busy}");
    let mut all = vec![0; 200_000];
    client.read_exact(&mut all).await.unwrap();
    sleep(SECOND).await;
    assert_eq!(ceiling.used(), idle);
    // A line without an end, in the read buffer.
    client.write_all(&[b'x'; 40_000]).await.unwrap();
    sleep(SECOND).await;
    assert!(ceiling.used() > idle + 30_000, "{}", ceiling.used());
    drop(client);
    ended(served).await;
    assert_eq!(ceiling.used(), 0);
}
