//! Listeners: what each one has of its own, and what it falls back to.
//!
//! A key that a listener does not have is looked up in `[server]`, whatever the order in the file; then a default holds.
//! `acl` is the exception: that of the listener and that of the server must both allow.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pillarbox_proto_core::connection::TlsMode;
use pillarbox_server_core::{Address, service_port};
use serde::Deserialize;
use toml::Spanned;

use super::access::{self, Acl, AclTable, Preauth, TcpWrappers};
use super::error::{ConfigError, Source};
use super::file::Wrong;
use super::socket::{Socket, SocketTable};
use super::tls::{self, FileChecksTable, Tls, TlsTable};
use super::value::{Patience, Span, Texts, Word};
use super::{Certificate, DEFAULT_MAX_CONNECTIONS};

/// One listener.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listener {
    /// Its name.
    pub id: String,
    /// Where it listens; at least one address, except that of the inetd mode.
    pub bind: Vec<Address>,
    /// What it speaks.
    pub protocol: Protocol,
    /// The name of the host, where a protocol shows one.
    pub hostname: Option<String>,
    /// What the greeting says, in place of the program's name.
    pub greeting: Option<String>,
    /// Connections at a time, all its addresses together.
    pub max_connections: usize,
    /// Whether and when TLS is used.
    pub tls_mode: TlsMode,
    /// How TLS is used.
    pub tls: Tls,
    /// Options of the sockets.
    pub socket: Socket,
    /// Networks whose clients are proxies, and say in a PROXY header for whom they speak.
    pub trusted_networks: Vec<pillarbox_server_core::Network>,
    /// Who may connect; the server's own list comes after it.
    pub acl: Acl,
    /// How long a client may be silent, where that is not what the protocol says: `Some(None)` is for ever.
    pub timeout: Option<Option<Duration>>,
    /// Whether what is said goes to the log.
    pub transcript: bool,
    /// Whether passwords are shown there.
    pub transcript_secrets: bool,
    /// Whether messages are shown there.
    pub transcript_data: bool,
    /// Whether connections are served one after another.
    pub single_process: bool,
    /// Who clients are before they say a word.
    pub preauth: Preauth,
    /// Whether IMAP's LOGIN is refused always.
    pub login_disabled: bool,
    /// Whether passwords may come over connections without TLS.
    pub allow_plain_text: bool,
}

impl Listener {
    /// One on loopback, as there is without a configuration.
    pub(super) fn built_in(id: &str, port: u16, protocol: Protocol, tls_mode: TlsMode) -> Self {
        Self {
            id: id.to_owned(),
            bind: vec![Address::from(([127, 0, 0, 1], port))],
            protocol,
            hostname: None,
            greeting: None,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            tls_mode,
            tls: Tls::self_signed(),
            socket: Socket::default(),
            trusted_networks: Vec::new(),
            acl: Acl::default(),
            timeout: None,
            transcript: false,
            transcript_secrets: false,
            transcript_data: false,
            single_process: false,
            preauth: Preauth::default(),
            login_disabled: false,
            allow_plain_text: true,
        }
    }

    /// One for a connection on standard input, as it is served without a configuration.
    pub(super) fn on_stdin(protocol: Protocol) -> Self {
        Self {
            bind: Vec::new(),
            tls: Tls::default(),
            allow_plain_text: false,
            ..Self::built_in(protocol.name(), 0, protocol, TlsMode::No)
        }
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.bind.iter().all(is_local)
    }
}

/// Whether only this machine can reach an address. A name is looked up later, so it is not known to be local.
pub(crate) fn is_local(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Address::Host { name, .. } => &**name == "localhost",
        Address::Unix { .. } => true,
        _ => false,
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Protocol {
    /// IMAP4rev1 and IMAP4rev2.
    Imap,
    /// POP3.
    Pop3,
    /// LMTP: delivery of mail.
    Lmtp,
    /// HTTP: metrics, and whether the server is well.
    Http,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Imap, Self::Pop3, Self::Lmtp, Self::Http];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Lmtp => "lmtp",
            Self::Http => "http",
        }
    }

    /// The port for an address that gives none.
    const fn default_port(self, tls_mode: TlsMode) -> u16 {
        match (self, tls_mode) {
            (Self::Imap, TlsMode::Connection) => 993,
            (Self::Imap, _) => 143,
            (Self::Pop3, TlsMode::Connection) => 995,
            (Self::Pop3, _) => 110,
            (Self::Lmtp, _) => 24,
            (Self::Http, TlsMode::Connection) => 443,
            (Self::Http, _) => 80,
        }
    }
}

/// The name of a TLS mode in the configuration.
#[must_use]
pub const fn tls_mode_name(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::OnDemand => "ondemand",
        TlsMode::Required => "required",
        TlsMode::Connection => "connection",
        _ => "no",
    }
}

/// Makes a table with keys of its own and those that listeners and the server share.
macro_rules! table {
    ($name:ident { $($own:ident: $type:ty,)* }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
        pub(super) struct $name {
            $(pub(super) $own: $type,)*
            max_connections: Option<Spanned<u64>>,
            hostname: Option<String>,
            greeting: Option<String>,
            tls_mode: Option<Spanned<String>>,
            tls: TlsTable,
            tls_file_checks: FileChecksTable,
            socket: SocketTable,
            backlog: Option<Spanned<u64>>,
            proxy: access::ProxyTable,
            timeout: Option<Patience>,
            transcript: Option<bool>,
            transcript_secrets: Option<bool>,
            transcript_data: Option<bool>,
            single_process: Option<bool>,
            preauth: Option<Spanned<String>>,
            preauth_only: Option<bool>,
            ident_keyfile: Option<PathBuf>,
            ident_encrypt_only: Option<bool>,
        }

        impl $name {
            /// The shared keys.
            pub(super) fn options(&self) -> Options<'_> {
                Options {
                    max_connections: &self.max_connections,
                    hostname: &self.hostname,
                    greeting: &self.greeting,
                    tls_mode: &self.tls_mode,
                    tls: &self.tls,
                    tls_file_checks: &self.tls_file_checks,
                    socket: &self.socket,
                    backlog: &self.backlog,
                    proxy: &self.proxy,
                    timeout: &self.timeout,
                    transcript: &self.transcript,
                    transcript_secrets: &self.transcript_secrets,
                    transcript_data: &self.transcript_data,
                    single_process: &self.single_process,
                    preauth: access::PreauthKeys {
                        preauth: &self.preauth,
                        only: &self.preauth_only,
                        keyfile: &self.ident_keyfile,
                        encrypt_only: &self.ident_encrypt_only,
                    },
                }
            }
        }
    };
}

table!(ListenerTable {
    bind: Option<Spanned<Texts>>,
    protocol: Option<Spanned<String>>,
    acl: AclTable,
    login_disabled: Option<bool>,
});

table!(ServerTable {
    acl: AclTable,
    tcp_wrappers: access::TcpWrappersTable,
    port: Option<Spanned<Word>>,
    max_children: Option<u64>,
    pidfile: Option<Spanned<PathBuf>>,
    run_as: RunAsTable,
    shutdown_grace: Option<Span>,
    shutdown_stagger: Option<Patience>,
    listener: BTreeMap<Spanned<String>, ListenerTable>,
});

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RunAsTable {
    pub(super) user: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<String>>,
}

/// What a listener has, or the server for all of them.
#[derive(Clone, Copy)]
pub(super) struct Options<'t> {
    pub(super) max_connections: &'t Option<Spanned<u64>>,
    pub(super) hostname: &'t Option<String>,
    pub(super) greeting: &'t Option<String>,
    pub(super) tls_mode: &'t Option<Spanned<String>>,
    pub(super) tls: &'t TlsTable,
    pub(super) tls_file_checks: &'t FileChecksTable,
    pub(super) socket: &'t SocketTable,
    pub(super) backlog: &'t Option<Spanned<u64>>,
    pub(super) proxy: &'t access::ProxyTable,
    pub(super) timeout: &'t Option<Patience>,
    pub(super) transcript: &'t Option<bool>,
    pub(super) transcript_secrets: &'t Option<bool>,
    pub(super) transcript_data: &'t Option<bool>,
    pub(super) single_process: &'t Option<bool>,
    pub(super) preauth: access::PreauthKeys<'t>,
}

/// What is known when listeners are put together.
pub(super) struct Defaults<'t> {
    pub(super) server: Options<'t>,
    pub(super) port: Option<u16>,
    pub(super) base: &'t Path,
    /// Passwords without TLS, where that is set: for IMAP and for POP3.
    pub(super) plain_text: (Option<bool>, Option<bool>),
    pub(super) login_disabled: bool,
}

impl Source<'_> {
    /// A listener's settings. Certificates that its table names as files are added to the known ones.
    pub(super) fn listener(
        &self,
        id: &Spanned<String>,
        table: &ListenerTable,
        defaults: &Defaults<'_>,
        certificates: &mut BTreeMap<String, Certificate>,
    ) -> Result<Listener, ConfigError> {
        let missing = |key: &str| self.error(&id.span(), format_args!("no '{key}' is given"));
        let protocol = self.protocol(table.protocol.as_ref().ok_or_else(|| missing("protocol"))?)?;
        let bind = table.bind.as_ref().ok_or_else(|| missing("bind"))?;
        if let Some(value) = &table.preauth
            && value.get_ref() == "stdio"
        {
            return Err(self.error(&value.span(), "stdio is for the inetd mode: whoever connects would be this user"));
        }
        let mut listener = self.put_together(id, table, protocol, defaults, certificates)?;
        if !matches!(protocol, Protocol::Imap | Protocol::Pop3) {
            // Their clients are no users, and nothing knows what in their words is secret.
            listener.preauth = Preauth::default();
            listener.transcript = false;
            if table.transcript == Some(true) {
                return Err(self.error(&id.span(), "there are transcripts of imap and pop3 only"));
            }
        } else if listener.preauth.scheme.as_deref() == Some("stdio") {
            listener.preauth.scheme = None;
        }
        let port = defaults.port.unwrap_or_else(|| protocol.default_port(listener.tls_mode));
        listener.bind = self.addresses(bind, port)?;
        if !listener.bind.iter().any(|address| matches!(address, Address::Unix { .. })) {
            if let Some(mode) = &table.socket.mode {
                return Err(self.error(&mode.span(), "this listener has no unix socket: bind = \"unix:///path\""));
            }
            // That of the server is for others.
            listener.socket.mode = None;
        }
        let allow = match protocol {
            Protocol::Imap => defaults.plain_text.0,
            Protocol::Pop3 => defaults.plain_text.1,
            _ => None,
        };
        // What never leaves the machine needs no protection; anything else does, unless told otherwise. Behind a proxy are
        // clients from elsewhere.
        listener.allow_plain_text =
            allow.unwrap_or_else(|| listener.is_local() && listener.trusted_networks.is_empty());
        Ok(listener)
    }

    /// Settings for a connection on standard input: those of the server.
    pub(super) fn inetd(
        &self,
        protocol: Protocol,
        defaults: &Defaults<'_>,
        certificates: &mut BTreeMap<String, Certificate>,
    ) -> Result<Listener, ConfigError> {
        let id = Spanned::new(0..0, protocol.name().to_owned());
        let mut listener = self.put_together(&id, &ListenerTable::default(), protocol, defaults, certificates)?;
        let allow = if protocol == Protocol::Pop3 { defaults.plain_text.1 } else { defaults.plain_text.0 };
        // Where the other end is, is only known once there is one.
        listener.allow_plain_text = allow.unwrap_or(false);
        Ok(listener)
    }

    fn put_together(
        &self,
        id: &Spanned<String>,
        table: &ListenerTable,
        protocol: Protocol,
        defaults: &Defaults<'_>,
        certificates: &mut BTreeMap<String, Certificate>,
    ) -> Result<Listener, ConfigError> {
        let (own, server) = (table.options(), defaults.server);
        let tls = tls::resolve(self, own, server, defaults.base, certificates)?;
        let tls_mode = tls::mode(self, own, server, tls.certificate.is_some(), protocol)?;
        let max_connections = match own.max_connections.as_ref().or(server.max_connections.as_ref()) {
            Some(value) => usize::try_from(self.at_least_one(value)?).unwrap_or(usize::MAX),
            None => DEFAULT_MAX_CONNECTIONS,
        };
        let hostname = own.hostname.as_ref().or(server.hostname.as_ref()).cloned();
        let greeting = own.greeting.as_ref().or(server.greeting.as_ref()).cloned();
        let one = |value: &Option<bool>, server: &Option<bool>| value.or(*server).unwrap_or(false);
        Ok(Listener {
            id: id.get_ref().clone(),
            bind: Vec::new(),
            protocol,
            hostname,
            greeting,
            max_connections,
            tls_mode,
            tls,
            socket: Socket::resolve(self, own, server)?,
            trusted_networks: self.networks(own.proxy, server.proxy)?,
            acl: self.acl(&table.acl)?,
            timeout: own.timeout.or(*server.timeout).map(|patience| patience.0),
            transcript: one(own.transcript, server.transcript),
            transcript_secrets: one(own.transcript_secrets, server.transcript_secrets),
            transcript_data: one(own.transcript_data, server.transcript_data),
            single_process: one(own.single_process, server.single_process),
            preauth: self.preauth(own.preauth, server.preauth, defaults.base)?,
            login_disabled: table.login_disabled.unwrap_or(defaults.login_disabled),
            allow_plain_text: false,
        })
    }

    pub(super) fn protocol(&self, value: &Spanned<String>) -> Result<Protocol, ConfigError> {
        let name = value.get_ref().to_ascii_lowercase();
        if let Some(known) = Protocol::ALL.into_iter().find(|known| known.name() == name) {
            return Ok(known);
        }
        if let "smtp" | "jmap" | "managesieve" = name.as_str() {
            let text = format_args!("{name} is not served here; \"imap\", \"pop3\", \"lmtp\" and \"http\" are");
            return Err(self.error(&value.span(), text));
        }
        Err(self.error(&value.span(), Wrong { wrong: &name, names: &Protocol::ALL.map(Protocol::name) }))
    }

    fn addresses(&self, bind: &Spanned<Texts>, default_port: u16) -> Result<Vec<Address>, ConfigError> {
        let mut addresses = Vec::new();
        for text in &bind.get_ref().0 {
            let address = Address::parse(text, default_port).map_err(|error| self.error(&bind.span(), error))?;
            let chosen_by_the_system = matches!(address, Address::Tcp(address) if address.port() == 0);
            if !chosen_by_the_system && addresses.contains(&address) {
                return Err(self.error(&bind.span(), format_args!("{text:?} stands there twice")));
            }
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(self.error(&bind.span(), "the list is empty"));
        }
        Ok(addresses)
    }

    /// The port for addresses that give none.
    pub(super) fn port(&self, port: &Option<Spanned<Word>>) -> Result<Option<u16>, ConfigError> {
        let Some(port) = port else { return Ok(None) };
        let text = port.get_ref().0.as_str();
        match text.parse().ok().or_else(|| service_port(text)) {
            Some(number) => Ok(Some(number)),
            None => {
                Err(self.error(&port.span(), format_args!("{text:?} is no port up to 65535, and no service's name")))
            }
        }
    }
}

/// What the whole server has beside its listeners.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Server {
    /// Connections at a time, over all listeners; `None` for as many as there are file descriptors.
    pub max_children: Option<usize>,
    /// The file with the number of the process.
    pub pidfile: Option<PathBuf>,
    /// Who the process becomes once it listens: a user and a group.
    pub run_as: Option<(String, Option<String>)>,
    /// How long running commands may take to finish when the server stops.
    pub shutdown_grace: Duration,
    /// Over how long the clients are told, when it stops.
    pub shutdown_stagger: Duration,
    /// Who may connect to any listener.
    pub acl: Acl,
    /// The tables of tcp-wrappers, where they are asked.
    pub tcp_wrappers: Option<TcpWrappers>,
}

impl Server {
    pub(super) fn resolve(source: &Source<'_>, table: &ServerTable, base: &Path) -> Result<Self, ConfigError> {
        let mut server = Self { acl: source.acl(&table.acl)?, ..Self::built_in() };
        if let Some(number) = table.max_children {
            server.max_children = (number > 0).then(|| usize::try_from(number).unwrap_or(usize::MAX));
        }
        if let Some(path) = &table.pidfile {
            let path_is_good = path.get_ref().is_absolute() && path.get_ref().file_name().is_some();
            if !path_is_good {
                return Err(source.error(&path.span(), "must be the absolute path of a file"));
            }
            server.pidfile = Some(path.get_ref().clone());
        }
        let group = table.run_as.group.as_ref();
        server.run_as = match (&table.run_as.user, group) {
            (Some(user), group) => Some((user.get_ref().clone(), group.map(|group| group.get_ref().clone()))),
            (None, Some(group)) => return Err(source.error(&group.span(), "is of no use without run-as.user")),
            (None, None) => None,
        };
        if let Some(grace) = table.shutdown_grace {
            server.shutdown_grace = grace.0;
        }
        if let Some(stagger) = table.shutdown_stagger {
            server.shutdown_stagger = stagger.0.unwrap_or_default();
        }
        server.tcp_wrappers = table.tcp_wrappers.resolve(base);
        Ok(server)
    }

    pub(super) fn built_in() -> Self {
        Self { shutdown_grace: Duration::from_secs(10), shutdown_stagger: Duration::from_secs(3), ..Self::default() }
    }
}
