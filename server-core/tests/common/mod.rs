//! A toy line protocol that does what real ones do.
//!
//! Each line is answered by its own text, but for: `STARTTLS`; `DEFLATE`; `WAIT` (a backend that answers `waited` when
//! it is told to); `CHANGE` (the same, and a change that must be finished); `BIG n` (n bytes, made as they are wanted);
//! `QUIT`; `ABORT`.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

pub mod clients;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use pillarbox_proto_core::conversation::{Control, Layer, Next, Upgraded};
use pillarbox_proto_core::{Connection, Conversation, Output};

pub const HIGH_WATER: usize = 64 * 1024;

/// What the test knows of its conversations, and does to them.
#[derive(Default)]
pub struct World {
    pub events: Mutex<Vec<String>>,
    pub connections: Mutex<Vec<Connection>>,
    idle_limit: Option<Duration>,
    stubborn: bool,
    forgetful: bool,
    pub lines: AtomicUsize,
    released: Mutex<(bool, Vec<Waker>)>,
    told: tokio::sync::Notify,
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn idle_limit(limit: Duration) -> Arc<Self> {
        Arc::new(Self { idle_limit: Some(limit), ..Self::default() })
    }

    /// As [`idle_limit`](Self::idle_limit); it leaves each connection to its conversation, as real services do, and notes
    /// nothing of it.
    pub fn forgetful(limit: Duration) -> Arc<Self> {
        Arc::new(Self { idle_limit: Some(limit), forgetful: true, ..Self::default() })
    }

    /// Its conversations do not end when the server does.
    pub fn stubborn() -> Arc<Self> {
        Arc::new(Self { stubborn: true, ..Self::default() })
    }

    pub fn note(&self, event: impl Into<String>) {
        self.events.lock().unwrap().push(event.into());
        self.told.notify_waiters();
    }

    pub fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    /// Waits for an event.
    pub async fn heard(&self, event: &str) {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.events.lock().unwrap().iter().any(|heard| heard == event) {
                return;
            }
            told.await;
        }
    }

    /// The backend answers.
    pub fn release(&self) {
        let mut released = self.released.lock().unwrap();
        released.0 = true;
        released.1.drain(..).for_each(Waker::wake);
    }

    fn poll_released(&self, cx: &Context<'_>) -> bool {
        let mut released = self.released.lock().unwrap();
        if !released.0 {
            released.1.push(cx.waker().clone());
        }
        released.0
    }

    pub fn toy(self: &Arc<Self>) -> Toy {
        Toy {
            world: self.clone(),
            input: BytesMut::new(),
            output: Output::new(),
            eof: false,
            gone: false,
            upgrading: false,
            end: None,
            waiting: None,
            big: 0,
            since: None,
            connection: None,
        }
    }

    pub fn make(self: &Arc<Self>) -> impl Fn(Connection) -> Box<dyn Conversation> + Send + Sync + use<> {
        let world = self.clone();
        move |connection| {
            if world.forgetful {
                let mut toy = world.toy();
                toy.connection = Some(Box::new(connection));
                return Box::new(toy);
            }
            world.connections.lock().unwrap().push(connection);
            world.note("made");
            Box::new(world.toy())
        }
    }
}

pub struct Toy {
    world: Arc<World>,
    input: BytesMut,
    output: Output,
    eof: bool,
    gone: bool,
    upgrading: bool,
    end: Option<Next>,
    waiting: Option<&'static str>,
    big: u64,
    since: Option<Instant>,
    connection: Option<Box<Connection>>,
}

impl Drop for Toy {
    fn drop(&mut self) {
        if !self.world.forgetful {
            self.world.note("dropped");
        }
    }
}

impl Toy {
    fn busy(&self) -> bool {
        self.upgrading
            || self.waiting.is_some()
            || self.big > 0
            || self.output.len().max(self.input.len()) >= HIGH_WATER
    }

    fn line(&mut self, line: Bytes) {
        self.world.lines.fetch_add(1, Ordering::Relaxed);
        match std::str::from_utf8(&line).unwrap_or("?") {
            "STARTTLS" => {
                self.output.put(b"go\n");
                self.upgrading = true;
                self.input = BytesMut::new();
                self.end = Some(Next::Upgrade(Layer::Tls));
            }
            "DEFLATE" => self.end = Some(Next::Upgrade(Layer::Deflate)),
            "WAIT" => self.waiting = Some("waited"),
            "CHANGE" => self.waiting = Some("changed"),
            "QUIT" => {
                self.output.put(b"bye\n");
                self.end = Some(Next::Close);
            }
            "ABORT" => {
                self.output.put(b"never seen\n");
                self.end = Some(Next::Abort);
            }
            other => {
                if let Some(size) = other.strip_prefix("BIG ") {
                    self.big = size.parse().unwrap();
                } else {
                    self.output.put(other.as_bytes());
                    self.output.put(b"\n");
                }
            }
        }
    }
}

impl Conversation for Toy {
    fn read_buf(&mut self) -> Option<&mut BytesMut> {
        (!self.busy() && self.end.is_none()).then_some(&mut self.input)
    }
    fn handle_read(&mut self, now: Instant) {
        assert!(!self.upgrading, "plain bytes after STARTTLS");
        self.since = Some(now);
    }
    fn handle_eof(&mut self, _: Instant) {
        self.world.note("eof");
        self.eof = true;
    }
    fn handle_gone(&mut self) {
        self.world.note("gone");
        self.gone = true;
        self.big = 0;
        if self.waiting == Some("waited") {
            self.waiting = None;
        }
    }
    fn handle_control(&mut self, control: Control, _: Instant) {
        match control {
            Control::Alert(text) => {
                self.output.put(format!("alert {text}\n").as_bytes());
            }
            Control::Shutdown { text } if self.world.stubborn => self.world.note(format!("ignored {text}")),
            Control::Shutdown { text } | Control::Kick { text } => {
                self.output.put(format!("{text}\n").as_bytes());
                self.end = Some(Next::Close);
            }
            _ => {}
        }
    }
    fn poll_next(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Next> {
        self.since.get_or_insert(now);
        for _ in 0..8 {
            if let Some(what) = self.waiting {
                if !self.world.poll_released(cx) {
                    return Poll::Pending;
                }
                self.waiting = None;
                self.world.note(what);
                self.output.put(format!("{what}\n").as_bytes());
            }
            while self.big > 0 {
                if self.output.len() >= HIGH_WATER {
                    return Poll::Pending;
                }
                let size = self.big.min(16 * 1024);
                self.big -= size;
                self.output.put_bytes(vec![b'x'; size as usize].into());
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(end);
            }
            if self.gone {
                return Poll::Ready(Next::Close);
            }
            if self.output.len() >= HIGH_WATER {
                return Poll::Pending;
            }
            let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
                if self.eof {
                    return Poll::Ready(Next::Close);
                }
                return Poll::Pending;
            };
            let line = self.input.split_to(end).freeze();
            self.input.advance(1);
            self.line(line);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
    fn deadline(&self) -> Option<Instant> {
        Some(self.since? + self.world.idle_limit?)
    }
    fn handle_deadline(&mut self, _: Instant) {
        self.world.note("deadline");
        self.output.put(b"too slow\n");
        self.end = Some(Next::Close);
    }
    fn awaits_rest(&self) -> bool {
        !self.busy() && !self.input.is_empty()
    }
    fn upgraded(&mut self, how: Upgraded, now: Instant) {
        self.since = Some(now);
        self.upgrading = false;
        match how {
            Upgraded::Tls(info) => {
                self.world.note(format!("tls {} {}", info.version, info.server_name.as_deref().unwrap_or("-")));
            }
            other => self.world.note(format!("{other:?}")),
        }
    }
}

#[cfg(feature = "tls")]
pub mod pki {
    use std::sync::Arc;

    use pillarbox_server_core::tls::TlsIdentity;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

    /// A self-signed certificate for this name, with its key.
    pub fn self_signed(name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.der().clone(), PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap())
    }

    pub fn identity(name: &str) -> (TlsIdentity, CertificateDer<'static>) {
        let (certificate, key) = self_signed(name);
        (TlsIdentity::new(vec![certificate.clone()], key), certificate)
    }

    pub fn trusting(certificates: &[&CertificateDer<'static>]) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        certificates.iter().for_each(|certificate| roots.add((*certificate).clone()).unwrap());
        roots
    }

    pub fn client(certificates: &[&CertificateDer<'static>]) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .unwrap()
            .with_root_certificates(trusting(certificates))
            .with_no_client_auth()
    }

    pub fn name(name: &str) -> ServerName<'static> {
        ServerName::try_from(name.to_owned()).unwrap()
    }
}
