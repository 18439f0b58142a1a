//! A message on its way into the INBOXes of its recipients.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use pillarbox_proto_core::backend::{Account, Append, AppendMessage, AppendRequest, CommitOptions, Error};
use pillarbox_proto_core::mail::{DateTime, Flags, MailboxName};

use crate::reply::{Reply, too_big};

/// Recipients whose stores are made durable at a time.
const COMMITS: usize = 8;

/// Somebody who was found.
pub(crate) struct Recipient {
    /// As the client wrote it, without its brackets.
    pub(crate) address: String,
    pub(crate) account: Arc<dyn Account>,
}

/// What stands above the message, in the order of its lines (RFC 5321, section 4.4).
pub(crate) struct Trace {
    /// The reverse path as the client wrote it, without its brackets.
    pub(crate) from: String,
    /// The `Received` line, whole.
    pub(crate) received: String,
}

impl Trace {
    fn above(&self, recipient: &str) -> Bytes {
        Bytes::from(format!("Return-Path: <{}>\r\nDelivered-To: {recipient}\r\n{}", self.from, self.received))
    }
}

/// One recipient's share of a message that comes in: an open transaction, or why there is none (any more).
pub(crate) struct Delivery(Result<Box<dyn Append>, Reply>);

/// Opens a transaction for each recipient.
pub(crate) async fn begin(recipients: Vec<Recipient>, trace: Trace, size: u64, now: DateTime) -> Vec<Delivery> {
    let mut deliveries = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let above = trace.above(&recipient.address);
        let opened = open(&*recipient.account, above, size, now).await;
        deliveries.push(Delivery(opened.map_err(|error| Reply::refusal(&error))));
    }
    deliveries
}

async fn open(account: &dyn Account, above: Bytes, size: u64, now: DateTime) -> Result<Box<dyn Append>, Error> {
    let mut append = account.append(AppendRequest::new(MailboxName::inbox())).await?;
    let size = size.saturating_add(above.len() as u64);
    append.begin(AppendMessage::new(size, Flags::NONE, Some(now))).await?;
    append.write(above).await?;
    Ok(append)
}

/// Adds octets to every transaction that still stands.
pub(crate) async fn write(mut deliveries: Vec<Delivery>, chunks: Vec<Bytes>) -> Vec<Delivery> {
    for delivery in &mut deliveries {
        for chunk in &chunks {
            let Ok(append) = &mut delivery.0 else { break };
            if let Err(error) = append.write(chunk.clone()).await {
                delivery.0 = Err(Reply::refusal(&error));
            }
        }
    }
    deliveries
}

/// Ends every transaction; a reply for each recipient, in order, when its copy is durable.
pub(crate) async fn commit(deliveries: Vec<Delivery>) -> Vec<Reply> {
    let commits = deliveries.into_iter().map(|delivery| async move {
        match delivery.0 {
            Ok(append) => match append.commit(CommitOptions::default()).await {
                Ok(_) => Reply::new(250, "2.1.5", "Delivered"),
                Err(error) => Reply::refusal(&error),
            },
            Err(reply) => reply,
        }
    });
    stream::iter(commits).buffered(COMMITS).collect().await
}

/// Gives every transaction up: the message is too large for this server.
pub(crate) fn refuse(deliveries: &mut [Delivery]) {
    for delivery in deliveries {
        delivery.0 = Err(too_big());
    }
}
