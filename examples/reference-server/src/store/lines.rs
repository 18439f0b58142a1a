//! Line ends: from the bare line feeds of a file to the CRLF of a message.
//!
//! Octets are converted as they are read, in pieces; a line feed is bare if the octet before it, perhaps in the piece
//! before, is no carriage return. Nothing else is changed.

use memchr::{memchr, memchr_iter};

/// How many bare line feeds there are. `last` is the octet before this piece, and becomes the last one of it.
pub(super) fn count_bare(piece: &[u8], last: &mut u8) -> u64 {
    let bare = memchr_iter(b'\n', piece).filter(|at| before(piece, *at, *last) != b'\r').count();
    if let Some(end) = piece.last() {
        *last = *end;
    }
    bare as u64
}

/// Appends a piece with its bare line feeds made CRLF.
pub(super) fn convert(piece: &[u8], last: &mut u8, out: &mut Vec<u8>) {
    let mut start = 0;
    while let Some(rest) = piece.get(start..)
        && let Some(length) = memchr(b'\n', rest)
    {
        let at = start + length;
        if before(piece, at, *last) == b'\r' {
            out.extend_from_slice(piece.get(start..=at).unwrap_or_default());
        } else {
            out.extend_from_slice(piece.get(start..at).unwrap_or_default());
            out.extend_from_slice(b"\r\n");
        }
        start = at + 1;
    }
    out.extend_from_slice(piece.get(start..).unwrap_or_default());
    if let Some(end) = piece.last() {
        *last = *end;
    }
}

fn before(piece: &[u8], at: usize, last: u8) -> u8 {
    match at.checked_sub(1) {
        Some(at) => piece.get(at).copied().unwrap_or(last),
        None => last,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, byte) in text.iter().enumerate() {
            if *byte == b'\n' && (at == 0 || text[at - 1] != b'\r') {
                out.push(b'\r');
            }
            out.push(*byte);
        }
        out
    }

    proptest! {
        #[test]
        fn pieces_convert_as_the_whole(text in "[a\r\n]{0,40}", cut in 0usize..40) {
            let text = text.as_bytes();
            let cut = cut.min(text.len());
            let (mut out, mut last, mut counted, mut bare) = (Vec::new(), 0, 0, 0);
            for piece in [&text[..cut], &text[cut..]] {
                convert(piece, &mut last, &mut out);
                bare += count_bare(piece, &mut counted);
            }
            prop_assert_eq!(&out[..], &whole(text)[..]);
            prop_assert_eq!(out.len() as u64, text.len() as u64 + bare);
        }
    }
}
