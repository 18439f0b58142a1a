//! Who may log in.

use std::fmt;

use async_trait::async_trait;

use super::error::{Error, Result};
use crate::auth::{Identity, Mechanism, Secret, TokenRefusal};
use crate::connection::Connection;

/// Answers narrow questions about credentials. The SASL mechanisms put them; which mechanisms a client is offered
/// follows from [`questions`](Authenticator::questions).
///
/// An unknown user and a wrong password must look and take the same: both are [`Error::AuthenticationFailed`]. What else
/// there is to say about a user, such as [`Error::Expired`] or [`Error::ContactAdmin`], is for who knew the password.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Which of the questions below this authenticator answers. Default: passwords only.
    fn questions(&self) -> Questions {
        Questions::default()
    }

    /// Is this the user's password? Asked by LOGIN, USER/PASS, and SASL PLAIN and LOGIN.
    ///
    /// The identity returned has the user's name as the backend spells it.
    ///
    /// # Errors
    ///
    /// [`Error::AuthenticationFailed`] for an unknown user or a wrong password; others as they fit.
    async fn check_password(&self, connection: &Connection, user: &str, password: &Secret) -> Result<Identity>;

    /// [`check_password`](Authenticator::check_password), told how the password came: by which SASL mechanism
    /// ([`Mechanism::Plain`] or [`Mechanism::Login`]), or, with `None`, by a protocol's own command: IMAP's LOGIN (RFC 9051,
    /// section 6.2.3) or POP3's USER and PASS (RFC 1939, section 7).
    ///
    /// It is this question that is put to an authenticator; one that makes no difference between them leaves it alone.
    /// An authenticator in front of another has to pass it on, or the other is asked without the mechanism.
    ///
    /// # Errors
    ///
    /// As [`check_password`](Authenticator::check_password), which is asked by default.
    async fn check_password_by(
        &self,
        connection: &Connection,
        user: &str,
        password: &Secret,
        _mechanism: Option<Mechanism>,
    ) -> Result<Identity> {
        self.check_password(connection, user, password).await
    }

    /// May this user act as that one? Asked when a client names an authorisation identity other than its own.
    ///
    /// # Errors
    ///
    /// [`Error::AuthorizationFailed`], which is the default answer.
    async fn authorize(&self, _connection: &Connection, _who: &Identity, _act_as: &str) -> Result<Identity> {
        Err(Error::AuthorizationFailed)
    }

    /// The user's keys for SCRAM (RFC 5802, section 3); `None` for an unknown user or one without such keys.
    ///
    /// # Errors
    ///
    /// When the store fails; never to say that the user is unknown.
    async fn scram_keys(&self, _connection: &Connection, _user: &str, _hash: ScramHash) -> Result<Option<ScramKeys>> {
        Ok(None)
    }

    /// A key of at least 16 secret bytes from which SCRAM derives a salt for users that do not exist. It should
    /// survive restarts and be the same in all processes, else a changing salt tells who exists. `None`, the default,
    /// uses one that lives as long as the process.
    fn dummy_salt_key(&self) -> Option<Secret> {
        None
    }

    /// The iteration count that the users' SCRAM keys have, to be shown for users that do not exist. `None`, the default,
    /// for [`SCRAM_ITERATIONS`](crate::auth::SCRAM_ITERATIONS).
    fn scram_iterations(&self) -> Option<u32> {
        None
    }

    /// Whose bearer token is this? Asked by OAUTHBEARER (RFC 7628) and XOAUTH2; the token is never empty.
    ///
    /// `user` is the name that the client gave, if any: the user as whom it wants to act. Where the identity returned is
    /// neither of this name nor acting as it, [`authorize`](Authenticator::authorize) is asked, as for a password.
    ///
    /// # Errors
    ///
    /// [`Error::TokenRefused`] with an error object for the client, best made from a [`TokenRefusal`]; or
    /// [`Error::AuthenticationFailed`] or [`Error::Expired`], for which the client is told
    /// [`token_refusal`](Authenticator::token_refusal). Others as they fit.
    async fn check_token(&self, _connection: &Connection, _user: Option<&str>, _token: &Secret) -> Result<Identity> {
        Err(Error::AuthenticationFailed)
    }

    /// What a client is told whose token is refused without an object of its own, or that asks by an empty token what it
    /// would need (RFC 7628, section 4.3). Default: `{"status":"invalid_token"}`.
    fn token_refusal(&self, _connection: &Connection) -> TokenRefusal {
        TokenRefusal::new()
    }

    /// As whom does a client act that shows no credentials (ANONYMOUS, RFC 4505)? `trace` is what it said of itself, an
    /// address perhaps: at most 255 characters, fit for a log, and not to be trusted.
    ///
    /// [`Backend::open`](super::Backend::open) is then asked for this identity's account, which should be good for
    /// reading only.
    ///
    /// # Errors
    ///
    /// [`Error::AuthenticationFailed`], which is the default answer.
    async fn anonymous(&self, _connection: &Connection, _trace: Option<&str>) -> Result<Identity> {
        Err(Error::AuthenticationFailed)
    }

    /// Whose client certificate is it? Asked by SASL EXTERNAL (RFC 4422, appendix A). The certificate is in
    /// [`Connection::tls`] and has been verified; where a trusted proxy took TLS off, there is only the name that it told,
    /// [`Connection::certificate_name`].
    ///
    /// # Errors
    ///
    /// [`Error::AuthenticationFailed`] when it names no user.
    async fn check_certificate(&self, _connection: &Connection) -> Result<Identity> {
        Err(Error::AuthenticationFailed)
    }

    /// The secret that user and server share in plain text, for APOP (RFC 1939, section 7) and CRAM-MD5; `None` for an
    /// unknown user or one without it.
    ///
    /// # Errors
    ///
    /// When the store fails; never to say that the user is unknown.
    async fn shared_secret(&self, _connection: &Connection, _user: &str) -> Result<Option<Secret>> {
        Ok(None)
    }

    /// A login has failed, and the client is about to be told so. Awaited for every way to log in, whenever the client
    /// did not prove who it is; not when the store is down, or when the client has cancelled.
    ///
    /// Here a backend can count failures, and let time pass to slow down who guesses: the client gets its answer when
    /// this returns. `user` is the name that the login was tried with, where the way to log in tells it; nothing about
    /// this call may depend on whether there is such a user. The future may be dropped, when the client goes away.
    ///
    /// Default: the client is told at once.
    async fn login_refused(&self, _connection: &Connection, _user: Option<&str>) -> OnRefusal {
        OnRefusal::Answer
    }
}

/// What is to be done with a client whose login has failed: [`Authenticator::login_refused`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnRefusal {
    /// It is told, and may try again.
    #[default]
    Answer,
    /// The connection is dropped without an answer.
    Drop,
}

/// Which questions an [`Authenticator`] answers; the capabilities shown to clients follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Questions {
    /// [`Authenticator::check_password`]: PLAIN, LOGIN, the LOGIN command, USER/PASS.
    pub password: bool,
    /// [`Authenticator::scram_keys`] for SCRAM-SHA-256.
    pub scram_sha256: bool,
    /// [`Authenticator::scram_keys`] for SCRAM-SHA-1.
    pub scram_sha1: bool,
    /// [`Authenticator::check_token`]: OAUTHBEARER, XOAUTH2.
    pub token: bool,
    /// [`Authenticator::check_certificate`].
    pub certificate: bool,
    /// [`Authenticator::shared_secret`]: APOP.
    pub shared_secret: bool,
    /// [`Authenticator::shared_secret`] also for CRAM-MD5. It is a choice of its own: clients that see CRAM-MD5 in a list
    /// take it, though a user may have a password and no such secret.
    pub cram_md5: bool,
    /// [`Authenticator::anonymous`].
    pub anonymous: bool,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            password: true,
            scram_sha256: false,
            scram_sha1: false,
            token: false,
            certificate: false,
            shared_secret: false,
            cram_md5: false,
            anonymous: false,
        }
    }
}

/// The hash function of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScramHash {
    /// SCRAM-SHA-1 (RFC 5802).
    Sha1,
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
}

/// What a server keeps of a password to check it by SCRAM (RFC 5802, section 3). It does not let anyone log in, but
/// lets its holder guess passwords at leisure, so it is kept like a password hash.
#[derive(Clone)]
#[non_exhaustive]
pub struct ScramKeys {
    /// The salt.
    pub salt: Vec<u8>,
    /// The iteration count.
    pub iterations: u32,
    /// `StoredKey`.
    pub stored_key: Secret,
    /// `ServerKey`.
    pub server_key: Secret,
    /// The user's name as the backend spells it, where that may differ from what the client sent.
    pub user: Option<String>,
}

impl ScramKeys {
    /// Puts stored keys together.
    #[must_use]
    pub fn new(salt: Vec<u8>, iterations: u32, stored_key: Secret, server_key: Secret) -> Self {
        Self { salt, iterations, stored_key, server_key, user: None }
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}
