//! What the README says, done.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests, and their helpers")]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Block, Server, blocks, read, repository, shell, skip, target};

/// The code of the backend.
fn backend(readme: &str) -> Block {
    let mut rust = blocks(readme).into_iter().filter(|block| block.language == "rust");
    rust.find(|block| block.text.contains("impl Mailbox for")).expect("the README has a backend")
}

#[test]
fn its_backend_is_the_example() {
    let (readme, example) = (read("README.md"), read("examples/minimal/src/main.rs"));
    let shown = backend(&readme).text;
    if std::env::var_os("PILLARBOX_DOCS_UPDATE").is_some() {
        fs::write(repository().join("README.md"), readme.replace(&shown, &example)).unwrap();
        return;
    }
    for (shown, line) in shown.lines().zip(example.lines()) {
        assert_eq!(shown, line, "README and example differ; PILLARBOX_DOCS_UPDATE=1 brings the README up to date");
    }
    assert_eq!(shown.lines().count(), example.lines().count());
}

#[test]
fn the_example_has_about_100_lines() {
    let example = read("examples/minimal/src/main.rs");
    let lines = example.lines().count();
    assert!(lines <= 120, "{lines} lines");
    let code = example.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!(code <= 100, "{code} lines of code");
}

/// Addresses that a block of commands serves at.
fn serves(commands: &str) -> Option<Vec<SocketAddr>> {
    let ports: &[u16] = if commands.contains("cargo run -p pillarbox-example-minimal") {
        &[1143]
    } else if commands.contains("cargo run --release") {
        &[1143, 1993, 1110, 1995]
    } else {
        return None;
    };
    Some(ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect())
}

/// Whether nobody else listens there; waits a little for those who are about to leave.
fn free(addresses: &[SocketAddr]) -> bool {
    let started = Instant::now();
    loop {
        if addresses.iter().all(|address| TcpListener::bind(address).is_ok()) {
            return true;
        }
        if started.elapsed() > Duration::from_secs(60) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What each command has to show.
const SHOWS: &[(&str, &str)] = &[
    ("imap://127.0.0.1:1143/INBOX;MAILINDEX=1", "Subject: "),
    ("pop3://127.0.0.1:1110/1", "Subject: Welcome"),
    ("reader:letmein", "Milk, bread"),
    ("?SUBJECT%20shop", "* SEARCH 1"),
];

fn lacks_curl() -> bool {
    let found =
        Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        skip("there is no curl, which the README's commands use");
    }
    !found
}

#[test]
fn its_commands_work_in_an_empty_folder() {
    if lacks_curl() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let commands: Vec<Block> = blocks(&read("README.md")).into_iter().filter(|block| block.language == "sh").collect();
    let (mut servers, mut clients) = (0, 0);
    let mut server: Option<Server> = None;
    for Block { text: commands, .. } in commands {
        if commands.trim() == "cargo test --workspace" {
            // That is what runs this test.
        } else if let Some(addresses) = serves(&commands) {
            drop(server.take());
            if !free(&addresses) {
                return skip(&format!("{addresses:?} are in use, so the README's commands were not run"));
            }
            server = Some(Server::start(shell(home.path(), &commands), home.path(), &addresses));
            servers += 1;
        } else {
            let server = server.as_ref().expect("a server is started before it is asked");
            clients += run(home.path(), server, &commands);
        }
    }
    assert_eq!(servers, 2);
    assert!(clients >= 4, "{clients} commands of clients");
}

/// Runs commands one by one; returns how many there were.
fn run(home: &Path, server: &Server, commands: &str) -> usize {
    let said = server.said();
    let password = said.split("password ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    for command in commands.lines() {
        let done = shell(home, &command.replace("PASSWORD", password)).stderr(Stdio::piped()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{command}: {}\n{out}{err}\n{said}", done.status);
        let expected: Vec<_> = SHOWS.iter().filter(|(part, _)| command.contains(part)).collect();
        assert!(!expected.is_empty(), "nobody looks at what this shows: {command}");
        for (_, shown) in expected.into_iter().filter(|(part, _)| !command.contains('?') || part.contains('?')) {
            assert!(out.contains(shown), "{command}: no {shown:?} in\n{out}{err}");
        }
    }
    commands.lines().count()
}

#[test]
fn its_backend_works_in_a_package_of_its_own() {
    if lacks_curl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let readme = read("README.md");
    let toml = blocks(&readme).into_iter().find(|block| block.language == "toml").expect("the README has a manifest");
    let package = home.join("notes-server");
    fs::create_dir_all(package.join("src")).unwrap();
    let head = "[package]\nname = \"notes-server\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n";
    fs::write(package.join("Cargo.toml"), format!("{head}{}", toml.text)).unwrap();
    fs::write(package.join("src/main.rs"), backend(&readme).text).unwrap();
    // The same versions as here, so that nothing has to be fetched.
    fs::copy(repository().join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    std::os::unix::fs::symlink(repository(), home.join("pillarbox")).unwrap();
    fs::create_dir(home.join("letters")).unwrap();
    fs::write(home.join("letters/one.txt"), "The first.\n").unwrap();
    fs::write(home.join("letters/two.txt"), "The second.\n").unwrap();

    let build = "cd notes-server && command cargo build --offline --quiet";
    let mut build = shell(home, build);
    // Settings of this workspace's profile, so that what is built already serves here too.
    let built = build.env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let program = target().join("debug/notes-server");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let start = shell(home, &format!("exec '{}' letters {port}", program.display()));
    let _server = Server::start(start, home, &[port]);
    let asked = |path: &str| {
        let url = format!("curl --silent --show-error --user reader:letmein 'imap://{port}/{path}'");
        let done = shell(home, &url).output().unwrap();
        assert!(done.status.success(), "{url}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(asked("INBOX?ALL").trim_end(), "* SEARCH 1 2");
    assert!(asked("INBOX;UID=2").contains("Subject: two\r\n"));
    assert!(asked("INBOX;UID=2;SECTION=TEXT").contains("The second."));
}
