//! What a connection costs that is logged in, has a mailbox of 1,000 messages selected and is in IDLE.
//!
//! The clients are in a process of their own. All of the server's heap counts: task, socket, timer, session, and under
//! TLS the layer's state. The resident set is told too; it holds what the allocator keeps for later as well.

use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::mail::SystemFlags;
use pillarbox_proto_core::memory::MemoryBackend;

use crate::Options;
use crate::heap;
use crate::report::{Figure, Reach, Row};
use crate::support::certificate::Certificate;
use crate::support::child::{Child, Part};
use crate::support::serving::Serving;

pub(crate) fn run(options: &Options) -> Vec<Row> {
    let connections = if options.quick { 500 } else { 5000 };
    let certificate = Certificate::new();
    vec![measure(connections, None, 4.0), measure(connections, Some(&certificate), 16.0)]
}

fn measure(connections: usize, tls: Option<&Certificate>, most: f64) -> Row {
    let mut builder = MemoryBackend::builder().user("alice", "secret");
    for number in 0..1000 {
        builder = builder.message("alice", "INBOX", SystemFlags::SEEN, format!("Subject: {number}\r\n\r\nx\r\n"));
    }
    let counting = heap::begin();
    let serving = Serving::imap(Arc::new(builder.build().unwrap()), tls.map(Certificate::acceptor));
    // What is made once and by need, as tables and pools are, is not a connection's.
    let first = Child::start(Part::Idle, serving.address, 50, 100, tls);
    std::thread::sleep(Duration::from_millis(300));
    let (before, resident) = (counting.look(), heap::resident());
    let idlers = Child::start(Part::Idle, serving.address, connections, 101, tls);
    std::thread::sleep(Duration::from_millis(1000));
    let after = counting.look();
    let grown = heap::resident().saturating_sub(resident);
    drop((first, idlers));
    drop(serving);
    counting.end();
    let each = (after.held - before.held) as f64 / connections as f64 / 1024.0;
    let layer = if tls.is_some() { "TLS" } else { "plain" };
    Row::new(
        format!("Heap of an idle connection in IDLE, {layer}, {connections} connections"),
        format!("resident set: {:.1} KiB each", grown as f64 / connections as f64 / 1024.0),
        "-",
    )
    .figure(Figure::new(each, "KiB", Reach::AtMost(most)))
}
