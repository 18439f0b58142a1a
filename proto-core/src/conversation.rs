//! One client connection without its socket.
//!
//! A [`Conversation`] is a protocol session bound to a backend. It takes bytes, gives bytes, says when it wants to be
//! woken, and never touches a socket, a clock or a runtime. Whoever owns the socket drives it with one loop:
//!
//! 1. Call [`poll_next`](Conversation::poll_next). It works until it needs input, room for output, or the backend.
//! 2. Write what [`output`](Conversation::output) holds, as much as the socket takes.
//! 3. When `poll_next` returned a [`Next`] and the output is empty, carry it out. [`Next::Abort`] does not wait.
//! 4. If [`read_buf`](Conversation::read_buf) is `Some`, read into it; after bytes were added call
//!    [`handle_read`](Conversation::handle_read), at the end of the stream [`handle_eof`](Conversation::handle_eof).
//!    If it is `None`, do not read: the client has to wait, or a layer is about to change.
//! 5. When the [`deadline`](Conversation::deadline) has come, call [`handle_deadline`](Conversation::handle_deadline).
//! 6. After any of 2 to 5 did something, go to 1. Else wait for the socket, the deadline or the waker given to
//!    `poll_next`; while waiting with empty buffers, give their memory back ([`Output::release`], and
//!    an empty `BytesMut` in place of the read buffer).
//!
//! `server-core` has this loop for tokio; the `blocking` example has it for `std::net` and threads.
//!
//! # Rules that every conversation keeps
//!
//! * **Split invariance**: however the input is cut into reads, the output bytes are the same.
//! * **Bounded memory**: nothing is allocated from an announced size; `read_buf` is `None` while the output is above
//!   its high-water mark.
//! * **Layers change cleanly**: from STARTTLS or STLS until [`upgraded`](Conversation::upgraded), `read_buf` is `None`,
//!   and plain bytes that came after the command are dropped.
//! * **Fair**: `poll_next` does a bounded amount of work, then wakes itself.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;

use crate::connection::TlsInfo;
use crate::output::Output;

/// A protocol session bound to a backend, driven from outside. See the [module](self) for the loop.
pub trait Conversation: Send {
    /// Where the next input goes: append to it. `None` when no input is wanted now.
    fn read_buf(&mut self) -> Option<&mut BytesMut>;

    /// Bytes were appended to the read buffer.
    fn handle_read(&mut self, now: Instant);

    /// The client will send no more. Commands that have come in completely are still executed and answered.
    fn handle_eof(&mut self, now: Instant);

    /// The client can't be reached any more. Changes that have begun are finished; reads are dropped.
    fn handle_gone(&mut self);

    /// The server has something to say.
    fn handle_control(&mut self, control: Control, now: Instant);

    /// Works until input, room for output or the backend is needed.
    ///
    /// `Pending` means one of these; the waker of `cx` is woken when the backend has an answer. `Ready` asks for
    /// something that only the owner of the socket can do, once the output is empty.
    fn poll_next(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Next>;

    /// The bytes that wait to be written.
    fn output(&mut self) -> &mut Output;

    /// When [`handle_deadline`](Self::handle_deadline) is due, if ever. It may change after every other call. Default:
    /// never.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has come. Being called early is harmless. Default: nothing, for conversations without a deadline.
    fn handle_deadline(&mut self, _now: Instant) {}

    /// The layer that [`Next::Upgrade`] asked for stands. Default: nothing, for conversations that never ask.
    fn upgraded(&mut self, _how: Upgraded, _now: Instant) {}

    /// Whether the client has begun something (a line, a literal) that can't go on before it sends more of it. Asked when
    /// [`poll_next`](Self::poll_next) has said `Pending`, so that a client can be cut off that sends the rest too slowly.
    /// It is not so between commands, in IDLE, or while a challenge waits for its answer. Default: no.
    fn awaits_rest(&self) -> bool {
        false
    }
}

impl<C: Conversation + ?Sized> Conversation for Box<C> {
    fn read_buf(&mut self) -> Option<&mut BytesMut> {
        (**self).read_buf()
    }
    fn handle_read(&mut self, now: Instant) {
        (**self).handle_read(now);
    }
    fn handle_eof(&mut self, now: Instant) {
        (**self).handle_eof(now);
    }
    fn handle_gone(&mut self) {
        (**self).handle_gone();
    }
    fn handle_control(&mut self, control: Control, now: Instant) {
        (**self).handle_control(control, now);
    }
    fn poll_next(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Next> {
        (**self).poll_next(cx, now)
    }
    fn output(&mut self) -> &mut Output {
        (**self).output()
    }
    fn deadline(&self) -> Option<Instant> {
        (**self).deadline()
    }
    fn handle_deadline(&mut self, now: Instant) {
        (**self).handle_deadline(now);
    }
    fn upgraded(&mut self, how: Upgraded, now: Instant) {
        (**self).upgraded(how, now);
    }
    fn awaits_rest(&self) -> bool {
        (**self).awaits_rest()
    }
}

/// What a conversation asks of the owner of the socket, to be done when the output is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Put this layer under the conversation, then call [`Conversation::upgraded`].
    Upgrade(Layer),
    /// Take this layer away; the conversation goes on at once.
    Downgrade(Layer),
    /// Close the connection in an orderly way.
    Close,
    /// Drop the connection now, output included: what was promised can't be kept, as when a message ends inside an
    /// announced literal, or is not waited for.
    Abort,
}

/// A layer between the conversation and the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layer {
    /// TLS, with us as the server (RFC 8446).
    Tls,
    /// Raw DEFLATE in both directions (RFC 4978).
    Deflate,
}

/// Which layer now stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Upgraded {
    /// TLS, with what the handshake told.
    Tls(Arc<TlsInfo>),
    /// Compression.
    Deflate,
}

/// A word from the server to a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// The server stops: end after the command that runs now, with this text (IMAP `BYE`).
    Shutdown {
        /// For people.
        text: Arc<str>,
    },
    /// This session ends now, with this text, as soon as that is safe. A command that only reads is dropped without an
    /// answer, and so is one that waits for the client, as for the rest of a message; a change that has begun is
    /// finished and answered first. Where a response stands begun, so that the client would take the text for a part of
    /// it (a message in the middle of its octets, a list before its end), and where the client waits for a handshake,
    /// the session ends without the text, by [`Next::Abort`].
    Kick {
        /// For people.
        text: Arc<str>,
    },
    /// Show this text to the user when the protocol allows it (IMAP `[ALERT]`).
    Alert(Arc<str>),
    /// The operator has closed the service for the time being: end as on [`Shutdown`](Self::Shutdown), and say that it is
    /// a passing state (IMAP `* BYE [ALERT]`, POP3 `-ERR [SYS/TEMP]`).
    Unavailable {
        /// For people. One line.
        text: Arc<str>,
    },
}
