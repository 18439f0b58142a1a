//! Every transcript is played as it is, and again however its input may be cut into reads.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use support::transcript::{Cut, Transcript};

#[test]
fn transcripts_hold() {
    let transcripts = Transcript::all();
    assert!(!transcripts.is_empty());
    for transcript in &transcripts {
        transcript.play(&Cut::Whole);
    }
}

#[test]
fn a_backend_without_an_index_makes_no_difference() {
    for transcript in &Transcript::all() {
        transcript.play_plain();
    }
}

#[test]
fn output_does_not_depend_on_how_input_is_cut() {
    for transcript in &Transcript::all() {
        let whole = transcript.play(&Cut::Whole);
        assert_eq!(transcript.play(&Cut::Octets), whole, "{} octet by octet", transcript.name);
        for seed in 1..=8 {
            assert_eq!(transcript.play(&Cut::Seed(seed)), whole, "{} cut by seed {seed}", transcript.name);
        }
    }
}

/// Rewrites the transcripts whose name contains `TRANSCRIPT` with what is said today. Read what it writes against the
/// standard before you keep it.
#[test]
#[ignore = "writes to the source folder"]
fn record() {
    let wanted = std::env::var("TRANSCRIPT").unwrap();
    for transcript in Transcript::all().iter().filter(|transcript| transcript.name.contains(&wanted)) {
        transcript.record();
    }
}
