//! Mail that is hard to pass on unchanged, and programs that retrieve it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::support::pop3::Pop3;
use crate::support::{PASSWORD, Place, Server, USER, text};

/// How long a program may take; it is ended then. Each takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(900);

/// The start of the names of messages with lines as long as buffers of 8 KiB, and longer.
pub const LONGER: &str = "longer-than-buffers";
/// The start of the names of messages that end with a header field.
pub const ONLY_A_HEADER: &str = "only-a-header";
/// The name of the message that has no octets.
pub const NOTHING: &str = "nothing";

static DELIVERED: AtomicUsize = AtomicUsize::new(0);

/// A message as it lies in the Maildir.
#[derive(Clone)]
pub struct Sample {
    pub name: String,
    pub file: Vec<u8>,
}

impl Sample {
    fn new(name: &str, file: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), file: file.into() }
    }

    /// As the protocol has it, without the dots that stand for dots: lines that each end in CRLF (RFC 1939, section 3).
    pub fn wire(&self) -> Vec<u8> {
        let mut wire = with_crlf(&self.file);
        if !wire.is_empty() && !wire.ends_with(b"\r\n") {
            wire.extend_from_slice(b"\r\n");
        }
        wire
    }

    /// The same, with the empty line that ends a header where nothing does.
    pub fn wire_with_header_ended(&self) -> Vec<u8> {
        let mut wire = self.wire();
        if self.name.starts_with(ONLY_A_HEADER) {
            wire.extend_from_slice(b"\r\n");
        }
        wire
    }

    /// As a client keeps it that ends lines with LF alone.
    pub fn local(&self) -> Vec<u8> {
        without_cr(&self.wire())
    }
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 16);
    for octet in octets {
        if *octet == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(*octet);
    }
    out
}

pub fn without_cr(octets: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(octets.len());
    for octet in octets {
        if *octet == b'\n' && out.last() == Some(&b'\r') {
            out.pop();
        }
        out.push(*octet);
    }
    out
}

fn header(name: &str) -> Vec<u8> {
    format!(
        "From: someone@example.org\nTo: alice@example.org\nSubject: {name}\nMessage-ID: <{name}@example.org>\n\
         Date: Thu, 17 Jul 1997 02:44:25 -0700\n"
    )
    .into_bytes()
}

/// A message of header and body, with bare LF.
fn message(name: &str, body: &[u8]) -> Sample {
    let mut file = header(name);
    file.push(b'\n');
    file.extend_from_slice(body);
    Sample { name: name.to_owned(), file }
}

/// Octets that look like chance and are the same each time, without NUL, CR and LF.
fn noise(length: usize) -> impl Iterator<Item = u8> {
    let mut state = 0x2545_f491_u32;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    })
    .filter(|octet| !matches!(octet, 0 | b'\r' | b'\n'))
    .take(length)
}

/// Lines as long as the buffers that programs have, and up to two octets shorter and longer. A dot is their last octet.
fn long_lines(lengths: &[usize]) -> Vec<u8> {
    let mut body = Vec::new();
    for length in lengths {
        for length in length - 2..=length + 2 {
            body.extend(std::iter::repeat_n(b'x', length - 1));
            body.extend_from_slice(b".\n.\n.dot\n");
        }
    }
    body
}

/// A message of five megabytes, with dots and 8-bit text, no two lines alike.
fn large() -> Vec<u8> {
    let mut body = Vec::with_capacity(5_100_000);
    let mut octets = noise(5_000_000);
    for line in 0_usize.. {
        if body.len() >= 5_000_000 {
            break;
        }
        if line % 3 == 0 {
            body.push(b'.');
        }
        body.extend_from_slice(line.to_string().as_bytes());
        body.extend(octets.by_ref().take(line % 97));
        body.push(b'\n');
    }
    body
}

/// Messages that any program can be expected to keep as they are: each with bare LF and with CRLF in its file.
pub fn samples() -> Vec<Sample> {
    let mut utf8 = "Gr\u{fc}\u{df}e \u{2014} \u{65e5}\u{672c}\u{8a9e} \u{1f4ec}\n".repeat(30).into_bytes();
    utf8.extend((0x80..=0xff_u8).flat_map(|octet| [octet, octet, b'\n']));
    let mut binary: Vec<u8> = (1..=255).filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    binary.push(b'\n');
    let octets: Vec<u8> = noise(40_000).collect();
    for line in octets.chunks(73) {
        binary.extend_from_slice(line);
        binary.push(b'\n');
    }
    let mut only_header = Sample::new(ONLY_A_HEADER, header(ONLY_A_HEADER));
    only_header.file.extend_from_slice(b"X-Last: no empty line after this\n");
    let lf = [
        message("dots", b".\n..\n...\n.one\n..two\n .\n. \nend.\n.\n\n.\n\n..\n"),
        message("a-dot-first-and-last", b".\ntext\n.\n"),
        message("only-dots", &b".\n..\n".repeat(20_000)),
        message("a-line-of-dots", &[b".".repeat(5000), b"\n".to_vec()].concat()),
        message("long-lines", &long_lines(&[998, 1024, 2048, 4096])),
        message("longer-than-buffers", &long_lines(&[8192, 16_384, 32_768, 65_536, 300_000])),
        message("longer-than-buffers-once", &[b".".to_vec(), b"x".repeat(100_000), b"\n".to_vec()].concat()),
        message("eight-bit", &utf8),
        message("binary", &binary),
        message("no-line-end", b"the last line\nhas no end"),
        message("a-dot-without-line-end", b"text\n."),
        message("no-body", b""),
        only_header,
        message("empty-lines-last", b"text\n\n\n\n\n\n"),
        message("only-empty-lines", b"\n\n\n"),
        message("white-space", b"space \ntab\t\n \n\t\n  indented\n \t \n"),
        message(
            "from-lines",
            b"From here\n>From there\n>>From far\nFrom a@example.org Thu Jul 17 02:44:25 1997\n\nFrom\n",
        ),
        message("large", &large()),
    ];
    let mut all = Vec::new();
    for sample in lf {
        let name = format!("{}-crlf", sample.name);
        // The name stands in the header as well, so that no two messages are the same.
        let length = header(&sample.name).len();
        let file = [header(&name), sample.file[length..].to_vec()].concat();
        all.push(Sample { name, file: with_crlf(&file) });
        all.push(sample);
    }
    all.push(message("mixed-line-ends", b"one\r\ntwo\n.\n.\r\nthree\n\r\n\nfour\r\n"));
    all
}

/// What programs that parse messages do not keep, but those that only store them do.
pub fn raw_samples() -> Vec<Sample> {
    vec![
        message("carriage-returns", b"a\rb\n\rc\nd\r\r\n.\r.\n\r\r\re\r"),
        message("a-line-of-two-megabytes", &[b".x".repeat(1_000_000), b"\n".to_vec()].concat()),
        Sample::new(NOTHING, ""),
        Sample::new("a-line-feed", "\n"),
        Sample::new("a-dot", "."),
        Sample::new("no-header", "\n.no header\n"),
        Sample::new("no-fields", "neither a field\nnor a body\n"),
    ]
}

/// One more that comes later.
pub fn late() -> Sample {
    message("late", b"..\nlate\n")
}

/// Puts messages where a delivery agent puts them; every other one has been seen by some other program.
pub fn deliver(place: &Place, samples: &[Sample]) {
    let maildir = place.maildir();
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    for (at, sample) in samples.iter().enumerate() {
        // No name is used twice.
        let number = DELIVERED.fetch_add(1, Ordering::Relaxed);
        let base = format!("869200000.{number}_{}.example", sample.name);
        let target = if at % 2 == 0 { format!("new/{base}") } else { format!("cur/{base}:2,S") };
        let mut file = File::create(maildir.join("tmp").join(&base)).unwrap();
        file.write_all(&sample.file).unwrap();
        // An empty file that is new may be one that is still written to.
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        fs::rename(maildir.join("tmp").join(&base), maildir.join(target)).unwrap();
    }
}

/// The files of the messages in a Maildir, with their content.
pub fn files(maildir: &Path) -> Vec<(String, Vec<u8>)> {
    let folders = ["new", "cur"].map(|folder| maildir.join(folder));
    folders.iter().filter(|folder| folder.exists()).flat_map(|folder| contents(folder)).collect()
}

/// The files in a folder, with their content.
pub fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())).collect()
}

/// Whether the maildrop has these messages still, and its Maildir has them as they were put there.
pub fn assert_all_left(place: &Place, server: &Server, samples: &[Sample]) {
    let mut client = Pop3::connect(server.address("pop3"));
    let (count, octets) = client.login(USER, PASSWORD).stat();
    client.quit();
    assert_eq!(count, samples.len());
    let least: usize = samples.iter().map(|sample| with_crlf(&sample.file).len()).sum();
    let most: usize = samples.iter().map(|sample| sample.wire().len()).sum();
    let octets = usize::try_from(octets).unwrap();
    assert!((least..=most).contains(&octets), "{octets} octets of {least} to {most}");
    let mut found: Vec<Vec<u8>> = files(&place.maildir()).into_iter().map(|(_, content)| content).collect();
    let mut expected: Vec<Vec<u8>> = samples.iter().map(|sample| sample.file.clone()).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected, "the files in the Maildir are others");
}

/// Whether the maildrop is empty, and its Maildir has no file left.
pub fn assert_none_left(place: &Place, server: &Server) {
    let mut client = Pop3::connect(server.address("pop3"));
    assert_eq!(client.login(USER, PASSWORD).stat(), (0, 0));
    client.quit();
    let names: Vec<String> = files(&place.maildir()).into_iter().map(|(name, _)| name).collect();
    assert!(names.is_empty(), "{names:?}");
}

/// Whether what a client kept is this, in any order; tells which message differs, and where.
pub fn assert_kept(who: &str, kept: &[(String, Vec<u8>)], expected: &[(String, Vec<u8>)]) {
    let mut wrong = Vec::new();
    let mut free: Vec<&Vec<u8>> = kept.iter().map(|(_, content)| content).collect();
    let mut missing = Vec::new();
    for (name, content) in expected {
        match free.iter().position(|octets| *octets == content) {
            Some(at) => drop(free.swap_remove(at)),
            None => missing.push((name, content)),
        }
    }
    for (name, content) in missing {
        let mark = format!("Subject: {name}").into_bytes();
        let alike = free.iter().find(|octets| {
            octets
                .windows(mark.len() + 1)
                .take(2000)
                .any(|window| window.starts_with(&mark) && matches!(window[mark.len()], b'\r' | b'\n'))
        });
        wrong.push(match alike {
            None => format!("{name} is missing"),
            Some(octets) => {
                let at = octets.iter().zip(content).take_while(|(a, b)| a == b).count();
                let near = |octets: &[u8]| {
                    let piece = &octets[at.saturating_sub(20)..octets.len().min(at + 40)];
                    piece.escape_ascii().to_string()
                };
                format!(
                    "{name} differs from octet {at} on ({} octets, not {}): {:?}, not {:?}",
                    octets.len(),
                    content.len(),
                    near(octets),
                    near(content)
                )
            }
        });
    }
    assert!(
        wrong.is_empty() && free.is_empty(),
        "{who}: {wrong:#?}, {} more: {:?}",
        free.len(),
        free.iter().map(|octets| text(&octets[..octets.len().min(300)])).collect::<Vec<_>>()
    );
}

/// The three ways to a maildrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Plain,
    /// The STLS command (RFC 2595, section 4).
    Stls,
    /// TLS from the first octet on (RFC 8314, section 3.3).
    Tls,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Stls, Self::Tls];

    pub fn listener(self) -> &'static str {
        if self == Self::Tls { "pop3s" } else { "pop3" }
    }
}

/// The home folder of a program that retrieves mail: it sees nothing of the caller's home and settings.
pub struct Home {
    folder: tempfile::TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub output: String,
}

impl Home {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file that only its owner may read, as programs want it where a password is in it.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// A folder, made if it is not there.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A Maildir, made if it is not there.
    pub fn maildir(&self, name: &str) -> PathBuf {
        for folder in ["tmp", "new", "cur"] {
            self.folder(&format!("{name}/{folder}"));
        }
        self.path().join(name)
    }

    /// A shell script that copies what it reads to a new file in a folder.
    pub fn script(&self, folder: &Path) -> PathBuf {
        self.write("store", &format!("exec cat > \"$(mktemp '{}/XXXXXXXX')\"\n", folder.display()))
    }

    /// Runs a program to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Ended {
        let output = self.path().join("output");
        let file = File::create(&output).unwrap();
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("TMPDIR", self.path())
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let give_up = Instant::now() + PATIENCE;
        loop {
            let status = child.try_wait().unwrap();
            let told = || text(&fs::read(&output).unwrap());
            if let Some(status) = status {
                return Ended { code: status.code(), output: told() };
            }
            if Instant::now() >= give_up {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{program} does not end: {}", told());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Ended {
    /// Whether it ended with this code.
    pub fn with(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.output);
        self.output
    }
}

/// A server that takes mail by LMTP (RFC 2033), from one client at a time, and keeps it in memory with its CRLF.
pub struct Lmtp {
    pub port: u16,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Lmtp {
    /// It serves as long as the test's process lives.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away in the middle is the test's concern: mail is missing then.
                let _ = serve_lmtp(stream.unwrap(), &keep);
            }
        });
        Self { port, kept }
    }

    /// What has come since this was asked last.
    pub fn take(&self) -> Vec<(String, Vec<u8>)> {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        kept.into_iter().enumerate().map(|(at, octets)| (at.to_string(), octets)).collect()
    }
}

fn serve_lmtp(stream: TcpStream, kept: &Mutex<Vec<Vec<u8>>>) -> std::io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    output.write_all(b"220 ready\r\n")?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        if verb == b"DATA" {
            output.write_all(b"354 go on\r\n")?;
            let mut octets = Vec::new();
            loop {
                line.clear();
                if input.read_until(b'\n', &mut line)? == 0 {
                    return Ok(());
                }
                if line == b".\r\n" {
                    break;
                }
                octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            }
            kept.lock().unwrap().push(octets);
        }
        output.write_all(if verb == b"QUIT" { b"221 bye\r\n" } else { b"250 ok\r\n" })?;
    }
}
