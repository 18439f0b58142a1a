//! Values of the configuration that TOML has no type for.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A length of time: integers with units, such as `90s`, `500ms`, `30 minutes` or `1 hour 30 minutes`, or a bare number of
/// milliseconds. It is more than 0.
///
/// Units are `ms`, and any beginning of `seconds`, `minutes`, `hours`, `days`, `weeks` and `months` (31 days); the letter
/// `m` alone is a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let millis: u64 = text.parse().ok()?;
            return (millis > 0).then_some(Self(Duration::from_millis(millis)));
        }
        Self::units(text)
    }

    /// The sum of numbers that each have a unit.
    pub(super) fn units(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut sum = 0_u64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let number: u64 = number.parse().ok()?;
            let after = after.trim_start();
            let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, after) = after.split_at(letters);
            sum = sum.checked_add(number.checked_mul(unit_millis(unit)?)?)?;
            rest = after.trim_start();
        }
        (sum > 0).then_some(Self(Duration::from_millis(sum)))
    }
}

fn unit_millis(unit: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 6] = [
        ("seconds", 1_000),
        ("minutes", 60_000),
        ("hours", 3_600_000),
        ("days", 86_400_000),
        ("weeks", 7 * 86_400_000),
        ("months", 31 * 86_400_000),
    ];
    let unit = unit.to_ascii_lowercase();
    if unit == "ms" {
        return Some(1);
    }
    let found = UNITS.iter().find(|(name, _)| name.starts_with(&unit) && !unit.is_empty());
    found.map(|(_, millis)| *millis)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis >= size && millis.is_multiple_of(size) {
                return write!(f, "{}{unit}", millis / size);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor;
        impl Visitor<'_> for SpanVisitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time above 0, such as \"30m\", \"10s\" or \"500ms\"")
            }
            fn visit_i64<E: de::Error>(self, millis: i64) -> Result<Span, E> {
                match u64::try_from(millis) {
                    Ok(millis) if millis > 0 => Ok(Span(Duration::from_millis(millis))),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(millis), &self)),
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(SpanVisitor)
    }
}

/// How long to wait for somebody: a bare number of seconds, or a length of time with units. 0 is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience(pub(super) Option<Duration>);

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "\"{}\"", Span(time)),
            None => f.write_str("0"),
        }
    }
}

impl<'de> Deserialize<'de> for Patience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PatienceVisitor;
        impl Visitor<'_> for PatienceVisitor {
            type Value = Patience;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds, a length of time such as \"30 minutes\", or 0 for ever")
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Patience, E> {
                match u64::try_from(seconds) {
                    Ok(0) => Ok(Patience(None)),
                    Ok(seconds) => Ok(Patience(Some(Duration::from_secs(seconds)))),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(seconds), &self)),
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Patience, E> {
                if let Ok(seconds) = text.parse::<u32>() {
                    return self.visit_i64(seconds.into());
                }
                let span = Span::units(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Patience(Some(span.0)))
            }
        }
        deserializer.deserialize_any(PatienceVisitor)
    }
}

/// A number of seconds, which may be 0, or a length of time of whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) u32);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsVisitor;
        impl Visitor<'_> for SecondsVisitor {
            type Value = Seconds;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds, or a length of time such as \"5m\"")
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                let wrong = || E::invalid_value(de::Unexpected::Signed(seconds), &self);
                u32::try_from(seconds).map(Seconds).map_err(|_| wrong())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                let span = Span::parse(text).filter(|span| span.0.subsec_nanos() == 0).ok_or_else(wrong)?;
                // A bare number would be one of milliseconds elsewhere.
                if text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(wrong());
                }
                u32::try_from(span.0.as_secs()).map(Seconds).map_err(|_| wrong())
            }
        }
        deserializer.deserialize_any(SecondsVisitor)
    }
}

/// A number of octets, bare or with a unit: `KiB`, `MiB`, `GiB` (also `K`, `M`, `G`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let unit = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(unit).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of octets, such as 65536 or \"64 MiB\"")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                let wrong = || E::invalid_value(de::Unexpected::Signed(number), &self);
                u64::try_from(number).map(Size).map_err(|_| wrong())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// One text, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

/// A text, or a whole number as text: for what is a number or a name, such as a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor;
        impl Visitor<'_> for WordVisitor {
            type Value = Word;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a name")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.to_owned()))
            }
        }
        deserializer.deserialize_any(WordVisitor)
    }
}

/// A text that stands in the file, or `{ env = "NAME" }`: the value of an environment variable.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// In the file.
    Here(String),
    /// In this variable.
    Env(String),
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(_) => f.write_str("Here(***)"),
            Self::Env(name) => f.debug_tuple("Env").field(name).finish(),
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GivenVisitor;
        impl<'de> Visitor<'de> for GivenVisitor {
            type Value = Given;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or { env = \"NAME\" }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Given, E> {
                Ok(Given::Here(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
                let mut name = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "env" {
                        return Err(de::Error::unknown_field(&key, &["env"]));
                    }
                    name = Some(map.next_value()?);
                }
                name.map(Given::Env).ok_or_else(|| de::Error::missing_field("env"))
            }
        }
        deserializer.deserialize_any(GivenVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, millis) in [
            ("1d", 86_400_000),
            ("2h", 7_200_000),
            ("30m", 1_800_000),
            ("10 s", 10_000),
            ("7", 7),
            ("30 minutes", 1_800_000),
            ("1 hour 30 min", 5_400_000),
            ("1h30m", 5_400_000),
            ("2 W", 1_209_600_000),
            ("1 month", 2_678_400_000),
        ] {
            assert_eq!(Span::parse(text), Some(Span(Duration::from_millis(millis))), "{text}");
        }
        for text in [
            "",
            "0",
            "0s",
            "-1s",
            "1y",
            "s",
            "1.5s",
            "99999999999999999999d",
            "18446744073709551615d",
            "1 minutess",
            "1h 2",
        ] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
        assert_eq!(Span(Duration::from_millis(90_000)).to_string(), "90s");
        assert_eq!(Span(Duration::from_secs(3600)).to_string(), "1h");
        assert_eq!(Span(Duration::from_millis(1)).to_string(), "1ms");
    }

    #[test]
    fn sizes() {
        for (text, octets) in [("0", 0), ("65536", 65_536), ("64 MiB", 64 << 20), ("1k", 1024), ("2G", 2 << 30)] {
            assert_eq!(Size::parse(text), Some(Size(octets)), "{text}");
        }
        for text in ["", "x", "-1", "1 TB", "18446744073709551615K"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }
}
