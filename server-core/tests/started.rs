//! What a process is started with: sockets, standard input and output, an account to run as.
//!
//! Each test starts this program again, for one of its tests alone, which then finds a variable that tells it what it is
//! to be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that can not go on fails")]
#![allow(clippy::print_stderr, clippy::expect_used, reason = "this is how a child tells what went wrong")]
#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::World;
use pillarbox_server_core::run_as::Account;
use pillarbox_server_core::{Address, Listener, Server, inherited, stdio};

const CHILD: &str = "PILLARBOX_TEST_CHILD";
const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Whether this process is that child.
fn am(child: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|name| name == child)
}

/// This program again, for this test, as a shell runs it after `before`.
fn child(test: &str, before: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("{before}; exec \"$0\" --exact {test} --nocapture --quiet");
    command.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env(CHILD, test);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn ping(client: &mut (impl Read + Write)) {
    client.write_all(b"ping\n").unwrap();
    let mut reply = [0; 5];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"ping\n");
}

fn said(mut child: Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text
}

fn fd(socket: impl Into<OwnedFd>) -> Stdio {
    Stdio::from(socket.into())
}

/// The name of a listener, if the process was given one, and how it ended.
fn serve_inherited() {
    let world = World::new();
    let sockets = match inherited::take() {
        Ok(sockets) => sockets,
        Err(error) => return eprintln!("{error}"),
    };
    assert!(inherited::take().unwrap().is_empty(), "taken is taken");
    assert!(std::env::var_os("LISTEN_FDS").is_none(), "children of ours do not take them for theirs");
    let address: Address = match std::env::var("TEST_ADDRESS") {
        Ok(text) => Address::parse(&text, 0).unwrap(),
        Err(_) => ANY.into(),
    };
    let server = Server::new()
        .inherited(sockets)
        .listener(Listener::new("toy", world.make()).address(address))
        .listener(Listener::new("other", world.make()).address(ANY))
        .max_uses(3);
    runtime().block_on(async {
        let bound = match server.bind() {
            Ok(bound) => bound,
            Err(error) => return eprintln!("{error}"),
        };
        for (name, address) in bound.addresses() {
            eprintln!("{name} {address}");
        }
        let server = bound.start().unwrap();
        assert!(inherited::notify(inherited::READY).unwrap());
        inherited::notify_reloading().unwrap();
        server.stopped().await;
        inherited::notify(inherited::STOPPING).unwrap();
        // What the test harness says does not belong to the conversation.
        std::process::exit(0);
    });
}

#[test]
fn sockets_are_inherited() {
    if am("sockets_are_inherited") {
        return serve_inherited();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy");
    let (tcp, unix) = (TcpListener::bind(ANY).unwrap(), UnixListener::bind(&path).unwrap());
    let address = tcp.local_addr().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    let environment = "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=toy:toy";
    let mut server = child("sockets_are_inherited", &format!("exec 3<&0 4>&1 0</dev/null 1>&2; {environment}"))
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .stdin(fd(tcp))
        .stdout(fd(unix))
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut addresses = lines.by_ref().filter(|line| line.starts_with("toy ") || line.starts_with("other "));
    assert_eq!(addresses.next().unwrap(), format!("toy {address}"));
    assert_eq!(addresses.next().unwrap(), format!("toy unix://{}", path.display()));
    assert!(addresses.next().unwrap().starts_with("other 127.0.0.1:"), "which was given none");

    let mut words = [0; 1000];
    let mut heard = || {
        let size = manager.recv(&mut words).unwrap();
        String::from_utf8(words[..size].to_vec()).unwrap()
    };
    assert_eq!(heard(), "READY=1");
    let reloading = heard();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);

    ping(&mut TcpStream::connect(address).unwrap());
    ping(&mut UnixStream::connect(&path).unwrap());
    ping(&mut UnixStream::connect(&path).unwrap());
    assert_eq!(heard(), "STOPPING=1");
    assert!(server.wait().unwrap().success());
    assert!(path.exists(), "the file belongs to the manager");
}

#[test]
fn a_socket_finds_the_listener_of_its_address() {
    if am("a_socket_finds_the_listener_of_its_address") {
        return serve_inherited();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy");
    let unix = UnixListener::bind(&path).unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut server = child(
        "a_socket_finds_the_listener_of_its_address",
        "exec 3<&0 0</dev/null 1>&2; export LISTEN_PID=$$ LISTEN_FDS=1",
    )
    .env("TEST_ADDRESS", format!("unix://{}", path.display()))
    .env("NOTIFY_SOCKET", folder.path().join("notify"))
    .stdin(fd(unix))
    .spawn()
    .unwrap();
    manager.recv(&mut [0; 100]).unwrap();
    for _ in 0..3 {
        ping(&mut UnixStream::connect(&path).unwrap());
    }
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_socket_that_is_for_nobody_is_an_error() {
    if am("a_socket_that_is_for_nobody_is_an_error") {
        return serve_inherited();
    }
    let run = |environment: &str, input: Stdio| {
        let before = format!("exec 3<&0 0</dev/null 1>&2; export LISTEN_PID=$$ {environment}");
        said(child("a_socket_that_is_for_nobody_is_an_error", &before).stdin(input).spawn().unwrap())
    };
    let listening = || fd(TcpListener::bind(ANY).unwrap());
    let all = run("LISTEN_FDS=1 LISTEN_FDNAMES=imaps", listening());
    assert!(all.contains("no listener for the inherited socket imaps\n"), "{all}");
    let all = run("LISTEN_FDS=1", listening());
    assert!(all.contains("no listener for the inherited socket unknown\n"), "{all}");
    for wrong in ["-1", "many", "1025"] {
        let all = run(&format!("LISTEN_FDS={wrong}"), listening());
        assert!(all.contains(&format!("LISTEN_FDS is no number up to 1024: {wrong}\n")), "{all}");
    }
    let (connected, _other) = UnixStream::pair().unwrap();
    let all = run("LISTEN_FDS=1 LISTEN_FDNAMES=toy", fd(connected));
    assert!(all.contains("the inherited socket toy can't be listened on: it does not listen\n"), "{all}");
    let all = run("LISTEN_FDS=1 LISTEN_FDNAMES=toy", Stdio::null());
    assert!(all.contains("the inherited socket toy can't be listened on: fd 3 is not a socket\n"), "{all}");
}

#[test]
fn sockets_of_another_process_are_not_taken() {
    if am("sockets_of_another_process_are_not_taken") {
        assert!(inherited::take().unwrap().is_empty());
        assert!(!inherited::notify(inherited::READY).unwrap(), "nobody listens");
        eprintln!("as it should be");
        return;
    }
    let before = "exec 3<&0 0</dev/null; export LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=toy NOTIFY_SOCKET=";
    let socket = fd(TcpListener::bind(ANY).unwrap());
    let all = said(child("sockets_of_another_process_are_not_taken", before).stdin(socket).spawn().unwrap());
    assert!(all.contains("as it should be"), "{all}");
}

/// Serves the one connection that is there already.
fn serve_stdio() {
    let world = World::new();
    runtime().block_on(async {
        let listener = Listener::new("toy", world.make()).without_address();
        let server = Server::new().listener(listener).bind().unwrap().start().unwrap();
        let session = server.serve("toy", stdio::connection().unwrap().unchecked()).unwrap();
        let outcome = session.await.unwrap();
        let connection = world.connections.lock().unwrap()[0].clone();
        let peer = connection.peer.map_or("-".into(), |peer| peer.to_string());
        eprintln!("peer {peer} secure {} received {} {:?}", connection.is_secure(), outcome.received, outcome.end);
        std::process::exit(0);
    });
}

/// How the child saw the conversation that is held here.
fn converse(mut child: Child, mut client: impl Read + Write) -> String {
    ping(&mut client);
    client.write_all(b"QUIT\n").unwrap();
    let mut last = String::new();
    client.read_to_string(&mut last).unwrap();
    assert_eq!(last, "bye\n");
    drop(client);
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    text
}

#[test]
fn a_socket_on_standard_input_is_served() {
    if am("a_socket_on_standard_input_is_served") {
        return serve_stdio();
    }
    let start = |socket: OwnedFd| {
        let output = socket.try_clone().unwrap();
        // The harness has said its lines to elsewhere before; it says them to standard output else.
        let mut command = child("a_socket_on_standard_input_is_served", "true");
        command.stdin(Stdio::from(socket)).stdout(Stdio::from(output)).spawn().unwrap()
    };
    let door = TcpListener::bind(ANY).unwrap();
    let client = TcpStream::connect(door.local_addr().unwrap()).unwrap();
    let server = start(door.accept().unwrap().0.into());
    let peer = client.local_addr().unwrap();
    let all = converse(server, after_harness(client));
    assert!(all.contains(&format!("peer {peer} secure false received 10 Closed\n")), "{all}");

    let (client, ours) = UnixStream::pair().unwrap();
    let all = converse(start(ours.into()), after_harness(client));
    assert!(all.contains("peer - secure false received 10 Closed\n"), "{all}");
}

/// What the test harness of the child says first is not the conversation's.
fn after_harness<S: Read>(mut stream: S) -> S {
    let mut seen = Vec::new();
    while !seen.ends_with(b"running 1 test\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    stream
}

struct Pipes(std::io::PipeReader, std::io::PipeWriter);

impl Read for Pipes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Pipes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn pipes_on_standard_input_and_output_are_served() {
    if am("pipes_on_standard_input_and_output_are_served") {
        return serve_stdio();
    }
    let (input, to_child) = std::io::pipe().unwrap();
    let (from_child, output) = std::io::pipe().unwrap();
    let mut command = child("pipes_on_standard_input_and_output_are_served", "true");
    let server = command.stdin(input).stdout(output).spawn().unwrap();
    drop(command);
    let all = converse(server, after_harness(Pipes(from_child, to_child)));
    assert!(all.contains("peer - secure false received 10 Closed\n"), "{all}");
}

#[test]
fn a_file_on_standard_input_is_served() {
    if am("a_file_on_standard_input_is_served") {
        return serve_stdio();
    }
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&input, "one\ntwo\n").unwrap();
    let mut command = child("a_file_on_standard_input_is_served", "true");
    command.stdin(std::fs::File::open(&input).unwrap()).stdout(std::fs::File::create(&output).unwrap());
    let all = said(command.spawn().unwrap());
    assert!(all.contains("peer - secure false received 8 Closed\n"), "{all}");
    let text = std::fs::read_to_string(&output).unwrap();
    assert!(text.ends_with("running 1 test\none\ntwo\n"), "{text}");
}

#[test]
fn a_process_becomes_another_user_after_binding() {
    if am("a_process_becomes_another_user_after_binding") {
        return become_somebody();
    }
    if !rustix::process::geteuid().is_root() {
        let error = Account::find("root", None).unwrap().switch().unwrap_err();
        assert_eq!(error.to_string(), "cannot become root: not started as root");
        return;
    }
    let all = said(child("a_process_becomes_another_user_after_binding", "true").spawn().unwrap());
    assert!(all.contains("as it should be"), "{all}");
}

fn become_somebody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy");
    let world = World::new();
    // A thread that is there before has to change too.
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        let _ = receiver.recv();
        (rustix::process::geteuid().as_raw(), rustix::process::getgroups().unwrap().len())
    });
    let listener = Listener::new("toy", world.make()).address(ANY).address(Address::unix(&path).with_mode(0o666));
    let bound = Server::new().listener(listener).bind().unwrap();
    let account = Account::find("3456789", Some("2345678")).unwrap();
    account.switch().unwrap();
    let who = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |start: &str| who.lines().find(|line| line.starts_with(start)).unwrap().replace('\t', " ");
    assert_eq!(line("Uid:"), "Uid: 3456789 3456789 3456789 3456789");
    assert_eq!(line("Gid:"), "Gid: 2345678 2345678 2345678 2345678");
    assert_eq!(line("Groups:").trim(), "Groups: 2345678");
    assert_eq!(line("CapEff:"), "CapEff: 0000000000000000");
    drop(sender);
    assert_eq!(other.join().unwrap(), (3_456_789, 1));
    // Once more is fine, somebody else is not.
    account.switch().unwrap();
    let root = Account::find("root", None).unwrap();
    assert_eq!(root.switch().unwrap_err().to_string(), "cannot become root: not started as root");
    assert!(std::fs::File::open("/etc/shadow").is_err());

    runtime().block_on(async {
        let server = bound.start().unwrap();
        let address = server.local_addr("toy").unwrap();
        let ping = move || {
            ping(&mut TcpStream::connect(address).unwrap());
            ping(&mut UnixStream::connect(path).unwrap());
        };
        tokio::task::spawn_blocking(ping).await.unwrap();
    });
    eprintln!("as it should be");
}
