//! The same through the session: octets come in, a typed command comes out.
//!
//! Ours is the framer with the parser behind it, which is what a session does with its input; the peer is imap-next's
//! server, its input queued and its next event taken.

use std::hint::black_box;

use bytes::BytesMut;
use imap_next::imap_types::response::Greeting;
use imap_next::server::{Event, Options as ServerOptions, Server};
use imap_next::{Interrupt, Io, State};
use pillarbox_imap_proto::wire::framer::{Frame, Framer};
use pillarbox_imap_proto::wire::limits::{FrameLimits, ParseLimits};

use super::COMMANDS;
use crate::Options;
use crate::heap;
use crate::measure;
use crate::report::{Figure, Reach, Row};

pub(crate) fn run(options: &Options) -> Vec<Row> {
    COMMANDS
        .iter()
        .map(|(name, input)| {
            let mut ours = Ours::new();
            let mut peer = peer();
            let pair = measure::calls(options, || ours.command(input), || next(&mut peer, input));
            let rounds = 1000;
            let ((), our_heap) = heap::count(|| (0..rounds).for_each(|_| ours.command(input)));
            let ((), peer_heap) = heap::count(|| (0..rounds).for_each(|_| next(&mut peer, input)));
            let each = |heap: heap::Heap| heap.allocations as f64 / f64::from(rounds);
            Row::new(
                format!("Decode through the session: {name}"),
                format!("{:.0} ns", pair.ours),
                format!("imap-next: {:.0} ns, {:.0} allocations", pair.peer, each(peer_heap)),
            )
            .figure(Figure::times(pair.peer_over_ours, Reach::AtLeast(5.0)))
            .figure(Figure::new(each(our_heap), "allocations", Reach::AtMost(2.0)))
        })
        .collect()
}

struct Ours {
    framer: Framer,
    input: BytesMut,
    limits: ParseLimits,
}

impl Ours {
    fn new() -> Self {
        Self {
            framer: Framer::new(FrameLimits::after_login()),
            input: BytesMut::with_capacity(8192),
            limits: ParseLimits::default(),
        }
    }

    fn command(&mut self, input: &[u8]) {
        self.input.extend_from_slice(black_box(input));
        let Frame::Command(command) = self.framer.next(&mut self.input) else { panic!("no command") };
        black_box(command.parse(self.limits).unwrap());
    }
}

fn peer() -> Server {
    let greeting = Greeting::ok(None, "ready").unwrap();
    let mut server = Server::new(ServerOptions::default(), greeting);
    loop {
        match server.next() {
            Ok(Event::GreetingSent { .. }) => return server,
            Err(Interrupt::Io(Io::Output(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn next(server: &mut Server, input: &[u8]) {
    server.enqueue_input(black_box(input));
    match server.next() {
        Ok(Event::CommandReceived { command }) => drop(black_box(command)),
        other => panic!("{other:?}"),
    }
}
