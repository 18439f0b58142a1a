//! The clients that an entry is for.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::network::{Network, NetworkError};

/// The clients that an entry of an access control list is for.
///
/// It is read from `any`, an address, a network ([`Network`]: prefix length or netmask), or a host name. The addresses of
/// a host name are looked up when it is read, by the system's resolver, which may take a while; all of them count, and
/// later changes do not. Where an access control list is made while a server runs, this is for a thread that may block.
///
/// ```
/// use pillarbox_server_core::access::Clients;
///
/// let clients: Clients = "192.0.2.0/255.255.255.0".parse()?;
/// assert!(clients.contains("192.0.2.9".parse()?));
/// assert!(clients.contains("::ffff:192.0.2.9".parse()?));
/// assert!(Clients::any().contains("2001:db8::1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients(Which);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    Any,
    In(Box<[Network]>),
}

impl Clients {
    /// All clients.
    #[must_use]
    pub fn any() -> Self {
        Self(Which::Any)
    }

    /// Whether a client with this address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match &self.0 {
            Which::Any => true,
            Which::In(networks) => networks.iter().any(|network| network.contains(address)),
        }
    }
}

impl From<Network> for Clients {
    fn from(network: Network) -> Self {
        Self(Which::In([network].into()))
    }
}

impl FromIterator<Network> for Clients {
    fn from_iter<T: IntoIterator<Item = Network>>(networks: T) -> Self {
        Self(Which::In(networks.into_iter().collect()))
    }
}

impl FromStr for Clients {
    type Err = ClientsError;

    fn from_str(text: &str) -> Result<Self, ClientsError> {
        if text == "any" {
            return Ok(Self::any());
        }
        match text.parse::<Network>() {
            Ok(network) => Ok(network.into()),
            Err(error) if text.contains('/') => Err(ClientsError(Fault::Network(error))),
            Err(_) if !is_host_name(text) => Err(ClientsError(Fault::Text(text.into()))),
            Err(_) => resolve(text),
        }
    }
}

fn resolve(name: &str) -> Result<Clients, ClientsError> {
    let unresolved = |error| ClientsError(Fault::Name { name: name.into(), error });
    // Without the port, which is not asked for.
    let addresses = (name, 0).to_socket_addrs().map_err(unresolved)?;
    let mut networks: Vec<_> = addresses.map(|address| Network::host(address.ip())).collect();
    networks.sort_unstable();
    networks.dedup();
    if networks.is_empty() {
        return Err(unresolved(io::Error::other("no addresses")));
    }
    Ok(networks.into_iter().collect())
}

/// Letters, digits, hyphens, dots; a name whose last part is a number would be taken for an (incomplete) address.
pub(super) fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && !last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"))
}

/// A text that names no [`Clients`]. Its message is one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ClientsError(Fault);

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Network(NetworkError),
    #[error("neither an address, a network nor a host name: '{}'", .0.escape_debug())]
    Text(Box<str>),
    #[error("no address for host name '{name}': {error}")]
    Name { name: Box<str>, error: io::Error },
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Which::Any => f.write_str("any"),
            Which::In(networks) => networks.iter().enumerate().try_for_each(|(place, network)| {
                let separator = if place == 0 { "" } else { " " };
                write!(f, "{separator}{network}")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clients(text: &str) -> Clients {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn forms() {
        assert_eq!(clients("any"), Clients::any());
        for (text, shown) in [
            ("any", "any"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/255.255.0.0", "10.1.0.0/16"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(clients(text).to_string(), shown);
        }
    }

    #[test]
    fn all_addresses_of_a_host_name_count() {
        let local = clients("localhost");
        assert!(local.contains(ip("127.0.0.1")) || local.contains(ip("::1")));
        assert!(!local.contains(ip("127.0.0.2")));
        let two: Clients =
            ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<Network>().unwrap()).into_iter().collect();
        assert!(two.contains(ip("192.0.2.1")) && two.contains(ip("2001:db8::1")) && !two.contains(ip("192.0.2.2")));
    }

    #[test]
    fn only_addresses_of_the_same_family_match() {
        assert!(!clients("0.0.0.0/0").contains(ip("::1")));
        assert!(!clients("::/0").contains(ip("::ffff:10.0.0.1")));
    }

    #[test]
    fn faults() {
        for (text, error) in [
            ("10.0.0.0/33", "10.0.0.0/33: not a prefix length of IPv4: 33"),
            ("10.0.0.0/255.0.255.0", "10.0.0.0/255.0.255.0: not a netmask: 255.0.255.0 has ones after a zero"),
            ("host/24", "host/24: not an IP address: host"),
            ("10.0.0", "neither an address, a network nor a host name: '10.0.0'"),
            ("300.1.1.1", "neither an address, a network nor a host name: '300.1.1.1'"),
            ("0x7f000001", "neither an address, a network nor a host name: '0x7f000001'"),
            ("127.0X1", "neither an address, a network nor a host name: '127.0X1'"),
            ("a..b", "neither an address, a network nor a host name: 'a..b'"),
            ("a\nb", "neither an address, a network nor a host name: 'a\\nb'"),
            ("", "neither an address, a network nor a host name: ''"),
        ] {
            assert_eq!(text.parse::<Clients>().unwrap_err().to_string(), error);
        }
        let error = "nowhere.invalid".parse::<Clients>().unwrap_err().to_string();
        assert!(error.starts_with("no address for host name 'nowhere.invalid': "), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_in_one_line(text in "[0-9a-f./:\\[\\]%\n]{0,20}/|\\PC{0,9}[^a-z]/") {
            // With a slash, so that it is no host name: that would be looked up.
            if let Err(error) = text.parse::<Clients>() {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}
