//! The `Date:` field (RFC 5322, sections 3.3 and 4.3).

use pillarbox_proto_core::mail::DateTime;

use super::params::comment_length;

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// The date that a `Date:` field's value says, or `None` if it cannot be understood: it matches no `SENT...` key then
/// (RFC 9051, section 6.4.4).
///
/// The obsolete forms are understood: years of two and three digits, zones with names, comments, no seconds. A missing
/// time is midnight, a missing or unknown zone is UTC.
///
/// ```
/// use pillarbox_imap_proto::message::parse_sent_date;
///
/// let date = parse_sent_date(b" Fri, 21 Nov 1997 09:55:06 -0600").unwrap();
/// assert_eq!(date.civil(), (1997, 11, 21));
/// assert_eq!(date.unix(), 880_127_706);
/// ```
#[must_use]
pub fn parse_sent_date(value: &[u8]) -> Option<DateTime> {
    let mut words = Words { rest: value };
    let mut word = words.next()?;
    if word.iter().all(u8::is_ascii_alphabetic) {
        word = words.next()?;
    }
    let day = u8::try_from(number(word, 2)?).ok()?;
    let month = words.next()?;
    let name = month.first_chunk::<3>()?.to_ascii_lowercase();
    if !month.iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    let month = MONTHS.iter().position(|known| **known == *name)? as u8 + 1;
    let year = words.next()?;
    let year = match (year.len(), number(year, 4)?) {
        (..=2, year @ ..50) => year + 2000,
        (..=3, year) => year + 1900,
        (_, year) => year,
    };
    // White space and comments may stand around the colons (RFC 5322, section 4.3).
    let mut time: Vec<u8> = Vec::new();
    let mut offset = 0;
    for word in words {
        if time.is_empty() || time.ends_with(b":") || word.starts_with(b":") {
            time.extend_from_slice(word);
        } else {
            offset = zone(word);
            break;
        }
    }
    let time = if time.is_empty() { (0, 0, 0) } else { clock(&time)? };
    DateTime::from_parts((i32::try_from(year).ok()?, month, day), time, offset).ok()
}

/// Splits at white space, commas and comments; a month is split from the dashes that some senders put around it.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let skip = match self.rest.first()? {
                b'(' => comment_length(self.rest),
                octet if is_gap(*octet) => 1,
                _ => break,
            };
            self.rest = self.rest.get(skip..)?;
        }
        let letters = self.rest.first().is_some_and(u8::is_ascii_alphabetic);
        let digits = self.rest.first().is_some_and(u8::is_ascii_digit);
        let ends = |octet: u8| {
            is_gap(octet)
                || octet == b'('
                || ((digits || letters) && matches!(octet, b'-' | b'+'))
                || (letters && octet == b'.')
        };
        let length = self.rest.iter().position(|&octet| ends(octet)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(length)?;
        // The dash in `21-Nov-1997` is a gap; the one before a zone is its sign.
        self.rest = match rest {
            [b'-', next, ..] if letters || next.is_ascii_alphabetic() => rest.get(1..)?,
            [b'.', ..] => rest.get(1..)?,
            _ => rest,
        };
        Some(word)
    }
}

const fn is_gap(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b',')
}

fn number(digits: &[u8], most: usize) -> Option<u32> {
    if digits.is_empty() || digits.len() > most {
        return None;
    }
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
}

fn clock(word: &[u8]) -> Option<(u8, u8, u8)> {
    let mut pieces = word.split(|&octet| octet == b':');
    let mut piece = |most| u8::try_from(number(pieces.next()?, most)?).ok();
    let (hour, minute) = (piece(2)?, piece(2)?);
    let second = match word.iter().filter(|&&octet| octet == b':').count() {
        1 => 0,
        _ => piece(2)?,
    };
    Some((hour, minute, second))
}

/// Minutes east of UTC. Zones that are not known count as UTC (RFC 5322, section 4.3).
fn zone(word: &[u8]) -> i16 {
    if let [sign @ (b'+' | b'-'), digits @ ..] = word {
        let Some(value) = number(digits, 4).filter(|value| digits.len() == 4 && value % 100 < 60 && *value < 2400)
        else {
            return 0;
        };
        let minutes = (value / 100 * 60 + value % 100) as i16;
        return if *sign == b'-' { -minutes } else { minutes };
    }
    let hours = match word.to_ascii_uppercase().as_slice() {
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        _ => 0,
    };
    hours * 60
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &str) -> String {
        parse_sent_date(value.as_bytes()).map_or_else(|| "none".to_owned(), |date| date.to_string())
    }

    #[test]
    fn reads_dates() {
        for (value, expected) in [
            (" Fri, 21 Nov 1997 09:55:06 -0600", "21-Nov-1997 09:55:06 -0600"),
            ("21 Nov 97 09:55:06 GMT", "21-Nov-1997 09:55:06 +0000"),
            ("Fri, 21 Nov 1997 09(comment):  55  :  06 -0600", "21-Nov-1997 09:55:06 -0600"),
            ("21 Nov 1997 09:55:06-0600", "21-Nov-1997 09:55:06 -0600"),
            ("21 Nov 1997 09:55:06+0200", "21-Nov-1997 09:55:06 +0200"),
            ("21 Nov 1997 09:55:06 -9900", "21-Nov-1997 09:55:06 +0000"),
            ("Mon, 1 Jan 2001 00:00 EST (x (y))", " 1-Jan-2001 00:00:00 -0500"),
            (
                "Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n   -0330 (Newfoundland)",
                "13-Feb-1969 23:32:00 -0330",
            ),
            ("1 July 2020 10:00:00 +0200", " 1-Jul-2020 10:00:00 +0200"),
            ("21-Nov-1997 09:55:06 -0600", "21-Nov-1997 09:55:06 -0600"),
            ("21-Nov-97 09:55:06 -0600", "21-Nov-1997 09:55:06 -0600"),
            ("Wed,21 Nov 1900 09:55:06 Z", "21-Nov-1900 09:55:06 +0000"),
            ("3 Mar 03 10:11:60 +0000", " 3-Mar-2003 10:11:59 +0000"),
            ("3 Mar 103 10:11:12", " 3-Mar-2003 10:11:12 +0000"),
            ("3 Mar 2003", " 3-Mar-2003 00:00:00 +0000"),
            ("", "none"),
            ("yesterday", "none"),
            ("32 Jan 2020 00:00:00 +0000", "none"),
            ("30 Feb 2020 00:00:00 +0000", "none"),
            ("1 Foo 2020 00:00:00 +0000", "none"),
            ("1 Jan 2020 25:00:00 +0000", "none"),
            ("1 Jan 20201 25:00:00 +0000", "none"),
        ] {
            assert_eq!(show(value), expected, "{value}");
        }
        assert!(parse_sent_date(b"13 Feb 1969 23:32:00 -0330").unwrap().days() < 0);
    }
}
