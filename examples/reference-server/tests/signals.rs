//! SIGTERM and SIGINT: running commands are finished, everybody is told, and nothing is half done.
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
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::pop3::Pop3;
use support::{CONFIG, Imap, PATIENCE, Place, Server, USER, text};

fn place(grace: &str) -> Place {
    Place::with_config(&CONFIG.replace("shutdown-grace = \"5s\"", grace))
}

fn until(condition: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends the signal, and waits until the server has heard it.
fn stop(server: &Server, signal: &str) {
    server.signal(signal);
    until(|| server.log().contains("shutting down"));
}

/// A connection that sends and reads what a test says.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// One line; an empty one at the end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads up to a line that begins so.
    fn expect(&mut self, start: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "no {start}");
            if line.starts_with(start) {
                return line;
            }
        }
    }

    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut rest) {
            // So its system ends what a server had not read when it was killed.
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        text(&rest)
    }

    fn log_in(&mut self) {
        self.expect("* OK");
        self.send(&format!("l LOGIN {USER} \"{}\"\r\n", support::PASSWORD));
        self.expect("l OK");
    }
}

const BYE: &str = "* BYE Server shutting down\r\n";
const REFUSED: &str = "-ERR [SYS/TEMP] Server shutting down";

#[test]
fn everybody_is_told_and_running_commands_are_finished() {
    for signal in ["TERM", "INT"] {
        let place = place("shutdown-grace = \"1h\"\nshutdown-stagger = \"1ms\"");
        let server = place.start();
        let (imap, pop3) = (server.address("imap"), server.address("pop3"));
        server.imap().append("INBOX", "", b"Subject: there before\r\n\r\nx\r\n");

        let mut appending = Raw::connect(imap);
        appending.log_in();
        appending.send("a APPEND INBOX {27}\r\n");
        appending.expect("+");
        appending.send("Subject: appe");
        let mut idling = Raw::connect(imap);
        idling.log_in();
        idling.send("i SELECT INBOX\r\n");
        idling.expect("i OK");
        idling.send("i IDLE\r\n");
        idling.expect("+");
        let mut selected = Raw::connect(imap);
        selected.log_in();
        let mut nobody = Raw::connect(imap);
        nobody.expect("* OK");
        // Half a command is none.
        let mut half = Raw::connect(imap);
        half.log_in();
        half.send("h CREATE ha");
        let mut reading = Pop3::connect(pop3);
        reading.login(USER, support::PASSWORD);
        reading.expect("RETR 1", "+OK");
        reading.lines();
        let mut stranger = Raw::connect(pop3);
        stranger.expect("+OK");

        stop(&server, signal);
        for client in [&mut idling, &mut selected, &mut nobody, &mut half] {
            assert_eq!(client.rest(), BYE, "{signal}");
        }
        // What a client of POP3 asks next is answered so, as there is no word that nobody has asked for.
        assert_eq!(reading.command_or_end("NOOP").as_deref(), Some(REFUSED));
        assert_eq!(reading.command_or_end("NOOP"), None);
        assert_eq!(stranger.rest(), format!("{REFUSED}\r\n"));
        assert!(TcpStream::connect(imap).is_err() && TcpStream::connect(pop3).is_err(), "nobody comes in");

        // The one that is under way is waited for.
        appending.send("nded\r\n\r\nxxxx\r\n");
        appending.send("\r\nb CREATE later\r\n");
        let rest = appending.rest();
        assert!(rest.starts_with("a OK [APPENDUID ") || rest.contains("\r\na OK [APPENDUID "), "{rest}");
        assert!(rest.ends_with(BYE) && !rest.contains("\r\nb "), "{rest}");
        let log = server.log.clone();
        assert_eq!(server.wait().code(), Some(0));
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("dropped=0"), "{log}");

        let server = place.start();
        let mut imap = server.imap();
        assert_eq!(
            imap.command("SELECT INBOX")
                .unwrap()
                .ok()
                .untagged
                .iter()
                .find_map(|line| { text(line).strip_suffix(" EXISTS\r\n").map(str::to_owned) }),
            Some("* 2".to_owned())
        );
        let subjects = imap.command("FETCH 2 BODY.PEEK[]").unwrap().ok();
        assert!(text(&subjects.untagged[0]).contains("Subject: appended\r\n\r\nxxxx\r\n"), "{subjects:?}");
        let list = imap.command("LIST \"\" *").unwrap().ok();
        let list: String = list.untagged.iter().map(|line| text(line)).collect();
        assert!(!list.contains("later") && !list.contains("ha"), "{list}");
    }
}

#[test]
fn deletions_that_were_not_committed_are_not_done() {
    for signal in ["TERM", "INT"] {
        let place = place("shutdown-grace = \"1h\"");
        let server = place.start();
        for number in 0..3 {
            server.imap().append("INBOX", "", format!("Subject: {number}\r\n\r\nx\r\n").as_bytes());
        }
        let mut pop3 = Pop3::connect(server.address("pop3"));
        pop3.login(USER, support::PASSWORD);
        let ids = pop3.unique_ids();
        pop3.expect("DELE 1", "+OK").expect("DELE 3", "+OK");
        stop(&server, signal);
        assert_eq!(pop3.command_or_end("QUIT").as_deref(), Some(REFUSED), "too late");
        assert_eq!(server.wait().code(), Some(0));

        let server = place.start();
        let mut pop3 = Pop3::connect(server.address("pop3"));
        pop3.login(USER, support::PASSWORD);
        assert_eq!(pop3.unique_ids(), ids, "{signal}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second, status) in [("TERM", "TERM", 143), ("TERM", "INT", 130), ("INT", "INT", 130)] {
        let place = place("shutdown-grace = \"1h\"");
        let server = place.start();
        let mut appending = Raw::connect(server.address("imap"));
        appending.log_in();
        appending.send("a APPEND INBOX {100}\r\n");
        appending.expect("+");
        appending.send("half");
        stop(&server, first);
        // SIGHUP is no second signal.
        server.signal("HUP");
        std::thread::sleep(Duration::from_millis(50));
        assert!(TcpStream::connect(server.address("imap")).is_err());
        server.signal(second);
        let log = server.log.clone();
        assert_eq!(server.wait().code(), Some(status), "{first} {second}");
        assert!(fs::read_to_string(log).unwrap().contains("stopped at once, on a second signal"));
        assert_eq!(appending.rest(), "", "it was not promised");
        let server = place.start();
        let reply = server.imap().command("STATUS INBOX (MESSAGES)").unwrap().ok();
        assert_eq!(text(&reply.untagged[0]), "* STATUS INBOX (MESSAGES 0)\r\n");
    }
}

#[test]
fn after_the_grace_period_who_is_left_is_dropped() {
    let place = place("shutdown-grace = \"500ms\"");
    let server = place.start();
    let mut appending = Raw::connect(server.address("imap"));
    appending.log_in();
    appending.send("a APPEND INBOX {100}\r\n");
    appending.expect("+");
    stop(&server, "TERM");
    let log = server.log.clone();
    assert_eq!(server.wait().code(), Some(0));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("dropped=1"), "{log}");
}

#[test]
fn good_byes_are_spread() {
    const CLIENTS: u32 = 200;
    const STAGGER: Duration = Duration::from_secs(5);
    let place = place("shutdown-grace = \"1h\"\nshutdown-stagger = \"5s\"");
    let server = place.start();
    let mut clients: Vec<Raw> = (0..CLIENTS).map(|_| Raw::connect(server.address("imap"))).collect();
    for client in &mut clients {
        client.expect("* OK");
    }
    let waiting: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                assert_eq!(client.line(), BYE.trim_end());
                let heard = Instant::now();
                assert_eq!(client.rest(), "");
                heard
            })
        })
        .collect();
    let begun = Instant::now();
    stop(&server, "TERM");
    let mut heard: Vec<Instant> = waiting.into_iter().map(|client| client.join().unwrap()).collect();
    heard.sort_unstable();
    assert_eq!(server.wait().code(), Some(0));
    // Each has its share of the time before it, however late all are heard.
    for (number, at) in (0..CLIENTS).zip(heard) {
        let after = at.duration_since(begun);
        assert!(after >= STAGGER * number / CLIENTS, "number {number} after {after:?}");
    }
}

#[test]
fn who_never_ends_a_handshake_keeps_nobody_for_long() {
    let config = CONFIG
        .replace("shutdown-grace = \"5s\"", "shutdown-grace = \"1h\"")
        .replace("certificate = \"self-signed\"", "certificate = \"self-signed\"\nhandshake-timeout = 1");
    let proxied = "[server.listener.proxied]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n\
                   proxy.trusted-networks = [\"127.0.0.1\"]\n";
    let place = Place::with_config(&format!("{config}{proxied}"));
    let server = place.start();
    // One that has sent nothing, in each place where something has to come before there is a session.
    let silent = [Raw::connect(server.address("imaps")), Raw::connect(server.address("proxied"))];
    let mut upgrading = Raw::connect(server.address("imap"));
    upgrading.expect("* OK");
    upgrading.send("a STARTTLS\r\n");
    upgrading.expect("a OK");
    stop(&server, "TERM");
    assert_eq!(server.wait().code(), Some(0));
    for mut client in silent.into_iter().chain([upgrading]) {
        assert_eq!(client.rest(), "", "there is nothing that could be said");
    }
}

#[test]
fn signals_without_a_client() {
    for signal in ["TERM", "INT"] {
        let place = place("shutdown-grace = \"1h\"");
        let server = place.start();
        Imap::connect(server.address("imap")).unwrap().command("LOGOUT").unwrap();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal}");
    }
}
