//! Building a memory backend.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::body::Body;
use super::policies::Described;
use super::shelf::{Bounds, Owner};
use super::store::{Credentials, Shared, Store, User};
use super::tree::Tree;
use super::{DELIMITER, MemoryBackend, NewMessage};
use crate::auth::{Secret, TokenRefusal, prepare_password};
use crate::backend::{Access, CreateRequest, Namespace, Namespaces};
use crate::env::{Env, SystemEnv};
use crate::mail::{Flags, InvalidMailboxName, MailboxName, SpecialUse};

/// What a memory backend is to hold. Mailboxes that are named come into being with their first mention; every user has
/// an INBOX.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    env: Arc<dyn Env>,
    users: Vec<(String, Vec<Grant>)>,
    shared: Option<String>,
    pub(super) policies: Described,
    token_refusal: TokenRefusal,
    append_limit: Option<u64>,
    quota: Option<u64>,
    bounds: Bounds,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Grant {
    Password(Secret),
    Token(Secret),
    Certificate(Vec<u8>),
    SharedSecret(Secret),
    Anonymous,
    ActAs(String),
}

#[derive(Debug)]
enum Step {
    Mailbox { user: String, mailbox: String, special_use: Vec<SpecialUse> },
    Message { user: String, mailbox: String, message: NewMessage },
    Subscribe { user: String, mailbox: String },
    ReadOnly { user: String, mailbox: String },
}

/// What is wrong with the description of a memory backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A user was named that is not one.
    #[error("there is no user {0:?}")]
    NoSuchUser(String),
    /// A mailbox was given a name that can't be one.
    #[error("mailbox name {0:?}: {1}")]
    Name(String, #[source] InvalidMailboxName),
    /// A mailbox or message was refused.
    #[error("mailbox {0:?}: {1}")]
    Refused(String, #[source] crate::backend::Error),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            env: Arc::new(SystemEnv),
            users: Vec::new(),
            shared: None,
            policies: Described::default(),
            token_refusal: TokenRefusal::new(),
            append_limit: None,
            quota: None,
            bounds: Bounds { history: 65_536, keywords: 1_000 },
            steps: Vec::new(),
        }
    }
}

impl Builder {
    /// A user, with a password.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        self.grants(name.into()).push(Grant::Password(Secret::new(password)));
        self
    }

    /// A user, by a bearer token (OAUTHBEARER, RFC 7628, and XOAUTH2); the same as one with a password or another.
    pub fn token(mut self, name: impl Into<String>, token: impl Into<Vec<u8>>) -> Self {
        self.grants(name.into()).push(Grant::Token(Secret::new(token)));
        self
    }

    /// What clients are told whose token is refused. Default: `invalid_token` and no more.
    pub fn token_refusal(mut self, refusal: TokenRefusal) -> Self {
        self.token_refusal = refusal;
        self
    }

    /// A user, by a secret for CRAM-MD5 (RFC 2195) and APOP, which may differ from the password. Without one, APOP takes
    /// the password; CRAM-MD5 is offered where any user has such a secret.
    pub fn shared_secret(mut self, name: impl Into<String>, secret: impl Into<Vec<u8>>) -> Self {
        self.grants(name.into()).push(Grant::SharedSecret(Secret::new(secret)));
        self
    }

    /// The user as whom clients without credentials act (ANONYMOUS, RFC 4505). Where several are named, the first by name.
    pub fn anonymous(mut self, name: impl Into<String>) -> Self {
        self.grants(name.into()).push(Grant::Anonymous);
        self
    }

    /// A user, by a TLS client certificate in DER form (EXTERNAL, RFC 4422).
    pub fn certificate(mut self, name: impl Into<String>, certificate: impl Into<Vec<u8>>) -> Self {
        self.grants(name.into()).push(Grant::Certificate(certificate.into()));
        self
    }

    /// Lets a user act as another one.
    pub fn may_act_as(mut self, name: impl Into<String>, other: impl Into<String>) -> Self {
        self.grants(name.into()).push(Grant::ActAs(other.into()));
        self
    }

    /// A mailbox.
    pub fn mailbox(self, user: impl Into<String>, mailbox: impl Into<String>) -> Self {
        self.step(Step::Mailbox { user: user.into(), mailbox: mailbox.into(), special_use: Vec::new() })
    }

    /// A mailbox for a purpose (RFC 6154).
    pub fn special_use(self, user: impl Into<String>, mailbox: impl Into<String>, usage: SpecialUse) -> Self {
        self.step(Step::Mailbox { user: user.into(), mailbox: mailbox.into(), special_use: vec![usage] })
    }

    /// A message, received now. Its octets are served as they are, so lines end with CRLF; [`crlf`](super::crlf) helps.
    pub fn message(
        self,
        user: impl Into<String>,
        mailbox: impl Into<String>,
        flags: impl Into<Flags>,
        content: impl Into<Bytes>,
    ) -> Self {
        self.deliver(user, mailbox, NewMessage::new(content).flags(flags))
    }

    /// A message with all that can be said of it.
    pub fn deliver(self, user: impl Into<String>, mailbox: impl Into<String>, message: NewMessage) -> Self {
        self.step(Step::Message { user: user.into(), mailbox: mailbox.into(), message })
    }

    /// A subscription; the mailbox need not exist.
    pub fn subscribe(self, user: impl Into<String>, mailbox: impl Into<String>) -> Self {
        self.step(Step::Subscribe { user: user.into(), mailbox: mailbox.into() })
    }

    /// Makes a mailbox that can be read only, once all messages that the builder names are in it.
    pub fn read_only(self, user: impl Into<String>, mailbox: impl Into<String>) -> Self {
        self.step(Step::ReadOnly { user: user.into(), mailbox: mailbox.into() })
    }

    /// Puts all names below this one, such as `Shared`, into a tree that all users have in common (RFC 2342). Name any
    /// user to put mailboxes and messages there.
    pub fn shared(mut self, name: impl Into<String>) -> Self {
        self.shared = Some(name.into());
        self
    }

    /// The largest message that can be appended, in octets. Default: any.
    pub fn append_limit(mut self, octets: u64) -> Self {
        self.append_limit = Some(octets);
        self
    }

    /// The octets that each user may keep. Default: any.
    pub fn quota(mut self, octets: u64) -> Self {
        self.quota = Some(octets);
        self
    }

    /// How many removals each mailbox remembers; who asks for changes of before is told all that is present. Default:
    /// 65,536.
    pub fn expunge_history(mut self, removals: usize) -> Self {
        self.bounds.history = removals;
        self
    }

    /// How many keywords each mailbox may have in use. Default: 1,000.
    pub fn max_keywords(mut self, keywords: usize) -> Self {
        self.bounds.keywords = keywords;
        self
    }

    /// The clock for internal dates and UIDVALIDITY. Default: the system's. With a
    /// [`FixedEnv`](crate::env::FixedEnv) all that a client sees is the same in each run.
    pub fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.env = env;
        self
    }

    /// The backend.
    ///
    /// # Errors
    ///
    /// When a name can't be a mailbox's, or a message goes to a user who is not there or is over a limit.
    pub fn build(self) -> Result<MemoryBackend, BuildError> {
        let users = self.users.into_iter().map(|(name, grants)| {
            let user = User {
                name: name.clone(),
                credentials: credentials(grants, &*self.env),
                tree: Tree::new(Owner::new(self.quota), self.bounds),
                subscriptions: Mutex::default(),
                policies: self.policies.of(&name),
            };
            (name, Arc::new(user))
        });
        let users: BTreeMap<_, _> = users.collect();
        let mut namespaces = Namespaces::personal(Some(DELIMITER));
        let shared = self.shared.map(|name| {
            let prefix = format!("{name}{DELIMITER}");
            namespaces.shared.push(Namespace { prefix: prefix.clone(), delimiter: Some(DELIMITER) });
            Shared { prefix, tree: Tree::new(Owner::new(None), self.bounds) }
        });
        let policies = self.policies.shared(users.values().map(|user| &user.policies));
        let mut store = Store::new(users, shared, namespaces, policies, self.append_limit, self.env);
        store.token_refusal = self.token_refusal;
        let store = Arc::new(store);
        for (name, user) in &store.users {
            let inbox = store.create(user, CreateRequest::new(MailboxName::inbox()));
            inbox.map_err(|error| BuildError::Refused(name.clone(), error))?;
        }
        let mut read_only = Vec::new();
        for step in self.steps {
            let (user, mailbox) = step.place();
            let user = store.users.get(user).ok_or_else(|| BuildError::NoSuchUser(user.to_owned()))?;
            let name = MailboxName::new(mailbox).map_err(|error| BuildError::Name(mailbox.to_owned(), error))?;
            let refused = |error| BuildError::Refused(name.to_string(), error);
            if let Step::Subscribe { .. } = step {
                user.subscriptions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name);
                continue;
            }
            let special_use =
                if let Step::Mailbox { special_use, .. } = &step { special_use.clone() } else { Vec::new() };
            let shelf = match store.find(user, &name) {
                Ok(shelf) if special_use.is_empty() => shelf,
                _ => store
                    .create(user, CreateRequest { special_use, ..CreateRequest::new(name.clone()) })
                    .map_err(refused)?,
            };
            match step {
                Step::Message { message, .. } => {
                    let mut parcel = store.parcel(message.flags, message.internal_date, Body::Whole(message.content));
                    parcel.expire_stamp = message.expire_stamp;
                    shelf.change(|state| state.add(vec![parcel])).map_err(refused)?;
                }
                Step::ReadOnly { .. } => read_only.push(shelf),
                Step::Mailbox { .. } | Step::Subscribe { .. } => {}
            }
        }
        for shelf in read_only {
            shelf.change(|state| state.set_access(Access::ReadOnly));
        }
        Ok(MemoryBackend { store })
    }

    fn grants(&mut self, name: String) -> &mut Vec<Grant> {
        let at = self.users.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.users.push((name, Vec::new()));
            self.users.len() - 1
        });
        &mut self.users[at].1
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl Step {
    fn place(&self) -> (&str, &str) {
        match self {
            Self::Mailbox { user, mailbox, .. }
            | Self::Message { user, mailbox, .. }
            | Self::Subscribe { user, mailbox }
            | Self::ReadOnly { user, mailbox } => (user, mailbox),
        }
    }
}

fn credentials(grants: Vec<Grant>, env: &dyn Env) -> Credentials {
    let mut credentials = Credentials::default();
    env.random(&mut credentials.salt);
    for grant in grants {
        match grant {
            Grant::Password(password) => credentials.password = Some(prepare_password(&password)),
            Grant::Token(token) => credentials.tokens.push(token),
            Grant::Certificate(certificate) => credentials.certificates.push(certificate),
            Grant::SharedSecret(secret) => credentials.shared_secret = Some(secret),
            Grant::Anonymous => credentials.anonymous = true,
            Grant::ActAs(other) => {
                credentials.acts_as.insert(other);
            }
        }
    }
    credentials
}
