//! Keys for users that do not exist, so that they look like those that do (RFC 5802, section 9).

use std::sync::OnceLock;

use super::scram::primitive::hmac;
use super::{SCRAM_ITERATIONS, Secret};
use crate::backend::{Authenticator, ScramHash, ScramKeys};
use crate::env::Env;

/// How long a made-up salt is; that of [`derive_scram_keys`](super::derive_scram_keys)'s callers should be as long.
const SALT: usize = 16;

/// The key of made-up salts where the authenticator has none of its own. It is one for the whole process: sessions of
/// both protocols must show the same salt for a name, or comparing them would tell who exists.
static PROCESS_KEY: OnceLock<Secret> = OnceLock::new();

fn process_key(env: &dyn Env) -> Secret {
    PROCESS_KEY
        .get_or_init(|| {
            let mut key = vec![0; 32];
            env.random(&mut key);
            Secret::new(key)
        })
        .clone()
}

/// Keys for a name that has none. The same name always gets the same ones; no password fits them.
pub(super) fn keys(authenticator: &dyn Authenticator, env: &dyn Env, user: &str, hash: ScramHash) -> ScramKeys {
    let key = authenticator.dummy_salt_key().unwrap_or_else(|| process_key(env));
    let part = |label: &[u8]| hmac(hash, key.expose(), &[label, user.as_bytes()]);
    let salt: Vec<u8> = part(b"salt\0").expose().iter().copied().take(SALT).collect();
    let iterations = authenticator.scram_iterations().unwrap_or(SCRAM_ITERATIONS);
    ScramKeys::new(salt, iterations, part(b"stored\0"), part(b"server\0"))
}
