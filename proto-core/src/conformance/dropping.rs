//! Changing calls that are dropped at every point where they wait.
//!
//! Each of these polls a call once, twice and so on, drops it, and looks at what has happened, until the call ends by
//! itself.

use std::collections::BTreeMap;

use super::patience::{dropped_after, eventually};
use super::world::{Doing as _, Sample, Stop, World, copy_request, ensure, same, try_append};
use crate::backend::{
    CreateRequest, Error, ExpungeRequest, FinishRequest, OpenRequest, Opened, RenameRequest, StoreOp, StoreRequest,
};
use crate::mail::{Flags, MailboxName, SystemFlags, Uid, UidSet};

/// A call that waits more often than this is let run.
pub(super) const MOST_POLLS: usize = 300;

/// Looks at what a dropped call has done, and says where it was dropped if that is wrong.
macro_rules! whole {
    ($world:expr, $polls:expr, $check:expr) => {
        eventually!($world, async { $check }).map_err(|stop| match stop {
            Stop::Fail(what) => Stop::Fail(format!("dropped after {} polls: {what}", $polls)),
            skip => skip,
        })
    };
}

/// Which of the samples a mailbox has; fails when it has others, or one twice.
async fn present(world: &World, name: &MailboxName, samples: &[Sample]) -> Result<Vec<bool>, Stop> {
    let mut present = vec![false; samples.len()];
    for content in world.contents(name).await? {
        let found = samples.iter().position(|sample| sample.content == content);
        let Some(place) = found.and_then(|found| present.get_mut(found)) else {
            return Err(Stop::Fail(format!("{name} has a message of {} octets that nobody stored", content.len())));
        };
        ensure!(!*place, "{name} has a message twice");
        *place = true;
    }
    Ok(present)
}

fn all_or_none(what: &str, present: &[bool], completed: bool) -> Result<(), Stop> {
    let (all, none) = (present.iter().all(|there| *there), present.iter().all(|there| !*there));
    ensure!(all || none, "{what}: of several messages some are there, {present:?}");
    ensure!(all || !completed, "{what}: it succeeded, but nothing is there");
    Ok(())
}

/// What a completed call answered; an error of it fails the check.
fn answered<T>(what: &str, done: Option<Result<T, Error>>) -> Result<bool, Stop> {
    match done {
        None => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) => Err(Stop::Fail(format!("{what}: {error:?}"))),
    }
}

pub(super) async fn append(world: &World) -> Result<(), Stop> {
    let samples = Sample::several(3);
    for polls in 0..MOST_POLLS {
        let name = world.mailbox().await?;
        let done = dropped_after(polls, try_append(&*world.account, &name, &samples, None)).await;
        let completed = answered("APPEND", done)?;
        whole!(world, polls, all_or_none("APPEND", &present(world, &name, &samples).await?, completed))?;
        // Nothing stands in the way of the next one.
        world.append(&name, &[Sample::new(50)]).await?;
        if completed {
            break;
        }
    }
    Ok(())
}

pub(super) async fn replace(world: &World) -> Result<(), Stop> {
    let samples = Sample::several(2);
    for polls in 0..MOST_POLLS {
        let (name, opened) = world.filled(1).await?;
        let done = {
            let new = samples.get(1..).unwrap_or_default();
            dropped_after(polls, try_append(&*world.account, &name, new, opened.snapshot.uids.first())).await
        };
        if let Some(Err(Error::Cannot(_) | Error::NoPermission)) = done {
            return Err(Stop::Skip("REPLACE is not offered".to_owned()));
        }
        let completed = answered("REPLACE", done)?;
        whole!(world, polls, {
            let present = present(world, &name, &samples).await?;
            ensure!(
                present == [true, false] || present == [false, true],
                "of old and new message are there {present:?}"
            );
            ensure!(!completed || present == [false, true], "REPLACE succeeded, but the old message is there");
            Ok(())
        })?;
        if completed {
            break;
        }
    }
    Ok(())
}

pub(super) async fn copy(world: &World) -> Result<(), Stop> {
    let samples = Sample::several(3);
    for polls in 0..MOST_POLLS {
        let (from, opened) = world.filled(3).await?;
        let to = world.mailbox().await?;
        let done = dropped_after(polls, world.account.copy(copy_request(&opened, UidSet::full(), &to))).await;
        let completed = answered("COPY", done)?;
        whole!(world, polls, {
            all_or_none("COPY", &present(world, &to, &samples).await?, completed)?;
            same!(present(world, &from, &samples).await?, [true; 3], "what is there of the originals");
            Ok(())
        })?;
        if completed {
            break;
        }
    }
    Ok(())
}

pub(super) async fn moved(world: &World) -> Result<(), Stop> {
    let samples = Sample::several(3);
    for polls in 0..MOST_POLLS {
        let (from, opened) = world.filled(3).await?;
        let to = world.mailbox().await?;
        let done = dropped_after(polls, world.account.move_to(copy_request(&opened, UidSet::full(), &to))).await;
        let completed = answered("MOVE", done)?;
        whole!(world, polls, {
            let (here, there) = (present(world, &from, &samples).await?, present(world, &to, &samples).await?);
            for (here, there) in here.iter().zip(&there) {
                ensure!(*here || *there, "a message is in neither mailbox");
                ensure!(!(*here && *there), "a message is in both mailboxes");
                ensure!(*there || !completed, "MOVE succeeded, but a message was not moved");
            }
            Ok(())
        })?;
        if completed {
            break;
        }
    }
    Ok(())
}

/// What a session that was there before is told must lead to what is there now.
async fn told_all(
    world: &World,
    name: &MailboxName,
    before: &Opened,
    known: &BTreeMap<Uid, Flags>,
) -> Result<(), Stop> {
    let told = super::sessions::changes(&*before.mailbox, before.snapshot.modseq).await?;
    let mut view = known.clone();
    if let Some(present) = told.present {
        view.retain(|uid, _| present.contains(*uid));
    }
    told.expunged.iter().for_each(|(uid, _)| drop(view.remove(uid)));
    view.extend(told.changed.into_iter().map(|row| (row.uid, row.flags)));
    same!(view, world.truth(name).await?, "what a session was told, against what is there");
    Ok(())
}

pub(super) async fn store(world: &World) -> Result<(), Stop> {
    let live = super::sessions::live(world).await.is_ok();
    for polls in 0..MOST_POLLS {
        let (name, opened) = world.filled(4).await?;
        super::flags::store_flags(&opened, UidSet::full(), StoreOp::Add, SystemFlags::SEEN).await?;
        let known = world.truth(&name).await?;
        let opened = world.select(&name).await?;
        let new = SystemFlags::FLAGGED | SystemFlags::ANSWERED;
        let request = StoreRequest::new(opened.snapshot.uids.clone(), StoreOp::Replace, new.into());
        let completed = answered("STORE", dropped_after(polls, opened.mailbox.store(request)).await)?;
        whole!(world, polls, {
            let truth = world.truth(&name).await?;
            same!(truth.len(), 4, "messages after STORE");
            for (uid, flags) in &truth {
                let (old, new) = (Flags::from(SystemFlags::SEEN), Flags::from(new));
                ensure!(*flags == new || *flags == old, "message {uid} has the flags {flags:?}");
                ensure!(*flags == new || !completed, "STORE succeeded, but message {uid} has the flags {flags:?}");
            }
            if live {
                told_all(world, &name, &opened, &known).await?;
            }
            Ok(())
        })?;
        if completed {
            break;
        }
    }
    Ok(())
}

pub(super) async fn expunge(world: &World) -> Result<(), Stop> {
    let live = super::sessions::live(world).await.is_ok();
    for polls in 0..MOST_POLLS {
        let samples = Sample::several(4);
        let (name, opened) = world.filled(4).await?;
        let uids: UidSet = opened.snapshot.uids.iter().take(3).collect();
        super::flags::store_flags(&opened, uids, StoreOp::Add, SystemFlags::DELETED).await?;
        let known = world.truth(&name).await?;
        let opened = world.select(&name).await?;
        let request = ExpungeRequest { uids: UidSet::full(), only_deleted: true };
        let completed = answered("EXPUNGE", dropped_after(polls, opened.mailbox.expunge(request)).await)?;
        whole!(world, polls, {
            // Those that are there can be read, too.
            let present = present(world, &name, &samples).await?;
            ensure!(present.last() == Some(&true), "a message without \\Deleted is gone");
            ensure!(!completed || present == [false, false, false, true], "EXPUNGE succeeded, but left {present:?}");
            if live {
                told_all(world, &name, &opened, &known).await?;
            }
            Ok(())
        })?;
        if completed {
            break;
        }
    }
    Ok(())
}

pub(super) async fn finish(world: &World) -> Result<(), Stop> {
    let samples = Sample::several(3);
    for polls in 0..MOST_POLLS {
        let (name, _) = world.filled(3).await?;
        let open = || world.account.open(OpenRequest::maildrop(name.clone()));
        let held = open().await.doing("opening a maildrop")?;
        let delete: UidSet = held.snapshot.uids.iter().take(2).collect();
        let request = FinishRequest::new(held.snapshot.uids.clone(), delete, 1_000_000_000);
        let completed = answered("finishing", dropped_after(polls, held.mailbox.finish(request)).await)?;
        drop(held);
        whole!(world, polls, {
            let present = present(world, &name, &samples).await?;
            ensure!(present.last() == Some(&true), "a message that was not marked is gone");
            ensure!(!completed || present == [false, false, true], "it succeeded, but left {present:?}");
            // The maildrop is free again.
            open().await.doing("opening the maildrop again").map(|_| ())
        })?;
        if completed {
            break;
        }
    }
    Ok(())
}

pub(super) async fn subscribe(world: &World) -> Result<(), Stop> {
    for subscribed in [true, false] {
        for polls in 0..MOST_POLLS {
            let name = world.mailbox().await?;
            if !subscribed {
                world.account.subscribe(&name, true).await.doing("SUBSCRIBE")?;
            }
            let done = dropped_after(polls, world.account.subscribe(&name, subscribed)).await;
            if let Some(Err(Error::Cannot(_) | Error::NoPermission)) = done {
                return Err(Stop::Skip("SUBSCRIBE is not offered".to_owned()));
            }
            let completed = answered("SUBSCRIBE", done)?;
            whole!(world, polls, {
                let told = world.entry(&name).await?.is_some_and(|entry| entry.exists && entry.subscribed);
                ensure!(!completed || told == subscribed, "it succeeded, but the mailbox is subscribed: {told}");
                Ok(())
            })?;
            if completed {
                break;
            }
        }
    }
    Ok(())
}

async fn is_there(world: &World, name: &MailboxName) -> Result<bool, Stop> {
    let opens = match world.account.open(OpenRequest::examine(name.clone())).await {
        Ok(_) => true,
        Err(Error::NoSuchMailbox) => false,
        Err(error) => return Err(Stop::Fail(format!("opening {name}: {error:?}"))),
    };
    let listed = world.entry(name).await?.is_some_and(|entry| entry.selectable);
    same!(listed, opens, "whether {name} is listed, against whether it can be opened");
    Ok(opens)
}

pub(super) async fn create_delete(world: &World) -> Result<(), Stop> {
    world.mailbox().await?;
    for polls in 0..MOST_POLLS {
        let name = world.free_name()?;
        let done = dropped_after(polls, world.account.create(CreateRequest::new(name.clone()))).await;
        let completed = answered("CREATE", done)?;
        whole!(world, polls, {
            let there = is_there(world, &name).await?;
            ensure!(there || !completed, "CREATE succeeded, but {name} is not there");
            Ok(())
        })?;
        // Whichever it was, the name is not lost.
        match world.account.create(CreateRequest::new(name.clone())).await {
            Ok(_) | Err(Error::AlreadyExists) => {}
            Err(error) => return Err(Stop::Fail(format!("CREATE after one that was dropped: {error:?}"))),
        }
        world.append(&name, &Sample::several(1)).await?;
        if completed {
            break;
        }
    }
    for polls in 0..MOST_POLLS {
        let (name, _) = world.filled(2).await?;
        let completed = answered("DELETE", dropped_after(polls, world.account.delete(&name)).await)?;
        whole!(world, polls, {
            if is_there(world, &name).await? {
                ensure!(!completed, "DELETE succeeded, but {name} is there");
                same!(world.contents(&name).await?.len(), 2, "messages of a mailbox whose DELETE was dropped");
            }
            Ok(())
        })?;
        if completed {
            break;
        }
    }
    Ok(())
}

pub(super) async fn rename(world: &World) -> Result<(), Stop> {
    for polls in 0..MOST_POLLS {
        let (from, _) = world.filled(2).await?;
        let to = world.free_name()?;
        let child = world.below(&from, "Child").ok();
        if let Some(child) = &child {
            world.create(child).await?;
            world.append(child, &Sample::several(1)).await?;
        }
        let request = RenameRequest::new(from.clone(), to.clone());
        let done = dropped_after(polls, world.account.rename(request)).await;
        if let Some(Err(Error::Cannot(_) | Error::NoPermission)) = done {
            return Err(Stop::Skip("RENAME is not offered".to_owned()));
        }
        let completed = answered("RENAME", done)?;
        whole!(world, polls, {
            let (old, new) = (is_there(world, &from).await?, is_there(world, &to).await?);
            ensure!(old != new, "the old name is there: {old}, the new one: {new}");
            ensure!(new || !completed, "RENAME succeeded, but {to} is not there");
            let now = if new { &to } else { &from };
            same!(world.contents(now).await?.len(), 2, "messages of a mailbox whose RENAME was dropped");
            if child.is_some() {
                let child = world.below(now, "Child")?;
                same!(world.contents(&child).await?.len(), 1, "messages of the child of that mailbox");
                let other = world.below(if new { &from } else { &to }, "Child")?;
                ensure!(!is_there(world, &other).await?, "the child is there under both names");
            }
            Ok(())
        })?;
        if completed {
            break;
        }
    }
    Ok(())
}
