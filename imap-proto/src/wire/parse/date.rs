//! Dates of SEARCH and APPEND.

use std::fmt;

use pillarbox_proto_core::mail::{DateTime, civil_from_days, parse_date};

use crate::wire::chars;
use crate::wire::cursor::{Cursor, Result};
use crate::wire::error::ParseErrorKind;

/// A calendar day without time and zone, as SEARCH names it (RFC 9051, section 9: `date`). Years go from 0 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    days: i64,
}

impl Date {
    /// Days since 1 January 1970, negative before; compare with [`DateTime::days`].
    #[must_use]
    pub const fn days(self) -> i64 {
        self.days
    }

    /// `date`: as text, maybe in quotes.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self> {
        const WHAT: &str = "a date such as 1-Feb-1994";
        let quoted = cursor.eat(b'"');
        let start = cursor.position();
        let text = cursor.take_some(chars::WORD, WHAT)?;
        let Some(days) = parse_date(text) else {
            return cursor.fail_at(start, ParseErrorKind::Invalid("not a date such as 1-Feb-1994"));
        };
        if quoted {
            cursor.expect(b'"', "a quote that ends the date")?;
        }
        Ok(Self { days })
    }
}

/// As the grammar writes it: `1-Feb-1994`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (year, month, day) = civil_from_days(self.days);
        let month = MONTHS.get(usize::from(month).wrapping_sub(1)).unwrap_or(&MONTHS[0]);
        write!(f, "{day}-{month}-{year:04}")
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `date-time`, quotes included.
pub(crate) fn date_time(cursor: &mut Cursor<'_>) -> Result<DateTime> {
    let start = cursor.position();
    cursor.expect(b'"', "a date-time in quotes")?;
    let rest = cursor.rest();
    let length = rest.iter().position(|byte| !chars::is(*byte, chars::QUOTED)).unwrap_or(rest.len());
    let date = DateTime::parse(rest.get(..length).unwrap_or_default());
    cursor.skip(length)?;
    cursor.expect(b'"', "a quote that ends the date-time")?;
    match date {
        Ok(date) => Ok(date),
        Err(_) => {
            const WHAT: &str = "not a date-time such as \" 7-Feb-1994 22:43:04 -0800\"";
            cursor.fail_at(start, ParseErrorKind::Invalid(WHAT))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Option<String> {
        let mut cursor = Cursor::checked(text.as_bytes());
        let date = Date::parse(&mut cursor).ok()?;
        cursor.at_end().then(|| date.to_string())
    }

    #[test]
    fn dates() {
        assert_eq!(date("1-Feb-1994").as_deref(), Some("1-Feb-1994"));
        assert_eq!(date("\"01-fEB-1994\"").as_deref(), Some("1-Feb-1994"));
        assert_eq!(date("29-Feb-2000").as_deref(), Some("29-Feb-2000"));
        assert_eq!(date("31-Dec-1969").as_deref(), Some("31-Dec-1969"));
        for text in
            ["32-Jan-2020", "29-Feb-1900", "0-Jan-2020", "1-Jan-20", "\"1-Jan-2020", "1-Xyz-2020", "001-Jan-2020", ""]
        {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn date_times() {
        let parse = |text: &str| {
            let mut cursor = Cursor::checked(text.as_bytes());
            date_time(&mut cursor).ok().filter(|_| cursor.at_end())
        };
        assert_eq!(parse("\"17-Jul-1996 02:44:25 -0700\"").unwrap().unix(), 837_596_665);
        assert!(parse("\" 7-Jul-1996 02:44:25 -0700\"").is_some());
        for text in [
            "\"7-Jul-1996 02:44:25 -0700\"",
            "\"17-Jul-1996 25:44:25 -0700\"",
            "17-Jul-1996 02:44:25 -0700",
            "\"\"",
            "\"17-Jul-1996",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
