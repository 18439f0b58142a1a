//! The policies of POP3 maildrops, with the program itself and real files: login delay, expiry, bulletins, deletion
//! marks from elsewhere, the exclusive maildrop, and what they need of the operator.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension};
use support::pop3::Pop3;
use support::{CONFIG, PASSWORD, PATIENCE, Place, USER, run_with_input, text};

const DAY: i64 = 86_400;
const TOO_SOON: &str = "-ERR [LOGIN-DELAY] Attempt to log in within the minimum login delay interval";

/// The usual configuration with these lines in its table `pop3`.
fn config(pop3: &str) -> String {
    format!("{CONFIG}[pop3]\n{pop3}\n")
}

fn place(pop3: &str) -> Place {
    Place::with_config(&config(pop3))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// The number of a user in a SQLite file.
fn number(file: &Path, user: &str) -> Option<String> {
    let db = Connection::open(file).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.query_row("SELECT value FROM number WHERE user = ?1", [user], |row| row.get(0)).optional().unwrap()
}

fn set_number(file: &Path, user: &str, value: &str) {
    let db = Connection::open(file).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute_batch("CREATE TABLE IF NOT EXISTS number (user TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        .unwrap();
    db.execute("INSERT OR REPLACE INTO number (user, value) VALUES (?1, ?2)", [user, value]).unwrap();
}

/// A Maildir with messages of these names in `new/`.
fn maildir(path: &Path, messages: &[(&str, &str)]) {
    for place in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(place)).unwrap();
    }
    for (name, octets) in messages {
        fs::write(path.join("new").join(name), octets).unwrap();
    }
}

/// Puts a message into the user's INBOX, as a delivery agent does.
fn deliver(place: &Place, name: &str, octets: &str) {
    maildir(&place.maildir(), &[(name, octets)]);
}

/// All message files of the user's INBOX, sorted.
fn files(place: &Place) -> Vec<PathBuf> {
    let mut files: Vec<_> = ["cur", "new"]
        .iter()
        .flat_map(|folder| fs::read_dir(place.maildir().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The file that has this in it.
fn file_with(place: &Place, part: &str) -> (PathBuf, String) {
    let mut found = files(place).into_iter().filter_map(|path| {
        let octets = fs::read_to_string(&path).unwrap();
        octets.contains(part).then_some((path, octets))
    });
    let first = found.next().expect("a message");
    assert!(found.next().is_none(), "{part} is there twice");
    first
}

fn stamp(octets: &str) -> Option<i64> {
    let mut lines = octets.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| line.strip_prefix("X-Expire-Timestamp: ")).map(|value| value.parse().unwrap())
}

fn user(place: &Place, arguments: &[&str], input: &str) -> Output {
    let output = run_with_input(place.command().arg("user").args(arguments), input);
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

// ---- login delay

#[test]
fn the_login_delay_holds_after_right_passwords_and_survives_a_restart() {
    let place = place("login-delay = 3600");
    user(&place, &["add", "bob"], "secret\n");
    let file = place.data().join("pop3-login.sqlite");
    let server = place.start();
    let mut first = Pop3::connect(server.address("pop3"));
    assert!(first.capabilities().contains(&"LOGIN-DELAY 3600".to_owned()));
    first.login(USER, PASSWORD);
    let told: i64 = number(&file, USER).unwrap().parse().unwrap();
    assert!((now() - told).abs() <= 5, "{told}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // The time of QUIT takes the place of that of the login.
    set_number(&file, USER, "1000");
    first.quit();
    assert!(number(&file, USER).unwrap().parse::<i64>().unwrap() > 1000);

    let mut again = Pop3::connect(server.address("pop3"));
    assert!(again.try_login(USER, "wrong").starts_with("-ERR [AUTH] "));
    assert_eq!(again.try_login(USER, PASSWORD), TOO_SOON);
    // Nobody else is kept out, and the connection goes on.
    again.login("bob", "secret");
    again.quit();
    drop(server);
    let server = place.start();
    assert_eq!(Pop3::connect(server.address("pop3")).try_login(USER, PASSWORD), TOO_SOON);
    // IMAP has no such delay.
    server.imap();
    set_number(&file, USER, &(now() - 3600).to_string());
    Pop3::connect(server.address("pop3")).login(USER, PASSWORD);
}

#[test]
fn the_login_delay_is_shared_by_processes() {
    let place = place("login-delay = 3600\nstat-file = \"logins.db\"");
    let second = place.path().join("second");
    fs::create_dir(&second).unwrap();
    let (one, other) = (place.start(), support::Server::start(&mut place.command(), &second));
    let tries: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = [&one, &other, &one, &other]
            .into_iter()
            .map(|server| scope.spawn(|| Pop3::connect(server.address("pop3")).try_login(USER, PASSWORD)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(tries.iter().filter(|reply| reply.starts_with("+OK")).count(), 1, "{tries:?}");
    assert_eq!(tries.iter().filter(|reply| *reply == TOO_SOON).count(), 3, "{tries:?}");
    assert!(number(&place.path().join("logins.db"), USER).is_some());
}

#[test]
fn a_clock_that_jumps_back_keeps_nobody_out() {
    let place = place("login-delay = 60");
    let file = place.data().join("pop3-login.sqlite");
    let server = place.start();
    let login = || {
        let mut client = Pop3::connect(server.address("pop3"));
        let reply = client.try_login(USER, PASSWORD);
        if reply.starts_with("+OK") { Ok(client) } else { Err(reply) }
    };
    drop(login().unwrap());
    // As if the last login had been told by a clock that ran an hour ahead.
    wait_until(|| {
        set_number(&file, USER, &(now() + 3600).to_string());
        login().is_ok()
    });
    // That login is on the record, by the clock of now.
    assert!(number(&file, USER).unwrap().parse::<i64>().unwrap() <= now());
}

#[test]
fn values_that_are_no_number_are_no_delay() {
    let place = place("login-delay = 3600");
    let file = place.data().join("pop3-login.sqlite");
    let server = place.start();
    for value in ["soon", "12x", "", "-5", &"1".repeat(80)] {
        set_number(&file, USER, value);
        Pop3::connect(server.address("pop3")).login(USER, PASSWORD).quit();
        assert!(number(&file, USER).unwrap().parse::<i64>().is_ok(), "{value}");
    }
    assert!(server.log().contains("the time of the last login is no number"), "{}", server.log());
}

#[test]
fn without_a_record_of_logins_nobody_is_kept_out_and_nothing_is_announced() {
    let free = |pop3: &str, prepare: &dyn Fn(&Path)| {
        let place = place(pop3);
        prepare(place.path());
        let server = place.start();
        for _ in 0..2 {
            let mut client = Pop3::connect(server.address("pop3"));
            assert!(!client.capabilities().iter().any(|line| line.starts_with("LOGIN-DELAY")));
            client.login(USER, PASSWORD);
            assert!(!client.capabilities().iter().any(|line| line.starts_with("LOGIN-DELAY")));
            client.quit();
        }
        assert!(server.log().contains("unable to open statistics db: "), "{}", server.log());
        server.log()
    };
    free("login-delay = 3600\nstat-file = \"/nonexistent/x\"", &|_| {});
    free("login-delay = 3600\nstat-file = \"folder\"", &|path| fs::create_dir(path.join("folder")).unwrap());
    let log = free("login-delay = 3600\nstat-file = \"open.db\"", &|path| {
        set_number(&path.join("open.db"), USER, "1");
        fs::set_permissions(path.join("open.db"), fs::Permissions::from_mode(0o666)).unwrap();
    });
    assert!(log.contains("written by others"), "{log}");
    let log = free("login-delay = 3600\nstat-file = \"open/x.db\"", &|path| {
        fs::create_dir(path.join("open")).unwrap();
        fs::set_permissions(path.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    });
    assert!(log.contains("written by others"), "{log}");
    free("login-delay = 3600\nstat-file = \"text\"", &|path| {
        fs::write(path.join("text"), "no database".repeat(99)).unwrap()
    });
}

#[test]
fn users_have_delays_and_times_of_their_own() {
    let place = place("login-delay = 60\nexpire = 9");
    user(&place, &["add", "bob"], "secret\n");
    user(&place, &["add", "carol"], "secret\n");
    let file = place.data().join("users.toml");
    let users = fs::read_to_string(&file).unwrap();
    let users = users
        + "\n[user.bob.pop3]\nlogin-delay = 0\nexpire = \"never\"\n\
                         [user.carol.pop3]\nlogin-delay = 600\nexpire = 0\n";
    fs::write(&file, users).unwrap();
    let server = place.start();
    let policies = |client: &mut Pop3| -> Vec<String> {
        let mut lines = client.capabilities();
        lines.retain(|line| line.starts_with("LOGIN-DELAY") || line.starts_with("EXPIRE"));
        lines
    };
    let mut client = Pop3::connect(server.address("pop3"));
    assert_eq!(policies(&mut client), ["LOGIN-DELAY 600 USER", "EXPIRE 0 USER"]);
    client.login("bob", "secret");
    assert_eq!(policies(&mut client), ["EXPIRE NEVER"]);
    client.quit();
    Pop3::connect(server.address("pop3")).login("bob", "secret");
    let mut client = Pop3::connect(server.address("pop3"));
    client.login("carol", "secret");
    assert_eq!(policies(&mut client), ["LOGIN-DELAY 600", "EXPIRE 0"]);
    let mut client = Pop3::connect(server.address("pop3"));
    client.login(USER, PASSWORD);
    assert_eq!(policies(&mut client), ["LOGIN-DELAY 60", "EXPIRE 9"]);
    // Another change of the file keeps them.
    user(&place, &["passwd", "carol"], "another\n");
    let users = fs::read_to_string(&file).unwrap();
    assert!(users.contains("login-delay = 600") && users.contains("expire = \"never\""), "{users}");
}

// ---- expiry

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
            // The sessions take less than a minute.
            ("c five days but a minute", (now - 5 * DAY + 60).to_string()),
            ("d four days", (now - 4 * DAY).to_string()),
            ("e blanks", format!("{}  ", now - 6 * DAY)),
            ("f never retrieved", String::new()),
        ]
    };
    let (left, _) = left_after_quit("expire = 5\ndelete-expired = true", &stamps(now()));
    assert_eq!(left, ["c five days but a minute", "d four days", "f never retrieved"]);
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
    client.quit();
    assert_eq!(file_with(&place, "body of one").1, "Subject: one\n\nbody of one\n");
    assert_eq!(files(&place).len(), 2, "a field counts for nothing here");
    let index = Connection::open(place.maildir().join("pillarbox/index.sqlite")).unwrap();
    index.busy_timeout(PATIENCE).unwrap();
    let time: i64 = index.query_row("SELECT time FROM stamp", [], |row| row.get(0)).unwrap();
    assert!((now() - time).abs() < 60);
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

// ---- bulletins

const NEWS: [(&str, &str); 3] = [
    ("100.first", "Subject: bulletin 1\n\none\n"),
    ("200.second", "Subject: bulletin 2\n\ntwo\n"),
    ("1000.third", "Subject: bulletin 3\r\n\r\nthree\r\n"),
];

fn subjects(client: &mut Pop3) -> Vec<String> {
    let count: usize = client.stat().0;
    (1..=count)
        .map(|number| {
            client.command(&format!("TOP {number} 0"));
            let header = client.lines();
            header.into_iter().find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned)).unwrap()
        })
        .collect()
}

fn board(extra: &str) -> Place {
    let place = place(&format!("bulletin-source = \"maildir:news\"\n{extra}"));
    maildir(&place.path().join("news"), &NEWS);
    place
}

#[test]
fn bulletins_come_once_in_order_and_the_number_is_in_popbull() {
    let place = board("");
    maildir(&place.maildir(), &[]);
    let number = place.maildir().join(".popbull");
    fs::write(&number, "1\n").unwrap();
    let source = place.path().join("news/new");
    let times = |path: &Path| {
        let mut times: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap()))
            .collect();
        times.sort();
        times
    };
    let before = (times(&source), fs::metadata(&source).unwrap().modified().unwrap());
    let server = place.start();
    let mut client = Pop3::connect(server.address("pop3"));
    client.login(USER, PASSWORD);
    assert_eq!(subjects(&mut client), ["bulletin 2", "bulletin 3"]);
    assert_eq!(client.retr(1).0, "Subject: bulletin 2\r\n\r\ntwo\r\n");
    client.quit();
    assert_eq!(fs::read_to_string(&number).unwrap(), "3\n");
    assert!(server.log().contains("user alice: delivering 2 pending bulletin(s)"), "{}", server.log());
    client = login_soon(&server);
    assert_eq!(client.stat().0, 2);
    client.quit();
    assert_eq!((times(&source), fs::metadata(&source).unwrap().modified().unwrap()), before);
    fs::write(place.path().join("news/cur/2000.fourth:2,S"), "Subject: bulletin 4\n\nfour\n").unwrap();
    client = login_soon(&server);
    assert_eq!(subjects(&mut client), ["bulletin 2", "bulletin 3", "bulletin 4"]);
    client.quit();
    assert_eq!(fs::read_to_string(&number).unwrap(), "4\n");
    // A source that shrank, or a number larger than it: nothing, and the number stays.
    fs::remove_file(source.join("100.first")).unwrap();
    login_soon(&server).quit();
    fs::write(&number, "77\n").unwrap();
    login_soon(&server).quit();
    assert_eq!(fs::read_to_string(&number).unwrap(), "77\n");
    assert_eq!(files(&place).len(), 3);
    // A number set back has them delivered again.
    fs::write(&number, "2\n").unwrap();
    client = login_soon(&server);
    assert_eq!(client.stat().0, 4);
    client.quit();
    // No number: nothing, and the log says so.
    fs::write(&number, "x\n").unwrap();
    login_soon(&server).quit();
    assert_eq!((fs::read_to_string(&number).unwrap().as_str(), files(&place).len()), ("x\n", 4));
    assert!(server.log().contains("is no number"), "{}", server.log());
}

#[test]
fn who_has_no_number_gets_all_bulletins() {
    let place = board("");
    let server = place.start();
    let mut client = Pop3::connect(server.address("pop3"));
    client.login(USER, PASSWORD);
    assert_eq!(subjects(&mut client), ["bulletin 1", "bulletin 2", "bulletin 3"]);
    assert_eq!(fs::read_to_string(place.maildir().join(".popbull")).unwrap(), "3\n");
}

#[test]
fn the_bulletin_database_takes_precedence() {
    for (key, file) in [("bulletin-db = \"had.db\"", "had.db"), ("bulletin-db = true", "data/bulletins.sqlite")] {
        let place = board(key);
        let file = place.path().join(file);
        set_number(&file, USER, "2");
        maildir(&place.maildir(), &[]);
        fs::write(place.maildir().join(".popbull"), "0\n").unwrap();
        let server = place.start();
        let mut client = Pop3::connect(server.address("pop3"));
        client.login(USER, PASSWORD);
        assert_eq!(subjects(&mut client), ["bulletin 3"]);
        client.quit();
        assert_eq!(number(&file, USER).as_deref(), Some("3"));
        assert_eq!(fs::read_to_string(place.maildir().join(".popbull")).unwrap(), "0\n");
        set_number(&file, USER, "99");
        login_soon(&server).quit();
        assert_eq!(number(&file, USER).as_deref(), Some("99"));
        set_number(&file, USER, "many");
        login_soon(&server).quit();
        assert_eq!(number(&file, USER).as_deref(), Some("many"));
        assert_eq!(files(&place).len(), 1);
        assert!(server.log().contains("is no number"), "{}", server.log());
    }
}

#[test]
fn a_source_that_is_missing_or_broken_costs_nobody_the_login() {
    let place = place("bulletin-source = \"gone\"");
    let server = place.start();
    Pop3::connect(server.address("pop3")).login(USER, PASSWORD).quit();
    assert!(server.log().contains("bulletin-source"), "{}", server.log());
    fs::write(place.path().join("gone"), "no folder").unwrap();
    login_soon(&server).quit();
    assert!(!place.maildir().join(".popbull").exists());

    // A failure half way leaves the number of the last one delivered.
    let place = board("");
    let hidden = place.path().join("news/new/200.second");
    fs::remove_file(&hidden).unwrap();
    // It can be seen, and not read: its content is an error of the system.
    std::os::unix::fs::symlink("/proc/self/mem", &hidden).unwrap();
    let server = place.start();
    let mut client = Pop3::connect(server.address("pop3"));
    client.login(USER, PASSWORD);
    assert_eq!(subjects(&mut client), ["bulletin 1"]);
    client.quit();
    assert_eq!(fs::read_to_string(place.maildir().join(".popbull")).unwrap(), "1\n");
    assert!(server.log().contains("bulletins are not delivered, or not all"), "{}", server.log());
    fs::remove_file(&hidden).unwrap();
    fs::write(&hidden, NEWS[1].1).unwrap();
    client = login_soon(&server);
    assert_eq!(subjects(&mut client), ["bulletin 1", "bulletin 2", "bulletin 3"]);
}

#[test]
fn two_logins_at_once_deliver_each_bulletin_once() {
    let place = board("");
    let second = place.path().join("second");
    fs::create_dir(&second).unwrap();
    let (one, other) = (place.start(), support::Server::start(&mut place.command(), &second));
    std::thread::scope(|scope| {
        for server in [&one, &other, &one, &other] {
            scope.spawn(|| Pop3::connect(server.address("pop3")).try_login(USER, PASSWORD));
        }
    });
    let mut client = login_soon(&one);
    assert_eq!(subjects(&mut client), ["bulletin 1", "bulletin 2", "bulletin 3"]);
}

#[test]
fn a_kill_in_between_neither_loses_nor_repeats_a_bulletin() {
    let rounds = 12;
    let place = board("");
    let mut expected = 3;
    for round in 0..rounds {
        let server = place.start();
        let mut client = Pop3::connect(server.address("pop3"));
        client.begin_login(USER, PASSWORD);
        std::thread::sleep(Duration::from_micros(2_500 * (round % 6) * (1 + round / 6)));
        server.kill();
        expected += 1;
        fs::write(
            place.path().join(format!("news/new/{}.more", 5000 + round)),
            format!("Subject: more {round}\n\nx\n"),
        )
        .unwrap();
    }
    let server = place.start();
    let mut client = Pop3::connect(server.address("pop3"));
    client.login(USER, PASSWORD);
    let mut expect: Vec<_> = (1..=3).map(|number| format!("bulletin {number}")).collect();
    expect.extend((0..rounds).map(|round| format!("more {round}")));
    assert_eq!(subjects(&mut client), expect);
    client.quit();
    assert_eq!(fs::read_to_string(place.maildir().join(".popbull")).unwrap(), format!("{expected}\n"));
    // A delivery whose number was never written: the note in the index keeps it from coming twice.
    drop(server);
    fs::write(place.maildir().join(".popbull"), "14\n").unwrap();
    let index = Connection::open(place.maildir().join("pillarbox/index.sqlite")).unwrap();
    index.execute("INSERT INTO bulletin (number) VALUES (15)", []).unwrap();
    drop(index);
    let server = place.start();
    let mut client = login_soon(&server);
    assert_eq!(client.stat().0, 15);
    assert_eq!(fs::read_to_string(place.maildir().join(".popbull")).unwrap(), "15\n");
}

// ---- deletion marks, the exclusive maildrop

#[test]
fn marks_from_elsewhere_are_kept_to_or_taken_away() {
    for (undelete, count) in [("true", 2), ("false", 1)] {
        let place = place(&format!("undelete = {undelete}"));
        maildir(&place.maildir(), &[]);
        fs::write(place.maildir().join("cur/1.a:2,T"), "Subject: one\n\nx\n").unwrap();
        fs::write(place.maildir().join("cur/2.b:2,"), "Subject: two\n\nx\n").unwrap();
        let server = place.start();
        let mut client = Pop3::connect(server.address("pop3"));
        client.login(USER, PASSWORD);
        assert_eq!(client.stat().0, count);
        client.quit();
        assert_eq!(files(&place).len(), count);
        assert!(files(&place).iter().all(|path| !path.to_str().unwrap().ends_with('T')));
    }
}

#[test]
fn what_was_retrieved_is_seen() {
    let place = place("");
    deliver(&place, "1.a", "Subject: one\n\nx\n");
    deliver(&place, "2.b", "Subject: two\n\nx\n");
    let server = place.start();
    let mut client = Pop3::connect(server.address("pop3"));
    client.login(USER, PASSWORD);
    client.retr(1);
    client.command("TOP 2 9");
    client.lines();
    client.quit();
    assert!(place.maildir().join("cur/1.a:2,S").exists());
    assert!(!place.maildir().join("cur/2.b:2,S").exists());
}

#[test]
fn one_pop3_session_at_a_time_across_processes() {
    let place = place("");
    deliver(&place, "1.a", "Subject: one\n\nx\n");
    let second = place.path().join("second");
    fs::create_dir(&second).unwrap();
    let (one, other) = (place.start(), support::Server::start(&mut place.command(), &second));
    let mut holder = Pop3::connect(one.address("pop3"));
    holder.login(USER, PASSWORD);
    for server in [&one, &other] {
        let reply = Pop3::connect(server.address("pop3")).try_login(USER, PASSWORD);
        assert!(reply.starts_with("-ERR [IN-USE] "), "{reply}");
        // IMAP goes on beside it, in both processes.
        let mut imap = server.imap();
        imap.command("SELECT INBOX").unwrap().ok();
    }
    // IMAP does not keep POP3 out.
    let mut imap = other.imap();
    imap.command("SELECT INBOX").unwrap().ok();
    holder.quit();
    let mut holder = Pop3::connect(other.address("pop3"));
    holder.login(USER, PASSWORD);
    // Who is killed holds nothing any more.
    other.kill();
    let mut next = Pop3::connect(one.address("pop3"));
    next.login(USER, PASSWORD);
    next.quit();
}

#[test]
fn mail_in_utf_8_and_languages() {
    for (mode, language) in [("downgrade", "en"), ("refuse", "de")] {
        let place = place(&format!("internationalized = \"{mode}\"\nlanguage = \"{language}\""));
        deliver(&place, "1.a", "Subject: caf\u{e9}\n\nx\n");
        let server = place.start();
        let mut client = Pop3::connect(server.address("pop3"));
        let lines = client.capabilities();
        assert!(lines.iter().any(|line| line.starts_with("UTF8")) && lines.contains(&"LANG".to_owned()), "{lines:?}");
        client.login(USER, PASSWORD);
        let reply = client.command("RETR 1");
        if mode == "refuse" {
            assert!(reply.starts_with("-ERR [UTF8]"), "{reply}");
        } else {
            assert!(reply.starts_with("+OK"), "{reply}");
            assert!(client.lines().iter().all(|line| line.is_ascii()));
        }
        let reply = client.command("LANG *");
        assert!(reply.starts_with(&format!("+OK {language} ")), "{reply}");
    }
}

// ---- secrets for APOP

#[test]
fn apop_and_cram_md5_need_a_secret_of_their_own() {
    let place = place("");
    let server = place.start();
    let client = Pop3::connect(server.address("pop3"));
    assert!(!client.greeting.contains('<'), "{}", client.greeting);
    let sasl = |client: &mut Pop3| client.capabilities().into_iter().find(|line| line.starts_with("SASL")).unwrap();
    let mut client = client;
    assert!(!sasl(&mut client).contains("CRAM-MD5"));
    assert!(client.command("APOP alice 00000000000000000000000000000000").starts_with("-ERR"));

    user(&place, &["passwd", USER, "--apop"], "tanstaaf\n");
    let file = place.data().join("apop.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(place.data().join("users.toml")).unwrap().contains("tanstaaf"));
    // A running server notices.
    let mut client = Pop3::connect(server.address("pop3"));
    assert!(sasl(&mut client).contains("CRAM-MD5"));
    let stamp = client.greeting[client.greeting.find('<').unwrap()..].trim().to_owned();
    let digest = |stamp: &str, secret: &str| md5(format!("{stamp}{secret}").as_bytes());
    let reply = client.command(&format!("APOP {USER} {}", digest(&stamp, PASSWORD)));
    assert!(reply.starts_with("-ERR [AUTH]"), "{reply}");
    let reply = client.command(&format!("APOP {USER} {}", digest(&stamp, "tanstaaf")));
    assert!(reply.starts_with("+OK"), "{reply}");
    client.quit();
    for (secret, good) in [(PASSWORD, false), ("tanstaaf", true)] {
        let mut client = Pop3::connect(server.address("pop3"));
        let challenge = client.command("AUTH CRAM-MD5");
        let challenge = STANDARD.decode(challenge.strip_prefix("+ ").expect("a challenge")).unwrap();
        let response = format!("{USER} {}", hmac_md5(secret.as_bytes(), &challenge));
        let reply = client.command(&STANDARD.encode(response));
        assert_eq!(reply.starts_with("+OK"), good, "{reply}");
        client.quit();
    }
    // The password is what it was.
    login_soon(&server).quit();
    assert!(!server.log().contains("tanstaaf"));
    user(&place, &["passwd", USER, "--apop", "--remove"], "");
    assert!(!Pop3::connect(server.address("pop3")).greeting.contains('<'));
    let output = run_with_input(place.command().args(["user", "passwd", USER, "--apop", "--remove"]), "");
    assert_eq!(output.status.code(), Some(67));
}

fn hmac_md5(key: &[u8], octets: &[u8]) -> String {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = md5(&[&pad(0x36)[..], octets].concat());
    let inner: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&inner[2 * at..2 * at + 2], 16).unwrap()).collect();
    md5(&[&pad(0x5c)[..], &inner].concat())
}

fn md5(octets: &[u8]) -> String {
    let mut child = std::process::Command::new("md5sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("md5sum, of the system's coreutils");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), octets).unwrap();
    text(&child.wait_with_output().unwrap().stdout)[..32].to_owned()
}

// ---- TLS modes, configuration

#[test]
fn four_tls_modes() {
    let mut config = "data = \"data\"\n[server.tls]\ncertificate = \"self-signed\"\n".to_owned();
    for mode in ["no", "ondemand", "required", "connection"] {
        config +=
            &format!("[server.listener.{mode}]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\ntls-mode = \"{mode}\"\n");
    }
    let place = Place::with_config(&config);
    let server = place.start();
    let told = |mode: &str| {
        let mut client = Pop3::connect(server.address(mode));
        let lines = client.capabilities();
        let has = |name: &str| lines.iter().any(|line| line == name);
        let told = (has("STLS"), has("XTLSREQUIRED"), has("USER"));
        (told, client.command("USER alice"), Pop3::connect(server.address(mode)).command("STLS"))
    };
    let (lines, user, stls) = told("no");
    assert_eq!(lines, (false, false, true));
    assert!(user.starts_with("+OK") && stls.starts_with("-ERR"), "{user} {stls}");
    let (lines, user, stls) = told("ondemand");
    assert_eq!(lines, (true, false, true));
    assert!(user.starts_with("+OK") && stls.starts_with("+OK"), "{user} {stls}");
    let (lines, user, stls) = told("required");
    assert_eq!(lines, (true, true, false));
    assert!(user.starts_with("-ERR") && stls.starts_with("+OK"), "{user} {stls}");
    // A client that does not begin with TLS is told nothing.
    assert!(Pop3::try_connect(server.address("connection"), Duration::from_millis(300)).is_none());
}

#[test]
fn each_wrong_value_is_named_in_one_line() {
    let place = place("");
    let file = place.path().join("pillarboxd.toml");
    for (line, part) in [
        ("login-delay = -1", "pop3.login-delay"),
        ("login-delay = \"soon\"", "pop3.login-delay"),
        ("login-delay = \"1500ms\"", "pop3.login-delay"),
        ("stat-file = \"\"", "pop3.stat-file"),
        ("stat-file = 7", "pop3.stat-file"),
        ("expire = -1", "pop3.expire"),
        ("expire = \"never\"", "pop3.expire"),
        ("expire = 99999999999", "pop3.expire"),
        ("delete-expired = \"yes\"", "pop3.delete-expired"),
        ("expire-stamp = \"haeder\"", "did you mean \"header\"?"),
        ("bulletin-source = \"mbox:/srv/news\"", "pop3.bulletin-source: mbox: mailboxes are not supported yet"),
        ("bulletin-source = \"mh:/srv/news\"", "pop3.bulletin-source: mh: mailboxes are not supported yet"),
        ("bulletin-source = \"imap://x\"", "pop3.bulletin-source: unknown kind"),
        ("bulletin-source = \"\"", "pop3.bulletin-source"),
        ("bulletin-db = 3", "pop3.bulletin-db"),
        ("undelete = 1", "pop3.undelete"),
        ("internationalized = \"refused\"", "did you mean \"refuse\"?"),
        ("language = \"xx\"", "pop3.language"),
        ("login-dely = 1", "did you mean \"login-delay\"?"),
    ] {
        fs::write(&file, config(line)).unwrap();
        let output = place.command().output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(part) && error.contains("pillarboxd.toml:"), "{line}: {error}");
    }
    fs::write(&file, config("login-delay = 60")).unwrap();
    let users = place.data().join("users.toml");
    let good = fs::read_to_string(&users).unwrap();
    for line in ["login-delay = \"x\"", "expire = \"later\"", "expire = -1", "delete-expired = 1"] {
        fs::write(&users, format!("{good}\n[user.alice.pop3]\n{line}\n")).unwrap();
        let output = place.command().output().unwrap();
        let error = text(&output.stderr);
        assert_eq!((output.status.code(), error.lines().count()), (Some(78), 1), "{line}: {error}");
        assert!(error.contains("users.toml:"), "{error}");
    }
    fs::write(&users, good).unwrap();
    let secrets = place.data().join("apop.toml");
    fs::write(&secrets, "[secret]\nalice = \"x\"\n").unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o644)).unwrap();
    let output = place.command().output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("apop.toml: others may read or write it"));
}

fn wait_until(condition: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "it does not come to that");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Logs in as soon as a session that was cut off lets go of the maildrop.
fn login_soon(server: &support::Server) -> Pop3 {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let mut client = Pop3::connect(server.address("pop3"));
        let reply = client.try_login(USER, PASSWORD);
        if reply.starts_with("+OK") {
            return client;
        }
        assert!(reply.contains("IN-USE") && Instant::now() < give_up, "{reply}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
