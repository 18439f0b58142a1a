//! Many clients at once: 15,000 that are idle, one address that guesses passwords, 1,000 that trickle.
//!
//! All of them are other processes, and come from many addresses of loopback. The second and third row ask what a good
//! user notices: the server that such a user meets is the one that serves the others, with the limits and the checks of
//! passwords that `pillarboxd` has by default.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pillarbox_imap_proto::{Config, ImapConversation};
use pillarbox_proto_core::auth::Secret;
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::memory::MemoryBackend;
use pillarbox_reference_server::backend::UserBackend;
use pillarbox_reference_server::data::DataFolder;
use pillarbox_reference_server::homes::MaildirHomes;
use pillarbox_reference_server::maildrop::MaildropPolicies;
use pillarbox_reference_server::users::{User, Users};
use pillarbox_server_core::limits::{AddressLimits, AddressSettings, Penalties, PenaltySettings, Throttled};
use pillarbox_server_core::{Listener, Server};

use crate::Options;
use crate::heap;
use crate::measure::median;
use crate::report::{Figure, Reach, Row};
use crate::support::child::{Child, Part};
use crate::support::client::Stream;
use crate::support::serving::Serving;

/// What the operating system keeps for other files than connections.
const SPARE: u64 = 512;
/// Client processes.
const PROCESSES: usize = 3;

pub(crate) fn idle(options: &Options) -> Vec<Row> {
    let wanted = if options.quick { 1500 } else { 15_000 };
    let limit = pillarbox_server_core::raise_open_files().ok().flatten().unwrap_or(1024);
    let each = wanted.min(usize::try_from(limit.saturating_sub(SPARE)).unwrap_or(wanted)) / PROCESSES;
    let connections = each * PROCESSES;
    let backend = MemoryBackend::builder().user("alice", "secret").mailbox("alice", "INBOX").build().unwrap();
    let counting = heap::begin();
    let serving = Serving::imap(Arc::new(backend), None);
    let first = Child::start(Part::Idle, serving.address, 50, 100, None);
    std::thread::sleep(Duration::from_millis(300));
    let (before, resident) = (counting.look(), heap::resident());
    let begun = Instant::now();
    let clients: Vec<_> = (0..PROCESSES)
        .map(|process| Child::begin(Part::Idle, serving.address, each, 101 + process as u8, None))
        .collect();
    let clients: Vec<_> = clients.into_iter().map(Child::ready).collect();
    let took = begun.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(1));
    let after = counting.look();
    let grown = heap::resident().saturating_sub(resident);
    drop((first, clients));
    drop(serving);
    counting.end();
    let kib = (after.held - before.held) as f64 / connections as f64 / 1024.0;
    let limited = if connections < wanted { format!(", as many as {limit} open files allow") } else { String::new() };
    let row = Row::new(
        format!("{connections} connections in IDLE from as many addresses{limited}"),
        format!(
            "resident set: {:.1} KiB each; {:.0} logins a second",
            grown as f64 / connections as f64 / 1024.0,
            connections as f64 / took
        ),
        "-",
    );
    vec![row.figure(Figure::new(kib, "KiB", Reach::AtMost(4.0)))]
}

pub(crate) fn failed_logins(options: &Options) -> Vec<Row> {
    vec![beside("200 failed logins a second from one address", Part::Guess, 200, options)]
}

pub(crate) fn slow_clients(options: &Options) -> Vec<Row> {
    vec![beside("1,000 clients that send an octet a second", Part::Trickle, 1000, options)]
}

/// How a good user fares beside others: in turns with them and without.
fn beside(what: &str, part: Part, count: usize, options: &Options) -> Row {
    let folder = tempfile::tempdir().unwrap();
    let (rounds, time) = if options.quick { (1, 2) } else { (5, 6) };
    let (mut alone, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let serving = pillarboxd(&folder.path().join(round.to_string()));
        // Whoever comes first warms up for the other.
        let _ = good_user(&serving, Duration::from_secs(1));
        let quiet = good_user(&serving, Duration::from_secs(time));
        let others = Child::start(part, serving.address, count, 103, None);
        let noisy = good_user(&serving, Duration::from_secs(time));
        drop(others);
        alone.push(quiet);
        with.push(noisy);
        ratios.push(noisy / quiet);
    }
    Row::new(
        format!("A good user's sessions beside {what}"),
        format!("{:.1} a second", median(with)),
        format!("without them: {:.1} a second", median(alone)),
    )
    .figure(Figure::times(median(ratios), Reach::AtLeast(0.9)))
}

/// Sessions a second: connect, log in, look at a mailbox, leave.
fn good_user(serving: &Serving, time: Duration) -> f64 {
    let (begun, mut sessions) = (Instant::now(), 0.0);
    while begun.elapsed() < time {
        let mut stream = Stream::open(serving.address, None);
        stream.line("* OK");
        for (command, answer) in [
            (&b"a LOGIN alice secret\r\n"[..], "a OK"),
            (b"b SELECT INBOX\r\n", "b OK"),
            (b"c UID FETCH 1:* (FLAGS)\r\n", "c OK"),
            (b"d LOGOUT\r\n", "d OK"),
        ] {
            stream.send(command);
            stream.line(answer);
        }
        sessions += 1.0;
    }
    sessions / begun.elapsed().as_secs_f64()
}

/// The reference server's users, mail and limits.
fn pillarboxd(folder: &Path) -> Serving {
    std::fs::create_dir(folder).unwrap();
    let config = pillarbox_reference_server::config::Config::built_in();
    let data = DataFolder::open(folder).unwrap();
    let users = Users::open(data.users()).unwrap();
    let user = User::new("alice".into(), &Secret::new("secret")).unwrap();
    users
        .change(|table| {
            table.insert("alice".into(), Arc::new(user));
            Ok(())
        })
        .unwrap();
    let policies = MaildropPolicies::new(&config.pop3, &data);
    let homes = Arc::new(MaildirHomes::new(&config).unwrap());
    let backend = UserBackend::new(users, &data, policies, homes).unwrap();
    let penalties = Penalties::new(PenaltySettings::default());
    let backend = Arc::new(Throttled::new(Arc::new(backend)).penalties(penalties.clone()));
    Serving::start("pillarbox", move || async move {
        let mut imap = Config::default();
        imap.allow_plaintext = true;
        let imap = Arc::new(imap);
        let listener = Listener::new("imap", move |connection| {
            let (imap, backend) = (Arc::clone(&imap), Arc::clone(&backend));
            Box::new(ImapConversation::new(imap, Arc::new(SystemEnv), backend, connection, Instant::now()))
        });
        let server = Server::new()
            .listener(listener.address(([127, 0, 0, 1], 0)).backlog(4096))
            .penalties(penalties)
            .address_limits(AddressLimits::new(AddressSettings::default()))
            .bind()
            .unwrap()
            .start()
            .unwrap();
        let address = server.local_addr("imap").unwrap();
        tokio::spawn(async move { server.stopped().await });
        address
    })
}
