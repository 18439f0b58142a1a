//! A copy of a running server's data folder, made by plain copies of files, is a whole one.
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
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use support::{CONFIG, Imap, PASSWORD, Place, USER, has, text};

/// A message that can be told from any other, and from a part of itself.
fn message(name: &str) -> Vec<u8> {
    let lines = 1 + name.bytes().map(usize::from).sum::<usize>() % 200;
    let mut text = format!("Message-ID: <{name}@example.org>\r\nSubject: {name}\r\n\r\n");
    for line in 0..lines {
        text.push_str(&format!("{name} line {line} of {lines}\r\n"));
    }
    text.into_bytes()
}

/// What is in a mailbox: its UIDVALIDITY, and how often each message is there, with the flags of the last one.
struct Found {
    validity: u32,
    messages: BTreeMap<String, (usize, String)>,
}

/// Reads a mailbox. Each message must be one of ours, octet by octet.
fn read(imap: &mut Imap, mailbox: &str) -> Found {
    let selected = imap.command(&format!("SELECT {mailbox}")).unwrap().ok();
    let validity = selected.code("UIDVALIDITY").expect("UIDVALIDITY").parse().unwrap();
    let mut messages = BTreeMap::new();
    for row in imap.command("UID FETCH 1:* (FLAGS BODY.PEEK[])").unwrap().ok().untagged {
        let row = text(&row);
        let Some((start, rest)) = row.split_once("BODY[] {") else { continue };
        let (length, rest) = rest.split_once("}\r\n").unwrap();
        let content = &rest[..length.parse::<usize>().unwrap()];
        let name = content.split_once("Subject: ").unwrap().1.split_once("\r\n").unwrap().0;
        assert!(content.as_bytes() == message(name), "{mailbox} has another content of {name}: {content}");
        let both = format!("{start} {}", &rest[content.len()..]);
        let flags = both.split_once("FLAGS (").unwrap().1.split_once(')').unwrap().0.to_owned();
        messages.entry(name.to_owned()).or_insert((0, String::new())).0 += 1;
        messages.get_mut(name).unwrap().1 = flags;
    }
    Found { validity, messages }
}

/// One run of what `rsync -a --delete` does, without the indexes and databases. Whether a file vanished meanwhile.
fn copy_once(from: &Path, to: &Path) -> io::Result<bool> {
    let mut vanished = false;
    fs::create_dir_all(to)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap();
        if name.contains(".sqlite") || name == "pillarbox" && entry.path().is_dir() {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        names.insert(name);
        let copied = match entry.file_type()?.is_dir() {
            true => copy_once(&source, &target),
            false => copy_file(&source, &target).map(|()| false),
        };
        match copied {
            Ok(inside) => vanished |= inside,
            Err(error) if error.kind() == io::ErrorKind::NotFound => vanished = true,
            Err(error) => return Err(error),
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            _ if names.contains(entry.file_name().to_str().unwrap()) => {}
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(vanished)
}

/// Copies a file with its time and mode, unless that was done before.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let source = fs::metadata(from)?;
    let same = |target: fs::Metadata| target.len() == source.len() && target.modified().ok() == source.modified().ok();
    if fs::metadata(to).is_ok_and(same) {
        return Ok(());
    }
    fs::copy(from, to)?;
    File::options().write(true).open(to)?.set_modified(source.modified()?)
}

/// Something that clients do over and over until they are told to stop.
fn over_and_over(
    stop: &Arc<AtomicBool>,
    imap: Imap,
    mut work: impl FnMut(&mut Imap, u32) + Send + 'static,
) -> (Arc<AtomicU32>, thread::JoinHandle<()>) {
    let (stop, done, mut imap) = (Arc::clone(stop), Arc::new(AtomicU32::new(0)), imap);
    let counter = Arc::clone(&done);
    let thread = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            work(&mut imap, counter.load(Ordering::Relaxed));
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (done, thread)
}

/// Copies by the rules of the documents.
fn plain_copy(from: &Path, to: &Path) {
    let mut runs = 0;
    loop {
        let vanished = copy_once(from, to).unwrap();
        runs += 1;
        if runs > 1 && !vanished {
            return;
        }
        assert!(runs < 1000, "files vanish in every run");
    }
}

/// Copies by the commands of the documents.
fn documented_copy(from: &Path, to: &Path) {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
    let document = fs::read_to_string(document).unwrap();
    let (_, block) = document.split_once("```console\n# again() {").expect("the commands of a backup");
    let block = format!("# again() {{{}", block.split("\n```").next().unwrap());
    let commands: Vec<&str> = block.lines().map(|line| line.strip_prefix("# ").expect("a command")).collect();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let commands = commands.join("\n").replace("/var/lib/pillarbox", from).replace("/backup/pillarbox", to);
    let output = Command::new("bash").args(["-c", &commands]).output().unwrap();
    assert!(output.status.success(), "{commands}: {}", text(&output.stderr));
}

#[test]
fn a_live_copy_of_the_data_folder_can_be_restored() {
    copied_and_restored(plain_copy);
}

#[test]
fn the_commands_of_the_documents_make_such_a_copy() {
    if has("rsync") && has("sqlite3") {
        let copy = copied_and_restored(documented_copy);
        let db = copy.data().join("pop3-login.sqlite");
        let db = rusqlite::Connection::open(db).unwrap();
        let user: String = db.query_row("SELECT user FROM number", [], |row| row.get(0)).unwrap();
        assert_eq!(user, USER);
    }
}

/// Copies the data folder of a server under load, and looks what a server makes of the copy.
fn copied_and_restored(make_copy: impl Fn(&Path, &Path)) -> Place {
    let config = format!("{CONFIG}[pop3]\nlogin-delay = 1\n");
    let place = Place::with_config(&config);
    let server = place.start();
    let mut imap = server.imap();
    imap.command("CREATE Archive").unwrap().ok();
    let (mut kept, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for number in 0..120 {
        let name = format!("old-{number}");
        let flags = if number % 2 == 0 { "\\Seen $Important" } else { "" };
        imap.append("INBOX", flags, &message(&name));
        if number % 4 == 3 {
            gone.insert(name)
        } else {
            kept.insert(name)
        };
    }
    imap.command("SELECT INBOX").unwrap().ok();
    // Every fourth message goes before the copy begins, and some are in the archive too.
    for number in (0..120).filter(|number| number % 4 == 3) {
        imap.command(&format!("STORE {} +FLAGS.SILENT (\\Deleted)", number + 1)).unwrap().ok();
    }
    imap.command("EXPUNGE").unwrap().ok();
    imap.command("COPY 1:30 Archive").unwrap().ok();
    let before = [read(&mut imap, "INBOX"), read(&mut imap, "Archive")];
    assert_eq!(before[0].messages.keys().cloned().collect::<BTreeSet<_>>(), kept);

    let mut pop3 = support::pop3::Pop3::connect(server.address("pop3"));
    pop3.login(USER, PASSWORD);
    pop3.quit();

    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for client in 0..2 {
        // New messages come, and every second of them goes again.
        workers.push(over_and_over(&stop, server.imap(), move |imap, round| {
            if round == 0 {
                imap.command("SELECT INBOX").unwrap().ok();
            }
            let uid = imap.append("INBOX", "", &message(&format!("new-{client}-{round}")));
            if round % 2 == 0 {
                imap.command(&format!("UID STORE {uid} +FLAGS (\\Deleted)")).unwrap().ok();
                imap.command(&format!("UID EXPUNGE {uid}")).unwrap().ok();
            }
        }));
    }
    // Flags of old ones change, and so do the names of their files.
    workers.push(over_and_over(&stop, server.imap(), |imap, round| {
        if round == 0 {
            imap.command("SELECT INBOX").unwrap().ok();
        }
        let sign = if round % 2 == 0 { '+' } else { '-' };
        imap.command(&format!("STORE {} {sign}FLAGS.SILENT (\\Flagged)", 1 + round / 2 % 90)).unwrap().ok();
    }));
    while workers.iter().any(|(done, _)| done.load(Ordering::Relaxed) < 3) {
        thread::sleep(Duration::from_millis(1));
    }
    let counts = || workers.iter().map(|(done, _)| done.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let copy = Place::empty(&config);
    // A copy during which nothing happened shows nothing.
    let started = loop {
        let started = counts();
        make_copy(&place.data(), &copy.data());
        if counts().iter().sum::<u32>() >= started.iter().sum::<u32>() + 3 {
            break started;
        }
    };
    // What was acknowledged and not taken away again before the copy began: odd rounds.
    for (client, started) in started.iter().take(2).enumerate() {
        kept.extend((0..*started).filter(|round| round % 2 == 1).map(|round| format!("new-{client}-{round}")));
        gone.extend((0..*started).filter(|round| round % 2 == 0).map(|round| format!("new-{client}-{round}")));
    }
    stop.store(true, Ordering::Relaxed);
    for (_, worker) in workers {
        worker.join().unwrap();
    }
    assert!(!copy.maildir().join("pillarbox").exists());

    let restored = copy.start();
    let mut imap = restored.imap();
    let after = [read(&mut imap, "INBOX"), read(&mut imap, "Archive")];
    for name in &kept {
        let count = after[0].messages.get(name).map_or(0, |(count, _)| *count);
        assert_eq!(count, 1, "{name} is there {count} times");
    }
    for name in &gone {
        assert!(!after[0].messages.contains_key(name), "{name} is back");
    }
    assert_eq!(after[1].messages.keys().collect::<Vec<_>>(), before[1].messages.keys().collect::<Vec<_>>());
    for (before, after) in before.iter().zip(&after) {
        assert!(after.messages.values().all(|(count, _)| *count == 1), "a message is there twice");
        for (name, (_, flags)) in &before.messages {
            for flag in ["\\Seen", "$Important"] {
                assert_eq!(flags.contains(flag), after.messages[name].1.contains(flag), "{name}: {flag}");
            }
        }
        // A client must not take new UIDs for those that it knows.
        assert!(after.validity > before.validity, "UIDVALIDITY {} after {}", after.validity, before.validity);
    }
    // It goes on as any other.
    imap.append("INBOX", "", &message("after"));
    assert_eq!(read(&mut imap, "INBOX").messages["after"].0, 1);
    copy
}
