//! Mail programs as they are, against the server as it is.
//!
//! A program that is missing makes its test say so and pass, or fail where the variable `CI` is set.
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
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{PASSWORD, Place, Server, USER, client, has, text};

/// A message with what tends to get lost: dots at the start of lines, 8-bit text, a long line, no line end.
const MESSAGE: &str = "From: Someone <someone@example.org>\r\nTo: alice@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
    Date: Thu, 17 Jul 1996 02:44:25 -0700\r\nMessage-ID: <one@example.org>\r\n\
    MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    .\r\n..two dots\r\n.one dot\r\nGr\u{fc}\u{df}e\r\n\r\nFrom here\r\nthe end\r\n";

fn message(subject: &str) -> String {
    format!(
        "From: someone@example.org\r\nTo: alice@example.org\r\nSubject: {subject}\r\n\
         Message-ID: <{subject}@example.org>\r\nDate: Thu, 17 Jul 1996 02:44:25 -0700\r\n\r\nabout {subject}\r\n"
    )
}

/// The three ways to reach a protocol: name, URL without path, and curl's arguments.
fn ways(place: &Place, server: &Server, protocol: &str) -> [(String, Vec<String>); 3] {
    let secure = format!("{protocol}s");
    let authority = vec!["--cacert".to_owned(), place.certificate().display().to_string()];
    let upgrade = [authority.clone(), vec!["--ssl-reqd".to_owned()]].concat();
    [
        (format!("{protocol}://{}", server.address(protocol)), Vec::new()),
        (format!("{protocol}://{}", server.address(protocol)), upgrade),
        (format!("{secure}://{}", server.address(&secure)), authority),
    ]
}

fn curl(arguments: &[String]) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "600", "--user", &format!("{USER}:{PASSWORD}")])
        .args(arguments);
    command
}

#[test]
fn curl_over_imap() {
    if !has("curl") {
        return;
    }
    let place = Place::new();
    let server = place.start();
    let file = place.path().join("message.eml");
    fs::write(&file, MESSAGE).unwrap();
    for (at, (url, arguments)) in ways(&place, &server, "imap").into_iter().enumerate() {
        let run = |path: &str, more: &[&str]| {
            let more: Vec<String> = more.iter().map(ToString::to_string).collect();
            client(&mut curl(&[arguments.clone(), vec![format!("{url}/{path}")], more].concat()))
        };
        run("INBOX", &["--upload-file", file.to_str().unwrap()]);
        let uid = at + 1;
        assert_eq!(run(&format!("INBOX;UID={uid}"), &[]), MESSAGE);
        assert_eq!(run(&format!("INBOX;UID={uid};SECTION=TEXT"), &[]), MESSAGE.split_once("\r\n\r\n").unwrap().1);
        let all: Vec<String> = (1..=uid).map(|uid| uid.to_string()).collect();
        assert_eq!(run("INBOX?ALL", &[]).trim_end(), format!("* SEARCH {}", all.join(" ")));
        assert!(run("", &["--request", "LIST \"\" *"]).contains("\"/\" INBOX"));
        run("INBOX", &["--request", &format!("STORE {uid} +FLAGS (\\Flagged)")]);
        assert!(run("INBOX", &["--request", &format!("FETCH {uid} FLAGS")]).contains("\\Flagged"));
    }
    // A wrong password, and a certificate that nobody vouches for.
    let mut wrong = Command::new("curl");
    wrong.args(["--silent", "--user", "alice:wrong", &format!("imap://{}/INBOX", server.address("imap"))]);
    assert_eq!(wrong.output().unwrap().status.code(), Some(67));
    let unknown = curl(&[format!("imaps://{}/", server.address("imaps"))]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(60));
}

#[test]
fn curl_over_pop3() {
    if !has("curl") {
        return;
    }
    let place = Place::new();
    let server = place.start();
    server.imap().append("INBOX", "", MESSAGE.as_bytes());
    server.imap().append("INBOX", "", message("two").as_bytes());
    for (url, arguments) in ways(&place, &server, "pop3") {
        let run = |path: &str, more: &[&str]| {
            let more: Vec<String> = more.iter().map(ToString::to_string).collect();
            client(&mut curl(&[arguments.clone(), vec![format!("{url}/{path}")], more].concat()))
        };
        let sizes = format!("1 {}\r\n2 {}\r\n", MESSAGE.len(), message("two").len());
        assert_eq!(run("", &[]), sizes);
        assert_eq!(run("1", &[]), MESSAGE);
        assert_eq!(run("2", &[]), message("two"));
        assert_eq!(run("", &["--request", "UIDL"]).lines().count(), 2);
        assert!(run("", &["--request", "TOP 1 1"]).ends_with("\r\n\r\n.\r\n"));
    }
    client(&mut curl(&[
        "--request".into(),
        "DELE 1".into(),
        "--head".into(),
        format!("pop3://{}/", server.address("pop3")),
    ]));
    let left = client(&mut curl(&[format!("pop3://{}/", server.address("pop3"))]));
    assert_eq!(left, format!("1 {}\r\n", message("two").len()));
}

fn python(place: &Place, server: &Server, script: &str) -> String {
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(USER).arg(PASSWORD).arg(place.certificate());
    for listener in ["imap", "imaps", "pop3", "pop3s"] {
        command.arg(server.port(listener));
    }
    client(&mut command)
}

#[test]
fn pythons_imaplib() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let server = place.start();
    let script = r#"
import imaplib, ssl, sys, time
user, password, certificate, imap, imaps, _, _ = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
body = b"Subject: one\r\n\r\n.\r\nGr\xc3\xbc\xc3\x9fe\r\n"

def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]

def session(m, n):
    ok(m.login(user, password))
    ok(m.create("Work/Box%d" % n))
    ok(m.subscribe("Work/Box%d" % n))
    ok(m.append("Work/Box%d" % n, "(\\Seen)", imaplib.Time2Internaldate(1000000000), body))
    assert ok(m.select("Work/Box%d" % n)) == [b"1"]
    data = ok(m.uid("FETCH", "1", "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"))
    assert data[0][1] == body, data
    assert b"\\Seen" in data[0][0] + data[1], data
    assert imaplib.Internaldate2tuple(data[0][0])[:6] == time.localtime(1000000000)[:6], data
    assert ok(m.search(None, "SUBJECT", "one", "SEEN")) == [b"1"]
    assert ok(m.uid("SEARCH", "UNSEEN")) in ([b""], [None])
    ok(m.store("1", "+FLAGS", "(\\Deleted $Important)"))
    assert b"$Important" in ok(m.fetch("1", "(FLAGS)"))[0]
    ok(m.copy("1", "INBOX"))
    assert ok(m.expunge()) == [b"1"]
    ok(m.close())
    assert any(b"Work/Box" in line for line in ok(m.lsub()))
    assert b"MESSAGES %d" % n in ok(m.status("INBOX", "(MESSAGES UIDNEXT)"))[0]
    ok(m.rename("Work/Box%d" % n, "Work/Other"))
    ok(m.delete("Work/Other"))
    m.logout()

session(imaplib.IMAP4("127.0.0.1", int(imap)), 1)
upgraded = imaplib.IMAP4("127.0.0.1", int(imap))
upgraded.starttls(context)
session(upgraded, 2)
session(imaplib.IMAP4_SSL("127.0.0.1", int(imaps), ssl_context=context), 3)

m = imaplib.IMAP4("127.0.0.1", int(imap))
try:
    m.login(user, "wrong")
    raise SystemExit("a wrong password was taken")
except imaplib.IMAP4.error as error:
    assert "AUTHENTICATIONFAILED" in str(error), error
m.authenticate("PLAIN", lambda _: b"\0" + user.encode() + b"\0" + password.encode())
ok(m.noop())
m.logout()
print("done")
"#;
    assert_eq!(python(&place, &server, script), "done\n");
}

#[test]
fn pythons_poplib() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let server = place.start();
    let mut imap = server.imap();
    for subject in ["one", "two", "three"] {
        imap.append("INBOX", "", message(subject).as_bytes());
    }
    imap.append("INBOX", "", MESSAGE.as_bytes());
    let script = r#"
import poplib, ssl, sys
user, password, certificate, _, _, pop3, pop3s = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)

def session(p, left):
    capabilities = p.capa()
    assert "UIDL" in capabilities and "TOP" in capabilities, capabilities
    p.user(user)
    p.pass_(password)
    count, size = p.stat()
    assert count == left, count
    listed = [int(line.split()[1]) for line in p.list()[1]]
    assert sum(listed) == size
    names = [line.split()[1] for line in p.uidl()[1]]
    assert len(set(names)) == left
    lines = p.retr(left)[1]
    assert b"..two dots" in lines and b"." in lines and b".one dot" in lines, lines
    assert sum(len(line) + 2 for line in lines) == listed[-1]
    top = p.top(1, 0)[1]
    assert top[-1] == b"" and b"Subject" in b" ".join(top), top
    p.dele(1)
    p.rset()
    assert p.stat()[0] == left
    p.dele(1)
    p.quit()
    return names

first = session(poplib.POP3("127.0.0.1", int(pop3)), 4)
upgraded = poplib.POP3("127.0.0.1", int(pop3))
upgraded.stls(context)
second = session(upgraded, 3)
third = session(poplib.POP3_SSL("127.0.0.1", int(pop3s), context=context), 2)
assert first[1:] == second and second[1:] == third, (first, second, third)

p = poplib.POP3("127.0.0.1", int(pop3))
p.user(user)
try:
    p.pass_("wrong")
    raise SystemExit("a wrong password was taken")
except poplib.error_proto as error:
    assert "[AUTH]" in str(error), error
print("done")
"#;
    assert_eq!(python(&place, &server, script), "done\n");
    let status = imap.command("STATUS INBOX (MESSAGES)").unwrap().ok();
    assert!(text(&status.untagged[0]).contains("MESSAGES 1"), "{status:?}");
}

/// A Maildir that mbsync keeps in step with the server.
struct Mbsync {
    config: PathBuf,
    local: PathBuf,
}

impl Mbsync {
    fn new(place: &Place, server: &Server, tls: &str, listener: &str) -> Self {
        let local = place.path().join(format!("local-{listener}-{tls}"));
        fs::create_dir(&local).unwrap();
        let config = place.path().join(format!("mbsyncrc-{listener}-{tls}"));
        let text = format!(
            "IMAPAccount a\nHost 127.0.0.1\nPort {port}\nUser {USER}\nPass \"{PASSWORD}\"\nTimeout 600\nSSLType {tls}\n\
             CertificateFile {certificate}\nAuthMechs {mechanism}\n\n\
             IMAPStore far\nAccount a\n\nMaildirStore near\nPath {local}/\nInbox {local}/INBOX\nSubFolders Verbatim\n\n\
             Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n",
            port = server.port(listener),
            certificate = place.certificate().display(),
            mechanism = match tls {
                "None" => "SCRAM-SHA-256",
                "STARTTLS" => "LOGIN",
                _ => "PLAIN",
            },
            local = local.display(),
        );
        fs::write(&config, text).unwrap();
        Self { config, local }
    }

    fn sync(&self) {
        client(Command::new("mbsync").arg("--config").arg(&self.config).arg("--all").env("HOME", &self.local));
    }

    /// The messages of a local mailbox: what is after `:2,`, and the content.
    fn messages(&self, mailbox: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for place in ["cur", "new"] {
            for entry in fs::read_dir(self.local.join(mailbox).join(place)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let flags = name.split_once(":2,").map_or("", |(_, flags)| flags).to_owned();
                found.push((flags, fs::read_to_string(path).unwrap()));
            }
        }
        found.sort_by(|a, b| a.1.cmp(&b.1));
        found
    }

    /// The file of the message whose content has this.
    fn file(&self, mailbox: &str, part: &str) -> PathBuf {
        let places = ["cur", "new"].map(|place| self.local.join(mailbox).join(place));
        let mut files = places.iter().flat_map(|place| fs::read_dir(place).unwrap()).map(|entry| entry.unwrap().path());
        files.find(|path| fs::read_to_string(path).unwrap().contains(part)).expect("the message")
    }
}

fn rename_with_flags(file: &Path, flags: &str) {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let base = name.split_once(":2,").map_or(name.as_str(), |(base, _)| base);
    let cur = file.parent().unwrap().parent().unwrap().join("cur");
    fs::rename(file, cur.join(format!("{base}:2,{flags}"))).unwrap();
}

#[test]
fn mbsync_both_ways() {
    if !has("mbsync") {
        return;
    }
    let place = Place::new();
    let server = place.start();
    for (tls, listener) in [("None", "imap"), ("STARTTLS", "imap"), ("IMAPS", "imaps")] {
        let mut imap = server.imap();
        imap.command("CREATE Far").unwrap().ok();
        for subject in ["one", "two", "three"] {
            imap.append("INBOX", "", message(subject).as_bytes());
        }
        imap.append("Far", "\\Seen \\Flagged", message("far").as_bytes());

        let mbsync = Mbsync::new(&place, &server, tls, listener);
        mbsync.sync();
        let subjects = |messages: &[(String, String)]| -> Vec<String> {
            let subject =
                |content: &String| content.split("Subject: ").nth(1).unwrap().lines().next().unwrap().to_owned();
            messages.iter().map(|(_, content)| subject(content)).collect()
        };
        assert_eq!(subjects(&mbsync.messages("INBOX")), ["one", "three", "two"]);
        assert_eq!(mbsync.messages("Far")[0].0, "FS");

        // Changes on both sides.
        fs::remove_file(mbsync.file("INBOX", "about one")).unwrap();
        rename_with_flags(&mbsync.file("INBOX", "about two"), "RS");
        fs::write(mbsync.local.join("INBOX/new/1.local"), message("four").replace("\r\n", "\n")).unwrap();
        for folder in ["cur", "new", "tmp"] {
            fs::create_dir_all(mbsync.local.join("Near").join(folder)).unwrap();
        }
        fs::write(mbsync.local.join("Near/cur/1.near:2,S"), message("near").replace("\r\n", "\n")).unwrap();
        imap.command("SELECT INBOX").unwrap().ok();
        imap.command("UID SEARCH SUBJECT three").unwrap().ok();
        imap.command("STORE 3 +FLAGS (\\Deleted)").unwrap().ok();
        imap.command("EXPUNGE").unwrap().ok();
        imap.append("INBOX", "\\Draft", message("five").as_bytes());
        mbsync.sync();

        assert_eq!(subjects(&mbsync.messages("INBOX")), ["five", "four", "two"]);
        imap.command("NOOP").unwrap().ok();
        let rows = imap.command("FETCH 1:* (FLAGS BODY.PEEK[])").unwrap().ok();
        let rows: Vec<String> = rows.untagged.iter().map(|row| text(row)).collect();
        let row = |subject: &str| {
            // mbsync puts a header of its own into what it stores.
            let part = format!("\r\n\r\nabout {subject}\r\n");
            rows.iter().find(|row| row.contains(&part)).unwrap_or_else(|| panic!("no {subject}: {rows:?}"))
        };
        assert_eq!(rows.len(), 3, "{rows:?}");
        assert!(row("two").contains("\\Answered") && row("two").contains("\\Seen"), "{rows:?}");
        assert!(row("five").contains("\\Draft"));
        row("four");
        let near = imap.command("STATUS Near (MESSAGES UNSEEN)").unwrap().ok();
        assert!(text(&near.untagged[0]).contains("MESSAGES 1 UNSEEN 0"), "{near:?}");

        // Nothing is left to do, and nothing is done twice.
        mbsync.sync();
        assert_eq!(mbsync.messages("INBOX").len(), 3);

        imap.command("STORE 1:* +FLAGS (\\Deleted)").unwrap().ok();
        imap.command("CLOSE").unwrap().ok();
        imap.command("DELETE Far").unwrap().ok();
        imap.command("DELETE Near").unwrap().ok();
    }
}

#[test]
fn neomutt_in_batch() {
    if !has("neomutt") || !has("script") {
        return;
    }
    let place = Place::new();
    let server = place.start();
    let mut imap = server.imap();
    imap.command("CREATE Sent").unwrap().ok();
    imap.append("INBOX", "", message("one").as_bytes());
    imap.append("INBOX", "", message("two").as_bytes());

    for (scheme, listener) in [("imap", "imap"), ("imaps", "imaps")] {
        let url = format!("{scheme}://{USER}@127.0.0.1:{}/", server.port(listener));
        let rc = place.path().join("neomuttrc");
        let settings = format!(
            "set folder = \"{url}\"\nset spoolfile = \"+INBOX\"\nset imap_user = \"{USER}\"\n\
             set imap_pass = \"{PASSWORD}\"\nset ssl_force_tls = no\nset ssl_starttls = {starttls}\n\
             set certificate_file = \"{certificate}\"\nset ssl_verify_host = no\n\
             set delete = yes\nset quit = yes\n\
             set confirmappend = no\nset confirmcreate = no\nset mbox_type = mbox\nset connect_timeout = 600\nset imap_poll_timeout = 600\nset wait_key = no\nset beep = no\n",
            starttls = if listener == "imap" { "no" } else { "yes" },
            certificate = place.certificate().display(),
        );
        fs::write(&rc, settings).unwrap();

        // Without a terminal it does little; this is one that nobody sees.
        let run = |source: &str, target: &str| {
            let keys = format!("<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>{target}<enter><exit>");
            let line = format!("neomutt -n -F '{}' -f '{source}' -e 'push \"{keys}\"'", rc.display());
            let mut command = Command::new("script");
            command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
            command.env("HOME", place.path()).env("TERM", "xterm").stdin(Stdio::null());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stdout));
        };
        // All messages are copied from the server to a file, and one from a file to the server.
        let copied = place.path().join(format!("copied-{scheme}"));
        run("+INBOX", copied.to_str().unwrap());
        let mbox = fs::read_to_string(&copied).unwrap();
        assert!(mbox.contains("about one") && mbox.contains("about two"), "{mbox}");
        let local = place.path().join("local.mbox");
        let message =
            message(&format!("local over {scheme}")).replace("\r\n", "\n").replacen("\n\n", "\nStatus: RO\n\n", 1);
        fs::write(&local, format!("From a@example.org Thu Jul 17 02:44:25 1996\n{message}\n")).unwrap();
        run(local.to_str().unwrap(), "+Sent");
    }
    imap.command("SELECT Sent").unwrap().ok();
    let found = imap.command("SEARCH SUBJECT \"local over imap\" SEEN").unwrap().ok();
    assert_eq!(text(&found.untagged[0]), "* SEARCH 1 2\r\n");
}
