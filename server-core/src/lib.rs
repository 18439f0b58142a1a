//! Puts any line protocol on the network: listeners, TLS, limits, and one loop that drives a
//! [`Conversation`](pillarbox_proto_core::Conversation) over tokio.
//!
//! It knows neither IMAP nor POP3. A conversation is bytes in, bytes out; what is here reads and writes them, wakes it
//! at its deadlines, puts TLS under it when it asks, and ends it well.
//!
//! * [`serve_connection`]: one conversation on any stream. A plain future, for programs with their own sockets.
//! * [`Server`]: any number of [`Listener`]s, bound before any is served, with connection limits, [gates](Gate) and a
//!   graceful [shutdown](ServerHandle::shutdown).
//! * `tls`: certificates from PEM files, the handshake, channel bindings.
//! * [`control`]: words to a conversation that runs.
//!
//! Every session runs in a [`tracing`] span `session` with its `id`, `listener` and `peer`. Nothing that a client sends
//! or is sent is ever logged here.
//!
//! # Example
//!
//! A server that sends back what it gets. A conversation this simple has no command to finish and no use for a deadline;
//! a protocol has both.
//!
//! ```
//! use std::task::{Context, Poll};
//! use std::time::{Duration, Instant};
//!
//! use bytes::BytesMut;
//! use pillarbox_proto_core::conversation::{Control, Next, Upgraded};
//! use pillarbox_proto_core::{Conversation, Output};
//! use pillarbox_server_core::{Listener, Server};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! #[derive(Default)]
//! struct Echo {
//!     input: BytesMut,
//!     output: Output,
//!     end: bool,
//! }
//!
//! impl Conversation for Echo {
//!     fn read_buf(&mut self) -> Option<&mut BytesMut> {
//!         // Back-pressure: who does not read is not read.
//!         (self.output.len() < 64 * 1024).then_some(&mut self.input)
//!     }
//!     fn handle_read(&mut self, _now: Instant) {
//!         self.output.put_bytes(self.input.split().freeze());
//!     }
//!     fn handle_eof(&mut self, _now: Instant) {
//!         self.end = true;
//!     }
//!     fn handle_gone(&mut self) {
//!         self.end = true;
//!     }
//!     fn handle_control(&mut self, control: Control, _now: Instant) {
//!         if let Control::Shutdown { text } = control {
//!             self.output.put(format!("{text}\r\n").as_bytes());
//!             self.end = true;
//!         }
//!     }
//!     fn poll_next(&mut self, _cx: &mut Context<'_>, _now: Instant) -> Poll<Next> {
//!         if self.end { Poll::Ready(Next::Close) } else { Poll::Pending }
//!     }
//!     fn output(&mut self) -> &mut Output {
//!         &mut self.output
//!     }
//!     fn deadline(&self) -> Option<Instant> {
//!         None
//!     }
//!     fn handle_deadline(&mut self, _now: Instant) {}
//!     fn upgraded(&mut self, _how: Upgraded, _now: Instant) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = Listener::new("echo", |_connection| Box::<Echo>::default())
//!     .address(([127, 0, 0, 1], 0));
//! let server = Server::new().listener(listener).max_connections(100).bind()?.start()?;
//!
//! let address = server.local_addr("echo").ok_or("no such listener")?;
//! let mut client = tokio::net::TcpStream::connect(address).await?;
//! client.write_all(b"hello\r\n").await?;
//! let mut reply = [0; 7];
//! client.read_exact(&mut reply).await?;
//! assert_eq!(&reply, b"hello\r\n");
//!
//! let closing = server.clone();
//! let drained = tokio::spawn(async move { closing.shutdown("bye", Duration::from_secs(5)).await });
//! let mut last = String::new();
//! client.read_to_string(&mut last).await?;
//! assert_eq!(last, "bye\r\n");
//! drop(client);
//! assert_eq!(drained.await?.finished, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! * `tls` (default): TLS by rustls, with ring. Without it, a listener whose TLS mode needs a certificate is an error.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod accept;
pub mod access;
pub mod control;
mod drive;
mod gate;
pub mod limits;
mod listener;
mod network;
pub mod preauth;
mod program;
mod serve;
mod server;
mod sessions;
mod slots;
mod stream;
mod timer;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub mod tls;
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

pub use gate::{Gate, Refusal};
pub use listener::{Address, Listener, MakeConversation};
pub use network::{Network, NetworkError};
pub use serve::{End, Outcome, ServeError, ServeOptions, serve_connection};
pub use server::{BindError, BoundServer, Drained, Server, ServerHandle};
