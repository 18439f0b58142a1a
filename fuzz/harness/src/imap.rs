//! Whole IMAP sessions.

use std::sync::Arc;
use std::time::Instant;

use pillarbox_imap_proto::wire::limits::FrameLimits;
use pillarbox_imap_proto::{Config, ImapConversation, LiteralMode};
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::connection::{SessionId, TlsMode};

use crate::control::{self, Control};
use crate::drive::{self, Run};
use crate::heap;
use crate::responses;
use crate::store::{self, Mood};

/// Holds the session in one piece and in many, with a calm store and with one as the input says.
pub fn imap(data: &[u8]) {
    let (text, mut control) = control::split(data);
    let (shape, mood) = (control.byte(), Mood::of(control.byte()));
    let calm = hold(text, shape, Mood::default(), &control, |_| usize::MAX, |_| usize::MAX);
    calm.compare(
        &hold(text, shape, Mood::default(), &control, |control| control.piece(), |control| control.piece()),
        "in pieces",
    );
    let moody = hold(text, shape, mood, &control, |_| usize::MAX, |_| usize::MAX);
    let pieces = hold(
        text,
        shape,
        Mood { slow: !mood.slow, ..mood },
        &control,
        |control| control.piece(),
        |control| control.piece(),
    );
    if !mood.torn {
        moody.compare(&pieces, "in pieces, with a moody store");
    }
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
    let store = store::open(mood, control);
    let hooked = store.clone();
    let (mut sending, mut taking) = (control.clone(), control.clone());
    taking.byte();
    let (run, grown) = heap::growth(|| {
        let mut conversation = conversation(shape, store);
        drive::run(&mut conversation, text, || sends(&mut sending), || takes(&mut taking))
    });
    // The hook holds the store, and the store the hook.
    hooked.unhook();
    // The harness holds the output, which grows by doubling; the store holds what was appended and copied.
    let most = 3 * run.output.len() + 64 * text.len() + (4 << 20);
    assert!(grown <= most, "{grown} octets of heap for {} of input and {} of output", text.len(), run.output.len());
    responses::check(&run.output, run.whole);
    run
}

fn conversation(shape: u8, store: pillarbox_proto_core::memory::MemoryBackend) -> ImapConversation {
    let mut config = Config::default();
    config.allow_plaintext = shape & 2 != 0;
    config.tls_mode = if shape & 4 != 0 { TlsMode::OnDemand } else { TlsMode::No };
    config.literal_mode = if shape & 8 != 0 { LiteralMode::Minus } else { LiteralMode::Plus };
    config.append_limit = Some(16 << 10);
    // Much input is wrong, and the session is to go on.
    config.limits.bad_commands = 1000;
    if shape & 16 != 0 {
        let small: FrameLimits = config.limits.frame_before_login;
        config.limits.frame_after_login = small;
        config.limits.parse.list_items = 8;
        config.limits.parse.set_ranges = 8;
    }
    let (config, now) = (Arc::new(config), Instant::now());
    let mut connection = Connection::new(SessionId::new(1));
    connection.externally_secured = shape & 6 == 0;
    if shape & 1 == 0 {
        return ImapConversation::preauth(
            config,
            store::env(),
            Arc::new(store),
            connection,
            Identity::new("alice"),
            now,
        );
    }
    ImapConversation::new(config, store::env(), Arc::new(store), connection, now)
}
