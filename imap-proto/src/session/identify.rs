//! What a client says of itself (ID: RFC 2971), for the log of whoever watches the session. It changes nothing else.

use std::borrow::Cow;

use super::Session;
use crate::server_id::ServerId;
use crate::wire::command::IdFields;

/// Which of a client's words have been told on. One that repeats itself must not fill a log (RFC 2971, section 7).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Identified {
    before_login: bool,
    after_login: bool,
}

impl Session {
    /// Tells the observer, once in each state, what the client has said.
    pub(super) fn identified(&mut self, fields: &IdFields<'_>) {
        if fields.is_empty() {
            return;
        }
        let logged_in = self.is_authenticated();
        let Some(observer) = &self.connection.observer else { return };
        let told = if logged_in { &mut self.identified.after_login } else { &mut self.identified.before_login };
        if std::mem::replace(told, true) {
            return;
        }
        let value = |value: Cow<'_, [u8]>| printable(&value, ServerId::LONGEST_VALUE);
        let fields: Vec<(String, Option<String>)> = fields
            .iter()
            .take(ServerId::MOST_FIELDS)
            .map(|(name, text)| {
                (printable(&name.value(), ServerId::LONGEST_NAME), text.map(|text| value(text.value())))
            })
            .collect();
        let fields: Vec<(&str, Option<&str>)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        observer.identified(&fields);
    }
}

/// Text for one line of a log, of at most so many octets.
fn printable(text: &[u8], most: usize) -> String {
    let mut shown = String::new();
    for chunk in text.utf8_chunks() {
        let replaced = if chunk.invalid().is_empty() { None } else { Some(char::REPLACEMENT_CHARACTER) };
        for char in chunk.valid().chars().chain(replaced) {
            let length = shown.len();
            if char.is_control()
                || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                shown.extend(char.escape_unicode());
            } else {
                shown.push(char);
            }
            if shown.len() > most {
                shown.truncate(length);
                return shown;
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_fits_on_a_line() {
        assert_eq!(printable(b"Pink Floyd Music Limited", 1024), "Pink Floyd Music Limited");
        assert_eq!(printable(b"a\r\nb\x1b[2J\xff\xc3\xa9", 1024), "a\\u{d}\\u{a}b\\u{1b}[2J\u{fffd}\u{e9}");
        assert_eq!(printable("\u{202e}x\u{2028}".as_bytes(), 1024), "\\u{202e}x\\u{2028}");
        assert_eq!(printable("\u{e9}\u{e9}".as_bytes(), 3), "\u{e9}");
        assert_eq!(printable(b"ab\0", 3), "ab");
    }
}
