//! SCRAM: a password is proved, in both directions, without being sent (RFC 5802; with SHA-256, RFC 7677).

mod message;
pub(super) mod primitive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

pub(super) use self::message::unescape;
use self::message::{Binding, ClientFinal, ClientFirst};
use self::primitive::{digest, hmac, salted_password};
use super::exchange::{SaslError, Step, act_as};
use super::{Identity, Secret, dummy, prepare_password, prepare_user};
use crate::backend::{Authenticator, Error, ScramHash, ScramKeys};
use crate::connection::Connection;
use crate::env::Env;

/// The iteration count for new keys, unless there is a reason for another: the rule of thumb of RFC 7677, section 4.
pub const SCRAM_ITERATIONS: u32 = 15_000;

/// The keys that a server keeps of a password (RFC 5802, section 3). The salt should be 16 random octets and
/// different for each user and each password.
///
/// It takes as long as the iteration count says: [`SCRAM_ITERATIONS`] are some milliseconds.
#[must_use]
pub fn derive_scram_keys(password: &Secret, salt: &[u8], iterations: u32, hash: ScramHash) -> ScramKeys {
    let iterations = iterations.max(1);
    let salted = salted_password(hash, prepare_password(password).expose(), salt, iterations);
    let client_key = hmac(hash, salted.expose(), &[b"Client Key"]);
    let stored_key = digest(hash, client_key.expose());
    let server_key = hmac(hash, salted.expose(), &[b"Server Key"]);
    ScramKeys::new(salt.to_vec(), iterations, stored_key, server_key)
}

/// One SCRAM exchange.
pub(super) struct Scram {
    hash: ScramHash,
    plus: bool,
    /// Whether the client was shown a mechanism with channel binding.
    plus_offered: bool,
    waiting: Option<Waiting>,
    /// Stands in for the random part of the nonce.
    #[cfg(test)]
    fixed_nonce: Option<&'static str>,
}

/// What is kept between the client's two messages.
struct Waiting {
    first: ClientFirst,
    /// The user's name, prepared.
    user: String,
    nonce: String,
    server_first: String,
    keys: ScramKeys,
    known: bool,
}

impl Scram {
    pub(super) fn new(hash: ScramHash, plus: bool, plus_offered: bool) -> Self {
        Self {
            hash,
            plus,
            plus_offered,
            waiting: None,
            #[cfg(test)]
            fixed_nonce: None,
        }
    }

    /// The name that the client has given.
    pub(super) fn user(&self) -> Option<&str> {
        self.waiting.as_ref().map(|waiting| waiting.user.as_str())
    }

    pub(super) async fn step(
        &mut self,
        authenticator: &dyn Authenticator,
        connection: &Connection,
        env: &dyn Env,
        message: &[u8],
    ) -> Result<Step, SaslError> {
        let text = std::str::from_utf8(message);
        match self.waiting.take() {
            None => {
                let message = text.map_err(|_| SaslError::Malformed("SCRAM messages are UTF-8"))?;
                self.first(authenticator, connection, env, message).await
            }
            // From here on, whatever does not fit is a failed authentication (RFC 5802, section 7, `server-error`): the
            // user is known, and the message is an attempt to be let in.
            Some(waiting) => match text {
                Ok(message) => self.last(authenticator, connection, message, waiting).await,
                Err(_) => Err(Error::AuthenticationFailed.into()),
            },
        }
    }

    async fn first(
        &mut self,
        authenticator: &dyn Authenticator,
        connection: &Connection,
        env: &dyn Env,
        message: &str,
    ) -> Result<Step, SaslError> {
        let first = ClientFirst::parse(message)?;
        self.check_binding(&first.binding, connection)?;
        let user = prepare_user(first.user.as_bytes())
            .ok_or(SaslError::Malformed("the user name holds forbidden characters"))?
            .into_owned();
        // Made for everybody, so that it takes no longer for a user that does not exist.
        let dummy = dummy::keys(authenticator, env, &user, self.hash);
        let found = authenticator.scram_keys(connection, &user, self.hash).await?;
        let known = found.is_some();
        let keys = found.unwrap_or(dummy);
        let nonce = format!("{}{}", first.nonce, self.server_nonce(env));
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let challenge = server_first.clone().into_bytes();
        self.waiting = Some(Waiting { first, user, nonce, server_first, keys, known });
        Ok(Step::Challenge(challenge))
    }

    /// What the client says about channel binding has to fit what it was offered (RFC 5802, section 6). What does not is
    /// well-formed: it is the authentication that fails.
    fn check_binding(&self, binding: &Binding, connection: &Connection) -> Result<(), SaslError> {
        let fits = match binding {
            Binding::Required(name) => self.plus && binding_data(name, connection).is_some(),
            // The client thinks that no channel binding was offered: where it was, somebody in the middle has removed it.
            Binding::NotOffered => !self.plus && !self.plus_offered,
            Binding::NotSupported => !self.plus,
        };
        if fits { Ok(()) } else { Err(Error::AuthenticationFailed.into()) }
    }

    async fn last(
        &mut self,
        authenticator: &dyn Authenticator,
        connection: &Connection,
        message: &str,
        waiting: Waiting,
    ) -> Result<Step, SaslError> {
        let Waiting { first, user, nonce, server_first, keys, known } = waiting;
        let last = ClientFinal::parse(message).ok_or(Error::AuthenticationFailed)?;
        let mut bound = first.gs2_header.as_bytes().to_vec();
        if let Binding::Required(name) = &first.binding {
            bound.extend_from_slice(binding_data(name, connection).unwrap_or_default());
        }
        if !bool::from(last.channel_binding.ct_eq(&bound)) || last.nonce != nonce {
            return Err(Error::AuthenticationFailed.into());
        }
        let auth_message: [&[u8]; 5] =
            [first.bare.as_bytes(), b",", server_first.as_bytes(), b",", last.without_proof.as_bytes()];
        let signature = hmac(self.hash, keys.stored_key.expose(), &auth_message);
        let mut client_key: Vec<u8> = signature.expose().iter().zip(&last.proof).map(|(a, b)| a ^ b).collect();
        client_key.resize(signature.expose().len(), 0);
        let stored_key = digest(self.hash, Secret::new(client_key).expose());
        let fits =
            stored_key.expose().ct_eq(keys.stored_key.expose()) & last.proof.len().ct_eq(&signature.expose().len());
        if !bool::from(fits) || !known {
            return Err(Error::AuthenticationFailed.into());
        }
        let identity = Identity::new(keys.user.unwrap_or_else(|| user.clone()));
        let authzid = if first.authzid == first.user { b"" } else { first.authzid.as_bytes() };
        let identity = act_as(authenticator, connection, identity, authzid).await?;
        let proof = hmac(self.hash, keys.server_key.expose(), &auth_message);
        let data = format!("v={}", STANDARD.encode(proof.expose())).into_bytes();
        Ok(Step::Done { identity, data: Some(data) })
    }

    fn server_nonce(&self, env: &dyn Env) -> String {
        #[cfg(test)]
        if let Some(nonce) = self.fixed_nonce {
            return nonce.to_owned();
        }
        let mut nonce = [0; 18];
        env.random(&mut nonce);
        // Base64 has no comma, and is printable: just what a nonce may be made of.
        STANDARD.encode(nonce)
    }
}

fn binding_data<'a>(name: &str, connection: &'a Connection) -> Option<&'a [u8]> {
    let tls = connection.tls.as_deref()?;
    let binding = match name {
        "tls-exporter" => tls.exporter.as_ref(),
        "tls-server-end-point" => tls.server_end_point.as_ref(),
        _ => None,
    };
    binding.map(|binding| binding.as_bytes())
}

#[cfg(test)]
mod tests;
