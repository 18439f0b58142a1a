//! The functions that RFC 5802, section 2.2, names: `HMAC`, `H` and `Hi`, for either hash.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::auth::Secret;
use crate::backend::ScramHash;

/// `HMAC(key, parts[0] + parts[1] + ...)`.
#[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104, section 3); the result is the trait's")]
pub(in crate::auth) fn hmac(hash: ScramHash, key: &[u8], parts: &[&[u8]]) -> Secret {
    const ANY_LENGTH: &str = "HMAC takes keys of any length";
    match hash {
        ScramHash::Sha1 => {
            let mut mac = Hmac::<Sha1>::new_from_slice(key).expect(ANY_LENGTH);
            parts.iter().for_each(|part| mac.update(part));
            Secret::new(mac.finalize().into_bytes().to_vec())
        }
        ScramHash::Sha256 => {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_LENGTH);
            parts.iter().for_each(|part| mac.update(part));
            Secret::new(mac.finalize().into_bytes().to_vec())
        }
    }
}

/// `H(data)`.
pub(super) fn digest(hash: ScramHash, data: &[u8]) -> Secret {
    match hash {
        ScramHash::Sha1 => Secret::new(Sha1::digest(data).to_vec()),
        ScramHash::Sha256 => Secret::new(Sha256::digest(data).to_vec()),
    }
}

/// `Hi(password, salt, iterations)`.
pub(super) fn salted_password(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Secret {
    let mut output = match hash {
        ScramHash::Sha1 => vec![0; 20],
        ScramHash::Sha256 => vec![0; 32],
    };
    match hash {
        ScramHash::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut output),
        ScramHash::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut output),
    }
    Secret::new(output)
}
