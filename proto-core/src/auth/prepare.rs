//! Names and passwords in the form in which they are compared.

use std::borrow::Cow;

use super::Secret;

/// Longest user name, in octets. It bounds what is copied for a login, not what a backend may use.
const MAX_USER: usize = 1024;

/// A user name as mechanisms compare it: prepared by SASLprep (RFC 4013), so that it does not matter how a client composes its
/// accents. `None` for one that can't be anybody's: not UTF-8, empty, over 1024 octets, or with control characters.
#[must_use]
pub fn prepare_user(user: &[u8]) -> Option<Cow<'_, str>> {
    let user = std::str::from_utf8(user).ok().filter(|user| user.len() <= MAX_USER)?;
    // One character may become eighteen.
    stringprep::saslprep(user).ok().filter(|user| (1..=MAX_USER).contains(&user.len()))
}

/// A password as mechanisms compare it: prepared by SASLprep (RFC 4013) where that is possible, else as it is, since old
/// passwords in other character sets exist. Whoever stores a hash of a password hashes this form.
#[must_use]
pub fn prepare_password(password: &Secret) -> Secret {
    match password.expose_str().map(stringprep::saslprep) {
        Some(Ok(Cow::Owned(prepared))) => Secret::new(prepared),
        _ => password.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_4013() {
        assert_eq!(prepare_user("I\u{AD}X".as_bytes()).as_deref(), Some("IX"));
        assert_eq!(prepare_user(b"USER").as_deref(), Some("USER"));
        assert_eq!(prepare_user("\u{AA}".as_bytes()).as_deref(), Some("a"));
        assert_eq!(prepare_user("\u{2168}".as_bytes()).as_deref(), Some("IX"));
        assert_eq!(prepare_user(b"\x07"), None);
        assert_eq!(prepare_user("\u{627}1".as_bytes()), None);
        assert_eq!(prepare_user(b""), None);
        assert_eq!(prepare_user(b"caf\xe9"), None);
        assert_eq!(prepare_user(&[b'a'; MAX_USER + 1]), None);
        assert_eq!(prepare_user("\u{fdfa}".repeat(100).as_bytes()), None, "300 octets that become 3,300");
    }

    #[test]
    fn passwords_are_prepared_or_kept() {
        assert_eq!(prepare_password(&Secret::new("e\u{301}")).expose(), "\u{e9}".as_bytes());
        assert_eq!(prepare_password(&Secret::new(*b"caf\xe9")).expose(), b"caf\xe9");
        assert_eq!(prepare_password(&Secret::new(*b"tab\there")).expose(), b"tab\there");
    }
}
