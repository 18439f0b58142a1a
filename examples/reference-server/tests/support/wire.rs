//! Connections as bytes, for what happens before and around a protocol.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{PATIENCE, Place, Server};

/// A connection that reads lines.
pub struct Wire(pub BufReader<TcpStream>);

impl Wire {
    pub fn to(address: SocketAddr) -> Self {
        Self::from_stream(TcpStream::connect(address).expect("a connection"))
    }

    /// From this address of our own.
    pub fn from(source: &str, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        let source: IpAddr = source.parse().expect("an address");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of ours");
        socket.connect(&address.into()).expect("a connection");
        Self::from_stream(socket.into())
    }

    fn from_stream(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self(BufReader::new(stream))
    }

    /// One line without its end; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        match self.0.read_until(b'\n', &mut line) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    }

    pub fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(format!("{text}\r\n").as_bytes()).expect("a connection");
    }

    /// Sends a command of IMAP; the lines up to its completion, that one last.
    pub fn imap(&mut self, command: &str) -> Vec<String> {
        self.send(&format!("x {command}"));
        let mut lines = Vec::new();
        loop {
            lines.push(self.line());
            let last = lines.last().expect("a line");
            if last.starts_with("x ") || last.is_empty() {
                return lines;
            }
        }
    }

    /// Sends a command of POP3; the first line.
    pub fn pop3(&mut self, command: &str) -> String {
        self.send(command);
        self.line()
    }

    /// Everything up to the end.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Whether nothing comes for a while.
    pub fn is_silent(&mut self) -> bool {
        self.0.get_ref().set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
        let silent = self.0.fill_buf().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        self.0.get_ref().set_read_timeout(Some(PATIENCE)).expect("a socket");
        silent
    }
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for words in the log.
#[track_caller]
pub fn logged(server: &Server, words: &str) {
    let give_up = Instant::now() + PATIENCE;
    while !server.log().contains(words) {
        assert!(Instant::now() < give_up, "{words:?} is not in the log:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A place with one user, whose listeners are `imap` and `pop3` on loopback, with these keys before and in them.
pub fn place(top: &str, server: &str, listener: &str) -> Place {
    let config = format!(
        "data = \"data\"\n{top}\n[server]\nshutdown-grace = \"5s\"\n{server}\n\
         [server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n{listener}\n\
         [server.listener.pop3]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\n{listener}\n"
    );
    Place::with_config(&config)
}

/// Changes the configuration of a place.
pub fn edit(place: &Place, from: &str, to: &str) {
    let file = place.path().join("pillarboxd.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replace(from, to)).expect("a configuration");
}
