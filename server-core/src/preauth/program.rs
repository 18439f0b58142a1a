//! Another program says who a client is.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;

use super::scheme::{Fault, SchemeError};
use super::{Preauth, Unidentified, user};
use crate::program;
use crate::turns::Turns;
use crate::words::CommandLine;

/// How long a program may take, unless [`Program::time_limit`] says otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How many programs run at once, unless [`Program::at_once`] says otherwise.
const AT_ONCE: usize = 16;

const VARIABLES: &[&str] = &["client_address", "client_port", "server_address", "server_port"];

/// Runs a program that says who a client is: the first line that it writes is the user's name, and it must end with status
/// 0 and write no more than 64 KiB.
///
/// It is run for each connection as the programs of an [`Acl`](crate::access::Acl) are: without a shell, split into words
/// before `${client_address}`, `${client_port}`, `${server_address}` and `${server_port}` are filled in (which are empty
/// for a client without an address), with an empty input, no descriptor of ours and little of our environment.
///
/// ```
/// use std::time::Duration;
///
/// use pillarbox_proto_core::Connection;
/// use pillarbox_proto_core::auth::Identity;
/// use pillarbox_server_core::preauth::{Preauth, Program};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hook = Program::new("/bin/echo user-at-${client_address}")?.time_limit(Duration::from_secs(5));
/// let mut client = Connection::default();
/// client.peer = Some("192.0.2.1:40000".parse()?);
/// assert_eq!(hook.identify(&client).await?, Identity::new("user-at-192.0.2.1"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    command: CommandLine,
    time_limit: Duration,
    turns: Turns,
}

impl Program {
    /// With this command line, whose first word is the path of the program.
    ///
    /// # Errors
    ///
    /// When there is no program, its path is not absolute, a quote is open, or there is a variable besides those four.
    pub fn new(command: &str) -> Result<Self, SchemeError> {
        let fault = |fault| SchemeError(Fault::Program(fault));
        let command = CommandLine::parse(command, VARIABLES).map_err(fault)?;
        if !command.program().starts_with('/') {
            return Err(SchemeError(Fault::Relative(command.program().into())));
        }
        program::keep_descriptors();
        Ok(Self { command, time_limit: TIME_LIMIT, turns: Turns::of(AT_ONCE) })
    }

    /// How long it may take, the wait for its turn included; by default 10 seconds. It is then killed, and the client is
    /// not identified.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// How many may run at once; by default 16. At least one. Other clients wait for their turn. A quarter may be about one
    /// client (an IPv4 address, or an IPv6 network of 64 bits).
    #[must_use]
    pub fn at_once(mut self, programs: usize) -> Self {
        self.turns = Turns::of(programs);
        self
    }
}

fn values(connection: &Connection) -> [Cow<'static, str>; 4] {
    fn end(address: Option<SocketAddr>) -> [Cow<'static, str>; 2] {
        match address {
            Some(address) => [address.ip().to_canonical().to_string().into(), address.port().to_string().into()],
            None => ["".into(), "".into()],
        }
    }
    let [client_address, client_port] = end(connection.client());
    let [server_address, server_port] = end(connection.server());
    [client_address, client_port, server_address, server_port]
}

#[async_trait]
impl Preauth for Program {
    async fn identify(&self, connection: &Connection) -> Result<Identity, Unidentified> {
        let begun = tokio::time::Instant::now();
        let turn = self.turns.take(connection.client().map(|client| client.ip()));
        let Ok(Some(_turn)) = tokio::time::timeout(self.time_limit, turn).await else {
            return Err(Unidentified::new("program: too many of them run"));
        };
        let left = self.time_limit.saturating_sub(begun.elapsed());
        let line = program::first_line(&self.command.fill(&values(connection)), left).await;
        let line = line.map_err(|error| Unidentified::new(format!("program: {error}")))?;
        user(&line).map_err(|reason| Unidentified::new(format!("program: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn identify(command: &str, connection: &Connection) -> Result<String, String> {
        let hook = Program::new(command).unwrap().time_limit(Duration::from_secs(600));
        hook.identify(connection).await.map(|identity| identity.authcid).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_four_variables() {
        let mut connection = Connection::default();
        let command = "/bin/echo a ${client_address} ${client_port} ${server_address} '${server_port} b'";
        assert_eq!(identify(command, &connection).await.unwrap(), "a     b");
        connection.peer = Some("[::ffff:192.0.2.1]:40000".parse().unwrap());
        connection.local = Some("[2001:db8::1]:143".parse().unwrap());
        assert_eq!(identify(command, &connection).await.unwrap(), "a 192.0.2.1 40000 2001:db8::1 143 b");
        connection.proxied = Some(("198.51.100.1:1".parse().unwrap(), "198.51.100.2:2".parse().unwrap()));
        assert_eq!(identify(command, &connection).await.unwrap(), "a 198.51.100.1 1 198.51.100.2 2 b");
    }

    #[tokio::test]
    async fn who_is_not_identified() {
        for (command, error) in [
            ("/bin/true", "program: no user name"),
            ("/bin/echo ' '", "program: no user name"),
            ("/bin/sh -c 'echo alice; exit 1'", "program: /bin/sh ended with exit status: 1"),
            ("/bin/echo -e 'a\\tb'", "program: the user name has control characters"),
            ("/usr/bin/printf '\\377'", "program: the user name is not UTF-8"),
            ("/usr/bin/printf %0256d 0", "program: the user name is too long"),
            ("/no/such", "program: cannot start /no/such: No such file or directory (os error 2)"),
        ] {
            assert_eq!(identify(command, &Connection::default()).await.unwrap_err(), error);
        }
    }

    #[tokio::test]
    async fn one_that_does_not_end() {
        let hook = Program::new("/bin/sleep 600").unwrap().time_limit(Duration::from_millis(50)).at_once(1);
        let connection = Connection::default();
        let (first, second) = tokio::join!(hook.identify(&connection), hook.identify(&connection));
        assert!(first.unwrap_err().to_string().starts_with("program: /bin/sleep took longer than "));
        assert!(second.is_err());
    }
}
