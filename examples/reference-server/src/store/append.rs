//! Adding messages: written to `tmp/`, synced, and renamed into `cur/` together with their rows in the index.
//!
//! Octets are stored as they come. They are gathered up to 48 KiB and written by a blocking thread while the next ones
//! come in, so at most twice that is held however large the message; a small message needs no hand-over before the
//! commit. Dropped before that, the drafts in `tmp/` are removed.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_proto_core::backend::{Append, AppendMessage, Appended, CommitOptions, Error, Result};
use pillarbox_proto_core::mail::DateTime;
use tokio::task::JoinHandle;

use super::commit::{Durability, Txn};
use super::fault::{Done, Fault, is_missing};
use super::flagging::current;
use super::folder::{self, Place};
use super::index::Index;
use super::intent::{Intent, Plan, taken_name};
use super::table::{self, Format, MailboxRow, MessageRow, to_uid};
use super::{MaildirStore, blocking, file_name, keywords, removal};

/// Octets that are gathered before they are written.
const GATHER: usize = 48 * 1024;

/// Messages on their way into a mailbox.
pub(super) struct MaildirAppend {
    store: Arc<MaildirStore>,
    index: Arc<Index>,
    mailbox: i64,
    folder: Arc<str>,
    /// Messages that are whole, synced, in `tmp/`.
    done: Vec<Draft>,
    open: Option<Draft>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    /// Octets of the open message so far.
    length: u64,
    /// The open draft while a thread writes to it.
    writing: Option<JoinHandle<Done<Draft>>>,
    failed: bool,
}

/// A message on its way through `tmp/`. What lies there is removed when this is dropped.
pub(super) struct Draft {
    store: Arc<MaildirStore>,
    path: String,
    name: String,
    /// The base of the message, once it is whole.
    pub(super) base: String,
    file: Option<File>,
    about: AppendMessage,
    length: u64,
    /// Its file lies in `tmp/`.
    made: bool,
}

impl Draft {
    pub(super) fn new(store: Arc<MaildirStore>, folder: &str, about: AppendMessage) -> Self {
        let name = file_name::new_base(store.host(), None);
        let path = format!("{}/{name}", folder::path(folder, Place::Tmp));
        Self { store, path, name, base: String::new(), file: None, about, length: 0, made: false }
    }

    /// Writes octets; the first ones make the file.
    pub(super) fn write(&mut self, chunks: &[Bytes]) -> Done<()> {
        if self.file.is_none() {
            let made = self.store.root().open_with(&self.path, &folder::new_file());
            self.file = Some(made.map_err(gone_with_its_folder)?.into_std());
            self.made = true;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut slices: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut slices = slices.as_mut_slice();
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
                Ok(count) => {
                    self.length += count as u64;
                    IoSlice::advance_slices(&mut slices, count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The message is whole: its date is set, and it is synced.
    pub(super) fn finish(&mut self) -> Done<()> {
        self.write(&[])?;
        let Some(file) = self.file.take() else { return Ok(()) };
        // Where the index is lost, the file's time is all that tells the date.
        let now = SystemTime::now();
        file.set_modified(self.about.internal_date.map_or(now, SystemTime::from))?;
        self.about.internal_date.get_or_insert(DateTime::from(now));
        self.base = file_name::new_base(self.store.host(), Some((self.length, self.length)));
        Ok(file.sync_all()?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.made {
            return;
        }
        let (store, path) = (Arc::clone(&self.store), std::mem::take(&mut self.path));
        let remove = move || {
            if let Err(error) = store.root().remove_file(&path)
                && !is_missing(&error)
            {
                tracing::warn!(%error, "a message that was not appended is left in tmp/");
            }
        };
        // A large file takes its time to remove.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

fn gone_with_its_folder(error: std::io::Error) -> Fault {
    if is_missing(&error) { Error::NoSuchMailbox.into() } else { error.into() }
}

impl MaildirAppend {
    pub(super) fn new(store: Arc<MaildirStore>, index: Arc<Index>, mailbox: &MailboxRow) -> Self {
        Self {
            store,
            index,
            mailbox: mailbox.id,
            folder: mailbox.folder.as_str().into(),
            done: Vec::new(),
            open: None,
            gathered: Vec::new(),
            gathered_bytes: 0,
            length: 0,
            writing: None,
            failed: false,
        }
    }

    /// Waits for the thread that writes.
    async fn settle(&mut self) -> Result<()> {
        if let Some(writing) = &mut self.writing {
            let outcome = writing.await;
            self.writing = None;
            match outcome {
                Ok(Ok(draft)) => self.open = Some(draft),
                Ok(Err(fault)) => {
                    self.failed = true;
                    return Err(fault.into());
                }
                Err(_) => {
                    self.failed = true;
                    return Err(Error::unavailable("the store is shutting down"));
                }
            }
        }
        if self.failed { Err(Error::unavailable("the message could not be written")) } else { Ok(()) }
    }

    /// Has a thread write what was gathered, and finish the message if it is whole.
    async fn flush(&mut self, whole: bool) -> Result<()> {
        self.settle().await?;
        let Some(mut draft) = self.open.take() else { return Ok(()) };
        let chunks = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            draft.write(&chunks)?;
            drop(chunks);
            if whole {
                draft.finish()?;
            }
            Ok(draft)
        }));
        Ok(())
    }

    /// The open message, if any, is whole.
    async fn close(&mut self) -> Result<()> {
        if self.open.is_none() && self.writing.is_none() {
            return self.settle().await;
        }
        self.flush(true).await?;
        self.settle().await?;
        self.done.extend(self.open.take());
        Ok(())
    }

    /// A message that is to be replaced, with the name that its file gets meanwhile.
    async fn taken(&self, uid: u32) -> Result<(u32, String)> {
        let (store, index, mailbox) = (Arc::clone(&self.store), Arc::clone(&self.index), self.mailbox);
        blocking(move || {
            let message = store.read(&index, |db| table::message(db, mailbox, uid))?.ok_or(Error::Expunged)?;
            Ok((uid, taken_name(&message.file())))
        })
        .await
    }

    fn check_size(&self, size: u64) -> Result<()> {
        match self.store.options.append_limit {
            Some(limit) if size > limit => Err(Error::TooBig),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Append for MaildirAppend {
    async fn begin(&mut self, message: AppendMessage) -> Result<()> {
        self.close().await?;
        self.check_size(message.size)?;
        self.length = 0;
        self.open = Some(Draft::new(Arc::clone(&self.store), &self.folder, message));
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.length += chunk.len() as u64;
        // The claimed size binds nobody.
        self.check_size(self.length)?;
        if chunk.is_empty() {
            return Ok(());
        }
        self.gathered_bytes += chunk.len();
        self.gathered.push(chunk);
        if self.gathered_bytes >= GATHER { self.flush(false).await } else { Ok(()) }
    }

    async fn commit(mut self: Box<Self>, options: CommitOptions) -> Result<Appended> {
        // From here on it runs to its end, whoever waits for it.
        let (store, index, mailbox) = (Arc::clone(&self.store), Arc::clone(&self.index), self.mailbox);
        self.close().await?;
        let drafts = std::mem::take(&mut self.done);
        let replace = match options.replace {
            Some(uid) => Some(self.taken(uid.get()).await?),
            None => None,
        };
        let mut job = Addition { mailbox, drafts, replace, intent: None };
        // One message comes by one renaming; more, or one for another, are declared.
        if job.drafts.len() <= 1 && job.replace.is_none() {
            return added(store.change_in(&index, Durability::Lasting, move |txn| job.run(txn)).await?);
        }
        loop {
            let adds = job.drafts.iter().map(|draft| draft.base.clone()).collect();
            let plan = Plan { adds, takes: job.replace.iter().map(|(_, taken)| taken.clone()).collect() };
            job.intent = Some(Intent::declare(&store, &index, mailbox, plan).await?);
            match store.change_in(&index, Durability::Lasting, move |txn| job.run(txn)).await? {
                Outcome::Added(appended) => return Ok(appended),
                Outcome::Again(again) => job = again,
            }
        }
    }
}

/// The messages of one commit.
struct Addition {
    mailbox: i64,
    drafts: Vec<Draft>,
    /// The message to be replaced, and what its file is called while it is taken away.
    replace: Option<(u32, String)>,
    intent: Option<Intent>,
}

enum Outcome {
    Added(Appended),
    /// Another process took the declaration for abandoned.
    Again(Addition),
}

fn added(outcome: Outcome) -> Result<Appended> {
    match outcome {
        Outcome::Added(appended) => Ok(appended),
        Outcome::Again(_) => Err(Error::Unavailable(None)),
    }
}

impl Addition {
    fn run(self, txn: &mut Txn<'_>) -> Done<Outcome> {
        if let Some(intent) = &self.intent
            && !intent.fulfil(txn.db)?
        {
            return Ok(Outcome::Again(self));
        }
        add(txn, self.mailbox, self.drafts, self.replace).map(Outcome::Added)
    }
}

/// Adds messages that are whole to a mailbox, in the place of one perhaps.
pub(super) fn add(
    txn: &mut Txn<'_>,
    mailbox: i64,
    drafts: Vec<Draft>,
    replace: Option<(u32, String)>,
) -> Done<Appended> {
    let mut mailbox = txn.mailbox(mailbox).map_err(|fault| match fault {
        Fault::Answer(Error::MailboxGone) => Error::NoSuchMailbox.into(),
        fault => fault,
    })?;
    let open = txn.folder(&mailbox.folder)?;
    let mut uids = Vec::with_capacity(drafts.len());
    for mut draft in drafts {
        let names = &draft.about.flags.keywords;
        let (keywords, _) = keywords::number(txn.db, txn.store.root(), mailbox.id, &mailbox.folder, names)?;
        let date = draft.about.internal_date.unwrap_or_else(|| DateTime::from(SystemTime::now()));
        let flags = draft.about.flags.system;
        let modseq = mailbox.step();
        let row = MessageRow {
            uid: mailbox.take_uid()?,
            added: modseq,
            modseq,
            flags,
            keywords,
            recent: true,
            fresh: false,
            date: date.unix(),
            zone: date.offset_minutes(),
            bytes: draft.length,
            size: Some(draft.length),
            format: Format::Verbatim,
            base: draft.base.clone(),
            info: file_name::info_for("", flags, keywords),
        };
        // The folder may have been renamed since the draft was begun; its files went with it.
        txn.announce(mailbox.id, Place::Cur, &row.file());
        open.dir(Place::Tmp).rename(&draft.name, open.dir(Place::Cur), row.file())?;
        draft.made = false;
        let (undo, file) = (Arc::clone(&open), row.file());
        txn.on_failure(move || drop(undo.dir(Place::Cur).remove_file(&file)));
        table::insert_message(txn.db, mailbox.id, &row)?;
        uids.push(to_uid(row.uid)?);
    }
    if let Some((uid, taken)) = replace {
        let message = table::message(txn.db, mailbox.id, uid)?.ok_or(Error::Expunged)?;
        let message = current(txn, &mut mailbox, message)?.ok_or(Error::Expunged)?;
        removal::remove_as(txn, &mut mailbox, &message, &taken)?;
    }
    mailbox.save(txn.db)?;
    txn.sync(&mailbox.folder, Place::Cur);
    Ok(Appended::new(mailbox.uid_validity, uids, mailbox.modseq()))
}

/// Opens an append to a mailbox of this name.
pub(super) async fn begin(
    store: Arc<MaildirStore>,
    name: pillarbox_proto_core::mail::MailboxName,
) -> Result<Box<dyn Append>> {
    let resolver = Arc::clone(&store);
    let (index, row) = blocking(move || Ok((resolver.index(), super::folders::resolve(&resolver, &name)?))).await?;
    Ok(Box::new(MaildirAppend::new(store, index, &row)))
}
