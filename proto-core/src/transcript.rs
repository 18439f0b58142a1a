//! What of a session may be written down: the bytes of both directions, without secrets and without mail.
//!
//! Each protocol brings a [`Redact`] of its own, as only it knows where a secret stands. Whoever carries the bytes shows
//! them to it as they pass, and writes down what it gives back:
//!
//! ```
//! use pillarbox_proto_core::transcript::{Direction, Keep, Redact};
//!
//! /// A protocol whose every line from the client is a secret.
//! #[derive(Debug, Default)]
//! struct Secretive;
//!
//! impl Redact for Secretive {
//!     fn redact(&mut self, direction: Direction, bytes: &[u8], out: &mut Vec<u8>) {
//!         match direction {
//!             Direction::Client => bytes.iter().filter(|byte| **byte == b'\n').for_each(|_| out.extend(b"***\r\n")),
//!             Direction::Server => out.extend(bytes),
//!         }
//!     }
//!     fn secured(&mut self) {}
//! }
//!
//! let mut shown = Vec::new();
//! let mut redactor = Secretive::default();
//! redactor.redact(Direction::Client, b"open se", &mut shown);
//! redactor.redact(Direction::Client, b"same\r\n", &mut shown);
//! assert_eq!(shown, b"***\r\n");
//! assert_eq!(Keep::default(), Keep { secrets: false, data: false });
//! ```

use std::fmt;

/// Who has sent some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// What stays as it is, though it is not for everybody's eyes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keep {
    /// Passwords, tokens, digests: whatever a client proves with who it is. Else `***` stands there.
    pub secrets: bool,
    /// Message data. Else `(data...)` stands there.
    pub data: bool,
}

/// Takes out of a session's bytes what must not be written down.
///
/// What is not understood is not shown: a client that is broken, or a person at a keyboard, sends a password where no
/// password belongs. What comes out may so be less than what would have been harmless.
pub trait Redact: fmt::Debug + Send {
    /// Takes the next bytes that passed in this direction, and appends to `out` what may be shown of that direction.
    ///
    /// Bytes may be held back until it is known what they are; never more than some hundred of them. However the bytes
    /// of one direction are cut into calls, the same comes out, as long as the calls of the other direction stand at the
    /// same places between them.
    fn redact(&mut self, direction: Direction, bytes: &[u8], out: &mut Vec<u8>);

    /// A layer was put under the session, on the client's wish: what the client had sent and the server had not taken
    /// yet was dropped.
    fn secured(&mut self);
}

/// Whether this can be the name of a user, and can hardly be anything else: letters, digits, what stands between them in
/// names and mail addresses, and any character beyond ASCII; at most 255 octets.
///
/// It is stricter than any protocol. A redactor shows a name only where this holds, since a client that has lost count of
/// its blanks and quotes may send a password in the name's place, with the remains of a command around it.
#[must_use]
pub fn is_plain_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+' | 0x80..);
    (1..=255).contains(&name.len()) && name.iter().all(plain)
}

/// Whether this is the name of a SASL mechanism in common use, in any case. What it does not know may be the response of
/// a client that forgot the name.
#[must_use]
pub fn is_mechanism(name: &[u8]) -> bool {
    const NAMES: [&str; 24] = [
        "ANONYMOUS",
        "APOP",
        "CRAM-MD5",
        "CRAM-SHA1",
        "DIGEST-MD5",
        "ECDSA-NIST256P-CHALLENGE",
        "EXTERNAL",
        "GS2-KRB5",
        "GS2-KRB5-PLUS",
        "GSS-SPNEGO",
        "GSSAPI",
        "KERBEROS_V4",
        "LOGIN",
        "NTLM",
        "OAUTHBEARER",
        "OTP",
        "PLAIN",
        "SCRAM-SHA-1",
        "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-256",
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-512",
        "SCRAM-SHA-512-PLUS",
        "XOAUTH2",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["bob", "bob.smith@example.org", "a-b_c+d", "b\u{f6}b"] {
            assert!(is_plain_name(name.as_bytes()), "{name}");
        }
        for name in ["", "a b", "\"a\"", "{3}", "a\r\n", "pass\\word", &"a".repeat(256)] {
            assert!(!is_plain_name(name.as_bytes()), "{name}");
        }
        assert!(is_mechanism(b"plain") && !is_mechanism(b"AGJvYgBwYXNz"));
    }
}
