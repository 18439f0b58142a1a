//! Numbers for combinations of keywords.
//!
//! The messages of a mailbox have few different combinations of keywords, so a table of messages keeps a number for each
//! message and one shared copy of each combination; rows are then made without allocating.

use std::collections::HashMap;

use crate::mail::Keywords;

/// Combinations of keywords by number; 0 is none at all.
#[derive(Debug)]
pub(crate) struct KeywordSets {
    sets: Vec<Keywords>,
    numbers: HashMap<Keywords, u32>,
    /// How many there may be before those out of use should be dropped.
    bound: usize,
}

impl KeywordSets {
    pub(crate) fn new() -> Self {
        Self { sets: vec![Keywords::NONE], numbers: HashMap::new(), bound: 64 }
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&Keywords> {
        self.sets.get(number as usize)
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Keywords> {
        self.sets.iter()
    }

    /// The number of a combination. Whoever calls it asks [`is_crowded`](Self::is_crowded) before.
    pub(crate) fn number(&mut self, keywords: &Keywords) -> u32 {
        if keywords.is_empty() {
            return 0;
        }
        if let Some(number) = self.numbers.get(keywords) {
            return *number;
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(0);
        self.sets.push(keywords.clone());
        self.numbers.insert(keywords.clone(), number);
        number
    }

    /// Whether those out of use should be dropped before more are added.
    pub(crate) fn is_crowded(&self) -> bool {
        self.sets.len() >= self.bound
    }

    /// Keeps the combinations that these numbers name, and gives them new numbers.
    pub(crate) fn renumber<'a>(&mut self, used: impl Iterator<Item = &'a mut u32>) {
        let mut kept = Self::new();
        for number in used {
            *number = self.get(*number).map_or(0, |keywords| kept.number(keywords));
        }
        kept.bound = 2 * kept.sets.len().max(32);
        *self = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Keyword;

    #[test]
    fn combinations_out_of_use_are_dropped_and_the_others_kept() {
        let set = |n: usize| -> Keywords { [Keyword::new(&format!("k{n}")).unwrap()].into_iter().collect() };
        let mut sets = KeywordSets::new();
        let mut used = [sets.number(&set(0)), sets.number(&set(1))];
        for n in 2..1000 {
            if sets.is_crowded() {
                sets.renumber(used.iter_mut());
            }
            used[1] = sets.number(&set(n));
            assert_eq!((sets.get(used[0]), sets.get(used[1])), (Some(&set(0)), Some(&set(n))));
            assert!(sets.sets.len() <= 64);
        }
        assert_eq!(sets.number(&Keywords::NONE), 0);
    }
}
