//! Commands at work: each is one `'static` future that owns what it needs of the account and the mailbox, and talks to
//! its session through a [`Port`](port::Port) alone.
//!
//! Commands think in UIDs. The session has resolved sequence numbers before a command starts, and turns UIDs into
//! numbers when its replies are written.

pub(crate) mod append;
pub(crate) mod completion;
pub(crate) mod copy;
pub(crate) mod expunge;
pub(crate) mod fetch;
pub(crate) mod idle;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod mailboxes;
pub(crate) mod port;
pub(crate) mod reply;
mod report;
pub(crate) mod search;
pub(crate) mod select;
pub(crate) mod source;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod sync;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use pillarbox_proto_core::backend::Account;

use crate::config::Config;
use completion::Completion;
use port::Port;

/// A command at work; it ends in the tagged response.
pub(crate) type CommandFuture = Pin<Box<dyn Future<Output = Completion> + Send>>;

/// What every command of a logged-in client may use.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) port: Port,
    pub(crate) account: Arc<dyn Account>,
    pub(crate) config: Arc<Config>,
    /// The client has enabled IMAP4rev2.
    pub(crate) rev2: bool,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("rev2", &self.rev2).finish_non_exhaustive()
    }
}

/// Messages that one change of flags, move or removal is handed at a time, so that a huge set neither holds a store's
/// lock for long nor delays the others of the task.
pub(crate) const SLICE: u32 = 1000;

/// Cuts a set of UIDs into slices of at most [`SLICE`] messages.
pub(crate) fn slices(
    mut uids: pillarbox_proto_core::mail::UidSet,
) -> impl Iterator<Item = pillarbox_proto_core::mail::UidSet> + Send {
    use pillarbox_proto_core::mail::UidSet;
    std::iter::from_fn(move || {
        if uids.is_empty() {
            return None;
        }
        match uids.nth(SLICE) {
            None => Some(std::mem::take(&mut uids)),
            Some(next) => {
                let mut slice = std::mem::take(&mut uids);
                let mut rest: UidSet = slice.clone();
                rest.retain_from(next);
                slice.difference_with(&rest);
                uids = rest;
                Some(slice)
            }
        }
    })
}
