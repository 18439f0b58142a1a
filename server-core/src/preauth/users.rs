//! Users by their number.

use std::fmt;
use std::io;
use std::sync::Arc;

use nix::unistd::{Uid, User};

/// The login name of the user with this number (uid), as the system's user database has it; `None` if there is none. It
/// may ask a directory service, and block meanwhile.
///
/// # Errors
///
/// When the database cannot be asked.
pub fn system_user(uid: u32) -> io::Result<Option<String>> {
    Ok(User::from_uid(Uid::from_raw(uid))?.map(|user| user.name))
}

/// Something that knows users by their number.
#[derive(Clone)]
pub(super) struct Users(Arc<dyn Fn(u32) -> io::Result<Option<String>> + Send + Sync>);

impl Default for Users {
    fn default() -> Self {
        Self::new(system_user)
    }
}

impl Users {
    pub(super) fn new(lookup: impl Fn(u32) -> io::Result<Option<String>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// The user's name. The lookup may block, so a thread of its own waits for it.
    pub(super) async fn name(&self, uid: u32) -> Result<String, String> {
        let lookup = self.0.clone();
        match tokio::task::spawn_blocking(move || lookup(uid)).await {
            Ok(Ok(Some(name))) => Ok(name),
            Ok(Ok(None)) => Err(format!("no user has the number {uid}")),
            Ok(Err(error)) => Err(format!("cannot look up the user with the number {uid}: {error}")),
            Err(_) => Err(format!("the lookup of the user with the number {uid} failed")),
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}
