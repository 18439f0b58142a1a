//! A plain POP3 client.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::PATIENCE;

/// A connection, after its greeting.
pub struct Pop3 {
    stream: BufReader<TcpStream>,
    pub greeting: String,
}

impl Pop3 {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address, PATIENCE).expect("a greeting")
    }

    /// None if no greeting comes within that time.
    pub fn try_connect(address: SocketAddr, patience: Duration) -> Option<Self> {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(patience)).expect("a time limit");
        stream.set_nodelay(true).expect("a connection");
        let mut client = Self { stream: BufReader::new(stream), greeting: String::new() };
        client.greeting = client.line()?;
        assert!(client.greeting.starts_with("+OK"), "{}", client.greeting);
        client.stream.get_mut().set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Some(client)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(length) if length > 0 => Some(super::text(line.strip_suffix(b"\r\n").expect("a whole line"))),
            _ => None,
        }
    }

    /// Sends a command; the first line of the reply.
    pub fn command(&mut self, command: &str) -> String {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("a connection");
        self.line().expect("a reply")
    }

    /// Sends a command; the first line of the reply, or none where the connection is over.
    pub fn command_or_end(&mut self, command: &str) -> Option<String> {
        // What is sent to a closed connection may fail at once or not at all.
        let _ = self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes());
        self.line()
    }

    /// Sends a command, and reads nothing.
    pub fn begin(&mut self, command: &str) {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("a connection");
    }

    pub fn expect(&mut self, command: &str, start: &str) -> &mut Self {
        let reply = self.command(command);
        assert!(reply.starts_with(start), "{command}: {reply}");
        self
    }

    /// The lines of a reply after its first, without the dots that stand for dots.
    pub fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().expect("a line");
            match line.strip_prefix('.') {
                Some("") => return lines,
                Some(rest) => lines.push(rest.to_owned()),
                None => lines.push(line),
            }
        }
    }

    pub fn capabilities(&mut self) -> Vec<String> {
        self.expect("CAPA", "+OK");
        self.lines()
    }

    /// The reply to PASS.
    pub fn try_login(&mut self, user: &str, password: &str) -> String {
        self.expect(&format!("USER {user}"), "+OK");
        self.command(&format!("PASS {password}"))
    }

    pub fn login(&mut self, user: &str, password: &str) -> &mut Self {
        let reply = self.try_login(user, password);
        assert!(reply.starts_with("+OK"), "{reply}");
        self
    }

    /// Sends what a login needs, and reads nothing.
    pub fn begin_login(&mut self, user: &str, password: &str) {
        let commands = format!("USER {user}\r\nPASS {password}\r\n");
        self.stream.get_mut().write_all(commands.as_bytes()).expect("a connection");
    }

    pub fn quit(&mut self) {
        self.expect("QUIT", "+OK");
    }

    /// Count and octets.
    pub fn stat(&mut self) -> (usize, u64) {
        let reply = self.command("STAT");
        let mut words = reply.strip_prefix("+OK ").expect("+OK").split(' ');
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).expect("a number");
        (usize::try_from(number()).expect("a count"), number())
    }

    /// The unique-ids, in the order of the messages.
    pub fn unique_ids(&mut self) -> Vec<String> {
        self.expect("UIDL", "+OK");
        self.lines().into_iter().map(|line| line.split_once(' ').expect("number and id").1.to_owned()).collect()
    }

    /// A message, and the reply's first line.
    pub fn retr(&mut self, number: u32) -> (String, String) {
        let reply = self.command(&format!("RETR {number}"));
        assert!(reply.starts_with("+OK"), "{reply}");
        (self.lines().into_iter().map(|line| line + "\r\n").collect(), reply)
    }
}
