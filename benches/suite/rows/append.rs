//! APPEND of a 50 MiB literal in reads of 16 KiB, through the session, into a store that forgets it.
//!
//! Both sides read the same octets from a file that the system has in memory, 16 KiB a call. The peer does only that.
//! The second row leaves the calls out: the octets are copied from memory, and nothing hides the session's own work.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use pillarbox_proto_core::mail::UidSet;

use crate::Options;
use crate::heap;
use crate::measure;
use crate::report::{Figure, Reach, Row};
use crate::support::drive::Client;
use crate::support::synthetic::Synthetic;

const SIZE: usize = 50 << 20;
const READ: usize = 16 << 10;

pub(crate) fn run(options: &Options) -> Vec<Row> {
    let message: Vec<u8> = b"A line of a message, as long as lines of mail usually are. 0123456789ab\r\n"
        .iter()
        .copied()
        .cycle()
        .take(SIZE)
        .collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&message).unwrap();
    let mut client = Client::new(Synthetic::new(UidSet::new()) as Arc<_>);
    let count = if options.quick { 3 } else { 9 };

    let mut buffer = vec![0; READ];
    let ours = || append(&mut client, FromFile::new(&file, &mut buffer));
    let mut other = vec![0; READ];
    let peer = || bare(FromFile::new(&file, &mut other));
    let pair = measure::turns(count, ours, peer);
    // All of a session counts, from its beginning.
    let (_, heap) = heap::count(|| {
        let mut client = Client::new(Synthetic::new(UidSet::new()) as Arc<_>);
        append(&mut client, FromFile::new(&file, &mut buffer))
    });
    let read = Row::new(
        "APPEND of 50 MiB in 16 KiB reads through the session",
        format!("{:.0} MB/s", pair.ours),
        format!("a bare reader: {:.0} MB/s", pair.peer),
    )
    .figure(Figure::times(pair.ours_over_peer(), Reach::AtLeast(0.7)))
    .figure(Figure::new(heap.peak as f64 / 1024.0, "KiB of heap", Reach::AtMost(256.0)));

    let ours = || append(&mut client, message.chunks(READ));
    let peer = || bare(message.chunks(READ));
    let pair = measure::turns(count, ours, peer);
    let copied = Row::new(
        "The same copied from memory instead of read",
        format!("{:.0} MB/s", pair.ours),
        format!("a bare copy: {:.0} MB/s", pair.peer),
    )
    .figure(Figure::times(pair.ours_over_peer(), Reach::Told));
    vec![read, copied]
}

/// Pieces of a file, each read by one call.
struct FromFile<'a> {
    file: &'a File,
    buffer: &'a mut Vec<u8>,
}

impl<'a> FromFile<'a> {
    fn new(mut file: &'a File, buffer: &'a mut Vec<u8>) -> Self {
        file.seek(SeekFrom::Start(0)).unwrap();
        Self { file, buffer }
    }
}

/// Where input comes from.
trait Source {
    /// Gives the next piece to `take`; false at the end.
    fn piece(&mut self, take: impl FnOnce(&[u8])) -> bool;
}

impl Source for FromFile<'_> {
    fn piece(&mut self, take: impl FnOnce(&[u8])) -> bool {
        let length = self.file.read(self.buffer).unwrap();
        take(&self.buffer[..length]);
        length > 0
    }
}

impl Source for std::slice::Chunks<'_, u8> {
    fn piece(&mut self, take: impl FnOnce(&[u8])) -> bool {
        self.next().map(take).is_some()
    }
}

fn rate(started: Instant) -> f64 {
    SIZE as f64 / 1e6 / started.elapsed().as_secs_f64()
}

fn append(client: &mut Client, mut source: impl Source) -> f64 {
    let started = Instant::now();
    client.feed(format!("a APPEND INBOX {{{SIZE}+}}\r\n").as_bytes());
    while source.piece(|piece| client.feed(piece)) {
        client.step();
    }
    client.command("\r\n", "a");
    rate(started)
}

fn bare(mut source: impl Source) -> f64 {
    let started = Instant::now();
    let mut buffer = BytesMut::with_capacity(READ);
    while source.piece(|piece| buffer.extend_from_slice(piece)) {
        black_box(&buffer[..]);
        buffer.clear();
    }
    rate(started)
}
