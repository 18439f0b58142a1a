//! LMTP (RFC 2033): the way mail gets in, over any [`Backend`] that can append.
//!
//! It stands on the public API of `proto-core` and `server-core` alone, as a protocol of somebody else's would: an
//! [`LmtpConversation`] is a `Conversation`, made for each connection by an [`LmtpService`].
//!
//! * Each recipient of a message has an answer of its own, given when the message is durable in the recipient's INBOX.
//!   What one recipient can't take is no obstacle to the others.
//! * A message is never held in memory: its octets go to all recipients as they come.
//! * `PIPELINING`, `8BITMIME`, `SMTPUTF8`, `ENHANCEDSTATUSCODES`, `SIZE`, and `STARTTLS` where the listener has it.
//!
//! There is no login: who may connect may deliver. Listen on a unix socket or on loopback, or use an access list.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use pillarbox_example_lmtp::{Config, LmtpService, Users};
//! use pillarbox_proto_core::env::SystemEnv;
//! use pillarbox_proto_core::memory::MemoryBackend;
//! use pillarbox_server_core::{Listener, Server, now};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let backend = MemoryBackend::builder().user("ada", "secret").mailbox("ada", "INBOX").build()?;
//! let recipients = Arc::new(Users::new(Arc::new(backend)));
//! let service = LmtpService::new(recipients, Config::default(), Arc::new(SystemEnv));
//! let listener = Listener::new("lmtp", move |connection| Box::new(service.connect(connection, now())))
//!     .address(([127, 0, 0, 1], 2424));
//! let server = Server::new().listener(listener).bind()?.start()?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Backend`]: pillarbox_proto_core::backend::Backend
#![forbid(unsafe_code)]

mod command;
mod conversation;
mod data;
mod delivery;
mod recipients;
mod reply;
mod service;

pub use conversation::LmtpConversation;
pub use recipients::{Recipients, Users};
pub use service::{Config, LmtpService};
