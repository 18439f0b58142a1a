//! What a program implements to have its mail served over IMAP and POP3.
//!
//! Four traits have required methods, six in all: [`Authenticator`] (who may log in), [`Backend`] (opens the
//! account), [`Account`] (which mailboxes) and [`Mailbox`] (which messages). Everything else has a default: methods
//! that change something are refused, those that only read are worked out from the required ones.
//!
//! # What a backend never does
//!
//! It never sees a sequence number, a protocol response or a socket. It thinks in UIDs and one mod-sequence per mailbox;
//! the session keeps the client's view and decides when a removal may be told.
//!
//! # Rules for implementors
//!
//! * **UIDs** ascend, are never used again while the UIDVALIDITY stands, and never change.
//! * **Durable first**: a method that changes something returns when the change is durable.
//! * **Mod-sequences**: every change of a mailbox gets a larger one. A backend that has none reports
//!   [`ModSeq::ZERO`](crate::mail::ModSeq::ZERO) and says so in [`Snapshot::modseqs`].
//! * **Cancellation**: a read stops when it is dropped. A change that is dropped half way has happened wholly or not at
//!   all: per message for store, move and expunge, per call for copy and append.
//! * **Blocking** work belongs on threads of its own; these methods run where the connections are served.

mod account;
mod append;
mod authenticator;
mod changes;
mod defaults;
mod error;
mod mailbox;
mod policy;
mod query;
mod rows;

pub use account::{
    Account, Copied, CopyRequest, CreateRequest, ListEntry, ListRequest, Namespace, Namespaces, OpenRequest, Opened,
    RenameRequest, Snapshot, Status, StatusItems, StatusRequest,
};
pub use append::{Append, AppendMessage, AppendRequest, Appended, CommitOptions};
pub use authenticator::{Authenticator, OnRefusal, Questions, ScramHash, ScramKeys};
pub use changes::{Changes, ChangesRequest, Fate};
pub use defaults::{copy_by_append, expunge_moved};
pub use error::{BoxError, Error, Result};
pub use mailbox::{
    Access, ExpungeRequest, Expunged, FinishRequest, Finished, Mailbox, MailboxId, StoreOp, StoreRequest, Stored,
};
pub use policy::{Bulletins, Expiry, LoginDelay, Policies};
pub use query::{AddressField, Query, SearchRequest};
pub use rows::{Batch, FetchData, FetchRequest, IterRows, Message, Row, Rows};

use std::sync::Arc;

use async_trait::async_trait;

use crate::auth::Identity;
use crate::connection::Connection;

/// A program's mail, seen from the protocols: it authenticates users and opens their accounts.
#[async_trait]
pub trait Backend: Authenticator {
    /// Opens the account of an authenticated user. Called once per session, after the credentials were found good.
    ///
    /// # Errors
    ///
    /// When the user may not come in now, or the store fails; [`Error::AuthenticationFailed`] when there is no such user:
    /// not any more, or not at all where the name comes from [`Connection::preauth`].
    async fn open(&self, connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>>;

    /// The policies of POP3 maildrops that clients are told before they log in. They have to cover those of every
    /// account: the longest [`login_delay`](Account::login_delay), the shortest [`expiry`](Account::expiry). Asked at
    /// each CAPA before a login, so it should be cheap, or remembered for a while. Default: there are none.
    async fn policies(&self, connection: &Connection) -> Policies {
        let _ = connection;
        Policies::default()
    }
}
