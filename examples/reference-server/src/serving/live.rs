//! What connections need: put together from the settings, and anew when these are reloaded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use pillarbox_example_lmtp::{LmtpService, Users as Recipients};
use pillarbox_pop3_proto::Pop3Service;
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::env::{Env, SystemEnv};
use pillarbox_proto_core::{Connection, Conversation};
use pillarbox_server_core::access::HostsAccess;
use pillarbox_server_core::limits::{AddressLimits, MemoryCeiling, Penalties, Throttled, UserLimits};
use pillarbox_server_core::tls::TlsAcceptor;
use pillarbox_server_core::{Telemetry, now};

use super::any_password::AnyPassword;
use super::doors::Doors;
use super::http::{Http, HttpConversation};
use super::notices::Notices;
use super::protocols;
use crate::backend::UserBackend;
use crate::certificate;
use crate::config::{Config, Listener, Protocol};
use crate::data::DataFolder;
use crate::exit::{Failure, Result, Status};

/// Without a limit on its sessions a user may have this many.
const NO_LIMIT: u32 = u32::MAX;

/// How it is served, beside what the configuration says.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Every password is right.
    pub any_password: bool,
    /// Something outside protects all connections.
    pub secured: bool,
    /// The greeting says that it is a test.
    pub test: bool,
    /// Listeners' tables of tcp-wrappers know the program by this name, where nothing else is said.
    pub program: Option<String>,
}

/// What all connections share while the server runs.
pub struct Live {
    manner: Manner,
    notices: Notices,
    limits: Limits,
    acceptors: BTreeMap<String, TlsAcceptor>,
    http: Http,
    telemetry: Telemetry,
    current: RwLock<Option<Arc<Current>>>,
}

/// The limits, which keep what they have counted when they are changed.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) addresses: AddressLimits,
    pub(super) penalties: Penalties,
    pub(super) users: UserLimits,
    pub(super) memory: MemoryCeiling,
}

/// What follows from the settings as they are now.
pub(super) struct Current {
    services: BTreeMap<String, (Service, Doors)>,
}

enum Service {
    Imap(Arc<pillarbox_imap_proto::Config>, Arc<dyn Backend>),
    Pop3(Pop3Service),
    Lmtp(LmtpService),
    Http,
}

impl Current {
    pub(super) fn doors(&self, listener: &str) -> Option<&Doors> {
        self.services.get(listener).map(|(_, doors)| doors)
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("manner", &self.manner).finish_non_exhaustive()
    }
}

impl Live {
    /// What can be there before anything is bound: certificates, which others than this user may not read, and limits.
    ///
    /// # Errors
    ///
    /// The first certificate that is not good.
    pub fn new(config: &Config, listeners: &[Listener], data: &DataFolder, manner: Manner) -> Result<Arc<Self>> {
        let mut acceptors = BTreeMap::new();
        for listener in listeners {
            if let Some(acceptor) = certificate::acceptor(config, data, listener)? {
                acceptors.insert(listener.id.clone(), acceptor);
            }
        }
        let notices = Notices::below(config_directory(config, data));
        let limits = &config.limits;
        Ok(Arc::new(Self {
            manner,
            http: Http::new(notices.clone(), listeners.iter().any(|listener| listener.protocol == Protocol::Http))?,
            notices,
            telemetry: Telemetry::new(config_directory(config, data).join("log")).alone(alone(listeners)),
            limits: Limits {
                addresses: AddressLimits::new(limits.address.clone()),
                penalties: Penalties::new(limits.login.clone()),
                users: UserLimits::new(limits.user_sessions.unwrap_or(NO_LIMIT)),
                memory: MemoryCeiling::new(limits.memory.unwrap_or(u64::MAX)),
            },
            acceptors,
            current: RwLock::new(None),
        }))
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn acceptor(&self, listener: &Listener) -> Option<TlsAcceptor> {
        let acceptor = self.acceptors.get(&listener.id)?;
        Some(match listener.protocol {
            Protocol::Imap => acceptor.with_alpn(["imap"]),
            Protocol::Pop3 => acceptor.with_alpn(["pop3"]),
            Protocol::Lmtp => acceptor.with_alpn(["lmtp"]),
            Protocol::Http => acceptor.with_alpn(["http/1.1"]),
        })
    }

    /// The operator's words.
    #[must_use]
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// What has to be done now and then, for as long as it is polled.
    pub async fn keep_up(self: Arc<Self>) {
        self.http.clone().keep_up().await;
    }

    pub(super) fn current(&self) -> Option<Arc<Current>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes these settings hold for connections that come from now on.
    ///
    /// # Errors
    ///
    /// [`Status::Config`]: an access list or table that can't be used. Nothing has changed then.
    pub fn set(&self, config: &Config, listeners: &[Listener], backend: &UserBackend) -> Result<()> {
        let current = self.prepare(config, listeners, backend)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(current));
        Ok(())
    }

    /// Makes other settings hold, of what can change while the server runs: all of it, or nothing.
    ///
    /// # Errors
    ///
    /// [`Status::Config`] for what is wrong in them.
    pub fn reload(
        &self,
        config: &Config,
        listeners: &[Listener],
        data: &DataFolder,
        backend: &UserBackend,
    ) -> Result<()> {
        let current = self.prepare(config, listeners, backend)?;
        let mut acceptors = Vec::new();
        for listener in listeners {
            if let (Some(old), Some(new)) =
                (self.acceptors.get(&listener.id), certificate::acceptor(config, data, listener)?)
            {
                acceptors.push((old, new));
            }
        }
        for (old, new) in acceptors {
            old.replace(&new);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(current));
        let limits = &config.limits;
        self.limits.addresses.set(limits.address.clone());
        self.limits.penalties.set(limits.login.clone());
        self.limits.users.set(limits.user_sessions.unwrap_or(NO_LIMIT));
        self.limits.memory.set(limits.memory.unwrap_or(u64::MAX));
        Ok(())
    }

    fn prepare(&self, config: &Config, listeners: &[Listener], backend: &UserBackend) -> Result<Current> {
        let wrong = |id: &str, error: &dyn std::fmt::Display| {
            Failure::new(Status::Config, format_args!("server.listener.{id}.acl: {error}"))
        };
        let global = config.server.acl.build().map(|acl| Arc::new(acl.global()));
        let global = global.map_err(|error| Failure::new(Status::Config, format_args!("server.acl: {error}")))?;
        let mut services = BTreeMap::new();
        for listener in listeners {
            let doors = Doors {
                own: listener.acl.build().map_err(|error| wrong(&listener.id, &error))?,
                server: Arc::clone(&global),
                tables: tables(config, listener, self.manner.program.as_deref())?,
            };
            services.insert(listener.id.clone(), (self.service(config, listener, backend), doors));
        }
        Ok(Current { services })
    }

    fn service(&self, config: &Config, listener: &Listener, backend: &UserBackend) -> Service {
        let env: Arc<dyn Env> = Arc::new(SystemEnv);
        let mut users: Arc<dyn Backend> = Arc::new(backend.for_protocol(listener.protocol));
        if listener.protocol == Protocol::Lmtp {
            return Service::Lmtp(LmtpService::new(
                Arc::new(Recipients::new(users)),
                protocols::lmtp(config, listener),
                env,
            ));
        }
        if self.manner.any_password {
            users = Arc::new(AnyPassword::new(users));
        }
        let limits = &self.limits;
        let users = Throttled::new(users).penalties(limits.penalties.clone()).users(limits.users.clone());
        let users: Arc<dyn Backend> = Arc::new(users);
        match listener.protocol {
            Protocol::Pop3 => {
                Service::Pop3(Pop3Service::new(users, protocols::pop3(config, listener, self.manner.test), env))
            }
            Protocol::Http => Service::Http,
            _ => Service::Imap(Arc::new(protocols::imap(config, listener, self.manner.test)), users),
        }
    }

    /// What is known of a connection that passes no door.
    pub fn introduce(&self, connection: &mut Connection) {
        self.brief(connection);
    }

    /// Tells a connection what the operator has to say to all.
    pub(super) fn brief(&self, connection: &mut Connection) {
        connection.externally_secured |= self.manner.secured;
        connection.notice = self.notices.motd();
        connection.closed = self.notices.closed();
    }

    /// The conversation for a new connection of this listener.
    pub(super) fn converse(&self, listener: &str, connection: Connection) -> Box<dyn Conversation> {
        let current = self.current();
        match current.as_ref().and_then(|current| current.services.get(listener)) {
            Some((Service::Imap(config, backend), _)) => {
                let (config, backend) = (Arc::clone(config), Arc::clone(backend));
                let env: Arc<dyn Env> = Arc::new(SystemEnv);
                Box::new(pillarbox_imap_proto::ImapConversation::new(config, env, backend, connection, now()))
            }
            Some((Service::Pop3(service), _)) => Box::new(service.connect(connection, now())),
            Some((Service::Lmtp(service), _)) => Box::new(service.connect(connection, now())),
            Some((Service::Http, _)) => Box::new(HttpConversation::new(self.http.clone(), now())),
            // A listener is served once its settings are there, and they stay.
            None => Box::new(HttpConversation::ended(self.http.clone(), now())),
        }
    }
}

/// The tables of tcp-wrappers, where they are asked. They know the `program` by its name.
pub(super) fn tables(config: &Config, listener: &Listener, program: Option<&str>) -> Result<Option<HostsAccess>> {
    let Some(tables) = &config.server.tcp_wrappers else { return Ok(None) };
    let name = tables.daemon.as_deref().or(program).unwrap_or(match listener.protocol {
        Protocol::Imap => "imap4d",
        Protocol::Pop3 => "pop3d",
        Protocol::Lmtp => "lmtpd",
        Protocol::Http => "httpd",
    });
    let loaded = HostsAccess::builder(name).allow_table(&tables.allow_table).deny_table(&tables.deny_table).load();
    loaded.map(Some).map_err(|error| Failure::new(Status::Config, format_args!("server.tcp-wrappers: {error}")))
}

/// What of the settings differs, and takes effect with a restart only: the keys.
#[must_use]
pub fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    fn differ<T: std::fmt::Debug>(old: &T, new: &T) -> bool {
        format!("{old:?}") != format!("{new:?}")
    }
    let mut keys = Vec::new();
    let mut check = |key: &str, differs: bool| {
        if differs {
            keys.push(key.to_owned());
        }
    };
    check("data", old.data != new.data);
    check("configdirectory", old.configdirectory != new.configdirectory);
    check("fsync", old.fsync != new.fsync);
    check("max-message-size", old.max_message_size != new.max_message_size);
    check("store.message-cache", old.message_cache != new.message_cache);
    check("create-home-dir", old.create_home_dir != new.create_home_dir || old.home_dir_mode != new.home_dir_mode);
    check("auth", old.users != new.users);
    check("logging", {
        let form = |config: &Config| {
            let mut logging = config.logging.clone();
            (logging.severity, logging.debug) = (crate::config::Severity::Info, None);
            logging
        };
        form(old) != form(new)
    });
    check("limits.memory", old.limits.memory.is_some() != new.limits.memory.is_some());
    let transfer = |config: &Config| (config.limits.min_rate, config.limits.write_stall);
    check("limits.transfer", transfer(old) != transfer(new));
    let (a, b) = (&old.server, &new.server);
    check("server.max-children", a.max_children != b.max_children);
    check("server.pidfile", a.pidfile != b.pidfile);
    check("server.run-as", a.run_as != b.run_as);
    check("server.shutdown-stagger", a.shutdown_stagger != b.shutdown_stagger);
    let policies = |config: &Config| {
        let pop3 = &config.pop3;
        format!(
            "{:?}",
            (
                (pop3.login_delay, &pop3.stat_file, pop3.expire, pop3.delete_expired),
                (pop3.expire_stamp, &pop3.bulletin_source, &pop3.bulletin_db),
            )
        )
    };
    check("pop3", policies(old) != policies(new));
    let names = |config: &Config| config.listeners.iter().map(|listener| listener.id.clone()).collect::<Vec<_>>();
    check("server.listener", names(old) != names(new));
    let pair = |a: &'_ Listener| new.listeners.iter().find(|b| a.id == b.id);
    for (a, b) in old.listeners.iter().filter_map(|a| Some((a, pair(a)?))) {
        let mut check = |key: &str, differs: bool| {
            if differs {
                keys.push(format!("server.listener.{}.{key}", crate::config::quoted(&a.id)));
            }
        };
        check("bind", a.bind != b.bind);
        check("protocol", a.protocol != b.protocol);
        check("max-connections", a.max_connections != b.max_connections);
        check("tls-mode", a.tls_mode != b.tls_mode);
        check("socket", a.socket != b.socket);
        check("proxy.trusted-networks", differ(&a.trusted_networks, &b.trusted_networks));
        check("single-process", a.single_process != b.single_process);
        let transcript =
            |listener: &Listener| (listener.transcript, listener.transcript_secrets, listener.transcript_data);
        check("transcript", transcript(a) != transcript(b));
        check("preauth", a.preauth != b.preauth);
    }
    keys
}

/// The new settings, with what only a restart can change as it was.
#[must_use]
pub fn adapted(old: &Config, mut new: Config) -> Config {
    new.listeners.retain(|listener| old.listeners.iter().any(|known| known.id == listener.id));
    for known in &old.listeners {
        match new.listeners.iter_mut().find(|listener| listener.id == known.id) {
            // The protocol's session and the socket must agree about TLS.
            Some(listener) => {
                (listener.tls_mode, listener.protocol) = (known.tls_mode, known.protocol);
                if listener.tls.certificate.is_none() {
                    listener.tls.clone_from(&known.tls);
                }
            }
            // Its socket is still there.
            None => new.listeners.push(known.clone()),
        }
    }
    for (id, certificate) in &old.certificates {
        new.certificates.entry(id.clone()).or_insert_with(|| certificate.clone());
    }
    new.max_message_size = old.max_message_size;
    new
}

/// The folder that the words of the operator are in, and telemetry.
fn config_directory<'a>(config: &'a Config, data: &'a DataFolder) -> &'a Path {
    config.configdirectory.as_deref().unwrap_or(data.root())
}

/// Whether there is one connection at a time at most.
fn alone(listeners: &[Listener]) -> bool {
    matches!(listeners, [listener] if listener.single_process || listener.bind.is_empty())
}
