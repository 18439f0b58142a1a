//! What is kept of a message, and damage to it.

use bytes::Bytes;

use super::samples::{NESTED, STRUCTURES};
use super::*;

#[test]
fn a_summary_answers_what_the_message_does() {
    let message = crlf(NESTED);
    let summary = Summary::decode(&Summary::compute(&message).encode()).unwrap();
    assert_eq!(summary.structure(), &Structure::parse(&message));
    assert_eq!(summary.header_size(), summary.header().unwrap().len() as u64);
    let mut builder = SummaryBuilder::new();
    message.chunks(3).for_each(|piece| builder.push(piece));
    assert_eq!(builder.finish(), summary);
}

#[test]
fn large_headers_are_left_out() {
    for (size, kept) in [(MAX_CACHED_HEADER, true), (MAX_CACHED_HEADER + 1, false)] {
        let mut message = b"A: ".to_vec();
        message.resize(size - 4, b'x');
        message.extend(b"\r\n\r\nbody");
        let summary = Summary::compute(&message);
        assert_eq!(summary.header_size(), size as u64);
        assert_eq!(summary.header().is_some(), kept);
        check(&message);
    }
}

#[test]
fn damage_is_noticed() {
    for (_, message, _) in STRUCTURES {
        let octets = Summary::compute(&crlf(message)).encode();
        for at in 0..octets.len() {
            let mut damaged = octets.to_vec();
            damaged[at] ^= 1 << (at % 8);
            assert_eq!(Summary::decode(&damaged.into()), None);
            assert_eq!(Summary::decode(&octets.slice(..at)), None);
        }
    }
    assert_eq!(Summary::decode(&Bytes::new()), None);
}

#[test]
fn what_passes_the_check_is_still_a_tree() {
    // Damage before the check is computed: the reader alone must hold.
    for (_, message, _) in STRUCTURES.iter().chain(&[("nested", NESTED, "")]) {
        let message = crlf(message);
        let octets = Summary::compute(&message).encode();
        for at in 0..octets.len() - 8 {
            for change in [1, 0x80, 0xFF] {
                let mut damaged = octets[..octets.len() - 8].to_vec();
                damaged[at] ^= change;
                let sum = summary::checksum(&damaged);
                damaged.extend(sum.to_le_bytes());
                if let Some(summary) = Summary::decode(&damaged.into()) {
                    let mut out = Vec::new();
                    summary.structure().write_body_structure(Dialect::Rev2, &mut out);
                    for part in summary.structure().parts() {
                        assert!(part.header.start <= part.body.start && part.body.end <= summary.size());
                    }
                }
            }
        }
    }
}
