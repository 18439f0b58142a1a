//! The one who writes transcripts and telemetry: a thread of its own behind a queue that has an end, so that neither a
//! slow disk nor a slow log holds up a session.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;
use tracing::warn;

use crate::metrics;
use crate::telemetry::{Bytes, Opening};
use crate::transcript::Lines;

/// Notes that wait at most.
const NOTES: usize = 4096;
/// Octets that wait at most.
const OCTETS: usize = 4 * 1024 * 1024;
/// How long a shutdown waits for the last notes to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the thread, which ends when nobody has it any more.
pub(crate) struct Scribe {
    queue: SyncSender<Note>,
    waiting: Arc<AtomicUsize>,
}

/// Something to be written.
pub(crate) enum Note {
    Lines(Lines),
    Open(Opening),
    Bytes(Bytes),
    /// All that was noted before has been written.
    Flush(oneshot::Sender<()>),
}

impl Note {
    fn len(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Open(_) | Self::Flush(_) => 0,
        }
    }
}

/// Where a scribe is found by who needs one first.
#[derive(Debug, Default)]
pub(crate) struct Desk(OnceLock<Option<Arc<Scribe>>>);

impl Desk {
    /// The scribe, who begins to work with the first to ask. None if there is no thread to be had.
    pub(crate) fn scribe(&self) -> Option<Arc<Scribe>> {
        let start = || Scribe::start().inspect_err(|error| warn!(%error, "no transcripts, no telemetry")).ok();
        self.0.get_or_init(start).clone()
    }

    /// Waits until all that was noted has been written, but not for ever.
    pub(crate) async fn flush(&self) {
        if let Some(Some(scribe)) = self.0.get() {
            scribe.flush().await;
        }
    }
}

impl fmt::Debug for Scribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scribe")
    }
}

impl Scribe {
    /// Starts the thread. It logs where its maker does.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let (queue, notes) = sync_channel(NOTES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let scribe = Arc::new(Self { queue, waiting: waiting.clone() });
        let log = dispatcher::get_default(Dispatch::clone);
        std::thread::Builder::new().name("pillarbox-scribe".into()).spawn(move || {
            if log.is::<NoSubscriber>() {
                // There may be one later.
                run(&notes, &waiting);
            } else {
                dispatcher::with_default(&log, || run(&notes, &waiting));
            }
        })?;
        Ok(scribe)
    }

    /// Hands something over to be written; says whether there was room for it.
    pub(crate) fn note(&self, note: Note) -> bool {
        let len = note.len();
        if self.waiting.fetch_add(len, Ordering::Relaxed).saturating_add(len) <= OCTETS
            && self.queue.try_send(note).is_ok()
        {
            return true;
        }
        self.waiting.fetch_sub(len, Ordering::Relaxed);
        false
    }

    /// Waits until all that was noted has been written, but not for ever.
    pub(crate) async fn flush(&self) {
        let flushed = async {
            loop {
                let (done, told) = oneshot::channel();
                if self.note(Note::Flush(done)) {
                    return told.await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, flushed).await;
    }
}

fn run(notes: &Receiver<Note>, waiting: &AtomicUsize) {
    for note in notes {
        waiting.fetch_sub(note.len(), Ordering::Relaxed);
        match note {
            Note::Lines(lines) => lines.write(),
            Note::Open(opening) => opening.write(),
            Note::Bytes(bytes) => bytes.write(),
            Note::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// Counts what was not written.
pub(crate) fn unwritten(count: u64) {
    metrics::unwritten(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_room_comes_back() {
        let (queue, notes) = sync_channel(2);
        let scribe = Scribe { queue, waiting: Arc::default() };
        let flush = || Note::Flush(oneshot::channel().0);
        assert!(scribe.note(flush()) && scribe.note(flush()) && !scribe.note(flush()));
        drop(notes.recv().unwrap());
        assert!(scribe.note(flush()));
        let large = |size| Note::Lines(Lines::test("x".repeat(size)));
        let scribe = Scribe { queue: sync_channel(2).0, waiting: Arc::default() };
        assert!(!scribe.note(large(OCTETS + 1)), "nobody takes them");
        assert_eq!(scribe.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_flush_returns_once_all_is_written() {
        let scribe = Scribe::start().unwrap();
        scribe.flush().await;
        let waiting = scribe.waiting.clone();
        drop(scribe);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
