//! What the tests of whole sessions share: a session without a socket, and transcripts.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panics")]

pub mod client;
pub mod many;
pub mod plain;
pub mod stream;
pub mod transcript;
pub mod world;
