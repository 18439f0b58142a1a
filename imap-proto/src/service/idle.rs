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
    // What does not wait for news is boxed: its state is gone, not kept as room, for the hours that this may take.
    Box::pin(port.emit(Reply::Continue("idling"))).await;
    port.settle().await;
    loop {
        let Some(selected) = &selected else {
            poll_fn(|_| if port.is_done() { Poll::Ready(()) } else { Poll::Pending }).await;
            break;
        };
        let before = selected.since();
        if !Box::pin(sync(&port, selected)).await {
            // What is new stays new, so that waiting for news would not wait: the next sign of life tries again.
            port.take_beat();
            poll_fn(|_| if port.is_done() || port.take_beat() { Poll::Ready(()) } else { Poll::Pending }).await;
            if port.is_done() {
                break;
            }
            continue;
        }
        if selected.since() == before {
            // A store that announces news and has none must not keep the task.
            port.cooperate().await;
        }
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
