//! The loop over one conversation: the contract of [`pillarbox_proto_core::conversation`], for tokio.
//!
//! One state machine polled by hand. Futures that read and write, joined by `select!`, would hold their buffers while
//! the connection is idle, and would have to be made anew for every event.

#[cfg(feature = "tls")]
use std::pin::Pin;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pillarbox_proto_core::conversation::{Layer, Next};
use pillarbox_proto_core::transcript::Direction;
use pillarbox_proto_core::{Conversation, Output};
#[cfg(feature = "tls")]
use pillarbox_proto_core::{connection::TlsInfo, conversation::Upgraded};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

use crate::limits::pace::{Debt, Pace};
use crate::serve::{End, Outcome, ServeError, ServeOptions};
use crate::stream::{Layered, Probe};
use crate::timer::Timer;
#[cfg(feature = "tls")]
use crate::tls::HandshakeError;

/// Steps in one poll; then other tasks have their turn. A turn has to be short, as tokio looks for new input only every
/// 61 turns while some task always has work; a command and its answer take three steps.
const STEPS: usize = 8;
/// Bytes in one poll, in and out together, after which others have their turn too: making them took its time.
const TURN: u64 = 64 * 1024;
/// How long a closed connection waits for the client to close too.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that a closed connection reads and forgets at most.
const LINGER_BYTES: usize = 1024 * 1024;
/// A read buffer with at least this capacity and at most [`FEW`] bytes in it is not kept by an idle connection.
const ROOMY: usize = 4 * 1024;
/// See [`ROOMY`].
const FEW: usize = 1024;

#[cfg(feature = "tls")]
type Handshake<S> = Pin<Box<dyn Future<Output = Result<(Box<TlsStream<S>>, TlsInfo), HandshakeError>> + Send>>;

#[derive(Clone, Copy)]
enum Phase {
    Talking,
    #[cfg(feature = "tls")]
    Shaking,
    ShuttingDown,
    Lingering,
}

enum Step {
    /// Something was done: look again.
    Again,
    /// Nothing can be done before a waker wakes.
    Wait,
    Done(Result<End, ServeError>),
}

pub(crate) struct Driver<S, C> {
    stream: Layered<S>,
    conversation: C,
    options: ServeOptions,
    phase: Phase,
    #[cfg(feature = "tls")]
    handshake: Option<Handshake<S>>,
    /// What the conversation asked for, until the output is empty.
    next: Option<Next>,
    /// Read ahead, only to notice a hang-up.
    stash: BytesMut,
    /// The last probe saw input: there is nothing more to see before it is read.
    input_waits: bool,
    end_of_input: bool,
    gone: bool,
    flowing: bool,
    unflushed: bool,
    /// A deadline that was handled and has not moved since.
    handled: Option<Instant>,
    /// When waiting for a client, or for a change after its client has gone, ends.
    give_up: Option<Instant>,
    /// Since when the client has taken nothing of the output that is there for it.
    stalled: Option<Instant>,
    pace: Pace,
    /// Why the client counts as gone, where we have cut it off.
    cut: Option<End>,
    timer: Timer,
    received: u64,
    sent: u64,
    /// Bytes that came after the end.
    forgotten: usize,
    error: Option<std::io::Error>,
}

impl<S, C> Driver<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Conversation,
{
    pub(crate) fn new(stream: Layered<S>, conversation: C, options: ServeOptions) -> Self {
        Self {
            stream,
            conversation,
            options,
            phase: Phase::Talking,
            #[cfg(feature = "tls")]
            handshake: None,
            next: None,
            stash: BytesMut::new(),
            input_waits: false,
            end_of_input: false,
            gone: false,
            flowing: false,
            unflushed: false,
            handled: None,
            give_up: None,
            stalled: None,
            pace: Pace::default(),
            cut: None,
            timer: Timer::default(),
            received: 0,
            sent: 0,
            forgotten: 0,
            error: None,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Outcome, ServeError>> {
        let mut now = crate::now();
        self.hear(cx, now);
        let turn = self.received + self.sent + TURN;
        for _ in 0..STEPS {
            if self.received + self.sent >= turn {
                break;
            }
            let step = match self.phase {
                Phase::Talking => self.talk(cx, now),
                #[cfg(feature = "tls")]
                Phase::Shaking => self.go_on_shaking(cx, now),
                Phase::ShuttingDown => self.shut_down(cx, now),
                Phase::Lingering => self.linger(cx),
            };
            match step {
                Step::Again => {}
                Step::Done(end) => return Poll::Ready(end.map(|end| self.outcome(end))),
                Step::Wait => {
                    if self.timer.poll(cx, self.moment()).is_pending() {
                        return Poll::Pending;
                    }
                    now = crate::now();
                    if self.give_up.is_some_and(|moment| moment <= now) {
                        return Poll::Ready(Ok(self.outcome(match self.phase {
                            _ if self.gone => End::Gone,
                            Phase::Talking => End::Stalled,
                            _ => End::Closed,
                        })));
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn outcome(&mut self, end: End) -> Outcome {
        // Shut for good, also where the future lives on: a client must not wait for a connection that nobody serves.
        self.stream = Layered::Taken;
        let end = if end == End::Gone { self.cut.unwrap_or(end) } else { end };
        Outcome { end, received: self.received, sent: self.sent, error: self.error.take() }
    }

    /// The next moment at which something is due though nobody wakes us.
    fn moment(&self) -> Option<Instant> {
        let deadline = match self.phase {
            Phase::Talking => self.conversation.deadline().filter(|deadline| self.handled != Some(*deadline)),
            // The handshake has its own timeout; a conversation that has ended has no deadlines.
            _ => None,
        };
        let slow = match self.phase {
            Phase::Talking if !self.gone && self.next.is_none() => {
                let stalled = self.stalled.and_then(|since| since.checked_add(self.options.write_stall));
                let pace = self.options.min_rate.and_then(|rate| self.pace.due(rate));
                stalled.into_iter().chain(pace).min()
            }
            _ => None,
        };
        [deadline, self.give_up, slow].into_iter().flatten().min()
    }

    /// Hands on what the server has to say. Not during a handshake: the words wait for its end.
    fn hear(&mut self, cx: &Context<'_>, now: Instant) {
        if matches!(self.phase, Phase::Talking)
            && let Some(controls) = &mut self.options.controls
        {
            while let Some(control) = controls.take(cx) {
                self.conversation.handle_control(control, now);
            }
        }
    }

    fn talk(&mut self, cx: &mut Context<'_>, now: Instant) -> Step {
        let mut progress = false;
        if let Some(deadline) = self.conversation.deadline()
            && deadline <= now
            && self.handled != Some(deadline)
        {
            // A conversation that leaves its deadline where it is has heard it: told again and again, it would spin.
            self.handled = Some(deadline);
            self.conversation.handle_deadline(now);
            progress = true;
        }
        if self.next.is_none()
            && let Poll::Ready(next) = self.conversation.poll_next(cx, now)
        {
            match next {
                _ if self.gone => return Step::Done(Ok(End::Gone)),
                Next::Abort => return Step::Done(Ok(End::Aborted)),
                Next::Upgrade(layer) if !self.can_have(layer) => return Step::Done(Err(ServeError::Layer(layer))),
                Next::Downgrade(layer) => return Step::Done(Err(ServeError::Layer(layer))),
                next => self.next = Some(next),
            }
        }
        progress |= if self.gone { self.discard() } else { self.write(cx, now) };
        if let Some(next) = self.next
            && !self.gone
            && !self.unflushed
            && self.conversation.output().is_empty()
        {
            self.give_up = None;
            self.next = None;
            return self.carry_out(next);
        }
        if self.next.is_some() {
            if self.gone {
                return Step::Done(Ok(End::Gone));
            }
            self.give_up = self.give_up.or_else(|| now.checked_add(self.options.write_grace));
        } else if !self.gone && !self.end_of_input {
            progress |= self.read(cx, now);
        }
        if progress {
            return Step::Again;
        }
        if let Some(end) = self.too_slow(now) {
            self.cut = Some(end);
            self.lose(std::io::ErrorKind::TimedOut.into(), now);
            return Step::Again;
        }
        self.conversation.output().release();
        self.tell_memory();
        Step::Wait
    }

    /// Looks at a client that is waited for. What the conversation ends with has a time limit of its own.
    fn too_slow(&mut self, now: Instant) -> Option<End> {
        if self.gone || self.next.is_some() {
            return None;
        }
        let debt = if self.unflushed || !self.conversation.output().is_empty() {
            let since = *self.stalled.get_or_insert(now);
            if now.saturating_duration_since(since) >= self.options.write_stall {
                return Some(End::Stalled);
            }
            Some((Debt::Output, self.sent))
        } else {
            self.stalled = None;
            let begun = self.options.min_rate.is_some() && !self.end_of_input && self.conversation.awaits_rest();
            begun.then_some((Debt::Input, self.received))
        };
        match (self.options.min_rate, debt) {
            (Some(rate), Some((debt, moved))) => self.pace.owes(debt, moved, rate, now).then_some(End::TooSlow),
            _ => {
                self.pace.even();
                None
            }
        }
    }

    fn tell_memory(&mut self) {
        if let Some(memory) = &mut self.options.memory {
            let input = self.conversation.read_buf().map(|buffer| buffer.capacity());
            #[cfg(feature = "tls")]
            let tls = matches!(self.stream, Layered::Tls(_));
            #[cfg(not(feature = "tls"))]
            let tls = false;
            memory.tell(input, self.conversation.output().len() + self.stash.capacity(), tls);
        }
    }

    /// Writes until the stream takes no more or nothing waits; says whether anything went out.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        while !self.conversation.output().is_empty() {
            let tap = &mut self.options.tap;
            let seen = |output: &Output, count| {
                if let Some(tap) = tap {
                    tap.written(output, count);
                }
            };
            match self.stream.poll_write(cx, self.conversation.output(), seen) {
                Poll::Ready(Ok(count)) => {
                    if let Some(record) = &self.options.record {
                        record.sent(count as u64);
                    }
                    self.sent += count as u64;
                    self.unflushed = true;
                    self.give_up = None;
                    self.stalled = None;
                    progress = true;
                }
                Poll::Ready(Err(error)) => {
                    self.lose(error, now);
                    return true;
                }
                Poll::Pending => break,
            }
        }
        if self.unflushed {
            match self.stream.poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    progress = true;
                }
                Poll::Ready(Err(error)) => {
                    self.lose(error, now);
                    return true;
                }
                Poll::Pending => {}
            }
        }
        progress
    }

    /// Forgets output that can't be written, so that a change which reports its progress goes on.
    fn discard(&mut self) -> bool {
        let output = self.conversation.output();
        let any = !output.is_empty();
        output.advance(usize::MAX);
        any
    }

    /// Takes input where it is wanted, else looks for a hang-up; says whether the conversation was told anything.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let outcome = if let Some(buffer) = self.conversation.read_buf() {
            self.input_waits = false;
            let outcome = if self.stash.is_empty() {
                self.stream.poll_fill(cx, buffer, &mut self.flowing)
            } else {
                let stash = std::mem::take(&mut self.stash);
                buffer.extend_from_slice(&stash);
                Poll::Ready(Ok(stash.len()))
            };
            if let (Poll::Ready(Ok(count)), Some(tap)) = (&outcome, &mut self.options.tap) {
                let fresh = buffer.len().saturating_sub(*count);
                tap.passed(Direction::Client, buffer.get(fresh..).unwrap_or_default());
                if tap.is_done() {
                    self.options.tap = None;
                }
            }
            if outcome.is_pending() {
                self.flowing = false;
                if buffer.is_empty() {
                    *buffer = BytesMut::new();
                } else if buffer.capacity() >= ROOMY && buffer.len() <= FEW {
                    *buffer = BytesMut::from(&buffer[..]);
                }
            }
            outcome
        } else if self.input_waits {
            Poll::Pending
        } else {
            let may_take = !self.can_have(Layer::Tls);
            match self.stream.poll_probe(cx, &mut self.stash, may_take) {
                Poll::Ready(Ok(Probe::Input)) => {
                    self.input_waits = true;
                    Poll::Pending
                }
                Poll::Ready(Ok(Probe::End)) => Poll::Ready(Ok(0)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        };
        match outcome {
            Poll::Ready(Ok(0)) => {
                self.end_of_input = true;
                self.conversation.handle_eof(now);
                true
            }
            Poll::Ready(Ok(count)) => {
                self.received += count as u64;
                if let Some(record) = &self.options.record {
                    record.received(count as u64);
                }
                self.conversation.handle_read(now);
                true
            }
            Poll::Ready(Err(error)) => {
                self.lose(error, now);
                true
            }
            Poll::Pending => false,
        }
    }

    fn lose(&mut self, error: std::io::Error, now: Instant) {
        self.gone = true;
        self.error = Some(error);
        self.stash = BytesMut::new();
        // Beyond what the clock can tell is never.
        self.give_up = now.checked_add(self.options.finish_grace);
        self.conversation.handle_gone();
        self.discard();
    }

    fn can_have(&self, layer: Layer) -> bool {
        match layer {
            #[cfg(feature = "tls")]
            Layer::Tls => self.options.tls.is_some() && matches!(self.stream, Layered::Plain(_)),
            _ => false,
        }
    }

    /// The output is empty: does what the conversation asked for.
    fn carry_out(&mut self, next: Next) -> Step {
        match next {
            Next::Close => {
                self.phase = Phase::ShuttingDown;
                Step::Again
            }
            #[cfg(feature = "tls")]
            Next::Upgrade(Layer::Tls) => self.shake_hands(),
            Next::Upgrade(layer) | Next::Downgrade(layer) => Step::Done(Err(ServeError::Layer(layer))),
            // `Abort`, which never waits for the output, and whatever the contract gains: not to be kept alive.
            _ => Step::Done(Ok(End::Aborted)),
        }
    }

    #[cfg(feature = "tls")]
    fn shake_hands(&mut self) -> Step {
        // Plain bytes that are still in our hands came from anyone: they must not be taken for what TLS protects.
        self.stash = BytesMut::new();
        if let Some(buffer) = self.conversation.read_buf() {
            *buffer = BytesMut::new();
        }
        self.conversation.output().release();
        let Some(acceptor) = self.options.tls.clone() else { return Step::Done(Err(ServeError::Layer(Layer::Tls))) };
        match std::mem::replace(&mut self.stream, Layered::Taken) {
            Layered::Plain(stream) => {
                self.phase = Phase::Shaking;
                self.handshake = Some(Box::pin(async move {
                    let (stream, info) = acceptor.accept(stream).await?;
                    Ok((Box::new(stream), info))
                }));
                Step::Again
            }
            _ => Step::Done(Err(ServeError::Layer(Layer::Tls))),
        }
    }

    #[cfg(feature = "tls")]
    fn go_on_shaking(&mut self, cx: &mut Context<'_>, now: Instant) -> Step {
        let Some(handshake) = &mut self.handshake else { return Step::Done(Err(ServeError::Layer(Layer::Tls))) };
        match handshake.as_mut().poll(cx) {
            Poll::Ready(Ok((stream, info))) => {
                self.handshake = None;
                self.stream = Layered::Tls(stream);
                self.phase = Phase::Talking;
                self.flowing = false;
                self.input_waits = false;
                self.end_of_input = false;
                if let Some(record) = &self.options.record {
                    record.secured();
                    record.meters.handshake(true);
                }
                if let Some(tap) = &mut self.options.tap {
                    tap.secured();
                }
                self.conversation.upgraded(Upgraded::Tls(Arc::new(info)), now);
                // Words that came during the handshake.
                self.hear(cx, now);
                Step::Again
            }
            Poll::Ready(Err(error)) => {
                if let Some(record) = &self.options.record {
                    record.meters.handshake(false);
                }
                Step::Done(Err(error.into()))
            }
            Poll::Pending => Step::Wait,
        }
    }

    fn shut_down(&mut self, cx: &mut Context<'_>, now: Instant) -> Step {
        self.give_up.get_or_insert(now + LINGER);
        match self.stream.poll_shutdown(cx) {
            Poll::Ready(Ok(())) if self.end_of_input => Step::Done(Ok(End::Closed)),
            Poll::Ready(Ok(())) => {
                self.phase = Phase::Lingering;
                Step::Again
            }
            // Everything was written: that the client was faster to close is its right.
            Poll::Ready(Err(_)) => Step::Done(Ok(End::Closed)),
            Poll::Pending => Step::Wait,
        }
    }

    fn linger(&mut self, cx: &mut Context<'_>) -> Step {
        match self.stream.poll_discard(cx) {
            Poll::Ready(Ok(count)) if count > 0 && self.forgotten < LINGER_BYTES => {
                self.forgotten += count;
                Step::Again
            }
            Poll::Ready(_) => Step::Done(Ok(End::Closed)),
            Poll::Pending => Step::Wait,
        }
    }
}
