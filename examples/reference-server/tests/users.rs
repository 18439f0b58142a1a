//! Users beyond the users' file: files of virtual domains, and the users of the system.
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
use std::fs::{self, Permissions};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use support::pop3::Pop3;
use support::raw::Raw;
use support::{PASSWORD, PATIENCE, Place, Server, USER, run_with_input, text};

/// Hashes that crypt(3) has made, with their passwords.
const HASHES: [(&str, &str, &str); 5] = [
    ("sha256", "Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
    (
        "sha512",
        "Hello world!",
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    ),
    (
        "rounds",
        "password",
        "$6$rounds=10000$saltstringsaltst$Qzq13AQeOS5aa8nj8fFRVn5cZkLp.t1PUmhPeygZiOwD7eFxWmcxrxGtIgnXDKoTYvTEmyGzyqVjaDGG\
         tAurL/",
    ),
    ("bcrypt", "password", "$2b$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm"),
    ("yescrypt", "password", "$y$j9T$AbCdEfGhIjKlMnOpQrSt0/$hVdSqqR9.VCBeGNxl/cUh0TWDjmvf9Nf3PoB1Ebrj9/"),
];

/// The hash of "Hello world!".
const HELLO: &str = HASHES[0].2;

const LISTENERS: &str = "[server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n\
     [server.listener.pop3]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\n\
     [server.listener.lmtp]\nbind = \"127.0.0.1:0\"\nprotocol = \"lmtp\"\n";

const VIRTUAL: &str = "[[auth]]\nsource = \"virtdomain\"\npasswd-dir = \"domains\"\n";
const FILE: &str = "[[auth]]\nsource = \"file\"\n";

/// A place with these lines before its listeners, and one user in the users' file; there is a folder for domains.
fn place(lines: &str) -> Place {
    let place = Place::with_config(&format!("data = \"data\"\n{lines}\n{LISTENERS}"));
    fs::create_dir(place.path().join("domains")).unwrap();
    fs::create_dir(place.path().join("homes")).unwrap();
    place
}

fn home(place: &Place, name: &str) -> PathBuf {
    place.path().join("homes").join(name)
}

/// Writes the file of a domain: names with what stands for their passwords, each with a home of that name, which is made.
fn domain(place: &Place, domain: &str, users: &[(&str, &str)]) {
    homeless_domain(place, domain, users);
    for (name, _) in users {
        fs::create_dir_all(home(place, &format!("{name}-{domain}"))).unwrap();
    }
}

/// The same, without the homes.
fn homeless_domain(place: &Place, domain: &str, users: &[(&str, &str)]) {
    let line = |(name, hash): &(&str, &str)| {
        format!("{name}:{hash}:1:1::{}:\n", home(place, &format!("{name}-{domain}")).display())
    };
    fs::write(place.path().join("domains").join(domain), users.iter().map(line).collect::<String>()).unwrap();
}

fn connect(server: &Server) -> Raw {
    let mut client = Raw::connect(server.address("imap"));
    client.expect("* OK ");
    client
}

/// The reply to LOGIN, without its tag.
fn login(server: &Server, user: &str, password: &str) -> String {
    connect(server).tagged(&format!("LOGIN \"{user}\" \"{password}\""))[2..].to_owned()
}

fn pop3_login(server: &Server, user: &str, password: &str) -> String {
    Pop3::connect(server.address("pop3")).try_login(user, password)
}

#[track_caller]
fn is_refused(server: &Server, user: &str, password: &str) {
    let reply = login(server, user, password);
    assert!(reply.starts_with("NO [AUTHENTICATIONFAILED] "), "{user}: {reply}");
}

#[track_caller]
fn is_let_in(server: &Server, user: &str, password: &str) {
    let reply = login(server, user, password);
    assert!(reply.starts_with("OK"), "{user}: {reply}\n{}", server.log());
}

#[test]
fn every_domain_has_users_of_its_own() {
    let place = place(VIRTUAL);
    domain(&place, "example.org", &[("ada", HELLO), ("bob", HELLO)]);
    domain(&place, "example.com", &[("ada", HASHES[3].2)]);
    let server = place.start();
    is_let_in(&server, "ada@example.org", "Hello world!");
    is_let_in(&server, "ada@EXAMPLE.org", "Hello world!");
    is_let_in(&server, "ada!example.com", "password");
    is_let_in(&server, "ada:example.com", "password");
    for (user, password) in [
        ("ada@example.com", "Hello world!"),
        ("ada@example.org", "password"),
        ("bob@example.com", "Hello world!"),
        ("ada@example.net", "Hello world!"),
        ("ada", "Hello world!"),
        // The users' file is not asked: it is no source here.
        (USER, PASSWORD),
    ] {
        is_refused(&server, user, password);
    }
    // Mail comes to the one it is for, and is in that home.
    let mut client = Raw::connect(server.address("lmtp"));
    client.expect("220 ");
    client.send("LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ada@Example.com>\r\nRCPT TO:<ada@example.net>\r\nDATA\r\n");
    while client.expect("250").starts_with("250-") {}
    client.expect("250 2.1.0");
    client.expect("250 2.1.5");
    client.expect("550 5.1.1");
    client.expect("354 ");
    client.send("Subject: for com\r\n\r\nx\r\n.\r\n").expect("250 ");
    for (user, password, messages) in [("ada@example.com", "password", 1), ("ada@example.org", "Hello world!", 0)] {
        let mut client = connect(&server);
        assert!(client.tagged(&format!("LOGIN {user} \"{password}\"")).starts_with("t OK"));
        let seen = client.imap("EXAMINE INBOX");
        assert!(seen.contains(&format!("* {messages} EXISTS")), "{user}: {seen:?}");
    }
    assert!(home(&place, "ada-example.com/Maildir/cur").is_dir());
    // A domain that comes, and a user who goes, while the server runs.
    domain(&place, "example.net", &[("ada", HELLO)]);
    domain(&place, "example.org", &[("ada", HELLO)]);
    is_let_in(&server, "ada@example.net", "Hello world!");
    is_refused(&server, "bob@example.org", "Hello world!");
}

#[test]
fn no_domain_leads_out_of_its_folder() {
    let place = place(VIRTUAL);
    domain(&place, "example.org", &[("ada", HELLO)]);
    let line = fs::read(place.path().join("domains/example.org")).unwrap();
    fs::write(place.path().join("secret"), &line).unwrap();
    fs::create_dir(place.path().join("domains/folder")).unwrap();
    fs::write(place.path().join("domains/folder/secret"), &line).unwrap();
    fs::write(place.path().join("domains/.hidden"), &line).unwrap();
    let server = place.start();
    let absolute = format!("ada@{}/secret", place.path().display());
    for user in ["ada@../secret", "ada@folder/secret", "ada@.hidden", "ada@.", "ada@..", "ada@", &absolute] {
        is_refused(&server, user, "Hello world!");
    }
    is_let_in(&server, "ada@example.org", "Hello world!");
}

#[test]
fn hashes_of_all_kinds_and_accounts_that_are_locked() {
    let place = place(VIRTUAL);
    let locked = format!("!{HELLO}");
    let mut users: Vec<(&str, &str)> = HASHES.iter().map(|(name, _, hash)| (*name, *hash)).collect();
    let others = [
        ("bang", "!"),
        ("star", "*"),
        ("bangs", "!!"),
        ("locked", &locked),
        ("empty", ""),
        ("shadow", "x"),
        ("plain", "Hello world!"),
        ("des", "rqXexS6ZhobKA"),
        ("md5", "$1$saltstri$YMyguxXMBpd2TEZ.vS/3q1"),
    ];
    users.extend(others);
    domain(&place, "example.org", &users);
    let server = place.start();
    for (name, password, _) in HASHES {
        is_let_in(&server, &format!("{name}@example.org"), password);
        let reply = pop3_login(&server, &format!("{name}@example.org"), password);
        assert!(reply.starts_with("+OK"), "{name}: {reply}");
        is_refused(&server, &format!("{name}@example.org"), "Hello World!");
    }
    for (name, hash) in others {
        for password in ["Hello world!", "password", "x", hash] {
            is_refused(&server, &format!("{name}@example.org"), password);
        }
    }
    assert!(!server.log().contains("saltstring"), "{}", server.log());
}

#[test]
fn the_first_source_that_knows_a_name_decides() {
    for (order, in_domain) in [([VIRTUAL, FILE], true), ([FILE, VIRTUAL], false)] {
        let place = place(&order.concat());
        domain(&place, "example.org", &[("both", HELLO), ("one", HELLO), ("locked", "!")]);
        for user in ["both@example.org", "locked@example.org"] {
            let output = run_with_input(place.command().args(["user", "add", user]), &format!("{PASSWORD}\n"));
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        let server = place.start();
        let (right, wrong) = if in_domain { ("Hello world!", PASSWORD) } else { (PASSWORD, "Hello world!") };
        is_let_in(&server, "both@example.org", right);
        is_refused(&server, "both@example.org", wrong);
        // Who is locked in the first is not let in by the second.
        match in_domain {
            true => is_refused(&server, "locked@example.org", PASSWORD),
            false => is_let_in(&server, "locked@example.org", PASSWORD),
        }
        // Who is in one of them alone.
        is_let_in(&server, "one@example.org", "Hello world!");
        is_let_in(&server, USER, PASSWORD);
        // One of the sources has no keys for it, so nobody is asked for SCRAM.
        assert!(!connect(&server).imap("CAPABILITY").concat().contains("SCRAM"));
        let reply = connect(&server).tagged("AUTHENTICATE SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiYw==");
        assert!(reply.starts_with("t NO") || reply.starts_with("t BAD"), "{reply}");
    }
    let server = place(FILE).start();
    assert!(connect(&server).imap("CAPABILITY").concat().contains("AUTH=SCRAM-SHA-256"));
}

#[test]
fn a_source_that_can_not_be_read_is_no_wrong_password() {
    let place = place(&[VIRTUAL, FILE].concat());
    domain(&place, "example.com", &[("ada", HELLO)]);
    // A folder in place of a file: nobody can read it, root neither.
    fs::create_dir(place.path().join("domains/example.org")).unwrap();
    let output = run_with_input(place.command().args(["user", "add", "ada@example.org"]), &format!("{PASSWORD}\n"));
    assert!(output.status.success());
    let server = place.start();
    for password in ["Hello world!", PASSWORD] {
        let reply = login(&server, "ada@example.org", password);
        assert!(reply.starts_with("NO [UNAVAILABLE] "), "{reply}");
        let reply = pop3_login(&server, "ada@example.org", password);
        assert!(reply.starts_with("-ERR [SYS/TEMP] "), "{reply}");
    }
    // Others do not depend on it.
    is_let_in(&server, "ada@example.com", "Hello world!");
    is_let_in(&server, USER, PASSWORD);
    let log = server.log();
    assert!(log.contains(&place.path().join("domains").display().to_string()), "{log}");
    // It is there again.
    fs::remove_dir(place.path().join("domains/example.org")).unwrap();
    domain(&place, "example.org", &[("ada", HELLO)]);
    is_let_in(&server, "ada@example.org", "Hello world!");
}

#[test]
fn homes_are_made_with_their_mode_and_without_their_parents() {
    for (lines, mode) in [("create-home-dir = true", 0o700), ("create-home-dir = true\nhome-dir-mode = \"751\"", 0o751)]
    {
        let place = place(&format!("{lines}\n{VIRTUAL}"));
        homeless_domain(&place, "example.org", &[("ada", HELLO), ("bob", HELLO)]);
        let file = place.path().join("domains/example.org");
        let deep = fs::read_to_string(&file).unwrap().replace("/bob-", "/no/where/bob-");
        fs::write(file, deep).unwrap();
        // The umask has no say.
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh", support::PILLARBOXD, "--config"]);
        let server = Server::start(command.arg(place.path().join("pillarboxd.toml")), place.path());
        is_let_in(&server, "ada@example.org", "Hello world!");
        let made = fs::metadata(home(&place, "ada-example.org")).unwrap();
        assert_eq!(made.permissions().mode() & 0o7777, mode);
        assert!(made.is_dir());
        let reply = login(&server, "bob@example.org", "Hello world!");
        assert!(reply.starts_with("NO [CONTACTADMIN] "), "{reply}");
        assert!(pop3_login(&server, "bob@example.org", "Hello world!").starts_with("-ERR [SYS/PERM] "));
        assert!(!home(&place, "no").exists());
        assert!(server.log().contains("no/where/bob-example.org"), "{}", server.log());
        // One that is there is left as it is, whatever its mode.
        fs::set_permissions(home(&place, "ada-example.org"), Permissions::from_mode(0o710)).unwrap();
        is_let_in(&server, "ada@example.org", "Hello world!");
        let kept = fs::metadata(home(&place, "ada-example.org")).unwrap();
        assert_eq!((kept.permissions().mode() & 0o7777, kept.ino()), (0o710, made.ino()));
        // A wrong password makes nothing.
        homeless_domain(&place, "example.com", &[("eve", HELLO)]);
        is_refused(&server, "eve@example.com", "wrong");
        assert!(!home(&place, "eve-example.com").exists());
    }
}

#[test]
fn without_create_home_dir_mail_in_a_missing_home_is_out_of_reach() {
    let place = place(&[VIRTUAL, FILE].concat());
    homeless_domain(&place, "example.org", &[("ada", HELLO)]);
    let server = place.start();
    let missing = home(&place, "ada-example.org");
    for _ in 0..2 {
        let reply = login(&server, "ada@example.org", "Hello world!");
        assert!(reply.starts_with("NO [UNAVAILABLE] "), "{reply}");
        let reply = pop3_login(&server, "ada@example.org", "Hello world!");
        assert!(reply.starts_with("-ERR [SYS/TEMP] "), "{reply}");
        let mut client = Raw::connect(server.address("lmtp"));
        client.expect("220 ");
        client.send("LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ada@example.org>\r\n");
        while client.expect("250").starts_with("250-") {}
        client.expect("250 2.1.0");
        client.expect("451 4.3.0");
        assert!(!missing.exists());
        // What is in its place is none either.
        let _ = std::os::unix::fs::symlink("nowhere", &missing);
        assert!(!home(&place, "nowhere").exists());
    }
    let log = server.log();
    let said = log.lines().find(|line| line.contains(missing.to_str().unwrap())).unwrap_or_else(|| panic!("{log}"));
    assert!(said.contains("create-home-dir") && said.contains("ada@example.org"), "{said}");
    // Only who has the password learns of it.
    is_refused(&server, "ada@example.org", "wrong");
    // Users of the users' file have their mail in the data folder, which needs no setting.
    is_let_in(&server, USER, PASSWORD);
    assert!(place.data().join("mail").join(USER).is_dir());
    // Once the operator has made it, the mail is there, and is nobody else's.
    fs::remove_file(&missing).unwrap();
    fs::create_dir(&missing).unwrap();
    let mut client = connect(&server);
    assert!(client.tagged("LOGIN ada@example.org \"Hello world!\"").starts_with("t OK"));
    assert!(client.tagged("SELECT INBOX").starts_with("t OK"));
    let made = fs::metadata(missing.join("Maildir")).unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o700);
    drop(client);
    // A home that goes while the server runs is not made again.
    fs::rename(&missing, home(&place, "elsewhere")).unwrap();
    let reply = login(&server, "ada@example.org", "Hello world!");
    assert!(reply.starts_with("NO [UNAVAILABLE] "), "{reply}");
    assert!(!missing.exists());
}

#[test]
fn mail_that_comes_in_makes_homes_as_a_login_does() {
    let place = place(&format!("create-home-dir = true\nhome-dir-mode = \"710\"\n{VIRTUAL}"));
    homeless_domain(&place, "example.org", &[("ada", HELLO), ("bob", HELLO)]);
    let file = place.path().join("domains/example.org");
    let deep = fs::read_to_string(&file).unwrap().replace("/bob-", "/no/where/bob-");
    fs::write(file, deep).unwrap();
    let server = place.start();
    let mut client = Raw::connect(server.address("lmtp"));
    client.expect("220 ");
    client.send("LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ada@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n");
    while client.expect("250").starts_with("250-") {}
    client.expect("250 2.1.0");
    client.expect("250 2.1.5");
    // It waits in the queue until the operator has seen to it.
    client.expect("451 4.3.0");
    client.expect("354 ");
    client.send("Subject: x\r\n\r\nx\r\n.\r\n").expect("250 ");
    let made = fs::metadata(home(&place, "ada-example.org")).unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o710);
    assert!(!home(&place, "no").exists());
}

#[test]
fn users_of_two_domains_share_no_record() {
    let place = place(&format!(
        "{VIRTUAL}[pop3]\nlogin-delay = 3600\nbulletin-source = \"maildir:news\"\nbulletin-db = \"news.db\"\n"
    ));
    domain(&place, "example.org", &[("ada", HELLO)]);
    domain(&place, "example.com", &[("ada", HELLO)]);
    for folder in ["cur", "new", "tmp"] {
        fs::create_dir_all(place.path().join("news").join(folder)).unwrap();
    }
    fs::write(place.path().join("news/new/100.first"), "Subject: bulletin 1\n\none\n").unwrap();
    let server = place.start();
    for user in ["ada@example.org", "ada@example.com"] {
        let mut client = Pop3::connect(server.address("pop3"));
        client.login(user, "Hello world!");
        assert_eq!(client.stat().0, 1, "{user}");
        client.quit();
        let reply = pop3_login(&server, user, "Hello world!");
        assert!(reply.starts_with("-ERR [LOGIN-DELAY] "), "{user}: {reply}");
    }
    for file in [place.data().join("pop3-login.sqlite"), place.path().join("news.db")] {
        let db = Connection::open(&file).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        let mut users = db.prepare("SELECT user FROM number").unwrap();
        let users: BTreeSet<String> = users.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let wanted = ["ada@example.com", "ada@example.org"].map(str::to_owned);
        assert_eq!(users, BTreeSet::from(wanted), "{}", file.display());
    }
}

#[test]
fn sources_that_are_wrong_are_named_with_their_line() {
    for (lines, line, wanted) in [
        ("[[auth]]\nsource = \"ldap\"", 3, "ldap"),
        ("[[auth]]\nsource = \"virtdomain\"", 3, "virtdomain needs passwd-dir, the folder of its files"),
        ("[[auth]]\nsource = \"file\"\npasswd-dir = \"x\"", 4, "passwd-dir is for the source \"virtdomain\""),
        ("[[auth]]\nsource = \"file\"\n[[auth]]\nsource = \"file\"", 5, "this source stands there twice"),
        ("home-dir-mode = \"0888\"", 2, "home-dir-mode"),
        ("home-dir-mode = \"1777\"", 2, "home-dir-mode"),
    ] {
        let place = Place::empty(&format!("data = \"data\"\n{lines}\n{LISTENERS}"));
        let output = place.command().output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        let begins = format!("pillarboxd: {}:{line}:", place.path().join("pillarboxd.toml").display());
        assert!(stderr.lines().count() == 1 && stderr.starts_with(&begins) && stderr.contains(wanted), "{stderr}");
    }
}

/// Ids that belong to nobody on this machine.
const ADA: u32 = 3_456_789;
const ADAS_GROUP: u32 = 3_456_700;
const FRIENDS: u32 = 3_456_701;

/// A system with users of its own, for a process and its children: the machine's stays as it is. Only root can have one.
struct System {
    place: Place,
}

impl System {
    fn new(lines: &str) -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        let probe = || {
            let probe = "mount --bind /etc/passwd /etc/group && test /etc/passwd -ef /etc/group";
            let mut command = Command::new("unshare");
            let output = command.args(["-m", "--propagation", "private", "sh", "-c", probe]).output();
            output.is_ok_and(|output| output.status.success())
        };
        if !root || !probe() {
            // Straight to the file: the test harness would keep it from being seen.
            let _ = writeln!(std::io::stderr().lock(), "SKIPPED: only root can have a system with other users");
            return None;
        }
        let place = Place::empty(&format!("data = \"data\"\n{lines}\n[[auth]]\nsource = \"system\"\n{LISTENERS}"));
        // Others go through it, on their way to their homes.
        fs::set_permissions(place.path(), Permissions::from_mode(0o711)).unwrap();
        fs::create_dir(place.path().join("homes")).unwrap();
        fs::set_permissions(place.data(), Permissions::from_mode(0o700)).unwrap();
        let homes = place.path().join("homes");
        let homes = homes.display();
        let passwd = format!(
            "root:x:0:0::/root:/bin/sh\nmail:x:8:8::/var/mail:\nada:x:{ADA}:{ADAS_GROUP}::{homes}/ada:/bin/sh\n\
             bob:x:3456790:{ADAS_GROUP}::{homes}/bob:\nold:x:3456791:{ADAS_GROUP}::{homes}/old:\n\
             new:x:3456792:{ADAS_GROUP}::{homes}/new:\n"
        );
        let shadow = format!(
            "root:{HELLO}:1::::::\nmail:{HELLO}:1::::::\nada:{HELLO}:1:0:99999:7:::\nbob:!{HELLO}:1:0:99999:7:::\n\
             old:{HELLO}:1:0:99999:7::1000:\nnew:{HELLO}:1:0:99999:7::999999:\n"
        );
        let group = format!("root:x:0:\nusers:x:{ADAS_GROUP}:\nfriends:x:{FRIENDS}:ada\nothers:x:3456702:bob\n");
        for (name, content, mode) in [("passwd", passwd, 0o644), ("shadow", shadow, 0o600), ("group", group, 0o644)] {
            let file = place.path().join(name);
            fs::write(&file, content).unwrap();
            fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
        }
        Some(Self { place })
    }

    /// The program with this configuration, in that system.
    fn command(&self) -> Command {
        let mount = |name: &str| format!("mount --bind '{}' /etc/{name}", self.place.path().join(name).display());
        let script = format!("{} && {} && {} && exec \"$@\"", mount("passwd"), mount("shadow"), mount("group"));
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", &script, "sh", support::PILLARBOXD, "--config"]);
        command.arg(self.place.path().join("pillarboxd.toml")).env_remove("PILLARBOX_LOG");
        command
    }

    /// The program with one client, who has been let in by the system and no further.
    fn inetd(&self, service: &str) -> Inetd {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (other, _) = listener.accept().unwrap();
        let input = Stdio::from(OwnedFd::from(other.try_clone().unwrap()));
        let log = self.place.path().join("log");
        let child = self
            .command()
            .args(["-i", "--service", service])
            .stdin(input)
            .stdout(Stdio::from(OwnedFd::from(other)))
            .stderr(fs::File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        Inetd { child, client: Raw::over(stream), log }
    }
}

struct Inetd {
    child: Child,
    client: Raw,
    log: PathBuf,
}

impl Inetd {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Who all threads of the process are: real, effective, saved and file system's user and group, and their groups.
    fn ids(&self) -> BTreeSet<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let status = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let wanted =
                status.lines().filter(|line| ["Uid:", "Gid:", "Groups:"].iter().any(|key| line.starts_with(key)));
            Some(
                wanted.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("; "),
            )
        };
        tasks.filter_map(|task| status(task.unwrap())).collect()
    }

    #[track_caller]
    fn is_root(&self) {
        let ids = self.ids();
        assert!(ids.iter().all(|ids| ids.starts_with("Uid: 0 0 0 0; Gid: 0 0 0 0;")), "{ids:?}");
    }

    #[track_caller]
    fn is_ada(&self) {
        let wanted = format!(
            "Uid: {ADA} {ADA} {ADA} {ADA}; Gid: {ADAS_GROUP} {ADAS_GROUP} {ADAS_GROUP} {ADAS_GROUP}; \
             Groups: {ADAS_GROUP} {FRIENDS}"
        );
        assert_eq!(self.ids(), BTreeSet::from([wanted]), "{}", self.log());
    }
}

impl Drop for Inetd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The owners of all that is below a folder.
fn owners(path: &Path) -> BTreeSet<(u32, u32)> {
    let data = fs::symlink_metadata(path).unwrap();
    let mut found = BTreeSet::from([(data.uid(), data.gid())]);
    if data.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(owners(&entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn a_daemon_serves_users_of_the_system() {
    let Some(system) = System::new("create-home-dir = true\nhome-dir-mode = \"750\"") else { return };
    let place = &system.place;
    let server = Server::start(&mut system.command(), place.path());
    is_let_in(&server, "ada", "Hello world!");
    let made = fs::metadata(place.path().join("homes/ada")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (ADA, ADAS_GROUP, 0o750));
    // The mail is the server's own.
    assert!(place.data().join("mail/ada").is_dir());
    assert_eq!(owners(&place.data()), BTreeSet::from([(0, 0)]));
    is_let_in(&server, "new", "Hello world!");
    assert!(pop3_login(&server, "ada", "Hello world!").starts_with("+OK"));
    // A wrong password; locked; expired; accounts of programs; nobody.
    is_refused(&server, "ada", "hello world!");
    for user in ["bob", "old", "root", "mail", "eve", "ada@localhost"] {
        is_refused(&server, user, "Hello world!");
    }
    assert!(!place.path().join("homes/bob").exists());
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(status.contains("Uid:\t0\t0\t0\t0"), "a daemon becomes nobody's: {status}");
    // Without the hashes nobody can be asked for a password, and that is no wrong one.
    fs::write(place.path().join("shadow"), [0xff, 0xfe]).unwrap();
    let reply = login(&server, "ada", "Hello world!");
    assert!(reply.starts_with("NO [UNAVAILABLE] "), "{reply}");
    assert!(pop3_login(&server, "ada", "Hello world!").starts_with("-ERR [SYS/TEMP] "));
    is_refused(&server, "eve", "Hello world!");
}

#[test]
fn without_create_home_dir_no_home_is_made_and_the_login_succeeds() {
    let Some(system) = System::new("") else { return };
    let server = Server::start(&mut system.command(), system.place.path());
    is_let_in(&server, "ada", "Hello world!");
    assert!(!system.place.path().join("homes/ada").exists());
}

#[test]
fn with_one_client_a_missing_home_is_not_made_unless_told_to() {
    let Some(system) = System::new("") else { return };
    // Whoever it would become could make it.
    fs::set_permissions(system.place.path().join("homes"), Permissions::from_mode(0o777)).unwrap();
    let mut inetd = system.inetd("imap");
    inetd.client.expect("* OK ");
    let reply = inetd.client.tagged("LOGIN ada \"Hello world!\"");
    assert!(reply.starts_with("t NO [UNAVAILABLE] "), "{reply}\n{}", inetd.log());
    inetd.is_root();
    assert!(inetd.log().contains("create-home-dir"), "{}", inetd.log());
    assert!(!system.place.path().join("homes/ada").exists());
}

#[test]
fn with_one_client_the_process_becomes_the_user() {
    let Some(system) = System::new("create-home-dir = true") else { return };
    let mut inetd = system.inetd("imap");
    inetd.client.expect("* OK ");
    inetd.is_root();
    assert!(inetd.client.tagged("LOGIN ada wrong").starts_with("t NO [AUTHENTICATIONFAILED]"));
    inetd.is_root();
    let reply = inetd.client.tagged("LOGIN ada \"Hello world!\"");
    assert!(reply.starts_with("t OK"), "{reply}\n{}", inetd.log());
    inetd.is_ada();
    inetd.client.say("a APPEND INBOX {9+}\r\nx: y\r\n\r\nz").expect("a OK [APPENDUID ");
    let home = system.place.path().join("homes/ada");
    assert_eq!(owners(&home), BTreeSet::from([(ADA, ADAS_GROUP)]));
    assert_eq!(fs::metadata(&home).unwrap().mode() & 0o7777, 0o700);
    assert!(!system.place.data().join("mail/ada").exists());
    inetd.client.say("b LOGOUT").expect("* BYE");
    assert!(inetd.child.wait().unwrap().success(), "{}", inetd.log());

    let mut inetd = system.inetd("pop3");
    inetd.client.expect("+OK ");
    inetd.client.say("USER ada").expect("+OK");
    inetd.client.say("PASS Hello world!").expect("+OK");
    inetd.is_ada();
    inetd.client.say("STAT").expect("+OK 1 ");
    inetd.client.say("QUIT").expect("+OK");
    assert!(inetd.child.wait().unwrap().success(), "{}", inetd.log());
}

#[test]
fn who_was_known_before_a_word_is_the_user_too() {
    let Some(system) = System::new("") else { return };
    let file = system.place.path().join("pillarboxd.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config + "[server]\npreauth = \"prog:///bin/echo ada\"\n").unwrap();
    fs::create_dir(system.place.path().join("homes/ada")).unwrap();
    std::os::unix::fs::chown(system.place.path().join("homes/ada"), Some(ADA), Some(ADAS_GROUP)).unwrap();
    let mut inetd = system.inetd("imap");
    inetd.client.expect("* PREAUTH ");
    inetd.is_ada();
    assert!(inetd.client.tagged("SELECT INBOX").starts_with("t OK"), "{}", inetd.log());
    assert_eq!(owners(&system.place.path().join("homes/ada")), BTreeSet::from([(ADA, ADAS_GROUP)]));
}

#[test]
fn over_lmtp_one_client_has_mail_for_many() {
    let Some(system) = System::new("create-home-dir = true") else { return };
    let mut inetd = system.inetd("lmtp");
    inetd.client.expect("220 ");
    inetd.client.send("LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ada>\r\nQUIT\r\n");
    while inetd.client.expect("250").starts_with("250-") {}
    inetd.client.expect("250 2.1.0");
    let reply = inetd.client.line().unwrap();
    assert!(reply.starts_with('4') || reply.starts_with('5'), "{reply}");
    assert!(!system.place.path().join("homes/ada/Maildir").exists());
}

#[test]
fn with_users_of_its_own_the_process_becomes_who_it_is_told_at_once() {
    let Some(system) = System::new("") else { return };
    let place = &system.place;
    let config = format!("data = \"data\"\n[server]\nrun-as = {{ user = \"ada\" }}\n{LISTENERS}");
    fs::write(place.path().join("pillarboxd.toml"), config).unwrap();
    let output = run_with_input(place.command().args(["user", "add", USER]), &format!("{PASSWORD}\n"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    for path in ["", "users.toml", "users.lock"].map(|name| place.data().join(name)) {
        if path.exists() {
            std::os::unix::fs::chown(path, Some(ADA), Some(ADAS_GROUP)).unwrap();
        }
    }
    let mut inetd = system.inetd("imap");
    inetd.client.expect("* OK ");
    inetd.is_ada();
    let reply = inetd.client.tagged(&format!("LOGIN {USER} \"{PASSWORD}\""));
    assert!(reply.starts_with("t OK"), "{reply}\n{}", inetd.log());
    assert!(inetd.client.tagged("SELECT INBOX").starts_with("t OK"));
    assert_eq!(owners(&place.data()), BTreeSet::from([(ADA, ADAS_GROUP)]));
}
