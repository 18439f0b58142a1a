//! FETCH of whole messages over loopback, plain and under TLS, against a bare tokio server that writes the same octets
//! from memory.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Instant;

use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::mail::SystemFlags;
use pillarbox_proto_core::memory::MemoryBackend;
use tempfile::TempDir;

use crate::Options;
use crate::measure;
use crate::report::{Figure, Reach, Row};
use crate::support::bare;
use crate::support::certificate::{Certificate, client_config};
use crate::support::client::Connection;
use crate::support::maildir::Maildir;
use crate::support::serving::Serving;

const COMMAND: &str = "f FETCH 1:* BODY[]\r\n";

/// Messages to be fetched.
struct Load {
    name: &'static str,
    count: usize,
    size: usize,
    /// What the Maildir store has to reach.
    maildir: f64,
}

const LOADS: [Load; 2] = [
    Load { name: "2,000 x 8 KiB", count: 2000, size: 8 << 10, maildir: 0.4 },
    Load { name: "1 x 50 MiB", count: 1, size: 50 << 20, maildir: 0.7 },
];

pub(crate) fn small_memory(options: &Options) -> Vec<Row> {
    from_memory(options, &LOADS[0])
}

pub(crate) fn large_memory(options: &Options) -> Vec<Row> {
    from_memory(options, &LOADS[1])
}

pub(crate) fn small_maildir(options: &Options) -> Vec<Row> {
    from_maildir(options, &LOADS[0])
}

pub(crate) fn large_maildir(options: &Options) -> Vec<Row> {
    from_maildir(options, &LOADS[1])
}

fn from_memory(options: &Options, load: &Load) -> Vec<Row> {
    let memory = memory(load);
    both(options, load, "memory", 0.8, &memory)
}

fn from_maildir(options: &Options, load: &Load) -> Vec<Row> {
    let mut rows = Vec::new();
    for (store, end) in [("Maildir with CRLF", "\r\n"), ("Maildir with LF", "\n")] {
        let (folder, maildir) = maildir(load, end);
        rows.extend(both(options, load, store, load.maildir, &maildir));
        rows.push(floor(options, load, store, &folder));
    }
    rows
}

/// What opening, reading and closing the files takes one thread that does nothing else.
fn floor(options: &Options, load: &Load, store: &str, folder: &TempDir) -> Row {
    let names: Vec<_> = fs::read_dir(folder.path().join("cur")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut room = vec![0; 256 << 10];
    let rates = (0..if options.quick { 9 } else { 61 }).map(|_| {
        let started = Instant::now();
        let mut octets = 0;
        for name in &names {
            let mut file = fs::File::open(name).unwrap();
            loop {
                let count = file.read(&mut room).unwrap();
                octets += count;
                if count < room.len() {
                    break;
                }
            }
        }
        octets as f64 / 1e6 / started.elapsed().as_secs_f64()
    });
    let rate = measure::median(rates.collect());
    Row::new(
        format!("Only opening, reading and closing the files of {}, {store}", load.name),
        format!("{rate:.0} MB/s"),
        "-",
    )
}

fn both(options: &Options, load: &Load, store: &str, reach: f64, backend: &Arc<dyn Backend>) -> Vec<Row> {
    let certificate = Certificate::new();
    [None, Some(&certificate)].map(|tls| compare(options, load, store, reach, backend, tls)).into()
}

fn memory(load: &Load) -> Arc<dyn Backend> {
    let mut builder = MemoryBackend::builder().user("alice", "secret");
    for number in 0..load.count {
        builder = builder.message("alice", "INBOX", SystemFlags::SEEN, message(load, number, "\r\n"));
    }
    Arc::new(builder.build().unwrap())
}

/// A message of about the load's size, once its line ends are CRLF.
fn message(load: &Load, number: usize, end: &str) -> Vec<u8> {
    let mut text = format!(
        "From: Alice <alice@example.org>{end}To: Bob <bob@example.org>{end}Subject: Message {number}{end}\
         Date: Mon, 1 Jan 2024 12:00:00 +0000{end}Message-ID: <{number}@example.org>{end}{end}"
    );
    let mut line = 0;
    while text.len() + 80 < load.size {
        text.push_str(&format!("{line:08} The quick brown fox jumps over the lazy dog, and once more over it.{end}"));
        line += 1;
    }
    text.into_bytes()
}

fn compare(
    options: &Options,
    load: &Load,
    store: &str,
    reach: f64,
    backend: &Arc<dyn Backend>,
    tls: Option<&Certificate>,
) -> Row {
    let ours = Serving::imap(Arc::clone(backend), tls.map(Certificate::acceptor));
    let trust = tls.map(|certificate| client_config(certificate.der.clone()));
    let mut our_client = Connection::open(ours.address, trust.clone());
    our_client.examine();
    let reply = our_client.whole(COMMAND, "f");
    let octets = reply.len();
    assert!(octets > load.count * load.size * 9 / 10, "{octets} octets came");
    let peer = bare::replies(reply.into(), tls.map(Certificate::acceptor));
    let mut peer_client = Connection::open(peer.address, trust);

    let rate = |client: &mut Connection| {
        let started = Instant::now();
        client.take(COMMAND.as_bytes(), octets);
        octets as f64 / 1e6 / started.elapsed().as_secs_f64()
    };
    let count = if options.quick { 9 } else { 61 };
    let pair = measure::turns(count, || rate(&mut our_client), || rate(&mut peer_client));
    let layer = if tls.is_some() { "TLS" } else { "plain" };
    Row::new(
        format!("FETCH BODY[] of {}, {layer}, {store}", load.name),
        format!("{:.0} MB/s", pair.ours),
        format!("bare tokio: {:.0} MB/s", pair.peer),
    )
    .figure(Figure::times(pair.ours_over_peer(), Reach::AtLeast(reach)))
}

/// A Maildir with these messages, their lines ending so.
fn maildir(load: &Load, end: &str) -> (TempDir, Arc<dyn Backend>) {
    let folder = tempfile::tempdir().unwrap();
    for place in ["cur", "new", "tmp"] {
        fs::create_dir(folder.path().join(place)).unwrap();
    }
    for number in 0..load.count {
        let name = format!("{}.M{number}.localhost:2,S", 1_767_323_045 + number);
        fs::write(folder.path().join("cur").join(name), message(load, number, end)).unwrap();
    }
    let backend = Maildir::new(folder.path().to_owned());
    (folder, backend)
}
