//! A mail server for Maildir over IMAP and POP3.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod config;
pub mod data;
pub mod exit;
pub mod files;
pub mod store;
pub mod users;
