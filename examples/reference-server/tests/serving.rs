//! What the keys of listeners do, seen from outside.
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
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::wire::{Wire, eventually, logged, place};
use support::{PASSWORD, Place, Server, USER, has, text};

fn greeting(address: std::net::SocketAddr) -> String {
    Wire::to(address).line()
}

#[test]
fn access_lists_of_the_listener_and_of_the_server_must_both_allow() {
    let folder = tempfile::tempdir().unwrap();
    let touched = folder.path().join("touched");
    let touch = format!("acl = [[\"exec\", \"any\", \"/usr/bin/touch {}\"], \"deny from any\"]", touched.display());
    for (server, listener, first, second) in [
        ("", "acl = [\"deny from 127.0.0.1\", \"allow from any\"]", false, true),
        ("", "acl = [\"allow from any\", \"deny from 127.0.0.1\"]", true, true),
        ("acl = [\"allow from any\"]", "acl = [\"deny from 127.0.0.0/8\"]", false, false),
        ("acl = [\"deny from 127.0.0.0/255.0.0.0\"]", "acl = [\"allow from any\"]", false, false),
        ("acl = [\"allow from any\"]", "acl = [\"allow from any\"]", true, true),
        ("", "acl = []", true, true),
        ("", "acl = [\"ifexec from any /bin/false\"]", false, false),
        ("", "acl = [\"ifexec from any /bin/true\"]", true, true),
        ("", touch.as_str(), false, false),
        ("", "acl = [[\"log\", \"any\", \"hit ${address} ${aclno}\"]]", true, true),
    ] {
        let place = place("", server, listener);
        let running = place.start();
        for (source, welcome) in [("127.0.0.1", first), ("127.0.0.2", second)] {
            let mut wire = Wire::from(source, running.address("imap"));
            if welcome {
                assert!(wire.line().starts_with("* OK"), "{server} {listener}");
            } else {
                assert_eq!(wire.rest(), "", "{server} {listener}");
            }
        }
        if listener.contains("hit") {
            logged(&running, "hit 127.0.0.1 1");
            logged(&running, "hit 127.0.0.2 1");
        }
    }
    eventually("the program has run", || touched.exists());
}

#[test]
fn tables_of_tcp_wrappers_are_asked_anew_for_each_connection() {
    let place = place("", "tcp-wrappers = { allow-table = \"allow\", deny-table = \"deny\" }", "");
    fs::write(place.path().join("deny"), "pop3d: 127.0.0.1\n").unwrap();
    let server = place.start();
    assert_eq!(Wire::to(server.address("pop3")).rest(), "");
    logged(&server, "access from 127.0.0.1 blocked by TCP wrappers");
    assert!(greeting(server.address("imap")).starts_with("* OK"), "that is imap4d");
    fs::write(place.path().join("allow"), "pop3d: 127.0.0.1\n").unwrap();
    assert!(greeting(server.address("pop3")).starts_with("+OK"));
    drop(server);
    support::wire::edit(&place, "deny-table", "daemon = \"foo\", deny-table");
    fs::write(place.path().join("deny"), "pop3d: ALL\n").unwrap();
    let server = place.start();
    assert!(greeting(server.address("pop3")).starts_with("+OK"));
}

/// How many of a listener's addresses there are in the file of a server that is ready.
fn addresses(place: &Place, listener: &str) -> Vec<std::net::SocketAddr> {
    let ready = fs::read_to_string(place.path().join("ready")).unwrap();
    let of = ready.lines().filter(|line| line.starts_with(&format!("{listener} ")));
    of.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_listener_s_limit_is_over_all_its_addresses() {
    let place = place(
        "",
        "max-connections = 1\n[server.listener.two]\nbind = [\"127.0.0.1:0\", \"[::1]:0\"]\nprotocol = \"imap\"\nmax-connections = 2",
        "",
    );
    let server = place.start();
    let [four, six] = addresses(&place, "two")[..] else { panic!("two addresses") };
    let mut first = Wire::to(four);
    let mut second = Wire::to(six);
    assert!(first.line().starts_with("* OK") && second.line().starts_with("* OK"));
    for address in [four, six] {
        assert_eq!(Wire::to(address).rest(), "");
    }
    let mut other = Wire::to(server.address("imap"));
    assert!(other.line().starts_with("* OK"), "another listener has room of its own");
    assert_eq!(Wire::to(server.address("imap")).rest(), "", "and that of the server: one");
    drop(first);
    eventually("there is room again", || greeting(four).starts_with("* OK"));
}

#[test]
fn addresses_of_all_kinds_are_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("imap");
    let place = place("", "", "");
    support::wire::edit(
        &place,
        "bind = \"127.0.0.1:0\"\nprotocol = \"imap\"",
        &format!("bind = [\"[::]:0\", \"localhost:0\", \"unix://{}\"]\nprotocol = \"imap\"", socket.display()),
    );
    let command = || {
        let mut command = place.command();
        // Root has to be told that it may stay root where others can connect.
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["--set", "server.run-as.user=root"]);
        }
        command
    };
    let server = Server::start(&mut command(), place.path());
    let ready = fs::read_to_string(place.path().join("ready")).unwrap();
    let ports: Vec<_> = ready
        .lines()
        .filter(|line| line.starts_with("imap "))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<std::net::SocketAddr>().ok())
        .collect();
    assert!(ports.len() >= 2, "{ready}");
    for address in [format!("127.0.0.1:{}", ports[0].port()), format!("[::1]:{}", ports[0].port())] {
        assert!(greeting(address.parse().unwrap()).starts_with("* OK"), "{address}");
    }
    assert!(greeting(ports[1]).starts_with("* OK"), "a host by its name");
    let unix = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(unix), &mut line).unwrap();
    assert!(line.starts_with("* OK"), "{line}");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!socket.exists());

    support::wire::edit(&place, "localhost:0", "no-such-host.invalid:0");
    let output = command().output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    assert!(said.starts_with("pillarboxd: listener imap: cannot look up no-such-host.invalid:0: "), "{said}");
}

#[test]
fn a_unix_socket_has_the_mode_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let place = place("", "", "");
    let sockets = ["imap", "pop3"].map(|name| folder.path().join(name));
    for (name, socket) in ["imap", "pop3"].iter().zip(&sockets) {
        support::wire::edit(
            &place,
            &format!("bind = \"127.0.0.1:0\"\nprotocol = \"{name}\""),
            &format!("bind = [\"127.0.0.1:0\", \"unix://{}\"]\nprotocol = \"{name}\"", socket.display()),
        );
    }
    for (sets, umask, modes) in [
        (&["server.listener.imap.socket.mode=0606"][..], "077", [0o606, 0o700]),
        (&["server.socket.mode=0660", "server.listener.pop3.socket.mode=666"], "022", [0o660, 0o666]),
    ] {
        // The umask has no say where a mode is given.
        let command = || {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh", support::PILLARBOXD, "--config"]);
            command.arg(place.path().join("pillarboxd.toml")).args(sets.iter().flat_map(|set| ["--set", set]));
            command
        };
        let server = Server::start(&mut command(), place.path());
        let found = sockets.each_ref().map(|path| fs::metadata(path).unwrap().mode() & 0o7777);
        assert_eq!(found, modes, "{sets:?}");
        let unix = std::os::unix::net::UnixStream::connect(&sockets[0]).unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(unix), &mut line).unwrap();
        assert!(line.starts_with("* OK"), "{line}");
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
        let output = command().arg("--check-config").output().unwrap();
        assert!(text(&output.stdout).contains(&format!("\nsocket.mode = \"{:o}\"\n", modes[0])), "{output:?}");
    }
}

#[test]
fn the_port_of_the_server_is_for_addresses_that_give_none() {
    let free = support::own_address();
    let place = Place::with_config(&format!(
        "data = \"data\"\n[server.listener.imap]\nbind = \"{}\"\nprotocol = \"imap\"\n[server]\nport = {}\n",
        free.ip(),
        free.port()
    ));
    assert_eq!(place.start().address("imap"), free);
}

#[test]
fn d_is_a_limit_over_all_listeners() {
    let place = place("", "", "");
    let server = Server::start(place.command().arg("-d2"), place.path());
    let mut first = Wire::to(server.address("imap"));
    let mut second = Wire::to(server.address("pop3"));
    assert!(first.line().starts_with("* OK") && second.line().starts_with("+OK"));
    assert_eq!(Wire::to(server.address("imap")).rest(), "");
    assert_eq!(second.pop3("QUIT").get(..3), Some("+OK"));
    drop(second);
    eventually("there is room again", || greeting(server.address("pop3")).starts_with("+OK"));
}

#[test]
fn silence_is_ended_where_a_timeout_says_so() {
    let place =
        place("", "timeout = 0\n[server.listener.quick]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\ntimeout = 1", "");
    let server = place.start();
    let start = Instant::now();
    let (mut quick, mut other) = (Wire::to(server.address("quick")), Wire::to(server.address("imap")));
    assert!(quick.line().starts_with("* OK") && other.line().starts_with("* OK"));
    assert!(quick.rest().starts_with("* BYE"));
    assert!(start.elapsed() > Duration::from_millis(900));
    assert!(other.is_silent());
}

#[test]
fn single_process_serves_one_after_another() {
    let place = place("", "", "single-process = true");
    let server = place.start();
    logged(&server, "listener imap serves its connections one after another");
    let mut first = Wire::to(server.address("imap"));
    assert!(first.line().starts_with("* OK"));
    let mut second = Wire::to(server.address("imap"));
    assert!(second.is_silent());
    first.imap("LOGOUT");
    drop(first);
    assert!(second.line().starts_with("* OK"));
}

#[test]
fn the_kernel_is_told_the_options_of_sockets() {
    if !has("strace") {
        return;
    }
    let place = place(
        "",
        "[server.socket]\nbacklog = 9\nnodelay = false\nlinger = \"3s\"\nttl = 77\nsend-buffer-size = 65536\n\
         recv-buffer-size = 32768\ntos = 16\nreuse-port = true",
        "",
    );
    support::wire::edit(
        &place,
        "protocol = \"pop3\"\n",
        "protocol = \"pop3\"\nsocket.backlog = 11\nsocket.nodelay = true\n",
    );
    let calls = place.path().join("calls");
    let program = place.command();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=setsockopt,listen", "-o"]).arg(&calls).arg(program.get_program());
    strace.args(program.get_args()).env("HOME", "/nonexistent").stdin(Stdio::null());
    let server = Server::start(&mut strace, place.path());
    assert!(greeting(server.address("imap")).starts_with("* OK"));
    let seen = fs::read_to_string(&calls).unwrap();
    for call in [
        ", 9)",
        ", 11)",
        "SO_REUSEADDR, [1]",
        "SO_REUSEPORT, [1]",
        "SO_SNDBUF, [65536]",
        "SO_RCVBUF, [32768]",
        "IP_TOS, [16]",
        "IP_TTL, [77]",
        "SO_LINGER, {l_onoff=1, l_linger=3}",
    ] {
        assert!(seen.contains(call), "{call} is not among:\n{seen}");
    }
    assert!(!seen.contains("TCP_NODELAY, [1]"), "{seen}");
    assert!(greeting(server.address("pop3")).starts_with("+OK"));
    eventually("the other listener's own option", || fs::read_to_string(&calls).unwrap().contains("TCP_NODELAY, [1]"));
    // The tracer passes no signal on that kills it.
    let pid = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid())).unwrap();
    assert!(Command::new("kill").arg("-TERM").arg(pid.trim()).status().unwrap().success());
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_port_is_shared_where_that_is_wanted() {
    let one = place("", "socket.reuse-port = true", "");
    let first = one.start();
    let at = first.address("imap").to_string();
    for (shared, works) in [("true", true), ("false", false)] {
        let other = Place::empty(&format!(
            "data = \"data\"\n[server.listener.imap]\nbind = \"{at}\"\nprotocol = \"imap\"\nsocket.reuse-port = {shared}\n"
        ));
        if works {
            other.start();
        } else {
            let output = other.command().output().unwrap();
            assert_eq!(output.status.code(), Some(69));
            assert!(text(&output.stderr).contains(&format!("listener imap: can't listen on {at}")));
        }
    }
}

#[test]
fn proxies_say_for_whom_they_speak() {
    let place =
        place("", "", "proxy.trusted-networks = [\"127.0.0.1\"]\nacl = [[\"log\", \"any\", \"from ${address}\"]]");
    let server = place.start();
    let mut wire = Wire::to(server.address("imap"));
    wire.send("PROXY TCP4 192.0.2.7 127.0.0.1 1111 143");
    assert!(wire.line().starts_with("* OK"));
    logged(&server, "from 192.0.2.7");
    let mut wire = Wire::to(server.address("imap"));
    wire.send("x NOOP");
    assert_eq!(wire.rest(), "");
    let mut wire = Wire::from("127.0.0.2", server.address("imap"));
    wire.send("PROXY TCP4 192.0.2.7 127.0.0.1 1111 143");
    assert!(wire.line().starts_with("* OK") && wire.line().contains("BAD"), "it is bad input of a client");
}

#[test]
fn transcripts_show_neither_secrets_nor_mail() {
    let place = place("", "transcript = true", "");
    let server = place.start();
    let mut wire = Wire::to(server.address("imap"));
    wire.line();
    wire.imap(&format!("LOGIN {USER} \"{PASSWORD}\""));
    wire.imap("SELECT INBOX");
    wire.imap("NOOP");
    logged(&server, "C: x NOOP");
    let log = server.log();
    assert!(log.contains("C: x LOGIN alice \"***\"") && log.contains("S: x OK"), "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("C: x")).collect();
    let name = |line: &str| line.split(' ').find(|word| word.len() == 8 && !word.ends_with(':')).map(str::to_owned);
    assert!(lines.iter().all(|line| name(line).is_some() && name(line) == name(lines[0])), "{lines:?}");
}

#[test]
fn what_the_operator_has_to_say_is_read_for_each_connection() {
    let place = place("configdirectory = \"conf\"", "", "");
    let folder = place.path().join("conf/msg");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("motd"), "[[hello\nx\n").unwrap();
    let server = place.start();
    let mut wire = Wire::to(server.address("imap"));
    assert!(wire.line().starts_with("* OK"));
    assert_eq!(wire.line(), "* OK [ALERT] hello");
    fs::remove_file(folder.join("motd")).unwrap();
    let mut wire = Wire::to(server.address("imap"));
    assert!(wire.line().starts_with("* OK") && wire.is_silent());

    // One is logged in, one is in IDLE, one reads its mail by POP3.
    let login = format!("LOGIN {USER} \"{PASSWORD}\"");
    let mut idle = Wire::to(server.address("imap"));
    idle.line();
    idle.imap(&login);
    idle.imap("SELECT INBOX");
    idle.send("x IDLE");
    assert!(idle.line().starts_with('+'));
    wire.imap(&login);
    let mut pop3 = Wire::to(server.address("pop3"));
    pop3.line();
    pop3.pop3(&format!("USER {USER}"));
    assert!(pop3.pop3(&format!("PASS {PASSWORD}")).starts_with("+OK"));
    // In one go: an empty file says that the server goes down, too, and says no more.
    fs::write(place.path().join("shutdown"), "down for work\n").unwrap();
    fs::rename(place.path().join("shutdown"), folder.join("shutdown")).unwrap();
    for wire in [&mut wire, &mut idle] {
        let rest = wire.rest();
        assert!(rest.ends_with("* BYE [ALERT] down for work\r\n"), "{rest:?}");
    }
    assert_eq!(pop3.rest(), "-ERR [SYS/TEMP] down for work\r\n");
    assert_eq!(Wire::to(server.address("imap")).rest(), "* BYE [ALERT] down for work\r\n");
    assert_eq!(Wire::to(server.address("pop3")).rest(), "-ERR [SYS/TEMP] down for work\r\n");
    fs::write(folder.join("shutdown"), "").unwrap();
    assert!(Wire::to(server.address("imap")).rest().starts_with("* BYE [ALERT]"));
    fs::remove_file(folder.join("shutdown")).unwrap();
    assert!(greeting(server.address("imap")).starts_with("* OK"));
}

#[test]
fn telemetry_is_for_users_with_a_folder() {
    let place = place("", "", "single-process = true");
    let folder = place.data().join("log").join(USER);
    fs::create_dir_all(&folder).unwrap();
    let server = place.start();
    let mut wire = Wire::to(server.address("imap"));
    wire.line();
    wire.imap(&format!("LOGIN {USER} \"{PASSWORD}\""));
    wire.imap("NOOP");
    wire.imap("LOGOUT");
    drop(wire);
    let file = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).next();
    eventually("a file with what was said", || {
        file().is_some_and(|file| fs::read_to_string(file).unwrap().contains("<x LOGOUT\r\n"))
    });
    let file = file().unwrap();
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("---------- alice ") && written.contains("<x NOOP\r\n"), "{written}");
    assert!(!written.contains(PASSWORD) && !written.contains("x LOGIN"), "{written}");
    // Two listeners of the process may each have a session, so the file is not named after the process alone.
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&format!("{}-", server.pid())), "{name}");
}

#[test]
fn a_program_says_who_a_client_is() {
    let folder = tempfile::tempdir().unwrap();
    let (program, seen) = (folder.path().join("who"), folder.path().join("seen"));
    let script = |user: &str, status: u8| {
        support::program(&program, &format!("echo \"$@\" > {}\necho {user}\nexit {status}", seen.display()));
    };
    let scheme = format!("preauth = \"prog://{} ${{client_address}} ${{server_port}}\"", program.display());
    script(USER, 0);
    let one = place("", &scheme, "");
    let server = one.start();
    let mut wire = Wire::to(server.address("imap"));
    assert!(wire.line().starts_with("* PREAUTH"));
    assert!(wire.imap("LIST \"\" *").last().unwrap().starts_with("x OK"));
    assert_eq!(fs::read_to_string(&seen).unwrap(), format!("127.0.0.1 {}\n", server.port("imap")));
    script(USER, 1);
    assert!(greeting(server.address("imap")).starts_with("* OK"));
    drop(server);
    let only = place("", &format!("{scheme}\npreauth-only = true"), "");
    let server = only.start();
    assert_eq!(Wire::to(server.address("imap")).rest(), "");
    drop(server);
    // Without a hook nobody is known.
    let none = place("", "preauth-only = true", "");
    assert_eq!(Wire::to(none.start().address("imap")).rest(), "");
}

#[test]
fn id_tells_what_was_listed_in_that_order() {
    for (fields, answer) in [
        (
            "[\"name\", \"version\"]",
            format!("* ID (\"name\" \"Pillarbox\" \"version\" \"{}\")", env!("CARGO_PKG_VERSION")),
        ),
        (
            "[\"version\", \"name\"]",
            format!("* ID (\"version\" \"{}\" \"name\" \"Pillarbox\")", env!("CARGO_PKG_VERSION")),
        ),
    ] {
        let place = place(&format!("[imap]\nid-fields = {fields}"), "", "");
        let server = place.start();
        let mut wire = Wire::to(server.address("imap"));
        wire.line();
        assert_eq!(wire.imap("ID NIL")[0], answer);
    }
}

#[test]
fn login_can_be_disabled_for_all_or_for_one() {
    let place = place("[imap]\nlogin-disabled = true", "", "");
    support::wire::edit(
        &place,
        "[server.listener.imap]",
        "[server.listener.open]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\nlogin-disabled = false\n[server.listener.imap]",
    );
    let server = place.start();
    for (listener, refused) in [("imap", true), ("open", false)] {
        let mut wire = Wire::to(server.address(listener));
        wire.line();
        let capability = wire.imap("CAPABILITY");
        assert_eq!(capability[0].contains("LOGINDISABLED"), refused, "{capability:?}");
        let login = wire.imap(&format!("LOGIN {USER} \"{PASSWORD}\""));
        assert_eq!(login.last().unwrap().starts_with("x NO"), refused, "{login:?}");
    }
}

#[test]
fn failed_logins_block_an_address() {
    let place = place("[limits]\nexempt = []\nlogin.block-after = 2\nlogin.free = 9\nlogin.block-for = \"1h\"", "", "");
    let server = place.start();
    for _ in 0..2 {
        let mut wire = Wire::from("127.0.0.2", server.address("imap"));
        wire.line();
        assert!(wire.imap("LOGIN alice wrong")[0].starts_with("x NO"));
    }
    assert_eq!(Wire::from("127.0.0.2", server.address("pop3")).rest(), "");
    assert!(greeting(server.address("imap")).starts_with("* OK"), "others are not blocked");
}

#[test]
fn metrics_and_health_are_told_over_http() {
    let place = place(
        "",
        "[server.listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\nacl = [\"deny from 127.0.0.2\", \"allow from any\"]",
        "",
    );
    let server = place.start();
    let mut imap = Wire::to(server.address("imap"));
    imap.line();
    imap.imap(&format!("LOGIN {USER} \"{PASSWORD}\""));
    let get = |path: &str| {
        let mut wire = Wire::to(server.address("web"));
        wire.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"));
        wire.rest()
    };
    let metrics = get("/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("listener=\"imap\""), "{metrics}");
    assert!(get("/health").ends_with("\r\n\r\nok\n"));
    assert_eq!(Wire::from("127.0.0.2", server.address("web")).rest(), "");
    fs::create_dir(place.data().join("msg")).unwrap();
    fs::write(place.data().join("msg/shutdown"), "work").unwrap();
    assert!(get("/health").starts_with("HTTP/1.1 503 "));
}

#[test]
fn mail_comes_in_by_lmtp() {
    let place = place(
        "",
        "hostname = \"mx.example.org\"\n[server.listener.lmtp]\nbind = \"127.0.0.1:0\"\nprotocol = \"lmtp\"",
        "",
    );
    let server = place.start();
    let mut lmtp = Wire::to(server.address("lmtp"));
    let hello = lmtp.line();
    assert!(hello.starts_with("220 mx.example.org"), "{hello}");
    for (line, status) in [
        ("MAIL FROM:<a@example.com>", "250"),
        ("RCPT TO:<nobody@example.org>", "550"),
        ("RCPT TO:<alice@example.org>", "250"),
        ("DATA", "354"),
        ("Subject: by LMTP\r\n\r\nx\r\n.", "250"),
    ] {
        if line.starts_with("MAIL") {
            lmtp.send("LHLO x");
            while lmtp.line().starts_with("250-") {}
        }
        lmtp.send(line);
        let reply = lmtp.line();
        assert!(reply.starts_with(status), "{line}: {reply}");
    }
    let mut imap = server.imap();
    imap.command("SELECT INBOX").unwrap().ok();
    let row = imap.command("FETCH 1 BODY.PEEK[]").unwrap().ok();
    assert!(text(&row.untagged[0]).contains("Subject: by LMTP"));
}
