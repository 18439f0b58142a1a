//! Bringing mail in: from an mbox file, a Maildir, a folder of `.eml` files, or one such file.
//!
//! Everything goes through [`Account`], so that any store can be filled. Messages arrive octet for octet, but for their
//! line ends: a bare LF becomes CRLF, as mail has it on the wire. Flags, keywords and dates are kept where the source has
//! them. Nothing is ever changed or removed in the source.

mod folder;
mod mbox;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use pillarbox_proto_core::backend::{
    Account, Append, AppendMessage, AppendRequest, CommitOptions, CreateRequest, Error,
};
use pillarbox_proto_core::mail::{DateTime, Flags, MailboxName};

use crate::exit::{Failure, Result, Status};

/// Messages that are added in one step.
const BATCH: usize = 256;
/// Octets that are added in one step.
const BATCH_OCTETS: u64 = 16 << 20;
/// Octets that are handed to the store at a time.
const CHUNK: usize = 64 << 10;

/// A message that was found.
struct Found {
    /// The levels below the mailbox that was asked for.
    folder: Vec<String>,
    flags: Flags,
    date: Option<DateTime>,
    body: Body,
}

enum Body {
    /// In the form of the wire.
    Octets(Bytes),
    /// Left out, as it is larger than a message may be.
    TooLarge,
}

/// Where messages come from.
enum Source {
    Mbox(mbox::Mbox),
    Files(folder::Files),
}

/// An import that is about to begin.
pub struct Import {
    source: Source,
    limit: u64,
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages that have been added for good.
    pub added: u64,
    /// Messages that were left out because they are too large.
    pub skipped: u64,
    /// What has been read, in the unit of [`Import::total`].
    pub done: u64,
}

impl Import {
    /// Looks at a path and finds out what it is. Messages of more than `limit` octets will be left out.
    ///
    /// # Errors
    ///
    /// [`Status::NoInput`] when it can't be read, [`Status::DataError`] when it is none of what can be imported.
    pub fn open(path: &Path, limit: u64) -> Result<Self> {
        let unreadable = |error: &io::Error| Failure::io(Status::NoInput, path.display(), error);
        let data = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        let source = if data.is_dir() {
            let files = folder::Files::open(path).map_err(|error| unreadable(&error))?;
            if files.is_empty_folder() {
                let text = format_args!("{}: neither a Maildir nor a folder with .eml files", path.display());
                return Err(Failure::new(Status::DataError, text));
            }
            Source::Files(files)
        } else if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("eml")) {
            Source::Files(folder::Files::single(path))
        } else {
            match mbox::Mbox::open(path).map_err(|error| unreadable(&error))? {
                Some(mbox) => Source::Mbox(mbox),
                None => {
                    let text = format_args!("{}: not an mbox file: it does not begin with \"From \"", path.display());
                    return Err(Failure::new(Status::DataError, text));
                }
            }
        };
        Ok(Self { source, limit })
    }

    /// How much there is to read: octets of an mbox file, else messages.
    #[must_use]
    pub fn total(&self) -> u64 {
        match &self.source {
            Source::Mbox(mbox) => mbox.total(),
            Source::Files(files) => files.total(),
        }
    }

    /// Whether [`total`](Self::total) counts octets.
    #[must_use]
    pub fn counts_octets(&self) -> bool {
        matches!(self.source, Source::Mbox(_))
    }

    /// Adds everything to a mailbox, which is made when it is missing; folders of a Maildir go below it, or beside INBOX.
    /// `progress` is called after every message.
    ///
    /// # Errors
    ///
    /// When the source can't be read on, or the store refuses. What [`Progress::added`] has counted stays.
    pub async fn run(
        mut self,
        account: &dyn Account,
        target: &MailboxName,
        mut progress: impl FnMut(Progress),
    ) -> Result<Progress> {
        let limit = self.limit.min(account.append_limit().unwrap_or(u64::MAX));
        let mut state = Progress::default();
        let mut batch: Option<Batch> = None;
        let outcome = loop {
            let found = match self.source.next(limit) {
                Ok(Some(found)) => found,
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            };
            state.done = self.source.done();
            let Body::Octets(octets) = found.body else {
                state.skipped += 1;
                progress(state);
                continue;
            };
            let name = match mailbox_name(target, &found.folder, account.delimiter()) {
                Ok(name) => name,
                Err(failure) => break Err(failure),
            };
            if batch.as_ref().is_some_and(|batch| batch.is_full() || batch.name != name)
                && let Some(full) = batch.take()
                && let Err(failure) = full.commit(&mut state).await
            {
                break Err(failure);
            }
            let mut current = match batch.take() {
                Some(current) => current,
                None => match Batch::begin(account, name).await {
                    Ok(begun) => begun,
                    Err(failure) => break Err(failure),
                },
            };
            if let Err(failure) = current.add(found.flags, found.date, octets).await {
                break Err(failure);
            }
            batch = Some(current);
            progress(state);
        };
        // What was read before the source failed is good.
        if let Some(last) = batch
            && let Err(failure) = last.commit(&mut state).await
        {
            return Err(outcome.err().unwrap_or(failure).after(state));
        }
        progress(state);
        outcome.map(|()| state).map_err(|failure| failure.after(state))
    }
}

impl Failure {
    fn after(self, state: Progress) -> Self {
        Self::new(self.status, format_args!("{self} (messages imported before that: {})", state.added))
    }
}

impl Source {
    fn next(&mut self, limit: u64) -> Result<Option<Found>> {
        let failed = |path: PathBuf, error: io::Error| Failure::io(Status::IoError, path.display(), &error);
        match self {
            Self::Mbox(mbox) => mbox.next(limit).map_err(|error| failed(mbox.path().to_owned(), error)),
            Self::Files(files) => files.next(limit).map_err(|(path, error)| failed(path, error)),
        }
    }

    fn done(&self) -> u64 {
        match self {
            Self::Mbox(mbox) => mbox.done(),
            Self::Files(files) => files.done(),
        }
    }
}

/// Messages on their way into one mailbox.
struct Batch {
    name: MailboxName,
    append: Box<dyn Append>,
    messages: usize,
    octets: u64,
}

impl Batch {
    async fn begin(account: &dyn Account, name: MailboxName) -> Result<Self> {
        let mut request = AppendRequest::new(name.clone());
        let append = match account.append(request).await {
            Err(Error::NoSuchMailbox) => {
                match account.create(CreateRequest::new(name.clone())).await {
                    // Many programs show only what is subscribed to; it is no loss where that can't be.
                    Ok(_) => drop(account.subscribe(&name, true).await),
                    Err(Error::AlreadyExists) => {}
                    Err(error) => return Err(refused(&name, &error)),
                }
                request = AppendRequest::new(name.clone());
                account.append(request).await
            }
            other => other,
        };
        let append = append.map_err(|error| refused(&name, &error))?;
        Ok(Self { name, append, messages: 0, octets: 0 })
    }

    fn is_full(&self) -> bool {
        self.messages >= BATCH || self.octets >= BATCH_OCTETS
    }

    async fn add(&mut self, flags: Flags, date: Option<DateTime>, mut octets: Bytes) -> Result<()> {
        let mut message = AppendMessage::new(octets.len() as u64, flags, date);
        message.binary = memchr::memchr(0, &octets).is_some();
        self.messages += 1;
        self.octets += octets.len() as u64;
        let refused = |error| refused(&self.name, &error);
        self.append.begin(message).await.map_err(refused)?;
        while !octets.is_empty() {
            let chunk = octets.split_to(octets.len().min(CHUNK));
            self.append.write(chunk).await.map_err(refused)?;
        }
        Ok(())
    }

    async fn commit(self, state: &mut Progress) -> Result<()> {
        let appended = self.append.commit(CommitOptions::default()).await;
        let appended = appended.map_err(|error| refused(&self.name, &error))?;
        state.added += appended.uids.len() as u64;
        Ok(())
    }
}

/// What the store said, with its own error, which clients never see.
pub(crate) fn refused(name: &MailboxName, error: &Error) -> Failure {
    let status = match error {
        Error::NoPermission | Error::ReadOnly => Status::NoPermission,
        Error::OverQuota | Error::TooBig | Error::Limit(_) | Error::Cannot(_) => Status::CantCreate,
        _ => Status::IoError,
    };
    match std::error::Error::source(error) {
        Some(source) => Failure::new(status, format_args!("mailbox {name}: {error}: {source}")),
        None => Failure::new(status, format_args!("mailbox {name}: {error}")),
    }
}

/// The mailbox for a folder of the source.
fn mailbox_name(target: &MailboxName, folder: &[String], delimiter: Option<char>) -> Result<MailboxName> {
    if folder.is_empty() {
        return Ok(target.clone());
    }
    let delimiter = delimiter.map(String::from).unwrap_or_default();
    // A delimiter inside a level would make two levels of it.
    let replaced = |level: &String| if delimiter.is_empty() { level.clone() } else { level.replace(&delimiter, "_") };
    let path = folder.iter().map(replaced).collect::<Vec<_>>().join(&delimiter);
    let name = if target.is_inbox() { path } else { format!("{target}{delimiter}{path}") };
    MailboxName::new(&name)
        .map_err(|error| Failure::new(Status::DataError, format_args!("folder {:?}: {error}", folder.join("."))))
}

/// A message as the wire has it: every LF that has no CR before it gets one.
fn to_wire(mut octets: Vec<u8>) -> Bytes {
    let is_bare = |octets: &[u8], at: usize| at == 0 || octets.get(at - 1) != Some(&b'\r');
    let bare = memchr::memchr_iter(b'\n', &octets).filter(|at| is_bare(&octets, *at)).count();
    if bare == 0 {
        return octets.into();
    }
    let mut wire = Vec::with_capacity(octets.len() + bare);
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', &octets) {
        wire.extend_from_slice(octets.get(from..at).unwrap_or_default());
        wire.extend_from_slice(if is_bare(&octets, at) { b"\r\n" } else { b"\n" });
        from = at + 1;
    }
    wire.extend_from_slice(octets.get(from..).unwrap_or_default());
    octets.clear();
    wire.into()
}

#[cfg(test)]
mod tests;
