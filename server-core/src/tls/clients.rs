//! Certificates of clients: which authorities are trusted with them, and what these have taken back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateRevocationListDer;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::{NoClientAuth, VerifierBuilderError, WebPkiClientVerifier, danger};
use tokio_rustls::rustls::{self, RootCertStore};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::TlsError;
use super::names::date;
use super::pem::Pem;

/// Whether clients are asked for a certificate.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// They are not.
    #[default]
    No,
    /// A client that shows one must show one that these authorities signed; a client without one is served too.
    Optional(Arc<RootCertStore>),
    /// A client without a certificate signed by these authorities is not served.
    Required(Arc<RootCertStore>),
}

impl ClientCertificates {
    /// Reads the certificates of authorities from a PEM file.
    ///
    /// # Errors
    ///
    /// The file can't be read, holds no certificate, or one that can't be used; the error names it.
    pub fn roots_from_pem_file(path: impl AsRef<Path>) -> Result<Arc<RootCertStore>, TlsError> {
        roots(&Pem::read(path.as_ref())?)
    }

    /// Takes the certificates of authorities from a PEM text; errors call it by the name.
    ///
    /// # Errors
    ///
    /// As for [`roots_from_pem_file`](Self::roots_from_pem_file).
    pub fn roots_from_pem(name: &str, text: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
        roots(&Pem::new(name, text))
    }

    pub(super) fn verifier(
        &self,
        revoked: Option<&RevocationLists>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn danger::ClientCertVerifier>, TlsError> {
        let (roots, required) = match self {
            Self::No => return Ok(Arc::new(NoClientAuth)),
            Self::Optional(roots) => (roots, false),
            Self::Required(roots) => (roots, true),
        };
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider.clone());
        if let Some(revoked) = revoked {
            builder = builder.with_crls(revoked.lists.iter().cloned()).only_check_end_entity_revocation();
        }
        if !required {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(|error| match (error, revoked) {
            (VerifierBuilderError::InvalidCrl(source), Some(revoked)) => {
                TlsError::Unusable { path: revoked.name.clone(), source: source.into() }
            }
            (error, _) => TlsError::Config(rustls::Error::General(error.to_string())),
        })
    }
}

fn roots(pem: &Pem) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem.certificates()? {
        roots.add(certificate).map_err(|_| TlsError::Malformed {
            path: pem.name.clone(),
            what: "an X.509 certificate of an authority",
        })?;
    }
    Ok(Arc::new(roots))
}

/// Lists of certificates that authorities have taken back (RFC 5280, section 5).
///
/// With them, a client's own certificate is good only when its authority has a list here and it is not on it: an
/// authority without a list makes all its certificates useless. Certificates between it and the authority's root are
/// not looked up. A list that is older than it says it should be is still used, with a
/// [warning](super::TlsConfig::warnings).
#[derive(Clone, Debug)]
pub struct RevocationLists {
    name: PathBuf,
    lists: Vec<CertificateRevocationListDer<'static>>,
}

impl RevocationLists {
    /// Reads lists from a PEM file (`X509 CRL`).
    ///
    /// # Errors
    ///
    /// The file can't be read, holds no list, or one that is malformed; the error names it.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::read(&Pem::read(path.as_ref())?)
    }

    /// Takes lists from a PEM text; errors call it by the name.
    ///
    /// # Errors
    ///
    /// As for [`from_pem_file`](Self::from_pem_file).
    pub fn from_pem(name: &str, text: &[u8]) -> Result<Self, TlsError> {
        Self::read(&Pem::new(name, text))
    }

    fn read(pem: &Pem) -> Result<Self, TlsError> {
        let lists = pem.revocation_lists()?;
        for list in &lists {
            CertificateRevocationList::from_der(list)
                .map_err(|_| TlsError::Malformed { path: pem.name.clone(), what: "an X.509 revocation list" })?;
        }
        Ok(Self { name: pem.name.clone(), lists })
    }

    /// What is old at this time, in seconds since 1970.
    pub(super) fn untimely(&self, now: i64) -> impl Iterator<Item = String> {
        let parsed = self.lists.iter().filter_map(|list| CertificateRevocationList::from_der(list).ok());
        parsed.filter_map(move |(_, list)| {
            let due = list.next_update().filter(|due| due.timestamp() < now)?;
            Some(format!("{}: the revocation list should have been renewed by {}", self.name.display(), date(&due)))
        })
    }
}
