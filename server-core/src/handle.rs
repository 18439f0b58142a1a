//! A server that is bound, and one that runs: handing in, telling, leaving.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::conversation::Control;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::address::Address;
use crate::control::Controls;
use crate::entrance::{Entrance, Shared};
use crate::incoming::{HandedIn, Incoming};
use crate::record::SessionInfo;
use crate::refused::Refused;
use crate::socket::Listening;

/// How often the good-byes of a staggered shutdown go on.
const TICK: Duration = Duration::from_millis(10);

/// The longest time between two of them: a few clients that come back at once are no burden.
const BETWEEN_GOOD_BYES: Duration = Duration::from_millis(100);

/// A server whose sockets listen. Clients can connect already; they wait for [`start`](Self::start).
pub struct BoundServer {
    ways: Vec<Way>,
    shared: Arc<Shared>,
    idle_exit: Option<Duration>,
    stagger: Duration,
}

/// One listener with its sockets and their addresses.
pub(crate) struct Way {
    pub(crate) entrance: Entrance,
    pub(crate) sockets: Vec<(Listening, Address)>,
}

impl BoundServer {
    pub(crate) fn new(ways: Vec<Way>, shared: Arc<Shared>, idle_exit: Option<Duration>, stagger: Duration) -> Self {
        Self { ways, shared, idle_exit, stagger }
    }

    /// The name of each listener with each of its addresses, in the order in which they were added, with the port that
    /// the system chose where 0 was given, and all addresses of a host name.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Arc<str>, Address)> {
        let of = |way: &Way| {
            let name = way.entrance.listener.name.clone();
            way.sockets.iter().map(move |(_, local)| (name.clone(), local.clone())).collect::<Vec<_>>()
        };
        self.ways.iter().flat_map(of).collect()
    }

    /// As [`addresses`](Self::addresses), those of TCP alone.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<(Arc<str>, SocketAddr)> {
        tcp_alone(self.addresses())
    }

    /// Serves, in tasks of the current tokio runtime, which needs I/O and time enabled.
    ///
    /// # Errors
    ///
    /// The runtime can't take a socket.
    ///
    /// # Panics
    ///
    /// Outside a runtime, as everything of tokio that needs one.
    pub fn start(self) -> io::Result<ServerHandle> {
        let addresses: Arc<[_]> = self.addresses().into();
        let local_addrs = tcp_alone(addresses.to_vec()).into();
        let mut open = Vec::new();
        for way in self.ways {
            let doors = way.sockets.into_iter().map(|(socket, local)| {
                debug!(listener = %way.entrance.listener.name, %local, "listening");
                socket.open()
            });
            let doors = doors.collect::<io::Result<Vec<_>>>()?;
            open.push((way.entrance, doors));
        }
        let (shared, loops) = (self.shared, TaskTracker::new());
        let entrances = open.iter().map(|(entrance, _)| entrance.clone()).collect();
        for (entrance, doors) in open {
            if !doors.is_empty() {
                loops.spawn(entrance.run(doors));
            }
        }
        loops.spawn({
            let shared = shared.clone();
            async move {
                // Also where nothing is listened on: a server runs until it is told to stop.
                match self.idle_exit {
                    None => shared.stop.cancelled().await,
                    Some(time) => {
                        if shared.stop.run_until_cancelled(shared.slots.unused_for(time)).await.is_some() {
                            debug!(?time, "nobody was here for so long: no more is accepted");
                            shared.stop.cancel();
                        }
                    }
                }
            }
        });
        loops.close();
        shared.tracker.close();
        Ok(ServerHandle { addresses, local_addrs, loops, entrances, shared, stagger: self.stagger })
    }
}

fn tcp_alone(addresses: Vec<(Arc<str>, Address)>) -> Vec<(Arc<str>, SocketAddr)> {
    let tcp = |(name, address)| match address {
        Address::Tcp(address) => Some((name, address)),
        _ => None,
    };
    addresses.into_iter().filter_map(tcp).collect()
}

impl fmt::Debug for BoundServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundServer").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

/// A server that runs. Clones are handles of the same one; dropping them all leaves it running.
#[derive(Clone)]
pub struct ServerHandle {
    addresses: Arc<[(Arc<str>, Address)]>,
    local_addrs: Arc<[(Arc<str>, SocketAddr)]>,
    loops: TaskTracker,
    entrances: Arc<[Entrance]>,
    shared: Arc<Shared>,
    stagger: Duration,
}

impl ServerHandle {
    /// See [`BoundServer::addresses`].
    #[must_use]
    pub fn addresses(&self) -> &[(Arc<str>, Address)] {
        &self.addresses
    }

    /// See [`BoundServer::local_addrs`].
    #[must_use]
    pub fn local_addrs(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.local_addrs
    }

    /// The first address of the listener with this name.
    #[must_use]
    pub fn local_addr(&self, listener: &str) -> Option<SocketAddr> {
        self.local_addrs.iter().find(|(name, _)| **name == *listener).map(|(_, address)| *address)
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.sessions.count()
    }

    /// Every open connection, the longest there first: who it is, in what state, how much has passed. A picture of the
    /// moment, each taken by itself.
    ///
    /// ```
    /// fn list(server: &pillarbox_server_core::ServerHandle) {
    ///     for session in server.sessions() {
    ///         let user = session.user.as_deref().unwrap_or("-");
    ///         println!("{} {user} {} {:?}", session.id, session.state, session.age);
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.sessions.infos()
    }

    /// Ends one session now, with this text where its protocol has a place for it, and returns whether it was there. What
    /// only reads is dropped, a change is finished; see [`Control::Kick`].
    pub fn end_session(&self, session: SessionId, text: &str) -> bool {
        self.send(session, Control::Kick { text: text.into() })
    }

    /// As [`end_session`](Self::end_session), every session of this user; returns how many there were. One that logs in
    /// meanwhile, or later, is none of them: whoever is to stay outside has to be kept out by the backend, before.
    pub fn end_user(&self, user: &str, text: &str) -> usize {
        self.shared.sessions.tell_user(user, &Control::Kick { text: text.into() })
    }

    /// Says something to every conversation, and returns to how many.
    pub fn broadcast(&self, control: &Control) -> usize {
        self.shared.sessions.tell(control)
    }

    /// Says something to one conversation, and returns whether it is still there.
    pub fn send(&self, session: SessionId, control: Control) -> bool {
        self.shared.sessions.tell_one(session, control)
    }

    /// Serves a connection that our program has got from elsewhere, as one of this listener's: in its TLS mode, with its
    /// conversation, and by way of all limits and gates unless it is [unchecked](Incoming::unchecked).
    ///
    /// ```
    /// use pillarbox_server_core::{Incoming, ServerHandle};
    ///
    /// async fn tunnel(server: &ServerHandle, stream: tokio::net::TcpStream) {
    ///     match server.serve("imap", Incoming::from(stream).unchecked()) {
    ///         Ok(session) => println!("{:?}", session.await),
    ///         Err(refused) => eprintln!("{refused}"),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such listener, or there is no room for the connection. What is found out later, the future tells
    /// that comes back.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn serve(&self, listener: &str, incoming: impl Into<Incoming>) -> Result<HandedIn, Refused> {
        let incoming = incoming.into();
        let entrance = self.entrances.iter().find(|entrance| *entrance.listener.name == *listener);
        let entrance = entrance.ok_or(Refused::NoListener);
        let (report, end) = oneshot::channel();
        let peer = incoming.connection.peer;
        let handed_in = entrance.and_then(|entrance| {
            entrance.hand_in(incoming, report).inspect_err(|refused| entrance.meters.refused(*refused))
        });
        match handed_in {
            Ok(()) => Ok(HandedIn(end)),
            Err(refused) => {
                refused.note(listener, peer, &refused);
                Err(refused)
            }
        }
    }

    /// Changes how many connections are served at a time, over all listeners. Nobody is dropped.
    pub fn set_max_connections(&self, most: usize) {
        self.shared.slots.set(most);
    }

    /// As [`set_max_connections`](Self::set_max_connections), of the listeners of this name alone; returns whether there
    /// is one.
    pub fn set_max_connections_of(&self, listener: &str, most: usize) -> bool {
        let named = self.entrances.iter().filter(|entrance| *entrance.listener.name == *listener);
        named.map(|entrance| entrance.slots.set(most)).count() > 0
    }

    /// Stops accepting, and leaves the sessions that are there alone. When the last one has ended, the server has
    /// [stopped](Self::stopped).
    pub fn stop_accepting(&self) {
        self.shared.stop.cancel();
    }

    /// Leaves well: stops accepting, tells every conversation to end after the command that runs now, with this text,
    /// and drops those that are still there after `grace`. They are not all told at once where that is to be
    /// [staggered](crate::Server::stagger).
    ///
    /// The listening sockets are closed when the first await returns. Calling it again, from another handle too, is
    /// fine: whom the first call has not told yet is then told at once, and with a `grace` of zero, as after a second
    /// signal, it ends the wait of
    /// the first call.
    pub async fn shutdown(&self, text: &str, grace: Duration) -> Drained {
        self.shared.stop.cancel();
        self.loops.wait().await;
        let text: Arc<str> = text.into();
        let (all, again) = self.shared.sessions.farewell(text.clone());
        let told = all.len();
        let few = BETWEEN_GOOD_BYES.saturating_mul(u32::try_from(told).unwrap_or(u32::MAX));
        let over = self.stagger.min(grace / 2).min(few);
        info!(connections = told, ?grace, ?over, "shutting down");
        if again {
            // They hear the words of the first call, the rest of them now.
            self.shared.hurry.cancel();
        } else if over.is_zero() {
            all.iter().for_each(|controls| _ = controls.send(Control::Shutdown { text: text.clone() }));
        } else {
            // Goes on also if nobody waits for this call any more.
            tokio::spawn(tell(all, text, over, self.shared.hurry.clone()));
        }
        let leaving = self.shared.tracker.wait();
        let dropped = match tokio::time::timeout(grace, leaving).await {
            Ok(()) => 0,
            Err(_) => {
                let dropped = self.shared.sessions.drop_all();
                self.shared.tracker.wait().await;
                dropped
            }
        };
        self.shared.desk.flush().await;
        info!(dropped, "shut down");
        Drained { finished: told.saturating_sub(dropped), dropped }
    }

    /// Waits until the server has stopped accepting, for whatever reason, and its last connection has ended.
    pub async fn stopped(&self) {
        self.loops.wait().await;
        self.shared.tracker.wait().await;
        self.shared.desk.flush().await;
    }
}

/// Tells them one after another, evenly over this time, or the rest at once when there is a hurry. They come in the
/// order of a table with random hashes.
async fn tell(all: Vec<Controls>, text: Arc<str>, over: Duration, hurry: CancellationToken) {
    let begin = tokio::time::Instant::now();
    let count = u32::try_from(all.len()).unwrap_or(u32::MAX).max(1);
    for (number, controls) in (0..count).zip(&all) {
        // In this order: a product of nanoseconds would be too much only after centuries.
        let due = over.saturating_mul(number) / count;
        if due > begin.elapsed() {
            let next = begin + due.max(begin.elapsed() + TICK).min(over);
            let _ = hurry.run_until_cancelled(tokio::time::sleep_until(next)).await;
        }
        controls.send(Control::Shutdown { text: text.clone() });
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// What a shutdown left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that ended in time.
    pub finished: usize,
    /// Connections that were dropped.
    pub dropped: usize,
}
