//! The users' file and the mail stores, put together as a [`Backend`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{Account, Authenticator, Backend, Error, Questions, Result, ScramHash, ScramKeys};

use crate::config::Protocol;
use crate::users::{HashPool, Users};

/// Checks of passwords that may wait or run; a login beyond is told to come again.
const LOGIN_QUEUE: usize = 1024;

/// Opens the mail of a user, whatever form it is kept in.
#[async_trait]
pub trait Homes: Send + Sync {
    /// Opens the account that is kept in this folder, which need not exist yet.
    ///
    /// # Errors
    ///
    /// When the store fails.
    async fn open(&self, home: &Path) -> Result<Arc<dyn Account>>;
}

/// Who may log in to this server, and the mail that is theirs then. Clones share everything.
#[derive(Clone)]
pub struct UserBackend {
    shared: Arc<Shared>,
    protocol: Protocol,
}

struct Shared {
    users: Users,
    hashes: HashPool,
    salt_key: Secret,
    mail: PathBuf,
    homes: Arc<dyn Homes>,
}

impl UserBackend {
    /// The users of a file, with their mail below the folder `mail`. `salt_key` is the key from which the salts of
    /// unknown users are made.
    #[must_use]
    pub fn new(users: Users, salt_key: Secret, mail: PathBuf, homes: Arc<dyn Homes>) -> Self {
        let at_a_time = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let hashes = HashPool::new(at_a_time, LOGIN_QUEUE);
        Self { shared: Arc::new(Shared { users, hashes, salt_key, mail, homes }), protocol: Protocol::Imap }
    }

    /// The same for clients that speak this protocol: a user may be kept from one of them.
    #[must_use]
    pub fn for_protocol(&self, protocol: Protocol) -> Self {
        Self { protocol, ..self.clone() }
    }

    /// The users.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.shared.users
    }

    /// Opens a user's mail, without asking for a password: for the operator's own commands.
    ///
    /// # Errors
    ///
    /// [`Error::AuthorizationFailed`] for an unknown user; others when the store fails.
    pub async fn account(&self, user: &str) -> Result<Arc<dyn Account>> {
        let user = self.shared.users.get(user).ok_or(Error::AuthorizationFailed)?;
        self.shared.homes.open(&self.shared.mail.join(&user.home)).await
    }
}

impl fmt::Debug for UserBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserBackend").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

#[async_trait]
impl Authenticator for UserBackend {
    fn questions(&self) -> Questions {
        let mut questions = Questions::default();
        questions.scram_sha256 = true;
        questions.scram_sha1 = true;
        questions
    }

    async fn check_password(&self, _: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        let hash = self.shared.users.get(user).map(|known| known.secret.clone());
        if self.shared.hashes.verify(hash, password.clone()).await? {
            Ok(Identity::new(user))
        } else {
            Err(Error::AuthenticationFailed)
        }
    }

    async fn scram_keys(&self, _: &Connection, user: &str, hash: ScramHash) -> Result<Option<ScramKeys>> {
        Ok(self.shared.users.get(user).and_then(|user| user.scram_keys(hash).cloned()))
    }

    fn dummy_salt_key(&self) -> Option<Secret> {
        Some(self.shared.salt_key.clone())
    }
}

#[async_trait]
impl Backend for UserBackend {
    async fn open(&self, _: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        // The user may have been removed since the password was checked.
        let user = self.shared.users.get(who.user()).ok_or(Error::AuthenticationFailed)?;
        if self.protocol == Protocol::Pop3 && !user.pop3.enabled {
            return Err(Error::ContactAdmin("POP3 is switched off for this user".into()));
        }
        self.shared.homes.open(&self.shared.mail.join(&user.home)).await
    }
}
