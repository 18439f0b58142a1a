//! EXPUNGE: messages leave `cur/` and the index in one step.
//!
//! A file is renamed into `tmp/` first, so that it can be put back if the index can't be committed (a full disk), and
//! unlinked when everything is done.

use pillarbox_proto_core::backend::Expunged;
use pillarbox_proto_core::mail::{SystemFlags, UidSet};

use super::commit::{Spot, Txn};
use super::fault::Done;
use super::flagging::current;
use super::folder::Place;
use super::intent::taken_name;
use super::table::{self, MailboxRow, MessageRow, to_modseq, to_uid};

/// Removes messages for good.
pub(super) fn expunge(txn: &mut Txn<'_>, id: i64, uids: &UidSet, only_deleted: bool) -> Done<Expunged> {
    let mut mailbox = txn.mailbox(id)?;
    let mut expunged = Expunged::default();
    for message in table::messages(txn.db, id, uids)? {
        if only_deleted && !message.flags.contains(SystemFlags::DELETED) {
            continue;
        }
        let Some(message) = current(txn, &mut mailbox, message)? else { continue };
        // Another program may have taken the mark away.
        if only_deleted && !message.flags.contains(SystemFlags::DELETED) {
            continue;
        }
        let modseq = remove(txn, &mut mailbox, &message)?;
        expunged.uids.insert(to_uid(message.uid)?);
        expunged.modseq = to_modseq(modseq);
    }
    mailbox.save(txn.db)?;
    Ok(expunged)
}

/// Removes one message whose file is where its row says. Returns the mod-sequence of it; the mailbox is to be saved.
pub(super) fn remove(txn: &mut Txn<'_>, mailbox: &mut MailboxRow, message: &MessageRow) -> Done<i64> {
    remove_as(txn, mailbox, message, &taken_name(&message.file()))
}

/// The same, with the name that the file has in `tmp/` until it is unlinked.
pub(super) fn remove_as(txn: &mut Txn<'_>, mailbox: &mut MailboxRow, message: &MessageRow, leaving: &str) -> Done<i64> {
    let open = txn.folder(&mailbox.folder)?;
    let place = Place::of(message.fresh);
    let spot = |place, file| Spot { mailbox: mailbox.id, folder: &open, place, file };
    txn.rename(spot(place, &message.file()), spot(Place::Tmp, leaving))?;
    let leaving = leaving.to_owned();
    txn.sync(&mailbox.folder, place);
    txn.afterwards(move || {
        if let Err(error) = open.dir(Place::Tmp).remove_file(&leaving) {
            tracing::warn!(%error, "the file of an expunged message is left in tmp/");
        }
    });
    table::remove_message(txn.db, mailbox, message.uid)
}
