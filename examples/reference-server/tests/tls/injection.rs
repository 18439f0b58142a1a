//! What is sent behind STARTTLS or STLS in plain text could come from anybody: none of it is carried out, nor answered.

use super::support::{PASSWORD, USER, has};
use super::{World, listener};

fn world() -> World {
    World::new(&format!(
        "{}{}",
        listener("imap", "imap", "tls-mode = \"ondemand\""),
        listener("pop3", "pop3", "tls-mode = \"ondemand\"")
    ))
}

#[test]
fn in_one_packet() {
    if !has("python3") {
        return;
    }
    let world = world();
    let server = world.start();
    let login = format!("> x2 LOGIN {USER} \"{PASSWORD}\"");
    // Whole commands, half of one, and a literal that would take in what comes under TLS.
    for injected in [
        login.clone(),
        format!("{}\n+ x3 CREATE injected\n> x4 SUB", login.replace('>', "+")),
        "> x2 LOGIN {5}".to_owned(),
        "> x2 LOGIN {5+}".to_owned(),
    ] {
        let steps =
            format!("< * OK\n+ x1 STARTTLS\n{injected}\n< x1 OK\ntls\n> y1 SELECT INBOX\n< y1\n> y2 LOGOUT\nend\n");
        let transcript = world.talk(&server, "imap", "", &steps);
        for tag in ["x2", "x3", "x4"] {
            assert!(!transcript.contains(&format!("\n{tag} ")), "{injected}: {transcript}");
        }
        assert!(transcript.contains("\ny1 BAD ") || transcript.contains("\ny1 NO "), "not logged in: {transcript}");
        assert!(transcript.contains("\ny2 OK ") && transcript.ends_with("\nclosed\n"), "{transcript}");
    }
    for injected in [
        format!("+ USER {USER}\n> PASS {PASSWORD}"),
        format!("> USER {USER}"),
        "> AUTH PLAIN".to_owned(),
        "> STA".to_owned(),
    ] {
        let steps =
            format!("< +OK\n+ STLS\n{injected}\n< +OK Begin\ntls\n> PASS {PASSWORD}\n< \n> STAT\n< \n> QUIT\nend\n");
        let transcript = world.talk(&server, "pop3", "", &steps);
        let (_, inside) = transcript.split_once("\ntls ").unwrap();
        let replies: Vec<&str> = inside.lines().skip(1).collect();
        let barred = ["-ERR Invalid command: PASS comes right after USER", "-ERR Incorrect state: log in first"];
        assert_eq!(replies, [barred[0], barred[1], "+OK Bye", "closed"], "{injected}: {transcript}");
    }
    assert!(!world.place.maildir().join(".injected").exists());
    assert!(!server.log().contains(PASSWORD));
}

#[test]
fn in_a_second_packet() {
    if !has("python3") {
        return;
    }
    let world = world();
    let server = world.start();
    // It comes before the handshake begins, and is lost with what came before; or it is taken for a part of the
    // handshake, which it spoils.
    let steps = format!(
        "< * OK\n> x1 STARTTLS\n+ x2 LOGIN {USER} \"{PASSWORD}\"\n> x3 CREATE injected\n< x1 OK\ntls\n> y1 SELECT INBOX\n\
         < y1\n"
    );
    for _ in 0..10 {
        let transcript = world.talk(&server, "imap", "", &steps);
        assert!(!transcript.contains("\nx2 ") && !transcript.contains("\nx3 ") && !transcript.contains("y1 OK"));
        let last = transcript.lines().last().unwrap();
        assert!(
            ["y1 BAD ", "y1 NO ", "refused ", "ended "].iter().any(|start| last.starts_with(start)),
            "{transcript}"
        );
    }
    let steps = format!("< +OK\n> STLS\n+ USER {USER}\n> PASS {PASSWORD}\n< +OK Begin\ntls\n> STAT\n< \n");
    for _ in 0..10 {
        let transcript = world.talk(&server, "pop3", "", &steps);
        let last = transcript.lines().last().unwrap();
        assert!(
            ["-ERR Incorrect state: log in first", "refused ", "ended "].iter().any(|start| last.starts_with(start)),
            "{transcript}"
        );
    }
    // After the answer there is nothing but the handshake.
    for (listener, begin) in [("imap", "< * OK\n> x1 STARTTLS\n< x1 OK\n"), ("pop3", "< +OK\n> STLS\n< +OK\n")] {
        let transcript = world.talk(&server, listener, "", &format!("{begin}> NOOP\nend\n"));
        let last = transcript.lines().last().unwrap();
        // An alert, or nothing: no text.
        assert!(
            !transcript.contains("NOOP") && (last.starts_with("closed") || last.starts_with("ended")),
            "{transcript}"
        );
    }
    assert!(!world.place.maildir().join(".injected").exists());
}
