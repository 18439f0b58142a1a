//! Certificates: reading the ones that the configuration names, and making one for a first start.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use pillarbox_server_core::tls::{
    ClientCertificates, FileChecks, FileKind, Priorities, TlsAcceptor, TlsConfig, TlsIdentity, TlsVersion,
};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustix::fs::{Mode, OFlags};

use crate::config::{Certificate, Config, Listener, Pem, SELF_SIGNED, TlsMode, TlsVersions};
use crate::data::DataFolder;
use crate::exit::{Failure, Result, Status, without_number};
use crate::files;

/// Reads a certificate of the configuration, and checks that its files are protected.
///
/// # Errors
///
/// [`Status::Config`], naming the file, when it can't be read, has not what it should have, or is open to others.
pub fn identity(id: &str, certificate: &Certificate, checks: &FileChecks) -> Result<TlsIdentity> {
    let fault = |error: &dyn std::fmt::Display| wrong(format_args!("certificate.{id}"), error);
    for (pem, kind) in [(&certificate.cert, FileKind::Certificate), (&certificate.private_key, FileKind::Key)] {
        if let Pem::File(path) = pem {
            checks.check(path, kind).map_err(|error| fault(&error))?;
        }
    }
    let read = |pem: &Pem, key: &str| match pem {
        Pem::File(path) => match fs::read(path) {
            Ok(text) => Ok((path.display().to_string(), text)),
            Err(error) => {
                let what = format_args!("certificate.{id}: {}", path.display());
                Err(Failure { status: Status::Config, ..Failure::io(Status::Config, what, &error) })
            }
        },
        Pem::Inline(text) | Pem::Env(_, text) => Ok((key.to_owned(), text.clone().into_bytes())),
    };
    let (cert, key) = (read(&certificate.cert, "cert")?, read(&certificate.private_key, "private-key")?);
    TlsIdentity::from_pem((&cert.0, &cert.1), (&key.0, &key.1)).map_err(|error| fault(&error))
}

/// What is wrong with this.
fn wrong(what: impl std::fmt::Display, error: &dyn std::fmt::Display) -> Failure {
    let error = error.to_string();
    Failure::new(Status::Config, format_args!("{what}: {}", without_number(&error)))
}

/// What does the handshakes of a listener, without a protocol's name yet; `None` where it has no TLS.
///
/// # Errors
///
/// [`Status::Config`], naming what is wrong; others when the server's own certificate can't be made.
pub fn acceptor(config: &Config, data: &DataFolder, listener: &Listener) -> Result<Option<TlsAcceptor>> {
    if listener.tls_mode == TlsMode::No {
        return Ok(None);
    }
    let tls = &listener.tls;
    let fault = |error: &dyn std::fmt::Display| wrong(format_args!("listener {}", listener.id), error);
    let find = |id: &str| match config.certificates.get(id) {
        Some(files) => identity(id, files, &tls.file_checks),
        None if id == SELF_SIGNED => identity(id, &self_signed(data)?.0, &tls.file_checks),
        None => Err(fault(&format_args!("no certificate {id}"))),
    };
    let Some(own) = &tls.certificate else { return Err(fault(&"no certificate set")) };
    let mut built = TlsConfig::new().identity(find(own)?).handshake_timeout(tls.timeout);
    for sni in &tls.sni {
        built = built.identity_for([&sni.subject], find(&sni.certificate)?);
    }
    built = built.ignore_client_order(tls.ignore_client_order);
    match tls.versions {
        TlsVersions::Only12 => built = built.newest_version(TlsVersion::Tls12),
        TlsVersions::Only13 => built = built.oldest_version(TlsVersion::Tls13),
        TlsVersions::Both => {}
    }
    if let Some(suites) = &tls.ciphers {
        built = built.cipher_suites(suites.iter().copied());
    }
    if let Some(text) = &tls.priorities {
        built = built.priorities(&Priorities::parse(text).map_err(|error| fault(&error))?);
    }
    if let Some(path) = &tls.ca_file {
        tls.file_checks.check(path, FileKind::Authorities).map_err(|error| fault(&error))?;
        let roots = ClientCertificates::roots_from_pem_file(path).map_err(|error| fault(&error))?;
        built = built.client_certificates(match tls.client_certificate_required {
            true => ClientCertificates::Required(roots),
            false => ClientCertificates::Optional(roots),
        });
    }
    built.build().map(Some).map_err(|error| fault(&error))
}

/// Where the certificate is that the server made for itself.
#[must_use]
pub fn self_signed_files(data: &DataFolder) -> Certificate {
    let folder = data.tls();
    Certificate { cert: Pem::File(folder.join("cert.pem")), private_key: Pem::File(folder.join("key.pem")) }
}

/// Makes a certificate for `localhost` when there is none, and returns where it is, and whether it is new.
///
/// # Errors
///
/// [`Status::CantCreate`] when its files can't be written.
pub fn self_signed(data: &DataFolder) -> Result<(Certificate, bool)> {
    let certificate = self_signed_files(data);
    let folder = data.tls();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if exists(&cert)? && exists(&key)? {
        return Ok((certificate, false));
    }
    let failed = |path: &Path, error: &io::Error| Failure::io(Status::CantCreate, path.display(), error);
    files::private_folder(&folder).map_err(|error| failed(&folder, &error))?;
    let (cert_pem, key_pem) =
        generate().map_err(|error| Failure::new(Status::Software, format_args!("making a certificate: {error}")))?;
    files::replace(&key, key_pem.as_bytes(), 0o600).map_err(|error| failed(&key, &error))?;
    files::replace(&cert, cert_pem.as_bytes(), 0o644).map_err(|error| failed(&cert, &error))?;
    if rustix::process::geteuid().is_root() {
        hand_over(data, &folder).map_err(|error| failed(&folder, &error))?;
    }
    Ok((certificate, true))
}

/// Gives what root has made to whoever the data belongs to, who reads it again at a reload. By way of open files and not
/// by their names: the folder is another's, who might put a link there.
fn hand_over(data: &DataFolder, folder: &Path) -> io::Result<()> {
    let owner = fs::metadata(data.root())?;
    let give = |file: &fs::File| fchown(file, Some(owner.uid()), Some(owner.gid()));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let folder = fs::File::from(rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty())?);
    for name in ["key.pem", "cert.pem"] {
        let file = fs::File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.is_file() || found.nlink() != 1 {
            return Err(io::Error::other("somebody else has changed it"));
        }
        give(&file)?;
    }
    give(&folder)
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| Failure::io(Status::NoInput, path.display(), &error))
}

fn generate() -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Pillarbox, self-signed");
    params.subject_alt_names = vec![
        SanType::DnsName(Ia5String::try_from("localhost")?),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_certificate_is_made_once_and_can_be_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let (certificate, new) = self_signed(&data).unwrap();
        assert!(new);
        identity("self-signed", &certificate, &FileChecks::default()).unwrap();
        let first = fs::read(data.tls().join("cert.pem")).unwrap();
        assert!(!self_signed(&data).unwrap().1);
        assert_eq!(fs::read(data.tls().join("cert.pem")).unwrap(), first);
        let mode = fs::metadata(data.tls().join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_that_root_makes_belongs_to_whoever_the_data_does() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(4321), Some(4321)).unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        self_signed(&data).unwrap();
        for path in [data.tls(), data.tls().join("key.pem"), data.tls().join("cert.pem")] {
            assert_eq!(fs::metadata(path).unwrap().uid(), 4321);
        }
    }

    #[test]
    fn faults_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let (good, _) = self_signed(&data).unwrap();
        let path = folder.path().join("x.pem");
        let other = Pem::File(path.clone());
        let check = |certificate: &Certificate, text: &str| {
            let failure = identity("x", certificate, &FileChecks::default()).unwrap_err();
            assert_eq!(failure.status, Status::Config);
            assert_eq!(failure.to_string(), format!("certificate.x: {}: {text}", path.display()));
        };
        let cert = Certificate { cert: other.clone(), ..good.clone() };
        let key = Certificate { private_key: other, ..good };
        check(&cert, "No such file or directory");
        check(&key, "No such file or directory");
        fs::write(&path, "nothing").unwrap();
        set_mode(&path, 0o600);
        check(&cert, "not a PEM file: it has no -----BEGIN line");
        check(&key, "not a PEM file: it has no -----BEGIN line");
        fs::write(&path, "").unwrap();
        check(&cert, "the file is empty");
        fs::write(&path, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").unwrap();
        check(&cert, "not a PEM file: its base64 is malformed");
        fs::copy(data.tls().join("key.pem"), &path).unwrap();
        set_mode(&path, 0o644);
        check(&key, "unsafe key file: everyone can read it (mode 0644, check ardfil)");
        set_mode(&path, 0o640);
        check(&key, "unsafe key file: its group can read it (mode 0640, check grdfil)");
        let checks = FileChecks::default().with(FileKind::Key, ["none"]).unwrap();
        identity("x", &key, &checks).unwrap();
    }
}
