//! UIDVALIDITY values: the time of day, and never one that was given before.
//!
//! The largest value that was ever given stands in a file of its own in the root, so that it outlasts the index, and
//! is written before the value is used. A clock that was set back, an index that was lost, a mailbox that is made again
//! within the second: none of them brings an old value back (RFC 9051, section 2.3.1.1).

use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::mail::UidValidity;
use rusqlite::Connection;

use super::fault::Done;
use super::folder::{read_small_file, replace_file};

const FILE: &str = "pillarbox-uidvalidity";

/// Gives `count` new values, ascending. To be called within a transaction, which keeps other processes out.
pub(super) fn issue(root: &Dir, db: &Connection, count: u32) -> Done<Vec<UidValidity>> {
    let written = read_small_file(root, FILE, 64)?.and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(0);
    let in_use: Option<u32> = db.query_row("SELECT max(uid_validity) FROM mailbox", [], |row| row.get(0))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let floor = written.max(in_use.unwrap_or(0));
    let first = floor.saturating_add(1).max(u32::try_from(now).unwrap_or(u32::MAX));
    let last = first.checked_add(count.saturating_sub(1)).filter(|_| floor < u32::MAX);
    let Some(last) = last else {
        return Err(Error::Limit("all UIDVALIDITY values of this account are used up".into()).into());
    };
    replace_file(root, "", FILE, format!("{last}\n").as_bytes())?;
    Ok((first..=last).filter_map(UidValidity::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_never_come_back() {
        let home = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(home.path(), cap_std::ambient_authority()).unwrap();
        let db = Connection::open_in_memory().unwrap();
        super::super::schema::ensure(&db).unwrap();
        let first = issue(&root, &db, 3).unwrap();
        assert_eq!(first.len(), 3);
        let second = issue(&root, &db, 1).unwrap();
        assert!(second[0] > first[2]);
        // A clock that went back does not count.
        std::fs::write(home.path().join(FILE), "4294967290\n").unwrap();
        assert_eq!(issue(&root, &db, 1).unwrap()[0].get(), 4_294_967_291);
        assert!(issue(&root, &db, 9).is_err());
    }
}
