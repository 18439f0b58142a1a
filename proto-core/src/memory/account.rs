//! A user's mailboxes in memory.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;

use super::DELIMITER;
use super::append::MemoryAppend;
use super::hook::Call;
use super::mailbox::MemoryMailbox;
use super::shelf::{Parcel, Shelf};
use super::store::{Store, User};
use crate::backend::{
    Access, Account, Append, AppendRequest, Bulletins, Copied, CopyRequest, CreateRequest, Error, Expiry, ListEntry,
    ListRequest, LoginDelay, MailboxId, Namespaces, OpenRequest, Opened, RenameRequest, Result, Status, StatusRequest,
    copy_by_append, expunge_moved,
};
use crate::mail::MailboxName;

/// An open account.
pub(super) struct MemoryAccount {
    pub(super) store: Arc<Store>,
    pub(super) user: Arc<User>,
}

/// The lock of an exclusive maildrop.
struct Lease(Arc<Shelf>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.look().leased = false;
    }
}

impl MemoryAccount {
    fn find(&self, name: &MailboxName) -> Result<Arc<Shelf>> {
        self.store.find(&self.user, name)
    }

    /// A mailbox that messages may be added to.
    pub(super) fn target(&self, name: &MailboxName) -> Result<Arc<Shelf>> {
        let shelf = self.find(name)?;
        if shelf.look().access == Access::ReadOnly {
            return Err(Error::NoPermission);
        }
        Ok(shelf)
    }

    async fn transfer(&self, call: Call, request: CopyRequest) -> Result<Copied> {
        let remove = call == Call::Move;
        let leave = self.store.hooks.enter(call).await?;
        let to = self.target(&request.to)?;
        let Some(from) = self.store.known(&request.from_id) else {
            // Another store's mailbox.
            leave.leave().await;
            let from = Arc::clone(&request.from);
            let append = self.append(AppendRequest::new(request.to.clone())).await?;
            let copied = copy_by_append(append, request).await?;
            if remove {
                expunge_moved(&*from, &copied).await?;
            }
            return Ok(copied);
        };
        if remove && from.look().access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        let copied = if Arc::ptr_eq(&from, &to) {
            from.change(|state| {
                state.standing()?;
                let uids = state.removable(&request.uids, false);
                let parcels = uids.iter().filter_map(|uid| state.entries.get(uid));
                let parcels: Vec<_> = parcels.map(|entry| self.store.twin(entry, remove)).collect();
                if parcels.is_empty() {
                    return Err(Error::Expunged);
                }
                let octets = if remove { octets(&parcels) } else { 0 };
                let added = to.owner.on_loan(octets, || state.add(parcels))?;
                if remove {
                    uids.iter().for_each(|uid| drop(state.remove(uid)));
                }
                Ok(Copied::new(state.uid_validity, uids.iter().zip(added).collect()))
            })
        } else {
            Shelf::change_both(&from, &to, |source, target| {
                source.standing()?;
                target.standing().map_err(|_| Error::NoSuchMailbox)?;
                let uids = source.removable(&request.uids, false);
                let parcels = uids.iter().filter_map(|uid| source.entries.get(uid));
                let parcels: Vec<_> = parcels.map(|entry| self.store.twin(entry, remove)).collect();
                if parcels.is_empty() {
                    return Err(Error::Expunged);
                }
                let same_owner = Arc::ptr_eq(&from.owner, &to.owner);
                let octets = if remove && same_owner { octets(&parcels) } else { 0 };
                let added = to.owner.on_loan(octets, || target.add(parcels))?;
                if remove {
                    uids.iter().for_each(|uid| drop(source.remove(uid)));
                }
                Ok(Copied::new(target.uid_validity, uids.iter().zip(added).collect()))
            })
        };
        leave.leave().await;
        copied
    }
}

fn octets(parcels: &[Parcel]) -> u64 {
    parcels.iter().map(|parcel| parcel.body.len()).sum()
}

#[async_trait]
impl Account for MemoryAccount {
    async fn list(&self, _request: &ListRequest) -> Result<Vec<ListEntry>> {
        let leave = self.store.hooks.enter(Call::List).await?;
        let mut subscribed = self.user.subscribed();
        let mut entries = self.user.tree.list(&subscribed);
        if let Some(shared) = &self.store.shared {
            entries.extend(shared.tree.list(&subscribed));
        }
        for entry in &entries {
            subscribed.remove(&entry.name);
        }
        // What is left are subscriptions to nothing.
        entries.extend(subscribed.into_iter().map(|name| {
            let mut entry = ListEntry::absent(name);
            entry.subscribed = true;
            entry
        }));
        leave.leave().await;
        Ok(entries)
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened> {
        let leave = self.store.hooks.enter(Call::Open).await?;
        let shelf = self.find(&request.name)?;
        let opened = {
            let mut state = shelf.look();
            // Deleted between the look at the name and this one.
            state.standing().map_err(|_| Error::NoSuchMailbox)?;
            if request.exclusive && state.leased {
                return Err(Error::InUse);
            }
            let access = if state.access == Access::ReadOnly { Access::ReadOnly } else { request.access };
            let mailbox = MemoryMailbox { shelf: Arc::clone(&shelf), access, hooks: Arc::clone(&self.store.hooks) };
            let mut opened = Opened::new(Arc::new(mailbox), state.snapshot(&shelf.id), access);
            opened.recent = state.recent(request.claim_recent);
            if request.exclusive {
                state.leased = true;
                opened.lease = Some(Box::new(Lease(Arc::clone(&shelf))));
            }
            opened
        };
        leave.leave().await;
        Ok(opened)
    }

    fn delimiter(&self) -> Option<char> {
        Some(DELIMITER)
    }

    fn namespaces(&self) -> Namespaces {
        self.store.namespaces.clone()
    }

    fn append_limit(&self) -> Option<u64> {
        self.store.append_limit
    }

    fn creates_special_use(&self) -> bool {
        true
    }

    async fn status(&self, request: StatusRequest) -> Result<Status> {
        let leave = self.store.hooks.enter(Call::Status).await?;
        let shelf = self.find(&request.mailbox)?;
        let status = {
            let state = shelf.look();
            state.standing().map_err(|_| Error::NoSuchMailbox)?;
            state.status()
        };
        leave.leave().await;
        Ok(status)
    }

    async fn create(&self, request: CreateRequest) -> Result<MailboxId> {
        let leave = self.store.hooks.enter(Call::Create).await?;
        let shelf = self.store.create(&self.user, request)?;
        leave.leave().await;
        Ok(shelf.id.clone())
    }

    async fn delete(&self, mailbox: &MailboxName) -> Result<()> {
        let leave = self.store.hooks.enter(Call::Delete).await?;
        self.store.tree(&self.user, mailbox).delete(mailbox)?;
        leave.leave().await;
        Ok(())
    }

    async fn rename(&self, request: RenameRequest) -> Result<()> {
        let leave = self.store.hooks.enter(Call::Rename).await?;
        self.store.rename(&self.user, &request.from, &request.to)?;
        leave.leave().await;
        Ok(())
    }

    async fn subscribe(&self, mailbox: &MailboxName, subscribed: bool) -> Result<()> {
        let leave = self.store.hooks.enter(Call::Subscribe).await?;
        {
            let mut names = self.user.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
            if !subscribed {
                names.remove(mailbox);
            } else if names.len() >= super::tree::MAX_MAILBOXES {
                return Err(Error::Limit("too many subscriptions".into()));
            } else {
                names.insert(mailbox.clone());
            }
        }
        leave.leave().await;
        Ok(())
    }

    async fn append(&self, request: AppendRequest) -> Result<Box<dyn Append>> {
        let leave = self.store.hooks.enter(Call::Append).await?;
        let shelf = self.target(&request.mailbox)?;
        leave.leave().await;
        Ok(Box::new(MemoryAppend::new(Arc::clone(&self.store), shelf)))
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied> {
        self.transfer(Call::Copy, request).await
    }

    async fn move_to(&self, request: CopyRequest) -> Result<Copied> {
        self.transfer(Call::Move, request).await
    }

    fn login_delay(&self) -> Option<&dyn LoginDelay> {
        self.has_login_delay()
    }

    fn expiry(&self) -> Option<Expiry> {
        self.has_expiry()
    }

    fn bulletins(&self) -> Option<&dyn Bulletins> {
        Some(self)
    }
}
