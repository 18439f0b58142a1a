//! The users' file and the mail stores, put together as a [`Backend`].

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret, prepare_user};
use pillarbox_proto_core::backend::{
    Account, Authenticator, Backend, Error, Policies, Questions, Result, ScramHash, ScramKeys,
};
use pillarbox_server_core::run_as;
use pillarbox_server_core::tls::CertificateNames;

use crate::apop::SharedSecrets;
use crate::config::Protocol;
use crate::data::DataFolder;
use crate::exit::{Failure, Status};
use crate::files;
use crate::maildrop::MaildropPolicies;
use crate::sources::{Found, Home as HomeFolder, Sources, UsersFile, check_home, create_home};
use crate::store::{Delivered, Expired};
use crate::users::{HashPool, Users};

/// Checks of passwords that may wait or run; a login beyond is told to come again.
const LOGIN_QUEUE: usize = 1024;

/// Opens the mail of a user, whatever form it is kept in.
#[async_trait]
pub trait Homes: Send + Sync {
    /// Opens what is kept in this folder, which need not exist yet; the one that it lies in has to.
    ///
    /// # Errors
    ///
    /// When the store fails.
    async fn open(&self, home: &Path) -> Result<Arc<dyn Home>>;
}

/// The mail of one user, whatever form it is kept in.
#[async_trait]
pub trait Home: Send + Sync {
    /// The account, as the protocols use it.
    fn account(&self) -> Arc<dyn Account>;

    /// Waits until nobody else delivers bulletins here, in whatever process, and keeps others from it until the lock is
    /// dropped. It ends with the process.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when another goes on delivering for longer than seems right.
    async fn lock_bulletins(&self) -> Result<Box<dyn Any + Send + Sync>>;

    /// Adds messages to INBOX, in order, from files, each together with a note of its number. One that is noted already
    /// is passed over. It ends at the first that can't be read or added.
    async fn deliver_bulletins(&self, messages: &[(u64, PathBuf)]) -> Delivered;

    /// Forgets the notes up to this number.
    ///
    /// # Errors
    ///
    /// When the store fails.
    async fn forget_bulletins(&self, counted: u64) -> Result<()>;

    /// Finds the messages of INBOX whose stamp of their first retrieval over POP3 is not later than `cutoff` (seconds
    /// since 1970), and removes them unless that is `only_ask`ed.
    ///
    /// # Errors
    ///
    /// When the store fails.
    async fn expire(&self, cutoff: i64, only_ask: bool) -> Result<Vec<Expired>>;
}

/// Who may log in to this server, and the mail that is theirs then. Clones share everything.
#[derive(Clone)]
pub struct UserBackend {
    shared: Arc<Shared>,
    sources: Arc<Sources>,
    /// The mode of homes that are made at login; `None`: none is.
    home_mode: Option<u32>,
    /// Who the process becomes when a user's mail is opened.
    becoming: Becoming,
    protocol: Protocol,
}

/// Who the process becomes before it opens mail.
#[derive(Clone, Debug, Default)]
enum Becoming {
    /// Nobody else: all mail belongs to the server's own account.
    #[default]
    Nobody,
    /// The user of the mail, where that is one of the system; else this account, if there is one.
    User(Option<run_as::Account>),
}

/// The folder of the mail in the home of a user of the system, where the process becomes that user.
const MAIL_IN_HOME: &str = "Maildir";

struct Shared {
    users: Arc<Users>,
    secrets: SharedSecrets,
    policies: MaildropPolicies,
    hashes: HashPool,
    salt_key: Secret,
    homes: Arc<dyn Homes>,
}

impl UserBackend {
    /// The users of a data folder, with their mail in it: the folder for that is made where it is missing.
    ///
    /// # Errors
    ///
    /// When what the folder holds beside the users can't be read or made.
    pub fn new(
        users: Users,
        data: &DataFolder,
        policies: MaildropPolicies,
        homes: Arc<dyn Homes>,
    ) -> crate::exit::Result<Self> {
        let mail = data.mail();
        files::private_folder(&mail).map_err(|error| Failure::io(Status::CantCreate, mail.display(), &error))?;
        let at_a_time = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let users = Arc::new(users);
        let sources = Sources::new(vec![Arc::new(UsersFile::new(Arc::clone(&users), mail))]);
        let shared = Shared {
            users,
            secrets: SharedSecrets::open(data.apop())?,
            policies,
            hashes: HashPool::new(at_a_time, LOGIN_QUEUE),
            salt_key: data.salt_key()?,
            homes,
        };
        Ok(Self {
            shared: Arc::new(shared),
            sources: Arc::new(sources),
            home_mode: None,
            becoming: Becoming::default(),
            protocol: Protocol::Imap,
        })
    }

    /// Asks these sources for users, in place of the users' file alone.
    #[must_use]
    pub fn with_sources(mut self, sources: Sources) -> Self {
        self.sources = Arc::new(sources);
        self
    }

    /// Makes the home of a user who has none, with this mode, when the user's mail is opened. Without it no home is made:
    /// mail that lies in a missing one can't be opened, which is [`Error::Unavailable`].
    ///
    /// Folders of mail in the data folder are no homes. They are the server's own, and always made.
    #[must_use]
    pub fn create_homes(mut self, mode: u32) -> Self {
        self.home_mode = Some(mode);
        self
    }

    /// Makes the whole process become the user before the user's mail is opened, for good: for a process that was started
    /// as root and serves one client. The mail is in `Maildir` in the user's home then. For users whom the system does not
    /// know it becomes `otherwise`, or stays who it is.
    ///
    /// A login as somebody else on the same connection is refused from then on, and so is LMTP for users of the system,
    /// where one client has mail for many.
    #[must_use]
    pub fn becoming_users(mut self, otherwise: Option<run_as::Account>) -> Self {
        self.becoming = Becoming::User(otherwise);
        self
    }

    /// The same for clients that speak this protocol: a user may be kept from one of them.
    #[must_use]
    pub fn for_protocol(&self, protocol: Protocol) -> Self {
        Self { protocol, ..self.clone() }
    }

    /// The users of the users' file.
    #[must_use]
    pub fn users(&self) -> &Arc<Users> {
        &self.shared.users
    }

    /// The policies of maildrops.
    #[must_use]
    pub fn policies(&self) -> &MaildropPolicies {
        &self.shared.policies
    }

    /// Opens a user's mail, without asking for a password: for the operator's own commands.
    ///
    /// # Errors
    ///
    /// [`Error::AuthorizationFailed`] for an unknown user; others when the store fails.
    pub async fn home(&self, user: &str) -> Result<Arc<dyn Home>> {
        let found = self.sources.find(user).await?.ok_or(Error::AuthorizationFailed)?;
        self.have_home(user, &found).await?;
        self.shared.homes.open(&found.mail).await
    }

    /// Sees to it that the user's home is there: it is made where that is wanted, and where it is not, mail that lies in a
    /// missing one is out of reach.
    async fn have_home(&self, name: &str, user: &Found) -> Result<()> {
        let Some(home) = user.home.clone() else { return Ok(()) };
        let mode = self.home_mode;
        if mode.is_none() && !user.mail_is_in_home() && !self.switches_to(&home) {
            return Ok(());
        }
        let shown = home.path.display().to_string();
        let there = tokio::task::spawn_blocking(move || match mode {
            Some(mode) => create_home(&home, mode),
            None => check_home(&home),
        });
        there.await.map_err(Error::unavailable)?.map_err(|error| {
            let is_missing = mode.is_none() && error.kind() == std::io::ErrorKind::NotFound;
            let hint = if is_missing { "; missing homes are made with create-home-dir only" } else { "" };
            tracing::error!(user = name, "home {shown}: {error}{hint}");
            // Mail for the user comes again; it must not be sent back.
            match mode {
                Some(_) if self.protocol != Protocol::Lmtp => {
                    Error::ContactAdmin("the home folder can't be made".into())
                }
                _ => Error::unavailable(error),
            }
        })
    }

    /// Whether the process becomes the owner of this home, and so has the mail in it.
    fn switches_to(&self, home: &HomeFolder) -> bool {
        matches!(self.becoming, Becoming::User(_)) && home.owner.is_some()
    }

    /// Becomes the user, where that is wanted; the folder of the user's mail.
    async fn become_user(&self, name: &str, user: Found) -> Result<PathBuf> {
        let Becoming::User(otherwise) = &self.becoming else { return Ok(user.mail) };
        let home = user.home.and_then(|home| Some((home.path, home.owner?)));
        if home.is_some() && self.protocol == Protocol::Lmtp {
            return Err(Error::ContactAdmin("mail for users of the system takes a server that is a daemon".into()));
        }
        let otherwise = otherwise.clone();
        let switched = tokio::task::spawn_blocking(move || {
            let (account, mail) = match home {
                Some((path, (uid, gid))) => {
                    let account = run_as::Account::find(&uid.to_string(), Some(&gid.to_string()))?;
                    (Some(account), path.join(MAIL_IN_HOME))
                }
                None => (otherwise, user.mail),
            };
            match account {
                Some(account) => account.switch()?,
                None => tracing::warn!("the process stays who it is: no user of the system, and no server.run-as"),
            }
            Ok::<_, run_as::RunAsError>(mail)
        });
        switched.await.map_err(Error::unavailable)?.map_err(|error| {
            tracing::error!(user = name, "the process can't become the user: {error}");
            Error::unavailable(error)
        })
    }

    /// A user's account, as [`home`](Self::home).
    ///
    /// # Errors
    ///
    /// As [`home`](Self::home).
    pub async fn account(&self, user: &str) -> Result<Arc<dyn Account>> {
        Ok(self.home(user).await?.account())
    }
}

impl fmt::Debug for UserBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserBackend").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

#[async_trait]
impl Authenticator for UserBackend {
    fn questions(&self) -> Questions {
        let mut questions = Questions::default();
        questions.scram_sha256 = self.sources.have_scram();
        questions.scram_sha1 = questions.scram_sha256;
        questions.shared_secret = self.shared.secrets.any();
        questions.cram_md5 = questions.shared_secret;
        // It is offered to who has shown a certificate, which no client does unless it is asked for one.
        questions.certificate = true;
        questions
    }

    async fn check_password(&self, connection: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        let secret = self.sources.find(user).await?.and_then(|found| found.secret);
        let known = secret.is_some();
        // Who is not known costs as much as who is.
        let hash = if known { secret } else { self.sources.decoy(user).await };
        let address = connection.client().map(|client| client.ip());
        if self.shared.hashes.verify(address, hash, password.clone()).await? && known {
            Ok(Identity::new(user))
        } else {
            Err(Error::AuthenticationFailed)
        }
    }

    async fn scram_keys(&self, _: &Connection, user: &str, hash: ScramHash) -> Result<Option<ScramKeys>> {
        Ok(self.sources.find(user).await?.and_then(|found| found.scram_keys(hash).cloned()))
    }

    /// The user whose login name is the first mail address in the certificate, or, where there is none, its common name.
    async fn check_certificate(&self, connection: &Connection) -> Result<Identity> {
        let names = CertificateNames::of(connection).ok_or(Error::AuthenticationFailed)?;
        let user = names.user().and_then(|user| prepare_user(user.as_bytes())).ok_or(Error::AuthenticationFailed)?;
        match self.sources.find(&user).await? {
            Some(_) => Ok(Identity::new(user)),
            None => Err(Error::AuthenticationFailed),
        }
    }

    async fn shared_secret(&self, _: &Connection, user: &str) -> Result<Option<Secret>> {
        let known = self.sources.find(user).await?.is_some();
        Ok(self.shared.secrets.get(user).filter(|_| known))
    }

    fn dummy_salt_key(&self) -> Option<Secret> {
        Some(self.shared.salt_key.clone())
    }
}

#[async_trait]
impl Backend for UserBackend {
    async fn open(&self, _: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        // The user may have been removed since the password was checked.
        let user = self.sources.find(who.user()).await?.ok_or(Error::AuthenticationFailed)?;
        if self.protocol == Protocol::Pop3 && !user.pop3.enabled {
            return Err(Error::ContactAdmin("POP3 is switched off for this user".into()));
        }
        self.have_home(who.user(), &user).await?;
        let pop3 = user.pop3;
        let mail = self.become_user(who.user(), user).await?;
        let home = self.shared.homes.open(&mail).await?;
        Ok(match self.protocol {
            Protocol::Pop3 => Arc::new(self.shared.policies.account(who.user(), &pop3, &home, &mail)),
            _ => home.account(),
        })
    }

    async fn policies(&self, _: &Connection) -> Policies {
        match self.protocol {
            Protocol::Pop3 => self.shared.policies.announced(self.shared.users.table()).await,
            _ => Policies::default(),
        }
    }
}
