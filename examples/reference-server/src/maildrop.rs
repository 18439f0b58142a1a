//! The policies of POP3 maildrops: what the configuration and a user's own settings say, and an account that keeps to it.
//!
//! IMAP sessions see the account without them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pillarbox_proto_core::backend::{
    Account, Append, AppendRequest, Bulletins, Copied, CopyRequest, CreateRequest, Error, Expiry, ListEntry,
    ListRequest, LoginDelay, MailboxId, Namespaces, OpenRequest, Opened, Policies, RenameRequest, Result, Status,
    StatusRequest,
};
use pillarbox_proto_core::mail::MailboxName;

use crate::bulletins::{BulletinBoard, UserBulletins};
use crate::config::{self, BulletinDb};
use crate::data::DataFolder;
use crate::numbers::{NumberFile, Value};
use crate::users::{Expire, Pop3Settings, Table};

/// The policies of all users.
#[derive(Debug)]
pub struct MaildropPolicies {
    login_delay: u32,
    expire: Option<u32>,
    delete_expired: bool,
    logins: NumberFile,
    bulletins: Option<BulletinBoard>,
    /// What was worked out for the table of users that is known.
    announced: Mutex<Option<(Arc<Table>, Policies)>>,
}

impl MaildropPolicies {
    /// Those of a configuration, for the users of a data folder.
    #[must_use]
    pub fn new(config: &config::Pop3, data: &DataFolder) -> Self {
        let logins = config.stat_file.clone().unwrap_or_else(|| data.logins());
        let bulletins = config.bulletin_source.clone().map(|source| {
            let numbers = config.bulletin_db.as_ref().map(|file| match file {
                BulletinDb::InDataFolder => data.bulletins(),
                BulletinDb::At(path) => path.clone(),
            });
            BulletinBoard::new(source, numbers.map(|path| NumberFile::new(path, "bulletin db")))
        });
        Self {
            login_delay: config.login_delay,
            expire: config.expire,
            delete_expired: config.delete_expired,
            logins: NumberFile::new(logins, "statistics db"),
            bulletins,
            announced: Mutex::default(),
        }
    }

    /// The least time between a user's logins, in seconds.
    #[must_use]
    pub fn login_delay(&self, user: &Pop3Settings) -> u32 {
        user.login_delay.unwrap_or(self.login_delay)
    }

    /// How long a user's messages stay.
    #[must_use]
    pub fn expiry(&self, user: &Pop3Settings) -> Option<Expiry> {
        let days = match user.expire {
            Some(Expire::Never) => None,
            Some(Expire::Days(days)) => Some(days),
            None => self.expire,
        }?;
        let expiry = Expiry::after(days);
        Some(if user.delete_expired.unwrap_or(self.delete_expired) { expiry.deleting() } else { expiry })
    }

    /// What clients are told before they log in.
    pub async fn announced(&self, users: Arc<Table>) -> Policies {
        let mut policies = self.of_all(users);
        if policies.login_delay.is_some() && self.logins.check().await.is_err() {
            policies.login_delay = None;
        }
        policies
    }

    fn of_all(&self, users: Arc<Table>) -> Policies {
        let mut known = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((table, policies)) = &*known
            && Arc::ptr_eq(table, &users)
        {
            return *policies;
        }
        // The configuration's own values count as those of a user: of the next one.
        let own = Pop3Settings::default();
        let all = || std::iter::once(&own).chain(users.values().map(|user| &user.pop3).filter(|pop3| pop3.enabled));
        let mut policies = Policies::default();
        policies.login_delay = all().map(|user| self.login_delay(user)).max().filter(|seconds| *seconds > 0);
        policies.login_delay_per_user = all().any(|user| Some(self.login_delay(user)) != policies.login_delay);
        let days = |user: &Pop3Settings| self.expiry(user).map(Expiry::days);
        policies.expire = all().filter_map(days).min();
        policies.expire_per_user = all().any(|user| days(user) != policies.expire);
        *known = Some((users, policies));
        policies
    }

    /// A user's account with the policies that hold for it.
    #[must_use]
    pub fn account(
        &self,
        name: &str,
        user: &Pop3Settings,
        home: &Arc<dyn crate::backend::Home>,
        path: &std::path::Path,
    ) -> Maildrop {
        let seconds = self.login_delay(user);
        let delay = (seconds > 0).then(|| Delay { seconds, user: name.to_owned(), logins: self.logins.clone() });
        let bulletins = self.bulletins.as_ref().map(|board| board.for_user(name, path.to_owned(), Arc::clone(home)));
        Maildrop { account: home.account(), delay, expiry: self.expiry(user), bulletins }
    }
}

/// The record of a user's last login.
#[derive(Debug)]
struct Delay {
    seconds: u32,
    user: String,
    logins: NumberFile,
}

#[async_trait]
impl LoginDelay for Delay {
    fn seconds(&self) -> u32 {
        self.seconds
    }

    async fn last(&self) -> Result<Option<i64>> {
        let value = self.logins.get(&self.user).await.map_err(Error::unavailable)?;
        if value == Value::Damaged {
            tracing::warn!(user = self.user, "the time of the last login is no number: there is no login delay");
        }
        Ok(value.number())
    }

    async fn replace(&self, last: Option<i64>, with: Option<i64>) -> Result<bool> {
        self.logins.replace(&self.user, last, with).await.map_err(Error::unavailable)
    }

    async fn check(&self) -> Result<()> {
        self.logins.check().await.map_err(Error::unavailable)
    }
}

/// An account with the policies of its maildrop.
pub struct Maildrop {
    account: Arc<dyn Account>,
    delay: Option<Delay>,
    expiry: Option<Expiry>,
    bulletins: Option<UserBulletins>,
}

impl fmt::Debug for Maildrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maildrop")
            .field("delay", &self.delay)
            .field("expiry", &self.expiry)
            .field("bulletins", &self.bulletins)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Account for Maildrop {
    async fn list(&self, request: &ListRequest) -> Result<Vec<ListEntry>> {
        self.account.list(request).await
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened> {
        self.account.open(request).await
    }

    fn delimiter(&self) -> Option<char> {
        self.account.delimiter()
    }

    fn namespaces(&self) -> Namespaces {
        self.account.namespaces()
    }

    fn append_limit(&self) -> Option<u64> {
        self.account.append_limit()
    }

    fn creates_special_use(&self) -> bool {
        self.account.creates_special_use()
    }

    async fn status(&self, request: StatusRequest) -> Result<Status> {
        self.account.status(request).await
    }

    async fn create(&self, request: CreateRequest) -> Result<MailboxId> {
        self.account.create(request).await
    }

    async fn delete(&self, mailbox: &MailboxName) -> Result<()> {
        self.account.delete(mailbox).await
    }

    async fn rename(&self, request: RenameRequest) -> Result<()> {
        self.account.rename(request).await
    }

    async fn subscribe(&self, mailbox: &MailboxName, subscribed: bool) -> Result<()> {
        self.account.subscribe(mailbox, subscribed).await
    }

    async fn append(&self, request: AppendRequest) -> Result<Box<dyn Append>> {
        self.account.append(request).await
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied> {
        self.account.copy(request).await
    }

    async fn move_to(&self, request: CopyRequest) -> Result<Copied> {
        self.account.move_to(request).await
    }

    fn login_delay(&self) -> Option<&dyn LoginDelay> {
        self.delay.as_ref().map(|delay| delay as &dyn LoginDelay)
    }

    fn expiry(&self) -> Option<Expiry> {
        self.expiry
    }

    fn bulletins(&self) -> Option<&dyn Bulletins> {
        self.bulletins.as_ref().map(|bulletins| bulletins as &dyn Bulletins)
    }
}
