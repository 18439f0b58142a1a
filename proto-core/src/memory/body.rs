//! Messages' octets in memory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::hook::{Call, Hooks};
use crate::backend::{Error, Message, Result};

/// Octets of one block of a message that came in pieces. Growing by blocks never moves what has come already.
const BLOCK: usize = 64 * 1024;

/// The octets of one message. Cloning shares them.
#[derive(Clone)]
pub(super) enum Body {
    Whole(Bytes),
    /// Blocks of [`BLOCK`] octets, the last one shorter or as long.
    Blocks(Arc<[Bytes]>),
}

impl Body {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Blocks(blocks) => {
                let last = blocks.last().map_or(0, Bytes::len);
                (blocks.len().saturating_sub(1) * BLOCK + last) as u64
            }
        }
    }

    /// The octets in one piece, if they are kept so.
    pub(super) fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Blocks(_) => None,
        }
    }

    /// The octets in one piece, put together if need be.
    pub(super) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes.clone(),
            Self::Blocks(blocks) => blocks.concat().into(),
        }
    }

    fn slice(&self, at: u64, max: usize) -> Bytes {
        let Ok(at) = usize::try_from(at) else { return Bytes::new() };
        let (block, at) = match self {
            Self::Whole(bytes) => (Some(bytes), at),
            Self::Blocks(blocks) => (blocks.get(at / BLOCK), at % BLOCK),
        };
        let Some(block) = block else { return Bytes::new() };
        let start = at.min(block.len());
        block.slice(start..start.saturating_add(max).min(block.len()))
    }
}

/// A message that comes in pieces. Pieces are copied, since they may be small parts of large buffers.
#[derive(Default)]
pub(super) struct BodyBuilder {
    full: Vec<Bytes>,
    last: BytesMut,
}

impl BodyBuilder {
    pub(super) fn len(&self) -> u64 {
        (self.full.len() * BLOCK + self.last.len()) as u64
    }

    pub(super) fn push(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(BLOCK - self.last.len()));
            self.last.extend_from_slice(now);
            if self.last.len() == BLOCK {
                self.full.push(std::mem::take(&mut self.last).freeze());
            }
            piece = later;
        }
    }

    pub(super) fn finish(mut self) -> Body {
        if self.full.is_empty() {
            return Body::Whole(self.last.freeze());
        }
        if !self.last.is_empty() {
            self.full.push(self.last.freeze());
        }
        Body::Blocks(self.full.into())
    }
}

/// An open message.
pub(super) struct MemoryMessage {
    pub(super) body: Body,
    pub(super) hooks: Arc<Hooks>,
}

#[async_trait]
impl Message for MemoryMessage {
    fn len(&self) -> u64 {
        self.body.len()
    }

    async fn read(&mut self, at: u64, max: usize) -> Result<Bytes> {
        self.hooks.enter(Call::Read).await?.leave().await;
        if max == 0 {
            return Err(Error::Cannot("a read of no octets".into()));
        }
        Ok(self.body.slice(at, max))
    }

    fn is_in_memory(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_come_out_as_they_went_in() {
        let octets: Vec<u8> = (0..3 * BLOCK + 17).map(|n| (n % 251) as u8).collect();
        for piece in [1000, BLOCK - 1, BLOCK, BLOCK + 1, octets.len()] {
            let mut builder = BodyBuilder::default();
            octets.chunks(piece).for_each(|piece| builder.push(piece));
            assert_eq!(builder.len(), octets.len() as u64);
            let body = builder.finish();
            assert_eq!(body.len(), octets.len() as u64);
            assert_eq!(body.to_bytes(), octets);
            let mut read = Vec::new();
            while (read.len() as u64) < body.len() {
                let part = body.slice(read.len() as u64, 777);
                assert!(!part.is_empty() && part.len() <= 777);
                read.extend_from_slice(&part);
            }
            assert_eq!(read, octets);
            assert!(body.slice(body.len(), 1).is_empty());
            assert!(body.slice(u64::MAX, 1).is_empty());
        }
    }
}
