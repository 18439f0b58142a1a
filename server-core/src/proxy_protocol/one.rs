//! Version 1: a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, Parsed, ProxyError, endpoints};

pub(super) const START: &[u8] = b"PROXY ";

/// The longest line, with its CRLF.
const LONGEST: usize = 107;

/// Reads a line of which at least the start is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let seen = bytes.get(..LONGEST).unwrap_or(bytes);
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        let missing = if seen.last() == Some(&b'\r') { 1 } else { 2 };
        return match LONGEST - seen.len() {
            0 => Err(ProxyError::LongLine),
            room => Ok(Parsed::Incomplete(missing.min(room))),
        };
    };
    let line = seen.get(START.len()..end).ok_or(ProxyError::Word("protocol"))?;
    // All that is read is ASCII; what is not will not be what is wanted.
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Word("character"))?;
    Ok(Parsed::Complete(Header { length: end + 2, addresses: addresses(line)?, ..Header::default() }))
}

fn addresses(line: &str) -> Result<Option<(SocketAddr, SocketAddr)>, ProxyError> {
    let mut words = line.split(' ');
    let read: fn(&str) -> Option<IpAddr> = match words.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some("TCP6") => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(ProxyError::Word("protocol")),
    };
    let mut address = |what| words.next().and_then(read).ok_or(ProxyError::Word(what));
    let (source, destination) = (address("source address")?, address("destination address")?);
    let mut port = |what| words.next().and_then(port).ok_or(ProxyError::Word(what));
    let (source_port, destination_port) = (port("source port")?, port("destination port")?);
    if words.next().is_some() {
        return Err(ProxyError::Words);
    }
    Ok(endpoints(SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port)))
}

fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn header(line: &str) -> Header {
        match parse(line.as_bytes()).unwrap() {
            Parsed::Complete(header) => header,
            Parsed::Incomplete(more) => panic!("{more} bytes more"),
        }
    }

    #[test]
    fn lines() {
        for (line, addresses) in [
            ("PROXY TCP4 192.0.2.7 127.0.0.1 1111 143\r\n", Some(("192.0.2.7:1111", "127.0.0.1:143"))),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                Some(("255.255.255.255:65535", "255.255.255.255:65535")),
            ),
            ("PROXY TCP6 2001:db8::1 ::1 0 143\r\n", Some(("[2001:db8::1]:0", "[::1]:143"))),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 143\r\n", Some(("192.0.2.7:1", "[::1]:143"))),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN what ever  this is\r\n", None),
        ] {
            let header = header(line);
            let shown = header.addresses.map(|(source, destination)| (source.to_string(), destination.to_string()));
            assert_eq!(shown.as_ref().map(|(one, two)| (&**one, &**two)), addresses, "{line}");
            assert_eq!(header.length, line.len());
            assert!(!header.tls);
        }
        let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(longest.len(), LONGEST);
        assert_eq!(header(longest).length, LONGEST);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        for (line, error) in [
            ("PROXY \r\n", "the PROXY line has a wrong protocol"),
            ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", "the PROXY line has a wrong protocol"),
            ("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", "the PROXY line has a wrong protocol"),
            ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "the PROXY line has a wrong protocol"),
            ("PROXY UNKNOWNX\r\n", "the PROXY line has a wrong protocol"),
            ("PROXY TCP4\r\n", "the PROXY line has a wrong source address"),
            ("PROXY TCP4 ::1 1.2.3.4 1 2\r\n", "the PROXY line has a wrong source address"),
            ("PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", "the PROXY line has a wrong source address"),
            ("PROXY TCP4 host.example 1.2.3.4 1 2\r\n", "the PROXY line has a wrong source address"),
            ("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", "the PROXY line has a wrong destination address"),
            ("PROXY TCP6 ::1 1.2.3.4 1 2\r\n", "the PROXY line has a wrong destination address"),
            ("PROXY TCP6 ::1 fe80::1%1 1 2\r\n", "the PROXY line has a wrong destination address"),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "the PROXY line has a wrong source port"),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "the PROXY line has a wrong source port"),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", "the PROXY line has a wrong source port"),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "the PROXY line has a wrong destination port"),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n", "the PROXY line has a wrong destination port"),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n", "the PROXY line has a wrong destination port"),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", "the PROXY line has too many words"),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", "the PROXY line has too many words"),
            (&long, "the PROXY line is longer than 107 bytes"),
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap_err().to_string(), error, "{line:?}");
        }
        let error = parse(b"PROXY TCP4 \xff\r\n").unwrap_err();
        assert_eq!(error.to_string(), "the PROXY line has a wrong character");
    }
}
