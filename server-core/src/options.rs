//! Options of sockets.

use std::io;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive};
use tracing::debug;

/// Options of a listener's sockets and of the connections that it accepts. What is `None` is left as it is: to the
/// server's own [options](crate::Server::socket_options) where these are a listener's, then to the default told here,
/// which without a word is the system's.
///
/// They apply to TCP; of a unix socket's options there are the backlog and the sizes of the buffers. A socket that was
/// [inherited](crate::inherited) has been set up by whom it comes from: of these options it gets those of its
/// connections.
///
/// ```
/// use std::time::Duration;
/// use pillarbox_server_core::SocketOptions;
///
/// let mut all = SocketOptions::default();
/// all.backlog = Some(512);
/// all.linger = Some(Duration::from_secs(5));
/// let mut one = SocketOptions::default();
/// one.backlog = Some(7);
/// let one = one.or(&all);
/// assert_eq!((one.backlog, one.linger), (Some(7), Some(Duration::from_secs(5))));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Listens on an address of which old connections are not yet forgotten (`SO_REUSEADDR`). Default: yes, or a server
    /// could not be restarted; on Windows the option means something else, and the default is no.
    pub reuse_address: Option<bool>,
    /// Shares the address with other processes that ask for the same (`SO_REUSEPORT`). An error where there is no such
    /// thing. Default: no.
    pub reuse_port: Option<bool>,
    /// How many connections the system keeps waiting to be accepted, for each address. The system has a limit of its
    /// own, and takes the smaller. Default: 1,024.
    pub backlog: Option<u32>,
    /// The size of the system's buffer for what is sent, in bytes (`SO_SNDBUF`). Linux takes twice as much.
    pub send_buffer: Option<usize>,
    /// The size of the system's buffer for what is received, in bytes (`SO_RCVBUF`). Linux takes twice as much.
    pub receive_buffer: Option<usize>,
    /// The type of service (IPv4), or traffic class (IPv6), of what is sent: 0 to 255.
    pub tos: Option<u32>,
    /// The time to live (IPv4), or hop limit (IPv6), of what is sent: 1 to 255.
    pub ttl: Option<u32>,
    /// How long the system tries to deliver what was sent before a connection was closed (`SO_LINGER`), in
    /// seconds, rounded up. Zero drops the connection, and may lose the last words.
    pub linger: Option<Duration>,
    /// Sends at once, without waiting for more (`TCP_NODELAY`). Default: yes, as replies are gathered here already, and
    /// waiting for more would only add the client's delayed acknowledgement, 40 ms, to each.
    pub nodelay: Option<bool>,
    /// Asks a silent peer now and then whether it is still there (`SO_KEEPALIVE`). Default: no, unless one of the next
    /// three is set.
    pub keepalive: Option<bool>,
    /// After how much silence it is first asked, in seconds, rounded up.
    pub keepalive_time: Option<Duration>,
    /// After how much more silence it is asked again, in seconds, rounded up.
    pub keepalive_interval: Option<Duration>,
    /// After how many questions without an answer the connection is lost.
    pub keepalive_retries: Option<u32>,
}

/// See [`SocketOptions::backlog`].
const BACKLOG: u32 = 1024;

impl SocketOptions {
    /// These, and where these say nothing, the others.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        Self {
            reuse_address: self.reuse_address.or(others.reuse_address),
            reuse_port: self.reuse_port.or(others.reuse_port),
            backlog: self.backlog.or(others.backlog),
            send_buffer: self.send_buffer.or(others.send_buffer),
            receive_buffer: self.receive_buffer.or(others.receive_buffer),
            tos: self.tos.or(others.tos),
            ttl: self.ttl.or(others.ttl),
            linger: self.linger.or(others.linger),
            nodelay: self.nodelay.or(others.nodelay),
            keepalive: self.keepalive.or(others.keepalive),
            keepalive_time: self.keepalive_time.or(others.keepalive_time),
            keepalive_interval: self.keepalive_interval.or(others.keepalive_interval),
            keepalive_retries: self.keepalive_retries.or(others.keepalive_retries),
        }
    }

    /// The backlog, as the system wants it.
    pub(crate) fn queue(&self) -> i32 {
        i32::try_from(self.backlog.unwrap_or(BACKLOG)).unwrap_or(i32::MAX)
    }

    /// Sets what has to be set before a socket is bound; connections that it accepts have it from there.
    pub(crate) fn prepare(&self, socket: &Socket, domain: Domain) -> io::Result<()> {
        if let Some(size) = self.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        if let Some(size) = self.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        if domain == Domain::UNIX {
            return Ok(());
        }
        // A restarted server must not wait for the connections of its predecessor to be forgotten. On Windows the
        // option means that a port can be taken from under a running server.
        if self.reuse_address.unwrap_or(cfg!(not(windows))) {
            socket.set_reuse_address(true)?;
        }
        if self.reuse_port == Some(true) {
            set_reuse_port(socket)?;
        }
        if let Some(tos) = self.tos {
            set_tos(socket, domain, tos)?;
        }
        Ok(())
    }

    /// Sets what each connection has by itself. What fails is logged, and the connection goes on.
    pub(crate) fn apply(&self, connection: SockRef<'_>, is_ipv6: bool) {
        let log = |option: &str, result: io::Result<()>| {
            if let Err(error) = result {
                debug!(option, %error, "cannot set a socket option");
            }
        };
        if self.nodelay.unwrap_or(true) {
            log("nodelay", connection.set_tcp_nodelay(true));
        }
        if let Some(ttl) = self.ttl {
            if is_ipv6 {
                log("ttl", connection.set_unicast_hops_v6(ttl));
            } else {
                log("ttl", connection.set_ttl_v4(ttl));
            }
        }
        if let Some(linger) = self.linger {
            log("linger", connection.set_linger(Some(whole_seconds(linger))));
        }
        match self.keepalive() {
            Some(None) => log("keepalive", connection.set_keepalive(true)),
            Some(Some(keepalive)) => log("keepalive", connection.set_tcp_keepalive(&keepalive)),
            None => {}
        }
    }

    /// Whether connections are to be kept alive, and how if that is not left to the system.
    fn keepalive(&self) -> Option<Option<TcpKeepalive>> {
        let mut how = TcpKeepalive::new();
        if let Some(time) = self.keepalive_time {
            how = how.with_time(whole_seconds(time));
        }
        if let Some(interval) = self.keepalive_interval {
            how = how.with_interval(whole_seconds(interval));
        }
        if let Some(retries) = self.keepalive_retries {
            how = how.with_retries(retries);
        }
        let any =
            self.keepalive_time.is_some() || self.keepalive_interval.is_some() || self.keepalive_retries.is_some();
        self.keepalive.unwrap_or(any).then(|| any.then_some(how))
    }
}

/// The system counts seconds, and a part of one must not become none.
fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)))
}

#[cfg(unix)]
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(unix))]
fn set_reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no reuse-port"))
}

fn set_tos(socket: &Socket, domain: Domain, tos: u32) -> io::Result<()> {
    if domain != Domain::IPV6 {
        return socket.set_tos_v4(tos);
    }
    #[cfg(target_os = "linux")]
    {
        socket.set_tclass_v6(tos)?;
        // For IPv4 clients of an IPv6 socket; where it speaks IPv6 alone there is nothing to set.
        let _ = socket.set_tos_v4(tos);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalive_is_on_when_anything_of_it_is_set() {
        let mut options = SocketOptions::default();
        assert!(options.keepalive().is_none());
        options.keepalive = Some(true);
        assert!(matches!(options.keepalive(), Some(None)));
        options.keepalive = None;
        options.keepalive_retries = Some(3);
        assert!(matches!(options.keepalive(), Some(Some(_))));
        options.keepalive = Some(false);
        assert!(options.keepalive().is_none(), "said is said");
    }

    #[test]
    fn a_backlog_fits() {
        assert_eq!(SocketOptions::default().queue(), 1024);
        assert_eq!(SocketOptions { backlog: Some(u32::MAX), ..SocketOptions::default() }.queue(), i32::MAX);
    }
}
