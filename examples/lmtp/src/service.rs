//! What all LMTP connections of a server share.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::{Connection, Env};

use crate::conversation::LmtpConversation;
use crate::recipients::Recipients;

/// What LMTP is told by the program.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The name that this host calls itself, in the greeting and in `Received` lines.
    pub host_name: String,
    /// Whether and when TLS is used; the owner of the socket carries it out.
    pub tls_mode: TlsMode,
    /// The largest message, in octets. Default: 64 MiB.
    pub max_message_size: u64,
    /// Recipients of one message at most; RFC 5321 wants 100 at least (section 4.5.3.1.8). Default: 1,000.
    pub max_recipients: usize,
    /// Bad commands in a row that end the connection. Default: 10.
    pub bad_commands: u32,
    /// How long a client may say nothing. Default: five minutes (RFC 5321, section 4.5.3.2.7).
    pub idle: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host_name: "localhost".to_owned(),
            tls_mode: TlsMode::No,
            max_message_size: 64 << 20,
            max_recipients: 1000,
            bad_commands: 10,
            idle: Some(Duration::from_secs(5 * 60)),
        }
    }
}

/// LMTP for some recipients: makes a conversation for each connection. Cheap to clone.
#[derive(Clone)]
pub struct LmtpService {
    pub(crate) recipients: Arc<dyn Recipients>,
    pub(crate) config: Arc<Config>,
    pub(crate) env: Arc<dyn Env>,
}

impl LmtpService {
    /// A service that delivers to these recipients.
    #[must_use]
    pub fn new(recipients: Arc<dyn Recipients>, config: Config, env: Arc<dyn Env>) -> Self {
        Self { recipients, config: Arc::new(config), env }
    }

    /// A conversation with a client that has connected at this time.
    #[must_use]
    pub fn connect(&self, connection: Connection, now: Instant) -> LmtpConversation {
        LmtpConversation::new(self.clone(), connection, now)
    }
}

impl fmt::Debug for LmtpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LmtpService").field("config", &self.config).finish_non_exhaustive()
    }
}
