//! What the tests of whole sessions share: a session without a socket, and transcripts.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod client;
pub mod transcript;
