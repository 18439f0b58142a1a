//! Who may log in.

use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, SCRAM_ITERATIONS, Secret, derive_scram_keys};
use pillarbox_proto_core::backend::{
    Account, Authenticator, Backend, Error, Policies, Questions, Result, ScramHash, ScramKeys,
};

use super::Notes;
use super::account::Session;
use super::pop3::policies;

/// What is kept of a password. From neither key can the password be read.
pub(super) struct Keys {
    sha256: ScramKeys,
    sha1: ScramKeys,
}

impl Keys {
    pub(super) fn derive(password: &Secret, salt: &[u8]) -> Self {
        let keys = |hash| derive_scram_keys(password, salt, SCRAM_ITERATIONS, hash);
        Self { sha256: keys(ScramHash::Sha256), sha1: keys(ScramHash::Sha1) }
    }
}

#[async_trait]
impl Authenticator for Notes {
    fn questions(&self) -> Questions {
        let mut questions = Questions::default();
        questions.scram_sha256 = true;
        questions.scram_sha1 = true;
        questions
    }

    async fn check_password(&self, _: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        let known = self.users.get(user);
        // The same work for a user who does not exist, so that the time taken does not tell.
        let salt = known.map_or(&b"nobody has this salt"[..], |known| &known.keys.sha256.salt);
        let shown = derive_scram_keys(password, salt, SCRAM_ITERATIONS, ScramHash::Sha256);
        match known {
            // Secrets are compared in constant time.
            Some(known) if known.keys.sha256.stored_key == shown.stored_key => Ok(Identity::new(user)),
            _ => Err(Error::AuthenticationFailed),
        }
    }

    async fn scram_keys(&self, _: &Connection, user: &str, hash: ScramHash) -> Result<Option<ScramKeys>> {
        let keys = self.users.get(user).map(|user| &user.keys);
        Ok(keys.and_then(|keys| match hash {
            ScramHash::Sha256 => Some(keys.sha256.clone()),
            ScramHash::Sha1 => Some(keys.sha1.clone()),
            _ => None,
        }))
    }

    fn dummy_salt_key(&self) -> Option<Secret> {
        Some(self.salt_key.clone())
    }
}

#[async_trait]
impl Backend for Notes {
    async fn open(&self, _: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        let user = self.users.get(who.user()).ok_or(Error::AuthenticationFailed)?;
        Ok(Arc::new(Session { desk: Arc::clone(&user.desk), bulletins: Arc::clone(&self.bulletins) }))
    }

    async fn policies(&self, _: &Connection) -> Policies {
        policies()
    }
}
