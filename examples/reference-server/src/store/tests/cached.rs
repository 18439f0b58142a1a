//! Messages that are kept in memory are as present, and as they are, as on disk.

use super::*;

fn texts(rows: &[Row]) -> Vec<(u32, &[u8])> {
    rows.iter().map(|row| (row.uid.get(), row.content.as_deref().unwrap_or_default())).collect()
}

/// A message in a file with bare line feeds, and as it is shown.
fn message(number: u32) -> (String, String) {
    let text = format!("Subject: {number}\n\n{}", format!("line of {number}\n").repeat(number as usize * 7));
    let shown = text.replace('\n', "\r\n");
    (text, shown)
}

async fn filled(options: MaildirOptions) -> Home {
    let dir = tempfile::tempdir().unwrap();
    let cur = dir.path().join("Maildir/cur");
    std::fs::create_dir_all(&cur).unwrap();
    for number in 1..=40 {
        let text = if number % 2 == 0 { message(number).0 } else { message(number).1 };
        std::fs::write(cur.join(format!("17000000{number:02}.M1P1.host:2,S")), text).unwrap();
    }
    Home::at(dir, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_often_is_opened_twice_and_stays_the_same() {
    let home = filled(MaildirOptions::default()).await;
    let one = home.select("INBOX").await.mailbox;
    let other = home.select("INBOX").await.mailbox;
    for (turn, mailbox) in [&one, &other, &one, &other].into_iter().enumerate() {
        let all = rows(mailbox, 10_000).await;
        assert_eq!(all.len(), 40);
        for (row, number) in all.iter().zip(1..) {
            let shown = message(number).1;
            assert_eq!(row.content.as_deref(), Some(shown.as_bytes()));
            assert_eq!(row.size, Some(shown.len() as u64));
            assert_eq!(row.flags.system, SystemFlags::SEEN);
        }
        assert_eq!(home.store.files_opened(), 40 * (turn as u64 + 1).min(2));
    }
    // In any order, and of one by itself.
    let mut data = FetchData::FLAGS;
    data.inline = 10_000;
    let mut request = FetchRequest::new(uids(&[3, 4, 20]), data);
    request.descending = true;
    let all = fetch(&one, request).await;
    let expected: Vec<_> = [20, 4, 3].map(|number| (number, message(number).1)).into();
    assert_eq!(texts(&all), expected.iter().map(|(uid, text)| (*uid, text.as_bytes())).collect::<Vec<_>>());
    assert_eq!(home.store.files_opened(), 80);
    // A limit for what comes with rows holds for these too.
    assert!(rows(&one, 20).await.iter().all(|row| row.content.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_off() {
    let home = filled(MaildirOptions { message_cache: 0, ..MaildirOptions::default() }).await;
    let mailbox = home.select("INBOX").await.mailbox;
    for turn in 1..=4 {
        assert_eq!(rows(&mailbox, 10_000).await.len(), 40);
        assert_eq!(home.store.files_opened(), 40 * turn);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_expunged_is_gone() {
    let home = filled(MaildirOptions::default()).await;
    let opened = home.select("INBOX").await;
    for _ in 0..3 {
        rows(&opened.mailbox, 10_000).await;
    }
    let full = home.store.cache.octets();
    assert!(full > 40 * 14);
    // By us.
    let request = ExpungeRequest { uids: uids(&[1, 2]), only_deleted: false };
    opened.mailbox.expunge(request).await.unwrap();
    // By another program, which tells nobody.
    for number in [3, 4] {
        std::fs::remove_file(home.path(&format!("cur/17000000{number:02}.M1P1.host:2,S"))).unwrap();
    }
    // Another message of the same text, and a new one under an old name that is used again.
    home.append("INBOX", &message(1).1).await;
    changes_until(&opened.mailbox, opened.snapshot.modseq, |changes| changes.expunged.len() == 4).await;
    // In one go: an empty file would be a message already.
    std::fs::write(home.path("tmp/1700000004.M1P1.host"), "another\n").unwrap();
    std::fs::rename(home.path("tmp/1700000004.M1P1.host"), home.path("cur/1700000004.M1P1.host:2,S")).unwrap();
    changes_until(&opened.mailbox, opened.snapshot.modseq, |changes| changes.arrived.len() == 2).await;
    assert!(home.store.cache.octets() < full, "their memory is free");
    for _ in 0..3 {
        let all = rows(&opened.mailbox, 10_000).await;
        assert_eq!(all.len(), 38);
        let texts = texts(&all);
        assert_eq!(texts[0], (5, message(5).1.as_bytes()));
        assert_eq!(texts[36], (41, message(1).1.as_bytes()));
        assert_eq!(texts[37], (42, &b"another\r\n"[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_do_not_see_each_other() {
    let home = filled(MaildirOptions::default()).await;
    let other = home.stores.open(home.dir.path().join("Other")).await.unwrap();
    let account = other.account();
    append(&account, "INBOX", "Subject: other\r\n\r\n", Flags::NONE, None).await.unwrap();
    let mine = home.select("INBOX").await.mailbox;
    let theirs = account.open(OpenRequest::select(name("INBOX"))).await.unwrap().mailbox;
    for _ in 0..3 {
        assert_eq!(rows(&mine, 10_000).await[0].content.as_deref(), Some(message(1).1.as_bytes()));
        assert_eq!(rows(&theirs, 10_000).await[0].content.as_deref(), Some(&b"Subject: other\r\n\r\n"[..]));
    }
}
