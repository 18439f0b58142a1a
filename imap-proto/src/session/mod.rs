//! The protocol's state: who the client is, what it has selected, what it may do now, and what it is told.
//!
//! Pure and synchronous. It turns commands into work for the [`service`](crate::service) and replies into output, and
//! knows nothing of where mail is kept.

pub(crate) mod capability;
pub(crate) mod dispatch;
mod identify;
mod pieces;
mod respond;
mod timers;
pub(crate) mod view;
mod watch;

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::{Account, Backend, Snapshot};
use pillarbox_proto_core::connection::{Connection, TlsMode};
use pillarbox_proto_core::conversation::{Layer, Next};
use pillarbox_proto_core::mail::UidSet;
use pillarbox_proto_core::{Env, Output};

use crate::config::{Config, LiteralMode};
use crate::service::completion::{Completion, Condition, OwnedCode};
use crate::service::select::SelectedMailbox;
use crate::service::{CommandFuture, Context, port::Port};
use crate::wire::encode::{self, Code};
use crate::wire::framer::Framer;
use crate::wire::limits::FrameLimits;
use pieces::Pending;
use view::View;

/// One client's session.
pub(crate) struct Session {
    pub(crate) config: Arc<Config>,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) port: Port,
    pub(crate) input: BytesMut,
    pub(crate) framer: Framer,
    pub(crate) output: Output,
    /// The tag of the command at work; copied, as a slice of the read buffer would keep all of it alive.
    tag: Vec<u8>,
    account: Option<Arc<dyn Account>>,
    identity: Option<Identity>,
    selected: Option<Selected>,
    /// The result that SEARCH has saved: `$`.
    saved: UidSet,
    /// The client has enabled IMAP4rev2.
    rev2: bool,
    /// No EXPUNGE may be sent while this command works (RFC 9051, section 7.5.1).
    holds_expunges: bool,
    bad_commands: u32,
    failed_logins: u32,
    /// What is to happen once the output has been written.
    ending: Option<Next>,
    /// What of a long response has not been written yet.
    pending: Option<Box<Pending>>,
    /// A FETCH response has been begun and not ended.
    row_open: bool,
    timers: timers::Timers,
    watch: watch::Watch,
    identified: identify::Identified,
}

/// The selected mailbox.
struct Selected {
    mailbox: Arc<SelectedMailbox>,
    view: View,
    snapshot: Flagging,
}

/// What of a mailbox's state is needed to tell of its flags.
struct Flagging {
    keywords: pillarbox_proto_core::mail::Keywords,
    permanent: pillarbox_proto_core::mail::Flags,
    new_keywords: bool,
}

impl Flagging {
    fn new(snapshot: &Snapshot) -> Self {
        Self {
            keywords: snapshot.keywords.clone(),
            permanent: snapshot.permanent_flags.clone(),
            new_keywords: snapshot.new_keywords,
        }
    }
}

/// How input is read while a command works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not at all: it waits.
    Wait,
    /// As the messages of an APPEND. `accepted`: the client may send, `synchronizing`: it waits to be asked.
    Message { accepted: bool, synchronizing: bool },
    /// As lines of a SASL exchange.
    Sasl,
    /// As the DONE of an IDLE.
    Idle,
}

/// What a command needs to be carried out.
pub(crate) struct Work {
    pub(crate) future: CommandFuture,
    pub(crate) mode: Mode,
    /// It changes something, and so is brought to its end even if the client is gone.
    pub(crate) changes: bool,
}

impl Session {
    pub(crate) fn new(
        config: Arc<Config>,
        env: Arc<dyn Env>,
        backend: Arc<dyn Backend>,
        connection: Arc<Connection>,
        now: Instant,
    ) -> Self {
        let timers = timers::Timers::new(now);
        let mut session = Self {
            framer: Framer::new(config.limits.frame_before_login),
            config,
            env,
            connection,
            backend,
            port: Port::default(),
            input: BytesMut::new(),
            output: Output::new(),
            tag: Vec::new(),
            account: None,
            identity: None,
            selected: None,
            saved: UidSet::new(),
            rev2: false,
            holds_expunges: false,
            bad_commands: 0,
            failed_logins: 0,
            ending: None,
            pending: None,
            row_open: false,
            timers,
            watch: watch::Watch::new(now),
            identified: identify::Identified::default(),
        };
        session.set_limits();
        session
    }

    /// The limits that hold in this state.
    fn set_limits(&mut self) {
        let limits = &self.config.limits;
        let frame = if self.account.is_some() { limits.frame_after_login } else { limits.frame_before_login };
        let non_synchronizing = match self.config.literal_mode {
            LiteralMode::Plus => frame.non_synchronizing,
            LiteralMode::Minus => frame.non_synchronizing.min(4096),
        };
        self.framer.set_limits(FrameLimits { non_synchronizing, ..frame }, limits.parse);
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.account.is_some()
    }

    /// Whether a password may be sent as it is on this connection.
    fn takes_plaintext(&self) -> bool {
        self.connection.is_secure() || (self.config.allow_plaintext && self.config.tls_mode != TlsMode::Required)
    }

    /// Whether every login has to wait for STARTTLS.
    pub(crate) fn needs_tls(&self) -> bool {
        self.config.tls_mode == TlsMode::Required && !self.connection.is_secure()
    }

    fn offers_starttls(&self) -> bool {
        matches!(self.config.tls_mode, TlsMode::OnDemand | TlsMode::Required)
            && self.connection.tls.is_none()
            && self.account.is_none()
    }

    /// What a command of a logged-in client works with.
    fn context(&self) -> Option<Context> {
        Some(Context {
            port: self.port.clone(),
            account: Arc::clone(self.account.as_ref()?),
            config: Arc::clone(&self.config),
            rev2: self.rev2,
        })
    }

    pub(crate) fn selected_mailbox(&self) -> Option<&Arc<SelectedMailbox>> {
        self.selected.as_ref().map(|selected| &selected.mailbox)
    }

    /// What is to happen once the output has been written.
    pub(crate) fn ending(&self) -> Option<Next> {
        self.ending
    }

    pub(crate) fn end(&mut self, next: Next) {
        if self.ending != Some(Next::Abort) {
            self.ending = Some(next);
        }
    }

    /// TLS stands. All that came before it is forgotten (RFC 9051, section 6.2.1).
    pub(crate) fn secured(&mut self, connection: Connection) {
        self.connection = Arc::new(connection);
        if self.ending == Some(Next::Upgrade(Layer::Tls)) {
            self.ending = None;
        }
    }

    /// The greeting, and after it the word that there is for everybody (RFC 9051, section 7.1: OK, PREAUTH).
    pub(crate) fn greet(&mut self, condition: Condition) {
        let capabilities = self.capabilities();
        let out = self.output.tail_mut();
        encode::untagged(out, condition, Some(&Code::Capability(&capabilities)), &self.config.greeting);
        if let Some(notice) = self.connection.notice.as_ref().filter(|notice| !notice.is_empty()) {
            encode::untagged(out, Condition::Ok, Some(&Code::Alert), notice);
        }
        // That of a client that is known beforehand follows its login.
        if condition == Condition::Ok {
            self.tell_state(false);
        }
    }

    /// Says goodbye and ends the session.
    pub(crate) fn bye(&mut self, text: &str) {
        self.bye_with(None, text);
    }

    /// The same as the operator has closed the service for now.
    pub(crate) fn bye_closed(&mut self, text: &str) {
        let text = if text.is_empty() { "The service is closed for the time being" } else { text };
        self.bye_with(Some(&Code::Alert), text);
    }

    /// Says goodbye with a response code, and ends the session.
    pub(crate) fn bye_with(&mut self, code: Option<&Code<'_>>, text: &str) {
        if self.ending.is_none() || self.ending == Some(Next::Upgrade(Layer::Tls)) {
            encode::untagged(self.output.tail_mut(), Condition::Bye, code, text);
            self.end(Next::Close);
            self.tell_state(false);
        }
    }

    /// Ends the command at work with its tagged response.
    pub(crate) fn complete(&mut self, completion: Completion) {
        if self.ending == Some(Next::Abort) {
            return;
        }
        self.holds_expunges = false;
        let Completion { condition, code, text } = completion;
        let code = match code {
            Some(OwnedCode::CopyUid(uid_validity, pairs)) if condition == Condition::Ok => {
                self.output.put(&self.tag);
                self.output.put(b" OK");
                self.bad_commands = 0;
                self.copy_uid(uid_validity, pairs, text);
                return self.command_ended(condition);
            }
            code => code,
        };
        encode::tagged(
            self.output.tail_mut(),
            &self.tag,
            condition,
            code.as_ref().map(OwnedCode::code).as_ref(),
            &text,
        );
        if condition == Condition::Bad {
            self.bad_commands += 1;
            if self.bad_commands >= self.config.limits.bad_commands {
                self.bye("Too many bad commands");
            }
        } else {
            self.bad_commands = 0;
        }
        self.command_ended(condition);
    }

    /// A login has failed; too many end the session.
    pub(crate) fn login_failed(&mut self) {
        self.failed_logins += 1;
        if self.failed_logins >= self.config.limits.failed_logins {
            self.bye("Too many failed logins");
        }
    }
}
