//! A folder of text files, served as a read-only mailbox to any mail client.
//!
//! Usage: `pillarbox-example-minimal FOLDER [ADDRESS]`. Log in as `reader` with the password `letmein`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pillarbox_imap_proto::{Config, ImapService};
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{
    Access, Account, Authenticator, Backend, Error, FetchRequest, IterRows, ListEntry, ListRequest, Mailbox, MailboxId,
    Message, OpenRequest, Opened, Result, Row, Rows, Snapshot,
};
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::mail::{DateTime, MailboxName, Uid, UidSet, UidValidity};
use pillarbox_server_core::{Listener, Server};

/// Files, oldest name first: the UID of each is its place, so a changed folder needs another UIDVALIDITY.
struct Notes(Arc<Vec<(DateTime, Bytes)>>);

impl Notes {
    fn load(folder: &str) -> std::io::Result<Self> {
        let mut paths: Vec<_> =
            std::fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<std::io::Result<_>>()?;
        paths.sort();
        let mut notes = Vec::new();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "txt")) {
            let title = path.file_stem().unwrap_or_default().to_string_lossy().replace(['\r', '\n'], " ");
            let text = std::fs::read_to_string(path)?.replace("\r\n", "\n").replace('\n', "\r\n");
            let message = format!("Subject: {title}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}");
            notes.push((DateTime::from(path.metadata()?.modified()?), Bytes::from(message)));
        }
        Ok(Self(Arc::new(notes)))
    }

    fn get(&self, uid: Uid) -> Option<&(DateTime, Bytes)> {
        self.0.get(uid.get() as usize - 1)
    }
}

#[async_trait]
impl Authenticator for Notes {
    async fn check_password(&self, _: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        match (user, password.expose()) {
            ("reader", b"letmein") => Ok(Identity::new(user)),
            _ => Err(Error::AuthenticationFailed),
        }
    }
}

#[async_trait]
impl Backend for Notes {
    async fn open(&self, _: &Connection, _: &Identity) -> Result<Arc<dyn Account>> {
        Ok(Arc::new(Notes(Arc::clone(&self.0))))
    }
}

#[async_trait]
impl Account for Notes {
    async fn list(&self, _: &ListRequest) -> Result<Vec<ListEntry>> {
        Ok(vec![ListEntry::new(MailboxName::inbox())])
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened> {
        if !request.name.is_inbox() {
            return Err(Error::NoSuchMailbox);
        }
        let uids: UidSet = (1..=self.0.len() as u32).filter_map(Uid::new).collect();
        let validity = UidValidity::new(1).ok_or(Error::NoSuchMailbox)?;
        let snapshot = Snapshot::new(MailboxId::new("notes"), validity, uids);
        Ok(Opened::new(Arc::new(Notes(Arc::clone(&self.0))), snapshot, Access::ReadOnly))
    }
}

#[async_trait]
impl Mailbox for Notes {
    async fn fetch(&self, request: FetchRequest) -> Result<Box<dyn Rows>> {
        let row = |uid: Uid| {
            let (date, note) = self.get(uid)?;
            let mut row = Row::new(uid);
            row.internal_date = Some(*date);
            row.size = Some(note.len() as u64);
            Some(row)
        };
        Ok(Box::new(IterRows::new(request.uids.iter().filter_map(row).collect::<Vec<_>>())))
    }

    async fn message(&self, uid: Uid) -> Result<Box<dyn Message>> {
        let (_, note) = self.get(uid).ok_or(Error::Expunged)?;
        Ok(Box::new(note.clone()))
    }
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program says where it listens")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: pillarbox-example-minimal FOLDER [ADDRESS]")?;
    let address: std::net::SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:1143").parse()?;

    let mut config = Config::default();
    config.allow_plaintext = true; // On loopback only; anywhere else, use TLS.
    let service = ImapService::new(Arc::new(Notes::load(&folder)?), config, Arc::new(SystemEnv));
    let listener = Listener::new("imap", move |connection| {
        Box::new(service.connect(connection, pillarbox_server_core::now())) as Box<_>
    });
    let server = Server::new().listener(listener.address(address)).bind()?.start()?;
    println!("IMAP on {}, user reader, password letmein", server.local_addr("imap").ok_or("no address")?);
    std::future::pending().await
}
