//! STATUS (RFC 9051, section 6.3.11).

use bytes::BytesMut;
use pillarbox_proto_core::backend::{self, Result, Status, StatusRequest};
use pillarbox_proto_core::mail::MailboxName;

use super::Context;
use super::completion::Completion;
use super::reply::Reply;
use crate::wire::command::StatusItems;
use crate::wire::encode;

/// Answers STATUS.
pub(crate) async fn status(context: Context, name: MailboxName, items: StatusItems) -> Completion {
    match look(&context, &name, items).await {
        Ok(status) => {
            let mut out = BytesMut::new();
            encode(&mut out, &context, &name, items, &status);
            context.port.emit(Reply::Lines(out.freeze())).await;
            context.port.settle().await;
            Completion::ok("STATUS completed")
        }
        Err(error) => error.into(),
    }
}

/// Asks the backend for what these items need.
pub(super) async fn look(context: &Context, name: &MailboxName, items: StatusItems) -> Result<Status> {
    let mut wanted = backend::StatusItems::default();
    wanted.messages = items.contains(StatusItems::MESSAGES);
    wanted.recent = items.contains(StatusItems::RECENT);
    wanted.unseen = items.contains(StatusItems::UNSEEN);
    wanted.deleted = items.contains(StatusItems::DELETED);
    wanted.size = items.contains(StatusItems::SIZE);
    context.account.status(StatusRequest::new(name.clone(), wanted)).await
}

/// Writes the untagged response.
pub(super) fn encode(out: &mut BytesMut, context: &Context, name: &MailboxName, items: StatusItems, status: &Status) {
    let limit = [context.config.append_limit, context.account.append_limit()].into_iter().flatten().min();
    let wanted = |item, value| items.contains(item).then_some(value);
    let uid_next = status.uid_next.map_or(1 << 32, |uid| u64::from(uid.get()));
    let values = [
        wanted(StatusItems::MESSAGES, ("MESSAGES", Some(u64::from(status.messages)))),
        wanted(StatusItems::RECENT, ("RECENT", Some(u64::from(status.recent)))),
        wanted(StatusItems::UIDNEXT, ("UIDNEXT", Some(uid_next.min(u64::from(u32::MAX))))),
        wanted(StatusItems::UIDVALIDITY, ("UIDVALIDITY", Some(u64::from(status.uid_validity.get())))),
        wanted(StatusItems::UNSEEN, ("UNSEEN", Some(u64::from(status.unseen)))),
        wanted(StatusItems::DELETED, ("DELETED", Some(u64::from(status.deleted)))),
        wanted(StatusItems::SIZE, ("SIZE", Some(status.size))),
        wanted(StatusItems::APPENDLIMIT, ("APPENDLIMIT", limit)),
    ];
    encode::status(out, name, values.into_iter().flatten(), context.rev2);
}
