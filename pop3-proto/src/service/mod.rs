//! Binds a session to a backend, and drives both as one [`Conversation`].

mod login;
mod policy;
mod port;
mod report;
mod retrieve;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;
use pillarbox_proto_core::backend::{Account, Backend, FinishRequest};
use pillarbox_proto_core::conversation::{Control, Conversation, Next, Upgraded};
use pillarbox_proto_core::{Connection, Env, Output};

use self::login::OpenMaildrop;
use self::port::Port;
use self::report::report;
use self::retrieve::Ahead;
use crate::config::Config;
use crate::session::job::{Job, Outcome, Retrieve};
use crate::session::{Progress, Session};
use crate::wire::reply::Refusal;

/// Steps that one call of `poll_next` does at most, so that one connection with a long pipeline does not keep the
/// others waiting.
const STEPS: usize = 128;

/// A POP3 server without its sockets: what all its connections share.
#[derive(Clone)]
pub struct Pop3Service {
    backend: Arc<dyn Backend>,
    config: Arc<Config>,
    env: Arc<dyn Env>,
}

impl Pop3Service {
    /// Serves this backend's mail.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, config: Config, env: Arc<dyn Env>) -> Self {
        Self { backend, config: Arc::new(config), env }
    }

    /// A client has connected. In [`TlsMode::Connection`](pillarbox_proto_core::connection::TlsMode::Connection) the
    /// handshake is done already, and the connection says so.
    ///
    /// Where the service is closed ([`Connection::closed`]), `-ERR [SYS/TEMP]` takes the place of the greeting, and the
    /// connection ends. POP3 has no way to greet a client as known, nor to say what was not asked for:
    /// [`Connection::preauth`] and [`Connection::notice`] are without effect.
    #[must_use]
    pub fn connect(&self, connection: Connection, now: Instant) -> Pop3Conversation {
        let questions = self.backend.questions();
        let session = Session::new(Arc::clone(&self.config), questions, connection, Arc::clone(&self.env), now);
        Pop3Conversation {
            service: self.clone(),
            session,
            running: None,
            open: None,
            ahead: Ahead::new(),
            inlines: true,
            gone: false,
        }
    }
}

impl fmt::Debug for Pop3Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop3Service").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One client's connection: a [`Conversation`] in POP3.
pub struct Pop3Conversation {
    service: Pop3Service,
    session: Session,
    running: Option<Running>,
    open: Option<OpenMaildrop>,
    ahead: Ahead,
    /// The backend gives small messages with their rows, as far as is known.
    inlines: bool,
    gone: bool,
}

impl fmt::Debug for Pop3Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop3Conversation").field("connection", self.session.connection()).finish_non_exhaustive()
    }
}

/// Work under way.
struct Running {
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
    port: Port,
    /// It changes the store, and is polled to its end whatever becomes of the client.
    change: bool,
}

/// What work leaves behind.
struct Done {
    outcome: Outcome,
    /// The maildrop that was opened.
    open: Option<OpenMaildrop>,
    /// Messages for the commands that come next.
    ahead: Ahead,
    /// Whether small messages come with their rows.
    inlines: bool,
}

impl Done {
    fn new(outcome: Outcome) -> Self {
        Self { outcome, open: None, ahead: Ahead::new(), inlines: true }
    }
}

/// What came of polling the work.
enum Step {
    Forward,
    Waits,
}

impl Pop3Conversation {
    fn work(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Next> {
        for _ in 0..STEPS {
            let changing = self.running.as_ref().is_some_and(|running| running.change);
            if !changing {
                if self.gone {
                    self.session.abort();
                }
                if let Some(ask) = self.session.ask() {
                    self.running = None;
                    if matches!(ask, Next::Close | Next::Abort) {
                        // The next session of this user need not wait until the socket is closed.
                        self.open = None;
                        self.ahead.clear();
                    }
                    return Poll::Ready(ask);
                }
            }
            if self.session.is_stuffing() {
                if !self.session.stuff() {
                    return Poll::Pending;
                }
                continue;
            }
            if self.running.is_some() {
                match self.run(cx, now) {
                    Step::Forward => continue,
                    Step::Waits => return Poll::Pending,
                }
            }
            match self.session.advance() {
                Progress::Worked => {}
                Progress::Job(job) => self.start(job, now),
                Progress::Idle => {
                    // The pipeline is empty: whatever is left was fetched for commands that came to nothing.
                    if !self.session.is_full() {
                        self.ahead = Ahead::new();
                    }
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn run(&mut self, cx: &mut Context<'_>, now: Instant) -> Step {
        let Some(running) = &mut self.running else { return Step::Forward };
        running.port.set_flows(self.session.output.is_empty());
        let polled = running.future.as_mut().poll(cx);
        // What the work said last is taken even when the output is full: it is over, and can't wait.
        let yielded = running.port.take_yield();
        let mut moved = false;
        if (polled.is_ready() || !self.session.is_full())
            && let Some(reply) = running.port.take_reply()
        {
            self.session.reply(reply);
            moved = true;
        }
        match polled {
            Poll::Ready(done) => {
                self.running = None;
                self.open = done.open.or(self.open.take());
                self.ahead = done.ahead;
                self.inlines &= done.inlines;
                self.session.complete(done.outcome, now);
                Step::Forward
            }
            Poll::Pending => {
                if running.port.is_hungry()
                    && let Some(line) = self.session.sasl_line()
                {
                    running.port.feed(line);
                    moved = true;
                }
                if yielded {
                    cx.waker().wake_by_ref();
                    return Step::Waits;
                }
                if moved { Step::Forward } else { Step::Waits }
            }
        }
    }

    fn start(&mut self, job: Job, now: Instant) {
        if let Job::Retrieve(request) = &job
            && self.show_ahead(request, now)
        {
            return;
        }
        let port = Port::default();
        let change = matches!(job, Job::Finish(_));
        let future: Pin<Box<dyn Future<Output = Done> + Send>> = match job {
            Job::Login(credentials) => {
                let context = login::Context {
                    port: port.clone(),
                    backend: Arc::clone(&self.service.backend),
                    connection: Arc::clone(self.session.connection()),
                    env: Arc::clone(&self.service.env),
                    config: Arc::clone(&self.service.config),
                };
                Box::pin(login::login(context, credentials))
            }
            Job::Capabilities => Box::pin(capabilities(
                Arc::clone(&self.service.backend),
                Arc::clone(self.session.connection()),
                self.open.as_ref().map(|open| Arc::clone(&open.account)),
            )),
            Job::Retrieve(request) => match self.retrieve(request, &port) {
                Some(future) => future,
                None => return self.session.complete(Outcome::Broken, now),
            },
            Job::Finish(request) => {
                self.ahead.clear();
                let Some(open) = self.open.take() else { return self.session.complete(Outcome::Finished, now) };
                Box::pin(finish(open, *request, Arc::clone(&self.service.env)))
            }
        };
        self.running = Some(Running { future, port, change });
    }

    /// Shows a message that was fetched before it was asked for, if it can go out as it is.
    fn show_ahead(&mut self, request: &Retrieve, now: Instant) -> bool {
        let Some(at) = self.fetched(request) else { return false };
        let Some(reply) = self.ahead.get(at).and_then(|(_, content)| retrieve::whole(content, request)) else {
            return false;
        };
        self.ahead.remove(at);
        self.session.reply(reply);
        self.session.complete(Outcome::Shown { uid: request.uid, whole: request.top.is_none() }, now);
        true
    }

    /// Where the message stands among those that were fetched before they were asked for.
    fn fetched(&self, request: &Retrieve) -> Option<usize> {
        self.ahead.iter().position(|(uid, _)| *uid == request.uid)
    }

    /// The work of showing a message, unless there is no maildrop.
    fn retrieve(&mut self, mut request: Retrieve, port: &Port) -> Option<Pin<Box<dyn Future<Output = Done> + Send>>> {
        if let Some((_, content)) = self.fetched(&request).and_then(|at| self.ahead.remove(at)) {
            let (port, ahead) = (port.clone(), std::mem::take(&mut self.ahead));
            return Some(Box::pin(async move { Done { ahead, ..retrieve::at_hand(port, content, request).await } }));
        }
        self.ahead.clear();
        if self.inlines {
            self.session.look_ahead(&mut request);
        }
        let mailbox = Arc::clone(&self.open.as_ref()?.mailbox);
        let mut limits = self.service.config.limits;
        limits.read_ahead_bytes = self.session.flow.read_ahead_bytes(&limits);
        limits.read_ahead = self.session.flow.read_ahead(&limits);
        Some(Box::pin(retrieve::retrieve(port.clone(), mailbox, request, limits, self.inlines)))
    }
}

/// What CAPA has to tell of the backend: of this account after the login, of all before.
async fn capabilities(
    backend: Arc<dyn Backend>,
    connection: Arc<Connection>,
    account: Option<Arc<dyn Account>>,
) -> Done {
    let policies = match account {
        Some(account) => policy::of_account(&*account).await,
        None => backend.policies(&connection).await,
    };
    Done::new(Outcome::Capabilities(policies))
}

/// Ends the session in the backend. The maildrop is free again before the client is told.
async fn finish(open: OpenMaildrop, request: FinishRequest, env: Arc<dyn Env>) -> Done {
    let finished = open.finish(request).await;
    policy::refresh(&*open.account, &*env).await;
    drop(open);
    Done::new(match finished {
        // Messages that were gone before are no failure: gone is what the client wanted.
        Ok(_) => Outcome::Finished,
        Err(error) => {
            report("removing messages at QUIT", &error);
            Outcome::NotFinished(Refusal::from(&error))
        }
    })
}

impl Conversation for Pop3Conversation {
    fn read_buf(&mut self) -> Option<&mut BytesMut> {
        if self.gone || !self.session.wants_input() { None } else { Some(&mut self.session.lines.buffer) }
    }

    fn handle_read(&mut self, _now: Instant) {
        // Octets are no command yet: `poll_next` looks at them.
    }

    fn handle_eof(&mut self, _now: Instant) {
        self.session.input_ended();
    }

    fn handle_gone(&mut self) {
        self.gone = true;
        self.session.output = Output::new();
    }

    fn handle_control(&mut self, control: Control, _now: Instant) {
        match control {
            Control::Shutdown { text } | Control::Unavailable { text } => self.session.end_soon(text),
            // Nothing that reads is worth waiting for, but a change is carried to its end, and answered.
            Control::Kick { text } if self.running.as_ref().is_some_and(|running| running.change) => {
                self.session.end_soon(text);
            }
            Control::Kick { text } => {
                self.running = None;
                self.session.end_now(&text);
            }
            // POP3 has no way to say anything that was not asked for.
            _ => {}
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Next> {
        if !self.session.is_full() {
            self.session.flow.observe(self.session.output.is_empty());
        }
        self.session.set_now(now);
        self.session.progress(now);
        let next = self.work(cx, now);
        let waits_for_client = self.running.as_ref().is_none_or(|running| running.port.is_hungry());
        self.session.observe(!waits_for_client, now);
        next
    }

    fn output(&mut self) -> &mut Output {
        &mut self.session.output
    }

    fn deadline(&self) -> Option<Instant> {
        self.session.deadline()
    }

    fn handle_deadline(&mut self, now: Instant) {
        self.session.check_deadline(now);
    }

    fn awaits_rest(&self) -> bool {
        let listens = self.running.as_ref().is_none_or(|running| running.port.is_hungry());
        listens && self.session.lines.has_begun() && self.session.wants_input()
    }

    fn upgraded(&mut self, how: Upgraded, now: Instant) {
        if let Upgraded::Tls(tls) = how {
            self.session.secured(tls, now);
        }
    }
}
