//! Status responses and continuation requests (RFC 9051, sections 7.1 and 7.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;

use super::code::{Code, capabilities};

/// The condition that a status response reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `OK`
    Ok,
    /// `NO`
    No,
    /// `BAD`
    Bad,
    /// `PREAUTH`: only as greeting.
    PreAuth,
    /// `BYE`: the connection will be closed.
    Bye,
}

impl Condition {
    const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Ok => b"OK",
            Self::No => b"NO",
            Self::Bad => b"BAD",
            Self::PreAuth => b"PREAUTH",
            Self::Bye => b"BYE",
        }
    }
}

/// The tagged response that ends a command. Characters of `text` that a status response cannot carry are replaced.
pub fn tagged(out: &mut BytesMut, tag: &[u8], condition: Condition, code: Option<&Code<'_>>, text: &str) {
    out.extend_from_slice(tag);
    condition_and_text(out, condition, code, text);
}

/// An untagged status response; also the greeting and BYE.
pub fn untagged(out: &mut BytesMut, condition: Condition, code: Option<&Code<'_>>, text: &str) {
    out.extend_from_slice(b"*");
    condition_and_text(out, condition, code, text);
}

fn condition_and_text(out: &mut BytesMut, condition: Condition, code: Option<&Code<'_>>, text: &str) {
    out.extend_from_slice(b" ");
    out.extend_from_slice(condition.as_bytes());
    out.extend_from_slice(b" ");
    if let Some(code) = code {
        code.write(out);
        out.extend_from_slice(b" ");
    }
    // Without a code, a bracket at the start would look like one.
    plain(out, text, code.is_none());
    out.extend_from_slice(b"\r\n");
}

/// The text of a status response that has a code.
pub(crate) fn text(out: &mut BytesMut, text: &str) {
    plain(out, text, false);
}

/// Text in printable ASCII: clients that have not enabled anything else expect no more (RFC 3501, section 9: `text`).
fn plain(out: &mut BytesMut, text: &str, guard_bracket: bool) {
    // Revision 1 has no empty text.
    let text = if text.is_empty() { "-" } else { text };
    let printable = |byte: u8| matches!(byte, b' '..=b'~');
    let guarded = guard_bracket && text.starts_with('[');
    if !guarded && text.bytes().all(printable) {
        return out.extend_from_slice(text.as_bytes());
    }
    for (index, character) in text.chars().enumerate() {
        let byte = match u8::try_from(character) {
            Ok(b'[') if guarded && index == 0 => b'(',
            Ok(byte) if printable(byte) => byte,
            Ok(0..=b' ' | 0x7f) => b' ',
            _ => b'?',
        };
        out.extend_from_slice(&[byte]);
    }
}

/// A continuation request with text, for a literal or IDLE.
pub fn continuation(out: &mut BytesMut, text: &str) {
    out.extend_from_slice(b"+ ");
    plain(out, text, true);
    out.extend_from_slice(b"\r\n");
}

/// A continuation request with a challenge of a SASL mechanism, which may be empty.
pub fn challenge(out: &mut BytesMut, challenge: &[u8]) {
    out.extend_from_slice(b"+ ");
    out.extend_from_slice(STANDARD.encode(challenge).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The CAPABILITY response: the capabilities, with single spaces between.
pub fn capability(out: &mut BytesMut, list: &str) {
    out.extend_from_slice(b"* CAPABILITY ");
    capabilities(out, list);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use pillarbox_proto_core::mail::{Keyword, Keywords, ModSeq, SystemFlags, Uid, UidValidity};

    use super::*;

    fn coded(code: Code<'_>) -> String {
        let mut out = BytesMut::new();
        untagged(&mut out, Condition::Ok, Some(&code), "x");
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn codes() {
        let uid = |number| Uid::new(number).unwrap();
        let validity = UidValidity::new(38505).unwrap();
        assert_eq!(coded(Code::ReadWrite), "* OK [READ-WRITE] x\r\n");
        assert_eq!(coded(Code::UidNext(uid(4392))), "* OK [UIDNEXT 4392] x\r\n");
        assert_eq!(coded(Code::AppendUid(validity, &[uid(3955)])), "* OK [APPENDUID 38505 3955] x\r\n");
        let pairs = [(uid(304), uid(3956)), (uid(319), uid(3957)), (uid(320), uid(3958))];
        assert_eq!(coded(Code::CopyUid(validity, &pairs)), "* OK [COPYUID 38505 304,319:320 3956:3958] x\r\n");
        assert_eq!(coded(Code::Capability("IMAP4rev1 AUTH=PLAIN")), "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] x\r\n");
        assert_eq!(coded(Code::Capability("A]\r\nB")), "* OK [CAPABILITY AB] x\r\n");
        assert_eq!(coded(Code::BadCharset(&[])), "* OK [BADCHARSET] x\r\n");
        assert_eq!(coded(Code::BadCharset(&["US-ASCII", "a b"])), "* OK [BADCHARSET (US-ASCII \"a b\")] x\r\n");
        assert_eq!(coded(Code::HighestModSeq(ModSeq::new(715194045007))), "* OK [HIGHESTMODSEQ 715194045007] x\r\n");
        assert_eq!(coded(Code::Modified(&[(7, 7), (9, 11)])), "* OK [MODIFIED 7,9:11] x\r\n");
        let keywords: Keywords = [Keyword::new("$Junk").unwrap()].into_iter().collect();
        let flags = |create| Code::PermanentFlags { system: SystemFlags::SEEN, keywords: &keywords, create };
        assert_eq!(coded(flags(true)), "* OK [PERMANENTFLAGS (\\Seen $Junk \\*)] x\r\n");
        assert_eq!(coded(flags(false)), "* OK [PERMANENTFLAGS (\\Seen $Junk)] x\r\n");
        let none = Code::PermanentFlags { system: SystemFlags::NONE, keywords: &Keywords::NONE, create: false };
        assert_eq!(coded(none), "* OK [PERMANENTFLAGS ()] x\r\n");
    }

    #[test]
    fn text_never_breaks_the_line() {
        let text = |text: &str| {
            let mut out = BytesMut::new();
            tagged(&mut out, b"t", Condition::Bad, None, text);
            String::from_utf8(out.to_vec()).unwrap()
        };
        assert_eq!(text("a\r\nb\0c"), "t BAD a  b c\r\n");
        assert_eq!(text("[ALERT] gr\u{fc}n"), "t BAD (ALERT] gr?n\r\n");
        assert_eq!(text(""), "t BAD -\r\n");
    }

    #[test]
    fn continuations() {
        let mut out = BytesMut::new();
        continuation(&mut out, "go on");
        challenge(&mut out, b"");
        challenge(&mut out, b"abc");
        capability(&mut out, "IMAP4rev2");
        assert_eq!(out, "+ go on\r\n+ \r\n+ YWJj\r\n* CAPABILITY IMAP4rev2\r\n");
    }
}
