//! The backend of `docs/backend.md` keeps the rules, is served, and is what the text shows.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests, and their helpers")]

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use async_trait::async_trait;
use pillarbox_docs::guide::Notes;
use pillarbox_imap_proto::ImapService;
use pillarbox_pop3_proto::Pop3Service;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{Account, Authenticator, Backend, Policies, Result};
use pillarbox_proto_core::conformance::{Subject, check_all};
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::{Connection, Conversation, ModSeqs};

fn notes() -> Notes {
    Notes::new(Secret::new(*b"sixteen octets or more"))
        .user("ada", &Secret::new("secret"), b"a salt of her own")
        .bulletin("Subject: no tea today\r\n\r\n")
        .bulletin("Subject: tea again\r\n\r\n")
}

#[test]
fn it_keeps_the_rules() {
    let fresh = || async { Subject::new(Arc::new(notes()), Connection::default(), Identity::new("ada")).bulletins(2) };
    let report = futures::executor::block_on(check_all(&fresh));
    println!("{report}");
    report.into_result().unwrap();
}

/// The same notes behind an adapter.
struct Watched {
    notes: Notes,
    mod_seqs: ModSeqs,
}

#[async_trait]
impl Authenticator for Watched {
    async fn check_password(&self, connection: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        self.notes.check_password(connection, user, password).await
    }
}

#[async_trait]
impl Backend for Watched {
    async fn open(&self, connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        Ok(self.mod_seqs.wrap(who.user(), self.notes.open(connection, who).await?))
    }

    async fn policies(&self, connection: &Connection) -> Policies {
        self.notes.policies(connection).await
    }
}

#[test]
fn it_keeps_the_rules_behind_an_adapter() {
    let fresh = || async {
        let watched = Watched { notes: notes(), mod_seqs: ModSeqs::new() };
        Subject::new(Arc::new(watched), Connection::default(), Identity::new("ada")).bulletins(2)
    };
    futures::executor::block_on(check_all(&fresh)).into_result().unwrap();
}

fn dialogue(mut client: impl Conversation, commands: &str) -> String {
    let now = Instant::now();
    let mut cx = Context::from_waker(Waker::noop());
    client.read_buf().unwrap().extend_from_slice(commands.as_bytes());
    client.handle_read(now);
    while client.poll_next(&mut cx, now).is_pending() && client.read_buf().is_none() {}
    String::from_utf8(client.output().take().to_vec()).unwrap()
}

fn secured() -> Connection {
    let mut connection = Connection::new(SessionId::new(1));
    connection.externally_secured = true;
    connection
}

#[test]
fn imap_and_pop3_serve_it() {
    let backend = Arc::new(notes());
    let imap = ImapService::new(Arc::clone(&backend) as _, Default::default(), Arc::new(SystemEnv));
    let said = dialogue(
        imap.connect(secured(), Instant::now()),
        "a LOGIN ada secret\r\n\
         b APPEND INBOX (\\Flagged) {33+}\r\nSubject: shopping\r\n\r\nMilk, bread\r\n\
         c CREATE Done\r\nd SELECT INBOX\r\ne UID STORE 1 +FLAGS (urgent)\r\nf SEARCH FLAGGED SUBJECT shop\r\n\
         g COPY 1 Done\r\nh FETCH 1 (FLAGS BODY.PEEK[TEXT])\r\ni STATUS Done (MESSAGES UNSEEN)\r\n",
    );
    for part in [
        "a OK",
        "b OK [APPENDUID",
        "d OK [READ-WRITE]",
        "* SEARCH 1\r\n",
        "g OK [COPYUID",
        "urgent",
        "Milk, bread",
        "MESSAGES 1 UNSEEN 1",
        "i OK",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    let pop3 = Pop3Service::new(backend, Default::default(), Arc::new(SystemEnv));
    let said = dialogue(
        pop3.connect(secured(), Instant::now()),
        "CAPA\r\nUSER ada\r\nPASS secret\r\nUIDL\r\nRETR 1\r\nQUIT\r\n",
    );
    for part in [
        "\r\nLOGIN-DELAY 60\r\nEXPIRE 30\r\n",
        "+OK Maildrop has 3 messages",
        "\r\n1 note-",
        "Milk, bread",
        "\r\n.\r\n+OK",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
}

/// Lines without their indentation, as the text shows pieces of the code from further left.
fn plain(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_text_shows_its_code() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let mut sources = vec![plain(&read(&docs.join("../examples/minimal/src/main.rs")))];
    for entry in std::fs::read_dir(docs.join("src/guide")).unwrap() {
        sources.push(plain(&read(&entry.unwrap().path())));
    }
    sources.push(plain(&read(&docs.join("tests/guide.rs"))));
    let text = read(&docs.join("backend.md"));
    let mut blocks = 0;
    for piece in text.split("\n```rust\n").skip(1) {
        let code = piece.split("\n```").next().unwrap();
        // An ellipsis stands for what is not shown.
        for part in plain(code).split("// ...\n") {
            let part = part.trim_end_matches("// ...");
            assert!(sources.iter().any(|source| source.contains(part)), "this is not in the code:\n{part}");
        }
        blocks += 1;
    }
    assert!(blocks >= 12, "only {blocks} pieces of code");
}
