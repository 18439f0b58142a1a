//! The state machine of one session (RFC 1939, section 3): input becomes jobs, outcomes become output.
//!
//! It is pure and synchronous, and has no idea where mail is kept. The texts of all responses stand in
//! [`texts`](crate::texts).

mod capabilities;
mod commands;
mod flow;
pub(crate) mod job;
pub(crate) mod maildrop;
mod timing;
mod watch;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::{BufMut as _, Bytes};
use pillarbox_proto_core::auth::{Secret, framing};
use pillarbox_proto_core::backend::Questions;
use pillarbox_proto_core::connection::TlsInfo;
use pillarbox_proto_core::conversation::{Layer, Next as Ask};
use pillarbox_proto_core::observe::CommandOutcome;
use pillarbox_proto_core::{Connection, Env, Output};

use self::capabilities::Offer;
use self::flow::Flow;
use self::job::{Form, Job, Outcome, Reply};
use self::maildrop::Maildrop;
use self::timing::Timing;
use self::watch::Watch;
use crate::config::{Config, Internationalized};
use crate::texts::{Phrase, Text};
use crate::wire::command;
use crate::wire::line::{Lines, Next};
use crate::wire::reply::{self, Code, Refusal, Tongue};
use crate::wire::stuff::Stuffer;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    config: Arc<Config>,
    questions: Questions,
    connection: Arc<Connection>,
    env: Arc<dyn Env>,
    pub(crate) lines: Lines,
    pub(crate) output: Output,
    pub(crate) flow: Flow,
    state: State,
    timing: Timing,
    watch: Watch,
    /// What stands in the greeting for APOP.
    timestamp: Option<String>,
    /// The user that PASS is awaited for.
    user: Option<Vec<u8>>,
    /// UTF8 has been given.
    utf8: bool,
    /// The language that LANG has selected, by its number.
    language: Option<usize>,
    listing: Option<Listing>,
    stuffer: Option<Stuffer>,
    /// What is still to be stuffed of the piece that was handed over last.
    unstuffed: Bytes,
    greeted: bool,
    /// A line has been taken since [`observe`](Session::observe).
    commanded: bool,
    /// No line has been read yet.
    first_line: bool,
    bad_commands: u32,
    failed_logins: u32,
    eof: bool,
    /// The server wants an end, and says this.
    ending: Option<Arc<str>>,
    /// What the owner of the socket is asked for.
    ask: Option<Ask>,
}

#[derive(Debug)]
enum State {
    Authorization,
    Transaction(Box<Maildrop>),
    /// After QUIT.
    Update,
}

/// A LIST or UIDL of all messages, on its way out.
#[derive(Clone, Copy, Debug)]
struct Listing {
    kind: ListingKind,
    /// The number to go on with.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
enum ListingKind {
    Sizes,
    UniqueIds,
}

/// What came of trying to go on.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing can be done without input, or without room for output.
    Idle,
    /// Something was done; there may be more.
    Worked,
    /// The backend is needed.
    Job(Job),
}

impl Session {
    pub(crate) fn new(
        config: Arc<Config>,
        questions: Questions,
        connection: Connection,
        env: Arc<dyn Env>,
        now: Instant,
    ) -> Self {
        let timing = Timing::new(config.timeouts, now);
        Self {
            config,
            questions,
            connection: Arc::new(connection),
            env,
            lines: Lines::default(),
            output: Output::new(),
            flow: Flow::default(),
            state: State::Authorization,
            timing,
            watch: Watch::new(now),
            timestamp: None,
            user: None,
            utf8: false,
            language: None,
            listing: None,
            stuffer: None,
            unstuffed: Bytes::new(),
            greeted: false,
            commanded: false,
            first_line: true,
            bad_commands: 0,
            failed_logins: 0,
            eof: false,
            ending: None,
            ask: None,
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// What the owner of the socket is asked for.
    pub(crate) fn ask(&self) -> Option<Ask> {
        self.ask
    }

    pub(crate) fn abort(&mut self) {
        self.ask = Some(Ask::Abort);
    }

    /// Whether more output should wait until some has been taken.
    pub(crate) fn is_full(&self) -> bool {
        self.is_stuffing() || self.output_is_full()
    }

    fn output_is_full(&self) -> bool {
        self.output.len() >= self.flow.high_water(&self.config.limits)
    }

    /// Whether a piece has been taken that is not all in the output yet.
    pub(crate) fn is_stuffing(&self) -> bool {
        !self.unstuffed.is_empty()
    }

    /// Goes on with that piece, if there is room in the output; says whether there was.
    pub(crate) fn stuff(&mut self) -> bool {
        if self.output_is_full() {
            return false;
        }
        match &mut self.stuffer {
            Some(stuffer) => stuffer.write(&mut self.unstuffed, &mut self.output),
            None => self.unstuffed = Bytes::new(),
        }
        true
    }

    pub(crate) fn wants_input(&self) -> bool {
        let limits = &self.config.limits;
        let room = limits.input_high_water.max(limits.line.max(limits.sasl_line).saturating_add(2));
        self.ask.is_none() && !self.eof && !self.is_full() && self.lines.buffer.len() < room
    }

    pub(crate) fn input_ended(&mut self) {
        self.eof = true;
    }

    /// The server wants an end after what runs now.
    pub(crate) fn end_soon(&mut self, text: Arc<str>) {
        self.ending.get_or_insert(text);
    }

    /// The server wants an end now; what ran is dropped. In the middle of a multi-line response there is no way to say
    /// why, as the client would take it for mail; nor is there where a handshake is due.
    pub(crate) fn end_now(&mut self, text: &str) {
        if matches!(self.ask, Some(Ask::Close | Ask::Abort)) {
            return;
        }
        if self.ask.is_some() || self.stuffer.is_some() || self.listing.is_some() {
            self.ask = Some(Ask::Abort);
        } else {
            self.refuse(&Refusal::with(Code::SysTemp, Phrase::from(Text::Plain).word(text.to_owned())));
            self.close();
        }
    }

    /// TLS stands. Nothing that came in before it counts (RFC 2595, section 4).
    pub(crate) fn secured(&mut self, tls: Arc<TlsInfo>, now: Instant) {
        Arc::make_mut(&mut self.connection).tls = Some(tls);
        self.lines.clear();
        self.user = None;
        self.language = None;
        self.utf8 = false;
        if self.ask == Some(Ask::Upgrade(Layer::Tls)) {
            self.ask = None;
        }
        self.timing.active(now);
    }

    /// Goes one step on while no job runs.
    pub(crate) fn advance(&mut self) -> Progress {
        if self.is_full() || self.ask.is_some() {
            return Progress::Idle;
        }
        if self.listing.is_some() {
            self.continue_listing();
            return Progress::Worked;
        }
        if let Some(text) = self.ending.take() {
            self.end_with(&text);
            return Progress::Worked;
        }
        if !self.greeted {
            self.greet();
            return Progress::Worked;
        }
        if self.first_line && self.lines.buffer.first().is_some_and(|byte| !is_text(*byte)) {
            return self.not_pop3();
        }
        let (line, sasl_line) = (self.config.limits.line, self.config.limits.sasl_line);
        match self.lines.next(|start| if command::is_auth(start) { sasl_line } else { line }) {
            Next::Nothing if self.eof => {
                // Input that is no whole command is none (RFC 1939, section 3: without QUIT nothing is removed).
                self.close();
                Progress::Worked
            }
            Next::Nothing => Progress::Idle,
            Next::TooLong => {
                self.commanded = true;
                self.first_line = false;
                self.command_began("UNKNOWN");
                self.bad(Text::TooLong);
                self.command_ended();
                Progress::Worked
            }
            Next::Line(length) => {
                self.commanded = true;
                let line = self.lines.line(length);
                if std::mem::take(&mut self.first_line) && is_other_protocol(line) {
                    return self.not_pop3();
                }
                let parsed = command::parse(line);
                self.lines.consume(length);
                self.command_began(parsed.name());
                match self.execute(parsed) {
                    Some(job) => Progress::Job(job),
                    None => {
                        if self.listing.is_none() {
                            self.command_ended();
                        }
                        Progress::Worked
                    }
                }
            }
        }
    }

    /// The next line of a SASL exchange, or why there will be none.
    pub(crate) fn sasl_line(&mut self) -> Option<SaslLine> {
        if self.ending.is_some() || self.ask.is_some() {
            return Some(SaslLine::Cancelled);
        }
        let limit = self.config.limits.sasl_line;
        match self.lines.next(|_| limit) {
            Next::Nothing if self.eof => Some(SaslLine::Cancelled),
            Next::Nothing => None,
            Next::TooLong => Some(SaslLine::TooLong),
            Next::Line(length) => {
                self.commanded = true;
                let line = self.lines.line(length);
                let line =
                    if line == framing::CANCEL { SaslLine::Cancelled } else { SaslLine::Line(Secret::new(line)) };
                self.lines.consume(length);
                Some(line)
            }
        }
    }

    /// Takes a word from the running job.
    pub(crate) fn reply(&mut self, reply: Reply) {
        match reply {
            Reply::Challenge(challenge) => {
                let out = self.output.tail_mut();
                out.put_slice(b"+ ");
                out.put_slice(framing::encode(&challenge).as_bytes());
                out.put_slice(b"\r\n");
            }
            Reply::Message { octets, piece } => self.begin_message(octets, piece),
            Reply::Piece(piece) => self.take_piece(piece),
        }
    }

    fn begin_message(&mut self, octets: Option<u64>, piece: Bytes) {
        match octets {
            Some(octets) => self.ok(Phrase::from(Text::Octets).number(octets)),
            None => self.ok(Text::Top),
        }
        self.stuffer = Some(Stuffer::new());
        self.take_piece(piece);
    }

    /// Takes a piece of a message when it has done with the one before.
    fn take_piece(&mut self, mut piece: Bytes) {
        if let Some(stuffer) = &mut self.stuffer {
            stuffer.write(&mut piece, &mut self.output);
            self.unstuffed = piece;
        }
    }

    /// The job has ended.
    pub(crate) fn complete(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::LoggedIn(maildrop) => {
                let (messages, octets) = maildrop.stat();
                self.state = State::Transaction(maildrop);
                self.tell_state("TRANSACTION");
                self.timing.logged_in(now);
                self.bad_commands = 0;
                self.ok(Phrase::from(Text::Maildrop).number(messages).number(octets));
            }
            Outcome::LoginRefused { refusal, attempt } => {
                self.refuse(&refusal);
                self.failed_logins += u32::from(attempt);
                if self.failed_logins >= self.config.limits.failed_logins {
                    self.close();
                }
            }
            Outcome::Capabilities(policies) => {
                let login = matches!(self.state, State::Authorization);
                self.ok(Text::CapabilityList);
                self.offer().write(&self.config, &policies, login, &mut self.output);
            }
            Outcome::Shown { uid, whole } => {
                if let Some(mut stuffer) = self.stuffer.take() {
                    // Of a small message only: a large one is not over before all of it has been taken.
                    while !self.unstuffed.is_empty() {
                        stuffer.write(&mut self.unstuffed, &mut self.output);
                    }
                    stuffer.end(&mut self.output);
                }
                if let State::Transaction(maildrop) = &mut self.state {
                    maildrop.retrieved(uid, whole);
                }
            }
            Outcome::NotShown(refusal) => self.refuse(&refusal),
            Outcome::Broken => self.ask = Some(Ask::Abort),
            Outcome::Finished => {
                self.ok(Text::Bye);
                self.close();
            }
            Outcome::NotFinished(refusal) => {
                self.refuse(&Refusal { text: Text::NotRemoved.into(), ..refusal });
                self.close();
            }
        }
        self.set_now(now);
        self.command_ended();
        // The time that the backend took was not the client's.
        self.timing.active(now);
    }

    /// Says that the service is not there for now, and ends the session. Deletions are not carried out.
    fn end_with(&mut self, text: &str) {
        let phrase = match text {
            "" => Text::Closed.into(),
            text => Phrase::from(Text::Plain).word(text.to_owned()),
        };
        self.refuse(&Refusal::with(Code::SysTemp, phrase));
        self.close();
    }

    /// Ends the session in an orderly way, unless it is past that.
    fn close(&mut self) {
        if self.ask != Some(Ask::Abort) {
            self.ask = Some(Ask::Close);
        }
    }

    fn offer(&self) -> Offer {
        let mut offer = Offer::new(&self.config, &self.questions, &self.connection);
        // STLS must not follow UTF8 (RFC 6856, section 2.1).
        offer.stls &= !self.utf8;
        offer
    }

    fn greet(&mut self) {
        self.greeted = true;
        if let Some(text) = self.connection.closed.clone() {
            return self.end_with(&text);
        }
        self.tell_state("AUTHORIZATION");
        if !self.questions.shared_secret {
            let greeting = self.config.greeting.clone();
            return self.ok(Phrase::from(Text::Plain).word(greeting));
        }
        let mut random = [0; 8];
        self.env.random(&mut random);
        let epoch = unix_time(&*self.env);
        // Just as the client reads it: in characters that reach it as they are, on one line with the greeting, and the
        // only thing in angle brackets there.
        let host: String = self.config.host_name.chars().filter(|char| is_host(*char)).take(255).collect();
        let timestamp = format!("<{:016x}.{epoch}@{host}>", u64::from_be_bytes(random));
        let greeting: String =
            self.config.greeting.chars().filter(|char| !matches!(char, '<' | '>')).take(MAX_GREETING).collect();
        self.ok(Phrase::from(Text::Plain).word(format!("{greeting} {timestamp}")));
        self.timestamp = Some(timestamp);
    }

    fn not_pop3(&mut self) -> Progress {
        self.refuse(&Refusal::new(Text::NotPop3));
        self.close();
        Progress::Worked
    }

    fn ok(&mut self, text: impl Into<Phrase>) {
        reply::ok(&mut self.output, tongue(&self.config, self.language, self.utf8), &text.into());
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.command_refused(CommandOutcome::No);
        reply::err(&mut self.output, tongue(&self.config, self.language, self.utf8), refusal);
    }

    /// What this client gets of an internationalized message.
    fn form(&self) -> Form {
        match self.config.internationalized {
            _ if self.utf8 => Form::Native,
            Internationalized::Downgrade => Form::Surrogate,
            Internationalized::Refuse => Form::Refused,
        }
    }

    /// Refuses what no well-behaved client sends; too many in a row end the session.
    fn bad(&mut self, text: impl Into<Phrase>) {
        self.refuse(&Refusal::new(text));
        self.command_refused(CommandOutcome::Bad);
        self.bad_commands += 1;
        if self.bad_commands >= self.config.limits.bad_commands {
            self.close();
        }
    }
}

/// How texts are put for a client that has selected this language, and given UTF8 or not.
fn tongue(config: &Config, language: Option<usize>, utf8: bool) -> Tongue<'_> {
    let language = language.and_then(|number| config.languages.get(number));
    Tongue { language, utf8: utf8 || language.is_some() }
}

/// The time of day in seconds since 1970.
pub(crate) fn unix_time(env: &dyn Env) -> i64 {
    let since = env.wall_time().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A line of a SASL exchange.
#[derive(Debug)]
pub(crate) enum SaslLine {
    /// A response, still in Base64.
    Line(Secret),
    /// `*`, or the end of the input.
    Cancelled,
    /// It was too long, and has been dropped.
    TooLong,
}

/// Characters of the greeting that are shown at most before the time stamp.
const MAX_GREETING: usize = 160;

/// Whether this may stand in a host's name or address.
const fn is_host(char: char) -> bool {
    matches!(char, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' | ':' | '[' | ']')
}

/// Whether a line may begin with this octet.
const fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')
}

/// A first line that belongs to HTTP or SMTP: a browser, or a script in one, is being made to talk to us.
fn is_other_protocol(line: &[u8]) -> bool {
    const WORDS: [&[u8]; 12] = [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI", b"EHLO",
        b"HELO",
    ];
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    WORDS.iter().any(|other| word.eq_ignore_ascii_case(other))
}
