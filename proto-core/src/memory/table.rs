//! The messages of a mailbox, in the order of their UIDs.
//!
//! What the rows of a flags listing tell lies close together, so that a listing of 100,000 messages runs through 2.4 MB;
//! the rest of each message lies apart. As new messages always have the largest UID, they are added at the end; places of
//! removed ones stay empty until every second one is.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::body::Body;
use crate::backend::{FetchData, Row};
use crate::keyword_sets::KeywordSets;
use crate::mail::{DateTime, Flags, Keywords, ModSeq, SystemFlags, Uid};

/// What is at hand of a message.
#[derive(Clone, Copy)]
struct Line {
    modseq: ModSeq,
    uid: Uid,
    /// A number of [`KeywordSets`].
    keywords: u32,
    system: SystemFlags,
    removed: bool,
}

/// What a flags listing does not tell.
pub(super) struct Rest {
    /// The mod-sequence of its arrival.
    pub(super) arrived: ModSeq,
    pub(super) internal_date: DateTime,
    pub(super) body: Body,
    pub(super) unique_id: Arc<str>,
    pub(super) summary: Option<Bytes>,
    pub(super) expire_stamp: Option<Arc<str>>,
}

/// One message.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) uid: Uid,
    pub(super) modseq: ModSeq,
    pub(super) system: SystemFlags,
    pub(super) keywords: &'a Keywords,
    pub(super) rest: &'a Rest,
}

impl Entry<'_> {
    pub(super) fn flags(&self) -> Flags {
        Flags { system: self.system, keywords: self.keywords.clone() }
    }

    #[inline]
    pub(super) fn row(&self, data: FetchData) -> Row {
        let mut row = Row::new(self.uid);
        if data.flags {
            row.modseq = self.modseq;
            row.flags.system = self.system;
            row.flags.keywords = self.keywords.clone();
        }
        if data != FetchData::FLAGS {
            self.rest.tell(data, &mut row);
        }
        row
    }
}

impl Rest {
    fn tell(&self, data: FetchData, row: &mut Row) {
        if data.internal_date {
            row.internal_date = Some(self.internal_date);
        }
        if data.size {
            row.size = Some(self.body.len());
        }
        if data.unique_id {
            row.unique_id = Some(Arc::clone(&self.unique_id));
        }
        if data.summary {
            row.summary.clone_from(&self.summary);
        }
        if let Some(whole) = self.body.whole().filter(|whole| data.inline > 0 && whole.len() <= data.inline) {
            row.content = Some(whole.clone());
        }
    }
}

/// The messages of a mailbox.
pub(super) struct Table {
    lines: Vec<Line>,
    /// As long as `lines`; empty where a message was removed.
    rests: Vec<Option<Box<Rest>>>,
    removed: usize,
    keywords: KeywordSets,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { lines: Vec::new(), rests: Vec::new(), removed: 0, keywords: KeywordSets::new() }
    }

    /// Adds a message, whose UID is larger than all before.
    pub(super) fn push(&mut self, uid: Uid, modseq: ModSeq, flags: &Flags, rest: Rest) {
        let keywords = self.number(&flags.keywords);
        self.lines.push(Line { modseq, uid, keywords, system: flags.system, removed: false });
        self.rests.push(Some(Box::new(rest)));
    }

    pub(super) fn get(&self, uid: Uid) -> Option<Entry<'_>> {
        self.entry(self.place(uid)?)
    }

    pub(super) fn contains(&self, uid: Uid) -> bool {
        self.place(uid).is_some()
    }

    pub(super) fn rest_mut(&mut self, uid: Uid) -> Option<&mut Rest> {
        let place = self.place(uid)?;
        self.rests.get_mut(place)?.as_deref_mut()
    }

    /// Changes a message's flags.
    pub(super) fn set(&mut self, uid: Uid, modseq: ModSeq, flags: &Flags) {
        let keywords = self.number(&flags.keywords);
        if let Some(line) = self.place(uid).and_then(|place| self.lines.get_mut(place)) {
            (line.modseq, line.system, line.keywords) = (modseq, flags.system, keywords);
        }
    }

    /// Takes a message out; returns its mod-sequence and what is not at hand.
    pub(super) fn remove(&mut self, uid: Uid) -> Option<(ModSeq, Flags, Box<Rest>)> {
        let place = self.place(uid)?;
        let flags = self.entry(place)?.flags();
        let rest = self.rests.get_mut(place)?.take()?;
        let line = self.lines.get_mut(place)?;
        line.removed = true;
        let modseq = line.modseq;
        self.removed += 1;
        if self.removed > 64 && self.removed > self.lines.len() / 2 {
            self.lines.retain(|line| !line.removed);
            self.rests.retain(Option::is_some);
            self.removed = 0;
        }
        Some((modseq, flags, rest))
    }

    /// All messages, ascending.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Entry<'_>> {
        self.walk(0..self.lines.len())
    }

    /// The messages at these places, ascending.
    #[inline]
    pub(super) fn walk(&self, places: Range<usize>) -> impl DoubleEndedIterator<Item = Entry<'_>> {
        let lines = self.lines.get(places.clone()).unwrap_or_default();
        let rests = self.rests.get(places).unwrap_or_default();
        lines.iter().zip(rests).filter_map(|(line, rest)| self.read(line, rest.as_deref()))
    }

    /// The places of the messages from one UID to another, searched first near the place `near`.
    pub(super) fn places(&self, low: Uid, high: Uid, near: usize) -> Range<usize> {
        let start = self.first_from(low, near);
        let end = high.next().map_or(self.lines.len(), |after| self.first_from(after, start));
        start..end
    }

    /// The first place whose UID is not smaller, at a distance from `near` that the search grows with.
    fn first_from(&self, uid: Uid, near: usize) -> usize {
        let smaller = |place: usize| self.lines.get(place).is_some_and(|line| line.uid < uid);
        let len = self.lines.len();
        let (mut low, mut high) = (0, len);
        if near == 0 || smaller(near - 1) {
            let (mut from, mut step) = (near.min(len), 1);
            while smaller(from) {
                low = from + 1;
                from += step;
                step *= 2;
            }
            (low, high) = (low.max(near.min(len)), from.min(len));
        } else {
            high = high.min(near);
        }
        let between = self.lines.get(low..high).unwrap_or_default();
        low + between.partition_point(|line| line.uid < uid)
    }

    fn place(&self, uid: Uid) -> Option<usize> {
        let place = self.lines.binary_search_by_key(&uid, |line| line.uid).ok()?;
        self.lines.get(place).is_some_and(|line| !line.removed).then_some(place)
    }

    fn entry(&self, place: usize) -> Option<Entry<'_>> {
        self.read(self.lines.get(place)?, self.rests.get(place)?.as_deref())
    }

    #[inline]
    fn read<'a>(&'a self, line: &Line, rest: Option<&'a Rest>) -> Option<Entry<'a>> {
        let keywords = self.keywords.get(line.keywords)?;
        Some(Entry { uid: line.uid, modseq: line.modseq, system: line.system, keywords, rest: rest? })
    }

    fn number(&mut self, keywords: &Keywords) -> u32 {
        if self.keywords.is_crowded() {
            self.keywords.renumber(self.lines.iter_mut().filter(|line| !line.removed).map(|line| &mut line.keywords));
        }
        self.keywords.number(keywords)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Keyword;

    fn rest() -> Rest {
        Rest {
            arrived: ModSeq::ZERO,
            internal_date: DateTime::from_unix(0),
            body: Body::Whole(Bytes::new()),
            unique_id: "x".into(),
            summary: None,
            expire_stamp: None,
        }
    }

    fn flags(keyword: usize) -> Flags {
        Flags {
            system: SystemFlags::NONE,
            keywords: [Keyword::new(&format!("k{keyword}")).unwrap()].into_iter().collect(),
        }
    }

    #[test]
    fn places_are_found_from_everywhere() {
        let mut table = Table::new();
        let uids: Vec<u32> = (1..200).map(|n| n * 3).collect();
        for uid in &uids {
            table.push(Uid::new(*uid).unwrap(), ModSeq::ZERO, &Flags::NONE, rest());
        }
        for near in [0, 1, 50, 198, 199, 200, 1000] {
            for low in 1..610 {
                let expected = uids.partition_point(|uid| *uid < low);
                let end = uids.partition_point(|uid| *uid <= low + 10);
                let found = table.places(Uid::new(low).unwrap(), Uid::new(low + 10).unwrap(), near);
                assert_eq!(found, expected..end, "{low} near {near}");
            }
        }
    }

    #[test]
    fn combinations_out_of_use_are_dropped_and_the_others_kept() {
        let mut table = Table::new();
        let (first, second) = (Uid::MIN, Uid::new(2).unwrap());
        table.push(first, ModSeq::ZERO, &flags(0), rest());
        table.push(second, ModSeq::ZERO, &flags(1), rest());
        for n in 2..1000 {
            table.set(second, ModSeq::ZERO, &flags(n));
            assert_eq!(table.get(first).unwrap().flags(), flags(0));
            assert_eq!(table.get(second).unwrap().flags(), flags(n));
            assert!(table.keywords.iter().count() <= 64);
        }
    }

    #[test]
    fn places_of_removed_messages_are_used_again_in_the_end() {
        let mut table = Table::new();
        for n in 1..=1000 {
            table.push(Uid::new(n).unwrap(), ModSeq::ZERO, &Flags::NONE, rest());
        }
        for n in 1..=990 {
            assert!(table.remove(Uid::new(n).unwrap()).is_some());
            assert!(table.remove(Uid::new(n).unwrap()).is_none());
            assert_eq!(table.iter().count(), 1000 - n as usize);
        }
        assert!(table.lines.len() < 150);
        assert!(table.iter().rev().map(|entry| entry.uid.get()).eq((991..=1000).rev()));
    }
}
