//! One IMAP connection without its socket.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::conversation::{Control, Conversation, Next, Upgraded};
use pillarbox_proto_core::{Connection, Env, Output};

use crate::config::Config;
use crate::service::completion::{Completion, Condition, OwnedCode};
use crate::service::login;
use crate::service::port::Input;
use crate::service::reply::Reply;
use crate::session::dispatch::{append_message, syntax};
use crate::session::{Mode, Session, Work};
use crate::wire::command::SaslLine;
use crate::wire::encode::{self, Code};
use crate::wire::framer::{Frame, FrameError, Rejected};

/// Steps of one [`poll_next`](Conversation::poll_next), after which others have their turn.
const STEPS: u32 = 128;

/// An IMAP session bound to a backend.
///
/// See [`Conversation`] for how to drive it; `pillarbox-server-core` does so over tokio.
pub struct ImapConversation {
    session: Session,
    work: Option<Work>,
    /// In place of what the command at work says: the client has broken its rules meanwhile.
    verdict: Option<Completion>,
    /// How the command at work ends, once its last response has been written.
    outcome: Option<Completion>,
    /// What the command at work is, where the session has to know at its end.
    kind: Kind,
    /// What waits in the input is not whole: more has to be read, however much there is. The framer bounds it.
    incomplete: bool,
    eof: bool,
    gone: bool,
    /// The server wants the session to end.
    leave: Option<Leave>,
    /// Texts for the user, to be shown when no reply has begun.
    alerts: Vec<Arc<str>>,
}

/// How the server wants the session to end.
struct Leave {
    text: Arc<str>,
    /// The service is closed for now, which is said with it.
    closed: bool,
    /// Not even a command that reads is waited for.
    now: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    Login,
    Preauth,
}

impl ImapConversation {
    /// A conversation with a client that has connected, as the connection says:
    ///
    /// * It begins with a greeting, and waits for a login.
    /// * Where [`Connection::preauth`] names the client, it begins logged in, with a PREAUTH greeting (RFC 9051, section
    ///   7.1.4). If that user has no account, or may not come in, the greeting is the usual one, so that the client
    ///   can log in as somebody else; if the store is down, it is BYE. With [`Connection::preauth_only`], either ends the
    ///   connection without a byte. A connection that has to be secured first
    ///   ([`TlsMode::Required`](pillarbox_proto_core::connection::TlsMode::Required)) has the usual greeting, too: after
    ///   PREAUTH there is no STARTTLS. Wherever else nothing protects the bytes, it is the operator who has chosen to
    ///   believe who the client is.
    /// * Where [`Connection::notice`] has a word for everybody, it follows the greeting: `* OK [ALERT]`. It is not said
    ///   again after STARTTLS.
    /// * Where the service is closed ([`Connection::closed`]), BYE takes the place of all that.
    ///
    /// `now` is the time by the clock that will drive it.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        env: Arc<dyn Env>,
        backend: Arc<dyn Backend>,
        connection: Connection,
        now: Instant,
    ) -> Self {
        let mut this = Self {
            session: Session::new(config, env, backend, Arc::new(connection), now),
            work: None,
            verdict: None,
            outcome: None,
            kind: Kind::Command,
            incomplete: false,
            eof: false,
            gone: false,
            leave: None,
            alerts: Vec::new(),
        };
        this.begin();
        this
    }

    /// As [`new`](Self::new), with a client that is known from elsewhere: [`Connection::preauth`] is set to this identity.
    #[must_use]
    pub fn preauth(
        config: Arc<Config>,
        env: Arc<dyn Env>,
        backend: Arc<dyn Backend>,
        mut connection: Connection,
        identity: Identity,
        now: Instant,
    ) -> Self {
        connection.preauth = Some(identity);
        Self::new(config, env, backend, connection, now)
    }

    /// The first word of the session, or the work that leads to it.
    fn begin(&mut self) {
        let session = &mut self.session;
        let connection = Arc::clone(&session.connection);
        if let Some(text) = &connection.closed {
            return session.bye_closed(text);
        }
        match &connection.preauth {
            Some(identity) if !session.needs_tls() => {
                let (port, backend) = (session.port.clone(), Arc::clone(&session.backend));
                let future = Box::pin(login::preauth(port, backend, Arc::clone(&connection), identity.clone()));
                self.kind = Kind::Preauth;
                session.login_began("PREAUTH");
                self.work = Some(Work { future, mode: Mode::Wait, changes: false });
            }
            _ if connection.preauth_only => session.end(Next::Close),
            _ => session.greet(Condition::Ok),
        }
    }

    /// Takes the next frame when no command is at work. Returns whether there was one.
    fn next_command(&mut self) -> bool {
        let session = &mut self.session;
        let work = match session.framer.next(&mut session.input) {
            Frame::Incomplete => {
                self.incomplete = true;
                if self.eof {
                    session.end(Next::Close);
                    return true;
                }
                return false;
            }
            Frame::Command(command) => {
                let work = session.begin(&command);
                self.kind = match &work {
                    Some(_) if !session.is_authenticated() => Kind::Login,
                    _ => Kind::Command,
                };
                work
            }
            Frame::Append(command, literal) => {
                self.kind = Kind::Command;
                session.begin_append(&command, literal)
            }
            Frame::Continue(_) => {
                encode::continuation(session.output.tail_mut(), "Ready for the literal");
                None
            }
            Frame::Rejected(rejected) => {
                session.command_began("UNKNOWN");
                session.set_tag(rejected.head.tag().map_or(b"*", |tag| tag.as_bytes()));
                session.complete(refusal(&rejected));
                None
            }
            Frame::Foreign(_) => {
                session.bye("This is an IMAP server");
                None
            }
            Frame::Fatal(error) => {
                session.bye(&error.to_string());
                None
            }
            // The end of a command that has been answered; the rest belongs to commands at work.
            _ => None,
        };
        self.work = work;
        true
    }

    /// Gives input to the command at work. Returns whether there was any for it.
    fn feed(&mut self) -> bool {
        let Some(work) = &mut self.work else { return false };
        let session = &mut self.session;
        match work.mode {
            Mode::Wait => false,
            Mode::Idle => match session.framer.next_line(&mut session.input) {
                Frame::Incomplete => {
                    self.incomplete = true;
                    if self.eof {
                        session.port.end_idle();
                        work.mode = Mode::Wait;
                        return true;
                    }
                    false
                }
                Frame::Line(line) if line.trim_ascii().eq_ignore_ascii_case(b"DONE") => {
                    session.port.end_idle();
                    work.mode = Mode::Wait;
                    true
                }
                frame => {
                    self.verdict = Some(stray(frame, "DONE was expected"));
                    session.port.end_idle();
                    work.mode = Mode::Wait;
                    true
                }
            },
            Mode::Sasl if session.port.is_hungry() => match session.framer.next_line(&mut session.input) {
                Frame::Incomplete => self.starve(),
                Frame::Line(line) => {
                    let input = match SaslLine::parse(line.trim_ascii_end()) {
                        SaslLine::Response(response) => match response.decode() {
                            Ok(response) => Input::Response(response),
                            Err(error) => {
                                self.verdict = Some(Completion::bad(error.to_string()));
                                Input::Bad
                            }
                        },
                        SaslLine::Cancel => {
                            self.verdict = Some(Completion::bad("Authentication cancelled"));
                            Input::Bad
                        }
                    };
                    session.port.feed(input);
                    true
                }
                frame => {
                    self.verdict = Some(stray(frame, "A SASL response was expected"));
                    session.port.feed(Input::Bad);
                    true
                }
            },
            Mode::Message { accepted: true, .. } if session.port.is_hungry() => {
                match session.framer.next(&mut session.input) {
                    Frame::Incomplete => self.starve(),
                    Frame::Chunk(chunk) if chunk.nul => {
                        self.verdict = Some(Completion::bad("The message holds NUL; such a message takes a literal8"));
                        session.framer.discard_command();
                        work.mode = Mode::Wait;
                        session.port.feed(Input::Bad);
                        true
                    }
                    Frame::Chunk(chunk) => {
                        if !chunk.data.is_empty() {
                            session.port.feed(Input::Chunk(chunk.data));
                        }
                        true
                    }
                    Frame::AppendNext(piece, literal) => {
                        match piece.parse_next_message(session.config.limits.parse) {
                            Ok(message) => {
                                let synchronizing = literal.synchronizing;
                                work.mode = Mode::Message { accepted: false, synchronizing };
                                session.port.feed(Input::Message(append_message(&message, literal)));
                            }
                            Err(error) => {
                                self.verdict = Some(syntax(&error));
                                session.framer.refuse_literal();
                                work.mode = Mode::Wait;
                                session.port.feed(Input::Bad);
                            }
                        }
                        true
                    }
                    Frame::AppendEnd => {
                        work.mode = Mode::Wait;
                        session.port.feed(Input::End);
                        true
                    }
                    frame => {
                        self.verdict = Some(stray(frame, "The end of the command or another message was expected"));
                        work.mode = Mode::Wait;
                        session.port.feed(Input::Bad);
                        true
                    }
                }
            }
            Mode::Sasl | Mode::Message { .. } => false,
        }
    }

    /// The command at work needs input and there is none. At the end of the stream there never will be.
    fn starve(&mut self) -> bool {
        self.incomplete = true;
        if !self.eof {
            return false;
        }
        self.drop_work();
        self.session.end(Next::Close);
        true
    }

    /// Ends the command at work.
    fn finish(&mut self, completion: Completion) {
        let Some(work) = self.work.take() else { return };
        let session = &mut self.session;
        session.port.reset();
        match work.mode {
            Mode::Message { accepted: false, .. } => session.framer.refuse_literal(),
            Mode::Message { accepted: true, .. } => session.framer.discard_command(),
            _ => {}
        }
        // A login that has failed has failed, however the client has ended the exchange.
        let completion = self.verdict.take().filter(|_| !completion.is_failed_login()).unwrap_or(completion);
        session.login_ended(&completion);
        match std::mem::replace(&mut self.kind, Kind::Command) {
            Kind::Preauth if completion.condition == Condition::Ok => session.tell_state(false),
            Kind::Preauth if session.connection.preauth_only => session.end(Next::Close),
            Kind::Preauth if completion.is_about_the_user() => session.greet(Condition::Ok),
            Kind::Preauth => {
                let code = completion.code.as_ref().map(OwnedCode::code);
                session.bye_with(code.as_ref(), &completion.text);
            }
            Kind::Login if session.is_authenticated() => {
                // Saves the client a round trip (RFC 9051, section 7.1: CAPABILITY).
                let code = OwnedCode::Capability(session.capabilities());
                session.complete(completion.with(code));
            }
            Kind::Login => {
                let failed = completion.is_failed_login();
                session.complete(completion);
                if failed {
                    session.login_failed();
                }
            }
            Kind::Command => session.complete(completion),
        }
    }

    /// Drops the command at work, with what it has not told yet.
    fn drop_work(&mut self) {
        self.work = None;
        self.outcome = None;
        self.session.port.reset();
        self.session.stop_writing();
    }

    /// Carries out what the server has asked for, once no command stands in the way.
    fn heed_server(&mut self) {
        if self.leave.as_ref().is_some_and(|leave| leave.now) {
            self.leave_now();
        }
        // A change is brought to its end first, and so is a reply that has begun. A login that waits for its client is
        // neither. After BYE nothing is said, nor between the answer to STARTTLS and TLS.
        // Nor is an account that is opened before anything has been said.
        let silent = self.kind == Kind::Preauth && !self.session.is_authenticated();
        let leaves = |work: &Work| match work.mode {
            Mode::Idle => true,
            Mode::Wait if silent => self.leave.is_some(),
            Mode::Sasl => self.leave.is_some() && self.session.port.is_hungry(),
            Mode::Wait | Mode::Message { .. } => false,
        };
        if self.session.ending().is_some() || self.session.is_mid_response() || !self.work.as_ref().is_none_or(leaves) {
            return;
        }
        for text in self.alerts.drain(..).filter(|_| !silent) {
            encode::untagged(self.session.output.tail_mut(), Condition::Ok, Some(&Code::Alert), &text);
        }
        if let Some(leave) = self.leave.take() {
            self.drop_work();
            if leave.closed { self.session.bye_closed(&leave.text) } else { self.session.bye(&leave.text) }
        }
    }

    /// Drops what only reads. Where a response stands begun there is no way to say why, as the client would take it for
    /// a part of that; nor is there where a handshake is due.
    fn leave_now(&mut self) {
        // Of a message that is still coming in nothing has been stored.
        let uploads = self.incomplete && self.session.port.is_hungry();
        match &self.work {
            Some(work) if work.changes && !uploads => {}
            Some(_) if self.session.is_mid_response() => {
                self.drop_work();
                self.session.end(Next::Abort);
            }
            Some(_) => self.drop_work(),
            None if matches!(self.session.ending(), Some(Next::Upgrade(_))) => self.session.end(Next::Abort),
            None => {}
        }
    }
}

/// The answer to a command that the framer refused.
fn refusal(rejected: &Rejected) -> Completion {
    match &rejected.error {
        FrameError::Syntax(error) => syntax(error),
        error @ FrameError::NonSynchronizingTooLarge => Completion::bad(error.to_string()),
        error => Completion::bad(error.to_string()).with(Code::Limit),
    }
}

/// The answer to input that has no place in the command at work.
fn stray(frame: Frame, expected: &'static str) -> Completion {
    match frame {
        Frame::Rejected(rejected) => refusal(&rejected),
        _ => Completion::bad(expected),
    }
}

impl Conversation for ImapConversation {
    fn read_buf(&mut self) -> Option<&mut BytesMut> {
        let session = &mut self.session;
        let limits = &session.config.limits;
        let full = session.output.len() >= limits.output_high_water
            || (session.input.len() >= limits.input_high_water && !self.incomplete);
        let wants = session.ending().is_none() && !self.eof && !self.gone && !full;
        wants.then_some(&mut session.input)
    }

    fn handle_read(&mut self, now: Instant) {
        self.incomplete = false;
        self.session.heard(now);
    }

    fn handle_eof(&mut self, _now: Instant) {
        self.eof = true;
    }

    fn handle_gone(&mut self) {
        self.gone = true;
        // A change goes on with what has come in, and ends where that ends; nothing else begins.
        self.eof = true;
        if self.work.as_ref().is_none_or(|work| !work.changes) {
            self.drop_work();
            self.session.input = BytesMut::new();
        }
        self.session.output = Output::new();
        self.session.end(Next::Close);
    }

    fn handle_control(&mut self, control: Control, _now: Instant) {
        match control {
            Control::Kick { text } => self.leave = Some(Leave { text, closed: false, now: true }),
            // They are no reason to stay longer than a kick allows.
            Control::Shutdown { text } => {
                self.leave.get_or_insert(Leave { text, closed: false, now: false });
            }
            Control::Unavailable { text } => {
                self.leave.get_or_insert(Leave { text, closed: true, now: false });
            }
            Control::Alert(text) => self.alerts.push(text),
            _ => {}
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Next> {
        self.session.set_now(now);
        for _ in 0..STEPS {
            if self.session.ending() == Some(Next::Abort) {
                return Poll::Ready(Next::Abort);
            }
            if self.gone {
                self.session.output = Output::new();
            }
            let waits = self.session.output.len();
            let full = waits >= self.session.config.limits.output_high_water;
            self.session.set_stalled(full.then_some(waits), now);
            self.heed_server();
            if self.work.is_none()
                && !self.session.is_writing()
                && let Some(next) = self.session.ending()
            {
                return Poll::Ready(next);
            }
            if full {
                return Poll::Pending;
            }
            if self.session.write_piece() {
                continue;
            }
            if let Some(completion) = self.outcome.take() {
                self.finish(completion);
                continue;
            }
            if self.work.is_none() {
                if !self.next_command() {
                    self.session.set_working(false, false, now);
                    return Poll::Pending;
                }
                if let Some(work) = &self.work {
                    let idles = work.mode == Mode::Idle;
                    self.session.set_working(true, idles, now);
                    if idles {
                        self.session.tell_state(true);
                    }
                }
                continue;
            }
            let was_hungry = self.session.port.is_hungry();
            self.session.port.set_flows(waits == 0);
            let fed = self.feed();
            let Some(work) = &mut self.work else { continue };
            let polled = work.future.as_mut().poll(cx);
            let reply = self.session.port.take_reply();
            let progress = fed || reply.is_some();
            if let Some(reply) = reply {
                self.reply(reply, now);
            }
            match polled {
                Poll::Ready(completion) if self.session.is_writing() => self.outcome = Some(completion),
                Poll::Ready(completion) => self.finish(completion),
                Poll::Pending if progress => {}
                Poll::Pending => {
                    let idling = self.work.as_ref().is_some_and(|work| work.mode == Mode::Idle);
                    let hungry = self.session.port.is_hungry();
                    // A command that waits for the client's input keeps nobody waiting but us.
                    self.session.set_working(!hungry, idling, now);
                    // It may have begun to wait for input in this very poll.
                    if was_hungry || !hungry {
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn output(&mut self) -> &mut Output {
        &mut self.session.output
    }

    fn deadline(&self) -> Option<Instant> {
        if self.session.ending().is_some() { None } else { self.session.deadline() }
    }

    fn handle_deadline(&mut self, now: Instant) {
        if self.session.ending().is_none() && self.session.deadline_came(now) {
            let at_work = self.work.as_ref().is_some_and(|work| work.mode != Mode::Idle);
            if self.session.is_stalled() && (at_work || self.session.is_mid_response()) {
                // A response may stand half written: no other octets may take the place of its rest.
                return match &self.work {
                    Some(work) if work.changes => self.handle_gone(),
                    _ => {
                        self.drop_work();
                        self.session.end(Next::Abort);
                    }
                };
            }
            self.drop_work();
            self.session.bye("Session timed out");
        }
    }

    fn awaits_rest(&self) -> bool {
        self.incomplete && (!self.session.input.is_empty() || self.session.framer.is_inside())
    }

    fn upgraded(&mut self, how: Upgraded, now: Instant) {
        if let Upgraded::Tls(info) = how {
            let mut connection = Connection::clone(&self.session.connection);
            connection.tls = Some(info);
            self.session.secured(connection);
            self.session.heard(now);
        }
    }
}

impl ImapConversation {
    fn reply(&mut self, reply: Reply, now: Instant) {
        let mode = self.work.as_ref().map(|work| work.mode);
        match (&reply, mode) {
            (Reply::Accept, Some(Mode::Message { synchronizing, .. })) => {
                if synchronizing {
                    encode::continuation(self.session.output.tail_mut(), "Ready for the message");
                }
                if let Some(work) = &mut self.work {
                    work.mode = Mode::Message { accepted: true, synchronizing };
                }
            }
            (_, Some(Mode::Idle)) => {
                self.session.spoke(now);
                self.session.respond(reply);
                // After BYE there is nothing to idle for.
                if self.session.ending().is_some() {
                    self.drop_work();
                }
            }
            _ => self.session.respond(reply),
        }
    }
}

impl fmt::Debug for ImapConversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapConversation").field("connection", &self.session.connection.id).finish_non_exhaustive()
    }
}
