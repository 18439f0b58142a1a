//! COPY and MOVE (RFC 9051, sections 6.4.7 and 6.4.8).

use std::sync::Arc;

use pillarbox_proto_core::backend::{Copied, CopyRequest, Error};
use pillarbox_proto_core::mail::{MailboxName, UidSet};

use super::Context;
use super::completion::{Completion, OwnedCode};
use super::reply::Reply;
use super::select::SelectedMailbox;
use super::slices;
use crate::wire::encode::Code;

/// A COPY or MOVE whose messages have been resolved.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) uids: UidSet,
    pub(crate) to: MailboxName,
    /// The client named UIDs.
    pub(crate) uid: bool,
}

/// COPYUID, unless nothing was copied: its sets can't be empty (RFC 4315, section 4: `uid-set`).
fn copy_uid(copied: Copied) -> Option<OwnedCode> {
    let Copied { uid_validity, pairs, .. } = copied;
    if pairs.is_empty() { None } else { Some(OwnedCode::CopyUid(uid_validity, pairs)) }
}

/// COPY: all messages or none.
pub(crate) async fn copy(context: Context, selected: Arc<SelectedMailbox>, plan: Plan) -> Completion {
    if plan.uids.is_empty() {
        return Completion::ok("COPY completed, no message matched");
    }
    let wanted = plan.uids.len();
    let request = CopyRequest::new(Arc::clone(&selected.mailbox), selected.id.clone(), plan.uids, plan.to);
    match context.account.copy(request).await {
        Ok(copied) if (copied.pairs.len() as u64) < wanted && !plan.uid => {
            // The copies stand, but the client asked for messages that are gone; it is told both (RFC 2180, 4.4).
            if let Some(code) = copy_uid(copied) {
                context.port.emit(Reply::Ok(code, "Copied what was there")).await;
                context.port.settle().await;
            }
            Completion::no("Some of the messages have been expunged").with(Code::ExpungeIssued)
        }
        Ok(copied) => match copy_uid(copied) {
            Some(code) => Completion::ok("COPY completed").with(code),
            None => Completion::ok("COPY completed, no message matched"),
        },
        Err(Error::Expunged) if plan.uid => Completion::ok("COPY completed, no message matched"),
        Err(error) => Completion::try_create(error),
    }
}

/// MOVE: each message at once, a slice at a time, told by COPYUID before its EXPUNGE (RFC 6851, section 4.3).
pub(crate) async fn move_to(context: Context, selected: Arc<SelectedMailbox>, plan: Plan) -> Completion {
    let mut missing = false;
    for slice in slices(plan.uids) {
        let wanted = slice.len();
        let request = CopyRequest::new(Arc::clone(&selected.mailbox), selected.id.clone(), slice, plan.to.clone());
        match context.account.move_to(request).await {
            Ok(copied) => {
                missing |= (copied.pairs.len() as u64) < wanted;
                if let Some(code) = copy_uid(copied) {
                    context.port.emit(Reply::Ok(code, "Moved")).await;
                }
            }
            Err(Error::Expunged) => missing = true,
            Err(error) => return Completion::try_create(error),
        }
    }
    context.port.settle().await;
    if missing && !plan.uid {
        return Completion::no("Some of the messages have been expunged").with(Code::ExpungeIssued);
    }
    Completion::ok("MOVE completed")
}

#[cfg(test)]
mod tests {
    use pillarbox_proto_core::mail::{Uid, UidValidity};

    use super::*;

    #[test]
    fn nothing_copied_has_no_code() {
        let uid_validity = UidValidity::new(7).unwrap();
        assert!(copy_uid(Copied::new(uid_validity, Vec::new())).is_none());
        let one = Uid::new(1).unwrap();
        assert!(copy_uid(Copied::new(uid_validity, vec![(one, one)])).is_some());
    }
}
