//! The maildrop: deletion marks from elsewhere, what was read, one session at a time, and what clients get of mail in
//! UTF-8.

use std::fs;

use crate::support::pop3::Pop3;
use crate::support::{self, PASSWORD, USER};
use crate::{deliver, files, maildir, place};

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
