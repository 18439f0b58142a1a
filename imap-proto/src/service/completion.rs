//! How a command ends.

use std::borrow::Cow;

use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::mail::{Uid, UidValidity};

use crate::wire::encode::Code;
pub(crate) use crate::wire::encode::Condition;

/// A response code that owns what it tells.
#[derive(Debug)]
pub(crate) enum OwnedCode {
    Plain(Code<'static>),
    AppendUid(UidValidity, Vec<Uid>),
    CopyUid(UidValidity, Vec<(Uid, Uid)>),
    Capability(String),
}

impl OwnedCode {
    pub(crate) fn code(&self) -> Code<'_> {
        match self {
            Self::Plain(code) => *code,
            Self::AppendUid(uid_validity, uids) => Code::AppendUid(*uid_validity, uids),
            Self::CopyUid(uid_validity, pairs) => Code::CopyUid(*uid_validity, pairs),
            Self::Capability(list) => Code::Capability(list),
        }
    }
}

impl From<Code<'static>> for OwnedCode {
    fn from(code: Code<'static>) -> Self {
        Self::Plain(code)
    }
}

/// A tagged response without its tag.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) condition: Condition,
    pub(crate) code: Option<OwnedCode>,
    pub(crate) text: Cow<'static, str>,
}

impl Completion {
    pub(crate) fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { condition: Condition::Ok, code: None, text: text.into() }
    }

    pub(crate) fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self { condition: Condition::No, code: None, text: text.into() }
    }

    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self { condition: Condition::Bad, code: None, text: text.into() }
    }

    pub(crate) fn with(self, code: impl Into<OwnedCode>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// Whether, as the end of a login, it says that the client did not prove who it is. That a store is down is nothing
    /// that the client has tried.
    pub(crate) fn is_failed_login(&self) -> bool {
        use Code::{AuthenticationFailed, AuthorizationFailed, Expired};
        matches!(self.code, Some(OwnedCode::Plain(AuthenticationFailed | AuthorizationFailed | Expired)))
    }

    /// Whether, as the end of a login that the client did not ask for, it says that this user does not come in, and that
    /// another one may. Otherwise nobody comes in now.
    pub(crate) fn is_about_the_user(&self) -> bool {
        use Code::{AuthenticationFailed, AuthorizationFailed, ContactAdmin, Expired, NoPerm, PrivacyRequired};
        matches!(
            self.code,
            Some(OwnedCode::Plain(
                AuthenticationFailed | AuthorizationFailed | ContactAdmin | Expired | NoPerm | PrivacyRequired
            ))
        )
    }

    /// The answer where naming a missing mailbox means that creating it would help (RFC 9051, section 7.1).
    pub(crate) fn try_create(error: Error) -> Self {
        match error {
            Error::NoSuchMailbox => Self::no(error.to_string()).with(Code::TryCreate),
            error => error.into(),
        }
    }
}

impl From<Error> for Completion {
    /// Response codes of RFC 5530 and RFC 9051, section 7.1.
    fn from(error: Error) -> Self {
        super::report::report(&error);
        let code = match &error {
            Error::AuthenticationFailed | Error::TokenRefused(_) => Some(Code::AuthenticationFailed),
            Error::AuthorizationFailed => Some(Code::AuthorizationFailed),
            Error::Expired => Some(Code::Expired),
            Error::PrivacyRequired => Some(Code::PrivacyRequired),
            Error::ContactAdmin(_) => Some(Code::ContactAdmin),
            Error::Unavailable(_) => Some(Code::Unavailable),
            Error::NoPermission => Some(Code::NoPerm),
            Error::InUse => Some(Code::InUse),
            Error::NoSuchMailbox | Error::MailboxGone => Some(Code::NonExistent),
            Error::AlreadyExists => Some(Code::AlreadyExists),
            Error::HasChildren => Some(Code::HasChildren),
            Error::Expunged => Some(Code::ExpungeIssued),
            Error::OverQuota => Some(Code::OverQuota),
            Error::TooBig => Some(Code::TooBig),
            Error::Limit(_) => Some(Code::Limit),
            Error::Cannot(_) => Some(Code::Cannot),
            Error::SpecialUse => Some(Code::UseAttr),
            Error::Corrupt(_) => Some(Code::Corruption),
            _ => None,
        };
        Self { code: code.map(OwnedCode::Plain), ..Self::no(error.to_string()) }
    }
}
