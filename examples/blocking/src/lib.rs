//! Serves IMAP and POP3 with `std::net` and threads. There is no async runtime here, nor anywhere in this package's
//! dependencies (a test looks): the protocols are state machines, and this is all that it takes to drive one.
//!
//! [`drive`] is the loop of [`pillarbox_proto_core::conversation`] for blocking sockets, with one thread for each
//! connection. It is the place to look at before porting Pillarbox to another runtime, or to none.
#![forbid(unsafe_code)]

mod bell;
mod drive;
mod socket;

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pillarbox_imap_proto::ImapService;
use pillarbox_pop3_proto::Pop3Service;
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::connection::{Connection, SessionId};
use pillarbox_proto_core::conversation::Conversation;
use pillarbox_proto_core::env::SystemEnv;

pub use drive::{DriveError, drive};

/// Connections that one listener serves at a time; more are closed at once.
const MOST: usize = 1000;
/// How long to wait when the system has no descriptor for a new connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes a conversation for each new connection.
pub trait Service: Send + Sync + 'static {
    /// Its name, for logs.
    fn name(&self) -> &'static str;

    /// The conversation with this client.
    fn connect(&self, connection: Connection) -> Box<dyn Conversation>;
}

/// IMAP over a backend.
#[derive(Debug)]
pub struct Imap(ImapService);

impl Imap {
    /// Takes plain-text passwords, as there is no TLS here: an example for loopback, not for a network.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let mut config = pillarbox_imap_proto::Config::default();
        config.allow_plaintext = true;
        Self(ImapService::new(backend, config, Arc::new(SystemEnv)))
    }
}

impl Service for Imap {
    fn name(&self) -> &'static str {
        "imap"
    }

    fn connect(&self, connection: Connection) -> Box<dyn Conversation> {
        Box::new(self.0.connect(connection, Instant::now()))
    }
}

/// POP3 over a backend.
#[derive(Debug)]
pub struct Pop3(Pop3Service);

impl Pop3 {
    /// See [`Imap::new`].
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let mut config = pillarbox_pop3_proto::Config::default();
        config.allow_plaintext = true;
        Self(Pop3Service::new(backend, config, Arc::new(SystemEnv)))
    }
}

impl Service for Pop3 {
    fn name(&self) -> &'static str {
        "pop3"
    }

    fn connect(&self, connection: Connection) -> Box<dyn Conversation> {
        Box::new(self.0.connect(connection, Instant::now()))
    }
}

/// Serves everyone who connects, each in a thread of its own, up to a thousand at a time.
///
/// It never returns: where the system has no room for another connection or thread, that client is let go, and the
/// others are served on.
pub fn serve(listener: &TcpListener, service: &Arc<dyn Service>) -> ! {
    // Each connection has a clone of it.
    let room = Arc::new(());
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(PAUSE);
            continue;
        };
        if Arc::strong_count(&room) > MOST {
            continue;
        }
        let (service, place) = (service.clone(), room.clone());
        let serving = thread::Builder::new().name(service.name().to_owned()).spawn(move || {
            // What ends one connection is of no interest to the others.
            let _ = receive(stream, &*service);
            drop(place);
        });
        if serving.is_err() {
            thread::sleep(PAUSE);
        }
    }
}

fn receive(stream: TcpStream, service: &dyn Service) -> Result<(), DriveError> {
    static SESSIONS: AtomicU64 = AtomicU64::new(1);
    // Replies are gathered before they are written: waiting for more of them would only delay them.
    stream.set_nodelay(true)?;
    let mut connection = Connection::new(SessionId::new(SESSIONS.fetch_add(1, Ordering::Relaxed)));
    connection.service = service.name().into();
    connection.peer = stream.peer_addr().ok();
    connection.local = stream.local_addr().ok();
    drive(stream, service.connect(connection))
}
