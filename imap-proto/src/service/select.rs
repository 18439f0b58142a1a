//! SELECT and EXAMINE (RFC 9051, sections 6.3.2 and 6.3.3).

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pillarbox_proto_core::backend::{Access, Mailbox, MailboxId, OpenRequest, Snapshot};
use pillarbox_proto_core::mail::{MailboxName, ModSeq, UidSet};

use super::Context;
use super::completion::Completion;
use super::reply::Reply;
use crate::wire::encode::Code;

/// The selected mailbox, as commands use it. It stays the same mailbox when it is renamed.
pub(crate) struct SelectedMailbox {
    pub(crate) mailbox: Arc<dyn Mailbox>,
    pub(crate) id: MailboxId,
    pub(crate) claim_recent: bool,
    name: Mutex<MailboxName>,
    writable: AtomicBool,
    /// The state up to which changes have been taken.
    since: AtomicU64,
    _lease: Option<Box<dyn Any + Send + Sync>>,
}

impl SelectedMailbox {
    pub(crate) fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }

    pub(crate) fn set_writable(&self, writable: bool) {
        self.writable.store(writable, Ordering::Relaxed);
    }

    pub(crate) fn since(&self) -> ModSeq {
        ModSeq::new(self.since.load(Ordering::Relaxed))
    }

    pub(crate) fn set_since(&self, since: ModSeq) {
        self.since.store(since.get(), Ordering::Relaxed);
    }

    pub(crate) fn name(&self) -> MailboxName {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_name(&self, name: MailboxName) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }
}

impl fmt::Debug for SelectedMailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectedMailbox").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A mailbox that has been opened, on its way to the session.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) selected: Arc<SelectedMailbox>,
    pub(crate) snapshot: Snapshot,
    pub(crate) recent: UidSet,
}

/// Opens a mailbox. The session has closed the one that was selected before.
pub(crate) async fn select(context: Context, name: MailboxName, examine: bool) -> Completion {
    let request = if examine { OpenRequest::examine(name.clone()) } else { OpenRequest::select(name.clone()) };
    let opened = match context.account.open(request).await {
        Ok(opened) => opened,
        Err(error) => return error.into(),
    };
    let writable = !examine && opened.access == Access::ReadWrite;
    let selected = SelectedMailbox {
        mailbox: opened.mailbox,
        id: opened.snapshot.id.clone(),
        claim_recent: !examine,
        name: Mutex::new(name),
        writable: AtomicBool::new(writable),
        since: AtomicU64::new(opened.snapshot.modseq.get()),
        _lease: opened.lease,
    };
    let opening = Opening { selected: Arc::new(selected), snapshot: opened.snapshot, recent: opened.recent };
    context.port.emit(Reply::Opened(Box::new(opening))).await;
    context.port.settle().await;
    let code = if writable { Code::ReadWrite } else { Code::ReadOnly };
    Completion::ok(if examine { "EXAMINE completed" } else { "SELECT completed" }).with(code)
}
