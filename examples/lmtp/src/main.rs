//! LMTP and IMAP over one store in memory: deliver to `ada` on port 2424, read it on port 1143 with the password `secret`.

use std::sync::Arc;
use std::time::Duration;

use pillarbox_example_lmtp::{Config, LmtpService, Users};
use pillarbox_imap_proto::ImapService;
use pillarbox_proto_core::connection::Connection;
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::memory::MemoryBackend;
use pillarbox_server_core::{Listener, Server, now};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let backend = Arc::new(MemoryBackend::builder().user("ada", "secret").mailbox("ada", "INBOX").build()?);
    let lmtp = LmtpService::new(Arc::new(Users::new(backend.clone())), Config::default(), Arc::new(SystemEnv));
    let imap = ImapService::new(backend, pillarbox_imap_proto::Config::default(), Arc::new(SystemEnv));
    let server = Server::new()
        .listener(
            Listener::new("lmtp", move |connection| Box::new(lmtp.connect(connection, now())))
                .address(([127, 0, 0, 1], 2424)),
        )
        .listener(
            Listener::new("imap", move |mut connection: Connection| {
                // Loopback only: nobody listens in.
                connection.externally_secured = true;
                Box::new(imap.connect(connection, now()))
            })
            .address(([127, 0, 0, 1], 1143)),
        )
        .bind()?
        .start()?;
    tokio::signal::ctrl_c().await?;
    server.shutdown("Server shutting down", Duration::from_secs(5)).await;
    Ok(())
}
