//! What a server says of itself in ID (RFC 2971).

use std::fmt;

/// The fields of a server's ID response, in the order in which they are told; the default has none, and is told as `NIL`.
///
/// RFC 2971, section 3.3 bounds them, and so does this type: at most 30 fields, each name once (in any case) and of 1 to
/// 30 octets, values of at most 1,024 octets. The names that it defines are `name`, `version`, `os`, `os-version`,
/// `vendor`, `support-url`, `address`, `date`, `command`, `arguments` and `environment`; others may be used.
///
/// Everybody who connects is shown them, before any login. No secret belongs here: neither arguments of a command that
/// holds one, nor an environment that has not been looked through.
///
/// ```
/// use pillarbox_imap_proto::{Config, ServerId};
///
/// let mut config = Config::default();
/// config.id_fields = ServerId::new([("name", "Pillarbox"), ("support-url", "https://example.org/help")])?;
///
/// let refused = ServerId::new([("name", "one"), ("NAME", "two")]);
/// assert_eq!(refused.unwrap_err().to_string(), "the ID field \"NAME\" is given twice");
/// # Ok::<(), pillarbox_imap_proto::ServerIdError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerId {
    fields: Vec<(String, String)>,
}

/// Why fields can't stand in an ID response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerIdError {
    /// There are more than 30 fields.
    #[error("more than {} ID fields", ServerId::MOST_FIELDS)]
    TooMany,
    /// A name is empty or longer than 30 octets.
    #[error("the name of the ID field {0:?} does not have 1 to {most} octets", most = ServerId::LONGEST_NAME)]
    Name(String),
    /// The value of the field of this name is longer than 1,024 octets.
    #[error("the value of the ID field {0:?} has more than {most} octets", most = ServerId::LONGEST_VALUE)]
    Value(String),
    /// The name, or the value of the field of this name, holds NUL, which no string of IMAP can carry.
    #[error("the ID field {0:?} holds NUL")]
    Nul(String),
    /// There is a field of this name already, in any case.
    #[error("the ID field {0:?} is given twice")]
    Repeated(String),
}

impl ServerId {
    /// How many fields there may be.
    pub const MOST_FIELDS: usize = 30;
    /// The longest name, in octets.
    pub const LONGEST_NAME: usize = 30;
    /// The longest value, in octets.
    pub const LONGEST_VALUE: usize = 1024;

    /// These fields, in this order.
    ///
    /// # Errors
    ///
    /// The first that the standard does not allow.
    pub fn new<N, V>(fields: impl IntoIterator<Item = (N, V)>) -> Result<Self, ServerIdError>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let mut this = Self::default();
        for (name, value) in fields {
            this.push(name, value)?;
        }
        Ok(this)
    }

    /// Adds a field.
    ///
    /// # Errors
    ///
    /// When the standard does not allow it beside those that are there.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<(), ServerIdError> {
        let (name, value) = (name.into(), value.into());
        if self.fields.len() >= Self::MOST_FIELDS {
            return Err(ServerIdError::TooMany);
        }
        if name.is_empty() || name.len() > Self::LONGEST_NAME {
            return Err(ServerIdError::Name(name));
        }
        if value.len() > Self::LONGEST_VALUE {
            return Err(ServerIdError::Value(name));
        }
        if name.contains('\0') || value.contains('\0') {
            return Err(ServerIdError::Nul(name));
        }
        if self.fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            return Err(ServerIdError::Repeated(name));
        }
        self.fields.push((name, value));
        Ok(())
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// One field after the other, `name "value"`.
impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name} {value:?}", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<const N: usize>(fields: [(&str, &str); N]) -> String {
        ServerId::new(fields).unwrap_err().to_string()
    }

    #[test]
    fn fields_keep_their_order() {
        let id = ServerId::new([("version", "1"), ("name", "x")]).unwrap();
        assert_eq!(id.iter().collect::<Vec<_>>(), [("version", "1"), ("name", "x")]);
        assert_eq!(id.to_string(), "version \"1\", name \"x\"");
    }

    #[test]
    fn the_bounds_of_the_standard_hold_to_the_octet() {
        let (long, longer) = ("n".repeat(30), "n".repeat(31));
        assert!(ServerId::new([(long, "v".repeat(1024))]).is_ok());
        assert_eq!(
            ServerId::new([(longer.clone(), "v")]).unwrap_err().to_string(),
            format!("the name of the ID field {longer:?} does not have 1 to 30 octets")
        );
        assert_eq!(refused([("", "v")]), "the name of the ID field \"\" does not have 1 to 30 octets");
        assert_eq!(
            ServerId::new([("os", "\u{e9}".repeat(513))]).unwrap_err().to_string(),
            "the value of the ID field \"os\" has more than 1024 octets"
        );
        assert_eq!(refused([("os", "a\0b")]), "the ID field \"os\" holds NUL");
        assert_eq!(refused([("os", "a"), ("Os", "b")]), "the ID field \"Os\" is given twice");
        let fields = |count: u32| (0..count).map(|number| (format!("x-{number}"), "v"));
        assert!(ServerId::new(fields(30)).is_ok());
        assert_eq!(ServerId::new(fields(31)).unwrap_err().to_string(), "more than 30 ID fields");
    }
}
