//! Options of sockets.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::listener::Options;
use super::value::{Size, Span, Word};

/// Options of a listener's sockets. What is `None` is left as the system has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Socket {
    /// An address can be used again at once after a restart.
    pub reuse_addr: bool,
    /// Several processes can listen on the same address.
    pub reuse_port: bool,
    /// Connections that wait to be accepted.
    pub backlog: u32,
    /// Time to live of packets.
    pub ttl: Option<u32>,
    /// The size of the kernel's buffer for sending, in octets.
    pub send_buffer_size: Option<u32>,
    /// The size of the kernel's buffer for receiving, in octets.
    pub recv_buffer_size: Option<u32>,
    /// How long closing waits until everything is sent.
    pub linger: Option<Duration>,
    /// Type of service.
    pub tos: Option<u32>,
    /// Small packets are sent at once.
    pub nodelay: bool,
    /// After how long of silence the system asks whether the client is still there.
    pub keepalive: Option<Duration>,
    /// The permission bits of the files of unix sockets; `None` for what the umask leaves.
    pub mode: Option<u32>,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            reuse_addr: true,
            reuse_port: false,
            backlog: 1024,
            ttl: None,
            send_buffer_size: None,
            recv_buffer_size: None,
            linger: None,
            tos: None,
            nodelay: true,
            keepalive: None,
            mode: None,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct SocketTable {
    reuse_addr: Option<bool>,
    reuse_port: Option<bool>,
    backlog: Option<Spanned<u64>>,
    ttl: Option<Spanned<u64>>,
    send_buffer_size: Option<Spanned<Size>>,
    recv_buffer_size: Option<Spanned<Size>>,
    linger: Option<Span>,
    tos: Option<Spanned<u64>>,
    nodelay: Option<bool>,
    keepalive: Option<Span>,
    pub(super) mode: Option<Spanned<Word>>,
}

impl Socket {
    pub(super) fn resolve(source: &Source<'_>, own: Options<'_>, server: Options<'_>) -> Result<Self, ConfigError> {
        let default = Self::default();
        let (a, b) = (own.socket, server.socket);
        // Mailutils has it without the table.
        let mut backlog = None;
        for level in [own, server] {
            if let (Some(_), Some(twice)) = (&level.socket.backlog, level.backlog) {
                return Err(source.error(&twice.span(), "backlog and socket.backlog exclude each other"));
            }
            backlog = backlog.or(level.socket.backlog.as_ref()).or(level.backlog.as_ref());
        }
        let within = |value: Option<&Spanned<u64>>, most: u64| match value {
            Some(value) if (1..=most).contains(value.get_ref()) => {
                Ok(Some(u32::try_from(*value.get_ref()).unwrap_or(u32::MAX)))
            }
            Some(value) => Err(source.error(&value.span(), format_args!("must be between 1 and {most}"))),
            None => Ok(None),
        };
        let size = |own: &Option<Spanned<Size>>, server: &Option<Spanned<Size>>| match own.as_ref().or(server.as_ref())
        {
            Some(value) => match u32::try_from(value.get_ref().0) {
                Ok(size) if (1..=1 << 30).contains(&size) => Ok(Some(size)),
                _ => Err(source.error(&value.span(), "must be between 1 octet and 1 GiB")),
            },
            None => Ok(None),
        };
        Ok(Self {
            reuse_addr: a.reuse_addr.or(b.reuse_addr).unwrap_or(default.reuse_addr),
            reuse_port: a.reuse_port.or(b.reuse_port).unwrap_or(default.reuse_port),
            backlog: within(backlog, 65_535)?.unwrap_or(default.backlog),
            ttl: within(a.ttl.as_ref().or(b.ttl.as_ref()), 255)?,
            send_buffer_size: size(&a.send_buffer_size, &b.send_buffer_size)?,
            recv_buffer_size: size(&a.recv_buffer_size, &b.recv_buffer_size)?,
            linger: a.linger.or(b.linger).map(|span| span.0),
            tos: within(a.tos.as_ref().or(b.tos.as_ref()), 255)?,
            nodelay: a.nodelay.or(b.nodelay).unwrap_or(default.nodelay),
            keepalive: a.keepalive.or(b.keepalive).map(|span| span.0),
            mode: a.mode.as_ref().or(b.mode.as_ref()).map(|mode| source.file_mode(mode)).transpose()?,
        })
    }
}
