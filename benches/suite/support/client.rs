//! A client with a socket that blocks.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::certificate::NAME;

/// Octets of one read.
const READ: usize = 256 * 1024;

/// Plain or under TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A socket with this address at our end.
pub(crate) fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// A connection.
pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Stream {
    pub(crate) fn open(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        Self::over(TcpStream::connect(address).unwrap(), tls)
    }

    /// From an address of this machine's.
    pub(crate) fn open_from(from: Ipv4Addr, to: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        Self::over(connect_from(from, to).unwrap(), tls)
    }

    fn over(socket: TcpStream, tls: Option<Arc<ClientConfig>>) -> Self {
        socket.set_nodelay(true).unwrap();
        match tls {
            None => Self::Plain(socket),
            Some(config) => {
                let name = NAME.try_into().unwrap();
                let mut session = ClientConnection::new(config, name).unwrap();
                // Else each read hands out one record at most.
                session.set_buffer_limit(None);
                Self::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let count = match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        };
        match count {
            Ok(0) => panic!("the server has closed the connection"),
            Ok(count) => count,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        match self {
            Self::Plain(stream) => stream.write_all(octets).unwrap(),
            Self::Tls(stream) => {
                stream.write_all(octets).unwrap();
                stream.flush().unwrap();
            }
        }
    }

    /// Reads up to the end of the line that begins so; nothing may follow it.
    pub(crate) fn line(&mut self, start: &str) {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = self.read(&mut buffer);
            all.extend_from_slice(&buffer[..count]);
            let Some(lines) = all.strip_suffix(b"\r\n") else { continue };
            let last = lines.rsplit(|octet| *octet == b'\n').next().unwrap_or_default();
            if last.starts_with(start.as_bytes()) {
                return;
            }
        }
    }
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { stream: Stream::open(address, tls), buffer: vec![0; READ] }
    }

    /// Logs in and selects INBOX without changing it.
    pub(crate) fn examine(&mut self) {
        self.stream.line("* OK");
        self.stream.send(b"l LOGIN alice secret\r\n");
        self.stream.line("l OK");
        self.stream.send(b"s EXAMINE INBOX\r\n");
        self.stream.line("s OK");
    }

    /// Logs in over POP3.
    pub(crate) fn open_maildrop(&mut self) {
        self.stream.line("+OK");
        self.stream.send(b"USER alice\r\n");
        self.stream.line("+OK");
        self.stream.send(b"PASS secret\r\n");
        self.stream.line("+OK");
    }

    /// Sends a command of POP3 and returns its multi-line response.
    pub(crate) fn multi_line(&mut self, command: &str) -> Vec<u8> {
        self.stream.send(command.as_bytes());
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n.\r\n") {
            let count = self.stream.read(&mut self.buffer);
            all.extend_from_slice(&self.buffer[..count]);
        }
        assert!(all.starts_with(b"+OK"));
        all
    }

    /// Sends a line and takes in the line that answers it.
    pub(crate) fn exchange(&mut self, line: &[u8]) {
        self.stream.send(line);
        self.stream.line("");
    }

    /// Sends a command and returns everything up to the end of its tagged line.
    pub(crate) fn whole(&mut self, command: &str, tag: &str) -> Vec<u8> {
        self.stream.send(command.as_bytes());
        let mark = format!("\r\n{tag} OK");
        let mut all = Vec::new();
        loop {
            let count = self.stream.read(&mut self.buffer);
            all.extend_from_slice(&self.buffer[..count]);
            let tail = &all[all.len().saturating_sub(300)..];
            if all.ends_with(b"\r\n") && tail.windows(mark.len()).any(|window| window == mark.as_bytes()) {
                return all;
            }
        }
    }

    /// Sends a command and takes in this many octets.
    pub(crate) fn take(&mut self, command: &[u8], octets: usize) {
        self.stream.send(command);
        let mut taken = 0;
        while taken < octets {
            taken += self.stream.read(&mut self.buffer);
        }
        assert_eq!(taken, octets);
    }
}
