//! Puts any line protocol on the network: listeners, TLS, limits, and one loop that drives a
//! [`Conversation`](pillarbox_proto_core::Conversation) over tokio.
//!
//! It knows neither IMAP nor POP3. A conversation is bytes in, bytes out; what is here reads and writes them, wakes it
//! at its deadlines, puts TLS under it when it asks, and ends it well.
//!
//! * [`serve_connection`]: one conversation on any stream. A plain future, for programs with their own sockets.
//! * [`Server`]: any number of [`Listener`]s, on [addresses](Address) of all kinds, bound before any is served, with
//!   connection [limits], [gates](Gate) and a graceful [shutdown](ServerHandle::shutdown).
//! * [`inherited`], [`stdio`], [`Incoming`]: sockets of a service manager, the one connection of inetd, connections that
//!   the program has from elsewhere. [`run_as`]: becoming another user in between.
//! * [`proxy_protocol`]: clients behind a proxy that one trusts.
//! * `tls`: certificates from PEM files, the handshake, channel bindings.
//! * [`access`]: gates that decide by lists, by programs, and by the tables of tcp-wrappers.
//! * [`preauth`]: who a client is before it says a word, by ident, by a program, or by who started us.
//! * [`control`]: words to a conversation that runs.
//! * [`ServerHandle::sessions`]: who is connected, and does what; [`metrics`]: what is counted.
//! * [`transcript`] and [`telemetry`]: what clients and server say, in the log and in files.
//!
//! Every session runs in a [`tracing`] span `session` with its `id`, `listener` and `peer`. It has a line of level info
//! when a user logs in, when a login fails, and when a session that had a user ends. But for who logs in, and what a
//! client says that it is, nothing that a client sends or is sent is ever logged, unless a transcript is asked for.
//!
//! # Example
//!
//! A server that sends back what it gets, under TLS, and only to clients on its own machine. A conversation this simple
//! has no command to finish and no use for a deadline; a protocol has both.
//!
#![cfg_attr(feature = "tls", doc = concat!("```no_run\n", include_str!("../examples/echo.rs"), "```"))]
//!
//! # Features
//!
//! * `metrics` (default): counters and histograms, see [`metrics`]. Without it, nothing is counted.
//! * `tls` (default): TLS by rustls, with ring. Without it, a listener whose TLS mode needs a certificate is an error.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod accept;
#[cfg(unix)]
pub mod access;
mod address;
pub mod control;
mod drive;
mod entrance;
mod gate;
mod handle;
mod incoming;
pub mod inherited;
pub mod limits;
mod listener;
pub mod metrics;
mod network;
mod options;
pub mod preauth;
mod process;
#[cfg(unix)]
mod program;
pub mod proxy_protocol;
mod record;
mod refused;
#[cfg(target_os = "linux")]
pub mod run_as;
mod scribe;
mod serve;
mod server;
mod sessions;
mod slots;
mod socket;
#[cfg(unix)]
pub mod stdio;
mod stream;
mod tap;
pub mod telemetry;
mod timer;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub mod tls;
pub mod transcript;
mod transport;
#[cfg(unix)]
mod turns;
#[cfg(unix)]
mod unix_file;
#[cfg(unix)]
mod words;

/// The time by tokio's clock, as conversations want it when they are made. In a test with paused time it stands still.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let before = pillarbox_server_core::now();
/// tokio::time::sleep(std::time::Duration::from_secs(60)).await;
/// assert_eq!((pillarbox_server_core::now() - before).as_secs(), 60);
/// # }
/// ```
#[must_use]
pub fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

pub use address::{Address, AddressError, service_port};
pub use gate::{Gate, Refusal};
pub use handle::{BoundServer, Drained, ServerHandle};
pub use incoming::{HandedIn, Incoming, NotServed};
pub use listener::{Listener, MakeConversation};
pub use network::{Network, NetworkError};
pub use options::SocketOptions;
pub use process::raise_open_files;
pub use record::SessionInfo;
pub use refused::Refused;
pub use serve::{End, Outcome, ServeError, ServeOptions, serve_connection};
pub use server::{BindError, Server};
pub use telemetry::Telemetry;
pub use transcript::{MakeRedactor, TranscriptOptions};
pub use transport::Transport;
