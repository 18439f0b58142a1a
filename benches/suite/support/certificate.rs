//! One certificate for both sides of the run.

use std::sync::Arc;

use pillarbox_server_core::tls::{TlsAcceptor, TlsConfig, TlsIdentity};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The name that it is for.
pub(crate) const NAME: &str = "localhost";

/// A self-signed certificate.
pub(crate) struct Certificate {
    /// Also what a client in a process of its own is given to trust.
    pub(crate) der: CertificateDer<'static>,
    acceptor: TlsAcceptor,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let der = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let identity = TlsIdentity::new(vec![der.clone()], key);
        Self { acceptor: TlsConfig::new().identity(identity).build().unwrap(), der }
    }

    /// For a server, ours or bare.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

/// What a client needs to trust it.
pub(crate) fn client_config(der: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(der).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
