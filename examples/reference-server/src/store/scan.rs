//! Bringing the index up to date with the directories, whoever changed them.
//!
//! A mailbox whose directories have not changed since the index last followed them is not read at all. When only
//! `new/` changed, as with every delivery, only that is read. Otherwise the sorted names of both directories are merged
//! with the index. All of it happens within a transaction, so that no two processes number the same message.
//!
//! A directory that another program renames files in while it is read may hide a file from the reader; what seems to be
//! gone is therefore looked for a second time before it counts as removed.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::{Dir, MetadataExt};
use pillarbox_proto_core::mail::SystemFlags;
use rusqlite::params;

use super::commit::Txn;
use super::fault::{Done, is_missing};
use super::file_name;
use super::folder::{self, Folder, Place, changed_at};
use super::keywords;
use super::table::{self, Format, MailboxRow, MessageRow, Subset};

/// Directory times closer to now than this may hide a change that came after them.
const GRANULARITY: i64 = 2_000_000_000;
/// A file that is empty and younger than this is being written by a program that should have used `tmp/`.
const GRACE: i64 = 1_000_000_000;

/// Follows what changed, given the directories' times of now.
pub(super) fn changed_places(txn: &mut Txn<'_>, mut row: MailboxRow, times: (i64, i64)) -> Done<MailboxRow> {
    let started = now();
    if times.1 != row.cur_time {
        return all_places(txn, row, times, started);
    }
    let open = txn.folder(&row.folder)?;
    let mut seen = Names::default();
    seen.read(txn, &open, Place::New)?;
    let mut arrived = Vec::new();
    let mut known = 0;
    for entry in &seen.entries {
        let name = seen.name(entry);
        let (base, info) = file_name::split(name);
        match table::message_of_base(txn.db, row.id, base)? {
            None => arrived.push((base.to_owned(), info.to_owned(), true)),
            Some(message) if message.fresh && message.info == info => known += 1,
            // Moved back, or twice there: only a look at both directories tells.
            Some(_) => return all_places(txn, row, times, started),
        }
    }
    if table::count(txn.db, row.id, Subset::Fresh)? != known {
        return all_places(txn, row, times, started);
    }
    let complete = add(txn, &mut row, &open, arrived)?;
    finish(txn, &mut row, times, started, complete)?;
    Ok(row)
}

/// Reads both directories and takes over all differences.
pub(super) fn everything(txn: &mut Txn<'_>, row: MailboxRow) -> Done<MailboxRow> {
    let started = now();
    // Opening makes directories that are missing, so it comes before the look at their times.
    txn.folder(&row.folder)?;
    let times = folder::times(txn.store.root(), &row.folder)?;
    all_places(txn, row, times, started)
}

/// Whether directories with these times can be trusted to have no later change, at this time of day.
pub(super) fn is_settled(times: (i64, i64), now: i64) -> bool {
    times.0.max(times.1) < now - GRANULARITY
}

/// The time of day in nanoseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn all_places(txn: &mut Txn<'_>, mut row: MailboxRow, times: (i64, i64), started: i64) -> Done<MailboxRow> {
    let open = txn.folder(&row.folder)?;
    keywords::merge_file(txn.db, txn.store.root(), row.id, &row.folder)?;
    let mut seen = Names::default();
    seen.read(txn, &open, Place::New)?;
    seen.read(txn, &open, Place::Cur)?;
    seen.sort();
    let Differences { arrived, renamed, mut missing } = compare(txn, &row, &seen)?;
    drop(seen);
    let mut found = Vec::new();
    if !missing.is_empty() {
        let mut again = Names::default();
        again.read(txn, &open, Place::New)?;
        again.read(txn, &open, Place::Cur)?;
        for entry in &again.entries {
            let (base, info) = file_name::split(again.name(entry));
            if let Some(uid) = missing.remove(base) {
                found.push((uid, info.to_owned(), entry.fresh));
            }
        }
    }
    for (uid, info, fresh) in renamed.into_iter().chain(found) {
        follow(txn, &mut row, uid, &info, fresh)?;
    }
    if !missing.is_empty() {
        txn.make_lasting();
    }
    for uid in missing.into_values() {
        table::remove_message(txn.db, &mut row, uid)?;
    }
    let complete = add(txn, &mut row, &open, arrived)?;
    finish(txn, &mut row, times, started, complete)?;
    Ok(row)
}

/// Looks at single messages whose file names were heard of. Answers false if that does not tell enough, so that both
/// directories must be read.
pub(super) fn named_files(txn: &mut Txn<'_>, row: &mut MailboxRow, names: &[String]) -> Done<bool> {
    let open = txn.folder(&row.folder)?;
    let mut arrived: Vec<(String, String, bool)> = Vec::new();
    let mut complete = true;
    for name in names {
        let (base, info) = file_name::split(name);
        if base.is_empty() || base.starts_with('.') {
            continue;
        }
        let place = [Place::Cur, Place::New].into_iter().find(|place| is_file(open.dir(*place), name));
        match (table::message_of_base(txn.db, row.id, base)?, place) {
            (None, None) => {}
            (None, Some(place)) => {
                if !arrived.iter().any(|(known, ..)| known == base) {
                    arrived.push((base.to_owned(), info.to_owned(), place == Place::New));
                }
            }
            (Some(known), Some(place)) => {
                let fresh = place == Place::New;
                if known.info != info || known.fresh != fresh {
                    // A name that stands beside the one that the index knows is no renaming.
                    if is_file(open.dir(Place::of(known.fresh)), &known.file()) {
                        continue;
                    }
                    follow(txn, row, known.uid, info, fresh)?;
                } else {
                    recheck_size(txn, row, &open, &known)?;
                }
            }
            (Some(known), None) => {
                let file = known.file();
                if file == *name {
                    // Gone, unless under another name, which is in this list too or was not heard of.
                    let renamed = names.iter().find(|other| {
                        file_name::split(other).0 == base
                            && (is_file(open.dir(Place::Cur), other) || is_file(open.dir(Place::New), other))
                    });
                    if renamed.is_none() && !is_file(open.dir(Place::of(known.fresh)), &file) {
                        complete = false;
                    }
                }
            }
        }
    }
    complete &= add(txn, row, &open, arrived)?;
    row.save(txn.db)?;
    Ok(complete)
}

/// What a look at the directories shows against the index.
#[derive(Default)]
struct Differences {
    /// Base, info, fresh.
    arrived: Vec<(String, String, bool)>,
    /// UID, new info, fresh.
    renamed: Vec<(u32, String, bool)>,
    /// Base to UID.
    missing: HashMap<String, u32>,
}

fn compare(txn: &Txn<'_>, row: &MailboxRow, seen: &Names) -> Done<Differences> {
    let mut differences = Differences::default();
    let sql = "SELECT uid, base, info, fresh FROM message WHERE mailbox = ?1 ORDER BY base";
    let mut statement = txn.db.prepare_cached(sql)?;
    let mut rows = statement.query(params![row.id])?;
    let mut next = rows.next()?;
    let mut entries = seen.entries.iter().peekable();
    loop {
        let known = match next {
            Some(row) => Some((row.get_ref(1)?.as_str().unwrap_or_default(), row)),
            None => None,
        };
        let here = entries.peek().map(|entry| file_name::split(seen.name(entry)));
        match (known, here) {
            (None, None) => return Ok(differences),
            (Some((base, known)), here) if here.is_none_or(|(other, _)| base < other) => {
                differences.missing.insert(base.to_owned(), known.get(0)?);
                next = rows.next()?;
            }
            (known, Some((base, info))) => {
                let Some(entry) = entries.next() else { continue };
                let mut fresh = entry.fresh;
                let mut info = info;
                // The same base again, in the other directory or with other flags. Of two in cur/ the one that the
                // index knows stays; a copy in new/ is what a program that died between link and unlink left.
                let row = known.filter(|(known, _)| *known == base).map(|(_, row)| row);
                let known_info = match row {
                    Some(row) => row.get_ref(2)?.as_str().unwrap_or_default(),
                    None => "",
                };
                while let Some(twin) = entries.next_if(|twin| file_name::split(seen.name(twin)).0 == base) {
                    let twin_info = file_name::split(seen.name(twin)).1;
                    if (fresh && !twin.fresh) || (fresh == twin.fresh && twin_info == known_info) {
                        (info, fresh) = (twin_info, twin.fresh);
                    }
                }
                match row {
                    Some(row) => {
                        if info != known_info || fresh != row.get::<_, bool>(3)? {
                            differences.renamed.push((row.get(0)?, info.to_owned(), fresh));
                        }
                        next = rows.next()?;
                    }
                    None => differences.arrived.push((base.to_owned(), info.to_owned(), fresh)),
                }
            }
            (Some(_), None) => return Ok(differences),
        }
    }
}

/// Takes over a new name of a message's file.
fn follow(txn: &Txn<'_>, row: &mut MailboxRow, uid: u32, info: &str, fresh: bool) -> Done<()> {
    let Some(mut message) = table::message(txn.db, row.id, uid)? else { return Ok(()) };
    let (flags, letters) = file_name::parse_info(info);
    let keywords = keywords::with_letters(message.keywords, letters);
    if (flags, keywords) != (message.flags, message.keywords) {
        message.modseq = row.step();
    }
    (message.flags, message.keywords, message.fresh) = (flags, keywords, fresh);
    info.clone_into(&mut message.info);
    table::update_message(txn.db, row.id, &message)
}

/// Numbers files that are new, in the order of their times and names. Answers false if one of them is still being
/// written.
fn add(txn: &mut Txn<'_>, row: &mut MailboxRow, open: &Folder, arrived: Vec<(String, String, bool)>) -> Done<bool> {
    let mut complete = true;
    let mut found = Vec::with_capacity(arrived.len());
    let now = now();
    for (base, info, fresh) in arrived {
        let metadata = match open.dir(Place::of(fresh)).symlink_metadata(format!("{base}{info}")) {
            Ok(metadata) => metadata,
            // Moved since: the next look finds it.
            Err(error) if is_missing(&error) => {
                complete = false;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !metadata.is_file() {
            continue;
        }
        let time = changed_at(&metadata);
        if metadata.len() == 0 && time > now - GRACE {
            complete = false;
            continue;
        }
        found.push((time, base, info, fresh, metadata.len(), metadata.mtime()));
    }
    found.sort();
    if !found.is_empty() {
        txn.make_lasting();
    }
    for (_, base, info, fresh, bytes, date) in found {
        let (flags, keywords) = file_name::parse_info(&info);
        let (size, format) = claimed_format(&base, bytes);
        let modseq = row.step();
        let message = MessageRow {
            uid: row.take_uid()?,
            added: modseq,
            modseq,
            flags: if fresh { SystemFlags::NONE | flags } else { flags },
            keywords,
            recent: fresh,
            fresh,
            date,
            zone: 0,
            bytes,
            size,
            format,
            base,
            info,
        };
        table::insert_message(txn.db, row.id, &message)?;
    }
    Ok(complete)
}

/// What a file's name and size tell of the message's size.
pub(super) fn claimed_format(base: &str, bytes: u64) -> (Option<u64>, Format) {
    match file_name::claimed_sizes(base) {
        (Some(claimed), Some(wire)) if claimed == bytes && wire == bytes => (Some(bytes), Format::Verbatim),
        (Some(claimed), Some(wire)) if claimed == bytes && wire > bytes && wire <= bytes.saturating_mul(2) => {
            (Some(wire), Format::Claimed)
        }
        _ => (None, Format::Unknown),
    }
}

/// A file that grew after it was numbered was not delivered through `tmp/`; what was worked out of it is void.
fn recheck_size(txn: &Txn<'_>, row: &MailboxRow, open: &Folder, known: &MessageRow) -> Done<()> {
    let Ok(metadata) = open.dir(Place::of(known.fresh)).symlink_metadata(known.file()) else { return Ok(()) };
    if metadata.len() != known.bytes {
        table::update_size(txn.db, row.id, known.uid, metadata.len(), None, Format::Unknown)?;
        for table in ["summary", "stamp_field"] {
            txn.db
                .prepare_cached(&format!("DELETE FROM {table} WHERE mailbox = ?1 AND uid = ?2"))?
                .execute(params![row.id, known.uid])?;
        }
    }
    Ok(())
}

fn finish(txn: &Txn<'_>, row: &mut MailboxRow, times: (i64, i64), started: i64, complete: bool) -> Done<()> {
    // An incomplete look leaves a time that the directory can't have, so that the next one looks again.
    (row.new_time, row.cur_time) = if complete { times } else { (-1, times.1) };
    row.settled = complete && is_settled(times, started);
    row.save(txn.db)
}

fn is_file(dir: &Dir, name: &str) -> bool {
    dir.symlink_metadata(name).is_ok_and(|metadata| metadata.is_file())
}

/// Names of files, in one buffer.
#[derive(Default)]
struct Names {
    text: String,
    entries: Vec<Entry>,
}

struct Entry {
    start: usize,
    end: usize,
    fresh: bool,
}

impl Names {
    fn read(&mut self, txn: &Txn<'_>, open: &Folder, place: Place) -> Done<()> {
        txn.store.count_directory();
        let fresh = place == Place::New;
        for entry in open.dir(place).entries()? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                tracing::warn!(?name, "a file whose name is not UTF-8 is left alone");
                continue;
            };
            if name.starts_with('.') || name.starts_with(':') || entry.file_type().is_ok_and(|kind| !kind.is_file()) {
                continue;
            }
            let start = self.text.len();
            self.text.push_str(name);
            self.entries.push(Entry { start, end: self.text.len(), fresh });
        }
        Ok(())
    }

    fn name(&self, entry: &Entry) -> &str {
        self.text.get(entry.start..entry.end).unwrap_or_default()
    }

    /// Sorts by base, as the index does.
    fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|a, b| {
            let (a, b) = (file_name::split(self.name(a)), file_name::split(self.name(b)));
            a.cmp(&b)
        });
        self.entries = entries;
    }
}
