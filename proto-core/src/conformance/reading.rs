//! Checks that only read.

use std::collections::HashSet;

use super::world::{Doing as _, Stop, World, content, ensure, ordered_rows, refused, rows, same};
use crate::backend::{Error, FetchData, FetchRequest, Query, Row, SearchRequest, StatusItems, StatusRequest, StoreOp};
use crate::mail::{SystemFlags, Uid, UidSet};

pub(super) async fn snapshot(world: &World) -> Result<(), Stop> {
    let opened = world.some_mailbox().await?;
    let snapshot = &opened.snapshot;
    let rows = rows(&*opened.mailbox, &UidSet::full(), FetchData::FLAGS).await?;
    let uids: UidSet = rows.iter().map(|row| row.uid).collect();
    same!(uids, snapshot.uids, "UIDs of the rows, against the snapshot");
    if let (Some(next), Some(last)) = (snapshot.uid_next, snapshot.uids.last()) {
        ensure!(next > last, "UIDNEXT {next} is not larger than the largest UID {last}");
    }
    for row in &rows {
        for keyword in &row.flags.keywords {
            ensure!(snapshot.keywords.contains(keyword), "keyword {keyword} of message {} is not in the list", row.uid);
        }
        if snapshot.modseqs {
            ensure!(row.modseq.get() > 0, "message {} has no mod-sequence", row.uid);
            ensure!(row.modseq <= snapshot.modseq, "message {} has a later mod-sequence than its mailbox", row.uid);
        }
    }
    if let Some(first) = snapshot.first_unseen {
        let unseen = rows.iter().find(|row| !row.flags.system.contains(SystemFlags::SEEN)).map(|row| row.uid);
        same!(Some(first), unseen, "the first unseen message");
    }
    Ok(())
}

pub(super) async fn status(world: &World) -> Result<(), Stop> {
    let mut counted = 0;
    if !world.subject.read_only {
        let (name, opened) = world.filled(5).await?;
        let store = |flags: SystemFlags, uids: UidSet| {
            opened.mailbox.store(crate::backend::StoreRequest::new(uids, StoreOp::Add, flags.into()))
        };
        let first = opened.snapshot.uids.first().map_or_else(UidSet::new, UidSet::from);
        store(SystemFlags::SEEN, opened.snapshot.uids.difference(&first)).await.doing("STORE")?;
        store(SystemFlags::DELETED, first).await.doing("STORE")?;
        let items = StatusItems { messages: true, recent: true, unseen: true, deleted: true, size: true };
        let status = world.account.status(StatusRequest::new(name, items)).await.doing("STATUS")?;
        same!((status.messages, status.unseen, status.deleted), (5, 1, 1), "messages, unseen and deleted");
    }
    for entry in world.list().await? {
        if !entry.selectable {
            continue;
        }
        counted += 1;
        let opened = world.examine(&entry.name).await?;
        let data = FetchData { size: true, ..FetchData::FLAGS };
        let rows = rows(&*opened.mailbox, &opened.snapshot.uids, data).await?;
        let items = StatusItems { messages: true, recent: true, unseen: true, deleted: true, size: true };
        let status = world.account.status(StatusRequest::new(entry.name.clone(), items)).await.doing("STATUS")?;
        let count = |test: fn(SystemFlags) -> bool| rows.iter().filter(|row| test(row.flags.system)).count() as u32;
        let name = &entry.name;
        same!(status.messages, opened.snapshot.uids.count(), "MESSAGES of {name}");
        same!(status.unseen, count(|flags| !flags.contains(SystemFlags::SEEN)), "UNSEEN of {name}");
        same!(status.deleted, count(|flags| flags.contains(SystemFlags::DELETED)), "DELETED of {name}");
        same!(status.size, rows.iter().filter_map(|row| row.size).sum::<u64>(), "SIZE of {name}");
        same!(status.uid_next, opened.snapshot.uid_next, "UIDNEXT of {name}");
        same!(status.uid_validity, opened.snapshot.uid_validity, "UIDVALIDITY of {name}");
        let again = world.examine(name).await?;
        same!(again.snapshot.id, opened.snapshot.id, "the lasting name of {name} when it is opened again");
        same!(
            again.snapshot.uid_validity,
            opened.snapshot.uid_validity,
            "UIDVALIDITY of {name} when it is opened again"
        );
        same!(again.snapshot.uids, opened.snapshot.uids, "UIDs of {name} when it is opened again");
    }
    ensure!(counted > 0, "no mailbox can be selected");
    Ok(())
}

pub(super) async fn order(world: &World) -> Result<(), Stop> {
    let opened = world.some_mailbox().await?;
    let all = opened.snapshot.uids.clone();
    let last = all.last().unwrap_or(Uid::MIN);
    let scattered: UidSet = all.iter().step_by(2).collect();
    let with_missing = UidSet::from_range(Uid::MIN, last).union(&UidSet::from(Uid::MAX));
    let middle = all.nth(all.count() / 2).map_or_else(UidSet::new, UidSet::from);
    for wanted in [UidSet::full(), all.clone(), scattered, with_missing, middle, UidSet::from(Uid::MAX), UidSet::new()]
    {
        let expected: Vec<Uid> = wanted.intersection(&all).iter().collect();
        for at_a_time in [1, 2, 7, 10_000] {
            for descending in [false, true] {
                let mut request = FetchRequest::new(wanted.clone(), FetchData::FLAGS);
                request.descending = descending;
                let mut found: Vec<Uid> =
                    ordered_rows(&*opened.mailbox, request, at_a_time).await?.iter().map(|row| row.uid).collect();
                if descending {
                    found.reverse();
                }
                same!(found, expected, "rows of {wanted}, {at_a_time} at a time, descending: {descending}");
            }
        }
    }
    // A reader that asks once too often gets nothing.
    let mut rows = opened.mailbox.fetch(FetchRequest::new(all, FetchData::FLAGS)).await.doing("FETCH")?;
    let mut batch = crate::backend::Batch::new(10_000, usize::MAX);
    while rows.next(&mut batch).await.doing("reading rows")? {}
    batch.clear();
    ensure!(!rows.next(&mut batch).await.doing("reading rows after the last")?, "after the last row more is to come");
    ensure!(batch.is_empty(), "after the last row comes another one");
    Ok(())
}

pub(super) async fn data(world: &World) -> Result<(), Stop> {
    let opened = world.some_mailbox().await?;
    let inline = 4096;
    let data = FetchData { flags: true, internal_date: true, size: true, unique_id: true, summary: true, inline };
    let mut unique_ids = HashSet::new();
    for row in rows(&*opened.mailbox, &UidSet::full(), data).await? {
        let uid = row.uid;
        ensure!(row.internal_date.is_some(), "message {uid} has no internal date");
        let read = content(&*opened.mailbox, uid).await?;
        same!(row.size, Some(read.len() as u64), "the size of message {uid}, against its octets");
        if let Some(whole) = row.content {
            ensure!(whole.len() <= inline, "message {uid} came inline with {} octets", whole.len());
            ensure!(whole == read, "what came inline of message {uid} is not what reading gives");
        }
        let Some(unique_id) = row.unique_id else {
            return Err(Stop::Fail(format!("message {uid} has no unique-id")));
        };
        ensure!(
            (1..=70).contains(&unique_id.len()) && unique_id.bytes().all(|byte| byte.is_ascii_graphic()),
            "message {uid} has the unique-id {unique_id:?}"
        );
        ensure!(unique_ids.insert(unique_id), "two messages have the unique-id of message {uid}");
    }
    for row in rows(&*opened.mailbox, &UidSet::full(), FetchData::default()).await? {
        ensure!(row.content.is_none(), "message {} came inline unasked", row.uid);
    }
    Ok(())
}

pub(super) async fn search(world: &World) -> Result<(), Stop> {
    let opened = world.some_mailbox().await?;
    if !world.subject.read_only {
        let some: UidSet = opened.snapshot.uids.iter().step_by(3).collect();
        super::flags::store_flags(&opened, some, StoreOp::Add, SystemFlags::SEEN).await?;
    }
    let data = FetchData { size: true, internal_date: true, ..FetchData::FLAGS };
    let rows = rows(&*opened.mailbox, &UidSet::full(), data).await?;
    let half: UidSet = opened.snapshot.uids.iter().skip(1).step_by(2).collect();
    let size = rows.iter().filter_map(|row| row.size).sum::<u64>() / (rows.len().max(1) as u64);
    let day = rows.first().and_then(|row| row.internal_date).map_or(0, |date| date.days());
    let seen = || Query::Flags(SystemFlags::SEEN);
    let not = |query| Query::Not(Box::new(query));
    type Test<'a> = Box<dyn Fn(&Row) -> bool + Send + Sync + 'a>;
    let is_seen = |row: &Row| row.flags.system.contains(SystemFlags::SEEN);
    let queries: Vec<(Query, Test<'_>)> = vec![
        (Query::All, Box::new(|_| true)),
        (seen(), Box::new(is_seen)),
        (not(seen()), Box::new(move |row| !is_seen(row))),
        (Query::Larger(size), Box::new(|row| row.size > Some(size))),
        (Query::Smaller(size), Box::new(|row| row.size < Some(size))),
        (Query::Uids(half.clone()), Box::new(|row| half.contains(row.uid))),
        (Query::On(day), Box::new(|row| row.internal_date.is_some_and(|date| date.days() == day))),
        (Query::Before(day), Box::new(|row| row.internal_date.is_some_and(|date| date.days() < day))),
        (Query::And(vec![seen(), Query::Uids(half.clone())]), Box::new(|row| is_seen(row) && half.contains(row.uid))),
        (Query::Or(vec![seen(), Query::Uids(half.clone())]), Box::new(|row| is_seen(row) || half.contains(row.uid))),
    ];
    let mut answered = false;
    for (query, test) in queries {
        for within in [UidSet::full(), half.clone()] {
            let request = SearchRequest::new(query.clone(), within.clone());
            let Some(found) = opened.mailbox.search(&request).await.doing("SEARCH")? else { continue };
            answered = true;
            let expected: UidSet = rows.iter().filter(|row| test(row)).map(|row| row.uid).collect();
            same!(found, expected.intersection(&within), "messages that match {query:?} within {within}");
        }
    }
    if answered { Ok(()) } else { Err(Stop::Skip("the backend leaves searching to the library".to_owned())) }
}

pub(super) async fn reads(world: &World) -> Result<(), Stop> {
    let opened = world.some_mailbox().await?;
    for uid in opened.snapshot.uids.iter().take(5) {
        let whole = content(&*opened.mailbox, uid).await?;
        let mut message = opened.mailbox.message(uid).await.doing("opening a message")?;
        let len = message.len();
        same!(len, whole.len() as u64, "the length of message {uid}");
        for max in [1, 7, 100, 4096, usize::MAX] {
            let mut at = 0;
            while at < len {
                let piece = message.read(at, max).await.doing("reading a message")?;
                ensure!(!piece.is_empty(), "reading message {uid} at {at} of {len} gives nothing");
                ensure!(piece.len() <= max, "reading {max} octets of message {uid} gives {}", piece.len());
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let expected = whole.get(from..from.saturating_add(piece.len()));
                ensure!(expected == Some(&piece[..]), "message {uid} differs when read at {at} by {max}");
                at += piece.len() as u64;
            }
        }
        // Backwards, as a client does that looks for the end first.
        for at in (0..len).rev().step_by(17) {
            let piece = message.read(at, 3).await.doing("reading a message")?;
            let from = usize::try_from(at).unwrap_or(usize::MAX);
            let expected = whole.get(from..from.saturating_add(piece.len()));
            ensure!(!piece.is_empty() && expected == Some(&piece[..]), "message {uid} differs when read at {at}");
        }
        for at in [len, len + 1, u64::MAX] {
            let piece = message.read(at, 10).await.doing("reading after the end")?;
            ensure!(piece.is_empty(), "message {uid} of {len} octets has some at {at}");
        }
    }
    let free = opened.snapshot.uids.last().and_then(Uid::next).unwrap_or(Uid::MAX);
    refused!(opened.mailbox.message(free).await, Error::Expunged, "opening a message that was never there");
    Ok(())
}
