//! Sets of UIDs.

use std::fmt;
use std::ops::RangeInclusive;

use super::Uid;

/// A set of UIDs; also a session's view of its mailbox, where a message's sequence number is its rank plus one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UidSet {
    runs: Vec<(u32, u32)>,
}

fn uid(number: u32) -> Option<Uid> {
    Uid::new(number)
}

impl UidSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { runs: Vec::new() }
    }

    /// Every UID, `1:4294967295`.
    #[must_use]
    pub fn full() -> Self {
        Self { runs: vec![(1, u32::MAX)] }
    }

    /// All UIDs between two, both included, in either order: `5:3` is `3:5` (RFC 9051, section 9, `seq-range`).
    #[must_use]
    pub fn from_range(a: Uid, b: Uid) -> Self {
        Self { runs: vec![(a.min(b).get(), a.max(b).get())] }
    }

    /// Adds a UID; false if it was a member already.
    pub fn insert(&mut self, uid: Uid) -> bool {
        let new = !self.contains(uid);
        self.insert_range(uid, uid);
        new
    }

    /// Adds all UIDs from `first` to `last`; none if `first` is larger.
    pub fn insert_range(&mut self, first: Uid, last: Uid) {
        if first > last {
            return;
        }
        let (first, last) = (u64::from(first.get()), u64::from(last.get()));
        let from = self.runs.partition_point(|run| u64::from(run.1) + 1 < first);
        let to = self.runs.partition_point(|run| u64::from(run.0) <= last + 1);
        let merged = self.runs.get(from..to).unwrap_or_default();
        let low = merged.first().map_or(first, |run| first.min(u64::from(run.0)));
        let high = merged.last().map_or(last, |run| last.max(u64::from(run.1)));
        self.runs.splice(from..to.max(from), [(low as u32, high as u32)]);
    }

    /// Takes a UID out; false if it was no member.
    pub fn remove(&mut self, uid: Uid) -> bool {
        let had = self.contains(uid);
        self.remove_range(uid, uid);
        had
    }

    /// Takes out all UIDs from `first` to `last`; none if `first` is larger.
    pub fn remove_range(&mut self, first: Uid, last: Uid) {
        if first > last {
            return;
        }
        let (first, last) = (first.get(), last.get());
        let from = self.runs.partition_point(|run| run.1 < first);
        let to = self.runs.partition_point(|run| run.0 <= last);
        let cut: Vec<_> = self.runs.get(from..to).unwrap_or_default().to_vec();
        let mut left = Vec::new();
        for (low, high) in cut {
            if low < first {
                left.push((low, first - 1));
            }
            if high > last {
                left.push((last + 1, high));
            }
        }
        self.runs.splice(from..to.max(from), left);
    }

    /// Whether a UID is a member.
    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        self.rank(uid).is_some()
    }

    /// The number of members, at most 4,294,967,295.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.1 - run.0) + 1).sum()
    }

    /// The number of members, as EXISTS says it. Never cut: there are no more UIDs than fit.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.len() as u32
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The smallest member.
    #[must_use]
    pub fn first(&self) -> Option<Uid> {
        self.runs.first().and_then(|run| uid(run.0))
    }

    /// The largest member.
    #[must_use]
    pub fn last(&self) -> Option<Uid> {
        self.runs.last().and_then(|run| uid(run.1))
    }

    /// The number of smaller members, if the UID is a member; its sequence number is one more.
    #[must_use]
    pub fn rank(&self, uid: Uid) -> Option<u32> {
        let found = self.runs.iter().any(|run| (run.0..=run.1).contains(&uid.get()));
        found.then(|| self.rank_lower_bound(uid))
    }

    /// The number of members that are smaller than a UID.
    #[must_use]
    pub fn rank_lower_bound(&self, uid: Uid) -> u32 {
        let smaller = self.runs.iter().filter(|run| run.0 < uid.get());
        smaller.map(|run| run.1.min(uid.get() - 1) - run.0 + 1).sum()
    }

    /// The member with this many smaller members.
    #[must_use]
    pub fn nth(&self, mut index: u32) -> Option<Uid> {
        for run in &self.runs {
            if index <= run.1 - run.0 {
                return uid(run.0 + index);
            }
            index -= run.1 - run.0 + 1;
        }
        None
    }

    /// The members, ascending.
    #[must_use]
    pub fn iter(&self) -> UidIter<'_> {
        UidIter { set: self, front: 0, back: self.count() }
    }

    /// The members as maximal runs `(first, last)`, ascending.
    #[must_use]
    pub fn ranges(&self) -> UidRanges<'_> {
        UidRanges { runs: self.runs.iter() }
    }

    /// The members of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut set = self.clone();
        set.union_with(other);
        set
    }

    /// Adds the members of another set.
    pub fn union_with(&mut self, other: &Self) {
        for (first, last) in other.ranges() {
            self.insert_range(first, last);
        }
    }

    /// The members of both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.difference(&Self::full().difference(other))
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

    /// Takes out the members of another set.
    pub fn difference_with(&mut self, other: &Self) {
        for (first, last) in other.ranges() {
            self.remove_range(first, last);
        }
    }

    /// Whether every member is one of `other` too.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.difference(other).is_empty()
    }

    /// Whether the sets have a member in common.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// The members larger than a UID.
    #[must_use]
    pub fn after(&self, uid: Uid) -> Self {
        let mut set = self.clone();
        set.remove_range(Uid::MIN, uid);
        set
    }

    /// Keeps only members that are not smaller than a UID.
    pub fn retain_from(&mut self, uid: Uid) {
        if let Some(last) = Uid::new(uid.get() - 1) {
            self.remove_range(Uid::MIN, last);
        }
    }

    /// About how many octets of heap the set uses, parts shared with other sets included.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.runs.capacity() * 8
    }
}

/// The iterator of [`UidSet::iter`].
#[derive(Clone, Debug)]
pub struct UidIter<'a> {
    set: &'a UidSet,
    front: u32,
    back: u32,
}

impl Iterator for UidIter<'_> {
    type Item = Uid;

    fn next(&mut self) -> Option<Uid> {
        if self.front == self.back {
            return None;
        }
        self.front += 1;
        self.set.nth(self.front - 1)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.back - self.front) as usize;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for UidIter<'_> {
    fn next_back(&mut self) -> Option<Uid> {
        if self.front == self.back {
            return None;
        }
        self.back -= 1;
        self.set.nth(self.back)
    }
}

impl ExactSizeIterator for UidIter<'_> {}

/// The iterator of [`UidSet::ranges`].
#[derive(Clone, Debug)]
pub struct UidRanges<'a> {
    runs: std::slice::Iter<'a, (u32, u32)>,
}

impl Iterator for UidRanges<'_> {
    type Item = (Uid, Uid);

    fn next(&mut self) -> Option<(Uid, Uid)> {
        self.runs.next().and_then(|run| Some((uid(run.0)?, uid(run.1)?)))
    }
}

impl DoubleEndedIterator for UidRanges<'_> {
    fn next_back(&mut self) -> Option<(Uid, Uid)> {
        self.runs.next_back().and_then(|run| Some((uid(run.0)?, uid(run.1)?)))
    }
}

impl<'a> IntoIterator for &'a UidSet {
    type Item = Uid;
    type IntoIter = UidIter<'a>;

    fn into_iter(self) -> UidIter<'a> {
        self.iter()
    }
}

impl Extend<Uid> for UidSet {
    fn extend<I: IntoIterator<Item = Uid>>(&mut self, uids: I) {
        for uid in uids {
            self.insert(uid);
        }
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        let mut set = Self::new();
        set.extend(uids);
        set
    }
}

impl Extend<RangeInclusive<Uid>> for UidSet {
    fn extend<I: IntoIterator<Item = RangeInclusive<Uid>>>(&mut self, ranges: I) {
        for range in ranges {
            self.insert_range(*range.start(), *range.end());
        }
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

/// Writes an IMAP `uid-set`: `1:3,5,7:9`. The empty set, which the grammar does not have, is the empty text.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.ranges().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{first}")?;
            if first < last {
                write!(f, ":{last}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UidSet({self})")
    }
}
