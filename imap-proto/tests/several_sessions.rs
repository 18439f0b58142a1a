//! Several sessions on one mailbox against a simple model of what each client must believe.
//!
//! Every client keeps the list of messages that the responses make it believe in, as a mail program would. The
//! properties: a sequence number never names another message than the client thinks; EXPUNGE is never sent where the
//! standard forbids it; a command changes only the messages that the client meant; in the end all beliefs converge.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use pillarbox_imap_proto::Config;
use pillarbox_proto_core::backend::StoreOp;
use pillarbox_proto_core::mail::{Flags, SystemFlags, Uid, UidSet};
use pillarbox_proto_core::memory::MemoryBackend;
use proptest::prelude::*;
use support::client::{Client, env};

#[derive(Clone, Debug)]
enum Op {
    Noop,
    Fetch(u8, u8),
    UidFetch(u8, u8),
    /// Numbers, whether to add, whether `\Deleted` rather than `\Flagged`, `.SILENT`.
    Store(u8, u8, bool, bool, bool),
    UidStore(u8, u8, bool, bool),
    Expunge,
    UidExpunge(u8, u8),
    Copy(u8),
    Move(u8, u8),
    UidMove(u8),
    Append,
    Search,
    UidSearch,
    Idle,
    Check,
    Reselect(bool),
    DeliverElsewhere,
    ExpungeElsewhere(u8),
    FlagElsewhere(u8),
    ForgetRemovals,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Noop),
        4 => any::<(u8, u8)>().prop_map(|(a, b)| Op::Fetch(a, b)),
        2 => any::<(u8, u8)>().prop_map(|(a, b)| Op::UidFetch(a, b)),
        4 => any::<(u8, u8, bool, bool, bool)>().prop_map(|(a, b, add, deleted, silent)| Op::Store(a, b, add, deleted, silent)),
        2 => any::<(u8, u8, bool, bool)>().prop_map(|(a, b, add, deleted)| Op::UidStore(a, b, add, deleted)),
        3 => Just(Op::Expunge),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Op::UidExpunge(a, b)),
        1 => any::<u8>().prop_map(Op::Copy),
        2 => any::<(u8, u8)>().prop_map(|(a, b)| Op::Move(a, b)),
        1 => any::<u8>().prop_map(Op::UidMove),
        3 => Just(Op::Append),
        2 => Just(Op::Search),
        1 => Just(Op::UidSearch),
        2 => Just(Op::Idle),
        1 => Just(Op::Check),
        1 => any::<bool>().prop_map(Op::Reselect),
        3 => Just(Op::DeliverElsewhere),
        3 => any::<u8>().prop_map(Op::ExpungeElsewhere),
        2 => any::<u8>().prop_map(Op::FlagElsewhere),
        1 => Just(Op::ForgetRemovals),
    ]
}

/// A client with what it believes.
struct Reader {
    client: Client,
    /// The UID of each message, by number, where it has learnt it.
    view: Vec<Option<u32>>,
    /// The flags of each, where it has learnt them.
    flags: BTreeMap<u32, String>,
    rev2: bool,
    read_only: bool,
    tag: u32,
    idling: bool,
    /// The numbers or UIDs that the last SEARCH found.
    found: Vec<u32>,
}

struct World {
    backend: MemoryBackend,
    readers: Vec<Reader>,
    /// How large the next message is: every message has a size of its own, by which it is known.
    next_size: usize,
    /// The size that each UID was delivered with.
    sizes: BTreeMap<u32, u64>,
}

impl World {
    fn new(sessions: usize, messages: usize) -> Self {
        let backend = MemoryBackend::builder()
            .env(env())
            .user("u", "p")
            .mailbox("u", "Other")
            .expunge_history(6)
            .build()
            .unwrap();
        let mut this = Self { backend, readers: Vec::new(), next_size: 40, sizes: BTreeMap::new() };
        for _ in 0..messages {
            this.deliver();
        }
        for index in 0..sessions {
            let mut reader = Reader {
                client: Client::new(Arc::new(this.backend.clone()), Config::default()),
                view: Vec::new(),
                flags: BTreeMap::new(),
                rev2: index == 1,
                read_only: false,
                tag: 0,
                idling: false,
                found: Vec::new(),
            };
            reader.client.drive();
            reader.command("LOGIN u p", true);
            if reader.rev2 {
                reader.command("ENABLE IMAP4rev2", true);
            }
            reader.command("SELECT INBOX", true);
            this.readers.push(reader);
        }
        this
    }

    fn message(&mut self) -> String {
        self.next_size += 1;
        let mut message = String::from("Subject: x\r\n\r\n");
        while message.len() < self.next_size {
            message.push('.');
        }
        message
    }

    fn deliver(&mut self) {
        let message = self.message();
        self.backend.deliver("u", "INBOX", message).unwrap();
        self.note_sizes();
    }

    fn note_sizes(&mut self) {
        for message in self.backend.messages("u", "INBOX").unwrap() {
            self.sizes.entry(message.uid.get()).or_insert(message.content.len() as u64);
        }
    }

    /// The store's messages: UID and flags.
    fn truth(&self) -> BTreeMap<u32, Flags> {
        self.backend
            .messages("u", "INBOX")
            .unwrap()
            .into_iter()
            .map(|message| (message.uid.get(), message.flags))
            .collect()
    }

    fn run(&mut self, who: usize, op: &Op) {
        let who = who % self.readers.len();
        let before = self.truth();
        match op {
            Op::DeliverElsewhere => return self.deliver(),
            Op::ExpungeElsewhere(pick) => {
                if let Some(uid) = nth(&before, *pick) {
                    self.backend.expunge("u", "INBOX", UidSet::from(Uid::new(uid).unwrap())).unwrap();
                }
                return self.settle();
            }
            Op::FlagElsewhere(pick) => {
                if let Some(uid) = nth(&before, *pick) {
                    let flags = Flags::from(SystemFlags::ANSWERED);
                    self.backend
                        .store_flags("u", "INBOX", UidSet::from(Uid::new(uid).unwrap()), StoreOp::Add, flags)
                        .unwrap();
                }
                return self.settle();
            }
            Op::ForgetRemovals => return self.backend.forget_removals("u", "INBOX").unwrap(),
            _ => {}
        }
        let message = self.message();
        let sizes = self.sizes.clone();
        let reader = &mut self.readers[who];
        if reader.idling {
            reader.done();
        }
        match op {
            Op::Noop => reader.expect_ok("NOOP", true),
            Op::Check => reader.expect_ok("CHECK", true),
            Op::Fetch(a, b) => {
                if let Some(set) = reader.numbers(*a, *b) {
                    reader.fetch(&format!("FETCH {set} (UID FLAGS RFC822.SIZE)"), false, &sizes);
                }
            }
            Op::UidFetch(a, b) => {
                let (a, b) = (u32::from(a % 40) + 1, u32::from(b % 40) + 1);
                reader.fetch(&format!("UID FETCH {a}:{b} (FLAGS RFC822.SIZE)"), true, &sizes);
            }
            Op::Store(a, b, add, deleted, silent) => {
                reader.learn(&sizes);
                if let Some(set) = reader.numbers(*a, *b) {
                    let meant = reader.meant(&set);
                    let sign = if *add { '+' } else { '-' };
                    let silent = if *silent { ".SILENT" } else { "" };
                    let flag = if *deleted { "\\Deleted" } else { "\\Flagged" };
                    reader.command(&format!("STORE {set} {sign}FLAGS{silent} ({flag})"), false);
                    if !silent.is_empty() && !reader.read_only {
                        reader.believe(&meant, *add, flag);
                    }
                    self.only_changed(&before, &meant);
                }
            }
            Op::UidStore(a, b, add, deleted) => {
                let (a, b) = (u32::from(a % 40) + 1, u32::from(b % 40) + 1);
                let sign = if *add { '+' } else { '-' };
                let flag = if *deleted { "\\Deleted" } else { "\\Flagged" };
                let (low, high) = (a.min(b), a.max(b));
                let meant: Vec<u32> = (low..=high).collect();
                reader.command(&format!("UID STORE {a}:{b} {sign}FLAGS ({flag})"), true);
                self.only_changed(&before, &meant);
            }
            Op::Expunge => {
                reader.learn(&sizes);
                let known: Vec<u32> = reader.view.iter().flatten().copied().collect();
                reader.command("EXPUNGE", true);
                self.only_removed(&before, |uid, flags| {
                    known.contains(&uid) && flags.system.contains(SystemFlags::DELETED)
                });
            }
            Op::UidExpunge(a, b) => {
                let (a, b) = (u32::from(a % 40) + 1, u32::from(b % 40) + 1);
                let (low, high) = (a.min(b), a.max(b));
                reader.command(&format!("UID EXPUNGE {a}:{b}"), true);
                self.only_removed(&before, |uid, flags| {
                    (low..=high).contains(&uid) && flags.system.contains(SystemFlags::DELETED)
                });
            }
            Op::Copy(a) => {
                if let Some(set) = reader.numbers(*a, *a) {
                    reader.command(&format!("COPY {set} Other"), true);
                    self.only_removed(&before, |_, _| false);
                }
            }
            Op::Move(a, b) => {
                reader.learn(&sizes);
                if let Some(set) = reader.numbers(*a, *b) {
                    let meant = reader.meant(&set);
                    reader.command(&format!("MOVE {set} Other"), true);
                    self.only_removed(&before, |uid, _| meant.contains(&uid));
                }
            }
            Op::UidMove(a) => {
                let uid = u32::from(a % 40) + 1;
                reader.command(&format!("UID MOVE {uid} Other"), true);
                self.only_removed(&before, |gone, _| gone == uid);
            }
            Op::Append => {
                reader.command(&format!("APPEND INBOX {{{}+}}\r\n{message}", message.len()), true);
            }
            Op::Search => {
                reader.command("SEARCH DELETED", false);
                let known = reader.view.len();
                assert!(reader.found.iter().all(|number| (*number as usize) <= known));
            }
            Op::UidSearch => {
                reader.command("UID SEARCH UNDELETED", true);
            }
            Op::Idle => reader.idle(),
            Op::Reselect(examine) => {
                reader.view.clear();
                reader.flags.clear();
                reader.read_only = *examine;
                reader.command(if *examine { "EXAMINE INBOX" } else { "SELECT INBOX" }, true);
            }
            _ => {}
        }
        self.settle();
    }

    /// Sessions in IDLE hear what happened.
    fn settle(&mut self) {
        self.note_sizes();
        for reader in &mut self.readers {
            let said = reader.client.drive();
            assert!(said.is_empty() || reader.idling, "said without a command: {}", said.escape_ascii());
            reader.hear(&said, true);
        }
    }

    fn only_changed(&self, before: &BTreeMap<u32, Flags>, meant: &[u32]) {
        let after = self.truth();
        for (uid, flags) in before {
            let changed = after.get(uid).is_some_and(|now| now != flags);
            assert!(!changed || meant.contains(uid), "UID {uid} was changed though {meant:?} were meant");
        }
        self.only_removed(before, |_, _| false);
    }

    fn only_removed(&self, before: &BTreeMap<u32, Flags>, meant: impl Fn(u32, &Flags) -> bool) {
        let after = self.truth();
        for (uid, flags) in before {
            assert!(after.contains_key(uid) || meant(*uid, flags), "UID {uid} was removed though it was not meant");
        }
    }

    /// After a word from the server everybody believes the truth.
    fn converge(&mut self) {
        let sizes = self.sizes.clone();
        let truth = self.truth();
        for reader in &mut self.readers {
            if reader.idling {
                reader.done();
            }
            reader.expect_ok("NOOP", true);
            assert_eq!(reader.view.len(), truth.len(), "the count");
            let known = reader.flags.clone();
            reader.learn(&sizes);
            let view: Vec<u32> = reader.view.iter().flatten().copied().collect();
            assert_eq!(view, truth.keys().copied().collect::<Vec<_>>(), "the messages");
            for (uid, flags) in &known {
                if let Some(now) = reader.flags.get(uid) {
                    assert_eq!(flags, now, "flags of UID {uid} as last told");
                }
            }
        }
    }
}

fn nth(messages: &BTreeMap<u32, Flags>, pick: u8) -> Option<u32> {
    messages.keys().copied().nth(usize::from(pick) % messages.len().max(1))
}

impl Reader {
    /// A set of numbers that the client believes in.
    fn numbers(&self, a: u8, b: u8) -> Option<String> {
        let count = self.view.len();
        if count == 0 {
            return None;
        }
        Some(format!("{}:{}", usize::from(a) % count + 1, usize::from(b) % count + 1))
    }

    /// The UIDs that a set of numbers means to the client.
    fn meant(&self, set: &str) -> Vec<u32> {
        let (a, b) = set.split_once(':').unwrap();
        let (a, b): (usize, usize) = (a.parse().unwrap(), b.parse().unwrap());
        self.view[a.min(b) - 1..a.max(b)].iter().flatten().copied().collect()
    }

    /// Asks for the UIDs of all messages.
    fn learn(&mut self, sizes: &BTreeMap<u32, u64>) {
        if !self.view.is_empty() {
            self.fetch("FETCH 1:* (UID FLAGS RFC822.SIZE)", false, sizes);
        }
        // The answer may end with news of more.
        if self.view.iter().any(Option::is_none) {
            self.fetch("FETCH 1:* (UID FLAGS RFC822.SIZE)", false, sizes);
        }
    }

    fn fetch(&mut self, command: &str, expunges: bool, sizes: &BTreeMap<u32, u64>) {
        for line in self.command(command, expunges) {
            let Some((uid, size)) = number_after(&line, "UID ").zip(number_after(&line, "RFC822.SIZE ")) else {
                continue;
            };
            assert_eq!(sizes.get(&uid), Some(&u64::from(size)), "UID {uid} has the content of another message");
        }
    }

    /// After `.SILENT` the client takes the change for granted.
    fn believe(&mut self, meant: &[u32], add: bool, flag: &str) {
        for uid in meant {
            if let Some(flags) = self.flags.get_mut(uid) {
                let mut names: Vec<&str> = flags.split(' ').filter(|name| !name.is_empty() && *name != flag).collect();
                if add {
                    names.push(flag);
                }
                names.sort_unstable();
                *flags = names.join(" ");
            }
        }
    }

    fn expect_ok(&mut self, command: &str, expunges: bool) {
        let lines = self.command(command, expunges);
        let last = lines.last().unwrap();
        assert!(last.contains(" OK "), "{command}: {last}");
    }

    fn command(&mut self, command: &str, expunges: bool) -> Vec<String> {
        self.tag += 1;
        self.found.clear();
        let tag = format!("t{}", self.tag);
        let said = self.client.send(format!("{tag} {command}\r\n").as_bytes());
        let lines = self.hear(&said, expunges);
        let last = lines.last().unwrap_or_else(|| panic!("{command}: no answer"));
        assert!(last.starts_with(&tag), "{command}: {last}");
        assert!(!last.contains(" BAD "), "{command}: {last}");
        lines
    }

    fn idle(&mut self) {
        self.tag += 1;
        let said = self.client.send(format!("t{} IDLE\r\n", self.tag).as_bytes());
        assert!(said.starts_with(b"+ "), "{}", said.escape_ascii());
        self.idling = true;
        self.hear(&said, true);
    }

    fn done(&mut self) {
        let said = self.client.send(b"DONE\r\n");
        self.idling = false;
        let lines = self.hear(&said, true);
        assert!(lines.last().unwrap().contains(" OK "), "{lines:?}");
    }

    /// Believes what the server says.
    fn hear(&mut self, said: &[u8], expunges: bool) -> Vec<String> {
        let text = String::from_utf8(said.to_vec()).unwrap();
        let lines: Vec<String> = text.split_terminator("\r\n").map(String::from).collect();
        for line in &lines {
            let Some(rest) = line.strip_prefix("* ") else { continue };
            let mut words = rest.split(' ');
            let first = words.next().unwrap();
            let Ok(number) = first.parse::<usize>() else {
                if first == "SEARCH" {
                    self.found = words.map(|word| word.parse().unwrap()).collect();
                }
                assert_ne!(first, "BYE", "{line}");
                continue;
            };
            match words.next().unwrap() {
                "EXISTS" => {
                    assert!(number >= self.view.len(), "EXISTS took messages away");
                    self.view.resize(number, None);
                }
                "EXPUNGE" => {
                    assert!(expunges, "EXPUNGE where it is forbidden");
                    assert!((1..=self.view.len()).contains(&number), "EXPUNGE of an unknown number");
                    if let Some(uid) = self.view.remove(number - 1) {
                        self.flags.remove(&uid);
                    }
                }
                "FETCH" => {
                    assert!((1..=self.view.len()).contains(&number), "FETCH of an unknown number");
                    let known = &mut self.view[number - 1];
                    if let Some(uid) = number_after(line, "UID ") {
                        assert!(known.is_none_or(|known| known == uid), "number {number} means another message now");
                        *known = Some(uid);
                    }
                    if let Some((flags, uid)) = flags_of(line).zip(*known) {
                        self.flags.insert(uid, flags);
                    }
                }
                _ => {}
            }
        }
        lines
    }
}

fn number_after(line: &str, name: &str) -> Option<u32> {
    let rest = &line[line.find(name)? + name.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn flags_of(line: &str) -> Option<String> {
    let rest = &line[line.find("FLAGS (")? + 7..];
    let mut flags: Vec<&str> = rest[..rest.find(')')?].split(' ').filter(|flag| *flag != "\\Recent").collect();
    flags.sort_unstable();
    Some(flags.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn beliefs_hold_and_converge(
        sessions in 2_usize..=3,
        messages in 0_usize..8,
        ops in prop::collection::vec((any::<usize>(), op()), 1..50),
    ) {
        let mut world = World::new(sessions, messages);
        for (who, op) in &ops {
            world.run(*who, op);
        }
        world.converge();
    }
}
