//! What is known of one mailbox, and what happened to it when.

use std::collections::VecDeque;

use crate::backend::{Access, Changes, ChangesRequest, Fate, Row};
use crate::keyword_sets::KeywordSets;
use crate::mail::{Flags, Keywords, ModSeq, SystemFlags, Uid, UidSet};

/// Removals that are remembered.
const REMOVALS: usize = 16_384;
/// Times of arrival that are told apart.
const ARRIVALS: usize = 1024;
/// The low bits of a line hold the system flags, the others the number of its keywords.
const SYSTEM_BITS: u32 = 5;

/// The state of a mailbox as it was last seen.
///
/// Time is counted in ticks: every change that is found has its own. They are told to sessions as mod-sequences, though
/// they last no longer than this record.
#[derive(Debug)]
pub(super) struct Record {
    members: UidSet,
    /// Flags of each member, by its rank.
    flags: Vec<u32>,
    /// The tick of each member's last change, by its rank, counted from `base`.
    ticks: Vec<u32>,
    keywords: KeywordSets,
    base: u64,
    tick: u32,
    /// When `tick` starts anew.
    last_tick: u32,
    /// The largest UID that was known at a tick, oldest first.
    arrivals: VecDeque<(u64, u32)>,
    /// Messages that turned up below a larger UID.
    late: VecDeque<(u64, Uid)>,
    removals: VecDeque<(u64, Uid)>,
    /// The last removal that is not remembered.
    forgotten: u64,
    keywords_seen: Keywords,
    keywords_tick: u64,
    fate: Fate,
    fate_tick: u64,
    access: Option<Access>,
    access_tick: u64,
    /// Whether something is there that was not looked at.
    suspect: bool,
    filled: bool,
}

impl Record {
    pub(super) fn new() -> Self {
        Self::ticking_until(u32::MAX)
    }

    fn ticking_until(last_tick: u32) -> Self {
        Self {
            members: UidSet::new(),
            flags: Vec::new(),
            ticks: Vec::new(),
            keywords: KeywordSets::new(),
            base: 0,
            tick: 1,
            last_tick,
            arrivals: VecDeque::new(),
            late: VecDeque::new(),
            removals: VecDeque::new(),
            forgotten: 0,
            keywords_seen: Keywords::NONE,
            keywords_tick: 0,
            fate: Fate::Stands,
            fate_tick: 0,
            access: None,
            access_tick: 0,
            suspect: false,
            filled: false,
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.base + u64::from(self.tick)
    }

    pub(super) fn members(&self) -> &UidSet {
        &self.members
    }

    pub(super) fn keywords(&self) -> &Keywords {
        &self.keywords_seen
    }

    pub(super) fn first_unseen(&self) -> Option<Uid> {
        let unseen = |flags: &u32| flags & u32::from(SystemFlags::SEEN.bits()) == 0;
        let rank = self.flags.iter().position(unseen)?;
        self.members.nth(u32::try_from(rank).ok()?)
    }

    /// Whether a session that knows this state can only be answered by looking at the mailbox.
    pub(super) fn must_look(&self, since: ModSeq) -> bool {
        self.suspect || since.get() >= self.now()
    }

    /// Something may have happened: who waits is to ask.
    pub(super) fn suspect(&mut self) {
        self.suspect = true;
        self.next_tick();
    }

    /// A look has failed.
    pub(super) fn remain_suspect(&mut self) {
        self.suspect = true;
    }

    /// All that happened until now is about to be looked at.
    pub(super) fn allay(&mut self) {
        self.suspect = false;
    }

    fn next_tick(&mut self) -> u32 {
        if self.tick == self.last_tick {
            // All that was before is told as one: who asks from then is told of every message.
            self.base = self.now();
            self.tick = 0;
            self.ticks.fill(0);
            self.forgotten = self.base;
            self.removals.clear();
            self.late.clear();
        }
        self.tick += 1;
        self.tick
    }

    /// A message's flags as a line keeps them.
    pub(super) fn line(&mut self, flags: &Flags) -> u32 {
        if self.keywords.is_crowded() {
            let mut numbers: Vec<u32> = self.flags.iter().map(|line| line >> SYSTEM_BITS).collect();
            self.keywords.renumber(numbers.iter_mut());
            for (line, number) in self.flags.iter_mut().zip(numbers) {
                *line = (*line & ((1 << SYSTEM_BITS) - 1)) | (number << SYSTEM_BITS);
            }
        }
        let number = self.keywords.number(&flags.keywords);
        if !flags.keywords.iter().all(|keyword| self.keywords_seen.contains(keyword)) {
            self.keywords_seen = self.keywords_seen.union(&flags.keywords);
            self.next_tick();
            self.keywords_tick = self.now();
        }
        (number << SYSTEM_BITS) | u32::from(flags.system.bits())
    }

    fn flags_of(&self, rank: usize) -> Flags {
        let line = self.flags.get(rank).copied().unwrap_or(0);
        let system = SystemFlags::from_bits((line & ((1 << SYSTEM_BITS) - 1)) as u8);
        Flags { system, keywords: self.keywords.get(line >> SYSTEM_BITS).cloned().unwrap_or_default() }
    }

    /// Takes in what the mailbox has of the messages in `scope`: these rows, ascending, and no others.
    pub(super) fn see(&mut self, scope: &UidSet, rows: &[(Uid, Flags)]) {
        let present: UidSet = rows.iter().map(|(uid, _)| *uid).collect();
        self.take_out(&self.members.intersection(scope).difference(&present));
        if !self.filled {
            // What was there before anyone looked needs no ticks of its own.
            self.filled = true;
            for (_, flags) in rows {
                let line = self.line(flags);
                self.flags.push(line);
            }
            self.ticks = vec![self.tick; rows.len()];
            self.members = present;
        } else {
            for (uid, flags) in rows {
                self.see_one(*uid, flags);
            }
        }
        let last = self.members.last().map_or(0, Uid::get);
        let known = self.arrivals.back().map(|(_, uid)| *uid);
        if known.is_none_or(|known| known < last) {
            self.arrivals.push_back((self.now(), last));
            if self.arrivals.len() > ARRIVALS {
                self.arrivals.pop_front();
            }
        }
    }

    fn see_one(&mut self, uid: Uid, flags: &Flags) {
        if let Some(rank) = self.members.rank(uid) {
            let rank = rank as usize;
            if self.flags_of(rank) != *flags {
                let line = self.line(flags);
                let tick = self.next_tick();
                if let (Some(old), Some(when)) = (self.flags.get_mut(rank), self.ticks.get_mut(rank)) {
                    (*old, *when) = (line, tick);
                }
            }
            return;
        }
        let rank = self.members.rank_lower_bound(uid) as usize;
        let line = self.line(flags);
        let tick = self.next_tick();
        if self.arrivals.back().is_some_and(|(_, known)| uid.get() <= *known) {
            self.late.push_back((self.now(), uid));
            if self.late.len() > ARRIVALS {
                self.late.pop_front();
            }
        }
        self.members.insert(uid);
        self.flags.insert(rank.min(self.flags.len()), line);
        self.ticks.insert(rank.min(self.ticks.len()), tick);
    }

    fn take_out(&mut self, gone: &UidSet) {
        if gone.is_empty() {
            return;
        }
        // From the first one on, the columns are written anew without them.
        let mut kept = gone.first().map_or(0, |uid| self.members.rank_lower_bound(uid) as usize);
        let mut next = kept;
        for (first, last) in gone.ranges() {
            let from = self.members.rank_lower_bound(first) as usize;
            let to = last.next().map_or(self.flags.len(), |after| self.members.rank_lower_bound(after) as usize);
            self.flags.copy_within(next..from, kept);
            self.ticks.copy_within(next..from, kept);
            kept += from - next;
            next = to;
        }
        let end = self.flags.len();
        self.flags.copy_within(next..end, kept);
        self.ticks.copy_within(next..end, kept);
        kept += end - next;
        self.flags.truncate(kept);
        self.ticks.truncate(kept);
        self.members.difference_with(gone);
        for uid in gone {
            self.next_tick();
            self.removals.push_back((self.now(), uid));
        }
        while self.removals.len() > REMOVALS
            && let Some((when, _)) = self.removals.pop_front()
        {
            self.forgotten = when;
        }
    }

    /// Takes in what the backend itself told.
    pub(super) fn hear(&mut self, fate: &Fate, access: Option<Access>) {
        if *fate != Fate::Stands && *fate != self.fate {
            self.next_tick();
            (self.fate, self.fate_tick) = (fate.clone(), self.now());
        }
        if access.is_some() && access != self.access {
            self.next_tick();
            (self.access, self.access_tick) = (access, self.now());
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.fate, Fate::Deleted | Fate::Recreated)
    }

    pub(super) fn changes(&self, request: &ChangesRequest) -> Changes {
        enum Event {
            Changed(usize),
            Removed(Uid),
        }
        let since = request.since.get();
        let mut changes = Changes::none(request.since);
        if since < self.fate_tick || self.is_gone() {
            changes.fate = self.fate.clone();
        }
        if self.is_gone() {
            changes.modseq = ModSeq::new(self.now().max(since));
            return changes;
        }
        if since < self.access_tick {
            changes.access = self.access;
        }
        if since < self.keywords_tick {
            changes.keywords = Some(self.keywords_seen.clone());
        }
        if since < self.forgotten {
            changes.present = Some(self.members.clone());
        }
        let mut events: Vec<(u64, Event)> = Vec::new();
        for (rank, tick) in self.ticks.iter().enumerate() {
            let when = self.base + u64::from(*tick);
            if when > since {
                events.push((when, Event::Changed(rank)));
            }
        }
        let removed = self.removals.iter().rev().take_while(|(when, _)| *when > since);
        events.extend(removed.map(|(when, uid)| (*when, Event::Removed(*uid))));
        events.sort_unstable_by_key(|(when, _)| *when);
        let mut cut = request.room.max(1).min(events.len());
        // What happened at one tick is told together.
        while cut > 0
            && cut < events.len()
            && events.get(cut).map(|event| event.0) == events.get(cut - 1).map(|event| event.0)
        {
            cut += 1;
        }
        changes.more = cut < events.len();
        let reached = if changes.more { events.get(cut - 1).map_or(since, |event| event.0) } else { self.now() };
        changes.modseq = ModSeq::new(reached.max(since));
        for (when, event) in events.into_iter().take(cut) {
            match event {
                Event::Changed(rank) => {
                    let Some(uid) = u32::try_from(rank).ok().and_then(|rank| self.members.nth(rank)) else { continue };
                    let mut row = Row::new(uid);
                    row.flags = self.flags_of(rank);
                    changes.changed.push(row);
                }
                Event::Removed(uid) => changes.expunged.push((uid, ModSeq::new(when))),
            }
        }
        changes.arrived = self.arrived(since, reached);
        if !changes.arrived.is_empty() {
            changes.uid_next = self.members.last().and_then(Uid::next);
        }
        changes
    }

    /// The members that arrived after one tick and until another; more rather than less.
    fn arrived(&self, since: u64, until: u64) -> UidSet {
        let after = self.arrivals.partition_point(|(when, _)| *when <= since);
        let low = after.checked_sub(1).and_then(|at| self.arrivals.get(at)).map_or(0, |(_, uid)| *uid);
        let at = self.arrivals.partition_point(|(when, _)| *when < until);
        let high = self.arrivals.get(at).or(self.arrivals.back()).map_or(0, |(_, uid)| *uid);
        let mut arrived = match (low.checked_add(1).and_then(Uid::new), Uid::new(high)) {
            (Some(first), Some(last)) if first <= last => UidSet::from_range(first, last),
            _ => UidSet::new(),
        };
        arrived.extend(self.late.iter().filter(|(when, _)| *when > since && *when <= until).map(|(_, uid)| *uid));
        arrived.intersect_with(&self.members);
        arrived
    }

    /// About how many octets of heap the record takes.
    #[cfg(test)]
    pub(super) fn heap_size(&self) -> usize {
        self.members.heap_size() + (self.flags.capacity() + self.ticks.capacity()) * 4
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::mail::Keyword;

    fn uid(number: u32) -> Uid {
        Uid::new(number).unwrap()
    }

    fn flags(bits: u8) -> Flags {
        let keywords =
            if bits & 32 == 0 { Keywords::NONE } else { [Keyword::new("$Kept").unwrap()].into_iter().collect() };
        Flags { system: SystemFlags::from_bits(bits & 31), keywords }
    }

    fn read(record: &Record, view: &mut BTreeMap<Uid, Option<Flags>>, since: &mut ModSeq, room: usize) -> bool {
        let told = record.changes(&ChangesRequest::new(*since, room));
        assert!(told.modseq >= *since && (!told.more || told.modseq > *since));
        if let Some(present) = told.present {
            view.retain(|uid, _| present.contains(*uid));
        }
        for uid in &told.arrived {
            view.entry(uid).or_insert(None);
        }
        for row in told.changed {
            *view.get_mut(&row.uid).expect("a message that was told of") = Some(row.flags);
        }
        for (uid, _) in told.expunged {
            view.remove(&uid);
        }
        *since = told.modseq;
        told.more
    }

    proptest! {
        #[test]
        fn who_reads_the_changes_knows_the_mailbox(
            last_tick in prop_oneof![Just(u32::MAX), 20_u32..60],
            steps in proptest::collection::vec((0..4_u8, any::<u8>(), 0..40_u32, 1..6_usize), 1..80),
        ) {
            let mut record = Record::ticking_until(last_tick);
            let mut truth: BTreeMap<Uid, Flags> = (1..5).map(|n| (uid(n), flags(0))).collect();
            let mut next = 5;
            let rows = |truth: &BTreeMap<Uid, Flags>| truth.iter().map(|(uid, flags)| (*uid, flags.clone())).collect::<Vec<_>>();
            record.see(&UidSet::full(), &rows(&truth));
            let start = ModSeq::new(record.now());
            let mut readers: Vec<_> = (0..2).map(|_| {
                let view: BTreeMap<Uid, Option<Flags>> = truth.keys().map(|uid| (*uid, None)).collect();
                (view, start)
            }).collect();
            for (what, bits, place, room) in steps {
                let some: Vec<Uid> = truth.keys().copied().filter(|uid| (uid.get() * 7 + place) % 3 == 0).collect();
                match what {
                    0 => {
                        for _ in 0..=place % 3 {
                            truth.insert(uid(next), flags(bits));
                            next += 1 + place % 2;
                        }
                    }
                    1 => some.iter().for_each(|uid| drop(truth.remove(uid))),
                    2 => some.iter().for_each(|uid| drop(truth.insert(*uid, flags(bits)))),
                    _ => {}
                }
                let scope = if bits % 2 == 0 { UidSet::full() } else {
                    let mut scope: UidSet = some.into_iter().collect();
                    scope.insert_range(uid(record.members().last().map_or(1, Uid::get)), Uid::MAX);
                    scope
                };
                let seen: Vec<_> = rows(&truth).into_iter().filter(|(uid, _)| scope.contains(*uid)).collect();
                record.see(&scope, &seen);
                let (view, since) = &mut readers[usize::from(what % 2)];
                read(&record, view, since, room);
            }
            record.see(&UidSet::full(), &rows(&truth));
            for (view, since) in &mut readers {
                while read(&record, view, since, 3) {}
                prop_assert_eq!(view.keys().collect::<Vec<_>>(), truth.keys().collect::<Vec<_>>());
                for (uid, known) in view {
                    if let Some(known) = known {
                        prop_assert_eq!(&*known, &truth[uid]);
                    }
                }
                prop_assert!(!record.changes(&ChangesRequest::new(*since, 1)).more);
            }
        }
    }

    #[test]
    fn twelve_octets_a_message_are_enough() {
        let mut record = Record::new();
        let rows: Vec<_> = (1..=100_000).map(|n| (uid(n * 2), flags((n % 32) as u8))).collect();
        record.see(&UidSet::full(), &rows);
        assert!(record.heap_size() <= 12 * rows.len() + 1024, "{}", record.heap_size());
    }

    #[test]
    fn the_first_unseen_message_is_found() {
        let mut record = Record::new();
        record.see(&UidSet::full(), &[(uid(3), flags(8)), (uid(7), flags(1))]);
        assert_eq!(record.first_unseen(), Some(uid(7)));
    }
}
