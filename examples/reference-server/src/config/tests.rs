use super::*;

fn parse(text: &str) -> Result<Config, String> {
    parse_with(text, &[])
}

fn parse_with(text: &str, sets: &[&str]) -> Result<Config, String> {
    let sets: Vec<Set> = sets.iter().map(|set| set.parse().unwrap()).collect();
    let env = |name: &str| (name == "KEY").then(|| "-----BEGIN PRIVATE KEY-----\nHIDDEN\n".to_owned());
    Config::parse(text, Path::new("dir/p.toml"), &sets, &env).map_err(|error| error.to_string())
}

const LISTENER: &str = "[server.listener.\"imap\"]\nbind = \"127.0.0.1:1143\"\nprotocol = \"imap\"\n";

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
             max-message-size, create-home-dir, home-dir-mode, debug-command, auth, server, certificate, limits, imap, pop3, \
             logging, debug",
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
