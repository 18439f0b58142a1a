//! Where a session's bytes are looked at as they pass, above TLS.

use std::io::IoSlice;
use std::sync::Arc;

use pillarbox_proto_core::Output;
use pillarbox_proto_core::transcript::Direction;

use crate::listener::Listener;
use crate::record::Record;
use crate::scribe::{Desk, Scribe};
use crate::telemetry::Feed;
use crate::transcript::Transcript;

/// Pieces of output that are looked at at a time; no write takes more.
const SLICES: usize = 256;

/// Takes what a transcript or telemetry wants of one session.
#[derive(Debug)]
pub(crate) struct Tap {
    record: Arc<Record>,
    scribe: Arc<Scribe>,
    transcript: Option<Transcript>,
    telemetry: Option<Feed>,
}

impl Tap {
    /// None for most sessions.
    pub(crate) fn new(listener: &Listener, record: &Arc<Record>, scribe: &Desk) -> Option<Box<Self>> {
        let transcript = listener.transcript.and_then(|plan| Transcript::new(plan.options, plan.redactor));
        let telemetry = listener.telemetry.as_ref().filter(|(telemetry, _)| telemetry.has_folder());
        let telemetry = telemetry.map(|(telemetry, redactor)| Feed::new(telemetry.clone(), *redactor));
        if transcript.is_none() && telemetry.is_none() {
            return None;
        }
        Some(Box::new(Self { record: record.clone(), scribe: scribe.scribe()?, transcript, telemetry }))
    }

    pub(crate) fn passed(&mut self, direction: Direction, bytes: &[u8]) {
        if let Some(transcript) = &mut self.transcript {
            transcript.passed(direction, bytes, &self.scribe);
        }
        if let Some(feed) = &mut self.telemetry
            && !feed.passed(direction, bytes, &self.record, &self.scribe)
        {
            self.telemetry = None;
        }
    }

    /// Whether nothing is wanted any more.
    pub(crate) fn is_done(&self) -> bool {
        self.transcript.is_none() && self.telemetry.is_none()
    }

    /// The first octets of the output have been written.
    pub(crate) fn written(&mut self, output: &Output, mut count: usize) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = output.chunks(&mut slices);
        // One piece of telemetry for one write, as it is one of its marks.
        let mut gathered = Vec::new();
        for slice in slices.get(..filled).unwrap_or_default() {
            let part = slice.get(..count).unwrap_or(slice);
            count -= part.len();
            if count == 0 && gathered.is_empty() {
                return self.passed(Direction::Server, part);
            }
            gathered.extend_from_slice(part);
            if count == 0 {
                break;
            }
        }
        self.passed(Direction::Server, &gathered);
    }

    /// TLS stands.
    #[cfg(feature = "tls")]
    pub(crate) fn secured(&mut self) {
        if let Some(transcript) = &mut self.transcript {
            transcript.secured();
        }
        if let Some(feed) = &mut self.telemetry {
            feed.secured();
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(transcript) = &mut self.transcript {
            transcript.end(&self.scribe);
        }
    }
}
