//! Who a client is before it says a word: programs, ident servers and users, with real sockets.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]

mod common;
mod logged;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::World;
use logged::Log;
use pillarbox_server_core::preauth::{Ident, IdentKeys, Preauth, Program, Scheme, Stdio};
use pillarbox_server_core::{Address, Listener, Server, ServerHandle};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;

struct Served {
    server: ServerHandle,
    world: Arc<World>,
}

impl Served {
    fn new(hook: impl Preauth + 'static, only: bool) -> Self {
        Self::at("127.0.0.1:0", hook, only)
    }

    fn at(address: &str, hook: impl Preauth + 'static, only: bool) -> Self {
        let world = World::new();
        let address: SocketAddr = address.parse().unwrap();
        let listener = Listener::new("toy", world.make()).address(address).preauth(hook).preauth_only(only);
        Self { server: Server::new().listener(listener).bind().unwrap().start().unwrap(), world }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addr("toy").unwrap()
    }

    /// Connects, and waits until it is served or turned away; returns the client's address and whether it is served.
    async fn visit(&self) -> (SocketAddr, bool) {
        let mut client = TcpStream::connect(self.address()).await.unwrap();
        let address = client.local_addr().unwrap();
        let _ = client.write_all(b"ping\n").await;
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer == b"ping\n", "{answer:?}");
        (address, !answer.is_empty())
    }

    /// As whom the next client is served: `None` if it is turned away.
    async fn identified(&self) -> Option<Option<String>> {
        let (_, served) = self.visit().await;
        let connection = self.world.connections.lock().unwrap().pop();
        assert_eq!(served, connection.is_some());
        connection.map(|connection| connection.preauth.map(|identity| identity.authcid))
    }
}

fn alice() -> Option<Option<String>> {
    Some(Some("alice".into()))
}

const NOBODY: Option<Option<String>> = Some(None);
/// For what does not take long, but on a machine that is very slow.
const AGES: Duration = Duration::from_secs(600);
const TURNED_AWAY: Option<Option<String>> = None;

/// A command that runs this script.
fn script(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("who");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    // Not run by itself: another test may be starting a program at this moment, which has it open for writing then.
    let command = format!("/bin/sh {}", path.display());
    (folder, command)
}

#[tokio::test]
async fn a_program_says_who_it_is() {
    for (text, only, expected) in [
        ("echo alice", false, alice()),
        ("echo alice", true, alice()),
        ("echo alice; exit 1", false, NOBODY),
        ("echo alice; exit 1", true, TURNED_AWAY),
        ("echo; echo alice", false, NOBODY),
        (":", true, TURNED_AWAY),
    ] {
        let (_folder, command) = script(text);
        let Scheme::Program(hook) = Scheme::parse(&format!("prog://{command} a b")).unwrap() else { panic!("{text}") };
        let served = Served::new(hook.time_limit(AGES), only);
        assert_eq!(served.identified().await, expected, "{text}");
    }
}

#[tokio::test]
async fn a_program_is_told_about_the_connection() {
    let (folder, path) = script("for word; do echo \"$word\"; done >\"${0%/*}/words\"; echo alice");
    let command =
        format!("{path} ${{client_address}} '-${{client_port}} b' ${{server_address}} ${{server_port}} ; * $$HOME");
    let served = Served::new(Program::new(&command).unwrap().time_limit(AGES), false);
    let (client, _) = served.visit().await;
    let words = std::fs::read_to_string(folder.path().join("words")).unwrap();
    let server = served.address().port();
    assert_eq!(words, format!("127.0.0.1\n-{} b\n127.0.0.1\n{server}\n;\n*\n$HOME\n", client.port()));
}

#[tokio::test]
async fn a_program_that_takes_too_long() {
    let log = Log::keep();
    let (_folder, command) = script("sleep 600; echo alice");
    let hook = Program::new(&command).unwrap().time_limit(Duration::from_millis(100));
    assert_eq!(Served::new(hook, true).identified().await, TURNED_AWAY);
    assert_eq!(log.count("WARN"), 0, "a client is nothing to warn of: {}", log.text());
}

/// An ident server that answers every question; `{}` in its reply stands for the two ports.
struct Identd {
    port: u16,
    questions: mpsc::UnboundedReceiver<String>,
}

impl Identd {
    async fn new(address: &str, reply: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, questions) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut question = String::new();
                BufReader::new(&mut stream).read_line(&mut question).await.unwrap();
                let reply = reply(question.trim_end());
                sender.send(question).unwrap();
                let _ = stream.write_all(&reply).await;
            }
        });
        Self { port, questions }
    }

    async fn plain(address: &str) -> Self {
        Self::new(address, |ports| format!("{ports} : USERID : UNIX : alice\r\n").into_bytes()).await
    }

    fn hook(&self) -> Ident {
        match Scheme::parse(&format!("ident://:{}", self.port)).unwrap() {
            Scheme::Ident(hook) => hook.time_limit(AGES),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_clients_machine_says_who_it_is() {
    for address in ["127.0.0.1", "::1"] {
        let mut identd = Identd::plain(address).await;
        let served = Served::at(&SocketAddr::new(address.parse().unwrap(), 0).to_string(), identd.hook(), true);
        let (client, admitted) = served.visit().await;
        assert!(admitted);
        let question = identd.questions.recv().await.unwrap();
        assert_eq!(question, format!("{} , {}\r\n", client.port(), served.address().port()));
        assert_eq!(served.identified().await, alice());
    }
}

#[tokio::test]
async fn the_clients_machine_does_not_say_who_it_is() {
    fn reply(text: &'static str) -> impl Fn(&str) -> Vec<u8> + Send + 'static {
        move |ports| text.replace("{}", ports).into_bytes()
    }
    for text in [
        "{} : ERROR : NO-USER\r\n",
        "{} : USERID : UNIX : alice",
        "{} : USERID : UNIX :\r\n",
        "1 , 2 : USERID : UNIX : alice\r\n",
        "alice\r\n",
        "",
    ] {
        let identd = Identd::new("127.0.0.1", reply(text)).await;
        assert_eq!(Served::new(identd.hook(), false).identified().await, NOBODY, "{text}");
        assert_eq!(Served::new(identd.hook(), true).identified().await, TURNED_AWAY, "{text}");
    }
    let identd = Identd::plain("127.0.0.2").await;
    assert_eq!(Served::new(identd.hook(), true).identified().await, TURNED_AWAY, "nobody is there to be asked");
}

const CIPHER: &str = "4rID9Fq/NfZ+4ctJUdNiCj2lmws/1Cg8";

/// Keys of records that count up, or have this text.
fn keys(records: &[Option<&str>]) -> IdentKeys {
    let record = |text: &Option<&str>| match text {
        None => (0..1024).map(|number| (number % 256) as u8).collect(),
        Some(text) => {
            let mut record = text.as_bytes().to_vec();
            record.resize(1024, 0);
            record
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, records.iter().flat_map(record).collect::<Vec<u8>>()).unwrap();
    IdentKeys::from_file(path).unwrap()
}

/// An ident server with a token of its own: it was made for 127.0.0.1, port 40000, to port 143. The hook is asked about a
/// connection that is said to have these ports.
async fn with_token(token: &str, hook: impl Fn(Ident) -> Ident) -> Result<String, String> {
    let reply = format!("40000, 143 : USERID : OTHER :[{token}]\r\n").into_bytes();
    let identd = Identd::new("127.0.0.1", move |_| reply.clone()).await;
    let mut connection = pillarbox_proto_core::Connection::default();
    connection.peer = Some("127.0.0.1:40000".parse().unwrap());
    connection.local = Some("127.0.0.1:143".parse().unwrap());
    let users = |uid| Ok((uid == 1000).then(|| "alice".to_owned()));
    let answer = hook(identd.hook().users(users)).identify(&connection).await;
    answer.map(|identity| identity.authcid).map_err(|error| error.to_string())
}

#[tokio::test]
async fn encrypted_names() {
    let ok = Ok("alice".to_owned());
    assert_eq!(with_token(CIPHER, |hook| hook.keys(keys(&[None]))).await, ok);
    assert_eq!(with_token(CIPHER, |hook| hook.keys(keys(&[None])).encrypt_only(true)).await, ok);
    assert_eq!(with_token(CIPHER, |hook| hook.keys(keys(&[Some("mailutils"), None]))).await, ok);
    let refused = |reason: &str| Err(format!("ident: {reason}"));
    let no_key = refused("no key fits the encrypted user name");
    assert_eq!(with_token(CIPHER, |hook| hook.keys(keys(&[Some("mailutils")]))).await, no_key);
    let mut flipped = STANDARD.decode(CIPHER).unwrap();
    flipped[17] ^= 0x40;
    assert_eq!(with_token(&STANDARD.encode(flipped), |hook| hook.keys(keys(&[None]))).await, no_key);
    let no_keys = refused("the user name is encrypted, and there are no keys");
    assert_eq!(with_token(CIPHER, |hook| hook).await, no_keys);
    let no_token = refused("the token is not 24 bytes in base64");
    assert_eq!(with_token(&CIPHER[..28], |hook| hook.keys(keys(&[None]))).await, no_token);
    let nobody = refused("no user has the number 1000");
    assert_eq!(with_token(CIPHER, |hook| hook.keys(keys(&[None])).users(|_| Ok(None))).await, nobody);
}

#[tokio::test]
async fn a_token_of_another_connection() {
    let reply = |ports: &str| format!("{ports} : USERID : OTHER :[{CIPHER}]\r\n").into_bytes();
    let identd = Identd::new("127.0.0.1", reply).await;
    let hook = identd.hook().keys(keys(&[None])).users(|_| Ok(Some("alice".into())));
    assert_eq!(Served::new(hook, true).identified().await, TURNED_AWAY);
}

#[tokio::test]
async fn names_that_are_not_encrypted_may_be_refused() {
    let identd = Identd::plain("127.0.0.1").await;
    assert_eq!(Served::new(identd.hook().keys(keys(&[None])), true).identified().await, alice());
    let strict = identd.hook().keys(keys(&[None])).encrypt_only(true);
    assert_eq!(Served::new(strict.clone(), false).identified().await, NOBODY);
    assert_eq!(Served::new(strict, true).identified().await, TURNED_AWAY);
}

#[tokio::test]
async fn the_user_of_this_process_is_not_who_comes_over_the_network() {
    let hook = || Stdio::new().users(|_| Ok(Some("alice".into())));
    assert_eq!(Served::new(hook(), false).identified().await, NOBODY);
    assert_eq!(Served::new(hook(), true).identified().await, TURNED_AWAY);
    assert_eq!(Served::new(hook().over_network(true), true).identified().await, alice());
}

#[tokio::test]
async fn the_user_of_this_process_is_not_who_comes_by_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let world = World::new();
    let hook = Stdio::new().users(|_| Ok(Some("alice".into())));
    let listener = Listener::new("toy", world.make()).address(Address::unix(&path)).preauth(hook);
    let _server = Server::new().listener(listener).bind().unwrap().start().unwrap();
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"ping\n").await.unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(world.connections.lock().unwrap()[0].preauth, None);
}

#[tokio::test]
async fn a_slow_answer_holds_up_its_client_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = Ident::new().port(listener.local_addr().unwrap().port()).time_limit(AGES);
    let served = Served::new(hook, false);
    let mut slow = TcpStream::connect(served.address()).await.unwrap();
    slow.write_all(b"ping\n").await.unwrap();
    let (held, _) = listener.accept().await.unwrap();
    let fast = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
    });
    assert!(served.visit().await.1);
    fast.await.unwrap();
    drop(held);
    let mut reply = [0; 5];
    slow.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"ping\n");
}
