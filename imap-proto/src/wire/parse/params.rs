//! Parameters and modifiers in the general syntax that extensions share (RFC 4466, section 2.1).

use std::fmt;

use crate::wire::chars;
use crate::wire::cursor::{Cursor, Result, members};
use crate::wire::error::ParseErrorKind;

/// The deepest nesting of parentheses in a parameter's value. No extension has more than two.
const DEPTH: u32 = 4;

/// What may stand in parentheses after the arguments of SELECT, EXAMINE, FETCH, STORE: names, each with a value or
/// without. Checked but still on the wire.
///
/// The grammar lets any name through. Whoever runs the command refuses those that it does not know with BAD, as RFC
/// 4466 asks; [`Params::is_empty`] tells that there is nothing to refuse.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Params<'a> {
    raw: &'a [u8],
}

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name, an atom, as the client wrote it.
    pub name: ParamName<'a>,
    /// Its value as it stood on the wire, parentheses included.
    pub value: Option<ParamValue<'a>>,
}

/// A parameter's name. Two are equal when they differ in case only.
#[derive(Clone, Copy, Eq)]
pub struct ParamName<'a>(&'a [u8]);

impl<'a> ParamName<'a> {
    /// The name's bytes, in the client's case.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether it is this name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name.as_bytes())
    }
}

impl PartialEq for ParamName<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl fmt::Debug for ParamName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

/// A parameter's value: a number, a sequence set, or anything in parentheses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ParamValue<'a>(&'a [u8]);

impl<'a> ParamValue<'a> {
    /// The value as it stood on the wire, parentheses included.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for ParamValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

impl<'a> Params<'a> {
    /// None.
    pub const NONE: Self = Self { raw: &[] };

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The parameters, in the client's order.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        members(self.raw, b' ', param)
    }

    /// `"(" param *(SP param) ")"`
    pub(crate) fn parse(cursor: &mut Cursor<'a>) -> Result<Self> {
        let raw = cursor.list(|cursor| param(cursor).map(drop), "parameters")?;
        Ok(Self { raw })
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn param<'a>(cursor: &mut Cursor<'a>) -> Result<Param<'a>> {
    if matches!(cursor.peek(), Some(b'0'..=b'9')) {
        return cursor.fail(ParseErrorKind::Expected("a parameter's name"));
    }
    let name = ParamName(cursor.take_some(chars::WORD, "a parameter's name")?);
    // A value starts with a digit, `*`, `$` or a parenthesis; a following name with none of these, so that one
    // character ahead tells a value from the next parameter.
    let value = match (cursor.peek(), cursor.peek_second()) {
        (Some(b' '), Some(b'0'..=b'9' | b'*' | b'$' | b'(')) => {
            cursor.space()?;
            let start = cursor.position();
            value(cursor, 0)?;
            Some(ParamValue(cursor.since(start)))
        }
        _ => None,
    };
    Ok(Param { name, value })
}

/// A simple value (number or sequence set), or `"(" [tagged-ext-comp] ")"`.
fn value(cursor: &mut Cursor<'_>, depth: u32) -> Result<()> {
    if !cursor.eat(b'(') {
        let simple = |byte: &u8| matches!(byte, b'0'..=b'9' | b'*' | b'$' | b',' | b':');
        let length = cursor.rest().iter().take_while(|byte| simple(byte)).count();
        return cursor.skip(length);
    }
    if depth == DEPTH {
        return cursor.fail(ParseErrorKind::Limit("levels of parentheses in a parameter"));
    }
    if cursor.eat(b')') {
        return Ok(());
    }
    loop {
        match cursor.peek() {
            Some(b'(') => value(cursor, depth + 1)?,
            // A sequence set may hold `*`, which no astring has.
            _ => cursor.string_or(chars::LIST, "a value").map(drop)?,
        }
        if !cursor.eat(b' ') {
            return cursor.expect(b')', "a space or \")\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::limits::ParseLimits;

    fn parse(text: &str) -> Option<Vec<(String, Option<String>)>> {
        let mut cursor = Cursor::new(text.as_bytes(), ParseLimits::default());
        let params = Params::parse(&mut cursor).ok()?;
        assert_eq!(params.len(), params.iter().count());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let owned = |param: Param<'_>| (text(param.name.as_bytes()), param.value.map(|value| text(value.as_bytes())));
        cursor.at_end().then(|| params.iter().map(owned).collect())
    }

    #[test]
    fn names_and_values() {
        let qresync = "(QRESYNC (67890007 20050715194045000 41,43:211,214:541 (1,3 2,4)) CONDSTORE)";
        let params = parse(qresync).unwrap();
        assert_eq!(params[0].0, "QRESYNC");
        assert_eq!(params[0].1.as_deref(), Some("(67890007 20050715194045000 41,43:211,214:541 (1,3 2,4))"));
        assert_eq!(params[1], ("CONDSTORE".into(), None));
        assert_eq!(parse("(UNCHANGEDSINCE 320162338)").unwrap(), [("UNCHANGEDSINCE".into(), Some("320162338".into()))]);
        assert_eq!(parse("(X ())").unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_parameter() {
        for text in
            ["()", "(", "(A", "(A )", "(A  B)", "( A)", "(A (1)", "(A 1 2)", "(A (((((1))))))", "(A \"x\")", "(A (\"))"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
