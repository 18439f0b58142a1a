//! The message that waits in the mailbox of a first start.

use std::time::SystemTime;

use bytes::Bytes;
use pillarbox_proto_core::backend::{Account, AppendMessage, AppendRequest, CommitOptions, Error};
use pillarbox_proto_core::mail::{DateTime, Flags, MailboxName};

use crate::exit::Result;
use crate::import::refused;

const TEXT: &str = "\
From: Pillarbox <pillarbox@localhost>\r
To: demo@localhost\r
Subject: Welcome\r
Message-ID: <welcome@localhost>\r
MIME-Version: 1.0\r
Content-Type: text/plain; charset=utf-8\r
\r
This is your mailbox. It is a Maildir: every message is a file.\r
\r
To bring your mail in:\r
\r
    pillarboxd import PATH\r
\r
where PATH is an mbox file, a Maildir, or a folder of .eml files. To let\r
somebody else in:\r
\r
    pillarboxd user add NAME\r
\r
What the server can be told, and what holds when it is told nothing:\r
\r
    pillarboxd --help\r
    pillarboxd --check-config\r
";

/// Puts the message into the INBOX.
pub(super) async fn deliver(account: &dyn Account) -> Result<()> {
    let inbox = MailboxName::inbox();
    append(account, &inbox).await.map_err(|error| refused(&inbox, &error))
}

async fn append(account: &dyn Account, inbox: &MailboxName) -> Result<(), Error> {
    let now = DateTime::from(SystemTime::now());
    let text = format!("Date: {}\r\n{TEXT}", now.message_date());
    let mut append = account.append(AppendRequest::new(inbox.clone())).await?;
    append.begin(AppendMessage::new(text.len() as u64, Flags::NONE, Some(now))).await?;
    append.write(Bytes::from(text)).await?;
    append.commit(CommitOptions::default()).await?;
    Ok(())
}
