//! Why connections are not served.

use std::fmt;

use tracing::debug;

use crate::limits::LimitReached;

/// Why a connection was turned away before its conversation began. It got no byte, but for what TLS says in a handshake
/// that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// The server has [as many connections](crate::Server::max_connections) as it may have.
    ServerFull,
    /// The listener has [as many connections](crate::Listener::max_connections) as it may have.
    ListenerFull,
    /// All sessions together take [as much memory](crate::Server::memory_ceiling) as they may.
    Memory,
    /// A trusted proxy sent no PROXY header, or a broken one.
    ProxyHeader,
    /// The address is [blocked](crate::Server::penalties), after failed logins or by the operator.
    Blocked,
    /// A [gate of the listener](crate::Listener::gate) let it not pass.
    ListenerGate,
    /// A [gate of the server](crate::Server::gate) let it not pass.
    ServerGate,
    /// The address has [as many connections](crate::Server::address_limits) as one may have.
    Address,
    /// The network has as many connections as one may have.
    Network,
    /// The address connects too often.
    Rate,
    /// The TLS handshake failed.
    Handshake,
    /// Nobody knows who that is, and the listener is for [known clients](crate::Listener::preauth_only).
    Unidentified,
    /// The server is going away.
    Closing,
    /// It was [handed in](crate::ServerHandle::serve) for a listener that there is not.
    NoListener,
}

impl Refused {
    /// Its name, for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServerFull => "too-many-connections",
            Self::ListenerFull => "too-many-connections-of-listener",
            Self::Memory => "memory",
            Self::ProxyHeader => "proxy-header",
            Self::Blocked => "blocked",
            Self::ListenerGate => "acl",
            Self::ServerGate => "global-acl",
            Self::Address => "too-many-connections-of-address",
            Self::Network => "too-many-connections-of-network",
            Self::Rate => "rate",
            Self::Handshake => "handshake",
            Self::Unidentified => "unidentified",
            Self::Closing => "closing",
            Self::NoListener => "no-such-listener",
        }
    }

    /// The one place where every refusal is noted.
    pub(crate) fn note(self, listener: &str, peer: Option<std::net::SocketAddr>, reason: &dyn fmt::Display) {
        debug!(listener, peer = peer.map(tracing::field::display), cause = self.name(), %reason, "refused");
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Refused {}

impl From<LimitReached> for Refused {
    fn from(limit: LimitReached) -> Self {
        match limit {
            LimitReached::Address => Self::Address,
            LimitReached::Network => Self::Network,
            LimitReached::Rate => Self::Rate,
            LimitReached::Memory => Self::Memory,
            _ => Self::Blocked,
        }
    }
}
