//! The store against a plain model of it, under random changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::backend::*;
use crate::mail::{Keyword, Keywords, MailboxName, ModSeq, SystemFlags, Uid, UidSet};
use crate::{Connection, auth::Identity};

#[derive(Clone, Debug)]
enum Step {
    Deliver(u8, u8),
    Store(u8, u8, u8, bool),
    Expunge(u8, bool),
    Copy(u8),
    Move(u8),
    Recreate,
    Forget,
    Read(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<u8>(), any::<u8>()).prop_map(|(flags, size)| Step::Deliver(flags, size)),
        4 => (any::<u8>(), any::<u8>(), 0..3_u8, any::<bool>()).prop_map(|(some, flags, op, bound)| Step::Store(some, flags, op, bound)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(some, only)| Step::Expunge(some, only)),
        1 => any::<u8>().prop_map(Step::Copy),
        1 => any::<u8>().prop_map(Step::Move),
        1 => Just(Step::Forget),
        1 => Just(Step::Recreate),
        3 => any::<u8>().prop_map(Step::Read),
    ];
    proptest::collection::vec(step, 1..120)
}

fn flags(bits: u8) -> Flags {
    let keywords: Keywords =
        (5..8).filter(|n| bits & (1 << n) != 0).map(|n| Keyword::new(&format!("k{n}")).unwrap()).collect();
    Flags { system: SystemFlags::from_bits(bits), keywords }
}

/// Every n-th message, beginning somewhere.
fn some(uids: &UidSet, choice: u8) -> UidSet {
    uids.iter().skip(usize::from(choice & 7)).step_by(1 + usize::from(choice >> 5)).collect()
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    messages: BTreeMap<Uid, (Flags, usize)>,
    next: u32,
}

impl Model {
    fn add(&mut self, message: (Flags, usize)) {
        self.next += 1;
        self.messages.insert(Uid::new(self.next).unwrap(), message);
    }

    fn uids(&self) -> UidSet {
        self.messages.keys().copied().collect()
    }
}

struct Reader {
    opened: Opened,
    since: ModSeq,
    view: BTreeMap<Uid, Option<Flags>>,
}

impl Reader {
    fn new(account: &Arc<dyn Account>) -> Self {
        let opened = block_on(account.open(OpenRequest::select(MailboxName::inbox()))).unwrap();
        let view = opened.snapshot.uids.iter().map(|uid| (uid, None)).collect();
        Self { since: opened.snapshot.modseq, view, opened }
    }

    fn read(&mut self, room: usize) -> bool {
        let told = block_on(self.opened.mailbox.changes(ChangesRequest::new(self.since, room))).unwrap();
        assert!(!told.more || told.modseq > self.since);
        if let Some(present) = &told.present {
            self.view.retain(|uid, _| present.contains(*uid));
        }
        for uid in &told.arrived {
            self.view.entry(uid).or_insert(None);
        }
        for row in told.changed {
            assert!(row.modseq > self.since && row.modseq <= told.modseq);
            *self.view.get_mut(&row.uid).expect("a message that was told of") = Some(row.flags);
        }
        for (uid, modseq) in told.expunged {
            assert!(modseq > self.since && modseq <= told.modseq);
            self.view.remove(&uid);
        }
        self.since = told.modseq;
        told.more
    }
}

proptest! {
    #[test]
    fn the_store_does_what_a_plain_model_does(steps in steps(), history in 0..20_usize) {
        let store = MemoryBackend::builder().user("a", "b").mailbox("a", "Other").expunge_history(history).build().unwrap();
        let account = block_on(Backend::open(&store, &Connection::default(), &Identity::new("a"))).unwrap();
        let (mut inbox, mut other) = (Model::default(), Model::default());
        let mut reader = Reader::new(&account);
        let mut last_modseq = ModSeq::ZERO;
        for step in steps {
            let before = inbox.clone();
            let all = inbox.uids();
            match step {
                Step::Deliver(bits, size) => {
                    store.deliver("a", "INBOX", NewMessage::new(vec![b'x'; usize::from(size)]).flags(flags(bits))).unwrap();
                    inbox.add((flags(bits), usize::from(size)));
                }
                Step::Store(choice, bits, op, bounded) => {
                    let op = [StoreOp::Add, StoreOp::Remove, StoreOp::Replace][usize::from(op)];
                    let mut request = StoreRequest::new(some(&all, choice), op, flags(bits));
                    let messages = store.messages("a", "INBOX").unwrap();
                    request.unchanged_since = bounded.then_some(reader.since);
                    let late: UidSet = messages.iter().filter(|message| bounded && message.modseq > reader.since).map(|message| message.uid).collect();
                    let stored = block_on(reader.opened.mailbox.store(request.clone())).unwrap();
                    prop_assert_eq!(&stored.modified, &request.uids.intersection(&late));
                    for uid in &request.uids.difference(&late) {
                        let held = &mut inbox.messages.get_mut(&uid).unwrap().0;
                        *held = match op {
                            StoreOp::Add => held.union(&flags(bits)),
                            StoreOp::Remove => held.difference(&flags(bits)),
                            StoreOp::Replace => flags(bits),
                        };
                    }
                }
                Step::Expunge(choice, only_deleted) => {
                    let uids = some(&all, choice);
                    let expunged = block_on(reader.opened.mailbox.expunge(ExpungeRequest { uids: uids.clone(), only_deleted })).unwrap();
                    let gone = |uid: &Uid, flags: &Flags| uids.contains(*uid) && (!only_deleted || flags.system.contains(SystemFlags::DELETED));
                    inbox.messages.retain(|uid, (flags, _)| !gone(uid, flags));
                    prop_assert_eq!(expunged.uids, all.difference(&inbox.uids()));
                }
                Step::Copy(choice) | Step::Move(choice) => {
                    let uids = some(&all, choice);
                    let from = Arc::clone(&reader.opened.mailbox);
                    let request = CopyRequest::new(from, reader.opened.snapshot.id.clone(), uids.clone(), MailboxName::new("Other").unwrap());
                    let moves = matches!(step, Step::Move(_));
                    let done = block_on(if moves { account.move_to(request) } else { account.copy(request) });
                    prop_assert_eq!(done.is_ok(), !uids.is_empty());
                    for uid in &uids {
                        other.add(inbox.messages[&uid].clone());
                        if moves {
                            inbox.messages.remove(&uid);
                        }
                    }
                }
                Step::Recreate => {
                    store.recreate("a", "INBOX").unwrap();
                    let messages = std::mem::take(&mut inbox).messages;
                    messages.into_values().for_each(|message| inbox.add(message));
                    prop_assert!(matches!(block_on(reader.opened.mailbox.message(Uid::MIN)), Err(Error::MailboxGone)));
                    (reader, last_modseq) = (Reader::new(&account), ModSeq::ZERO);
                }
                Step::Forget => store.forget_removals("a", "INBOX").unwrap(),
                Step::Read(room) => {
                    reader.read(1 + usize::from(room % 8));
                }
            }
            let snapshot = store.snapshot("a", "INBOX").unwrap();
            prop_assert_eq!(&snapshot.uids, &inbox.uids());
            prop_assert_eq!(snapshot.uid_next.unwrap().get(), inbox.next + 1);
            prop_assert!(snapshot.modseq >= last_modseq);
            prop_assert!(before == inbox || snapshot.modseq > last_modseq);
            last_modseq = snapshot.modseq;
            let items = StatusItems { messages: true, recent: true, unseen: true, deleted: true, size: true };
            for (name, model) in [("INBOX", &inbox), ("Other", &other)] {
                let status = block_on(account.status(StatusRequest::new(MailboxName::new(name).unwrap(), items))).unwrap();
                let count = |test: fn(SystemFlags) -> bool| model.messages.values().filter(|(flags, _)| test(flags.system)).count() as u32;
                prop_assert_eq!(status.messages, model.messages.len() as u32);
                prop_assert_eq!(status.unseen, count(|flags| !flags.contains(SystemFlags::SEEN)));
                prop_assert_eq!(status.deleted, count(|flags| flags.contains(SystemFlags::DELETED)));
                prop_assert_eq!(status.size, model.messages.values().map(|(_, size)| *size as u64).sum::<u64>());
            }
        }
        while reader.read(3) {}
        prop_assert_eq!(reader.view.keys().copied().collect::<UidSet>(), inbox.uids());
        for (uid, known) in reader.view {
            prop_assert!(known.is_none_or(|known| known == inbox.messages[&uid].0));
        }
        for (name, model) in [("INBOX", &inbox), ("Other", &other)] {
            let stored: BTreeMap<_, _> = store.messages("a", name).unwrap().into_iter().map(|message| (message.uid, (message.flags, message.content.len()))).collect();
            prop_assert_eq!(&stored, &model.messages);
        }
    }
}
