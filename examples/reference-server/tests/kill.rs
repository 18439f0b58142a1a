//! The server is killed at random instants under several writers, started again, and compared with what the writers were
//! told: nothing that was acknowledged is lost, no UID names another message, no message is there in part.
//!
//! `PILLARBOX_KILL_RUNS` says how often (50 without it), `PILLARBOX_KILL_SEED` repeats a run: the seed is printed.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{Imap, PASSWORD, Place, Reply, USER, text};

const MAILBOXES: [&str; 2] = ["INBOX", "Work/Two"];
const FLAGS: [&str; 5] = ["\\Seen", "\\Flagged", "\\Answered", "$Done", "later"];
const WRITERS: u64 = 4;
/// After so many runs a new account is begun, so that checking does not take longer and longer.
const RUNS_PER_ACCOUNT: u64 = 25;

type Flags = BTreeSet<&'static str>;

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn flags(&mut self) -> Flags {
        let bits = self.next();
        FLAGS.into_iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, flag)| flag).collect()
    }
}

/// The message with this number: its size and all its octets follow from it.
fn message(number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let lines = match random.below(20) {
        0 => 5_000,
        1..=4 => random.below(300),
        _ => random.below(20),
    };
    let mut octets = format!("Subject: number {number}\r\nX-Number: {number}\r\n\r\n").into_bytes();
    for line in 0..lines {
        octets.extend_from_slice(
            format!("{line} {:016x}{:016x}{:016x}\r\n", random.next(), random.next(), random.next()).as_bytes(),
        );
    }
    octets
}

/// A message in a mailbox, as its writer knows it.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    number: u64,
    flags: Flags,
}

/// Where a message is: the number of the mailbox, and the UID.
type Key = (usize, u32);

/// What a writer has asked for and not been answered.
#[derive(Clone, Debug)]
enum Pending {
    Append { mailbox: usize, messages: Vec<Known> },
    Store { key: Key, flags: Flags },
    Copy { keys: Vec<Key>, to: usize },
    Move { key: Key, to: usize },
    Expunge { key: Key },
}

/// What one writer was told.
#[derive(Debug, Default)]
struct Journal {
    there: BTreeMap<Key, Known>,
    gone: BTreeSet<Key>,
    pending: Option<Pending>,
}

struct Writer {
    imap: Imap,
    selected: Option<usize>,
    random: Random,
    journal: Journal,
}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Writer {
    /// Works until the connection breaks.
    fn run(mut self) -> Journal {
        while self.step().is_ok() {}
        self.journal
    }

    fn step(&mut self) -> std::io::Result<()> {
        let keys: Vec<Key> = self.journal.there.keys().copied().collect();
        // Few messages: more of them. Many: fewer.
        let dice = if keys.len() < 5 { 0 } else { self.random.below(if keys.len() > 60 { 14 } else { 10 }) };
        if dice < 3 {
            return self.append();
        }
        let key = keys[self.random.below(keys.len())];
        match dice {
            3..=5 => self.store(key),
            6 => self.copy(key),
            7 | 8 => self.move_to(key),
            _ => self.expunge(key),
        }
    }

    fn append(&mut self) -> std::io::Result<()> {
        let mailbox = self.random.below(MAILBOXES.len());
        let count = if self.random.below(5) == 0 { 3 } else { 1 };
        let mut messages = Vec::new();
        let (mut heads, mut bodies) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
            let flags = self.random.flags();
            heads.push(format!(" ({}) ", list(&flags)));
            bodies.push(message(number));
            messages.push(Known { number, flags });
        }
        heads[0] = format!("APPEND {}{}", MAILBOXES[mailbox], heads[0]);
        let parts: Vec<&[u8]> =
            heads.iter().zip(&bodies).flat_map(|(head, body)| [head.as_bytes(), body.as_slice()]).collect();
        self.journal.pending = Some(Pending::Append { mailbox, messages: messages.clone() });
        let reply = self.imap.send(&parts)?.ok();
        let code = reply.code("APPENDUID").expect("APPENDUID");
        let uids = numbers(code.split(' ').nth(1).expect("UIDs"));
        assert_eq!(uids.len(), messages.len(), "{reply:?}");
        self.journal.pending = None;
        for (uid, message) in uids.into_iter().zip(messages) {
            self.arrived((mailbox, uid), message);
        }
        Ok(())
    }

    fn store(&mut self, key: Key) -> std::io::Result<()> {
        self.select(key.0)?;
        let old = self.journal.there[&key].flags.clone();
        let given = self.random.flags();
        let (sign, flags): (_, Flags) = match self.random.below(3) {
            0 => ("+", old.union(&given).copied().collect()),
            1 => ("-", old.difference(&given).copied().collect()),
            _ => ("", given.clone()),
        };
        self.journal.pending = Some(Pending::Store { key, flags: flags.clone() });
        let reply = self.imap.command(&format!("UID STORE {} {sign}FLAGS ({})", key.1, list(&given)))?.ok();
        let told = reply.untagged.iter().any(|row| text(row).contains(&format!("UID {}", key.1)));
        assert!(told, "a store without its row: {reply:?}");
        self.journal.pending = None;
        self.journal.there.get_mut(&key).expect("a message").flags = flags;
        Ok(())
    }

    fn copy(&mut self, key: Key) -> std::io::Result<()> {
        self.select(key.0)?;
        let to = 1 - key.0;
        let count = if self.random.below(2) == 0 { 3 } else { 1 };
        // Copies of one message can't be told apart, so it is in a command but once.
        let mut numbers = BTreeSet::new();
        let after =
            self.journal.there.range(key..).filter(|((at, _), known)| *at == key.0 && numbers.insert(known.number));
        let keys: Vec<Key> = after.map(|(key, _)| *key).take(count).collect();
        let set = keys.iter().map(|(_, uid)| uid.to_string()).collect::<Vec<_>>().join(",");
        self.journal.pending = Some(Pending::Copy { keys: keys.clone(), to });
        let reply = self.imap.command(&format!("UID COPY {set} {}", MAILBOXES[to]))?.ok();
        let uids: Vec<u32> = keys.iter().map(|(_, uid)| *uid).collect();
        let new = copied(&reply, &uids);
        self.journal.pending = None;
        for (key, uid) in keys.into_iter().zip(new) {
            let message = self.journal.there[&key].clone();
            self.arrived((to, uid), message);
        }
        Ok(())
    }

    fn move_to(&mut self, key: Key) -> std::io::Result<()> {
        self.select(key.0)?;
        let to = 1 - key.0;
        self.journal.pending = Some(Pending::Move { key, to });
        let reply = self.imap.command(&format!("UID MOVE {} {}", key.1, MAILBOXES[to]))?.ok();
        let uid = copied(&reply, &[key.1])[0];
        self.journal.pending = None;
        let message = self.left(key);
        self.arrived((to, uid), message);
        Ok(())
    }

    fn expunge(&mut self, key: Key) -> std::io::Result<()> {
        self.select(key.0)?;
        // Neither flag nor removal is acknowledged before both are.
        self.journal.pending = Some(Pending::Expunge { key });
        self.imap.command(&format!("UID STORE {} +FLAGS.SILENT (\\Deleted)", key.1))?.ok();
        self.imap.command(&format!("UID EXPUNGE {}", key.1))?.ok();
        self.journal.pending = None;
        self.left(key);
        Ok(())
    }

    fn select(&mut self, mailbox: usize) -> std::io::Result<()> {
        if self.selected != Some(mailbox) {
            self.imap.command(&format!("SELECT {}", MAILBOXES[mailbox]))?.ok();
            self.selected = Some(mailbox);
        }
        Ok(())
    }

    fn arrived(&mut self, key: Key, message: Known) {
        let before = self.journal.there.insert(key, message);
        assert!(before.is_none() && !self.journal.gone.contains(&key), "UID {key:?} was given twice");
    }

    fn left(&mut self, key: Key) -> Known {
        self.journal.gone.insert(key);
        self.journal.there.remove(&key).expect("a message")
    }
}

fn list(flags: &Flags) -> String {
    flags.iter().copied().collect::<Vec<_>>().join(" ")
}

/// The numbers of a set such as `3,5:7`.
fn numbers(set: &str) -> Vec<u32> {
    let number = |text: &str| text.parse::<u32>().expect("a number");
    set.split(',')
        .flat_map(|range| match range.split_once(':') {
            Some((first, last)) => number(first)..=number(last),
            None => number(range)..=number(range),
        })
        .collect()
}

/// The new UIDs that COPYUID gives for messages, in their order.
fn copied(reply: &Reply, uids: &[u32]) -> Vec<u32> {
    let code = reply.code("COPYUID").unwrap_or_else(|| panic!("no COPYUID: {reply:?}"));
    let sets: Vec<Vec<u32>> = code.split(' ').skip(1).map(numbers).collect();
    assert_eq!(sets[0], uids, "{reply:?}");
    assert_eq!(sets[1].len(), uids.len(), "{reply:?}");
    sets[1].clone()
}

/// What all writers know together, over all runs on one account.
#[derive(Default)]
struct World {
    there: BTreeMap<Key, (u64, Known)>,
    /// Every UID that was ever seen, and the message that it named.
    ever: BTreeMap<Key, u64>,
    gone: BTreeSet<Key>,
    validity: [Option<String>; 2],
    /// What was under way when the server was killed.
    pending: Vec<(u64, Pending)>,
}

impl World {
    /// The part that one writer goes on with.
    fn journal(&self, writer: u64) -> Journal {
        let own = self.there.iter().filter(|(_, (owner, _))| *owner == writer);
        Journal {
            there: own.map(|(key, (_, known))| (*key, known.clone())).collect(),
            gone: self.gone.clone(),
            pending: None,
        }
    }

    fn take(&mut self, writer: u64, journal: Journal) {
        self.there.retain(|_, (owner, _)| *owner != writer);
        for (key, known) in journal.there {
            let number = *self.ever.entry(key).or_insert(known.number);
            assert_eq!(number, known.number, "UID {key:?} names two messages");
            assert!(self.there.insert(key, (writer, known)).is_none(), "UID {key:?} was given to two writers");
        }
        self.gone.extend(journal.gone);
        self.pending.extend(journal.pending.map(|pending| (writer, pending)));
    }

    /// Compares everything with what the server shows, and takes over what came of the commands that were cut off.
    fn check(&mut self, imap: &mut Imap) {
        let mut shown = BTreeMap::new();
        for (at, name) in MAILBOXES.into_iter().enumerate() {
            let reply = imap.command(&format!("EXAMINE {name}")).expect("a reply").ok();
            let validity = reply.code("UIDVALIDITY");
            let before = self.validity[at].get_or_insert_with(|| validity.clone().expect("UIDVALIDITY"));
            assert_eq!(Some(&*before), validity.as_ref(), "UIDVALIDITY of {name}");
            let next: u32 = reply.code("UIDNEXT").expect("UIDNEXT").parse().expect("a number");
            let rows = imap.command("UID FETCH 1:* (UID FLAGS BODY.PEEK[])").expect("a reply").ok();
            for row in &rows.untagged {
                let (uid, known) = row_of(row);
                assert!(uid < next, "UID {uid} of {name} is not below UIDNEXT {next}");
                shown.insert((at, uid), known);
            }
            let largest = self.ever.keys().filter(|(mailbox, _)| *mailbox == at).map(|(_, uid)| *uid).max();
            assert!(largest.is_none_or(|largest| largest < next), "UIDNEXT {next} of {name} after UID {largest:?}");
        }
        for (key, known) in &shown {
            let number = *self.ever.entry(*key).or_insert(known.number);
            assert_eq!(number, known.number, "UID {key:?} names another message now");
            assert!(!self.gone.contains(key), "{key:?} was removed, and is back: {known:?}");
        }
        for (writer, pending) in std::mem::take(&mut self.pending) {
            self.settle(writer, pending, &shown);
        }
        let expected: BTreeMap<Key, Known> = self.there.iter().map(|(key, (_, known))| (*key, known.clone())).collect();
        for (key, known) in &expected {
            assert_eq!(shown.get(key), Some(known), "acknowledged {known:?} at {key:?}");
        }
        for (key, known) in &shown {
            assert!(expected.contains_key(key), "nobody put {known:?} at {key:?}");
        }
    }

    /// What came of a command that was cut off: all of it or nothing.
    fn settle(&mut self, writer: u64, pending: Pending, shown: &BTreeMap<Key, Known>) {
        // A message that is shown at a place where nobody was told of one.
        let found = |this: &Self, mailbox: usize, number: u64| {
            let mut new = shown
                .iter()
                .filter(|(key, known)| key.0 == mailbox && known.number == number && !this.there.contains_key(*key));
            let first = new.next().map(|(key, known)| (*key, known.clone()));
            assert!(new.next().is_none(), "number {number} is there twice: {pending:?}");
            first
        };
        match &pending {
            Pending::Append { mailbox, messages } => {
                let found: Vec<_> = messages.iter().filter_map(|known| found(self, *mailbox, known.number)).collect();
                assert!(found.is_empty() || found.len() == messages.len(), "in part: {pending:?}");
                for ((key, shown), known) in found.into_iter().zip(messages) {
                    assert_eq!(&shown, known, "{pending:?}");
                    self.there.insert(key, (writer, shown));
                }
            }
            Pending::Store { key, flags } => {
                let (_, known) = self.there.get_mut(key).expect("a message");
                if shown.get(key).is_some_and(|shown| shown.flags == *flags) {
                    known.flags.clone_from(flags);
                }
            }
            Pending::Copy { keys, to } => {
                let known: Vec<Known> = keys.iter().map(|key| self.there[key].1.clone()).collect();
                let found: Vec<_> = known.iter().filter_map(|known| found(self, *to, known.number)).collect();
                assert!(found.is_empty() || found.len() == keys.len(), "in part: {pending:?}");
                for ((key, shown), known) in found.into_iter().zip(known) {
                    assert_eq!(shown, known, "{pending:?}");
                    self.there.insert(key, (writer, shown));
                }
            }
            Pending::Move { key, to } => {
                let known = self.there[key].1.clone();
                let moved = found(self, *to, known.number);
                assert_ne!(moved.is_some(), shown.contains_key(key), "at both places or none: {pending:?}");
                if let Some((new, shown)) = moved {
                    assert_eq!(shown, known, "{pending:?}");
                    self.there.remove(key);
                    self.gone.insert(*key);
                    self.there.insert(new, (writer, shown));
                }
            }
            Pending::Expunge { key } => {
                // Deleted is no flag of the comparison; what is left is as it was.
                if !shown.contains_key(key) {
                    self.there.remove(key);
                    self.gone.insert(*key);
                }
            }
        }
    }
}

/// UID, flags and number of a row; its octets must be those of the number.
fn row_of(row: &[u8]) -> (u32, Known) {
    let open = row.iter().position(|byte| *byte == b'{').expect("a literal");
    let close = open + row[open..].iter().position(|byte| *byte == b'\n').expect("a line end");
    let length: usize = text(&row[open + 1..close]).trim_end().trim_end_matches('}').parse().expect("a length");
    let (head, body) = (text(&row[..open]), &row[close + 1..close + 1 + length]);
    let rest = text(&row[close + 1 + length..]);
    let around = head + &rest;
    let after = |name: &str| around.split(name).nth(1).unwrap_or_else(|| panic!("no {name}: {around}"));
    let uid = after("UID ").split([' ', ')']).next().expect("a word").parse().expect("a UID");
    let shown: Vec<&str> = after("FLAGS (").split(')').next().expect("flags").split(' ').collect();
    let flags = FLAGS.into_iter().filter(|flag| shown.iter().any(|shown| shown.eq_ignore_ascii_case(flag))).collect();
    let number = text(body).split("X-Number: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    let number = number.unwrap_or_else(|| panic!("UID {uid} is no message of ours: {}", text(body)));
    assert!(body == message(number), "UID {uid} (number {number}) is not whole: {length} octets");
    (uid, Known { number, flags })
}

fn writer(address: SocketAddr, seed: u64, journal: Journal) -> Option<Writer> {
    let mut imap = Imap::connect(address).ok()?;
    imap.command(&format!("LOGIN {USER} \"{PASSWORD}\"")).ok()?;
    Some(Writer { imap, selected: None, random: Random(seed), journal })
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Kills, starts and compares, so many times on one account.
fn account(first_seed: u64, runs: u64, acknowledged: &mut u64) {
    let place = Place::new();
    let mut world = World::default();
    let server = place.start();
    server.imap().command(&format!("CREATE {}", MAILBOXES[1])).expect("a reply").ok();
    let mut server = Some(server);
    for seed in first_seed..first_seed + runs {
        let mut random = Random(seed);
        let running = server.take().expect("a server");
        let address = running.address("imap");
        let writers: Vec<Writer> =
            (0..WRITERS).filter_map(|number| writer(address, random.next(), world.journal(number))).collect();
        assert_eq!(writers.len() as u64, WRITERS, "seed {seed}: not all writers could log in");
        let threads: Vec<_> = writers.into_iter().map(|writer| std::thread::spawn(move || writer.run())).collect();
        // Mostly in the thick of it, sometimes at the very beginning.
        std::thread::sleep(Duration::from_micros(random.next() % 250_000));
        running.kill();
        for (number, thread) in threads.into_iter().enumerate() {
            let journal =
                thread.join().unwrap_or_else(|_| panic!("seed {seed}: writer {number} was told something wrong"));
            world.take(number as u64, journal);
        }
        *acknowledged += world.there.len() as u64;
        say(&format!("kill run with seed {seed}: {} messages, {} cut off", world.there.len(), world.pending.len()));
        let restarted = place.start();
        world.check(&mut restarted.imap());
        server = Some(restarted);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let runs = setting("PILLARBOX_KILL_RUNS").unwrap_or(50);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    let seed = setting("PILLARBOX_KILL_SEED").unwrap_or(time * 1_000);
    say(&format!("{runs} kill runs from PILLARBOX_KILL_SEED={seed}"));
    let (mut done, mut acknowledged) = (0, 0);
    while done < runs {
        let now = RUNS_PER_ACCOUNT.min(runs - done);
        account(seed + done, now, &mut acknowledged);
        done += now;
    }
    assert!(acknowledged > 0, "the writers did nothing");
}

#[test]
fn the_comparison_notices_what_it_is_for() {
    let known = Known { number: 1, flags: Flags::new() };
    let world = || {
        let mut world = World::default();
        world.there.insert((0, 1), (0, known.clone()));
        world
    };
    let settled = |pending: Pending, shown: &[(Key, Known)]| {
        let shown = shown.iter().cloned().collect();
        std::panic::catch_unwind(|| {
            let mut world = world();
            world.settle(0, pending, &shown);
            world.there.into_keys().collect::<Vec<_>>()
        })
    };
    let here = ((0, 1), known.clone());
    let there = ((1, 7), known.clone());
    let moving = Pending::Move { key: (0, 1), to: 1 };
    assert_eq!(settled(moving.clone(), std::slice::from_ref(&here)).unwrap(), [(0, 1)]);
    assert_eq!(settled(moving.clone(), std::slice::from_ref(&there)).unwrap(), [(1, 7)]);
    assert!(settled(moving.clone(), &[here.clone(), there.clone()]).is_err());
    assert!(settled(moving, &[]).is_err());
    let two = Pending::Append { mailbox: 1, messages: vec![known.clone(), Known { number: 2, ..known.clone() }] };
    assert_eq!(settled(two.clone(), std::slice::from_ref(&here)).unwrap(), [(0, 1)]);
    assert!(settled(two, &[here, there]).is_err());
}
