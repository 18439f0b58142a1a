//! The loop, over in-process duplexes and sockets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]

mod common;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use common::{HIGH_WATER, World};
use pillarbox_proto_core::conversation::{Control, Layer, Next};
use pillarbox_server_core::control::channel;
use pillarbox_server_core::{End, Outcome, ServeError, ServeOptions, serve_connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

type Served = JoinHandle<Result<Outcome, ServeError>>;

fn serve(world: &Arc<World>, room: usize) -> (DuplexStream, Served) {
    serve_with(world, room, ServeOptions::new())
}

fn serve_with(world: &Arc<World>, room: usize, options: ServeOptions) -> (DuplexStream, Served) {
    let (ours, theirs) = duplex(room);
    (theirs, tokio::spawn(serve_connection(ours, world.toy(), options)))
}

async fn serve_tcp(world: &Arc<World>, options: ServeOptions) -> (TcpStream, Served) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (client, tokio::spawn(serve_connection(stream, world.toy(), options)))
}

async fn read_all(mut client: impl AsyncReadExt + Unpin) -> String {
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    String::from_utf8(all).unwrap()
}

async fn ended(served: Served) -> Outcome {
    served.await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_cut_of_the_input_makes_no_difference() {
    let script = b"one\ntwo two\n\nWAIT\nthree\nBIG 100000\nfour\nQUIT\nunread\n";
    let mut expected = None;
    for piece in [1, 2, 3, 7, 4096] {
        let world = World::new();
        world.release();
        let (client, served) = serve(&world, 16);
        let (mut from, mut to) = tokio::io::split(client);
        let writer = tokio::spawn(async move {
            for part in script.chunks(piece) {
                if to.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            to
        });
        let mut all = Vec::new();
        from.read_to_end(&mut all).await.unwrap();
        assert!(all.ends_with(b"four\nbye\n"));
        assert_eq!(*expected.get_or_insert_with(|| all.clone()), all, "pieces of {piece}");
        drop((from, writer.await.unwrap()));
        let outcome = ended(served).await;
        assert_eq!(outcome.end, End::Closed);
        assert_eq!(outcome.sent, all.len() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_end_of_the_input_is_executed_and_answered() {
    let world = World::new();
    let (mut client, served) = serve(&world, 4096);
    client.write_all(b"one\nWAIT\ntwo\nhalf a li").await.unwrap();
    client.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!served.is_finished());
    world.release();
    assert_eq!(read_all(client).await, "one\nwaited\ntwo\n");
    assert_eq!(ended(served).await.end, End::Closed);
}

#[tokio::test]
async fn a_half_closed_socket_is_answered_too() {
    let world = World::new();
    let (mut client, served) = serve_tcp(&world, ServeOptions::new()).await;
    client.write_all(b"one\nWAIT\ntwo\n").await.unwrap();
    client.shutdown().await.unwrap();
    world.heard("eof").await;
    world.release();
    assert_eq!(read_all(client).await, "one\nwaited\ntwo\n");
    assert_eq!(ended(served).await.end, End::Closed);
}

#[tokio::test]
async fn a_hang_up_is_noticed_while_nothing_is_read() {
    let world = World::new();
    let (mut client, served) = serve_tcp(&world, ServeOptions::new()).await;
    client.write_all(b"WAIT\n").await.unwrap();
    // The backend never answers, nothing is read or written: only the socket can tell.
    drop(client);
    world.heard("eof").await;
    assert!(!served.is_finished());
    served.abort();

    let world = World::new();
    let (mut client, served) = serve_tcp(&world, ServeOptions::new()).await;
    client.write_all(b"WAIT\n").await.unwrap();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    tokio::task::yield_now().await;
    drop(client);
    // A reset: there is nobody left to answer, and a read is not finished.
    world.heard("gone").await;
    let outcome = ended(served).await;
    assert_eq!(outcome.end, End::Gone);
    assert!(outcome.error.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_looked_into_is_read_ahead_a_little() {
    let world = World::new();
    let (mut client, served) = serve(&world, 1024);
    client.write_all(b"WAIT\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.write_all(&[b'y'; 1000]).await.unwrap();
    client.write_all(b"\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.lines.load(std::sync::atomic::Ordering::Relaxed), 1);
    world.release();
    client.write_all(b"QUIT\n").await.unwrap();
    let reply = read_all(&mut client).await;
    assert_eq!(reply, format!("waited\n{}\nbye\n", "y".repeat(1000)), "no byte is lost or turned round");
    drop(client);
    assert_eq!(ended(served).await.end, End::Closed);

    let world = World::new();
    let (mut client, served) = serve(&world, 1024);
    client.write_all(b"WAIT\n").await.unwrap();
    drop(client);
    world.heard("eof").await;
    served.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_not_read() {
    let world = World::new();
    let (client, served) = serve(&world, 4096);
    let (from, mut to) = tokio::io::split(client);
    let line = [b'z'; 1000];
    let writer = tokio::spawn(async move {
        let mut taken = 0;
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(60), to.write_all(&line)).await {
            taken += line.len();
            let _ = to.write_all(b"\n").await;
        }
        (taken, to)
    });
    let (taken, to) = writer.await.unwrap();
    assert!(taken <= HIGH_WATER + 64 * 1024, "{taken} bytes were taken");
    assert!(!served.is_finished(), "back-pressure is no reason to disconnect");
    drop((from, to));
    assert_eq!(ended(served).await.end, End::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_finished_though_its_client_is_gone() {
    let world = World::new();
    let (mut client, served) = serve(&world, 64);
    client.write_all(b"CHANGE\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(client);
    world.heard("eof").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!served.is_finished());
    world.release();
    ended(served).await;
    assert!(world.events().contains(&"changed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_takes_too_long_is_dropped() {
    let world = World::new();
    let options = ServeOptions::new().finish_grace(Duration::from_secs(7));
    let (mut client, served) = serve_with(&world, 16, options);
    // The reply before the change can't be written: the client is seen to be gone while the change runs.
    client.write_all(b"a long line\nanother\nCHANGE\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    drop(client);
    assert_eq!(ended(served).await.end, End::Gone);
    assert_eq!(start.elapsed().as_secs(), 7);
    assert_eq!(world.events(), ["gone", "dropped"]);
}

#[tokio::test(start_paused = true)]
async fn times_without_end_are_never() {
    for forever in [Duration::MAX, Duration::from_secs(1 << 62), Duration::from_secs(1 << 40)] {
        let world = World::new();
        let options = ServeOptions::new().finish_grace(forever).write_grace(forever);
        let (mut client, served) = serve_with(&world, 16, options);
        client.write_all(b"a long line\nanother\nCHANGE\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(client);
        world.heard("gone").await;
        tokio::time::sleep(Duration::from_secs(1_000_000)).await;
        assert!(!served.is_finished());
        world.release();
        assert_eq!(ended(served).await.end, End::Gone);
        assert!(world.events().contains(&"changed".to_owned()));

        let world = World::idle_limit(Duration::from_secs(100));
        let (client, served) = serve_with(&world, 4, ServeOptions::new().write_grace(forever));
        tokio::time::sleep(Duration::from_secs(1_000_000)).await;
        assert!(!served.is_finished(), "it waits for the client to take its last reply");
        drop(client);
        assert_eq!(ended(served).await.end, End::Gone);
    }
}

#[tokio::test]
async fn a_socket_is_served_without_delay() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let same = socket2::SockRef::from(&stream).try_clone().unwrap();
    assert!(!same.tcp_nodelay().unwrap());
    let world = World::new();
    let _served = serve_connection(stream, world.toy(), ServeOptions::new());
    assert!(same.tcp_nodelay().unwrap());
}

/// Ends at once when its client is gone, as some protocols do.
struct Abrupt(bytes::BytesMut, pillarbox_proto_core::Output, bool);

impl pillarbox_proto_core::Conversation for Abrupt {
    fn read_buf(&mut self) -> Option<&mut bytes::BytesMut> {
        Some(&mut self.0)
    }
    fn handle_read(&mut self, _: std::time::Instant) {}
    fn handle_eof(&mut self, _: std::time::Instant) {}
    fn handle_gone(&mut self) {
        self.2 = true;
    }
    fn handle_control(&mut self, _: Control, _: std::time::Instant) {}
    fn poll_next(&mut self, _: &mut std::task::Context<'_>, _: std::time::Instant) -> Poll<Next> {
        if self.2 { Poll::Ready(Next::Abort) } else { Poll::Pending }
    }
    fn output(&mut self) -> &mut pillarbox_proto_core::Output {
        &mut self.1
    }
    fn deadline(&self) -> Option<std::time::Instant> {
        None
    }
    fn handle_deadline(&mut self, _: std::time::Instant) {}
    fn upgraded(&mut self, _: pillarbox_proto_core::conversation::Upgraded, _: std::time::Instant) {}
}

#[tokio::test]
async fn a_conversation_that_aborts_for_want_of_a_client_was_left_and_not_aborted() {
    let (ours, theirs) = duplex(16);
    drop(theirs);
    let mut output = pillarbox_proto_core::Output::new();
    output.put(b"hello");
    let served = serve_connection(ours, Abrupt(bytes::BytesMut::new(), output, false), ServeOptions::new());
    let outcome = served.await.unwrap();
    assert_eq!(outcome.end, End::Gone);
    assert!(outcome.error.is_some());
}

#[tokio::test(start_paused = true)]
async fn deadlines_come_when_they_are_due() {
    let world = World::idle_limit(Duration::from_secs(1800));
    let (mut client, served) = serve(&world, 64);
    let start = Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1700)).await;
        client.write_all(b"still here\n").await.unwrap();
        let mut reply = [0; 11];
        client.read_exact(&mut reply).await.unwrap();
    }
    assert_eq!(read_all(&mut client).await, "too slow\n");
    assert_eq!(start.elapsed().as_secs(), 5 * 1700 + 1800);
    drop(client);
    assert_eq!(ended(served).await.end, End::Closed);
    assert_eq!(world.events().iter().filter(|event| *event == "deadline").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_last_reply_is_not_waited_for_forever() {
    let world = World::idle_limit(Duration::from_secs(100));
    let (mut client, served) = serve(&world, 4);
    client.write_all(b"lo").await.unwrap();
    let start = Instant::now();
    let outcome = ended(served).await;
    assert_eq!(outcome.end, End::Stalled);
    assert_eq!(start.elapsed().as_secs(), 110);
    assert_eq!(outcome.sent, 4);
    assert_eq!(read_all(client).await, "too ");
}

#[tokio::test(start_paused = true)]
async fn a_close_on_unread_input_waits_for_the_client_to_close() {
    let world = World::new();
    let (mut client, served) = serve(&world, 1 << 16);
    client.write_all(b"QUIT\nand so on, and so on").await.unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply, b"bye\n");
    let start = Instant::now();
    assert_eq!(ended(served).await.end, End::Closed);
    assert_eq!(start.elapsed().as_secs(), 2, "but not for long");
}

#[tokio::test(start_paused = true)]
async fn an_abort_does_not_wait() {
    let world = World::new();
    let (mut client, served) = serve(&world, 64);
    client.write_all(b"ABORT\n").await.unwrap();
    let start = Instant::now();
    assert_eq!(ended(served).await.end, End::Aborted);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(read_all(client).await, "");
}

#[tokio::test(start_paused = true)]
async fn layers_that_cannot_be_had_are_errors() {
    for (line, wanted) in [("DEFLATE\n", Layer::Deflate), ("STARTTLS\n", Layer::Tls)] {
        let world = World::new();
        let (mut client, served) = serve(&world, 64);
        client.write_all(line.as_bytes()).await.unwrap();
        let error = served.await.unwrap().unwrap_err();
        assert!(matches!(error, ServeError::Layer(layer) if layer == wanted), "{error}");
        drop(client);
    }
}

#[tokio::test(start_paused = true)]
async fn words_reach_a_conversation_that_waits_for_input() {
    let world = World::new();
    let (controls, inbox) = channel();
    let (mut client, served) = serve_with(&world, 64, ServeOptions::new().controls(inbox));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(controls.send(Control::Alert("tea".into())));
    let mut reply = [0; 10];
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"alert tea\n");
    assert!(controls.send(Control::Kick { text: "out".into() }));
    assert_eq!(read_all(&mut client).await, "out\n");
    drop(client);
    assert_eq!(ended(served).await.end, End::Closed);
    assert!(!controls.send(Control::Alert("late".into())));
}

/// A client that sends a line, and takes whatever it is given at once.
struct Greedy {
    line: &'static [u8],
    taken: Arc<std::sync::atomic::AtomicUsize>,
}

impl tokio::io::AsyncRead for Greedy {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        space: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.line.is_empty() {
            return Poll::Pending;
        }
        space.put_slice(std::mem::take(&mut self.line));
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Greedy {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.taken.fetch_add(bytes.len(), std::sync::atomic::Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_client_that_takes_everything_leaves_turns_to_others() {
    let world = World::new();
    let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let stream = Greedy { line: b"BIG 10000000\n", taken: taken.clone() };
    let mut served = Box::pin(serve_connection(stream, world.toy(), ServeOptions::new()));
    let mut turns = 0;
    while taken.load(std::sync::atomic::Ordering::Relaxed) < 10_000_000 {
        let before = taken.load(std::sync::atomic::Ordering::Relaxed);
        std::future::poll_fn(|cx| Poll::Ready(served.as_mut().poll(cx).is_pending())).await;
        let once = taken.load(std::sync::atomic::Ordering::Relaxed) - before;
        assert!((1..=64 * 1024 + HIGH_WATER).contains(&once), "{once} bytes in one turn");
        turns += 1;
    }
    assert!(turns > 10_000_000 / (128 * 1024));
}

#[tokio::test]
async fn one_busy_connection_leaves_turns_to_others() {
    // A single thread: the other task runs only when the connection yields.
    let world = World::new();
    let (client, served) = serve(&world, 1 << 20);
    let (mut from, mut to) = tokio::io::split(client);
    to.write_all(&b"x\n".repeat(100_000)).await.unwrap();
    let mut turns = 0;
    // Not tokio's `yield_now`, which steps back behind everybody.
    let turns = tokio::spawn(std::future::poll_fn(move |cx| {
        turns += 1;
        cx.waker().wake_by_ref();
        if turns == 100 { Poll::Ready(()) } else { Poll::Pending }
    }));
    turns.await.unwrap();
    assert!(
        world.lines.load(std::sync::atomic::Ordering::Relaxed) < 100_000,
        "a hundred turns come before a hundred thousand lines"
    );
    to.shutdown().await.unwrap();
    let mut all = Vec::new();
    from.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 200_000);
    drop((from, to));
    assert_eq!(ended(served).await.end, End::Closed);
}
