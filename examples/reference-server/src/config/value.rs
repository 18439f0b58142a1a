//! Values of the configuration that TOML has no type for.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A length of time: an integer with one of the units `d`, `h`, `m`, `s`, `ms`, or a bare number of milliseconds.
/// It is more than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let millis = match unit.trim_start() {
            "d" => number.checked_mul(86_400_000)?,
            "h" => number.checked_mul(3_600_000)?,
            "m" => number.checked_mul(60_000)?,
            "s" => number.checked_mul(1_000)?,
            "ms" | "" => number,
            _ => return None,
        };
        (millis > 0).then_some(Self(Duration::from_millis(millis)))
    }
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

/// One text, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, millis) in [("1d", 86_400_000), ("2h", 7_200_000), ("30m", 1_800_000), ("10 s", 10_000), ("7", 7)] {
            assert_eq!(Span::parse(text), Some(Span(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "0", "0s", "-1s", "1w", "s", "1.5s", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
        assert_eq!(Span(Duration::from_millis(90_000)).to_string(), "90s");
        assert_eq!(Span(Duration::from_secs(3600)).to_string(), "1h");
        assert_eq!(Span(Duration::from_millis(1)).to_string(), "1ms");
    }
}
