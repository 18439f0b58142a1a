//! Files of certificates, keys, authorities and revocation lists: each way to be broken has a line of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]
#![cfg(all(feature = "tls", unix))]

mod tls_support;

use std::fs;
use std::path::{Path, PathBuf};

use pillarbox_server_core::tls::{
    ClientCertificates, FileChecks, FileKind, RevocationLists, TlsAcceptor, TlsConfig, TlsError, TlsIdentity,
};
use tls_support::{Authority, BOTH, HOST, Made, shake};

/// A folder with a certificate and its key in it.
struct Folder {
    folder: tempfile::TempDir,
    made: Made,
    certificate: PathBuf,
    key: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = Authority::new("Authority").server(&[HOST]);
        let (certificate, key) = made.write(folder.path(), "server");
        Self { folder, made, certificate, key }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn build(&self, certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
        TlsConfig::new().identity(TlsIdentity::from_pem_files(certificate, key)?).build()
    }

    /// What is said of this file as a certificate, as a key, and as a list of authorities.
    fn says(&self, path: &Path) -> [String; 3] {
        let line = |error: TlsError| {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            text.strip_prefix(&format!("{}: ", path.display())).unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        [
            line(self.build(path, &self.key).unwrap_err()),
            line(self.build(&self.certificate, path).unwrap_err()),
            line(ClientCertificates::roots_from_pem_file(path).unwrap_err()),
        ]
    }
}

#[test]
fn whole_files_are_taken() {
    let folder = Folder::new();
    let Made { pem, key_pem, .. } = &folder.made;
    let both = folder.file("both.pem", format!("# With a comment\n{pem}{key_pem}"));
    let windows = folder.file("windows.pem", pem.replace('\n', "\r\n"));
    for (certificate, key) in [(&folder.certificate, &folder.key), (&both, &both), (&windows, &both)] {
        let identity = TlsIdentity::from_pem_files(certificate, key).unwrap();
        assert!(!format!("{identity:?}").contains("PRIVATE"));
        let config = TlsConfig::new().identity(identity);
        assert_eq!(config.warnings(), [""; 0]);
        config.build().unwrap();
    }
    assert_eq!(ClientCertificates::roots_from_pem_file(&both).unwrap().len(), 1);
    let text = |name| (name, if name == "key" { key_pem.as_bytes() } else { pem.as_bytes() });
    TlsConfig::new().identity(TlsIdentity::from_pem(text("cert"), text("key")).unwrap()).build().unwrap();
    let error = TlsIdentity::from_pem(("certificate.\"x\".cert", b""), text("key")).unwrap_err();
    assert_eq!(error.to_string(), "certificate.\"x\".cert: the file is empty");
}

#[test]
fn files_that_are_no_pem() {
    let folder = Folder::new();
    let same = |path: &Path, line: &str| assert_eq!(folder.says(path), [line; 3]);
    same(&folder.folder.path().join("missing.pem"), "No such file or directory (os error 2)");
    same(folder.folder.path(), "Is a directory (os error 21)");
    same(&folder.file("empty.pem", ""), "the file is empty");
    same(&folder.file("blank.pem", " \n\n"), "the file is empty");
    same(&folder.file("text.pem", "certificate\n"), "not a PEM file: it has no -----BEGIN line");
    same(&folder.file("binary.pem", [0xff, 0, 1, 2]), "not a PEM file: it has no -----BEGIN line");
    same(&folder.file("server.der", &folder.made.der), "a DER file where a PEM file is wanted");
    same(&folder.file("key.der", folder.made.key().secret_der()), "a DER file where a PEM file is wanted");
    same(&folder.file("large.pem", vec![b'-'; (16 << 20) + 1]), "larger than 16777216 bytes");
}

#[test]
fn pem_that_is_cut_or_spoiled() {
    let folder = Folder::new();
    for (name, text) in [("certificate", &folder.made.pem), ("key", &folder.made.key_pem)] {
        let path = folder.file(&format!("cut-{name}.pem"), &text[..text.len() / 2]);
        assert_eq!(folder.says(&path), ["not a PEM file: its last section has no -----END line"; 3]);
        // Cut in the middle of a line, and then closed.
        let lines: Vec<_> = text.lines().collect();
        let cut = [lines[0], &lines[1][..13], lines[lines.len() - 1], ""].join("\n");
        assert_eq!(folder.says(&folder.file("truncated.pem", cut)), ["not a PEM file: its base64 is malformed"; 3]);
        let spoiled = text.replacen("\nM", "\n!", 1);
        assert_eq!(folder.says(&folder.file("spoiled.pem", spoiled)), ["not a PEM file: its base64 is malformed"; 3]);
        let start = text.replacen("-----\n", "---\n", 1);
        let path = folder.file("start.pem", start);
        assert_eq!(folder.says(&path), ["not a PEM file: a -----BEGIN line is malformed"; 3]);
    }
}

#[test]
fn pem_with_something_else_in_it() {
    let folder = Folder::new();
    let authority = Authority::new("Users");
    let says = |path: &Path| folder.says(path);
    let nothing = |what: &str| [what, "no private key in it", what].map(str::to_owned);
    let only = |found: &str| {
        ["no certificate in it", "no private key in it", "no certificate in it"]
            .map(|what| format!("{what}, only {found}"))
    };
    let [certificate, _, roots] = only("a private key");
    assert_eq!(folder.build(&folder.key, &folder.key).unwrap_err().to_string(), named(&folder.key, &certificate));
    let error = ClientCertificates::roots_from_pem_file(&folder.key).unwrap_err().to_string();
    assert_eq!(error, named(&folder.key, &roots));
    let error = folder.build(&folder.certificate, &folder.certificate).unwrap_err().to_string();
    assert_eq!(error, named(&folder.certificate, "no private key in it, only a certificate"));
    assert_eq!(says(&folder.file("users.crl", authority.revoke(&[], 2099))), only("a revocation list"));
    let other = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    assert_eq!(says(&folder.file("ssh.key", other)), nothing("no certificate in it"));

    let lists = |path: &Path| RevocationLists::from_pem_file(path).unwrap_err().to_string();
    assert_eq!(lists(&folder.key), named(&folder.key, "no revocation list in it, only a private key"));
    let junk = folder.file("junk.crl", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    assert_eq!(lists(&junk), named(&junk, "not an X.509 revocation list"));
}

fn named(path: &Path, line: &str) -> String {
    format!("{}: {line}", path.display())
}

#[test]
fn sections_with_the_wrong_content() {
    let folder = Folder::new();
    let junk = folder.file("junk.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let error = folder.build(&junk, &folder.key).unwrap_err().to_string();
    assert_eq!(error, named(&junk, "not an X.509 certificate"));
    let error = ClientCertificates::roots_from_pem_file(&junk).unwrap_err().to_string();
    assert_eq!(error, named(&junk, "not an X.509 certificate of an authority"));
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        let junk = folder.file("junk.key", format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n"));
        let error = folder.build(&folder.certificate, &junk).unwrap_err().to_string();
        assert_eq!(error, named(&junk, "not an RSA, ECDSA or Ed25519 key that can be used"));
    }
    let (_, other) = Authority::new("Other").server(&[HOST]).write(folder.folder.path(), "other");
    let error = folder.build(&folder.certificate, &other).unwrap_err().to_string();
    let line = format!("is not the key of the certificate in {}", folder.certificate.display());
    assert_eq!(error, named(&other, &line));
}

#[test]
fn encrypted_keys_are_told_apart() {
    let folder = Folder::new();
    let pkcs8 = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGHMBMG\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233\n\nMIGHMBMG\n\
               -----END EC PRIVATE KEY-----\n";
    for text in [pkcs8, old] {
        let path = folder.file("encrypted.key", text);
        let error = folder.build(&folder.certificate, &path).unwrap_err().to_string();
        assert_eq!(error, named(&path, "the private key is encrypted; one without a passphrase is wanted"));
    }
    // One that is readable beside it is good enough.
    let both = folder.file("both.key", format!("{pkcs8}{}", folder.made.key_pem));
    folder.build(&folder.certificate, &both).unwrap();
}

#[test]
fn files_that_we_may_not_read() {
    let folder = Folder::new();
    let (certificate, key) = (folder.certificate.clone(), folder.key.clone());
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Root reads everything; a thread that is nobody does not.
    let nobody = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let uid = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        }
        TlsIdentity::from_pem_files(certificate, key).unwrap_err().to_string()
    });
    assert_eq!(nobody.join().unwrap(), named(&folder.key, "Permission denied (os error 13)"));
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_served_with_a_warning() {
    let folder = Folder::new();
    let authority = Authority::new("Authority");
    let timed = |not_before: i32, not_after: i32| {
        authority.sign(|wanted| {
            wanted.subject_alt_names = vec![rcgen::SanType::DnsName(HOST.try_into().unwrap())];
            wanted.not_before = rcgen::date_time_ymd(not_before, 1, 1);
            wanted.not_after = rcgen::date_time_ymd(not_after, 1, 1);
        })
    };
    for (made, line) in [
        (timed(2001, 2002), "the certificate has expired on 2002-01-01T00:00:00Z"),
        (timed(2098, 2099), "the certificate is not valid before 2098-01-01T00:00:00Z"),
    ] {
        let (certificate, key) = made.write(folder.folder.path(), "timed");
        // One of its authorities, too.
        let second = folder.file("chain.pem", format!("{}{}", folder.made.pem, made.pem));
        let chain = TlsConfig::new().identity(TlsIdentity::from_pem_files(&second, &folder.key).unwrap());
        assert_eq!(chain.warnings(), [named(&second, &line.replace("the certificate", "certificate 2 in it"))]);
        let config = TlsConfig::new().identity(TlsIdentity::from_pem_files(&certificate, &key).unwrap());
        assert_eq!(config.warnings(), [named(&certificate, line)]);
        let acceptor = config.build().unwrap();
        // It is the client that minds.
        let error = shake(&acceptor, &authority.client(BOTH), HOST).await.err().unwrap();
        assert_eq!(error, "the client refused: alert CertificateExpired");
    }
}

#[test]
fn a_key_that_everyone_can_read_is_refused_before_it_is_read() {
    let folder = Folder::new();
    let permit = |path: &Path, mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    permit(folder.folder.path(), 0o700).unwrap();
    permit(&folder.key, 0o644).unwrap();
    permit(&folder.certificate, 0o644).unwrap();
    let checks = FileChecks::default();
    checks.check(&folder.certificate, FileKind::Certificate).unwrap();
    let error = checks.check(&folder.key, FileKind::Key).unwrap_err().to_string();
    let line = "unsafe key file: everyone can read it (mode 0644, check ardfil)";
    assert_eq!(error, named(&folder.key, line));
    checks.with(FileKind::Key, ["none"]).unwrap().check(&folder.key, FileKind::Key).unwrap();
}
