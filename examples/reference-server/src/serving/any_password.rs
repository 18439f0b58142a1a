//! A server that asks nobody for the right password: for tests of clients.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{
    Account, Authenticator, Backend, OnRefusal, Policies, Questions, Result, ScramHash, ScramKeys,
};

/// A backend with which every password is right. The user must exist all the same, to have mail. Other ways to log in are
/// left to the backend behind it.
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

    async fn check_password(&self, _: &Connection, user: &str, _: &Secret) -> Result<Identity> {
        Ok(Identity::new(user))
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
