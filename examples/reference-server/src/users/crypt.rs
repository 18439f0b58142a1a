//! Password hashes of crypt(3), as passwd and shadow files hold them.
//!
//! yescrypt (`$y$`), bcrypt (`$2a$`, `$2b$`, `$2y$`), SHA-512 (`$6$`) and SHA-256 (`$5$`). Older ones, DES and MD5 among
//! them, are no protection any more and are refused.

use sha_crypt::{PasswordVerifier, ShaCrypt};
use yescrypt::Yescrypt;

/// Whether a hash of this form can be checked here.
pub(super) fn is_known(hash: &str) -> bool {
    let form = |prefix: &str| hash.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    match hash.get(..3) {
        Some("$5$" | "$6$") => sha_crypt::PasswordHashRef::new(hash).is_ok(),
        Some("$y$") => yescrypt::PasswordHashRef::new(hash).is_ok(),
        _ => ["$2a$", "$2b$", "$2y$"].into_iter().any(form) && hash.len() == 60,
    }
}

/// Whether it is the hash of this password. It takes a while.
pub(super) fn verify(hash: &str, password: &[u8]) -> bool {
    match hash.get(..3) {
        Some("$5$" | "$6$") => sha_crypt::PasswordHashRef::new(hash)
            .is_ok_and(|hash| ShaCrypt::default().verify_password(password, hash).is_ok()),
        Some("$y$") => yescrypt::PasswordHashRef::new(hash)
            .is_ok_and(|hash| Yescrypt::default().verify_password(password, hash).is_ok()),
        Some("$2a" | "$2b" | "$2y") => bcrypt::verify(password, hash).unwrap_or(false),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the system's crypt(3).
    const HASHES: [(&str, &str); 5] = [
        ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        (
            "Hello world!",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
        (
            "password",
            "$6$rounds=10000$saltstringsaltst$Qzq13AQeOS5aa8nj8fFRVn5cZkLp.t1PUmhPeygZiOwD7eFxWmcxrxGtIgnXDKoTYvTEmyGz\
             yqVjaDGGtAurL/",
        ),
        ("password", "$2b$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm"),
        ("password", "$y$j9T$AbCdEfGhIjKlMnOpQrSt0/$hVdSqqR9.VCBeGNxl/cUh0TWDjmvf9Nf3PoB1Ebrj9/"),
    ];

    #[test]
    fn refused_forms() {
        for hash in ["", "x", "!", "*", "!$6$a$b", "ab0123456789.", "$1$abc$def", "$2b$10$short", "$6$", "$7$x$y"] {
            assert!(!is_known(hash), "{hash}");
            assert!(!verify(hash, b"x"), "{hash}");
        }
    }

    #[test]
    fn known_answers() {
        for (password, hash) in HASHES {
            assert!(is_known(hash), "{hash}");
            assert!(verify(hash, password.as_bytes()), "{hash}");
            assert!(!verify(hash, b"other"), "{hash}");
        }
    }
}
