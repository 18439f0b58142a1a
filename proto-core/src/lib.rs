//! What the IMAP and POP3 server protocols of the Pillarbox family share.
//!
//! * [`backend`]: the traits that a program implements to have its mail served.
//! * [`conversation`]: the contract between a protocol state machine and the loop that does its input and output.
//! * [`auth`]: credentials, and the SASL mechanisms as state machines.
//! * [`mail`]: UIDs, mod-sequences, flags, mailbox names: the vocabulary of mail stores.
//! * [`observe`]: what a program may see of its sessions.
//! * [`transcript`]: what may be written down of the bytes that pass.
//! * [`Signal`] and [`ModSeqs`]: live updates, for backends that keep mod-sequences and for those that don't.
//! * `memory` (feature): a whole mail store in memory, for test suites.
//! * `conformance` (feature): checks whether a backend keeps the rules.
//!
//! Nothing here opens a socket, reads a clock or names a runtime.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod auth;
pub mod backend;
#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;
pub mod connection;
pub mod conversation;
pub mod env;
mod keyword_sets;
pub mod mail;
#[cfg(feature = "memory")]
#[cfg_attr(docsrs, doc(cfg(feature = "memory")))]
pub mod memory;
pub mod mod_seqs;
pub mod observe;
pub mod output;
pub mod signal;
pub mod transcript;

pub use connection::Connection;
pub use conversation::Conversation;
pub use env::Env;
pub use mod_seqs::ModSeqs;
pub use output::Output;
pub use signal::Signal;
