//! IMAP4rev1 and IMAP4rev2 (RFC 3501, RFC 9051) for servers, as a sans-IO state machine over a
//! [`Backend`](pillarbox_proto_core::backend::Backend).
//!
//! An [`ImapConversation`] takes the bytes that a client sends and gives the bytes that it is to be sent. It opens no
//! socket, reads no clock and names no runtime; see [`Conversation`](pillarbox_proto_core::Conversation) for the loop
//! that drives it. `pillarbox-server-core` has that loop for tokio.
//!
//! Inside are four layers: [`wire`] (bytes to typed commands and typed replies to bytes), the session (the protocol's
//! state), the service (commands at work on a backend), and [`message`] (views of one MIME message).
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod conversation;
pub mod message;
mod redact;
mod server;
mod server_id;
mod service;
mod session;
pub mod wire;

pub use config::{Config, Limits, LiteralMode, Timeouts};
pub use conversation::ImapConversation;
pub use redact::Redactor;
pub use server::ImapService;
pub use server_id::{ServerId, ServerIdError};
