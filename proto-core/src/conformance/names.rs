//! Checks of the mailboxes' names.

use std::collections::HashSet;

use super::world::{Doing as _, Sample, Stop, World, ensure, refused, same};
use crate::backend::{CreateRequest, Error, OpenRequest, RenameRequest, StatusItems, StatusRequest};
use crate::mail::{MailboxName, SpecialUse};

pub(super) async fn list(world: &World) -> Result<(), Stop> {
    if !world.subject.read_only {
        let parent = world.mailbox().await?;
        if let Ok(child) = world.below(&parent, "Child") {
            world.create(&child).await?;
        }
    }
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    for entry in world.list().await? {
        let name = entry.name;
        ensure!(names.insert(name.clone()), "{name} is listed twice");
        ensure!(entry.exists || !entry.selectable, "{name} can be selected and is not there");
        ensure!(entry.exists || entry.special_use.is_empty(), "{name} has a special use and is not there");
        match world.account.open(OpenRequest::examine(name.clone())).await {
            Ok(opened) => {
                ensure!(entry.selectable, "{name} can't be selected, but was opened");
                let id = opened.snapshot.id;
                ensure!(ids.insert(id.clone()), "{name} has the lasting name {id:?} of another mailbox");
            }
            Err(error) => ensure!(!entry.selectable, "{name} can be selected, but was not opened: {error:?}"),
        }
    }
    ensure!(names.contains(&MailboxName::inbox()), "there is no INBOX");
    Ok(())
}

pub(super) async fn missing(world: &World) -> Result<(), Stop> {
    let free = world.free_name()?;
    refused!(world.account.open(OpenRequest::select(free.clone())).await, Error::NoSuchMailbox, "SELECT of {free}");
    refused!(world.account.open(OpenRequest::examine(free.clone())).await, Error::NoSuchMailbox, "EXAMINE of {free}");
    let request = StatusRequest::new(free.clone(), StatusItems::default());
    refused!(world.account.status(request).await, Error::NoSuchMailbox, "STATUS of {free}");
    if world.subject.read_only {
        return Ok(());
    }
    refused!(world.account.delete(&free).await, Error::NoSuchMailbox | Error::NoPermission, "DELETE of {free}");
    let request = RenameRequest::new(free.clone(), world.free_name()?);
    refused!(world.account.rename(request).await, Error::NoSuchMailbox | Error::NoPermission, "RENAME of {free}");
    Ok(())
}

pub(super) async fn create_delete(world: &World) -> Result<(), Stop> {
    let account = &world.account;
    let name = world.mailbox().await?;
    let opened = world.select(&name).await?;
    ensure!(opened.snapshot.uids.is_empty(), "a new mailbox has messages");
    let again = account.create(CreateRequest::new(name.clone())).await;
    refused!(again, Error::AlreadyExists, "CREATE of a mailbox that is there");
    refused!(account.create(CreateRequest::new(MailboxName::inbox())).await, Error::AlreadyExists, "CREATE of INBOX");
    let entry = world.entry(&name).await?;
    ensure!(entry.is_some_and(|entry| entry.exists && entry.selectable), "a new mailbox is not listed");
    let given = world.append(&name, &Sample::several(3)).await?;
    account.delete(&name).await.doing("DELETE")?;
    let entry = world.entry(&name).await?;
    ensure!(entry.is_none_or(|entry| !entry.exists), "a deleted mailbox is listed");
    refused!(
        account.open(OpenRequest::select(name.clone())).await,
        Error::NoSuchMailbox,
        "SELECT of a deleted mailbox"
    );
    refused!(account.delete(&name).await, Error::NoSuchMailbox, "DELETE of a deleted mailbox");
    ensure!(account.delete(&MailboxName::inbox()).await.is_err(), "INBOX was deleted");
    world.select(&MailboxName::inbox()).await?;
    // Made again, it must not give the old messages' UIDs under their UIDVALIDITY.
    world.create(&name).await?;
    let new = world.select(&name).await?;
    ensure!(new.snapshot.uids.is_empty(), "a mailbox that was made again has messages");
    ensure!(new.snapshot.id != opened.snapshot.id, "a mailbox that was made again has its old lasting name");
    ensure!(
        new.snapshot.uid_validity != opened.snapshot.uid_validity || new.snapshot.uid_next > given.last().copied(),
        "a mailbox that was made again gives UIDs of before with the same UIDVALIDITY"
    );
    // Children outlive their parent.
    let Ok(child) = world.below(&name, "Child") else { return Ok(()) };
    world.create(&child).await?;
    world.append(&child, &Sample::several(1)).await?;
    match account.delete(&name).await {
        Ok(()) => {
            let entry = world.entry(&name).await?;
            ensure!(entry.is_none_or(|entry| !entry.selectable), "a deleted parent can be selected");
        }
        Err(Error::HasChildren) => {}
        Err(error) => return Err(Stop::Fail(format!("DELETE of a parent: {error:?}"))),
    }
    same!(world.contents(&child).await?.len(), 1, "messages of the child of a deleted mailbox");
    Ok(())
}

pub(super) async fn rename(world: &World) -> Result<(), Stop> {
    let account = &world.account;
    let (from, to) = (world.mailbox().await?, world.free_name()?);
    world.append(&from, &Sample::several(2)).await?;
    let before = world.select(&from).await?;
    let contents = world.contents(&from).await?;
    let child = world.below(&from, "Child").ok();
    if let Some(child) = &child {
        let grandchild = world.below(child, "Grandchild")?;
        world.create(child).await?;
        world.create(&grandchild).await?;
        world.append(&grandchild, &Sample::several(1)).await?;
    }
    let request = RenameRequest::new(from.clone(), to.clone());
    match account.rename(request).await {
        Err(Error::NoPermission | Error::Cannot(_)) => return Err(Stop::Skip("RENAME is not offered".to_owned())),
        other => other.doing("RENAME")?,
    }
    ensure!(world.entry(&from).await?.is_none_or(|entry| !entry.exists), "the old name is still there");
    ensure!(world.contents(&to).await? == contents, "the messages are not under the new name");
    let after = world.select(&to).await?;
    ensure!(
        after.snapshot.uid_validity != before.snapshot.uid_validity || after.snapshot.uids == before.snapshot.uids,
        "RENAME gave other UIDs under the same UIDVALIDITY"
    );
    if let Some(child) = child {
        let moved = world.below(&world.below(&to, "Child")?, "Grandchild")?;
        same!(world.contents(&moved).await?.len(), 1, "messages in the renamed grandchild");
        ensure!(world.entry(&child).await?.is_none_or(|entry| !entry.exists), "the child is still under its old name");
        let below_itself = RenameRequest::new(to.clone(), world.below(&to, "Deeper")?);
        ensure!(account.rename(below_itself).await.is_err(), "a mailbox was moved below itself");
        same!(world.contents(&moved).await?.len(), 1, "messages in the grandchild after a refused RENAME");
    }
    let other = world.mailbox().await?;
    let taken = account.rename(RenameRequest::new(other.clone(), to.clone())).await;
    refused!(taken, Error::AlreadyExists, "RENAME to a name that is taken");
    let taken = account.rename(RenameRequest::new(other.clone(), MailboxName::inbox())).await;
    refused!(taken, Error::AlreadyExists, "RENAME to INBOX");
    ensure!(world.contents(&to).await? == contents, "a refused RENAME has changed its target");
    world.select(&other).await?;
    // The old name is free.
    world.create(&from).await?;
    same!(world.contents(&from).await?.len(), 0, "messages of a new mailbox with the old name");
    Ok(())
}

pub(super) async fn rename_inbox(world: &World) -> Result<(), Stop> {
    let (inbox, to) = (MailboxName::inbox(), world.free_name()?);
    world.append(&inbox, &Sample::several(2)).await?;
    let contents = world.contents(&inbox).await?;
    match world.account.rename(RenameRequest::new(inbox.clone(), to.clone())).await {
        Err(Error::NoPermission | Error::Cannot(_)) => {
            return Err(Stop::Skip("RENAME of INBOX is not offered".to_owned()));
        }
        other => other.doing("RENAME of INBOX")?,
    }
    ensure!(world.contents(&to).await? == contents, "the messages of INBOX are not under the new name");
    same!(world.contents(&inbox).await?.len(), 0, "messages left in INBOX");
    let uids = world.append(&inbox, &Sample::several(1)).await?;
    same!(uids.len(), 1, "messages delivered to INBOX after its RENAME");
    Ok(())
}

pub(super) async fn subscriptions(world: &World) -> Result<(), Stop> {
    let account = &world.account;
    let (name, absent) = (world.mailbox().await?, world.free_name()?);
    match account.subscribe(&name, true).await {
        Err(Error::NoPermission | Error::Cannot(_)) => return Err(Stop::Skip("SUBSCRIBE is not offered".to_owned())),
        other => other.doing("SUBSCRIBE")?,
    }
    let subscribed = async |name: &MailboxName| -> Result<(bool, bool), Stop> {
        let entry = world.entry(name).await?;
        Ok(entry.map_or((false, false), |entry| (entry.subscribed, entry.exists)))
    };
    account.subscribe(&name, true).await.doing("SUBSCRIBE again")?;
    same!(subscribed(&name).await?, (true, true), "a mailbox: subscribed, there");
    match account.subscribe(&absent, true).await {
        Ok(()) => same!(subscribed(&absent).await?, (true, false), "a name without mailbox: subscribed, there"),
        // Allowed to a server (RFC 9051, section 6.3.7).
        Err(Error::NoSuchMailbox) => {}
        Err(error) => return Err(Stop::Fail(format!("SUBSCRIBE of a name without mailbox: {error:?}"))),
    }
    account.delete(&name).await.doing("DELETE")?;
    same!(subscribed(&name).await?, (true, false), "a deleted mailbox: subscribed, there");
    account.subscribe(&name, false).await.doing("UNSUBSCRIBE")?;
    same!(subscribed(&name).await?, (false, false), "a deleted mailbox after UNSUBSCRIBE: subscribed, there");
    let another = world.another_session().await?;
    world.create(&name).await?;
    another.subscribe(&name, true).await.doing("SUBSCRIBE by another session")?;
    same!(subscribed(&name).await?, (true, true), "a mailbox that another session subscribed to");
    Ok(())
}

pub(super) async fn special_use(world: &World) -> Result<(), Stop> {
    if !world.account.creates_special_use() {
        return Err(Stop::Skip("CREATE-SPECIAL-USE is not offered".to_owned()));
    }
    let name = world.free_name()?;
    let mut request = CreateRequest::new(name.clone());
    request.special_use = vec![SpecialUse::Archive];
    match world.account.create(request).await {
        Ok(_) => {}
        Err(Error::SpecialUse) => return Err(Stop::Skip("the account has an archive already".to_owned())),
        Err(error) => return Err(Stop::Fail(format!("CREATE with a special use: {error:?}"))),
    }
    let entry = world.entry(&name).await?;
    same!(entry.map(|entry| entry.special_use), Some(vec![SpecialUse::Archive]), "special use of the new mailbox");
    Ok(())
}
