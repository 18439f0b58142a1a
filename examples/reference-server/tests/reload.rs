//! SIGHUP: certificates and settings are read again while clients come and go, and what is wrong changes nothing.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

#[path = "tls/authority.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod authority;
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use authority::{Authority, HOST, set_mode};
use support::pop3::Pop3;
use support::{Imap, PASSWORD, PATIENCE, Place, Server, USER, has, run_with_input, text};

const CONFIG: &str = r#"
data = "data"
[certificate.mail]
cert = "mail.crt"
private-key = "mail.key"
[certificate.other]
cert = "other.crt"
private-key = "other.key"
[server]
shutdown-grace = "1s"
[server.tls]
certificate = "mail"
[server.listener.imap]
bind = "127.0.0.1:0"
protocol = "imap"
[server.listener.imaps]
bind = "127.0.0.1:0"
protocol = "imap"
tls-mode = "connection"
[server.listener.pop3]
bind = "127.0.0.1:0"
protocol = "pop3"
[server.listener.pop3s]
bind = "127.0.0.1:0"
protocol = "pop3"
tls-mode = "connection"
tls.certificate = "other"
"#;

struct World {
    place: Place,
    authority: Authority,
    server: Server,
}

impl World {
    fn new() -> Self {
        let place = Place::with_config(CONFIG);
        let authority = Authority::new(place.path(), "authority");
        authority.server("mail", HOST, 1);
        authority.server("other", HOST, 1001);
        let server = place.start();
        Self { place, authority, server }
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    /// Another configuration, which the server does not know of yet.
    fn configure(&self, changes: &[(&str, &str)]) {
        let mut config = CONFIG.to_owned();
        for (old, new) in changes {
            assert!(config.contains(old), "{old}");
            config = config.replace(old, new);
        }
        fs::write(self.path().join("pillarboxd.toml"), config).unwrap();
    }

    /// Has the server read everything again; what it says of that.
    fn reload(&self) -> String {
        let said = |log: &str| -> Vec<String> {
            // The last line may be half written.
            let lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).filter(|line| {
                line.contains("the configuration has been read again") || line.contains("the configuration stays")
            });
            lines.map(str::to_owned).collect()
        };
        let before = said(&self.server.log()).len();
        self.server.signal("HUP");
        until(|| said(&self.server.log()).len() > before);
        let line = said(&self.server.log()).pop().unwrap();
        line.split_once("the configuration ").unwrap().1.to_owned()
    }

    /// The number of the certificate that new clients see, and nothing where the handshake fails.
    fn number(&self, listener: &str) -> Option<u64> {
        let script = format!(
            "import ssl, socket, sys\ncontext = ssl.create_default_context(cafile={:?})\n\
             stream = socket.create_connection(('127.0.0.1', {}), timeout=600)\n\
             try:\n\x20 stream = context.wrap_socket(stream, server_hostname='{HOST}')\n\x20 assert stream.recv(1)\n\
             \x20 print(int(stream.getpeercert()['serialNumber'], 16))\nexcept ssl.SSLError as error:\n\x20 print(error.reason)\n",
            self.authority.file,
            self.server.port(listener)
        );
        let output = Command::new("python3").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().parse().ok()
    }
}

fn until(condition: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn greeting(address: SocketAddr) -> String {
    let mut line = String::new();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn certificates_change_under_load_and_nobody_notices() {
    if !has("python3") {
        return;
    }
    let world = World::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/load.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(&world.authority.file);
    for (listener, way) in [
        ("imaps", "imap/connection"),
        ("imap", "imap/ondemand"),
        ("pop3s", "pop3/connection"),
        ("pop3", "pop3/ondemand"),
    ] {
        command.arg(format!("{}/{way}", world.server.port(listener)));
    }
    let mut load = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let stdin = load.stdin.take().unwrap();
    let mut lines = BufReader::new(load.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut seen = Vec::new();
    let mut wait_for = |number: u64| {
        while !seen.contains(&number) {
            let line = lines.next().expect("the load ended");
            seen.push(line.strip_prefix("serial ").expect(&line).parse().unwrap());
        }
    };
    wait_for(1);
    wait_for(1001);
    for round in 2..=21 {
        world.authority.server("mail", HOST, round);
        world.authority.server("other", HOST, 1000 + round);
        // Settings change, too, and the clients that are there are not asked.
        let greeting = format!("protocol = \"imap\"\ngreeting = \"number {round}\"");
        world.configure(&[("protocol = \"imap\"", &greeting)]);
        assert_eq!(world.reload(), "has been read again");
        wait_for(round);
        wait_for(1000 + round);
    }
    drop(stdin);
    let rest: Vec<String> = lines.collect();
    assert!(load.wait().unwrap().success());
    let good: usize = rest[0].strip_prefix("good ").expect(&rest[0]).parse().unwrap();
    assert!(good >= 40, "{good}");
    assert_eq!(rest[1..], [""; 0], "no connection failed");
    assert!(greeting(world.server.address("imap")).ends_with(" number 21\r\n"));
    let log = world.server.log();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[test]
fn what_is_wrong_changes_nothing_and_is_named() {
    if !has("python3") {
        return;
    }
    let world = World::new();
    let mut client = world.server.imap();
    let file = world.path().join("pillarboxd.toml").display().to_string();
    let new_greeting = ("protocol = \"imap\"", "protocol = \"imap\"\ngreeting = \"new\"");
    for (change, line) in [
        (
            ("shutdown-grace = \"1s\"", "shutdown-grace = \"soon\""),
            format!(
                "stays as it was: {file}:10: server.shutdown-grace: invalid value: string \"soon\", expected a length of \
                 time above 0, such as \"30m\", \"10s\" or \"500ms\""
            ),
        ),
        (
            ("shutdown-grace", "shutdown-grase"),
            format!("stays as it was: {file}:10: unknown key server.shutdown-grase; did you mean \"shutdown-grace\"?"),
        ),
        (
            ("tls.certificate = \"other\"", "tls.certificate = \"othr\""),
            format!(
                "stays as it was: {file}:29: server.listener.pop3s.tls.certificate: unknown value \"othr\"; did you mean \
                 \"other\"?"
            ),
        ),
    ] {
        world.configure(&[new_greeting, change]);
        assert_eq!(world.reload(), line);
    }
    world.configure(&[("data = \"data\"", "data = \"data")]);
    let line = world.reload();
    assert!(line.starts_with(&format!("stays as it was: {file}:2: ")), "{line}");
    fs::remove_file(&file).unwrap();
    assert_eq!(world.reload(), format!("stays as it was: configuration {file}: No such file or directory"));
    // One good certificate is not taken without the other.
    world.configure(&[new_greeting]);
    world.authority.server("mail", HOST, 2);
    let other = world.authority.server("other", HOST, 1002);
    let (cert, key) = (other.certificate.display(), other.key.display());
    fs::write(&other.certificate, "").unwrap();
    assert_eq!(world.reload(), format!("stays as it was: certificate.other: {cert}: the file is empty"));
    other.write_as(world.path(), "other");
    set_mode(&other.key, 0o644);
    assert_eq!(
        world.reload(),
        format!(
            "stays as it was: certificate.other: {key}: unsafe key file: everyone can read it (mode 0644, check ardfil)"
        )
    );
    other.write_as(world.path(), "other");
    fs::copy(world.path().join("mail.key"), &other.key).unwrap();
    assert_eq!(
        world.reload(),
        format!("stays as it was: listener pop3s: {key}: is not the key of the certificate in {cert}")
    );
    assert_eq!((world.number("imaps"), world.number("pop3s")), (Some(1), Some(1001)));
    assert!(!greeting(world.server.address("imap")).contains("new"));
    client.command("NOOP").unwrap().ok();
    // Mended, it is all taken.
    other.write_as(world.path(), "other");
    assert_eq!(world.reload(), "has been read again");
    assert_eq!((world.number("imaps"), world.number("pop3s")), (Some(2), Some(1002)));
    assert!(greeting(world.server.address("imap")).ends_with(" new\r\n"));
    client.command("NOOP").unwrap().ok();
}

#[test]
fn what_takes_a_restart_is_named_each_time() {
    let world = World::new();
    world.configure(&[
        ("data = \"data\"", "data = \"data\"\nmax-message-size = 1000\nfsync = \"always\""),
        ("[server]\n", "[server]\nmax-children = 5\nshutdown-stagger = \"2s\"\npidfile = \"/nowhere/pid\"\n"),
        ("[server.listener.imaps]\nbind = \"127.0.0.1:0\"", "[server.listener.imaps]\nbind = \"127.0.0.2:0\""),
        (
            "protocol = \"imap\"\ntls-mode = \"connection\"",
            "protocol = \"imap\"\ntls-mode = \"required\"\nsocket.nodelay = false",
        ),
        ("[server.listener.pop3]\n", "[server.listener.pop3]\ngreeting = \"new\"\nmax-connections = 9\n"),
    ]);
    let line = "has been read again; it takes a restart to change fsync, max-message-size, server.max-children, \
                server.pidfile, server.shutdown-stagger, server.listener.imaps.bind, server.listener.imaps.tls-mode, \
                server.listener.imaps.socket, server.listener.pop3.max-connections";
    for _ in 0..2 {
        assert_eq!(world.reload(), line, "until there was one");
    }
    // What takes none holds already.
    assert!(Pop3::connect(world.server.address("pop3")).greeting.contains(" new"));
    let mut imap = world.server.imap();
    let capability = imap.command("CAPABILITY").unwrap().ok();
    assert!(!text(&capability.untagged[0]).contains("APPENDLIMIT=1000 "), "{capability:?}");
    // A listener more or less is the server's affair.
    world.configure(&[
        ("[server.listener.imap]\nbind = \"127.0.0.1:0\"", "[server.listener.imap]\nbind = \"127.0.0.2:0\""),
        ("[server.listener.imaps]\n", "[server.listener.earlier]\n"),
        ("[server.listener.pop3s]\nbind = \"127.0.0.1:0\"", "[server.listener.pop3s]\nbind = \"127.0.0.2:0\""),
    ]);
    let line = "has been read again; it takes a restart to change server.listener, server.listener.imap.bind, \
                server.listener.pop3s.bind";
    assert_eq!(world.reload(), line, "those that have stayed, too");
    assert!(greeting(world.server.address("imap")).starts_with("* OK"));
    if has("python3") {
        assert_eq!(world.number("imaps"), Some(1), "it is served as before");
    }
    world.configure(&[("[server.listener.pop3s]", "[server.listener.more]")]);
    assert_eq!(world.reload(), "has been read again; it takes a restart to change server.listener");
    assert!(greeting(world.server.address("pop3")).starts_with("+OK"));
    if has("python3") {
        assert_eq!(world.number("pop3s"), Some(1001), "it is served as before");
    }
    world.configure(&[]);
    assert_eq!(world.reload(), "has been read again");
}

#[test]
fn settings_hold_for_who_comes_later() {
    if !has("python3") {
        return;
    }
    let world = World::new();
    Authority::new(world.path(), "users");
    let mut there = world.server.imap();
    world.configure(&[
        ("protocol = \"imap\"\ntls-mode = \"connection\"", "protocol = \"imap\"\ntls-mode = \"connection\"\ntls.ssl-ca-file = \"users.pem\"\ntls.client-certificate = \"required\""),
        ("tls.certificate = \"other\"", "tls.certificate = \"mail\""),
        ("[server.listener.pop3]\n", "[pop3]\nauth.allow-plain-text = false\n[server.listener.pop3]\n"),
        ("[server.listener.imap]\n", "[server.listener.imap]\nacl = [\"deny from 127.0.0.1\"]\n"),
    ]);
    let line = world.reload();
    assert_eq!(line, "has been read again");
    assert_eq!(world.number("imaps"), None, "it wants a certificate now");
    assert_eq!(world.number("pop3s"), Some(1), "another certificate");
    let capabilities = Pop3::connect(world.server.address("pop3")).capabilities();
    assert!(!capabilities.contains(&"USER".to_owned()), "{capabilities:?}");
    assert_eq!(greeting(world.server.address("imap")), "");
    there.command("NOOP").unwrap().ok();
    // And back.
    world.configure(&[]);
    assert_eq!(world.reload(), "has been read again");
    assert_eq!((world.number("imaps"), world.number("pop3s")), (Some(1), Some(1001)));
    let reply = Imap::connect(world.server.address("imap")).unwrap().command(&format!("LOGIN {USER} \"{PASSWORD}\""));
    reply.unwrap().ok();
}

#[test]
fn who_is_there_still_counts() {
    let world = World::new();
    let address = world.server.address("pop3");
    let mut first = Pop3::connect(address);
    first.login(USER, PASSWORD);
    assert_eq!(world.reload(), "has been read again");
    let refused = Pop3::connect(address).try_login(USER, PASSWORD);
    assert!(refused.starts_with("-ERR [IN-USE] "), "{refused}");
    world.configure(&[("[server.tls]", "[limits.user]\nsessions = 1\n[server.tls]")]);
    assert_eq!(world.reload(), "has been read again");
    let log_in = || {
        let mut imap = Imap::connect(world.server.address("imap")).unwrap();
        imap.command(&format!("LOGIN {USER} \"{PASSWORD}\"")).unwrap().tagged
    };
    let refused = log_in();
    assert!(refused.starts_with("NO [LIMIT] "), "{refused}");
    first.quit();
    drop(first);
    until(|| log_in().starts_with("OK "));
}

/// What changes without a signal needs none: users.
#[test]
fn users_are_read_again_by_themselves() {
    let world = World::new();
    let output = run_with_input(world.place.command().args(["user", "add", "bob"]), "x\n");
    assert!(output.status.success());
    let mut imap = Imap::connect(world.server.address("imap")).unwrap();
    imap.command("LOGIN bob x").unwrap().ok();
}
