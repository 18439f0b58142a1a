//! What every backend must do, looked at in the directories too.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_account_has_an_inbox() {
    let home = Home::new().await;
    let entries = home.account.list(&ListRequest::all()).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].name.is_inbox() && entries[0].selectable);
    let opened = home.select("INBOX").await;
    assert!(opened.snapshot.uids.is_empty());
    assert_eq!(opened.snapshot.uid_next, Some(uid(1)));
    assert!(opened.snapshot.modseqs);
    assert!(matches!(home.account.open(OpenRequest::select(name("nope"))).await, Err(Error::NoSuchMailbox)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appended_message_comes_back_octet_for_octet() {
    let home = Home::new().await;
    let date = DateTime::parse(b"17-Jul-1996 02:44:25 -0700").unwrap();
    let flags = Flags { system: SystemFlags::SEEN | SystemFlags::DRAFT, keywords: keywords(&["$Work", "Later"]) };
    let text = "Subject: x\r\n\r\nbare \n line feed\r\n";
    let appended = append(&home.account, "INBOX", text, flags.clone(), Some(date)).await.unwrap();
    assert_eq!(appended.uids, [uid(1)]);
    let large = "0123456789abcde\r\n".repeat(20_000);
    home.append("INBOX", &large).await;

    let opened = home.select("INBOX").await;
    assert_eq!(opened.snapshot.uids, uids(&[1, 2]));
    assert_eq!(opened.recent, uids(&[1, 2]));
    assert_eq!(opened.snapshot.first_unseen, Some(uid(2)));
    assert_eq!(opened.snapshot.keywords, flags.keywords);
    let all = rows(&opened.mailbox, 4096).await;
    assert_eq!(all[0].flags, flags);
    assert_eq!(all[0].internal_date, Some(date));
    assert_eq!(all[0].size, Some(text.len() as u64));
    assert_eq!(all[0].content.as_deref(), Some(text.as_bytes()));
    assert_eq!(all[1].size, Some(large.len() as u64));
    assert_eq!(all[1].content, None);
    assert!(all[0].modseq < all[1].modseq && all[1].modseq <= opened.snapshot.modseq);
    assert_eq!(read(&opened.mailbox, 1).await, text.as_bytes());
    assert_eq!(read(&opened.mailbox, 2).await, large.as_bytes());
    let files = names(&home.path("cur"));
    assert!(files[0].ends_with(&format!(",S={0},W={0}:2,DSab", text.len())), "{files:?}");
    assert!(names(&home.path("tmp")).is_empty());
    // Recent once only.
    assert!(home.select("INBOX").await.recent.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_is_dropped_or_too_large_leaves_nothing() {
    let home = Home::with(MaildirOptions { append_limit: Some(100_000), ..MaildirOptions::default() }).await;
    let mut append = home.account.append(AppendRequest::new(name("INBOX"))).await.unwrap();
    append.begin(AppendMessage::new(70_000, Flags::NONE, None)).await.unwrap();
    append.write(Bytes::from(vec![b'x'; 70_000])).await.unwrap();
    append.begin(AppendMessage::new(0, Flags::NONE, None)).await.unwrap();
    append.begin(AppendMessage::new(5, Flags::NONE, None)).await.unwrap();
    assert_eq!(names(&home.path("tmp")).len(), 2);
    drop(append);
    let mut append = home.account.append(AppendRequest::new(name("INBOX"))).await.unwrap();
    assert!(matches!(append.begin(AppendMessage::new(100_001, Flags::NONE, None)).await, Err(Error::TooBig)));
    append.begin(AppendMessage::new(1, Flags::NONE, None)).await.unwrap();
    append.write(Bytes::from(vec![b'x'; 60_000])).await.unwrap();
    assert!(matches!(append.write(Bytes::from(vec![b'x'; 60_000])).await, Err(Error::TooBig)));
    drop(append);
    assert!(home.select("INBOX").await.snapshot.uids.is_empty());
    // A thread may be writing still, and others remove.
    let dir = home.close().await;
    assert!(names(&dir.path().join("Maildir/tmp")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_messages_are_appended_at_once_and_one_is_replaced() {
    let home = Home::new().await;
    home.append("INBOX", "old").await;
    let mut append = home.account.append(AppendRequest::new(name("INBOX"))).await.unwrap();
    for text in ["one", "two", ""] {
        append.begin(AppendMessage::new(3, Flags::NONE, None)).await.unwrap();
        append.write(Bytes::from_static(text.as_bytes())).await.unwrap();
    }
    let mut options = CommitOptions::default();
    options.replace = Some(uid(1));
    let appended = append.commit(options).await.unwrap();
    assert_eq!(appended.uids, [uid(2), uid(3), uid(4)]);
    let opened = home.select("INBOX").await;
    assert_eq!(opened.snapshot.uids, uids(&[2, 3, 4]));
    assert_eq!(read(&opened.mailbox, 3).await, b"two");
    assert_eq!(read(&opened.mailbox, 4).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_change_in_file_names_and_are_told_to_other_sessions() {
    let home = Home::new().await;
    for text in ["a", "b", "c"] {
        home.append("INBOX", text).await;
    }
    let (one, two) = (home.select("INBOX").await, home.select("INBOX").await);
    let flags = Flags { system: SystemFlags::FLAGGED, keywords: keywords(&["new"]) };
    let request = StoreRequest::new(uids(&[1, 3, 9]), StoreOp::Add, flags.clone());
    let stored = one.mailbox.store(request).await.unwrap();
    assert_eq!(stored.rows.iter().map(|row| row.uid.get()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(stored.gone, uids(&[9]));
    assert!(stored.rows.iter().all(|row| row.flags == flags));
    assert_eq!(names(&home.path("cur")).iter().filter(|name| name.ends_with(":2,Fa")).count(), 2);

    let changes = next_changes(&two.mailbox, two.snapshot.modseq).await;
    assert_eq!(changes.changed.len(), 2);
    assert_eq!(changes.keywords, Some(keywords(&["new"])));
    assert!(changes.arrived.is_empty() && !changes.more);

    // The same again changes nothing; a guarded store leaves what is newer.
    let again = one.mailbox.store(StoreRequest::new(uids(&[1]), StoreOp::Add, flags.clone())).await.unwrap();
    assert_eq!(again.rows[0].modseq, stored.rows[0].modseq);
    let mut guarded = StoreRequest::new(uids(&[1, 2]), StoreOp::Replace, Flags::from(SystemFlags::SEEN));
    guarded.unchanged_since = Some(two.snapshot.modseq);
    let guarded = one.mailbox.store(guarded).await.unwrap();
    assert_eq!(guarded.modified, uids(&[1]));
    assert_eq!(guarded.rows.len(), 1);
    let gone = one.mailbox.store(StoreRequest::new(uids(&[1]), StoreOp::Remove, flags)).await.unwrap();
    assert!(gone.rows[0].flags.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn expunged_messages_are_gone_and_remembered() {
    let home = Home::new().await;
    for text in ["a", "b", "c", "d"] {
        home.append("INBOX", text).await;
    }
    let (one, two) = (home.select("INBOX").await, home.select("INBOX").await);
    let mut kept = two.mailbox.message(uid(2)).await.unwrap();
    one.mailbox.store(StoreRequest::new(uids(&[2, 4]), StoreOp::Add, Flags::from(SystemFlags::DELETED))).await.unwrap();
    let request = ExpungeRequest { uids: uids(&[1, 2, 4]), only_deleted: true };
    let expunged = one.mailbox.expunge(request).await.unwrap();
    assert_eq!(expunged.uids, uids(&[2, 4]));
    let changes = next_changes(&two.mailbox, two.snapshot.modseq).await;
    let gone: Vec<_> = changes.expunged.iter().map(|(uid, _)| uid.get()).collect();
    assert_eq!(gone, [2, 4]);
    assert_eq!(changes.expunged.last().unwrap().1, expunged.modseq);
    assert_eq!(changes.modseq, expunged.modseq);
    assert_eq!(changes.present, None);
    assert!(matches!(two.mailbox.message(uid(2)).await, Err(Error::Expunged)));
    assert_eq!(&kept.read(0, 10).await.unwrap()[..], b"b", "an open message outlives its removal");
    assert_eq!(names(&home.path("cur")).len(), 2);
    emptied(&home.path("tmp")).await;
    // UIDs are not used again, whatever is gone.
    assert_eq!(home.append("INBOX", "e").await.uids, [uid(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_come_in_pages() {
    let home = Home::new().await;
    let opened = home.select("INBOX").await;
    for number in 0..25 {
        home.append("INBOX", &format!("{number}")).await;
    }
    let request = ExpungeRequest { uids: uids(&[3, 7]), only_deleted: false };
    opened.mailbox.expunge(request).await.unwrap();
    let (mut since, mut arrived, mut gone, mut pages) = (opened.snapshot.modseq, UidSet::new(), UidSet::new(), 0);
    loop {
        let changes = opened.mailbox.changes(ChangesRequest::new(since, 10)).await.unwrap();
        assert!(changes.changed.len() + changes.expunged.len() <= 10);
        assert!(changes.modseq > since);
        arrived.union_with(&changes.arrived);
        gone.extend(changes.expunged.iter().map(|(uid, _)| *uid));
        since = changes.modseq;
        pages += 1;
        if !changes.more {
            break;
        }
    }
    assert_eq!((arrived.count(), gone, pages), (23, uids(&[3, 7]), 3));
    let none = opened.mailbox.changes(ChangesRequest::new(since, 10)).await.unwrap();
    assert!(none.changed.is_empty() && none.modseq == since);
    // \Recent is claimed by the first who asks for it.
    let mut claim = ChangesRequest::new(opened.snapshot.modseq, 100);
    claim.claim_recent = true;
    assert_eq!(opened.mailbox.changes(claim).await.unwrap().recent.count(), 23);
    assert!(opened.mailbox.changes(claim).await.unwrap().recent.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_links_and_moves_are_renamings() {
    let home = Home::new().await;
    home.account.create(CreateRequest::new(name("a/b.c"))).await.unwrap();
    let flags = Flags { system: SystemFlags::SEEN, keywords: keywords(&["k1"]) };
    let date = DateTime::from_unix(1_000_000_000);
    for text in ["one", "two", "three"] {
        append(&home.account, "INBOX", text, flags.clone(), Some(date)).await.unwrap();
    }
    append(&home.account, "a/b.c", "other", Flags { system: SystemFlags::NONE, keywords: keywords(&["k2"]) }, None)
        .await
        .unwrap();
    let inbox = home.select("INBOX").await;
    let before = rows(&inbox.mailbox, 0).await;
    let request =
        |set: UidSet, to: &str| CopyRequest::new(Arc::clone(&inbox.mailbox), inbox.snapshot.id.clone(), set, name(to));
    let copied = home.account.copy(request(uids(&[1, 2, 77]), "a/b.c")).await.unwrap();
    assert_eq!(copied.pairs, [(uid(1), uid(2)), (uid(2), uid(3))]);
    let moved = home.account.move_to(request(uids(&[3, 2]), "a/b.c")).await.unwrap();
    assert_eq!(moved.pairs, [(uid(2), uid(4)), (uid(3), uid(5))]);
    let own = home.account.copy(request(uids(&[1]), "INBOX")).await.unwrap();
    assert_eq!(own.pairs, [(uid(1), uid(4))]);
    let own = home.account.move_to(request(uids(&[1]), "INBOX")).await.unwrap();
    assert_eq!(own.pairs, [(uid(1), uid(5))]);
    assert!(matches!(home.account.copy(request(uids(&[2]), "a/b.c")).await, Err(Error::Expunged)));
    assert!(matches!(home.account.copy(request(uids(&[5]), "none")).await, Err(Error::NoSuchMailbox)));

    let target = home.select("a/b.c").await;
    assert_eq!(target.snapshot.uid_validity, copied.uid_validity);
    let after = rows(&target.mailbox, 100).await;
    let texts: Vec<_> = after.iter().map(|row| row.content.clone().unwrap()).collect();
    assert_eq!(texts, ["other", "one", "two", "two", "three"]);
    for row in &after[1..] {
        assert_eq!((&row.flags, row.internal_date), (&flags, Some(date)));
    }
    assert_eq!(after[4].unique_id, before[2].unique_id, "a moved message keeps its unique-id");
    let ids: std::collections::BTreeSet<_> = after.iter().map(|row| row.unique_id.clone()).collect();
    assert_eq!(ids.len(), 5);
    assert_eq!(names(&home.path(".a.b\\2ec/cur")).len(), 5);
    let inbox = home.select("INBOX").await;
    assert_eq!(inbox.snapshot.uids, uids(&[4, 5]));
    assert_eq!(rows(&inbox.mailbox, 100).await[1].content.as_deref(), Some(&b"one"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn mailboxes_are_made_renamed_and_deleted_under_sessions() {
    let home = Home::new().await;
    let create = |text: &str| home.account.create(CreateRequest::new(name(text)));
    let mut drafts = CreateRequest::new(name("Entw\u{fc}rfe"));
    drafts.special_use = vec![SpecialUse::Drafts];
    home.account.create(drafts).await.unwrap();
    for text in ["x", "x/y", "x/y/z"] {
        create(text).await.unwrap();
    }
    assert!(matches!(create("x").await, Err(Error::AlreadyExists)));
    assert!(matches!(create("inbox").await, Err(Error::AlreadyExists)));
    home.append("x/y", "text").await;
    let opened = home.select("x/y").await;
    home.account.rename(RenameRequest::new(name("x"), name("w.w"))).await.unwrap();
    assert!(matches!(
        home.account.rename(RenameRequest::new(name("w.w"), name("w.w/in"))).await,
        Err(Error::Cannot(_))
    ));
    let changes = next_changes(&opened.mailbox, opened.snapshot.modseq).await;
    assert_eq!(changes.fate, Fate::Renamed(name("w.w/y")));
    assert_eq!(read(&opened.mailbox, 1).await, b"text");
    home.append("w.w/y", "more").await;
    assert_eq!(rows(&opened.mailbox, 10).await.len(), 2);

    home.account.delete(&name("w.w")).await.unwrap();
    let listed = home.account.list(&ListRequest::all()).await.unwrap();
    let mut all: Vec<_> = listed.iter().map(|entry| entry.name.as_str()).collect();
    all.sort_unstable();
    assert_eq!(all, ["Entw\u{fc}rfe", "INBOX", "w.w/y", "w.w/y/z"]);
    let drafts = listed.iter().find(|entry| entry.name.as_str().starts_with('E')).unwrap();
    assert_eq!(drafts.special_use, [SpecialUse::Drafts]);

    home.account.delete(&name("w.w/y")).await.unwrap();
    assert_eq!(next_changes(&opened.mailbox, changes.modseq).await.fate, Fate::Deleted);
    assert!(matches!(opened.mailbox.message(uid(1)).await, Err(Error::MailboxGone)));
    let store = StoreRequest::new(uids(&[1]), StoreOp::Add, Flags::from(SystemFlags::SEEN));
    assert!(matches!(opened.mailbox.store(store).await, Err(Error::MailboxGone)));
    create("w.w/y").await.unwrap();
    let again = home.select("w.w/y").await;
    assert!(again.snapshot.uid_validity > opened.snapshot.uid_validity);
    assert_ne!(again.snapshot.id, opened.snapshot.id);
    assert!(again.snapshot.uids.is_empty());
    assert!(matches!(home.account.delete(&name("INBOX")).await, Err(Error::Cannot(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn renaming_inbox_moves_its_messages() {
    let home = Home::new().await;
    home.append("INBOX", "text").await;
    let inbox = home.select("INBOX").await;
    home.account.rename(RenameRequest::new(name("INBOX"), name("old"))).await.unwrap();
    assert!(home.select("INBOX").await.snapshot.uids.is_empty());
    assert_eq!(next_changes(&inbox.mailbox, inbox.snapshot.modseq).await.expunged.len(), 1);
    let old = home.select("old").await;
    assert_eq!(read(&old.mailbox, 1).await, b"text");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_outlive_their_mailboxes() {
    let home = Home::new().await;
    home.account.create(CreateRequest::new(name("a"))).await.unwrap();
    for text in ["a", "b", "INBOX"] {
        home.account.subscribe(&name(text), true).await.unwrap();
    }
    home.account.delete(&name("a")).await.unwrap();
    let mut listed: Vec<_> = home.account.list(&ListRequest::all()).await.unwrap();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let told: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.exists, entry.subscribed)).collect();
    assert_eq!(told, [("INBOX", true, true), ("a", false, true), ("b", false, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_counts_without_opening_files_twice() {
    let home = Home::new().await;
    std::fs::write(home.path("new/1.a.host"), "a\nb\n").unwrap();
    home.append("INBOX", "12345").await;
    let mut items = StatusItems::default();
    (items.messages, items.recent, items.unseen, items.deleted, items.size) = (true, true, true, true, true);
    for _ in 0..2 {
        let status = home.account.status(StatusRequest::new(name("INBOX"), items)).await.unwrap();
        assert_eq!((status.messages, status.recent, status.unseen, status.deleted, status.size), (2, 2, 2, 0, 11));
        assert_eq!(status.uid_next, Some(uid(3)));
    }
    assert_eq!(home.store.files_opened(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn summaries_and_sizes_spare_the_files() {
    let home = Home::new().await;
    for number in 0..300 {
        home.append("INBOX", &format!("Subject: {number}\r\n\r\n")).await;
    }
    let opened = home.select("INBOX").await;
    for row in rows(&opened.mailbox, 100).await {
        assert_eq!(row.summary, None);
        opened.mailbox.remember(row.uid, Bytes::from(format!("summary {}", row.uid))).await;
    }
    assert_eq!(home.store.files_opened(), 300);
    for _ in 0..2 {
        for row in rows(&opened.mailbox, 0).await {
            assert_eq!(row.summary, Some(Bytes::from(format!("summary {}", row.uid))));
        }
    }
    // Once a second what was learned is written.
    until("it is written", || home.store.pending.is_empty()).await;
    drop(opened);
    let home = home.restart().await;
    let opened = home.select("INBOX").await;
    assert!(rows(&opened.mailbox, 0).await.iter().all(|row| row.summary.is_some() && row.size.is_some()));
    assert_eq!(home.store.files_opened(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_in_both_orders() {
    let home = Home::new().await;
    for number in 0..50 {
        home.append("INBOX", &"x".repeat(number * 100)).await;
    }
    let opened = home.select("INBOX").await;
    let mut data = FetchData::FLAGS;
    data.inline = 4000;
    let mut request = FetchRequest::new(uids(&[2, 3, 9, 10, 11, 30, 45, 50, 99]), data);
    for descending in [false, true] {
        request.descending = descending;
        let mut got: Vec<_> = fetch(&opened.mailbox, request.clone()).await;
        if descending {
            got.reverse();
        }
        let order: Vec<_> = got.iter().map(|row| row.uid.get()).collect();
        assert_eq!(order, [2, 3, 9, 10, 11, 30, 45, 50]);
        for row in got {
            let length = (row.uid.get() as usize - 1) * 100;
            assert_eq!(row.content.map(|content| content.len()), (length <= 4000).then_some(length));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maildrop_is_exclusive_among_maildrops() {
    let home = Home::new().await;
    let first = home.account.open(OpenRequest::maildrop(name("INBOX"))).await.unwrap();
    assert!(matches!(home.account.open(OpenRequest::maildrop(name("INBOX"))).await, Err(Error::InUse)));
    let other = MaildirStores::new(MaildirOptions::default()).unwrap();
    let elsewhere = other.open(home.path("")).await.unwrap().account();
    assert!(matches!(elsewhere.open(OpenRequest::maildrop(name("INBOX"))).await, Err(Error::InUse)));
    home.select("INBOX").await;
    drop(first);
    elsewhere.open(OpenRequest::maildrop(name("INBOX"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_for_reading_only_changes_nothing() {
    let home = Home::new().await;
    home.append("INBOX", "a").await;
    let opened = home.account.open(OpenRequest::examine(name("INBOX"))).await.unwrap();
    assert_eq!(opened.recent, uids(&[1]));
    let store = StoreRequest::new(uids(&[1]), StoreOp::Add, Flags::from(SystemFlags::SEEN));
    assert!(matches!(opened.mailbox.store(store).await, Err(Error::ReadOnly)));
    let expunge = ExpungeRequest { uids: uids(&[1]), only_deleted: false };
    assert!(matches!(opened.mailbox.expunge(expunge).await, Err(Error::ReadOnly)));
    assert_eq!(home.select("INBOX").await.recent, uids(&[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_has_not_changed_is_not_read_again() {
    let home = Home::new().await;
    for number in 0..10 {
        home.append("INBOX", &format!("{number}")).await;
    }
    // While a session has it open, the kernel's word settles it once the clock has moved on.
    let opened = home.select("INBOX").await;
    home.append("INBOX", "one more").await;
    let before = home.store.directories_read();
    let id = home.store.live.lock().unwrap().keys().copied().next().unwrap();
    until("it settles", || home.store.live.lock().unwrap()[&id].view().settled).await;
    assert_eq!(home.store.directories_read(), before, "this server's own changes need no look");
    drop(opened);
    let home = home.restart().await;
    for _ in 0..3 {
        assert_eq!(home.select("INBOX").await.snapshot.uids.count(), 11);
    }
    assert_eq!(home.store.directories_read(), 0);
    assert_eq!(home.store.files_opened(), 0);
}
