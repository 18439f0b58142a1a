//! A client that sends octets and reads lines, from an address of its choice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{PATIENCE, text};

/// What this machine is to itself.
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An address of the network that is this machine.
pub fn loopback(text: &str) -> IpAddr {
    let address: IpAddr = text.parse().expect("an address");
    assert!(address.is_loopback());
    address
}

/// Connects from this address.
pub fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    connect_from_port(SocketAddr::new(source, 0), to)
}

/// Connects from this address and port.
pub fn connect_from_port(source: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket");
    socket.bind(&source.into()).expect("a source address");
    socket.connect(&to.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream.set_nodelay(true).expect("a connection");
    stream
}

/// Whatever octets come from.
pub trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A connection.
pub struct Raw {
    stream: BufReader<Box<dyn Stream>>,
}

impl Raw {
    pub fn connect(to: SocketAddr) -> Self {
        Self::from(HERE, to)
    }

    pub fn from(source: IpAddr, to: SocketAddr) -> Self {
        Self::over(connect_from(source, to))
    }

    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Self::over(stream)
    }

    /// One whole line without its end; `None` when the connection is over. Half a line is none.
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(text(line.strip_suffix(b"\r\n").expect("a whole line"))),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}, after {:?}", text(&line));
                assert!(line.is_empty(), "{:?}", text(&line));
                None
            }
        }
    }

    /// The next line, which is there.
    pub fn expect(&mut self, start: &str) -> String {
        let line = self.line().unwrap_or_else(|| panic!("{start:?} is expected, and the connection is over"));
        assert!(line.starts_with(start), "{line:?} does not begin with {start:?}");
        line
    }

    /// Sends octets; whoever has been cut off does not notice.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.get_mut().write_all(octets.as_ref());
        self
    }

    /// Sends a line.
    pub fn say(&mut self, line: &str) -> &mut Self {
        self.send(format!("{line}\r\n"))
    }

    /// Sends an IMAP command; all lines of its reply, the tagged one last.
    pub fn imap(&mut self, command: &str) -> Vec<String> {
        self.say(&format!("t {command}"));
        let mut lines = Vec::new();
        loop {
            let line = self.line().unwrap_or_else(|| panic!("no reply to {command:?}"));
            let end = line.starts_with("t ");
            lines.push(line);
            if end {
                return lines;
            }
        }
    }

    /// The tagged line of an IMAP reply.
    pub fn tagged(&mut self, command: &str) -> String {
        self.imap(command).pop().expect("a line")
    }

    /// Asserts that the connection ends without another octet.
    pub fn is_over(&mut self) {
        assert_eq!(self.line(), None);
    }
}

/// The first line that a server says to a client from this address; `None` when it ends the connection without an octet.
pub fn greeting(source: IpAddr, to: SocketAddr) -> Option<String> {
    Raw::from(source, to).line()
}

/// Waits until something is so.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < give_up, "it does not come to that: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
