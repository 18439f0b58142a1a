//! What happens in a mailbox while a session has it open.

use super::mailbox::Access;
use super::rows::Row;
use crate::mail::{Keywords, MailboxName, ModSeq, Uid, UidSet};

/// Asks for changes since a known state.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ChangesRequest {
    /// The state that is known: [`Changes::modseq`] of the answer before, or [`Snapshot::modseq`](super::Snapshot).
    pub since: ModSeq,
    /// About how many messages the answer may name; what is left over comes with the next call.
    pub room: usize,
    /// Claim `\Recent` for messages that arrived: each is told to one session only.
    pub claim_recent: bool,
}

impl ChangesRequest {
    /// Changes since this state, in pages of about `room` messages.
    #[must_use]
    pub fn new(since: ModSeq, room: usize) -> Self {
        Self { since, room, claim_recent: false }
    }
}

/// Changes of a mailbox, in the order of their mod-sequences.
///
/// A message that arrived and changed is in both lists; one that arrived and was expunged since is at most in
/// `expunged`. Telling a change twice is harmless; leaving one out is not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Changes {
    /// The state that these changes lead to. Never less than what was asked from.
    pub modseq: ModSeq,
    /// Whether there are more: ask again from [`Changes::modseq`].
    pub more: bool,
    /// Messages that are new.
    pub arrived: UidSet,
    /// Of those, the ones that are `\Recent` in the session that asked.
    pub recent: UidSet,
    /// Messages that are gone, each with the mod-sequence of its removal.
    pub expunged: Vec<(Uid, ModSeq)>,
    /// Messages whose flags changed, with flags and mod-sequence.
    pub changed: Vec<Row>,
    /// Set when the backend does not remember removals back to `since`: all messages that the mailbox has now. What
    /// the session knows beyond these is gone.
    pub present: Option<UidSet>,
    /// The UID after the largest ever given, when it is known to have changed.
    pub uid_next: Option<Uid>,
    /// All keywords in use, when there are new ones.
    pub keywords: Option<Keywords>,
    /// What the session may do from now on, when that changed.
    pub access: Option<Access>,
    /// What became of the mailbox.
    pub fate: Fate,
}

impl Changes {
    /// Nothing has changed since this state.
    #[must_use]
    pub fn none(since: ModSeq) -> Self {
        Self {
            modseq: since,
            more: false,
            arrived: UidSet::new(),
            recent: UidSet::new(),
            expunged: Vec::new(),
            changed: Vec::new(),
            present: None,
            uid_next: None,
            keywords: None,
            access: None,
            fate: Fate::Stands,
        }
    }
}

/// What became of a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It stands under its name.
    #[default]
    Stands,
    /// It has this name now. The handle goes on working.
    Renamed(MailboxName),
    /// It was deleted.
    Deleted,
    /// Its UIDVALIDITY changed: the messages of this handle can't be told any more.
    Recreated,
}
