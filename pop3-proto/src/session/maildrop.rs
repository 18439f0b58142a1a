//! The messages of an open maildrop, as the client numbers them (RFC 1939, section 5).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pillarbox_proto_core::backend::{FinishRequest, Row};
use pillarbox_proto_core::mail::{Uid, UidSet, UidValidity};

/// What a session keeps of its maildrop: about 40 octets a message, most of them the unique-id. Message numbers start
/// at 1 and stay as they are for the whole session.
#[derive(Debug)]
pub(crate) struct Maildrop {
    /// By message number.
    uids: Vec<Uid>,
    /// Sizes in octets; those that do not fit are [`LARGE`] here and stand in `large`.
    sizes: Vec<u32>,
    large: BTreeMap<u32, u64>,
    /// All unique-ids in a row, and where each ends.
    unique_ids: String,
    unique_id_ends: Vec<usize>,
    uid_validity: UidValidity,
    deleted: UidSet,
    retrieved: UidSet,
    /// Those of them that were shown whole.
    read: UidSet,
    /// Octets of all messages, and of those that are not deleted.
    all_octets: u64,
    octets: u64,
    pub(crate) read_only: bool,
}

const LARGE: u32 = u32::MAX;

/// One message that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) number: u32,
    pub(crate) uid: Uid,
    pub(crate) size: u64,
    pub(crate) unique_id: &'a str,
}

/// Why a message can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// There is none of this number.
    Unknown,
    /// It was deleted in this session.
    Deleted,
}

impl Maildrop {
    /// An empty maildrop of a mailbox with this UIDVALIDITY.
    pub(crate) fn new(uid_validity: UidValidity) -> Self {
        Self {
            uids: Vec::new(),
            sizes: Vec::new(),
            large: BTreeMap::new(),
            unique_ids: String::new(),
            unique_id_ends: Vec::new(),
            uid_validity,
            deleted: UidSet::new(),
            retrieved: UidSet::new(),
            read: UidSet::new(),
            all_octets: 0,
            octets: 0,
            read_only: false,
        }
    }

    /// Adds the next message. Its row has size and unique-id.
    pub(crate) fn push(&mut self, row: &Row) {
        let Ok(index) = u32::try_from(self.uids.len()) else { return };
        let size = row.size.unwrap_or(0);
        self.uids.push(row.uid);
        self.sizes.push(match u32::try_from(size) {
            Ok(size) if size != LARGE => size,
            _ => {
                self.large.insert(index, size);
                LARGE
            }
        });
        self.all_octets = self.all_octets.saturating_add(size);
        self.octets = self.all_octets;
        match row.unique_id.as_deref().filter(|id| is_unique_id(id)) {
            Some(unique_id) => self.unique_ids.push_str(unique_id),
            // A store without names of its own: what IMAP makes unique serves as well, as long as the UIDVALIDITY stands.
            None => {
                let _ = write!(self.unique_ids, "{:08x}.{:08x}", self.uid_validity.get(), row.uid.get());
            }
        }
        self.unique_id_ends.push(self.unique_ids.len());
    }

    /// No more messages come: gives back the room that was held for them.
    pub(crate) fn seal(&mut self) {
        self.uids.shrink_to_fit();
        self.sizes.shrink_to_fit();
        self.unique_ids.shrink_to_fit();
        self.unique_id_ends.shrink_to_fit();
    }

    /// How many messages are not deleted, and their octets (STAT).
    pub(crate) fn stat(&self) -> (u64, u64) {
        ((self.uids.len() as u64).saturating_sub(self.deleted.len()), self.octets)
    }

    /// The message of this number.
    pub(crate) fn get(&self, number: u32) -> Result<Entry<'_>, Missing> {
        let entry = self.any(number).ok_or(Missing::Unknown)?;
        if self.deleted.contains(entry.uid) { Err(Missing::Deleted) } else { Ok(entry) }
    }

    /// Marks a message as deleted.
    pub(crate) fn delete(&mut self, number: u32) -> Result<(), Missing> {
        let Entry { uid, size, .. } = self.get(number)?;
        self.deleted.insert(uid);
        self.octets = self.octets.saturating_sub(size);
        Ok(())
    }

    /// Takes all marks away (RSET).
    pub(crate) fn reset(&mut self) {
        self.deleted = UidSet::new();
        self.octets = self.all_octets;
    }

    /// Notes that a message has been shown, by RETR (`whole`) or TOP.
    pub(crate) fn retrieved(&mut self, uid: Uid, whole: bool) {
        self.retrieved.insert(uid);
        if whole {
            self.read.insert(uid);
        }
    }

    /// What QUIT hands to the backend.
    pub(crate) fn finish(self, now: i64) -> FinishRequest {
        let mut request = FinishRequest::new(self.retrieved, self.deleted, now);
        request.read = self.read;
        request
    }

    fn any(&self, number: u32) -> Option<Entry<'_>> {
        let index = number.checked_sub(1)?;
        let at = usize::try_from(index).ok()?;
        let size = match *self.sizes.get(at)? {
            LARGE => self.large.get(&index).copied().unwrap_or(u64::from(LARGE)),
            size => u64::from(size),
        };
        let start = at.checked_sub(1).and_then(|before| self.unique_id_ends.get(before)).copied().unwrap_or(0);
        let unique_id = self.unique_ids.get(start..*self.unique_id_ends.get(at)?)?;
        Some(Entry { number, uid: *self.uids.get(at)?, size, unique_id })
    }
}

/// 1 to 70 characters from `!` to `~` (RFC 1939, section 7).
fn is_unique_id(id: &str) -> bool {
    (1..=70).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildrop(sizes: &[u64]) -> Maildrop {
        let mut maildrop = Maildrop::new(UidValidity::new(0xabc).unwrap());
        for (index, size) in sizes.iter().enumerate() {
            let mut row = Row::new(Uid::new(index as u32 * 10 + 5).unwrap());
            row.size = Some(*size);
            row.unique_id = (index % 2 == 0).then(|| format!("id-{index}").into());
            maildrop.push(&row);
        }
        maildrop.seal();
        maildrop
    }

    #[test]
    fn numbers_stay_when_messages_are_deleted() {
        let big = u64::from(u32::MAX) + 7;
        let mut maildrop = maildrop(&[100, big, 300, u64::from(u32::MAX)]);
        let all = 400 + big + u64::from(u32::MAX);
        assert_eq!(maildrop.stat(), (4, all));
        assert_eq!(maildrop.get(2).unwrap().size, big);
        assert_eq!(maildrop.get(4).unwrap().size, u64::from(u32::MAX));
        assert_eq!(maildrop.get(3).unwrap().unique_id, "id-2");
        assert_eq!(maildrop.get(2).unwrap().unique_id, "00000abc.0000000f");
        assert_eq!(maildrop.get(0).err(), Some(Missing::Unknown));
        assert_eq!(maildrop.get(5).err(), Some(Missing::Unknown));
        maildrop.delete(2).unwrap();
        maildrop.delete(3).unwrap();
        assert_eq!(maildrop.delete(2), Err(Missing::Deleted));
        assert_eq!(maildrop.stat(), (2, 100 + u64::from(u32::MAX)));
        maildrop.reset();
        assert_eq!(maildrop.stat(), (4, all));
        maildrop.delete(1).unwrap();
        maildrop.retrieved(Uid::new(25).unwrap(), true);
        maildrop.retrieved(Uid::new(5).unwrap(), false);
        let request = maildrop.finish(77);
        assert_eq!(
            (request.delete.to_string(), request.retrieved.to_string(), request.read.to_string(), request.now),
            ("5".into(), "5,25".into(), "25".into(), 77)
        );
    }

    #[test]
    fn unique_ids_that_break_the_rules_are_replaced() {
        let mut maildrop = Maildrop::new(UidValidity::new(1).unwrap());
        for id in ["", "a b", "x\r\n", &"y".repeat(71)] {
            let mut row = Row::new(Uid::MIN);
            row.unique_id = Some(id.into());
            maildrop.push(&row);
        }
        assert!((1..=4).all(|number| maildrop.get(number).unwrap().unique_id == "00000001.00000001"));
    }
}
