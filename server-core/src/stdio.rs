//! The one connection of a process that was started for it: on its standard input and output.
//!
//! So are servers run by inetd and its like, by a service manager that accepts for them, by `ssh`, and in tests:
//!
//! ```no_run
//! use pillarbox_server_core::{Listener, Server, stdio};
//! # use pillarbox_proto_core::{Connection, Conversation};
//! # fn greet(connection: Connection) -> Box<dyn Conversation> { unimplemented!() }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::new().listener(Listener::new("imap", greet).without_address()).bind()?.start()?;
//! let session = server.serve("imap", stdio::connection()?.unchecked())?;
//! let outcome = session.await?;
//! eprintln!("{outcome:?}");
//! // Where standard input is a terminal or a file, a thread may still be reading it.
//! std::process::exit(0)
//! # }
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;

use rustix::fs::{FileType, OFlags, Stat, fcntl_getfl, fcntl_setfl, fstat};
use socket2::{Domain, SockRef};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::net::{TcpStream, UnixStream};

use crate::incoming::Incoming;
use crate::transport::Transport;

/// Standard input and output as one connection.
///
/// A socket that is both is taken as what it is, with the addresses of its ends, and a TCP socket on standard input
/// whatever standard output is. Else they are two ends of pipes, or files, or a terminal; then the connection has no
/// addresses.
///
/// Sockets and pipes are made to not block, which others who have the same end of them notice; a pipe is given back as it
/// was when the connection ends.
///
/// Needs a tokio runtime with I/O enabled. Call it once: two connections here would take each other's input.
///
/// # Errors
///
/// What the system says: standard input or output is closed, or a socket that is no stream.
pub fn connection() -> io::Result<Incoming> {
    connection_of(io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?)
}

fn connection_of(input: OwnedFd, output: OwnedFd) -> io::Result<Incoming> {
    let (is, os) = (fstat(&input)?, fstat(&output)?);
    let same = (is.st_dev, is.st_ino) == (os.st_dev, os.st_ino);
    // A connection from the network is one also where standard output is something else: a log, or nothing.
    let is_ip = || matches!(SockRef::from(&input).domain(), Ok(Domain::IPV4 | Domain::IPV6));
    if kind(&is) == FileType::Socket && (same || is_ip()) {
        let alone = is_of_a_pair(&input);
        return Ok(Incoming::from(socket(input)?).know(|connection| connection.standard_input = alone));
    }
    let alone = kind(&is) != FileType::Socket || is_of_a_pair(&input);
    let reader: Box<dyn AsyncRead + Send + Unpin> = match kind(&is) {
        FileType::Socket => Box::new(socket(input)?),
        FileType::Fifo => Box::new(Blocking::of(&input, pipe::Receiver::from_owned_fd)?),
        _ => Box::new(tokio::io::stdin()),
    };
    let writer: Box<dyn AsyncWrite + Send + Unpin> = match kind(&os) {
        FileType::Socket => Box::new(socket(output)?),
        FileType::Fifo => Box::new(Blocking::of(&output, pipe::Sender::from_owned_fd)?),
        _ => Box::new(tokio::io::stdout()),
    };
    Ok(Incoming::new(tokio::io::join(reader, writer)).know(|connection| connection.standard_input = alone))
}

/// Whether a socket was made together with its other end, and given to us by who has that. One that was accepted has the
/// name of the socket that it came in by.
fn is_of_a_pair(socket: &OwnedFd) -> bool {
    SockRef::from(socket).local_addr().is_ok_and(|name| name.is_unnamed())
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn socket(fd: OwnedFd) -> io::Result<Transport> {
    let (socket, domain) = (SockRef::from(&fd), SockRef::from(&fd).domain()?);
    if socket.r#type()? != socket2::Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "standard input is a socket, but no stream"));
    }
    socket.set_nonblocking(true)?;
    match domain {
        Domain::UNIX => Ok(UnixStream::from_std(fd.into())?.into()),
        Domain::IPV4 | Domain::IPV6 => Ok(TcpStream::from_std(fd.into())?.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "standard input is a socket of an unknown family")),
    }
}

/// A pipe that blocks again when it is no longer used here.
struct Blocking<P> {
    pipe: P,
    fd: OwnedFd,
    before: OFlags,
}

impl<P> Blocking<P> {
    fn of(fd: &OwnedFd, open: impl FnOnce(OwnedFd) -> io::Result<P>) -> io::Result<Self> {
        let before = fcntl_getfl(fd)?;
        let (own, fd) = (fd.try_clone()?, fd.try_clone()?);
        Ok(Self { pipe: open(own)?, fd, before })
    }
}

impl<P> Drop for Blocking<P> {
    fn drop(&mut self) {
        let _ = fcntl_setfl(&self.fd, self.before);
    }
}

impl<P: AsyncRead + Unpin> AsyncRead for Blocking<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl<P: AsyncWrite + Unpin> AsyncWrite for Blocking<P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> std::task::Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.pipe.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::PipeReader;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_socket_that_is_both_has_addresses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = OwnedFd::from(listener.accept().unwrap().0);
        let incoming = connection_of(server.try_clone().unwrap(), server).unwrap();
        assert_eq!(incoming.connection.peer, Some(client.local_addr().unwrap()));
        assert_eq!(incoming.connection.local, Some(client.peer_addr().unwrap()));
        assert!(!incoming.connection.externally_secured && !incoming.connection.standard_input);

        let (_client, server) = std::os::unix::net::UnixStream::pair().unwrap();
        let server = OwnedFd::from(server);
        let incoming = connection_of(server.try_clone().unwrap(), server).unwrap();
        assert_eq!(incoming.connection.peer, None);
        assert!(incoming.transport.is_unix());
        assert!(!incoming.connection.externally_secured, "who knows what is behind it");
        assert!(incoming.connection.standard_input, "given by who has the other end");
    }

    #[tokio::test]
    async fn an_accepted_unix_socket_is_not_from_who_started_us() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let server = OwnedFd::from(listener.accept().unwrap().0);
        let both = connection_of(server.try_clone().unwrap(), server.try_clone().unwrap()).unwrap();
        assert!(!both.connection.standard_input);
        let null = std::fs::File::create("/dev/null").unwrap();
        let input = connection_of(server, null.into()).unwrap();
        assert!(!input.connection.standard_input, "nor if the output is another");
    }

    fn flags(pipe: &PipeReader) -> OFlags {
        fcntl_getfl(pipe).unwrap()
    }

    #[tokio::test]
    async fn two_pipes_are_a_connection() {
        let (input, mut to_us) = io::pipe().unwrap();
        let (mut from_us, output) = io::pipe().unwrap();
        let kept = input.try_clone().unwrap();
        let incoming = connection_of(input.into(), output.into()).unwrap();
        assert!(flags(&kept).contains(OFlags::NONBLOCK));
        assert_eq!((incoming.connection.peer, incoming.connection.standard_input), (None, true));
        let mut transport = incoming.transport;
        io::Write::write_all(&mut to_us, b"in").unwrap();
        let mut read = [0; 2];
        transport.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"in");
        transport.write_all(b"out").await.unwrap();
        drop(transport);
        assert!(!flags(&kept).contains(OFlags::NONBLOCK), "given back as it was");
        let mut all = String::new();
        io::Read::read_to_string(&mut from_us, &mut all).unwrap();
        assert_eq!(all, "out");
    }

    #[tokio::test]
    async fn datagrams_are_no_connection() {
        let (one, _two) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let one = OwnedFd::from(one);
        let error = connection_of(one.try_clone().unwrap(), one).unwrap_err();
        assert_eq!(error.to_string(), "standard input is a socket, but no stream");
    }
}
