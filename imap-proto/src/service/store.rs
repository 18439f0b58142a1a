//! STORE (RFC 9051, section 6.4.6).

use std::sync::Arc;

use pillarbox_proto_core::backend::{StoreOp, StoreRequest};
use pillarbox_proto_core::mail::{Flags, UidSet};

use super::Context;
use super::completion::Completion;
use super::reply::Reply;
use super::select::SelectedMailbox;
use super::slices;
use super::sync::sync;
use crate::wire::encode::Code;

/// A STORE whose messages have been resolved.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) uids: UidSet,
    pub(crate) op: StoreOp,
    pub(crate) flags: Flags,
    pub(crate) silent: bool,
    /// The client named UIDs.
    pub(crate) uid: bool,
}

/// Changes flags, a slice of messages at a time.
pub(crate) async fn store(context: Context, selected: Arc<SelectedMailbox>, plan: Plan) -> Completion {
    let Plan { uids, op, flags, silent, uid } = plan;
    if silent {
        // What others have changed so far is told first: afterwards it could not be told from what this client knows
        // without being told.
        sync(&context.port, &selected).await;
    }
    let mut gone = false;
    for slice in slices(uids) {
        let stored = match selected.mailbox.store(StoreRequest::new(slice, op, flags.clone())).await {
            Ok(stored) => stored,
            Err(error) => return error.into(),
        };
        gone |= !stored.gone.is_empty();
        context.port.emit(Reply::Stored { rows: stored.rows, uid, silent }).await;
    }
    context.port.settle().await;
    // RFC 2180, section 4.2: the other messages have been changed, and the client is told that some were not there.
    if gone && !uid {
        return Completion::no("Some of the messages have been expunged").with(Code::ExpungeIssued);
    }
    Completion::ok("STORE completed")
}
