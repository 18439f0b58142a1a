//! Runs the program and talks to it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

struct Program {
    child: Child,
    imap: SocketAddr,
    pop3: SocketAddr,
    /// Kept open: the program has more to say than its addresses.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pillarbox-example-blocking"))
            .args(["127.0.0.1:0", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |prefix: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}")).parse().unwrap()
        };
        let (imap, pop3) = (address("imap on "), address("pop3 on "));
        // Said when all threads that listen are there.
        assert!(lines.next().unwrap().unwrap().starts_with("user demo"));
        Self { child, imap, pop3, _said: lines }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Lines up to and with the one that starts so.
    fn until(&mut self, start: &str) -> String {
        let mut all = String::new();
        loop {
            let at = all.len();
            assert!(self.0.read_line(&mut all).unwrap() > 0, "the end, after {all}");
            if all[at..].starts_with(start) {
                return all;
            }
        }
    }

    fn ask(&mut self, command: &str, start: &str) -> String {
        self.send(&format!("{command}\r\n"));
        self.until(start)
    }

    fn rest(mut self) -> String {
        let mut all = String::new();
        self.0.read_to_string(&mut all).unwrap();
        all
    }
}

fn imap(program: &Program) -> Client {
    let mut client = Client::connect(program.imap);
    client.until("* OK");
    client.ask("a LOGIN demo demo", "a OK");
    client.ask("b SELECT INBOX", "b OK");
    client
}

#[test]
fn mail_is_read_over_imap() {
    let program = Program::start();
    let mut client = imap(&program);
    let fetched = client.ask("c FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT])", "c OK");
    assert!(fetched.contains("Subject: Threads will do\r\n"), "{fetched}");
    assert!(fetched.contains("This message was served by std::net"), "{fetched}");
    // Pipelined, and cut where it hurts.
    client.send("d NOO");
    std::thread::sleep(Duration::from_millis(20));
    client.send("P\r\ne NOOP\r\nf LOGOUT\r\n");
    let end = client.rest();
    assert!(end.contains("d OK") && end.contains("e OK") && end.contains("* BYE") && end.contains("f OK"), "{end}");
}

#[test]
fn news_reach_a_client_in_idle() {
    let program = Program::start();
    let (mut watcher, mut other) = (imap(&program), imap(&program));
    watcher.ask("c IDLE", "+ ");
    let message = "Subject: news\r\n\r\n".to_owned() + &"and more news\r\n".repeat(20_000);
    other.ask(&format!("c APPEND INBOX {{{}}}", message.len()), "+ ");
    other.send(&format!("{message}\r\n"));
    other.until("c OK");
    // Nothing comes from this client's socket: the backend's waker has to reach a thread that waits.
    watcher.until("* 2 EXISTS");
    watcher.ask("DONE", "c OK");
    let fetched = watcher.ask("d FETCH 2 BODY.PEEK[]", "d OK");
    assert!(fetched.contains(&message), "300 kB there and back");
}

#[test]
#[cfg(target_os = "linux")]
fn each_connection_has_one_thread_and_gives_it_back() {
    let program = Program::start();
    let threads = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
        line.trim().parse::<usize>().unwrap()
    };
    let idle = threads();
    let mut clients: Vec<Client> = (0..5).map(|_| imap(&program)).collect();
    assert_eq!(threads(), idle + 5);
    for client in &mut clients {
        client.ask("c IDLE", "+ ");
    }
    assert_eq!(threads(), idle + 5);
    drop(clients);
    let start = std::time::Instant::now();
    while threads() > idle {
        assert!(start.elapsed() < Duration::from_secs(300), "hung up on in IDLE, they end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn no_news_is_lost_among_many_clients() {
    let program = Program::start();
    let mut watchers: Vec<Client> = (0..4).map(|_| imap(&program)).collect();
    for watcher in &mut watchers {
        watcher.ask("c IDLE", "+ ");
    }
    let mut others: Vec<Client> = (0..2).map(|_| imap(&program)).collect();
    for round in 0..25 {
        for other in &mut others {
            other.send("c APPEND INBOX {5+}\r\nx: y\n\r\n");
        }
        others.iter_mut().for_each(|other| drop(other.until("c OK")));
        for watcher in &mut watchers {
            watcher.until(&format!("* {} EXISTS", 3 + 2 * round));
        }
    }
    for watcher in &mut watchers {
        watcher.ask("DONE", "c OK");
    }
}

#[test]
fn a_client_that_never_reads_holds_up_nobody_else() {
    let program = Program::start();
    let mut client = Client::connect(program.pop3);
    client.until("+OK");
    client.send("USER demo\r\nPASS demo\r\n");
    client.until("+OK Maildrop");
    client.0.get_mut().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    while client.0.get_mut().write_all("RETR 1\r\n".repeat(1000).as_bytes()).is_ok() {}
    let mut other = imap(&program);
    other.ask("c NOOP", "c OK");
    // Gone at last, it leaves its maildrop to the next.
    drop(client);
    let mut next = Client::connect(program.pop3);
    next.until("+OK");
    loop {
        next.ask("USER demo", "+OK");
        next.send("PASS demo\r\n");
        let mut answer = String::new();
        next.0.read_line(&mut answer).unwrap();
        if answer.starts_with("+OK") {
            break;
        }
        assert!(answer.contains("[IN-USE]"), "{answer}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_came_before_the_end_of_the_input_is_answered() {
    let program = Program::start();
    let mut client = imap(&program);
    client.send("c NOOP\r\nd FETCH 1 UID\r\n");
    client.0.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    let end = client.rest();
    assert!(end.contains("c OK") && end.contains("d OK"), "{end}");
}

#[test]
fn mail_is_fetched_over_pop3() {
    let program = Program::start();
    let mut client = Client::connect(program.pop3);
    client.until("+OK");
    client.ask("USER demo", "+OK");
    client.ask("PASS demo", "+OK");
    assert!(client.ask("STAT", "+OK").starts_with("+OK 1 "));
    let message = client.ask("RETR 1", ".");
    assert!(message.contains("Subject: Threads will do\r\n"), "{message}");
    client.send("DELE 1\r\nQUIT\r\n");
    let end = client.rest();
    assert_eq!(end.matches("+OK").count(), 2, "{end}");
    // The one store behind both.
    let mut other = Client::connect(program.imap);
    other.ask("a LOGIN demo demo", "a OK");
    assert!(other.ask("b STATUS INBOX (MESSAGES)", "b OK").contains("MESSAGES 0"));
}

#[test]
fn an_address_in_use_is_named() {
    let program = Program::start();
    let again =
        Command::new(env!("CARGO_BIN_EXE_pillarbox-example-blocking")).arg(program.imap.to_string()).output().unwrap();
    assert!(!again.status.success());
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.starts_with(&program.imap.to_string()) && said.lines().count() == 1, "{said}");
}

#[test]
fn no_runtime_is_in_the_tree() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", env!("CARGO_PKG_NAME")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let names = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    assert!(names.lines().any(|line| line.starts_with("pillarbox-imap-proto ")), "{names}");
    for line in names.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let runtime = ["async-io", "async-std", "mio", "polling", "smol"].contains(&name) || name.starts_with("tokio");
        assert!(!runtime, "{name} in {names}");
    }
}
