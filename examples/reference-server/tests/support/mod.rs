//! A `pillarboxd` of one's own for each test, and a plain IMAP client that reads replies to the end.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod pop3;
pub mod raw;
pub mod wire;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The program under test.
pub const PILLARBOXD: &str = env!("CARGO_BIN_EXE_pillarboxd");
pub const USER: &str = "alice";
pub const PASSWORD: &str = "correct horse";

/// What would be waited for is there long before; a test that hangs should end all the same.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A command of the program, with nothing of the caller's settings.
pub fn pillarboxd() -> Command {
    let mut command = Command::new(PILLARBOXD);
    command.env_remove("PILLARBOX_LOG").env_remove("XDG_DATA_HOME").env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// Runs a command with this on its standard input.
pub fn run_with_input(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that needs no input may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

/// Writes a program of the shell. This process never has it open for writing: a child that another test begins just then
/// would have it open, too, for a moment, and nobody can run a file that is written to.
pub fn program(path: &Path, commands: &str) {
    let write = "cat > \"$0\" && chmod 755 \"$0\"";
    let output = run_with_input(Command::new("sh").args(["-c", write]).arg(path), &format!("#!/bin/sh\n{commands}\n"));
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// An address that nobody else takes: neither the system, which chooses from higher ports, nor another test.
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 77, high, low.max(1)), NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A folder with a configuration, a data folder and one user, and a server when it is started.
pub struct Place {
    pub folder: tempfile::TempDir,
}

/// Listeners on ports that the system chooses, for each protocol and TLS mode that clients are tested with.
pub const CONFIG: &str = r#"
data = "data"
[server]
shutdown-grace = "5s"
[server.tls]
certificate = "self-signed"
[server.listener.imap]
bind = "127.0.0.1:0"
protocol = "imap"
[server.listener.imaps]
bind = "127.0.0.1:0"
protocol = "imap"
tls-mode = "connection"
[server.listener.pop3]
bind = "127.0.0.1:0"
protocol = "pop3"
[server.listener.pop3s]
bind = "127.0.0.1:0"
protocol = "pop3"
tls-mode = "connection"
"#;

impl Place {
    pub fn new() -> Self {
        Self::with_config(CONFIG)
    }

    pub fn with_config(config: &str) -> Self {
        let place = Self::empty(config);
        let output = run_with_input(place.command().args(["user", "add", USER]), &format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        place
    }

    pub fn empty(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("pillarboxd.toml"), config).expect("the configuration");
        fs::create_dir(folder.path().join("data")).expect("a data folder");
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The Maildir of the user.
    pub fn maildir(&self) -> PathBuf {
        self.data().join("mail").join(USER)
    }

    pub fn certificate(&self) -> PathBuf {
        self.data().join("tls/cert.pem")
    }

    pub fn command(&self) -> Command {
        let mut command = pillarboxd();
        command.arg("--config").arg(self.path().join("pillarboxd.toml"));
        command
    }

    pub fn start(&self) -> Server {
        Server::start(&mut self.command(), self.path())
    }
}

/// A server that runs; it is killed when this is dropped.
pub struct Server {
    child: Child,
    listeners: Vec<(String, SocketAddr)>,
    pub log: PathBuf,
    pub output: PathBuf,
}

impl Server {
    /// Starts a command and waits until it serves. Its log is kept in the folder.
    pub fn start(command: &mut Command, folder: &Path) -> Self {
        let (ready, log, output) = (folder.join("ready"), folder.join("log"), folder.join("output"));
        let _ = fs::remove_file(&ready);
        let mut child = command
            .arg("--ready-file")
            .arg(&ready)
            .stdout(File::create(&output).expect("an output file"))
            .stderr(File::options().create(true).append(true).open(&log).expect("a log file"))
            .spawn()
            .expect("the server starts");
        let give_up = Instant::now() + PATIENCE;
        let listeners = loop {
            if let Ok(text) = fs::read_to_string(&ready) {
                break text
                    .lines()
                    .filter_map(|line| {
                        let words: Vec<&str> = line.split(' ').collect();
                        // A unix socket is where the test has put it.
                        Some((words[0].to_owned(), words[3].parse().ok()?))
                    })
                    .collect();
            }
            let ended = child.try_wait().expect("a child");
            assert!(
                ended.is_none() && Instant::now() < give_up,
                "the server is not ready ({ended:?}): {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        Self { child, listeners, log, output }
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.listeners.iter().find(|(name, _)| name == listener).expect("a listener").1
    }

    pub fn port(&self, listener: &str) -> String {
        self.address(listener).port().to_string()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill").success());
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        self.child.kill().expect("a running child");
        self.child.wait().expect("a child");
    }

    pub fn wait(mut self) -> ExitStatus {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < give_up, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    pub fn imap(&self) -> Imap {
        Imap::login(self.address("imap"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An IMAP client that sends a command and reads to its tagged reply.
pub struct Imap {
    stream: BufReader<TcpStream>,
    tag: u32,
}

/// The replies to one command: each untagged one whole, literals included, and the tagged one.
#[derive(Debug)]
pub struct Reply {
    pub untagged: Vec<Vec<u8>>,
    pub tagged: String,
}

impl Reply {
    pub fn ok(self) -> Self {
        assert!(self.tagged.starts_with("OK"), "{self:?}");
        self
    }

    /// The number in a response code such as `[UIDNEXT 7]`, wherever it stands.
    pub fn code(&self, name: &str) -> Option<String> {
        let start = format!("[{name} ");
        let lines = self.untagged.iter().map(|line| text(line)).chain([self.tagged.clone()]);
        let mut found = lines.filter_map(|line| {
            let at = line.find(&start)? + start.len();
            Some(line[at..].split(']').next()?.to_owned())
        });
        found.next()
    }
}

impl Imap {
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut imap = Self { stream: BufReader::new(stream), tag: 0 };
        imap.response()?;
        Ok(imap)
    }

    pub fn login(address: SocketAddr) -> Self {
        let mut imap = Self::connect(address).expect("a greeting");
        imap.command(&format!("LOGIN {USER} \"{PASSWORD}\"")).expect("a reply").ok();
        imap
    }

    /// Sends a command and reads its replies.
    pub fn command(&mut self, command: &str) -> std::io::Result<Reply> {
        self.send(&[command.as_bytes()])
    }

    /// Sends a command with literals: parts are joined by `{n+}` and the next part as a literal, and the last one ends
    /// the line.
    pub fn send(&mut self, parts: &[&[u8]]) -> std::io::Result<Reply> {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        let mut octets = format!("{tag} ").into_bytes();
        let mut literal = false;
        for (at, part) in parts.iter().enumerate() {
            if literal {
                octets.extend_from_slice(part);
                literal = false;
                continue;
            }
            octets.extend_from_slice(part);
            if let Some(next) = parts.get(at + 1) {
                octets.extend_from_slice(format!("{{{}+}}\r\n", next.len()).as_bytes());
                literal = true;
            }
        }
        octets.extend_from_slice(b"\r\n");
        self.stream.get_mut().write_all(&octets)?;
        let mut untagged = Vec::new();
        loop {
            let response = self.response()?;
            match response.strip_prefix(format!("{tag} ").as_bytes()) {
                Some(rest) => return Ok(Reply { untagged, tagged: text(rest.trim_ascii_end()) }),
                None => untagged.push(response),
            }
        }
    }

    /// One response with its literals.
    pub fn response(&mut self) -> std::io::Result<Vec<u8>> {
        let mut response = Vec::new();
        loop {
            let start = response.len();
            self.stream.read_until(b'\n', &mut response)?;
            // The end, perhaps within a line.
            if !response[start..].ends_with(b"\n") {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = response[start..].trim_ascii_end();
            let length = line.strip_suffix(b"}").and_then(|line| {
                let open = line.iter().rposition(|byte| *byte == b'{')?;
                text(&line[open + 1..]).parse::<usize>().ok()
            });
            let Some(length) = length else { return Ok(response) };
            let at = response.len();
            response.resize(at + length, 0);
            self.stream.read_exact(&mut response[at..])?;
        }
    }

    /// Sends a command, and reads nothing.
    pub fn begin(&mut self, command: &str) {
        self.stream.get_mut().write_all(format!("x {command}\r\n").as_bytes()).expect("a connection");
    }

    /// Begins IDLE, and reads up to the continuation request.
    pub fn idle(&mut self) {
        self.begin("IDLE");
        while !self.response().expect("a continuation request").starts_with(b"+") {}
    }

    /// Adds a message; its UID.
    pub fn append(&mut self, mailbox: &str, flags: &str, message: &[u8]) -> u32 {
        let reply = self.send(&[format!("APPEND {mailbox} ({flags}) ").as_bytes(), message]).expect("a reply").ok();
        let code = reply.code("APPENDUID").expect("APPENDUID");
        code.split(' ').nth(1).expect("a UID").parse().expect("a number")
    }
}

/// Whether a program that a test needs is there. Where it must be (in CI) a missing one is a failure, elsewhere the test
/// says that it was skipped.
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{program} is missing: .ci/install-packages installs it");
        // Straight to the file: the test harness would keep it from being seen.
        let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {program} is not installed");
    }
    found
}

/// Runs a client to its end.
pub fn client(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the client starts");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
