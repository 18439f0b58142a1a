//! Handshakes.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pillarbox_proto_core::connection::{ChannelBinding, TlsInfo};
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::{Acceptor, ClientHello, ServerConnection, danger};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, HandshakeKind, ProtocolVersion, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::names::wildcard;
use super::{HandshakeError, TlsConfig, TlsError, binding};

/// Does handshakes. Clones share everything, also what [`reload`](Self::reload) changes.
#[derive(Clone)]
pub struct TlsAcceptor {
    current: Arc<RwLock<Current>>,
    /// Application protocols in place of the configuration's; set by [`with_alpn`](Self::with_alpn).
    alpn: Option<Arc<[Vec<u8>]>>,
}

/// The configuration, and what was made of it for other application protocols. It goes as a whole, with its keys.
struct Current {
    shared: Arc<Shared>,
    derived: HashMap<Arc<[Vec<u8>]>, Arc<Shared>>,
}

impl Current {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, derived: HashMap::new() }
    }
}

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) served: Vec<Served>,
    /// By host name in lower case, indexes of `served`: names that were given, then the certificates' own.
    pub(super) names: [HashMap<String, Vec<usize>>; 2],
    pub(super) verifier: Arc<dyn danger::ClientCertVerifier>,
    pub(super) handshake_timeout: Duration,
    pub(super) extended_master_secret: bool,
}

/// One certificate with a configuration of its own: which one a client was shown is then known for sure.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) config: Arc<ServerConfig>,
    pub(super) key: Arc<CertifiedKey>,
    pub(super) end_point: Option<ChannelBinding>,
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("identities", &self.current().served.len()).finish_non_exhaustive()
    }
}

impl TlsAcceptor {
    pub(super) fn new(shared: Shared) -> Self {
        Self { current: Arc::new(RwLock::new(Current::new(Arc::new(shared)))), alpn: None }
    }

    /// The same certificates and rules, for other application protocols (see [`TlsConfig::alpn`]). It keeps them when
    /// the rest is [reloaded](Self::reload).
    #[must_use]
    pub fn with_alpn<P: AsRef<[u8]>>(&self, protocols: impl IntoIterator<Item = P>) -> Self {
        let alpn = protocols.into_iter().map(|name| name.as_ref().to_vec()).collect();
        Self { current: self.current.clone(), alpn: Some(alpn) }
    }

    /// Puts another configuration in place of the one there is.
    ///
    /// All clones of this acceptor, and all that were made of it [`with_alpn`](Self::with_alpn), take it for the next
    /// handshake that they begin. Handshakes under way are finished, and connections go on, with the one that they began
    /// with. Sessions from before are not resumed.
    ///
    /// # Errors
    ///
    /// As for [`TlsConfig::build`]; nothing changes then.
    pub fn reload(&self, config: TlsConfig) -> Result<(), TlsError> {
        self.put(Arc::new(config.shared()?));
        Ok(())
    }

    /// As [`reload`](Self::reload), with the configuration of another acceptor, which can't fail: a program with several
    /// acceptors builds all the new ones first, and changes all of them or none. Later changes of the other one are not
    /// followed. Where the other one was made [`with_alpn`](Self::with_alpn), these protocols come with it.
    pub fn replace(&self, other: &Self) {
        self.put(other.current());
    }

    fn put(&self, shared: Arc<Shared>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current::new(shared);
    }

    fn current(&self) -> Arc<Shared> {
        let read = || self.current.read().unwrap_or_else(PoisonError::into_inner);
        let Some(alpn) = &self.alpn else { return read().shared.clone() };
        if let Some(made) = read().derived.get(alpn) {
            return made.clone();
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let Current { shared, derived } = &mut *current;
        derived.entry(alpn.clone()).or_insert_with(|| Arc::new(shared.with_alpn(alpn))).clone()
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
        let shared = self.current();
        let limit = shared.handshake_timeout;
        match tokio::time::timeout(limit, shared.shake_hands(stream)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(HandshakeError::Closed),
            Ok(Err(error)) => Err(HandshakeError::Failed(error)),
            Err(_) => Err(HandshakeError::TimedOut(limit)),
        }
    }
}

impl Shared {
    fn with_alpn(&self, alpn: &[Vec<u8>]) -> Self {
        let mut shared = self.clone();
        for served in &mut shared.served {
            Arc::make_mut(&mut served.config).alpn_protocols = alpn.to_vec();
        }
        shared
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
        let session = stream.get_ref().1;
        self.verify_again(session).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let info = self.info(session, served);
        Ok((stream, info))
    }

    /// A client's certificate that was good when a ticket was given may have expired since.
    fn verify_again(&self, session: &ServerConnection) -> Result<(), rustls::Error> {
        if session.handshake_kind() != Some(HandshakeKind::Resumed) || !self.verifier.offer_client_auth() {
            return Ok(());
        }
        match session.peer_certificates().and_then(<[_]>::split_first) {
            Some((own, others)) => self.verifier.verify_client_cert(own, others, UnixTime::now()).map(drop),
            None if self.verifier.client_auth_mandatory() => Err(rustls::Error::NoCertificatesPresented),
            None => Ok(()),
        }
    }

    /// The certificate for a client: see [`TlsConfig::identity`] and [`TlsConfig::identity_for`].
    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Served> {
        let first = self.served.first();
        let Some(name) = hello.server_name().map(str::to_ascii_lowercase) else { return first };
        let star = wildcard(&name);
        let spellings = || [Some(&name), star.as_ref()].into_iter().flatten();
        let known = |names: &HashMap<String, Vec<usize>>| -> Vec<&Served> {
            let indexes = spellings().filter_map(|name| names.get(name)).flatten();
            indexes.filter_map(|index| self.served.get(*index)).collect()
        };
        let verifiable = |served: &&Served| served.key.key.choose_scheme(hello.signature_schemes()).is_some();
        // What was given for a name is the only choice for it.
        let good = self.names.iter().map(known).find(|good| !good.is_empty()).unwrap_or_default();
        good.iter().copied().find(verifiable).or(good.first().copied()).or(first)
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
        let unique = version == Some(ProtocolVersion::TLSv1_3) || self.extended_master_secret;
        info.exporter = unique.then(|| binding::exporter(session)).flatten();
        info.server_end_point.clone_from(&served.end_point);
        info
    }
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
    use tokio_rustls::rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    };

    use super::*;
    use crate::tls::{ClientCertificates, TlsIdentity};

    fn self_signed(name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (made.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// As if time had passed since the last handshake.
    #[derive(Debug)]
    struct Expired;

    impl ClientCertVerifier for Expired {
        fn root_hint_subjects(&self) -> &[DistinguishedName] {
            &[]
        }
        fn verify_client_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: UnixTime,
        ) -> Result<ClientCertVerified, rustls::Error> {
            Err(CertificateError::Expired.into())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(CertificateError::BadSignature.into())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(CertificateError::BadSignature.into())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn a_certificate_in_a_ticket_is_verified_again() {
        let ((server, key), (own, own_key)) = (self_signed("mail.example.org"), self_signed("client.example.org"));
        let roots = |certificate: &CertificateDer<'static>| {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).unwrap();
            Arc::new(roots)
        };
        let config = TlsConfig::new()
            .identity(TlsIdentity::new(vec![server.clone()], key))
            .client_certificates(ClientCertificates::Optional(roots(&own)));
        for versions in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let now = TlsAcceptor::new(config.clone().shared().unwrap());
            let mut shared = Shared::clone(&now.current());
            shared.verifier = Arc::new(Expired);
            let later = TlsAcceptor::new(shared);
            let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[versions])
                .unwrap()
                .with_root_certificates(roots(&server))
                .with_client_auth_cert(vec![own.clone()], own_key.clone_key())
                .unwrap();
            let connector = TlsConnector::from(Arc::new(client));
            for (acceptor, error) in [(now, None), (later, Some("the client's certificate has expired"))] {
                let (ours, theirs) = duplex(1 << 16);
                let name = ServerName::try_from("mail.example.org").unwrap();
                let (served, connected) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
                let mut connected = connected.unwrap();
                if error.is_none() {
                    let (mut stream, info) = served.unwrap();
                    assert_eq!(info.client_certificates.len(), 1);
                    stream.write_all(b"!").await.unwrap();
                    stream.flush().await.unwrap();
                    connected.read_u8().await.unwrap();
                } else {
                    assert_eq!(connected.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
                    assert_eq!(served.err().map(|error| error.to_string()).as_deref(), error);
                }
            }
        }
    }

    #[tokio::test]
    async fn a_connection_does_not_keep_the_configuration_that_it_began_with() {
        let config = |name| {
            let (certificate, key) = self_signed(name);
            (TlsConfig::new().identity(TlsIdentity::new(vec![certificate.clone()], key)), certificate)
        };
        for versions in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let ((old, certificate), (new, _)) = (config("mail.example.org"), config("mail.example.org"));
            let acceptor = old.build().unwrap();
            let base = acceptor.clone();
            let acceptor = acceptor.with_alpn(["imap"]);
            let before = [&base, &acceptor].map(|acceptor| Arc::downgrade(&acceptor.current().served[0].config));
            let mut roots = RootCertStore::empty();
            roots.add(certificate).unwrap();
            let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[versions])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let (ours, theirs) = duplex(1 << 16);
            let name = ServerName::try_from("mail.example.org").unwrap();
            let connector = TlsConnector::from(Arc::new(client));
            let (served, connected) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
            let ((mut stream, _), mut connected) = (served.unwrap(), connected.unwrap());
            acceptor.reload(new).unwrap();
            assert_eq!(before.map(|config| config.strong_count()), [0, 0], "its key is gone with it");
            stream.write_all(b"!").await.unwrap();
            stream.flush().await.unwrap();
            assert_eq!(connected.read_u8().await.unwrap(), b'!');
        }
    }
}
