//! A mail server for Maildir over IMAP and POP3: the Pillarbox crates put together, as a library, with the program
//! `pillarboxd` on top.
//!
//! * [`config`]: the settings, from a TOML file or built in.
//! * [`data`], [`users`], [`apop`], [`numbers`], [`certificate`]: what the server keeps beside mail.
//! * [`store`]: Maildir++ with a SQLite index, as a backend's account.
//! * [`backend`], [`homes`]: users and stores as the [`Backend`](pillarbox_proto_core::backend::Backend) that the
//!   protocols serve.
//! * [`maildrop`], [`bulletins`]: the policies of POP3 maildrops.
//! * [`import`]: bringing mail in.
//! * [`serving`]: the settings' listeners, and what changes while they are served.
//! * [`daemon`], [`logging`]: what makes a program a daemon, and its log.
//! * [`cli`]: the program.
//!
//! It is an example, and held to the rules of a product: what it tells clients is durable, what is wrong is named, and
//! secrets are never shown.
#![forbid(unsafe_code)]

pub mod apop;
pub mod backend;
pub mod bulletins;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod data;
pub mod exit;
pub mod files;
pub mod homes;
pub mod import;
pub mod logging;
pub mod maildrop;
pub mod numbers;
pub mod serving;
pub mod sources;
pub mod store;
pub mod users;
mod watched;
