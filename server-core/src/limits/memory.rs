//! How much memory all sessions together may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::LimitReached;

/// What an idle session takes without TLS: its task, its conversation, its places in tables.
const SESSION: u32 = 4 * 1024;
/// What TLS adds.
const TLS: u32 = 8 * 1024;
/// Changes of less than this are not told to all: the sum is one number that all threads would write.
const GRAIN: u32 = 4 * 1024;

/// A ceiling for the memory of all sessions together. Above it new connections are refused; those that are open stay,
/// and are served as before.
///
/// Clones are handles of the same ceiling.
///
/// # The estimate
///
/// It is an estimate, made by the loop that serves a session whenever the session waits: 4 KiB for the session itself
/// (12 KiB under TLS), the room of its read buffer, and the output that waits for its client, told to the nearest 4 KiB.
/// Not counted are what the conversation and the backend keep beside that (the view of a large mailbox, caches), and
/// what the kernel keeps in its socket buffers. On a server with large mailboxes leave half of what there is to them.
///
/// ```
/// use pillarbox_server_core::limits::{LimitReached, MemoryCeiling};
///
/// let ceiling = MemoryCeiling::new(10_000);
/// let (one, two, three) = (ceiling.admit()?, ceiling.admit()?, ceiling.admit()?);
/// assert_eq!(ceiling.admit().unwrap_err(), LimitReached::Memory);
/// drop(one);
/// assert!(ceiling.admit().is_ok());
/// # drop((two, three));
/// # Ok::<(), LimitReached>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryCeiling(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    used: AtomicU64,
    most: AtomicU64,
}

/// One session's part; dropped, it no longer counts. It goes into
/// [`ServeOptions::memory`](crate::ServeOptions::memory).
#[derive(Debug)]
#[must_use = "what is dropped does not count"]
pub struct MemoryShare {
    shared: Arc<Shared>,
    // Half words: every connection has one of these.
    counted: u32,
    input: u32,
}

impl MemoryCeiling {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Shared { used: AtomicU64::new(0), most: AtomicU64::new(bytes) }))
    }

    /// Changes the ceiling. Nobody is dropped.
    pub fn set(&self, bytes: u64) {
        self.0.most.store(bytes, Ordering::Relaxed);
    }

    /// The ceiling, in bytes.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.0.most.load(Ordering::Relaxed)
    }

    /// The estimate of what all sessions take now, in bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Lets a session in, if the others leave room.
    ///
    /// # Errors
    ///
    /// [`LimitReached::Memory`].
    pub fn admit(&self) -> Result<MemoryShare, LimitReached> {
        // Two that come at once may both pass: it is an estimate.
        if self.used() >= self.most() {
            return Err(LimitReached::Memory);
        }
        self.0.used.fetch_add(SESSION.into(), Ordering::Relaxed);
        Ok(MemoryShare { shared: self.0.clone(), counted: SESSION, input: 0 })
    }
}

impl MemoryShare {
    /// The session waits, with so much in its buffers. The room of the read buffer may be unknown, when it can't be looked
    /// at: then it is what it was.
    pub(crate) fn tell(&mut self, input: Option<usize>, output: usize, tls: bool) {
        let half = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        self.input = input.map_or(self.input, half);
        let buffers = self.input.saturating_add(half(output));
        let own = if tls { SESSION + TLS } else { SESSION };
        let size = own.saturating_add(buffers / GRAIN * GRAIN);
        if size > self.counted {
            self.shared.used.fetch_add((size - self.counted).into(), Ordering::Relaxed);
        } else if size < self.counted {
            self.shared.used.fetch_sub((self.counted - size).into(), Ordering::Relaxed);
        }
        self.counted = size;
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.shared.used.fetch_sub(self.counted.into(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_and_go() {
        let ceiling = MemoryCeiling::new(100_000);
        let mut one = ceiling.admit().unwrap();
        let two = ceiling.admit().unwrap();
        assert_eq!(ceiling.used(), 8192);
        one.tell(Some(1_000), 0, false);
        assert_eq!(ceiling.used(), 8192, "small change");
        one.tell(Some(60_000), 0, true);
        one.tell(None, 40_000, true);
        assert!((100_000..130_000).contains(&ceiling.used()));
        assert!(ceiling.admit().is_err());
        one.tell(Some(0), 0, true);
        assert_eq!(ceiling.used(), 8192 * 2);
        assert!(ceiling.admit().is_ok());
        ceiling.set(8192);
        assert_eq!(ceiling.admit().unwrap_err(), LimitReached::Memory);
        drop((one, two));
        assert_eq!(ceiling.used(), 0);
    }
}
