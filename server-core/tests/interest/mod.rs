//! Sees to it that every event is asked about anew, on the thread that it comes up on.
//!
//! What `tracing` finds of an event's place when that is first come by, it remembers for all threads; and while there is
//! one subscriber, it asks that of the thread. So a test without one would take events away from a test that waits for
//! them.

use std::sync::OnceLock;

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_core::LevelFilter;

static BOTH: OnceLock<[Dispatch; 2]> = OnceLock::new();

/// To be called before a subscriber is set.
pub fn never_remembered() {
    // With the first one nothing is come by yet, as it is off; with the second one there are several.
    BOTH.get_or_init(|| [LevelFilter::OFF, LevelFilter::TRACE].map(|level| Dispatch::new(Nobody(level))));
}

/// A subscriber that is nobody's, and can't tell beforehand what it takes.
struct Nobody(LevelFilter);

impl Subscriber for Nobody {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0)
    }
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
