//! Files of certificates and keys that are broken, or open to others: each has a line of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::authority::set_mode;
use super::support::has;
use super::{World, listener, refused};

/// A listener that wants clients' certificates, too.
fn world(settings: &str) -> World {
    World::new(&format!(
        "ssl-ca-file = \"users.pem\"\n{}",
        listener("imaps", "imap", &format!("tls-mode = \"connection\"\n{settings}"))
    ))
}

struct Files {
    world: World,
    certificate: PathBuf,
    key: PathBuf,
    authorities: PathBuf,
}

impl Files {
    fn new() -> Self {
        let world = world("");
        let authorities = world.path().join("users.pem");
        fs::copy(&world.authority.file, &authorities).unwrap();
        Self { certificate: world.mail.certificate.clone(), key: world.mail.key.clone(), world, authorities }
    }

    /// Puts this into each of the files in turn; what is said of it after the file's name.
    #[track_caller]
    fn each(&self, content: &[u8], lines: [&str; 3]) {
        for (path, line) in [&self.certificate, &self.key, &self.authorities].into_iter().zip(lines) {
            let good = fs::read(path).unwrap();
            fs::write(path, content).unwrap();
            self.says(path, line);
            fs::write(path, good).unwrap();
        }
    }

    #[track_caller]
    fn says(&self, path: &PathBuf, line: &str) {
        // Whether it can be used is known only when the listener is built.
        let unusable = line.starts_with("not an X.509 ") || line.starts_with("not an RSA");
        let owner = if *path == self.authorities || unusable { "listener imaps" } else { "certificate.mail" };
        self.refused(&format!("{owner}: {}: {line}", path.display()));
    }

    #[track_caller]
    fn refused(&self, line: &str) {
        refused(&self.world.place.command().output().unwrap(), line);
    }
}

#[test]
fn whole_files_are_taken() {
    let files = Files::new();
    drop(files.world.start());
    // Both in one file, with the ends of lines of another system, and after a comment.
    let both = format!("# mail\n{}{}", files.world.mail.pem, files.world.mail.key_pem).replace('\n', "\r\n");
    fs::write(&files.certificate, &both).unwrap();
    fs::write(&files.key, &both).unwrap();
    drop(files.world.start());
}

#[test]
fn files_that_are_no_pem() {
    let files = Files::new();
    files.each(b"", ["the file is empty"; 3]);
    files.each(b" \n\n", ["the file is empty"; 3]);
    files.each(b"certificate\n", ["not a PEM file: it has no -----BEGIN line"; 3]);
    files.each(&[0xff, 0, 1, 2], ["not a PEM file: it has no -----BEGIN line"; 3]);
    let (pem, key) = (files.world.mail.pem.clone(), files.world.mail.key_pem.clone());
    for text in [&pem, &key] {
        files.each(&text.as_bytes()[..text.len() / 2], ["not a PEM file: its last section has no -----END line"; 3]);
        let spoiled = text.replacen("\nM", "\n!", 1);
        files.each(spoiled.as_bytes(), ["not a PEM file: its base64 is malformed"; 3]);
        let spoiled = text.replacen("-----\n", "---\n", 1);
        files.each(spoiled.as_bytes(), ["not a PEM file: a -----BEGIN line is malformed"; 3]);
    }
    let junk = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    files.each(
        junk,
        [
            "not an X.509 certificate",
            "no private key in it, only a certificate",
            "not an X.509 certificate of an authority",
        ],
    );
    files.each(
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        [
            "no certificate in it, only a private key",
            "not an RSA, ECDSA or Ed25519 key that can be used",
            "no certificate in it, only a private key",
        ],
    );
    drop(files.world.start());
}

#[test]
fn files_that_are_missing() {
    let files = Files::new();
    for path in [&files.certificate, &files.key, &files.authorities] {
        let good = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        files.says(path, "No such file or directory");
        fs::create_dir(path).unwrap();
        set_mode(path, 0o700);
        files.says(path, "Is a directory");
        fs::remove_dir(path).unwrap();
        std::os::unix::fs::symlink("nowhere", path).unwrap();
        files.says(path, "No such file or directory");
        fs::remove_file(path).unwrap();
        fs::write(path, good).unwrap();
        set_mode(path, 0o600);
    }
    drop(files.world.start());
}

#[test]
fn the_key_of_another() {
    let files = Files::new();
    let other = files.world.authority.server("other", "other.example.org", 2);
    fs::copy(&other.key, &files.key).unwrap();
    let (certificate, key) = (files.certificate.display(), files.key.display());
    files.refused(&format!("listener imaps: {key}: is not the key of the certificate in {certificate}"));
    refused(
        &files.world.place.command().arg("--check-config").output().unwrap(),
        &format!("certificate.mail: {key}: is not the key of the certificate in {certificate}"),
    );
}

#[test]
fn a_key_behind_a_passphrase() {
    if !has("openssl") {
        return;
    }
    let files = Files::new();
    let plain = files.world.path().join("plain.key");
    fs::copy(&files.key, &plain).unwrap();
    for form in [&["pkcs8", "-topk8"][..], &["ec", "-aes128"]] {
        let mut command = Command::new("openssl");
        command.args(form).args(["-passout", "pass:secret", "-in"]).arg(&plain).arg("-out").arg(&files.key);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        files.says(&files.key, "the private key is encrypted; one without a passphrase is wanted");
    }
    let der =
        Command::new("openssl").args(["x509", "-outform", "DER", "-in"]).arg(&files.certificate).output().unwrap();
    fs::copy(&plain, &files.key).unwrap();
    fs::write(&files.certificate, der.stdout).unwrap();
    files.says(&files.certificate, "a DER file where a PEM file is wanted");
}

#[test]
fn files_that_are_open_to_others() {
    let files = Files::new();
    for (path, mode, line) in [
        (&files.key, 0o644, "unsafe key file: everyone can read it (mode 0644, check ardfil)"),
        (&files.key, 0o640, "unsafe key file: its group can read it (mode 0640, check grdfil)"),
        (&files.key, 0o620, "unsafe key file: its group can write it (mode 0620, check gwrfil)"),
        (&files.certificate, 0o664, "unsafe certificate file: its group can write it (mode 0664, check gwrfil)"),
        (&files.authorities, 0o664, "unsafe CA file: its group can write it (mode 0664, check gwrfil)"),
    ] {
        set_mode(path, mode);
        files.says(path, line);
        set_mode(path, 0o600);
    }
    set_mode(files.world.path(), 0o777);
    files.says(&files.key, "unsafe key file: it lies in a folder that everyone can write (mode 0600, check awrdir)");
    // Whoever can change the folder can let the link lead elsewhere.
    let real = files.world.path().join("real");
    fs::create_dir(&real).unwrap();
    set_mode(&real, 0o700);
    for (path, kind) in [(&files.certificate, "certificate"), (&files.authorities, "CA")] {
        let moved = real.join(path.file_name().unwrap());
        fs::rename(path, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, path).unwrap();
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // The key is looked at after the certificate, and before the authorities.
        if kind == "certificate" {
            let line = "it is a symbolic link in a folder that others can write";
            files.says(path, &format!("unsafe {kind} file: {line} (mode {mode:04o}, check linkwrdir)"));
        }
    }
    set_mode(files.world.path(), 0o700);
    drop(files.world.start());
}

#[test]
fn checks_can_be_taken_away() {
    for settings in
        ["tls-file-checks.key-file = \"none\"", "tls-file-checks = { key-file = [\"-ardfil\", \"-grdfil\"] }"]
    {
        let world = world(settings);
        fs::copy(&world.authority.file, world.path().join("users.pem")).unwrap();
        set_mode(&world.mail.key, 0o644);
        drop(world.start());
    }
    let world = world("tls-file-checks.cert-file = \"+all\"");
    let certificate = world.mail.certificate.display();
    refused(
        &world.place.command().output().unwrap(),
        &format!(
            "certificate.mail: {certificate}: unsafe certificate file: everyone can read it (mode 0644, check ardfil)"
        ),
    );
}
