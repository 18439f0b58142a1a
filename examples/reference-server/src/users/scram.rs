//! SCRAM keys as the users' file has them (RFC 5803): `SCRAM-SHA-256$15000:salt$stored:server`, in Base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pillarbox_proto_core::auth::{SCRAM_ITERATIONS, Secret, derive_scram_keys};
use pillarbox_proto_core::backend::{ScramHash, ScramKeys};

use crate::data::random;
use crate::exit::Result;

pub(super) fn derive(password: &Secret, hash: ScramHash) -> Result<ScramKeys> {
    Ok(derive_scram_keys(password, &random::<16>()?, SCRAM_ITERATIONS, hash))
}

const fn scheme(hash: ScramHash) -> (&'static str, usize) {
    match hash {
        ScramHash::Sha1 => ("SCRAM-SHA-1", 20),
        _ => ("SCRAM-SHA-256", 32),
    }
}

pub(super) fn write(keys: &ScramKeys, hash: ScramHash) -> String {
    format!(
        "{}${}:{}${}:{}",
        scheme(hash).0,
        keys.iterations,
        STANDARD.encode(&keys.salt),
        STANDARD.encode(keys.stored_key.expose()),
        STANDARD.encode(keys.server_key.expose())
    )
}

pub(super) fn parse(text: &str, hash: ScramHash) -> Option<ScramKeys> {
    let (name, length) = scheme(hash);
    let (salting, keys) = text.strip_prefix(name)?.strip_prefix('$')?.split_once('$')?;
    let (iterations, salt) = salting.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    let key = |text: &str| STANDARD.decode(text).ok().filter(|key| key.len() == length).map(Secret::new);
    let iterations = iterations.parse().ok().filter(|count| *count > 0)?;
    let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
    Some(ScramKeys::new(salt, iterations, key(stored)?, key(server)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_the_file() {
        for hash in [ScramHash::Sha1, ScramHash::Sha256] {
            let keys = derive_scram_keys(&Secret::new(*b"x"), b"salt", 2, hash);
            let again = parse(&write(&keys, hash), hash).unwrap();
            assert_eq!((&again.salt, again.iterations), (&keys.salt, 2));
            assert!(again.stored_key == keys.stored_key && again.server_key == keys.server_key);
        }
    }

    #[test]
    fn other_texts_are_no_keys() {
        let good = write(&derive_scram_keys(&Secret::new(*b"x"), b"salt", 2, ScramHash::Sha256), ScramHash::Sha256);
        assert!(parse(&good, ScramHash::Sha256).is_some());
        assert!(parse(&good, ScramHash::Sha1).is_none());
        for bad in
            ["", "SCRAM-SHA-256$", &good.replace("$2:", "$0:"), &good.replace("$2:", "$x:"), &good[..good.len() - 4]]
        {
            assert!(parse(bad, ScramHash::Sha256).is_none(), "{bad}");
        }
    }
}
