//! The byte stream under a conversation, with the layers that can be put under it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use pillarbox_proto_core::Output;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::{as_tcp, poll_peek};
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

/// Pieces that one vectored write takes at most: a batch of messages with what stands between them, so that its end does
/// not go out by itself.
const SLICES: usize = 256;
/// A stream without vectored writes gets small pieces gathered up to this many bytes.
const GATHER: usize = 16 * 1024;
/// Read at once while the client sends little: on the stack, so that an idle connection never allocates.
const SMALL_READ: usize = 2 * 1024;
/// Read at once while bytes flow.
const LARGE_READ: usize = 16 * 1024;

/// A stream, plain or under TLS.
#[derive(Debug)]
pub(crate) enum Layered<S> {
    Plain(S),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<S>>),
    /// The stream is in a handshake, or was dropped.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nothing else takes a stream away"))]
    Taken,
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Layered<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => match ready!(Pin::new(stream).poll_read(cx, buffer)) {
                // Many clients close without TLS's own good-bye. What they sent before counts: each command carries
                // its own end, so nothing cut off is taken for whole.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                other => Poll::Ready(other),
            },
            Self::Taken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Appends what the client sent to `buffer`; 0 is the end of the stream.
    ///
    /// `flowing` is the caller's memory of whether the last read filled what it was offered. While it did not, a read
    /// goes over the stack: the buffer grows only by bytes that are there.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        flowing: &mut bool,
    ) -> Poll<io::Result<usize>> {
        let offered = if *flowing { LARGE_READ } else { SMALL_READ };
        let count = if *flowing {
            buffer.reserve(LARGE_READ);
            ready!(self.poll_read_into(cx, buffer))?
        } else {
            let mut space = [std::mem::MaybeUninit::uninit(); SMALL_READ];
            let mut space = ReadBuf::uninit(&mut space);
            ready!(self.poll_read(cx, &mut space))?;
            buffer.extend_from_slice(space.filled());
            space.filled().len()
        };
        *flowing = count >= offered;
        Poll::Ready(Ok(count))
    }

    fn poll_read_into(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => tokio_util::io::poll_read_buf(Pin::new(stream), cx, buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => match ready!(tokio_util::io::poll_read_buf(Pin::new(stream), cx, buffer)) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                other => Poll::Ready(other),
            },
            Self::Taken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Writes as much of `output` as the stream takes in one go; never called with an empty one. `seen` sees what that
    /// was, before it is gone.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Output,
        seen: impl FnOnce(&Output, usize),
    ) -> Poll<io::Result<usize>> {
        let count = match self {
            Self::Plain(stream) => ready!(write_output(Pin::new(stream), cx, output))?,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => ready!(write_output(Pin::new(stream), cx, output))?,
            Self::Taken => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        seen(output, count);
        output.advance(count);
        Poll::Ready(Ok(count))
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Taken => Poll::Ready(Ok(())),
        }
    }

    /// Says that nothing more will be written: TLS's good-bye, then the end of the stream.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Taken => Poll::Ready(Ok(())),
        }
    }

    /// Reads and forgets; `Ready(Ok(0))` is the end.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [std::mem::MaybeUninit::uninit(); SMALL_READ];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(self.poll_read(cx, &mut space))?;
        Poll::Ready(Ok(space.filled().len()))
    }

    /// Looks whether the client has hung up, while its input is not wanted.
    ///
    /// `may_take` allows a stream that can't be looked into to be read, a few bytes, into `stash`. It is not allowed
    /// where the next bytes may belong to a TLS handshake.
    pub(crate) fn poll_probe(
        &mut self,
        cx: &mut Context<'_>,
        stash: &mut BytesMut,
        may_take: bool,
    ) -> Poll<io::Result<Probe>> {
        let mut space = [std::mem::MaybeUninit::uninit(); 64];
        let mut space = ReadBuf::uninit(&mut space);
        if let Self::Plain(stream) = self
            && let Some(looked) = poll_peek(stream, cx, &mut space)
        {
            let count = ready!(looked)?;
            return Poll::Ready(Ok(if count == 0 { Probe::End } else { Probe::Input }));
        }
        if !may_take || !stash.is_empty() {
            return Poll::Pending;
        }
        ready!(self.poll_read(cx, &mut space))?;
        stash.extend_from_slice(space.filled());
        Poll::Ready(Ok(if space.filled().is_empty() { Probe::End } else { Probe::Input }))
    }
}

/// Replies are gathered before they are written, so waiting for more of them (Nagle's algorithm) would only add the
/// client's delayed acknowledgement, 40 ms, to each.
pub(crate) fn without_delay<S: 'static>(stream: &S) {
    if let Some(tcp) = as_tcp(stream)
        && let Err(error) = tcp.set_nodelay(true)
    {
        tracing::debug!(%error, "TCP_NODELAY");
    }
}

/// What a look at an unread stream shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// There is input; what comes behind it can't be seen.
    Input,
    /// The client will send no more.
    End,
}

fn write_output<S: AsyncWrite>(stream: Pin<&mut S>, cx: &mut Context<'_>, output: &Output) -> Poll<io::Result<usize>> {
    let first = output.first();
    if first.len() == output.len() {
        return stream.poll_write(cx, first);
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let filled = output.chunks(&mut slices);
    let slices = slices.get(..filled).unwrap_or_default();
    match slices {
        [first, ..] if !stream.is_write_vectored() && first.len() < GATHER => {
            // Else each small piece would be a packet of its own, or a TLS record.
            let mut gathered = Vec::with_capacity(GATHER.min(output.len()));
            for slice in slices {
                let room = GATHER - gathered.len();
                gathered.extend_from_slice(slice.get(..room).unwrap_or(slice));
                if gathered.len() == GATHER {
                    break;
                }
            }
            stream.poll_write(cx, &gathered)
        }
        _ => stream.poll_write_vectored(cx, slices),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything, and notes how it came.
    #[derive(Default)]
    struct Sink {
        vectored: bool,
        writes: Vec<usize>,
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.writes.push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            assert!(self.vectored);
            let count = slices.iter().map(|slice| slice.len()).sum();
            self.writes.push(count);
            Poll::Ready(Ok(count))
        }
        fn is_write_vectored(&self) -> bool {
            self.vectored
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Sink {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    fn writes(vectored: bool) -> Vec<usize> {
        let mut output = Output::new();
        for _ in 0..4 {
            output.put(b"* 1 FETCH (BODY[] {6000}\r\n");
            output.put_bytes(vec![b'x'; 6000].into());
            output.put(b")\r\n");
        }
        let mut stream = Layered::Plain(Sink { vectored, writes: Vec::new() });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !output.is_empty() {
            assert!(stream.poll_write(&mut cx, &mut output, |_, _| ()).is_ready());
        }
        let Layered::Plain(sink) = stream else { unreachable!() };
        sink.writes
    }

    #[test]
    fn many_pieces_go_out_in_one_vectored_write() {
        assert_eq!(writes(true), [4 * 6029]);
    }

    #[test]
    fn without_vectored_writes_small_pieces_are_gathered() {
        assert_eq!(writes(false), [GATHER, 4 * 6029 - GATHER]);
    }
}
