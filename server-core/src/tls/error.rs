//! What goes wrong: with the configuration, and with handshakes.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio_rustls::rustls::{self, AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

use super::suites::TlsVersion;

/// Why there is no [`TlsAcceptor`](super::TlsAcceptor). One line each, with the file that it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is larger than any certificate, key or list of them should be.
    #[error("{}: larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// There is nothing in a file.
    #[error("{}: the file is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file is DER, not PEM.
    #[error("{}: a DER file where a PEM file is wanted", path.display())]
    Der {
        /// The file.
        path: PathBuf,
    },
    /// A file is not well-formed PEM.
    #[error("{}: not a PEM file: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file has no certificate in it.
    #[error("{}: no certificate in it{}", path.display(), only(*found))]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What it has instead.
        found: Option<&'static str>,
    },
    /// A file has no private key in it.
    #[error("{}: no private key in it{}", path.display(), only(*found))]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What it has instead.
        found: Option<&'static str>,
    },
    /// A file has no revocation list in it.
    #[error("{}: no revocation list in it{}", path.display(), only(*found))]
    NoRevocationList {
        /// The file.
        path: PathBuf,
        /// What it has instead.
        found: Option<&'static str>,
    },
    /// A private key wants a passphrase, and nobody is there to type it.
    #[error("{}: the private key is encrypted; one without a passphrase is wanted", path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// Something in a file has the right frame and the wrong content.
    #[error("{}: not {what}", path.display())]
    Malformed {
        /// The file, or whose content it is.
        path: PathBuf,
        /// What it should be, with its article.
        what: &'static str,
    },
    /// A certificate or key in a file can't be used.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A key does not belong to its certificate.
    #[error("{}: is not the key of the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A name was given for a certificate that is not valid for it.
    #[error("{name}: the certificate {} is not valid for this name, but for {valid}", certificate.display())]
    NotValidFor {
        /// The name.
        name: String,
        /// The certificate's file, or its own name where it has no file.
        certificate: PathBuf,
        /// The names for which it is valid.
        valid: String,
    },
    /// A name that no client can ask for: not a host name, or an address.
    #[error("{name}: not a host name that a client can ask for")]
    BadName {
        /// The name.
        name: String,
    },
    /// No certificate was given.
    #[error("TLS without a certificate")]
    NoIdentity,
    /// No version of TLS is left.
    #[error("TLS: the oldest version {oldest} is newer than the newest version {newest}")]
    NoVersion {
        /// The oldest version wanted.
        oldest: TlsVersion,
        /// The newest version wanted.
        newest: TlsVersion,
    },
    /// No cipher suite is left for the versions.
    #[error("TLS: none of the cipher suites is for {versions}")]
    NoCipherSuite {
        /// The versions that are spoken.
        versions: String,
    },
    /// The cipher suites that are left need another kind of key.
    #[error("{}: none of the cipher suites can be used with this kind of key", certificate.display())]
    NoSuiteForKey {
        /// The certificate's file, or its own name where it has no file.
        certificate: PathBuf,
    },
    /// Rustls refuses the whole.
    #[error("TLS: {0}")]
    Config(#[source] rustls::Error),
}

fn only(found: Option<&'static str>) -> impl fmt::Display {
    found.map_or_else(String::new, |found| format!(", only {found}"))
}

/// Why a handshake failed. The text is for logs, and holds nothing that the client chose.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It took longer than this.
    #[error("not done within {0:?}")]
    TimedOut(Duration),
    /// The client hung up.
    #[error("the client hung up")]
    Closed,
    /// The client does not speak TLS, or there was no agreement.
    #[error("{}", explain(.0))]
    Failed(#[source] io::Error),
}

/// Rustls's errors are written for programmers; these words are for who reads a log.
fn explain(error: &io::Error) -> String {
    let known = error.get_ref().and_then(|inner| {
        let inner: &(dyn std::error::Error + 'static) = inner;
        inner.downcast_ref::<rustls::Error>().or_else(|| inner.source()?.downcast_ref())
    });
    let Some(known) = known else { return error.to_string() };
    match known {
        rustls::Error::InvalidCertificate(wrong) => return certificate(wrong),
        rustls::Error::NoCertificatesPresented => "the client showed no certificate",
        rustls::Error::NoApplicationProtocol => {
            "the client speaks none of the application protocols served here (ALPN)"
        }
        rustls::Error::AlertReceived(alert) => return format!("the client refused: {}", alert_name(*alert)),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => "what the client sent is not TLS",
        rustls::Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => "no cipher suite in common",
        rustls::Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => "no key exchange group in common",
        rustls::Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => {
            "no signature scheme in common"
        }
        rustls::Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "no TLS version in common",
        rustls::Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired) => {
            "the client has no extended master secret"
        }
        other => return other.to_string(),
    }
    .to_owned()
}

fn certificate(wrong: &CertificateError) -> String {
    let what = match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::Revoked => "is revoked",
        CertificateError::UnknownRevocationStatus => "is from an authority without a revocation list",
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "is from an authority whose revocation list is out of date"
        }
        CertificateError::UnknownIssuer => "is from no authority that is trusted here",
        CertificateError::BadSignature => "has a wrong signature",
        CertificateError::BadEncoding => "is malformed",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "is not made for clients",
        other => return format!("the client's certificate is no good: {other}"),
    };
    format!("the client's certificate {what}")
}

/// An alert that rustls knows by name; for others their number.
fn alert_name(alert: AlertDescription) -> String {
    alert.as_str().map_or_else(|| format!("alert {}", u8::from(alert)), |name| format!("alert {name}"))
}
