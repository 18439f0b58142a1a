//! Serving over the network.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::auth::Secret;
use pillarbox_server_core::run_as::{Account, RunAsError};
use pillarbox_server_core::{Address, BoundServer, ServerHandle, inherited, raise_open_files};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::Args;
use super::{Place, runtime, say, welcome};
use crate::backend::UserBackend;
use crate::config::{Config, Listener, Protocol, TlsMode, UserSource, tls_mode_name};
use crate::daemon::{Background, PidFile};
use crate::data::DataFolder;
use crate::exit::{Failure, Result, Status};
use crate::files;
use crate::logging::Logger;
use crate::maildrop::MaildropPolicies;
use crate::serving::{Live, Manner, build, live};
use crate::sources::{self, Accounts, Sources, SystemUsers, UsersFile, VirtualDomains};
use crate::users::{User, Users, generate_password};

/// The user of a first start.
const DEMO: &str = "demo";
/// What clients are told when the server stops.
pub(super) const FAREWELL: &str = "Server shutting down";

/// Serves until a signal ends it.
pub(super) fn serve(
    place: &Place,
    args: &Args,
    ready_file: Option<&Path>,
    background: Option<&mut Option<Background>>,
) -> Result<ExitCode> {
    let config = &place.config;
    config.servable()?;
    let manner = manner(place, args)?;
    // It takes variables out of the environment, so it comes before any thread.
    let inherited = inherited::take().map_err(|error| Failure::io(Status::OsError, "inherited sockets", &error))?;
    let account = account(config)?;
    let logger = {
        let mut config = config.clone();
        // Nobody sees the standard error of a daemon.
        config.logging.syslog |= background.is_some();
        Logger::start(&config, super::PROGRAM)?
    };
    let descriptors = raise_open_files().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit on open files stays");
        None
    });
    let (any_password, uid) = (manner.any_password, account.as_ref().map(Account::uid));
    let data = place.data()?;
    let first_start = config.source.is_none() && !exists(&data.users())?;
    let live = Live::new(config, &config.listeners, &data, manner)?;
    let ends = build::Ends {
        max_uses: args.serve.max_uses.map(|uses| uses.max(1)),
        idle_exit: args.serve.idle_exit.filter(|seconds| *seconds > 0).map(Duration::from_secs),
    };
    let bound = build::bind(config, &live, inherited, ends, descriptors)?;
    check_inherited(config, &bound, any_password && !args.serve.insecure)?;
    let pidfile = config.server.pidfile.as_deref().map(PidFile::write).transpose()?;
    if let Some(account) = account {
        switch(&account)?;
    }
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let backend = backend(config, &data, Users::open(data.users())?)?;
        live.set(config, &config.listeners, &backend)?;
        // Only now that nothing can fail for want of an address: the password is shown once.
        let password = if first_start { Some(demo(&backend).await?) } else { None };
        let mut signals = Signals::new()?;
        let mut banner = banner(place, &data, &bound, &backend, password.as_ref());
        if background.is_none() {
            banner.push_str("Ctrl-C stops the server.\n");
        }
        let ready = ready(config, &bound);
        let server = bound.start().map_err(|error| Failure::io(Status::OsError, "starting to serve", &error))?;
        say(format_args!("{banner}"));
        warn(any_password, uid);
        if let Some(path) = ready_file {
            files::replace(path, ready.as_bytes(), 0o644).map_err(|error| {
                Failure::io(Status::CantCreate, format_args!("ready file {}", path.display()), &error)
            })?;
        }
        if let Some(background) = background.and_then(Option::take) {
            background.ready()?;
        }
        notify(inherited::READY);
        let watching = tokio::spawn(live.notices().clone().watch(server.clone()));
        let keeping_up = tokio::spawn(Arc::clone(&live).keep_up());
        let mut daemon =
            Daemon { place, data: &data, live: &live, backend: &backend, logger: &logger, config: config.clone() };
        let code = daemon.run(&server, &mut signals).await;
        watching.abort();
        keeping_up.abort();
        Ok(code)
    });
    // Work that is still under way has had its time; what it has not answered, it has not promised.
    runtime.shutdown_background();
    drop(pidfile);
    code
}

/// Who the process becomes; root stays root only where it is told to, or where nobody else can reach it.
fn account(config: &Config) -> Result<Option<Account>> {
    let Some(account) = named_account(config)? else {
        let open = config.listeners.iter().find(|listener| !listener.is_local());
        return match open {
            Some(listener) if rustix::process::geteuid().is_root() => Err(open_as_root(&listener.id)),
            _ => Ok(None),
        };
    };
    Ok(Some(account))
}

fn open_as_root(listener: &str) -> Failure {
    Failure::new(
        Status::Config,
        format_args!(
            "server.run-as: started as root, with listener {listener} open to others: name a user to become, or root to \
             stay root"
        ),
    )
}

/// The account that `server.run-as` names.
pub(super) fn named_account(config: &Config) -> Result<Option<Account>> {
    let Some((user, group)) = &config.server.run_as else { return Ok(None) };
    let found = Account::find(user, group.as_deref());
    found.map(Some).map_err(|error| Failure::new(Status::Config, format_args!("server.run-as: {error}")))
}

/// Says at every start what is dangerous.
fn warn(any_password: bool, uid: Option<u32>) {
    if any_password {
        tracing::warn!(
            "every password is right (--any-password) for LOGIN, USER and PASS: whoever connects can read and change all mail"
        );
    }
    if uid.map_or_else(|| rustix::process::geteuid().is_root(), |uid| uid == 0) {
        warn_of_root();
    }
}

pub(super) fn warn_of_root() {
    tracing::warn!("the server runs as root: name a user with server.run-as");
}

/// Becomes the account that `server.run-as` names.
pub(super) fn switch(account: &Account) -> Result<()> {
    account.switch().map_err(|error| match error {
        RunAsError::NotRoot { .. } => Failure::new(Status::NoPermission, format_args!("server.run-as: {error}")),
        _ => Failure::new(Status::OsError, format_args!("server.run-as: {error}")),
    })
}

/// How it is served, by the command line.
///
/// # Errors
///
/// [`Status::Usage`]: passwords don't matter, and others can connect.
pub(super) fn manner(place: &Place, args: &Args) -> Result<Manner> {
    let serve = &args.serve;
    if serve.any_password && !serve.insecure {
        for listener in &place.config.listeners {
            // Behind a proxy on this machine are clients from elsewhere.
            if !listener.is_local() || !listener.trusted_networks.is_empty() {
                return Err(open_to_others(&listener.id));
            }
        }
    }
    Ok(Manner {
        any_password: serve.any_password,
        secured: serve.external_ssf >= 2,
        test: false,
        program: super::named(&place.called).map(|_| place.called.clone()),
    })
}

fn open_to_others(listener: &str) -> Failure {
    Failure::new(
        Status::Usage,
        format_args!("--any-password: listener {listener} is open to others; to let all of them in, add --insecure"),
    )
}

/// What was inherited in place of an address of the configuration may be open to others, where that is not.
fn check_inherited(config: &Config, bound: &BoundServer, any_password: bool) -> Result<()> {
    let stays_root = config.server.run_as.is_none() && rustix::process::geteuid().is_root();
    for (name, address) in bound.addresses() {
        if crate::config::is_local(&address) || find(config, &name).is_some_and(|listener| !listener.is_local()) {
            continue;
        }
        if any_password {
            return Err(open_to_others(&name));
        }
        if stays_root {
            return Err(open_as_root(&name));
        }
    }
    Ok(())
}

/// Tells a service manager, if there is one.
fn notify(words: &str) {
    if let Err(error) = inherited::notify(words) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

/// The server while it runs.
struct Daemon<'a> {
    place: &'a Place,
    data: &'a DataFolder,
    live: &'a Live,
    backend: &'a UserBackend,
    logger: &'a Logger,
    /// The settings that hold.
    config: Config,
}

impl Daemon<'_> {
    /// Serves until a signal comes, or until it has served enough.
    async fn run(&mut self, server: &ServerHandle, signals: &mut Signals) -> ExitCode {
        loop {
            let word = tokio::select! {
                word = signals.next() => word,
                () = server.stopped() => {
                    tracing::info!("served enough");
                    // Nobody is left, but what is to be written down may not be yet.
                    server.shutdown(FAREWELL, Duration::ZERO).await;
                    return ExitCode::SUCCESS;
                }
            };
            match word {
                Word::Reload => self.reload(),
                Word::Stop(_) => {
                    notify(inherited::STOPPING);
                    return self.drain(server, signals).await;
                }
            }
        }
    }

    /// Ends in an orderly way, or at once when a second signal comes.
    async fn drain(&self, server: &ServerHandle, signals: &mut Signals) -> ExitCode {
        let stop = async {
            loop {
                if let Word::Stop(number) = signals.next().await {
                    return number;
                }
            }
        };
        tokio::select! {
            drained = server.shutdown(FAREWELL, self.config.server.shutdown_grace) => {
                tracing::info!(finished = drained.finished, dropped = drained.dropped, "stopped");
                ExitCode::SUCCESS
            }
            number = stop => {
                tracing::warn!("stopped at once, on a second signal");
                ExitCode::from(128 + number)
            }
        }
    }

    /// Reads the settings again. What is wrong changes nothing.
    fn reload(&mut self) {
        let _ = inherited::notify_reloading();
        match self.try_reload() {
            Ok(later) if later.is_empty() => tracing::info!("the configuration has been read again"),
            Ok(later) => {
                tracing::warn!(
                    "the configuration has been read again; it takes a restart to change {}",
                    later.join(", ")
                );
            }
            Err(failure) => tracing::error!("the configuration stays as it was: {failure}"),
        }
        notify(inherited::READY);
    }

    fn try_reload(&mut self) -> Result<Vec<String>> {
        let new = self.place.settings.load()?;
        new.servable()?;
        let later = live::needs_restart(&self.config, &new);
        let adapted = live::adapted(&self.config, new);
        crate::logging::filter(&adapted)?;
        self.live.reload(&adapted, &adapted.listeners, self.data, self.backend)?;
        self.logger.set_filter(&adapted)?;
        // What takes a restart is told again at the next reload, until there was one.
        self.config.server.shutdown_grace = adapted.server.shutdown_grace;
        self.config.certificates = adapted.certificates;
        Ok(later)
    }
}

/// The users and their mail, as the protocols see them.
///
/// # Errors
///
/// When the data folder can't be used.
pub(super) fn backend(config: &Config, data: &DataFolder, users: Users) -> Result<UserBackend> {
    let homes = crate::homes::MaildirHomes::new(config)?;
    let policies = MaildropPolicies::new(&config.pop3, data);
    let mut backend = UserBackend::new(users, data, policies, Arc::new(homes))?;
    if config.users != [UserSource::File] {
        let from = config.users.iter().map(|source| match source {
            UserSource::Virtdomain(folder) => {
                Arc::new(VirtualDomains::new(folder.clone())) as Arc<dyn sources::UserSource>
            }
            UserSource::System => Arc::new(SystemUsers::new(Accounts::System, "/etc/shadow".into(), data.mail())),
            UserSource::File => Arc::new(UsersFile::new(Arc::clone(backend.users()), data.mail())),
        });
        let from = Sources::new(from.collect());
        backend = backend.with_sources(from);
    }
    if config.create_home_dir {
        backend = backend.create_homes(config.home_dir_mode);
    }
    Ok(backend)
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| Failure::io(Status::NoInput, path.display(), &error))
}

/// Makes the user of a first start, with a message, and returns the password.
async fn demo(backend: &UserBackend) -> Result<Secret> {
    let password = generate_password()?;
    let user = User::new(DEMO.to_owned(), &password)?;
    backend.users().change(|table| {
        table.insert(DEMO.to_owned(), Arc::new(user));
        Ok(())
    })?;
    let inbox = pillarbox_proto_core::mail::MailboxName::inbox();
    let account = backend.account(DEMO).await.map_err(|error| crate::import::refused(&inbox, &error))?;
    welcome::deliver(&*account).await?;
    Ok(password)
}

/// What a signal says.
#[derive(Clone, Copy, Debug)]
enum Word {
    Stop(u8),
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| Failure::io(Status::OsError, "waiting for signals", &error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Word {
        tokio::select! {
            _ = self.terminate.recv() => Word::Stop(15),
            _ = self.interrupt.recv() => Word::Stop(2),
            _ = self.hangup.recv() => Word::Reload,
        }
    }
}

/// A line for each address: name, protocol, TLS mode, address.
fn ready(config: &Config, bound: &BoundServer) -> String {
    let mut text = String::new();
    for (name, address) in bound.addresses() {
        if let Some(listener) = find(config, &name) {
            let (protocol, mode) = (listener.protocol.name(), tls_mode_name(listener.tls_mode));
            let _ = writeln!(text, "{name} {protocol} {mode} {address}");
        }
    }
    text
}

fn find<'c>(config: &'c Config, name: &str) -> Option<&'c Listener> {
    config.listeners.iter().find(|listener| listener.id == name)
}

/// What the person who started it should know.
fn banner(
    place: &Place,
    data: &DataFolder,
    bound: &BoundServer,
    backend: &UserBackend,
    password: Option<&Secret>,
) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Pillarbox {} serves the mail in {}\n", env!("CARGO_PKG_VERSION"), data.root().display());
    let mut example = None;
    for (name, address) in bound.addresses() {
        let Some(listener) = find(&place.config, &name) else { continue };
        let protocol = match listener.protocol {
            Protocol::Imap => "IMAP",
            Protocol::Pop3 => "POP3",
            Protocol::Lmtp => "LMTP",
            Protocol::Http => "HTTP",
        };
        let upgrade = if listener.protocol == Protocol::Pop3 { "STLS" } else { "STARTTLS" };
        let tls = match listener.tls_mode {
            TlsMode::Connection => "TLS".to_owned(),
            TlsMode::OnDemand => format!("plain, or TLS by {upgrade}"),
            TlsMode::Required => format!("TLS by {upgrade}"),
            _ => "plain".to_owned(),
        };
        let _ = writeln!(text, "  {protocol}  {:<22} {tls}", address.to_string());
        let tcp = matches!(address, Address::Tcp(_));
        if tcp && listener.protocol == Protocol::Imap && (example.is_none() || listener.tls_mode == TlsMode::Connection)
        {
            example = Some((listener.tls_mode, address));
        }
    }
    let table = backend.users().table();
    match (password.and_then(Secret::expose_str), table.len()) {
        (Some(password), _) => {
            let _ = writeln!(text, "\nUser {DEMO}, password {password} (shown this once)");
            let _ =
                writeln!(text, "Another password: pillarboxd user passwd {DEMO}; more users: pillarboxd user add NAME");
        }
        (None, 0) => {
            let _ = writeln!(text, "\nNo user yet: pillarboxd user add NAME");
        }
        (None, 1) => {
            let _ = writeln!(text, "\nUser {}", table.keys().next().map_or("", String::as_str));
        }
        (None, users) => {
            let _ = writeln!(text, "\n{users} users");
        }
    }
    if let (Some((mode, address)), Some(user)) = (example, table.keys().next()) {
        let scheme = if mode == TlsMode::Connection { "imaps" } else { "imap" };
        let trust = if mode == TlsMode::Connection {
            format!(" --cacert {}", data.tls().join("cert.pem").display())
        } else {
            String::new()
        };
        let _ = writeln!(text, "\nTry it:  curl{trust} --user {user} '{scheme}://{address}/INBOX?ALL'");
    }
    text
}
