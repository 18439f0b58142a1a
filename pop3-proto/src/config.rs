//! How a server speaks POP3: what it offers, and where its limits are.

use std::time::Duration;

use pillarbox_proto_core::auth::framing;
use pillarbox_proto_core::connection::TlsMode;

use crate::texts::Language;

/// Settings of a POP3 service. One value serves all its connections.
///
/// ```
/// use pillarbox_pop3_proto::Config;
/// use pillarbox_proto_core::connection::TlsMode;
///
/// let mut config = Config::default();
/// config.host_name = "pop.example.org".into();
/// config.tls_mode = TlsMode::OnDemand;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// This host's name, for the time stamp that APOP needs in the greeting (RFC 1939, section 7). Characters that can't
    /// stand in a host's name are left out there.
    pub host_name: String,
    /// What the greeting says, before that time stamp. With one, it is cut after 160 characters and loses its angle
    /// brackets, as clients look for the time stamp's.
    pub greeting: String,
    /// What the IMPLEMENTATION capability says (RFC 2449, section 6.9); `None` leaves it out.
    pub implementation: Option<String>,
    /// Whether and when TLS is used. The owner of the socket carries it out; the session offers STLS and refuses logins
    /// accordingly.
    pub tls_mode: TlsMode,
    /// Take passwords in plain text on connections that nothing protects. Off, USER and the mechanisms that send
    /// passwords are not offered there.
    pub allow_plaintext: bool,
    /// Show messages that have been given `\Deleted` elsewhere (by an IMAP client, say), and take that flag away when a
    /// session begins. Off, they count as deleted: a session does not show them, and its QUIT removes them, unless they
    /// have lost the flag by then. What is marked while a session goes on is neither hidden nor removed by it. RSET
    /// takes back the DELEs of its session and nothing else.
    pub undelete: bool,
    /// What clients get of messages with UTF-8 in their headers that have not asked for UTF-8.
    pub internationalized: Internationalized,
    /// The languages that LANG offers (RFC 6856, section 3). The first is the administrator's choice, which `LANG *`
    /// selects. Sessions begin in English, as POP3's texts are ASCII for clients that know nothing of LANG; with an empty
    /// list there is no LANG.
    pub languages: Vec<Language>,
    /// Limits.
    pub limits: Limits,
    /// Time limits.
    pub timeouts: Timeouts,
}

impl Default for Config {
    /// No TLS, no passwords in plain text, the name `localhost`, English and German.
    fn default() -> Self {
        Self {
            host_name: "localhost".into(),
            greeting: "Pillarbox POP3 ready".into(),
            implementation: Some(concat!("Pillarbox ", env!("CARGO_PKG_VERSION")).into()),
            tls_mode: TlsMode::No,
            allow_plaintext: false,
            undelete: false,
            internationalized: Internationalized::default(),
            languages: vec![Language::english(), Language::german()],
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// What clients that have not given UTF8 get of an internationalized message (RFC 6532): one with octets beyond ASCII in
/// a header, its own or that of a part. Bodies in 8 bits are no part of this: they are sent as they are.
///
/// LIST, STAT and the text of RETR tell the size of the message as it is stored in either case (RFC 6858, section 4), so
/// that a message has one size in a session, and no message has to be read to tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Internationalized {
    /// A surrogate by the rules of RFC 6858: subjects and display names are encoded, addresses that can't be written are
    /// replaced by one that nobody has, and what can't be shown is left out. It is made while the message streams by.
    #[default]
    Downgrade,
    /// RETR and TOP are refused with `-ERR [UTF8]` (RFC 6856, section 5). A large message is read up to its last
    /// header for that before it is sent.
    Refuse,
}

/// What a session may cost at most.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Octets of a command line without its line end. A longer one is refused, and the session goes on with the next
    /// line. The standard wants at least 255 (RFC 2449, section 4).
    pub line: usize,
    /// The same for an AUTH command and for the lines of its exchange (RFC 5034, section 4).
    pub sasl_line: usize,
    /// Bad commands in a row that end the connection.
    pub bad_commands: u32,
    /// Failed logins that end the connection.
    pub failed_logins: u32,
    /// Octets of output that wait at most before the session works on, and reads on.
    pub output_high_water: usize,
    /// Octets of input that wait at most: a pipeline that fills it has to wait. Held above the longest line.
    pub input_high_water: usize,
    /// Messages of at most so many octets may come from the backend in one piece; larger ones are streamed.
    pub inline: usize,
    /// How many messages are fetched in one go when RETR and TOP commands are pipelined: at first, and for a client that
    /// falls behind. For one that takes them as fast as they come it is up to eight times as many.
    pub read_ahead: usize,
    /// Octets of messages that are fetched ahead at most; up to eight times as many likewise, and so much output may
    /// wait then.
    pub read_ahead_bytes: usize,
}

impl Default for Limits {
    /// Lines of 255 octets, ten bad commands, three failed logins, 64 KiB of output, 16 KiB of input, 16 messages and
    /// 128 KiB ahead.
    fn default() -> Self {
        Self {
            line: 255,
            sasl_line: framing::MAX_LINE,
            bad_commands: 10,
            failed_logins: 3,
            output_high_water: 64 << 10,
            input_high_water: 16 << 10,
            inline: 32 << 10,
            read_ahead: 16,
            read_ahead_bytes: 128 << 10,
        }
    }
}

/// When a session ends by itself. `None`, like zero, is never.
///
/// Deletions are not carried out then (RFC 1939, section 3). The client is told (`-ERR Session timed out`), which the
/// standard advises against, as some programs would take it for the answer to their next command: that is an answer
/// which says what has happened, where a closed connection would look like a fault of the network.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the greeting to a successful login.
    pub login: Option<Duration>,
    /// Without a command, and without the client taking output. Octets that are no command don't count. The standard
    /// wants at least ten minutes (RFC 1939, section 3).
    pub idle: Option<Duration>,
}

impl Default for Timeouts {
    /// Three minutes to log in, ten minutes idle.
    fn default() -> Self {
        Self { login: Some(Duration::from_secs(3 * 60)), idle: Some(Duration::from_secs(10 * 60)) }
    }
}
