//! The same with other people's TLS: Python's `ssl` module and `openssl s_client`.
//!
//! A program that is missing makes its test say so and pass, or fail where the variable `CI` is set.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test that can not go on fails")]
#![cfg(feature = "tls")]

mod common;
mod tls_support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::World;
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_server_core::tls::{
    CipherSuite, ClientCertificates, RevocationLists, TlsConfig, TlsIdentity, TlsVersion,
};
use pillarbox_server_core::{Listener, Server, ServerHandle};
use rcgen::KeyPair;
use tls_support::{Authority, HOST, Made};
use tokio::runtime::Runtime;

fn there(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{program} is missing");
        eprintln!("SKIPPED: {program} is missing");
    }
    found
}

/// For programs that have not much of a machine.
fn slow(config: TlsConfig) -> TlsConfig {
    config.handshake_timeout(Duration::from_secs(600))
}

/// A server on threads of its own, and what its clients need.
struct Place {
    runtime: Runtime,
    folder: tempfile::TempDir,
    authority: Authority,
    authority_file: PathBuf,
    world: Arc<World>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("Authority");
        let authority_file = folder.path().join("authority.pem");
        std::fs::write(&authority_file, &authority.pem).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, folder, authority, authority_file, world: World::new() }
    }

    fn config(&self) -> TlsConfig {
        slow(TlsConfig::new()).identity(self.authority.server(&[HOST]).identity())
    }

    fn serve(&self, mode: TlsMode, config: TlsConfig) -> Serving<'_> {
        let listener =
            Listener::new("toy", self.world.make()).address(([127, 0, 0, 1], 0)).tls(mode, config.build().unwrap());
        let server = self.runtime.block_on(async { Server::new().listener(listener).bind().unwrap().start().unwrap() });
        let port = server.local_addr("toy").unwrap().port();
        Serving { place: self, _server: server, port }
    }

    fn files(&self, made: &Made, name: &str) -> (PathBuf, PathBuf) {
        made.write(self.folder.path(), name)
    }
}

struct Serving<'a> {
    place: &'a Place,
    _server: ServerHandle,
    port: u16,
}

impl Serving<'_> {
    /// What Python tells: one line.
    fn python(&self, wanted: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls_external.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(self.port.to_string()).arg(&self.place.authority_file).arg(format!("{{{wanted}}}"));
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// What `s_client` tells: all that it was sent, and its own words. It asks for one host and checks for another.
    fn openssl(&self, asked: &str, checked: &str, options: &[&str]) -> (String, String) {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-brief", "-ign_eof", "-verify_return_error", "-servername", asked])
            .args(["-verify_hostname", checked, "-CAfile"])
            .arg(&self.place.authority_file)
            .args(["-connect", &format!("127.0.0.1:{}", self.port)])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may be gone before it reads.
        let _ = child.stdin.take().unwrap().write_all(b"hello\nQUIT\n");
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }
}

fn host(name: &str) -> String {
    format!(r#""host": "{name}""#)
}

fn version(number: &str) -> String {
    format!(r#"{}, "version": "{number}""#, host(HOST))
}

#[test]
fn python_in_both_modes_and_versions() {
    if !there("python3", "--version") {
        return;
    }
    let place = Place::new();
    let (old, new) = (version("TLSv1_2"), version("TLSv1_3"));
    for (mode, starttls) in [(TlsMode::Connection, ""), (TlsMode::OnDemand, r#", "starttls": true"#)] {
        let server = place.serve(mode, place.config());
        for (wanted, told) in [(&old, "TLSv1.2"), (&new, "TLSv1.3"), (&host(HOST), "TLSv1.3")] {
            assert_eq!(server.python(&format!("{wanted}{starttls}")), format!("{told} {HOST} None hello bye"));
        }
        let only_new = place.serve(mode, place.config().oldest_version(TlsVersion::Tls13));
        assert_eq!(only_new.python(&format!("{new}{starttls}")), format!("TLSv1.3 {HOST} None hello bye"));
        assert_eq!(only_new.python(&format!("{old}{starttls}")), "refused: TLSV1_ALERT_PROTOCOL_VERSION");
        let only_old = place.serve(mode, place.config().newest_version(TlsVersion::Tls12));
        assert_eq!(only_old.python(&format!("{old}{starttls}")), format!("TLSv1.2 {HOST} None hello bye"));
        assert_eq!(only_old.python(&format!("{new}{starttls}")), "refused: TLSV1_ALERT_PROTOCOL_VERSION");
    }
}

#[test]
fn python_injecting_behind_starttls() {
    if !there("python3", "--version") {
        return;
    }
    let place = Place::new();
    let server = place.serve(TlsMode::OnDemand, place.config());
    let told = server.python(&format!(r#"{}, "starttls": true, "inject": "injected\nQUIT\n""#, host(HOST)));
    assert_eq!(told, format!("TLSv1.3 {HOST} None hello bye"), "as if nothing had been sent");
    assert_eq!(place.world.lines.load(std::sync::atomic::Ordering::Relaxed), 3, "STARTTLS, hello, QUIT");
}

#[test]
fn python_by_name_and_by_protocol() {
    if !there("python3", "--version") {
        return;
    }
    let place = Place::new();
    let star = place.authority.server(&["*.example.com"]);
    let config = place.config().identity_for(["pop.example.com"], star.identity()).alpn(["imap"]);
    let server = place.serve(TlsMode::Connection, config);
    let alpn = |name: &str, protocols: &str| format!(r#"{}, "alpn": [{protocols}]"#, host(name));
    assert_eq!(server.python(&host("pop.example.com")), "TLSv1.3 *.example.com None hello bye");
    assert_eq!(server.python(&alpn(HOST, r#""pop3", "imap""#)), format!("TLSv1.3 {HOST} imap hello bye"));
    assert_eq!(server.python(&host("imap.example.com")), "refused: CERTIFICATE_VERIFY_FAILED");
    let refused = server.python(&alpn(HOST, r#""pop3""#));
    // Python knows the number of this alert by name since OpenSSL 3 only.
    assert!(["refused: TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "refused: None"].contains(&refused.as_str()), "{refused}");
}

/// A certificate, its key, and the alert that it brings by OpenSSL's name for it.
type User = (PathBuf, PathBuf, Option<&'static str>);

/// Good and bad certificates of clients.
fn users(place: &Place) -> (TlsConfig, Vec<User>) {
    let users = Authority::new("Users");
    let mut made = vec![
        (users.user("good", 1, |_| {}), None),
        (users.user("revoked", 2, |_| {}), Some("certificate revoked")),
        (Authority::new("Strangers").user("strange", 1, |_| {}), Some("unknown ca")),
    ];
    let expired = users.user("expired", 3, |wanted| wanted.not_after = rcgen::date_time_ymd(2020, 1, 1));
    made.push((expired, Some("certificate expired")));
    let files = made.iter().enumerate().map(|(number, (made, alert))| {
        let (certificate, key) = place.files(made, &format!("user{number}"));
        (certificate, key, *alert)
    });
    let lists = RevocationLists::from_pem("list", users.revoke(&[2], 2099).as_bytes()).unwrap();
    let config = place.config().client_certificates(ClientCertificates::Required(users.roots())).revoked(lists);
    (config, files.collect())
}

#[test]
fn python_with_certificates_of_its_own() {
    if !there("python3", "--version") {
        return;
    }
    let place = Place::new();
    let (config, users) = users(&place);
    let server = place.serve(TlsMode::Connection, config);
    for number in ["TLSv1_2", "TLSv1_3"] {
        for (certificate, key, alert) in &users {
            let mut wanted = version(number);
            write!(wanted, r#", "cert": {certificate:?}, "key": {key:?}"#).unwrap();
            let told = server.python(&wanted);
            match alert {
                None => assert!(told.ends_with("hello bye"), "{told}"),
                Some(alert) => {
                    let alert = alert.to_uppercase().replace(' ', "_");
                    assert!(told.starts_with("refused: ") && told.ends_with(&alert), "{alert}: {told}");
                }
            }
        }
        let none = server.python(&version(number));
        assert!(none.contains("CERTIFICATE_REQUIRED") || none.contains("HANDSHAKE_FAILURE"), "{none}");
    }
}

#[test]
fn openssl_with_every_cipher_suite() {
    if !there("openssl", "version") {
        return;
    }
    let place = Place::new();
    let key = place.folder.path().join("rsa.key");
    let made = Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
        .arg(&key)
        .output()
        .unwrap();
    // Older ones know no -quiet.
    if !made.status.success() {
        let made = Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let rsa = KeyPair::from_pem(&std::fs::read_to_string(&key).unwrap()).unwrap();
    let rsa = place.authority.sign_key(&rsa, |wanted| {
        wanted.subject_alt_names = vec![rcgen::SanType::DnsName(HOST.try_into().unwrap())];
    });
    for suite in CipherSuite::all() {
        let iana = suite.name().replace("TLS13_", "TLS_");
        let mut config = slow(TlsConfig::new()).cipher_suites([suite]);
        let options = if suite.version() == TlsVersion::Tls13 {
            ["-ciphersuites".to_owned(), iana.clone()]
        } else {
            [
                "-cipher".to_owned(),
                iana.replace("TLS_", "").replace("_WITH", "").replace("AES_", "AES").replace('_', "-"),
            ]
        };
        // ChaCha20's suites have no hash in their OpenSSL names.
        let options = options.map(|option| match option.strip_suffix("POLY1305-SHA256") {
            Some(start) => format!("{start}POLY1305"),
            None => option,
        });
        config = if iana.contains("_RSA_") {
            config.identity(rsa.identity())
        } else {
            config.identity(place.authority.server(&[HOST]).identity())
        };
        let server = place.serve(TlsMode::Connection, config);
        let (sent, told) = server.openssl(HOST, HOST, &[&options[0], &options[1]]);
        assert_eq!(sent, "hello\nbye\n", "{suite}: {told}");
        assert!(told.contains(&options[1]), "{suite}: {told}");
    }
    // Of two kinds of keys, the first one that the client can verify.
    let both = slow(TlsConfig::new()).identity(rsa.identity()).identity(place.authority.server(&[HOST]).identity());
    let server = place.serve(TlsMode::Connection, both);
    for (algorithms, kind) in [("RSA-PSS+SHA256:ECDSA+SHA256", "RSA-PSS"), ("ECDSA+SHA256", "ECDSA")] {
        let (sent, told) = server.openssl(HOST, HOST, &["-sigalgs", algorithms]);
        assert_eq!(sent, "hello\nbye\n", "{told}");
        assert!(told.contains(&format!("Signature type: {kind}")), "{told}");
    }
}

#[test]
fn openssl_by_version_name_and_protocol() {
    if !there("openssl", "version") {
        return;
    }
    let place = Place::new();
    let other = place.authority.server(&["pop.example.com"]);
    let config = place.config().identity(other.identity()).alpn(["imap"]);
    let server = place.serve(TlsMode::Connection, config.clone());
    for (option, number) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for name in [HOST, "pop.example.com"] {
            let (sent, told) = server.openssl(name, name, &[option, "-alpn", "pop3,imap"]);
            assert_eq!(sent, "hello\nbye\n", "{told}");
            assert!(told.contains(&format!("Protocol version: {number}")), "{told}");
        }
        let (sent, told) = server.openssl("pop.example.com", HOST, &[option]);
        assert_eq!(sent, "", "{told}");
        assert!(told.to_lowercase().contains("hostname mismatch"), "{told}");
        let (sent, told) = server.openssl(HOST, HOST, &[option, "-alpn", "pop3"]);
        assert_eq!(sent, "", "{told}");
        assert!(told.contains("alert no application protocol"), "{told}");
    }
    let old = place.serve(TlsMode::Connection, config.clone().newest_version(TlsVersion::Tls12));
    let new = place.serve(TlsMode::Connection, config.oldest_version(TlsVersion::Tls13));
    for (server, good, bad) in [(old, "-tls1_2", "-tls1_3"), (new, "-tls1_3", "-tls1_2")] {
        assert_eq!(server.openssl(HOST, HOST, &[good]).0, "hello\nbye\n");
        let (sent, told) = server.openssl(HOST, HOST, &[bad]);
        assert_eq!(sent, "");
        assert!(told.contains("alert protocol version"), "{told}");
    }
}

#[test]
fn openssl_with_certificates_of_its_own() {
    if !there("openssl", "version") {
        return;
    }
    let place = Place::new();
    let (config, users) = users(&place);
    let server = place.serve(TlsMode::Connection, config);
    for version in ["-tls1_2", "-tls1_3"] {
        for (certificate, key, alert) in &users {
            let files = [certificate, key].map(|path| path.to_str().unwrap());
            let (sent, told) = server.openssl(HOST, HOST, &[version, "-cert", files[0], "-key", files[1]]);
            match alert {
                None => assert_eq!(sent, "hello\nbye\n", "{told}"),
                Some(alert) => {
                    assert_eq!(sent, "", "{told}");
                    assert!(told.contains(&format!("alert {alert}")), "{alert}: {told}");
                }
            }
        }
        let (sent, told) = server.openssl(HOST, HOST, &[version]);
        assert_eq!(sent, "", "{told}");
        assert!(told.contains("alert certificate required") || told.contains("alert handshake failure"), "{told}");
    }
}

#[test]
fn files_that_openssl_makes() {
    if !there("openssl", "version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |line: &str| {
        let output = Command::new("openssl").args(line.split(' ')).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let build = |certificate: &str, key: &str| {
        TlsConfig::new().identity(TlsIdentity::from_pem_files(path(certificate), path(key))?).build().map(drop)
    };
    let says = |certificate: &str, key: &str, about: &str, line: &str| {
        let error = build(certificate, key).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {line}", path(about).display()));
    };
    run("genrsa -out rsa.key 2048");
    run("ecparam -name prime256v1 -genkey -out ec.key");
    run("genpkey -algorithm ed25519 -out ed.key");
    for kind in ["rsa", "ec", "ed"] {
        run(&format!("req -new -x509 -key {kind}.key -subj /CN=x -addext subjectAltName=DNS:{HOST} -out {kind}.crt"));
        run(&format!("pkcs8 -topk8 -nocrypt -in {kind}.key -out {kind}8.key"));
        run(&format!("pkcs8 -topk8 -passout pass:secret -in {kind}.key -out {kind}-secret.key"));
        run(&format!("x509 -outform DER -in {kind}.crt -out {kind}.der"));
        let certificate = format!("{kind}.crt");
        build(&certificate, &format!("{kind}.key")).unwrap();
        build(&certificate, &format!("{kind}8.key")).unwrap();
        let encrypted = format!("{kind}-secret.key");
        let line = "the private key is encrypted; one without a passphrase is wanted";
        says(&certificate, &encrypted, &encrypted, line);
        let der = format!("{kind}.der");
        says(&der, &format!("{kind}.key"), &der, "a DER file where a PEM file is wanted");
    }
    // The old form of an encrypted key.
    run("rsa -aes128 -traditional -passout pass:secret -in rsa.key -out rsa-old.key");
    says("rsa.crt", "rsa-old.key", "rsa-old.key", "the private key is encrypted; one without a passphrase is wanted");
    says("rsa.crt", "ec.key", "ec.key", &format!("is not the key of the certificate in {}", path("rsa.crt").display()));
    // What `x509 -req` makes unless it is told about extensions.
    run("req -new -key ec.key -subj /CN=x -out request.pem");
    run("x509 -req -in request.pem -signkey ec.key -out first.crt");
    let version =
        Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(path("first.crt")).output().unwrap();
    if String::from_utf8_lossy(&version.stdout).contains("Version: 1 ") {
        let line = "not an X.509 certificate of version 3, but one without extensions";
        says("first.crt", "ec.key", "first.crt", line);
    }
    says("request.pem", "ec.key", "request.pem", "no certificate in it, only a certificate request");
}
