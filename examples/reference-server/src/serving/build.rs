//! The settings' listeners as those of the server.

use std::sync::Arc;

use pillarbox_server_core::inherited::Inherited;
use pillarbox_server_core::preauth::{IdentKeys, Scheme};
use pillarbox_server_core::tls::FileKind;
use pillarbox_server_core::{BindError, BoundServer, MakeRedactor, Server, SocketOptions, TranscriptOptions};

use super::doors::Door;
use super::live::Live;
use crate::config::{Config, Listener, Protocol, Socket, TlsMode};
use crate::exit::{Failure, Result, Status};

/// How long the server goes on beside what the configuration says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// After so many connections.
    pub max_uses: Option<u64>,
    /// When nobody was there for so long.
    pub idle_exit: Option<std::time::Duration>,
}

/// Connections at a time, where nobody says how many.
const MOST_CONNECTIONS: usize = 65_536;
/// File descriptors that are not for connections: a mailbox that is open takes some.
const OTHER_DESCRIPTORS: usize = 128;

/// Binds everything that the configuration names, or nothing. There may be as many open files as `descriptors` says.
///
/// # Errors
///
/// The first address that is not good.
pub fn bind(
    config: &Config,
    live: &Arc<Live>,
    inherited: Inherited,
    ends: Ends,
    descriptors: Option<u64>,
) -> Result<BoundServer> {
    let mut server = common(config, live).inherited(inherited).stagger(config.server.shutdown_stagger);
    let room = descriptors.map_or(MOST_CONNECTIONS, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let room = room.saturating_sub(OTHER_DESCRIPTORS).clamp(1, MOST_CONNECTIONS);
    server = server.max_connections(config.server.max_children.unwrap_or(room));
    if let Some(connections) = ends.max_uses {
        server = server.max_uses(connections);
    }
    if let Some(time) = ends.idle_exit {
        server = server.idle_exit(time);
    }
    for listener in &config.listeners {
        if listener.single_process {
            let id = &listener.id;
            tracing::warn!("listener {id} serves its connections one after another (single-process): for debugging");
        }
        let mut built = build(config, live, listener)?;
        for address in &listener.bind {
            built = built.address(match listener.socket.mode {
                Some(mode) => address.clone().with_mode(mode),
                None => address.clone(),
            });
        }
        server = server.listener(built);
    }
    server.bind().map_err(failed)
}

/// A server for one connection on standard input and output.
///
/// # Errors
///
/// When the hook for preauth can't be made.
pub fn inetd(config: &Config, live: &Arc<Live>, listener: &Listener) -> Result<BoundServer> {
    common(config, live).listener(build(config, live, listener)?.without_address()).bind().map_err(failed)
}

fn common(config: &Config, live: &Arc<Live>) -> Server {
    let limits = live.limits();
    let mut server = Server::new().address_limits(limits.addresses.clone()).penalties(limits.penalties.clone());
    if config.limits.memory.is_some() {
        server = server.memory_ceiling(limits.memory.clone());
    }
    server
}

fn failed(error: BindError) -> Failure {
    match &error {
        BindError::Bind { listener, address, source } => {
            Failure::io(Status::Unavailable, format_args!("listener {listener}: can't listen on {address}"), source)
        }
        _ => Failure::new(Status::Config, error),
    }
}

fn build(config: &Config, live: &Arc<Live>, listener: &Listener) -> Result<pillarbox_server_core::Listener> {
    let id: Arc<str> = listener.id.as_str().into();
    let make = {
        let (live, id) = (Arc::clone(live), Arc::clone(&id));
        move |connection| live.converse(&id, connection)
    };
    let mut built = pillarbox_server_core::Listener::new(Arc::clone(&id), make)
        .gate(Door { live: Arc::clone(live), listener: id })
        .max_connections(listener.max_connections)
        .one_at_a_time(listener.single_process)
        .socket_options(options(&listener.socket))
        .proxy_networks(listener.trusted_networks.iter().copied())
        .proxy_timeout(listener.tls.timeout)
        .preauth_only(listener.preauth.only)
        .write_stall(config.limits.write_stall);
    if let Some(rate) = config.limits.min_rate {
        built = built.min_rate(rate);
    }
    if let Some(redactor) = redactor(listener.protocol) {
        built = built.telemetry(live.telemetry().clone(), redactor);
        if listener.transcript {
            let mut options = TranscriptOptions::default();
            (options.secrets, options.data) = (listener.transcript_secrets, listener.transcript_data);
            built = built.transcript(options, redactor);
        }
    }
    if let Some(hook) = preauth(listener)? {
        built = built.preauth(hook);
    }
    if listener.tls_mode != TlsMode::No {
        built = match live.acceptor(listener) {
            Some(acceptor) => built.tls(listener.tls_mode, acceptor),
            None => built.tls_mode(listener.tls_mode),
        };
    }
    Ok(built)
}

/// What takes secrets and messages out of what is written down.
fn redactor(protocol: Protocol) -> Option<MakeRedactor> {
    match protocol {
        Protocol::Imap => Some(pillarbox_imap_proto::Redactor::boxed),
        Protocol::Pop3 => Some(pillarbox_pop3_proto::Redactor::boxed),
        _ => None,
    }
}

pub(super) fn preauth(listener: &Listener) -> Result<Option<Scheme>> {
    let preauth = &listener.preauth;
    let Some(text) = &preauth.scheme else { return Ok(None) };
    let fault =
        |error: &dyn std::fmt::Display| Failure::new(Status::Config, format_args!("listener {}: {error}", listener.id));
    Ok(Some(match Scheme::parse(text).map_err(|error| fault(&error))? {
        Scheme::Ident(ident) => {
            let mut ident = ident.encrypt_only(preauth.ident_encrypt_only);
            if let Some(path) = &preauth.ident_keyfile {
                // Whoever has it can be anybody: it is looked at as the key of a certificate is.
                listener.tls.file_checks.check(path, FileKind::Key).map_err(|error| fault(&error))?;
                ident = ident.keys(IdentKeys::from_file(path).map_err(|error| fault(&error))?);
            }
            Scheme::Ident(ident)
        }
        other => other,
    }))
}

fn options(socket: &Socket) -> SocketOptions {
    let mut options = SocketOptions::default();
    let size = |size: Option<u32>| size.and_then(|size| usize::try_from(size).ok());
    options.reuse_address = Some(socket.reuse_addr);
    options.reuse_port = Some(socket.reuse_port);
    options.backlog = Some(socket.backlog);
    options.send_buffer = size(socket.send_buffer_size);
    options.receive_buffer = size(socket.recv_buffer_size);
    options.tos = socket.tos;
    options.ttl = socket.ttl;
    options.linger = socket.linger;
    options.nodelay = Some(socket.nodelay);
    options.keepalive = socket.keepalive.map(|_| true);
    options.keepalive_time = socket.keepalive;
    options
}
