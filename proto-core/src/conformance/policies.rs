//! Checks of what POP3 maildrops ask of a store beyond their messages: login delay, expiry, bulletins, and the end of a
//! session.

use std::collections::BTreeMap;

use futures::future::{join, join_all};

use super::dropping::MOST_POLLS;
use super::flags::store_flags;
use super::patience::{dropped_after, eventually};
use super::world::{Doing as _, Stop, World, content, ensure, rows, same};
use crate::backend::{
    Account, Error, Expiry, FetchData, FinishRequest, Finished, LoginDelay, OpenRequest, Opened, StoreOp,
};
use crate::mail::{Flags, MailboxName, SystemFlags, Uid, UidSet};

const DAY: i64 = 86_400;
/// Some time of day.
const THEN: i64 = 1_000_000_000;

pub(super) async fn announced(world: &World) -> Result<(), Stop> {
    let told = world.subject.backend.policies(&world.subject.connection).await;
    let delay = world.account.login_delay().filter(|delay| delay.seconds() > 0);
    match (told.login_delay, delay) {
        (Some(told_delay), Some(delay)) => {
            let seconds = delay.seconds();
            ensure!(
                seconds <= told_delay,
                "everybody is told of a delay of {told_delay} s, and a user has {seconds} s"
            );
            ensure!(
                seconds == told_delay || told.login_delay_per_user,
                "a user's delay of {seconds} s differs from that of {told_delay} s, which is told as if it were everybody's"
            );
        }
        (Some(_), None) => ensure!(told.login_delay_per_user, "a delay is told as everybody's, and a user has none"),
        (None, Some(delay)) => {
            ensure!(delay.check().await.is_err(), "a user has a delay of {} s, and nobody is told", delay.seconds());
        }
        (None, None) => {}
    }
    let own = world.account.expiry().map(Expiry::days);
    match (told.expire, own) {
        (Some(days), Some(own)) => {
            ensure!(own >= days, "everybody is told that messages stay {days} days, and a user's stay {own}");
            ensure!(own == days || told.expire_per_user, "a user's {own} days differ from {days}, told as everybody's");
        }
        (Some(_), None) => ensure!(told.expire_per_user, "an expiry is told as everybody's, and a user has none"),
        (None, Some(own)) => {
            return Err(Stop::Fail(format!("a user's messages stay {own} days, and everybody is told: for ever")));
        }
        (None, None) => {}
    }
    Ok(())
}

fn delay_of(account: &dyn Account) -> Result<&dyn LoginDelay, Stop> {
    account.login_delay().ok_or_else(|| Stop::Skip("the account has no login delay".to_owned()))
}

pub(super) async fn login_delay(world: &World) -> Result<(), Stop> {
    let (delay, another) = (delay_of(&*world.account)?, world.another_session().await?);
    let other = delay_of(&*another)?;
    let first = delay.last().await.doing("reading the last login")?;
    let replace = |last, with| delay.replace(last, with);
    ensure!(replace(first, Some(THEN)).await.doing("recording a login")?, "the record is not as it was read");
    same!(other.last().await.doing("reading the last login")?, Some(THEN), "the last login, in another session");
    for wrong in [None, Some(THEN - 1), Some(THEN + 1)] {
        let replaced = other.replace(wrong, Some(5)).await.doing("recording a login")?;
        ensure!(!replaced, "a login is recorded in place of {wrong:?}, which is not the last one");
    }
    same!(delay.last().await.doing("reading the last login")?, Some(THEN), "the last login after ones refused");
    let many = join_all((1..=8).map(|number| async move {
        let side = if number % 2 == 0 { delay } else { other };
        (THEN + number, side.replace(Some(THEN), Some(THEN + number)).await)
    }));
    let mut winner = None;
    for (time, replaced) in many.await {
        if replaced.doing("recording a login")? {
            ensure!(winner.is_none(), "of several logins at once, more than one is recorded");
            winner = Some(time);
        }
    }
    ensure!(winner.is_some(), "of several logins at once, none is recorded");
    delay.check().await.doing("checking the record")?;
    same!(other.last().await.doing("reading the last login")?, winner, "the last login of several at once");
    ensure!(replace(winner, None).await.doing("taking a login back")?, "a login can't be taken back");
    same!(other.last().await.doing("reading the last login")?, None, "the last login after it was taken back");
    let again = replace(None, Some(THEN)).await.doing("recording a login")?;
    ensure!(again, "after the last login was taken back, none can be recorded");
    Ok(())
}

pub(super) async fn drop_login_delay(world: &World) -> Result<(), Stop> {
    let delay = delay_of(&*world.account)?;
    // From nothing, a record that is taken away and then made would look as if nothing had happened.
    if delay.last().await.doing("reading the last login")?.is_none() {
        ensure!(delay.replace(None, Some(THEN)).await.doing("recording a login")?, "a first login can't be recorded");
    }
    for polls in 0..MOST_POLLS {
        let last = delay.last().await.doing("reading the last login")?;
        let next = Some(last.unwrap_or(THEN) + 1);
        let completed = match dropped_after(polls, delay.replace(last, next)).await {
            None => false,
            Some(replaced) => replaced.doing("recording a login")?,
        };
        eventually!(world, async {
            let now = delay.last().await.doing("reading the last login")?;
            ensure!(now == last || now == next, "dropped after {polls} polls: the last login is {now:?}");
            ensure!(now == next || !completed, "a login was recorded, but the last one is {now:?}");
            Ok(())
        })?;
        if completed {
            break;
        }
    }
    Ok(())
}

async fn maildrop(world: &World, name: &MailboxName) -> Result<Opened, Stop> {
    let open = || world.account.open(OpenRequest::maildrop(name.clone()));
    eventually!(world, async { open().await.doing("opening a maildrop") })
}

pub(super) async fn marks(world: &World) -> Result<(), Stop> {
    let (name, elsewhere) = world.filled(5).await?;
    let uids: Vec<Uid> = elsewhere.snapshot.uids.iter().collect();
    let [read, shown, marked, unmarked, later] = uids[..] else { return Ok(()) };
    let both: UidSet = [marked, unmarked].into_iter().collect();
    match elsewhere
        .mailbox
        .store(crate::backend::StoreRequest::new(both.clone(), StoreOp::Add, SystemFlags::DELETED.into()))
        .await
    {
        Err(Error::ReadOnly | Error::NoPermission | Error::Cannot(_)) => {
            return Err(Stop::Skip("the backend does not store flags".to_owned()));
        }
        stored => stored.doing("STORE").map(drop)?,
    }
    let held = maildrop(world, &name).await?;
    store_flags(&elsewhere, unmarked, StoreOp::Remove, SystemFlags::DELETED).await?;
    store_flags(&elsewhere, later, StoreOp::Add, SystemFlags::DELETED).await?;
    let mut request = FinishRequest::new([read, shown].into_iter().collect(), UidSet::new(), THEN);
    request.read = UidSet::from(read);
    request.marked = both;
    let finished = held.mailbox.finish(request).await.doing("finishing")?;
    same!(finished.removed, UidSet::from(marked), "messages removed of those that were marked elsewhere");
    drop(held);
    let expected: BTreeMap<Uid, Flags> = [
        (read, SystemFlags::SEEN),
        (shown, SystemFlags::NONE),
        (unmarked, SystemFlags::NONE),
        (later, SystemFlags::DELETED),
    ]
    .map(|(uid, flags)| (uid, flags.into()))
    .into();
    same!(world.truth(&name).await?, expected, "flags after a session that has read message {read} whole");
    Ok(())
}

/// A mailbox whose messages are followed by their unique-ids, as a stamp may give them another UID.
struct Stamped<'a> {
    world: &'a World,
    name: MailboxName,
    /// In the order of their arrival.
    ids: Vec<String>,
}

impl Stamped<'_> {
    /// What is there now: unique-ids and UIDs.
    async fn present(&self) -> Result<BTreeMap<String, Uid>, Stop> {
        let opened = self.world.examine(&self.name).await?;
        let data = FetchData { unique_id: true, ..FetchData::default() };
        let rows = rows(&*opened.mailbox, &opened.snapshot.uids, data).await?;
        let id = |unique_id: Option<_>, uid: Uid| {
            unique_id.map_or_else(|| uid.to_string(), |id: std::sync::Arc<str>| id.to_string())
        };
        Ok(rows.into_iter().map(|row| (id(row.unique_id, row.uid), row.uid)).collect())
    }

    async fn uid(&self, place: usize) -> Result<Uid, Stop> {
        let present = self.present().await?;
        let uid = self.ids.get(place).and_then(|id| present.get(id)).copied();
        uid.ok_or_else(|| Stop::Fail(format!("message {} is gone, or has another unique-id", place + 1)))
    }

    /// A session at this time that has shown some messages, and knows these.
    async fn session(&self, now: i64, expiry: Expiry, retrieved: &[usize], known: &[usize]) -> Result<Finished, Stop> {
        let mut request = FinishRequest::new(UidSet::new(), UidSet::new(), now);
        for place in retrieved {
            request.retrieved.insert(self.uid(*place).await?);
        }
        let present = self.present().await?;
        let uids = known.iter().filter_map(|place| self.ids.get(*place)).filter_map(|id| present.get(id));
        request.known = uids.copied().collect();
        request.expiry = Some(expiry);
        let held = maildrop(self.world, &self.name).await?;
        held.mailbox.finish(request).await.doing("finishing")
    }

    /// Fails unless just these are left.
    async fn left(&self, expected: &[usize], when: &str) -> Result<(), Stop> {
        let present = self.present().await?;
        let left: Vec<usize> = (0..self.ids.len()).filter(|place| present.contains_key(&self.ids[*place])).collect();
        same!(left, expected, "messages left {when}, from 0");
        same!(present.len(), expected.len(), "how many messages are left {when}");
        Ok(())
    }
}

pub(super) async fn expiry(world: &World) -> Result<(), Stop> {
    if world.account.expiry().is_none() {
        return Err(Stop::Skip("messages do not expire".to_owned()));
    }
    let (name, opened) = world.filled(4).await?;
    let first = opened.snapshot.uids.first().unwrap_or(Uid::MIN);
    store_flags(&opened, first, StoreOp::Add, SystemFlags::FLAGGED).await?;
    let original = content(&*opened.mailbox, first).await?;
    drop(opened);
    let mut stamped = Stamped { world, name, ids: Vec::new() };
    let mut ids: Vec<_> = stamped.present().await?.into_iter().collect();
    ids.sort_by_key(|(_, uid)| *uid);
    stamped.ids = ids.into_iter().map(|(id, _)| id).collect();
    let (keeps, deletes) = (Expiry::after(5), Expiry::after(5).deleting());
    let all = &[0, 1, 2, 3];

    let finished = stamped.session(THEN, deletes, &[0, 1], all).await?;
    ensure!(finished.removed.is_empty(), "messages {} are removed that have just been shown", finished.removed);
    stamped.left(all, "by the session that has shown two of them").await?;
    let shown = stamped.uid(0).await?;
    let truth = world.truth(&stamped.name).await?;
    same!(truth.get(&shown), Some(&SystemFlags::FLAGGED.into()), "flags of a message with a stamp");
    let opened = world.examine(&stamped.name).await?;
    let now = content(&*opened.mailbox, shown).await?;
    let body = |octets: &[u8]| octets.windows(4).position(|end| end == b"\r\n\r\n").map(|at| octets[at..].to_vec());
    same!(body(&now), body(&original), "the body of a message with a stamp");
    drop(opened);

    stamped.session(THEN + DAY, deletes, &[0], all).await?;
    stamped.session(THEN + 5 * DAY - 1, deletes, &[], all).await?;
    stamped.left(all, "a second before they expire").await?;
    stamped.session(THEN + 50 * DAY, keeps, &[], all).await?;
    stamped.left(all, "where expired messages are not to be removed").await?;
    stamped.session(THEN - 50 * DAY, deletes, &[], all).await?;
    stamped.left(all, "by a clock that was set back").await?;
    let removed = stamped.session(THEN + 5 * DAY, deletes, &[3], &[0, 2, 3]).await?.removed;
    stamped.left(&[1, 2, 3], "when one has expired that the session knows, and one that it does not").await?;
    same!(removed.count(), 1, "how many messages are told to have been removed");
    stamped.session(THEN + 10 * DAY - 1, deletes, &[], all).await?;
    stamped.left(&[2, 3], "after another session").await?;
    stamped.session(THEN + 10 * DAY, deletes, &[], all).await?;
    stamped.left(&[2], "at last: the one that was never shown").await
}

pub(super) async fn bulletins(world: &World) -> Result<(), Stop> {
    let expected = pending(world)?;
    let inbox = MailboxName::inbox();
    let before = world.contents(&inbox).await?.len();
    let another = world.another_session().await?;
    let (Some(one), Some(other)) = (world.account.bulletins(), another.bulletins()) else {
        return Err(Stop::Fail("the account has no bulletins".to_owned()));
    };
    let (one, other) = join(one.deliver(), other.deliver()).await;
    let delivered = one.doing("delivering bulletins")? + other.doing("delivering bulletins")?;
    let contents = world.contents(&inbox).await?;
    let new = contents.get(before..).unwrap_or_default();
    once(new)?;
    same!(new.len(), expected, "how many messages arrived by two logins at once");
    same!(delivered, expected as u64, "how many bulletins were told to be delivered");
    let again = world.another_session().await?;
    let Some(again) = again.bulletins() else { return Ok(()) };
    same!(again.deliver().await.doing("delivering bulletins")?, 0, "how many bulletins come another time");
    same!(world.contents(&inbox).await?.len(), contents.len(), "messages after another login");
    Ok(())
}

pub(super) async fn drop_bulletins(world: &World) -> Result<(), Stop> {
    let expected = pending(world)?;
    let Some(bulletins) = world.account.bulletins() else {
        return Err(Stop::Fail("the account has no bulletins".to_owned()));
    };
    let inbox = MailboxName::inbox();
    let before = world.contents(&inbox).await?.len();
    for polls in 0..MOST_POLLS {
        if let Some(delivered) = dropped_after(polls, bulletins.deliver()).await {
            delivered.doing("delivering bulletins")?;
            break;
        }
    }
    eventually!(world, async {
        let contents = world.contents(&inbox).await?;
        let new = contents.get(before..).unwrap_or_default();
        once(new)?;
        same!(new.len(), expected, "how many messages arrived by deliveries of which all but the last were dropped");
        Ok(())
    })
}

fn pending(world: &World) -> Result<usize, Stop> {
    match world.subject.bulletins {
        0 => Err(Stop::Skip("no bulletins are pending".to_owned())),
        pending => Ok(pending),
    }
}

fn once(messages: &[Vec<u8>]) -> Result<(), Stop> {
    let mut different: Vec<_> = messages.iter().collect();
    different.sort();
    different.dedup();
    same!(messages.len(), different.len(), "messages that arrived, against different ones");
    Ok(())
}
