//! `bulletin-source` and `bulletin-db`: mail for everybody, once for each.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::support::pop3::Pop3;
use crate::support::{self, PASSWORD, Place, USER};
use crate::{files, login_soon, maildir, number, place, set_number};

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
