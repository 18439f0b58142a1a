//! Every dialogue under `tests/transcripts`, played line by line and cut in every way.
//!
//! With `UPDATE_TRANSCRIPTS=1` in the environment the answers in the files are replaced by those that the server gives;
//! whoever does that reads the difference.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::path::Path;

use proptest::prelude::*;
use support::transcript::{Cut, Transcript, load, play, record};

fn all() -> Vec<Transcript> {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts"))
}

#[test]
fn line_by_line() {
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        for transcript in all() {
            std::fs::write(&transcript.path, record(&transcript)).unwrap();
        }
    }
    let transcripts = all();
    assert!(transcripts.len() >= 20, "the transcripts are there");
    let failures: Vec<String> =
        transcripts.iter().filter_map(|transcript| play(transcript, Cut::Lines).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn octet_by_octet_and_all_at_once() {
    for transcript in all() {
        for size in [1, 2, 3, 7, usize::MAX] {
            play(&transcript, Cut::Pieces(&mut || size)).unwrap_or_else(|failure| panic!("cut by {size}: {failure}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn cut_at_random(sizes in proptest::collection::vec(1_usize..60, 1..40)) {
        for transcript in all() {
            let mut sizes = sizes.iter().cycle();
            let outcome = play(&transcript, Cut::Pieces(&mut || *sizes.next().unwrap_or(&1)));
            prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
        }
    }
}
