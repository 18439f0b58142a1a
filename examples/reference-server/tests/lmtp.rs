//! Mail comes in over LMTP, and is read over IMAP and POP3.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use support::pop3::Pop3;
use support::raw::{HERE, Raw, connect_from, wait_for};
use support::{Imap, PASSWORD, Place, Server, USER, has, run_with_input, text};

/// A place with a listener for LMTP on a port and on a unix socket, one for IMAP and one for POP3, and two users.
fn place(lines: &str) -> (Place, PathBuf) {
    let place = Place::empty("");
    let socket = place.path().join("lmtp.socket");
    let config = format!(
        "data = \"data\"\n{lines}\n[server]\nhostname = \"mx.example.org\"\n\
         [server.listener.lmtp]\nbind = [\"127.0.0.1:0\", \"unix://{}\"]\nprotocol = \"lmtp\"\n\
         [server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n\
         [server.listener.pop3]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\n",
        socket.display()
    );
    fs::write(place.path().join("pillarboxd.toml"), config).unwrap();
    for user in [USER, "bob@example.com"] {
        let output = run_with_input(place.command().args(["user", "add", user]), &format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    (place, socket)
}

/// A client that has said who it is.
fn hello(mut client: Raw) -> Raw {
    client.expect("220 mx.example.org ");
    let mut line = client.say("LHLO sender.example.net").expect("250");
    while line.starts_with("250-") {
        line = client.expect("250");
    }
    client
}

fn client(server: &Server) -> Raw {
    hello(Raw::connect(server.address("lmtp")))
}

/// Begins a message; the replies to its recipients.
fn envelope(client: &mut Raw, recipients: &[&str]) -> Vec<String> {
    client.say("MAIL FROM:<sender@example.net>").expect("250 ");
    let reply = |recipient: &&str| client.say(&format!("RCPT TO:<{recipient}>")).line().unwrap();
    recipients.iter().map(reply).collect()
}

/// Sends a message without dots at the beginnings of its lines; as many replies as it has recipients.
fn data(client: &mut Raw, message: &[u8], recipients: usize) -> Vec<String> {
    client.say("DATA").expect("354 ");
    client.send(message).send(".\r\n");
    (0..recipients).map(|_| client.line().unwrap()).collect()
}

fn login(server: &Server, user: &str) -> Imap {
    let mut imap = Imap::connect(server.address("imap")).unwrap();
    imap.command(&format!("LOGIN {user} \"{PASSWORD}\"")).unwrap().ok();
    imap
}

/// The messages of the INBOX, whole.
fn messages(server: &Server, user: &str) -> Vec<Vec<u8>> {
    let mut imap = login(server, user);
    imap.command("EXAMINE INBOX").unwrap().ok();
    let reply = imap.command("UID FETCH 1:* BODY.PEEK[]").unwrap().ok();
    reply
        .untagged
        .iter()
        .filter(|line| line.windows(6).any(|part| part == b"BODY[]"))
        .map(|line| literal(line))
        .collect()
}

fn literal(response: &[u8]) -> Vec<u8> {
    let end = response.windows(3).position(|part| part == b"}\r\n").expect("a literal");
    let start = response[..end].iter().rposition(|octet| *octet == b'{').unwrap();
    let length: usize = text(&response[start + 1..end]).parse().unwrap();
    response[end + 3..][..length].to_vec()
}

/// Asserts that a message is this one, with the lines on top that show how it came.
#[track_caller]
fn is_delivered(kept: &[u8], message: &[u8], recipient: &str, from: &str) {
    let above = kept.strip_suffix(message).unwrap_or_else(|| panic!("{}", text(kept)));
    let above = text(above);
    let wanted = format!("Return-Path: <sender@example.net>\r\nDelivered-To: {recipient}\r\nReceived: from {from}");
    assert!(above.starts_with(&wanted), "{above}");
    assert!(above.contains("\r\n\tby mx.example.org with LMTP id ") && above.ends_with("\r\n"), "{above}");
    assert!(!above.contains("\r\n\r\n"), "{above}");
}

const SMTPLIB: &str = r#"
import smtplib, sys
host, port = sys.argv[1], int(sys.argv[2])
client = smtplib.LMTP(host, port, local_hostname="sender.example.net")
with open(sys.argv[3], "rb") as file: message = file.read()
to = ["alice@example.org", "nobody-here@example.org", "bob@EXAMPLE.com"]
refused = client.sendmail("sender@example.net", to, message)
assert list(refused) == ["nobody-here@example.org"], refused
assert refused["nobody-here@example.org"][0] == 550, refused
# Python knows of one reply to a message; there is one for each recipient who was taken.
assert client.getreply()[0] == 250
# Only somebody unknown.
try:
    client.sendmail("sender@example.net", ["nobody-here"], message)
    assert False
except smtplib.SMTPRecipientsRefused as error:
    assert error.recipients["nobody-here"][0] == 550
client.quit()
"#;

#[test]
fn python_delivers_to_two_users_and_not_to_a_third() {
    if !has("python3") {
        return;
    }
    let (place, socket) = place("");
    let server = place.start();
    // Octets of all kinds, lines that begin with dots, and no header that would be touched.
    let mut message =
        b"Subject: =?utf-8?q?h=C3=A9?=\r\nFrom: a@example.net\r\n\r\n..two dots\r\n.\r\n.one\r\n".to_vec();
    message.extend((1..=255_u8).filter(|octet| !b"\r\n".contains(octet)));
    message.extend(b"\r\n\r\n \t\r\nend\r\n");
    let file = place.path().join("message");
    fs::write(&file, &message).unwrap();
    let run = |host: &str, port: &str| {
        let output =
            Command::new("python3").args(["-c", SMTPLIB, host, port]).arg(&file).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    run("127.0.0.1", &server.port("lmtp"));
    // It takes a path for a unix socket.
    run(socket.to_str().unwrap(), "0");
    for (user, recipient) in [(USER, "alice@example.org"), ("bob@example.com", "bob@EXAMPLE.com")] {
        let kept = messages(&server, user);
        assert_eq!(kept.len(), 2, "{user}");
        is_delivered(&kept[0], &message, recipient, "sender.example.net ([127.0.0.1])\r\n");
        is_delivered(&kept[1], &message, recipient, "sender.example.net\r\n");
    }
    let mut pop3 = Pop3::connect(server.address("pop3"));
    pop3.login(USER, PASSWORD);
    assert_eq!(pop3.stat().0, 2);
    pop3.expect("RETR 1", "+OK");
    let lines = pop3.lines();
    for line in ["..two dots", ".", ".one"] {
        assert!(lines.iter().any(|kept| kept == line), "dots are stuffed, and are themselves again: {line}");
    }
}

#[test]
fn swaks_delivers() {
    if !has("swaks") {
        return;
    }
    let (place, socket) = place("");
    let server = place.start();
    let file = place.path().join("message");
    let message = b"Subject: swaks\r\n\r\nhello\r\n.dot\r\n";
    fs::write(&file, message).unwrap();
    for more in
        [&["--server", "127.0.0.1", "--port", &server.port("lmtp")][..], &["--socket", socket.to_str().unwrap()]]
    {
        let mut swaks = Command::new("swaks");
        swaks.args(["--protocol", "LMTP", "--helo", "sender.example.net", "--from", "sender@example.net"]);
        swaks.args(["--to", "alice,bob@example.com", "--data"]).arg(format!("@{}", file.display())).args(more);
        support::client(&mut swaks);
    }
    for user in [USER, "bob@example.com"] {
        let kept = messages(&server, user);
        assert_eq!(kept.len(), 2, "{user}");
        assert!(kept.iter().all(|kept| text(kept).contains("\r\nhello\r\n.dot\r\n")), "{}", text(&kept[0]));
    }
}

#[test]
fn recipients_are_answered_one_by_one() {
    let (place, _) = place("");
    let server = place.start();
    let mut client = client(&server);
    client.say("DATA").expect("503 ");
    client.say("RCPT TO:<alice>").expect("503 ");
    let replies = envelope(&mut client, &["alice", "nobody-here", "alice+news@example.org", "bob@example.com", "bob"]);
    let codes: Vec<&str> = replies.iter().map(|reply| &reply[..9]).collect();
    assert_eq!(codes, ["250 2.1.5", "550 5.1.1", "250 2.1.5", "250 2.1.5", "550 5.1.1"]);
    let replies = data(&mut client, b"Subject: x\r\n\r\ny\r\n", 3);
    assert!(replies.iter().all(|reply| reply.starts_with("250 2.1.5 ")), "{replies:?}");
    client.say("MAIL FROM:<>").expect("250 ");
    client.say("DATA").expect("503 ");
    client.say("QUIT").expect("221 ");
    client.is_over();
    assert_eq!((messages(&server, USER).len(), messages(&server, "bob@example.com").len()), (2, 1));
}

#[test]
fn a_message_that_is_too_large_is_kept_for_nobody() {
    let (place, socket) = place("max-message-size = \"64 KiB\"");
    let server = place.start();
    let mut client = hello(Raw::unix(&socket));
    client.say("MAIL FROM:<a@example.net> SIZE=65537").expect("552 5.3.4 ");
    // One that says less than it is.
    client.say("MAIL FROM:<sender@example.net> SIZE=10").expect("250 ");
    for user in [USER, "bob@example.com"] {
        client.say(&format!("RCPT TO:<{user}>")).expect("250 ");
    }
    let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef0123456789abcdef\r\n".repeat(8 * 1024));
    let replies = data(&mut client, large.as_bytes(), 2);
    assert!(replies.iter().all(|reply| reply.starts_with("552 5.3.4 ")), "{replies:?}");
    // The connection goes on, with a message that fits.
    let small = format!("Subject: small\r\n\r\n{}", "0123456789abcdef0123456789abcdef\r\n".repeat(1024));
    envelope(&mut client, &[USER]);
    assert!(data(&mut client, small.as_bytes(), 1)[0].starts_with("250 "));
    let kept = messages(&server, USER);
    assert_eq!(kept.len(), 1);
    is_delivered(&kept[0], small.as_bytes(), USER, "sender.example.net\r\n");
    assert!(messages(&server, "bob@example.com").is_empty());
    wait_for("nothing is left behind", || {
        fs::read_dir(place.maildir().join("tmp")).unwrap().next().is_none().then_some(())
    });
}

#[test]
fn whoever_idles_hears_of_it() {
    let (place, _) = place("");
    let server = place.start();
    let mut imap = login(&server, USER);
    imap.command("SELECT INBOX").unwrap().ok();
    imap.idle();
    let mut client = client(&server);
    for number in 1..=3 {
        envelope(&mut client, &[USER]);
        assert!(data(&mut client, b"Subject: x\r\n\r\ny\r\n", 1)[0].starts_with("250 "));
        let exists = format!("* {number} EXISTS\r\n");
        while imap.response().unwrap() != exists.as_bytes() {}
    }
}

#[test]
fn what_was_answered_survives_a_kill() {
    let (place, socket) = place("");
    let mut sent = BTreeSet::new();
    for round in 0..3 {
        let server = place.start();
        let mut client = hello(Raw::unix(&socket));
        for number in 0..5 {
            let subject = format!("kill {round}.{number}");
            envelope(&mut client, &[USER, "bob@example.com"]);
            let replies = data(&mut client, format!("Subject: {subject}\r\n\r\nbody\r\n").as_bytes(), 2);
            assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
            sent.insert(subject);
        }
        // One is under way, and has not been answered.
        envelope(&mut client, &[USER]);
        client.say("DATA").expect("354 ");
        client.send(format!("Subject: cut off {round}\r\n\r\nbody\r\n"));
        server.kill();
    }
    let server = place.start();
    for user in [USER, "bob@example.com"] {
        assert_eq!(subjects(&messages(&server, user)), sent, "{user}");
    }
}

/// The subjects, each of which is there once.
fn subjects(messages: &[Vec<u8>]) -> BTreeSet<String> {
    let subject = |message: &Vec<u8>| {
        let message = text(message);
        message.lines().find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned)).expect("a subject")
    };
    let all: Vec<String> = messages.iter().map(subject).collect();
    let unique: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(all.len(), unique.len(), "{all:?}");
    unique
}

#[test]
fn two_hundred_messages_on_ten_connections_come_once_each() {
    let (place, socket) = place("");
    let server = place.start();
    let wanted = thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|worker| {
                scope.spawn({
                    let (to, socket) = (server.address("lmtp"), &socket);
                    move || load(to, socket, worker)
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<BTreeSet<_>>()
    });
    assert_eq!(wanted.len(), 200);
    for user in [USER, "bob@example.com"] {
        assert_eq!(subjects(&messages(&server, user)), wanted, "{user}");
    }
}

/// Twenty messages of one connection, all that may be sent ahead in one packet (RFC 2920).
fn load(to: SocketAddr, socket: &Path, worker: usize) -> Vec<String> {
    let stream = if worker.is_multiple_of(2) { Raw::over(connect_from(HERE, to)) } else { Raw::unix(socket) };
    let mut client = hello(stream);
    let subjects: Vec<String> = (0..20).map(|number| format!("load {worker}.{number}")).collect();
    for subject in &subjects {
        client.send(
            "MAIL FROM:<sender@example.net>\r\nRCPT TO:<alice>\r\nRCPT TO:<nobody-here>\r\nRCPT TO:<bob@example.com>\r\n\
             DATA\r\n",
        );
        for start in ["250 ", "250 ", "550 ", "250 ", "354 "] {
            client.expect(start);
        }
        client.send(format!("Subject: {subject}\r\n\r\n{}.\r\n", "a line of text\r\n".repeat(100)));
        client.expect("250 ");
        client.expect("250 ");
    }
    subjects
}

#[test]
fn a_client_that_goes_away_in_its_message_has_sent_nothing() {
    let (place, _) = place("");
    let server = place.start();
    for whole in [false, true] {
        let mut stream = connect_from(HERE, server.address("lmtp"));
        let message = if whole { "Subject: whole\r\n\r\nx\r\n.\r\n" } else { "Subject: half\r\n\r\nx\r\n" };
        let all = format!("LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n{message}");
        stream.write_all(all.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(text(&rest).contains("Delivered"), whole, "{}", text(&rest));
    }
    assert_eq!(subjects(&messages(&server, USER)), BTreeSet::from(["whole".to_owned()]));
}

#[test]
fn the_store_that_fails_is_for_later() {
    let (place, _) = place("");
    let server = place.start();
    // A file where the mail of the user should be.
    fs::create_dir_all(place.data().join("mail")).unwrap();
    fs::write(place.maildir(), "").unwrap();
    let mut client = client(&server);
    let replies = envelope(&mut client, &[USER, "bob@example.com"]);
    assert!(replies[0].starts_with("4") && replies[1].starts_with("250 "), "{replies:?}");
    assert!(data(&mut client, b"Subject: x\r\n\r\ny\r\n", 1)[0].starts_with("250 "));
    fs::remove_file(place.maildir()).unwrap();
    assert!(envelope(&mut client, &[USER])[0].starts_with("250 "));
}

#[test]
fn what_the_listener_is_told_holds_for_it() {
    let (place, _) = place("");
    let file = place.path().join("pillarboxd.toml");
    let config = fs::read_to_string(&file).unwrap();
    let lines = "protocol = \"lmtp\"\nmax-connections = 1\nacl = [\"deny 127.0.0.2\"]\n\
         [server.listener.quick]\nbind = \"127.0.0.1:0\"\nprotocol = \"lmtp\"\ntimeout = 1\n";
    fs::write(&file, config.replace("protocol = \"lmtp\"\n", lines)).unwrap();
    let server = place.start();
    let to = server.address("lmtp");
    let first = client(&server);
    Raw::connect(to).is_over();
    drop(first);
    wait_for("there is room again", || support::raw::greeting(HERE, to));
    assert_eq!(support::raw::greeting(support::raw::loopback("127.0.0.2"), to), None);
    let mut quick = Raw::connect(server.address("quick"));
    quick.expect("220 mx.example.org ");
    quick.expect("421 4.3.2 ");
    quick.is_over();
}
