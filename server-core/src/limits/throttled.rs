//! Penalties and user limits in front of any backend.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret, TokenRefusal};
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
