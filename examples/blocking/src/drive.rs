//! The loop over one conversation, with blocking calls.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pillarbox_proto_core::conversation::{Conversation, Layer, Next};

use crate::bell::{Bell, Event};
use crate::reader::Reader;

/// How long one write may take before the client counts as gone.
const WRITE: Duration = Duration::from_secs(60);
/// How long a change goes on after its client is gone.
const FINISH: Duration = Duration::from_secs(30);
/// How long the client may take to close its side, after we closed ours.
const LINGER: Duration = Duration::from_secs(2);

/// Why a conversation was not driven to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriveError {
    /// The socket or a thread failed.
    Io(io::Error),
    /// The conversation asked for a layer, though it was told to offer none.
    Layer(Layer),
}

impl std::fmt::Display for DriveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Layer(layer) => write!(f, "there is no layer {layer:?} here"),
        }
    }
}

impl std::error::Error for DriveError {}

impl From<io::Error> for DriveError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Drives a conversation over a socket, to its end, in this thread and one more that reads.
///
/// The steps have the numbers that the documentation of [`pillarbox_proto_core::conversation`] gives them. Step 2 is
/// simpler than over non-blocking sockets: a write returns when all is written, so that the output is always empty
/// when step 3 looks at it. The price is that a client which does not read holds up its own deadlines, for at most a
/// minute.
///
/// # Errors
///
/// The socket could not be set up, or the conversation asked for TLS or compression, which this loop does not have. A
/// client that hangs up is no error.
pub fn drive(stream: TcpStream, mut conversation: impl Conversation) -> Result<(), DriveError> {
    stream.set_write_timeout(Some(WRITE))?;
    let (sender, events) = channel();
    let (bell, waker) = Bell::new(sender.clone());
    let reader = Reader::start(stream.try_clone()?, sender)?;
    // However this function ends, the socket is shut down, and with it the reader.
    let socket = Socket(stream);
    let mut cx = Context::from_waker(&waker);
    let mut input: Option<Vec<u8>> = None;
    let mut ended = false;
    let mut give_up = None;
    // A deadline that was handled and has not moved since: told again and again, the conversation would spin.
    let mut handled = None;
    loop {
        // 1. Let the conversation work.
        let now = Instant::now();
        let next = conversation.poll_next(&mut cx, now);
        if next == Poll::Ready(Next::Abort) {
            return Ok(());
        }

        // 2. Write everything.
        let wrote = !conversation.output().is_empty();
        if give_up.is_some() {
            // Nobody is there to read it.
            conversation.output().advance(usize::MAX);
        } else if wrote && write(&socket.0, &mut conversation).is_err() {
            conversation.handle_gone();
            give_up = Some(now + FINISH);
        }

        // 3. The output is empty: do what was asked for.
        match next {
            Poll::Ready(Next::Upgrade(layer) | Next::Downgrade(layer)) => return Err(DriveError::Layer(layer)),
            Poll::Ready(_) => {
                socket.close(ended || give_up.is_some(), &reader, &events);
                return Ok(());
            }
            // There is room for output again: it may have waited for that.
            Poll::Pending if wrote => continue,
            Poll::Pending => {}
        }

        // 4. Hand on what was read, if it is wanted, and have more read.
        if let Some(mut bytes) = input.take() {
            if let Some(buffer) = conversation.read_buf() {
                buffer.extend_from_slice(&bytes);
                conversation.handle_read(now);
                bytes.clear();
                reader.go_on(bytes);
                continue;
            }
            input = Some(bytes);
        }

        // 5. and 6. Wait for the backend, the client or a deadline; meanwhile hold no memory.
        conversation.output().release();
        if let Some(buffer) = conversation.read_buf()
            && buffer.is_empty()
        {
            *buffer = bytes::BytesMut::new();
        }
        let due = conversation.deadline().filter(|due| handled != Some(*due));
        let deadline = give_up.or(due);
        let event = match deadline.map(|deadline| events.recv_timeout(deadline.saturating_duration_since(now))) {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(event) => event,
        };
        match event {
            Ok(Event::Rung) => bell.answered(),
            Ok(Event::Input(bytes)) => input = Some(bytes),
            Ok(Event::End) => {
                ended = true;
                conversation.handle_eof(Instant::now());
            }
            Ok(Event::Lost) => {
                conversation.handle_gone();
                give_up.get_or_insert(now + FINISH);
            }
            Err(RecvTimeoutError::Timeout) if give_up.is_some() => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                handled = due;
                conversation.handle_deadline(Instant::now());
            }
            // The bell is ours, so the queue has a sender as long as there is a loop.
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn write(mut stream: &TcpStream, conversation: &mut impl Conversation) -> io::Result<()> {
    while !conversation.output().is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = conversation.output().chunks(&mut slices);
        match stream.write_vectored(slices.get(..filled).unwrap_or_default()) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => conversation.output().advance(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A socket that is shut down when dropped: the reader waits in a call on it.
struct Socket(TcpStream);

impl Socket {
    /// Closes our side, and gives the client a moment to close its own. Closing on unread input would destroy the last
    /// reply on its way.
    fn close(&self, ended: bool, reader: &Reader, events: &std::sync::mpsc::Receiver<Event>) {
        if self.0.shutdown(Shutdown::Write).is_err() || ended {
            return;
        }
        let until = Instant::now() + LINGER;
        reader.go_on(Vec::new());
        loop {
            match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Input(buffer)) => reader.go_on(buffer),
                Ok(Event::Rung) => {}
                Ok(Event::End | Event::Lost) | Err(_) => return,
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may be shut down already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
