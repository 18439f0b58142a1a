//! What a TLS server needs, gathered and put together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::ServerName;
use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use tokio_rustls::rustls::server::{NoServerSessionStorage, danger};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, ServerConfig};
use tracing::warn;

use super::acceptor::{Served, Shared};
use super::clients::{ClientCertificates, RevocationLists};
use super::names::CertificateNames;
use super::priorities::Priorities;
use super::suites::{CipherSuite, TlsVersion};
use super::{TlsAcceptor, TlsError, TlsIdentity, binding};

/// Gathers what a [`TlsAcceptor`] needs.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    identities: Vec<TlsIdentity>,
    named: Vec<(Vec<String>, TlsIdentity)>,
    alpn: Vec<Vec<u8>>,
    client_certificates: ClientCertificates,
    revoked: Option<RevocationLists>,
    oldest: TlsVersion,
    newest: TlsVersion,
    cipher_suites: Option<Vec<CipherSuite>>,
    groups: Option<Vec<&'static dyn SupportedKxGroup>>,
    ignore_client_order: bool,
    extended_master_secret: bool,
    session_tickets: bool,
    handshake_timeout: Duration,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsConfig {
    /// No certificate yet, no client certificates, TLS 1.2 and 1.3 with all cipher suites, in the client's order, ten
    /// seconds for a handshake.
    #[must_use]
    pub fn new() -> Self {
        Self {
            identities: Vec::new(),
            named: Vec::new(),
            alpn: Vec::new(),
            client_certificates: ClientCertificates::No,
            revoked: None,
            oldest: TlsVersion::Tls12,
            newest: TlsVersion::Tls13,
            cipher_suites: None,
            groups: None,
            ignore_client_order: false,
            extended_master_secret: false,
            session_tickets: true,
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

    /// Adds a certificate with its key for these host names only, which come before the certificates' own names.
    ///
    /// A name is a host's, or `*.` and a domain for all hosts right in it; a host's own name comes before a star. The
    /// certificate must be valid for each. Several certificates for one name, with different kinds of keys, are
    /// possible. A client that asks for another name gets one of those that [`identity`](Self::identity) added; when
    /// there is none, the first one of all.
    #[must_use]
    pub fn identity_for<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>, identity: TlsIdentity) -> Self {
        self.named.push((names.into_iter().map(|name| name.as_ref().to_owned()).collect(), identity));
        self
    }

    /// The application protocols that are served (ALPN, RFC 7301), the preferred one first. Default: none, which serves
    /// whatever a client names. A client that names none is served; one that names only others is turned away with the
    /// alert `no_application_protocol`.
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

    /// Which certificates of clients have been revoked. Default: none is looked up.
    #[must_use]
    pub fn revoked(mut self, lists: RevocationLists) -> Self {
        self.revoked = Some(lists);
        self
    }

    /// The oldest version that is spoken.
    #[must_use]
    pub fn oldest_version(mut self, oldest: TlsVersion) -> Self {
        self.oldest = oldest;
        self
    }

    /// The newest version that is spoken. There is no reason to hold back TLS 1.3 but the faults of other programs.
    #[must_use]
    pub fn newest_version(mut self, newest: TlsVersion) -> Self {
        self.newest = newest;
        self
    }

    /// The cipher suites, the preferred one first. A version for which none is here is not spoken. Default:
    /// [all](CipherSuite::all).
    #[must_use]
    pub fn cipher_suites(mut self, suites: impl IntoIterator<Item = CipherSuite>) -> Self {
        self.cipher_suites = Some(suites.into_iter().collect());
        self
    }

    /// Whether our order of cipher suites decides and not the client's. Default: no; clients know whether their
    /// hardware is quick at AES.
    #[must_use]
    pub fn ignore_client_order(mut self, ignored: bool) -> Self {
        self.ignore_client_order = ignored;
        self
    }

    /// Takes versions, cipher suites, groups and flags from a priority string, in place of what was set before.
    #[must_use]
    pub fn priorities(mut self, priorities: &Priorities) -> Self {
        // They are never empty.
        self.oldest = priorities.versions().first().copied().unwrap_or(TlsVersion::Tls12);
        self.newest = priorities.versions().last().copied().unwrap_or(TlsVersion::Tls13);
        self.cipher_suites = Some(priorities.cipher_suites().to_vec());
        self.groups = Some(priorities.groups().collect());
        self.ignore_client_order = priorities.server_precedence;
        self.extended_master_secret = priorities.extended_master_secret;
        self.session_tickets = priorities.tickets;
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

    /// Whether clients get tickets with which they resume a session, which saves both sides most of the next handshake.
    /// Default: yes.
    ///
    /// Nothing is kept here for it but keys, new ones every six hours. A ticket is good for the certificate for which it
    /// was given, and no longer than this configuration: after a [reload](TlsAcceptor::reload) all handshakes are whole
    /// ones again. A client's certificate is in its ticket and is verified again whenever the session is resumed.
    #[must_use]
    pub fn session_tickets(mut self, given: bool) -> Self {
        self.session_tickets = given;
        self
    }

    /// How long a whole handshake may take.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// What is not wrong enough to be an error: certificates that have expired or are not valid yet, revocation lists
    /// that should have been renewed. One line each, with the file's name.
    ///
    /// [`build`](Self::build) logs them.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let lists = self.revoked.iter().flat_map(|lists| lists.untimely(now));
        self.all().flat_map(|identity| identity.untimely(now)).chain(lists).collect()
    }

    fn all(&self) -> impl Iterator<Item = &TlsIdentity> {
        self.identities.iter().chain(self.named.iter().map(|(_, identity)| identity))
    }

    /// Puts it together.
    ///
    /// # Errors
    ///
    /// There is no certificate, a key does not belong to its certificate, a certificate is not valid for a name that it
    /// was given, rustls can't use one of them, or the versions and cipher suites leave nothing to speak.
    pub fn build(self) -> Result<TlsAcceptor, TlsError> {
        self.shared().map(TlsAcceptor::new)
    }

    pub(super) fn shared(self) -> Result<Shared, TlsError> {
        let provider = self.provider()?;
        let versions = self.versions(&provider)?;
        let verifier = self.client_certificates.verifier(self.revoked.as_ref(), &provider)?;
        let mut served = Vec::new();
        let mut names = Names::default();
        for (index, identity) in self.all().enumerate() {
            let facts = identity.facts()?;
            let key = CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), &provider)
                .map_err(|source| identity.error(source))?;
            self.usable(&provider, &versions, identity, &key)?;
            match index.checked_sub(self.identities.len()).and_then(|index| self.named.get(index)) {
                None => names.own(index, &facts.names),
                Some((wanted, _)) => names.given(index, wanted, identity, &facts.names)?,
            }
            served.push(Served {
                end_point: key.end_entity_cert().ok().and_then(|own| binding::server_end_point(own)),
                config: Arc::new(self.config(&provider, &versions, verifier.clone(), key.clone())?),
                key: Arc::new(key),
            });
        }
        if served.is_empty() {
            return Err(TlsError::NoIdentity);
        }
        for warning in self.warnings() {
            warn!("{warning}");
        }
        Ok(Shared {
            served,
            names: names.merged(),
            verifier,
            handshake_timeout: self.handshake_timeout,
            extended_master_secret: self.extended_master_secret,
        })
    }

    fn provider(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        let mut provider = ring::default_provider();
        if let Some(suites) = &self.cipher_suites {
            provider.cipher_suites = suites.iter().map(|suite| suite.0).collect();
        }
        if let Some(groups) = &self.groups {
            provider.kx_groups.clone_from(groups);
        }
        Ok(Arc::new(provider))
    }

    fn versions(&self, provider: &CryptoProvider) -> Result<Vec<TlsVersion>, TlsError> {
        let (oldest, newest) = (self.oldest, self.newest);
        if oldest > newest {
            return Err(TlsError::NoVersion { oldest, newest });
        }
        let wanted = TlsVersion::ALL.into_iter().filter(|version| (oldest..=newest).contains(version));
        let spoken: Vec<_> = wanted
            .clone()
            .filter(|version| provider.cipher_suites.iter().any(|suite| CipherSuite(*suite).version() == *version))
            .collect();
        if spoken.is_empty() {
            let versions = wanted.map(|version| version.to_string()).collect::<Vec<_>>().join(" or ");
            return Err(TlsError::NoCipherSuite { versions });
        }
        Ok(spoken)
    }

    /// In TLS 1.2 a cipher suite goes with one kind of key.
    fn usable(
        &self,
        provider: &CryptoProvider,
        versions: &[TlsVersion],
        identity: &TlsIdentity,
        key: &CertifiedKey,
    ) -> Result<(), TlsError> {
        let spoken = |suite: &&rustls::SupportedCipherSuite| versions.contains(&CipherSuite(**suite).version());
        let algorithm = key.key.algorithm();
        let mut suites = provider.cipher_suites.iter().filter(spoken);
        if suites.any(|suite| suite.usable_for_signature_algorithm(algorithm)) {
            return Ok(());
        }
        Err(TlsError::NoSuiteForKey { certificate: identity.name() })
    }

    fn config(
        &self,
        provider: &Arc<CryptoProvider>,
        versions: &[TlsVersion],
        verifier: Arc<dyn danger::ClientCertVerifier>,
        key: CertifiedKey,
    ) -> Result<ServerConfig, TlsError> {
        let versions: Vec<_> = versions.iter().map(|version| version.rustls()).collect();
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(TlsError::Config)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols.clone_from(&self.alpn);
        config.ignore_client_order = self.ignore_client_order;
        config.require_ems = self.extended_master_secret;
        // Sessions resume by tickets, so that no table of them grows with the clients.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.session_tickets {
            config.ticketer = ring::Ticketer::new().map_err(TlsError::Config)?;
        } else {
            config.send_tls13_tickets = 0;
        }
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// Which certificates are for a host name, the preferred one first.
#[derive(Default)]
struct Names {
    given: HashMap<String, Vec<usize>>,
    own: HashMap<String, Vec<usize>>,
}

impl Names {
    fn own(&mut self, index: usize, names: &CertificateNames) {
        for name in &names.dns_names {
            let known = self.own.entry(name.to_ascii_lowercase()).or_default();
            // One certificate may have the same name twice.
            if known.last() != Some(&index) {
                known.push(index);
            }
        }
    }

    fn given(
        &mut self,
        index: usize,
        wanted: &[String],
        identity: &TlsIdentity,
        names: &CertificateNames,
    ) -> Result<(), TlsError> {
        for name in wanted {
            let lower = name.to_ascii_lowercase();
            let host = lower.strip_prefix("*.").unwrap_or(&lower);
            if !matches!(ServerName::try_from(host), Ok(ServerName::DnsName(_))) {
                return Err(TlsError::BadName { name: name.escape_debug().to_string() });
            }
            if !names.covers(&lower) {
                let valid = match names.dns_names.as_slice() {
                    [] => "no host name".to_owned(),
                    all => all.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", "),
                };
                return Err(TlsError::NotValidFor { name: name.clone(), certificate: identity.name(), valid });
            }
            self.given.entry(lower).or_default().push(index);
        }
        Ok(())
    }

    /// Names that were given are not looked for among the certificates' own.
    fn merged(mut self) -> [HashMap<String, Vec<usize>>; 2] {
        self.given.shrink_to_fit();
        self.own.shrink_to_fit();
        [self.given, self.own]
    }
}
