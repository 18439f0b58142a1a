//! Penalties and user limits in front of any backend.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Mechanism, Secret, TokenRefusal};
use pillarbox_proto_core::backend::{
    Account, Authenticator, Backend, Error, OnRefusal, Policies, Questions, Result, ScramHash, ScramKeys,
};

use super::penalties::{Penalties, Penalty};
use super::users::{UserGuard, UserLimits};

/// A backend with limits on logins and on the sessions of a user. Everything else it leaves to the backend behind it.
///
/// With [penalties](Self::penalties), each failed login counts against the client's address
/// ([`Connection::client`]; a connection without one is never held up), the answer waits as long as they say, and an
/// address that is blocked is refused whatever it tries, without a question to the backend behind: such a client is told
/// what one is told who has the wrong password, and its attempt counts as another failure.
///
/// With [user limits](Self::users), a session over the limit gets [`Error::Limit`]: IMAP answers `NO [LIMIT]` (RFC 5530),
/// and POP3, which has no such code, `-ERR [SYS/TEMP]` (RFC 3206), so that clients try again later and don't ask their
/// user for another password. It is no failed login. A session counts until its connection ends, or somebody logs in
/// anew on it.
///
/// ```
/// use std::sync::Arc;
/// use pillarbox_proto_core::backend::Backend;
/// use pillarbox_server_core::limits::{Penalties, PenaltySettings, Throttled, UserLimits};
///
/// # fn example(backend: Arc<dyn Backend>) -> [Arc<dyn Backend>; 2] {
/// let penalties = Penalties::new(PenaltySettings::default());
/// // Forty sessions of a user in all, and of these at most ten with POP3.
/// let (all, pop3) = (UserLimits::new(40), UserLimits::new(10));
/// let for_imap = Throttled::new(backend.clone()).penalties(penalties.clone()).users(all.clone());
/// let for_pop3 = Throttled::new(backend).penalties(penalties).users(all).users(pop3);
/// # [Arc::new(for_imap), Arc::new(for_pop3)]
/// # }
/// ```
pub struct Throttled<B: ?Sized> {
    penalties: Option<Penalties>,
    users: Vec<UserLimits>,
    backend: Arc<B>,
}

/// What a session holds of its user's limits.
struct Session {
    _guards: Vec<UserGuard>,
}

impl<B: Backend + ?Sized> Throttled<B> {
    /// In front of this backend, without any limit yet.
    #[must_use]
    pub fn new(backend: Arc<B>) -> Self {
        Self { penalties: None, users: Vec::new(), backend }
    }

    /// Holds up and blocks who fails to log in.
    #[must_use]
    pub fn penalties(mut self, penalties: Penalties) -> Self {
        self.penalties = Some(penalties);
        self
    }

    /// Adds a limit on the sessions of a user; all that were added have to have room.
    #[must_use]
    pub fn users(mut self, limits: UserLimits) -> Self {
        self.users.push(limits);
        self
    }

    fn watched(&self, connection: &Connection) -> Option<(&Penalties, IpAddr)> {
        self.penalties.as_ref().zip(connection.client().map(|client| client.ip()))
    }

    fn is_blocked(&self, connection: &Connection) -> bool {
        self.watched(connection).is_some_and(|(penalties, address)| penalties.is_blocked(address))
    }

    /// Refuses who is blocked.
    fn check(&self, connection: &Connection) -> Result<()> {
        if self.is_blocked(connection) { Err(Error::AuthenticationFailed) } else { Ok(()) }
    }
}

#[async_trait]
impl<B: Backend + ?Sized> Authenticator for Throttled<B> {
    fn questions(&self) -> Questions {
        self.backend.questions()
    }

    async fn check_password(&self, connection: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        self.check(connection)?;
        self.backend.check_password(connection, user, password).await
    }

    async fn check_password_by(
        &self,
        connection: &Connection,
        user: &str,
        password: &Secret,
        mechanism: Option<Mechanism>,
    ) -> Result<Identity> {
        self.check(connection)?;
        self.backend.check_password_by(connection, user, password, mechanism).await
    }

    async fn authorize(&self, connection: &Connection, who: &Identity, act_as: &str) -> Result<Identity> {
        self.backend.authorize(connection, who, act_as).await
    }

    async fn scram_keys(&self, connection: &Connection, user: &str, hash: ScramHash) -> Result<Option<ScramKeys>> {
        // As of an unknown user: the exchange goes on, and fails at its end.
        if self.is_blocked(connection) {
            return Ok(None);
        }
        self.backend.scram_keys(connection, user, hash).await
    }

    fn dummy_salt_key(&self) -> Option<Secret> {
        self.backend.dummy_salt_key()
    }

    fn scram_iterations(&self) -> Option<u32> {
        self.backend.scram_iterations()
    }

    async fn check_token(&self, connection: &Connection, user: Option<&str>, token: &Secret) -> Result<Identity> {
        self.check(connection)?;
        self.backend.check_token(connection, user, token).await
    }

    fn token_refusal(&self, connection: &Connection) -> TokenRefusal {
        self.backend.token_refusal(connection)
    }

    async fn anonymous(&self, connection: &Connection, trace: Option<&str>) -> Result<Identity> {
        self.check(connection)?;
        self.backend.anonymous(connection, trace).await
    }

    async fn check_certificate(&self, connection: &Connection) -> Result<Identity> {
        self.check(connection)?;
        self.backend.check_certificate(connection).await
    }

    async fn shared_secret(&self, connection: &Connection, user: &str) -> Result<Option<Secret>> {
        if self.is_blocked(connection) {
            return Ok(None);
        }
        self.backend.shared_secret(connection, user).await
    }

    async fn login_refused(&self, connection: &Connection, user: Option<&str>) -> OnRefusal {
        let verdict = self.backend.login_refused(connection, user).await;
        let Some((penalties, address)) = self.watched(connection) else { return verdict };
        match penalties.failed(address, user) {
            Penalty::Delay(delay) => {
                if !delay.time().is_zero() {
                    tokio::time::sleep(delay.time()).await;
                }
                verdict
            }
            Penalty::Drop => OnRefusal::Drop,
        }
    }
}

#[async_trait]
impl<B: Backend + ?Sized> Backend for Throttled<B> {
    async fn open(&self, connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        // Who was blocked between two steps of an exchange.
        self.check(connection)?;
        let session = if self.users.is_empty() {
            None
        } else {
            // What this connection had before, as when its maildrop could not be opened, must not stand in its own way.
            connection.let_go::<Session>();
            let guards = self.users.iter().map(|limits| limits.admit(who.user())).collect::<Result<_, _>>();
            Some(Session { _guards: guards.map_err(|full| Error::Limit(full.to_string().into()))? })
        };
        // Kept only when there is an account: an error, and a future that is dropped, give it back at once.
        let account = self.backend.open(connection, who).await?;
        if let Some(session) = session {
            connection.keep(session);
        }
        if let Some((penalties, address)) = self.watched(connection) {
            penalties.succeeded(address, &who.authcid);
        }
        Ok(account)
    }

    async fn policies(&self, connection: &Connection) -> Policies {
        self.backend.policies(connection).await
    }
}

impl<B: ?Sized> fmt::Debug for Throttled<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttled")
            .field("penalties", &self.penalties)
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::time::Duration;

    use pillarbox_proto_core::backend::{ListEntry, ListRequest, OpenRequest, Opened};
    use tokio::time::Instant;

    use super::super::PenaltySettings;
    use super::*;

    /// Says yes to everybody, and notes what it is asked.
    #[derive(Default)]
    struct Open(Mutex<Vec<&'static str>>);

    impl Open {
        fn note(&self, call: &'static str) {
            self.0.lock().unwrap().push(call);
        }

        fn calls(&self) -> Vec<&'static str> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    #[async_trait]
    impl Authenticator for Open {
        async fn check_password(&self, _: &Connection, user: &str, _: &Secret) -> Result<Identity> {
            self.note("password");
            Ok(Identity::new(user))
        }
        async fn check_password_by(
            &self,
            _: &Connection,
            user: &str,
            _: &Secret,
            mechanism: Option<Mechanism>,
        ) -> Result<Identity> {
            self.note(mechanism.map_or("command", Mechanism::name));
            Ok(Identity::new(user))
        }
        async fn scram_keys(&self, _: &Connection, _: &str, _: ScramHash) -> Result<Option<ScramKeys>> {
            self.note("scram");
            Ok(Some(ScramKeys::new(Vec::new(), 1, Secret::new(*b"x"), Secret::new(*b"x"))))
        }
        async fn check_token(&self, _: &Connection, _: Option<&str>, _: &Secret) -> Result<Identity> {
            self.note("token");
            Ok(Identity::new("ada"))
        }
        async fn anonymous(&self, _: &Connection, _: Option<&str>) -> Result<Identity> {
            self.note("anonymous");
            Ok(Identity::new("guest"))
        }
        async fn check_certificate(&self, _: &Connection) -> Result<Identity> {
            self.note("certificate");
            Ok(Identity::new("ada"))
        }
        async fn shared_secret(&self, _: &Connection, _: &str) -> Result<Option<Secret>> {
            self.note("secret");
            Ok(Some(Secret::new(*b"x")))
        }
        async fn login_refused(&self, _: &Connection, user: Option<&str>) -> OnRefusal {
            self.note("refused");
            if user == Some("drop") { OnRefusal::Drop } else { OnRefusal::Answer }
        }
    }

    #[async_trait]
    impl Backend for Open {
        async fn open(&self, _: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
            self.note("open");
            if who.user() == "down" { Err(Error::Unavailable(None)) } else { Ok(Arc::new(Nothing)) }
        }
    }

    struct Nothing;

    #[async_trait]
    impl Account for Nothing {
        async fn list(&self, _: &ListRequest) -> Result<Vec<ListEntry>> {
            Ok(Vec::new())
        }
        async fn open(&self, _: OpenRequest) -> Result<Opened> {
            Err(Error::NoSuchMailbox)
        }
    }

    fn from(address: &str) -> Connection {
        let mut connection = Connection::default();
        connection.peer = Some(SocketAddr::new(address.parse().unwrap(), 1));
        connection
    }

    async fn seconds(backend: &Throttled<Open>, connection: &Connection, user: &str) -> u64 {
        let start = Instant::now();
        assert_eq!(backend.login_refused(connection, Some(user)).await, OnRefusal::Answer);
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_wait_longer_and_longer() {
        let penalties = Penalties::new(PenaltySettings::default());
        let backend = Throttled::new(Arc::new(Open::default())).penalties(penalties.clone());
        let client = from("192.0.2.1");
        let mut waits = Vec::new();
        for user in ["ada", "nobody", "ada", "nobody", "ada", "nobody", "ada"] {
            waits.push(seconds(&backend, &client, user).await);
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 16]);
        assert_eq!(seconds(&backend, &from("192.0.2.2"), "ada").await, 0);
        // Behind a proxy, it is the client's address that counts; without one there is nothing to count by.
        let mut proxied = from("192.0.2.1");
        proxied.proxied = Some(("192.0.2.3:1".parse().unwrap(), "192.0.2.4:1".parse().unwrap()));
        assert_eq!(seconds(&backend, &proxied, "ada").await, 0);
        for _ in 0..5 {
            assert_eq!(seconds(&backend, &Connection::default(), "ada").await, 0);
        }
        assert_eq!(backend.login_refused(&client, Some("drop")).await, OnRefusal::Drop, "the backend has its say");
        assert_eq!(backend.backend.calls(), ["refused"; 15]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_blocked_is_refused_without_a_question() {
        let penalties = Penalties::new(PenaltySettings::default());
        let backend = Throttled::new(Arc::new(Open::default())).penalties(penalties.clone());
        let (client, secret) = (from("192.0.2.1"), Secret::new(*b"right"));
        for blocked in [false, true] {
            if blocked {
                penalties.block(client.client().unwrap().ip(), Duration::from_secs(60));
            }
            let answers = [
                backend.check_password(&client, "ada", &secret).await.is_ok(),
                backend.check_password_by(&client, "ada", &secret, Some(Mechanism::Plain)).await.is_ok(),
                backend.scram_keys(&client, "ada", ScramHash::Sha256).await.unwrap().is_some(),
                backend.check_token(&client, None, &secret).await.is_ok(),
                backend.anonymous(&client, None).await.is_ok(),
                backend.check_certificate(&client).await.is_ok(),
                backend.shared_secret(&client, "ada").await.unwrap().is_some(),
                backend.open(&client, &Identity::new("ada")).await.is_ok(),
            ];
            assert_eq!(answers, [!blocked; 8]);
            let asked = backend.backend.calls();
            assert_eq!(asked.len(), if blocked { 0 } else { 8 }, "{asked:?}");
            assert_eq!(asked.get(1), (!blocked).then_some(&"PLAIN"), "the mechanism is passed on");
        }
        let refused = backend.check_password(&client, "ada", &secret).await;
        assert!(matches!(refused, Err(Error::AuthenticationFailed)), "as with a wrong password");
    }

    #[tokio::test]
    async fn a_session_counts_from_its_account_to_the_end_of_its_connection() {
        let (all, some) = (UserLimits::new(2), UserLimits::new(1));
        let backend = Throttled::new(Arc::new(Open::default())).users(all.clone()).users(some.clone());
        let (one, two) = (from("192.0.2.1"), from("192.0.2.2"));
        let ada = Identity::new("ada");
        backend.open(&one, &ada).await.unwrap();
        let full = backend.open(&two, &ada).await.err().unwrap();
        assert_eq!(full.to_string(), "Limit reached: too many sessions of this user");
        assert_eq!((all.live("ada"), some.live("ada")), (1, 1), "what the first limit gave is given back");
        // The same connection logs in anew, as the same user and as another.
        backend.open(&one, &ada).await.unwrap();
        assert_eq!(all.live("ada"), 1);
        backend.open(&one, &Identity::new("bob")).await.unwrap();
        assert_eq!((all.live("ada"), all.live("bob")), (0, 1));
        assert!(backend.open(&two, &Identity::new("down")).await.is_err());
        assert_eq!(all.live("down"), 0, "there is no session");
        let clone = one.clone();
        drop(one);
        assert_eq!(all.live("bob"), 1);
        drop(clone);
        assert_eq!((all.live("bob"), some.live("bob")), (0, 0));
    }
}
