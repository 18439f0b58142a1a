//! The thread that reads for a conversation.
//!
//! `std::net` can't wait for a socket and a waker at once, so reading has a thread of its own. It reads one buffer
//! ahead, and the next only when that one was taken: who does not take input slows its client down.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::thread;

use crate::bell::Event;

/// Read at once. An idle connection holds a buffer of this size: threads cost more.
const READ: usize = 16 * 1024;

/// The reading thread. It ends when the socket is shut down.
pub(crate) struct Reader {
    buffers: SyncSender<Vec<u8>>,
}

impl Reader {
    pub(crate) fn start(stream: TcpStream, events: Sender<Event>) -> io::Result<Self> {
        let (buffers, empty) = sync_channel::<Vec<u8>>(1);
        let reader = Self { buffers };
        reader.go_on(Vec::new());
        thread::Builder::new().name("reader".to_owned()).spawn(move || {
            // Ends when the conversation has ended and takes no more events, or gives no more buffers.
            for mut buffer in empty {
                let event = match read(&stream, &mut buffer) {
                    Ok(0) => Event::End,
                    Ok(_) => Event::Input(buffer),
                    Err(_) => Event::Lost,
                };
                let last = !matches!(event, Event::Input(_));
                if events.send(event).is_err() || last {
                    break;
                }
            }
        })?;
        Ok(reader)
    }

    /// Reads on, into this buffer.
    pub(crate) fn go_on(&self, buffer: Vec<u8>) {
        // There is one buffer, so there is room for it; a reader that has ended needs none.
        let _ = self.buffers.try_send(buffer);
    }
}

/// Fills the buffer with what there is; 0 is the end.
fn read(mut stream: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.resize(READ, 0);
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => {
                buffer.truncate(*outcome.as_ref().unwrap_or(&0));
                return outcome;
            }
        }
    }
}
