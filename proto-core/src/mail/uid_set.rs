//! Sets of UIDs.
//!
//! One type serves for the UID sets of commands and responses and for a session's view of its mailbox, so that the two
//! meet without conversion. UIDs are kept by blocks of 2,048: a block is full, a range, a few single members, or a
//! bitmap; full blocks in a row are one entry. A contiguous set needs no heap at all, `1:4294967295` included; scattered
//! UIDs cost at most about 40 octets each, dense ones a bit or two. A directory in pages keeps running counts, so that
//! ranks are found by search.
//!
//! Pages and bitmaps are shared between clones until one of them changes: the sessions of a mailbox share what they
//! agree on, and a change copies one page and one bitmap, not the set.
//!
//! A set never grows by the size of the numbers in it, only by their number, and by what each session changes.

mod block;
mod iter;
mod ops;
#[cfg(test)]
mod tests;
mod tree;

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::Uid;
use block::{Body, block_of};
pub use iter::{UidIter, UidRanges};
use tree::Tree;

/// A set of UIDs; also a session's view of its mailbox, where the sequence number of a message is its
/// [rank](UidSet::rank) plus one.
///
/// Cloning costs a few pointers. Two sets are equal if they have the same members.
///
/// ```
/// use pillarbox_proto_core::mail::{Uid, UidSet};
///
/// let uid = |number| Uid::new(number).unwrap();
/// let mut view: UidSet = [uid(3)..=uid(5), uid(9)..=uid(9)].into_iter().collect();
/// assert_eq!(view.to_string(), "3:5,9");
/// assert_eq!(view.rank(uid(9)), Some(3)); // sequence number 4
/// assert_eq!(view.nth(1), Some(uid(4)));
///
/// view.remove(uid(4));
/// view.insert(uid(10));
/// assert_eq!(view.to_string(), "3,5,9:10");
/// assert_eq!(view.difference(&UidSet::from_range(uid(9), uid(99))).len(), 2);
/// ```
#[derive(Clone)]
pub struct UidSet {
    /// Members below the tail.
    tree: Tree,
    /// The members after all those in the tree, as long as they have no gap. What arrives is mostly the next UID, so
    /// that it neither allocates nor copies what is shared.
    tail: Tail,
}

/// UIDs from `first` to `last`; none if `first > last`.
#[derive(Clone, Copy, Debug)]
struct Tail {
    first: u32,
    last: u32,
}

impl Tail {
    const NONE: Self = Self { first: 1, last: 0 };

    const fn new(first: u32, last: u32) -> Self {
        Self { first, last }
    }

    const fn is_empty(self) -> bool {
        self.first > self.last
    }

    const fn count(self) -> u32 {
        if self.is_empty() { 0 } else { self.last - self.first + 1 }
    }

    const fn contains(self, uid: u32) -> bool {
        self.first <= uid && uid <= self.last
    }
}

const fn uid(number: u32) -> Option<Uid> {
    Uid::new(number)
}

impl UidSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { tree: Tree::new(), tail: Tail::NONE }
    }

    /// Every UID, `1:4294967295`.
    #[must_use]
    pub const fn full() -> Self {
        Self { tree: Tree::new(), tail: Tail::new(1, u32::MAX) }
    }

    /// All UIDs between two, both included, in either order: `5:3` is `3:5` (RFC 9051, section 9, `seq-range`).
    #[must_use]
    pub fn from_range(a: Uid, b: Uid) -> Self {
        Self { tree: Tree::new(), tail: Tail::new(a.min(b).get(), a.max(b).get()) }
    }

    /// Adds a UID; false if it was a member already.
    ///
    /// At the end this takes constant time. Elsewhere it takes a search, and one page and bitmap are changed, which
    /// are copied first if they are shared.
    pub fn insert(&mut self, uid: Uid) -> bool {
        if self.contains(uid) {
            return false;
        }
        self.insert_range(uid, uid);
        true
    }

    /// Adds all UIDs from `first` to `last`, both included; none if `first` is larger.
    pub fn insert_range(&mut self, first: Uid, last: Uid) {
        let (first, last, tail) = (first.get(), last.get(), self.tail);
        if first > last {
            return;
        }
        let below_tail = self.tree.last().unwrap_or(0);
        if tail.is_empty() {
            if first > below_tail {
                self.tail = Tail::new(first, last);
            } else {
                self.tree.change(first, last, true);
            }
        } else if first > tail.last {
            if first - 1 == tail.last {
                self.tail.last = last;
            } else {
                self.flush();
                self.tail = Tail::new(first, last);
            }
        } else if last < tail.first - 1 {
            self.tree.change(first, last, true);
        } else {
            self.tail.last = tail.last.max(last);
            if first < tail.first {
                if first > below_tail {
                    self.tail.first = first;
                } else {
                    self.tree.change(first, tail.first - 1, true);
                }
            }
        }
    }

    /// Takes a UID out; false if it was no member.
    pub fn remove(&mut self, uid: Uid) -> bool {
        if !self.contains(uid) {
            return false;
        }
        self.remove_range(uid, uid);
        true
    }

    /// Takes out all UIDs from `first` to `last`, both included; none if `first` is larger.
    pub fn remove_range(&mut self, first: Uid, last: Uid) {
        let (first, last, tail) = (first.get(), last.get(), self.tail);
        if first > last {
            return;
        }
        if self.tree.last().is_some_and(|end| first <= end) {
            self.tree.change(first, last, false);
        }
        if tail.is_empty() || last < tail.first || first > tail.last {
            return;
        }
        match (first <= tail.first, last >= tail.last) {
            (true, true) => self.tail = Tail::NONE,
            (true, false) => self.tail.first = last + 1,
            (false, true) => self.tail.last = first - 1,
            (false, false) => {
                self.tree.change(tail.first, first - 1, true);
                self.tail.first = last + 1;
            }
        }
    }

    /// Whether a UID is a member.
    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        self.tail.contains(uid.get()) || self.tree.contains(uid.get())
    }

    /// The number of members; at most 4,294,967,295.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::from(self.count())
    }

    /// The number of members, as EXISTS says it. It always fits: there are no more UIDs.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.tree.count() + self.tail.count()
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tree.is_empty() && self.tail.is_empty()
    }

    /// The smallest member.
    #[must_use]
    pub fn first(&self) -> Option<Uid> {
        let tail = (!self.tail.is_empty()).then_some(self.tail.first);
        self.tree.first().or(tail).and_then(uid)
    }

    /// The largest member.
    #[must_use]
    pub fn last(&self) -> Option<Uid> {
        let tail = (!self.tail.is_empty()).then_some(self.tail.last);
        tail.or_else(|| self.tree.last()).and_then(uid)
    }

    /// The number of smaller members, if the UID is a member; its sequence number is one more.
    #[must_use]
    pub fn rank(&self, uid: Uid) -> Option<u32> {
        let uid = uid.get();
        if self.tail.contains(uid) {
            return Some(self.tree.count() + (uid - self.tail.first));
        }
        let (rank, member) = self.tree.rank(uid);
        member.then_some(rank)
    }

    /// The number of members that are smaller than a UID, be it a member or not.
    #[must_use]
    pub fn rank_lower_bound(&self, uid: Uid) -> u32 {
        let uid = uid.get();
        if !self.tail.is_empty() && uid >= self.tail.first {
            return self.tree.count() + (uid - self.tail.first).min(self.tail.count());
        }
        self.tree.rank(uid).0
    }

    /// The member that has this many smaller members: that of sequence number `index + 1`.
    #[must_use]
    pub fn nth(&self, index: u32) -> Option<Uid> {
        match index.checked_sub(self.tree.count()) {
            Some(beyond) if beyond < self.tail.count() => uid(self.tail.first + beyond),
            Some(_) => None,
            None => self.tree.nth(index).and_then(uid),
        }
    }

    /// The members, ascending; `.rev()` gives them descending.
    #[must_use]
    pub fn iter(&self) -> UidIter<'_> {
        UidIter::new(self.ranges(), self.count())
    }

    /// The members from `first` to `last`, both included, ascending.
    #[must_use]
    pub fn range(&self, first: Uid, last: Uid) -> UidIter<'_> {
        let left = if first > last { 0 } else { self.count_between(first, last) };
        UidIter::new(UidRanges::new(self, first.get(), last.get()), left)
    }

    /// The members as maximal runs `(first, last)`, ascending; `.rev()` gives them descending.
    #[must_use]
    pub fn ranges(&self) -> UidRanges<'_> {
        UidRanges::new(self, 1, u32::MAX)
    }

    /// The members of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut set = self.clone();
        set.union_with(other);
        set
    }

    /// Adds the members of another set. Takes a search for each of the other set's blocks, or is linear in the blocks
    /// of both, whichever is less.
    pub fn union_with(&mut self, other: &Self) {
        if let Some((first, last)) = other.as_range() {
            self.insert_range(first, last);
        } else if self.is_empty() {
            self.clone_from(other);
        } else {
            self.merge(other, true);
        }
    }

    /// The members of both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (set, range) = match (self.as_range(), other.as_range()) {
            (_, Some(range)) => (self, range),
            (Some(range), None) => (other, range),
            (None, None) => {
                let tree = ops::intersection(&self.whole(), &other.whole());
                return Self { tree, tail: Tail::NONE };
            }
        };
        let mut set = set.clone();
        if let Some(below) = uid(range.0.get() - 1) {
            set.remove_range(Uid::MIN, below);
        }
        if let Some(above) = range.1.next() {
            set.remove_range(above, Uid::MAX);
        }
        set
    }

    /// Keeps only what is a member of another set too.
    pub fn intersect_with(&mut self, other: &Self) {
        *self = self.intersection(other);
    }

    /// The members that another set does not have.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut set = self.clone();
        set.difference_with(other);
        set
    }

    /// Takes out the members of another set. Takes as long as [`UidSet::union_with`].
    pub fn difference_with(&mut self, other: &Self) {
        if let Some((first, last)) = other.as_range() {
            self.remove_range(first, last);
        } else if !self.is_empty() {
            self.merge(other, false);
        }
    }

    /// Whether every member is one of `other` too.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        match (self.as_range(), other.as_range()) {
            _ if self.count() > other.count() => false,
            (Some((first, last)), _) => self.count() == other.count_between(first, last),
            (_, Some((first, last))) => self.count() == self.count_between(first, last),
            (None, None) => ops::is_subset(&self.whole(), &other.whole()),
        }
    }

    /// Whether the sets have a member in common.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        match (self.as_range(), other.as_range()) {
            (Some((first, last)), _) => other.count_between(first, last) > 0,
            (_, Some((first, last))) => self.count_between(first, last) > 0,
            (None, None) => ops::intersects(&self.whole(), &other.whole()),
        }
    }

    /// The members larger than a UID: what has arrived after it.
    #[must_use]
    pub fn after(&self, uid: Uid) -> Self {
        let mut set = self.clone();
        set.remove_range(Uid::MIN, uid);
        set
    }

    /// Keeps only members that are not smaller than a UID.
    pub fn retain_from(&mut self, from: Uid) {
        if let Some(last) = uid(from.get() - 1) {
            self.remove_range(Uid::MIN, last);
        }
    }

    /// Octets of heap that the set uses, parts that it shares with other sets included.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.tree.heap_size()
    }

    /// The set as one range, if it is kept as such; the empty set is not.
    fn as_range(&self) -> Option<(Uid, Uid)> {
        if self.tree.is_empty() { Some((uid(self.tail.first)?, uid(self.tail.last)?)) } else { None }
    }

    fn count_between(&self, first: Uid, last: Uid) -> u32 {
        self.rank_lower_bound(last) + u32::from(self.contains(last)) - self.rank_lower_bound(first)
    }

    /// Moves the tail into the tree.
    fn flush(&mut self) {
        if !self.tail.is_empty() {
            self.tree.change(self.tail.first, self.tail.last, true);
            self.tail = Tail::NONE;
        }
    }

    /// All members as one tree.
    fn whole(&self) -> Cow<'_, Tree> {
        if self.tail.is_empty() {
            return Cow::Borrowed(&self.tree);
        }
        let mut set = self.clone();
        set.flush();
        Cow::Owned(set.tree)
    }

    /// Adds or takes out the members of another set.
    fn merge(&mut self, other: &Self, add: bool) {
        if other.tree.weight() * 4 > self.tree.weight() {
            let other = other.whole();
            let whole = self.whole();
            self.tree = if add { ops::union(&whole, &other) } else { ops::difference(&whole, &other) };
            self.tail = Tail::NONE;
            return;
        }
        let mut place = tree::Place::default();
        while let Some(segment) = other.tree.get(place) {
            place = other.tree.next(place);
            if let Body::Bits { .. } = segment.body {
                self.merge_block(segment.block, &segment.body, add);
                continue;
            }
            let mut from = 0;
            while let Some((low, high)) = segment.body.run_from(from) {
                self.change(segment.start() + low, segment.start() + high, add);
                if segment.body.is_full() {
                    break;
                }
                from = high + 1;
            }
        }
        self.change(other.tail.first, other.tail.last, add);
    }

    fn change(&mut self, first: u32, last: u32, add: bool) {
        if let (Some(first), Some(last)) = (uid(first), uid(last)) {
            if add {
                self.insert_range(first, last);
            } else {
                self.remove_range(first, last);
            }
        }
    }

    fn merge_block(&mut self, block: u32, other: &Body, add: bool) {
        if !self.tail.is_empty() && block_of(self.tail.first) <= block {
            self.flush();
        }
        let Some(held) = self.tree.get(self.tree.find(block)).filter(|held| held.block <= block) else {
            if add {
                self.tree.replace(block, Some(other.clone()));
            }
            return;
        };
        if held.body.is_full() {
            if !add {
                let rest = ops::without(&Body::Full { blocks: 1 }, other);
                self.tree.replace(block, rest);
            }
            return;
        }
        let body = if add { ops::either(&held.body, other) } else { ops::without(&held.body, other) };
        self.tree.replace(block, body);
    }

    /// Adds ranges in any order, in n log n steps for n ranges.
    fn extend_ranges(&mut self, mut ranges: impl Iterator<Item = (Uid, Uid)>) {
        let mut late = Vec::new();
        for (first, last) in ranges.by_ref() {
            if self.last().is_none_or(|end| first >= end) || self.contains(first) && self.contains(last) {
                self.insert_range(first, last);
            } else {
                late.push((first, last));
                break;
            }
        }
        if late.is_empty() {
            return;
        }
        late.extend(ranges.filter(|(first, last)| first <= last));
        late.sort_unstable();
        let mut rest = Self::new();
        for (first, last) in late {
            rest.insert_range(first, last);
        }
        self.union_with(&rest);
    }
}

impl Default for UidSet {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for UidSet {
    fn eq(&self, other: &Self) -> bool {
        self.count() == other.count() && self.is_subset(other)
    }
}

impl Eq for UidSet {}

impl<'a> IntoIterator for &'a UidSet {
    type Item = Uid;
    type IntoIter = UidIter<'a>;

    fn into_iter(self) -> UidIter<'a> {
        self.iter()
    }
}

/// Fastest in ascending order; any order will do.
impl Extend<Uid> for UidSet {
    fn extend<I: IntoIterator<Item = Uid>>(&mut self, uids: I) {
        self.extend_ranges(uids.into_iter().map(|uid| (uid, uid)));
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        let mut set = Self::new();
        set.extend(uids);
        set
    }
}

/// Ranges may overlap and come in any order; ascending is fastest. One whose start is larger than its end is empty.
impl Extend<RangeInclusive<Uid>> for UidSet {
    fn extend<I: IntoIterator<Item = RangeInclusive<Uid>>>(&mut self, ranges: I) {
        self.extend_ranges(ranges.into_iter().map(|range| (*range.start(), *range.end())));
    }
}

impl FromIterator<RangeInclusive<Uid>> for UidSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<Uid>>>(ranges: I) -> Self {
        let mut set = Self::new();
        set.extend(ranges);
        set
    }
}

impl From<Uid> for UidSet {
    fn from(uid: Uid) -> Self {
        Self::from_range(uid, uid)
    }
}

fn write_range(f: &mut fmt::Formatter<'_>, at: usize, (first, last): (Uid, Uid)) -> fmt::Result {
    if at > 0 {
        f.write_str(",")?;
    }
    if first < last { write!(f, "{first}:{last}") } else { write!(f, "{first}") }
}

/// Writes an IMAP `uid-set`: `1:3,5,7:9`. The empty set, which the grammar does not have, is the empty text.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ranges().enumerate().try_for_each(|(at, range)| write_range(f, at, range))
    }
}

/// Shows the first 16 ranges, and the number of members.
impl fmt::Debug for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UidSet(")?;
        let mut ranges = self.ranges().enumerate();
        ranges.by_ref().take(16).try_for_each(|(at, range)| write_range(f, at, range))?;
        if ranges.next().is_some() {
            write!(f, ",... {} in all", self.count())?;
        }
        f.write_str(")")
    }
}
