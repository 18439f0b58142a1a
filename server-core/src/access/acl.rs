//! Access control lists.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use super::clients::Clients;
use super::entry::{Action, Entry, EntryError, Fault, Keyword, family, values};
use crate::gate::{Gate, Refusal};
use crate::program;
use crate::turns::Turns;
use crate::words::CommandLine;

/// How long a program of an `ifexec` entry may take, unless [`Acl::time_limit`] says otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How many programs of one list run at once, of either kind, unless [`Acl::programs_at_once`] says otherwise.
const PROGRAMS: usize = 16;

/// An access control list: its entries are looked at in order, those for other clients are skipped, and the first that
/// has a definite answer decides. Whoever comes to its end is let in.
///
/// | entry | for the clients that it is for |
/// |---|---|
/// | `allow [from] CLIENTS` | lets in |
/// | `deny [from] CLIENTS` | turns away |
/// | `log [from] CLIENTS [TEXT…]` | writes the text to the log (at info), or else `{AF_INET 192.0.2.1:40000}`; goes on |
/// | `exec [from] CLIENTS PROGRAM…` | starts the program, does not wait for it; goes on |
/// | `ifexec [from] CLIENTS PROGRAM…` | runs the program: exit status 0 lets in, anything else turns away |
///
/// `CLIENTS` is `any`, an address, a network or a host name: see [`Clients`]. In texts and programs' arguments
/// `${aclno}` is the entry's place in the list (from 1), `${family}` `AF_INET` or `AF_INET6`, `${address}` and `${port}`
/// the client's; `$$` is one `$`.
///
/// A program is run without a shell. Its line is split at blanks first (quotes and `\` as usual) and the variables are
/// filled in afterwards, each within its word. It gets an empty input, no descriptor of ours, and of our environment only
/// `PATH`, `HOME`, `LANG`, `LC_ALL`, `TZ` and `TMPDIR`; what it says is dropped. To that end, a list with programs marks
/// all descriptors of this process beyond the first three to be closed in programs when it is made. A program that decides
/// has a [time limit](Self::time_limit), at which it is killed with its children, and its client is turned away; so are
/// those for whom no program can be run. A program that does not decide is not started when
/// [too many](Self::programs_at_once) run.
///
/// ```
/// use pillarbox_server_core::access::Acl;
/// use pillarbox_server_core::{Gate, Refusal};
/// use pillarbox_proto_core::Connection;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let acl = Acl::new()
///     .entry(&["deny from 192.0.2.66"])?
///     .entry(&["log from any", "client ${address}, port ${port}"])?
///     .entry(&["allow from 192.0.2.0/255.255.255.0"])?
///     .entry(&["deny from any"])?;
///
/// let mut client = Connection::default();
/// client.peer = Some("192.0.2.1:40000".parse()?);
/// assert!(acl.admit(&mut client).await.is_ok());
/// client.peer = Some("192.0.2.66:40000".parse()?);
/// assert_eq!(acl.admit(&mut client).await, Err(Refusal::new("Denying connection from 192.0.2.66")));
///
/// let error = Acl::new().entry(&["accept from any"]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "entry 1: unknown keyword 'accept', expected allow, deny, log, exec or ifexec"
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Acl {
    entries: Vec<Entry>,
    global: bool,
    time_limit: Duration,
    /// Room for programs that do not decide, and for those that do.
    started: Arc<Semaphore>,
    deciding: Turns,
}

impl Default for Acl {
    fn default() -> Self {
        Self::new()
    }
}

impl Acl {
    /// Without an entry: it lets in everybody.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            global: false,
            time_limit: TIME_LIMIT,
            started: Arc::new(Semaphore::new(PROGRAMS)),
            deciding: Turns::of(PROGRAMS),
        }
    }

    /// Adds an entry as it is written in a configuration: as one string, or as several in a row. What follows the
    /// clients is joined by single blanks; a string that begins after them keeps the blanks in it.
    ///
    /// # Errors
    ///
    /// When the entry is not as in the table above, or a host name in it has no address.
    pub fn entry<W: AsRef<str>>(self, words: &[W]) -> Result<Self, EntryError> {
        let entry = Entry::parse(words).map_err(|fault| self.error(fault))?;
        Ok(self.with(entry))
    }

    /// Adds an entry that lets these clients in.
    #[must_use]
    pub fn allow(self, clients: impl Into<Clients>) -> Self {
        self.with(Entry { clients: clients.into(), action: Action::Allow })
    }

    /// Adds an entry that turns these clients away.
    #[must_use]
    pub fn deny(self, clients: impl Into<Clients>) -> Self {
        self.with(Entry { clients: clients.into(), action: Action::Deny })
    }

    /// Adds an entry that logs these clients, with the text if there is one.
    ///
    /// # Errors
    ///
    /// When the text has a variable that there is not.
    pub fn log(self, clients: impl Into<Clients>, text: Option<&str>) -> Result<Self, EntryError> {
        self.with_text(clients.into(), Keyword::Log, text)
    }

    /// Adds an entry that starts a program for these clients.
    ///
    /// # Errors
    ///
    /// When the command line has no program, an open quote, or a variable that there is not.
    pub fn exec(self, clients: impl Into<Clients>, command: &str) -> Result<Self, EntryError> {
        self.with_text(clients.into(), Keyword::Exec, Some(command))
    }

    /// Adds an entry that lets a program decide about these clients.
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec).
    pub fn if_exec(self, clients: impl Into<Clients>, command: &str) -> Result<Self, EntryError> {
        self.with_text(clients.into(), Keyword::IfExec, Some(command))
    }

    /// Marks it as the one that stands for all listeners. That changes what it writes to the log: a client turned away is
    /// `access from ADDRESS blocked`, not `Denying connection from ADDRESS`, and one for whom no entry decides is noted.
    #[must_use]
    pub fn global(mut self) -> Self {
        self.global = true;
        self
    }

    /// How long a program that decides may take, the wait for its turn included; by default 10 seconds.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// How many programs may run at once: so many that decide, and as many that do not; by default 16. At least one. Of
    /// those that decide, a quarter may be about one client (an IPv4 address, or an IPv6 network of 64 bits).
    #[must_use]
    pub fn programs_at_once(mut self, programs: usize) -> Self {
        let programs = programs.clamp(1, Semaphore::MAX_PERMITS);
        self.started = Arc::new(Semaphore::new(programs));
        self.deciding = Turns::of(programs);
        self
    }

    fn with_text(self, clients: Clients, keyword: Keyword, text: Option<&str>) -> Result<Self, EntryError> {
        let action = keyword.action(text).map_err(|fault| self.error(fault))?;
        Ok(self.with(Entry { clients, action }))
    }

    fn with(mut self, entry: Entry) -> Self {
        if matches!(entry.action, Action::Exec(_) | Action::IfExec(_)) {
            program::keep_descriptors();
        }
        self.entries.push(entry);
        self
    }

    fn error(&self, fault: Fault) -> EntryError {
        EntryError { number: self.entries.len() + 1, fault }
    }

    /// What the entries say; `None` if none of them decides.
    async fn decide(&self, client: SocketAddr) -> Option<bool> {
        for (place, entry) in self.entries.iter().enumerate() {
            if !entry.clients.contains(client.ip()) {
                continue;
            }
            match &entry.action {
                Action::Allow => return Some(true),
                Action::Deny => return Some(false),
                Action::Log(Some(text)) => info!("{}", text.fill(&values(place, client))),
                Action::Log(None) => info!("{{{} {client}}}", family(client.ip())),
                Action::Exec(command) => self.start(command, place, client),
                Action::IfExec(command) => return Some(self.ask(command, place, client).await),
            }
        }
        None
    }

    fn start(&self, command: &CommandLine, place: usize, client: SocketAddr) {
        let Ok(room) = self.started.clone().try_acquire_owned() else {
            warn!(program = %command.program(), "too many programs run: not started");
            return;
        };
        match program::start(&command.fill(&values(place, client))) {
            Ok(mut child) => {
                let program = command.program();
                tokio::spawn(async move {
                    match child.wait().await {
                        Ok(status) => debug!(%program, %status, "a program has ended"),
                        Err(error) => warn!(%program, %error, "cannot wait for a program"),
                    }
                    drop(room);
                });
            }
            Err(error) => warn!(%error, "a program was not run"),
        }
    }

    async fn ask(&self, command: &CommandLine, place: usize, client: SocketAddr) -> bool {
        let begun = tokio::time::Instant::now();
        let turn = self.deciding.take(Some(client.ip()));
        let Ok(Some(_turn)) = tokio::time::timeout(self.time_limit, turn).await else {
            warn!(program = %command.program(), "too many programs run: not started");
            return false;
        };
        let left = self.time_limit.saturating_sub(begun.elapsed());
        match program::run(&command.fill(&values(place, client)), left).await {
            Ok(status) => status.success(),
            Err(error) => {
                warn!(%error, "a program did not decide");
                false
            }
        }
    }
}

#[async_trait]
impl Gate for Acl {
    async fn admit(&self, connection: &mut Connection) -> Result<(), Refusal> {
        let Some(client) = connection.client() else { return Ok(()) };
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let address = client.ip();
        match self.decide(client).await {
            Some(true) => Ok(()),
            None => {
                if self.global && !self.entries.is_empty() {
                    info!("{address}: undefined ACL result; access allowed");
                }
                Ok(())
            }
            Some(false) => {
                let reason = if self.global {
                    format!("access from {address} blocked")
                } else {
                    format!("Denying connection from {address}")
                };
                info!("{reason}");
                Err(Refusal::new(reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[&str]) -> Acl {
        let acl = entries.iter().fold(Acl::new(), |acl, entry| acl.entry(&[entry]).unwrap());
        acl.time_limit(Duration::from_secs(600))
    }

    async fn admits(acl: &Acl, client: &str) -> bool {
        let mut connection = Connection::default();
        connection.peer = Some(client.parse().unwrap_or_else(|_| SocketAddr::new(client.parse().unwrap(), 1143)));
        acl.admit(&mut connection).await.is_ok()
    }

    #[tokio::test]
    async fn the_first_definite_answer_wins() {
        let acl = acl(&[
            "deny from 10.10.10.1",
            "deny from 10.10.1.0/24",
            "log from any",
            "allow from 10.0.0.0/8",
            "allow from 192.168.1.0/24",
            "deny from any",
        ]);
        for (client, admitted) in [
            ("127.0.0.1", false),
            ("10.10.10.1", false),
            ("10.10.1.3", false),
            ("10.5.3.1", true),
            ("192.168.1.0", true),
            ("192.168.2.0", false),
            ("::ffff:10.5.3.1", true),
            ("::ffff:10.10.1.3", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(admits(&acl, client).await, admitted, "{client}");
        }
    }

    #[tokio::test]
    async fn nobody_decides() {
        assert!(admits(&Acl::new(), "192.0.2.1").await);
        assert!(admits(&Acl::new().global(), "192.0.2.1").await);
        assert!(admits(&acl(&["deny 192.0.2.2", "log any x"]), "192.0.2.1").await);
    }

    #[tokio::test]
    async fn a_client_without_an_address_is_let_in() {
        assert!(acl(&["deny from any"]).admit(&mut Connection::default()).await.is_ok());
    }

    #[tokio::test]
    async fn the_client_that_a_proxy_names_counts() {
        let mut connection = Connection::default();
        connection.peer = Some("192.0.2.1:1".parse().unwrap());
        connection.proxied = Some(("198.51.100.1:1".parse().unwrap(), "198.51.100.2:2".parse().unwrap()));
        assert!(acl(&["deny from 198.51.100.1"]).admit(&mut connection).await.is_err());
        assert!(acl(&["deny from 192.0.2.1"]).admit(&mut connection).await.is_ok());
    }

    #[tokio::test]
    async fn reasons() {
        let mut connection = Connection::default();
        connection.peer = Some("[::ffff:192.0.2.1]:1".parse().unwrap());
        let denied = acl(&["deny any"]).admit(&mut connection).await.unwrap_err();
        assert_eq!(denied.to_string(), "Denying connection from 192.0.2.1");
        let denied = acl(&["deny any"]).global().admit(&mut connection).await.unwrap_err();
        assert_eq!(denied.to_string(), "access from 192.0.2.1 blocked");
    }

    #[tokio::test]
    async fn a_program_decides() {
        assert!(admits(&acl(&["ifexec any /bin/true", "deny any"]), "192.0.2.1").await);
        assert!(!admits(&acl(&["ifexec any /bin/false", "allow any"]), "192.0.2.1").await);
        assert!(!admits(&acl(&["ifexec any /bin/sh -c 'exit 2'", "allow any"]), "192.0.2.1").await);
        assert!(!admits(&acl(&["ifexec any /no/such/program", "allow any"]), "192.0.2.1").await);
        assert!(admits(&acl(&["ifexec 192.0.2.2 /bin/false"]), "192.0.2.1").await);
        let each = acl(&[
            "log any x",
            "ifexec any /usr/bin/test '${aclno} ${family} ${address} ${port}' = '2 AF_INET6 2001:db8::1 77'",
        ]);
        assert!(admits(&each, "[2001:db8::1]:77").await);
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_turns_away() {
        let acl = acl(&["ifexec any /bin/sleep 600"]).time_limit(Duration::from_millis(50)).programs_at_once(1);
        // The second does not even get its turn.
        let (first, second) = tokio::join!(admits(&acl, "192.0.2.1"), admits(&acl, "192.0.2.2"));
        assert_eq!((first, second), (false, false));
    }

    #[tokio::test]
    async fn one_client_does_not_keep_all_programs() {
        let acl = acl(&["ifexec any /bin/sh -c 'test ${address} != 192.0.2.1 || sleep 600'"]).programs_at_once(4);
        let mut greedy = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let acl = acl.clone();
            greedy.spawn(async move { admits(&acl, "192.0.2.1").await });
        }
        tokio::task::yield_now().await;
        assert!(admits(&acl, "192.0.2.2").await);
        assert!(greedy.try_join_next().is_none());
        greedy.shutdown().await;
    }

    #[tokio::test]
    async fn entries_made_by_a_program() {
        let network: crate::Network = "192.0.2.0/24".parse().unwrap();
        let acl = Acl::new().log(Clients::any(), Some("${address}")).unwrap().allow(network).deny(Clients::any());
        assert!(admits(&acl, "192.0.2.1").await && !admits(&acl, "192.0.3.1").await);
        let acl = acl.exec(Clients::any(), "/bin/true").unwrap();
        let error = acl.clone().if_exec(Clients::any(), "").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.number()), ("entry 5: ifexec: missing program", 5));
        assert_eq!(acl.log(network, Some("${x}")).unwrap_err().to_string(), "entry 5: log: unknown variable 'x'");
    }
}
