//! What the server counts, through the facade of the [`metrics`](https://docs.rs/metrics) crate: the program chooses who
//! collects it.
//!
//! | name | kind | labels | counts |
//! |---|---|---|---|
//! | `pillarbox_connections_total` | counter | `listener` | connections for which there was room |
//! | `pillarbox_sessions` | gauge | `listener` | connections that are open |
//! | `pillarbox_session_duration_seconds` | histogram | `listener` | how long they were, when they end |
//! | `pillarbox_refused_total` | counter | `listener`, `cause` | connections turned away; causes are [`Refused::name`](crate::Refused::name) |
//! | `pillarbox_tls_handshakes_total` | counter | `listener`, `outcome` | handshakes, `ok` or `failed`, at once or after STARTTLS |
//! | `pillarbox_logins_total` | counter | `listener`, `mechanism`, `outcome` | logins, `ok` or the name of a [`LoginFailure`] |
//! | `pillarbox_commands_total` | counter | `listener`, `command`, `outcome` | commands; outcomes are [`CommandOutcome::name`] |
//! | `pillarbox_command_duration_seconds` | histogram | `listener`, `command` | from reading a command until its answer was made |
//! | `pillarbox_received_bytes_total` | counter | `listener` | bytes from clients, TLS taken off |
//! | `pillarbox_sent_bytes_total` | counter | `listener` | bytes to clients, before TLS was put on |
//! | `pillarbox_unwritten_lines_total` | counter | | lines of transcripts and pieces of telemetry for which there was no room |
//!
//! `listener` is the listener's name. No label names a user, an address or anything else that a client chooses: the number of
//! series is bounded. Commands and mechanisms come from the fixed sets of the protocols; of one listener at most 128
//! commands are told apart, what is beyond is `OTHER`.
//!
//! An exporter has to be installed before [`Server::bind`](crate::Server::bind): that is when counters are looked up. Without
//! one, counting costs next to nothing; without the feature `metrics`, nothing.

#[cfg(feature = "metrics")]
use std::collections::HashMap;
use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use pillarbox_proto_core::observe::{CommandOutcome, LoginFailure};

use crate::refused::Refused;

/// Commands of one listener that are told apart.
#[cfg(feature = "metrics")]
const COMMANDS: usize = 128;
/// Mechanisms with outcomes of one listener that are told apart.
#[cfg(feature = "metrics")]
const LOGINS: usize = 256;

/// The counters of one listener.
#[derive(Debug)]
pub(crate) struct Meters {
    listener: Arc<str>,
    #[cfg(feature = "metrics")]
    live: live::Live,
}

impl Meters {
    pub(crate) fn new(listener: Arc<str>) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            live: live::Live::new(&listener),
            listener,
        }
    }

    /// Of which listener they are.
    pub(crate) fn listener(&self) -> Arc<str> {
        self.listener.clone()
    }
}

#[cfg(not(feature = "metrics"))]
#[allow(clippy::unused_self, reason = "nothing is counted")]
impl Meters {
    pub(crate) fn session_began(&self) {}
    pub(crate) fn session_ended(&self, _lasted: Duration) {}
    pub(crate) fn refused(&self, _cause: Refused) {}
    #[cfg(feature = "tls")]
    pub(crate) fn handshake(&self, _ok: bool) {}
    pub(crate) fn login(&self, _mechanism: &'static str, _failure: Option<LoginFailure>) {}
    pub(crate) fn command(&self, _name: &'static str, _outcome: CommandOutcome, _elapsed: Duration) {}
    pub(crate) fn received(&self, _bytes: u64) {}
    pub(crate) fn sent(&self, _bytes: u64) {}
}

/// Lines for which the writer had no room.
pub(crate) fn unwritten(lines: u64) {
    #[cfg(feature = "metrics")]
    ::metrics::counter!(live::UNWRITTEN).increment(lines);
    #[cfg(not(feature = "metrics"))]
    let _ = lines;
}

#[cfg(feature = "metrics")]
impl Meters {
    pub(crate) fn session_began(&self) {
        self.live.connections.increment(1);
        self.live.sessions.increment(1);
    }

    pub(crate) fn session_ended(&self, lasted: Duration) {
        self.live.sessions.decrement(1);
        self.live.durations.record(lasted);
    }

    pub(crate) fn refused(&self, cause: Refused) {
        self.live.refused(cause);
    }

    #[cfg(feature = "tls")]
    pub(crate) fn handshake(&self, ok: bool) {
        if ok { &self.live.handshakes_ok } else { &self.live.handshakes_failed }.increment(1);
    }

    pub(crate) fn login(&self, mechanism: &'static str, failure: Option<LoginFailure>) {
        self.live.login(mechanism, failure.map_or("ok", LoginFailure::name));
    }

    pub(crate) fn command(&self, name: &'static str, outcome: CommandOutcome, elapsed: Duration) {
        self.live.command(name, |command| {
            let counter = match outcome {
                CommandOutcome::Ok => &command.ok,
                CommandOutcome::Bad => &command.bad,
                _ => &command.no,
            };
            counter.increment(1);
            command.durations.record(elapsed);
        });
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.live.received.increment(bytes);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.live.sent.increment(bytes);
    }
}

#[cfg(feature = "metrics")]
mod live {
    use std::fmt;

    use ::metrics::{Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram};
    use ::metrics::{gauge, histogram};

    use super::{COMMANDS, CommandOutcome, HashMap, LOGINS, PoisonError, Refused, RwLock};

    const CONNECTIONS: &str = "pillarbox_connections_total";
    const SESSIONS: &str = "pillarbox_sessions";
    const SESSION_DURATION: &str = "pillarbox_session_duration_seconds";
    const REFUSED: &str = "pillarbox_refused_total";
    const HANDSHAKES: &str = "pillarbox_tls_handshakes_total";
    const LOGIN: &str = "pillarbox_logins_total";
    const COMMAND: &str = "pillarbox_commands_total";
    const COMMAND_DURATION: &str = "pillarbox_command_duration_seconds";
    const RECEIVED: &str = "pillarbox_received_bytes_total";
    const SENT: &str = "pillarbox_sent_bytes_total";
    pub(super) const UNWRITTEN: &str = "pillarbox_unwritten_lines_total";

    pub(super) struct Live {
        listener: String,
        pub(super) connections: Counter,
        pub(super) sessions: Gauge,
        pub(super) durations: Histogram,
        pub(super) received: Counter,
        pub(super) sent: Counter,
        #[cfg(feature = "tls")]
        pub(super) handshakes_ok: Counter,
        #[cfg(feature = "tls")]
        pub(super) handshakes_failed: Counter,
        refused: RwLock<HashMap<Refused, Counter>>,
        commands: RwLock<HashMap<&'static str, Command>>,
        logins: RwLock<HashMap<(&'static str, &'static str), Counter>>,
    }

    pub(super) struct Command {
        pub(super) ok: Counter,
        pub(super) no: Counter,
        pub(super) bad: Counter,
        pub(super) durations: Histogram,
    }

    impl fmt::Debug for Live {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Live").field("listener", &self.listener).finish_non_exhaustive()
        }
    }

    impl Live {
        pub(super) fn new(listener: &str) -> Self {
            describe();
            let listener = listener.to_owned();
            #[cfg(feature = "tls")]
            let handshakes = |outcome| counter!(HANDSHAKES, "listener" => listener.clone(), "outcome" => outcome);
            Self {
                connections: counter!(CONNECTIONS, "listener" => listener.clone()),
                sessions: gauge!(SESSIONS, "listener" => listener.clone()),
                durations: histogram!(SESSION_DURATION, "listener" => listener.clone()),
                received: counter!(RECEIVED, "listener" => listener.clone()),
                sent: counter!(SENT, "listener" => listener.clone()),
                #[cfg(feature = "tls")]
                handshakes_ok: handshakes("ok"),
                #[cfg(feature = "tls")]
                handshakes_failed: handshakes("failed"),
                refused: RwLock::default(),
                commands: RwLock::default(),
                logins: RwLock::default(),
                listener,
            }
        }

        pub(super) fn refused(&self, cause: Refused) {
            look_up(
                &self.refused,
                cause,
                usize::MAX,
                cause,
                Counter::increment_one,
                |cause| counter!(REFUSED, "listener" => self.listener.clone(), "cause" => cause.name()),
            );
        }

        pub(super) fn login(&self, mechanism: &'static str, outcome: &'static str) {
            let make = |(mechanism, outcome): (&'static str, &'static str)| {
                let listener = self.listener.clone();
                counter!(LOGIN, "listener" => listener, "mechanism" => mechanism, "outcome" => outcome)
            };
            look_up(&self.logins, (mechanism, outcome), LOGINS, ("OTHER", outcome), Counter::increment_one, make);
        }

        pub(super) fn command(&self, name: &'static str, count: impl Fn(&Command)) {
            look_up(&self.commands, name, COMMANDS, "OTHER", count, |name| {
                let outcome = |outcome: CommandOutcome| {
                    let listener = self.listener.clone();
                    counter!(COMMAND, "listener" => listener, "command" => name, "outcome" => outcome.name())
                };
                Command {
                    ok: outcome(CommandOutcome::Ok),
                    no: outcome(CommandOutcome::No),
                    bad: outcome(CommandOutcome::Bad),
                    durations: histogram!(COMMAND_DURATION, "listener" => self.listener.clone(), "command" => name),
                }
            });
        }
    }

    trait IncrementOne {
        fn increment_one(&self);
    }

    impl IncrementOne for Counter {
        fn increment_one(&self) {
            self.increment(1);
        }
    }

    /// Counts in the entry of this key, which is made when it is wanted first; in that of `other`, once there are so many.
    fn look_up<K: Copy + Eq + std::hash::Hash, V>(
        table: &RwLock<HashMap<K, V>>,
        key: K,
        most: usize,
        other: K,
        count: impl Fn(&V),
        make: impl FnOnce(K) -> V,
    ) {
        if let Some(entry) = table.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return count(entry);
        }
        let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
        let key = if table.len() < most { key } else { other };
        count(table.entry(key).or_insert_with(|| make(key)));
    }

    fn describe() {
        describe_counter!(CONNECTIONS, "Connections for which there was room");
        describe_gauge!(SESSIONS, "Connections that are open");
        describe_histogram!(SESSION_DURATION, Unit::Seconds, "How long connections were open");
        describe_counter!(REFUSED, "Connections turned away, by cause");
        describe_counter!(HANDSHAKES, "TLS handshakes, by outcome");
        describe_counter!(LOGIN, "Logins, by mechanism and outcome");
        describe_counter!(COMMAND, "Commands, by name and outcome");
        describe_histogram!(COMMAND_DURATION, Unit::Seconds, "Time from reading a command until its answer was made");
        describe_counter!(RECEIVED, Unit::Bytes, "Bytes from clients, TLS taken off");
        describe_counter!(SENT, Unit::Bytes, "Bytes to clients, before TLS was put on");
        describe_counter!(UNWRITTEN, "Lines of transcripts and pieces of telemetry for which there was no room");
    }
}
