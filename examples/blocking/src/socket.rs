//! Waiting for a socket and a bell at once, with nothing but `std::net`.
//!
//! A thread can block in a read or wait for a bell, not both. What makes one thread enough is to know which of the two
//! can happen. As long as nobody holds the conversation's waker, nobody can ring, and the thread blocks in a read. While
//! the backend holds it, the thread waits for the bell, and looks at the socket every [`SLICE`]: answers and news of the
//! backend come at once, input that comes meanwhile waits for at most a slice.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pillarbox_proto_core::Output;

use crate::bell::Bell;

/// How often the socket is looked at while the bell may ring.
const SLICE: Duration = Duration::from_millis(50);
/// How long one write may take before the client counts as gone.
const WRITE: Duration = Duration::from_secs(60);
/// How long the client may take to close its side, after we closed ours.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that one write takes at most from the output, counted in its pieces.
const SLICES: usize = 16;

/// What is wanted of the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Input.
    Input,
    /// Only to see the client hang up: input has to wait.
    End,
    /// Nothing: there is no more to come.
    Nothing,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The backend has an answer, or news.
    Rung,
    /// The client sent so many bytes.
    Input(usize),
    /// The client will send no more.
    End,
    /// The client can't be reached.
    Lost,
    /// The time has come.
    Due,
}

/// A socket that is shut down when dropped.
pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE))?;
        Ok(Self(stream))
    }

    /// Waits for whatever comes first. Input goes into `space`.
    pub(crate) fn wait(
        &mut self,
        bell: &Arc<Bell>,
        interest: Interest,
        until: Option<Instant>,
        space: &mut [u8],
    ) -> Event {
        loop {
            let held = bell.is_held();
            if bell.answer() {
                return Event::Rung;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Event::Due;
            }
            let seen = match interest {
                Interest::Nothing => {
                    bell.wait(left);
                    continue;
                }
                Interest::Input if !held => self.read(left, space),
                _ => self.look(interest, space),
            };
            match seen {
                Ok(0) => return Event::End,
                Ok(count) if interest == Interest::Input => return Event::Input(count),
                Err(error) if !is_patience(&error) => return Event::Lost,
                // Nothing, or input that has to wait; the end that may lie behind it can't be seen.
                _ if interest == Interest::Input && !held => {}
                _ => bell.wait(Some(left.map_or(SLICE, |left| left.min(SLICE)))),
            }
        }
    }

    /// Blocks for a read.
    fn read(&mut self, most: Option<Duration>, space: &mut [u8]) -> io::Result<usize> {
        self.0.set_read_timeout(most)?;
        self.0.read(space)
    }

    /// Reads, or only looks, without blocking.
    fn look(&mut self, interest: Interest, space: &mut [u8]) -> io::Result<usize> {
        self.0.set_nonblocking(true)?;
        let seen = if interest == Interest::Input { self.0.read(space) } else { self.0.peek(&mut [0]) };
        self.0.set_nonblocking(false)?;
        seen
    }

    /// Writes everything.
    pub(crate) fn write(&mut self, output: &mut Output) -> io::Result<()> {
        while !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = output.chunks(&mut slices);
            match self.0.write_vectored(slices.get(..filled).unwrap_or_default()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => output.advance(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closes our side, and gives the client a moment to close its own. Closing on unread input would destroy the last
    /// reply on its way.
    pub(crate) fn close(&mut self, space: &mut [u8]) {
        if self.0.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let until = Instant::now() + LINGER;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match self.read(Some(left), space) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if is_patience(&error) => {}
                Err(_) => return,
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

/// Nothing has come yet: which of the kinds it is depends on the system.
fn is_patience(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Socket::new(listener.accept().unwrap().0).unwrap(), client)
    }

    #[test]
    fn input_is_heard_whether_the_bell_is_held_or_not() {
        let (mut socket, mut client) = pair();
        let (bell, waker) = Bell::new();
        let mut space = [0; 16];
        for held in [None, Some(waker.clone())] {
            client.write_all(b"hello").unwrap();
            assert_eq!(socket.wait(&bell, Interest::Input, None, &mut space), Event::Input(5));
            assert_eq!(&space[..5], b"hello");
            let soon = Some(Instant::now() + Duration::from_millis(5));
            assert_eq!(socket.wait(&bell, Interest::Input, soon, &mut space), Event::Due);
            drop(held);
        }
        drop(client);
        assert_eq!(socket.wait(&bell, Interest::Input, None, &mut space), Event::End);
    }

    #[test]
    fn a_ring_is_heard_and_input_that_is_not_wanted_stays() {
        let (mut socket, mut client) = pair();
        let (bell, waker) = Bell::new();
        client.write_all(b"later").unwrap();
        for interest in [Interest::End, Interest::Nothing] {
            let waker = waker.clone();
            let ringer = thread::spawn(move || {
                thread::sleep(Duration::from_millis(10));
                waker.wake();
            });
            assert_eq!(socket.wait(&bell, interest, None, &mut []), Event::Rung);
            ringer.join().unwrap();
        }
        let mut space = [0; 16];
        assert_eq!(socket.wait(&bell, Interest::Input, None, &mut space), Event::Input(5));
    }

    #[test]
    fn a_hang_up_is_seen_while_the_backend_works() {
        let (mut socket, client) = pair();
        let (bell, waker) = Bell::new();
        let held = waker.clone();
        drop(client);
        assert_eq!(socket.wait(&bell, Interest::End, None, &mut []), Event::End);
        drop(held);
    }

    #[test]
    fn a_close_waits_for_the_client() {
        let (mut socket, mut client) = pair();
        client.write_all(&[b'x'; 100_000]).unwrap();
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            all
        });
        let mut output = Output::new();
        output.put(b"bye");
        socket.write(&mut output).unwrap();
        socket.close(&mut [0; 512]);
        drop(socket);
        assert_eq!(reader.join().unwrap(), b"bye", "no reset has destroyed it");
    }
}
