//! 100,000 rows of `FETCH 1:* (UID FLAGS)`.
//!
//! Ours is the whole way: command, view, memory store, encoding, output. The peer is imap-next's server, given the
//! responses ready made, encoding alone.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use imap_next::imap_types::fetch::MessageDataItem;
use imap_next::imap_types::flag::{Flag, FlagFetch};
use imap_next::imap_types::response::{Data, Greeting};
use imap_next::server::{Options as ServerOptions, Server};
use imap_next::{Interrupt, Io, State};
use pillarbox_proto_core::mail::SystemFlags;
use pillarbox_proto_core::memory::MemoryBackend;

use crate::Options;
use crate::heap;
use crate::measure;
use crate::report::{Figure, Reach, Row};
use crate::support::drive::Client;

const ROWS: u32 = 100_000;

pub(crate) fn run(options: &Options) -> Vec<Row> {
    let mut builder = MemoryBackend::builder().user("alice", "secret");
    for number in 0..ROWS {
        let flags = if number % 3 == 0 { SystemFlags::NONE } else { SystemFlags::SEEN | SystemFlags::ANSWERED };
        builder = builder.message("alice", "INBOX", flags, "Subject: x\r\n\r\nx\r\n");
    }
    let mut client = Client::new(Arc::new(builder.build().unwrap()));
    client.command("s EXAMINE INBOX\r\n", "s");
    let mut ours = || {
        let started = Instant::now();
        client.command("f FETCH 1:* (UID FLAGS)\r\n", "f");
        started.elapsed().as_nanos() as f64 / f64::from(ROWS)
    };
    let peer = || {
        let mut server = peer();
        let rows: Vec<_> = (1..=ROWS).map(row).collect();
        let started = Instant::now();
        let mut octets = 0;
        for row in rows {
            server.enqueue_data(row);
            octets += encode(&mut server);
        }
        black_box(octets);
        started.elapsed().as_nanos() as f64 / f64::from(ROWS)
    };
    let pair = measure::turns(if options.quick { 3 } else { 9 }, &mut ours, peer);
    let (_, heap) = heap::count(ours);
    let bodies = bodies(options);
    vec![
        Row::new(
            "100,000 rows of FETCH 1:* (UID FLAGS), memory store to output",
            format!("{:.0} ns a row", pair.ours),
            format!("imap-next, encoding alone: {:.0} ns a row", pair.peer),
        )
        .figure(Figure::times(pair.peer_over_ours, Reach::AtLeast(8.0)))
        .figure(Figure::new(
            heap.allocations as f64 / f64::from(ROWS),
            "allocations a row",
            Reach::AtMost(0.01),
        )),
        bodies,
    ]
}

/// What a message costs besides its octets, which are never copied.
fn bodies(options: &Options) -> Row {
    const MESSAGES: u32 = 500;
    let mut builder = MemoryBackend::builder().user("alice", "secret");
    for number in 0..MESSAGES {
        let content = format!("Subject: {number}\r\n\r\n{}", "x".repeat(8 << 10));
        builder = builder.message("alice", "INBOX", SystemFlags::SEEN, content);
    }
    let mut client = Client::new(Arc::new(builder.build().unwrap()));
    client.command("s EXAMINE INBOX\r\n", "s");
    let mut fetch = || {
        let started = Instant::now();
        client.command("f FETCH 1:* BODY[]\r\n", "f");
        started.elapsed().as_nanos() as f64 / f64::from(MESSAGES)
    };
    let count = if options.quick { 50 } else { 500 };
    let time = measure::median((0..count).map(|_| fetch()).collect());
    let (_, heap) = heap::count(fetch);
    Row::new("FETCH BODY[] of 8 KiB messages without a socket", format!("{time:.0} ns a message"), "-")
        .figure(Figure::new(heap.allocations as f64 / f64::from(MESSAGES), "allocations a message", Reach::Told))
}

fn row(number: u32) -> Data<'static> {
    let number = NonZeroU32::new(number).unwrap();
    let flags = if number.get() % 3 == 1 {
        Vec::new()
    } else {
        vec![FlagFetch::Flag(Flag::Answered), FlagFetch::Flag(Flag::Seen)]
    };
    Data::fetch(number, vec![MessageDataItem::Uid(number), MessageDataItem::Flags(flags)]).unwrap()
}

fn peer() -> Server {
    let mut server = Server::new(ServerOptions::default(), Greeting::ok(None, "ready").unwrap());
    encode(&mut server);
    server
}

/// Takes out what is queued.
fn encode(server: &mut Server) -> usize {
    let mut octets = 0;
    loop {
        match server.next() {
            Err(Interrupt::Io(Io::Output(output))) => octets += black_box(output).len(),
            Ok(_) => {}
            Err(Interrupt::Io(Io::NeedMoreInput)) => return octets,
            Err(Interrupt::Error(error)) => panic!("{error}"),
        }
    }
}
