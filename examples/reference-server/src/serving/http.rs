//! Metrics and health over HTTP/1.1, as a conversation like any other: with the access lists, limits and TLS of its
//! listener.
//!
//! `GET /metrics` has the metrics in the text form of Prometheus; `GET /health` is 200 while the service is open and 503
//! while it is closed. Nothing else is there, no request has a body, and a request is at most 8 KiB long.

use std::fmt::Write;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use pillarbox_proto_core::conversation::{Control, Next};
use pillarbox_proto_core::{Conversation, Output};

use super::notices::Notices;
use crate::exit::{Failure, Result, Status};

/// The longest request.
const LONGEST: usize = 8 * 1024;
/// Octets of answers that wait, above which no further request is answered.
const HIGH_WATER: usize = 16 * 1024;
/// Fields of a request's head.
const FIELDS: usize = 64;
/// How long a client may take for a request, and how long a connection is kept for the next.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often what was measured is put together.
const UPKEEP: Duration = Duration::from_secs(5);
/// Seconds, for histograms.
const BUCKETS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

/// What all connections of such listeners share.
#[derive(Clone)]
pub struct Http {
    notices: Notices,
    metrics: Option<PrometheusHandle>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// Metrics are gathered, for the whole process, where they are `wanted`.
    ///
    /// # Errors
    ///
    /// When something else in this process gathers them already.
    pub fn new(notices: Notices, wanted: bool) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(Status::Software, format_args!("metrics: {error}"));
        let metrics = if wanted {
            let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).map_err(|error| failed(&error))?;
            Some(builder.install_recorder().map_err(|error| failed(&error))?)
        } else {
            None
        };
        Ok(Self { notices, metrics })
    }

    /// Puts together what was measured, now and then for as long as it is polled. It would pile up otherwise where nobody
    /// asks for it.
    pub(super) async fn keep_up(self) {
        let Some(metrics) = self.metrics else { return };
        let mut interval = tokio::time::interval(UPKEEP);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            metrics.run_upkeep();
        }
    }

    /// The answer to a request for this: a status, a type of content and the content.
    fn answer(&self, path: &str) -> (&'static str, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        match (path.split('?').next(), &self.metrics) {
            (Some("/metrics"), Some(metrics)) => {
                metrics.run_upkeep();
                ("200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics.render())
            }
            (Some("/health"), _) => match self.notices.closed() {
                None => ("200 OK", TEXT, "ok\n".to_owned()),
                Some(text) => ("503 Service Unavailable", TEXT, format!("closed: {text}\n")),
            },
            _ => ("404 Not Found", TEXT, "there are /metrics and /health\n".to_owned()),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct HttpConversation {
    http: Http,
    input: BytesMut,
    output: Output,
    deadline: Instant,
    /// The client sends no more.
    end_of_input: bool,
    end: bool,
}

impl HttpConversation {
    pub(super) fn new(http: Http, now: Instant) -> Self {
        Self {
            http,
            input: BytesMut::new(),
            output: Output::default(),
            deadline: now + PATIENCE,
            end_of_input: false,
            end: false,
        }
    }

    /// One that ends without a word.
    pub(super) fn ended(http: Http, now: Instant) -> Self {
        Self { end: true, ..Self::new(http, now) }
    }

    /// Answers the requests that are there, but only a few while nobody takes the answers: a few octets ask for many.
    fn serve(&mut self) {
        while !self.end && !self.input.is_empty() && self.output.len() < HIGH_WATER {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS];
            let mut request = httparse::Request::new(&mut fields);
            let length = match request.parse(&self.input) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if self.input.len() < LONGEST => return,
                Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                    return self.refuse("431 Request Header Fields Too Large");
                }
                Err(_) => return self.refuse("400 Bad Request"),
            };
            let has_content = request.headers.iter().any(|field| {
                field.name.eq_ignore_ascii_case("Transfer-Encoding")
                    || (field.name.eq_ignore_ascii_case("Content-Length") && field.value != b"0")
            });
            // What follows would be taken for the next request.
            if has_content {
                return self.refuse("413 Content Too Large");
            }
            let head = match request.method {
                Some("GET") => false,
                Some("HEAD") => true,
                _ => return self.refuse("405 Method Not Allowed"),
            };
            let asks_to_close = request.headers.iter().any(|field| {
                let mut tokens = std::str::from_utf8(field.value).unwrap_or_default().split(',').map(str::trim);
                field.name.eq_ignore_ascii_case("Connection") && tokens.any(|token| token.eq_ignore_ascii_case("close"))
            });
            let close = request.version != Some(1) || asks_to_close;
            let (status, kind, content) = self.http.answer(request.path.unwrap_or_default());
            self.input.advance(length);
            self.reply(status, kind, &content, head, close);
        }
    }

    /// The same, and whoever was answered has time again.
    fn serve_until(&mut self, now: Instant) {
        let before = self.output.len();
        self.serve();
        if self.output.len() > before {
            self.deadline = now + PATIENCE;
        }
    }

    fn refuse(&mut self, status: &str) {
        self.reply(status, "text/plain; charset=utf-8", "", false, true);
    }

    fn reply(&mut self, status: &str, kind: &str, content: &str, head: bool, close: bool) {
        let mut text = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", content.len());
        if status.starts_with("405") {
            text.push_str("Allow: GET, HEAD\r\n");
        }
        let connection = if close { "close" } else { "keep-alive" };
        let _ = write!(text, "Cache-Control: no-store\r\nConnection: {connection}\r\n\r\n");
        if !head {
            text.push_str(content);
        }
        self.output.put(text.as_bytes());
        self.end |= close;
    }
}

impl Conversation for HttpConversation {
    fn read_buf(&mut self) -> Option<&mut BytesMut> {
        (!self.end && self.output.is_empty()).then_some(&mut self.input)
    }

    fn handle_read(&mut self, now: Instant) {
        self.serve_until(now);
    }

    fn handle_eof(&mut self, _now: Instant) {
        self.end_of_input = true;
    }

    fn handle_gone(&mut self) {
        self.end = true;
    }

    fn handle_control(&mut self, control: Control, _now: Instant) {
        // While the service is closed, this is where one sees it.
        self.end |= matches!(control, Control::Shutdown { .. } | Control::Kick { .. });
    }

    fn poll_next(&mut self, _cx: &mut Context<'_>, now: Instant) -> Poll<Next> {
        if self.output.is_empty() {
            // Requests for which there was no room.
            self.serve_until(now);
            self.end |= self.end_of_input && self.output.is_empty();
        }
        if self.end { Poll::Ready(Next::Close) } else { Poll::Pending }
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.deadline)
    }

    fn handle_deadline(&mut self, now: Instant) {
        self.end |= now >= self.deadline;
    }

    fn awaits_rest(&self) -> bool {
        !self.input.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(folder: &std::path::Path) -> HttpConversation {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || metrics::counter!("seen").increment(3));
        let http = Http { notices: Notices::below(folder), metrics: Some(handle) };
        HttpConversation::new(http, Instant::now())
    }

    /// What is answered to these reads, and whether the connection is over.
    fn talk(folder: &std::path::Path, reads: &[&[u8]]) -> (String, bool) {
        let mut conversation = conversation(folder);
        let mut answered = Vec::new();
        for read in reads {
            let Some(input) = conversation.read_buf() else { break };
            input.extend_from_slice(read);
            conversation.handle_read(Instant::now());
            answered.extend_from_slice(&conversation.output().take());
        }
        (String::from_utf8(answered).unwrap(), conversation.end)
    }

    #[test]
    fn what_is_there_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let get = |path: &str| talk(folder.path(), &[format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()]);
        let (text, end) = get("/metrics");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\nseen 3\n") && !end, "{text}");
        assert!(get("/health").0.ends_with("\r\n\r\nok\n"));
        assert!(get("/other").0.starts_with("HTTP/1.1 404 Not Found\r\n"));
        std::fs::create_dir(folder.path().join("msg")).unwrap();
        std::fs::write(folder.path().join("msg/shutdown"), "work\n").unwrap();
        let (text, _) = get("/health");
        assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("closed: work\n"), "{text}");
    }

    #[test]
    fn however_it_is_cut_and_one_after_another() {
        let folder = tempfile::tempdir().unwrap();
        let both = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nHEAD /health HTTP/1.1\r\nConnection: Close\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        let (whole, end) = talk(folder.path(), &[both]);
        assert!(end);
        assert_eq!(whole.matches("HTTP/1.1 200 OK").count(), 2);
        assert!(
            whole.ends_with("Connection: close\r\n\r\n"),
            "a HEAD has no content, and nothing is answered after it"
        );
        let bytes: Vec<&[u8]> = both.chunks(1).collect();
        assert_eq!(talk(folder.path(), &bytes), (whole, true));
    }

    #[test]
    fn many_requests_at_once_do_not_become_many_answers_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut conversation = conversation(folder.path());
        let (request, count) = (b"GET /metrics HTTP/1.1\r\n\r\n", 2000);
        conversation.read_buf().unwrap().extend_from_slice(&request.repeat(count));
        conversation.handle_read(Instant::now());
        conversation.handle_eof(Instant::now());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut answered = 0;
        loop {
            let output = conversation.output().take();
            assert!(output.len() < 2 * HIGH_WATER);
            answered += String::from_utf8(output.to_vec()).unwrap().matches("HTTP/1.1 200 OK").count();
            if conversation.poll_next(&mut cx, Instant::now()).is_ready() {
                break;
            }
        }
        assert_eq!(answered, count);
    }

    #[test]
    fn what_is_no_request_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(LONGEST));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
        for (request, status) in [
            ("a LOGIN b c\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\n\r\n", "405"),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde", "413"),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "413"),
            ("GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nabcde", "413"),
            ("GET / HTTP/1.1\r\nContent-Length: 0, 5\r\n\r\nabcde", "413"),
            (long.as_str(), "431"),
            (many.as_str(), "431"),
        ] {
            let (text, end) = talk(folder.path(), &[request.as_bytes()]);
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && end, "{request:.40}: {text}");
        }
        let (text, end) = talk(folder.path(), &[b"GET /health HTTP/1.0\r\n\r\n"]);
        assert!(text.contains("ok\n") && end);
    }
}
