//! One client on standard input and output.

use std::process::ExitCode;
use std::time::Duration;

use pillarbox_server_core::{HandedIn, NotServed, ServerHandle, stdio};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::Serve;
use super::serve::{backend, named_account, switch, warn_of_root};
use super::{Place, is_terminal, named, runtime};
use crate::config::{Listener, Protocol, TlsMode, UserSource};
use crate::exit::{Failure, Result, Status};
use crate::logging::Logger;
use crate::serving::{Live, Manner, build};
use crate::users::Users;

/// Serves it to its end.
pub(super) fn run(place: &Place, serve: &Serve) -> Result<ExitCode> {
    let protocol = match serve.service.map(Protocol::from).or_else(|| named(&place.called)) {
        Some(protocol) => protocol,
        // Where somebody tries it out, it is for IMAP that there is a test mode.
        None if serve.test || serve.preauth => Protocol::Imap,
        None => return Err(Failure::new(Status::Usage, "-i: say what to speak with --service imap, pop3 or lmtp")),
    };
    let mut listener = place
        .config
        .inetd
        .iter()
        .find(|listener| listener.protocol == protocol)
        .cloned()
        .ok_or_else(|| Failure::new(Status::Usage, format_args!("-i: {} is not for it", protocol.name())))?;
    if listener.tls_mode != TlsMode::No && listener.tls.certificate.is_none() {
        return Err(Failure::new(Status::Unavailable, "server.tls: no certificate set"));
    }
    if is_terminal() && listener.preauth.scheme.is_none() {
        listener.preauth.scheme = Some("stdio".to_owned());
    }
    let mut logging = place.config.clone();
    // The client is not told what is logged.
    logging.logging.syslog |= super::stderr_is_the_client();
    Logger::start(&logging, super::PROGRAM)?;
    let runtime = runtime()?;
    let code = runtime
        .block_on(connection(place, serve, listener))
        .inspect_err(|failure| tracing::error!("the client is not served: {failure}"))?;
    // A thread may still be reading the terminal.
    runtime.shutdown_background();
    Ok(code)
}

async fn connection(place: &Place, serve: &Serve, mut listener: Listener) -> Result<ExitCode> {
    let incoming = stdio::connection().map_err(|error| Failure::io(Status::NoInput, "standard input", &error))?;
    let mut peer = None;
    let incoming = incoming.know(|connection| peer = connection.peer);
    let local = peer.is_none_or(|peer| peer.ip().is_loopback());
    if serve.any_password {
        if !local && !serve.insecure {
            let text = "--any-password: the client is from elsewhere; to let all of them in, add --insecure";
            return Err(Failure::new(Status::Usage, text));
        }
        tracing::warn!("every password is right (--any-password)");
    }
    let allow = match listener.protocol {
        Protocol::Pop3 => place.config.pop3.allow_plain_text,
        _ => place.config.imap.allow_plain_text,
    };
    listener.allow_plain_text = allow.unwrap_or(local);
    let manner = Manner {
        any_password: serve.any_password,
        secured: serve.external_ssf >= 2,
        test: serve.test,
        program: named(&place.called).map(|_| place.called.clone()),
    };
    let (config, data) = (&place.config, place.data()?);
    let listeners = [listener];
    let live = Live::new(config, &listeners, &data, manner)?;
    let [listener] = &listeners;
    let bound = build::inetd(config, &live, listener)?;
    let account = named_account(config)?;
    let (root, system) = (rustix::process::geteuid().is_root(), config.users.contains(&UserSource::System));
    // Only to become a user of the system it has to be root still when somebody logs in.
    if let Some(account) = account.as_ref().filter(|_| !system) {
        switch(account)?;
    } else if root && !system {
        warn_of_root();
    }
    let mut users = backend(config, &data, Users::open(data.users())?)?;
    if root && system {
        users = users.becoming_users(account);
    }
    live.set(config, &listeners, &users)?;
    let server = bound.start().map_err(|error| Failure::io(Status::OsError, "starting to serve", &error))?;
    // Before the first word: who has heard that may send a signal.
    let listen = |kind| signal(kind).map_err(|error| Failure::io(Status::OsError, "waiting for signals", &error));
    let mut signals = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    // There are no lists for it: whoever started this program has decided.
    let incoming = incoming.know(|connection| live.introduce(connection)).unchecked();
    let session: HandedIn = server
        .serve(&listener.id, incoming)
        .map_err(|refused| Failure::new(Status::Unavailable, format_args!("not served: {refused}")))?;
    let watching = tokio::spawn(live.notices().clone().watch(server.clone()));
    let ended = finish(session, &server, &mut signals).await;
    watching.abort();
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::new(Status::Unavailable, error)),
    }
}

/// Waits for the end; a signal brings it about.
async fn finish(session: HandedIn, server: &ServerHandle, signals: &mut (Signal, Signal)) -> Result<(), NotServed> {
    let ended = tokio::select! {
        ended = session => ended.map(drop),
        _ = signals.0.recv() => Ok(()),
        _ = signals.1.recv() => Ok(()),
    };
    // Also when nobody is left: what is to be written down is written then.
    server.shutdown(super::serve::FAREWELL, Duration::from_secs(10)).await;
    ended
}
