//! Walking through a set from both ends.

use super::block::{UIDS, block_of, start_of};
use super::tree::{Place, Tree};
use super::{UidSet, uid};
use crate::mail::Uid;

/// The iterator of [`UidSet::ranges`]: maximal runs `(first, last)` of members.
///
/// A step costs a few nanoseconds, whatever the size of the set.
#[derive(Clone, Debug)]
pub struct UidRanges<'a> {
    set: &'a UidSet,
    /// Numbers not seen yet, first and last; none if `low > high`.
    low: u32,
    high: u32,
    front: Place,
    back: Option<Place>,
}

impl<'a> UidRanges<'a> {
    pub(super) fn new(set: &'a UidSet, low: u32, high: u32) -> Self {
        Self { set, low, high, front: set.tree.find(block_of(low)), back: None }
    }

    fn up(&mut self) -> Option<(u32, u32)> {
        if self.low > self.high {
            return None;
        }
        let tail = self.set.tail;
        let run = match run_from(&self.set.tree, &mut self.front, self.low) {
            Some((first, last)) if !tail.is_empty() && last.wrapping_add(1) == tail.first => (first, tail.last),
            Some(run) => run,
            None if !tail.is_empty() && self.low <= tail.last => (self.low.max(tail.first), tail.last),
            None => (u32::MAX, 0),
        };
        let (first, last) = (run.0, run.1.min(self.high));
        if first > last {
            self.low = u32::MAX;
            self.high = 0;
            return None;
        }
        match last.checked_add(1) {
            Some(next) => self.low = next,
            None => self.high = 0,
        }
        Some((first, last))
    }

    fn down(&mut self) -> Option<(u32, u32)> {
        if self.low > self.high {
            return None;
        }
        let (tree, tail) = (&self.set.tree, self.set.tail);
        let from_tail = (!tail.is_empty() && tail.first <= self.high).then(|| (tail.first, self.high.min(tail.last)));
        // The tree's last run may lead up to the tail without a gap.
        let to = from_tail.map_or(self.high, |(first, _)| first.saturating_sub(1));
        let mut back = self.back.unwrap_or_else(|| tree.find(block_of(to)));
        let run = match (run_to(tree, &mut back, to), from_tail) {
            (Some((first, last)), Some((start, end))) if last.wrapping_add(1) == start => Some((first, end)),
            // The tree's run is for another time.
            (_, Some(run)) => {
                self.high = run.0.saturating_sub(1);
                return Some((run.0.max(self.low), run.1)).filter(|(first, last)| first <= last);
            }
            (run, None) => run,
        };
        self.back = Some(back);
        let run = run.map(|(first, last)| (first.max(self.low), last)).filter(|(first, last)| first <= last);
        match run.and_then(|(first, _)| first.checked_sub(1)) {
            Some(next) => self.high = next,
            None => (self.low, self.high) = (u32::MAX, 0),
        }
        run
    }
}

/// The first run of members at or after a number. `place` is that of an earlier, smaller number, and is moved on.
fn run_from(tree: &Tree, place: &mut Place, from: u32) -> Option<(u32, u32)> {
    let block = block_of(from);
    if tree.get(*place)?.end() <= block {
        *place = tree.next(*place);
        if tree.get(*place)?.end() <= block {
            *place = tree.find(block);
        }
    }
    let (first, mut last) = loop {
        let segment = tree.get(*place)?;
        if let Some((first, last)) = segment.body.run_from(from.saturating_sub(segment.start())) {
            break (segment.start() + first, segment.start() + last);
        }
        *place = tree.next(*place);
    };
    // A run goes on in the next segment, if it fills this one to its end.
    while let Some(next) = last.checked_add(1).filter(|next| next % UIDS == 0) {
        let place_after = tree.next(*place);
        let Some(segment) = tree.get(place_after).filter(|segment| segment.start() == next) else { break };
        let Some((0, more)) = segment.body.run_from(0) else { break };
        *place = place_after;
        last = next + more;
    }
    Some((first, last))
}

/// The last run of members at or before a number. `place` is that of an earlier, larger number, and is moved on.
fn run_to(tree: &Tree, place: &mut Place, to: u32) -> Option<(u32, u32)> {
    let block = block_of(to);
    let begins = |place: Place| tree.get(place).is_some_and(|segment| segment.block <= block);
    if !begins(*place) {
        let before = tree.previous(*place)?;
        *place = if begins(before) { before } else { tree.find(block) };
        if !begins(*place) {
            *place = tree.previous(*place)?;
        }
    }
    let (mut first, last) = loop {
        let segment = tree.get(*place)?;
        let end = start_of(segment.end() - 1) + (UIDS - 1);
        if let Some((first, last)) = segment.body.run_to(to.min(end) - segment.start()) {
            break (segment.start() + first, segment.start() + last);
        }
        *place = tree.previous(*place)?;
    };
    while first.is_multiple_of(UIDS)
        && let Some(place_before) = tree.previous(*place)
        && let Some(segment) = tree.get(place_before).filter(|segment| start_of(segment.end()) == first)
    {
        let end = first - 1 - segment.start();
        let Some((more, reached)) = segment.body.run_to(end) else { break };
        if reached != end {
            break;
        }
        *place = place_before;
        first = segment.start() + more;
    }
    Some((first, last))
}

impl Iterator for UidRanges<'_> {
    type Item = (Uid, Uid);

    fn next(&mut self) -> Option<(Uid, Uid)> {
        let (first, last) = self.up()?;
        Some((uid(first)?, uid(last)?))
    }
}

impl DoubleEndedIterator for UidRanges<'_> {
    fn next_back(&mut self) -> Option<(Uid, Uid)> {
        let (first, last) = self.down()?;
        Some((uid(first)?, uid(last)?))
    }
}

impl std::iter::FusedIterator for UidRanges<'_> {}

/// The iterator of [`UidSet::iter`] and [`UidSet::range`].
#[derive(Clone, Debug)]
pub struct UidIter<'a> {
    ranges: UidRanges<'a>,
    /// What is left of the run at each end; none if `first > last`.
    front: (u32, u32),
    back: (u32, u32),
    left: u32,
}

impl<'a> UidIter<'a> {
    pub(super) fn new(ranges: UidRanges<'a>, left: u32) -> Self {
        Self { ranges, front: (1, 0), back: (1, 0), left }
    }
}

impl Iterator for UidIter<'_> {
    type Item = Uid;

    fn next(&mut self) -> Option<Uid> {
        self.left = self.left.checked_sub(1)?;
        if self.front.0 > self.front.1 {
            self.front = self.ranges.up().unwrap_or_else(|| std::mem::replace(&mut self.back, (1, 0)));
        }
        let (first, last) = self.front;
        self.front = if first < last { (first + 1, last) } else { (1, 0) };
        uid(first)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl DoubleEndedIterator for UidIter<'_> {
    fn next_back(&mut self) -> Option<Uid> {
        self.left = self.left.checked_sub(1)?;
        if self.back.0 > self.back.1 {
            self.back = self.ranges.down().unwrap_or_else(|| std::mem::replace(&mut self.front, (1, 0)));
        }
        let (first, last) = self.back;
        self.back = if first < last { (first, last - 1) } else { (1, 0) };
        uid(last)
    }
}

impl ExactSizeIterator for UidIter<'_> {}
impl std::iter::FusedIterator for UidIter<'_> {}
