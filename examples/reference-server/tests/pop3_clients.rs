//! Programs that retrieve mail, as they are, against the server as it is: mail that is hard to keep unchanged arrives
//! octet by octet, is fetched once where it is kept, and is gone where it is deleted.
//!
//! Each program reaches the maildrop in each way it knows: without TLS, with STLS, and with TLS from the start. The
//! server's self-signed certificate is what the program is told to trust, and no other is taken. A program that is missing
//! makes its test say so and pass, or fail where the variable `CI` is set.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

#[path = "support/pop3_mail.rs"]
mod mail;
mod support;

use std::path::{Path, PathBuf};

use mail::{
    Ended, Home, LONGER, Lmtp, NOTHING, Sample, Way, assert_all_left, assert_kept, assert_none_left, contents, deliver,
    files, late, raw_samples, samples, without_cr,
};
use support::{PASSWORD, Place, Server, USER, has};

/// What one program keeps of messages: their names and octets.
type Kept = Vec<(String, Vec<u8>)>;

fn expected(samples: &[Sample], as_kept: impl Fn(&Sample) -> Vec<u8>) -> Kept {
    samples.iter().map(|sample| (sample.name.clone(), as_kept(sample))).collect()
}

/// Mail in a Maildir, and its server.
struct Site {
    place: Place,
    server: Server,
}

impl Site {
    fn new(samples: &[Sample]) -> Self {
        let place = Place::new();
        deliver(&place, samples);
        let server = place.start();
        Self { place, server }
    }

    fn certificate(&self) -> String {
        self.place.certificate().display().to_string()
    }

    fn port(&self, way: Way) -> String {
        self.server.port(way.listener())
    }
}

/// A certificate that no server here has.
fn another_certificate() -> (Place, String) {
    let place = Place::new();
    drop(place.start());
    let path = place.certificate().display().to_string();
    (place, path)
}

// fetchmail

struct Fetchmail<'a> {
    site: &'a Site,
    home: Home,
    way: Way,
}

impl Fetchmail<'_> {
    /// Fetches into a folder, with these options for the user.
    fn fetch(&self, folder: &str, certificate: &str, options: &str) -> Ended {
        let target = self.home.folder(folder);
        let store = self.home.script(&target);
        let tls = match self.way {
            Way::Plain => "sslproto ''".to_owned(),
            Way::Stls => format!("sslproto 'TLS1.2+' sslcertck sslcommonname localhost sslcertfile '{certificate}'"),
            Way::Tls => format!("ssl sslproto 'TLS1.2+' sslcertck sslcommonname localhost sslcertfile '{certificate}'"),
        };
        let config = self.home.write(
            "fetchmailrc",
            &format!(
                "set invisible\nset no bouncemail\nset idfile '{home}/ids'\nset pidfile '{home}/pid'\n\
                 poll 127.0.0.1 protocol POP3 port {port} uidl no dns bad-header accept\n\
                 user '{USER}' password '{PASSWORD}' is 'root' here\n\
                 mda '/bin/sh {store}' no rewrite no mimedecode pass8bits {tls} {options}\n",
                home = self.home.path().display(),
                port = self.site.port(self.way),
                store = store.display(),
            ),
        );
        self.home.run("fetchmail", &["--verbose", "--fetchmailrc", config.to_str().unwrap()])
    }
}

/// fetchmail ends a header.
fn as_fetchmail_keeps(sample: &Sample) -> Vec<u8> {
    sample.wire_with_header_ended()
}

fn as_fetchmail_keeps_without_cr(sample: &Sample) -> Vec<u8> {
    without_cr(&sample.wire_with_header_ended())
}

#[test]
fn fetchmail() {
    if !has("fetchmail") {
        return;
    }
    let (_other, wrong) = another_certificate();
    // It reads lines in pieces of 8 KiB. A piece that begins with a dot is the end to it, and after each it puts a line end
    // and octets of its own: longer lines it can't retrieve.
    let mut first = samples();
    first.retain(|sample| !sample.name.starts_with(LONGER));
    let all = [first.clone(), vec![late()]].concat();

    for way in Way::ALL {
        let site = Site::new(&first);
        let it = Fetchmail { site: &site, home: Home::new(), way };
        let certificate = site.certificate();
        let who = format!("fetchmail, {way:?}");
        let kept = |folder: &str| contents(&it.home.folder(folder));

        if way != Way::Plain {
            assert_ne!(it.fetch("refused", &wrong, "keep").code, Some(0));
            assert!(kept("refused").is_empty(), "{who} takes any certificate");
        }
        // It retrieves with TOP, and with RETR where it is to fetch all.
        assert!(it.fetch("first", &certificate, "keep no stripcr").with(0).contains("> TOP 1 "));
        assert_kept(&who, &kept("first"), &expected(&first, as_fetchmail_keeps));
        assert_all_left(&site.place, &site.server, &first);
        // No new mail is what 1 means.
        it.fetch("second", &certificate, "keep no stripcr").with(1);
        assert!(kept("second").is_empty());
        deliver(&site.place, &[late()]);
        it.fetch("third", &certificate, "keep stripcr").with(0);
        assert_kept(&who, &kept("third"), &expected(&[late()], as_fetchmail_keeps_without_cr));
        assert_all_left(&site.place, &site.server, &all);

        assert!(it.fetch("fourth", &certificate, "nokeep fetchall stripcr").with(0).contains("> RETR 1\n"));
        assert_kept(&who, &kept("fourth"), &expected(&all, as_fetchmail_keeps_without_cr));
        assert_none_left(&site.place, &site.server);

        deliver(&site.place, &first);
        it.fetch("fifth", &certificate, "nokeep no stripcr").with(0);
        assert_kept(&who, &kept("fifth"), &expected(&first, as_fetchmail_keeps));
        assert_none_left(&site.place, &site.server);
    }
}

// mpop

struct Mpop<'a> {
    site: &'a Site,
    home: Home,
    way: Way,
}

impl Mpop<'_> {
    fn fetch(&self, delivery: &str, target: &Path, certificate: &str, options: &str) -> Ended {
        let tls = match self.way {
            Way::Plain => "auth scram-sha-256\ntls off\n".to_owned(),
            Way::Stls => format!("auth plain\ntls on\ntls_starttls on\ntls_trust_file {certificate}\n"),
            Way::Tls => format!("auth user\ntls on\ntls_starttls off\ntls_trust_file {certificate}\n"),
        };
        let config = self.home.write(
            "mpoprc",
            &format!(
                "account default\nhost 127.0.0.1\nport {port}\nuser {USER}\npassword {PASSWORD}\n{tls}\
                 uidls_file {home}/uidls\nreceived_header off\ndelivery {delivery} {target}\n{options}\n",
                port = self.site.port(self.way),
                home = self.home.path().display(),
                target = target.display(),
            ),
        );
        self.home.run("mpop", &["--file", config.to_str().unwrap()])
    }
}

#[test]
fn mpop() {
    if !has("mpop") {
        return;
    }
    let (_other, wrong) = another_certificate();
    for way in Way::ALL {
        let mut mail = [samples(), raw_samples()].concat();
        let site = Site::new(&mail);
        let it = Mpop { site: &site, home: Home::new(), way };
        let certificate = site.certificate();
        let who = format!("mpop, {way:?}");
        let fetch = |maildir: &str, certificate: &str, options: &str| {
            let target = it.home.maildir(maildir);
            (it.fetch("maildir", &target, certificate, options), files(&target))
        };

        if way != Way::Plain {
            let (ended, kept) = fetch("refused", &wrong, "keep on");
            assert_ne!(ended.code, Some(0));
            assert!(kept.is_empty(), "{who} takes any certificate");
        }
        let (ended, kept) = fetch("first", &certificate, "keep on");
        ended.with(0);
        assert_kept(&who, &kept, &expected(&mail, Sample::local));
        assert_all_left(&site.place, &site.server, &mail);
        let (ended, kept) = fetch("second", &certificate, "keep on");
        ended.with(0);
        assert!(kept.is_empty());
        deliver(&site.place, &[late()]);
        mail.push(late());
        let (ended, kept) = fetch("third", &certificate, "keep on");
        ended.with(0);
        assert_kept(&who, &kept, &expected(&[late()], Sample::local));

        // All once more, one command at a time, into files that keep CRLF.
        let target = it.home.folder("fourth");
        it.fetch("exchange", &target, &certificate, "keep on\nonly_new off\npipelining off").with(0);
        assert_kept(&who, &contents(&target), &expected(&mail, Sample::wire));
        assert_all_left(&site.place, &site.server, &mail);

        let (ended, kept) = fetch("fifth", &certificate, "keep off\nonly_new off\npipelining on");
        ended.with(0);
        assert_kept(&who, &kept, &expected(&mail, Sample::local));
        assert_none_left(&site.place, &site.server);
    }
}

// getmail

struct Getmail<'a> {
    site: &'a Site,
    home: Home,
    way: Way,
    /// Where it delivers to: its other ways start a program for each message, and wait for ever for one that ends at once.
    lmtp: Lmtp,
}

impl Getmail<'_> {
    fn fetch(&self, certificate: &str, options: &str) -> (Ended, Kept) {
        let retriever = match self.way {
            Way::Tls => format!("SimplePOP3SSLRetriever\nca_certs = {certificate}"),
            _ => "SimplePOP3Retriever".to_owned(),
        };
        let config = self.home.write(
            "getmailrc",
            &format!(
                "[retriever]\ntype = {retriever}\nserver = 127.0.0.1\nport = {port}\nusername = {USER}\n\
                 password = {PASSWORD}\n[destination]\ntype = MDA_lmtp\n\
                 host = 127.0.0.1\nport = {lmtp}\noverride = {USER}@example.org\n[options]\ndelivered_to = false\nreceived = false\n{options}\n",
                port = self.site.port(self.way),
                lmtp = self.lmtp.port,
            ),
        );
        let state = self.home.folder("state").display().to_string();
        let ended = self.home.run("getmail", &["--getmaildir", &state, "--rcfile", config.to_str().unwrap()]);
        (ended, self.lmtp.take())
    }
}

/// getmail takes a message apart and puts it together again: it ends a header, and marks lines that begin with "From ".
fn as_getmail_keeps(sample: &Sample) -> Vec<u8> {
    let mut kept = Vec::new();
    for line in sample.wire_with_header_ended().split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b"From ") {
            kept.push(b'>');
        }
        kept.extend_from_slice(line);
    }
    kept
}

#[test]
fn getmail() {
    if !has("getmail") {
        return;
    }
    let (_other, wrong) = another_certificate();
    // It does not know STLS.
    for way in [Way::Plain, Way::Tls] {
        let mut mail = samples();
        let site = Site::new(&mail);
        let it = Getmail { site: &site, home: Home::new(), way, lmtp: Lmtp::start() };
        let certificate = site.certificate();
        let who = format!("getmail, {way:?}");

        if way != Way::Plain {
            let (ended, kept) = it.fetch(&wrong, "");
            assert_ne!(ended.code, Some(0));
            assert!(kept.is_empty(), "{who} takes any certificate");
        }
        let (ended, kept) = it.fetch(&certificate, "read_all = false\ndelete = false");
        ended.with(0);
        assert_kept(&who, &kept, &expected(&mail, as_getmail_keeps));
        assert_all_left(&site.place, &site.server, &mail);
        let (ended, kept) = it.fetch(&certificate, "read_all = false\ndelete = false");
        ended.with(0);
        assert!(kept.is_empty());
        deliver(&site.place, &[late()]);
        mail.push(late());
        let (ended, kept) = it.fetch(&certificate, "read_all = false\ndelete = false");
        ended.with(0);
        assert_kept(&who, &kept, &expected(&[late()], as_getmail_keeps));

        let (ended, kept) = it.fetch(&certificate, "read_all = true\ndelete = true");
        ended.with(0);
        assert_kept(&who, &kept, &expected(&mail, as_getmail_keeps));
        assert_none_left(&site.place, &site.server);
    }
}

// curl

struct Curl<'a> {
    site: &'a Site,
    home: Home,
    way: Way,
}

impl Curl<'_> {
    /// Requests in one session. Each has arguments and what follows the URL's slash.
    fn session(&self, certificate: &str, requests: &[(Vec<String>, String)]) -> Ended {
        let scheme = self.way.listener();
        let mut lines = String::new();
        for (at, (arguments, path)) in requests.iter().enumerate() {
            if at > 0 {
                lines += "next\n";
            }
            lines += &format!(
                "user = \"{USER}:{PASSWORD}\"\nurl = \"{scheme}://127.0.0.1:{}/{path}\"\n",
                self.site.port(self.way)
            );
            match self.way {
                Way::Plain => {}
                Way::Stls => lines += &format!("ssl-reqd\ncacert = \"{certificate}\"\n"),
                Way::Tls => lines += &format!("cacert = \"{certificate}\"\n"),
            }
            for argument in arguments {
                lines += &format!("{argument}\n");
            }
        }
        let config = self.home.write("curlrc", &lines);
        self.home.run("curl", &["--silent", "--show-error", "--config", config.to_str().unwrap()])
    }

    fn retrieve(&self, folder: &str, certificate: &str, count: usize) -> (Ended, PathBuf) {
        let target = self.home.folder(folder);
        let requests: Vec<_> = (1..=count)
            .map(|number| (vec![format!("output = \"{}/{number}\"", target.display())], number.to_string()))
            .collect();
        (self.session(certificate, &requests), target)
    }
}

/// curl ends a line where there is none.
fn as_curl_keeps(sample: &Sample) -> Vec<u8> {
    if sample.name == NOTHING { b"\r\n".to_vec() } else { sample.wire() }
}

#[test]
fn curl() {
    if !has("curl") {
        return;
    }
    let (_other, wrong) = another_certificate();
    for way in Way::ALL {
        let mail = [samples(), raw_samples()].concat();
        let site = Site::new(&mail);
        let it = Curl { site: &site, home: Home::new(), way };
        let certificate = site.certificate();
        let who = format!("curl, {way:?}");

        if way != Way::Plain {
            let (ended, target) = it.retrieve("refused", &wrong, 1);
            ended.with(60);
            assert!(contents(&target).is_empty());
        }
        let names = || {
            let requests = [(vec!["request = UIDL".to_owned()], String::new())];
            it.session(&certificate, &requests).with(0)
        };
        let before = names();
        assert_eq!(before.lines().count(), mail.len(), "{before}");
        let (ended, target) = it.retrieve("first", &certificate, mail.len());
        ended.with(0);
        assert_kept(&who, &contents(&target), &expected(&mail, as_curl_keeps));
        assert_all_left(&site.place, &site.server, &mail);
        assert_eq!(names(), before);

        let deletions: Vec<_> = (1..=mail.len())
            .map(|number| (vec![format!("request = \"DELE {number}\""), "head".to_owned()], String::new()))
            .collect();
        it.session(&certificate, &deletions).with(0);
        assert_none_left(&site.place, &site.server);
    }
}

// Python's poplib

/// Writes each message to a file, keeps the unique-ids it has seen, and deletes what it is told to.
const POPLIB: &str = r#"
import os, poplib, ssl, sys
way, port, user, password, certificate, seen, folder, delete = sys.argv[1:]
# A limit of its own, far below that of lines in mail as it is.
poplib._MAXLINE = 1 << 22
context = ssl.create_default_context(cafile=certificate)
if way == "Tls":
    p = poplib.POP3_SSL("127.0.0.1", int(port), context=context, timeout=600)
else:
    p = poplib.POP3("127.0.0.1", int(port), timeout=600)
    if way == "Stls":
        p.stls(context)
p.user(user)
p.pass_(password)
known = set(open(seen).read().split()) if os.path.exists(seen) else set()
names = [line.split() for line in p.uidl()[1]]
sizes = dict(map(int, line.split()) for line in p.list()[1])
assert p.stat() == (len(sizes), sum(sizes.values()))
for number, name in names:
    if delete == "all" or name.decode() not in known:
        _, lines, _ = p.retr(int(number))
        octets = b"".join(line + b"\r\n" for line in lines)
        # The size is that of the message, whose last line may have no end.
        assert len(octets) - sizes[int(number)] in (0, 2), (len(octets), sizes[int(number)])
        _, top, _ = p.top(int(number), 1 << 30)
        assert top == lines
        with open(os.path.join(folder, number.decode()), "wb") as file:
            file.write(octets)
    if delete == "all":
        p.dele(int(number))
open(seen, "w").write("\n".join(name.decode() for _, name in names))
p.quit()
"#;

#[test]
fn pythons_poplib() {
    if !has("python3") {
        return;
    }
    let (_other, wrong) = another_certificate();
    for way in Way::ALL {
        let mut mail = [samples(), raw_samples()].concat();
        let site = Site::new(&mail);
        let home = Home::new();
        let certificate = site.certificate();
        let who = format!("poplib, {way:?}");
        let seen = home.path().join("seen").display().to_string();
        let fetch = |folder: &str, certificate: &str, delete: &str| {
            let target = home.folder(folder);
            let name = format!("{way:?}");
            let port = site.port(way);
            let target_name = target.display().to_string();
            let arguments = ["-c", POPLIB, &name, &port, USER, PASSWORD, certificate, &seen, &target_name, delete];
            (home.run("python3", &arguments), contents(&target))
        };

        if way != Way::Plain {
            let (ended, kept) = fetch("refused", &wrong, "none");
            assert!(ended.with(1).contains("CERTIFICATE_VERIFY_FAILED"));
            assert!(kept.is_empty());
        }
        let (ended, kept) = fetch("first", &certificate, "none");
        ended.with(0);
        assert_kept(&who, &kept, &expected(&mail, Sample::wire));
        assert_all_left(&site.place, &site.server, &mail);
        let (ended, kept) = fetch("second", &certificate, "none");
        ended.with(0);
        assert!(kept.is_empty());
        deliver(&site.place, &[late()]);
        mail.push(late());
        let (ended, kept) = fetch("third", &certificate, "none");
        ended.with(0);
        assert_kept(&who, &kept, &expected(&[late()], Sample::wire));

        let (ended, kept) = fetch("fourth", &certificate, "all");
        ended.with(0);
        assert_kept(&who, &kept, &expected(&mail, Sample::wire));
        assert_none_left(&site.place, &site.server);
    }
}
