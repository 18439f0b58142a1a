//! Sends back what it gets, under TLS and to this machine alone: `echo 127.0.0.1:7007 cert.pem key.pem`.
#![allow(clippy::print_stdout, reason = "it tells where it listens")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::conversation::{Control, Next};
use pillarbox_proto_core::{Conversation, Output};
use pillarbox_server_core::access::Acl;
use pillarbox_server_core::tls::{TlsConfig, TlsIdentity};
use pillarbox_server_core::{Listener, Server};

#[derive(Default)]
struct Echo(BytesMut, Output, Option<Next>);

impl Conversation for Echo {
    fn read_buf(&mut self) -> Option<&mut BytesMut> {
        (self.1.len() < 64 * 1024).then_some(&mut self.0) // Who does not read is not read.
    }
    fn handle_read(&mut self, _: Instant) {
        self.1.put_bytes(self.0.split().freeze());
    }
    fn handle_eof(&mut self, _: Instant) {
        self.2 = Some(Next::Close);
    }
    fn handle_gone(&mut self) {
        self.2 = Some(Next::Abort);
    }
    fn handle_control(&mut self, _: Control, _: Instant) {
        self.2 = Some(Next::Close);
    }
    fn poll_next(&mut self, _: &mut Context<'_>, _: Instant) -> Poll<Next> {
        self.2.map_or(Poll::Pending, Poll::Ready)
    }
    fn output(&mut self) -> &mut Output {
        &mut self.1
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, cert, key] = &arguments[..] else { return Err("echo ADDRESS CERTIFICATE KEY".into()) };
    let tls = TlsConfig::new().identity(TlsIdentity::from_pem_files(cert, key)?).build()?;
    let acl = Acl::new().entry(&["allow from 127.0.0.1"])?.entry(&["deny from any"])?;
    let listener = Listener::new("echo", |_| Box::<Echo>::default())
        .address(address.parse::<std::net::SocketAddr>()?)
        .tls(TlsMode::Connection, tls)
        .gate(acl);
    let server = Server::new().listener(listener).bind()?.start()?;
    println!("{:?}", server.local_addr("echo"));
    tokio::signal::ctrl_c().await?;
    server.shutdown("", Duration::from_secs(5)).await;
    Ok(())
}
