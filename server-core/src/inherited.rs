//! Sockets that the process was started with, and words to the service manager that started it.
//!
//! This is the protocol of systemd: `LISTEN_FDS` and `LISTEN_PID` say that there are sockets, `LISTEN_FDNAMES` has their
//! names, `NOTIFY_SOCKET` is where the manager listens. Without these variables everything here does nothing.
//!
//! A socket belongs to the listener of its name (`FileDescriptorName=` of the socket unit), else to the one that has its
//! address; a listener that gets sockets by its name binds none of its own addresses. One that belongs to nobody is an
//! error at [`bind`](crate::Server::bind).
//!
//! ```no_run
//! use pillarbox_server_core::{Server, inherited};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // First thing in the process.
//! let sockets = inherited::take()?;
//! let server = Server::new().inherited(sockets);
//! # let server: Server = server;
//! let server = server.bind()?.start()?;
//! inherited::notify(inherited::READY)?;
//! // ... when a signal comes:
//! inherited::notify(inherited::STOPPING)?;
//! server.stopped().await;
//! # Ok(())
//! # }
//! ```

use std::env;
use std::io;

use crate::address::Address;
use crate::socket::Listening;

/// The server serves.
pub const READY: &str = "READY=1";
/// The server is leaving.
pub const STOPPING: &str = "STOPPING=1";

/// More sockets than this are a mistake.
const MOST: usize = 1024;

/// Sockets that the process was started with; see the [module's documentation](self).
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(Box<str>, Listening)>,
}

impl Inherited {
    /// Their names. What was given no name is `unknown`, as systemd says.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sockets.iter().map(|(name, _)| &**name)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    pub(crate) fn take_named(&mut self, wanted: &str) -> Vec<Listening> {
        self.sockets.extract_if(.., |(name, _)| **name == *wanted).map(|(_, socket)| socket).collect()
    }

    pub(crate) fn take_at(&mut self, wanted: &Address) -> Option<Listening> {
        let is_there = |socket: &Listening| match (socket.local(), wanted) {
            (Ok(Address::Unix { path: one, .. }), Address::Unix { path: other, .. }) => one == *other,
            (Ok(local), wanted) => local == *wanted,
            (Err(_), _) => false,
        };
        let at = self.sockets.iter().position(|(_, socket)| is_there(socket))?;
        Some(self.sockets.remove(at).1)
    }
}

/// Takes the sockets that the process was started with; called again, there is none.
///
/// It takes two variables out of the environment, so call it before other threads may read that.
///
/// # Errors
///
/// What was given is no listening stream socket; the error names it.
#[cfg(unix)]
pub fn take() -> io::Result<Inherited> {
    let ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let count = env::var("LISTEN_FDS").ok().filter(|_| ours);
    let Some(count) = count else { return Ok(Inherited::default()) };
    let count: usize = count.parse().ok().filter(|count| *count <= MOST).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("LISTEN_FDS is no number up to {MOST}: {count}"))
    })?;
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let mut given = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..count {
        let name: Box<str> = names.next().unwrap_or("unknown").into();
        let error = |error: io::Error| {
            io::Error::new(error.kind(), format!("the inherited socket {name} can't be listened on: {error}"))
        };
        let socket = match given.take_tcp_listener(index) {
            Ok(Some(socket)) => Listening::Tcp(socket),
            // Of another family, then, or no socket at all.
            _ => match given.take_unix_listener(index).map_err(error)? {
                Some(socket) => Listening::Unix(socket, None),
                None => continue,
            },
        };
        socket.check_inherited().map_err(error)?;
        sockets.push((name, socket));
    }
    Ok(Inherited { sockets })
}

/// There is nothing of the kind on this system.
#[cfg(not(unix))]
pub fn take() -> io::Result<Inherited> {
    Ok(Inherited::default())
}

/// Says something to the service manager, such as [`READY`], and returns whether there is one that listens.
///
/// Words of one's own are lines of `KEY=VALUE`, such as `STATUS=Reading the configuration`; the manager's manual has
/// them.
///
/// # Errors
///
/// The manager can't be reached.
#[cfg(unix)]
pub fn notify(words: &str) -> io::Result<bool> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(place) = env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty()) else { return Ok(false) };
    let address = match place.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&place)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that has stopped reading must not stop us.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(words.as_bytes(), &address)?;
    Ok(true)
}

/// There is nothing of the kind on this system.
#[cfg(not(unix))]
pub fn notify(_: &str) -> io::Result<bool> {
    Ok(false)
}

/// Tells the service manager that the configuration is being read again; say [`READY`] when that is done.
///
/// # Errors
///
/// The manager can't be reached.
#[cfg(target_os = "linux")]
pub fn notify_reloading() -> io::Result<bool> {
    // The manager wants to know which of two words came first.
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec) / 1_000;
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"))
}
