//! Mailboxes as folders: finding, making, deleting and renaming them.
//!
//! A folder is made whole under a hidden name and then renamed into place, and deleted by renaming it to a hidden name
//! first, so no half mailbox is ever seen. Names that start with two dots are never mailboxes.
//!
//! A RENAME moves one folder for each mailbox below the old name. It is written down in the index before, and finished
//! by the next one who opens the account if this process dies meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, MetadataExt};
use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::mail::{MailboxName, SpecialUse};
use rusqlite::params;

use super::commit::Txn;
use super::fault::{Done, is_missing};
use super::folder::{self, Place, make_places, make_private_dir, read_small_file, replace_file, sync_dir};
use super::name_codec::{DELIMITER, folder_of, name_of};
use super::table::{self, MailboxRow, Subset};
use super::{MaildirStore, transfer, uid_validity};

/// What folders of mailboxes in the making or on their way out are called at first.
const HIDDEN: &str = "..pillarbox-";
/// Marks a folder of a Maildir++.
const MARK: &str = "maildirfolder";
/// Special uses of the mailbox, one a line.
const SPECIAL_USE: &str = "pillarbox-special-use";
/// What in `tmp/` nobody has touched for so long is left over (the Maildir convention's 36 hours).
const STALE: Duration = Duration::from_secs(36 * 3600);

/// Brings the index's list of mailboxes in line with the folders.
pub(super) fn reconcile(txn: &mut Txn<'_>) -> Done<()> {
    let folders = folders_on_disk(txn.store.root())?;
    let known = table::mailboxes(txn.db)?;
    for row in &known {
        if !folders.contains(&row.folder) {
            table::delete_mailbox(txn.db, row.id)?;
            txn.touch(row.id);
        }
    }
    let known: BTreeSet<_> = known.into_iter().map(|row| row.folder).collect();
    let new: Vec<_> = folders.iter().filter(|folder| !known.contains(*folder)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let values = uid_validity::issue(txn.store.root(), txn.db, u32::try_from(new.len()).unwrap_or(u32::MAX))?;
    for (folder, value) in new.into_iter().zip(values) {
        let Some(name) = name_of(folder) else { continue };
        if table::mailbox_named(txn.db, &name)?.is_some() {
            tracing::warn!(%name, folder, "two folders have the same mailbox name; this one is not shown");
            continue;
        }
        let special_use = read_special_use(txn.store.root(), folder)?;
        table::insert_mailbox(txn.db, folder, &name, value, &special_use)?;
    }
    Ok(())
}

/// Whether the index's list of mailboxes is not that of the folders.
pub(super) fn differ(store: &MaildirStore, known: &[MailboxRow]) -> Done<bool> {
    let folders = folders_on_disk(store.root())?;
    Ok(known.len() != folders.len() || known.iter().any(|row| !folders.contains(&row.folder)))
}

fn folders_on_disk(root: &Dir) -> Done<BTreeSet<String>> {
    let mut folders = BTreeSet::from([String::new()]);
    for entry in root.entries()? {
        let entry = entry?;
        let Ok(folder) = entry.file_name().into_string() else { continue };
        if !folder.starts_with('.') || name_of(&folder).is_none() || !entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            continue;
        }
        if Place::ALL.into_iter().any(|place| root.is_dir(folder::path(&folder, place)))
            || root.exists(format!("{folder}/{MARK}"))
        {
            folders.insert(folder);
        }
    }
    Ok(folders)
}

/// The row of a mailbox of this name, on a thread that may block.
pub(super) fn resolve(store: &Arc<MaildirStore>, name: &MailboxName) -> Done<MailboxRow> {
    let index = store.index();
    let known = store.read(&index, |db| table::mailbox_named(db, name))?;
    if let Some(row) = known
        && folder::is_whole(store.root(), &row.folder)
    {
        return Ok(row);
    }
    // Perhaps another program made it, or one of its directories is missing.
    let name = name.clone();
    store.change_blocking(super::Durability::Lasting, move |txn| {
        reconcile(txn)?;
        let row = table::mailbox_named(txn.db, &name)?.ok_or(Error::NoSuchMailbox)?;
        make_places(txn.store.root(), &row.folder)?;
        Ok(row)
    })
}

/// Makes a mailbox.
pub(super) fn create(txn: &mut Txn<'_>, name: &MailboxName, special_use: &[SpecialUse]) -> Done<i64> {
    let folder = folder_of(name)?;
    reconcile(txn)?;
    if folder.is_empty() || table::mailbox_named(txn.db, name)?.is_some() || txn.store.root().is_dir(&folder) {
        return Err(Error::AlreadyExists.into());
    }
    let uses: String = special_use.iter().map(|usage| format!("{usage}\n")).collect();
    let hidden = format!("{HIDDEN}new.{:016x}", super::random_number());
    let root = txn.store.root();
    make_private_dir(root, &hidden)?;
    let store = Arc::clone(txn.store);
    let remove = hidden.clone();
    txn.on_failure(move || drop(store.root().remove_dir_all(&remove)));
    let root = txn.store.root();
    make_places(root, &hidden)?;
    root.open_with(format!("{hidden}/{MARK}"), &folder::new_file())?.sync_all()?;
    if !uses.is_empty() {
        replace_file(root, &hidden, SPECIAL_USE, uses.as_bytes())?;
    }
    sync_dir(root, &hidden)?;
    root.rename(&hidden, root, &folder)?;
    let (store, made) = (Arc::clone(txn.store), folder.clone());
    txn.on_failure(move || drop(store.root().rename(&made, store.root(), &hidden)));
    txn.sync_path("");
    let value = uid_validity::issue(txn.store.root(), txn.db, 1)?.pop().ok_or(Error::Unavailable(None))?;
    table::insert_mailbox(txn.db, &folder, name, value, &uses)
}

/// Deletes a mailbox with its messages.
pub(super) fn delete(txn: &mut Txn<'_>, name: &MailboxName) -> Done<()> {
    if name.is_inbox() {
        return Err(Error::Cannot("INBOX can't be deleted".into()).into());
    }
    reconcile(txn)?;
    let row = table::mailbox_named(txn.db, name)?.ok_or(Error::NoSuchMailbox)?;
    let hidden = format!("{HIDDEN}old.{:016x}", super::random_number());
    let root = txn.store.root();
    root.rename(&row.folder, root, &hidden)?;
    txn.forget_folders();
    let (store, from, to) = (Arc::clone(txn.store), row.folder.clone(), hidden.clone());
    txn.on_failure(move || drop(store.root().rename(&to, store.root(), &from)));
    txn.sync_path("");
    table::delete_mailbox(txn.db, row.id)?;
    txn.touch(row.id);
    let store = Arc::clone(txn.store);
    txn.afterwards(move || {
        store.watcher.forget(&store, row.id);
        if let Err(error) = store.root().remove_dir_all(&hidden) {
            tracing::warn!(%error, "a deleted mailbox's files are left over");
        }
    });
    Ok(())
}

/// Renames that are to be made: old and new folder, and the mailbox with its new name.
type Renames = Vec<(String, String, i64, MailboxName)>;

/// Works out what a RENAME has to do, and writes it down.
///
/// # Errors
///
/// [`Error::NoSuchMailbox`], [`Error::AlreadyExists`], [`Error::Cannot`] for names that no folder can have.
pub(super) fn plan_rename(txn: &mut Txn<'_>, from: &MailboxName, to: &MailboxName) -> Done<()> {
    if to.is_inbox() || to == from {
        return Err(Error::AlreadyExists.into());
    }
    if to.is_inferior_to(from, DELIMITER) && !from.is_inbox() {
        return Err(Error::Cannot("a mailbox can't be moved below itself".into()).into());
    }
    reconcile(txn)?;
    let rows = table::mailboxes(txn.db)?;
    let mut plan = Vec::new();
    for row in &rows {
        let moved = row.name.replace_prefix(from, to, DELIMITER);
        let moved = moved.map_err(|_| Error::Cannot("the new name of a mailbox is too long".into()))?;
        if let Some(name) = moved {
            plan.push((row.folder.clone(), folder_of(&name)?, row.id, name));
        }
    }
    // A name that only holds children can be renamed too.
    if plan.is_empty() {
        return Err(Error::NoSuchMailbox.into());
    }
    let leaving: BTreeSet<_> = plan.iter().map(|(old, ..)| old.as_str()).collect();
    let taken = |name: &MailboxName| rows.iter().any(|row| row.name == *name && !leaving.contains(row.folder.as_str()));
    if taken(to)
        || plan.iter().any(|(.., name)| taken(name))
        || leaving.iter().any(|old| plan.iter().any(|p| p.1 == *old))
    {
        return Err(Error::AlreadyExists.into());
    }
    for (old, new, ..) in &plan {
        txn.db
            .prepare_cached("INSERT OR REPLACE INTO renaming (old, new) VALUES (?1, ?2)")?
            .execute(params![old, new])?;
    }
    Ok(())
}

/// Makes the renames that are written down, be it by this process or by one that died.
pub(super) fn finish_renames(txn: &mut Txn<'_>) -> Done<()> {
    let plan: Vec<(String, String)> = {
        let mut statement = txn.db.prepare_cached("SELECT old, new FROM renaming")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?
    };
    if plan.is_empty() {
        return Ok(());
    }
    let by_folder: BTreeMap<_, _> =
        table::mailboxes(txn.db)?.into_iter().map(|row| (row.folder.clone(), row)).collect();
    let mut done: Renames = Vec::new();
    for (old, new) in plan {
        let Some(name) = name_of(&new) else { continue };
        let root = txn.store.root();
        // Whoever died may have come that far.
        if root.is_dir(&old) && !root.is_dir(&new) {
            root.rename(&old, root, &new)?;
            let (store, from, to) = (Arc::clone(txn.store), old.clone(), new.clone());
            txn.on_failure(move || drop(store.root().rename(&to, store.root(), &from)));
        }
        if let Some(row) = by_folder.get(&old) {
            done.push((old, new, row.id, name));
        }
    }
    txn.forget_folders();
    txn.sync_path("");
    for (_, new, id, name) in done {
        // The mod-sequence moves so that sessions look up.
        txn.db
            .prepare_cached("UPDATE mailbox SET folder = ?2, name = ?3, modseq = modseq + 1 WHERE id = ?1")?
            .execute(params![id, new, name.as_str()])?;
        txn.touch(id);
        let store = Arc::clone(txn.store);
        txn.afterwards(move || store.watcher.follow(&store, id));
    }
    txn.db.execute("DELETE FROM renaming", [])?;
    Ok(())
}

/// Renames INBOX: its messages move to a new mailbox, INBOX stays (RFC 9051, section 6.3.6).
pub(super) fn rename_inbox(txn: &mut Txn<'_>, to: &MailboxName) -> Done<()> {
    let target = create(txn, to, &[])?;
    let inbox = table::mailbox_named(txn.db, &MailboxName::inbox())?.ok_or(Error::NoSuchMailbox)?;
    let uids = table::uids(txn.db, inbox.id, Subset::All)?;
    transfer::move_messages(txn, inbox.id, target, &uids)?;
    Ok(())
}

/// The special uses that a mailbox's row tells.
pub(super) fn special_uses(text: &str) -> Vec<SpecialUse> {
    text.lines().filter_map(|line| SpecialUse::parse(line.trim().as_bytes())).collect()
}

fn read_special_use(root: &Dir, folder: &str) -> Done<String> {
    let path = if folder.is_empty() { SPECIAL_USE.to_owned() } else { format!("{folder}/{SPECIAL_USE}") };
    Ok(read_small_file(root, &path, 4096)?.unwrap_or_default())
}

/// Removes what processes that died left over: hidden folders and files in `tmp/` that nobody has touched for long.
pub(super) fn sweep(store: &Arc<MaildirStore>) {
    let root = store.root();
    let Ok(entries) = root.entries() else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with(HIDDEN) && is_stale(root, &name) {
            let _ = root.remove_dir_all(&name);
        }
    }
    let Ok(folders) = folders_on_disk(root) else { return };
    for folder in folders {
        let Ok(tmp) = root.open_dir(folder::path(&folder, Place::Tmp)) else { continue };
        let Ok(entries) = tmp.entries() else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if entry.file_type().is_ok_and(|kind| kind.is_file())
                && is_stale(&tmp, &name)
                && let Err(error) = tmp.remove_file(&name)
                && !is_missing(&error)
            {
                tracing::warn!(%error, "a stale file in tmp/ can't be removed");
            }
        }
    }
}

/// A removed message keeps its old date, so the time of its renaming counts too.
fn is_stale(dir: &Dir, name: impl AsRef<std::path::Path>) -> bool {
    let Ok(metadata) = dir.symlink_metadata(name) else { return false };
    let touched = metadata.mtime().max(metadata.ctime());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(touched).is_ok_and(|touched| touched + STALE.as_secs() < now.as_secs())
}
