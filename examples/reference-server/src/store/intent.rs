//! Several files at once, or none: what a change is about to add is written down before.
//!
//! One file comes into a mailbox by one renaming, which happens or not. A call that adds several (MULTIAPPEND, COPY) or
//! takes some away for others (REPLACE, stamps within messages) could be cut off in the middle by a kill. So it first declares what it is going
//! to do, in a commit of its own, and fulfils that in the transaction that does it. Declarations whose change never
//! came to its end are found by the next transaction, of whatever process, before it looks at any directory: it removes
//! the files that are there already and puts back those that were taken away.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::commit::{Durability, Txn};
use super::fault::{Done, is_missing};
use super::file_name;
use super::folder::Place;
use super::index::Index;
use super::{MaildirStore, lock, table};

/// What a change is going to do to a mailbox.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Bases of the files that it adds.
    pub(super) adds: Vec<String>,
    /// The names in `tmp/` of files that it takes away; see [`taken_name`].
    pub(super) takes: Vec<String>,
}

/// A declaration; while this lives, the change may still come.
pub(super) struct Intent {
    index: Arc<Index>,
    id: i64,
}

impl Drop for Intent {
    fn drop(&mut self) {
        lock(&self.index.intents).remove(&self.id);
    }
}

impl Intent {
    /// Declares a plan, durably.
    pub(super) async fn declare(
        store: &Arc<MaildirStore>,
        index: &Arc<Index>,
        mailbox: i64,
        plan: Plan,
    ) -> pillarbox_proto_core::backend::Result<Self> {
        let id = (super::random_number() >> 1).cast_signed();
        lock(&index.intents).insert(id);
        let intent = Self { index: Arc::clone(index), id };
        store
            .change_in(index, Durability::Lasting, move |txn| {
                let mut insert =
                    txn.db.prepare_cached("INSERT INTO intent (id, mailbox, adds, takes) VALUES (?1, ?2, ?3, ?4)")?;
                for base in plan.adds {
                    insert.execute(params![id, mailbox, base, None::<String>])?;
                }
                for taken in plan.takes {
                    insert.execute(params![id, mailbox, None::<String>, taken])?;
                }
                Ok(())
            })
            .await?;
        Ok(intent)
    }

    /// In the transaction that does it: the declaration ends with its commit. False if another process has taken this
    /// change for dead, so that it must be declared again.
    pub(super) fn fulfil(&self, db: &Connection) -> Done<bool> {
        Ok(db.prepare_cached("DELETE FROM intent WHERE id = ?1")?.execute([self.id])? > 0)
    }
}

/// The longest name of a file that can be told within its name in `tmp/`.
const LONGEST: usize = 229;

/// The name in `tmp/` that a file has while it is being taken away.
pub(super) fn taken_name(file: &str) -> String {
    let file = if file.len() <= LONGEST { file } else { "" };
    format!("removed.{:016x}.{file}", super::random_number())
}

/// The name that such a file had, or a new one where it could not be told.
fn original_name(host: &str, taken: &str) -> String {
    let file = taken.strip_prefix("removed.").and_then(|rest| rest.split_once('.')).map_or("", |(_, file)| file);
    if file.is_empty() { file_name::new_base(host, None) + ":2," } else { file.to_owned() }
}

/// Takes back what changes that never came to their end have done.
pub(super) fn undo_abandoned(txn: &mut Txn<'_>, index: &Index) -> Done<()> {
    let mut abandoned: HashMap<i64, (Vec<String>, Vec<String>)> = HashMap::new();
    let mut ids = HashSet::new();
    {
        let mut statement = txn.db.prepare_cached("SELECT id, mailbox, adds, takes FROM intent")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if lock(&index.intents).contains(&id) {
                continue;
            }
            ids.insert(id);
            let (adds, takes) = abandoned.entry(row.get(1)?).or_default();
            adds.extend(row.get::<_, Option<String>>(2)?);
            takes.extend(row.get::<_, Option<String>>(3)?);
        }
    }
    for (mailbox, (adds, takes)) in abandoned {
        let Some(row) = table::mailbox(txn.db, mailbox)? else { continue };
        let folder = match txn.folder(&row.folder) {
            Ok(folder) => folder,
            Err(fault) if fault.is_missing() => continue,
            Err(fault) => return Err(fault),
        };
        let adds: HashSet<String> = adds.into_iter().collect();
        for entry in folder.dir(Place::Cur).entries()? {
            let Ok(file) = entry?.file_name().into_string() else { continue };
            if adds.contains(file_name::split(&file).0) {
                folder.dir(Place::Cur).remove_file(&file)?;
            }
        }
        for taken in takes {
            let file = original_name(txn.store.host(), &taken);
            match folder.dir(Place::Tmp).rename(&taken, folder.dir(Place::Cur), file) {
                Err(error) if !is_missing(&error) => return Err(error.into()),
                _ => {}
            }
        }
        txn.sync(&row.folder, Place::Cur);
    }
    for id in ids {
        txn.db.prepare_cached("DELETE FROM intent WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}
