//! The tables of tcp-wrappers.

mod pattern;
mod table;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use tokio::sync::Semaphore;
use tracing::{debug, info};

use self::pattern::{Host, HostName, Need, Request, Rule};
pub use self::table::HostsError;
use self::table::{Table, first_match};
use super::clients::is_host_name;
use super::names::{NameLookup, SystemNames};
use crate::gate::{Gate, Refusal};
use crate::turns::Turns;

/// How long reading the tables may take, the wait for others who read them included.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long finding out a host's name may take, unless [`HostsAccessBuilder::lookup_limit`] says otherwise.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// Decides by the tables of tcp-wrappers, `hosts.allow` and `hosts.deny`: a client that a line of the first one matches is
/// let in; else one that a line of the second one matches is turned away; else it is let in.
///
/// A table has lines `DAEMONS : CLIENTS`, as hosts_access(5) describes them. A line that begins with `#` is a comment; one
/// that ends with a backslash goes on in the next. Both lists are separated by blanks or commas; `A EXCEPT B` is what
/// matches A and not B, and B may have an EXCEPT in its turn. Upper and lower case are the same.
///
/// | daemons | |
/// |---|---|
/// | `imapd` | the name given here, also with `*` and `?` |
/// | `143` | the port that the client connected to |
/// | `imapd@PATTERN` | the same, when the address that the client connected to matches a pattern as below |
/// | `ALL` | any |
///
/// | clients | |
/// |---|---|
/// | `192.0.2.1`, `[2001:db8::1]` | an address |
/// | `192.0.2.` | the first fields of an IPv4 address |
/// | `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `[2001:db8::]/32` | a network |
/// | `mail.example.org`, `.example.org` | a name, or the end of one |
/// | `*.example.org`, `192.0.2.1?` | a name or an address, with `*` for any text and `?` for any character |
/// | `ALL`, `LOCAL` | any; whose name has no dot |
/// | `KNOWN`, `UNKNOWN` | who has a name; who has none |
/// | `PARANOID` | who has a name that is somebody else's |
/// | `/file` | what matches one of the patterns in that file, which are separated by blanks |
///
/// A name is looked up when a line cannot be decided without it, and then once for a connection; and it counts only when
/// the address is one of that name's ([`NameLookup`]). What is written in digits and dots is compared with addresses only.
///
/// What hosts_access(5) has besides is refused as an error with file and line: shell commands (and options in their place,
/// such as `DENY`), netgroups, users' names of clients. Unlike there, a wrong line makes the whole table unusable, and a
/// last line without its end counts.
///
/// The tables are looked at again for every connection and read when they, or files that they name, have changed. One that
/// has become unusable is an error in the log, once, and what it was before still holds. A file that does not exist is an
/// empty one.
///
/// ```
/// use pillarbox_server_core::Gate;
/// use pillarbox_server_core::access::HostsAccess;
/// use pillarbox_proto_core::Connection;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let (allow, deny) = (folder.path().join("hosts.allow"), folder.path().join("hosts.deny"));
/// std::fs::write(&allow, "imapd: 192.0.2. EXCEPT 192.0.2.66\n")?;
/// std::fs::write(&deny, "ALL: ALL\n")?;
/// let tables = HostsAccess::builder("imapd").allow_table(&allow).deny_table(&deny).load()?;
///
/// let mut client = Connection::default();
/// client.peer = Some("192.0.2.1:40000".parse()?);
/// assert!(tables.admit(&mut client).await.is_ok());
/// client.peer = Some("192.0.2.66:40000".parse()?);
/// assert_eq!(
///     tables.admit(&mut client).await.unwrap_err().to_string(),
///     "access from 192.0.2.66 blocked by TCP wrappers"
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HostsAccess {
    daemon: Box<str>,
    /// Of the allow table and the deny table; `None` when nothing is to be decided.
    tables: Option<Arc<(Mutex<Table>, Mutex<Table>)>>,
    /// One thread at a time looks at them: those of many clients would but wait for each other.
    reader: Arc<Semaphore>,
    names: Arc<dyn NameLookup>,
    lookup_limit: Duration,
    lookups: Turns,
}

/// How many names of clients are looked up at once, and how many times that of one client.
const LOOKUPS: (usize, usize) = (32, 4);

/// Makes a [`HostsAccess`].
#[derive(Clone, Debug)]
pub struct HostsAccessBuilder {
    daemon: Box<str>,
    allow: PathBuf,
    deny: PathBuf,
    enabled: bool,
    names: Arc<dyn NameLookup>,
    lookup_limit: Duration,
}

impl HostsAccess {
    /// For a server of this name (`imapd`, `pop3d`), by which the tables call it.
    pub fn builder(daemon: impl Into<Box<str>>) -> HostsAccessBuilder {
        HostsAccessBuilder {
            daemon: daemon.into(),
            allow: "/etc/hosts.allow".into(),
            deny: "/etc/hosts.deny".into(),
            enabled: true,
            names: Arc::new(SystemNames::default()),
            lookup_limit: LOOKUP_LIMIT,
        }
    }

    /// The rules of both tables as they are now; `None` if they can't be read in time.
    async fn current(&self, tables: &Arc<(Mutex<Table>, Mutex<Table>)>) -> Option<(Arc<[Rule]>, Arc<[Rule]>)> {
        let read = async {
            let turn = self.reader.clone().acquire_owned().await.ok()?;
            let tables = Arc::clone(tables);
            let read = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let refresh = |table: &Mutex<Table>| table.lock().unwrap_or_else(PoisonError::into_inner).refresh();
                (refresh(&tables.0), refresh(&tables.1))
            });
            read.await.ok()
        };
        tokio::time::timeout(READ_LIMIT, read).await.ok().flatten()
    }

    /// Whether this client is let in.
    async fn admits(&self, tables: (Arc<[Rule]>, Arc<[Rule]>), mut request: Request) -> bool {
        let client = request.client.address;
        // Each name is looked up once, so that there are three rounds at most.
        loop {
            let need = match decide(&tables, &request) {
                Ok(admitted) => return admitted,
                Err(need) => need,
            };
            let host = match need {
                Need::Client => Some(&mut request.client),
                Need::Server => request.server.as_mut(),
            };
            match host {
                Some(host @ Host { name: None, .. }) => {
                    // Whom nobody has asked about is not one of whom nobody knows the name: a line may turn that one away.
                    let Some(name) = self.name(host.address, client).await else { return false };
                    host.name = Some(name);
                }
                // The name is there, so that it is not asked for: but this must come to an end.
                _ => return false,
            }
        }
    }

    /// The name of an address, which this client makes us ask for; `None` if there was no room to ask.
    async fn name(&self, address: IpAddr, client: IpAddr) -> Option<HostName> {
        let turn = tokio::time::timeout(self.lookup_limit, self.lookups.take(Some(client))).await;
        let Ok(Some(_turn)) = turn else {
            debug!(%address, "too many names are looked up for this client");
            return None;
        };
        let found = tokio::time::timeout(self.lookup_limit, async {
            let Ok(Some(name)) = self.names.name(address).await else { return HostName::Unknown };
            let name = name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
            // Also what is an address in the place of a name.
            if !is_host_name(&name) {
                return HostName::Paranoid;
            }
            match self.names.addresses(&name).await {
                Ok(addresses) if addresses.iter().any(|known| known.to_canonical() == address) => HostName::Known(name),
                Ok(_) | Err(_) => HostName::Paranoid,
            }
        });
        Some(found.await.unwrap_or_else(|_| {
            debug!(%address, "no name within the time limit");
            HostName::Unknown
        }))
    }
}

fn decide((allow, deny): &(Arc<[Rule]>, Arc<[Rule]>), request: &Request) -> Result<bool, Need> {
    if let Some(line) = first_match(allow, request)? {
        debug!(line, "allowed by TCP wrappers");
        return Ok(true);
    }
    let denied = first_match(deny, request)?;
    if let Some(line) = denied {
        debug!(line, "denied by TCP wrappers");
    }
    Ok(denied.is_none())
}

#[async_trait]
impl Gate for HostsAccess {
    async fn admit(&self, connection: &mut Connection) -> Result<(), Refusal> {
        let (Some(tables), Some(client)) = (&self.tables, connection.client()) else { return Ok(()) };
        let request = Request::new(&self.daemon, client.ip(), connection.server());
        let Some(current) = self.current(tables).await else {
            return Err(Refusal::new("the tables of TCP wrappers cannot be read"));
        };
        let address = request.client.address;
        if self.admits(current, request).await {
            return Ok(());
        }
        let reason = format!("access from {address} blocked by TCP wrappers");
        info!("{reason}");
        Err(Refusal::new(reason))
    }
}

impl HostsAccessBuilder {
    /// The table of those who are let in; by default `/etc/hosts.allow`.
    #[must_use]
    pub fn allow_table(mut self, path: impl Into<PathBuf>) -> Self {
        self.allow = path.into();
        self
    }

    /// The table of those who are turned away; by default `/etc/hosts.deny`.
    #[must_use]
    pub fn deny_table(mut self, path: impl Into<PathBuf>) -> Self {
        self.deny = path.into();
        self
    }

    /// Whether the tables are used at all; by default they are. If not, they are not even read, and all are let in.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Who knows the names of hosts; by default [`SystemNames`].
    #[must_use]
    pub fn names(mut self, names: Arc<dyn NameLookup>) -> Self {
        self.names = names;
        self
    }

    /// How long finding out the name of a host may take, after which it has none; by default 5 seconds. At most 32 names are
    /// looked up at once, and 4 for one client (an IPv4 address, or an IPv6 network of 64 bits); a client for whom there is
    /// no turn within this time is turned away.
    #[must_use]
    pub fn lookup_limit(mut self, limit: Duration) -> Self {
        self.lookup_limit = limit;
        self
    }

    /// Reads the tables.
    ///
    /// # Errors
    ///
    /// When one of them, or a file that it names, cannot be read or has a line that is wrong.
    pub fn load(self) -> Result<HostsAccess, HostsError> {
        let tables = if self.enabled {
            let table = |path| Table::load(path).map(Mutex::new);
            Some(Arc::new((table(self.allow)?, table(self.deny)?)))
        } else {
            None
        };
        Ok(HostsAccess {
            daemon: self.daemon,
            tables,
            reader: Arc::new(Semaphore::new(1)),
            names: self.names,
            lookup_limit: self.lookup_limit,
            lookups: Turns::new(LOOKUPS.0, LOOKUPS.1),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Names as the test gives them, and how many questions there were.
    #[derive(Debug, Default)]
    struct Names(Mutex<Vec<IpAddr>>);

    #[async_trait]
    impl NameLookup for Names {
        async fn name(&self, address: IpAddr) -> io::Result<Option<String>> {
            self.0.lock().unwrap().push(address);
            Ok(Some(match address.to_string().as_str() {
                "192.0.2.1" => "Mail.Example.org.".into(),
                "192.0.2.2" => "liar.example.org".into(),
                "192.0.2.3" => "192.0.2.1".into(),
                "192.0.2.4" => return Err(io::ErrorKind::TimedOut.into()),
                "192.0.2.5" => std::future::pending().await,
                "198.51.100.1" => "imap".into(),
                _ => return Ok(None),
            }))
        }

        async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            Ok(match name {
                "mail.example.org" => vec!["2001:db8::1".parse().unwrap(), "::ffff:192.0.2.1".parse().unwrap()],
                "liar.example.org" => vec!["192.0.2.1".parse().unwrap()],
                "imap" => vec!["198.51.100.1".parse().unwrap()],
                _ => Vec::new(),
            })
        }
    }

    struct Setting {
        folder: tempfile::TempDir,
        names: Arc<Names>,
        hosts: HostsAccess,
    }

    fn setting(allow: &str, deny: &str) -> Setting {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("allow"), allow).unwrap();
        std::fs::write(folder.path().join("deny"), deny).unwrap();
        let names = Arc::new(Names::default());
        let hosts = HostsAccess::builder("imapd")
            .allow_table(folder.path().join("allow"))
            .deny_table(folder.path().join("deny"))
            .names(names.clone())
            .lookup_limit(Duration::from_millis(50))
            .load()
            .unwrap();
        Setting { folder, names, hosts }
    }

    impl Setting {
        async fn admits(&self, client: &str) -> bool {
            let mut connection = Connection::default();
            connection.peer = Some((client.parse::<IpAddr>().unwrap(), 40_000).into());
            connection.local = Some("198.51.100.1:143".parse().unwrap());
            self.hosts.admit(&mut connection).await.is_ok()
        }

        fn asked(&self) -> usize {
            self.names.0.lock().unwrap().len()
        }
    }

    #[tokio::test]
    async fn allow_goes_before_deny() {
        let tables = setting("imapd: 192.0.2.1\npop3d: ALL", "ALL: 192.0.2.");
        assert!(tables.admits("192.0.2.1").await && tables.admits("::ffff:192.0.2.1").await);
        assert!(!tables.admits("192.0.2.2").await);
        assert!(tables.admits("203.0.113.1").await, "whom no line matches");
        assert_eq!(tables.asked(), 0);
    }

    #[tokio::test]
    async fn names_are_looked_up_when_they_are_needed() {
        let tables = setting("ALL: .example.org", "imapd: 192.0.2. [2001:db8::]/32");
        assert!(tables.admits("192.0.2.1").await);
        assert_eq!(tables.asked(), 1);
        assert!(!tables.admits("192.0.2.2").await, "a name of somebody else");
        assert!(!tables.admits("192.0.2.3").await, "an address for a name");
        assert!(!tables.admits("192.0.2.4").await, "an error");
        assert!(!tables.admits("192.0.2.5").await, "no answer");
        assert!(!tables.admits("2001:db8::1").await, "no name");
    }

    #[tokio::test]
    async fn words_for_names() {
        let tables = setting("imapd: KNOWN", "imapd: ALL");
        assert!(
            tables.admits("192.0.2.1").await && !tables.admits("192.0.2.2").await && !tables.admits("192.0.2.5").await
        );
        let tables = setting("", "ALL: UNKNOWN");
        assert!(tables.admits("192.0.2.1").await && tables.admits("192.0.2.2").await);
        assert!(!tables.admits("192.0.2.4").await && !tables.admits("192.0.2.5").await && !tables.admits("::1").await);
        let tables = setting("", "ALL: PARANOID");
        assert!(tables.admits("192.0.2.1").await && tables.admits("192.0.2.4").await);
        assert!(!tables.admits("192.0.2.2").await && !tables.admits("192.0.2.3").await);
        let tables = setting("143@LOCAL: mail.example.org", "ALL: ALL");
        assert!(tables.admits("192.0.2.1").await);
        assert_eq!(tables.asked(), 2, "ours and the client's");
    }

    #[tokio::test]
    async fn who_has_no_address_is_let_in() {
        let tables = setting("", "ALL: ALL");
        assert!(tables.hosts.admit(&mut Connection::default()).await.is_ok());
    }

    #[tokio::test]
    async fn tables_are_read_again() {
        let tables = setting("", "imapd: ALL");
        assert!(!tables.admits("192.0.2.1").await);
        std::fs::write(tables.folder.path().join("allow"), "imapd: 192.0.2.1").unwrap();
        assert!(tables.admits("192.0.2.1").await);
        std::fs::write(tables.folder.path().join("allow"), "imapd 192.0.2.1").unwrap();
        assert!(tables.admits("192.0.2.1").await, "what is unusable changes nothing");
        std::fs::remove_file(tables.folder.path().join("allow")).unwrap();
        assert!(!tables.admits("192.0.2.1").await);
    }

    #[tokio::test]
    async fn one_client_does_not_keep_all_lookups() {
        let tables = Arc::new(setting("", "imapd: KNOWN"));
        let mut greedy = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let tables = tables.clone();
            greedy.spawn(async move {
                let silent = "192.0.2.5".parse().unwrap();
                tables.hosts.name(silent, silent).await
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(tables.asked(), LOOKUPS.1);
        let good = "192.0.2.1".parse().unwrap();
        let other = tables.hosts.name(good, good).await;
        assert_eq!(other, Some(HostName::Known("mail.example.org".into())));
        let names = greedy.join_all().await;
        // Whoever did not get a turn is not taken for one without a name.
        assert!(names.contains(&Some(HostName::Unknown)) && names.contains(&None));
        assert!(names.iter().all(|name| matches!(name, None | Some(HostName::Unknown))));
    }

    #[tokio::test]
    async fn tables_that_are_slow_keep_one_thread() {
        let tables = Arc::new(setting("", "imapd: ALL"));
        let read = tables.hosts.tables.clone().unwrap();
        // As a disk that does not answer.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (holds, begun) = tokio::sync::oneshot::channel();
        let slow = read.clone();
        let thread = std::thread::spawn(move || {
            let _table = slow.0.lock().unwrap();
            holds.send(()).unwrap();
            let _ = held.recv();
        });
        begun.await.unwrap();
        let before = Arc::strong_count(&read);
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let tables = tables.clone();
            asked.spawn(async move { tables.admits("192.0.2.1").await });
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&read), before + 1, "one reader");
        drop(release);
        thread.join().unwrap();
        assert!(asked.join_all().await.iter().all(|admitted| !admitted));
    }

    #[tokio::test]
    async fn switched_off() {
        let folder = tempfile::tempdir().unwrap();
        let deny = folder.path().join("deny");
        std::fs::write(&deny, "ALL: ALL: /bin/true").unwrap();
        let builder = HostsAccess::builder("imapd").allow_table(folder.path().join("none")).deny_table(&deny);
        let error = builder.clone().load().unwrap_err();
        assert_eq!((error.file(), error.line()), (deny.as_path(), Some(1)));
        let hosts = builder.enabled(false).load().unwrap();
        let mut connection = Connection::default();
        connection.peer = Some("192.0.2.1:1".parse().unwrap());
        assert!(hosts.admit(&mut connection).await.is_ok());
    }
}
