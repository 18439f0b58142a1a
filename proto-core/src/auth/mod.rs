//! Credentials, and the SASL mechanisms (RFC 4422) as state machines without input or output.
//!
//! [`offered`] says which mechanisms a client may use on a connection; CAPABILITY and CAPA are both made from it, so
//! that what is announced is what works. An [`Exchange`] takes the client's responses and gives challenges until it
//! ends in an [`Identity`]. It puts narrow questions to an [`Authenticator`](crate::backend::Authenticator) and never
//! sees how the answers come about. [`framing`] has the Base64 that protocols wrap around both directions; the rest of
//! the framing (`+ `, `*` for cancelling, tags) belongs to each protocol.
//!
//! ```
//! use std::sync::Arc;
//! use pillarbox_proto_core::auth::{Exchange, Identity, Mechanism, Secret, Step, offered};
//! use pillarbox_proto_core::backend::{Authenticator, Error, Result};
//! use pillarbox_proto_core::connection::SessionId;
//! use pillarbox_proto_core::env::FixedEnv;
//! use pillarbox_proto_core::Connection;
//!
//! struct Users;
//!
//! #[async_trait::async_trait]
//! impl Authenticator for Users {
//!     async fn check_password(&self, _: &Connection, user: &str, password: &Secret) -> Result<Identity> {
//!         match (user, password.expose()) {
//!             ("tim", b"tanstaaftanstaaf") => Ok(Identity::new("tim")),
//!             _ => Err(Error::AuthenticationFailed),
//!         }
//!     }
//! }
//!
//! let mut connection = Connection::new(SessionId::new(1));
//! assert_eq!(offered(&Users.questions(), &connection, false), []); // no passwords in plain text
//! connection.externally_secured = true;
//! let offer = offered(&Users.questions(), &connection, false);
//! assert_eq!(offer, [Mechanism::Plain, Mechanism::Login]);
//!
//! let env = Arc::new(FixedEnv { now: std::time::SystemTime::UNIX_EPOCH, byte: 7 });
//! let mut exchange = Exchange::new(Mechanism::Plain, &offer, Arc::new(connection), env);
//! let step = futures::executor::block_on(exchange.step(&Users, Some(b"\0tim\0tanstaaftanstaaf")));
//! assert!(matches!(step, Ok(Step::Done { identity, data: None }) if identity.user() == "tim"));
//! ```
//!
//! # Tokens, guests and shared secrets
//!
//! A mechanism is offered when the backend says that it answers its question, and refused when not:
//!
//! | mechanism | [`Questions`](crate::backend::Questions) | what is asked | offered |
//! |---|---|---|---|
//! | PLAIN, LOGIN | `password` | [`check_password`](crate::backend::Authenticator::check_password) | where a secret is safe |
//! | OAUTHBEARER, XOAUTH2 | `token` | [`check_token`](crate::backend::Authenticator::check_token) | where a secret is safe |
//! | SCRAM | `scram_sha256`, `scram_sha1` | [`scram_keys`](crate::backend::Authenticator::scram_keys) | everywhere; `-PLUS` with a channel binding |
//! | CRAM-MD5 | `cram_md5` | [`shared_secret`](crate::backend::Authenticator::shared_secret) | everywhere |
//! | ANONYMOUS | `anonymous` | [`anonymous`](crate::backend::Authenticator::anonymous) | everywhere |
//! | EXTERNAL | `certificate` | [`check_certificate`](crate::backend::Authenticator::check_certificate) | with a certificate, or a name in one that a trusted proxy told |
//!
//! A secret is safe under TLS, on a connection that is protected from outside, and where the configuration allows plain
//! text. Credentials that are not good are [`SaslError::Refused`]; [`SaslError::Malformed`] is for messages that break the
//! syntax of their mechanism.
//!
//! ```
//! # use std::sync::Arc;
//! # use pillarbox_proto_core::auth::{Exchange, Identity, Mechanism, SaslError, Secret, Step, TokenRefusal, offered};
//! # use pillarbox_proto_core::backend::{Authenticator, Error, Questions, Result};
//! # use pillarbox_proto_core::connection::SessionId;
//! # use pillarbox_proto_core::env::FixedEnv;
//! # use pillarbox_proto_core::Connection;
//! struct Tokens;
//!
//! #[async_trait::async_trait]
//! impl Authenticator for Tokens {
//!     fn questions(&self) -> Questions {
//!         let mut questions = Questions::default();
//!         (questions.password, questions.token, questions.anonymous) = (false, true, true);
//!         questions
//!     }
//!
//!     async fn check_password(&self, _: &Connection, _: &str, _: &Secret) -> Result<Identity> {
//!         Err(Error::AuthenticationFailed)
//!     }
//!
//!     async fn check_token(&self, _: &Connection, _: Option<&str>, token: &Secret) -> Result<Identity> {
//!         // Who issued the token knows whose it is.
//!         if *token == Secret::new("t0ken") { Ok(Identity::new("tim")) } else { Err(Error::AuthenticationFailed) }
//!     }
//!
//!     fn token_refusal(&self, _: &Connection) -> TokenRefusal {
//!         TokenRefusal::new().scope("mail").openid_configuration("https://example.org/openid")
//!     }
//!
//!     async fn anonymous(&self, _: &Connection, _trace: Option<&str>) -> Result<Identity> {
//!         Ok(Identity::new("guest"))
//!     }
//! }
//!
//! let mut connection = Connection::new(SessionId::new(1));
//! assert_eq!(offered(&Tokens.questions(), &connection, false), [Mechanism::Anonymous]);
//! connection.externally_secured = true;
//! let offer = offered(&Tokens.questions(), &connection, false);
//! assert_eq!(offer, [Mechanism::OauthBearer, Mechanism::Xoauth2, Mechanism::Anonymous]);
//!
//! let connection = Arc::new(connection);
//! let exchange = || {
//!     let env = Arc::new(FixedEnv { now: std::time::SystemTime::UNIX_EPOCH, byte: 7 });
//!     Exchange::new(Mechanism::OauthBearer, &offer, Arc::clone(&connection), env)
//! };
//! # futures::executor::block_on(async {
//! let step = exchange().step(&Tokens, Some(b"n,a=tim,\x01auth=Bearer t0ken\x01\x01")).await;
//! assert!(matches!(step, Ok(Step::Done { identity, .. }) if identity.user() == "tim"));
//!
//! let mut refused = exchange();
//! // A challenge tells the client why; it has to answer before it is told that it failed.
//! let step = refused.step(&Tokens, Some(b"n,,\x01auth=Bearer old\x01\x01")).await;
//! assert!(matches!(step, Ok(Step::Challenge(json)) if json.starts_with(b"{\"status\":\"invalid_token\"")));
//! let step = refused.step(&Tokens, Some(b"\x01")).await;
//! assert!(matches!(step, Err(SaslError::Refused(Error::AuthenticationFailed))));
//! # });
//! ```
//!
//! # Why not a SASL library
//!
//! The frameworks at hand ask for credentials through synchronous callbacks, while a backend has to look them up
//! asynchronously: each mechanism would have to be run twice or on a thread of its own. The mechanisms that mail
//! clients use fit in a few hundred lines over well-kept implementations of the hash functions, so they are written
//! out here, with every check beside the sentence of the RFC that demands it.

mod anonymous;
mod apop;
mod cram_md5;
mod dummy;
mod exchange;
pub mod framing;
mod identity;
mod mechanism;
mod password;
mod plain;
mod prepare;
mod scram;
mod secret;
mod token;

pub use apop::{apop_digest, verify_apop};
pub use cram_md5::cram_md5_digest;
pub use exchange::{Exchange, SaslError, Step};
pub use identity::Identity;
pub use mechanism::{Mechanism, offered};
pub use password::verify_password;
pub use prepare::{prepare_password, prepare_user};
pub use scram::{SCRAM_ITERATIONS, derive_scram_keys};
pub use secret::Secret;
pub use token::TokenRefusal;

#[cfg(test)]
mod newer_tests;
#[cfg(test)]
mod tests;
