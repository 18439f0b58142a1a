//! Borrowed decode: a command's octets to a typed command, by the bare codecs.

use std::hint::black_box;

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use pillarbox_imap_proto::wire::command::parse_command;
use pillarbox_imap_proto::wire::limits::ParseLimits;

use super::COMMANDS;
use crate::Options;
use crate::heap;
use crate::measure;
use crate::report::{Figure, Reach, Row};

pub(crate) fn run(options: &Options) -> Vec<Row> {
    let limits = ParseLimits::default();
    let codec = CommandCodec::default();
    let ours = |input: &[u8]| {
        black_box(parse_command(black_box(input), limits).unwrap());
    };
    let peer = |input: &[u8]| {
        black_box(codec.decode(black_box(input)).unwrap());
    };
    COMMANDS
        .iter()
        .map(|(name, input)| {
            let pair = measure::calls(options, || ours(input), || peer(input));
            let ((), our_heap) = heap::count(|| ours(input));
            let ((), peer_heap) = heap::count(|| peer(input));
            let allocations = if name.contains("SEARCH") { Reach::Told } else { Reach::AtMost(0.0) };
            Row::new(
                format!("Borrowed decode: {name}"),
                format!("{:.0} ns", pair.ours),
                format!("imap-codec: {:.0} ns, {} allocations", pair.peer, peer_heap.allocations),
            )
            .figure(Figure::times(pair.peer_over_ours, Reach::AtLeast(5.0)))
            .figure(Figure::new(our_heap.allocations as f64, "allocations", allocations))
        })
        .collect()
}
