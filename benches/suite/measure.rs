//! Taking turns, and medians.

use std::time::{Duration, Instant};

use crate::Options;

/// The median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// Two that took turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// Ours: the median of the samples.
    pub(crate) ours: f64,
    /// The peer's.
    pub(crate) peer: f64,
    /// The median of the peer's sample over ours, turn by turn: a burst of other work on the machine hits both.
    pub(crate) peer_over_ours: f64,
}

impl Pair {
    /// The inverse of [`Pair::peer_over_ours`], for figures where more is better.
    pub(crate) fn ours_over_peer(&self) -> f64 {
        1.0 / self.peer_over_ours
    }
}

/// Lets both give one sample a turn; a first turn is not counted.
pub(crate) fn turns(count: usize, mut ours: impl FnMut() -> f64, mut peer: impl FnMut() -> f64) -> Pair {
    ours();
    peer();
    let (mut all_ours, mut all_peer, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..count {
        // Who is first meets a machine that the other has warmed.
        let (our, their) = if turn % 2 == 0 {
            let our = ours();
            (our, peer())
        } else {
            let their = peer();
            (ours(), their)
        };
        all_ours.push(our);
        all_peer.push(their);
        ratios.push(their / our);
    }
    Pair { ours: median(all_ours), peer: median(all_peer), peer_over_ours: median(ratios) }
}

/// Nanoseconds of one call, for work too short to be timed by itself.
pub(crate) fn calls(options: &Options, mut ours: impl FnMut(), mut peer: impl FnMut()) -> Pair {
    // Shorter than a turn of the scheduler: most samples meet no other work.
    let sample = Duration::from_micros(400);
    let count = if options.quick { 51 } else { 501 };
    let our_calls = calibrate(sample, &mut ours);
    let their_calls = calibrate(sample, &mut peer);
    turns(count, || nanoseconds(our_calls, &mut ours), || nanoseconds(their_calls, &mut peer))
}

fn nanoseconds(calls: u32, work: &mut impl FnMut()) -> f64 {
    let started = Instant::now();
    for _ in 0..calls {
        work();
    }
    started.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn calibrate(sample: Duration, work: &mut impl FnMut()) -> u32 {
    let mut calls = 16;
    loop {
        let took = nanoseconds(calls, work) * f64::from(calls);
        if took * 2.0 >= sample.as_nanos() as f64 || calls > 1 << 28 {
            return calls;
        }
        calls *= 2;
    }
}
