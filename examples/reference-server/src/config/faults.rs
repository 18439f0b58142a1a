//! Each wrong value, with the one line that an operator gets to see.

use super::tests::{LISTENER, parse, parse_with};

#[track_caller]
fn fault(text: &str, error: &str) {
    assert_eq!(parse(text).map(|_| ()).unwrap_err(), format!("dir/p.toml:{error}"), "{text}");
}

/// A fault in a table beside a good listener; lines are counted from the table's own.
#[track_caller]
fn in_table(table: &str, line: usize, error: &str) {
    fault(&format!("{LISTENER}{table}\n"), &format!("{}: {error}", line + 3));
}

/// A fault of a key of the listener.
#[track_caller]
fn in_listener(key: &str, error: &str) {
    in_table(key, 1, &format!("server.listener.imap.{error}"));
}

#[test]
fn unknown_keys_come_with_the_nearest_known_one() {
    in_table("hostnam = 1", 1, "unknown key server.listener.imap.hostnam; did you mean \"hostname\"?");
    in_table(
        "[server.listener.b]\nprotocl = 1",
        2,
        "unknown key server.listener.b.protocl; did you mean \"protocol\"?",
    );
    in_table("[server.run-as]\nusr = 1", 2, "unknown key server.run-as.usr; did you mean \"user\"?");
    in_table(
        "[server.tcp-wrappers]\nalow-table = 1",
        2,
        "unknown key server.tcp-wrappers.alow-table; did you mean \"allow-table\"?",
    );
    in_table("[limits.login]\nblock = 1", 2, "unknown key limits.login.block; did you mean \"block-for\"?");
}

#[test]
fn protocols_of_others_are_named() {
    for name in ["smtp", "jmap", "managesieve", "SMTP"] {
        fault(
            &format!("[server.listener.\"a\"]\nbind = \"[::]:25\"\nprotocol = \"{name}\"\n"),
            &format!(
                "3: server.listener.a.protocol: {} is not served here; \"imap\", \"pop3\", \"lmtp\" and \"http\" are",
                name.to_lowercase()
            ),
        );
    }
    fault(
        "[server.listener.a]\nbind = \"[::]\"\nprotocol = \"imaps\"\n",
        "3: server.listener.a.protocol: unknown value \"imaps\"; did you mean \"imap\"?",
    );
}

#[test]
fn what_a_protocol_has_not() {
    fault(
        "[server.listener.a]\nbind = \"[::1]:1\"\nprotocol = \"lmtp\"\ntranscript = true\n",
        "1: server.listener.a: there are transcripts of imap and pop3 only",
    );
    fault("data = \"a\"\n  data = \"b\"\n", "2: duplicate key: data");
    fault("[server.listener.a]\n[server.listener.a]\n", "2: duplicate key: [server.listener.a]");
}

#[test]
fn addresses() {
    for (bind, error) in [
        ("\"127.0.0.1:99999\"", "127.0.0.1:99999: the port 99999 is greater than 65535"),
        ("[]", "the list is empty"),
        ("[\"127.0.0.1\", \"127.0.0.1:143\"]", "\"127.0.0.1:143\" stands there twice"),
        ("\"unix://x\"", "unix://x: a unix socket is unix:// and an absolute path"),
        ("\"\"", ": no address"),
    ] {
        fault(
            &format!("[server.listener.a]\nprotocol = \"imap\"\nbind = {bind}\n"),
            &format!("3: server.listener.a.bind: {error}"),
        );
    }
    in_table("[server]\nport = 65536", 2, "server.port: \"65536\" is no port up to 65535, and no service's name");
    in_table(
        "[server]\nport = \"no-such\"",
        2,
        "server.port: \"no-such\" is no port up to 65535, and no service's name",
    );
}

#[test]
fn tls() {
    for (key, error) in [
        ("tls-mode = \"Required\"", "tls-mode: unknown value \"Required\"; did you mean \"required\"?"),
        ("tls-mode = true", "tls-mode: invalid type: boolean `true`, expected a string"),
        ("tls.handshake-timeout = 0", "tls.handshake-timeout: must be at least 1"),
        ("tls.protocols = [\"TLSv1.1\"]", "tls.protocols: TLSv1.1 is not supported: the oldest version is TLSv1.2"),
        ("tls.protocols = []", "tls.protocols: the list is empty"),
        ("tls.ciphers = []", "tls.ciphers: the list is empty"),
        ("tls.ssl-key-file = \"k\"", "tls.ssl-key-file: a key without ssl-certificate-file"),
        (
            "tls.client-certificate = \"required\"",
            "tls.client-certificate: is of no use without ssl-ca-file, the authorities that sign them",
        ),
        ("tls.sni = [{ subject = \"a\", certificate = \"x\" }]", "tls.sni: unknown value \"x\"; known: self-signed"),
        (
            "tls-file-checks.key-file = \"+worldly\"",
            "tls-file-checks.key-file: +worldly is not a file check (known: none, all, gwrfil, awrfil, grdfil, ardfil, \
             linkwrdir, gwrdir, awrdir)",
        ),
    ] {
        in_listener(key, error);
    }
    for (keys, error) in [
        ("tls-mode = \"no\"\ntls.enable = false", "tls.enable: tls.enable and tls-mode exclude each other"),
        (
            "tls.certificate = \"self-signed\"\ntls.ssl-certificate-file = \"c\"",
            "tls.ssl-certificate-file: tls.certificate and files of its own exclude each other",
        ),
        (
            "tls.timeout = \"5s\"\ntls.handshake-timeout = 5",
            "tls.handshake-timeout: handshake-timeout and timeout exclude each other",
        ),
        (
            "tls.ciphers = \"TLS13_AES_128_GCM_SHA256\"\ntls.ssl-priorities = \"NORMAL\"",
            "tls.ssl-priorities: ssl-priorities and ciphers exclude each other",
        ),
    ] {
        in_table(keys, 2, &format!("server.listener.imap.{error}"));
    }
    fault(
        "[server.listener.a]\nbind = \"[::1]:1\"\nprotocol = \"http\"\ntls-mode = \"ondemand\"\n",
        "4: server.listener.a.tls-mode: HTTP has \"no\" and \"connection\" only",
    );
    in_listener(
        "tls.ssl-priorities = \"WEAK\"",
        "tls.ssl-priorities: WEAK is not a keyword to begin with, such as NORMAL",
    );
}

#[test]
fn sockets() {
    for (key, error) in [
        ("backlog = 0", "backlog: must be between 1 and 65535"),
        ("socket.backlog = 65536", "socket.backlog: must be between 1 and 65535"),
        ("socket.ttl = 256", "socket.ttl: must be between 1 and 255"),
        ("socket.tos = 256", "socket.tos: must be between 1 and 255"),
        ("socket.send-buffer-size = 0", "socket.send-buffer-size: must be between 1 octet and 1 GiB"),
        ("socket.recv-buffer-size = \"2 GiB\"", "socket.recv-buffer-size: must be between 1 octet and 1 GiB"),
        (
            "socket.linger = 0",
            "socket.linger: invalid value: integer `0`, expected a length of time above 0, such as \"30m\", \"10s\" or \
             \"500ms\"",
        ),
        ("socket.nodelay = \"yes\"", "socket.nodelay: invalid type: string \"yes\", expected a boolean"),
    ] {
        in_listener(key, error);
    }
    in_table(
        "backlog = 5\nsocket.backlog = 6",
        1,
        "server.listener.imap.backlog: backlog and socket.backlog exclude each other",
    );
}

#[test]
fn who_may_connect() {
    for (key, error) in [
        (
            "acl = [\"allow from any\", \"accept from any\"]",
            "acl: entry 2: unknown keyword 'accept', expected allow, deny, log, exec or ifexec",
        ),
        ("acl = [\"\"]", "acl: entry 1: nothing in it"),
        ("acl = [[\"deny\", \"10.0.0.0/33\"]]", "acl: entry 1: deny: 10.0.0.0/33: not a prefix length of IPv4: 33"),
        ("acl = [\"allow from any more\"]", "acl: entry 1: allow: junk after IP address: 'more'"),
        ("acl = [1]", "acl: an entry such as \"deny from 10.0.0.0/8\", or a list of its words"),
        (
            "proxy.trusted-networks = \"10.0.0.0/7\"",
            "proxy.trusted-networks: \"10.0.0.0/7\": more than a /8 is not to be trusted",
        ),
        ("proxy.trusted-networks = [\"x\"]", "proxy.trusted-networks: x: not an IP address: x"),
        ("preauth = \"radius\"", "preauth: unknown preauth scheme 'radius'"),
        ("preauth = \"prog:x\"", "preauth: unknown preauth scheme 'prog:x'"),
        ("preauth = \"ident://:x!\"", "preauth: ident: not a port or the name of a service: 'x!'"),
        ("preauth = \"stdio\"", "preauth: stdio is for the inetd mode: whoever connects would be this user"),
        (
            "timeout = -1",
            "timeout: invalid value: integer `-1`, expected a number of seconds, a length of time such as \"30 minutes\", or \
             0 for ever",
        ),
        (
            "timeout = \"1 fortnight\"",
            "timeout: invalid value: string \"1 fortnight\", expected a number of seconds, a length of time such as \
             \"30 minutes\", or 0 for ever",
        ),
    ] {
        in_listener(key, error);
    }
}

#[test]
fn the_server() {
    for (table, error) in [
        ("[server]\npidfile = \"x\"", "server.pidfile: must be the absolute path of a file"),
        ("[server]\npidfile = \"/\"", "server.pidfile: must be the absolute path of a file"),
        ("[server]\nrun-as.group = \"x\"", "server.run-as.group: is of no use without run-as.user"),
        ("[limits]\naddress.rate = \"10\"", "limits.address.rate: \"10\" is no rate, such as \"10/1s\" or \"100/1m\""),
        ("[limits]\nexempt = \"10.0.0.0/33\"", "limits.exempt: 10.0.0.0/33: not a prefix length of IPv4: 33"),
        ("[limits]\naddress.burst = 5", "limits.address.burst: is of no use without a rate"),
        ("[limits]\naddress.ipv4-network = 33", "limits.address.ipv4-network: must be at most 32"),
        (
            "[limits]\nmemory = \"1 TB\"",
            "limits.memory: invalid value: string \"1 TB\", expected a number of octets, such as 65536 or \"64 MiB\"",
        ),
        (
            "[logging]\nseverity = \"loud\"",
            "logging.severity: unknown value \"loud\"; known: debug, info, notice, warning, error, crit, alert, emerg",
        ),
        ("[logging]\nfacility = \"mial\"", "logging.facility: unknown value \"mial\"; did you mean \"mail\"?"),
        (
            "[logging]\nfacility = 24",
            "logging.facility: unknown value \"24\"; known: user, mail, daemon, auth, cron, authpriv, local0, local1, local2, local3, local4, local5, local6, local7",
        ),
        (
            "[debug]\nlevel = \"a=b=c\"",
            "debug.level: \"a=b=c\" is no filter for logs: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
        ),
        ("[imap]\nid-fields = \"naem\"", "imap.id-fields: unknown value \"naem\"; did you mean \"name\"?"),
        (
            "[imap]\nid-fields = [\"environment\"]",
            "imap.id-fields: environment needs id-environment, the variables to show",
        ),
        (
            "[imap]\nid-environment = \"LANG\"",
            "imap.id-environment: is of no use without id-fields with \"environment\"",
        ),
        ("[[auth]]\nsource = \"virtdomain\"", "auth: virtdomain needs passwd-dir, the folder of its files"),
        ("[[auth]]\nsource = \"ldap\"", "auth: unknown value \"ldap\"; known: file, virtdomain, system"),
    ] {
        in_table(table, 2, error);
    }
    in_table(
        "[certificate.x]\ncert = \"a\"\nprivate-key = { env = \"NONE\" }",
        3,
        "certificate.x.private-key: the environment has no variable NONE",
    );
    fault("home-dir-mode = \"rwx\"\n", "1: home-dir-mode: \"rwx\" is no mode in octal, such as 700 or 750");
    fault("home-dir-mode = 888\n", "1: home-dir-mode: \"888\" is no mode in octal, such as 700 or 750");
    fault("home-dir-mode = 0o1777\n", "1: home-dir-mode: \"0o1777\" is no mode in octal, such as 700 or 750");
    fault("debug-command = \"sh -c x\"\n", "1: debug-command: must begin with the absolute path of a program");
    fault("max-message-size = 0\n", "1: max-message-size: must be at least 1");
}

#[test]
fn modes_of_unix_sockets() {
    let unix = |mode: &str| format!("[server.listener.a]\nbind = \"unix:///run/a\"\nprotocol = \"imap\"\n{mode}\n");
    for mode in ["rwx", "0888", "1777", "4660", "77", "-660", ""] {
        fault(
            &unix(&format!("socket.mode = \"{mode}\"")),
            &format!("4: server.listener.a.socket.mode: \"{mode}\" is no mode in octal, such as 700 or 750"),
        );
    }
    in_listener("socket.mode = \"0660\"", "socket.mode: this listener has no unix socket: bind = \"unix:///path\"");
    in_table("[server.socket]\nmode = \"x\"", 2, "server.socket.mode: \"x\" is no mode in octal, such as 700 or 750");
    let mode = |text: &str, sets: &[&str]| {
        let config = parse_with(text, sets).unwrap();
        config.listeners.iter().map(|listener| listener.socket.mode).collect::<Vec<_>>()
    };
    for good in ["\"0660\"", "\"660\"", "660", "0o660"] {
        assert_eq!(mode(&unix(&format!("socket.mode = {good}")), &[]), [Some(0o660)], "{good}");
        assert_eq!(mode(&unix(""), &[&format!("server.socket.mode={good}")]), [Some(0o660)], "--set {good}");
    }
    assert_eq!(mode(&unix(""), &[]), [None]);
    // That of the server is for the unix sockets there are; a listener's own wins.
    let both = format!("{LISTENER}{}[server.socket]\nmode = \"600\"\n", unix("socket.mode = \"0666\""));
    assert_eq!(mode(&both, &[]), [Some(0o666), None]);
    let servers = format!("{LISTENER}{}[server.socket]\nmode = \"600\"\n", unix(""));
    assert_eq!(mode(&servers, &[]), [Some(0o600), None]);
}

#[test]
fn what_the_configuration_reads_from_the_environment_is_shown_to_nobody() {
    let text = format!(
        "{LISTENER}[imap]\nid-fields = [\"environment\"]\nid-environment = [\"LANG\", \"KEY\"]\n\
         [certificate.x]\ncert = \"/c\"\nprivate-key = {{ env = \"KEY\" }}\n"
    );
    fault(&text, "6: imap.id-environment: the configuration reads KEY from the environment, so it is not shown");
}

#[test]
fn the_command_line_is_named_where_it_is_at_fault() {
    for (set, error) in [
        (
            "server.max-children=x",
            "--set server.max-children: server.max-children: invalid type: string \"x\", expected u64",
        ),
        (
            "server.maxchildren=5",
            "--set server.maxchildren: unknown key server.maxchildren; did you mean \"max-children\"?",
        ),
        (
            "server.tls-mode=on demand",
            "--set server.tls-mode: server.tls-mode: unknown value \"on demand\"; did you mean \"ondemand\"?",
        ),
        ("a b=1", "--set a b: key with no value, expected `=`"),
    ] {
        assert_eq!(parse_with(LISTENER, &[set]).map(|_| ()).unwrap_err(), error, "{set}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_said_breaks_it(
        lines in proptest::collection::vec(
            proptest::sample::select(super::tests::EVERYTHING.lines().collect::<Vec<_>>()),
            0..40,
        ),
        noise in "\\PC{0,20}",
        at in 0_usize..2000,
        set in "[a-z.\"\\[\\] =]{1,30}",
    ) {
        let mut text = lines.join("\n");
        if let Some((at, _)) = text.char_indices().nth(at) {
            text.insert_str(at, &noise);
        }
        let sets: Vec<&str> = if set.trim_start().starts_with('=') || !set.contains('=') { vec![] } else { vec![&set] };
        if let Err(error) = parse_with(&text, &sets) {
            proptest::prop_assert!(!error.contains("HIDDEN"), "{error}");
        }
    }
}
