//! Hashes of passwords.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use pillarbox_proto_core::auth::{Secret, prepare_password};
use zeroize::Zeroizing;

use super::crypt;
use crate::data::random;
use crate::exit::{Failure, Result, Status};

/// The hash of a password: a PHC string of argon2id with 19 MiB of memory and two passes, or one of crypt(3).
#[derive(Clone)]
pub struct PasswordHash(Arc<Zeroizing<String>>);

impl PasswordHash {
    /// Hashes a password, prepared as the login mechanisms prepare it. It takes a while.
    ///
    /// # Errors
    ///
    /// When the system has no random octets.
    pub fn new(password: &Secret) -> Result<Self> {
        let salt = random::<16>()?;
        let failed = |error| Failure::new(Status::Software, format_args!("hashing a password: {error}"));
        let hash: phc::PasswordHash =
            Argon2::default().hash_password_with_salt(prepare_password(password).expose(), &salt).map_err(failed)?;
        Ok(Self(Arc::new(Zeroizing::new(hash.to_string()))))
    }

    /// Takes a PHC string; `None` if it is not one of argon2.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hash = phc::PasswordHash::new(text).ok()?;
        let usable = hash.algorithm.as_str().starts_with("argon2") && hash.salt.is_some() && hash.hash.is_some();
        usable.then(|| Self(Arc::new(Zeroizing::new(text.to_owned()))))
    }

    /// Takes a hash of crypt(3), as passwd and shadow files have it; `None` if it is locked, or of a form that is no
    /// protection any more.
    #[must_use]
    pub fn crypt(text: &str) -> Option<Self> {
        crypt::is_known(text).then(|| Self(Arc::new(Zeroizing::new(text.to_owned()))))
    }

    /// The text of the hash. Named so that every place that looks at a secret is easily found.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the hash of that password, which has been prepared. It takes a while.
    #[must_use]
    pub fn verify(&self, password: &Secret) -> bool {
        if !self.0.starts_with("$argon2") {
            return crypt::verify(&self.0, password.expose());
        }
        match phc::PasswordHash::new(&self.0) {
            Ok(hash) => Argon2::default().verify_password(password.expose(), &hash).is_ok(),
            Err(_) => false,
        }
    }

    /// A hash that costs as much to check as any other, and that no password has: its salt is not used for any user, and
    /// nobody looks at the outcome.
    pub(super) fn of_nobody() -> Self {
        const TEXT: &str =
            "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        Self(Arc::new(Zeroizing::new(TEXT.to_owned())))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A password that nobody has thought of: 80 random bits, in letters and digits that are not easily mistaken.
///
/// # Errors
///
/// When the system has no random octets.
pub fn generate_password() -> Result<Secret> {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let octets = Zeroizing::new(random::<16>()?);
    let mut password = Vec::with_capacity(19);
    for (at, octet) in octets.iter().enumerate() {
        if at > 0 && at % 4 == 0 {
            password.push(b'-');
        }
        password.extend(DIGITS.get(usize::from(octet % 32)));
    }
    Ok(Secret::new(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_salted_and_not_shown() {
        let password = Secret::new("e\u{301}");
        let (one, two) = (PasswordHash::new(&password).unwrap(), PasswordHash::new(&password).unwrap());
        assert_ne!(one.expose(), two.expose());
        assert!(one.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        // The composed form is what mechanisms hand over.
        assert!(one.verify(&Secret::new("\u{e9}")) && !one.verify(&Secret::new("x")));
        assert!(PasswordHash::parse(one.expose()).unwrap().verify(&Secret::new("\u{e9}")));
        assert_eq!(format!("{one:?}"), "***");
        for text in ["", "x", "$argon2id$v=19$m=19456,t=2,p=1$", "$pbkdf2-sha256$i=1$YWFhYWFhYWE$YWFhYWFhYWFhYWE"] {
            assert!(PasswordHash::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn nobodys_hash_costs_what_any_other_costs() {
        let params = |hash: &PasswordHash| phc::PasswordHash::new(hash.expose()).unwrap().params;
        let nobody = PasswordHash::of_nobody();
        assert!(PasswordHash::parse(nobody.expose()).is_some());
        assert_eq!(params(&nobody), params(&PasswordHash::new(&Secret::new(*b"x")).unwrap()));
    }

    #[test]
    fn generated_passwords_differ() {
        let (one, two) = (generate_password().unwrap(), generate_password().unwrap());
        assert!(one != two);
        assert_eq!(one.expose().len(), 19);
        assert!(one.expose().iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-'));
    }
}
