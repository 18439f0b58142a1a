//! Access control lists and tcp-wrappers tables, with real sockets, programs and files.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]

mod common;
mod logged;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use common::World;
use logged::Log;
use pillarbox_server_core::access::{Acl, HostsAccess};
use pillarbox_server_core::{Gate, Listener, Server, ServerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const HERE: &str = "127.0.0.1";

fn acl(entries: &[&str]) -> Acl {
    let acl = entries.iter().fold(Acl::new(), |acl, entry| acl.entry(&[entry]).unwrap());
    // Its programs end by themselves, however slow the machine is.
    acl.time_limit(Duration::from_secs(600))
}

/// A server with the gates of its listener and of its own.
fn serve(of_listener: impl Gate + 'static, of_server: Option<Acl>) -> ServerHandle {
    let listener = Listener::new("toy", World::new().make()).address((Ipv4Addr::LOCALHOST, 0)).gate(of_listener);
    let mut server = Server::new().listener(listener);
    if let Some(gate) = of_server {
        server = server.gate(gate);
    }
    server.bind().unwrap().start().unwrap()
}

async fn dial(server: &ServerHandle, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(server.local_addr("toy").unwrap()).await.unwrap()
}

/// Whether a client that comes from there is served; if not, it gets no byte.
async fn served(server: &ServerHandle, from: &str) -> bool {
    let mut client = dial(server, from).await;
    // Refused in the meantime, it may not be possible to write any more.
    let _ = client.write_all(b"ping\n").await;
    let _ = client.shutdown().await;
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer == b"ping\n", "{answer:?}");
    !answer.is_empty()
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn the_order_of_entries_counts() {
    let server = serve(acl(&["deny from 127.0.0.1", "allow from any"]), None);
    assert!(!served(&server, HERE).await && served(&server, "127.0.0.2").await);
    let server = serve(acl(&["allow from any", "deny from 127.0.0.1"]), None);
    assert!(served(&server, HERE).await && served(&server, "127.0.0.2").await);
    let server = serve(acl(&["deny from 127.1.2.3/255.255.0.0"]), None);
    assert!(!served(&server, "127.1.0.9").await && served(&server, "127.2.0.9").await);
    assert!(served(&serve(Acl::new(), None), HERE).await);
}

#[tokio::test]
async fn both_lists_must_let_a_client_in() {
    for (of_listener, of_server, expected) in
        [("allow", "allow", true), ("deny", "allow", false), ("allow", "deny", false), ("deny", "deny", false)]
    {
        let of_server = Some(acl(&[&format!("{of_server} from any")]).global());
        let server = serve(acl(&[&format!("{of_listener} from any")]), of_server);
        assert_eq!(served(&server, HERE).await, expected, "{of_listener}");
    }
}

#[tokio::test]
async fn a_sequence_of_entries() {
    let log = Log::keep();
    let entries = [
        "deny from 127.10.10.1",
        "deny from 127.10.1.0/24",
        "log from any",
        "allow from 127.10.0.0/16",
        "allow from 127.192.168.0/24",
        "deny from any",
    ];
    let server = serve(acl(&entries), None);
    for (client, admitted, logged) in [
        ("127.0.0.1", false, true),
        ("127.10.10.1", false, false),
        ("127.10.1.3", false, false),
        ("127.10.5.3", true, true),
        ("127.192.168.1", true, true),
        ("127.192.169.1", false, true),
    ] {
        assert_eq!(served(&server, client).await, admitted, "{client}");
        assert_eq!(log.has(&format!("INFO {{AF_INET {client}:")), logged, "{client}");
        assert_eq!(log.has(&format!("INFO Denying connection from {client}\n")), !admitted, "{client}");
    }
}

#[tokio::test]
async fn what_is_logged() {
    let log = Log::keep();
    let global = acl(&["log from 127.0.0.1", "deny from 127.0.0.2"]).global();
    let list = Acl::new().entry(&["log from any", "hit ${address} ${aclno} ${family}"]).unwrap();
    let server = serve(list, Some(global));
    assert!(served(&server, HERE).await && !served(&server, "127.0.0.2").await);
    for line in [
        "INFO hit 127.0.0.1 1 AF_INET\n",
        "INFO hit 127.0.0.2 1 AF_INET\n",
        "INFO 127.0.0.1: undefined ACL result; access allowed\n",
        "INFO access from 127.0.0.2 blocked\n",
    ] {
        assert!(log.has(line), "{line}");
    }
}

#[tokio::test]
async fn programs_decide() {
    for (entry, expected) in [
        ("ifexec from any /bin/true", true),
        ("ifexec from any /bin/false", false),
        ("ifexec from any /bin/sh -c 'exit 77'", false),
        ("ifexec from any /no/such/program", false),
        ("ifexec from any /usr/bin/test '${aclno} ${family} ${address}' = '1 AF_INET 127.0.0.1'", true),
        // Not two words, and not a command: there is no shell.
        ("ifexec from any /usr/bin/test ${address};/bin/true = '127.0.0.1;/bin/true'", true),
    ] {
        assert_eq!(served(&serve(acl(&[entry]), None), HERE).await, expected, "{entry}");
    }
}

#[tokio::test]
async fn programs_are_told_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("show");
    std::fs::write(&script, "#!/bin/sh\nfor word; do echo \"$word\"; done >\"${0%/*}/words\"\n").unwrap();
    let command = format!("/bin/sh {} ${{address}} 'a ${{port}}' ${{family}} '*' $$HOME", script.display());
    let list = Acl::new().entry(&["ifexec from any", &command]).unwrap();
    let server = serve(list.time_limit(Duration::from_secs(600)), None);
    let client = dial(&server, HERE).await;
    let port = client.local_addr().unwrap().port();
    let words = folder.path().join("words");
    until(|| std::fs::read_to_string(&words).is_ok_and(|words| words.ends_with("$HOME\n"))).await;
    assert_eq!(std::fs::read_to_string(words).unwrap(), format!("127.0.0.1\na {port}\nAF_INET\n*\n$HOME\n"));
}

#[tokio::test]
async fn a_program_is_started_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (touched, pid) = (folder.path().join("touched"), folder.path().join("pid"));
    let list = acl(&[
        &format!("exec from any /usr/bin/touch {}", touched.display()),
        &format!("exec from any /bin/sh -c 'echo $$$$ >{0}.new; mv {0}.new {0}; exec sleep 0.2'", pid.display()),
        "exec from any /bin/sleep 5",
        "exec from any /no/such/program",
        "deny from any",
    ]);
    let server = serve(list, None);
    assert!(!served(&server, HERE).await);
    until(|| touched.exists() && pid.exists()).await;
    let pid = std::fs::read_to_string(pid).unwrap();
    let process = format!("/proc/{}", pid.trim());
    // It ends, and does not stay as one that nobody has waited for.
    until(|| !Path::new(&process).exists()).await;
}

#[tokio::test]
async fn a_slow_program_holds_up_its_client_alone() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    std::process::Command::new("mkfifo").arg(&go).status().unwrap();
    let entry = format!("ifexec from 127.0.0.2 /bin/sh -c 'read x <{}'", go.display());
    let server = serve(acl(&[&entry]), None);
    let mut waiting = dial(&server, "127.0.0.2").await;
    waiting.write_all(b"ping\n").await.unwrap();
    assert!(served(&server, HERE).await);
    tokio::task::spawn_blocking(move || std::fs::write(go, "x\n").unwrap()).await.unwrap();
    let mut reply = [0; 5];
    waiting.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"ping\n");
}

#[tokio::test]
async fn a_program_that_takes_too_long_turns_away() {
    let log = Log::keep();
    let server = serve(acl(&["ifexec from any /bin/sleep 600"]).time_limit(Duration::from_millis(100)), None);
    assert!(!served(&server, HERE).await);
    assert!(log.has("/bin/sleep took longer than "));
}

#[tokio::test]
async fn programs_beyond_their_number() {
    let log = Log::keep();
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let entry = format!("exec from any /bin/sh -c 'echo x >>{}; sleep 20'", count.display());
    let server = serve(acl(&[&entry]).programs_at_once(2), None);
    for _ in 0..4 {
        assert!(served(&server, HERE).await);
    }
    until(|| std::fs::read_to_string(&count).is_ok_and(|count| count.len() == 4)).await;
    assert_eq!(log.count("WARN too many programs run: not started"), 2);
}

/// What the tests here rely on, which all have threads of their own.
#[test]
fn what_another_thread_comes_by_first_is_logged_all_the_same() {
    fn tell() {
        tracing::info!("tea is ready");
    }
    let log = Log::keep();
    std::thread::spawn(tell).join().unwrap();
    tell();
    assert_eq!(log.text(), "INFO tea is ready\n");
}

struct Tables(tempfile::TempDir);

impl Tables {
    fn new(allow: &str, deny: &str) -> Self {
        let tables = Self(tempfile::tempdir().unwrap());
        tables.write("allow", allow);
        tables.write("deny", deny);
        tables
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn serve(&self, daemon: &str, enabled: bool) -> ServerHandle {
        let tables = HostsAccess::builder(daemon)
            .allow_table(self.0.path().join("allow"))
            .deny_table(self.0.path().join("deny"))
            .enabled(enabled)
            .lookup_limit(Duration::from_secs(600))
            .load();
        serve(tables.unwrap(), None)
    }
}

#[tokio::test]
async fn tables_of_tcp_wrappers() {
    let log = Log::keep();
    let tables = Tables::new("", "pop3d: 127.0.0.1\n");
    assert!(!served(&tables.serve("pop3d", true), HERE).await);
    assert!(log.has("INFO access from 127.0.0.1 blocked by TCP wrappers\n"));
    assert!(served(&tables.serve("pop3d", true), "127.0.0.2").await);
    assert!(served(&tables.serve("foo", true), HERE).await);
    assert!(served(&tables.serve("pop3d", false), HERE).await);
    let tables = Tables::new("pop3d: 127.0.0.1\n", "pop3d: 127.0.0.1\n");
    assert!(served(&tables.serve("pop3d", true), HERE).await);
}

#[tokio::test]
async fn tables_are_edited_while_they_are_used() {
    let tables = Tables::new("", "");
    let server = tables.serve("imapd", true);
    assert!(served(&server, HERE).await);
    tables.write("deny", "imapd: 127.0.0.1\n");
    assert!(!served(&server, HERE).await && served(&server, "127.0.0.2").await);
    tables.write("deny", "imapd: 127.0.0.2\n");
    assert!(served(&server, HERE).await && !served(&server, "127.0.0.2").await);
    tables.write("deny", "imapd: ALL\nimapd: ALL: /bin/true\n");
    assert!(served(&server, HERE).await && !served(&server, "127.0.0.2").await);
    tables.write("allow", "ALL: 127.0.0.\n");
    assert!(served(&server, HERE).await && served(&server, "127.0.0.2").await);
}

#[tokio::test]
async fn tables_by_port_and_by_the_name_of_this_host() {
    let tables = Tables::new("", "");
    let server = tables.serve("imapd", true);
    let port = server.local_addr("toy").unwrap().port();
    tables.write("deny", &format!("{port}@127.0.0.1: 127.0.0.9\n{port}@127.0.0.2: ALL\n"));
    assert!(served(&server, HERE).await && !served(&server, "127.0.0.9").await);
    // By the system's resolver, both ends.
    tables.write("deny", "imapd@KNOWN: KNOWN\n");
    assert!(!served(&server, HERE).await);
    tables.write("deny", "imapd@UNKNOWN: ALL\n");
    assert!(served(&server, HERE).await);
}
