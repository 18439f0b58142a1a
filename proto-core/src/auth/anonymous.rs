//! ANONYMOUS (RFC 4505): no credentials, and a word for the log.

use stringprep::tables;

use super::Identity;
use super::exchange::SaslError;
use crate::backend::Authenticator;
use crate::connection::Connection;

/// Longest trace, in characters (RFC 4505, section 2).
const MAX_TRACE: usize = 255;

/// Takes the message, which may be empty.
pub(super) async fn anonymous(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    message: &[u8],
) -> Result<Identity, SaslError> {
    let trace = trace(message)?;
    Ok(authenticator.anonymous(connection, Some(trace.as_str()).filter(|trace| !trace.is_empty())).await?)
}

/// The trace, fit for a log: a question mark stands for each character that the client should not have sent.
///
/// What it reads has no meaning (RFC 4505, section 2), so no client is turned away for it.
fn trace(message: &[u8]) -> Result<String, SaslError> {
    let text = std::str::from_utf8(message).map_err(|_| SaslError::Malformed("the trace is not UTF-8"))?;
    if text.chars().nth(MAX_TRACE).is_some() {
        return Err(SaslError::Malformed("the trace is longer than 255 characters"));
    }
    Ok(text.chars().map(|character| if prohibited(character) { '?' } else { character }).collect())
}

/// The tables that RFC 4505, section 3, names, and the directional isolates, which Unicode 3.2 did not have.
fn prohibited(character: char) -> bool {
    tables::ascii_control_character(character)
        || tables::non_ascii_control_character(character)
        || tables::private_use(character)
        || tables::non_character_code_point(character)
        || tables::inappropriate_for_plain_text(character)
        || tables::change_display_properties_or_deprecated(character)
        || tables::tagging_character(character)
        || matches!(character, '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_fit_for_a_log() {
        assert_eq!(trace(b"sirhc").unwrap(), "sirhc");
        assert_eq!(trace("caf\u{e9} au lait".as_bytes()).unwrap(), "caf\u{e9} au lait");
        // One of each table that RFC 4505, section 3, prohibits: C.2.1, C.2.2, C.3, C.4, C.6, C.8, C.9.
        for bad in
            ['\n', '\0', '\u{7f}', '\u{85}', '\u{2028}', '\u{e000}', '\u{fdd0}', '\u{fffd}', '\u{202e}', '\u{e0041}']
        {
            assert_eq!(trace(format!("a{bad}b").as_bytes()).unwrap(), "a?b", "{bad:?}");
        }
        assert_eq!(trace("\u{2067}".as_bytes()).unwrap(), "?");
        // C.5 has the surrogates, which UTF-8 can't carry.
        assert!(trace(b"\xed\xa0\x80").is_err());
        assert!(trace(b"caf\xe9").is_err());
        let longest = "\u{10400}".repeat(255);
        assert_eq!(trace(longest.as_bytes()).unwrap(), longest);
        assert!(trace(format!("{longest}x").as_bytes()).is_err());
    }
}
