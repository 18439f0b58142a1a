//! Logging in, and nothing else: a backend that counts its questions, and a line protocol.
//!
//! A line `user password` is answered by `welcome`, `no`, `full` or `down`; whoever is in gets each line back.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use bytes::BytesMut;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{
    Account, Authenticator, Backend, Error, ListEntry, ListRequest, OnRefusal, OpenRequest, Opened, Result,
};
use pillarbox_proto_core::conversation::{Control, Next, Upgraded};
use pillarbox_proto_core::{Connection, Conversation, Output};

/// Knows `ada`, `bob` and `eve`, whose passwords are `secret`.
#[derive(Default)]
pub struct Users {
    /// Questions that were asked.
    pub asked: AtomicU64,
    pub opened: Mutex<Vec<String>>,
}

pub struct Nothing;

#[async_trait]
impl Account for Nothing {
    async fn list(&self, _: &ListRequest) -> Result<Vec<ListEntry>> {
        Ok(Vec::new())
    }
    async fn open(&self, _: OpenRequest) -> Result<Opened> {
        Err(Error::NoSuchMailbox)
    }
}

#[async_trait]
impl Authenticator for Users {
    async fn check_password(&self, _: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if user == "down" {
            return Err(Error::Unavailable(None));
        }
        let known = matches!(user, "ada" | "bob" | "eve");
        if known & (password.expose() == b"secret") {
            Ok(Identity::new(user))
        } else {
            Err(Error::AuthenticationFailed)
        }
    }
}

#[async_trait]
impl Backend for Users {
    async fn open(&self, _: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        self.opened.lock().unwrap().push(who.user().to_owned());
        Ok(Arc::new(Nothing))
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Arc<dyn Account>, Option<Error>>> + Send>>;

pub struct Door {
    backend: Arc<dyn Backend>,
    connection: Arc<Connection>,
    input: BytesMut,
    output: Output,
    work: Option<Work>,
    account: Option<Arc<dyn Account>>,
    over: bool,
}

pub fn doors(backend: Arc<dyn Backend>) -> impl Fn(Connection) -> Box<dyn Conversation> + Send + Sync {
    move |connection| {
        Box::new(Door {
            backend: backend.clone(),
            connection: Arc::new(connection),
            input: BytesMut::new(),
            output: Output::new(),
            work: None,
            account: None,
            over: false,
        })
    }
}

/// `None` is a client that is to be dropped.
async fn enter(
    backend: Arc<dyn Backend>,
    connection: Arc<Connection>,
    line: String,
) -> Result<Arc<dyn Account>, Option<Error>> {
    let (user, password) = line.split_once(' ').unwrap_or((&line, ""));
    let error = match backend.check_password(&connection, user, &Secret::new(password)).await {
        Ok(who) => match backend.open(&connection, &who).await {
            Ok(account) => return Ok(account),
            Err(error) => error,
        },
        Err(error) => error,
    };
    if matches!(error, Error::AuthenticationFailed)
        && backend.login_refused(&connection, Some(user)).await == OnRefusal::Drop
    {
        return Err(None);
    }
    Err(Some(error))
}

impl Conversation for Door {
    fn read_buf(&mut self) -> Option<&mut BytesMut> {
        (self.work.is_none() && !self.over && self.output.len() < 10_000).then_some(&mut self.input)
    }
    fn handle_read(&mut self, _: Instant) {}
    fn handle_eof(&mut self, _: Instant) {
        self.over = true;
    }
    fn handle_gone(&mut self) {
        self.over = true;
        self.work = None;
    }
    fn handle_control(&mut self, control: Control, _: Instant) {
        if matches!(control, Control::Kick { .. }) {
            self.over = true;
            self.work = None;
        }
    }
    fn poll_next(&mut self, cx: &mut Context<'_>, _: Instant) -> Poll<Next> {
        loop {
            if let Some(work) = &mut self.work {
                let Poll::Ready(done) = work.as_mut().poll(cx) else { return Poll::Pending };
                self.work = None;
                match done {
                    Ok(account) => {
                        self.account = Some(account);
                        self.output.put(b"welcome\n");
                    }
                    Err(None) => return Poll::Ready(Next::Abort),
                    Err(Some(Error::Limit(_))) => self.output.put(b"full\n"),
                    Err(Some(Error::Unavailable(_))) => self.output.put(b"down\n"),
                    Err(Some(_)) => self.output.put(b"no\n"),
                }
            }
            let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
                return if self.over { Poll::Ready(Next::Close) } else { Poll::Pending };
            };
            let line = self.input.split_to(end + 1);
            if self.account.is_some() {
                self.output.put(&line);
            } else {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                self.work = Some(Box::pin(enter(self.backend.clone(), self.connection.clone(), line)));
            }
        }
    }
    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
    fn awaits_rest(&self) -> bool {
        self.work.is_none() && !self.input.is_empty()
    }
    fn upgraded(&mut self, _: Upgraded, _: Instant) {}
}
