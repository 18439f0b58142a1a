//! What an operator sees of sessions: transcripts, telemetry, lines of the log.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{CONFIG, Imap, PASSWORD, Place, Server, USER};

const MESSAGE: &[u8] = b"Subject: plans\r\n\r\nThe ducks fly at midnight.\r\n";

/// With a transcript of the plain listeners.
fn with_transcript(more: &str) -> String {
    CONFIG.replace("protocol = \"imap\"\n[", &format!("protocol = \"imap\"\ntranscript = true\n{more}[")).replace(
        "[server.listener.pop3]\nbind = \"127.0.0.1:0\"\n",
        &format!("[server.listener.pop3]\nbind = \"127.0.0.1:0\"\ntranscript = true\n{more}"),
    )
}

/// Waits for the server's end, after which all is written, and gives its log.
fn log_at_end(server: Server) -> String {
    server.signal("TERM");
    let log = server.log.clone();
    assert!(server.wait().success());
    fs::read_to_string(log).unwrap()
}

fn imap_session(server: &Server) {
    let mut imap = Imap::connect(server.address("imap")).unwrap();
    imap.command(&format!("LOGIN {USER} wrong-secret")).unwrap();
    imap.send(&[b"LOGIN alice ", PASSWORD.as_bytes(), b""]).unwrap().ok();
    imap.append("INBOX", "", MESSAGE);
    imap.command("SELECT INBOX").unwrap().ok();
    imap.command("FETCH 1 BODY[]").unwrap().ok();
    imap.command(PASSWORD).unwrap();
    imap.command("LOGOUT").unwrap();
}

fn pop3_session(server: &Server) {
    let mut stream = BufReader::new(TcpStream::connect(server.address("pop3")).unwrap());
    let said = format!("USER {USER}\r\nPASS {PASSWORD}\r\nRETR 1\r\nPASS {PASSWORD}\r\nQUIT\r\n");
    stream.get_mut().write_all(said.as_bytes()).unwrap();
    let heard: Vec<_> = stream.lines().map_while(Result::ok).collect();
    assert!(heard.iter().any(|line| line == "The ducks fly at midnight."), "{heard:?}");
}

#[test]
fn a_transcript_shows_both_protocols_without_secrets_and_mail() {
    let place = Place::with_config(&with_transcript(""));
    let server = place.start();
    imap_session(&server);
    pop3_session(&server);
    let log = log_at_end(server);
    for line in [
        "C: a1 LOGIN alice \"***\"",
        "C: a2 LOGIN alice \"***\"",
        "S: (data...))",
        "C: (data...)",
        "C: PASS ***",
        "S: (data...)",
        "C: RETR 1",
        "C: QUIT",
        "logged in user=",
        "login failed mechanism=",
    ] {
        assert!(log.contains(line), "no {line:?}\n{log}");
    }
    for secret in [PASSWORD, "horse", "wrong-secret", "ducks"] {
        assert!(!log.contains(secret), "{secret}\n{log}");
    }
}

#[test]
fn a_transcript_shows_all_if_asked_to() {
    let place = Place::with_config(&with_transcript("transcript-secrets = true\ntranscript-data = true\n"));
    let server = place.start();
    imap_session(&server);
    let log = log_at_end(server);
    assert!(log.contains("wrong-secret") && log.contains("The ducks fly"), "{log}");
}

/// The files in the folder of a user's telemetry.
fn telemetry(folder: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .map(|file| {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            let octets = fs::read(file.path()).unwrap();
            (file.file_name().into_string().unwrap(), String::from_utf8(octets).unwrap())
        })
        .collect()
}

/// Whether there is a mark of ten digits before this text.
fn has_marked(text: &str, mark: char, said: &str) -> bool {
    text.match_indices(said).any(|(at, _)| {
        let before = text[..at].strip_suffix(mark).unwrap_or_default();
        before.len() > 10
            && before[before.len() - 11..].starts_with(mark)
            && before.as_bytes()[before.len() - 10..].iter().all(u8::is_ascii_digit)
    })
}

#[test]
fn telemetry_follows_a_user_who_has_a_folder() {
    let place = Place::new();
    let folder = place.data().join("log").join(USER);
    fs::create_dir_all(&folder).unwrap();
    let server = place.start();
    imap_session(&server);
    pop3_session(&server);
    let pid = server.pid();
    log_at_end(server);
    let files = telemetry(&folder);
    assert_eq!(files.len(), 2, "{files:?}");
    for (name, text) in &files {
        assert!(name.strip_prefix(&format!("{pid}-")).is_some_and(|session| session.len() == 8), "{name}");
        let (header, rest) = text.split_once("\n\n").unwrap();
        assert!(header.starts_with("---------- alice ") && header.len() == "---------- alice ".len() + 24, "{header}");
        assert!(rest.starts_with('>'), "{text}");
        assert!(text.contains("The ducks fly at midnight."), "{text}");
        assert!(!text.contains("horse") && !text.contains("wrong-secret"), "{text}");
    }
    let imap = &files.iter().find(|(_, text)| text.contains("SELECT")).unwrap().1;
    assert!(has_marked(imap, '<', "a4 SELECT INBOX\r\n"), "{imap}");
    assert!(has_marked(imap, '>', "a2 OK"), "{imap}");
    assert!(imap.contains("<***\r\n"), "{imap}");
    let pop3 = &files.iter().find(|(_, text)| text.contains("octets")).unwrap().1;
    assert!(pop3.contains("PASS ***") || pop3.starts_with("---------- alice"), "{pop3}");
}

#[test]
fn nobody_else_has_telemetry_and_one_connection_at_a_time_is_named_after_the_process() {
    let config = CONFIG.split("[server.listener.imaps]").next().unwrap();
    let place = Place::with_config(&format!("{config}single-process = true\n"));
    fs::create_dir_all(place.data().join("log")).unwrap();
    let server = place.start();
    imap_session(&server);
    assert_eq!(fs::read_dir(place.data().join("log")).unwrap().count(), 0);
    let folder = place.data().join("log").join(USER);
    fs::create_dir(&folder).unwrap();
    imap_session(&server);
    imap_session(&server);
    let pid = server.pid();
    log_at_end(server);
    let files = telemetry(&folder);
    let [(name, text)] = &files[..] else { panic!("{files:?}") };
    assert_eq!(*name, pid.to_string());
    assert_eq!(text.matches("---------- alice ").count(), 2, "{text}");
}
