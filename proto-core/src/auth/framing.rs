//! Base64 around SASL messages, as IMAP (RFC 9051, section 6.2.2) and POP3 (RFC 5034, section 4) use it.
//!
//! Challenges and responses are one line each. A line that is just `*` cancels the exchange; protocols look for it
//! before they decode. An initial response of `=` means one without octets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{SaslError, Secret};

/// The longest line of an exchange that a server must take, without CRLF (RFC 5034, section 4; RFC 9051 names no
/// limit).
pub const MAX_LINE: usize = 12_288;

/// The line, without CRLF, that cancels an exchange.
pub const CANCEL: &[u8] = b"*";

/// The octets of a response line, which was given without its CRLF. An empty line is an empty response.
///
/// # Errors
///
/// [`SaslError::Malformed`] when the line is longer than `limit` or not Base64.
pub fn decode(line: &[u8], limit: usize) -> Result<Secret, SaslError> {
    if line.len() > limit {
        return Err(SaslError::Malformed("the response is too long"));
    }
    STANDARD.decode(line).map(Secret::new).map_err(|_| SaslError::Malformed("the response is not Base64"))
}

/// The octets of an initial response: as [`decode`], but `=` stands for none (RFC 4954, section 4), as an empty
/// argument would be no argument.
///
/// # Errors
///
/// As [`decode`]; also for an empty argument.
pub fn decode_initial(argument: &[u8], limit: usize) -> Result<Secret, SaslError> {
    match argument {
        b"=" => Ok(Secret::new([])),
        b"" => Err(SaslError::Malformed("the initial response is missing")),
        _ => decode(argument, limit),
    }
}

/// A challenge as it goes on the wire, without `+ ` and CRLF.
#[must_use]
pub fn encode(challenge: &[u8]) -> String {
    STANDARD.encode(challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_decode() {
        assert_eq!(decode(b"", 10).unwrap().expose(), b"");
        assert_eq!(decode(b"AGE=", 10).unwrap().expose(), b"\0a");
        assert!(decode(b"AGEAYgBj", 7).is_err());
        for bad in [&b"="[..], b"AGE", b"A*", b"AGE= ", b"\xff"] {
            assert!(decode(bad, 100).is_err(), "{bad:?}");
        }
        assert_eq!(decode_initial(b"=", 10).unwrap().expose(), b"");
        assert!(decode_initial(b"", 10).is_err());
        assert_eq!(encode(b"\0a"), "AGE=");
    }
}
