//! Who a client is before it says a word: a program, or the client's own machine, says so.
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
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use des::Des;
use des::cipher::{Block, BlockCipherEncrypt, KeyInit};
use support::raw::{HERE, Raw, connect_from, loopback};
use support::{PASSWORD, PATIENCE, Place, Server, USER, run_with_input, text};

/// A place with one IMAP and one POP3 listener, with these lines in both, and the user.
fn place(lines: &str) -> Place {
    Place::with_config(&config(lines))
}

fn config(lines: &str) -> String {
    format!(
        "data = \"data\"\n[server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n{lines}\n\
         [server.listener.pop3]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\n{lines}\n"
    )
}

fn add_user(place: &Place, name: &str) {
    let output = run_with_input(place.command().args(["user", "add", name]), "another password\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A program that says this.
fn script(folder: &Path, name: &str, commands: &str) -> PathBuf {
    let path = folder.join(name);
    support::program(&path, commands);
    path
}

/// A place whose listeners have lines that are made from its folder.
fn place_of(lines: impl FnOnce(&Path) -> String) -> Place {
    let place = Place::empty("");
    fs::write(place.path().join("pillarboxd.toml"), config(&lines(place.path()))).unwrap();
    let output = run_with_input(place.command().args(["user", "add", USER]), &format!("{PASSWORD}\n"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    place
}

/// A server whose listeners ask a program that says this.
fn with_program(commands: &str, more: &str) -> (Place, Server) {
    let place =
        place_of(|folder| format!("preauth = \"prog://{}\"\n{more}", script(folder, "who", commands).display()));
    let server = place.start();
    (place, server)
}

/// That the client is this user without having said so.
#[track_caller]
fn is_known(server: &Server) -> Raw {
    let mut client = Raw::connect(server.address("imap"));
    let greeting = client.line().unwrap_or_else(|| panic!("no greeting: {}", server.log()));
    assert!(greeting.starts_with("* PREAUTH ") && greeting.contains("IMAP4rev1"), "{greeting}\n{}", server.log());
    assert!(client.tagged("LIST \"\" INBOX").starts_with("t OK"));
    client
}

/// That the client has to log in, and can.
#[track_caller]
fn has_to_log_in(server: &Server) {
    let mut client = Raw::connect(server.address("imap"));
    client.expect("* OK ");
    assert!(client.tagged("LIST \"\" INBOX").starts_with("t BAD"));
    assert!(client.tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t OK"));
}

#[test]
fn a_program_says_who_it_is() {
    let (_place, server) = with_program("echo alice", "");
    let mut client = is_known(&server);
    assert!(client.tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t BAD"), "it is logged in");
    // POP3 has no such greeting: the client has to log in.
    Raw::connect(server.address("pop3")).expect("+OK ");
}

#[test]
fn whoever_no_program_knows_logs_in() {
    for commands in ["echo alice; exit 1", "exit 0", "echo", "echo nobody-here", "kill -9 $$", "printf 'a\\tb\\n'"] {
        let (_place, server) = with_program(commands, "");
        let mut client = Raw::connect(server.address("imap"));
        let greeting = client.line().unwrap();
        // A name that is nobody's is no way in either, however the client is told.
        assert!(greeting.starts_with("* OK ") || commands.contains("nobody-here"), "{commands}: {greeting}");
        assert!(!greeting.starts_with("* PREAUTH"), "{commands}: {greeting}");
        if greeting.starts_with("* OK ") {
            assert!(client.tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t OK"), "{commands}");
        }
    }
}

#[test]
fn preauth_only_sends_nobody_else_a_byte() {
    let (_place, server) = with_program("echo alice; exit 1", "preauth-only = true");
    Raw::connect(server.address("imap")).is_over();
    Raw::connect(server.address("pop3")).is_over();
    drop(server);
    // Without a way to find out, nobody is known.
    let place = place("preauth-only = true");
    Raw::connect(place.start().address("imap")).is_over();
    let (_place, server) = with_program("echo alice", "preauth-only = true");
    is_known(&server);
}

#[test]
fn a_program_is_told_both_ends() {
    let place = place_of(|folder| {
        let told = folder.join("told");
        let commands =
            format!("printf '%s\\n' \"$#\" \"$@\" > '{0}.new'\nmv '{0}.new' '{0}'\necho alice", told.display());
        format!(
            "preauth = \"{} ${{client_address}} ${{client_port}} ${{server_address}} ${{server_port}} 'a b' ; $x\"",
            script(folder, "who", &commands).display()
        )
    });
    let server = place.start();
    let to = server.address("imap");
    let stream = connect_from(loopback("127.0.0.2"), to);
    let port = stream.local_addr().unwrap().port();
    Raw::over(stream).expect("* PREAUTH ");
    let told = fs::read_to_string(place.path().join("told")).unwrap();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told, ["7", "127.0.0.2", &port.to_string(), "127.0.0.1", &to.port().to_string(), "a b", ";", "$x"]);
}

/// What a client's machine answers for the two ports.
type Answer = Box<dyn Fn(u16, u16) -> String + Send>;

/// Ident of a client's machine, on the address that this machine is to itself: what answers is made from the query.
struct Identd {
    port: u16,
    queries: Receiver<String>,
}

impl Identd {
    fn start(answer: impl Fn(u16, u16) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, queries) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut query = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                reader.read_line(&mut query).unwrap();
                // Nothing follows the query.
                assert_eq!(reader.read(&mut [0]).unwrap(), 0);
                let ports: Vec<u16> = query.trim_end().split(',').filter_map(|port| port.trim().parse().ok()).collect();
                let _ = stream.write_all(answer(ports[0], ports[1]).as_bytes());
                if asked.send(query).is_err() {
                    return;
                }
            }
        });
        Self { port, queries }
    }

    fn line(&self, more: &str) -> String {
        format!("preauth = \"ident://:{}\"\n{more}", self.port)
    }
}

fn plain(client: u16, server: u16) -> String {
    format!("{client}, {server} : USERID : UNIX :{USER}\r\n")
}

#[test]
fn the_clients_machine_says_who_it_is() {
    let identd = Identd::start(plain);
    let place = place(&identd.line(""));
    let server = place.start();
    let to = server.address("imap");
    let stream = connect_from(HERE, to);
    let port = stream.local_addr().unwrap().port();
    Raw::over(stream).expect("* PREAUTH ");
    assert_eq!(identd.queries.recv().unwrap(), format!("{port} , {}\r\n", to.port()));
    // Nobody answers there.
    Raw::from(loopback("127.0.0.2"), to).expect("* OK ");
}

#[test]
fn answers_of_ident_that_name_nobody() {
    let answers: [fn(u16, u16) -> String; 6] = [
        |client, server| format!("{client}, {server} : ERROR : NO-USER\r\n"),
        |client, server| format!("{server}, {client} : USERID : UNIX :{USER}\r\n"),
        |client, server| format!("{client}, {server} : USER : UNIX :{USER}\r\n"),
        |client, server| format!("{client}, {server} : USERID : UNIX :\r\n"),
        |_, _| String::new(),
        |client, server| format!("{client}, {server} : USERID : UNIX :{}\r\n", "a".repeat(2000)),
    ];
    for answer in answers {
        let identd = Identd::start(answer);
        let place = place(&identd.line(""));
        has_to_log_in(&place.start());
    }
    let identd = Identd::start(plain);
    let place = place(&identd.line("ident-encrypt-only = true"));
    has_to_log_in(&place.start());
    identd.queries.recv().unwrap();
    let identd = Identd::start(|client, server| token(1000, client, server));
    let place = self::place(&identd.line(""));
    has_to_log_in(&place.start());
}

/// The key that the record of all octets in their order makes, as the documents work it out.
const KEY: [u8; 8] = [0xa8, 0x01, 0x2a, 0xf4, 0xf7, 0x3d, 0xfb, 0x23];

fn record() -> Vec<u8> {
    (0..=255).cycle().take(1024).collect()
}

/// An answer whose user is a number that is encrypted with that key.
fn token(uid: u16, client: u16, server: u16) -> String {
    let mut words = [
        0,
        0x1234 << 16 | u32::from(uid),
        0x5f5e_1000,
        0x7f00_0001,
        0x7f00_0001,
        u32::from(client) << 16 | u32::from(server),
    ];
    words[0] = words[1..].iter().fold(0, |sum, word| sum ^ word);
    let plain: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let cipher = Des::new_from_slice(&KEY).unwrap();
    let (mut last, mut encrypted) = ([0; 8], Vec::new());
    for chunk in plain.chunks(8) {
        let mixed: Vec<u8> = chunk.iter().zip(last).map(|(one, other)| one ^ other).collect();
        let mut block = Block::<Des>::try_from(mixed.as_slice()).unwrap();
        cipher.encrypt_block(&mut block);
        last.copy_from_slice(&block);
        encrypted.extend(last);
    }
    format!("{client}, {server} : USERID : OTHER :[{}]\r\n", base64(&encrypted))
}

/// For three octets and their multiples.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |number: u32| char::from(DIGITS[number as usize % 64]);
    let three = |three: &[u8]| u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
    octets.chunks(3).map(three).flat_map(|bits| [18, 12, 6, 0].map(|shift| digit(bits >> shift))).collect()
}

/// A user of this system: number and name.
fn somebody() -> (u16, String) {
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let mut found = accounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let uid: u16 = fields.get(2)?.parse().ok()?;
        (uid != 0 && fields[0].bytes().all(|byte| byte.is_ascii_lowercase())).then(|| (uid, fields[0].to_owned()))
    });
    found.next().expect("a system has more users than root")
}

#[test]
fn the_token_is_that_of_the_documents() {
    let known = "40000, 143 : USERID : OTHER :[4rID9Fq/NfZ+4ctJUdNiCj2lmws/1Cg8]\r\n";
    assert_eq!(token(1000, 40000, 143), known);
}

#[test]
fn the_clients_machine_says_who_it_is_in_secret() {
    let (uid, name) = somebody();
    let mut other = b"mailutils".to_vec();
    other.resize(1024, 0);
    for keys in [record(), [other.clone(), record()].concat()] {
        let identd = Identd::start(move |client, server| token(uid, client, server));
        let place = place(&identd.line("ident-keyfile = \"keys\"\nident-encrypt-only = true"));
        fs::write(place.path().join("keys"), keys).unwrap();
        fs::set_permissions(place.path().join("keys"), fs::Permissions::from_mode(0o600)).unwrap();
        add_user(&place, &name);
        let server = place.start();
        is_known(&server);
        assert!(server.log().contains(&name), "{}", server.log());
    }
    // What is not that token: one bit is not, one is for another port, and there is no such key.
    let flipped = move |client, server| {
        let mut answer = token(uid, client, server).into_bytes();
        let at = answer.iter().position(|octet| *octet == b'[').unwrap() + 3;
        answer[at] = if answer[at] == b'A' { b'B' } else { b'A' };
        text(&answer)
    };
    let moved = move |client: u16, server: u16| {
        token(uid, client ^ 1, server).replace(&format!("{}, ", client ^ 1), &format!("{client}, "))
    };
    let answers: [(Answer, Vec<u8>); 3] = [
        (Box::new(flipped), record()),
        (Box::new(moved), record()),
        (Box::new(move |client, server| token(uid, client, server)), other),
    ];
    for (answer, keys) in answers {
        let identd = Identd::start(answer);
        let place = place(&identd.line("ident-keyfile = \"keys\""));
        fs::write(place.path().join("keys"), keys).unwrap();
        fs::set_permissions(place.path().join("keys"), fs::Permissions::from_mode(0o600)).unwrap();
        add_user(&place, &name);
        has_to_log_in(&place.start());
        identd.queries.recv().unwrap();
    }
}

#[test]
fn a_question_is_for_one_connection_only() {
    // Two clients at once: each question names its own ports.
    let identd = Identd::start(plain);
    let place = place(&identd.line(""));
    let server = place.start();
    let to = server.address("imap");
    let clients: Vec<_> = (0..2).map(|_| connect_from(HERE, to)).collect();
    let mut wanted: Vec<String> = clients
        .iter()
        .map(|stream| stream.local_addr().unwrap().port())
        .map(|port| format!("{port} , {}\r\n", to.port()))
        .collect();
    let mut asked: Vec<String> = (0..2).map(|_| identd.queries.recv_timeout(PATIENCE).unwrap()).collect();
    wanted.sort();
    asked.sort();
    assert_eq!(asked, wanted);
    for client in clients {
        Raw::over(client).expect("* PREAUTH ");
    }
}

#[test]
fn what_is_no_way_to_find_out() {
    let refused = |lines: &str, wanted: &str| {
        let place = Place::empty(&config(lines));
        let output = place.command().output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(wanted), "{stderr}");
        place
    };
    let place = refused("preauth = \"radius\"", "unknown preauth scheme 'radius'");
    let file = place.path().join("pillarboxd.toml");
    let stderr = text(&place.command().output().unwrap().stderr);
    assert!(stderr.starts_with(&format!("pillarboxd: {}:5:", file.display())), "{stderr}");
    refused("preauth = \"prog://who\"", "prog: not the absolute path of a program: 'who'");
    refused("preauth = \"prog:///bin/who ${user}\"", "prog: unknown variable 'user'");
    refused("preauth = \"ident://:no-such-service\"", "ident: not a port or the name of a service");
    refused("preauth = \"stdio\"", "stdio is for the inetd mode");
    refused("preauth = \"ident\"\nident-keyfile = \"gone\"", "gone");
}

#[test]
fn a_key_that_others_may_read_is_none() {
    let place = Place::empty(&config("preauth = \"ident\"\nident-keyfile = \"keys\""));
    fs::write(place.path().join("keys"), record()).unwrap();
    fs::set_permissions(place.path().join("keys"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = place.command().output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(
        stderr.contains("keys")
            && stderr.contains("everyone can read it (mode 0644, check ardfil)")
            && stderr.lines().count() == 1,
        "{stderr}"
    );
}

#[test]
fn a_program_that_hangs_holds_up_nobody_else() {
    let place = place_of(|folder| {
        let wait = format!("while ! test -e '{}'; do sleep 0.05; done", folder.join("gate").display());
        let commands = format!("if test \"$1\" = 127.0.0.2; then {wait}; fi\necho alice");
        format!("preauth = \"{} ${{client_address}}\"", script(folder, "who", &commands).display())
    });
    let server = place.start();
    let to = server.address("imap");
    let mut waiting = Raw::from(loopback("127.0.0.2"), to);
    Raw::connect(to).expect("* PREAUTH ");
    fs::write(place.path().join("gate"), "").unwrap();
    waiting.expect("* PREAUTH ");
}
