//! A conversation without a socket: the loop of its contract, with oracles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use pillarbox_proto_core::Conversation;
use pillarbox_proto_core::connection::TlsInfo;
use pillarbox_proto_core::conversation::{Layer, Next, Upgraded};

/// Where a handshake is due in the text of an input: what follows is sent under TLS.
pub const TLS: &[u8] = b"\n%%TLS\n";

/// Octets of output after which a run is broken off. It is a matter of time only.
const ENOUGH: usize = 4 << 20;

/// Octets that may wait in the output: its high-water mark, and what one step may add beyond it.
const MOST_OUTPUT: usize = (64 + 512) << 10;

/// Octets that may wait in the input: its high-water mark or the largest command, and one read.
const MOST_INPUT: usize = (64 + 64 + 256 + 64) << 10;

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// All that the client got.
    pub output: Vec<u8>,
    /// Whether the end was an orderly one, so that the output is whole.
    pub whole: bool,
}

impl Run {
    /// Two runs on the same input have the same output, as far as both have it.
    pub fn compare(&self, other: &Self, how: &str) {
        let length = self.output.len().min(other.output.len());
        if self.output[..length] != other.output[..length] || (self.whole && other.whole) && self.output != other.output
        {
            panic!("{how}: the output differs\n{}\n--- {how}\n{}", show(&self.output), show(&other.output));
        }
    }
}

/// Octets for people.
#[must_use]
pub fn show(octets: &[u8]) -> String {
    octets[..octets.len().min(20_000)].escape_ascii().to_string().replace("\\r\\n", "\n")
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Holds a conversation with a client that sends this text in pieces and takes the output in pieces.
pub fn run(
    conversation: &mut dyn Conversation,
    text: &[u8],
    mut sends: impl FnMut() -> usize,
    mut takes: impl FnMut() -> usize,
) -> Run {
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = Context::from_waker(&waker);
    let now = Instant::now();
    let mut segments = segments(text).into_iter();
    let mut rest = segments.next().unwrap_or_default();
    let mut ended = false;
    let mut output = Vec::new();
    for _ in 0..4_000_000 {
        let next = conversation.poll_next(&mut cx, now);
        let woken = flag.0.swap(false, Ordering::SeqCst);
        let waiting = conversation.output().len();
        assert!(waiting <= MOST_OUTPUT, "{waiting} octets of output wait");
        if output.len() > ENOUGH {
            return Run { output, whole: false };
        }
        if let Poll::Ready(next) = next {
            if next == Next::Abort {
                return Run { output, whole: false };
            }
            take(conversation, usize::MAX, &mut output);
            match next {
                Next::Upgrade(Layer::Tls) => {
                    assert!(conversation.read_buf().is_none(), "it reads plain octets before the handshake");
                    let Some(segment) = segments.next() else { return Run { output, whole: true } };
                    rest = segment;
                    conversation.upgraded(Upgraded::Tls(Arc::new(TlsInfo::default())), now);
                    continue;
                }
                Next::Close => return Run { output, whole: true },
                other => panic!("{other:?} is not offered"),
            }
        }
        let took = take(conversation, takes(), &mut output);
        if woken {
            continue;
        }
        if let Some(input) = conversation.read_buf() {
            assert!(input.len() <= MOST_INPUT, "{} octets of input wait", input.len());
            if !rest.is_empty() {
                let (piece, later) = rest.split_at(sends().clamp(1, 16 << 10).min(rest.len()));
                input.extend_from_slice(piece);
                rest = later;
                conversation.handle_read(now);
                continue;
            }
        }
        if take(conversation, usize::MAX, &mut output) || took {
            continue;
        }
        let reads = conversation.read_buf().is_some();
        assert!(!ended && (reads || rest.is_empty()), "it waits for nothing: {}", show(&output));
        ended = true;
        conversation.handle_eof(now);
    }
    panic!("it never ends: {}", show(&output));
}

/// Takes at most so many octets of output; says whether there were any.
fn take(conversation: &mut dyn Conversation, most: usize, all: &mut Vec<u8>) -> bool {
    let waiting = conversation.output();
    let mut left = most.min(waiting.len());
    let any = left > 0;
    while left > 0 {
        let first = waiting.first();
        let length = first.len().min(left);
        assert!(length > 0, "output without octets");
        all.extend_from_slice(&first[..length]);
        waiting.advance(length);
        left -= length;
    }
    any
}

fn segments(text: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(TLS.len()).position(|window| window == TLS) {
        // The line end before it is the client's.
        all.push(&rest[..=at]);
        rest = &rest[at + TLS.len()..];
    }
    all.push(rest);
    all
}
