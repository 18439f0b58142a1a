//! An authority that signs certificates for servers and users, as files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};

/// The name that servers have where nothing else is said.
pub const HOST: &str = "mail.example.org";

/// A certificate and its key as PEM, and where they are.
#[derive(Clone)]
pub struct Made {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub pem: String,
    pub key_pem: String,
}

impl Made {
    /// Writes both again, perhaps in the place of others.
    pub fn write_as(&self, folder: &Path, name: &str) -> Self {
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        fs::write(&certificate, &self.pem).unwrap();
        fs::write(&key, &self.key_pem).unwrap();
        set_mode(&certificate, 0o644);
        set_mode(&key, 0o600);
        Self { certificate, key, ..self.clone() }
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its own certificate.
    pub file: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut wanted = CertificateParams::default();
        wanted.distinguished_name.push(DnType::CommonName, name);
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let file = folder.join(format!("{name}.pem"));
        fs::write(&file, wanted.self_signed(&key).unwrap().pem()).unwrap();
        set_mode(&file, 0o644);
        Self { issuer: Issuer::new(wanted, key), folder: folder.to_owned(), file }
    }

    pub fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Made {
        let mut wanted = CertificateParams::default();
        wanted.distinguished_name = DistinguishedName::new();
        // Strict clients want to see which of its keys the authority signed with.
        wanted.use_authority_key_identifier_extension = true;
        change(&mut wanted);
        let key = KeyPair::generate().unwrap();
        let made = wanted.signed_by(&key, &self.issuer).unwrap();
        let made =
            Made { certificate: PathBuf::new(), key: PathBuf::new(), pem: made.pem(), key_pem: key.serialize_pem() };
        made.write_as(&self.folder, name)
    }

    /// For a server of this host, with a number.
    pub fn server(&self, name: &str, host: &str, number: u64) -> Made {
        self.sign(name, |wanted| {
            wanted.subject_alt_names = vec![SanType::DnsName(host.try_into().unwrap())];
            wanted.serial_number = Some(SerialNumber::from(number));
        })
    }

    /// For a user with this common name, and a mail address if there is one.
    pub fn user(
        &self,
        name: &str,
        common_name: &str,
        address: Option<&str>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Made {
        self.sign(name, |wanted| {
            wanted.distinguished_name.push(DnType::CommonName, common_name);
            let addresses = address.into_iter().map(|address| SanType::Rfc822Name(address.try_into().unwrap()));
            wanted.subject_alt_names = addresses.collect();
            wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            change(wanted);
        })
    }
}
