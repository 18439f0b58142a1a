//! What the client believes to be in the selected mailbox.
//!
//! The backend thinks in UIDs; the client also counts messages from 1. The view is the client's count: it changes only
//! together with an EXISTS or EXPUNGE response that goes out, so a sequence number always means to the session what it
//! means to the client.

use std::collections::HashMap;

use pillarbox_proto_core::mail::{ModSeq, Uid, UidSet};

use crate::wire::parse::sequence::SequenceSet;

/// The client's view of the selected mailbox.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Messages that the client knows, in its order. Blocks are shared with other sessions of the mailbox.
    uids: UidSet,
    /// Those that are `\Recent` in this session.
    recent: UidSet,
    /// Messages that are gone and still count for the client: their EXPUNGE could not be sent yet.
    gone: UidSet,
    /// Flags that STORE has told (or was asked not to tell) and the next changes will name again.
    told: HashMap<Uid, ModSeq>,
}

/// A set of sequence numbers names a message that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such message sequence number")]
pub(crate) struct NoSuchMessage;

impl View {
    pub(crate) fn new(uids: UidSet, recent: UidSet) -> Self {
        Self { uids, recent, ..Self::default() }
    }

    pub(crate) fn uids(&self) -> &UidSet {
        &self.uids
    }

    /// The messages that the client knows and that are still there, as far as is known.
    pub(crate) fn present(&self) -> UidSet {
        if self.gone.is_empty() { self.uids.clone() } else { self.uids.difference(&self.gone) }
    }

    pub(crate) fn recent(&self) -> &UidSet {
        &self.recent
    }

    pub(crate) fn exists(&self) -> u32 {
        self.uids.count()
    }

    /// The client's number of this message.
    pub(crate) fn number(&self, uid: Uid) -> Option<u32> {
        self.uids.rank(uid).map(|rank| rank + 1)
    }

    pub(crate) fn is_recent(&self, uid: Uid) -> bool {
        !self.recent.is_empty() && self.recent.contains(uid)
    }

    /// The messages that a set of sequence numbers means; every number must be that of a message
    /// (RFC 9051, section 9: `seq-number`).
    pub(crate) fn resolve_numbers(&self, set: SequenceSet<'_>) -> Result<UidSet, NoSuchMessage> {
        let mut uids = UidSet::new();
        for range in set.ranges() {
            let (first, last) = range.resolve(self.exists());
            let first = first.checked_sub(1).and_then(|index| self.uids.nth(index)).ok_or(NoSuchMessage)?;
            let last = last.checked_sub(1).and_then(|index| self.uids.nth(index)).ok_or(NoSuchMessage)?;
            uids.insert_range(first, last);
        }
        uids.intersect_with(&self.uids);
        Ok(uids)
    }

    /// The messages that a set of UIDs means; UIDs of no message are passed over (RFC 9051, section 6.4.9).
    pub(crate) fn resolve_uids(&self, set: SequenceSet<'_>) -> UidSet {
        let mut uids = UidSet::new();
        // On an empty mailbox `*` has no meaning, and whatever it stood for would not be there.
        let largest = self.uids.last().map_or(u32::MAX, Uid::get);
        for range in set.ranges() {
            let (first, last) = range.resolve(largest);
            if let (Some(first), Some(last)) = (Uid::new(first), Uid::new(last)) {
                uids.insert_range(first, last);
            }
        }
        uids.intersect_with(&self.uids);
        uids
    }

    /// Adds messages that have arrived. Returns whether the count has changed.
    ///
    /// UIDs ascend, so a message that sorts before one the client knows is either known, or gone and told as such;
    /// taking it in would shift numbers that the client relies on.
    pub(crate) fn arrive(&mut self, arrived: &UidSet, recent: &UidSet) -> bool {
        let new = match self.uids.last() {
            Some(last) => arrived.after(last),
            None => arrived.clone(),
        };
        if new.is_empty() {
            return false;
        }
        self.recent.union_with(&recent.intersection(&new));
        self.uids.union_with(&new);
        true
    }

    /// Notes that a message is gone from the mailbox.
    pub(crate) fn note_gone(&mut self, uid: Uid) {
        if self.uids.contains(uid) {
            self.gone.insert(uid);
        }
    }

    /// Notes that only these messages are left of those that the client knows.
    pub(crate) fn note_present(&mut self, present: &UidSet) {
        self.gone.union_with(&self.uids.difference(present));
    }

    /// Whether any of these is gone already.
    pub(crate) fn any_gone(&self, uids: &UidSet) -> bool {
        self.gone.intersects(uids)
    }

    /// Takes the next gone message out of the view and returns the number under which its EXPUNGE is to be sent.
    pub(crate) fn expunge_next(&mut self) -> Option<u32> {
        loop {
            let uid = self.gone.last()?;
            self.gone.remove(uid);
            self.recent.remove(uid);
            if let Some(number) = self.number(uid) {
                self.uids.remove(uid);
                return Some(number);
            }
        }
    }

    /// The client has been told (or does not want to be told) of this state of a message.
    pub(crate) fn note_told(&mut self, uid: Uid, modseq: ModSeq) {
        self.told.insert(uid, modseq);
    }

    /// Whether the client knows this state of the message already.
    pub(crate) fn knows(&self, uid: Uid, modseq: ModSeq) -> bool {
        self.told.get(&uid).is_some_and(|told| *told >= modseq)
    }

    /// All that was told is part of the state that has been reached.
    pub(crate) fn forget_told(&mut self) {
        if !self.told.is_empty() {
            self.told = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(uids: &[u32]) -> UidSet {
        uids.iter().filter_map(|uid| Uid::new(*uid)).collect()
    }

    fn uid(uid: u32) -> Uid {
        Uid::new(uid).unwrap()
    }

    #[test]
    fn numbers_move_only_when_an_expunge_is_sent() {
        let mut view = View::new(set(&[2, 4, 6, 8]), set(&[8]));
        view.note_gone(uid(4));
        view.note_gone(uid(5));
        assert_eq!(view.number(uid(8)), Some(4));
        assert!(view.any_gone(&set(&[4])));
        assert_eq!(view.expunge_next(), Some(2));
        assert_eq!(view.expunge_next(), None);
        assert_eq!(view.number(uid(8)), Some(3));
    }

    #[test]
    fn late_arrivals_do_not_shift_numbers() {
        let mut view = View::new(set(&[2, 4]), UidSet::new());
        assert!(!view.arrive(&set(&[3, 4]), &UidSet::new()));
        assert!(view.arrive(&set(&[3, 5]), &set(&[5])));
        assert_eq!(view.number(uid(5)), Some(3));
        assert!(view.is_recent(uid(5)));
    }

    #[test]
    fn a_shrunken_mailbox_is_noticed() {
        let mut view = View::new(set(&[1, 2, 3]), UidSet::new());
        view.note_present(&set(&[2]));
        assert_eq!(view.expunge_next(), Some(3));
        assert_eq!(view.expunge_next(), Some(1));
        assert_eq!(view.exists(), 1);
    }

    #[test]
    fn told_states_are_known() {
        let mut view = View::new(set(&[1]), UidSet::new());
        view.note_told(uid(1), ModSeq::new(7));
        assert!(view.knows(uid(1), ModSeq::new(7)));
        assert!(!view.knows(uid(1), ModSeq::new(8)));
        view.forget_told();
        assert!(!view.knows(uid(1), ModSeq::new(7)));
    }
}
