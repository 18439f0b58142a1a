//! A mail server for Maildir over IMAP and POP3.
#![forbid(unsafe_code)]

pub mod store;
