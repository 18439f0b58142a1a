//! What each command does.

use std::fmt::Write as _;

use pillarbox_proto_core::auth::Mechanism;
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::conversation::{Layer, Next as Ask};

use super::job::{Credentials, Job, Retrieve};
use super::maildrop::{Entry, Missing};
use super::{Listing, ListingKind, Session, State, unix_time};
use crate::wire::command::{self, Command, Parsed, Verb};
use crate::wire::reply::{Code, Refusal};

const INVALID: &str = "Invalid command";
const INCORRECT_STATE: &str = "Incorrect state";
/// Messages of a listing that are looked at in one step.
const LISTED: usize = 1024;

impl Session {
    /// Executes a command, or says what is needed for it.
    pub(super) fn execute(&mut self, parsed: Parsed) -> Option<Job> {
        let awaits_password = self.user.is_some();
        let (verb, command) = match parsed {
            Parsed::Command(verb, command) => (verb, Some(command)),
            Parsed::BadArguments(verb) => (verb, None),
            Parsed::Unknown => {
                self.user = None;
                self.bad(INVALID);
                return None;
            }
        };
        // After USER comes PASS or QUIT (RFC 1939, section 7); CAPA is for any time (RFC 2449, section 5).
        if awaits_password && !matches!(verb, Verb::Pass | Verb::Quit | Verb::Capa) {
            self.user = None;
            self.bad(INVALID);
            return None;
        }
        let Some(command) = command else {
            match self.wrong_state(verb).filter(|_| verb.minds_state_first()) {
                Some(text) => self.bad(text),
                None => self.bad(format!("Invalid arguments: {}", verb.usage())),
            }
            return None;
        };
        if let Some(text) = self.wrong_state(verb) {
            self.bad(text);
            return None;
        }
        self.bad_commands = 0;
        match command {
            Command::Capa => Some(Job::Capabilities),
            Command::Stls => {
                self.ok("Begin TLS negotiation");
                // Whatever came with the command was not protected.
                self.lines.clear();
                self.ask = Some(Ask::Upgrade(Layer::Tls));
                None
            }
            Command::User(user) => {
                self.user = Some(user);
                self.ok("Send the password");
                None
            }
            Command::Pass(password) => {
                let user = self.user.take()?;
                Some(Job::Login(Credentials::Password { user, password }))
            }
            Command::Apop { user, digest } => {
                let timestamp = self.timestamp.clone()?;
                Some(Job::Login(Credentials::Apop { timestamp, user, digest }))
            }
            Command::Auth { mechanism, initial } => {
                let offered = self.offer().mechanisms;
                match Mechanism::parse(&mechanism).filter(|mechanism| offered.contains(mechanism)) {
                    Some(mechanism) => Some(Job::Login(Credentials::Sasl { mechanism, offered, initial })),
                    None => {
                        self.refuse(&Refusal::new("This mechanism is not offered here; CAPA lists those that are"));
                        None
                    }
                }
            }
            Command::Quit => self.quit(),
            other => self.transaction(other),
        }
    }

    /// Commands on the open maildrop.
    fn transaction(&mut self, command: Command) -> Option<Job> {
        let State::Transaction(maildrop) = &mut self.state else { return None };
        let done = match command {
            Command::Stat => {
                let (messages, octets) = maildrop.stat();
                Ok(format!("{messages} {octets}"))
            }
            Command::Noop => Ok(String::new()),
            Command::Rset => {
                maildrop.reset();
                let (messages, octets) = maildrop.stat();
                Ok(format!("Maildrop has {messages} messages ({octets} octets)"))
            }
            Command::Dele(_) if maildrop.read_only => Err(Refusal::with(Code::SysPerm, "The maildrop is read-only")),
            Command::Dele(number) => match maildrop.delete(number) {
                Ok(()) => Ok(format!("Message {number} marked")),
                Err(missing) => Err(missing.into()),
            },
            Command::List(None) => return self.list_all(ListingKind::Sizes),
            Command::Uidl(None) => return self.list_all(ListingKind::UniqueIds),
            Command::List(Some(number)) => {
                maildrop.get(number).map(|entry| format!("{number} {}", entry.size)).map_err(Into::into)
            }
            Command::Uidl(Some(number)) => {
                maildrop.get(number).map(|entry| format!("{number} {}", entry.unique_id)).map_err(Into::into)
            }
            Command::Retr(number) => return self.retrieve(number, None),
            Command::Top(number, lines) => return self.retrieve(number, Some(lines)),
            _ => return None,
        };
        match done {
            Ok(text) => self.ok(&text),
            Err(refusal) => self.refuse(&refusal),
        }
        None
    }

    fn retrieve(&mut self, number: u32, top: Option<u64>) -> Option<Job> {
        let State::Transaction(maildrop) = &self.state else { return None };
        match maildrop.get(number) {
            Ok(Entry { uid, size, .. }) => Some(Job::Retrieve(Retrieve { uid, size, top, ahead: Vec::new() })),
            Err(missing) => {
                self.refuse(&missing.into());
                None
            }
        }
    }

    /// Finds out which messages the pipeline asks for next, so that they can be fetched with this one.
    pub(crate) fn look_ahead(&mut self, retrieve: &mut Retrieve) {
        let State::Transaction(maildrop) = &self.state else { return };
        let limits = &self.config.limits;
        let (read_ahead, read_ahead_bytes) = (self.flow.read_ahead(limits), self.flow.read_ahead_bytes(limits));
        let fits = |size: u64| size <= limits.inline as u64;
        if !fits(retrieve.size) {
            self.flow.streams();
            return;
        }
        let mut bytes = retrieve.size;
        // Twice as many lines, as deletions may stand between them.
        for line in self.lines.peek().take(read_ahead.saturating_mul(2)) {
            let number = match command::parse(line) {
                Parsed::Command(_, Command::Retr(number) | Command::Top(number, _)) => number,
                Parsed::Command(_, Command::Dele(_)) => continue,
                _ => break,
            };
            let Ok(Entry { uid, size, .. }) = maildrop.get(number) else { break };
            bytes = bytes.saturating_add(size);
            let room = retrieve.ahead.len() + 1 < read_ahead;
            if !room || !fits(size) || bytes > read_ahead_bytes as u64 {
                break;
            }
            retrieve.ahead.push(uid);
        }
        if !retrieve.ahead.is_empty() {
            self.flow.fetches();
        }
    }

    fn quit(&mut self) -> Option<Job> {
        let now = unix_time(&*self.env);
        match std::mem::replace(&mut self.state, State::Update) {
            State::Transaction(maildrop) => Some(Job::Finish(Box::new(maildrop.finish(now)))),
            State::Authorization | State::Update => {
                self.ok("Bye");
                self.close();
                None
            }
        }
    }

    fn list_all(&mut self, kind: ListingKind) -> Option<Job> {
        let State::Transaction(maildrop) = &self.state else { return None };
        let (messages, octets) = maildrop.stat();
        self.ok(&format!("{messages} messages ({octets} octets)"));
        self.listing = Some(Listing { kind, next: 1 });
        None
    }

    /// Writes lines of a listing, until the output is full, all are written, or others should go first: a long run of
    /// deleted messages writes nothing.
    pub(super) fn continue_listing(&mut self) {
        let (Some(listing), State::Transaction(maildrop)) = (&mut self.listing, &self.state) else {
            self.listing = None;
            return;
        };
        let most = self.config.limits.output_high_water.max(1);
        for _ in 0..LISTED {
            if self.output.len() >= most {
                return;
            }
            let entry = match maildrop.get(listing.next) {
                Ok(entry) => entry,
                Err(Missing::Deleted) => {
                    listing.next = listing.next.saturating_add(1);
                    continue;
                }
                Err(Missing::Unknown) => {
                    self.output.put(b".\r\n");
                    self.listing = None;
                    return;
                }
            };
            let out = self.output.tail_mut();
            let _ = match listing.kind {
                ListingKind::Sizes => write!(out, "{} {}\r\n", entry.number, entry.size),
                ListingKind::UniqueIds => write!(out, "{} {}\r\n", entry.number, entry.unique_id),
            };
            listing.next = entry.number.saturating_add(1);
        }
    }

    /// Why a command can't be given now, if it can't.
    fn wrong_state(&self, verb: Verb) -> Option<&'static str> {
        let login = matches!(self.state, State::Authorization);
        match verb {
            Verb::Capa | Verb::Quit => None,
            Verb::Stls => match self.config.tls_mode {
                TlsMode::No => Some(INVALID),
                TlsMode::Connection => Some(INCORRECT_STATE),
                _ if !login => Some(INCORRECT_STATE),
                _ if self.connection.tls.is_some() => Some(INVALID),
                _ => None,
            },
            Verb::User | Verb::Pass | Verb::Apop | Verb::Auth if !login => Some("Incorrect state: logged in already"),
            Verb::User | Verb::Pass | Verb::Apop | Verb::Auth => self.login_barred(verb),
            _ if login => Some("Incorrect state: log in first"),
            _ => None,
        }
    }

    /// Why this way to log in is barred, if it is.
    fn login_barred(&self, verb: Verb) -> Option<&'static str> {
        let offer = self.offer();
        match verb {
            _ if offer.tls_first => Some("Incorrect state: use STLS first"),
            Verb::Pass if self.user.is_none() => Some("Invalid command: PASS comes right after USER"),
            Verb::User if !offer.user && offer.stls => {
                Some("Passwords are not taken over an unprotected connection: use STLS first")
            }
            Verb::User if !offer.user => Some("USER is not available here"),
            Verb::Apop if !offer.apop => Some("APOP is not available here"),
            Verb::Auth if offer.mechanisms.is_empty() => Some("AUTH is not available here"),
            _ => None,
        }
    }
}

impl From<Missing> for Refusal {
    fn from(missing: Missing) -> Self {
        Self::new(match missing {
            Missing::Unknown => "No such message",
            Missing::Deleted => "Message has been deleted",
        })
    }
}
