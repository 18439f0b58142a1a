//! What a session asks of the service, and what comes back.

use bytes::Bytes;
use pillarbox_proto_core::auth::{Mechanism, Secret};
use pillarbox_proto_core::backend::{FinishRequest, Policies};
use pillarbox_proto_core::mail::Uid;

use super::maildrop::Maildrop;
use crate::wire::reply::Refusal;

/// Work that needs the backend.
#[derive(Debug)]
pub(crate) enum Job {
    /// Check credentials and open the maildrop.
    Login(Credentials),
    /// Show a message.
    Retrieve(Retrieve),
    /// Say what the backend's policies are.
    Capabilities,
    /// End the session: carry out the deletions.
    Finish(Box<FinishRequest>),
}

/// How a client proves who it is.
#[derive(Debug)]
pub(crate) enum Credentials {
    /// USER and PASS.
    Password { user: Vec<u8>, password: Secret },
    /// APOP.
    Apop { timestamp: String, user: Vec<u8>, digest: Vec<u8> },
    /// AUTH: an exchange that may ask for more lines.
    Sasl { mechanism: Mechanism, offered: Vec<Mechanism>, initial: Option<Secret> },
}

impl Credentials {
    /// What an observer is told of how this is done.
    pub(crate) const fn mechanism(&self) -> &'static str {
        match self {
            Self::Password { .. } => "PASS",
            Self::Apop { .. } => "APOP",
            Self::Sasl { mechanism, .. } => mechanism.name(),
        }
    }
}

/// A message to be shown.
#[derive(Debug)]
pub(crate) struct Retrieve {
    pub(crate) uid: Uid,
    /// What the row said.
    pub(crate) size: u64,
    /// Only the header and this many lines (TOP).
    pub(crate) top: Option<u64>,
    pub(crate) form: Form,
    /// Messages that the client has asked for next, with their sizes; all small.
    pub(crate) ahead: Vec<Uid>,
}

/// What a client gets of an internationalized message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The message as it is.
    Native,
    /// A surrogate.
    Surrogate,
    /// A refusal.
    Refused,
}

/// A word from running work.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A challenge of a SASL exchange; a line of the client is due.
    Challenge(Vec<u8>),
    /// A message begins. `octets` is its whole size, where that is shown.
    Message { octets: Option<u64>, piece: Bytes },
    /// More of the message.
    Piece(Bytes),
}

/// How work ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The client is logged in; its maildrop is open.
    LoggedIn(Box<Maildrop>),
    /// The login failed. `attempt`: it counts as one of the client's attempts.
    LoginRefused { refusal: Refusal, attempt: bool },
    /// The backend's policies, for CAPA.
    Capabilities(Policies),
    /// What was asked of the message has been handed over; with `whole`, that was all of it.
    Shown { uid: Uid, whole: bool },
    /// The message can't be shown, and has not begun.
    NotShown(Refusal),
    /// The message began, and can't be finished; or the client is not to be told anything. The connection is dropped.
    Broken,
    /// The deletions have been carried out.
    Finished,
    /// They have not, or not all.
    NotFinished(Refusal),
}
