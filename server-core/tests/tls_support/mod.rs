//! An authority that signs what a test needs, and handshakes with rustls as the client.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pillarbox_proto_core::connection::TlsInfo;
use pillarbox_server_core::tls::{TlsAcceptor, TlsConfig, TlsIdentity};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion, version};
use tokio_rustls::{TlsConnector, rustls};

pub const HOST: &str = "mail.example.org";

/// A certificate, its key, and both as PEM.
pub struct Made {
    pub der: CertificateDer<'static>,
    pub pem: String,
    pub key_pem: String,
}

impl Made {
    pub fn key(&self) -> PrivateKeyDer<'static> {
        use rustls_pki_types::pem::PemObject;
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap()
    }

    pub fn identity(&self) -> TlsIdentity {
        TlsIdentity::new(vec![self.der.clone()], self.key())
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&certificate, &self.pem).unwrap();
        std::fs::write(&key, &self.key_pem).unwrap();
        (certificate, key)
    }
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut wanted = CertificateParams::default();
        wanted.distinguished_name.push(DnType::CommonName, name);
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let own = wanted.self_signed(&key).unwrap();
        Self { der: own.der().clone(), pem: own.pem(), issuer: Issuer::new(wanted, key) }
    }

    pub fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Made {
        self.sign_key(&KeyPair::generate().unwrap(), change)
    }

    pub fn sign_key(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Made {
        let mut wanted = CertificateParams::default();
        wanted.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut wanted);
        // Strict clients want to see which of its keys the authority signed with.
        wanted.use_authority_key_identifier_extension = true;
        let made = wanted.signed_by(key, &self.issuer).unwrap();
        Made { der: made.der().clone(), pem: made.pem(), key_pem: key.serialize_pem() }
    }

    /// For a server of these names.
    pub fn server(&self, names: &[&str]) -> Made {
        self.sign(|wanted| {
            wanted.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        })
    }

    /// For a user of this name, who has a mail address; the number is for [`revoke`](Self::revoke).
    pub fn user(&self, name: &str, number: u64, change: impl FnOnce(&mut CertificateParams)) -> Made {
        self.sign(|wanted| {
            wanted.distinguished_name.push(DnType::CommonName, name);
            wanted.subject_alt_names = vec![SanType::Rfc822Name(format!("{name}@example.org").try_into().unwrap())];
            wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            wanted.serial_number = Some(SerialNumber::from(number));
            change(wanted);
        })
    }

    /// A list of what is revoked, good until that year, as PEM.
    pub fn revoke(&self, numbers: &[u64], until: i32) -> String {
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: numbers
                .iter()
                .map(|number| RevokedCertParams {
                    serial_number: SerialNumber::from(*number),
                    revocation_time: rcgen::date_time_ymd(2020, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        Arc::new(roots)
    }

    /// A client that trusts this authority, and speaks these versions.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_of(ring::default_provider(), versions)
    }

    pub fn client_of(&self, provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    /// A client that has a certificate, too.
    pub fn client_with(&self, own: &Made, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![own.der.clone()], own.key())
            .unwrap()
    }
}

pub const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
pub const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
pub const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// What either side says of a handshake that was done.
pub struct Done {
    pub info: TlsInfo,
    pub shown: CertificateDer<'static>,
    pub alpn: Option<Vec<u8>>,
    pub resumed: bool,
}

/// A handshake; what the server says when it fails.
pub async fn shake(acceptor: &TlsAcceptor, config: &ClientConfig, host: &str) -> Result<Done, String> {
    both(acceptor, config, host).await.0
}

/// A handshake, and what the client says of it when it fails there.
pub async fn both(acceptor: &TlsAcceptor, config: &ClientConfig, host: &str) -> (Result<Done, String>, Option<String>) {
    let (ours, theirs) = duplex(1 << 16);
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config.clone()));
    let (served, connected) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
    let client = |error: io::Error| error.to_string();
    match (served, connected) {
        (Ok((mut stream, info)), Ok(mut connected)) => {
            // The ticket for the next time comes before the first byte.
            stream.write_all(b"!").await.unwrap();
            stream.flush().await.unwrap();
            assert_eq!(connected.read_u8().await.unwrap(), b'!');
            (Ok(done(info, &connected)), None)
        }
        (Ok(_), Err(error)) => (Err("only the client failed".to_owned()), Some(client(error))),
        (Err(error), Err(told)) => (Err(error.to_string()), Some(client(told))),
        // In TLS 1.3 the client is done first, and hears of it when it reads.
        (Err(error), Ok(mut connected)) => (Err(error.to_string()), connected.read_u8().await.err().map(client)),
    }
}

fn done(info: TlsInfo, connected: &TlsStream<DuplexStream>) -> Done {
    let session: &rustls::ClientConnection = connected.get_ref().1;
    Done {
        info,
        shown: session.peer_certificates().unwrap()[0].clone().into_owned(),
        alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}

/// An authority, and the configuration of a server that it signed for.
pub fn usual() -> (Authority, TlsConfig) {
    let authority = Authority::new("Authority");
    let config = TlsConfig::new().identity(authority.server(&[HOST]).identity());
    (authority, config)
}
