//! Users by their number.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::sync::Semaphore;

/// How many lookups run at once: each keeps a thread, however long its directory service is silent.
const AT_ONCE: usize = 16;

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
pub(super) struct Users {
    lookup: Arc<dyn Fn(u32) -> io::Result<Option<String>> + Send + Sync>,
    room: Arc<Semaphore>,
}

impl Default for Users {
    fn default() -> Self {
        Self::new(system_user)
    }
}

impl Users {
    pub(super) fn new(lookup: impl Fn(u32) -> io::Result<Option<String>> + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The user's name, if it is found within this time. The lookup may block, so a thread of its own waits for it, which
    /// goes on for as long as the lookup takes.
    pub(super) async fn name(&self, uid: u32, limit: Duration) -> Result<String, String> {
        let failed = || format!("the lookup of the user with the number {uid} failed");
        let asked = async {
            let room = self.room.clone().acquire_owned().await.map_err(|_| failed())?;
            let lookup = self.lookup.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let _room = room;
                lookup(uid)
            });
            match asked.await {
                Ok(Ok(Some(name))) => Ok(name),
                Ok(Ok(None)) => Err(format!("no user has the number {uid}")),
                Ok(Err(error)) => Err(format!("cannot look up the user with the number {uid}: {error}")),
                Err(_) => Err(failed()),
            }
        };
        let late = || Err(format!("the lookup of the user with the number {uid} took too long"));
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| late())
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    #[tokio::test]
    async fn a_lookup_that_is_silent_keeps_few_threads_and_nobody_waiting() {
        let (begun, seen) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let users = Users::new(move |uid| {
            let _ = begun.send(uid);
            let _ = held.lock().unwrap().recv();
            Ok(None)
        });
        let mut asked = tokio::task::JoinSet::new();
        for uid in 0..40 {
            let users = users.clone();
            asked.spawn(async move { (uid, users.name(uid, Duration::from_millis(100)).await) });
        }
        while let Some(answer) = asked.join_next().await {
            let (uid, answer) = answer.unwrap();
            assert_eq!(answer, Err(format!("the lookup of the user with the number {uid} took too long")));
        }
        // Threads may have taken their time to begin.
        seen.recv().unwrap();
        assert!(seen.try_iter().count() < AT_ONCE);
        drop(release);
    }
}
