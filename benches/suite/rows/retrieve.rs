//! RETR over loopback, pipelined and one by one, and logins, against bare tokio servers that write the same octets.

use std::sync::Arc;
use std::time::Instant;

use pillarbox_proto_core::backend::Backend;

use crate::Options;
use crate::measure;
use crate::report::{Figure, Reach, Row};
use crate::support::bare;
use crate::support::certificate::{Certificate, client_config};
use crate::support::client::Connection;
use crate::support::load::{LOADS, Load, maildir, memory, uncached};
use crate::support::serving::Serving;

pub(crate) fn small_memory(options: &Options) -> Vec<Row> {
    small(options, "memory", Reach::AtLeast(0.7), &memory(&LOADS[0]))
}

pub(crate) fn small_maildir(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    for (store, end) in [("Maildir with CRLF", "\r\n"), ("Maildir with LF", "\n")] {
        let (folder, maildir) = maildir(&LOADS[0], end);
        rows.extend(small(options, store, Reach::AtLeast(0.4), &maildir));
        let store = format!("{store}, no message in the cache");
        rows.extend(small(options, &store, Reach::Told, &uncached(&folder)));
    }
    rows
}

pub(crate) fn large_memory(options: &Options) -> Vec<Row> {
    large(options, "memory", Reach::AtLeast(0.8), &memory(&LOADS[1]))
}

pub(crate) fn large_maildir(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    for (store, end) in [("Maildir with CRLF", "\r\n"), ("Maildir with LF", "\n")] {
        let (_folder, maildir) = maildir(&LOADS[1], end);
        rows.extend(large(options, store, Reach::AtLeast(0.7), &maildir));
    }
    rows
}

fn small(options: &Options, store: &str, reach: Reach, backend: &Arc<dyn Backend>) -> Vec<Row> {
    let certificate = Certificate::new();
    let mut rows = vec![one_by_one(options, store, backend)];
    for tls in [None, Some(&certificate)] {
        let numbers: Vec<usize> = (1..=LOADS[0].count).collect();
        rows.push(compare(options, &LOADS[0], &numbers, "pipelined", store, reach, backend, tls));
    }
    rows
}

fn large(options: &Options, store: &str, reach: Reach, backend: &Arc<dyn Backend>) -> Vec<Row> {
    let certificate = Certificate::new();
    [None, Some(&certificate)]
        .map(|tls| compare(options, &LOADS[1], &[1], "at once", store, reach, backend, tls))
        .into()
}

#[expect(clippy::too_many_arguments, reason = "each is a column of the table")]
fn compare(
    options: &Options,
    load: &Load,
    numbers: &[usize],
    how: &str,
    store: &str,
    reach: Reach,
    backend: &Arc<dyn Backend>,
    tls: Option<&Certificate>,
) -> Row {
    let ours = Serving::pop3(Arc::clone(backend), tls.map(Certificate::acceptor));
    let trust = tls.map(|certificate| client_config(certificate.der.clone()));
    let mut our_client = Connection::open(ours.address, trust.clone());
    our_client.open_maildrop();
    let mut reply = Vec::new();
    for number in numbers {
        reply.extend(our_client.multi_line(&format!("RETR {number}\r\n")));
    }
    let octets = reply.len();
    let peer = bare::replies(reply.into(), tls.map(Certificate::acceptor));
    let mut peer_client = Connection::open(peer.address, trust);

    let pipeline: String = numbers.iter().map(|number| format!("RETR {number}\r\n")).collect();
    let rate = |client: &mut Connection, commands: &[u8]| {
        let started = Instant::now();
        client.take(commands, octets);
        octets as f64 / 1e6 / started.elapsed().as_secs_f64()
    };
    let count = if options.quick { 9 } else { 61 };
    let pair =
        measure::turns(count, || rate(&mut our_client, pipeline.as_bytes()), || rate(&mut peer_client, b"RETR\r\n"));
    let layer = if tls.is_some() { "TLS" } else { "plain" };
    Row::new(
        format!("RETR of {}, {how}, {layer}, {store}", load.name),
        format!("{:.0} MB/s", pair.ours),
        format!("bare tokio: {:.0} MB/s", pair.peer),
    )
    .figure(Figure::times(pair.ours_over_peer(), reach))
}

/// Each command sent when the response to the one before is there.
fn one_by_one(options: &Options, store: &str, backend: &Arc<dyn Backend>) -> Row {
    let ours = Serving::pop3(Arc::clone(backend), None);
    let mut our_client = Connection::open(ours.address, None);
    our_client.open_maildrop();
    let commands: Vec<(String, usize)> = (1..=LOADS[0].count)
        .map(|number| {
            let command = format!("RETR {number}\r\n");
            let octets = our_client.multi_line(&command).len();
            (command, octets)
        })
        .collect();
    let reply = our_client.multi_line("RETR 1\r\n");
    let peer_octets = reply.len();
    let peer = bare::replies(reply.into(), None);
    let mut peer_client = Connection::open(peer.address, None);
    let total: usize = commands.iter().map(|(_, octets)| octets).sum();
    let mut our_rate = || {
        let started = Instant::now();
        for (command, octets) in &commands {
            our_client.take(command.as_bytes(), *octets);
        }
        total as f64 / 1e6 / started.elapsed().as_secs_f64()
    };
    let mut peer_rate = || {
        let started = Instant::now();
        for _ in &commands {
            peer_client.take(b"RETR\r\n", peer_octets);
        }
        (commands.len() * peer_octets) as f64 / 1e6 / started.elapsed().as_secs_f64()
    };
    let pair = measure::turns(if options.quick { 5 } else { 21 }, &mut our_rate, &mut peer_rate);
    Row::new(
        format!("RETR of {}, one by one, plain, {store}", LOADS[0].name),
        format!("{:.0} MB/s", pair.ours),
        format!("bare tokio: {:.0} MB/s", pair.peer),
    )
    .figure(Figure::times(pair.ours_over_peer(), Reach::Told))
}

/// Connect, greeting, USER, PASS, QUIT; the peer sends three lines back.
pub(crate) fn logins(options: &Options) -> Vec<Row> {
    let ours = Serving::pop3(memory(&LOADS[0]), None);
    let peer = bare::echo();
    let count = if options.quick { 50 } else { 500 };
    let our_rate = || {
        let started = Instant::now();
        for _ in 0..count {
            let mut client = Connection::open(ours.address, None);
            client.open_maildrop();
            client.exchange(b"QUIT\r\n");
        }
        f64::from(count) / started.elapsed().as_secs_f64()
    };
    let peer_rate = || {
        let started = Instant::now();
        for _ in 0..count {
            let mut client = Connection::open(peer.address, None);
            for line in [b"USER alice\r\n".as_slice(), b"PASS secret\r\n", b"QUIT\r\n"] {
                client.exchange(line);
            }
        }
        f64::from(count) / started.elapsed().as_secs_f64()
    };
    let pair = measure::turns(if options.quick { 3 } else { 9 }, our_rate, peer_rate);
    vec![
        Row::new(
            "POP3 logins a second, one after the other, memory store with plain passwords",
            format!("{:.0}", pair.ours),
            format!("tokio, three lines sent back: {:.0}", pair.peer),
        )
        .figure(Figure::times(pair.ours_over_peer(), Reach::Told)),
    ]
}
