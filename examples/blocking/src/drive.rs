//! The loop over one conversation, with blocking calls.

use std::io;
use std::net::TcpStream;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pillarbox_proto_core::conversation::{Conversation, Layer, Next};

use crate::bell::Bell;
use crate::socket::{Event, Interest, Socket};

/// How long a change goes on after its client is gone.
const FINISH: Duration = Duration::from_secs(30);
/// Read at once, over the stack: an idle connection holds no buffer.
const READ: usize = 16 * 1024;

/// Why a conversation was not driven to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriveError {
    /// The socket could not be set up.
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

/// Drives a conversation over a socket, to its end, in this thread alone.
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
    let mut socket = Socket::new(stream)?;
    let (bell, waker) = Bell::new();
    let mut cx = Context::from_waker(&waker);
    let mut space = [0; READ];
    let mut ended = false;
    // The client is gone: until then a change may go on.
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
        } else if wrote && socket.write(conversation.output()).is_err() {
            conversation.handle_gone();
            conversation.output().advance(usize::MAX);
            give_up = Some(now + FINISH);
        }

        // 3. The output is empty: do what was asked for.
        match next {
            Poll::Ready(Next::Upgrade(layer) | Next::Downgrade(layer)) => return Err(DriveError::Layer(layer)),
            Poll::Ready(_) => {
                if !ended && give_up.is_none() {
                    socket.close(&mut space);
                }
                return Ok(());
            }
            // There is room for output again: it may have waited for that.
            Poll::Pending if wrote => continue,
            Poll::Pending => {}
        }

        // 6. Wait for the backend, the client or a deadline; meanwhile hold no memory.
        conversation.output().release();
        let wanted = conversation.read_buf().map(|buffer| {
            if buffer.is_empty() {
                *buffer = bytes::BytesMut::new();
            }
        });
        let interest = match wanted {
            _ if ended || give_up.is_some() => Interest::Nothing,
            Some(()) => Interest::Input,
            None => Interest::End,
        };
        let due = conversation.deadline().filter(|due| handled != Some(*due));
        let event = socket.wait(&bell, interest, give_up.or(due), &mut space);
        let now = Instant::now();
        match event {
            Event::Rung => {}
            // 4. Hand on what was read.
            Event::Input(count) => {
                if let (Some(buffer), Some(input)) = (conversation.read_buf(), space.get(..count)) {
                    buffer.extend_from_slice(input);
                    conversation.handle_read(now);
                }
            }
            Event::End => {
                ended = true;
                conversation.handle_eof(now);
            }
            Event::Lost => {
                conversation.handle_gone();
                give_up = Some(now + FINISH);
            }
            // 5. The deadline has come.
            Event::Due if give_up.is_some() => return Ok(()),
            Event::Due => {
                handled = due;
                conversation.handle_deadline(now);
            }
        }
    }
}
