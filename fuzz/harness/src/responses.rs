//! What a server says is well-formed, as far as a client must be able to tell without knowing what it asked.

use crate::drive::show;

/// Takes the output of a session apart: lines end with CRLF, literals are as long as announced, strings and lists end,
/// data responses hold no octet that the grammar does not have.
pub fn check(output: &[u8], whole: bool) {
    let mut rest = output;
    while !rest.is_empty() {
        match response(rest) {
            Some(length) => rest = &rest[length..],
            None => {
                assert!(!whole, "the last response does not end: {}", show(rest));
                return;
            }
        }
    }
}

/// The length of the first response; `None` if it is cut off.
fn response(all: &[u8]) -> Option<usize> {
    let line = &all[..all.windows(2).position(|window| window == b"\r\n")?];
    let text = line.strip_prefix(b"* ").is_none_or(is_status);
    if !line.starts_with(b"* ") {
        let tag = line.split(|octet| *octet == b' ').next().unwrap_or_default();
        assert!(!tag.is_empty() && tag.iter().all(|octet| (0x21..0x7f).contains(octet)), "no tag: {}", show(line));
        if tag != b"+" {
            assert!(is_status(&line[(tag.len() + 1).min(line.len())..]), "no status: {}", show(line));
        }
    }
    if text {
        // Human readable text, and response codes of this server, take no literal.
        assert!(!line.iter().any(|octet| matches!(octet, b'\0' | b'\r' | b'\n')), "{}", show(line));
        return Some(line.len() + 2);
    }
    let mut at = 2;
    let mut depth = 0_i32;
    loop {
        match *all.get(at)? {
            b'\r' => {
                assert_eq!(all.get(at + 1).copied()?, b'\n', "CR alone: {}", show(&all[..at + 1]));
                assert_eq!(depth, 0, "a list does not end: {}", show(&all[..at]));
                return Some(at + 2);
            }
            b'"' => {
                at += 1;
                while *all.get(at)? != b'"' {
                    if all[at] == b'\\' {
                        at += 1;
                        assert!(matches!(*all.get(at)?, b'"' | b'\\'), "{}", show(&all[..=at]));
                    }
                    assert!(!matches!(all[at], b'\r' | b'\n' | 0), "a string does not end: {}", show(&all[..=at]));
                    at += 1;
                }
                at += 1;
            }
            b'{' => {
                let digits = all[at + 1..].iter().take_while(|octet| octet.is_ascii_digit()).count();
                let after = at + 1 + digits;
                let end = all.get(after..after + 3)?;
                assert!(digits > 0 && end == b"}\r\n", "{}", show(&all[..after + 3]));
                let size: usize = std::str::from_utf8(&all[at + 1..after]).unwrap().parse().unwrap();
                all.get(after + 3..)?.get(..size)?;
                at = after + 3 + size;
            }
            b'(' => {
                depth += 1;
                at += 1;
            }
            b')' => {
                depth -= 1;
                assert!(depth >= 0, "a list ends that did not begin: {}", show(&all[..at]));
                at += 1;
            }
            octet => {
                assert!(octet >= 0x20 && octet != 0x7f, "octet {octet} in a response: {}", show(&all[..=at]));
                at += 1;
            }
        }
    }
}

fn is_status(line: &[u8]) -> bool {
    [b"OK ".as_slice(), b"NO ", b"BAD ", b"BYE ", b"PREAUTH "].iter().any(|word| line.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_output() {
        check(
            b"* OK [X] (hi\r\n* 1 FETCH (BODY[] {3}\r\na\"( FLAGS (\\Seen))\r\n+ go\r\na OK done\r\n* LIST () \"/\" \"a\\\"b\"\r\n",
            true,
        );
        check(b"* 1 FETCH (BODY[] {30}\r\na\"(", false);
    }

    #[test]
    fn bad_output() {
        for bad in [
            b"* 1 FETCH (BODY[] {3}\r\nab\r\n".as_slice(),
            b"* 1 FETCH (UID 1\r\n",
            b"* LIST () \"/\" \"a\r\n\"\r\n",
            b"a DONE\r\n",
            b"* 1 FETCH (UID \xff\0)\r\n",
            b"* OK hi",
        ] {
            assert!(std::panic::catch_unwind(|| check(bad, true)).is_err(), "{}", show(bad));
        }
    }
}
