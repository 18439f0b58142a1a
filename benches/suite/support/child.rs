//! This program again, as a client in a process of its own: its memory and its open files are not the server's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustls_pki_types::CertificateDer;

use super::certificate::{Certificate, client_config};
use super::client::Stream;

/// The environment variable that says which part to play.
pub(crate) const ROLE: &str = "PILLARBOX_BENCH_ROLE";
const ADDRESS: &str = "PILLARBOX_BENCH_ADDRESS";
const COUNT: &str = "PILLARBOX_BENCH_COUNT";
const TRUST: &str = "PILLARBOX_BENCH_TRUST";

/// Clients that have logged in, selected INBOX and are in IDLE, until this is dropped.
pub(crate) struct Idlers(Child);

impl Idlers {
    pub(crate) fn start(address: SocketAddr, count: usize, tls: Option<&Certificate>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, "idle").env(ADDRESS, address.to_string()).env(COUNT, count.to_string());
        if let Some(certificate) = tls {
            command.env(TRUST, certificate.der.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the clients failed");
        Self(child)
    }
}

impl Drop for Idlers {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Plays a part.
pub(crate) fn run(role: &str) {
    assert_eq!(role, "idle");
    let variable = |name| std::env::var(name).ok();
    let address: SocketAddr = variable(ADDRESS).unwrap().parse().unwrap();
    let count: usize = variable(COUNT).unwrap().parse().unwrap();
    let tls = variable(TRUST).map(|hex| {
        let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        client_config(CertificateDer::from((0..hex.len()).step_by(2).map(octet).collect::<Vec<_>>()))
    });
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = Stream::open(address, tls.clone());
        stream.line("* OK");
        stream.send(b"l LOGIN alice secret\r\n");
        stream.line("l OK");
        stream.send(b"s SELECT INBOX\r\n");
        stream.line("s OK");
        stream.send(b"i IDLE\r\n");
        stream.line("+ ");
        streams.push(stream);
    }
    let mut out = std::io::stdout();
    out.write_all(b"ready\n").unwrap();
    out.flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}
