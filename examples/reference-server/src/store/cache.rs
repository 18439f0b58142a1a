//! Small messages that were read more than once lately, in memory, for all accounts of a process.
//!
//! A user's phone, desktop and notifier fetch the same new message within seconds, and many a client asks for a header
//! and then for the rest. Opening a small file costs more than sending it; so a message that is read a second time is
//! kept for the third. One that is read once, as when a whole mailbox is copied, is not copied here: only its number is
//! noted.
//!
//! What is kept is asked for only with the index's row of a message, so a message is as present as the index says, and
//! by the name of its file as well, so it is never another's. The content behind a UID never changes (RFC 9051, section
//! 2.3.1.1).
//!
//! There are two generations. Once the younger one has half of the room, it becomes the older one, which is dropped;
//! what is used moves to the younger one. So memory is bounded, and what is used stays.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::lock;

/// Messages beyond this many octets are not kept: of these, the file is the smaller part of the cost.
const LARGEST: usize = 32 * 1024;
/// What a message costs beside its octets and its name.
const OVERHEAD: usize = 128;
/// Messages of which is noted that they were read, in each generation.
const NOTED: usize = 8 * 1024;

/// A message: a number that [`Cache::space`] gave for its mailbox, and its UID.
pub(super) type Key = (u64, u32);

/// The messages that are kept.
#[derive(Debug, Default)]
pub(super) struct Cache {
    limit: usize,
    spaces: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    young: Generation,
    old: Generation,
    /// Read once.
    noted: HashSet<Key>,
    noted_before: HashSet<Key>,
}

#[derive(Default)]
struct Generation {
    messages: HashMap<Key, Kept>,
    octets: usize,
}

struct Kept {
    base: Box<str>,
    content: Bytes,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation").field("messages", &self.messages.len()).finish_non_exhaustive()
    }
}

impl Kept {
    fn weight(&self) -> usize {
        self.content.len() + self.base.len() + OVERHEAD
    }
}

impl Generation {
    fn insert(&mut self, key: Key, kept: Kept) {
        self.octets += kept.weight();
        if let Some(before) = self.messages.insert(key, kept) {
            self.octets -= before.weight();
        }
    }

    fn remove(&mut self, key: Key) -> Option<Kept> {
        let kept = self.messages.remove(&key)?;
        self.octets -= kept.weight();
        Some(kept)
    }
}

impl Inner {
    fn insert(&mut self, key: Key, kept: Kept, limit: usize) {
        if self.young.octets + kept.weight() > limit / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        if kept.weight() <= limit / 2 {
            self.young.insert(key, kept);
        }
    }

    /// Notes that a message is read; says whether it had been before.
    fn note(&mut self, key: Key) -> bool {
        if self.noted.contains(&key) || self.noted_before.contains(&key) {
            return true;
        }
        if self.noted.len() >= NOTED {
            self.noted_before = std::mem::take(&mut self.noted);
        }
        self.noted.insert(key);
        false
    }
}

impl Cache {
    /// Keeps up to this many octets; with 0, nothing.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// A number for a mailbox, or for one whose messages are to be forgotten: it was never given before.
    pub(super) fn space(&self) -> u64 {
        self.spaces.fetch_add(1, Ordering::Relaxed)
    }

    /// What is kept of these messages, in their order; each is told with the name of its file without flags.
    pub(super) fn find<'a>(&self, messages: impl Iterator<Item = (Key, &'a str)>) -> Vec<Option<Bytes>> {
        if self.limit == 0 {
            return Vec::new();
        }
        let mut inner = lock(&self.inner);
        messages
            .map(|(key, base)| {
                if let Some(kept) = inner.young.messages.get(&key) {
                    return (*kept.base == *base).then(|| kept.content.clone());
                }
                let kept = inner.old.remove(key).filter(|kept| *kept.base == *base)?;
                let content = kept.content.clone();
                inner.insert(key, kept, self.limit);
                Some(content)
            })
            .collect()
    }

    /// These messages were read from their files. Those that had been before are kept from now on.
    pub(super) fn note<'a>(&self, messages: impl Iterator<Item = (Key, &'a str, Bytes)>) {
        if self.limit == 0 {
            return;
        }
        let mut inner = lock(&self.inner);
        for (key, base, content) in messages {
            if content.len() <= LARGEST && inner.note(key) {
                // A copy: what it is a part of would be held as well.
                let kept = Kept { base: base.into(), content: Bytes::copy_from_slice(&content) };
                inner.insert(key, kept, self.limit);
            }
        }
    }

    /// This message was expunged.
    pub(super) fn forget(&self, key: Key) {
        if self.limit > 0 {
            let mut inner = lock(&self.inner);
            inner.young.remove(key);
            inner.old.remove(key);
        }
    }

    /// How many octets are held.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        let inner = lock(&self.inner);
        inner.young.octets + inner.old.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cache: &Cache, uid: u32, base: &str, content: &[u8]) -> bool {
        let found = cache.find(std::iter::once(((0, uid), base))).pop().flatten();
        match found {
            Some(found) => assert_eq!(found, content, "another message's content"),
            None => cache.note(std::iter::once(((0, uid), base, Bytes::copy_from_slice(content)))),
        }
        cache.find(std::iter::once(((0, uid), base))).pop().flatten().is_some()
    }

    #[test]
    fn what_is_read_twice_is_kept() {
        let cache = Cache::new(1 << 20);
        assert!(!read(&cache, 1, "a", b"one"));
        assert_eq!(cache.octets(), 0);
        assert!(read(&cache, 1, "a", b"one"));
        assert!(read(&cache, 1, "a", b"one"));
        assert_ne!(cache.space(), cache.space());
        cache.forget((0, 1));
        assert_eq!(cache.octets(), 0);
        assert!(cache.find(std::iter::once(((0, 1), "a"))).pop().flatten().is_none());
    }

    #[test]
    fn a_file_of_another_name_is_another_message() {
        let cache = Cache::new(1 << 20);
        read(&cache, 1, "a", b"one");
        read(&cache, 1, "a", b"one");
        assert!(cache.find(std::iter::once(((0, 1), "b"))).pop().flatten().is_none());
        assert!(cache.find(std::iter::once(((1, 1), "a"))).pop().flatten().is_none());
        assert!(read(&cache, 1, "b", b"two"));
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let limit = 100 << 10;
        let cache = Cache::new(limit);
        for uid in 2..2000 {
            let content = vec![b'x'; uid as usize % 3000];
            for _ in 0..2 {
                read(&cache, uid, "name", &content);
                assert!(cache.octets() <= limit, "{} octets", cache.octets());
            }
            let kept = read(&cache, 1, "often", b"a message that is used all the time");
            assert!(kept || uid == 2, "at {uid}");
        }
        assert!(cache.octets() > limit / 4);
        // Neither what is too large, nor anything where it is off.
        let large = vec![b'x'; LARGEST + 1];
        assert!(!read(&cache, 5000, "l", &large) && !read(&cache, 5000, "l", &large));
        let off = Cache::new(0);
        assert!(!read(&off, 1, "a", b"one") && !read(&off, 1, "a", b"one"));
        let tiny = Cache::new(200);
        assert!(!read(&tiny, 1, "a", b"one") && !read(&tiny, 1, "a", b"one"));
        assert!(tiny.octets() <= 200);
    }
}
