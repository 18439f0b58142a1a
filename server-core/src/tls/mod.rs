//! TLS by rustls: certificates, the handshake, and what it tells the protocols.
//!
//! [`TlsConfig`] gathers certificates and rules and builds a [`TlsAcceptor`], which is cheap to clone and goes to a
//! [`Listener`](crate::Listener) or into [`ServeOptions`](crate::ServeOptions). TLS 1.2 and 1.3 are spoken, with ring's
//! cryptography. Early data is never accepted: it can be replayed.
//!
//! ```no_run
//! use pillarbox_server_core::tls::{TlsConfig, TlsIdentity};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = TlsIdentity::from_pem_files("server.crt", "server.key")?;
//! let acceptor = TlsConfig::new().identity(identity).build()?;
//! // One set of certificates, each protocol with its own name for it (RFC 7301; RFC 8314, section 3.2 has ports instead).
//! let imap = acceptor.with_alpn(["imap"]);
//! let pop3 = acceptor.with_alpn(["pop3"]);
//! # Ok(())
//! # }
//! ```

mod binding;
mod identity;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::connection::{ChannelBinding, TlsInfo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{
    Acceptor, ClientHello, NoClientAuth, ParsedCertificate, ServerConnection, WebPkiClientVerifier, danger,
};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, ProtocolVersion, RootCertStore, ServerConfig, version};

pub use identity::TlsIdentity;
/// A stream under TLS, with us as the server.
pub use tokio_rustls::server::TlsStream;

/// Gathers what a [`TlsAcceptor`] needs.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    identities: Vec<TlsIdentity>,
    alpn: Vec<Vec<u8>>,
    client_certificates: ClientCertificates,
    oldest: TlsVersion,
    extended_master_secret: bool,
    handshake_timeout: Duration,
}

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
        let path = path.as_ref();
        let mut roots = RootCertStore::empty();
        for certificate in identity::certificates(path)? {
            roots.add(certificate).map_err(|source| TlsError::Unusable { path: path.into(), source })?;
        }
        Ok(Arc::new(roots))
    }
}

/// A version of TLS that this crate speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), the oldest that is still allowed (RFC 8996).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsConfig {
    /// No certificate yet, no client certificates, TLS 1.2 and 1.3, ten seconds for a handshake.
    #[must_use]
    pub fn new() -> Self {
        Self {
            identities: Vec::new(),
            alpn: Vec::new(),
            client_certificates: ClientCertificates::No,
            oldest: TlsVersion::Tls12,
            extended_master_secret: false,
            handshake_timeout: Duration::from_secs(10),
        }
    }

    /// Adds a certificate with its key.
    ///
    /// A client gets the first one that is good for the host name that it asks for (SNI) and whose key it can verify,
    /// else the first one of all.
    #[must_use]
    pub fn identity(mut self, identity: TlsIdentity) -> Self {
        self.identities.push(identity);
        self
    }

    /// The application protocols that are served (ALPN, RFC 7301), the preferred one first. Default: none, which serves
    /// whatever a client names. A client that names only others is turned away.
    #[must_use]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// Whether clients are asked for a certificate.
    #[must_use]
    pub fn client_certificates(mut self, wanted: ClientCertificates) -> Self {
        self.client_certificates = wanted;
        self
    }

    /// The oldest version that is spoken.
    #[must_use]
    pub fn oldest_version(mut self, oldest: TlsVersion) -> Self {
        self.oldest = oldest;
        self
    }

    /// Serves TLS 1.2 only to clients that have the extended master secret (RFC 7627).
    ///
    /// Only then do TLS 1.2 connections get a `tls-exporter` binding: without that extension it does not tie anything
    /// to one connection, and rustls does not tell whether a connection has it. Default: no, for old clients' sake.
    #[must_use]
    pub fn require_extended_master_secret(mut self, required: bool) -> Self {
        self.extended_master_secret = required;
        self
    }

    /// How long a whole handshake may take.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Puts it together.
    ///
    /// # Errors
    ///
    /// There is no certificate, a key does not belong to its certificate, or rustls can't use one of them.
    pub fn build(self) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let mut served = Vec::with_capacity(self.identities.len());
        for identity in &self.identities {
            let key = CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), &provider)
                .map_err(|source| identity.error(source))?;
            served.push(Served {
                end_point: key.end_entity_cert().ok().and_then(|own| binding::server_end_point(own)),
                config: Arc::new(self.config(&provider, verifier.clone(), key.clone())?),
                key: Arc::new(key),
            });
        }
        if served.is_empty() {
            return Err(TlsError::NoIdentity);
        }
        Ok(TlsAcceptor {
            shared: Arc::new(Shared {
                served,
                handshake_timeout: self.handshake_timeout,
                extended_master_secret: self.extended_master_secret,
            }),
        })
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn danger::ClientCertVerifier>, TlsError> {
        let builder = |roots: &Arc<_>| WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider.clone());
        match &self.client_certificates {
            ClientCertificates::No => return Ok(Arc::new(NoClientAuth)),
            ClientCertificates::Optional(roots) => builder(roots).allow_unauthenticated(),
            ClientCertificates::Required(roots) => builder(roots),
        }
        .build()
        .map_err(|error| TlsError::Config(rustls::Error::General(error.to_string())))
    }

    fn config(
        &self,
        provider: &Arc<CryptoProvider>,
        verifier: Arc<dyn danger::ClientCertVerifier>,
        key: CertifiedKey,
    ) -> Result<ServerConfig, TlsError> {
        let versions: &[_] = match self.oldest {
            TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            TlsVersion::Tls13 => &[&version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(TlsError::Config)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols.clone_from(&self.alpn);
        config.require_ems = self.extended_master_secret;
        // Sessions resume by tickets, so that no table of them grows with the clients.
        config.ticketer = ring::Ticketer::new().map_err(TlsError::Config)?;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// Does handshakes. Clones share everything.
#[derive(Clone)]
pub struct TlsAcceptor {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    served: Vec<Served>,
    handshake_timeout: Duration,
    extended_master_secret: bool,
}

/// One certificate with a configuration of its own: which one a client was shown is then known for sure.
#[derive(Clone)]
struct Served {
    config: Arc<ServerConfig>,
    key: Arc<CertifiedKey>,
    end_point: Option<ChannelBinding>,
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("identities", &self.shared.served.len()).finish_non_exhaustive()
    }
}

impl TlsAcceptor {
    /// The same certificates and rules, for other application protocols (see [`TlsConfig::alpn`]).
    #[must_use]
    pub fn with_alpn<P: AsRef<[u8]>>(&self, protocols: impl IntoIterator<Item = P>) -> Self {
        let alpn: Vec<_> = protocols.into_iter().map(|name| name.as_ref().to_vec()).collect();
        let mut shared = Shared::clone(&self.shared);
        for served in &mut shared.served {
            Arc::make_mut(&mut served.config).alpn_protocols.clone_from(&alpn);
        }
        Self { shared: Arc::new(shared) }
    }

    /// Does the server's side of a handshake.
    ///
    /// # Errors
    ///
    /// The client did not speak TLS, was not done in time, hung up, or there was no agreement. Where the client speaks
    /// TLS it has been sent an alert.
    pub async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, TlsInfo), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.shared.handshake_timeout;
        match tokio::time::timeout(limit, self.shake_hands(stream)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(HandshakeError::Closed),
            Ok(Err(error)) => Err(HandshakeError::Failed(error)),
            Err(_) => Err(HandshakeError::TimedOut(limit)),
        }
    }

    async fn shake_hands<S>(&self, stream: S) -> io::Result<(TlsStream<S>, TlsInfo)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let Some(served) = self.choose(&start.client_hello()) else {
            return Err(io::Error::other("there is no certificate"));
        };
        let stream = start.into_stream(served.config.clone()).await?;
        let info = self.info(stream.get_ref().1, served);
        Ok((stream, info))
    }

    /// The certificate for a client: see [`TlsConfig::identity`].
    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Served> {
        let first = self.shared.served.first();
        if self.shared.served.len() < 2 {
            return first;
        }
        let Some(name) = hello.server_name().and_then(|name| ServerName::try_from(name).ok()) else { return first };
        let mut good = self.shared.served.iter().filter(|served| {
            served
                .key
                .end_entity_cert()
                .ok()
                .and_then(|own| ParsedCertificate::try_from(own).ok())
                .is_some_and(|own| verify_server_name(&own, &name).is_ok())
        });
        let verifiable = |served: &&Served| served.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let any = good.clone().next();
        good.find(verifiable).or(any).or(first)
    }

    fn info(&self, session: &ServerConnection, served: &Served) -> TlsInfo {
        let mut info = TlsInfo::default();
        let version = session.protocol_version();
        info.version = match version {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
            other => format!("{other:?}"),
        };
        info.cipher = session
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str().map(str::to_owned))
            .unwrap_or_default();
        info.server_name = session.server_name().map(str::to_owned);
        info.alpn = session.alpn_protocol().map(<[u8]>::to_vec);
        info.client_certificates = session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let unique = version == Some(ProtocolVersion::TLSv1_3) || self.shared.extended_master_secret;
        info.exporter = unique.then(|| binding::exporter(session)).flatten();
        info.server_end_point.clone_from(&served.end_point);
        info
    }
}

/// Why there is no [`TlsAcceptor`].
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
    /// A file is not well-formed PEM.
    #[error("{}: not a PEM file: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file has no certificate in it.
    #[error("{}: no certificate in it", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file has no private key in it.
    #[error("{}: no private key in it", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
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
    /// No certificate was given.
    #[error("TLS without a certificate")]
    NoIdentity,
    /// Rustls refuses the whole.
    #[error("TLS: {0}")]
    Config(#[source] rustls::Error),
}

/// Why a handshake failed.
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
    #[error("{0}")]
    Failed(#[source] io::Error),
}
