//! `login-delay`: how soon a user may log in again, and what it needs of the operator.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::pop3::Pop3;
use crate::support::{self, PASSWORD, USER};
use crate::{now, number, place, set_number, user, wait_until};

const TOO_SOON: &str = "-ERR [LOGIN-DELAY] Attempt to log in within the minimum login delay interval";

#[test]
fn the_login_delay_holds_after_right_passwords_and_survives_a_restart() {
    let place = place("login-delay = 3600");
    user(&place, &["add", "bob"], "secret\n");
    let file = place.data().join("pop3-login.sqlite");
    let server = place.start();
    let mut first = Pop3::connect(server.address("pop3"));
    assert!(first.capabilities().contains(&"LOGIN-DELAY 3600".to_owned()));
    let started = now();
    first.login(USER, PASSWORD);
    let told: i64 = number(&file, USER).unwrap().parse().unwrap();
    assert!((started..=now()).contains(&told), "{told}");
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
    // Where a disk is so slow that one waits for the other in vain, nobody is kept out, and the log says so.
    if ![&one, &other].iter().any(|server| server.log().contains("unable to open statistics db: ")) {
        assert_eq!(tries.iter().filter(|reply| reply.starts_with("+OK")).count(), 1, "{tries:?}");
        assert_eq!(tries.iter().filter(|reply| *reply == TOO_SOON).count(), 3, "{tries:?}");
    }
    assert!(number(&place.path().join("logins.db"), USER).is_some());
}

#[test]
fn a_clock_that_jumps_back_keeps_nobody_out() {
    let place = place("login-delay = 3600");
    let file = place.data().join("pop3-login.sqlite");
    let server = place.start();
    let login = || {
        let mut client = Pop3::connect(server.address("pop3"));
        let reply = client.try_login(USER, PASSWORD);
        if reply.starts_with("+OK") { Ok(client) } else { Err(reply) }
    };
    drop(login().unwrap());
    // As if the last login had been told by a clock that ran two hours ahead.
    wait_until(|| {
        set_number(&file, USER, &(now() + 7200).to_string());
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
