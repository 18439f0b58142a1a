//! CREATE, DELETE, RENAME, SUBSCRIBE and UNSUBSCRIBE (RFC 9051, sections 6.3.4 to 6.3.8).

use std::sync::Arc;

use pillarbox_proto_core::backend::{CreateRequest, RenameRequest};
use pillarbox_proto_core::mail::{MailboxName, SpecialUse};

use super::Context;
use super::completion::Completion;
use super::reply::Reply;
use super::select::SelectedMailbox;
use crate::wire::encode::Code;

/// Why a name can't be given to a mailbox. `utf8`: the client sent it as UTF-8.
fn unfit(name: &MailboxName, delimiter: Option<char>, utf8: bool) -> Option<Completion> {
    let text = if name.has_wildcard() {
        "A mailbox name can't hold the wildcards * and %"
    } else if utf8 && !unicode_normalization::is_nfc(name.as_str()) {
        // RFC 9051, section 5.1 has servers refuse what is not Net-Unicode (RFC 5198), or else take it in every command.
        "A mailbox name must be in Unicode Normalization Form C"
    } else if delimiter.is_some_and(|delimiter| name.has_empty_level(delimiter)) {
        "A mailbox name can't have an empty level"
    } else {
        return None;
    };
    Some(Completion::no(text).with(Code::Cannot))
}

/// CREATE. `only_parent`: the client's name ended with the delimiter.
pub(crate) async fn create(
    context: Context,
    name: MailboxName,
    special_use: Vec<SpecialUse>,
    only_parent: bool,
) -> Completion {
    if name.is_inbox() {
        return Completion::no("INBOX exists already").with(Code::AlreadyExists);
    }
    if let Some(refusal) = unfit(&name, context.account.delimiter(), context.rev2) {
        return refusal;
    }
    if !special_use.is_empty() && !context.account.creates_special_use() {
        return Completion::no("Special uses can't be given here").with(Code::UseAttr);
    }
    let mut request = CreateRequest::new(name);
    request.special_use = special_use;
    request.only_parent = only_parent;
    match context.account.create(request).await {
        Ok(_) => Completion::ok("CREATE completed"),
        Err(error) => error.into(),
    }
}

/// DELETE. `selected`: it is the mailbox that this session has selected.
pub(crate) async fn delete(context: Context, name: MailboxName, selected: bool) -> Completion {
    if name.is_inbox() {
        return Completion::no("INBOX can't be deleted").with(Code::Cannot);
    }
    match context.account.delete(&name).await {
        Ok(()) => {
            if selected {
                context.port.emit(Reply::Closed { told: false }).await;
                context.port.settle().await;
            }
            Completion::ok("DELETE completed")
        }
        Err(error) => error.into(),
    }
}

/// RENAME. `selected`: the mailbox that this session has selected, whose new name the client knows by itself.
pub(crate) async fn rename(
    context: Context,
    from: MailboxName,
    to: MailboxName,
    selected: Option<Arc<SelectedMailbox>>,
) -> Completion {
    let delimiter = context.account.delimiter();
    if to.is_inbox() {
        return Completion::no("INBOX exists already").with(Code::AlreadyExists);
    }
    if let Some(refusal) = unfit(&to, delimiter, context.rev2) {
        return refusal;
    }
    if !from.is_inbox() && delimiter.is_some_and(|delimiter| to.is_inferior_to(&from, delimiter)) {
        return Completion::no("A mailbox can't become its own child").with(Code::Cannot);
    }
    let renamed = selected.and_then(|selected| {
        let name = selected.name();
        let moved = match delimiter {
            _ if from.is_inbox() => None,
            Some(delimiter) => name.replace_prefix(&from, &to, delimiter).ok().flatten(),
            None => (name == from).then(|| to.clone()),
        };
        Some((selected, moved?))
    });
    match context.account.rename(RenameRequest::new(from, to)).await {
        Ok(()) => {
            if let Some((selected, name)) = renamed {
                selected.set_name(name);
            }
            Completion::ok("RENAME completed")
        }
        Err(error) => error.into(),
    }
}

/// SUBSCRIBE and UNSUBSCRIBE.
pub(crate) async fn subscribe(context: Context, name: MailboxName, subscribed: bool) -> Completion {
    match context.account.subscribe(&name, subscribed).await {
        Ok(()) => Completion::ok(if subscribed { "SUBSCRIBE completed" } else { "UNSUBSCRIBE completed" }),
        Err(error) => error.into(),
    }
}
