//! A backend in full: notebooks of notes, as some program may have them, served as mailboxes.
//!
//! It keeps everything in memory, behind locks that stand for the transactions of a database: each method does its work
//! in one of them and holds none while it waits.

mod account;
mod append;
mod login;
mod mailbox;
mod notebook;
mod pop3;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use account::Desk;
use bytes::Bytes;
use login::Keys;
use pillarbox_proto_core::auth::Secret;

/// The program's users and their notebooks.
pub struct Notes {
    users: HashMap<String, User>,
    salt_key: Secret,
    /// Announcements for all users.
    bulletins: Arc<[Bytes]>,
}

/// One user.
struct User {
    keys: Keys,
    desk: Arc<Desk>,
}

impl Notes {
    /// No users yet. The key is secret, lasting, and at least 16 octets of randomness.
    #[must_use]
    pub fn new(salt_key: Secret) -> Self {
        Self { users: HashMap::new(), salt_key, bulletins: Arc::default() }
    }

    /// Adds a bulletin, which each user gets once.
    #[must_use]
    pub fn bulletin(mut self, message: impl Into<Bytes>) -> Self {
        self.bulletins = self.bulletins.iter().cloned().chain([message.into()]).collect();
        self
    }

    /// Adds a user with an empty INBOX. The salt is random and of this user alone.
    #[must_use]
    pub fn user(mut self, name: &str, password: &Secret, salt: &[u8]) -> Self {
        let user = User { keys: Keys::derive(password, salt), desk: Arc::new(Desk::new()) };
        self.users.insert(name.to_owned(), user);
        self
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").field("users", &self.users.len()).finish_non_exhaustive()
    }
}
