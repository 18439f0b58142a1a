//! Users of another system in front of any backend: here a table of users, as a web application may have it, asked for
//! passwords, while the mail itself stays in another backend.
//!
//! Usage: `pillarbox-example-custom-auth [ADDRESS]`. Log in as `ada` with the password `application-password`, or as
//! `ada` acting as `team` (SASL PLAIN).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_imap_proto::{Config, ImapService};
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{Account, Authenticator, Backend, Error, Policies, Result};
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::mail::Flags;
use pillarbox_proto_core::memory::{MemoryBackend, crlf};
use pillarbox_server_core::{Listener, Server};

/// A row of the application's user table.
struct User {
    password: Secret,
    /// Whose mail the user may read besides their own.
    teams: Vec<String>,
}

/// The application's users, and a backend that has their mail.
struct Application {
    users: HashMap<String, User>,
    mail: MemoryBackend,
}

#[async_trait]
impl Authenticator for Application {
    async fn check_password(&self, _: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        // A real application asks its database here, and compares hashes. Whatever goes wrong with the name or the
        // password gets one and the same answer; a database that is down gets another (`Error::Unavailable`).
        match self.users.get(user) {
            Some(known) if known.password == *password => Ok(Identity::new(user)),
            _ => Err(Error::AuthenticationFailed),
        }
    }

    async fn authorize(&self, _: &Connection, who: &Identity, act_as: &str) -> Result<Identity> {
        match self.users.get(&who.authcid) {
            Some(user) if user.teams.iter().any(|team| team == act_as) => Ok(who.clone().acting_as(act_as)),
            _ => Err(Error::AuthorizationFailed),
        }
    }
}

#[async_trait]
impl Backend for Application {
    async fn open(&self, connection: &Connection, who: &Identity) -> Result<Arc<dyn Account>> {
        self.mail.open(connection, who).await
    }

    async fn policies(&self, connection: &Connection) -> Policies {
        // What POP3 clients are told before they log in is true of the accounts, which are the other backend's.
        self.mail.policies(connection).await
    }
}

fn application() -> Result<Application, Box<dyn std::error::Error>> {
    let mail = MemoryBackend::builder()
        .user("ada", "never asked for")
        .user("team", "never asked for")
        .message("ada", "INBOX", Flags::NONE, crlf("Subject: for Ada\n\nHello\n"))
        .message("team", "INBOX", Flags::NONE, crlf("Subject: for the team\n\nHello\n"))
        .build()?;
    let ada = User { password: Secret::new("application-password"), teams: vec!["team".into()] };
    Ok(Application { users: HashMap::from([("ada".into(), ada)]), mail })
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program says where it listens")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:1143").parse()?;
    let mut config = Config::default();
    config.allow_plaintext = true; // On loopback only; anywhere else, use TLS.
    let service = ImapService::new(Arc::new(application()?), config, Arc::new(SystemEnv));
    let listener = Listener::new("imap", move |connection| {
        Box::new(service.connect(connection, pillarbox_server_core::now())) as Box<_>
    });
    let server = Server::new().listener(listener.address(address)).bind()?.start()?;
    println!("IMAP on {}, user ada, password application-password", server.local_addr("imap").ok_or("no address")?);
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use pillarbox_proto_core::Conversation;
    use pillarbox_proto_core::connection::SessionId;

    use super::*;

    fn dialogue(commands: &str) -> String {
        let mut connection = Connection::new(SessionId::new(1));
        connection.externally_secured = true;
        let service = ImapService::new(Arc::new(application().unwrap()), Config::default(), Arc::new(SystemEnv));
        let now = std::time::Instant::now();
        let mut client = service.connect(connection, now);
        client.read_buf().unwrap().extend_from_slice(commands.as_bytes());
        client.handle_read(now);
        let _ = client.poll_next(&mut Context::from_waker(Waker::noop()), now);
        String::from_utf8(client.output().take().to_vec()).unwrap()
    }

    #[test]
    fn the_application_knows_its_users() {
        assert!(dialogue("a LOGIN ada application-password\r\n").contains("a OK"));
        assert!(dialogue("a LOGIN ada wrong\r\n").contains("a NO [AUTHENTICATIONFAILED]"));
        assert!(dialogue("a LOGIN nobody wrong\r\n").contains("a NO [AUTHENTICATIONFAILED]"));
    }

    #[test]
    fn a_user_may_act_for_the_team() {
        // base64 of team NUL ada NUL application-password
        let said = dialogue(
            "a AUTHENTICATE PLAIN dGVhbQBhZGEAYXBwbGljYXRpb24tcGFzc3dvcmQ=\r\nb EXAMINE INBOX\r\nc FETCH 1 ENVELOPE\r\n",
        );
        assert!(said.contains("for the team"), "{said}");
        // base64 of root NUL ada NUL application-password
        let said = dialogue("a AUTHENTICATE PLAIN cm9vdABhZGEAYXBwbGljYXRpb24tcGFzc3dvcmQ=\r\n");
        assert!(said.contains("a NO [AUTHORIZATIONFAILED]"), "{said}");
    }
}
