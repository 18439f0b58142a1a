//! Replies, with their enhanced status codes (RFC 5321, section 4.2; RFC 3463).

use std::borrow::Cow;

use pillarbox_proto_core::Output;
use pillarbox_proto_core::backend::Error;

/// One reply of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// Class, subject and detail; the greeting and 354 have none (RFC 2034, section 4).
    enhanced: Option<&'static str>,
    text: Cow<'static, str>,
}

impl Reply {
    pub(crate) const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self { code, enhanced: Some(enhanced), text: Cow::Borrowed(text) }
    }

    /// Without an enhanced code.
    pub(crate) const fn bare(code: u16, text: &'static str) -> Self {
        Self { code, enhanced: None, text: Cow::Borrowed(text) }
    }

    /// With a text of the moment, of which no line end and no control is sent.
    pub(crate) fn with(code: u16, enhanced: Option<&'static str>, text: &str) -> Self {
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        Self { code, enhanced, text: Cow::Owned(text) }
    }

    /// What became of a recipient that a backend refused.
    pub(crate) fn refusal(error: &Error) -> Self {
        match error {
            Error::AuthenticationFailed | Error::AuthorizationFailed => Self::new(550, "5.1.1", "No such user here"),
            Error::NoSuchMailbox | Error::MailboxGone => Self::new(550, "5.2.1", "The user has no INBOX"),
            Error::ContactAdmin(_) | Error::Expired => Self::new(550, "5.2.1", "Mail for this user is not taken"),
            Error::NoPermission | Error::ReadOnly | Error::Cannot(_) => {
                Self::new(550, "5.2.1", "Messages can't be added to this INBOX")
            }
            // By RFC 5321, section 4.5.3.1.10, running out of room is a passing state unless it is known to last.
            Error::OverQuota => Self::new(452, "4.2.2", "The mailbox is full"),
            Error::TooBig => too_big(),
            Error::InUse => Self::new(450, "4.2.0", "The mailbox is in use"),
            Error::Limit(_) => Self::new(452, "4.3.2", "A limit of the server is reached"),
            _ => Self::new(451, "4.3.0", "The mail store is not available now"),
        }
    }

    pub(crate) fn put(&self, output: &mut Output) {
        match self.enhanced {
            Some(enhanced) => output.put(format!("{} {enhanced} {}\r\n", self.code, self.text).as_bytes()),
            None => output.put(format!("{} {}\r\n", self.code, self.text).as_bytes()),
        }
    }

    pub(crate) const fn is_success(&self) -> bool {
        self.code < 400
    }
}

pub(crate) const fn too_big() -> Reply {
    Reply::new(552, "5.3.4", "The message is too large")
}
