//! What is known about a client's connection.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls_pki_types::CertificateDer;

use crate::auth::Identity;
use crate::observe::Observer;

/// One client connection, as the backend and the protocols see it.
///
/// It tells the peer of the socket from the client that a trusted proxy named: [`Connection::client`] is what access
/// control and logs mean by "address".
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Connection {
    /// A short name of the session, unique among the live ones of this process; stands on every log line.
    pub id: SessionId,
    /// The listener or service that accepted it, for logs and policies.
    pub service: Arc<str>,
    /// The other end of the socket; `None` where there is none (standard input, an in-process duplex).
    pub peer: Option<SocketAddr>,
    /// Our end of the socket.
    pub local: Option<SocketAddr>,
    /// The client's address and the address that it connected to, as a trusted proxy named them.
    pub proxied: Option<(SocketAddr, SocketAddr)>,
    /// The TLS layer, once there is one.
    pub tls: Option<Arc<TlsInfo>>,
    /// Whether its stream is the standard input and output that this process was started with, by whoever is the client. Not
    /// so where these are a connection that somebody else has accepted.
    pub standard_input: bool,
    /// Whether something outside protects the bytes (a TLS proxy, a tunnel, a local socket): plain-text passwords are
    /// then as safe as under TLS, and [`TlsMode::Required`] has what it asks for. Where the strength of that layer is
    /// given as a SASL security strength factor (RFC 4422, section 3.7), this is a factor of 2 or more: 0 is none, and 1
    /// keeps bytes from being changed, not from being read. Nothing else depends on the factor, as no mechanism here
    /// puts a security layer of its own on the connection.
    pub externally_secured: bool,
    /// Who the client is, where that is known before it says a word (by ident, by a program, by the operating system).
    /// IMAP greets it with `PREAUTH` (RFC 9051, section 7.1.4); POP3 has no such greeting and asks for a login. Under
    /// [`TlsMode::Required`] it counts only where the connection [is secure](Self::is_secure), as a client can't give
    /// STARTTLS after that greeting.
    pub preauth: Option<Identity>,
    /// Take nobody but clients that are known beforehand: where [`preauth`](Self::preauth) has nobody, or an account that
    /// can't be opened, IMAP ends the connection without a byte.
    pub preauth_only: bool,
    /// A word for every client that connects, shown right after the greeting where the protocol has a place for it
    /// (IMAP: `* OK [ALERT]`). One line.
    pub notice: Option<Arc<str>>,
    /// Set, the service is closed to this client for the time being: the text takes the place of the greeting, and the
    /// connection ends (IMAP `* BYE [ALERT]`, POP3 `-ERR [SYS/TEMP]`). One line.
    pub closed: Option<Arc<str>>,
    /// The name in the client's certificate, as a trusted proxy that took the TLS layer off has verified it.
    pub certificate_name: Option<Arc<str>>,
    /// The name that a proxy has for this connection, for logs.
    pub proxy_id: Option<Arc<str>>,
    /// Is told what happens in the session.
    pub observer: Option<Arc<dyn Observer>>,
    /// See [`keep`](Self::keep).
    kept: Arc<Kept>,
}

impl Connection {
    /// A connection about which nothing is known yet.
    #[must_use]
    pub fn new(id: SessionId) -> Self {
        Self { id, ..Self::default() }
    }

    /// The client's address: the one that a trusted proxy named, else the socket's peer.
    #[must_use]
    pub fn client(&self) -> Option<SocketAddr> {
        self.proxied.map(|(client, _)| client).or(self.peer)
    }

    /// The address that the client connected to.
    #[must_use]
    pub fn server(&self) -> Option<SocketAddr> {
        self.proxied.map(|(_, server)| server).or(self.local)
    }

    /// Keeps a value until the connection ends in whatever way: until the last clone of this `Connection` is dropped. It
    /// takes the place of a value of the same type that was kept before, which is dropped first.
    ///
    /// So a backend that counts sessions has something that lives as long as one, though it is asked to open an account
    /// only once: what it keeps here gives back in its `Drop` what the session has taken.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use pillarbox_proto_core::Connection;
    ///
    /// let slots = Arc::new(());
    /// let connection = Connection::default();
    /// connection.keep(Arc::clone(&slots));
    /// assert_eq!(Arc::strong_count(&slots), 2);
    /// drop(connection);
    /// assert_eq!(Arc::strong_count(&slots), 1);
    /// ```
    pub fn keep<T: Any + Send + Sync>(&self, value: T) {
        self.let_go::<T>();
        self.kept.lock().push(Box::new(value));
    }

    /// Drops the value of this type that is [kept](Self::keep), if there is one.
    pub fn let_go<T: Any + Send + Sync>(&self) {
        let mut kept = self.kept.lock();
        let value = kept.iter().position(|value| (**value).is::<T>()).map(|at| kept.swap_remove(at));
        // Its `drop` may come here again.
        drop(kept);
        drop(value);
    }

    /// Whether secrets may pass: under TLS, or protected from outside.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.tls.is_some() || self.externally_secured
    }
}

/// What lives as long as a connection.
#[derive(Default)]
struct Kept(Mutex<Vec<Box<dyn Any + Send + Sync>>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Vec<Box<dyn Any + Send + Sync>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.lock().len())
    }
}

/// A session's name in logs: eight characters, letters and digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// The name for this number; numbers that differ in their low 47 bits have different names.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut rest = self.0;
        let mut text = [0_u8; 8];
        for place in text.iter_mut().rev() {
            *place = DIGITS[(rest % 62) as usize];
            rest /= 62;
        }
        text.iter().try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// When a listener's connections are under TLS. The listener carries it out; the protocols look at it to decide what
/// they offer and what they allow before the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// Never: STARTTLS and STLS are neither offered nor accepted.
    #[default]
    No,
    /// When the client asks for it with STARTTLS or STLS.
    OnDemand,
    /// As [`OnDemand`](Self::OnDemand), and nothing that names a user or touches mail is accepted before it.
    Required,
    /// From the first byte (RFC 8314, "implicit TLS"): STARTTLS and STLS are not offered.
    Connection,
}

impl TlsMode {
    /// Whether a connection in this mode can be upgraded by the client: it is offered STARTTLS or STLS.
    #[must_use]
    pub const fn upgrades(self) -> bool {
        matches!(self, Self::OnDemand | Self::Required)
    }

    /// Whether this mode needs a certificate.
    #[must_use]
    pub const fn needs_certificate(self) -> bool {
        !matches!(self, Self::No)
    }
}

/// What a completed TLS handshake tells the protocols.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsInfo {
    /// Protocol version, such as `TLSv1.3`.
    pub version: String,
    /// Cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The host name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The application protocol agreed on (ALPN).
    pub alpn: Option<Vec<u8>>,
    /// The client's certificate chain, its own first; empty when it showed none.
    pub client_certificates: Vec<CertificateDer<'static>>,
    /// Channel binding data of type `tls-exporter` (RFC 9266); `None` where the session does not give it safely.
    pub exporter: Option<ChannelBinding>,
    /// Channel binding data of type `tls-server-end-point` (RFC 5929), of the certificate that was shown.
    pub server_end_point: Option<ChannelBinding>,
}

/// Channel binding data. Its bytes tie a login to one TLS session, so `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelBinding(Arc<[u8]>);

impl ChannelBinding {
    /// Takes the data.
    #[must_use]
    pub fn new(data: &[u8]) -> Self {
        Self(data.into())
    }

    /// The data.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelBinding(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_lives_as_long_as_the_last_clone() {
        let (one, two, other) = (Arc::new(1_u8), Arc::new(2_u8), Arc::new("text"));
        let connection = Connection::default();
        connection.keep(Arc::clone(&one));
        connection.keep(Arc::clone(&other));
        connection.clone().keep(Arc::clone(&two));
        let counts = || [Arc::strong_count(&one), Arc::strong_count(&two), Arc::strong_count(&other)];
        assert_eq!(counts(), [1, 2, 2], "one of each type");
        let clone = connection.clone();
        drop(connection);
        assert_eq!(counts(), [1, 2, 2]);
        clone.let_go::<Arc<u8>>();
        clone.let_go::<Arc<u8>>();
        assert_eq!(counts(), [1, 1, 2]);
        drop(clone);
        assert_eq!(counts(), [1, 1, 1]);
    }

    #[test]
    fn session_names_are_eight_distinct_characters() {
        let names: std::collections::HashSet<_> = (0..10_000).map(|n| SessionId::new(n).to_string()).collect();
        assert_eq!(names.len(), 10_000);
        assert!(names.iter().all(|name| name.len() == 8));
    }
}
