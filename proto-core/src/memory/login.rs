//! Who may log in.

use std::sync::Arc;

use async_trait::async_trait;
use subtle::ConstantTimeEq as _;

use super::MemoryBackend;
use super::account::MemoryAccount;
use super::hook::Call;
use super::store::{Credentials, User};
use crate::auth::{Identity, Secret, TokenRefusal, derive_scram_keys};
use crate::backend::{
    Account, Authenticator, Backend, Error, OnRefusal, Policies, Questions, Result, ScramHash, ScramKeys,
};
use crate::connection::Connection;

/// The least that RFC 7677, section 4, allows: passwords of test suites need no more, and their logins are quick.
const ITERATIONS: u32 = 4096;

#[async_trait]
impl Authenticator for MemoryBackend {
    fn questions(&self) -> Questions {
        let any = |has: fn(&Credentials) -> bool| self.store.users.values().any(|user| has(&user.credentials));
        let mut questions = Questions::default();
        let passwords = any(|credentials| credentials.password.is_some());
        (questions.scram_sha256, questions.scram_sha1) = (passwords, passwords);
        questions.cram_md5 = any(|credentials| credentials.shared_secret.is_some());
        questions.shared_secret = passwords || questions.cram_md5;
        questions.anonymous = any(|credentials| credentials.anonymous);
        questions.token = any(|credentials| !credentials.tokens.is_empty());
        questions.certificate = any(|credentials| !credentials.certificates.is_empty());
        questions
    }

    async fn check_password(&self, _connection: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        self.store.hooks.enter(Call::Authenticate).await?.leave().await;
        // An unknown user costs the same comparison.
        let nobody = Secret::new("");
        let known = self.store.users.get(user);
        let expected = known.and_then(|user| user.credentials.password.as_ref());
        let same = same(expected.unwrap_or(&nobody), password);
        match (known, expected) {
            (Some(user), Some(_)) if same => Ok(Identity::new(user.name.clone())),
            _ => Err(Error::AuthenticationFailed),
        }
    }

    async fn authorize(&self, _connection: &Connection, who: &Identity, act_as: &str) -> Result<Identity> {
        self.store.hooks.enter(Call::Authenticate).await?.leave().await;
        let user = self.store.users.get(&who.authcid).ok_or(Error::AuthorizationFailed)?;
        let allowed = user.name == act_as || user.credentials.acts_as.contains(act_as);
        if allowed && self.store.users.contains_key(act_as) {
            return Ok(who.clone().acting_as(act_as));
        }
        Err(Error::AuthorizationFailed)
    }

    async fn scram_keys(&self, _connection: &Connection, user: &str, hash: ScramHash) -> Result<Option<ScramKeys>> {
        self.store.hooks.enter(Call::Authenticate).await?.leave().await;
        let Some(credentials) = self.store.users.get(user).map(|user| &user.credentials) else { return Ok(None) };
        let Some(password) = &credentials.password else { return Ok(None) };
        let keys = match hash {
            ScramHash::Sha1 => &credentials.scram_sha1,
            ScramHash::Sha256 => &credentials.scram_sha256,
        };
        let derive = || derive_scram_keys(password, &credentials.salt, ITERATIONS, hash);
        Ok(Some(keys.get_or_init(derive).clone()))
    }

    fn scram_iterations(&self) -> Option<u32> {
        Some(ITERATIONS)
    }

    fn dummy_salt_key(&self) -> Option<Secret> {
        Some(self.store.dummy_salt_key.clone())
    }

    async fn check_token(&self, _connection: &Connection, user: Option<&str>, token: &Secret) -> Result<Identity> {
        self.store.hooks.enter(Call::Authenticate).await?.leave().await;
        let owner = self.store.users.values().find(|owner| owner.credentials.tokens.iter().any(|own| same(own, token)));
        let may_be = |owner: &User, user| owner.name == user || owner.credentials.acts_as.contains(user);
        let owner = owner.filter(|owner| user.is_none_or(|user| may_be(owner, user)));
        owner.map(|owner| Identity::new(owner.name.clone())).ok_or(Error::AuthenticationFailed)
    }

    fn token_refusal(&self, _connection: &Connection) -> TokenRefusal {
        self.store.token_refusal.clone()
    }

    async fn anonymous(&self, _connection: &Connection, _trace: Option<&str>) -> Result<Identity> {
        self.store.hooks.enter(Call::Authenticate).await?.leave().await;
        let guest = self.store.users.values().find(|user| user.credentials.anonymous);
        guest.map(|guest| Identity::new(guest.name.clone())).ok_or(Error::AuthenticationFailed)
    }

    async fn check_certificate(&self, connection: &Connection) -> Result<Identity> {
        self.store.hooks.enter(Call::Authenticate).await?.leave().await;
        let shown = connection.tls.as_ref().and_then(|tls| tls.client_certificates.first());
        let shown = shown.ok_or(Error::AuthenticationFailed)?;
        let holds = |credentials: &Credentials| credentials.certificates.iter().any(|own| own.as_slice() == &**shown);
        let owner = self.store.users.values().find(|user| holds(&user.credentials));
        owner.map(|owner| Identity::new(owner.name.clone())).ok_or(Error::AuthenticationFailed)
    }

    async fn shared_secret(&self, _connection: &Connection, user: &str) -> Result<Option<Secret>> {
        self.store.hooks.enter(Call::Authenticate).await?.leave().await;
        let credentials = self.store.users.get(user).map(|user| &user.credentials);
        Ok(credentials.and_then(|own| own.shared_secret.clone().or_else(|| own.password.clone())))
    }

    async fn login_refused(&self, _connection: &Connection, _user: Option<&str>) -> OnRefusal {
        match self.store.hooks.enter(Call::LoginRefused).await {
            Ok(leave) => {
                leave.leave().await;
                OnRefusal::Answer
            }
            Err(_) => OnRefusal::Drop,
        }
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn open(&self, _connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        self.store.hooks.enter(Call::OpenAccount).await?.leave().await;
        let user = self.store.user(who.user()).map_err(|_| Error::AuthenticationFailed)?;
        let user = Arc::clone(user);
        Ok(Arc::new(MemoryAccount { store: Arc::clone(&self.store), user }))
    }

    async fn policies(&self, _connection: &Connection) -> Policies {
        self.store.announced().await
    }
}

/// Compares in a time that does not tell where the difference is.
fn same(expected: &Secret, given: &Secret) -> bool {
    expected.expose().ct_eq(given.expose()).into()
}
