//! Becoming another user, after the sockets are bound and before anything is served.
//!
//! ```no_run
//! use pillarbox_server_core::{Server, run_as::Account};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = Server::new();
//! // A wrong name is an error before anything is bound.
//! let account = Account::find("mail", None)?;
//! let bound = server.bind()?;
//! account.switch()?;
//! bound.start()?;
//! # Ok(())
//! # }
//! ```

use std::fmt;

use nix::errno::Errno;
use nix::unistd::{self, Gid, Group, Uid, User};

/// A user that the process can become, with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: Box<str>,
    uid: Uid,
    gid: Gid,
    /// All of its groups, with `gid`.
    groups: Vec<Gid>,
}

impl Account {
    /// Looks up a user, by name or number, and a group, by name or number. Without a group it is the user's own.
    ///
    /// Its supplementary groups are those in which the system has the user; a number that belongs to no user has none,
    /// and has to be given with a group.
    ///
    /// # Errors
    ///
    /// There is no such user or group.
    pub fn find(user: &str, group: Option<&str>) -> Result<Self, RunAsError> {
        let fail = |errno| RunAsError::System { what: "look up an account", errno: Number(errno) };
        let known = match number(user) {
            Some(uid) => User::from_uid(Uid::from_raw(uid)).map_err(fail)?,
            None => Some(User::from_name(user).map_err(fail)?.ok_or_else(|| RunAsError::NoUser { name: user.into() })?),
        };
        let gid = match (group, &known) {
            (None, Some(user)) => user.gid,
            (None, None) => return Err(RunAsError::NoGroupGiven { user: user.into() }),
            (Some(group), _) => match number(group) {
                Some(gid) => Gid::from_raw(gid),
                None => {
                    Group::from_name(group)
                        .map_err(fail)?
                        .ok_or_else(|| RunAsError::NoGroup { name: group.into() })?
                        .gid
                }
            },
        };
        let uid = match (&known, number(user)) {
            (Some(user), _) => user.uid,
            (None, Some(uid)) => Uid::from_raw(uid),
            (None, None) => return Err(RunAsError::NoUser { name: user.into() }),
        };
        let groups = match &known {
            Some(known) => {
                let name = std::ffi::CString::new(known.name.as_str())
                    .map_err(|_| RunAsError::NoUser { name: user.into() })?;
                unistd::getgrouplist(&name, gid).map_err(fail)?
            }
            None => vec![gid],
        };
        Ok(Self { name: user.into(), uid, gid, groups })
    }

    /// Its number.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// The number of its group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid.as_raw()
    }

    /// Makes the process, with all its threads, run as this user: its supplementary groups, its group, the user itself,
    /// in this order, and for good. Afterwards it has been tried that there is no way back.
    ///
    /// A process that is this user and group already is left as it is; others have to be started as root.
    ///
    /// # Errors
    ///
    /// The system does not allow it. The process may have changed in part then: it must not serve.
    pub fn switch(&self) -> Result<(), RunAsError> {
        let fail = |what| move |errno| RunAsError::System { what, errno: Number(errno) };
        let (users, groups) = current().map_err(fail("ask who it is"))?;
        if !Uid::effective().is_root() {
            let same = users == [self.uid; 3] && groups == [self.gid; 3];
            return if same { Ok(()) } else { Err(RunAsError::NotRoot { name: self.name.clone() }) };
        }
        unistd::setgroups(&self.groups).map_err(fail("change its supplementary groups"))?;
        unistd::setresgid(self.gid, self.gid, self.gid).map_err(fail("change its group"))?;
        unistd::setresuid(self.uid, self.uid, self.uid).map_err(fail("change its user"))?;
        let (users, groups) = current().map_err(fail("ask who it is"))?;
        let way_back = !self.uid.is_root()
            && (unistd::seteuid(Uid::from_raw(0)).is_ok() || unistd::setuid(Uid::from_raw(0)).is_ok());
        if way_back || users != [self.uid; 3] || groups != [self.gid; 3] {
            return Err(RunAsError::WayBack);
        }
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (user {}, group {})", self.name, self.uid, self.gid)
    }
}

/// The real, effective and saved user, and group.
fn current() -> Result<([Uid; 3], [Gid; 3]), Errno> {
    let (users, groups) = (unistd::getresuid()?, unistd::getresgid()?);
    Ok(([users.real, users.effective, users.saved], [groups.real, groups.effective, groups.saved]))
}

fn number(text: &str) -> Option<u32> {
    // The largest means "leave it as it is" to the system.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

/// The system's error, as a number that says what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(Errno);

impl Number {
    /// The number itself, as in errno(3).
    #[must_use]
    pub fn raw(self) -> i32 {
        self.0 as i32
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.desc())
    }
}

/// Why the process is not who it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunAsError {
    /// The system does not know the user.
    #[error("no such user: {}", name.escape_debug())]
    NoUser {
        /// Its name.
        name: Box<str>,
    },
    /// The system does not know the group.
    #[error("no such group: {}", name.escape_debug())]
    NoGroup {
        /// Its name.
        name: Box<str>,
    },
    /// The user is a number that the system does not know, so it has no group of its own.
    #[error("the user {user} is not known, so its group has to be given")]
    NoGroupGiven {
        /// The number.
        user: Box<str>,
    },
    /// Only root can become somebody else.
    #[error("cannot become {}: not started as root", name.escape_debug())]
    NotRoot {
        /// The user's name.
        name: Box<str>,
    },
    /// The system refuses.
    #[error("the process cannot {what}: {errno}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        errno: Number,
    },
    /// The process could become root again.
    #[error("the process is another user, but there is a way back")]
    WayBack,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_number() {
        let root = Account::find("root", None).unwrap();
        assert_eq!((root.uid(), root.gid()), (0, 0));
        assert!(root.groups.contains(&Gid::from_raw(0)));
        assert_eq!(Account::find("0", None).unwrap().uid(), 0);
        let free = Account::find("3456789", Some("2345678")).unwrap();
        assert_eq!((free.uid(), free.gid(), &free.groups[..]), (3_456_789, 2_345_678, &[Gid::from_raw(2_345_678)][..]));
        assert_eq!(free.to_string(), "3456789 (user 3456789, group 2345678)");
    }

    #[test]
    fn who_is_not_known_is_an_error() {
        let error = |user, group| Account::find(user, group).unwrap_err().to_string();
        assert_eq!(error("no\nbody", None), "no such user: no\\nbody");
        assert_eq!(error("", None), "no such user: ");
        assert_eq!(error("4294967295", None), "no such user: 4294967295");
        assert_eq!(error("-1", None), "no such user: -1");
        assert_eq!(error("root", Some("no-such-group")), "no such group: no-such-group");
        assert_eq!(error("3456789", None), "the user 3456789 is not known, so its group has to be given");
    }
}
