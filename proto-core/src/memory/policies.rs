//! Login delay, expiry and bulletins in memory (see [`backend::Policies`](crate::backend::Policies)).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::account::MemoryAccount;
use super::body::Body;
use super::builder::Builder;
use super::hook::Call;
use super::shelf::State;
use super::store::Store;
use super::{MemoryBackend, NewMessage};
use crate::backend::{
    Access, Bulletins, Error, Expiry, FinishRequest, Finished, LoginDelay, Policies, Result, StoreOp, StoreRequest,
};
use crate::mail::{Flags, MailboxName, SystemFlags};

/// What a builder was told.
#[derive(Debug, Default)]
pub(super) struct Described {
    login_delay: u32,
    login_delays: BTreeMap<String, u32>,
    expiry: Option<Expiry>,
    expiries: BTreeMap<String, Option<Expiry>>,
    bulletins: Vec<Bytes>,
}

impl Described {
    /// What is true of this user.
    pub(super) fn of(&self, user: &str) -> UserPolicies {
        UserPolicies {
            login_delay: self.login_delays.get(user).copied().unwrap_or(self.login_delay),
            expiry: self.expiries.get(user).copied().unwrap_or(self.expiry),
            last_login: Mutex::default(),
            bulletins: Mutex::default(),
        }
    }

    /// What is announced to everybody, and the bulletins.
    pub(super) fn shared<'a>(self, users: impl Iterator<Item = &'a UserPolicies> + Clone) -> SharedPolicies {
        let mut announced = Policies::default();
        announced.login_delay = users.clone().map(|user| user.login_delay).max().filter(|seconds| *seconds > 0);
        announced.login_delay_per_user = users.clone().any(|user| Some(user.login_delay) != announced.login_delay);
        announced.expire = users.clone().filter_map(|user| user.expiry).map(Expiry::days).min();
        announced.expire_per_user = users.clone().any(|user| user.expiry.map(Expiry::days) != announced.expire);
        SharedPolicies { announced, bulletins: Mutex::new(self.bulletins) }
    }
}

/// A user's policies, and what is remembered for them.
#[derive(Debug)]
pub(super) struct UserPolicies {
    login_delay: u32,
    expiry: Option<Expiry>,
    last_login: Mutex<Option<i64>>,
    /// How many bulletins the user has had. Held while one is delivered.
    bulletins: Mutex<usize>,
}

/// What all users have in common.
#[derive(Debug)]
pub(super) struct SharedPolicies {
    announced: Policies,
    bulletins: Mutex<Vec<Bytes>>,
}

impl Store {
    /// What clients are told before they log in.
    pub(super) async fn announced(&self) -> Policies {
        let mut policies = self.policies.announced;
        let usable = async {
            self.hooks.enter(Call::LastLogin).await?.leave().await;
            self.hooks.enter(Call::ReplaceLastLogin).await?.leave().await;
            Ok::<_, Error>(())
        };
        if policies.login_delay.is_some() && usable.await.is_err() {
            policies.login_delay = None;
        }
        policies
    }
}

impl MemoryAccount {
    pub(super) fn has_login_delay(&self) -> Option<&dyn LoginDelay> {
        (self.user.policies.login_delay > 0).then_some(self as &dyn LoginDelay)
    }

    pub(super) fn has_expiry(&self) -> Option<Expiry> {
        self.user.policies.expiry
    }
}

#[async_trait]
impl LoginDelay for MemoryAccount {
    fn seconds(&self) -> u32 {
        self.user.policies.login_delay
    }

    async fn last(&self) -> Result<Option<i64>> {
        let leave = self.store.hooks.enter(Call::LastLogin).await?;
        let last = *lock(&self.user.policies.last_login);
        leave.leave().await;
        Ok(last)
    }

    async fn replace(&self, last: Option<i64>, with: Option<i64>) -> Result<bool> {
        let leave = self.store.hooks.enter(Call::ReplaceLastLogin).await?;
        let same = {
            let mut held = lock(&self.user.policies.last_login);
            let same = *held == last;
            if same {
                *held = with;
            }
            same
        };
        leave.leave().await;
        Ok(same)
    }
}

#[async_trait]
impl Bulletins for MemoryAccount {
    async fn deliver(&self) -> Result<u64> {
        let mut delivered = 0;
        loop {
            let leave = self.store.hooks.enter(Call::Bulletin).await?;
            {
                let mut had = lock(&self.user.policies.bulletins);
                let Some(content) = lock(&self.store.policies.bulletins).get(*had).cloned() else { break };
                let inbox = self.target(&MailboxName::inbox())?;
                let parcel = self.store.parcel(Flags::NONE, None, Body::Whole(content));
                inbox.change(|state| state.add(vec![parcel]))?;
                *had += 1;
            }
            delivered += 1;
            leave.leave().await;
        }
        Ok(delivered)
    }
}

impl State {
    /// The end of a POP3 session; see [`Mailbox::finish`](crate::backend::Mailbox::finish).
    pub(super) fn finish(&mut self, request: &FinishRequest) -> Result<Finished> {
        self.standing()?;
        if self.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        let mut removed = self.removable(&request.delete, false);
        removed.union_with(&self.removable(&request.marked, true));
        if request.expiry.is_some() {
            let stamp = request.now.to_string();
            for uid in &request.retrieved.difference(&removed) {
                if let Some(rest) = self.entries.rest_mut(uid) {
                    rest.expire_stamp.get_or_insert_with(|| stamp.as_str().into());
                }
            }
        }
        if let Some(cutoff) = request.cutoff() {
            for uid in &request.known.intersection(&self.uids) {
                let stamp = self.entries.get(uid).and_then(|entry| entry.rest.expire_stamp.as_deref());
                if stamp.and_then(|stamp| Expiry::parse_stamp(stamp.as_bytes())).is_some_and(|stamp| stamp <= cutoff) {
                    removed.insert(uid);
                }
            }
        }
        for uid in &removed {
            self.remove(uid);
        }
        self.store(&StoreRequest::new(request.read.clone(), StoreOp::Add, SystemFlags::SEEN.into()))?;
        Ok(Finished { removed })
    }
}

/// Policies of POP3 maildrops.
impl Builder {
    /// The least time between two POP3 logins of each user, in seconds. Default: 0, none.
    pub fn login_delay(mut self, seconds: u32) -> Self {
        self.policies.login_delay = seconds;
        self
    }

    /// The same for one user, in place of what is true of the others.
    pub fn login_delay_of(mut self, user: impl Into<String>, seconds: u32) -> Self {
        self.policies.login_delays.insert(user.into(), seconds);
        self
    }

    /// How long messages stay after they were first retrieved over POP3. Default: for ever.
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.policies.expiry = Some(expiry);
        self
    }

    /// The same for one user, in place of what is true of the others; `None` for ever.
    pub fn expiry_of(mut self, user: impl Into<String>, expiry: Option<Expiry>) -> Self {
        self.policies.expiries.insert(user.into(), expiry);
        self
    }

    /// A bulletin: a message that each user gets once, at a POP3 login, after those named before.
    pub fn bulletin(mut self, content: impl Into<Bytes>) -> Self {
        self.policies.bulletins.push(content.into());
        self
    }
}

/// What is remembered for the policies of POP3 maildrops. Fails with [`Error::Unavailable`] if there is no such user.
impl MemoryBackend {
    /// The time of a user's last POP3 login or QUIT, in seconds since 1970, where there is a login delay.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn last_login(&self, user: &str) -> Result<Option<i64>> {
        Ok(*lock(&self.user_of(user)?.policies.last_login))
    }

    /// Changes that time.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn set_last_login(&self, user: &str, time: Option<i64>) -> Result<()> {
        *lock(&self.user_of(user)?.policies.last_login) = time;
        Ok(())
    }

    /// Adds a bulletin to those that each user gets at a POP3 login.
    pub fn post_bulletin(&self, content: impl Into<Bytes>) {
        lock(&self.store.policies.bulletins).push(content.into());
    }

    /// How many bulletins a user has had.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn bulletins_had(&self, user: &str) -> Result<usize> {
        Ok(*lock(&self.user_of(user)?.policies.bulletins))
    }

    /// Changes that number, which may be more than there are.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn set_bulletins_had(&self, user: &str, count: usize) -> Result<()> {
        *lock(&self.user_of(user)?.policies.bulletins) = count;
        Ok(())
    }
}

impl NewMessage {
    /// With a stamp of its first retrieval, as a store keeps it for its [`Expiry`]: the seconds since 1970 as text, or
    /// something that is no number.
    pub fn expire_stamp(mut self, stamp: impl Into<String>) -> Self {
        self.expire_stamp = Some(stamp.into().into());
        self
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
