//! What clients are offered, and what they are told, in each TLS mode, before TLS and in it.

use std::process::Command;

use super::support::{PASSWORD, Server, USER, has, run_with_input};
use super::{World, listener, told, until};

const MODES: [&str; 4] = ["no", "ondemand", "required", "connection"];

/// A listener for each protocol in each mode, and a user who can log in by APOP.
fn world() -> (World, Server) {
    let mut listeners = String::new();
    for mode in MODES {
        for protocol in ["imap", "pop3"] {
            listeners += &listener(&format!("{protocol}-{mode}"), protocol, &format!("tls-mode = \"{mode}\""));
        }
    }
    let world = World::new(&listeners);
    let mut command = world.place.command();
    told(&run_with_input(command.args(["user", "passwd", USER, "--apop"]), "tanstaaf\n"));
    let server = world.start();
    (world, server)
}

/// The words of a list of capabilities that have to do with TLS and logins, in order.
fn offer(transcript: &str) -> String {
    let wanted = |word: &&str| {
        ["STARTTLS", "STLS", "XTLSREQUIRED", "LOGINDISABLED", "USER", "SASL", "EXTERNAL", "PLAIN", "CRAM-MD5"]
            .iter()
            .any(|other| word.trim_start_matches("AUTH=") == *other)
            || word.contains("SCRAM")
    };
    // UTF8 has an argument USER.
    let lines =
        transcript.lines().filter(|line| line.starts_with("* CAPABILITY ") || !line.starts_with(['*', 'a', '+']));
    let lines = lines.filter(|line| !line.starts_with("UTF8"));
    lines.flat_map(|line| line.split(' ')).filter(wanted).collect::<Vec<_>>().join(" ")
}

/// The last line.
fn last(transcript: &str) -> &str {
    transcript.lines().last().unwrap_or_default()
}

/// `AUTHENTICATE PLAIN` with the right password.
const PLAIN: &str = "AGFsaWNlAGNvcnJlY3QgaG9yc2U=";
const LIST: &str = "AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-1 AUTH=PLAIN AUTH=CRAM-MD5";
const LIST_TLS: &str =
    "AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-1-PLUS AUTH=SCRAM-SHA-1 AUTH=PLAIN AUTH=CRAM-MD5";

#[test]
fn imap_before_tls() {
    if !has("python3") {
        return;
    }
    let (world, server) = world();
    for (mode, offered, starttls, login, authenticate) in [
        ("no", LIST.to_owned(), "a2 BAD STARTTLS is not available", None, None),
        ("ondemand", format!("STARTTLS {LIST}"), "a2 OK Begin TLS negotiation now", None, None),
        (
            "required",
            "STARTTLS XTLSREQUIRED LOGINDISABLED".to_owned(),
            "a2 OK Begin TLS negotiation now",
            Some("a2 NO [PRIVACYREQUIRED] LOGIN is disabled: use STARTTLS first"),
            Some("a2 NO [PRIVACYREQUIRED] AUTHENTICATE is disabled: use STARTTLS first"),
        ),
    ] {
        let talk = |command: &str| {
            let steps = format!("< * OK\n> a1 CAPABILITY\n< a1\n> a2 {command}\n< a2\n");
            world.talk(&server, &format!("imap-{mode}"), "", &steps)
        };
        let transcript = talk("STARTTLS");
        assert_eq!(offer(&transcript), offered, "{transcript}");
        assert_eq!(last(&transcript), starttls);
        let greeting = transcript.lines().next().unwrap();
        let list = greeting.split_once("[CAPABILITY ").unwrap().1.split_once(']').unwrap().0;
        assert!(transcript.contains(&format!("* CAPABILITY {list}\n")), "the greeting shows the same: {transcript}");
        for (command, reply) in
            [(format!("LOGIN {USER} \"{PASSWORD}\""), login), (format!("AUTHENTICATE PLAIN {PLAIN}"), authenticate)]
        {
            let transcript = talk(&command);
            match reply {
                Some(reply) => assert_eq!(last(&transcript), reply),
                None => assert!(last(&transcript).starts_with("a2 OK [CAPABILITY "), "{transcript}"),
            }
        }
        assert!(last(&talk("STARTTLS now")).starts_with("a2 BAD "), "no arguments");
    }
}

#[test]
fn imap_in_tls() {
    if !has("python3") {
        return;
    }
    let (world, server) = world();
    for mode in ["ondemand", "required", "connection"] {
        let begin = if mode == "connection" { "tls\n< * OK" } else { "< * OK\n> a1 STARTTLS\n< a1 OK\ntls" };
        let steps = format!(
            "{begin}\n> a2 CAPABILITY\n< a2\n> a3 STARTTLS\n< a3\n> a4 AUTHENTICATE PLAIN {PLAIN}\n< a4\n> a5 STARTTLS\n\
             < a5\n> a6 CAPABILITY\n< a6\n> a7 LOGOUT\nend\n"
        );
        let transcript = world.talk(&server, &format!("imap-{mode}"), "", &steps);
        let has = |line: &str| assert!(transcript.lines().any(|own| own.starts_with(line)), "{line}: {transcript}");
        has("tls TLSv1.3 TLS_AES_256_GCM_SHA384 mail.example.org None");
        let before = transcript.split("\na2 ").next().unwrap();
        assert_eq!(offer(before), LIST_TLS, "{transcript}");
        has("a3 BAD STARTTLS is not available");
        has("a4 OK [CAPABILITY ");
        has("a5 BAD ");
        assert_eq!(offer(transcript.split("\na5 ").nth(1).unwrap().split_once('\n').unwrap().1), "", "{transcript}");
        has("* BYE ");
        has("a7 OK ");
        assert_eq!(last(&transcript), "closed");
        let login = format!("{begin}\n> a2 LOGIN {USER} \"{PASSWORD}\"\n< a2\n");
        let transcript = world.talk(&server, &format!("imap-{mode}"), "", &login);
        assert!(last(&transcript).starts_with("a2 OK "), "{transcript}");
    }
    // After a login there is no upgrade any more.
    for mode in ["no", "ondemand"] {
        let steps =
            format!("< * OK\n> a1 LOGIN {USER} \"{PASSWORD}\"\n< a1 OK\n> a2 STARTTLS\n< a2\n> a3 NOOP\n< a3 OK\n");
        let transcript = world.talk(&server, &format!("imap-{mode}"), "", &steps);
        assert!(transcript.contains("\na2 BAD "), "{transcript}");
        assert!(last(&transcript).starts_with("a3 OK"), "{transcript}");
    }
}

const SASL: &str = "USER SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN CRAM-MD5";
const SASL_TLS: &str = "USER SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 PLAIN CRAM-MD5";

#[test]
fn pop3_before_tls() {
    if !has("python3") {
        return;
    }
    let (world, server) = world();
    for (mode, offered, stls) in [
        ("no", SASL.to_owned(), "-ERR Invalid command"),
        ("ondemand", format!("{SASL} STLS"), "+OK Begin TLS negotiation"),
        ("required", "XTLSREQUIRED STLS".to_owned(), "+OK Begin TLS negotiation"),
    ] {
        let talk = |command: &str| {
            let steps = format!("< +OK\n> CAPA\n.\n> {command}\n< \n");
            world.talk(&server, &format!("pop3-{mode}"), "", &steps)
        };
        let transcript = talk("STLS");
        assert_eq!(offer(&transcript), offered, "{transcript}");
        assert_eq!(last(&transcript), stls);
        let arguments = if mode == "no" { stls } else { "-ERR Invalid arguments: no argument is taken" };
        assert_eq!(last(&talk("STLS now")), arguments);
        let digest = "c4c9334bac560ecc979e58001b3e22fb";
        for (command, reply) in [
            (format!("USER {USER}"), "+OK Send the password"),
            (format!("APOP {USER} {digest}"), "-ERR [AUTH] Bad login"),
            (format!("AUTH PLAIN {PLAIN}"), "+OK Maildrop has 0 messages (0 octets)"),
        ] {
            let reply = if mode == "required" { "-ERR Incorrect state: use STLS first" } else { reply };
            assert_eq!(last(&talk(&command)), reply, "{mode}: {command}");
        }
    }
}

#[test]
fn pop3_in_tls() {
    if !has("python3") {
        return;
    }
    let (world, server) = world();
    for (mode, again) in [
        ("ondemand", "-ERR Invalid command"),
        ("required", "-ERR Invalid command"),
        ("connection", "-ERR Incorrect state"),
    ] {
        let begin = if mode == "connection" { "tls\n< +OK" } else { "< +OK\n> STLS\n< +OK\ntls" };
        let steps = format!(
            "{begin}\n> CAPA\n.\n> STLS\n< \n> USER {USER}\n< \n> PASS {PASSWORD}\n< \n> STLS\n< \n> CAPA\n.\n> QUIT\nend\n"
        );
        let transcript = world.talk(&server, &format!("pop3-{mode}"), "", &steps);
        let (before, after) = transcript.split_once("\n.\n").unwrap();
        assert_eq!(offer(before), SASL_TLS, "{transcript}");
        assert!(before.contains("tls TLSv1.3 TLS_AES_256_GCM_SHA384 mail.example.org None"), "{before}");
        let replies: Vec<&str> = after.lines().take(4).collect();
        let maildrop = "+OK Maildrop has 0 messages (0 octets)";
        assert_eq!(replies, [again, "+OK Send the password", maildrop, "-ERR Incorrect state"], "{mode}");
        let capabilities = after.lines().skip(4).collect::<Vec<_>>().join("\n");
        assert!(!offer(&capabilities).contains("STLS") && !capabilities.contains("XTLS"), "{capabilities}");
        assert!(transcript.ends_with("\n+OK Bye\nclosed\n"), "{transcript}");
    }
    for mode in ["no", "ondemand"] {
        let steps = format!("< +OK\n> USER {USER}\n< \n> PASS {PASSWORD}\n< \n> STLS\n< \n> NOOP\n< \n");
        let transcript = world.talk(&server, &format!("pop3-{mode}"), "", &steps);
        let barred = if mode == "no" { "-ERR Invalid command" } else { "-ERR Incorrect state" };
        assert!(transcript.contains(&format!("\n{barred}\n+OK")), "{transcript}");
    }
}

/// The modules of Python's library, as programs use them.
const LIBRARIES: &str = r#"
import imaplib, poplib, ssl, sys
mode, imap, pop3, authority = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
context = ssl.create_default_context(cafile=authority)
context.check_hostname = False
def say(what):
    try:
        print(what())
    except (imaplib.IMAP4.error, poplib.error_proto) as error:
        print("error", error)
if mode == "connection":
    client, drop = imaplib.IMAP4_SSL("127.0.0.1", imap, ssl_context=context), poplib.POP3_SSL("127.0.0.1", pop3, context=context)
else:
    client, drop = imaplib.IMAP4("127.0.0.1", imap), poplib.POP3("127.0.0.1", pop3)
    if mode == "required":
        say(lambda: client.login("alice", "correct horse"))
        say(lambda: drop.user("alice"))
    say(lambda: client.starttls(context)[0])
    say(lambda: drop.stls(context).decode())
say(lambda: client.login("alice", "correct horse")[0])
say(lambda: (drop.user("alice"), drop.pass_("correct horse"))[1].decode())
say(lambda: client.select()[0])
say(lambda: drop.stat())
say(lambda: client.logout()[0])
say(lambda: drop.quit().decode())
"#;

#[test]
fn imaplib_and_poplib() {
    if !has("python3") {
        return;
    }
    let (world, server) = world();
    let served = ["OK", "+OK Maildrop has 0 messages (0 octets)", "OK", "(0, 0)", "BYE", "+OK Bye"];
    for (mode, begin) in [
        ("no", &["error TLS not supported by server", "error -ERR STLS not supported by server"][..]),
        ("ondemand", &["OK", "+OK Begin TLS negotiation"]),
        (
            "required",
            &[
                "error b'[PRIVACYREQUIRED] LOGIN is disabled: use STARTTLS first'",
                "error b'-ERR Incorrect state: use STLS first'",
                "OK",
                "+OK Begin TLS negotiation",
            ],
        ),
        ("connection", &[]),
    ] {
        let mut command = Command::new("python3");
        let ports = [server.port(&format!("imap-{mode}")), server.port(&format!("pop3-{mode}"))];
        command.args(["-c", LIBRARIES, mode]).args(ports).arg(&world.authority.file);
        let output = told(&command.output().unwrap());
        assert_eq!(output.lines().collect::<Vec<_>>(), [begin, &served].concat(), "{mode}");
    }
}

#[test]
fn openssl_in_every_mode() {
    if !has("openssl") {
        return;
    }
    let (world, server) = world();
    for (protocol, commands, shown) in
        [("imap", "a CAPABILITY\nb LOGOUT\n", "\nb OK"), ("pop3", "CAPA\nQUIT\n", "\n+OK Bye")]
    {
        for mode in ["ondemand", "required", "connection"] {
            let options: &[&str] = if mode == "connection" { &[] } else { &["-starttls", protocol] };
            let (sent, own) = world.openssl(&server, &format!("{protocol}-{mode}"), options, commands);
            assert!(own.contains("Protocol version: TLSv1.3") && own.contains("Verification: OK"), "{mode}: {own}");
            assert!(sent.contains(shown), "{mode}: {sent} {own}");
            assert!(!sent.contains("XTLSREQUIRED") && !sent.contains("STLS"), "{mode}: {sent}");
        }
        // Without TLS there is none, whatever the client tries.
        for options in [&["-starttls", protocol][..], &[]] {
            let (sent, own) = world.openssl(&server, &format!("{protocol}-no"), options, commands);
            assert!(!sent.contains(shown) && !own.contains("Protocol version"), "{sent} {own}");
        }
        // A client that knows nothing of STARTTLS, where it should, and the other way round.
        let (sent, own) = world.openssl(&server, &format!("{protocol}-ondemand"), &[], commands);
        assert!(!sent.contains(shown) && !own.contains("Protocol version"), "{sent} {own}");
    }
}

#[test]
fn the_last_words_come_under_tls() {
    if !has("python3") {
        return;
    }
    let (world, server) = world();
    let imap = format!("tls\n< * OK\n> a LOGIN {USER} \"{PASSWORD}\"\n< a OK\nend\n");
    let pop3 = format!("tls\n< +OK\n> USER {USER}\n< +OK\n> PASS {PASSWORD}\n< +OK\nend\n");
    let upgraded = format!("< * OK\n> b STARTTLS\n< b OK\n{imap}").replace("tls\n< * OK", "tls");
    let (here, there) = (&world, &server);
    std::thread::scope(|scope| {
        let talks = [("imap-connection", &imap), ("pop3-connection", &pop3), ("imap-required", &upgraded)]
            .map(|(listener, steps)| (listener, scope.spawn(move || here.talk(there, listener, "", steps))));
        until(|| server.log().matches("logged in").count() == 3);
        server.signal("TERM");
        for (listener, talk) in talks {
            let transcript = talk.join().unwrap();
            let word = if listener.starts_with("imap") { "* BYE" } else { "-ERR [SYS/TEMP]" };
            // And then the end of TLS, not only that of the connection.
            assert!(transcript.ends_with(&format!("\n{word} Server shutting down\nclosed\n")), "{transcript}");
        }
    });
    assert_eq!(server.wait().code(), Some(0));
}
