//! APOP: a digest of the greeting's time stamp and a shared secret (RFC 1939, section 7).
//!
//! MD5 is what the RFC prescribes. It is offered only where an authenticator keeps secrets in plain text for it.

use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

use super::{Identity, Secret, prepare_password, prepare_user};
use crate::backend::{Authenticator, Error, Result};
use crate::connection::Connection;

/// The digest that a client sends: MD5 of the time stamp, angle brackets included, and the secret, in lower-case
/// hexadecimal.
#[must_use]
pub fn apop_digest(timestamp: &str, secret: &Secret) -> String {
    let digest = Md5::new().chain_update(timestamp).chain_update(secret.expose()).finalize();
    digest
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Checks the digest of an APOP command against the time stamp of this session's greeting.
///
/// # Errors
///
/// [`Error::AuthenticationFailed`] for an unknown user, one without a shared secret, or a wrong digest; others as the store
/// fails.
pub async fn verify_apop(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    timestamp: &str,
    user: &[u8],
    digest: &[u8],
) -> Result<Identity> {
    let Some(user) = prepare_user(user) else { return Err(Error::AuthenticationFailed) };
    let secret = authenticator.shared_secret(connection, &user).await?;
    // Both sides digest the prepared form (RFC 6856, section 2.2). An empty secret is none.
    let secret = secret.map(|secret| prepare_password(&secret)).filter(|secret| !secret.expose().is_empty());
    let known = secret.is_some();
    // An unknown user costs the same digest as a known one.
    let expected = apop_digest(timestamp, &secret.unwrap_or_else(|| Secret::new(*b"a secret that nobody has")));
    if bool::from(expected.as_bytes().ct_eq(digest)) && known {
        Ok(Identity::new(user))
    } else {
        Err(Error::AuthenticationFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1939() {
        let digest = apop_digest("<1896.697170952@dbc.mtview.ca.us>", &Secret::new("tanstaaf"));
        assert_eq!(digest, "c4c9334bac560ecc979e58001b3e22fb");
    }
}
