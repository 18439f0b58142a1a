//! One entry of an access control list, and how it is written.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::clients::{Clients, ClientsError};
use crate::words::{CommandLine, Text, WordsError};

/// What may stand in the texts of entries, as `${name}`.
const VARIABLES: &[&str] = &["aclno", "family", "address", "port"];

/// What is done about which clients.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) clients: Clients,
    pub(super) action: Action,
}

/// What an entry does about a client.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Allow,
    Deny,
    /// Writes the text, or the client's address, to the log.
    Log(Option<Text>),
    /// Starts a program and goes on.
    Exec(CommandLine),
    /// Lets a program decide.
    IfExec(CommandLine),
}

impl Entry {
    pub(super) fn parse<W: AsRef<str>>(words: &[W]) -> Result<Self, Fault> {
        let (keyword, clients, action) = read(words)?;
        let clients = clients.parse().map_err(|error| Fault::Clients(keyword, error))?;
        Ok(Self { clients, action })
    }
}

/// All but the clients, who may have to be looked up.
fn read<W: AsRef<str>>(words: &[W]) -> Result<(Keyword, &str, Action), Fault> {
    let mut reader = Reader { text: "", rest: words.iter() };
    let keyword = reader.word().ok_or(Fault::Empty)?;
    let keyword = Keyword::from_word(keyword).ok_or_else(|| Fault::Keyword(keyword.into()))?;
    let mut clients = reader.word();
    if clients == Some("from") {
        clients = reader.word();
    }
    let clients = clients.ok_or(Fault::NoAddress(keyword))?;
    Ok((keyword, clients, keyword.action(reader.remainder().as_deref())?))
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Keyword {
    Allow,
    Deny,
    Log,
    Exec,
    IfExec,
}

impl Keyword {
    const ALL: [Self; 5] = [Self::Allow, Self::Deny, Self::Log, Self::Exec, Self::IfExec];

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.name() == word)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Log => "log",
            Self::Exec => "exec",
            Self::IfExec => "ifexec",
        }
    }

    pub(super) fn action(self, text: Option<&str>) -> Result<Action, Fault> {
        let words = |error| Fault::Words(self, error);
        match (self, text) {
            (Self::Allow, None) => Ok(Action::Allow),
            (Self::Deny, None) => Ok(Action::Deny),
            (Self::Allow | Self::Deny, Some(junk)) => Err(Fault::Junk(self, junk.into())),
            (Self::Log, None) => Ok(Action::Log(None)),
            (Self::Log, Some(text)) => Ok(Action::Log(Some(Text::parse(text, VARIABLES).map_err(words)?))),
            (Self::Exec, text) => {
                Ok(Action::Exec(CommandLine::parse(text.unwrap_or_default(), VARIABLES).map_err(words)?))
            }
            (Self::IfExec, text) => {
                Ok(Action::IfExec(CommandLine::parse(text.unwrap_or_default(), VARIABLES).map_err(words)?))
            }
        }
    }
}

/// Takes words off the front of several strings, and the rest of them as one text.
struct Reader<'a, W> {
    text: &'a str,
    rest: std::slice::Iter<'a, W>,
}

impl<'a, W: AsRef<str>> Reader<'a, W> {
    fn word(&mut self) -> Option<&'a str> {
        loop {
            self.text = self.text.trim_start();
            if !self.text.is_empty() {
                let (word, rest) = self.text.split_once(char::is_whitespace).unwrap_or((self.text, ""));
                self.text = rest;
                return Some(word);
            }
            self.text = self.rest.next()?.as_ref();
        }
    }

    /// What is left, with single blanks between words, but the strings that have not been touched yet as they are.
    fn remainder(&mut self) -> Option<String> {
        let mut all: Vec<&str> = self.text.split_whitespace().collect();
        all.extend(self.rest.by_ref().map(AsRef::as_ref));
        (!all.is_empty()).then(|| all.join(" "))
    }
}

/// The values of [`VARIABLES`] for this client and the entry at this place, which counts from 0.
pub(super) fn values(place: usize, client: SocketAddr) -> [Cow<'static, str>; 4] {
    let place = place.saturating_add(1).to_string();
    [place.into(), family(client.ip()).into(), client.ip().to_string().into(), client.port().to_string().into()]
}

pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "AF_INET" } else { "AF_INET6" }
}

/// What is wrong with an entry of an access control list. Its message is one line and begins with the entry's place.
#[derive(Debug, thiserror::Error)]
#[error("entry {number}: {fault}")]
pub struct EntryError {
    pub(super) number: usize,
    pub(super) fault: Fault,
}

impl EntryError {
    /// The place of the entry in its list; the first is 1.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("nothing in it")]
    Empty,
    #[error("unknown keyword '{}', expected allow, deny, log, exec or ifexec", .0.escape_debug())]
    Keyword(Box<str>),
    #[error("{}: missing address", .0.name())]
    NoAddress(Keyword),
    #[error("{}: junk after IP address: '{}'", .0.name(), .1.escape_debug())]
    Junk(Keyword, Box<str>),
    #[error("{}: {}", .0.name(), .1)]
    Clients(Keyword, ClientsError),
    #[error("{}: {}", .0.name(), .1)]
    Words(Keyword, WordsError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(words: &[&str]) -> Result<Entry, String> {
        Entry::parse(words).map_err(|error| error.to_string())
    }

    fn text(words: &[&str]) -> String {
        match parse(words).unwrap().action {
            Action::Log(Some(text)) => text.fill(&values(1, "192.0.2.1:1143".parse().unwrap())),
            other => panic!("{other:?}"),
        }
    }

    fn program(words: &[&str]) -> Vec<String> {
        match parse(words).unwrap().action {
            Action::Exec(line) | Action::IfExec(line) => line.fill(&values(0, "[2001:db8::1]:1143".parse().unwrap())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn forms() {
        for words in [
            &["deny from 10.0.0.0/8"][..],
            &["deny 10.0.0.0/8"],
            &["deny", "from", " 10.0.0.0/8 "],
            &["", "deny\tfrom", "10.9.9.9/8"],
        ] {
            let entry = parse(words).unwrap();
            assert!(matches!(entry.action, Action::Deny));
            assert_eq!(entry.clients.to_string(), "10.0.0.0/8");
        }
        assert!(matches!(parse(&["allow from any"]).unwrap().action, Action::Allow));
        assert!(matches!(parse(&["log from any"]).unwrap().action, Action::Log(None)));
        assert!(matches!(parse(&["exec any /bin/true"]).unwrap().action, Action::Exec(_)));
        assert!(matches!(parse(&["ifexec from any /bin/true"]).unwrap().action, Action::IfExec(_)));
    }

    #[test]
    fn texts() {
        assert_eq!(text(&["log from any", "hit ${address} ${aclno}"]), "hit 192.0.2.1 2");
        assert_eq!(text(&["log from any a  b", "c  d", "e"]), "a b c  d e");
        assert_eq!(text(&["log", "any", "${family}/${port}"]), "AF_INET/1143");
        assert_eq!(
            program(&["ifexec any", "/bin/x ${family} '${address} ${port}'"]),
            ["/bin/x", "AF_INET6", "2001:db8::1 1143"]
        );
        assert_eq!(program(&["exec from any /bin/x a", "b c"]), ["/bin/x", "a", "b", "c"]);
    }

    #[test]
    fn faults() {
        for (words, error) in [
            (&[][..], "nothing in it"),
            (&["", " "], "nothing in it"),
            (&["accept from any"], "unknown keyword 'accept', expected allow, deny, log, exec or ifexec"),
            (&["Allow any"], "unknown keyword 'Allow', expected allow, deny, log, exec or ifexec"),
            (&["a\nb"], "unknown keyword 'a', expected allow, deny, log, exec or ifexec"),
            (&["allow"], "allow: missing address"),
            (&["deny from"], "deny: missing address"),
            (&["allow from any now"], "allow: junk after IP address: 'now'"),
            (&["deny 10.0.0.1", "and 10.0.0.2"], "deny: junk after IP address: 'and 10.0.0.2'"),
            (&["allow authenticated any"], "allow: junk after IP address: 'any'"),
            (&["deny from 10.0.0.0/33"], "deny: 10.0.0.0/33: not a prefix length of IPv4: 33"),
            (
                &["deny from 10.0.0.0/255.0.255.0"],
                "deny: 10.0.0.0/255.0.255.0: not a netmask: 255.0.255.0 has ones after a zero",
            ),
            (&["log 10.0.0.256"], "log: neither an address, a network nor a host name: '10.0.0.256'"),
            (&["log any ${user}"], "log: unknown variable 'user'"),
            (&["log any ${user"], "log: '${' without '}'"),
            (&["log any $address"], "log: a variable is written '${address}', not '$address'"),
            (&["exec from any"], "exec: missing program"),
            (&["ifexec any", " "], "ifexec: missing program"),
            (&["ifexec any /bin/x 'a"], "ifexec: a quote without its end"),
            (&["exec any /bin/${address}"], "exec: a variable in the name of the program"),
        ] {
            assert_eq!(parse(words).unwrap_err(), error, "{words:?}");
        }
    }

    proptest! {
        #[test]
        fn any_entry_is_read_or_refused_in_one_line(
            words in proptest::collection::vec("(allow|deny|log|exec|ifexec|from|any|[0-9./:${} '\"\\\\\\n]|\\PC){0,12}", 0..5),
        ) {
            if let Err(error) = read(&words) {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}
