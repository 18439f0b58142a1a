//! Writing strings: quoted where the grammar allows it, else as literals (RFC 9051, section 9: `nstring`).

use bytes::BufMut;

/// Which strings and body types the client has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// IMAP4rev1: quoted strings are ASCII, what has 8-bit octets becomes a literal; message/global is a body like any
    /// other; parameters in a charset of their own stay as they were sent.
    #[default]
    Rev1,
    /// After `ENABLE IMAP4rev2`, or `UTF8=ACCEPT`: quoted strings may hold UTF-8, message/global shows its envelope, and
    /// parameters in a charset of their own are decoded (RFC 9051, section 7.5.2).
    Rev2,
}

/// Writes a `string`. NUL octets, which no string but a literal8 can carry, are left out.
pub fn write_string(text: &[u8], dialect: Dialect, out: &mut impl BufMut) {
    let (mut plain, mut ascii, mut nuls) = (true, true, 0_usize);
    for &octet in text {
        match octet {
            0 => nuls += 1,
            b'\r' | b'\n' => plain = false,
            0x80.. => ascii = false,
            _ => {}
        }
    }
    let quotable = plain && (ascii || (dialect == Dialect::Rev2 && std::str::from_utf8(text).is_ok()));
    if quotable {
        out.put_u8(b'"');
        put_escaped(text, out);
        out.put_u8(b'"');
    } else {
        out.put_u8(b'{');
        write_number((text.len() - nuls) as u64, out);
        out.put_slice(b"}\r\n");
        for run in text.split(|&octet| octet == 0) {
            out.put_slice(run);
        }
    }
}

/// Writes an `nstring`: `NIL` for nothing.
pub fn write_nstring(text: Option<&[u8]>, dialect: Dialect, out: &mut impl BufMut) {
    match text {
        Some(text) => write_string(text, dialect, out),
        None => out.put_slice(b"NIL"),
    }
}

/// Writes a number in decimal.
pub(super) fn write_number(mut number: u64, out: &mut impl BufMut) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    out.put_slice(digits.get(start..).unwrap_or_default());
}

fn put_escaped(text: &[u8], out: &mut impl BufMut) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|octet| matches!(octet, b'"' | b'\\' | 0)) {
        let (run, special) = rest.split_at(at);
        out.put_slice(run);
        if let Some((&octet, after)) = special.split_first() {
            if octet != 0 {
                out.put_slice(&[b'\\', octet]);
            }
            rest = after;
        }
    }
    out.put_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &[u8], dialect: Dialect) -> Vec<u8> {
        let mut out = Vec::new();
        write_string(text, dialect, &mut out);
        out
    }

    #[test]
    fn chooses_the_form() {
        assert_eq!(string(b"", Dialect::Rev1), b"\"\"");
        assert_eq!(string(b"a\\b\"c\t", Dialect::Rev1), b"\"a\\\\b\\\"c\t\"");
        assert_eq!(string("é".as_bytes(), Dialect::Rev1), "{2}\r\né".as_bytes());
        assert_eq!(string("é".as_bytes(), Dialect::Rev2), "\"é\"".as_bytes());
        assert_eq!(string(b"\xe9", Dialect::Rev2), b"{1}\r\n\xe9");
        assert_eq!(string(b"a\rb", Dialect::Rev1), b"{3}\r\na\rb");
        assert_eq!(string(b"a\0b", Dialect::Rev1), b"\"ab\"");
        assert_eq!(string(b"a\0\xe9\0", Dialect::Rev1), b"{2}\r\na\xe9");
    }

    #[test]
    fn writes_numbers() {
        for number in [0, 7, 10, 1234567890, u64::MAX] {
            let mut out = Vec::new();
            write_number(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
