//! CRAM-MD5: a keyed digest of the server's challenge (RFC 2195).
//!
//! MD5 is what the RFC prescribes; as HMAC it holds, but whoever listens can try passwords at leisure. It is offered only
//! where an authenticator keeps secrets in plain text and wants it.

use std::time::UNIX_EPOCH;

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use subtle::ConstantTimeEq as _;

use super::exchange::SaslError;
use super::{Identity, Secret, prepare_password, prepare_user};
use crate::backend::{Authenticator, Error};
use crate::connection::Connection;
use crate::env::Env;

/// Digits of a digest.
const DIGITS: usize = 32;

/// The digest that a client sends: HMAC-MD5 of the challenge, angle brackets included, keyed with the secret, in
/// lower-case hexadecimal.
#[must_use]
#[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104, section 3); the result is the trait's")]
pub fn cram_md5_digest(challenge: &str, secret: &Secret) -> String {
    let mut mac = Hmac::<Md5>::new_from_slice(secret.expose()).expect("HMAC takes keys of any length");
    mac.update(challenge.as_bytes());
    let digest = mac.finalize().into_bytes();
    digest
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// A challenge that was never made before and can't be foreseen: `<random.time@host>`.
pub(super) fn challenge(env: &dyn Env, host: &str) -> String {
    let mut random = [0; 16];
    env.random(&mut random);
    let time = env.wall_time().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    format!("<{:032x}.{time}@{host}>", u128::from_be_bytes(random))
}

/// Takes the answer to a challenge: `user SP digest`.
pub(super) async fn verify(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    challenge: &str,
    answer: &[u8],
) -> Result<Identity, SaslError> {
    const MALFORMED: SaslError = SaslError::Malformed("CRAM-MD5 wants a user name, a space and 32 hexadecimal digits");
    // A name may have spaces, a digest none.
    let space = answer.iter().rposition(|byte| *byte == b' ').ok_or(MALFORMED)?;
    let (user, digest) = answer.split_at(space);
    let digest = digest.strip_prefix(b" ").unwrap_or_default();
    if digest.len() != DIGITS || !digest.iter().all(u8::is_ascii_hexdigit) {
        return Err(MALFORMED);
    }
    let Some(user) = prepare_user(user) else { return Err(Error::AuthenticationFailed.into()) };
    let secret = authenticator.shared_secret(connection, &user).await?;
    let known = secret.as_ref().is_some_and(|secret| !secret.expose().is_empty());
    // An unknown user costs the same digests as a known one.
    let secret = secret.unwrap_or_else(|| Secret::new(*b"a secret that nobody has"));
    // The RFC, older than SASLprep, has the secret as it is, and APOP its prepared form (RFC 6856, section 2.2): clients
    // do the one or the other. Where nothing is left of it, it has no such form: that key would be everybody's.
    let prepared = Some(prepare_password(&secret)).filter(|prepared| !prepared.expose().is_empty());
    let prepared = prepared.unwrap_or_else(|| secret.clone());
    let matches = |secret| cram_md5_digest(challenge, secret).as_bytes().ct_eq(digest);
    if bool::from(matches(&secret) | matches(&prepared)) && known {
        Ok(Identity::new(user))
    } else {
        Err(Error::AuthenticationFailed.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_2195() {
        let digest = cram_md5_digest("<1896.697170952@postoffice.reston.mci.net>", &Secret::new("tanstaaftanstaaf"));
        assert_eq!(digest, "b913a602c7eda7a495b4e6e7334d3890");
    }
}
