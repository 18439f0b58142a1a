//! How a server speaks IMAP: what it offers, and where its limits are.

use std::time::Duration;

use pillarbox_proto_core::connection::TlsMode;

use crate::server_id::ServerId;
use crate::wire::limits::{FrameLimits, ParseLimits};

/// Settings of an IMAP service. One value serves all its connections.
///
/// ```
/// use pillarbox_imap_proto::{Config, LiteralMode};
///
/// let mut config = Config::default();
/// config.literal_mode = LiteralMode::Minus;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whether and when TLS is used. The owner of the socket carries it out; the session offers STARTTLS and refuses
    /// logins accordingly.
    pub tls_mode: TlsMode,
    /// Take passwords in plain text on connections that nothing protects. Off, LOGINDISABLED is shown there.
    pub allow_plaintext: bool,
    /// Refuse the LOGIN command always, also under TLS, and show LOGINDISABLED to everybody who has not logged in.
    /// AUTHENTICATE is not touched by it.
    pub login_disabled: bool,
    /// Which form of non-synchronizing literals is offered (RFC 7888).
    pub literal_mode: LiteralMode,
    /// The largest message that APPEND takes, in octets; the smaller of this and what the account says holds.
    pub append_limit: Option<u64>,
    /// What the greeting says after its capabilities.
    pub greeting: String,
    /// What ID answers (RFC 2971, section 3.3); without fields, NIL.
    pub id_fields: ServerId,
    /// Limits.
    pub limits: Limits,
    /// Time limits.
    pub timeouts: Timeouts,
}

impl Default for Config {
    /// Offers STARTTLS nowhere ([`TlsMode::No`]), takes no password without protection, LITERAL+, messages of up to
    /// 64 MiB.
    fn default() -> Self {
        Self {
            tls_mode: TlsMode::No,
            allow_plaintext: false,
            login_disabled: false,
            literal_mode: LiteralMode::Plus,
            append_limit: Some(64 << 20),
            greeting: "Pillarbox ready".into(),
            // Two short fields of different names are within the bounds.
            id_fields: ServerId::new([("name", "Pillarbox"), ("version", env!("CARGO_PKG_VERSION"))])
                .unwrap_or_default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Which non-synchronizing literals are offered; never both (RFC 7888, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteralMode {
    /// `LITERAL+`: of any size.
    Plus,
    /// `LITERAL-`: of at most 4,096 octets.
    Minus,
}

/// What a session may cost at most.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Framing before login.
    pub frame_before_login: FrameLimits,
    /// Framing after login.
    pub frame_after_login: FrameLimits,
    /// Parsing.
    pub parse: ParseLimits,
    /// Bad commands in a row that end the connection.
    pub bad_commands: u32,
    /// Failed logins that end the connection.
    pub failed_logins: u32,
    /// Octets of output that wait at most before the session works on, and reads on.
    pub output_high_water: usize,
    /// Octets of input that wait at most: a pipeline that fills it has to wait.
    pub input_high_water: usize,
}

impl Default for Limits {
    /// Ten bad commands, three failed logins, 64 KiB of output, 32 KiB of input.
    fn default() -> Self {
        Self {
            frame_before_login: FrameLimits::before_login(),
            frame_after_login: FrameLimits::after_login(),
            parse: ParseLimits::default(),
            bad_commands: 10,
            failed_logins: 3,
            output_high_water: 64 << 10,
            input_high_water: 32 << 10,
        }
    }
}

/// When a session ends by itself, or speaks by itself. `None`, like zero, is never.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the greeting to a successful login.
    pub login: Option<Duration>,
    /// Without any input from a client that has logged in. At least 30 minutes by the standard (RFC 9051, section 5.4).
    pub idle: Option<Duration>,
    /// In IDLE, a sign of life (`* OK Still here`) after so long without output.
    pub heartbeat: Option<Duration>,
}

impl Default for Timeouts {
    /// One minute to log in, 30 minutes idle, a sign of life every 2 minutes.
    fn default() -> Self {
        Self {
            login: Some(Duration::from_secs(60)),
            idle: Some(Duration::from_secs(30 * 60)),
            heartbeat: Some(Duration::from_secs(2 * 60)),
        }
    }
}
