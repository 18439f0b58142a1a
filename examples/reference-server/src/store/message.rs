//! Reading messages: whole small ones into their rows, large ones in windows.
//!
//! A file is read as it is when it has no bare line feeds; then a window is one read. Otherwise line ends are converted
//! on the way into the buffer that is sent, with a mark every 256 KiB of message to jump to. What the system has in its cache is read
//! on the spot, as handing it to another thread and back would take longer than the copy; what it has not is read on a
//! thread that may block, the next window while one is sent. An open file outlives its renaming and removal.
//!
//! A window is as large as a reader asks for, within bounds: who sends it wants few large writes, and there is one at a
//! time. Its buffer is used again once nobody holds any of it.

use std::fs::File;
use std::io;
#[cfg(unix)]
use std::os::unix::fs::FileExt;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pillarbox_proto_core::backend::{Error, Message, Result};
use tokio::task::JoinHandle;

use super::fault::{Done, Fault};
use super::lines::{convert, convert_into, count_bare};
use super::pending::Sizes;
use super::table::{Format, MessageRow};

/// Octets of a window, for a reader that wants no more.
const WINDOW: usize = 64 * 1024;
/// Octets of a window at most.
const LARGE_WINDOW: usize = 160 * 1024;
/// Octets of a file that are converted at a time: few enough to stay next to the processor.
const PIECE: usize = 32 * 1024;
/// The same, where little of a window is left; with less it is full.
const LEAST_PIECE: usize = 4 * 1024;
/// Octets of message from mark to mark.
const MARK_EVERY: u64 = 256 * 1024;

/// A message's file, for one who may block.
struct Source {
    file: File,
    convert: bool,
    bytes: u64,
    len: u64,
    /// Where conversion can start: offsets in message and file, and the octet before. Ascending.
    marks: Vec<Mark>,
    scratch: Vec<u8>,
    /// Where conversion stands.
    at: Mark,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    message: u64,
    file: u64,
    last: u8,
}

/// A window: the offset in the message of its first octet, and its octets.
type Window = (u64, Bytes);

/// How a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// As long as it takes.
    Wait,
    /// Only what the system has in memory; else it is [`io::ErrorKind::WouldBlock`].
    None,
}

impl Source {
    /// The window of about this size that begins at `at`, or for converted ones perhaps a little before.
    fn window(&mut self, at: u64, size: usize, patience: Patience, buffer: BytesMut) -> io::Result<Window> {
        if self.convert {
            self.converted(at, size, patience, buffer)
        } else {
            self.verbatim(at, size, patience, buffer)
        }
    }

    /// Whether the window there takes no more than one read.
    fn is_next(&self, at: u64) -> bool {
        !self.convert || at == self.at.message
    }

    fn verbatim(&mut self, at: u64, size: usize, patience: Patience, mut buffer: BytesMut) -> io::Result<Window> {
        buffer.resize(usize::try_from(self.len.saturating_sub(at)).unwrap_or(size).min(size), 0);
        read_exact(&self.file, &mut buffer, at, patience)?;
        Ok((at, buffer.freeze()))
    }

    fn converted(&mut self, at: u64, size: usize, patience: Patience, mut buffer: BytesMut) -> io::Result<Window> {
        if at < self.at.message {
            let index = self.marks.partition_point(|mark| mark.message <= at);
            self.at = index.checked_sub(1).and_then(|index| self.marks.get(index)).copied().unwrap_or_default();
        }
        self.scratch.resize(PIECE, 0);
        // Of a buffer that is used again, only what it has grown by is filled.
        buffer.resize(size, 0);
        let (mut window, mut made) = (at, 0);
        loop {
            let start = self.at.message;
            if self.marks.last().map_or(0, |mark| mark.message) + MARK_EVERY <= start {
                self.marks.push(self.at);
            }
            let left = usize::try_from(self.bytes.saturating_sub(self.at.file)).unwrap_or(PIECE);
            // Each of its octets may become two.
            let room = left.min(PIECE).min((size - made) / 2);
            let enough = made > 0 && room < LEAST_PIECE.min(left);
            let Some(piece) = self.scratch.get_mut(..room).filter(|piece| !piece.is_empty() && !enough) else {
                buffer.truncate(made);
                return if made > 0 { Ok((window, buffer.freeze())) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            };
            match read_exact(&self.file, piece, self.at.file, patience) {
                Ok(()) => {}
                // What there is serves.
                Err(_) if made > 0 => {
                    buffer.truncate(made);
                    return Ok((window, buffer.freeze()));
                }
                Err(error) => return Err(error),
            }
            let (mut last, file) = (self.at.last, self.at.file + room as u64);
            if at > start {
                // Who jumps passes pieces by.
                let message = start + room as u64 + count_bare(piece, &mut last.clone());
                if message <= at {
                    last = piece.last().copied().unwrap_or(last);
                    self.at = Mark { message, file, last };
                    continue;
                }
                window = start;
            }
            made += convert_into(piece, &mut last, buffer.get_mut(made..).unwrap_or_default());
            self.at = Mark { message: window + made as u64, file, last };
        }
    }
}

/// An open message.
pub(super) struct FileMessage {
    len: u64,
    source: Option<Source>,
    window: Window,
    /// A window that is being read, and whether the last one was followed by its successor.
    ahead: Option<JoinHandle<(Source, io::Result<Window>)>>,
    sequential: bool,
    /// The system did not have the last window in memory.
    blocks: bool,
}

impl FileMessage {
    /// Opens a message's file, on a thread that may block. Returns what was learned if its size was not known.
    pub(super) fn open(file: File, row: &MessageRow) -> Done<(Self, Option<Sizes>)> {
        let bytes = file.metadata()?.len();
        let known = row.size.filter(|_| bytes == row.bytes);
        let (len, convert, learned) = match (row.format, known) {
            (Format::Verbatim, Some(_)) => (bytes, false, None),
            (Format::Lines, Some(size)) => (size, size != bytes, None),
            _ => {
                let size = bytes + count_file(&file, bytes)?;
                let format = if size == bytes { Format::Verbatim } else { Format::Lines };
                (size, size != bytes, Some((bytes, size, format)))
            }
        };
        let source = Source {
            file,
            convert,
            bytes,
            len,
            marks: vec![Mark::default()],
            scratch: Vec::new(),
            at: Mark::default(),
        };
        let message = Self {
            len,
            source: Some(source),
            window: (0, Bytes::new()),
            ahead: None,
            sequential: false,
            blocks: false,
        };
        Ok((message, learned))
    }

    /// Has a window be read, on a thread that may block. It is a small one, as there may be another.
    fn start(&mut self, at: u64) -> Result<()> {
        let mut source = self.source.take().ok_or_else(|| Error::unavailable("the message could not be read"))?;
        self.ahead = Some(tokio::task::spawn_blocking(move || {
            let window = source.window(at, WINDOW, Patience::Wait, BytesMut::new());
            (source, window)
        }));
        Ok(())
    }
}

#[async_trait]
impl Message for FileMessage {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read(&mut self, at: u64, max: usize) -> Result<Bytes> {
        if at >= self.len || max == 0 {
            return Ok(Bytes::new());
        }
        loop {
            let (start, octets) = &self.window;
            let inside = at.checked_sub(*start).and_then(|inside| usize::try_from(inside).ok());
            if let Some(inside) = inside.filter(|inside| *inside < octets.len()) {
                let end = inside.saturating_add(max).min(octets.len());
                let next = start + octets.len() as u64;
                let piece = octets.slice(inside..end);
                // The next window is read while this one is sent, once the reader has shown that it goes on.
                if self.ahead.is_none() && self.blocks && self.sequential && next < self.len {
                    self.start(next)?;
                }
                return Ok(piece);
            }
            self.sequential = at > 0 && at == start + octets.len() as u64;
            if self.ahead.is_none() {
                let used = std::mem::take(&mut self.window.1);
                // Nothing here waits, however long the message is: now and then it is another task's turn.
                tokio::task::coop::consume_budget().await;
                if let Some(source) = self.source.as_mut().filter(|source| source.is_next(at)) {
                    let size = max.clamp(WINDOW, LARGE_WINDOW);
                    // Nobody may hold it any more; else it must not be written to. Nor is it to grow, which takes both.
                    let buffer =
                        used.try_into_mut().ok().filter(|buffer| buffer.capacity() >= size).unwrap_or_default();
                    match source.window(at, size, Patience::None, buffer) {
                        Ok(window) => {
                            self.blocks = false;
                            self.window = window;
                            continue;
                        }
                        // Errors too are for the other way to tell.
                        Err(_) => self.blocks = true,
                    }
                }
                self.start(at)?;
            }
            let Some(ahead) = &mut self.ahead else { continue };
            let outcome = ahead.await;
            self.ahead = None;
            let (source, window) = outcome.map_err(|_| Error::unavailable("the store is shutting down"))?;
            self.source = Some(source);
            self.window = window.map_err(|error| Error::from(Fault::from(error)))?;
        }
    }
}

/// Appends a whole small message to others. Returns what was learned of it.
pub(super) fn read_whole(
    file: &File,
    row: &MessageRow,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Done<Option<Sizes>> {
    let start = out.len();
    let expected = usize::try_from(row.bytes).map_err(|_| Fault::Other("a message too large to inline".to_owned()))?;
    // One octet more than expected shows whether the file has grown.
    let verbatim = row.format == Format::Verbatim;
    if verbatim {
        out.resize(start + expected + 1, 0);
        let filled = read_full(file, out.get_mut(start..).unwrap_or_default())?;
        out.truncate(start + filled);
        if filled == expected {
            return Ok(None);
        }
        out.truncate(start);
    }
    // The size of the file is asked for only where it is another than the index knows.
    scratch.resize(expected + 1, 0);
    let mut length = read_full(file, scratch)?;
    let mut bytes = length as u64;
    if length != expected {
        bytes = file.metadata()?.len();
        let known = usize::try_from(bytes).ok().filter(|length| *length <= expected.saturating_mul(2).max(WINDOW));
        length = known.ok_or_else(|| Fault::Other("a message grew while it was read".to_owned()))?;
        scratch.resize(length, 0);
        file.read_exact_at(scratch, 0)?;
    }
    convert(scratch.get(..length).unwrap_or_default(), &mut 0, out);
    let size = out.len() - start;
    let format = if size == length { Format::Verbatim } else { Format::Lines };
    let same = bytes == row.bytes && row.size == Some(size as u64) && row.format == format;
    Ok((!same).then_some((bytes, size as u64, format)))
}

/// The sizes of a file's message.
pub(super) fn measure(file: &File) -> Done<Sizes> {
    let bytes = file.metadata()?.len();
    let size = bytes + count_file(file, bytes)?;
    Ok((bytes, size, if size == bytes { Format::Verbatim } else { Format::Lines }))
}

fn count_file(file: &File, bytes: u64) -> io::Result<u64> {
    let mut scratch = vec![0; WINDOW.min(usize::try_from(bytes).unwrap_or(WINDOW))];
    let (mut at, mut bare, mut last) = (0, 0, 0);
    while at < bytes {
        let room = usize::try_from(bytes - at).unwrap_or(WINDOW).min(WINDOW);
        let Some(piece) = scratch.get_mut(..room) else { break };
        file.read_exact_at(piece, at)?;
        bare += count_bare(piece, &mut last);
        at += room as u64;
    }
    Ok(bare)
}

fn read_exact(file: &File, room: &mut [u8], at: u64, patience: Patience) -> io::Result<()> {
    match patience {
        Patience::Wait => file.read_exact_at(room, at),
        Patience::None => read_cached(file, room, at),
    }
}

/// Fills `room` if the system has all of it in memory.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, room: &mut [u8], at: u64) -> io::Result<()> {
    use rustix::io::{ReadWriteFlags, preadv2};

    let wanted = room.len();
    let count = preadv2(file, &mut [io::IoSliceMut::new(room)], at, ReadWriteFlags::NOWAIT)?;
    if count == wanted { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// Fills `room` if the system has all of it in memory, which can't be known here.
#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

fn read_full(file: &File, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                // A short read of a file is its end: the common case needs no second call.
                if filled < room.len() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
