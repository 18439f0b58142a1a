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

/// Lines up to this length are copied at this length, which takes no call; what is too much is written over.
const SHORT: usize = 128;

/// Writes a piece with its bare line feeds made CRLF into `room`, and returns how many octets that are. There has to be
/// room for twice the piece.
pub(super) fn convert_into(piece: &[u8], last: &mut u8, room: &mut [u8]) -> usize {
    let (mut start, mut made) = (0, 0);
    for at in memchr_iter(b'\n', piece) {
        if before(piece, at, *last) != b'\r' {
            copy(piece, start, at - start, room, made);
            made += at - start;
            if let Some(place) = room.get_mut(made) {
                *place = b'\r';
            }
            made += 1;
            start = at;
        }
    }
    copy(piece, start, piece.len() - start, room, made);
    if let Some(end) = piece.last() {
        *last = *end;
    }
    made + piece.len() - start
}

/// Copies this many octets to where there is room for them.
fn copy(piece: &[u8], start: usize, length: usize, room: &mut [u8], at: usize) {
    if length <= SHORT
        && let Some(from) = piece.get(start..).and_then(|rest| rest.first_chunk::<SHORT>())
        && let Some(to) = room.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<SHORT>())
    {
        *to = *from;
    } else if let (Some(from), Some(to)) = (piece.get(start..start + length), room.get_mut(at..at + length)) {
        to.copy_from_slice(from);
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

    #[test]
    fn lines_of_any_length_convert() {
        // Around the length up to which lines are copied the quick way, at the end of a piece and before it.
        for length in [0, 1, 2, SHORT - 2, SHORT - 1, SHORT, SHORT + 1, 3 * SHORT] {
            for lines in [1, 2, 3, 9] {
                let mut text = Vec::new();
                for line in 0..lines {
                    text.extend((0..length).map(|at| b'a' + (at % 23) as u8));
                    text.extend_from_slice(if line % 4 == 2 { b"\\r\\n" } else { b"\\n" });
                }
                for text in [text.clone(), [&text[..], b"rest"].concat()] {
                    let mut room = vec![b'-'; 2 * text.len() + 1];
                    let made = convert_into(&text, &mut 0, &mut room);
                    assert!(room[..made] == whole(&text), "{lines} of {length}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_convert_as_the_whole(text in "[a\r\n]{0,40}", cut in 0usize..40) {
            let text = text.as_bytes();
            let cut = cut.min(text.len());
            let (mut out, mut last, mut counted, mut bare) = (Vec::new(), 0, 0, 0);
            let (mut room, mut made, mut also) = ([0; 80], 0, 0);
            for piece in [&text[..cut], &text[cut..]] {
                convert(piece, &mut last, &mut out);
                made += convert_into(piece, &mut also, &mut room[made..]);
                bare += count_bare(piece, &mut counted);
            }
            prop_assert_eq!(&out[..], &whole(text)[..]);
            prop_assert_eq!((&room[..made], also), (&out[..], last));
            prop_assert_eq!(out.len() as u64, text.len() as u64 + bare);
        }
    }
}
