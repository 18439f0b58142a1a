//! NOOP round trips over loopback, against a bare tokio server that sends lines back.
//!
//! All clients are tasks of one thread; each sends a command when it has the answer to the one before.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pillarbox_proto_core::memory::MemoryBackend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::Options;
use crate::measure;
use crate::report::{Figure, Reach, Row};
use crate::support::bare;
use crate::support::serving::Serving;

pub(crate) fn run(options: &Options) -> Vec<Row> {
    let backend = MemoryBackend::builder().user("alice", "secret").build().unwrap();
    let ours = Serving::imap(Arc::new(backend), None);
    let peer = bare::echo();
    [1, 8, 64]
        .into_iter()
        .map(|connections| {
            let mut ours = Clients::new(ours.address, connections, true);
            let mut peer = Clients::new(peer.address, connections, false);
            let (window, count) = if options.quick { (100, 5) } else { (400, 11) };
            let window = Duration::from_millis(window);
            let pair = measure::turns(count, || ours.rate(window), || peer.rate(window));
            Row::new(
                format!(
                    "NOOP round trips a second, {connections} connection{}",
                    if connections == 1 { "" } else { "s" }
                ),
                format!("{:.0}", pair.ours),
                format!("tokio line echo: {:.0}", pair.peer),
            )
            .figure(Figure::times(pair.ours_over_peer(), Reach::AtLeast(0.8)))
        })
        .collect()
}

struct Clients {
    runtime: Runtime,
    streams: Vec<TcpStream>,
}

impl Clients {
    fn new(address: SocketAddr, count: usize, imap: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let streams = runtime.block_on(async {
            let mut streams = Vec::new();
            for _ in 0..count {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                if imap {
                    line(&mut stream).await;
                    stream.write_all(b"l LOGIN alice secret\r\n").await.unwrap();
                    line(&mut stream).await;
                }
                streams.push(stream);
            }
            streams
        });
        Self { runtime, streams }
    }

    /// Round trips a second, all connections together.
    fn rate(&mut self, window: Duration) -> f64 {
        let trips = Cell::new(0_u64);
        let started = Instant::now();
        let end = started + window;
        self.runtime.block_on(async {
            let each = self.streams.iter_mut().map(async |stream| {
                while Instant::now() < end {
                    stream.write_all(b"a NOOP\r\n").await.unwrap();
                    line(stream).await;
                    trips.set(trips.get() + 1);
                }
            });
            futures::future::join_all(each).await;
        });
        trips.get() as f64 / started.elapsed().as_secs_f64()
    }
}

/// Takes in one line, of which nothing more can be on its way.
async fn line(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the server has closed the connection");
        if buffer[count - 1] == b'\n' {
            return;
        }
    }
}
