//! The user that this process runs as.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;

use super::users::Users;
use super::{Preauth, Unidentified, user};

/// How long the user's name may take to be found.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Says that the client is the user that this process runs as (its real uid): for a client on standard input, who started
/// the process itself.
///
/// Only a client on [standard input](Connection::standard_input) is identified: one that came in by a socket, of the
/// network or of this machine, did not start anything. [`over_network`](Self::over_network) is for a process that a
/// super-server starts as the right user.
#[derive(Clone, Debug, Default)]
pub struct Stdio {
    users: Users,
    over_network: bool,
}

impl Stdio {
    /// With the system's user database.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks users up elsewhere; the function may block.
    #[must_use]
    pub fn users(mut self, lookup: impl Fn(u32) -> io::Result<Option<String>> + Send + Sync + 'static) -> Self {
        self.users = Users::new(lookup);
        self
    }

    /// Whether a client that came in by any socket is identified too; by default it is not.
    #[must_use]
    pub fn over_network(mut self, yes: bool) -> Self {
        self.over_network = yes;
        self
    }
}

#[async_trait]
impl Preauth for Stdio {
    async fn identify(&self, connection: &Connection) -> Result<Identity, Unidentified> {
        if !connection.standard_input && !self.over_network {
            return Err(Unidentified::new("stdio: the client is not on standard input"));
        }
        let uid = rustix::process::getuid().as_raw();
        let name = self.users.name(uid, TIME_LIMIT).await;
        let identity = name.and_then(|name| user(name.as_bytes()).map_err(String::from));
        identity.map_err(|reason| Unidentified::new(format!("stdio: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_standard_input() -> Connection {
        let mut connection = Connection::default();
        connection.standard_input = true;
        connection
    }

    #[tokio::test]
    async fn the_user_of_the_process() {
        let mut connection = on_standard_input();
        let uid = rustix::process::getuid().as_raw();
        let hook = Stdio::new().users(move |asked| Ok((asked == uid).then(|| "alice".into())));
        assert_eq!(hook.identify(&connection).await, Ok(Identity::new("alice")));
        // Neither by the network nor by a unix socket, which has no addresses.
        connection.standard_input = false;
        for peer in [Some("127.0.0.1:1".parse().unwrap()), None] {
            connection.peer = peer;
            let error = hook.identify(&connection).await.unwrap_err().to_string();
            assert_eq!(error, "stdio: the client is not on standard input");
        }
        assert_eq!(hook.over_network(true).identify(&connection).await, Ok(Identity::new("alice")));
    }

    #[tokio::test]
    async fn the_system_knows_its_users() {
        assert_eq!(super::super::system_user(0).unwrap().as_deref(), Some("root"));
        assert_eq!(super::super::system_user(4_000_000_001).unwrap(), None);
    }

    #[tokio::test]
    async fn nobody_is_found() {
        let uid = rustix::process::getuid().as_raw();
        let connection = on_standard_input();
        let error = |hook: Stdio| async move { hook.identify(&connection.clone()).await.unwrap_err().to_string() };
        assert_eq!(error(Stdio::new().users(|_| Ok(None))).await, format!("stdio: no user has the number {uid}"));
    }

    #[tokio::test]
    async fn the_lookup_fails() {
        let uid = rustix::process::getuid().as_raw();
        let error = Stdio::new().users(|_| Err(io::Error::other("gone"))).identify(&on_standard_input()).await;
        let expected = format!("stdio: cannot look up the user with the number {uid}: gone");
        assert_eq!(error.unwrap_err().to_string(), expected);
        let error = Stdio::new().users(|_| Ok(Some("\n".into()))).identify(&on_standard_input()).await;
        assert_eq!(error.unwrap_err().to_string(), "stdio: no user name");
    }
}
