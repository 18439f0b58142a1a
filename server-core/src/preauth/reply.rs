//! Replies of an ident server (RFC 1413, section 4).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::token::TOKEN;

/// How much of what a server says is shown in an error, in characters.
const SHOWN: usize = 64;

/// The user, as the reply names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    Plain(&'a [u8]),
    Token([u8; TOKEN]),
}

/// What is wrong with a reply. Its message is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReplyError {
    #[error("not a reply: '{0}'")]
    Form(Shown),
    #[error("the reply is for other ports: '{0}'")]
    Ports(Shown),
    #[error("error reply: '{0}'")]
    Error(Shown),
    #[error("a reply of another kind than USERID: '{0}'")]
    Kind(Shown),
    #[error("the token is not {TOKEN} bytes in base64")]
    Token,
}

/// A text from outside, made fit for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown(String);

impl Shown {
    fn new(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a reply, without the end of its line, to the question about these ports: the client's and ours.
pub(super) fn parse(line: &[u8], ports: (u16, u16)) -> Result<Answer<'_>, ReplyError> {
    let mut fields = line.splitn(4, |byte| *byte == b':');
    let (asked, kind, third) = match (fields.next(), fields.next(), fields.next()) {
        (Some(asked), Some(kind), Some(third)) => (asked, kind.trim_ascii(), third.trim_ascii()),
        _ => return Err(ReplyError::Form(Shown::new(line))),
    };
    match (kind, fields.next()) {
        // The ports of an error may be anything: they may be what it is about.
        (b"ERROR", _) => Err(ReplyError::Error(Shown::new(third))),
        (b"USERID", None) => Err(ReplyError::Form(Shown::new(line))),
        (b"USERID", Some(_)) if read_ports(asked) != Some(ports) => Err(ReplyError::Ports(Shown::new(asked))),
        (b"USERID", Some(user)) => match user.trim_ascii() {
            [b'[', token @ .., b']'] => {
                let bytes = STANDARD.decode(token).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.map(Answer::Token).ok_or(ReplyError::Token)
            }
            [b'[', ..] => Err(ReplyError::Token),
            user => Ok(Answer::Plain(user)),
        },
        (other, _) => Err(ReplyError::Kind(Shown::new(other))),
    }
}

fn read_ports(text: &[u8]) -> Option<(u16, u16)> {
    let port = |text: &str| {
        let text = text.trim_ascii();
        // A number takes a sign, a port does not.
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let (client, server) = std::str::from_utf8(text).ok()?.split_once(',')?;
    Some((port(client)?, port(server)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::token::tests::CIPHER;
    use super::*;

    const PORTS: (u16, u16) = (40_000, 143);

    #[test]
    fn replies() {
        for (line, user) in [
            ("40000, 143 : USERID : UNIX : alice", "alice"),
            ("40000,143:USERID:UNIX:alice", "alice"),
            (" 40000 , 143 : USERID : OTHER , UTF-8 :  a:b c ", "a:b c"),
            ("40000 , 143 : USERID : UNIX :", ""),
        ] {
            assert_eq!(parse(line.as_bytes(), PORTS), Ok(Answer::Plain(user.as_bytes())), "{line}");
        }
        let line = b"40000, 143 : USERID : OTHER :[4rID9Fq/NfZ+4ctJUdNiCj2lmws/1Cg8]";
        assert_eq!(parse(line, PORTS), Ok(Answer::Token(CIPHER)));
    }

    #[test]
    fn replies_that_name_nobody() {
        for (line, error) in [
            ("", "not a reply: ''"),
            ("alice", "not a reply: 'alice'"),
            ("40000, 143", "not a reply: '40000, 143'"),
            ("40000, 143 : USERID", "not a reply: '40000, 143 : USERID'"),
            ("40000, 143 : USERID : UNIX", "not a reply: '40000, 143 : USERID : UNIX'"),
            ("40000, 143 : userid : UNIX : alice", "a reply of another kind than USERID: 'userid'"),
            ("40000, 143 : USERID2 : UNIX : alice", "a reply of another kind than USERID: 'USERID2'"),
            ("40000, 143 : ERROR : NO-USER", "error reply: 'NO-USER'"),
            ("0, 0 : ERROR : INVALID-PORT", "error reply: 'INVALID-PORT'"),
            ("40000, 143 : ERROR : X\u{1b}[2J\u{7f}", "error reply: 'X\\u{1b}[2J\\u{7f}'"),
            ("40001, 143 : USERID : UNIX : alice", "the reply is for other ports: '40001, 143 '"),
            ("143, 40000 : USERID : UNIX : alice", "the reply is for other ports: '143, 40000 '"),
            ("40000 143 : USERID : UNIX : alice", "the reply is for other ports: '40000 143 '"),
            ("+40000, 143 : USERID : UNIX : alice", "the reply is for other ports: '+40000, 143 '"),
            ("40000, 143 : USERID : OTHER :[", "the token is not 24 bytes in base64"),
            ("40000, 143 : USERID : OTHER :[]", "the token is not 24 bytes in base64"),
            ("40000, 143 : USERID : OTHER :[AAAA]", "the token is not 24 bytes in base64"),
            ("40000, 143 : USERID : OTHER :[4rID9Fq/NfZ+4ctJUdNiCj2lmws/1Cg8", "the token is not 24 bytes in base64"),
            ("40000, 143 : USERID : OTHER :[4rID9Fq/NfZ+4ctJUdNiCj2lmws/1C!8]", "the token is not 24 bytes in base64"),
        ] {
            assert_eq!(parse(line.as_bytes(), PORTS).unwrap_err().to_string(), error);
        }
        let long = format!("40000, 143 : ERROR : {}", "x".repeat(900));
        let error = parse(long.as_bytes(), PORTS).unwrap_err().to_string();
        assert_eq!(error, format!("error reply: '{}…'", "x".repeat(64)));
    }

    proptest! {
        #[test]
        fn any_reply_is_read_or_refused_in_one_line(
            head in "(40000, 143 : )?(USERID|ERROR|[A-Z:]{0,3}) ?:? ?(UNIX :)?",
            tail in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let line = [head.as_bytes(), &tail].concat();
            if let Err(error) = parse(&line, PORTS) {
                prop_assert!(!error.to_string().contains(['\n', '\r', '\0']));
            }
        }
    }
}
