//! This program again, as clients in a process of their own: their memory, open files and time are not the server's.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;
use tokio_rustls::rustls::ClientConfig;

use super::certificate::{Certificate, client_config};
use super::client::{Stream, connect_from};

/// The environment variable that says which part to play.
pub(crate) const ROLE: &str = "PILLARBOX_BENCH_ROLE";
const ADDRESS: &str = "PILLARBOX_BENCH_ADDRESS";
const COUNT: &str = "PILLARBOX_BENCH_COUNT";
const NETWORK: &str = "PILLARBOX_BENCH_NETWORK";
const TRUST: &str = "PILLARBOX_BENCH_TRUST";

/// What the clients of a process do, until it is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// They have logged in, selected INBOX and are in IDLE.
    Idle,
    /// So many times a second they connect and log in with a wrong password, all from one address.
    Guess,
    /// Each sends an octet a second of a command that never ends.
    Trickle,
}

impl Part {
    const ALL: [(&'static str, Self); 3] = [("idle", Self::Idle), ("guess", Self::Guess), ("trickle", Self::Trickle)];

    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Guess => "guess",
            Self::Trickle => "trickle",
        }
    }
}

/// A process of clients; dropping this ends it.
pub(crate) struct Child(process::Child);

impl Child {
    /// Begins a process with so many clients, whose addresses are in the network 127.`network`.0.0/16.
    pub(crate) fn begin(part: Part, address: SocketAddr, count: usize, network: u8, tls: Option<&Certificate>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, part.name()).env(ADDRESS, address.to_string()).env(COUNT, count.to_string());
        command.env(NETWORK, network.to_string());
        if let Some(certificate) = tls {
            command.env(TRUST, certificate.der.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until all of its clients do what they have to do.
    pub(crate) fn ready(mut self) -> Self {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the clients failed");
        self
    }

    /// Both.
    pub(crate) fn start(part: Part, address: SocketAddr, count: usize, network: u8, tls: Option<&Certificate>) -> Self {
        Self::begin(part, address, count, network, tls).ready()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the process was told.
struct Task {
    address: SocketAddr,
    count: usize,
    network: u8,
}

impl Task {
    fn from(&self, client: usize) -> Ipv4Addr {
        let [high, low] = u16::try_from(client + 1).unwrap().to_be_bytes();
        Ipv4Addr::new(127, self.network, high, low)
    }
}

/// Plays a part.
pub(crate) fn run(role: &str) {
    let variable = |name| std::env::var(name).ok();
    let task = Task {
        address: variable(ADDRESS).unwrap().parse().unwrap(),
        count: variable(COUNT).unwrap().parse().unwrap(),
        network: variable(NETWORK).unwrap().parse().unwrap(),
    };
    let tls = variable(TRUST).map(|hex| {
        let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        client_config(CertificateDer::from((0..hex.len()).step_by(2).map(octet).collect::<Vec<_>>()))
    });
    let (_, part) = Part::ALL.into_iter().find(|(name, _)| *name == role).unwrap();
    match part {
        Part::Idle => {
            let streams: Vec<_> = (0..task.count).map(|client| idle(&task, client, tls.clone())).collect();
            ready();
            wait_for_the_end();
            drop(streams);
        }
        // These go on until the process ends.
        Part::Guess => {
            std::thread::spawn(move || guess(&task));
            ready();
            wait_for_the_end();
        }
        Part::Trickle => {
            let sockets: Vec<_> =
                (0..task.count).map(|client| connect_from(task.from(client), task.address).unwrap()).collect();
            std::thread::spawn(move || trickle(&sockets));
            ready();
            wait_for_the_end();
        }
    }
}

fn ready() {
    let mut out = std::io::stdout();
    out.write_all(b"ready\n").unwrap();
    out.flush().unwrap();
}

fn wait_for_the_end() {
    let _ = std::io::stdin().read(&mut [0]);
}

fn idle(task: &Task, client: usize, tls: Option<Arc<ClientConfig>>) -> Stream {
    let mut stream = Stream::open_from(task.from(client), task.address, tls);
    stream.line("* OK");
    stream.send(b"l LOGIN alice secret\r\n");
    stream.line("l OK");
    stream.send(b"s SELECT INBOX\r\n");
    stream.line("s OK");
    stream.send(b"i IDLE\r\n");
    stream.line("+ ");
    stream
}

/// Guesses at an even pace, and listens to no answer.
fn guess(task: &Task) {
    let pause = Duration::from_secs(1) / u32::try_from(task.count).unwrap();
    let (begun, mut open) = (Instant::now(), VecDeque::<TcpStream>::new());
    for number in 0_u32.. {
        std::thread::sleep((begun + pause * number).saturating_duration_since(Instant::now()));
        let Ok(mut socket) = connect_from(task.from(0), task.address) else { continue };
        let _ = socket.write_all(format!("a LOGIN alice guess{number}\r\n").as_bytes());
        open.push_back(socket);
        if open.len() > 2 * task.count {
            open.pop_front();
        }
    }
}

fn trickle(sockets: &[TcpStream]) {
    let begun = Instant::now();
    for second in 0_u32.. {
        std::thread::sleep((begun + Duration::from_secs(1) * second).saturating_duration_since(Instant::now()));
        for mut socket in sockets {
            // The server may have had enough of it.
            let _ = socket.write_all(b"a");
        }
    }
}
