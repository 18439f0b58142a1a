//! How much of the server one client may take, and how much all of them.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use support::raw::{HERE, Raw, connect_from, greeting, loopback, wait_for};
use support::{Imap, PASSWORD, PATIENCE, Place, Server, USER, run_with_input, text};

const LISTENERS: &str = "[server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n\
     [server.listener.pop3]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\n";

/// A server with both protocols and a user, and these lines before its listeners.
fn start(lines: &str) -> (Place, Server) {
    let place = Place::with_config(&format!("data = \"data\"\n{lines}\n{LISTENERS}"));
    let server = place.start();
    (place, server)
}

fn greeted(to: SocketAddr) -> Raw {
    let mut client = Raw::connect(to);
    let greeting = client.line().expect("a greeting");
    assert!(greeting.starts_with("* OK ") || greeting.starts_with("+OK "), "{greeting}");
    client
}

#[track_caller]
fn refused(from: IpAddr, to: SocketAddr) {
    assert_eq!(greeting(from, to), None);
}

/// A client that is served now that another one has gone.
fn soon(to: SocketAddr) -> Raw {
    wait_for("there is room again", || {
        let mut client = Raw::connect(to);
        client.line().map(|_| client)
    })
}

fn log_in(client: &mut Raw) -> String {
    client.tagged(&format!("LOGIN {USER} \"{PASSWORD}\""))
}

/// The addresses of a listener, in the order of its configuration.
fn addresses(place: &Place, listener: &str) -> Vec<SocketAddr> {
    let ready = std::fs::read_to_string(place.path().join("ready")).unwrap();
    let of = ready.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|words| words[0] == listener);
    of.map(|words| words[3].parse().unwrap()).collect()
}

#[test]
fn connections_of_a_listener_count_over_all_its_addresses() {
    let place = Place::empty(
        "data = \"data\"\n[server]\nmax-connections = 1\n\
         [server.listener.two]\nbind = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\nprotocol = \"imap\"\nmax-connections = 2\n\
         [server.listener.one]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n\
         [server.listener.three]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\nmax-connections = 3\n",
    );
    let server = place.start();
    let two = addresses(&place, "two");
    assert_eq!(two.len(), 2);
    let first = greeted(two[0]);
    let mut second = greeted(two[1]);
    for to in &two {
        refused(HERE, *to);
    }
    // Others are not concerned, and those inside go on.
    let _one = greeted(server.address("one"));
    refused(HERE, server.address("one"));
    let _three: Vec<Raw> = (0..3).map(|_| greeted(server.address("three"))).collect();
    refused(HERE, server.address("three"));
    assert!(second.tagged("NOOP").starts_with("t OK"));
    drop(first);
    let third = soon(two[1]);
    refused(HERE, two[0]);
    drop(third);
    assert!(server.log().contains("two"), "the log says once that there is no room: {}", server.log());
}

#[test]
fn a_client_over_max_children_is_closed_at_once() {
    let (_place, server) = start("server.max-children = 2");
    let mut first = greeted(server.address("imap"));
    let _second = greeted(server.address("pop3"));
    for listener in ["imap", "pop3", "imap"] {
        refused(HERE, server.address(listener));
    }
    first.say("a LOGOUT").expect("* BYE");
    drop(first);
    soon(server.address("pop3"));
}

#[test]
fn the_number_of_d_counts_over_all_listeners() {
    let place = Place::with_config(&format!("data = \"data\"\n{LISTENERS}"));
    let server = Server::start(place.command().arg("-d1"), place.path());
    let _first = greeted(server.address("imap"));
    refused(HERE, server.address("pop3"));
}

#[test]
fn connections_of_an_address_and_of_its_network() {
    let (_place, server) = start(
        "[limits]\nexempt = \"127.9.9.9\"\naddress = { connections = 2, network-connections = 3, ipv4-network = 24 }",
    );
    let to = server.address("imap");
    let from = |source: &str| Raw::from(loopback(source), to);
    let mut clients: Vec<Raw> = vec![from("127.0.0.1"), from("127.0.0.1")];
    for client in &mut clients {
        client.expect("* OK ");
    }
    refused(HERE, to);
    refused(HERE, server.address("pop3"));
    let mut neighbour = from("127.0.0.2");
    neighbour.expect("* OK ");
    refused(loopback("127.0.0.3"), to);
    from("127.0.1.1").expect("* OK ");
    let exempt: Vec<Raw> = (0..5).map(|_| from("127.9.9.9")).collect();
    for mut client in exempt {
        client.expect("* OK ");
    }
    drop(neighbour);
    // The place in the network is free again; the address has its two all the same.
    wait_for("there is room again", || greeting(loopback("127.0.0.3"), to));
    refused(HERE, to);
}

#[test]
fn new_connections_in_a_time() {
    let (_place, server) = start("[limits]\nexempt = []\naddress = { rate = \"2/1h\", burst = 3 }");
    let to = server.address("imap");
    for _ in 0..3 {
        greeted(to);
    }
    refused(HERE, to);
    refused(HERE, server.address("pop3"));
    assert!(greeting(loopback("127.0.0.2"), to).is_some());
}

#[test]
fn sessions_of_a_user() {
    let (place, server) = start("[limits]\nuser.sessions = 2");
    let output = run_with_input(place.command().args(["user", "add", "bob"]), &format!("{PASSWORD}\n"));
    assert!(output.status.success());
    let imap = server.address("imap");
    let mut sessions = [greeted(imap), greeted(imap)];
    for session in &mut sessions {
        assert!(log_in(session).starts_with("t OK"));
    }
    let mut third = greeted(imap);
    assert!(log_in(&mut third).starts_with("t NO [LIMIT] "));
    let mut pop3 = greeted(server.address("pop3"));
    pop3.say(&format!("USER {USER}")).expect("+OK");
    pop3.say(&format!("PASS {PASSWORD}")).expect("-ERR [SYS/TEMP] ");
    // Others have theirs, also on that connection.
    assert!(third.tagged(&format!("LOGIN bob \"{PASSWORD}\"")).starts_with("t OK"));
    sessions[0].say("a LOGOUT").expect("* BYE");
    drop(sessions);
    wait_for("there is room again", || log_in(&mut greeted(imap)).starts_with("t OK").then_some(()));
}

#[test]
fn failed_logins_are_answered_later_and_later() {
    let (_place, server) = start(
        "[limits]\nexempt = []\nlogin = { free = 1, first-delay = \"300ms\", longest-delay = \"600ms\", block-after = 0 }",
    );
    let mut client = greeted(server.address("imap"));
    let mut fail = |user: &str| {
        let begun = Instant::now();
        let reply = client.tagged(&format!("LOGIN {user} wrong"));
        assert!(reply.starts_with("t NO [AUTHENTICATIONFAILED]"), "{reply}");
        begun.elapsed()
    };
    fail(USER);
    // Whether there is such a user makes no difference.
    let waited = [fail(USER), fail("nobody-here")];
    assert!(waited[0] >= Duration::from_millis(300) && waited[1] >= Duration::from_millis(600), "{waited:?}");
    // Whoever comes from elsewhere, or knows the password, does not wait so long that it would be noticed here.
    let mut other = Raw::from(loopback("127.0.0.2"), server.address("imap"));
    other.expect("* OK ");
    assert!(log_in(&mut other).starts_with("t OK"));
    assert!(log_in(&mut greeted(server.address("imap"))).starts_with("t OK"));
}

#[test]
fn failed_logins_block_an_address_for_a_while() {
    let block = |time: &str| {
        let (place, server) = start(&format!(
            "[limits]\nexempt = []\nlogin = {{ free = 100, block-after = 3, block-for = \"{time}\", window = \"1h\" }}"
        ));
        let to = server.address("imap");
        let inside = greeted(to);
        for user in [USER, "nobody-here"] {
            assert!(greeted(to).tagged(&format!("LOGIN {user} wrong")).starts_with("t NO "));
        }
        let begun = Instant::now();
        let mut last = greeted(to);
        assert!(last.tagged(&format!("LOGIN {USER} wrong")).starts_with("t NO "));
        (place, server, inside, begun)
    };
    let (_place, server, mut inside, _) = block("1h");
    let to = server.address("imap");
    refused(HERE, to);
    refused(HERE, server.address("pop3"));
    // One who is inside is told what one is told who has the wrong password, whatever it was.
    let reply = log_in(&mut inside);
    assert!(reply.starts_with("t NO [AUTHENTICATIONFAILED]"), "{reply}");
    assert!(greeting(loopback("127.0.0.2"), to).is_some());
    // It ends.
    let (_place, server, _, begun) = block("2s");
    soon(server.address("imap"));
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

#[test]
fn failed_logins_count_in_every_protocol_and_mechanism() {
    let (_place, server) =
        start("[limits]\nexempt = []\nlogin = { free = 100, block-after = 4, block-for = \"1h\", window = \"1h\" }");
    let mut pop3 = greeted(server.address("pop3"));
    pop3.say(&format!("USER {USER}")).expect("+OK");
    pop3.say("PASS wrong").expect("-ERR [AUTH] ");
    // "\0alice\0wrong".
    pop3.say("AUTH PLAIN AGFsaWNlAHdyb25n").expect("-ERR [AUTH] ");
    let mut imap = greeted(server.address("imap"));
    assert!(imap.tagged("AUTHENTICATE PLAIN AGFsaWNlAHdyb25n").starts_with("t NO [AUTHENTICATIONFAILED] "));
    assert!(greeting(HERE, server.address("imap")).is_some());
    assert!(imap.tagged("LOGIN alice wrong").starts_with("t NO [AUTHENTICATIONFAILED] "));
    refused(HERE, server.address("imap"));
    refused(HERE, server.address("pop3"));
}

#[test]
fn answers_that_wait_are_so_many() {
    let (_place, server) = start(
        "[limits]\nexempt = []\nlogin = { free = 0, first-delay = \"1h\", longest-delay = \"1h\", waiting = 1, \
         block-after = 0 }",
    );
    let to = server.address("imap");
    let mut clients = [greeted(to), greeted(to)];
    for client in &mut clients {
        client.say("a LOGIN alice wrong");
    }
    // One of the two waits for an hour; the other is dropped without an answer.
    let (one, other) = clients.split_at_mut(1);
    std::thread::scope(|scope| {
        let (over, told) = std::sync::mpsc::channel();
        for client in [&mut one[0], &mut other[0]] {
            let over = over.clone();
            scope.spawn(move || over.send(client.line()));
        }
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), None);
        // The other one's end comes with the server's.
        server.kill();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), None);
    });
}

#[test]
fn a_client_that_is_too_slow_in_the_middle_of_something_is_cut_off() {
    let (_place, server) = start("[limits]\ntransfer = { min-rate = 1000, window = \"1s\" }");
    let mut waiting = greeted(server.address("imap"));
    // One turn of the server may have begun before its client was greeted, and counts from then.
    let begun = Instant::now();
    let mut slow = greeted(server.address("imap"));
    slow.send("a LOGIN {1000}\r\n").expect("+ ");
    slow.send("x");
    while slow.line().is_some() {}
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // Whoever owes nothing may take as long as it likes.
    assert!(waiting.tagged("NOOP").starts_with("t OK"));
}

#[test]
fn this_machine_is_not_held_up_unless_told() {
    let (_place, server) =
        start("[limits]\nlogin = { free = 0, first-delay = \"1h\", longest-delay = \"1h\", block-after = 1 }");
    let mut client = greeted(server.address("imap"));
    for _ in 0..2 {
        assert!(client.tagged("LOGIN alice wrong").starts_with("t NO "));
    }
    assert!(log_in(&mut greeted(server.address("imap"))).starts_with("t OK"));
}

#[test]
fn output_that_nobody_reads_ends_the_session() {
    let (_place, server) = start("[limits]\ntransfer.stall = \"1s\"");
    let mut imap = Imap::login(server.address("imap"));
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\r\n";
    let message = format!("Subject: large\r\n\r\n{}", line.repeat(200_000));
    imap.append("INBOX", "", message.as_bytes());
    imap.append("INBOX", "", message.as_bytes());
    let mut stream = connect_from(HERE, server.address("imap"));
    let commands = format!("a LOGIN {USER} \"{PASSWORD}\"\r\nb SELECT INBOX\r\nc FETCH 1:2 BODY.PEEK[]\r\nd NOOP\r\n");
    stream.write_all(commands.as_bytes()).unwrap();
    wait_for("the session ends", || server.log().lines().any(|line| line.contains("ended")).then_some(()));
    // What had been sent is there; not all of it, nor what comes after it.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 2 * message.len(), "{}", rest.len());
    assert!(!text(&rest).contains("d OK"));
    // Others are served as before.
    assert!(imap.command("NOOP").is_ok());
}

#[test]
fn the_memory_of_all_sessions_has_a_ceiling() {
    let (_place, server) = start("[limits]\nmemory = \"64 KiB\"");
    let to = server.address("imap");
    let mut inside = Vec::new();
    let mut full = false;
    for _ in 0..64 {
        let mut client = Raw::connect(to);
        if client.line().is_none() {
            full = true;
            break;
        }
        inside.push(client);
    }
    assert!(full && inside.len() >= 4, "{}", inside.len());
    refused(HERE, server.address("pop3"));
    for client in &mut inside {
        assert!(client.tagged("NOOP").starts_with("t OK"), "who is inside stays");
    }
    inside.truncate(1);
    soon(to);
}

#[test]
fn one_after_another() {
    let place = Place::empty(
        "data = \"data\"\n[server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\nsingle-process = true\n\
         [server.listener.pop3]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\n",
    );
    let server = place.start();
    let log = server.log();
    assert!(log.lines().any(|line| line.contains("warning") && line.contains("single-process")), "{log}");
    let mut first = greeted(server.address("imap"));
    let second = connect_from(HERE, server.address("imap"));
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let error = second.try_clone().unwrap().read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "it waits for its turn");
    greeted(server.address("pop3"));
    assert!(first.tagged("NOOP").starts_with("t OK"));
    first.say("a LOGOUT").expect("* BYE");
    drop(first);
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    Raw::over(second).expect("* OK ");
}

#[test]
fn limits_that_make_no_sense_are_named() {
    for (lines, line, wanted) in [
        ("[limits]\naddress.rate = \"10\"", 3, "\"10\" is no rate, such as"),
        ("[limits]\naddress.burst = 5", 3, "is of no use without a rate"),
        ("[limits]\nexempt = \"here\"", 3, "not an IP address: here"),
        ("[limits]\naddress.ipv4-network = 33", 3, "must be at most 32"),
        ("[limits]\naddress.connection = 3", 3, "\"connections\""),
        ("[server]\nmax-connections = 0", 3, "max-connections"),
    ] {
        let mut config = String::new();
        let _ = writeln!(config, "data = \"data\"\n{lines}\n{LISTENERS}");
        let place = Place::empty(&config);
        let output = place.command().output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        let file = place.path().join("pillarboxd.toml");
        let begins = format!("pillarboxd: {}:{line}:", file.display());
        assert!(stderr.lines().count() == 1 && stderr.starts_with(&begins) && stderr.contains(wanted), "{stderr}");
    }
}
