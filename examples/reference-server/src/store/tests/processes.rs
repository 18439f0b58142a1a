//! Several processes share an account: two stores that know nothing of each other.

use super::*;

async fn two() -> (Home, MaildirStores, Arc<dyn Account>) {
    let home = Home::new().await;
    let stores = MaildirStores::new(MaildirOptions::default()).unwrap();
    let account = stores.open(home.path("")).await.unwrap().account();
    (home, stores, account)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_does_the_other_tells() {
    let (home, _stores, other) = two().await;
    let here = home.select("INBOX").await;
    let there = other.open(OpenRequest::select(name("INBOX"))).await.unwrap();
    home.append("INBOX", "a").await;
    home.append("INBOX", "b").await;
    let changes = changes_until(&there.mailbox, there.snapshot.modseq, |changes| changes.arrived.count() == 2).await;
    there.mailbox.store(StoreRequest::new(uids(&[2]), StoreOp::Add, Flags::from(SystemFlags::SEEN))).await.unwrap();
    there.mailbox.expunge(ExpungeRequest { uids: uids(&[1]), only_deleted: false }).await.unwrap();
    let seen = changes_until(&here.mailbox, changes.modseq, |changes| !changes.expunged.is_empty()).await;
    assert_eq!(seen.changed[0].uid, uid(2));
    assert_eq!(seen.changed[0].flags.system, SystemFlags::SEEN);
    assert_eq!(home.select("INBOX").await.snapshot.uids, uids(&[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_processes_number_without_a_clash() {
    let (home, _stores, other) = two().await;
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let account = if number % 2 == 0 { Arc::clone(&home.account) } else { Arc::clone(&other) };
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for message in 0..15 {
                    let text = format!("{number}-{message}");
                    let appended = append(&account, "INBOX", &text, Flags::NONE, None).await.unwrap();
                    mine.push((appended.uids[0], text));
                }
                mine
            })
        })
        .collect();
    let mut all = std::collections::BTreeMap::new();
    for task in tasks {
        for (uid, text) in task.await.unwrap() {
            assert!(all.insert(uid, text).is_none(), "a UID was given twice");
        }
    }
    let opened = other.open(OpenRequest::select(name("INBOX"))).await.unwrap();
    assert_eq!(opened.snapshot.uids, all.keys().copied().collect());
    for row in rows(&opened.mailbox, 100).await {
        assert_eq!(row.content.as_deref(), all.get(&row.uid).map(String::as_bytes));
    }
    // Each message is there once: nothing that one process put there was numbered again by the other.
    assert_eq!(names(&home.path("cur")).len(), 120);
    assert_eq!(opened.recent.count(), 120);
    assert!(home.select("INBOX").await.recent.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn renames_and_removals_reach_the_other_process() {
    let (home, _stores, other) = two().await;
    home.account.create(CreateRequest::new(name("a/b"))).await.unwrap();
    home.append("a/b", "text").await;
    let there = other.open(OpenRequest::select(name("a/b"))).await.unwrap();
    home.account.rename(RenameRequest::new(name("a"), name("c"))).await.unwrap();
    let changes = changes_until(&there.mailbox, there.snapshot.modseq, |changes| changes.fate != Fate::Stands).await;
    assert_eq!(changes.fate, Fate::Renamed(name("c/b")));
    assert_eq!(read(&there.mailbox, 1).await, b"text");
    home.account.delete(&name("c/b")).await.unwrap();
    changes_until(&there.mailbox, changes.modseq, |changes| changes.fate == Fate::Deleted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_begun_runs_to_its_end() {
    let home = Home::new().await;
    home.append("INBOX", "a").await;
    let opened = home.select("INBOX").await;
    {
        let request = StoreRequest::new(uids(&[1]), StoreOp::Add, Flags::from(SystemFlags::FLAGGED));
        let mut change = Box::pin(opened.mailbox.store(request));
        let waker = futures::task::noop_waker();
        let _ = change.as_mut().poll(&mut std::task::Context::from_waker(&waker));
    }
    let changes = changes_until(&opened.mailbox, opened.snapshot.modseq, |changes| !changes.changed.is_empty()).await;
    assert_eq!(changes.changed[0].flags.system, SystemFlags::FLAGGED);
    assert!(names(&home.path("cur"))[0].ends_with(":2,F"));
}
