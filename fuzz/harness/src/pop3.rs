//! Whole POP3 sessions.

use std::sync::Arc;
use std::time::Instant;

use pillarbox_pop3_proto::{Config, Pop3Service};
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::connection::{SessionId, TlsMode};

use crate::control::{self, Control};
use crate::drive::{self, Run, show};
use crate::heap;
use crate::store::{self, Mood};

/// Holds the session in one piece and in many, with a calm store and with one as the input says.
pub fn pop3(data: &[u8]) {
    let (text, mut control) = control::split(data);
    let (shape, mood) = (control.byte(), Mood::of(control.byte()));
    let calm = hold(text, shape, Mood::default(), &control, |_| usize::MAX, |_| usize::MAX);
    calm.compare(
        &hold(text, shape, Mood::default(), &control, |control| control.piece(), |control| control.piece()),
        "in pieces",
    );
    // What is fetched ahead depends on the pipeline, and so do the calls.
    hold(text, shape, mood, &control, |_| usize::MAX, |_| usize::MAX);
    hold(text, shape, mood, &control, |control| control.piece(), |control| control.piece());
    if text.len() < 1024 {
        calm.compare(&hold(text, shape, Mood::default(), &control, |_| 1, |_| 1), "octet by octet");
    }
}

fn hold(
    text: &[u8],
    shape: u8,
    mood: Mood,
    control: &Control<'_>,
    sends: fn(&mut Control<'_>) -> usize,
    takes: fn(&mut Control<'_>) -> usize,
) -> Run {
    let mut config = Config::default();
    config.allow_plaintext = shape & 1 != 0;
    config.tls_mode = if shape & 2 != 0 { TlsMode::OnDemand } else { TlsMode::No };
    config.limits.bad_commands = 1000;
    if shape & 4 != 0 {
        config.limits.inline = 16;
        config.limits.read_ahead = 2;
        config.limits.output_high_water = 256;
    }
    let mut connection = Connection::new(SessionId::new(1));
    connection.externally_secured = shape & 3 == 0;
    let store = store::open(mood, control);
    let hooked = store.clone();
    let (mut sending, mut taking) = (control.clone(), control.clone());
    taking.byte();
    let (run, grown) = heap::growth(|| {
        let service = Pop3Service::new(Arc::new(store), config, store::env());
        let mut conversation = service.connect(connection, Instant::now());
        drive::run(&mut conversation, text, || sends(&mut sending), || takes(&mut taking))
    });
    // The hook holds the store, and the store the hook.
    hooked.unhook();
    let most = 3 * run.output.len() + 64 * text.len() + (2 << 20);
    assert!(grown <= most, "{grown} octets of heap for {} of input and {} of output", text.len(), run.output.len());
    assert!(run.output.starts_with(b"+OK"), "{}", show(&run.output));
    assert!(!run.whole || run.output.ends_with(b"\r\n"), "{}", show(&run.output));
    run
}
