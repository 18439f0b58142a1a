//! Certificates: reading the ones that the configuration names, and making one for a first start.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Certificate, Pem};
use crate::data::DataFolder;
use crate::exit::{Failure, Result, Status};
use crate::files;

/// A certificate chain and its key, read but not yet matched with each other.
#[derive(Debug)]
pub struct Loaded {
    /// The chain, the server's own certificate first; at least one.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
}

/// Reads a certificate of the configuration.
///
/// # Errors
///
/// [`Status::Config`], naming the file, when it can't be read, is not PEM, or is a key that everybody can read.
pub fn load(id: &str, certificate: &Certificate) -> Result<Loaded> {
    let fault = |pem: &Pem, key: &str, text: &dyn std::fmt::Display| match pem {
        Pem::File(path) => {
            Failure::new(Status::Config, format_args!("certificate.{id}.{key} {}: {text}", path.display()))
        }
        Pem::Inline(_) => Failure::new(Status::Config, format_args!("certificate.{id}.{key}: {text}")),
    };
    let read = |pem: &Pem, key: &str| match pem {
        Pem::File(path) => fs::read(path).map_err(|error| {
            let failure =
                Failure::io(Status::Config, format_args!("certificate.{id}.{key} {}", path.display()), &error);
            Failure { status: Status::Config, ..failure }
        }),
        Pem::Inline(text) => Ok(text.clone().into_bytes()),
    };
    let chain = CertificateDer::pem_slice_iter(&read(&certificate.cert, "cert")?)
        .collect::<Result<Vec<_>, pem::Error>>()
        .map_err(|error| fault(&certificate.cert, "cert", &error))?;
    if chain.is_empty() {
        return Err(fault(&certificate.cert, "cert", &"holds no certificate"));
    }
    let key_source = &certificate.private_key;
    let text = read(key_source, "private-key")?;
    if let Pem::File(path) = key_source
        && fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o007 != 0)
    {
        return Err(fault(key_source, "private-key", &"everybody can read or change this key; chmod 600 it"));
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => fault(key_source, "private-key", &"holds no private key"),
        error => fault(key_source, "private-key", &error),
    })?;
    Ok(Loaded { chain, key })
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
    Ok((certificate, true))
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
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_can_be_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let (certificate, new) = self_signed(&data).unwrap();
        assert!(new);
        let first = load("self-signed", &certificate).unwrap();
        assert_eq!(first.chain.len(), 1);
        assert!(!self_signed(&data).unwrap().1);
        let second = load("self-signed", &certificate).unwrap();
        assert_eq!(first.chain, second.chain);
        let mode = fs::metadata(data.tls().join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn faults_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let (good, _) = self_signed(&data).unwrap();
        let path = folder.path().join("x.pem");
        let other = Pem::File(path.clone());
        let check = |certificate: &Certificate, text: &str| {
            let failure = load("x", certificate).unwrap_err();
            assert_eq!(failure.status, Status::Config);
            let shown = failure.to_string();
            assert!(shown.contains(path.to_str().unwrap()) && shown.contains(text), "{shown}");
            assert!(!shown.contains('\n'));
        };
        let cert = Certificate { cert: other.clone(), ..good.clone() };
        let key = Certificate { private_key: other, ..good };
        check(&cert, "No such file");
        check(&key, "No such file");
        fs::write(&path, "nothing").unwrap();
        check(&cert, "holds no certificate");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        check(&key, "holds no private key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        check(&key, "everybody can read");
    }
}
