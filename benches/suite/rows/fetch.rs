//! FETCH of whole messages over loopback, plain and under TLS, against a bare tokio server that writes the same octets
//! from memory.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Instant;

use pillarbox_proto_core::backend::Backend;
use tempfile::TempDir;

use crate::Options;
use crate::measure;
use crate::report::{Figure, Reach, Row};
use crate::support::bare;
use crate::support::certificate::{Certificate, client_config};
use crate::support::client::Connection;
use crate::support::load::{LOADS, Load, maildir, memory, uncached};
use crate::support::serving::Serving;

const COMMAND: &str = "f FETCH 1:* BODY[]\r\n";

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
    both(options, load, "memory", Reach::AtLeast(0.8), &memory)
}

fn from_maildir(options: &Options, load: &Load) -> Vec<Row> {
    let mut rows = Vec::new();
    for (store, end) in [("Maildir with CRLF", "\r\n"), ("Maildir with LF", "\n")] {
        let (folder, maildir) = maildir(load, end);
        rows.extend(both(options, load, store, Reach::AtLeast(load.maildir), &maildir));
        if load.count > 1 {
            let (store, uncached) = (format!("{store}, no message in the cache"), uncached(&folder));
            rows.extend(both(options, load, &store, Reach::Told, &uncached));
        }
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

fn both(options: &Options, load: &Load, store: &str, reach: Reach, backend: &Arc<dyn Backend>) -> Vec<Row> {
    let certificate = Certificate::new();
    [None, Some(&certificate)].map(|tls| compare(options, load, store, reach, backend, tls)).into()
}

fn compare(
    options: &Options,
    load: &Load,
    store: &str,
    reach: Reach,
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
    .figure(Figure::times(pair.ours_over_peer(), reach))
}
