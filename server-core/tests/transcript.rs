//! Transcripts in the log, and the lines of a session that an operator reads.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]

mod watched;

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use pillarbox_server_core::{Listener, Server, ServerHandle, TranscriptOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use watched::{Log, clerk, log_to, redactor};

const TARGET: &str = "pillarbox::transcript";

fn listener(name: &str) -> Listener {
    Listener::new(name, clerk).address((Ipv4Addr::LOCALHOST, 0))
}

fn start(listener: Listener) -> ServerHandle {
    Server::new().listener(listener).bind().unwrap().start().unwrap()
}

/// Says this, and returns all that comes back until the end.
async fn say(server: &ServerHandle, listener: &str, text: &str) -> String {
    let mut client = TcpStream::connect(server.local_addr(listener).unwrap()).await.unwrap();
    client.write_all(text.as_bytes()).await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    heard
}

/// Ends the server, and waits until all is written. A shutdown waits for that a few seconds, which may be too few where a
/// machine is slow; where it is not, all but the first have nothing to wait for.
async fn end(server: &ServerHandle) {
    for _ in 0..20 {
        server.shutdown("bye", Duration::from_secs(600)).await;
    }
}

/// The subscriber that is slow is so for one test: one at a time.
static ONE: Mutex<()> = Mutex::new(());

async fn transcript(options: TranscriptOptions, said: &str) -> (Log, Vec<String>) {
    let log = Log::default();
    let _guard = log_to(log.clone());
    let server = start(listener("clerk").transcript(options, redactor));
    say(&server, "clerk", said).await;
    end(&server).await;
    let lines = log.of(TARGET);
    (log, lines)
}

#[tokio::test]
async fn both_sides_are_shown_without_secrets_and_data() {
    let _one = ONE.lock();
    let (log, lines) = transcript(TranscriptOptions::default(), "LOGIN bob sesame\r\nDATA 9\r\nQUIT\r\n").await;
    let (client, server): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.starts_with("C: "));
    assert_eq!(client, ["C: LOGIN bob ***", "C: DATA 9", "C: QUIT"]);
    assert_eq!(server, ["S: welcome bob", "S: (data...)", "S: bye"]);
    let all: Vec<_> = log.lines().into_iter().filter(|line| line.contains(TARGET)).collect();
    for line in &all {
        // The session's name stands on each, though another thread wrote it.
        assert!(line.starts_with("session:id=") && line.contains("DEBUG"), "{line}");
    }
    assert!(!log.lines().iter().any(|line| line.contains("sesame")));
}

#[tokio::test]
async fn secrets_and_data_are_shown_if_asked_for() {
    let _one = ONE.lock();
    let options = TranscriptOptions { secrets: true, data: true };
    let (_, lines) = transcript(options, "LOGIN bob sesame\r\nDATA 9\r\nQUIT\r\n").await;
    assert!(
        lines.contains(&"C: LOGIN bob sesame".to_owned()) && lines.contains(&"S: xxxxxxxxx".to_owned()),
        "{lines:?}"
    );
}

#[tokio::test]
async fn what_could_deceive_the_reader_is_written_out() {
    let _one = ONE.lock();
    let (_, lines) = transcript(TranscriptOptions::default(), "a\x1b[2J\0b\r\nQUIT\r\n").await;
    assert_eq!(lines[0], "C: a\\u{1b}[2J\\u{0}b");
    // A long line comes in pieces, and all of it comes.
    let long = format!("{}\r\nQUIT\r\n", "y".repeat(5000));
    let (_, lines) = transcript(TranscriptOptions::default(), &long).await;
    let client: String = lines.iter().filter_map(|line| line.strip_prefix("C: ")).collect();
    assert_eq!(client, format!("{}QUIT", "y".repeat(5000)));
    assert!(lines.iter().all(|line| line.len() < 3000));
}

#[tokio::test]
async fn only_the_listener_that_is_asked_for_is_shown() {
    let _one = ONE.lock();
    let log = Log::default();
    let _guard = log_to(log.clone());
    let shown = listener("shown").transcript(TranscriptOptions::default(), redactor);
    let server = Server::new().listener(shown).listener(listener("hidden")).bind().unwrap().start().unwrap();
    say(&server, "hidden", "one\r\nQUIT\r\n").await;
    say(&server, "shown", "two\r\nQUIT\r\n").await;
    end(&server).await;
    let lines = log.of(TARGET);
    assert!(lines.contains(&"C: two".to_owned()) && !lines.contains(&"C: one".to_owned()), "{lines:?}");
}

/// A log that is slow.
struct Slow(Log);

impl tracing::Subscriber for Slow {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span() || metadata.target() == TARGET
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.0.new_span(span)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        if std::thread::current().name().is_none_or(|name| name != "pillarbox-scribe") {
            return;
        }
        while !FAST.load(std::sync::atomic::Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.0.event(event);
    }
    fn current_span(&self) -> tracing_core::span::Current {
        self.0.current_span()
    }
    fn enter(&self, span: &tracing::span::Id) {
        self.0.enter(span);
    }
    fn exit(&self, span: &tracing::span::Id) {
        self.0.exit(span);
    }
}

static FAST: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

#[tokio::test]
async fn a_slow_log_holds_up_nobody_and_what_is_left_out_is_said() {
    let _one = ONE.lock();
    let log = Log::default();
    let _guard = log_to(Slow(log.clone()));
    let server = start(listener("clerk").transcript(TranscriptOptions { secrets: true, data: true }, redactor));
    // Twice as much as may wait, while nothing is written.
    let many = "DATA 1000\r\n".repeat(10_000);
    let heard = say(&server, "clerk", &format!("{many}QUIT\r\n")).await;
    assert_eq!(heard.len(), 10_000 * 1002 + 5, "the client has got everything");
    FAST.store(true, std::sync::atomic::Ordering::Relaxed);
    say(&server, "clerk", "last\r\nQUIT\r\n").await;
    end(&server).await;
    let lines = log.of(TARGET);
    let left_out: u64 = lines
        .iter()
        .filter_map(|line| line.strip_prefix('(')?.strip_suffix(" lines left out)")?.parse::<u64>().ok())
        .sum();
    let shown = lines.iter().filter(|line| line.starts_with("C: ") || line.starts_with("S: ")).count() as u64;
    assert!(left_out > 0 && shown > 0, "{left_out} {shown}");
    // Both sides of each command, QUIT, and the last session.
    assert_eq!(left_out + shown, 20_000 + 2 + 4);
}

#[tokio::test]
async fn an_operator_reads_one_line_at_login_and_one_at_the_end() {
    let _one = ONE.lock();
    let log = Log::default();
    let _guard = log_to(log.clone());
    let server = start(listener("clerk"));
    say(&server, "clerk", "LOGIN bob wrong\r\nLOGIN bob sesame\r\nQUIT\r\n").await;
    say(&server, "clerk", "QUIT\r\n").await;
    while server.connections() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let lines: Vec<_> = log.lines().into_iter().filter(|line| line.contains("INFO")).collect();
    let [failed, login, end] = &lines[..] else { panic!("{lines:#?}") };
    for line in [failed, login, end] {
        assert!(line.starts_with("session:id=") && line.contains("peer=127.0.0.1"), "{line}");
        assert!(!line.contains("sesame") && !line.contains("wrong"), "{line}");
    }
    assert!(failed.ends_with("login failed mechanism=\"LOGIN\" cause=\"credentials\""), "{failed}");
    assert!(login.ends_with("logged in user=\"bob\" mechanism=\"LOGIN\""), "{login}");
    assert!(end.contains("ended user=bob end=Closed received=41 sent=22 seconds="), "{end}");
}
