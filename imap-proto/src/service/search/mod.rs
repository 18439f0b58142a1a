//! SEARCH (RFC 9051, section 6.4.4).

mod compile;
mod evaluate;

use std::sync::Arc;

use pillarbox_proto_core::backend::{Query, SearchRequest};
use pillarbox_proto_core::mail::UidSet;

pub(crate) use compile::{Scope, Unsearchable, compile};

use super::Context;
use super::completion::Completion;
use super::reply::{Found, Reply, SearchReturn};
use super::select::SelectedMailbox;

/// A SEARCH whose strings and numbers have been resolved.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) query: Query,
    /// The messages that the client knows.
    pub(crate) within: UidSet,
    /// The client wants UIDs.
    pub(crate) uid: bool,
    pub(crate) returns: Option<SearchReturn>,
}

/// Searches: by the backend's index if it has one, else message by message.
pub(crate) async fn search(context: Context, selected: Arc<SelectedMailbox>, plan: Plan) -> Completion {
    let Plan { query, within, uid, returns } = plan;
    let request = SearchRequest::new(query, within);
    let found = match selected.mailbox.search(&request).await {
        Ok(Some(uids)) => Ok(uids),
        Ok(None) => evaluate::search(&context, &*selected.mailbox, request).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(uids) => {
            context.port.emit(Reply::Found(Box::new(Found { uids, uid, returns }))).await;
            context.port.settle().await;
            Completion::ok("SEARCH completed")
        }
        Err(error) => {
            // A search that failed leaves `$` empty (RFC 9051, section 6.4.4.1).
            if returns.is_some_and(|returns| returns.save) {
                let returns = Some(SearchReturn { save: true, ..SearchReturn::default() });
                context.port.emit(Reply::Found(Box::new(Found { uids: UidSet::new(), uid, returns }))).await;
                context.port.settle().await;
            }
            error.into()
        }
    }
}
