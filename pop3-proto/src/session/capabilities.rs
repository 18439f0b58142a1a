//! What CAPA answers (RFC 2449, section 5), computed from the connection, the configuration and the backend.

use std::fmt::Write as _;

use pillarbox_proto_core::Output;
use pillarbox_proto_core::auth::{Mechanism, offered};
use pillarbox_proto_core::backend::{Policies, Questions};
use pillarbox_proto_core::connection::{Connection, TlsMode};

use crate::config::Config;

/// What a client may do on this connection, as it is now.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Logging in needs TLS first, and nothing but STLS leads there.
    pub(crate) tls_first: bool,
    /// STLS is possible.
    pub(crate) stls: bool,
    /// USER and PASS are possible.
    pub(crate) user: bool,
    /// APOP is possible.
    pub(crate) apop: bool,
    /// AUTH is possible with these.
    pub(crate) mechanisms: Vec<Mechanism>,
}

impl Offer {
    pub(crate) fn new(config: &Config, questions: &Questions, connection: &Connection) -> Self {
        let tls_first = config.tls_mode == TlsMode::Required && !connection.is_secure();
        let mechanisms = if tls_first { Vec::new() } else { offered(questions, connection, config.allow_plaintext) };
        Self {
            tls_first,
            stls: config.tls_mode.upgrades() && connection.tls.is_none(),
            user: !tls_first && questions.password && (config.allow_plaintext || connection.is_secure()),
            apop: !tls_first && questions.shared_secret,
            mechanisms,
        }
    }

    /// Writes the list. `login` is still to come: what only serves it is left out afterwards where its registration
    /// says so (STLS: RFC 2595, section 4).
    pub(crate) fn write(&self, config: &Config, policies: &Policies, login: bool, output: &mut Output) {
        output.put(b"TOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\n");
        // Only what may change by the login is marked so, and only before it (RFC 2449, sections 6.5 and 6.7).
        let user = |per_user: bool| if login && per_user { " USER" } else { "" };
        let tail = output.tail_mut();
        if let Some(seconds) = policies.login_delay.filter(|seconds| *seconds > 0) {
            let _ = write!(tail, "LOGIN-DELAY {seconds}{}\r\n", user(policies.login_delay_per_user));
        }
        let _ = match policies.expire {
            None => write!(tail, "EXPIRE NEVER\r\n"),
            Some(days) => write!(tail, "EXPIRE {days}{}\r\n", user(policies.expire_per_user)),
        };
        if self.user {
            output.put(b"USER\r\n");
        }
        if !self.mechanisms.is_empty() {
            output.put(b"SASL");
            for mechanism in &self.mechanisms {
                output.put(b" ");
                output.put(mechanism.name().as_bytes());
            }
            output.put(b"\r\n");
        }
        if self.tls_first {
            output.put(b"XTLSREQUIRED\r\n");
        }
        if self.stls && login {
            output.put(b"STLS\r\n");
        }
        // Both are told of in both states (RFC 6856, sections 2 and 3.1), and names in UTF-8 are taken from the start. UTF8
        // is refused while STLS is due, which must not follow it.
        if !self.tls_first {
            output.put(b"UTF8 USER\r\n");
        }
        if !config.languages.is_empty() {
            output.put(b"LANG\r\n");
        }
        if let Some(implementation) = &config.implementation {
            output.put(b"IMPLEMENTATION ");
            let printable = implementation.bytes().map(|byte| if matches!(byte, b' '..=b'~') { byte } else { b'?' });
            output.tail_mut().extend(printable.take(400));
            output.put(b"\r\n");
        }
        output.put(b".\r\n");
    }
}
