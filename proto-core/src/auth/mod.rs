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
