//! Who may connect: access control lists, and the tables of tcp-wrappers, as an operator writes them.
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
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use support::raw::{HERE, Raw, greeting, loopback, wait_for};
use support::{Place, Server, text};

/// A place with listeners of these names, each with these lines of its own; `server` is the server's part.
fn place(server: &str, listeners: &[(&str, &str)]) -> Place {
    let mut config = format!("data = \"data\"\n[server]\n{server}\n");
    for (name, lines) in listeners {
        config +=
            &format!("[server.listener.{name}]\nbind = \"127.0.0.1:0\"\nprotocol = \"{}\"\n{lines}\n", protocol(name));
    }
    Place::empty(&config)
}

fn protocol(name: &str) -> &str {
    if name.starts_with("pop3") { "pop3" } else { "imap" }
}

/// Asserts that a client from this address is greeted, or that it gets no octet.
#[track_caller]
fn greeted(server: &Server, listener: &str, from: &str, wanted: bool) {
    let said = greeting(loopback(from), server.address(listener));
    let greeting = if protocol(listener) == "pop3" { "+OK " } else { "* OK " };
    match said {
        Some(said) => assert!(wanted && said.starts_with(greeting), "{listener} from {from}: {said}\n{}", server.log()),
        None => assert!(!wanted, "{listener} from {from} is refused\n{}", server.log()),
    }
}

/// A program that writes its arguments to a file, one a line, and then ends with this status.
fn program(place: &Place, name: &str, status: u8) -> (PathBuf, PathBuf) {
    let (program, told) = (place.path().join(name), place.path().join(format!("{name}.told")));
    let script = format!("printf '%s\\n' \"$#\" \"$@\" > '{0}.new'\nmv '{0}.new' '{0}'\nexit {status}", told.display());
    support::program(&program, &script);
    (program, told)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn count(server: &Server, part: &str) -> usize {
    server.log().matches(part).count()
}

#[test]
fn the_first_entry_that_matches_decides() {
    let place = place(
        "",
        &[
            ("denied", "acl = [\"deny from 127.0.0.1\", \"allow from any\"]"),
            ("allowed", "acl = [\"allow from any\", \"deny from 127.0.0.1\"]"),
            ("empty", "acl = []"),
            ("mask", "acl = [\"deny from 127.5.0.0/255.255.0.0\"]"),
            ("bits", "acl = [\"deny 127.5.6.7/16\"]"),
            ("name", "acl = [\"deny localhost\"]"),
            ("others", "acl = [\"deny 2001:db8::/32\", \"deny 192.0.2.1\"]"),
            ("pop3", "acl = [\"allow 127.0.0.2\", \"deny any\"]"),
        ],
    );
    let server = place.start();
    for (listener, from, wanted) in [
        ("denied", "127.0.0.1", false),
        ("denied", "127.0.0.2", true),
        ("allowed", "127.0.0.1", true),
        ("allowed", "127.0.0.2", true),
        ("empty", "127.0.0.1", true),
        ("mask", "127.5.255.1", false),
        ("mask", "127.6.0.1", true),
        ("bits", "127.5.0.1", false),
        ("bits", "127.6.6.7", true),
        ("name", "127.0.0.1", false),
        ("name", "127.0.0.2", true),
        ("others", "127.0.0.1", true),
        ("pop3", "127.0.0.1", false),
        ("pop3", "127.0.0.2", true),
    ] {
        greeted(&server, listener, from, wanted);
    }
    assert_eq!(count(&server, "Denying connection from 127.0.0.1"), 3, "{}", server.log());
    assert_eq!(count(&server, "Denying connection from 127.5."), 2, "{}", server.log());
}

#[test]
fn both_lists_must_allow() {
    let listeners = [
        ("open", "acl = [\"allow any\"]"),
        ("closed", "acl = [\"deny any\"]"),
        ("none", ""),
        ("pop3", "acl = [\"log any own ${address}\"]"),
    ];
    let open = place("acl = [\"deny from 127.0.0.3\", \"log from any\", \"allow from 127.0.0.1\"]", &listeners);
    let server = open.start();
    for (listener, from, wanted) in [
        ("open", "127.0.0.1", true),
        ("closed", "127.0.0.1", false),
        ("none", "127.0.0.1", true),
        ("open", "127.0.0.3", false),
        ("closed", "127.0.0.3", false),
        ("none", "127.0.0.3", false),
        ("pop3", "127.0.0.3", false),
    ] {
        greeted(&server, listener, from, wanted);
    }
    // The list of the listener comes first, and each one names itself.
    assert_eq!(count(&server, "Denying connection from 127.0.0.1"), 1, "{}", server.log());
    assert_eq!(count(&server, "Denying connection from 127.0.0.3"), 1, "{}", server.log());
    assert_eq!(count(&server, "access from 127.0.0.3 blocked"), 3, "{}", server.log());
    assert_eq!(count(&server, "own 127.0.0.3"), 1, "{}", server.log());
    assert_eq!(count(&server, "{AF_INET 127.0.0.1:"), 2, "{}", server.log());
    // Who is in no entry may come in, and the log says why.
    assert_eq!(count(&server, "undefined ACL result"), 0, "{}", server.log());
    greeted(&server, "none", "127.0.0.9", true);
    assert_eq!(count(&server, "127.0.0.9: undefined ACL result; access allowed"), 1, "{}", server.log());
}

/// The sequence of rules that the documents give as an example, in networks that this machine has.
#[test]
fn a_list_with_a_log_entry_in_the_middle() {
    let place = place(
        "",
        &[(
            "imap",
            "acl = [\"deny from 127.10.10.1\", \"deny from 127.10.1.0/24\", [\"log\", \"from\", \"any\", \
             \"seen ${family} ${address} ${aclno}\"], \"allow from 127.10.0.0/16\", \"allow from 127.168.1.0/24\", \
             \"deny from any\"]",
        )],
    );
    let server = place.start();
    for (from, wanted, logged) in [
        ("127.0.0.1", false, true),
        ("127.10.10.1", false, false),
        ("127.10.1.3", false, false),
        ("127.10.3.1", true, true),
        ("127.168.1.0", true, true),
        ("127.168.2.0", false, true),
    ] {
        greeted(&server, "imap", from, wanted);
        let seen = format!("seen AF_INET {from} 3");
        assert_eq!(count(&server, &seen), usize::from(logged), "{from}\n{}", server.log());
    }
}

#[test]
fn programs_decide_or_are_told() {
    let place = Place::empty("");
    let ((told, told_to), (yes, _), (no, _), (odd, _)) =
        (program(&place, "told", 0), program(&place, "yes", 0), program(&place, "no", 1), program(&place, "odd", 3));
    let listener = |name: &str, acl: String| {
        format!("[server.listener.{name}]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\nacl = [{acl}]\n")
    };
    let entry = |keyword: &str, program: &Path| format!("\"{keyword} from any {}\"", program.display());
    let config = [
        "data = \"data\"\n".to_owned(),
        listener("yes", entry("ifexec", &yes) + ", \"deny any\""),
        listener("no", entry("ifexec", &no) + ", \"allow any\""),
        listener("odd", entry("ifexec", &odd) + ", \"allow any\""),
        listener("gone", "\"ifexec any /nonexistent/program\", \"allow any\"".to_owned()),
        listener(
            "told",
            format!(
                "[\"exec\", \"from any\", \"{} '${{family}} ${{address}}' ${{port}} ${{aclno}} ';' `x`\"], \"deny any\"",
                told.display()
            ),
        ),
    ]
    .concat();
    fs::write(place.path().join("pillarboxd.toml"), config).unwrap();
    let server = place.start();
    for (listener, wanted) in [("yes", true), ("no", false), ("odd", false), ("gone", false)] {
        greeted(&server, listener, "127.0.0.1", wanted);
    }
    greeted(&server, "told", "127.0.0.1", false);
    let arguments = wait_for("the program is told", || fs::metadata(&told_to).ok().map(|_| lines(&told_to)));
    assert_eq!(arguments[..2], ["5", "AF_INET 127.0.0.1"], "no shell, and a blank splits nothing");
    assert!(arguments[2].parse::<u16>().is_ok(), "{arguments:?}");
    assert_eq!(arguments[3..], ["1", ";", "`x`"]);
    assert!(server.log().contains("/nonexistent/program"), "{}", server.log());
}

#[test]
fn whoever_comes_over_a_unix_socket_is_let_in() {
    let place = Place::empty("");
    let socket = place.path().join("socket");
    let config = format!(
        "data = \"data\"\n[server]\nacl = [\"deny any\"]\n[server.listener.imap]\nbind = [\"unix://{}\", \"127.0.0.1:0\"]\n\
         protocol = \"imap\"\n",
        socket.display()
    );
    fs::write(place.path().join("pillarboxd.toml"), config).unwrap();
    let server = place.start();
    Raw::unix(&socket).expect("* OK ");
    greeted(&server, "imap", "127.0.0.1", false);
}

#[test]
fn clients_of_a_socket_for_both_families_are_known_by_their_own() {
    // Open to others, and maybe run as root: that has to be said.
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let place = Place::empty(&format!(
        "data = \"data\"\n[server]\nrun-as = {{ user = \"{uid}\", group = \"{gid}\" }}\n\
         acl = [[\"log\", \"any\", \"from ${{family}} ${{address}}\"], \"deny 127.0.0.1\", \"allow any\"]\n\
         tcp-wrappers = {{ allow-table = \"allow\", deny-table = \"deny\" }}\n\
         [server.listener.imap]\nbind = \"[::]:0\"\nprotocol = \"imap\"\n",
    ));
    fs::write(place.path().join("deny"), "imap4d: 127.0.0.3\n").unwrap();
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        let _ = writeln!(std::io::stderr().lock(), "SKIPPED: this machine has no IPv6");
        return;
    }
    let server = place.start();
    let port = server.address("imap").port();
    for (from, to, wanted) in [
        ("127.0.0.1", "127.0.0.1", false),
        ("127.0.0.2", "127.0.0.1", true),
        ("127.0.0.3", "127.0.0.1", false),
        ("::1", "::1", true),
    ] {
        let said = greeting(loopback(from), SocketAddr::new(loopback(to), port));
        assert_eq!(said.is_some(), wanted, "{from}: {said:?}\n{}", server.log());
    }
    let log = server.log();
    for part in [
        "from AF_INET 127.0.0.1",
        "access from 127.0.0.1 blocked",
        "access from 127.0.0.3 blocked by TCP wrappers",
        "from AF_INET6 ::1",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn an_entry_that_is_wrong_is_named_with_its_line() {
    let place = Place::empty(
        "data = \"data\"\n[server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\nacl = [\n  \"allow any\",\n  \
         \"deny from 127.0.0.1 now\",\n]\n",
    );
    let output = place.command().output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let file = place.path().join("pillarboxd.toml");
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with(&format!("pillarboxd: {}:7:", file.display())), "{stderr}");
    assert!(stderr.contains("deny: junk after IP address: 'now'"), "{stderr}");
}

/// A place with tables of tcp-wrappers.
fn wrapped(allow: Option<&str>, deny: Option<&str>, more: &str) -> Place {
    let place = place(
        &format!("tcp-wrappers = {{ allow-table = \"allow\", deny-table = \"deny\"{more} }}"),
        &[("imap", ""), ("pop3", "")],
    );
    for (name, lines) in [("allow", allow), ("deny", deny)] {
        if let Some(lines) = lines {
            fs::write(place.path().join(name), lines).unwrap();
        }
    }
    place
}

#[test]
fn tables_of_tcp_wrappers_follow_their_files() {
    let place = wrapped(None, Some("pop3d: 127.0.0.1\n"), "");
    let server = place.start();
    let (allow, deny) = (place.path().join("allow"), place.path().join("deny"));
    greeted(&server, "pop3", "127.0.0.1", false);
    assert_eq!(count(&server, "access from 127.0.0.1 blocked by TCP wrappers"), 1, "{}", server.log());
    greeted(&server, "pop3", "127.0.0.2", true);
    greeted(&server, "imap", "127.0.0.1", true);
    fs::write(&allow, "# who may\npop3d: 127.0.0.1\n").unwrap();
    greeted(&server, "pop3", "127.0.0.1", true);
    fs::write(&deny, "ALL: 127. EXCEPT 127.0.0.2\n").unwrap();
    greeted(&server, "pop3", "127.0.0.1", true);
    greeted(&server, "imap", "127.0.0.1", false);
    greeted(&server, "imap", "127.0.0.2", true);
    // A table that can't be used changes nothing, and the log says so.
    fs::write(&deny, "ALL: ALL: /bin/false %a\n").unwrap();
    greeted(&server, "imap", "127.0.0.1", false);
    greeted(&server, "imap", "127.0.0.2", true);
    assert!(server.log().contains(&format!("{}:1", deny.display())), "{}", server.log());
    fs::remove_file(&deny).unwrap();
    greeted(&server, "imap", "127.0.0.1", true);
}

#[test]
fn tables_of_tcp_wrappers_know_the_program_by_its_name() {
    let named = wrapped(None, Some("pop3d, imap4d: ALL\n"), ", daemon = \"mail\"");
    let server = named.start();
    for listener in ["imap", "pop3"] {
        greeted(&server, listener, "127.0.0.1", true);
    }
    fs::write(named.path().join("deny"), "mail: ALL\n").unwrap();
    for listener in ["imap", "pop3"] {
        greeted(&server, listener, "127.0.0.1", false);
    }
    drop(server);
    let off = wrapped(None, Some("ALL: ALL\n"), ", enable = false");
    let server = off.start();
    for listener in ["imap", "pop3"] {
        greeted(&server, listener, "127.0.0.1", true);
    }
    assert!(greeting(HERE, server.address("imap")).is_some());
}

#[test]
fn a_table_that_is_wrong_is_named_with_its_line() {
    for (deny, line, part) in
        [("ALL: 192.0.2.1\nALL: ALL: /bin/mail root\n", 2, "command"), ("# a comment\n\nALL\n", 3, "")]
    {
        let place = wrapped(None, Some(deny), "");
        let output = place.command().output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let wanted = format!("server.tcp-wrappers: {}:{line}", place.path().join("deny").display());
        assert!(stderr.contains(&wanted) && stderr.contains(part), "{stderr}");
    }
}
