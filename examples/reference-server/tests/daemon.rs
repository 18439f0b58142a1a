//! The program as a daemon, under a service manager, and on standard input: how it starts, changes and ends.
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
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine};
use support::wire::{Wire, edit, eventually, logged, place};
use support::{PASSWORD, PILLARBOXD, Place, Server, USER, pillarboxd, run_with_input, text};

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A process that is no child, ended with the test.
struct Stranger(u32);

impl Stranger {
    fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(format!("-{name}")).arg(self.0.to_string()).status().unwrap().success());
    }

    fn is_there(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.0)).is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        if self.is_there() {
            self.signal("KILL");
        }
    }
}

#[test]
fn in_the_background_it_leaves_the_terminal_and_says_when_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let log = UnixDatagram::bind(folder.path().join("log")).unwrap();
    log.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let place = place(&format!("[logging]\nsocket = \"{}\"", folder.path().join("log").display()), "", "");
    let (pidfile, ready) = (place.path().join("pid"), place.path().join("ready"));
    let started =
        place.command().arg("--background").arg("--pidfile").arg(&pidfile).arg("--ready-file").arg(&ready).output();
    let started = started.unwrap();
    assert!(started.status.success(), "{}", text(&started.stderr));
    let number = fs::read_to_string(&pidfile).unwrap();
    let daemon = Stranger(number.parse().expect("a number and nothing else"));
    assert_eq!(fs::metadata(&pidfile).unwrap().permissions().mode() & 0o777, 0o644);
    let proc = format!("/proc/{number}");
    assert_eq!(fs::read_link(format!("{proc}/cwd")).unwrap().to_str(), Some("/"));
    for descriptor in 0..3 {
        assert_eq!(fs::read_link(format!("{proc}/fd/{descriptor}")).unwrap().to_str(), Some("/dev/null"));
    }
    let stat = fs::read_to_string(format!("{proc}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!(fields[4], "0", "it has no terminal");
    assert_ne!(fields[3], number, "and can get none: it leads no session");

    let address = fs::read_to_string(&ready).unwrap().lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let mut wire = Wire::to(address.parse().unwrap());
    assert!(wire.line().starts_with("* OK"));
    daemon.signal("TERM");
    assert!(wire.rest().starts_with("* BYE"));
    let mut packet = [0; 4096];
    while !text(&packet).contains("shutting down") {
        packet.fill(0);
        log.recv(&mut packet).unwrap();
    }
    eventually("it ends", || !daemon.is_there());
    assert!(!pidfile.exists());
}

#[test]
fn a_daemon_that_cannot_start_says_so_to_who_started_it() {
    let place = place("", "", "");
    let server = place.start();
    let taken = server.address("imap").to_string();
    let other =
        Place::empty(&format!("data = \"data\"\n[server.listener.x]\nbind = \"{taken}\"\nprotocol = \"imap\"\n"));
    let output = other.command().arg("--background").output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains(&format!("listener x: can't listen on {taken}")), "{}", text(&output.stderr));
}

#[test]
fn it_ends_after_so_many_connections() {
    let place = place("", "", "");
    let server = Server::start(place.command().args(["-U", "2"]), place.path());
    let address = server.address("imap");
    let mut first = Wire::to(address);
    assert!(first.line().starts_with("* OK"));
    let mut second = Wire::to(address);
    assert!(second.line().starts_with("* OK"));
    eventually("nobody else is let in", || TcpStream::connect(address).is_err());
    first.imap("LOGOUT");
    assert!(second.imap("NOOP")[0].starts_with("x OK"), "who is there is served to the end");
    second.imap("LOGOUT");
    drop((first, second));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn it_ends_when_nobody_comes_any_more() {
    let place = place("", "", "");
    let server = Server::start(place.command().args(["-T", "1"]), place.path());
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let mut wire = Wire::to(server.address("imap"));
    assert!(wire.line().starts_with("* OK"), "a server that nobody has used yet goes on waiting");
    wire.imap("LOGOUT");
    drop(wire);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn any_password_is_taken_only_where_that_is_asked_for_and_safe() {
    let place = place("", "", "");
    for (arguments, status) in [(&[][..], "x NO"), (&["-N"][..], "x OK")] {
        let server = Server::start(place.command().args(arguments), place.path());
        let mut wire = Wire::to(server.address("imap"));
        wire.line();
        let login = wire.imap(&format!("LOGIN {USER} wrong"));
        assert!(login.last().unwrap().starts_with(status), "{login:?}");
        if status == "x OK" {
            assert!(server.log().contains("every password is right"));
        }
        // AUTHENTICATE is not affected, in any of its ways to take a password.
        for (password, status) in [("wrong", "x NO"), (PASSWORD, "x OK")] {
            let mut wire = Wire::to(server.address("imap"));
            wire.line();
            let plain = BASE64_STANDARD.encode(format!("\0{USER}\0{password}"));
            let reply = wire.imap(&format!("AUTHENTICATE PLAIN {plain}"));
            assert!(reply.last().unwrap().starts_with(status), "{reply:?}");
        }
        let mut wire = Wire::to(server.address("imap"));
        wire.line();
        wire.send("x AUTHENTICATE LOGIN");
        for answer in [USER, "wrong"] {
            assert!(wire.line().starts_with("+ "));
            wire.send(&BASE64_STANDARD.encode(answer));
        }
        assert!(wire.line().starts_with("x NO"));
        // As over IMAP, so over POP3.
        let mut wire = Wire::to(server.address("pop3"));
        wire.line();
        let plain = BASE64_STANDARD.encode(format!("\0{USER}\0wrong"));
        assert!(wire.pop3(&format!("AUTH PLAIN {plain}")).starts_with("-ERR"));
        wire.pop3(&format!("USER {USER}"));
        let reply = wire.pop3("PASS wrong");
        assert_eq!(reply.starts_with("+OK"), status == "x OK", "{reply}");
    }
    edit(&place, "bind = \"127.0.0.1:0\"\nprotocol = \"imap\"", "bind = \"0.0.0.0:0\"\nprotocol = \"imap\"");
    let output = place.command().args(["-N", "--set", "server.run-as.user=root"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        text(&output.stderr).contains("--any-password: listener imap is open to others"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_protects_from_outside_counts_as_tls() {
    let place = place("[imap]\nauth.allow-plain-text = false", "", "");
    for (ssf, disabled) in [("1", true), ("2", false)] {
        let server = Server::start(place.command().args(["-p", ssf]), place.path());
        let mut wire = Wire::to(server.address("imap"));
        wire.line();
        assert_eq!(wire.imap("CAPABILITY")[0].contains("LOGINDISABLED"), disabled);
    }
}

#[test]
fn tls_from_the_first_byte_can_be_asked_for_on_the_command_line() {
    let plain = place("", "", "");
    let output = plain.command().arg("-s").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("server.listener.imap: no certificate set"));
    let place = place("", "tls.certificate = \"self-signed\"", "");
    let server = Server::start(place.command().arg("-s"), place.path());
    let mut wire = Wire::to(server.address("imap"));
    assert!(wire.is_silent(), "no greeting before a handshake");
    wire.send("x NOOP");
    assert!(!wire.rest().contains("OK"));
}

#[test]
fn the_debug_command_is_run_before_anything_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x");
    let place =
        place(&format!("debug-command = [\"/bin/sh\", \"-c\", \"echo %s %d %s > {}\"]", file.display()), "", "");
    let server = Server::start(place.command().arg("-D"), place.path());
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("pillarboxd {} pillarbox\n", server.pid()));
    drop(server);
    let none = support::wire::place("", "", "");
    assert_eq!(none.command().arg("-D").output().unwrap().status.code(), Some(78));
}

#[test]
fn a_reload_changes_what_it_can_and_says_what_it_cannot() {
    let place = place("", "acl = [\"allow from any\"]", "");
    let server = place.start();
    let mut kept = server.imap();
    edit(&place, "allow from any", "deny from any");
    server.signal("HUP");
    logged(&server, "the configuration has been read again");
    assert_eq!(Wire::to(server.address("imap")).rest(), "");
    kept.command("NOOP").unwrap().ok();

    edit(&place, "deny from any", "dney from any");
    server.signal("HUP");
    logged(&server, "the configuration stays as it was");
    let file = place.path().join("pillarboxd.toml");
    logged(&server, &format!("{}:5: server.acl: entry 1: unknown keyword 'dney'", file.display()));
    assert_eq!(Wire::to(server.address("imap")).rest(), "");

    edit(&place, "dney from any", "allow from any");
    edit(&place, "protocol = \"imap\"", "protocol = \"imap\"\ngreeting = \"new here\"\nmax-connections = 5");
    server.signal("HUP");
    logged(&server, "it takes a restart to change server.listener.imap.max-connections");
    assert!(Wire::to(server.address("imap")).line().ends_with("new here"));
}

#[test]
fn it_becomes_another_user_once_it_listens() {
    if !is_root() {
        eprintln!("SKIPPED: only root can become somebody else");
        return;
    }
    let place = place("", "run-as.user = \"nobody\"", "");
    let made = Place::new();
    drop(made.start());
    let (cert, key) = (made.certificate(), made.data().join("tls/key.pem"));
    // A key that only root can read.
    let text = fs::read_to_string(place.path().join("pillarboxd.toml")).unwrap();
    let text = text.replace("nobody\"", "nobody\"\ntls.certificate = \"own\"");
    let text = format!("{text}[certificate.own]\ncert = \"{}\"\nprivate-key = \"{}\"\n", cert.display(), key.display());
    fs::write(place.path().join("pillarboxd.toml"), text).unwrap();
    assert!(Command::new("chown").arg("-R").arg("nobody").arg(place.data()).status().unwrap().success());
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let server = place.start();
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let nobody = fs::metadata(place.data()).unwrap().uid();
    assert!(status.contains(&format!("Uid:\t{nobody}\t{nobody}\t{nobody}\t{nobody}\n")), "{status}");
    server.imap().command("SELECT INBOX").unwrap().ok();
    assert!(!server.log().contains("runs as root"));
}

#[test]
fn root_is_not_open_to_others_unless_told_to() {
    if !is_root() {
        eprintln!("SKIPPED: only root can stay root");
        return;
    }
    let place = place("", "", "");
    let server = place.start();
    logged(&server, "the server runs as root");
    drop(server);
    edit(&place, "bind = \"127.0.0.1:0\"\nprotocol = \"imap\"", "bind = \"0.0.0.0:0\"\nprotocol = \"imap\"");
    let output = place.command().output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(
        text(&output.stderr).contains("server.run-as: started as root, with listener imap open to others"),
        "{}",
        text(&output.stderr)
    );
    Server::start(place.command().args(["--set", "server.run-as.user=root"]), place.path());
}

#[test]
fn the_log_goes_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let logging =
        format!("[logging]\nsyslog = true\nsocket = \"{}\"\nfacility = \"local1\"\ntag = \"box\"", path.display());
    let place = place(&logging, "", "");
    let server = place.start();
    drop(server.imap());
    let mut packet = [0; 4096];
    loop {
        let length = socket.recv(&mut packet).unwrap();
        let line = text(&packet[..length]);
        assert!(line.contains(&format!(">box[{}]: ", server.pid())), "{line}");
        if line.contains("logged in") {
            assert!(line.starts_with("<142>"), "facility 17, severity 6: {line}");
            break;
        }
    }
    assert_eq!(server.log(), "");
}

#[test]
fn the_severity_decides_what_is_logged() {
    for (severity, seen) in [("info", true), ("error", false)] {
        let place = place(&format!("[logging]\nseverity = \"{severity}\""), "", "");
        let server = place.start();
        drop((server.imap(), server.imap()));
        server.signal("TERM");
        let log = place.path().join("log");
        server.wait();
        let log = fs::read_to_string(log).unwrap();
        assert_eq!(log.contains("logged in"), seen, "{log}");
        if seen {
            let names: Vec<&str> = log
                .lines()
                .filter_map(|line| line.split_once(" logged in"))
                .filter_map(|(before, _)| before.rsplit(' ').next())
                .collect();
            assert!(names.len() == 2 && names[0] != names[1] && names.iter().all(|name| name.len() == 8), "{log}");
        }
    }
}

/// A server on one end of a pair of sockets.
fn on_a_socket(place: &Place, program: &std::path::Path, arguments: &[&str]) -> (Wires, std::process::Child) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let child = Command::new(program)
        .env("HOME", "/nonexistent")
        .arg("--config")
        .arg(place.path().join("pillarboxd.toml"))
        .args(arguments)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs.try_clone().unwrap())))
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Wires(std::io::BufReader::new(ours)), child)
}

struct Wires(std::io::BufReader<UnixStream>);

impl Wires {
    fn line(&mut self) -> String {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut self.0, &mut line).unwrap();
        line
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(format!("{text}\r\n").as_bytes()).unwrap();
    }
}

#[test]
fn one_client_on_standard_input_is_served() {
    let place = place("", "", "");
    for (arguments, greeting, farewell) in
        [(&["-i", "--service", "imap"][..], "* OK", "x LOGOUT"), (&["--inetd", "--service", "pop3"], "+OK", "QUIT")]
    {
        let (mut wire, mut child) = on_a_socket(&place, std::path::Path::new(PILLARBOXD), arguments);
        assert!(wire.line().starts_with(greeting));
        let listening = fs::read_to_string(format!("/proc/{}/net/tcp", child.id())).unwrap();
        let inodes = format!("/proc/{}/fd", child.id());
        let sockets: Vec<String> = fs::read_dir(inodes)
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
            .collect();
        assert!(!listening.lines().any(|line| sockets.iter().any(|inode| line.contains(&format!(" {inode} ")))));
        wire.send(farewell);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let output = run_with_input(place.command().arg("-i"), "");
    assert_eq!(output.status.code(), Some(64));
    let output = run_with_input(place.command().arg("--preauth"), "");
    assert_eq!(output.status.code(), Some(64), "that is for -i alone");
}

#[test]
fn telemetry_of_one_client_is_named_after_its_process() {
    let place = place("", "", "");
    let folder = place.data().join("log").join(USER);
    fs::create_dir_all(&folder).unwrap();
    let (mut wire, mut child) = on_a_socket(&place, std::path::Path::new(PILLARBOXD), &["-i", "--service", "imap"]);
    wire.line();
    wire.send(&format!("x LOGIN {USER} \"{PASSWORD}\""));
    assert!(wire.line().starts_with("x OK"));
    wire.send("x LOGOUT");
    assert!(wire.line().starts_with("* BYE"));
    drop(wire);
    child.wait().unwrap();
    let written = fs::read_to_string(folder.join(child.id().to_string())).unwrap();
    assert!(written.starts_with("---------- alice ") && written.contains("<x LOGOUT\r\n"), "{written}");
}

/// As inetd does it: standard error is the client's socket, too.
#[test]
fn a_client_is_not_told_what_is_logged() {
    let place = place("[debug]\nlevel = \"trace\"", "", "");
    let start = |arguments: &[&str]| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(support::PATIENCE)).unwrap();
        let end = || Stdio::from(std::os::fd::OwnedFd::from(theirs.try_clone().unwrap()));
        let mut command = place.command();
        command.args(arguments).stdin(end()).stdout(end()).stderr(end());
        (Wires(std::io::BufReader::new(ours)), command.spawn().unwrap())
    };
    let (mut wire, mut child) = start(&["-i", "--service", "imap"]);
    assert!(wire.line().starts_with("* OK"));
    wire.send(&format!("x LOGIN {USER} \"{PASSWORD}\""));
    assert!(wire.line().starts_with("x OK"));
    wire.send("x LOGOUT");
    assert!(wire.line().starts_with("* BYE") && wire.line().starts_with("x OK"));
    assert_eq!(wire.line(), "");
    child.wait().unwrap();
    let (mut wire, mut child) = start(&["-i", "--service", "imap", "--set", "server.tls-mode=required"]);
    assert_eq!(child.wait().unwrap().code(), Some(69));
    assert_eq!(wire.line(), "", "there is no certificate, and not a byte");
}

#[test]
fn an_inherited_socket_that_is_open_to_others_is_not_taken_for_local() {
    if !support::has("python3") {
        return;
    }
    const PARENT: &str = "import os, socket, sys\n\
        s = socket.socket()\n\
        s.bind(('0.0.0.0', 0))\n\
        s.listen()\n\
        os.dup2(s.fileno(), 3)\n\
        os.set_inheritable(3, True)\n\
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='imap')\n\
        os.execv(sys.argv[1], sys.argv[1:])\n";
    // By the configuration it is on loopback.
    let place = place("", "", "");
    let mut command = Command::new("python3");
    command.args(["-c", PARENT, PILLARBOXD, "--config"]).arg(place.path().join("pillarboxd.toml")).arg("-N");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("--any-password: listener imap is open to others"));
}

#[test]
fn sockets_come_from_a_service_manager_who_hears_when_it_is_ready() {
    if !support::has("python3") {
        return;
    }
    const PARENT: &str = "import os, socket, sys\n\
        s = socket.socket()\n\
        s.bind(('127.0.0.1', 0))\n\
        s.listen()\n\
        os.dup2(s.fileno(), 3)\n\
        os.set_inheritable(3, True)\n\
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES=sys.argv[1])\n\
        os.execv(sys.argv[2], sys.argv[2:])\n";
    let place = place("", "", "");
    let manager = UnixDatagram::bind(place.path().join("manager")).unwrap();
    manager.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let heard = || {
        let mut words = [0; 4096];
        let length = manager.recv(&mut words).unwrap();
        text(&words[..length])
    };
    // Its own address is taken, but not needed.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    edit(
        &place,
        "127.0.0.1:0\"\nprotocol = \"imap\"",
        &format!("{}\"\nprotocol = \"imap\"", taken.local_addr().unwrap()),
    );
    let command = |name: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", PARENT, name, PILLARBOXD, "--config"]).arg(place.path().join("pillarboxd.toml"));
        command.env("NOTIFY_SOCKET", place.path().join("manager")).env("HOME", "/nonexistent");
        command
    };
    let server = Server::start(&mut command("imap"), place.path());
    assert_ne!(server.address("imap"), taken.local_addr().unwrap());
    assert!(Wire::to(server.address("imap")).line().starts_with("* OK"));
    assert!(heard().contains("READY=1"));
    server.signal("HUP");
    assert!(heard().contains("RELOADING=1"));
    assert!(heard().contains("READY=1"));
    server.signal("TERM");
    assert!(heard().contains("STOPPING=1"));
    assert_eq!(server.wait().code(), Some(0));
    drop(taken);
    let output = command("nobody").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("no listener for the inherited socket nobody"), "{}", text(&output.stderr));
}

#[test]
fn its_name_says_what_it_speaks() {
    let place = place("", "", "");
    for (name, greeting) in [("imap4d", "* OK"), ("imapd", "* OK"), ("pop3d", "+OK")] {
        let program = place.path().join(name);
        symlink(PILLARBOXD, &program).unwrap();
        let (mut wire, mut child) = on_a_socket(&place, &program, &[]);
        assert!(wire.line().starts_with(greeting), "{name}");
        drop(wire);
        child.wait().unwrap();
    }
}

#[test]
fn a_signal_ends_a_session_on_standard_input() {
    let place = place("", "", "");
    let (mut wire, mut child) = on_a_socket(&place, std::path::Path::new(PILLARBOXD), &["-i", "--service", "imap"]);
    wire.line();
    assert!(Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap().success());
    assert!(wire.line().starts_with("* BYE"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_test_needs_no_network() {
    let place = place("", "", "");
    let output = run_with_input(place.command().arg("--test"), "1 CAPABILITY\r\nX LOGOUT\r\n");
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(lines[0].starts_with("* OK") && lines[0].contains("Test mode"), "{said}");
    assert!(lines[1].starts_with("* CAPABILITY ") && lines[2].starts_with("1 OK"), "{said}");
    assert!(lines[3].starts_with("* BYE") && lines[4].starts_with("X OK"), "{said}");
}

#[test]
fn on_standard_input_the_client_may_be_the_user_of_the_process() {
    let place = place("", "", "");
    let name = text(&Command::new("id").arg("-un").output().unwrap().stdout).trim().to_owned();
    let added = run_with_input(place.command().args(["user", "add", &name]), "x\n");
    assert!(added.status.success());
    let output = run_with_input(place.command().args(["-i", "--preauth"]), "1 SELECT INBOX\r\nX LOGOUT\r\n");
    let said = text(&output.stdout);
    assert!(said.starts_with("* PREAUTH") && said.contains("\r\n1 OK"), "{said} {}", text(&output.stderr));
}

#[test]
fn in_inetd_mode_tls_is_as_the_server_says() {
    let required = place("", "tls.certificate = \"self-signed\"\ntls-mode = \"required\"", "");
    let (mut wire, mut child) = on_a_socket(&required, std::path::Path::new(PILLARBOXD), &["-i", "--service", "imap"]);
    let greeting = wire.line();
    assert!(greeting.contains("STARTTLS") && greeting.contains("LOGINDISABLED"), "{greeting}");
    wire.send(&format!("x LOGIN {USER} \"{PASSWORD}\""));
    assert!(wire.line().starts_with("x NO"));
    drop(wire);
    child.wait().unwrap();
    let without = place("", "tls-mode = \"ondemand\"", "");
    let output = run_with_input(without.command().args(["-i", "--service", "imap"]), "");
    assert_eq!(output.status.code(), Some(69));
}

#[test]
fn the_command_line_wins_over_the_file() {
    let place = place("", "max-connections = 3", "");
    let check = |arguments: &[&str]| place.command().args(arguments).arg("--check-config").output().unwrap();
    let shown = text(&check(&["--set", "server.max-connections=2", "-d7"]).stdout);
    assert!(shown.contains("max-connections = 2\n") && shown.contains("max-children = 7\n"), "{shown}");
    let again = place.path().join("again.toml");
    fs::write(&again, &shown).unwrap();
    let output = pillarboxd().arg("-C").arg(&again).arg("--check-config").output().unwrap();
    assert_eq!(text(&output.stdout), shown, "{}", text(&output.stderr));
    let output = check(&["--set", "server.max-connections=x"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).starts_with("pillarboxd: --set server.max-connections: "), "{}", text(&output.stderr));
}
