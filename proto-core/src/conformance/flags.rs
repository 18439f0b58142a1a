//! Checks of STORE and EXPUNGE.

use std::collections::BTreeMap;

use super::world::{Doing as _, Stop, World, content, ensure, refused, same};
use crate::backend::{Error, ExpungeRequest, Opened, StoreOp, StoreRequest, Stored};
use crate::mail::{Flags, Keyword, Keywords, ModSeq, SystemFlags, Uid, UidSet};

pub(super) async fn store_flags(
    opened: &Opened,
    uids: impl Into<UidSet>,
    op: StoreOp,
    flags: impl Into<Flags>,
) -> Result<Stored, Stop> {
    opened.mailbox.store(StoreRequest::new(uids.into(), op, flags.into())).await.doing("STORE")
}

pub(super) async fn store(world: &World) -> Result<(), Stop> {
    const SEEN: SystemFlags = SystemFlags::SEEN;
    const DRAFT: SystemFlags = SystemFlags::DRAFT;
    let (name, opened) = world.filled(4).await?;
    let uids = opened.snapshot.uids.clone();
    let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return Ok(()) };
    let mut expected: BTreeMap<Uid, SystemFlags> = uids.iter().map(|uid| (uid, SystemFlags::NONE)).collect();
    let mut modseqs: BTreeMap<Uid, ModSeq> = BTreeMap::new();
    let steps = [
        (uids.clone(), StoreOp::Add, SEEN),
        (UidSet::from(first), StoreOp::Add, SEEN | DRAFT),
        (uids.clone(), StoreOp::Remove, DRAFT | SystemFlags::FLAGGED),
        (UidSet::from(last), StoreOp::Replace, SystemFlags::ALL & !SystemFlags::DELETED),
        (uids.clone(), StoreOp::Add, SystemFlags::NONE),
        (uids.clone(), StoreOp::Replace, SystemFlags::ANSWERED),
        (uids.clone(), StoreOp::Replace, SystemFlags::ANSWERED),
        (UidSet::from(first), StoreOp::Replace, SystemFlags::NONE),
    ];
    for (wanted, op, flags) in steps {
        let told = format!("{op:?} {flags:?} on {wanted}");
        // One that was never there is told, and harms nothing.
        let mut asked = wanted.clone();
        asked.insert(Uid::MAX);
        let stored = store_flags(&opened, asked, op, flags).await?;
        same!(stored.gone, UidSet::from(Uid::MAX), "what is gone, of {told}");
        ensure!(stored.modified.is_empty(), "an unconditional STORE left {} alone", stored.modified);
        let rows: Vec<Uid> = stored.rows.iter().map(|row| row.uid).collect();
        same!(rows, wanted.iter().collect::<Vec<_>>(), "rows of {told}");
        for row in &stored.rows {
            let before = expected.get(&row.uid).copied().unwrap_or_default();
            let after = match op {
                StoreOp::Add => before | flags,
                StoreOp::Remove => before & !flags,
                StoreOp::Replace => flags,
            };
            same!(row.flags, Flags::from(after), "flags of message {} after {told}", row.uid);
            expected.insert(row.uid, after);
            if let Some(earlier) = modseqs.insert(row.uid, row.modseq).filter(|_| opened.snapshot.modseqs) {
                let grown = row.modseq > earlier;
                let changed = before != after;
                same!(grown, changed, "whether the mod-sequence of message {} grew by {told}", row.uid);
            }
        }
        let truth = world.truth(&name).await?;
        let expected: BTreeMap<Uid, Flags> = expected.iter().map(|(uid, flags)| (*uid, Flags::from(*flags))).collect();
        same!(truth, expected, "flags that another session sees after {told}");
    }
    Ok(())
}

pub(super) async fn unchanged_since(world: &World) -> Result<(), Stop> {
    let (name, opened) = world.filled(3).await?;
    if !opened.snapshot.modseqs {
        return Err(Stop::Skip("the backend has no mod-sequences".to_owned()));
    }
    let uids = opened.snapshot.uids.clone();
    let Some(second) = uids.nth(1) else { return Ok(()) };
    let seen = world.select(&name).await?.snapshot.modseq;
    store_flags(&opened, second, StoreOp::Add, SystemFlags::SEEN).await?;
    let mut request = StoreRequest::new(uids.clone(), StoreOp::Add, SystemFlags::FLAGGED.into());
    request.unchanged_since = Some(seen);
    let stored = opened.mailbox.store(request.clone()).await.doing("STORE UNCHANGEDSINCE")?;
    same!(stored.modified, UidSet::from(second), "messages left alone");
    same!(stored.rows.len(), 2, "messages changed");
    let truth = world.truth(&name).await?;
    same!(truth.get(&second), Some(&Flags::from(SystemFlags::SEEN)), "flags of the message left alone");
    // Now all have changed since.
    request.flags = SystemFlags::DRAFT.into();
    let stored = opened.mailbox.store(request.clone()).await.doing("STORE UNCHANGEDSINCE")?;
    same!(stored.modified, uids, "messages left alone when all changed");
    request.unchanged_since = Some(world.select(&name).await?.snapshot.modseq);
    let stored = opened.mailbox.store(request).await.doing("STORE UNCHANGEDSINCE")?;
    same!(stored.rows.len(), 3, "messages changed when none had since");
    Ok(())
}

pub(super) async fn keywords(world: &World) -> Result<(), Stop> {
    let (name, opened) = world.filled(2).await?;
    if !opened.snapshot.new_keywords {
        return Err(Stop::Skip("the backend takes no new keywords".to_owned()));
    }
    let (Some(first), Some(last)) = (opened.snapshot.uids.first(), opened.snapshot.uids.last()) else { return Ok(()) };
    let set = |names: &[&str]| -> Keywords { names.iter().filter_map(|name| Keyword::new(name).ok()).collect() };
    let flags = |names: &[&str]| Flags { system: SystemFlags::NONE, keywords: set(names) };
    store_flags(&opened, first, StoreOp::Add, flags(&["$Forwarded", "Kit-1", "a"])).await?;
    store_flags(&opened, last, StoreOp::Replace, flags(&["$forwarded"])).await?;
    store_flags(&opened, first, StoreOp::Remove, flags(&["A", "Other"])).await?;
    let truth = world.truth(&name).await?;
    same!(truth.get(&first), Some(&flags(&["$Forwarded", "Kit-1"])), "flags of the first message");
    same!(truth.get(&last), Some(&flags(&["$Forwarded"])), "flags of the last message");
    let again = world.examine(&name).await?;
    for keyword in &set(&["$Forwarded", "Kit-1"]) {
        ensure!(again.snapshot.keywords.contains(keyword), "keyword {keyword} is not in the mailbox's list");
    }
    // Case is kept as it was first used.
    let spelled = truth.get(&first).and_then(|flags| flags.keywords.iter().find(|k| k.as_str().starts_with('$')));
    same!(spelled.map(Keyword::as_str), Some("$Forwarded"), "spelling of a keyword");
    Ok(())
}

pub(super) async fn expunge(world: &World) -> Result<(), Stop> {
    let (name, opened) = world.filled(6).await?;
    let uids: Vec<Uid> = opened.snapshot.uids.iter().collect();
    let [a, b, c, d, e, f] = uids[..] else { return Ok(()) };
    let set = |uids: &[Uid]| uids.iter().copied().collect::<UidSet>();
    store_flags(&opened, set(&[a, b, c]), StoreOp::Add, SystemFlags::DELETED).await?;
    let call = async |uids: UidSet, only_deleted| {
        opened.mailbox.expunge(ExpungeRequest { uids, only_deleted }).await.doing("EXPUNGE")
    };
    let expunged = call(set(&[b, c, d]), true).await?;
    same!(expunged.uids, set(&[b, c]), "removed by UID EXPUNGE");
    same!(world.examine(&name).await?.snapshot.uids, set(&[a, d, e, f]), "messages after UID EXPUNGE");
    let expunged = call(set(&[b, d, Uid::MAX]), false).await?;
    same!(expunged.uids, set(&[d]), "removed, deleted or not");
    let expunged = call(UidSet::full(), true).await?;
    same!(expunged.uids, set(&[a]), "removed by EXPUNGE");
    let expunged = call(UidSet::full(), true).await?;
    ensure!(expunged.uids.is_empty(), "an EXPUNGE with nothing to do removed {}", expunged.uids);
    same!(world.examine(&name).await?.snapshot.uids, set(&[e, f]), "messages after all that");
    refused!(opened.mailbox.message(a).await, Error::Expunged, "opening a removed message");
    content(&*opened.mailbox, e).await?;
    Ok(())
}
