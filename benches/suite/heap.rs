//! A counting allocator.
//!
//! Counting is off while times are taken, as it would slow down whoever allocates more.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering};

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, counting when asked to.
pub(crate) struct Counting;

fn add(size: usize) {
    if ON.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        let size = size.cast_signed();
        PEAK.fetch_max(HELD.fetch_add(size, Ordering::Relaxed) + size, Ordering::Relaxed);
    }
}

fn remove(size: usize) {
    if ON.load(Ordering::Relaxed) {
        HELD.fetch_sub(size.cast_signed(), Ordering::Relaxed);
    }
}

// SAFETY: everything is handed to the system's allocator as it came; the counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        remove(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        remove(layout.size());
        add(size);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What some work did to the heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap {
    /// Allocations, growing ones included.
    pub(crate) allocations: u64,
    /// Octets that it held at most, beyond what was held before.
    pub(crate) peak: isize,
    /// Octets that it still holds.
    pub(crate) held: isize,
}

/// Does some work and counts. Never nested.
pub(crate) fn count<T>(work: impl FnOnce() -> T) -> (T, Heap) {
    let begun = begin();
    let result = work();
    let heap = begun.look();
    ON.store(false, Ordering::SeqCst);
    (result, heap)
}

/// Counting that goes on until [`Begun::end`].
pub(crate) struct Begun(());

/// Begins to count, from zero.
pub(crate) fn begin() -> Begun {
    ALLOCATIONS.store(0, Ordering::SeqCst);
    HELD.store(0, Ordering::SeqCst);
    PEAK.store(0, Ordering::SeqCst);
    ON.store(true, Ordering::SeqCst);
    Begun(())
}

impl Begun {
    /// What was counted up to now.
    pub(crate) fn look(&self) -> Heap {
        Heap {
            allocations: ALLOCATIONS.load(Ordering::SeqCst),
            peak: PEAK.load(Ordering::SeqCst),
            held: HELD.load(Ordering::SeqCst),
        }
    }

    /// Ends it.
    pub(crate) fn end(self) {
        ON.store(false, Ordering::SeqCst);
    }
}

/// The process's resident set, in octets.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * 4096
}
