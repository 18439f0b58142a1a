//! From the configuration's listeners to those of the server.

use std::sync::Arc;

use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::env::{Env, SystemEnv};
use pillarbox_server_core::tls::{TlsAcceptor, TlsConfig, TlsIdentity};
use pillarbox_server_core::{BindError, BoundServer, Server, now};

use crate::backend::UserBackend;
use crate::certificate;
use crate::config::{Certificate, Config, Listener, Protocol, SELF_SIGNED};
use crate::data::DataFolder;
use crate::exit::{Failure, Result, Status};

/// Reads a certificate, and checks that key and certificate belong together.
///
/// # Errors
///
/// [`Status::Config`], naming what is wrong.
pub(super) fn identity(id: &str, files: &Certificate) -> Result<TlsIdentity> {
    let loaded = certificate::load(id, files)?;
    let identity = TlsIdentity::new(loaded.chain, loaded.key);
    // Built once to see whether it is good; each listener builds its own, as handshake times may differ.
    TlsConfig::new()
        .identity(identity.clone())
        .build()
        .map_err(|error| Failure::new(Status::Config, format_args!("certificate.{id} ({}): {error}", shown(files))))?;
    Ok(identity)
}

fn shown(files: &Certificate) -> String {
    match &files.cert {
        crate::config::Pem::File(path) => path.display().to_string(),
        crate::config::Pem::Inline(_) => "given in the configuration".to_owned(),
    }
}

/// Binds everything that the configuration names, or nothing.
///
/// # Errors
///
/// The first certificate or address that is not good.
pub(super) fn bind(config: &Config, data: &DataFolder, backend: &UserBackend) -> Result<BoundServer> {
    let mut server = Server::new();
    for listener in &config.listeners {
        server = server.listener(build(config, data, backend, listener)?);
    }
    server.bind().map_err(|error| match &error {
        BindError::Bind { listener, address, source } => {
            let address = match address {
                pillarbox_server_core::Address::Tcp(address) => address.to_string(),
                other => format!("{other:?}"),
            };
            let what = format_args!("listener {listener}: can't listen on {address}");
            Failure::io(Status::Unavailable, what, source)
        }
        _ => Failure::new(Status::Config, error),
    })
}

fn build(
    config: &Config,
    data: &DataFolder,
    backend: &UserBackend,
    listener: &Listener,
) -> Result<pillarbox_server_core::Listener> {
    let backend = Arc::new(backend.for_protocol(listener.protocol));
    let env: Arc<dyn Env> = Arc::new(SystemEnv);
    let mut built = match listener.protocol {
        Protocol::Imap => {
            let (config, backend) = (Arc::new(imap(config, listener)), backend as Arc<dyn Backend>);
            pillarbox_server_core::Listener::new(listener.id.as_str(), move |connection| {
                let (config, env, backend) = (Arc::clone(&config), Arc::clone(&env), Arc::clone(&backend));
                Box::new(pillarbox_imap_proto::ImapConversation::new(config, env, backend, connection, now()))
            })
        }
        Protocol::Pop3 => {
            let service = pillarbox_pop3_proto::Pop3Service::new(backend, pop3(config, listener), env);
            pillarbox_server_core::Listener::new(listener.id.as_str(), move |connection| {
                Box::new(service.connect(connection, now()))
            })
        }
    };
    for address in &listener.bind {
        built = built.address(*address);
    }
    built = built.max_connections(listener.max_connections);
    if listener.tls_mode != TlsMode::No
        && let Some(id) = &listener.certificate
    {
        built = built.tls(listener.tls_mode, acceptor(config, data, listener, id)?);
    }
    Ok(built)
}

fn acceptor(config: &Config, data: &DataFolder, listener: &Listener, id: &str) -> Result<TlsAcceptor> {
    let files = match config.certificates.get(id) {
        Some(files) => files.clone(),
        None if id == SELF_SIGNED => certificate::self_signed(data)?.0,
        None => {
            return Err(Failure::new(Status::Config, format_args!("listener {}: no certificate {id}", listener.id)));
        }
    };
    TlsConfig::new()
        .identity(identity(id, &files)?)
        .handshake_timeout(listener.tls_timeout)
        .build()
        .map_err(|error| Failure::new(Status::Config, format_args!("listener {}: {error}", listener.id)))
}

fn imap(config: &Config, listener: &Listener) -> pillarbox_imap_proto::Config {
    use pillarbox_imap_proto::LiteralMode;
    let mut imap = pillarbox_imap_proto::Config::default();
    imap.tls_mode = listener.tls_mode;
    imap.allow_plaintext = listener.allow_plain_text;
    imap.literal_mode = if config.imap.literal_minus { LiteralMode::Minus } else { LiteralMode::Plus };
    imap.append_limit = Some(config.max_message_size);
    imap.limits.failed_logins = config.imap.max_failures;
    imap.timeouts.login = Some(config.imap.timeout_anonymous);
    imap.timeouts.idle = Some(config.imap.timeout_authenticated);
    imap
}

fn pop3(config: &Config, listener: &Listener) -> pillarbox_pop3_proto::Config {
    let mut pop3 = pillarbox_pop3_proto::Config::default();
    pop3.tls_mode = listener.tls_mode;
    pop3.allow_plaintext = listener.allow_plain_text;
    pop3.limits.failed_logins = config.pop3.max_failures;
    pop3.undelete = config.pop3.undelete;
    pop3.internationalized = config.pop3.internationalized;
    // The first is what `LANG *` selects.
    pop3.languages.sort_by_key(|language| language.tag() != config.pop3.language);
    pop3.timeouts.login = Some(config.pop3.timeout_anonymous);
    pop3.timeouts.idle = Some(config.pop3.timeout_authenticated);
    pop3
}
