//! The POP3 server protocol (RFC 1939, RFC 2449) as a state machine without sockets, clocks or a runtime, over any
//! [`Backend`](pillarbox_proto_core::backend::Backend).
//!
//! A [`Pop3Service`] holds what all its connections share. For each client it makes a [`Pop3Conversation`], which is a
//! [`Conversation`](pillarbox_proto_core::Conversation): bytes go in, bytes come out, and whoever owns the socket
//! drives it with the loop that the [`conversation`](pillarbox_proto_core::conversation) module describes.
//!
//! Spoken are USER and PASS, APOP, AUTH (RFC 5034) with all mechanisms of proto-core, STAT, LIST, UIDL, RETR, TOP,
//! DELE, RSET, NOOP, QUIT, CAPA (RFC 2449), STLS (RFC 2595), UTF8 and LANG (RFC 6856), pipelining, and the response
//! codes of RFC 2449, RFC 3206 and RFC 6856. The maildrop is the INBOX of the account, opened for one POP3 session at a time.
//!
//! ```
//! use std::sync::Arc;
//! use std::task::{Context, Poll, Waker};
//! use std::time::{Instant, SystemTime};
//!
//! use async_trait::async_trait;
//! use pillarbox_pop3_proto::{Config, Pop3Service};
//! use pillarbox_proto_core::auth::{Identity, Secret};
//! use pillarbox_proto_core::backend::{Account, Authenticator, Backend, Error, Result};
//! use pillarbox_proto_core::connection::{Connection, SessionId};
//! use pillarbox_proto_core::conversation::{Conversation, Next};
//! use pillarbox_proto_core::env::FixedEnv;
//!
//! /// A server that nobody may log in to.
//! struct Closed;
//!
//! #[async_trait]
//! impl Authenticator for Closed {
//!     async fn check_password(&self, _: &Connection, _: &str, _: &Secret) -> Result<Identity> {
//!         Err(Error::AuthenticationFailed)
//!     }
//! }
//!
//! #[async_trait]
//! impl Backend for Closed {
//!     async fn open(&self, _: &Connection, _: &Identity) -> Result<Arc<dyn Account>> {
//!         Err(Error::NoPermission)
//!     }
//! }
//!
//! let mut config = Config::default();
//! config.allow_plaintext = true;
//! let env = Arc::new(FixedEnv { now: SystemTime::UNIX_EPOCH, byte: 0 });
//! let service = Pop3Service::new(Arc::new(Closed), config, env);
//!
//! let now = Instant::now();
//! let mut client = service.connect(Connection::new(SessionId::new(1)), now);
//! let mut cx = Context::from_waker(Waker::noop());
//! assert!(client.poll_next(&mut cx, now).is_pending());
//! assert_eq!(client.output().take(), "+OK Pillarbox POP3 ready\r\n");
//!
//! client.read_buf().unwrap().extend_from_slice(b"USER tim\r\nPASS tanstaaf\r\nQUIT\r\n");
//! client.handle_read(now);
//! assert_eq!(client.poll_next(&mut cx, now), Poll::Ready(Next::Close));
//! assert_eq!(client.output().take(), "+OK Send the password\r\n-ERR [AUTH] Bad login\r\n+OK Bye\r\n");
//! ```
//!
//! # Features
//!
//! * `tracing` (default): the cause of an [`Error::Unavailable`](pillarbox_proto_core::backend::Error::Unavailable) or
//!   [`Error::Corrupt`](pillarbox_proto_core::backend::Error::Corrupt), which no client is told, becomes a warning.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod downgrade;
mod redact;
mod service;
mod session;
mod texts;
mod wire;

pub use config::{Config, Internationalized, Limits, Timeouts};
pub use redact::Redactor;
pub use service::{Pop3Conversation, Pop3Service};
pub use texts::{Language, LanguageError};

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
