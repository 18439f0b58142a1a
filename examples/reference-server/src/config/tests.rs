use super::*;

pub(super) fn parse(text: &str) -> Result<Config, String> {
    parse_with(text, &[])
}

pub(super) fn parse_with(text: &str, sets: &[&str]) -> Result<Config, String> {
    let sets: Vec<Set> = sets.iter().map(|set| set.parse().unwrap()).collect();
    let env = |name: &str| (name == "KEY").then(|| "-----BEGIN PRIVATE KEY-----\nHIDDEN\n".to_owned());
    Config::parse(text, Path::new("dir/p.toml"), &sets, &env).map_err(|error| error.to_string())
}

pub(super) const LISTENER: &str = "[server.listener.\"imap\"]\nbind = \"127.0.0.1:1143\"\nprotocol = \"imap\"\n";

#[test]
fn a_listener_takes_its_own_key_then_the_servers_then_the_default() {
    let config = parse(
        "[server]\nmax-connections = 5\n[server.tls]\ncertificate = \"self-signed\"\nimplicit = true\ntimeout = \"3s\"\n\
         [server.listener.a]\nbind = [\"127.0.0.1\", \"[::1]\", \"[::1]:7\"]\nprotocol = \"IMAP\"\n\
         [server.listener.b]\nbind = \"0.0.0.0\"\nprotocol = \"pop3\"\nmax-connections = 9\ntls.implicit = false\n\
         [server.listener.c]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\ntls-mode = \"required\"\ntls.timeout = 1500\n",
    )
    .unwrap();
    let [a, b, c] = &config.listeners[..] else { panic!("{config:?}") };
    let addresses: Vec<_> = a.bind.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1:993", "[::1]:993", "[::1]:7"]);
    assert_eq!((a.tls_mode, a.max_connections, a.tls.timeout), (TlsMode::Connection, 5, Duration::from_secs(3)));
    assert!(a.allow_plain_text);
    assert_eq!(b.bind[0].to_string(), "0.0.0.0:110");
    assert_eq!((b.tls_mode, b.max_connections), (TlsMode::OnDemand, 9));
    assert!(!b.allow_plain_text, "no passwords in the clear on a public address");
    assert_eq!((c.tls_mode, c.tls.timeout), (TlsMode::Required, Duration::from_millis(1500)));
}

#[test]
fn listeners_without_a_tls_mode_have_that_of_the_server() {
    let config = parse(
        "[server]\ntls-mode = \"required\"\n[server.tls]\ncertificate = \"self-signed\"\n\
         [server.listener.a]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\n\
         [server.listener.b]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\ntls-mode = \"no\"\n\
         [server.listener.c]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\ntls.implicit = true\n\
         [server.listener.d]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\ntls.implicit = false\n",
    )
    .unwrap();
    let modes: Vec<_> = config.listeners.iter().map(|listener| listener.tls_mode).collect();
    assert_eq!(modes, [TlsMode::Required, TlsMode::No, TlsMode::Connection, TlsMode::OnDemand]);
    let both = format!("[server]\ntls-mode = \"no\"\ntls.implicit = true\n{LISTENER}");
    assert_eq!(
        parse(&both).unwrap_err(),
        "dir/p.toml:3: server.tls.implicit: tls.implicit and tls-mode exclude each other"
    );
}

#[test]
fn without_a_certificate_there_is_no_tls() {
    let config = parse(LISTENER).unwrap();
    assert_eq!(config.listeners[0].tls_mode, TlsMode::No);
    assert_eq!(config.listeners[0].tls.certificate, None);
}

#[test]
fn paths_start_at_the_file() {
    let config = parse(&format!(
        "data = \"mail\"\n{LISTENER}[certificate.x]\ncert = \"file://c.pem\"\nprivate-key = \"/k.pem\"\n"
    ))
    .unwrap();
    assert_eq!(config.data.as_deref(), Some(Path::new("dir/mail")));
    assert_eq!(config.certificates["x"].cert, Pem::File("dir/c.pem".into()));
    assert_eq!(config.certificates["x"].private_key, Pem::File("/k.pem".into()));
}

#[test]
fn every_fault_names_line_and_key() {
    let listener = |key: &str| format!("{LISTENER}{key}\n");
    for (text, error) in [
        (listener("protocl = 1"), "dir/p.toml:4: unknown key server.listener.imap.protocl; did you mean \"protocol\"?"),
        ("sever.x = 1\n".into(), "dir/p.toml:1: unknown key sever; did you mean \"server\"?"),
        (
            "\n[zzzzzzzzzzz]\n".into(),
            "dir/p.toml:2: unknown key zzzzzzzzzzz; known here: data, configdirectory, fsync, \
             max-message-size, create-home-dir, home-dir-mode, debug-command, auth, server, certificate, store, limits, imap, \
             pop3, logging, debug",
        ),
        (
            listener("tls.implict = true"),
            "dir/p.toml:4: unknown key server.listener.imap.tls.implict; did you mean \"implicit\"?",
        ),
        (
            listener("tls-mode = \"ondemnd\""),
            "dir/p.toml:4: server.listener.imap.tls-mode: unknown value \"ondemnd\"; did you mean \"ondemand\"?",
        ),
        (
            listener("tls-mode = \"no\"\ntls.implicit = true"),
            "dir/p.toml:5: server.listener.imap.tls.implicit: tls.implicit and tls-mode exclude each other",
        ),
        (listener("max-connections = 0"), "dir/p.toml:4: server.listener.imap.max-connections: must be at least 1"),
        (
            listener("max-connections = -1"),
            "dir/p.toml:4: server.listener.imap.max-connections: invalid value: integer `-1`, expected u64",
        ),
        (
            listener("tls.certificate = \"self-sined\""),
            "dir/p.toml:4: server.listener.imap.tls.certificate: unknown value \"self-sined\"; did you mean \"self-signed\"?",
        ),
        (
            listener("tls.timeout = \"0s\""),
            "dir/p.toml:4: server.listener.imap.tls.timeout: invalid value: string \"0s\", expected a length of time above 0, such as \"30m\", \"10s\" or \"500ms\"",
        ),
        ("[server.listener.a]\nprotocol = \"imap\"\n".into(), "dir/p.toml:1: server.listener.a: no 'bind' is given"),
        ("[server.listener.a]\nbind = \"::1\"\n".into(), "dir/p.toml:1: server.listener.a: no 'protocol' is given"),
        (
            "[server.listener.a]\nprotocol = \"imap\"\nbind = []\n".into(),
            "dir/p.toml:3: server.listener.a.bind: the list is empty",
        ),
        (
            "[server.listener.\"a b\"]\nprotocol = \"imap\"\nbind = \"[::1]x\"\n".into(),
            "dir/p.toml:3: server.listener.\"a b\".bind: [::1]x: an address in brackets is [address] or [address]:port",
        ),
        (
            "[server.listener.a]\nprotocol = \"smtp\"\nbind = \"::1\"\n".into(),
            "dir/p.toml:2: server.listener.a.protocol: smtp is not served here; \"imap\", \"pop3\", \"lmtp\" and \"http\" are",
        ),
        (
            "[imap]\nliteral-plus = \"literal\"\n".into(),
            "dir/p.toml:2: imap.literal-plus: unknown value \"literal\"; did you mean \"literal+\"?",
        ),
        ("fsync = \"never\"\n".into(), "dir/p.toml:1: fsync: unknown value \"never\"; known: optimized, always"),
        ("[imap.auth]\nmax-failures = 0\n".into(), "dir/p.toml:2: imap.auth.max-failures: must be at least 1"),
        ("data = 1\n".into(), "dir/p.toml:1: data: invalid type: integer `1`, expected path string"),
        (
            "[certificate.self-signed]\ncert = \"a\"\nprivate-key = \"b\"\n".into(),
            "dir/p.toml:1: certificate.self-signed: this name is that of the certificate in the data folder",
        ),
    ] {
        assert_eq!(parse(&text).map(|_| ()).unwrap_err(), error, "{text}");
    }
    for text in ["x", "[server", "data = \"a\"\ndata = \"b\"\n", "[server.listener.a]\n[server.listener.a]\n"] {
        let error = parse(text).map(|_| ()).unwrap_err();
        assert!(error.starts_with("dir/p.toml:"), "{error}");
    }
}

#[test]
fn policies_of_maildrops() {
    let parse = |text: &str| parse(&format!("{LISTENER}[pop3]\n{text}")).map(|config| config.pop3);
    let pop3 = parse(
        "login-delay = 60\nstat-file = \"s\"\nexpire = 0\nexpire-stamp = \"index\"\nbulletin-source = \"maildir:news\"\n\
         bulletin-db = \"/b\"\nundelete = true\ndelete-expired = true\n",
    )
    .unwrap();
    assert_eq!((pop3.login_delay, pop3.expire, pop3.undelete, pop3.delete_expired), (60, Some(0), true, true));
    assert_eq!(pop3.expire_stamp, crate::store::ExpireStamp::Index);
    assert_eq!(pop3.stat_file.as_deref(), Some(Path::new("dir/s")));
    assert_eq!(pop3.bulletin_source.as_deref(), Some(Path::new("dir/news")));
    assert_eq!(pop3.bulletin_db, Some(BulletinDb::At("/b".into())));
    assert_eq!(parse("login-delay = \"5m\"\n").unwrap().login_delay, 300);
    assert_eq!(parse("bulletin-db = true\n").unwrap().bulletin_db, Some(BulletinDb::InDataFolder));
    assert_eq!(parse("bulletin-db = false\n").unwrap().bulletin_db, None);
}

#[test]
fn what_is_shown_can_be_read_again_and_has_no_secrets() {
    let key = "-----BEGIN PRIVATE KEY-----\\nSECRET\\n-----END PRIVATE KEY-----";
    let text = format!(
        "data = \"/d\"\n{LISTENER}tls.certificate = \"x y\"\n[certificate.\"x y\"]\ncert = \"/c\\\"\"\nprivate-key = \"{key}\"\n"
    );
    let config = parse(&text).unwrap();
    let shown = config.to_string();
    assert!(!shown.contains("SECRET") && !format!("{config:?}").contains("SECRET"), "{shown}");
    assert!(shown.contains("private-key = \"***\""), "{shown}");
    assert_eq!(parse(&shown).unwrap().to_string(), shown.replace("\"***\"", "\"file://dir/***\""));
    let built_in = Config::built_in().to_string();
    assert_eq!(parse(&built_in).unwrap().to_string(), built_in);
}

/// The annotated configuration of the README is good, and says what holds without it where it names a default.
#[test]
fn the_readme_s_configuration_is_read() {
    let readme = include_str!("../../README.md");
    let text = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = parse(text).unwrap();
    assert_eq!(config.listeners.len(), 3);
    assert!(config.listeners.iter().all(|listener| !listener.allow_plain_text));
    let built_in = Config::built_in();
    assert_eq!((config.fsync, config.max_message_size), (built_in.fsync, built_in.max_message_size));
    assert_eq!((config.server.shutdown_grace, &config.logging), (built_in.server.shutdown_grace, &built_in.logging));
    let imap = |config: &Config| {
        let imap = &config.imap;
        (imap.literal_minus, imap.max_failures, imap.timeout_anonymous, imap.timeout_authenticated)
    };
    assert_eq!(imap(&config), imap(&built_in));
    let pop3 = |config: &Config| {
        let pop3 = &config.pop3;
        (
            (pop3.max_failures, pop3.timeout_anonymous, pop3.timeout_authenticated),
            (pop3.undelete, pop3.login_delay, pop3.delete_expired, pop3.expire_stamp),
            (pop3.internationalized, pop3.language),
        )
    };
    assert_eq!(pop3(&config), pop3(&built_in));
}

/// The examples of Stalwart's document, with a protocol that is served here. The last one is for TLS from the first byte,
/// and has no certificate: that is no fault of the file, but keeps it from being served.
#[test]
fn stalwarts_examples_are_read() {
    for protocol in ["imap", "pop3", "lmtp", "http"] {
        let parse = |text: &str| parse(&text.replace("PROTOCOL", protocol)).unwrap();
        let bound = |config: &Config| {
            config.listeners.iter().flat_map(|listener| &listener.bind).map(ToString::to_string).collect::<Vec<_>>()
        };
        let default = match protocol {
            "imap" => 143,
            "pop3" => 110,
            "lmtp" => 24,
            _ => 80,
        };
        let config = parse(
            "[server.listener.\"smtp\"]\nbind = [\"10.0.0.21:25\", \"10.0.0.22:25\", \"a:3f::2\"]\nprotocol = \"PROTOCOL\"\n",
        );
        assert_eq!(bound(&config), ["10.0.0.21:25", "10.0.0.22:25", &format!("[a:3f::2]:{default}")]);
        let config = parse("[server.listener.\"smtp\"]\nbind = \"[::]:25\"\nprotocol = \"PROTOCOL\"\n");
        assert_eq!(bound(&config), ["[::]:25"]);
        let config = parse(
            "[server.listener.\"smtp\"]\nbind = [\"[::]:25\"]\nprotocol = \"PROTOCOL\"\n\
             [server.listener.\"imap\"]\nbind = [\"[::]:143\"]\nprotocol = \"imap\"\n[server]\nmax-connections = 8192\n",
        );
        assert_eq!(config.listeners.len(), 2);
        let config = parse(
            "[server.listener.\"submissions\"]\nbind = [\"[::]:465\"]\nprotocol = \"PROTOCOL\"\ntls.implicit = true\n\
             max-connections = 1024\n[server.tls]\nimplicit = false\n\
             [server.listener.\"smtp\"]\nbind = \"[::]:25\"\nprotocol = \"PROTOCOL\"\nsocket.backlog = 2048\n\
             [server.socket]\nbacklog = 1024\n",
        );
        let [smtp, submissions] = &config.listeners[..] else { panic!() };
        assert_eq!((smtp.tls_mode, smtp.socket.backlog, smtp.max_connections), (TlsMode::No, 2048, 8192));
        assert_eq!((submissions.tls_mode, submissions.socket.backlog), (TlsMode::Connection, 1024));
        assert_eq!(submissions.max_connections, 1024);
        assert_eq!(
            config.servable().unwrap_err().to_string(),
            "dir/p.toml: server.listener.submissions: no certificate set: give tls.certificate, here or in server.tls \
             (\"self-signed\" is always there)"
        );
        let config = parse(
            "[server.listener.\"smtp\"]\nbind = [\"[::]:25\"]\nprotocol = \"PROTOCOL\"\n\
             [server.listener.\"submission\"]\nbind = [\"[::]:587\"]\nprotocol = \"PROTOCOL\"\n\
             [server.listener.\"submissions\"]\nbind = [\"[::]:465\"]\nprotocol = \"PROTOCOL\"\ntls.implicit = true\n\
             [server.listener.\"management\"]\nbind = [\"127.0.0.1:8080\"]\nprotocol = \"http\"\n",
        );
        assert_eq!(config.listeners.len(), 4);
    }
    assert!(parse("data = \"x\"\n").unwrap().servable().unwrap_err().to_string().contains("no listener"));
}

/// Every key with another value than the default.
pub(super) const EVERYTHING: &str = r#"
data = "/d"
configdirectory = "/c"
fsync = "always"
max-message-size = "1 MiB"
create-home-dir = true
home-dir-mode = 750
debug-command = ["/bin/sh", "-c", "echo %s %d %s"]

[[auth]]
source = "virtdomain"
passwd-dir = "domains"
[[auth]]
source = "system"
[[auth]]
source = "file"

[server]
max-connections = 7
max-children = 9
hostname = "mail.example.org"
greeting = "hello \"you\""
tls-mode = "required"
port = "imaps"
timeout = "30 minutes"
transcript = true
transcript-secrets = true
transcript-data = true
single-process = true
preauth = "ident://:1113"
preauth-only = true
ident-keyfile = "keys"
ident-encrypt-only = true
pidfile = "/run/x.pid"
run-as.user = "mail"
run-as.group = "mail"
shutdown-grace = "1h"
shutdown-stagger = "2s"
acl = ["deny from 10.0.0.0/255.0.0.0", ["log", "any", "hit ${address} \"x\""], "allow any"]
tcp-wrappers = { daemon = "d", allow-table = "allow", deny-table = "/deny" }
tls = { certificate = "a", sni = [{ subject = "b.example", certificate = "b" }], timeout = "3s", protocols = ["TLSv1.3"], ciphers = ["TLS13_AES_128_GCM_SHA256"], ignore-client-order = false, ssl-ca-file = "ca", client-certificate = "required" }
tls-file-checks = { key-file = "-gwrdir", cert-file = ["none"], ca-file = ["+all", "-ardfil"] }
socket = { reuse-addr = false, reuse-port = true, backlog = 5, ttl = 6, send-buffer-size = "64K", recv-buffer-size = 4096, linger = "2s", tos = 7, nodelay = false, keepalive = "1m", mode = 660 }
proxy.trusted-networks = ["10.0.0.0/8", "::1"]

[server.listener.a]
bind = ["127.0.0.1", "localhost:pop3s", "unix:///run/a"]
protocol = "imap"
acl = ["allow from ::1"]
login-disabled = true
timeout = 0

[server.listener."b c"]
bind = "[::1]:7"
protocol = "pop3"
tls-mode = "connection"
tls.ssl-certificate-file = "c.pem"
tls.ssl-key-file = "k.pem"
tls.handshake-timeout = 7

[server.listener.h]
bind = "[::1]:8"
protocol = "http"

[certificate.a]
cert = "file:///a.pem"
private-key = { env = "KEY" }
[certificate.b]
cert = "b.pem"
private-key = "b.key"

[store]
message-cache = 0

[limits]
exempt = ["192.0.2.0/24"]
memory = "1 GiB"
address = { connections = 0, network-connections = 5, rate = "10/1m", burst = 20, ipv6-prefix = 56, ipv4-network = 16, ipv6-network = 48 }
user.sessions = 4
login = { window = "1h", free = 3, first-delay = "2s", longest-delay = "1m", waiting = 9, block-after = 0, block-for = "1d" }
transfer = { min-rate = 250, window = "5m", stall = "1m" }

[imap]
literal-plus = "literal-"
auth = { allow-plain-text = true, max-failures = 9 }
timeout = { anonymous = "2m", authenticated = "1h" }
heartbeat = 0
login-disabled = true
id-fields = ["version", "x=y=z", "arguments", "environment"]
id-environment = ["LANG"]

[pop3]
expire = 3
login-delay = 9
bulletin-source = "/n"
bulletin-db = "/b"
stat-file = "/s"

[logging]
syslog = true
socket = "/log"
severity = "debug"
facility = "local3"
tag = "t"
session-id = false
print-severity = false

[debug]
level = "pillarbox_imap_proto=trace"
line-info = true
"#;

#[test]
fn everything_that_can_be_said_is_shown_and_read_again() {
    let shown = |config: &Config| format!("{:?}", Config { source: None, ..config.clone() });
    for text in [EVERYTHING, LISTENER] {
        let config = parse(text).unwrap();
        // Paths stand there with their folder.
        let env = |_: &str| Some("-----BEGIN PRIVATE KEY-----\nHIDDEN\n".to_owned());
        let again = Config::parse(&config.to_string(), Path::new("p.toml"), &[], &env).unwrap();
        assert!(shown(&again) == shown(&config), "{config}");
        assert_eq!(again.to_string(), config.to_string());
    }
    let config = parse(EVERYTHING).unwrap();
    assert!(!config.to_string().contains("HIDDEN") && !format!("{config:?}").contains("HIDDEN"));
    assert!(config.to_string().contains("private-key = { env = \"KEY\" }"));
    // Nothing is left as it is without a file: what the example does not set, the test would not see.
    let built_in = Config::built_in();
    for (line, default) in config.to_string().lines().zip(built_in.to_string().lines()) {
        let same =
            line == default && line.contains('=') && !line.starts_with("undelete") && !line.starts_with("delete-");
        assert!(!same, "{line}");
    }
    let [a, b, h] = &config.listeners[..] else { panic!() };
    assert_eq!(
        a.bind.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1:993", "localhost:995", "unix:///run/a"]
    );
    assert_eq!((a.timeout, b.timeout), (Some(None), Some(Some(Duration::from_secs(1800)))));
    assert_eq!((a.tls_mode, b.tls_mode, h.tls_mode), (TlsMode::Required, TlsMode::Connection, TlsMode::Connection));
    assert_eq!((b.tls.certificate.as_deref(), b.tls.timeout), (Some("dir/c.pem"), Duration::from_secs(7)));
    assert_eq!(config.inetd.len(), 3);
    assert_eq!(config.inetd[0].preauth.scheme.as_deref(), Some("ident://:1113"));
}

#[test]
fn the_command_line_wins_over_the_file() {
    let config = parse_with(
        LISTENER,
        &[
            "server.listener.imap.max-connections=5",
            "server.tls = { certificate = \"self-signed\" }",
            "server.tls-mode=required",
            "data=/x y",
            "server.max-children = 1",
            "server.max-children = 2",
            "server.listener.\"p 3\".protocol=pop3",
            "server.listener.\"p 3\".bind=[\"[::1]:9\"]",
        ],
    )
    .unwrap();
    let [imap, pop3] = &config.listeners[..] else { panic!() };
    assert_eq!((imap.max_connections, imap.tls_mode), (5, TlsMode::Required));
    assert_eq!((pop3.id.as_str(), pop3.tls_mode), ("p 3", TlsMode::Required));
    assert_eq!((config.data.as_deref(), config.server.max_children), (Some(Path::new("/x y")), Some(2)));

    let sets = ["server.listener.imap.bind=127.0.0.1:7".parse().unwrap()];
    let config = Config::load(None, &sets).unwrap();
    assert_eq!((config.source.as_ref(), config.listeners.len()), (None, 4));
    assert_eq!(config.listeners[0].bind[0].to_string(), "127.0.0.1:7");
}
