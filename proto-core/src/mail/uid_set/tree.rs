//! The directory of blocks: pages of segments, in two levels.
//!
//! A page is shared by all clones of a set until one of them changes it, and so is each block's bitmap. A change costs
//! one page and one bitmap at most; the counts of the pages after it are corrected in place.

use std::sync::Arc;

use super::block::{Body, UIDS, block_of, start_of};

/// Segments in a page, at most.
const MAX_SEGMENTS: usize = 32;

/// A body and where it is.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Its first block.
    pub(super) block: u32,
    /// Members in earlier segments of the page.
    before: u32,
    pub(super) body: Body,
}

impl Segment {
    const fn new(block: u32, body: Body) -> Self {
        Self { block, before: 0, body }
    }

    /// The block after its last.
    pub(super) const fn end(&self) -> u32 {
        self.block + self.body.blocks()
    }

    pub(super) const fn start(&self) -> u32 {
        start_of(self.block)
    }
}

/// Neighbouring segments; never empty.
#[derive(Clone, Debug)]
struct Page {
    /// The first block of its first segment.
    block: u32,
    /// Members in earlier pages.
    before: u32,
    segments: Arc<Vec<Segment>>,
}

impl Page {
    /// Members up to and with this page.
    fn after(&self) -> u32 {
        self.before + self.segments.last().map_or(0, |last| last.before + last.body.count())
    }

    fn recount(&mut self, before: u32) {
        self.before = before;
        let mut sum = 0;
        let segments = Arc::make_mut(&mut self.segments);
        for segment in segments.iter_mut() {
            segment.before = sum;
            sum += segment.body.count();
        }
        self.block = segments.first().map_or(0, |first| first.block);
    }
}

/// A place in the directory: page, and segment within. The end is the place past the last page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    page: usize,
    segment: usize,
}

/// Segments in ascending order that do not overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pages: Vec<Page>,
    count: u32,
}

impl Tree {
    pub(super) const fn new() -> Self {
        Self { pages: Vec::new(), count: 0 }
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Segments in all, by the number of pages; for choosing between ways to do a thing.
    pub(super) fn weight(&self) -> usize {
        self.pages.len() * MAX_SEGMENTS / 2
    }

    pub(super) fn get(&self, place: Place) -> Option<&Segment> {
        self.pages.get(place.page)?.segments.get(place.segment)
    }

    /// The first segment that ends after the start of a block.
    pub(super) fn find(&self, block: u32) -> Place {
        let page = self.pages.partition_point(|page| page.block <= block).saturating_sub(1);
        let Some(held) = self.pages.get(page) else { return Place { page, segment: 0 } };
        let after = held.segments.partition_point(|segment| segment.block <= block);
        let segment = match after.checked_sub(1) {
            Some(before) if held.segments.get(before).is_some_and(|segment| segment.end() > block) => before,
            _ => after,
        };
        if segment < held.segments.len() { Place { page, segment } } else { Place { page: page + 1, segment: 0 } }
    }

    pub(super) fn next(&self, place: Place) -> Place {
        match self.pages.get(place.page) {
            Some(page) if place.segment + 1 < page.segments.len() => Place { segment: place.segment + 1, ..place },
            _ => Place { page: place.page + 1, segment: 0 },
        }
    }

    pub(super) fn previous(&self, place: Place) -> Option<Place> {
        if let Some(segment) = place.segment.checked_sub(1) {
            return Some(Place { segment, ..place });
        }
        let page = place.page.checked_sub(1)?;
        let segment = self.pages.get(page)?.segments.len().checked_sub(1)?;
        Some(Place { page, segment })
    }

    pub(super) fn first(&self) -> Option<u32> {
        let first = self.pages.first()?.segments.first()?;
        Some(first.start() + first.body.run_from(0)?.0)
    }

    pub(super) fn last(&self) -> Option<u32> {
        let last = self.pages.last()?.segments.last()?;
        let offset = start_of(last.end() - 1) - last.start() + (UIDS - 1);
        Some(last.start() + last.body.run_to(offset)?.1)
    }

    /// Members smaller than a number, and whether it is a member.
    pub(super) fn rank(&self, uid: u32) -> (u32, bool) {
        let place = self.find(block_of(uid));
        let (Some(page), Some(segment)) = (self.pages.get(place.page), self.get(place)) else {
            return (self.count, false);
        };
        let before = page.before + segment.before;
        match uid.checked_sub(segment.start()) {
            Some(offset) => (before + segment.body.rank(offset), segment.body.contains(offset)),
            None => (before, false),
        }
    }

    pub(super) fn contains(&self, uid: u32) -> bool {
        let segment = self.get(self.find(block_of(uid)));
        segment.is_some_and(|held| held.start() <= uid && held.body.contains(uid - held.start()))
    }

    pub(super) fn nth(&self, index: u32) -> Option<u32> {
        if index >= self.count {
            return None;
        }
        let page = self.pages.get(self.pages.partition_point(|page| page.before <= index).checked_sub(1)?)?;
        let index = index - page.before;
        let at = page.segments.partition_point(|segment| segment.before <= index).checked_sub(1)?;
        let segment = page.segments.get(at)?;
        Some(segment.start() + segment.body.nth(index - segment.before)?)
    }

    /// Adds or takes out all numbers from `first` to `last`.
    pub(super) fn change(&mut self, first: u32, last: u32, add: bool) {
        let (low, high) = (block_of(first), block_of(last));
        let (from, to) = (first - start_of(low), last - start_of(high));
        if low == high {
            self.change_block(low, from, to, add);
            return;
        }
        self.change_block(low, from, UIDS - 1, add);
        if high - low > 1 {
            let blocks = high - low - 1;
            self.splice(low + 1, high - 1, add.then_some(Body::Full { blocks }));
        }
        self.change_block(high, 0, to, add);
    }

    fn change_block(&mut self, block: u32, low: u32, high: u32, add: bool) {
        let place = self.find(block);
        let held = self.get(place).filter(|held| held.block <= block);
        let Some(segment) = held else {
            if add {
                self.splice(block, block, Some(Body::range(low, high)));
            }
            return;
        };
        if segment.body.is_full() {
            if !add {
                let mut rest = Body::Full { blocks: 1 };
                let left = rest.change(low, high, false);
                self.splice(block, block, left.then_some(rest));
            }
            return;
        }
        // Looked at first, so that a change that changes nothing copies nothing that is shared.
        let present = segment.body.rank(high + 1) - segment.body.rank(low);
        if present == if add { high - low + 1 } else { 0 } {
            return;
        }
        let before = segment.body.count();
        if !add && present == before {
            self.splice(block, block, None);
            return;
        }
        let Some(page) = self.pages.get_mut(place.page) else { return };
        let segments = Arc::make_mut(&mut page.segments);
        let Some(segment) = segments.get_mut(place.segment) else { return };
        segment.body.change(low, high, add);
        let delta = segment.body.count().wrapping_sub(before);
        let full = segment.body.is_full();
        for later in segments.iter_mut().skip(place.segment + 1) {
            later.before = later.before.wrapping_add(delta);
        }
        self.shift(place.page + 1, delta);
        if full {
            // Now it may be one run with its neighbours.
            self.splice(block, block, Some(Body::Full { blocks: 1 }));
        }
    }

    /// Replaces what is in one block.
    pub(super) fn replace(&mut self, block: u32, body: Option<Body>) {
        self.splice(block, block, body);
    }

    /// Puts a body after all others; in a later block than any.
    pub(super) fn push(&mut self, block: u32, body: Body) {
        let count = body.count();
        if let Some(page) = self.pages.last_mut() {
            let joins = |last: &Segment| last.body.is_full() && body.is_full() && last.end() == block;
            if page.segments.last().is_some_and(joins) {
                if let Some(Body::Full { blocks }) =
                    Arc::make_mut(&mut page.segments).last_mut().map(|last| &mut last.body)
                {
                    *blocks += body.blocks();
                }
                self.count += count;
                return;
            }
            if page.segments.len() < MAX_SEGMENTS {
                let before = self.count - page.before;
                Arc::make_mut(&mut page.segments).push(Segment { block, before, body });
                self.count += count;
                return;
            }
        }
        self.pages.push(Page { block, before: self.count, segments: Arc::new(vec![Segment::new(block, body)]) });
        self.count += count;
    }

    /// Replaces all that is in the blocks `first` to `last` by one body that begins at `first`, or by nothing.
    fn splice(&mut self, mut first: u32, last: u32, mut body: Option<Body>) {
        let mut from = self.find(first);
        let mut to = self.find(last);
        let (mut left, mut right) = (None, None);
        if let Some(held) = self.get(from).filter(|held| held.block < first) {
            left = Some(Segment::new(held.block, Body::Full { blocks: first - held.block }));
        }
        if let Some(held) = self.get(to).filter(|held| held.block <= last) {
            if held.end() > last + 1 {
                right = Some(Segment::new(last + 1, Body::Full { blocks: held.end() - (last + 1) }));
            }
            to = self.after(to);
        }
        if let Some(Body::Full { blocks }) = &mut body {
            // Full neighbours become one with it. A neighbour in another page is left alone: that costs 24 octets.
            if let Some(left) = left.take() {
                *blocks += left.body.blocks();
                first = left.block;
            } else if from.segment > 0
                && let Some(place) = self.previous(from)
                && let Some(held) = self.get(place).filter(|held| held.body.is_full() && held.end() == first)
            {
                *blocks += held.body.blocks();
                (first, from) = (held.block, place);
            }
            if let Some(right) = right.take() {
                *blocks += right.body.blocks();
            } else if let Some(held) = self.get(to).filter(|held| held.body.is_full() && held.block == last + 1) {
                *blocks += held.body.blocks();
                to = self.after(to);
            }
        }
        let new = [left, body.map(|body| Segment::new(first, body)), right];
        self.swap(from, to, new.into_iter().flatten());
    }

    /// The place after a segment, in the same page: maybe past its last segment.
    fn after(&self, place: Place) -> Place {
        Place { segment: place.segment + 1, ..place }
    }

    /// Members before a place, which may be past the last segment of its page.
    fn before(&self, place: Place) -> u32 {
        let Some(page) = self.pages.get(place.page) else { return self.count };
        page.segments.get(place.segment).map_or_else(|| page.after(), |held| page.before + held.before)
    }

    /// Replaces the segments from a place to another, the latter not included.
    fn swap(&mut self, from: Place, to: Place, new: impl Iterator<Item = Segment>) {
        if from.page >= self.pages.len() {
            for segment in new {
                self.push(segment.block, segment.body);
            }
            return;
        }
        let removed = self.before(to) - self.before(from);
        let mut touched = 1;
        let is_last = from.page + 1 == self.pages.len();
        let Some(page) = self.pages.get_mut(from.page) else { return };
        let before = page.before;
        let segments = Arc::make_mut(&mut page.segments);
        let mut added = 0;
        let new = new.inspect(|segment| added += segment.body.count());
        if from.page == to.page {
            segments.splice(from.segment..to.segment, new).for_each(drop);
        } else {
            segments.truncate(from.segment);
            segments.extend(new);
        }
        let overflow = (segments.len() > MAX_SEGMENTS).then(|| {
            // Sets grow at their end: a page that overflows there stays full, others are halved.
            let at = if is_last { MAX_SEGMENTS } else { segments.len() / 2 };
            let rest = segments.split_off(at);
            segments.shrink_to(MAX_SEGMENTS);
            rest
        });
        if from.page < to.page {
            if to.segment > 0
                && let Some(page) = self.pages.get_mut(to.page)
            {
                Arc::make_mut(&mut page.segments).drain(..to.segment);
                touched += 1;
            }
            self.pages.drain(from.page + 1..to.page.min(self.pages.len()));
        }
        if let Some(rest) = overflow {
            self.pages.insert(from.page + 1, Page { block: 0, before: 0, segments: Arc::new(rest) });
            touched += 1;
        }
        // Back to front, so that places stay true when an empty page goes.
        for page in (from.page..from.page + touched).rev() {
            if self.pages.get(page).is_some_and(|page| page.segments.is_empty()) {
                self.pages.remove(page);
                touched -= 1;
            }
        }
        let mut sum = before;
        for page in self.pages.iter_mut().skip(from.page).take(touched) {
            page.recount(sum);
            sum = page.after();
        }
        self.shift(from.page + touched, added.wrapping_sub(removed));
    }

    /// Corrects the counts from a page on, and the whole.
    fn shift(&mut self, page: usize, delta: u32) {
        for later in self.pages.iter_mut().skip(page) {
            later.before = later.before.wrapping_add(delta);
        }
        self.count = self.count.wrapping_add(delta);
    }

    pub(super) fn heap_size(&self) -> usize {
        let page = |page: &Page| {
            let bodies: usize = page.segments.iter().map(|segment| segment.body.heap_size()).sum();
            let vec = size_of::<Vec<Segment>>() + 2 * size_of::<usize>();
            vec + page.segments.capacity() * size_of::<Segment>() + bodies
        };
        self.pages.capacity() * size_of::<Page>() + self.pages.iter().map(page).sum::<usize>()
    }

    /// Octets of pages and bitmaps that another tree does not share.
    #[cfg(test)]
    pub(super) fn unshared(&self, other: &Self) -> usize {
        let own = |page: &&Page| !other.pages.iter().any(|held| Arc::ptr_eq(&held.segments, &page.segments));
        let shared =
            |segment: &Segment| other.get(other.find(segment.block)).is_some_and(|o| o.body.is_same(&segment.body));
        let bodies = |page: &Page| -> usize {
            page.segments.iter().filter(|held| !shared(held)).map(|held| held.body.heap_size()).sum()
        };
        self.pages.iter().filter(own).map(|page| page.segments.capacity() * size_of::<Segment>() + bodies(page)).sum()
    }

    /// Whether the counts, the order and the shapes are as they must be.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let (mut count, mut end) = (0, 0);
        for page in &self.pages {
            assert_eq!(page.before, count, "page count");
            assert!((1..=MAX_SEGMENTS).contains(&page.segments.len()), "page size");
            assert_eq!(page.block, page.segments[0].block, "page block");
            for segment in page.segments.iter() {
                assert_eq!(page.before + segment.before, count, "segment count");
                assert!(segment.block >= end, "segment order");
                end = segment.end();
                let members: u32 = match &segment.body {
                    Body::Full { blocks } => blocks * UIDS,
                    body => {
                        body.check();
                        body.expand().iter().map(|word| word.count_ones()).sum()
                    }
                };
                assert_eq!(members, segment.body.count(), "body count");
                assert!(members > 0, "no empty body");
                assert!(members < UIDS || segment.body.is_full(), "full bodies are runs");
                count += members;
            }
        }
        assert_eq!(count, self.count, "count");
        assert!(end <= 1 << 21, "within the numbers of blocks");
    }
}
