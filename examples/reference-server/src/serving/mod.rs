//! Serving: from settings to a server that runs, and what changes while it does.
//!
//! * [`Live`]: what connections need, put together from the settings, and put together anew when they are reloaded.
//! * [`Doors`]: who may come in, and what they are told at the door.
//! * [`build`]: the settings' listeners as those of the server.
//! * [`notices`]: the files `msg/motd` and `msg/shutdown`.
//! * [`http`]: metrics and health.

pub mod any_password;
pub mod build;
pub mod doors;
pub mod http;
pub mod live;
pub mod notices;
pub mod protocols;

pub use doors::Doors;
pub use live::{Live, Manner};

use crate::config::Config;
use crate::exit::{Failure, Result, Status};

/// Looks at all that the settings name, and makes nothing: certificates, tables, keys.
///
/// # Errors
///
/// [`Status::Config`], naming what is wrong.
pub fn check(config: &Config) -> Result<()> {
    for listener in config.listeners.iter().chain(&config.inetd) {
        build::preauth(listener)?;
        live::tables(config, listener, None)?;
    }
    for (id, certificate) in &config.certificates {
        let named = |listener: &&crate::config::Listener| {
            let tls = &listener.tls;
            tls.certificate.as_ref() == Some(id) || tls.sni.iter().any(|sni| sni.certificate == *id)
        };
        let checks = config.listeners.iter().find(named).map(|listener| listener.tls.file_checks).unwrap_or_default();
        let identity = crate::certificate::identity(id, certificate, &checks)?;
        // Built once to see whether key and certificate belong together.
        let built = pillarbox_server_core::tls::TlsConfig::new().identity(identity).build();
        built.map_err(|error| Failure::new(Status::Config, format_args!("certificate.{id}: {error}")))?;
    }
    Ok(())
}
