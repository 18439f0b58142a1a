//! What each command does.

use std::fmt::Write as _;

use pillarbox_proto_core::auth::Mechanism;
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::conversation::{Layer, Next as Ask};
use pillarbox_proto_core::observe::LoginFailure;

use super::job::{Credentials, Job, Retrieve};
use super::maildrop::{Entry, Missing};
use super::{Listing, ListingKind, Session, State, unix_time};
use crate::texts::{Listed, Phrase, Range, Text};
use crate::wire::command::{self, Command, Parsed, Verb};
use crate::wire::reply::{self, Code, Refusal};

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
                self.bad(Text::InvalidCommand);
                return None;
            }
        };
        // After USER comes PASS or QUIT (RFC 1939, section 7); CAPA is for any time (RFC 2449, section 5).
        if awaits_password && !matches!(verb, Verb::Pass | Verb::Quit | Verb::Capa) {
            self.user = None;
            self.bad(Text::InvalidCommand);
            return None;
        }
        let Some(command) = command else {
            match self.wrong_state(verb).filter(|_| verb.minds_state_first()) {
                Some(text) => self.bad(text),
                None => self.bad(verb.usage()),
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
                self.ok(Text::BeginTls);
                // Whatever came with the command was not protected.
                self.lines.clear();
                self.ask = Some(Ask::Upgrade(Layer::Tls));
                None
            }
            Command::User(user) => {
                self.user = Some(user);
                self.ok(Text::SendPassword);
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
                        if let Some(observer) = &self.connection.observer {
                            observer.login_failed("OTHER", LoginFailure::Aborted);
                        }
                        self.refuse(&Refusal::new(Text::NoMechanism));
                        None
                    }
                }
            }
            Command::Utf8 => {
                self.utf8 = true;
                self.ok(Text::Utf8On);
                None
            }
            Command::Lang(range) => {
                self.lang(range);
                None
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
                reply::data(&mut self.output, format_args!("{messages} {octets}"));
                return None;
            }
            Command::Noop => {
                reply::done(&mut self.output);
                return None;
            }
            Command::Rset => {
                maildrop.reset();
                let (messages, octets) = maildrop.stat();
                Ok(Phrase::from(Text::Maildrop).number(messages).number(octets))
            }
            Command::Dele(_) if maildrop.read_only => Err(Refusal::with(Code::SysPerm, Text::ReadOnly)),
            Command::Dele(number) => match maildrop.delete(number) {
                Ok(()) => Ok(Phrase::from(Text::Marked).number(number.into())),
                Err(missing) => Err(missing.into()),
            },
            Command::List(None) => return self.list_all(ListingKind::Sizes),
            Command::Uidl(None) => return self.list_all(ListingKind::UniqueIds),
            Command::List(Some(number)) => match maildrop.get(number) {
                Ok(entry) => {
                    reply::data(&mut self.output, format_args!("{number} {}", entry.size));
                    return None;
                }
                Err(missing) => Err(missing.into()),
            },
            Command::Uidl(Some(number)) => match maildrop.get(number) {
                Ok(entry) => {
                    reply::data(&mut self.output, format_args!("{number} {}", entry.unique_id));
                    return None;
                }
                Err(missing) => Err(missing.into()),
            },
            Command::Retr(number) => return self.retrieve(number, None),
            Command::Top(number, lines) => return self.retrieve(number, Some(lines)),
            _ => return None,
        };
        match done {
            Ok(text) => self.ok(text),
            Err(refusal) => self.refuse(&refusal),
        }
        None
    }

    fn retrieve(&mut self, number: u32, top: Option<u64>) -> Option<Job> {
        let State::Transaction(maildrop) = &self.state else { return None };
        match maildrop.get(number) {
            Ok(Entry { uid, size, .. }) => {
                Some(Job::Retrieve(Retrieve { uid, size, top, form: self.form(), ahead: Vec::new() }))
            }
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
            // Each is fetched for one command: what would come after the second is better fetched with it.
            if uid == retrieve.uid || retrieve.ahead.contains(&uid) {
                break;
            }
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

    /// LANG lists languages, or selects one for all texts to come, its own first (RFC 6856, section 3).
    fn lang(&mut self, range: Option<Range>) {
        let Some(range) = range else {
            self.ok(Text::LanguageList);
            let out = self.output.tail_mut();
            for language in &self.config.languages {
                let _ = write!(out, "{}\r\n", Listed(language));
            }
            return self.output.put(b".\r\n");
        };
        let found = range.lookup(&self.config.languages);
        match found.and_then(|number| self.config.languages.get(number)) {
            Some(language) => {
                reply::ok_tagged(&mut self.output, language, &Text::LanguageChanged.into());
                self.language = found;
            }
            None => {
                let tag = range.as_str().to_owned();
                self.refuse(&Refusal::new(Phrase::from(Text::UnknownLanguage).word(tag)));
            }
        }
    }

    fn quit(&mut self) -> Option<Job> {
        let now = unix_time(&*self.env);
        self.tell_state("UPDATE");
        match std::mem::replace(&mut self.state, State::Update) {
            State::Transaction(maildrop) => Some(Job::Finish(Box::new(maildrop.finish(now)))),
            State::Authorization | State::Update => {
                self.ok(Text::Bye);
                self.close();
                None
            }
        }
    }

    fn list_all(&mut self, kind: ListingKind) -> Option<Job> {
        let State::Transaction(maildrop) = &self.state else { return None };
        let (messages, octets) = maildrop.stat();
        self.ok(Phrase::from(Text::Listing).number(messages).number(octets));
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
                    return self.command_ended();
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
    fn wrong_state(&self, verb: Verb) -> Option<Text> {
        let login = matches!(self.state, State::Authorization);
        match verb {
            Verb::Capa | Verb::Quit => None,
            Verb::Lang => self.config.languages.is_empty().then_some(Text::InvalidCommand),
            Verb::Utf8 if !login => Some(Text::LoggedIn),
            // It would bar the way to TLS.
            Verb::Utf8 => self.offer().tls_first.then_some(Text::StlsFirst),
            Verb::Stls => match self.config.tls_mode {
                TlsMode::No => Some(Text::InvalidCommand),
                TlsMode::Connection => Some(Text::IncorrectState),
                _ if !login => Some(Text::IncorrectState),
                _ if self.connection.tls.is_some() => Some(Text::InvalidCommand),
                _ if self.utf8 => Some(Text::StlsAfterUtf8),
                _ => None,
            },
            Verb::User | Verb::Pass | Verb::Apop | Verb::Auth if !login => Some(Text::LoggedIn),
            Verb::User | Verb::Pass | Verb::Apop | Verb::Auth => self.login_barred(verb),
            _ if login => Some(Text::LogInFirst),
            _ => None,
        }
    }

    /// Why this way to log in is barred, if it is.
    fn login_barred(&self, verb: Verb) -> Option<Text> {
        let offer = self.offer();
        match verb {
            _ if offer.tls_first => Some(Text::StlsFirst),
            Verb::Pass if self.user.is_none() => Some(Text::PassAfterUser),
            Verb::User if !offer.user && offer.stls => Some(Text::PasswordsNeedTls),
            Verb::User if !offer.user => Some(Text::NoUser),
            Verb::Apop if !offer.apop => Some(Text::NoApop),
            Verb::Auth if offer.mechanisms.is_empty() => Some(Text::NoAuth),
            _ => None,
        }
    }
}

impl From<Missing> for Refusal {
    fn from(missing: Missing) -> Self {
        Self::new(match missing {
            Missing::Unknown => Text::NoSuchMessage,
            Missing::Deleted => Text::Deleted,
        })
    }
}
