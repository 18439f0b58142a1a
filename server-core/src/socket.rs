//! Sockets that listen: made before a runtime is there, and then accepted from.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Socket, Type};

use crate::address::Address;
use crate::options::SocketOptions;
use crate::transport::Transport;
#[cfg(unix)]
use crate::unix_file::SocketFile;

/// A socket that listens, outside a runtime. Dropped, it is as if it had never been.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, Option<SocketFile>),
}

impl Listening {
    /// Binds an IP address. `[::]` takes IPv4 clients too, unless `only_v6`.
    pub(crate) fn tcp(address: SocketAddr, options: &SocketOptions, only_v6: bool) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        options.prepare(&socket, domain)?;
        if is_unspecified_v6(&address) {
            // Whatever the system's own default is. Where it can't do so, IPv6 alone is what is left.
            let _ = socket.set_only_v6(only_v6);
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(options.queue())?;
        Ok(Self::Tcp(socket.into()))
    }

    /// Binds a path.
    #[cfg(unix)]
    pub(crate) fn unix(path: &std::path::Path, mode: Option<u32>, options: &SocketOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        options.prepare(&socket, Domain::UNIX)?;
        socket.set_nonblocking(true)?;
        // Nobody can connect before it listens, so the mode is in force for the first client.
        let file = SocketFile::bind(&socket, path, mode)?;
        socket.listen(options.queue())?;
        Ok(Self::Unix(socket.into(), Some(file)))
    }

    /// Whether a socket that came from elsewhere can be accepted from; makes it so that it can.
    #[cfg(unix)]
    pub(crate) fn check_inherited(&self) -> io::Result<()> {
        let socket = match self {
            Self::Tcp(socket) => socket2::SockRef::from(socket),
            Self::Unix(socket, _) => socket2::SockRef::from(socket),
        };
        #[cfg(target_os = "linux")]
        if !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
        }
        socket.set_nonblocking(true)
    }

    /// Its address, with the port that the system chose.
    pub(crate) fn local(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(socket) => Ok(socket.local_addr()?.into()),
            #[cfg(unix)]
            Self::Unix(_, Some(file)) => Ok(Address::unix(file.path())),
            #[cfg(unix)]
            Self::Unix(socket, None) => {
                let name = socket.local_addr()?;
                Ok(Address::unix(name.as_pathname().unwrap_or_else(|| std::path::Path::new(""))))
            }
        }
    }

    /// For the current runtime.
    pub(crate) fn open(self) -> io::Result<Door> {
        Ok(match self {
            Self::Tcp(socket) => Door::Tcp(tokio::net::TcpListener::from_std(socket)?),
            #[cfg(unix)]
            Self::Unix(socket, file) => Door::Unix(tokio::net::UnixListener::from_std(socket)?, file),
        })
    }
}

/// Whether this is `[::]`, which may mean `0.0.0.0` too.
pub(crate) fn is_unspecified_v6(address: &SocketAddr) -> bool {
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

/// A socket that is accepted from.
#[derive(Debug)]
pub(crate) enum Door {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, #[expect(dead_code, reason = "removes the file when dropped")] Option<SocketFile>),
}

impl Door {
    /// The next connection, and who is at its other end as far as that has an address.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Transport, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, peer)| (stream.into(), Some(canonical(peer)))),
            #[cfg(unix)]
            Self::Unix(socket, _) => socket.poll_accept(cx).map_ok(|(stream, _)| (stream.into(), None)),
        }
    }
}

/// An IPv4 client of an IPv6 socket has its IPv4 address.
pub(crate) fn canonical(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(address.ip().to_canonical());
    address
}

/// Whether the next accept can go well at once: the error is that of a connection that ended while it waited.
pub(crate) fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_unmapped() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:143".parse().unwrap();
        assert_eq!(canonical(mapped).to_string(), "192.0.2.1:143");
        let real: SocketAddr = "[2001:db8::1]:143".parse().unwrap();
        assert_eq!(canonical(real), real);
    }
}
