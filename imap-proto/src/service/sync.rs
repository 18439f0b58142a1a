//! Taking what happened in the selected mailbox into the session.

use pillarbox_proto_core::backend::{Changes, ChangesRequest, Error, Fate};

use super::port::Port;
use super::reply::Reply;
use super::select::SelectedMailbox;

/// Messages that one page of changes names.
const PAGE: usize = 1000;

/// Hands everything that is new to the session. A store that fails to tell is no reason to fail a command: what is new
/// will be told later. Returns whether the store could tell.
pub(crate) async fn sync(port: &Port, selected: &SelectedMailbox) -> bool {
    loop {
        let mut request = ChangesRequest::new(selected.since(), PAGE);
        request.claim_recent = selected.claim_recent && selected.is_writable();
        let changes = match selected.mailbox.changes(request).await {
            Ok(changes) => changes,
            Err(Error::MailboxGone) => {
                let mut changes = Changes::none(selected.since());
                changes.fate = Fate::Deleted;
                changes
            }
            Err(_) => return false,
        };
        let stands = !matches!(changes.fate, Fate::Deleted | Fate::Recreated);
        let more = changes.more && changes.modseq > selected.since();
        selected.set_since(changes.modseq);
        port.emit(Reply::Changes(Box::new(changes))).await;
        if !(more && stands) {
            port.settle().await;
            return true;
        }
    }
}
