//! POP3 and nothing else: a maildrop in memory on a loopback port.
//!
//! Usage: `pillarbox-example-pop3-only [ADDRESS]`. Log in as `ada` with the password `secret`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use pillarbox_pop3_proto::{Config, Pop3Service};
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::mail::Flags;
use pillarbox_proto_core::memory::{MemoryBackend, crlf};
use pillarbox_server_core::{Listener, Server, ServerHandle};

fn start(address: SocketAddr) -> Result<ServerHandle, Box<dyn std::error::Error>> {
    let backend = MemoryBackend::builder()
        .user("ada", "secret")
        .message("ada", "INBOX", Flags::NONE, crlf("Subject: first\n\nHello\n"))
        .message("ada", "INBOX", Flags::NONE, crlf("Subject: second\n\n.A line with a dot\n"))
        .build()?;
    let mut config = Config::default();
    config.allow_plaintext = true; // On loopback only; anywhere else, use TLS.
    let service = Pop3Service::new(Arc::new(backend), config, Arc::new(SystemEnv));
    let listener = Listener::new("pop3", move |connection| {
        Box::new(service.connect(connection, pillarbox_server_core::now())) as Box<_>
    });
    Ok(Server::new().listener(listener.address(address)).bind()?.start()?)
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a program says why it can't go on")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a program says where it listens")]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1110".to_owned());
    let server = start(address.parse().map_err(|_| format!("{address} is no address with a port"))?)?;
    println!("POP3 on {}, user ada, password secret", server.local_addr("pop3").ok_or("no address")?);
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_client_retrieves_and_deletes() {
        let server = start(([127, 0, 0, 1], 0).into()).unwrap();
        let mut client = tokio::net::TcpStream::connect(server.local_addr("pop3").unwrap()).await.unwrap();
        client.write_all(b"USER ada\r\nPASS secret\r\nSTAT\r\nRETR 2\r\nDELE 1\r\nQUIT\r\n").await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert!(said.contains("\r\n+OK 2 "), "{said}");
        assert!(said.contains("\r\n..A line with a dot\r\n.\r\n"), "{said}");
        assert!(said.trim_end().lines().last().unwrap().starts_with("+OK"), "{said}");
        server.shutdown("bye", Duration::from_secs(5)).await;
    }
}
