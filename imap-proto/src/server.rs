//! What all IMAP connections of a server share.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::{Connection, Env};

use crate::config::Config;
use crate::conversation::ImapConversation;

/// IMAP over a backend: makes a conversation for each connection. Cheap to clone.
///
/// ```
/// use std::sync::Arc;
/// use std::task::{Context, Waker};
/// use std::time::Instant;
///
/// use pillarbox_imap_proto::{Config, ImapService};
/// use pillarbox_proto_core::connection::{Connection, SessionId};
/// use pillarbox_proto_core::env::SystemEnv;
/// use pillarbox_proto_core::memory::MemoryBackend;
/// use pillarbox_proto_core::Conversation;
///
/// let backend = MemoryBackend::builder().user("tim", "tanstaaftanstaaf").build()?;
/// let service = ImapService::new(Arc::new(backend), Config::default(), Arc::new(SystemEnv));
///
/// let now = Instant::now();
/// let mut connection = Connection::new(SessionId::new(1));
/// connection.externally_secured = true;
/// let mut client = service.connect(connection, now);
/// let mut cx = Context::from_waker(Waker::noop());
/// assert!(client.poll_next(&mut cx, now).is_pending());
/// assert!(client.output().take().starts_with(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2"));
///
/// client.read_buf().unwrap().extend_from_slice(b"a LOGIN tim tanstaaftanstaaf\r\n");
/// client.handle_read(now);
/// assert!(client.poll_next(&mut cx, now).is_pending());
/// assert!(client.output().take().starts_with(b"a OK"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ImapService {
    backend: Arc<dyn Backend>,
    config: Arc<Config>,
    env: Arc<dyn Env>,
}

impl ImapService {
    /// A service for these users and their mail.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, config: Config, env: Arc<dyn Env>) -> Self {
        Self { backend, config: Arc::new(config), env }
    }

    /// A conversation with a client that has connected at this time: it is greeted, and has to log in unless the
    /// connection says who it is. See [`ImapConversation::new`].
    #[must_use]
    pub fn connect(&self, connection: Connection, now: Instant) -> ImapConversation {
        let (config, env, backend) = self.parts();
        ImapConversation::new(config, env, backend, connection, now)
    }

    /// A conversation with a client that is known from elsewhere: it is greeted with PREAUTH (RFC 9051, section 7.1.4),
    /// under the conditions that [`ImapConversation::new`] has for it.
    #[must_use]
    pub fn connect_as(&self, identity: Identity, connection: Connection, now: Instant) -> ImapConversation {
        let (config, env, backend) = self.parts();
        ImapConversation::preauth(config, env, backend, connection, identity, now)
    }

    fn parts(&self) -> (Arc<Config>, Arc<dyn Env>, Arc<dyn Backend>) {
        (Arc::clone(&self.config), Arc::clone(&self.env), Arc::clone(&self.backend))
    }
}

impl fmt::Debug for ImapService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapService").field("config", &self.config).finish_non_exhaustive()
    }
}
