//! What the server has asked of the disk before it says OK, as the kernel saw it.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use support::{CONFIG, PILLARBOXD, Place, Server, has};

/// One finished system call, or the start of one that sends.
#[derive(Debug)]
enum Event {
    /// Forced to the disk: the path.
    Synced(String),
    /// A name came to be or went: all its arguments.
    Named(String),
    /// This was begun to be sent to a client.
    Sent(String),
}

/// Reads the trace: calls of several threads, some in two parts.
fn events(trace: &str) -> Vec<Event> {
    let mut unfinished: HashMap<&str, String> = HashMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if ["write", "sendto", "sendmsg"].iter().any(|name| call.starts_with(name)) && call.contains("<socket:") {
            events.push(Event::Sent(call.to_owned()));
            continue;
        }
        let whole = if let Some(start) = call.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, start.to_owned());
            continue;
        } else if call.starts_with("<... ") {
            let end = call.split_once("resumed>").map_or("", |(_, end)| end);
            unfinished.remove(thread).unwrap_or_default() + end
        } else {
            call.to_owned()
        };
        if !whole.trim_end().ends_with("= 0") {
            continue;
        }
        if whole.starts_with("fsync(") || whole.starts_with("fdatasync(") {
            let path = whole.split(['<', '>']).nth(1).unwrap_or_default();
            events.push(Event::Synced(path.to_owned()));
        } else if ["rename", "link", "unlink"].iter().any(|name| whole.starts_with(name)) {
            events.push(Event::Named(whole));
        }
    }
    events
}

/// The events from one reply to another: from that with the tag before to that with this tag.
fn window(events: &[Event], tag: u32) -> &[Event] {
    let sent = |tag: u32| {
        let text = format!("a{tag} OK");
        events
            .iter()
            .position(|event| matches!(event, Event::Sent(data) if data.contains(&text)))
            .unwrap_or_else(|| panic!("no reply {tag} in the trace"))
    };
    &events[sent(tag - 1) + 1..sent(tag)]
}

fn synced(events: &[Event], path: &str) -> Option<usize> {
    events.iter().rposition(|event| matches!(event, Event::Synced(synced) if synced.contains(path)))
}

fn named(events: &[Event], part: &str) -> Option<usize> {
    events.iter().position(|event| matches!(event, Event::Named(call) if call.contains(part)))
}

#[track_caller]
fn assert_synced(events: &[Event], paths: &[&str]) {
    for path in paths {
        assert!(synced(events, path).is_some(), "{path} is not synced before the OK: {events:#?}");
    }
}

#[test]
fn file_folder_and_index_are_synced_before_the_ok() {
    if !has("strace") {
        return;
    }
    let place = Place::with_config(&format!("fsync = \"always\"\n{CONFIG}"));
    let trace = place.path().join("trace");
    // -D keeps the server our own child, for signals and for its end.
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-s", "256", "-e", "signal=none", "-e"]);
    command
        .arg("trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,write,writev,sendto,sendmsg");
    command.arg("-o").arg(&trace).arg(PILLARBOXD).env_remove("PILLARBOX_LOG");
    command.arg("--config").arg(place.path().join("pillarboxd.toml"));
    let server = Server::start(&mut command, place.path());

    let mut imap = server.imap();
    imap.command("CREATE Two").unwrap().ok();
    imap.command("SELECT INBOX").unwrap().ok();
    imap.append("INBOX", "\\Seen", b"Subject: one\r\n\r\nbody\r\n");
    imap.append("INBOX", "", b"Subject: two\r\n\r\nbody\r\n");
    imap.command("COPY 1 Two").unwrap().ok();
    imap.command("MOVE 2 Two").unwrap().ok();
    imap.command("STORE 1 +FLAGS (\\Flagged \\Deleted)").unwrap().ok();
    imap.command("EXPUNGE").unwrap().ok();
    imap.command("NOOP").unwrap().ok();
    drop(imap);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));

    let events = events(&fs::read_to_string(&trace).unwrap());
    let [append, copy, moved, stored, expunged] = [4, 6, 7, 8, 9].map(|tag| window(&events, tag));
    let index = INDEX;

    // The file is on the disk before its name is, and the name before the OK.
    assert_synced(append, &["/alice/tmp", "/alice/cur", index]);
    let content = append.iter().position(|event| matches!(event, Event::Synced(path) if path.contains("/alice/tmp/")));
    let name = named(append, "/alice/cur").or_else(|| named(append, "\"cur/")).expect("the file gets its name");
    assert!(content.is_some_and(|content| content < name), "{append:#?}");

    assert_synced(copy, &["/alice/cur/", "/.Two/cur", index]);
    assert_synced(moved, &["/.Two/cur", "/alice/cur", index]);
    assert_synced(stored, &["/alice/cur", index]);
    assert_synced(expunged, &["/alice/cur", index]);
}

const INDEX: &str = "-wal";
