//! What a listener listens on: addresses, and how operators write them.

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// An address to listen on.
///
/// ```
/// use pillarbox_server_core::Address;
///
/// // The last argument is the port of an address that names none.
/// assert_eq!(Address::parse("192.0.2.1", 143)?, Address::Tcp(([192, 0, 2, 1], 143).into()));
/// assert_eq!(Address::parse("[::]:993", 143)?.to_string(), "[::]:993");
/// assert_eq!(Address::parse("a:3f::2", 143)?.to_string(), "[a:3f::2]:143");
/// assert_eq!(Address::parse("localhost:imap", 0)?.to_string(), "localhost:143");
/// assert_eq!(Address::parse("unix:///run/mail/imap", 143)?, Address::unix("/run/mail/imap"));
/// let error = Address::parse("192.0.2.1:99999", 143).unwrap_err();
/// assert_eq!(error.to_string(), "192.0.2.1:99999: the port 99999 is greater than 65535");
/// # Ok::<(), pillarbox_server_core::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address with its port. Port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// A host by its name, which is looked up when the server is bound. It is listened on all addresses that the name
    /// has; one that this machine does not have is left out with a warning, as long as there is another.
    Host {
        /// The name.
        name: Box<str>,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    ///
    /// A socket file that a dead server left is removed; one behind which somebody listens, and a file of another kind,
    /// are an error. When the server stops listening, it removes its file.
    Unix {
        /// Where in the file system.
        path: PathBuf,
        /// The permission bits of the file, up to `0o777`: who may write to it may connect. They are in force before the
        /// first client can. Without, as the process's umask leaves them.
        mode: Option<u32>,
    },
}

impl<T: Into<SocketAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        Self::Tcp(address.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
            Self::Unix { path, .. } => write!(f, "unix://{}", path.display()),
        }
    }
}

/// The longest path of a unix socket, in bytes.
const LONGEST_PATH: usize = 107;

impl Address {
    /// A unix socket at this path.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix { path: path.into(), mode: None }
    }

    /// Gives the file of a unix socket these permission bits, such as `0o660`; other addresses stay what they are. With
    /// other bits than those of `0o777` the address can't be bound.
    #[must_use]
    pub fn with_mode(mut self, bits: u32) -> Self {
        if let Self::Unix { mode, .. } = &mut self {
            *mode = Some(bits);
        }
        self
    }

    /// Reads an address as an operator writes it:
    ///
    /// * `192.0.2.1` and `192.0.2.1:143`;
    /// * `[2001:db8::1]`, `[2001:db8::1]:143`, and without brackets and port `2001:db8::1`; with a zone, which is the
    ///   number of an interface, `[fe80::1%2]:143`;
    /// * `mail.example.org` and `mail.example.org:143`;
    /// * `unix:///run/mail/imap`, with three slashes: the path is absolute.
    ///
    /// A port is a number or the name of a service as the system knows it (`/etc/services`); those of mail are known
    /// without. `default_port` is the port where the text has none. Nothing is looked up in the network.
    ///
    /// # Errors
    ///
    /// The text is none of these; the error is one line that begins with it.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        parse(text, default_port).map_err(|fault| AddressError { text: text.into(), fault })
    }

    /// The addresses of the system that this one means.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Tcp(address) => Ok(vec![*address]),
            Self::Host { name, port } => {
                let mut addresses = Vec::new();
                for address in (&**name, *port).to_socket_addrs()? {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                if addresses.is_empty() {
                    return Err(io::Error::other("the name has no address"));
                }
                Ok(addresses)
            }
            Self::Unix { .. } => Ok(Vec::new()),
        }
    }
}

fn parse(text: &str, default_port: u16) -> Result<Address, Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        let path = rest.strip_prefix("//").filter(|path| path.starts_with('/') && path.len() > 1).ok_or(Fault::Unix)?;
        return match path {
            _ if path.contains('\0') => Err(Fault::Unix),
            _ if path.len() > LONGEST_PATH => Err(Fault::LongPath),
            _ => Ok(Address::unix(path)),
        };
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, behind) = rest.split_once(']').ok_or(Fault::Bracket)?;
        let port = match behind.strip_prefix(':') {
            Some(port) => read_port(port)?,
            None if behind.is_empty() => default_port,
            None => return Err(Fault::Bracket),
        };
        return read_v6(inside, port);
    }
    if text.bytes().filter(|byte| *byte == b':').count() > 1 {
        return read_v6(text, default_port);
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, read_port(port)?),
        None => (text, default_port),
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port).into());
    }
    match host {
        "" => Err(Fault::NoHost),
        _ if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Err(Fault::V4(host.into())),
        _ if is_host_name(host) => Ok(Address::Host { name: host.into(), port }),
        _ => Err(Fault::HostName(host.into())),
    }
}

fn read_v6(text: &str, port: u16) -> Result<Address, Fault> {
    let fault = || Fault::V6(text.into());
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_digit()) => {
            (address, zone.parse().map_err(|_| fault())?)
        }
        Some(_) => return Err(Fault::Zone),
        None => (text, 0),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| fault())?;
    Ok(SocketAddr::from(SocketAddrV6::new(address, port, 0, zone)).into())
}

fn read_port(text: &str) -> Result<u16, Fault> {
    if text.is_empty() {
        return Err(Fault::NoPort);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| Fault::LargePort(text.into()));
    }
    service_port(text).ok_or_else(|| Fault::Service(text.into()))
}

/// RFC 1123, section 2.1, and the underscore, which the names of many containers have.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label)
}

/// Read of the system's table of services at most.
const LARGEST_TABLE: u64 = 4 << 20;

/// The TCP port of a service, by the system's table, else by what is registered for mail.
///
/// ```
/// use pillarbox_server_core::service_port;
///
/// assert_eq!(service_port("pop3s"), Some(995));
/// assert_eq!(service_port("no-such-service"), None);
/// ```
#[must_use]
pub fn service_port(name: &str) -> Option<u16> {
    let mut table = Vec::new();
    // Without a table, or with a broken one, there is still our own.
    if let Ok(file) = std::fs::File::open(Path::new("/etc/services")) {
        let _ = file.take(LARGEST_TABLE).read_to_end(&mut table);
    }
    find_service(&String::from_utf8_lossy(&table), name).or_else(|| find_service(OF_MAIL, name))
}

const OF_MAIL: &str = "smtp 25/tcp mail\nlmtp 24/tcp\npop3 110/tcp pop-3\nimap2 143/tcp imap\nsubmission 587/tcp\n\
    imaps 993/tcp\npop3s 995/tcp\n";

fn find_service(table: &str, wanted: &str) -> Option<u16> {
    table.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (name, port) = (words.next()?, words.next()?);
        let port = port.strip_suffix("/tcp")?;
        (name == wanted || words.any(|alias| alias == wanted)).then(|| port.parse().ok())?
    })
}

/// A text that is no [`Address`]. Its message is one line that begins with the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", text.escape_debug())]
pub struct AddressError {
    text: Box<str>,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("no address")]
    Empty,
    #[error("a unix socket is unix:// and an absolute path")]
    Unix,
    #[error("the path of a unix socket is longer than {LONGEST_PATH} bytes")]
    LongPath,
    #[error("an address in brackets is [address] or [address]:port")]
    Bracket,
    #[error("not an IPv4 address: {0}")]
    V4(Box<str>),
    #[error("not an IPv6 address: {}", .0.escape_debug())]
    V6(Box<str>),
    #[error("the zone of an IPv6 address is the number of an interface")]
    Zone,
    #[error("no host before the port")]
    NoHost,
    #[error("not a host name: {}", .0.escape_debug())]
    HostName(Box<str>),
    #[error("no port behind the colon")]
    NoPort,
    #[error("the port {0} is greater than 65535")]
    LargePort(Box<str>),
    #[error("no port and no service: {}", .0.escape_debug())]
    Service(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_write_them() {
        for (text, shown) in [
            ("0.0.0.0", "0.0.0.0:7"),
            ("192.0.2.1:143", "192.0.2.1:143"),
            ("192.0.2.1:imaps", "192.0.2.1:993"),
            ("192.0.2.1:0", "192.0.2.1:0"),
            ("192.0.2.1:00143", "192.0.2.1:143"),
            ("[::]", "[::]:7"),
            ("[::]:143", "[::]:143"),
            ("[::1]:pop3", "[::1]:110"),
            ("::1", "[::1]:7"),
            ("a:3f::2", "[a:3f::2]:7"),
            ("::ffff:192.0.2.1", "[::ffff:192.0.2.1]:7"),
            ("fe80::1%2", "[fe80::1%2]:7"),
            ("[fe80::1%2]:143", "[fe80::1%2]:143"),
            ("localhost", "localhost:7"),
            ("mail_1.example.org.:pop3s", "mail_1.example.org.:995"),
            ("1und1.example.org", "1und1.example.org:7"),
            ("unix:///run/a b:c", "unix:///run/a b:c"),
        ] {
            assert_eq!(Address::parse(text, 7).unwrap().to_string(), shown, "{text}");
        }
        assert_eq!(
            Address::parse("unix:///run/x", 7).unwrap().with_mode(0o600),
            Address::Unix { path: "/run/x".into(), mode: Some(0o600) }
        );
        assert_eq!(Address::parse("::1", 7).unwrap().with_mode(0o600).to_string(), "[::1]:7");
    }

    #[test]
    fn what_is_none() {
        let long = format!("unix:///{}", "x".repeat(LONGEST_PATH));
        let long_error = format!("{long}: the path of a unix socket is longer than 107 bytes");
        let label = "x".repeat(64);
        let label_error = format!("{label}: not a host name: {label}");
        for (text, error) in [
            ("", ": no address"),
            (":143", ":143: no host before the port"),
            ("192.0.2.1:", "192.0.2.1:: no port behind the colon"),
            ("192.0.2.1:65536", "192.0.2.1:65536: the port 65536 is greater than 65535"),
            ("192.0.2.1:-1", "192.0.2.1:-1: no port and no service: -1"),
            ("192.0.2.1:mial", "192.0.2.1:mial: no port and no service: mial"),
            ("192.0.2.256", "192.0.2.256: not an IPv4 address: 192.0.2.256"),
            ("127.1:143", "127.1:143: not an IPv4 address: 127.1"),
            ("143", "143: not an IPv4 address: 143"),
            ("::1:x", "::1:x: not an IPv6 address: ::1:x"),
            ("192.0.2.1:143:143", "192.0.2.1:143:143: not an IPv6 address: 192.0.2.1:143:143"),
            ("[::1", "[::1: an address in brackets is [address] or [address]:port"),
            ("[::1]143", "[::1]143: an address in brackets is [address] or [address]:port"),
            ("[::1]:", "[::1]:: no port behind the colon"),
            ("[192.0.2.1]:143", "[192.0.2.1]:143: not an IPv6 address: 192.0.2.1"),
            ("[fe80::1%eth0]:143", "[fe80::1%eth0]:143: the zone of an IPv6 address is the number of an interface"),
            ("fe80::1%", "fe80::1%: the zone of an IPv6 address is the number of an interface"),
            ("mail example", "mail example: not a host name: mail example"),
            ("-mail", "-mail: not a host name: -mail"),
            ("mail..example:143", "mail..example:143: not a host name: mail..example"),
            ("bücher.example", "bücher.example: not a host name: bücher.example"),
            ("a\nb", "a\\nb: not a host name: a\\nb"),
            (&label, &label_error),
            ("unix:", "unix:: a unix socket is unix:// and an absolute path"),
            ("unix:///", "unix:///: a unix socket is unix:// and an absolute path"),
            ("unix:/run/x", "unix:/run/x: a unix socket is unix:// and an absolute path"),
            ("unix://run/x", "unix://run/x: a unix socket is unix:// and an absolute path"),
            (&long, &long_error),
        ] {
            assert_eq!(Address::parse(text, 7).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn services_are_found_by_name_and_alias() {
        let table = "# a comment\nimap2\t143/tcp\t\timap # and another\nimap 7/udp\nodd\nlarge 70000/tcp\n";
        assert_eq!(find_service(table, "imap2"), Some(143));
        assert_eq!(find_service(table, "imap"), Some(143));
        for none in ["and", "#", "odd", "large", "143/tcp", ""] {
            assert_eq!(find_service(table, none), None, "{none}");
        }
        assert_eq!(["lmtp", "pop-3", "imap"].map(|name| find_service(OF_MAIL, name)), [Some(24), Some(110), Some(143)]);
    }

    #[test]
    fn a_host_has_all_its_addresses() {
        let addresses = Address::parse("localhost", 143).unwrap().resolve().unwrap();
        assert!(!addresses.is_empty());
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 143), "{addresses:?}");
        assert!(Address::parse("nowhere.invalid", 143).unwrap().resolve().is_err());
    }
}
