//! Reading the repository's documents, and running what they say.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is waited for is there long before; building may come first.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fenced block of a document.
#[derive(Clone, Debug)]
pub struct Block {
    /// What stands behind the fence, up to a comma.
    pub language: String,
    pub text: String,
}

pub fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let language = language.split(',').next().unwrap_or_default().to_owned();
            blocks.push(Block { language, text: text.join("\n") + "\n" });
        }
    }
    blocks
}

/// The rows of the table below a heading, as cells.
pub fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}")).1;
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.skip(2).map(cells).collect()
}

/// What stands between backticks.
pub fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Says why something is not tested, past the capture of a test's output.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
    assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {why}");
}

/// The folder of this build, which programs that a test builds share.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

/// The shell, with nothing of the caller's settings.
///
/// `cargo` works from an empty folder as it does in the repository: that is where it finds the packages. It builds
/// without optimisation, but where `PILLARBOX_DOCS_RELEASE` is set: then it does exactly what is written.
pub fn shell(home: &Path, script: &str) -> Command {
    let cargo = r#"cargo() {
    local words=("$1" --manifest-path "$REPOSITORY/Cargo.toml" --locked) word
    for word in "${@:2}"; do
        [ "$word" = --release ] && [ -z "${PILLARBOX_DOCS_RELEASE:-}" ] || words+=("$word")
    done
    command cargo "${words[@]}"
}"#;
    let mut command = Command::new("bash");
    command
        .args(["-euc", &format!("{cargo}\n{script}")])
        .current_dir(home)
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("REPOSITORY", repository())
        .env("CARGO_TARGET_DIR", target())
        .env_remove("PILLARBOX_LOG")
        .stdin(Stdio::null());
    // What cargo tells this test about its package is not for another cargo: build scripts that look at it would make it
    // build everything anew.
    for (name, _) in std::env::vars_os() {
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
        if name == "CARGO" || of_package.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        if std::env::var_os(name).is_none()
            && let Some(old) = std::env::var_os("HOME")
        {
            command.env(name, Path::new(&old).join(folder));
        }
    }
    command
}

/// A server that runs until this is dropped, in a process group of its own.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it has said that it serves at these addresses, and does.
    pub fn start(mut command: Command, home: &Path, addresses: &[SocketAddr]) -> Self {
        let log = home.join("server.log");
        let out = fs::File::create(&log).unwrap();
        command.process_group(0).stdout(out.try_clone().unwrap()).stderr(out);
        let mut server = Self { child: command.spawn().unwrap(), log };
        let started = Instant::now();
        for address in addresses {
            while !server.said().contains(&address.to_string()) || TcpStream::connect(address).is_err() {
                let ended = server.child.try_wait().unwrap();
                let late = started.elapsed() > PATIENCE;
                assert!(ended.is_none() && !late, "no server at {address}: {ended:?}\n{}", server.said());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        server
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", "--", &format!("-{}", self.child.id())]).status();
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}
