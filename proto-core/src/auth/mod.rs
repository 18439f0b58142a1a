//! Credentials and SASL.

mod identity;
mod secret;

pub use identity::Identity;
pub use secret::Secret;
