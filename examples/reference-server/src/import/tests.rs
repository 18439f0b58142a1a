use std::fs;
use std::time::{Duration, SystemTime};

use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::{Backend, Batch, FetchData, FetchRequest, ListRequest, OpenRequest};
use pillarbox_proto_core::memory::MemoryBackend;
use std::sync::Arc;

use super::*;

/// What a mailbox holds: flags, keywords, date and octets of each message.
async fn contents(account: &dyn Account, name: &str) -> Vec<(String, i64, String)> {
    let opened = account.open(OpenRequest::examine(MailboxName::new(name).unwrap())).await.unwrap();
    let mut data = FetchData::default();
    data.flags = true;
    data.internal_date = true;
    let mut rows = opened.mailbox.fetch(FetchRequest::new(opened.snapshot.uids.clone(), data)).await.unwrap();
    let mut batch = Batch::new(1000, 1 << 20);
    while rows.next(&mut batch).await.unwrap() {}
    let mut messages = Vec::new();
    for row in batch.drain() {
        let mut message = opened.mailbox.message(row.uid).await.unwrap();
        let octets = message.read(0, 1 << 20).await.unwrap();
        let flags = row.flags.system.names().map(String::from);
        let flags = flags.chain(row.flags.keywords.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ");
        messages.push((flags, row.internal_date.unwrap().unix(), String::from_utf8(octets.to_vec()).unwrap()));
    }
    messages
}

async fn account() -> Arc<dyn Account> {
    let backend = MemoryBackend::builder().user("u", "p").build().unwrap();
    backend.open(&Connection::default(), &Identity::new("u")).await.unwrap()
}

async fn import(account: &dyn Account, path: &Path, target: &str) -> Result<Progress> {
    Import::open(path, 1000)?.run(account, &MailboxName::new(target).unwrap(), |_| {}).await
}

#[tokio::test]
async fn an_mbox_with_flags_dates_and_quoting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mbox");
    let text = "\nFrom MAILER-DAEMON Fri Jul  8 12:08:34 2011\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n\
                X-IMAP: 1310\n\nnotes\n\n\
                From a@example.org Thu Jan  1 00:00:01 1970\nSubject: one\nStatus: RO\nX-Status: AF\nX-Keywords: $Forwarded x(y\n\n\
                From here on it is body, as no date follows.\n>From x\n>>From y\n> From z\n\nFrom nowhere\n\n\
                From b@example.org Thu Jul 17 02:44:25 1996 -0700\nSubject: two\n\nStatus: R\n\n\n\
                From c Sat Jan  3 01:00 2026\nSubject: three\n\nno line end";
    fs::write(&path, text).unwrap();
    let account = account().await;
    let progress = import(&*account, &path, "New/Box").await.unwrap();
    assert_eq!(progress, Progress { added: 3, skipped: 0, done: text.len() as u64 });
    let [one, two, three] = &contents(&*account, "New/Box").await[..] else { panic!() };
    assert_eq!((one.0.as_str(), one.1), ("\\Answered \\Flagged \\Seen $Forwarded", 1));
    assert_eq!(
        one.2,
        "Subject: one\r\nStatus: RO\r\nX-Status: AF\r\nX-Keywords: $Forwarded x(y\r\n\r\n\
         From here on it is body, as no date follows.\r\nFrom x\r\n>From y\r\n> From z\r\n\r\nFrom nowhere\r\n"
    );
    assert_eq!((two.0.as_str(), two.1), ("", 837_596_665));
    assert_eq!(two.2, "Subject: two\r\n\r\nStatus: R\r\n\r\n");
    assert_eq!(three.2, "Subject: three\r\n\r\nno line end");
}

#[tokio::test]
async fn an_mbox_with_crlf_and_a_message_that_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mbox");
    let long = "x".repeat(200_000);
    let text = format!(
        "From a Thu Jan  1 00:00:01 1970\r\n\r\none\r\n\r\nFrom a Thu Jan  1 00:00:01 1970\r\n\r\n{long}\r\n\r\n\
         From a Thu Jan  1 00:00:01 1970\r\n\r\nthree\r\n\r\n"
    );
    fs::write(&path, text).unwrap();
    let account = account().await;
    let progress = import(&*account, &path, "INBOX").await.unwrap();
    assert_eq!((progress.added, progress.skipped), (2, 1));
    let bodies: Vec<_> = contents(&*account, "INBOX").await.into_iter().map(|(_, _, body)| body).collect();
    assert_eq!(bodies, ["\r\none\r\n", "\r\nthree\r\n"]);
}

#[tokio::test]
async fn a_maildir_with_folders_flags_and_keywords() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("Maildir");
    for box_folder in ["", ".Sent", ".A&APw-.b", "not-a-folder"] {
        for place in ["cur", "new", "tmp"] {
            fs::create_dir_all(root.join(box_folder).join(place)).unwrap();
        }
    }
    fs::write(root.join("dovecot-keywords"), "0 $Junk\n2 work\n").unwrap();
    fs::write(root.join("cur/20.x:2,FSac"), "two\n").unwrap();
    fs::write(root.join("new/3.x"), "one\r\n").unwrap();
    fs::write(root.join("tmp/1.x"), "never").unwrap();
    fs::write(root.join("cur/.hidden"), "never").unwrap();
    fs::write(root.join(".Sent/cur/1.y:2,DRTP"), "sent\n").unwrap();
    fs::write(root.join(".A&APw-.b/new/1.z"), "deep\0\n").unwrap();
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_007);
    fs::File::open(root.join("new/3.x")).unwrap().set_modified(date).unwrap();

    let account = account().await;
    let progress = import(&*account, &root, "INBOX").await.unwrap();
    assert_eq!(progress, Progress { added: 4, skipped: 0, done: 4 });
    let inbox = contents(&*account, "INBOX").await;
    assert_eq!(inbox[0], (String::new(), 1_000_000_007, "one\r\n".to_owned()));
    assert_eq!((inbox[1].0.as_str(), inbox[1].2.as_str()), ("\\Flagged \\Seen $Junk work", "two\r\n"));
    let listed = account.list(&ListRequest::all()).await.unwrap();
    let subscribed: Vec<_> = listed.iter().filter(|entry| entry.subscribed).map(|entry| entry.name.as_str()).collect();
    assert!(subscribed.contains(&"Sent") && subscribed.contains(&"A\u{fc}/b"), "{subscribed:?}");
    let sent = contents(&*account, "Sent").await;
    assert_eq!(sent[0].0, "\\Answered \\Deleted \\Draft $Forwarded");
    assert_eq!(contents(&*account, "A\u{fc}/b").await[0].2, "deep\0\r\n");

    // Below any other mailbox, the folders keep their place.
    import(&*account, &root, "Old").await.unwrap();
    assert_eq!(contents(&*account, "Old").await.len(), 2);
    assert_eq!(contents(&*account, "Old/Sent").await.len(), 1);
    assert!(root.join("new/3.x").exists(), "the source stays");
}

#[tokio::test]
async fn single_messages() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("b.eml"), "From: b\n\n").unwrap();
    fs::write(folder.path().join("a.EML"), "From a, and no mbox\n").unwrap();
    fs::write(folder.path().join("c.txt"), "never").unwrap();
    let account = account().await;
    assert_eq!(import(&*account, folder.path(), "INBOX").await.unwrap().added, 2);
    assert_eq!(import(&*account, &folder.path().join("a.EML"), "INBOX").await.unwrap().added, 1);
    let bodies: Vec<_> = contents(&*account, "INBOX").await.into_iter().map(|(_, _, body)| body).collect();
    assert_eq!(bodies, ["From a, and no mbox\r\n", "From: b\r\n\r\n", "From a, and no mbox\r\n"]);
}

#[tokio::test]
async fn what_can_not_be_imported_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let account = account().await;
    let (missing, text, empty) = (folder.path().join("x"), folder.path().join("t"), folder.path().join("e"));
    fs::write(&text, "hello\n").unwrap();
    fs::create_dir(&empty).unwrap();
    for (path, status, part) in [
        (&missing, Status::NoInput, "No such file"),
        (&text, Status::DataError, "not an mbox file"),
        (&empty, Status::DataError, "neither a Maildir nor"),
    ] {
        let failure = import(&*account, path, "INBOX").await.unwrap_err();
        assert_eq!(failure.status, status);
        let shown = failure.to_string();
        assert!(shown.contains(path.to_str().unwrap()) && shown.contains(part), "{shown}");
    }
}

#[test]
fn line_ends() {
    for (from, to) in [
        ("", ""),
        ("a", "a"),
        ("\n", "\r\n"),
        ("a\r\nb\r\n", "a\r\nb\r\n"),
        ("a\nb\r\nc\r\r\n\rd\n", "a\r\nb\r\nc\r\r\n\rd\r\n"),
        ("\n\n", "\r\n\r\n"),
    ] {
        assert_eq!(to_wire(from.as_bytes().to_vec()), to.as_bytes(), "{from:?}");
    }
}
