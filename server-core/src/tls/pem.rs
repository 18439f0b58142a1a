//! Reads PEM files, and says of those that are none what they are instead.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{Error as PemError, PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;

/// The most that is read of a file, in bytes. Lists of authorities and revocation lists are the largest.
const LARGEST: u64 = 16 * 1024 * 1024;

/// PEM text, with the name of the file or place that it comes from. It may be a key, so it is wiped.
pub(super) struct Pem {
    pub(super) name: PathBuf,
    text: Zeroizing<Vec<u8>>,
}

impl Pem {
    pub(super) fn read(path: &Path) -> Result<Self, TlsError> {
        let unread = |source| TlsError::Read { path: path.into(), source };
        let file = File::open(path).map_err(unread)?;
        // At once as large as it will be, lest growing leaves copies of a key behind.
        let size = file.metadata().map_or(0, |metadata| metadata.len()).min(LARGEST);
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1));
        file.take(LARGEST + 1).read_to_end(&mut text).map_err(unread)?;
        if text.len() as u64 > LARGEST {
            return Err(TlsError::TooLarge { path: path.into(), limit: LARGEST });
        }
        Ok(Self { name: path.into(), text })
    }

    pub(super) fn new(name: impl Into<PathBuf>, text: &[u8]) -> Self {
        Self { name: name.into(), text: Zeroizing::new(text.to_vec()) }
    }

    /// The certificates, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let mut found = self.sections()?;
        let wanted = |kind: &SectionKind| matches!(kind, SectionKind::Certificate);
        let certificates =
            found.extract_if(.., |(kind, _)| wanted(kind)).map(|(_, der)| der.into()).collect::<Vec<_>>();
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { path: self.name.clone(), found: self.instead(&found) });
        }
        Ok(certificates)
    }

    /// The first private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        self.readable()?;
        // OpenSSL's own old form of an encrypted key has a header, which makes it no PEM for us.
        let encrypted = self.has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || self.has(b"Proc-Type: 4,ENCRYPTED");
        match self.sections().map(|found| (found.iter().find_map(key), self.instead(&found))) {
            Ok((Some(key), _)) => Ok(key),
            _ if encrypted => Err(TlsError::EncryptedKey { path: self.name.clone() }),
            Ok((None, found)) => Err(TlsError::NoKey { path: self.name.clone(), found }),
            Err(error) => Err(error),
        }
    }

    /// The revocation lists, at least one.
    pub(super) fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let mut found = self.sections()?;
        let wanted = |kind: &SectionKind| matches!(kind, SectionKind::Crl);
        let lists = found.extract_if(.., |(kind, _)| wanted(kind)).map(|(_, der)| der.into()).collect::<Vec<_>>();
        if lists.is_empty() {
            return Err(TlsError::NoRevocationList { path: self.name.clone(), found: self.instead(&found) });
        }
        Ok(lists)
    }

    /// What is there where what is wanted is not.
    fn instead(&self, found: &[(SectionKind, Vec<u8>)]) -> Option<&'static str> {
        let (kind, _) = found.first()?;
        Some(match kind {
            SectionKind::Certificate => "a certificate",
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => "a private key",
            SectionKind::Crl => "a revocation list",
            SectionKind::Csr => "a certificate request",
            SectionKind::PublicKey => "a public key",
            _ => "something else",
        })
    }

    fn has(&self, what: &[u8]) -> bool {
        self.text.windows(what.len()).any(|window| window == what)
    }

    fn readable(&self) -> Result<(), TlsError> {
        let path = || self.name.clone();
        if self.text.trim_ascii().is_empty() {
            return Err(TlsError::Empty { path: path() });
        }
        // SEQUENCE with a length of more than one byte: all that DER files have here is long enough.
        if let [0x30, 0x81..=0x84, ..] = self.text.as_slice() {
            return Err(TlsError::Der { path: path() });
        }
        if !self.has(b"-----BEGIN ") {
            return Err(self.broken("it has no -----BEGIN line"));
        }
        Ok(())
    }

    fn sections(&self) -> Result<Vec<(SectionKind, Vec<u8>)>, TlsError> {
        self.readable()?;
        let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(&self.text).collect::<Result<_, _>>();
        // The errors' own texts may quote the file, which may be a key.
        sections.map_err(|error| match error {
            PemError::MissingSectionEnd { .. } => self.broken("its last section has no -----END line"),
            PemError::IllegalSectionStart { .. } => self.broken("a -----BEGIN line is malformed"),
            PemError::Base64Decode(_) => self.broken("its base64 is malformed"),
            _ => self.broken("it is malformed"),
        })
    }

    fn broken(&self, reason: &str) -> TlsError {
        TlsError::Pem { path: self.name.clone(), reason: reason.to_owned() }
    }
}

fn key((kind, der): &(SectionKind, Vec<u8>)) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem(*kind, der.clone())
}
