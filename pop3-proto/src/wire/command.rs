//! The grammar of commands (RFC 1939, RFC 2449, RFC 2595, RFC 5034, RFC 6856).

use pillarbox_proto_core::auth::Secret;

use crate::texts::{Range, Text};

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `APOP name digest`
    Apop { user: Vec<u8>, digest: Vec<u8> },
    /// `AUTH mechanism [initial-response]`
    Auth { mechanism: Vec<u8>, initial: Option<Secret> },
    /// `CAPA`
    Capa,
    /// `DELE msg`
    Dele(u32),
    /// `LANG [lang-tag]`
    Lang(Option<Range>),
    /// `LIST [msg]`
    List(Option<u32>),
    /// `NOOP`
    Noop,
    /// `PASS string`
    Pass(Secret),
    /// `QUIT`
    Quit,
    /// `RETR msg`
    Retr(u32),
    /// `RSET`
    Rset,
    /// `STAT`
    Stat,
    /// `STLS`
    Stls,
    /// `TOP msg n`
    Top(u32, u64),
    /// `UIDL [msg]`
    Uidl(Option<u32>),
    /// `USER name`
    User(Vec<u8>),
    /// `UTF8`
    Utf8,
}

/// The word that a command begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Apop,
    Auth,
    Capa,
    Dele,
    Lang,
    List,
    Noop,
    Pass,
    Quit,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
    Utf8,
}

impl Verb {
    /// The verb of this word, in any case; there is no blank in a word. All verbs have three or four letters.
    fn parse(word: &[u8]) -> Option<Self> {
        let mut letters = *b"    ";
        letters.get_mut(..word.len())?.copy_from_slice(word);
        letters.make_ascii_uppercase();
        Some(match &letters {
            b"APOP" => Self::Apop,
            b"AUTH" => Self::Auth,
            b"CAPA" => Self::Capa,
            b"DELE" => Self::Dele,
            b"LANG" => Self::Lang,
            b"LIST" => Self::List,
            b"NOOP" => Self::Noop,
            b"PASS" => Self::Pass,
            b"QUIT" => Self::Quit,
            b"RETR" => Self::Retr,
            b"RSET" => Self::Rset,
            b"STAT" => Self::Stat,
            b"STLS" => Self::Stls,
            b"TOP " => Self::Top,
            b"UIDL" => Self::Uidl,
            b"USER" => Self::User,
            b"UTF8" => Self::Utf8,
            _ => return None,
        })
    }

    /// The word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Apop => "APOP",
            Self::Auth => "AUTH",
            Self::Capa => "CAPA",
            Self::Dele => "DELE",
            Self::Lang => "LANG",
            Self::List => "LIST",
            Self::Noop => "NOOP",
            Self::Pass => "PASS",
            Self::Quit => "QUIT",
            Self::Retr => "RETR",
            Self::Rset => "RSET",
            Self::Stat => "STAT",
            Self::Stls => "STLS",
            Self::Top => "TOP",
            Self::Uidl => "UIDL",
            Self::User => "USER",
            Self::Utf8 => "UTF8",
        }
    }

    /// Whether a command in the wrong state and with wrong arguments is refused for its state.
    pub(crate) fn minds_state_first(self) -> bool {
        matches!(self, Self::Apop | Self::Auth | Self::List | Self::Pass | Self::Stls | Self::Uidl | Self::User)
    }

    /// What the command wants, for a client's author to read.
    pub(crate) fn usage(self) -> Text {
        match self {
            Self::Apop => Text::ArgumentsApop,
            Self::Auth => Text::ArgumentsAuth,
            Self::Dele => Text::ArgumentsDele,
            Self::Lang => Text::ArgumentsLang,
            Self::List => Text::ArgumentsList,
            Self::Pass => Text::ArgumentsPass,
            Self::Retr => Text::ArgumentsRetr,
            Self::Top => Text::ArgumentsTop,
            Self::Uidl => Text::ArgumentsUidl,
            Self::User => Text::ArgumentsUser,
            Self::Capa | Self::Noop | Self::Quit | Self::Rset | Self::Stat | Self::Stls | Self::Utf8 => {
                Text::NoArguments
            }
        }
    }
}

/// A line, understood as far as it goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A command.
    Command(Verb, Command),
    /// The command's arguments are wrong.
    BadArguments(Verb),
    /// No command that we know.
    Unknown,
}

impl Parsed {
    /// What an observer is told that was given.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Command(verb, _) | Self::BadArguments(verb) => verb.name(),
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Understands a line, which is given without its end. Blanks before the command and after its arguments do not
/// matter, except in a password.
pub(crate) fn parse(line: &[u8]) -> Parsed {
    let line = line.trim_ascii_start();
    let end = line.iter().position(|byte| is_blank(*byte)).unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    let Some(verb) = Verb::parse(word) else { return Parsed::Unknown };
    match arguments(verb, rest) {
        Some(command) => Parsed::Command(verb, command),
        None => Parsed::BadArguments(verb),
    }
}

/// Whether input that begins so is, or will be, an AUTH command, whose initial response may be long.
///
/// Blanks before it are not passed over: the answer must be the same for the first octets of a line as for all of it,
/// and must not depend on the line after it.
pub(crate) fn is_auth(start: &[u8]) -> bool {
    start.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"AUTH "))
}

fn arguments(verb: Verb, rest: &[u8]) -> Option<Command> {
    if verb == Verb::Pass {
        // One blank separates; all others belong to the password (RFC 1939, section 7).
        let password = rest.get(1..).filter(|password| !password.is_empty())?;
        return Some(Command::Pass(Secret::new(password)));
    }
    let mut words = rest.split(|byte| is_blank(*byte)).filter(|word| !word.is_empty());
    let command = match verb {
        Verb::Apop => {
            let (user, digest) = (words.next()?, words.next()?);
            if digest.len() != 32 || !digest.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            Command::Apop { user: user.to_vec(), digest: digest.to_ascii_lowercase() }
        }
        Verb::Auth => Command::Auth { mechanism: words.next()?.to_vec(), initial: words.next().map(Secret::new) },
        Verb::Capa => Command::Capa,
        Verb::Dele => Command::Dele(message(words.next()?)?),
        Verb::Lang => Command::Lang(match words.next() {
            Some(range) => Some(Range::parse(range)?),
            None => None,
        }),
        Verb::List => Command::List(optional(words.next())?),
        Verb::Noop => Command::Noop,
        Verb::Pass => return None,
        Verb::Quit => Command::Quit,
        Verb::Retr => Command::Retr(message(words.next()?)?),
        Verb::Rset => Command::Rset,
        Verb::Stat => Command::Stat,
        Verb::Stls => Command::Stls,
        Verb::Top => Command::Top(message(words.next()?)?, number(words.next()?)?),
        Verb::Uidl => Command::Uidl(optional(words.next())?),
        Verb::User => Command::User(words.next()?.to_vec()),
        Verb::Utf8 => Command::Utf8,
    };
    words.next().is_none().then_some(command)
}

/// `Some(None)` where there is no argument, `None` where it is no number.
#[allow(clippy::option_option, reason = "absent, wrong and present are three things")]
fn optional(word: Option<&[u8]>) -> Option<Option<u32>> {
    word.map_or(Some(None), |word| message(word).map(Some))
}

/// A message number. One that is too large for any maildrop is held at the largest: there is no such message.
fn message(word: &[u8]) -> Option<u32> {
    number(word).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn command(line: &str) -> Option<Command> {
        match parse(line.as_bytes()) {
            Parsed::Command(_, command) => Some(command),
            _ => None,
        }
    }

    #[test]
    fn commands() {
        assert_eq!(command("stat"), Some(Command::Stat));
        assert_eq!(command("  Stat \t"), Some(Command::Stat));
        assert_eq!(command("LIST"), Some(Command::List(None)));
        assert_eq!(command("LIST  2 "), Some(Command::List(Some(2))));
        assert_eq!(command("RETR 007"), Some(Command::Retr(7)));
        assert_eq!(command("RETR 99999999999999999999"), Some(Command::Retr(u32::MAX)));
        assert_eq!(command("TOP 1 99999999999999999999"), Some(Command::Top(1, u64::MAX)));
        assert_eq!(command("USER tim"), Some(Command::User(b"tim".to_vec())));
        assert_eq!(command("utf8 "), Some(Command::Utf8));
        assert_eq!(command("lang"), Some(Command::Lang(None)));
        assert_eq!(command("LANG de-AT"), Some(Command::Lang(Range::parse(b"de-AT"))));
        assert_eq!(command("PASS  a b "), Some(Command::Pass(Secret::new(" a b "))));
        assert_eq!(
            command("APOP mrose C4c9334bac560ecc979e58001b3e22fb"),
            Some(Command::Apop { user: b"mrose".to_vec(), digest: b"c4c9334bac560ecc979e58001b3e22fb".to_vec() })
        );
        assert_eq!(
            command("AUTH plain ="),
            Some(Command::Auth { mechanism: b"plain".to_vec(), initial: Some(Secret::new("=")) })
        );
    }

    #[test]
    fn wrong_arguments() {
        for line in [
            "STAT 1",
            "NOOP x",
            "QUIT now",
            "RSET 1",
            "CAPA x",
            "STLS x",
            "UTF8 USER",
            "LANG de en",
            "LANG d\u{e9}",
            "LANG de_AT",
            "RETR",
            "RETR a",
            "RETR -1",
            "RETR 1 2",
            "DELE",
            "DELE 1x",
            "LIST 1 2",
            "LIST x",
            "UIDL +1",
            "TOP 1",
            "TOP 1 -1",
            "TOP 1 2 3",
            "USER",
            "USER a b",
            "PASS",
            "PASS ",
            "APOP a",
            "APOP a b",
            "AUTH",
            "AUTH a b c",
        ] {
            assert!(matches!(parse(line.as_bytes()), Parsed::BadArguments(_)), "{line}");
        }
        for line in ["", " ", "STA", "STATS", "LAST", "XTND", "RETR\u{a0}1"] {
            assert_eq!(parse(line.as_bytes()), Parsed::Unknown, "{line}");
        }
    }

    #[test]
    fn passwords_do_not_show() {
        let shown = format!("{:?} {:?}", parse(b"PASS hunter2"), parse(b"AUTH PLAIN aHVudGVyMg=="));
        assert!(!shown.contains("hunter2") && !shown.contains("aHVu"), "{shown}");
    }

    proptest! {
        #[test]
        fn nothing_panics(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&line);
        }
    }
}
