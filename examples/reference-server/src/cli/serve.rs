//! Serving.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use pillarbox_proto_core::auth::Secret;
use pillarbox_server_core::{BoundServer, ServerHandle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Place, listeners, runtime, say, welcome};
use crate::backend::UserBackend;
use crate::config::{Config, Listener, Protocol, TlsMode, tls_mode_name};
use crate::data::DataFolder;
use crate::exit::{Failure, Result, Status};
use crate::files;
use crate::maildrop::MaildropPolicies;
use crate::users::{User, Users, generate_password};

/// The user of a first start.
const DEMO: &str = "demo";

/// Serves until a signal ends it.
pub(super) fn serve(place: &Place, ready_file: Option<&Path>) -> Result<ExitCode> {
    let data = place.data()?;
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let config = &place.config;
        let first_start = config.source.is_none() && !exists(&data.users())?;
        let backend = backend(config, &data, Users::open(data.users())?)?;
        let bound = listeners::bind(config, &data, &backend)?;
        // Only now that nothing can fail for want of an address: the password is shown once.
        let password = if first_start { Some(demo(&backend).await?) } else { None };
        let mut signals = Signals::new()?;
        let banner = banner(place, &data, &bound, &backend, password.as_ref());
        let ready = ready(config, &bound);
        let handle = bound.start().map_err(|error| Failure::io(Status::OsError, "starting to serve", &error))?;
        say(format_args!("{banner}"));
        if let Some(path) = ready_file {
            files::replace(path, ready.as_bytes(), 0o644).map_err(|error| {
                Failure::io(Status::CantCreate, format_args!("ready file {}", path.display()), &error)
            })?;
        }
        signals.first().await;
        Ok(drain(&handle, config, &mut signals).await)
    });
    // Work that is still under way has had its time; what it has not answered, it has not promised.
    runtime.shutdown_background();
    code
}

/// The users and their mail, as the protocols see them.
///
/// # Errors
///
/// When the data folder can't be used.
pub(super) fn backend(config: &Config, data: &DataFolder, users: Users) -> Result<UserBackend> {
    let mail = data.mail();
    files::private_folder(&mail).map_err(|error| Failure::io(Status::CantCreate, mail.display(), &error))?;
    let homes = crate::homes::MaildirHomes::new(config)?;
    let policies = MaildropPolicies::new(&config.pop3, data);
    UserBackend::new(users, data, policies, Arc::new(homes))
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

/// Ends in an orderly way, or at once when a second signal comes.
async fn drain(handle: &ServerHandle, config: &Config, signals: &mut Signals) -> ExitCode {
    tokio::select! {
        drained = handle.shutdown("Server shutting down", config.shutdown_grace) => {
            tracing::info!(finished = drained.finished, dropped = drained.dropped, "stopped");
            ExitCode::SUCCESS
        }
        number = signals.first() => {
            tracing::warn!("stopped at once, on a second signal");
            ExitCode::from(128 + number)
        }
    }
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

    /// The next signal that says to stop.
    async fn first(&mut self) -> u8 {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return 15,
                _ = self.interrupt.recv() => return 2,
                _ = self.hangup.recv() => {
                    tracing::info!("the users' file is watched; configuration and certificates are read at the start only");
                }
            }
        }
    }
}

/// A line for each address: name, protocol, TLS mode, address.
fn ready(config: &Config, bound: &BoundServer) -> String {
    let mut text = String::new();
    for (name, address) in bound.local_addrs() {
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
    for (name, address) in bound.local_addrs() {
        let Some(listener) = find(&place.config, &name) else { continue };
        let protocol = match listener.protocol {
            Protocol::Imap => "IMAP",
            Protocol::Pop3 => "POP3",
        };
        let upgrade = if listener.protocol == Protocol::Imap { "STARTTLS" } else { "STLS" };
        let tls = match listener.tls_mode {
            TlsMode::Connection => "TLS".to_owned(),
            TlsMode::OnDemand => format!("plain, or TLS by {upgrade}"),
            TlsMode::Required => format!("TLS by {upgrade}"),
            _ => "plain".to_owned(),
        };
        let _ = writeln!(text, "  {protocol}  {:<22} {tls}", address.to_string());
        if listener.protocol == Protocol::Imap && (example.is_none() || listener.tls_mode == TlsMode::Connection) {
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
    text.push_str("Ctrl-C stops the server.\n");
    text
}
