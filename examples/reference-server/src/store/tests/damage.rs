//! The index is lost or damaged; the disk is full.

use super::*;

async fn filled() -> (Home, UidValidity, Vec<Row>) {
    let home = Home::new().await;
    for number in 0..20 {
        let flags = Flags { system: SystemFlags::SEEN, keywords: keywords(&["kept"]) };
        append(&home.account, "INBOX", &format!("message {number}"), flags, None).await.unwrap();
    }
    home.account.create(CreateRequest::new(name("other"))).await.unwrap();
    let opened = home.select("INBOX").await;
    let all = rows(&opened.mailbox, 100).await;
    (home, opened.snapshot.uid_validity, all)
}

async fn check_rebuilt(home: &Home, before: UidValidity, rows_before: &[Row]) {
    let opened = home.select("INBOX").await;
    assert!(opened.snapshot.uid_validity > before);
    let all = rows(&opened.mailbox, 100).await;
    assert_eq!(all.len(), rows_before.len());
    for (now, then) in all.iter().zip(rows_before) {
        assert_eq!(now.unique_id, then.unique_id);
        assert_eq!(now.content, then.content);
        assert_eq!(now.flags, then.flags);
        assert_eq!(now.internal_date.map(DateTime::unix), then.internal_date.map(DateTime::unix));
    }
    home.select("other").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_is_built_anew() {
    let (home, validity, all) = filled().await;
    let dir = home.close().await;
    std::fs::remove_dir_all(dir.path().join("Maildir/pillarbox")).unwrap();
    let home = Home::at(dir, MaildirOptions::default()).await;
    check_rebuilt(&home, validity, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_built_anew() {
    let (home, validity, all) = filled().await;
    let dir = home.close().await;
    let index = dir.path().join("Maildir/pillarbox/index.sqlite");
    std::fs::write(&index, vec![b'?'; 100_000]).unwrap();
    let home = Home::at(dir, MaildirOptions::default()).await;
    check_rebuilt(&home, validity, &all).await;
    assert!(home.path("pillarbox/index.damaged").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_goes_away_under_a_session_ends_it() {
    let (home, validity, all) = filled().await;
    let opened = home.select("INBOX").await;
    std::fs::remove_dir_all(home.path("pillarbox")).unwrap();
    let request = StoreRequest::new(uids(&[1]), StoreOp::Add, Flags::from(SystemFlags::FLAGGED));
    assert!(opened.mailbox.store(request).await.is_err());
    let changes = next_changes(&opened.mailbox, opened.snapshot.modseq).await;
    assert_eq!(changes.fate, Fate::Recreated);
    assert!(matches!(opened.mailbox.message(uid(1)).await, Err(Error::MailboxGone)));
    check_rebuilt(&home, validity, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_uid_validity_never_goes_back() {
    let (home, ..) = filled().await;
    // A clock that was ahead once.
    std::fs::write(home.path("pillarbox-uidvalidity"), "4200000000\n").unwrap();
    home.account.create(CreateRequest::new(name("later"))).await.unwrap();
    assert_eq!(home.select("later").await.snapshot.uid_validity.get(), 4_200_000_001);
    let dir = home.close().await;
    std::fs::remove_dir_all(dir.path().join("Maildir/pillarbox")).unwrap();
    let home = Home::at(dir, MaildirOptions::default()).await;
    assert!(home.select("later").await.snapshot.uid_validity.get() > 4_200_000_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_had_begun_is_taken_back() {
    use super::super::intent::{Intent, Plan, taken_name};

    let home = Home::new().await;
    home.append("INBOX", "old").await;
    let opened = home.select("INBOX").await;
    let cur = home.path("cur");
    let old = names(&cur).remove(0);
    let taken = taken_name(&old);
    let id = home.store.live.lock().unwrap().keys().copied().next().unwrap();
    let plan = Plan { adds: vec!["1.first.host".to_owned(), "2.second.host".to_owned()], takes: vec![taken.clone()] };
    let intent = Intent::declare(&home.store, &home.store.index(), id, plan).await.unwrap();
    // The process comes that far. While it lives nobody meddles with it.
    home.account.subscribe(&name("INBOX"), true).await.unwrap();
    std::fs::write(cur.join("1.first.host:2,S"), "first of two").unwrap();
    std::fs::rename(cur.join(&old), home.path("tmp").join(&taken)).unwrap();
    drop(intent);
    let flags = StoreRequest::new(uids(&[1]), StoreOp::Add, Flags::from(SystemFlags::FLAGGED));
    let stored = opened.mailbox.store(flags).await.unwrap();
    assert_eq!(stored.rows.len(), 1);
    assert_eq!(names(&cur), [format!("{old}F")]);
    assert_eq!(home.select("INBOX").await.snapshot.uids, uids(&[1]));
    assert!(names(&home.path("tmp")).is_empty());
    // A name too long to be told within another still comes back.
    let long = format!("{}:2,", "x".repeat(240));
    assert!(taken_name(&long).len() < 255);
}

/// A small file system of its own; none where this test may not mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(dir.path())
            .status();
        mount.is_ok_and(|status| status.success()).then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_loses_nothing() {
    let Some(disk) = SmallDisk::new() else {
        println!("SKIPPED: no file system can be mounted here");
        return;
    };
    let stores = MaildirStores::new(MaildirOptions::default()).unwrap();
    let store = stores.open(disk.0.path().join("Maildir")).await.unwrap();
    let account = store.account();
    let mut kept = Vec::new();
    let mut refused = 0;
    for number in 0..200 {
        let text = format!("{number:04}").repeat(10_000);
        match append(&account, "INBOX", &text, Flags::NONE, None).await {
            Ok(appended) => kept.push((appended.uids[0], text)),
            Err(Error::OverQuota) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        if refused > 5 {
            break;
        }
    }
    assert!(refused > 0 && !kept.is_empty());
    // Small ones fill the last block, until the index itself finds no room.
    for _ in 0..20_000 {
        match append(&account, "INBOX", "small", Flags::NONE, None).await {
            Ok(appended) => kept.push((appended.uids[0], "small".to_owned())),
            Err(Error::OverQuota) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    // Who wants to read or delete can, full as it is.
    let opened = account.open(OpenRequest::select(name("INBOX"))).await.unwrap();
    assert_eq!(opened.snapshot.uids, kept.iter().map(|(uid, _)| *uid).collect());
    assert_eq!(read(&opened.mailbox, kept[0].0.get()).await, kept[0].1.as_bytes());
    let (last, _) = kept.pop().unwrap();
    let expunged = opened.mailbox.expunge(ExpungeRequest { uids: last.into(), only_deleted: false }).await.unwrap();
    assert_eq!(expunged.uids.count(), 1);
    let reserve = disk.0.path().join("Maildir/pillarbox/reserve");
    until("room is kept again", || reserve.exists()).await;
    let open = Arc::downgrade(&store);
    drop((opened, account, store, stores));
    until("the store ends", || open.strong_count() == 0).await;
    // A process that finds the disk full from the start can do so, too.
    let filler = disk.0.path().join("filler");
    if let Ok(mut file) = std::fs::File::create(&filler) {
        while std::io::Write::write_all(&mut file, &[b'x'; 512]).is_ok() {}
    }
    let stores = MaildirStores::new(MaildirOptions::default()).unwrap();
    let account = stores.open(disk.0.path().join("Maildir")).await.unwrap().account();
    let opened = account.open(OpenRequest::select(name("INBOX"))).await.unwrap();
    let (last, _) = kept.pop().unwrap();
    let expunged = opened.mailbox.expunge(ExpungeRequest { uids: last.into(), only_deleted: false }).await.unwrap();
    assert_eq!(expunged.uids.count(), 1);
    drop((opened, account, stores));
    // Room again, in whatever way: everything that was acknowledged is there.
    let reserve = disk.0.path().join("Maildir/cur");
    assert_eq!(names(&reserve).len(), kept.len());
    let more = std::process::Command::new("mount").args(["-o", "remount,size=8m"]).arg(disk.0.path()).status().unwrap();
    assert!(more.success());
    let stores = MaildirStores::new(MaildirOptions::default()).unwrap();
    let account = stores.open(disk.0.path().join("Maildir")).await.unwrap().account();
    let opened = account.open(OpenRequest::select(name("INBOX"))).await.unwrap();
    assert_eq!(opened.snapshot.uids, kept.iter().map(|(uid, _)| *uid).collect());
    for (uid, text) in kept.iter().take(50) {
        assert_eq!(read(&opened.mailbox, uid.get()).await, text.as_bytes());
    }
    // No draft is left over.
    emptied(&disk.0.path().join("Maildir/tmp")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_nobody_from_deleting_at_quit() {
    let Some(disk) = SmallDisk::new() else {
        println!("SKIPPED: no file system can be mounted here");
        return;
    };
    let stores = MaildirStores::new(MaildirOptions::default()).unwrap();
    let account = stores.open(disk.0.path().join("Maildir")).await.unwrap().account();
    for number in 1..=4 {
        append(&account, "INBOX", &format!("Subject: {number}\r\n\r\nx\r\n"), Flags::NONE, None).await.unwrap();
    }
    let maildrop =
        |account: Arc<dyn Account>| async move { account.open(OpenRequest::maildrop(name("INBOX"))).await.unwrap() };
    // What the headers say is known of some already, and has to be found out of others.
    let mut request = FinishRequest::new(uids(&[1]), UidSet::new(), 1_000_000_000);
    (request.expiry, request.known) = (Some(Expiry::after(5).deleting()), uids(&[1, 2]));
    maildrop(Arc::clone(&account)).await.mailbox.finish(request).await.unwrap();
    let mut filler = std::fs::File::create(disk.0.path().join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[b'x'; 512]).is_ok() {}
    let opened = maildrop(Arc::clone(&account)).await;
    assert_eq!(opened.snapshot.uids, uids(&[2, 3, 4, 5]));
    let mut request = FinishRequest::new(uids(&[2, 3]), uids(&[4]), 1_000_000_000 + 5 * 86_400);
    request.read = uids(&[2]);
    (request.expiry, request.known) = (Some(Expiry::after(5).deleting()), opened.snapshot.uids.clone());
    let finished = opened.mailbox.finish(request).await.unwrap();
    assert!(finished.removed.contains(uid(4)), "{:?}", finished.removed);
    drop(opened);
    drop(filler);
    std::fs::remove_file(disk.0.path().join("filler")).unwrap();
    // No message is lost, and no draft left.
    let left = maildrop(Arc::clone(&account)).await.snapshot.uids;
    let expired = u32::from(finished.removed.contains(uid(5)));
    assert_eq!(left.count(), 3 - expired, "{left:?}");
    assert_eq!(names(&disk.0.path().join("Maildir/cur")).len() as u32, 3 - expired);
    emptied(&disk.0.path().join("Maildir/tmp")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_the_version_before_is_kept() {
    let home = Home::new().await;
    home.append("INBOX", "x").await;
    let before = home.select("INBOX").await.snapshot;
    let dir = home.close().await;
    let db = rusqlite::Connection::open(dir.path().join("Maildir/pillarbox/index.sqlite")).unwrap();
    db.execute_batch("DROP TABLE stamp; DROP TABLE stamp_field; DROP TABLE bulletin; PRAGMA user_version = 1").unwrap();
    drop(db);
    let home = Home::at(dir, MaildirOptions::default()).await;
    let opened = home.account.open(OpenRequest::maildrop(name("INBOX"))).await.unwrap();
    assert_eq!((opened.snapshot.uid_validity, &opened.snapshot.uids), (before.uid_validity, &before.uids));
    let mut request = FinishRequest::new(before.uids, UidSet::new(), 1_000_000_000);
    request.expiry = Some(Expiry::after(5));
    opened.mailbox.finish(request).await.unwrap();
    assert_eq!(home.select("INBOX").await.snapshot.uids, uids(&[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_a_newer_version_is_left_alone() {
    let home = Home::new().await;
    home.append("INBOX", "x").await;
    let before = home.select("INBOX").await.snapshot;
    let dir = home.close().await;
    let index = dir.path().join("Maildir/pillarbox/index.sqlite");
    let version = |number: i64| {
        let db = rusqlite::Connection::open(&index).unwrap();
        let old = db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap();
        db.execute_batch(&format!("PRAGMA user_version = {number}")).unwrap();
        old
    };
    let known = version(99);
    let stores = MaildirStores::new(MaildirOptions::default()).unwrap();
    let error = stores.open(dir.path().join("Maildir")).await.err().unwrap();
    let cause = std::error::Error::source(&error).expect("the operator hears why").to_string();
    assert_eq!(
        cause,
        format!(
            "the index has version 99, and this program knows versions up to {known}: run a newer program, or take the folder \
             pillarbox out of the Maildir to have the index built anew, with new UIDs"
        )
    );
    assert!(!error.to_string().contains("version"), "a client is not told: {error}");
    assert!(!dir.path().join("Maildir/pillarbox/index.damaged").exists());
    drop(stores);
    assert_eq!(version(known), 99);
    let home = Home::at(dir, MaildirOptions::default()).await;
    let opened = home.select("INBOX").await.snapshot;
    assert_eq!((opened.uid_validity, &opened.uids), (before.uid_validity, &before.uids));
}
