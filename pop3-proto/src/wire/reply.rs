//! Responses of one line (RFC 1939, section 3), and their codes (RFC 2449, section 8; RFC 3206).

use std::borrow::Cow;

use bytes::BufMut as _;
use pillarbox_proto_core::Output;
use pillarbox_proto_core::backend::Error;

/// The longest response line that may be sent, with its CRLF (RFC 2449, section 4).
const MAX_LINE: usize = 512;

/// An `-ERR` response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Option<Code>,
    pub(crate) text: Cow<'static, str>,
}

/// A response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The credentials are at fault (RFC 3206, section 5).
    Auth,
    /// The maildrop is held by another session (RFC 2449, section 8.1.2).
    InUse,
    /// The last login was too short a time ago (RFC 2449, section 8.1.1).
    LoginDelay,
    /// The server is at fault, for now (RFC 3206, section 4).
    SysTemp,
    /// The server is at fault until somebody acts (RFC 3206, section 4).
    SysPerm,
}

impl Code {
    const fn name(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::InUse => "IN-USE",
            Self::LoginDelay => "LOGIN-DELAY",
            Self::SysTemp => "SYS/TEMP",
            Self::SysPerm => "SYS/PERM",
        }
    }
}

impl Refusal {
    /// A refusal without a code.
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: None, text: text.into() }
    }

    /// A refusal with a code.
    pub(crate) fn with(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(code), text: text.into() }
    }
}

impl From<&Error> for Refusal {
    /// A store that is down is never told as a wrong password, nor the other way round.
    fn from(error: &Error) -> Self {
        let code = match error {
            // The same words for an unknown user and a wrong password.
            Error::AuthenticationFailed | Error::TokenRefused(_) => return Self::with(Code::Auth, "Bad login"),
            Error::AuthorizationFailed | Error::Expired => Code::Auth,
            Error::InUse => return Self::with(Code::InUse, "Mailbox in use"),
            Error::PrivacyRequired => return Self::new(error.to_string()),
            Error::Unavailable(_) | Error::Limit(_) | Error::OverQuota | Error::MailboxGone => Code::SysTemp,
            Error::Expunged => return Self::new("The message has been removed by another session"),
            _ => Code::SysPerm,
        };
        Self::with(code, error.to_string())
    }
}

/// Writes `+OK text`.
pub(crate) fn ok(output: &mut Output, text: &str) {
    line(output, "+OK", None, text);
}

/// Writes `-ERR [code] text`.
pub(crate) fn err(output: &mut Output, refusal: &Refusal) {
    line(output, "-ERR", refusal.code, &refusal.text);
}

/// Texts may come from a backend or a configuration: what is not printable ASCII, and what is too long, is left out
/// here, so that no text can break the framing.
fn line(output: &mut Output, status: &str, code: Option<Code>, text: &str) {
    let out = output.tail_mut();
    let start = out.len();
    out.put_slice(status.as_bytes());
    if let Some(code) = code {
        out.put_slice(b" [");
        out.put_slice(code.name().as_bytes());
        out.put_slice(b"]");
    }
    if !text.is_empty() {
        out.put_u8(b' ');
        let room = MAX_LINE.saturating_sub(2 + out.len() - start);
        let printable = |char: char| char == ' ' || char.is_ascii_graphic();
        out.extend(text.chars().take(room).map(|char| if printable(char) { char as u8 } else { b'?' }));
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: &Error) -> String {
        let mut output = Output::new();
        err(&mut output, &error.into());
        String::from_utf8(output.take().to_vec()).unwrap()
    }

    #[test]
    fn errors_have_the_code_that_fits() {
        assert_eq!(told(&Error::AuthenticationFailed), "-ERR [AUTH] Bad login\r\n");
        assert_eq!(told(&Error::TokenRefused("{\"status\":\"invalid_token\"}".into())), "-ERR [AUTH] Bad login\r\n");
        assert_eq!(told(&Error::InUse), "-ERR [IN-USE] Mailbox in use\r\n");
        assert_eq!(
            told(&Error::unavailable("/secret/path")),
            "-ERR [SYS/TEMP] The mail store is not available now\r\n"
        );
        assert_eq!(told(&Error::corrupt("index")), "-ERR [SYS/PERM] The stored data is damaged\r\n");
        assert!(told(&Error::ContactAdmin("locked".into())).starts_with("-ERR [SYS/PERM] Contact the administrator"));
        assert!(told(&Error::PrivacyRequired).starts_with("-ERR This needs"));
    }

    #[test]
    fn only_credentials_are_told_as_credentials_and_every_fault_has_a_code() {
        let auth = |error: &Error| told(error).starts_with("-ERR [AUTH]");
        for error in [
            Error::AuthenticationFailed,
            Error::AuthorizationFailed,
            Error::Expired,
            Error::TokenRefused(String::new()),
        ] {
            assert!(auth(&error), "{error:?}");
        }
        let passing = [Error::unavailable("x"), Error::Limit("x".into()), Error::OverQuota, Error::MailboxGone];
        let lasting = [
            Error::corrupt("x"),
            Error::ContactAdmin("x".into()),
            Error::NoPermission,
            Error::NoSuchMailbox,
            Error::ReadOnly,
            Error::Cannot("x".into()),
        ];
        for error in &passing {
            assert!(told(error).starts_with("-ERR [SYS/TEMP] "), "{error:?}");
        }
        for error in &lasting {
            assert!(told(error).starts_with("-ERR [SYS/PERM] "), "{error:?}");
        }
        let delay = Refusal::with(Code::LoginDelay, "wait");
        let mut output = Output::new();
        err(&mut output, &delay);
        assert_eq!(output.take(), "-ERR [LOGIN-DELAY] wait\r\n");
    }

    #[test]
    fn no_text_breaks_the_framing() {
        let text = told(&Error::ContactAdmin("a\r\n+OK b\0\u{e9}".into()));
        assert_eq!(text, "-ERR [SYS/PERM] Contact the administrator: a??+OK b??\r\n");
        let text = told(&Error::ContactAdmin("x".repeat(2000).into()));
        assert_eq!(text.len(), MAX_LINE);
        assert!(text.ends_with("x\r\n"));
    }
}
