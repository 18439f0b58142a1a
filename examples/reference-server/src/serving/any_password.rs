//! A server whose LOGIN takes any password: for tests of clients.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Mechanism, Secret};
use pillarbox_proto_core::backend::{
    Account, Authenticator, Backend, OnRefusal, Policies, Questions, Result, ScramHash, ScramKeys,
};

/// A backend with which every password is right that comes by a command: IMAP's LOGIN, and POP3's USER and PASS. The user
/// must exist all the same, to have mail. Other ways to log in, AUTHENTICATE and AUTH with PLAIN among them, are left to
/// the backend behind it.
pub struct AnyPassword(Arc<dyn Backend>);

impl AnyPassword {
    /// In front of this backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
    }
}

impl fmt::Debug for AnyPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyPassword")
    }
}

#[async_trait]
impl Authenticator for AnyPassword {
    fn questions(&self) -> Questions {
        self.0.questions()
    }

    async fn check_password(&self, connection: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        self.0.check_password(connection, user, password).await
    }

    async fn check_password_by(
        &self,
        connection: &Connection,
        user: &str,
        password: &Secret,
        mechanism: Option<Mechanism>,
    ) -> Result<Identity> {
        match mechanism {
            None => Ok(Identity::new(user)),
            by => self.0.check_password_by(connection, user, password, by).await,
        }
    }

    async fn authorize(&self, connection: &Connection, who: &Identity, act_as: &str) -> Result<Identity> {
        self.0.authorize(connection, who, act_as).await
    }

    async fn scram_keys(&self, connection: &Connection, user: &str, hash: ScramHash) -> Result<Option<ScramKeys>> {
        self.0.scram_keys(connection, user, hash).await
    }

    fn dummy_salt_key(&self) -> Option<Secret> {
        self.0.dummy_salt_key()
    }

    fn scram_iterations(&self) -> Option<u32> {
        self.0.scram_iterations()
    }

    async fn check_certificate(&self, connection: &Connection) -> Result<Identity> {
        self.0.check_certificate(connection).await
    }

    async fn shared_secret(&self, connection: &Connection, user: &str) -> Result<Option<Secret>> {
        self.0.shared_secret(connection, user).await
    }

    async fn login_refused(&self, connection: &Connection, user: Option<&str>) -> OnRefusal {
        self.0.login_refused(connection, user).await
    }
}

#[async_trait]
impl Backend for AnyPassword {
    async fn open(&self, connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        self.0.open(connection, who).await
    }

    async fn policies(&self, connection: &Connection) -> Policies {
        self.0.policies(connection).await
    }
}
