//! Response codes.

use bytes::BytesMut;
use pillarbox_proto_core::mail::{Keywords, ModSeq, SystemFlags, Uid, UidValidity};

use super::fetch::{flag_names, spaced};
use super::number::{number, ranges, uids_in_order};
use super::string::astring;
use crate::wire::chars;

/// A `resp-text-code`: what a status response says to the client's program (RFC 9051, section 7.1; RFC 5530).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code<'a> {
    /// `ALERT`: the text must be shown to the user.
    Alert,
    /// `ALREADYEXISTS` (RFC 5530)
    AlreadyExists,
    /// `APPENDUID`: the UIDs of the messages appended, in their order (RFC 4315; several: RFC 3502).
    AppendUid(UidValidity, &'a [Uid]),
    /// `AUTHENTICATIONFAILED` (RFC 5530)
    AuthenticationFailed,
    /// `AUTHORIZATIONFAILED` (RFC 5530)
    AuthorizationFailed,
    /// `BADCHARSET`: the charsets that SEARCH takes, if they are to be named.
    BadCharset(&'a [&'a str]),
    /// `BADEVENT`: the events that NOTIFY knows (RFC 5465).
    BadEvent(&'a [&'a str]),
    /// `CANNOT` (RFC 5530)
    Cannot,
    /// `CAPABILITY`: the capabilities, with single spaces between.
    Capability(&'a str),
    /// `CLIENTBUG` (RFC 5530)
    ClientBug,
    /// `CLOSED`: the mailbox selected before is closed (RFC 7162).
    Closed,
    /// `COMPRESSIONACTIVE` (RFC 4978)
    CompressionActive,
    /// `CONTACTADMIN` (RFC 5530)
    ContactAdmin,
    /// `COPYUID`: which UID became which (RFC 4315).
    CopyUid(UidValidity, &'a [(Uid, Uid)]),
    /// `CORRUPTION` (RFC 5530)
    Corruption,
    /// `EXPIRED` (RFC 5530)
    Expired,
    /// `EXPUNGEISSUED` (RFC 5530)
    ExpungeIssued,
    /// `HASCHILDREN` (RFC 9051)
    HasChildren,
    /// `HIGHESTMODSEQ` (RFC 7162)
    HighestModSeq(ModSeq),
    /// `INUSE` (RFC 5530)
    InUse,
    /// `LIMIT` (RFC 5530)
    Limit,
    /// `MAILBOXID` (RFC 8474)
    MailboxId(&'a str),
    /// `MODIFIED`: the messages that a conditional STORE left alone, as ranges with their ends (RFC 7162).
    Modified(&'a [(u32, u32)]),
    /// `NOMODSEQ` (RFC 7162)
    NoModSeq,
    /// `NONEXISTENT` (RFC 5530)
    NonExistent,
    /// `NOPERM` (RFC 5530)
    NoPerm,
    /// `NOTSAVED` (RFC 5182)
    NotSaved,
    /// `OVERQUOTA` (RFC 5530)
    OverQuota,
    /// `PARSE`: a message could not be parsed.
    Parse,
    /// `PERMANENTFLAGS`: the flags that the client can change for good, and whether it can make new keywords.
    PermanentFlags {
        /// System flags.
        system: SystemFlags,
        /// Keywords.
        keywords: &'a Keywords,
        /// `\*`: keywords can be created by storing them.
        create: bool,
    },
    /// `PRIVACYREQUIRED` (RFC 5530)
    PrivacyRequired,
    /// `READ-ONLY`
    ReadOnly,
    /// `READ-WRITE`
    ReadWrite,
    /// `SERVERBUG` (RFC 5530)
    ServerBug,
    /// `TOOBIG` (RFC 4469; RFC 7889)
    TooBig,
    /// `TRYCREATE`
    TryCreate,
    /// `UIDNEXT`
    UidNext(Uid),
    /// `UIDNOTSTICKY` (RFC 4315)
    UidNotSticky,
    /// `UIDVALIDITY`
    UidValidity(UidValidity),
    /// `UNAVAILABLE` (RFC 5530)
    Unavailable,
    /// `UNKNOWN-CTE` (RFC 3516)
    UnknownCte,
    /// `UNSEEN`: the first message without `\Seen` (RFC 3501, section 7.1).
    Unseen(u32),
    /// `USEATTR` (RFC 6154)
    UseAttr,
}

impl Code<'_> {
    /// The code's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Alert => "ALERT",
            Self::AlreadyExists => "ALREADYEXISTS",
            Self::AppendUid(..) => "APPENDUID",
            Self::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Self::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Self::BadCharset(_) => "BADCHARSET",
            Self::BadEvent(_) => "BADEVENT",
            Self::Cannot => "CANNOT",
            Self::Capability(_) => "CAPABILITY",
            Self::ClientBug => "CLIENTBUG",
            Self::Closed => "CLOSED",
            Self::CompressionActive => "COMPRESSIONACTIVE",
            Self::ContactAdmin => "CONTACTADMIN",
            Self::CopyUid(..) => "COPYUID",
            Self::Corruption => "CORRUPTION",
            Self::Expired => "EXPIRED",
            Self::ExpungeIssued => "EXPUNGEISSUED",
            Self::HasChildren => "HASCHILDREN",
            Self::HighestModSeq(_) => "HIGHESTMODSEQ",
            Self::InUse => "INUSE",
            Self::Limit => "LIMIT",
            Self::MailboxId(_) => "MAILBOXID",
            Self::Modified(_) => "MODIFIED",
            Self::NoModSeq => "NOMODSEQ",
            Self::NonExistent => "NONEXISTENT",
            Self::NoPerm => "NOPERM",
            Self::NotSaved => "NOTSAVED",
            Self::OverQuota => "OVERQUOTA",
            Self::Parse => "PARSE",
            Self::PermanentFlags { .. } => "PERMANENTFLAGS",
            Self::PrivacyRequired => "PRIVACYREQUIRED",
            Self::ReadOnly => "READ-ONLY",
            Self::ReadWrite => "READ-WRITE",
            Self::ServerBug => "SERVERBUG",
            Self::TooBig => "TOOBIG",
            Self::TryCreate => "TRYCREATE",
            Self::UidNext(_) => "UIDNEXT",
            Self::UidNotSticky => "UIDNOTSTICKY",
            Self::UidValidity(_) => "UIDVALIDITY",
            Self::Unavailable => "UNAVAILABLE",
            Self::UnknownCte => "UNKNOWN-CTE",
            Self::Unseen(_) => "UNSEEN",
            Self::UseAttr => "USEATTR",
        }
    }

    /// The code with its brackets.
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"[");
        out.extend_from_slice(self.name().as_bytes());
        match self {
            Self::AppendUid(validity, uids) => {
                numbered(out, validity.get());
                out.extend_from_slice(b" ");
                uids_in_order(out, uids.iter().copied());
            }
            Self::CopyUid(validity, pairs) => {
                numbered(out, validity.get());
                out.extend_from_slice(b" ");
                uids_in_order(out, pairs.iter().map(|(from, _)| *from));
                out.extend_from_slice(b" ");
                uids_in_order(out, pairs.iter().map(|(_, to)| *to));
            }
            Self::BadCharset([]) | Self::BadEvent([]) => {}
            Self::BadCharset(names) | Self::BadEvent(names) => words(out, names),
            Self::Capability(list) => {
                out.extend_from_slice(b" ");
                capabilities(out, list);
            }
            Self::HighestModSeq(modseq) => numbered(out, modseq.get()),
            Self::MailboxId(id) => words(out, &[id]),
            Self::Modified(set) => {
                out.extend_from_slice(b" ");
                ranges(out, set.iter().copied());
            }
            Self::PermanentFlags { system, keywords, create } => {
                let star = create.then_some("\\*");
                let names = flag_names(*system, keywords).chain(star);
                out.extend_from_slice(b" (");
                spaced(out, names);
                out.extend_from_slice(b")");
            }
            Self::UidNext(uid) => numbered(out, uid.get()),
            Self::UidValidity(validity) => numbered(out, validity.get()),
            Self::Unseen(sequence) => numbered(out, *sequence),
            _ => {}
        }
        out.extend_from_slice(b"]");
    }
}

fn numbered(out: &mut BytesMut, value: impl Into<u64>) {
    out.extend_from_slice(b" ");
    number(out, value);
}

/// ` (a b c)`
fn words(out: &mut BytesMut, words: &[&str]) {
    out.extend_from_slice(b" (");
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b" ");
        }
        astring(out, word.as_bytes(), false);
    }
    out.extend_from_slice(b")");
}

/// Capabilities as they were given, but for characters that no capability has and that would end the code.
pub(super) fn capabilities(out: &mut BytesMut, list: &str) {
    for word in list.split(|character: char| {
        !u8::try_from(character).is_ok_and(|byte| chars::is(byte, chars::ATOM) || byte == b' ')
    }) {
        out.extend_from_slice(word.as_bytes());
    }
}
