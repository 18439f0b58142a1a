//! The policies of POP3 maildrops, with the program itself and real files: login delay, expiry, bulletins, deletion
//! marks from elsewhere, the exclusive maildrop, and what they need of the operator.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod bulletins;
mod expiry;
mod login_delay;
mod maildrop;
mod secrets;
mod settings;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _};
use support::pop3::Pop3;
use support::{CONFIG, PASSWORD, PATIENCE, Place, USER, run_with_input, text};

/// The usual configuration with these lines in its table `pop3`.
fn config(pop3: &str) -> String {
    format!("{CONFIG}[pop3]\n{pop3}\n")
}

fn place(pop3: &str) -> Place {
    Place::with_config(&config(pop3))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// The number of a user in a SQLite file.
fn number(file: &Path, user: &str) -> Option<String> {
    let db = Connection::open(file).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.query_row("SELECT value FROM number WHERE user = ?1", [user], |row| row.get(0)).optional().unwrap()
}

fn set_number(file: &Path, user: &str, value: &str) {
    let db = Connection::open(file).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute_batch("CREATE TABLE IF NOT EXISTS number (user TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        .unwrap();
    db.execute("INSERT OR REPLACE INTO number (user, value) VALUES (?1, ?2)", [user, value]).unwrap();
}

/// A Maildir with messages of these names in `new/`.
fn maildir(path: &Path, messages: &[(&str, &str)]) {
    for place in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(place)).unwrap();
    }
    for (name, octets) in messages {
        fs::write(path.join("new").join(name), octets).unwrap();
    }
}

/// Puts a message into the user's INBOX, as a delivery agent does.
fn deliver(place: &Place, name: &str, octets: &str) {
    maildir(&place.maildir(), &[(name, octets)]);
}

/// All message files of the user's INBOX, sorted.
fn files(place: &Place) -> Vec<PathBuf> {
    let mut files: Vec<_> = ["cur", "new"]
        .iter()
        .flat_map(|folder| fs::read_dir(place.maildir().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The file that has this in it.
fn file_with(place: &Place, part: &str) -> (PathBuf, String) {
    let mut found = files(place).into_iter().filter_map(|path| {
        let octets = fs::read_to_string(&path).unwrap();
        octets.contains(part).then_some((path, octets))
    });
    let first = found.next().expect("a message");
    assert!(found.next().is_none(), "{part} is there twice");
    first
}

fn stamp(octets: &str) -> Option<i64> {
    let mut lines = octets.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| line.strip_prefix("X-Expire-Timestamp: ")).map(|value| value.parse().unwrap())
}

fn user(place: &Place, arguments: &[&str], input: &str) -> Output {
    let output = run_with_input(place.command().arg("user").args(arguments), input);
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

fn wait_until(condition: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "it does not come to that");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Logs in as soon as a session that was cut off lets go of the maildrop.
fn login_soon(server: &support::Server) -> Pop3 {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let mut client = Pop3::connect(server.address("pop3"));
        let reply = client.try_login(USER, PASSWORD);
        if reply.starts_with("+OK") {
            return client;
        }
        assert!(reply.contains("IN-USE") && Instant::now() < give_up, "{reply}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
