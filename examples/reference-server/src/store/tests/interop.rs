//! Other programs work on the same Maildir.

use super::*;

fn deliver(home: &Home, folder: &str, file: &str, text: &str) {
    let join = |place: &str| home.path(&format!("{folder}{place}/{file}"));
    std::fs::write(join("tmp"), text).unwrap();
    std::fs::rename(join("tmp"), join("new")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_message_is_told_at_once() {
    let home = Home::new().await;
    let opened = home.select("INBOX").await;
    deliver(&home, "", "1700000000.M1P1.host", "Subject: a\n\nline\r\nx\n");
    let mut claim = ChangesRequest::new(opened.snapshot.modseq, 100);
    claim.claim_recent = true;
    tokio::time::timeout(PATIENCE, opened.mailbox.changed(opened.snapshot.modseq)).await.unwrap();
    let changes = opened.mailbox.changes(claim).await.unwrap();
    assert_eq!(changes.arrived, uids(&[1]));
    assert_eq!(changes.recent, uids(&[1]));
    let text = b"Subject: a\r\n\r\nline\r\nx\r\n";
    let all = rows(&opened.mailbox, 100).await;
    assert_eq!(all[0].content.as_deref(), Some(&text[..]));
    assert_eq!(all[0].size, Some(text.len() as u64));
    assert_eq!(all[0].unique_id.as_deref(), Some("1700000000.M1P1.host"));
    assert_eq!(read(&opened.mailbox, 1).await, text);
    assert_eq!(names(&home.path("cur")), ["1700000000.M1P1.host:2,"]);
    assert!(names(&home.path("new")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_and_removals_of_other_programs_are_followed() {
    let home = Home::new().await;
    std::fs::write(home.path("dovecot-keywords"), "0 Junk\n3 $Forwarded\n").unwrap();
    for number in 1..=5 {
        deliver(&home, "", &format!("170000000{number}.M1P1.host"), "text\n");
    }
    let opened = home.select("INBOX").await;
    assert_eq!(opened.snapshot.uids, uids(&[1, 2, 3, 4, 5]));
    let cur = |file: &str| home.path(&format!("cur/{file}"));
    std::fs::rename(cur("1700000002.M1P1.host:2,"), cur("1700000002.M1P1.host:2,PSad")).unwrap();
    let changes = changes_until(&opened.mailbox, opened.snapshot.modseq, |changes| !changes.changed.is_empty()).await;
    assert_eq!(changes.changed[0].uid, uid(2));
    assert_eq!(changes.changed[0].flags.system, SystemFlags::SEEN);
    assert_eq!(changes.changed[0].flags.keywords, keywords(&["Junk", "$Forwarded"]));
    std::fs::remove_file(cur("1700000003.M1P1.host:2,")).unwrap();
    let changes = changes_until(&opened.mailbox, changes.modseq, |changes| !changes.expunged.is_empty()).await;
    assert_eq!(changes.expunged[0].0, uid(3));
    // Our own store finds a file that was renamed behind its back, and keeps letters that it does not know.
    std::fs::rename(cur("1700000004.M1P1.host:2,"), cur("1700000004.M1P1.host:2,R")).unwrap();
    std::fs::remove_file(cur("1700000005.M1P1.host:2,")).unwrap();
    let request = StoreRequest::new(uids(&[2, 4, 5]), StoreOp::Add, Flags::from(SystemFlags::FLAGGED));
    let stored = opened.mailbox.store(request).await.unwrap();
    assert_eq!(stored.gone, uids(&[5]));
    assert_eq!(stored.rows[1].flags.system, SystemFlags::FLAGGED | SystemFlags::ANSWERED);
    assert_eq!(
        names(&home.path("cur")),
        ["1700000001.M1P1.host:2,", "1700000002.M1P1.host:2,FPSad", "1700000004.M1P1.host:2,FR"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_while_nobody_looked_are_found_when_a_mailbox_is_opened() {
    let home = Home::new().await;
    for number in 1..=4 {
        home.append("INBOX", &format!("text {number}")).await;
    }
    assert_eq!(home.select("INBOX").await.snapshot.uids.count(), 4);
    let dir = home.close().await;
    let cur = dir.path().join("Maildir/cur");
    let files = names(&cur);
    std::fs::remove_file(cur.join(&files[0])).unwrap();
    std::fs::rename(cur.join(&files[1]), cur.join(format!("{}ST", files[1]))).unwrap();
    std::fs::write(cur.join("1.new.host:2,S"), "new").unwrap();
    let home = Home::at(dir, MaildirOptions::default()).await;
    let opened = home.select("INBOX").await;
    assert_eq!(opened.snapshot.uids, uids(&[2, 3, 4, 5]));
    assert!(opened.recent.is_empty());
    let all = rows(&opened.mailbox, 0).await;
    assert_eq!(all[0].flags.system, SystemFlags::SEEN | SystemFlags::DELETED);
    assert_eq!(opened.snapshot.first_unseen, Some(uid(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_numbered_in_the_order_of_their_times() {
    let home = Home::new().await;
    for (file, time) in [("b", 100), ("a", 200), ("c", 50)] {
        let file = std::fs::File::create(home.path(&format!("new/{file}.host"))).unwrap();
        std::io::Write::write_all(&mut &file, b"x").unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(time)).unwrap();
    }
    let opened = home.select("INBOX").await;
    let dates: Vec<_> = rows(&opened.mailbox, 0).await.iter().map(|row| row.internal_date.unwrap().unix()).collect();
    assert_eq!(dates, [50, 100, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_other_programs_appear_and_disappear() {
    let home = Home::new().await;
    for place in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(home.path(&format!(".Lists.rust/{place}"))).unwrap();
    }
    std::fs::create_dir_all(home.path(".not-a-mailbox")).unwrap();
    std::os::unix::fs::symlink("/etc", home.path(".etc")).unwrap();
    deliver(&home, ".Lists.rust/", "1.a.host", "x\n");
    let opened = home.select("Lists/rust").await;
    assert_eq!(opened.snapshot.uids.count(), 1);
    let listed = home.account.list(&ListRequest::all()).await.unwrap();
    let mut all: Vec<_> = listed.iter().map(|entry| entry.name.as_str()).collect();
    all.sort_unstable();
    assert_eq!(all, ["INBOX", "Lists/rust"]);
    assert!(matches!(home.account.open(OpenRequest::select(name("etc"))).await, Err(Error::NoSuchMailbox)));
    std::fs::remove_dir_all(home.path(".Lists.rust")).unwrap();
    let changes = changes_until(&opened.mailbox, opened.snapshot.modseq, |changes| changes.fate != Fate::Stands).await;
    assert_eq!(changes.fate, Fate::Deleted);
    assert_eq!(home.account.list(&ListRequest::all()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_out_of_the_root_is_not_read() {
    let home = Home::new().await;
    std::fs::write(home.dir.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(home.dir.path().join("secret"), home.path("cur/1.link.host:2,")).unwrap();
    std::fs::write(home.path("cur/2.file.host:2,"), "mail").unwrap();
    let opened = home.select("INBOX").await;
    assert_eq!(opened.snapshot.uids.count(), 1);
    // One that takes the place of a message later.
    std::fs::remove_file(home.path("cur/2.file.host:2,")).unwrap();
    std::os::unix::fs::symlink(home.dir.path().join("secret"), home.path("cur/2.file.host:2,")).unwrap();
    if let Ok(mut message) = opened.mailbox.message(uid(1)).await {
        assert!(message.read(0, 10).await.is_err(), "a link out of the root was followed");
    }
    assert!(rows_or_none(&opened.mailbox).await.iter().all(|row| row.content.is_none()));
}

async fn rows_or_none(mailbox: &Arc<dyn Mailbox>) -> Vec<Row> {
    let mut data = FetchData::FLAGS;
    data.inline = 100;
    let mut batch = Batch::new(10, 1000);
    let mut rows = mailbox.fetch(FetchRequest::new(UidSet::full(), data)).await.unwrap();
    let _ = rows.next(&mut batch).await;
    batch.drain().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_sizes_are_believed_only_for_the_size() {
    let home = Home::new().await;
    std::fs::write(home.path("cur/1.a.host,S=8,W=10:2,"), "a\nb\nc\nd\n").unwrap();
    std::fs::write(home.path("cur/2.b.host,S=3,W=3:2,"), "a\nb").unwrap();
    let opened = home.select("INBOX").await;
    let all = rows(&opened.mailbox, 0).await;
    assert_eq!(all.iter().map(|row| row.size).collect::<Vec<_>>(), [Some(10), Some(3)]);
    assert_eq!(home.store.files_opened(), 0);
    assert_eq!(read(&opened.mailbox, 1).await, b"a\r\nb\r\nc\r\nd\r\n", "the claim was wrong");
    assert_eq!(rows(&opened.mailbox, 100).await[0].content.as_deref(), Some(&b"a\r\nb\r\nc\r\nd\r\n"[..]));
    assert_eq!(read(&opened.mailbox, 2).await, b"a\nb", "as large as it says: as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_with_line_feeds_are_read_from_anywhere() {
    let home = Home::new().await;
    let text: String = (0..60_000).map(|number| format!("line {number}\n")).collect();
    std::fs::write(home.path("new/1.a.host"), &text).unwrap();
    let wire = text.replace('\n', "\r\n").into_bytes();
    let opened = home.select("INBOX").await;
    let mut message = opened.mailbox.message(uid(1)).await.unwrap();
    assert_eq!(message.len(), wire.len() as u64);
    for at in [0, 700_000, 5, 699_999, 300_000, 1, wire.len() - 1, 65_536, 65_535] {
        let piece = message.read(at as u64, 5000).await.unwrap();
        assert!(!piece.is_empty());
        assert_eq!(&piece[..], &wire[at..at + piece.len()], "at {at}");
    }
    assert!(message.read(wire.len() as u64, 10).await.unwrap().is_empty());
    assert_eq!(read(&opened.mailbox, 1).await, wire);
}
