//! Keywords of a mailbox and their numbers.
//!
//! The first 26 have letters in the file names, which the file `dovecot-keywords` in the folder explains: one line
//! `NUMBER NAME` each, as other servers write and read it. Further keywords, up to 64 in all, are in the index only.

use std::collections::HashMap;

use cap_std::fs::Dir;
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::mail::{Keyword, Keywords};
use rusqlite::{Connection, params};

use super::fault::Done;
use super::file_name::LETTER_BITS;
use super::folder::{read_small_file, replace_file};

/// The most keywords of one mailbox.
const MOST: usize = 64;
/// Keywords with a letter.
const LETTERED: usize = 26;
const FILE: &str = "dovecot-keywords";
/// Combinations whose sets are kept at hand.
const REMEMBERED: usize = 256;

/// The keywords of a mailbox, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct KeywordTable {
    names: Vec<Option<Keyword>>,
    sets: HashMap<u64, Keywords>,
}

impl KeywordTable {
    /// Reads the table of a mailbox from the index.
    pub(super) fn load(db: &Connection, mailbox: i64) -> Done<Self> {
        let mut table = Self::default();
        let mut statement = db.prepare_cached("SELECT number, name FROM keyword WHERE mailbox = ?1")?;
        let mut rows = statement.query([mailbox])?;
        while let Some(row) = rows.next()? {
            let (number, name): (u32, String) = (row.get(0)?, row.get(1)?);
            if let Ok(keyword) = Keyword::new(&name) {
                table.put(number as usize, keyword);
            }
        }
        Ok(table)
    }

    /// Whether both tables have the same names.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.names == other.names
    }

    /// All keywords that have a number.
    pub(super) fn all(&self) -> Keywords {
        self.names.iter().flatten().cloned().collect()
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.names.iter().flatten().count() < MOST
    }

    /// The set of these numbers. Numbers without a name are letters that nobody explained; they are not shown.
    pub(super) fn set_of(&mut self, bits: u64) -> Keywords {
        if bits == 0 {
            return Keywords::NONE;
        }
        if let Some(set) = self.sets.get(&bits) {
            return set.clone();
        }
        let named = self.names.iter().enumerate().filter(|(number, _)| bits & (1 << number) != 0);
        let set: Keywords = named.filter_map(|(_, name)| name.clone()).collect();
        if self.sets.len() >= REMEMBERED {
            self.sets.clear();
        }
        self.sets.insert(bits, set.clone());
        set
    }

    /// The numbers of those keywords that have one.
    pub(super) fn bits_of(&self, keywords: &Keywords) -> u64 {
        keywords.iter().filter_map(|keyword| self.number_of(keyword)).fold(0, |bits, number| bits | (1 << number))
    }

    fn number_of(&self, keyword: &Keyword) -> Option<usize> {
        self.names.iter().position(|name| name.as_ref() == Some(keyword))
    }

    fn put(&mut self, number: usize, keyword: Keyword) {
        if number < MOST {
            if self.names.len() <= number {
                self.names.resize(number + 1, None);
            }
            if let Some(name) = self.names.get_mut(number) {
                *name = Some(keyword);
            }
            self.sets.clear();
        }
    }
}

/// Takes over what the folder's file says about letters. To be called within a transaction.
pub(super) fn merge_file(db: &Connection, root: &Dir, mailbox: i64, folder: &str) -> Done<KeywordTable> {
    let mut table = KeywordTable::load(db, mailbox)?;
    let path = if folder.is_empty() { FILE.to_owned() } else { format!("{folder}/{FILE}") };
    let Some(text) = read_small_file(root, &path, 64 * 1024)? else { return Ok(table) };
    for line in text.lines() {
        let Some((number, name)) = line.split_once(' ') else { continue };
        let (Ok(number), Ok(keyword)) = (number.parse::<usize>(), Keyword::new(name)) else { continue };
        if number < LETTERED && table.names.get(number).is_none_or(|known| known.as_ref() != Some(&keyword)) {
            save(db, mailbox, number, &keyword)?;
            table.put(number, keyword);
        }
    }
    Ok(table)
}

/// The numbers of keywords, with new numbers for new ones. To be called within a transaction.
///
/// # Errors
///
/// [`Error::Limit`] when the mailbox has as many keywords as it can, and all are in use.
pub(super) fn number(
    db: &Connection,
    root: &Dir,
    mailbox: i64,
    folder: &str,
    keywords: &Keywords,
) -> Done<(u64, KeywordTable)> {
    let table = KeywordTable::load(db, mailbox)?;
    if keywords.iter().all(|keyword| table.number_of(keyword).is_some()) {
        return Ok((table.bits_of(keywords), table));
    }
    let mut table = merge_file(db, root, mailbox, folder)?;
    let mut used = numbers_in_use(db, mailbox)?;
    let mut lettered = false;
    for keyword in keywords {
        if let Some(number) = table.number_of(keyword) {
            used |= 1 << number;
            continue;
        }
        let unnamed = |number: &usize| table.names.get(*number).is_none_or(Option::is_none);
        let mut unused = (0..MOST).filter(|number| used & (1 << number) == 0);
        // When all have names, one that no message bears is given up.
        let Some(number) = unused.clone().find(unnamed).or_else(|| unused.next()) else {
            return Err(Error::Limit(format!("a mailbox holds {MOST} keywords").into()).into());
        };
        save(db, mailbox, number, keyword)?;
        table.put(number, keyword.clone());
        used |= 1 << number;
        lettered |= number < LETTERED;
    }
    if lettered {
        let lettered = table.names.iter().take(LETTERED).enumerate();
        let lines = lettered.filter_map(|(number, name)| name.as_ref().map(|name| format!("{number} {name}\n")));
        replace_file(root, folder, FILE, lines.collect::<String>().as_bytes())?;
    }
    Ok((table.bits_of(keywords), table))
}

fn numbers_in_use(db: &Connection, mailbox: i64) -> Done<u64> {
    let sql = "SELECT DISTINCT keywords FROM message WHERE mailbox = ?1 AND keywords <> 0";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([mailbox])?;
    let mut used = 0;
    while let Some(row) = rows.next()? {
        used |= row.get::<_, i64>(0)?.cast_unsigned();
    }
    Ok(used)
}

fn save(db: &Connection, mailbox: i64, number: usize, keyword: &Keyword) -> Done<()> {
    db.prepare_cached("INSERT OR REPLACE INTO keyword (mailbox, number, name) VALUES (?1, ?2, ?3)")?
        .execute(params![mailbox, number as i64, keyword.as_str()])?;
    Ok(())
}

/// The bits of an external change: letters come from the file name, numbers without a letter stay.
pub(super) const fn with_letters(old: u64, letters: u64) -> u64 {
    (old & !LETTER_BITS) | (letters & LETTER_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[String]) -> Keywords {
        names.iter().map(|name| Keyword::new(name).unwrap()).collect()
    }

    #[test]
    fn letters_go_into_the_file_and_the_rest_into_the_index() {
        let home = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(home.path(), cap_std::ambient_authority()).unwrap();
        let db = Connection::open_in_memory().unwrap();
        super::super::schema::ensure(&db).unwrap();
        std::fs::write(home.path().join(FILE), "0 $Forwarded\n5 Junk\nbroken\n99 x\n").unwrap();
        let names: Vec<_> = (0..40).map(|number| format!("k{number:02}")).collect();
        let (bits, mut table) = number(&db, &root, 1, "", &set(&names)).unwrap();
        assert_eq!(bits.count_ones(), 40);
        assert_eq!(bits & 0b10_0001, 0, "numbers of other programs stay theirs");
        assert_eq!(table.set_of(bits), set(&names));
        let text = std::fs::read_to_string(home.path().join(FILE)).unwrap();
        assert!(text.starts_with("0 $Forwarded\n1 k00\n") && text.contains("5 Junk\n"), "{text}");
        assert_eq!(text.lines().count(), 26);
        let again = KeywordTable::load(&db, 1).unwrap();
        assert!(again.same_as(&table));
        assert_eq!(again.bits_of(&set(&["K07".to_owned()])).count_ones(), 1);
        // Unused names make room for new ones; 64 at once is the end.
        let others: Vec<_> = (0..60).map(|number| format!("n{number}")).collect();
        let (bits, _) = number(&db, &root, 1, "", &set(&others)).unwrap();
        assert_eq!(bits.count_ones(), 60);
        let many: Vec<_> = (0..65).map(|number| format!("m{number}")).collect();
        assert!(number(&db, &root, 1, "", &set(&many)).is_err());
    }
}
