//! The program as its operator sees it: what it says, and how it ends.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use support::{Imap, PASSWORD, PILLARBOXD, Place, Server, USER, pillarboxd, run_with_input, text};

/// Asserts that a command failed with this status and one line that has these parts.
fn refused(output: &Output, status: i32, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("pillarboxd: "), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{stderr:?} has no {part:?}");
    }
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
}

#[test]
fn help_and_version() {
    let help = pillarboxd().arg("--help").output().unwrap();
    assert!(help.status.success());
    let help = text(&help.stdout);
    for word in ["--config", "--check-config", "--data", "user", "import", "--version"] {
        assert!(help.contains(word), "{help}");
    }
    let version = pillarboxd().arg("--version").output().unwrap();
    assert_eq!(text(&version.stdout), format!("pillarboxd {}\n", env!("CARGO_PKG_VERSION")));
    for arguments in [&["--nonsense"][..], &["user"], &["user", "add"], &["import"], &["--config"]] {
        let output = pillarboxd().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn a_wrong_start_is_named_in_one_line() {
    let place = Place::new();
    let file = place.path().join("pillarboxd.toml");
    let good = fs::read_to_string(&file).unwrap();
    let named = file.to_str().unwrap().to_owned();
    let start = |config: String| {
        fs::write(&file, config).unwrap();
        place.command().output().unwrap()
    };

    refused(&pillarboxd().args(["--config", "/nonexistent/x.toml"]).output().unwrap(), 66, &["/nonexistent/x.toml"]);
    refused(
        &pillarboxd().args(["--data", "/nonexistent/data"]).output().unwrap(),
        66,
        &["data folder /nonexistent/data"],
    );
    refused(
        &pillarboxd().env("HOME", "/dev/null").output().unwrap(),
        73,
        &["data folder /dev/null/.local/share/pillarbox"],
    );
    refused(
        &start(good.replace("protocol = \"pop3\"", "protcol = \"pop3\"")),
        78,
        &[&format!("{named}:16:"), "protcol", "\"protocol\""],
    );
    refused(&start(good.replace("data = \"data\"", "data = \"gone\"")), 66, &["gone", "does not exist"]);
    refused(&start(good.replace("self-signed", "x")), 78, &[&named, "\"x\""]);

    let broken = place.path().join("broken.pem");
    let with_certificate = format!(
        "{}[certificate.own]\ncert = \"broken.pem\"\nprivate-key = \"broken.pem\"\n",
        good.replace("self-signed", "own")
    );
    refused(&start(with_certificate.clone()), 78, &["certificate.own", broken.to_str().unwrap(), "No such file"]);
    fs::write(&broken, "no certificate").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o600)).unwrap();
    refused(&start(with_certificate), 78, &["certificate.own", broken.to_str().unwrap(), "not a PEM file"]);

    fs::write(place.data().join("users.toml"), "[user.x]\nhome = 1\n").unwrap();
    refused(&start(good.clone()), 78, &["users.toml:2:"]);
    fs::remove_file(place.data().join("users.toml")).unwrap();
    fs::write(place.data().join("salt.key"), "short").unwrap();
    refused(&start(good), 65, &["salt.key"]);
}

#[test]
fn a_port_in_use_is_named_and_nothing_else_is_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken_at, free_at) = (taken.local_addr().unwrap(), support::own_address());
    // The free one comes first by name, and is bound first.
    let place = Place::empty(&format!(
        "data = \"data\"\n[server.listener.a]\nbind = \"{free_at}\"\nprotocol = \"imap\"\n\
         [server.listener.b]\nbind = \"{taken_at}\"\nprotocol = \"pop3\"\n"
    ));
    let output = place.command().output().unwrap();
    refused(&output, 69, &["listener b", &taken_at.to_string(), "in use"]);
    assert!(TcpStream::connect(free_at).is_err());
    assert!(!place.data().join("users.toml").exists());
}

#[test]
fn users_are_added_changed_listed_and_removed() {
    let place = Place::new();
    let user = |arguments: &[&str], input: &str| run_with_input(place.command().arg("user").args(arguments), input);
    let file = place.data().join("users.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    refused(&user(&["add", USER], "x\n"), 73, &["alice", "exists"]);
    refused(&user(&["add", "empty"], "\n"), 65, &["empty"]);
    refused(&user(&["add", "a\nb"], "x\n"), 64, &["can't be a user's name"]);
    refused(&user(&["add", "bob", "--home", "../up"], "x\n"), 64, &["--home"]);
    refused(&user(&["passwd", "nobody"], "x\n"), 67, &["nobody"]);
    refused(&user(&["remove", "nobody"], ""), 67, &["nobody"]);

    let made = user(&["add", "../bob@example.org", "--generate", "--no-pop3"], "");
    assert!(made.status.success());
    let password = text(&made.stdout).trim().to_owned();
    assert_eq!(password.len(), 19);
    let listed = text(&user(&["list"], "").stdout);
    let mail = place.data().join("mail");
    assert_eq!(
        listed,
        format!(
            "../bob@example.org  {0}/%2E.%2Fbob@example.org  (not over POP3)\nalice  {0}/alice\n",
            mail.canonicalize().unwrap_or(mail).display()
        )
    );
    let kept = fs::read_to_string(&file).unwrap();
    assert!(!kept.contains(PASSWORD) && !kept.contains(&password), "no password is kept");

    assert!(user(&["remove", "../bob@example.org"], "").status.success());
    assert!(!text(&user(&["list"], "").stdout).contains("bob"));
}

#[test]
fn check_config_shows_what_holds_and_no_secret() {
    let place = Place::new();
    let server = place.start();
    let (certificate, key) = (place.certificate(), place.data().join("tls/key.pem"));
    let secret = fs::read_to_string(&key).unwrap();
    drop(server);
    let config = format!(
        "{}[certificate.inline]\ncert = \"file://{}\"\nprivate-key = '''\n{secret}'''\n",
        support::CONFIG.replace("self-signed", "inline"),
        certificate.display()
    );
    fs::write(place.path().join("pillarboxd.toml"), &config).unwrap();
    let output = place.command().arg("--check-config").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("[server.listener.imaps]\n") && shown.contains("tls-mode = \"connection\"\n"), "{shown}");
    assert!(shown.contains("private-key = \"***\""), "{shown}");
    let body = secret.lines().nth(1).unwrap();
    assert!(!shown.contains(body));

    // The inline key is good for serving, too.
    let server = place.start();
    assert!(!server.log().contains(body));
    drop(server);

    // Another key than the certificate's is noticed without starting.
    let other = Place::new();
    drop(other.start());
    let secret = fs::read_to_string(other.data().join("tls/key.pem")).unwrap();
    let wrong = format!(
        "{}[certificate.inline]\ncert = \"file://{}\"\nprivate-key = '''\n{secret}'''\n",
        support::CONFIG.replace("self-signed", "inline"),
        certificate.display()
    );
    fs::write(place.path().join("pillarboxd.toml"), wrong).unwrap();
    refused(&place.command().arg("--check-config").output().unwrap(), 78, &["certificate.inline"]);

    let built_in = pillarboxd().arg("--check-config").output().unwrap();
    assert!(built_in.status.success());
    assert!(text(&built_in.stdout).contains("127.0.0.1:1143"));
}

/// The one test on the ports that hold without a configuration.
#[test]
fn a_first_start_makes_everything_and_a_second_one_finds_it() {
    for port in [1143, 1993, 1110, 1995] {
        if TcpListener::bind(("127.0.0.1", port)).is_err() {
            assert!(std::env::var_os("CI").is_none(), "port {port} is in use");
            eprintln!("SKIPPED: port {port} is in use");
            return;
        }
    }
    let home = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = Command::new(PILLARBOXD);
        command.env_remove("XDG_DATA_HOME").env("HOME", home.path());
        Server::start(&mut command, home.path())
    };
    let server = start();
    let data = home.path().join(".local/share/pillarbox");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let banner = server.output();
    assert!(banner.contains(data.to_str().unwrap()), "{banner}");
    for address in ["127.0.0.1:1143", "127.0.0.1:1993", "127.0.0.1:1110", "127.0.0.1:1995", "curl"] {
        assert!(banner.contains(address), "{banner}");
    }
    let (_, rest) = banner.split_once("User demo, password ").expect("the password");
    let password = rest.split(' ').next().unwrap();
    let login = |server: &Server| {
        let mut imap = Imap::connect(server.address("imap")).unwrap();
        imap.command(&format!("LOGIN demo {password}")).unwrap().ok();
        let selected = imap.command("SELECT INBOX").unwrap().ok();
        let subject = imap.command("FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]").unwrap().ok();
        assert!(text(&subject.untagged[0]).contains("Subject: Welcome"), "{subject:?}");
        selected.code("UIDVALIDITY").unwrap()
    };
    let validity = login(&server);
    assert!(!server.log().contains(password));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));

    let server = start();
    let banner = server.output();
    assert!(!banner.contains("password"), "shown once only: {banner}");
    assert_eq!(login(&server), validity);
}

#[test]
fn a_signal_lets_clients_know_and_ends_with_success() {
    for signal in ["TERM", "INT"] {
        let place = Place::new();
        let server = place.start();
        let mut imap = server.imap();
        server.signal("HUP");
        imap.command("NOOP").unwrap().ok();
        server.signal(signal);
        assert!(text(&imap.response().unwrap()).starts_with("* BYE"));
        let address = server.address("imap");
        assert_eq!(server.wait().code(), Some(0));
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let place = Place::with_config(&support::CONFIG.replace("\"5s\"", "\"10m\""));
    let server = place.start();
    // A command that is under way, and does not end.
    let mut imap = server.imap();
    imap.begin("APPEND INBOX {100}");
    assert!(text(&imap.response().unwrap()).starts_with('+'));
    server.signal("TERM");
    while !server.log().contains("shutting down") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(128 + 15));
}

#[test]
fn users_come_and_go_while_the_server_runs() {
    let place = Place::new();
    let server = place.start();
    let try_login = |password: &str| {
        let mut imap = Imap::connect(server.address("imap")).unwrap();
        imap.command(&format!("LOGIN bob {password}")).unwrap().tagged
    };
    assert!(try_login("one").starts_with("NO [AUTHENTICATIONFAILED]"));
    run_with_input(place.command().args(["user", "add", "bob"]), "one\n");
    assert!(try_login("one").starts_with("OK"));
    run_with_input(place.command().args(["user", "passwd", "bob"]), "two\n");
    assert!(try_login("one").starts_with("NO [AUTHENTICATIONFAILED]"));
    assert!(try_login("two").starts_with("OK"));
    run_with_input(place.command().args(["user", "remove", "bob"]), "");
    assert!(try_login("two").starts_with("NO [AUTHENTICATIONFAILED]"));
}

#[test]
fn secrets_stay_out_of_the_log() {
    let place = Place::new();
    let mut command = place.command();
    command.env("PILLARBOX_LOG", "trace");
    let server = Server::start(&mut command, place.path());
    let mut imap = server.imap();
    imap.command("LOGOUT").unwrap();
    let mut imap = Imap::connect(server.address("imap")).unwrap();
    imap.command("LOGIN alice \"wrong pony\"").unwrap();
    let log = server.log();
    assert!(log.contains("login failed"), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("wrong pony") && !log.contains("$argon2"), "{log}");
}

#[test]
fn mail_is_imported_from_all_that_is_known() {
    let place = Place::new();
    let source = tempfile::tempdir().unwrap();
    let mbox = source.path().join("mbox");
    fs::write(
        &mbox,
        "From a Thu Jul 17 02:44:25 1996\nSubject: from the mbox\nStatus: RO\n\none\n\n\
         From b Thu Jul 17 02:44:26 1996\nSubject: second\n\ntwo\n",
    )
    .unwrap();
    let maildir = source.path().join("Maildir");
    for folder in ["cur", "new", "tmp", ".Sent/cur", ".Sent/new", ".Sent/tmp"] {
        fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    fs::write(maildir.join("cur/1.a:2,FS"), "Subject: from the Maildir\n\nx\n").unwrap();
    fs::write(maildir.join(".Sent/cur/1.b:2,S"), "Subject: sent\n\nx\n").unwrap();
    let single = source.path().join("one.eml");
    fs::write(&single, "Subject: single\n\nx\n").unwrap();

    let import = |arguments: &[&str]| place.command().arg("import").args(arguments).output().unwrap();
    let server = place.start();
    for (arguments, said) in [
        (vec![mbox.to_str().unwrap()], "Imported 2 messages into INBOX of alice\n"),
        (vec![maildir.to_str().unwrap(), "--user", USER], "Imported 2 messages into INBOX of alice\n"),
        (vec![single.to_str().unwrap(), "--mailbox", "Old/Mail"], "Imported 1 messages into Old/Mail of alice\n"),
    ] {
        let output = import(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), said);
    }
    refused(&import(&["/nonexistent/mbox"]), 66, &["/nonexistent/mbox"]);
    refused(&import(&[mbox.to_str().unwrap(), "--user", "nobody"]), 67, &["nobody"]);
    refused(&import(&[source.path().join("one.eml").to_str().unwrap(), "--mailbox", "a\tb"]), 64, &["--mailbox"]);

    // The server was running all the while.
    let mut imap = server.imap();
    imap.command("SELECT INBOX").unwrap().ok();
    let rows = imap.command("FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])").unwrap().ok();
    let rows: Vec<String> = rows.untagged.iter().map(|row| text(row)).collect();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows[0].contains("\\Seen") && rows[0].contains("\"17-Jul-1996 02:44:25 +0000\""), "{}", rows[0]);
    assert!(rows[0].contains("Subject: from the mbox\r\nStatus: RO\r\n\r\none\r\n"), "{}", rows[0]);
    assert!(rows[2].contains("\\Flagged") && rows[2].contains("from the Maildir"), "{}", rows[2]);
    imap.command("EXAMINE Sent").unwrap().ok();
    imap.command("EXAMINE Old/Mail").unwrap().ok();
}

#[test]
fn mail_dropped_in_by_another_program_is_seen_in_idle() {
    let place = Place::new();
    let server = place.start();
    let mut imap = server.imap();
    imap.command("SELECT INBOX").unwrap().ok();
    imap.idle();
    let (temporary, new) = (place.maildir().join("tmp/1.drop"), place.maildir().join("new/1.drop"));
    fs::write(&temporary, "Subject: dropped\n\nx\n").unwrap();
    fs::rename(temporary, new).unwrap();
    let response = text(&imap.response().unwrap());
    assert_eq!(response, "* 1 EXISTS\r\n");
}
