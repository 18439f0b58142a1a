//! Checks of COPY and MOVE.

use super::flags::store_flags;
use super::world::{Doing as _, Sample, Stop, World, copy_request, ensure, expunge, refused, rows, same};
use crate::backend::{Copied, Error, FetchData, Opened, StoreOp};
use crate::mail::{DateTime, Flags, MailboxName, SystemFlags, Uid, UidSet};

/// A mailbox with three messages of different flags and dates, and an empty one.
async fn two(world: &World) -> Result<(MailboxName, Opened, MailboxName), Stop> {
    let (from, to) = (world.mailbox().await?, world.mailbox().await?);
    let samples: Vec<_> =
        [(1, SystemFlags::SEEN), (2, SystemFlags::FLAGGED | SystemFlags::DRAFT), (3, SystemFlags::NONE)]
            .into_iter()
            .map(|(number, flags)| Sample {
                date: Some(DateTime::from_unix(1_000_000_000 + number as i64 * 86_400)),
                ..Sample::new(number).with(flags)
            })
            .collect();
    world.append(&from, &samples).await?;
    // The UIDs of the target differ from those of the source.
    world.append(&to, &Sample::several(2)).await?;
    let filler = world.select(&to).await?;
    expunge(&filler, UidSet::full()).await?;
    let opened = world.select(&from).await?;
    Ok((from, opened, to))
}

type Seen = Vec<(Flags, Option<i64>)>;

async fn seen(world: &World, name: &MailboxName) -> Result<Seen, Stop> {
    let opened = world.examine(name).await?;
    let data = FetchData { internal_date: true, ..FetchData::FLAGS };
    let rows = rows(&*opened.mailbox, &UidSet::full(), data).await?;
    Ok(rows.into_iter().map(|row| (row.flags, row.internal_date.map(DateTime::unix))).collect())
}

async fn check_pairs(world: &World, copied: &Copied, to: &MailboxName, sources: &[Uid]) -> Result<(), Stop> {
    let target = world.examine(to).await?;
    let (old, new): (Vec<Uid>, Vec<Uid>) = copied.pairs.iter().copied().unzip();
    same!(old, sources, "the old UIDs of the pairs");
    same!(copied.uid_validity, target.snapshot.uid_validity, "UIDVALIDITY of the pairs");
    for uid in &new {
        ensure!(target.snapshot.uids.contains(*uid), "the target has no message {uid}");
    }
    Ok(())
}

pub(super) async fn copy(world: &World) -> Result<(), Stop> {
    let (from, opened, to) = two(world).await?;
    let uids: Vec<Uid> = opened.snapshot.uids.iter().collect();
    let mut wanted = opened.snapshot.uids.clone();
    wanted.insert(Uid::MAX);
    let (contents, flags) = (world.contents(&from).await?, seen(world, &from).await?);
    let copied = world.account.copy(copy_request(&opened, wanted, &to)).await.doing("COPY")?;
    check_pairs(world, &copied, &to, &uids).await?;
    ensure!(world.contents(&to).await? == contents, "the copies' octets are not the originals', in their order");
    same!(seen(world, &to).await?, flags, "flags and dates of the copies");
    ensure!(world.contents(&from).await? == contents, "COPY has changed its source");
    // Copies are messages of their own.
    let target = world.select(&to).await?;
    store_flags(&target, UidSet::full(), StoreOp::Add, SystemFlags::DELETED).await?;
    same!(seen(world, &from).await?, flags, "flags of the originals after a STORE on the copies");
    let free = world.free_name()?;
    let missing = world.account.copy(copy_request(&opened, UidSet::full(), &free)).await;
    refused!(missing, Error::NoSuchMailbox, "COPY to a mailbox that is not there");
    ensure!(world.entry(&free).await?.is_none(), "a refused COPY has made a mailbox");
    let Some(first) = uids.first().copied() else { return Ok(()) };
    expunge(&opened, first).await?;
    let gone = world.account.copy(copy_request(&opened, first, &to)).await;
    refused!(gone, Error::Expunged, "COPY of a message that is gone");
    // Into the mailbox itself.
    let copied = world.account.copy(copy_request(&opened, UidSet::full(), &from)).await.doing("COPY to itself")?;
    same!(copied.pairs.len(), 2, "pairs of a COPY of two messages");
    let now = world.contents(&from).await?;
    ensure!(now.len() == 4 && now.get(..2) == now.get(2..), "a mailbox copied to itself is not there twice");
    Ok(())
}

pub(super) async fn moved(world: &World) -> Result<(), Stop> {
    let (from, opened, to) = two(world).await?;
    let uids: Vec<Uid> = opened.snapshot.uids.iter().collect();
    let (contents, flags) = (world.contents(&from).await?, seen(world, &from).await?);
    let [first, second, third] = uids[..] else { return Ok(()) };
    let request = copy_request(&opened, [first, third].into_iter().collect::<UidSet>(), &to);
    let moved = world.account.move_to(request).await.doing("MOVE")?;
    check_pairs(world, &moved, &to, &[first, third]).await?;
    same!(world.examine(&from).await?.snapshot.uids, UidSet::from(second), "messages left behind");
    let there = world.contents(&to).await?;
    ensure!(
        there.len() == 2 && there.first() == contents.first() && there.last() == contents.last(),
        "the octets of what was moved are not what they were"
    );
    let now = seen(world, &to).await?;
    ensure!(
        now.len() == 2 && now.first() == flags.first() && now.last() == flags.last(),
        "flags and dates of what was moved: {now:?}"
    );
    let gone = world.account.move_to(copy_request(&opened, first, &to)).await;
    refused!(gone, Error::Expunged, "MOVE of a message that is gone");
    let free = world.free_name()?;
    let missing = world.account.move_to(copy_request(&opened, second, &free)).await;
    refused!(missing, Error::NoSuchMailbox, "MOVE to a mailbox that is not there");
    same!(world.examine(&from).await?.snapshot.uids, UidSet::from(second), "messages after a refused MOVE");
    Ok(())
}
