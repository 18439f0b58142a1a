//! Connections that the program has already, and hands to the server.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use pillarbox_proto_core::Connection;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::refused::Refused;
use crate::serve::{Outcome, ServeError};
use crate::socket::canonical;
use crate::transport::Transport;

/// A connection for [`ServerHandle::serve`](crate::ServerHandle::serve): its stream, and what is known about it.
///
/// ```
/// use pillarbox_server_core::Incoming;
///
/// # let (client, stream) = tokio::io::duplex(1024);
/// // The far end of a tunnel that our own program has authenticated.
/// let incoming = Incoming::new(stream)
///     .know(|connection| connection.externally_secured = true)
///     .unchecked();
/// # drop((client, incoming));
/// ```
#[derive(Debug)]
pub struct Incoming {
    pub(crate) transport: Transport,
    pub(crate) connection: Connection,
    pub(crate) checked: bool,
}

impl Incoming {
    /// A connection on any stream, of whose ends nothing is known.
    #[must_use]
    pub fn new(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static) -> Self {
        Transport::new(stream).into()
    }

    /// Tells what is known about the connection, before anything here looks at it. Its name is given later, and its
    /// service is the listener's.
    #[must_use]
    pub fn know(mut self, tell: impl FnOnce(&mut Connection)) -> Self {
        tell(&mut self.connection);
        self
    }

    /// Passes by the limits, the block list, the gates and the PROXY header: our program knows whom it brings. TLS and
    /// preauth hooks stay.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.checked = false;
        self
    }
}

impl From<Transport> for Incoming {
    /// Of a TCP socket the addresses of its ends are known, of others nothing. Also behind a unix socket that comes from
    /// elsewhere there may be a relay from the network, so it is not taken for
    /// [secured](Connection::externally_secured); who knows better [says so](Self::know).
    fn from(transport: Transport) -> Self {
        let mut connection = Connection::default();
        if let Some(tcp) = transport.tcp() {
            connection.peer = tcp.peer_addr().ok().map(canonical);
            connection.local = tcp.local_addr().ok().map(canonical);
        }
        Self { transport, connection, checked: true }
    }
}

impl From<TcpStream> for Incoming {
    fn from(stream: TcpStream) -> Self {
        Transport::from(stream).into()
    }
}

#[cfg(unix)]
impl From<UnixStream> for Incoming {
    fn from(stream: UnixStream) -> Self {
        Transport::from(stream).into()
    }
}

impl Incoming {
    /// As accepted: the peer is known already. What comes in by our own unix socket has not left this machine.
    pub(crate) fn accepted(transport: Transport, peer: Option<SocketAddr>) -> Self {
        let mut connection = Connection::default();
        connection.externally_secured = transport.is_unix();
        connection.local = transport.tcp().and_then(|tcp| tcp.local_addr().ok()).map(canonical);
        connection.peer = peer;
        Self { transport, connection, checked: true }
    }
}

/// A connection that was handed in: a future of its end. Dropping it lets the connection go on.
#[derive(Debug)]
pub struct HandedIn(pub(crate) oneshot::Receiver<Result<Outcome, NotServed>>);

impl Future for HandedIn {
    type Output = Result<Outcome, NotServed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|told| told.unwrap_or(Err(NotServed::Dropped)))
    }
}

/// Why a connection was not served to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotServed {
    /// It was turned away.
    #[error("refused: {0}")]
    Refused(Refused),
    /// It could not be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The server ended first, or its conversation failed.
    #[error("dropped")]
    Dropped,
}
