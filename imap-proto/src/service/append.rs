//! APPEND and MULTIAPPEND (RFC 9051, section 6.3.12; RFC 3502).

use pillarbox_proto_core::backend::{Append, AppendMessage, AppendRequest, CommitOptions, Error};
use pillarbox_proto_core::mail::MailboxName;

use super::Context;
use super::completion::{Completion, OwnedCode};
use super::port::Input;
use super::reply::Reply;

/// Takes messages as they come, and adds them all at the end. The first has been announced, and waits for a word.
pub(crate) async fn append(context: Context, mailbox: MailboxName, first: AppendMessage) -> Completion {
    let mut append = match context.account.append(AppendRequest::new(mailbox)).await {
        Ok(append) => append,
        Err(error) => return Completion::try_create(error),
    };
    let mut message = first;
    loop {
        match take(&context, append.as_mut(), message).await {
            Ok(Input::Message(next)) => message = next,
            Ok(Input::End) => break,
            // The session says what was wrong; dropped, the transaction stores nothing.
            Ok(_) => return Completion::bad("The command does not end after its message"),
            Err(error) => return Completion::try_create(error),
        }
    }
    match append.commit(CommitOptions::default()).await {
        Ok(appended) => {
            Completion::ok("APPEND completed").with(OwnedCode::AppendUid(appended.uid_validity, appended.uids))
        }
        Err(error) => Completion::try_create(error),
    }
}

/// Takes one message and returns what came after it.
async fn take(context: &Context, append: &mut dyn Append, message: AppendMessage) -> Result<Input, Error> {
    let limits = [context.config.append_limit, context.account.append_limit()];
    if limits.into_iter().flatten().any(|limit| message.size > limit) {
        return Err(Error::TooBig);
    }
    // Clients cancel so (RFC 3502, section 6.3.11).
    if message.size == 0 {
        return Err(Error::Cannot("a message without any octet".into()));
    }
    append.begin(message).await?;
    context.port.emit(Reply::Accept).await;
    loop {
        match context.port.input().await {
            Input::Chunk(chunk) => append.write(chunk).await?,
            other => return Ok(other),
        }
    }
}
