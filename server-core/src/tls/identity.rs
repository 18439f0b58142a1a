//! A certificate with its key.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls;

use super::TlsError;

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
    /// Keys are PKCS #8, PKCS #1 (RSA) or SEC 1 (EC), not encrypted.
    ///
    /// # Errors
    ///
    /// A file can't be read, or has not what it should have; the error names it. Whether they belong together is seen
    /// by [`TlsConfig::build`](super::TlsConfig::build).
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        let (chain_path, key_path) = (chain.as_ref(), key.as_ref());
        let chain = certificates(chain_path)?;
        let key = PrivateKeyDer::from_pem_file(key_path).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey { path: key_path.into() },
            other => pem_error(key_path, other),
        })?;
        Ok(Self { chain, key, files: Some((chain_path.into(), key_path.into())) })
    }

    /// What rustls has against this identity, with the file that it is about.
    pub(super) fn error(&self, source: rustls::Error) -> TlsError {
        let Some((certificate, key)) = self.files.clone() else { return TlsError::Config(source) };
        match source {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { certificate, key },
            rustls::Error::InvalidCertificate(_) => TlsError::Unusable { path: certificate, source },
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

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| pem_error(path, error))?;
    if all.is_empty() { Err(TlsError::NoCertificate { path: path.into() }) } else { Ok(all) }
}

fn pem_error(path: &Path, error: pem::Error) -> TlsError {
    match error {
        pem::Error::Io(source) => TlsError::Read { path: path.into(), source },
        other => TlsError::Pem { path: path.into(), reason: other.to_string() },
    }
}
