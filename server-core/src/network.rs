//! A range of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that begin with the same bits: `10.0.0.0/8`, `2001:db8::/32`.
///
/// It is read from an address with a prefix length, an IPv4 address with a netmask (`10.0.0.0/255.0.0.0`), or an
/// address alone, which is a network of one. Bits behind the prefix are dropped. An IPv4 address and the same one
/// mapped into IPv6 (`::ffff:10.0.0.1`) are the same here, in networks and in what they are compared with; otherwise a
/// network holds only addresses of its own family, also one of prefix length 0.
///
/// ```
/// use pillarbox_server_core::Network;
///
/// let office: Network = "10.0.0.0/255.0.0.0".parse()?;
/// assert_eq!(office.to_string(), "10.0.0.0/8");
/// assert!(office.contains("10.1.2.3".parse()?));
/// assert!(office.contains("::ffff:10.1.2.3".parse()?));
/// assert!(!office.contains("11.0.0.1".parse()?));
/// assert_eq!("10.0.0.0/33".parse::<Network>().unwrap_err().to_string(), "10.0.0.0/33: not a prefix length of IPv4: 33");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// The addresses that share their first `prefix` bits with `address`; `None` if its family has fewer bits.
    ///
    /// An IPv4 address mapped into IPv6 may have the prefix length of either family: more than 95 bits are counted from
    /// the start of the IPv6 address.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Self::of_v4(address, prefix),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(v4) if prefix >= 96 => Self::of_v4(v4, prefix - 96),
                _ => {
                    let bits = u128::from(address) & mask128(prefix)?;
                    Some(Self { first: Ipv6Addr::from(bits).into(), prefix })
                }
            },
        }
    }

    fn of_v4(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let bits = u32::from(address) & mask32(prefix)?;
        Some(Self { first: Ipv4Addr::from(bits).into(), prefix })
    }

    /// The network of this one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self { first, prefix: if first.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether the address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                mask32(self.prefix).is_some_and(|mask| u32::from(address) & mask == u32::from(first))
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                mask128(self.prefix).is_some_and(|mask| u128::from(address) & mask == u128::from(first))
            }
            _ => false,
        }
    }

    /// The first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.first
    }

    /// The number of bits that all addresses share.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

fn mask32(prefix: u8) -> Option<u32> {
    (prefix <= 32).then(|| u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
}

fn mask128(prefix: u8) -> Option<u128> {
    (prefix <= 128).then(|| u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0))
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self::host(address)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = |fault| NetworkError { text: text.into(), fault };
        let (address, rest) = match text.split_once('/') {
            Some((address, rest)) => (address, Some(rest)),
            None => (text, None),
        };
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address: IpAddr = match bare {
            Some(v6) => v6.parse().map(IpAddr::V6).ok(),
            None => address.parse().ok(),
        }
        .ok_or_else(|| error(Fault::Address(address.into())))?;
        let Some(rest) = rest else { return Ok(Self::host(address)) };
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let prefix = match (address, rest.parse::<Ipv4Addr>()) {
            (IpAddr::V4(_), Ok(mask)) => {
                let bits = u32::from(mask);
                let prefix = bits.leading_ones();
                if bits.count_ones() != prefix {
                    return Err(error(Fault::Mask(mask)));
                }
                u8::try_from(prefix).ok()
            }
            // `u8` would take a sign.
            _ if rest.bytes().all(|byte| byte.is_ascii_digit()) => rest.parse().ok(),
            _ => None,
        };
        prefix
            .and_then(|prefix| Self::new(address, prefix))
            .ok_or_else(|| error(Fault::Prefix { family, prefix: rest.into() }))
    }
}

/// A text that is no [`Network`]. Its message is one line that begins with the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", text.escape_debug())]
pub struct NetworkError {
    text: Box<str>,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("not an IP address: {}", .0.escape_debug())]
    Address(Box<str>),
    #[error("not a netmask: {0} has ones after a zero")]
    Mask(Ipv4Addr),
    #[error("not a prefix length of {family}: {}", prefix.escape_debug())]
    Prefix { family: &'static str, prefix: Box<str> },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ways_to_write_them() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
            ("0.0.0.0/0.0.0.0", "0.0.0.0/0"),
            ("192.0.2.7/255.255.255.255", "192.0.2.7/32"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0.0.0.0/95", "::fffe:0:0/95"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("[2001:db8::1]/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_they_hold() {
        let ten = network("10.0.0.0/8");
        assert!(
            ten.contains(ip("10.0.0.0")) && ten.contains(ip("10.255.255.255")) && ten.contains(ip("::ffff:10.2.3.4"))
        );
        assert!(!ten.contains(ip("9.255.255.255")) && !ten.contains(ip("11.0.0.0")) && !ten.contains(ip("::10.0.0.1")));
        let all = network("0.0.0.0/0");
        assert!(all.contains(ip("255.1.2.3")) && all.contains(ip("::ffff:1.2.3.4")) && !all.contains(ip("::1")));
        let six = network("::/0");
        assert!(
            six.contains(ip("2001:db8::1")) && !six.contains(ip("192.0.2.1")) && !six.contains(ip("::ffff:1.2.3.4"))
        );
        let one = Network::from(ip("2001:db8::1"));
        assert!(one.contains(ip("2001:db8::1")) && !one.contains(ip("2001:db8::2")));
        assert!(network("2001:db8::/33").contains(ip("2001:db8:7fff::")));
        assert!(!network("2001:db8::/33").contains(ip("2001:db8:8000::")));
    }

    #[test]
    fn what_is_none() {
        for (text, error) in [
            ("", ": not an IP address: "),
            ("example.org", "example.org: not an IP address: example.org"),
            ("10.0.0/8", "10.0.0/8: not an IP address: 10.0.0"),
            ("[10.0.0.1]", "[10.0.0.1]: not an IP address: [10.0.0.1]"),
            ("10.0.0.0/33", "10.0.0.0/33: not a prefix length of IPv4: 33"),
            ("10.0.0.0/+8", "10.0.0.0/+8: not a prefix length of IPv4: +8"),
            ("10.0.0.0/", "10.0.0.0/: not a prefix length of IPv4: "),
            ("10.0.0.0/8/8", "10.0.0.0/8/8: not a prefix length of IPv4: 8/8"),
            ("10.0.0.0/255.0.255.0", "10.0.0.0/255.0.255.0: not a netmask: 255.0.255.0 has ones after a zero"),
            ("::/129", "::/129: not a prefix length of IPv6: 129"),
            ("::/255.0.0.0", "::/255.0.0.0: not a prefix length of IPv6: 255.0.0.0"),
            ("a\nb", "a\\nb: not an IP address: a\\nb"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), error);
        }
        assert_eq!(Network::new(ip("10.0.0.1"), 33), None);
        assert_eq!(Network::new(ip("::1"), 129), None);
    }
}
