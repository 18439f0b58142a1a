//! What is known of one session while it lives: for lists, logs and counters.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use pillarbox_proto_core::Connection;
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::observe::{CommandOutcome, LoginFailure, Observer};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::metrics::Meters;

/// Shared by the session's task, which fills it, and the table of sessions, which is asked for it.
pub(crate) struct Record {
    id: SessionId,
    began: Instant,
    peer: Option<SocketAddr>,
    pub(crate) meters: Arc<Meters>,
    received: AtomicU64,
    sent: AtomicU64,
    /// How often the user has changed: odd, while somebody is logged in.
    logins: AtomicU32,
    changing: Mutex<Changing>,
    /// Who else wants to be told, as a gate has decided.
    other: OnceLock<Arc<dyn Observer>>,
}

struct Changing {
    /// Where a proxy has named another one than the peer. Boxed, as it is rare and there is one of these per connection.
    client: Option<Box<SocketAddr>>,
    user: Option<Arc<str>>,
    state: &'static str,
    secure: bool,
}

impl Record {
    pub(crate) fn new(id: SessionId, peer: Option<SocketAddr>, meters: Arc<Meters>) -> Arc<Self> {
        meters.session_began();
        Arc::new(Self {
            id,
            began: Instant::now(),
            peer,
            meters,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            logins: AtomicU32::new(0),
            changing: Mutex::new(Changing { client: None, user: None, state: "connecting", secure: false }),
            other: OnceLock::new(),
        })
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The conversation is about to begin: it will tell us, and we whoever was to be told.
    pub(crate) fn observe(self: &Arc<Self>, connection: &mut Connection) {
        {
            let mut changing = self.changing();
            changing.client = connection.client().filter(|client| Some(*client) != self.peer).map(Box::new);
            changing.secure = connection.is_secure();
            changing.state = "";
        }
        if let Some(other) = connection.observer.replace(self.clone()) {
            let _ = self.other.set(other);
        }
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        self.meters.received(bytes);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.meters.sent(bytes);
    }

    /// TLS stands.
    #[cfg(feature = "tls")]
    pub(crate) fn secured(&self) {
        self.changing().secure = true;
    }

    /// A number that changes with the user, and is odd while there is one.
    pub(crate) fn logins(&self) -> u32 {
        self.logins.load(Ordering::Acquire)
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn user(&self) -> Option<Arc<str>> {
        self.changing().user.clone()
    }

    pub(crate) fn info(&self) -> SessionInfo {
        let changing = self.changing();
        SessionInfo {
            id: self.id,
            listener: self.meters.listener(),
            peer: self.peer,
            client: changing.client.as_deref().copied().or(self.peer),
            user: changing.user.clone(),
            state: changing.state,
            secure: changing.secure,
            age: self.began.elapsed(),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    /// The line that an operator wants of a session: its last one. Of one without a user only who looks for it.
    pub(crate) fn ended(&self, how: &dyn fmt::Debug, error: Option<&dyn fmt::Display>) {
        let SessionInfo { user, received, sent, age, .. } = self.info();
        let error = error.map(tracing::field::display);
        let seconds = (age.as_secs_f64() * 1000.0).round() / 1000.0;
        match user {
            Some(user) => info!(%user, end = ?how, received, sent, seconds, error, "ended"),
            None => debug!(end = ?how, received, sent, seconds, error, "ended"),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.meters.session_ended(self.began.elapsed());
    }
}

impl Observer for Record {
    fn logged_in(&self, user: &str, mechanism: &'static str) {
        {
            let mut changing = self.changing();
            changing.user = Some(user.into());
        }
        // Odd from now on, whatever it was.
        let _ =
            self.logins.fetch_update(Ordering::Release, Ordering::Relaxed, |count| Some((count | 1) + 2 * (count & 1)));
        self.meters.login(mechanism, None);
        info!(user, mechanism, "logged in");
        if let Some(other) = self.other.get() {
            other.logged_in(user, mechanism);
        }
    }

    fn login_failed(&self, mechanism: &'static str, cause: LoginFailure) {
        self.meters.login(mechanism, Some(cause));
        info!(mechanism, cause = cause.name(), "login failed");
        if let Some(other) = self.other.get() {
            other.login_failed(mechanism, cause);
        }
    }

    fn identified(&self, fields: &[(&str, Option<&str>)]) {
        info!(client = ?fields, "the client has named itself");
        if let Some(other) = self.other.get() {
            other.identified(fields);
        }
    }

    fn logged_out(&self) {
        let user = self.changing().user.take();
        if let Some(user) = user {
            self.logins.fetch_add(1, Ordering::Release);
            info!(%user, "logged out");
        }
        if let Some(other) = self.other.get() {
            other.logged_out();
        }
    }

    fn command(&self, name: &'static str, outcome: CommandOutcome, elapsed: Duration) {
        self.meters.command(name, outcome, elapsed);
        if let Some(other) = self.other.get() {
            other.command(name, outcome, elapsed);
        }
    }

    fn state(&self, state: &'static str) {
        self.changing().state = state;
        if let Some(other) = self.other.get() {
            other.state(state);
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A session as it was when [`ServerHandle::sessions`](crate::ServerHandle::sessions) was called.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its name, which stands on every line of its log.
    pub id: SessionId,
    /// The listener that it came to.
    pub listener: Arc<str>,
    /// The other end of the socket.
    pub peer: Option<SocketAddr>,
    /// The client's address: the one that a trusted proxy named, else the peer.
    pub client: Option<SocketAddr>,
    /// Who has logged in.
    pub user: Option<Arc<str>>,
    /// The state in the words of the protocol's standard, as it told an
    /// [`Observer`]; `connecting` before the conversation, empty where the protocol
    /// tells none.
    pub state: &'static str,
    /// Whether TLS, or something outside, protects its bytes.
    pub secure: bool,
    /// How long it has been there.
    pub age: Duration,
    /// Bytes from the client, TLS taken off.
    pub received: u64,
    /// Bytes to the client, before TLS is put on.
    pub sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Other(Mutex<Vec<String>>);

    impl Observer for Other {
        fn logged_in(&self, user: &str, mechanism: &'static str) {
            self.0.lock().unwrap().push(format!("{user} {mechanism}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_follows_its_session_and_tells_who_was_there_before() {
        let id = SessionId::new(7);
        let record = Record::new(id, None, Arc::new(Meters::new("imap".into())));
        assert_eq!((record.info().state, record.logins()), ("connecting", 0));
        let other = Arc::new(Other::default());
        let mut connection = Connection::new(id);
        connection.observer = Some(other.clone());
        connection.externally_secured = true;
        record.observe(&mut connection);
        let observer = connection.observer.unwrap();
        observer.state("authenticated");
        observer.logged_in("bob", "PLAIN");
        assert_eq!(record.logins(), 1);
        observer.logged_in("eve", "PLAIN");
        assert_eq!(record.logins(), 3, "another user is a change");
        record.received(5);
        record.sent(7);
        tokio::time::advance(Duration::from_secs(9)).await;
        let info = record.info();
        assert_eq!((info.user.as_deref(), info.state, info.secure), (Some("eve"), "authenticated", true));
        assert_eq!((info.received, info.sent, info.age), (5, 7, Duration::from_secs(9)));
        observer.logged_out();
        observer.logged_out();
        assert_eq!((record.logins(), record.user()), (4, None));
        assert_eq!(*other.0.lock().unwrap(), ["bob PLAIN", "eve PLAIN"]);
    }
}
