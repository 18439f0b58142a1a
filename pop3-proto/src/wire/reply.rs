//! Responses of one line (RFC 1939, section 3), and their codes (RFC 2449, section 8; RFC 3206; RFC 6856, section 5).

use std::fmt::{self, Write as _};

use bytes::{BufMut as _, BytesMut};
use pillarbox_proto_core::Output;
use pillarbox_proto_core::backend::Error;

use crate::texts::{Language, Phrase, Text};

/// The longest response line that may be sent, with its CRLF (RFC 2449, section 4).
const MAX_LINE: usize = 512;

/// An `-ERR` response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Option<Code>,
    pub(crate) text: Phrase,
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
    /// The message is for clients that have given UTF8 (RFC 6856, section 5).
    Utf8,
}

impl Code {
    const fn name(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::InUse => "IN-USE",
            Self::LoginDelay => "LOGIN-DELAY",
            Self::SysTemp => "SYS/TEMP",
            Self::SysPerm => "SYS/PERM",
            Self::Utf8 => "UTF8",
        }
    }
}

impl Refusal {
    /// A refusal without a code.
    pub(crate) fn new(text: impl Into<Phrase>) -> Self {
        Self { code: None, text: text.into() }
    }

    /// A refusal with a code.
    pub(crate) fn with(code: Code, text: impl Into<Phrase>) -> Self {
        Self { code: Some(code), text: text.into() }
    }
}

impl From<&Error> for Refusal {
    /// A store that is down is never told as a wrong password, nor the other way round.
    fn from(error: &Error) -> Self {
        let text = match error {
            Error::ContactAdmin(text) => Phrase::from(Text::ContactAdmin).word(text.clone()),
            Error::Limit(text) => Phrase::from(Text::Limit).word(text.clone()),
            Error::Cannot(text) => Phrase::from(Text::Cannot).word(text.clone()),
            // The same words for an unknown user and a wrong password.
            Error::AuthenticationFailed | Error::TokenRefused(_) => Text::BadLogin.into(),
            Error::AuthorizationFailed => Text::NotAuthorised.into(),
            Error::Expired => Text::Expired.into(),
            Error::PrivacyRequired => Text::PrivacyRequired.into(),
            Error::InUse => Text::InUse.into(),
            Error::Expunged => Text::Expunged.into(),
            Error::Unavailable(_) => Text::Unavailable.into(),
            Error::Corrupt(_) => Text::Damaged.into(),
            Error::NoPermission => Text::NoPermission.into(),
            Error::NoSuchMailbox => Text::NoSuchMailbox.into(),
            Error::AlreadyExists => Text::AlreadyExists.into(),
            Error::OverQuota => Text::OverQuota.into(),
            Error::TooBig => Text::TooBig.into(),
            Error::ReadOnly => Text::ReadOnly.into(),
            Error::MailboxGone => Text::MailboxGone.into(),
            _ => Text::Failed.into(),
        };
        let code = match error {
            Error::AuthenticationFailed | Error::TokenRefused(_) | Error::AuthorizationFailed | Error::Expired => {
                Some(Code::Auth)
            }
            Error::InUse => Some(Code::InUse),
            Error::PrivacyRequired | Error::Expunged => None,
            Error::Unavailable(_) | Error::Limit(_) | Error::OverQuota | Error::MailboxGone => Some(Code::SysTemp),
            _ => Some(Code::SysPerm),
        };
        Self { code, text }
    }
}

/// How texts are put.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tongue<'a> {
    /// The language that the client has chosen, or else English.
    pub(crate) language: Option<&'a Language>,
    /// The client reads UTF-8: it has given UTF8, or LANG with success (RFC 6856, section 3.2).
    pub(crate) utf8: bool,
}

/// Writes `+OK text`.
pub(crate) fn ok(output: &mut Output, tongue: Tongue<'_>, phrase: &Phrase) {
    line(output, tongue, "+OK", None, phrase);
}

/// Writes `+OK tag text`, as LANG answers.
pub(crate) fn ok_tagged(output: &mut Output, language: &Language, phrase: &Phrase) {
    let tongue = Tongue { language: Some(language), utf8: true };
    line(output, tongue, "+OK", Some(format_args!(" {}", language.tag())), phrase);
}

/// Writes `+OK` and data, which are no text in any language.
pub(crate) fn data(output: &mut Output, data: fmt::Arguments<'_>) {
    // Writing to memory can't fail.
    let _ = write!(output.tail_mut(), "+OK {data}\r\n");
}

/// Writes `+OK` alone.
pub(crate) fn done(output: &mut Output) {
    output.put(b"+OK\r\n");
}

/// Writes `-ERR [code] text`.
pub(crate) fn err(output: &mut Output, tongue: Tongue<'_>, refusal: &Refusal) {
    match refusal.code {
        Some(code) => line(output, tongue, "-ERR", Some(format_args!(" [{}]", code.name())), &refusal.text),
        None => line(output, tongue, "-ERR", None, &refusal.text),
    }
}

fn line(output: &mut Output, tongue: Tongue<'_>, status: &str, word: Option<fmt::Arguments<'_>>, phrase: &Phrase) {
    let out = output.tail_mut();
    let start = out.len();
    out.put_slice(status.as_bytes());
    // Writing to memory can't fail.
    let _ = word.map(|word| out.write_fmt(word));
    let bare = out.len();
    out.put_u8(b' ');
    let room = MAX_LINE.saturating_sub(2 + out.len() - start);
    let _ = phrase.write(tongue.language, &mut Fitted { out, room, utf8: tongue.utf8 });
    if out.len() == bare + 1 {
        out.truncate(bare);
    }
    out.put_slice(b"\r\n");
}

/// Texts may come from a backend or a configuration: what the client can't read, and what is too long, is left out
/// here, so that no text can break the framing.
struct Fitted<'a> {
    out: &'a mut BytesMut,
    room: usize,
    utf8: bool,
}

impl fmt::Write for Fitted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all texts are plain, and go in at once.
        if text.len() <= self.room && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            self.room -= text.len();
            self.out.put_slice(text.as_bytes());
            return Ok(());
        }
        for char in text.chars() {
            let separates = matches!(char, '\u{2028}' | '\u{2029}');
            let readable = if self.utf8 { !char.is_control() && !separates } else { matches!(char, ' '..='~') };
            let char = if readable { char } else { '?' };
            if char.len_utf8() > self.room {
                self.room = 0;
                return Ok(());
            }
            self.room -= char.len_utf8();
            self.out.put_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: &Error) -> String {
        let mut output = Output::new();
        err(&mut output, Tongue::default(), &error.into());
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
        let delay = Refusal::with(Code::LoginDelay, Text::LoginDelay);
        let mut output = Output::new();
        err(&mut output, Tongue::default(), &delay);
        assert!(output.take().starts_with(b"-ERR [LOGIN-DELAY] Attempt"));
    }

    #[test]
    fn no_text_breaks_the_framing() {
        let text = told(&Error::ContactAdmin("a\r\n+OK b\0\u{e9}".into()));
        assert_eq!(text, "-ERR [SYS/PERM] Contact the administrator: a??+OK b??\r\n");
        let text = told(&Error::ContactAdmin("x".repeat(2000).into()));
        assert_eq!(text.len(), MAX_LINE);
        assert!(text.ends_with("x\r\n"));
    }
    #[test]
    fn codes_stay_and_texts_change_with_the_language() {
        let german = Language::german();
        let mut output = Output::new();
        let tongue = Tongue { language: Some(&german), utf8: true };
        err(&mut output, tongue, &Refusal::with(Code::InUse, Text::InUse));
        err(&mut output, tongue, &Refusal::from(&Error::ContactAdmin("\u{e9}\u{85}\u{2028}".repeat(200).into())));
        ok_tagged(&mut output, &german, &Text::LanguageChanged.into());
        ok(&mut output, tongue, &Phrase::from(Text::Maildrop).number(1).number(u64::MAX));
        let said = String::from_utf8(output.take().to_vec()).unwrap();
        let lines: Vec<&str> = said.split_terminator("\r\n").collect();
        assert_eq!(lines[0], "-ERR [IN-USE] Das Postfach wird gerade verwendet");
        assert!(lines[1].starts_with("-ERR [SYS/PERM] Bitte wenden Sie sich an die Systemverwaltung: \u{e9}??\u{e9}"));
        assert!((MAX_LINE - 4..=MAX_LINE - 2).contains(&lines[1].len()), "cut between characters");
        assert_eq!(lines[2], "+OK de Sprache gewechselt");
        assert_eq!(lines[3], "+OK Das Postfach enth\u{e4}lt 1 Nachrichten (18446744073709551615 Oktette)");
    }
}
