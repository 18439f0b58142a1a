//! The client's machine says who a client is (RFC 1413).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tracing::debug;

use super::reply::{self, Answer, ReplyError};
use super::token::IdentKeys;
use super::users::Users;
use super::{Preauth, Unidentified, user};

/// The port of the service `auth`.
pub(super) const PORT: u16 = 113;
/// The longest reply, in bytes, without the end of its line (RFC 1413, section 4).
const LONGEST: usize = 1000;
/// How long it all may take, unless [`Ident::time_limit`] says otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Asks the machine that a client comes from whose connection it is (RFC 1413).
///
/// The question goes to the client's address, from the one that it connected to, and names the two ports. A reply must be
/// one line of at most 1000 bytes, for these ports, of the kind `USERID`, whatever operating system it names; its user
/// name is then the client's. The reply is only as good as that machine and the network in between: whoever rules over either is
/// whom they like. [Networks](crate::access::Acl) should be limited to those that are trusted.
///
/// A user name may be encrypted: `[`, 24 bytes in base64, `]`. It is opened with the [keys](Self::keys) of a key file and
/// holds the number of a user, who is looked up in the [users](Self::users) of this system, and the addresses and ports of
/// the connection, which must be this one's unless they are left out (zero). The time in it is not looked at.
/// With [`encrypt_only`](Self::encrypt_only) no other user names are taken.
///
/// A client that a trusted proxy names is asked too, but the question comes from this machine's address then.
///
/// ```no_run
/// use pillarbox_server_core::preauth::{Ident, IdentKeys};
///
/// let hook = Ident::new().port(1113).keys(IdentKeys::from_file("/etc/ident.keys")?).encrypt_only(true);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ident {
    port: u16,
    keys: Option<IdentKeys>,
    encrypt_only: bool,
    users: Users,
    time_limit: Duration,
}

impl Default for Ident {
    fn default() -> Self {
        Self::new()
    }
}

impl Ident {
    /// At the standard port (113), without keys.
    #[must_use]
    pub fn new() -> Self {
        Self { port: PORT, keys: None, encrypt_only: false, users: Users::default(), time_limit: TIME_LIMIT }
    }

    /// The port at which the clients' machines are asked.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The keys that open encrypted user names. Without any, these are not taken.
    #[must_use]
    pub fn keys(mut self, keys: IdentKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Whether user names that are not encrypted are refused; by default they are not.
    #[must_use]
    pub fn encrypt_only(mut self, yes: bool) -> Self {
        self.encrypt_only = yes;
        self
    }

    /// Looks the number of an encrypted user up elsewhere than in the [system's user database](super::system_user); the
    /// function may block.
    #[must_use]
    pub fn users(mut self, lookup: impl Fn(u32) -> io::Result<Option<String>> + Send + Sync + 'static) -> Self {
        self.users = Users::new(lookup);
        self
    }

    /// How long it may take until the reply is there and the user of an encrypted one is found; by default 10 seconds.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    #[cfg(test)]
    pub(super) fn asks_at(&self) -> u16 {
        self.port
    }

    async fn ask(&self, connection: &Connection) -> Result<Identity, IdentError> {
        let ends = connection.client().zip(connection.server());
        let (client, server) =
            ends.map(|(client, server)| (canonical(client), canonical(server))).ok_or(IdentError::NoPorts)?;
        // The address that a proxy received the connection at is not ours to ask from.
        let from = if connection.proxied.is_none() { Some(server) } else { None };
        let ports = (client.port(), server.port());
        let begun = tokio::time::Instant::now();
        let asked = tokio::time::timeout(self.time_limit, question(with_port(client, self.port), from, ports));
        let line = asked.await.map_err(|_| IdentError::Time(self.time_limit))??;
        match (reply::parse(&line, ports)?, &self.keys) {
            (Answer::Plain(_), _) if self.encrypt_only => Err(IdentError::NotEncrypted),
            (Answer::Plain(name), _) => user(name).map_err(IdentError::User),
            (Answer::Token(_), None) => Err(IdentError::NoKeys),
            (Answer::Token(token), Some(keys)) => {
                let token = keys.open(&token).ok_or(IdentError::NoKeyFits)?;
                if !token.is_for(client, server) {
                    return Err(IdentError::OtherConnection);
                }
                let left = self.time_limit.saturating_sub(begun.elapsed());
                let name = self.users.name(u32::from(token.uid), left).await.map_err(IdentError::NoUser)?;
                user(name.as_bytes()).map_err(IdentError::User)
            }
        }
    }
}

#[async_trait]
impl Preauth for Ident {
    async fn identify(&self, connection: &Connection) -> Result<Identity, Unidentified> {
        self.ask(connection).await.map_err(|error| Unidentified::new(format!("ident: {error}")))
    }
}

#[derive(Debug, thiserror::Error)]
enum IdentError {
    #[error("the connection has no ports")]
    NoPorts,
    #[error("cannot ask {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("cannot read the reply: {0}")]
    Read(io::Error),
    #[error("no reply within {0:?}")]
    Time(Duration),
    #[error("the reply is longer than {LONGEST} bytes")]
    Long,
    #[error("no reply")]
    Nothing,
    #[error("the reply has no end")]
    CutOff,
    #[error("{0}")]
    Reply(#[from] ReplyError),
    #[error("the user name is not encrypted")]
    NotEncrypted,
    #[error("the user name is encrypted, and there are no keys")]
    NoKeys,
    #[error("no key fits the encrypted user name")]
    NoKeyFits,
    #[error("the encrypted user name is for another connection")]
    OtherConnection,
    #[error("{0}")]
    NoUser(String),
    #[error("{0}")]
    User(&'static str),
}

/// Puts the question, and returns the line that is the reply.
async fn question(to: SocketAddr, from: Option<SocketAddr>, ports: (u16, u16)) -> Result<Vec<u8>, IdentError> {
    let mut stream = connect(to, from).await.map_err(|error| IdentError::Connect(to, error))?;
    let (client, server) = ports;
    let question = format!("{client} , {server}\r\n");
    stream.write_all(question.as_bytes()).await.map_err(|error| IdentError::Connect(to, error))?;
    // Some servers answer when they know that no other question follows.
    if let Err(error) = stream.shutdown().await {
        debug!(%error, "the ident server is gone before it was asked all");
    }
    let mut reply = Vec::with_capacity(128);
    let mut buffer = [0; 256];
    loop {
        let read = stream.read(&mut buffer).await.map_err(IdentError::Read)?;
        let read = buffer.get(..read).unwrap_or_default();
        let end = read.iter().position(|byte| *byte == b'\n');
        reply.extend_from_slice(end.and_then(|end| read.get(..end)).unwrap_or(read));
        if end.is_some() && reply.last() == Some(&b'\r') {
            reply.pop();
        }
        // Without its end, it may still be followed by one byte that is not counted.
        if reply.len() > LONGEST + usize::from(end.is_none()) {
            return Err(IdentError::Long);
        }
        match (end, read.is_empty()) {
            (Some(_), _) => return Ok(reply),
            (None, true) if reply.is_empty() => return Err(IdentError::Nothing),
            // What is missing may be the rest of a user's name.
            (None, true) => return Err(IdentError::CutOff),
            (None, false) => {}
        }
    }
}

async fn connect(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from.filter(|from| from.is_ipv4() == to.is_ipv4()) {
        // A server tells connections apart by the addresses of the one on which it is asked.
        socket.bind(with_port(from, 0))?;
    }
    socket.connect(to).await
}

/// An IPv4 address that is mapped into IPv6 as that IPv4 address; anything else, such as a scope, stays.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::token::tests::record;
    use super::*;

    /// An ident server on this address that says this, once; returns what it was asked, and from where.
    async fn server(address: &str, reply: &[u8]) -> (u16, tokio::task::JoinHandle<(String, IpAddr)>) {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let reply = reply.to_vec();
        let served = tokio::spawn(async move {
            let (mut stream, peer) = listener.accept().await.unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).await.unwrap();
            stream.write_all(&reply).await.unwrap();
            (question, peer.ip())
        });
        (port, served)
    }

    fn connection(client: &str, server: &str) -> Connection {
        let mut connection = Connection::default();
        connection.peer = Some(client.parse().unwrap());
        connection.local = Some(server.parse().unwrap());
        connection
    }

    /// Longer than an answer takes on the slowest machine.
    const LONG: Duration = Duration::from_secs(600);

    fn patient() -> Ident {
        Ident::new().time_limit(LONG)
    }

    async fn ask(hook: Ident, reply: &[u8]) -> Result<String, String> {
        let (port, served) = server("127.0.0.1", reply).await;
        let answer = hook.port(port).time_limit(LONG).identify(&connection("127.0.0.1:40000", "127.0.0.1:143")).await;
        served.await.unwrap();
        answer.map(|identity| identity.authcid).map_err(|error| error.to_string())
    }

    const PLAIN: &[u8] = b"40000, 143 : USERID : UNIX : alice\r\n";
    const TOKEN: &[u8] = b"40000, 143 : USERID : OTHER :[4rID9Fq/NfZ+4ctJUdNiCj2lmws/1Cg8]\r\n";

    fn with_keys() -> Ident {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("keys"), record()).unwrap();
        let keys = IdentKeys::from_file(folder.path().join("keys")).unwrap();
        Ident::new().keys(keys).users(|uid| Ok((uid == 1000).then(|| "alice".into())))
    }

    #[tokio::test]
    async fn the_question() {
        let (port, served) = server("127.0.0.1", PLAIN).await;
        let client = connection("[::ffff:127.0.0.1]:40000", "[::ffff:127.0.0.3]:143");
        assert_eq!(patient().port(port).identify(&client).await, Ok(Identity::new("alice")));
        let (question, from) = served.await.unwrap();
        assert_eq!((question.as_str(), from), ("40000 , 143\r\n", [127, 0, 0, 3].into()));
    }

    #[tokio::test]
    async fn over_ipv6() {
        let (port, served) = server("::1", PLAIN).await;
        let client = connection("[::1]:40000", "[::1]:143");
        assert_eq!(patient().port(port).identify(&client).await, Ok(Identity::new("alice")));
        served.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_behind_a_proxy() {
        let (port, served) = server("127.0.0.2", PLAIN).await;
        let mut client = connection("127.0.0.1:1", "127.0.0.1:2");
        client.proxied = Some(("127.0.0.2:40000".parse().unwrap(), "203.0.113.1:143".parse().unwrap()));
        assert_eq!(patient().port(port).identify(&client).await, Ok(Identity::new("alice")));
        served.await.unwrap();
    }

    #[tokio::test]
    async fn plain_and_encrypted() {
        assert_eq!(ask(Ident::new(), PLAIN).await.unwrap(), "alice");
        assert_eq!(ask(with_keys(), PLAIN).await.unwrap(), "alice");
        assert_eq!(ask(with_keys().encrypt_only(true), TOKEN).await.unwrap(), "alice");
        let other = with_keys().users(|_| Ok(None));
        let flipped = String::from_utf8(TOKEN.to_vec()).unwrap().replace("4rID", "4rIC").into_bytes();
        for (hook, reply, error) in [
            (Ident::new().encrypt_only(true), PLAIN, "ident: the user name is not encrypted"),
            (with_keys().encrypt_only(true), PLAIN, "ident: the user name is not encrypted"),
            (Ident::new(), TOKEN, "ident: the user name is encrypted, and there are no keys"),
            (with_keys(), &flipped, "ident: no key fits the encrypted user name"),
            (other, TOKEN, "ident: no user has the number 1000"),
        ] {
            assert_eq!(ask(hook, reply).await.unwrap_err(), error);
        }
        let (port, served) = server("127.0.0.1", TOKEN).await;
        let client = connection("127.0.0.1:40000", "127.0.0.2:143");
        let error = with_keys().time_limit(LONG).port(port).identify(&client).await.unwrap_err();
        assert_eq!(error.to_string(), "ident: the encrypted user name is for another connection");
        served.await.unwrap();
    }

    #[tokio::test]
    async fn replies_that_are_no_line() {
        let longest = |length: usize, end: &str| {
            let mut reply = String::from("40000, 143 : ERROR : ");
            reply.push_str(&"x".repeat(length - reply.len()));
            (reply + end).into_bytes()
        };
        let error = format!("ident: error reply: '{}…'", "x".repeat(64));
        let long = "ident: the reply is longer than 1000 bytes";
        for (reply, error) in [
            (b"".to_vec(), "ident: no reply"),
            (b"\r\n".to_vec(), "ident: not a reply: ''"),
            (b"40000, 143 : USERID : UNIX : ali".to_vec(), "ident: the reply has no end"),
            (b"40000, 143 : USERID : UNIX : \r\n".to_vec(), "ident: no user name"),
            (b"40000, 143 : USERID : UNIX : a\tb\r\n".to_vec(), "ident: the user name has control characters"),
            (b"40000, 143 : USERID : UNIX : \xff\n".to_vec(), "ident: the user name is not UTF-8"),
            (b"40000, 143 : ERROR : HIDDEN-USER\r\n".to_vec(), "ident: error reply: 'HIDDEN-USER'"),
            (longest(1000, "\r\n"), &error),
            (longest(1000, "\n"), &error),
            (longest(1001, "\r\n"), long),
            (longest(1001, "\n"), long),
            (longest(5000, ""), long),
        ] {
            assert_eq!(ask(Ident::new(), &reply).await.unwrap_err(), error);
        }
        let name = format!("40000, 143 : USERID : UNIX : {}\n", "x".repeat(256));
        assert_eq!(ask(Ident::new(), name.as_bytes()).await.unwrap_err(), "ident: the user name is too long");
    }

    #[tokio::test]
    async fn nobody_answers() {
        // An address of this test, so that no other takes its port.
        let listener = TcpListener::bind("127.0.66.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hook = Ident::new().port(port).time_limit(Duration::from_millis(50));
        let client = connection("127.0.66.1:40000", "127.0.0.1:143");
        let error = hook.identify(&client).await.unwrap_err().to_string();
        assert_eq!(error, "ident: no reply within 50ms");
        drop(listener);
        let hook = hook.time_limit(LONG);
        let error = hook.identify(&client).await.unwrap_err().to_string();
        assert_eq!(error, format!("ident: cannot ask 127.0.66.1:{port}: Connection refused (os error 111)"));
        let error = hook.identify(&Connection::default()).await.unwrap_err().to_string();
        assert_eq!(error, "ident: the connection has no ports");
    }
}
