//! IDLE (RFC 2177; RFC 9051, section 6.3.13).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::completion::Completion;
use super::port::Port;
use super::reply::Reply;
use super::select::SelectedMailbox;
use super::sync::sync;

/// Tells what happens until the client says DONE.
pub(crate) async fn idle(port: Port, selected: Option<Arc<SelectedMailbox>>) -> Completion {
    port.emit(Reply::Continue("idling")).await;
    port.settle().await;
    loop {
        let Some(selected) = &selected else {
            poll_fn(|_| if port.is_done() { Poll::Ready(()) } else { Poll::Pending }).await;
            break;
        };
        sync(&port, selected).await;
        let mut changed = pin!(selected.mailbox.changed(selected.since()));
        let done = poll_fn(|cx| {
            if port.is_done() {
                return Poll::Ready(true);
            }
            changed.as_mut().poll(cx).map(|()| false)
        })
        .await;
        if done {
            break;
        }
    }
    Completion::ok("IDLE completed")
}
