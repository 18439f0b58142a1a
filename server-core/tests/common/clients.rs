//! What clients of the toy protocol do.

use std::time::Duration;

use pillarbox_server_core::{Server, ServerHandle};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub fn start(server: Server) -> ServerHandle {
    server.bind().unwrap().start().unwrap()
}

pub async fn dial(server: &ServerHandle, name: &str) -> TcpStream {
    TcpStream::connect(server.local_addr(name).unwrap()).await.unwrap()
}

/// Sends a line and waits for it to come back.
pub async fn alive(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    let mut reply = [0; 5];
    client.write_all(b"ping\n").await.is_ok() && client.read_exact(&mut reply).await.is_ok() && &reply == b"ping\n"
}

/// Whether the client is turned away, without a byte.
pub async fn refused(mut client: impl AsyncRead + Unpin) -> bool {
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    answer.is_empty()
}

/// Whether nothing comes for a while.
pub async fn silent(client: &mut (impl AsyncRead + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(100), client.read_u8()).await.is_err()
}

pub async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
