//! Checks of APPEND.

use bytes::Bytes;

use super::world::{Doing as _, Sample, Stop, World, content, ensure, expunge, refused, rows, same, try_append};
use crate::backend::{AppendMessage, AppendRequest, CommitOptions, Error, FetchData};
use crate::mail::{DateTime, Flags, SystemFlags, Uid, UidSet};

fn long(octets: usize) -> Vec<u8> {
    let mut content = b"Subject: long\r\n\r\n".to_vec();
    let mut line = 0_u32;
    while content.len() < octets {
        content.extend_from_slice(format!("Line {line} of a long message, with an umlaut: \u{fc}.\r\n").as_bytes());
        line += 1;
    }
    content
}

pub(super) async fn stores(world: &World) -> Result<(), Stop> {
    let name = world.mailbox().await?;
    let date = DateTime::from_unix_at(1_234_567_890, 120).unwrap_or_else(|_| DateTime::from_unix(0));
    let mut latin = b"Subject: octets\r\n\r\n".to_vec();
    latin.extend((1..=255).filter(|octet| !b"\r\n".contains(octet)));
    let contents: [Vec<u8>; 6] = [
        b"Subject: no body\r\n\r\n".to_vec(),
        b"Subject: no line end\r\n\r\nlast line".to_vec(),
        b"From lines\r\nFrom: x@example.org\r\n\r\nFrom here\r\n>From there\r\n.\r\n..\r\n".to_vec(),
        latin,
        long(300_000),
        b"x".to_vec(),
    ];
    let mut last = None;
    for (number, content) in contents.into_iter().enumerate() {
        let flags = Flags::from(SystemFlags::from_bits(1 << number.min(4)));
        let sample = Sample { content, flags, date: Some(date) };
        let uids = world.append(&name, std::slice::from_ref(&sample)).await?;
        let [uid] = uids[..] else { return Err(Stop::Fail(format!("one message was given the UIDs {uids:?}"))) };
        ensure!(Some(uid) > last, "UID {uid} was given after {last:?}");
        last = Some(uid);
        let opened = world.examine(&name).await?;
        let stored = content_of(world, &name, uid).await?;
        ensure!(
            stored == sample.content,
            "message {number} of {} octets was stored as {} others",
            sample.content.len(),
            stored.len()
        );
        let data = FetchData { internal_date: true, ..FetchData::FLAGS };
        let rows = rows(&*opened.mailbox, &uid.into(), data).await?;
        let Some(row) = rows.first() else { return Err(Stop::Fail("the message has no row".to_owned())) };
        same!(row.flags, sample.flags, "flags of message {number}");
        same!(row.internal_date.map(DateTime::unix), Some(date.unix()), "internal date of message {number}");
    }
    let opened = world.examine(&name).await?;
    same!(opened.snapshot.uids.count(), 6, "messages after six appends");
    let (free, sample) = (world.free_name()?, Sample::new(1));
    let missing = try_append(&*world.account, &free, &[sample], None).await;
    refused!(missing, Error::NoSuchMailbox, "appending to a mailbox that is not there");
    ensure!(world.entry(&free).await?.is_none(), "a refused APPEND has made a mailbox");
    Ok(())
}

async fn content_of(world: &World, name: &crate::mail::MailboxName, uid: Uid) -> Result<Vec<u8>, Stop> {
    let opened = world.examine(name).await?;
    content(&*opened.mailbox, uid).await
}

pub(super) async fn several(world: &World) -> Result<(), Stop> {
    let (name, watching) = world.filled(2).await?;
    let samples: Vec<_> = (10..15).map(|number| Sample::new(number).with(SystemFlags::SEEN)).collect();
    let appended = try_append(&*world.account, &name, &samples, None).await.doing("appending")?;
    same!(appended.uids.len(), samples.len(), "UIDs of five messages");
    ensure!(appended.uids.is_sorted(), "the UIDs {:?} don't ascend", appended.uids);
    same!(appended.uid_validity, watching.snapshot.uid_validity, "UIDVALIDITY that APPEND tells");
    let contents = world.contents(&name).await?;
    let expected: Vec<_> = Sample::several(2).into_iter().chain(samples).map(|sample| sample.content).collect();
    ensure!(contents == expected, "the messages are not in the order in which they were added");
    let none = try_append(&*world.account, &name, &[], None).await;
    if let Ok(none) = none {
        ensure!(none.uids.is_empty(), "no message was given the UIDs {:?}", none.uids);
    }
    same!(world.contents(&name).await?.len(), expected.len(), "messages after adding none");
    Ok(())
}

pub(super) async fn dropped(world: &World) -> Result<(), Stop> {
    let (name, opened) = world.filled(1).await?;
    let sample = Sample::new(7);
    for steps in 0..4 {
        let mut append = world.account.append(AppendRequest::new(name.clone())).await.doing("APPEND")?;
        let message = || AppendMessage::new(sample.content.len() as u64, Flags::NONE, None);
        if steps > 0 {
            append.begin(message()).await.doing("beginning a message")?;
        }
        if steps > 1 {
            append.write(Bytes::from(sample.content.clone())).await.doing("writing a message")?;
        }
        if steps > 2 {
            append.begin(message()).await.doing("beginning a second message")?;
        }
        drop(append);
        let now = world.examine(&name).await?;
        same!(now.snapshot.uids, opened.snapshot.uids, "messages after {steps} steps of an append without its commit");
    }
    let mut append = world.account.append(AppendRequest::new(name.clone())).await.doing("APPEND")?;
    append.begin(AppendMessage::new(1, Flags::NONE, None)).await.doing("beginning a message")?;
    append.write(Bytes::from_static(b"x")).await.doing("writing a message")?;
    let appended = append.commit(CommitOptions::default()).await.doing("committing")?;
    same!(appended.uids.len(), 1, "messages of the commit after all");
    Ok(())
}

pub(super) async fn replace(world: &World) -> Result<(), Stop> {
    let (name, opened) = world.filled(3).await?;
    let Some(old) = opened.snapshot.uids.nth(1) else { return Ok(()) };
    let new = Sample::new(99);
    let replaced = try_append(&*world.account, &name, std::slice::from_ref(&new), Some(old)).await;
    let appended = match replaced {
        Err(Error::Cannot(_) | Error::NoPermission) => return Err(Stop::Skip("REPLACE is not offered".to_owned())),
        other => other.doing("REPLACE")?,
    };
    let now = world.examine(&name).await?;
    let mut expected = opened.snapshot.uids.clone();
    expected.remove(old);
    expected.extend(appended.uids.clone());
    same!(now.snapshot.uids, expected, "messages after REPLACE");
    let gone = try_append(&*world.account, &name, &[new], Some(old)).await;
    ensure!(gone.is_err(), "REPLACE of a message that is gone succeeded");
    same!(world.examine(&name).await?.snapshot.uids, expected, "messages after a refused REPLACE");
    Ok(())
}

pub(super) async fn limit(world: &World) -> Result<(), Stop> {
    let Some(limit) = world.account.append_limit() else { return Err(Stop::Skip("no limit is told".to_owned())) };
    let Some(more) = limit.checked_add(1) else { return Ok(()) };
    let name = world.mailbox().await?;
    let mut append = world.account.append(AppendRequest::new(name.clone())).await.doing("APPEND")?;
    let begun = append.begin(AppendMessage::new(more, Flags::NONE, None)).await;
    refused!(begun, Error::TooBig, "beginning a message of {more} octets, over the limit");
    drop(append);
    same!(world.contents(&name).await?.len(), 0, "messages after a refused one");
    Ok(())
}

pub(super) async fn uids(world: &World) -> Result<(), Stop> {
    let (name, opened) = world.filled(3).await?;
    let mut given: Vec<Uid> = opened.snapshot.uids.iter().collect();
    for round in 0..4_usize {
        let next = world.examine(&name).await?.snapshot.uid_next;
        // Take the last one away, or all.
        let uids =
            if round % 2 == 0 { given.last().map_or_else(UidSet::new, |uid| (*uid).into()) } else { UidSet::full() };
        expunge(&opened, uids).await?;
        let after = world.examine(&name).await?;
        same!(after.snapshot.uid_next, next, "UIDNEXT after an EXPUNGE");
        same!(after.snapshot.uid_validity, opened.snapshot.uid_validity, "UIDVALIDITY after an EXPUNGE");
        let new = world.append(&name, &Sample::several(2)).await?;
        ensure!(new.first().copied() >= next, "UID {:?} was given when UIDNEXT was {next:?}", new.first());
        ensure!(new.first() > given.last(), "UID {:?} was given after {:?}", new.first(), given.last());
        given.extend(new);
    }
    Ok(())
}
