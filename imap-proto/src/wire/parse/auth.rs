//! LOGIN, AUTHENTICATE, ENABLE and ID: who talks to whom (RFC 9051, sections 6.2 and 6.3.1; RFC 2971).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::wire::chars;
use crate::wire::cursor::{Cursor, Result, members};
use crate::wire::error::ParseErrorKind;
use crate::wire::string::{AString, SecretString};

/// A LOGIN command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    /// The user.
    pub userid: AString<'a>,
    /// The password.
    pub password: SecretString<'a>,
}

/// An AUTHENTICATE command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticate<'a> {
    /// The SASL mechanism's name, as the client wrote it.
    pub mechanism: Mechanism<'a>,
    /// The initial response, if one was sent along (RFC 4959).
    pub initial_response: Option<SaslResponse<'a>>,
}

/// A SASL mechanism's name. Two are equal when they differ in case only.
#[derive(Clone, Copy, Eq)]
pub struct Mechanism<'a>(&'a [u8]);

impl<'a> Mechanism<'a> {
    /// The name, which is ASCII, in the client's case.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        // Made of atom characters alone, so this cannot fail.
        std::str::from_utf8(self.0).unwrap_or_default()
    }
}

impl PartialEq for Mechanism<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl fmt::Debug for Mechanism<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A client's answer in a SASL exchange, in base64. It prints as `***`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslResponse<'a>(&'a [u8]);

/// What a client sent in a SASL exchange is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's answer is not valid base64")]
pub struct InvalidBase64;

impl<'a> SaslResponse<'a> {
    /// The answer's octets; none for `=`, which is an empty initial response.
    ///
    /// # Errors
    ///
    /// When it is not base64 in its canonical form, with padding (RFC 9051, section 9: `base64`).
    pub fn decode(&self) -> std::result::Result<Vec<u8>, InvalidBase64> {
        if self.0 == b"=" {
            return Ok(Vec::new());
        }
        STANDARD.decode(self.0).map_err(|_| InvalidBase64)
    }

    pub(crate) const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for SaslResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One line of a SASL exchange after the command itself, as the framer's line mode hands it out, line end included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslLine<'a> {
    /// An answer to the server's challenge.
    Response(SaslResponse<'a>),
    /// `*`: the client gives up; the command gets a tagged BAD (RFC 9051, section 6.2.2).
    Cancel,
}

impl<'a> SaslLine<'a> {
    /// Reads a line, with or without its end.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line == b"*" { Self::Cancel } else { Self::Response(SaslResponse(line)) }
    }
}

/// The capabilities of an ENABLE, checked but still on the wire. At least one.
#[derive(Clone, Copy)]
pub struct CapabilityList<'a> {
    raw: &'a [u8],
}

impl<'a> CapabilityList<'a> {
    /// How many there are, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Never true: there is at least one.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The names, in the client's order and case.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let list = if self.raw.is_empty() { None } else { Some(self.raw.split(|byte| *byte == b' ')) };
        list.into_iter().flatten()
    }
}

impl PartialEq for CapabilityList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for CapabilityList<'_> {}

impl fmt::Debug for CapabilityList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.raw))
    }
}

/// The fields of an ID, checked but still on the wire; maybe none (RFC 2971, section 3.3).
#[derive(Clone, Copy)]
pub struct IdFields<'a> {
    raw: &'a [u8],
}

impl<'a> IdFields<'a> {
    /// `NIL`, or a list with nothing in it.
    pub const NONE: Self = Self { raw: &[] };

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Names and values; `None` stands for NIL.
    pub fn iter(&self) -> impl Iterator<Item = (AString<'a>, Option<AString<'a>>)> + use<'a> {
        members(self.raw, b' ', id_field)
    }
}

impl PartialEq for IdFields<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for IdFields<'_> {}

impl fmt::Debug for IdFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn id_field<'a>(cursor: &mut Cursor<'a>) -> Result<(AString<'a>, Option<AString<'a>>)> {
    let name = cursor.string("a field's name as a string")?;
    cursor.space()?;
    let value = if cursor.eat_word(b"NIL") { None } else { Some(cursor.string("a string or NIL")?) };
    Ok((name, value))
}

/// Parses what follows `LOGIN `.
pub(crate) fn parse_login<'a>(cursor: &mut Cursor<'a>) -> Result<Login<'a>> {
    let userid = cursor.astring("a user name")?;
    cursor.space()?;
    Ok(Login { userid, password: SecretString(cursor.astring("a password")?) })
}

/// Parses what follows `AUTHENTICATE `.
pub(crate) fn parse_authenticate<'a>(cursor: &mut Cursor<'a>) -> Result<Authenticate<'a>> {
    let mechanism = Mechanism(cursor.atom("a SASL mechanism")?);
    let mut initial_response = None;
    if cursor.eat(b' ') {
        initial_response = Some(SaslResponse(cursor.take_some(chars::BASE64, "base64 or \"=\"")?));
    }
    Ok(Authenticate { mechanism, initial_response })
}

/// Parses what follows `ENABLE `.
pub(crate) fn parse_enable<'a>(cursor: &mut Cursor<'a>) -> Result<CapabilityList<'a>> {
    let start = cursor.position();
    let mut count = 0;
    loop {
        if count == cursor.limits.list_items {
            return cursor.fail(ParseErrorKind::Limit("capabilities"));
        }
        cursor.atom("a capability")?;
        count += 1;
        if !cursor.eat(b' ') {
            return Ok(CapabilityList { raw: cursor.since(start) });
        }
    }
}

/// Parses what follows `ID `.
pub(crate) fn parse_id<'a>(cursor: &mut Cursor<'a>) -> Result<IdFields<'a>> {
    if cursor.eat_word(b"NIL") {
        return Ok(IdFields::NONE);
    }
    let raw = cursor.list_or_empty(|cursor| id_field(cursor).map(drop), "ID fields")?;
    Ok(IdFields { raw })
}
