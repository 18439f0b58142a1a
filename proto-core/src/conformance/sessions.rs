//! Checks with several sessions on one mailbox.

use bytes::Bytes;
use futures::future::join_all;

use super::patience::{eventually, is_ready, soon};
use super::world::{Doing as _, Sample, Stop, World, content, ensure, expunge, refused, rows, same};
use crate::backend::{
    Changes, ChangesRequest, Error, Fate, FetchData, FetchRequest, FinishRequest, Mailbox, OpenRequest, Opened,
    RenameRequest, StoreOp,
};
use crate::mail::{ModSeq, SystemFlags, Uid, UidSet};

/// All changes since a state, as one page.
pub(super) async fn changes(mailbox: &dyn Mailbox, since: ModSeq) -> Result<Changes, Stop> {
    mailbox.changes(ChangesRequest::new(since, usize::MAX)).await.doing("asking for changes")
}

/// Skips the check when the backend does not tell changes at all.
pub(super) async fn live(world: &World) -> Result<(), Stop> {
    let (name, opened) = world.filled(1).await?;
    world.append(&name, &Sample::several(1)).await?;
    let told = changes(&*opened.mailbox, opened.snapshot.modseq).await?;
    if told.arrived.is_empty() && told.modseq == opened.snapshot.modseq {
        return Err(Stop::Skip("the backend does not tell changes".to_owned()));
    }
    Ok(())
}

pub(super) async fn recent(world: &World) -> Result<(), Stop> {
    let name = world.mailbox().await?;
    world.append(&name, &Sample::several(3)).await?;
    let looked = world.examine(&name).await?;
    let first = world.select(&name).await?;
    if first.recent.is_empty() && looked.recent.is_empty() {
        return Err(Stop::Skip("the backend does not know which messages are recent".to_owned()));
    }
    same!(first.recent, first.snapshot.uids, "recent messages in the first session, after one that only looked");
    let second = world.select(&name).await?;
    ensure!(second.recent.is_empty(), "messages {} are recent in a second session", second.recent);
    let uids: UidSet = world.append(&name, &Sample::several(2)).await?.into_iter().collect();
    let mut claimed = UidSet::new();
    for opened in [&first, &second, &first, &second] {
        let mut request = ChangesRequest::new(opened.snapshot.modseq, 1);
        request.claim_recent = true;
        loop {
            let told = opened.mailbox.changes(request).await.doing("asking for changes")?;
            ensure!(!told.recent.intersects(&claimed), "messages {} are recent a second time", told.recent);
            ensure!(told.recent.is_subset(&told.arrived), "messages {} are recent, but not new", told.recent);
            claimed.union_with(&told.recent);
            if !told.more {
                break;
            }
            ensure!(told.modseq > request.since, "more changes are to come from {:?}, where we are", told.modseq);
            request.since = told.modseq;
        }
    }
    let last = world.select(&name).await?;
    claimed.union_with(&last.recent);
    same!(claimed, uids, "new messages that were recent once");
    Ok(())
}

pub(super) async fn maildrop(world: &World) -> Result<(), Stop> {
    let (name, _) = world.filled(2).await?;
    let open = || world.account.open(OpenRequest::maildrop(name.clone()));
    let before = world.select(&name).await?;
    let held = open().await.doing("opening a maildrop")?;
    refused!(open().await, Error::InUse, "opening a maildrop that is held");
    let another = world.another_session().await?;
    let second = another.open(OpenRequest::maildrop(name.clone())).await;
    refused!(second, Error::InUse, "opening a maildrop that is held by another session");
    drop(second);
    world.select(&name).await?;
    expunge(&before, before.snapshot.uids.last().map_or_else(UidSet::new, UidSet::from)).await?;
    content(&*held.mailbox, before.snapshot.uids.first().unwrap_or(Uid::MIN)).await?;
    drop(held);
    eventually!(world, async { open().await.doing("opening a maildrop that was given up").map(|_| ()) })?;
    Ok(())
}

pub(super) async fn finish(world: &World) -> Result<(), Stop> {
    let (name, _) = world.filled(4).await?;
    let held = world.account.open(OpenRequest::maildrop(name.clone())).await.doing("opening a maildrop")?;
    let uids: Vec<Uid> = held.snapshot.uids.iter().collect();
    let [first, second, third, _] = uids[..] else { return Ok(()) };
    let elsewhere = world.select(&name).await?;
    expunge(&elsewhere, second).await?;
    let delete: UidSet = [first, second].into_iter().collect();
    let request = FinishRequest::new(UidSet::from(third), delete, 1_000_000_000);
    let finished = held.mailbox.finish(request).await.doing("finishing")?;
    same!(finished.removed, UidSet::from(first), "messages removed at the end");
    drop(held);
    let left: UidSet = uids.get(2..).unwrap_or_default().iter().copied().collect();
    same!(world.examine(&name).await?.snapshot.uids, left, "messages left");
    Ok(())
}

pub(super) async fn remember(world: &World) -> Result<(), Stop> {
    let (_, opened) = world.filled(3).await?;
    let summary = |uid: Uid| Bytes::from(format!("summary of {uid}\0\r\n\u{ff}"));
    opened.mailbox.remember(Uid::MAX, Bytes::from_static(b"of nothing")).await;
    let some: Vec<Uid> = opened.snapshot.uids.iter().take(2).collect();
    for uid in &some {
        opened.mailbox.remember(*uid, Bytes::from_static(b"an older one")).await;
        opened.mailbox.remember(*uid, summary(*uid)).await;
    }
    let data = FetchData { summary: true, ..FetchData::default() };
    for row in rows(&*opened.mailbox, &UidSet::full(), data).await? {
        match row.summary {
            None => {}
            Some(told) if some.contains(&row.uid) => same!(told, summary(row.uid), "summary of {}", row.uid),
            Some(told) => return Err(Stop::Fail(format!("message {} has the summary {told:?} of none", row.uid))),
        }
    }
    let told = changes(&*opened.mailbox, opened.snapshot.modseq).await?;
    ensure!(told.changed.is_empty(), "a summary counts as a change of the message");
    Ok(())
}

pub(super) async fn deleted(world: &World) -> Result<(), Stop> {
    live(world).await?;
    let (name, opened) = world.filled(2).await?;
    let Some(uid) = opened.snapshot.uids.first() else { return Ok(()) };
    world.account.delete(&name).await.doing("DELETE")?;
    world.create(&name).await?;
    world.append(&name, &Sample::several(2)).await?;
    ensure!(
        soon(opened.mailbox.changed(opened.snapshot.modseq)).await.is_some(),
        "who waits for changes is not told that the mailbox was deleted"
    );
    let told = changes(&*opened.mailbox, opened.snapshot.modseq).await?;
    ensure!(matches!(told.fate, Fate::Deleted | Fate::Recreated), "the fate of a deleted mailbox is {:?}", told.fate);
    // None of this may reach the new mailbox of that name.
    refused!(opened.mailbox.message(uid).await, Error::MailboxGone, "opening a message of a deleted mailbox");
    let fetched = opened.mailbox.fetch(FetchRequest::new(UidSet::full(), FetchData::FLAGS)).await;
    if let Ok(mut rows) = fetched {
        let mut batch = crate::backend::Batch::new(10, 1000);
        refused!(rows.next(&mut batch).await, Error::MailboxGone, "reading rows of a deleted mailbox");
        ensure!(batch.is_empty(), "a deleted mailbox has rows");
    }
    let request = crate::backend::StoreRequest::new(UidSet::full(), StoreOp::Add, SystemFlags::DELETED.into());
    refused!(opened.mailbox.store(request).await, Error::MailboxGone, "STORE in a deleted mailbox");
    let request = crate::backend::ExpungeRequest { uids: UidSet::full(), only_deleted: false };
    refused!(opened.mailbox.expunge(request).await, Error::MailboxGone, "EXPUNGE in a deleted mailbox");
    let truth = world.truth(&name).await?;
    ensure!(
        truth.len() == 2 && truth.values().all(crate::mail::Flags::is_empty),
        "a handle on a deleted mailbox reached the new one of that name: {truth:?}"
    );
    Ok(())
}

pub(super) async fn renamed(world: &World) -> Result<(), Stop> {
    live(world).await?;
    let (name, opened) = world.filled(2).await?;
    let to = world.free_name()?;
    match world.account.rename(RenameRequest::new(name.clone(), to.clone())).await {
        Err(Error::NoPermission | Error::Cannot(_)) => return Err(Stop::Skip("RENAME is not offered".to_owned())),
        other => other.doing("RENAME")?,
    }
    world.create(&name).await?;
    let told = changes(&*opened.mailbox, opened.snapshot.modseq).await?;
    match told.fate {
        // A backend may not be able to tell, but then the handle still goes on working.
        Fate::Renamed(told) => same!(told, to, "the new name that a handle tells"),
        Fate::Stands => {}
        other => return Err(Stop::Fail(format!("the fate of a renamed mailbox is {other:?}"))),
    }
    let Some(uid) = opened.snapshot.uids.first() else { return Ok(()) };
    super::flags::store_flags(&opened, uid, StoreOp::Add, SystemFlags::FLAGGED).await?;
    content(&*opened.mailbox, uid).await?;
    let truth = world.truth(&to).await?;
    ensure!(
        truth.values().any(|flags| flags.system.contains(SystemFlags::FLAGGED)),
        "a STORE after RENAME did not reach the mailbox under its new name"
    );
    same!(world.truth(&name).await?.len(), 0, "messages in the new mailbox of the old name");
    Ok(())
}

pub(super) async fn open_message(world: &World) -> Result<(), Stop> {
    let (name, opened) = world.filled(2).await?;
    let Some(uid) = opened.snapshot.uids.first() else { return Ok(()) };
    let expected = content(&*opened.mailbox, uid).await?;
    let mut message = opened.mailbox.message(uid).await.doing("opening a message")?;
    let mut read = message.read(0, 10).await.doing("reading a message")?.to_vec();
    expunge(&opened, uid).await?;
    world.account.delete(&name).await.doing("DELETE")?;
    while (read.len() as u64) < message.len() {
        let piece = message.read(read.len() as u64, 10).await.doing("reading a removed message")?;
        ensure!(!piece.is_empty(), "a removed message ends after {} octets", read.len());
        read.extend_from_slice(&piece);
    }
    ensure!(read == expected, "an open message changed when it was removed");
    Ok(())
}

pub(super) async fn changed(world: &World) -> Result<(), Stop> {
    live(world).await?;
    let (name, opened) = world.filled(1).await?;
    let since = latest(&opened).await?;
    ensure!(!is_ready(opened.mailbox.changed(since)).await, "who waits is woken, but nothing has changed");
    let another = world.select(&name).await?;
    // Some give up, the others wait on.
    for _ in 0..10 {
        is_ready(opened.mailbox.changed(since)).await;
    }
    let waiters = (0..100)
        .map(|number| if number % 2 == 0 { opened.mailbox.changed(since) } else { another.mailbox.changed(since) });
    let appending = async {
        // After the others have begun to wait.
        super::patience::pause(std::time::Duration::from_millis(20)).await;
        world.append(&name, &Sample::several(1)).await
    };
    let (woken, appended) = futures::future::join(soon(join_all(waiters)), appending).await;
    appended?;
    ensure!(woken.is_some(), "not everyone who waited was woken by an APPEND");
    ensure!(soon(opened.mailbox.changed(since)).await.is_some(), "who comes late is not told of a change");
    // Each kind of change wakes.
    let uids = opened.snapshot.uids.clone();
    let since = latest(&opened).await?;
    super::flags::store_flags(&another, uids.clone(), StoreOp::Add, SystemFlags::SEEN).await?;
    ensure!(soon(opened.mailbox.changed(since)).await.is_some(), "nobody is woken by a STORE");
    let told = changes(&*opened.mailbox, since).await?;
    same!(told.changed.iter().map(|row| row.uid).collect::<UidSet>(), uids, "messages whose flags changed");
    let since = latest(&opened).await?;
    expunge(&another, uids.clone()).await?;
    ensure!(soon(opened.mailbox.changed(since)).await.is_some(), "nobody is woken by an EXPUNGE");
    let told = changes(&*opened.mailbox, since).await?;
    let gone: UidSet = told.expunged.iter().map(|(uid, _)| *uid).collect();
    ensure!(gone == uids || told.present.is_some(), "messages told as removed: {gone}, expected {uids}");
    let since = latest(&opened).await?;
    ensure!(!is_ready(opened.mailbox.changed(since)).await, "who waits is woken, but nothing more has changed");
    Ok(())
}

/// The state after all that has happened so far.
async fn latest(opened: &Opened) -> Result<ModSeq, Stop> {
    let mut since = opened.snapshot.modseq;
    loop {
        let told = changes(&*opened.mailbox, since).await?;
        ensure!(told.modseq >= since, "changes since {since} lead back to {}", told.modseq);
        since = told.modseq;
        if !told.more {
            return Ok(since);
        }
    }
}
