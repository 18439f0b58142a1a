//! Servers in a thread of their own, each on a runtime with one thread: on a small machine the clients have the rest.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use pillarbox_imap_proto::{Config, ImapConversation};
use pillarbox_pop3_proto::Pop3Service;
use pillarbox_proto_core::Conversation;
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::connection::{Connection, TlsMode};
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_server_core::tls::TlsAcceptor;
use pillarbox_server_core::{Listener, Server};
use tokio::sync::oneshot;

/// A server that runs until it is dropped.
pub(crate) struct Serving {
    /// Where.
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Runs what `start` sets up; it gives its address back and goes on in tasks.
    pub(crate) fn start<F>(name: &str, start: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = SocketAddr>,
    {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        // The name shows in profiles.
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tell.send(start().await).unwrap();
                let _ = stopped.await;
            });
        });
        let thread = thread.unwrap();
        Self { address: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// Our POP3, with everything that a listener has.
    pub(crate) fn pop3(backend: Arc<dyn Backend>, tls: Option<TlsAcceptor>) -> Self {
        let mut config = pillarbox_pop3_proto::Config::default();
        config.allow_plaintext = true;
        config.tls_mode = if tls.is_some() { TlsMode::Connection } else { TlsMode::No };
        let service = Pop3Service::new(backend, config, Arc::new(SystemEnv));
        Self::start("pillarbox", move || {
            listen("pop3", tls, move |connection| Box::new(service.connect(connection, Instant::now())))
        })
    }

    /// Our IMAP, with everything that a listener has.
    pub(crate) fn imap(backend: Arc<dyn Backend>, tls: Option<TlsAcceptor>) -> Self {
        Self::start("pillarbox", move || async move {
            let mut config = Config::default();
            config.allow_plaintext = true;
            config.tls_mode = if tls.is_some() { TlsMode::Connection } else { TlsMode::No };
            config.timeouts.login = None;
            let config = Arc::new(config);
            let make = move |connection| {
                let now = Instant::now();
                let (config, backend) = (Arc::clone(&config), Arc::clone(&backend));
                Box::new(ImapConversation::new(config, Arc::new(SystemEnv), backend, connection, now)) as _
            };
            listen("imap", tls, make).await
        })
    }
}

/// Listens on loopback until the runtime ends.
async fn listen(
    name: &'static str,
    tls: Option<TlsAcceptor>,
    make: impl Fn(Connection) -> Box<dyn Conversation> + Send + Sync + 'static,
) -> SocketAddr {
    let mut listener = Listener::new(name, make).address(([127, 0, 0, 1], 0)).backlog(4096);
    if let Some(acceptor) = tls {
        listener = listener.tls(TlsMode::Connection, acceptor);
    }
    let server = Server::new().listener(listener).bind().unwrap().start().unwrap();
    let address = server.local_addr(name).unwrap();
    tokio::spawn(async move { server.stopped().await });
    address
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
