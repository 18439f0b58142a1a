//! Handshakes: versions, suites, names, protocols, and clients that make none.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::{PATIENCE, has};
use super::{World, listener, refused, until};

fn version(name: &str) -> String {
    format!(", \"version\": \"{name}\"")
}

/// Up to the greeting under TLS, in both ways to get there.
const WAYS: [(&str, &str); 2] =
    [("connection", "tls\n< * OK\n"), ("ondemand", "< * OK\n> a STARTTLS\n< a OK\ntls\n> b NOOP\n< b OK\n")];

#[test]
fn versions() {
    if !has("python3") {
        return;
    }
    let (old, new) = (version("TLSv1_2"), version("TLSv1_3"));
    let mut listeners = String::new();
    let settings = [
        ("both", "", true, true),
        ("only-12", "tls.protocols = [\"TLSv1.2\"]", true, false),
        ("only-13", "tls.protocols = [\"0x0304\"]", false, true),
        ("not-13", "tls.ssl-priorities = \"NORMAL:-VERS-TLS1.3\"", true, false),
        ("not-12", "tls.ssl-priorities = \"NORMAL:-VERS-ALL:+VERS-TLS1.3\"", false, true),
    ];
    for (name, settings, ..) in settings {
        for (mode, _) in WAYS {
            let all = format!("{settings}\ntls-mode = \"{mode}\"");
            listeners += &listener(&format!("{name}-{mode}"), "imap", &all);
        }
    }
    let world = World::new(&listeners);
    let server = world.start();
    for (name, _, speaks_old, speaks_new) in settings {
        for (mode, steps) in WAYS {
            let talk = |options: &str| world.talk(&server, &format!("{name}-{mode}"), options, steps);
            for (options, speaks, told) in [(&old, speaks_old, "TLSv1.2"), (&new, speaks_new, "TLSv1.3")] {
                let transcript = talk(options);
                if speaks {
                    let shaken = transcript.contains(&format!("tls {told} "));
                    assert!(shaken && transcript.contains(" OK "), "{name} {mode}: {transcript}");
                } else {
                    assert!(
                        transcript.ends_with("refused TLSV1_ALERT_PROTOCOL_VERSION\n"),
                        "{name} {mode}: {transcript}"
                    );
                }
            }
            let best = if speaks_new { "tls TLSv1.3 " } else { "tls TLSv1.2 " };
            assert!(talk("").contains(best), "{name} {mode}");
        }
    }
    if has("openssl") {
        for (name, _, speaks_old, speaks_new) in settings {
            for (option, speaks) in [("-tls1_2", speaks_old), ("-tls1_3", speaks_new), ("-tls1_1", false)] {
                let (sent, own) = world.openssl(&server, &format!("{name}-connection"), &[option], "a LOGOUT\n");
                assert_eq!(sent.contains("\na OK "), speaks, "{name} {option}: {sent} {own}");
            }
        }
    }
}

#[test]
fn cipher_suites() {
    if !has("openssl") {
        return;
    }
    let settings = |id: &str, settings: &str| listener(id, "imap", &format!("tls-mode = \"connection\"\n{settings}"));
    let chacha = "TLS13_CHACHA20_POLY1305_SHA256";
    let aes = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let world = World::new(
        &[
            settings("chacha", &format!("tls.ciphers = [\"{chacha}\"]")),
            settings("two", &format!("tls.ciphers = [\"{chacha}\", \"TLS13_AES_128_GCM_SHA256\"]")),
            settings(
                "theirs",
                &format!("tls.ciphers = [\"{chacha}\", \"TLS13_AES_128_GCM_SHA256\"]\ntls.ignore-client-order = false"),
            ),
            settings("aes", &format!("tls.ciphers = [\"{aes}\"]")),
            settings("priorities", "tls.ssl-priorities = \"NORMAL:-AES-128-GCM:-AES-256-GCM\""),
        ]
        .concat(),
    );
    let server = world.start();
    let suite = |listener: &str, options: &[&str]| {
        let (_, own) = world.openssl(&server, listener, options, "a LOGOUT\n");
        let found = own.lines().find_map(|line| line.strip_prefix("Ciphersuite: ")).map(str::to_owned);
        let alert = || own.split_once("alert ").and_then(|(_, rest)| rest.split(':').next()).unwrap_or(&own).to_owned();
        found.unwrap_or_else(alert)
    };
    let theirs = ["-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"];
    assert_eq!(suite("chacha", &[]), "TLS_CHACHA20_POLY1305_SHA256");
    assert_eq!(suite("chacha", &["-ciphersuites", "TLS_AES_128_GCM_SHA256"]), "handshake failure");
    assert_eq!(suite("chacha", &["-tls1_2"]), "protocol version");
    assert_eq!(suite("two", &theirs), "TLS_CHACHA20_POLY1305_SHA256");
    assert_eq!(suite("theirs", &theirs), "TLS_AES_128_GCM_SHA256");
    assert_eq!(suite("aes", &[]), "ECDHE-ECDSA-AES256-GCM-SHA384");
    assert_eq!(suite("priorities", &[]), "TLS_CHACHA20_POLY1305_SHA256");
    assert_eq!(suite("priorities", &["-tls1_2"]), "ECDHE-ECDSA-CHACHA20-POLY1305");
}

#[test]
fn a_name_or_a_listener_picks_the_certificate() {
    if !has("python3") {
        return;
    }
    let world = World::new(
        &[
            listener("imaps", "imap", "tls-mode = \"connection\""),
            listener("pop3s", "pop3", "tls-mode = \"connection\"\ntls.certificate = \"other\""),
            listener(
                "own",
                "pop3",
                "tls-mode = \"connection\"\ntls.ssl-certificate-file = \"other.crt\"\ntls.ssl-key-file = \"other.key\"",
            ),
            listener("none", "imap", "tls.sni = []"),
            "[[server.tls.sni]]\nsubject = \"imap.example.com\"\ncertificate = \"star\"\n\
         [certificate.star]\ncert = \"star.crt\"\nprivate-key = \"star.key\"\n\
         [certificate.other]\ncert = \"other.crt\"\nprivate-key = \"other.key\"\n"
                .to_owned(),
        ]
        .concat(),
    );
    world.authority.server("star", "*.example.com", 2);
    world.authority.server("other", "pop.example.org", 3);
    let server = world.start();
    let name = |listener: &str, host: &str| {
        let steps = if listener == "none" { "< * OK\n> a STARTTLS\n< a OK\ntls\n" } else { "tls\n" };
        let transcript = world.talk(&server, listener, &format!(", \"host\": \"{host}\""), steps);
        transcript.lines().last().unwrap().to_owned()
    };
    let shown = |name: &str| format!("tls TLSv1.3 TLS_AES_256_GCM_SHA384 {name} None");
    assert_eq!(name("imaps", "mail.example.org"), shown("mail.example.org"));
    assert_eq!(name("imaps", "imap.example.com"), shown("*.example.com"));
    assert_eq!(name("imaps", "other.example.net"), "refused CERTIFICATE_VERIFY_FAILED", "the usual one");
    for listener in ["pop3s", "own"] {
        assert_eq!(name(listener, "pop.example.org"), shown("pop.example.org"));
        assert_eq!(name(listener, "imap.example.com"), shown("*.example.com"), "from the server's table");
        assert_eq!(name(listener, "mail.example.org"), "refused CERTIFICATE_VERIFY_FAILED");
    }
    assert_eq!(name("none", "mail.example.org"), shown("mail.example.org"));
    assert_eq!(name("none", "imap.example.com"), "refused CERTIFICATE_VERIFY_FAILED");

    // A name that its certificate is not good for would help nobody.
    drop(server);
    let path = world.path().join("pillarboxd.toml");
    let config = std::fs::read_to_string(&path).unwrap().replace("imap.example.com", "imap.example.net");
    std::fs::write(&path, config).unwrap();
    refused(
        &world.place.command().output().unwrap(),
        &format!(
            "listener imaps: imap.example.net: the certificate {} is not valid for this name, but for *.example.com",
            world.path().join("star.crt").display()
        ),
    );
}

#[test]
fn each_protocol_has_its_name() {
    if !has("python3") {
        return;
    }
    let mode = "tls-mode = \"connection\"";
    let world = World::new(&format!("{}{}", listener("imaps", "imap", mode), listener("pop3s", "pop3", mode)));
    let server = world.start();
    let alpn = |listener: &str, offered: &str| {
        let transcript = world.talk(&server, listener, &format!(", \"alpn\": [{offered}]"), "tls\n< \n");
        transcript.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(alpn("imaps", "\"pop3\", \"imap\""), "imap");
    assert_eq!(alpn("pop3s", "\"pop3\", \"imap\""), "pop3");
    // Python knows the number of this alert by name since OpenSSL 3 only.
    for (listener, offered) in [("imaps", "\"pop3\""), ("pop3s", "\"imap\", \"http/1.1\"")] {
        let refused = alpn(listener, offered);
        assert!(["TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "None"].contains(&refused.as_str()), "{refused}");
    }
}

/// Everything up to the end of the connection, which must come in time.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut octets = Vec::new();
    match stream.read_to_end(&mut octets) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    octets
}

#[test]
fn a_client_that_makes_no_handshake_is_dropped() {
    let world = World::new(
        &[
            "handshake-timeout = 1\n".to_owned(),
            listener("imaps", "imap", "tls-mode = \"connection\""),
            listener("pop3s", "pop3", "tls-mode = \"connection\""),
            listener("imap", "imap", "tls-mode = \"required\""),
            listener("pop3", "pop3", "tls-mode = \"required\""),
            listener("patient", "imap", "tls-mode = \"connection\"\ntls.handshake-timeout = 3600"),
        ]
        .concat(),
    );
    let mut command = world.place.command();
    command.env("PILLARBOX_LOG", "pillarbox_server_core=debug");
    let server = super::Server::start(&mut command, world.path());
    let connect = |listener: &str| TcpStream::connect(server.address(listener)).unwrap();
    let begun = Instant::now();
    let patient = connect("patient");
    let mut waiting = Vec::new();
    for (listener, begin, answer) in [
        ("imaps", "", ""),
        ("pop3s", "", ""),
        ("imap", "a STARTTLS\r\n", "a OK Begin TLS negotiation now\r\n"),
        ("pop3", "STLS\r\n", "+OK Begin TLS negotiation\r\n"),
    ] {
        for half in [&b""[..], b"\x16\x03\x01\x02"] {
            let mut stream = connect(listener);
            stream.write_all(begin.as_bytes()).unwrap();
            if !answer.is_empty() {
                let mut heard = Vec::new();
                while !heard.ends_with(answer.as_bytes()) {
                    let mut octet = [0];
                    stream.read_exact(&mut octet).unwrap();
                    heard.push(octet[0]);
                }
            }
            // Who is slow is dropped before.
            let _ = stream.write_all(half);
            waiting.push((listener, stream));
        }
    }
    for (listener, mut stream) in waiting {
        assert_eq!(rest(&mut stream), b"", "{listener}");
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "not at once");
    until(|| server.log().matches("not done within 1s").count() == 8);
    // Another listener has another limit.
    patient.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let still_there = (&patient).read(&mut [0]).unwrap_err();
    assert!(matches!(still_there.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
}

#[test]
fn who_speaks_no_tls_where_it_must_gets_no_text() {
    let mode = "tls-mode = \"connection\"";
    let world = World::new(&format!("{}{}", listener("imaps", "imap", mode), listener("pop3s", "pop3", mode)));
    let mut command = world.place.command();
    command.env("PILLARBOX_LOG", "pillarbox_server_core=debug");
    let server = super::Server::start(&mut command, world.path());
    let plain: [&[u8]; 4] = [b"a LOGIN alice \"correct horse\"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\r\n", &[0; 5000]];
    for listener in ["imaps", "pop3s"] {
        for octets in plain {
            let mut stream = TcpStream::connect(server.address(listener)).unwrap();
            stream.write_all(octets).unwrap();
            if octets.len() < 5 {
                // Less than the head of a record could still become one.
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
            let told = rest(&mut stream);
            // An alert is a record of type 21.
            assert!(told.is_empty() || told[0] == 21 && told.len() == 7, "{told:?}");
        }
    }
    let log = server.log();
    assert!(log.contains("what the client sent is not TLS") && !log.contains("correct horse"), "{log}");
    if has("python3") {
        let transcript = world.talk(&server, "imaps", "", "tls\n> a LOGOUT\n< * OK\n< a OK\nend\n");
        assert!(transcript.ends_with("closed\n"), "others are served: {transcript}");
    }
}

#[test]
fn without_a_certificate_there_is_no_start() {
    for mode in ["ondemand", "required", "connection"] {
        let place = super::Place::with_config(&format!(
            "data = \"data\"\n{}",
            listener("imap", "imap", &format!("tls-mode = \"{mode}\""))
        ));
        let file = place.path().join("pillarboxd.toml");
        for arguments in [&[][..], &["--check-config"]] {
            refused(
                &place.command().args(arguments).output().unwrap(),
                &format!(
                    "{}: server.listener.imap: no certificate set: give tls.certificate, here or in server.tls \
                     (\"self-signed\" is always there)",
                    file.display()
                ),
            );
        }
    }
}
