//! Replays the committed inputs of every target, and cuts and bends of them.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and names its input"
)]

use std::fs;
use std::path::Path;

use pillarbox_fuzz_harness::heap::Counting;

#[global_allocator]
static HEAP: Counting = Counting;

/// Runs a target's check on its inputs, on beginnings of them, and with single octets changed.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        let seed = fs::read(&path).unwrap();
        eprintln!("{}", path.display());
        check(&seed);
        let step = seed.len() / 40 + 1;
        for at in (0..seed.len()).step_by(step) {
            check(&seed[..at]);
            let mut bent = seed.clone();
            bent[at] ^= 1 << (at % 8);
            check(&bent);
        }
        count += 1;
    }
    assert!(count >= 5, "{} holds only {count} inputs", folder.display());
}

#[test]
fn framer() {
    replay("framer", pillarbox_fuzz_harness::framer::framer);
}

#[test]
fn command() {
    replay("command", pillarbox_fuzz_harness::command::command);
}

#[test]
fn imap() {
    replay("imap", pillarbox_fuzz_harness::imap::imap);
}

#[test]
fn pop3() {
    replay("pop3", pillarbox_fuzz_harness::pop3::pop3);
}

#[test]
fn message() {
    replay("message", pillarbox_fuzz_harness::message::message);
}
