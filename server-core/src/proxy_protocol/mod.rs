//! The PROXY protocol, versions 1 and 2: a proxy in front of us says who its client is.
//!
//! Its header stands before everything else that comes in, TLS included. It is believed, so it is only read from proxies
//! of a listener's [trusted networks](crate::Listener::proxy_networks), and there it has to be: whoever could do without
//! would be taken for the proxy itself.
//!
//! [`parse`] is a pure function: it says how many bytes more the header has for sure, so that whoever reads takes
//! nothing that belongs to the conversation.
//!
//! What is understood of version 2 besides addresses: TLS at the proxy (the connection counts as
//! [secured](Connection::externally_secured)) with the common name of a client certificate that the proxy has verified,
//! the proxy's name for the connection, the host name that the client asked for, the checksum. Everything else is
//! skipped.

mod one;
mod two;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use pillarbox_proto_core::Connection;
use tokio::io::{AsyncRead, ReadBuf};

/// The bytes of a header of version 2 behind its first sixteen at most: room for a certificate or two. The format has
/// room for 65,535.
pub const LONGEST_HEADER: usize = 16 * 1024;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Its size in bytes; what follows belongs to the conversation.
    pub length: usize,
    /// The client's address, and the one that it connected to. `None` where the proxy speaks for itself (to see whether
    /// we live), or does not say.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// Whether the client speaks TLS with the proxy.
    pub tls: bool,
    /// The common name of the client's certificate, if the proxy has verified that.
    pub certificate_name: Option<Arc<str>>,
    /// The proxy's name for the connection; in hexadecimal digits unless it is printable ASCII.
    pub unique_id: Option<Arc<str>>,
    /// The host name that the client asked for.
    pub authority: Option<Arc<str>>,
}

impl Header {
    /// Puts what it says into what is known of the connection.
    pub fn apply(self, connection: &mut Connection) {
        connection.proxied = self.addresses;
        connection.externally_secured |= self.tls;
        connection.certificate_name = self.certificate_name;
        connection.proxy_id = self.unique_id;
    }
}

/// How far [`parse`] got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// So many more bytes, at least one, are part of the header for sure. There may be more to come then.
    Incomplete(usize),
    /// The header is there.
    Complete(Header),
}

/// Why bytes are no header. The connection has to be dropped: nobody knows who that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// They begin like no header.
    #[error("no PROXY header")]
    Missing,
    /// Version 1 has no end within the 107 bytes that it may have.
    #[error("the PROXY line is longer than 107 bytes")]
    LongLine,
    /// A word of version 1 is wrong, or is missing.
    #[error("the PROXY line has a wrong {0}")]
    Word(&'static str),
    /// Version 1 goes on behind its last word.
    #[error("the PROXY line has too many words")]
    Words,
    /// A version of the binary format that is not known.
    #[error("the PROXY header has version {0}, not 2")]
    Version(u8),
    /// Neither LOCAL nor PROXY.
    #[error("the PROXY header has the unknown command {0}")]
    Command(u8),
    /// An address family or a transport that is not known, or is not for a stream.
    #[error("the PROXY header has the address family {0:#04x}, which is not for a stream")]
    Family(u8),
    /// Longer than [`LONGEST_HEADER`].
    #[error("the PROXY header announces {0} bytes, more than {LONGEST_HEADER}")]
    Long(usize),
    /// No room for the addresses of its family.
    #[error("the PROXY header ends in its addresses")]
    Addresses,
    /// A field announces more bytes than there are.
    #[error("the PROXY header ends in its field {0:#04x}")]
    Field(u8),
    /// A field has a size that it can't have.
    #[error("the PROXY header has a field {0:#04x} of {1} bytes")]
    FieldSize(u8, usize),
    /// A field that may be there once is there twice.
    #[error("the PROXY header has a field {0:#04x} twice")]
    Twice(u8),
    /// A field is no UTF-8, or has control characters.
    #[error("the PROXY header has a field {0:#04x} that is no text")]
    Text(u8),
    /// The checksum does not match.
    #[error("the PROXY header has a wrong checksum")]
    Checksum,
}

/// Reads the header at the start of `bytes`.
///
/// However the bytes are cut, the outcome is the same: if it is an error or complete, more bytes do not change it.
///
/// ```
/// use pillarbox_server_core::proxy_protocol::{Parsed, parse};
///
/// let Parsed::Complete(header) = parse(b"PROXY TCP4 192.0.2.7 127.0.0.1 1111 143\r\na1 NOOP\r\n")? else { panic!() };
/// assert_eq!(header.length, 41);
/// assert_eq!(header.addresses.map(|(client, _)| client.to_string()).as_deref(), Some("192.0.2.7:1111"));
/// assert_eq!(parse(b"PROXY TCP4 192.0.2.7 127.0.0.1 1111 143\r")?, Parsed::Incomplete(1));
/// assert_eq!(parse(b"a1 NOOP\r\n").unwrap_err().to_string(), "no PROXY header");
/// # Ok::<(), pillarbox_server_core::proxy_protocol::ProxyError>(())
/// ```
///
/// # Errors
///
/// See [`ProxyError`].
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted);
    if !begins(one::START) && !begins(two::SIGNATURE) {
        return Err(ProxyError::Missing);
    }
    // Both have at least as many bytes as the signature, unless the line of version 1 ends too early.
    match two::SIGNATURE.len().saturating_sub(bytes.len()) {
        missing if missing > 0 && !bytes.windows(2).any(|pair| pair == b"\r\n") => Ok(Parsed::Incomplete(missing)),
        _ if begins(two::SIGNATURE) => two::parse(bytes),
        _ => one::parse(bytes),
    }
}

/// Takes a header from a stream, and not a byte more.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Header, ReadError> {
    let mut bytes = Vec::new();
    loop {
        let missing = match parse(&bytes)? {
            Parsed::Complete(header) => return Ok(header),
            Parsed::Incomplete(missing) => missing,
        };
        // Memory is taken for what came, not for what is announced.
        let mut space = [MaybeUninit::uninit(); 256];
        let mut space = ReadBuf::uninit(space.get_mut(..missing.min(256)).unwrap_or_default());
        poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut space)).await?;
        if space.filled().is_empty() {
            return Err(ReadError::End);
        }
        bytes.extend_from_slice(space.filled());
    }
}

/// Why no header could be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Malformed(#[from] ProxyError),
    #[error("the connection ended in the PROXY header")]
    End,
    #[error("reading the PROXY header: {0}")]
    Io(#[from] io::Error),
}

/// An IPv4 address mapped into IPv6 is that address.
fn endpoints(source: SocketAddr, destination: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
    Some((crate::socket::canonical(source), crate::socket::canonical(destination)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_begins_like_no_header() {
        for bytes in [&b"a"[..], b"PROXX", b"proxy TCP4", b"\r\n\r\n\0\r\nQUIX", b"\x16\x03\x01\x02\0", b" PROXY"] {
            assert_eq!(parse(bytes), Err(ProxyError::Missing), "{bytes:?}");
        }
        assert_eq!(parse(b""), Ok(Parsed::Incomplete(12)));
        assert_eq!(parse(b"PRO"), Ok(Parsed::Incomplete(9)));
        assert_eq!(parse(b"\r\n\r"), Ok(Parsed::Incomplete(13)), "already known for the binary one");
    }

    #[tokio::test]
    async fn nothing_is_taken_that_is_not_the_headers() {
        for header in
            [&b"PROXY UNKNOWN\r\n"[..], b"PROXY TCP6 2001:db8::1 ::1 1111 143\r\n", &two::tests::with_fields(&[])]
        {
            let mut stream = &[header, b"a1 NOOP\r\n"].concat()[..];
            assert_eq!(read(&mut stream).await.unwrap().length, header.len());
            assert_eq!(stream, b"a1 NOOP\r\n");
            let cut = header.split_last().unwrap().1;
            let error = read(&mut &cut[..]).await.unwrap_err();
            assert_eq!(error.to_string(), "the connection ended in the PROXY header");
        }
        let error = read(&mut &b"a1 NOOP\r\n"[..]).await.unwrap_err();
        assert_eq!(error.to_string(), "no PROXY header");
    }

    fn anything() -> impl Strategy<Value = Vec<u8>> {
        let noise = prop::collection::vec(any::<u8>(), 0..300);
        let line =
            "PROXY (TCP4|TCP6|UNKNOWN|X)( (1.2.3.4|::1|[0-9]{1,6}|x)){0,6}\r\n.{0,5}".prop_map(String::into_bytes);
        let binary =
            (0x1f_u8..0x23, prop_oneof![Just(0x11_u8), Just(0x21), Just(0x31), any::<u8>()], 0_u16..300, noise.clone())
                .prop_map(|(command, family, length, body)| {
                    [two::SIGNATURE, &[command, family], &length.to_be_bytes(), &body].concat()
                });
        let fields =
            prop::collection::vec((0_u8..0x32, prop::collection::vec(any::<u8>(), 0..12)), 0..5).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(kind, value)| (*kind, &value[..])).collect();
                two::tests::with_fields(&fields)
            });
        prop_oneof![noise, line, binary, fields]
    }

    proptest! {
        /// No panic, and no cut changes what comes out.
        #[test]
        fn cuts_do_not_matter(bytes in anything(), cuts in prop::collection::vec(1_usize..40, 1..20)) {
            let whole = parse(&bytes);
            for end in 0..bytes.len() {
                match parse(&bytes[..end]) {
                    Ok(Parsed::Incomplete(more)) => {
                        prop_assert!(more > 0);
                        if let Ok(Parsed::Complete(header)) = &whole {
                            prop_assert!(end + more <= header.length, "would take what is not the header's");
                        }
                    }
                    decided => prop_assert_eq!(&decided, &whole),
                }
            }
            if let Ok(Parsed::Complete(header)) = &whole {
                prop_assert!(header.length <= bytes.len());
            }

            // The same by the reader, from a stream that gives a few bytes at a time.
            let mut stream = tokio_test_stream(&bytes, &cuts);
            let read = futures_now(read(&mut stream));
            match (whole, read) {
                (Ok(Parsed::Complete(header)), Ok(read)) => {
                    prop_assert_eq!(header.length + stream.left(), bytes.len());
                    prop_assert_eq!(header, read);
                }
                (Ok(Parsed::Incomplete(_)), Err(ReadError::End)) => {}
                (Err(error), Err(ReadError::Malformed(read))) => prop_assert_eq!(error, read),
                (whole, read) => prop_assert!(false, "{whole:?} {read:?}"),
            }
        }
    }

    /// Bytes that come in pieces.
    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        cuts: Vec<usize>,
        turn: usize,
    }

    impl Pieces {
        fn left(&self) -> usize {
            self.bytes.len() - self.at
        }
    }

    fn tokio_test_stream(bytes: &[u8], cuts: &[usize]) -> Pieces {
        Pieces { bytes: bytes.to_vec(), at: 0, cuts: cuts.to_vec(), turn: 0 }
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            self.turn += 1;
            let size = self.cuts[self.turn % self.cuts.len()].min(buffer.remaining()).min(self.left());
            let at = self.at;
            buffer.put_slice(&self.bytes[at..at + size]);
            self.at += size;
            std::task::Poll::Ready(Ok(()))
        }
    }

    fn futures_now<F: Future>(future: F) -> F::Output {
        let future = std::pin::pin!(future);
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(output) => output,
            std::task::Poll::Pending => panic!("nothing here waits"),
        }
    }
}
