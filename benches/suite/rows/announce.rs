//! One message announced to 10,000 connections in IDLE.
//!
//! The connections are duplexes within the process, their servers and clients tasks of one runtime with a thread for
//! each core. The time is from the delivery until the last client has read its EXISTS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pillarbox_imap_proto::{Config, ImapConversation};
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::memory::MemoryBackend;
use pillarbox_proto_core::{Connection, backend::Backend};
use pillarbox_server_core::{ServeOptions, serve_connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use crate::Options;
use crate::measure;
use crate::report::{Figure, Reach, Row};

pub(crate) fn run(options: &Options) -> Vec<Row> {
    let connections = if options.quick { 1000 } else { 10_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let times = runtime.block_on(announce(connections, if options.quick { 3 } else { 7 }));
    // What its tasks hold must not be given back while another row counts.
    runtime.shutdown_timeout(Duration::from_secs(30));
    let time = measure::median(times);
    vec![
        Row::new(format!("One message announced to {connections} connections in IDLE"), format!("{time:.1} ms"), "-")
            .figure(Figure::new(time * 1000.0 / connections as f64, "µs a connection", Reach::Told)),
    ]
}

/// What the clients have heard.
#[derive(Default)]
struct Heard {
    idle: AtomicUsize,
    announcements: AtomicUsize,
    told: Notify,
}

impl Heard {
    async fn wait(&self, counter: impl Fn(&Self) -> &AtomicUsize, count: usize) {
        loop {
            let told = self.told.notified();
            if counter(self).load(Ordering::SeqCst) >= count {
                return;
            }
            told.await;
        }
    }

    fn count(&self, counter: &AtomicUsize, every: usize) {
        if (counter.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(every) {
            self.told.notify_one();
        }
    }
}

async fn announce(connections: usize, rounds: usize) -> Vec<f64> {
    let store = MemoryBackend::builder().user("alice", "secret").build().unwrap();
    let heard = Arc::new(Heard::default());
    let config = Arc::new(Config::default());
    for number in 0..connections {
        let (client, server) = tokio::io::duplex(2048);
        let conversation = ImapConversation::preauth(
            Arc::clone(&config),
            Arc::new(SystemEnv),
            Arc::new(store.clone()) as Arc<dyn Backend>,
            Connection::new(SessionId::new(number as u64)),
            Identity::new("alice"),
            Instant::now(),
        );
        tokio::spawn(serve_connection(server, conversation, ServeOptions::new()));
        tokio::spawn(listen(client, Arc::clone(&heard), connections));
    }
    heard.wait(|heard| &heard.idle, connections).await;
    let mut times = Vec::new();
    for round in 1..=rounds {
        let started = Instant::now();
        store.deliver("alice", "INBOX", "Subject: x\r\n\r\nx\r\n").unwrap();
        heard.wait(|heard| &heard.announcements, round * connections).await;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

async fn listen(mut client: DuplexStream, heard: Arc<Heard>, connections: usize) {
    client.write_all(b"s SELECT INBOX\r\ni IDLE\r\n").await.unwrap();
    let mut buffer = Vec::with_capacity(1024);
    let mut idle = false;
    loop {
        let Ok(1..) = client.read_buf(&mut buffer).await else { return };
        if !idle {
            idle = buffer.windows(4).any(|window| window == b"\r\n+ ") && buffer.ends_with(b"\r\n");
            if idle {
                buffer.clear();
                heard.count(&heard.idle, connections);
            }
        } else if buffer.ends_with(b"\r\n") {
            let announced = buffer.windows(7).filter(|window| *window == b" EXISTS").count();
            (0..announced).for_each(|_| heard.count(&heard.announcements, connections));
            buffer.clear();
        }
    }
}
