//! Everything that one memory backend holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::UNIX_EPOCH;

use super::body::Body;
use super::hook::Hooks;
use super::policies::{SharedPolicies, UserPolicies};
use super::shelf::{Parcel, Shelf};
use super::table::Entry;
use super::tree::Tree;
use crate::Env;
use crate::auth::{Secret, TokenRefusal};
use crate::backend::{CreateRequest, Error, MailboxId, Namespaces, Result, ScramKeys};
use crate::mail::{DateTime, Flags, MailboxName, UidValidity};

/// One user.
pub(super) struct User {
    pub(super) name: String,
    pub(super) credentials: Credentials,
    pub(super) tree: Tree,
    pub(super) subscriptions: Mutex<BTreeSet<MailboxName>>,
    pub(super) policies: UserPolicies,
}

impl User {
    pub(super) fn subscribed(&self) -> BTreeSet<MailboxName> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What lets a user in.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) password: Option<Secret>,
    /// Of the SCRAM keys, which are made of the password when they are first asked for.
    pub(super) salt: [u8; 16],
    pub(super) scram_sha1: OnceLock<ScramKeys>,
    pub(super) scram_sha256: OnceLock<ScramKeys>,
    pub(super) tokens: Vec<Secret>,
    /// For APOP and CRAM-MD5, if another than the password.
    pub(super) shared_secret: Option<Secret>,
    /// Clients without credentials act as this user.
    pub(super) anonymous: bool,
    /// Client certificates, in DER.
    pub(super) certificates: Vec<Vec<u8>>,
    /// Users as whom this one may act.
    pub(super) acts_as: BTreeSet<String>,
}

/// The shared tree, and the names that are in it.
pub(super) struct Shared {
    /// With the delimiter at its end.
    pub(super) prefix: String,
    pub(super) tree: Tree,
}

/// What the handles of one backend share.
pub(super) struct Store {
    pub(super) users: BTreeMap<String, Arc<User>>,
    pub(super) shared: Option<Shared>,
    pub(super) namespaces: Namespaces,
    pub(super) policies: SharedPolicies,
    pub(super) append_limit: Option<u64>,
    pub(super) env: Arc<dyn Env>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) dummy_salt_key: Secret,
    pub(super) token_refusal: TokenRefusal,
    /// Every mailbox by its lasting name, dead entries included until there are too many.
    known: Mutex<HashMap<MailboxId, Weak<Shelf>>>,
    uid_validity: AtomicU32,
    unique_ids: AtomicU64,
    /// Stands in every unique-id, so that those of two backends differ, unless their clocks agree.
    born: u64,
}

impl Store {
    pub(super) fn new(
        users: BTreeMap<String, Arc<User>>,
        shared: Option<Shared>,
        namespaces: Namespaces,
        policies: SharedPolicies,
        append_limit: Option<u64>,
        env: Arc<dyn Env>,
    ) -> Self {
        let mut dummy_salt_key = vec![0; 32];
        env.random(&mut dummy_salt_key);
        let born = env.wall_time().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            users,
            shared,
            namespaces,
            policies,
            append_limit,
            env,
            hooks: Arc::default(),
            dummy_salt_key: Secret::new(dummy_salt_key),
            token_refusal: TokenRefusal::new(),
            known: Mutex::default(),
            uid_validity: AtomicU32::new((born as u32).max(1)),
            unique_ids: AtomicU64::new(1),
            born,
        }
    }

    pub(super) fn user(&self, name: &str) -> Result<&Arc<User>> {
        self.users.get(name).ok_or_else(|| Error::unavailable("no such user"))
    }

    /// The tree that a name belongs to.
    pub(super) fn tree<'a>(&'a self, user: &'a User, name: &MailboxName) -> &'a Tree {
        match &self.shared {
            Some(shared) if name.as_str().starts_with(&shared.prefix) => &shared.tree,
            _ => &user.tree,
        }
    }

    pub(super) fn find(&self, user: &User, name: &MailboxName) -> Result<Arc<Shelf>> {
        self.tree(user, name).find(name)
    }

    pub(super) fn create(&self, user: &User, request: CreateRequest) -> Result<Arc<Shelf>> {
        let shelf = self.tree(user, &request.name).create(request, self.next_uid_validity())?;
        self.note(&shelf);
        Ok(shelf)
    }

    pub(super) fn rename(&self, user: &User, from: &MailboxName, to: &MailboxName) -> Result<()> {
        let tree = self.tree(user, from);
        if !std::ptr::eq(tree, self.tree(user, to)) {
            return Err(Error::Cannot("a mailbox can't be renamed into another namespace".into()));
        }
        tree.rename(from, to, self.next_uid_validity())?;
        if from.is_inbox() {
            self.note(&tree.find(to)?);
        }
        Ok(())
    }

    pub(super) fn recreate(&self, user: &User, name: &MailboxName) -> Result<()> {
        let tree = self.tree(user, name);
        tree.recreate(name, self.next_uid_validity())?;
        self.note(&tree.find(name)?);
        Ok(())
    }

    /// The mailbox of this lasting name, if it is of this backend.
    pub(super) fn known(&self, id: &MailboxId) -> Option<Arc<Shelf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id)?.upgrade()
    }

    fn note(&self, shelf: &Arc<Shelf>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == known.capacity() {
            known.retain(|_, shelf| shelf.strong_count() > 0);
        }
        known.insert(shelf.id.clone(), Arc::downgrade(shelf));
    }

    fn next_uid_validity(&self) -> UidValidity {
        loop {
            // Only the number 0 is none.
            if let Some(value) = UidValidity::new(self.uid_validity.fetch_add(1, Ordering::Relaxed)) {
                return value;
            }
        }
    }

    pub(super) fn next_unique_id(&self) -> Arc<str> {
        let number = self.unique_ids.fetch_add(1, Ordering::Relaxed);
        format!("{:x}.{number}", self.born).into()
    }

    /// A copy of a message for another mailbox. One that moves keeps its unique-id.
    pub(super) fn twin(&self, entry: Entry<'_>, moves: bool) -> Parcel {
        Parcel {
            flags: entry.flags(),
            internal_date: entry.rest.internal_date,
            body: entry.rest.body.clone(),
            unique_id: if moves { Arc::clone(&entry.rest.unique_id) } else { self.next_unique_id() },
            summary: entry.rest.summary.clone(),
            expire_stamp: entry.rest.expire_stamp.clone(),
        }
    }

    pub(super) fn parcel(&self, flags: Flags, internal_date: Option<DateTime>, body: Body) -> Parcel {
        Parcel {
            flags,
            internal_date: internal_date.unwrap_or_else(|| DateTime::from(self.env.wall_time())),
            body,
            unique_id: self.next_unique_id(),
            summary: None,
            expire_stamp: None,
        }
    }
}
