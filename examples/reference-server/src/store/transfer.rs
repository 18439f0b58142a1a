//! COPY and MOVE within the account: a copy is a second link to the same file, a move is a renaming.

use std::io;
use std::sync::Arc;

use pillarbox_proto_core::mail::{Uid, UidSet, UidValidity};
use rusqlite::{Connection, params};

use super::commit::{Spot, Txn};
use super::fault::Done;
use super::file_name;
use super::flagging::current;
use super::folder::{Folder, Place, new_file};
use super::keywords::{self, KeywordTable};
use super::table::{self, Format, MailboxRow, MessageRow, to_uid};

/// UIDVALIDITY of the target, and old and new UIDs.
pub(super) type Transferred = (UidValidity, Vec<(Uid, Uid)>);

/// Where messages come from and go to; the target is none when it is the same mailbox.
struct Ends {
    source: MailboxRow,
    other: Option<MailboxRow>,
}

impl Ends {
    fn open(txn: &mut Txn<'_>, from: i64, to: i64) -> Done<Self> {
        let source = txn.mailbox(from)?;
        Ok(Self { source, other: if from == to { None } else { Some(txn.mailbox(to)?) } })
    }

    fn target(&mut self) -> &mut MailboxRow {
        self.other.as_mut().unwrap_or(&mut self.source)
    }

    fn folders(&mut self, txn: &mut Txn<'_>) -> Done<(Arc<Folder>, Arc<Folder>)> {
        Ok((txn.folder(&self.source.folder)?, txn.folder(&self.target().folder)?))
    }

    fn save(&mut self, txn: &Txn<'_>) -> Done<()> {
        self.source.save(txn.db)?;
        self.target().save(txn.db)
    }
}

/// What a COPY is going to make: the messages, with the bases of their copies.
pub(super) type Copies = Vec<(u32, String)>;

/// Chooses the names of copies, on a connection for reading.
pub(super) fn plan_copies(host: &str, db: &Connection, from: i64, uids: &UidSet) -> Done<Copies> {
    let messages = table::messages(db, from, uids)?;
    Ok(messages.into_iter().map(|message| (message.uid, new_base(host, &message))).collect())
}

/// Copies messages, all or none. Empty if none is left.
pub(super) fn copy_messages(txn: &mut Txn<'_>, from: i64, to: i64, copies: &Copies) -> Done<Transferred> {
    let mut ends = Ends::open(txn, from, to)?;
    let mut letters = Letters::new(txn, from)?;
    let mut pairs = Vec::new();
    for (uid, base) in copies {
        let Some(message) = table::message(txn.db, from, *uid)? else { continue };
        let Some(message) = current(txn, &mut ends.source, message)? else { continue };
        let mut copy = message.clone();
        base.clone_into(&mut copy.base);
        copy.fresh = false;
        letters.translate(txn, ends.target(), &mut copy)?;
        let (here, there) = ends.folders(txn)?;
        let file = copy.file();
        txn.announce(to, Place::Cur, &file);
        link(&here, &message, &there, &copy)?;
        txn.on_failure(move || drop(there.dir(Place::Cur).remove_file(&file)));
        let new = arrive(txn, ends.target(), copy)?;
        if let Some(summary) = summary(txn, from, message.uid)? {
            put_summary(txn, to, new.get(), &summary)?;
        }
        pairs.push((to_uid(message.uid)?, new));
    }
    ends.save(txn)?;
    if !pairs.is_empty() {
        txn.sync(&ends.target().folder, Place::Cur);
    }
    Ok((ends.target().uid_validity, pairs))
}

/// Moves messages, each at once. Empty if none is left.
pub(super) fn move_messages(txn: &mut Txn<'_>, from: i64, to: i64, uids: &UidSet) -> Done<Transferred> {
    let mut ends = Ends::open(txn, from, to)?;
    let mut letters = Letters::new(txn, from)?;
    let mut pairs = Vec::new();
    for message in table::messages(txn.db, from, uids)? {
        let Some(message) = current(txn, &mut ends.source, message)? else { continue };
        let mut moved = message.clone();
        moved.fresh = false;
        // The base stays, and with it the unique-id, unless the target has a message of that base.
        if from != to && table::message_of_base(txn.db, to, &moved.base)?.is_some() {
            moved.base = new_base(txn.store.host(), &message);
        }
        letters.translate(txn, ends.target(), &mut moved)?;
        let (here, there) = ends.folders(txn)?;
        let place = Place::of(message.fresh);
        if from != to || (place, message.file()) != (Place::Cur, moved.file()) {
            txn.rename(
                Spot { mailbox: from, folder: &here, place, file: &message.file() },
                Spot { mailbox: to, folder: &there, place: Place::Cur, file: &moved.file() },
            )?;
        }
        txn.sync(&ends.source.folder, place);
        let summary = summary(txn, from, message.uid)?;
        let stamp = table::stamp(txn.db, from, message.uid)?;
        table::remove_message(txn.db, &mut ends.source, message.uid)?;
        let new = arrive(txn, ends.target(), moved)?;
        if let Some(summary) = summary {
            put_summary(txn, to, new.get(), &summary)?;
        }
        if let Some(time) = stamp {
            table::put_stamp(txn.db, to, new.get(), time)?;
        }
        pairs.push((to_uid(message.uid)?, new));
    }
    ends.save(txn)?;
    if !pairs.is_empty() {
        txn.sync(&ends.target().folder, Place::Cur);
    }
    Ok((ends.target().uid_validity, pairs))
}

fn arrive(txn: &Txn<'_>, target: &mut MailboxRow, mut message: MessageRow) -> Done<Uid> {
    message.uid = target.take_uid()?;
    message.added = target.step();
    message.modseq = message.added;
    message.recent = true;
    table::insert_message(txn.db, target.id, &message)?;
    to_uid(message.uid)
}

/// A new base for a copy, with the sizes that are known.
fn new_base(host: &str, message: &MessageRow) -> String {
    match (message.format, message.size) {
        (Format::Verbatim | Format::Lines, Some(size)) => file_name::new_base(host, Some((message.bytes, size))),
        _ => file_name::new_base(host, None) + file_name::fields(&message.base),
    }
}

/// Makes the copy's name a second link to the file, or a copy of it where links are not possible.
fn link(here: &Folder, message: &MessageRow, there: &Folder, copy: &MessageRow) -> Done<()> {
    let source = here.dir(Place::of(message.fresh));
    let target = there.dir(Place::Cur);
    match source.hard_link(message.file(), target, copy.file()) {
        Ok(()) => return Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::TooManyLinks
                    | io::ErrorKind::CrossesDevices
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::Unsupported
            ) => {}
        Err(error) => return Err(error.into()),
    }
    let mut original = source.open(message.file())?;
    let modified = original.metadata()?.modified()?.into_std();
    let draft = there.dir(Place::Tmp).open_with(&copy.base, &new_file())?.into_std();
    let copied = io::copy(&mut original, &mut &draft)
        .and_then(|_| draft.set_modified(modified))
        .and_then(|()| draft.sync_all())
        .and_then(|()| there.dir(Place::Tmp).rename(&copy.base, target, copy.file()));
    if copied.is_err() {
        let _ = there.dir(Place::Tmp).remove_file(&copy.base);
    }
    Ok(copied?)
}

fn summary(txn: &Txn<'_>, mailbox: i64, uid: u32) -> Done<Option<Vec<u8>>> {
    if let Some(summary) = txn.store.pending.summary(mailbox, uid) {
        return Ok(Some(summary.to_vec()));
    }
    let mut statement = txn.db.prepare_cached("SELECT data FROM summary WHERE mailbox = ?1 AND uid = ?2")?;
    let mut rows = statement.query(params![mailbox, uid])?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
}

fn put_summary(txn: &Txn<'_>, mailbox: i64, uid: u32, summary: &[u8]) -> Done<()> {
    txn.db
        .prepare_cached("INSERT OR REPLACE INTO summary (mailbox, uid, data) VALUES (?1, ?2, ?3)")?
        .execute(params![mailbox, uid, summary])?;
    Ok(())
}

/// Keywords have other numbers in another mailbox.
struct Letters {
    source: KeywordTable,
    known: Vec<(u64, u64)>,
}

impl Letters {
    fn new(txn: &Txn<'_>, from: i64) -> Done<Self> {
        Ok(Self { source: KeywordTable::load(txn.db, from)?, known: Vec::new() })
    }

    fn translate(&mut self, txn: &Txn<'_>, target: &MailboxRow, message: &mut MessageRow) -> Done<()> {
        let bits = message.keywords;
        let known = self.known.iter().find(|(old, _)| *old == bits).map(|(_, new)| *new);
        let new = match known {
            Some(new) => new,
            None if bits == 0 => 0,
            None => {
                let names = self.source.set_of(bits);
                let (new, _) = keywords::number(txn.db, txn.store.root(), target.id, &target.folder, &names)?;
                self.known.push((bits, new));
                new
            }
        };
        message.keywords = new;
        message.info = file_name::info_for(&message.info, message.flags, new);
        Ok(())
    }
}
