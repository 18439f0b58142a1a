//! STORE: flags are letters of the file name, so a change of flags is a renaming.

use pillarbox_proto_core::backend::{Row, StoreOp, StoreRequest, Stored};
use pillarbox_proto_core::mail::{Flags, SystemFlags};

use super::commit::{Durability, Spot, Txn};
use super::fault::{Done, is_missing};
use super::file_name;
use super::folder::Place;
use super::keywords;
use super::scan;
use super::table::{self, MailboxRow, MessageRow, to_modseq, to_uid};

/// Changes flags of messages, each at once.
pub(super) fn store(txn: &mut Txn<'_>, id: i64, request: &StoreRequest, durability: Durability) -> Done<Stored> {
    let mut mailbox = txn.mailbox(id)?;
    let (bits, mut names) = match request.op {
        // What nobody has can't be taken away: no number is spent on it.
        StoreOp::Remove => {
            let table = keywords::KeywordTable::load(txn.db, id)?;
            (table.bits_of(&request.flags.keywords), table)
        }
        _ => keywords::number(txn.db, txn.store.root(), id, &mailbox.folder, &request.flags.keywords)?,
    };
    let mut stored = Stored::default();
    stored.gone = request.uids.clone();
    let unchanged_since = request.unchanged_since.map(|modseq| i64::try_from(modseq.get()).unwrap_or(i64::MAX));
    for message in table::messages(txn.db, id, &request.uids)? {
        let uid = to_uid(message.uid)?;
        let Some(mut message) = current(txn, &mut mailbox, message)? else { continue };
        stored.gone.remove(uid);
        if unchanged_since.is_some_and(|since| message.modseq > since) {
            stored.modified.insert(uid);
            continue;
        }
        let (flags, keywords) = applied(request.op, (message.flags, message.keywords), (request.flags.system, bits));
        if (flags, keywords) != (message.flags, message.keywords) {
            let before = message.clone();
            (message.flags, message.keywords) = (flags, keywords);
            message.info = file_name::info_for(&message.info, flags, keywords);
            message.fresh = false;
            rename(txn, &mailbox, &before, &message, durability)?;
            message.modseq = mailbox.step();
            table::update_message(txn.db, id, &message)?;
        }
        let mut row = Row::new(uid);
        row.modseq = to_modseq(message.modseq);
        row.flags = Flags { system: message.flags, keywords: names.set_of(message.keywords) };
        stored.rows.push(row);
    }
    mailbox.save(txn.db)?;
    Ok(stored)
}

/// Moves a message from `new/` to `cur/`.
pub(super) fn settle_in_cur(txn: &mut Txn<'_>, mailbox: &MailboxRow, message: &mut MessageRow) -> Done<()> {
    if !message.fresh {
        return Ok(());
    }
    let before = message.clone();
    message.fresh = false;
    message.info = file_name::info_for(&message.info, message.flags, message.keywords);
    match rename(txn, mailbox, &before, message, Durability::Relaxed) {
        Ok(()) => table::update_message(txn.db, mailbox.id, message),
        // Another program was faster; what it did is found by the next look.
        Err(fault) if fault.is_missing() => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// The row of a message whose file is where the index says; if it is not, both directories are read first. None if the
/// message is gone.
pub(super) fn current(txn: &mut Txn<'_>, mailbox: &mut MailboxRow, message: MessageRow) -> Done<Option<MessageRow>> {
    let open = txn.folder(&mailbox.folder)?;
    match open.dir(Place::of(message.fresh)).symlink_metadata(message.file()) {
        Ok(_) => return Ok(Some(message)),
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error.into()),
    }
    mailbox.save(txn.db)?;
    *mailbox = scan::everything(txn, mailbox.clone())?;
    table::message(txn.db, mailbox.id, message.uid)
}

fn rename(
    txn: &mut Txn<'_>,
    mailbox: &MailboxRow,
    before: &MessageRow,
    after: &MessageRow,
    durability: Durability,
) -> Done<()> {
    let open = txn.folder(&mailbox.folder)?;
    let (from, to) = (Place::of(before.fresh), Place::of(after.fresh));
    if (from, before.file()) == (to, after.file()) {
        return Ok(());
    }
    let spot = |place, file| Spot { mailbox: mailbox.id, folder: &open, place, file };
    txn.rename(spot(from, &before.file()), spot(to, &after.file()))?;
    if durability == Durability::Lasting {
        txn.sync(&mailbox.folder, Place::Cur);
        if from == Place::New {
            txn.sync(&mailbox.folder, Place::New);
        }
    }
    Ok(())
}

fn applied(
    op: StoreOp,
    (flags, keywords): (SystemFlags, u64),
    (given, bits): (SystemFlags, u64),
) -> (SystemFlags, u64) {
    match op {
        StoreOp::Add => (flags | given, keywords | bits),
        StoreOp::Remove => (flags & !given, keywords & !bits),
        StoreOp::Replace => (given, bits),
    }
}
