//! How many sessions a user may have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::LimitReached;

/// A limit on the live sessions of each user.
///
/// Clones are handles of the same counts: sessions of all backends that share one count together. A limit of its own for
/// a protocol is a `UserLimits` of its own, for the backend that the listener of this protocol is given; a session counts
/// in each of those that [`Throttled::users`](super::Throttled::users) was given.
///
/// A user is who the session acts as. Whose names differ are different users, also where the backend takes them for the
/// same: a backend should return identities with names spelt its own way, as
/// [`check_password`](pillarbox_proto_core::backend::Authenticator::check_password) says.
///
/// ```
/// use pillarbox_server_core::limits::{LimitReached, UserLimits};
///
/// let limits = UserLimits::new(1);
/// let session = limits.admit("ada")?;
/// assert_eq!(limits.admit("ada").unwrap_err(), LimitReached::User);
/// assert!(limits.admit("bob").is_ok());
/// drop(session);
/// assert!(limits.admit("ada").is_ok());
/// # Ok::<(), LimitReached>(())
/// ```
#[derive(Clone, Debug)]
pub struct UserLimits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    most: u32,
    exempt: Vec<Box<str>>,
    /// No larger than the number of live sessions.
    live: HashMap<Arc<str>, u32>,
}

/// One session of a user; dropped, it no longer counts.
#[derive(Debug)]
#[must_use = "what is dropped does not count"]
pub struct UserGuard(Option<(Arc<Shared>, Arc<str>)>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserLimits {
    /// At most so many sessions of a user at a time.
    #[must_use]
    pub fn new(sessions: u32) -> Self {
        let counts = Counts { most: sessions, exempt: Vec::new(), live: HashMap::new() };
        Self(Arc::new(Shared { table: Mutex::new(counts) }))
    }

    /// A user to whom the limit does not apply: the one that everybody is who logs in as nobody, a migration.
    #[must_use]
    pub fn exempt(self, user: impl Into<Box<str>>) -> Self {
        self.0.lock().exempt.push(user.into());
        self
    }

    /// Changes the limit. Nobody is dropped.
    pub fn set(&self, sessions: u32) {
        self.0.lock().most = sessions;
    }

    /// How many sessions a user has.
    #[must_use]
    pub fn live(&self, user: &str) -> u32 {
        self.0.lock().live.get(user).copied().unwrap_or(0)
    }

    /// Counts a session, if there is room for it.
    ///
    /// # Errors
    ///
    /// [`LimitReached::User`].
    pub fn admit(&self, user: &str) -> Result<UserGuard, LimitReached> {
        let mut counts = self.0.lock();
        if counts.exempt.iter().any(|exempt| **exempt == *user) {
            return Ok(UserGuard(None));
        }
        let most = counts.most;
        let user = match counts.live.get_key_value(user) {
            Some((_, live)) if *live >= most => return Err(LimitReached::User),
            None if most == 0 => return Err(LimitReached::User),
            // The name is kept once for all sessions of a user.
            Some((user, _)) => user.clone(),
            None => user.into(),
        };
        *counts.live.entry(Arc::clone(&user)).or_insert(0) += 1;
        Ok(UserGuard(Some((self.0.clone(), user))))
    }
}

impl Drop for UserGuard {
    fn drop(&mut self) {
        let Some((shared, user)) = self.0.take() else { return };
        let mut counts = shared.lock();
        if let Some(live) = counts.live.get_mut(&user) {
            *live -= 1;
            if *live == 0 {
                counts.live.remove(&user);
                if counts.live.len() < counts.live.capacity() / 4 {
                    counts.live.shrink_to_fit();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_come_and_go() {
        let limits = UserLimits::new(2).exempt("anonymous");
        let (one, two) = (limits.admit("ada").unwrap(), limits.admit("ada").unwrap());
        assert_eq!(limits.admit("ada").unwrap_err(), LimitReached::User);
        let crowd: Vec<_> = (0..100).map(|_| limits.admit("anonymous").unwrap()).collect();
        assert_eq!(limits.live("ada"), 2);
        drop(one);
        assert_eq!(limits.live("ada"), 1);
        limits.set(1);
        assert!(limits.admit("ada").is_err());
        drop((two, crowd));
        assert!(limits.0.lock().live.is_empty());
        limits.set(0);
        assert!(limits.admit("ada").is_err());
    }
}
