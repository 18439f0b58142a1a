//! What a session says to people, in English and in other languages (RFC 6856, section 3).
//!
//! Every text of a response stands in the table here. A session speaks in [`Phrase`]s, which can't be made of anything
//! else, so that nothing it says is left untranslated. Response codes and data are no texts, and never change.

mod language;

use std::borrow::Cow;
use std::fmt;

pub use self::language::{Language, LanguageError};
pub(crate) use self::language::{Listed, Range};

/// One text of a response, with its key in the files of languages, the values that it is given, and its English form.
/// A value marked `?` may be left out by a language.
macro_rules! texts {
    ($($name:ident $key:literal [$($value:literal)*] $english:literal)*) => {
        /// Which text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Text {
            $($name,)*
        }

        impl Text {
            /// All texts, in the order of their numbers.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            const fn key(self) -> &'static str {
                match self {
                    $(Self::$name => $key,)*
                }
            }

            const fn values(self) -> &'static [&'static str] {
                match self {
                    $(Self::$name => &[$($value,)*],)*
                }
            }

            const fn english(self) -> &'static str {
                match self {
                    $(Self::$name => $english,)*
                }
            }
        }
    };
}

texts! {
    // What the operator says, and what a backend says for its operator.
    Plain "plain" ["text"] "{text}"
    ContactAdmin "contact-admin" ["text"] "Contact the administrator: {text}"
    Limit "limit" ["text"] "Limit reached: {text}"
    Cannot "cannot" ["text"] "Not possible here: {text}"

    CapabilityList "capability-list" [] "Capability list follows"
    BeginTls "begin-tls" [] "Begin TLS negotiation"
    SendPassword "send-password" [] "Send the password"
    Maildrop "maildrop" ["messages" "octets"] "Maildrop has {messages} messages ({octets} octets)"
    Listing "listing" ["messages" "octets"] "{messages} messages ({octets} octets)"
    // Not just "{octets} octets": benches/NOTES.md tells what a short line costs before a large message.
    Octets "octets" ["octets"] "{octets} octets in the message that follows"
    Top "top" [] "Top of message follows"
    Marked "marked" ["number"] "Message {number} marked"
    Bye "bye" [] "Bye"
    Utf8On "utf8" [] "UTF-8 from now on"
    LanguageList "language-list" [] "Language listing follows"
    LanguageChanged "language-changed" [] "Language changed"

    InvalidCommand "invalid-command" [] "Invalid command"
    PassAfterUser "pass-after-user" [] "Invalid command: PASS comes right after USER"
    TooLong "too-long" [] "Argument too long"
    IncorrectState "incorrect-state" [] "Incorrect state"
    LoggedIn "logged-in" [] "Incorrect state: logged in already"
    LogInFirst "log-in-first" [] "Incorrect state: log in first"
    StlsFirst "stls-first" [] "Incorrect state: use STLS first"
    StlsAfterUtf8 "stls-after-utf8" [] "Incorrect state: STLS comes before UTF8"
    PasswordsNeedTls "passwords-need-tls" []
        "Passwords are not taken over an unprotected connection: use STLS first"
    NoUser "no-user" [] "USER is not available here"
    NoApop "no-apop" [] "APOP is not available here"
    NoAuth "no-auth" [] "AUTH is not available here"
    NoMechanism "no-mechanism" [] "This mechanism is not offered here; CAPA lists those that are"

    ArgumentsApop "arguments-apop" []
        "Invalid arguments: APOP takes a name and a digest of 32 hexadecimal digits"
    ArgumentsAuth "arguments-auth" [] "Invalid arguments: AUTH takes a mechanism and at most an initial response"
    ArgumentsDele "arguments-dele" [] "Invalid arguments: DELE takes a message number"
    ArgumentsLang "arguments-lang" [] "Invalid arguments: LANG takes at most a language tag"
    ArgumentsList "arguments-list" [] "Invalid arguments: LIST takes at most a message number"
    ArgumentsPass "arguments-pass" [] "Invalid arguments: PASS takes a password"
    ArgumentsRetr "arguments-retr" [] "Invalid arguments: RETR takes a message number"
    ArgumentsTop "arguments-top" [] "Invalid arguments: TOP takes a message number and a number of lines"
    ArgumentsUidl "arguments-uidl" [] "Invalid arguments: UIDL takes at most a message number"
    ArgumentsUser "arguments-user" [] "Invalid arguments: USER takes one name"
    NoArguments "no-arguments" [] "Invalid arguments: no argument is taken"

    BadLogin "bad-login" [] "Bad login"
    LoginMalformed "login-malformed" ["why?"] "Authentication failed: {why?}"
    LoginCancelled "login-cancelled" [] "Authentication cancelled"
    LoginDelay "login-delay" [] "Attempt to log in within the minimum login delay interval"
    InUse "in-use" [] "Mailbox in use"
    NotAuthorised "not-authorised" [] "Not authorised to act as this user"
    Expired "expired" [] "The credentials have expired"
    PrivacyRequired "privacy-required" [] "This needs an encrypted connection"

    NoSuchMessage "no-such-message" [] "No such message"
    Deleted "deleted" [] "Message has been deleted"
    Expunged "expunged" [] "The message has been removed by another session"
    NeedsUtf8 "needs-utf8" [] "This message needs a client that has given the UTF8 command"
    ReadOnly "read-only" [] "The maildrop is read-only"
    NotRemoved "not-removed" [] "Some deleted messages not removed"
    UnknownLanguage "unknown-language" ["tag"] "Language {tag} is not known here; LANG lists those that are"

    Unavailable "unavailable" [] "The mail store is not available now"
    Damaged "damaged" [] "The stored data is damaged"
    NoPermission "no-permission" [] "Permission denied"
    NoSuchMailbox "no-such-mailbox" [] "No such mailbox"
    AlreadyExists "already-exists" [] "The mailbox exists already"
    OverQuota "over-quota" [] "Quota exceeded"
    TooBig "too-big" [] "The message is too large"
    MailboxGone "mailbox-gone" [] "The mailbox has been deleted"
    Failed "failed" [] "The mail store can't do that"

    Closed "closed" [] "The service is closed for the time being"
    TimedOut "timed-out" [] "Session timed out"
    NotPop3 "not-pop3" [] "This is a POP3 server"
}

/// A text with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phrase {
    text: Text,
    values: [Value; 2],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    None,
    Number(u64),
    Word(Cow<'static, str>),
}

impl From<Text> for Phrase {
    fn from(text: Text) -> Self {
        Self { text, values: [Value::None, Value::None] }
    }
}

impl Phrase {
    /// Gives the next value, in the order of the table.
    pub(crate) fn number(self, number: u64) -> Self {
        self.value(Value::Number(number))
    }

    /// Gives the next value, in the order of the table.
    pub(crate) fn word(self, word: impl Into<Cow<'static, str>>) -> Self {
        self.value(Value::Word(word.into()))
    }

    fn value(mut self, value: Value) -> Self {
        if let Some(free) = self.values.iter_mut().find(|free| **free == Value::None) {
            *free = value;
        }
        self
    }

    /// Writes it in this language, or in English.
    pub(crate) fn write(&self, language: Option<&Language>, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut rest = language.map_or(self.text.english(), |language| language.text(self.text));
        while let Some((before, after)) = split(rest, b'{') {
            out.write_str(before)?;
            let Some((name, after)) = split(after, b'}') else { break };
            rest = after;
            let known = self.text.values().iter().zip(&self.values).find(|(known, _)| **known == name);
            match known.map(|(_, value)| value) {
                Some(Value::Number(number)) => write!(out, "{number}")?,
                Some(Value::Word(word)) => out.write_str(word)?,
                Some(Value::None) | None => {}
            }
        }
        out.write_str(rest)
    }
}

/// What stands before and after an ASCII character. This is done for each message that is shown, and
/// [`str::split_once`] is made for longer texts.
fn split(text: &str, at: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == at)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(phrase: &Phrase, language: Option<&Language>) -> String {
        let mut said = String::new();
        phrase.write(language, &mut said).unwrap();
        said
    }

    #[test]
    fn values_have_names_and_no_order() {
        let phrase = Phrase::from(Text::Maildrop).number(3).number(1234);
        assert_eq!(said(&phrase, None), "Maildrop has 3 messages (1234 octets)");
        let data = Language::english().to_string().replace(
            "maildrop: Maildrop has {messages} messages ({octets} octets)",
            "maildrop: {octets} octets in {messages} messages",
        );
        let other = Language::parse(&data).unwrap();
        assert_eq!(said(&phrase, Some(&other)), "1234 octets in 3 messages");
        assert_eq!(said(&Phrase::from(Text::Plain).word("{text} {x"), Some(&other)), "{text} {x", "no value is a text");
    }

    #[test]
    fn the_table_is_sound() {
        for (number, text) in Text::ALL.iter().enumerate() {
            assert_eq!(*text as usize, number);
            assert!(text.english().is_ascii(), "{text:?}: the standard language of POP3 is ASCII");
            assert!(text.values().len() <= 2, "{text:?}");
            let same = Text::ALL.iter().filter(|other| other.key() == text.key()).count();
            assert_eq!(same, 1, "{text:?} has a key of its own");
        }
    }
}
