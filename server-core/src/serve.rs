//! One conversation on one stream.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::Conversation;
use pillarbox_proto_core::conversation::Layer;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::control::ControlInbox;
use crate::drive::Driver;
use crate::limits::{MemoryShare, MinRate};
use crate::record::Record;
use crate::stream::{Layered, without_delay};
use crate::tap::Tap;
#[cfg(feature = "tls")]
use crate::tls::{HandshakeError, TlsAcceptor};

/// Serves a conversation on any stream, to its end.
///
/// A plain future: it spawns nothing and can run beside others in one task, on an in-process duplex as well as on a
/// socket. Dropping it drops stream and conversation at once. It needs a tokio runtime with time enabled (and for
/// tokio's sockets its I/O driver); `now` comes from tokio's clock, so a test with paused time controls every deadline.
///
/// It is [the loop of the conversation contract](pillarbox_proto_core::conversation), and besides:
///
/// * **No delay**: replies are gathered before they are written, so a tokio `TcpStream` is set to send them at once
///   (`TCP_NODELAY`). Do the same for a socket inside a stream of your own, or each reply waits 40 ms.
/// * **Memory**: input is read over the stack until it flows, so that an idle connection holds no buffer.
/// * **Hang-ups**: while the conversation reads nothing, the stream is still watched. A TCP socket is looked into
///   without reading. Other streams are read ahead by at most 64 bytes, unless they are plain and could be upgraded
///   (the next byte may then belong to the handshake). Behind input that is not wanted yet nothing can be seen: the end
///   is then noticed when the input is wanted again, or when something is written.
/// * **The end of the input** is not the end of the connection: what the client sent before is executed and answered.
///   Under TLS that holds too for clients that close without TLS's own good-bye.
/// * **A client that is gone** (writing or reading failed): changes that run are finished, for at most
///   [`ServeOptions::finish_grace`].
/// * **A client that takes nothing** is waited for as long as [`ServeOptions::write_stall`] without progress, and once the
///   conversation has ended as long as [`ServeOptions::write_grace`]. One that is [too slow](ServeOptions::min_rate), at
///   taking output or at sending the rest of a command, is cut off too. In both cases it is gone, as far as the
///   conversation knows: changes that run are finished.
/// * **Closing** is orderly: TLS's good-bye, the end of our side, then what the client still sends is read and forgotten
///   for up to two seconds, as closing on unread input would destroy the last reply on its way.
///
/// # Errors
///
/// See [`ServeError`]. A lost connection is no error: it is told by [`Outcome::end`].
///
/// # Example
///
/// ```
/// # use pillarbox_proto_core::Conversation;
/// use pillarbox_server_core::{End, ServeOptions, serve_connection};
///
/// async fn serve(stream: tokio::net::TcpStream, conversation: impl Conversation) {
///     match serve_connection(stream, conversation, ServeOptions::new()).await {
///         Ok(outcome) => assert!(outcome.end != End::Closed || outcome.error.is_none()),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// ```
pub fn serve_connection<S, C>(
    stream: S,
    conversation: C,
    options: ServeOptions,
) -> impl Future<Output = Result<Outcome, ServeError>> + use<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Conversation,
{
    without_delay(&stream);
    serve_layered(Layered::Plain(stream), conversation, options)
}

/// As [`serve_connection`], for a stream that may have its layer already.
///
/// Not an `async fn`, which would keep room for its arguments beside the driver that they moved into.
pub(crate) fn serve_layered<S, C>(
    stream: Layered<S>,
    conversation: C,
    options: ServeOptions,
) -> impl Future<Output = Result<Outcome, ServeError>> + use<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Conversation,
{
    let mut driver = Driver::new(stream, conversation, options);
    poll_fn(move |cx| driver.poll(cx))
}

/// How a connection is served.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Carries out upgrades to TLS. Without one, a conversation that asks for TLS is dropped.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsAcceptor>,
    /// Where words from the server to this conversation come in.
    pub controls: Option<ControlInbox>,
    /// How long a change goes on after its client is gone. Default: 30 s; [`Duration::MAX`] is for ever.
    pub finish_grace: Duration,
    /// How long, after the conversation has ended or asked for a layer, the client may take no byte of what it was
    /// told last. Default: 10 s.
    pub write_grace: Duration,
    /// How long the client may take no byte of the output that waits for it, while the conversation goes on. Default:
    /// 5 minutes; [`Duration::MAX`] leaves it to the conversation. Under TLS up to 64 KiB that are encrypted already count
    /// as one piece, so shorter times may cut off clients on slow lines.
    pub write_stall: Duration,
    /// How slow the client may be in the middle of something. Default: as slow as it likes.
    pub min_rate: Option<MinRate>,
    /// Where the memory of this session counts. Default: nowhere.
    pub memory: Option<MemoryShare>,
    /// Where a server notes what passes.
    pub(crate) record: Option<Arc<Record>>,
    /// Who looks at what passes.
    pub(crate) tap: Option<Box<Tap>>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ServeOptions {
    /// No TLS, no controls, the default times.
    #[must_use]
    pub fn new() -> Self {
        Self {
            #[cfg(feature = "tls")]
            tls: None,
            controls: None,
            finish_grace: Duration::from_secs(30),
            write_grace: Duration::from_secs(10),
            write_stall: Duration::from_secs(300),
            min_rate: None,
            memory: None,
            record: None,
            tap: None,
        }
    }

    /// Lets the conversation upgrade to TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, acceptor: TlsAcceptor) -> Self {
        self.tls = Some(acceptor);
        self
    }

    /// Takes words for the conversation from here; see [`control::channel`](crate::control::channel).
    #[must_use]
    pub fn controls(mut self, inbox: ControlInbox) -> Self {
        self.controls = Some(inbox);
        self
    }

    /// Sets [`finish_grace`](Self::finish_grace).
    #[must_use]
    pub fn finish_grace(mut self, grace: Duration) -> Self {
        self.finish_grace = grace;
        self
    }

    /// Sets [`write_grace`](Self::write_grace).
    #[must_use]
    pub fn write_grace(mut self, grace: Duration) -> Self {
        self.write_grace = grace;
        self
    }

    /// Sets [`write_stall`](Self::write_stall).
    #[must_use]
    pub fn write_stall(mut self, time: Duration) -> Self {
        self.write_stall = time;
        self
    }

    /// Sets [`min_rate`](Self::min_rate).
    #[must_use]
    pub fn min_rate(mut self, rate: MinRate) -> Self {
        self.min_rate = Some(rate);
        self
    }

    /// Sets [`memory`](Self::memory).
    #[must_use]
    pub fn memory(mut self, share: MemoryShare) -> Self {
        self.memory = Some(share);
        self
    }
}

/// What became of a connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Bytes that the conversation was given, after any TLS layer was taken off.
    pub received: u64,
    /// Bytes of the conversation that the stream took, before any TLS layer was put on.
    pub sent: u64,
    /// What the stream said when the client was gone.
    pub error: Option<io::Error>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// In an orderly way, by the conversation's wish.
    Closed,
    /// Dropped by the conversation's wish, with a promise unkept.
    Aborted,
    /// The client could not be reached any more.
    Gone,
    /// The client took nothing of what was there for it: [`ServeOptions::write_grace`], [`ServeOptions::write_stall`].
    Stalled,
    /// The client was slower than [`ServeOptions::min_rate`].
    TooSlow,
}

/// Why a connection could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The TLS handshake that the conversation had asked for failed.
    #[cfg(feature = "tls")]
    #[error("TLS handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// The conversation asked for a layer that this connection can't have: TLS without an acceptor or a second time,
    /// DEFLATE (not offered yet), or to take away a layer that is not there. The connection was dropped: a conversation
    /// must not offer it.
    #[error("the conversation asked for the layer {0:?}, which this connection can't have")]
    Layer(Layer),
}
