//! The byte streams that a server takes connections from.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
#[cfg(unix)]
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// What reads and writes, without a socket that the loop could look into.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The stream of one connection.
///
/// ```
/// use pillarbox_server_core::Transport;
///
/// let (client, server) = tokio::io::duplex(1024);
/// let transport = Transport::new(server);
/// # drop((client, transport));
/// ```
pub struct Transport(Kind);

enum Kind {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    Other(Box<dyn Duplex>),
}

impl Transport {
    /// Any stream. TCP and unix sockets are better made into a transport by `From`: into these the loop can look
    /// whether the client has hung up.
    #[must_use]
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Kind::Other(Box::new(stream)))
    }

    /// The TCP socket, if it is one.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match &self.0 {
            Kind::Tcp(stream) => Some(stream),
            _ => None,
        }
    }

    /// Whether it is a unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        #[cfg(unix)]
        let is = matches!(self.0, Kind::Unix(_));
        #[cfg(not(unix))]
        let is = false;
        is
    }

    fn inner(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.0 {
            Kind::Tcp(stream) => Pin::new(stream),
            #[cfg(unix)]
            Kind::Unix(stream) => Pin::new(stream),
            Kind::Other(stream) => Pin::new(&mut **stream),
        }
    }
}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Self(Kind::Tcp(stream))
    }
}

#[cfg(unix)]
impl From<UnixStream> for Transport {
    fn from(stream: UnixStream) -> Self {
        Self(Kind::Unix(stream))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind: &dyn fmt::Debug = match &self.0 {
            Kind::Tcp(stream) => stream,
            #[cfg(unix)]
            Kind::Unix(stream) => stream,
            Kind::Other(_) => &"other",
        };
        f.debug_tuple("Transport").field(kind).finish()
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Kind::Unix(stream) => stream.is_write_vectored(),
            Kind::Other(stream) => stream.is_write_vectored(),
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}

/// The TCP socket that this stream is, if it is one.
pub(crate) fn as_tcp(stream: &dyn Any) -> Option<&TcpStream> {
    stream.downcast_ref::<TcpStream>().or_else(|| stream.downcast_ref::<Transport>()?.tcp())
}

/// Looks at what waits to be read in a socket, without taking it; `None` for a stream that can't be looked into.
pub(crate) fn poll_peek(
    stream: &dyn Any,
    cx: &mut Context<'_>,
    space: &mut ReadBuf<'_>,
) -> Option<Poll<io::Result<usize>>> {
    if let Some(tcp) = as_tcp(stream) {
        return Some(tcp.poll_peek(cx, space));
    }
    #[cfg(unix)]
    {
        let unix = stream.downcast_ref::<UnixStream>().or_else(|| match &stream.downcast_ref::<Transport>()?.0 {
            Kind::Unix(unix) => Some(unix),
            _ => None,
        })?;
        Some(peek_unix(unix, cx))
    }
    #[cfg(not(unix))]
    None
}

/// tokio can't look into a unix socket.
#[cfg(unix)]
fn peek_unix(stream: &UnixStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut space = [MaybeUninit::uninit(); 1];
    loop {
        std::task::ready!(stream.poll_read_ready(cx))?;
        let looked = stream.try_io(tokio::io::Interest::READABLE, || socket2::SockRef::from(stream).peek(&mut space));
        match looked {
            // It was not ready after all, and tokio knows now.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return Poll::Ready(other),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn peek(stream: &Transport) -> usize {
        poll_fn(|cx| poll_peek(stream, cx, &mut ReadBuf::new(&mut [0; 8])).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_unix_socket_can_be_looked_into() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut server = Transport::from(server);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(poll_peek(&server, &mut cx, &mut ReadBuf::new(&mut [])).unwrap().is_pending());
        client.write_all(b"xy").await.unwrap();
        assert!(peek(&server).await > 0);
        let mut read = [0; 2];
        server.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"xy", "nothing was taken");
        drop(client);
        assert_eq!(peek(&server).await, 0, "the end");
        let other = Transport::new(tokio::io::empty());
        assert!(poll_peek(&other, &mut cx, &mut ReadBuf::new(&mut [])).is_none());
    }
}
