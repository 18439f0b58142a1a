//! Rows of the index, and the statements that read and write them.
//!
//! All statements are prepared once per connection. Numbers that IMAP bounds to 32 bits are checked where they come out
//! of the index, as a damaged one may hold anything.

use pillarbox_proto_core::mail::{MailboxName, ModSeq, SystemFlags, Uid, UidSet, UidValidity};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::fault::{Done, Fault};

/// How many removals a mailbox remembers at least.
const HISTORY: i64 = 20_000;

/// A row of `mailbox`.
#[derive(Clone, Debug)]
pub(super) struct MailboxRow {
    pub(super) id: i64,
    pub(super) folder: String,
    pub(super) name: MailboxName,
    pub(super) uid_validity: UidValidity,
    pub(super) uid_next: i64,
    pub(super) modseq: i64,
    pub(super) forgotten: i64,
    pub(super) history: i64,
    pub(super) new_time: i64,
    pub(super) cur_time: i64,
    pub(super) settled: bool,
    pub(super) special_use: String,
}

impl MailboxRow {
    const COLUMNS: &'static str = "id, folder, name, uid_validity, uid_next, modseq, forgotten, history, new_time, \
                                   cur_time, settled, special_use";

    fn from_row(row: &Row<'_>) -> Done<Self> {
        let name: String = row.get(2)?;
        let validity: u32 = row.get(3)?;
        Ok(Self {
            id: row.get(0)?,
            folder: row.get(1)?,
            name: MailboxName::new(&name).map_err(|error| Fault::Other(format!("index: {error}")))?,
            uid_validity: UidValidity::new(validity)
                .ok_or_else(|| Fault::Other("index: a UIDVALIDITY of 0".to_owned()))?,
            uid_next: row.get(4)?,
            modseq: row.get(5)?,
            forgotten: row.get(6)?,
            history: row.get(7)?,
            new_time: row.get(8)?,
            cur_time: row.get(9)?,
            settled: row.get(10)?,
            special_use: row.get(11)?,
        })
    }

    /// The next mod-sequence.
    pub(super) fn step(&mut self) -> i64 {
        self.modseq += 1;
        self.modseq
    }

    /// The next UID.
    pub(super) fn take_uid(&mut self) -> Done<u32> {
        let uid = u32::try_from(self.uid_next)
            .map_err(|_| pillarbox_proto_core::backend::Error::Limit("all UIDs of this mailbox are used up".into()))?;
        self.uid_next += 1;
        Ok(uid)
    }

    /// UIDNEXT, `None` when all are used up.
    pub(super) fn uid_next(&self) -> Option<Uid> {
        u32::try_from(self.uid_next).ok().and_then(Uid::new)
    }

    /// The mod-sequence as the backend says it.
    pub(super) fn modseq(&self) -> ModSeq {
        to_modseq(self.modseq)
    }

    /// Writes back what changes with the messages.
    pub(super) fn save(&self, db: &Connection) -> Done<()> {
        db.prepare_cached(
            "UPDATE mailbox SET uid_next = ?2, modseq = ?3, forgotten = ?4, history = ?5, new_time = ?6, \
             cur_time = ?7, settled = ?8 WHERE id = ?1",
        )?
        .execute(params![
            self.id,
            self.uid_next,
            self.modseq,
            self.forgotten,
            self.history,
            self.new_time,
            self.cur_time,
            self.settled
        ])?;
        Ok(())
    }
}

/// How the octets of a file become those of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Nobody has looked.
    Unknown = 0,
    /// As they are.
    Verbatim = 1,
    /// Bare line feeds become CRLF; the size was counted here.
    Lines = 2,
    /// Bare line feeds become CRLF; the size is only the file name's claim.
    Claimed = 3,
}

impl Format {
    fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Verbatim,
            2 => Self::Lines,
            3 => Self::Claimed,
            _ => Self::Unknown,
        }
    }
}

/// A row of `message`.
#[derive(Clone, Debug)]
pub(super) struct MessageRow {
    pub(super) uid: u32,
    pub(super) added: i64,
    pub(super) modseq: i64,
    pub(super) flags: SystemFlags,
    pub(super) keywords: u64,
    pub(super) recent: bool,
    pub(super) fresh: bool,
    pub(super) date: i64,
    pub(super) zone: i16,
    pub(super) bytes: u64,
    pub(super) size: Option<u64>,
    pub(super) format: Format,
    pub(super) base: String,
    pub(super) info: String,
}

impl MessageRow {
    pub(super) const COLUMNS: &'static str = "uid, added, modseq, flags, keywords, recent, fresh, date, zone, bytes, \
                                              size, format, base, info";

    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let size: Option<i64> = row.get(10)?;
        Ok(Self {
            uid: row.get(0)?,
            added: row.get(1)?,
            modseq: row.get(2)?,
            flags: SystemFlags::from_bits(row.get(3)?),
            keywords: row.get::<_, i64>(4)?.cast_unsigned(),
            recent: row.get(5)?,
            fresh: row.get(6)?,
            date: row.get(7)?,
            zone: row.get(8)?,
            bytes: row.get::<_, i64>(9)?.cast_unsigned(),
            size: size.map(i64::cast_unsigned),
            format: Format::from_number(row.get(11)?),
            base: row.get(12)?,
            info: row.get(13)?,
        })
    }

    /// The file's name.
    pub(super) fn file(&self) -> String {
        format!("{}{}", self.base, self.info)
    }
}

/// A mod-sequence out of the index.
pub(super) fn to_modseq(number: i64) -> ModSeq {
    ModSeq::new(number.max(0).cast_unsigned())
}

/// A UID out of the index; 0, which only damage can write, is no UID.
pub(super) fn to_uid(number: u32) -> Done<Uid> {
    Uid::new(number).ok_or_else(|| Fault::Other("index: a UID of 0".to_owned()))
}

pub(super) fn mailbox(db: &Connection, id: i64) -> Done<Option<MailboxRow>> {
    find_mailbox(db, "id = ?1", &id)
}

pub(super) fn mailbox_named(db: &Connection, name: &MailboxName) -> Done<Option<MailboxRow>> {
    find_mailbox(db, "name = ?1", &name.as_str())
}

fn find_mailbox(db: &Connection, condition: &str, value: &dyn ToSql) -> Done<Option<MailboxRow>> {
    let sql = format!("SELECT {} FROM mailbox WHERE {condition}", MailboxRow::COLUMNS);
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([value])?;
    rows.next()?.map(MailboxRow::from_row).transpose()
}

pub(super) fn mailboxes(db: &Connection) -> Done<Vec<MailboxRow>> {
    let mut statement = db.prepare_cached(&format!("SELECT {} FROM mailbox ORDER BY name", MailboxRow::COLUMNS))?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(MailboxRow::from_row(row)?);
    }
    Ok(all)
}

/// Adds a mailbox that has not been looked at.
pub(super) fn insert_mailbox(
    db: &Connection,
    folder: &str,
    name: &MailboxName,
    uid_validity: UidValidity,
    special_use: &str,
) -> Done<i64> {
    db.prepare_cached(
        "INSERT INTO mailbox (folder, name, uid_validity, uid_next, modseq, forgotten, history, new_time, cur_time, \
         settled, special_use) VALUES (?1, ?2, ?3, 1, 1, 0, 0, -1, -1, 0, ?4)",
    )?
    .execute(params![folder, name.as_str(), uid_validity.get(), special_use])?;
    Ok(db.last_insert_rowid())
}

pub(super) fn delete_mailbox(db: &Connection, id: i64) -> Done<()> {
    for table in ["message", "expunged", "summary", "keyword", "stamp", "stamp_field"] {
        db.prepare_cached(&format!("DELETE FROM {table} WHERE mailbox = ?1"))?.execute([id])?;
    }
    db.prepare_cached("DELETE FROM mailbox WHERE id = ?1")?.execute([id])?;
    Ok(())
}

pub(super) fn message(db: &Connection, mailbox: i64, uid: u32) -> Done<Option<MessageRow>> {
    let sql = format!("SELECT {} FROM message WHERE mailbox = ?1 AND uid = ?2", MessageRow::COLUMNS);
    Ok(db.prepare_cached(&sql)?.query_row(params![mailbox, uid], MessageRow::from_row).optional()?)
}

pub(super) fn message_of_base(db: &Connection, mailbox: i64, base: &str) -> Done<Option<MessageRow>> {
    let sql = format!("SELECT {} FROM message WHERE mailbox = ?1 AND base = ?2", MessageRow::COLUMNS);
    Ok(db.prepare_cached(&sql)?.query_row(params![mailbox, base], MessageRow::from_row).optional()?)
}

/// All rows of these UIDs, ascending.
pub(super) fn messages(db: &Connection, mailbox: i64, uids: &UidSet) -> Done<Vec<MessageRow>> {
    let sql = format!(
        "SELECT {} FROM message WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid",
        MessageRow::COLUMNS
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut all = Vec::new();
    for (first, last) in uids.ranges() {
        for row in statement.query_map(params![mailbox, first.get(), last.get()], MessageRow::from_row)? {
            all.push(row?);
        }
    }
    Ok(all)
}

/// Messages of a mailbox that an index tells without a walk. SQLite would rather walk, so each statement names it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subset {
    All,
    /// No session was told of them.
    Recent,
    /// Their files are in `new/`.
    Fresh,
    Unseen,
    Deleted,
}

impl Subset {
    /// What stands after FROM.
    const fn clause(self) -> &'static str {
        match self {
            Self::All => "message INDEXED BY message_added WHERE mailbox = ?1",
            Self::Recent => "message INDEXED BY message_recent WHERE mailbox = ?1 AND recent = 1",
            Self::Fresh => "message INDEXED BY message_fresh WHERE mailbox = ?1 AND fresh = 1",
            Self::Unseen => "message INDEXED BY message_unseen WHERE mailbox = ?1 AND flags & 8 = 0",
            Self::Deleted => "message INDEXED BY message_deleted WHERE mailbox = ?1 AND flags & 4 <> 0",
        }
    }

    /// The order of UIDs, which is that of arrivals.
    const fn order(self) -> &'static str {
        match self {
            Self::All => "added",
            _ => "uid",
        }
    }
}

/// The UIDs of messages.
pub(super) fn uids(db: &Connection, mailbox: i64, subset: Subset) -> Done<UidSet> {
    let sql = format!("SELECT uid FROM {} ORDER BY {}", subset.clause(), subset.order());
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([mailbox])?;
    let mut set = UidSet::new();
    // Runs are added whole: most mailboxes are few of them.
    let mut run: Option<(Uid, Uid)> = None;
    while let Some(row) = rows.next()? {
        let uid = to_uid(row.get(0)?)?;
        run = match run {
            Some((first, last)) if last.next() == Some(uid) => Some((first, uid)),
            Some((first, last)) => {
                set.insert_range(first, last);
                Some((uid, uid))
            }
            None => Some((uid, uid)),
        };
    }
    if let Some((first, last)) = run {
        set.insert_range(first, last);
    }
    Ok(set)
}

/// The smallest UID of messages.
pub(super) fn first_uid(db: &Connection, mailbox: i64, subset: Subset) -> Done<Option<Uid>> {
    let sql = format!("SELECT uid FROM {} ORDER BY {} LIMIT 1", subset.clause(), subset.order());
    let first: Option<u32> = db.prepare_cached(&sql)?.query_row([mailbox], |row| row.get(0)).optional()?;
    Ok(first.and_then(Uid::new))
}

/// How many messages there are.
pub(super) fn count(db: &Connection, mailbox: i64, subset: Subset) -> Done<u32> {
    let sql = format!("SELECT count(*) FROM {}", subset.clause());
    Ok(db.prepare_cached(&sql)?.query_row([mailbox], |row| row.get(0))?)
}

pub(super) fn insert_message(db: &Connection, mailbox: i64, row: &MessageRow) -> Done<()> {
    let sql = format!(
        "INSERT INTO message (mailbox, {}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        MessageRow::COLUMNS
    );
    db.prepare_cached(&sql)?.execute(params![
        mailbox,
        row.uid,
        row.added,
        row.modseq,
        row.flags.bits(),
        row.keywords.cast_signed(),
        row.recent,
        row.fresh,
        row.date,
        row.zone,
        row.bytes.cast_signed(),
        row.size.map(u64::cast_signed),
        row.format as i64,
        row.base,
        row.info
    ])?;
    Ok(())
}

/// Writes flags, place and name of a message's file.
pub(super) fn update_message(db: &Connection, mailbox: i64, row: &MessageRow) -> Done<()> {
    db.prepare_cached(
        "UPDATE message SET modseq = ?3, flags = ?4, keywords = ?5, fresh = ?6, info = ?7 \
         WHERE mailbox = ?1 AND uid = ?2",
    )?
    .execute(params![
        mailbox,
        row.uid,
        row.modseq,
        row.flags.bits(),
        row.keywords.cast_signed(),
        row.fresh,
        row.info
    ])?;
    Ok(())
}

/// Writes what was learned from a message's octets.
pub(super) fn update_size(
    db: &Connection,
    mailbox: i64,
    uid: u32,
    bytes: u64,
    size: Option<u64>,
    format: Format,
) -> Done<()> {
    db.prepare_cached("UPDATE message SET bytes = ?3, size = ?4, format = ?5 WHERE mailbox = ?1 AND uid = ?2")?
        .execute(params![mailbox, uid, bytes.cast_signed(), size.map(u64::cast_signed), format as i64])?;
    Ok(())
}

/// The stamp of a message's first retrieval, where it is kept here.
pub(super) fn stamp(db: &Connection, mailbox: i64, uid: u32) -> Done<Option<i64>> {
    let mut statement = db.prepare_cached("SELECT time FROM stamp WHERE mailbox = ?1 AND uid = ?2")?;
    Ok(statement.query_row(params![mailbox, uid], |row| row.get(0)).optional()?)
}

/// Gives a message that stamp.
pub(super) fn put_stamp(db: &Connection, mailbox: i64, uid: u32, time: i64) -> Done<()> {
    db.prepare_cached("INSERT OR REPLACE INTO stamp (mailbox, uid, time) VALUES (?1, ?2, ?3)")?
        .execute(params![mailbox, uid, time])?;
    Ok(())
}

/// Takes a message out and remembers that it was there.
pub(super) fn remove_message(db: &Connection, mailbox: &mut MailboxRow, uid: u32) -> Done<i64> {
    let modseq = mailbox.step();
    for table in ["message", "summary", "stamp", "stamp_field"] {
        db.prepare_cached(&format!("DELETE FROM {table} WHERE mailbox = ?1 AND uid = ?2"))?
            .execute(params![mailbox.id, uid])?;
    }
    db.prepare_cached("INSERT INTO expunged (mailbox, modseq, uid) VALUES (?1, ?2, ?3)")?
        .execute(params![mailbox.id, modseq, uid])?;
    mailbox.history += 1;
    if mailbox.history > 2 * HISTORY {
        forget(db, mailbox)?;
    }
    Ok(modseq)
}

/// Drops the older half of the removals, so that the history stays bounded.
fn forget(db: &Connection, mailbox: &mut MailboxRow) -> Done<()> {
    let oldest: Option<i64> = db
        .prepare_cached("SELECT modseq FROM expunged WHERE mailbox = ?1 ORDER BY modseq DESC LIMIT 1 OFFSET ?2")?
        .query_row(params![mailbox.id, HISTORY], |row| row.get(0))
        .optional()?;
    if let Some(oldest) = oldest {
        db.prepare_cached("DELETE FROM expunged WHERE mailbox = ?1 AND modseq <= ?2")?
            .execute(params![mailbox.id, oldest])?;
        mailbox.forgotten = oldest;
    }
    mailbox.history = db
        .prepare_cached("SELECT count(*) FROM expunged WHERE mailbox = ?1")?
        .query_row([mailbox.id], |row| row.get(0))?;
    Ok(())
}
