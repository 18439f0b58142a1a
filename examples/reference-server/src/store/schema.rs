//! The tables of the index.
//!
//! `message` is clustered by mailbox and UID, so that a fetch reads it in order; partial indexes answer "first unseen",
//! "recent" and "deleted" without a walk. An index of the version before gets the tables that it lacks; one of a
//! newer version is left alone, and its account is not opened: what it holds is for a newer program.

use rusqlite::{Connection, ErrorCode, OptionalExtension, ffi};

use super::fault::{Done, Fault};

/// Raised with each change of the layout.
const VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE mailbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The folder on the disk, '' for INBOX.
    folder TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    uid_validity INTEGER NOT NULL,
    uid_next INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    -- Removals up to this mod-sequence are no longer remembered.
    forgotten INTEGER NOT NULL,
    -- How many removals are remembered.
    history INTEGER NOT NULL,
    -- When new/ and cur/ changed last, in nanoseconds, as far as the index follows them; -1 for never looked at.
    new_time INTEGER NOT NULL,
    cur_time INTEGER NOT NULL,
    -- Whether nothing can have changed within the granularity of those times.
    settled INTEGER NOT NULL,
    special_use TEXT NOT NULL
);

CREATE TABLE keyword (
    mailbox INTEGER NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (mailbox, number)
) WITHOUT ROWID;

CREATE TABLE message (
    mailbox INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    -- The mod-sequence of its arrival, and of its last change.
    added INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    keywords INTEGER NOT NULL,
    recent INTEGER NOT NULL,
    -- Whether the file is in new/.
    fresh INTEGER NOT NULL,
    -- Internal date: seconds since 1970, and minutes east of UTC.
    date INTEGER NOT NULL,
    zone INTEGER NOT NULL,
    -- The file's size, the message's size with CRLF line ends if known, and how one becomes the other.
    bytes INTEGER NOT NULL,
    size INTEGER,
    format INTEGER NOT NULL,
    base TEXT NOT NULL,
    info TEXT NOT NULL,
    PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;
CREATE UNIQUE INDEX message_base ON message (mailbox, base);
CREATE INDEX message_modseq ON message (mailbox, modseq);
CREATE INDEX message_added ON message (mailbox, added);
CREATE INDEX message_unseen ON message (mailbox, uid) WHERE flags & 8 = 0;
CREATE INDEX message_deleted ON message (mailbox, uid) WHERE flags & 4 <> 0;
CREATE INDEX message_recent ON message (mailbox, uid) WHERE recent = 1;
CREATE INDEX message_fresh ON message (mailbox, uid) WHERE fresh = 1;

CREATE TABLE expunged (
    mailbox INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    PRIMARY KEY (mailbox, modseq)
) WITHOUT ROWID;

CREATE TABLE summary (
    mailbox INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (mailbox, uid)
);

-- What changes of several files are about to do: names of files to be added, and of one that is taken away.
CREATE TABLE intent (
    id INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    adds TEXT,
    takes TEXT
);

-- RENAMEs of folders that were begun: finished by whoever opens the index next.
CREATE TABLE renaming (
    old TEXT PRIMARY KEY,
    new TEXT NOT NULL
) WITHOUT ROWID;
";

/// What version 2 added.
const TABLES_2: &str = "
-- When a message was first retrieved over POP3, in seconds since 1970, where such stamps are kept here.
CREATE TABLE stamp (
    mailbox INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;

-- What the header field of such a stamp says, in messages that were looked at; NULL where there is none.
CREATE TABLE stamp_field (
    mailbox INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    value TEXT,
    PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;
CREATE INDEX stamp_field_set ON stamp_field (mailbox, uid) WHERE value IS NOT NULL;

-- Bulletins that are delivered, and may not be counted in the user's number yet.
CREATE TABLE bulletin (number INTEGER PRIMARY KEY);
";

/// What a loss of power may take from flags that were not synced, in mod-sequences.
const LEAP: i64 = 1 << 20;

/// After a start of the machine, mod-sequences leap: some that were told may have been lost with the power, and must
/// not name other changes now.
pub(super) fn leap_after_boot(connection: &Connection) -> Done<()> {
    let Ok(boot) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else { return Ok(()) };
    let boot = boot.trim();
    let known = connection.query_row("SELECT value FROM meta WHERE key = 'boot'", [], |row| row.get(0)).optional()?;
    if known.is_none_or(|known: String| known != boot) {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        connection.execute("UPDATE mailbox SET modseq = modseq + ?1", [LEAP])?;
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('boot', ?1)", [boot])?;
        connection.execute_batch("COMMIT")?;
    }
    Ok(())
}

/// Makes the tables in a new index, or those that an older one lacks; refuses one of a newer version, and takes anything
/// else for damaged.
pub(super) fn ensure(connection: &Connection) -> Done<()> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == VERSION {
        return Ok(());
    }
    if version == 1 {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES_2} PRAGMA user_version = {VERSION}; COMMIT"))?;
        return Ok(());
    }
    if version > VERSION {
        return Err(Fault::Other(format!(
            "the index has version {version}, and this program knows versions up to {VERSION}: run a newer program, or take \
             the folder pillarbox out of the Maildir to have the index built anew, with new UIDs"
        )));
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if version != 0 || tables != 0 {
        let code = ffi::Error { code: ErrorCode::NotADatabase, extended_code: ffi::SQLITE_NOTADB };
        return Err(Fault::Index(rusqlite::Error::SqliteFailure(code, Some("an index of another version".to_owned()))));
    }
    let token = format!("{:016x}{:016x}", super::random_number(), super::random_number());
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(TABLES)?;
    connection.execute_batch(TABLES_2)?;
    connection.execute("INSERT INTO meta (key, value) VALUES ('token', ?1)", [token])?;
    connection.execute_batch(&format!("PRAGMA user_version = {VERSION}; COMMIT"))?;
    Ok(())
}
