//! Telemetry in files.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]

mod watched;

use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use pillarbox_server_core::{Listener, Server, ServerHandle, Telemetry};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use watched::{clerk, redactor};

fn start(telemetry: Telemetry) -> ServerHandle {
    let listener = Listener::new("clerk", clerk).address((Ipv4Addr::LOCALHOST, 0)).telemetry(telemetry, redactor);
    Server::new().listener(listener).bind().unwrap().start().unwrap()
}

/// Says these lines, one after another, and waits for each answer.
async fn say(server: &ServerHandle, lines: &[&str]) {
    let mut client = BufReader::new(TcpStream::connect(server.local_addr("clerk").unwrap()).await.unwrap());
    for line in lines {
        client.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        client.read_line(&mut String::new()).await.unwrap();
    }
}

/// Ends the server, and waits until all is written. A shutdown waits for that a few seconds, which may be too few where a
/// disk is slow; where it is not, all but the first have nothing to wait for.
async fn end(server: &ServerHandle) {
    for _ in 0..20 {
        server.shutdown("bye", Duration::from_secs(600)).await;
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The only file, with all times made `T`.
fn written(folder: &Path) -> String {
    let names = names(folder);
    let [name] = &names[..] else { panic!("{names:?}") };
    without_times(&std::fs::read_to_string(folder.join(name)).unwrap())
}

fn without_times(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['<', '>']) {
        let mark = &rest[at..=at];
        let digits = rest[at + 1..].chars().take_while(char::is_ascii_digit).count();
        let end = at + 1 + digits;
        assert!((10..=11).contains(&digits) && rest[end..].starts_with(mark), "{text}");
        out += &rest[..at];
        out += &format!("{mark}T{mark}");
        rest = &rest[end + 1..];
    }
    out + rest
}

#[tokio::test]
async fn a_user_with_a_folder_is_written_down_from_the_login_on() {
    let folder = tempfile::tempdir().unwrap();
    let bob = folder.path().join("bob");
    std::fs::create_dir(&bob).unwrap();
    let server = start(Telemetry::new(folder.path()));
    say(&server, &["before", "LOGIN bob sesame", "hello", "DATA 3", "LOGIN bob sesame", "QUIT"]).await;
    say(&server, &["LOGIN eve sesame", "hello", "QUIT"]).await;
    end(&server).await;
    let text = written(&bob);
    let (header, body) = text.split_once("\n\n").unwrap();
    let words: Vec<_> = header.split_ascii_whitespace().collect();
    assert!(
        matches!(words[..], ["----------", "bob", _, _, _, time, year] if time.len() == 8 && year.len() == 4),
        "{header}"
    );
    assert_eq!(header.len(), "---------- bob ".len() + 24, "{header}");
    assert_eq!(
        body,
        ">T>welcome bob\r\n<T<hello\r\n>T>hello\r\n<T<DATA 3\r\n>T>xxx\r\n<T<LOGIN bob ***\r\n>T>welcome bob\r\n<T<QUIT\r\n>T>bye\r\n"
    );
    let name = names(&bob).pop().unwrap();
    let (process, session) = name.split_once('-').unwrap();
    assert_eq!((process, session.len()), (&*std::process::id().to_string(), 8), "{name}");
    let mode = std::fs::metadata(bob.join(&name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(names(folder.path()), ["bob"], "no folder is made");
}

#[tokio::test]
async fn sessions_one_after_another_share_the_file_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let bob = folder.path().join("bob");
    std::fs::create_dir(&bob).unwrap();
    let server = start(Telemetry::new(folder.path()).alone(true));
    for _ in 0..2 {
        say(&server, &["LOGIN bob sesame", "QUIT"]).await;
        while server.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(server.connections(), 0);
    end(&server).await;
    assert_eq!(names(&bob), [std::process::id().to_string()]);
    assert_eq!(written(&bob).matches("---------- bob ").count(), 2);
}

#[tokio::test]
async fn two_sessions_at_once_never_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let bob = folder.path().join("bob");
    std::fs::create_dir(&bob).unwrap();
    let server = start(Telemetry::new(folder.path()).alone(true));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = BufReader::new(TcpStream::connect(server.local_addr("clerk").unwrap()).await.unwrap());
        client.get_mut().write_all(b"LOGIN bob sesame\r\n").await.unwrap();
        client.read_line(&mut String::new()).await.unwrap();
        clients.push(client);
    }
    drop(clients);
    end(&server).await;
    let names = names(&bob);
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let text = std::fs::read_to_string(bob.join(name)).unwrap();
        assert_eq!(text.matches("---------- ").count(), 1, "{text}");
    }
}

#[tokio::test]
async fn names_and_links_lead_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(outside.path().join("log")).unwrap();
    std::fs::create_dir(outside.path().join("victim")).unwrap();
    let log = outside.path().join("log");
    symlink(outside.path().join("victim"), log.join("eve")).unwrap();
    std::fs::write(log.join("file"), "").unwrap();
    let server = start(Telemetry::new(&log).alone(true));
    let absolute = format!("LOGIN {} sesame", outside.path().join("victim").display());
    for login in [
        "LOGIN ../victim sesame",
        "LOGIN eve sesame",
        "LOGIN .. sesame",
        "LOGIN . sesame",
        "LOGIN file sesame",
        &absolute,
    ] {
        say(&server, &[login, "hello", "QUIT"]).await;
    }
    end(&server).await;
    assert!(names(&outside.path().join("victim")).is_empty());
    assert_eq!(names(outside.path()), ["log", "victim"]);
    assert_eq!(names(&log), ["eve", "file"]);
}

#[tokio::test]
async fn it_ends_with_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let bob = folder.path().join("bob");
    std::fs::create_dir(&bob).unwrap();
    let server = start(Telemetry::new(folder.path()));
    say(&server, &["LOGIN bob sesame", "LOGOUT", "hello", "QUIT"]).await;
    end(&server).await;
    let text = written(&bob);
    assert!(text.ends_with(">T>welcome bob\r\n<T<LOGOUT\r\n"), "{text}");
}
