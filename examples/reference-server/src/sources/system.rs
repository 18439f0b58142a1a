//! The accounts of the operating system, with the hashes of shadow(5).

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use pillarbox_proto_core::backend::{Error, Result};
use pillarbox_server_core::run_as::{Account, RunAsError};
use uzers::os::unix::UserExt;

use super::passwd::{Entry, Passwd, read_shadow};
use super::{Found, Home, UserSource};
use crate::users::{PasswordHash, names};
use crate::watched::Watched;

/// Errors by which systems say that there is no such account (getpwnam(3)): EPERM, ENOENT, ESRCH, EBADF.
const NOT_FOUND: [i32; 4] = [1, 2, 3, 9];

/// The least user id that is served by default: below it are the accounts of programs.
const FIRST: u32 = 1000;

/// Where the accounts are looked up.
#[derive(Debug)]
pub enum Accounts {
    /// In the system's user database, of whatever kind (getpwnam(3)).
    System,
    /// In a file of passwd(5) alone.
    File(PathBuf),
}

/// The accounts of the operating system. Passwords are compared with the hashes of a shadow file, which only root may
/// read on most systems.
///
/// As the mail belongs to the server's own account, it is in the data folder; a home is made, where that is configured,
/// for the user's other programs.
#[derive(Debug)]
pub struct SystemUsers {
    accounts: Accounts,
    shadow: Watched<Option<HashMap<String, PasswordHash>>>,
    mail: PathBuf,
    first: u32,
}

impl SystemUsers {
    /// These accounts with the hashes of this shadow file, their mail below this folder.
    #[must_use]
    pub fn new(accounts: Accounts, shadow: PathBuf, mail: PathBuf) -> Self {
        let shadow = Watched::open(shadow, |path| Ok::<_, std::convert::Infallible>(hashes(path)));
        let shadow = match shadow {
            Ok(shadow) => shadow,
            Err(never) => match never {},
        };
        Self { accounts, shadow, mail, first: FIRST }
    }

    /// The least user id that is served. Default: 1000. Root never is.
    #[must_use]
    pub fn first_uid(mut self, uid: u32) -> Self {
        self.first = uid.max(1);
        self
    }

    async fn entry(&self, login: &str) -> Result<Option<Entry>> {
        let name = login.to_owned();
        let found = match &self.accounts {
            // The database may be anywhere: a directory service takes its time.
            Accounts::System => match tokio::task::spawn_blocking(move || of_the_system(&name)).await {
                Ok(entry) => Ok(entry?),
                Err(error) => Err(error),
            },
            Accounts::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || Passwd::read(&path)).await;
                match read {
                    Ok(passwd) => {
                        let mut passwd = passwd.map_err(Error::unavailable)?;
                        Ok(passwd.entries.remove(&name).map(|(entry, _)| entry))
                    }
                    Err(error) => Err(error),
                }
            }
        };
        let found = found.map_err(Error::unavailable)?;
        Ok(found.filter(|entry| entry.uid >= self.first))
    }

    fn hashes(&self) -> std::sync::Arc<Option<HashMap<String, PasswordHash>>> {
        self.shadow.get(|path| hashes(path).map(Some).ok_or(Some(None)))
    }
}

/// The system's account of this name. That the system can't tell is not that there is none: mail for a user would be sent
/// back.
fn of_the_system(name: &str) -> Result<Option<Entry>> {
    if let Some(user) = uzers::get_user_by_name(name) {
        return Ok(Some(Entry { uid: user.uid(), gid: user.primary_group_id(), home: user.home_dir().to_owned() }));
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        // It would be looked up as a number.
        return Ok(None);
    }
    match Account::find(name, None) {
        Err(RunAsError::System { errno, .. }) if !NOT_FOUND.contains(&errno.raw()) => {
            tracing::error!("the accounts of the system can't be asked: {errno}");
            Err(Error::unavailable(RunAsError::System { what: "look up an account", errno }))
        }
        Err(_) => Ok(None),
        Ok(_) => Err(Error::unavailable("the accounts of the system change")),
    }
}

/// `None` when the file can't be read, which the log tells once for each state of it.
fn hashes(path: &std::path::Path) -> Option<HashMap<String, PasswordHash>> {
    let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    read_shadow(path, i64::try_from(today).unwrap_or(i64::MAX))
        .inspect_err(|error| tracing::error!("shadow file {}: {error}; no system user can log in", path.display()))
        .ok()
}

#[async_trait]
impl UserSource for SystemUsers {
    fn name(&self) -> &'static str {
        "system"
    }

    async fn find(&self, login: &str) -> Result<Option<Found>> {
        let Some(entry) = self.entry(login).await? else { return Ok(None) };
        let hashes = self.hashes();
        let hashes = hashes.as_ref().as_ref().ok_or_else(|| Error::unavailable("the shadow file can't be read"))?;
        let Ok((_, folder)) = names(login) else { return Ok(None) };
        let mut found = Found::new(self.mail.join(folder), hashes.get(login).cloned());
        found.home = Some(Home { path: entry.home, owner: Some((entry.uid, entry.gid)) });
        Ok(Some(found))
    }

    async fn decoy(&self, _: &str) -> Option<PasswordHash> {
        self.hashes().as_ref().as_ref()?.values().next().cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HASH: &str = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";

    #[tokio::test]
    async fn accounts_with_their_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let (passwd, shadow) = (folder.path().join("passwd"), folder.path().join("shadow"));
        fs::write(
            &passwd,
            "root:x:0:0::/root:\nmail:x:8:8::/var/mail:\nada:x:1000:100::/home/ada:\nbob:x:1001:100::/home/bob:\n",
        )
        .unwrap();
        fs::write(&shadow, format!("root:{HASH}:::::::\nmail:{HASH}:::::::\nada:{HASH}:::::::\nbob:!:::::::\n"))
            .unwrap();
        let users = SystemUsers::new(Accounts::File(passwd), shadow.clone(), "/data/mail".into());
        let ada = users.find("ada").await.unwrap().unwrap();
        assert_eq!(ada.mail, PathBuf::from("/data/mail/ada"));
        assert_eq!(ada.home, Some(Home { path: "/home/ada".into(), owner: Some((1000, 100)) }));
        assert!(ada.secret.is_some());
        assert!(users.find("bob").await.unwrap().unwrap().secret.is_none());
        for name in ["root", "mail", "eve", "../ada", ""] {
            assert!(users.find(name).await.unwrap().is_none(), "{name}");
        }
        assert!(users.decoy("eve").await.is_some());
        fs::remove_file(&shadow).unwrap();
        assert!(matches!(users.find("ada").await, Err(Error::Unavailable(_))));
        assert!(users.find("eve").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_system_knows_its_accounts() {
        let folder = tempfile::tempdir().unwrap();
        let shadow = folder.path().join("shadow");
        fs::write(&shadow, "").unwrap();
        let users = SystemUsers::new(Accounts::System, shadow, "/data/mail".into()).first_uid(0);
        assert!(users.find("root").await.unwrap().is_none(), "never");
        assert!(users.find("no such account here").await.unwrap().is_none());
    }
}
