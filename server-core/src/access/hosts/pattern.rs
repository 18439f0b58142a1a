//! Patterns of tcp-wrappers tables: what they are, and what they match.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::access::clients::is_host_name;
use crate::network::{Network, NetworkError};

/// The longest pattern, in bytes: longer than any host name.
const LONGEST: usize = 255;

/// The name of a host, as far as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostName {
    /// In lower case, and confirmed: the address is one of this name's.
    Known(String),
    /// It has none, or none could be found out in time.
    Unknown,
    /// It has one that is not confirmed.
    Paranoid,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) address: IpAddr,
    /// The address as it is written.
    text: Box<str>,
    /// `None` until it is needed.
    pub(super) name: Option<HostName>,
}

impl Host {
    fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, text: address.to_string().into(), name: None }
    }
}

/// A connection, as rules see it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// In lower case.
    daemon: Box<str>,
    pub(super) client: Host,
    pub(super) server: Option<Host>,
    port: Option<u16>,
}

impl Request {
    pub(super) fn new(daemon: &str, client: IpAddr, server: Option<SocketAddr>) -> Self {
        Self {
            daemon: daemon.to_ascii_lowercase().into(),
            client: Host::new(client),
            server: server.map(|server| Host::new(server.ip())),
            port: server.map(|server| server.port()),
        }
    }
}

/// The name of this end must be looked up before there is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Client,
    Server,
}

/// `a, b EXCEPT c EXCEPT d`: that is, a or b, unless it is c, unless it is d.
#[derive(Clone, Debug)]
pub(super) struct List<P>(Vec<Vec<P>>);

impl<P> List<P> {
    /// Reads the items, and the word EXCEPT between them.
    pub(super) fn parse(text: &str, mut item: impl FnMut(&str) -> Result<P, Fault>) -> Result<Self, Fault> {
        let mut lists = vec![Vec::new()];
        for word in text.split([' ', ',', '\t', '\r', '\n']).filter(|word| !word.is_empty()) {
            if word.eq_ignore_ascii_case("EXCEPT") {
                lists.push(Vec::new());
            } else if let Some(list) = lists.last_mut() {
                list.push(item(word)?);
            }
        }
        let excepted = lists.len() > 1;
        match lists.iter().any(Vec::is_empty) {
            true if excepted => Err(Fault::Except),
            true => Err(Fault::Empty),
            false => Ok(Self(lists)),
        }
    }

    /// Whether it matches, by what its items say: `None` where one cannot say without the name of a host.
    pub(super) fn matches(&self, need: Need, mut item: impl FnMut(&P) -> Option<bool>) -> Result<bool, Need> {
        // As many lists as match from the first on: the one after an odd number is an exception that does not hold.
        let mut matching = 0_usize;
        for list in &self.0 {
            let mut unsure = false;
            let found = list.iter().any(|pattern| match item(pattern) {
                Some(matches) => matches,
                None => {
                    unsure = true;
                    false
                }
            });
            match (found, unsure) {
                (true, _) => matching += 1,
                (false, true) => return Err(need),
                (false, false) => break,
            }
        }
        Ok(matching % 2 == 1)
    }
}

/// What matches the daemon: its name or port, and perhaps the address that the client connected to.
#[derive(Clone, Debug)]
pub(super) struct DaemonPattern {
    name: NamePattern,
    host: Option<HostPattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NamePattern {
    All,
    Glob(Box<str>),
    Begin(Box<str>),
    End(Box<str>),
    Is(Box<str>),
}

impl DaemonPattern {
    pub(super) fn parse(word: &str, files: &mut impl FnMut(&str) -> Result<Patterns, Fault>) -> Result<Self, Fault> {
        check_length(word)?;
        if word.starts_with('@') {
            return Err(Fault::Netgroup(word.into()));
        }
        let (name, host) = match word.split_once('@') {
            Some((name, host)) => (name, Some(HostPattern::parse(host, files)?)),
            None => (word, None),
        };
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*?".contains(&byte);
        // It would match nothing, and let in those whom its line is to turn away.
        if name.is_empty() || !name.bytes().all(known) {
            return Err(Fault::Daemon(name.into()));
        }
        let lower = name.to_ascii_lowercase();
        let name = match lower.as_str() {
            "all" | "known" => NamePattern::All,
            _ if lower.contains(['*', '?']) => NamePattern::Glob(lower.into()),
            _ if lower.starts_with('.') => NamePattern::End(lower.into()),
            _ if lower.ends_with('.') => NamePattern::Begin(lower.into()),
            _ => NamePattern::Is(lower.into()),
        };
        Ok(Self { name, host })
    }

    fn matches(&self, request: &Request) -> Option<bool> {
        let daemon = &*request.daemon;
        let name = match &self.name {
            NamePattern::All => true,
            NamePattern::Glob(glob) => glob_matches(glob, daemon),
            NamePattern::Begin(begin) => daemon.starts_with(&**begin),
            NamePattern::End(end) => daemon.len() > end.len() && daemon.ends_with(&**end),
            NamePattern::Is(name) => daemon == &**name || request.port.is_some_and(|port| name.parse() == Ok(port)),
        };
        match (&self.host, &request.server) {
            _ if !name => Some(false),
            (None, _) => Some(true),
            (Some(_), None) => Some(false),
            (Some(pattern), Some(host)) => pattern.matches(host),
        }
    }
}

/// The patterns of a file that is named in a table.
pub(super) type Patterns = Arc<[HostPattern]>;

/// What matches a host, by its address or its name.
#[derive(Clone, Debug)]
pub(super) enum HostPattern {
    All,
    Local,
    Known,
    Unknown,
    Paranoid,
    /// The end of a name, with the dot before it.
    Domain(Box<str>),
    /// The first fields of an IPv4 address, with the dot after them.
    Fields(Box<str>),
    Net(Network),
    Name(Box<str>),
    /// Where it could only be of an address, it is not compared with names: these are whatever their owner likes.
    Glob {
        glob: Box<str>,
        names: bool,
    },
    File(Patterns),
}

impl HostPattern {
    pub(super) fn parse(word: &str, files: &mut impl FnMut(&str) -> Result<Patterns, Fault>) -> Result<Self, Fault> {
        if word.starts_with('/') {
            return Ok(Self::File(files(word)?));
        }
        check_length(word)?;
        if word.starts_with('@') {
            return Err(Fault::Netgroup(word.into()));
        }
        if word.contains('@') {
            return Err(Fault::User(word.into()));
        }
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "all" => return Ok(Self::All),
            "local" => return Ok(Self::Local),
            "known" => return Ok(Self::Known),
            "unknown" => return Ok(Self::Unknown),
            "paranoid" => return Ok(Self::Paranoid),
            _ => {}
        }
        if lower.contains('/') || lower.starts_with('[') {
            return lower.parse().map(Self::Net).map_err(Fault::Network);
        }
        if let Ok(address) = lower.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        let strange = || Fault::Host(word.into());
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if lower.contains(['*', '?']) {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:*?".contains(&byte);
            // With a dot at an end it would be one of the two forms below, which take no wildcards.
            if !lower.bytes().all(known) || lower.starts_with('.') || lower.ends_with('.') {
                return Err(strange());
            }
            let names = lower.bytes().any(|byte| byte.is_ascii_alphabetic()) && !lower.contains(':');
            return Ok(Self::Glob { glob: lower.into(), names });
        }
        if let Some(domain) = lower.strip_prefix('.') {
            return if is_host_name(domain) { Ok(Self::Domain(lower.into())) } else { Err(strange()) };
        }
        if let Some(fields) = lower.strip_suffix('.').filter(|fields| digits(fields)) {
            let good = fields.split('.').count() <= 3 && fields.split('.').all(|field| field.parse::<u8>().is_ok());
            return if good { Ok(Self::Fields(lower.into())) } else { Err(strange()) };
        }
        // With a dot at its end it is no name here, but something that begins so.
        if is_host_name(&lower) && !lower.ends_with('.') { Ok(Self::Name(lower.into())) } else { Err(strange()) }
    }

    /// Whether it matches; `None` if that takes the host's name, which is not there.
    fn matches(&self, host: &Host) -> Option<bool> {
        let known = |test: &dyn Fn(&str) -> bool| match host.name.as_ref()? {
            HostName::Known(name) => Some(test(name)),
            HostName::Unknown | HostName::Paranoid => Some(false),
        };
        match self {
            Self::All => Some(true),
            Self::Local => known(&|name| !name.contains('.')),
            Self::Known => known(&|_| true),
            Self::Unknown => host.name.as_ref().map(|name| *name == HostName::Unknown),
            Self::Paranoid => host.name.as_ref().map(|name| *name == HostName::Paranoid),
            Self::Domain(domain) => known(&|name| name.len() > domain.len() && name.ends_with(&**domain)),
            Self::Fields(fields) => Some(host.address.is_ipv4() && host.text.starts_with(&**fields)),
            Self::Net(network) => Some(network.contains(host.address)),
            Self::Name(pattern) => known(&|name| name == &**pattern),
            Self::Glob { glob, .. } if glob_matches(glob, &host.text) => Some(true),
            Self::Glob { names: false, .. } => Some(false),
            Self::Glob { glob, .. } => known(&|name| glob_matches(glob, name)),
            Self::File(patterns) => {
                let mut unsure = false;
                let found = patterns.iter().any(|pattern| {
                    let matches = pattern.matches(host);
                    unsure |= matches.is_none();
                    matches == Some(true)
                });
                if found || !unsure { Some(found) } else { None }
            }
        }
    }
}

/// A line of a table.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) line: usize,
    pub(super) daemons: List<DaemonPattern>,
    pub(super) clients: List<HostPattern>,
}

impl Rule {
    pub(super) fn matches(&self, request: &Request) -> Result<bool, Need> {
        Ok(self.daemons.matches(Need::Server, |pattern| pattern.matches(request))?
            && self.clients.matches(Need::Client, |pattern| pattern.matches(&request.client))?)
    }
}

/// `*` is any text, `?` any character. Both texts are in lower case. Takes time in proportion to the product of the
/// lengths, at worst.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut at, mut place) = (0, 0);
    // Where the last star is, and what it has swallowed so far.
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(byte) if *byte == b'?' || text.get(place) == Some(byte) => {
                at += 1;
                place += 1;
            }
            _ => match star {
                Some((star_at, swallowed)) => {
                    star = Some((star_at, swallowed + 1));
                    at = star_at + 1;
                    place = swallowed + 1;
                }
                None => return false,
            },
        }
    }
    glob.iter().skip(at).all(|byte| *byte == b'*')
}

fn check_length(word: &str) -> Result<(), Fault> {
    if word.len() > LONGEST { Err(Fault::Long) } else { Ok(()) }
}

/// What is wrong with a line of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("missing ':' between daemons and clients")]
    NoColon,
    #[error("shell commands are not run (and an IPv6 address stands in brackets): '{}'", .0.escape_debug())]
    Command(Box<str>),
    #[error("an empty list")]
    Empty,
    #[error("EXCEPT stands between two lists")]
    Except,
    #[error("'[' without ']'")]
    Bracket,
    #[error("{0}")]
    Network(NetworkError),
    #[error("neither a host name, an address nor a pattern: '{}'", .0.escape_debug())]
    Host(Box<str>),
    #[error("neither a daemon's name nor a port: '{}'", .0.escape_debug())]
    Daemon(Box<str>),
    #[error("netgroups are not known: '{}'", .0.escape_debug())]
    Netgroup(Box<str>),
    #[error("clients' user names are not known: '{}'", .0.escape_debug())]
    User(Box<str>),
    #[error("a pattern of more than {LONGEST} bytes")]
    Long,
    #[error("files name files to more than {0} levels")]
    Depth(usize),
    #[error("more than {0} files are named")]
    Files(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_files(_: &str) -> Result<Patterns, Fault> {
        Ok([].into())
    }

    fn host_pattern(word: &str) -> HostPattern {
        HostPattern::parse(word, &mut no_files).unwrap()
    }

    fn host(address: &str, name: Option<&str>) -> Host {
        let name = name.map(|name| match name {
            "UNKNOWN" => HostName::Unknown,
            "PARANOID" => HostName::Paranoid,
            name => HostName::Known(name.into()),
        });
        Host { name, ..Host::new(address.parse().unwrap()) }
    }

    fn matches(word: &str, address: &str, name: Option<&str>) -> Option<bool> {
        host_pattern(word).matches(&host(address, name))
    }

    #[test]
    fn addresses_match_without_a_name() {
        for (word, address, expected) in [
            ("ALL", "192.0.2.1", true),
            ("all", "::1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.10", false),
            ("192.0.2.", "192.0.2.10", true),
            ("192.0.", "192.0.2.10", true),
            ("192.0.", "192.10.2.10", false),
            ("19.", "192.0.2.1", false),
            ("192.0.2.0/24", "192.0.2.200", true),
            ("192.0.2.0/255.255.255.128", "192.0.2.200", false),
            ("192.0.2.77/255.255.255.0", "192.0.2.200", true),
            ("[2001:db8::]/32", "2001:db8:1::1", true),
            ("[2001:db8::]/32", "2001:db9::1", false),
            ("[2001:DB8::1]", "2001:db8::1", true),
            ("192.0.2.1?", "192.0.2.10", true),
            ("192.*.1", "192.0.2.1", true),
            ("192.*.1", "193.0.2.1", false),
            ("*", "::1", true),
        ] {
            assert_eq!(matches(word, address, None), Some(expected), "{word} {address}");
        }
    }

    #[test]
    fn names() {
        for word in
            ["LOCAL", "KNOWN", "UNKNOWN", "PARANOID", ".example.org", "mail.example.org", "*.example.org", "m?il"]
        {
            assert_eq!(matches(word, "192.0.2.1", None), None, "{word} takes the name");
        }
        for (word, name, expected) in [
            ("LOCAL", "mail", true),
            ("LOCAL", "mail.example.org", false),
            ("LOCAL", "UNKNOWN", false),
            ("KNOWN", "mail", true),
            ("known", "UNKNOWN", false),
            ("KNOWN", "PARANOID", false),
            ("UNKNOWN", "UNKNOWN", true),
            ("UNKNOWN", "PARANOID", false),
            ("Paranoid", "PARANOID", true),
            ("PARANOID", "mail", false),
            (".Example.org", "mail.example.org", true),
            (".example.org", "example.org", false),
            (".example.org", "badexample.org", false),
            (".example.org", "PARANOID", false),
            ("Mail.example.org", "mail.example.org", true),
            ("mail.example.org", "mail.example.org.example.com", false),
            ("*.example.org", "a.b.example.org", true),
            ("m?il*", "mail.example.org", true),
            ("m?il", "mail.example.org", false),
        ] {
            assert_eq!(matches(word, "192.0.2.1", Some(name)), Some(expected), "{word} {name}");
        }
    }

    #[test]
    fn a_name_that_looks_like_an_address_is_none() {
        // Whoever has the domain can make such a name, and confirm it.
        for word in ["10.1.", "10.1.*", "10.1.?.1*", "*:*"] {
            assert_eq!(matches(word, "192.0.2.1", Some("10.1.2.1.example.org")), Some(false), "{word}");
        }
    }

    #[test]
    fn patterns_that_are_none() {
        for (word, error) in [
            ("10.0.0.0/33", "10.0.0.0/33: not a prefix length of IPv4: 33"),
            ("10.0.0.0/255.0.255.0", "10.0.0.0/255.0.255.0: not a netmask: 255.0.255.0 has ones after a zero"),
            ("[::1", "[::1: not an IP address: [::1"),
            ("10.0.0", "neither a host name, an address nor a pattern: '10.0.0'"),
            ("1.2.3.4.", "neither a host name, an address nor a pattern: '1.2.3.4.'"),
            ("300.", "neither a host name, an address nor a pattern: '300.'"),
            ("example.", "neither a host name, an address nor a pattern: 'example.'"),
            ("a..b", "neither a host name, an address nor a pattern: 'a..b'"),
            (".", "neither a host name, an address nor a pattern: '.'"),
            ("a%b", "neither a host name, an address nor a pattern: 'a%b'"),
            (".example.*", "neither a host name, an address nor a pattern: '.example.*'"),
            ("10.*.", "neither a host name, an address nor a pattern: '10.*.'"),
            ("a%*", "neither a host name, an address nor a pattern: 'a%*'"),
            ("@friends", "netgroups are not known: '@friends'"),
            ("root@example.org", "clients' user names are not known: 'root@example.org'"),
        ] {
            assert_eq!(HostPattern::parse(word, &mut no_files).unwrap_err().to_string(), error);
        }
        let long = "a".repeat(256);
        let error = HostPattern::parse(&long, &mut no_files).unwrap_err();
        assert_eq!(error.to_string(), "a pattern of more than 255 bytes");
        let error = DaemonPattern::parse("@x", &mut no_files).unwrap_err();
        assert_eq!(error.to_string(), "netgroups are not known: '@x'");
        for (word, error) in [
            ("\u{feff}imapd", "neither a daemon's name nor a port: '\\u{feff}imapd'"),
            ("imapd;", "neither a daemon's name nor a port: 'imapd;'"),
            ("+143", "neither a daemon's name nor a port: '+143'"),
            ("imapd\u{fffd}@ALL", "neither a daemon's name nor a port: 'imapd\u{fffd}'"),
        ] {
            assert_eq!(DaemonPattern::parse(word, &mut no_files).unwrap_err().to_string(), error);
        }
    }

    fn daemon(word: &str, request: &Request) -> Option<bool> {
        DaemonPattern::parse(word, &mut no_files).unwrap().matches(request)
    }

    #[test]
    fn daemons() {
        let mut request =
            Request::new("imapd", "192.0.2.1".parse().unwrap(), Some("198.51.100.1:143".parse().unwrap()));
        for (word, expected) in [
            ("ALL", true),
            ("imapd", true),
            ("IMAPD", true),
            ("imap", false),
            ("pop3d", false),
            ("im*", true),
            ("?op3d", false),
            ("143", true),
            ("110", false),
            ("1430", false),
            ("imapd@198.51.100.1", true),
            ("imapd@198.51.100.2", false),
            ("ALL@198.51.100.", true),
            ("143@198.51.100.0/24", true),
            ("pop3d@198.51.100.1", false),
            ("UNKNOWN", false),
        ] {
            assert_eq!(daemon(word, &request), Some(expected), "{word}");
        }
        assert_eq!(daemon("imapd@mail.example.org", &request), None);
        assert_eq!(daemon("pop3d@mail.example.org", &request), Some(false), "its name is not needed");
        request.server = Some(host("198.51.100.1", Some("mail.example.org")));
        assert_eq!(daemon("imapd@mail.example.org", &request), Some(true));
        request.server = None;
        assert_eq!(daemon("imapd@ALL", &request), Some(false));
    }

    fn list(text: &str, number: u32) -> Result<bool, Need> {
        let list = List::parse(text, |word| Ok(word.to_owned())).unwrap();
        list.matches(Need::Client, |word| {
            if word == "name" { None } else { Some(number.is_multiple_of(word.parse().unwrap())) }
        })
    }

    #[test]
    fn exceptions_nest_to_the_right() {
        // Divisible by the first, unless by the second, unless by the third.
        for (number, expected) in [(1, false), (2, true), (6, false), (30, true), (210, false), (10, true), (15, false)]
        {
            assert_eq!(list("2 EXCEPT 3 except 5, EXCEPT 7", number), Ok(expected), "{number}");
        }
        assert_eq!(list("2,3\t5", 25), Ok(true));
        assert_eq!(list("name 5", 25), Ok(true), "the name is not needed");
        assert_eq!(list("name 5", 24), Err(Need::Client));
        assert_eq!(list("3 EXCEPT name", 25), Ok(false));
        assert_eq!(list("5 EXCEPT name", 25), Err(Need::Client));
        for (text, fault) in [
            ("", Fault::Empty),
            (" ,", Fault::Empty),
            ("EXCEPT", Fault::Except),
            ("2 EXCEPT", Fault::Except),
            ("EXCEPT 2", Fault::Except),
        ] {
            assert_eq!(List::parse(text, |word| Ok(word.to_owned())).unwrap_err(), fault, "{text}");
        }
    }

    #[test]
    fn globs() {
        for (glob, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("*a*a*", "aa", true),
            ("**", "x", true),
            ("a?c", "abc", true),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob} {text}");
        }
        assert!(!glob_matches(&"a*".repeat(100), &"a".repeat(99)));
    }
}
