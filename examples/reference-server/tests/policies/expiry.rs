//! `expire`, `delete-expired` and `expire-stamp`: what was retrieved is stamped, and goes when it is old.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::support::pop3::Pop3;
use crate::support::{self, CONFIG, PASSWORD, PATIENCE, USER, text};
use crate::{deliver, file_with, files, login_soon, now, place, stamp, user, wait_until};

const DAY: i64 = 86_400;

#[test]
fn what_was_retrieved_gets_a_stamp_in_its_header_at_quit() {
    let place = place("expire = 5");
    for (name, subject) in [("1.a", "one"), ("2.b", "two"), ("3.c", "three")] {
        deliver(&place, name, &format!("Subject: {subject}\n\nbody of {subject}\n"));
    }
    let server = place.start();
    let mut client = Pop3::connect(server.address("pop3"));
    assert!(client.capabilities().contains(&"EXPIRE 5".to_owned()));
    client.login(USER, PASSWORD);
    let before = client.unique_ids();
    client.retr(1);
    client.command("TOP 2 0");
    client.lines();
    // Without QUIT nothing is written.
    drop(client);
    wait_until(|| Pop3::connect(server.address("pop3")).try_login(USER, PASSWORD).starts_with("+OK"));
    assert!(files(&place).iter().all(|path| stamp(&fs::read_to_string(path).unwrap()).is_none()));

    let mut imap = server.imap();
    let uid = |imap: &mut support::Imap, subject: &str| {
        let reply = imap.command(&format!("UID SEARCH SUBJECT {subject}")).unwrap().ok();
        text(&reply.untagged[0]).trim().rsplit(' ').next().unwrap().to_owned()
    };
    imap.command("SELECT INBOX").unwrap().ok();
    let old = uid(&mut imap, "one");
    imap.command(&format!("UID STORE {old} +FLAGS (\\Flagged later)")).unwrap().ok();
    let about = |imap: &mut support::Imap, uid: &str| {
        let reply = imap.command(&format!("UID FETCH {uid} (FLAGS INTERNALDATE)")).unwrap().ok();
        let line = text(reply.untagged.last().unwrap());
        let flags: BTreeSet<_> = line
            .split("FLAGS (")
            .nth(1)
            .unwrap()
            .split(')')
            .next()
            .unwrap()
            .split(' ')
            .filter(|flag| *flag != "\\Recent")
            .map(str::to_owned)
            .collect();
        (flags, line.split("INTERNALDATE ").nth(1).unwrap().split('"').nth(1).unwrap().to_owned())
    };
    let (mut flags, date) = about(&mut imap, &old);

    let mut client = login_soon(&server);
    client.retr(1);
    client.command("TOP 2 0");
    client.lines();
    let started = now();
    client.quit();
    let (path, one) = file_with(&place, "body of one");
    let first = stamp(&one).expect("a stamp");
    assert!((started..=now()).contains(&first));
    assert_eq!(one, format!("X-Expire-Timestamp: {first}\nSubject: one\n\nbody of one\n"));
    assert!(stamp(&file_with(&place, "body of two").1).is_some());
    assert_eq!(stamp(&file_with(&place, "body of three").1), None);
    assert_eq!(files(&place).len(), 3);
    let claimed = format!(",S={},W={},", one.len(), one.len() + 4);
    assert!(path.to_str().unwrap().contains(&claimed), "{path:?}");

    // For IMAP it is another message, with all that the old one had.
    let reply = imap.command("NOOP").unwrap().ok();
    let told = reply.untagged.iter().map(|line| text(line)).collect::<String>();
    assert!(told.contains("EXPUNGE") || told.contains("VANISHED"), "{told}");
    let new = uid(&mut imap, "one");
    assert!(new.parse::<u32>().unwrap() > old.parse::<u32>().unwrap());
    flags.insert("\\Seen".to_owned());
    assert_eq!(about(&mut imap, &new), (flags, date));

    // The stamp of the first retrieval stays, and so do the unique-ids.
    let mut client = login_soon(&server);
    assert_eq!(client.unique_ids().into_iter().collect::<BTreeSet<_>>(), before.iter().cloned().collect());
    for message in 1..=3 {
        client.retr(message);
    }
    client.quit();
    assert_eq!(stamp(&file_with(&place, "body of one").1), Some(first));
    assert!(stamp(&file_with(&place, "body of three").1).is_some());
    // Also when the index is lost.
    drop((imap, server));
    fs::remove_dir_all(place.maildir().join("pillarbox")).unwrap();
    let server = place.start();
    let mut client = login_soon(&server);
    assert_eq!(client.unique_ids().into_iter().collect::<BTreeSet<_>>(), before.into_iter().collect());
}

/// Messages with stamps of now and so many seconds less. Returns the bodies that are left after a login and QUIT.
fn left_after_quit(pop3: &str, stamps: &[(&str, String)]) -> (Vec<String>, String) {
    let place = place(pop3);
    for (at, (body, stamp)) in stamps.iter().enumerate() {
        let field = if stamp.is_empty() { String::new() } else { format!("X-Expire-Timestamp: {stamp}\n") };
        deliver(&place, &format!("{at}.x"), &format!("Subject: {at}\n{field}\n{body}\n"));
    }
    let server = place.start();
    let mut client = Pop3::connect(server.address("pop3"));
    client.login(USER, PASSWORD);
    client.quit();
    let mut left: Vec<_> =
        files(&place).iter().map(|path| fs::read_to_string(path).unwrap().lines().last().unwrap().to_owned()).collect();
    left.sort();
    (left, server.log())
}

/// Stamps are written by a process that is killed: no message is ever lost, there twice, or there in part.
#[test]
fn a_kill_while_stamps_are_written_leaves_each_message_once() {
    const MORE: usize = 25;
    let place = place("expire = 5");
    let body = |number: usize| format!("number {number} {}\n", "x".repeat(number * 37 % 5000));
    let mut random = 0x9e37_79b9_u64;
    // How long a QUIT takes for each message, and how many will get a stamp.
    let (mut each, mut unstamped) = (Duration::ZERO, 0);
    for round in 0..12 {
        for number in round * MORE..(round + 1) * MORE {
            deliver(&place, &format!("{number}.x"), &format!("Subject: {number}\n\n{}", body(number)));
        }
        let server = place.start();
        let mut client = login_soon(&server);
        for number in 1..=(round + 1) * MORE {
            client.command(&format!("TOP {number} 0"));
            client.lines();
        }
        unstamped += MORE;
        let started = Instant::now();
        if round == 0 {
            client.quit();
            each = started.elapsed() / u32::try_from(MORE).unwrap();
        } else {
            client.begin("QUIT");
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Any instant of it, and a few after it.
            let whole = each * u32::try_from(unstamped).unwrap() * 5 / 4;
            std::thread::sleep(whole * u32::try_from((random >> 33) % 1000).unwrap() / 1000);
        }
        server.kill();

        let server = place.start();
        let mut client = login_soon(&server);
        let mut ids: Vec<_> = client.unique_ids();
        ids.sort();
        let mut expected: Vec<_> = (0..(round + 1) * MORE).map(|number| format!("{number}.x")).collect();
        expected.sort();
        assert_eq!(ids, expected, "round {round}");
        drop((client, server));
        let mut bodies = BTreeSet::new();
        unstamped = 0;
        for path in files(&place) {
            let octets = fs::read_to_string(path).unwrap();
            let (header, rest) = octets.split_once("\n\n").expect("a whole header");
            let number: usize = header.split("Subject: ").nth(1).unwrap().parse().expect("a whole header");
            assert_eq!(rest, body(number));
            assert!(bodies.insert(number), "message {number} is there twice");
            unstamped += usize::from(stamp(&octets).is_none());
        }
        assert_eq!(bodies.len(), (round + 1) * MORE, "round {round}");
        assert!(round > 0 || unstamped == 0, "who was told that the session ended has the stamps");
        println!("round {round}: {unstamped} without a stamp");
    }
}

#[test]
fn expired_messages_are_removed_at_quit_to_the_second() {
    let ago = |seconds: i64| (now() - seconds).to_string();
    let stamps = |now: i64| {
        [
            ("a six days", (now - 6 * DAY).to_string()),
            ("b just five days", (now - 5 * DAY).to_string()),
            // The sessions take less than an hour.
            ("c five days but an hour", (now - 5 * DAY + 3600).to_string()),
            ("d four days", (now - 4 * DAY).to_string()),
            ("e blanks", format!("{}  ", now - 6 * DAY)),
            ("f never retrieved", String::new()),
        ]
    };
    let (left, _) = left_after_quit("expire = 5\ndelete-expired = true", &stamps(now()));
    assert_eq!(left, ["c five days but an hour", "d four days", "f never retrieved"]);
    let (left, _) = left_after_quit("expire = 5", &stamps(now()));
    assert_eq!(left.len(), 6);
    let (left, _) = left_after_quit("delete-expired = true", &stamps(now()));
    assert_eq!(left.len(), 6);
    // A stamp that is not a number.
    let wrong = ["soon", "12x", "-1", "+1", "0x10", "99999999999999999999", "1 2"];
    let stamps: Vec<_> =
        wrong.iter().map(|stamp| (*stamp, (*stamp).to_owned())).chain([("old", ago(6 * DAY))]).collect();
    let (left, log) = left_after_quit("expire = 5\ndelete-expired = true", &stamps);
    assert_eq!(left.len(), wrong.len(), "{left:?}");
    assert!(log.contains("a stamp is not a number"), "{log}");
    // A clock that jumped back: stamps of the future do not expire.
    let (left, _) = left_after_quit("expire = 5\ndelete-expired = true", &[("later", ago(-9 * DAY))]);
    assert_eq!(left, ["later"]);
}

#[test]
fn with_expire_0_what_was_retrieved_is_removed_at_quit() {
    let place = place("expire = 0\ndelete-expired = false");
    for body in ["one", "two", "three"] {
        deliver(&place, &format!("1.{body}"), &format!("Subject: x\n\n{body}\n"));
    }
    let server = place.start();
    let mut client = Pop3::connect(server.address("pop3"));
    assert!(client.capabilities().contains(&"EXPIRE 0".to_owned()));
    client.login(USER, PASSWORD);
    let (one, _) = client.retr(1);
    client.command("TOP 2 0");
    client.lines();
    client.quit();
    let left = files(&place);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!fs::read(&left[0]).unwrap().ends_with(&one.as_bytes()[one.len() - 4..]));
}

#[test]
fn stamps_in_the_index_leave_messages_as_they_are() {
    let place = place("expire = 1\ndelete-expired = true\nexpire-stamp = \"index\"");
    deliver(&place, "1.a", "Subject: one\n\nbody of one\n");
    deliver(&place, "2.b", "Subject: two\nX-Expire-Timestamp: 1\n\nbody of two\n");
    let server = place.start();
    let mut client = Pop3::connect(server.address("pop3"));
    client.login(USER, PASSWORD);
    client.retr(1);
    let started = now();
    client.quit();
    assert_eq!(file_with(&place, "body of one").1, "Subject: one\n\nbody of one\n");
    assert_eq!(files(&place).len(), 2, "a field counts for nothing here");
    let index = Connection::open(place.maildir().join("pillarbox/index.sqlite")).unwrap();
    index.busy_timeout(PATIENCE).unwrap();
    let time: i64 = index.query_row("SELECT time FROM stamp", [], |row| row.get(0)).unwrap();
    assert!((started..=now()).contains(&time), "{time}");
    index.execute("UPDATE stamp SET time = ?1", [now() - DAY]).unwrap();
    drop(index);
    login_soon(&server).quit();
    assert_eq!(files(&place).len(), 1);
    file_with(&place, "body of two");
}

#[test]
fn the_command_expire_removes_what_is_old_and_lists_it_when_asked() {
    let place = place("expire = 5");
    let stamped = |stamp: i64| format!("X-Expire-Timestamp: {stamp}\nSubject: x\n\nbody\n");
    deliver(&place, "1.old", &stamped(now() - 5 * DAY));
    deliver(&place, "2.young", &stamped(now() - 4 * DAY));
    deliver(&place, "3.none", "Subject: x\n\nbody\n");
    user(&place, &["add", "bob"], "secret\n");
    let expire = |arguments: &[&str]| {
        let output = place.command().arg("expire").args(arguments).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (status, out, _) = expire(&["--dry-run"]);
    assert_eq!(status, Some(0));
    assert!(out.contains("alice 1.old retrieved ") && out.contains("alice: 1 messages would be removed"), "{out}");
    assert!(out.contains("bob: 0 messages"), "{out}");
    assert_eq!(files(&place).len(), 3);
    // Also while the server runs.
    let server = place.start();
    let (status, out, _) = expire(&["--user", USER]);
    assert_eq!((status, out.contains("alice: 1 messages removed")), (Some(0), true), "{out}");
    assert_eq!(files(&place).len(), 2);
    Pop3::connect(server.address("pop3")).login(USER, PASSWORD).expect("STAT", "+OK 2 ");
    let (_, out, _) = expire(&["--days", "4"]);
    assert!(out.contains("alice: 1 messages removed"), "{out}");
    assert_eq!(expire(&["--user", "nobody"]).0, Some(67));
    assert_eq!(expire(&["--days", "-1"]).0, Some(64));
    let file = place.path().join("pillarboxd.toml");
    fs::write(&file, CONFIG).unwrap();
    let (status, _, error) = expire(&[]);
    assert_eq!((status, error.contains("pop3.expire")), (Some(78), true), "{error}");
}
