//! The bytes that wait to be written to a client.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Pieces at least this long are queued as they are; shorter ones are copied, so that a vectored write is not filled
/// with crumbs.
const SHARE_FROM: usize = 2 * 1024;
/// Small replies are gathered in blocks. The first one grows from this size...
const FIRST_BLOCK: usize = 2 * 1024;
/// ... up to this one, which the next ones have from the beginning.
const BLOCK: usize = 32 * 1024;
/// A block with less room than this left is full.
const LEAST_ROOM: usize = 1024;

/// A rope of bytes: small replies are gathered in one buffer, large pieces are queued without copying.
///
/// ```
/// use pillarbox_proto_core::Output;
///
/// let mut output = Output::new();
/// output.put(b"* OK ready\r\n");
/// assert_eq!(output.len(), 12);
/// output.advance(5);
/// assert_eq!(output.first(), b"ready\r\n");
/// ```
///
/// `Debug` shows how much waits, and none of it: it is somebody's mail.
#[derive(Default)]
pub struct Output {
    /// Finished pieces, oldest first; none is empty.
    queue: VecDeque<Bytes>,
    /// The newest bytes.
    tail: BytesMut,
    queued: usize,
}

impl Output {
    /// An empty rope, which holds no memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queued + self.tail.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queued == 0 && self.tail.is_empty()
    }

    /// Appends a copy of these bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.tail_mut().put_slice(bytes);
        }
    }

    /// Appends these bytes, without copying where they are many.
    pub fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_FROM {
            return self.put(&bytes);
        }
        self.seal();
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Appends everything that waits in another rope.
    pub fn append(&mut self, other: Self) {
        for piece in other.queue {
            self.put_bytes(piece);
        }
        self.put(&other.tail);
    }

    /// The buffer at the end of the rope, for encoders that append to it. They may only add.
    pub fn tail_mut(&mut self) -> &mut BytesMut {
        if self.tail.len() > BLOCK - LEAST_ROOM {
            // It would take twice as much, and be copied.
            self.seal();
            self.tail = BytesMut::with_capacity(BLOCK);
        } else if self.tail.capacity() == 0 {
            // With large pieces between them, small ones go on in blocks of this size.
            self.tail = BytesMut::with_capacity(FIRST_BLOCK);
        }
        &mut self.tail
    }

    /// The first contiguous bytes; empty only when nothing waits.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        self.queue.front().map_or(&self.tail[..], |piece| &piece[..])
    }

    /// Fills `slices` with the first pieces, for a vectored write, and returns how many it filled.
    pub fn chunks<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = Some(&self.tail[..]).filter(|tail| !tail.is_empty());
        let pieces = self.queue.iter().map(|piece| &piece[..]).chain(tail);
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// Drops the first `count` bytes, which have been written.
    ///
    /// A `count` beyond the end empties the rope.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.queue.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                self.queued -= count;
                return;
            }
            count -= piece.len();
            self.queued -= piece.len();
            self.queue.pop_front();
        }
        if count >= self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(count);
        }
    }

    /// Takes everything that waits, as one run of bytes. Meant for tests and small programs.
    pub fn take(&mut self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len());
        for piece in self.queue.drain(..) {
            all.put(piece);
        }
        self.queued = 0;
        all.put(std::mem::take(&mut self.tail));
        all.freeze()
    }

    /// Gives memory back. The loop calls it when a connection goes idle; it does nothing while bytes wait.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::new();
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let piece = self.tail.split().freeze();
            self.queued += piece.len();
            self.queue.push_back(piece);
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("waiting", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_does_not_show() {
        let mut output = Output::new();
        output.put(b"+OK Dear Tim");
        assert_eq!(format!("{output:?}"), "Output { waiting: 12, .. }");
    }

    fn drain(output: &mut Output, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = output.chunks(&mut slices);
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(step).collect();
            assert!(!bytes.is_empty());
            output.advance(bytes.len());
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn order_is_kept_whatever_the_piece_size() {
        for step in [1, 7, 4096, 100_000] {
            let mut output = Output::new();
            let mut expected = Vec::new();
            for size in [3, 5000, 0, 1, 2048, 2047, 9000] {
                let piece: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
                expected.extend(&piece);
                output.put_bytes(piece.into());
                output.put(b"-");
                expected.push(b'-');
            }
            assert_eq!(output.len(), expected.len());
            assert_eq!(drain(&mut output, step), expected);
            output.release();
            assert_eq!(output.tail.capacity(), 0);
        }
    }

    #[test]
    fn small_replies_are_gathered_in_blocks() {
        let mut output = Output::new();
        let mut expected = Vec::new();
        for number in 0..10_000 {
            let line = format!("* {number} EXPUNGE\r\n");
            output.put(line.as_bytes());
            expected.extend(line.as_bytes());
        }
        assert!(output.tail.capacity() <= BLOCK);
        let blocks = output.queue.iter().map(Bytes::len);
        assert!(blocks.clone().all(|length| (BLOCK - LEAST_ROOM..=BLOCK).contains(&length)));
        assert_eq!(blocks.count(), expected.len() / (BLOCK - LEAST_ROOM));
        assert_eq!(output.take(), expected);
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let large = Bytes::from(vec![b'x'; 100_000]);
        let mut output = Output::new();
        output.put(b"{100000}\r\n");
        output.put_bytes(large.clone());
        output.advance(10);
        assert_eq!(output.first().as_ptr(), large.as_ptr());
    }
}
