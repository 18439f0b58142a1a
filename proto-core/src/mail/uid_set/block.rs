//! What is in a block of UIDs, or in a run of full blocks.

use std::sync::Arc;

/// UIDs in a block, as a power of two.
///
/// A block of 2,048 costs 256 octets as a bitmap plus 48 for its counters, its place in the page and the `Arc`. With
/// half the size these 48 would be a third of all; with more, a session that has its own copy of a block pays more.
const SHIFT: u32 = 11;
/// UIDs in a block.
pub(super) const UIDS: u32 = 1 << SHIFT;
const WORDS: usize = (UIDS / 64) as usize;
/// Members that fit a body without an allocation of their own.
const FEW: usize = 7;

/// The block that a UID is in.
pub(super) const fn block_of(uid: u32) -> u32 {
    uid >> SHIFT
}

/// The first UID of a block (0, which is no UID, for the first).
pub(super) const fn start_of(block: u32) -> u32 {
    block << SHIFT
}

/// One bit for each UID of a block, the lowest first.
pub(super) type Bitmap = [u64; WORDS];

/// Words in a quarter of a block.
const QUARTER: usize = WORDS / 4;

/// A bitmap with counts at its quarters, which make ranks three times as fast for 8 octets.
#[derive(Clone, Debug)]
pub(super) struct Bits {
    words: Bitmap,
    /// Set bits below each quarter.
    below: [u16; 4],
}

impl Bits {
    fn new(words: Bitmap) -> Self {
        let (mut below, mut sum) = ([0; 4], 0);
        for (quarter, below) in words.chunks(QUARTER).zip(&mut below) {
            *below = sum;
            sum += quarter.iter().map(|word| word.count_ones() as u16).sum::<u16>();
        }
        Self { words, below }
    }

    /// Sets or clears the bits from `low` to `high`; returns the difference of the count.
    fn change(&mut self, low: u32, high: u32, add: bool) -> u32 {
        let mut all = 0u32;
        each_word(low, high, |at, mask| {
            let Some(word) = self.words.get_mut(at) else { return };
            let before = word.count_ones();
            *word = if add { *word | mask } else { *word & !mask };
            let delta = word.count_ones().wrapping_sub(before);
            all = all.wrapping_add(delta);
            for later in self.below.iter_mut().skip(at / QUARTER + 1) {
                *later = later.wrapping_add(delta as u16);
            }
        });
        all
    }

    fn rank(&self, offset: u32) -> u32 {
        let at = (offset / 64) as usize;
        let quarter = (at / QUARTER).min(3);
        let whole = self.words.get(quarter * QUARTER..at.min(WORDS)).unwrap_or_default();
        let below = u32::from(self.below.get(quarter).copied().unwrap_or(0));
        let part = self.words.get(at).map_or(0, |word| word & !(u64::MAX << (offset % 64)));
        below + whole.iter().map(|word| word.count_ones()).sum::<u32>() + part.count_ones()
    }

    fn nth(&self, index: u32) -> Option<u32> {
        let quarter = self.below.iter().rposition(|below| u32::from(*below) <= index)?;
        let mut left = index - u32::from(self.below.get(quarter).copied()?);
        for (at, word) in self.words.iter().enumerate().skip(quarter * QUARTER) {
            let ones = word.count_ones();
            if left < ones {
                return Some(at as u32 * 64 + select(*word, left));
            }
            left -= ones;
        }
        None
    }
}

/// The members within one block, or a run of full blocks. Never empty. Offsets are UIDs less the first UID of the block.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// All UIDs of this many blocks, one at least.
    Full { blocks: u32 },
    /// All from one offset to another, both included; not the whole block.
    Range { low: u16, high: u16 },
    /// The first `len` offsets, ascending.
    Few { len: u8, offsets: [u16; FEW] },
    /// Any; `count` of them. More than fit `Few`, fewer than all.
    Bits { count: u16, bits: Arc<Bits> },
}

impl Body {
    /// Everything from `low` to `high` in one block.
    pub(super) fn range(low: u32, high: u32) -> Self {
        if low == 0 && high == UIDS - 1 {
            Self::Full { blocks: 1 }
        } else {
            Self::Range { low: low as u16, high: high as u16 }
        }
    }

    /// Blocks that this stretches over.
    pub(super) const fn blocks(&self) -> u32 {
        match self {
            Self::Full { blocks } => *blocks,
            _ => 1,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    pub(super) fn count(&self) -> u32 {
        match self {
            // 2^21 full blocks would overflow, but the first block can't be full: there is no UID 0.
            Self::Full { blocks } => blocks * UIDS,
            Self::Range { low, high } => u32::from(high - low) + 1,
            Self::Few { len, .. } => u32::from(*len),
            Self::Bits { count, .. } => u32::from(*count),
        }
    }

    pub(super) fn contains(&self, offset: u32) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Range { low, high } => (u32::from(*low)..=u32::from(*high)).contains(&offset),
            Self::Few { .. } => self.few().iter().any(|member| u32::from(*member) == offset),
            Self::Bits { bits, .. } => word(&bits.words, offset) >> (offset % 64) & 1 == 1,
        }
    }

    /// Members with a smaller offset. An offset past the end counts all.
    pub(super) fn rank(&self, offset: u32) -> u32 {
        match self {
            Self::Full { blocks } => offset.min(blocks.saturating_mul(UIDS)),
            Self::Range { low, high } => offset.clamp(u32::from(*low), u32::from(*high) + 1) - u32::from(*low),
            Self::Few { .. } => self.few().iter().map(|member| u32::from(u32::from(*member) < offset)).sum(),
            Self::Bits { bits, .. } => bits.rank(offset),
        }
    }

    /// The offset of the member that has this many below it.
    pub(super) fn nth(&self, index: u32) -> Option<u32> {
        match self {
            Self::Full { .. } => Some(index),
            Self::Range { low, .. } => Some(u32::from(*low) + index),
            Self::Few { .. } => self.few().get(index as usize).map(|member| u32::from(*member)),
            Self::Bits { bits, .. } => bits.nth(index),
        }
    }

    /// The first member at or after an offset, with the last of the members that follow it without a gap.
    pub(super) fn run_from(&self, offset: u32) -> Option<(u32, u32)> {
        match self {
            Self::Full { blocks } => Some((offset, blocks.wrapping_mul(UIDS).wrapping_sub(1))),
            Self::Range { low, high } => {
                let (low, high) = (u32::from(*low), u32::from(*high));
                (offset <= high).then(|| (offset.max(low), high))
            }
            Self::Few { .. } => {
                let mut rest = self.few().iter().map(|member| u32::from(*member)).skip_while(|member| *member < offset);
                let first = rest.next()?;
                Some((first, rest.zip(first + 1..).take_while(|(a, b)| a == b).last().map_or(first, |(last, _)| last)))
            }
            Self::Bits { bits, .. } => {
                let first = scan_up(&bits.words, offset, 0)?;
                Some((first, scan_up(&bits.words, first, u64::MAX).map_or(UIDS - 1, |gap| gap - 1)))
            }
        }
    }

    /// The last member at or before an offset, after the first of the members that lead to it without a gap.
    pub(super) fn run_to(&self, offset: u32) -> Option<(u32, u32)> {
        match self {
            Self::Full { .. } => Some((0, offset)),
            Self::Range { low, high } => {
                let (low, high) = (u32::from(*low), u32::from(*high));
                (offset >= low).then(|| (low, offset.min(high)))
            }
            Self::Few { .. } => {
                let down = self.few().iter().rev().map(|member| u32::from(*member));
                let mut rest = down.skip_while(|member| *member > offset);
                let last = rest.next()?;
                let lower = rest.zip((0..last).rev()).take_while(|(a, b)| a == b).last();
                Some((lower.map_or(last, |(first, _)| first), last))
            }
            Self::Bits { bits, .. } => {
                let last = scan_down(&bits.words, offset, 0)?;
                Some((scan_down(&bits.words, last, u64::MAX).map_or(0, |gap| gap + 1), last))
            }
        }
    }

    /// Adds or takes out all offsets from `low` to `high` of a body of one block. False if nothing is left.
    pub(super) fn change(&mut self, low: u32, high: u32, add: bool) -> bool {
        match self {
            Self::Range { low: l, high: h } if add && low <= u32::from(*h) + 1 && high + 1 >= u32::from(*l) => {
                *self = Self::range(low.min(u32::from(*l)), high.max(u32::from(*h)));
                return true;
            }
            Self::Bits { count, bits } => {
                let now = u32::from(*count).wrapping_add(Arc::make_mut(bits).change(low, high, add));
                *count = now as u16;
                if now > FEW as u32 && now < UIDS {
                    return true;
                }
            }
            _ => {}
        }
        let mut bits = self.expand();
        each_word(low, high, |at, mask| {
            if let Some(word) = bits.get_mut(at) {
                *word = if add { *word | mask } else { *word & !mask };
            }
        });
        match Self::pack(&bits) {
            Some(body) => *self = body,
            None => return false,
        }
        true
    }

    /// The bits of a body of one block.
    pub(super) fn expand(&self) -> Bitmap {
        let mut bits = [0; WORDS];
        match self {
            Self::Full { .. } => return [u64::MAX; WORDS],
            Self::Range { low, high } => each_word(u32::from(*low), u32::from(*high), |at, mask| {
                if let Some(word) = bits.get_mut(at) {
                    *word = mask;
                }
            }),
            Self::Few { .. } => {
                for member in self.few() {
                    if let Some(word) = bits.get_mut(usize::from(member / 64)) {
                        *word |= 1 << (member % 64);
                    }
                }
            }
            Self::Bits { bits, .. } => return bits.words,
        }
        bits
    }

    /// The smallest body for these bits; `None` if there is no member.
    pub(super) fn pack(bits: &Bitmap) -> Option<Self> {
        let count: u32 = bits.iter().map(|word| word.count_ones()).sum();
        let first = scan_up(bits, 0, 0)?;
        let last = scan_down(bits, UIDS - 1, 0)?;
        if last - first + 1 == count {
            return Some(Self::range(first, last));
        }
        if count as usize > FEW {
            return Some(Self::Bits { count: count as u16, bits: Arc::new(Bits::new(*bits)) });
        }
        let mut offsets = [0; FEW];
        let mut from = first;
        for slot in offsets.iter_mut().take(count as usize) {
            let member = scan_up(bits, from, 0)?;
            *slot = member as u16;
            from = member + 1;
        }
        Some(Self::Few { len: count as u8, offsets })
    }

    /// Whether both share the same bits in memory.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Bits { bits: a, .. }, Self::Bits { bits: b, .. }) if Arc::ptr_eq(a, b))
    }

    pub(super) fn heap_size(&self) -> usize {
        match self {
            Self::Bits { .. } => size_of::<Bits>() + 2 * size_of::<usize>(),
            _ => 0,
        }
    }

    /// Whether the counts at the quarters are right.
    #[cfg(test)]
    pub(super) fn check(&self) {
        if let Self::Bits { bits, .. } = self {
            assert_eq!(bits.below, Bits::new(bits.words).below);
        }
    }

    fn few(&self) -> &[u16] {
        match self {
            Self::Few { len, offsets } => offsets.get(..usize::from(*len)).unwrap_or(offsets),
            _ => &[],
        }
    }
}

fn word(bits: &Bitmap, offset: u32) -> u64 {
    bits.get((offset / 64) as usize).copied().unwrap_or(0)
}

/// Calls with each word that the offsets `low` to `high` touch, and the mask of them in it.
fn each_word(low: u32, high: u32, mut change: impl FnMut(usize, u64)) {
    let (first, last) = (low / 64, high / 64);
    for at in first..=last {
        let mut mask = u64::MAX;
        if at == first {
            mask &= u64::MAX << (low % 64);
        }
        if at == last {
            mask &= u64::MAX >> (63 - high % 64);
        }
        change(at as usize, mask);
    }
}

/// The first set bit at or after an offset, after every word is flipped by `flip`.
fn scan_up(bits: &Bitmap, offset: u32, flip: u64) -> Option<u32> {
    let from = (offset / 64) as usize;
    let mut mask = u64::MAX << (offset % 64);
    for (at, word) in bits.iter().enumerate().skip(from) {
        let found = (word ^ flip) & mask;
        if found != 0 {
            return Some(at as u32 * 64 + found.trailing_zeros());
        }
        mask = u64::MAX;
    }
    None
}

/// The last set bit at or before an offset, after every word is flipped by `flip`.
fn scan_down(bits: &Bitmap, offset: u32, flip: u64) -> Option<u32> {
    let from = ((offset / 64) as usize).min(WORDS - 1);
    let mut mask = u64::MAX >> (63 - offset % 64);
    for (at, word) in bits.iter().enumerate().take(from + 1).rev() {
        let found = (word ^ flip) & mask;
        if found != 0 {
            return Some(at as u32 * 64 + 63 - found.leading_zeros());
        }
        mask = u64::MAX;
    }
    None
}

/// The place of the set bit that has `index` set bits below it; there must be one.
fn select(mut word: u64, mut index: u32) -> u32 {
    let mut place = 0;
    for width in [32, 16, 8] {
        let low = (word & !(u64::MAX << width)).count_ones();
        if index >= low {
            index -= low;
            word >>= width;
            place += width;
        }
    }
    for _ in 0..index {
        word &= word - 1;
    }
    place + word.trailing_zeros()
}
