//! Version 2: sixteen bytes, addresses, and fields of a kind, a length and a value.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{Header, LONGEST_HEADER, Parsed, ProxyError, endpoints};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, a byte of version and command, a byte of family and transport, and the length of the rest.
const FIXED: usize = 16;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;

const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
/// Two paths.
const UNIX_ADDRESSES: usize = 216;

const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const LONGEST_UNIQUE_ID: usize = 128;
const SSL: u8 = 0x20;
/// Inside [`SSL`]: the common name of the client's certificate.
const COMMON_NAME: u8 = 0x22;

/// The client speaks TLS.
const CLIENT_TLS: u8 = 0x01;
/// The client showed a certificate, in this connection or in the session that it resumed.
const CLIENT_CERTIFICATE: u8 = 0x02 | 0x04;

/// Reads a header of which the signature is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        if let Some(command) = bytes.get(12) {
            check_command(*command)?;
        }
        return Ok(Parsed::Incomplete(FIXED - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let command = check_command(command)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_HEADER {
        return Err(ProxyError::Long(length));
    }
    let Some(body) = rest.get(..length) else {
        return Ok(Parsed::Incomplete(length - rest.len()));
    };
    let mut header = Header { length: FIXED + length, ..Header::default() };
    if command == LOCAL {
        // The proxy's own connection; whatever else is there is to be ignored.
        return Ok(Parsed::Complete(header));
    }
    let mut rest = Rest(body);
    match family {
        TCP_OVER_IPV4 => {
            let [source, destination] = [rest.v4()?, rest.v4()?];
            header.addresses = endpoints((source, rest.port()?).into(), (destination, rest.port()?).into());
        }
        TCP_OVER_IPV6 => {
            let [source, destination] = [rest.v6()?, rest.v6()?];
            header.addresses = endpoints((source, rest.port()?).into(), (destination, rest.port()?).into());
        }
        UNIX_STREAM => {
            rest.take(UNIX_ADDRESSES).ok_or(ProxyError::Addresses)?;
        }
        UNSPECIFIED => {}
        other => return Err(ProxyError::Family(other)),
    }
    read_fields(bytes.get(..FIXED + length).unwrap_or(bytes), rest, &mut header)?;
    Ok(Parsed::Complete(header))
}

fn check_command(byte: u8) -> Result<u8, ProxyError> {
    match (byte >> 4, byte & 0x0f) {
        (2, command @ (LOCAL | PROXY)) => Ok(command),
        (2, command) => Err(ProxyError::Command(command)),
        (version, _) => Err(ProxyError::Version(version)),
    }
}

fn read_fields(whole: &[u8], mut rest: Rest<'_>, header: &mut Header) -> Result<(), ProxyError> {
    let mut seen = 0_u64;
    while let Some((kind, value)) = rest.field()? {
        // Of those that matter there may be one: which of two would be meant?
        if matches!(kind, AUTHORITY | CRC32C | UNIQUE_ID | SSL) {
            if seen & (1 << kind) != 0 {
                return Err(ProxyError::Twice(kind));
            }
            seen |= 1 << kind;
        }
        match kind {
            CRC32C => {
                let sum = <[u8; 4]>::try_from(value).map_err(|_| ProxyError::FieldSize(kind, value.len()))?;
                // The field itself counts as zeros. It stands right before what is left.
                let at = whole.len() - rest.0.len() - sum.len();
                let (before, after) = (whole.get(..at).unwrap_or_default(), rest.0);
                if crc32c([before, &[0; 4], after]) != u32::from_be_bytes(sum) {
                    return Err(ProxyError::Checksum);
                }
            }
            UNIQUE_ID => {
                if value.is_empty() || value.len() > LONGEST_UNIQUE_ID {
                    return Err(ProxyError::FieldSize(kind, value.len()));
                }
                header.unique_id = Some(printable(value));
            }
            AUTHORITY => header.authority = Some(text(kind, value)?),
            SSL => read_tls(value, header)?,
            _ => {}
        }
    }
    Ok(())
}

/// What the proxy tells of the client's TLS: a byte of flags, the outcome of verifying the client's certificate (0 is
/// good), and fields.
fn read_tls(value: &[u8], header: &mut Header) -> Result<(), ProxyError> {
    let short = || ProxyError::FieldSize(SSL, value.len());
    let (fixed, rest) = value.split_first_chunk::<5>().ok_or_else(short)?;
    let [client, verified @ ..] = *fixed;
    header.tls = client & CLIENT_TLS != 0;
    let verified = header.tls && client & CLIENT_CERTIFICATE != 0 && verified == [0; 4];
    let mut rest = Rest(rest);
    while let Some((kind, value)) = rest.field()? {
        if kind == COMMON_NAME {
            let name = text(kind, value)?;
            if header.certificate_name.is_some() {
                return Err(ProxyError::Twice(kind));
            }
            header.certificate_name = verified.then_some(name);
        }
    }
    Ok(())
}

fn text(kind: u8, value: &[u8]) -> Result<Arc<str>, ProxyError> {
    match std::str::from_utf8(value) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(text.into()),
        _ => Err(ProxyError::Text(kind)),
    }
}

/// A name for logs.
fn printable(value: &[u8]) -> Arc<str> {
    match std::str::from_utf8(value) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => text.into(),
        _ => value.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], ProxyError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ProxyError::Addresses)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn v4(&mut self) -> Result<Ipv4Addr, ProxyError> {
        self.array::<4>().map(Ipv4Addr::from)
    }

    fn v6(&mut self) -> Result<Ipv6Addr, ProxyError> {
        self.array::<16>().map(Ipv6Addr::from)
    }

    fn port(&mut self) -> Result<u16, ProxyError> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next field: its kind and its value.
    fn field(&mut self) -> Result<Option<(u8, &'a [u8])>, ProxyError> {
        let Some((&kind, rest)) = self.0.split_first() else { return Ok(None) };
        let (length, rest) = rest.split_first_chunk().ok_or(ProxyError::Field(kind))?;
        self.0 = rest;
        let value = self.take(u16::from_be_bytes(*length).into()).ok_or(ProxyError::Field(kind))?;
        Ok(Some((kind, value)))
    }
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of these pieces one after another.
fn crc32c(pieces: [&[u8]; 3]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut sum = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
                bit += 1;
            }
            table[byte] = sum;
            byte += 1;
        }
        table
    };
    !pieces.into_iter().flatten().fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        TABLE.get(usize::from(low ^ byte)).copied().unwrap_or_default() ^ (sum >> 8)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::SocketAddr;

    use super::super::parse;
    use super::*;

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    fn field(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 127, 0, 0, 1, 0x04, 0x57, 0, 143];

    /// A header over IPv4 with these fields.
    pub(in super::super) fn with_fields(fields: &[(u8, &[u8])]) -> Vec<u8> {
        let fields: Vec<u8> = fields.iter().flat_map(|(kind, value)| field(*kind, value)).collect();
        binary(0x21, 0x11, &[&V4[..], &fields].concat())
    }

    fn header(bytes: &[u8]) -> Header {
        match parse(bytes).unwrap() {
            Parsed::Complete(header) => header,
            Parsed::Incomplete(more) => panic!("{more} bytes more"),
        }
    }

    fn error(bytes: &[u8]) -> String {
        parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn addresses() {
        let shown = |bytes: &[u8]| {
            let header = header(bytes);
            assert_eq!(header.length, bytes.len());
            header.addresses.map(|(source, destination)| format!("{source} {destination}"))
        };
        assert_eq!(shown(&with_fields(&[])).unwrap(), "192.0.2.7:1111 127.0.0.1:143");
        let (one, two) = ("2001:db8::1".parse::<Ipv6Addr>().unwrap(), "::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap());
        let v6 = [&one.octets()[..], &two.octets(), &[0, 1, 0, 143]].concat();
        assert_eq!(shown(&binary(0x21, 0x21, &v6)).unwrap(), "[2001:db8::1]:1 192.0.2.1:143");
        assert_eq!(shown(&binary(0x21, 0x31, &[0; 216])), None);
        assert_eq!(shown(&binary(0x21, 0x00, b"")), None);
        // LOCAL, whatever is in it.
        assert_eq!(shown(&binary(0x20, 0x00, b"")), None);
        assert_eq!(shown(&binary(0x20, 0x11, &V4)), None);
        assert_eq!(shown(&binary(0x20, 0xff, b"\xff")), None);
    }

    fn ssl(client: u8, verified: u8, fields: &[u8]) -> Vec<u8> {
        [&[client, 0, 0, 0, verified], fields].concat()
    }

    #[test]
    fn tls_at_the_proxy() {
        let tls = |value: &[u8]| {
            let header = header(&with_fields(&[(SSL, value)]));
            (header.tls, header.certificate_name)
        };
        let name = [field(0x21, b"TLSv1.3"), field(COMMON_NAME, "Zoë".as_bytes())].concat();
        assert_eq!(tls(&ssl(1, 0, b"")), (true, None));
        assert_eq!(tls(&ssl(3, 0, &name)), (true, Some("Zoë".into())));
        assert_eq!(tls(&ssl(5, 0, &name)), (true, Some("Zoë".into())));
        assert_eq!(tls(&ssl(3, 1, &name)), (true, None), "not verified");
        assert_eq!(tls(&ssl(1, 0, &name)), (true, None), "no certificate was shown");
        assert_eq!(tls(&ssl(2, 0, &name)), (false, None), "no TLS");
        assert_eq!(tls(&ssl(0, 0, b"")), (false, None));
    }

    #[test]
    fn names_and_unknown_fields() {
        let header = header(&with_fields(&[
            (0x30, b"netns"),
            (UNIQUE_ID, b"a/b:7"),
            (0xe0, b""),
            (AUTHORITY, b"mail.example.org"),
        ]));
        assert_eq!(header.unique_id.as_deref(), Some("a/b:7"));
        assert_eq!(header.authority.as_deref(), Some("mail.example.org"));
        let binary = self::header(&with_fields(&[(UNIQUE_ID, b"\0\xffa")]));
        assert_eq!(binary.unique_id.as_deref(), Some("00ff61"));
    }

    #[test]
    fn checksums() {
        assert_eq!(crc32c([b"12345", b"6789", b""]), 0xe306_9283);
        let fields: &[(u8, &[u8])] = &[(UNIQUE_ID, b"x"), (CRC32C, &[0; 4]), (0x04, b"padding")];
        let mut good = with_fields(fields);
        let at = FIXED + V4.len() + 4 + 3;
        let sum = crc32c([&good, b"", b""]);
        good[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(header(&good).unique_id.as_deref(), Some("x"));
        assert_eq!(header(&[&good[..], b"a1 NOOP\r\n"].concat()).length, good.len());
        for position in [FIXED, at, good.len() - 1] {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert_eq!(error(&bad), "the PROXY header has a wrong checksum");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bytes, text) in [
            (binary(0x11, 0x11, &V4), "the PROXY header has version 1, not 2"),
            (binary(0x22, 0x11, &V4), "the PROXY header has the unknown command 2"),
            (binary(0x21, 0x12, &V4), "the PROXY header has the address family 0x12, which is not for a stream"),
            (binary(0x21, 0x10, &V4), "the PROXY header has the address family 0x10, which is not for a stream"),
            (binary(0x21, 0x41, &V4), "the PROXY header has the address family 0x41, which is not for a stream"),
            (binary(0x21, 0x11, &[0; LONGEST_HEADER + 1]), "the PROXY header announces 16385 bytes, more than 16384"),
            (binary(0x21, 0x11, &V4[..11]), "the PROXY header ends in its addresses"),
            (binary(0x21, 0x21, &[0; 35]), "the PROXY header ends in its addresses"),
            (binary(0x21, 0x31, &[0; 215]), "the PROXY header ends in its addresses"),
            (binary(0x21, 0x00, &[0x04]), "the PROXY header ends in its field 0x04"),
            (binary(0x21, 0x00, &[0x04, 0]), "the PROXY header ends in its field 0x04"),
            (binary(0x21, 0x00, &[0x04, 0, 1]), "the PROXY header ends in its field 0x04"),
            (with_fields(&[(CRC32C, b"123")]), "the PROXY header has a field 0x03 of 3 bytes"),
            (with_fields(&[(CRC32C, b"1234")]), "the PROXY header has a wrong checksum"),
            (with_fields(&[(UNIQUE_ID, b"")]), "the PROXY header has a field 0x05 of 0 bytes"),
            (with_fields(&[(UNIQUE_ID, &[b'x'; 129])]), "the PROXY header has a field 0x05 of 129 bytes"),
            (with_fields(&[(UNIQUE_ID, b"x"), (UNIQUE_ID, b"x")]), "the PROXY header has a field 0x05 twice"),
            (with_fields(&[(AUTHORITY, b"\xff")]), "the PROXY header has a field 0x02 that is no text"),
            (with_fields(&[(AUTHORITY, b"a\nb")]), "the PROXY header has a field 0x02 that is no text"),
            (with_fields(&[(SSL, b"1234")]), "the PROXY header has a field 0x20 of 4 bytes"),
            (with_fields(&[(SSL, &ssl(1, 0, b"\x21\0"))]), "the PROXY header ends in its field 0x21"),
            (
                with_fields(&[(SSL, &ssl(3, 0, &field(COMMON_NAME, b"\xff")))]),
                "the PROXY header has a field 0x22 that is no text",
            ),
            (
                with_fields(&[(SSL, &ssl(3, 0, &field(COMMON_NAME, b"")))]),
                "the PROXY header has a field 0x22 that is no text",
            ),
            (
                with_fields(&[(SSL, &ssl(3, 0, &[field(COMMON_NAME, b"a"), field(COMMON_NAME, b"b")].concat()))]),
                "the PROXY header has a field 0x22 twice",
            ),
        ] {
            assert_eq!(error(&bytes), text);
        }
        // What can be seen early is said early.
        assert_eq!(error(&binary(0x11, 0x11, b"")[..13]), "the PROXY header has version 1, not 2");
    }

    #[test]
    fn the_length_says_how_much_is_missing() {
        let whole = with_fields(&[]);
        for end in 12..FIXED {
            assert_eq!(parse(&whole[..end]), Ok(Parsed::Incomplete(FIXED - end)));
        }
        for end in FIXED..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(Parsed::Incomplete(whole.len() - end)));
        }
    }

    #[test]
    fn the_address_of_the_client_counts() {
        let mut connection = pillarbox_proto_core::Connection::default();
        header(&with_fields(&[(SSL, &ssl(3, 0, &field(COMMON_NAME, b"ada")))])).apply(&mut connection);
        assert_eq!(connection.client().unwrap(), SocketAddr::from(([192, 0, 2, 7], 1111)));
        assert!(connection.is_secure());
        assert_eq!(connection.certificate_name.as_deref(), Some("ada"));
    }
}
