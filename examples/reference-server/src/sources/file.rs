//! The users' file as a source.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::backend::Result;

use super::{Found, UserSource};
use crate::users::Users;

/// The users of the data folder's own file. Their mail is in the data folder, too.
#[derive(Debug)]
pub struct UsersFile {
    users: Arc<Users>,
    mail: PathBuf,
}

impl UsersFile {
    /// These users, with their mail below this folder.
    #[must_use]
    pub fn new(users: Arc<Users>, mail: PathBuf) -> Self {
        Self { users, mail }
    }
}

#[async_trait]
impl UserSource for UsersFile {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn find(&self, login: &str) -> Result<Option<Found>> {
        Ok(self.users.get(login).map(|user| {
            let mut found = Found::new(self.mail.join(&user.home), Some(user.secret.clone()));
            found.pop3 = user.pop3;
            found.user = Some(user);
            found
        }))
    }

    fn has_scram(&self) -> bool {
        true
    }
}
