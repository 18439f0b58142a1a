use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::executor::block_on;

use super::*;
use crate::auth::{Identity, Secret};
use crate::backend::*;
use crate::env::FixedEnv;
use crate::mail::{Keyword, MailboxName, ModSeq, SpecialUse, SystemFlags, Uid, UidSet};
use crate::{Connection, Signal};

fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

fn uids(range: std::ops::RangeInclusive<u32>) -> UidSet {
    UidSet::from_range(uid(*range.start()), uid(*range.end()))
}

fn name(text: &str) -> MailboxName {
    MailboxName::new(text).unwrap()
}

fn keyword(text: &str) -> Flags {
    Flags { system: SystemFlags::NONE, keywords: [Keyword::new(text).unwrap()].into_iter().collect() }
}

fn builder() -> Builder {
    let env = FixedEnv { now: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000), byte: 5 };
    MemoryBackend::builder().env(Arc::new(env)).user("alice", "secret").user("bob", "hidden")
}

fn with_messages(count: u32) -> MemoryBackend {
    (0..count)
        .fold(builder(), |builder, n| builder.message("alice", "INBOX", Flags::NONE, format!("{n}\r\n")))
        .build()
        .unwrap()
}

fn account(store: &MemoryBackend, user: &str) -> Arc<dyn Account> {
    block_on(Backend::open(store, &Connection::default(), &Identity::new(user))).unwrap()
}

fn select(account: &Arc<dyn Account>, mailbox: &str) -> Opened {
    block_on(account.open(OpenRequest::select(name(mailbox)))).unwrap()
}

fn rows(opened: &Opened, request: FetchRequest, at_a_time: usize) -> Vec<Row> {
    let mut rows = block_on(opened.mailbox.fetch(request)).unwrap();
    let (mut batch, mut all) = (Batch::new(at_a_time, 1 << 20), Vec::new());
    loop {
        let more = block_on(rows.next(&mut batch)).unwrap();
        assert!(batch.len() <= at_a_time);
        all.extend(batch.drain());
        if !more {
            return all;
        }
    }
}

fn changes(opened: &Opened, since: ModSeq) -> Changes {
    block_on(opened.mailbox.changes(ChangesRequest::new(since, usize::MAX))).unwrap()
}

fn append(account: &Arc<dyn Account>, mailbox: &str, content: &'static str) -> Result<Appended> {
    block_on(async {
        let mut append = account.append(AppendRequest::new(name(mailbox))).await?;
        append.begin(AppendMessage::new(content.len() as u64, Flags::NONE, None)).await?;
        append.write(Bytes::from_static(content.as_bytes())).await?;
        append.commit(CommitOptions::default()).await
    })
}

#[test]
fn fetches_in_both_directions_with_gaps_and_small_batches() {
    let store = with_messages(100);
    let opened = select(&account(&store, "alice"), "INBOX");
    let mut wanted = uids(10..=20);
    wanted.insert(uid(25));
    wanted.insert_range(uid(80), uid(4000));
    store.expunge("alice", "INBOX", uids(85..=90)).unwrap();
    let expected: Vec<u32> = (10..=20).chain([25]).chain(80..85).chain(91..=100).collect();
    for at_a_time in [1, 2, 7, 1000] {
        let mut request = FetchRequest::new(wanted.clone(), FetchData::FLAGS);
        let up: Vec<_> = rows(&opened, request.clone(), at_a_time).iter().map(|row| row.uid.get()).collect();
        assert_eq!(up, expected);
        request.descending = true;
        let mut down: Vec<_> = rows(&opened, request, at_a_time).iter().map(|row| row.uid.get()).collect();
        down.reverse();
        assert_eq!(down, expected);
    }
}

#[test]
fn a_full_batch_is_no_end() {
    let store = with_messages(3);
    let opened = select(&account(&store, "alice"), "INBOX");
    let mut rows = block_on(opened.mailbox.fetch(FetchRequest::new(UidSet::full(), FetchData::FLAGS))).unwrap();
    let mut batch = Batch::new(2, 0);
    batch.push(Row::new(uid(77)));
    for _ in 0..2 {
        assert!(block_on(rows.next(&mut batch)).unwrap());
        assert_eq!(batch.len(), 1);
    }
    batch.clear();
    while block_on(rows.next(&mut batch)).unwrap() {
        assert_eq!(batch.drain().len(), 1);
    }
}

#[test]
fn content_comes_inline_as_far_as_asked_and_as_fits() {
    let store = builder()
        .message("alice", "INBOX", Flags::NONE, vec![b'a'; 50])
        .message("alice", "INBOX", Flags::NONE, vec![b'b'; 50])
        .message("alice", "INBOX", Flags::NONE, vec![b'c'; 51])
        .build()
        .unwrap();
    let opened = select(&account(&store, "alice"), "INBOX");
    let data = FetchData { inline: 50, ..FetchData::default() };
    let mut rows = block_on(opened.mailbox.fetch(FetchRequest::new(UidSet::full(), data))).unwrap();
    let mut batch = Batch::new(10, 70);
    assert!(block_on(rows.next(&mut batch)).unwrap());
    assert_eq!(batch.drain().map(|row| row.content.unwrap().len()).collect::<Vec<_>>(), [50]);
    assert!(!block_on(rows.next(&mut batch)).unwrap());
    assert_eq!(batch.drain().map(|row| row.content.map(|content| content.len())).collect::<Vec<_>>(), [Some(50), None]);
}

#[test]
fn changes_come_in_pages_and_leave_nothing_out() {
    let store = with_messages(4);
    let opened = select(&account(&store, "alice"), "INBOX");
    let start = opened.snapshot.modseq;
    assert!(opened.mailbox.changed(start).now_or_never().is_none());
    store.deliver("alice", "INBOX", "5\r\n").unwrap();
    store.store_flags("alice", "INBOX", uid(5), StoreOp::Add, SystemFlags::SEEN).unwrap();
    store.store_flags("alice", "INBOX", uids(1..=2), StoreOp::Add, keyword("$Work")).unwrap();
    store.expunge("alice", "INBOX", uids(2..=3)).unwrap();
    assert!(opened.mailbox.changed(start).now_or_never().is_some());
    let (mut since, mut arrived, mut changed, mut expunged) = (start, Vec::new(), Vec::new(), Vec::new());
    loop {
        let page = block_on(opened.mailbox.changes(ChangesRequest::new(since, 1))).unwrap();
        assert!(page.modseq > since && page.present.is_none());
        since = page.modseq;
        arrived.extend(page.arrived.iter().map(Uid::get));
        changed.extend(page.changed.iter().map(|row| row.uid.get()));
        expunged.extend(page.expunged.iter().map(|(uid, _)| uid.get()));
        if !page.more {
            break;
        }
    }
    assert_eq!((arrived, changed, expunged), (vec![5], vec![5, 1], vec![2, 3]));
    assert_eq!(since, store.snapshot("alice", "INBOX").unwrap().modseq);
    assert!(opened.mailbox.changed(since).now_or_never().is_none());
}

#[test]
fn a_forgotten_history_tells_what_is_present() {
    let store = builder().expunge_history(2).message("alice", "INBOX", Flags::NONE, "0").build().unwrap();
    for _ in 0..5 {
        store.deliver("alice", "INBOX", "x").unwrap();
    }
    let opened = select(&account(&store, "alice"), "INBOX");
    store.expunge("alice", "INBOX", uids(2..=4)).unwrap();
    let told = changes(&opened, opened.snapshot.modseq);
    assert_eq!(told.present.unwrap().to_string(), "1,5:6");
    assert_eq!(told.expunged.iter().map(|(uid, _)| uid.get()).collect::<Vec<_>>(), [3, 4]);
    // Nothing is lost since the first removal of these.
    assert!(changes(&opened, opened.snapshot.modseq.next()).present.is_none());
    store.forget_removals("alice", "INBOX").unwrap();
    assert!(changes(&opened, opened.snapshot.modseq.next()).present.is_some());
}

#[test]
fn handles_follow_their_mailbox_to_its_end() {
    let store = builder().message("alice", "A/B", Flags::NONE, "x").build().unwrap();
    let account = account(&store, "alice");
    let opened = select(&account, "A/B");
    let since = opened.snapshot.modseq;
    block_on(account.rename(RenameRequest::new(name("A"), name("C")))).unwrap();
    assert_eq!(changes(&opened, since).fate, Fate::Renamed(name("C/B")));
    assert_eq!(rows(&opened, FetchRequest::new(UidSet::full(), FetchData::FLAGS), 5).len(), 1);
    let mut message = block_on(opened.mailbox.message(uid(1))).unwrap();
    store.recreate("alice", "C/B").unwrap();
    assert_eq!(changes(&opened, since).fate, Fate::Recreated);
    assert!(matches!(block_on(opened.mailbox.message(uid(1))), Err(Error::MailboxGone)));
    assert_eq!(block_on(message.read(0, 10)).unwrap(), "x");
    let again = select(&account, "C/B");
    assert_ne!(again.snapshot.uid_validity, opened.snapshot.uid_validity);
    assert_eq!(again.snapshot.uids.count(), 1);
    store.delete("alice", "C/B").unwrap();
    assert_eq!(changes(&again, again.snapshot.modseq).fate, Fate::Deleted);
    assert!(again.mailbox.changed(again.snapshot.modseq).now_or_never().is_some());
}

#[test]
fn names_form_a_tree() {
    let store =
        builder().mailbox("alice", "A/B/C").mailbox("alice", "INBOX/D").subscribe("alice", "Gone").build().unwrap();
    let account = account(&store, "alice");
    let list = || {
        let list = block_on(account.list(&ListRequest::all())).unwrap();
        list.iter().map(|entry| format!("{}{}", entry.name, if entry.exists { "" } else { "!" })).collect::<Vec<_>>()
    };
    assert_eq!(list(), ["A!", "A/B!", "A/B/C", "INBOX", "INBOX/D", "Gone!"]);
    assert!(matches!(block_on(account.delete(&name("A"))), Err(Error::HasChildren)));
    assert!(matches!(block_on(account.delete(&name("X"))), Err(Error::NoSuchMailbox)));
    assert!(matches!(block_on(account.delete(&name("INBOX"))), Err(Error::Cannot(_))));
    block_on(account.create(CreateRequest::new(name("A")))).unwrap();
    assert!(matches!(block_on(account.create(CreateRequest::new(name("A")))), Err(Error::AlreadyExists)));
    assert!(matches!(block_on(account.create(CreateRequest::new(name("A//B")))), Err(Error::Cannot(_))));
    assert!(matches!(
        block_on(account.rename(RenameRequest::new(name("A"), name("INBOX")))),
        Err(Error::AlreadyExists)
    ));
    assert!(matches!(block_on(account.rename(RenameRequest::new(name("A"), name("A/E")))), Err(Error::Cannot(_))));
    block_on(account.rename(RenameRequest::new(name("A"), name("B")))).unwrap();
    assert_eq!(list(), ["B", "B/B!", "B/B/C", "INBOX", "INBOX/D", "Gone!"]);
    store.deliver("alice", "INBOX", "x").unwrap();
    let inbox = select(&account, "INBOX");
    block_on(account.rename(RenameRequest::new(name("INBOX"), name("Old")))).unwrap();
    assert_eq!(list(), ["B", "B/B!", "B/B/C", "INBOX", "INBOX/D", "Old", "Gone!"]);
    assert_eq!(changes(&inbox, inbox.snapshot.modseq).expunged.len(), 1);
    assert_eq!(store.messages("alice", "Old").unwrap().len(), 1);
    let trash = CreateRequest { special_use: vec![SpecialUse::Trash], ..CreateRequest::new(name("Bin")) };
    block_on(account.create(trash)).unwrap();
    let entry =
        block_on(account.list(&ListRequest::all())).unwrap().into_iter().find(|entry| entry.name == name("Bin"));
    assert_eq!(entry.unwrap().special_use, [SpecialUse::Trash]);
}

#[test]
fn recent_is_claimed_once_and_a_maildrop_held_once() {
    let store = with_messages(2);
    let account = account(&store, "alice");
    let look = block_on(account.open(OpenRequest::examine(name("INBOX")))).unwrap();
    assert_eq!(look.recent.count(), 2);
    assert_eq!(select(&account, "INBOX").recent.count(), 2);
    let second = select(&account, "INBOX");
    assert!(second.recent.is_empty());
    store.deliver("alice", "INBOX", "x").unwrap();
    let mut request = ChangesRequest::new(second.snapshot.modseq, 10);
    request.claim_recent = true;
    assert_eq!(block_on(second.mailbox.changes(request)).unwrap().recent.count(), 1);
    assert!(block_on(second.mailbox.changes(request)).unwrap().recent.is_empty());

    let held = block_on(account.open(OpenRequest::maildrop(name("INBOX")))).unwrap();
    assert!(matches!(block_on(account.open(OpenRequest::maildrop(name("INBOX")))), Err(Error::InUse)));
    select(&account, "INBOX");
    drop(held);
    assert!(block_on(account.open(OpenRequest::maildrop(name("INBOX")))).is_ok());
}

#[test]
fn limits_are_told_before_and_after_the_octets() {
    let store = builder().append_limit(5).quota(8).max_keywords(1).build().unwrap();
    let account = account(&store, "alice");
    assert!(matches!(append(&account, "INBOX", "123456"), Err(Error::TooBig)));
    append(&account, "INBOX", "12345").unwrap();
    assert!(matches!(append(&account, "INBOX", "1234"), Err(Error::OverQuota)));
    let mut lying = block_on(account.append(AppendRequest::new(name("INBOX")))).unwrap();
    block_on(lying.begin(AppendMessage::new(1, Flags::NONE, None))).unwrap();
    assert!(matches!(block_on(lying.write(Bytes::from_static(b"1234"))), Err(Error::OverQuota)));
    assert!(block_on(lying.commit(CommitOptions::default())).is_err());
    // Two transactions that fit, but not both.
    let mut first = block_on(account.append(AppendRequest::new(name("INBOX")))).unwrap();
    block_on(first.begin(AppendMessage::new(3, Flags::NONE, None))).unwrap();
    block_on(first.write(Bytes::from_static(b"123"))).unwrap();
    append(&account, "INBOX", "123").unwrap();
    assert!(matches!(block_on(first.commit(CommitOptions::default())), Err(Error::OverQuota)));
    // A move needs no room.
    store.create("alice", "Other").unwrap();
    let inbox = select(&account, "INBOX");
    let request =
        |to| CopyRequest::new(Arc::clone(&inbox.mailbox), inbox.snapshot.id.clone(), UidSet::full(), name(to));
    assert!(matches!(block_on(account.copy(request("Other"))), Err(Error::OverQuota)));
    assert_eq!(block_on(account.move_to(request("INBOX"))).unwrap().pairs.len(), 2);
    assert_eq!(block_on(account.move_to(request("Other"))).unwrap().pairs.len(), 2);
    assert!(matches!(append(&account, "INBOX", "1"), Err(Error::OverQuota)));
    store.delete("alice", "Other").unwrap();
    append(&account, "INBOX", "12345").unwrap();
    store.store_flags("alice", "INBOX", UidSet::full(), StoreOp::Add, keyword("one")).unwrap();
    assert!(store.store_flags("alice", "INBOX", UidSet::full(), StoreOp::Add, keyword("two")).is_err());
    // The first one is out of use, so there is room.
    store.store_flags("alice", "INBOX", UidSet::full(), StoreOp::Replace, Flags::NONE).unwrap();
    store.store_flags("alice", "INBOX", UidSet::full(), StoreOp::Add, keyword("two")).unwrap();
    assert_eq!(store.snapshot("alice", "INBOX").unwrap().keywords, keyword("two").keywords);
}

#[test]
fn keywords_keep_the_spelling_of_their_first_use() {
    let store = with_messages(2);
    store.store_flags("alice", "INBOX", uid(1), StoreOp::Add, keyword("$Work")).unwrap();
    store.store_flags("alice", "INBOX", uid(2), StoreOp::Add, keyword("$WORK")).unwrap();
    for message in store.messages("alice", "INBOX").unwrap() {
        assert_eq!(message.flags.keywords.as_slice()[0].as_str(), "$Work");
    }
    store.store_flags("alice", "INBOX", uid(1), StoreOp::Remove, keyword("$wORK")).unwrap();
    assert!(store.messages("alice", "INBOX").unwrap()[0].flags.is_empty());
}

#[test]
fn copies_and_moves_between_mailboxes_and_users() {
    let store = builder()
        .shared("Shared")
        .message("alice", "INBOX", SystemFlags::SEEN, "one")
        .message("alice", "INBOX", keyword("$Work"), "two")
        .mailbox("alice", "Shared/All")
        .mailbox("alice", "Shared/Old")
        .read_only("alice", "Shared/Old")
        .build()
        .unwrap();
    let (alice, bob) = (account(&store, "alice"), account(&store, "bob"));
    let inbox = select(&alice, "INBOX");
    let request = |uids: UidSet, to: &str| {
        CopyRequest::new(Arc::clone(&inbox.mailbox), inbox.snapshot.id.clone(), uids, name(to))
    };
    let copied = block_on(alice.copy(request(UidSet::full(), "Shared/All"))).unwrap();
    assert_eq!(copied.pairs, [(uid(1), uid(1)), (uid(2), uid(2))]);
    let moved = block_on(alice.move_to(request(uid(1).into(), "Shared/All"))).unwrap();
    assert_eq!(moved.pairs, [(uid(1), uid(3))]);
    assert!(matches!(block_on(alice.copy(request(uid(1).into(), "Shared/All"))), Err(Error::Expunged)));
    assert!(matches!(block_on(alice.copy(request(uid(2).into(), "Nowhere"))), Err(Error::NoSuchMailbox)));
    assert!(matches!(block_on(alice.copy(request(uid(2).into(), "Shared/Old"))), Err(Error::NoPermission)));
    assert_eq!(block_on(alice.move_to(request(uid(2).into(), "INBOX"))).unwrap().pairs, [(uid(2), uid(3))]);
    let all = select(&bob, "Shared/All");
    let data = FetchData { unique_id: true, ..FetchData::FLAGS };
    let rows = rows(&all, FetchRequest::new(UidSet::full(), data), 10);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1].flags, keyword("$Work"));
    assert_eq!(rows[2].flags, Flags::from(SystemFlags::SEEN));
    let ids: std::collections::HashSet<_> = rows.iter().map(|row| row.unique_id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(select(&bob, "Shared/Old").access, Access::ReadOnly);
    assert!(block_on(bob.open(OpenRequest::select(name("Archive")))).is_err());
}

#[test]
fn users_come_in_by_what_they_hold() {
    let store = builder().token("carol", "t0ken").may_act_as("bob", "alice").build().unwrap();
    let connection = Connection::default();
    let check = |user, password: &str| block_on(store.check_password(&connection, user, &Secret::new(password)));
    assert_eq!(check("alice", "secret").unwrap().user(), "alice");
    for (user, password) in [("alice", "hidden"), ("alice", ""), ("nobody", ""), ("carol", "")] {
        assert!(matches!(check(user, password), Err(Error::AuthenticationFailed)), "{user}");
    }
    let bob = Identity::new("bob");
    assert_eq!(block_on(store.authorize(&connection, &bob, "alice")).unwrap().user(), "alice");
    assert!(block_on(store.authorize(&connection, &Identity::new("alice"), "bob")).is_err());
    assert_eq!(block_on(store.check_token(&connection, None, &Secret::new("t0ken"))).unwrap().user(), "carol");
    assert!(block_on(store.check_token(&connection, Some("bob"), &Secret::new("t0ken"))).is_err());
    assert!(block_on(store.scram_keys(&connection, "alice", ScramHash::Sha256)).unwrap().is_some());
    assert!(block_on(store.scram_keys(&connection, "nobody", ScramHash::Sha1)).unwrap().is_none());
}

#[test]
fn a_hook_holds_and_fails_calls() {
    let store = with_messages(1);
    let gate = Arc::new(Signal::new(0));
    let held = Arc::clone(&gate);
    store.hook(move |call| match call {
        Call::Commit => Outcome::fail(Error::OverQuota),
        Call::Open => Outcome::proceed().wait_beyond(Arc::clone(&held), 0),
        _ => Outcome::proceed().pending(3),
    });
    let account = account(&store, "alice");
    assert!(matches!(append(&account, "INBOX", "x"), Err(Error::OverQuota)));
    assert_eq!(store.messages("alice", "INBOX").unwrap().len(), 1);
    let mut opening = account.open(OpenRequest::select(name("INBOX")));
    assert!((&mut opening).now_or_never().is_none());
    gate.raise();
    assert!(block_on(opening).is_ok());
    store.unhook();
    append(&account, "INBOX", "x").unwrap();
}

#[test]
fn searches_that_need_no_text_are_answered() {
    let date = DateTime::parse(b"17-Jul-1996 02:44:25 -0700").unwrap();
    let store = builder()
        .deliver("alice", "INBOX", NewMessage::new("12345").flags(SystemFlags::SEEN).received(date))
        .deliver("alice", "INBOX", NewMessage::new("123").flags(keyword("$Work")).received(date))
        .message("alice", "INBOX", SystemFlags::SEEN | SystemFlags::DELETED, "1")
        .build()
        .unwrap();
    let opened = select(&account(&store, "alice"), "INBOX");
    let found = |query: Query| {
        let found = block_on(opened.mailbox.search(&SearchRequest::new(query, UidSet::full()))).unwrap();
        found.map(|found| found.to_string())
    };
    let not = |query| Query::Not(Box::new(query));
    let work = Query::Keyword(Keyword::new("$WORK").unwrap());
    let last = opened.snapshot.modseq;
    for (query, expected) in [
        (Query::All, "1:3"),
        (Query::Flags(SystemFlags::SEEN), "1,3"),
        (Query::Flags(SystemFlags::SEEN | SystemFlags::DELETED), "3"),
        (work.clone(), "2"),
        (not(work.clone()), "1,3"),
        (Query::Larger(3), "1"),
        (Query::Smaller(4), "2:3"),
        (Query::On(date.days()), "1:2"),
        (Query::Before(date.days()), "3"),
        (Query::Since(date.days() + 1), ""),
        (Query::ReceivedUntil(date.unix()), "1:3"),
        (Query::ReceivedFrom(date.unix() + 1), ""),
        (Query::ModSeq(last), "3"),
        (Query::Uids(uids(2..=9)), "2:3"),
        (Query::And(vec![Query::Flags(SystemFlags::SEEN), not(Query::Flags(SystemFlags::DELETED))]), "1"),
        (Query::Or(vec![work, Query::Larger(4)]), "1:2"),
        (Query::Or(vec![]), ""),
        (Query::And(vec![]), "1:3"),
    ] {
        assert_eq!(found(query.clone()).as_deref(), Some(expected), "{query:?}");
    }
    assert_eq!(found(not(Query::Body("x".into()))), None);
    let request = SearchRequest::new(Query::All, uids(1..=1));
    assert_eq!(block_on(opened.mailbox.search(&request)).unwrap(), Some(uids(1..=1)));
}
