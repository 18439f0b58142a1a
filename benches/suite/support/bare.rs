//! Servers that do the least that can be done over tokio.

use bytes::{Bytes, BytesMut};
use pillarbox_server_core::tls::TlsAcceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::serving::Serving;

/// Sends each line back.
pub(crate) fn echo() -> Serving {
    Serving::start("bare", || async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let mut buffer = BytesMut::with_capacity(8192);
                    while let Ok(1..) = stream.read_buf(&mut buffer).await {
                        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                            let line = buffer.split_to(end + 1);
                            if stream.write_all(&line).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        address
    })
}

/// Answers each line with the same octets from memory, in writes as large as the socket takes.
pub(crate) fn replies(reply: Bytes, tls: Option<TlsAcceptor>) -> Serving {
    Serving::start("bare", || async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (reply, tls) = (reply.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => reply_to_lines(stream, &reply).await,
                        Some(acceptor) => reply_to_lines(acceptor.accept(stream).await.unwrap().0, &reply).await,
                    }
                });
            }
        });
        address
    })
}

async fn reply_to_lines(mut stream: impl AsyncRead + AsyncWrite + Unpin, reply: &[u8]) {
    let mut buffer = BytesMut::with_capacity(8192);
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        let lines = buffer.iter().filter(|byte| **byte == b'\n').count();
        buffer.clear();
        for _ in 0..lines {
            if stream.write_all(reply).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }
}
