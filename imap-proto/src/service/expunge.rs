//! EXPUNGE, UID EXPUNGE and CLOSE (RFC 9051, sections 6.4.3, 6.4.1 and 6.4.9).

use std::sync::Arc;

use pillarbox_proto_core::backend::ExpungeRequest;
use pillarbox_proto_core::mail::UidSet;

use super::Context;
use super::completion::Completion;
use super::port::Port;
use super::reply::Reply;
use super::select::SelectedMailbox;
use super::slices;

/// Removes those of the messages that have `\Deleted`. The session tells the client by the changes that follow.
///
/// `uids` are messages that the client has been told of, so that EXPUNGE leaves alone what arrived since, even if
/// somebody has marked it by now. RFC 9051, section 6.4.3 has it remove all messages that are marked; of those the
/// client can only have meant the ones that it could know of, and each one removed has to be told by a number that it
/// has (section 7.5.1). What is left is told by the EXISTS that follows, and goes with the next EXPUNGE.
pub(crate) async fn expunge(port: Port, selected: Arc<SelectedMailbox>, uids: UidSet) -> Completion {
    for slice in slices(uids) {
        if let Err(error) = selected.mailbox.expunge(ExpungeRequest { uids: slice, only_deleted: true }).await {
            return error.into();
        }
        port.cooperate().await;
    }
    Completion::ok("EXPUNGE completed")
}

/// CLOSE: removes without telling, then nothing is selected. What can't be removed stays; the mailbox is closed anyhow.
pub(crate) async fn close(context: Context, selected: Arc<SelectedMailbox>, uids: UidSet) -> Completion {
    if selected.is_writable() {
        for slice in slices(uids) {
            if selected.mailbox.expunge(ExpungeRequest { uids: slice, only_deleted: true }).await.is_err() {
                break;
            }
            context.port.cooperate().await;
        }
    }
    context.port.emit(Reply::Closed { told: true }).await;
    context.port.settle().await;
    Completion::ok("CLOSE completed")
}
