//! What the fuzz targets check.
//!
//! Each module has one function that takes arbitrary bytes and panics when an invariant is broken: the oracles of a
//! fuzz target. They need no fuzzer: the tests of this crate replay the committed inputs with them, on any toolchain.
//!
//! * [`framer`]: frames are the same however the input is cut; nothing is lost, doubled or held beyond the limits.
//! * [`command`]: what parses is encoded to a canonical form that parses to the same, for every list in it too.
//! * [`imap`] and [`pop3`]: whole sessions over a store that is slow, fails and changes by itself.
//! * [`message`]: the views of a message, whole against in pieces.
//!
//! An input is a text as a client would send it, optionally followed by a line `%%` and bytes that steer the rest: how
//! it is cut, what the store answers. Without that line they follow from the text itself. Inputs thus stay readable,
//! and any capture of a real session is one.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "an oracle speaks by panicking")]

pub mod command;
pub mod control;
pub mod drive;
pub mod framer;
pub mod heap;
pub mod imap;
pub mod message;
pub mod pop3;
pub mod responses;
pub mod store;
