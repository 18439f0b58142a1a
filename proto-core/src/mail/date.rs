//! Dates and times as IMAP writes them.
//!
//! A [`DateTime`] is an instant with the offset from UTC that its writer was in, as INTERNALDATE carries it (RFC 9051,
//! section 2.3.3). This module knows the Gregorian calendar, before and after 1970, and nothing of time zones' names,
//! rules or the current time.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
/// Local times that four digits of year can write: 0000-01-01 00:00:00 to 9999-12-31 23:59:59.
const FIRST_LOCAL: i64 = days_from_civil(0, 1, 1) * DAY;
const LAST_LOCAL: i64 = days_from_civil(9999, 12, 31) * DAY + DAY - 1;
/// The largest offset from UTC, in minutes: 23:59.
const MAX_OFFSET: i16 = 23 * 60 + 59;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What is wrong with a date or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDate {
    /// The text does not have the form that the grammar asks for.
    #[error("not a date-time of the form \"dd-Mon-yyyy hh:mm:ss +zzzz\"")]
    Syntax,
    /// The year is not one of 0 to 9999, or the day does not exist in that month.
    #[error("no such day in the calendar")]
    Day,
    /// The hour, minute or second is out of range.
    #[error("no such time of day")]
    Time,
    /// The offset from UTC is a day or more, or its minutes are 60 or more.
    #[error("no such offset from UTC")]
    Offset,
}

/// An instant, to the second, with the offset from UTC that it was written in (RFC 9051, `date-time`).
///
/// It covers the local years 0 to 9999, which is what the wire can carry; instants outside are held at the ends.
/// Values are ordered by their instant; two of the same instant are equal only if their offsets are too.
///
/// ```
/// use pillarbox_proto_core::mail::DateTime;
///
/// let date = DateTime::parse(b"17-Jul-1996 02:44:25 -0700")?;
/// assert_eq!(date.unix(), 837_596_665);
/// assert_eq!(date.civil(), (1996, 7, 17));
/// assert_eq!(date.to_string(), "17-Jul-1996 02:44:25 -0700");
/// // SEARCH looks at the day as written, whatever the instant.
/// assert_eq!(Some(date.days()), pillarbox_proto_core::mail::parse_date(b"17-Jul-1996"));
/// # Ok::<(), pillarbox_proto_core::mail::InvalidDate>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    seconds: i64,
    offset: i16,
}

impl DateTime {
    /// The instant of this many seconds since 1970-01-01 00:00:00 UTC (negative before), at offset 0.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self::held(seconds, 0)
    }

    /// The instant of this many seconds since 1970-01-01 00:00:00 UTC, written at an offset of minutes east of UTC.
    ///
    /// # Errors
    ///
    /// [`InvalidDate::Offset`] if the offset is 24 hours or more in either direction.
    pub const fn from_unix_at(seconds: i64, offset_minutes: i16) -> Result<Self, InvalidDate> {
        if offset_minutes > MAX_OFFSET || offset_minutes < -MAX_OFFSET {
            return Err(InvalidDate::Offset);
        }
        Ok(Self::held(seconds, offset_minutes))
    }

    /// The instant at a local date and time, at an offset of minutes east of UTC.
    ///
    /// `month` and `day` count from 1. Second 60 is accepted for leap seconds and held at 59.
    ///
    /// # Errors
    ///
    /// [`InvalidDate`] says which part does not exist.
    pub fn from_parts(
        (year, month, day): (i32, u8, u8),
        (hour, minute, second): (u8, u8, u8),
        offset_minutes: i16,
    ) -> Result<Self, InvalidDate> {
        let days = checked_days(year, month, day).ok_or(InvalidDate::Day)?;
        if hour > 23 || minute > 59 || second > 60 {
            return Err(InvalidDate::Time);
        }
        let time = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second.min(59));
        Self::from_unix_at(days * DAY + time - offset_minutes as i64 * 60, offset_minutes)
    }

    /// Reads an IMAP `date-time` without its quotes: `17-Jul-1996 02:44:25 -0700`, where a day of one digit has a
    /// space before it. The month is read in any case (RFC 9051, section 9).
    ///
    /// # Errors
    ///
    /// [`InvalidDate`] if the form is another, or the day, time or offset does not exist.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidDate> {
        let text: &[u8; 26] = text.try_into().map_err(|_| InvalidDate::Syntax)?;
        let [d1, d0, b'-', m2, m1, m0, b'-', y3, y2, y1, y0, b' ', rest @ ..] = *text else {
            return Err(InvalidDate::Syntax);
        };
        let [h1, h0, b':', n1, n0, b':', s1, s0, b' ', sign, zh1, zh0, zm1, zm0] = rest else {
            return Err(InvalidDate::Syntax);
        };
        let d1 = if d1 == b' ' { b'0' } else { d1 };
        let number = |digits: &[u8]| number(digits).ok_or(InvalidDate::Syntax);
        let day = number(&[d1, d0])? as u8;
        let month = month_of([m2, m1, m0]).ok_or(InvalidDate::Syntax)?;
        let year = i32::from(number(&[y3, y2, y1, y0])?);
        let time = (number(&[h1, h0])? as u8, number(&[n1, n0])? as u8, number(&[s1, s0])? as u8);
        let (zone_hours, zone_minutes) = (number(&[zh1, zh0])?, number(&[zm1, zm0])?);
        let sign = match sign {
            b'+' => 1,
            b'-' => -1,
            _ => return Err(InvalidDate::Syntax),
        };
        if zone_hours > 23 || zone_minutes > 59 {
            return Err(InvalidDate::Offset);
        }
        Self::from_parts((year, month, day), time, sign * (zone_hours * 60 + zone_minutes) as i16)
    }

    /// Seconds since 1970-01-01 00:00:00 UTC; negative before.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.seconds
    }

    /// The offset from UTC in minutes, positive to the east.
    #[must_use]
    pub const fn offset_minutes(self) -> i16 {
        self.offset
    }

    /// Days from 1970-01-01 to the local date; negative before. The keys BEFORE, ON and SINCE compare this: they
    /// disregard time and time zone (RFC 9051, section 6.4.4).
    #[must_use]
    pub const fn days(self) -> i64 {
        self.local().div_euclid(DAY)
    }

    /// The local date: year, month (1 to 12), day (1 to 31).
    #[must_use]
    pub const fn civil(self) -> (i32, u8, u8) {
        civil_from_days(self.days())
    }

    /// The local time of day: hour, minute, second.
    #[must_use]
    pub const fn clock(self) -> (u8, u8, u8) {
        let time = self.local().rem_euclid(DAY);
        ((time / 3600) as u8, (time / 60 % 60) as u8, (time % 60) as u8)
    }

    /// As the `Date` line of a message has it: `Wed, 17 Jul 1996 02:44:25 -0700` (RFC 5322, section 3.3).
    ///
    /// ```
    /// use pillarbox_proto_core::mail::DateTime;
    ///
    /// assert_eq!(DateTime::from_unix(0).message_date(), "Thu, 1 Jan 1970 00:00:00 +0000");
    /// ```
    #[must_use]
    pub fn message_date(self) -> String {
        const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        let weekday = WEEKDAYS.get(self.days().rem_euclid(7) as usize).unwrap_or(&WEEKDAYS[0]);
        let (year, month, day) = self.civil();
        let (hour, minute, second) = self.clock();
        let month = MONTHS.get(usize::from(month).wrapping_sub(1)).unwrap_or(&MONTHS[0]);
        let (sign, offset) = (if self.offset < 0 { '-' } else { '+' }, self.offset.unsigned_abs());
        format!(
            "{weekday}, {day} {month} {year:04} {hour:02}:{minute:02}:{second:02} {sign}{:02}{:02}",
            offset / 60,
            offset % 60
        )
    }

    const fn local(self) -> i64 {
        self.seconds + self.offset as i64 * 60
    }

    const fn held(seconds: i64, offset: i16) -> Self {
        let east = offset as i64 * 60;
        let seconds = if seconds < FIRST_LOCAL - east {
            FIRST_LOCAL - east
        } else if seconds > LAST_LOCAL - east {
            LAST_LOCAL - east
        } else {
            seconds
        };
        Self { seconds, offset }
    }
}

/// Writes an IMAP `date-time` without its quotes; always 26 octets.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        let (hour, minute, second) = self.clock();
        let month = MONTHS.get(usize::from(month).wrapping_sub(1)).unwrap_or(&MONTHS[0]);
        let (sign, offset) = (if self.offset < 0 { '-' } else { '+' }, self.offset.unsigned_abs());
        write!(
            f,
            "{day:2}-{month}-{year:04} {hour:02}:{minute:02}:{second:02} {sign}{:02}{:02}",
            offset / 60,
            offset % 60
        )
    }
}

impl fmt::Debug for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DateTime({self})")
    }
}

/// The instant, rounded down to the second, at offset 0.
impl From<SystemTime> for DateTime {
    fn from(time: SystemTime) -> Self {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => {
                let before = before.duration();
                let whole = before.as_secs() + u64::from(before.subsec_nanos() > 0);
                i64::try_from(whole).map_or(i64::MIN, |whole| -whole)
            }
        };
        Self::from_unix(seconds)
    }
}

/// The instant; 1970 if the system's clock cannot say it.
impl From<DateTime> for SystemTime {
    fn from(date: DateTime) -> Self {
        let distance = Duration::from_secs(date.seconds.unsigned_abs());
        let time = if date.seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        time.unwrap_or(UNIX_EPOCH)
    }
}

/// Reads an IMAP `date` without quotes, such as `1-Feb-1994`, and returns its days since 1970-01-01 (negative before).
///
/// The day has one or two digits, the year four, the month is read in any case (RFC 9051, section 9). `None` if the
/// form is another or the day does not exist in the calendar.
#[must_use]
pub fn parse_date(text: &[u8]) -> Option<i64> {
    let (day, rest) = match *text {
        [d0, b'-', ref rest @ ..] => (number(&[d0])?, rest),
        [d1, d0, b'-', ref rest @ ..] => (number(&[d1, d0])?, rest),
        _ => return None,
    };
    let [m2, m1, m0, b'-', y3, y2, y1, y0] = *rest else { return None };
    checked_days(i32::from(number(&[y3, y2, y1, y0])?), month_of([m2, m1, m0])?, day as u8)
}

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar; negative before.
///
/// `month` is 1 to 12 and `day` counts from 1; they are not checked, a day beyond its month runs into the next.
#[must_use]
pub const fn days_from_civil(year: i32, month: u8, day: u8) -> i64 {
    // Years begin in March here, so that the leap day is the last of its year.
    let month = month as i64;
    let year = year as i64 - (month <= 2) as i64;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day as i64 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    // 719,468 days from 0000-03-01 to 1970-01-01; an era of 400 years has 146,097.
    era * 146_097 + day_of_era - 719_468
}

/// The day of the proleptic Gregorian calendar that is this many days from 1970-01-01: year, month (1 to 12), day (1 to
/// 31). Meaningful while the year fits an `i32`.
#[must_use]
pub const fn civil_from_days(days: i64) -> (i32, u8, u8) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    ((year_of_era + era * 400 + (month <= 2) as i64) as i32, month as u8, day as u8)
}

fn checked_days(year: i32, month: u8, day: u8) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + u8::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    ((0..=9999).contains(&year) && (1..=length).contains(&day)).then(|| days_from_civil(year, month, day))
}

/// The value of up to four digits.
fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0u16, |value, digit| {
        digit.is_ascii_digit().then(|| value.wrapping_mul(10).wrapping_add(u16::from(digit - b'0')))
    })
}

fn month_of(name: [u8; 3]) -> Option<u8> {
    let at = MONTHS.iter().position(|month| month.as_bytes().eq_ignore_ascii_case(&name))?;
    Some(at as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn date_times_of_the_grammar() {
        for (text, unix, days) in [
            ("17-Jul-1996 02:44:25 -0700", 837_596_665, 9694),
            (" 1-Jan-1970 00:00:00 +0000", 0, 0),
            ("31-Dec-1969 23:59:59 +0000", -1, -1),
            (" 1-Jan-1970 01:00:00 +0200", -3600, 0),
            ("29-Feb-2000 12:00:00 +0530", 951_805_800, 11_016),
            (" 1-Jan-0000 00:00:00 +0000", -62_167_219_200, -719_528),
            ("31-Dec-9999 23:59:59 -2359", 253_402_387_139, 2_932_896),
            (" 1-Jan-0000 00:00:00 +2359", -62_167_305_540, -719_528),
        ] {
            let date = DateTime::parse(text.as_bytes()).unwrap();
            assert_eq!((date.unix(), date.days()), (unix, days), "{text}");
            assert_eq!(date.to_string(), text);
        }
    }

    #[test]
    fn other_spellings_of_a_date_time() {
        let parse = |text: &str| DateTime::parse(text.as_bytes()).map(|date| date.to_string());
        assert_eq!(parse("07-JUL-1996 02:44:25 -0000").unwrap(), " 7-Jul-1996 02:44:25 +0000");
        assert_eq!(parse("31-dec-2016 23:59:60 +0000").unwrap(), "31-Dec-2016 23:59:59 +0000");
    }

    #[test]
    fn date_times_that_are_none() {
        use InvalidDate::{Day, Offset, Syntax, Time};
        for (text, why) in [
            ("", Syntax),
            ("1-Jul-1996 02:44:25 -0700", Syntax),
            ("17-Jul-1996 02:44:25 -0700 ", Syntax),
            ("\"7-Jul-1996 02:44:25 -0700", Syntax),
            ("1 -Jul-1996 02:44:25 -0700", Syntax),
            ("17-Jul-1996 02:44:25  0700", Syntax),
            ("17-Jux-1996 02:44:25 -0700", Syntax),
            ("17-Jul-96   02:44:25 -0700", Syntax),
            ("17-Jul-1996 2:44:25 -07000", Syntax),
            ("17-Jul-1996 02:44:2\u{b2} -070", Syntax),
            (" 0-Jul-1996 02:44:25 -0700", Day),
            ("32-Jan-1996 02:44:25 -0700", Day),
            ("29-Feb-1900 02:44:25 -0700", Day),
            ("31-Apr-1996 02:44:25 -0700", Day),
            ("17-Jul-1996 24:00:00 -0700", Time),
            ("17-Jul-1996 23:60:00 -0700", Time),
            ("17-Jul-1996 23:00:61 -0700", Time),
            ("17-Jul-1996 02:44:25 -2400", Offset),
            ("17-Jul-1996 02:44:25 +0060", Offset),
        ] {
            assert_eq!(DateTime::parse(text.as_bytes()), Err(why), "{text}");
        }
        assert_eq!(DateTime::from_unix_at(0, i16::MIN), Err(Offset));
        assert_eq!(DateTime::from_parts((10_000, 1, 1), (0, 0, 0), 0), Err(Day));
        assert_eq!(DateTime::from_parts((1996, 13, 1), (0, 0, 0), 0), Err(Day));
    }

    #[test]
    fn dates_of_the_grammar() {
        for (text, days) in [
            ("1-Feb-1994", Some(8797)),
            ("01-feb-1994", Some(8797)),
            ("1-Jan-1970", Some(0)),
            ("31-Dec-1969", Some(-1)),
            ("29-Feb-2000", Some(11_016)),
            ("32-Jan-1994", None),
            ("30-Feb-2000", None),
            ("29-Feb-1994", None),
            ("0-Feb-1994", None),
            (" 1-Feb-1994", None),
            ("001-Feb-1994", None),
            ("1-Feb-94", None),
            ("1-Feb-19940", None),
            ("-Feb-1994", None),
            ("1-Feb-1994 ", None),
            ("", None),
        ] {
            assert_eq!(parse_date(text.as_bytes()), days, "{text}");
        }
    }

    #[test]
    fn instants_beyond_the_wire_are_held() {
        assert_eq!(DateTime::from_unix(i64::MAX).to_string(), "31-Dec-9999 23:59:59 +0000");
        assert_eq!(DateTime::from_unix(i64::MIN).to_string(), " 1-Jan-0000 00:00:00 +0000");
        assert_eq!(DateTime::from_unix_at(i64::MAX, 120).unwrap().to_string(), "31-Dec-9999 23:59:59 +0200");
    }

    #[test]
    fn order_is_by_instant() {
        let east = DateTime::parse(b" 2-Jan-2020 01:00:00 +0900").unwrap();
        let west = DateTime::parse(b" 1-Jan-2020 23:00:00 -0800").unwrap();
        assert!(east < west && east.days() > west.days());
    }

    #[test]
    fn system_time_and_back() {
        let before = UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(DateTime::from(before).unix(), -2);
        assert_eq!(SystemTime::from(DateTime::from_unix(-2)), UNIX_EPOCH - Duration::from_secs(2));
        let after = UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(DateTime::from(after).unix(), 1);
        assert_eq!(SystemTime::from(DateTime::from_unix(1)), UNIX_EPOCH + Duration::from_secs(1));
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1582, 1, 1);
        let first = days_from_civil(year, month, day);
        for days in first..first + 200_000 {
            assert_eq!(days_from_civil(year, month, day), days);
            assert_eq!(civil_from_days(days), (year, month, day));
            assert_eq!(checked_days(year, month, day), Some(days));
            day += 1;
            if checked_days(year, month, day).is_none() {
                (month, day) = (month + 1, 1);
                if month == 13 {
                    (year, month) = (year + 1, 1);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in -62_167_000_000i64..253_402_000_000, offset in -1439i16..=1439) {
            let date = DateTime::from_unix_at(seconds, offset).unwrap();
            prop_assert_eq!(date.unix(), seconds);
            prop_assert_eq!(DateTime::parse(date.to_string().as_bytes()), Ok(date));
            prop_assert_eq!(DateTime::from_parts(date.civil(), date.clock(), offset), Ok(date));
            let text = date.to_string();
            prop_assert_eq!(parse_date(text.as_bytes()[..11].trim_ascii_start()), Some(date.days()));
        }

        #[test]
        fn no_input_panics(text in prop::collection::vec(any::<u8>(), 0..32), days in any::<i64>(), seconds in any::<i64>()) {
            let _ = (DateTime::parse(&text), parse_date(&text), civil_from_days(days));
            let _ = DateTime::from_unix(seconds).to_string();
        }
    }
}
