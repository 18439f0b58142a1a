//! The mechanisms, and which of them a client may use.

use std::fmt;

use crate::backend::{Questions, ScramHash};
use crate::connection::Connection;

/// A SASL mechanism that the library speaks as a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mechanism {
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN, which old clients use in place of PLAIN; it was never standardised.
    Login,
    /// EXTERNAL (RFC 4422, appendix A): the client's TLS certificate.
    External,
    /// SCRAM (RFC 5802, RFC 7677).
    Scram {
        /// The hash function.
        hash: ScramHash,
        /// Bound to the TLS channel (the `-PLUS` variants).
        plus: bool,
    },
    /// OAUTHBEARER (RFC 7628): an OAuth 2.0 bearer token.
    OauthBearer,
    /// XOAUTH2, the same in the form that came before OAUTHBEARER and was never standardised.
    Xoauth2,
    /// CRAM-MD5 (RFC 2195): a digest of a challenge and a shared secret.
    CramMd5,
    /// ANONYMOUS (RFC 4505): no credentials.
    Anonymous,
}

impl Mechanism {
    /// All of them, best first: the order in which clients see them. CRAM-MD5 comes late, since a user who has a
    /// password need not have a secret for it.
    const ALL: [Self; 11] = [
        Self::Scram { hash: ScramHash::Sha256, plus: true },
        Self::Scram { hash: ScramHash::Sha256, plus: false },
        Self::Scram { hash: ScramHash::Sha1, plus: true },
        Self::Scram { hash: ScramHash::Sha1, plus: false },
        Self::External,
        Self::OauthBearer,
        Self::Xoauth2,
        Self::Plain,
        Self::Login,
        Self::CramMd5,
        Self::Anonymous,
    ];

    /// The registered name, such as `SCRAM-SHA-256-PLUS`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::External => "EXTERNAL",
            Self::Scram { hash: ScramHash::Sha1, plus: false } => "SCRAM-SHA-1",
            Self::Scram { hash: ScramHash::Sha1, plus: true } => "SCRAM-SHA-1-PLUS",
            Self::Scram { hash: ScramHash::Sha256, plus: false } => "SCRAM-SHA-256",
            Self::Scram { hash: ScramHash::Sha256, plus: true } => "SCRAM-SHA-256-PLUS",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
            Self::CramMd5 => "CRAM-MD5",
            Self::Anonymous => "ANONYMOUS",
        }
    }

    /// The mechanism of this name, in any case; `None` for one that the library does not speak.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }

    /// Whether a client may use it here: the authenticator answers its question, the channel has what it needs, and no
    /// password or token goes over the wire readable unless `allow_plaintext` says that this is wanted.
    #[must_use]
    pub fn allowed(self, questions: &Questions, connection: &Connection, allow_plaintext: bool) -> bool {
        match self {
            Self::Plain | Self::Login => questions.password && (allow_plaintext || connection.is_secure()),
            Self::OauthBearer | Self::Xoauth2 => questions.token && (allow_plaintext || connection.is_secure()),
            Self::CramMd5 => questions.cram_md5,
            Self::Anonymous => questions.anonymous,
            Self::External => {
                let shown = connection.tls.as_ref().is_some_and(|tls| !tls.client_certificates.is_empty());
                questions.certificate && (shown || connection.certificate_name.is_some())
            }
            Self::Scram { hash, plus } => {
                let answered = match hash {
                    ScramHash::Sha1 => questions.scram_sha1,
                    ScramHash::Sha256 => questions.scram_sha256,
                };
                answered && (!plus || binds_channel(connection))
            }
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The mechanisms that a client may use on this connection, best first. CAPABILITY, CAPA and the check of an
/// AUTHENTICATE or AUTH command all go by this list. It is empty where none may be used.
#[must_use]
pub fn offered(questions: &Questions, connection: &Connection, allow_plaintext: bool) -> Vec<Mechanism> {
    Mechanism::ALL.into_iter().filter(|mechanism| mechanism.allowed(questions, connection, allow_plaintext)).collect()
}

fn binds_channel(connection: &Connection) -> bool {
    connection.tls.as_ref().is_some_and(|tls| tls.exporter.is_some() || tls.server_end_point.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::connection::{ChannelBinding, SessionId, TlsInfo};

    fn names(questions: &Questions, connection: &Connection, allow_plaintext: bool) -> Vec<&'static str> {
        offered(questions, connection, allow_plaintext).into_iter().map(Mechanism::name).collect()
    }

    #[test]
    fn names_are_parsed_in_any_case() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::parse(mechanism.name().as_bytes()), Some(mechanism));
            assert_eq!(Mechanism::parse(mechanism.name().to_lowercase().as_bytes()), Some(mechanism));
        }
        assert_eq!(Mechanism::parse(b"SCRAM-SHA-25"), None);
        assert_eq!(Mechanism::parse(b""), None);
    }

    #[test]
    fn the_offer_follows_from_the_channel() {
        let all = Questions { scram_sha256: true, scram_sha1: true, certificate: true, ..Questions::default() };
        let mut connection = Connection::new(SessionId::new(1));
        assert_eq!(names(&all, &connection, false), ["SCRAM-SHA-256", "SCRAM-SHA-1"]);
        assert_eq!(names(&all, &connection, true), ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]);
        connection.certificate_name = Some("told by a trusted proxy".into());
        assert_eq!(names(&all, &connection, false), ["SCRAM-SHA-256", "SCRAM-SHA-1", "EXTERNAL"]);
        connection.certificate_name = None;
        connection.tls = Some(Arc::new(TlsInfo {
            exporter: Some(ChannelBinding::new(b"binding")),
            client_certificates: vec![vec![1].into()],
            ..TlsInfo::default()
        }));
        let everything =
            ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "EXTERNAL", "PLAIN", "LOGIN"];
        assert_eq!(names(&all, &connection, false), everything);
        assert_eq!(names(&Questions::default(), &connection, false), ["PLAIN", "LOGIN"]);
        let rest = Questions {
            password: false,
            token: true,
            shared_secret: true,
            cram_md5: true,
            anonymous: true,
            ..Questions::default()
        };
        assert_eq!(names(&rest, &connection, false), ["OAUTHBEARER", "XOAUTH2", "CRAM-MD5", "ANONYMOUS"]);
        let open = Connection::new(SessionId::new(2));
        assert_eq!(names(&rest, &open, false), ["CRAM-MD5", "ANONYMOUS"]);
        assert_eq!(names(&rest, &open, true), ["OAUTHBEARER", "XOAUTH2", "CRAM-MD5", "ANONYMOUS"]);
        let apop = Questions { cram_md5: false, anonymous: false, token: false, ..rest };
        assert!(names(&apop, &connection, false).is_empty(), "a secret for APOP alone");
        connection.tls = Some(Arc::new(TlsInfo::default()));
        assert_eq!(names(&all, &connection, false), ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]);
    }
}
