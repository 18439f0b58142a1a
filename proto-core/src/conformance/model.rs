//! Sessions that act at random, against what is really there.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;

use super::flags::store_flags;
use super::patience::is_ready;
use super::sessions::live;
use super::world::{Dice, Doing as _, Sample, Stop, World, copy_request, ensure, rows, same};
use crate::backend::{
    Account, ChangesRequest, Error, ExpungeRequest, FetchData, Mailbox, OpenRequest, Opened, StoreOp, StoreRequest,
};
use crate::mail::{Flags, MailboxName, ModSeq, SystemFlags, Uid, UidSet};

/// What a session knows of its mailbox, by what it was told.
struct View {
    mailbox: Arc<dyn Mailbox>,
    since: ModSeq,
    /// `None` while the flags are not known.
    messages: BTreeMap<Uid, Option<Flags>>,
    lasting: bool,
}

impl View {
    fn new(opened: &Opened) -> Self {
        Self {
            mailbox: Arc::clone(&opened.mailbox),
            since: opened.snapshot.modseq,
            messages: opened.snapshot.uids.iter().map(|uid| (uid, None)).collect(),
            lasting: opened.snapshot.modseqs,
        }
    }

    /// Takes in one page of changes; returns whether there are more.
    async fn step(&mut self, room: usize) -> Result<bool, Stop> {
        let since = self.since;
        let told = self.mailbox.changes(ChangesRequest::new(since, room)).await.doing("asking for changes")?;
        ensure!(told.modseq >= since, "changes since {since} lead back to {}", told.modseq);
        ensure!(!told.more || told.modseq > since, "more changes are to come, but not from beyond {since}");
        if let Some(present) = &told.present {
            self.messages.retain(|uid, _| present.contains(*uid));
        }
        for uid in &told.arrived {
            self.messages.entry(uid).or_insert(None);
        }
        for row in told.changed {
            let Some(flags) = self.messages.get_mut(&row.uid) else {
                return Err(Stop::Fail(format!("flags of message {}, of which nothing was told, changed", row.uid)));
            };
            if self.lasting {
                ensure!(row.modseq > since, "message {} changed at {}, not after {since}", row.uid, row.modseq);
            }
            *flags = Some(row.flags);
        }
        for (uid, modseq) in told.expunged {
            if self.lasting {
                ensure!(modseq > since && modseq <= told.modseq, "message {uid} went at {modseq}, not after {since}");
            }
            self.messages.remove(&uid);
        }
        self.since = told.modseq;
        Ok(told.more)
    }

    async fn sync(&mut self, dice: &mut Dice) -> Result<(), Stop> {
        loop {
            let room = if dice.below(3) == 0 { usize::MAX } else { 1 + dice.below(5) };
            if !self.step(room).await? {
                return Ok(());
            }
        }
    }

    /// Asks for the flags that are not known, as a client does for new messages.
    async fn fill(&mut self) -> Result<(), Stop> {
        let unknown: UidSet = self.messages.iter().filter(|(_, flags)| flags.is_none()).map(|(uid, _)| *uid).collect();
        for row in rows(&*self.mailbox, &unknown, FetchData::FLAGS).await? {
            self.messages.insert(row.uid, Some(row.flags));
        }
        Ok(())
    }
}

/// Compares what a session knows with what is there.
fn compare(who: &str, view: &View, truth: &BTreeMap<Uid, Flags>) -> Result<(), Stop> {
    let known: Vec<Uid> = view.messages.keys().copied().collect();
    let there: Vec<Uid> = truth.keys().copied().collect();
    same!(known, there, "messages that {who} knows, against those that are there");
    for (uid, flags) in &view.messages {
        if let Some(flags) = flags {
            same!(Some(flags), truth.get(uid), "flags of message {uid} that {who} knows");
        }
    }
    Ok(())
}

pub(super) async fn pages(world: &World) -> Result<(), Stop> {
    live(world).await?;
    let (name, opened) = world.filled(6).await?;
    let start = View::new(&opened).since;
    let uids: Vec<Uid> = opened.snapshot.uids.iter().collect();
    let [first, second, third, ..] = uids[..] else { return Ok(()) };
    let new = world.append(&name, &Sample::several(4)).await?;
    store_flags(&opened, opened.snapshot.uids.clone(), StoreOp::Add, SystemFlags::SEEN).await?;
    store_flags(&opened, first, StoreOp::Replace, SystemFlags::FLAGGED).await?;
    super::world::expunge(&opened, [second, third].into_iter().collect::<UidSet>()).await?;
    for uid in new.iter().take(2) {
        // One that arrived is removed, one changed.
        store_flags(&opened, *uid, StoreOp::Add, SystemFlags::DRAFT).await?;
    }
    super::world::expunge(&opened, new.first().map_or_else(UidSet::new, |uid| (*uid).into())).await?;
    world.append(&name, &Sample::several(1)).await?;
    let truth = world.truth(&name).await?;
    for room in [1, 2, 3, 5, 1000] {
        let mut view = View::new(&opened);
        let mut calls = 0;
        while view.step(room).await? {
            calls += 1;
            ensure!(calls < 1000, "pages of {room} do not end");
        }
        view.fill().await?;
        compare(&format!("a session that reads pages of {room}"), &view, &truth)?;
        ensure!(view.since > start, "the changes lead nowhere");
        let nothing = view.mailbox.changes(ChangesRequest::new(view.since, room)).await.doing("asking again")?;
        ensure!(
            nothing.arrived.is_empty() && nothing.changed.is_empty() && nothing.expunged.is_empty() && !nothing.more,
            "after the last page there are changes: {nothing:?}"
        );
    }
    Ok(())
}

/// One session of the random check.
struct Actor {
    number: usize,
    account: Arc<dyn Account>,
    opened: Opened,
    view: View,
    dice: Dice,
    samples: usize,
}

impl Actor {
    async fn act(&mut self, name: &MailboxName, other: &MailboxName) -> Result<(), Stop> {
        let known: Vec<Uid> = self.view.messages.keys().copied().collect();
        let some = self.dice.some(known);
        let flags = SystemFlags::from_bits(u8::try_from(self.dice.below(32)).unwrap_or(0));
        match self.dice.below(12) {
            0..=2 => {
                let count = 1 + self.dice.below(3);
                let samples: Vec<_> = (0..count)
                    .map(|_| {
                        self.samples += 1;
                        Sample::new(self.number * 10_000 + self.samples).with(flags)
                    })
                    .collect();
                super::world::try_append(&*self.account, name, &samples, None).await.doing("APPEND")?;
            }
            3..=6 => {
                let op = [StoreOp::Add, StoreOp::Remove, StoreOp::Replace][self.dice.below(3)];
                let mut request = StoreRequest::new(some.clone(), op, flags.into());
                if self.view.lasting && self.dice.below(2) == 0 {
                    request.unchanged_since = Some(self.view.since);
                }
                let stored = self.opened.mailbox.store(request).await.doing("STORE")?;
                let told = stored.rows.iter().map(|row| row.uid).collect::<UidSet>();
                let all = told.union(&stored.modified).union(&stored.gone);
                same!(all, some, "messages that STORE told of");
            }
            7..=8 => {
                let only_deleted = self.dice.below(2) == 0;
                let request = ExpungeRequest { uids: some.clone(), only_deleted };
                let expunged = self.opened.mailbox.expunge(request).await.doing("EXPUNGE")?;
                ensure!(expunged.uids.is_subset(&some), "EXPUNGE of {some} removed {}", expunged.uids);
            }
            9 => {
                // To the other mailbox, or within this one.
                let target = if self.dice.below(2) == 0 { name } else { other };
                match self.account.copy(copy_request(&self.opened, some, target)).await {
                    Ok(_) | Err(Error::Expunged) => {}
                    Err(error) => return Err(Stop::Fail(format!("COPY: {error:?}"))),
                }
            }
            10 => match self.account.move_to(copy_request(&self.opened, some, other)).await {
                Ok(_) | Err(Error::Expunged) => {}
                Err(error) => return Err(Stop::Fail(format!("MOVE: {error:?}"))),
            },
            _ => self.view.sync(&mut self.dice).await?,
        }
        if self.dice.below(3) == 0 {
            self.view.step(1 + self.dice.below(3)).await?;
        }
        if self.dice.below(4) == 0 {
            self.view.fill().await?;
        }
        Ok(())
    }
}

pub(super) async fn sessions(world: &World) -> Result<(), Stop> {
    live(world).await?;
    let (name, _) = world.filled(8).await?;
    let other = world.mailbox().await?;
    let mut actors = Vec::new();
    for number in 0..3 {
        let account = world.another_session().await?;
        let opened = account.open(OpenRequest::select(name.clone())).await.doing("SELECT")?;
        let view = View::new(&opened);
        let dice = Dice::new(world.options.seed.wrapping_add(number as u64 * 7919));
        actors.push(Actor { number, account, opened, view, dice, samples: 0 });
    }
    for round in 0..world.options.rounds {
        let at = |stop: Stop| match stop {
            Stop::Fail(what) => Stop::Fail(format!("round {round} of seed {}: {what}", world.options.seed)),
            skip => skip,
        };
        let acting = actors.iter_mut().map(|actor| actor.act(&name, &other));
        join_all(acting).await.into_iter().collect::<Result<Vec<()>, Stop>>().map_err(at)?;
        if round % 3 != 0 && round + 1 < world.options.rounds {
            continue;
        }
        let truth = world.truth(&name).await?;
        for actor in &mut actors {
            actor.view.sync(&mut actor.dice).await.map_err(at)?;
            let who = format!("session {}", actor.number);
            compare(&who, &actor.view, &truth).map_err(at)?;
            let idle = !is_ready(actor.view.mailbox.changed(actor.view.since)).await;
            ensure!(idle, "round {round}: {who} knows all, but is told that there is more");
        }
    }
    Ok(())
}
