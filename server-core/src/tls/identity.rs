//! A certificate with its key.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls;

use super::TlsError;
use super::names::Facts;
use super::pem::Pem;

/// A certificate chain, our own first, and the private key. `Debug` shows neither.
pub struct TlsIdentity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    files: Option<(PathBuf, PathBuf)>,
}

impl TlsIdentity {
    /// Takes them as they are in memory.
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key, files: None }
    }

    /// Reads a chain and a key from PEM files, which may be one and the same.
    ///
    /// Keys are PKCS #8, PKCS #1 (RSA) or SEC 1 (EC), not encrypted. Other sections are passed over. At most 16 MiB are
    /// read of each file.
    ///
    /// # Errors
    ///
    /// A file can't be read, or has not what it should have; the error names it. Whether they belong together is seen
    /// by [`TlsConfig::build`](super::TlsConfig::build).
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::read(&Pem::read(chain.as_ref())?, &Pem::read(key.as_ref())?)
    }

    /// Takes a chain and a key from PEM texts, each with the name that errors give to it: a key of a configuration
    /// file, perhaps.
    ///
    /// # Errors
    ///
    /// As for [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(chain: (&str, &[u8]), key: (&str, &[u8])) -> Result<Self, TlsError> {
        Self::read(&Pem::new(chain.0, chain.1), &Pem::new(key.0, key.1))
    }

    fn read(chain: &Pem, key: &Pem) -> Result<Self, TlsError> {
        let files = Some((chain.name.clone(), key.name.clone()));
        Ok(Self { chain: chain.certificates()?, key: key.key()?, files })
    }

    /// What errors call it: its file, else a name in it.
    pub(super) fn name(&self) -> PathBuf {
        if let Some((certificate, _)) = &self.files {
            return certificate.clone();
        }
        let names = self.facts().map(|facts| facts.names).unwrap_or_default();
        let name = names.dns_names.into_iter().next().or(names.common_name);
        name.unwrap_or_else(|| "certificate in memory".to_owned()).into()
    }

    /// What our own certificate says.
    pub(super) fn facts(&self) -> Result<Facts, TlsError> {
        let malformed = |what| TlsError::Malformed {
            path: self.files.as_ref().map_or("certificate in memory".into(), |(certificate, _)| certificate.clone()),
            what,
        };
        let facts = self.chain.first().and_then(|own| Facts::of(own));
        match facts.ok_or_else(|| malformed("an X.509 certificate"))? {
            facts if facts.modern => Ok(facts),
            _ => Err(malformed("an X.509 certificate of version 3, but one without extensions")),
        }
    }

    /// What is out of its time at this time, in seconds since 1970.
    pub(super) fn untimely(&self, now: i64) -> impl Iterator<Item = String> {
        self.chain.iter().enumerate().filter_map(move |(index, certificate)| {
            let reason = Facts::of(certificate)?.untimely(now)?;
            let which =
                if index == 0 { "the certificate".to_owned() } else { format!("certificate {} in it", index + 1) };
            Some(format!("{}: {which} {reason}", self.name().display()))
        })
    }

    /// What rustls has against this identity, with the file that it is about.
    pub(super) fn error(&self, source: rustls::Error) -> TlsError {
        let Some((certificate, key)) = self.files.clone() else { return TlsError::Config(source) };
        match source {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { certificate, key },
            rustls::Error::InvalidCertificate(_) => TlsError::Unusable { path: certificate, source },
            // All that is left to fail is reading the key, which rustls tells without a kind.
            rustls::Error::General(_) => {
                TlsError::Malformed { path: key, what: "an RSA, ECDSA or Ed25519 key that can be used" }
            }
            source => TlsError::Unusable { path: key, source },
        }
    }
}

impl Clone for TlsIdentity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), files: self.files.clone() }
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("files", &self.files).finish_non_exhaustive()
    }
}
